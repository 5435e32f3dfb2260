//! The raw database: how RocksDB is opened, read and durably written, and what its errors mean.

use std::fs::DirBuilder;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use exchange_ledger::storage::StorageError;
use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor,
    CompactOptions, DBCompressionType, DBPinnableSlice, DBRawIteratorWithThreadMode, DBRecoveryMode, DBWithThreadMode,
    Direction, ErrorKind, IteratorMode, LogLevel, MergeOperands, Options, ReadOptions, SingleThreaded, SliceTransform,
    WriteBatch, WriteOptions,
};

use crate::error::StoreError;
use crate::keys::{self, Family};

/// Memory for blocks read from disk, shared by all column families: the indexes and filters of a million records, and what
/// was just read. Beyond that the system's own cache does as well, for blocks are not compressed.
const BLOCK_CACHE_BYTES: usize = 10 << 20;
/// Memory for new entries before they go to a table on disk.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// One write buffer fills while another goes to disk.
const WRITE_BUFFERS: i32 = 2;
/// Open files: well below the usual limit of 1024 for a process that also has connections.
const MAX_OPEN_FILES: i32 = 256;
/// Disk that the write-ahead log may take before its oldest part goes to tables; also what a start replays at most, after a
/// crash.
const MAX_WAL_BYTES: u64 = 32 << 20;
/// RocksDB's own diagnostics: files kept, and bytes of each.
const DIAGNOSTIC_FILES: usize = 4;
const DIAGNOSTIC_FILE_BYTES: usize = 1 << 20;
/// Bloom filter bits for each key: one look-up in a hundred for a missing key reads the disk in vain.
const BLOOM_BITS: f64 = 10.0;
/// The part of a write buffer that its own filter takes.
const MEMTABLE_BLOOM: f64 = 0.02;
/// Threads that write tables: one for write buffers, one that merges tables.
const BACKGROUND_JOBS: i32 = 2;
/// Bytes of a block, which is read and checked as a whole, of tables that are mostly read row after row: large ones keep
/// the index of a table small.
const BLOCK_BYTES: usize = 16 << 10;
/// Bytes of a block of tables that are mostly read here and there.
const SMALL_BLOCK_BYTES: usize = 4 << 10;
/// How many keys in a row say only where they differ from the one before.
const RESTART_INTERVAL: i32 = 32;

/// Keys that are read at once: meanwhile the blocks that their values lie in stay in memory.
const READ_AT_ONCE: usize = 128;

/// How much memory a store may use.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Bytes of the cache of blocks read from disk.
    pub block_cache_bytes: usize,
    /// Bytes of each of the two write buffers.
    pub write_buffer_bytes: usize,
    /// Files held open at most.
    pub max_open_files: i32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: BLOCK_CACHE_BYTES,
            write_buffer_bytes: WRITE_BUFFER_BYTES,
            max_open_files: MAX_OPEN_FILES,
        }
    }
}

type Rocks = DBWithThreadMode<SingleThreaded>;
/// A key and its value.
pub(crate) type Entry = (Box<[u8]>, Box<[u8]>);

/// An open database. Dropping it closes the directory, and what a start would read from the write-ahead log goes to tables
/// before.
pub(crate) struct RawDb {
    rocks: Rocks,
    /// Kept for its counters.
    options: Options,
    path: PathBuf,
}

impl RawDb {
    /// Opens a directory, which is made if missing, and takes it for this process alone.
    pub fn open(path: &Path, open: OpenOptions) -> Result<Self, StoreError> {
        let failed = |reason: String| StorageError::Io(format!("{}: {reason}", path.display()));
        // It holds what only its owner may read.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| failed(e.to_string()))?;
        let options = database_options(open);
        let families = families(path, &options, open).map_err(|e| storage_error(&path.display(), e))?;
        let rocks = Rocks::open_cf_descriptors(&options, path, families).map_err(|e| {
            let text = e.as_ref();
            if text.contains("While lock file") || text.contains("lock hold by current process") {
                StoreError::InUse(path.to_owned())
            } else {
                storage_error(&path.display(), e).into()
            }
        })?;
        Ok(Self { rocks, options, path: path.to_owned() })
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.rocks.get_cf(self.handle(family), key).map_err(|e| storage_error(&family.name(), e))
    }

