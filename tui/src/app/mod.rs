//! The application: all that it knows, and [`App::update`], which turns what happens into what is to be done. No clock,
//! no socket, no terminal: time comes as ticks, answers as messages.

pub mod answers;
pub mod ask;
pub mod book;
pub mod chat;
mod contexts;
pub mod contract;
pub mod disclose;
pub mod gate;
mod keys;
mod moment;
mod network;
mod popup;
pub mod post;
mod quit;
pub mod refresh;
pub mod requests;
pub mod ruling;
pub mod take;
pub mod trades;
pub mod wallet;

use std::collections::VecDeque;

use exchange_api::{Event, IdentityState, PeerInfo, Status};

use crate::form::{Focus, Form};
use crate::message::{Call, CallName, Command, Connection, Message, Query};
use crate::theme::Theme;
use crate::words;
use ask::Ask;
use book::Book;
use chat::Chat;
use gate::{Gate, Stage};
use moment::Moment;
pub use popup::{FormFor, Popup};
use post::Post;
use refresh::Refresh;
use requests::Requests;
use take::Take;
use trades::Trades;
use wallet::Wallet;

/// How many [`Message::Tick`]s make a second.
pub const TICKS_PER_SECOND: u64 = 8;
/// Ticks between polls: two seconds, for what no event announces.
const POLL_TICKS: u64 = 2 * TICKS_PER_SECOND;
/// How long a toast stays.
const TOAST_TICKS: u64 = 6 * TICKS_PER_SECOND;
/// Toasts at a time: older ones are in the log.
const MAX_TOASTS: usize = 3;
/// Events kept for the log screen.
const MAX_EVENTS: usize = 500;
/// Popups above each other: a form, a question, an error, the help.
const MAX_POPUPS: usize = 4;

/// The screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tab {
    /// The offers.
    Book,
    /// Posting an offer.
    Post,
    /// Taking an offer.
    Take,
    /// One's trades.
    Trades,
    /// The wallet.
    Wallet,
    /// Peers and log.
    Network,
}

impl Tab {
    /// All, in the order of their keys.
    pub const ALL: [Self; 6] = [Self::Book, Self::Post, Self::Take, Self::Trades, Self::Wallet, Self::Network];
}

/// A line that appears for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toast {
    /// What it says.
    pub text: String,
    /// Whether it is bad news.
    pub bad: bool,
    until: u64,
}

/// A call under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// Which.
    pub call: CallName,
    /// Since which tick.
    pub since: u64,
}

/// All that the application knows.
#[derive(Debug)]
pub struct App {
    /// How it looks.
    pub theme: Theme,
    /// Whether this is the demo, which is thrown away at the end.
    pub demo: bool,
    /// How many eighths of a second have passed.
    pub ticks: u64,
    /// How the node can be reached.
    pub connection: Connection,
    /// Since which tick it is looked for or started, while it is.
    pub waiting_since: u64,
    /// The node's state.
    pub status: Option<Status>,
    /// The screen.
    pub tab: Tab,
    /// What is above it, the topmost last.
    pub popups: Vec<Popup>,
    /// Lines that appear for a while, the newest last.
    pub toasts: VecDeque<Toast>,
    /// The call under way; there is one at a time.
    pub busy: Option<Busy>,
    /// The first run and the unlocking.
    pub gate: Gate,
    /// The book.
    pub book: Book,
    /// Posting an offer.
    pub post: Post,
    /// Taking an offer.
    pub take: Take,
    /// One's trades.
    pub trades: Trades,
    /// The wallet.
    pub wallet: Wallet,
    /// The peers.
    pub peers: Vec<PeerInfo>,
    /// The node's events, the newest last.
    pub events: VecDeque<Event>,
    /// How far the log is scrolled back.
    pub log_scroll: usize,
    requests: Requests,
    refresh: Refresh,
    /// Events before this time are history: they are no news.
    news_since: Option<u64>,
    /// Since when what was put above the screen last, or the review of an offer, stands there to be read.
    moment: Moment,
}

