//! One's trades: the list, the selected one, and the questions before its steps.

use std::collections::BTreeSet;

use exchange_api::{Action, Disclose, Role, RuleTrade, TradeCommand, TradeId, TradeView};

use super::ask::{Ask, Line};
use crate::form::{Field, Form};
use crate::message::Call;
use crate::words;

/// One's trades.
#[derive(Debug, Default)]
pub struct Trades {
    /// As the node gave them: those that need the user first; `None` until it did.
    pub list: Option<Vec<TradeView>>,
    /// The selected one; `None` until they are looked at.
    pub selected: Option<TradeId>,
    /// The ruling that is being weighed, to be asked about.
    pub weighing: Option<RuleTrade>,
    /// What is being looked up that could be shown to an arbiter, to be asked about.
    pub showing: Option<Disclose>,
    /// Of which trades an arbiter was shown all that was said, as far as this program has seen.
    pub shown: BTreeSet<TradeId>,
}

impl Trades {
    /// Returns the selected trade: what a key is about.
    pub fn selection(&self) -> Option<&TradeView> {
        self.get(self.selected?)
    }

    /// Selects the first while nothing is selected, or what was is gone. What is selected stays so, however the list is sorted
    /// anew: a user who comes back to the screen after he paid presses a key about the trade that he left.
    pub fn settle(&mut self) {
        if self.selection().is_none() {
            self.selected = self.list.iter().flatten().next().map(|trade| trade.id);
        }
    }

    /// Returns the position of the selected trade.
    pub fn position(&self) -> usize {
        let list = self.list.as_deref().unwrap_or_default();
        self.selected.and_then(|id| list.iter().position(|trade| trade.id == id)).unwrap_or(0)
    }

    /// Moves the selection.
    pub fn select(&mut self, step: impl FnOnce(usize, usize) -> usize) {
        let list = self.list.as_deref().unwrap_or_default();
        let at = step(self.position(), list.len());
        self.selected = list.get(at).map(|trade| trade.id);
    }

    /// Returns a trade.
    pub fn get(&self, id: TradeId) -> Option<&TradeView> {
        self.list.iter().flatten().find(|trade| trade.id == id)
    }

    /// Puts in a newer view of a trade.
    pub fn put(&mut self, trade: TradeView) {
        let list = self.list.get_or_insert_default();
        match list.iter_mut().find(|known| known.id == trade.id) {
            Some(known) => *known = trade,
            None => list.insert(0, trade),
        }
    }

    /// Returns how many trades of one's own are not over.
    pub fn open_count(&self) -> usize {
        self.list.iter().flatten().filter(|trade| trade.role.is_some() && !trade.state.is_final()).count()
    }

    /// Returns in how many it is the user's turn.
    pub fn yours_count(&self) -> usize {
        self.list.iter().flatten().filter(|trade| trade.next.action.is_some()).count()
    }
}

/// Returns the question before a step. Accepting asks for one's details instead, see [`accept_form`].
pub fn question(trade: &TradeView, action: Action, request_id: String) -> Ask {
    let asking = words::trade::question(trade, action);
    let command = TradeCommand { request_id, dry_run: false, trade: trade.id, seen: Some(trade.seen()) };
    let mut lines = vec![Line::Plain(words::trade::named(trade)), Line::Strong(asking.what)];
    lines.extend(asking.notes.into_iter().map(Line::Plain));
    lines.extend(asking.warning.map(Line::Warning));
    Ask::confirm(asking.title, lines, words::NO_BACK, asking.yes, Call::Trade(action, command))
}

/// Returns the form that asks for the payment details which the taker will get.
pub fn accept_form(trade: &TradeView) -> Form {
    let hint = match trade.role {
        Some(Role::Seller) => words::take::SELLER_DETAILS,
        Some(Role::Buyer | Role::Arbiter) | None => words::take::BUYER_DETAILS,
    };
    // A field is one line: what was typed elsewhere with more of them reads the same.
    let known = trade.my_details.clone().unwrap_or_default().replace('\n', ", ");
    Form::new(words::trade::ACCEPT_BUTTON, vec![Field::text(words::take::DETAILS, &known, hint)])
}
