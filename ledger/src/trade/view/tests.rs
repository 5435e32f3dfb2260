//! Which of several fundings counts, and what is said about it.

use proptest::prelude::*;

use super::*;
use crate::body::{Coin, Side, Signatures};
use crate::ids::TradeId;
use crate::testing::{HEIGHT, SampleTrade, sats, spend_of_nowhere, vaults_of};
use crate::trade::evaluate;

/// The sample contract asks for three confirmations.
const TIP: u32 = 200;
const BURIED: Option<u32> = Some(TIP - 2);
const SHALLOW: Option<u32> = Some(TIP - 1);

fn spend(coins: &[Coin], path: SpendPath, height: Option<u32>) -> Spend {
    let mut tx = spend_of_nowhere(1, Vec::new());
    let input = tx.input.remove(0);
    tx.input.extend(coins.iter().map(|coin| bitcoin::TxIn { previous_output: coin.outpoint.0, ..input.clone() }));
    Spend { tx, path, height }
}

fn unsigned(vaults: &Vaults) -> HalfSpend {
    HalfSpend { vaults: *vaults, fee: sats(1_700), signatures: Signatures::default() }
}

/// What speaks for an output: how much (less is more), and what it is.
type Standing = (u8, &'static str, fn(&mut View, &Vaults));

const STANDINGS: &[Standing] = &[
    (0, "its payout is buried", |view, of| spends(view, of, SpendPath::Payout, BURIED)),
    (1, "it is released", |view, of| view.facts.releases.push(unsigned(of))),
    (1, "its payout is seen", |view, of| spends(view, of, SpendPath::Payout, None)),
    (1, "it is released, and a refund and a spend back wait in the pool", |view, of| {
        view.facts.releases.push(unsigned(of));
        spends(view, of, SpendPath::Refund, None);
        spends(view, of, SpendPath::Timeout, None);
    }),
    (2, "it was given back", |view, of| spends(view, of, SpendPath::Refund, BURIED)),
    (2, "it is released, and was given back", |view, of| {
        view.facts.releases.push(unsigned(of));
        spends(view, of, SpendPath::Refund, BURIED);
    }),
    (3, "a refund is seen", |view, of| spends(view, of, SpendPath::Refund, None)),
    (3, "it is released, and a refund is in a block", |view, of| {
        view.facts.releases.push(unsigned(of));
        spends(view, of, SpendPath::Refund, SHALLOW);
    }),
    (3, "its refund is signed", |view, of| view.facts.refunds.push(unsigned(of))),
    (3, "it is ruled about", |view, of| rule_about(view, of, Seat::First)),
    (3, "an extension of it is signed", |view, of| extend(view, of, Seat::First)),
    (4, "the seller names it", |view, of| view.facts.funded = Some(of.outpoint())),
    (4, "the seller names it, and a spend back waits in the pool", |view, of| {
        view.facts.funded = Some(of.outpoint());
        spends(view, of, SpendPath::Timeout, None);
    }),
    (5, "nothing", |_, _| {}),
    (5, "it is released as one that holds less", |view, of| view.facts.releases.push(unsigned(&less(of)))),
    (5, "its refund is signed as of one that holds less", |view, of| view.facts.refunds.push(unsigned(&less(of)))),
    (5, "it is ruled about as one that holds less", |view, of| rule_about(view, &less(of), Seat::First)),
    (5, "an extension of it is signed as of one that holds less", |view, of| extend(view, &less(of), Seat::First)),
    (5, "it is released with a bond that there is not", |view, of| {
        view.facts.releases.push(unsigned(&Vaults { bond: Some(of.escrow), ..*of }));
    }),
    (5, "a spend back waits in the pool", |view, of| spends(view, of, SpendPath::Timeout, None)),
    (6, "it was taken back", |view, of| spends(view, of, SpendPath::Timeout, BURIED)),
    (6, "a spend back is in a block", |view, of| spends(view, of, SpendPath::Timeout, SHALLOW)),
    (6, "it is released, and was taken back", |view, of| {
        view.facts.releases.push(unsigned(of));
        spends(view, of, SpendPath::Timeout, SHALLOW);
    }),
    (6, "it is ruled about, and was taken back", |view, of| {
        rule_about(view, of, Seat::First);
        spends(view, of, SpendPath::Timeout, BURIED);
    }),
];

/// Returns outputs as they are not: a satoshi less. A half of them is good by itself, and no block will ever hold its spend.
fn less(of: &Vaults) -> Vaults {
    let value = of.escrow.value.checked_sub(sats(1)).unwrap();
    Vaults { escrow: Coin { value, ..of.escrow }, ..*of }
}

fn spends(view: &mut View, of: &Vaults, path: SpendPath, height: Option<u32>) {
    view.chain.spends.push(spend(&[of.escrow], path, height));
}

fn rule_about(view: &mut View, of: &Vaults, by: Seat) {
    let (trade, none) = (TradeId([0; 32]), Signatures::default());
    let (to_buyer, with_buyer) = (sats(1), none.clone());
    let ruling = Ruling { trade, vaults: *of, to_buyer, to_seller: sats(1), with_buyer, with_seller: none };
    view.facts.rulings.push((by, ruling));
}

fn extend(view: &mut View, of: &Vaults, by: Seat) {
    let (trade, none) = (TradeId([0; 32]), Signatures::default());
    let extend = Extend { trade, vaults: *of, fee: sats(1), with_buyer: none.clone(), with_seller: none };
    view.facts.extensions.push((by, extend));
}

fn view_of(trade: &SampleTrade, fundings: &[(u8, Option<u32>)]) -> View {
    let fundings = fundings.iter().map(|(number, height)| Funding::new(trade.vaults(*number), *height));
    let chain = ChainFacts { tip: TIP, synced: true, fundings: fundings.collect(), ..ChainFacts::default() };
    View { contract: Some(trade.contract()), facts: Facts::default(), chain }
}

#[test]
fn of_two_fundings_counts_what_more_speaks_for_and_then_what_came_first() {
    let trade = SampleTrade::new(Side::Sell);
    let [late, early] = [1, 2].map(|number| trade.vaults(number));
    let neither = view_of(&trade, &[(1, BURIED), (2, Some(TIP - 9))]);
    for (one, other) in STANDINGS.iter().flat_map(|one| STANDINGS.iter().map(move |other| (one, other))) {
        if (one.0, other.0) == (4, 4) {
            continue; // he names but one
        }
        let mut view = neither.clone();
        (one.2)(&mut view, &late);
        (other.2)(&mut view, &early);
        let expected = if one.0 < other.0 { late } else { early };
        assert_eq!(view.funding().unwrap().vaults, expected, "{}; and of the earlier: {}", one.1, other.1);
    }
}

proptest! {
    /// What names outputs otherwise than the chain shows them changes nothing, whoever signs it, and however much of it: whatever
    /// speaks for which output.
    #[test]
    fn what_names_no_outputs_that_the_chain_shows_says_nothing(
        happened in prop::collection::vec((0..STANDINGS.len(), 0..2usize), 0..4),
        made_up in prop::collection::vec((0..4usize, 0..2usize, 0..4usize), 0..8),
        payment_sent in any::<bool>(),
        buyer_dispute in any::<bool>(),
    ) {
        let trade = SampleTrade::new(Side::Sell);
        let held = [1, 2].map(|number| trade.vaults(number));
        let mut view = view_of(&trade, &[(1, BURIED), (2, Some(TIP - 9))]);
        (view.facts.payment_sent, view.facts.buyer_dispute) = (payment_sent, buyer_dispute);
        for (standing, at) in happened {
            (STANDINGS[standing].2)(&mut view, &held[at]);
        }
        let mut misled = view.clone();
        for (kind, at, lie) in made_up {
            let (is, mut elsewhere) = (held[at], held[at]);
            elsewhere.escrow.outpoint.0.vout += 1;
            let more = Coin { value: is.escrow.value.checked_add(sats(1)).unwrap(), ..is.escrow };
            let bonded = Vaults { bond: Some(is.escrow), ..is };
            let named = [less(&is), Vaults { escrow: more, ..is }, bonded, elsewhere][lie];
            match kind {
                0 => misled.facts.releases.insert(0, unsigned(&named)),
                1 => misled.facts.refunds.insert(0, unsigned(&named)),
                2 => rule_about(&mut misled, &named, Seat::First),
                _ => extend(&mut misled, &named, Seat::First),
            }
        }
        prop_assert_eq!(misled.funding(), view.funding());
        prop_assert_eq!((misled.valid_release(), misled.valid_refund()), (view.valid_release(), view.valid_refund()));
        prop_assert_eq!((misled.ruling(), misled.extension()), (view.ruling(), view.extension()));
        prop_assert_eq!(evaluate(&misled), evaluate(&view));
    }
}

#[test]
fn what_leaves_out_a_bond_speaks_for_outputs_once_the_bond_has_left() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    let [late, early] = [1, 2].map(|number| trade.vaults(number));
    let without = Vaults { bond: None, ..late };
    for (signed, left, counts) in [
        (late, None, true),
        (late, Some(SHALLOW), true), // what was signed before is not undone by it
        (without, None, false),
        (without, Some(None), false),
        (without, Some(SHALLOW), true),
    ] {
        let mut view = view_of(&trade, &[(1, BURIED), (2, Some(TIP - 9))]);
        view.facts.releases.push(unsigned(&signed));
        let bond = [late.bond.unwrap()];
        view.chain.spends.extend(left.map(|height| spend(&bond, SpendPath::Timeout, height)));
        assert_eq!(view.funding().unwrap().vaults, if counts { late } else { early }, "{signed:?} {left:?}");
    }
}

