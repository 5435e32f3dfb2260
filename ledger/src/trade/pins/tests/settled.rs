//! The end of a trade: when it is kept, when it is for good, and what of one's own keeps it open.

use super::*;
use crate::body::Side;
use crate::testing::sats;
use crate::trade::{Phase, Vault};

#[test]
fn a_trade_that_is_over_for_good_needs_the_chain_no_more() {
    let mut trade = SampleTrade::new(Side::Sell);
    let key = trade.author(Role::Seller).trade_key();
    let vaults = trade.vaults(1);
    let tx = trade.escrow().signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let path = trade.escrow().classify(&tx, &vaults);
    let end = 5_000;
    let seen = |tip| {
        let spends = vec![Spend { tx: tx.clone(), path, height: Some(end) }];
        View {
            contract: Some(trade.contract()),
            chain: ChainFacts { spends, ..funded(&trade, tip) },
            ..View::default()
        }
    };
    assert_eq!(SETTLED_DEPTH, 244, "as deep as a mined coin must be, and a day");
    assert!(!Settled::of(&seen(end + SETTLED_DEPTH - 2), false).unwrap().is_for_good());
    let view = seen(end + SETTLED_DEPTH - 1);
    let settled = Settled::of(&view, false).unwrap();
    assert!(settled.is_for_good());
    let kept: Settled = borsh::from_slice(&borsh::to_vec(&settled).unwrap()).unwrap();
    assert_eq!(kept.chain(&trade.escrow()), Some(view.chain.clone()));
    let blind = View { chain: ChainFacts { synced: false, ..view.chain.clone() }, ..view.clone() };
    assert_eq!(Settled::of(&blind, false), None, "a chain that is not known to its tip settles nothing");
    // The end is known by what was kept, and by nothing else.
    let mut pin = pinned(&trade.records(), &trade);
    let end = |pin: &Pin| look(&ledger(), trade.id(), Some(pin)).unwrap().unwrap().end();
    assert_eq!(end(&pin), None);
    pin.settled = Settled::of(&seen(5_002), false);
    assert_eq!(end(&pin), None, "blocks can undo it");
    pin.settled = Some(settled);
    assert_eq!(end(&pin), Some(view.chain));
}

#[test]
fn a_trade_that_has_ended_is_shown_so_before_the_chain_is_followed_again() {
    let mut trade = SampleTrade::new(Side::Sell);
    let key = trade.author(Role::Seller).trade_key();
    let vaults = trade.vaults(1);
    let tx = trade.escrow().signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let path = trade.escrow().classify(&tx, &vaults);
    let end = 5_000;
    let seen = |tip| {
        let spends = vec![Spend { tx: tx.clone(), path, height: Some(end) }];
        let chain = ChainFacts { spends, ..funded(&trade, tip) };
        View { contract: Some(trade.contract()), chain, ..View::default() }
    };
    let buried = end + 3 - 1; // the sample contract asks for three confirmations
    assert_eq!(Settled::of(&seen(buried - 1), false), None);
    let kept = Settled::of(&seen(buried), false);
    let mut pin = pinned(&trade.records(), &trade);
    pin.settled.clone_from(&kept);
    let shown = look(&ledger(), trade.id(), Some(&pin)).unwrap().unwrap().kept_end().unwrap();
    assert_eq!(shown, ChainFacts { synced: false, ..seen(buried).chain }, "nothing is done on the strength of it");
    let mut seller = Trade::new(trade.bid(), Role::Seller, true, Local::default());
    seller.handle(Event::Records { contract: Some(trade.contract()), facts: Facts::default() }).unwrap();
    seller.handle(Event::Chain(shown)).unwrap();
    assert_eq!((seller.phase(), seller.actions()), (Phase::Refunded, vec![]));

    // Nothing is written at the next blocks, until it is over for good. What a reorg undid is forgotten, once that is known.
    assert_eq!(Settled::after(kept.clone(), &seen(buried + 1), false), kept);
    let good = Settled::after(kept.clone(), &seen(end + SETTLED_DEPTH - 1), false);
    assert!(good.as_ref().is_some_and(Settled::is_for_good));
    let undone = |synced| {
        let chain = ChainFacts { synced, ..funded(&trade, buried + 1) };
        View { chain, ..seen(buried) }
    };
    assert_eq!(Settled::after(kept.clone(), &undone(false), false), kept);
    assert_eq!(Settled::after(kept.clone(), &undone(true), false), None);
    assert_eq!(Settled::after(good.clone(), &undone(true), false), good);
    assert_eq!(Settled::after(None, &seen(buried), false), kept);
    // In another block, it is kept anew.
    let mut moved = seen(buried + 1);
    moved.chain.spends[0].height = Some(end - 1);
    assert_eq!(Settled::after(kept, &moved, false), Settled::of(&moved, false));
}

