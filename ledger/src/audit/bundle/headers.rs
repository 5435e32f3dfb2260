//! A chain of block headers: each on the one before, each with the work that it states, from a block that everybody
//! knows. What it proves is as much as the work in it costs.

use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::params::Params;
use bitcoin::{BlockHash, CompactTarget, Network, Work};

use super::{BundleError, MAX_HEADERS, Part};

/// Blocks of Bitcoin Core's `m_assumeutxo_data` (`src/kernel/chainparams.cpp`): their states were computed by many. Add the
/// newest with each release, so that bundles stay small; take none away, so that old bundles stay good.
const CHECKPOINTS: &[(Network, u32, &str)] = &[
    (Network::Bitcoin, 840_000, "0000000000000000000320283a032748cef8227873ff4872689bf23f1cda83a5"),
    (Network::Bitcoin, 880_000, "000000000000000000010b17283c3c400507969a9c2afd1dcf2082ec5cca2880"),
    (Network::Bitcoin, 910_000, "0000000000000000000108970acb9522ffd516eae17acddcb1bd16469194a821"),
    (Network::Bitcoin, 935_000, "0000000000000000000147034958af1652b2b91bba607beacc5e72a56f0fb5ee"),
    (Network::Signet, 160_000, "0000003ca3c99aff040f2563c2ad8f8ec88bd0fd6b8f0895cfaf1ef90353a62c"),
    (Network::Signet, 290_000, "0000000577f2741bb30cd9d39d6d71b023afbeb9764f6260786a97969d5c9ac0"),
];
/// Blocks between two adjustments of the difficulty.
const INTERVAL: u32 = 2016;

/// A block that everybody knows: genesis or a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Its height.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
}

/// Returns the highest anchor of a network at or below a height.
pub fn anchor_below(network: Network, height: u32) -> Anchor {
    anchors(network)
        .filter(|anchor| anchor.height <= height)
        .max_by_key(|anchor| anchor.height)
        .unwrap_or(Anchor { height: 0, hash: genesis_block(network).block_hash() })
}

/// Returns the anchors of a network, from genesis up.
pub fn anchors(network: Network) -> impl Iterator<Item = Anchor> {
    let genesis = Anchor { height: 0, hash: genesis_block(network).block_hash() };
    let checkpoints = CHECKPOINTS
        .iter()
        .filter(move |(of, _, _)| *of == network)
        .map(|(_, height, hash)| Anchor { height: *height, hash: hash.parse().expect("the table holds block hashes") });
    std::iter::once(genesis).chain(checkpoints)
}

/// Headers that were checked.
#[derive(Debug, Clone)]
pub struct HeaderChain {
    anchor: u32,
    headers: Vec<Header>,
}

impl HeaderChain {
    /// Checks headers, the first of which claims to be an anchor at this height.
    ///
    /// # Errors
    /// [`Part::Headers`] with the height of the first header that does not hold.
    pub fn check(network: Network, anchor: u32, headers: Vec<Header>) -> Result<Self, BundleError> {
        let refuse = |height: u32, reason: &str| {
            Err(BundleError::new(Part::Headers, format_args!("the header at height {height} {reason}")))
        };
        let Some(first) = headers.first() else { return refuse(anchor, "is missing") };
        let known = anchors(network).find(|known| known.height == anchor);
        if known.map(|known| known.hash) != Some(first.block_hash()) {
            return refuse(anchor, "is no block that everybody knows");
        }
        if headers.len() > MAX_HEADERS {
            return refuse(anchor, "is followed by too many others");
        }
        let chain = Self { anchor, headers };
        for (height, header) in (anchor..).zip(&chain.headers).skip(1) {
            let previous = chain.at(height - 1).expect("the loop is past the first header");
            if header.prev_blockhash != previous.block_hash() {
                return refuse(height, "does not stand on the one before");
            }
            if !chain.may_ask(network, height, header.bits) {
                return refuse(height, "states another difficulty than the chain prescribes");
            }
            if header.validate_pow(header.target()).is_err() {
                return refuse(height, "does not have the work that it states");
            }
        }
        Ok(chain)
    }

    fn may_ask(&self, network: Network, height: u32, bits: CompactTarget) -> bool {
        may_ask(network, height, bits, |height| self.at(height).copied())
    }

    /// Returns the header at a height.
    pub fn at(&self, height: u32) -> Option<&Header> {
        self.headers.get(usize::try_from(height.checked_sub(self.anchor)?).ok()?)
    }

    /// Returns the height of the first.
    pub const fn anchor(&self) -> u32 {
        self.anchor
    }

    /// Returns the height of the last.
    pub fn tip(&self) -> u32 {
        let above = u32::try_from(self.headers.len().saturating_sub(1)).expect("MAX_HEADERS fits");
        self.anchor.saturating_add(above)
    }

    /// Returns the work of the blocks from a height on: how many hashes they cost on average.
    pub fn work_from(&self, height: u32) -> Option<Work> {
        let above = usize::try_from(height.checked_sub(self.anchor)?).ok()?;
        self.headers.get(above..)?.iter().map(Header::work).reduce(|sum, work| sum + work)
    }
}

