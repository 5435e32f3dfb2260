//! Ids as people type them: whole, or the first digits of one that is listed.

use std::fmt::Display;
use std::str::FromStr;

use crate::cli::failure::Failure;

/// The fewest digits that are taken for an id: fewer are too easily somebody else's.
const MIN_DIGITS: usize = 6;
/// The digits of a whole id.
const ALL_DIGITS: usize = 64;

/// An id or its first digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

/// A text that is neither an id nor the beginning of one.
#[derive(Debug, thiserror::Error)]
#[error("expected {ALL_DIGITS} lower-case hexadecimal digits, or at least the first {MIN_DIGITS} of them")]
pub struct NotAnId;

impl FromStr for Prefix {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex && (MIN_DIGITS..=ALL_DIGITS).contains(&text.len()) { Ok(Self(text.to_owned())) } else { Err(NotAnId) }
    }
}

impl Prefix {
    /// Returns the id if all of it was typed: then nothing needs to be listed.
    pub fn whole<Id: FromStr>(&self) -> Option<Id> {
        self.0.parse().ok()
    }

    /// Returns the digits, for a node that looks for what begins like this.
    pub fn digits(&self) -> &str {
        &self.0
    }

    /// Tells whether a printed id begins like this.
    pub fn begins(&self, id: &str) -> bool {
        id.starts_with(&self.0)
    }

    /// Returns the one id among `known` that begins like this. `what` names the kind of thing in errors.
    ///
    /// # Errors
    /// When there is none (refused), or more than one (usage).
    pub fn pick<Id: Display + Copy + PartialEq>(
        &self,
        what: &str,
        known: impl IntoIterator<Item = Id>,
    ) -> Result<Id, Failure> {
        let mut found: Option<Id> = None;
        for id in known {
            if self.begins(&id.to_string()) && found.replace(id).is_some_and(|other| other != id) {
                return Err(Failure::usage(format!("more than one {what} begins with {}", self.0), "give more digits"));
            }
        }
        found.ok_or_else(|| {
            exchange_api::ApiError::new(
                exchange_api::Code::NotFound,
                format!("no {what} begins with {}", self.0),
                format!("list them to see the ids; a whole id also finds {what}s that no list shows"),
            )
            .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use exchange_api::RecordId;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_beginning_finds_the_one_that_begins_so() {
        let (one, other) = (RecordId([0xab; 32]), RecordId([0xcd; 32]));
        assert_eq!(prefix("ababab").pick("offer", [one, other]).unwrap(), one);
        assert_eq!(prefix("ababab").pick("offer", [one, other, one]).unwrap(), one, "the same in two lists is one");
        assert_eq!(prefix("efefef").pick("offer", [one, other]).unwrap_err().exit_code(), 1);
        let mut twin = one;
        twin.0[31] = 0;
        let failure = prefix("ababab").pick("offer", [one, other, twin]).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.text().contains("more than one offer"));
    }

    #[test]
    fn only_lower_case_hex_of_a_sensible_length_is_an_id() {
        for bad in ["", "ababa", "ABABAB", "abcxyz", &"a".repeat(65)] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
        assert_eq!(prefix(&"ab".repeat(32)).whole(), Some(RecordId([0xab; 32])));
        assert_eq!(prefix("ababab").whole::<RecordId>(), None);
    }
}