/// Its node would look at it no more, and nobody would tell the user when he can have it.
#[test]
fn a_trade_is_not_over_for_good_while_something_of_ones_own_lies_beside_it() {
    let mut trade = SampleTrade::new(Side::Sell);
    let key = trade.author(Role::Seller).trade_key();
    let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
    let tx = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let path = escrow.classify(&tx, &vaults);
    let end = 5_000;
    let seen = |tip| {
        let spends = vec![Spend { tx: tx.clone(), path, height: Some(end) }];
        let chain = ChainFacts { spends, ..funded(&trade, tip) };
        View { contract: Some(trade.contract()), chain, ..View::default() }
    };
    let late = end + 4 * SETTLED_DEPTH;
    let open = Settled::of(&seen(late), true).unwrap();
    assert!(!open.is_for_good() && Settled::of(&seen(late), false).unwrap().is_for_good());
    assert!(!open.chain(&escrow).unwrap().synced, "the chain is asked about it");
    let open = Some(open);
    assert_eq!(Settled::after(open.clone(), &seen(late + 1), true), open, "nothing is written at the next block");
    let good = Settled::after(open.clone(), &seen(late + 2), false);
    assert!(good.as_ref().is_some_and(Settled::is_for_good), "it was taken back");
    assert_eq!(Settled::after(good, &seen(late + 3), true), open, "it was paid when all else was over");
}

#[test]
fn a_trade_is_not_over_while_a_bond_lies_there() {
    let mut trade = SampleTrade::with_bonds(Side::Sell);
    let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
    let mut takes = |role, vault, coin| {
        let key = trade.author(role).trade_key();
        let tx = escrow.signed_timeout(vault, coin, sats(1_700), &key).unwrap().tx;
        move |height| Spend { tx: tx.clone(), path: crate::trade::SpendPath::Timeout, height: Some(height) }
    };
    let seller = takes(Role::Seller, Vault::Escrow, vaults.escrow);
    let buyer = takes(Role::Buyer, Vault::Bond, vaults.bond.unwrap());
    let (end, later) = (5_000, 5_100);
    let seen = |spends, tip| View {
        contract: Some(trade.contract()),
        chain: ChainFacts { spends, ..funded(&trade, tip) },
        ..View::default()
    };
    let alone = seen(vec![seller(end)], 10_000);
    assert_eq!(Settled::of(&alone, false), None, "the buyer may come for it at any time");
    let both = |tip| seen(vec![seller(end), buyer(later)], tip);
    assert_eq!(Settled::of(&both(later), false), None, "one confirmation of three");
    for tip in [later + 2, end + SETTLED_DEPTH, later + SETTLED_DEPTH - 2] {
        let settled = Settled::of(&both(tip), false).unwrap();
        assert!(!settled.is_for_good(), "the bond's spend is younger");
        assert_eq!(settled.tip, tip.min(end + SETTLED_DEPTH - 2));
    }
    let view = both(later + SETTLED_DEPTH - 1);
    let settled = Settled::of(&view, false).unwrap();
    assert!(settled.is_for_good());
    let chain = settled.chain(&escrow).unwrap();
    let mut machine = Trade::new(trade.bid(), Role::Buyer, false, Local::default());
    machine.handle(Event::Compared).unwrap();
    machine.handle(Event::Records { contract: view.contract, facts: view.facts }).unwrap();
    machine.handle(Event::Chain(chain)).unwrap();
    assert_eq!((machine.phase(), machine.actions(), machine.own_coin()), (Phase::Refunded, Vec::new(), None));
    // What an earlier version kept too early is looked at again.
    assert_eq!(Settled { vaults, ..settled }.chain(&escrow), None);
}
