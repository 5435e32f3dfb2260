//! What the node keeps for itself: tables of rows, a log of events, and the answers that it gave to requests.

use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exchange_ledger::storage::StorageError;

use crate::db::{RawDb, WriteSet};
use crate::encoding::{self, Undecodable, Versioned};
use crate::error::StoreError;
use crate::keys::{self, Family, FixedKey, Key, Namespace};

mod answers;
mod events;

pub use answers::{Answer, MAX_ANSWERS, MAX_REQUEST_ID_LEN};
pub use events::MAX_EVENTS;

/// The longest row: far above what any row needs, and below what would fill a write buffer.
pub const MAX_ROW_LEN: usize = 1 << 20;
/// The longest key of a row.
const MAX_KEY_LEN: usize = 256;

/// A table: what its keys and rows are. Declared once, as a constant, by whoever owns the namespace.
#[derive(Debug)]
pub struct Table<K, V> {
    namespace: Namespace,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Versioned> Table<K, V> {
    /// Returns the table with this namespace.
    pub const fn new(namespace: Namespace) -> Self {
        Self { namespace, types: PhantomData }
    }
}

/// Rows with their keys, in the order of the keys.
type Rows<K, V> = Vec<(K, V)>;

/// The private tables.
#[derive(Debug)]
pub struct Private {
    db: Arc<RawDb>,
    /// Held over a write that takes numbers, so that nobody sees a later event before an earlier one.
    numbers: Mutex<Numbers>,
    limits: Limits,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    event: u64,
    answer: u64,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    events: u64,
    answers: u64,
}

/// What a write was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The numbers of its events, in the order in which they were added.
    pub events: Range<u64>,
}

impl Private {
    pub(crate) fn new(db: Arc<RawDb>) -> Result<Self, StorageError> {
        Self::with_limits(db, Limits { events: MAX_EVENTS, answers: MAX_ANSWERS })
    }

    fn with_limits(db: Arc<RawDb>, limits: Limits) -> Result<Self, StorageError> {
        let numbers = Numbers { event: events::next(&db)?, answer: answers::next(&db)? };
        Ok(Self { db, numbers: Mutex::new(numbers), limits })
    }

    /// Returns a row.
    ///
    /// # Errors
    /// When the disk fails, or the row is damaged or of a later version.
    pub fn get<K: Key, V: Versioned>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>, StoreError> {
        let key = keys::row(table.namespace, key);
        let Some(bytes) = self.db.get(Family::Private, &key)? else {
            return Ok(None);
        };
        read(&key, &bytes).map(Some)
    }

    /// Returns rows whose keys are in `range`, in the order of the keys, at most `limit`.
    ///
    /// # Errors
    /// When the disk fails, or a row is damaged or of a later version.
    pub fn scan<K: Key, V: Versioned>(
        &self,
        table: &Table<K, V>,
        range: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        let row = |key: &K| keys::row(table.namespace, key);
        let start = match range.start_bound() {
            Bound::Included(key) => row(key),
            Bound::Excluded(key) => keys::after(&row(key)),
            Bound::Unbounded => vec![table.namespace.byte()],
        };
        let end = match range.end_bound() {
            Bound::Included(key) => Some(keys::after(&row(key))),
            Bound::Excluded(key) => Some(row(key)),
            Bound::Unbounded => keys::end_of_prefix(&[table.namespace.byte()]),
        };
        self.rows(&start, end, limit)
    }

    /// Returns rows whose keys begin with `first`, in the order of the keys, at most `limit`.
    ///
    /// # Errors
    /// When the disk fails, or a row is damaged or of a later version.
    pub fn scan_within<A: FixedKey, B: Key, V: Versioned>(
        &self,
        table: &Table<(A, B), V>,
        first: &A,
        limit: usize,
    ) -> Result<Rows<(A, B), V>, StoreError> {
        let prefix = keys::row(table.namespace, first);
        self.rows(&prefix, keys::end_of_prefix(&prefix), limit)
    }

    fn rows<K: Key, V: Versioned>(
        &self,
        start: &[u8],
        end: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        // RocksDB takes an end before the start for a mistake; here it is an empty range.
        if end.as_deref().is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        let entries = self.db.range(Family::Private, start, end).take(limit);
        entries
            .map(|entry| {
                let (key, value) = entry?;
                let typed = key.get(1..).and_then(K::from_bytes).ok_or_else(|| damaged(&key))?;
                Ok((typed, read(&key, &value)?))
            })
            .collect()
    }

    /// Keeps a row durably.
    ///
    /// # Errors
    /// As [`Private::write`].
    pub fn put<K: Key, V: Versioned>(&self, table: &Table<K, V>, key: &K, row: &V) -> Result<(), StoreError> {
        self.write(Changes::new().put(table, key, row)).map(drop)
    }

