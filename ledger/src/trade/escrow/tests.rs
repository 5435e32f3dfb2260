//! What a cheat cannot do to an escrow, and the sizes that fees are reckoned with. `ruling/tests.rs` has what arbiters do.

use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Sequence, TxIn, Txid, WitnessProgram, WitnessVersion};

use super::*;
use crate::body::{HalfSpend, Side};
use crate::rules::MAX_SPEND_FEERATE;
use crate::testing::{Author, SampleTrade, funding_of, sats, spend_of_nowhere, vaults_of};
use crate::wire::Destination;

fn outpoint() -> OutPoint {
    OutPoint { txid: Txid::from_byte_array([6; 32]), vout: 1 }
}

/// Returns what holds the coins of an escrow at outputs of nowhere.
fn vaults(escrow: &Escrow) -> Vaults {
    let coin = |vout, value| Coin { outpoint: Outpoint(OutPoint { vout, ..outpoint() }), value };
    let contract = escrow.contract();
    let bond = (contract.buyer_bond > Sats::ZERO).then(|| coin(2, contract.buyer_bond));
    Vaults { escrow: coin(1, contract.escrow_value()), bond }
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
        assert!(escrow.fundings(&spend_of_nowhere(1, vec![wrong])).is_empty());
    }
    let twice = spend_of_nowhere(1, vec![good.clone(), good]);
    let vouts: Vec<u32> = escrow.fundings(&twice).iter().map(|vaults| vaults.outpoint().vout).collect();
    assert_eq!(vouts, [0, 1]);
}

#[test]
fn a_bonded_escrow_is_funded_by_both_outputs_or_not_at_all() {
    let escrow = Escrow::new(&SampleTrade::new(Side::Sell).bonded());
    assert_eq!(escrow.output().value.to_sat(), 1_100_000, "the amount and the seller's bond");
    let (held, bond) = (escrow.output(), escrow.bond_output().unwrap());
    assert_eq!(bond.value.to_sat(), 200_000);
    assert_ne!(held.script_pubkey, bond.script_pubkey, "each is its funder's to take back");
    for alone in [vec![held.clone()], vec![bond.clone()]] {
        assert!(escrow.fundings(&spend_of_nowhere(1, alone)).is_empty());
    }
    let swapped = escrow.fundings(&spend_of_nowhere(1, vec![bond.clone(), held.clone()]));
    assert_eq!(swapped[0].bond.unwrap().outpoint.0.vout, 0);
    let short = TxOut { value: bond.value - bitcoin::Amount::ONE_SAT, ..bond };
    assert!(escrow.fundings(&spend_of_nowhere(1, vec![held, short])).is_empty());
}

