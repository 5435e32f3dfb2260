//! Where records are kept: the trait that the ledger needs, and an implementation in memory for tests and tools.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::body::Body;
use crate::ids::{AuthorId, RecordId};
use crate::record::{Head, Kind, LogId, Record};

/// A store that failed. The ledger passes it on unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The disk is full: nothing of the batch was kept.
    #[error("the disk is full: {0}; free some space, nothing was lost")]
    Full(String),
    /// Bytes on disk are not what was written.
    #[error(
        "the ledger on disk is damaged: {0}; stop the node, keep the directory as it is, and restore it from a backup"
    )]
    Damaged(String),
    /// Anything else the system says.
    #[error("the ledger on disk cannot be used: {0}")]
    Io(String),
}

/// Two records of one author at the same place of one log: proof that he signed two histories. Self-contained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivocation {
    /// The record that stands in the log here; the other node may hold them the other way round.
    pub kept: Record,
    /// The record that contradicts it.
    pub other: Record,
}

/// What changes together or not at all. Records of one log stand in its order and continue it without a gap.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// New records.
    pub records: Vec<Record>,
    /// New proofs.
    pub equivocations: Vec<Equivocation>,
}

/// What the ledger needs of a store. Every list is bounded by its `limit`.
pub trait Storage {
    /// Returns a record.
    fn record(&self, id: &RecordId) -> Result<Option<Record>, StorageError>;

    /// Returns the id of the record at a place of a log.
    fn id_at(&self, log: &LogId, seq: u64) -> Result<Option<RecordId>, StorageError>;

    /// Returns the end of a log.
    fn head(&self, log: &LogId) -> Result<Option<Head>, StorageError>;

    /// Returns the ends of logs after `after`, in their order.
    fn heads(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError>;

    /// Returns ids of records of a kind after `after`, in the order of their ids.
    fn of_kind(&self, kind: Kind, after: Option<&RecordId>, limit: usize) -> Result<Vec<RecordId>, StorageError>;

    /// Returns ids of records about a subject (see [`Body::subjects`]), ordered by author, epoch and seq; of one author
    /// only if asked. So the first records of an author stay the first, whatever he or anyone adds.
    fn about(&self, subject: &RecordId, author: Option<&AuthorId>, limit: usize)
    -> Result<Vec<RecordId>, StorageError>;

    /// Returns ids of the first records of one log about a subject, in its order. Nothing that anyone adds later, not even
    /// the author in another log, changes what stands here first.
    fn about_in(&self, subject: &RecordId, log: &LogId, limit: usize) -> Result<Vec<RecordId>, StorageError>;

    /// Returns the proof against a log with the lowest seq, if there is one.
    fn equivocation(&self, log: &LogId) -> Result<Option<Equivocation>, StorageError>;

    /// Returns how many records there are.
    fn len(&self) -> Result<u64, StorageError>;

    /// Tells whether there are none.
    fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(self.len()? == 0)
    }

    /// Keeps a batch durably: when this returns, a power cut loses nothing of it.
    fn commit(&mut self, batch: &Batch) -> Result<(), StorageError>;
}

/// A store in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStorage {
    records: HashMap<RecordId, Record>,
    logs: BTreeMap<(LogId, u64), RecordId>,
    heads: BTreeMap<LogId, Head>,
    kinds: BTreeSet<(Kind, RecordId)>,
    subjects: BTreeMap<(RecordId, AuthorId, u32, u64), RecordId>,
    equivocations: BTreeMap<(LogId, u64), Equivocation>,
}

impl Storage for MemoryStorage {
    fn record(&self, id: &RecordId) -> Result<Option<Record>, StorageError> {
        Ok(self.records.get(id).cloned())
    }

    fn id_at(&self, log: &LogId, seq: u64) -> Result<Option<RecordId>, StorageError> {
        Ok(self.logs.get(&(*log, seq)).copied())
    }

    fn head(&self, log: &LogId) -> Result<Option<Head>, StorageError> {
        Ok(self.heads.get(log).copied())
    }

    fn heads(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        let all = self.heads.iter().filter(|(log, _)| after.is_none_or(|after| *log > after));
        Ok(all.map(|(_, head)| *head).take(limit).collect())
    }

    fn of_kind(&self, kind: Kind, after: Option<&RecordId>, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        let all = self.kinds.iter().filter(|(k, id)| *k == kind && after.is_none_or(|after| id > after));
        Ok(all.map(|(_, id)| *id).take(limit).collect())
    }

    fn about(
        &self,
        subject: &RecordId,
        author: Option<&AuthorId>,
        limit: usize,
    ) -> Result<Vec<RecordId>, StorageError> {
        let first = (*subject, author.copied().unwrap_or(AuthorId([0; 32])), 0, 0);
        let last = (*subject, author.copied().unwrap_or(AuthorId([0xff; 32])), u32::MAX, u64::MAX);
        Ok(self.subjects.range(first..=last).map(|(_, id)| *id).take(limit).collect())
    }

    fn about_in(&self, subject: &RecordId, log: &LogId, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        let place = |seq| (*subject, log.author, log.epoch, seq);
        Ok(self.subjects.range(place(0)..=place(u64::MAX)).map(|(_, id)| *id).take(limit).collect())
    }

    fn equivocation(&self, log: &LogId) -> Result<Option<Equivocation>, StorageError> {
        Ok(self.equivocations.range((*log, 0)..=(*log, u64::MAX)).next().map(|(_, proof)| proof.clone()))
    }

    fn len(&self) -> Result<u64, StorageError> {
        Ok(self.records.len() as u64) // usize is at most 64 bits
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StorageError> {
        for record in &batch.records {
            let (id, header) = (record.id(), record.header());
            self.logs.insert((header.log, header.seq), id);
            self.heads.insert(header.log, record.as_head());
            self.kinds.insert((header.kind, id));
            for subject in Body::decode(record).map(|body| body.subjects()).unwrap_or_default() {
                self.subjects.insert((subject, record.author(), header.log.epoch, header.seq), id);
            }
            self.records.insert(id, record.clone());
        }
        for proof in &batch.equivocations {
            let header = proof.kept.header();
            self.equivocations.entry((header.log, header.seq)).or_insert_with(|| proof.clone());
        }
        Ok(())
    }
}
