//! A visit to one peer: takes what it has and this node lacks, and exchanges mail.
//!
//! What to ask for is decided by [`exchange_ledger::sync`], which is pure. This module carries its requests to the peer,
//! several at a time, and the records that come to the replica, several answers at a time. A visit holds no state that
//! outlives it, but for what it knows of mail.

use std::sync::Arc;
use std::time::Duration;

use exchange_ledger::retention::Retention;
use exchange_ledger::storage::{Aged, StorageError};
use exchange_ledger::sync::{self as pull, Effect, Event, Fault, Own, Stopped, WantedBodies};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p::PeerId;

use super::claims::Claims;
use super::gate::Offence;
use super::link::Link;
use super::mail::MailMemory;
use super::peers::{Plan, PlannedBodies};
use super::protocol::{Request, Response};
use super::{Replica, Verdict};
use crate::clock;
use crate::join::joined;

/// The longest visit: a first download goes on in the next one, and a peer that drips ends nobody's patience.
const SESSION_LIMIT: Duration = Duration::from_secs(300);
/// Records of a visit that are passed on to other peers by gossip; more of them the others fetch by themselves.
const MAX_FRESH: usize = 64;

/// One visit to one peer.
pub(super) struct Session {
    pub link: Link,
    pub replica: Arc<dyn Replica>,
    pub claims: Claims,
    /// Whether this node has dialled the peer.
    pub dialled: bool,
    pub gain: Gain,
    pub retention: Retention,
}

/// What a visit has brought so far.
#[derive(Debug, Default)]
pub(super) struct Gain {
    /// How many records were new.
    pub accepted: u64,
    /// The new records to pass on: all of them, if they are at most [`MAX_FRESH`].
    pub fresh: Vec<Vec<u8>>,
    /// The ledgers were compared to the end.
    pub compared: bool,
    /// There is more to fetch.
    pub unfinished: bool,
    /// Other sessions were at some of it.
    pub held_up: bool,
    /// Records that have their bodies again.
    pub restored: u64,
    /// If bodies were asked for, or would have been: where the next visit goes on, and nothing at the end.
    pub bodies: Option<Option<Aged>>,
}

/// How a visit ended.
pub(super) struct SessionEnd {
    pub peer: PeerId,
    pub memory: MailMemory,
    pub gain: Gain,
    pub result: Result<(), SessionError>,
}

