//! What was said about one offer or one trade. Judging a trade asks that again and again: by author, by log, by kind. The
//! records are nearly always few, and then one look at the index answers all of it.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{Ahead, Examined, Ledger, MAX_FACTS, Seen};
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
        self.about_seen(subject, None, &Seen::default())
    }

    /// Reads what was said about a subject, as far as that is little, where it was [found](Self::foresee) if it was.
    pub(super) fn about_seen(
        &self,
        subject: RecordId,
        ahead: Option<&Ahead>,
        seen: &Seen<'_>,
    ) -> Result<About, StorageError> {
        let ids = match ahead.and_then(|ahead| ahead.about(&subject)) {
            Some(places) => places.iter().map(|place| place.id).collect(),
            None => self.storage.about(&subject, None, MAX_FACTS)?,
        };
        let all = if ids.len() < MAX_FACTS {
            Some(ids.iter().filter_map(|id| self.record_seen(id, seen).transpose()).collect::<Result<_, _>>()?)
        } else {
            None
        };
        Ok(About { subject, all })
    }

    /// Returns a record, as it was [read](Self::read_ahead) together with others if it was.
    pub(super) fn record_seen(&self, id: &RecordId, seen: &Seen<'_>) -> Result<Option<Record>, StorageError> {
        match seen.records.get(id) {
            Some(record) => Ok(Some(record.clone())),
            None => self.storage.record(id),
        }
    }

    /// Returns what was said about a trade: what counts of its parties and arbiters, however many others speak of it, and
    /// the first `limit` records of all by place. Tells whether that is everything.
    pub(crate) fn said<'a>(
        &self,
        examined: &'a Examined,
        limit: usize,
    ) -> Result<(Cow<'a, [Record]>, bool), StorageError> {
        let Examined { about_trade, said, .. } = examined;
        if let Some(all) = &about_trade.all {
            return Ok((Cow::Borrowed(all.as_slice()), true));
        }
        let mut ids = self.storage.about(&about_trade.subject, None, limit)?;
        let is_all = ids.len() < limit;
        let known: HashSet<RecordId> = said.iter().map(Record::id).collect();
        ids.retain(|id| !known.contains(id));
        let mut all = said.clone();
        all.extend(self.read(&ids)?);
        Ok((Cow::Owned(all), is_all))
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

    pub(crate) fn facts(&self, about: &About, home_logs: &[LogId]) -> Result<Vec<Record>, StorageError> {
        let is_party = |record: &&Record| home_logs.iter().any(|log| log.author == record.author());
        if let Some(all) = &about.all {
            return Ok(all.iter().filter(is_party).cloned().collect());
        }
        let mut ids = Vec::new();
        for log in home_logs {
            ids.extend(self.storage.about_in(&about.subject, log, MAX_FACTS)?);
            ids.extend(self.storage.about(&about.subject, Some(&log.author), MAX_FACTS)?);
        }
        let mut known = HashSet::new();
        ids.retain(|id| known.insert(*id));
        self.read(&ids)
    }

    fn read(&self, ids: &[RecordId]) -> Result<Vec<Record>, StorageError> {
        ids.iter().filter_map(|id| self.storage.record(id).transpose()).collect()
    }
}
