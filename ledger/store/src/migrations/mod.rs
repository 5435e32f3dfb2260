//! How a directory of an earlier version becomes one of this version: a file for each step, run in order at start.
//!
//! A step may be cut off anywhere, so running it again must do no harm. Its check runs before the schema's version is
//! raised; when it fails, the directory keeps its version.

use std::sync::Arc;

use exchange_ledger::storage::StorageError;

use crate::db::RawDb;
use crate::error::StoreError;
use crate::keys::{self, Family};

mod v1;
mod v2;
mod v3;
mod v4;
mod v5;
mod v6;

/// One step.
#[derive(Clone, Copy)]
pub(crate) struct Migration {
    /// The schema that it leads to, from the one before.
    to: u32,
    /// What it changes.
    run: fn(&Arc<RawDb>) -> Result<(), StorageError>,
    /// Whether it worked; the reason in words when not.
    check: fn(&Arc<RawDb>) -> Result<(), CheckError>,
}

/// Why a check says no.
#[derive(Debug)]
pub(crate) enum CheckError {
    /// The step did not do what it should.
    Refused(String),
    /// The disk failed.
    Storage(StorageError),
}

impl From<StorageError> for CheckError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// All steps. The last names the schema of this version.
const ALL: &[Migration] = &[v1::MIGRATION, v2::MIGRATION, v3::MIGRATION, v4::MIGRATION, v5::MIGRATION, v6::MIGRATION];

/// Brings a directory to the schema of this version.
pub(crate) fn run(db: &Arc<RawDb>) -> Result<(), StoreError> {
    run_all(db, ALL)
}

fn run_all(db: &Arc<RawDb>, all: &[Migration]) -> Result<(), StoreError> {
    let found = schema(db)?;
    let known = all.last().map_or(0, |last| last.to);
    if found > known {
        return Err(StoreError::NewerSchema { path: db.path().to_owned(), found, known });
    }
    for step in all.iter().filter(|step| step.to > found) {
        (step.run)(db)?;
        match (step.check)(db) {
            Ok(()) => {}
            Err(CheckError::Refused(reason)) => return Err(StoreError::Migration { to: step.to, reason }),
            Err(CheckError::Storage(error)) => return Err(error.into()),
        }
        let mut writes = db.begin();
        writes.put(Family::Meta, keys::SCHEMA, &step.to.to_be_bytes());
        writes.commit()?;
        tracing::info!(schema = step.to, "the data directory has a new schema");
    }
    Ok(())
}

/// Returns the schema's version; 0 for an empty directory.
fn schema(db: &RawDb) -> Result<u32, StorageError> {
    let Some(bytes) = db.get(Family::Meta, keys::SCHEMA)? else {
        return Ok(0);
    };
    let bytes = bytes.try_into().map_err(|_| StorageError::Damaged("the schema's version is not a number".into()))?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::OpenOptions;
    use rocksdb::DB as Db;

    /// A step as a later version may have one: the rows of a table get another key.
    const V7: Migration = Migration {
        to: 7,
        run: |db| {
            let mut writes = db.begin();
            for entry in db.prefixed(Family::Private, b"old/") {
                let (key, value) = entry?;
                writes.put(Family::Private, &[b"new/", &key[4..]].concat(), &value);
                writes.delete(Family::Private, &key);
            }
            writes.commit()
        },
        check: |db| match db.prefixed(Family::Private, b"old/").next().transpose()? {
            Some((key, _)) => Err(CheckError::Refused(format!("row {} was left behind", hex::encode(key)))),
            None => Ok(()),
        },
    };
    /// A step that forgets its work.
    const BROKEN_V7: Migration = Migration { run: |_| Ok(()), ..V7 };

    fn open(dir: &tempfile::TempDir) -> Arc<RawDb> {
        Arc::new(RawDb::open(dir.path(), OpenOptions::default()).unwrap())
    }

    fn put(db: &RawDb, family: Family, key: &[u8], value: &[u8]) {
        let mut writes = db.begin();
        writes.put(family, key, value);
        writes.commit().unwrap();
    }

    #[test]
    fn steps_run_once_in_order_and_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir);
        assert_eq!(schema(&db).unwrap(), 0);
        run_all(&db, ALL).unwrap();
        assert_eq!(schema(&db).unwrap(), 6);
        put(&db, Family::Private, b"old/a", b"1");

        let error = run_all(&db, &[ALL, &[BROKEN_V7]].concat()).unwrap_err();
        assert!(matches!(&error, StoreError::Migration { to: 7, reason } if reason.contains("left behind")), "{error}");
        assert_eq!(schema(&db).unwrap(), 6, "a step that failed its check does not count");

        run_all(&db, &[ALL, &[V7]].concat()).unwrap();
        assert_eq!(schema(&db).unwrap(), 7);
        assert_eq!(db.get(Family::Private, b"new/a").unwrap().as_deref(), Some(b"1".as_slice()));
        assert_eq!(db.get(Family::Private, b"old/a").unwrap(), None);

        // What was done is not done again.
        put(&db, Family::Private, b"old/b", b"2");
        run_all(&db, &[ALL, &[V7]].concat()).unwrap();
        assert!(db.contains(Family::Private, b"old/b").unwrap());
    }

    #[test]
    fn a_newer_directory_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        {
            let db = open(&dir);
            run_all(&db, &[ALL, &[V7]].concat()).unwrap();
        }
        add_column_family(dir.path(), "of_a_later_version");
        let error = run(&open(&dir)).unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { found: 7, known: 6, .. }), "{error}");
        assert!(error.to_string().contains("update this program"), "{error}");
        assert_eq!(schema(&open(&dir)).unwrap(), 7);
    }

    fn add_column_family(path: &std::path::Path, name: &str) {
        let options = rocksdb::Options::default();
        let names = Db::list_cf(&options, path).unwrap();
        Db::open_cf(&options, path, names).unwrap().create_cf(name, &options).unwrap();
    }

    #[test]
    fn data_without_a_schema_is_not_taken_for_an_empty_directory() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir);
        put(&db, Family::Chains, &[1; 8], b"something");
        let error = run(&db).unwrap_err();
        assert!(matches!(error, StoreError::Storage(StorageError::Damaged(_))), "{error}");
        assert_eq!(schema(&db).unwrap(), 0);
    }
}
