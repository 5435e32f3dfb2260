//! What users and their surroundings get wrong: one clear error that says what to do, the right exit code, nothing lost.

use exchange_api::{OfferView, Sent, Status};
use exchange_ledger::trade::Phase;
use exchange_tests::{Cli, Launch, Offer, Process, World, wait_until};
use serde_json::Value;

/// An id that nothing has.
const UNKNOWN: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
/// An address on mainnet: the example of BIP-173.
const ON_MAINNET: &str = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";

#[test]
fn wrong_password_opens_nothing_and_loses_nothing() {
    let world = World::begin();
    let mut trader = world.trader("trader");
    let identity = trader.identity();
    trader.process().stop();

    let wrong = world.launch("trader").with_env("EXCHANGE_PASSWORD", "not-the-password-of-anyone-71");
    let failure = Process::try_start(wrong).unwrap_err();
    failure.assert_is(1, "wrong_password");
    trader.returns();
    assert_eq!(trader.identity(), identity);
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let world = World::begin();
    let poor = world.trader("poor");
    let maker = world.trader("maker");
    let offer = maker.posts(&Offer::SELL.by_hand());
    let wanted = maker.posts(&Offer::BUY);
    poor.sees(&offer.id);
    poor.sees(&wanted.id);

    // Outside of the offer's range.
    for amount in ["0.004", "0.03"] {
        poor.tries_to_take(&offer.id, amount).unwrap_err().assert_is(2, "invalid_argument");
    }
    // Nobody is chosen to rule over his coins but whom he names or trusts; an amount that nobody could take is said first.
    let details = world.details_file("poor").display().to_string();
    let (id, by_himself) = (offer.id.to_string(), ["--amount", "0.01", "--details-file", &details, "--yes"]);
    let refusal = poor.cli().run::<Value>(&[&["trade", "take", &id][..], &by_himself].concat()).unwrap_err();
    refusal.assert_is(2, "invalid_argument");
    assert!(refusal.message.contains("you trust none of the arbiters"), "{refusal:#?}");
    let too_much = ["--amount", "1000", "--details-file", &details, "--yes"];
    let refusal = poor.cli().run::<Value>(&[&["trade", "take", &id][..], &too_much].concat()).unwrap_err();
    refusal.assert_is(2, "invalid_argument");
    assert!(refusal.message.contains("outside of the offer"), "{refusal:#?}");
    let refusal = poor.tries_to_post(&Offer::SELL).unwrap_err();
    refusal.assert_is(2, "invalid_argument");
    assert!(refusal.message.contains("you trust no arbiter"), "{refusal:#?}");
    let large = Offer { max: "2.0", ..Offer::SELL };
    let refusal = maker.tries_to_post(&large).unwrap_err();
    refusal.assert_is(2, "invalid_argument");
    assert!(refusal.message.contains("takes up to 1.00000000 BTC"), "{refusal:#?}");
    // Nobody is bound without his payment details.
    let nameless = ["trade", "take", &id, "--amount", "0.01", "--arbiter", "0", "--yes"];
    let refusal = poor.cli().run::<Value>(&nameless).unwrap_err();
    refusal.assert_is(2, "invalid_argument");
    assert!(refusal.hint.contains("--details-file"), "{refusal:#?}");
    let post = ["offer", "post", "sell", "--currency", "EUR", "--price", "61750", "--min", "0.005", "--max", "0.02"];
    let post = [&post[..], &["--method", "SEPA instant", "--yes"]].concat();
    let refusal = maker.cli().run::<Value>(&[&post[..], &["--automatic"]].concat()).unwrap_err();
    refusal.assert_is(2, "invalid_argument");
    assert!(refusal.hint.contains("--details-file"), "{refusal:#?}");
    // An amount that is none.
    poor.tries_to_take(&offer.id, "-1").unwrap_err().assert_is(2, "usage");
    // Coins that he does not have.
    poor.tries_to_take(&wanted.id, "0.01").unwrap_err().assert_is(1, "insufficient_funds");
    let own = poor.address();
    let send = |to: &str, amount: &str| poor.cli().run::<Sent>(&["wallet", "send", to, amount, "--yes"]).unwrap_err();
    send(&own, "0.01").assert_is(1, "insufficient_funds");
    send(ON_MAINNET, "0.01").assert_is(1, "wrong_network");
    send("nonsense", "0.01").assert_is(2, "invalid_argument");
    // An offer that nobody made, and one that breaks a rule.
    let unknown = poor.cli().run::<Value>(&["trade", "take", UNKNOWN, "--amount", "0.01", "--yes"]);
    unknown.unwrap_err().assert_is(1, "not_found");
    let tiny = Offer { min: "0.00000001", ..Offer::SELL };
    maker.tries_to_post(&tiny).unwrap_err().assert_is(2, "invalid_argument");
    let upside_down = Offer { min: "0.02", max: "0.01", ..Offer::SELL };
    maker.tries_to_post(&upside_down).unwrap_err().assert_is(2, "invalid_argument");

    // Whoever posted without payment details accepts with some, or not at all.
    let bare: OfferView = maker.cli().done(&post);
    let trade = poor.takes(&bare, "0.01").id;
    maker.awaits(trade, Phase::Bid);
    let refusal = maker.tries_to("accept", trade).unwrap_err();
    refusal.assert_is(2, "invalid_argument");
    assert!(refusal.hint.contains("--details-file"), "{refusal:#?}");

    // A maker who cannot pay cannot accept, and can once he has coins.
    let trade = poor.takes(&offer, "0.01").id;
    maker.awaits(trade, Phase::Bid);
    maker.tries_to("accept", trade).unwrap_err().assert_is(1, "insufficient_funds");
    world.chain().mine_coins_to(&maker.address());
    maker.awaits_balance("coins", |balance| balance.spendable.get() > 0);
    maker.does("accept", trade);
    poor.awaits(trade, Phase::Agreed);
    // Not his to do.
    poor.tries_to("fund", trade).unwrap_err().assert_is(1, "not_allowed");
    poor.tries_to("release", trade).unwrap_err().assert_is(1, "not_allowed");
    maker.tries_to("paid", trade).unwrap_err().assert_is(1, "not_allowed");
}

