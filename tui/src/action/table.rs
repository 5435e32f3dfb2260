//! The rows of the table, and when each can be done.

use crossterm::event::KeyCode;
use exchange_api::{Action as TradeAction, CoinUse, Role, Side};

use super::Context as C;
use super::Footer::{Hidden, Shown, WhenPossible};
use super::{Action, Availability, Context, Entry, Footer, Key, Step, char, ctrl, key};
use crate::app::gate::Stage;
use crate::app::{App, Tab};
use crate::message::Connection;
use crate::words;

/// The table.
pub static TABLE: &[Entry] = &[
    gated(C::Book, Action::Open, &[key(KeyCode::Enter)], "terms", Shown, offer_selected),
    gated(C::Book, Action::Take, &[char('t')], "take", WhenPossible, can_take),
    gated(C::Book, Action::Withdraw, &[char('x')], "withdraw", WhenPossible, can_withdraw),
    row(C::Book, Action::Filter, &[char('/')], "filter", Shown),
    row(C::Book, Action::Side(Some(Side::Buy)), &[char('b')], "you buy", Shown),
    row(C::Book, Action::Side(Some(Side::Sell)), &[char('s')], "you sell", Shown),
    row(C::Book, Action::Side(None), &[char('a')], "all", Shown),
    row(C::Book, Action::Currency, &[char('c')], "currency", Shown),
    row(C::Book, Action::Away, &[char('o')], "also makers who are away", Hidden),
    gated(C::Offer, Action::Take, &[key(KeyCode::Enter), char('t')], "take this offer", WhenPossible, can_take),
    gated(C::Offer, Action::Withdraw, &[char('x')], "withdraw", WhenPossible, can_withdraw),
    row(C::Offer, Action::Move(Step::Up), &[key(KeyCode::Up), char('k')], "previous", Hidden),
    row(C::Offer, Action::Move(Step::Down), &[key(KeyCode::Down), char('j')], "next", Hidden),
    row(C::Offer, Action::Scroll(Step::PageDown), &[key(KeyCode::PageDown)], "read on", Hidden),
    row(C::Offer, Action::Scroll(Step::PageUp), &[key(KeyCode::PageUp)], "read back", Hidden),
    row(C::Offer, Action::Back, &[key(KeyCode::Esc), key(KeyCode::Backspace)], "back", Shown),
    row(C::Filter, Action::FilterDone, &[key(KeyCode::Enter)], "keep", Shown),
    row(C::Filter, Action::FilterClear, &[key(KeyCode::Esc)], "clear", Shown),
    row(C::Choice, Action::Choose(true), &[key(KeyCode::Right), char(' ')], "change", Shown),
    row(C::Choice, Action::Choose(false), &[key(KeyCode::Left)], "change back", Hidden),
    row(C::Chat, Action::Enter, &[key(KeyCode::Enter)], "send", Shown),
    row(C::Chat, Action::Scroll(Step::PageUp), &[key(KeyCode::PageUp)], "earlier", Shown),
    row(C::Chat, Action::Scroll(Step::PageDown), &[key(KeyCode::PageDown)], "later", Shown),
    row(C::Reading, Action::Scroll(Step::Down), &[key(KeyCode::Down), char('j')], "read on", Shown),
    row(C::Reading, Action::Scroll(Step::Up), &[key(KeyCode::Up), char('k')], "read back", Hidden),
    row(C::Reading, Action::Scroll(Step::PageDown), &[key(KeyCode::PageDown), char(' ')], "a page on", Hidden),
    row(C::Reading, Action::Scroll(Step::PageUp), &[key(KeyCode::PageUp)], "a page back", Hidden),
    row(C::Reading, Action::Back, &[key(KeyCode::Esc), key(KeyCode::Enter), char('q'), char('t')], "close", Shown),
    row(C::Form, Action::NextField, &[key(KeyCode::Tab), key(KeyCode::Down)], "next field", Hidden),
    row(C::Form, Action::PreviousField, &[key(KeyCode::BackTab), key(KeyCode::Up)], "previous field", Hidden),
    row(C::Form, Action::Enter, &[key(KeyCode::Enter)], "next", Shown),
    gated(C::Gate, Action::Enter, &[key(KeyCode::Enter)], "next", WhenPossible, gate_asks),
    gated(C::Gate, Action::Reveal, &[ctrl('t')], "show or hide", WhenPossible, gate_asks),
    gated(C::Gate, Action::Another, &[ctrl('n')], "another passphrase", WhenPossible, shows_passphrase),
    gated(C::Gate, Action::Skip, &[key(KeyCode::Esc)], "only watch", WhenPossible, gate_asks),
    row(C::Form, Action::Leave, &[key(KeyCode::Esc)], "leave", Shown),
    row(C::Form, Action::Help, &[key(KeyCode::F(1))], "help", Shown),
    row(C::Rest, Action::NextField, &[key(KeyCode::Enter), key(KeyCode::Tab), key(KeyCode::Down)], "fill in", Shown),
    row(C::Rest, Action::Back, &[key(KeyCode::Esc)], "back to the book", Hidden),
    row(C::Empty, Action::Back, &[key(KeyCode::Enter), key(KeyCode::Esc)], "to the book", Shown),
    row(
        C::Ask,
        Action::Turn(true),
        &[key(KeyCode::Right), key(KeyCode::Tab), key(KeyCode::Down)],
        "other answer",
        Shown,
    ),
    row(C::Ask, Action::Turn(false), &[key(KeyCode::Left), key(KeyCode::BackTab), key(KeyCode::Up)], "back", Hidden),
    row(C::Ask, Action::Answer, &[key(KeyCode::Enter)], "choose", Shown),
    row(C::Ask, Action::Yes, &[char('y')], "yes", Hidden),
    row(C::Ask, Action::No, &[key(KeyCode::Esc), char('n')], "go back", Shown),
    row(C::Notice, Action::Back, &[key(KeyCode::Esc), key(KeyCode::Enter), char('q'), char('?')], "close", Shown),
    gated(C::Trades, Action::Next, &[key(KeyCode::Enter)], "next step", Hidden, has_next),
    gated(C::Trades, Action::Trade(TradeAction::Accept), &[char('a')], "accept", WhenPossible, |app| {
        can(app, TradeAction::Accept)
    }),
    gated(C::Trades, Action::Trade(TradeAction::Fund), &[char('f')], "fund", WhenPossible, |app| {
        can(app, TradeAction::Fund)
    }),
    gated(C::Trades, Action::Trade(TradeAction::MarkPaid), &[char('p')], "I paid", WhenPossible, |app| {
        can(app, TradeAction::MarkPaid)
    }),
    gated(C::Trades, Action::Copy, &[char('y')], "copy", WhenPossible, has_details),
    gated(C::Trades, Action::Trade(TradeAction::Release), &[char('r')], "release", WhenPossible, |app| {
        can(app, TradeAction::Release)
    }),
    gated(C::Trades, Action::Trade(TradeAction::Cancel), &[char('c')], "cancel", WhenPossible, |app| {
        can(app, TradeAction::Cancel)
    }),
    gated(C::Trades, Action::Trade(TradeAction::Refund), &[char('w')], "take back", WhenPossible, |app| {
        can(app, TradeAction::Refund)
    }),
    gated(C::Trades, Action::Trade(TradeAction::Rule), &[char('v')], "rule", WhenPossible, |app| {
        can(app, TradeAction::Rule)
    }),
    gated(C::Trades, Action::Trade(TradeAction::Extend), &[char('e')], "more time", WhenPossible, |app| {
        can(app, TradeAction::Extend)
    }),
    gated(C::Trades, Action::Talk, &[char('m')], "messages", WhenPossible, can_talk),
    gated(C::Trades, Action::Contract, &[char('t')], "terms", WhenPossible, trade_selected),
    gated(C::Trades, Action::Trade(TradeAction::Dispute), &[char('d')], "dispute", WhenPossible, |app| {
        can(app, TradeAction::Dispute)
    }),
    gated(C::Trades, Action::Bump, &[char('b')], "pay more", WhenPossible, can_bump_trade),
    gated(C::Trades, Action::Disclose, &[char('s')], "show arbiter", WhenPossible, can_disclose),
    gated(C::Wallet, Action::Copy, &[char('c')], "copy address", Shown, has_address),
    gated(C::Wallet, Action::Send, &[char('s')], "send", Shown, unlocked),
    gated(C::Wallet, Action::Coins, &[char('o')], "coins", Shown, unlocked),
    gated(C::Wallet, Action::Mark, &[char(' ')], "choose", WhenPossible, can_mark),
    gated(C::Wallet, Action::Freeze, &[char('f')], "freeze", WhenPossible, can_freeze),
    gated(C::Wallet, Action::Bump, &[char('b')], "pay more", WhenPossible, can_bump_tx),
    gated(C::Wallet, Action::CancelPayment, &[char('x')], "cancel", WhenPossible, can_cancel),
    gated(C::Wallet, Action::Label, &[char('l')], "label", WhenPossible, can_label),
    row(C::Network, Action::Connect, &[char('c')], "connect to a peer", Shown),
    row(C::List, Action::Move(Step::Up), &[key(KeyCode::Up), char('k')], "up", Hidden),
    row(C::List, Action::Move(Step::Down), &[key(KeyCode::Down), char('j')], "down", Hidden),
    row(C::List, Action::Move(Step::PageUp), &[key(KeyCode::PageUp)], "page up", Hidden),
    row(C::List, Action::Move(Step::PageDown), &[key(KeyCode::PageDown)], "page down", Hidden),
    row(C::List, Action::Move(Step::Top), &[key(KeyCode::Home), char('g')], "first", Hidden),
    row(C::List, Action::Move(Step::Bottom), &[key(KeyCode::End), char('G')], "last", Hidden),
    row(C::Screens, Action::Show(Tab::Book), &[char('1')], "book", Hidden),
    row(C::Screens, Action::Show(Tab::Post), &[char('2')], "post an offer", Hidden),
    row(C::Screens, Action::Show(Tab::Take), &[char('3')], "take an offer", Hidden),
    row(C::Screens, Action::Show(Tab::Trades), &[char('4')], "my trades", Hidden),
    row(C::Screens, Action::Show(Tab::Wallet), &[char('5')], "wallet", Hidden),
    row(C::Screens, Action::Show(Tab::Network), &[char('6')], "peers and log", Hidden),
    gated(C::Screens, Action::Identity, &[char('i')], "identity", WhenPossible, lacks_identity),
    row(C::Screens, Action::Help, &[char('?')], "help", Shown),
    row(C::Screens, Action::Quit, &[char('q')], "quit", Shown),
    gated(C::Waiting, Action::Retry, &[char('r')], "try again", WhenPossible, has_failed),
    row(C::Waiting, Action::Quit, &[char('q'), key(KeyCode::Esc)], "quit", Shown),
    row(C::Always, Action::Help, &[key(KeyCode::F(1))], "help", Hidden),
    row(C::Always, Action::Quit, &[ctrl('c')], "quit", Hidden),
];

