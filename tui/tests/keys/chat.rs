//! What the people of a trade say to each other.

use crossterm::event::KeyCode;
use exchange_api::{Conversation, MessageView, Person, Phase, Role, SendMessage};
use exchange_tui::message::{Answer, Call, CallName, Command, Query, Reply};

use crate::common::{self, User, only_call, reply, trade, unreachable};

#[test]
fn a_line_is_said_once_to_whom_it_was_meant() {
    let mut user = User::trading();
    user.keys("4m");
    let Call::Talk(id) = only_call(&mut user) else { panic!("nothing was asked") };
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(common::talk())));
    user.pause();
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
    user.pause();
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

/// Opens the talk of a dispute in which this was said, and says something without choosing to whom.
fn says_in_dispute(messages: Vec<MessageView>) -> (User, Option<SendMessage>) {
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![common::disputed()]));
    user.keys("4m");
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(Conversation { messages, ..common::talk() })));
    user.taken_commands();
    user.pause();
    user.keys("here is my receipt\n");
    let said = user.taken_commands().into_iter().find_map(|command| match command {
        Command::Call(Call::Say(said)) => Some(said),
        Command::Call(_) | Command::Query(_) | Command::Copy(_) | Command::Retry | Command::Quit(_) => None,
    });
    (user, said)
}

#[test]
fn in_a_dispute_a_line_goes_to_whoever_spoke_last() {
    let mut messages = common::talk().messages;
    let (_, said) = says_in_dispute(messages.clone());
    assert_eq!(said.unwrap().to, Some(Person::Seller));
    messages.push(common::line(4, Person::Arbiter, Person::Buyer, 60, "Please send me the receipt."));
    messages.push(common::line(5, Person::Buyer, Person::Seller, 50, "I told you."));
    let (_, said) = says_in_dispute(messages);
    assert_eq!(said.unwrap().to, Some(Person::Arbiter));
}

#[test]
fn in_a_dispute_in_which_nobody_spoke_the_user_says_to_whom() {
    // The seller's payment details came by themselves.
    let details = common::talk().messages[..1].to_vec();
    let (mut user, said) = says_in_dispute(details);
    assert!(said.is_none(), "to nobody by one Enter");
    assert!(user.screen(80, 24).contains("✗ to whom?"), "{}", user.screen(80, 24));
    user.key(KeyCode::Right);
    user.key(KeyCode::Right);
    user.keys("\t\n");
    let Call::Say(said) = only_call(&mut user) else { panic!("nothing was said") };
    assert_eq!((said.to, said.text.as_str()), (Some(Person::Arbiter), "here is my receipt"));
}

#[test]
fn nobody_talks_before_there_is_an_agreement() {
    let mut user = User::trading();
    let bid = exchange_api::TradeView { escrow_address: None, ..trade(1, Role::Buyer, Phase::Bid) };
    user.answer(Query::Trades, Answer::Trades(vec![bid]));
    user.keys("4m");
    assert!(user.app.popups.is_empty() && user.screen(80, 24).contains("nothing is agreed on yet"));
}
