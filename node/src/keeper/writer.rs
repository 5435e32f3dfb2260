//! The thread `ledger`: does one after the other what is asked of it, and tells the book and whoever listens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use exchange_ledger::body::Body;
use exchange_ledger::book::Book;
use exchange_ledger::ids::AuthorId;
use exchange_ledger::ledger::{Admission, Ledger};
use exchange_ledger::record::{Head, Header, Kind, LogId, Record};
use exchange_ledger::retention::{Look, Mine};
use exchange_ledger::storage::{Aged, Storage, StorageError};
use exchange_ledger::sync::is_beyond;
use exchange_store::{Store, apply_to_book};
use tokio::sync::{broadcast, mpsc};

use super::intake::Checked;
use super::own_log::{OwnLog, OwnLogs};
use super::ticket::{NewRecord, Published, Ticket};
use super::{Change, Job, PublishError, answered_by, check_clock, time_of};
use crate::clock::{self, SureTime};
use crate::net::Verdict;
use crate::private::Private;
use crate::reputation::Reputation;

/// From how many records on a commit is full: what a sync of the disk costs is little beside so many.
const COMMIT: usize = 2048;
/// How many old records are looked at in one step, some milliseconds: other writes wait for no more.
const OLD: usize = 128;
/// How many taken epochs in a row are passed over: each is a log that was opened within the same second.
const MAX_TAKEN_EPOCHS: u32 = 1000;

/// What the thread works with.
pub(super) struct Writer {
    pub(super) private: Private,
    pub(super) ledger: Ledger<Store>,
    pub(super) book: Arc<RwLock<Book>>,
    pub(super) own_logs: Arc<OwnLogs>,
    pub(super) sure: SureTime,
    pub(super) reputation: Reputation,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) version: Arc<AtomicU64>,
}

impl Writer {
    /// Does what is asked for, until nobody is left to ask.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        let mut next = inbox.blocking_recv();
        while let Some(job) = next.take() {
            match job {
                Job::Admit(promise) => {
                    let mut groups = Vec::from_iter(promise.wait());
                    next = more(&mut inbox, &mut groups);
                    self.admit(groups);
                }
                Job::Publish { new, ticket, reply } => {
                    // A caller that went away does not want the answer.
                    let _ = reply.send(self.publish(&new, ticket));
                }
                Job::Advance { sure } => self.advance(clock::unix_now(), sure),
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
                    let kept = std::mem::replace(&mut records, others);
                    let mut told: Vec<(Admission, Record)> = admissions.into_iter().zip(kept).collect();
                    for (admission, record) in &told {
                        let is_beyond = self.is_beyond(admission, record);
                        if is_beyond {
                            self.own_logs.outgrown(record.header().log);
                        }
                        verdicts.push(Verdict::of(admission, record, is_beyond));
                    }
                    // They may have come in any order; the book is told of each log in its own.
                    told.sort_by_key(|(_, record)| record.header().seq);
                    told.into_iter().for_each(|(admission, record)| self.tell(&admission, record, false));
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
                for record in &kept {
                    let Ok(body) = record.decoded().cloned() else { continue };
                    if let Body::Offer(offer) = &*body {
                        log_failure(self.book().restore(&self.ledger, record, offer));
                    }
                    // A trade of this node's may have waited for it.
                    let _ = self.changes.send(Change::of(record.clone(), body, false)); // nobody listening is fine
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
    fn publish(&mut self, new: &NewRecord, ticket: Option<Ticket>) -> Result<Published, PublishError> {
        let NewRecord { identity, body, request } = new;
        check_clock(&self.sure, body.kind())?;
        let (author, now) = (identity.author(), clock::unix_now());
        let (log, head) = self.own_log(&author, body, now, ticket)?;
        let (network, kind) = (self.ledger.network(), body.kind());
        let time = time_of(&self.sure, kind, now);
        let header = match (head, ticket) {
            (Some(head), _) => Header::after(&head, network, kind, time),
            (None, Some(ticket)) if ticket.log == log => Header::first(log, network, kind, time, ticket.nonce),
            (None, _) => {
                body.check(time)?;
                return Ok(Published::Opens(log));
            }
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

    /// Returns the log to write to: the one that goes on here, otherwise a new one, for what is worth one.
    fn own_log(
        &self,
        author: &AuthorId,
        body: &Body,
        now: u64,
        ticket: Option<Ticket>,
    ) -> Result<(LogId, Option<Head>), PublishError> {
        let kind = body.kind();
        match self.own_logs.of(author, &self.private, self.ledger.storage(), now)? {
            OwnLog::GoesOn(head) => return Ok((head.log, Some(head))),
            OwnLog::Unconfirmed(_) if kind.waits_for_its_log() => return Err(PublishError::Unconfirmed),
            OwnLog::Unconfirmed(_) | OwnLog::Ended => {}
        }
        if self.ledger.opens_no_log(body) {
            return Err(if kind == Kind::Funded { PublishError::NamedElsewhere } else { PublishError::OtherLog });
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

    /// Tells whether a record stands beyond the end of an own log. Where the note of the own head cannot be read, every log may
    /// be one.
    fn is_beyond(&self, admission: &Admission, record: &Record) -> bool {
        let wrote_here = || !matches!(self.private.own_head(&record.author()), Ok(None));
        is_beyond(self.ledger.storage(), admission, record, wrote_here)
    }

    fn book(&self) -> RwLockWriteGuard<'_, Book> {
        self.book.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the book's time pass, and takes what has surely ended out of the list of open offers.
    fn advance(&mut self, now: u64, sure: u64) {
        let ended = self.book().advance(&self.ledger, now, sure);
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
            | Job::Advance { .. }
            | Job::SetStaked(_)
            | Job::DropBodies { .. }
            | Job::KeepBodies { .. }) => return Some(job),
        }
    }
    None
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
