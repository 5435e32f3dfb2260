//! The ends of logs that were written lately: whoever lets a record in asks for the end of its log, several times, and most
//! records come to logs that have just grown.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use exchange_ledger::record::LogId;

use crate::encoding::HeadRow;

/// Logs of each of the two generations: together some 3 MB.
const GENERATION: usize = 8192;

/// Only what was written is put in, by who still holds the log, and never what was read: a reader may be late.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<LogId, HeadRow>,
    old: HashMap<LogId, HeadRow>,
}

impl Ends {
    pub fn get(&self, log: &LogId) -> Option<HeadRow> {
        let generations = self.lock();
        generations.young.get(log).or_else(|| generations.old.get(log)).cloned()
    }

    /// Keeps ends that were just written.
    pub fn put(&self, ends: impl IntoIterator<Item = (LogId, HeadRow)>) {
        let mut generations = self.lock();
        for (log, row) in ends {
            if generations.young.len() >= GENERATION {
                generations.old = std::mem::take(&mut generations.young);
            }
            generations.young.insert(log, row);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        // Poisoned ones are as good as others: they change in single steps, each of which says what is on disk.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
