//! A newcomer with nothing but a terminal of 80 by 24 and its keys. He reads the screen and presses what it names.

use std::time::Duration;

use exchange_tests::{Key, Place, Terminal, program};

/// A maker of the demo, the cheapest who sells for euros.
const OFFER_TO_TAKE: &str = "▸ You buy  61,750.00 EUR";

#[test]
fn tui_posts_and_takes_by_keys_alone() {
    let _place = Place::take();
    let mut terminal = Terminal::run(&program("exchange-tui"), &["demo"]);
    terminal.shows("DEMO: play money");
    terminal.shows("61,750.00 EUR");

    posts_an_offer(&mut terminal);
    takes_an_offer(&mut terminal);
    pays_and_gets_the_coins(&mut terminal);

    // Somebody has taken his own offer meanwhile, and waits for him.
    terminal.types("4");
    terminal.shows("[4 Trades (1)]");
    terminal.types("q");
    terminal.shows("The demo ends, and with it 1 open trade.");
    terminal.shows("▸ [ Stay ]");
    terminal.press(Key::Enter);
    sees_a_dispute_end(&mut terminal);

    // Nothing is open any more, so nothing is asked.
    terminal.types("q");
    terminal.ends_cleanly();
}

fn posts_an_offer(terminal: &mut Terminal) {
    terminal.types("2");
    terminal.shows("▸ I want to     ‹ sell bitcoin ›");
    terminal.press(Key::Enter);
    terminal.shows("▸ Currency");
    terminal.press(Key::Enter); // euros, as suggested
    for text in ["62000.00", "0.005", "0.01", "SEPA instant", "No third parties."] {
        terminal.types(text);
        terminal.press(Key::Enter);
    }
    terminal.shows("▸ Accept bids   ‹ by itself");
    terminal.press(Key::Enter);
    terminal.types("Newcomer, DE02 1203 0000 0000 2020 51");
    terminal.press(Key::Enter);
    terminal.shows("▸ Arbiter       ‹ Court of the demo, whom I trust ›");
    terminal.press(Key::Enter);
    terminal.shows("▸ Bonds         ‹ none ›");
    terminal.press(Key::Enter);
    terminal.shows("▸ [ Post this offer ]");
    terminal.shows("You sell 0.005–0.01 BTC for 310.00–620.00 EUR by SEPA instant.");
    terminal.press(Key::Enter);
    says_yes(terminal, "▸ [ No, go back ]", "▸ [ Yes, post it ]");
    terminal.shows("Your offer is in the book.");
    terminal.types("1");
    let row = |screen: &str| {
        let mut lines = screen.lines();
        lines.any(|line| line.contains("You sell  62,000.00 EUR") && line.contains("yours"))
    };
    terminal.shows_that("his offer in the book", row);
}

fn takes_an_offer(terminal: &mut Terminal) {
    terminal.types("b");
    terminal.shows("Show: you buy");
    terminal.press(Key::Home);
    terminal.shows(OFFER_TO_TAKE);
    terminal.press(Key::Enter);
    terminal.shows("Enter take this offer");
    terminal.press(Key::Enter);
    terminal.shows("▸ Amount        0.004");
    for label in ["▸ Payment by", "▸ Arbiter", "▸ Your details"] {
        terminal.press(Key::Tab);
        terminal.shows(label);
    }
    terminal.types("Newcomer");
    terminal.press(Key::Tab);
    terminal.shows("▸ [ Review ]");
    terminal.press(Key::Enter);
    let review = terminal.shows("▸ [ No, go back ]");
    assert!(review.contains("You send      247.00 EUR"), "{review}");
    assert!(review.contains("You receive    0.004 BTC"), "{review}");
    // Nothing happens to somebody who presses Enter once too often.
    terminal.press(Key::Enter);
    terminal.shows("▸ [ Review ]");
    terminal.press(Key::Enter);
    says_yes(terminal, "▸ [ No, go back ]", "▸ [ Yes, take this offer ]");
}

fn pays_and_gets_the_coins(terminal: &mut Terminal) {
    let to_pay = terminal.shows_that("whom to pay, and the key to press", |screen| {
        screen.contains("Press  p  to say that you have paid") && screen.contains("Anna Larsen")
    });
    assert!(to_pay.contains("Pay to (247.00 EUR by SEPA instant)"), "{to_pay}");
    terminal.types("p");
    says_yes(terminal, "Have you paid?", "▸ [ Yes, I have paid ]");
    terminal.shows("✓ Payout confirmed");
    terminal.shows("It is over");
    terminal.types("5");
    terminal.shows_that("the coins", |screen| screen.contains("Spendable      100.0039"));
}

/// He sells, and calls for the arbiter although the buyer has paid: the demo's arbiter believes the buyer, and says so.
fn sees_a_dispute_end(terminal: &mut Terminal) {
    terminal.press(Key::Home);
    terminal.shows("Press  f  to fund the escrow");
    terminal.types("f");
    says_yes(terminal, "Fund the escrow?", "▸ [ Yes, fund it ]");
    terminal.shows("Press  r  to release the coins");
    terminal.types("d");
    says_yes(terminal, "Call for the arbiter?", "▸ [ Yes, dispute it ]");
    terminal.shows("Press  s  to show him what was said");
    terminal.types("s");
    says_yes(terminal, "Show the arbiter what was said?", "▸ [ Yes, show him ]");
    terminal.shows("✉1");
    terminal.shows("Settled: the arbiter ruled for the buyer");
}

/// Says yes once the question has been there to be read: in its first half second, as a program counts it which may be slow
/// here, it takes none.
fn says_yes(terminal: &mut Terminal, question: &str, yes: &str) {
    terminal.shows(question);
    std::thread::sleep(Duration::from_secs(2));
    terminal.press(Key::Right);
    terminal.shows(yes);
    terminal.press(Key::Enter);
}
