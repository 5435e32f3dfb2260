//! An amount of bitcoin as Bitcoin Core and what stands on it write it.

use bitcoin::{Amount, Denomination, FeeRate};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Digits after the point that make a satoshi.
const SATOSHI_DIGITS: i32 = 8;
/// Digits after the point that make a satoshi for 1000 virtual bytes of a feerate in satoshis for each of them.
const PER_KVB_DIGITS: i32 = 3;
/// The longest number that is read; amounts have seventeen digits.
const MAX_LEN: usize = 40;

/// A decimal fraction of bitcoin, kept as its text because floats lose coins.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Btc(Box<RawValue>);

impl Btc {
    /// Whether it is less than nothing, which stands for "unknown".
    pub fn is_negative(&self) -> bool {
        self.0.get().starts_with('-')
    }

    /// Reads the amount, to the last satoshi.
    ///
    /// # Errors
    /// A text, when it is none.
    pub fn amount(&self) -> Result<Amount, String> {
        let text = self.0.get();
        Amount::from_str_in(text, Denomination::Bitcoin).map_err(|error| format!("amount {text}: {error}"))
    }

    /// Reads the amount as a feerate for 1000 virtual bytes, rounded up.
    ///
    /// # Errors
    /// A text, when it is none.
    pub fn per_kvb(&self) -> Result<FeeRate, String> {
        let text = self.0.get();
        feerate(text, SATOSHI_DIGITS)
    }
}

/// A feerate in satoshis for a virtual byte, a decimal fraction too.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct SatsPerVb(Box<RawValue>);

impl SatsPerVb {
    /// Reads the feerate, rounded up.
    ///
    /// # Errors
    /// A text, when it is none.
    pub fn rate(&self) -> Result<FeeRate, String> {
        feerate(self.0.get(), PER_KVB_DIGITS)
    }
}

/// Reads a feerate for 1000 virtual bytes, of which a decimal number states the satoshis with the point so many digits to the left.
fn feerate(text: &str, digits: i32) -> Result<FeeRate, String> {
    let satoshis = rounded_up(text, digits).ok_or_else(|| format!("feerate {text} is none"))?;
    // A virtual byte is four weight units.
    Ok(FeeRate::from_sat_per_kwu(satoshis.div_ceil(4)))
}

/// Returns a decimal number with its point moved so many digits to the right, rounded up. Python writes small ones with an
/// exponent: 1e-05.
fn rounded_up(text: &str, digits_moved: i32) -> Option<u64> {
    if text.len() > MAX_LEN {
        return None;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let shift = exponent.parse::<i32>().ok()?.checked_add(digits_moved)?;
    // How many of the digits stand before the point when it is moved.
    let kept = i32::try_from(whole.len()).ok()?.checked_add(shift)?;
    let kept = usize::try_from(kept.max(0)).ok().filter(|kept| *kept <= MAX_LEN)?;
    let (before, after) = digits.split_at(kept.min(digits.len()));
    let zeros = kept - before.len();
    let satoshis: u64 = format!("0{before}{}", "0".repeat(zeros)).parse().ok()?;
    satoshis.checked_add(u64::from(after.bytes().any(|digit| digit != b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btc(text: &str) -> Btc {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn amounts_are_read_to_the_last_satoshi() {
        assert_eq!(btc("20999999.99999999").amount().unwrap(), Amount::from_sat(2_099_999_999_999_999));
        assert_eq!(btc("0.00000001").amount().unwrap(), Amount::from_sat(1));
        assert!(btc("0.000000001").amount().is_err());
        assert!(btc("-1.00000000").amount().is_err());
    }

    #[test]
    fn feerates_are_rounded_up() {
        assert_eq!(btc("0.00001001").per_kvb().unwrap().to_sat_per_kwu(), 251);
        for (text, satoshis) in [
            ("0.00001000", 1_000),
            ("1e-05", 1_000),
            ("1.5e-06", 150),
            ("1.23456789e-5", 1_235),
            ("1E2", 10_000_000_000),
            ("0.000000001", 1),
            ("1e-20", 1),
            ("1e-2147483648", 1),
            ("0", 0),
            ("21000000.0", 2_100_000_000_000_000),
        ] {
            assert_eq!(rounded_up(text, SATOSHI_DIGITS), Some(satoshis), "{text}");
        }
        for text in ["-1", "1e30", "\"1\"", "null", "1e", "9e18"] {
            assert_eq!(rounded_up(text, SATOSHI_DIGITS), None, "{text}");
        }
    }

    #[test]
    fn feerates_for_a_virtual_byte_are_rounded_up() {
        let rate = |text: &str| serde_json::from_str::<SatsPerVb>(text).unwrap().rate();
        for (text, per_kwu) in [("1", 250), ("12.5", 3_125), ("0.1", 25), ("0.0001", 1), ("1e1", 2_500), ("0", 0)] {
            assert_eq!(rate(text).unwrap().to_sat_per_kwu(), per_kwu, "{text}");
        }
        for text in ["-1", "1e40", "null", "\"1\""] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
