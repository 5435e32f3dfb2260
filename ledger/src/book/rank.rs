//! Where an offer stands in the book.

use std::fmt;
use std::str::FromStr;

use crate::body::Side;
use crate::ids::RecordId;
use crate::money::{Currency, Price};

/// Where an offer stands in the book: by market, the best price for a taker first, then the older, then by id. It prints as
/// text, so that a page of the book can say where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    pub(super) currency: Currency,
    pub(super) side: Side,
    pub(super) best_first: u64,
    pub(super) created: u64,
    pub(super) id: RecordId,
}

/// A text that is no [`Rank`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place in the book")]
pub struct NotARank;

impl Rank {
    /// Returns the first place of a market.
    pub(super) const fn first_of(currency: Currency, side: Side) -> Self {
        Self { currency, side, best_first: 0, created: 0, id: RecordId([0; 32]) }
    }

    /// Returns a price as a number that is smaller the better it is for a taker.
    pub(super) const fn best_first(side: Side, price: Price) -> u64 {
        match side {
            Side::Sell => price.get(),
            Side::Buy => u64::MAX - price.get(),
        }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { currency, side, best_first, created, id } = self;
        let side = match side {
            Side::Buy => "buy",
            Side::Sell => "sell",
        };
        write!(f, "{currency}-{side}-{best_first}-{created}-{id}")
    }
}

impl FromStr for Rank {
    type Err = NotARank;

    fn from_str(text: &str) -> Result<Self, NotARank> {
        let parts: Vec<&str> = text.splitn(6, '-').collect();
        let [currency, side, best_first, created, id] = parts[..] else { return Err(NotARank) };
        Ok(Self {
            currency: currency.parse().map_err(|_| NotARank)?,
            side: match side {
                "buy" => Side::Buy,
                "sell" => Side::Sell,
                _ => return Err(NotARank),
            },
            best_first: best_first.parse().map_err(|_| NotARank)?,
            created: created.parse().map_err(|_| NotARank)?,
            id: id.parse().map_err(|_| NotARank)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_printed() {
        let best_first = Rank::best_first(Side::Buy, Price::new(6_175_000).unwrap());
        let rank = Rank {
            best_first,
            created: 7,
            id: RecordId([0xab; 32]),
            ..Rank::first_of("EUR".parse().unwrap(), Side::Buy)
        };
        assert_eq!(rank.to_string().parse(), Ok(rank));
        for bad in ["", "50", "EUR-buy-1-2", &format!("{rank}-"), &rank.to_string().replace("buy", "hold")] {
            assert_eq!(bad.parse::<Rank>(), Err(NotARank), "{bad}");
        }
    }
}