    /// Reads a value where it lies.
    pub fn read<T>(
        &self,
        family: Family,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StorageError> {
        let found = self.rocks.get_pinned_cf(self.handle(family), key);
        found.map(|value| value.map(|value| read(&value))).map_err(|e| storage_error(&family.name(), e))
    }

    /// Reads the values of many keys, which are sorted: what lies together is looked for once.
    pub fn read_each<T>(
        &self,
        family: Family,
        keys: &[impl AsRef<[u8]>],
        read: impl Fn(&[u8]) -> T,
    ) -> Result<Vec<Option<T>>, StorageError> {
        let handle = self.handle(family);
        let read = |value: Option<DBPinnableSlice<'_>>| value.map(|value| read(&value));
        let some = |keys| self.rocks.batched_multi_get_cf(handle, keys, true).into_iter();
        let found = keys.chunks(READ_AT_ONCE).flat_map(some);
        found.map(|value| value.map(read).map_err(|e| storage_error(&family.name(), e))).collect()
    }

    pub fn contains(&self, family: Family, key: &[u8]) -> Result<bool, StorageError> {
        self.read(family, key, |_| ()).map(|found| found.is_some())
    }

    /// Shows entries from `start` on and before `end` to `visit`, in order, as they were when this was called, until it
    /// breaks off.
    pub fn scan<E: From<StorageError>>(
        &self,
        family: Family,
        start: &[u8],
        end: Option<Vec<u8>>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut read = ReadOptions::default();
        if let Some(end) = end {
            // RocksDB takes an end before the start for a mistake; here it is an empty range.
            if end.as_slice() <= start {
                return Ok(());
            }
            read.set_iterate_upper_bound(end);
        }
        let mut entries = self.rocks.raw_iterator_cf_opt(self.handle(family), read);
        entries.seek(start);
        while let Some((key, value)) = entries.item() {
            if visit(key, value)?.is_break() {
                return Ok(());
            }
            entries.next();
        }
        entries.status().map_err(|e| storage_error(&family.name(), e).into())
    }

    /// Returns a reader of many ranges of a table, as it was when this was called: beginning anew for each costs as much as
    /// a short range.
    pub fn walk(&self, family: Family) -> Walk<'_> {
        let mut read = ReadOptions::default();
        // Where keys have a prefix that filters know, nothing behind it is looked for.
        read.set_prefix_same_as_start(true);
        Walk { family, entries: self.rocks.raw_iterator_cf_opt(self.handle(family), read) }
    }

    /// Returns entries from `start` on and before `end`, in order, as they were when this was called.
    pub fn range<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<Vec<u8>>,
    ) -> impl Iterator<Item = Result<Entry, StorageError>> + use<'a> {
        let mut read = ReadOptions::default();
        if let Some(end) = end {
            read.set_iterate_upper_bound(end);
        }
        let entries =
            self.rocks.iterator_cf_opt(self.handle(family), read, IteratorMode::From(start, Direction::Forward));
        entries.map(move |entry| entry.map_err(|e| storage_error(&family.name(), e)))
    }

    /// Returns entries whose keys begin with `prefix`, in order.
    pub fn prefixed<'a>(
        &'a self,
        family: Family,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<Entry, StorageError>> + use<'a> {
        self.range(family, prefix, keys::end_of_prefix(prefix))
    }

    /// Returns the last entry whose key begins with `prefix`.
    pub fn last(&self, family: Family, prefix: &[u8]) -> Result<Option<Entry>, StorageError> {
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(prefix);
        if let Some(end) = keys::end_of_prefix(prefix) {
            read.set_iterate_upper_bound(end);
        }
        let mut entries = self.rocks.iterator_cf_opt(self.handle(family), read, IteratorMode::End);
        entries.next().transpose().map_err(|e| storage_error(&family.name(), e))
    }

    /// Returns an empty set of writes.
    pub fn begin(&self) -> WriteSet<'_> {
        let handles = Family::ALL.map(|family| self.handle(family));
        WriteSet { db: self, handles, changes: Vec::new(), bytes: Vec::new(), outdated: Vec::new() }
    }

    /// Returns all entries of a table that an earlier version had, and this one no longer has; none if it is not there.
    pub fn outdated<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Result<Entry, StorageError>> + use<'a> {
        let entries = self.rocks.cf_handle(name).map(|family| self.rocks.iterator_cf(family, IteratorMode::Start));
        entries.into_iter().flatten().map(move |entry| entry.map_err(|e| storage_error(&name, e)))
    }

    /// Returns an entry of a table that an earlier version had.
    pub fn outdated_entry(&self, name: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(family) = self.rocks.cf_handle(name) else { return Ok(None) };
        self.rocks.get_cf(family, key).map_err(|e| storage_error(&name, e))
    }

    /// Writes everything into as few tables as there can be, without what was replaced or deleted.
    pub fn compact(&self) -> Result<(), StorageError> {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for family in Family::ALL {
            let handle = self.handle(family);
            self.rocks.flush_cf(handle).map_err(|e| storage_error(&family.name(), e))?;
            self.rocks.compact_range_cf_opt(handle, None::<&[u8]>, None::<&[u8]>, &options);
        }
        Ok(())
    }

    /// Returns how often the write-ahead log was synced to disk since the directory was opened.
    pub fn wal_syncs(&self) -> u64 {
        self.options.get_ticker_count(Ticker::WalFileSynced)
    }

    fn handle(&self, family: Family) -> &ColumnFamily {
        self.rocks.cf_handle(family.name()).expect("all column families were opened")
    }
}

