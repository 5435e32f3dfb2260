//! One writer at a time for each log.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use exchange_ledger::record::LogId;

/// Logs that are being written. Commits to different logs run side by side and share one sync of the disk; commits to
/// one log wait for each other, so that none decides on what another is about to change. Holds no more than the logs of
/// the batches that callers are committing right now.
#[derive(Debug, Default)]
pub(crate) struct LogLocks {
    busy: Mutex<BTreeSet<LogId>>,
    freed: Condvar,
}

impl LogLocks {
    /// Waits until none of the logs is being written, and holds all of them until the guard is dropped. All are taken at
    /// once, so that two batches cannot wait for each other.
    pub fn hold(&self, logs: BTreeSet<LogId>) -> Held<'_> {
        // A poisoned set is as good as another: it changes in single steps.
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let mut busy =
            self.freed.wait_while(busy, |busy| !busy.is_disjoint(&logs)).unwrap_or_else(PoisonError::into_inner);
        busy.extend(&logs);
        Held { locks: self, logs }
    }
}

/// Logs that this thread may write.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    locks: &'a LogLocks,
    logs: BTreeSet<LogId>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut busy = self.locks.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|log| !self.logs.contains(log));
        self.locks.freed.notify_all();
    }
}
