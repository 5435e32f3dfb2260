//! Identity: every key of a user, from an email and a password (`specs/identity.md`).
//!
//! ```text
//! Email, Password, SecretKey? --Argon2id, HKDF--> MasterKey --HKDF labels--> Identity --> keys of one trade
//!                                                                              |
//!                                                       Keystore::seal / open (the file of one machine)
//! ```
//! Nothing here is stored or sent by itself, and there is no randomness: callers hand entropy in. Deliberately absent: a
//! hash of the email anywhere outside this module, and a way to change a password (that is a new identity).

mod derive;
mod email;
mod kdf;
mod keys;
mod keystore;
mod passphrase;
mod password;
mod secret_key;
mod strength;
#[cfg(test)]
mod vectors;

pub use derive::{KdfParams, MasterKey};
pub use email::{Email, EmailError};
pub use kdf::KdfError;
pub use keys::Identity;
pub use keystore::{Keystore, KeystoreError, KeystoreParams};
pub use passphrase::Passphrase;
pub use password::{Password, PasswordError};
pub use secret_key::{SecretKey, SecretKeyError};
pub use strength::{Strength, Verdict, strength};
