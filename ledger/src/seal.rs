//! Sealing messages to one recipient: HPKE (RFC 9180) in base mode, padded so that sizes leak little.
//!
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. A sealed message is the 32 bytes of the encapsulated key
//! and the ciphertext of `length as u16, little endian || plaintext || zeros` up to the next bucket. Base mode does not
//! say who sealed: what is inside is signed where that matters, and `info` and `aad` bind it to its trade and place.

use std::convert::Infallible;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::field;

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// The padded sizes: a chat line, payment details, a signing round, and the largest a mailbox carries.
const BUCKETS: [usize; 4] = [256, 1024, 4096, 15 * 1024];
const PREFIX: usize = 2;
const ENCAPPED: usize = 32;
const TAG: usize = 16;

/// The longest plaintext.
pub const MAX_PLAINTEXT: usize = BUCKETS[BUCKETS.len() - 1] - PREFIX;
/// The longest sealed message.
pub const MAX_SEALED: usize = BUCKETS[BUCKETS.len() - 1] + ENCAPPED + TAG;

/// A message that cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// More than [`MAX_PLAINTEXT`].
    #[error("a message of {0} bytes is too long to seal: at most {MAX_PLAINTEXT}")]
    TooLong(usize),
    /// The recipient's key is of small order, so anyone could open the message.
    #[error("the recipient's key is unsafe to seal to: refuse this counterparty")]
    UnsafeKey,
    /// The length is not that of a sealed message.
    #[error("{0} bytes are not a sealed message")]
    NotSealed(usize),
    /// Sealed to another key, for another purpose, or changed on the way.
    #[error("the sealed message does not open with this key, or was changed on the way")]
    CannotOpen,
    /// It opens, but what is inside was not made by this protocol.
    #[error("the sealed message is not padded as it must be")]
    BadPadding,
}

/// Returns the X25519 public key of `secret`, for others to seal to.
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    X25519HkdfSha256::sk_to_pk(&private_key(secret)).to_bytes().into()
}

/// Tells whether anything can be sealed to a key: to a point of small order nothing can, so whoever names one as his own
/// would stop the other's node from sending.
pub fn is_usable(recipient: &[u8; 32]) -> bool {
    let mut u = *recipient;
    u[31] &= 0x7f; // X25519 ignores the highest bit
    !SMALL_ORDER.contains(&u)
}

/// The u of all points of small order of the curve and its twist, and where there is room for it above the field's prime p,
/// u + p (RFC 7748, section 6.1): with every secret they give the shared secret of zeros.
const SMALL_ORDER: [[u8; 32]; 7] = {
    let [zero, one, minus_one, p, p_plus_one] = field::ZERO_AND_UNITS;
    let eighth = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    let other_eighth = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ];
    [zero, one, minus_one, p, p_plus_one, eighth, other_eighth]
};

/// Seals `plaintext` to `recipient`. Only with the same `info` and `aad` does it open. `entropy` must be fresh from a
/// cryptographic generator at each call: it is the `ikmE` of RFC 9180.
///
/// # Errors
/// Returns [`SealError::TooLong`] or [`SealError::UnsafeKey`].
pub fn seal(
    recipient: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    entropy: [u8; 32],
) -> Result<Vec<u8>, SealError> {
    seal_unpadded(recipient, info, aad, &pad(plaintext)?, entropy)
}

/// Opens what was sealed to the public key of `secret`.
///
/// # Errors
/// Returns [`SealError::NotSealed`], [`SealError::CannotOpen`] or [`SealError::BadPadding`].
pub fn open(secret: &[u8; 32], info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    if !BUCKETS.iter().any(|bucket| sealed.len() == ENCAPPED + bucket + TAG) {
        return Err(SealError::NotSealed(sealed.len()));
    }
    unpad(&open_unpadded(secret, info, aad, sealed)?)
}

fn seal_unpadded(
    recipient: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    entropy: [u8; 32],
) -> Result<Vec<u8>, SealError> {
    let recipient = PublicKey::from_bytes(recipient).map_err(|_| SealError::UnsafeKey)?;
    let mut ikm = OneDraw(Some(Zeroizing::new(entropy)));
    let (encapped, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &recipient,
        info,
        plaintext,
        aad,
        &mut ikm,
    )
    // Encapsulation fails on a shared secret of zeros only, and the first message of a context always encrypts.
    .map_err(|_| SealError::UnsafeKey)?;
    Ok([encapped.to_bytes().as_slice(), &ciphertext].concat())
}

