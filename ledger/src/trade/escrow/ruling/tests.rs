//! What an arbiter can sign, what it costs whom, and what he cannot.

use proptest::prelude::*;

use super::*;
use crate::body::Side;
use crate::testing::{Author, SampleTrade, sats, vaults_of};
use crate::trade::{Contract, SpendPath};
use crate::wire::Outpoint;

const SEATS: [Seat; 2] = [Seat::First, Seat::Second];

/// A trade with two arbiters, with bonds or without.
fn case(bonded: bool) -> (SampleTrade, Contract, Escrow) {
    let trade = SampleTrade::with_second(Side::Sell);
    let contract = if bonded { trade.bonded() } else { trade.contract() };
    let escrow = Escrow::new(&contract);
    (trade, contract, escrow)
}

fn rule(trade: &SampleTrade, escrow: &Escrow, seat: Seat, verdict: Verdict) -> Ruling {
    let vaults = vaults_of(escrow, 1);
    let division = escrow.divide(seat, &vaults, verdict, 10).unwrap();
    escrow.rule(seat, &vaults, division, &trade.arbiter_pair(escrow.contract(), seat)).unwrap()
}

#[test]
fn the_loser_pays_from_his_bond_and_without_one_the_winner_bears_it() {
    let (_, _, plain) = case(false);
    let fee = 10_000; // a hundredth of the amount
    let mined = |inputs, outputs| 10 * vsize(RULED_INPUT_VSIZE, inputs, outputs);
    let divide = |escrow: &Escrow, verdict| {
        let (buyer, seller) = escrow.divide(Seat::First, &vaults_of(escrow, 1), verdict, 10).unwrap();
        (buyer.get(), seller.get())
    };
    assert_eq!(divide(&plain, Verdict::Buyer), (1_000_000 - fee - mined(1, 2), 0));
    assert_eq!(divide(&plain, Verdict::Seller), (0, 1_000_000 - fee - mined(1, 2)));
    let costs = fee + mined(1, 3);
    let of_buyer = costs / 4;
    assert_eq!(divide(&plain, Verdict::Split(sats(250_000))), (250_000 - of_buyer, 750_000 - (costs - of_buyer)));
    let (_, _, bonded) = case(true);
    let costs = fee + mined(2, 3);
    assert_eq!(divide(&bonded, Verdict::Buyer), (1_200_000, 100_000 - costs));
    assert_eq!(divide(&bonded, Verdict::Seller), (200_000 - costs, 1_100_000));
}

#[test]
fn whoever_gets_something_completes_a_ruling_and_nobody_else() {
    for (bonded, seat) in [(false, Seat::First), (false, Seat::Second), (true, Seat::First), (true, Seat::Second)] {
        let (mut trade, contract, escrow) = case(bonded);
        let held = vaults_of(&escrow, 1);
        for verdict in [Verdict::Buyer, Verdict::Seller, Verdict::Split(sats(500_001))] {
            let ruling = rule(&trade, &escrow, seat, verdict);
            assert_eq!(escrow.check_ruling(seat, &ruling), Ok(()));
            for role in [Role::Buyer, Role::Seller] {
                let key = trade.author(role).trade_key();
                let gets = if role == Role::Buyer { ruling.to_buyer } else { ruling.to_seller };
                let completed = escrow.complete_ruling(seat, &ruling, role, &key);
                if gets == Sats::ZERO {
                    assert!(completed.is_err(), "a loser with nothing to get has nothing to complete");
                    continue;
                }
                let tx = completed.unwrap().tx;
                assert_eq!(escrow.classify(&tx, &held), SpendPath::Ruling);
                assert_eq!(escrow.check_witness(&tx, &held), Ok(Some(Leaf::of_arbiter(seat, role))));
                assert_eq!(tx.input[0].sequence, Sequence::from_height(contract.delay_of(seat)));
                let size = vsize(RULED_INPUT_VSIZE, tx.input.len() as u64, tx.output.len() as u64);
                assert!((tx.vsize() as u64) <= size, "{} of {size}", tx.vsize());
                let fee =
                    tx.output.iter().find(|o| o.script_pubkey == *contract.arbiter(seat).unwrap().destination.script());
                assert_eq!(fee.map(|output| output.value.to_sat()), Some(10_000));
            }
        }
    }
}