    /// Removes a row durably; nothing happens when there is none.
    ///
    /// # Errors
    /// As [`Private::write`].
    pub fn delete<K: Key, V: Versioned>(&self, table: &Table<K, V>, key: &K) -> Result<(), StoreError> {
        self.write(Changes::new().delete(table, key)).map(drop)
    }

    /// Makes changes together or not at all; when this returns, a power cut loses nothing of them.
    ///
    /// # Errors
    /// When a row, key or request id is too long, a request was answered before, or the disk is full or fails. Then
    /// nothing was changed.
    pub fn write(&self, changes: Changes) -> Result<Written, StoreError> {
        self.write_with(changes, self.db.begin())
    }

    /// Makes changes together with what `writes` holds already.
    pub(crate) fn write_with(&self, changes: Changes, mut writes: WriteSet<'_>) -> Result<Written, StoreError> {
        if let Some((what, len, max)) = changes.too_long {
            return Err(StoreError::TooLong { what, len, max });
        }
        for (key, value) in &changes.rows {
            match value {
                Some(value) => writes.put(Family::Private, key, value),
                None => writes.delete(Family::Private, key),
            }
        }
        if changes.events.is_empty() && changes.answer.is_none() {
            if !writes.is_empty() {
                writes.commit()?;
            }
            return Ok(Written { events: 0..0 });
        }
        let mut next = self.numbers();
        let events = events::add(&changes.events, next.event, self.limits.events, &mut writes);
        let answer = match &changes.answer {
            Some(answer) => answers::add(&self.db, answer, next.answer, self.limits.answers, &mut writes)?,
            None => next.answer,
        };
        writes.commit()?;
        // Only now: a failed write used no number.
        *next = Numbers { event: events.end, answer };
        Ok(Written { events })
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        // A poisoned lock holds the numbers of the last write that succeeded.
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes to be made together or not at all.
#[derive(Debug, Default)]
#[must_use = "changes do nothing until they are written"]
pub struct Changes {
    /// By key; no value removes the row.
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    events: Vec<Vec<u8>>,
    answer: Option<(String, Answer)>,
    /// The first thing that is longer than it may be: reported when the changes are written.
    too_long: Option<(&'static str, usize, usize)>,
}

impl Changes {
    /// Returns no changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a row.
    pub fn put<K: Key, V: Versioned>(mut self, table: &Table<K, V>, key: &K, row: &V) -> Self {
        let (key, row) = (keys::row(table.namespace, key), encoding::encode(row));
        self.check("a key", key.len(), MAX_KEY_LEN);
        self.check("a row", row.len(), MAX_ROW_LEN);
        self.rows.push((key, Some(row)));
        self
    }

    /// Removes a row, if there is one.
    pub fn delete<K: Key, V: Versioned>(mut self, table: &Table<K, V>, key: &K) -> Self {
        self.rows.push((keys::row(table.namespace, key), None));
        self
    }

    /// Appends an event to the log.
    pub fn event<V: Versioned>(mut self, event: &V) -> Self {
        let event = encoding::encode(event);
        self.check("an event", event.len(), MAX_ROW_LEN);
        self.events.push(event);
        self
    }

    /// Remembers the answer to a request. When it was answered before, none of the changes is made: whoever asks twice,
    /// even at the same time, has it done once.
    ///
    /// # Panics
    /// When the changes answer a request already: they are what was done for one.
    pub fn answer(mut self, request: &str, answer: Answer) -> Self {
        self.check("a request id", request.len(), MAX_REQUEST_ID_LEN);
        self.check("an answer", answer.bytes.len(), MAX_ROW_LEN);
        let earlier = self.answer.replace((request.to_owned(), answer));
        assert!(earlier.is_none(), "changes answer one request");
        self
    }

    fn check(&mut self, what: &'static str, len: usize, max: usize) {
        if len > max && self.too_long.is_none() {
            self.too_long = Some((what, len, max));
        }
    }
}

fn read<V: Versioned>(key: &[u8], value: &[u8]) -> Result<V, StoreError> {
    encoding::decode(value).map_err(|e| match e {
        Undecodable::Newer(version) => StoreError::NewerRow { row: name(key), version },
        Undecodable::Malformed => damaged(key).into(),
    })
}

fn damaged(key: &[u8]) -> StorageError {
    StorageError::Damaged(format!("{} is malformed", name(key)))
}

fn name(key: &[u8]) -> String {
    format!("row {} in {}", hex::encode(key), Family::Private.name())
}

#[cfg(test)]
mod tests;
