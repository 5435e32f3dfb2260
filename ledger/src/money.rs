//! Money: satoshis, money of the other kind in its minor units, and the price between them. Integers only, checked only.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Satoshis in one bitcoin.
pub const SATS_PER_BTC: u64 = 100_000_000;

/// An amount of bitcoin in satoshis; never more than 21 million bitcoin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, Serialize)]
#[serde(transparent)]
pub struct Sats(u64);

impl Sats {
    /// All bitcoin that can exist.
    pub const MAX: Self = Self(21_000_000 * SATS_PER_BTC);
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Returns the amount, `None` above [`Sats::MAX`].
    pub const fn new(sats: u64) -> Option<Self> {
        if sats <= Self::MAX.0 { Some(Self(sats)) } else { None }
    }

    /// Returns the number of satoshis.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Adds; `None` above [`Sats::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::new)
    }

    /// Subtracts; `None` below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl From<Sats> for bitcoin::Amount {
    fn from(sats: Sats) -> Self {
        Self::from_sat(sats.0)
    }
}

impl TryFrom<bitcoin::Amount> for Sats {
    type Error = MoneyError;

    fn try_from(amount: bitcoin::Amount) -> Result<Self, MoneyError> {
        Self::new(amount.to_sat()).ok_or(MoneyError::TooMuchBitcoin)
    }
}

/// Prints as bitcoin with all eight decimals: `0.01000000`.
impl fmt::Display for Sats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:08}", self.0 / SATS_PER_BTC, self.0 % SATS_PER_BTC))
    }
}

impl BorshDeserialize for Sats {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        Self::new(u64::deserialize_reader(reader)?).ok_or_else(|| invalid(MoneyError::TooMuchBitcoin))
    }
}

impl<'de> Deserialize<'de> for Sats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<u64 as Deserialize>::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom(MoneyError::TooMuchBitcoin))
    }
}

/// A currency: three to five capital letters, ISO 4217 where it has a code. Encodes as five bytes, zero-padded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Currency([u8; 5]);

impl Currency {
    /// The first currency in order.
    pub const LOWEST: Self = Self(*b"AAA\0\0");

    /// Returns the code, e.g. `EUR`.
    pub fn code(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..len]).expect("only capital letters are accepted")
    }

    /// Returns the number of decimals of the currency's minor unit (ISO 4217; 2 when it is not listed).
    pub fn decimals(&self) -> u32 {
        match self.code() {
            "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND"
            | "VUV" | "XAF" | "XOF" | "XPF" => 0,
            "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
            _ => 2,
        }
    }

    /// Prints `minor` units as a decimal number, without the code: `617.50`.
    pub fn format(&self, minor: u64) -> String {
        match self.decimals() {
            0 => minor.to_string(),
            decimals => {
                let unit = 10u64.pow(decimals);
                format!("{}.{:0width$}", minor / unit, minor % unit, width = decimals as usize) // at most 3
            }
        }
    }

    /// Reads a decimal number in this currency as minor units.
    ///
    /// # Errors
    /// When it is no number, has too many decimals or is too large.
    pub fn parse_minor(&self, text: &str) -> Result<u64, MoneyError> {
        parse_decimal(text, self.decimals())
    }

    fn from_bytes(bytes: [u8; 5]) -> Result<Self, MoneyError> {
        let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        let (letters, padding) = bytes.split_at(len);
        if len < 3 || !letters.iter().all(u8::is_ascii_uppercase) || padding.iter().any(|b| *b != 0) {
            return Err(MoneyError::NotACurrency(String::from_utf8_lossy(letters).into_owned()));
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let mut bytes = [0; 5];
        if text.len() > bytes.len() {
            return Err(MoneyError::NotACurrency(text.chars().take(16).collect()));
        }
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self::from_bytes(bytes)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Currency({})", self.code())
    }
}

impl BorshDeserialize for Currency {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        Self::from_bytes(<[u8; 5]>::deserialize_reader(reader)?).map_err(invalid)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A price: minor units of a currency for one whole bitcoin. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, Serialize)]
#[serde(transparent)]
pub struct Price(u64);

impl Price {
    /// Returns the price, `None` for zero.
    pub const fn new(minor_per_btc: u64) -> Option<Self> {
        if minor_per_btc == 0 { None } else { Some(Self(minor_per_btc)) }
    }

    /// Returns the minor units for one bitcoin.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns what `amount` costs in minor units, rounded up to the next whole one; `None` when it does not fit.
    pub fn cost(self, amount: Sats) -> Option<u64> {
        let product = u128::from(self.0) * u128::from(amount.get());
        u64::try_from(product.div_ceil(u128::from(SATS_PER_BTC))).ok()
    }
}

impl BorshDeserialize for Price {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        Self::new(u64::deserialize_reader(reader)?).ok_or_else(|| invalid(MoneyError::ZeroPrice))
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<u64 as Deserialize>::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom(MoneyError::ZeroPrice))
    }
}

/// Money that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// More than 21 million bitcoin.
    #[error("more than 21 million bitcoin")]
    TooMuchBitcoin,
    /// A price of zero.
    #[error("a price of zero")]
    ZeroPrice,
    /// Not a currency code.
    #[error("`{0}` is not a currency: expected three to five capital letters, e.g. EUR")]
    NotACurrency(String),
    /// Not a decimal number with the right number of decimals.
    #[error("`{text}` is not an amount: expected digits with at most {decimals} decimals, e.g. 12.5")]
    NotAnAmount {
        /// What was given.
        text: String,
        /// How many decimals are allowed.
        decimals: u32,
    },
}

