//! What a peer may take: so much over time, and more at once.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket. It may be in debt, for what cannot be known before it is taken.
#[derive(Debug)]
pub(super) struct Bucket {
    left: i64,
    rate: u32,
    burst: i64,
    filled: Instant,
}

impl Bucket {
    pub fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self { left: burst.into(), rate, burst: burst.into(), filled: now }
    }

    pub fn has_any(&mut self, now: Instant) -> bool {
        let elapsed_ms = i64::try_from(now.saturating_duration_since(self.filled).as_millis()).unwrap_or(i64::MAX);
        let earned = elapsed_ms.saturating_mul(self.rate.into()) / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(self.burst);
            self.filled = now;
        }
        self.left > 0
    }

    /// Tells whether it holds all that it can.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.has_any(now);
        self.left == self.burst
    }

    /// Takes one, if there is any.
    pub fn take(&mut self, now: Instant) -> bool {
        let granted = self.has_any(now);
        self.left -= i64::from(granted);
        granted
    }

    /// Takes what has been spent already.
    pub fn charge(&mut self, tokens: i64, now: Instant) {
        self.has_any(now);
        self.left = self.left.saturating_sub(tokens).max(-self.burst);
    }
}

/// So many at once, and then one in each pause.
#[derive(Debug)]
pub(super) struct Paced {
    burst: u32,
    pause: Duration,
    /// Those that were taken, at a pause each, take until then.
    until: Instant,
}

impl Paced {
    pub fn new(burst: u32, pause: Duration, now: Instant) -> Self {
        Self { burst, pause, until: now }
    }

    /// Returns when the next one may be taken, if there is such a time.
    pub fn not_before(&self) -> Option<Instant> {
        self.until.checked_sub(self.pause * self.burst.saturating_sub(1))
    }

    /// Takes one, whether it may be or not: of those that may not, no more are remembered than may be taken at once.
    pub fn take(&mut self, now: Instant) {
        self.until = (self.until.max(now) + self.pause).min(now + self.pause * self.burst);
    }

    /// Tells whether as many as ever may be taken at once.
    pub fn is_rested(&self, now: Instant) -> bool {
        self.until <= now
    }
}
