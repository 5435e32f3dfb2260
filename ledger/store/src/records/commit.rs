//! What a batch changes in the tables of records.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;

use exchange_ledger::body::Body;
use exchange_ledger::ids::RecordId;
use exchange_ledger::record::{Kind, LogId, Record};
use exchange_ledger::retention::may_be_bare;
use exchange_ledger::state::frozen_hash;
use exchange_ledger::storage::{Batch, Fork, StorageError};

use super::{Records, short_seq, too_many_logs};
use crate::db::WriteSet;
use crate::encoding::{self, HeadRow, NameRow};
use crate::keys::{self, Family, Spot, Standing};
use crate::row;

/// How many records of a chain are read at once that a fork takes away.
const PAGE: usize = 256;

impl Records {
    /// Adds what a batch changes to `writes`. The caller holds its logs until that is written, and what this returns, which he
    /// tells when it is.
    /// Records that stand in their chains already are passed over, so a batch can be repeated.
    ///
    /// # Errors
    /// When a record does not continue its log, which is a mistake of the caller, or the disk fails.
    pub fn add(&self, batch: &Batch, writes: &mut WriteSet<'_>) -> Result<Pending<'_>, StorageError> {
        let mut commit = Commit { records: self, writes, ends: HashMap::new(), opened: BTreeMap::new(), count: 0 };
        for record in &batch.records {
            commit.append(record)?;
        }
        for (log, fork) in &batch.forks {
            commit.fork(log, fork, &batch.records)?;
        }
        let ends = commit.finish();
        Ok(Pending::new(self, ends, !batch.forks.is_empty()))
    }

    /// Adds to `writes` that these records stand in their chains whole or bare, as they are here, in the place of the same ones.
    /// What is not there, or so already, is passed over. As with [`Records::add`], the caller holds their logs.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn replace(&self, records: &[Record], writes: &mut WriteSet<'_>) -> Result<Pending<'_>, StorageError> {
        let mut commit = Commit { records: self, writes, ends: HashMap::new(), opened: BTreeMap::new(), count: 0 };
        let mut seen = HashSet::new();
        let mut changes = false;
        for record in records.iter().filter(|record| seen.insert(record.id())) {
            changes |= commit.replace(record)?;
        }
        let ends = commit.finish();
        Ok(Pending::new(self, ends, changes))
    }

    pub fn forget_open(&self, offers: &[RecordId], writes: &mut WriteSet<'_>) {
        offers.iter().for_each(|id| writes.delete(Family::OpenOffers, id.as_bytes()));
    }
}

/// Held while a batch is written. If that may take records away, nobody remembers them longer.
#[must_use = "records are remembered although they are gone"]
pub(crate) struct Pending<'a> {
    records: &'a Records,
    ends: Vec<(LogId, HeadRow)>,
    takes_away: bool,
}

impl<'a> Pending<'a> {
    fn new(records: &'a Records, ends: Vec<(LogId, HeadRow)>, takes_away: bool) -> Self {
        if takes_away {
            records.cache.forget();
        }
        Self { records, ends, takes_away }
    }

    /// The batch is on disk.
    pub fn written(mut self) {
        self.records.ends.put(std::mem::take(&mut self.ends));
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.takes_away {
            self.records.cache.forget();
        }
    }
}

struct Commit<'a, 'b> {
    records: &'a Records,
    writes: &'a mut WriteSet<'b>,
    ends: HashMap<LogId, End>,
    /// What the batch does to `open_offers`: the log of an offer that it adds, nothing for one that it removes.
    opened: BTreeMap<RecordId, Option<LogId>>,
    /// How many records there are more, or fewer.
    count: i64,
}

/// The end of a log as the batch has left it so far.
struct End {
    row: HeadRow,
    name: NameRow,
    /// The length on disk.
    kept: u64,
    is_new: bool,
    is_changed: bool,
}

impl Commit<'_, '_> {
    fn append(&mut self, record: &Record) -> Result<(), StorageError> {
        let header = record.header();
        let end = end(self.records, &mut self.ends, &header.log, header.network)?;
        let row = &mut end.row;
        if header.seq < row.len {
            // It may stand in this very batch: then the caller named it twice.
            let found = if header.seq < end.kept { self.records.id_at(&header.log, header.seq)? } else { None };
            return if found == Some(record.id()) { Ok(()) } else { Err(misplaced(record)) };
        }
        if row.frozen.is_some() || header.seq != row.len || header.backlink != row.id {
            return Err(misplaced(record));
        }
        let spot = Spot { log: row.number, seq: short_seq(header.seq)? };
        (row.len, row.id, row.time) = (header.seq + 1, record.id(), header.time);
        if record.is_critical() {
            row.critical.get_or_insert(header.seq);
        }
        end.is_changed = true;
        self.writes.put(Family::Chains, &spot.to_bytes(), &row::encode(record, &end.name));
        self.count += 1;
        self.index(record, spot, Standing::Chain);
        self.note_age(record, spot);
        self.open_or_close(record)
    }

