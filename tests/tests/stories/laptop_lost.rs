//! A machine is gone with everything on it. Email and password are all that its owner has left, and all that he needs.

use std::fs;

use exchange_ledger::trade::{Action, Phase};
use exchange_tests::{Offer, World};

/// Blocks that bury a trade of this size.
const BURIED: u32 = 3;

#[test]
fn buyer_loses_laptop_after_paying() {
    let world = World::begin();
    let seller = world.trader_with_coins("seller");
    let mut buyer = world.trader("buyer");
    let start = world.chain().height();

    let trade = buyer.takes(&seller.posts(&Offer::SELL), "0.01").id;
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    buyer.awaits_details(trade);
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);

    buyer.process().kill();
    fs::remove_dir_all(world.data_dir("buyer")).unwrap();
    seller.does("release", trade);
    assert!(world.chain().pool().is_empty(), "only the buyer can complete the payout");

    // The same command as on the first day: the keys come from email and password, the trade from peers, the coins from
    // the chain.
    buyer.returns();
    buyer.awaits(trade, Phase::Released);
    world.chain().confirm("the payout", BURIED);
    let bought = buyer.awaits(trade, Phase::Closed);
    seller.awaits(trade, Phase::Closed);

    let escrow = world.chain().traffic(&bought.escrow_address.unwrap(), start);
    assert_eq!(escrow.outgoing, [bought.spend.unwrap().txid].into(), "nothing was paid twice");
    let balance = buyer.awaits_balance("the coins", |balance| balance.spendable.get() > 0);
    assert!((990_000..1_000_000).contains(&balance.spendable.get()), "{balance:?}");
}

#[test]
fn seller_loses_laptop_after_funding() {
    let world = World::begin();
    let mut seller = world.trader_with_coins("seller");
    let buyer = world.trader("buyer");

    let trade = buyer.takes(&seller.posts(&Offer::SELL), "0.01").id;
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    buyer.awaits_details(trade);
    // His node has named the output by then: what another machine names, nobody pays for.
    buyer.awaits_that(trade, "his to pay", |view| view.actions.contains(&Action::MarkPaid));

    seller.process().kill();
    fs::remove_dir_all(world.data_dir("seller")).unwrap();
    buyer.does("paid", trade);

    seller.returns();
    seller.awaits(trade, Phase::Paid);
    seller.does("release", trade);
    buyer.awaits(trade, Phase::Released);
    world.chain().confirm("the payout", BURIED);
    buyer.awaits(trade, Phase::Closed);
    seller.awaits(trade, Phase::Closed);
    let balance = seller.awaits_balance("his change", |balance| balance.spendable.get() > 0);
    assert!((4_998_000_000..4_999_000_000).contains(&balance.spendable.get()), "{balance:?}");
}
