//! A trade is taken, shown, stepped through and waited for.

use exchange_api::{ApiError, Code};
use serde_json::{Value, json};

use super::{Node, OFFER, TRADE, arbiter, offer, trade};

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

    // Who names nobody bids under whom he was shown, whomever he trusts by then.
    let trusting = node.run_typing(&["trade", "take", OFFER, "--amount", "0.01"], "from Bob\nyes\n");
    assert_eq!(trusting.exit, 0, "{trusting:?}");
    assert_eq!(node.asked("exchange_tradeTake").pop().unwrap()["arbiter"], json!("ad".repeat(32)));

    let wrong = node.run(&["trade", "take", OFFER, "--amount", "0.01", "--method", "cash", "--yes"]);
    assert_eq!(wrong.exit, 2);
    assert!(wrong.err.contains("SEPA instant, Wise"), "{wrong:?}");
}

/// The offer that he saw is taken by somebody else; a stranger's, at another price, begins alike.
#[test]
fn an_offer_that_nobody_is_asked_about_is_named_whole() {
    fn take<'a>(id: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["trade", "take", id, "--amount", "0.01"][..], more].concat()
    }
    let node = Node::answering(&[
        ("exchange_offerList", |_| Ok(json!([]))),
        ("exchange_book", |_| Ok(json!({ "items": [offer(OFFER)], "next": null }))),
        ("exchange_tradeReview", |_| Err(ApiError::new(Code::OfferGone, "it was looked at", ""))),
        ("exchange_tradeTake", |_| Ok(trade("bid", &["cancel"]))),
    ]);
    let refused = node.run(&take(&OFFER[..16], &["--yes"]));
    assert_eq!(refused.exit, 2, "{refused:?}");
    assert!(refused.err.contains("whole id") && node.asked("exchange_tradeTake").is_empty(), "{refused:?}");
    let shown = node.run(&take(&OFFER[..16], &["--dry-run"]));
    assert!(shown.err.contains("it was looked at"), "{shown:?}");
    let asked = node.run_typing(&take(&OFFER[..16], &[]), "from Bob\nyes\n");
    assert!(asked.err.contains("it was looked at"), "{asked:?}");
    let whole = node.run(&take(OFFER, &["--yes", "--json"]));
    assert_eq!(whole.document()["state"], "bid");
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
    assert!(asked[1].get("seen").is_none(), "he was shown nothing");
    let said = node.run_typing(&["trade", "release", "7ade7ade"], "yes\n");
    assert_eq!(said.exit, 0, "{said:?}");
    let ordered = node.asked("exchange_tradeRelease").pop().unwrap();
    let seen = json!({ "state": "paid", "funding": "cd".repeat(32), "stray": null });
    assert_eq!((&ordered["dry_run"], &ordered["seen"]), (&json!(false), &seen), "the trade as it was when he said yes");
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
    let node = Node::answering(&[("exchange_tradeShow", |_| Ok(trade("funded", &["cancel", "dispute"])))]);
    let early = node.run(&["trade", "show", TRADE, "--wait", "funded", "--timeout", "0"]);
    assert_eq!(early.exit, 1, "a script would pay");
    assert!(early.err.contains("must not be paid for yet"), "{early:?}");
}