#[test]
fn a_ruling_that_is_changed_or_anothers_is_none() {
    let (trade, _, escrow) = case(true);
    let good = rule(&trade, &escrow, Seat::First, Verdict::Split(sats(300_000)));
    let plus = |value: Sats| sats(value.get() + 1);
    let minus = |value: Sats| sats(value.get() - 1);
    let mut moved = good.vaults;
    moved.escrow.outpoint.0.vout += 7;
    let none = Signatures::default();
    let changed = [
        Ruling { to_buyer: plus(good.to_buyer), to_seller: minus(good.to_seller), ..good.clone() },
        Ruling { to_buyer: minus(good.to_buyer), ..good.clone() },
        Ruling { to_buyer: Sats::ZERO, ..good.clone() },
        Ruling { to_seller: Sats::MAX, ..good.clone() },
        Ruling { to_seller: sats(545), ..good.clone() },
        Ruling { to_buyer: Sats::ZERO, to_seller: Sats::ZERO, ..good.clone() },
        Ruling { vaults: moved, ..good.clone() },
        Ruling { vaults: Vaults { bond: None, ..good.vaults }, ..good.clone() },
        Ruling { with_buyer: none.clone(), ..good.clone() },
        Ruling { with_seller: none, ..good.clone() },
        Ruling { with_buyer: good.with_seller.clone(), with_seller: good.with_buyer.clone(), ..good.clone() },
    ];
    for ruling in changed {
        assert!(escrow.check_ruling(Seat::First, &ruling).is_err(), "{ruling:?}");
    }
    assert!(escrow.check_ruling(Seat::Second, &good).is_err(), "the first arbiter is not the second");
    let stranger = Author::new(66).trade_key();
    let forged = escrow.rule(Seat::First, &good.vaults, (good.to_buyer, good.to_seller), &stranger).unwrap();
    assert_eq!(escrow.check_ruling(Seat::First, &forged), Err(EscrowError::Signature(Role::Arbiter)));
    let untweaked = trade.arbiter.trade_key();
    let forged = escrow.rule(Seat::First, &good.vaults, (good.to_buyer, good.to_seller), &untweaked).unwrap();
    assert!(escrow.check_ruling(Seat::First, &forged).is_err(), "only the key of this contract");
    let (_, _, other) = case(false);
    assert!(other.check_ruling(Seat::First, &good).is_err());
    let single = SampleTrade::new(Side::Sell);
    let vaults = single.vaults(1);
    assert_eq!(single.escrow().divide(Seat::Second, &vaults, Verdict::Buyer, 10), Err(EscrowError::NoArbiter));
}

#[test]
fn an_extension_keeps_the_coins_where_they_were() {
    for (bonded, seat) in [(false, Seat::First), (true, Seat::Second)] {
        let (mut trade, contract, escrow) = case(bonded);
        let pair = trade.arbiter_pair(&contract, seat);
        let mut held = vaults_of(&escrow, 1);
        for _ in 0..3 {
            let fee = escrow.extension_fee_at(seat, &held, 10).unwrap();
            let extend = escrow.extend(seat, &held, fee, &pair).unwrap();
            assert_eq!(escrow.check_extend(seat, &extend), Ok(()));
            let txids = [Role::Buyer, Role::Seller].map(|role| {
                let key = trade.author(role).trade_key();
                let tx = escrow.complete_extend(seat, &extend, role, &key).unwrap().tx;
                assert_eq!(escrow.classify(&tx, &held), SpendPath::Extension);
                assert_eq!(escrow.check_witness(&tx, &held), Ok(Some(Leaf::of_arbiter(seat, role))));
                assert!((tx.vsize() as u64) <= fee.get() / 10);
                tx
            });
            assert_eq!(txids[0].compute_txid(), txids[1].compute_txid(), "whoever completes it");
            let next = escrow.extended(&txids[0], &held).unwrap();
            assert_eq!(next.escrow.value.get(), held.escrow.value.get() - fee.get());
            assert_eq!(next.bond.map(|bond| bond.value), held.bond.map(|bond| bond.value));
            held = next;
        }
        // What is left can be ruled about, and what extensions cost is reckoned with.
        let (buyer, _) = escrow.divide(seat, &held, Verdict::Buyer, 10).unwrap();
        assert!(buyer < contract.amount || bonded);
        let fees = [0, 100 * 400, Sats::MAX.get()];
        assert!(fees.iter().all(|fee| escrow.extension(seat, &held, sats(*fee)).is_err()));
        let mut forged = escrow.extend(seat, &held, escrow.extension_fee_at(seat, &held, 10).unwrap(), &pair).unwrap();
        forged.fee = sats(forged.fee.get() + 1);
        assert!(escrow.check_extend(seat, &forged).is_err());
    }
}

