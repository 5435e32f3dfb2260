//! The keeper: one thread, the [`writer`], that owns every write to the ledger, so that own records get their place in their
//! log one after the other and many incoming records share one commit; and the [`intake`] before it, which verifies what
//! comes in. Reading needs no keeper: see [`Keeper::ledger`].

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use bitcoin::Network;
use exchange_ledger::body::Body;
use exchange_ledger::book::Book;
use exchange_ledger::identity::Identity;
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::ledger::{Admission, Ledger, MAX_CLOCK_SKEW_S};
use exchange_ledger::record::{Kind, Record, RecordError};
use exchange_ledger::retention::{Look, Mine};
use exchange_ledger::storage::{Aged, StorageError};
use exchange_store::{Answer, Store, StoreError, load_book};
use tokio::sync::{Mutex, broadcast, mpsc, oneshot};

use crate::clock::{self, SureTime};
use crate::net::Verdict;
use crate::private::Private;
use crate::reputation::Reputation;

mod intake;
mod own_log;
mod ticket;
mod writer;

use intake::{Incoming, Promise};
pub use own_log::OwnLog;
use own_log::OwnLogs;
use ticket::{NewRecord, Published, Ticket};
use writer::Writer;

/// How many writes may wait, own records and groups of others that are verified meanwhile; beyond that, both wait.
const QUEUE: usize = 16;
/// How many changes a slow listener may lag behind before it has to look at everything again.
const CHANGES: usize = 4096;

/// How often it is tried to open a log: without a ticket, with one, and twice more if the epoch was taken meanwhile.
const MAX_OPENINGS: usize = 4;

/// How long the first record after a start waits for a comparison with a peer before it opens a new log: connecting takes a
/// second or two, and a new log costs seconds of work.
const COMPARISON_WAIT: Duration = Duration::from_secs(5);

/// How far this machine's clock may be ahead of the chain for what is said without being asked for: both are an hour or two apart
/// while blocks come, and when they stay away nothing is lost by waiting.
const MAX_AHEAD_S: u64 = 6 * 3600;
/// How far for what begins something: that does not wait for a few slow blocks.
const MAX_AHEAD_ASKED_S: u64 = 24 * 3600;

/// A record that came in.
#[derive(Debug, Clone)]
pub struct Change {
    /// The record.
    pub record: Arc<Record>,
    /// Its body.
    pub body: Arc<Body>,
    /// Whether this node wrote it.
    pub own: bool,
    /// Whether it came in because its author signed two histories: any of his records may have lost its force or left.
    pub forked: bool,
    /// Whether it proves that, or that he did so from an earlier place on than was known.
    pub proves: bool,
}

impl Change {
    fn of(record: Record, body: Arc<Body>, own: bool) -> Self {
        Self { record: Arc::new(record), body, own, forked: false, proves: false }
    }
}

/// Why an own record could not be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A private table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record breaks a rule.
    #[error("this cannot be published: {0}")]
    Invalid(#[from] RecordError),
    /// It has to stand in a log that this node may not write to yet.
    #[error(
        "no peer has shown yet that you wrote nothing on another machine meanwhile; connect to a peer, or try again soon"
    )]
    Unconfirmed,
    /// It counts only in a log that this machine does not go on with.
    #[error("an acceptance counts only in the log that holds its offer, and this machine opens a new one")]
    OtherLog,
    /// Coins are named in vain in a log that this machine would open.
    #[error(
        "the coins in the escrow cannot be named: this machine does not go on with the log in which you agreed, so the buyer's node \
         does not let him pay; ask for a refund"
    )]
    NamedElsewhere,
    /// This machine's clock is so far ahead of the chain that it may be wrong: others would drop what it dates, and the log would be
    /// held up until that time has come.
    #[error("this machine's clock is {hours} hours ahead of the newest blocks, so nothing new is signed with its time")]
    ClockAhead {
        /// By how many hours.
        hours: u64,
    },
    /// The own log does not take it.
    #[error("your log does not take the record ({0:?}); check this machine's clock")]
    Refused(Admission),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl PublishError {
    /// Tells whether it is certain that no record was kept.
    pub const fn kept_nothing(&self) -> bool {
        match self {
            Self::Invalid(_)
            | Self::Unconfirmed
            | Self::OtherLog
            | Self::NamedElsewhere
            | Self::ClockAhead { .. }
            | Self::Refused(_) => true,
            // What a disk took and did not confirm may be there after the next start; and a node that stops may have written before.
            Self::Storage(_) | Self::Store(_) | Self::Stopping => false,
        }
    }
}

