//! What is the same on every screen: one call at a time, quitting, events, the connection, copying, help, the cursor.

use std::collections::HashMap;

use crossterm::event::KeyCode;
use exchange_api::{Action, Event, Phase, Role, Subject, TradeId, TradeView};
use exchange_tui::app::{App, Popup, Tab};
use exchange_tui::message::{Answer, Call, CallName, Command, Connection, Message, NodeFate, Query, Reply};
use exchange_tui::theme::Theme;

use crate::common::{self, NOW, User, only_call, reply, status, unlocked, unreachable};

#[test]
fn while_a_call_is_under_way_no_second_one_starts() {
    let mut user = User::trading();
    user.keys("4p");
    user.pause();
    user.keys("y");
    only_call(&mut user);
    user.keys("c");
    user.pause();
    user.keys("y");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))));
}

/// A bid for an offer of the user's, who sells.
fn bid() -> TradeView {
    TradeView { actions: vec![Action::Accept], ..common::trade(1, Role::Seller, Phase::Bid) }
}

fn with_a_bid(bid: TradeView) -> User {
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![bid]));
    user
}

#[test]
fn what_is_typed_or_pasted_in_one_go_answers_no_question() {
    let is_call = |command: &Command| matches!(command, Command::Call(_));
    let mut user = User::trading();
    user.keys("4");
    user.taken_commands();
    // "Nancy Kelly", in a terminal that types what is pasted.
    user.keys("cy");
    assert!(user.screen(80, 24).contains("! Too soon: please press it again."), "{}", user.screen(80, 24));
    user.keys("\t\n");
    assert!(!user.taken_commands().iter().any(is_call) && user.app.ask().is_some());
    // Whoever goes on with something else has not read it.
    user.tick(3);
    user.keys("x");
    user.tick(3);
    user.keys("y");
    assert!(!user.taken_commands().iter().any(is_call));
    user.tick(1);
    user.keys("y");
    assert!(matches!(only_call(&mut user), Call::Trade(Action::Cancel, _)));

    // Nor is a bid accepted by it, with details that nobody read.
    let mut user = with_a_bid(bid());
    user.keys("4");
    user.taken_commands();
    user.keys("ancy Kelly\n");
    user.tick(3);
    user.keys("\n");
    // The end of a long paste comes when the form stands there for a while.
    user.pause();
    user.keys(", 12 High Street\n");
    user.tick(3);
    user.keys("\n");
    assert!(user.taken_commands().is_empty());
    user.tick(1);
    user.keys("\n");
    assert!(matches!(only_call(&mut user), Call::Accept(_)));

    // Nor is a line said, but a line that was typed goes at once.
    let mut user = User::trading();
    user.keys("4m");
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(common::talk())));
    user.taken_commands();
    user.keys("IBAN\n");
    assert!(user.taken_commands().is_empty());
    user.pause();
    user.keys(" please\n");
    assert!(matches!(only_call(&mut user), Call::Say(_)));
}

#[test]
fn who_has_typed_into_a_form_presses_enter_at_once() {
    let mut user = with_a_bid(TradeView { my_details: None, ..bid() });
    user.keys("4a");
    user.taken_commands();
    for c in "Ann, DE89".chars() {
        user.keys(&c.to_string());
        user.tick(1);
    }
    user.key(KeyCode::Backspace);
    user.keys("9\n");
    let Call::Accept(accepted) = only_call(&mut user) else { panic!("not accepted") };
    assert_eq!(accepted.details, "Ann, DE89");
}

