//! What logs become when records are offered: the one place that knows how a log grows and how it forks.
//!
//! A log is a function of the set of its records. Its chain goes on, place by place, for as long as its author signed one
//! record for the place and that one *follows* the chain. The first place for which he signed two, one of which follows, is
//! where the log has *forked*: from there on its records are frozen, whether or not they follow anything. So a chain only
//! grows until it forks, and only shrinks from then on, and no order of arrival changes where it ends.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{Admission, Ledger, MAX_CLOCK_SKEW_S};
use crate::ids::RecordId;
use crate::record::{Head, LogId, Record, RecordError};
use crate::retention;
use crate::storage::{Batch, Fork, Storage, StorageError};

/// How many frozen records of a log are kept: what a cheat can make others keep. His duties in one trade are five records,
/// and whoever trades with him keeps those by himself.
pub const MAX_FROZEN: usize = 64;

/// How many records the forks of several logs may take away or freeze with one commit; others wait for the next. That of
/// one log may take all of it, 65,536 records, some 20 MB of writes: hundreds of those at once would be gigabytes.
const MAX_MOVED: u64 = 4096;

/// By how much something must be ahead of the clock, in seconds, to show that it may be slow: half of what is borne, for the
/// clocks of honest authors differ.
const AHEAD_S: u64 = MAX_CLOCK_SKEW_S / 2;
/// How many heads are asked whether the clock is slow, once for records that come together: a millisecond's work. Keys are
/// random, so those of the smallest are any authors.
const MAX_ASKED: usize = 256;

/// Records of a log by seq and id.
type Sorted = BTreeMap<(u64, RecordId), Record>;

/// Records that are offered for one log.
struct Offered {
    head: Option<Head>,
    /// Where they stand among all that are offered.
    places: Vec<usize>,
    /// The lowest place of the chain for which another record came; its end if there is none.
    lowest: u64,
}

/// What becomes of a log.
struct Plan {
    /// The records that continue its chain.
    extension: Vec<Record>,
    /// Where its chain ends afterwards; nothing if it is empty.
    tail: Option<Head>,
    /// Its fork, if that is new or another one than before.
    fork: Option<Fork>,
}

impl<S: Storage> Ledger<S> {
    /// Judges records as [`Ledger::admit`] does and returns what would have to be kept, for callers who keep more along
    /// with it. Nothing else may be let in before that is done. Records of one call need no order.
    ///
    /// These are all of the records, or as many of the first of them as one commit may take in; at least one.
    ///
    /// # Errors
    /// When the store fails.
    pub fn plan(&self, records: &[Record], now: u64) -> Result<(Vec<Admission>, Batch), StorageError> {
        let mut batch = Batch::default();
        let (mut admissions, logs) = self.offered(records, now)?;
        for (log, Offered { head, places, .. }) in logs {
            let frozen = if is_forked(head) { self.storage.frozen(&log)? } else { Vec::new() };
            let mut fresh = Sorted::new();
            for at in &places {
                let record = &records[*at];
                if !self.is_kept(record, head, &frozen)? {
                    let copy = fresh.entry((record.header().seq, record.id())).or_insert_with(|| record.clone());
                    if copy.is_bare() {
                        *copy = record.clone();
                    }
                }
            }
            let plan = self.plan_log(&log, head, &frozen, &fresh)?;
            let verdicts = plan.verdicts(head, &fresh);
            let mut told = BTreeSet::new();
            for at in places {
                let id = records[at].id();
                if let Some(verdict) = verdicts.get(&id) {
                    // Of several copies of a record one is new.
                    let is_copy = verdict.is_in() && !told.insert(id);
                    admissions[at] = if is_copy { Admission::Known } else { verdict.clone() };
                }
            }
            batch.records.extend(plan.extension);
            if let Some(fork) = plan.fork {
                batch.forks.insert(log, fork);
            }
        }
        Ok((admissions, batch))
    }