enum Job {
    Admit(Promise),
    Publish {
        new: NewRecord,
        ticket: Option<Ticket>,
        reply: oneshot::Sender<Result<Published, PublishError>>,
    },
    /// Lets the book's time pass, of which so much is sure.
    Advance {
        sure: u64,
    },
    /// Tells the book whose stakes count.
    SetStaked(HashSet<AuthorId>),
    /// Drops bodies of the next old records.
    DropBodies {
        before: u64,
        after: Option<Aged>,
        own: Arc<Mine>,
        reply: oneshot::Sender<Result<Look, StorageError>>,
    },
    /// Gives bare records their bodies back.
    KeepBodies {
        records: Vec<Record>,
        reply: oneshot::Sender<usize>,
    },
}

/// A handle to the ledger. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    ledger: Ledger<Store>,
    book: Arc<RwLock<Book>>,
    own_logs: Arc<OwnLogs>,
    sure: SureTime,
    /// Held by who opens an own log.
    opening: Arc<Mutex<()>>,
    incoming: mpsc::Sender<Incoming>,
    reputation: Reputation,
    jobs: mpsc::Sender<Job>,
    changes: broadcast::Sender<Change>,
    version: Arc<AtomicU64>,
}

impl Keeper {
    /// Reads the book and starts the thread. It ends when the last handle is dropped. This machine's clock is believed: without a
    /// chain nothing tells whether it is right.
    ///
    /// # Errors
    /// When the store fails.
    pub fn start(store: Store, network: [u8; 4]) -> Result<(Self, JoinHandle<()>), StorageError> {
        Self::start_sure(store, network, SureTime::on(Network::Regtest))
    }

