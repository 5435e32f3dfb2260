//! From email and password to the master key: section 2 of `specs/identity.md`, version 1.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::kdf::{Cost, KdfError, argon2id, expand, extract};
use super::{Email, Identity, Password, SecretKey};

/// The label of version 1. Everything derived depends on it; a change of anything in this file is a new label.
const LABEL: &str = "exchange/kdf/v1";

/// The cost of deriving a master key. There is no constructor but [`KdfParams::V1`]: other costs are other identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams(pub(super) Cost);

impl KdfParams {
    /// Version 1: Argon2id with 1 GiB, 3 passes, 4 lanes. Measured: 1.5 seconds on two cores.
    pub const V1: Self = Self(Cost { m_kib: 1 << 20, t: 3, p: 4 });

    /// Returns a cost of under a millisecond.
    #[cfg(any(test, feature = "testing"))]
    pub const fn for_tests() -> Self {
        Self(Cost { m_kib: 256, t: 1, p: 4 })
    }
}

/// The root of every key of an identity. It lives only between deriving and [`MasterKey::identity`].
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// Derives the master key. It takes seconds and a gigabyte by intent, and reports no progress: call it from a thread
    /// that may block, and show a spinner.
    ///
    /// Whether the password is strong enough is not asked here, so that a restore never fails: ask
    /// [`strength`](super::strength()) before a new identity is made.
    ///
    /// # Errors
    /// Returns [`KdfError::OutOfMemory`] when the memory is not there.
    pub fn derive(
        email: &Email,
        password: &Password,
        secret_key: Option<&SecretKey>,
        params: &KdfParams,
    ) -> Result<Self, KdfError> {
        let stretched = argon2id::<64>(password.as_bytes(), &salt(email), params.0)?;
        // Without a secret key the input is 64 bytes and with one 80, so the two cannot meet.
        let mut ikm = Zeroizing::new([0; 80]);
        let (first, second) = ikm.split_at_mut(64);
        first.copy_from_slice(stretched.as_slice());
        let ikm_len = match secret_key {
            None => 64,
            Some(key) => {
                second.copy_from_slice(key.as_bytes());
                80
            }
        };
        Ok(Self(extract(LABEL.as_bytes(), &ikm[..ikm_len])))
    }

    /// Derives all keys of the identity.
    pub fn identity(&self) -> Identity {
        let key = |label: &str| expand(&self.0, &[label.as_bytes()]);
        Identity::from_keys(
            &key("exchange/kdf/v1/identity"),
            key("exchange/kdf/v1/wallet"),
            key("exchange/kdf/v1/keystore"),
            key("exchange/kdf/v1/backup"),
            key("exchange/kdf/v1/trade"),
        )
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(redacted)")
    }
}

/// Returns the first half of SHA-256(label || length of the email as u32, little endian || email).
fn salt(email: &Email) -> [u8; 16] {
    let email = email.as_str().as_bytes();
    let len = u32::try_from(email.len()).expect("an email has at most 254 bytes");
    let mut hash: [u8; 32] =
        Sha256::new().chain_update(LABEL).chain_update(len.to_le_bytes()).chain_update(email).finalize().into();
    let mut salt = [0; 16];
    salt.copy_from_slice(&hash[..16]);
    // A hash of the email is as good as the email to whoever has a list of emails.
    hash.zeroize();
    salt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(email: &str, password: &str, secret_key: Option<&SecretKey>, params: &KdfParams) -> String {
        let email = Email::parse(email).unwrap();
        let password = Password::parse(password).unwrap();
        MasterKey::derive(&email, &password, secret_key, params).unwrap().identity().author().to_string()
    }

    #[test]
    fn version_1_costs_a_gigabyte_and_three_passes() {
        assert_eq!(KdfParams::V1.0, Cost { m_kib: 1024 * 1024, t: 3, p: 4 });
    }

    #[test]
    fn each_input_changes_the_identity() {
        let cheap = KdfParams::for_tests();
        let other_cost = KdfParams(Cost { m_kib: 288, ..cheap.0 });
        let key = SecretKey::from_entropy([0; 16]);
        let base = author("a@example.org", "password", None, &cheap);
        for other in [
            author("b@example.org", "password", None, &cheap),
            author("a@example.org", "Password", None, &cheap),
            author("a@example.org", "password", Some(&key), &cheap),
            author("a@example.org", "password", None, &other_cost),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_spelling_of_email_and_password_does_not() {
        let cheap = KdfParams::for_tests();
        assert_eq!(
            author("José@Bücher.example", "cafe\u{301} noir", None, &cheap),
            author(" jose\u{301}@xn--bcher-kva.EXAMPLE ", "café\u{a0}noir", None, &cheap),
        );
    }
}