#[test]
fn a_half_is_good_for_one_outpoint_one_fee_and_one_destination() {
    let mut trade = SampleTrade::new(Side::Buy);
    let escrow = trade.escrow();
    let (buyer, seller) = keys(&mut trade);
    let vaults = vaults(&escrow);
    let half = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
    assert_eq!(escrow.check_half(&half, Role::Buyer), Ok(()));
    let mut other = vaults;
    other.escrow.outpoint.0.vout = 2;
    let mut less = vaults;
    less.escrow.value = sats(999_999);
    let forged = [
        (HalfSpend { vaults: other, ..half.clone() }, Role::Buyer),
        (HalfSpend { vaults: less, ..half.clone() }, Role::Buyer),
        (HalfSpend { fee: sats(1_701), ..half.clone() }, Role::Buyer),
        (HalfSpend { signatures: crate::body::Signatures::default(), ..half.clone() }, Role::Buyer),
        (half.clone(), Role::Seller),
        (escrow.half(&vaults, sats(1_700), Role::Buyer, &buyer).unwrap(), Role::Buyer),
        (escrow.half(&vaults, sats(1_700), Role::Seller, &seller).unwrap(), Role::Buyer),
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
    let mut more = vaults;
    more.escrow.value = sats(1_000_001);
    assert_eq!(escrow.half(&more, sats(1_700), Role::Buyer, &seller), Err(EscrowError::Vaults));
    let bond = Some(Coin { outpoint: Outpoint(outpoint()), value: sats(1) });
    assert_eq!(escrow.half(&Vaults { bond, ..vaults }, sats(2_860), Role::Buyer, &seller), Err(EscrowError::Vaults));
}

#[test]
fn a_payout_gives_each_his_bond_and_a_refund_does_too() {
    let mut trade = SampleTrade::new(Side::Sell);
    let escrow = Escrow::new(&trade.bonded());
    let (buyer, seller) = keys(&mut trade);
    let held = vaults_of(&escrow, 1);
    for (to, key, mine, expected) in [
        (Role::Buyer, &seller, &buyer, [1_000_000 + 200_000, 100_000]),
        (Role::Seller, &buyer, &seller, [200_000, 1_000_000 + 100_000]),
    ] {
        let fee = escrow.fee_at(&held, to, 10).unwrap();
        let half = escrow.half(&held, fee, to, key).unwrap();
        let draft = escrow.complete(&half, to, mine).unwrap();
        let mut expected = expected;
        expected[usize::from(to == Role::Seller)] -= fee.get();
        let paid: Vec<(u64, &ScriptBuf)> =
            draft.tx.output.iter().map(|output| (output.value.to_sat(), &output.script_pubkey)).collect();
        assert_eq!(
            paid,
            [(expected[0], escrow.destination(Role::Buyer)), (expected[1], escrow.destination(Role::Seller)),]
        );
        assert_eq!(draft.tx.input.len(), 2, "both outputs in one transaction");
        assert_eq!(escrow.check_witness(&draft.tx, &held), Ok(Some(Leaf::Both)));
        assert!((draft.tx.vsize() as u64) <= fee.get() / 10);
        // The signatures of one output are none for the other.
        let mut swapped = draft.tx.clone();
        let witness = swapped.input[0].witness.clone();
        swapped.input[0].witness = std::mem::replace(&mut swapped.input[1].witness, witness);
        assert!(escrow.check_witness(&swapped, &held).is_err());
    }
    // After the buyer took his bond back, the rest can still be paid out.
    let alone = Vaults { bond: None, ..held };
    let half = escrow.half(&alone, escrow.fee_at(&alone, Role::Buyer, 10).unwrap(), Role::Buyer, &seller).unwrap();
    let tx = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
    assert_eq!(escrow.classify(&tx, &held), SpendPath::Payout);
}

#[test]
fn a_hostile_fee_is_refused() {
    let mut trade = SampleTrade::new(Side::Sell);
    let escrow = trade.escrow();
    let vaults = vaults(&escrow);
    let (_, seller) = keys(&mut trade);
    for fee in [0, SPEND_VSIZE - 1, SPEND_VSIZE * MAX_SPEND_FEERATE + 1, 1_000_000, 1_000_001, Sats::MAX.get()] {
        let refused = Err(EscrowError::Fee(fee));
        assert_eq!(escrow.spend(&vaults, sats(fee), Role::Buyer).map(|_| ()), refused);
        assert_eq!(escrow.timeout(Vault::Escrow, vaults.escrow, sats(fee)).map(|_| ()), refused);
        let half = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
        assert_eq!(escrow.check_half(&HalfSpend { fee: sats(fee), ..half }, Role::Buyer), refused);
    }
    assert_eq!(escrow.fee_at(&vaults, Role::Buyer, 10), Ok(sats(1_700)));
    for feerate in [0, MAX_SPEND_FEERATE + 1, u64::MAX] {
        assert!(escrow.fee_at(&vaults, Role::Buyer, feerate).is_err());
        assert!(escrow.timeout_fee_at(Vault::Escrow, vaults.escrow, feerate).is_err());
    }
    let mut tiny = trade.contract();
    tiny.amount = sats(SPEND_VSIZE + DUST_LIMIT - 1);
    let tiny = Escrow::new(&tiny);
    assert!(tiny.fee_at(&self::vaults(&tiny), Role::Buyer, 1).is_err(), "what remains must not be dust");
}

#[test]
fn a_completed_spend_has_the_size_that_its_fee_was_reckoned_with() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut contract = trade.contract();
    let program = WitnessProgram::new(WitnessVersion::V1, &[2; 32]).unwrap();
    contract.buyer_party.destination = Destination::new(ScriptBuf::new_witness_program(&program)).unwrap();
    let escrow = Escrow::new(&contract);
    let vaults = vaults(&escrow);
    let (buyer, seller) = keys(&mut trade);
    let half = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
    assert!((SPEND_VSIZE - 2..=SPEND_VSIZE).contains(&(payout.vsize() as u64)), "{}", payout.vsize());
    let timeout = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &seller).unwrap().tx;
    assert!(timeout.vsize() as u64 <= SPEND_VSIZE);
    assert_eq!([payout.version, timeout.version], [Version(3); 2]);
    assert_eq!(timeout.input[0].sequence, Sequence::from_height(4320));
}

