//! Reconciliation: how one ledger takes from another what it lacks. `specs/sync.md` is the normative text.
//!
//! Both sides are pure. A [`Session`] pulls: it is told events and returns effects, and whoever drives it carries
//! requests to the peer and records to the ledger. [`answer`] is the other side. The node and the simulator drive the
//! same two.
//!
//! ```text
//! Compare ──same──────────────────────────────────────────────> done
//!    │ differ
//!    ├──few──> Symbols … until the sketch decodes ──> Items ──┐
//!    └──many, or the sketch is no use──> Forks, then Heads ───┤
//!                                                             v
//!                        Ranges, Ids and Frozen of single logs, several requests at a time
//!                                                             │ nothing left to fetch
//!                                                             v
//!                                                 Finished ──> done
//! ```
//! Where it says done, the bodies that this node misses and the peer keeps may still be asked for: Bodies, page by page.
//! What proves that somebody signed two histories goes before everything else, within bounds (`fetch.rs`).
//!
//! Nothing of a session outlives it: what it has brought is in the ledger, so one that breaks off is taken up by the
//! next, with any peer. Several sessions share the work by [`Claims`].

use std::sync::Arc;

use crate::record::LogId;
use crate::storage::{Storage, StorageError};

mod answer;
mod bodies;
mod fetch;
pub mod message;
mod proof;
mod session;
pub mod sketch;
mod snapshot;
#[cfg(test)]
mod tests;
mod verdict;

pub use answer::{News, answer};
pub use bodies::WantedBodies;
pub use message::{Answer, Malformed, Request};
pub use proof::{MAX_PROOF_LEN, Proof};
pub use session::{Effect, Event, Fault, Gain, Plan, Session, Stopped, Token};
pub use sketch::Salt;
pub use snapshot::{Snapshot, Snapshots, Summary};
pub use verdict::{Verdict, is_beyond};

/// What sessions and answers read of their own node.
pub trait Own {
    /// Returns the ledger's store.
    fn storage(&self) -> &dyn Storage;

    /// Returns what the ledger shows of itself, as it is, for a session of one's own.
    ///
    /// # Errors
    /// When the store fails.
    fn summary(&self) -> Result<Summary, StorageError> {
        Summary::of(self.storage())
    }

    /// Returns the same for whatever is another's doing: of a moment ago, where to read all heads again would cost more than
    /// that may.
    ///
    /// # Errors
    /// When the store fails.
    fn recent_summary(&self) -> Result<Summary, StorageError> {
        self.summary()
    }

    /// Returns a snapshot for a peer that asks: of a moment ago, where a new one would cost more than peers may, or push out
    /// one that another was just shown.
    ///
    /// # Errors
    /// When the store fails.
    fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError>;

    /// Returns the snapshot with a salt, unless it is long gone.
    fn snapshot_of(&self, salt: &Salt) -> Option<Arc<Snapshot>>;
}

/// Which logs are being fetched, so that sessions with several peers share the work instead of doubling it.
pub trait Claims: Send {
    /// Takes the right to fetch a log for this session, and tells whether it has it now.
    fn take(&mut self, log: LogId) -> bool;

    /// Gives it back; `grew` tells whether anything new of the log has come meanwhile.
    fn give_back(&mut self, log: &LogId, grew: bool);
}

/// For one session alone: every log is free.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Claims for Alone {
    fn take(&mut self, _: LogId) -> bool {
        true
    }

    fn give_back(&mut self, _: &LogId, _: bool) {}
}
