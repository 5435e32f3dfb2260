//! Payments, coins, labels and fees.

use crossterm::event::KeyCode;
use exchange_api::{ApiError, Code, Person, RequestId};
use exchange_tui::message::{Bump, Call, CallName, Command, Reply};

use crate::common::{self, User, only_call, priced, reply, unreachable};

#[test]
fn an_error_keeps_what_was_typed() {
    let mut user = User::trading();
    user.keys("s1s");
    user.keys("5s");
    user.keys("bcrt1qexample\t0.1\t\t\t\n");
    assert!(matches!(only_call(&mut user), Call::Price(request) if request.dry_run));
    reply(&mut user, CallName::Price, Err(ApiError::new(Code::InvalidArgument, "not an address", "check it")));
    assert!(user.screen(80, 24).contains("Not an address."));
    user.key(KeyCode::Esc);
    assert!(user.screen(80, 24).contains("bcrt1qexample"));
}

#[test]
fn coins_are_sent_only_after_their_price_was_seen() {
    let mut user = User::trading();
    user.keys("5sbcrt1qexample\t0.1\t\t\t\n");
    only_call(&mut user);
    reply(&mut user, CallName::Price, Ok(Reply::Sent(priced())));
    assert!(user.screen(80, 24).contains("141 sat"));
    user.keys("y");
    let Call::Send(request) = only_call(&mut user) else { panic!("not sent") };
    assert!(!request.dry_run && !request.request_id.is_empty());
    reply(&mut user, CallName::Send, Ok(Reply::Sent(priced())));
    assert!(user.app.popups.is_empty());
}

#[test]
fn a_price_is_never_taken_for_that_of_another_payment() {
    let mut user = User::trading();
    user.keys("5sbcrt1qexample\t0.1\t\t\t\n");
    let Call::Price(first) = only_call(&mut user) else { panic!("not priced") };
    // While the node works it out the user types another amount, and presses the button again.
    user.key(KeyCode::BackTab);
    user.key(KeyCode::BackTab);
    user.key(KeyCode::BackTab);
    user.ctrl('u');
    user.keys("10\t\t\t\n");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))));
    reply(&mut user, CallName::Price, Ok(Reply::Sent(priced())));
    user.keys("y");
    let Call::Send(sent) = only_call(&mut user) else { panic!("not sent") };
    assert_eq!(sent.amount, first.amount, "what he saw the price of");
}

#[test]
fn chosen_coins_are_sent_and_no_others_and_a_senseless_feerate_is_not_asked_for() {
    let mut user = User::trading();
    // The frozen coin cannot be chosen, the next can.
    user.keys("5o ");
    assert!(user.app.wallet.chosen.is_empty());
    user.keys("j s");
    user.keys("bcrt1qexample\tall\t501\trent\t\n");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))));
    assert!(user.screen(80, 24).contains("from 1 to 500"));
    // What is wrong has the focus.
    user.key(KeyCode::Backspace);
    user.keys("\t\t\n");
    let Call::Price(request) = only_call(&mut user) else { panic!("not priced") };
    assert_eq!((request.fee.fee_rate, request.amount, request.label.as_str()), (Some(50), None, "rent"));
    assert_eq!(request.coins, [format!("{}:0", "bb".repeat(32))]);
}

#[test]
fn a_coin_is_frozen_and_freed_and_labelled() {
    let mut user = User::trading();
    user.keys("5of");
    let Call::Freeze(request) = only_call(&mut user) else { panic!("not freed") };
    assert!(!request.frozen, "it was frozen");
    reply(&mut user, CallName::Freeze, Ok(Reply::Coins(Vec::new())));
    user.taken_commands();
    user.keys("jf");
    assert!(matches!(only_call(&mut user), Call::Freeze(request) if request.frozen));
    reply(&mut user, CallName::Freeze, Ok(Reply::Coins(Vec::new())));
    user.taken_commands();
    user.keys("lholiday\n");
    let Call::Label(label) = only_call(&mut user) else { panic!("not labelled") };
    assert_eq!((label.subject, label.label.as_str()), (format!("{}:0", "bb".repeat(32)), "holiday"));
    reply(&mut user, CallName::Label, Ok(Reply::Labelled));
    assert!(user.app.popups.is_empty());
}

#[test]
fn a_fee_is_raised_only_after_its_price_was_seen() {
    let mut user = User::trading();
    user.keys("5b");
    assert!(user.screen(80, 24).contains("12"), "what the chain asks is suggested");
    user.keys("\n");
    let Call::PriceBump(Bump::Tx(request)) = only_call(&mut user) else { panic!("not priced") };
    assert!(request.dry_run && request.fee.fee_rate == Some(12));
    let priced = exchange_api::BumpView {
        raised: request.txid,
        txid: "cd".repeat(32),
        by: exchange_api::RaisedBy::Replacement,
        fee: common::sats(1_692),
        broadcast: false,
    };
    reply(&mut user, CallName::PriceBump, Ok(Reply::Bumped(priced.clone())));
    assert!(user.screen(80, 24).contains("1,692 sat"));
    user.keys("y");
    let Call::Bump(Bump::Tx(request)) = only_call(&mut user) else { panic!("not raised") };
    assert!(!request.dry_run && !request.request_id.is_empty());
    reply(&mut user, CallName::Bump, Ok(Reply::Bumped(priced)));
    assert!(user.app.popups.is_empty());
    // What is confirmed needs no more.
    user.taken_commands();
    user.keys("jb");
    assert!(user.app.popups.is_empty());
}

/// Pays 0.1 BTC, up to what the node is asked to do; returns under which id.
fn paid(user: &mut User) -> RequestId {
    user.keys("5sbcrt1qexample\t0.1\t\t\t\n");
    let Call::Price(asked) = only_call(user) else { panic!("not priced") };
    reply(user, CallName::Price, Ok(Reply::Sent(priced())));
    user.keys("y");
    let Call::Send(request) = only_call(user) else { panic!("not sent") };
    assert!(!request.request_id.is_empty());
    assert_eq!(asked.request_id, request.request_id, "it is priced under the id that it has");
    request.request_id
}

#[test]
fn a_payment_that_may_have_been_made_keeps_its_id_whatever_is_done_in_between() {
    let kept = ApiError::new(Code::ChainUnreachable, "it is signed and kept; do not send it a second time", "");
    for failure in [unreachable(), kept] {
        let mut user = User::trading();
        let first = paid(&mut user);
        reply(&mut user, CallName::Send, Err(failure));
        user.key(KeyCode::Esc);
        user.key(KeyCode::Esc);
        user.keys("4m");
        assert!(matches!(only_call(&mut user), Call::Talk(_)));
        reply(&mut user, CallName::Talk, Ok(Reply::Talk(common::talk())));
        user.keys("hello\n");
        assert!(matches!(only_call(&mut user), Call::Say(_)));
        let line = common::line(4, Person::Buyer, Person::Seller, 0, "hello");
        reply(&mut user, CallName::Say, Ok(Reply::Said(line)));
        user.key(KeyCode::Esc);
        user.taken_commands();
        assert_eq!(paid(&mut user), first, "the same payment, tried again");
        reply(&mut user, CallName::Send, Ok(Reply::Sent(priced())));
        assert_ne!(paid(&mut user), first, "another one");
    }
}
