//! Talking in a trade.

use exchange_api::{AccountView, Person, Showing};

pub const TITLE: &str = "Messages";
pub const TO: &str = "To";
pub const TEXT: &str = "Message";
pub const BUTTON: &str = "Send";
pub const EMPTY: &str = "Nothing was said yet.";
pub const SEALED: &str = "Only the recipient reads a line. Your signature is on it: he can show the arbiter what you said, and you what he said.";
pub const NEW: &str = "new";
pub const NOT_AGREED: &str = "NOT the agreed payment details";
pub const AGREED: &str = "payment details";
pub const NOT_SHOWN: &str = "not shown";
pub const SHOWN: &str = "What the parties showed of what they said to each other";
pub const SENT: &str = "Sent.";
pub const NO_TEXT: &str = "there is nothing to send";
pub const CHOOSE: &str = "choose one: ← →";
pub const NO_ONE: &str = "to whom?";

/// Returns what somebody is called in a line of talk.
pub const fn person(person: Person) -> &'static str {
    match person {
        Person::Buyer => "the buyer",
        Person::Seller => "the seller",
        Person::Arbiter => "the arbiter",
        Person::SecondArbiter => "the second arbiter",
    }
}

/// Returns how many messages wait: `2 new messages`.
pub fn unread(count: u32) -> String {
    if count == 1 { "1 new message".to_owned() } else { format!("{count} new messages") }
}

/// Returns what a party's showing is worth.
pub fn verdict(showing: &Showing) -> String {
    let buyer = account("buyer", showing.buyer);
    format!("{} shows {buyer}, and {}.", person(showing.by), account("seller", showing.seller))
}

fn account(whose: &str, side: AccountView) -> String {
    let count = match side.known {
        1 => format!("1 message of the {whose}"),
        count => format!("{count} messages of the {whose}"),
    };
    match (side.missing, side.is_forked) {
        (_, true) => format!("{count} (two in one place: one was made up)"),
        (0, false) => format!("{count} (none missing before the last answered)"),
        (missing, false) => format!("{count} (at least {missing} MISSING)"),
    }
}
