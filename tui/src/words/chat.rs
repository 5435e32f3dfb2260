//! Talking in a trade.

use exchange_api::{AccountView, Arrival, Person, Showing};

use crate::format;

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

/// Returns what a message that an arbiter is shown is worth beside its sender's word; nothing where the other answered it.
pub const fn arrival(arrival: Arrival) -> Option<&'static str> {
    match arrival {
        Arrival::Answered => None,
        Arrival::Had => Some("when: its sender's word"),
        Arrival::Unproven => Some("ONLY its sender shows it"),
    }
}

/// Returns what a party showed, and who says that there was more: that he says so is proven, and not that it is true.
pub fn verdict(showing: &Showing) -> String {
    let Showing { by, buyer, seller } = *showing;
    let end = if showing.is_complete() { "; nothing is missing to which they refer." } else { "." };
    let shown = format!("{} of the buyer and {} of the seller{end}", counted(buyer.known), seller.known);
    let mut text = format!("{} shows {shown}", person(by));
    for (writer, other, side) in [(Person::Buyer, Person::Seller, buyer), (Person::Seller, Person::Buyer, seller)] {
        text.push_str(&remarks(writer, other, side, writer == by));
    }
    text
}

/// Returns what one side's messages say of others that are not shown. Who wrote them can show what they name, if there is such a
/// thing: in his own showing it is missing, in the other's it is his word.
fn remarks(writer: Person, other: Person, side: AccountView, is_his_showing: bool) -> String {
    let (who, whom) = (format::sentence(person(writer)), person(other));
    let who = who.trim_end_matches('.');
    let them = |count: u32| if count == 1 { "it" } else { "them" };
    let mut text = String::new();
    if side.own_missing > 0 {
        let (count, them) = (side.own_missing, them(side.own_missing));
        text.push_str(&format!(" {who} numbers at least {count} more of his own"));
        text.push_str(&if is_his_showing {
            format!(" and DOES NOT SHOW {them}.")
        } else {
            format!(": he can show {them}; whether he ever sent {them}, nothing here proves.")
        });
    }
    if side.other_missing > 0 {
        let (count, them) = (counted(side.other_missing), them(side.other_missing));
        text.push_str(&format!(" {who} wrote that he had {count} of {whom}"));
        text.push_str(&if is_his_showing {
            format!(" and DOES NOT SHOW {them}.")
        } else {
            format!(" not shown here: he can show {them}; that he had {them}, nothing else here proves.")
        });
    }
    if side.is_forked {
        text.push_str(&format!(" {who} CONTRADICTS himself: something that he signed was made up afterwards."));
    }
    text
}

fn counted(messages: u32) -> String {
    if messages == 1 { "1 message".to_owned() } else { format!("{messages} messages") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arbiter_reads_whose_word_it_is_that_something_is_missing() {
        let whole = AccountView { known: 2, ..AccountView::default() };
        let (holes, refers) = (AccountView { own_missing: 2, ..whole }, AccountView { other_missing: 1, ..whole });
        let read = |by, seller| verdict(&Showing { by, buyer: whole, seller });
        for (by, account, expected) in [
            (Person::Buyer, whole, "; nothing is missing to which they refer."),
            (Person::Buyer, holes, ". The seller numbers at least 2 more of his own: he can show them;"),
            (Person::Seller, holes, ". The seller numbers at least 2 more of his own and DOES NOT SHOW them."),
            (Person::Buyer, refers, ". The seller wrote that he had 1 message of the buyer not shown here:"),
            (Person::Seller, refers, ". The seller wrote that he had 1 message of the buyer and DOES NOT SHOW it."),
        ] {
            let text = read(by, account);
            assert!(text.contains(&format!("2 messages of the buyer and 2 of the seller{expected}")), "{text}");
            assert!(!text.contains("The buyer "), "{text}");
        }
        let forked = AccountView { is_forked: true, ..whole };
        assert!(read(Person::Buyer, forked).contains(". The seller CONTRADICTS himself"));
    }
}
