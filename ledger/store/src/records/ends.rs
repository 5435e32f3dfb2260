//! The ends of logs that were written lately: whoever lets a record in asks for the end of its log, several times, and most
//! records come to logs that have just grown.

use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};

use exchange_ledger::record::LogId;
use lru::LruCache;

use crate::encoding::HeadRow;

/// Logs whose ends are kept, some 3 MB.
const MAX_LOGS: NonZero<usize> = NonZero::new(16_384).expect("not zero");

/// Only what was written is put in, by who still holds the log, and never what was read: a reader may be late.
#[derive(Debug)]
pub(super) struct Ends(Mutex<LruCache<LogId, HeadRow>>);

impl Default for Ends {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_LOGS)))
    }
}

impl Ends {
    /// Returns the end of a log, which is kept no longer for that: what others read pushes out nothing that grows.
    pub fn get(&self, log: &LogId) -> Option<HeadRow> {
        self.lock().peek(log).cloned()
    }

    /// Keeps ends that were just written.
    pub fn put(&self, ends: impl IntoIterator<Item = (LogId, HeadRow)>) {
        let mut kept = self.lock();
        for (log, row) in ends {
            kept.put(log, row);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<LogId, HeadRow>> {
        // Poisoned ones are as good as others: they change in single steps, each of which says what is on disk.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::AuthorId;

    use super::*;

    fn log(epoch: u32) -> LogId {
        LogId { author: AuthorId([7; 32]), epoch }
    }

    fn row(number: u32) -> HeadRow {
        HeadRow::empty(number, [0; 4])
    }

    #[test]
    fn the_log_that_has_not_grown_for_longest_goes_first() {
        let (ends, most) = (Ends::default(), MAX_LOGS.get() as u32);
        ends.put((0..most).map(|epoch| (log(epoch), row(epoch))));
        ends.put([(log(0), row(most))]);
        assert_eq!(ends.get(&log(1)), Some(row(1)), "to ask is not to write");
        ends.put([(log(most), row(7))]);
        let kept = [0, 1, 2, most].map(|epoch| ends.get(&log(epoch)));
        assert_eq!(kept, [Some(row(most)), None, Some(row(2)), Some(row(7))]);
        assert_eq!(ends.lock().len(), MAX_LOGS.get());
    }
}
