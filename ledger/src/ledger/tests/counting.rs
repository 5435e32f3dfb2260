//! A store that counts how many records are read.

use std::cell::Cell;

use crate::ids::RecordId;
use crate::record::{LogId, Record};
use crate::storage::{MemoryStorage, Storage, StorageError, Wrapper};

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

impl Wrapper for Counting {
    fn ask<T>(&self, question: impl FnOnce(&dyn Storage) -> Result<T, StorageError>) -> Result<T, StorageError> {
        question(&self.storage)
    }

    fn change(
        &mut self,
        change: impl FnOnce(&mut dyn Storage) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        change(&mut self.storage)
    }

    fn record(&self, id: &RecordId) -> Result<Option<Record>, StorageError> {
        self.reads.set(self.reads.get() + 1);
        self.storage.record(id)
    }

    fn range(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StorageError> {
        self.storage.range(log, from, limit).map(|records| self.count(records))
    }

    fn frozen(&self, log: &LogId) -> Result<Vec<Record>, StorageError> {
        self.storage.frozen(log).map(|records| self.count(records))
    }
}
