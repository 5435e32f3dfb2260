//! Which logs are being fetched, so that sessions with several peers share the work instead of doubling it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exchange_ledger::record::LogId;

/// The logs being fetched by any session. Bounded by the sessions at once and the logs in one request of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(Arc<Mutex<HashSet<LogId>>>);

/// The right to fetch a log, given back when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    log: LogId,
}

impl Claims {
    /// Returns the right to fetch a log; `None` while another session has it.
    pub fn take(&self, log: LogId) -> Option<Claim> {
        self.lock().insert(log).then(|| Claim { claims: self.clone(), log })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<LogId>> {
        // A set is whole after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.log);
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::AuthorId;

    use super::*;

    #[test]
    fn a_log_is_claimed_once_and_free_again_after() {
        let claims = Claims::default();
        let log = LogId { author: AuthorId([1; 32]), epoch: 0 };
        let claim = claims.take(log);
        assert!(claim.is_some() && claims.take(log).is_none());
        drop(claim);
        assert!(claims.take(log).is_some());
    }
}
