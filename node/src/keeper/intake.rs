//! The intake: reads and verifies what peers send, on all cores, while the ledger's thread keeps what was verified before.
//!
//! A worker takes a group of messages and, in the same step, puts a promise of it into the queue of the ledger's thread. So
//! groups are let in in the order in which they came, whichever worker is done first, and nobody runs ahead of a disk that
//! is slow.

use std::num::NonZero;
use std::sync::mpsc as promise;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use exchange_ledger::record::{Record, RecordError, decode_and_verify};
use exchange_ledger::storage::StorageError;
use tokio::sync::{mpsc, oneshot};

use super::Job;
use crate::entropy;
use crate::net::Verdict;

/// How many messages may wait; beyond that, peers wait.
const QUEUE: usize = 1024;
/// From how many records on a group is full. Of more, a signature costs little less to verify; of fewer, a good deal more.
const GROUP: usize = 1024;
/// The most threads that verify: beyond that, keeping records is what takes the time.
const MAX_WORKERS: usize = 8;

/// The records of one message, and where its sender waits for the verdicts.
pub(super) struct Incoming {
    pub records: Vec<Vec<u8>>,
    pub reply: oneshot::Sender<Vec<Verdict>>,
}

/// A group that was read and verified.
pub(super) struct Checked {
    messages: Vec<Message>,
    /// The good ones, in order.
    pub records: Vec<Record>,
}

struct Message {
    verdicts: Vec<Result<(), RecordError>>,
    reply: oneshot::Sender<Vec<Verdict>>,
}

/// A group that a worker is at, or done with.
pub(super) struct Promise(promise::Receiver<Checked>);

impl Promise {
    /// Waits until the worker is done; `None` if it died.
    pub fn wait(self) -> Option<Checked> {
        self.0.recv().ok()
    }

    /// Returns the group if the worker is done.
    pub fn poll(self) -> Result<Checked, Self> {
        self.0.try_recv().map_err(|_| self)
    }
}

/// Starts the workers, which end with the last handle to their queue.
///
/// # Errors
/// When the system has no more threads.
pub(super) fn start(jobs: &mpsc::Sender<Job>) -> Result<mpsc::Sender<Incoming>, StorageError> {
    let (queue, inbox) = mpsc::channel(QUEUE);
    let inbox = Arc::new(Mutex::new(inbox));
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    for _ in 0..cores.min(MAX_WORKERS) {
        let (inbox, jobs) = (Arc::clone(&inbox), jobs.clone());
        let work = move || while work(&inbox, &jobs).is_some() {};
        thread::Builder::new().name("intake".into()).spawn(work).map_err(|e| StorageError::Io(e.to_string()))?;
    }
    Ok(queue)
}

/// Takes and checks one group; `None` when there will be no more.
fn work(inbox: &Mutex<mpsc::Receiver<Incoming>>, jobs: &mpsc::Sender<Job>) -> Option<()> {
    let (done, promise) = promise::channel();
    let group = {
        // Whoever holds it takes, the others wait for their turn. A poisoned queue is as good as another.
        let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let group = take_group(&mut inbox)?;
        jobs.blocking_send(Job::Admit(Promise(promise))).ok()?;
        group
    };
    // A ledger that stopped does not want it.
    let _ = done.send(check(group));
    Some(())
}

/// Waits for a message, and takes those that wait with it.
fn take_group(inbox: &mut mpsc::Receiver<Incoming>) -> Option<Vec<Incoming>> {
    let first = inbox.blocking_recv()?;
    let mut count = first.records.len();
    let mut group = vec![first];
    while count < GROUP
        && let Ok(next) = inbox.try_recv()
    {
        count = count.saturating_add(next.records.len());
        group.push(next);
    }
    Some(group)
}

fn check(group: Vec<Incoming>) -> Checked {
    let mut bytes = Vec::with_capacity(group.iter().map(|message| message.records.len()).sum());
    let mut replies = Vec::with_capacity(group.len());
    for Incoming { records, reply } in group {
        replies.push((records.len(), reply));
        bytes.extend(records);
    }
    let mut records = Vec::with_capacity(bytes.len());
    let mut verdicts =
        decode_and_verify(&bytes, entropy::bytes32()).into_iter().map(|verdict| verdict.map(|good| records.push(good)));
    let messages: Vec<Message> = replies
        .into_iter()
        .map(|(count, reply)| Message { verdicts: verdicts.by_ref().take(count).collect(), reply })
        .collect();
    drop(verdicts);
    Checked { messages, records }
}

impl Checked {
    /// Tells every sender what became of his records. `good` are the verdicts on the good ones, in order.
    pub fn answer(self, good: &[Verdict]) {
        let mut good = good.iter().copied();
        for Message { verdicts, reply } in self.messages {
            let verdicts = verdicts.into_iter().map(|verdict| match verdict {
                Ok(()) => good.next().unwrap_or(Verdict::Later),
                Err(error) => {
                    tracing::debug!(%error, "a peer sent an invalid record");
                    Verdict::Reject
                }
            });
            // A caller that went away does not want the answer.
            let _ = reply.send(verdicts.collect());
        }
    }
}

#[cfg(test)]
mod tests;
