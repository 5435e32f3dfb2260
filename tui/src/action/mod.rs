//! The one table of keys: it feeds the dispatcher, the footer and the help, so that they cannot disagree.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use exchange_api::{Action as TradeAction, CoinUse};

use crate::app::{App, Tab};
use crate::words;

mod table;

pub use table::TABLE;

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
    /// Shows what was said in the selected trade.
    Talk,
    /// Scrolls through what was said, or through a text.
    Scroll(Step),
    /// Shows an arbiter what was said in the selected trade.
    Disclose,
    /// Shows what was agreed on in the selected trade.
    Contract,
    /// Shows the coins, or the transactions again.
    Coins,
    /// Chooses the selected coin for the next payment, or no more.
    Mark,
    /// Freezes the selected coin, or frees it.
    Freeze,
    /// Says what the selected transaction or coin is for.
    Label,
    /// Raises the fee of the selected transaction or trade.
    Bump,
    /// Cancels the selected payment, or that for which the selected coin is set aside.
    CancelPayment,
    /// Connects to a peer.
    Connect,
    /// Looks for the node, and starts it, once more.
    Retry,
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
    /// On what was said in a trade.
    Chat,
    /// On a text to read.
    Reading,
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
    Key { code: KeyCode::Char(c), ctrl: true }
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
    /// What it is called, see [`Entry::does`].
    pub name: &'static str,
    /// Whether the footer shows it.
    pub footer: Footer,
    /// Whether it can be done now.
    pub when: fn(&App) -> Availability,
}

impl Entry {
    /// Returns what it does now: Enter goes on in a form until it presses the button, and some keys do a thing and undo it.
    pub fn does(&self, app: &App) -> String {
        if self.action == Action::Enter {
            return app.pressed_by_enter().map_or_else(|| words::NEXT_FIELD.to_owned(), uncapitalised);
        }
        if self.action == Action::Coins && app.wallet.shows_coins {
            return words::wallet::HISTORY.to_owned();
        }
        if self.action == Action::Freeze && app.wallet.coin().is_some_and(|coin| coin.state == CoinUse::Frozen) {
            return words::wallet::UNFREEZE.to_owned();
        }
        self.name.to_owned()
    }
}

/// Returns the words of a button as they stand among the names of keys.
fn uncapitalised(button: &str) -> String {
    let mut chars = button.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
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

/// Returns the row for a key, the innermost context first.
pub fn find(app: &App, event: &KeyEvent) -> Option<&'static Entry> {
    entries(app).find(|entry| entry.keys.iter().any(|key| key.is(event)))
}

/// Returns the rows that count now, the innermost context first.
pub fn entries(app: &App) -> impl Iterator<Item = &'static Entry> {
    app.contexts().into_iter().flat_map(|context| TABLE.iter().filter(move |entry| entry.context == context))
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
