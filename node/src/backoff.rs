//! Pauses between attempts at what keeps failing.

use std::time::Duration;

/// The failures of something in a row: after each the pause is twice as long, up to a longest, and a success ends them.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    /// The pause after the last failure, if nothing has gone well since.
    last: Option<Duration>,
}

impl Backoff {
    /// Nothing has failed yet. The first pause must not be longer than the longest.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, last: None }
    }

    /// Tells whether something has failed since the last success.
    pub const fn has_begun(&self) -> bool {
        self.last.is_some()
    }

    /// Notes a failure and returns how long to wait.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.last.map_or(self.first, |last| (last * 2).min(self.longest));
        self.last = Some(pause);
        pause
    }

    /// Notes a success; tells whether there were failures before.
    pub fn end(&mut self) -> bool {
        self.last.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(15));
        for _ in 0..2 {
            assert!(!backoff.has_begun() && !backoff.end(), "nothing has failed");
            for seconds in [2, 4, 8, 15, 15] {
                assert_eq!(backoff.next_pause(), Duration::from_secs(seconds));
                assert!(backoff.has_begun());
            }
            assert!(backoff.end());
        }
    }
}
