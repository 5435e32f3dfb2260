//! The keeper: one thread that owns every write to the ledger, so that own records get their place in their log one
//! after the other and many incoming records share one commit; and the [`intake`] before it, which verifies what comes in.
//! Reading needs no keeper: see [`Keeper::ledger`].

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use exchange_ledger::body::Body;
use exchange_ledger::book::Book;
use exchange_ledger::identity::Identity;
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::ledger::{Admission, Ledger, MAX_CLOCK_SKEW_S};
use exchange_ledger::record::{Head, Header, Kind, LogId, MAX_LOG_LEN, Record, RecordError};
use exchange_ledger::retention::{Look, Mine};
use exchange_ledger::storage::{Aged, Storage, StorageError};
use exchange_store::{Answer, Store, StoreError, apply_to_book, load_book};
use tokio::sync::{Mutex, broadcast, mpsc, oneshot};

use crate::clock;
use crate::net::Verdict;
use crate::private::Private;
use crate::reputation::Reputation;

mod intake;
mod own_log;
mod ticket;

use intake::{Checked, Incoming, Promise};
use own_log::OwnLogs;
use ticket::{Published, Ticket, Wish};

/// How many writes may wait, own records and groups of others that are verified meanwhile; beyond that, both wait.
const QUEUE: usize = 16;
/// From how many records on a commit is full: what a sync of the disk costs is little beside so many.
const COMMIT: usize = 2048;
/// How many old records are looked at in one step, some milliseconds: other writes wait for no more.
const OLD: usize = 128;
/// How many changes a slow listener may lag behind before it has to look at everything again.
const CHANGES: usize = 4096;

/// How often it is tried to open a log: without a ticket, with one, and twice more if the epoch was taken meanwhile.
const MAX_OPENINGS: usize = 4;
/// How many taken epochs in a row are passed over: each is a log that was opened within the same second.
const MAX_TAKEN_EPOCHS: u32 = 1000;

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
        "no peer has shown yet that nothing was written to the own log elsewhere; connect to a peer, or try again soon"
    )]
    Unconfirmed,
    /// It counts only in a log that this machine does not go on with.
    #[error("an acceptance counts only in the log that holds its offer, and this machine opens a new one")]
    OtherLog,
    /// The own log does not take it.
    #[error("the own log does not take the record ({0:?}); check this machine's clock")]
    Refused(Admission),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

enum Job {
    Admit(Promise),
    Publish {
        wish: Wish,
        ticket: Option<Ticket>,
        reply: oneshot::Sender<Result<Published, PublishError>>,
    },
    /// Lets the book's time pass.
    Advance,
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
    /// Held by who opens an own log.
    opening: Arc<Mutex<()>>,
    incoming: mpsc::Sender<Incoming>,
    reputation: Reputation,
    jobs: mpsc::Sender<Job>,
    changes: broadcast::Sender<Change>,
    version: Arc<AtomicU64>,
}

impl Keeper {
    /// Reads the book and starts the thread. It ends when the last handle is dropped.
    ///
    /// # Errors
    /// When the store fails.
    pub fn start(store: Store, network: [u8; 4]) -> Result<(Self, JoinHandle<()>), StorageError> {
        let ledger = Ledger::new(store, network);
        let book = Arc::new(RwLock::new(load_book(&ledger, clock::unix_now())?));
        let (jobs, inbox) = mpsc::channel(QUEUE);
        let incoming = intake::start(&jobs)?;
        let (changes, _) = broadcast::channel(CHANGES);
        let private = Private::new(ledger.storage().clone());
        let own_logs = Arc::new(OwnLogs::default());
        let version = Arc::<AtomicU64>::default();
        let reputation = Reputation::default();
        let writer = Writer {
            private,
            ledger: ledger.clone(),
            book: book.clone(),
            own_logs: own_logs.clone(),
            reputation: reputation.clone(),
            changes: changes.clone(),
            version: version.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || writer.run(inbox))
            .map_err(|e| StorageError::Io(e.to_string()))?;
        let opening = Arc::default();
        Ok((Self { ledger, book, own_logs, opening, reputation, incoming, jobs, changes, version }, thread))
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

    /// Lets the book's time pass: what has ended leaves it, and what waited takes its place.
    pub async fn advance(&self) {
        // A node that is stopping needs no book.
        let _ = self.jobs.send(Job::Advance).await;
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
        let noted = Private::new(self.ledger.storage().clone()).own_head(&identity.author())?;
        if let Some(noted) = noted {
            self.own_logs.wait_for(&noted.log).await;
        }
        let wish = Wish { identity, body: Arc::new(body), request };
        if let Published::Kept(record) = self.try_publish(&wish, None).await? {
            return Ok(record);
        }
        // One after the other: whoever has waited here finds the log open.
        let _opening = self.opening.lock().await;
        let mut ticket = None;
        for _ in 0..MAX_OPENINGS {
            match self.try_publish(&wish, ticket).await? {
                Published::Kept(record) => return Ok(record),
                Published::Opens(log) => ticket = Some(Ticket::mint(self.ledger.network(), log).await?),
            }
        }
        Err(PublishError::Refused(Admission::Known))
    }

    async fn try_publish(&self, wish: &Wish, ticket: Option<Ticket>) -> Result<Published, PublishError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Publish { wish: wish.clone(), ticket, reply };
        self.jobs.send(job).await.map_err(|_| PublishError::Stopping)?;
        answer.await.map_err(|_| PublishError::Stopping)?
    }

