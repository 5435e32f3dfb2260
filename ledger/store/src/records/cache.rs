//! Records that were read lately: to judge a trade, the same few are asked for again and again, and each time their hashes
//! and what their bodies say would be computed anew.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use exchange_ledger::ids::RecordId;
use exchange_ledger::record::Record;

/// Records of each of the two generations, together as many as come with one commit: some 2 MB of usual ones, and 12 MB of the
/// largest.
const GENERATION: usize = 1024;

/// Records as they stood at one *time*, which goes on whenever a commit takes records away. What an earlier time put in is
/// found no more; so a reader never learns of a record that was taken away before he asked.
#[derive(Debug, Default)]
pub(super) struct Cache {
    time: AtomicU64,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    time: u64,
    young: HashMap<RecordId, Record>,
    old: HashMap<RecordId, Record>,
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
        let mut generations = self.at(self.time());
        if let Some(record) = generations.young.get(id) {
            return Some(record.clone());
        }
        let record = generations.old.remove(id)?;
        generations.insert(record.clone());
        Some(record)
    }

    /// Keeps a record that was read from disk after `time`.
    pub fn insert(&self, time: Time, record: &Record) {
        let mut generations = self.at(self.time());
        if generations.time == time.0 {
            generations.insert(record.clone());
        }
    }

    /// Keeps records that were just written. The caller still holds their logs, so nobody has taken them away.
    pub fn insert_all(&self, records: &[Record]) {
        let mut generations = self.at(self.time());
        records.iter().for_each(|record| generations.insert(record.clone()));
    }

    /// Returns what was put in at this time or, if another thread is ahead, at its.
    fn at(&self, time: Time) -> MutexGuard<'_, Generations> {
        // A poisoned cache is as good as another: it changes in single steps.
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.time < time.0 {
            *generations = Generations { time: time.0, ..Generations::default() };
        }
        generations
    }
}

impl Generations {
    fn insert(&mut self, record: Record) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(record.id(), record);
    }
}
