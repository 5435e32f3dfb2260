//! What a store keeps when a process is killed, a disk is full, or bytes on disk change.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use borsh::{BorshDeserialize, BorshSerialize};
use common::{Log, open};
use exchange_ledger::record::Record;
use exchange_ledger::storage::{Batch, Storage, StorageError};
use exchange_store::{Changes, Namespace, OpenOptions, Store, StoreError, Table, Versioned};

#[derive(Debug, PartialEq, BorshSerialize, BorshDeserialize)]
struct Number(u64);

impl Versioned for Number {
    const VERSION: u8 = 1;
}

const NUMBERS: Table<u64, Number> = Table::new(Namespace::Config);

/// Names the directory for the part of a test that runs in a process of its own.
const CHILD_DIR: &str = "EXCHANGE_STORE_TEST_DIR";

fn batch(records: Vec<Record>) -> Batch {
    Batch { records, ..Batch::default() }
}

fn some(log: &mut Log, count: usize) -> Batch {
    batch((0..count).map(|_| log.append_some()).collect())
}

fn assert_holds(store: &Store, records: &[Record]) {
    for record in records {
        assert_eq!(store.record(&record.id()).unwrap().as_ref(), Some(record));
    }
}

/// Starts one test of this file in a process of its own.
fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD_DIR, dir);
    command
}

/// Does nothing unless it is the child of [`a_killed_process_loses_nothing_acknowledged`].
#[test]
fn commits_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (store, mut log) = (open(dir), Log::new(1, 0));
    for number in 1.. {
        let changes = Changes::new().put(&NUMBERS, &number, &Number(number)).event(&Number(number));
        store.commit_with(&some(&mut log, 5), changes).unwrap();
        // Past the capture of test output.
        writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
    }
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    for kill_after in [1, 4, 40] {
        let dir = tempfile::tempdir().unwrap();
        let mut process = child("commits_until_killed", dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let acknowledged =
            |line: String| line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u64>().ok());
        let mut last = 0;
        while last < kill_after {
            last = acknowledged(lines.next().unwrap()).unwrap_or(last);
        }
        process.kill().unwrap();
        process.wait().unwrap();
        last = lines.filter_map(acknowledged).last().unwrap_or(last);

        let (store, mut log) = (open(&dir), Log::new(1, 0));
        let len = store.len().unwrap();
        assert!(len >= last * 5 && len.is_multiple_of(5), "{len} records after {last} batches of 5");
        let expected: Vec<_> = (0..len).map(|_| log.append_some()).collect();
        assert_holds(&store, &expected);
        assert_eq!(store.head(&log.id()).unwrap(), expected.last().map(Record::as_head));
        // Rows and events came with their records, or not at all.
        let rows = store.private().scan(&NUMBERS, .., usize::MAX).unwrap();
        assert_eq!(rows, (1..=len / 5).map(|number| (number, Number(number))).collect::<Vec<_>>());
        assert_eq!(store.private().events::<Number>(0, usize::MAX).unwrap(), rows);
    }
}

#[test]
fn each_commit_is_synced_and_concurrent_ones_share() {
    const THREADS: u8 = 8;
    const COMMITS: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut alone = Log::new(100, 0);
    for _ in 0..10 {
        let before = store.wal_syncs();
        store.commit(&some(&mut alone, 1)).unwrap();
        assert_eq!(store.wal_syncs(), before + 1, "a commit returns after its own sync");
    }
    let before = store.wal_syncs();
    let start = Barrier::new(THREADS.into());
    std::thread::scope(|scope| {
        for author in 0..THREADS {
            let (store, start) = (store.clone(), &start);
            scope.spawn(move || {
                let mut log = Log::new(author + 1, 0);
                let batches: Vec<_> = (0..COMMITS).map(|_| some(&mut log, 1)).collect();
                start.wait();
                batches.iter().for_each(|batch| store.commit(batch).unwrap());
            });
        }
    });
    let commits = u64::from(THREADS) * COMMITS as u64;
    let syncs = store.wal_syncs() - before;
    assert!(syncs < commits, "{syncs} syncs for {commits} commits");
    assert_eq!(store.len().unwrap(), 10 + commits);
}

#[test]
fn the_same_records_from_many_threads_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut log) = (open(&dir), Log::new(1, 0));
    let batches: Vec<_> = (0..10).map(|_| some(&mut log, 3)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| batches.iter().for_each(|batch| store.commit(batch).unwrap()));
        }
    });
    assert_eq!(store.len().unwrap(), 30);
    assert_eq!(store.head(&log.id()).unwrap().unwrap().len, 30);
}