    /// Tells whether the record was there in the other form.
    fn replace(&mut self, record: &Record) -> Result<bool, StorageError> {
        let (id, log) = (record.id(), record.header().log);
        let Some((spot, Standing::Chain)) = self.records.spot(&id)? else { return Ok(false) };
        let (kept, row) = (self.records.record(&id)?, self.records.head_row(&log)?);
        let (Some(kept), Some(row)) = (kept, row) else { return Ok(false) };
        if kept.is_bare() == record.is_bare() {
            return Ok(false);
        }
        self.remove(&kept, spot, Standing::Chain);
        self.writes.put(Family::Chains, &spot.to_bytes(), &row::encode(record, &row.name(log)));
        self.count += 1;
        self.index(record, spot, Standing::Chain);
        self.note_age(record, spot);
        self.open_or_close(record)?;
        Ok(true)
    }

    /// Lists a record by age if its body may go, or has gone.
    fn note_age(&mut self, record: &Record, spot: Spot) {
        if may_be_bare(record.header()) {
            self.writes.put(by_age(record), &keys::aged(record.header().time, spot), &[]);
        }
    }

    /// Replaces the end of a log. `added` are the records of the same batch.
    fn fork(&mut self, log: &LogId, fork: &Fork, added: &[Record]) -> Result<(), StorageError> {
        let Some(first) = fork.frozen.first() else {
            return Err(StorageError::Io(format!("a fork of log {} of {} has no records", log.epoch, log.author)));
        };
        let end = end(self.records, &mut self.ends, log, first.header().network)?;
        let (row, name, kept) = (end.row.clone(), end.name, end.kept);
        if fork.from > row.len {
            return Err(misplaced(first));
        }
        let is_added = |record: &&Record| record.header().log == *log && record.header().seq >= kept;
        let last = match fork.from.checked_sub(1) {
            Some(seq) if seq < kept => self.records.range(log, seq, 1)?.pop(),
            Some(seq) => added.iter().filter(is_added).find(|record| record.header().seq == seq).cloned(),
            None => None,
        };
        if last.is_none() && fork.from > 0 {
            return Err(misplaced(first));
        }
        let mut next = fork.from;
        while next < kept {
            let page = self.records.range(log, next, PAGE)?;
            for record in &page {
                self.take_away(record, row.number)?;
            }
            match page.last() {
                Some(record) => next = record.header().seq + 1,
                None => return Err(misplaced(first)),
            }
        }
        for record in added.iter().filter(is_added).filter(|record| record.header().seq >= fork.from) {
            self.take_away(record, row.number)?;
        }
        // Each new record of a cheat must not write all of them anew.
        let before = if row.frozen.is_some() { self.records.frozen_of(&row, log)? } else { Vec::new() };
        for record in before.iter().filter(|record| !fork.frozen.contains(record)) {
            let spot = Spot { log: row.number, seq: short_seq(record.header().seq)? };
            self.writes.delete(Family::Frozen, &keys::frozen(spot, &record.id()));
            self.remove(record, spot, Standing::Frozen);
        }
        for record in fork.frozen.iter().filter(|record| !before.contains(record)) {
            let spot = Spot { log: row.number, seq: short_seq(record.header().seq)? };
            self.writes.put(Family::Frozen, &keys::frozen(spot, &record.id()), &row::encode(record, &name));
            self.count += 1;
            self.index(record, spot, Standing::Frozen);
        }
        self.writes.put(Family::Forked, log.author.as_bytes(), &[]);
        let ids: Vec<RecordId> = fork.frozen.iter().map(Record::id).collect();
        let end = end_of(&mut self.ends, log)?;
        end.row = HeadRow {
            len: fork.from,
            critical: row.critical.filter(|seq| *seq < fork.from),
            frozen: Some(frozen_hash(ids.iter())),
            ..last.map_or_else(
                || HeadRow::empty(row.number, row.network),
                |last| HeadRow { id: last.id(), time: last.header().time, ..row.clone() },
            )
        };
        end.is_changed = true;
        Ok(())
    }

    /// Takes a record out of the chain of the log with this number.
    fn take_away(&mut self, record: &Record, log: u32) -> Result<(), StorageError> {
        let spot = Spot { log, seq: short_seq(record.header().seq)? };
        self.writes.delete(Family::Chains, &spot.to_bytes());
        self.remove(record, spot, Standing::Chain);
        Ok(())
    }

    /// Adds a record to the indexes. A body that does not decode is about nothing.
    fn index(&mut self, record: &Record, spot: Spot, standing: Standing) {
        let (place, kind) = (record.place(), record.header().kind);
        let [a, b, c, d, e, f, g, h] = spot.to_bytes();
        match standing {
            Standing::Chain => self.writes.put(Family::Ids, place.id.as_bytes(), &[a, b, c, d, e, f, g, h]),
            Standing::Frozen => self.writes.put(Family::Ids, place.id.as_bytes(), &[a, b, c, d, e, f, g, h, 1]),
        }
        if kind.is_listed() {
            self.writes.put(Family::Kinds, &keys::kind(kind, &place, spot.seq, standing), &[]);
        }
        for subject in subjects(record) {
            let key = keys::subject(&subject, &place, spot.seq, standing);
            self.writes.put(Family::Subjects, &key, place.id.as_bytes());
        }
    }

