//! The one table of keys: it feeds the dispatcher, the footer and the help, so that they cannot disagree.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use exchange_api::Action as TradeAction;

use crate::app::gate::Stage;
use crate::app::{App, Tab};
use crate::words;

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ends the program, after a question when something would be lost.
    Quit,
    /// Shows the keys.
    Help,
    /// Shows a screen.
    Show(Tab),
    /// Goes back to the first run or the unlocking.
    Identity,
    /// Moves the selection.
    Move(Step),
    /// Shows the selected offer's terms.
    Open,
    /// Goes one step back.
    Back,
    /// Types a filter.
    Filter,
    /// Keeps the filter.
    FilterDone,
    /// Drops the filter.
    FilterClear,
    /// Shows offers in which the user is on this side; `None`: both.
    Side(Option<exchange_api::Side>),
    /// Turns to the next currency.
    Currency,
    /// Shows or hides offers whose makers are away.
    Away,
    /// Takes the selected offer.
    Take,
    /// Withdraws the selected offer.
    Withdraw,
    /// To the next field.
    NextField,
    /// To the previous field.
    PreviousField,
    /// To the next field, or presses the button.
    Enter,
    /// Turns a choice, forward or back.
    Choose(bool),
    /// Leaves the form; what was typed stays.
    Leave,
    /// Shows or hides passwords.
    Reveal,
    /// Suggests another passphrase.
    Another,
    /// Watches without an identity.
    Skip,
    /// Turns to the next or previous answer.
    Turn(bool),
    /// Gives the chosen answer.
    Answer,
    /// Gives the second answer: yes.
    Yes,
    /// Gives the first answer: no.
    No,
    /// Does the one thing that moves the selected trade on.
    Next,
    /// Moves the selected trade.
    Trade(TradeAction),
    /// Copies the deposit address or the other's payment details.
    Copy,
    /// Sends coins.
    Send,
}

/// How the selection moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One up.
    Up,
    /// One down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first.
    Top,
    /// To the last.
    Bottom,
}

impl Step {
    /// Lines of a page.
    const PAGE: usize = 10;

    /// Returns the new position in a list.
    pub fn apply(self, at: usize, count: usize) -> usize {
        let last = count.saturating_sub(1);
        match self {
            Self::Up => at.saturating_sub(1),
            Self::Down => (at + 1).min(last),
            Self::PageUp => at.saturating_sub(Self::PAGE),
            Self::PageDown => (at + Self::PAGE).min(last),
            Self::Top => 0,
            Self::Bottom => last,
        }
    }
}

/// Where a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// Everywhere, even while one types.
    Always,
    /// On every screen while one does not type.
    Screens,
    /// Before there is a node.
    Waiting,
    /// On a list.
    List,
    /// On the book.
    Book,
    /// On the terms of an offer.
    Offer,
    /// While a filter is typed.
    Filter,
    /// In a form.
    Form,
    /// On a choice of a form.
    Choice,
    /// On a form that has not the focus.
    Rest,
    /// On a screen that has nothing to fill in yet.
    Empty,
    /// On the first run and the unlocking.
    Gate,
    /// On a question.
    Ask,
    /// On an error or the help.
    Notice,
    /// On one's trades.
    Trades,
    /// On the wallet.
    Wallet,
    /// On peers and log.
    Network,
}

/// A key combination. Shift is part of the character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    ctrl: bool,
}

impl Key {
    /// Tells whether an event is this key.
    pub fn is(&self, event: &KeyEvent) -> bool {
        let code = match event.code {
            // Some terminals report shift-tab as a shifted tab.
            KeyCode::Tab if event.modifiers.contains(KeyModifiers::SHIFT) => KeyCode::BackTab,
            other => other,
        };
        code == self.code
            && event.modifiers.contains(KeyModifiers::CONTROL) == self.ctrl
            && !event.modifiers.contains(KeyModifiers::ALT)
    }

    /// Returns what stands on the key.
    pub fn label(&self) -> String {
        let name = match self.code {
            KeyCode::Char(' ') => "Space".to_owned(),
            KeyCode::Char(c) if self.ctrl => c.to_uppercase().to_string(),
            KeyCode::Char(c) => c.to_string(),
            KeyCode::Enter => "Enter".to_owned(),
            KeyCode::Esc => "Esc".to_owned(),
            KeyCode::Tab => "Tab".to_owned(),
            KeyCode::BackTab => "Shift-Tab".to_owned(),
            KeyCode::Up => "↑".to_owned(),
            KeyCode::Down => "↓".to_owned(),
            KeyCode::Left => "←".to_owned(),
            KeyCode::Right => "→".to_owned(),
            KeyCode::PageUp => "PgUp".to_owned(),
            KeyCode::PageDown => "PgDn".to_owned(),
            KeyCode::Home => "Home".to_owned(),
            KeyCode::End => "End".to_owned(),
            KeyCode::F(n) => format!("F{n}"),
            other => format!("{other:?}"),
        };
        if self.ctrl { format!("Ctrl-{name}") } else { name }
    }
}

