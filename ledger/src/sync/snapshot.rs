//! The heads of a ledger at one moment: their hash, their sketch, and which item stands for which log.

use std::collections::VecDeque;
use std::sync::Arc;

use super::sketch::{Cell, Item, MAX_CELLS, Salt, Sketch};
use crate::ids::StateHash;
use crate::record::{Head, LogId};
use crate::state::StateHasher;
use crate::storage::{Storage, StorageError};

/// How many heads are read at once.
const PAGE: usize = 512;
/// Heads for which one place in the order of logs is remembered: a log is found again by reading so many of them.
const STRETCH: usize = 32;
/// Heads that may have come in between since.
const SLACK: usize = 32;

/// The heads of a ledger at one moment. Takes 18 bytes a head, and 200 kB for the sketch.
#[derive(Debug)]
pub struct Snapshot {
    digest: StateHash,
    salt: Salt,
    sketch: Sketch,
    /// The items in ascending order, each with its stretch of the order of logs.
    items: Vec<(Item, u32)>,
    /// The log before each stretch.
    stretches: Vec<Option<LogId>>,
}

impl Snapshot {
    /// Reads all heads of a store. `salt` must be random, and known to nobody before.
    ///
    /// # Errors
    /// When the store fails.
    pub fn take(storage: &dyn Storage, salt: Salt) -> Result<Self, StorageError> {
        let mut hasher = StateHasher::new();
        let mut sketch = Sketch::new(MAX_CELLS);
        let mut items = Vec::new();
        let mut stretches = Vec::new();
        let mut before = None;
        for_each_head(storage, |head| {
            hasher.add(head);
            if items.len().is_multiple_of(STRETCH) {
                stretches.push(before);
            }
            let item = Item::of(&salt, head);
            sketch.add(item);
            items.push((item, u32::try_from(stretches.len().saturating_sub(1)).unwrap_or(u32::MAX)));
            before = Some(head.log);
        })?;
        items.sort_unstable();
        Ok(Self { digest: hasher.finish(), salt, sketch, items, stretches })
    }

    /// Returns the hash of the state.
    pub const fn digest(&self) -> StateHash {
        self.digest
    }

    /// Returns what keys the sketch.
    pub const fn salt(&self) -> Salt {
        self.salt
    }

    /// Returns how many heads there are.
    pub fn heads(&self) -> u64 {
        self.items.len() as u64 // usize is at most 64 bits
    }

    /// Returns the cells of the sketch.
    pub fn cells(&self) -> &[Cell] {
        self.sketch.cells()
    }

    /// Returns the head, as it is now, of the log that an item stood for.
    ///
    /// # Errors
    /// When the store fails.
    pub fn resolve(&self, storage: &dyn Storage, item: Item) -> Result<Option<Head>, StorageError> {
        let Ok(found) = self.items.binary_search_by_key(&item, |(item, _)| *item) else { return Ok(None) };
        let stretch = usize::try_from(self.items[found].1).ok().and_then(|at| self.stretches.get(at));
        let Some(before) = stretch else { return Ok(None) };
        let heads = storage.heads(before.as_ref(), STRETCH + SLACK)?;
        Ok(heads.into_iter().find(|head| Item::log_tag_of(&self.salt, &head.log) == item.log_tag()))
    }
}

/// Walks through all heads of a store in their order.
///
/// # Errors
/// When the store fails.
pub(super) fn for_each_head(storage: &dyn Storage, mut visit: impl FnMut(&Head)) -> Result<(), StorageError> {
    let mut after = None;
    loop {
        let heads = storage.heads(after.as_ref(), PAGE)?;
        heads.iter().for_each(&mut visit);
        after = heads.last().map(|head| head.log);
        if heads.len() < PAGE {
            return Ok(());
        }
    }
}

/// Snapshots that are kept: a comparison that began with one can end with it, while new records come in.
const KEPT: usize = 3;

/// The latest snapshots of a ledger.
#[derive(Debug, Default)]
pub struct Snapshots {
    latest: VecDeque<(u64, Arc<Snapshot>)>,
}

impl Snapshots {
    /// Returns the latest snapshot with the version of the ledger that it is of.
    pub fn latest(&self) -> Option<&(u64, Arc<Snapshot>)> {
        self.latest.front()
    }

    /// Returns the snapshot with a salt, unless it is long gone.
    pub fn of(&self, salt: &Salt) -> Option<Arc<Snapshot>> {
        self.latest.iter().find(|(_, snapshot)| snapshot.salt() == *salt).map(|(_, snapshot)| snapshot.clone())
    }

    /// Keeps a new snapshot of a version of the ledger, and drops the oldest.
    pub fn put(&mut self, version: u64, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.latest.push_front((version, snapshot.clone()));
        self.latest.truncate(KEPT);
        snapshot
    }
}