impl Drop for RawDb {
    fn drop(&mut self) {
        for family in Family::ALL {
            // Nothing is lost without it: the log has it all.
            if let Err(error) = self.rocks.flush_cf(self.handle(family)) {
                tracing::warn!(%error, family = family.name(), "the next start has to read the write-ahead log");
            }
        }
    }
}

impl std::fmt::Debug for RawDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RawDb").field(&self.path).finish()
    }
}

/// A reader of many ranges of one table.
pub(crate) struct Walk<'a> {
    family: Family,
    entries: DBRawIteratorWithThreadMode<'a, Rocks>,
}

impl Walk<'_> {
    /// Shows entries whose keys begin with `prefix` to `visit`, in order, until it breaks off.
    pub fn prefixed(
        &mut self,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StorageError>,
    ) -> Result<(), StorageError> {
        self.entries.seek(prefix);
        while let Some((key, value)) = self.entries.item().filter(|(key, _)| key.starts_with(prefix)) {
            if visit(key, value)?.is_break() {
                return Ok(());
            }
            self.entries.next();
        }
        self.entries.status().map_err(|e| storage_error(&self.family.name(), e))
    }
}

/// Writes that are done together or not at all.
pub(crate) struct WriteSet<'a> {
    db: &'a RawDb,
    /// Those of [`Family::ALL`]; finding one by its name costs as much as a write.
    handles: [&'a ColumnFamily; Family::ALL.len()],
    /// In the order in which they were asked for.
    changes: Vec<Change>,
    /// Their keys and values.
    bytes: Vec<u8>,
    /// The tables of earlier versions that are emptied.
    outdated: Vec<&'a ColumnFamily>,
}

/// What a write does to one key. Keys and values are places in [`WriteSet::bytes`].
struct Change {
    family: Family,
    key: Range<usize>,
    act: Act,
}

enum Act {
    Put(Range<usize>),
    Delete,
    Merge(Range<usize>),
}

impl<'a> WriteSet<'a> {
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        let (key, value) = (self.keep(key), self.keep(value));
        self.changes.push(Change { family, key, act: Act::Put(value) });
    }

    pub fn delete(&mut self, family: Family, key: &[u8]) {
        let key = self.keep(key);
        self.changes.push(Change { family, key, act: Act::Delete });
    }

    /// Adds to a number in `meta`. Needs no look at it, so writers need not wait for each other.
    pub fn add(&mut self, key: &[u8], by: i64) {
        let (key, by) = (self.keep(key), self.keep(&by.to_be_bytes()));
        self.changes.push(Change { family: Family::Meta, key, act: Act::Merge(by) });
    }

    /// Empties a table that an earlier version had.
    pub fn clear_outdated(&mut self, name: &str) {
        self.outdated.extend(self.db.rocks.cf_handle(name));
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn handle(&self, family: Family) -> &'a ColumnFamily {
        self.handles[family as usize] // in the order of `Family::ALL`
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.outdated.is_empty()
    }

    /// Writes, and returns when the write survives a power cut. Concurrent callers share one sync: RocksDB queues them,
    /// and the first writes for all that wait.
    ///
    /// A failed write is not visible. Only when the disk took the bytes and failed to confirm them may it be there after
    /// the next start, and then as a whole; so every caller's write can be repeated without harm.
    pub fn commit(mut self) -> Result<(), StorageError> {
        // By table and key: in this order RocksDB finds the places of many keys faster. What is done to one key stays
        // in its order.
        self.changes.sort_by(|a, b| {
            let place = |change: &Change| (change.family as usize, &self.bytes[change.key.clone()]);
            place(a).cmp(&place(b))
        });
        let mut batch = WriteBatch::default();
        for family in &self.outdated {
            // No key of any version is as long.
            batch.delete_range_cf(*family, &[][..], &[0xff; 256][..]);
        }
        for Change { family, key, act } in &self.changes {
            let (family, key) = (self.handle(*family), &self.bytes[key.clone()]);
            match act {
                Act::Put(value) => batch.put_cf(family, key, &self.bytes[value.clone()]),
                Act::Delete => batch.delete_cf(family, key),
                Act::Merge(by) => batch.merge_cf(family, key, &self.bytes[by.clone()]),
            }
        }
        let mut write = WriteOptions::default();
        write.set_sync(true);
        self.db.rocks.write_opt(batch, &write).map_err(|e| storage_error(&"write", e))
    }
}