/// Only its maker can have paid below the height that an acceptance states, and others do not look there.
#[test]
fn what_lies_below_the_height_of_the_acceptance_counts_last() {
    let trade = SampleTrade::new(Side::Sell);
    let [late, early] = [1, 2].map(|number| trade.vaults(number));
    for (height, is_early) in [(HEIGHT - 1, true), (HEIGHT, false)] {
        for (standing, name, happens) in STANDINGS {
            let mut view = view_of(&trade, &[(1, BURIED), (2, Some(height))]);
            happens(&mut view, &early);
            let is_left = *standing == 0 || (!is_early && *standing < 6);
            assert_eq!(view.funding().unwrap().vaults, if is_left { early } else { late }, "{name} at {height}");
        }
        let alone = view_of(&trade, &[(2, Some(height))]);
        assert_eq!(alone.funding().unwrap().vaults, early, "a reorg may put it there");
        assert_eq!(alone.is_doubtful(), is_early);
    }
}

#[test]
fn outputs_are_named_by_their_seller_where_a_name_stays_or_by_a_buyer_with_a_bond() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    let held = trade.vaults(1);
    let [one, other] = [1, 2].map(|number| Some(trade.vaults(number).outpoint()));
    for (funded, funded_at_home, by_buyer, is_named) in [
        (None, None, None, false),
        (one, one, None, true),
        (one, None, None, false),
        (one, other, None, false),
        (other, one, None, false),
        (other, other, None, false),
        (None, None, one, true),
        (other, other, one, true),
        (None, None, other, false),
    ] {
        let mut view = view_of(&trade, &[(1, BURIED)]);
        let buyer_funded = Vec::from_iter(by_buyer);
        view.facts = Facts { funded, funded_at_home, buyer_funded, ..Facts::default() };
        assert_eq!(view.is_named(), is_named, "{:?}", view.facts);
        // With them, what an extension makes of them.
        let mut made = held;
        made.escrow.outpoint.0.vout += 5;
        view.chain.fundings.push(Funding { vaults: made, height: BURIED, extends: one });
        assert_eq!(view.funding().unwrap().vaults, made);
        assert_eq!(view.is_named(), is_named, "{:?}", view.facts);
        assert!(!View { contract: None, ..view }.is_named());
    }
}