impl App {
    /// `session` makes request ids unique to this run.
    pub fn new(theme: Theme, demo: bool, session: impl Into<String>) -> Self {
        Self {
            theme,
            demo,
            ticks: 0,
            connection: Connection::Starting(words::CONNECTING.to_owned()),
            waiting_since: 0,
            status: None,
            tab: Tab::Book,
            popups: Vec::new(),
            toasts: VecDeque::new(),
            busy: None,
            gate: Gate::default(),
            book: Book::default(),
            post: Post::default(),
            take: Take::default(),
            trades: Trades::default(),
            wallet: Wallet::default(),
            peers: Vec::new(),
            events: VecDeque::new(),
            log_scroll: 0,
            requests: Requests::new(session),
            refresh: Refresh::default(),
            news_since: None,
            moment: Moment::default(),
        }
    }

    /// Takes in what happened and returns what is to be done.
    pub fn update(&mut self, message: Message) -> Vec<Command> {
        let mut commands = Vec::new();
        // What a user does himself he knows; what comes from elsewhere may change under him what his Enter does.
        let is_his = matches!(message, Message::Key(_) | Message::Paste(_));
        let before = self.sends();
        match message {
            Message::Key(key) => self.on_key(key, &mut commands),
            Message::Paste(text) => self.on_paste(&text),
            Message::Redraw => {}
            Message::Tick => self.on_tick(&mut commands),
            Message::Terminate => commands.push(Command::Quit(self.fate_unasked())),
            Message::Connection(connection) => self.on_connection(connection, &mut commands),
            Message::Answer(query, result) => self.on_answer(query, *result, &mut commands),
            Message::Reply(call, request, result) => self.on_reply(call, request, *result, &mut commands),
            Message::Event(event) => self.on_event(event, &mut commands),
        }
        if !is_his && self.sends() != before {
            self.begin_moment();
        }
        commands
    }

    fn on_tick(&mut self, commands: &mut Vec<Command>) {
        self.ticks += 1;
        let ticks = self.ticks;
        self.toasts.retain(|toast| toast.until > ticks);
        if !matches!(self.connection, Connection::Up { .. }) {
            return;
        }
        if self.ticks.is_multiple_of(POLL_TICKS) {
            self.poll(commands);
        }
        if let Some(call) = self.gate.due_strength(self.ticks) {
            commands.push(Command::Call(call));
        }
    }

    fn poll(&mut self, commands: &mut Vec<Command>) {
        let mut queries = vec![Query::Status, Query::Book];
        if self.is_unlocked() {
            queries.extend([Query::Trades, Query::Balance]);
        }
        match self.tab {
            Tab::Wallet if self.is_unlocked() => {
                queries.extend([Query::Address, Query::History, Query::Coins, Query::Fees]);
            }
            Tab::Network => queries.push(Query::Peers),
            Tab::Post => queries.push(Query::Arbiters),
            Tab::Book | Tab::Take | Tab::Trades | Tab::Wallet => {}
        }
        for query in queries {
            self.refresh.poll(query, commands);
        }
        self.ask_for_talk(commands);
    }

    /// Asks for what was said in the trade whose talk is open, unless that is asked already.
    fn ask_for_talk(&mut self, commands: &mut Vec<Command>) {
        if let Some(chat) = self.chat_mut()
            && !std::mem::replace(&mut chat.is_asking, true)
        {
            commands.push(Command::Call(Call::Talk(chat.trade)));
        }
    }

    /// Selects something of the list that is looked at, if nothing of it is.
    fn settle(&mut self) {
        match self.tab {
            Tab::Trades => self.trades.settle(),
            Tab::Wallet => self.wallet.settle(),
            Tab::Book | Tab::Post | Tab::Take | Tab::Network => {}
        }
    }

    /// Returns the talk that is open.
    fn chat_mut(&mut self) -> Option<&mut Chat> {
        self.popups.iter_mut().find_map(|popup| match popup {
            Popup::Chat(chat) => Some(chat),
            Popup::Help | Popup::Error { .. } | Popup::Ask(_) | Popup::Form(..) | Popup::Contract(_) => None,
        })
    }

