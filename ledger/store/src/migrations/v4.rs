//! Schema 4: records by age, so that the bodies of old ones can be dropped; and bids by a name of their own, so that what
//! decides an offer is found among the same records whether or not its bids have kept their bodies.

use std::sync::Arc;

use exchange_ledger::body::{Body, bids_for};
use exchange_ledger::ids::RecordId;
use exchange_ledger::record::{Head, LogId, Record};
use exchange_ledger::retention::may_be_bare;
use exchange_ledger::storage::StorageError;

use super::{CheckError, Migration};
use crate::db::{RawDb, WriteSet};
use crate::keys::{self, Family, Standing};
use crate::records::{Records, short_seq};

pub(super) const MIGRATION: Migration = Migration { to: 4, run, check };

/// How many records are read and written at once.
const BATCH: usize = 1024;
/// How many logs are listed at once.
const PAGE: usize = 512;

fn run(db: &Arc<RawDb>) -> Result<(), StorageError> {
    for_each_batch(db, |batch| {
        let mut writes = db.begin();
        for (record, standing) in batch {
            note(record, *standing, &mut writes)?;
        }
        if writes.is_empty() { Ok(()) } else { writes.commit() }
    })
}

fn note(record: &Record, standing: Standing, writes: &mut WriteSet<'_>) -> Result<(), StorageError> {
    let (header, place) = (record.header(), record.place());
    let seq = short_seq(place.seq)?;
    if standing == Standing::Chain && may_be_bare(header) {
        writes.put(Family::Droppable, &aged(header.time, &header.log, seq), place.id.as_bytes());
    }
    if let Some(offer) = bid(record) {
        writes.delete(Family::Subjects, &keys::subject(&offer, &place, seq, standing));
        writes.put(Family::Subjects, &keys::subject(&bids_for(&offer), &place, seq, standing), place.id.as_bytes());
    }
    Ok(())
}

/// Returns the key of a record by age, as it was in this schema.
pub(super) fn aged(time: u64, in_log: &LogId, seq: u32) -> Vec<u8> {
    [time.to_be_bytes().as_slice(), &keys::log(in_log), &seq.to_be_bytes()].concat()
}

fn check(db: &Arc<RawDb>) -> Result<(), CheckError> {
    let mut left = None;
    for_each_batch(db, |batch| {
        for (record, standing) in batch {
            let (header, place) = (record.header(), record.place());
            let seq = short_seq(place.seq)?;
            let is_listed = *standing == Standing::Frozen
                || !may_be_bare(header)
                || db.contains(Family::Droppable, &aged(header.time, &header.log, seq))?;
            let is_outdated = match bid(record) {
                Some(offer) => db.contains(Family::Subjects, &keys::subject(&offer, &place, seq, *standing))?,
                None => false,
            };
            if !is_listed || is_outdated {
                left = Some(place.id);
            }
        }
        Ok(())
    })?;
    match left {
        Some(id) => Err(CheckError::Refused(format!("record {id} was left behind"))),
        None => Ok(()),
    }
}

/// Returns the offer that a record bids for.
fn bid(record: &Record) -> Option<RecordId> {
    match record.decoded().map(|body| &**body) {
        Ok(Body::Take(take)) => Some(take.offer),
        Ok(_) | Err(_) => None,
    }
}

/// Walks through all records.
fn for_each_batch(
    db: &Arc<RawDb>,
    mut visit: impl FnMut(&[(Record, Standing)]) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let records = Records::new(Arc::clone(db))?;
    let mut after: Option<LogId> = None;
    loop {
        let heads = records.heads(after.as_ref(), PAGE)?;
        for head in &heads {
            for_each_of(&records, head, &mut visit)?;
        }
        after = heads.last().map(|head| head.log);
        if heads.len() < PAGE {
            return Ok(());
        }
    }
}

fn for_each_of(
    records: &Records,
    head: &Head,
    visit: &mut impl FnMut(&[(Record, Standing)]) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut from = 0;
    while from < head.len {
        let page = records.range(&head.log, from, BATCH)?;
        if page.is_empty() {
            break;
        }
        from += page.len() as u64; // usize is at most 64 bits
        visit(&page.into_iter().map(|record| (record, Standing::Chain)).collect::<Vec<_>>())?;
    }
    if head.frozen.is_some() {
        let frozen = records.frozen(&head.log)?;
        visit(&frozen.into_iter().map(|record| (record, Standing::Frozen)).collect::<Vec<_>>())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
