//! Which keys count: those of what is topmost, by contexts, the innermost first.

use super::{App, Popup, Tab};
use crate::action::Context;
use crate::form::Focus;
use crate::message::Connection;

impl App {
    /// Returns the contexts whose keys count below the help, which explains them.
    pub fn contexts_below_help(&self) -> Vec<Context> {
        self.contexts_under(self.popups.iter().rev().find(|popup| !matches!(popup, Popup::Help)))
    }

    /// Returns the contexts whose keys count now, the innermost first.
    pub fn contexts(&self) -> Vec<Context> {
        self.contexts_under(self.popups.last())
    }

    /// Returns the contexts whose keys count while this popup is the topmost.
    fn contexts_under(&self, top: Option<&Popup>) -> Vec<Context> {
        if let Some(popup) = top {
            return popup.contexts();
        }
        if matches!(self.connection, Connection::Starting(_) | Connection::Failed(_)) {
            return vec![Context::Waiting, Context::Always];
        }
        if self.gate_is_shown() {
            return match self.gate.form() {
                Some(form) if !self.is_making_keys() => form_contexts(Some(Context::Gate), form.focused(), false),
                Some(_) | None => vec![Context::Gate, Context::Always],
            };
        }
        match self.tab {
            Tab::Post => form_contexts(None, self.post.form.focused(), true),
            Tab::Take if self.take.ask().is_some() => vec![Context::Ask, Context::Always],
            Tab::Take => match self.take.form() {
                Some(form) => form_contexts(None, form.focused(), true),
                None => self.screen_contexts(),
            },
            Tab::Book | Tab::Trades | Tab::Wallet | Tab::Network => self.screen_contexts(),
        }
    }

    fn screen_contexts(&self) -> Vec<Context> {
        match self.tab {
            Tab::Book if self.book.typing => vec![Context::Filter, Context::Always],
            Tab::Book if self.book.open => vec![Context::Offer, Context::Screens, Context::Always],
            Tab::Book => vec![Context::Book, Context::List, Context::Screens, Context::Always],
            Tab::Trades => vec![Context::Trades, Context::List, Context::Screens, Context::Always],
            Tab::Wallet => vec![Context::Wallet, Context::List, Context::Screens, Context::Always],
            Tab::Network => vec![Context::Network, Context::List, Context::Screens, Context::Always],
            Tab::Post | Tab::Take => vec![Context::Empty, Context::Screens, Context::Always],
        }
    }
}

impl Popup {
    /// Returns the contexts whose keys count while it is the topmost, the innermost first.
    fn contexts(&self) -> Vec<Context> {
        match self {
            Self::Help | Self::Error { .. } => vec![Context::Notice, Context::Always],
            Self::Ask(_) => vec![Context::Ask, Context::Always],
            Self::Contract(_) => vec![Context::Reading, Context::Always],
            Self::Chat(chat) => form_contexts(Some(Context::Chat), chat.form.focused(), false),
            Self::Form(_, form) => form_contexts(None, form.focused(), false),
        }
    }
}

/// Returns the contexts of a form, the innermost first: `around` stands before its own, and the screens' keys count
/// only where letters are no text.
fn form_contexts(around: Option<Context>, focus: Focus, has_screens: bool) -> Vec<Context> {
    let mut contexts: Vec<Context> = around.into_iter().collect();
    match focus {
        Focus::Choice => contexts.extend([Context::Choice, Context::Form]),
        Focus::Typing | Focus::Button => contexts.push(Context::Form),
        Focus::Nowhere => contexts.push(Context::Rest),
    }
    if has_screens && focus != Focus::Typing {
        contexts.push(Context::Screens);
    }
    contexts.push(Context::Always);
    contexts
}
