//! What is to be fetched of single logs, and in which requests.
//!
//! | our log and the peer's | what is asked for |
//! |---|---|
//! | the peer's is longer | its records from our end on |
//! | its record there, or below, is another one | ids, by halving, until the first place that differs; then its records from there on: the proof of a fork |
//! | it has forked there, and differently or not at all here | its frozen records |
//! | it has forked here, and later or not at all there | nothing: the peer must learn of the fork first, and takes it from us |
//!
//! The last row is what keeps two nodes from sending each other for ever what both would drop.
//!
//! What may prove a fork that is news here goes *first*: its log stands in the queues that are emptied before the others. A
//! session hastens so [`MAX_FIRST`] logs, and each only if at most [`FIRST_RANGE`] of its records are missing: nobody gets
//! more than that out of turn by signing histories.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Claims;
use super::message::{ItemWant, MAX_ANSWER_BYTES, MAX_ITEMS, MAX_PLACES, MAX_WANTS, Request, Want};
use super::sketch::Salt;
use crate::record::{Head, LogId};
use crate::storage::{Storage, StorageError};

mod answers;

/// What a record is expected to take, so that a request names about as many logs as an answer has room for.
const USUAL_RECORD_LEN: u64 = 300;
/// Records that a log of unknown length is expected to have.
const USUAL_RANGE: u64 = 16;
/// How often logs of one session may turn out to have less because they forked meanwhile. Whoever signs that many
/// histories in its midst need not be the peer: it ends, and nobody is blamed.
const MAX_SHRUNK: usize = 256;

/// Logs of one session whose records go first because they prove a fork.
const MAX_FIRST: usize = 64;
/// Records of a chain that go first with the proof: whoever was here yesterday lacks fewer.
const FIRST_RANGE: u64 = 64;

/// What is to be fetched. Bounded by the pages of heads and the sketch that it comes from.
pub(super) struct Fetcher {
    claims: Box<dyn Claims>,
    /// What is being done for each log that is claimed.
    open: BTreeMap<LogId, Open>,
    skipped: bool,
    /// Logs were left to other sessions.
    yielded: bool,
    chains: Lanes<Chain>,
    probes: VecDeque<Probe>,
    frozen: Lanes<Frozen>,
    /// Logs that go first.
    first: BTreeSet<LogId>,
    items: VecDeque<ItemWant>,
    salt: Salt,
    /// Logs whose heads are asked for again, because they promised what there was not, or for the first time, because an
    /// orphan made us ask for them.
    again: VecDeque<Again>,
    doubted: BTreeSet<LogId>,
    /// How often a log had less than its head had said because it has forked since.
    shrunk: usize,
    /// Logs that were found to be others than ours.
    diverged: BTreeSet<LogId>,
}

/// The work on a log that is claimed.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    /// How many pieces there are.
    pieces: u32,
    /// Whether it has brought anything new.
    grew: bool,
}

/// What waits: of logs that go first, and of the others.
#[derive(Debug)]
struct Lanes<T> {
    first: VecDeque<T>,
    rest: VecDeque<T>,
}

impl<T> Lanes<T> {
    const fn new() -> Self {
        Self { first: VecDeque::new(), rest: VecDeque::new() }
    }

    fn of(&mut self, first: bool) -> &mut VecDeque<T> {
        if first { &mut self.first } else { &mut self.rest }
    }

    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.first.retain(&keep);
        self.rest.retain(&keep);
    }
}

/// The wish for the head of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Again {
    log: LogId,
    /// The place from which on the peer promised records of it and had none.
    doubted: Option<u64>,
}

/// Records of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    log: LogId,
    from: u64,
    /// How long the peer says that it is; unknown when an orphan made us ask.
    until: Option<u64>,
    then_frozen: bool,
}

/// The search for the first place at which the peer's chain is another one: below `low` it is ours, at `high` it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    log: LogId,
    low: u64,
    high: u64,
    /// How long the peer's chain is.
    len: u64,
    then_frozen: bool,
}

/// Frozen records; asked for twice if some did not fit in before others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frozen {
    log: LogId,
    again: bool,
}

/// A request of this module that is under way.
pub(super) enum Asked {
    Chains(Vec<Chain>),
    Probes(Vec<Probe>),
    Frozen(Vec<Frozen>),
    Items(Vec<ItemWant>),
    Again(Again),
}

/// Records of one log that are being kept.
pub(super) struct Chunk {
    count: usize,
    part: Part,
    /// The work counts as open for the log.
    held: bool,
}

