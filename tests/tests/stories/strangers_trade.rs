//! The spine: two strangers who share nothing but a relay swap coins for money.

use std::io::Write as _;

use exchange_api::AuditReport;
use exchange_ledger::audit::bundle::Verified;
use exchange_ledger::trade::Phase;
use exchange_tests::{Cli, Offer, World, program};
use serde_json::Value;

/// Blocks that bury a trade of this size.
const BURIED: u32 = 3;

#[test]
fn strangers_trade_over_bitcoind() {
    let mut world = World::begin();
    let mut seller = world.trader_with_coins("seller");
    let mut buyer = world.trader("buyer");
    assert_eq!(buyer.balance().spendable.get(), 0);

    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, "0.01").id;
    seller.awaits(trade, Phase::Agreed);

    let funded = seller.does("fund", trade);
    let escrow = funded.escrow_address.unwrap();
    world.chain().confirm("the funding", 1);
    assert!(buyer.awaits(trade, Phase::Funding).funding.unwrap().confirmations >= 1);
    world.chain().mine(BURIED - 1);

    let to_pay = buyer.awaits(trade, Phase::Funded);
    assert_eq!(to_pay.escrow_address.unwrap(), escrow);
    assert_eq!(to_pay.cost, 61_750);
    assert_eq!(buyer.awaits_details(trade).trim_end(), seller.details());
    assert_eq!(seller.awaits_details(trade).trim_end(), buyer.details());
    buyer.does("paid", trade);

    seller.awaits(trade, Phase::Paid);
    seller.does("release", trade);
    world.chain().confirm("the payout", BURIED);
    let bought = buyer.awaits(trade, Phase::Closed);
    let sold = seller.awaits(trade, Phase::Closed);
    assert_eq!(bought.spend, sold.spend);
    let balance = buyer.awaits_balance("the coins", |balance| balance.spendable.get() > 0);
    assert!((990_000..1_000_000).contains(&balance.spendable.get()), "{balance:?}");
    assert_eq!(seller.awaits_balance("nothing in escrow", |b| b.in_escrow.get() == 0).pending.get(), 0);
    // A node that starts shows what has ended as it was, before it has followed the chain again.
    buyer.is_killed_and_returns();
    let again = buyer.looks_at(trade).unwrap();
    assert_eq!((again.state, again.spend.map(|tx| tx.txid)), (Phase::Closed, bought.spend.clone().map(|tx| tx.txid)));

    let audit = audit_of_the_relay(&world, 1);
    let audited = &audit.trades[0];
    assert_eq!((audited.trade, audited.state), (trade, Phase::Closed));
    assert_eq!(audited.funding.as_ref().unwrap().txid, bought.funding.unwrap().txid);
    assert_eq!(audited.spend.as_ref().unwrap().txid, bought.spend.unwrap().txid);
    assert_eq!(audited.escrow_address.as_ref(), Some(&escrow));

    let file = world.dir().join("trade.json").display().to_string();
    let _: Verified = world.relay_cli().done(&["audit", "--trade", &trade.to_string(), "--export", &file]);
    for process in [seller.process(), buyer.process(), world.relay()] {
        process.stop();
    }
    a_stranger_believes_the_file(&world, &file, &escrow);
}

/// Nobody runs any more: the file is all that there is.
fn a_stranger_believes_the_file(world: &World, file: &str, escrow: &str) {
    let stranger = Cli::new(&world.dir().join("nothing"));
    let verified: Verified = stranger.done(&["audit", "verify", file]);
    assert_eq!((verified.phase, verified.escrow.as_deref()), (Phase::Closed, Some(escrow)));
    let spend = verified.spend.unwrap();
    assert_eq!(spend.to_buyer.get() + spend.fee.get(), 1_000_000);
    let forged = std::fs::read_to_string(file).unwrap().replacen("\"closed\"", "\"refunded\"", 1);
    let other = world.dir().join("forged.json");
    std::fs::File::create(&other).and_then(|mut file| file.write_all(forged.as_bytes())).unwrap();
    let refused = stranger.run::<Value>(&["audit", "verify", &other.display().to_string()]).unwrap_err();
    assert_eq!(refused.code, "violated");
    assert!(refused.message.starts_with("phase: "), "{refused:?}");
}

