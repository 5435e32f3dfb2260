//! Taking an offer: what is typed, what is reviewed, what is asked of the node.

use crossterm::event::KeyCode;
use exchange_api::{ArbiterView, AuthorId, Page, Phase, RecordId, Role, TakeReview, TradeId};
use exchange_tui::app::Tab;
use exchange_tui::message::{Answer, Call, CallName, Command, Query, Reply};

use crate::common::{self, User, offers, only_call, reply, review, trade, unreachable};

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
    user.pause();
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
fn an_arbiter_who_has_withdrawn_is_neither_given_nor_taken() {
    let mut user = User::trading();
    let mut items = offers();
    items[0].arbiters[0].withdrawn = true;
    user.answer(Query::Book, Answer::Book(Page { items, next: None }));
    user.key(KeyCode::Home);
    user.keys("t");
    user.keys("\t\t\tAnn Example\t\n");
    assert!(user.taken_commands().is_empty(), "nobody else is trusted, so one must be picked");
    user.key(KeyCode::Right);
    assert!(user.screen(80, 24).contains("Alice the Arbiter (has withdrawn)"), "{}", user.screen(80, 24));
    user.keys("\t\t\n");
    assert!(user.taken_commands().is_empty());
    let screen = user.screen(80, 24);
    assert!(screen.contains("‹ Alice the Arbiter (has withdrawn) ›  ✗ choose another"), "{screen}");
    user.key(KeyCode::Right);
    user.keys("\t\t\n");
    let Call::Review(request) = only_call(&mut user) else { panic!("no review") };
    assert_eq!(request.arbiter, Some(common::stranger("", 0).advert));
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
fn of_a_group_it_is_said_how_many_of_how_many_rule() {
    let mut user = User::trading();
    let group = |arbiter: ArbiterView| {
        let members = [8, 11, 12].map(|id| AuthorId([id; 32])).to_vec();
        ArbiterView { threshold: 2, members, ..arbiter }
    };
    let mut items = offers();
    items[0].arbiters = vec![group(common::arbiter("Three judges", 5_000))];
    user.answer(Query::Book, Answer::Book(Page { items, next: None }));
    user.key(KeyCode::Home);
    user.keys("t");
    assert!(user.screen(120, 40).contains("Three judges (2 of 3) (trusted; "), "{}", user.screen(120, 40));
    user.keys("\t\t\tAnn Example\t\n");
    only_call(&mut user);
    let mut review = review(Role::Buyer);
    // Its user took it off his list meanwhile.
    review.arbiter = ArbiterView { trusted: false, ..group(common::arbiter("Three judges", 5_000)) };
    reply(&mut user, CallName::Review, Ok(Reply::Review(review)));
    let screen = user.screen(120, 40);
    assert!(screen.contains("Three judges (2 of 3) (07070707), asks 0.5 %"), "by its advert: {screen}");
    assert!(screen.contains("! Three judges (2 of 3) is not on your list"), "{screen}");
}

#[test]
fn who_rules_when_the_arbiter_is_away_is_shown_before_anything_is_agreed() {
    let mut user = User::trading();
    user.keys("t");
    user.keys("\t\t\tAnn Example\t\n");
    only_call(&mut user);
    let (advert, author) = (RecordId([12; 32]), AuthorId([13; 32]));
    let second = ArbiterView { advert, author, ..common::arbiter("Zoe", 10_000) };
    let review = TakeReview { second_arbiter: Some(second), ..review(Role::Buyer) };
    reply(&mut user, CallName::Review, Ok(Reply::Review(review)));
    let screen = user.screen(80, 24);
    assert!(screen.contains("If he is away Zoe (0d0d0d0d), asks 1 % for a ruling"), "{screen}");
    user.pause();
    user.keys("y");
    let Call::Take(request) = only_call(&mut user) else { panic!("not taken") };
    assert_eq!(request.second_arbiter, Some(advert), "he, and nobody else");
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
        user.pause();
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
fn details_that_are_changed_meanwhile_are_reviewed_anew() {
    let mut user = User::trading();
    user.keys("t");
    user.keys("\t\t\tAnn\t\n");
    only_call(&mut user);
    user.key(KeyCode::BackTab);
    user.keys(" Example, DE89");
    reply(&mut user, CallName::Review, Ok(Reply::Review(review(Role::Buyer))));
    assert!(user.app.take.review.is_none(), "half of them would bind him");
    assert!(user.screen(80, 24).contains("! You went on meanwhile: please ask again."), "{}", user.screen(80, 24));
    user.keys("\t\n");
    only_call(&mut user);
    reply(&mut user, CallName::Review, Ok(Reply::Review(review(Role::Buyer))));
    user.pause();
    user.keys("y");
    let Call::Take(request) = only_call(&mut user) else { panic!("not taken") };
    assert_eq!(request.details, "Ann Example, DE89");
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
