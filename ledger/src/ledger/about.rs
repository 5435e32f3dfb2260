//! What was said about one offer or one trade. Judging a trade asks that again and again: by author, by log, by kind. The
//! records are nearly always few, and then one look at the index answers all of it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::{Examined, Ledger, MAX_FACTS, Seen};
use crate::body::Body;
use crate::ids::{AuthorId, RecordId, TradeId};
use crate::record::{LogId, Place, Record};
use crate::storage::{Storage, StorageError};

/// How many records about trades that are judged together are read together, which is 4 MB at most: those of more are read one
/// by one.
const MAX_AHEAD: usize = 512;

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
        self.about_seen(subject, &Seen::default())
    }

    /// Reads what was said about a subject, as far as that is little, where it was [found](Self::foresee) if it was.
    pub(super) fn about_seen(&self, subject: RecordId, seen: &Seen) -> Result<About, StorageError> {
        let ids = match seen.about.get(&subject) {
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

    /// Returns a record, as it was [read](Self::foresee) together with others if it was.
    pub(super) fn record_seen(&self, id: &RecordId, seen: &Seen) -> Result<Option<Record>, StorageError> {
        match seen.records.get(id) {
            Some(record) => Ok(Some(record.clone())),
            None => self.storage.record(id),
        }
    }

    /// Reads trades, their offers and what was said about both, for who is about to judge all of them.
    pub(crate) fn foresee(&self, takes: &[Place]) -> Result<Seen, StorageError> {
        let takes = self.storage.read_many(takes, &[])?;
        let bid = |take: &Record| match take.decoded().map(|body| &**body) {
            Ok(Body::Take(body)) => Some((take.id(), body.offer)),
            Ok(_) | Err(_) => None,
        };
        let bids: Vec<(RecordId, RecordId)> = takes.iter().filter_map(bid).collect();
        let subjects: Vec<RecordId> = bids.iter().flat_map(|(take, offer)| [*take, *offer]).collect();
        let mut about: HashMap<RecordId, Vec<Place>> =
            subjects.iter().copied().zip(self.storage.about_each(&subjects, MAX_FACTS)?).collect();
        // What much is said about is read when its turn comes: then the trade and its offer both, or the one would be judged by
        // what was said of the other before.
        let is_much = |subject: &RecordId| about[subject].len() >= MAX_FACTS;
        let crowded: Vec<(RecordId, RecordId)> =
            bids.iter().filter(|(take, offer)| is_much(take) || is_much(offer)).copied().collect();
        for (take, offer) in crowded {
            about.remove(&take);
            about.remove(&offer);
        }
        // An acceptance is about both.
        let mut said: Vec<Place> = about.values().flatten().copied().collect();
        said.sort_unstable();
        said.dedup();
        said.truncate(MAX_AHEAD);
        let offers: Vec<RecordId> = bids.into_iter().map(|(_, offer)| offer).collect();
        let others = self.storage.read_many(&said, &offers)?;
        let records = takes.into_iter().chain(others).map(|record| (record.id(), record)).collect();
        Ok(Seen { about, records, ..Seen::default() })
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
