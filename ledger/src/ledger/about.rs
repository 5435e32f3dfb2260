//! What was said about one offer or one trade. Judging a trade asks that again and again: by author, by log, by kind. The
//! records are nearly always few, and then one look at the index answers all of it.

use super::{Ledger, MAX_FACTS};
use crate::ids::{AuthorId, RecordId, TradeId};
use crate::record::{LogId, Record};
use crate::storage::{Storage, StorageError};

/// The records about a subject.
#[derive(Debug, Clone)]
pub(crate) struct About {
    subject: RecordId,
    /// All of them in the order of their places, if they are few.
    all: Option<Vec<Record>>,
}

impl<S: Storage> Ledger<S> {
    /// Reads what was said about a subject, as far as that is little.
    pub(crate) fn about(&self, subject: RecordId) -> Result<About, StorageError> {
        let ids = self.storage.about(&subject, None, MAX_FACTS)?;
        let all = if ids.len() < MAX_FACTS { Some(self.read(&ids)?) } else { None };
        Ok(About { subject, all })
    }

    /// Returns the first records of all authors about a subject, by place.
    pub(crate) fn said(&self, about: &About, limit: usize) -> Result<Vec<Record>, StorageError> {
        match &about.all {
            Some(all) => Ok(all.iter().take(limit).cloned().collect()),
            None => self.read(&self.storage.about(&about.subject, None, limit)?),
        }
    }

    /// Returns the records of one author about a subject that count, in his own order.
    pub(crate) fn said_by(&self, about: &About, author: &AuthorId) -> Result<Vec<Record>, StorageError> {
        match &about.all {
            Some(all) => Ok(all.iter().filter(|record| record.author() == *author).cloned().collect()),
            None => self.read(&self.storage.about(&about.subject, Some(author), MAX_FACTS)?),
        }
    }

    /// Returns the records of one log about a subject that count, in its order.
    pub(crate) fn said_in(&self, about: &About, log: &LogId) -> Result<Vec<Record>, StorageError> {
        match &about.all {
            Some(all) => Ok(all.iter().filter(|record| record.header().log == *log).cloned().collect()),
            None => self.read(&self.storage.about_in(&about.subject, log, MAX_FACTS)?),
        }
    }

    /// Returns the records of parties and arbiters about a trade: those of the log in which each entered it, which nothing can
    /// crowd out, and those of his other logs, where he goes on after losing the first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn facts_about(&self, trade: TradeId, home_logs: &[LogId]) -> Result<Vec<Record>, StorageError> {
        self.facts(&self.about(trade.into())?, home_logs)
    }

    pub(super) fn facts(&self, about: &About, home_logs: &[LogId]) -> Result<Vec<Record>, StorageError> {
        let is_party = |record: &&Record| home_logs.iter().any(|log| log.author == record.author());
        if let Some(all) = &about.all {
            return Ok(all.iter().filter(is_party).cloned().collect());
        }
        let mut records = Vec::new();
        for log in home_logs {
            records.extend(self.said_in(about, log)?);
            records.extend(self.said_by(about, &log.author)?);
        }
        Ok(records)
    }

    fn read(&self, ids: &[RecordId]) -> Result<Vec<Record>, StorageError> {
        ids.iter().filter_map(|id| self.storage.record(id).transpose()).collect()
    }
}
