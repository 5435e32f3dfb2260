//! Every screen and popup at the smallest and at a comfortable size. Look at them with your own eyes before accepting.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

mod common;

use common::{User, reply, review, talk, talk_of_arbiter, trade, trade_to_release, unlocked};
use crossterm::event::KeyCode;
use exchange_api::{
    Action, ApiError, Code, Conversation, IdentityState, PasswordStrength, Phase, Role, Sent, StrengthVerdict,
    TradeView,
};
use exchange_tui::app::App;
use exchange_tui::message::{Answer, CallName, Connection, Message, Password, Query, Reply};
use exchange_tui::theme::Theme;

/// Takes the picture of a screen at both sizes.
fn check(name: &str, user: &User) {
    for (width, height) in [(80, 24), (120, 40)] {
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), user.screen(width, height));
    }
}

#[test]
fn the_book() {
    let mut user = User::trading();
    check("book", &user);
    user.keys("j\n");
    check("book_terms", &user);
    user.key(KeyCode::Esc);
    user.keys("ob");
    check("book_you_buy", &user);
    user.keys("a/twint");
    check("book_filter", &user);
    user.keys("xx\n");
    check("book_narrowed", &user);
}

#[test]
fn an_empty_book() {
    let mut user = User::new(Theme::Colour, unlocked());
    check("book_asking", &user);
    let page = exchange_api::Page { items: Vec::new(), next: None };
    user.answer(exchange_tui::message::Query::Book, exchange_tui::message::Answer::Book(page));
    check("book_empty", &user);
}

#[test]
fn without_colours_the_selection_is_a_sign() {
    let mut user = User::trading();
    user.app.theme = Theme::Mono;
    check("mono_book", &user);
    user.keys("5");
    check("mono_wallet", &user);
}

#[test]
fn posting() {
    let mut user = User::trading();
    user.keys("2");
    check("post_empty", &user);
    user.keys(
        "\t\t51,000\t0.01\t0.05\tSEPA instant, Wise\tOnly from an account in your own name.\t\tAnn Example, DE89 3704",
    );
    check("post_filled", &user);
    user.keys("\t\t\t\n");
    check("post_confirm", &user);
    user.key(KeyCode::Esc);
    for _ in 0..8 {
        user.key(KeyCode::Up);
    }
    user.ctrl('u');
    user.keys("0.001");
    for _ in 0..8 {
        user.key(KeyCode::Down);
    }
    user.keys("\n");
    check("post_wrong", &user);
}

#[test]
fn taking() {
    let mut user = User::trading();
    user.keys("3");
    check("take_nothing", &user);
    user.keys("1t");
    check("take_form", &user);
    user.keys("\t\t\tAnn Example\t\n");
    reply(&mut user, CallName::Review, Ok(Reply::Review(review(Role::Buyer))));
    check("take_review_buy", &user);
    user.key(KeyCode::Esc);
    user.keys("1jjt\t\t\tAnn, DE89\t\n");
    let mut selling = review(Role::Seller);
    selling.offer = user.app.take.draft.as_ref().unwrap().offer.clone();
    selling.amount = selling.offer.min;
    reply(&mut user, CallName::Review, Ok(Reply::Review(selling)));
    check("take_review_sell", &user);
}

#[test]
fn trades() {
    let mut user = User::trading();
    user.keys("4");
    check("trade_pay", &user);
    user.keys("p");
    check("trade_pay_confirm", &user);
    user.key(KeyCode::Esc);
    user.keys("jr");
    check("trade_release_confirm", &user);
    user.key(KeyCode::Esc);
    check("trade_release", &user);
    user.keys("c");
    check("trade_cancel_confirm", &user);
    user.key(KeyCode::Esc);
    user.keys("j");
    check("trade_done", &user);
}

