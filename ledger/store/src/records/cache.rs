//! Records that were read lately: to judge a trade, the same few are asked for again and again, and each time their hashes
//! and what their bodies say would be computed anew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use exchange_ledger::ids::RecordId;
use exchange_ledger::record::Record;

use super::generations::Generations;

/// Records of each of the two generations, together as many as come with one commit: some 2 MB of usual ones, and 12 MB of the
/// largest.
const GENERATION: usize = 1024;

/// Records as they stood at one *time*, which goes on whenever a commit takes records away. What an earlier time put in is
/// found no more; so a reader never learns of a record that was taken away before he asked.
#[derive(Debug, Default)]
pub(super) struct Cache {
    time: AtomicU64,
    kept: Mutex<Kept>,
}

/// What was put in at one time.
#[derive(Debug, Default)]
struct Kept {
    time: u64,
    records: Generations<RecordId, Record, GENERATION>,
}

/// When something was read from disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(u64);

impl Cache {
    /// Returns the time, to be asked for before a record is read from disk.
    pub fn time(&self) -> Time {
        Time(self.time.load(Ordering::SeqCst))
    }

    /// Begins a new time: before records are taken away, and again once they are gone.
    pub fn forget(&self) {
        self.time.fetch_add(1, Ordering::SeqCst);
    }

    pub fn get(&self, id: &RecordId) -> Option<Record> {
        self.at(self.time()).records.renewed(id)
    }

    /// Keeps a record that was read from disk after `time`.
    pub fn insert(&self, time: Time, record: &Record) {
        let mut kept = self.at(self.time());
        if kept.time == time.0 {
            kept.records.insert(record.id(), record.clone());
        }
    }

    /// Keeps records that were just written. The caller still holds their logs, so nobody has taken them away.
    pub fn insert_all(&self, records: &[Record]) {
        let mut kept = self.at(self.time());
        records.iter().for_each(|record| kept.records.insert(record.id(), record.clone()));
    }

    /// Returns what was put in at this time or, if another thread is ahead, at its.
    fn at(&self, time: Time) -> MutexGuard<'_, Kept> {
        // A poisoned cache is as good as another: it changes in single steps.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.time < time.0 {
            *kept = Kept { time: time.0, ..Kept::default() };
        }
        kept
    }
}
