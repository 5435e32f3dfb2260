//! Trades that end without a sale: called off, or the coins back with the seller.

use exchange_api::Sent;
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::{Action, Phase};
use exchange_tests::{Offer, Trader, World};

/// Blocks that bury a trade of the smallest size.
const BURIED: u32 = 1;
/// Blocks after which the seller may take the coins back.
const REFUND_DELAY: u32 = 4320;

#[test]
fn seller_refunds_after_timeout() {
    let world = World::begin();
    let seller = world.trader_with_coins("seller");
    let buyer = world.trader("buyer");
    let owned = seller.balance().spendable.get();
    let trade = funded_trade(&world, &seller, &buyer);

    let early = seller.tries_to("refund", trade).unwrap_err();
    early.assert_is(1, "not_allowed");
    let from = seller.looks_at(trade).unwrap().refund_from.unwrap();
    assert!(early.message.contains(&from.to_string()), "it says when: {early:#?}");

    // The buyer never pays. One block before the time it is still too early.
    let tip = u32::try_from(world.chain().height()).unwrap();
    assert_eq!(from - tip, REFUND_DELAY - 1);
    world.chain().mine(from - tip - 1);
    buyer.awaits_that(trade, "no longer his to pay", |view| !view.actions.contains(&Action::MarkPaid));
    buyer.tries_to("paid", trade).unwrap_err().assert_is(1, "not_allowed");
    seller.awaits_tip(from - 1);
    seller.tries_to("refund", trade).unwrap_err().assert_is(1, "not_allowed");

    world.chain().mine(1);
    seller.awaits_that(trade, "his to take back", |view| view.next.action == Some(Action::Refund));
    seller.does("refund", trade);
    world.chain().confirm("the refund", BURIED);
    seller.awaits(trade, Phase::Refunded);
    buyer.awaits(trade, Phase::Refunded);
    has_everything_back(&seller, owned);
}

/// He sends the escrow its amount once more by hand, and then another amount.
#[test]
fn what_a_seller_paid_besides_comes_back_when_the_trade_is_long_over() {
    let world = World::begin();
    let mut seller = world.trader_with_coins("seller");
    let buyer = world.trader("buyer");
    let trade = funded_trade(&world, &seller, &buyer);
    let address = seller.looks_at(trade).unwrap().escrow_address.unwrap();
    for amount in ["0.005", "0.0049"] {
        let _: Sent = seller.cli().done(&["wallet", "send", &address, amount, "--yes"]);
        world.chain().confirm("what he sends by hand", 1);
    }
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
    seller.does("release", trade);
    world.chain().confirm("the payout", BURIED);
    buyer.awaits(trade, Phase::Closed);
    let closed = seller.awaits(trade, Phase::Closed);
    let amounts: Vec<u64> = closed.strays.iter().map(|stray| stray.amount.get()).collect();
    assert_eq!((amounts, closed.next.action), (vec![500_000, 490_000], None), "{:#?}", closed.next);
    assert!(buyer.looks_at(trade).unwrap().strays.is_empty(), "it is nothing of the buyer's");

    // Whoever starts his node again after all that looks at it still. One block before the time it is too early.
    let from = closed.strays[0].refund_from.unwrap();
    world.chain().mine(from - 1 - u32::try_from(world.chain().height()).unwrap());
    seller.awaits_tip(from - 1);
    seller.is_killed_and_returns();
    let told = seller.awaits_that(trade, "closed, and he is told of both", |view| view.strays.len() == 2);
    assert_eq!((told.state, told.strays.iter().any(|stray| stray.is_next)), (Phase::Closed, false), "{told:#?}");
    seller.tries_to("refund", trade).unwrap_err().assert_is(1, "not_allowed");
    let owned = seller.balance().spendable.get();

    // One after the other.
    world.chain().mine(1);
    for left in [2, 1] {
        let what = format!("his to take back, {left} of them left");
        let open = seller
            .awaits_that(trade, &what, |view| view.strays.len() == left && view.next.action == Some(Action::Refund));
        assert_eq!(open.state, Phase::Closed);
        let taken = seller.does("refund", trade);
        assert!(!taken.actions.contains(&Action::Refund), "it is on its way: {taken:#?}");
        world.chain().confirm("what comes back", BURIED);
    }
    let over = seller.awaits_that(trade, "over", |view| view.strays.is_empty());
    assert_eq!((over.state, over.next.action), (Phase::Closed, None));
    seller.awaits_balance("what he had paid besides", |balance| {
        (owned + 980_000..owned + 990_000).contains(&balance.spendable.get())
    });
}

#[test]
fn refunded_by_agreement_after_funding() {
    let world = World::begin();
    let seller = world.trader_with_coins("seller");
    let buyer = world.trader("buyer");
    let owned = seller.balance().spendable.get();
    let trade = funded_trade(&world, &seller, &buyer);

    // The seller asks; nothing happens until the buyer agrees.
    seller.does("cancel", trade);
    assert!(world.chain().pool().is_empty());
    buyer.does("cancel", trade);
    world.chain().confirm("the refund", BURIED);
    seller.awaits(trade, Phase::Refunded);
    buyer.awaits(trade, Phase::Refunded);
    has_everything_back(&seller, owned);
}

#[test]
fn cancelled_before_funding_by_either() {
    let world = World::begin();
    let seller = world.trader_with_coins("seller");
    let buyer = world.trader("buyer");
    let owned = seller.balance();

    let by_buyer = agreed_trade(&seller, &buyer);
    buyer.does("cancel", by_buyer);
    seller.awaits(by_buyer, Phase::Cancelled);
    seller.tries_to("fund", by_buyer).unwrap_err().assert_is(1, "not_allowed");

    let by_seller = agreed_trade(&seller, &buyer);
    seller.does("cancel", by_seller);
    buyer.awaits(by_seller, Phase::Cancelled);
    buyer.tries_to("paid", by_seller).unwrap_err().assert_is(1, "not_allowed");

    // Before anybody accepted.
    let offer = seller.posts(&Offer::SELL.by_hand());
    let bid = buyer.takes(&offer, "0.005").id;
    seller.awaits(bid, Phase::Bid);
    buyer.does("cancel", bid);
    seller.awaits(bid, Phase::Cancelled);
    seller.tries_to("accept", bid).unwrap_err().assert_is(1, "not_allowed");

    world.chain().mine(1);
    seller.awaits_tip(u32::try_from(world.chain().height()).unwrap());
    assert_eq!(seller.balance(), owned);
}

fn agreed_trade(seller: &Trader, buyer: &Trader) -> TradeId {
    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, "0.005").id;
    buyer.awaits(trade, Phase::Agreed);
    seller.awaits(trade, Phase::Agreed);
    trade
}

fn funded_trade(world: &World, seller: &Trader, buyer: &Trader) -> TradeId {
    let trade = agreed_trade(seller, buyer);
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    seller.awaits(trade, Phase::Funded);
    buyer.awaits(trade, Phase::Funded);
    trade
}

/// All the coins are there again but for the fees of two transactions.
fn has_everything_back(seller: &Trader, owned: u64) {
    seller.awaits_balance("the coins back", |balance| {
        balance.in_escrow.get() == 0 && (owned - 10_000..owned).contains(&balance.spendable.get())
    });
}