#[test]
fn what_an_arbiter_signs_beyond_the_parties_is_foreign() {
    let (mut trade, contract, escrow) = case(false);
    let held = vaults_of(&escrow, 1);
    let ruling = rule(&trade, &escrow, Seat::First, Verdict::Buyer);
    let key = trade.author(Role::Buyer).trade_key();
    let tx = escrow.complete_ruling(Seat::First, &ruling, Role::Buyer, &key).unwrap().tx;
    let mut stolen = tx.clone();
    stolen.output[0].script_pubkey = Author::new(77).party().destination.script().clone();
    let mut greedy = tx.clone();
    greedy.output[1].value += bitcoin::Amount::ONE_SAT;
    let mut elsewhere = tx.clone();
    elsewhere.output[0].script_pubkey = Escrow::new(&trade.bonded()).script();
    for tx in [stolen, greedy, elsewhere] {
        assert_eq!(escrow.classify(&tx, &held), SpendPath::Foreign);
    }
    let mut other = held;
    other.escrow.outpoint = Outpoint(bitcoin::OutPoint { vout: 9, ..other.outpoint() });
    assert_eq!(escrow.classify(&tx, &other), SpendPath::Foreign);
    assert_eq!(contract.fee_of(Seat::First), sats(10_000));
}

/// Changes a transaction.
type Change = fn(&mut bitcoin::Transaction);

#[test]
fn an_extension_is_these_outputs_and_nothing_else() {
    let (mut trade, contract, escrow) = case(true);
    let held = vaults_of(&escrow, 1);
    let fee = escrow.extension_fee_at(Seat::First, &held, 10).unwrap();
    let extend = escrow.extend(Seat::First, &held, fee, &trade.arbiter_pair(&contract, Seat::First)).unwrap();
    let key = trade.author(Role::Seller).trade_key();
    let good = escrow.complete_extend(Seat::First, &extend, Role::Seller, &key).unwrap().tx;
    assert_eq!(escrow.classify(&good, &held), SpendPath::Extension);
    let changes: [(&str, Change); 6] = [
        ("it costs nothing", |tx| tx.output[0].value = bitcoin::Amount::from_sat(1_100_000)),
        ("it holds more", |tx| tx.output[0].value = bitcoin::Amount::from_sat(1_100_001)),
        ("the bond shrinks", |tx| tx.output[1].value -= bitcoin::Amount::ONE_SAT),
        ("somebody else gets some", |tx| tx.output.push(tx.output[1].clone())),
        ("other coins come in", |tx| tx.input.push(tx.input[0].clone())),
        ("the outputs change places", |tx| tx.output.swap(0, 1)),
    ];
    for (what, change) in changes {
        let mut other = good.clone();
        change(&mut other);
        assert_eq!(escrow.extended(&other, &held), None, "{what}");
        assert_eq!(escrow.classify(&other, &held), SpendPath::Foreign, "{what}");
    }
}

#[test]
fn an_extension_goes_on_without_a_bond_that_was_taken_back() {
    let (_, _, escrow) = case(true);
    let held = vaults_of(&escrow, 1);
    let alone = Vaults { bond: None, ..held };
    let fee = escrow.extension_fee_at(Seat::First, &alone, 10).unwrap();
    let tx = escrow.extension(Seat::First, &alone, fee).unwrap().tx;
    let extended = escrow.extended(&tx, &held).unwrap();
    assert_eq!((extended.bond, extended.escrow.value.get()), (None, held.escrow.value.get() - fee.get()));
}