    /// Returns a number that changes with the ledger: once whatever came in before it changed can be read.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

/// Takes the groups that are verified already, until there are enough for one commit. Returns what is to be done after it.
fn more(inbox: &mut mpsc::Receiver<Job>, groups: &mut Vec<Checked>) -> Option<Job> {
    let mut count: usize = groups.iter().map(|group| group.records.len()).sum();
    while count < COMMIT {
        match inbox.try_recv().ok()? {
            Job::Admit(promise) => match promise.poll() {
                Ok(group) => {
                    count = count.saturating_add(group.records.len());
                    groups.push(group);
                }
                Err(promise) => return Some(Job::Admit(promise)),
            },
            job @ (Job::Publish { .. }
            | Job::Advance
            | Job::SetStaked(_)
            | Job::DropBodies { .. }
            | Job::KeepBodies { .. }) => return Some(job),
        }
    }
    None
}

struct Writer {
    private: Private,
    ledger: Ledger<Store>,
    book: Arc<RwLock<Book>>,
    own_logs: Arc<OwnLogs>,
    reputation: Reputation,
    changes: broadcast::Sender<Change>,
    version: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        let mut next = inbox.blocking_recv();
        while let Some(job) = next.take() {
            match job {
                Job::Admit(promise) => {
                    let mut groups = Vec::from_iter(promise.wait());
                    next = more(&mut inbox, &mut groups);
                    self.admit(groups);
                }
                Job::Publish { wish, ticket, reply } => {
                    // A caller that went away does not want the answer.
                    let _ = reply.send(self.publish(&wish, ticket));
                }
                Job::Advance => self.advance(clock::unix_now()),
                Job::SetStaked(staked) => {
                    log_failure(self.book().set_staked(&self.ledger, staked));
                }
                Job::DropBodies { before, after, own, reply } => {
                    let _ = reply.send(self.drop_bodies(before, after.as_ref(), &own)); // as above
                }
                Job::KeepBodies { records, reply } => {
                    let _ = reply.send(self.keep_bodies(&records)); // as above
                }
            }
            next = next.or_else(|| inbox.blocking_recv());
        }
    }

    /// Lets in groups of verified records with one commit, or with several if forks take much away.
    fn admit(&mut self, groups: Vec<Checked>) {
        let mut records: Vec<Record> = groups.iter().flat_map(|group| &group.records).cloned().collect();
        let mut verdicts = Vec::with_capacity(records.len());
        while !records.is_empty() {
            match exchange_store::admit_some(&mut self.ledger, &records, clock::unix_now()) {
                Ok(admissions) => {
                    let others = records.split_off(admissions.len());
                    for (admission, record) in admissions.iter().zip(std::mem::replace(&mut records, others)) {
                        if self.is_beyond(admission, &record) {
                            self.own_logs.outgrown(record.header().log);
                        }
                        verdicts.push(self.verdict(admission, &record));
                        self.tell(admission, record, false);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "records cannot be kept; they will be fetched again");
                    verdicts.extend(records.drain(..).map(|_| Verdict::Later));
                }
            }
        }
        let mut rest = verdicts.as_slice();
        for group in groups {
            let (its, others) = rest.split_at(group.records.len().min(rest.len()));
            rest = others;
            group.answer(its);
        }
    }

