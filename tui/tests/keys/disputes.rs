//! What an arbiter decides, and what he is shown.

use crossterm::event::KeyCode;
use exchange_api::{Action, Person, Phase, Role, TradeId, Verdict};
use exchange_tui::message::{Answer, Call, CallName, Command, Query, Reply};

use crate::common::{self, User, only_call, reply, trade};

#[test]
fn a_ruling_is_weighed_before_it_is_asked_about() {
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![common::case()]));
    user.keys("4v");
    user.taken_commands();
    user.key(KeyCode::Left);
    user.keys("\t\t\n");
    assert!(user.taken_commands().is_empty(), "a split needs a part");
    user.keys("0.004\t\n");
    let Call::Weigh(weighed) = only_call(&mut user) else { panic!("not weighed") };
    assert_eq!((weighed.dry_run, weighed.verdict), (true, Verdict::Split(common::sats(400_000))));
    let mut view = common::case();
    view.dispute.as_mut().unwrap().ruling = Some(common::ruling());
    reply(&mut user, CallName::Weigh, Ok(Reply::Trade(view)));
    user.taken_commands();
    user.pause();
    user.keys("y");
    let Call::Rule(ruled) = only_call(&mut user) else { panic!("not ruled") };
    assert_eq!((ruled.dry_run, ruled.verdict), (false, Verdict::Split(common::sats(400_000))));
    reply(&mut user, CallName::Trade(Action::Rule), Ok(Reply::Trade(common::case())));
    assert!(user.app.popups.is_empty());
}

#[test]
fn an_arbiter_is_shown_what_was_said_only_after_the_user_saw_what() {
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![common::disputed()]));
    user.keys("4");
    assert!(user.screen(80, 24).contains("Press  s  to show him what was said"), "{}", user.screen(80, 24));
    user.taken_commands();
    user.keys("s");
    let Call::ToShow(asked) = only_call(&mut user) else { panic!("nothing was asked") };
    assert_eq!((asked.dry_run, asked.trade, asked.second), (true, TradeId([1; 32]), false));
    reply(&mut user, CallName::ToShow, Ok(Reply::Disclosure(common::disclosure())));
    let screen = user.screen(80, 24);
    assert!(screen.contains("Alice the Arbiter (the arbiter) gets 3 messages"), "{screen}");
    assert!(screen.contains("the other's payment details: Max Mustermann, IBAN DE89 3704"), "{screen}");
    assert!(screen.contains("▸ [ No, go back ]"), "{screen}");
    user.keys("\n");
    assert!(user.taken_commands().is_empty(), "no is the default");

    user.keys("s");
    user.taken_commands();
    reply(&mut user, CallName::ToShow, Ok(Reply::Disclosure(common::disclosure())));
    user.pause();
    user.keys("y");
    let Call::Disclose(wanted) = only_call(&mut user) else { panic!("nothing was shown") };
    assert_eq!((wanted.dry_run, wanted.trade, wanted.second), (false, TradeId([1; 32]), false));
    reply(&mut user, CallName::Disclose, Ok(Reply::Disclosure(common::disclosure())));
    let screen = user.screen(80, 24);
    assert!(screen.contains("✓ 3 messages shown to Alice the Arbiter (the arbiter)."), "{screen}");
    assert!(screen.contains("You have shown the arbiter what was said."), "it is done: {screen}");
    assert!(!screen.contains("to show him what was said"), "{screen}");

    // All of it was shown: nothing is asked.
    user.keys("s");
    let nothing = exchange_api::Disclosure { messages: Vec::new(), before: 3, ..common::disclosure() };
    reply(&mut user, CallName::ToShow, Ok(Reply::Disclosure(nothing)));
    assert!(user.app.popups.is_empty());
    assert!(user.screen(80, 24).contains("He was shown everything already."));

    // What the other says later he was not shown.
    user.keys("m");
    let read = exchange_api::Conversation { unread: 0, ..common::talk() };
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(read)));
    user.key(KeyCode::Esc);
    assert!(!user.screen(80, 24).contains("to show him what was said"), "nothing new was said");
    user.keys("m");
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(common::talk())));
    user.key(KeyCode::Esc);
    assert!(user.screen(80, 24).contains("to show him what was said"), "{}", user.screen(80, 24));
}

#[test]
fn where_there_are_two_arbiters_the_user_says_which() {
    let mut user = User::trading();
    let second_arbiter = Some(common::stranger("Zürich Desk", 10_000));
    let disputed = exchange_api::TradeView { second_arbiter, ..common::disputed() };
    user.answer(Query::Trades, Answer::Trades(vec![disputed]));
    user.keys("4s");
    user.taken_commands();
    user.key(KeyCode::Right);
    user.keys("\n");
    let Call::ToShow(asked) = only_call(&mut user) else { panic!("nothing was asked") };
    assert!(asked.second);
    // What the first would see is the answer to another question.
    reply(&mut user, CallName::ToShow, Ok(Reply::Disclosure(common::disclosure())));
    assert!(user.app.ask().is_none());
    user.keys("\n");
    user.taken_commands();
    let would = exchange_api::Disclosure { to: Person::SecondArbiter, ..common::disclosure() };
    reply(&mut user, CallName::ToShow, Ok(Reply::Disclosure(would)));
    user.pause();
    user.keys("y");
    assert!(matches!(only_call(&mut user), Call::Disclose(request) if request.second && !request.dry_run));
}

#[test]
fn whoever_cannot_show_anything_is_told_why() {
    let told = |trade: exchange_api::TradeView| {
        let mut user = User::trading();
        user.answer(Query::Trades, Answer::Trades(vec![trade]));
        user.taken_commands();
        user.keys("4s");
        assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))));
        user.screen(80, 24)
    };
    assert!(told(common::case()).contains("only buyer and seller can"));
    assert!(told(common::trade_done()).contains("the trade is over"));
    let bid = exchange_api::TradeView { escrow_address: None, ..trade(1, Role::Buyer, Phase::Bid) };
    assert!(told(bid).contains("nothing is agreed on yet"));
}

#[test]
fn a_question_that_nobody_waits_for_is_not_asked() {
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![common::disputed(), common::case()]));
    user.keys("4s5");
    reply(&mut user, CallName::ToShow, Ok(Reply::Disclosure(common::disclosure())));
    assert!(user.app.popups.is_empty(), "he is somewhere else");

    let other = exchange_api::TradeView { id: TradeId([2; 32]), ..common::disputed() };
    user.answer(Query::Trades, Answer::Trades(vec![common::disputed(), other]));
    user.keys("4sj");
    reply(&mut user, CallName::ToShow, Ok(Reply::Disclosure(common::disclosure())));
    assert!(user.app.popups.is_empty(), "he looks at another trade");
    user.keys("5");

    user.keys("sbcrt1qexample\t0.1\t\t\t\n");
    user.key(KeyCode::Esc);
    reply(&mut user, CallName::Price, Ok(Reply::Sent(common::priced())));
    assert!(user.app.popups.is_empty(), "he has left the form");
}
