//! The password of an identity, in the one spelling that every keyboard produces.

use std::fmt;

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::Error as PrecisError;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use zeroize::{Zeroize, Zeroizing};

/// A password prepared by the OpaqueString profile of RFC 8265: NFC, every kind of space the same, case kept.
///
/// Zeroized on drop. The caller's own copy of what was typed is the caller's to wipe.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

/// A text that cannot be a password. It never contains any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// Nothing was typed.
    #[error("the password is empty")]
    Empty,
    /// Longer than [`Password::MAX_BYTES`].
    #[error("the password is too long: at most {} bytes", Password::MAX_BYTES)]
    TooLong,
    /// A control, unassigned or otherwise unusable character.
    #[error("character {position} of the password is a control, unassigned or unusual character: leave it out")]
    BadCharacter {
        /// Its place, counted from 1.
        position: usize,
    },
    /// A character that is allowed only next to certain others.
    #[error("the password has a character that is only allowed next to certain others: leave it out")]
    BadContext,
}

impl Password {
    /// The longest password in UTF-8 bytes: far above any passphrase, and it bounds the work on hostile input.
    pub const MAX_BYTES: usize = 1024;

    /// Prepares what was typed.
    ///
    /// Spaces at the ends count, as RFC 8265 has it; a line end is a control character, so a reader of files strips it.
    ///
    /// # Errors
    /// Returns a [`PasswordError`] when the text is empty, too long, or not of the PRECIS FreeformClass.
    pub fn parse(typed: &str) -> Result<Self, PasswordError> {
        if typed.is_empty() {
            return Err(PasswordError::Empty);
        }
        if typed.len() > Self::MAX_BYTES {
            return Err(PasswordError::TooLong);
        }
        let prepared = OpaqueString::enforce(typed).map_err(|error| match error {
            PrecisError::BadCodepoint(info) => PasswordError::BadCharacter {
                // PRECIS counts from 0, people from 1; no password is long enough to saturate.
                position: info.position.saturating_add(1),
            },
            PrecisError::Invalid | PrecisError::Unexpected(_) => PasswordError::BadContext,
        })?;
        let mut prepared = prepared.into_owned();
        if prepared.len() > Self::MAX_BYTES {
            prepared.zeroize();
            return Err(PasswordError::TooLong);
        }
        Ok(Self(Zeroizing::new(prepared)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 8265, section 4.3, and what they should become.
    #[test]
    fn the_examples_of_rfc_8265_are_accepted() {
        for (typed, prepared) in [
            ("correct horse battery staple", "correct horse battery staple"),
            ("Correct Horse Battery Staple", "Correct Horse Battery Staple"),
            ("πßå", "πßå"),
            ("Jack of ♦s", "Jack of ♦s"),
            ("foo\u{1680}bar", "foo bar"),
        ] {
            assert_eq!(Password::parse(typed).unwrap().as_str(), prepared);
        }
        assert_eq!(Password::parse(""), Err(PasswordError::Empty));
        assert_eq!(Password::parse("my cat is a \u{9}by"), Err(PasswordError::BadCharacter { position: 13 }));
    }

    #[test]
    fn two_keyboards_give_one_password_and_case_counts() {
        assert_eq!(Password::parse("cafe\u{301}"), Password::parse("caf\u{e9}"));
        assert_eq!(Password::parse("a\u{3000}b\u{a0}c"), Password::parse("a b c"));
        assert_ne!(Password::parse("abc"), Password::parse("Abc"));
        assert_ne!(Password::parse("ﬁ"), Password::parse("fi")); // NFC, not NFKC
    }

    #[test]
    fn line_ends_unassigned_characters_and_floods_are_refused() {
        assert_eq!(Password::parse("abc\n"), Err(PasswordError::BadCharacter { position: 4 }));
        assert!(matches!(Password::parse("a\u{378}"), Err(PasswordError::BadCharacter { position: 2 })));
        assert!(Password::parse(&"x".repeat(1024)).is_ok());
        assert_eq!(Password::parse(&"x".repeat(1025)), Err(PasswordError::TooLong));
        // U+0958 grows from 3 bytes to 6 under NFC: the bound holds afterwards too.
        assert_eq!(Password::parse(&"\u{958}".repeat(300)), Err(PasswordError::TooLong));
    }

    #[test]
    fn debug_tells_nothing() {
        assert!(!format!("{:?}", Password::parse("hunter2").unwrap()).contains("hunter2"));
    }
}
