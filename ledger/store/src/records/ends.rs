//! The ends of logs that were written lately: whoever lets a record in asks for the end of its log, several times, and most
//! records come to logs that have just grown.

use std::sync::{Mutex, MutexGuard, PoisonError};

use exchange_ledger::record::LogId;

use super::generations::Generations;
use crate::encoding::HeadRow;

/// Logs of each of the two generations: together some 3 MB.
const GENERATION: usize = 8192;

/// Only what was written is put in, by who still holds the log, and never what was read: a reader may be late.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<Generations<LogId, HeadRow, GENERATION>>);

impl Ends {
    pub fn get(&self, log: &LogId) -> Option<HeadRow> {
        self.lock().get(log)
    }

    /// Keeps ends that were just written.
    pub fn put(&self, ends: impl IntoIterator<Item = (LogId, HeadRow)>) {
        let mut kept = self.lock();
        ends.into_iter().for_each(|(log, row)| kept.insert(log, row));
    }

    fn lock(&self) -> MutexGuard<'_, Generations<LogId, HeadRow, GENERATION>> {
        // Poisoned ones are as good as others: they change in single steps, each of which says what is on disk.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
