//! Talking in a trade: what was said, and the line that is being typed.

use exchange_api::{Conversation, MessageView, Person, TradeId};

use crate::action::Step;
use crate::form::{Field, Form};
use crate::words::chat as w;

/// The field that says to whom.
pub const TO: usize = 0;
/// The field of the text.
pub const TEXT: usize = 1;

/// What was said in a trade, and the line that is being typed.
#[derive(Debug)]
pub struct Chat {
    /// The trade.
    pub trade: TradeId,
    /// As the node gave it; `None` until it did.
    pub said: Option<Conversation>,
    /// To whom, and what.
    pub form: Form,
    /// How many lines the view is scrolled back.
    pub scroll: usize,
    /// Whether the node is being asked.
    pub is_asking: bool,
}

impl Chat {
    /// Opens the talk of a trade; it is asked for.
    pub fn new(trade: TradeId) -> Self {
        let fields = vec![Field::choice(w::TO, Vec::new(), ""), Field::text(w::TEXT, "", "")];
        let mut form = Form::new(w::BUTTON, fields);
        form.focus = Some(TEXT);
        Self { trade, said: None, form, scroll: 0, is_asking: true }
    }

    /// Takes in what was said.
    pub fn put(&mut self, said: Conversation) {
        if let crate::form::Value::Choice { options, .. } = &mut self.form.fields[TO].value
            && options.is_empty()
        {
            *options = said.others.iter().map(|other| w::person(*other).to_owned()).collect();
        }
        self.is_asking = false;
        self.said = Some(said);
    }

    /// Takes in what was just sent.
    pub fn sent(&mut self, message: MessageView) {
        self.form.set_text(TEXT, "");
        self.scroll = 0;
        if let Some(said) = &mut self.said {
            said.messages.push(message);
        }
    }

    /// Returns to whom the line goes.
    pub fn to(&self) -> Option<Person> {
        let chosen = self.form.fields[TO].value();
        self.said.as_ref()?.others.iter().copied().find(|other| w::person(*other) == chosen)
    }

    /// Scrolls through what was said; `lines` of it are on the screen at most.
    pub fn scroll(&mut self, step: Step) {
        let count = self.said.as_ref().map_or(0, |said| {
            let shown = said.shown.as_ref().map_or(0, |shown| shown.messages.len() + shown.by.len());
            LINES_EACH * (said.messages.len() + shown)
        });
        let back = match step {
            Step::Up | Step::PageUp => Step::PageDown,
            Step::Down | Step::PageDown => Step::PageUp,
            Step::Top => Step::Bottom,
            Step::Bottom => Step::Top,
        };
        self.scroll = back.apply(self.scroll, count);
    }
}

/// Lines that a message has at most on the smallest screen: the view stops at its first line anyway.
const LINES_EACH: usize = 40;
