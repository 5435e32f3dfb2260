//! The records and their indexes: what is read of them. Writing is in [`commit`].

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, PoisonError, RwLock};

use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::record::{Head, Kind, LogId, Place, Record};
use exchange_ledger::storage::{Aged, StorageError};

use crate::db::RawDb;
use crate::encoding::{self, HeadRow, NameRow, Versioned};
use crate::keys::{self, Family, Spot, Standing};
use crate::row;

mod cache;
mod commit;
mod ends;

use cache::Cache;
use ends::Ends;

/// Names of logs that are remembered, some 50 bytes each, so that a record is found with two look-ups instead of three.
const MAX_NAMES: usize = 16_384;

/// The tables of records. Two threads may commit at the same time if they write different logs.
#[derive(Debug)]
pub(crate) struct Records {
    db: Arc<RawDb>,
    /// The number of the next log. Those of commits that failed are left out.
    next_number: AtomicU32,
    /// Of logs on disk. A number is never given to another log.
    names: RwLock<HashMap<u32, NameRow>>,
    cache: Cache,
    ends: Ends,
}

impl Records {
    pub fn new(db: Arc<RawDb>) -> Result<Self, StorageError> {
        let next_number = match db.last(Family::Names, &[])? {
            Some((key, _)) => read_number(&key)?.checked_add(1).ok_or_else(too_many_logs)?,
            None => 0,
        };
        Ok(Self {
            db,
            next_number: AtomicU32::new(next_number),
            names: RwLock::default(),
            cache: Cache::default(),
            ends: Ends::default(),
        })
    }

    pub fn record(&self, id: &RecordId) -> Result<Option<Record>, StorageError> {
        let time = match self.cache.get(id) {
            Ok(record) => return Ok(Some(record)),
            Err(time) => time,
        };
        let Some((spot, standing)) = self.spot(id)? else { return Ok(None) };
        let name = self.name(spot.log)?;
        let decode = |row: &[u8]| row::decode(row, &name, spot.seq);
        let found = match standing {
            Standing::Chain => self.db.read(Family::Chains, &spot.to_bytes(), decode)?,
            Standing::Frozen => self.db.read(Family::Frozen, &keys::frozen(spot, id), decode)?,
        };
        match found {
            Some(Some(record)) if record.id() == *id => {
                self.cache.insert(time, &record);
                Ok(Some(record))
            }
            Some(Some(other)) => Err(StorageError::Damaged(format!("in place of record {id} stands {}", other.id()))),
            Some(None) => Err(StorageError::Damaged(format!("record {id} is malformed"))),
            // A fork may have moved or dropped it since.
            None if self.spot(id)? != Some((spot, standing)) => self.record(id),
            None => Err(StorageError::Damaged(format!("record {id} is missing"))),
        }
    }