const fn key(code: KeyCode) -> Key {
    Key { code, ctrl: false }
}

const fn char(c: char) -> Key {
    key(KeyCode::Char(c))
}

const fn ctrl(c: char) -> Key {
    Key {
        code: KeyCode::Char(c),
        ctrl: true,
    }
}

/// Whether an action can be done now, and if not, why.
pub type Availability = Result<(), &'static str>;

/// A row of the table.
#[derive(Debug)]
pub struct Entry {
    /// Where it counts.
    pub context: Context,
    /// What it does.
    pub action: Action,
    /// Its keys.
    pub keys: &'static [Key],
    /// What it is called.
    pub name: &'static str,
    /// Whether the footer shows it.
    pub footer: Footer,
    /// Whether it can be done now.
    pub when: fn(&App) -> Availability,
}

/// Whether the footer shows an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footer {
    /// Always.
    Shown,
    /// While it can be done.
    WhenPossible,
    /// Never; the help does.
    Hidden,
}

use Context as C;
use Footer::{Hidden, Shown, WhenPossible};

const fn row(context: Context, action: Action, keys: &'static [Key], name: &'static str, footer: Footer) -> Entry {
    Entry {
        context,
        action,
        keys,
        name,
        footer,
        when: always,
    }
}

const fn gated(
    context: Context,
    action: Action,
    keys: &'static [Key],
    name: &'static str,
    footer: Footer,
    when: fn(&App) -> Availability,
) -> Entry {
    Entry {
        context,
        action,
        keys,
        name,
        footer,
        when,
    }
}

