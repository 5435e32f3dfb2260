//! What stands above the screen.

use exchange_api::{ApiError, TradeId};

use super::ask::Ask;
use super::chat::Chat;
use super::contract::Contract;
use super::wallet::BumpTarget;
use crate::form::Form;

/// Something above the screen.
#[derive(Debug)]
pub enum Popup {
    /// The keys that can be pressed now.
    Help,
    /// An error.
    Error {
        /// What could not be done.
        title: &'static str,
        /// Why, and what to do.
        error: ApiError,
    },
    /// A question.
    Ask(Ask),
    /// The form to send coins.
    Send(Form),
    /// The form to accept a bid.
    Accept(TradeId, Form),
    /// What was said in a trade.
    Chat(Chat),
    /// The form to say what a transaction or a coin is for.
    Label(String, Form),
    /// The form to raise a fee.
    Bump(BumpTarget, Form),
    /// The form to rule in a trade.
    Rule(TradeId, Form),
    /// The form that asks which arbiter is to be shown what was said.
    Disclose(TradeId, Form),
    /// What was agreed on in a trade.
    Contract(Contract),
    /// The form to connect to a peer.
    Connect(Form),
}

impl Popup {
    /// Returns its form, if it is one.
    pub const fn form(&self) -> Option<&Form> {
        match self {
            Self::Send(form)
            | Self::Connect(form)
            | Self::Accept(_, form)
            | Self::Rule(_, form)
            | Self::Disclose(_, form)
            | Self::Label(_, form)
            | Self::Bump(_, form) => Some(form),
            Self::Chat(chat) => Some(&chat.form),
            Self::Help | Self::Error { .. } | Self::Ask(_) | Self::Contract(_) => None,
        }
    }

    pub(super) const fn form_mut(&mut self) -> Option<&mut Form> {
        match self {
            Self::Send(form)
            | Self::Connect(form)
            | Self::Accept(_, form)
            | Self::Rule(_, form)
            | Self::Disclose(_, form)
            | Self::Label(_, form)
            | Self::Bump(_, form) => Some(form),
            Self::Chat(chat) => Some(&mut chat.form),
            Self::Help | Self::Error { .. } | Self::Ask(_) | Self::Contract(_) => None,
        }
    }
}
