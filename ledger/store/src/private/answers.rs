//! The answers that were given to requests, so that a request which is repeated is not performed again.

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::storage::StorageError;

use crate::db::{RawDb, WriteSet};
use crate::encoding::{self, Versioned};
use crate::error::StoreError;
use crate::keys::{self, Family};
use crate::private::{Private, damaged, read};

/// Answers kept: requests move money by hand or by a bot, so this is weeks, and retries come within minutes.
pub const MAX_ANSWERS: u64 = 10_000;
/// The longest id of a request: a UUID in text has 36 bytes, and callers may add a word.
pub const MAX_REQUEST_ID_LEN: usize = 64;

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Answer {
    /// When it was given, in seconds since the Unix epoch.
    pub time_s: u64,
    /// The answer, as its owner encodes it.
    pub bytes: Vec<u8>,
}

impl Versioned for Answer {
    const VERSION: u8 = 1;
}

impl Private {
    /// Returns the answer that was given to a request; `None` when there was none, or more than [`MAX_ANSWERS`] others
    /// since.
    ///
    /// # Errors
    /// When the disk fails, or the answer is damaged or of a later version.
    pub fn answer(&self, request: &str) -> Result<Option<Answer>, StoreError> {
        let key = keys::answer(request);
        let Some(bytes) = self.db.get(Family::Private, &key)? else {
            return Ok(None);
        };
        read(&key, &bytes).map(Some)
    }
}

pub(super) fn next(db: &RawDb) -> Result<u64, StorageError> {
    let Some((key, _)) = db.last(Family::Private, keys::ANSWER_ORDER_PREFIX)? else {
        return Ok(0);
    };
    keys::number(&key).and_then(|last| last.checked_add(1)).ok_or_else(|| damaged(&key))
}

/// Adds an answer as number `next`, and removes the one that is then too many. Returns the number of the next.
pub(super) fn add(
    db: &RawDb,
    (request, answer): &(String, Answer),
    next: u64,
    limit: u64,
    writes: &mut WriteSet<'_>,
) -> Result<u64, StoreError> {
    let key = keys::answer(request);
    if db.contains(Family::Private, &key)? {
        return Err(StoreError::AlreadyAnswered(request.clone()));
    }
    writes.put(Family::Private, &key, &encoding::encode(answer));
    writes.put(Family::Private, &keys::answer_order(next), request.as_bytes());
    if let Some(old) = next.checked_sub(limit) {
        remove(db, old, writes)?;
    }
    Ok(next + 1) // at a million a second, 64 bits last for 584,000 years
}

fn remove(db: &RawDb, number: u64, writes: &mut WriteSet<'_>) -> Result<(), StorageError> {
    let order = keys::answer_order(number);
    if let Some(request) = db.get(Family::Private, &order)? {
        let request = std::str::from_utf8(&request).map_err(|_| damaged(&order))?;
        writes.delete(Family::Private, &keys::answer(request));
        writes.delete(Family::Private, &order);
    }
    Ok(())
}