/// Tells whether a block at this height may have this target, after those that `at` knows by their heights: the one before
/// it, but after 2016 blocks what their time prescribes. Where the known headers begin within such a period, its time is
/// not known: a factor of four, then.
pub fn may_ask(network: Network, height: u32, bits: CompactTarget, at: impl Fn(u32) -> Option<Header>) -> bool {
    let params = Params::new(network);
    let Some(previous) = height.checked_sub(1).and_then(&at) else { return false };
    if params.no_pow_retargeting || !height.is_multiple_of(INTERVAL) {
        return bits == previous.bits;
    }
    let next = |timespan: u64| CompactTarget::from_next_work_required(previous.bits, timespan, &params);
    match height.checked_sub(INTERVAL).and_then(&at) {
        Some(first) => bits == next(previous.time.saturating_sub(first.time).into()),
        None => (bitcoin::Target::from(next(0))..=next(u64::MAX).into()).contains(&bits.into()),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::encode::deserialize_hex;

    use super::*;

    /// The first headers of mainnet.
    const FIRST: [&str; 3] = [
        "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c",
        "010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000982051fd1e4ba744bbbe680e1fee14677ba1a3c3540bf7b1cdb606e857233e0e61bc6649ffff001d01e36299",
        "010000004860eb18bf1b1620e37e9490fc8a427514416fd75159ab86688e9a8300000000d5fdcc541e25de1c7a5addedf24858b8bb665c9f36ef744ee42c316022c90f9bb0bc6649ffff001d08d2bd61",
    ];

    fn first() -> Vec<Header> {
        FIRST.iter().map(|hex| deserialize_hex(hex).unwrap()).collect()
    }

    fn reason(network: Network, anchor: u32, headers: Vec<Header>) -> String {
        HeaderChain::check(network, anchor, headers).unwrap_err().to_string()
    }

    #[test]
    fn the_first_blocks_of_bitcoin_hold() {
        let chain = HeaderChain::check(Network::Bitcoin, 0, first()).unwrap();
        assert_eq!((chain.anchor(), chain.tip(), chain.at(3)), (0, 2, None));
        // 2^32 and a little for each block of difficulty 1.
        assert_eq!(chain.work_from(1).unwrap().to_string(), (2 * 4_295_032_833_u64).to_string());
        assert_eq!(chain.work_from(3), None);
    }

    #[test]
    fn every_header_is_checked() {
        assert!(reason(Network::Signet, 0, first()).contains("height 0 is no block that everybody knows"));
        assert!(reason(Network::Bitcoin, 1, first()).contains("height 1 is no block that everybody knows"));
        assert!(reason(Network::Bitcoin, 0, vec![]).contains("is missing"));
        let mut headers = first();
        headers.remove(1);
        assert!(reason(Network::Bitcoin, 0, headers).contains("height 1 does not stand on the one before"));
        let mut headers = first();
        headers[2].nonce += 1;
        assert!(reason(Network::Bitcoin, 0, headers).contains("height 2 does not have the work that it states"));
        let mut headers = first();
        headers[2].bits = CompactTarget::from_consensus(0x207f_ffff);
        assert!(reason(Network::Bitcoin, 0, headers).contains("height 2 states another difficulty"));
    }

    #[test]
    fn the_difficulty_changes_every_fortnight_as_the_time_prescribes() {
        let last = Header { time: 10_000_000, ..first()[1] };
        let period = |count: usize, first_time: u32| {
            let mut headers = vec![last; count];
            headers[0].time = first_time;
            HeaderChain { anchor: INTERVAL * 2 - u32::try_from(count).unwrap(), headers }
        };
        let eased = CompactTarget::from_consensus(0x1b04_04cb);
        let mut whole = period(2016, 10_000_000 - 14 * 24 * 3600);
        whole.headers.iter_mut().for_each(|header| header.bits = eased);
        assert!(whole.may_ask(Network::Bitcoin, 4032, eased));
        whole.headers[0].time = 10_000_000 - 7 * 24 * 3600;
        assert!(!whole.may_ask(Network::Bitcoin, 4032, eased), "twice as fast, so twice as hard");
        let half: bitcoin::Target = eased.into();
        let harder = half.min_transition_threshold();
        let mut partial = period(10, 10_000_000);
        partial.headers.iter_mut().for_each(|header| header.bits = eased);
        assert!(partial.may_ask(Network::Bitcoin, 4032, harder.to_compact_lossy()), "a quarter may be");
        let far = harder.min_transition_threshold().to_compact_lossy();
        assert!(!partial.may_ask(Network::Bitcoin, 4032, far), "a sixteenth may not");
        let easy = CompactTarget::from_consensus(0x207f_ffff);
        assert!(!partial.may_ask(Network::Bitcoin, 4032, easy), "nor anything for nothing");
    }

    #[test]
    fn anchors_are_blocks() {
        for network in [Network::Bitcoin, Network::Signet, Network::Regtest] {
            assert!(anchors(network).all(|anchor| anchor_below(network, anchor.height) == anchor));
            assert_eq!(anchor_below(network, 5).hash, genesis_block(network).block_hash());
        }
        assert_eq!(anchor_below(Network::Bitcoin, 900_000).height, 880_000);
        assert_eq!(anchor_below(Network::Bitcoin, u32::MAX).height, 935_000);
        assert_eq!(anchor_below(Network::Regtest, u32::MAX).height, 0);
    }
}