#[test]
fn bonds_are_seen_before_anything_is_agreed() {
    let mut user = User::trading();
    let mut offers = common::offers();
    (offers[0].seller_bond_ppm, offers[0].buyer_bond_ppm) = (100_000, 75_000);
    user.answer(Query::Book, Answer::Book(exchange_api::Page { items: offers, next: None }));
    check("bonds_book", &user);
    user.keys("\n");
    check("bonds_terms", &user);
    user.key(KeyCode::Esc);
    user.keys("t\t\t\tAnn Example\t\n");
    let (seller_bond, buyer_bond) = (common::sats(100_000), common::sats(75_000));
    let bonded = exchange_api::TakeReview { seller_bond, buyer_bond, ..review(Role::Buyer) };
    reply(&mut user, CallName::Review, Ok(Reply::Review(bonded)));
    check("bonds_review", &user);
    user.key(KeyCode::Esc);
    let next = exchange_api::NextStep {
        who: exchange_api::Actor::You,
        what: "set 0.00075000 BTC aside for the escrow: your bond".into(),
        until: None,
        otherwise: "either side can call it off; nothing moves before both have signed".into(),
        action: Some(Action::Fund),
    };
    let (actions, funding) = (vec![Action::Fund, Action::Cancel], None);
    let agreed = TradeView { seller_bond, buyer_bond, next, actions, funding, ..trade(1, Role::Buyer, Phase::Agreed) };
    user.answer(Query::Trades, Answer::Trades(vec![agreed]));
    user.keys("4");
    check("bonds_agreed", &user);
    user.keys("f");
    check("bonds_fund_confirm", &user);
}

#[test]
fn talking() {
    let mut user = User::trading();
    let unread = TradeView { unread: 2, ..trade(1, Role::Buyer, Phase::Funded) };
    user.answer(Query::Trades, Answer::Trades(vec![unread, trade_to_release()]));
    user.keys("4");
    check("trade_unread", &user);
    user.keys("m");
    let nothing = Conversation { messages: Vec::new(), unread: 0, ..talk() };
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(nothing)));
    check("chat_empty", &user);
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(talk())));
    user.keys("Mine is: Ann Example");
    check("chat", &user);
}

#[test]
fn an_arbiter_listens() {
    let mut user = User::trading();
    user.keys("4m");
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(talk_of_arbiter())));
    check("chat_arbiter", &user);
}

#[test]
fn an_arbiter_rules() {
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![common::case()]));
    user.keys("4");
    check("case", &user);
    user.keys("v");
    user.key(KeyCode::Left);
    user.keys("\t0.004\t");
    check("rule_form", &user);
    user.keys("\n");
    let mut weighed = common::case();
    weighed.dispute.as_mut().unwrap().ruling = Some(common::ruling());
    reply(&mut user, CallName::Weigh, Ok(Reply::Trade(weighed)));
    check("rule_confirm", &user);
}

#[test]
fn a_party_shows_the_arbiter_what_was_said() {
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![common::disputed()]));
    user.keys("4");
    check("disputed", &user);
    user.keys("s");
    reply(&mut user, CallName::ToShow, Ok(Reply::Disclosure(common::disclosure())));
    check("disclose_confirm", &user);
}

#[test]
fn a_loser_sees_what_the_arbiter_ruled() {
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![common::ruled()]));
    user.keys("4");
    check("trade_ruled", &user);
}

#[test]
fn a_bid_is_looked_at_before_it_is_accepted() {
    let mut user = User::trading();
    let my_details = Some("Max Mustermann, DE89 3704 0044".into());
    let bid = TradeView { actions: vec![Action::Accept], my_details, ..trade(1, Role::Seller, Phase::Bid) };
    user.answer(Query::Trades, Answer::Trades(vec![bid]));
    user.keys("4a");
    check("accept_form", &user);
}

#[test]
fn the_terms_of_a_trade_can_be_read_again() {
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![common::disputed()]));
    user.keys("4t");
    check("trade_terms", &user);
}

#[test]
fn help_in_messages_is_about_messages() {
    let mut user = User::trading();
    user.keys("4m");
    user.key(KeyCode::F(1));
    check("help_chat", &user);
}

