//! A directory of schema 3, and what becomes of it.

use bitcoin::ScriptBuf;
use ed25519_dalek::{Signer, SigningKey};
use exchange_ledger::body::{Party, Take};
use exchange_ledger::ids::AuthorId;
use exchange_ledger::money::Sats;
use exchange_ledger::record::{Header, Kind};
use exchange_ledger::storage::{Batch, Fork, Storage};
use exchange_ledger::wire::{CurveKey, Destination};

use super::*;
use crate::Store;
use crate::db::OpenOptions;
use crate::keys::{SCHEMA, Spot};

const OFFER: RecordId = RecordId([5; 32]);

fn take() -> Vec<u8> {
    let key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
    let script = ScriptBuf::from_hex("0014751e76e8199196d454941c45d1b3a323f1433bd6").unwrap();
    let destination = Destination::new(script).unwrap();
    let party = Party { trade_key: CurveKey(key), seal_key: [2; 32], destination, details: [3; 32] };
    let amount = Sats::new(400_000).unwrap();
    let take = Take { offer: OFFER, amount, method: 0, arbiter: 0, second_arbiter: None, nonce: [7; 32], party };
    Body::Take(take).encode()
}

fn record(author: u8, before: Option<&Record>, kind: Kind, body: Vec<u8>) -> Record {
    let key = SigningKey::from_bytes(&[author; 32]);
    let header = Header {
        network: [1, 2, 3, 4],
        log: LogId { author: AuthorId(key.verifying_key().to_bytes()), epoch: 5 },
        seq: before.map_or(0, |before| before.header().seq + 1),
        backlink: before.map_or(RecordId([0; 32]), Record::id),
        time: 1_800_000_000 - u64::from(author),
        kind,
        flags: 0,
        body_len: 0,
        body_hash: [0; 32],
        admission: 0,
    };
    Record::sign(header, body, |message| key.sign(message).to_bytes()).unwrap()
}

/// Makes of a directory what version 3 of its schema was: nothing by age, bids among what is said about offers.
fn write_old(db: &Arc<RawDb>) {
    let records = Records::new(Arc::clone(db)).unwrap();
    for_each_batch(db, |batch| {
        let mut writes = db.begin();
        for (record, standing) in batch {
            let (header, place) = (record.header(), record.place());
            let seq = short_seq(place.seq)?;
            let number = records.log_number(&header.log)?.unwrap();
            writes.delete(Family::Droppable, &keys::aged(header.time, Spot { log: number, seq }));
            if let Some(offer) = bid(record) {
                writes.delete(Family::Subjects, &keys::subject(&bids_for(&offer), &place, seq, *standing));
                writes.put(Family::Subjects, &keys::subject(&offer, &place, seq, *standing), place.id.as_bytes());
            }
        }
        writes.commit()
    })
    .unwrap();
    let mut writes = db.begin();
    writes.put(Family::Meta, SCHEMA, &3_u32.to_be_bytes());
    writes.commit().unwrap();
}

#[test]
fn a_directory_of_schema_3_lists_its_records_by_age_and_its_bids_apart() {
    let dir = tempfile::tempdir().unwrap();
    let honest = record(1, None, Kind::Take, take());
    let short = record(1, Some(&honest), Kind::Unknown(999), vec![1; 63]);
    let cheat = record(2, None, Kind::Take, take());
    let mut frozen =
        vec![record(2, Some(&cheat), Kind::Take, take()), record(2, Some(&cheat), Kind::Unknown(999), vec![1; 64])];
    frozen.sort_by_key(Record::place);
    let log = cheat.header().log;
    let records = vec![honest.clone(), short, cheat];
    let batch = Batch { records, forks: [(log, Fork { from: 1, frozen })].into() };
    let asked = |store: &Store| {
        let about = |subject: &RecordId| store.about(subject, None, usize::MAX).unwrap();
        (store.droppable(u64::MAX, None, usize::MAX).unwrap(), about(&OFFER), about(&bids_for(&OFFER)))
    };
    let expected = {
        let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
        store.commit(&batch).unwrap();
        asked(&store)
    };
    assert_eq!((expected.0.len(), expected.1.len(), expected.2.len()), (2, 0, 3));
    {
        let db = Arc::new(RawDb::open(dir.path(), OpenOptions::default()).unwrap());
        write_old(&db);
        assert!(matches!(check(&db), Err(CheckError::Refused(_))));
        // Cut off before it was confirmed, it is run again.
        run(&db).unwrap();
    }
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    assert_eq!(asked(&store), expected);
    assert_eq!(store.record(&honest.id()).unwrap(), Some(honest));
}
