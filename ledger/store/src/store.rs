//! The store: the tables of records and the private ones in one directory.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::record::{Head, Kind, LogId, Place, Record};
use exchange_ledger::storage::{Aged, Batch, Storage, StorageError};

use crate::db::{OpenOptions, RawDb};
use crate::error::StoreError;
use crate::keys::{self, Family};
use crate::log_locks::{Held, LogLocks};
use crate::migrations;
use crate::private::{Changes, Private, Written};
use crate::records::Records;

/// The ledger on disk. Clones share one open directory, which is closed with the last of them.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    db: Arc<RawDb>,
    locks: LogLocks,
    records: Records,
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
        let records = Records::new(Arc::clone(&db))?;
        Ok(Self { shared: Arc::new(Shared { db, locks: LogLocks::default(), records, private }) })
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
    /// that stand in their chains already are passed over, so a batch can be repeated.
    ///
    /// Threads that commit to different logs share one sync of the disk.
    ///
    /// # Errors
    /// When the disk is full or fails, or a record does not continue its log; then nothing of the batch is visible.
    pub fn commit(&self, batch: &Batch) -> Result<(), StorageError> {
        let _held = self.hold(batch);
        let mut writes = self.shared.db.begin();
        let pending = self.shared.records.add(batch, &mut writes)?;
        if !writes.is_empty() {
            writes.commit()?;
            self.shared.records.remember(&batch.records);
            pending.written();
        }
        Ok(())
    }

    /// Keeps records and private rows together or not at all: a record of one's own and what it means for a trade.
    ///
    /// # Errors
    /// As [`Store::commit`], and when a row is refused (see [`Private::write`]).
    pub fn commit_with(&self, batch: &Batch, changes: Changes) -> Result<Written, StoreError> {
        let _held = self.hold(batch);
        let mut writes = self.shared.db.begin();
        let pending = self.shared.records.add(batch, &mut writes)?;
        let written = self.shared.private.write_with(changes, writes)?;
        pending.written();
        Ok(written)
    }

    /// Drops offers from those that may stand open; see [`Storage::forget_open`].
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn forget_open(&self, offers: &[RecordId]) -> Result<(), StorageError> {
        let mut writes = self.shared.db.begin();
        self.shared.records.forget_open(offers, &mut writes);
        if writes.is_empty() { Ok(()) } else { writes.commit() }
    }

    /// Drops the bodies of records; see [`Storage::drop_bodies`].
    ///
    /// # Errors
    /// When the disk is full or fails; then none is gone.
    pub fn drop_bodies(&self, ids: &[RecordId]) -> Result<(), StorageError> {
        let mut bared = Vec::with_capacity(ids.len());
        for id in ids {
            let record = self.shared.records.record(id)?;
            bared.extend(record.filter(|record| !record.is_bare()).and_then(|record| record.bared()));
        }
        self.replace(&bared)
    }

    /// Gives records their bodies back; see [`Storage::keep_bodies`].
    ///
    /// # Errors
    /// When the disk is full or fails; then none has.
    pub fn keep_bodies(&self, records: &[Record]) -> Result<(), StorageError> {
        let whole: Vec<Record> = records.iter().filter(|record| !record.is_bare()).cloned().collect();
        self.replace(&whole)
    }

    fn replace(&self, records: &[Record]) -> Result<(), StorageError> {
        let _held = self.shared.locks.hold(records.iter().map(|record| record.header().log).collect());
        let mut writes = self.shared.db.begin();
        let pending = self.shared.records.replace(records, &mut writes)?;
        if !writes.is_empty() {
            writes.commit()?;
            pending.written();
        }
        Ok(())
    }

    /// Writes everything on disk anew, without what was replaced or deleted. It takes as long as copying the directory, and
    /// needs as much room; the store does this by itself, bit by bit, whenever there is enough to gain.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn compact(&self) -> Result<(), StorageError> {
        self.shared.db.compact()
    }

    /// Returns how often the write-ahead log was synced to disk since the store was opened, for metrics: commits divided
    /// by syncs tells how many commits shared one.
    pub fn wal_syncs(&self) -> u64 {
        self.shared.db.wal_syncs()
    }

    fn hold(&self, batch: &Batch) -> Held<'_> {
        let logs = batch.records.iter().map(|record| record.header().log).chain(batch.forks.keys().copied());
        self.shared.locks.hold(logs.collect())
    }
}

impl Storage for Store {
    fn record(&self, id: &RecordId) -> Result<Option<Record>, StorageError> {
        self.shared.records.record(id)
    }

