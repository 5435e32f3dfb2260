//! The heads of a ledger at one moment: their hash, their sketch, and which item stands for which log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

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

/// What a ledger shows of itself at a glance: all that a session needs of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The hash of the state.
    pub digest: StateHash,
    /// How many heads there are.
    pub heads: u64,
}

impl Summary {
    /// Reads all heads of a store.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of(storage: &dyn Storage) -> Result<Self, StorageError> {
        let (mut hasher, mut heads) = (StateHasher::new(), 0);
        for_each_head(storage, |head| {
            hasher.add(head);
            heads += 1;
        })?;
        Ok(Self { digest: hasher.finish(), heads })
    }
}

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

    /// Returns the hash and the number.
    pub fn summary(&self) -> Summary {
        Summary { digest: self.digest, heads: self.heads() }
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

/// Snapshots that are kept at most, and at least: a comparison that began with one can end with it, while new records come in.
const MOST_KEPT: usize = 16;
const LEAST_KEPT: usize = 3;
/// Heads of all that are kept, if there are more than the fewest: 18 MB.
const KEPT_HEADS: u64 = 1 << 20;
/// How long a snapshot can be asked about, at least, after a peer was shown it: until then an asker has read his own heads, more
/// than once, and asked for all that is different.
const SHOWN_FOR: Duration = Duration::from_secs(4);

/// The latest snapshots of a ledger, those that peers were shown. The time is the caller's, since whatever moment.
#[derive(Debug, Default)]
pub struct Snapshots {
    latest: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    version: u64,
    snapshot: Arc<Snapshot>,
    /// From when on it was shown, instead of the one before it.
    taken: Duration,
}

impl Snapshots {
    /// Returns the latest snapshot with the version of the ledger that it is of.
    pub fn latest(&self) -> Option<(u64, &Arc<Snapshot>)> {
        self.latest.front().map(|kept| (kept.version, &kept.snapshot))
    }

    /// Returns the snapshot with a salt, unless it is long gone.
    pub fn of(&self, salt: &Salt) -> Option<Arc<Snapshot>> {
        self.latest.iter().find(|kept| kept.snapshot.salt() == *salt).map(|kept| kept.snapshot.clone())
    }

    /// Returns when the next one may be taken at the earliest: it pushes out none that a peer was shown a moment before.
    pub fn not_before(&self) -> Duration {
        let kept = self.latest.front().map_or(MOST_KEPT, |latest| how_many(latest.snapshot.heads()));
        // The oldest was shown until the one after it was taken.
        let last_shown = self.latest.get(kept - 2).filter(|_| self.latest.len() >= kept);
        last_shown.map_or(Duration::ZERO, |next| next.taken.saturating_add(SHOWN_FOR))
    }

    /// Keeps a new snapshot of a version of the ledger, and drops the oldest.
    pub fn put(&mut self, version: u64, snapshot: Snapshot, taken: Duration) -> Arc<Snapshot> {
        let kept = how_many(snapshot.heads());
        let snapshot = Arc::new(snapshot);
        self.latest.push_front(Kept { version, snapshot: snapshot.clone(), taken });
        self.latest.truncate(kept);
        snapshot
    }
}

/// Returns how many snapshots of so many heads are kept.
fn how_many(heads: u64) -> usize {
    usize::try_from(KEPT_HEADS / heads.max(1)).unwrap_or(MOST_KEPT).clamp(LEAST_KEPT, MOST_KEPT)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn fewer_are_kept_of_a_large_ledger() {
        let kept = [0, 1, 65_536, 65_537, 200_000, 1 << 20, u64::MAX].map(how_many);
        assert_eq!(kept, [16, 16, 16, 15, 5, 3, 3]);
    }

    #[test]
    fn who_was_shown_a_snapshot_can_ask_about_it_for_seconds() {
        let mut snapshots = Snapshots::default();
        let mut shown = HashMap::new();
        let mut taken = 0;
        for step in 0..400_u32 {
            let now = step * Duration::from_millis(50);
            if snapshots.not_before() <= now {
                let salt = Salt(u128::from(step).to_le_bytes());
                snapshots.put(step.into(), Snapshot::take(&MemoryStorage::default(), salt).unwrap(), now);
                taken += 1;
            }
            let (_, latest) = snapshots.latest().unwrap();
            shown.insert(latest.salt().0, now);
            for (salt, at) in &shown {
                assert!(now - *at > SHOWN_FOR || snapshots.of(&Salt(*salt)).is_some(), "{salt:?} at {now:?}");
            }
        }
        assert!(taken > 60, "{taken} in twenty seconds");
    }
}