const fn row(context: Context, action: Action, keys: &'static [Key], name: &'static str, footer: Footer) -> Entry {
    Entry { context, action, keys, name, footer, when: always }
}

const fn gated(
    context: Context,
    action: Action,
    keys: &'static [Key],
    name: &'static str,
    footer: Footer,
    when: fn(&App) -> Availability,
) -> Entry {
    Entry { context, action, keys, name, footer, when }
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
    if offer.mine { unlocked(app) } else { Err(words::why::NOT_OWN_OFFER) }
}

fn unlocked(app: &App) -> Availability {
    if app.is_unlocked() { Ok(()) } else { Err(words::why::NO_IDENTITY) }
}

fn lacks_identity(app: &App) -> Availability {
    if app.is_unlocked() { Err(words::why::HAS_IDENTITY) } else { Ok(()) }
}

fn gate_asks(app: &App) -> Availability {
    if app.is_making_keys() { Err(words::why::MAKING_KEYS) } else { Ok(()) }
}

fn shows_passphrase(app: &App) -> Availability {
    gate_asks(app)?;
    match app.gate.stage() {
        Stage::Create if app.gate.uses_passphrase() => Ok(()),
        Stage::Create => Err(words::why::OWN_PASSWORD),
        Stage::Open | Stage::Unlock | Stage::Deriving => Err(words::why::HAS_IDENTITY),
    }
}