    /// Refuses what is not even looked at and sorts the rest by logs, until one more record would move too many others.
    /// What was not refused counts as known so far.
    fn offered(
        &self,
        records: &[Record],
        now: u64,
    ) -> Result<(Vec<Admission>, BTreeMap<LogId, Offered>), StorageError> {
        let mut admissions = Vec::with_capacity(records.len());
        let mut logs = BTreeMap::new();
        let mut moved: u64 = 0;
        let mut is_slow = None;
        for (at, record) in records.iter().enumerate() {
            if let Some(refusal) = self.refusal(record, now) {
                let is_too_young = refusal == Admission::Invalid(RecordError::BareTooYoung);
                if is_too_young && is_slow.is_none() {
                    is_slow = Some(self.is_slow(records, now)?);
                }
                let is_borne = is_too_young && is_slow == Some(true);
                admissions.push(if is_borne { Admission::Early } else { refusal });
                continue;
            }
            let offered = match logs.entry(record.header().log) {
                Entry::Occupied(offered) => offered.into_mut(),
                Entry::Vacant(log) => {
                    let head = self.storage.head(log.key())?;
                    log.insert(Offered { head, places: Vec::new(), lowest: len(head) })
                }
            };
            let lowest = self.lowest_with(record, offered)?;
            let frozen = if is_forked(offered.head) && offered.places.is_empty() { MAX_FROZEN } else { 0 };
            let moves = offered.lowest - lowest + frozen as u64; // usize is at most 64 bits
            if moved > 0 && moves > 0 && moved.saturating_add(moves) > MAX_MOVED {
                break;
            }
            moved = moved.saturating_add(moves);
            offered.lowest = lowest;
            offered.places.push(at);
            admissions.push(Admission::Known);
        }
        Ok((admissions, logs))
    }

    /// Returns the lowest place of a log's chain for which another record came, with this one.
    fn lowest_with(&self, record: &Record, offered: &Offered) -> Result<u64, StorageError> {
        let header = record.header();
        let stays = header.seq >= offered.lowest || self.storage.id_at(&header.log, header.seq)? == Some(record.id());
        Ok(if stays { offered.lowest } else { header.seq })
    }

    /// Returns why a record is not even looked at.
    fn refusal(&self, record: &Record, now: u64) -> Option<Admission> {
        if record.header().network != self.network {
            return Some(Admission::Invalid(RecordError::Network));
        }
        let is_early = is_ahead(record.header().time, MAX_CLOCK_SKEW_S, now);
        match record.decoded() {
            Ok(_) => {}
            // A clock that it is ahead of cannot tell its age.
            Err(RecordError::Bare) if is_early => {}
            // Without its body a record is as good as with it, once everybody may have dropped that.
            Err(RecordError::Bare) if retention::is_past(record.header(), now) => {}
            Err(RecordError::Bare) if retention::is_nearly_past(record.header(), now) => return Some(Admission::Early),
            Err(RecordError::Bare) => return Some(Admission::Invalid(RecordError::BareTooYoung)),
            Err(error) => return Some(Admission::Invalid(error.clone())),
        }
        is_early.then_some(Admission::Early)
    }

    /// Tells whether the clock may be slow, by what came along or is here already. By such a clock the bare records of honest
    /// peers are too young, and who believed it would ban them all. That others can make it seem slow spares but a ban.
    fn is_slow(&self, records: &[Record], now: u64) -> Result<bool, StorageError> {
        let shows = |time| is_ahead(time, AHEAD_S, now);
        let comes_along = records.iter().any(|record| shows(record.header().time));
        Ok(comes_along || self.storage.heads(None, MAX_ASKED)?.iter().any(|head| shows(head.time)))
    }

    fn is_kept(&self, record: &Record, head: Option<Head>, frozen: &[Record]) -> Result<bool, StorageError> {
        let header = record.header();
        if header.seq < len(head) {
            return Ok(self.storage.id_at(&header.log, header.seq)? == Some(record.id()));
        }
        Ok(frozen.iter().any(|kept| kept.id() == record.id()))
    }

