//! An identity is made, unlocked, and spoken for by a coin.

use serde_json::json;

use super::{MAKER, Node, OFFER};

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
