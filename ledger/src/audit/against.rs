//! Comparing one's ledger with another node's until the first difference. Pure: it says what to ask the other node, and is
//! told the answers. The requests are those of sync, so any node answers them.

use crate::ids::{FrozenHash, RecordId, StateHash};
use crate::record::{Head, LogId};
use crate::storage::{Storage, StorageError};
use crate::sync::message::{MAX_HEADS, Want};
use crate::sync::{Answer, Request};

/// The first place, in the order of author, epoch and seq, at which two ledgers are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// The log.
    pub log: LogId,
    /// The place in its chain; its length when only what is frozen after it differs.
    pub seq: u64,
    /// The record here, if this chain is so long.
    pub ours: Option<RecordId>,
    /// The record there.
    pub theirs: Option<RecordId>,
    /// What is frozen of the log, here and there, if that alone differs.
    pub frozen: Option<(Option<FrozenHash>, Option<FrozenHash>)>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Ask the other node this.
    Ask(Request),
    /// It is done: the first difference, or none.
    Done(Option<Difference>),
}

/// Why a comparison cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgainstError {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The other node does not answer what it was asked.
    #[error("the other node does not answer what it was asked; it may be of another version")]
    Answer,
}

/// A comparison under way.
#[derive(Debug)]
pub struct Comparison<'a, S> {
    storage: &'a S,
    step: Step,
}

#[derive(Debug, Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "a comparison has one step at a time")]
enum Step {
    /// Are the states the same?
    States,
    /// Which heads come after this log?
    Heads(Option<LogId>),
    /// Which record is at this place? Below `low` the chains are the same; at or after `high` they are not, or one ends.
    Places { ours: Head, theirs: Head, low: u64, high: u64, asked: u64 },
    /// Which record is at this place, where they part?
    Parting(LogId, u64),
}

impl<'a, S: Storage> Comparison<'a, S> {
    /// Begins a comparison of this ledger, whose state has this hash.
    pub const fn start(storage: &'a S, state: StateHash) -> (Self, Request) {
        (Self { storage, step: Step::States }, Request::Compare { digest: state, symbols: 1 })
    }

    /// Takes the answer to what was asked last.
    ///
    /// # Errors
    /// When it is no answer to that, or the store fails.
    pub fn hear(&mut self, answer: Answer) -> Result<Next, AgainstError> {
        match (self.step, answer) {
            (Step::States, Answer::Same) => Ok(Next::Done(None)),
            (Step::States, Answer::Differs(_)) => Ok(self.ask_heads(None)),
            (Step::Heads(after), Answer::Heads(heads)) => self.walk(after, &heads),
            (Step::Places { ours, theirs, low, high, asked }, Answer::Ids(ids)) => {
                let [id] = ids.as_slice() else { return Err(AgainstError::Answer) };
                let same = id.is_some() && *id == self.storage.id_at(&ours.log, asked)?;
                let (low, high) = if same { (asked + 1, high) } else { (low, asked) };
                self.narrow(ours, theirs, low, high)
            }
            (Step::Parting(log, seq), Answer::Ids(ids)) => {
                let [theirs] = ids.as_slice() else { return Err(AgainstError::Answer) };
                let ours = self.storage.id_at(&log, seq)?;
                Ok(Next::Done(Some(Difference { log, seq, ours, theirs: *theirs, frozen: None })))
            }
            (Step::States | Step::Heads(_) | Step::Places { .. } | Step::Parting(..), _) => Err(AgainstError::Answer),
        }
    }

    fn ask_heads(&mut self, after: Option<LogId>) -> Next {
        self.step = Step::Heads(after);
        Next::Ask(Request::Heads { after, limit: u16::try_from(MAX_HEADS).unwrap_or(u16::MAX) })
    }

    /// Walks beside a page of the other's heads to the first that is not the same.
    fn walk(&mut self, after: Option<LogId>, page: &[Head]) -> Result<Next, AgainstError> {
        let follows = page.first().is_none_or(|first| after.is_none_or(|after| first.log > after));
        if page.len() > MAX_HEADS || !follows || page.windows(2).any(|pair| pair[0].log >= pair[1].log) {
            return Err(AgainstError::Answer);
        }
        let is_last = page.len() < MAX_HEADS;
        // One more of ours than of theirs, so that a log of ours beyond their last is seen.
        let ours = self.storage.heads(after.as_ref(), page.len() + 1)?;
        let mut theirs = page.iter();
        for ours in &ours {
            match theirs.next() {
                Some(theirs) if theirs == ours => {}
                Some(theirs) if theirs.log == ours.log => {
                    return self.narrow(*ours, *theirs, 0, ours.len.min(theirs.len));
                }
                Some(theirs) if theirs.log < ours.log => return Ok(self.part(theirs.log, 0)),
                Some(_) => return Ok(self.part(ours.log, 0)),
                None if is_last => return Ok(self.part(ours.log, 0)),
                None => {}
            }
        }
        match (theirs.next(), page.last()) {
            (Some(theirs), _) => Ok(self.part(theirs.log, 0)),
            (None, Some(last)) if !is_last => Ok(self.ask_heads(Some(last.log))),
            // The heads are the same now: what differed has been made good while they were compared.
            (None, _) => Ok(Next::Done(None)),
        }
    }

