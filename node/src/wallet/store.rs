//! Where the wallet's changes are kept: one sequence, appended to, and now and then replaced by its sum.

use std::sync::{Mutex, MutexGuard, PoisonError};

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_store::{Changes, MAX_ROW_LEN, Namespace, Store, StoreError, Table, Versioned};

/// How many bytes of a change stand in one row: the rest of a row is framing.
const MAX_PART_LEN: usize = MAX_ROW_LEN - 64;
/// How many rows are read at once.
const PAGE: usize = 64;

/// A sequence of changes. Every call may block.
pub trait WalletStore: Send + Sync + 'static {
    /// Returns all changes, oldest first.
    ///
    /// # Errors
    /// When the disk fails or holds something else.
    fn load(&self) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Adds a change durably: when this returns, a power cut does not lose it.
    ///
    /// # Errors
    /// When the disk is full or fails; then nothing was added.
    fn append(&self, change: &[u8]) -> Result<(), StoreError>;

    /// Puts one change in the place of all, atomically.
    ///
    /// # Errors
    /// When the disk is full or fails; then all changes are as they were.
    fn replace(&self, change: &[u8]) -> Result<(), StoreError>;
}

/// Parts of changes, by the number of the change and of the part.
const PARTS: Table<(u64, u32), Part> = Table::new(Namespace::Wallet);

/// A part with its place: the number of the change, then of the part.
type Row = ((u64, u32), Part);

/// A part of a change.
#[derive(BorshSerialize, BorshDeserialize)]
struct Part {
    bytes: Vec<u8>,
}

impl Versioned for Part {
    const VERSION: u8 = 1;
}

/// The wallet's changes in the node's database.
pub struct DiskWalletStore {
    store: Store,
    /// The number of the next change; `None` until it has been looked up.
    next: Mutex<Option<u64>>,
}

impl DiskWalletStore {
    /// Returns the wallet's part of `store`. There must be one such value at a time.
    pub fn new(store: Store) -> Self {
        Self { store, next: Mutex::new(None) }
    }

    fn rows(&self) -> Result<Vec<Row>, StoreError> {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let from = rows.last().map_or((0, 0), |((change, part), _)| (*change, part.saturating_add(1)));
            let page = self.store.private().scan(&PARTS, from.., PAGE)?;
            if page.is_empty() {
                return Ok(rows);
            }
            rows.extend(page);
        }
    }

    fn next(&self) -> Result<(MutexGuard<'_, Option<u64>>, u64), StoreError> {
        // A poisoned lock holds the number of the last change that was written.
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match *next {
            Some(number) => number,
            None => self.rows()?.last().map_or(0, |((change, _), _)| change.saturating_add(1)),
        };
        Ok((next, number))
    }

    fn put(&self, mut changes: Changes, number: u64, change: &[u8]) -> Result<(), StoreError> {
        for (part, bytes) in (0u32..).zip(change.chunks(MAX_PART_LEN)) {
            changes = changes.put(&PARTS, &(number, part), &Part { bytes: bytes.to_vec() });
        }
        self.store.private().write(changes).map(drop)
    }
}

impl WalletStore for DiskWalletStore {
    fn load(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut changes: Vec<(u64, Vec<u8>)> = Vec::new();
        for ((change, _), part) in self.rows()? {
            match changes.last_mut().filter(|(last, _)| *last == change) {
                Some((_, bytes)) => bytes.extend(part.bytes),
                None => changes.push((change, part.bytes)),
            }
        }
        Ok(changes.into_iter().map(|(_, bytes)| bytes).collect())
    }

    fn append(&self, change: &[u8]) -> Result<(), StoreError> {
        let (mut next, number) = self.next()?;
        self.put(Changes::new(), number, change)?;
        *next = Some(number.saturating_add(1));
        Ok(())
    }

    fn replace(&self, change: &[u8]) -> Result<(), StoreError> {
        let (mut next, number) = self.next()?;
        let old = self.rows()?;
        let changes = old.iter().fold(Changes::new(), |changes, (key, _)| changes.delete(&PARTS, key));
        self.put(changes, number, change)?;
        *next = Some(number.saturating_add(1));
        Ok(())
    }
}

impl std::fmt::Debug for DiskWalletStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskWalletStore").finish_non_exhaustive()
    }
}

/// A store in memory, for tests.
#[cfg(any(test, feature = "test-support"))]
#[derive(Debug, Default)]
pub struct MemoryWalletStore {
    changes: Mutex<Vec<Vec<u8>>>,
    full: std::sync::atomic::AtomicBool,
}

#[cfg(any(test, feature = "test-support"))]
impl MemoryWalletStore {
    /// From now on the disk is full, or no longer.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, std::sync::atomic::Ordering::SeqCst);
    }

    fn changes(&self) -> Result<MutexGuard<'_, Vec<Vec<u8>>>, StoreError> {
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(exchange_ledger::storage::StorageError::Full("no space left on device".into()).into());
        }
        Ok(self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(any(test, feature = "test-support"))]
impl WalletStore for MemoryWalletStore {
    fn load(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(self.changes()?.clone())
    }

    fn append(&self, change: &[u8]) -> Result<(), StoreError> {
        self.changes()?.push(change.to_vec());
        Ok(())
    }

    fn replace(&self, change: &[u8]) -> Result<(), StoreError> {
        *self.changes()? = vec![change.to_vec()];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> DiskWalletStore {
        DiskWalletStore::new(Store::open(dir.path(), exchange_store::OpenOptions::default()).unwrap())
    }

    #[test]
    fn changes_come_back_in_order_whatever_their_length() {
        let dir = tempfile::tempdir().unwrap();
        let long: Vec<u8> = (0..2 * MAX_PART_LEN + 5).map(|i| (i % 251) as u8).collect();
        let mut expected = vec![b"first".to_vec(), long.clone()];
        {
            let store = open(&dir);
            expected.iter().for_each(|change| store.append(change).unwrap());
        }
        let store = open(&dir);
        for number in 0..2 * PAGE {
            expected.push(number.to_string().into_bytes());
            store.append(number.to_string().as_bytes()).unwrap();
        }
        assert_eq!(store.load().unwrap(), expected);
        store.replace(&long).unwrap();
        store.append(b"after").unwrap();
        assert_eq!(store.load().unwrap(), [long, b"after".to_vec()]);
    }
}
