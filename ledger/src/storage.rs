//! What the ledger needs of a store. [`MemoryStorage`] is the one for tests and tools; a node's is on disk. A [`Wrapper`] is one
//! around another.

use std::collections::BTreeMap;

use crate::ids::{AuthorId, RecordId};
use crate::record::{Head, Kind, LogId, MAX_LOG_LEN, Place, Record};

mod memory;
mod wrapper;

pub use memory::MemoryStorage;
pub use wrapper::Wrapper;

/// Behind the last place that a record of one author can have.
const END: u64 = (1_u64 << 32) * MAX_LOG_LEN;

/// A store that failed. The ledger passes it on unchanged.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk is full: nothing of the batch was kept.
    #[error("the disk is full: {0}; free some space, nothing was lost")]
    Full(String),
    /// Bytes on disk are not what was written.
    #[error(
        "the ledger on disk is damaged: {0}; stop the node, keep the directory as it is, and restore it from a backup"
    )]
    Damaged(String),
    /// Anything else the system says.
    #[error("the ledger on disk cannot be used: {0}")]
    Io(String),
}

/// Two records of one author at the same place of one log: proof that he signed two histories. Self-contained, and the
/// same at every node that holds the same records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivocation {
    /// The one with the smaller id.
    pub first: Record,
    /// The other.
    pub second: Record,
}

/// What changes together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// New records: those of one log stand in its order and continue it without a gap.
    pub records: Vec<Record>,
    /// What logs become whose authors signed two histories; done after the records are added.
    pub forks: BTreeMap<LogId, Fork>,
}

impl Batch {
    /// Tells whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.forks.is_empty()
    }
}

/// Where a record of a chain stands by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aged {
    /// The record's time.
    pub time: u64,
    /// Where it stands.
    pub place: Place,
}

impl Aged {
    /// Returns where a record stands by age.
    pub fn of(record: &Record) -> Self {
        Self { time: record.header().time, place: record.place() }
    }
}

/// The end of a forked log: its chain is what stands below `from`, followed by exactly these frozen records. Whatever else
/// stood at or after `from`, in the chain or frozen, is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// The first place for which the author signed two records.
    pub from: u64,
    /// The records that are kept from there on, by seq and id. Never empty.
    pub frozen: Vec<Record>,
}

/// What the ledger needs of a store. Every list is bounded by its `limit`.
///
/// A log is a *chain*, and, if its author signed two histories, the *frozen* records after it. Every question that does
/// not name one of the two is about both.
pub trait Storage {
    /// Returns a record.
    fn record(&self, id: &RecordId) -> Result<Option<Record>, StorageError>;

    /// Returns the places of records, in no order. Those that are frozen may be left out. A store on disk finds many at once
    /// for less than one by one.
    fn places(&self, ids: &[RecordId]) -> Result<Vec<Place>, StorageError> {
        let records = ids.iter().filter_map(|id| self.record(id).transpose());
        records.map(|record| record.map(|record| record.place())).collect()
    }

    /// Returns the records that stand at these places, in no order. What is frozen or cannot be read may be left out, for who
    /// asks for it alone. A store on disk reads many at once for less than one by one.
    fn read_many(&self, places: &[Place]) -> Result<Vec<Record>, StorageError> {
        places.iter().filter_map(|place| self.record(&place.id).transpose()).collect()
    }

    /// Returns the id of the record at a place of a chain.
    fn id_at(&self, log: &LogId, seq: u64) -> Result<Option<RecordId>, StorageError>;

