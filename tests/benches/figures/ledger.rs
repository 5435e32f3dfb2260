//! What checking, keeping, opening and auditing records costs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use ed25519_zebra::{Signature, VerificationKeyBytes, batch};
use exchange_ledger::audit::Scope;
use exchange_ledger::ledger::Ledger;
use exchange_ledger::record::{Record, signed_bytes, verify_batch};
use exchange_ledger::storage::Storage;
use exchange_node::keeper::Keeper;
use exchange_node::net::Verdict;
use exchange_store::{OpenOptions, Store, audit};
use futures::{StreamExt, stream};

use crate::Outcome;
use crate::corpus::{NETWORK, history};
use crate::figure::{Figure, Target};

/// Rings of 50 authors of the whole corpus: a million records.
const RINGS: u32 = 100;
const RECORDS_EACH: u32 = 200;
/// How many records `ingest` is about.
const INGESTED: usize = 200_000;
/// Where `growth` looks at the time.
const MARKS: [usize; 3] = [10_000, 100_000, 1_000_000];
/// Records of the small store that `open` compares with.
const FEW: usize = 10_000;
/// How often a store is opened; the slowest counts, which is the first, after all that was written.
const OPENED: usize = 3;
/// Names the directory in which a process of this program takes records in until it is killed.
pub const KILLED_IN: &str = "FIGURES_KILLED_IN";
/// Rings of what that process takes in: 100,000 records, more than the write-ahead log may hold.
const KILLED_RINGS: u32 = 10;
/// Records that are checked at once, as the keeper and the audit do, and as the limit does.
const BATCH: usize = 1024;
/// Records in one answer of a peer: 256 KiB.
const ANSWER: usize = 700;
/// Answers under way at once: as many as a node has sync sessions.
const SESSIONS: usize = 8;
/// Records that are verified one by one: enough for a rate.
const SINGLES: usize = 10_000;
/// The cores that the limit may use.
const CORES: usize = 2;
/// What blinds batches here; a node draws it afresh.
const ENTROPY: [u8; 32] = [0x42; 32];
/// What the limit of `ingest` and `audit` is.
const LIMIT: &str = "bare batch verification on 2 cores";

/// Prints `verify`, `ingest`, `growth`, `disk`, `open`, `open_killed` and `audit`.
///
/// # Errors
/// When the disk fails, or a record is not taken.
pub fn measure() -> Outcome<()> {
    let encoded = history(RINGS, RECORDS_EACH)?;
    let (count, bytes) = (encoded.len(), encoded.iter().map(Vec::len).sum());
    let records: Vec<Record> =
        encoded.iter().take(INGESTED).map(|bytes| Record::decode(bytes)).collect::<Result<_, _>>()?;
    verify(&records)?;
    let limit = bare_verification(&records);
    let (small, large) = (tempfile::tempdir()?, tempfile::tempdir()?);
    ingest(small.path(), encoded[..FEW].to_vec())?;
    let times = ingest(large.path(), encoded)?;
    Figure {
        figure: "ingest",
        value: rate_at(&times, INGESTED),
        unit: "records/s",
        beside: LIMIT,
        beside_value: limit,
        target: Target::RatioAndValueFrom(0.6, 50_000.0),
    }
    .print_or_bound(
        "both cores are busy: beside the signatures, with the curve keys in bodies, the inserts into the database and the book",
    )?;
    growth(&times)?;
    open(small.path(), large.path())?;
    disk(large.path(), count, bytes)?;
    let limit = bare_verification(&records);
    drop(records);
    Figure {
        figure: "audit",
        value: audited_per_second(large.path(), count)?,
        unit: "records/s",
        beside: LIMIT,
        beside_value: limit,
        target: Target::RatioFrom(0.6),
    }
    .print_or_bound("the records of each trade are read and decoded a second time, from wherever they lie")
}

fn verify(records: &[Record]) -> Outcome<()> {
    let start = Instant::now();
    for batch in records.chunks(BATCH) {
        verify_batch(batch, ENTROPY).into_iter().collect::<Result<Vec<()>, _>>()?;
    }
    let batched = per_second(records.len(), start);
    let start = Instant::now();
    records.iter().take(SINGLES).try_for_each(Record::verify)?;
    Figure {
        figure: "verify",
        value: batched,
        unit: "records/s",
        beside: "one by one",
        beside_value: per_second(SINGLES.min(records.len()), start),
        target: Target::RatioFrom(1.5),
    }
    .print()
}

/// Returns how many signatures a second the library itself checks in batches, on all cores, with everything prepared.
fn bare_verification(records: &[Record]) -> f64 {
    let messages: Vec<_> = records
        .iter()
        .map(|r| (VerificationKeyBytes::from(r.author().0), Signature::from(*r.signature()), signed_bytes(&r.id())))
        .collect();
    let start = Instant::now();
    thread::scope(|scope| {
        for half in messages.chunks(messages.len().div_ceil(CORES)) {
            scope.spawn(move || {
                for batch in half.chunks(BATCH) {
                    let mut verifier = batch::Verifier::new();
                    batch.iter().for_each(|(key, signature, message)| verifier.queue((*key, *signature, message)));
                    verifier.verify(ChaCha20Rng::from_seed(ENTROPY)).expect("the corpus is signed");
                }
            });
        }
    });
    per_second(records.len(), start)
}

/// Lets a keeper take in all records and stops it. Returns how many were in after how many seconds.
fn ingest(dir: &Path, records: Vec<Vec<u8>>) -> Outcome<Vec<(usize, f64)>> {
    let (keeper, thread) = Keeper::start(Store::open(dir, OpenOptions::default())?, NETWORK)?;
    let times = take_in(&keeper, records)?;
    drop(keeper);
    thread.join().map_err(|_| "the keeper's thread panicked")?;
    Ok(times)
}

