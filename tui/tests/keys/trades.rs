//! The steps of a trade, and what is read of it.

use crossterm::event::KeyCode;
use exchange_api::{Action, Phase, Role, StrayView, TradeId};
use exchange_tui::message::{Answer, Call, CallName, Command, Query, Reply};

use crate::common::{self, User, only_call, reply, trade};

#[test]
fn each_step_of_a_trade_is_asked_about_before_it_is_done() {
    let mut user = User::trading();
    user.keys("4p");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))));
    user.keys("\n");
    assert!(user.taken_commands().is_empty(), "no is the default");
    user.keys("p");
    user.pause();
    user.keys("y");
    let Call::Trade(action, command) = only_call(&mut user) else { panic!("not done") };
    assert_eq!((action, command.trade, command.dry_run), (Action::MarkPaid, TradeId([1; 32]), false));
    assert_eq!(command.seen, Some(trade(1, Role::Buyer, Phase::Funded).seen()), "the trade as he saw it");
}

#[test]
fn a_key_is_about_the_trade_that_the_user_left_and_not_about_what_came_to_its_place() {
    let mut user = User::trading();
    user.keys("4");
    // While he pays, another trade becomes his turn, which the node names first.
    let newer = trade(9, Role::Buyer, Phase::Funded);
    let list = vec![newer.clone(), common::trade_to_release(), trade(1, Role::Buyer, Phase::Funded)];
    user.answer(Query::Trades, Answer::Trades(list));
    assert!(user.screen(80, 24).contains("▸ 01010101"), "{}", user.screen(80, 24));
    user.keys("1");
    user.keys("4\n");
    user.pause();
    user.keys("y");
    let Call::Trade(Action::MarkPaid, command) = only_call(&mut user) else { panic!("not done") };
    assert_eq!(command.trade, TradeId([1; 32]));
    // Nor does the answer take him away from where he went meanwhile.
    user.keys("k");
    reply(&mut user, CallName::Trade(Action::MarkPaid), Ok(Reply::Trade(trade(1, Role::Buyer, Phase::Paid))));
    assert!(user.screen(80, 24).contains("▸ 02020202"), "{}", user.screen(80, 24));
    // What is gone can be selected no longer.
    user.answer(Query::Trades, Answer::Trades(vec![newer]));
    assert!(user.screen(80, 24).contains("▸ 09090909"), "{}", user.screen(80, 24));
}

#[test]
fn a_step_that_is_not_possible_does_nothing_and_says_why() {
    let mut user = User::trading();
    user.keys("4r");
    assert!(user.app.popups.is_empty());
    assert!(user.screen(80, 24).contains("release: not at this point"));
}

#[test]
fn who_asks_for_a_refund_is_told_that_the_buyer_has_to_agree() {
    let mut user = User::trading();
    user.keys("4jc");
    user.pause();
    user.keys("y");
    let Call::Trade(action, _) = only_call(&mut user) else { panic!("not asked") };
    assert_eq!(action, Action::Cancel);
    let asked = exchange_api::TradeView { actions: vec![Action::Release], ..common::trade_to_release() };
    reply(&mut user, CallName::Trade(Action::Cancel), Ok(Reply::Trade(asked)));
    let screen = user.screen(80, 24);
    assert!(screen.contains("✓ The buyer is asked for a refund. Until he agrees, the trade goes on."), "{screen}");
    assert!(!screen.contains("called off") && !screen.contains("c cancel"), "{screen}");
}

#[test]
fn a_bid_is_accepted_by_who_sees_it_with_the_details_of_his_offer() {
    let mut user = User::trading();
    let my_details = Some("Max Mustermann\nDE89 3704".into());
    let bid = trade(1, Role::Seller, Phase::Bid);
    let bid = exchange_api::TradeView { actions: vec![Action::Accept], my_details, ..bid };
    user.answer(Query::Trades, Answer::Trades(vec![bid]));
    user.keys("4a");
    let screen = user.screen(80, 24);
    assert!(screen.contains("Trade 01010101: 3f3f3f3f bids 0.01 BTC for 617.50 EUR by SEPA instant."), "{screen}");
    user.taken_commands();
    user.pause();
    user.keys("\n");
    let Call::Accept(accepted) = only_call(&mut user) else { panic!("not accepted") };
    assert_eq!(accepted.details, "Max Mustermann, DE89 3704");
}

#[test]
fn a_form_that_is_done_does_not_come_back_from_below_the_help() {
    let mut user = User::trading();
    let bid = exchange_api::TradeView { actions: vec![Action::Accept], ..trade(1, Role::Seller, Phase::Bid) };
    user.answer(Query::Trades, Answer::Trades(vec![bid.clone()]));
    user.keys("4a");
    user.pause();
    user.keys("\n");
    user.key(KeyCode::F(1));
    reply(&mut user, CallName::Trade(Action::Accept), Ok(Reply::Trade(bid)));
    user.key(KeyCode::Esc);
    assert!(user.app.popups.is_empty());
}