fn has_next(app: &App) -> Availability {
    let trade = app.trades.selection().ok_or(words::why::NO_TRADE)?;
    trade.next.action.map(drop).ok_or(words::why::NOT_YOUR_TURN)
}

fn can(app: &App, action: TradeAction) -> Availability {
    let trade = app.trades.selection().ok_or(words::why::NO_TRADE)?;
    if trade.actions.contains(&action) { Ok(()) } else { Err(words::why::NOT_NOW) }
}

fn has_details(app: &App) -> Availability {
    let trade = app.trades.selection().ok_or(words::why::NO_TRADE)?;
    if !trade.actions.contains(&TradeAction::MarkPaid) {
        return Err(words::why::NOTHING_TO_PAY);
    }
    trade.their_details.as_ref().map(drop).ok_or(words::why::NOT_HERE)
}

fn can_talk(app: &App) -> Availability {
    let trade = app.trades.selection().ok_or(words::why::NO_TRADE)?;
    // From the agreement on there are keys to seal to.
    trade.escrow_address.as_ref().map(drop).ok_or(words::why::NOT_AGREED)
}

fn trade_selected(app: &App) -> Availability {
    app.trades.selection().map(drop).ok_or(words::why::NO_TRADE)
}

/// As the node allows it: a party, from the agreement on until nobody looks into the mailboxes any more.
fn can_disclose(app: &App) -> Availability {
    let trade = app.trades.selection().ok_or(words::why::NO_TRADE)?;
    match trade.role {
        Some(Role::Buyer | Role::Seller) => {}
        Some(Role::Arbiter) | None => return Err(words::why::NOT_A_PARTY),
    }
    trade.escrow_address.as_ref().ok_or(words::why::NOT_AGREED)?;
    if trade.state.is_final() { Err(words::why::IS_OVER) } else { Ok(()) }
}

