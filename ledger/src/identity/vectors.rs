//! `specs/vectors/identity.json`: every output of an identity, computed independently from the text of the specification.

use serde::Deserialize;

use super::kdf::Cost;
use super::{Email, KdfParams, MasterKey, Password, SecretKey};
use crate::seal;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    argon2id: Argon2id,
    email: String,
    password: String,
    secret_key: Option<String>,
    normalised_email: String,
    author: String,
    wallet_words: String,
    wallet_seed: String,
    keystore_key: String,
    backup_key: String,
    trade_nonce: String,
    trade_public_key: String,
    seal_public_key: String,
    message: String,
    signature: String,
}

#[derive(Deserialize)]
struct Argon2id {
    m_kib: u32,
    t: u32,
    p: u32,
}

impl Vector {
    fn is_full_cost(&self) -> bool {
        self.params() == KdfParams::V1
    }

    fn params(&self) -> KdfParams {
        KdfParams(Cost { m_kib: self.argon2id.m_kib, t: self.argon2id.t, p: self.argon2id.p })
    }

    fn check(&self) {
        let email = Email::parse(&self.email).unwrap();
        assert_eq!(email.as_str(), self.normalised_email, "{}", self.name);
        let password = Password::parse(&self.password).unwrap();
        let secret_key = self.secret_key.as_deref().map(|typed| SecretKey::parse(typed).unwrap());
        let identity = MasterKey::derive(&email, &password, secret_key.as_ref(), &self.params()).unwrap().identity();
        let nonce = hex::decode(&self.trade_nonce).unwrap().try_into().unwrap();
        for (what, computed, expected) in [
            ("author", identity.author().to_string(), &self.author),
            ("wallet_words", identity.wallet_words().to_string(), &self.wallet_words),
            ("wallet_seed", hex::encode(*identity.wallet_seed()), &self.wallet_seed),
            ("keystore_key", hex::encode(identity.keystore_key()), &self.keystore_key),
            ("backup_key", hex::encode(identity.backup_key()), &self.backup_key),
            (
                "trade_public_key",
                identity.trade_secret(&nonce).x_only_public_key().0.to_string(),
                &self.trade_public_key,
            ),
            ("seal_public_key", hex::encode(seal::public_key(&identity.seal_secret(&nonce))), &self.seal_public_key),
            ("signature", hex::encode(identity.sign(self.message.as_bytes())), &self.signature),
        ] {
            assert_eq!(&computed, expected, "{what} of {}", self.name);
        }
    }
}

fn vectors(full_cost: bool) -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../specs/vectors/identity.json");
    let file: File = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file.vectors.into_iter().filter(|vector| vector.is_full_cost() == full_cost).collect()
}

#[test]
fn cheap_vectors_come_out() {
    let vectors = vectors(false);
    assert!(vectors.len() >= 4);
    vectors.iter().for_each(Vector::check);
}

/// Takes seconds and a gigabyte, on purpose: it is the derivation that users depend on for ever.
#[test]
fn the_vector_of_full_cost_comes_out() {
    let vectors = vectors(true);
    assert_eq!(vectors.len(), 1);
    vectors[0].check();
}
