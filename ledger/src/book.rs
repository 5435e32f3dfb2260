//! The offer book: which offers can be taken, in the order in which a taker wants to see them.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::body::{Body, Offer, Side};
use crate::ids::{AuthorId, RecordId, TradeId};
use crate::ledger::{Ledger, OfferStanding, TradeError};
use crate::money::{Currency, Price, Sats};
use crate::record::{Kind, Record};
use crate::storage::{Storage, StorageError};

/// How long after its maker's last sign of life an offer is shown as live, in seconds: three heartbeats.
pub const AWAY_AFTER_S: u64 = 3 * HEARTBEAT_INTERVAL_S;
/// How often a node with live offers says that it is there, in seconds.
pub const HEARTBEAT_INTERVAL_S: u64 = 600;

/// An offer in the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: RecordId,
    /// Who made it.
    pub maker: AuthorId,
    /// When, by his clock.
    pub created: u64,
    /// The offer.
    pub offer: Offer,
}

/// What to look for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query {
    /// Only this side of the maker.
    pub side: Option<Side>,
    /// Only this currency.
    pub currency: Option<Currency>,
    /// Only offers that can be taken for this amount.
    pub amount: Option<Sats>,
    /// Also offers whose maker is away.
    pub away: bool,
}

/// Where an offer stands in the book: by market, the best price for a taker first, then the older first.
type Rank = (Currency, Side, u64, u64, RecordId);

/// The offers that stand open. Rebuilt from the ledger at start; afterwards told of every record that came in.
#[derive(Debug, Clone, Default)]
pub struct Book {
    ranked: BTreeMap<Rank, Entry>,
    ranks: HashMap<RecordId, Rank>,
    last_seen: HashMap<AuthorId, u64>,
    closed: HashMap<AuthorId, HashSet<TradeId>>,
    arbitrated: HashMap<AuthorId, HashSet<TradeId>>,
}

impl Book {
    /// Reads the book from a ledger.
    ///
    /// # Errors
    /// When the store fails.
    pub fn load<S: Storage>(ledger: &Ledger<S>) -> Result<Self, StorageError> {
        let mut book = Self::default();
        let mut after = None;
        loop {
            let heads = ledger.storage().heads(after.as_ref(), PAGE)?;
            heads.iter().for_each(|head| book.see(head.log.author, head.time));
            after = heads.last().map(|head| head.log);
            if heads.len() < PAGE {
                break;
            }
        }
        let mut after = None;
        loop {
            let closed = ledger.storage().of_kind(Kind::Closed, after.as_ref(), PAGE)?;
            for place in &closed {
                if let Some(record) = ledger.record(&place.id)? {
                    book.count_closed(ledger, &record)?;
                }
            }
            after = closed.last().copied();
            if closed.len() < PAGE {
                break;
            }
        }
        let mut after = None;
        loop {
            let offers = ledger.storage().open_offers(after.as_ref(), PAGE)?;
            for id in &offers {
                book.refresh(ledger, id)?;
            }
            after = offers.last().copied();
            if offers.len() < PAGE {
                return Ok(book);
            }
        }
    }