/// Reads an amount of bitcoin: `0.01` or `0.01000000`.
impl FromStr for Sats {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        Self::new(parse_decimal(text, 8)?).ok_or(MoneyError::TooMuchBitcoin)
    }
}

fn parse_decimal(text: &str, decimals: u32) -> Result<u64, MoneyError> {
    let refuse = || MoneyError::NotAnAmount { text: text.chars().take(32).collect(), decimals };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let dangling_point = text.contains('.') && fraction.is_empty();
    if whole.is_empty() || dangling_point || !digits(whole) || !digits(fraction) {
        return Err(refuse());
    }
    let missing = u32::try_from(fraction.len()).ok().and_then(|len| decimals.checked_sub(len)).ok_or_else(refuse)?;
    let unit = 10u64.pow(decimals);
    let whole: u64 = whole.parse().map_err(|_| refuse())?;
    let fraction: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| refuse())? };
    let fraction = fraction.checked_mul(10u64.pow(missing)).ok_or_else(refuse)?;
    whole.checked_mul(unit).and_then(|minor| minor.checked_add(fraction)).ok_or_else(refuse)
}

fn invalid(error: MoneyError) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cost_rounds_up_to_the_minor_unit() {
        let price = Price::new(6_175_000).unwrap(); // 61,750.00 a bitcoin
        assert_eq!(price.cost(Sats::new(1_000_000).unwrap()), Some(61_750));
        assert_eq!(price.cost(Sats::new(1).unwrap()), Some(1));
        assert_eq!(price.cost(Sats::ZERO), Some(0));
        assert_eq!(Price::new(u64::MAX).unwrap().cost(Sats::MAX), None);
    }

    #[test]
    fn sums_end_at_all_bitcoin_and_at_nothing() {
        let [nothing, one, all] = [Sats::ZERO, Sats(1), Sats::MAX];
        let less = Sats(Sats::MAX.0 - 1);
        assert_eq!([Sats::new(all.0), Sats::new(all.0 + 1)], [Some(all), None]);
        assert_eq!(
            [less.checked_add(one), all.checked_add(one), all.checked_add(nothing)],
            [Some(all), None, Some(all)]
        );
        assert_eq!(
            [all.checked_sub(one), one.checked_sub(one), nothing.checked_sub(one)],
            [Some(less), Some(nothing), None]
        );
        for sats in [0, 1, all.0, all.0 + 1] {
            let amount = bitcoin::Amount::from_sat(sats);
            let read = Sats::try_from(amount);
            assert_eq!(read, Sats::new(sats).ok_or(MoneyError::TooMuchBitcoin));
            assert!(read.is_err() || bitcoin::Amount::from(Sats(sats)) == amount);
            assert_eq!(borsh::from_slice::<Sats>(&sats.to_le_bytes()).ok(), Sats::new(sats));
            assert_eq!(serde_json::from_str::<Sats>(&sats.to_string()).ok(), Sats::new(sats));
        }
    }

    #[test]
    fn a_price_is_never_nothing() {
        for price in [0, 1, u64::MAX] {
            assert_eq!(Price::new(price).map(Price::get), (price > 0).then_some(price));
            assert_eq!(borsh::from_slice::<Price>(&price.to_le_bytes()).ok(), Price::new(price));
            assert_eq!(serde_json::from_str::<Price>(&price.to_string()).ok(), Price::new(price));
        }
    }

    #[test]
    fn a_currency_has_the_decimals_of_its_minor_unit() {
        for (code, minor, printed) in
            [("JPY", 61_750, "61750"), ("EUR", 61_750, "617.50"), ("KWD", 61_750, "61.750"), ("USDTX", 5, "0.05")]
        {
            let currency: Currency = code.parse().unwrap();
            assert_eq!((currency.code(), currency.format(minor).as_str()), (code, printed));
            assert_eq!(currency.parse_minor(printed), Ok(minor));
            assert_eq!(serde_json::to_string(&currency).unwrap(), format!("\"{code}\""));
        }
    }

    #[test]
    fn decimals_are_read_exactly_or_not_at_all() {
        let eur: Currency = "EUR".parse().unwrap();
        let jpy: Currency = "JPY".parse().unwrap();
        assert_eq!(eur.parse_minor("617.5"), Ok(61_750));
        assert_eq!(jpy.parse_minor("617"), Ok(617));
        for bad in ["", ".", "1.", ".5", "1.234", "-1", "+1", "1e3", "1,5", "1.2.3", " 1", "99999999999999999999"] {
            assert!(eur.parse_minor(bad).is_err(), "{bad}");
        }
        assert!(jpy.parse_minor("1.0").is_err());
        assert!("21000000.00000001".parse::<Sats>().is_err());
    }

    #[test]
    fn a_currency_has_one_encoding() {
        assert_eq!(borsh::to_vec(&"EUR".parse::<Currency>().unwrap()).unwrap(), b"EUR\0\0");
        for bad in [*b"EU\0\0\0", *b"EUr\0\0", *b"EUR\0X", *b"\0\0\0\0\0"] {
            assert!(borsh::from_slice::<Currency>(&bad).is_err());
        }
        assert!("EUROEU".parse::<Currency>().is_err());
    }

    proptest! {
        #[test]
        fn printed_amounts_read_back(sats in 0..=Sats::MAX.0) {
            let sats = Sats::new(sats).unwrap();
            prop_assert_eq!(sats.to_string().parse::<Sats>().unwrap(), sats);
        }

        #[test]
        fn printed_minor_units_read_back(minor in any::<u64>(), code in prop::sample::select(vec!["EUR", "JPY", "KWD"])) {
            let currency: Currency = code.parse().unwrap();
            prop_assert_eq!(currency.parse_minor(&currency.format(minor)).unwrap(), minor);
        }
    }
}