/// Tells a full disk and damage apart from the rest.
///
/// After a full disk RocksDB refuses writes, looks every five seconds whether there is room again, and then goes on;
/// after a quota or a limit on the length of files it refuses writes until the next start.
fn storage_error(on: &dyn std::fmt::Display, error: rocksdb::Error) -> StorageError {
    let kind = error.kind();
    let text = format!("{on}: {}", error.into_string());
    // Quotas and limits on the length of files are full disks to their user.
    if ["No space left on device", "Disk quota exceeded", "File too large"].iter().any(|full| text.contains(full)) {
        StorageError::Full(text)
    } else if kind == ErrorKind::Corruption {
        StorageError::Damaged(text)
    } else {
        StorageError::Io(text)
    }
}

fn database_options(open: OpenOptions) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_max_open_files(open.max_open_files);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    // The limit of all column families together, not of each.
    let buffers = usize::try_from(WRITE_BUFFERS).expect("a small number");
    options.set_db_write_buffer_size(open.write_buffer_bytes.saturating_mul(buffers));
    options.set_max_total_wal_size(MAX_WAL_BYTES);
    // Forgives an unfinished write at the end of the log, which nobody was told of, and refuses to start on damage
    // before it. `PointInTime` would drop what follows the damage without a word: records that peers already have,
    // whose places this node would then sign a second time.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // Also notices a part of the log that is missing as a whole.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(DIAGNOSTIC_FILES);
    options.set_max_log_file_size(DIAGNOSTIC_FILE_BYTES);
    options.set_stats_dump_period_sec(0);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options
}

/// Returns the column families to open: ours, and those that a later version left, without which RocksDB would not open
/// a directory that is then refused for its schema.
fn families(path: &Path, options: &Options, open: OpenOptions) -> Result<Vec<ColumnFamilyDescriptor>, rocksdb::Error> {
    let cache = Cache::new_lru_cache(open.block_cache_bytes);
    let existing = if path.join("CURRENT").exists() { Rocks::list_cf(options, path)? } else { Vec::new() };
    let is_ours = |name: &str| Family::ALL.iter().any(|family| family.name() == name);
    let ours = Family::ALL
        .iter()
        .map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(*family, &cache, open)));
    let others = existing.iter().filter(|name| !is_ours(name));
    Ok(ours.chain(others.map(|name| ColumnFamilyDescriptor::new(name, Options::default()))).collect())
}

fn family_options(family: Family, cache: &Cache, open: OpenOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // Of a large table's index and filter only the part that a key is in: as a whole, those of some tables are larger than
    // the cache, and would be read again and again.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_top_level_index_and_filter(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_block_size(BLOCK_BYTES);
    table.set_block_restart_interval(RESTART_INTERVAL);
    let mut options = Options::default();
    options.set_write_buffer_size(open.write_buffer_bytes);
    options.set_max_write_buffer_number(WRITE_BUFFERS);
    // Keys, hashes and signatures do not compress.
    options.set_compression_type(DBCompressionType::None);
    match family {
        Family::Ids | Family::Subjects | Family::Heads | Family::Chains => table.set_block_size(SMALL_BLOCK_BYTES),
        Family::Names
        | Family::Frozen
        | Family::Kinds
        | Family::OpenOffers
        | Family::Forked
        | Family::Droppable
        | Family::Bare
        | Family::Meta
        | Family::Private => {}
    }
    match family {
        Family::Meta => options.set_merge_operator_associative("exchange.add_i64", add),
        // Asked for what may not be there.
        Family::Ids | Family::Heads | Family::Forked | Family::OpenOffers | Family::Private => {
            table.set_bloom_filter(BLOOM_BITS, false);
        }
        // Asked for all that is about one subject, and most often nothing is.
        Family::Subjects => {
            table.set_bloom_filter(BLOOM_BITS, false);
            table.set_whole_key_filtering(false);
            options.set_prefix_extractor(SliceTransform::create_fixed_prefix(keys::SUBJECT_LEN));
            options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM);
        }
        // Asked for what is there, or for ranges.
        Family::Names | Family::Chains | Family::Frozen | Family::Kinds | Family::Droppable | Family::Bare => {}
    }
    options.set_block_based_table_factory(&table);
    options
}

/// Adds big-endian numbers. `None`, which RocksDB reports as damage, when one is malformed or the sum does not fit.
fn add(_key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_be_bytes);
    let start = existing.map_or(Some(0), number)?;
    let sum = operands.iter().try_fold(start, |sum, operand| sum.checked_add(number(operand)?))?;
    Some(sum.to_be_bytes().to_vec())
}
