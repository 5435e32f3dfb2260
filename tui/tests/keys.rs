//! From keys to commands: what a user presses and what is then asked of the node.
#![allow(clippy::unwrap_used)]

mod common;

use common::{NOW, User, offers, review, status, trade, unlocked};
use crossterm::event::KeyCode;
use exchange_api::{
    Action, ApiError, Code, Event, IdentityState, Page, Person, Phase, RecordId, Role, Side, Subject, TradeId, Verdict,
};
use exchange_tui::app::{Popup, Tab};
use exchange_tui::message::{
    Answer, Bump, Call, CallName, Command, Connection, Message, NodeFate, Password, Query, Reply,
};
use exchange_tui::theme::Theme;

fn reply(user: &mut User, call: CallName, result: Result<Reply, ApiError>) {
    user.send(Message::Reply(call, Box::new(result)));
}

fn only_call(user: &mut User) -> Call {
    let mut calls: Vec<_> = user
        .taken_commands()
        .into_iter()
        .filter_map(|command| match command {
            Command::Call(call) => Some(call),
            Command::Query(_) | Command::Copy(_) | Command::Quit(_) => None,
        })
        .collect();
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

fn unreachable() -> ApiError {
    ApiError::new(Code::NodeUnreachable, "gone", "")
}

/// Presses what takes the first offer, up to the review.
fn reviewed(user: &mut User) {
    user.keys("t");
    user.keys("\t\t\tAnn Example\t\n");
    let Call::Review(request) = only_call(user) else { panic!("no review") };
    assert!(request.dry_run);
    assert_eq!((request.offer, request.amount.get()), (RecordId([1; 32]), 1_000_000));
    reply(user, CallName::Review, Ok(Reply::Review(review(Role::Buyer))));
}

#[test]
fn enter_on_the_review_takes_nothing_because_no_is_the_default() {
    let mut user = User::trading();
    reviewed(&mut user);
    user.taken_commands();
    user.keys("\n");
    assert!(user.taken_commands().is_empty());
    assert!(user.screen(80, 24).contains("Ann Example"), "what was typed is still there");
}

#[test]
fn yes_takes_the_offer_that_was_reviewed() {
    let mut user = User::trading();
    reviewed(&mut user);
    user.taken_commands();
    user.key(KeyCode::Right);
    user.keys("\n");
    let Call::Take(request) = only_call(&mut user) else { panic!("not taken") };
    assert!(!request.dry_run && !request.request_id.is_empty());
    assert_eq!((request.method, request.details.as_str()), (Some(0), "Ann Example"));
    assert_eq!(request.arbiter, Some(common::arbiter("", 0).advert), "the one whom the user trusts");
    reply(&mut user, CallName::Take, Ok(Reply::Trade(trade(9, Role::Buyer, Phase::Bid))));
    assert_eq!(user.app.tab, Tab::Trades);
    assert_eq!(user.app.trades.selection().unwrap().id, TradeId([9; 32]));
}

#[test]
fn an_amount_is_judged_while_it_is_typed() {
    let mut user = User::trading();
    user.keys("t");
    user.ctrl('u');
    user.keys("0,02");
    assert!(user.screen(80, 24).contains("decimals follow a point: 0.01"), "{}", user.screen(80, 24));
    user.ctrl('u');
    user.keys("9");
    assert!(user.screen(80, 24).contains("the offer is for 0.01–0.05 BTC"), "{}", user.screen(80, 24));
    user.ctrl('u');
    user.keys("0.02");
    assert!(user.screen(80, 24).contains("BTC, 0.01–0.05"), "the hint is back: {}", user.screen(80, 24));
}

#[test]
fn an_arbiter_whom_nobody_trusts_is_chosen_by_hand_and_confirmed() {
    let mut user = User::trading();
    let mut items = offers();
    items[0].arbiters = vec![common::stranger("Zürich Desk", 10_000)];
    user.answer(Query::Book, Answer::Book(Page { items, next: None }));
    user.key(KeyCode::Home);
    user.keys("t");
    user.keys("\t\t\tAnn Example\t\n");
    assert!(user.taken_commands().is_empty(), "no review without an arbiter");
    assert!(user.screen(80, 24).contains("choose one whom you know"), "{}", user.screen(80, 24));
    user.key(KeyCode::Right);
    user.keys("\t\t\n");
    let Call::Review(request) = only_call(&mut user) else { panic!("no review") };
    assert_eq!(request.arbiter, Some(common::stranger("", 0).advert));
    let mut review = review(Role::Buyer);
    // The answer to another question is shown to nobody.
    reply(&mut user, CallName::Review, Ok(Reply::Review(review.clone())));
    assert!(user.app.take.review.is_none());
    review.arbiter = common::stranger("Zürich Desk", 10_000);
    reply(&mut user, CallName::Review, Ok(Reply::Review(review)));
    let screen = user.screen(80, 24);
    assert!(screen.contains("not on your list of trusted arbiters"), "{screen}");
    assert!(screen.contains("Yes, and with this arbiter"), "{screen}");
}

#[test]
fn taking_again_after_a_lost_answer_goes_under_the_same_id() {
    let mut user = User::trading();
    let mut ids = Vec::new();
    for _ in 0..2 {
        if user.app.tab == Tab::Take {
            user.keys("\n");
            only_call(&mut user);
            reply(&mut user, CallName::Review, Ok(Reply::Review(review(Role::Buyer))));
        } else {
            reviewed(&mut user);
        }
        user.taken_commands();
        user.keys("y");
        let Call::Take(request) = only_call(&mut user) else { panic!("not taken") };
        ids.push(request.request_id);
        reply(&mut user, CallName::Take, Err(unreachable()));
        user.key(KeyCode::Esc);
        user.taken_commands();
    }
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn an_amount_outside_the_offer_is_refused_at_its_field() {
    let mut user = User::trading();
    user.keys("t");
    user.ctrl('u');
    user.keys("0.06\t\t\tAnn\t\n");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))));
    assert!(user.screen(80, 24).contains("✗ the offer is for 0.01–0.05 BTC"));
}