/// Does nothing unless it is the child of [`a_second_opener_is_told`].
#[test]
fn opens_a_directory_in_use() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let error = Store::open(dir, OpenOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
}

#[test]
fn a_second_opener_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let error = Store::open(&dir, OpenOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    assert!(error.to_string().contains("another node uses this data directory"), "{error}");
    let output = child("opens_a_directory_in_use", dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // The first goes on, and gives the directory back.
    store.commit(&some(&mut Log::new(1, 0), 1)).unwrap();
    drop(store);
    assert_eq!(open(&dir).len().unwrap(), 1);
}

#[test]
fn a_place_that_cannot_be_a_directory_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Store::open(file.path(), OpenOptions::default()).unwrap_err();
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    assert!(matches!(error, StoreError::Storage(StorageError::Io(_))), "{error}");
}

/// A disk without room for a new table, for any user: where a store's next tables will be written stands a device that is
/// always full.
struct FullDisk {
    links: Vec<PathBuf>,
}

impl FullDisk {
    fn new(dir: &Path) -> Self {
        let numbers = files(dir, "").into_iter().filter_map(|path| path.file_stem()?.to_str()?.parse::<u64>().ok());
        let next = numbers.max().unwrap() + 1;
        let links: Vec<_> = (next..next + 200).map(|number| dir.join(format!("{number:06}.sst"))).collect();
        links.iter().for_each(|link| symlink("/dev/full", link).unwrap());
        Self { links }
    }

    fn free(self) {
        for link in self.links {
            if link.is_symlink() {
                fs::remove_file(link).unwrap();
            }
        }
    }
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| extension.is_empty() || path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn a_full_disk_refuses_whole_batches_and_is_forgotten_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = OpenOptions::default();
    options.write_buffer_bytes = 64 << 10; // soon a new file is needed
    let (store, mut log) = (Store::open(&dir, options).unwrap(), Log::new(1, 0));
    let disk = FullDisk::new(dir.path());
    let mut kept = Vec::new();
    let refused = loop {
        assert!(kept.len() < 100_000, "the disk never was full");
        let next = some(&mut log, 20);
        match store.commit(&next) {
            Ok(()) => kept.extend(next.records),
            Err(error) => {
                assert!(matches!(error, StorageError::Full(_)), "{error}");
                assert!(error.to_string().contains("free some space"), "{error}");
                break next;
            }
        }
    };
    // Nothing of it is there, all before it is, and it stays so however often one tries.
    let check = |store: &Store| {
        assert_eq!(store.len().unwrap(), kept.len() as u64);
        assert_holds(store, &kept);
        assert_eq!(store.head(&log.id()).unwrap(), kept.last().map(Record::as_head));
        assert!(refused.records.iter().all(|record| store.record(&record.id()).unwrap().is_none()));
    };
    check(&store);
    let error = store.private().put(&NUMBERS, &1, &Number(1)).unwrap_err();
    assert!(matches!(error, StoreError::Storage(StorageError::Full(_))), "{error}");
    assert_eq!(store.private().get(&NUMBERS, &1).unwrap(), None);

    disk.free();
    let given_up = Instant::now() + Duration::from_secs(60);
    while let Err(error) = store.commit(&refused) {
        assert!(matches!(error, StorageError::Full(_)), "{error}");
        assert!(Instant::now() < given_up, "room was not noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_holds(&store, &refused.records);
    drop(store);
    let store = open(&dir);
    assert_holds(&store, &kept);
    assert_holds(&store, &refused.records);
    assert_eq!(store.len().unwrap(), (kept.len() + refused.records.len()) as u64);
}

/// Runs one test of this file in a process whose files may have so many blocks of 512 bytes. A write beyond them is cut
/// off and fails instead of ending the process.
fn run_limited(test: &str, dir: &Path, blocks: u32) -> String {
    let inner = child(test, dir);
    let output = Command::new("sh")
        .args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(CHILD_DIR, dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Does nothing unless it is the child of [`a_start_that_cannot_write_loses_nothing`].
#[test]
fn cannot_start() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let error = Store::open(dir, OpenOptions::default()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Storage(StorageError::Full(text)) if text.contains("File too large")),
        "{error}"
    );
}

#[test]
fn a_start_that_cannot_write_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let records = written(dir.path());
    run_limited("cannot_start", dir.path(), 32);
    read_all(dir.path(), &records).unwrap();
}

/// Does nothing unless it is the child of [`a_write_that_is_cut_off_leaves_nothing`].
#[test]
fn commits_until_refused() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (store, mut log) = (open(dir), Log::new(1, 0));
    let error = (1_u64..)
        .find_map(|number| {
            let changes = Changes::new().put(&NUMBERS, &number, &Number(number));
            let refused = store.commit_with(&some(&mut log, 30), changes).err();
            if refused.is_none() {
                writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
            }
            refused
        })
        .unwrap();
    assert!(
        matches!(&error, StoreError::Storage(StorageError::Full(text)) if text.contains("File too large")),
        "{error}"
    );
    // From here on it refuses everything, rather than go on behind a gap.
    store.commit(&some(&mut Log::new(2, 0), 1)).unwrap_err();
}

