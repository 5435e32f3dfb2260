//! Payments by hand.

use exchange_api::{ApiError, Code};
use serde_json::{Value, json};

use super::{Node, TRADE};

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
            "priced": {
                "txid": "ab".repeat(32), "amount": 1_000_000, "fee": 141, "vsize": 0, "coins": [], "broadcast": false,
            },
        }),
        "what was confirmed, and nothing else"
    );
    let unasked = node.run(&[&send[..], &["--yes"]].concat());
    assert_eq!(unasked.exit, 0, "{unasked:?}");
    assert!(node.asked("exchange_walletSend").pop().unwrap().get("priced").is_none(), "nothing was shown");

    let dry = node.run(&[&send[..], &["--dry-run", "--json"]].concat());
    assert_eq!(dry.document()["broadcast"], false);
}

#[test]
fn a_payment_is_cancelled_as_it_was_confirmed_or_not_at_all() {
    let node = Node::answering(&[("exchange_walletCancel", |request| {
        Ok(json!({
            "cancelled": "ab".repeat(32), "txid": "cd".repeat(32), "amount": 1_000_000, "fee": 900,
            "broadcast": request["dry_run"] == false,
        }))
    })]);
    let txid = "ab".repeat(32);
    let cancel = ["wallet", "cancel", txid.as_str()];
    let no = node.run_typing(&cancel, "\n");
    assert_eq!(no.exit, 1, "{no:?}");
    let asked = format!("Cancel {txid}: bring 0.01 BTC back to your wallet for a fee of 0.000009 BTC? [y/N]");
    assert!(no.err.contains(&asked), "{no:?}");
    assert!(node.asked("exchange_walletCancel").iter().all(|request| request["dry_run"] == true));

    let yes = node.run_typing(&[&cancel[..], &["--request-id", "not rent"]].concat(), "y\n");
    assert_eq!(yes.exit, 0, "{yes:?}");
    let told = format!("{} brings 0.01 BTC back for a fee of 0.000009 BTC, in place of {txid}.\n", "cd".repeat(32));
    assert!(yes.out.starts_with(&told) && yes.out.contains("do not make it again"), "{yes:?}");
    let shown = json!({
        "cancelled": txid, "txid": "cd".repeat(32), "amount": 1_000_000, "fee": 900, "broadcast": false,
    });
    let ordered = node.asked("exchange_walletCancel").pop().unwrap();
    assert_eq!(
        ordered,
        json!({
            "request_id": "not rent",
            "dry_run": false,
            "txid": txid,
            "fee": { "fee_rate": null, "target_blocks": null, "allow_high_fee": false },
            "priced": shown,
        })
    );
    let dry = node.run(&[&cancel[..], &["--dry-run"]].concat());
    assert!(dry.out.starts_with("This can be done: ") && dry.out.ends_with("Nothing was sent.\n"), "{dry:?}");
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
fn a_fee_is_raised_and_words_are_swept_as_it_was_confirmed_or_not_at_all() {
    fn raise(request: &Value) -> Result<Value, ApiError> {
        Ok(json!({
            "raised": "ab".repeat(32), "txid": "cd".repeat(32), "by": "replacement", "fee": 900,
            "broadcast": request["dry_run"] == false,
        }))
    }
    let node = Node::answering(&[
        ("exchange_walletBump", raise),
        ("exchange_tradeBump", raise),
        ("exchange_walletSweep", |request| {
            Ok(if request["dry_run"] == true {
                json!({ "state": "found", "amount": 5_000, "fee": 200 })
            } else {
                json!({ "state": "sent", "txid": "cd".repeat(32), "amount": 5_000, "fee": 200 })
            })
        }),
    ]);
    let txid = "ab".repeat(32);
    let verbs = [("wallet", txid.as_str(), "exchange_walletBump"), ("trade", TRADE, "exchange_tradeBump")];
    for (of, id, method) in verbs {
        let ran = node.run_typing(&[of, "bump", id], "y\n");
        assert_eq!(ran.exit, 0, "{ran:?}");
        let asked = node.asked(method);
        assert!(asked[0].get("priced").is_none() && asked[0]["dry_run"] == true, "{asked:?}");
        let shown = json!({
            "raised": txid, "txid": "cd".repeat(32), "by": "replacement", "fee": 900, "broadcast": false,
        });
        assert_eq!(asked[1]["priced"], shown);
    }
    let words = node.directory.path().join("words");
    std::fs::File::create(&words).and_then(|mut file| std::io::Write::write_all(&mut file, b"abandon\n")).unwrap();
    let sweep = ["wallet", "sweep", "--words-file", words.to_str().unwrap()];
    let swept = node.run_typing(&sweep, "y\n");
    assert!(swept.out.contains("are on their way into your wallet"), "{swept:?}");
    let ordered = node.asked("exchange_walletSweep").pop().unwrap();
    assert_eq!((&ordered["priced"]["amount"], &ordered["priced"]["fee"]), (&json!(5_000), &json!(200)));
}