#[test]
fn what_the_second_arbiter_signs_says_nothing_while_the_first_decides_alone() {
    let trade = SampleTrade::with_second(Side::Sell);
    let [late, early] = [1, 2].map(|number| trade.vaults(number));
    let from = TIP - 2 + 1008 - 1;
    for (by, tip, counts) in [
        (Seat::First, TIP, true),
        (Seat::Second, TIP, false),
        (Seat::Second, from - 1, false),
        (Seat::Second, from, true),
    ] {
        for sign in [rule_about, extend] {
            let mut alone = view_of(&trade, &[(1, BURIED)]);
            sign(&mut alone, &late, by);
            alone.chain.tip = tip;
            assert_eq!(alone.ruling().is_some() || alone.extension().is_some(), counts, "{by:?} at {tip}");
            alone.chain.fundings[0].height = None;
            let is_left = alone.ruling().is_some() || alone.extension().is_some();
            assert_eq!(is_left, by == Seat::First, "a reorg takes his turn back");
            // Nor does it lead anybody to another output.
            let mut twice = view_of(&trade, &[(1, BURIED), (2, Some(TIP - 9))]);
            sign(&mut twice, &late, by);
            twice.chain.tip = tip;
            assert_eq!(twice.funding().unwrap().vaults, if counts { late } else { early }, "{by:?} at {tip}");
        }
    }
    let mut both = view_of(&trade, &[(1, BURIED)]);
    for by in [Seat::Second, Seat::First] {
        rule_about(&mut both, &late, by);
        extend(&mut both, &late, by);
    }
    both.chain.tip = from;
    assert_eq!(both.ruling().unwrap().0, Seat::First);
    assert_eq!(both.extension().unwrap().0, Seat::First);
}

