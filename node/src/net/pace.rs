//! How fast one author's news travel by gossip. What is beyond is kept and not passed on: others get it when they compare
//! ledgers. So a flood of one author costs each node its bytes once, and nobody is punished for being quick.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use exchange_ledger::ids::AuthorId;
use tokio::time::Instant;

/// Records of one author that are passed on at once: a market maker withdraws and posts all of his offers.
const BURST: u32 = 128;
/// The time in which an author earns one more: twelve a minute are more than any trade needs.
const EARN_ONE: Duration = Duration::from_secs(5);
/// Authors remembered at once, some two megabytes. Beyond, the one who was silent for longest is forgotten; who comes back
/// with a fresh burst had to be silent meanwhile, or to pay for thousands of identities.
const MAX_AUTHORS: usize = 16_384;

/// The pace of each author. Only records that were let in count, so that nobody can use up what is another's.
#[derive(Debug, Default)]
pub(super) struct Pace {
    authors: HashMap<AuthorId, Bucket>,
    /// Who was heard of when, in the order of uses.
    uses: BTreeSet<(u64, AuthorId)>,
    clock: u64,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    /// From when on the next one is being earned.
    since: Instant,
    used: u64,
}

impl Pace {
    /// Tells whether a record of an author is passed on now.
    pub fn allows(&mut self, author: AuthorId, now: Instant) -> bool {
        self.clock += 1;
        let bucket = self.authors.entry(author).or_insert(Bucket { left: BURST, since: now, used: 0 });
        self.uses.remove(&(bucket.used, author));
        bucket.used = self.clock;
        self.uses.insert((self.clock, author));
        let allowed = bucket.take(now);
        if self.authors.len() > MAX_AUTHORS
            && let Some((_, longest_silent)) = self.uses.pop_first()
        {
            self.authors.remove(&longest_silent);
        }
        allowed
    }
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        let earned = u32::try_from(elapsed.as_millis() / EARN_ONE.as_millis()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(BURST);
        // What is left over of an interval goes on counting; a full bucket earns nothing.
        self.since = if self.left == BURST { now } else { self.since + EARN_ONE * earned };
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(number: u32) -> AuthorId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        AuthorId(id)
    }

    #[test]
    fn a_burst_goes_through_and_then_one_in_each_interval() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!((0..BURST).all(|_| pace.allows(author(1), start)));
        assert!(!pace.allows(author(1), start));
        assert!(pace.allows(author(2), start), "another author has a pace of his own");
        assert!(!pace.allows(author(1), start + EARN_ONE - Duration::from_millis(1)));
        assert!(pace.allows(author(1), start + EARN_ONE));
        assert!(!pace.allows(author(1), start + EARN_ONE));
        let rested = start + EARN_ONE * (BURST * 3);
        assert!((0..BURST).all(|_| pace.allows(author(1), rested)));
        assert!(!pace.allows(author(1), rested), "no more than a burst is saved up");
    }

    #[test]
    fn authors_are_bounded_and_the_longest_silent_is_forgotten() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for number in 0..=MAX_AUTHORS as u32 {
            pace.allows(author(number), now);
            pace.allows(author(0), now);
        }
        assert_eq!((pace.authors.len(), pace.uses.len()), (MAX_AUTHORS, MAX_AUTHORS));
        assert!(pace.authors.contains_key(&author(0)), "he was never silent");
        assert!(!pace.authors.contains_key(&author(1)));
    }
}
