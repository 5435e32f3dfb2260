//! The store: records and their indexes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use exchange_ledger::body::Body;
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::record::{Head, Kind, LogId, Place, Record};
use exchange_ledger::state::frozen_hash;
use exchange_ledger::storage::{Batch, Fork, Storage, StorageError};

use crate::db::{OpenOptions, RawDb, WriteSet};
use crate::encoding::{self, HeadRow, Undecodable};
use crate::error::StoreError;
use crate::keys::{self, Family};
use crate::log_locks::LogLocks;
use crate::migrations;
use crate::private::{Changes, Private, Written};

/// The ledger on disk. Clones share one open directory, which is closed with the last of them.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    db: Arc<RawDb>,
    locks: LogLocks,
    private: Private,
}

impl Store {
    /// Opens a directory, made if missing, and brings it to the schema of this version. No other process can open it
    /// until the store is dropped.
    ///
    /// # Errors
    /// When the directory is in use, was written by a newer version, is damaged, or the system refuses.
    pub fn open(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self, StoreError> {
        let db = Arc::new(RawDb::open(path.as_ref(), options)?);
        migrations::run(&db)?;
        let private = Private::new(Arc::clone(&db))?;
        Ok(Self { shared: Arc::new(Shared { db, locks: LogLocks::default(), private }) })
    }

    /// Returns how many handles to the open directory there are, this one included. With the last it is closed.
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.shared)
    }

    /// Returns the node's private tables.
    pub fn private(&self) -> &Private {
        &self.shared.private
    }

    /// Keeps records durably; see [`Storage::commit`], which this is without the need of an exclusive reference. Records
    /// and proofs that are here already are skipped, so a batch can be repeated.
    ///
    /// Threads that commit to different logs share one sync of the disk.
    ///
    /// # Errors
    /// When the disk is full or fails; then nothing of the batch is visible.
    pub fn commit(&self, batch: &Batch) -> Result<(), StorageError> {
        let _held = self.hold(batch);
        let mut writes = self.db().begin();
        self.add(batch, &mut writes)?;
        if writes.is_empty() { Ok(()) } else { writes.commit() }
    }

    /// Keeps records and private rows together or not at all: a record of one's own and what it means for a trade.
    ///
    /// # Errors
    /// As [`Store::commit`], and when a row is refused (see [`Private::write`]).
    pub fn commit_with(&self, batch: &Batch, changes: Changes) -> Result<Written, StoreError> {
        let _held = self.hold(batch);
        let mut writes = self.db().begin();
        self.add(batch, &mut writes)?;
        self.shared.private.write_with(changes, writes)
    }

    /// Returns how often the write-ahead log was synced to disk since the store was opened, for metrics: commits divided
    /// by syncs tells how many commits shared one.
    pub fn wal_syncs(&self) -> u64 {
        self.db().wal_syncs()
    }

    fn db(&self) -> &RawDb {
        &self.shared.db
    }

    fn hold(&self, batch: &Batch) -> crate::log_locks::Held<'_> {
        let logs = batch.records.iter().map(|record| record.header().log).chain(batch.forks.keys().copied());
        self.shared.locks.hold(logs.collect())
    }

    fn add(&self, batch: &Batch, writes: &mut WriteSet<'_>) -> Result<(), StorageError> {
        let mut added = BTreeMap::new();
        for record in &batch.records {
            let id = record.id();
            if !self.db().contains(Family::Records, id.as_bytes())? && added.insert(id, record).is_none() {
                self.append(record, &added, writes)?;
            }
        }
        let mut count = as_count(added.len());
        for (log, fork) in &batch.forks {
            count += self.freeze(log, fork, &added, writes)?;
        }
        if count != 0 {
            writes.add(keys::RECORD_COUNT, count);
        }
        Ok(())
    }

    fn append(
        &self,
        record: &Record,
        added: &BTreeMap<RecordId, &Record>,
        writes: &mut WriteSet<'_>,
    ) -> Result<(), StorageError> {
        let (id, header) = (record.id(), record.header());
        index(record, writes);
        writes.put(Family::Logs, &keys::place(&header.log, header.seq), id.as_bytes());
        writes.put(Family::Heads, &keys::log(&header.log), &encoding::encode(&HeadRow::from(record.as_head())));
        let offer_log = |offer: &RecordId| -> Result<Option<LogId>, StorageError> {
            let found = self.record(offer)?.or_else(|| added.get(offer).map(|record| (*record).clone()));
            Ok(found.map(|offer| offer.header().log))
        };
        match Body::decode(record) {
            Ok(Body::Offer(_)) => writes.put(Family::OpenOffers, id.as_bytes(), &keys::log(&header.log)),
            Ok(Body::Accept(accept)) if offer_log(&accept.offer)? == Some(header.log) => {
                writes.delete(Family::OpenOffers, accept.offer.as_bytes());
            }
            Ok(Body::Revoke(revoke)) if offer_log(&revoke.offer)?.is_some_and(|log| log.author == record.author()) => {
                writes.delete(Family::OpenOffers, revoke.offer.as_bytes());
            }
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    /// Replaces the end of a log, and returns by how much the number of records changes.
    fn freeze(
        &self,
        log: &LogId,
        fork: &Fork,
        added: &BTreeMap<RecordId, &Record>,
        writes: &mut WriteSet<'_>,
    ) -> Result<i64, StorageError> {
        let dropped = [self.range(log, fork.from, usize::MAX)?, self.frozen(log)?].concat();
        for record in &dropped {
            let place = record.place();
            unindex(record, writes);
            writes.delete(Family::Logs, &keys::place(log, place.seq));
            writes.delete(Family::Frozen, &keys::whole_place(&place));
            writes.delete(Family::OpenOffers, place.id.as_bytes());
        }
        for record in &fork.frozen {
            index(record, writes);
            writes.put(Family::Frozen, &keys::whole_place(&record.place()), &[]);
        }
        let last = match fork.from.checked_sub(1) {
            Some(seq) => {
                let new = added.values().find(|record| record.header().log == *log && record.header().seq == seq);
                let kept = self.range(log, seq, 1)?.first().map(Record::as_head);
                kept.or_else(|| new.map(|record| record.as_head()))
            }
            None => None,
        };
        let last = last.unwrap_or(Head { log: *log, len: 0, id: RecordId([0; 32]), time: 0, frozen: None });
        let ids: Vec<RecordId> = fork.frozen.iter().map(Record::id).collect();
        let head = Head { frozen: Some(frozen_hash(&ids)), ..last };
        writes.put(Family::Heads, &keys::log(log), &encoding::encode(&HeadRow::from(head)));
        Ok(as_count(fork.frozen.len()) - as_count(dropped.len()))
    }

    /// Returns places in the order of the keys of a family that begin with `prefix` and stand after `after`.
    fn places(
        &self,
        family: Family,
        prefix: &[u8],
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<Place>, StorageError> {
        let start = after.map_or_else(|| prefix.to_vec(), |key| keys::after(&key)).max(prefix.to_vec());
        let end = keys::end_of_prefix(prefix);
        if end.as_ref().is_some_and(|end| *end <= start) {
            return Ok(Vec::new());
        }
        let place = |key: &[u8]| keys::parse_place(key).ok_or_else(|| damaged(family, "the key", key));
        let entries = self.db().range(family, &start, end).take(limit);
        entries.map(|entry| entry.and_then(|(key, _)| place(&key))).collect()
    }

    fn ids_about(&self, prefix: &[u8], limit: usize) -> Result<Vec<RecordId>, StorageError> {
        let places = self.places(Family::Subjects, prefix, None, limit)?;
        Ok(places.into_iter().map(|place| place.id).collect())
    }
}

fn as_count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX) // no batch is as large
}

