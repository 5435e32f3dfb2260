//! Somebody comes when everything is over, and knows as much as those who were there.

use exchange_api::{AuditReport, Status};
use exchange_ledger::trade::Phase;
use exchange_tests::{Cli, Launch, Offer, Process, World, wait_until};

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
    let records = all_know_the_same(&world, &[seller.cli(), buyer.cli()]);
    let told: AuditReport = world.relay_cli().done(&["audit", "--chain"]);
    // The parties are gone: only the relay can tell the story.
    drop((seller, buyer));

    let dir = world.data_dir("latecomer");
    let (data_dir, relay) = (dir.display().to_string(), world.relay_address());
    let mut args = vec!["run", "--json", "--relay", "--data-dir", &data_dir];
    args.extend(["--listen", "/ip4/127.0.0.1/tcp/0", "--peer", &relay, "--only-peers"]);
    let chain = world.chain().node_args();
    args.extend(chain.iter().map(String::as_str));
    let _latecomer = Process::start(Launch::node("latecomer", world.dir(), &args));
    let cli = Cli::new(&dir);
    assert_eq!(all_know_the_same(&world, &[&cli]), records);
    let learned: AuditReport = cli.done(&["audit", "--chain"]);
    assert!(learned.ok, "{learned:#?}");
    assert_eq!(learned, told);
    assert_eq!(learned.trades[0].state, Phase::Closed);
}

/// Waits until all have as many records as the relay, and returns how many.
fn all_know_the_same(world: &World, others: &[&Cli]) -> u64 {
    wait_until("all have the relay's records", || {
        let relayed = world.relayed_records();
        let known: Vec<u64> = others.iter().map(|cli| cli.done::<Status>(&["status"]).records).collect();
        if known.iter().all(|records| *records == relayed) {
            Ok(relayed)
        } else {
            Err(format!("{known:?}, the relay {relayed}"))
        }
    })
}
