//! A newcomer with nothing but a terminal and its keys.

use exchange_tests::{Key, Place, Terminal, program};

/// Longer than any animation: the screens of the demo are read, never remembered.
const PRICE_OF_ANNA: &str = "61,750.00";

#[test]
fn tui_posts_and_takes_by_keys_alone() {
    let _place = Place::take();
    let mut terminal = Terminal::run(&program("exchange-tui"), &["demo"]);
    terminal.shows("DEMO");
    terminal.shows(PRICE_OF_ANNA);
    posts_an_offer(&mut terminal);
    takes_an_offer(&mut terminal);
    finishes_the_trade(&mut terminal);

    terminal.types("5");
    terminal.shows("Balance");
    terminal.types("q");
    terminal.ends_cleanly();
}

fn posts_an_offer(terminal: &mut Terminal) {
    terminal.types("2");
    terminal.shows("I want to");
    terminal.press(Key::Tab); // he sells, as suggested
    terminal.press(Key::Tab); // for euros
    for text in ["62000.00", "0.005", "0.01", "SEPA instant", "No third parties"] {
        terminal.types(text);
        terminal.press(Key::Tab);
    }
    terminal.press(Key::Tab); // bids are accepted by the node
    terminal.types("Newcomer, DE02 1203 0000 0000 2020 51");
    terminal.press(Key::Tab);
    terminal.shows("You sell 0.005–0.01 BTC");
    terminal.press(Key::Enter);
    terminal.shows("Post this offer?");
    // “No” is what Enter would choose: yes must be meant.
    terminal.press(Key::Right);
    terminal.press(Key::Enter);
    terminal.shows("Your offer is in the book.");
    terminal.types("1");
    terminal.shows("62,000.00");
}

fn takes_an_offer(terminal: &mut Terminal) {
    terminal.types("b"); // only what he can buy
    terminal.shows_that("only what can be bought", |screen| !screen.contains("sell  "));
    terminal.press(Key::Enter);
    terminal.shows("Terms");
    terminal.types("t");
    terminal.shows("Your details");
}

fn finishes_the_trade(terminal: &mut Terminal) {
    terminal.types("4");
    terminal.shows("say that you have paid");
    terminal.types("p");
    terminal.shows("Have you paid?");
    terminal.types("y");
    terminal.shows("It is over");
    terminal.shows("done");
}