/// A contract with this fee of both arbiters and these bonds, and what holds its coins.
fn with_terms(fee_ppm: u32, seller_bond: u64, buyer_bond: u64) -> (Escrow, Vaults) {
    let (_, mut contract, _) = case(false);
    contract.arbiter.fee_ppm = fee_ppm;
    (contract.seller_bond, contract.buyer_bond) = (sats(seller_bond), sats(buyer_bond));
    let escrow = Escrow::new(&contract);
    let held = vaults_of(&escrow, 1);
    (escrow, held)
}

#[test]
fn a_division_pays_for_an_output_of_each_who_has_a_part_or_a_bond() {
    let mined = |inputs, outputs| 10 * vsize(RULED_INPUT_VSIZE, inputs, outputs);
    let fee = 10_000;
    let (split, all) = (Verdict::Split, 1_000_000);
    for (terms, verdict, expected) in [
        ((0, 0, 0), Verdict::Buyer, (all - mined(1, 1), 0)),
        ((10_000, 100_000, 0), Verdict::Buyer, (all, 100_000 - fee - mined(1, 3))),
        // The winner's own bond comes with what he wins.
        ((10_000, 100_000, 0), Verdict::Seller, (0, all + 100_000 - fee - mined(1, 2))),
        ((10_000, 0, 200_000), Verdict::Buyer, (all + 200_000 - fee - mined(2, 2), 0)),
        ((10_000, 0, 200_000), Verdict::Seller, (200_000 - fee - mined(2, 3), all)),
        // The loser's output is reckoned also where the costs leave dust of his bond, or nothing.
        ((10_000, fee + mined(1, 3) + DUST_LIMIT, 0), Verdict::Buyer, (all, DUST_LIMIT)),
        ((10_000, fee + mined(1, 3) + DUST_LIMIT - 1, 0), Verdict::Buyer, (all + DUST_LIMIT - 1, 0)),
        ((10_000, fee, 0), Verdict::Buyer, (all - mined(1, 3), 0)),
        ((10_000, 0, fee + mined(2, 3) + DUST_LIMIT - 1), Verdict::Seller, (0, all + DUST_LIMIT - 1)),
        // Nothing and everything are no parts.
        ((10_000, 0, 0), split(Sats::ZERO), (0, all - fee - mined(1, 2))),
        ((10_000, 0, 0), split(sats(all)), (all - fee - mined(1, 2), 0)),
        ((10_000, 0, 0), split(sats(1_000)), (1_000 - 12, all - 1_000 - (fee + mined(1, 3) - 12))),
    ] {
        let (escrow, held) = with_terms(terms.0, terms.1, terms.2);
        let divided = escrow.divide(Seat::First, &held, verdict, 10).map(|(buyer, seller)| (buyer.get(), seller.get()));
        assert_eq!(divided, Ok(expected), "{verdict:?} of {terms:?}");
    }
    // A bond of nothing is an input, and pays for no output.
    let (escrow, mut held) = with_terms(10_000, 0, 200_000);
    held.bond.as_mut().unwrap().value = Sats::ZERO;
    let divided = escrow.divide(Seat::First, &held, Verdict::Seller, 10).unwrap();
    assert_eq!(divided, (Sats::ZERO, sats(all - fee - mined(2, 2))));
}

#[test]
fn what_would_be_dust_is_the_others_and_nobody_elses() {
    let (escrow, held) = with_terms(10_000, 0, 0);
    let costs = 10_000 + 10 * vsize(RULED_INPUT_VSIZE, 1, 3);
    let all = 1_000_000 - costs;
    for (to_buyer, expected) in [
        (552, (DUST_LIMIT, all - DUST_LIMIT)),
        (551, (0, all)),
        (1_000_000 - 553, (all - DUST_LIMIT, DUST_LIMIT)),
        (1_000_000 - 552, (all, 0)),
    ] {
        let divided = escrow.divide(Seat::First, &held, Verdict::Split(sats(to_buyer)), 10);
        assert_eq!(divided.map(|(buyer, seller)| (buyer.get(), seller.get())), Ok(expected), "{to_buyer}");
    }
    // Nor is any put into a ruling by hand.
    for (to_buyer, to_seller, is_good) in [
        (DUST_LIMIT, 980_000, true),
        (980_000, DUST_LIMIT, true),
        (DUST_LIMIT - 1, 980_000, false),
        (980_000, DUST_LIMIT - 1, false),
        (0, 0, false),
    ] {
        let refused = EscrowError::Division { to_buyer, to_seller };
        let expected = if is_good { Ok(()) } else { Err(refused) };
        assert_eq!(escrow.ruling(Seat::First, &held, sats(to_buyer), sats(to_seller)).map(|_| ()), expected);
    }
}

