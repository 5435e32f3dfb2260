//! The book as it is shown: narrowed down, sorted by the node, one offer selected.

use exchange_api::{Currency, OfferState, OfferView, RecordId, Side};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use tui_input::Input;

use crate::action::Step;
use crate::{format, words};

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    /// All offers that the node gave, the best price first; `None` until it did.
    pub offers: Option<Vec<OfferView>>,
    /// Whether the node has more than it gives at once.
    pub more: bool,
    /// Only offers in which the user is on this side.
    pub side: Option<Side>,
    /// Only this currency.
    pub currency: Option<Currency>,
    /// Only what matches this text.
    pub text: Input,
    /// Whether the text is being typed.
    pub typing: bool,
    /// Also offers whose maker is away.
    pub away: bool,
    /// The selected offer.
    pub selected: Option<RecordId>,
    /// Whether its terms are shown.
    pub open: bool,
    /// How many of their lines are scrolled past.
    pub scroll: usize,
}

/// Columns of the terms beside their names in the smallest window.
const TERMS_WIDTH: usize = 66;
/// Lines above them.
const TERMS_TITLE: usize = 2;
/// Lines of both that the window with the least room for them shows.
const TERMS_HEIGHT: usize = 13;

/// The side on which the user would be.
pub fn your_side(offer: &OfferView) -> Side {
    match (offer.side, offer.mine) {
        (side, true) => side,
        (Side::Buy, false) => Side::Sell,
        (Side::Sell, false) => Side::Buy,
    }
}

impl Book {
    /// Returns the offers to show.
    pub fn visible(&self) -> Vec<&OfferView> {
        self.chosen(self.away)
    }

    /// Tells whether there is something to show, and only of makers who are away.
    pub fn hides_away(&self) -> bool {
        self.visible().is_empty() && !self.chosen(true).is_empty()
    }

    /// Returns the offers that fit what the user chose, with or without those whose makers are away.
    fn chosen(&self, away: bool) -> Vec<&OfferView> {
        let pattern = Pattern::parse(self.text.value(), CaseMatching::Ignore, Normalization::Smart);
        let mut matcher = Matcher::new(Config::DEFAULT);
        let mut buffer = Vec::new();
        let mut matches = |offer: &OfferView| {
            let text = format!("{} {} {} {}", offer.currency, offer.methods.join(" "), offer.terms, offer.maker);
            pattern.score(Utf32Str::new(&text, &mut buffer), &mut matcher).is_some()
        };
        self.offers
            .iter()
            .flatten()
            .filter(|offer| self.side.is_none_or(|side| side == your_side(offer)))
            .filter(|offer| self.currency.is_none_or(|currency| currency == offer.currency))
            .filter(|offer| away || offer.state != OfferState::Away)
            .filter(|offer| self.text.value().trim().is_empty() || matches(offer))
            .collect()
    }

    /// Returns the selected offer, the first when none is.
    pub fn selection(&self) -> Option<&OfferView> {
        let visible = self.visible();
        visible.get(self.position(&visible)).copied()
    }

    /// Returns the position of the selected offer among `visible`.
    pub fn position(&self, visible: &[&OfferView]) -> usize {
        self.selected.and_then(|id| visible.iter().position(|offer| offer.id == id)).unwrap_or(0)
    }

    /// Moves the selection.
    pub fn select(&mut self, step: impl FnOnce(usize, usize) -> usize) {
        let visible = self.visible();
        let at = step(self.position(&visible), visible.len());
        self.selected = visible.get(at).map(|offer| offer.id);
        self.scroll = 0;
    }

    /// Shows the terms of the selected offer, from their beginning. It stays selected when a better one comes meanwhile.
    pub fn open(&mut self) {
        self.selected = self.selection().map(|offer| offer.id);
        self.open = true;
        self.scroll = 0;
    }

    /// Scrolls through the terms of the selected offer.
    pub fn scroll(&mut self, step: Step, now: u64) {
        let rows = self.selection().map(|offer| words::offer_rows(offer, now)).unwrap_or_default();
        let lines = TERMS_TITLE + format::rows(rows, TERMS_WIDTH).len();
        self.scroll = step.apply(self.scroll, lines.saturating_sub(TERMS_HEIGHT) + 1);
    }

    /// Returns the best price at which an offer of this side stands in the book, for comparison with a new one.
    pub fn best(&self, maker_side: Side, currency: Currency) -> Option<&OfferView> {
        // The node gives the best price for a taker first.
        self.offers.iter().flatten().find(|offer| offer.side == maker_side && offer.currency == currency && !offer.mine)
    }

    /// Returns how many offers of one's own stand there to be taken, or will.
    pub fn own_count(&self) -> usize {
        let is_open = |offer: &&OfferView| match offer.state {
            OfferState::Live | OfferState::Away | OfferState::Waiting => offer.mine,
            OfferState::Taken | OfferState::Revoked | OfferState::Expired => false,
        };
        self.offers.iter().flatten().filter(is_open).count()
    }

    /// Turns to the next currency that is in the book, then back to all.
    pub fn next_currency(&mut self) {
        let mut currencies: Vec<_> = self.offers.iter().flatten().map(|offer| offer.currency).collect();
        currencies.sort_unstable();
        currencies.dedup();
        self.currency = match self.currency {
            None => currencies.first().copied(),
            Some(current) => currencies.into_iter().find(|currency| *currency > current),
        };
    }

    /// Tells whether anything is hidden by what the user chose.
    pub fn is_narrowed(&self) -> bool {
        self.side.is_some() || self.currency.is_some() || !self.text.value().trim().is_empty()
    }
}
