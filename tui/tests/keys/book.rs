//! The book: narrowed down, kept in place, read to its end.

use crossterm::event::KeyCode;
use exchange_api::{Page, RecordId, Side};
use exchange_tui::app::Tab;
use exchange_tui::message::{Answer, Call, Query};

use crate::common::{self, User, offers, only_call};

#[test]
fn the_book_is_narrowed_down_by_side_currency_and_text() {
    let mut user = User::trading();
    let sides = |user: &User| user.app.book.visible().iter().map(|offer| offer.side).collect::<Vec<_>>();
    assert_eq!(sides(&user).len(), 4, "who is away is hidden");
    user.keys("b");
    assert_eq!(sides(&user), [Side::Sell, Side::Sell]);
    user.keys("ac");
    assert_eq!(sides(&user).len(), 0, "CHF is away");
    assert!(user.screen(80, 24).contains("Press o for the offers of makers who are away."), "{}", user.screen(80, 24));
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
fn a_better_offer_does_not_come_under_the_terms_that_are_read() {
    let mut user = User::trading();
    user.keys("\n");
    let mut items = offers();
    items.insert(0, common::offer(9, Side::Sell, "EUR", 6_000_000, 1_000_000, 1_000_000, &["Cash"]));
    user.answer(Query::Book, Answer::Book(Page { items, next: None }));
    assert!(user.screen(80, 24).contains("Offer 01010101"), "{}", user.screen(80, 24));
    user.keys("t");
    assert_eq!(user.app.take.draft.as_ref().unwrap().offer.id, RecordId([1; 32]));
}

#[test]
fn one_s_own_offer_cannot_be_taken_and_the_reason_is_told() {
    let mut user = User::trading();
    user.keys("jjj");
    let screen = user.screen(80, 24);
    assert!(screen.contains("x withdraw") && !screen.contains("t take"), "{screen}");
    user.keys("t");
    assert_eq!(user.app.tab, Tab::Book);
    assert!(user.screen(80, 24).contains("take: this offer is your own"));
    user.keys("x");
    user.pause();
    user.keys("y");
    assert!(matches!(only_call(&mut user), Call::Withdraw(id) if id == RecordId([4; 32])));
}

#[test]
fn a_maker_who_is_silent_is_not_said_to_answer_within_seconds() {
    let mut user = User::trading();
    let summary = |user: &mut User, last_seen| {
        let mut items = offers();
        items[0].last_seen = last_seen;
        user.answer(Query::Book, Answer::Book(Page { items, next: None }));
        user.screen(80, 24)
    };
    assert!(
        summary(&mut user, common::NOW - 540).contains("within seconds."),
        "a node says every ten minutes that it runs"
    );
    let silent = summary(&mut user, common::NOW - 1_200);
    assert!(!silent.contains("within seconds"), "{silent}");
    assert!(silent.contains("it may take a while."), "the end of the line is there: {silent}");
}

#[test]
fn the_terms_of_an_offer_are_read_to_their_end() {
    let mut user = User::trading();
    let mut items = offers();
    items[0].terms = (1..=60).map(|at| format!("rule {at}\n")).collect();
    user.answer(Query::Book, Answer::Book(Page { items, next: None }));
    user.key(KeyCode::Home);
    user.keys("\n");
    assert!(user.screen(80, 24).contains("PgDn more"));
    for _ in 0..20 {
        user.key(KeyCode::PageDown);
    }
    for (width, height) in [(80, 24), (120, 40)] {
        let end = user.screen(width, height);
        assert!(end.contains("State ") && !end.contains("PgDn more"), "{end}");
    }
    user.keys("t");
    assert!(user.screen(80, 24).contains("All of it is in the book"), "{}", user.screen(80, 24));
}