#[test]
fn the_wallet() {
    let mut user = User::trading();
    user.keys("5");
    check("wallet", &user);
    user.keys("sbcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080\t0.25");
    check("wallet_send", &user);
    user.keys("\t12\trent\t\n");
    let priced = Sent {
        txid: "cd".repeat(32),
        amount: common::sats(25_000_000),
        fee: common::sats(1692),
        vsize: 141,
        coins: Vec::new(),
        broadcast: false,
    };
    reply(&mut user, CallName::Price, Ok(Reply::Sent(priced)));
    check("wallet_send_confirm", &user);
}

#[test]
fn the_coins() {
    let mut user = User::trading();
    user.keys("5oj ");
    check("wallet_coins", &user);
    user.keys("s");
    check("wallet_send_chosen", &user);
    user.key(KeyCode::Esc);
    user.keys("l");
    check("wallet_label", &user);
    user.key(KeyCode::Esc);
    user.keys("ob");
    check("wallet_bump", &user);
    user.keys("\n");
    let priced = exchange_api::BumpView {
        raised: "ab".repeat(32),
        txid: "cd".repeat(32),
        by: exchange_api::RaisedBy::Child,
        fee: common::sats(2_810),
        broadcast: false,
    };
    reply(&mut user, CallName::PriceBump, Ok(Reply::Bumped(priced)));
    check("wallet_bump_confirm", &user);
}

#[test]
fn peers_and_log() {
    let mut user = User::trading();
    user.keys("6");
    check("network", &user);
    user.keys("c");
    check("connect", &user);
}

#[test]
fn the_first_run() {
    let mut user = User::new(Theme::Colour, IdentityState::None);
    let words = zeroize::Zeroizing::new("crane opera velvet dune basket north".to_owned());
    reply(&mut user, CallName::Passphrase, Ok(Reply::Passphrase(Password(words))));
    user.keys("ann@example.org");
    check("gate_passphrase", &user);
    user.keys("\t");
    user.key(KeyCode::Right);
    user.keys("\thunter2");
    let strength = PasswordStrength {
        guesses_log10: 4,
        verdict: StrengthVerdict::Refused,
        advice: "This is a very common password. Add another word or two.".into(),
    };
    reply(&mut user, CallName::Strength, Ok(Reply::Strength(strength)));
    user.keys("\thunter3\t\n");
    check("gate_own_password", &user);
}

#[test]
fn making_the_keys() {
    let mut user = User::new(Theme::Colour, IdentityState::None);
    let words = zeroize::Zeroizing::new("crane opera".to_owned());
    reply(&mut user, CallName::Passphrase, Ok(Reply::Passphrase(Password(words))));
    user.keys("ann@example.org\t\tcrane opera\t\n");
    user.tick(30);
    check("gate_deriving", &user);
}

#[test]
fn unlocking() {
    let mut user = User::new(Theme::Colour, IdentityState::Locked);
    user.keys("wrong horse\n");
    let error = ApiError::new(Code::WrongPassword, "the password does not open the keystore", "try again");
    reply(&mut user, CallName::Unlock, Err(error));
    check("gate_wrong_password", &user);
    user.key(KeyCode::Esc);
    user.fill();
    check("watching", &user);
}

#[test]
fn errors_help_and_quitting() {
    let mut user = User::trading();
    user.keys("1t\t\t\tAnn\t\n");
    let error =
        ApiError::new(Code::OfferGone, "offer 01010101 was just taken by another", "choose another one in the book");
    reply(&mut user, CallName::Review, Err(error));
    check("error", &user);
    user.key(KeyCode::Esc);
    user.ctrl('c');
    check("quit", &user);
    user.key(KeyCode::Esc);
    user.keys("4");
    user.keys("4?");
    check("help_trades", &user);
}

#[test]
fn before_there_is_a_node() {
    let mut user = User::trading();
    user.send(Message::Connection(Connection::Lost("broken pipe".into())));
    check("lost", &user);
    let app = App::new(Theme::Colour, true, "test");
    let mut user = User { app, commands: Vec::new(), requests: HashMap::new() };
    user.tick(20);
    check("starting", &user);
    user.send(Message::Connection(Connection::Failed(
        "exchange-node was not found beside this program or in PATH".into(),
    )));
    check("failed", &user);
}

#[test]
fn a_small_window_says_so() {
    insta::assert_snapshot!("small", User::trading().screen(60, 12));
}
