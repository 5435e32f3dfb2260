//! How fast one author's news travel by gossip. What is beyond is kept and not passed on: others get it when they compare
//! ledgers. So a flood of one author costs each node its bytes once, and nobody is punished for being quick.

use std::num::NonZero;
use std::time::Duration;

use exchange_ledger::ids::AuthorId;
use lru::LruCache;
use tokio::time::Instant;

use super::bucket::Bucket;

/// Records of one author that are passed on at once: a market maker withdraws and posts all of his offers.
const BURST: u32 = 128;
/// The time in which an author earns one more: twelve a minute are more than any trade needs.
const EARN_ONE: Duration = Duration::from_secs(5);
/// Authors remembered at once, some two megabytes. Beyond, the one who was silent for longest is forgotten; who comes back
/// with a fresh burst had to be silent meanwhile, or to pay for thousands of identities.
const MAX_AUTHORS: NonZero<usize> = NonZero::new(16_384).expect("not zero");

/// The pace of each author. Only records that were let in count, so that nobody can use up what is another's.
#[derive(Debug)]
pub(super) struct Pace(LruCache<AuthorId, Bucket>);

impl Default for Pace {
    fn default() -> Self {
        Self(LruCache::new(MAX_AUTHORS))
    }
}

impl Pace {
    /// Tells whether a record of an author is passed on now.
    pub fn allows(&mut self, author: AuthorId, now: Instant) -> bool {
        // Who is refused was heard of as well: while he goes on, nothing makes his bucket a new one.
        self.0.get_or_insert_mut(author, || Bucket::paced(BURST, EARN_ONE, now)).take(now)
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
        let mut passed_on = 0;
        for number in 1..=MAX_AUTHORS.get() as u32 {
            pace.allows(author(number), now);
            passed_on += u32::from(pace.allows(author(0), now));
        }
        assert_eq!(pace.0.len(), MAX_AUTHORS.get());
        assert_eq!(passed_on, BURST, "he was never silent");
        assert!(!pace.0.contains(&author(1)) && pace.0.contains(&author(2)));
    }
}
