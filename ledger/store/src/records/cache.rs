//! Records that were read lately: to judge a trade, the same few are asked for again and again, and each time their hashes
//! and what their bodies say would be computed anew.

use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};

use exchange_ledger::ids::RecordId;
use exchange_ledger::record::Record;
use lru::LruCache;

/// Records kept, as many as come with one commit: some 2 MB of usual ones, and 12 MB of the largest.
const MAX_RECORDS: NonZero<usize> = NonZero::new(2048).expect("not zero");

/// Records as they stood at one *time*, which goes on whenever a commit takes records away. What was put in before is gone
/// then, and what was read before is not put in any more; so a reader never learns of a record that was taken away before
/// he asked.
#[derive(Debug)]
pub(super) struct Cache(Mutex<Kept>);

/// What was put in at one time.
#[derive(Debug)]
struct Kept {
    time: Time,
    records: LruCache<RecordId, Record>,
}

/// When something was not in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(u64);

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(Kept { time: Time(0), records: LruCache::new(MAX_RECORDS) }))
    }
}

impl Cache {
    /// Begins a new time: before records are taken away, and again once they are gone.
    pub fn forget(&self) {
        let mut kept = self.lock();
        // First, so that nothing of an earlier time is there at a later one, whatever stops this.
        kept.records.clear();
        kept.time.0 += 1;
    }

    /// Returns a record, or else the time, for who reads it from disk after that.
    pub fn get(&self, id: &RecordId) -> Result<Record, Time> {
        let mut kept = self.lock();
        let time = kept.time;
        kept.records.get(id).cloned().ok_or(time)
    }

    /// Keeps a record that was read from disk after `time`, unless another one has begun since.
    pub fn insert(&self, time: Time, record: &Record) {
        let mut kept = self.lock();
        if kept.time == time {
            kept.records.put(record.id(), record.clone());
        }
    }

    /// Keeps records that were just written. The caller still holds their logs, so nobody has taken them away.
    pub fn insert_all(&self, records: &[Record]) {
        let mut kept = self.lock();
        for record in records {
            kept.records.put(record.id(), record.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A poisoned cache is as good as another: it changes in single steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::AuthorId;
    use exchange_ledger::record::{Header, Kind, LogId};

    use super::*;

    fn record(seq: u64) -> Record {
        let header = Header {
            network: [1, 2, 3, 4],
            log: LogId { author: AuthorId([7; 32]), epoch: 5 },
            seq,
            backlink: RecordId([0; 32]),
            time: 1_800_000_000,
            kind: Kind::Unknown(999),
            flags: 0,
            body_len: 0,
            body_hash: [0; 32],
            admission: 0,
        };
        Record::sign(header, Vec::new(), |_| [0; 64]).unwrap()
    }

    #[test]
    fn as_many_as_come_with_one_commit_are_kept_and_then_what_was_asked_for_last() {
        let cache = Cache::default();
        let records: Vec<Record> = (0..=MAX_RECORDS.get() as u64).map(record).collect();
        let (last, others) = records.split_last().unwrap();
        cache.insert_all(others);
        let is_kept = |record: &Record| cache.get(&record.id()).as_ref() == Ok(record);
        assert!(is_kept(&records[0]) && others.iter().skip(2).all(is_kept) && is_kept(&records[0]));
        cache.insert_all(std::slice::from_ref(last));
        assert!(!is_kept(&records[1]), "nobody asked for it");
        assert!(is_kept(last) && is_kept(&records[0]) && is_kept(&records[2]));
        assert_eq!(cache.lock().records.len(), MAX_RECORDS.get());
    }

    #[test]
    fn what_was_read_before_records_were_taken_away_is_not_kept() {
        let (cache, record) = (Cache::default(), record(0));
        let before = cache.get(&record.id()).unwrap_err();
        cache.forget();
        let meanwhile = cache.get(&record.id()).unwrap_err();
        cache.insert(before, &record);
        assert_eq!(cache.get(&record.id()), Err(meanwhile), "it was read too early");
        cache.insert(meanwhile, &record);
        assert_eq!(cache.get(&record.id()).as_ref(), Ok(&record));
        cache.forget();
        let after = cache.get(&record.id()).unwrap_err();
        assert_ne!(after, meanwhile, "what was kept while they were being taken away is gone");
        cache.insert(meanwhile, &record);
        assert_eq!(cache.get(&record.id()), Err(after));
        cache.insert_all(std::slice::from_ref(&record));
        assert_eq!(cache.get(&record.id()).as_ref(), Ok(&record), "who writes it knows");
    }
}
