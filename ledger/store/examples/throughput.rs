//! Measures how many records a second the store keeps durably: one thread, batches of 500; then one record at a time from
//! one and from eight threads.

use std::io::Write;
use std::time::Instant;

use ed25519_dalek::{Signer, SigningKey};
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::record::{Header, Kind, LogId, Record};
use exchange_ledger::storage::Batch;
use exchange_store::{OpenOptions, Store};

/// The body of a usual record.
const BODY_LEN: usize = 240;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path(), OpenOptions::default())?;
    for (name, threads, batches, size) in
        [("batches of 500", 1, 20, 500), ("one by one", 1, 500, 1), ("8 threads", 8, 500, 1)]
    {
        let work: Vec<_> = (0..threads).map(|thread| records(name.len() as u8 + thread, batches, size)).collect();
        let (start, syncs) = (Instant::now(), store.wal_syncs());
        std::thread::scope(|scope| {
            let running: Vec<_> =
                work.iter().map(|work| scope.spawn(|| work.iter().try_for_each(|batch| store.commit(batch)))).collect();
            running.into_iter().try_for_each(|thread| thread.join().expect("the thread does not panic"))
        })?;
        let (count, took) = (usize::from(threads) * batches * size, start.elapsed());
        let (rate, syncs) = (count as u128 * 1_000_000 / took.as_micros(), store.wal_syncs() - syncs);
        writeln!(std::io::stdout(), "{name}: {count} records in {took:.2?}, {rate}/s, {syncs} syncs")?;
    }
    Ok(())
}

fn records(author: u8, batches: usize, size: usize) -> Vec<Batch> {
    let key = SigningKey::from_bytes(&[author; 32]);
    let log = LogId { author: AuthorId(key.verifying_key().to_bytes()), epoch: 0 };
    let mut backlink = RecordId([0; 32]);
    let mut seq = 0;
    let mut next = || {
        let header = Header {
            network: [0xfa, 0xbf, 0xb5, 0xda],
            log,
            seq,
            backlink,
            time: seq,
            kind: Kind::Unknown(999),
            flags: 0,
            body_len: 0,
            body_hash: [0; 32],
            admission: 0,
        };
        let record =
            Record::sign(header, vec![author; BODY_LEN], |message| key.sign(message).to_bytes()).expect("short");
        (backlink, seq) = (record.id(), seq + 1);
        record
    };
    (0..batches).map(|_| Batch { records: (0..size).map(|_| next()).collect(), ..Batch::default() }).collect()
}