    /// Returns the places of records of chains, by id.
    pub fn places(&self, ids: &[RecordId]) -> Result<Vec<Place>, StorageError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let keys: Vec<&[u8; 32]> = ids.iter().map(RecordId::as_bytes).collect();
        let found = self.db.read_each(Family::Ids, &keys, read_spot)?;
        let mut places = Vec::with_capacity(ids.len());
        for (id, spot) in ids.into_iter().zip(found) {
            if let Some(Some((spot, Standing::Chain))) = spot {
                places.push(Place { log: self.name(spot.log)?.log(), seq: spot.seq.into(), id });
            }
        }
        Ok(places)
    }

    /// Returns records of chains, in no order. One that is damaged is left to who asks for it. They are not remembered: whoever
    /// reads many has them at hand, and would push out what others ask for.
    pub fn read_many(&self, places: &[Place]) -> Result<Vec<Record>, StorageError> {
        let mut spots: Vec<([u8; 8], RecordId)> = Vec::with_capacity(places.len());
        let mut last: Option<(LogId, Option<u32>)> = None;
        for place in places {
            let number = match last {
                Some((log, number)) if log == place.log => number,
                Some(_) | None => last.insert((place.log, self.log_number(&place.log)?)).1,
            };
            if let Some(log) = number {
                spots.push((Spot { log, seq: short_seq(place.seq)? }.to_bytes(), place.id));
            }
        }
        spots.sort_unstable();
        spots.dedup();
        let keys: Vec<[u8; 8]> = spots.iter().map(|(key, _)| *key).collect();
        let rows = self.db.read_each(Family::Chains, &keys, <[u8]>::to_vec)?;
        let mut read = Vec::with_capacity(rows.len());
        for ((key, id), row) in spots.into_iter().zip(rows) {
            let spot = Spot::from_bytes(&key);
            let name = self.name(spot.log)?;
            let record = row.and_then(|row| row::decode(&row, &name, spot.seq));
            read.extend(record.filter(|record| record.id() == id));
        }
        Ok(read)
    }

    /// Remembers records that were just written: who let them in asks for them at once.
    pub fn remember(&self, records: &[Record]) {
        self.cache.insert_all(records);
    }

    pub fn id_at(&self, log: &LogId, seq: u64) -> Result<Option<RecordId>, StorageError> {
        match self.head_row(log)? {
            Some(head) => self.chain_id(&head, seq),
            None => Ok(None),
        }
    }

    /// Returns records of a chain. Each names the one before it, so all but the last are certain to be what was written.
    pub fn range(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StorageError> {
        let Some(head) = self.head_row(log)? else { return Ok(Vec::new()) };
        let name = head.name(*log);
        let Some(count) = head.len.checked_sub(from).filter(|count| *count > 0) else { return Ok(Vec::new()) };
        let limit = limit.min(usize::try_from(count).unwrap_or(limit));
        let mut seq = short_seq(from)?;
        let mut records: Vec<Record> = Vec::with_capacity(limit);
        if limit == 0 {
            return Ok(records);
        }
        let start = Spot { log: head.number, seq }.to_bytes();
        self.db.scan(Family::Chains, &start, keys::end_of_prefix(&start[..4]), |key, value| {
            if key != (Spot { log: head.number, seq }).to_bytes() {
                // A fork took the rest of the chain since.
                return Ok::<_, StorageError>(ControlFlow::Break(()));
            }
            let record = row::decode(value, &name, seq).ok_or_else(|| damaged(Family::Chains, "the record", key))?;
            if records.last().is_some_and(|before| before.id() != record.header().backlink) {
                return Err(damaged(Family::Chains, "the record before the one", key));
            }
            records.push(record);
            seq += 1; // below the log's length
            Ok(if records.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(records)
    }

    pub fn frozen(&self, log: &LogId) -> Result<Vec<Record>, StorageError> {
        match self.head_row(log)? {
            Some(head) if head.frozen.is_some() => self.frozen_of(&head, log),
            Some(_) | None => Ok(Vec::new()),
        }
    }

    pub fn is_forked(&self, author: &AuthorId) -> Result<bool, StorageError> {
        self.db.contains(Family::Forked, author.as_bytes())
    }

    pub fn head(&self, log: &LogId) -> Result<Option<Head>, StorageError> {
        Ok(self.head_row(log)?.map(|row| row.head(*log)))
    }

    pub fn heads(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        let start = after.map(|log| keys::after(&keys::log(log))).unwrap_or_default();
        self.heads_within(&start, None, limit)
    }

    pub fn forked(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        let start = after.map(|log| keys::after(&keys::log(log))).unwrap_or_default();
        let first_author = after.map_or([].as_slice(), |log| log.author.as_bytes());
        let mut forked = Vec::new();
        if limit == 0 {
            return Ok(forked);
        }
        self.db.scan(Family::Forked, first_author, None, |author, _| {
            self.scan_heads(author.max(&start), keys::end_of_prefix(author), |head| {
                forked.extend(head.frozen.is_some().then_some(head));
                forked.len() < limit
            })?;
            Ok::<_, StorageError>(go_on(forked.len() < limit))
        })?;
        Ok(forked)
    }

    pub fn logs_of(&self, author: &AuthorId, limit: usize) -> Result<Vec<Head>, StorageError> {
        self.heads_within(author.as_bytes(), keys::end_of_prefix(author.as_bytes()), limit)
    }

    fn heads_within(&self, start: &[u8], end: Option<Vec<u8>>, limit: usize) -> Result<Vec<Head>, StorageError> {
        let mut heads = Vec::new();
        if limit == 0 {
            return Ok(heads);
        }
        self.scan_heads(start, end, |head| {
            heads.push(head);
            heads.len() < limit
        })?;
        Ok(heads)
    }

    /// Shows the ends of logs, until it is told that this is enough.
    fn scan_heads(
        &self,
        start: &[u8],
        end: Option<Vec<u8>>,
        mut show: impl FnMut(Head) -> bool,
    ) -> Result<(), StorageError> {
        self.db.scan(Family::Heads, start, end, |key, value| {
            let log = keys::parse_log(key).ok_or_else(|| damaged(Family::Heads, "the key", key))?;
            Ok::<_, StorageError>(go_on(show(read::<HeadRow>(Family::Heads, key, value)?.head(log))))
        })
    }

    pub fn first_critical(&self, log: &LogId) -> Result<Option<Place>, StorageError> {
        let Some(head) = self.head_row(log)? else { return Ok(None) };
        let Some(seq) = head.critical else { return Ok(None) };
        Ok(self.chain_id(&head, seq)?.map(|id| Place { log: *log, seq, id }))
    }

    /// Returns places of records of a kind, of one author only if asked.
    pub fn of_kind(
        &self,
        kind: Kind,
        author: Option<&AuthorId>,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Place>, StorageError> {
        let prefix = keys::kind_prefix(kind, author);
        // A chain's key does not have the id: the place itself is looked at again.
        let start = match after {
            Some(place) => prefix.clone().max(keys::kind(kind, place, short_seq(place.seq)?, Standing::Chain)),
            None => prefix.clone(),
        };
        let mut places = Vec::new();
        let mut last: Option<(LogId, HeadRow)> = None;
        if limit == 0 {
            return Ok(places);
        }
        self.db.scan(Family::Kinds, &start, keys::end_of_prefix(&prefix), |key, _| {
            let (log, seq, id) = keys::parse_kind(key).ok_or_else(|| damaged(Family::Kinds, "the key", key))?;
            let seq = seq.into();
            let id = match (id, &last) {
                (Some(id), _) => Some(id),
                (None, Some((of, head))) if *of == log => self.chain_id(head, seq)?,
                (None, _) => match self.head_row(&log)? {
                    Some(head) => self.chain_id(&last.insert((log, head)).1, seq)?,
                    None => None,
                },
            };
            // Without an id, a fork took it out of its chain since.
            places.extend(id.map(|id| Place { log, seq, id }).filter(|place| after.is_none_or(|after| place > after)));
            Ok::<_, StorageError>(go_on(places.len() < limit))
        })?;
        Ok(places)
    }

    /// Returns ids of records about a subject whose keys begin with `prefix`.
    pub fn about_within(&self, prefix: &[u8], limit: usize) -> Result<Vec<RecordId>, StorageError> {
        let mut ids = Vec::new();
        if limit == 0 {
            return Ok(ids);
        }
        self.db.scan(Family::Subjects, prefix, keys::end_of_prefix(prefix), |key, value| {
            ids.push(read_id(Family::Subjects, key, value)?);
            Ok::<_, StorageError>(go_on(ids.len() < limit))
        })?;
        Ok(ids)
    }

    /// Returns the places of records about each of these subjects, as they were when this was called.
    pub fn about_each(&self, subjects: &[RecordId], limit: usize) -> Result<Vec<Vec<Place>>, StorageError> {
        let mut found = vec![Vec::new(); subjects.len()];
        if limit == 0 {
            return Ok(found);
        }
        // By key, what is read for one lies near what was read for the one before.
        let mut sorted: Vec<(&RecordId, &mut Vec<Place>)> = subjects.iter().zip(&mut found).collect();
        sorted.sort_unstable_by_key(|(subject, _)| *subject);
        let mut walk = self.db.walk(Family::Subjects);
        for (subject, places) in sorted {
            walk.prefixed(subject.as_bytes(), |key, value| {
                let id = read_id(Family::Subjects, key, value)?;
                let (log, seq) = keys::parse_subject(key).ok_or_else(|| damaged(Family::Subjects, "the key", key))?;
                places.push(Place { log, seq: seq.into(), id });
                Ok(go_on(places.len() < limit))
            })?;
            // Most have one, which makes room for four.
            places.shrink_to_fit();
        }
        Ok(found)
    }

    pub fn open_offers(&self, after: Option<&RecordId>, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        let start = after.map(|id| keys::after(id.as_bytes())).unwrap_or_default();
        let mut ids = Vec::new();
        if limit == 0 {
            return Ok(ids);
        }
        self.db.scan(Family::OpenOffers, &start, None, |key, _| {
            ids.push(read_id(Family::OpenOffers, key, key)?);
            Ok::<_, StorageError>(go_on(ids.len() < limit))
        })?;
        Ok(ids)
    }

    /// Returns the records whose bodies may be dropped, of a time before `before`.
    pub fn droppable(&self, before: u64, after: Option<&Aged>, limit: usize) -> Result<Vec<Aged>, StorageError> {
        self.aged_within(Family::Droppable, 0, before, after, limit)
    }

    /// Returns the bare records of a time from `since` on.
    pub fn bare(&self, since: u64, after: Option<&Aged>, limit: usize) -> Result<Vec<Aged>, StorageError> {
        self.aged_within(Family::Bare, since, u64::MAX, after, limit)
    }

    fn aged_within(
        &self,
        family: Family,
        since: u64,
        before: u64,
        after: Option<&Aged>,
        limit: usize,
    ) -> Result<Vec<Aged>, StorageError> {
        let mut start = since.to_be_bytes().to_vec();
        if let Some(Aged { time, place }) = after
            && let Some(head) = self.head_row(&place.log)?
        {
            let spot = Spot { log: head.number, seq: short_seq(place.seq)? };
            start = start.max(keys::after(&keys::aged(*time, spot)));
        }
        // Of the last time of all nothing need be left out.
        let end = (before < u64::MAX).then(|| before.to_be_bytes().to_vec());
        let mut all = Vec::new();
        if limit == 0 || end.as_ref().is_some_and(|end| *end <= start) {
            return Ok(all);
        }
        self.db.scan(family, &start, end, |key, _| {
            let (time, spot) = keys::parse_aged(key).ok_or_else(|| damaged(family, "the key", key))?;
            let (log, seq) = (self.name(spot.log)?.log(), spot.seq.into());
            // Without an id, a fork took it out of its chain since.
            if let Some(id) = self.id_at(&log, seq)? {
                all.push(Aged { time, place: Place { log, seq, id } });
            }
            Ok::<_, StorageError>(go_on(all.len() < limit))
        })?;
        Ok(all)
    }

    pub fn len(&self) -> Result<u64, StorageError> {
        let number = |bytes: &[u8]| u64::try_from(i64::from_be_bytes(bytes.try_into().ok()?)).ok();
        match self.db.read(Family::Meta, keys::RECORD_COUNT, number)? {
            Some(number) => number.ok_or_else(|| damaged(Family::Meta, "the number", keys::RECORD_COUNT)),
            None => Ok(0),
        }
    }

    /// Returns the number of a log in this store.
    pub fn log_number(&self, log: &LogId) -> Result<Option<u32>, StorageError> {
        Ok(self.head_row(log)?.map(|row| row.number))
    }

    fn head_row(&self, log: &LogId) -> Result<Option<HeadRow>, StorageError> {
        if let Some(row) = self.ends.get(log) {
            return Ok(Some(row));
        }
        let key = keys::log(log);
        self.db.read(Family::Heads, &key, |value| read(Family::Heads, &key, value))?.transpose()
    }

    /// Returns the id of a record in the chain of a log: the next record names it, or else the head.
    fn chain_id(&self, head: &HeadRow, seq: u64) -> Result<Option<RecordId>, StorageError> {
        if seq >= head.len {
            return Ok(None);
        }
        if seq + 1 == head.len {
            return Ok(Some(head.id));
        }
        let next = Spot { log: head.number, seq: short_seq(seq + 1)? }.to_bytes();
        let id = self.db.read(Family::Chains, &next, row::backlink)?;
        // Without a next record, a fork took it since; this one may be gone as well.
        id.map(|id| id.ok_or_else(|| damaged(Family::Chains, "the record", &next))).transpose()
    }

    fn frozen_of(&self, head: &HeadRow, log: &LogId) -> Result<Vec<Record>, StorageError> {
        let (prefix, name) = (head.number.to_be_bytes(), head.name(*log));
        let mut records = Vec::new();
        self.db.scan(Family::Frozen, &prefix, keys::end_of_prefix(&prefix), |key, value| {
            let spot = key.first_chunk().map(Spot::from_bytes);
            let record = spot.and_then(|spot| row::decode(value, &name, spot.seq));
            records.push(record.ok_or_else(|| damaged(Family::Frozen, "the record", key))?);
            Ok::<_, StorageError>(ControlFlow::Continue(()))
        })?;
        Ok(records)
    }

    fn spot(&self, id: &RecordId) -> Result<Option<(Spot, Standing)>, StorageError> {
        let spot = self.db.read(Family::Ids, id.as_bytes(), read_spot)?;
        spot.map(|spot| spot.ok_or_else(|| damaged(Family::Ids, "the place", id.as_bytes()))).transpose()
    }

    fn name(&self, number: u32) -> Result<NameRow, StorageError> {
        // A poisoned map is as good as another: it changes in single steps.
        if let Some(name) = self.names.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(*name);
        }
        let key = number.to_be_bytes();
        let name = self.db.read(Family::Names, &key, |value| read::<NameRow>(Family::Names, &key, value))?;
        let name = name.ok_or_else(|| damaged(Family::Names, "the name", &key))??;
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.insert(number, name);
        Ok(name)
    }
}

/// Reads a value of `record_ids`.
fn read_spot(value: &[u8]) -> Option<(Spot, Standing)> {
    match value.split_first_chunk() {
        Some((spot, [])) => Some((Spot::from_bytes(spot), Standing::Chain)),
        Some((spot, [1])) => Some((Spot::from_bytes(spot), Standing::Frozen)),
        Some(_) | None => None,
    }
}

fn go_on(more: bool) -> ControlFlow<()> {
    if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Returns a seq as it stands in keys.
pub(crate) fn short_seq(seq: u64) -> Result<u32, StorageError> {
    u32::try_from(seq).map_err(|_| StorageError::Io(format!("seq {seq} is beyond what a log may have")))
}

fn too_many_logs() -> StorageError {
    StorageError::Io("there are more logs than this store can number; start with an empty data directory".into())
}

fn read_number(key: &[u8]) -> Result<u32, StorageError> {
    key.try_into().map(u32::from_be_bytes).map_err(|_| damaged(Family::Names, "the key", key))
}

fn read_id(family: Family, key: &[u8], value: &[u8]) -> Result<RecordId, StorageError> {
    value.try_into().map(RecordId).map_err(|_| damaged(family, "the id", key))
}

/// Reads a row. The schema's version tells a later program's directory; a single row of it is damage.
fn read<V: Versioned>(family: Family, key: &[u8], value: &[u8]) -> Result<V, StorageError> {
    encoding::decode(value).map_err(|_| damaged(family, "the value", key))
}

fn damaged(family: Family, what: &str, key: &[u8]) -> StorageError {
    StorageError::Damaged(format!("{what} at {} in {} is malformed", hex::encode(key), family.name()))
}

#[cfg(test)]
mod tests;