    /// Looks and drops in one step, so that nothing comes in between that needs what goes.
    fn drop_bodies(&mut self, before: u64, after: Option<&Aged>, own: &Mine) -> Result<Look, StorageError> {
        let look = self.ledger.look_for_droppable(before, after, OLD, own)?;
        if !look.gone.is_empty() {
            self.ledger.drop_bodies(&look.gone)?;
        }
        Ok(look)
    }

    fn keep_bodies(&mut self, records: &[Record]) -> usize {
        match self.ledger.keep_bodies(records) {
            Ok(kept) => {
                // A trade of this node's may have waited for one of them.
                for record in &kept {
                    if let Ok(body) = record.decoded().cloned() {
                        let _ = self.changes.send(Change::of(record.clone(), body, false)); // nobody listening is fine
                    }
                }
                kept.len()
            }
            Err(error) => {
                tracing::error!(%error, "bodies cannot be kept; they will be fetched again");
                0
            }
        }
    }

    /// Publishes, unless that opens a log for which this is not the ticket.
    fn publish(&mut self, wish: &Wish, ticket: Option<Ticket>) -> Result<Published, PublishError> {
        let Wish { identity, body, request } = wish;
        let (author, now) = (identity.author(), clock::unix_now());
        let (log, head) = self.own_log(&author, body.kind(), now, ticket)?;
        let admission = match (head, ticket) {
            (Some(_), _) => 0,
            (None, Some(ticket)) if ticket.log == log => ticket.nonce,
            (None, _) => {
                body.check(now)?;
                return Ok(Published::Opens(log));
            }
        };
        let header = Header {
            network: self.ledger.network(),
            log,
            seq: head.map_or(0, |head| head.len),
            backlink: head.map_or(RecordId([0; 32]), |head| head.id),
            // A clock that was set back must not break the log.
            time: head.map_or(now, |head| now.max(head.time)),
            kind: body.kind(),
            flags: 0,
            body_len: 0,
            body_hash: [0; 32],
            admission,
        };
        let record = Record::sign(header, body.encode(), |message| identity.sign(message))?;
        Body::decode(&record)?;
        let (admissions, batch) = self.ledger.plan(std::slice::from_ref(&record), now)?;
        match admissions.into_iter().next() {
            Some(Admission::New) => {
                let answer = request.as_deref().map(|request| (request, answered_by(&record, now)));
                self.private.commit_own(&batch, &record.as_head(), answer)?;
                self.own_logs.opened(log);
                self.tell(&Admission::New, record.clone(), true);
                Ok(Published::Kept(record))
            }
            Some(other) => Err(PublishError::Refused(other)),
            None => Err(PublishError::Stopping),
        }
    }

    /// Returns the log to write to. A log is continued only by the machine that wrote all of it, as its private note of
    /// the head proves, and only if that is not an old copy: after a start, a comparison with a peer has to show that
    /// nothing came after it, and nothing that is seen may show that something did. Otherwise a new epoch begins. So a
    /// second machine, a lost data directory or one that was put back never forks a log.
    fn own_log(
        &self,
        author: &AuthorId,
        kind: Kind,
        now: u64,
        ticket: Option<Ticket>,
    ) -> Result<(LogId, Option<Head>), PublishError> {
        if let Some(noted) = self.private.own_head(author)? {
            let head = self.ledger.storage().head(&noted.log)?;
            if head == Some(noted) && has_room(&noted, now) {
                if self.own_logs.is_confirmed(&noted.log) {
                    return Ok((noted.log, head));
                }
                if own_log::is_bound(kind) {
                    return Err(PublishError::Unconfirmed);
                }
            }
        }
        if kind == Kind::Accept {
            return Err(PublishError::OtherLog);
        }
        // An epoch that is taken is not gone on with: nothing proves that its head is known here.
        let first = u32::try_from(now).unwrap_or(u32::MAX / 2);
        let paid = ticket.map(|ticket| ticket.log).filter(|log| log.author == *author);
        let others = (first..=first.saturating_add(MAX_TAKEN_EPOCHS)).map(|epoch| LogId { author: *author, epoch });
        for log in paid.into_iter().chain(others) {
            if self.ledger.storage().head(&log)?.is_none() {
                return Ok((log, None));
            }
        }
        Err(PublishError::Refused(Admission::Known))
    }

