//! The tip of the chain by which a report is made, and of whom it can be evidence.

use crate::chain::{ChainBackend, ChainError, median_time_past};
use crate::clock::SureTime;

/// The tip by which a report is made.
#[derive(Debug)]
pub struct Tip<'a> {
    /// Its height.
    pub height: u32,
    /// What time it shows, in seconds since the Unix epoch: six of the last eleven blocks are dated no earlier.
    shown: u64,
    sure: &'a SureTime,
}

impl<'a> Tip<'a> {
    /// Asks a chain for its tip.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn of(chain: &dyn ChainBackend, sure: &'a SureTime) -> Result<Self, ChainError> {
        let height = chain.tip().await?.height;
        let shown = median_time_past(chain, height).await?;
        Ok(Self { height, shown, sure })
    }

    /// Tells whether it is so old that what it shows of any trade may be over.
    pub fn is_old(&self) -> bool {
        self.sure.is_old(self.shown)
    }

    /// Tells whether who said something at a time, by his own clock, may have seen more than it shows: then it belies him of nothing.
    pub fn may_be_behind(&self, said: u64) -> bool {
        self.sure.may_be_behind(self.shown, said)
    }
}
