//! The keystore file: the keys of an identity on one machine, under the password (`specs/identity.md`, section 5).
//!
//! It spares its owner the seconds and the gigabyte of deriving at each start, at a cost that is still hard on a thief.
//! A random salt makes two machines' files different, and its size tells nothing. Bytes in, bytes out: the node reads
//! and writes the file, and replaces it only by a whole new one.
//!
//! ```text
//! 0    magic "EXKS"          4
//! 4    version = 1           1
//! 5    Argon2id m in KiB     4   little endian, as all numbers here
//! 9    Argon2id t            4
//! 13   Argon2id p            4
//! 17   salt                 16
//! 33   nonce                24
//! 57   key check            16   tells a wrong password from a changed file
//! 73   header digest         8   tells a changed header from a wrong password
//! 81   XChaCha20-Poly1305  431   of five keys, the length of the email, the email padded with zeros to 254 bytes, tag
//! 512
//! ```

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::kdf::{Cost, KdfError, argon2id, expand};
use super::{Email, Identity, Password};
use crate::hash::tagged;

const MAGIC: &[u8; 4] = b"EXKS";
const VERSION: u8 = 1;
const CHECK: usize = 57;
const DIGEST: usize = 73;
const HEADER: usize = 81;
const PAYLOAD: usize = Identity::LEN + 1 + Email::MAX;
const TAG: usize = 16;
const FILE: usize = HEADER + PAYLOAD + TAG;

/// What a header may ask for, so that a forged file cannot exhaust memory or time before its password is even wrong.
const MAX_COST: Cost = Cost { m_kib: 1 << 20, t: 10, p: 16 };

/// The keystore file, version 1.
#[derive(Debug, Clone, Copy)]
pub struct Keystore;

/// The cost of opening a keystore. A file carries its own, so a later default leaves older files readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeystoreParams(Cost);

/// A keystore that does not open. Nothing has been changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// The bytes do not start as a keystore does.
    #[error("the file is not a keystore: check the path")]
    NotAKeystore,
    /// Made by a later release.
    #[error("the keystore has version {found} and this program reads version {VERSION}: update the program")]
    UnsupportedVersion {
        /// The version in the file.
        found: u8,
    },
    /// The end is missing.
    #[error("the keystore is cut off after {found} of {FILE} bytes: restore it from the email and password")]
    Truncated {
        /// How many bytes there are.
        found: usize,
    },
    /// The file is whole, the password is not its password.
    #[error("wrong password")]
    WrongPassword,
    /// Some byte is not as it was written.
    #[error("the keystore is damaged or was changed: restore it from the email and password")]
    Tampered,
    /// The header asks for more work than any release does.
    #[error(
        "the keystore asks for too much memory or time ({m_kib} KiB, {t} passes, {p} lanes): it is not of this program"
    )]
    ExcessiveCost {
        /// Memory in KiB.
        m_kib: u32,
        /// Passes.
        t: u32,
        /// Lanes.
        p: u32,
    },
    /// The key could not be derived.
    #[error(transparent)]
    Kdf(#[from] KdfError),
}

impl KeystoreParams {
    /// The default: Argon2id with 256 MiB, 3 passes, 4 lanes. Measured: a third of a second on two cores.
    pub const V1: Self = Self(Cost { m_kib: 256 << 10, t: 3, p: 4 });

    /// Returns a cost of well under a millisecond.
    #[cfg(any(test, feature = "testing"))]
    pub const fn for_tests() -> Self {
        Self(Cost { m_kib: 8, t: 1, p: 1 })
    }
}

impl Keystore {
    /// Returns the file that holds `identity` and `email` under `password`. `salt` and `nonce` must be fresh from a
    /// cryptographic generator at each call.
    ///
    /// # Errors
    /// Returns a [`KdfError`] when the memory is not there.
    pub fn seal(
        identity: &Identity,
        email: &Email,
        password: &Password,
        salt: [u8; 16],
        nonce: [u8; 24],
        params: &KeystoreParams,
    ) -> Result<Vec<u8>, KdfError> {
        let keys = FileKeys::derive(password, &salt, params.0)?;
        let mut file = Vec::with_capacity(FILE);
        file.extend_from_slice(MAGIC);
        file.push(VERSION);
        file.extend_from_slice(&params.0.m_kib.to_le_bytes());
        file.extend_from_slice(&params.0.t.to_le_bytes());
        file.extend_from_slice(&params.0.p.to_le_bytes());
        file.extend_from_slice(&salt);
        file.extend_from_slice(&nonce);
        file.extend_from_slice(&keys.check[..DIGEST - CHECK]);
        let digest = header_digest(&file);
        file.extend_from_slice(&digest);

        let payload = encode(identity, email);
        let sealed = XChaCha20Poly1305::new((&*keys.encryption).into())
            .encrypt((&nonce).into(), Payload { msg: payload.as_slice(), aad: &file })
            .expect("a payload of 415 bytes is below the limit of the cipher");
        file.extend_from_slice(&sealed);
        Ok(file)
    }