#[test]
fn a_review_of_something_else_is_not_shown() {
    let mut user = User::trading();
    user.keys("t");
    user.keys("\t\t\tAnn\t\n");
    let mut other = review(Role::Buyer);
    other.amount = common::sats(2_000_000);
    reply(&mut user, CallName::Review, Ok(Reply::Review(other)));
    assert!(user.app.take.review.is_none());
}

#[test]
fn one_s_own_offer_cannot_be_taken_and_the_reason_is_told() {
    let mut user = User::trading();
    user.keys("jjjt");
    assert_eq!(user.app.tab, Tab::Book);
    assert!(user.screen(80, 24).contains("take: this offer is your own"));
    user.keys("xy");
    assert!(matches!(only_call(&mut user), Call::Withdraw(id) if id == RecordId([4; 32])));
}

#[test]
fn each_step_of_a_trade_is_asked_about_before_it_is_done() {
    let mut user = User::trading();
    user.keys("4p");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))));
    user.keys("\n");
    assert!(user.taken_commands().is_empty(), "no is the default");
    user.keys("py");
    let Call::Trade(action, command) = only_call(&mut user) else { panic!("not done") };
    assert_eq!((action, command.trade, command.dry_run), (Action::MarkPaid, TradeId([1; 32]), false));
}

#[test]
fn a_step_that_is_not_possible_does_nothing_and_says_why() {
    let mut user = User::trading();
    user.keys("4r");
    assert!(user.app.popups.is_empty());
    assert!(user.screen(80, 24).contains("release: not at this point"));
}

