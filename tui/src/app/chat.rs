//! Talking in a trade: what was said, and the line that is being typed.

use exchange_api::{Conversation, MessageView, MessageWords, Person, TradeId};

use crate::action::Step;
use crate::form::{Field, Form, Value};
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

    /// Takes in what was said. The line goes to whoever spoke last; if nobody did, and an arbiter listens, to nobody until the
    /// user says to whom: what is meant for the arbiter must not reach the opponent by one Enter.
    pub fn put(&mut self, said: Conversation, is_disputed: bool) {
        if let Value::Choice { options, chosen } = &mut self.form.fields[TO].value
            && options.is_empty()
        {
            let named = said.others.iter().map(|other| w::person(*other).to_owned());
            let last = last_speaker(&said).and_then(|last| said.others.iter().position(|other| *other == last));
            let asks = last.is_none() && is_disputed && said.others.len() > 1;
            *options = asks.then(|| w::CHOOSE.to_owned()).into_iter().chain(named).collect();
            *chosen = last.unwrap_or(0);
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

    /// Returns to whom the line goes; `None` while that is not chosen, or not known.
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

/// Returns who of the others wrote last. Payment details go by themselves, and are no talk.
fn last_speaker(said: &Conversation) -> Option<Person> {
    let is_talk = |message: &&MessageView| matches!(message.words, MessageWords::Chat { .. });
    said.messages.iter().rev().filter(is_talk).map(|message| message.from).find(|from| *from != said.me)
}

/// Tells whether the counterparty said something that the user has not read, and that an arbiter was not shown.
pub fn has_news(said: &Conversation) -> bool {
    let of_others = said.messages.iter().rev().filter(|message| message.from != said.me);
    let mut unread = of_others.take(said.unread as usize); // a u32 fits
    unread.any(|message| matches!(message.from, Person::Buyer | Person::Seller))
}

/// Lines that a message has at most on the smallest screen: the view stops at its first line anyway.
const LINES_EACH: usize = 40;