#[test]
fn nothing_speaks_for_what_is_not_buried() {
    let trade = SampleTrade::new(Side::Sell);
    let [late, early] = [1, 2].map(|number| trade.vaults(number));
    for height in [None, SHALLOW] {
        let neither = view_of(&trade, &[(1, height), (2, BURIED)]);
        for (_, name, happens) in STANDINGS {
            let mut view = neither.clone();
            happens(&mut view, &late);
            assert_eq!(view.funding().unwrap().vaults, early, "{name} at {height:?}");
        }
        // Not even beside what was taken back: nobody can rely on it.
        let mut taken = neither.clone();
        spends(&mut taken, &early, SpendPath::Timeout, SHALLOW);
        assert_eq!(taken.funding().unwrap().vaults, early, "{height:?}");
    }
    // In the pool none is first: then the lowest outpoint counts, at every node.
    let lowest = if late.outpoint() < early.outpoint() { late } else { early };
    for order in [[(1, None), (2, None)], [(2, None), (1, None)]] {
        assert_eq!(view_of(&trade, &order).funding().unwrap().vaults, lowest);
    }
    assert!(View { contract: None, ..view_of(&trade, &[(1, BURIED)]) }.funding().is_none(), "there is nothing to fund");
}

/// Of outputs for which as much speaks those count that were paid first: an extension is no younger than what it extends.
#[test]
fn an_extension_stands_where_its_coins_were_paid_in() {
    let trade = SampleTrade::new(Side::Sell);
    let [extended, other] = [1, 2].map(|number| trade.vaults(number));
    let mut made = extended;
    made.escrow.outpoint.0.vout += 5;
    let is_lower = extended.outpoint() < other.outpoint();
    for (paid, counts) in [(TIP - 51, false), (TIP - 50, is_lower), (TIP - 49, true)] {
        let mut view = view_of(&trade, &[(1, Some(TIP - 50)), (2, Some(paid))]);
        let extends = Some(extended.outpoint());
        view.chain.fundings.push(Funding { vaults: made, height: BURIED, extends });
        view.facts.refunds.push(unsigned(&other));
        assert_eq!(view.funding().unwrap().vaults, if counts { made } else { other }, "{paid}");
    }
}

#[test]
fn a_bond_is_there_until_a_block_shows_that_it_alone_was_taken_back() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    let held = trade.vaults(1);
    let bond = held.bond.unwrap();
    let alone = Vaults { bond: None, ..held };
    for (coins, height, expected) in [
        (vec![], None, held),
        (vec![bond], None, held),
        (vec![bond], SHALLOW, alone),
        (vec![held.escrow, bond], SHALLOW, held),
        (vec![held.escrow], SHALLOW, held),
        (vec![vaults_of(&trade.escrow(), 2).bond.unwrap()], SHALLOW, held),
    ] {
        let mut view = view_of(&trade, &[(1, BURIED)]);
        view.chain.spends.push(spend(&coins, SpendPath::Timeout, height));
        assert_eq!(view.vaults(), Some(expected), "{coins:?} at {height:?}");
    }
}

#[test]
fn the_spend_that_a_block_shows_counts_before_those_in_the_pool() {
    let trade = SampleTrade::new(Side::Sell);
    let coin = trade.vaults(1).escrow;
    let mut view = view_of(&trade, &[(1, BURIED)]);
    assert_eq!(view.spend(), None);
    let pool = [SpendPath::Payout, SpendPath::Refund, SpendPath::Ruling].map(|path| {
        let mut spend = spend(&[coin], path, None);
        spend.tx.lock_time = bitcoin::absolute::LockTime::from_consensus(path as u32);
        spend
    });
    view.chain.spends.extend(pool.clone());
    let lowest = pool.iter().min_by_key(|spend| spend.tx.compute_txid());
    assert_eq!(view.spend(), lowest, "the same at every node");
    let confirmed = spend(&[coin], SpendPath::Timeout, SHALLOW);
    view.chain.spends.push(confirmed.clone());
    assert_eq!(view.spend(), Some(&confirmed));
    assert_eq!(view.spend_of(&trade.vaults(2).outpoint()), None);
}

#[test]
fn a_block_is_one_confirmation() {
    let view = view_of(&SampleTrade::new(Side::Sell), &[]);
    for (height, depth, is_buried) in [
        (None, 0, false),
        (Some(TIP + 2), 0, false),
        (Some(TIP), 1, false),
        (SHALLOW, 2, false),
        (BURIED, 3, true),
        (Some(TIP - 3), 4, true),
    ] {
        assert_eq!((view.depth(height), view.is_buried(height)), (depth, is_buried), "{height:?}");
    }
    assert!(!View { contract: None, ..view }.is_buried(BURIED));
}