#[test]
fn a_form_that_changed_under_the_user_takes_no_enter_before_he_can_have_read_it() {
    let price = exchange_api::Price::new(6_000_000).unwrap();
    let arbiter = common::stranger("Zürich Desk", 10_000);
    for changed in [
        TradeView { cost: 60_000, ..bid() },
        TradeView { price, ..bid() },
        TradeView { amount: common::sats(900_000), ..bid() },
        TradeView { method: "Cash by mail".into(), ..bid() },
        TradeView { terms: "Third parties may pay.".into(), ..bid() },
        TradeView { buyer: exchange_api::AuthorId([0x77; 32]), ..bid() },
        TradeView { arbiter, ..bid() },
        TradeView { state: Phase::Void, ..bid() },
        // The form is about the trade for which it was opened, and of that nothing is known any more.
        TradeView { id: TradeId([9; 32]), ..bid() },
    ] {
        let mut user = with_a_bid(bid());
        user.keys("4a");
        user.pause();
        user.taken_commands();
        user.answer(Query::Trades, Answer::Trades(vec![changed.clone()]));
        user.keys("x\n");
        user.tick(3);
        user.keys("\n");
        let is_call = |command: &Command| matches!(command, Command::Call(_));
        assert!(!user.taken_commands().iter().any(is_call), "{changed:?}");
        assert!(user.screen(80, 24).contains("! Too soon: please press it again."), "{}", user.screen(80, 24));
        // What stays as it is stops nobody.
        user.answer(Query::Trades, Answer::Trades(vec![changed]));
        user.tick(1);
        user.keys("\n");
        let Call::Accept(accepted) = only_call(&mut user) else { panic!("not accepted") };
        assert_eq!(accepted.trade, TradeId([1; 32]));
    }

    // A line goes to nobody whom the node named in the moment before.
    let mut user = User::trading();
    user.keys("4mhello");
    user.pause();
    user.taken_commands();
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(common::talk())));
    user.keys("\n");
    assert!(user.taken_commands().is_empty());
    // What the other says meanwhile stops no line.
    user.pause();
    let mut more = common::talk();
    more.messages.push(common::line(4, exchange_api::Person::Seller, exchange_api::Person::Buyer, 1, "Well?"));
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(more)));
    user.keys("\n");
    assert!(matches!(only_call(&mut user), Call::Say(_)));
}

#[test]
fn an_enter_that_closes_something_does_not_accept_what_is_below_it() {
    // The help, and the question whether to quit, of which staying is the first answer.
    let above: [fn(&mut User); 2] = [|user| user.key(KeyCode::F(1)), |user| user.ctrl('c')];
    for comes in above {
        let mut user = with_a_bid(bid());
        user.keys("4a");
        comes(&mut user);
        user.pause();
        user.taken_commands();
        user.keys("\n\n");
        assert!(user.taken_commands().is_empty());
        user.pause();
        user.keys("\n");
        assert!(matches!(only_call(&mut user), Call::Accept(_)));
    }
}

#[test]
fn digits_are_text_in_a_field_and_screens_elsewhere() {
    let mut user = User::trading();
    user.keys("2\t\t615");
    assert_eq!(user.app.tab, Tab::Post);
    user.key(KeyCode::Esc);
    user.keys("5");
    assert_eq!(user.app.tab, Tab::Wallet);
    user.keys("2");
    assert!(user.screen(80, 24).contains("615"), "the draft is still there");
}

#[test]
fn quitting_asks_only_when_something_would_be_lost() {
    let mut user = User::new(Theme::Colour, unlocked());
    user.keys("q");
    assert!(matches!(user.taken_commands().last(), Some(Command::Quit(NodeFate::Stop))));

    let mut user = User::trading();
    user.send(Message::Connection(Connection::Up { ours: true }));
    user.taken_commands();
    user.keys("q");
    assert!(user.taken_commands().is_empty());
    let screen = user.screen(80, 24);
    assert!(screen.contains("You have 2 open trades") && screen.contains("Keep the node running"), "{screen}");
    user.pause();
    user.keys("\n");
    assert!(matches!(user.taken_commands().last(), Some(Command::Quit(NodeFate::Keep))), "keeping it is the default");
    user.keys("q");
    user.pause();
    user.keys("y");
    assert!(matches!(user.taken_commands().last(), Some(Command::Quit(NodeFate::Keep))), "and what yes means");

    let mut user = User::new(Theme::Colour, unlocked());
    user.keys("2\t\t61");
    user.ctrl('c');
    assert!(matches!(user.app.popups.last(), Some(Popup::Ask(_))));
    user.keys("\n");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Quit(_))), "staying is the default");
}