    /// Returns the records of a chain from `from` on, in order.
    fn range(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StorageError>;

    /// Returns the frozen records of a log by seq and id; none if it has not forked.
    fn frozen(&self, log: &LogId) -> Result<Vec<Record>, StorageError>;

    /// Tells whether any log of an author has forked.
    fn is_forked(&self, author: &AuthorId) -> Result<bool, StorageError>;

    /// Returns the end of a log.
    fn head(&self, log: &LogId) -> Result<Option<Head>, StorageError>;

    /// Returns the ends of logs after `after`, in their order.
    fn heads(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError>;

    /// Returns the ends of logs that have forked, after `after`, in their order.
    fn forked(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError>;

    /// Returns the ends of an author's logs, by epoch.
    fn logs_of(&self, author: &AuthorId, limit: usize) -> Result<Vec<Head>, StorageError>;

    /// Returns the first record of a chain that has the critical flag and a kind that this code does not know.
    fn first_critical(&self, log: &LogId) -> Result<Option<Place>, StorageError>;

    /// Returns the places of records of a kind after `after`, in order; none of a kind that is not
    /// [listed](Kind::is_listed).
    fn of_kind(&self, kind: Kind, after: Option<&Place>, limit: usize) -> Result<Vec<Place>, StorageError>;

    /// Returns the places of an author's records of a kind after `after`, in order; none of a kind that is not listed.
    fn of_kind_by(
        &self,
        kind: Kind,
        author: &AuthorId,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Place>, StorageError>;

    /// Returns the place of an author's last record of a kind. Each question halves where it can stand, so that it costs
    /// the same however many there are.
    fn last_of_kind_by(&self, kind: Kind, author: &AuthorId) -> Result<Option<Place>, StorageError> {
        let number = |place: &Place| u64::from(place.log.epoch) * MAX_LOG_LEN + place.seq;
        let first_from = |after: Option<&Place>| -> Result<Option<Place>, StorageError> {
            Ok(self.of_kind_by(kind, author, after, 1)?.first().copied())
        };
        let Some(mut last) = first_from(None)? else { return Ok(None) };
        // None stands at `high` or behind it; whether any stands before, from `low` on, is not known yet.
        let (mut low, mut high) = (number(&last) + 1, END);
        while low < high {
            let middle = low + (high - low) / 2;
            let epoch = u32::try_from(middle / MAX_LOG_LEN).unwrap_or(u32::MAX);
            let log = LogId { author: *author, epoch };
            match first_from(Some(&Place { log, seq: middle % MAX_LOG_LEN, id: RecordId([0; 32]) }))? {
                Some(place) => (last, low) = (place, number(&place) + 1),
                None => high = middle,
            }
        }
        Ok(Some(last))
    }

    /// Returns ids of records about a subject (see [`Body::subjects`](crate::body::Body::subjects)) in the order of their
    /// places; of one author only if asked. So the first records of an author stay the first, whatever he or anyone adds.
    fn about(&self, subject: &RecordId, author: Option<&AuthorId>, limit: usize)
    -> Result<Vec<RecordId>, StorageError>;

    /// Returns the places of records about each of these subjects, of all authors, as [`Storage::about`] returns their ids: a
    /// store on disk finds many with one walk.
    fn about_each(&self, subjects: &[RecordId], limit: usize) -> Result<Vec<Vec<Place>>, StorageError>;

    /// Returns the first author after `after` who wrote about a subject, with one look: who goes from one author to the next
    /// so is kept from none by how much another wrote.
    fn next_about(&self, subject: &RecordId, after: Option<&AuthorId>) -> Result<Option<AuthorId>, StorageError>;

    /// Returns ids of the first records of one log about a subject, in its order. Nothing that anyone adds later, not even
    /// the author in another log, changes what stands here first.
    fn about_in(&self, subject: &RecordId, log: &LogId, limit: usize) -> Result<Vec<RecordId>, StorageError>;

    /// Returns ids of offers that may stand open after `after`, by id: a superset of those that do, so that a book is read
    /// without all offers that ever were. One is missing if its maker accepted a bid only after so many records about it that this
    /// does not count: nobody can agree on such an offer any more.
    ///
    /// An offer enters with its record into a chain, and again with its body if that comes back, whatever was said of it
    /// meanwhile. It leaves with the first `Accept` that names it in its own log, the first `Revoke` about it by its author, when it
    /// loses its body, when a fork takes it out of the chain, or by [`Storage::forget_open`].
    fn open_offers(&self, after: Option<&RecordId>, limit: usize) -> Result<Vec<RecordId>, StorageError>;

    /// Drops offers from [`Storage::open_offers`] whose time is over. Their records stay.
    fn forget_open(&mut self, offers: &[RecordId]) -> Result<(), StorageError>;

    /// Returns how many records there are.
    fn len(&self) -> Result<u64, StorageError>;

    /// Keeps a batch durably: when this returns, a power cut loses nothing of it.
    fn commit(&mut self, batch: &Batch) -> Result<(), StorageError>;

    /// Returns records of chains whose bodies are here and may be dropped by kind and length
    /// ([`may_be_bare`](crate::retention::may_be_bare)), of a time before `before`, after `after`, the oldest first, those of
    /// one time in an order of the store's own.
    fn droppable(&self, before: u64, after: Option<&Aged>, limit: usize) -> Result<Vec<Aged>, StorageError>;

    /// Returns the bare records of chains of a time from `since` on, after `after`, in the same order.
    fn bare(&self, since: u64, after: Option<&Aged>, limit: usize) -> Result<Vec<Aged>, StorageError>;

    /// Drops the bodies of these records for good, all of them or none; of those that are not in a chain, are bare already or
    /// may not be bare, nothing. Afterwards the store is as if they had come bare.
    fn drop_bodies(&mut self, records: &[RecordId]) -> Result<(), StorageError>;

    /// Keeps these records, which have their bodies, in the place of the same ones that are bare in their chains; the others are
    /// passed over. Afterwards the store is as if they had come whole, and [`Storage::open_offers`] as if they came now.
    fn keep_bodies(&mut self, records: &[Record]) -> Result<(), StorageError>;

    /// Tells whether there are no records.
    fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(self.len()? == 0)
    }

    /// Returns the proof that an author signed two histories in a log.
    fn equivocation(&self, log: &LogId) -> Result<Option<Equivocation>, StorageError> {
        let mut frozen = self.frozen(log)?.into_iter();
        Ok(frozen.next().zip(frozen.next()).map(|(first, second)| Equivocation { first, second }))
    }
}