    fn on_connection(&mut self, connection: Connection, commands: &mut Vec<Command>) {
        if matches!(connection, Connection::Up { .. }) {
            self.refresh.reset();
            self.refresh.ask(Query::Status, commands);
            self.refresh.ask(Query::Book, commands);
        } else {
            // Answers under way will not come; what was wanted is kept in its form and its id.
            self.busy = None;
            if let Some(chat) = self.chat_mut() {
                chat.is_asking = false;
            }
        }
        if !matches!(self.connection, Connection::Starting(_)) {
            self.waiting_since = self.ticks;
        }
        self.connection = connection;
    }

    /// Tells whether the identity can sign.
    pub fn is_unlocked(&self) -> bool {
        matches!(self.status.as_ref().map(|status| &status.identity), Some(IdentityState::Unlocked { .. }))
    }

    /// The node's clock, as last heard.
    pub fn now(&self) -> u64 {
        self.status.as_ref().map_or(0, |status| status.time)
    }

    /// Shows a line for a while.
    pub fn toast(&mut self, text: impl Into<String>, bad: bool) {
        if self.toasts.len() == MAX_TOASTS {
            self.toasts.pop_front();
        }
        self.toasts.push_back(Toast { text: text.into(), bad, until: self.ticks + TOAST_TICKS });
    }

    /// Puts something above the screen.
    pub fn push_popup(&mut self, popup: Popup) {
        self.begin_moment();
        if self.popups.len() == MAX_POPUPS {
            self.popups.remove(0);
        }
        self.popups.push(popup);
    }

    /// Tells whether the first run or the unlocking fills the screen.
    pub fn gate_is_shown(&self) -> bool {
        self.gate.is_shown(self.status.as_ref().map(|status| &status.identity))
    }

    /// Tells whether the keys of the identity are being derived, for which the first run waits.
    pub fn is_making_keys(&self) -> bool {
        self.gate.stage() == Stage::Deriving || self.busy.is_some_and(|busy| busy.call == CallName::Create)
    }

    /// Returns the form that takes keys now.
    pub fn form(&self) -> Option<&Form> {
        self.form_under(self.popups.last())
    }

    /// Returns the button that Enter presses now, or would without the help, which explains it; `None` where it goes on to the next
    /// field.
    pub fn pressed_by_enter(&self) -> Option<&'static str> {
        let top = self.popups.iter().rev().find(|popup| !matches!(popup, Popup::Help));
        let form = self.form_under(top)?;
        // The only field of a short form is its end, too.
        let is_short = form.fields.len() == 1 || matches!(top, Some(Popup::Chat(_)));
        let is_last = form.focus == form.fields.iter().rposition(|field| field.shown);
        (form.focused() == Focus::Button || (is_last && is_short)).then_some(form.button)
    }

    /// Returns the form that takes keys while this popup is the topmost.
    fn form_under<'a>(&'a self, top: Option<&'a Popup>) -> Option<&'a Form> {
        if let Some(popup) = top {
            return popup.form();
        }
        if self.gate_is_shown() {
            return self.gate.form();
        }
        match self.tab {
            Tab::Post => Some(&self.post.form),
            Tab::Take => self.take.form(),
            Tab::Book | Tab::Trades | Tab::Wallet | Tab::Network => None,
        }
    }

    fn form_mut(&mut self) -> Option<&mut Form> {
        let gate_is_shown = self.gate_is_shown();
        if let Some(popup) = self.popups.last_mut() {
            return popup.form_mut();
        }
        if gate_is_shown {
            return self.gate.form_mut();
        }
        match self.tab {
            Tab::Post => Some(&mut self.post.form),
            Tab::Take => self.take.form_mut(),
            Tab::Book | Tab::Trades | Tab::Wallet | Tab::Network => None,
        }
    }

    /// Returns the question that takes keys now.
    pub fn ask(&self) -> Option<&Ask> {
        match self.popups.last() {
            Some(Popup::Ask(ask)) => Some(ask),
            Some(_) => None,
            None if self.tab == Tab::Take && !self.gate_is_shown() => self.take.ask(),
            None => None,
        }
    }

    fn ask_mut(&mut self) -> Option<&mut Ask> {
        let gate_is_shown = self.gate_is_shown();
        match self.popups.last_mut() {
            Some(Popup::Ask(ask)) => Some(ask),
            Some(_) => None,
            None if self.tab == Tab::Take && !gate_is_shown => self.take.ask_mut(),
            None => None,
        }
    }
}
