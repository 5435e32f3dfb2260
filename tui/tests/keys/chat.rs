//! What the people of a trade say to each other.

use crossterm::event::KeyCode;
use exchange_api::{Person, Phase, Role};
use exchange_tui::message::{Answer, Call, CallName, Query, Reply};

use crate::common::{self, User, only_call, reply, trade, unreachable};

#[test]
fn a_line_is_said_once_to_whom_it_was_meant() {
    let mut user = User::trading();
    user.keys("4m");
    let Call::Talk(id) = only_call(&mut user) else { panic!("nothing was asked") };
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(common::talk())));
    // To the arbiter: back to the choice, one further, and again to the text.
    user.key(KeyCode::BackTab);
    user.key(KeyCode::Right);
    user.keys("\tq4m is text here\n");
    let Call::Say(said) = only_call(&mut user) else { panic!("nothing was said") };
    assert_eq!((said.trade, said.to, said.text.as_str()), (id, Some(Person::Arbiter), "q4m is text here"));
    user.keys("\n");
    assert!(user.taken_commands().is_empty(), "one thing happens at a time");

    // The node was not heard: the same line keeps its id, so that it is not said twice.
    reply(&mut user, CallName::Say, Err(unreachable()));
    user.key(KeyCode::Esc);
    user.keys("\n");
    let Call::Say(again) = only_call(&mut user) else { panic!("nothing was said again") };
    assert_eq!(again.request_id, said.request_id);
    let sent = common::line(4, Person::Buyer, Person::Arbiter, 0, "q4m is text here");
    reply(&mut user, CallName::Say, Ok(Reply::Said(sent)));
    user.taken_commands();
    user.keys("\n");
    assert!(user.taken_commands().is_empty(), "there is nothing more to send");
    assert!(user.screen(80, 24).contains("q4m is text here"));
    user.key(KeyCode::Esc);
    assert!(user.app.popups.is_empty());
}

#[test]
fn nobody_talks_before_there_is_an_agreement() {
    let mut user = User::trading();
    let bid = exchange_api::TradeView { escrow_address: None, ..trade(1, Role::Buyer, Phase::Bid) };
    user.answer(Query::Trades, Answer::Trades(vec![bid]));
    user.keys("4m");
    assert!(user.app.popups.is_empty() && user.screen(80, 24).contains("nothing is agreed on yet"));
}
