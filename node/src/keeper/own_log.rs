//! Whether an own log may be continued. A data directory that was put back from an old copy agrees with itself, its note
//! of the own head too; only others can tell that more was written.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use exchange_ledger::ids::AuthorId;
use exchange_ledger::record::{Head, LogId};
use exchange_ledger::storage::Storage;
use exchange_store::{Store, StoreError};
use tokio::sync::watch;

use crate::private::Private;

/// Whether the log of an identity goes on here, as far as is known now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnLog {
    /// It does, after this head.
    GoesOn(Head),
    /// It does, unless more was written to it elsewhere: no peer has shown yet that there was not.
    Unconfirmed(Head),
    /// It does not, or there is none: the next record opens another.
    Ended,
}

/// What this run knows of own logs.
#[derive(Debug)]
pub(super) struct OwnLogs {
    /// How long the first record after a start waits for a comparison with a peer before it opens a new log.
    wait: Duration,
    /// When somebody has last waited for one in vain.
    waited: Mutex<Option<Instant>>,
    compared: watch::Sender<bool>,
    /// One for each identity that was unlocked in this run, and one more for each time that its log was full.
    opened: Mutex<HashSet<LogId>>,
    /// Those that do not end where they seem to. Each is of somebody who wrote here, so they are few.
    outgrown: Mutex<HashSet<LogId>>,
}

impl OwnLogs {
    /// Knows nothing yet; the first record waits so long for a comparison with a peer.
    pub fn new(wait: Duration) -> Self {
        let (waited, compared) = (Mutex::default(), watch::Sender::default());
        Self { wait, waited, compared, opened: Mutex::default(), outgrown: Mutex::default() }
    }

    /// Tells whether the log of an identity goes on. A log is continued only by the machine that wrote all of it, as its private
    /// note of the head proves, and only if that is not an old copy: after a start, a comparison with a peer has to show that
    /// nothing came after it, and nothing that is seen may show that something did. So a second machine, a lost data directory
    /// or one that was put back never forks a log.
    pub fn of(&self, author: &AuthorId, private: &Private, storage: &Store, now: u64) -> Result<OwnLog, StoreError> {
        let Some(noted) = private.own_head(author)? else { return Ok(OwnLog::Ended) };
        if storage.head(&noted.log)? != Some(noted) || !noted.has_room(now) {
            return Ok(OwnLog::Ended);
        }
        Ok(if self.is_confirmed(&noted.log) { OwnLog::GoesOn(noted) } else { OwnLog::Unconfirmed(noted) })
    }

    /// Notes that everything that a peer held was taken in.
    pub fn compared(&self) {
        self.compared.send_replace(true);
    }

    /// Tells whether a comparison was made.
    pub fn is_compared(&self) -> bool {
        *self.compared.borrow()
    }

    /// Waits for a comparison.
    pub async fn until_compared(&self) {
        let mut compared = self.compared.subscribe();
        // The sender lives as long as this.
        let _ = compared.wait_for(|compared| *compared).await;
    }

    /// Notes that this run wrote to a log: from now on nobody else can have.
    pub fn opened(&self, log: LogId) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(log);
    }

    /// Notes that a record of a log was seen that could not be taken in: more was written, whatever those peers say who
    /// hold as much as this node.
    pub fn outgrown(&self, log: LogId) {
        self.outgrown.lock().unwrap_or_else(PoisonError::into_inner).insert(log);
    }

    /// Tells whether a log whose head is as this machine noted it may be continued.
    fn is_confirmed(&self, log: &LogId) -> bool {
        let has = |logs: &Mutex<HashSet<LogId>>| logs.lock().unwrap_or_else(PoisonError::into_inner).contains(log);
        !has(&self.outgrown) && (self.is_compared() || has(&self.opened))
    }

    /// Waits a little until a log may be continued. Not where that was done in vain just now: a request waits before it is handed to
    /// whom others wait for, who then publishes for it.
    pub async fn wait_for(&self, log: &LogId) {
        if self.is_confirmed(log) || self.has_just_waited() {
            return;
        }
        let mut compared = self.compared.subscribe();
        // When nobody was there to compare with, the record goes into a new log.
        let is_in_vain = tokio::time::timeout(self.wait, compared.wait_for(|compared| *compared)).await.is_err();
        if is_in_vain {
            *self.waited.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    fn has_just_waited(&self) -> bool {
        let waited = *self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        waited.is_some_and(|at| at.elapsed() < self.wait)
    }
}