fn open_unpadded(secret: &[u8; 32], info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (encapped, ciphertext) = sealed.split_at_checked(ENCAPPED).ok_or(SealError::NotSealed(sealed.len()))?;
    let encapped = EncappedKey::from_bytes(encapped).map_err(|_| SealError::CannotOpen)?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private_key(secret),
        &encapped,
        info,
        ciphertext,
        aad,
    )
    .map(Zeroizing::new)
    .map_err(|_| SealError::CannotOpen)
}

fn private_key(secret: &[u8; 32]) -> PrivateKey {
    PrivateKey::from_bytes(secret).expect("any 32 bytes are an X25519 secret")
}

fn pad(plaintext: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let bucket = bucket_for(plaintext.len()).ok_or(SealError::TooLong(plaintext.len()))?;
    let len = u16::try_from(plaintext.len()).expect("the largest bucket is below 2^16");
    let mut padded = Zeroizing::new(Vec::with_capacity(bucket));
    padded.extend_from_slice(&len.to_le_bytes());
    padded.extend_from_slice(plaintext);
    padded.resize(bucket, 0);
    Ok(padded)
}

/// Strict, so that one plaintext has one padded form.
fn unpad(padded: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (len, rest) = padded.split_first_chunk::<PREFIX>().ok_or(SealError::BadPadding)?;
    let len = usize::from(u16::from_le_bytes(*len));
    let (plaintext, zeros) = rest.split_at_checked(len).ok_or(SealError::BadPadding)?;
    if bucket_for(len) != Some(padded.len()) || zeros.iter().any(|byte| *byte != 0) {
        return Err(SealError::BadPadding);
    }
    Ok(Zeroizing::new(plaintext.to_vec()))
}

fn bucket_for(len: usize) -> Option<usize> {
    BUCKETS.into_iter().find(|bucket| len <= bucket - PREFIX)
}

/// Hands the caller's entropy to HPKE, which takes a generator but draws 32 bytes exactly once (RFC 9180, section 7.1.3:
/// the input of `DeriveKeyPair`). A second draw would be a reuse of entropy, so it stops the program.
struct OneDraw(Option<Zeroizing<[u8; 32]>>);

impl TryRng for OneDraw {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("DHKEM draws bytes, never integers")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("DHKEM draws bytes, never integers")
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        let entropy = self.0.take().expect("DHKEM draws once for each encapsulation");
        dst.copy_from_slice(entropy.as_slice());
        Ok(())
    }
}

impl TryCryptoRng for OneDraw {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: [u8; 32] = [0x42; 32];
    const ENTROPY: [u8; 32] = [0x17; 32];

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    #[test]
    fn a_key_is_usable_if_something_can_be_sealed_to_it() {
        let check = |key: [u8; 32]| {
            let seals = seal(&key, b"", b"", b"", ENTROPY).is_ok();
            assert_eq!(is_usable(&key), seals, "{}", hex::encode(key));
            seals
        };
        for u in SMALL_ORDER {
            for highest in [0, 0x80] {
                let mut key = u;
                key[31] |= highest;
                assert!(!check(key));
            }
        }
        // Every u that fits twice into 255 bits, and its neighbours.
        for low in 0..=0xff_u8 {
            for (high, last) in [(0x00, 0x00), (0xff, 0x7f), (0xff, 0xff)] {
                let mut key = [high; 32];
                (key[0], key[31]) = (low, last);
                check(key);
            }
        }
        assert!(check(public_key(&SECRET)));
    }

    fn sealed(plaintext: &[u8]) -> Vec<u8> {
        seal(&public_key(&SECRET), b"info", b"aad", plaintext, ENTROPY).unwrap()
    }