#[test]
fn what_becomes_of_one_trade_takes_away_no_form_about_another() {
    let mut user = User::trading();
    let bid = exchange_api::TradeView { actions: vec![Action::Accept], ..trade(2, Role::Seller, Phase::Bid) };
    user.answer(Query::Trades, Answer::Trades(vec![trade(1, Role::Buyer, Phase::Funded), bid]));
    user.keys("4p");
    user.pause();
    user.keys("y");
    // While the seller is told he turns to the bid.
    user.keys("ja");
    reply(&mut user, CallName::Trade(Action::MarkPaid), Ok(Reply::Trade(trade(1, Role::Buyer, Phase::Paid))));
    assert!(user.screen(80, 24).contains("Accept this bid?"), "{}", user.screen(80, 24));
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
fn what_a_small_window_does_not_show_of_the_next_step_is_read_with_the_terms() {
    let mut user = User::trading();
    user.keys("4j");
    let screen = user.screen(80, 24);
    assert!(screen.contains("A release cannot be undone") && !screen.contains("press t to read on"), "{screen}");
    let mut long = common::trade_to_release();
    long.next.otherwise = format!("{}and that is the-very-end", "one thing happens, ".repeat(30));
    user.answer(Query::Trades, Answer::Trades(vec![long]));
    let screen = user.screen(80, 24);
    assert!(screen.contains("press t to read on") && !screen.contains("the-very-end"), "{screen}");
    user.keys("t");
    user.key(KeyCode::PageDown);
    assert!(user.screen(80, 24).contains("the-very-end."), "{}", user.screen(80, 24));
}

#[test]
fn an_account_invites_to_pay_only_while_the_node_lets_one_pay() {
    let shown = |state, actions| {
        let mut user = User::trading();
        let trade = exchange_api::TradeView { actions, ..trade(1, Role::Buyer, state) };
        user.answer(Query::Trades, Answer::Trades(vec![trade]));
        user.keys("4");
        user.taken_commands();
        user.keys("y");
        (user.screen(80, 24), user.taken_commands())
    };
    let (screen, copied) = shown(Phase::Funded, vec![Action::MarkPaid, Action::Cancel]);
    assert!(screen.contains("Pay to (617.50 EUR by SEPA instant)") && screen.contains("DE89"), "{screen}");
    assert!(matches!(&copied[..], [Command::Copy(text)] if text.contains("DE89")));
    let (screen, copied) = shown(Phase::Funded, vec![Action::Cancel]);
    assert!(!screen.contains("Pay to (") && !screen.contains("DE89"), "{screen}");
    assert!(screen.contains("copy: nothing is to be paid now") && copied.is_empty(), "{screen}");
    let (screen, copied) = shown(Phase::Paid, vec![Action::Cancel]);
    assert!(!screen.contains("Pay to (") && screen.contains("You paid to (617.50 EUR by SEPA instant)"), "{screen}");
    assert!(screen.contains("DE89") && copied.is_empty(), "{screen}");
}

#[test]
fn what_was_paid_besides_is_asked_about_as_what_it_is() {
    let stray = StrayView {
        outpoint: format!("{}:1", "5a".repeat(32)),
        amount: common::sats(999_999),
        refund_from: Some(1_200),
        is_next: true,
    };
    let closed = trade(1, Role::Seller, Phase::Closed);
    let closed = exchange_api::TradeView { actions: vec![Action::Refund], strays: vec![stray.clone()], ..closed };
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![closed.clone()]));
    user.keys("4w");
    let screen = user.screen(80, 24);
    assert!(screen.contains("Take back what was paid besides?") && screen.contains("0.00999999 BTC"), "{screen}");
    assert!(!screen.contains("The trade ends."), "{screen}");
    user.pause();
    user.keys("y");
    let Call::Trade(action, command) = only_call(&mut user) else { panic!("not taken") };
    assert_eq!(action, Action::Refund);
    assert_eq!(command.seen.unwrap().stray.as_ref(), Some(&stray.outpoint), "that, and nothing else");
    // Where the trade's own coins come first, the question is about these.
    let strays = vec![StrayView { is_next: false, ..stray }];
    let mut user = User::trading();
    user.answer(Query::Trades, Answer::Trades(vec![exchange_api::TradeView { strays, ..closed }]));
    user.keys("4w");
    let screen = user.screen(80, 24);
    assert!(screen.contains("Take the coins back?") && screen.contains("The trade ends."), "{screen}");
}