    /// Does the same where the chain shows whether this machine's clock is ahead: then nothing is begun by it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn start_sure(store: Store, network: [u8; 4], sure: SureTime) -> Result<(Self, JoinHandle<()>), StorageError> {
        Self::start_waiting(store, network, sure, COMPARISON_WAIT)
    }

    /// Does the same, with another time for which the first record waits for a comparison with a peer.
    fn start_waiting(
        store: Store,
        network: [u8; 4],
        sure: SureTime,
        wait: Duration,
    ) -> Result<(Self, JoinHandle<()>), StorageError> {
        let ledger = Ledger::new(store, network);
        let book = Arc::new(RwLock::new(load_book(&ledger, clock::unix_now())?));
        let (jobs, inbox) = mpsc::channel(QUEUE);
        let incoming = intake::start(&jobs)?;
        let (changes, _) = broadcast::channel(CHANGES);
        let private = Private::new(ledger.storage().clone());
        let own_logs = Arc::new(OwnLogs::new(wait));
        let version = Arc::<AtomicU64>::default();
        let reputation = Reputation::default();
        let writer = Writer {
            private,
            ledger: ledger.clone(),
            book: book.clone(),
            own_logs: own_logs.clone(),
            sure: sure.clone(),
            reputation: reputation.clone(),
            changes: changes.clone(),
            version: version.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || writer.run(inbox))
            .map_err(|e| StorageError::Io(e.to_string()))?;
        let opening = Arc::default();
        Ok((Self { ledger, book, own_logs, sure, opening, reputation, incoming, jobs, changes, version }, thread))
    }

    /// Returns the ledger, for reading.
    pub const fn ledger(&self) -> &Ledger<Store> {
        &self.ledger
    }

    /// Returns the book, for a short look.
    pub fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what authors have closed.
    pub const fn reputation(&self) -> &Reputation {
        &self.reputation
    }

    /// Lets the book's time pass: what has ended leaves it, and what waited takes its place. What ended before a time that is
    /// sure is no more listed as open.
    pub async fn advance(&self, sure: u64) {
        // A node that is stopping needs no book.
        let _ = self.jobs.send(Job::Advance { sure }).await;
    }

    /// Says whose stakes count: more of their offers stand in the book.
    pub async fn set_staked(&self, staked: HashSet<AuthorId>) {
        let _ = self.jobs.send(Job::SetStaked(staked)).await; // as above
    }

    /// Returns a stream of records that come in from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Takes in encoded records from a peer; one verdict for each, in order.
    pub async fn ingest(&self, records: Vec<Vec<u8>>) -> Vec<Verdict> {
        let count = records.len();
        let (reply, answer) = oneshot::channel();
        let sent = self.incoming.send(Incoming { records, reply }).await;
        match sent.ok() {
            Some(()) => answer.await.unwrap_or_else(|_| vec![Verdict::Later; count]),
            None => vec![Verdict::Later; count],
        }
    }

    /// Is told that all that a peer holds was taken in: what was ever written to the own log and reached that peer is
    /// known here now.
    pub fn compared(&self) {
        self.own_logs.compared();
    }

    /// Tells whether everything that some peer held was taken in since the start.
    pub fn is_compared(&self) -> bool {
        self.own_logs.is_compared()
    }

    /// Waits until everything that some peer held was taken in since the start.
    pub async fn until_compared(&self) {
        self.own_logs.until_compared().await;
    }

    /// Refuses what would be signed by a clock that is ahead of the chain, as [`Self::publish`] does.
    ///
    /// # Errors
    /// [`PublishError::ClockAhead`] for records of this kind.
    pub fn check_clock(&self, kind: Kind) -> Result<(), PublishError> {
        check_clock(&self.sure, kind)
    }

    /// Returns what time it is by this machine's clock or by the chain, whichever shows the later.
    pub fn latest_time(&self) -> u64 {
        self.sure.latest()
    }

    /// Tells whether the log of an identity goes on here, as far as is known now. Nothing is changed by that, and nobody waited for.
    ///
    /// # Errors
    /// When the store fails.
    pub fn own_log(&self, author: &AuthorId) -> Result<OwnLog, StoreError> {
        let storage = self.ledger.storage();
        self.own_logs.of(author, &Private::new(storage.clone()), storage, clock::unix_now())
    }

    /// Tells the same once a peer has shown it, or after some seconds, as long as the first record after a start waits.
    ///
    /// # Errors
    /// As [`Self::own_log`].
    pub async fn settled_log(&self, author: &AuthorId) -> Result<OwnLog, StoreError> {
        if let OwnLog::Unconfirmed(head) = self.own_log(author)? {
            self.own_logs.wait_for(&head.log).await;
        }
        self.own_log(author)
    }

    /// Drops the bodies that nothing needs of the next few records of a time before `before`, after `after`. Returns those
    /// that are gone, and where to go on.
    ///
    /// # Errors
    /// When the store fails, or the node is stopping; then none is gone.
    pub async fn drop_bodies(&self, before: u64, after: Option<Aged>, own: Arc<Mine>) -> Result<Look, StorageError> {
        let stopping = || StorageError::Io("the node is stopping".into());
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::DropBodies { before, after, own, reply }).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Keeps records that are here without their bodies with them, which were checked. Returns how many of these there were.
    pub async fn keep_bodies(&self, records: Vec<Record>) -> usize {
        let (reply, answer) = oneshot::channel();
        match self.jobs.send(Job::KeepBodies { records, reply }).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => 0, // a node that is stopping wants nothing
        }
    }

    /// Signs a body as the next record of an identity's log and keeps it durably. After a start it may wait some seconds
    /// for a comparison with a peer.
    ///
    /// # Errors
    /// When the body breaks a rule or the store fails; nothing is published then.
    pub async fn publish(&self, identity: Arc<Identity>, body: Body) -> Result<Record, PublishError> {
        self.publish_for(identity, body, None).await
    }

    /// Does the same for a request: that it was answered, by this record, is kept with the record or not at all, so that
    /// whoever asks again after a crash gets one record.
    ///
    /// # Errors
    /// Also when the request was answered before.
    pub async fn publish_for(
        &self,
        identity: Arc<Identity>,
        body: Body,
        request: Option<String>,
    ) -> Result<Record, PublishError> {
        self.settled_log(&identity.author()).await?;
        let new = NewRecord { identity, body: Arc::new(body), request };
        if let Published::Kept(record) = self.try_publish(&new, None).await? {
            return Ok(record);
        }
        // One after the other: whoever has waited here finds the log open.
        let _opening = self.opening.lock().await;
        let mut ticket = None;
        for _ in 0..MAX_OPENINGS {
            match self.try_publish(&new, ticket).await? {
                Published::Kept(record) => return Ok(record),
                Published::Opens(log) => ticket = Some(Ticket::mint(self.ledger.network(), log).await?),
            }
        }
        Err(PublishError::Refused(Admission::Known))
    }

    async fn try_publish(&self, new: &NewRecord, ticket: Option<Ticket>) -> Result<Published, PublishError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Publish { new: new.clone(), ticket, reply };
        self.jobs.send(job).await.map_err(|_| PublishError::Stopping)?;
        answer.await.map_err(|_| PublishError::Stopping)?
    }

    /// Returns a number that changes with the ledger: once whatever came in before it changed can be read.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