/// Takes records in, says so, and waits until it is killed.
///
/// # Errors
/// When the disk fails, or whoever waits for it is gone.
pub fn wait_for_a_kill(dir: &Path) -> Outcome<()> {
    let (keeper, _thread) = Keeper::start(Store::open(dir, OpenOptions::default())?, NETWORK)?;
    take_in(&keeper, history(KILLED_RINGS, RECORDS_EACH)?)?;
    let mut out = std::io::stdout();
    writeln!(out, "taken in")?;
    out.flush()?;
    loop {
        thread::park();
    }
}

/// Hands records to a keeper as sync sessions do.
fn take_in(keeper: &Keeper, records: Vec<Vec<u8>>) -> Outcome<Vec<(usize, f64)>> {
    let mut records = records.into_iter();
    let answers: Vec<Vec<Vec<u8>>> = std::iter::from_fn(|| {
        let answer: Vec<_> = records.by_ref().take(ANSWER).collect();
        (!answer.is_empty()).then_some(answer)
    })
    .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut times, mut refused, mut count) = (Vec::new(), 0, 0);
    let start = Instant::now();
    runtime.block_on(async {
        let mut taken = stream::iter(answers).map(|answer| keeper.ingest(answer)).buffered(SESSIONS);
        while let Some(verdicts) = taken.next().await {
            refused += verdicts.iter().filter(|verdict| **verdict != Verdict::Accept).count();
            count += verdicts.len();
            times.push((count, start.elapsed().as_secs_f64()));
        }
    });
    if refused > 0 { Err(format!("the keeper refused {refused} records of the corpus").into()) } else { Ok(times) }
}

/// Returns how many records a second were taken in until there were `mark`.
fn rate_at(times: &[(usize, f64)], mark: usize) -> f64 {
    times.iter().find(|(records, _)| *records >= mark).map_or(0.0, |(records, seconds)| count(*records) / seconds)
}

fn growth(times: &[(usize, f64)]) -> Outcome<()> {
    let costs = MARKS.map(|mark| 1e6 / rate_at(times, mark));
    Figure {
        figure: "growth",
        value: costs.into_iter().fold(0.0, f64::max),
        unit: "us a record, on the way to 10k, 100k or 1M, whichever is most",
        beside: "whichever is least",
        beside_value: costs.into_iter().fold(f64::INFINITY, f64::min),
        target: Target::RatioTo(1.2),
    }
    .print_or_bound("each look-up asks more tables the more there are, and they are merged more often")
}

fn open(small: &Path, large: &Path) -> Outcome<()> {
    let stopped = slowest_start(large)?;
    Figure {
        figure: "open",
        value: stopped,
        unit: "s until ready to serve",
        beside: "with 10k records",
        beside_value: slowest_start(small)?,
        target: Target::ValueTo(0.5),
    }
    .print()?;
    let killed = tempfile::tempdir()?;
    let mut process = Command::new(std::env::current_exe()?)
        .env(KILLED_IN, killed.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let said = process.stdout.take().and_then(|said| BufReader::new(said).lines().next());
    process.kill()?;
    process.wait()?;
    if said.is_none() {
        return Err("the process that was to be killed died before".into());
    }
    Figure {
        figure: "open_killed",
        value: start(killed.path())?,
        unit: "s until ready to serve after a kill",
        beside: "a million, after a stop",
        beside_value: stopped,
        target: Target::ValueTo(0.5),
    }
    .print_or_bound("what was written last is read from the write-ahead log")
}

fn slowest_start(dir: &Path) -> Outcome<f64> {
    let mut slowest: f64 = 0.0;
    for _ in 0..OPENED {
        slowest = slowest.max(start(dir)?);
    }
    Ok(slowest)
}

/// Starts a keeper, stops it, and returns how long the start took.
fn start(dir: &Path) -> Outcome<f64> {
    let begin = Instant::now();
    let (keeper, thread) = Keeper::start(Store::open(dir, OpenOptions::default())?, NETWORK)?;
    let took = begin.elapsed().as_secs_f64();
    drop(keeper);
    thread.join().map_err(|_| "the keeper's thread panicked")?;
    Ok(took)
}

fn disk(dir: &Path, records: usize, bytes: usize) -> Outcome<()> {
    Store::open(dir, OpenOptions::default())?.compact()?;
    let mut used = 0;
    for entry in std::fs::read_dir(dir)? {
        used += entry?.metadata()?.blocks() * 512; // the unit of `st_blocks`
    }
    let each = |bytes: f64| bytes / count(records);
    Figure {
        figure: "disk",
        value: each(used as f64),
        unit: "bytes a record",
        beside: "its own bytes",
        beside_value: each(count(bytes)),
        target: Target::RatioTo(1.3),
    }
    .print()
}

fn audited_per_second(dir: &Path, records: usize) -> Outcome<f64> {
    let ledger = Ledger::new(Store::open(dir, OpenOptions::default())?, NETWORK);
    let start = Instant::now();
    let report = audit(&ledger, &Scope::default(), ENTROPY)?;
    let rate = per_second(records, start);
    let all = ledger.storage().len()?;
    if report.records != all || !report.violations.is_empty() || report.trades.is_empty() {
        return Err(format!("the audit saw {} of {all} records, {:?}", report.records, report.violations).into());
    }
    Ok(rate)
}

fn per_second(records: usize, start: Instant) -> f64 {
    count(records) / start.elapsed().as_secs_f64()
}

/// Counts here are far below 2^53, so nothing is lost.
fn count(items: usize) -> f64 {
    items as f64
}