#[test]
fn a_ruling_pays_for_at_most_100_sat_vb_also_where_the_loser_gets_nothing() {
    // All of the smallest bond goes for the costs: the loser's output is reckoned, and left out.
    for (bonds, verdict) in [((20_000, 0), Verdict::Buyer), ((0, 20_000), Verdict::Seller)] {
        let (_, mut contract, _) = case(false);
        (contract.amount, contract.seller_bond, contract.buyer_bond) = (sats(400_000), sats(bonds.0), sats(bonds.1));
        let escrow = Escrow::new(&contract);
        let held = vaults_of(&escrow, 1);
        let divided = escrow.divide(Seat::First, &held, verdict, MAX_SHARED_FEERATE).unwrap();
        assert_eq!(escrow.feerate_of(Seat::First, &held, verdict, divided), Some(MAX_SHARED_FEERATE));
        let tx = escrow.ruling(Seat::First, &held, divided.0, divided.1).unwrap().tx;
        assert_eq!(tx.output.len(), 2, "the winner's and the arbiter's");
        let more = escrow.divide(Seat::First, &held, verdict, MAX_SHARED_FEERATE + 1);
        assert!(matches!(more, Err(EscrowError::Fee(_))), "{more:?}");
    }
    // Nor does a division by hand leave more to the miner: one input, three outputs.
    let (escrow, held) = with_terms(10_000, 0, 0);
    let all = 1_000_000 - 10_000;
    for (fee, is_good) in [(26_500, true), (26_501, false)] {
        let refused = Err(EscrowError::Fee(fee));
        for (to_buyer, to_seller) in [(500_000, all - 500_000 - fee), (all - fee, 0)] {
            let ruling = escrow.ruling(Seat::First, &held, sats(to_buyer), sats(to_seller)).map(|_| ());
            assert_eq!(ruling, if is_good { Ok(()) } else { refused.clone() }, "{to_buyer} and {to_seller}");
        }
    }
}

#[test]
fn a_feerate_is_found_again_and_only_where_a_verdict_leads() {
    let verdicts = [Verdict::Buyer, Verdict::Seller, Verdict::Split(sats(300_000))];
    let bonds = [(0, 0), (100_000, 0), (0, 200_000), (100_000, 200_000)];
    for (escrow, held) in bonds.map(|(seller, buyer)| with_terms(10_000, seller, buyer)) {
        for (verdict, feerate) in verdicts.into_iter().flat_map(|verdict| [1, 10, 77].map(|feerate| (verdict, feerate)))
        {
            let division = escrow.divide(Seat::First, &held, verdict, feerate).unwrap();
            assert_eq!(escrow.feerate_of(Seat::First, &held, verdict, division), Some(feerate));
            let moved = (division.0, division.1.checked_sub(sats(1)).unwrap_or(sats(1)));
            assert_eq!(escrow.feerate_of(Seat::First, &held, verdict, moved), None, "{verdict:?} at {feerate}");
        }
        for feerate in [1, 10, MAX_SHARED_FEERATE] {
            let fee = escrow.extension_fee_at(Seat::First, &held, feerate).unwrap();
            assert_eq!(escrow.feerate_of_extension(Seat::First, &held, fee), Some(feerate));
            let more = sats(fee.get() + 1);
            assert_eq!(escrow.feerate_of_extension(Seat::First, &held, more), None);
        }
    }
}

