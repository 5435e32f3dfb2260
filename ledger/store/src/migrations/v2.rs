//! Schema 2: records by the number of their log, without what can be derived (see `keys`), and logs that end where their
//! author signed two histories.
//!
//! Reads the tables of schema 1: `logs` (author, epoch, seq: id), `records` (id: bytes) and `equivocations` (author, epoch,
//! seq: version, then two records, each behind its length). The private tables stay as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use exchange_ledger::ledger::MAX_FROZEN;
use exchange_ledger::record::{LogId, Record};
use exchange_ledger::storage::{Batch, Fork, StorageError};

use super::{CheckError, Migration};
use crate::db::RawDb;
use crate::keys::{self, Family};
use crate::records::Records;

pub(super) const MIGRATION: Migration = Migration { to: 2, run, check };

/// The tables that schema 2 no longer has.
const OUTDATED: [&str; 6] = ["records", "logs", "heads", "kinds", "subjects", "equivocations"];
/// How many records are written at once.
const BATCH: usize = 1024;

fn run(db: &Arc<RawDb>) -> Result<(), StorageError> {
    let records = Records::new(Arc::clone(db))?;
    let mut forked: BTreeMap<LogId, Vec<Record>> = BTreeMap::new();
    for entry in db.outdated("equivocations") {
        let (key, value) = entry?;
        let (log, _) = place(&key)?;
        forked.entry(log).or_default().extend(proof(&value).ok_or_else(|| damaged("equivocations", &key))?);
    }
    let mut batch = Batch::default();
    for entry in db.outdated("logs") {
        let (key, id) = entry?;
        let (log, seq) = place(&key)?;
        let record = record(db, &id)?;
        match forked.get_mut(&log) {
            // Everything from the first place on that was signed twice is frozen.
            Some(pieces) if pieces.iter().any(|piece| piece.header().seq <= seq) => pieces.push(record),
            Some(_) | None => batch.records.push(record),
        }
        if batch.records.len() >= BATCH {
            commit(db, &records, &std::mem::take(&mut batch))?;
        }
    }
    batch.forks = forked.into_iter().filter_map(|(log, pieces)| Some((log, fork(pieces)?))).collect();
    commit(db, &records, &batch)?;
    let mut writes = db.begin();
    OUTDATED.iter().for_each(|name| writes.clear_outdated(name));
    writes.delete(Family::Meta, b"records"); // how many there were
    writes.commit()
}

fn check(db: &Arc<RawDb>) -> Result<(), CheckError> {
    for name in OUTDATED {
        if let Some((key, _)) = db.outdated(name).next().transpose()? {
            return Err(CheckError::Refused(format!("{} was left behind in {name}", hex::encode(key))));
        }
    }
    Ok(())
}

fn commit(db: &RawDb, records: &Records, batch: &Batch) -> Result<(), StorageError> {
    let mut writes = db.begin();
    let pending = records.add(batch, &mut writes)?;
    if !writes.is_empty() {
        writes.commit()?;
        pending.written();
    }
    Ok(())
}

/// Returns what is kept of the records of a log from the first place on that its author signed twice.
fn fork(mut pieces: Vec<Record>) -> Option<Fork> {
    pieces.sort_by_key(|record| (record.header().seq, record.id()));
    pieces.dedup_by_key(|record| record.id());
    pieces.truncate(MAX_FROZEN);
    Some(Fork { from: pieces.first()?.header().seq, frozen: pieces })
}

fn record(db: &RawDb, id: &[u8]) -> Result<Record, StorageError> {
    let bytes = db.outdated_entry("records", id)?.ok_or_else(|| damaged("records", id))?;
    let record = Record::decode(&bytes).map_err(|_| damaged("records", id))?;
    if id == record.id().as_bytes() { Ok(record) } else { Err(damaged("records", id)) }
}

fn place(key: &[u8]) -> Result<(LogId, u64), StorageError> {
    let place = key.split_at_checked(36).and_then(|(log, seq)| Some((keys::parse_log(log)?, seq.try_into().ok()?)));
    let (log, seq) = place.ok_or_else(|| damaged("logs", key))?;
    Ok((log, u64::from_be_bytes(seq)))
}

/// Returns the two records of a proof.
fn proof(value: &[u8]) -> Option<[Record; 2]> {
    let [kept, other]: [Vec<u8>; 2] = borsh::from_slice(value.strip_prefix(&[1])?).ok()?;
    Some([Record::decode(&kept).ok()?, Record::decode(&other).ok()?])
}

fn damaged(table: &str, key: &[u8]) -> StorageError {
    StorageError::Damaged(format!("{} in {table} is malformed", hex::encode(key)))
}

#[cfg(test)]
mod tests;
