//! What a cheat cannot do to an escrow, and the sizes that fees are reckoned with. `ruling/tests.rs` has what arbiters do.

use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Sequence, TxIn, Txid, WitnessProgram, WitnessVersion};

use super::*;
use crate::body::{HalfSpend, Side};
use crate::rules::{MAX_SHARED_FEERATE, MAX_SPEND_FEERATE};
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
    let (buyer, seller) = keys(&mut trade);
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
    // Of what one signs and the other pays for, 101 sat/vB are too much already.
    for (to, key) in [(Role::Buyer, &seller), (Role::Seller, &buyer)] {
        let half = escrow.half(&vaults, sats(17_000), to, key).unwrap();
        assert_eq!(escrow.check_half(&half, to), Ok(()));
        let more = HalfSpend { fee: sats(17_001), ..half };
        assert_eq!(escrow.check_half(&more, to), Err(EscrowError::Fee(17_001)), "at the cost of the {to}");
        assert_eq!(escrow.fee_at(&vaults, to, MAX_SHARED_FEERATE), Ok(sats(17_000)));
        assert_eq!(escrow.fee_at(&vaults, to, MAX_SHARED_FEERATE + 1), Err(EscrowError::Fee(17_170)));
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
fn a_fee_is_good_up_to_its_bounds_and_what_remains_down_to_dust() {
    let trade = SampleTrade::new(Side::Sell);
    let [least, shared, most] = [1, MAX_SHARED_FEERATE, MAX_SPEND_FEERATE].map(|feerate| SPEND_VSIZE * feerate);
    let dust = DUST_LIMIT;
    for (amount, fee, for_both, alone) in [
        (1_000_000, least - 1, false, false),
        (1_000_000, least, true, true),
        (1_000_000, shared, true, true),
        (1_000_000, shared + 1, false, true),
        (1_000_000, most, false, true),
        (1_000_000, most + 1, false, false),
        (least + dust, least, true, true),
        (least + dust - 1, least, false, false),
    ] {
        let escrow = Escrow::new(&Contract { amount: sats(amount), ..trade.contract() });
        let held = vaults(&escrow);
        for to in [Role::Buyer, Role::Seller] {
            assert_eq!(escrow.spend(&held, sats(fee), to).is_ok(), for_both, "{fee} of {amount} to the {to}");
        }
        assert_eq!(escrow.timeout(Vault::Escrow, held.escrow, sats(fee)).is_ok(), alone, "{fee} of {amount}");
    }
    // The loser's bond is an output too.
    for (seller_bond, is_good) in [(dust - 1, false), (dust, true)] {
        let escrow = Escrow::new(&Contract { seller_bond: sats(seller_bond), ..trade.contract() });
        assert_eq!(escrow.fee_at(&vaults(&escrow), Role::Buyer, 10).is_ok(), is_good, "a bond of {seller_bond}");
    }
}

#[test]
fn a_payout_is_shown_with_the_size_that_it_is_reckoned_with() {
    let plain = SampleTrade::new(Side::Sell).contract();
    for (seller_bond, buyer_bond, size) in [
        (0, 0, 11 + 116 + 43),
        (100_000, 0, 11 + 116 + 86),
        (0, 200_000, 11 + 232 + 43),
        (100_000, 200_000, 11 + 232 + 86),
    ] {
        let contract = Contract { seller_bond: sats(seller_bond), buyer_bond: sats(buyer_bond), ..plain.clone() };
        let escrow = Escrow::new(&contract);
        assert_eq!(escrow.fee_at(&vaults(&escrow), Role::Buyer, 1), Ok(sats(size)));
        assert_eq!(payout_vsize(seller_bond > 0, buyer_bond > 0), size);
    }
}

#[test]
fn both_outputs_are_watched_the_escrow_first() {
    let trade = SampleTrade::new(Side::Sell);
    assert_eq!(trade.escrow().scripts(), [trade.escrow().script()]);
    let bonded = Escrow::new(&trade.bonded());
    assert_eq!(bonded.scripts(), [bonded.script(), bonded.bond_output().unwrap().script_pubkey]);
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
        // Told apart from what takes another output, and from what goes by the leaf of another.
        let elsewhere = Coin { outpoint: Outpoint(OutPoint { vout: 9, ..coin.outpoint.0 }), ..coin };
        let other = if vault == Vault::Escrow { Vault::Bond } else { Vault::Escrow };
        assert!(escrow.takes_back(&tx, vault, &coin));
        assert!(!escrow.takes_back(&tx, vault, &elsewhere) && !escrow.takes_back(&tx, other, &coin));
    }
    let half = escrow.half(&held, escrow.fee_at(&held, Role::Buyer, 10).unwrap(), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
    assert!(!escrow.takes_back(&payout, Vault::Escrow, &held.escrow), "both signed it");
    assert!(!escrow.takes_back(&payout, Vault::Bond, &held.bond.unwrap()));
}

/// A peer's half is for no more than the contract put in; what this side's own chain shows is taken as it is.
#[test]
fn what_was_paid_in_another_amount_is_taken_back_whole() {
    let mut trade = SampleTrade::new(Side::Sell);
    let escrow = Escrow::new(&trade.bonded());
    let held = vaults_of(&escrow, 1);
    let (buyer, seller) = keys(&mut trade);
    for (vault, coin, role, key) in
        [(Vault::Escrow, held.escrow, Role::Seller, &seller), (Vault::Bond, held.bond.unwrap(), Role::Buyer, &buyer)]
    {
        for value in [10_000, coin.value.get() - 1, coin.value.get() + 1, 5 * coin.value.get()] {
            let coin = Coin { value: sats(value), ..coin };
            let draft = escrow.signed_timeout(vault, coin, sats(1_700), key).unwrap();
            assert_eq!(draft.prevouts()[0].value.to_sat(), value, "the {role}");
            assert_eq!(draft.tx.output[0].value.to_sat(), value - 1_700);
            let signature = draft.tx.input[0].witness.nth(0).unwrap();
            let signature = bitcoin::secp256k1::schnorr::Signature::from_slice(signature).unwrap();
            let sighash = escrow.sighash(&draft, 0, Leaf::Refund).unwrap();
            let secp = Secp256k1::verification_only();
            assert!(secp.verify_schnorr(&signature, &sighash, &key.x_only_public_key().0).is_ok());
        }
    }
    let plain = trade.escrow();
    assert_eq!(plain.timeout(Vault::Bond, held.bond.unwrap(), sats(1_700)).map(|_| ()), Err(EscrowError::Vaults));
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
fn each_gets_his_bond_back_to_the_satoshi_or_the_spend_is_foreign() {
    let escrow = Escrow::new(&SampleTrade::new(Side::Sell).bonded());
    let held = vaults(&escrow);
    for (to, path, loser) in [(Role::Buyer, SpendPath::Payout, 1), (Role::Seller, SpendPath::Refund, 0)] {
        let tx = escrow.spend(&held, escrow.fee_at(&held, to, 10).unwrap(), to).unwrap().tx;
        assert_eq!(escrow.classify(&tx, &held), path);
        for sats in [99_999u64, 100_001, 199_999, 200_001] {
            let mut other = tx.clone();
            other.output[loser].value = bitcoin::Amount::from_sat(sats);
            assert_eq!(escrow.classify(&other, &held), SpendPath::Foreign, "{sats} for the loser");
        }
        let mut alone = tx.clone();
        alone.output.remove(loser);
        assert_eq!(escrow.classify(&alone, &held), SpendPath::Foreign);
        let mut twice = tx.clone();
        twice.output[1 - loser] = tx.output[loser].clone();
        assert_eq!(escrow.classify(&twice, &held), SpendPath::Foreign, "nothing for the winner");
    }
}

#[test]
fn a_spend_is_told_by_what_it_spends_and_by_its_outputs_in_any_order() {
    let escrow = Escrow::new(&SampleTrade::new(Side::Sell).bonded());
    let held = vaults(&escrow);
    let alone = Vaults { bond: None, ..held };
    let spend = |spent: &Vaults, to| escrow.spend(spent, escrow.fee_at(spent, to, 10).unwrap(), to).unwrap().tx;
    for (to, path) in [(Role::Buyer, SpendPath::Payout), (Role::Seller, SpendPath::Refund)] {
        for spent in [held, alone] {
            let mut tx = spend(&spent, to);
            assert_eq!(escrow.classify(&tx, &held), path, "{spent:?}");
            tx.output.reverse();
            assert_eq!(escrow.classify(&tx, &held), path, "{spent:?}");
        }
    }
    // Who leaves the bond where it is has none to give back.
    let mut tx = spend(&alone, Role::Seller);
    let script_pubkey = escrow.contract().buyer_party.destination.script().clone();
    tx.output.push(TxOut { value: held.bond.unwrap().value.into(), script_pubkey });
    assert_eq!(escrow.classify(&tx, &held), SpendPath::Foreign);
}

#[test]
fn each_way_is_one_of_five() {
    for (path, kind) in [
        (SpendPath::Payout, 0),
        (SpendPath::Refund, 1),
        (SpendPath::Timeout, 1),
        (SpendPath::Foreign, 2),
        (SpendPath::Ruling, 3),
        (SpendPath::Extension, 4),
    ] {
        let told = [path.is_payout(), path.is_refund(), path.is_foreign(), path.is_ruling(), path.is_extension()];
        assert_eq!(told, std::array::from_fn(|at| at == kind), "{path:?}");
    }
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
