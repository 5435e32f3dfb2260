//! Checkpoints: what an identity says that the ledger was at a time. Whoever holds the same records up to that time
//! computes the same, whatever has come since; so two who never met can see whether they were shown the same history. Of
//! logs that have forked it says nothing. `specs/audit.md` is the normative text.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::body::{Body, Checkpoint};
use crate::ids::{AuthorId, RecordId};
use crate::record::{Head, Kind, LogId, Place};
use crate::state::StateHasher;
use crate::storage::{Storage, StorageError};

/// How old a checkpoint is when it is published, in seconds, unless its author says otherwise: an hour, in which almost
/// every record has reached every node.
pub const DEFAULT_AGE_S: u64 = 3600;
/// How many checkpoints are compared: each costs a walk over all logs.
const MAX_COMPARED: usize = 64;
/// How many identities are looked at besides those whom the user trusts: each has paid for a log. How many checkpoints one of
/// them published does not matter.
const MAX_AUTHORS: usize = 4096;
/// How many heads are read at once.
const PAGE: usize = 512;

/// A checkpoint beside what this ledger was at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The record.
    pub record: RecordId,
    /// Who published it.
    pub author: AuthorId,
    /// What he says.
    pub said: Checkpoint,
    /// What this ledger says.
    pub here: Checkpoint,
}

/// The checkpoints that were compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Each beside what this ledger says.
    pub compared: Vec<Compared>,
    /// Whether there are others, which were not.
    pub is_cut: bool,
}

/// How two views of the ledger at one time relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The same records, but for those of logs that have forked, of which neither says anything.
    Same,
    /// As many logs and records, but not the same: somebody was shown another history, or each knows of another fork.
    Different,
    /// Other counts: one of both has not received, or has learned of a fork, what the other has.
    Uneven,
}

impl Compared {
    /// Returns how both relate.
    pub fn relation(&self) -> Relation {
        match (self.said == self.here, self.said.logs == self.here.logs && self.said.records == self.here.records) {
            (true, _) => Relation::Same,
            (false, true) => Relation::Different,
            (false, false) => Relation::Uneven,
        }
    }
}

/// Returns what a ledger was at a time: of each log that has not forked the records up to then, which are its first, for
/// time never goes back within a log. A fork can take records away for good, so forked logs do not count.
///
/// # Errors
/// When the store fails.
pub fn at(storage: &impl Storage, time: u64) -> Result<Checkpoint, StorageError> {
    let mut hasher = StateHasher::new();
    let (mut logs, mut records, mut after) = (0, 0, None);
    loop {
        let heads = storage.heads(after.as_ref(), PAGE)?;
        for head in heads.iter().filter(|head| head.frozen.is_none()) {
            if let Some(end) = end_at(storage, head, time)? {
                hasher.add(&end);
                logs += 1;
                records += end.len;
            }
        }
        after = heads.last().map(|head| head.log);
        if heads.len() < PAGE {
            return Ok(Checkpoint { time, logs, records, state: hasher.finish() });
        }
    }
}

/// Returns the end of a log as it was at a time; `None` before its first record.
fn end_at(storage: &impl Storage, head: &Head, time: u64) -> Result<Option<Head>, StorageError> {
    if head.time <= time {
        return Ok(Some(*head));
    }
    // The first record that is too late lies in low..=high; that at high is known to be.
    let (mut low, mut high) = (0, head.len.saturating_sub(1));
    while low < high {
        let middle = low + (high - low) / 2;
        if end_with(storage, &head.log, middle)?.time <= time { low = middle + 1 } else { high = middle }
    }
    low.checked_sub(1).map(|last| end_with(storage, &head.log, last)).transpose()
}

/// Returns the end of a log that ends with the record at a place.
fn end_with(storage: &impl Storage, log: &LogId, seq: u64) -> Result<Head, StorageError> {
    let record = storage.id_at(log, seq)?.map(|id| storage.record(&id)).transpose()?.flatten();
    let missing = || StorageError::Damaged(format!("log {} of {} misses its record {seq}", log.epoch, log.author));
    Ok(record.ok_or_else(missing)?.as_head())
}

/// A checkpoint as its author published it.
struct Said {
    record: RecordId,
    author: AuthorId,
    said: Checkpoint,
}