/// Returns by how many seconds the clock may be ahead of the chain for records of a kind; `None` of what is said in the course of a
/// trade, which does not wait: it may be the chain that stands still, and a dispute cannot wait for that.
const fn most_ahead(kind: Kind) -> Option<u64> {
    match kind {
        Kind::Accept | Kind::Funded | Kind::Heartbeat | Kind::Closed => Some(MAX_AHEAD_S),
        Kind::ArbiterAdvert
        | Kind::GroupAdvert
        | Kind::GroupStep
        | Kind::Checkpoint
        | Kind::Stake
        | Kind::Offer
        | Kind::Take
        | Kind::Unknown(_) => Some(MAX_AHEAD_ASKED_S),
        Kind::Revoke
        | Kind::Cancel
        | Kind::PaymentSent
        | Kind::Release
        | Kind::Dispute
        | Kind::Ruling
        | Kind::Extend => None,
    }
}

/// Begins nothing by a clock that is ahead, and says nothing unasked. All others drop such a record, and the log that holds it takes
/// nothing more that they would take before its time has come: with another log, the offers of this one could not be accepted any
/// more, nor the coins of its trades be named.
fn check_clock(sure: &SureTime, kind: Kind) -> Result<(), PublishError> {
    let ahead = sure.ahead();
    match most_ahead(kind) {
        Some(most) if ahead > most => Err(PublishError::ClockAhead { hours: ahead / 3600 }),
        Some(_) | None => Ok(()),
    }
}

/// Returns the time by which a record is dated that is signed now. What does not wait is dated by the chain where the clock is too
/// far ahead of it: if the chain stands still that is merely early, and if the clock is wrong, others take it and the log goes on.
/// What the chain shows is an hour late, so two hours more are ahead of nobody's clock by more than he takes.
fn time_of(sure: &SureTime, kind: Kind, now: u64) -> u64 {
    match most_ahead(kind) {
        Some(_) => now,
        None => match sure.shown() {
            Some(shown) if now > shown.saturating_add(MAX_AHEAD_S) => shown.saturating_add(MAX_CLOCK_SKEW_S),
            Some(_) | None => now,
        },
    }
}

/// How the answer to a request begins that was a record, whose id follows. No JSON begins like this.
const RECORD_ANSWER: &str = "record ";

/// Returns what is kept of a request that a record answered.
fn answered_by(record: &Record, now: u64) -> Answer {
    Answer { time_s: now, bytes: format!("{RECORD_ANSWER}{}", record.id()).into_bytes() }
}

/// Returns the record that answered a request, if a record did.
pub fn record_of(answer: &Answer) -> Option<RecordId> {
    std::str::from_utf8(&answer.bytes).ok()?.strip_prefix(RECORD_ANSWER)?.parse().ok()
}

#[cfg(test)]
mod tests;
