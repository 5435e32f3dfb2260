//! Damage is named, with where it is; and what is read together.

use exchange_ledger::record::Header;
use exchange_ledger::storage::Batch;

use super::*;
use crate::db::OpenOptions;

#[test]
fn what_is_not_what_was_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(RawDb::open(dir.path(), OpenOptions::default()).unwrap());
    let records = Records::new(Arc::clone(&db)).unwrap();
    let log = LogId { author: AuthorId([0xcd; 32]), epoch: 1 };
    let other = LogId { author: AuthorId([0xce; 32]), epoch: 1 };
    let place = Place { log, seq: 0, id: RecordId([0xab; 32]) };
    let (missing, malformed) = (RecordId([0xaa; 32]), place.id);
    let head = HeadRow { len: 3, frozen: Some(exchange_ledger::ids::FrozenHash([0; 32])), ..HeadRow::empty(7, [0; 4]) };
    let spot = |seq| Spot { log: 7, seq };
    let mut writes = db.begin();
    writes.put(Family::Heads, &keys::log(&log), &encoding::encode(&head));
    writes.put(Family::Heads, &keys::log(&other), &[9]);
    writes.put(Family::Names, &7_u32.to_be_bytes(), &encoding::encode(&head.name(log)));
    writes.put(Family::Names, &8_u32.to_be_bytes(), &[9]);
    writes.put(Family::Chains, &spot(0).to_bytes(), b"");
    writes.put(Family::Chains, &spot(1).to_bytes(), b"not a record");
    writes.put(Family::Frozen, &keys::frozen(spot(3), &malformed), b"not a record");
    writes.put(Family::Ids, malformed.as_bytes(), &spot(1).to_bytes());
    writes.put(Family::Ids, missing.as_bytes(), &spot(9).to_bytes());
    writes.put(Family::Ids, &[0xac; 32], b"not a place");
    writes.put(Family::Ids, &[0xad; 32], &Spot { log: 8, seq: 0 }.to_bytes());
    writes.put(Family::Kinds, &keys::kind_prefix(Kind::Offer, None), &[]);
    writes.put(Family::Subjects, &keys::subject(&malformed, &place, 0, Standing::Chain), b"not an id");
    writes.put(Family::OpenOffers, b"not an id", &[]);
    writes.put(Family::Meta, keys::RECORD_COUNT, &[1]);
    writes.commit().unwrap();

    let (ab, cd) = ("ab".repeat(32), "cd".repeat(32));
    let errors = [
        (records.record(&malformed).unwrap_err(), ab.as_str()),
        (records.record(&missing).unwrap_err(), "missing"),
        (records.record(&RecordId([0xac; 32])).unwrap_err(), "the place at acac"),
        (records.record(&RecordId([0xad; 32])).unwrap_err(), "log_names"),
        (records.id_at(&log, 0).unwrap_err(), "0000000700000001 in chains"),
        (records.range(&log, 0, 9).unwrap_err(), "0000000700000000 in chains"),
        (records.frozen(&log).unwrap_err(), "frozen"),
        (records.head(&other).unwrap_err(), "cecece"),
        (records.heads(None, 9).unwrap_err(), "cecece"),
        (records.logs_of(&other.author, 9).unwrap_err(), "cecece"),
        (records.of_kind(Kind::Offer, None, None, 9).unwrap_err(), "record_kinds"),
        (records.about_within(&keys::subject_prefix(&malformed, None), 9).unwrap_err(), &cd),
        (records.open_offers(None, 9).unwrap_err(), "open_offers"),
        (records.len().unwrap_err(), "meta"),
    ];
    for (error, name) in errors {
        assert!(matches!(&error, StorageError::Damaged(what) if what.contains(name)), "{error}");
    }
}

#[test]
fn many_are_read_together_and_damage_is_left_to_who_asks_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(RawDb::open(dir.path(), OpenOptions::default()).unwrap());
    let records = Records::new(Arc::clone(&db)).unwrap();
    let log = LogId { author: AuthorId([7; 32]), epoch: 1 };
    let mut written: Vec<Record> = Vec::new();
    for _ in 0..8 {
        let header = match written.last() {
            Some(last) => Header::after(&last.as_head(), [0; 4], Kind::Heartbeat, 0),
            None => Header::first(log, [0; 4], Kind::Heartbeat, 0, 0),
        };
        written.push(Record::sign(header, Vec::new(), |_| [0; 64]).unwrap());
    }
    let mut writes = db.begin();
    let pending = records.add(&Batch { records: written.clone(), ..Batch::default() }, &mut writes).unwrap();
    writes.commit().unwrap();
    pending.written();
    let read = |places: &[Place]| {
        let mut read = records.read_many(places).unwrap();
        read.sort_by_key(Record::place);
        read
    };

    let (places, ids): (Vec<Place>, Vec<RecordId>) =
        written.iter().map(|record| (record.place(), record.id())).collect();
    let elsewhere = Place { log: LogId { epoch: 2, ..log }, ..places[4] };
    let mut found = records.places(&[ids[3], RecordId([9; 32]), ids[1], ids[3]]).unwrap();
    found.sort_unstable();
    assert_eq!(found, [places[1], places[3]]);
    assert_eq!(read(&[places[1], elsewhere, places[0]]), written[..2]);
    assert!(records.cache.get(&ids[0]).is_err(), "whoever reads many has them");

    let damaged = Spot { log: records.log_number(&log).unwrap().unwrap(), seq: 4 };
    let mut writes = db.begin();
    writes.put(Family::Chains, &damaged.to_bytes(), b"not a record");
    writes.commit().unwrap();
    written.remove(4);
    assert_eq!(read(&places), written);
    assert!(records.record(&ids[4]).is_err());
}
