//! What somebody may take: so much at once, and more as he earns it.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket. It may be in debt, for what cannot be known before it is taken.
#[derive(Debug)]
pub(super) struct Bucket {
    /// How many it holds.
    burst: u32,
    /// In what time so many are earned.
    filling: Duration,
    /// When it is full, if nothing is taken until then.
    full: Instant,
}

impl Bucket {
    /// Returns a full one that earns so many a second. Where none is earned, there is none.
    pub fn per_second(rate: u32, burst: u32, now: Instant) -> Self {
        let burst = if rate == 0 { 0 } else { burst };
        Self { burst, filling: Duration::from_secs(burst.into()) / rate.max(1), full: now }
    }

    /// Returns a full one that earns one in each pause.
    pub fn paced(burst: u32, pause: Duration, now: Instant) -> Self {
        Self { burst, filling: pause * burst, full: now }
    }

    /// Returns when the next one may be taken, if there is such a time.
    pub fn not_before(&self) -> Option<Instant> {
        self.full.checked_sub(self.filling.saturating_sub(self.earned_in(1)))
    }

    /// Tells whether there is one.
    pub fn has_any(&self, now: Instant) -> bool {
        self.burst > 0 && self.not_before().is_none_or(|from| from <= now)
    }

    /// Tells whether it holds all that it can.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full <= now
    }

    /// Takes one, if there is any.
    pub fn take(&mut self, now: Instant) -> bool {
        let granted = self.has_any(now);
        if granted {
            self.full = self.full.max(now) + self.earned_in(1);
        }
        granted
    }

    /// Takes one or, if there is none, whatever is left, and makes no debt.
    pub fn take_anyway(&mut self, now: Instant) {
        if !self.take(now) {
            self.full = self.full.max(now + self.filling);
        }
    }

    /// Takes what has been spent already. It is never in debt for more than it holds.
    pub fn charge(&mut self, tokens: u64, now: Instant) {
        // More than twice what it holds cannot matter, and could overflow.
        let spent = self.earned_in(tokens.min(u64::from(self.burst) * 2));
        self.full = (self.full.max(now) + spent).min(now + self.filling * 2);
    }

    /// Returns in what time so many are earned.
    fn earned_in(&self, tokens: u64) -> Duration {
        let nanos = self.filling.as_nanos() * u128::from(tokens) / u128::from(self.burst.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_taken_is_earned_again_however_often_somebody_asks() {
        for every_ms in [1, 7, 95, 100, 199, 1000] {
            let (start, times) = (Instant::now(), 60_000 / every_ms);
            let mut bucket = Bucket::per_second(10, 30, start);
            let mut granted = 0;
            for time in 0..=times {
                let now = start + Duration::from_millis(time * every_ms);
                granted += (0..100).filter(|_| bucket.take(now)).count();
            }
            assert_eq!(granted as u64, 30 + times * every_ms / 100, "when asked every {every_ms} ms");
        }
    }

    #[test]
    fn one_is_there_from_the_time_on_that_is_told() {
        let start = Instant::now();
        let mut bucket = Bucket::paced(3, SECOND, start);
        assert!((0..3).all(|_| bucket.take(start)));
        assert_eq!(bucket.not_before(), Some(start + SECOND));
        let just_before = start + SECOND - Duration::from_nanos(1);
        assert!(!bucket.take(just_before) && bucket.take(start + SECOND) && !bucket.take(start + SECOND));
        assert!(!bucket.is_full(start + SECOND * 4 - Duration::from_nanos(1)) && bucket.is_full(start + SECOND * 4));
    }

    #[test]
    fn a_debt_is_no_larger_than_a_burst_and_has_to_be_earned() {
        let start = Instant::now();
        let mut bucket = Bucket::per_second(1000, 4000, start);
        bucket.charge(5000, start);
        assert!(!bucket.has_any(start + SECOND) && bucket.has_any(start + SECOND + Duration::from_millis(1)));
        for _ in 0..3 {
            bucket.charge(u64::MAX, start);
        }
        assert!(!bucket.has_any(start + SECOND * 4) && bucket.has_any(start + SECOND * 4 + Duration::from_millis(1)));
        assert!(!bucket.is_full(start + SECOND * 7) && bucket.is_full(start + SECOND * 8));
    }

    #[test]
    fn what_is_taken_anyway_makes_no_debt_and_forgives_none() {
        let start = Instant::now();
        let mut bucket = Bucket::paced(3, SECOND, start);
        (0..100).for_each(|_| bucket.take_anyway(start));
        assert_eq!(bucket.not_before(), Some(start + SECOND));
        bucket.take_anyway(start + SECOND / 2);
        assert_eq!(bucket.not_before(), Some(start + SECOND * 3 / 2), "the half that was earned is taken too");
        bucket.charge(2, start + SECOND / 2);
        bucket.take_anyway(start + SECOND / 2);
        assert_eq!(bucket.not_before(), Some(start + SECOND * 7 / 2));
    }

    #[test]
    fn where_none_is_earned_there_is_none() {
        let start = Instant::now();
        for burst in [0, 1, u32::MAX] {
            let mut bucket = Bucket::per_second(0, burst, start);
            bucket.charge(u64::MAX, start);
            bucket.take_anyway(start);
            assert!(!bucket.take(start + SECOND * 1_000_000));
        }
        let mut bucket = Bucket::per_second(u32::MAX, u32::MAX, start);
        bucket.charge(u64::MAX, start);
        assert!(!bucket.has_any(start + SECOND / 2) && bucket.is_full(start + SECOND * 2), "nothing overflows");
    }
}