    /// Opens a keystore file.
    ///
    /// # Errors
    /// Returns one [`KeystoreError`] for each thing that can be wrong. Any changed byte is told from a wrong password,
    /// unless someone with intent recomputes the header's digest.
    pub fn open(file: &[u8], password: &Password) -> Result<(Identity, Email), KeystoreError> {
        let header = Header::parse(file)?;
        let keys = FileKeys::derive(password, &header.salt, header.cost)?;
        if !bool::from(keys.check[..DIGEST - CHECK].ct_eq(header.check)) {
            return Err(KeystoreError::WrongPassword);
        }
        let (aad, sealed) = file.split_at(HEADER);
        let payload = XChaCha20Poly1305::new((&*keys.encryption).into())
            .decrypt((&header.nonce).into(), Payload { msg: sealed, aad })
            .map_err(|_| KeystoreError::Tampered)?;
        decode(&Zeroizing::new(payload)).ok_or(KeystoreError::Tampered)
    }
}

/// What opening needs of the header, checked as far as it can be without the password.
struct Header<'a> {
    cost: Cost,
    salt: [u8; 16],
    nonce: [u8; 24],
    check: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(file: &'a [u8]) -> Result<Self, KeystoreError> {
        let start = file.len().min(MAGIC.len());
        if file[..start] != MAGIC[..start] {
            return Err(KeystoreError::NotAKeystore);
        }
        match file.get(MAGIC.len()) {
            None => return Err(KeystoreError::Truncated { found: file.len() }),
            Some(&VERSION) => {}
            Some(&found) => return Err(KeystoreError::UnsupportedVersion { found }),
        }
        if file.len() < FILE {
            return Err(KeystoreError::Truncated { found: file.len() });
        }
        if file.len() > FILE || header_digest(&file[..DIGEST]) != file[DIGEST..HEADER] {
            return Err(KeystoreError::Tampered);
        }
        let Cost { m_kib, t, p } = Cost {
            m_kib: u32::from_le_bytes(array(file, 5)),
            t: u32::from_le_bytes(array(file, 9)),
            p: u32::from_le_bytes(array(file, 13)),
        };
        if m_kib > MAX_COST.m_kib || t > MAX_COST.t || p > MAX_COST.p {
            return Err(KeystoreError::ExcessiveCost { m_kib, t, p });
        }
        Ok(Self {
            cost: Cost { m_kib, t, p },
            salt: array(file, 17),
            nonce: array(file, 33),
            check: &file[CHECK..DIGEST],
        })
    }
}

fn array<const N: usize>(file: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&file[offset..offset + N]);
    bytes
}

/// Not a secret and not a proof: it finds accidents. Against intent there is the tag, which covers the header too.
fn header_digest(header: &[u8]) -> [u8; HEADER - DIGEST] {
    array(&tagged("exchange/keystore/v1/header", &[header]), 0)
}

/// The keys that a password gives together with the salt of a file.
struct FileKeys {
    encryption: Zeroizing<[u8; 32]>,
    /// Only its first 16 bytes are stored. It also commits the file to one key, which Poly1305 alone would not.
    check: Zeroizing<[u8; 32]>,
}

impl FileKeys {
    fn derive(password: &Password, salt: &[u8; 16], cost: Cost) -> Result<Self, KdfError> {
        let prk = argon2id::<32>(password.as_bytes(), salt, cost)?;
        Ok(Self {
            encryption: expand(&prk, &[b"exchange/keystore/v1/encryption"]),
            check: expand(&prk, &[b"exchange/keystore/v1/check"]),
        })
    }
}

fn encode(identity: &Identity, email: &Email) -> Zeroizing<[u8; PAYLOAD]> {
    let mut payload = Zeroizing::new([0; PAYLOAD]);
    payload[..Identity::LEN].copy_from_slice(identity.to_bytes().as_slice());
    let email = email.as_str().as_bytes();
    payload[Identity::LEN] = u8::try_from(email.len()).expect("an email has at most 254 bytes");
    payload[Identity::LEN + 1..][..email.len()].copy_from_slice(email);
    payload
}

/// Strict: what [`encode`] would not have written is `None`.
fn decode(payload: &[u8]) -> Option<(Identity, Email)> {
    let (keys, rest) = payload.split_first_chunk::<{ Identity::LEN }>()?;
    let (len, padded) = rest.split_first()?;
    let (text, padding) = padded.split_at_checked(usize::from(*len))?;
    let email = Email::parse(std::str::from_utf8(text).ok()?).ok()?;
    let canonical = email.as_str().as_bytes() == text && padding.iter().all(|byte| *byte == 0);
    canonical.then(|| (Identity::from_bytes(keys), email))
}

#[cfg(test)]
mod tests {
    use super::super::{KdfParams, MasterKey};
    use super::*;

    const SALT: [u8; 16] = [7; 16];
    const NONCE: [u8; 24] = [8; 24];

    fn password() -> Password {
        Password::parse("correct horse battery staple").unwrap()
    }