    /// Halves the stretch in which two chains part.
    fn narrow(&mut self, ours: Head, theirs: Head, low: u64, high: u64) -> Result<Next, AgainstError> {
        if low < high {
            let asked = low + (high - low) / 2;
            self.step = Step::Places { ours, theirs, low, high, asked };
            return Ok(Next::Ask(Request::Ids(vec![Want { log: ours.log, from: asked }])));
        }
        if ours.len == theirs.len && low == ours.len {
            let frozen = Some((ours.frozen, theirs.frozen));
            return Ok(Next::Done(Some(Difference { log: ours.log, seq: low, ours: None, theirs: None, frozen })));
        }
        Ok(self.part(ours.log, low))
    }

    fn part(&mut self, log: LogId, seq: u64) -> Next {
        self.step = Step::Parting(log, seq);
        Next::Ask(Request::Ids(vec![Want { log, from: seq }]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Body, Side};
    use crate::record::{Header, Kind, Record};
    use crate::state::state_hash;
    use crate::storage::MemoryStorage;
    use crate::testing::{Author, SampleTrade, admit_all, ledger};

    fn holding(records: &[Record]) -> MemoryStorage {
        let mut ledger = ledger();
        admit_all(&mut ledger, records);
        ledger.storage().clone()
    }

    /// Compares two ledgers; the other answers as nodes do. Returns the difference and how often it was asked.
    fn compare(here: &MemoryStorage, there: &MemoryStorage) -> (Option<Difference>, u32) {
        let state = state_hash(there).unwrap();
        let (mut comparison, mut request) = Comparison::start(here, state_hash(here).unwrap());
        for asked in 1..100 {
            let answer = match &request {
                Request::Compare { digest, .. } if *digest == state => Answer::Same,
                Request::Compare { .. } => Answer::Differs(None),
                Request::Heads { after, limit } => Answer::Heads(there.heads(after.as_ref(), (*limit).into()).unwrap()),
                Request::Ids(places) => {
                    Answer::Ids(places.iter().map(|place| there.id_at(&place.log, place.from).unwrap()).collect())
                }
                other => panic!("{other:?} is not needed"),
            };
            match comparison.hear(answer).unwrap() {
                Next::Ask(next) => request = next,
                Next::Done(difference) => return (difference, asked),
            }
        }
        panic!("it does not end")
    }

    #[test]
    fn the_first_difference_is_named_with_both_ids() {
        let trade = SampleTrade::new(Side::Sell);
        let all = trade.records();
        let whole = holding(&all);
        assert_eq!(compare(&whole, &whole), (None, 1));
        for missing in 0..all.len() {
            let mut some = all.clone();
            let record = some.remove(missing);
            // What follows it in its log cannot be there without it.
            let part = holding(&some);
            let expected = |ours, theirs| Difference {
                log: record.header().log,
                seq: record.header().seq,
                ours,
                theirs,
                frozen: None,
            };
            assert_eq!(compare(&whole, &part).0, Some(expected(Some(record.id()), None)));
            assert_eq!(compare(&part, &whole).0, Some(expected(None, Some(record.id()))));
        }
    }

    #[test]
    fn two_histories_part_at_one_place() {
        let mut author = Author::new(5);
        let common: Vec<Record> = (0..700).map(|_| author.write(&Body::Heartbeat)).collect();
        let other = author.clone();
        let header =
            Header { time: author.next_header(&Body::Heartbeat).time + 9, ..author.next_header(&Body::Heartbeat) };
        let stray = other.sign(header, Vec::new());
        let mine: Vec<Record> = (0..40).map(|_| author.write(&Body::Heartbeat)).collect();
        let here = holding(&[common.clone(), mine.clone()].concat());
        let there = holding(&[common.clone(), vec![stray.clone()]].concat());
        let (difference, asked) = compare(&here, &there);
        let difference = difference.unwrap();
        assert_eq!((difference.seq, difference.ours, difference.theirs), (700, Some(mine[0].id()), Some(stray.id())));
        assert!(asked < 20, "it was asked {asked} times");

        let forked = holding(&[common, mine, vec![stray.clone()]].concat());
        let again = compare(&here, &forked).0.unwrap();
        assert_eq!((again.seq, again.theirs), (700, None), "what forked has ended there");
        let third = author.sign(Header { kind: Kind::Unknown(9), ..*stray.header() }, b"x".to_vec());
        let mut more = ledger();
        let everything: Vec<Record> = forked.range(&stray.header().log, 0, 1000).unwrap();
        admit_all(&mut more, &[everything, forked.frozen(&stray.header().log).unwrap(), vec![third]].concat());
        let frozen = compare(&forked, more.storage()).0.unwrap();
        assert_eq!((frozen.seq, frozen.ours, frozen.theirs), (700, None, None));
        assert!(frozen.frozen.is_some_and(|(ours, theirs)| ours != theirs));
    }

    #[test]
    fn nonsense_is_no_answer() {
        let storage = holding(&SampleTrade::new(Side::Sell).records());
        let start = || Comparison::start(&storage, StateHash([0; 32])).0;
        assert!(start().hear(Answer::Stale).is_err());
        let mut walking = start();
        walking.hear(Answer::Differs(None)).unwrap();
        let mut heads = storage.heads(None, 10).unwrap();
        heads.reverse();
        assert!(walking.hear(Answer::Heads(heads)).is_err(), "out of order");
        let mut placed = start();
        placed.hear(Answer::Differs(None)).unwrap();
        placed.hear(Answer::Heads(vec![])).unwrap();
        assert!(placed.hear(Answer::Ids(vec![])).is_err());
    }
}
