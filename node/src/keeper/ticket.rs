//! What opening an own log takes: seconds of work on networks whose coins have value, done beside the ledger's thread, which
//! takes in the records of others meanwhile.

use std::sync::Arc;

use exchange_ledger::body::Body;
use exchange_ledger::identity::Identity;
use exchange_ledger::record::{LogId, Record, admission};

use super::PublishError;

/// An own record that is to be published.
#[derive(Clone)]
pub(super) struct NewRecord {
    /// Who signs it.
    pub identity: Arc<Identity>,
    /// What it says.
    pub body: Arc<Body>,
    /// The request that it answers.
    pub request: Option<String>,
}

/// What became of an own record.
pub(super) enum Published {
    /// It is kept.
    Kept(Record),
    /// It would be the first of this log, which takes a ticket. Nothing was done.
    Opens(LogId),
}

/// The proof of the work for a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    /// Which log.
    pub log: LogId,
    /// What stands in its first record.
    pub nonce: u64,
}

impl Ticket {
    /// Does the work for a log.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn mint(network: [u8; 4], log: LogId) -> Result<Self, PublishError> {
        let minted = tokio::task::spawn_blocking(move || admission::mint(&network, &log));
        Ok(Self { log, nonce: minted.await.map_err(|_| PublishError::Stopping)? })
    }
}
