//! Showing an arbiter what was said in a trade: to whom, and the question that says what he gets.

use exchange_api::{Disclose, Disclosure, Person, Role, TradeView};

use super::ask::{Ask, Line};
use crate::form::{Field, Form};
use crate::message::Call;
use crate::words;
use crate::words::disclose as w;

/// Returns the form that asks to which arbiter, where there are two.
pub fn form(trade: &TradeView) -> Option<Form> {
    let second = trade.second_arbiter.as_ref()?;
    let options = vec![w::option(Person::Arbiter, &trade.arbiter), w::option(Person::SecondArbiter, second)];
    Some(Form::new(w::FORM_BUTTON, vec![Field::choice(w::TO, options, "")]))
}

/// Tells whether the second arbiter is chosen.
pub fn is_to_second(form: &Form) -> bool {
    form.fields.first().is_some_and(|field| field.chosen() == 1)
}

/// Tells whether this is what would be shown by a request.
pub fn is_of(would: &Disclosure, request: &Disclose) -> bool {
    (would.trade, would.to == Person::SecondArbiter) == (request.trade, request.second)
}

/// Returns the question before anything is shown, by what a dry run gave. `named` says of which trade, `me` is the user's role.
pub fn question(would: &Disclosure, named: String, me: Option<Role>, request: Disclose) -> Ask {
    let mut lines = vec![Line::Plain(named), Line::Strong(w::what(would))];
    lines.extend(w::parts(would, me).into_iter().map(Line::Plain));
    lines.push(Line::Plain(w::PROOF.to_owned()));
    lines.extend(w::before(would.before).map(Line::Plain));
    lines.push(Line::Warning(w::FINAL.to_owned()));
    Ask::confirm(w::TITLE, lines, words::NO_BACK, w::YES, Call::Disclose(request))
}

#[cfg(test)]
mod tests {
    use exchange_api::{MessageView, MessageWords, TradeId};

    use super::*;

    fn said(from: Person, words: MessageWords) -> MessageView {
        let to = if from == Person::Buyer { Person::Seller } else { Person::Buyer };
        MessageView { number: 1, from, to, time: 0, words }
    }

    fn details(text: &str, is_agreed: bool) -> MessageWords {
        MessageWords::Details { details: text.into(), is_agreed }
    }

    #[test]
    fn a_user_sees_who_would_get_which_details_and_how_many_lines() {
        let chat = || MessageWords::Chat { text: "hello".into() };
        let messages = vec![
            said(Person::Seller, details("Sam\nDE02 1203", true)),
            said(Person::Buyer, details("Bea\u{202e}", false)),
            said(Person::Buyer, chat()),
            said(Person::Buyer, chat()),
            said(Person::Seller, chat()),
        ];
        let (trade, to) = (TradeId([1; 32]), Person::Arbiter);
        let would = Disclosure { trade, to, name: "Ada".into(), messages, before: 2 };
        let request = Disclose { dry_run: false, trade, second: false };
        assert!(is_of(&would, &request));
        assert!(!is_of(&would, &Disclose { second: true, ..request.clone() }));

        let ask = question(&would, "Trade 01010101.".into(), Some(Role::Buyer), request);
        let plain = |text: &str| Line::Plain(text.to_owned());
        assert_eq!(ask.lines[0], plain("Trade 01010101."));
        assert_eq!(ask.lines[1], Line::Strong("Ada (the arbiter) gets 5 messages between you and the other:".into()));
        assert_eq!(ask.lines[2], plain("· lines that you wrote: 2; that the other wrote: 1"));
        assert_eq!(ask.lines[3], plain("· the other's payment details: Sam, DE02 1203"));
        assert_eq!(ask.lines[4], plain("· your payment details (NOT those agreed on): Bea\u{fffd}"));
        assert!(ask.lines.contains(&plain("He was shown what came before: 2.")));
        assert_eq!(ask.chosen, 0, "no is the default");
    }

    #[test]
    fn a_flood_of_payment_details_is_counted_and_not_quoted() {
        let messages = (0..100).map(|_| said(Person::Seller, details(&"x".repeat(1000), false))).collect();
        let would =
            Disclosure { trade: TradeId([1; 32]), to: Person::Arbiter, name: String::new(), messages, before: 0 };
        let request = Disclose { dry_run: false, trade: would.trade, second: false };
        let ask = question(&would, String::new(), None, request);
        assert!(ask.lines.len() < 10);
        assert!(ask.lines.contains(&Line::Plain("· and 97 more with payment details".into())));
    }
}
