//! The store: records and their indexes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use exchange_ledger::body::Body;
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::record::{Head, Kind, LogId, Record};
use exchange_ledger::storage::{Batch, Equivocation, Storage, StorageError};

use crate::db::{OpenOptions, RawDb, WriteSet};
use crate::encoding::{self, HeadRow, ProofRow, Undecodable};
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
        let logs = batch.records.iter().chain(batch.equivocations.iter().map(|proof| &proof.kept));
        self.shared.locks.hold(logs.map(|record| record.header().log).collect())
    }

    fn add(&self, batch: &Batch, writes: &mut WriteSet<'_>) -> Result<(), StorageError> {
        let mut added = BTreeSet::new();
        for record in &batch.records {
            let id = record.id();
            if !self.db().contains(Family::Records, id.as_bytes())? && added.insert(id) {
                add_record(record, writes);
            }
        }
        if !added.is_empty() {
            writes.add(keys::RECORD_COUNT, added.len() as u64); // usize is at most 64 bits
        }
        let mut proven = BTreeSet::new();
        for proof in &batch.equivocations {
            let header = proof.kept.header();
            let key = keys::place(&header.log, header.seq);
            if !self.db().contains(Family::Equivocations, &key)? && !proven.contains(&key) {
                writes.put(Family::Equivocations, &key, &encoding::encode(&ProofRow::from(proof)));
                proven.insert(key);
            }
        }
        Ok(())
    }

    /// Returns the ids of records about a subject whose places begin with `prefix`.
    fn about_within(&self, prefix: &[u8], limit: usize) -> Result<Vec<RecordId>, StorageError> {
        let entries = self.db().prefixed(Family::Subjects, prefix).take(limit);
        entries.map(|entry| entry.and_then(|(key, id)| read_id(Family::Subjects, &key, &id))).collect()
    }
}

fn add_record(record: &Record, writes: &mut WriteSet<'_>) {
    let (id, header) = (record.id(), record.header());
    writes.put(Family::Records, id.as_bytes(), &record.encode());
    writes.put(Family::Logs, &keys::place(&header.log, header.seq), id.as_bytes());
    writes.put(Family::Heads, &keys::log(&header.log), &encoding::encode(&HeadRow::from(record.as_head())));
    writes.put(Family::Kinds, &keys::kind(header.kind, &id), &[]);
    // A body that does not decode is about nothing; the record is kept as what its author signed.
    for subject in Body::decode(record).map(|body| body.subjects()).unwrap_or_default() {
        writes.put(Family::Subjects, &keys::subject(&subject, &header.log, header.seq), id.as_bytes());
    }
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

    fn of_kind(&self, kind: Kind, after: Option<&RecordId>, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        let prefix = keys::kind_prefix(kind);
        let start = after.map_or_else(|| prefix.clone(), |id| keys::after(&keys::kind(kind, id)));
        let entries = self.db().range(Family::Kinds, &start, keys::end_of_prefix(&prefix)).take(limit);
        entries
            .map(|entry| {
                entry.and_then(|(key, _)| keys::kind_id(&key).ok_or_else(|| damaged(Family::Kinds, "the key", &key)))
            })
            .collect()
    }

    fn about(
        &self,
        subject: &RecordId,
        author: Option<&AuthorId>,
        limit: usize,
    ) -> Result<Vec<RecordId>, StorageError> {
        self.about_within(&keys::subject_prefix(subject, author), limit)
    }

    fn about_in(&self, subject: &RecordId, log: &LogId, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        self.about_within(&keys::subject_in_log(subject, log), limit)
    }

    fn equivocation(&self, log: &LogId) -> Result<Option<Equivocation>, StorageError> {
        let first = self.db().prefixed(Family::Equivocations, &keys::log(log)).next().transpose()?;
        let Some((key, value)) = first else { return Ok(None) };
        let proof = read::<ProofRow>(Family::Equivocations, &key, &value)?.into_proof();
        proof.map(Some).ok_or_else(|| damaged(Family::Equivocations, "the proof", &key))
    }

    fn len(&self) -> Result<u64, StorageError> {
        let Some(bytes) = self.db().get(Family::Meta, keys::RECORD_COUNT)? else {
            return Ok(0);
        };
        let bytes = bytes.try_into().map_err(|_| damaged(Family::Meta, "the number", keys::RECORD_COUNT))?;
        Ok(u64::from_be_bytes(bytes))
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
        writes.put(Family::Equivocations, &keys::place(&log, 0), &[1, 0]);
        writes.put(Family::Kinds, &keys::kind_prefix(Kind::Offer), &[]);
        writes.put(Family::Subjects, &keys::subject(&id, &log, 0), b"not an id");
        writes.put(Family::Meta, keys::RECORD_COUNT, &[1]);
        writes.commit().unwrap();

        let abab = "ab".repeat(32);
        let cdcd = "cd".repeat(32);
        let errors = [
            (store.record(&id).unwrap_err(), abab.as_str()),
            (store.id_at(&log, 0).unwrap_err(), &cdcd),
            (store.head(&log).unwrap_err(), &cdcd),
            (store.heads(None, 9).unwrap_err(), &cdcd),
            (store.equivocation(&log).unwrap_err(), &cdcd),
            (store.of_kind(Kind::Offer, None, 9).unwrap_err(), "kinds"),
            (store.about(&id, None, 9).unwrap_err(), &cdcd),
            (store.len().unwrap_err(), "meta"),
        ];
        for (error, name) in errors {
            assert!(matches!(&error, StorageError::Damaged(what) if what.contains(name)), "{error}");
        }
    }
}
