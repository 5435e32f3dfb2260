//! A store in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use super::{Aged, Batch, Fork, Storage, StorageError};
use crate::body::Body;
use crate::ids::{AuthorId, RecordId};
use crate::record::{Head, Kind, LogId, Place, Record};
use crate::retention::may_be_bare;
use crate::state::frozen_hash;

/// A store in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStorage {
    records: HashMap<RecordId, Record>,
    chains: BTreeMap<(LogId, u64), RecordId>,
    frozen: BTreeMap<LogId, Vec<RecordId>>,
    heads: BTreeMap<LogId, Head>,
    critical: BTreeSet<Place>,
    kinds: BTreeSet<(Kind, Place)>,
    subjects: BTreeSet<(RecordId, Place)>,
    /// With the logs that hold them.
    open: BTreeMap<RecordId, LogId>,
    droppable: BTreeSet<Aged>,
    bare: BTreeSet<Aged>,
}

impl MemoryStorage {
    fn append(&mut self, record: &Record) {
        let (id, header) = (record.id(), record.header());
        self.index(record);
        self.note_age(record);
        self.chains.insert((header.log, header.seq), id);
        self.heads.insert(header.log, record.as_head());
        self.open_or_close(record);
    }

    /// Keeps `open` as [`Storage::open_offers`] says.
    fn open_or_close(&mut self, record: &Record) {
        let log = record.header().log;
        match record.decoded().map(|body| &**body) {
            Ok(Body::Offer(_)) => {
                self.open.insert(record.id(), log);
            }
            Ok(Body::Accept(accept)) if self.open.get(&accept.offer) == Some(&log) => {
                self.open.remove(&accept.offer);
            }
            Ok(Body::Revoke(revoke)) if self.open.get(&revoke.offer).is_some_and(|of| of.author == log.author) => {
                self.open.remove(&revoke.offer);
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn freeze(&mut self, log: &LogId, fork: &Fork) {
        let mut dropped = self.frozen.remove(log).unwrap_or_default();
        let chained = self.head_len(log);
        dropped.extend((fork.from..chained).filter_map(|seq| self.chains.remove(&(*log, seq))));
        for id in dropped {
            self.open.remove(&id);
            if let Some(record) = self.records.remove(&id) {
                self.unindex(&record);
            }
        }
        fork.frozen.iter().for_each(|record| self.index(record));
        let ids: Vec<RecordId> = fork.frozen.iter().map(Record::id).collect();
        let last = fork.from.checked_sub(1).and_then(|seq| self.chains.get(&(*log, seq)));
        let last = last.and_then(|id| self.records.get(id)).map(Record::as_head);
        let last = last.unwrap_or(Head { log: *log, len: 0, id: RecordId([0; 32]), time: 0, frozen: None });
        self.heads.insert(*log, Head { frozen: Some(frozen_hash(ids.iter())), ..last });
        self.frozen.insert(*log, ids);
    }

    fn note_age(&mut self, record: &Record) {
        let aged = Aged::of(record);
        self.droppable.remove(&aged);
        self.bare.remove(&aged);
        if record.is_bare() {
            self.bare.insert(aged);
        } else if may_be_bare(record.header()) {
            self.droppable.insert(aged);
        }
    }

    /// Puts a record, whole or bare, into the place of the same one in a chain.
    fn replace(&mut self, record: &Record) {
        let Place { log, seq, id } = record.place();
        let Some(kept) = self.records.get(&id).cloned() else { return };
        if kept.is_bare() == record.is_bare() || self.chains.get(&(log, seq)) != Some(&id) {
            return;
        }
        self.open.remove(&id);
        self.unindex(&kept);
        self.index(record);
        self.note_age(record);
        self.open_or_close(record);
    }

    fn head_len(&self, log: &LogId) -> u64 {
        self.heads.get(log).map_or(0, |head| head.len)
    }

    fn index(&mut self, record: &Record) {
        let (place, header) = (record.place(), record.header());
        if record.is_critical() {
            self.critical.insert(place);
        }
        if header.kind.is_listed() {
            self.kinds.insert((header.kind, place));
        }
        self.subjects.extend(subjects(record).into_iter().map(|subject| (subject, place)));
        self.records.insert(place.id, record.clone());
    }

    fn unindex(&mut self, record: &Record) {
        let place = record.place();
        self.droppable.remove(&Aged::of(record));
        self.bare.remove(&Aged::of(record));
        self.critical.remove(&place);
        self.kinds.remove(&(record.header().kind, place));
        for subject in subjects(record) {
            self.subjects.remove(&(subject, place));
        }
    }

    fn about_within(&self, subject: &RecordId, first: LogId, last: LogId) -> impl Iterator<Item = Place> {
        let range = (*subject, Place::first_of(first))..=(*subject, Place::last_of(last));
        self.subjects.range(range).map(|(_, place)| *place)
    }

    fn kind_within(&self, kind: Kind, after: Option<&Place>, first: LogId, last: LogId, limit: usize) -> Vec<Place> {
        let (first, last) = (Place::first_of(first), Place::last_of(last));
        let start = match after {
            Some(after) if *after >= last => return Vec::new(),
            Some(after) if *after >= first => Bound::Excluded((kind, *after)),
            Some(_) | None => Bound::Included((kind, first)),
        };
        self.kinds.range((start, Bound::Included((kind, last)))).map(|(_, place)| *place).take(limit).collect()
    }
}

/// What a record is about. A body that does not decode is about nothing.
fn subjects(record: &Record) -> Vec<RecordId> {
    record.decoded().map(|body| body.subjects()).unwrap_or_default()
}

/// Returns what stands in a table after a key.
fn after<'a, K: Ord + Copy, V>(table: &'a BTreeMap<K, V>, key: Option<&K>) -> impl Iterator<Item = (&'a K, &'a V)> {
    table.range((key.map_or(Bound::Unbounded, |key| Bound::Excluded(*key)), Bound::Unbounded))
}

const FIRST: AuthorId = AuthorId([0; 32]);
const LAST: AuthorId = AuthorId([0xff; 32]);

impl Storage for MemoryStorage {
    fn record(&self, id: &RecordId) -> Result<Option<Record>, StorageError> {
        Ok(self.records.get(id).cloned())
    }

    fn id_at(&self, log: &LogId, seq: u64) -> Result<Option<RecordId>, StorageError> {
        Ok(self.chains.get(&(*log, seq)).copied())
    }

    fn range(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StorageError> {
        let ids = self.chains.range((*log, from)..=(*log, u64::MAX)).take(limit);
        Ok(ids.filter_map(|(_, id)| self.records.get(id)).cloned().collect())
    }

    fn frozen(&self, log: &LogId) -> Result<Vec<Record>, StorageError> {
        let ids = self.frozen.get(log).into_iter().flatten();
        Ok(ids.filter_map(|id| self.records.get(id)).cloned().collect())
    }

    fn is_forked(&self, author: &AuthorId) -> Result<bool, StorageError> {
        Ok(self.frozen.range(LogId::first_of(*author)..=LogId::last_of(*author)).next().is_some())
    }

    fn head(&self, log: &LogId) -> Result<Option<Head>, StorageError> {
        Ok(self.heads.get(log).copied())
    }

    fn heads(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        Ok(self::after(&self.heads, after).map(|(_, head)| *head).take(limit).collect())
    }

    fn forked(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        let forked = self::after(&self.frozen, after).filter_map(|(log, _)| self.heads.get(log));
        Ok(forked.copied().take(limit).collect())
    }

    fn logs_of(&self, author: &AuthorId, limit: usize) -> Result<Vec<Head>, StorageError> {
        let all = self.heads.range(LogId::first_of(*author)..=LogId::last_of(*author));
        Ok(all.map(|(_, head)| *head).take(limit).collect())
    }

    fn first_critical(&self, log: &LogId) -> Result<Option<Place>, StorageError> {
        let mut places = self.critical.range(Place::first_of(*log)..=Place::last_of(*log));
        let is_chained = |place: &&Place| self.chains.contains_key(&(place.log, place.seq));
        Ok(places.find(is_chained).copied())
    }

    fn of_kind(&self, kind: Kind, after: Option<&Place>, limit: usize) -> Result<Vec<Place>, StorageError> {
        Ok(self.kind_within(kind, after, LogId::first_of(FIRST), LogId::last_of(LAST), limit))
    }

    fn of_kind_by(
        &self,
        kind: Kind,
        author: &AuthorId,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Place>, StorageError> {
        Ok(self.kind_within(kind, after, LogId::first_of(*author), LogId::last_of(*author), limit))
    }

    fn about(
        &self,
        subject: &RecordId,
        author: Option<&AuthorId>,
        limit: usize,
    ) -> Result<Vec<RecordId>, StorageError> {
        let first = LogId::first_of(*author.unwrap_or(&FIRST));
        let last = LogId::last_of(*author.unwrap_or(&LAST));
        Ok(self.about_within(subject, first, last).map(|place| place.id).take(limit).collect())
    }

    fn about_each(&self, subjects: &[RecordId], limit: usize) -> Result<Vec<Vec<Place>>, StorageError> {
        let about = |subject| self.about_within(subject, LogId::first_of(FIRST), LogId::last_of(LAST));
        Ok(subjects.iter().map(|subject| about(subject).take(limit).collect()).collect())
    }

    fn next_about(&self, subject: &RecordId, after: Option<&AuthorId>) -> Result<Option<AuthorId>, StorageError> {
        let start = match after {
            Some(author) => Bound::Excluded((*subject, Place::last_by(*author))),
            None => Bound::Included((*subject, Place::first_of(LogId::first_of(FIRST)))),
        };
        let end = Bound::Included((*subject, Place::last_by(LAST)));
        Ok(self.subjects.range((start, end)).next().map(|(_, place)| place.log.author))
    }

    fn about_in(&self, subject: &RecordId, log: &LogId, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        Ok(self.about_within(subject, *log, *log).map(|place| place.id).take(limit).collect())
    }

    fn open_offers(&self, after: Option<&RecordId>, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        Ok(self::after(&self.open, after).map(|(id, _)| *id).take(limit).collect())
    }

    fn forget_open(&mut self, offers: &[RecordId]) -> Result<(), StorageError> {
        offers.iter().for_each(|offer| {
            self.open.remove(offer);
        });
        Ok(())
    }

    fn droppable(&self, before: u64, after: Option<&Aged>, limit: usize) -> Result<Vec<Aged>, StorageError> {
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(*after));
        let found = self.droppable.range((start, Bound::Unbounded)).take_while(|aged| aged.time < before);
        Ok(found.take(limit).copied().collect())
    }

    fn bare(&self, since: u64, after: Option<&Aged>, limit: usize) -> Result<Vec<Aged>, StorageError> {
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(*after));
        let found = self.bare.range((start, Bound::Unbounded)).skip_while(|aged| aged.time < since);
        Ok(found.take(limit).copied().collect())
    }

    fn drop_bodies(&mut self, records: &[RecordId]) -> Result<(), StorageError> {
        let bared: Vec<Record> =
            records.iter().filter_map(|id| self.records.get(id)).filter_map(Record::bared).collect();
        bared.iter().for_each(|record| self.replace(record));
        Ok(())
    }

    fn keep_bodies(&mut self, records: &[Record]) -> Result<(), StorageError> {
        records.iter().filter(|record| !record.is_bare()).for_each(|record| self.replace(record));
        Ok(())
    }

    fn len(&self) -> Result<u64, StorageError> {
        Ok(self.records.len() as u64) // usize is at most 64 bits
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StorageError> {
        batch.records.iter().for_each(|record| self.append(record));
        batch.forks.iter().for_each(|(log, fork)| self.freeze(log, fork));
        Ok(())
    }
}
