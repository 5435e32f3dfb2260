//! Values as people type them on the command line. Nothing here is ever a float.

use std::str::FromStr;

use clap::ValueEnum;
use exchange_api::{Currency, Phase, Price, Sats, Side};
use libp2p::Multiaddr;

use crate::cli::failure::Failure;

/// Buy or sell, from whose side the option says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SideArg {
    /// Bitcoin comes in, other money goes out
    Buy,
    /// Bitcoin goes out, other money comes in
    Sell,
}

impl SideArg {
    /// Returns the side itself.
    pub const fn side(self) -> Side {
        match self {
            Self::Buy => Side::Buy,
            Self::Sell => Side::Sell,
        }
    }

    /// Returns the side of the one on the other end.
    pub const fn opposite(self) -> Side {
        match self {
            Self::Buy => Side::Sell,
            Self::Sell => Side::Buy,
        }
    }
}

/// A market, e.g. `BTC/EUR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Market(pub Currency);

impl FromStr for Market {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let currency = text.strip_prefix("BTC/").ok_or("expected BTC and a currency, e.g. BTC/EUR")?;
        currency.parse().map(Self).map_err(|error: exchange_api::MoneyError| error.to_string())
    }
}

/// A percentage with at most four decimals, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u32);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || "expected a percentage from 0 to 100 with at most four decimals, e.g. 0.5".to_owned();
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 3) || !digits(fraction, 4) {
            return Err(refuse());
        }
        let ppm = format!("{whole}{fraction:0<4}").parse::<u32>().map_err(|_| refuse())?;
        if ppm <= 1_000_000 { Ok(Self(ppm)) } else { Err(refuse()) }
    }
}

/// Reads the address of a node.
///
/// # Errors
/// When it is none: what one looks like.
pub fn multiaddr(text: &str) -> Result<Multiaddr, String> {
    text.parse().map_err(|error| {
        format!("{error}; expected an address such as /ip4/203.0.113.7/tcp/9740, of a peer with /p2p/ and its id")
    })
}

/// An amount to send: so much, or all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendAmount {
    /// Everything in the wallet.
    All,
    /// So much.
    Exactly(Sats),
}

impl FromStr for SendAmount {
    type Err = exchange_api::MoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            amount => amount.parse().map(Self::Exactly),
        }
    }
}

/// Reads a price in its currency.
///
/// # Errors
/// When it is no amount of that currency, or zero.
pub fn price(text: &str, currency: Currency) -> Result<Price, Failure> {
    let usage = |why: String| {
        Failure::usage(format!("--price: {why}"), format!("the price of one bitcoin in {currency}, e.g. 61750"))
    };
    let minor = currency.parse_minor(text).map_err(|error| usage(error.to_string()))?;
    Price::new(minor).ok_or_else(|| usage("a price of zero".to_owned()))
}

/// Returns every state of a trade by its name in the API, for `--wait`.
pub const PHASES: [(&str, Phase); 15] = [
    ("bid", Phase::Bid),
    ("void", Phase::Void),
    ("agreed", Phase::Agreed),
    ("cancelled", Phase::Cancelled),
    ("funding", Phase::Funding),
    ("funded", Phase::Funded),
    ("paid", Phase::Paid),
    ("released", Phase::Released),
    ("refunding", Phase::Refunding),
    ("closed", Phase::Closed),
    ("refunded", Phase::Refunded),
    ("lost", Phase::Lost),
    ("disputed", Phase::Disputed),
    ("ruled", Phase::Ruled),
    ("settled", Phase::Settled),
];

/// Returns a state's name in the API.
pub fn phase_name(phase: Phase) -> &'static str {
    PHASES.iter().find(|(_, listed)| *listed == phase).expect("the list has them all: see the test").0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_exact() {
        for (text, ppm) in [("0.5", 5_000), ("1", 10_000), ("0.0001", 1), ("100", 1_000_000), ("12.34", 123_400)] {
            assert_eq!(text.parse(), Ok(Percent(ppm)), "{text}");
        }
        for bad in ["", ".5", "1.", "0.00001", "100.0001", "-1", "1%", "1e2", "1000"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn states_are_named_as_in_the_api() {
        for (name, phase) in PHASES {
            assert_eq!(serde_json::to_value(phase).unwrap(), name);
            assert_eq!(phase_name(phase), name);
        }
    }

    #[test]
    fn a_price_is_read_in_its_currency() {
        let (eur, jpy) = ("EUR".parse().unwrap(), "JPY".parse().unwrap());
        assert_eq!(price("61750.00", eur).unwrap().get(), 6_175_000);
        assert_eq!(price("9500000", jpy).unwrap().get(), 9_500_000);
        for (text, currency) in [("0", eur), ("1.234", eur), ("1.5", jpy), ("a", eur)] {
            assert_eq!(price(text, currency).unwrap_err().exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn a_market_is_bitcoin_against_a_currency() {
        assert_eq!("BTC/EUR".parse(), Ok(Market("EUR".parse().unwrap())));
        for bad in ["EUR", "BTC/", "EUR/BTC", "btc/eur"] {
            assert!(bad.parse::<Market>().is_err(), "{bad}");
        }
    }
}