#[test]
fn a_live_offer_is_not_taken_offline_without_a_question() {
    let offered = |ours| {
        let mut user = User::new(Theme::Colour, unlocked());
        user.send(Message::Connection(Connection::Up { ours }));
        user.answer(Query::Book, Answer::Book(exchange_api::Page { items: common::offers(), next: None }));
        user.taken_commands();
        user.keys("q");
        user
    };
    let mut user = offered(true);
    assert!(user.taken_commands().is_empty());
    let screen = user.screen(80, 24);
    assert!(screen.contains("You have 1 offer in the book"), "{screen}");
    assert!(screen.contains("▸ [ Keep it running ]"), "{screen}");
    user.pause();
    user.keys("\n");
    assert!(matches!(user.taken_commands().last(), Some(Command::Quit(NodeFate::Keep))));
    // The node of somebody else goes on, and so does the offer.
    assert!(matches!(offered(false).taken_commands().last(), Some(Command::Quit(_))));
}

#[test]
fn whoever_presses_it_twice_quits() {
    let mut user = User::new(Theme::Colour, unlocked());
    user.keys("2\t\t61");
    user.ctrl('c');
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Quit(_))), "asked first");
    user.ctrl('c');
    assert!(matches!(user.taken_commands().last(), Some(Command::Quit(NodeFate::Stop))));
    // A node that has to act in time stays.
    let mut user = User::trading();
    user.send(Message::Connection(Connection::Up { ours: true }));
    user.ctrl('c');
    user.taken_commands();
    user.ctrl('c');
    assert!(matches!(user.taken_commands().last(), Some(Command::Quit(NodeFate::Keep))));
}

#[test]
fn events_refresh_what_they_are_about_and_old_ones_are_no_news() {
    let mut user = User::trading();
    // Answer what is under way, so that the next question is not held back.
    user.answer(Query::Trades, Answer::Trades(Vec::new()));
    user.answer(Query::Balance, Answer::Balance(user.app.wallet.balance.unwrap()));
    user.taken_commands();
    let event = |time| Event { seq: 9, time, subject: Subject::Trade(TradeId([1; 32])), text: "the buyer paid".into() };
    user.send(Message::Event(event(NOW - 1)));
    assert!(user.taken_commands().is_empty());
    user.send(Message::Event(event(NOW)));
    assert!(user.taken_commands().iter().any(|command| matches!(command, Command::Query(Query::Trades))));
    assert!(user.screen(80, 24).contains("the buyer paid"));
}

#[test]
fn a_lost_connection_says_so_and_everything_is_asked_anew() {
    let mut user = User::trading();
    user.send(Message::Connection(Connection::Lost(String::new())));
    assert!(user.screen(80, 24).contains("does not answer"));
    user.taken_commands();
    user.tick(20);
    assert!(user.taken_commands().is_empty());
    user.send(Message::Connection(Connection::Up { ours: false }));
    assert!(user.taken_commands().iter().any(|command| matches!(command, Command::Query(Query::Status))));
    user.answer(Query::Status, Answer::Status(status(unlocked())));
    assert!(!user.screen(80, 24).contains("does not answer"));
}

#[test]
fn a_start_that_failed_is_tried_again() {
    let app = App::new(Theme::Colour, false, "test");
    let mut user = User { app, commands: Vec::new(), requests: HashMap::new() };
    assert!(!user.screen(80, 24).contains("try again"));
    user.keys("r");
    assert!(user.taken_commands().is_empty(), "it is still being tried");
    user.tick(80);
    user.send(Message::Connection(Connection::Failed("wrong password".into())));
    assert!(user.screen(80, 24).contains("r try again"), "{}", user.screen(80, 24));
    user.keys("r");
    assert!(matches!(user.taken_commands()[..], [Command::Retry]));
    assert!(user.screen(80, 24).contains("Looking for the node… 0 s"), "{}", user.screen(80, 24));
    user.keys("r");
    assert!(user.taken_commands().is_empty(), "one try at a time");
    user.tick(8);
    user.send(Message::Connection(Connection::Starting("Starting the node".into())));
    assert!(user.screen(80, 24).contains("Starting the node… 1 s"), "{}", user.screen(80, 24));
    user.send(Message::Connection(Connection::Up { ours: true }));
    assert!(user.taken_commands().iter().any(|command| matches!(command, Command::Query(Query::Status))));
}