/// Compares the latest checkpoint of each identity with what this ledger says: those of whom the user trusts first, and of
/// these and of the others the newest first. Anybody can publish checkpoints, and have as many names as he pays for; so
/// nobody whom the user knows must depend on what others publish.
///
/// # Errors
/// When the store fails.
pub fn compare(storage: &impl Storage, trusted: &BTreeSet<AuthorId>) -> Result<Comparison, StorageError> {
    let mut known = Vec::new();
    for author in trusted {
        known.extend(latest_of(storage, author)?);
    }
    let (mut others, mut is_cut) = (Vec::new(), false);
    let mut after = None;
    while let Some(next) = storage.of_kind(Kind::Checkpoint, after.as_ref(), 1)?.first() {
        let author = next.log.author;
        after = Some(Place::last_by(author));
        if trusted.contains(&author) {
            continue;
        }
        if others.len() >= MAX_AUTHORS {
            is_cut = true;
            break;
        }
        others.extend(latest_of(storage, &author)?);
    }
    for some in [&mut known, &mut others] {
        some.sort_by_key(|Said { author, said, .. }| (Reverse(said.time), *author));
    }
    let mut all = known;
    all.append(&mut others);
    is_cut |= all.len() > MAX_COMPARED;
    all.truncate(MAX_COMPARED);
    let compared = all.into_iter().map(|Said { record, author, said }| {
        let here = at(storage, said.time)?;
        Ok(Compared { record, author, said, here })
    });
    Ok(Comparison { compared: compared.collect::<Result<_, StorageError>>()?, is_cut })
}