    fn places(&self, ids: &[RecordId]) -> Result<Vec<Place>, StorageError> {
        self.shared.records.places(ids)
    }

    fn read_many(&self, places: &[Place]) -> Result<Vec<Record>, StorageError> {
        self.shared.records.read_many(places)
    }

    fn id_at(&self, log: &LogId, seq: u64) -> Result<Option<RecordId>, StorageError> {
        self.shared.records.id_at(log, seq)
    }

    fn range(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StorageError> {
        self.shared.records.range(log, from, limit)
    }

    fn frozen(&self, log: &LogId) -> Result<Vec<Record>, StorageError> {
        self.shared.records.frozen(log)
    }

    fn is_forked(&self, author: &AuthorId) -> Result<bool, StorageError> {
        self.shared.records.is_forked(author)
    }

    fn head(&self, log: &LogId) -> Result<Option<Head>, StorageError> {
        self.shared.records.head(log)
    }

    fn heads(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        self.shared.records.heads(after, limit)
    }

    fn forked(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        self.shared.records.forked(after, limit)
    }

    fn logs_of(&self, author: &AuthorId, limit: usize) -> Result<Vec<Head>, StorageError> {
        self.shared.records.logs_of(author, limit)
    }

    fn first_critical(&self, log: &LogId) -> Result<Option<Place>, StorageError> {
        self.shared.records.first_critical(log)
    }

    fn of_kind(&self, kind: Kind, after: Option<&Place>, limit: usize) -> Result<Vec<Place>, StorageError> {
        self.shared.records.of_kind(kind, None, after, limit)
    }

    fn of_kind_by(
        &self,
        kind: Kind,
        author: &AuthorId,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Place>, StorageError> {
        self.shared.records.of_kind(kind, Some(author), after, limit)
    }

    fn about(
        &self,
        subject: &RecordId,
        author: Option<&AuthorId>,
        limit: usize,
    ) -> Result<Vec<RecordId>, StorageError> {
        self.shared.records.about_within(&keys::subject_prefix(subject, author), limit)
    }

    fn about_each(&self, subjects: &[RecordId], limit: usize) -> Result<Vec<Vec<Place>>, StorageError> {
        self.shared.records.about_each(subjects, limit)
    }

    fn next_about(&self, subject: &RecordId, after: Option<&AuthorId>) -> Result<Option<AuthorId>, StorageError> {
        let all = keys::subject_prefix(subject, None);
        let start = match after {
            Some(author) => keys::end_of_prefix(&keys::subject_prefix(subject, Some(author))),
            None => Some(all.clone()),
        };
        // After the last author that there can be is none.
        let Some(start) = start else { return Ok(None) };
        let mut next = None;
        self.shared.db.scan(Family::Subjects, &start, keys::end_of_prefix(&all), |key, _| {
            let malformed = || {
                let (key, family) = (hex::encode(key), Family::Subjects.name());
                StorageError::Damaged(format!("the key {key} in {family} is malformed"))
            };
            let (log, _) = keys::parse_subject(key).ok_or_else(malformed)?;
            next = Some(log.author);
            Ok::<_, StorageError>(ControlFlow::Break(()))
        })?;
        Ok(next)
    }

    fn about_in(&self, subject: &RecordId, log: &LogId, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        self.shared.records.about_within(&keys::subject_in_log(subject, log), limit)
    }

    fn open_offers(&self, after: Option<&RecordId>, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        self.shared.records.open_offers(after, limit)
    }

    fn forget_open(&mut self, offers: &[RecordId]) -> Result<(), StorageError> {
        Self::forget_open(self, offers)
    }

    fn droppable(&self, before: u64, after: Option<&Aged>, limit: usize) -> Result<Vec<Aged>, StorageError> {
        self.shared.records.droppable(before, after, limit)
    }

    fn bare(&self, since: u64, after: Option<&Aged>, limit: usize) -> Result<Vec<Aged>, StorageError> {
        self.shared.records.bare(since, after, limit)
    }

    fn drop_bodies(&mut self, records: &[RecordId]) -> Result<(), StorageError> {
        Self::drop_bodies(self, records)
    }

    fn keep_bodies(&mut self, records: &[Record]) -> Result<(), StorageError> {
        Self::keep_bodies(self, records)
    }

    fn len(&self) -> Result<u64, StorageError> {
        self.shared.records.len()
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StorageError> {
        Self::commit(self, batch)
    }
}