#[test]
fn of_a_long_log_of_a_node_that_failed_the_end_is_shown() {
    let app = App::new(Theme::Colour, false, "test");
    let mut user = User { app, commands: Vec::new(), requests: HashMap::new() };
    let why = format!("the node ended. The end of its log:\n\n{}the disk is full\n", "a line of it\n".repeat(60));
    user.send(Message::Connection(Connection::Failed(why)));
    let screen = user.screen(80, 24);
    assert!(screen.contains("There is no node to talk to") && screen.contains("the disk is full"), "{screen}");
}

#[test]
fn the_deposit_address_and_payment_details_can_be_copied() {
    let mut user = User::trading();
    user.keys("5");
    user.taken_commands();
    user.keys("c");
    assert!(matches!(user.taken_commands().last(), Some(Command::Copy(text)) if text.starts_with("bcrt1p")));
    user.keys("4");
    user.taken_commands();
    user.keys("y");
    assert!(matches!(user.taken_commands().last(), Some(Command::Copy(text)) if text.contains("DE89")));
    assert!(user.screen(80, 24).contains("allows it: Max Mustermann "), "whose it is: {}", user.screen(80, 24));
}

#[test]
fn a_peer_is_connected_by_its_address() {
    let mut user = User::trading();
    user.answer(Query::Peers, Answer::Peers(Vec::new()));
    user.keys("6");
    assert!(user.screen(80, 24).contains("Press c to connect"), "{}", user.screen(80, 24));
    user.keys("c");
    user.taken_commands();
    user.keys("\n");
    assert!(user.taken_commands().is_empty(), "there is no address yet");
    assert!(user.screen(80, 24).contains("✗ needed"), "{}", user.screen(80, 24));
    user.keys("/ip4/127.0.0.1/tcp/9740\n");
    let Call::Connect(address) = only_call(&mut user) else { panic!("not connected") };
    assert_eq!(address, "/ip4/127.0.0.1/tcp/9740");
    reply(&mut user, CallName::Connect, Ok(Reply::Connected(address)));
    assert!(user.app.popups.is_empty());
    assert!(user.screen(80, 24).contains("✓ Connected to /ip4/127.0.0.1/tcp/9740."));
}

#[test]
fn help_closes_by_its_own_key_and_buries_nothing() {
    let mut user = User::trading();
    user.keys("4m");
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(common::talk())));
    user.keys("half a line");
    for _ in 0..9 {
        user.key(KeyCode::F(1));
    }
    let help = user.screen(80, 24);
    assert!(help.contains("send") && help.contains("earlier") && !help.contains("I paid"), "{help}");
    user.key(KeyCode::F(1));
    assert!(user.screen(80, 24).contains("half a line"));
    for _ in 0..9 {
        user.ctrl('c');
    }
    user.key(KeyCode::Esc);
    assert!(user.screen(80, 24).contains("half a line"));
}

#[test]
fn a_key_is_called_what_it_does_now() {
    let mut user = with_a_bid(bid());
    user.keys("4a");
    assert!(user.screen(80, 24).contains("Enter accept the bid"), "{}", user.screen(80, 24));
    user.key(KeyCode::F(1));
    assert!(user.screen(80, 24).contains("Enter  accept the bid"), "{}", user.screen(80, 24));
    let mut user = User::trading();
    user.keys("4m");
    reply(&mut user, CallName::Talk, Ok(Reply::Talk(common::talk())));
    assert!(user.screen(80, 24).contains("Enter send"), "{}", user.screen(80, 24));
    user.key(KeyCode::BackTab);
    assert!(user.screen(80, 24).contains("Enter next"), "to the line: {}", user.screen(80, 24));
    let mut user = User::trading();
    user.keys("5");
    assert!(user.screen(80, 24).contains("o coins"), "{}", user.screen(80, 24));
    user.keys("o");
    let screen = user.screen(80, 24);
    assert!(screen.contains("o history") && screen.contains("f unfreeze"), "{screen}");
    user.keys("j");
    assert!(user.screen(80, 24).contains("f freeze"), "{}", user.screen(80, 24));
}

#[test]
fn help_says_whole_why_a_key_does_nothing() {
    let mut user = User::trading();
    user.keys("5?");
    let help = user.screen(80, 24);
    // The reason goes on in the next line.
    assert!(help.contains("choose (no coin is selected:") && help.contains("press o for the coins)"), "{help}");
}