/// The table.
pub static TABLE: &[Entry] = &[
    gated(
        C::Book,
        Action::Open,
        &[key(KeyCode::Enter)],
        "terms",
        Shown,
        offer_selected,
    ),
    gated(C::Book, Action::Take, &[char('t')], "take", Shown, can_take),
    row(C::Book, Action::Filter, &[char('/')], "filter", Shown),
    row(
        C::Book,
        Action::Side(Some(exchange_api::Side::Buy)),
        &[char('b')],
        "you buy",
        Shown,
    ),
    row(
        C::Book,
        Action::Side(Some(exchange_api::Side::Sell)),
        &[char('s')],
        "you sell",
        Shown,
    ),
    row(C::Book, Action::Side(None), &[char('a')], "all", Shown),
    row(C::Book, Action::Currency, &[char('c')], "currency", Shown),
    row(C::Book, Action::Away, &[char('o')], "also makers who are away", Hidden),
    gated(
        C::Book,
        Action::Withdraw,
        &[char('x')],
        "withdraw",
        WhenPossible,
        can_withdraw,
    ),
    gated(
        C::Offer,
        Action::Take,
        &[key(KeyCode::Enter), char('t')],
        "take this offer",
        WhenPossible,
        can_take,
    ),
    gated(
        C::Offer,
        Action::Withdraw,
        &[char('x')],
        "withdraw",
        WhenPossible,
        can_withdraw,
    ),
    row(
        C::Offer,
        Action::Move(Step::Up),
        &[key(KeyCode::Up), char('k')],
        "previous",
        Hidden,
    ),
    row(
        C::Offer,
        Action::Move(Step::Down),
        &[key(KeyCode::Down), char('j')],
        "next",
        Hidden,
    ),
    row(
        C::Offer,
        Action::Back,
        &[key(KeyCode::Esc), key(KeyCode::Backspace)],
        "back",
        Shown,
    ),
    row(C::Filter, Action::FilterDone, &[key(KeyCode::Enter)], "keep", Shown),
    row(C::Filter, Action::FilterClear, &[key(KeyCode::Esc)], "clear", Shown),
    row(
        C::Choice,
        Action::Choose(true),
        &[key(KeyCode::Right), char(' ')],
        "change",
        Shown,
    ),
    row(
        C::Choice,
        Action::Choose(false),
        &[key(KeyCode::Left)],
        "change back",
        Hidden,
    ),
    row(
        C::Form,
        Action::NextField,
        &[key(KeyCode::Tab), key(KeyCode::Down)],
        "next field",
        Hidden,
    ),
    row(
        C::Form,
        Action::PreviousField,
        &[key(KeyCode::BackTab), key(KeyCode::Up)],
        "previous field",
        Hidden,
    ),
    row(C::Form, Action::Enter, &[key(KeyCode::Enter)], "next", Shown),
    row(C::Gate, Action::Enter, &[key(KeyCode::Enter)], "next", Shown),
    row(C::Gate, Action::Reveal, &[ctrl('t')], "show or hide", Shown),
    gated(
        C::Gate,
        Action::Another,
        &[ctrl('n')],
        "another passphrase",
        WhenPossible,
        makes_identity,
    ),
    row(C::Gate, Action::Skip, &[key(KeyCode::Esc)], "only watch", Shown),
    row(C::Form, Action::Leave, &[key(KeyCode::Esc)], "leave", Shown),
    row(C::Form, Action::Help, &[key(KeyCode::F(1))], "help", Shown),
    row(
        C::Rest,
        Action::NextField,
        &[key(KeyCode::Enter), key(KeyCode::Tab), key(KeyCode::Down)],
        "fill in",
        Shown,
    ),
    row(C::Rest, Action::Back, &[key(KeyCode::Esc)], "back to the book", Hidden),
    row(
        C::Empty,
        Action::Back,
        &[key(KeyCode::Enter), key(KeyCode::Esc)],
        "to the book",
        Shown,
    ),
    row(
        C::Ask,
        Action::Turn(true),
        &[key(KeyCode::Right), key(KeyCode::Tab), key(KeyCode::Down)],
        "other answer",
        Shown,
    ),
    row(
        C::Ask,
        Action::Turn(false),
        &[key(KeyCode::Left), key(KeyCode::BackTab), key(KeyCode::Up)],
        "back",
        Hidden,
    ),
    row(C::Ask, Action::Answer, &[key(KeyCode::Enter)], "choose", Shown),
    row(C::Ask, Action::Yes, &[char('y')], "second answer", Hidden),
    row(C::Ask, Action::No, &[key(KeyCode::Esc), char('n')], "go back", Shown),
    row(
        C::Notice,
        Action::Back,
        &[key(KeyCode::Esc), key(KeyCode::Enter), char('q'), char('?')],
        "close",
        Shown,
    ),
    gated(
        C::Trades,
        Action::Next,
        &[key(KeyCode::Enter)],
        "next step",
        Hidden,
        has_next,
    ),
    gated(
        C::Trades,
        Action::Trade(TradeAction::Accept),
        &[char('a')],
        "accept",
        WhenPossible,
        |app| can(app, TradeAction::Accept),
    ),
    gated(
        C::Trades,
        Action::Trade(TradeAction::Fund),
        &[char('f')],
        "fund",
        WhenPossible,
        |app| can(app, TradeAction::Fund),
    ),
    gated(
        C::Trades,
        Action::Trade(TradeAction::MarkPaid),
        &[char('p')],
        "I have paid",
        WhenPossible,
        |app| can(app, TradeAction::MarkPaid),
    ),
    gated(
        C::Trades,
        Action::Trade(TradeAction::Release),
        &[char('r')],
        "release",
        WhenPossible,
        |app| can(app, TradeAction::Release),
    ),
    gated(
        C::Trades,
        Action::Trade(TradeAction::Cancel),
        &[char('c')],
        "cancel",
        WhenPossible,
        |app| can(app, TradeAction::Cancel),
    ),
    gated(
        C::Trades,
        Action::Trade(TradeAction::Refund),
        &[char('w')],
        "take back",
        WhenPossible,
        |app| can(app, TradeAction::Refund),
    ),
    gated(
        C::Trades,
        Action::Copy,
        &[char('y')],
        "copy details",
        WhenPossible,
        has_details,
    ),
    gated(
        C::Wallet,
        Action::Copy,
        &[char('c')],
        "copy address",
        Shown,
        has_address,
    ),
    gated(C::Wallet, Action::Send, &[char('s')], "send", Shown, unlocked),
    row(
        C::List,
        Action::Move(Step::Up),
        &[key(KeyCode::Up), char('k')],
        "up",
        Hidden,
    ),
    row(
        C::List,
        Action::Move(Step::Down),
        &[key(KeyCode::Down), char('j')],
        "down",
        Hidden,
    ),
    row(
        C::List,
        Action::Move(Step::PageUp),
        &[key(KeyCode::PageUp)],
        "page up",
        Hidden,
    ),
    row(
        C::List,
        Action::Move(Step::PageDown),
        &[key(KeyCode::PageDown)],
        "page down",
        Hidden,
    ),
    row(
        C::List,
        Action::Move(Step::Top),
        &[key(KeyCode::Home), char('g')],
        "first",
        Hidden,
    ),
    row(
        C::List,
        Action::Move(Step::Bottom),
        &[key(KeyCode::End), char('G')],
        "last",
        Hidden,
    ),
    row(C::Screens, Action::Show(Tab::Book), &[char('1')], "book", Hidden),
    row(
        C::Screens,
        Action::Show(Tab::Post),
        &[char('2')],
        "post an offer",
        Hidden,
    ),
    row(
        C::Screens,
        Action::Show(Tab::Take),
        &[char('3')],
        "take an offer",
        Hidden,
    ),
    row(C::Screens, Action::Show(Tab::Trades), &[char('4')], "my trades", Hidden),
    row(C::Screens, Action::Show(Tab::Wallet), &[char('5')], "wallet", Hidden),
    row(
        C::Screens,
        Action::Show(Tab::Network),
        &[char('6')],
        "peers and log",
        Hidden,
    ),
    gated(
        C::Screens,
        Action::Identity,
        &[char('i')],
        "identity",
        WhenPossible,
        lacks_identity,
    ),
    row(C::Screens, Action::Help, &[char('?')], "help", Shown),
    row(C::Screens, Action::Quit, &[char('q')], "quit", Shown),
    row(C::Waiting, Action::Quit, &[char('q'), key(KeyCode::Esc)], "quit", Shown),
    row(C::Always, Action::Help, &[key(KeyCode::F(1))], "help", Hidden),
    row(C::Always, Action::Quit, &[ctrl('c')], "quit", Hidden),
];

