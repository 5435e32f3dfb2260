//! What the answers about single logs show: records to be kept, what is to be asked for next, and peers that lie.

use super::{Again, Asked, Chain, Chunk, Fetcher, Frozen, Kept, Part, Probe};
use crate::ledger::MAX_FROZEN;
use crate::record::{HEADER_LEN, Head, Header, LogId};
use crate::storage::{Storage, StorageError};
use crate::sync::Verdict;
use crate::sync::message::{Answer, Found, ItemWant};
use crate::sync::session::{Fault, Stopped};
use crate::sync::sketch::Item;

/// Logs of one session that may turn out to have less than their heads said although they have not forked. More of them
/// are made up.
const MAX_DOUBTED: usize = 16;

impl Fetcher {
    /// Takes in an answer; returns the records to be kept.
    pub fn answered(&mut self, asked: Asked, answer: Answer, storage: &dyn Storage) -> Result<Kept, Stopped> {
        match (asked, answer) {
            (Asked::Chains(chains), Answer::Records(logs)) => self.chains_answered(chains, logs),
            (Asked::Frozen(wants), Answer::Records(logs)) => self.frozen_answered(wants, logs),
            (Asked::Probes(probes), Answer::Ids(ids)) if ids.len() == probes.len() => {
                for (probe, id) in probes.into_iter().zip(ids) {
                    let same = id.is_some() && id == storage.id_at(&probe.log, probe.middle())?;
                    self.probed(probe, same);
                }
                Ok(Kept::default())
            }
            (Asked::Items(wants), Answer::Items(found)) => self.items_answered(wants, found, storage),
            (Asked::Items(_), Answer::Stale) => {
                self.items.clear();
                self.skipped = true;
                Ok(Kept::default())
            }
            (Asked::Again(Again { log, doubted }), Answer::Heads(heads)) if heads.len() <= 1 => {
                let head = heads.first().filter(|head| head.log == log);
                if let Some(from) = doubted {
                    self.doubt(log, from, head)?;
                }
                match head {
                    Some(head) if doubted.is_some() => self.weigh(head, storage)?,
                    // Its chain has come, though it may not be kept yet.
                    Some(head) if head.frozen.is_some() && !is_forked(storage, &log)? => {
                        self.hasten(log);
                        self.want_frozen(Frozen { log, again: false });
                    }
                    Some(_) | None => {}
                }
                self.end(&log);
                Ok(Kept::default())
            }
            (Asked::Chains(_) | Asked::Frozen(_) | Asked::Probes(_) | Asked::Items(_) | Asked::Again(_), _) => {
                Err(Fault::WrongAnswer.into())
            }
        }
    }

    fn chains_answered(&mut self, mut chains: Vec<Chain>, logs: Vec<Vec<Vec<u8>>>) -> Result<Kept, Stopped> {
        if logs.is_empty() || logs.len() > chains.len() {
            return Err(Fault::WrongAnswer.into());
        }
        for left_out in chains.split_off(logs.len()).into_iter().rev() {
            self.chains_with(&left_out.log).push_front(left_out);
        }
        let (mut chunks, mut all) = Kept::default();
        for (chain, records) in chains.into_iter().zip(logs) {
            if records.is_empty() {
                // How a log ends that an orphan made us ask for, and whether any has forked there, its head tells.
                self.again.push_back(Again { log: chain.log, doubted: chain.until.map(|_| chain.from) });
                continue;
            }
            check_chain(&records, &chain.log, chain.from)?;
            chunks.push(self.chain_arrived(chain, records.len(), true));
            all.extend(records);
        }
        Ok((chunks, all))
    }

    /// Notes that records of a chain have come, and asks for those after them before these are kept.
    fn chain_arrived(&mut self, chain: Chain, count: usize, held: bool) -> Chunk {
        let next = chain.from.saturating_add(count as u64); // usize is at most 64 bits
        let last = chain.until.is_some_and(|until| next >= until);
        if !last && self.begin(chain.log) {
            self.chains_with(&chain.log).push_front(Chain { from: next, ..chain });
        }
        Chunk { count, part: Part::Chain { chain, last }, held }
    }

    fn frozen_answered(&mut self, mut wants: Vec<Frozen>, logs: Vec<Vec<Vec<u8>>>) -> Result<Kept, Stopped> {
        if logs.is_empty() || logs.len() > wants.len() {
            return Err(Fault::WrongAnswer.into());
        }
        for left_out in wants.split_off(logs.len()) {
            self.frozen.of(self.first.contains(&left_out.log)).push_back(left_out);
        }
        let (mut chunks, mut all) = Kept::default();
        for (frozen, records) in wants.into_iter().zip(logs) {
            if records.is_empty() {
                self.disbelieve(frozen.log)?;
                self.end(&frozen.log);
                continue;
            }
            let of_this_log = records.iter().all(|record| header(record).is_some_and(|h| h.log == frozen.log));
            if records.len() > MAX_FROZEN || !of_this_log {
                return Err(Fault::WrongAnswer.into());
            }
            chunks.push(Chunk { count: records.len(), part: Part::Frozen(frozen), held: true });
            all.extend(records);
        }
        Ok((chunks, all))
    }

    /// Judges a peer that had no records of a log from a place on, though it promised some, by the log's head as it is
    /// now: what has forked since has less, through no fault of the peer's.
    fn doubt(&mut self, log: LogId, from: u64, now: Option<&Head>) -> Result<(), Fault> {
        if now.is_some_and(|head| head.frozen.is_some() && head.len <= from) {
            self.skipped = true;
            self.shrunk += 1;
            return Ok(());
        }
        self.disbelieve(log)
    }