fn index(record: &Record, writes: &mut WriteSet<'_>) {
    let place = record.place();
    writes.put(Family::Records, place.id.as_bytes(), &record.encode());
    writes.put(Family::Kinds, &keys::kind(record.header().kind, &place), &[]);
    if record.is_critical() {
        writes.put(Family::Critical, &keys::whole_place(&place), &[]);
    }
    for subject in subjects(record) {
        writes.put(Family::Subjects, &keys::subject(&subject, &place), &[]);
    }
}

fn unindex(record: &Record, writes: &mut WriteSet<'_>) {
    let place = record.place();
    writes.delete(Family::Records, place.id.as_bytes());
    writes.delete(Family::Kinds, &keys::kind(record.header().kind, &place));
    writes.delete(Family::Critical, &keys::whole_place(&place));
    for subject in subjects(record) {
        writes.delete(Family::Subjects, &keys::subject(&subject, &place));
    }
}

/// What a record is about. A body that does not decode is about nothing; the record is kept as what its author signed.
fn subjects(record: &Record) -> Vec<RecordId> {
    Body::decode(record).map(|body| body.subjects()).unwrap_or_default()
}

impl Storage for Store {
    fn record(&self, id: &RecordId) -> Result<Option<Record>, StorageError> {
        let Some(bytes) = self.db().get(Family::Records, id.as_bytes())? else {
            return Ok(None);
        };
        let record = Record::decode(&bytes).map_err(|e| StorageError::Damaged(format!("record {id}: {e}")))?;
        if record.id() != *id {
            return Err(StorageError::Damaged(format!("in place of record {id} stands {}", record.id())));
        }
        Ok(Some(record))
    }

