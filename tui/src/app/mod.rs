//! The application: all that it knows, and [`App::update`], which turns what happens into what is to be done. No clock,
//! no socket, no terminal: time comes as ticks, answers as messages.

pub mod answers;
pub mod ask;
pub mod book;
pub mod chat;
pub mod contract;
pub mod disclose;
pub mod gate;
mod keys;
mod network;
pub mod post;
pub mod refresh;
pub mod requests;
pub mod ruling;
pub mod take;
pub mod trades;
pub mod wallet;

use std::collections::VecDeque;

use exchange_api::{ApiError, Event, IdentityState, PeerInfo, Status};

use crate::action::Context;
use crate::form::{Focus, Form};
use crate::message::{Call, CallName, Command, Connection, Message, NodeFate, Query};
use crate::theme::Theme;
use crate::words;
use ask::{Ask, Choice, Line, Outcome};
use book::Book;
use chat::Chat;
use contract::Contract;
use gate::Gate;
use post::Post;
use refresh::Refresh;
use requests::Requests;
use take::Take;
use trades::Trades;
use wallet::{BumpTarget, Wallet};

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
    Accept(exchange_api::TradeId, Form),
    /// What was said in a trade.
    Chat(Chat),
    /// The form to say what a transaction or a coin is for.
    Label(String, Form),
    /// The form to raise a fee.
    Bump(BumpTarget, Form),
    /// The form to rule in a trade.
    Rule(exchange_api::TradeId, Form),
    /// The form that asks which arbiter is to be shown what was said.
    Disclose(exchange_api::TradeId, Form),
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

    const fn form_mut(&mut self) -> Option<&mut Form> {
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

    /// Returns the contexts whose keys count while it is the topmost, the innermost first.
    fn contexts(&self) -> Vec<Context> {
        match self {
            Self::Help | Self::Error { .. } => vec![Context::Notice, Context::Always],
            Self::Ask(_) => vec![Context::Ask, Context::Always],
            Self::Contract(_) => vec![Context::Reading, Context::Always],
            Self::Chat(chat) => form_contexts(Some(Context::Chat), chat.form.focused(), false),
            Self::Send(form)
            | Self::Connect(form)
            | Self::Accept(_, form)
            | Self::Rule(_, form)
            | Self::Disclose(_, form)
            | Self::Label(_, form)
            | Self::Bump(_, form) => form_contexts(None, form.focused(), false),
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
        }
    }

    /// Takes in what happened and returns what is to be done.
    pub fn update(&mut self, message: Message) -> Vec<Command> {
        let mut commands = Vec::new();
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

    /// Returns the talk that is open.
    fn chat_mut(&mut self) -> Option<&mut Chat> {
        self.popups.iter_mut().find_map(|popup| match popup {
            Popup::Chat(chat) => Some(chat),
            Popup::Help
            | Popup::Error { .. }
            | Popup::Ask(_)
            | Popup::Send(_)
            | Popup::Connect(_)
            | Popup::Accept(..)
            | Popup::Label(..)
            | Popup::Bump(..)
            | Popup::Rule(..)
            | Popup::Disclose(..)
            | Popup::Contract(_) => None,
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
        if self.popups.len() == MAX_POPUPS {
            self.popups.remove(0);
        }
        self.popups.push(popup);
    }

    /// Tells whether the first run or the unlocking fills the screen.
    pub fn gate_is_shown(&self) -> bool {
        self.gate.is_shown(self.status.as_ref().map(|status| &status.identity))
    }

    /// Returns the form that takes keys now.
    pub fn form(&self) -> Option<&Form> {
        if let Some(popup) = self.popups.last() {
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
                Some(form) => form_contexts(Some(Context::Gate), form.focused(), false),
                None => vec![Context::Gate, Context::Always],
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

    /// Tells whether leaving now would lose something that was typed.
    fn has_unsaved_text(&self) -> bool {
        let popups = self.popups.iter().filter_map(Popup::form).any(Form::has_text);
        popups || self.gate.has_text() || self.post.is_edited() || self.take.is_edited()
    }

    fn owns_node(&self) -> bool {
        matches!(self.connection, Connection::Up { ours: true })
    }

    /// What becomes of the node when nobody can be asked.
    fn fate_unasked(&self) -> NodeFate {
        if self.trades.open_count() > 0 && !self.demo { NodeFate::Keep } else { NodeFate::Stop }
    }

    fn quit(&mut self, commands: &mut Vec<Command>) {
        // Whoever is asked already and presses the same again means it. By the first answer that quits his node stays, if anything
        // needs it.
        if let Some(Popup::Ask(ask)) = self.popups.last()
            && ask.title == words::QUIT_TITLE
        {
            let fate = ask.choices.iter().find_map(|choice| match &choice.outcome {
                Outcome::Quit(fate) => Some(*fate),
                Outcome::Back | Outcome::Call(_) => None,
            });
            commands.extend(fate.map(Command::Quit));
            return;
        }
        let (open, typed) = (self.trades.open_count(), self.has_unsaved_text());
        // Of the demo nothing is left anyway, and the node of somebody else goes on.
        let offers = if self.owns_node() && !self.demo { self.book.own_count() } else { 0 };
        let is_idle = open == 0 && offers == 0 && !typed;
        if matches!(self.connection, Connection::Starting(_) | Connection::Failed(_)) || is_idle {
            commands.push(Command::Quit(NodeFate::Stop));
            return;
        }
        let back = || Choice { label: words::STAY.to_owned(), outcome: Outcome::Back };
        let quit = |label: &str, fate| Choice { label: label.to_owned(), outcome: Outcome::Quit(fate) };
        let mut lines = Vec::new();
        if typed {
            lines.push(Line::Warning(words::QUIT_LOSES_TEXT.to_owned()));
        }
        let (choices, yes) = if open > 0 && self.demo {
            lines.push(Line::Plain(words::quit_ends_demo(open)));
            (vec![back(), quit(words::QUIT, NodeFate::Stop)], 1)
        } else if (open > 0 && self.owns_node()) || offers > 0 {
            lines.extend(words::quit_with_own_node(open, offers).into_iter().map(Line::Plain));
            let keep = quit(words::KEEP_NODE, NodeFate::Keep);
            (vec![keep, quit(words::STOP_NODE, NodeFate::Stop), back()], 0)
        } else if open > 0 && !typed {
            lines.push(Line::Plain(words::quit_with_others_node(open)));
            (vec![quit(words::QUIT, NodeFate::Keep), back()], 0)
        } else {
            (vec![back(), quit(words::QUIT, NodeFate::Stop)], 1)
        };
        self.push_popup(Popup::Ask(Ask { title: words::QUIT_TITLE.to_owned(), lines, choices, chosen: 0, yes }));
    }
}
