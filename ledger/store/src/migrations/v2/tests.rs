//! A directory of schema 1, as its version wrote it, and what becomes of it.

use std::path::Path;

use ed25519_dalek::{Signer, SigningKey};
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::record::{Header, Kind};
use rocksdb::{DB, Options};

use super::*;
use crate::db::OpenOptions;
use crate::keys::SCHEMA;

fn record(author: u8, seq: u64, backlink: RecordId, body: u8) -> Record {
    let key = SigningKey::from_bytes(&[author; 32]);
    let header = Header {
        network: [1, 2, 3, 4],
        log: LogId { author: AuthorId(key.verifying_key().to_bytes()), epoch: 5 },
        seq,
        backlink,
        time: 1_800_000_000,
        kind: Kind::Unknown(999),
        flags: 0,
        body_len: 0,
        body_hash: [0; 32],
        admission: 0,
    };
    Record::sign(header, vec![body], |message| key.sign(message).to_bytes()).unwrap()
}

fn chain(author: u8, len: u64) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for seq in 0..len {
        records.push(record(author, seq, records.last().map_or(RecordId([0; 32]), Record::id), 0));
    }
    records
}

fn old_place(record: &Record) -> Vec<u8> {
    let header = record.header();
    [keys::log(&header.log).as_slice(), &header.seq.to_be_bytes()].concat()
}

/// Writes a directory as version 1 did.
fn write_old(dir: &Path, records: &[Record], proofs: &[(&Record, &Record)]) {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let names = OUTDATED.iter().chain(&["meta", "private"]);
    let db = DB::open_cf(&options, dir, names).unwrap();
    let put = |family: &str, key: &[u8], value: &[u8]| db.put_cf(&db.cf_handle(family).unwrap(), key, value).unwrap();
    for record in records {
        put("records", record.id().as_bytes(), &record.encode());
        put("logs", &old_place(record), record.id().as_bytes());
    }
    for (kept, other) in proofs {
        let row = borsh::to_vec(&(1_u8, kept.encode(), other.encode())).unwrap();
        put("equivocations", &old_place(kept), &row);
    }
    put("private", &[1, 7], b"a row");
    put("meta", SCHEMA, &1_u32.to_be_bytes());
    put("meta", b"records", &(records.len() as u64).to_be_bytes());
}

#[test]
fn a_directory_of_schema_1_keeps_its_records_and_private_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (honest, cheat) = (chain(1, 1500), chain(2, 5));
    let other = record(2, 3, cheat[2].id(), 9);
    write_old(dir.path(), &[honest.clone(), cheat.clone()].concat(), &[(&cheat[3], &other)]);

    let db = Arc::new(RawDb::open(dir.path(), OpenOptions::default()).unwrap());
    // Cut off before it was confirmed, it is run again.
    let half = Batch { records: honest[..700].to_vec(), ..Batch::default() };
    commit(&db, &Records::new(Arc::clone(&db)).unwrap(), &half).unwrap();
    super::super::run(&db).unwrap();

    let records = Records::new(Arc::clone(&db)).unwrap();
    assert_eq!(records.range(&honest[0].header().log, 0, usize::MAX).unwrap(), honest);
    assert_eq!(records.range(&cheat[0].header().log, 0, usize::MAX).unwrap(), cheat[..3]);
    let mut frozen = vec![cheat[3].clone(), other];
    frozen.sort_by_key(Record::id);
    frozen.push(cheat[4].clone());
    assert_eq!(records.frozen(&cheat[0].header().log).unwrap(), frozen);
    assert_eq!(records.len().unwrap(), 1506);
    assert_eq!(db.get(Family::Private, &[1, 7]).unwrap().as_deref(), Some(b"a row".as_slice()));
    assert_eq!(db.get(Family::Meta, SCHEMA).unwrap().as_deref(), Some(6_u32.to_be_bytes().as_slice()));
    drop((records, db));
    RawDb::open(dir.path(), OpenOptions::default()).unwrap();
}

#[test]
fn a_damaged_record_stops_the_migration_and_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let records = chain(1, 3);
    write_old(dir.path(), &records, &[]);
    let stray = record(1, 3, RecordId([0; 32]), 0);
    {
        let db = DB::open_cf(&Options::default(), dir.path(), OUTDATED.iter().chain(&["default", "meta", "private"]));
        let db = db.unwrap();
        db.put_cf(&db.cf_handle("logs").unwrap(), old_place(&stray), stray.id().as_bytes()).unwrap();
    }
    let db = Arc::new(RawDb::open(dir.path(), OpenOptions::default()).unwrap());
    let error = super::super::run(&db).unwrap_err();
    assert!(error.to_string().contains(&hex::encode(stray.id().as_bytes())), "{error}");
    assert_eq!(db.get(Family::Meta, SCHEMA).unwrap().as_deref(), Some(1_u32.to_be_bytes().as_slice()));
    assert_eq!(db.outdated("records").count(), 3);
}