    fn identity() -> (Identity, Email) {
        let email = Email::parse("alice@example.org").unwrap();
        let master = MasterKey::derive(&email, &password(), None, &KdfParams::for_tests()).unwrap();
        (master.identity(), email)
    }

    fn sealed() -> Vec<u8> {
        let (identity, email) = identity();
        Keystore::seal(&identity, &email, &password(), SALT, NONCE, &KeystoreParams::for_tests()).unwrap()
    }

    fn error(file: &[u8]) -> KeystoreError {
        Keystore::open(file, &password()).unwrap_err()
    }

    #[test]
    fn what_was_sealed_opens() {
        let file = sealed();
        assert_eq!(file.len(), 512);
        let (opened, email) = Keystore::open(&file, &password()).unwrap();
        assert_eq!(opened.to_bytes(), identity().0.to_bytes());
        assert_eq!(email, identity().1);
    }

    #[test]
    fn the_size_does_not_tell_the_email() {
        let (identity, _) = identity();
        let longest = format!("{}@{}.org", "a".repeat(64), ["b".repeat(61).as_str(); 3].join("."));
        for email in ["a@b.cd", &longest] {
            let email = Email::parse(email).unwrap();
            let file =
                Keystore::seal(&identity, &email, &password(), SALT, NONCE, &KeystoreParams::for_tests()).unwrap();
            assert_eq!(file.len(), FILE);
            assert_eq!(Keystore::open(&file, &password()).unwrap().1, email);
        }
    }

    #[test]
    fn a_wrong_password_is_called_so() {
        for wrong in ["correct horse battery staplE", "x"] {
            let wrong = Password::parse(wrong).unwrap();
            assert_eq!(Keystore::open(&sealed(), &wrong).unwrap_err(), KeystoreError::WrongPassword);
        }
    }

    #[test]
    fn each_changed_byte_is_found_and_never_called_a_wrong_password() {
        let file = sealed();
        for index in 0..file.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[index] ^= change;
                let expected = match index {
                    0..4 => KeystoreError::NotAKeystore,
                    4 => KeystoreError::UnsupportedVersion { found: VERSION ^ change },
                    _ => KeystoreError::Tampered,
                };
                assert_eq!(error(&changed), expected, "byte {index}");
            }
        }
    }

    #[test]
    fn each_missing_end_is_found() {
        let file = sealed();
        for found in 0..file.len() {
            assert_eq!(error(&file[..found]), KeystoreError::Truncated { found });
        }
        assert_eq!(error(&[file.as_slice(), &[0]].concat()), KeystoreError::Tampered);
        assert_eq!(error(b"SQLite format 3"), KeystoreError::NotAKeystore);
        assert_eq!(error(b"EX!"), KeystoreError::NotAKeystore);
    }

    /// Rewrites a header field and its digest, as someone with intent would.
    fn forged(offset: usize, bytes: &[u8]) -> Vec<u8> {
        let mut file = sealed();
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        let digest = header_digest(&file[..DIGEST]);
        file[DIGEST..HEADER].copy_from_slice(&digest);
        file
    }

    #[test]
    fn a_forged_header_costs_nothing() {
        for (offset, value) in [(5, u32::MAX), (5, (1 << 20) + 1), (9, u32::MAX), (9, 11), (13, u32::MAX), (13, 17)] {
            assert!(matches!(error(&forged(offset, &value.to_le_bytes())), KeystoreError::ExcessiveCost { .. }));
        }
        for offset in [5, 9, 13] {
            assert!(matches!(error(&forged(offset, &[0; 4])), KeystoreError::Kdf(KdfError::InvalidCost(_))));
        }
    }

    #[test]
    fn a_forged_header_opens_nothing() {
        assert_eq!(error(&forged(17, &[0; 16])), KeystoreError::WrongPassword); // another salt, another key
        assert_eq!(error(&forged(33, &[0; 24])), KeystoreError::Tampered); // the nonce is authenticated
        assert_eq!(error(&forged(57, &[0; 16])), KeystoreError::WrongPassword);
    }

    #[test]
    fn a_payload_has_one_form() {
        let (identity, email) = identity();
        let payload = encode(&identity, &email);
        assert!(decode(payload.as_slice()).is_some());
        let text = Identity::LEN + 1;
        for (index, byte) in [
            (PAYLOAD - 1, b'x'), // padding that is not zero
            (text, b'A'),        // an email that is not normalised
            (text, 0xff),        // not UTF-8
            (text - 1, 255),     // longer than the payload
            (text - 1, 0),       // no email
        ] {
            let mut changed = payload.clone();
            changed[index] = byte;
            assert!(decode(changed.as_slice()).is_none(), "byte {index} = {byte}");
        }
        assert!(decode(&payload[..text - 1]).is_none());
    }

    #[test]
    fn the_default_cost_is_within_what_a_header_may_ask() {
        let Cost { m_kib, t, p } = KeystoreParams::V1.0;
        assert_eq!((m_kib, t, p), (256 * 1024, 3, 4));
        assert!(m_kib <= MAX_COST.m_kib && t <= MAX_COST.t && p <= MAX_COST.p);
    }
}
