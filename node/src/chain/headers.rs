//! The chain of headers as peers or servers have proven it, and what left it.

use std::collections::{HashMap, VecDeque};

use bip157::HashCheckpoint;
use bip157::chain::BlockHeaderChanges;
use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::{BlockHash, Network};

use super::{BlockRef, MAX_HEADERS};

/// How many blocks that left the chain are remembered: twice the deepest reorganisation that anything here survives.
const MAX_LEFT: usize = 200;

/// Where headers begin: nothing of an exchange that needs Taproot is older than its activation.
pub(super) fn start_of(network: Network) -> BlockRef {
    let start = match network {
        Network::Bitcoin => HashCheckpoint::taproot_activation(),
        Network::Testnet | Network::Testnet4 | Network::Signet | Network::Regtest => {
            HashCheckpoint::from_genesis(network)
        }
    };
    BlockRef { height: start.height, hash: start.hash }
}

/// Headers above a block that is taken for granted.
#[derive(Debug, Clone)]
pub(super) struct Headers {
    base: BlockRef,
    above: Vec<Header>,
    heights: HashMap<BlockHash, u32>,
}

impl Headers {
    pub fn new(base: BlockRef) -> Self {
        Self { base, above: Vec::new(), heights: HashMap::from([(base.hash, base.height)]) }
    }

    pub fn base(&self) -> BlockRef {
        self.base
    }

    pub fn tip(&self) -> BlockRef {
        self.above.last().map_or(self.base, |last| BlockRef { height: self.height(), hash: last.block_hash() })
    }

    fn height(&self) -> u32 {
        let above = u32::try_from(self.above.len()).expect("a chain has fewer than 2^32 blocks");
        self.base.height.checked_add(above).expect("a chain has fewer than 2^32 blocks")
    }

    pub fn hash_at(&self, height: u32) -> Option<BlockHash> {
        if height == self.base.height { Some(self.base.hash) } else { self.header_at(height).map(Header::block_hash) }
    }

    /// Returns the header at a height above the base.
    pub fn header_at(&self, height: u32) -> Option<&Header> {
        let at = height.checked_sub(self.base.height)?.checked_sub(1)?;
        self.above.get(at as usize)
    }

    pub fn height_of(&self, hash: &BlockHash) -> Option<u32> {
        self.heights.get(hash).copied()
    }

    /// Returns headers from a height on, oldest first: that of the genesis block of `network`, and those above the base.
    pub fn list(&self, network: Network, from: u32, limit: usize) -> Vec<Header> {
        let genesis = (from == 0).then(|| genesis_block(network).header);
        let above = (from.max(1)..).map_while(|height| self.header_at(height).copied());
        genesis.into_iter().chain(above).take(limit.min(MAX_HEADERS)).collect()
    }

    /// Learns what peers have proven. What does not continue this chain is passed over: it comes again in order.
    pub fn learn(&mut self, changes: &BlockHeaderChanges) {
        match changes {
            BlockHeaderChanges::Connected(block) => self.put(block.height, block.header),
            BlockHeaderChanges::Reorganized { accepted, reorganized: _ } => {
                let mut accepted = accepted.clone();
                accepted.sort_unstable();
                accepted.iter().for_each(|block| self.put(block.height, block.header));
            }
            BlockHeaderChanges::ForkAdded(_) => {}
        }
    }

    /// Takes in a header, instead of what stood at its height and above. One that does not stand on this chain is passed
    /// over.
    pub fn put(&mut self, height: u32, header: Header) {
        let below = height.checked_sub(1).and_then(|below| self.hash_at(below));
        if below == Some(header.prev_blockhash) && self.header_at(height) != Some(&header) {
            self.cut(height);
            self.heights.insert(header.block_hash(), height);
            self.above.push(header);
        }
    }

    /// Drops the headers from a height on, which is above the base.
    fn cut(&mut self, height: u32) {
        let kept = height.saturating_sub(self.base.height).saturating_sub(1) as usize;
        for header in self.above.drain(kept.min(self.above.len())..) {
            self.heights.remove(&header.block_hash());
        }
    }

    /// Tells whether another chain of the same base has more work.
    pub fn has_less_work_than(&self, other: &Self) -> bool {
        let mut shared = self.above.len().min(other.above.len());
        while shared > 0 && self.above[shared - 1] != other.above[shared - 1] {
            shared -= 1;
        }
        let work = |chain: &Self| chain.above[shared..].iter().map(Header::work).reduce(|sum, work| sum + work);
        work(self) < work(other)
    }

