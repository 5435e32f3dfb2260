//! The optional secret key: 128 bits on paper that make the password unguessable from the published identity key.

use std::fmt;

use bech32::{Bech32m, Hrp};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// "exchange secret key".
const HRP: Hrp = Hrp::parse_unchecked("exsk");
/// 26 characters of data and 6 of checksum make eight groups of four.
const GROUP: usize = 4;
/// Bounds the work on hostile input: the printed form has 45 characters, and people add spaces.
const MAX_TYPED: usize = 128;

/// A 128-bit secret key. Whoever made an identity with one needs email, password and this to restore it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; 16]);

/// A text that is not a secret key. It never contains any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretKeyError {
    /// Not of the printed form.
    #[error("this is no secret key: it starts with `exsk1` and has 32 letters and digits after it")]
    NotASecretKey,
    /// The checksum does not fit.
    #[error("the secret key has a typing error: compare it with the paper")]
    Mistyped,
}

impl SecretKey {
    /// Returns the secret key made of `entropy`, 16 bytes of a cryptographic generator.
    pub const fn from_entropy(entropy: [u8; 16]) -> Self {
        Self(entropy)
    }

    /// Returns the form for paper: `exsk1-` and eight groups of four, bech32m (BIP-350) without the hyphens. Its checksum
    /// finds any four mistyped characters.
    pub fn printed(&self) -> Zeroizing<String> {
        let code =
            Zeroizing::new(bech32::encode::<Bech32m>(HRP, &self.0).expect("16 bytes are within the code length"));
        let (prefix, data) = code.split_once('1').expect("bech32 has a separator");
        let mut printed = Zeroizing::new(String::with_capacity(MAX_TYPED));
        printed.push_str(prefix);
        printed.push('1');
        for (index, character) in data.chars().enumerate() {
            if index % GROUP == 0 {
                printed.push('-');
            }
            printed.push(character);
        }
        printed
    }

    /// Parses what was copied from paper. Hyphens and spaces do not matter, nor does case as long as it is one case.
    ///
    /// # Errors
    /// Returns [`SecretKeyError::Mistyped`] when the checksum fails, [`SecretKeyError::NotASecretKey`] for anything else.
    pub fn parse(typed: &str) -> Result<Self, SecretKeyError> {
        if typed.len() > MAX_TYPED {
            return Err(SecretKeyError::NotASecretKey);
        }
        let mut code = Zeroizing::new(String::with_capacity(MAX_TYPED));
        code.extend(typed.chars().filter(|c| *c != '-' && !c.is_whitespace()));
        if !code.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("exsk1")) || code.len() != 37 {
            return Err(SecretKeyError::NotASecretKey);
        }
        let checked = bech32::primitives::decode::CheckedHrpstring::new::<Bech32m>(&code)
            .map_err(|_| SecretKeyError::Mistyped)?;
        let mut key = Self([0; 16]);
        let mut bytes = checked.byte_iter();
        for slot in &mut key.0 {
            *slot = bytes.next().ok_or(SecretKeyError::NotASecretKey)?;
        }
        // The last character carries two padding bits, which must be zero: one key has one code.
        let again =
            Zeroizing::new(bech32::encode::<Bech32m>(HRP, &key.0).expect("16 bytes are within the code length"));
        if !again.eq_ignore_ascii_case(&code) {
            return Err(SecretKeyError::NotASecretKey);
        }
        Ok(key)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SecretKey = SecretKey::from_entropy(*b"sixteen key byte");

    #[test]
    fn paper_and_back() {
        let printed = KEY.printed();
        assert_eq!(printed.len(), 45);
        assert!(printed.starts_with("exsk1-"));
        assert_eq!(printed.split('-').skip(1).map(str::len).collect::<Vec<_>>(), [4; 8]);
        assert_eq!(SecretKey::parse(&printed), Ok(KEY));
        assert_eq!(SecretKey::parse(&format!("  {} ", printed.replace('-', " ").to_uppercase())), Ok(KEY));
        assert!(!format!("{KEY:?}").contains(&printed[6..10]));
    }

    #[test]
    fn every_mistyped_character_is_found() {
        let printed = KEY.printed();
        for index in 6..printed.len() {
            for wrong in "qpzry9x8gf2tvdw0s3jn54khce6mua7l".chars() {
                let right = printed.as_bytes()[index];
                if right == b'-' || char::from(right) == wrong {
                    continue;
                }
                let mut typed = printed.to_string();
                typed.replace_range(index..=index, &wrong.to_string());
                assert_eq!(SecretKey::parse(&typed), Err(SecretKeyError::Mistyped), "{typed}");
            }
        }
    }

    #[test]
    fn what_is_something_else_is_not_a_secret_key() {
        let padded = bech32::primitives::iter::Fe32IterExt::with_checksum::<Bech32m>(
            [bech32::Fe32::Q; 25].into_iter().chain([bech32::Fe32::P]), // padding bits 01
            &HRP,
        )
        .chars()
        .collect::<String>();
        let other_hrp = bech32::encode::<Bech32m>(Hrp::parse_unchecked("exst"), &[1; 16]).unwrap();
        let shorter = bech32::encode::<Bech32m>(HRP, &[1; 15]).unwrap();
        let longer = bech32::encode::<Bech32m>(HRP, &[1; 17]).unwrap();
        for text in ["", "exsk1", "é", &padded, &other_hrp, &shorter, &longer, &"x".repeat(10_000)] {
            assert_eq!(SecretKey::parse(text), Err(SecretKeyError::NotASecretKey), "{text:.60}");
        }
        let bech32_not_m = bech32::encode::<bech32::Bech32>(HRP, &[1; 16]).unwrap();
        assert_eq!(SecretKey::parse(&bech32_not_m), Err(SecretKeyError::Mistyped));
        let mixed = KEY.printed().replacen("exsk1", "EXSK1", 1);
        assert_eq!(SecretKey::parse(&mixed), Err(SecretKeyError::Mistyped));
    }
}
