//! Schema 5: records by age under the numbers of their logs instead of their authors, and without their ids, which follow from
//! where they stand: a fifth of the bytes.

use std::sync::Arc;

use exchange_ledger::storage::StorageError;

use super::{CheckError, Migration};
use crate::db::{Entry, RawDb};
use crate::keys::{self, Family, Spot};
use crate::records::Records;

pub(super) const MIGRATION: Migration = Migration { to: 5, run, check };

/// The tables whose keys have the old shape.
const BY_AGE: [Family; 2] = [Family::Droppable, Family::Bare];
/// Bytes of a key of schema 4: time, author, epoch, seq.
const OLD_LEN: usize = 8 + 36 + 4;
/// How many rows are written at once.
const BATCH: usize = 4096;

fn run(db: &Arc<RawDb>) -> Result<(), StorageError> {
    let records = Records::new(Arc::clone(db))?;
    for table in BY_AGE {
        let mut old = old(db, table);
        loop {
            let batch: Vec<Entry> = old.by_ref().take(BATCH).collect::<Result<_, _>>()?;
            let mut writes = db.begin();
            for (key, _) in &batch {
                writes.delete(table, key);
                if let Some(new) = renamed(&records, key)? {
                    writes.put(table, &new, &[]);
                }
            }
            if writes.is_empty() {
                break;
            }
            writes.commit()?;
        }
    }
    Ok(())
}

/// Returns the rows that still have the old shape, as they were when this was called.
fn old(db: &RawDb, table: Family) -> impl Iterator<Item = Result<Entry, StorageError>> {
    db.prefixed(table, &[]).filter(|entry| entry.as_ref().map_or(true, |(key, _)| key.len() == OLD_LEN))
}

fn renamed(records: &Records, key: &[u8]) -> Result<Option<[u8; 16]>, StorageError> {
    let damaged = || StorageError::Damaged(format!("row {} by age is malformed", hex::encode(key)));
    let (time, place) = key.split_first_chunk().ok_or_else(damaged)?;
    let (log, seq) = place.split_last_chunk().ok_or_else(damaged)?;
    let number = records.log_number(&keys::parse_log(log).ok_or_else(damaged)?)?;
    Ok(number.map(|log| keys::aged(u64::from_be_bytes(*time), Spot { log, seq: u32::from_be_bytes(*seq) })))
}

fn check(db: &Arc<RawDb>) -> Result<(), CheckError> {
    for table in BY_AGE {
        if let Some((key, _)) = old(db, table).next().transpose()? {
            return Err(CheckError::Refused(format!("row {} was left behind in {}", hex::encode(key), table.name())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};
    use exchange_ledger::ids::{AuthorId, RecordId};
    use exchange_ledger::record::{Header, Kind, LogId, Record};
    use exchange_ledger::storage::{Aged, Batch, Storage};

    use super::*;
    use crate::Store;
    use crate::db::OpenOptions;
    use crate::migrations::v4;

    fn log_of(author: u8) -> Vec<Record> {
        let key = SigningKey::from_bytes(&[author; 32]);
        let log = LogId { author: AuthorId(key.verifying_key().to_bytes()), epoch: 5 };
        let mut records: Vec<Record> = Vec::new();
        for seq in 0..3 {
            let header = Header {
                network: [1, 2, 3, 4],
                log,
                seq,
                backlink: records.last().map_or(RecordId([0; 32]), Record::id),
                time: 1_800_000_000 + seq / 2,
                kind: Kind::Unknown(999),
                flags: 0,
                body_len: 0,
                body_hash: [0; 32],
                admission: 0,
            };
            let body = vec![1; 64];
            records.push(Record::sign(header, body, |message| key.sign(message).to_bytes()).unwrap());
        }
        records
    }

    fn by_age(store: &Store) -> (Vec<Aged>, Vec<Aged>) {
        (store.droppable(u64::MAX, None, usize::MAX).unwrap(), store.bare(0, None, usize::MAX).unwrap())
    }

    /// Makes of a directory what version 4 of its schema was.
    fn write_old(db: &RawDb, (droppable, bare): &(Vec<Aged>, Vec<Aged>)) {
        let mut writes = db.begin();
        for (table, rows) in [(Family::Droppable, droppable), (Family::Bare, bare)] {
            for entry in db.prefixed(table, &[]) {
                writes.delete(table, &entry.unwrap().0);
            }
            for Aged { time, place } in rows {
                let key = v4::aged(*time, &place.log, u32::try_from(place.seq).unwrap());
                writes.put(table, &key, place.id.as_bytes());
            }
        }
        writes.put(Family::Meta, keys::SCHEMA, &4_u32.to_be_bytes());
        writes.commit().unwrap();
    }

    #[test]
    fn a_directory_of_schema_4_lists_the_same_records_by_age() {
        let dir = tempfile::tempdir().unwrap();
        let records = [log_of(1), log_of(2)].concat();
        let expected = {
            let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
            store.commit(&Batch { records: records.clone(), ..Batch::default() }).unwrap();
            store.drop_bodies(&[records[1].id(), records[5].id()]).unwrap();
            by_age(&store)
        };
        assert_eq!((expected.0.len(), expected.1.len()), (4, 2));
        {
            let db = Arc::new(RawDb::open(dir.path(), OpenOptions::default()).unwrap());
            write_old(&db, &expected);
            assert!(matches!(check(&db), Err(CheckError::Refused(_))));
            // Cut off before it was confirmed, it is run again.
            run(&db).unwrap();
        }
        assert_eq!(by_age(&Store::open(dir.path(), OpenOptions::default()).unwrap()), expected);
    }
}
