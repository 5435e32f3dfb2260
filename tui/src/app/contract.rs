//! Reading what was agreed on in a trade: a text of the same width and height in every window, so that it is known here
//! how far it can be scrolled.

use exchange_api::{TradeId, TradeView};

use crate::action::Step;
use crate::{format, words};

/// Columns of the names of things.
pub const LABEL: usize = 14;
/// Columns of the whole text: all that the smallest window has within a frame.
pub const WIDTH: usize = 76;
/// Lines that are shown at once.
pub const HEIGHT: usize = 17;

/// What is read.
#[derive(Debug)]
pub struct Contract {
    /// Of which trade.
    pub trade: TradeId,
    /// How many lines are scrolled past.
    pub scroll: usize,
}

impl Contract {
    /// Opens the text of a trade at its beginning.
    pub const fn new(trade: TradeId) -> Self {
        Self { trade, scroll: 0 }
    }

    /// Scrolls through it; without the trade there is nothing to scroll through.
    pub fn scroll(&mut self, step: Step, trade: Option<&TradeView>) {
        let count = trade.map_or(0, |trade| lines(trade).len());
        self.scroll = step.apply(self.scroll, count.saturating_sub(HEIGHT) + 1);
    }
}

/// Returns the text line by line, with the name of what begins there.
pub fn lines(trade: &TradeView) -> Vec<(&'static str, String)> {
    format::rows(words::contract::rows(trade), WIDTH - LABEL)
}