    fn verdict(&self, admission: &Admission, record: &Record) -> Verdict {
        match admission {
            // What comes without its body is old: peers that lack it find out when they compare.
            Admission::New | Admission::Equivocation if record.is_bare() => Verdict::Keep,
            Admission::New | Admission::Equivocation => Verdict::Accept,
            Admission::Frozen => Verdict::Keep,
            // Of others' logs anybody can write what is early.
            Admission::Early if self.is_beyond(admission, record) => Verdict::Later,
            // What goes back in time is its author's fault: others hold it as one of two histories.
            Admission::Known | Admission::Early | Admission::TimeReversed => Verdict::Ignore,
            Admission::Orphan => Verdict::Orphan(record.header().log),
            Admission::Invalid(_) => Verdict::Reject,
        }
    }

    /// Tells whether a record stands beyond the end that its log has here, and its author wrote here once, as far as can
    /// be told: only he can have signed it.
    fn is_beyond(&self, admission: &Admission, record: &Record) -> bool {
        if !matches!(admission, Admission::Early | Admission::Orphan) {
            return false;
        }
        let header = record.header();
        // What is here already may come again without its body, and be early so.
        let is_here = matches!(self.ledger.storage().head(&header.log), Ok(Some(head)) if header.seq < head.len);
        !is_here && !matches!(self.private.own_head(&record.author()), Ok(None))
    }

    fn book(&self) -> RwLockWriteGuard<'_, Book> {
        self.book.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the book's time pass, and takes what has ended out of the list of open offers.
    fn advance(&mut self, now: u64) {
        let ended = self.book().advance(&self.ledger, now);
        let forgotten = ended.and_then(|ended| match ended.as_slice() {
            [] => Ok(()),
            ended => self.ledger.forget_open(ended),
        });
        log_failure(forgotten);
    }

    fn tell(&self, admission: &Admission, record: Record, own: bool) {
        if admission.is_in() {
            self.version.fetch_add(1, Ordering::Release);
        }
        let mut book = self.book();
        let updated = match admission {
            Admission::New => {
                let body = said(&record);
                let mut updated = apply_to_book(&mut book, &self.ledger, &record, &body);
                if matches!(*body, Body::Closed(_) | Body::Dispute(_) | Body::Ruling(_)) {
                    updated = updated.and(self.reputation.hear(&self.ledger, &record));
                }
                // Nobody listening is fine.
                let _ = self.changes.send(Change::of(record, body, own));
                updated
            }
            Admission::Equivocation | Admission::Frozen => {
                let author = record.author();
                tracing::warn!(%author, "an author signed two histories; the proof is kept");
                let updated = book.recheck_author(&self.ledger, &author);
                let proves = *admission == Admission::Equivocation;
                let body = said(&record);
                let change = Change { forked: true, proves, ..Change::of(record, body, own) };
                let _ = self.changes.send(change); // as above
                updated
            }
            Admission::Known
            | Admission::Orphan
            | Admission::Early
            | Admission::Invalid(_)
            | Admission::TimeReversed => Ok(()),
        };
        log_failure(updated);
    }
}

/// Returns what a record that was let in says; of a bare one as little as of a kind that this code does not know.
fn said(record: &Record) -> Arc<Body> {
    record.decoded().cloned().unwrap_or_else(|_| Arc::new(Body::Unknown(record.header().kind.code())))
}

/// The book is no record: what fails here is mended by the next start.
fn log_failure(updated: Result<(), StorageError>) {
    if let Err(error) = updated {
        tracing::error!(%error, "the book cannot be updated; it will be read again at the next start");
    }
}

/// Tells whether a log can take another record: it is not full, and no clock that once ran ahead holds up everything that
/// is signed until its time has come.
fn has_room(head: &Head, now: u64) -> bool {
    head.len < MAX_LOG_LEN && head.time <= now.saturating_add(MAX_CLOCK_SKEW_S)
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
