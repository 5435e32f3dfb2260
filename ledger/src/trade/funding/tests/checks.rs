//! What a side checks before it signs: the coins by its own chain, feerate and lock height by its own bounds.

use super::*;
use crate::rules::MAX_SPEND_FEERATE;

/// Bisq, 2026: values that the peer stated entered the deposit unchecked, and 11.59 BTC were taken. Here the peer states no
/// value; what his coins hold is what this side's chain shows.
#[test]
fn a_coin_that_holds_less_than_its_owner_needs_stops_the_funding_as_at_bisq_in_2026() {
    let (mut seller, mut buyer) = both_willing();
    seller.chain.insert(outpoint(101), unspent(101, 1_000));
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    assert!(seller.complete.is_empty() && seller.signed.is_empty());
    assert!(matches!(seller.refused[0], FundingError::Short { role: Role::Buyer, .. }));
    let (mut seller, mut buyer) = both_willing();
    buyer.chain.insert(outpoint(1), unspent(1, 1_000));
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    assert!(buyer.signed.is_empty() && buyer.answers.is_empty());
    assert!(matches!(buyer.refused[0], FundingError::Short { role: Role::Seller, .. }));
}

#[test]
fn only_confirmed_unspent_taproot_coins_of_others_are_taken() {
    let txid = Txid::from_byte_array([9; 32]);
    let p2wpkh = TxOut { value: Amount::from_sat(700_000), script_pubkey: destination(1).script().clone() };
    let cases = [
        InputState::Unconfirmed,
        InputState::Unknown,
        InputState::Spent { by: txid, depth: 0 },
        InputState::Unspent { output: p2wpkh, ours: false },
        InputState::Unspent { output: escrow(1, 700_000), ours: true },
        InputState::Unspent { output: escrow(1, u64::MAX), ours: false },
        InputState::Unspent { output: escrow(1, Sats::MAX.get()), ours: false },
    ];
    for state in cases {
        let (mut seller, mut buyer) = both_willing();
        buyer.chain.insert(outpoint(1), state.clone());
        negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
        assert!(buyer.signed.is_empty() && !buyer.refused.is_empty(), "{state:?}");
        // The chain comes to show it: then it goes on, with the proposal that is there.
        buyer.chain.clear();
        negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
        assert_eq!(seller.complete.len(), 1, "{state:?}");
    }
}

#[test]
fn a_feerate_out_of_reason_and_a_lock_to_come_are_refused() {
    for (feerate, height, expected) in [
        (HIGHEST + 1, TIP, FundingError::Feerate { feerate: HIGHEST + 1, highest: HIGHEST }),
        (0, TIP, FundingError::Feerate { feerate: 0, highest: MAX_SPEND_FEERATE }),
        (10, TIP + 1, FundingError::LockHeight { height: TIP + 1 }),
        (10, FROM - 1, FundingError::LockHeight { height: FROM - 1 }),
        (10, u32::MAX, FundingError::LockHeight { height: u32::MAX }),
    ] {
        let (mut seller, mut buyer) = both_willing();
        let mut tamper = |proposal: &mut Option<Proposal>, _: &mut Option<Answer>| {
            if let Some(proposal) = proposal {
                (proposal.feerate, proposal.height) = (feerate, height);
            }
        };
        negotiate(&mut tamper, &mut seller, &mut buyer);
        assert!(buyer.signed.is_empty());
        assert!(buyer.refused.contains(&expected), "{:?}", buyer.refused);
    }
}

#[test]
fn a_feerate_is_paid_up_to_twice_ones_own_and_a_little() {
    assert_eq!([0, 1, 10, u64::MAX].map(highest_feerate), [5, 7, 25, u64::MAX]);
    for (feerate, height) in [(HIGHEST, TIP), (1, TIP), (10, FROM)] {
        let (mut seller, mut buyer) = both_willing();
        let mut tamper = |proposal: &mut Option<Proposal>, _: &mut Option<Answer>| {
            if let Some(proposal) = proposal {
                (proposal.feerate, proposal.height) = (feerate, height);
            }
        };
        negotiate(&mut tamper, &mut seller, &mut buyer);
        assert_eq!(buyer.signed.len(), 1, "{feerate} at {height}: {:?}", buyer.refused);
    }
}
