//! Two reach for the same offer: one gets it, the other is told, and nobody's coins are stuck.

use exchange_api::{Actor, TradeView};
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::Phase;
use exchange_tests::{Offer, Trader, World, wait_until};

#[test]
fn offer_taken_by_two_at_once() {
    let world = World::begin();
    let buyer = world.trader("buyer");
    let (ann, bob) = (world.trader_with_coins("ann"), world.trader_with_coins("bob"));
    let before = (ann.balance(), bob.balance());

    // By hand, so that both bids are there before the maker answers one.
    let offer = buyer.posts(&Offer::BUY.by_hand());
    ann.sees(&offer.id);
    bob.sees(&offer.id);
    let (anns, bobs) = std::thread::scope(|both| {
        let anns = both.spawn(|| ann.takes(&offer, "0.01").id);
        let bobs = both.spawn(|| bob.takes(&offer, "0.02").id);
        (anns.join().unwrap(), bobs.join().unwrap())
    });
    buyer.awaits(anns, Phase::Bid);
    buyer.awaits(bobs, Phase::Bid);
    buyer.does("accept", bobs);

    bob.awaits(bobs, Phase::Agreed);
    is_told_that_it_went_to_another(&ann, anns);
    // The maker is left with the one that he chose.
    wait_until("the other bid is off the maker's list", || {
        let list: Vec<TradeView> = buyer.cli().done(&["trade", "list"]);
        let ids: Vec<TradeId> = list.iter().map(|trade| trade.id).collect();
        if ids == [bobs] { Ok(()) } else { Err(format!("{ids:?}")) }
    });
    buyer.tries_to("accept", anns).unwrap_err().assert_is(1, "not_found");
    ann.tries_to("fund", anns).unwrap_err().assert_is(1, "not_allowed");
    // A third hand comes too late altogether.
    ann.tries_to_take(&offer.id, "0.01").unwrap_err().assert_is(1, "offer_gone");
    assert_eq!((ann.balance(), bob.balance()), before);

    // The winner's trade goes on.
    bob.does("fund", bobs);
    world.chain().confirm("the funding", 3);
    buyer.awaits(bobs, Phase::Funded);
    assert_eq!(ann.balance().spendable, before.0.spendable);
}

#[test]
fn offer_taken_by_two_at_once_from_a_maker_who_accepts_by_himself() {
    let world = World::begin();
    let seller = world.trader_with_coins("seller");
    let (ann, bob) = (world.trader("ann"), world.trader("bob"));
    let offer = seller.posts(&Offer::SELL);
    ann.sees(&offer.id);
    bob.sees(&offer.id);
    let bids = std::thread::scope(|both| {
        let anns = both.spawn(|| ann.tries_to_take(&offer.id, "0.01"));
        let bobs = both.spawn(|| bob.tries_to_take(&offer.id, "0.01"));
        [(&ann, anns.join().unwrap()), (&bob, bobs.join().unwrap())]
    });
    let mut winners = 0;
    for (taker, bid) in bids {
        match bid {
            Ok(bid) => {
                let ended = wait_until("the bid is answered", || match taker.looks_at(bid.id) {
                    Ok(view) if view.state != Phase::Bid => Ok(view.state),
                    other => Err(format!("{other:?}")),
                });
                match ended {
                    Phase::Agreed => winners += 1,
                    _ => is_told_that_it_went_to_another(taker, bid.id),
                }
            }
            // The other was so much faster that the offer was gone already.
            Err(refusal) => refusal.assert_is(1, "offer_gone"),
        }
    }
    assert_eq!(winners, 1);
}

fn is_told_that_it_went_to_another(trader: &Trader, trade: TradeId) {
    let view = trader.awaits(trade, Phase::Void);
    assert_eq!(view.next.who, Actor::Nobody);
    assert!(view.next.what.contains("taken by somebody else"), "{view:#?}");
    assert!(view.actions.is_empty(), "{view:#?}");
}
