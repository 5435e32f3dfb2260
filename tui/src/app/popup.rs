//! What stands above the screen.

use std::collections::BTreeSet;

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
    /// A form, and what it is for.
    Form(FormFor, Form),
    /// What was said in a trade.
    Chat(Chat),
    /// What was agreed on in a trade.
    Contract(Contract),
}

/// What a form above the screen is for.
#[derive(Debug)]
pub enum FormFor {
    /// To send coins: those that were chosen when it was opened, and no others; none: any.
    Send(BTreeSet<String>),
    /// To accept a bid.
    Accept(TradeId),
    /// To say what a transaction or a coin is for.
    Label(String),
    /// To raise a fee.
    Bump(BumpTarget),
    /// To cancel a payment.
    Cancel(String),
    /// To rule in a trade.
    Rule(TradeId),
    /// To say which arbiter is to be shown what was said.
    Disclose(TradeId),
    /// To connect to a peer.
    Connect,
}

impl Popup {
    /// Returns its form, if it has one.
    pub const fn form(&self) -> Option<&Form> {
        match self {
            Self::Form(_, form) => Some(form),
            Self::Chat(chat) => Some(&chat.form),
            Self::Help | Self::Error { .. } | Self::Ask(_) | Self::Contract(_) => None,
        }
    }

    pub(super) const fn form_mut(&mut self) -> Option<&mut Form> {
        match self {
            Self::Form(_, form) => Some(form),
            Self::Chat(chat) => Some(&mut chat.form),
            Self::Help | Self::Error { .. } | Self::Ask(_) | Self::Contract(_) => None,
        }
    }
}