#[test]
fn each_takes_back_his_own_alone() {
    let mut trade = SampleTrade::new(Side::Sell);
    let escrow = Escrow::new(&trade.bonded());
    let held = vaults_of(&escrow, 1);
    let (buyer, seller) = keys(&mut trade);
    for (vault, coin, role, key) in
        [(Vault::Escrow, held.escrow, Role::Seller, &seller), (Vault::Bond, held.bond.unwrap(), Role::Buyer, &buyer)]
    {
        let tx = escrow.signed_timeout(vault, coin, sats(1_700), key).unwrap().tx;
        assert_eq!(escrow.check_witness(&tx, &held), Ok(Some(Leaf::Refund)));
        assert_eq!(tx.output[0].script_pubkey, *escrow.destination(role));
        assert_eq!(escrow.classify(&tx, &held), SpendPath::Timeout);
        let theirs = if role == Role::Seller { &buyer } else { &seller };
        let stolen = escrow.signed_timeout(vault, coin, sats(1_700), theirs).unwrap().tx;
        assert!(escrow.check_witness(&stolen, &held).is_err(), "it is not the other's");
    }
}

#[test]
fn spends_are_told_apart_by_where_the_coins_go() {
    let mut trade = SampleTrade::new(Side::Sell);
    let escrow = trade.escrow();
    let vaults = vaults(&escrow);
    let (buyer, seller) = keys(&mut trade);
    let half = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
    let half = escrow.half(&vaults, sats(1_700), Role::Seller, &buyer).unwrap();
    let refund = escrow.complete(&half, Role::Seller, &seller).unwrap().tx;
    let timeout = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &seller).unwrap().tx;
    let mut elsewhere = payout.clone();
    elsewhere.output[0].script_pubkey = Author::new(77).party().destination.script().clone();
    let mut split = payout.clone();
    split.output.push(payout.output[0].clone());
    let mut joined = payout.clone();
    joined.input.push(TxIn::default());
    for (tx, path) in [
        (&payout, SpendPath::Payout),
        (&refund, SpendPath::Refund),
        (&timeout, SpendPath::Timeout),
        (&elsewhere, SpendPath::Foreign),
        (&split, SpendPath::Foreign),
        (&joined, SpendPath::Foreign),
    ] {
        assert_eq!(escrow.classify(tx, &vaults), path);
    }
    let mut others = vaults;
    others.escrow.outpoint.0.vout = 5;
    assert_eq!(escrow.classify(&payout, &others), SpendPath::Foreign);
}

#[test]
fn every_term_moves_the_escrow() {
    let contract = SampleTrade::with_second(Side::Sell).contract();
    let address = |contract: &Contract| Escrow::new(contract).address(Network::Regtest);
    let changes: [fn(&mut Contract); 15] = [
        |c| c.amount = sats(1_000_001),
        |c| c.seller_bond = sats(1),
        |c| c.buyer_bond = sats(1),
        |c| c.cost += 1,
        |c| c.confirmations += 1,
        |c| c.height += 1,
        |c| c.second_delay += 1,
        |c| c.network[0] ^= 1,
        |c| c.buyer_party.details[0] ^= 1,
        |c| c.seller_party.destination = Author::new(9).party().destination,
        |c| c.arbiter.author.0[0] ^= 1,
        |c| c.arbiter.fee_ppm += 1,
        |c| c.arbiter.destination = Author::new(9).party().destination,
        |c| c.arbiter.seal_key[0] ^= 1,
        |c| c.second_arbiter = None,
    ];
    let original = address(&contract);
    for change in changes {
        let mut other = contract.clone();
        change(&mut other);
        assert_ne!(address(&other), original);
    }
}

#[test]
fn funding_helpers_fund() {
    let escrow = Escrow::new(&SampleTrade::with_second(Side::Buy).bonded());
    assert_eq!(escrow.fundings(&funding_of(&escrow, 3)), [vaults_of(&escrow, 3)]);
}
