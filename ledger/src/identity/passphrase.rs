//! A generated password that a person can remember: six words of the EFF long list.

use std::fmt;

use diceware_wordlists::EFF_LONG_WORDLIST;
use zeroize::Zeroizing;

/// Six words: 77.5 bits. At 1 GiB of memory a guess this is out of reach, and it is still learnt in a day.
const WORDS: usize = 6;

/// Six words of the EFF long list (7776 words of everyday English, by Joseph Bonneau for the EFF, CC BY 3.0 US), with
/// single spaces. Preferred to the 2048 words of BIP-39: 11 bits more, and nobody takes it for a wallet's seed.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Returns the passphrase that `entropy`, 32 bytes of a cryptographic generator, selects.
    ///
    /// The entropy is read as one 256-bit number whose lowest six digits to the base 7776 pick the words. The remainder
    /// modulo 7776^6 < 2^78 differs from uniform by less than 2^-178, so there is nothing to reject and retry.
    pub fn from_entropy(entropy: &[u8; 32]) -> Self {
        let mut number = Zeroizing::new(*entropy);
        // No word is longer than 9 letters; reserving for all of them leaves no half-built copy behind.
        let mut phrase = Zeroizing::new(String::with_capacity(WORDS * 10));
        for position in 0..WORDS {
            if position > 0 {
                phrase.push(' ');
            }
            phrase.push_str(EFF_LONG_WORDLIST[divide(&mut number, EFF_LONG_WORDLIST.len())]);
        }
        Self(phrase)
    }

    /// Returns the words, to be shown once and typed back.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(redacted)")
    }
}

/// Divides the big-endian `number` by `divisor` in place and returns the remainder.
fn divide(number: &mut [u8; 32], divisor: usize) -> usize {
    let mut remainder = 0;
    for byte in number {
        let dividend = remainder << 8 | usize::from(*byte);
        *byte = u8::try_from(dividend / divisor).expect("a remainder is below the divisor");
        remainder = dividend % divisor;
    }
    remainder
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_list_is_the_long_list_of_the_eff() {
        assert_eq!(EFF_LONG_WORDLIST.len(), 7776);
        assert_eq!((EFF_LONG_WORDLIST[0], EFF_LONG_WORDLIST[7775]), ("abacus", "zoom"));
        assert_eq!(EFF_LONG_WORDLIST.iter().collect::<HashSet<_>>().len(), 7776);
        assert!(
            EFF_LONG_WORDLIST
                .iter()
                .all(|word| word.len() <= 9 && word.bytes().all(|b| b == b'-' || b.is_ascii_lowercase()))
        );
        // Of the whole list in order, so that a changed word cannot pass unseen.
        let list = crate::hash::tagged("", &[EFF_LONG_WORDLIST.join("\n").as_bytes()]);
        assert_eq!(hex::encode(list), "abae49761b88f3f1ba31ef944bea1f61b795a3cd7e1cfb7d276ed45bf77967ba");
    }

    #[test]
    fn digits_to_the_base_7776_pick_the_words() {
        let mut entropy = [0; 32];
        assert_eq!(Passphrase::from_entropy(&entropy).as_str(), ["abacus"; 6].join(" "));
        entropy[30..].copy_from_slice(&7775u16.to_be_bytes());
        assert_eq!(Passphrase::from_entropy(&entropy).as_str(), "zoom abacus abacus abacus abacus abacus");
        entropy[30..].copy_from_slice(&7776u16.to_be_bytes());
        assert_eq!(Passphrase::from_entropy(&entropy).as_str(), "abacus abdomen abacus abacus abacus abacus");
        // 7776^5 has its digit in the sixth word: all of 78 bits count.
        entropy[16..].copy_from_slice(&7776u128.pow(5).to_be_bytes());
        assert_eq!(Passphrase::from_entropy(&entropy).as_str(), "abacus abacus abacus abacus abacus abdomen");
    }

    #[test]
    fn every_word_is_drawn() {
        let mut seen = HashSet::new();
        for seed in 0..20_000u32 {
            let entropy = crate::hash::tagged("test/words", &[&seed.to_le_bytes()]);
            seen.extend(Passphrase::from_entropy(&entropy).as_str().split(' ').map(str::to_owned));
        }
        // 120,000 draws miss a given word with probability 2^-22: expected misses are 0.002.
        assert_eq!(seen.len(), 7776);
    }
}
