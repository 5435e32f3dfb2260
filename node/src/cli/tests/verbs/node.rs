//! The node itself: its status, and where it does not start.

use exchange_ledger::identity::{Email, KdfParams, Keystore, KeystoreParams, MasterKey, Password};
use serde_json::json;
use tempfile::TempDir;

use super::{MAKER, Node, run};

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