#[test]
fn while_a_call_is_under_way_no_second_one_starts() {
    let mut user = User::trading();
    user.keys("4py");
    only_call(&mut user);
    user.keys("cy");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))));
}

#[test]
fn the_book_is_narrowed_down_by_side_currency_and_text() {
    let mut user = User::trading();
    let sides = |user: &User| user.app.book.visible().iter().map(|offer| offer.side).collect::<Vec<_>>();
    assert_eq!(sides(&user).len(), 4, "who is away is hidden");
    user.keys("b");
    assert_eq!(sides(&user), [Side::Sell, Side::Sell]);
    user.keys("ac");
    assert_eq!(sides(&user).len(), 0, "CHF is away");
    user.keys("c");
    assert_eq!(user.app.book.visible().len(), 3, "EUR");
    user.keys("cc/zelle\n");
    assert_eq!(user.app.book.visible().len(), 1);
    user.keys("/");
    user.key(KeyCode::Esc);
    assert_eq!(user.app.book.visible().len(), 4);
}

#[test]
fn the_selection_stays_on_its_offer_when_the_book_changes() {
    let mut user = User::trading();
    user.keys("jj");
    let selected = user.app.book.selection().unwrap().id;
    let mut items = offers();
    items.insert(0, common::offer(9, Side::Sell, "EUR", 6_000_000, 1_000_000, 1_000_000, &["Cash"]));
    user.answer(Query::Book, Answer::Book(Page { items, next: None }));
    assert_eq!(user.app.book.selection().unwrap().id, selected);
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
    let priced = exchange_api::Sent {
        txid: "00".repeat(32),
        amount: common::sats(10_000_000),
        fee: common::sats(141),
        vsize: 141,
        coins: Vec::new(),
        broadcast: false,
    };
    reply(&mut user, CallName::Price, Ok(Reply::Sent(priced.clone())));
    assert!(user.screen(80, 24).contains("141 sat"));
    user.keys("y");
    let Call::Send(request) = only_call(&mut user) else { panic!("not sent") };
    assert!(!request.dry_run && !request.request_id.is_empty());
    reply(&mut user, CallName::Send, Ok(Reply::Sent(priced)));
    assert!(user.app.popups.is_empty());
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

#[test]
fn the_first_run_makes_an_identity_of_the_suggested_words() {
    let mut user = User::new(Theme::Colour, IdentityState::None);
    assert!(matches!(only_call(&mut user), Call::Passphrase));
    let words = zeroize::Zeroizing::new("crane opera velvet".to_owned());
    reply(&mut user, CallName::Passphrase, Ok(Reply::Passphrase(Password(words))));
    user.keys("ann@example.org\t\tcrane opera\t\n");
    assert!(user.taken_commands().is_empty(), "the words differ");
    assert!(user.screen(80, 24).contains("not the same as above"));
    user.keys(" velvet\t\n");
    let Call::Create(credentials) = only_call(&mut user) else { panic!("not created") };
    assert_eq!((credentials.email.as_str(), credentials.password.as_str()), ("ann@example.org", "crane opera velvet"));
    assert!(!format!("{:?}", user.app).contains("crane"), "a password in Debug");
}

#[test]
fn an_own_password_is_judged_once_the_user_pauses() {
    let mut user = User::new(Theme::Colour, IdentityState::None);
    user.taken_commands();
    user.keys("ann@example.org\t");
    user.key(KeyCode::Right);
    user.keys("\tcorrect horse");
    user.tick(2);
    user.keys(" battery");
    user.tick(3);
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))), "still typing");
    user.tick(2);
    let Call::Strength(credentials) = only_call(&mut user) else { panic!("not judged") };
    assert_eq!(credentials.password, "correct horse battery");
}

