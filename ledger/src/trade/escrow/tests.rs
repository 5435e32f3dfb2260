//! What a cheat cannot do to an escrow, and the sizes that fees are reckoned with.

use bitcoin::hashes::Hash;
use bitcoin::{Txid, WitnessProgram, WitnessVersion};

use super::*;
use crate::body::Side;
use crate::testing::{Author, SampleTrade, sats};
use crate::wire::Destination;

fn outpoint() -> OutPoint {
    OutPoint { txid: Txid::from_byte_array([6; 32]), vout: 1 }
}

fn keys(trade: &mut SampleTrade) -> (Keypair, Keypair) {
    (trade.author(Role::Buyer).trade_key(), trade.author(Role::Seller).trade_key())
}

#[test]
fn only_exactly_the_amount_in_exactly_the_script_funds_an_escrow() {
    let trade = SampleTrade::new(Side::Sell);
    let escrow = trade.escrow();
    let good = escrow.output();
    let more = TxOut { value: good.value + bitcoin::Amount::ONE_SAT, ..good.clone() };
    let less = TxOut { value: good.value - bitcoin::Amount::ONE_SAT, ..good.clone() };
    let mut other_terms = trade.contract();
    other_terms.refund_delay += 1;
    let elsewhere = TxOut { script_pubkey: Escrow::new(&other_terms).script(), ..good.clone() };
    for wrong in [more, less, elsewhere] {
        assert!(escrow.fundings(&crate::testing::spend_of_nowhere(1, vec![wrong])).is_empty());
    }
    let twice = crate::testing::spend_of_nowhere(1, vec![good.clone(), good]);
    let vouts: Vec<u32> = escrow.fundings(&twice).iter().map(|outpoint| outpoint.vout).collect();
    assert_eq!(vouts, [0, 1]);
}

#[test]
fn a_half_is_good_for_one_outpoint_one_fee_and_one_destination() {
    let mut trade = SampleTrade::new(Side::Buy);
    let escrow = trade.escrow();
    let (buyer, seller) = keys(&mut trade);
    let half = escrow.half(outpoint(), sats(1_700), Role::Buyer, &seller).unwrap();
    assert_eq!(escrow.check_half(&half, Role::Buyer), Ok(()));
    let other = Outpoint(OutPoint { vout: 2, ..outpoint() });
    let forged = [
        (HalfSpend { outpoint: other, ..half.clone() }, Role::Buyer),
        (HalfSpend { fee: sats(1_701), ..half.clone() }, Role::Buyer),
        (half.clone(), Role::Seller),
        (escrow.half(outpoint(), sats(1_700), Role::Buyer, &buyer).unwrap(), Role::Buyer),
        (escrow.half(outpoint(), sats(1_700), Role::Seller, &seller).unwrap(), Role::Buyer),
    ];
    for (half, to) in forged {
        assert_eq!(escrow.check_half(&half, to), Err(EscrowError::Signature(counterparty(to))));
        assert!(escrow.complete(&half, to, &buyer).is_err());
    }
    let mut other_terms = trade.contract();
    other_terms.height += 1;
    assert!(
        Escrow::new(&other_terms).check_half(&half, Role::Buyer).is_err(),
        "a half is worth nothing in another contract"
    );
}

#[test]
fn a_hostile_fee_is_refused() {
    let mut trade = SampleTrade::new(Side::Sell);
    let escrow = trade.escrow();
    let (_, seller) = keys(&mut trade);
    for fee in [0, SPEND_VSIZE - 1, SPEND_VSIZE * MAX_SPEND_FEERATE + 1, 1_000_000, 1_000_001, Sats::MAX.get()] {
        let refused = Err(EscrowError::Fee(fee));
        assert_eq!(escrow.spend(outpoint(), sats(fee), Role::Buyer).map(|_| ()), refused);
        assert_eq!(escrow.timeout(outpoint(), sats(fee)).map(|_| ()), refused);
        let half = escrow.half(outpoint(), sats(1_700), Role::Buyer, &seller).unwrap();
        assert_eq!(escrow.check_half(&HalfSpend { fee: sats(fee), ..half }, Role::Buyer), refused);
    }
    assert_eq!(escrow.fee_at(10), Ok(sats(1_700)));
    for feerate in [0, MAX_SPEND_FEERATE + 1, u64::MAX] {
        assert!(escrow.fee_at(feerate).is_err());
    }
    let mut tiny = trade.contract();
    tiny.amount = sats(SPEND_VSIZE + DUST_LIMIT - 1);
    assert!(Escrow::new(&tiny).fee_at(1).is_err(), "what remains must not be dust");
}

