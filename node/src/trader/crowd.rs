//! Trades that strangers agreed on, more of them than there is room for. Identities are cheap, and so is what they
//! agree on with each other; nobody can agree on anything in the name of somebody else. So a trade is as crowded as the
//! one of its two parties who has fewer of them, and the least crowded come first: whoever makes up thousands of them
//! stands in his own way.

use std::cmp::Reverse;
use std::collections::HashMap;

use exchange_ledger::ids::{AuthorId, TradeId};

/// A bounded number of trades, each with its parties, in the order in which they came.
#[derive(Debug)]
pub(super) struct Crowd {
    max: usize,
    /// How many ever came.
    came: u64,
    trades: HashMap<TradeId, Place>,
}

#[derive(Debug)]
struct Place {
    number: u64,
    parties: [AuthorId; 2],
}

impl Crowd {
    /// Returns an empty one with so much room.
    pub fn new(max: usize) -> Self {
        Self { max, came: 0, trades: HashMap::new() }
    }

    /// Tells whether a trade is among them.
    pub fn contains(&self, trade: &TradeId) -> bool {
        self.trades.contains_key(trade)
    }

    /// Adds a trade if it is new. Returns the one that has to go for it, which can be itself: of the most crowded the
    /// oldest.
    pub fn add(&mut self, trade: TradeId, parties: [AuthorId; 2]) -> Option<TradeId> {
        if self.contains(&trade) {
            return None;
        }
        self.came += 1;
        self.trades.insert(trade, Place { number: self.came, parties });
        if self.trades.len() <= self.max {
            return None;
        }
        let crowding = self.crowding();
        let order = self.trades.iter().map(|(trade, place)| (crowding(place), Reverse(place.number), *trade));
        let (_, _, worst) = order.max()?;
        self.remove(&worst);
        Some(worst)
    }

    /// Takes a trade out.
    pub fn remove(&mut self, trade: &TradeId) {
        self.trades.remove(trade);
    }

    /// Takes so many out, the least crowded first, of those alike the oldest.
    pub fn take(&mut self, count: usize) -> Vec<TradeId> {
        if count == 0 || self.trades.is_empty() {
            return Vec::new();
        }
        let crowding = self.crowding();
        let mut order: Vec<(usize, u64, TradeId)> =
            self.trades.iter().map(|(trade, place)| (crowding(place), place.number, *trade)).collect();
        order.sort_unstable();
        order.truncate(count);
        order.iter().for_each(|(_, _, trade)| self.remove(trade));
        order.into_iter().map(|(_, _, trade)| trade).collect()
    }

    /// Returns what tells how crowded a trade is.
    fn crowding(&self) -> impl Fn(&Place) -> usize + use<> {
        let mut of_author: HashMap<AuthorId, usize> = HashMap::new();
        for author in self.trades.values().flat_map(|place| place.parties) {
            *of_author.entry(author).or_default() += 1;
        }
        move |place: &Place| place.parties.iter().filter_map(|author| of_author.get(author)).min().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 100;

    fn author(number: u8) -> AuthorId {
        AuthorId([number; 32])
    }

    /// Returns the trades that one cheat agrees on with another, from the first number on.
    fn made_up(from: u16, count: u16) -> Vec<TradeId> {
        let id = |number: u16| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            TradeId(id)
        };
        (from..from + count).map(id).collect()
    }

    #[test]
    fn who_makes_up_trades_pushes_out_his_own() {
        let mut crowd = Crowd::new(MAX);
        let honest = TradeId([0xaa; 32]);
        // The seller is one of the cheats; the buyer has agreed on nothing else.
        assert_eq!(crowd.add(honest, [author(1), author(3)]), None);
        let fakes = made_up(0, 1000);
        let gone: Vec<TradeId> = fakes.iter().filter_map(|fake| crowd.add(*fake, [author(1), author(2)])).collect();
        assert_eq!(gone, fakes[..1000 - (MAX - 1)], "the oldest of theirs");
        assert!(crowd.contains(&honest));
        assert_eq!(crowd.add(honest, [author(1), author(3)]), None, "it is known");
        assert_eq!(crowd.take(usize::MAX).len(), MAX);
    }

    #[test]
    fn who_has_little_comes_first() {
        let mut crowd = Crowd::new(MAX);
        for fake in made_up(0, 50) {
            crowd.add(fake, [author(1), author(2)]);
        }
        let honest = TradeId([0xaa; 32]);
        crowd.add(honest, [author(3), author(1)]);
        assert_eq!(crowd.take(0), []);
        assert_eq!(crowd.take(2), [honest, made_up(0, 1)[0]]);
        assert_eq!(crowd.take(1000), made_up(1, 49));
        assert_eq!(crowd.take(1000), []);
    }
}
