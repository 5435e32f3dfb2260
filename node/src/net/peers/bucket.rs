//! What a peer may take: so much over time, and more at once.

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