#[test]
fn a_relay_skips_the_identity_and_watches() {
    let mut user = User::new(Theme::Colour, IdentityState::None);
    user.key(KeyCode::Esc);
    user.answer(Query::Book, Answer::Book(Page { items: offers(), next: None }));
    assert!(user.screen(80, 24).contains("61,750.00 EUR"));
    user.keys("t");
    assert!(user.screen(80, 24).contains("needs your identity"));
    user.keys("i");
    assert!(user.screen(80, 24).contains("Welcome"));
}

#[test]
fn a_wrong_password_can_be_corrected() {
    let mut user = User::new(Theme::Colour, IdentityState::Locked);
    user.keys("secre\n");
    assert!(matches!(only_call(&mut user), Call::Unlock(password) if password.0.as_str() == "secre"));
    reply(&mut user, CallName::Unlock, Err(ApiError::new(Code::WrongPassword, "wrong", "")));
    user.keys("t\n");
    assert!(matches!(only_call(&mut user), Call::Unlock(password) if password.0.as_str() == "secret"));
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
    assert!(user.screen(80, 24).contains("Keep the node running"));
    user.keys("\n");
    assert!(matches!(user.taken_commands().last(), Some(Command::Quit(NodeFate::Keep))), "keeping it is the default");
    user.keys("qy");
    assert!(matches!(user.taken_commands().last(), Some(Command::Quit(NodeFate::Keep))), "and what yes means");

    let mut user = User::new(Theme::Colour, unlocked());
    user.keys("2\t\t61");
    user.ctrl('c');
    assert!(matches!(user.app.popups.last(), Some(Popup::Ask(_))));
    user.keys("\n");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Quit(_))), "staying is the default");
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
}

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
    user.keys("y");
    let Call::Disclose(wanted) = only_call(&mut user) else { panic!("nothing was shown") };
    assert_eq!((wanted.dry_run, wanted.trade, wanted.second), (false, TradeId([1; 32]), false));
    reply(&mut user, CallName::Disclose, Ok(Reply::Disclosure(common::disclosure())));
    assert!(user.screen(80, 24).contains("✓ 3 messages shown to Alice the Arbiter (the arbiter)."));

    // All of it was shown: nothing is asked.
    user.keys("s");
    let nothing = exchange_api::Disclosure { messages: Vec::new(), before: 3, ..common::disclosure() };
    reply(&mut user, CallName::ToShow, Ok(Reply::Disclosure(nothing)));
    assert!(user.app.popups.is_empty());
    assert!(user.screen(80, 24).contains("He was shown everything already."));
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

    user.keys("sbcrt1qexample\t0.1\t\t\t\n");
    user.key(KeyCode::Esc);
    let priced = exchange_api::Sent {
        txid: "00".repeat(32),
        amount: common::sats(10_000_000),
        fee: common::sats(141),
        vsize: 141,
        coins: Vec::new(),
        broadcast: false,
    };
    reply(&mut user, CallName::Price, Ok(Reply::Sent(priced)));
    assert!(user.app.popups.is_empty(), "he has left the form");
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
    let priced = exchange_api::Sent {
        txid: "00".repeat(32),
        amount: common::sats(10_000_000),
        fee: common::sats(141),
        vsize: 141,
        coins: Vec::new(),
        broadcast: false,
    };
    reply(&mut user, CallName::Price, Ok(Reply::Sent(priced)));
    user.keys("y");
    let Call::Send(sent) = only_call(&mut user) else { panic!("not sent") };
    assert_eq!(sent.amount, first.amount, "what he saw the price of");
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
    assert!(help.contains("send") && help.contains("earlier") && !help.contains("I have paid"), "{help}");
    user.key(KeyCode::F(1));
    assert!(user.screen(80, 24).contains("half a line"));
    for _ in 0..9 {
        user.ctrl('c');
    }
    user.key(KeyCode::Esc);
    assert!(user.screen(80, 24).contains("half a line"));
}