    /// Removes a record from the indexes.
    fn remove(&mut self, record: &Record, spot: Spot, standing: Standing) {
        let (place, kind) = (record.place(), record.header().kind);
        self.count -= 1;
        self.writes.delete(Family::Ids, place.id.as_bytes());
        if kind.is_listed() {
            self.writes.delete(Family::Kinds, &keys::kind(kind, &place, spot.seq, standing));
        }
        if standing == Standing::Chain && may_be_bare(record.header()) {
            self.writes.delete(by_age(record), &keys::aged(record.header().time, spot));
        }
        for subject in subjects(record) {
            self.writes.delete(Family::Subjects, &keys::subject(&subject, &place, spot.seq, standing));
        }
        if kind == Kind::Offer {
            self.opened.insert(place.id, None);
        }
    }

    /// Keeps `open_offers` as [`exchange_ledger::storage::Storage::open_offers`] says.
    fn open_or_close(&mut self, record: &Record) -> Result<(), StorageError> {
        let log = record.header().log;
        match record.decoded().map(|body| &**body) {
            Ok(Body::Offer(_)) => {
                self.opened.insert(record.id(), Some(log));
            }
            Ok(Body::Accept(accept)) if self.open_in(&accept.offer)? == Some(log) => {
                self.opened.insert(accept.offer, None);
            }
            Ok(Body::Revoke(revoke)) if self.open_in(&revoke.offer)?.is_some_and(|of| of.author == log.author) => {
                self.opened.insert(revoke.offer, None);
            }
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    /// Returns the log of an offer that may stand open.
    fn open_in(&self, offer: &RecordId) -> Result<Option<LogId>, StorageError> {
        match self.opened.get(offer) {
            Some(log) => Ok(*log),
            None => Ok(self.records.db.read(Family::OpenOffers, offer.as_bytes(), keys::parse_log)?.flatten()),
        }
    }

    /// Returns the ends of logs that it changes.
    fn finish(self) -> Vec<(LogId, HeadRow)> {
        for (offer, log) in &self.opened {
            match log {
                Some(log) => self.writes.put(Family::OpenOffers, offer.as_bytes(), &keys::log(log)),
                None => self.writes.delete(Family::OpenOffers, offer.as_bytes()),
            }
        }
        if self.count != 0 {
            self.writes.add(keys::RECORD_COUNT, self.count);
        }
        let changed = self.ends.into_iter().filter(|(_, end)| end.is_changed);
        let mut ends = Vec::new();
        for (log, end) in changed {
            self.writes.put(Family::Heads, &keys::log(&log), &encoding::encode(&end.row));
            if end.is_new {
                self.writes.put(Family::Names, &end.row.number.to_be_bytes(), &encoding::encode(&end.name));
            }
            ends.push((log, end.row));
        }
        ends
    }
}

/// Returns the end of a log, which gets a number if it is new.
fn end<'a>(
    records: &Records,
    ends: &'a mut HashMap<LogId, End>,
    log: &LogId,
    network: [u8; 4],
) -> Result<&'a mut End, StorageError> {
    use std::collections::hash_map::Entry;
    match ends.entry(*log) {
        Entry::Occupied(end) => Ok(end.into_mut()),
        Entry::Vacant(vacant) => {
            let found = records.head_row(log)?;
            let is_new = found.is_none();
            let row = match found {
                Some(row) => row,
                None => HeadRow::empty(next_number(records)?, network),
            };
            Ok(vacant.insert(End { name: row.name(*log), kept: row.len, row, is_new, is_changed: false }))
        }
    }
}

fn end_of<'a>(ends: &'a mut HashMap<LogId, End>, log: &LogId) -> Result<&'a mut End, StorageError> {
    ends.get_mut(log).ok_or_else(|| StorageError::Io(format!("log {} of {} is not open", log.epoch, log.author)))
}

fn next_number(records: &Records) -> Result<u32, StorageError> {
    let next = records.next_number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| next.checked_add(1));
    next.map_err(|_| too_many_logs())
}

/// Returns the list of a record's kind by age.
fn by_age(record: &Record) -> Family {
    if record.is_bare() { Family::Bare } else { Family::Droppable }
}

fn subjects(record: &Record) -> Vec<RecordId> {
    record.decoded().map(|body| body.subjects()).unwrap_or_default()
}

fn misplaced(record: &Record) -> StorageError {
    let header = record.header();
    StorageError::Io(format!(
        "record {} of log {} of {} does not continue what is kept of it; nothing was changed",
        header.seq, header.log.epoch, header.log.author
    ))
}