    /// Takes in a record that the ledger has let in; `subjects` are those of its body.
    ///
    /// # Errors
    /// When the store fails.
    pub fn apply<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        record: &Record,
        subjects: &[RecordId],
    ) -> Result<(), StorageError> {
        self.see(record.author(), record.header().time);
        match record.header().kind {
            Kind::Offer => self.refresh(ledger, &record.id()),
            Kind::Accept | Kind::Revoke => subjects.iter().try_for_each(|subject| self.refresh(ledger, subject)),
            Kind::Heartbeat
            | Kind::ArbiterAdvert
            | Kind::Stake
            | Kind::Checkpoint
            | Kind::Take
            | Kind::Cancel
            | Kind::Funded
            | Kind::PaymentSent
            | Kind::Release
            | Kind::Unknown(_) => Ok(()),
            Kind::Closed => self.count_closed(ledger, record),
        }
    }

    /// Counts a trade that one of its parties says to have seen end on the chain.
    fn count_closed<S: Storage>(&mut self, ledger: &Ledger<S>, record: &Record) -> Result<(), StorageError> {
        let Ok(Body::Closed(closed)) = Body::decode(record) else { return Ok(()) };
        match ledger.bid(closed.trade) {
            Ok((bid, _)) if bid.role_of(&record.author()).is_some() => {
                self.closed.entry(record.author()).or_default().insert(closed.trade);
                self.arbitrated.entry(bid.arbiter).or_default().insert(closed.trade);
                Ok(())
            }
            Ok(_) | Err(TradeError::Unknown(_) | TradeError::Invalid(..)) => Ok(()),
            Err(TradeError::Storage(error)) => Err(error),
        }
    }

    /// Returns how many trades an author says to have seen end on the chain; the audit tells whether the chain agrees.
    pub fn closed_trades(&self, author: &AuthorId) -> usize {
        self.closed.get(author).map_or(0, HashSet::len)
    }

    /// Returns how many trades that named an author as their arbiter were closed, as a party of each says.
    pub fn arbitrated_trades(&self, author: &AuthorId) -> usize {
        self.arbitrated.get(author).map_or(0, HashSet::len)
    }

    /// Looks again at every offer of an author who was caught signing two histories.
    ///
    /// # Errors
    /// When the store fails.
    pub fn recheck_author<S: Storage>(&mut self, ledger: &Ledger<S>, author: &AuthorId) -> Result<(), StorageError> {
        let theirs: Vec<RecordId> = self.ranked.values().filter(|e| e.maker == *author).map(|e| e.id).collect();
        theirs.iter().try_for_each(|id| self.refresh(ledger, id))
    }

    fn see(&mut self, author: AuthorId, time: u64) {
        let seen = self.last_seen.entry(author).or_default();
        *seen = time.max(*seen);
    }

    fn refresh<S: Storage>(&mut self, ledger: &Ledger<S>, id: &RecordId) -> Result<(), StorageError> {
        if let Some(rank) = self.ranks.remove(id) {
            self.ranked.remove(&rank);
        }
        let Some((record, offer)) = ledger.offer(id)? else { return Ok(()) };
        if ledger.offer_standing(&record)? == OfferStanding::Open {
            let entry = Entry { id: *id, maker: record.author(), created: record.header().time, offer };
            let rank = rank(&entry);
            self.ranks.insert(*id, rank);
            self.ranked.insert(rank, entry);
        }
        Ok(())
    }

    /// Drops the offers that ended before `now`.
    pub fn drop_expired(&mut self, now: u64) {
        self.ranked.retain(|_, entry| entry.offer.expires > now);
        let ranked = &self.ranked;
        self.ranks.retain(|_, rank| ranked.contains_key(rank));
    }

    /// Returns the offers that match and can be taken now, ordered by market and then the best for a taker first.
    pub fn query(&self, query: Query, now: u64) -> impl Iterator<Item = &Entry> {
        let markets = self.ranked.range(market_start(query.currency)..).map(|(_, entry)| entry);
        let in_market = move |entry: &&Entry| query.currency.is_none_or(|currency| entry.offer.currency == currency);
        markets.take_while(in_market).filter(move |entry| {
            let offer = &entry.offer;
            query.side.is_none_or(|side| offer.side == side)
                && query.amount.is_none_or(|amount| (offer.min..=offer.max).contains(&amount))
                && offer.expires > now
                && (query.away || self.is_present(&entry.maker, now))
        })
    }

    /// Returns an open offer.
    pub fn get(&self, id: &RecordId) -> Option<&Entry> {
        self.ranks.get(id).and_then(|rank| self.ranked.get(rank))
    }

    /// Returns the open offers of a maker.
    pub fn of_maker(&self, maker: &AuthorId) -> impl Iterator<Item = &Entry> {
        self.ranked.values().filter(move |entry| entry.maker == *maker)
    }

    /// Returns when an author was last heard of, by his own clock.
    pub fn last_seen(&self, author: &AuthorId) -> u64 {
        self.last_seen.get(author).copied().unwrap_or_default()
    }

    /// Tells whether an author was heard of lately.
    pub fn is_present(&self, author: &AuthorId, now: u64) -> bool {
        self.last_seen(author).saturating_add(AWAY_AFTER_S) >= now
    }
}

/// How many ids are read at once.
const PAGE: usize = 512;

fn rank(entry: &Entry) -> Rank {
    let price = Price::get(entry.offer.price);
    let best_first = match entry.offer.side {
        Side::Sell => price,
        Side::Buy => u64::MAX - price,
    };
    (entry.offer.currency, entry.offer.side, best_first, entry.created, entry.id)
}

fn market_start(currency: Option<Currency>) -> Rank {
    let lowest = Currency::LOWEST;
    (currency.unwrap_or(lowest), Side::Buy, 0, 0, RecordId([0; 32]))
}

#[cfg(test)]
mod tests;
