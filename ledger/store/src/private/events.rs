//! The log of events: what clients that were away read to catch up.

use std::ops::Range;

use exchange_ledger::storage::StorageError;

use crate::db::{RawDb, WriteSet};
use crate::encoding::Versioned;
use crate::error::StoreError;
use crate::keys::{self, Family};
use crate::private::{Private, damaged, read};

/// Events kept: days of a busy node, some 20 MB.
pub const MAX_EVENTS: u64 = 100_000;

impl Private {
    /// Returns events from number `from` on, in order, at most `limit`. When the first has a higher number, those before
    /// it are no longer kept.
    ///
    /// # Errors
    /// When the disk fails, or an event is damaged or of a later version.
    pub fn events<V: Versioned>(&self, from: u64, limit: usize) -> Result<Vec<(u64, V)>, StoreError> {
        let entries = self.db.range(Family::Private, &keys::event(from), keys::end_of_prefix(keys::EVENT_PREFIX));
        let events = entries.take(limit).map(|entry| {
            let (key, value) = entry?;
            let seq = keys::number(&key).ok_or_else(|| damaged(&key))?;
            Ok((seq, read(&key, &value)?))
        });
        events.collect()
    }

    /// Returns the number that the next event will have. Numbers begin with 1 and are never given twice.
    pub fn next_event(&self) -> u64 {
        self.numbers().event
    }
}

pub(super) fn next(db: &RawDb) -> Result<u64, StorageError> {
    let Some((key, _)) = db.last(Family::Private, keys::EVENT_PREFIX)? else {
        return Ok(1);
    };
    keys::number(&key).and_then(|last| last.checked_add(1)).ok_or_else(|| damaged(&key))
}

/// Adds events, and removes as many old ones as are then too many.
pub(super) fn add(events: &[Vec<u8>], first: u64, limit: u64, writes: &mut WriteSet<'_>) -> Range<u64> {
    let mut next = first;
    for event in events {
        writes.put(Family::Private, &keys::event(next), event);
        if let Some(old) = next.checked_sub(limit) {
            writes.delete(Family::Private, &keys::event(old));
        }
        next += 1; // at a million a second, 64 bits last for 584,000 years
    }
    first..next
}
