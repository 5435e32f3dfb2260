//! Verbs against a node that answers from a script, and against none. Here are the node, what it answers, and what holds for
//! all verbs; what is tested of one group of verbs stands in a file of its own.

mod arbiters;
mod audit;
mod identity;
mod node;
mod offers;
mod trades;
mod wallet;

use std::sync::{Arc, Mutex};

use exchange_api::ApiError;
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
        "gone": false,
    })
}

/// A group of two of three, whose advert that arbiter published.
fn group() -> Value {
    let mut group = arbiter();
    let members = ["cc", "dd", "ee"].map(|id| id.repeat(32));
    (group["name"], group["threshold"], group["members"]) = (json!("Three judges"), json!(2), json!(members));
    group
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
        "trade take 1f0c9a3b --amount 0.01 --dry-run",
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
fn json_is_what_the_node_answered() {
    let node = Node::answering(&[("exchange_book", book)]);
    assert_eq!(node.run(&["--json", "book"]).document(), book(&Value::Null).unwrap());
}
