//! The offer book: which offers can be taken, in the order in which a taker wants to see them.
//!
//! Of each maker's open offers only the first few stand (`specs/quotas.md`), and those of makers who have gone silent stand
//! on a shelf of their own. So a question goes through what can be taken, and through nothing else.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::body::{Accept, Body, Offer, Revoke, Side};
use crate::ids::{AuthorId, RecordId};
use crate::ledger::Ledger;
use crate::money::{Currency, Price, Sats};
use crate::record::Record;
use crate::storage::{Storage, StorageError};

mod changes;
mod ended;
mod makers;
mod marks;
mod rank;
mod shelf;

use changes::drop_where;
use ended::Ended;
use makers::{Gone, Held, Maker};
use marks::Word;
use shelf::{Shelf, Slot, Spot};

pub use changes::last_sign_of_life;
pub use makers::{LIVE_OFFERS, STAKED_LIVE_OFFERS};
pub use marks::{MAX_ASKED_WORDS, MAX_WORDS, Words};
pub use rank::{NotARank, Rank};

/// How long after its maker's last sign of life an offer is shown as live, in seconds: three heartbeats.
pub const AWAY_AFTER_S: u64 = 3 * HEARTBEAT_INTERVAL_S;
/// How often a node with live offers says that it is there, in seconds.
pub const HEARTBEAT_INTERVAL_S: u64 = 600;
/// How many logs of a maker are looked at for his last sign of life. A log costs work; a trader has one for each machine.
const MAX_LOGS: usize = 256;
/// The fewest hex digits of a maker's id that are taken for one: a shorter text is a word.
pub const MIN_PREFIX: usize = 8;
/// How many makers with one beginning of their ids are found.
pub const MAX_PREFIXED: usize = 8;
/// How many ids are read at once.
const PAGE: usize = 512;

/// An offer that stands in the book: what decides whether and where it is shown. The rest is in its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: RecordId,
    /// Who made it.
    pub maker: AuthorId,
    /// When, by his clock.
    pub created: u64,
    /// When it ends.
    pub expires: u64,
    /// Whether the maker buys or sells.
    pub side: Side,
    /// The other money.
    pub currency: Currency,
    /// The price.
    pub price: Price,
    /// The smallest amount.
    pub min: Sats,
    /// The largest amount.
    pub max: Sats,
    words: Box<[Word]>,
}

impl Entry {
    fn new(record: &Record, offer: &Offer) -> Self {
        Self {
            id: record.id(),
            maker: record.author(),
            created: record.header().time,
            expires: offer.expires,
            side: offer.side,
            currency: offer.currency,
            price: offer.price,
            min: offer.min,
            max: offer.max,
            words: marks::words_of(offer),
        }
    }

    /// Returns where it stands.
    pub const fn rank(&self) -> Rank {
        let best_first = Rank::best_first(self.side, self.price);
        Rank { currency: self.currency, side: self.side, best_first, created: self.created, id: self.id }
    }
}

/// What to look for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only this side of the maker.
    pub side: Option<Side>,
    /// Only this currency.
    pub currency: Option<Currency>,
    /// Only offers that can be taken for this amount.
    pub amount: Option<Sats>,
    /// Also offers whose maker is away.
    pub away: bool,
    /// Only what stands behind this place.
    pub after: Option<Rank>,
    /// Only offers of these makers; of all when it is empty.
    pub makers: Vec<AuthorId>,
    /// Only offers in whose payment methods, currency or terms each of these words stands.
    pub words: Words,
}

impl Query {
    /// Tells whether an offer matches, but for its maker's being there.
    fn admits(&self, entry: &Entry) -> bool {
        self.side.is_none_or(|side| entry.side == side)
            && self.currency.is_none_or(|currency| entry.currency == currency)
            && self.amount.is_none_or(|amount| (entry.min..=entry.max).contains(&amount))
            && self.words.0.iter().all(|word| entry.words.contains(word))
            && self.after.is_none_or(|after| entry.rank() > after)
    }
}