/// Returns the row for a key, the innermost context first.
pub fn find(app: &App, event: &KeyEvent) -> Option<&'static Entry> {
    entries(app).find(|entry| entry.keys.iter().any(|key| key.is(event)))
}

/// Returns the rows that count now, the innermost context first.
pub fn entries(app: &App) -> impl Iterator<Item = &'static Entry> {
    app.contexts()
        .into_iter()
        .flat_map(|context| TABLE.iter().filter(move |entry| entry.context == context))
}

fn always(_: &App) -> Availability {
    Ok(())
}

fn offer_selected(app: &App) -> Availability {
    app.book.selection().map(drop).ok_or(words::why::NO_OFFER)
}

fn can_take(app: &App) -> Availability {
    let offer = app.book.selection().ok_or(words::why::NO_OFFER)?;
    if offer.mine {
        return Err(words::why::OWN_OFFER);
    }
    unlocked(app)
}

fn can_withdraw(app: &App) -> Availability {
    let offer = app.book.selection().ok_or(words::why::NO_OFFER)?;
    if offer.mine {
        unlocked(app)
    } else {
        Err(words::why::NOT_OWN_OFFER)
    }
}

fn unlocked(app: &App) -> Availability {
    if app.is_unlocked() {
        Ok(())
    } else {
        Err(words::why::NO_IDENTITY)
    }
}

fn lacks_identity(app: &App) -> Availability {
    if app.is_unlocked() {
        Err(words::why::HAS_IDENTITY)
    } else {
        Ok(())
    }
}

fn makes_identity(app: &App) -> Availability {
    if app.gate.stage() == Stage::Create {
        Ok(())
    } else {
        Err(words::why::HAS_IDENTITY)
    }
}

fn has_next(app: &App) -> Availability {
    let trade = app.trades.selection().ok_or(words::why::NO_TRADE)?;
    trade.next.action.map(drop).ok_or(words::why::NOT_YOUR_TURN)
}

fn can(app: &App, action: TradeAction) -> Availability {
    let trade = app.trades.selection().ok_or(words::why::NO_TRADE)?;
    if trade.actions.contains(&action) {
        Ok(())
    } else {
        Err(words::why::NOT_NOW)
    }
}

fn has_details(app: &App) -> Availability {
    let trade = app.trades.selection().ok_or(words::why::NO_TRADE)?;
    trade.their_details.as_ref().map(drop).ok_or(words::why::NO_DETAILS)
}

fn has_address(app: &App) -> Availability {
    app.wallet.address.as_ref().map(drop).ok_or(words::why::NO_IDENTITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_context() {
        for (at, entry) in TABLE.iter().enumerate() {
            for other in &TABLE[at + 1..] {
                let clash = entry.context == other.context && entry.keys.iter().any(|key| other.keys.contains(key));
                assert!(!clash, "{:?} and {:?}", entry.action, other.action);
            }
        }
    }
}
