//! Healing: the ledger's own sessions and answers (`exchange_ledger::sync`), carried over the simulated network.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use exchange_ledger::record::LogId;
use exchange_ledger::storage::{Storage, StorageError};
use exchange_ledger::sync::{
    Alone, Answer, Effect, Event, Own, Plan, Request, Salt, Session, Snapshot, Snapshots, Stopped, Token, answer,
};

use crate::agenda::Millis;
use crate::disk::Disk;
use crate::flaw::Flaw;
use crate::network::{Bytes, Packet};
use crate::node::Node;
use crate::rng::Rng;
use crate::shared::Shared;

/// Logs that a node remembers to ask for.
pub const MAX_WANTED: usize = 64;
/// How long an answer may take, before the session is given up: as in the node.
const REQUEST_TIMEOUT_MS: Millis = 20_000;

/// A node's ledger, as sessions and answers read it.
pub struct Replica {
    disk: Disk,
    snapshots: RefCell<Snapshots>,
    version: Cell<u64>,
    number: usize,
}

impl Replica {
    /// Returns the ledger on a disk.
    pub fn new(disk: Disk, number: usize) -> Self {
        Self { disk, snapshots: RefCell::default(), version: Cell::new(0), number }
    }

    /// Returns a number that changes with the ledger.
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// Notes that the ledger has changed.
    pub fn changed(&self) {
        self.version.set(self.version.get() + 1);
    }
}

impl Own for Replica {
    fn storage(&self) -> &dyn Storage {
        &self.disk
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        let mut snapshots = self.snapshots.borrow_mut();
        let version = self.version.get();
        if let Some((_, snapshot)) = snapshots.latest().filter(|(at, _)| *at == version) {
            return Ok(snapshot.clone());
        }
        let mut salt = [0; 16];
        salt.copy_from_slice(&Rng::new(version << 8 | self.number as u64).bytes32()[..16]); // usize is at most 64 bits
        // Nobody waits here for a new one, so no time is needed.
        Ok(snapshots.put(version, Snapshot::take(&self.disk, Salt(salt))?, Duration::ZERO))
    }

    fn snapshot_of(&self, salt: &Salt) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().of(salt)
    }
}

/// A session under way.
pub struct OpenSession {
    number: u64,
    heard: Millis,
    /// Whether it asks for bodies.
    wishes: bool,
    session: Session,
}

impl Node {
    /// Compares with a peer and fetches what it has that we lack.
    pub fn compare_with(&mut self, peer: usize, shared: &mut Shared) {
        self.start_session(peer, true, shared);
    }

    /// Remembers a log whose beginning is missing, and asks a peer for it.
    pub fn want_log(&mut self, peer: usize, log: LogId, shared: &mut Shared) {
        let Some(mind) = self.mind.as_mut() else { return };
        if mind.wanted.len() < MAX_WANTED {
            mind.wanted.insert(log);
        }
        self.start_session(peer, false, shared);
    }

    fn start_session(&mut self, peer: usize, compare: bool, shared: &mut Shared) {
        let now = shared.agenda.now();
        let bodies = if compare { self.wish_for_bodies(peer, shared) } else { None };
        let Some(mind) = self.mind.as_mut().filter(|_| shared.flaw != Some(Flaw::NeverHeals)) else { return };
        if mind.sessions.get(&peer).is_some_and(|open| now < open.heard + REQUEST_TIMEOUT_MS) {
            return;
        }
        let wishes = bodies.is_some();
        let plan = Plan { logs: std::mem::take(&mut mind.wanted), compare, bodies, recent: false };
        mind.session_count += 1;
        let number = mind.session_count;
        if let Ok((session, effects)) = Session::start(plan, &self.replica, Box::new(Alone)) {
            self.drive(peer, OpenSession { number, heard: now, wishes, session }, effects, shared);
        }
    }

    /// Answers a peer.
    pub fn serve(&mut self, peer: usize, session: u64, token: Token, request: &Request, shared: &mut Shared) {
        if shared.hides_forks() && matches!(request, Request::Frozen(_)) {
            return;
        }
        if let Ok((answer, _)) = answer(&self.replica, request) {
            shared.send(self.number, peer, Packet::Answer(session, token, answer));
        }
    }

    /// Hears a peer's answer.
    pub fn answered(&mut self, peer: usize, number: u64, token: Token, answer: Answer, shared: &mut Shared) {
        let Some(mind) = self.mind.as_mut() else { return };
        if mind.sessions.get(&peer).is_none_or(|open| open.number != number) {
            return; // of a session that was given up
        }
        let Some(mut open) = mind.sessions.remove(&peer) else { return };
        open.heard = shared.agenda.now();
        let handled = open.session.handle(Event::Answered(token, answer), &self.replica);
        self.go_on(peer, open, handled, shared);
    }

    fn go_on(&mut self, peer: usize, open: OpenSession, handled: Result<Vec<Effect>, Stopped>, shared: &mut Shared) {
        match handled {
            Ok(effects) => self.drive(peer, open, effects, shared),
            Err(Stopped::Fault(_)) => shared.ban(self.number, peer),
            Err(Stopped::Storage(_)) => {}
        }
    }

    fn drive(&mut self, peer: usize, mut open: OpenSession, effects: Vec<Effect>, shared: &mut Shared) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let done = match effect {
                Effect::Ask(token, request) => {
                    shared.send(self.number, peer, Packet::Ask(open.number, token, request));
                    continue;
                }
                Effect::Keep(token, records) => {
                    let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
                    Event::Kept(token, self.ingest(peer, &records, shared))
                }
                Effect::Restore(token, records) => Event::Restored(token, self.keep_bodies(&records, shared)),
            };
            match open.session.handle(done, &self.replica) {
                Ok(more) => effects.extend(more),
                Err(Stopped::Fault(_)) => return shared.ban(self.number, peer),
                Err(Stopped::Storage(_)) => return,
            }
        }
        let Some(mind) = self.mind.as_mut() else { return };
        if open.session.is_over() {
            let gain = open.session.gain();
            mind.compared |= gain.compared;
            if open.wishes && gain.compared {
                mind.bodies_sought(peer, gain.bodies_after, gain.restored > 0, shared.seconds());
            }
        } else {
            mind.sessions.insert(peer, open);
        }
    }
}
