//! What the next session with a peer is to do: wishes add to it until the session takes it.

use std::collections::BTreeSet;

use exchange_ledger::record::LogId;
use exchange_ledger::retention::Retention;
use exchange_ledger::storage::Aged;

/// Logs that a session fetches because of orphans; with more of them it compares everything instead.
pub(super) const MAX_WANTED_LOGS: usize = 64;
/// Envelopes of others waiting to be handed to one peer: at most 600 kB.
const MAX_DELIVERED: usize = 32;

/// What a session is to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub compare: bool,
    pub mail: bool,
    /// Envelopes of others to hand to the peer.
    pub deliver: Vec<Vec<u8>>,
    pub logs: BTreeSet<LogId>,
    /// Bodies to fetch after the comparison.
    pub bodies: Option<PlannedBodies>,
}

/// Which bodies a peer can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedBodies {
    /// How long the peer keeps them, as it says.
    pub keeps: Retention,
    /// Those of records after this one.
    pub after: Option<Aged>,
}

impl Plan {
    /// Compare the ledgers and exchange mail.
    pub fn want_all(&mut self) {
        self.compare = true;
        self.mail = true;
    }

    /// Compare the ledgers.
    pub fn want_compared(&mut self) {
        self.compare = true;
    }

    /// Exchange mail.
    pub fn want_mail(&mut self) {
        self.mail = true;
    }

    /// Hand over an envelope of somebody else. With too many of them the recipient has to fetch the rest.
    pub fn want_delivered(&mut self, envelope: Vec<u8>) {
        if self.deliver.len() < MAX_DELIVERED {
            self.deliver.push(envelope);
        }
    }

    /// Fetch a log.
    pub fn want_log(&mut self, log: LogId) {
        if self.logs.len() < MAX_WANTED_LOGS {
            self.logs.insert(log);
        } else {
            self.want_compared();
        }
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::AuthorId;

    use super::*;

    #[test]
    fn too_many_orphans_become_one_comparison() {
        let mut plan = Plan::default();
        for author in 0..=u8::try_from(MAX_WANTED_LOGS).unwrap() {
            plan.want_log(LogId { author: AuthorId([author; 32]), epoch: 0 });
        }
        assert_eq!((plan.logs.len(), plan.compare), (MAX_WANTED_LOGS, true));
    }
}