    /// RFC 9180, appendix A.2.1, sequence number 0.
    #[test]
    fn the_vector_of_rfc_9180_comes_out() {
        let recipient = bytes("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
        let secret = bytes("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        let ikm = bytes("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b");
        let info = bytes::<20>("4f6465206f6e2061204772656369616e2055726e");
        let aad = bytes::<7>("436f756e742d30");
        let plaintext = b"Beauty is truth, truth beauty";
        let expected = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a\
                        1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28";

        let sealed = seal_unpadded(&recipient, &info, &aad, plaintext, ikm).unwrap();
        assert_eq!(hex::encode(&sealed), expected);
        assert_eq!(public_key(&secret), recipient);
        assert_eq!(open_unpadded(&secret, &info, &aad, &sealed).unwrap().as_slice(), plaintext);
    }

    #[test]
    fn sizes_fall_into_four_buckets() {
        for (len, size) in
            [(0, 256), (254, 256), (255, 1024), (1022, 1024), (1023, 4096), (4095, 15360), (15358, 15360)]
        {
            let plaintext = vec![0xaa; len];
            let sealed = sealed(&plaintext);
            assert_eq!(sealed.len(), size + 48);
            assert_eq!(open(&SECRET, b"info", b"aad", &sealed).unwrap().as_slice(), plaintext);
        }
        let too_long = vec![0; MAX_PLAINTEXT + 1];
        assert_eq!(seal(&public_key(&SECRET), b"", b"", &too_long, ENTROPY), Err(SealError::TooLong(15359)));
        assert_eq!(sealed(&too_long[1..]).len(), MAX_SEALED);
    }

    #[test]
    fn another_key_info_or_aad_does_not_open() {
        let sealed = sealed(b"IBAN");
        for (secret, info, aad) in [([0x43; 32], "info", "aad"), (SECRET, "inf0", "aad"), (SECRET, "info", "aae")] {
            assert_eq!(open(&secret, info.as_bytes(), aad.as_bytes(), &sealed), Err(SealError::CannotOpen));
        }
    }

    #[test]
    fn a_changed_bit_does_not_open() {
        let sealed = sealed(b"IBAN");
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 0x01;
            assert_eq!(open(&SECRET, b"info", b"aad", &changed), Err(SealError::CannotOpen), "byte {index}");
        }
    }

    #[test]
    fn other_lengths_are_not_sealed_messages() {
        let sealed = sealed(b"IBAN");
        for len in [0, 31, 32, 48, 303, 305, MAX_SEALED + 1] {
            let mut cut = sealed.clone();
            cut.resize(len, 0);
            assert_eq!(open(&SECRET, b"info", b"aad", &cut), Err(SealError::NotSealed(len)));
        }
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        for key in [[0; 32], one] {
            assert_eq!(seal(&key, b"", b"", b"IBAN", ENTROPY), Err(SealError::UnsafeKey));
        }
        let mut sealed = sealed(b"IBAN");
        sealed[..32].fill(0);
        assert_eq!(open(&SECRET, b"info", b"aad", &sealed), Err(SealError::CannotOpen));
    }

    #[test]
    fn padding_has_one_form() {
        let pad_then_open = |padded: &[u8]| {
            let sealed = seal_unpadded(&public_key(&SECRET), b"", b"", padded, ENTROPY).unwrap();
            open(&SECRET, b"", b"", &sealed)
        };
        let mut padded = pad(b"abc").unwrap();
        assert_eq!(pad_then_open(&padded).unwrap().as_slice(), b"abc");
        padded[255] = 1;
        assert_eq!(pad_then_open(&padded), Err(SealError::BadPadding));
        padded[255] = 0;
        padded[..2].copy_from_slice(&255u16.to_le_bytes());
        assert_eq!(pad_then_open(&padded), Err(SealError::BadPadding));
        let in_too_large_a_bucket = [pad(b"abc").unwrap().as_slice(), &[0; 768]].concat();
        assert_eq!(pad_then_open(&in_too_large_a_bucket), Err(SealError::BadPadding));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(plaintext: Vec<u8>, info: Vec<u8>, aad: Vec<u8>, secret: [u8; 32], entropy: [u8; 32]) {
            let sealed = seal(&public_key(&secret), &info, &aad, &plaintext, entropy).unwrap();
            let opened = open(&secret, &info, &aad, &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
        }

        #[test]
        fn any_bytes_are_taken_without_panic(mut sealed: Vec<u8>, bucket in 0..4usize) {
            prop_assert!(open(&SECRET, b"", b"", &sealed).is_err());
            sealed.resize(BUCKETS[bucket] + 48, 0);
            prop_assert!(open(&SECRET, b"", b"", &sealed).is_err());
        }
    }
}