/// What the book knows of an open offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It stands in the book.
    Stands,
    /// It waits until an earlier offer of its maker ends.
    Waits,
}

/// The offers that stand open. Read from the ledger at start; afterwards told of every record that came in.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// By number; those of `free` mean nothing.
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    present: Shelf,
    away: Shelf,
    makers: HashMap<AuthorId, Maker>,
    /// Those who were makers a while ago.
    gone: Gone,
    /// When the makers who are present are looked at again, whether they have gone silent.
    silences: BTreeSet<(u64, AuthorId)>,
    /// When offers end, with their makers and numbers.
    ends: BTreeSet<(u64, u32)>,
    staked: HashSet<AuthorId>,
    /// The makers of whom more offers are to be read.
    short: BTreeSet<AuthorId>,
    /// Whose were read last.
    last_short: Option<AuthorId>,
    /// How many offers were read so since the time passed.
    read: usize,
    /// Offers that ended and that the store may list as open.
    ended: Ended,
    /// Whether some found no room there, so that the store's list has to be gone through again.
    overlooked: bool,
    /// Up to where it was.
    looked_up_to: Option<RecordId>,
    now: u64,
}

impl Book {
    /// Reads the book from a ledger. Only offers that may stand open are read.
    ///
    /// # Errors
    /// When the store fails.
    pub fn load<S: Storage>(ledger: &Ledger<S>, now: u64) -> Result<Self, StorageError> {
        Self { now, ..Self::default() }.filled(ledger)
    }

    /// Reads what may stand open into a new book.
    fn filled<S: Storage>(mut self, ledger: &Ledger<S>) -> Result<Self, StorageError> {
        let mut after = None;
        loop {
            let offers = ledger.storage().open_offers(after.as_ref(), PAGE)?;
            for id in &offers {
                if let Some((record, offer)) = ledger.offer(id)? {
                    self.add(ledger, &record, &offer, false)?;
                }
            }
            after = offers.last().copied();
            if offers.len() < PAGE {
                return Ok(self);
            }
        }
    }

    /// Takes in a record that the ledger has let in, with its body. Those of one log are told in its order.
    ///
    /// # Errors
    /// When the store fails.
    pub fn apply<S: Storage>(&mut self, ledger: &Ledger<S>, record: &Record, body: &Body) -> Result<(), StorageError> {
        self.see(record);
        match body {
            Body::Offer(offer) => self.add(ledger, record, offer, true),
            Body::Accept(Accept { offer, .. }) | Body::Revoke(Revoke { offer }) => self.close(ledger, record, offer),
            Body::Heartbeat
            | Body::ArbiterAdvert(_)
            | Body::GroupAdvert(_)
            | Body::GroupStep(_)
            | Body::Stake(_)
            | Body::Checkpoint(_)
            | Body::Take(_)
            | Body::Cancel(_)
            | Body::Funded(_)
            | Body::PaymentSent(_)
            | Body::Release(_)
            | Body::Closed(_)
            | Body::Dispute(_)
            | Body::Ruling(_)
            | Body::Extend(_)
            | Body::Unknown(_) => Ok(()),
        }
    }

