//! What can be asked for, as numbers. An offer bears marks and so does a question; an offer can only be an answer if it
//! bears all marks of the question. The shelf finds those without looking at the others.

use std::collections::BTreeSet;

use super::Entry;
use crate::body::{Offer, Side};
use crate::money::Sats;

/// A number below [`MARKS`].
pub(super) type Mark = u16;

/// How many marks there are: two sides, the cells of amounts, the buckets of words.
pub(super) const MARKS: usize = 2 + CELLS as usize + BUCKETS as usize;
/// Steps of amounts from one power of two to the next: a step is at most an eighth wide.
const STEPS_LOG2: u32 = 3;
/// Amounts below this power of two share a cell: no offer reaches down to it.
const FIRST_OCTAVE: u32 = 18;
/// Enough for all bitcoin that can exist, which has 51 binary digits.
const CELLS: u16 = (51 - 18) << STEPS_LOG2;
/// Words share this many marks; the words of the offer itself tell them apart.
const BUCKETS: u16 = 1024;
/// How many words of an offer can be searched for: those of its payment methods first, then of its terms.
pub const MAX_WORDS: usize = 32;
/// How many words of a question count.
pub const MAX_ASKED_WORDS: usize = 8;
/// The most marks of a question: a side, an amount and its words.
pub(super) const MAX_ASKED: usize = 2 + MAX_ASKED_WORDS;

/// A word by its hash. Two words with one hash are found together, which harms nobody.
pub(super) type Word = u32;

/// Words to look for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(pub(super) Vec<Word>);

impl Words {
    /// Returns the words of a text, the first [`MAX_ASKED_WORDS`] of them. Of an offer the first [`MAX_WORDS`] are searched.
    pub fn of(text: &str) -> Self {
        Self(words(text).take(MAX_ASKED_WORDS).collect())
    }
}

/// Returns the different words of a text in small letters: what stands between characters that are neither letter nor digit.
pub(super) fn words(text: &str) -> impl Iterator<Item = Word> {
    let lower = text.to_lowercase();
    let words: BTreeSet<Word> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(hash).collect();
    words.into_iter()
}

/// Returns the words by which an offer is found.
pub(super) fn words_of(offer: &Offer) -> Box<[Word]> {
    let methods = offer.methods.iter().map(|method| method.as_str());
    let texts = methods.chain([offer.currency.code(), offer.terms.as_str()]);
    let mut found: Vec<Word> = Vec::new();
    for word in texts.flat_map(words) {
        if found.len() < MAX_WORDS && !found.contains(&word) {
            found.push(word);
        }
    }
    found.into_boxed_slice()
}

/// Returns the marks that an offer bears.
pub(super) fn borne_by(entry: &Entry) -> Vec<Mark> {
    let mut marks: Vec<Mark> = vec![side(entry.side)];
    marks.extend(cell(entry.min)..=cell(entry.max));
    marks.extend(entry.words.iter().map(|word| bucket(*word)));
    marks.sort_unstable();
    marks.dedup();
    marks
}

/// Returns the mark of a side.
pub(super) const fn side(side: Side) -> Mark {
    side as Mark // 0 or 1
}

/// Returns the mark of the cell in which an amount lies.
pub(super) const fn amount(amount: Sats) -> Mark {
    cell(amount)
}

const fn cell(amount: Sats) -> Mark {
    let floor = 1 << FIRST_OCTAVE;
    let sats = if amount.get() < floor { floor } else { amount.get() };
    let octave = sats.ilog2();
    let step = (sats >> (octave - STEPS_LOG2)) & ((1 << STEPS_LOG2) - 1);
    2 + (((octave - FIRST_OCTAVE) << STEPS_LOG2) as Mark) + step as Mark // below CELLS, for an amount has 51 digits at most
}

/// Returns the mark that a word shares with others.
pub(super) const fn bucket(word: Word) -> Mark {
    2 + CELLS + (word % BUCKETS as Word) as Mark // below BUCKETS
}

/// FNV-1a: quick, and nothing depends on its strength.
fn hash(word: &str) -> Word {
    word.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ Word::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cells_ascend_and_all_marks_are_below_their_number(a in 0..=Sats::MAX.get(), b in 0..=Sats::MAX.get(), word: u32) {
            let cell_of = |sats| cell(Sats::new(sats).unwrap());
            prop_assert!(a > b || cell_of(a) <= cell_of(b));
            prop_assert!(usize::from(cell_of(a)) < 2 + usize::from(CELLS));
            prop_assert!(usize::from(bucket(word)) < MARKS);
        }
    }

    #[test]
    fn words_are_found_whatever_their_case_and_what_stands_between() {
        let found = |text| words(text).collect::<Vec<_>>();
        assert_eq!(found("SEPA-instant"), found("instant, sepa! SEPA"));
        assert_eq!(found("  …"), Vec::<Word>::new());
        assert_ne!(found("sepa"), found("sep"));
    }
}
