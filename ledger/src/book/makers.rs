//! The offers of one maker: which of them stand, which wait, and which are not even remembered.

use crate::ids::{AuthorId, RecordId};
use crate::record::{LogId, Place, Record};

/// How many live offers of one author stand in the book: a trader's markets, and little enough that a crowd of identities
/// costs more than it hides.
pub const LIVE_OFFERS: usize = 8;
/// How many if a stake of his counts: a market maker's.
pub const STAKED_LIVE_OFFERS: usize = 64;
/// How many offers that wait are remembered of one author. What is beyond is read from the store when these are used up:
/// a flood of offers costs who sends it a record each, and others nothing but the disk.
pub(super) const MAX_WAITING: usize = 256;

/// A maker with open offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Maker {
    /// When he was last heard of, by his own clock.
    pub last_seen: u64,
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
    epoch: u32,
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
        let kept = quota + MAX_WAITING;
        if self.offers.len() <= kept {
            return Vec::new();
        }
        let forgotten = self.offers.split_off(kept);
        self.forgotten_after = self.offers.last().map(|held| held.position);
        forgotten
    }
}