fn can_mark(app: &App) -> Availability {
    let coin = app.wallet.coin().ok_or(words::why::NO_COIN)?;
    if coin.state == CoinUse::Spendable { Ok(()) } else { Err(words::why::NOT_SPENDABLE) }
}

fn can_freeze(app: &App) -> Availability {
    let coin = app.wallet.coin().ok_or(words::why::NO_COIN)?;
    if matches!(coin.state, CoinUse::Reserved { .. }) { Err(words::why::NOT_SPENDABLE) } else { Ok(()) }
}

fn can_label(app: &App) -> Availability {
    app.wallet.subject().map(drop).ok_or(words::why::NOTHING_TO_LABEL)
}

fn can_bump_tx(app: &App) -> Availability {
    let tx = app.wallet.tx().ok_or(words::why::NO_TRANSACTION)?;
    if tx.height.is_none() { Ok(()) } else { Err(words::why::IS_CONFIRMED) }
}

fn can_cancel(app: &App) -> Availability {
    app.wallet.cancellable().map(drop).ok_or(words::why::NOTHING_TO_CANCEL)
}

fn can_bump_trade(app: &App) -> Availability {
    let trade = app.trades.selection().ok_or(words::why::NO_TRADE)?;
    if trade.can_bump { Ok(()) } else { Err(words::why::NOTHING_WAITS) }
}

fn has_failed(app: &App) -> Availability {
    match app.connection {
        Connection::Failed(_) => Ok(()),
        Connection::Starting(_) | Connection::Up { .. } | Connection::Lost(_) => Err(words::why::STILL_TRYING),
    }
}

fn has_address(app: &App) -> Availability {
    unlocked(app)?;
    app.wallet.address.as_ref().map(drop).ok_or(words::why::NOT_HERE)
}