    /// Returns what a log becomes by records of it that are not kept yet.
    fn plan_log(
        &self,
        log: &LogId,
        head: Option<Head>,
        frozen: &[Record],
        fresh: &Sorted,
    ) -> Result<Plan, StorageError> {
        let nothing = Plan { extension: Vec::new(), tail: head, fork: None };
        let Some(lowest) = fresh.keys().next().map(|(seq, _)| *seq) else { return Ok(nothing) };
        if lowest < len(head) {
            // It is not the one that stands there.
            let tail = match lowest.checked_sub(1) {
                Some(before) => self.storage.range(log, before, 1)?.first().map(Record::as_head),
                None => None,
            };
            // Of what the chain loses, none after the first so many can be among those that are kept.
            let mut candidates = by_place(self.storage.range(log, lowest, MAX_FROZEN)?);
            candidates.extend(by_place(frozen.to_vec()));
            candidates.extend(fresh.clone());
            let fork = Some(freeze(lowest, tail, candidates));
            return Ok(Plan { extension: Vec::new(), tail, fork });
        }
        if is_forked(head) {
            let mut candidates = by_place(frozen.to_vec());
            candidates.extend(fresh.clone());
            let fork = freeze(len(head), head, candidates);
            return Ok(Plan { fork: (fork.frozen != frozen).then_some(fork), ..nothing });
        }
        let mut extension = Vec::new();
        let mut tail = head;
        loop {
            let seq = len(tail);
            let mut here =
                fresh.range((seq, RecordId([0; 32]))..=(seq, RecordId([0xff; 32]))).map(|(_, record)| record);
            match (here.clone().find(|record| follows(record, tail)), here.nth(1)) {
                (Some(next), None) => {
                    tail = Some(next.as_head());
                    extension.push(next.clone());
                }
                (Some(_), Some(_)) => {
                    let candidates = fresh.range((seq, RecordId([0; 32]))..).map(|(at, r)| (*at, r.clone()));
                    let fork = Some(freeze(seq, tail, candidates.collect()));
                    return Ok(Plan { extension, tail, fork });
                }
                (None, _) => return Ok(Plan { extension, tail, fork: None }),
            }
        }
    }
}

impl Plan {
    /// Returns what became of each record that was not kept before.
    fn verdicts(&self, before: Option<Head>, fresh: &Sorted) -> BTreeMap<RecordId, Admission> {
        let extension: BTreeSet<RecordId> = self.extension.iter().map(Record::id).collect();
        let forked = is_forked(before) || self.fork.is_some();
        let frozen: BTreeSet<RecordId> = self.fork.iter().flat_map(|fork| &fork.frozen).map(Record::id).collect();
        let proof = self.proof(before);
        let verdict = |record: &Record| {
            let id = record.id();
            if extension.contains(&id) {
                Admission::New
            } else if proof.contains(&id) {
                Admission::Equivocation
            } else if frozen.contains(&id) {
                Admission::Frozen
            } else if forked {
                Admission::Known
            } else if self.tail.is_some_and(|tail| tail.id == record.header().backlink) {
                Admission::TimeReversed
            } else {
                Admission::Orphan
            }
        };
        fresh.values().map(|record| (record.id(), verdict(record))).collect()
    }

    /// Returns the records that prove where the log now forks, if that is lower than before: the one that follows the chain,
    /// and the smallest other one. Whoever has the log lacks one of them or both; more of them prove no more.
    fn proof(&self, before: Option<Head>) -> Vec<RecordId> {
        let Some(fork) = &self.fork else { return Vec::new() };
        if is_forked(before) && fork.from >= len(before) {
            return Vec::new();
        }
        let here = || fork.frozen.iter().filter(|record| record.header().seq == fork.from);
        let Some(first) = here().find(|record| follows(record, self.tail)).map(Record::id) else { return Vec::new() };
        let other = here().map(Record::id).find(|id| *id != first);
        [first].into_iter().chain(other).collect()
    }
}

/// Returns the fork of a log at a place: of all records from there on, the smallest by seq and id, as many as are kept. The
/// smallest that follows the chain is always one of them, so that what is kept shows by itself that the log has forked.
fn freeze(from: u64, tail: Option<Head>, candidates: Sorted) -> Fork {
    let first = candidates.values().find(|record| record.header().seq == from && follows(record, tail));
    let first = first.map(|record| ((from, record.id()), record.clone()));
    let mut kept: Sorted = candidates.into_iter().take(MAX_FROZEN).collect();
    if let Some((place, record)) = first
        && !kept.contains_key(&place)
    {
        kept.pop_last();
        kept.insert(place, record);
    }
    Fork { from, frozen: kept.into_values().collect() }
}

/// Tells whether a record can stand after the end of a chain.
pub(super) fn follows(record: &Record, tail: Option<Head>) -> bool {
    let header = record.header();
    match tail {
        None => header.seq == 0,
        Some(tail) => header.seq == tail.len && header.backlink == tail.id && header.time >= tail.time,
    }
}

/// Tells whether a time is more than so many seconds ahead of the clock.
const fn is_ahead(time: u64, seconds: u64, now: u64) -> bool {
    time > now.saturating_add(seconds)
}

fn by_place(records: Vec<Record>) -> Sorted {
    records.into_iter().map(|record| ((record.header().seq, record.id()), record)).collect()
}

fn len(head: Option<Head>) -> u64 {
    head.map_or(0, |head| head.len)
}

fn is_forked(head: Option<Head>) -> bool {
    head.is_some_and(|head| head.frozen.is_some())
}
