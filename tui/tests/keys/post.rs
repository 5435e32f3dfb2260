//! Posting an offer: what is warned of before it stands in the book.

use exchange_api::{Balance, Sats};
use exchange_tui::message::{Answer, Call, Query};

use crate::common::{self, User, only_call};

/// Fills in the form of an offer with these terms, up to the question.
fn asked(terms: &str, spendable: Sats) -> User {
    let mut user = User::trading();
    let none = Sats::ZERO;
    let balance = Balance { spendable, pending: none, in_escrow: none, frozen: none, reserved: none };
    user.answer(Query::Balance, Answer::Balance(balance));
    user.keys("2\t\t61,750\t0.01\t0.05\tSEPA instant\t");
    user.keys(terms);
    user.keys("\t\tAnn Example, DE89 3704\t\t\t\n");
    user
}

#[test]
fn whoever_cannot_fund_what_he_offers_is_told_before_it_is_posted() {
    let poor = asked("", Sats::ZERO).screen(80, 24);
    assert!(poor.contains("! Your wallet holds 0.00 BTC and the smallest trade"), "{poor}");
    let some = asked("", common::sats(2_000_000)).screen(80, 24);
    assert!(some.contains("! Your wallet holds 0.02 BTC and the largest trade"), "{some}");
    let rich = asked("", common::sats(50_000_000)).screen(80, 24);
    assert!(!rich.contains("Your wallet holds"), "{rich}");
}

#[test]
fn the_question_shows_terms_and_arbiter_and_keeps_its_answers_on_the_screen() {
    let mut user = asked(&"Only from an account in your own name. ".repeat(20), Sats::ZERO);
    let screen = user.screen(80, 24);
    assert!(screen.contains("Terms: Only from an account in your own name."), "{screen}");
    assert!(screen.contains("Alice the Arbiter, whom I trust"), "{screen}");
    assert!(screen.contains("[ No, go back ]") && screen.contains("[ Yes, post it ]"), "{screen}");
    user.taken_commands();
    user.pause();
    user.keys("y");
    assert!(matches!(only_call(&mut user), Call::Post(_)));
}

#[test]
fn an_offer_is_seen_whole_while_it_is_typed_where_there_is_room() {
    let mut user = User::trading();
    user.keys("2\t\t61,750\t0.01\t0.05\tSEPA instant\tNo third parties.");
    let screen = user.screen(120, 40);
    for words in
        ["Terms: No third parties.", "Arbiter: Alice the Arbiter, whom I trust", "Bonds: none", "Bids: Accepts"]
    {
        assert!(screen.contains(words), "{words}: {screen}");
    }
}