#[test]
fn what_is_signed_by_digests_is_what_the_arbiter_would_sign() {
    let secp = bitcoin::key::Secp256k1::new();
    for (bonded, seat) in [(false, Seat::First), (true, Seat::Second)] {
        let (trade, contract, escrow) = case(bonded);
        let (held, pair) = (vaults_of(&escrow, 1), trade.arbiter_pair(&contract, seat));
        let signed = |digests: Vec<[u8; 32]>| -> Vec<CurveSignature> {
            let sign = |digest| secp.sign_schnorr_no_aux_rand(&bitcoin::secp256k1::Message::from_digest(digest), &pair);
            digests.into_iter().map(|digest| CurveSignature(sign(digest))).collect()
        };
        for verdict in [Verdict::Buyer, Verdict::Seller, Verdict::Split(sats(300_000))] {
            let division = escrow.divide(seat, &held, verdict, 10).unwrap();
            let signatures = signed(escrow.ruling_digests(seat, &held, division).unwrap());
            let ruling = rule(&trade, &escrow, seat, verdict);
            assert_eq!(escrow.ruling_of(seat, &held, division, &signatures), Ok(ruling), "{verdict:?}");
            assert!(escrow.ruling_of(seat, &held, division, &signatures[1..]).is_err(), "one is missing");
        }
        let fee = escrow.extension_fee_at(seat, &held, 10).unwrap();
        let signatures = signed(escrow.extension_digests(seat, &held, fee).unwrap());
        assert_eq!(escrow.extend_of(seat, &held, fee, &signatures), escrow.extend(seat, &held, fee, &pair));
        assert!(escrow.extend_of(seat, &held, fee, &signatures[1..]).is_err(), "one is missing");
    }
}

#[test]
fn a_fee_that_would_be_dust_is_none() {
    let (_, mut contract, _) = case(false);
    contract.arbiter.fee_ppm = 545;
    assert_eq!(contract.fee_of(Seat::First), Sats::ZERO);
    contract.arbiter.fee_ppm = 546;
    assert_eq!(contract.fee_of(Seat::First), sats(546));
}

proptest! {
    /// Whatever the amount, the bonds, the fee and the verdict: not a satoshi is made or lost, and nobody gets dust.
    #[test]
    fn a_division_conserves_the_coins(
        amount in 400_000u64..5_000_000_000,
        seller_bond in prop_oneof![Just(0u64), 20_000u64..2_500_000_000],
        buyer_bond in prop_oneof![Just(0u64), 20_000u64..2_500_000_000],
        fee_ppm in 0u32..=100_000,
        part in 0u64..=5_000_000_000,
        feerate in 1u64..=500,
        seat in prop::sample::select(&SEATS[..]),
    ) {
        let (_, contract, _) = case(false);
        let mut contract = Contract {
            amount: sats(amount), seller_bond: sats(seller_bond), buyer_bond: sats(buyer_bond), ..contract
        };
        contract.arbiter.fee_ppm = fee_ppm;
        let escrow = Escrow::new(&contract);
        let held = vaults_of(&escrow, 1);
        let part = part.min(amount);
        let verdict = match part {
            0 => Verdict::Seller,
            part if part == amount => Verdict::Buyer,
            part => Verdict::Split(sats(part)),
        };
        if let Ok((to_buyer, to_seller)) = escrow.divide(seat, &held, verdict, feerate) {
            let draft = escrow.ruling(seat, &held, to_buyer, to_seller).unwrap();
            let out: u64 = draft.tx.output.iter().map(|output| output.value.to_sat()).sum();
            let held = amount + seller_bond + buyer_bond;
            prop_assert!(out <= held);
            prop_assert!(draft.tx.output.iter().all(|output| output.value.to_sat() >= DUST_LIMIT));
            prop_assert_eq!(to_buyer.get() + to_seller.get() + contract.fee_of(seat).get(), out);
            // Nobody gets more than his part and his bond, but for dust that was the other's.
            prop_assert!(to_buyer.get() <= part + buyer_bond + DUST_LIMIT);
            prop_assert!(to_seller.get() <= amount - part + seller_bond + DUST_LIMIT);
        } else {
            prop_assert!(feerate > MAX_SHARED_FEERATE, "a ruling within bounds is refused");
        }
    }
}
