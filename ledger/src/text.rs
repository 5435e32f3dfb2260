//! Text written by strangers and shown on terminals: bounded, and free of anything that could forge what a user sees.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize};

/// UTF-8 of at most `MAX` bytes without control characters (a line feed is allowed), bidirectional overrides or
/// invisible characters: a terminal shows exactly what was signed. Encodes as a u32 length and the bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

/// A text that may not enter a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// More bytes than its field holds.
    #[error("text of {len} bytes is too long: at most {max}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A character that a terminal does not show as itself.
    #[error("text holds the invisible or control character U+{0:04X}")]
    Forbidden(u32),
}

impl<const MAX: usize> Text<MAX> {
    /// Checks a text.
    ///
    /// # Errors
    /// When it is too long or holds a forbidden character.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        if text.len() > MAX {
            return Err(TextError::TooLong { len: text.len(), max: MAX });
        }
        match text.chars().find(|c| is_forbidden(*c)) {
            Some(c) => Err(TextError::Forbidden(u32::from(c))),
            None => Ok(Self(text)),
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns words that are no [`Text`], such as a server's, fit to be shown: `�` takes the place of what no text may hold.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_forbidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Tells whether a character could change how the text around it is shown.
fn is_forbidden(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const MAX: usize> BorshDeserialize for Text<MAX> {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let text = String::deserialize_reader(reader)?;
        Self::new(text).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<String as Deserialize>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_cannot_be_fooled() {
        for bad in ["\x1b[2J", "a\rb", "a\u{202e}b", "a\u{200b}b", "\u{9b}31m", "a\tb", "a\u{feff}"] {
            assert!(Text::<64>::new(bad).is_err(), "{bad:?}");
            let bytes = borsh::to_vec(&bad.to_string()).unwrap();
            assert!(borsh::from_slice::<Text<64>>(&bytes).is_err(), "{bad:?}");
        }
        for good in ["", "SEPA instant", "línea uno\nzweite Zeile", "日本語", "עברית"] {
            assert!(Text::<64>::new(good).is_ok(), "{good:?}");
        }
        assert!(Text::<3>::new("four").is_err());
    }

    #[test]
    fn what_no_text_may_hold_is_not_shown_either() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}c\nd"), "a\u{fffd}[2Jb\u{fffd}c\nd");
        for hidden in ["\u{9b}", "\u{ad}", "\u{34f}", "\u{200d}", "\u{2066}", "\u{3164}", "\u{ffa0}", "\u{e0041}"] {
            assert_eq!(clean(hidden), "\u{fffd}", "{hidden:?}");
            assert!(Text::<64>::new(hidden).is_err() && Text::<64>::new(clean(hidden)).is_ok(), "{hidden:?}");
        }
    }
}
