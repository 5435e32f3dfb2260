//! The offers of one maker: which of them stand, which wait, and which are not even remembered.

use std::num::NonZero;

use lru::LruCache;

use super::MAX_LOGS;
use crate::ids::{AuthorId, RecordId};
use crate::ledger::Ledger;
use crate::record::{Head, LogId, Place, Record};
use crate::storage::{Storage, StorageError};

/// How many live offers of one author stand in the book: a trader's markets, and little enough that a crowd of identities
/// costs more than it hides.
pub const LIVE_OFFERS: usize = 8;
/// How many if a stake of his counts: a market maker's.
pub const STAKED_LIVE_OFFERS: usize = 64;
/// How many offers that wait are remembered of one author. What is beyond is read from the store when these are used up:
/// a flood of offers costs who sends it a record each, and others nothing but the disk.
pub(super) const MAX_WAITING_OFFERS: usize = 256;

/// How many authors are remembered whose last offer is gone: whoever trades posts the next one soon. Some two megabytes.
const MAX_GONE: NonZero<usize> = NonZero::new(16_384).expect("not zero");

/// What was seen of an author's logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traces {
    /// When he was last heard of, by his own clock.
    pub last_seen: u64,
    /// The epoch of his log, if he has one alone.
    only_log: Option<u32>,
}

impl Traces {
    /// Reads them from the ledger.
    pub fn read<S: Storage>(ledger: &Ledger<S>, author: &AuthorId) -> Result<Self, StorageError> {
        let heads = ledger.storage().logs_of(author, MAX_LOGS)?;
        let last_seen = heads.iter().map(|head| head.time).max().unwrap_or_default();
        let only_log = match heads.as_slice() {
            [Head { log, .. }] => Some(log.epoch),
            _ => None,
        };
        Ok(Self { last_seen, only_log })
    }

    /// Adds what a record of the author shows that was let in since.
    pub fn add(&mut self, record: &Record) {
        let header = record.header();
        self.last_seen = header.time.max(self.last_seen);
        self.only_log = self.only_log.filter(|epoch| *epoch == header.log.epoch);
    }

    /// Tells whether the author's logs are this one alone.
    pub fn are_of(&self, log: &LogId) -> bool {
        self.only_log == Some(log.epoch)
    }
}

/// What was seen of authors who have no offers left.
#[derive(Debug, Clone)]
pub(super) struct Gone(LruCache<AuthorId, Traces>);

impl Default for Gone {
    fn default() -> Self {
        Self(LruCache::new(MAX_GONE))
    }
}

impl Gone {
    pub fn put(&mut self, author: AuthorId, traces: Traces) {
        self.0.put(author, traces);
    }

    pub fn get_mut(&mut self, author: &AuthorId) -> Option<&mut Traces> {
        self.0.get_mut(author)
    }
}

/// A maker with open offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Maker {
    pub traces: Traces,
    /// When the book looks again whether he has gone silent; none while his offers stand among those of makers who are away.
    pub silence: Option<u64>,
    /// His open offers, by epoch and seq, all up to `forgotten_after`.
    pub offers: Vec<Held>,
    /// Behind the last one of the list, if there may be more.
    pub forgotten_after: Option<Position>,
}

/// An open offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub position: Position,
    pub id: RecordId,
    /// Its number in the book; none while it waits.
    pub entry: Option<u32>,
}

/// Where an offer stands among those of its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub epoch: u32,
    seq: u64,
}

impl Position {
    pub fn of(record: &Record) -> Self {
        let header = record.header();
        Self { epoch: header.log.epoch, seq: header.seq }
    }

    /// Returns the position of a place in its author's logs.
    pub const fn at(place: &Place) -> Self {
        Self { epoch: place.log.epoch, seq: place.seq }
    }

    /// Returns the end of this position in the order of all records.
    pub const fn end(self, author: AuthorId) -> Place {
        Place { log: LogId { author, epoch: self.epoch }, seq: self.seq, id: RecordId([0xff; 32]) }
    }
}

impl Maker {
    /// Tells on which shelf his offers stand.
    pub const fn is_present(&self) -> bool {
        self.silence.is_some()
    }

    /// Tells whether more of his offers may stand than are remembered.
    pub const fn is_short(&self, quota: usize) -> bool {
        self.forgotten_after.is_some() && self.offers.len() < quota
    }

    /// Remembers an open offer, unless it is beyond what is remembered.
    pub fn hold(&mut self, position: Position, id: RecordId) {
        if self.forgotten_after.is_some_and(|last| position > last) {
            return;
        }
        if let Err(at) = self.offers.binary_search_by_key(&(position, id), |held| (held.position, held.id)) {
            self.offers.insert(at, Held { position, id, entry: None });
        }
    }

    /// Forgets what is beyond `quota` and those that wait behind. Returns what has to leave the book.
    pub fn forget_beyond(&mut self, quota: usize) -> Vec<Held> {
        let kept = quota + MAX_WAITING_OFFERS;
        if self.offers.len() <= kept {
            return Vec::new();
        }
        let forgotten = self.offers.split_off(kept);
        self.forgotten_after = self.offers.last().map(|held| held.position);
        forgotten
    }
}
