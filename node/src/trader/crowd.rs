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

    /// Returns the trade that has to go for a new one, which can be itself: of the most crowded the oldest.
    pub fn goes_for(&self, trade: TradeId, parties: [AuthorId; 2]) -> Option<TradeId> {
        if self.contains(&trade) || self.trades.len() < self.max {
            return None;
        }
        let place = Place { number: self.came + 1, parties };
        let all = || self.trades.iter().chain([(&trade, &place)]);
        let of_author = count(all().map(|(_, place)| place));
        let order = all().map(|(trade, place)| (place.crowding(&of_author), Reverse(place.number), *trade));
        order.max().map(|(_, _, worst)| worst)
    }

    /// Adds a trade if it is new, and takes out the one that has to go for it; returns that.
    pub fn add(&mut self, trade: TradeId, parties: [AuthorId; 2]) -> Option<TradeId> {
        if self.contains(&trade) {
            return None;
        }
        let gone = self.goes_for(trade, parties);
        self.came += 1;
        self.trades.insert(trade, Place { number: self.came, parties });
        if let Some(gone) = &gone {
            self.remove(gone);
        }
        gone
    }

    /// Takes a trade out.
    pub fn remove(&mut self, trade: &TradeId) {
        self.trades.remove(trade);
    }

    /// Takes so many out at most, the least crowded first, of those alike the oldest.
    pub fn take(&mut self, most: usize) -> Vec<TradeId> {
        if most == 0 || self.trades.is_empty() {
            return Vec::new();
        }
        let of_author = count(self.trades.values());
        let mut order: Vec<(usize, u64, TradeId)> =
            self.trades.iter().map(|(trade, place)| (place.crowding(&of_author), place.number, *trade)).collect();
        order.sort_unstable();
        order.truncate(most);
        order.iter().for_each(|(_, _, trade)| self.remove(trade));
        order.into_iter().map(|(_, _, trade)| trade).collect()
    }

    /// Returns all of them, each with its parties, in the order in which they came.
    pub fn into_all(self) -> Vec<(TradeId, [AuthorId; 2])> {
        let mut all: Vec<(TradeId, Place)> = self.trades.into_iter().collect();
        all.sort_unstable_by_key(|(_, place)| place.number);
        all.into_iter().map(|(trade, place)| (trade, place.parties)).collect()
    }
}

impl Place {
    /// Returns how crowded it is: as many trades as that of its parties has who has fewer.
    fn crowding(&self, of_author: &HashMap<AuthorId, usize>) -> usize {
        self.parties.iter().filter_map(|author| of_author.get(author)).min().copied().unwrap_or(0)
    }
}

/// Returns in how many of these trades each author is.
fn count<'a>(places: impl Iterator<Item = &'a Place>) -> HashMap<AuthorId, usize> {
    let mut of_author: HashMap<AuthorId, usize> = HashMap::new();
    for author in places.flat_map(|place| place.parties) {
        *of_author.entry(author).or_default() += 1;
    }
    of_author
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
    fn what_would_go_goes_when_the_other_is_added_and_not_before() {
        let mut crowd = Crowd::new(2);
        let [first, second, third] = [1, 2, 3].map(|number| TradeId([number; 32]));
        let parties = [author(1), author(2)];
        for trade in [first, second] {
            assert_eq!(crowd.goes_for(trade, parties), None);
            crowd.add(trade, parties);
        }
        assert_eq!(crowd.goes_for(first, parties), None, "it is known");
        assert_eq!(crowd.goes_for(third, parties), Some(first));
        assert!(crowd.contains(&first) && !crowd.contains(&third), "asking changes nothing");
        assert_eq!(crowd.add(third, parties), Some(first));
        assert!(!crowd.contains(&first) && crowd.contains(&third));
        let nowhere = Crowd::new(0);
        assert_eq!(nowhere.goes_for(first, parties), Some(first), "where there is no room it has to go itself");
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

    #[test]
    fn all_come_out_in_the_order_in_which_they_came() {
        let mut crowd = Crowd::new(MAX);
        let (parties, trades) = ([author(1), author(2)], made_up(0, 50));
        for trade in trades.iter().rev() {
            crowd.add(*trade, parties);
        }
        let all: Vec<(TradeId, [AuthorId; 2])> = trades.into_iter().rev().map(|trade| (trade, parties)).collect();
        assert_eq!(crowd.into_all(), all);
    }
}
