//! Audits, checkpoints and bundles: what is called well, what is not, and with which exit code.

use exchange_api::{ApiError, Code};
use serde_json::{Value, json};

use super::{MAKER, Node, OFFER, OTHER, TRADE, run};

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
    assert!(ran.out.contains("Not compared with the chain: 2 trades; `exchange-node audit --chain --trade"), "{ran:?}");
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

/// Its node was off for weeks, or its clock is wrong.
#[test]
fn who_audits_by_a_chain_that_is_behind_reads_what_to_check() {
    let node = Node::answering(&[("exchange_audit", |request| {
        let mut page = page(&json!({ "after": OFFER, "author": request["author"] }));
        page["trades"][0]["not_compared"] = json!("behind");
        page["trades"][0]["sums"] = Value::Null;
        (page["sums"]["funded"], page["sums"]["held"]) = (json!(0), json!(0));
        (page["cut"]["not_compared"], page["evidence"]) = (json!(1), json!([]));
        Ok(page)
    })]);
    let ran = node.run(&["audit", "--chain"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.starts_with("Nothing wrong was found: 42 records"), "{ran:?}");
    assert!(ran.out.contains("0.01  not compared  "), "{ran:?}");
    let why = "  the chain is old, or may not show yet what somebody says that he saw: 1 trade\n";
    assert!(ran.out.contains(why), "{ran:?}");
    for arguments in [&["audit", "--chain", "--strict"][..], &["audit", "--chain", "--trade", OTHER]] {
        let failed = node.run(arguments);
        assert_eq!(failed.exit, 1, "{failed:?}");
        for told in [&failed.out, &failed.err] {
            assert!(told.contains("this machine's clock") && !told.contains("by other means"), "{failed:?}");
        }
    }
    // Where that holds of what somebody says alone, what the chain shows is told.
    let node = Node::answering(&[("exchange_audit", |request| {
        let mut page = page(&json!({ "after": OFFER, "author": request["author"] }));
        page["trades"][0]["not_compared"] = json!("behind");
        page["trades"][0]["funding"] = json!({ "txid": "ab".repeat(32), "confirmations": 9, "height": 111 });
        page["cut"]["not_compared"] = json!(1);
        Ok(page)
    })]);
    let ran = node.run(&["audit", "--chain"]);
    assert!(ran.out.starts_with("Nothing wrong was found: 42 records"), "{ran:?}");
    assert!(ran.out.contains("0.01  abababababab…") && ran.out.contains(why), "{ran:?}");
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
    let bundle = include_str!("../../../../../specs/vectors/bundle.json");
    let node = Node::answering(&[("exchange_auditExport", |_| {
        Ok(serde_json::from_str(include_str!("../../../../../specs/vectors/bundle.json")).unwrap())
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