enum Part {
    Chain { chain: Chain, last: bool },
    Frozen(Frozen),
}

/// Records to be kept, and whose they are.
type Kept = (Vec<Chunk>, Vec<Vec<u8>>);

impl Fetcher {
    pub fn new(claims: Box<dyn Claims>) -> Self {
        Self {
            claims,
            open: BTreeMap::new(),
            skipped: false,
            yielded: false,
            chains: Lanes::new(),
            probes: VecDeque::new(),
            frozen: Lanes::new(),
            first: BTreeSet::new(),
            items: VecDeque::new(),
            salt: Salt([0; 16]),
            again: VecDeque::new(),
            doubted: BTreeSet::new(),
            shrunk: 0,
            diverged: BTreeSet::new(),
        }
    }

    /// Returns how much is waiting to be asked for.
    pub fn backlog(&self) -> usize {
        self.chains.len() + self.probes.len() + self.frozen.len() + self.items.len() + self.again.len()
    }

    /// Tells whether something was left to another session, or to the next one.
    pub const fn has_skipped(&self) -> bool {
        self.skipped || self.yielded
    }

    /// Tells whether something was left to another session.
    pub const fn has_yielded(&self) -> bool {
        self.yielded
    }

    /// Tells whether so many logs forked in the midst of this that it had better begin anew.
    pub const fn has_shrunk_too_often(&self) -> bool {
        self.shrunk > MAX_SHRUNK
    }

    /// Drops all that is waiting.
    pub fn clear(&mut self) {
        self.chains = Lanes::new();
        self.probes.clear();
        self.frozen = Lanes::new();
        self.items.clear();
        self.again.clear();
        for (log, open) in std::mem::take(&mut self.open) {
            self.claims.give_back(&log, open.grew);
        }
    }

    /// Wants a log from a place on, as far as the peer has it.
    pub fn want_all(&mut self, log: LogId, from: u64) {
        self.want_chain(Chain { log, from, until: None, then_frozen: false });
    }

    /// Wants what items of the peer's sketch stand for.
    pub fn want_items(&mut self, salt: Salt, wants: Vec<ItemWant>) {
        self.salt = salt;
        self.items.extend(wants);
    }

    /// Wants what the peer's head shows that we lack, if it may prove a fork that is news and its log goes first.
    pub fn weigh_first(&mut self, theirs: &Head, storage: &dyn Storage) -> Result<(), StorageError> {
        let ours = storage.head(&theirs.log)?;
        let (len, frozen) = ours.map_or((0, None), |head| (head.len, head.frozen));
        let is_near = theirs.len.saturating_sub(len) <= FIRST_RANGE;
        if theirs.frozen.is_some() && frozen.is_none() && is_near && self.hasten(theirs.log) {
            self.weigh(theirs, storage)?;
        }
        Ok(())
    }

    /// Wants what the peer's head shows that we lack: the table above.
    pub fn weigh(&mut self, theirs: &Head, storage: &dyn Storage) -> Result<(), StorageError> {
        let log = theirs.log;
        let ours = storage.head(&log)?;
        let (len, frozen) = ours.map_or((0, None), |head| (head.len, head.frozen));
        if frozen.is_some() && (theirs.frozen.is_none() || theirs.len > len) {
            return Ok(());
        }
        let then_frozen = theirs.frozen.is_some() && theirs.frozen != frozen;
        let differs_at = match theirs.len.checked_sub(1) {
            Some(last) if theirs.len <= len => storage.id_at(&log, last)?.filter(|id| *id != theirs.id).map(|_| last),
            Some(_) | None => None,
        };
        if differs_at.is_some() || (then_frozen && frozen.is_none() && theirs.len.saturating_sub(len) <= FIRST_RANGE) {
            self.hasten(log);
        }
        if theirs.len > len {
            self.want_chain(Chain { log, from: len, until: Some(theirs.len), then_frozen });
        } else if let Some(high) = differs_at {
            self.want_probe(Probe { log, low: 0, high, len: theirs.len, then_frozen });
        } else if then_frozen {
            self.want_frozen(Frozen { log, again: false });
        }
        Ok(())
    }

    /// Lets a log go first, unless so many do. Tells whether it does.
    fn hasten(&mut self, log: LogId) -> bool {
        if self.first.len() < MAX_FIRST {
            self.first.insert(log);
        }
        self.first.contains(&log)
    }

    /// Tells whether logs that go first are being worked on, if anything is under way.
    pub fn is_hastening(&self, under_way: bool) -> bool {
        let waiting = !self.chains.first.is_empty() || !self.frozen.first.is_empty();
        waiting || (under_way && self.first.iter().any(|log| self.open.contains_key(log)))
    }