#[test]
fn strangers_trade_over_bitcoind_by_an_offer_to_buy() {
    let world = World::begin();
    let buyer = world.trader("buyer");
    let seller = world.trader_with_coins("seller");

    let offer = buyer.posts(&Offer::BUY.by_hand());
    let trade = seller.takes(&offer, "0.02").id;
    let bid = buyer.awaits(trade, Phase::Bid);
    assert!(bid.maker, "{bid:?}");
    buyer.does("accept", trade);
    seller.awaits(trade, Phase::Agreed);
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);

    buyer.awaits(trade, Phase::Funded);
    assert_eq!(buyer.awaits_details(trade).trim_end(), seller.details());
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
    seller.does("release", trade);
    world.chain().confirm("the payout", BURIED);
    buyer.awaits(trade, Phase::Closed);
    seller.awaits(trade, Phase::Closed);
    let balance = buyer.awaits_balance("the coins", |balance| balance.spendable.get() > 0);
    assert!((1_990_000..2_000_000).contains(&balance.spendable.get()), "{balance:?}");
    assert_eq!(audit_of_the_relay(&world, 1).trades[0].state, Phase::Closed);
}

/// Nobody here has a Bitcoin Core node: the chain is seen by headers, filters and blocks from a peer of the Bitcoin network.
#[test]
fn light_client_trades_without_any_server() {
    let world = World::begin_with_light_clients();
    let seller = world.trader_with_coins("seller");
    let mut buyer = world.trader("buyer");

    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, "0.01").id;
    seller.awaits(trade, Phase::Agreed);
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    buyer.awaits(trade, Phase::Funded);
    buyer.awaits_details(trade);
    buyer.does("paid", trade);

    // What happens while a light client is away it finds in the filters.
    seller.awaits(trade, Phase::Paid);
    buyer.process().kill();
    seller.does("release", trade);
    world.chain().mine(2);
    buyer.returns();
    world.chain().confirm("the payout", BURIED);
    buyer.awaits(trade, Phase::Closed);
    seller.awaits(trade, Phase::Closed);
    let balance = buyer.awaits_balance("the coins", |balance| balance.spendable.get() > 0);
    assert!((990_000..1_000_000).contains(&balance.spendable.get()), "{balance:?}");
    assert_eq!(audit_of_the_relay(&world, 1).trades[0].state, Phase::Closed);
}

#[test]
fn strangers_trade_on_the_embedded_chain() {
    let output = std::process::Command::new(program("exchange-node")).args(["demo", "--json"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let story: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(story["state"], "closed", "{story:#}");
    for id in ["trade", "buyer", "seller", "escrow_txid", "payout_txid"] {
        assert_eq!(story[id].as_str().map(str::len), Some(64), "{id} in {story:#}");
    }
    assert_ne!(story["buyer"], story["seller"]);
    assert_ne!(story["escrow_txid"], story["payout_txid"]);
    assert!(story["confirmations"].as_u64() >= Some(1), "{story:#}");
    // At least an advert, an offer, a bid, an acceptance, the funding, the payment, the release and two endings.
    assert!(story["records"].as_u64() >= Some(9), "{story:#}");
}

/// The relay, which has no part in any trade, checks everything against its own chain. Both parties' endings may still be on
/// their way to it.
fn audit_of_the_relay(world: &World, trades: usize) -> AuditReport {
    let audit: AuditReport = world.relay_cli().done(&["audit", "--chain"]);
    assert!(audit.ok, "{audit:#?}");
    assert!(audit.violations.is_empty() && audit.evidence.is_empty(), "{audit:#?}");
    assert_eq!(audit.trades.len(), trades, "{audit:#?}");
    assert_eq!(audit.authors, 3, "seller, buyer and arbiter: {audit:#?}");
    audit
}