    /// Takes in an offer whose body came back, if it is open: what was said of it meanwhile has been told already.
    ///
    /// # Errors
    /// When the store fails.
    pub fn restore<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        record: &Record,
        offer: &Offer,
    ) -> Result<(), StorageError> {
        self.add(ledger, record, offer, false)
    }

    /// Looks again at every offer of an author who was caught signing two histories.
    ///
    /// # Errors
    /// When the store fails.
    pub fn recheck_author<S: Storage>(&mut self, ledger: &Ledger<S>, author: &AuthorId) -> Result<(), StorageError> {
        self.recheck(ledger, author)
    }

    /// Lets the time pass: what has ended leaves, what waited takes its place, and makers who have gone silent are away.
    /// Returns the offers that ended, those too that never stood, by a time that is `sure`: a store need not list them as open
    /// any more. A clock that is ahead hides what is open; it must not make the store forget it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn advance<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        now: u64,
        sure: u64,
    ) -> Result<Vec<RecordId>, StorageError> {
        (self.now, self.read) = (now, 0);
        self.take_back(ledger)?;
        self.read_on(ledger)?;
        while let Some((expires, number)) = self.ends.first().copied().filter(|(expires, _)| *expires <= now) {
            let Some((id, maker)) = self.entry(number).map(|entry| (entry.id, entry.maker)) else { break };
            self.note_ended(id, expires);
            self.change(ledger, &maker, None, |maker| drop_where(maker, |held| held.id == id))?;
        }
        while let Some((deadline, author)) = self.silences.first().copied().filter(|(deadline, _)| *deadline < now) {
            self.silences.remove(&(deadline, author));
            let Some(maker) = self.makers.get_mut(&author) else { continue };
            let deadline = maker.traces.last_seen.saturating_add(AWAY_AFTER_S);
            if deadline >= now {
                maker.silence = Some(deadline);
                self.silences.insert((deadline, author));
            } else {
                maker.silence = None;
                self.move_maker(&author);
            }
        }
        self.look_again(ledger)?;
        Ok(self.ended.take_until(now.min(sure)))
    }

    /// Says whose stake counts: more of their offers stand.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_staked<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        staked: HashSet<AuthorId>,
    ) -> Result<(), StorageError> {
        let before = std::mem::replace(&mut self.staked, staked);
        let changed: Vec<AuthorId> = before.symmetric_difference(&self.staked).copied().collect();
        changed.iter().try_for_each(|author| self.change(ledger, author, None, |_| Vec::new()))
    }

    /// Returns the makers of whom more offers are open than stand without a stake.
    pub fn crowded(&self) -> HashSet<AuthorId> {
        let crowded = self.makers.iter().filter(|(_, maker)| maker.offers.len() > LIVE_OFFERS);
        crowded.map(|(author, _)| *author).collect()
    }

    /// Returns how many offers of an author may stand at once.
    pub fn quota(&self, author: &AuthorId) -> usize {
        if self.staked.contains(author) { STAKED_LIVE_OFFERS } else { LIVE_OFFERS }
    }

    /// Returns the first offers that match and can be taken now, by market and then the best for a taker first.
    pub fn query(&self, query: &Query, now: u64, limit: usize) -> Vec<&Entry> {
        self.matching(query, now).take(limit).collect()
    }

    fn matching<'a, 'q>(&'a self, query: &'q Query, now: u64) -> impl Iterator<Item = &'a Entry> + use<'a, 'q> {
        let mut asked = Vec::with_capacity(marks::MAX_ASKED);
        asked.extend(query.side.map(marks::side));
        asked.extend(query.amount.map(marks::amount));
        asked.extend(query.words.0.iter().map(|word| marks::bucket(*word)));
        // Who has gone silent since the book was last told the time is left out. Before the first of those who are there is looked at
        // again, none of them has.
        let is_there = move |entry: &Entry| query.away || self.is_present(&entry.maker, now);
        let are_all_there = self.silences.first().is_none_or(|(deadline, _)| *deadline >= now);
        let mut of_makers: Vec<&Entry> = query.makers.iter().flat_map(|maker| self.standing(maker)).collect();
        of_makers.retain(|entry| query.admits(entry) && is_there(entry));
        of_makers.sort_unstable_by_key(|entry| entry.rank());
        let mut present = self.on_shelf(&self.present, query, asked.clone()).peekable();
        let away = query.away.then(|| self.on_shelf(&self.away, query, asked));
        let mut away = away.into_iter().flatten().peekable();
        let merged = std::iter::from_fn(move || match (present.peek(), away.peek()) {
            (Some(one), Some(other)) if one.rank() > other.rank() => away.next(),
            (Some(_), _) => present.next(),
            (None, _) => away.next(),
        });
        let merged = merged.filter(move |entry| are_all_there || is_there(entry));
        let found = query.makers.is_empty().then_some(merged).into_iter().flatten().chain(of_makers);
        found.filter(move |entry| entry.expires > now) // what has ended since then is left out as well
    }

    /// Returns the offers of a shelf that match, in order.
    fn on_shelf<'a, 'q>(
        &'a self,
        shelf: &'a Shelf,
        query: &'q Query,
        asked: Vec<marks::Mark>,
    ) -> impl Iterator<Item = &'a Entry> + use<'a, 'q> {
        let (start, end) = self.market(shelf, query);
        let fits = |slot: &Slot| query.amount.is_none_or(|amount| (slot.min..=slot.max).contains(&amount));
        let entries = shelf.bearing(start, end, asked).filter(fits).filter_map(|slot| self.entry(slot.entry));
        entries.filter(|entry| query.words.0.iter().all(|word| entry.words.contains(word)))
    }

    /// Returns the part of a shelf in which a question is answered.
    fn market(&self, shelf: &Shelf, query: &Query) -> (Spot, Spot) {
        let rank = |number| self.entry(number).map(Entry::rank);
        let side = query.side.unwrap_or(Side::Buy);
        let first = Rank::first_of(query.currency.unwrap_or(Currency::LOWEST), side);
        let start = shelf.find(|number| {
            rank(number).is_some_and(|rank| {
                (query.currency.is_some() && rank < first) || query.after.is_some_and(|after| rank <= after)
            })
        });
        let last_side = query.side.unwrap_or(Side::Sell);
        let end = shelf.find(|number| {
            rank(number).is_some_and(|rank| {
                query.currency.is_none_or(|currency| (rank.currency, rank.side) <= (currency, last_side))
            })
        });
        (start, end)
    }

    /// Returns how many offers of makers who are there stand in the book.
    pub fn live(&self) -> usize {
        self.present.len()
    }

    /// Returns what the book knows of an offer of a maker; `None` if it is not open, or waits behind too many others.
    pub fn place_of(&self, maker: &AuthorId, id: &RecordId) -> Option<Place> {
        self.of_maker(maker).find(|(offer, _)| offer == id).map(|(_, place)| place)
    }

    /// Returns the makers whose ids begin with a text of at least [`MIN_PREFIX`] hex digits, at most [`MAX_PREFIXED`].
    pub fn makers_from(&self, prefix: &str) -> Vec<AuthorId> {
        let prefix = prefix.trim().to_lowercase();
        if prefix.len() < MIN_PREFIX || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Vec::new();
        }
        let makers = self.makers.keys().filter(|maker| maker.to_string().starts_with(&prefix));
        makers.take(MAX_PREFIXED).copied().collect()
    }

    /// Returns the offers of a maker that stand.
    fn standing(&self, maker: &AuthorId) -> impl Iterator<Item = &Entry> {
        let offers = self.makers.get(maker).into_iter().flat_map(|maker| &maker.offers);
        offers.filter_map(|held| self.entry(held.entry?))
    }

    /// Returns the open offers of a maker, the first by epoch and seq first: those that stand, then those that wait.
    pub fn of_maker(&self, maker: &AuthorId) -> impl Iterator<Item = (RecordId, Place)> {
        let place = |held: &Held| if held.entry.is_some() { Place::Stands } else { Place::Waits };
        self.makers.get(maker).into_iter().flat_map(|maker| &maker.offers).map(move |held| (held.id, place(held)))
    }

    /// Returns when a maker with open offers was last heard of, by his own clock.
    pub fn last_seen(&self, maker: &AuthorId) -> Option<u64> {
        self.makers.get(maker).map(|maker| maker.traces.last_seen)
    }

    /// Tells whether a maker with open offers was heard of lately.
    pub fn is_present(&self, maker: &AuthorId, now: u64) -> bool {
        self.last_seen(maker).is_some_and(|last_seen| last_seen.saturating_add(AWAY_AFTER_S) >= now)
    }
}

#[cfg(test)]
mod tests;