    fn chains_with(&mut self, log: &LogId) -> &mut VecDeque<Chain> {
        self.chains.of(self.first.contains(log))
    }

    fn want_chain(&mut self, chain: Chain) {
        if self.begin(chain.log) {
            self.chains_with(&chain.log).push_back(chain);
        }
    }

    fn want_probe(&mut self, probe: Probe) {
        if self.begin(probe.log) {
            self.probes.push_back(probe);
        }
    }

    fn want_frozen(&mut self, frozen: Frozen) {
        if self.begin(frozen.log) {
            self.frozen.of(self.first.contains(&frozen.log)).push_back(frozen);
        }
    }

    /// Opens a piece of work on a log, unless another session is at it.
    fn begin(&mut self, log: LogId) -> bool {
        if !self.open.contains_key(&log) && !self.claims.take(log) {
            self.yielded = true;
            return false;
        }
        self.open.entry(log).or_default().pieces += 1;
        true
    }

    fn end(&mut self, log: &LogId) {
        if let Some(open) = self.open.get_mut(log) {
            open.pieces -= 1;
            let Open { pieces, grew } = *open;
            if pieces == 0 {
                self.open.remove(log);
                self.claims.give_back(log, grew);
            }
        }
    }

    /// Returns the next request, if anything is waiting. Small answers come first, and before all others those to what may
    /// prove a fork; if only that goes out now, the others wait.
    pub fn next_request(&mut self, first_only: bool) -> Option<(Asked, Request)> {
        if !self.probes.is_empty() {
            let probes: Vec<Probe> = drain(&mut self.probes, MAX_PLACES);
            let places = probes.iter().map(|probe| Want::new(probe.log, probe.middle())).collect();
            return Some((Asked::Probes(probes), Request::Ids(places)));
        }
        // Whoever says that a log has forked meanwhile proves it before the next one is looked into.
        if let Some(frozen) = self.next_frozen(true) {
            return Some(frozen);
        }
        if let Some(again) = self.again.pop_front() {
            return Some((Asked::Again(again), Request::Heads { after: predecessor(again.log), limit: 1 }));
        }
        if let Some(first) = self.next_chains(true) {
            return Some(first);
        }
        if first_only {
            return None;
        }
        if !self.items.is_empty() {
            let wants: Vec<ItemWant> = drain(&mut self.items, MAX_ITEMS);
            return Some((Asked::Items(wants.clone()), Request::Items { salt: self.salt, wants }));
        }
        self.next_frozen(false).or_else(|| self.next_chains(false))
    }

    fn next_frozen(&mut self, first: bool) -> Option<(Asked, Request)> {
        let wants: Vec<Frozen> = drain(self.frozen.of(first), MAX_WANTS);
        let logs = wants.iter().map(|frozen| frozen.log).collect();
        (!wants.is_empty()).then_some((Asked::Frozen(wants), Request::Frozen(logs)))
    }

    fn next_chains(&mut self, first: bool) -> Option<(Asked, Request)> {
        let mut room = 2 * MAX_ANSWER_BYTES as u64; // usize is at most 64 bits
        let mut chains = Vec::new();
        while room > 0
            && chains.len() < MAX_WANTS
            && let Some(chain) = self.chains.of(first).pop_front()
        {
            let records = chain.until.map_or(USUAL_RANGE, |until| until.saturating_sub(chain.from));
            room = room.saturating_sub(records.saturating_mul(USUAL_RECORD_LEN));
            chains.push(chain);
        }
        let wants = chains.iter().map(|chain| Want::new(chain.log, chain.from)).collect();
        (!chains.is_empty()).then_some((Asked::Chains(chains), Request::Ranges(wants)))
    }
}

impl Probe {
    const fn middle(&self) -> u64 {
        self.low.midpoint(self.high)
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.clear();
    }
}

fn drain<T>(queue: &mut VecDeque<T>, most: usize) -> Vec<T> {
    queue.drain(..queue.len().min(most)).collect()
}

/// Returns the log just before in the order of logs; `None` before the first.
fn predecessor(log: LogId) -> Option<LogId> {
    if log.epoch > 0 {
        return Some(LogId { epoch: log.epoch - 1, ..log });
    }
    let mut author = log.author.0;
    for byte in author.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            return Some(LogId { author: crate::ids::AuthorId(author), epoch: u32::MAX });
        }
    }
    None
}