    /// Notes that the peer named a head of a log that it cannot serve: of few logs, and of each once.
    fn disbelieve(&mut self, log: LogId) -> Result<(), Fault> {
        self.skipped = true;
        if !self.doubted.insert(log) || self.doubted.len() > MAX_DOUBTED {
            return Err(Fault::EmptyPromise);
        }
        Ok(())
    }

    fn probed(&mut self, probe: Probe, same: bool) {
        let middle = probe.middle();
        let probe = if same { Probe { low: middle + 1, ..probe } } else { Probe { high: middle, ..probe } };
        if probe.low < probe.high {
            self.probes.push_back(probe);
        } else {
            let Probe { log, low, len, then_frozen, .. } = probe;
            // More than so many are frozen nowhere.
            let until = len.min(low.saturating_add(MAX_FROZEN as u64)).max(low + 1);
            self.chains_with(&log).push_back(Chain { log, from: low, until: Some(until), then_frozen });
        }
    }

    fn items_answered(
        &mut self,
        mut wants: Vec<ItemWant>,
        found: Vec<Found>,
        storage: &dyn Storage,
    ) -> Result<Kept, Stopped> {
        if found.is_empty() || found.len() > wants.len() {
            return Err(Fault::WrongAnswer.into());
        }
        self.items.extend(wants.split_off(found.len()));
        let (mut chunks, mut all) = Kept::default();
        for (want, found) in wants.into_iter().zip(found) {
            let stands_for = |log: &LogId| Item::log_tag_of(&self.salt, log) == want.item.log_tag();
            match found {
                Found::Gone => self.skipped = true,
                Found::Head(head) if stands_for(&head.log) => self.weigh(&head, storage)?,
                Found::Records { len, records } => {
                    let first = records.first().and_then(|record| header(record)).ok_or(Fault::WrongAnswer)?;
                    if !stands_for(&first.log) || want.from >= len {
                        return Err(Fault::WrongAnswer.into());
                    }
                    check_chain(&records, &first.log, want.from)?;
                    let chain = Chain { log: first.log, from: want.from, until: Some(len), then_frozen: false };
                    let held = self.begin(first.log);
                    chunks.push(self.chain_arrived(chain, records.len(), held));
                    all.extend(records);
                }
                Found::Head(_) => return Err(Fault::WrongAnswer.into()),
            }
        }
        Ok((chunks, all))
    }

    /// Takes in how records were judged, none of them invalid.
    pub fn kept(&mut self, chunks: Vec<Chunk>, mut verdicts: &[Verdict]) {
        for Chunk { count, part, held } in chunks {
            let (own, rest) = verdicts.split_at(count.min(verdicts.len()));
            verdicts = rest;
            let log = match part {
                Part::Chain { chain, last } => {
                    self.chain_kept(chain, last, own);
                    chain.log
                }
                Part::Frozen(frozen) => {
                    self.frozen_kept(frozen, own);
                    frozen.log
                }
            };
            let is_new = |verdict: &Verdict| matches!(verdict, Verdict::Accept | Verdict::Keep);
            if let Some(open) = self.open.get_mut(&log) {
                open.grew |= own.iter().any(is_new);
            }
            if held {
                self.end(&log);
            }
        }
    }

    fn chain_kept(&mut self, chain: Chain, last: bool, verdicts: &[Verdict]) {
        let Chain { log, from, until, then_frozen } = chain;
        let orphan = verdicts.first().is_some_and(|verdict| matches!(verdict, Verdict::Orphan(_)));
        match from.checked_sub(1) {
            // It does not continue what we hold: somewhere below, the peer's log is another one.
            Some(high) if orphan && self.diverged.insert(log) => {
                let len = until.unwrap_or(from.saturating_add(verdicts.len() as u64));
                self.drop_chains(&log);
                self.hasten(log);
                self.want_probe(Probe { log, low: 0, high, len, then_frozen });
            }
            Some(_) | None if last && then_frozen => {
                self.hasten(log);
                self.want_frozen(Frozen { log, again: false });
            }
            Some(_) | None => {}
        }
    }

    fn drop_chains(&mut self, log: &LogId) {
        let before = self.chains.len();
        self.chains.retain(|chain| chain.log != *log);
        for _ in self.chains.len()..before {
            self.end(log);
        }
    }

    /// A frozen record may rest on one that came after it, so what was an orphan is asked for once more.
    ///
    /// One of the records at the fork follows the chain and is as late as any of it. So where some of the chain, or the proof of
    /// the fork, was refused as early, one of these was refused too, and what rests on it is refused with it. Else whoever
    /// signs such records would keep every node whose clock is slow from ever comparing.
    fn frozen_kept(&mut self, frozen: Frozen, verdicts: &[Verdict]) {
        let orphans = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Orphan(_)));
        let some_came_in = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Accept | Verdict::Keep));
        let some_were_refused = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Ignore));
        if orphans && some_came_in && !frozen.again {
            self.want_frozen(Frozen { again: true, ..frozen });
        } else if orphans && !some_were_refused {
            self.skipped = true;
        }
    }
}

fn is_forked(storage: &dyn Storage, log: &LogId) -> Result<bool, StorageError> {
    Ok(storage.head(log)?.is_some_and(|head| head.frozen.is_some()))
}

/// Checks that records are of a log, one after another from a place on: a peer cannot send the same ones for ever.
fn check_chain(records: &[Vec<u8>], log: &LogId, from: u64) -> Result<(), Fault> {
    let places = (from..).zip(records);
    let fits = |(seq, record): (u64, &Vec<u8>)| header(record).is_some_and(|h| h.log == *log && h.seq == seq);
    if places.into_iter().all(fits) { Ok(()) } else { Err(Fault::WrongAnswer) }
}

fn header(record: &[u8]) -> Option<Header> {
    record.first_chunk::<HEADER_LEN>().and_then(|header| Header::decode(header).ok())
}
