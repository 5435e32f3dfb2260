//! Showing an arbiter what was said in a trade.

use exchange_api::{ArbiterView, Disclosure, MessageView, MessageWords, Person, Role};

use super::{chat, take};
use crate::format;

pub const FORM_TITLE: &str = "To which arbiter?";
pub const TO: &str = "To";
pub const FORM_BUTTON: &str = "See what he would get";
pub const TITLE: &str = "Show the arbiter what was said?";
pub const PROOF: &str =
    "Each goes with its sender's signature: he sees who said it, and if one is missing. Nobody else gets it.";
pub const FINAL: &str = "What he has seen cannot be taken back.";
pub const YES: &str = "Yes, show him";
pub const PRESS: &str = "to show him what was said";
pub const SHOWN: &str = "You have shown the arbiter what was said.";

/// Payment details that a question quotes; of more it tells how many.
const MAX_QUOTES: usize = 3;
/// Characters of payment details that a question quotes.
const MAX_QUOTED: usize = 100;

/// Returns an arbiter as an option.
pub fn option(person: Person, arbiter: &ArbiterView) -> String {
    named(person, &take::name(arbiter))
}

/// Returns who gets what: `Ada (the arbiter) gets 3 messages between you and the other:`.
pub fn what(would: &Disclosure) -> String {
    let count = counted(would.messages.len());
    format!("{} gets {count} between you and the other:", named(would.to, &would.name))
}

/// Returns what he gets: how many lines of whom, and all payment details. `me` is the user's role.
pub fn parts(would: &Disclosure, me: Option<Role>) -> Vec<String> {
    let said = would.messages.iter().filter(|message| matches!(message.words, MessageWords::Chat { .. }));
    let (mine, theirs): (Vec<_>, Vec<_>) = said.partition(|message| is_of(message, me));
    let mut parts = Vec::new();
    if !mine.is_empty() || !theirs.is_empty() {
        parts.push(format!("· lines that you wrote: {}; that the other wrote: {}", mine.len(), theirs.len()));
    }
    let quotes: Vec<String> = would.messages.iter().filter_map(|message| quote(message, me)).collect();
    let more = quotes.len().saturating_sub(MAX_QUOTES);
    parts.extend(quotes.into_iter().take(MAX_QUOTES));
    if more > 0 {
        parts.push(format!("· and {more} more with payment details"));
    }
    parts
}

/// Says that he was shown something before.
pub fn before(count: u32) -> Option<String> {
    (count > 0).then(|| format!("He was shown what came before: {count}."))
}

/// Says why there is nothing to show.
pub const fn nothing(before: u32) -> &'static str {
    if before == 0 { "Nothing was said yet that could be shown." } else { "He was shown everything already." }
}

/// Says that it was shown.
pub fn done(shown: &Disclosure) -> String {
    format!("{} shown to {}.", counted(shown.messages.len()), named(shown.to, &shown.name))
}

fn named(person: Person, name: &str) -> String {
    match format::clean(name.trim()).as_str() {
        "" => chat::person(person).to_owned(),
        name => format!("{name} ({})", chat::person(person)),
    }
}

fn counted(messages: usize) -> String {
    if messages == 1 { "1 message".to_owned() } else { format!("{messages} messages") }
}

const fn is_of(message: &MessageView, me: Option<Role>) -> bool {
    matches!((message.from, me), (Person::Buyer, Some(Role::Buyer)) | (Person::Seller, Some(Role::Seller)))
}

fn quote(message: &MessageView, me: Option<Role>) -> Option<String> {
    let MessageWords::Details { details, is_agreed } = &message.words else { return None };
    let whose = if is_of(message, me) { "your" } else { "the other's" };
    let doubt = if *is_agreed { "" } else { " (NOT those agreed on)" };
    let text = format::clean(details.trim()).replace('\n', ", ");
    Some(format!("· {whose} payment details{doubt}: {}", format::cut(&text, MAX_QUOTED)))
}
