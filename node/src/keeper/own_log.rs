//! Whether an own log may be continued. A data directory that was put back from an old copy agrees with itself, its note
//! of the own head too; only others can tell that more was written.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use exchange_ledger::record::LogId;
use tokio::sync::watch;

/// What this run knows of own logs.
#[derive(Debug)]
pub(super) struct OwnLogs {
    /// How long the first record after a start waits for a comparison with a peer before it opens a new log.
    wait: Duration,
    compared: watch::Sender<bool>,
    /// One for each identity that was unlocked in this run, and one more for each time that its log was full.
    opened: Mutex<HashSet<LogId>>,
    /// Those that do not end where they seem to. Each is of somebody who wrote here, so they are few.
    outgrown: Mutex<HashSet<LogId>>,
}

impl OwnLogs {
    /// Knows nothing yet; the first record waits so long for a comparison with a peer.
    pub fn new(wait: Duration) -> Self {
        Self { wait, compared: watch::Sender::default(), opened: Mutex::default(), outgrown: Mutex::default() }
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
    pub fn is_confirmed(&self, log: &LogId) -> bool {
        let has = |logs: &Mutex<HashSet<LogId>>| logs.lock().unwrap_or_else(PoisonError::into_inner).contains(log);
        !has(&self.outgrown) && (self.is_compared() || has(&self.opened))
    }

    /// Waits a little until a log may be continued.
    pub async fn wait_for(&self, log: &LogId) {
        if !self.is_confirmed(log) {
            let mut compared = self.compared.subscribe();
            // When nobody was there to compare with, the record goes into a new log.
            let _ = tokio::time::timeout(self.wait, compared.wait_for(|compared| *compared)).await;
        }
    }
}
