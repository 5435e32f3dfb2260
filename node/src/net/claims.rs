//! Which logs are being fetched, so that sessions with several peers share the work instead of doubling it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exchange_ledger::record::LogId;
use exchange_ledger::sync;
use tokio::time::Instant;

/// How long a session may hold a log before another one takes it over: a peer that drips must not keep everybody from what
/// others would give at once.
const CLAIM_LIFE: Duration = Duration::from_secs(30);

/// The logs being fetched by any session. Bounded by the sessions at once and the backlog of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    taken: Arc<Mutex<HashMap<LogId, Claim>>>,
    sessions: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    session: u64,
    until: Instant,
}

impl Claims {
    /// Returns what a new session takes its logs by.
    pub fn session(&self) -> SessionClaims {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        SessionClaims { claims: self.clone(), session, held: HashSet::new() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LogId, Claim>> {
        // A map is whole after a panic elsewhere.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The claims of one session, given back when dropped.
#[derive(Debug)]
pub(super) struct SessionClaims {
    claims: Claims,
    session: u64,
    held: HashSet<LogId>,
}

impl SessionClaims {
    fn take_at(&mut self, log: LogId, now: Instant) -> bool {
        let mut taken = self.claims.lock();
        if taken.get(&log).is_some_and(|claim| claim.session != self.session && claim.until > now) {
            return false;
        }
        taken.insert(log, Claim { session: self.session, until: now + CLAIM_LIFE });
        self.held.insert(log);
        true
    }
}

impl sync::Claims for SessionClaims {
    fn take(&mut self, log: LogId) -> bool {
        self.take_at(log, Instant::now())
    }

    fn give_back(&mut self, log: &LogId) {
        self.held.remove(log);
        let mut taken = self.claims.lock();
        if taken.get(log).is_some_and(|claim| claim.session == self.session) {
            taken.remove(log);
        }
    }
}

impl Drop for SessionClaims {
    fn drop(&mut self) {
        for log in std::mem::take(&mut self.held) {
            sync::Claims::give_back(self, &log);
        }
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::AuthorId;
    use exchange_ledger::sync::Claims as _;

    use super::*;

    const LOG: LogId = LogId { author: AuthorId([1; 32]), epoch: 0 };

    #[test]
    fn a_log_is_claimed_once_and_free_again_after() {
        let claims = Claims::default();
        let (mut one, mut other) = (claims.session(), claims.session());
        assert!(one.take(LOG) && one.take(LOG) && !other.take(LOG));
        one.give_back(&LOG);
        assert!(other.take(LOG) && !one.take(LOG));
        drop(other);
        assert!(one.take(LOG), "a session that is gone holds nothing");
    }

    #[test]
    fn who_holds_a_log_for_long_loses_it() {
        let claims = Claims::default();
        let (mut slow, mut quick) = (claims.session(), claims.session());
        let now = Instant::now();
        assert!(slow.take_at(LOG, now) && !quick.take_at(LOG, now + CLAIM_LIFE / 2));
        assert!(quick.take_at(LOG, now + CLAIM_LIFE));
        slow.give_back(&LOG);
        assert!(!claims.session().take(LOG), "what is no longer one's own cannot be given back");
    }
}