#[test]
fn a_completed_spend_has_the_size_that_its_fee_was_reckoned_with() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut contract = trade.contract();
    let program = WitnessProgram::new(WitnessVersion::V1, &[2; 32]).unwrap();
    contract.buyer_party.destination = Destination::new(ScriptBuf::new_witness_program(&program)).unwrap();
    let escrow = Escrow::new(&contract);
    let (buyer, seller) = keys(&mut trade);
    let half = escrow.half(outpoint(), sats(1_700), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap();
    assert!((SPEND_VSIZE - 2..=SPEND_VSIZE).contains(&(payout.vsize() as u64)), "{}", payout.vsize());
    let timeout = escrow.signed_timeout(outpoint(), sats(1_700), &seller).unwrap();
    assert!(timeout.vsize() as u64 <= SPEND_VSIZE);
    assert_eq!([payout.version, timeout.version], [Version(3); 2]);
    assert_eq!(timeout.input[0].sequence, Sequence::from_height(4320));
}

#[test]
fn spends_are_told_apart_by_where_the_coins_go() {
    let mut trade = SampleTrade::new(Side::Sell);
    let escrow = trade.escrow();
    let (buyer, seller) = keys(&mut trade);
    let half = escrow.half(outpoint(), sats(1_700), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap();
    let half = escrow.half(outpoint(), sats(1_700), Role::Seller, &buyer).unwrap();
    let refund = escrow.complete(&half, Role::Seller, &seller).unwrap();
    let timeout = escrow.signed_timeout(outpoint(), sats(1_700), &seller).unwrap();
    let mut elsewhere = payout.clone();
    elsewhere.output[0].script_pubkey = Author::new(77).party().destination.script().clone();
    let mut split = payout.clone();
    split.output.push(payout.output[0].clone());
    let mut joined = payout.clone();
    joined.input.push(TxIn::default());
    let mut ruled = escrow.spend(outpoint(), sats(1_700), Role::Buyer).unwrap();
    escrow.attach(&mut ruled, Leaf::BuyerArbiter, &[half.signature.0, half.signature.0]);
    for (tx, path) in [
        (&payout, SpendPath::Payout),
        (&refund, SpendPath::Refund),
        (&timeout, SpendPath::Timeout),
        (&ruled, SpendPath::Foreign), // the arbiter signed it, the seller did not
        (&elsewhere, SpendPath::Foreign),
        (&split, SpendPath::Foreign),
        (&joined, SpendPath::Foreign),
    ] {
        assert_eq!(escrow.classify(tx, outpoint()), path);
    }
    assert_eq!(escrow.classify(&payout, OutPoint { vout: 5, ..outpoint() }), SpendPath::Foreign);
}

#[test]
fn every_term_moves_the_escrow() {
    let contract = SampleTrade::new(Side::Sell).contract();
    let address = |contract: &Contract| Escrow::new(contract).address(Network::Regtest);
    let changes: [fn(&mut Contract); 8] = [
        |c| c.amount = sats(1_000_001),
        |c| c.cost += 1,
        |c| c.confirmations += 1,
        |c| c.height += 1,
        |c| c.network[0] ^= 1,
        |c| c.buyer_party.details[0] ^= 1,
        |c| c.seller_party.destination = Author::new(9).party().destination,
        |c| c.arbiter.0[0] ^= 1,
    ];
    let original = address(&contract);
    for change in changes {
        let mut other = contract.clone();
        change(&mut other);
        assert_ne!(address(&other), original);
    }
}
