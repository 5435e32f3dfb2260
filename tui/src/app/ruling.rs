//! Ruling: whom an arbiter believes, and the question with what it comes to.

use exchange_api::{RuleTrade, Sats, TradeView, Verdict};

use super::ask::{Ask, Line};
use super::post::plain;
use crate::form::{Field, Form};
use crate::message::Call;
use crate::words;
use crate::words::ruling as w;

/// The field that says for whom.
const FOR: usize = 0;
/// The field of the buyer's part.
const PART: usize = 1;

/// Returns the form that asks for a verdict.
pub fn form() -> Form {
    let options = w::VERDICTS.map(ToOwned::to_owned).to_vec();
    Form::new(w::BUTTON, vec![Field::choice(w::FOR, options, ""), Field::text(w::PART, "", w::PART_HINT)])
}

/// Checks the form, marks what is wrong, and returns the verdict when nothing is.
pub fn check(form: &mut Form) -> Option<Verdict> {
    for field in &mut form.fields {
        field.error = None;
    }
    let part = plain(form.fields[PART].value().trim()).parse::<Sats>().ok();
    let chosen = form.fields[FOR].value();
    let [buyer, seller, _] = w::VERDICTS;
    if chosen == buyer {
        return Some(Verdict::Buyer);
    } else if chosen == seller {
        return Some(Verdict::Seller);
    }
    if part.is_none() {
        form.refuse(PART, words::BAD_AMOUNT);
        form.focus = Some(PART);
    }
    part.map(Verdict::Split)
}

/// Returns the question before a ruling, by the view that a dry run gave; `None` if that has no ruling.
pub fn question(weighed: &TradeView, request: RuleTrade) -> Option<Ask> {
    let ruling = weighed.dispute.as_ref()?.ruling.as_ref()?;
    let mut lines = vec![Line::Plain(words::trade::named(weighed))];
    lines.extend(w::division(ruling).into_iter().map(Line::Strong));
    lines.push(Line::Plain(w::NOTE.to_owned()));
    lines.push(Line::Warning(w::FINAL.to_owned()));
    Some(Ask::confirm(w::TITLE, lines, words::NO_BACK, w::YES, Call::Rule(request)))
}
