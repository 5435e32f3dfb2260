//! Payments by hand.

use exchange_api::{ApiError, Code};
use serde_json::json;

use super::Node;

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
