//! What people say to each other in a trade, and that it survives whatever happens to their machines.

use exchange_api::Person;
use exchange_ledger::trade::Phase;
use exchange_tests::{Offer, World, lines};

#[test]
fn parties_talk_while_one_is_away_or_killed() {
    let world = World::begin();
    let seller = world.trader_with_coins("seller");
    let mut buyer = world.trader("buyer");
    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, "0.005").id;
    seller.awaits(trade, Phase::Agreed);
    buyer.awaits(trade, Phase::Agreed);

    buyer.says(trade, None, "Hello, I can pay tonight.\nIs that all right?");
    seller.awaits_that(trade, "one in which something was said", |view| view.unread == 1);
    seller.hears(trade, 1, Person::Buyer, "Hello, I can pay tonight.\nIs that all right?");
    assert_eq!(seller.looks_at(trade).unwrap().unread, 0, "what was shown is read");

    // The buyer's machine is off when the seller answers; his next words come from a node that was started anew.
    buyer.process().kill();
    seller.says(trade, None, "Tonight is fine.");
    buyer.returns();
    buyer.hears(trade, 1, Person::Seller, "Tonight is fine.");
    buyer.is_killed_and_returns();
    buyer.says(trade, None, "I have paid.");
    let said = seller.hears(trade, 2, Person::Buyer, "I have paid.");

    // Both have the same in the same order, and nothing was said twice.
    assert_eq!(lines(&said.messages), lines(&buyer.conversation(trade).messages));
    assert_eq!(lines(&said.messages).len(), 3);

    // Before there is an agreement there is nobody to write to, and an empty line says nothing.
    let bid = buyer.takes(&seller.posts(&Offer::SELL.by_hand()), "0.005").id;
    buyer.tries_to_say(bid, None, "Hello?").unwrap_err().assert_is(1, "not_allowed");
    buyer.tries_to_say(trade, None, " \n").unwrap_err().assert_is(2, "invalid_argument");
    buyer.tries_to_say(trade, Some("buyer"), "Hello, me").unwrap_err().assert_is(2, "invalid_argument");
}
