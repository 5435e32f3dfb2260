//! How a payout looks on the chain: signed as one while both are there, by the leaf of both when the seller is not, and once
//! in any case.

use exchange_api::AuditReport;
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::Phase;
use exchange_tests::{Offer, Trader, World, wait_until};

/// Blocks that bury a trade of this size.
const BURIED: u32 = 3;
/// One signature.
const BY_KEY: [usize; 1] = [1];
/// Two signatures, the leaf and its control block.
const BY_LEAF: [usize; 1] = [4];

#[test]
fn while_both_are_there_a_payout_shows_one_signature() {
    let world = World::begin();
    let (seller, buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    let (trade, start) = paid_trade(&world, &seller, &buyer);
    seller.does("release", trade);
    world.chain().confirm("the payout", BURIED);
    assert_eq!(paid_once(&world, &seller, &buyer, trade, start), BY_KEY);
    let shown = buyer.looks_at(trade).unwrap();
    assert_eq!(shown.steps.last().unwrap().detail, "signed as one", "{shown:#?}");
}

#[test]
fn a_seller_who_is_gone_when_he_has_released_keeps_nobody_waiting() {
    let world = World::begin();
    let (mut seller, mut buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    let (trade, start) = paid_trade(&world, &seller, &buyer);
    released_and_gone(&world, &mut seller, &mut buyer, trade);
    buyer.returns();
    world.chain().confirm("the payout", BURIED);
    buyer.awaits(trade, Phase::Closed);
    seller.returns();
    assert_eq!(paid_once(&world, &seller, &buyer, trade, start), BY_LEAF);
}

#[test]
fn a_buyer_who_is_killed_while_he_asks_is_paid_once() {
    let world = World::begin();
    let (mut seller, mut buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    let (trade, start) = paid_trade(&world, &seller, &buyer);
    released_and_gone(&world, &mut seller, &mut buyer, trade);
    buyer.returns();
    buyer.awaits_that(trade, "asking, or paid out", |view| view.next.what.contains("as one") || view.spend.is_some());
    buyer.process().kill();
    // The seller finds the old ask in his mailbox, and perhaps a new one beside it.
    seller.returns();
    buyer.returns();
    world.chain().confirm("the payout", BURIED);
    let witness = paid_once(&world, &seller, &buyer, trade, start);
    assert!(witness == BY_KEY || witness == BY_LEAF, "{witness:?}");
}

/// Brings a trade to where the seller has to release; returns it, and the height before it.
fn paid_trade(world: &World, seller: &Trader, buyer: &Trader) -> (TradeId, u64) {
    let start = world.chain().height();
    let trade = buyer.takes(&seller.posts(&Offer::SELL), "0.01").id;
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    buyer.awaits_details(trade);
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
    (trade, start)
}

/// The seller releases while the buyer is away, and loses his power when the relay has it.
fn released_and_gone(world: &World, seller: &mut Trader, buyer: &mut Trader, trade: TradeId) {
    buyer.process().kill();
    seller.does("release", trade);
    wait_until("the relay has the release", || {
        let audit: AuditReport = world.relay_cli().done(&["audit", "--chain"]);
        let state = audit.trades.iter().find(|audited| audited.trade == trade).map(|audited| audited.state);
        if state == Some(Phase::Released) { Ok(()) } else { Err(format!("{state:?}")) }
    });
    seller.process().kill();
}

/// Waits for the end of a trade; returns how many items the witness of its payout has.
fn paid_once(world: &World, seller: &Trader, buyer: &Trader, trade: TradeId, start: u64) -> Vec<usize> {
    let bought = buyer.awaits(trade, Phase::Closed);
    seller.awaits(trade, Phase::Closed);
    let payout = bought.spend.unwrap().txid;
    let escrow = world.chain().traffic(&bought.escrow_address.unwrap(), start);
    assert_eq!(escrow.outgoing, [payout.clone()].into());
    assert!(world.chain().pool().is_empty(), "and nothing waits");
    let balance = buyer.awaits_balance("the coins", |balance| balance.spendable.get() > 0);
    assert!((990_000..1_000_000).contains(&balance.spendable.get()), "{balance:?}");
    world.chain().witness_of(&payout, start)
}
