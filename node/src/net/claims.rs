//! Which logs are being fetched, so that sessions with several peers share the work instead of doubling it.
//!
//! Whoever holds a log may be silent, and no peer may keep from this node what others have. So a session with a peer that
//! this node has dialled waits for none with a peer that dialled us, and a log that was held in vain is everybody's for a
//! while.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exchange_ledger::record::LogId;
use exchange_ledger::sync;
use tokio::time::Instant;

/// How long a session may hold a log before another one takes it over: a peer that drips must not keep everybody from what
/// others would give at once.
const CLAIM_LIFE: Duration = Duration::from_secs(30);
/// How long a log that was held in vain is everybody's: under however many ids, peers keep a log from others for two
/// [`CLAIM_LIFE`]s in this time.
const EVERYBODYS_FOR: Duration = Duration::from_secs(600);
/// Logs that are everybody's at once, two megabytes. With more of them all logs are: to fetch some twice costs less than to
/// miss one.
const MAX_EVERYBODYS: usize = 16_384;

/// The logs being fetched by any session.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    table: Arc<Mutex<Table>>,
    sessions: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Table {
    /// Bounded by the sessions at once and the backlog of each.
    taken: HashMap<LogId, Claim>,
    everybodys: HashSet<LogId>,
    /// Until when each of these is, in the order in which they were held in vain.
    until: VecDeque<(Instant, LogId)>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    session: u64,
    /// Whether this node has dialled the peer.
    dialled: bool,
    until: Instant,
    /// Whether another session held the log before, until its time was over.
    taken_over: bool,
}

impl Claims {
    /// Returns what a new session, with a peer that this node has dialled or not, takes its logs by.
    pub fn session(&self, dialled: bool) -> SessionClaims {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        SessionClaims { claims: self.clone(), session, dialled, held: HashSet::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // After a panic elsewhere a log may be held for its time or not be everybody's: nothing worse.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn is_everybodys(&mut self, log: &LogId, now: Instant) -> bool {
        while self.until.front().is_some_and(|(until, _)| *until <= now)
            && let Some((_, over)) = self.until.pop_front()
        {
            self.everybodys.remove(&over);
        }
        self.everybodys.len() >= MAX_EVERYBODYS || self.everybodys.contains(log)
    }

    fn held_in_vain(&mut self, log: LogId, now: Instant) {
        self.taken.remove(&log);
        if self.everybodys.len() < MAX_EVERYBODYS && self.everybodys.insert(log) {
            self.until.push_back((now + EVERYBODYS_FOR, log));
        }
    }
}

/// The claims of one session, given back when dropped.
#[derive(Debug)]
pub(super) struct SessionClaims {
    claims: Claims,
    session: u64,
    dialled: bool,
    held: HashSet<LogId>,
}

impl SessionClaims {
    fn take_at(&mut self, log: LogId, now: Instant) -> bool {
        let mut table = self.claims.lock();
        if table.is_everybodys(&log, now) {
            return true;
        }
        let taken_over = match table.taken.get(&log).copied() {
            Some(claim) if claim.session == self.session => return true,
            Some(claim) if claim.until <= now && claim.taken_over => {
                table.held_in_vain(log, now);
                return true;
            }
            Some(claim) if claim.until <= now => true,
            Some(claim) if claim.dialled || !self.dialled => return false,
            Some(_) | None => false,
        };
        let (session, dialled) = (self.session, self.dialled);
        table.taken.insert(log, Claim { session, dialled, until: now + CLAIM_LIFE, taken_over });
        self.held.insert(log);
        true
    }

    fn give_back_at(&mut self, log: &LogId, grew: bool, now: Instant) {
        self.held.remove(log);
        let mut table = self.claims.lock();
        if table.taken.get(log).is_none_or(|claim| claim.session != self.session) {
            return;
        }
        if grew {
            table.taken.remove(log);
        } else {
            table.held_in_vain(*log, now);
        }
    }
}

impl sync::Claims for SessionClaims {
    fn take(&mut self, log: LogId) -> bool {
        self.take_at(log, Instant::now())
    }

