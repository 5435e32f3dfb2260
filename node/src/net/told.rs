//! Of which logs it was told that they have forked. One proof for each log goes through gossip, so an author who signs a
//! million histories fills nobody's queue: what else there is of them others get when they compare ledgers.

use std::num::NonZero;

use exchange_ledger::record::LogId;
use lru::LruCache;
use tokio::time::Instant;

use super::pace::Pace;

/// Logs remembered, some two megabytes. Each costs its author a ticket; a proof that is told a second time is known to
/// whoever has the first.
const MAX_TOLD: NonZero<usize> = NonZero::new(16_384).expect("not zero");

/// The logs whose forks were told last.
#[derive(Debug)]
pub(super) struct Told {
    /// To look for one keeps it no longer: the one that was told first is forgotten first.
    logs: LruCache<LogId, ()>,
    /// How fast the forks of one author's many logs are told.
    pace: Pace,
}

impl Default for Told {
    fn default() -> Self {
        Self { logs: LruCache::new(MAX_TOLD), pace: Pace::default() }
    }
}

impl Told {
    fn knows(&self, log: &LogId) -> bool {
        self.logs.contains(log)
    }

    /// Notes that the fork of a log is told now, unless it was, or its author's forks are too many. Tells whether it is.
    pub fn tell(&mut self, log: LogId, now: Instant) -> bool {
        if self.knows(&log) || !self.pace.allows(log.author, now) {
            return false;
        }
        self.logs.put(log, ());
        true
    }

    /// Notes that the fork of a log was not told after all.
    pub fn take_back(&mut self, log: &LogId) {
        self.logs.pop(log);
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::AuthorId;

    use super::*;

    fn log(author: u32, epoch: u32) -> LogId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&author.to_be_bytes());
        LogId { author: AuthorId(id), epoch }
    }

    #[test]
    fn a_fork_is_told_once_whatever_its_author_signs() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert!(told.tell(log(1, 1), now));
        assert!((0..1_000_000).all(|_| !told.tell(log(1, 1), now)));
        assert!(told.tell(log(2, 1), now), "nobody else waits for him");
        told.take_back(&log(2, 1));
        assert!(told.tell(log(2, 1), now) && !told.tell(log(2, 1), now));
        let told_of_many = (2..100_000).filter(|epoch| told.tell(log(1, *epoch), now)).count();
        assert!(told_of_many < 200, "{told_of_many}");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert!((0..=MAX_TOLD.get() as u32).all(|author| told.tell(log(author, 1), now)));
        assert_eq!(told.logs.len(), MAX_TOLD.get());
        assert!(told.knows(&log(1, 1)) && !told.knows(&log(0, 1)));
    }
}
