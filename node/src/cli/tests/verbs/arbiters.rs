//! Arbiters: whom the user trusts, and who has withdrawn.

use serde_json::{Value, json};

use super::{Node, OFFER, TRADE, arbiter, group, offer, trade};

#[test]
fn an_arbiter_is_named_by_his_identity_and_trusted_by_his_advert() {
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
    let advert = "ad".repeat(32);
    let wanted = [json!({ "advert": advert, "trusted": true }), json!({ "advert": advert, "trusted": false })];
    assert_eq!(node.asked("exchange_arbiterTrust"), wanted);
}

#[test]
fn who_trusts_a_group_is_told_that_none_of_its_members_is_trusted_alone() {
    let node = Node::answering(&[
        ("exchange_arbiterList", |_| Ok(json!([group()]))),
        ("exchange_arbiterTrust", |_| Ok(Value::Null)),
    ]);
    let trusts = node.run(&["arbiter", "trust", "three judges"]).out;
    let words = "You trust the group Three judges (2 of 3), advert adadadad, and none of its members alone.";
    assert!(trusts.starts_with(words), "{trusts}");
    assert_eq!(node.run(&["arbiter", "untrust", "eeeeee"]).exit, 1, "that is one of its members");
}

#[test]
fn a_group_of_which_no_advert_counts_any_more_can_be_taken_off_the_list() {
    fn gone() -> Value {
        let mut gone = group();
        (gone["withdrawn"], gone["gone"], gone["trusted"]) = (json!(true), json!(true), json!(true));
        gone
    }
    let node = Node::answering(&[
        ("exchange_arbiterList", |_| Ok(json!([gone()]))),
        ("exchange_arbiterTrust", |_| Ok(Value::Null)),
    ]);
    assert!(node.run(&["arbiter", "list"]).out.contains("not here"));
    assert_eq!(node.run(&["arbiter", "untrust", "three judges"]).exit, 0);
    assert_eq!(node.asked("exchange_arbiterTrust"), [json!({ "advert": "ad".repeat(32), "trusted": false })]);
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
fn of_a_group_it_is_said_how_many_of_how_many_rule_before_anything_is_agreed_and_after() {
    fn offered(id: &Value) -> Value {
        let mut offer = offer(id.as_str().unwrap());
        offer["arbiters"] = json!([group(), arbiter()]);
        offer
    }
    let node = Node::answering(&[
        ("exchange_offerShow", |id| Ok(offered(id))),
        ("exchange_offerPost", |_| Ok(offered(&json!(OFFER)))),
        ("exchange_tradeReview", |request| {
            Ok(json!({
                "offer": offered(&json!(OFFER)), "role": "buyer", "amount": request["amount"], "cost": 61_750, "method": "Wise",
                "arbiter": group(), "second_arbiter": arbiter(), "funding_fee": 154, "payout_fee": 199, "confirmations": 1,
                "pay_within": 2304, "refund_after": 4320, "affordable": true,
            }))
        }),
        ("exchange_tradeShow", |_| {
            let mut trade = trade("funded", &[]);
            (trade["arbiter"], trade["second_arbiter"]) = (arbiter(), group());
            Ok(trade)
        }),
    ]);
    let post = ["offer", "post", "sell", "--currency", "EUR", "--price", "61750", "--min", "0.005", "--max", "0.02"];
    let post = [&post[..], &["--method", "Wise", "--dry-run"]].concat();
    let take = ["trade", "take", OFFER, "--amount", "0.01", "--dry-run"];
    let line = "Three judges (2 of 3) (adadadad), 0.5% for a ruling\n";
    for (verb, words) in [
        (&["offer", "show", OFFER][..], line),
        (&post[..], line),
        (&take[..], line),
        (&take[..], "Three judges (2 of 3) is not on your list"),
        (&["trade", "show", TRADE][..], "Three judges (2 of 3)\n"),
    ] {
        let shown = node.run(verb).out;
        assert!(shown.contains(words), "{words}: {shown}");
    }
}
