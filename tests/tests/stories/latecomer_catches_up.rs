//! Somebody comes when everything is over, and knows as much as those who were there.

use exchange_api::AuditReport;
use exchange_ledger::trade::Phase;
use exchange_tests::{Cli, Offer, Process, World};

/// Blocks that bury a trade of this size.
const BURIED: u32 = 1;

#[test]
fn latecomer_catches_up() {
    let world = World::begin();
    let seller = world.trader_with_coins("seller");
    let buyer = world.trader("buyer");
    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, "0.005").id;
    seller.awaits(trade, Phase::Agreed);
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    buyer.awaits(trade, Phase::Funded);
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
    seller.does("release", trade);
    world.chain().confirm("the payout", BURIED);
    for trader in [&seller, &buyer] {
        trader.awaits(trade, Phase::Closed);
    }
    let records = world.awaits_that_all_know_the_same(&[seller.cli(), buyer.cli()]);
    let told: AuditReport = world.relay_cli().done(&["audit", "--chain"]);
    // The parties are gone: only the relay can tell the story.
    drop((seller, buyer));

    let _latecomer = Process::start(world.relay_launch("latecomer"));
    let cli = Cli::new(&world.data_dir("latecomer"));
    assert_eq!(world.awaits_that_all_know_the_same(&[&cli]), records);
    let learned: AuditReport = cli.done(&["audit", "--chain"]);
    assert!(learned.ok, "{learned:#?}");
    assert_eq!(learned, told);
    assert_eq!(learned.trades[0].state, Phase::Closed);
}
