//! Judging what gossip brings. One task per topic gathers what has arrived and gives it to the replica together, so
//! that a burst of records costs one commit to disk instead of hundreds. What proves a fork has a topic and a queue of its
//! own, so it waits behind no other news.

use std::sync::Arc;

use exchange_ledger::ids::AuthorId;
use exchange_ledger::record::{Header, LogId};
use exchange_ledger::sync::Proof;
use libp2p::PeerId;
use libp2p::gossipsub::MessageId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pace::Pace;
use super::swarm::Report;
use super::{Replica, Verdict};

/// Messages waiting to be judged, at most 20 MiB: what comes while the queue is full is ignored and healed by sync.
const MAX_WAITING: usize = 1024;
/// Proofs of forks waiting to be judged, at most 2 MiB; each that is let in cost its author a ticket.
const MAX_WAITING_PROOFS: usize = 256;
/// Records judged together: at most 1 MiB.
const MAX_BATCH: usize = 256;

/// A gossip topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Records,
    Mail,
    /// Two records that prove that a log has forked.
    Forks,
}

/// A message from a peer, to be judged.
#[derive(Debug)]
pub(super) struct Incoming {
    pub topic: Topic,
    pub id: MessageId,
    pub source: PeerId,
    pub data: Vec<u8>,
}

/// What became of a message.
#[derive(Debug)]
pub(super) struct Judged {
    pub topic: Topic,
    pub id: MessageId,
    pub source: PeerId,
    pub verdict: Verdict,
    /// The log that a proof is about.
    pub forked: Option<LogId>,
}

/// The queues of the judges. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Judges {
    records: mpsc::Sender<Incoming>,
    mail: mpsc::Sender<Incoming>,
    forks: mpsc::Sender<Incoming>,
}

impl Judges {
    pub fn start(replica: &Arc<dyn Replica>, reports: &mpsc::Sender<Report>) -> Self {
        let (records, queue) = mpsc::channel(MAX_WAITING);
        tokio::spawn(judge_records(Arc::clone(replica), queue, reports.clone()));
        let (mail, queue) = mpsc::channel(MAX_WAITING);
        tokio::spawn(judge_mail(Arc::clone(replica), queue, reports.clone()));
        let (forks, queue) = mpsc::channel(MAX_WAITING_PROOFS);
        tokio::spawn(judge_forks(Arc::clone(replica), queue, reports.clone()));
        Self { records, mail, forks }
    }

    /// Queues a message; gives it back when the queue is full.
    #[expect(clippy::result_large_err, reason = "the message is moved either way")]
    pub fn submit(&self, message: Incoming) -> Result<(), Incoming> {
        let queue = match message.topic {
            Topic::Records => &self.records,
            Topic::Mail => &self.mail,
            Topic::Forks => &self.forks,
        };
        queue.try_send(message).map_err(|e| e.into_inner())
    }
}

async fn judge_records(replica: Arc<dyn Replica>, mut queue: mpsc::Receiver<Incoming>, reports: mpsc::Sender<Report>) {
    let mut batch = Vec::new();
    let mut pace = Pace::default();
    while queue.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let records: Vec<Vec<u8>> = batch.iter_mut().map(|message| std::mem::take(&mut message.data)).collect();
        let authors: Vec<Option<AuthorId>> = records.iter().map(|record| Header::author_in(record)).collect();
        let verdicts = replica.ingest(records).await;
        for (i, message) in batch.drain(..).enumerate() {
            let verdict = match (verdicts.get(i).copied().unwrap_or(Verdict::Ignore), authors[i]) {
                // It is kept; others get it when they compare ledgers.
                (Verdict::Accept, Some(author)) if !pace.allows(author, Instant::now()) => Verdict::Ignore,
                (verdict, _) => verdict,
            };
            if reports.send(message.judged(verdict, None)).await.is_err() {
                return;
            }
        }
    }
}

async fn judge_forks(replica: Arc<dyn Replica>, mut queue: mpsc::Receiver<Incoming>, reports: mpsc::Sender<Report>) {
    while let Some(mut message) = queue.recv().await {
        let proof = Proof::decode(&std::mem::take(&mut message.data));
        let log = proof.as_ref().map(|proof| proof.log);
        let verdict = match proof {
            Some(proof) => both(&replica.ingest(proof.records.into()).await),
            None => Verdict::Reject,
        };
        if reports.send(message.judged(verdict, log)).await.is_err() {
            return;
        }
    }
}

/// Returns what becomes of a proof whose records were judged so. To a node that lacked only one of them it is news as well.
fn both(verdicts: &[Verdict]) -> Verdict {
    let missing = verdicts.iter().find(|verdict| matches!(verdict, Verdict::Orphan(_)));
    if verdicts.contains(&Verdict::Reject) {
        Verdict::Reject
    } else if verdicts.contains(&Verdict::Accept) {
        Verdict::Accept
    } else {
        missing.copied().unwrap_or(Verdict::Ignore)
    }
}

async fn judge_mail(replica: Arc<dyn Replica>, mut queue: mpsc::Receiver<Incoming>, reports: mpsc::Sender<Report>) {
    while let Some(mut message) = queue.recv().await {
        let verdict = replica.put_mail(std::mem::take(&mut message.data)).await;
        if reports.send(message.judged(verdict, None)).await.is_err() {
            return;
        }
    }
}

impl Incoming {
    fn judged(self, verdict: Verdict, forked: Option<LogId>) -> Report {
        Report::Judged(Judged { topic: self.topic, id: self.id, source: self.source, verdict, forked })
    }
}