/// Returns the last checkpoint of an author by the order of his records.
fn latest_of(storage: &impl Storage, author: &AuthorId) -> Result<Option<Said>, StorageError> {
    let Some(place) = storage.last_of_kind_by(Kind::Checkpoint, author)? else { return Ok(None) };
    let Some(record) = storage.record(&place.id)? else { return Ok(None) };
    Ok(match record.decoded().map(|body| &**body) {
        Ok(Body::Checkpoint(said)) => Some(Said { record: place.id, author: *author, said: said.clone() }),
        Ok(_) | Err(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Side;
    use crate::ids::StateHash;
    use crate::record::{Header, Record};
    use crate::state::state_hash;
    use crate::testing::{Author, EPOCH, SampleTrade, admit_all, ledger};

    const LATER: u64 = 1_801_000_000;

    #[test]
    fn a_checkpoint_is_the_same_whatever_comes_after_it() {
        let mut trade = SampleTrade::new(Side::Sell);
        let mut ledger = ledger();
        admit_all(&mut ledger, &trade.records());
        let then = at(ledger.storage(), u64::from(EPOCH) + 2).unwrap();
        assert_eq!((then.logs, then.records), (3, 4), "everybody's first two seconds");
        assert_eq!(then.state, state_hash(ledger.storage()).unwrap());
        let first = at(ledger.storage(), u64::from(EPOCH) + 1).unwrap();
        assert_eq!((first.logs, first.records), (3, 3));
        assert_eq!(at(ledger.storage(), 5).unwrap().records, 0);

        for _ in 0..20 {
            let beat = trade.maker.write(&Body::Heartbeat);
            admit_all(&mut ledger, &[beat]);
        }
        assert_ne!(at(ledger.storage(), LATER).unwrap(), then);
        assert_eq!(at(ledger.storage(), then.time).unwrap(), then);
        assert_eq!(at(ledger.storage(), first.time).unwrap(), first);
        for seconds in 0..25 {
            let found = at(ledger.storage(), u64::from(EPOCH) + seconds).unwrap();
            let expected = match seconds {
                0 => 0,
                1 => 3,
                later => (2 + later).min(24),
            };
            assert_eq!(found.records, expected, "after {seconds} seconds");
        }
    }

    #[test]
    fn the_latest_of_each_is_compared_and_differences_are_told_apart() {
        let mut ledger = ledger();
        admit_all(&mut ledger, &SampleTrade::new(Side::Sell).records());
        let mut authors = [7, 8, 9].map(Author::new);
        for author in &mut authors {
            let beats: Vec<_> = (0..2).map(|_| author.write(&Body::Heartbeat)).collect();
            admit_all(&mut ledger, &beats);
        }
        let here = at(ledger.storage(), u64::from(EPOCH) + 2).unwrap();
        assert_eq!((here.logs, here.records), (6, 10));
        let others = Checkpoint { state: StateHash([7; 32]), ..here.clone() };
        let more = Checkpoint { records: 11, ..here.clone() };
        let old = Body::Checkpoint(Checkpoint { time: 1, ..others.clone() });
        for (author, said) in authors.iter_mut().zip([&here, &others, &more]) {
            let records = [author.write(&old), author.write(&Body::Checkpoint(said.clone()))];
            admit_all(&mut ledger, &records);
        }
        let Comparison { compared, is_cut } = compare(ledger.storage(), &BTreeSet::new()).unwrap();
        assert!(!is_cut && compared.iter().all(|compared| compared.here == here), "{compared:?}");
        let relation = |author: &Author| {
            let of_author = |compared: &&Compared| compared.author == author.id();
            compared.iter().find(of_author).unwrap().relation()
        };
        assert_eq!(authors.each_ref().map(relation), [Relation::Same, Relation::Different, Relation::Uneven]);
        assert_eq!(compared.len(), 3, "the old ones are not shown");
    }

    #[test]
    fn nobody_hides_the_checkpoints_of_others_behind_his_own() {
        let (mut flood, mut other) = (Author::new(7), Author::new(8));
        if flood.id() > other.id() {
            std::mem::swap(&mut flood, &mut other);
        }
        let said = |time| Body::Checkpoint(Checkpoint { time, logs: 1, records: 1, state: StateHash([7; 32]) });
        let mut records: Vec<Record> = (1..=MAX_AUTHORS as u64).map(|time| flood.write(&said(time))).collect();
        // The last in the last log counts, whatever time it is of.
        let mut again = flood.reopened(EPOCH + 1);
        records.extend([again.write(&said(9)), again.write(&Body::Heartbeat), other.write(&said(5))]);
        let mut ledger = ledger();
        admit_all(&mut ledger, &records);
        let found = compare(ledger.storage(), &BTreeSet::new()).unwrap();
        let times: Vec<_> = found.compared.iter().map(|compared| (compared.author, compared.said.time)).collect();
        assert_eq!((times, found.is_cut), (vec![(flood.id(), 9), (other.id(), 5)], false));
    }

    #[test]
    fn a_crowd_of_newer_checkpoints_does_not_hide_those_of_whom_the_user_trusts() {
        let mut ledger = ledger();
        let said = |time| Body::Checkpoint(Checkpoint { time, logs: 1, records: 1, state: StateHash([7; 32]) });
        let mut friend = Author::new(200);
        let mut records = vec![friend.write(&said(5))];
        records.extend((1..=100).map(|number| Author::new(number).write(&said(1_000))));
        admit_all(&mut ledger, &records);
        let found = compare(ledger.storage(), &BTreeSet::from([friend.id(), Author::new(201).id()])).unwrap();
        assert_eq!((found.compared.len(), found.compared[0].author), (MAX_COMPARED, friend.id()));
        assert!(found.is_cut, "others were left out");
        assert!(found.compared[1..].iter().all(|compared| compared.said.time == 1_000));
    }

    #[test]
    fn a_forked_log_does_not_count() {
        let trade = SampleTrade::new(Side::Sell);
        let mut ledger = ledger();
        admit_all(&mut ledger, &trade.records());
        let header = Header { kind: Kind::Heartbeat, ..*trade.accept.header() };
        admit_all(&mut ledger, &[trade.maker.sign(header, Body::Heartbeat.encode())]);
        let now = at(ledger.storage(), LATER).unwrap();
        assert_eq!((now.logs, now.records), (2, 2));

        // Nor does it tell apart who holds more of it, as the state does.
        let state = state_hash(ledger.storage()).unwrap();
        let header = Header { time: trade.accept.header().time + 9, kind: Kind::Heartbeat, ..*trade.accept.header() };
        admit_all(&mut ledger, &[trade.maker.sign(header, Body::Heartbeat.encode())]);
        assert_eq!(at(ledger.storage(), LATER).unwrap(), now);
        assert_ne!(state_hash(ledger.storage()).unwrap(), state);
    }
}
