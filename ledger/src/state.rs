//! The hash of a ledger's state: what two nodes compare to know that they hold the same.

use sha2::{Digest, Sha256};

use crate::ids::{FrozenHash, RecordId, StateHash};
use crate::record::{Head, LogId};
use crate::storage::{Storage, StorageError};

/// How many heads are read at once.
const PAGE: usize = 512;

/// Hashes heads, each added in the order of logs.
#[derive(Debug, Clone)]
pub struct StateHasher(Sha256);

impl StateHasher {
    /// Starts with no logs at all.
    pub fn new() -> Self {
        Self(Sha256::new_with_prefix("exchange/state/v1"))
    }

    /// Adds the next head.
    pub fn add(&mut self, head: &Head) {
        let Head { log: LogId { author, epoch }, len, id, time: _, frozen } = head; // the id implies the time
        self.0.update(author.as_bytes());
        self.0.update(epoch.to_le_bytes());
        self.0.update(len.to_le_bytes());
        self.0.update(id.as_bytes());
        self.0.update(frozen.map_or([0; 32], |frozen| frozen.0));
    }

    /// Returns the hash.
    pub fn finish(self) -> StateHash {
        StateHash(self.0.finalize().into())
    }
}

impl Default for StateHasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the hash of everything in a store.
///
/// # Errors
/// When the store fails.
pub fn state_hash(storage: &impl Storage) -> Result<StateHash, StorageError> {
    let mut hasher = StateHasher::new();
    let mut after = None;
    loop {
        let heads = storage.heads(after.as_ref(), PAGE)?;
        heads.iter().for_each(|head| hasher.add(head));
        after = heads.last().map(|head| head.log);
        if heads.len() < PAGE {
            return Ok(hasher.finish());
        }
    }
}

/// Returns the hash of the frozen records of a log, given by seq and id.
pub fn frozen_hash<'a>(ids: impl IntoIterator<Item = &'a RecordId>) -> FrozenHash {
    let mut hasher = Sha256::new_with_prefix("exchange/frozen/v1");
    ids.into_iter().for_each(|id| hasher.update(id.as_bytes()));
    FrozenHash(hasher.finalize().into())
}