#[test]
fn only_one_node_uses_a_data_directory() {
    let world = World::begin();
    let trader = world.trader("trader");
    let failure = Process::try_start(world.launch("trader")).unwrap_err();
    failure.assert_is(1, "busy");
    assert!(failure.message.contains("another node uses this data directory"), "{failure:#?}");
    trader.awaits_identity(); // the first one never noticed
}

#[test]
fn a_chain_that_does_not_answer_is_named() {
    let mut world = World::begin();
    world.chain_mut().goes_away();
    // A node that runs says so, and goes on when the chain is back.
    let relay = world.relay_cli().clone();
    let status = || relay.done::<Status>(&["status"]);
    wait_until("the relay misses its chain", || match status() {
        Status { chain_error: Some(error), tip: None, .. } => Ok(error),
        status => Err(format!("{status:?}")),
    });
    // A node that starts cannot.
    let failure = Process::try_start(world.launch("newcomer")).unwrap_err();
    failure.assert_is(1, "chain_unreachable");
    world.chain_mut().comes_back();
    wait_until("the relay has its chain again", || match status() {
        Status { chain_error: None, tip: Some(tip), .. } => Ok(tip),
        status => Err(format!("{status:?}")),
    });
    let newcomer = world.trader("newcomer");
    assert_eq!(newcomer.status().chain_error, None);
}

#[test]
fn a_chain_of_another_network_is_refused() {
    let world = World::begin();
    let mut launch = world.launch("newcomer");
    let network = launch.command.iter().position(|word| word == "regtest").unwrap();
    launch.command[network] = "signet".to_owned();
    let failure = Process::try_start(launch).unwrap_err();
    failure.assert_is(1, "wrong_network");
    assert!(failure.message.contains("signet") && failure.message.contains("regtest"), "{failure:#?}");
}

#[test]
fn a_relay_has_no_identity_and_says_so() {
    let world = World::begin();
    let relay = world.relay_cli();
    for verb in [&["identity", "show"][..], &["wallet", "address"], &["offer", "list"], &["trade", "list"]] {
        relay.run::<Value>(verb).unwrap_err().assert_is(1, "identity_missing");
    }
}

#[test]
fn where_no_node_runs_nothing_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let failure = Cli::new(dir.path()).run::<Value>(&["status"]).unwrap_err();
    failure.assert_is(3, "node_unreachable");
    assert!(failure.hint.contains("exchange-node run"), "it says what to do: {failure:#?}");
}

#[test]
fn wrong_usage_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let launch = |args: &[&str]| Process::try_start(Launch::node("wrong", dir.path(), args)).unwrap_err();
    launch(&["run", "--json", "--no-such-option"]).assert_is(2, "usage");
    let data_dir = dir.path().join("data").display().to_string();
    let mainnet = launch(&["run", "--json", "--relay", "--data-dir", &data_dir, "--network", "mainnet"]);
    assert_eq!(mainnet.exit, Some(2), "{mainnet:#?}");
    assert!(format!("{mainnet:?}").contains("--i-understand-mainnet"), "{mainnet:#?}");
}
