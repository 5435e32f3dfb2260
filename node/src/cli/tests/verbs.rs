//! Verbs against a node that answers from a script, and against none.

use std::sync::{Arc, Mutex};

use exchange_api::{ApiError, Code};
use exchange_ledger::identity::{Email, KdfParams, Keystore, KeystoreParams, MasterKey, Password};
use jsonrpsee::RpcModule;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Ran, run, run_typing};

const OFFER: &str = "1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b";
const OTHER: &str = "1f0c9a3c1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b";
const TRADE: &str = "7ade7ade7ade7ade7ade7ade7ade7ade7ade7ade7ade7ade7ade7ade7ade7ade";
const MAKER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const TAKER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// What a method answers, by its parameters.
type Script = fn(&Value) -> Result<Value, ApiError>;

/// A node that answers from a script and remembers what it was asked.
struct Node {
    directory: TempDir,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    shutdown: CancellationToken,
    // Dropped last: the server lives on it.
    _runtime: Runtime,
}

impl Node {
    fn answering(script: &[(&'static str, Script)]) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut module = RpcModule::new(());
        for (method, answer) in script.iter().copied() {
            let asked = Arc::clone(&asked);
            let register = module.register_method(method, move |params, (), _| {
                let mut params: Vec<Value> = params.parse().unwrap_or_default();
                let first = if params.is_empty() { Value::Null } else { params.remove(0) };
                asked.lock().unwrap().push((method.to_owned(), first.clone()));
                answer(&first).map_err(ErrorObjectOwned::from)
            });
            register.unwrap();
        }
        let runtime = Runtime::new().unwrap();
        let directory = TempDir::new().unwrap();
        let shutdown = CancellationToken::new();
        let guard = runtime.enter();
        exchange_api::serve(&directory.path().join("api.sock"), module, shutdown.clone()).unwrap();
        drop(guard);
        Self { directory, asked, shutdown, _runtime: runtime }
    }

    fn with_data_dir<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--data-dir", self.directory.path().to_str().unwrap()]].concat()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(&self.with_data_dir(arguments))
    }

    fn run_typing(&self, arguments: &[&str], typed: &str) -> Ran {
        run_typing(&self.with_data_dir(arguments), typed)
    }

    /// Returns the parameters of the calls of a method.
    fn asked(&self, method: &str) -> Vec<Value> {
        self.asked.lock().unwrap().iter().filter(|(name, _)| name == method).map(|(_, params)| params.clone()).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn arbiter() -> Value {
    json!({
        "advert": "ad".repeat(32), "author": "ee".repeat(32), "name": "Ada", "fee_ppm": 5000, "max_amount": 100_000_000,
        "languages": ["en"], "currencies": ["EUR"], "terms": "", "since": 0, "trades": 12, "disputes": 2, "rulings": 2, "trusted": false, "threshold": 0, "members": [],
        "withdrawn": false,
    })
}

fn offer(id: &str) -> Value {
    json!({
        "id": id, "maker": MAKER, "mine": false, "side": "sell", "currency": "EUR", "price": 6_175_000, "min": 500_000,
        "max": 2_000_000, "min_cost": 30_875, "max_cost": 123_500, "methods": ["SEPA instant", "Wise"],
        "terms": "No reference.\u{1b}[2J", "arbiters": [arbiter()], "arbitration_delay": 144, "second_delay": 1008, "refund_delay": 4320,
        "automatic": true, "created": 0, "expires": 4_102_444_800_u64, "last_seen": 4_102_444_800_u64, "state": "live",
        "maker_trades": 3, "seller_bond_ppm": 100_000, "buyer_bond_ppm": 0,
    })
}

fn trade(state: &str, actions: &[&str]) -> Value {
    json!({
        "id": TRADE, "offer": OFFER, "role": "buyer", "maker": false, "state": state, "synced": true, "buyer": TAKER,
        "seller": MAKER, "arbiter": arbiter(), "amount": 1_000_000, "currency": "EUR", "price": 6_175_000, "cost": 61_750,
        "method": "SEPA instant", "terms": "No reference.", "created": 0, "escrow_address": "bcrt1pescrow",
        "funding": { "txid": "cd".repeat(32), "confirmations": 1, "height": 110 }, "spend": null,
        "confirmations_needed": 1,
        "next": {
            "who": "you", "what": "Pay 617.50 EUR by SEPA instant, then say so.", "until": 2414,
            "otherwise": "The seller may take the coins back from block 4430.", "action": "mark_paid",
        },
        "actions": actions,
        "steps": [
            { "name": "Agree", "state": "done", "detail": "" },
            { "name": "Fund escrow", "state": "done", "detail": "1 of 1 confirmations" },
            { "name": "Pay", "state": "current", "detail": "your turn" },
            { "name": "Release", "state": "pending", "detail": "" },
        ],
        "pay_until": 2414, "refund_from": 4430, "their_details": "Anna Larsen\nDE12 3456", "my_details": "from Bob",
        "problem": null, "unread": 0,
    })
}

fn book(_: &Value) -> Result<Value, ApiError> {
    Ok(json!({ "items": [offer(OFFER), offer(OTHER)], "next": null }))
}

fn no_offers(_: &Value) -> Result<Value, ApiError> {
    Ok(json!([]))
}

#[test]
fn without_a_node_every_verb_exits_with_3() {
    let nowhere = TempDir::new().unwrap();
    let directory = nowhere.path().to_str().unwrap();
    for line in [
        "status",
        "peers",
        "stop",
        "identity show",
        "identity stake --yes",
        "identity stakes",
        "wallet balance",
        "wallet send bcrt1qxyz 0.01 --yes",
        "offer list",
        "book",
        "trade list",
        "trade fund 7ade7ade --yes",
        "trade take 1f0c9a3b --amount 0.01 --yes",
        "arbiter list",
        "audit",
    ] {
        let arguments: Vec<&str> = line.split(' ').chain(["--data-dir", directory, "--json"]).collect();
        let ran = run(&arguments);
        assert_eq!((ran.exit, ran.out.as_str()), (3, ""), "{line}: {ran:?}");
        assert_eq!(ran.error()["code"], "node_unreachable", "{line}");
        assert!(ran.error()["hint"].as_str().unwrap().contains("exchange-node run"), "{line}: {ran:?}");
    }
}

#[test]
fn what_binds_or_moves_coins_is_never_done_unasked() {
    let node = Node::answering(&[]);
    for line in [
        "wallet send bcrt1qxyz 0.01",
        "trade take 1f0c9a3b --amount 0.01",
        "trade release 7ade7ade",
        "trade accept 7ade7ade",
    ] {
        let ran = node.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.exit, 2, "{line}: {ran:?}");
        assert!(ran.err.contains("--yes"), "{line}: {ran:?}");
    }
    assert!(node.asked.lock().unwrap().is_empty());
}

#[test]
fn sending_is_priced_confirmed_and_repeatable() {
    let node = Node::answering(&[("exchange_walletSend", |request| {
        Ok(
            json!({ "txid": "ab".repeat(32), "amount": 1_000_000, "fee": 141, "broadcast": request["dry_run"] == false }),
        )
    })]);
    let send = ["wallet", "send", "bcrt1qxyz", "0.01", "--fee-rate", "2"];

    let no = node.run_typing(&send, "\n");
    assert_eq!(no.exit, 1, "{no:?}");
    assert!(no.err.contains("Send 0.01 BTC to bcrt1qxyz for a fee of 0.00000141 BTC? [y/N]"), "{no:?}");
    assert!(
        node.asked("exchange_walletSend").iter().all(|request| request["dry_run"] == true),
        "nothing without a yes"
    );

    let yes = node.run_typing(&[&send[..], &["--request-id", "rent"]].concat(), "y\n");
    assert_eq!(yes.exit, 0, "{yes:?}");
    assert!(yes.out.starts_with("Sent 0.01 BTC to bcrt1qxyz"), "{yes:?}");
    let last = node.asked("exchange_walletSend").pop().unwrap();
    assert_eq!(
        last,
        json!({
            "request_id": "rent",
            "dry_run": false,
            "address": "bcrt1qxyz",
            "amount": 1_000_000,
            "fee": { "fee_rate": 2, "target_blocks": null, "allow_high_fee": false },
            "coins": [],
            "label": "",
        })
    );

    let dry = node.run(&[&send[..], &["--dry-run", "--json"]].concat());
    assert_eq!(dry.document()["broadcast"], false);
}

#[test]
fn a_failure_names_the_request_that_can_be_repeated() {
    let node = Node::answering(&[("exchange_walletSend", |_| {
        Err(ApiError::new(Code::ChainUnreachable, "the payment is kept and goes out later", "do not send it again"))
    })]);
    let ran = node.run(&["wallet", "send", "bcrt1qxyz", "all", "--yes"]);
    let id = node.asked("exchange_walletSend")[0]["request_id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!((ran.exit, ran.out.as_str()), (1, ""));
    assert_eq!(
        ran.err,
        format!(
            "error: the payment is kept and goes out later\n  do not send it again\n  to repeat it without doing it twice: --request-id {id}\n"
        )
    );
    let ran = node.run(&["wallet", "send", "bcrt1qxyz", "all", "--yes", "--json", "--request-id", "rent"]);
    let expected = json!({
        "code": "chain_unreachable", "message": "the payment is kept and goes out later", "hint": "do not send it again",
        "request_id": "rent",
    });
    assert_eq!((ran.error(), ran.out.as_str()), (expected, ""));
    let poor = Node::answering(&[("exchange_walletSend", |_| {
        Err(ApiError::new(Code::InsufficientFunds, "the wallet holds 0.00000000 BTC", "deposit coins first"))
    })]);
    let ran = poor.run(&["wallet", "send", "bcrt1qxyz", "all", "--yes"]);
    assert_eq!(ran.err, "error: the wallet holds 0.00000000 BTC\n  deposit coins first\n", "nothing was done");
}

#[test]
fn the_book_is_asked_from_the_makers_side_and_shown_from_the_users() {
    let node = Node::answering(&[("exchange_book", book)]);
    let ran = node.run(&["book", "--side", "buy", "--market", "BTC/EUR", "--amount", "0.01", "--all"]);
    let asked = node.asked("exchange_book");
    assert_eq!(asked[0]["side"], "sell");
    assert_eq!(
        (&asked[0]["currency"], &asked[0]["amount"], &asked[0]["away"]),
        (&json!("EUR"), &json!(1_000_000), &json!(true))
    );
    let (_, rows) = ran.out.split_once('\n').unwrap();
    assert!(
        rows.starts_with("1f0c9a3b  buy  61750.00 EUR  0.005-0.02  308.75-1235.00  SEPA instant, Wise  aaaaaaaa"),
        "{}",
        ran.out
    );
}

#[test]
fn json_is_what_the_node_answered() {
    let node = Node::answering(&[("exchange_book", book)]);
    assert_eq!(node.run(&["--json", "book"]).document(), book(&Value::Null).unwrap());
}

#[test]
fn the_first_digits_of_an_id_are_enough_unless_two_share_them() {
    let node = Node::answering(&[
        ("exchange_book", book),
        ("exchange_offerList", no_offers),
        ("exchange_offerShow", |id| Ok(offer(id.as_str().unwrap()))),
    ]);
    assert_eq!(node.run(&["offer", "show", "1f0c9a3c", "--json"]).document()["id"], OTHER);
    let shared = node.run(&["offer", "show", "1f0c9a", "--json"]);
    assert_eq!((shared.exit, &shared.error()["code"]), (2, &json!("usage")));
    let unknown = node.run(&["offer", "show", "000000", "--json"]);
    assert_eq!((unknown.exit, &unknown.error()["code"]), (1, &json!("not_found")));
}

#[test]
fn an_offer_is_shown_whole_and_cannot_forge_the_screen() {
    let node = Node::answering(&[("exchange_offerShow", |id| Ok(offer(id.as_str().unwrap())))]);
    let ran = node.run(&["offer", "show", OFFER]);
    assert!(!ran.out.contains('\u{1b}'), "{ran:?}");
    // The times depend on the day of the test.
    let shown: Vec<&str> =
        ran.out.lines().filter(|line| !line.starts_with("maker") && !line.starts_with("ends")).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn posting_reads_prices_exactly_and_details_from_a_file() {
    let node = Node::answering(&[
        ("exchange_offerPost", |_| Ok(offer(OFFER))),
        ("exchange_arbiterList", |_| Ok(json!([arbiter()]))),
    ]);
    let details = node.directory.path().join("details");
    std::fs::File::create(&details).and_then(|mut file| std::io::Write::write_all(&mut file, b"DE12 3456\n")).unwrap();
    let ran = node.run(&[
        "offer",
        "post",
        "sell",
        "--currency",
        "EUR",
        "--price",
        "61750.00",
        "--min",
        "0.005",
        "--max",
        "0.02",
        "--method",
        "SEPA instant",
        "--arbiter",
        "adadad",
        "--automatic",
        "--details-file",
        details.to_str().unwrap(),
        "--days",
        "2",
        "--seller-bond-percent",
        "10",
        "--buyer-bond-percent",
        "7.5",
        "--request-id",
        "r",
    ]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(
        node.asked("exchange_offerPost")[0],
        json!({
            "request_id": "r", "dry_run": false, "side": "sell", "currency": "EUR", "price": 6_175_000, "min": 500_000,
            "max": 2_000_000, "methods": ["SEPA instant"], "terms": "", "arbiters": ["ad".repeat(32)], "automatic": true,
            "details": "DE12 3456", "lifetime_s": 172_800, "seller_bond_ppm": 100_000, "buyer_bond_ppm": 75_000,
        })
    );
}

#[test]
fn an_offer_that_is_only_tried_is_shown_without_an_id() {
    let node = Node::answering(&[("exchange_offerPost", |_| Ok(offer(&"00".repeat(32))))]);
    let post = ["offer", "post", "sell", "--currency", "EUR", "--price", "61750", "--min", "0.005", "--max", "0.02"];
    let ran = node.run(&[&post[..], &["--method", "Wise", "--dry-run"]].concat());
    assert!(ran.out.starts_with("The offer is good. Nothing was posted.\n\noffer "), "{ran:?}");
    assert!(!ran.out.contains("0000") && !ran.out.contains("live"), "{ran:?}");
}

#[test]
fn a_maker_is_told_that_he_cannot_fund_what_he_offers() {
    fn holds(spendable: u64) -> Result<Value, ApiError> {
        Ok(json!({ "spendable": spendable, "pending": 0, "in_escrow": 0, "frozen": 0 }))
    }
    let post = ["offer", "post", "sell", "--currency", "EUR", "--price", "61750", "--min", "0.005", "--max", "0.02"];
    let post = [&post[..], &["--method", "Wise"]].concat();
    let poor = Node::answering(&[
        ("exchange_offerPost", |_| Ok(offer(OFFER))),
        ("exchange_walletBalance", |_| holds(2_200_000)),
    ]);
    let poor = poor.run(&post);
    assert_eq!(poor.exit, 0, "{poor:?}");
    assert!(poor.err.contains("can spend 0.022 BTC, and the largest bid locks 0.022 BTC and a fee"), "{poor:?}");
    let rich = Node::answering(&[
        ("exchange_offerPost", |_| Ok(offer(OFFER))),
        ("exchange_walletBalance", |_| holds(2_200_001)),
    ]);
    let rich = rich.run(&post);
    assert_eq!((rich.exit, rich.err.as_str()), (0, ""), "{rich:?}");
}

#[test]
fn an_arbiter_is_trusted_by_his_identity() {
    let node = Node::answering(&[
        ("exchange_arbiterList", |_| Ok(json!([arbiter()]))),
        ("exchange_arbiterTrust", |_| Ok(Value::Null)),
    ]);
    let trusts = node.run(&["arbiter", "trust", "ada", "--json"]);
    assert_eq!(trusts.document()["trusted"], true);
    let listed = node.run(&["arbiter", "list"]).out;
    assert!(listed.contains("adadadad  eeeeeeee  Ada"), "by advert and by identity: {listed}");
    assert_eq!(node.run(&["arbiter", "untrust", "eeeeee"]).exit, 0);
    assert_eq!(node.run(&["arbiter", "trust", "Eve"]).exit, 1);
    let author = "ee".repeat(32);
    let wanted = [json!({ "author": author, "trusted": true }), json!({ "author": author, "trusted": false })];
    assert_eq!(node.asked("exchange_arbiterTrust"), wanted);
}

#[test]
fn an_arbiter_who_has_withdrawn_is_shown_as_such() {
    fn gone() -> Value {
        let mut gone = arbiter();
        (gone["withdrawn"], gone["max_amount"], gone["trusted"]) = (json!(true), json!(0), json!(true));
        gone
    }
    let node = Node::answering(&[
        ("exchange_arbiterWithdraw", |_| Ok(gone())),
        ("exchange_arbiterList", |_| Ok(json!([gone()]))),
        ("exchange_offerShow", |id| {
            let mut offer = offer(id.as_str().unwrap());
            offer["arbiters"] = json!([gone()]);
            Ok(offer)
        }),
    ]);
    let withdraws = node.run(&["arbiter", "withdraw"]);
    assert_eq!(withdraws.exit, 0, "{withdraws:?}");
    assert!(withdraws.out.contains("You take on no more trades"), "{withdraws:?}");
    assert_eq!(node.asked("exchange_arbiterWithdraw"), [Value::Null], "nothing is told but that");
    assert!(node.run(&["arbiter", "list"]).out.contains("withdrawn"));
    let shown = node.run(&["offer", "show", OFFER]).out;
    let line = "Ada (adadadad), 0.5% for a ruling; he has withdrawn and takes on no more trades\n";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn taking_shows_what_it_means_and_asks() {
    fn review(request: &Value) -> Result<Value, ApiError> {
        Ok(json!({
            "offer": offer(OFFER), "role": "buyer", "amount": request["amount"], "cost": 61_750, "method": "Wise",
            "arbiter": arbiter(), "funding_fee": 154, "payout_fee": 199, "confirmations": 1, "pay_within": 2304,
            "refund_after": 4320, "affordable": true,
        }))
    }
    let node = Node::answering(&[
        ("exchange_offerShow", |id| Ok(offer(id.as_str().unwrap()))),
        ("exchange_tradeReview", review),
        ("exchange_tradeTake", |_| Ok(trade("bid", &["cancel"]))),
    ]);
    let take = ["trade", "take", OFFER, "--amount", "0.01", "--method", "wise", "--arbiter", "ada"];
    let no = node.run_typing(&take, "from Bob\nn\n");
    assert_eq!((no.exit, node.asked("exchange_tradeTake")), (1, vec![]), "{no:?}");
    insta::assert_snapshot!(no.err);

    let yes = node.run_typing(&take, "from Bob\nyes\n");
    assert_eq!(yes.exit, 0, "{yes:?}");
    let asked = node.asked("exchange_tradeTake").remove(0);
    assert_eq!(
        (&asked["method"], &asked["details"], &asked["amount"], &asked["arbiter"]),
        (&json!(1), &json!("from Bob"), &json!(1_000_000), &json!("ad".repeat(32)))
    );

    let wrong = node.run(&["trade", "take", OFFER, "--amount", "0.01", "--method", "cash", "--yes"]);
    assert_eq!(wrong.exit, 2);
    assert!(wrong.err.contains("SEPA instant, Wise"), "{wrong:?}");
}

#[test]
fn a_trade_tells_who_acts_next_and_how() {
    let node = Node::answering(&[("exchange_tradeShow", |_| Ok(trade("funded", &["cancel", "mark_paid"])))]);
    insta::assert_snapshot!(node.run(&["trade", "show", TRADE]).out);
}

#[test]
fn steps_ask_what_the_user_should_ask_himself() {
    let node = Node::answering(&[
        ("exchange_tradeList", |_| Ok(json!([trade("paid", &["release"])]))),
        ("exchange_tradeRelease", |request| {
            Ok(if request["dry_run"] == true { trade("paid", &["release"]) } else { trade("released", &[]) })
        }),
        ("exchange_tradeAccept", |_| Err(ApiError::new(Code::NotAllowed, "there is no bid to accept", "look again"))),
    ]);
    let no = node.run_typing(&["trade", "release", "7ade7ade"], "no\n");
    assert_eq!(no.exit, 1);
    assert!(no.err.contains("Are the 617.50 EUR in your account, and final? [y/N]"), "{no:?}");
    let yes = node.run(&["trade", "release", "7ade7ade", "--yes", "--json"]);
    assert_eq!(yes.document()["state"], "released");
    let asked = node.asked("exchange_tradeRelease");
    let tried: Vec<&Value> = asked.iter().map(|request| &request["dry_run"]).collect();
    assert_eq!((tried, &asked[1]["trade"]), (vec![&json!(true), &json!(false)], &json!(TRADE)));
    let cannot = node.run_typing(&["trade", "accept", "7ade7ade"], "yes\n");
    assert_eq!(cannot.err, "error: there is no bid to accept\n  look again\n", "nobody is asked about it");
}

#[test]
fn waiting_ends_with_the_state_or_says_that_it_cannot_come() {
    let node = Node::answering(&[("exchange_tradeShow", |_| Ok(trade("closed", &[])))]);
    assert_eq!(node.run(&["trade", "show", TRADE, "--wait", "paid", "--json"]).document()["state"], "closed");
    let never = node.run(&["trade", "show", TRADE, "--wait", "refunded"]);
    assert_eq!(never.exit, 1);
    assert!(never.err.contains("is closed and cannot become refunded"), "{never:?}");
    let node = Node::answering(&[("exchange_tradeShow", |_| Ok(trade("refunding", &[])))]);
    let gone = node.run(&["trade", "show", TRADE, "--wait", "funded"]);
    assert_eq!(gone.exit, 1, "a script would pay");
    assert!(gone.err.contains("is refunding and cannot become funded"), "{gone:?}");
    let node = Node::answering(&[("exchange_tradeShow", |_| Ok(trade("bid", &[])))]);
    let late = node.run(&["trade", "show", TRADE, "--wait", "funded", "--timeout", "0", "--json"]);
    assert_eq!((late.exit, &late.error()["code"]), (1, &json!("timed_out")));
    let node = Node::answering(&[("exchange_tradeShow", |_| {
        let mut reading = trade("funded", &[]);
        reading["synced"] = json!(false);
        Ok(reading)
    })]);
    let reading = node.run(&["trade", "show", TRADE, "--wait", "funded", "--timeout", "0"]);
    assert_eq!(reading.exit, 1);
    assert!(reading.err.contains("still reads the chain"), "{reading:?}");
}

#[test]
fn an_audit_that_finds_something_prints_it_and_exits_with_1() {
    let node = Node::answering(&[
        ("exchange_audit", |_| {
            let sums = json!({
                "funded": 1_000_000, "to_buyers": 0, "to_sellers": 0, "to_arbiters": 0, "elsewhere": 0, "fees": 0, "held": 1_000_000,
            });
            Ok(json!({
                "ok": false, "records": 42, "bare": 0, "lacked": 0, "authors": 3, "bids": 1, "agreed": 1,
                "trades": [{
                    "trade": TRADE, "state": "closed", "amount": 1_000_000, "escrow_address": "bcrt1pescrow",
                    "funding": { "txid": "cd".repeat(32), "confirmations": 3, "height": 110 }, "spend": null,
                    "sums": sums, "not_compared": null,
                }],
                "violations": [{ "record": OFFER, "trade": null, "rule": "the signature does not verify" }],
                "evidence": [{ "record": null, "trade": TRADE, "rule": "a release is signed by the buyer" }],
                "sums": sums,
                "checkpoints": [],
                "cut": { "trades": false, "crowded": 0, "checkpoints": false, "violations": 0, "evidence": 0, "not_compared": 0 },
            }))
        }),
        ("exchange_auditFind", |_| Ok(json!([TRADE]))),
    ]);
    let ran = node.run(&["audit", "--chain"]);
    assert_eq!(ran.exit, 1);
    assert!(ran.err.contains("the first: the signature does not verify (record 1f0c9a3b"), "{ran:?}");
    insta::assert_snapshot!(ran.out);
    let json = node.run(&["audit", "--chain", "--json", "--trade", "7ade7ade"]);
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap()["records"], 42);
    assert_eq!((json.exit, &json.error()["code"]), (1, &json!("violated")));
    assert_eq!(node.asked("exchange_auditFind"), [json!("7ade7ade")], "nothing is listed to find a trade");
    let asked = json!({ "chain": true, "author": null, "trade": TRADE, "after": null });
    assert_eq!(node.asked("exchange_audit").pop().unwrap(), asked);
}

#[test]
fn proofs_of_misconduct_fail_an_audit_only_if_asked() {
    let node = Node::answering(&[("exchange_audit", |_| {
        Ok(json!({
            "ok": true, "records": 42, "bare": 12, "lacked": 1, "authors": 3, "bids": 9, "agreed": 2, "violations": [], "sums": null,
            "trades": [{
                "trade": TRADE, "state": "agreed", "amount": 1_000_000, "escrow_address": "bcrt1pescrow",
                "funding": null, "spend": null, "sums": null, "not_compared": null,
            }],
            "checkpoints": [],
            "cut": { "trades": true, "crowded": 1, "checkpoints": true, "violations": 0, "evidence": 7, "not_compared": 0 },
            "evidence": [{ "record": OFFER, "trade": null, "rule": "a release is signed by the buyer" }],
        }))
    })]);
    let ran = node.run(&["audit"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let bare = "12 of them are old and kept without their bodies; 1 trade could not be judged without.";
    assert!(ran.out.contains(bare), "{ran:?}");
    let cut = "Others say so much about 1 trade that not all of it was looked at.\nThere are more checkpoints";
    let more = format!("than the 1 listed here. The next ones: exchange-node audit --after {TRADE}\n");
    let unanswered = "Not agreed on, and not listed: 7 bids.\n";
    assert!(ran.out.contains(unanswered) && ran.out.contains(&more) && ran.out.contains(cut), "{ran:?}");
    assert!(ran.out.contains("Proofs of misconduct, which harm nobody else:\n  a release"), "{ran:?}");
    assert!(ran.out.ends_with("  and 7 more\n"), "{ran:?}");
    let next = node.run(&["audit", "--after", TRADE]);
    assert!(next.out.starts_with("Nothing wrong was found with the trades after 7ade7ade.\n"), "{next:?}");
    assert_eq!(node.asked("exchange_audit").pop().unwrap()["after"], TRADE);
    let strict = node.run(&["audit", "--strict"]);
    assert_eq!(strict.exit, 1);
    assert!(strict.err.contains("the history has 8 proofs of misconduct"), "{strict:?}");
}

#[test]
fn a_trade_that_was_not_compared_is_not_called_well() {
    let node = Node::answering(&[("exchange_audit", |_| {
        let trade = |why: &str| {
            json!({
                "trade": TRADE, "state": "funded", "amount": 1_000_000, "escrow_address": "bcrt1pescrow",
                "funding": null, "spend": null, "sums": null, "not_compared": why,
            })
        };
        Ok(json!({
            "ok": true, "records": 42, "bare": 0, "lacked": 0, "authors": 3, "bids": 2, "agreed": 2, "violations": [],
            "trades": [trade("failed"), trade("too_much")],
            "sums": {
                "funded": 0, "to_buyers": 0, "to_sellers": 0, "to_arbiters": 0, "elsewhere": 0, "fees": 0, "held": 0,
            },
            "checkpoints": [],
            "cut": {
                "trades": false, "crowded": 0, "checkpoints": false, "violations": 0, "evidence": 0, "not_compared": 2,
            },
            "evidence": [],
        }))
    })]);
    let ran = node.run(&["audit", "--chain"]);
    assert_eq!(ran.exit, 0, "whoever makes up outputs makes nobody's audit fail: {ran:?}");
    assert!(ran.out.starts_with("Nothing wrong was found: 42 records"), "{ran:?}");
    assert!(ran.out.contains("Not compared with the chain: 2 trades. "), "{ran:?}");
    let why = "  more outputs than one audit looks up, or more blocks to be read: 1 trade\n  \
               the chain had no good answer: 1 trade\n";
    assert!(ran.out.contains(why) && ran.out.contains("0.01  not compared  "), "{ran:?}");
    assert!(ran.out.contains("In the escrows that were compared, in BTC:"), "{ran:?}");
    let strict = node.run(&["audit", "--chain", "--strict"]);
    assert_eq!(strict.exit, 1);
    assert!(strict.err.contains("not compared with the chain: 2 trades"), "{strict:?}");
    // Who asks about it alone is not told that nothing is wrong.
    let alone = node.run(&["audit", "--chain", "--trade", TRADE]);
    assert_eq!(alone.exit, 1);
    for told in [&alone.out, &alone.err] {
        assert!(told.contains("look up the address of its escrow by other means"), "{alone:?}");
    }
}

/// Answers an audit of three trades, one at once, the last of which was robbed; if it is asked about one author, without end.
fn page(request: &Value) -> Value {
    let sums = json!({
        "funded": 1_000_000, "to_buyers": 0, "to_sellers": 0, "to_arbiters": 0, "elsewhere": 0, "fees": 0, "held": 1_000_000,
    });
    let (trade, is_last) = match request["after"].as_str() {
        None => (TRADE, false),
        Some(TRADE) => (OFFER, false),
        Some(_) => (OTHER, request["author"].is_null()),
    };
    let found = |trade: &str, rule: &str| json!({ "record": null, "trade": trade, "rule": rule });
    let mut evidence = vec![found(TRADE, "a release is signed by the buyer")];
    if is_last {
        evidence.push(found(trade, "it spends the escrow in a way that the contract does not know"));
    }
    json!({
        "ok": true, "records": 42, "bare": 0, "lacked": 0, "authors": 3, "bids": 3, "agreed": 3, "violations": [], "evidence": evidence,
        "trades": [{
            "trade": trade, "state": "funded", "amount": 1_000_000, "escrow_address": "bcrt1pescrow",
            "funding": null, "spend": null, "sums": sums, "not_compared": null,
        }],
        "sums": sums, "checkpoints": [],
        "cut": { "trades": !is_last, "crowded": 0, "checkpoints": false, "violations": 0, "evidence": 0, "not_compared": 0 },
    })
}

#[test]
fn an_audit_with_the_chain_goes_on_to_the_last_trade() {
    let node = Node::answering(&[("exchange_audit", |request| Ok(page(request)))]);
    let strict = node.run(&["audit", "--chain", "--strict"]);
    assert_eq!(strict.exit, 1, "{strict:?}");
    assert!(strict.err.contains("the history has 2 proofs of misconduct"), "each is told once: {strict:?}");
    assert!(strict.out.starts_with("All is well: 42 records"), "{strict:?}");
    assert!(strict.out.contains("In all escrows, in BTC:\n  funded       0.03"), "{strict:?}");
    let asked: Vec<Value> = node.asked("exchange_audit").into_iter().map(|mut asked| asked["after"].take()).collect();
    assert_eq!(asked, [Value::Null, json!(TRADE), json!(OFFER)]);
    let whole = node.run(&["audit", "--chain", "--json"]).document();
    assert_eq!((whole["trades"].as_array().map(Vec::len), &whole["cut"]["trades"]), (Some(3), &json!(false)));
    assert_eq!((&whole["bids"], &whole["sums"]["held"]), (&json!(3), &json!(3_000_000)));

    // Without the chain nothing is learned of a trade by listing it.
    let listed = node.run(&["audit"]);
    assert!(listed.out.starts_with("All is well: 42 records"), "{listed:?}");
    assert_eq!(node.asked("exchange_audit").last().unwrap()["after"], Value::Null);
}

#[test]
fn an_audit_that_left_trades_out_is_not_called_well() {
    let node = Node::answering(&[("exchange_audit", |request| {
        let mut page = page(request);
        page["evidence"] = json!([]);
        Ok(page)
    })]);
    let arguments = ["audit", "--chain", "--author", MAKER];
    let ran = node.run(&arguments);
    assert_eq!(ran.exit, 0, "whoever makes trades up makes nobody's audit fail: {ran:?}");
    assert_eq!(node.asked("exchange_audit").len(), 50, "not without end");
    assert!(ran.out.starts_with("Nothing wrong was found: 42 records"), "{ran:?}");
    let more = format!("than the 50 listed here. The next ones: exchange-node audit --chain --after {OTHER}\n");
    assert!(ran.out.contains(&more), "{ran:?}");
    let strict = node.run(&[arguments.as_slice(), &["--strict"]].concat());
    assert_eq!(strict.exit, 1);
    assert!(strict.err.contains("not all was looked at: trades after the last that is listed"), "{strict:?}");
}

/// Answers like [`page`] until the chain is lost: in the middle of the second trade, so that nothing is told of the third.
fn lost(request: &Value) -> Result<Value, ApiError> {
    let mut page = page(request);
    match request["after"].as_str() {
        None => {}
        Some(TRADE) => {
            page["trades"][0]["not_compared"] = json!("failed");
            page["trades"][0]["sums"] = Value::Null;
            (page["sums"]["funded"], page["sums"]["held"]) = (json!(0), json!(0));
            page["cut"]["not_compared"] = json!(1);
        }
        Some(_) => return Err(ApiError::new(Code::ChainUnreachable, "no server answers", "name another one")),
    }
    Ok(page)
}

#[test]
fn an_audit_whose_chain_is_lost_between_its_pages_tells_what_it_found_and_how_to_go_on() {
    let node = Node::answering(&[("exchange_audit", lost)]);
    let arguments = ["audit", "--chain"];
    let ran = node.run(&arguments);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.starts_with("Nothing wrong was found: 42 records"), "{ran:?}");
    let more = format!("than the 2 listed here. The next ones: exchange-node audit --chain --after {OFFER}\n");
    assert!(ran.out.contains(&more) && ran.out.contains("the chain had no good answer: 1 trade\n"), "{ran:?}");
    assert!(ran.out.contains("In the escrows that were compared, in BTC:\n  funded       0.01"), "{ran:?}");
    assert_eq!(ran.out.matches("a release is signed by the buyer").count(), 1, "{ran:?}");
    let whole = node.run(&[arguments.as_slice(), &["--json"]].concat()).document();
    assert_eq!((&whole["cut"]["trades"], &whole["cut"]["not_compared"]), (&json!(true), &json!(1)));

    // Who goes on there learns why, and who asked for all to be looked at does not take it for that.
    let next = node.run(&["audit", "--chain", "--after", OFFER]);
    assert!(next.exit == 1 && next.err.contains("no server answers"), "{next:?}");
    let node = Node::answering(&[("exchange_audit", |request| {
        let mut page = lost(request)?;
        page["evidence"] = json!([]);
        Ok(page)
    })]);
    let strict = node.run(&[arguments.as_slice(), &["--strict"]].concat());
    assert!(strict.exit == 1 && strict.err.contains("not compared with the chain: 1 trade"), "{strict:?}");
}

#[test]
fn checkpoints_stand_beside_what_is_here() {
    let node = Node::answering(&[
        ("exchange_status", |_| {
            Ok(json!({
                "version": "0.1.0", "network": "regtest", "chain": "core", "tip": 1, "chain_error": null,
                "identity": { "state": "none" }, "peers": 0, "listen": [], "records": 14,
                "retention": "180", "offers": 0, "time": 7200, "demo": false,
            }))
        }),
        ("exchange_checkpointList", |_| {
            let said = json!({ "time": 0, "logs": 3, "records": 14, "state": "ab".repeat(32) });
            let here = json!({ "time": 0, "logs": 3, "records": 14, "state": "cd".repeat(32) });
            let view = |relation: &str| json!({ "record": OFFER, "author": MAKER, "said": said, "here": here, "relation": relation });
            Ok(json!([view("same"), view("different"), view("uneven")]))
        }),
    ]);
    insta::assert_snapshot!(node.run(&["checkpoint", "list"]).out);
}

#[test]
fn a_bundle_is_written_once_and_checked_without_a_node() {
    let bundle = include_str!("../../../../specs/vectors/bundle.json");
    let node = Node::answering(&[("exchange_auditExport", |_| {
        Ok(serde_json::from_str(include_str!("../../../../specs/vectors/bundle.json")).unwrap())
    })]);
    let file = node.directory.path().join("trade.json");
    let file = file.to_str().unwrap();
    let ran = node.run(&["audit", "--trade", TRADE, "--export", file]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(std::fs::read_to_string(file).unwrap() == bundle, "the file is not the bundle that the node gave");
    let again = node.run(&["audit", "--trade", TRADE, "--export", file]);
    assert_eq!(again.exit, 1);
    assert!(again.err.contains("is there already"), "{again:?}");

    let checked = run(&["audit", "verify", file]);
    assert_eq!(checked.exit, 0, "{checked:?}");
    insta::assert_snapshot!(checked.out);
    assert_eq!(run(&["audit", "verify", file, "--json"]).document()["phase"], "closed");

    let forged = node.directory.path().join("forged.json");
    let text = bundle.replacen("\"phase\": \"closed\"", "\"phase\": \"refunded\"", 1);
    std::fs::File::create(&forged).and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).unwrap();
    let refused = run(&["audit", "verify", forged.to_str().unwrap()]);
    assert_eq!((refused.exit, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("error: phase: the bundle says `refunded`"), "{refused:?}");
    let nothing = run(&["audit", "verify", "/nowhere/trade.json"]);
    assert_eq!(nothing.exit, 1, "{nothing:?}");
}

#[test]
fn status_says_what_is_wrong_with_the_chain() {
    let node = Node::answering(&[("exchange_status", |_| {
        Ok(json!({
            "version": "0.1.0", "network": "regtest", "chain": "core", "tip": null, "chain_error": "connection refused",
            "identity": { "state": "unlocked", "author": MAKER, "email": "alice@example.org" }, "peers": 2,
            "listen": ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1/quic-v1"], "records": 120,
            "retention": "full", "offers": 4, "time": 0, "demo": false,
        }))
    })]);
    insta::assert_snapshot!(node.run(&["status"]).out);
}

#[test]
fn an_identity_is_made_from_a_file_and_the_password_is_shown_nowhere() {
    let node = Node::answering(&[
        ("exchange_passwordStrength", |_| {
            Ok(json!({ "guesses_log10": 13, "verdict": "weak", "advice": "add a word" }))
        }),
        ("exchange_identityCreate", |credentials| Ok(json!({ "author": MAKER, "email": credentials["email"] }))),
    ]);
    let file = node.directory.path().join("password");
    std::fs::File::create(&file).and_then(|mut file| std::io::Write::write_all(&mut file, b"correct horse\n")).unwrap();
    let new = ["identity", "new", "--email", "alice@example.org"];
    let ran = node.run(&[&new[..], &["--password-file", file.to_str().unwrap()]].concat());
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.err.contains("warning: 10^13 guesses find this password; add a word"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("correct horse"));
    assert_eq!(node.asked("exchange_identityCreate")[0]["password"], "correct horse");

    let without = node.run(&new);
    assert_eq!(without.exit, 2);
    assert!(without.err.contains("EXCHANGE_PASSWORD"), "{without:?}");
}

#[test]
fn a_node_that_was_started_without_a_password_is_unlocked() {
    let node = Node::answering(&[
        ("exchange_status", |_| {
            Ok(json!({
                "version": "0.1.0", "network": "regtest", "chain": "core", "tip": 1, "chain_error": null,
                "identity": { "state": "locked" }, "peers": 0, "listen": [], "records": 14,
                "retention": "180", "offers": 0, "time": 7200, "demo": false,
            }))
        }),
        ("exchange_identityUnlock", |_| Ok(json!({ "author": MAKER, "email": "alice@example.org" }))),
    ]);
    assert!(node.run(&["status"]).out.contains("locked: `exchange-node identity unlock` unlocks it"));
    let file = node.directory.path().join("password");
    std::fs::File::create(&file).and_then(|mut file| std::io::Write::write_all(&mut file, b"correct horse\n")).unwrap();
    let ran = node.run(&["identity", "unlock", "--password-file", file.to_str().unwrap()]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains(MAKER) && !format!("{ran:?}").contains("correct horse"), "{ran:?}");
    assert_eq!(node.asked("exchange_identityUnlock"), [json!("correct horse")]);
    assert_eq!(node.run(&["identity", "unlock"]).exit, 2);
}

#[test]
fn a_node_for_somebody_else_does_not_even_start() {
    let directory = TempDir::new().unwrap();
    let (email, password) = (Email::parse("alice@example.org").unwrap(), Password::parse("correct horse").unwrap());
    let identity = MasterKey::derive(&email, &password, None, &KdfParams::for_tests()).unwrap().identity();
    let (salt, nonce) = ([1; 16], [2; 24]);
    let keystore = Keystore::seal(&identity, &email, &password, salt, nonce, &KeystoreParams::for_tests()).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        crate::keyring::write_new(&path, bytes).unwrap();
        path.display().to_string()
    };
    write("identity.keystore", &keystore);
    let (right, wrong) = (write("right", b"correct horse"), write("wrong", b"another horse"));
    for (email, password, exit, code) in [
        ("bob@example.org", &right, 2, "usage"),
        ("bob", &right, 2, "invalid_argument"),
        ("alice@example.org", &wrong, 1, "wrong_password"),
    ] {
        let data_dir = directory.path().to_str().unwrap();
        let ran =
            run(&["run", "--json", "--data-dir", data_dir, "--email", email, "--password-file", password.as_str()]);
        assert_eq!((ran.exit, &ran.error()["code"]), (exit, &json!(code)), "{email}: {ran:?}");
        assert!(!directory.path().join("ledger").exists(), "{email}: it has begun");
    }
}

#[test]
fn the_demo_takes_no_directory_of_a_node() {
    let directory = TempDir::new().unwrap();
    crate::keyring::write_new(&directory.path().join("identity.keystore"), b"somebody's").unwrap();
    let ran = run(&["demo", "--serve", "--json", "--data-dir", directory.path().to_str().unwrap()]);
    assert_eq!((ran.exit, &ran.error()["code"]), (2, &json!("usage")), "{ran:?}");
    let node = Node::answering(&[]);
    let ran = node.run(&["demo", "--serve", "--json"]);
    assert_eq!((ran.exit, &ran.error()["code"]), (1, &json!("refused")), "{ran:?}");
}

#[test]
fn naming_a_coin_in_public_is_confirmed_or_only_tried() {
    let node = Node::answering(&[("exchange_identityStake", |request| {
        let id = if request["dry_run"] == true { "00".repeat(32) } else { OFFER.to_owned() };
        Ok(json!({ "id": id, "coin": "ab:1", "state": { "state": "young", "confirmations": 3, "needed": 144 } }))
    })]);
    let unasked = node.run(&["identity", "stake"]);
    assert_eq!(unasked.exit, 2, "{unasked:?}");
    let tried = node.run(&["identity", "stake", "--dry-run"]);
    assert_eq!((tried.exit, tried.out.as_str()), (0, "This would name coin ab:1. Nothing was published.\n"));
    let named = node.run(&["identity", "stake", "--yes"]);
    let said = "Coin ab:1 speaks for your identity: it counts after 144 confirmations, it has 3.\n";
    assert_eq!((named.exit, named.out.as_str()), (0, said));
}
