//! Judging what gossip brings. One task per topic gathers what has arrived and gives it to the replica together, so
//! that a burst of records costs one commit to disk instead of hundreds. What proves a fork has a topic and a queue of its
//! own, so it waits behind no other news. In each queue the sources take turns, so nobody waits behind who sends much.

use std::sync::Arc;

use exchange_ledger::ids::AuthorId;
use exchange_ledger::record::{Header, LogId};
use exchange_ledger::sync::Proof;
use libp2p::PeerId;
use libp2p::gossipsub::MessageId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::origin::Source;
use super::pace::Pace;
use super::queue::{Receiver, Sender, queue};
use super::swarm::Report;
use super::{Replica, Verdict};

/// Messages waiting to be judged, at most 20 MiB: what finds no room there is ignored and healed by sync.
const MAX_WAITING_MESSAGES: usize = 1024;
/// Proofs of forks waiting to be judged, at most 2 MiB; each that is let in cost its author a ticket.
const MAX_WAITING_PROOFS: usize = 256;
/// Records judged together: at most 1 MiB.
const MAX_BATCH: usize = 256;
/// Proofs judged together: at most 512 KiB, since each may take many records of a log away.
const MAX_PROOF_BATCH: usize = 64;
/// Records in a proof.
const PROOF_RECORDS: usize = 2;

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
    records: Sender<Incoming>,
    mail: Sender<Incoming>,
    forks: Sender<Incoming>,
}

impl Judges {
    pub fn start(replica: &Arc<dyn Replica>, reports: &mpsc::Sender<Report>) -> Self {
        let (records, to_judge) = queue(MAX_WAITING_MESSAGES);
        tokio::spawn(judge_records(Arc::clone(replica), to_judge, reports.clone()));
        let (mail, to_judge) = queue(MAX_WAITING_MESSAGES);
        tokio::spawn(judge_mail(Arc::clone(replica), to_judge, reports.clone()));
        let (forks, to_judge) = queue(MAX_WAITING_PROOFS);
        tokio::spawn(judge_forks(Arc::clone(replica), to_judge, reports.clone()));
        Self { records, mail, forks }
    }

    /// Queues a message. Returns what there is no room for: the message, when its source has as much there as it may, or
    /// another one that had to make room, whose source has most there.
    pub fn submit(&self, from: Source, message: Incoming) -> Option<Incoming> {
        let queue = match message.topic {
            Topic::Records => &self.records,
            Topic::Mail => &self.mail,
            Topic::Forks => &self.forks,
        };
        queue.put(from, message)
    }
}

async fn judge_records(replica: Arc<dyn Replica>, mut queue: Receiver<Incoming>, reports: mpsc::Sender<Report>) {
    let mut pace = Pace::default();
    loop {
        let mut batch = queue.take(MAX_BATCH).await;
        if batch.is_empty() {
            return;
        }
        let records: Vec<Vec<u8>> = batch.iter_mut().map(|message| std::mem::take(&mut message.data)).collect();
        let authors: Vec<Option<AuthorId>> = records.iter().map(|record| Header::author_in(record)).collect();
        let verdicts = replica.ingest(records).await;
        for (i, message) in batch.into_iter().enumerate() {
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

async fn judge_forks(replica: Arc<dyn Replica>, mut queue: Receiver<Incoming>, reports: mpsc::Sender<Report>) {
    loop {
        let batch = queue.take(MAX_PROOF_BATCH).await;
        if batch.is_empty() {
            return;
        }
        let (mut judged, mut records) = (Vec::new(), Vec::new());
        for mut message in batch {
            let proof = Proof::decode(&std::mem::take(&mut message.data));
            judged.push((message, proof.as_ref().map(|proof| proof.log)));
            records.extend(proof.into_iter().flat_map(|proof| proof.records));
        }
        let verdicts = if records.is_empty() { Vec::new() } else { replica.ingest(records).await };
        let mut of_proofs = verdicts.chunks(PROOF_RECORDS);
        for (message, log) in judged {
            let verdict = match log {
                Some(_) => both(of_proofs.next().unwrap_or_default()),
                None => Verdict::Reject,
            };
            if reports.send(message.judged(verdict, log)).await.is_err() {
                return;
            }
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

async fn judge_mail(replica: Arc<dyn Replica>, mut queue: Receiver<Incoming>, reports: mpsc::Sender<Report>) {
    while let Some(mut message) = queue.take(1).await.pop() {
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