    fn id_at(&self, log: &LogId, seq: u64) -> Result<Option<RecordId>, StorageError> {
        let key = keys::place(log, seq);
        let Some(bytes) = self.db().get(Family::Logs, &key)? else {
            return Ok(None);
        };
        read_id(Family::Logs, &key, &bytes).map(Some)
    }

    fn head(&self, log: &LogId) -> Result<Option<Head>, StorageError> {
        let key = keys::log(log);
        let Some(bytes) = self.db().get(Family::Heads, &key)? else {
            return Ok(None);
        };
        read_head(&key, &bytes).map(Some)
    }

    fn heads(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        let start = after.map(|log| keys::after(&keys::log(log))).unwrap_or_default();
        let entries = self.db().range(Family::Heads, &start, None);
        entries.take(limit).map(|entry| entry.and_then(|(key, value)| read_head(&key, &value))).collect()
    }

    fn range(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StorageError> {
        let end = keys::end_of_prefix(&keys::log(log));
        let entries = self.db().range(Family::Logs, &keys::place(log, from), end).take(limit);
        let record = |(key, value): (Box<[u8]>, Box<[u8]>)| {
            let id = read_id(Family::Logs, &key, &value)?;
            self.record(&id)?.ok_or_else(|| StorageError::Damaged(format!("record {id} is missing")))
        };
        entries.map(|entry| entry.and_then(record)).collect()
    }

    fn frozen(&self, log: &LogId) -> Result<Vec<Record>, StorageError> {
        let mut records = Vec::new();
        for place in self.places(Family::Frozen, &keys::log(log), None, usize::MAX)? {
            records.extend(self.record(&place.id)?);
        }
        Ok(records)
    }

    fn is_forked(&self, author: &AuthorId) -> Result<bool, StorageError> {
        Ok(!self.places(Family::Frozen, author.as_bytes(), None, 1)?.is_empty())
    }

    fn logs_of(&self, author: &AuthorId, limit: usize) -> Result<Vec<Head>, StorageError> {
        let entries = self.db().prefixed(Family::Heads, author.as_bytes());
        entries.take(limit).map(|entry| entry.and_then(|(key, value)| read_head(&key, &value))).collect()
    }

    fn first_critical(&self, log: &LogId) -> Result<Option<Place>, StorageError> {
        // Those of the chain come first, by seq.
        let first = self.places(Family::Critical, &keys::log(log), None, 1)?.into_iter().next();
        Ok(match (first, self.head(log)?) {
            (Some(place), Some(head)) if place.seq < head.len => Some(place),
            (Some(_) | None, _) => None,
        })
    }

    fn of_kind(&self, kind: Kind, after: Option<&Place>, limit: usize) -> Result<Vec<Place>, StorageError> {
        self.places(Family::Kinds, &keys::kind_prefix(kind, None), after.map(|place| keys::kind(kind, place)), limit)
    }

    fn of_kind_by(
        &self,
        kind: Kind,
        author: &AuthorId,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Place>, StorageError> {
        let prefix = keys::kind_prefix(kind, Some(author));
        self.places(Family::Kinds, &prefix, after.map(|place| keys::kind(kind, place)), limit)
    }

    fn about(
        &self,
        subject: &RecordId,
        author: Option<&AuthorId>,
        limit: usize,
    ) -> Result<Vec<RecordId>, StorageError> {
        self.ids_about(&keys::subject_prefix(subject, author), limit)
    }

    fn about_in(&self, subject: &RecordId, log: &LogId, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        self.ids_about(&keys::subject_in_log(subject, log), limit)
    }

    fn open_offers(&self, after: Option<&RecordId>, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        let start = after.map(|id| keys::after(id.as_bytes())).unwrap_or_default();
        let entries = self.db().range(Family::OpenOffers, &start, None).take(limit);
        entries.map(|entry| entry.and_then(|(key, _)| read_id(Family::OpenOffers, &key, &key))).collect()
    }

    fn forget_open(&mut self, offers: &[RecordId]) -> Result<(), StorageError> {
        let mut writes = self.db().begin();
        offers.iter().for_each(|offer| writes.delete(Family::OpenOffers, offer.as_bytes()));
        if writes.is_empty() { Ok(()) } else { writes.commit() }
    }

    fn len(&self) -> Result<u64, StorageError> {
        let Some(bytes) = self.db().get(Family::Meta, keys::RECORD_COUNT)? else {
            return Ok(0);
        };
        let bytes = bytes.try_into().map_err(|_| damaged(Family::Meta, "the number", keys::RECORD_COUNT))?;
        Ok(i64::from_be_bytes(bytes).cast_unsigned())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StorageError> {
        Self::commit(self, batch)
    }
}

fn read_id(family: Family, key: &[u8], value: &[u8]) -> Result<RecordId, StorageError> {
    value.try_into().map(RecordId).map_err(|_| damaged(family, "the id", key))
}

fn read_head(key: &[u8], value: &[u8]) -> Result<Head, StorageError> {
    let log = keys::parse_log(key).ok_or_else(|| damaged(Family::Heads, "the key", key))?;
    Ok(read::<HeadRow>(Family::Heads, key, value)?.into_head(log))
}

fn read<V: encoding::Versioned>(family: Family, key: &[u8], value: &[u8]) -> Result<V, StorageError> {
    encoding::decode(value).map_err(|e| match e {
        // The schema's version tells a later program's directory; a single row of it is damage.
        Undecodable::Newer(_) | Undecodable::Malformed => damaged(family, "the value", key),
    })
}

fn damaged(family: Family, what: &str, key: &[u8]) -> StorageError {
    StorageError::Damaged(format!("{what} at {} in {} is malformed", hex::encode(key), family.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_what_was_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
        let id = RecordId([0xab; 32]);
        let log = LogId { author: AuthorId([0xcd; 32]), epoch: 1 };
        let mut writes = store.db().begin();
        writes.put(Family::Records, id.as_bytes(), b"not a record");
        writes.put(Family::Logs, &keys::place(&log, 0), b"not an id");
        writes.put(Family::Heads, &keys::log(&log), &[9]);
        writes.put(Family::Frozen, &keys::log(&log), &[]);
        writes.put(Family::Kinds, &keys::kind_prefix(Kind::Offer, None), &[]);
        writes.put(Family::Subjects, &keys::subject_in_log(&id, &log), &[]);
        writes.put(Family::Meta, keys::RECORD_COUNT, &[1]);
        writes.commit().unwrap();

        let abab = "ab".repeat(32);
        let cdcd = "cd".repeat(32);
        let errors = [
            (store.record(&id).unwrap_err(), abab.as_str()),
            (store.id_at(&log, 0).unwrap_err(), &cdcd),
            (store.head(&log).unwrap_err(), &cdcd),
            (store.heads(None, 9).unwrap_err(), &cdcd),
            (store.frozen(&log).unwrap_err(), &cdcd),
            (store.of_kind(Kind::Offer, None, 9).unwrap_err(), "kinds"),
            (store.about(&id, None, 9).unwrap_err(), &cdcd),
            (store.len().unwrap_err(), "meta"),
        ];
        for (error, name) in errors {
            assert!(matches!(&error, StorageError::Damaged(what) if what.contains(name)), "{error}");
        }
    }
}
