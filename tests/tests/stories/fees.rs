//! Higher fees for what waits: a payout that is pushed out of the pool, a funding, a refund.

use exchange_api::{BumpView, RaisedBy};
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::Phase;
use exchange_tests::{Crowd, Failure, Offer, Trader, World, wait_until};

/// Blocks that bury a trade of the smallest size.
const BURIED: u32 = 1;

#[test]
fn payout_bumped_under_rising_fees() {
    let world = World::begin_with_a_small_pool();
    let seller = world.trader_with_coins("seller");
    let mut buyer = world.trader("buyer");
    let mut crowd = Crowd::gather(world.chain());
    buyer.address(); // he has searched all those blocks
    let trade = agreed_trade(&seller, &buyer);
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    buyer.awaits(trade, Phase::Funded);
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
    seller.does("release", trade);
    let payout = buyer.awaits_that(trade, "being paid out", |view| view.spend.is_some()).spend.unwrap().txid;
    wait_until("the payout is in the pool", || is_in_pool(&world, &payout));

    // Others pay twenty times as much, then more, until a small pool has no place for it.
    crowd.press(20, 2);
    crowd.press(40, 20);
    assert!(!world.chain().pool().contains(&payout), "it was pushed out");
    let stuck = buyer.awaits_that(trade, "stuck, and he is told what helps", |view| {
        view.problem.as_ref().is_some_and(|problem| problem.contains("trade bump"))
    });
    assert!(stuck.can_bump, "{stuck:#?}");
    assert_eq!(stuck.state, Phase::Released);
    world.chain().mine(1);
    assert!(buyer.looks_at(trade).unwrap().spend.is_none_or(|spend| spend.confirmations == 0), "it is stuck for real");
    bump(&seller, trade, &[]).unwrap_err().assert_is(1, "not_allowed");

    let priced = bump(&buyer, trade, &["--dry-run"]).unwrap();
    assert!(!priced.broadcast && !world.chain().pool().contains(&priced.txid));
    let first = bump(&buyer, trade, &["--request-id", "first"]).unwrap();
    assert_eq!((first.by, first.raised.as_str()), (RaisedBy::Child, payout.as_str()));
    wait_until("payout and child are in the pool", || {
        is_in_pool(&world, &payout).and_then(|()| is_in_pool(&world, &first.txid))
    });
    assert_eq!(bump(&buyer, trade, &["--request-id", "first"]).unwrap(), first, "the same request is one bump");

    // It goes on: the next one takes the place of the first, though the node was killed in between.
    crowd.press(60, 45);
    assert!(!world.chain().pool().contains(&payout), "pushed out again");
    buyer.is_killed_and_returns();
    let second = wait_until("the fee is raised again", || {
        bump(&buyer, trade, &["--fee-rate", "90"]).map_err(|failure| format!("{failure:#?}"))
    });
    assert_ne!(second.txid, first.txid);
    assert!(second.fee > first.fee);
    wait_until("payout and its new child are in the pool", || {
        is_in_pool(&world, &payout).and_then(|()| is_in_pool(&world, &second.txid))
    });
    assert!(!world.chain().pool().contains(&first.txid), "there is one child");
    world.chain().mine(BURIED);
    buyer.awaits(trade, Phase::Closed);
    seller.awaits(trade, Phase::Closed);
    let fees = 1_000 + second.fee.get();
    buyer.awaits_balance("what is left of the coins", |balance| {
        (500_000 - fees..=500_000 - second.fee.get()).contains(&balance.spendable.get())
    });
    bump(&buyer, trade, &[]).unwrap_err().assert_is(1, "not_allowed");
}

#[test]
fn own_funding_and_refund_are_bumped() {
    let world = World::begin();
    let seller = world.trader_with_coins("seller");
    let buyer = world.trader("buyer");
    let trade = agreed_trade(&seller, &buyer);
    seller.does("fund", trade);
    let funding = buyer.awaits_that(trade, "funded in the pool", |view| view.funding.is_some()).funding.unwrap().txid;
    let bumped = bump(&seller, trade, &["--fee-rate", "25"]).unwrap();
    assert_eq!((bumped.by, bumped.raised.as_str()), (RaisedBy::Child, funding.as_str()));
    let pool = world.chain().pool();
    assert!(pool.contains(&funding) && pool.contains(&bumped.txid) && pool.len() == 2, "the funding stays what it is");
    bump(&buyer, trade, &[]).unwrap_err().assert_is(1, "not_allowed");
    world.chain().mine(BURIED);
    seller.awaits(trade, Phase::Funded);

    // The buyer vanishes. What the seller takes back alone he makes dearer by making it anew.
    let from = seller.looks_at(trade).unwrap().refund_from.unwrap();
    world.chain().mine(from - u32::try_from(world.chain().height()).unwrap());
    seller.does("refund", trade);
    let refund = seller.awaits_that(trade, "being refunded", |view| view.spend.is_some()).spend.unwrap().txid;
    bump(&seller, trade, &["--fee-rate", "1"]).unwrap_err().assert_is(1, "not_allowed");
    bump(&seller, trade, &["--fee-rate", "501"]).unwrap_err().assert_is(2, "invalid_argument");
    let dearer = bump(&seller, trade, &["--fee-rate", "30"]).unwrap();
    assert_eq!((dearer.by, dearer.raised.as_str()), (RaisedBy::Replacement, refund.as_str()));
    wait_until("the dearer refund has taken the other's place", || {
        let pool = world.chain().pool();
        if pool.contains(&dearer.txid) && !pool.contains(&refund) { Ok(()) } else { Err(format!("{pool:?}")) }
    });
    world.chain().mine(BURIED);
    let over = seller.awaits(trade, Phase::Refunded);
    assert_eq!(over.spend.unwrap().txid, dearer.txid);
}

fn agreed_trade(seller: &Trader, buyer: &Trader) -> TradeId {
    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, "0.005").id;
    seller.awaits(trade, Phase::Agreed);
    trade
}

pub(crate) fn bump(trader: &Trader, trade: TradeId, more: &[&str]) -> Result<BumpView, Failure> {
    let trade = trade.to_string();
    let mut args = vec!["trade", "bump", &trade, "--yes"];
    args.extend(more);
    trader.cli().run(&args)
}

pub(crate) fn is_in_pool(world: &World, txid: &str) -> Result<(), String> {
    let pool = world.chain().pool();
    if pool.contains(txid) { Ok(()) } else { Err(format!("{txid} is not among {} others", pool.len())) }
}