/// Why a visit broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// Nobody is at fault.
    #[error("the peer does not answer: {0}")]
    Unanswered(String),
    /// The peer is.
    #[error("the peer misbehaved: {0}")]
    Offence(#[from] Offence),
    /// The own ledger cannot be read.
    #[error("the own ledger cannot be compared: {0}")]
    Storage(#[from] StorageError),
}

impl Session {
    /// Does what is planned. `memory` is what is known of the mail exchanged with this peer.
    pub async fn run(mut self, plan: Plan, mut memory: MailMemory) -> SessionEnd {
        let result = match tokio::time::timeout(SESSION_LIMIT, self.work(plan, &mut memory)).await {
            Ok(result) => result,
            Err(_) => {
                self.gain.unfinished = true;
                Ok(())
            }
        };
        SessionEnd { peer: self.link.peer, memory, gain: self.gain, result }
    }

    async fn work(&mut self, plan: Plan, memory: &mut MailMemory) -> Result<(), SessionError> {
        if !plan.logs.is_empty() {
            self.pull(pull::Plan { logs: plan.logs, ..pull::Plan::default() }).await?;
        }
        self.put_mail(plan.deliver).await?;
        if plan.mail {
            self.exchange_mail(memory).await?;
        }
        if plan.compare {
            // What either does not keep is not asked for.
            let since = |keeps: Retention| keeps.since(clock::unix_now());
            let bodies = plan.bodies.map(|PlannedBodies { keeps, after }| WantedBodies {
                since: since(self.retention).max(since(keeps)),
                after,
            });
            let recent = !self.dialled;
            self.pull(pull::Plan { compare: true, bodies, recent, ..pull::Plan::default() }).await?;
        }
        Ok(())
    }

    /// Drives a session until nothing is left to wait for.
    async fn pull(&mut self, plan: pull::Plan) -> Result<(), SessionError> {
        let asks_for_bodies = plan.bodies.is_some();
        let claims = Box::new(self.claims.session(self.dialled));
        let started = reading(&self.replica, move |own| pull::Session::start(plan, own, claims)).await;
        let (mut session, mut effects) = started.ok_or_else(stopping)??;
        let (replica, link) = (Arc::clone(&self.replica), self.link.clone());
        let mut under_way = FuturesUnordered::new();
        let before = self.gain.accepted;
        loop {
            under_way.extend(effects.into_iter().map(|effect| perform(effect, &link, &*replica)));
            let Some(happened) = under_way.next().await else { return Ok(()) };
            let (event, fresh) = happened?;
            let handled = reading(&replica, move |own| {
                let effects = session.handle(event, own);
                (session, effects)
            });
            let (handled, outcome) = handled.await.ok_or_else(stopping)?;
            session = handled;
            effects = outcome?;
            let gain = session.gain();
            self.gain.accepted = before.saturating_add(gain.accepted);
            self.gain.compared |= gain.compared;
            self.gain.restored = gain.restored;
            if asks_for_bodies && gain.compared {
                self.gain.bodies = Some(gain.bodies_after);
            }
            let room = MAX_FRESH.saturating_sub(self.gain.fresh.len());
            self.gain.fresh.extend(fresh.into_iter().take(room));
            if session.is_over() {
                self.gain.unfinished |= gain.unfinished;
                self.gain.held_up |= gain.held_up;
                return Ok(());
            }
        }
    }
}

/// Does what a session wants; returns what has happened, and which records were new if they are few.
async fn perform(effect: Effect, link: &Link, replica: &dyn Replica) -> Result<(Event, Vec<Vec<u8>>), SessionError> {
    match effect {
        Effect::Ask(token, request) => match link.ask(Request::Ledger(request)).await? {
            Response::Ledger(answer) => Ok((Event::Answered(token, answer), Vec::new())),
            Response::Mail(_) | Response::Taken | Response::Busy => Err(Offence::WrongAnswer.into()),
        },
        Effect::Keep(token, records) => {
            let count = records.len();
            let kept = if count <= MAX_FRESH { records.clone() } else { Vec::new() };
            let mut verdicts = replica.ingest(records).await;
            verdicts.resize(count, Verdict::Later);
            let fresh = kept.into_iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Accept);
            let fresh = fresh.map(|(record, _)| record).collect();
            Ok((Event::Kept(token, verdicts), fresh))
        }
        Effect::Restore(token, records) => Ok((Event::Restored(token, replica.restore(records).await), Vec::new())),
    }
}

/// Reads the ledger on a thread that may block; `None` when the node is stopping.
pub(super) async fn reading<R: Send + 'static>(
    replica: &Arc<dyn Replica>,
    work: impl FnOnce(&dyn Own) -> R + Send + 'static,
) -> Option<R> {
    let replica = Arc::clone(replica);
    let task = tokio::task::spawn_blocking(move || {
        let (mut work, mut result) = (Some(work), None);
        replica.read(&mut |own| result = work.take().map(|work| work(own)));
        result
    });
    joined(task).await.flatten()
}

fn stopping() -> SessionError {
    SessionError::Unanswered("the node is stopping".into())
}

impl From<Stopped> for SessionError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Fault(Fault::WrongAnswer) => Offence::WrongAnswer.into(),
            Stopped::Fault(Fault::EmptyPromise) => Offence::EmptyPromise.into(),
            Stopped::Fault(Fault::InvalidRecord) => Offence::InvalidRecord.into(),
            Stopped::Fault(Fault::WrongBody) => Offence::WrongBody.into(),
            Stopped::Storage(error) => error.into(),
        }
    }
}
