//! A store that counts how many records are read.

use std::cell::Cell;

use crate::ids::{AuthorId, RecordId};
use crate::record::{Head, Kind, LogId, Place, Record};
use crate::storage::{Aged, Batch, MemoryStorage, Storage, StorageError};

pub struct Counting {
    storage: MemoryStorage,
    reads: Cell<usize>,
}

impl Counting {
    pub fn of(storage: &MemoryStorage) -> Self {
        Self { storage: storage.clone(), reads: Cell::new(0) }
    }

    /// Returns how many records were read.
    pub fn reads(&self) -> usize {
        self.reads.get()
    }

    fn count(&self, records: Vec<Record>) -> Vec<Record> {
        self.reads.set(self.reads.get() + records.len());
        records
    }
}

impl Storage for Counting {
    fn record(&self, id: &RecordId) -> Result<Option<Record>, StorageError> {
        self.reads.set(self.reads.get() + 1);
        self.storage.record(id)
    }

    fn id_at(&self, log: &LogId, seq: u64) -> Result<Option<RecordId>, StorageError> {
        self.storage.id_at(log, seq)
    }

    fn range(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StorageError> {
        self.storage.range(log, from, limit).map(|records| self.count(records))
    }

    fn frozen(&self, log: &LogId) -> Result<Vec<Record>, StorageError> {
        self.storage.frozen(log).map(|records| self.count(records))
    }

    fn is_forked(&self, author: &AuthorId) -> Result<bool, StorageError> {
        self.storage.is_forked(author)
    }

    fn head(&self, log: &LogId) -> Result<Option<Head>, StorageError> {
        self.storage.head(log)
    }

    fn heads(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        self.storage.heads(after, limit)
    }

    fn forked(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        self.storage.forked(after, limit)
    }

    fn logs_of(&self, author: &AuthorId, limit: usize) -> Result<Vec<Head>, StorageError> {
        self.storage.logs_of(author, limit)
    }

    fn first_critical(&self, log: &LogId) -> Result<Option<Place>, StorageError> {
        self.storage.first_critical(log)
    }

    fn of_kind(&self, kind: Kind, after: Option<&Place>, limit: usize) -> Result<Vec<Place>, StorageError> {
        self.storage.of_kind(kind, after, limit)
    }

    fn of_kind_by(
        &self,
        kind: Kind,
        author: &AuthorId,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Place>, StorageError> {
        self.storage.of_kind_by(kind, author, after, limit)
    }

    fn about(
        &self,
        subject: &RecordId,
        author: Option<&AuthorId>,
        limit: usize,
    ) -> Result<Vec<RecordId>, StorageError> {
        self.storage.about(subject, author, limit)
    }

    fn about_in(&self, subject: &RecordId, log: &LogId, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        self.storage.about_in(subject, log, limit)
    }

    fn open_offers(&self, after: Option<&RecordId>, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        self.storage.open_offers(after, limit)
    }

    fn forget_open(&mut self, offers: &[RecordId]) -> Result<(), StorageError> {
        self.storage.forget_open(offers)
    }

    fn len(&self) -> Result<u64, StorageError> {
        self.storage.len()
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.storage.commit(batch)
    }

    fn droppable(&self, before: u64, after: Option<&Aged>, limit: usize) -> Result<Vec<Aged>, StorageError> {
        self.storage.droppable(before, after, limit)
    }

    fn bare(&self, since: u64, after: Option<&Aged>, limit: usize) -> Result<Vec<Aged>, StorageError> {
        self.storage.bare(since, after, limit)
    }

    fn drop_bodies(&mut self, records: &[RecordId]) -> Result<(), StorageError> {
        self.storage.drop_bodies(records)
    }

    fn keep_bodies(&mut self, records: &[Record]) -> Result<(), StorageError> {
        self.storage.keep_bodies(records)
    }
}