    /// Becomes another chain of the same base. Returns the headers that left, newest first, and the first height that is new.
    pub fn become_like(&mut self, other: &Self) -> (Vec<Header>, u32) {
        let mut height = self.height().min(other.height());
        while height > self.base.height && self.header_at(height) != other.header_at(height) {
            height -= 1;
        }
        let first = height.saturating_add(1);
        let shared = height.saturating_sub(self.base.height) as usize;
        let left: Vec<Header> = self.above[shared..].iter().rev().copied().collect();
        self.cut(first);
        other.above[shared..].iter().zip(first..).for_each(|(header, height)| self.put(height, *header));
        (left, first)
    }
}

/// The parents of blocks that left the chain lately.
#[derive(Debug, Default)]
pub(super) struct Left(VecDeque<(BlockHash, BlockHash)>);

impl Left {
    pub fn add(&mut self, headers: &[Header]) {
        self.0.extend(headers.iter().map(|header| (header.block_hash(), header.prev_blockhash)));
        self.0.drain(..self.0.len().saturating_sub(MAX_LEFT));
    }

    pub fn parent(&self, hash: &BlockHash) -> Option<BlockHash> {
        self.0.iter().find(|(left, _)| left == hash).map(|(_, parent)| *parent)
    }
}

#[cfg(test)]
mod tests {
    use bip157::chain::IndexedHeader;
    use bitcoin::hashes::Hash;
    use bitcoin::{CompactTarget, TxMerkleNode};

    use super::*;

    fn base() -> BlockRef {
        BlockRef { height: 0, hash: genesis_block(Network::Regtest).block_hash() }
    }

    /// Extends `headers` by `count` blocks of a branch.
    fn extend(headers: &mut Headers, count: u32, branch: u32) {
        for _ in 0..count {
            let tip = headers.tip();
            let header = Header {
                version: bitcoin::block::Version::TWO,
                prev_blockhash: tip.hash,
                merkle_root: TxMerkleNode::all_zeros(),
                time: 0,
                bits: CompactTarget::from_consensus(0x207f_ffff),
                nonce: branch,
            };
            headers.learn(&BlockHeaderChanges::Connected(IndexedHeader { height: tip.height + 1, header }));
        }
    }

    #[test]
    fn a_longer_branch_replaces_a_shorter_one_and_says_what_left() {
        let mut shown = Headers::new(base());
        extend(&mut shown, 5, 1);
        let mut learnt = shown.clone();
        learnt.cut(4);
        extend(&mut learnt, 4, 2);
        let old: Vec<Header> = [5, 4].map(|height| *shown.header_at(height).unwrap()).to_vec();
        let (left, first) = shown.become_like(&learnt);
        assert_eq!((left, first), (old.clone(), 4));
        assert_eq!(shown.tip(), learnt.tip());
        assert_eq!(shown.tip().height, 7);
        assert_eq!((1..=7).filter_map(|height| shown.height_of(&shown.hash_at(height)?)).sum::<u32>(), 28);
        assert_eq!(shown.height_of(&old[0].block_hash()), None);
        let mut gone = Left::default();
        gone.add(&old);
        assert_eq!(gone.parent(&old[0].block_hash()), Some(old[1].block_hash()));
        assert_eq!(shown.become_like(&learnt), (vec![], 8));
    }

    #[test]
    fn the_chain_with_more_work_is_told_from_the_longer_part_of_it() {
        let mut whole = Headers::new(base());
        extend(&mut whole, 5, 1);
        let part = |kept: u32| {
            let mut part = whole.clone();
            part.cut(kept + 1);
            part
        };
        for kept in 0..5 {
            assert!(part(kept).has_less_work_than(&whole) && !whole.has_less_work_than(&part(kept)), "{kept}");
        }
        assert!(!whole.has_less_work_than(&whole));
        let mut branch = part(3);
        extend(&mut branch, 2, 2);
        assert!(!branch.has_less_work_than(&whole) && !whole.has_less_work_than(&branch), "as much");
        extend(&mut branch, 1, 2);
        assert!(whole.has_less_work_than(&branch) && !branch.has_less_work_than(&whole));
    }

    #[test]
    fn hearing_the_chain_again_from_its_base_changes_nothing() {
        let mut headers = Headers::new(base());
        extend(&mut headers, 3, 1);
        let before = headers.tip();
        let again: Vec<Header> = (1..=3).map(|height| *headers.header_at(height).unwrap()).collect();
        for (height, header) in (1..).zip(again) {
            headers.learn(&BlockHeaderChanges::Connected(IndexedHeader { height, header }));
        }
        assert_eq!(headers.tip(), before);
    }
}