#[test]
fn beside_a_question_nothing_is_left_of_what_is_below_it() {
    let mut user = User::trading();
    user.keys("2\t\t61");
    user.ctrl('c');
    for (width, height) in [(80, 24), (120, 40)] {
        let screen = user.screen(width, height);
        assert!(screen.contains("╭ Quit? "), "{screen}");
        for line in screen.lines().filter(|line| line.contains(['│', '╭', '╰'])) {
            let line = line.trim_matches('"').trim();
            assert!(line.starts_with(['│', '╭', '╰']) && line.ends_with(['│', '╮', '╯']), "{screen}");
        }
    }
}

#[test]
fn what_must_be_pressed_now_stands_in_the_footer_of_a_small_window() {
    let mut user = User::trading();
    let actions = vec![Action::MarkPaid, Action::Cancel, Action::Dispute];
    let to_pay = TradeView { actions, ..common::trade(1, Role::Buyer, Phase::Funded) };
    user.answer(Query::Trades, Answer::Trades(vec![to_pay]));
    user.keys("4");
    let screen = user.screen(80, 24);
    for key in ["p I paid", "y copy", "c cancel", "m messages", "t terms", "d dispute"] {
        assert!(screen.contains(key), "{key}: {screen}");
    }
}

#[test]
fn what_is_too_long_for_a_line_says_that_it_goes_on_and_is_read_whole_elsewhere() {
    let mut user = User::trading();
    let error =
        "the chain backend core is unreachable at http://127.0.0.1:18443: connection refused; is bitcoind running?";
    let cut_off = exchange_api::Status { chain_error: Some(error.into()), ..status(unlocked()) };
    user.answer(Query::Status, Answer::Status(cut_off));
    let screen = user.screen(80, 24);
    assert!(screen.contains("! the chain backend core") && screen.contains("18443: connection …"), "{screen}");
    user.keys("6");
    assert!(user.screen(80, 24).contains("bitcoind running?"), "{}", user.screen(80, 24));
    // Of a long option the arrows stay.
    let mut offers = common::offers();
    offers[0].arbiters[0].name = "The honourable court of arbitration".into();
    user.answer(Query::Book, Answer::Book(exchange_api::Page { items: offers, next: None }));
    user.keys("1t");
    assert!(user.screen(80, 24).contains("… ›"), "{}", user.screen(80, 24));
}

#[test]
fn a_peer_s_address_is_shown_whole_where_there_is_room() {
    let mut user = User::trading();
    let mut peers = common::peers();
    peers[0].address = "/ip4/203.0.113.117/udp/40001/quic-v1".into();
    user.answer(Query::Peers, Answer::Peers(peers));
    user.keys("6");
    assert!(user.screen(120, 40).contains("/ip4/203.0.113.117/udp/40001/quic-v1"), "{}", user.screen(120, 40));
}

#[test]
fn what_was_said_of_an_earlier_key_goes_with_the_next_one() {
    let mut user = User::trading();
    user.keys("4r");
    assert!(user.screen(80, 24).contains("! release: not at this point"));
    user.keys("jk");
    assert!(!user.screen(80, 24).contains("not at this point"));
    // Nor does the outcome of an earlier call stand below the next one.
    user.keys("y");
    assert!(user.screen(80, 24).contains("✓ Copied"));
    user.keys("p");
    user.pause();
    user.keys("y");
    reply(&mut user, CallName::Trade(Action::MarkPaid), Err(unreachable()));
    user.key(KeyCode::Esc);
    assert!(!user.screen(80, 24).contains("Copied"));
}

#[test]
fn the_cursor_is_where_one_types_and_nowhere_else() {
    let mut user = User::trading();
    user.keys("t");
    assert_eq!(user.cursor(80, 24), Some((21, 8)), "behind 0.01");
    user.key(KeyCode::F(1));
    assert_eq!(user.cursor(80, 24), None, "the help takes no text");
    user.key(KeyCode::F(1));
    user.keys("\t");
    assert_eq!(user.cursor(80, 24), None, "a choice takes none");
}