#[test]
fn a_write_that_is_cut_off_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let said = run_limited("commits_until_refused", dir.path(), 512);
    let acknowledged = said.lines().filter(|line| line.starts_with("acknowledged ")).count();
    assert!(acknowledged > 3, "{said}");

    let (store, mut log) = (open(&dir), Log::new(1, 0));
    assert_holds(&store, &some(&mut log, 30 * acknowledged).records);
    assert_eq!(store.len().unwrap(), 30 * acknowledged as u64);
    assert_eq!(store.private().scan(&NUMBERS, .., usize::MAX).unwrap().len(), acknowledged);
    store.commit(&some(&mut log, 30)).unwrap();
}

/// Writes records and returns them. The directory is as a kill leaves it: its write-ahead log is not yet in a table.
fn written(dir: &Path) -> Vec<Record> {
    let mut log = Log::new(1, 0);
    let batches: Vec<_> = (0..20).map(|_| some(&mut log, 10)).collect();
    let living = tempfile::tempdir().unwrap();
    let store = open(&living);
    batches.iter().for_each(|batch| store.commit(batch).unwrap());
    for file in fs::read_dir(&living).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
    batches.into_iter().flat_map(|batch| batch.records).collect()
}

fn largest(dir: &Path, extension: &str) -> PathBuf {
    files(dir, extension).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test breaks a file on purpose")]
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

/// Opens the store and reads everything: the records as they were, or the reason why not.
fn read_all(dir: &Path, records: &[Record]) -> Result<(), StoreError> {
    let store = Store::open(dir, OpenOptions::default())?;
    for record in records {
        assert_eq!(store.record(&record.id())?.as_ref(), Some(record));
    }
    assert_eq!(store.len()?, records.len() as u64);
    Ok(())
}

#[test]
fn changed_bytes_in_a_table_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let records = written(dir.path());
    read_all(dir.path(), &records).unwrap(); // a start moves the log to tables
    let table = largest(dir.path(), "sst");
    let len = fs::metadata(&table).unwrap().len() as usize;
    let mut found = 0;
    for at in (0..16).map(|part| len / 16 * part + 7) {
        flip(&table, at);
        if let Err(error) = read_all(dir.path(), &records) {
            assert!(matches!(error, StoreError::Storage(StorageError::Damaged(_))), "{error}");
            assert!(error.to_string().contains(".sst"), "{error}");
            found += 1;
        }
        flip(&table, at);
        // A start makes new tables of the log that it writes; the one under test stays.
        assert!(table.exists());
    }
    assert!(found >= 14, "{found} of 16");
    read_all(dir.path(), &records).unwrap();
}

#[test]
fn an_unfinished_write_is_forgiven_and_damage_before_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let records = written(dir.path());
    let log = largest(dir.path(), "log");
    let len = fs::metadata(&log).unwrap().len();

    flip(&log, (len / 2) as usize);
    let error = read_all(dir.path(), &records).unwrap_err();
    assert!(matches!(error, StoreError::Storage(StorageError::Damaged(_))), "{error}");
    flip(&log, (len / 2) as usize);

    // Power fails in the middle of the last batch.
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(len - 100).unwrap();
    read_all(dir.path(), &records[..190]).unwrap();
}

#[test]
fn a_stop_leaves_nothing_to_be_read_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut log) = (open(&dir), Log::new(1, 0));
    let records = some(&mut log, 100);
    store.commit(&records).unwrap();
    let in_log = || files(dir.path(), "log").iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    assert!(in_log() > 0);
    drop(store);
    assert_eq!(in_log(), 0);
    read_all(dir.path(), &records.records).unwrap();
}