    fn give_back(&mut self, log: &LogId, grew: bool) {
        self.give_back_at(log, grew, Instant::now());
    }
}

impl Drop for SessionClaims {
    fn drop(&mut self) {
        for log in std::mem::take(&mut self.held) {
            sync::Claims::give_back(self, &log, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::AuthorId;
    use exchange_ledger::sync::Claims as _;

    use super::*;

    const LOG: LogId = log(0);

    const fn log(epoch: u32) -> LogId {
        LogId { author: AuthorId([1; 32]), epoch }
    }

    #[test]
    fn a_log_is_claimed_once_and_free_again_after() {
        let claims = Claims::default();
        let (mut one, mut other) = (claims.session(false), claims.session(false));
        assert!(one.take(LOG) && one.take(LOG) && !other.take(LOG));
        one.give_back(&LOG, true);
        assert!(other.take(LOG) && !one.take(LOG));
        drop(other);
        assert!(one.take(LOG), "a session that is gone holds nothing");
    }

    #[test]
    fn who_holds_a_log_for_long_loses_it() {
        let claims = Claims::default();
        let (mut slow, mut quick) = (claims.session(true), claims.session(true));
        let now = Instant::now();
        assert!(slow.take_at(LOG, now) && !quick.take_at(LOG, now + CLAIM_LIFE / 2));
        assert!(quick.take_at(LOG, now + CLAIM_LIFE));
        slow.give_back(&LOG, false);
        assert!(!claims.session(true).take(LOG), "what is no longer one's own cannot be given back");
    }

    #[test]
    fn who_dialled_us_keeps_no_log_from_whom_we_have_dialled() {
        let claims = Claims::default();
        let (mut stranger, mut another) = (claims.session(false), claims.session(false));
        let (mut chosen, mut also_chosen) = (claims.session(true), claims.session(true));
        assert!(stranger.take(LOG) && !another.take(LOG));
        assert!(chosen.take(LOG) && !also_chosen.take(LOG), "those that were chosen share the work");
        assert!(!stranger.take(LOG) && !another.take(LOG));
    }

    #[test]
    fn a_log_that_was_held_in_vain_is_everybodys_for_a_while() {
        let claims = Claims::default();
        let start = Instant::now();
        let (mut liar, mut honest, mut accomplice) =
            (claims.session(false), claims.session(false), claims.session(false));
        assert!(liar.take_at(LOG, start) && !honest.take_at(LOG, start));
        liar.give_back_at(&LOG, false, start);
        assert!(accomplice.take_at(LOG, start) && honest.take_at(LOG, start), "the next one has it not for itself");
        accomplice.give_back_at(&LOG, false, start);
        let almost = start + EVERYBODYS_FOR - Duration::from_secs(1);
        assert!(liar.take_at(LOG, almost) && honest.take_at(LOG, almost));
        let over = start + EVERYBODYS_FOR;
        assert!(honest.take_at(LOG, over) && !liar.take_at(LOG, over), "then they share again");
    }

    #[test]
    fn peers_that_take_a_log_over_from_each_other_keep_it_for_a_minute_at_most() {
        let claims = Claims::default();
        let (mut first, mut second, mut third) = (claims.session(true), claims.session(true), claims.session(true));
        let start = Instant::now();
        assert!(first.take_at(LOG, start) && second.take_at(LOG, start + CLAIM_LIFE));
        let later = start + 2 * CLAIM_LIFE;
        assert!(!claims.session(true).take_at(LOG, later - Duration::from_secs(1)));
        assert!(third.take_at(LOG, later) && claims.session(true).take_at(LOG, later));
    }

    #[test]
    fn when_too_many_logs_were_held_in_vain_all_are_everybodys() {
        let claims = Claims::default();
        let now = Instant::now();
        let (mut liar, mut honest) = (claims.session(false), claims.session(false));
        for epoch in 1..=MAX_EVERYBODYS as u32 {
            assert!(liar.take_at(log(epoch), now));
            liar.give_back_at(&log(epoch), false, now);
        }
        assert!(liar.take_at(LOG, now) && honest.take_at(LOG, now));
        assert_eq!(claims.lock().everybodys.len(), MAX_EVERYBODYS);
        assert!(liar.take_at(LOG, now + EVERYBODYS_FOR) && !honest.take_at(LOG, now + EVERYBODYS_FOR));
        let table = claims.lock();
        assert!(table.everybodys.is_empty() && table.until.is_empty());
    }
}
