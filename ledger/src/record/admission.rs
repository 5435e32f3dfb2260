//! The admission ticket: a proof of work that opening a log costs, so that a crowd of fresh identities costs its maker.

use crate::hash::tagged;
use crate::record::LogId;

/// Leading zero bits on networks whose coins have value: some 17 million hashes, a few seconds of one core.
const WORK_BITS: u32 = 24;
/// Leading zero bits on regtest, where nothing is at stake and tests open many logs.
const REGTEST_WORK_BITS: u32 = 10;

/// Tells whether `nonce` is a ticket for this log.
pub fn is_valid(network: &[u8; 4], log: &LogId, nonce: u64) -> bool {
    let work = tagged(
        "exchange/admission/v1",
        &[network, log.author.as_bytes(), &log.epoch.to_le_bytes(), &nonce.to_le_bytes()],
    );
    leading_zero_bits(&work) >= bits_for(network)
}

/// Finds the smallest nonce that is a ticket for this log.
pub fn mint(network: &[u8; 4], log: &LogId) -> u64 {
    (0..=u64::MAX).find(|nonce| is_valid(network, log, *nonce)).expect("one in 2^24 nonces is a ticket")
}

fn bits_for(network: &[u8; 4]) -> u32 {
    if *network == bitcoin::p2p::Magic::REGTEST.to_bytes() { REGTEST_WORK_BITS } else { WORK_BITS }
}

fn leading_zero_bits(hash: &[u8; 32]) -> u32 {
    let zero_bytes = hash.iter().take_while(|byte| **byte == 0).count();
    let next = hash.get(zero_bytes).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(zero_bytes).expect("at most 32") * 8 + next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AuthorId;

    #[test]
    fn a_ticket_belongs_to_one_log_of_one_network() {
        let log = LogId { author: AuthorId([7; 32]), epoch: 0 };
        let regtest = bitcoin::p2p::Magic::REGTEST.to_bytes();
        let nonce = mint(&regtest, &log);
        assert!(is_valid(&regtest, &log, nonce));
        assert!(!is_valid(&bitcoin::p2p::Magic::BITCOIN.to_bytes(), &log, nonce));
        let strangers = (1..=64).filter(|epoch| is_valid(&regtest, &LogId { epoch: *epoch, ..log }, nonce)).count();
        assert!(strangers < 8, "a ticket is worth nothing in other epochs");
        assert_eq!(leading_zero_bits(&[0; 32]), 256);
    }
}
