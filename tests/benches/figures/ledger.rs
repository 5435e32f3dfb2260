//! What checking, keeping and auditing records costs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use ed25519_zebra::{Signature, VerificationKeyBytes, batch};
use exchange_ledger::audit::audit;
use exchange_ledger::ledger::Ledger;
use exchange_ledger::record::{Record, signed_bytes, verify_batch};
use exchange_ledger::storage::Storage;
use exchange_node::keeper::Keeper;
use exchange_node::net::Verdict;
use exchange_store::{OpenOptions, Store};
use futures::{StreamExt, stream};

use crate::Outcome;
use crate::corpus::{NETWORK, history};
use crate::figure::{Figure, Target};

const AUTHORS: u32 = 500;
const RECORDS_EACH: u32 = 100;
/// Records that are checked at once, as the keeper and the audit do.
const BATCH: usize = 256;
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

/// Prints `verify`, `ingest`, `disk` and `audit`.
///
/// # Errors
/// When the disk fails, or a record is not taken.
pub fn measure() -> Outcome<()> {
    let records = history(AUTHORS, RECORDS_EACH)?;
    let bytes: usize = records.iter().map(|record| record.encode().len()).sum();
    verify(&records)?;
    let limit = bare_verification(&records);
    let dir = tempfile::tempdir()?;
    let ingested = ingest(dir.path(), &records)?;
    Figure {
        figure: "ingest",
        value: ingested,
        unit: "records/s",
        beside: "bare batch verification on 2 cores",
        beside_value: limit,
        target: Target::RatioAndValueFrom(0.6, 50_000.0),
    }
    .print()?;
    // Opening it again brings what stands in the write-ahead log into tables.
    let store = Store::open(dir.path(), OpenOptions::default())?;
    disk(dir.path(), records.len(), bytes)?;
    let audited = audited_per_second(store, records.len())?;
    Figure {
        figure: "audit",
        value: audited,
        unit: "records/s",
        beside: "bare batch verification on 2 cores",
        beside_value: limit,
        target: Target::RatioFrom(0.6),
    }
    .print()
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

/// Lets the keeper take in all records, as sync sessions hand them over.
fn ingest(dir: &Path, records: &[Record]) -> Outcome<f64> {
    let answers: Vec<Vec<Vec<u8>>> =
        records.chunks(ANSWER).map(|answer| answer.iter().map(Record::encode).collect()).collect();
    let (keeper, thread) = Keeper::start(Store::open(dir, OpenOptions::default())?, NETWORK)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let start = Instant::now();
    let verdicts = runtime.block_on(async {
        let taken = stream::iter(answers).map(|answer| keeper.ingest(answer)).buffered(SESSIONS);
        taken.concat().await
    });
    let rate = per_second(records.len(), start);
    if verdicts.iter().any(|verdict| *verdict != Verdict::Accept) {
        return Err("the keeper refused a record of the corpus".into());
    }
    drop((keeper, runtime));
    thread.join().map_err(|_| "the keeper's thread panicked")?;
    Ok(rate)
}

fn disk(dir: &Path, records: usize, bytes: usize) -> Outcome<()> {
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

fn audited_per_second(store: Store, records: usize) -> Outcome<f64> {
    let ledger = Ledger::new(store, NETWORK);
    let start = Instant::now();
    let report = audit(&ledger, None, ENTROPY)?;
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