#[test]
fn a_form_that_is_done_does_not_come_back_from_below_the_help() {
    let mut user = User::trading();
    let bid = exchange_api::TradeView { actions: vec![Action::Accept], ..trade(1, Role::Seller, Phase::Bid) };
    user.answer(Query::Trades, Answer::Trades(vec![bid.clone()]));
    user.keys("4a\n");
    user.key(KeyCode::F(1));
    reply(&mut user, CallName::Trade(Action::Accept), Ok(Reply::Trade(bid)));
    user.key(KeyCode::Esc);
    assert!(user.app.popups.is_empty());
}

#[test]
fn what_was_said_of_an_earlier_key_goes_with_the_next_one() {
    let mut user = User::trading();
    user.keys("4r");
    assert!(user.screen(80, 24).contains("! release: not at this point"));
    user.keys("j");
    assert!(!user.screen(80, 24).contains("not at this point"));
    // Nor does the outcome of an earlier call stand below the next one.
    user.keys("y");
    assert!(user.screen(80, 24).contains("✓ Copied"));
    user.keys("ry");
    reply(&mut user, CallName::Trade(Action::Release), Err(unreachable()));
    user.key(KeyCode::Esc);
    assert!(!user.screen(80, 24).contains("Copied"));
}

#[test]
fn the_terms_of_a_trade_are_read_to_their_end() {
    let mut user = User::trading();
    let terms = (1..=60).map(|at| format!("rule {at}\n")).collect();
    let long = exchange_api::TradeView { terms, ..common::disputed() };
    user.answer(Query::Trades, Answer::Trades(vec![long]));
    user.keys("4t");
    assert!(user.screen(80, 24).contains("rule 1 ") && user.screen(80, 24).contains("↓ more"));
    for _ in 0..20 {
        user.key(KeyCode::PageDown);
    }
    let end = user.screen(80, 24);
    assert!(end.contains("Id ") && !end.contains("↓ more"), "{end}");
    user.key(KeyCode::Up);
    assert!(user.screen(80, 24).contains("↓ more"), "one line back is one line");
    user.keys("t");
    assert!(user.app.popups.is_empty());
}

#[test]
fn the_terms_of_an_offer_are_read_to_their_end() {
    let mut user = User::trading();
    let mut items = offers();
    items[0].terms = (1..=60).map(|at| format!("rule {at}\n")).collect();
    user.answer(Query::Book, Answer::Book(Page { items, next: None }));
    user.key(KeyCode::Home);
    user.keys("\n");
    assert!(user.screen(80, 24).contains("↓ more"));
    for _ in 0..20 {
        user.key(KeyCode::PageDown);
    }
    for (width, height) in [(80, 24), (120, 40)] {
        let end = user.screen(width, height);
        assert!(end.contains("State ") && !end.contains("↓ more"), "{end}");
    }
    user.keys("t");
    assert!(user.screen(80, 24).contains("All of it is in the book"), "{}", user.screen(80, 24));
}

#[test]
fn long_payment_details_push_nothing_out_of_the_window() {
    let mut user = User::trading();
    let their_details = Some("line\n".repeat(60));
    let problem = Some("the chain is away".into());
    let long = exchange_api::TradeView { their_details, problem, ..trade(1, Role::Buyer, Phase::Funded) };
    user.answer(Query::Trades, Answer::Trades(vec![long]));
    user.keys("4");
    let screen = user.screen(80, 24);
    assert!(screen.contains("press t to read on") && screen.contains("Otherwise"), "{screen}");
    assert!(screen.contains("! The chain is away."), "{screen}");
}

#[test]
fn an_offer_that_was_left_has_the_cursor_again_when_it_is_taken_again() {
    let mut user = User::trading();
    user.keys("t");
    user.key(KeyCode::Esc);
    user.keys("1t0.02");
    assert_eq!(user.app.tab, Tab::Take, "digits are text");
    let screen = user.screen(80, 24);
    assert!(screen.contains("▸ Amount        0.02_"), "what is typed replaces the suggestion: {screen}");
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
