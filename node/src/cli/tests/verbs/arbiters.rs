//! Arbiters: whom the user trusts, and who has withdrawn.

use serde_json::{Value, json};

use super::{Node, OFFER, arbiter, group, offer};

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
