//! Taking an offer: the form, then the review with "no" as its default.

use exchange_api::{ArbiterView, MoneyError, OfferView, Sats, Side, TakeOffer, TakeReview};

use super::ask::{Ask, Choice, Outcome};
use super::book::your_side;
use super::post::plain;
use crate::form::{Field, Form, Value};
use crate::message::Call;
use crate::{format, words};

/// The fields by position.
pub const AMOUNT: usize = 0;
/// The payment method.
pub const METHOD: usize = 1;
/// The arbiter.
pub const ARBITER: usize = 2;
/// Payment details.
pub const DETAILS: usize = 3;

/// Taking an offer.
#[derive(Debug, Default)]
pub struct Take {
    /// The offer and what is typed; `None` until one is chosen in the book.
    pub draft: Option<Draft>,
    /// What taking it would mean, once asked.
    pub review: Option<Review>,
}

/// An offer and what is typed.
#[derive(Debug)]
pub struct Draft {
    /// The offer.
    pub offer: OfferView,
    /// The form.
    pub form: Form,
}

/// What taking an offer would mean, and the question.
#[derive(Debug)]
pub struct Review {
    /// What it would mean.
    pub terms: TakeReview,
    /// The question.
    pub ask: Ask,
}

impl Take {
    /// Starts with an offer; goes on with what was typed when it is the same one.
    pub fn start(&mut self, offer: &OfferView, now: u64) {
        self.review = None;
        // The form's options are those of the offer as it was: with other arbiters known, or trusted, it begins anew.
        let same = |draft: &&mut Draft| draft.offer.id == offer.id && draft.offer.arbiters == offer.arbiters;
        if let Some(draft) = self.draft.as_mut().filter(same) {
            draft.offer = offer.clone();
            // After Esc it has no focus, and digits would be keys of the screens.
            draft.form.focus.get_or_insert(AMOUNT);
            return;
        }
        // Nobody is chosen for a user but whom he trusts.
        let trusted = offer.arbiters.iter().position(is_given);
        let choose = trusted.is_none().then(|| words::take::CHOOSE.to_owned());
        let named = offer.arbiters.iter().map(|arbiter| words::take::arbiter(arbiter, now));
        let arbiters =
            Value::Choice { options: choose.into_iter().chain(named).collect(), chosen: trusted.unwrap_or(0) };
        let details = match your_side(offer) {
            Side::Buy => words::take::BUYER_DETAILS,
            Side::Sell => words::take::SELLER_DETAILS,
        };
        let hint = words::take::amount_hint(&format::range(&format::btc(offer.min), &format::btc(offer.max)));
        let mut form = Form::new(
            words::take::BUTTON,
            vec![
                Field::suggestion(words::take::AMOUNT, &format::btc(offer.min), hint),
                Field::choice(words::take::METHOD, offer.methods.clone(), ""),
                Field::new(words::take::ARBITER, "", arbiters),
                Field::text(words::take::DETAILS, "", details),
            ],
        );
        // One's own details are the only thing that has no default.
        form.focus = Some(if offer.min == offer.max { DETAILS } else { AMOUNT });
        self.draft = Some(Draft { offer: offer.clone(), form });
    }

    /// Returns the form, unless the review is shown.
    pub fn form(&self) -> Option<&Form> {
        if self.review.is_some() { None } else { self.draft.as_ref().map(|draft| &draft.form) }
    }

    /// Returns the form, unless the review is shown.
    pub fn form_mut(&mut self) -> Option<&mut Form> {
        if self.review.is_some() { None } else { self.draft.as_mut().map(|draft| &mut draft.form) }
    }

    /// Returns the question of the review.
    pub fn ask(&self) -> Option<&Ask> {
        self.review.as_ref().map(|review| &review.ask)
    }

    /// Returns the question of the review.
    pub fn ask_mut(&mut self) -> Option<&mut Ask> {
        self.review.as_mut().map(|review| &mut review.ask)
    }

    /// Tells whether anything was typed.
    pub fn is_edited(&self) -> bool {
        self.draft.as_ref().is_some_and(|draft| !draft.form.fields[DETAILS].value().trim().is_empty())
    }

    /// Shows what taking would mean, with the question. `request` is what will be sent on "yes".
    pub fn show_review(&mut self, terms: TakeReview, request: TakeOffer) {
        let yes = if terms.arbiter.trusted { words::take::YES } else { words::take::YES_UNTRUSTED };
        let choices = vec![
            Choice { label: words::NO_BACK.to_owned(), outcome: Outcome::Back },
            Choice { label: yes.to_owned(), outcome: Outcome::Call(Box::new(Call::Take(request))) },
        ];
        let ask = Ask { title: words::take::REVIEW.to_owned(), lines: Vec::new(), choices, chosen: 0, yes: 1 };
        self.review = Some(Review { terms, ask });
    }
}

impl Draft {
    /// Returns the amount that is typed.
    ///
    /// # Errors
    /// When it is no amount.
    pub fn amount(&self) -> Result<Sats, MoneyError> {
        plain(self.form.fields[AMOUNT].value().trim()).parse()
    }

    /// Returns the arbiter that is chosen.
    fn arbiter(&self) -> Option<&ArbiterView> {
        let is_asked = !self.offer.arbiters.iter().any(is_given);
        let at = self.form.fields[ARBITER].chosen().checked_sub(usize::from(is_asked))?;
        self.offer.arbiters.get(at)
    }

    /// Says at once what is wrong with the amount, as soon as there is one.
    pub fn check_amount(&mut self) {
        let typed = self.form.fields[AMOUNT].value().trim();
        let wrong = match self.amount() {
            Err(_) => Some(words::bad_amount(typed).to_owned()),
            Ok(amount) if amount < self.offer.min || amount > self.offer.max => {
                let range = format::range(&format::btc(self.offer.min), &format::btc(self.offer.max));
                Some(words::take::out_of_range(&range))
            }
            Ok(_) => None,
        };
        self.form.fields[AMOUNT].error = wrong;
    }

    /// Checks everything, marks what is wrong, and returns the request when nothing is. Its id is still empty.
    pub fn check(&mut self) -> Option<TakeOffer> {
        let amount = self.amount().ok();
        for field in &mut self.form.fields {
            field.error = None;
        }
        self.check_amount();
        let details = self.form.fields[DETAILS].value().trim().to_owned();
        if details.is_empty() {
            self.form.refuse(DETAILS, words::take::NO_DETAILS);
        }
        let arbiter = self.arbiter().map(|arbiter| (arbiter.advert, arbiter.withdrawn));
        match arbiter {
            None => self.form.refuse(ARBITER, words::take::NO_ARBITER),
            Some((_, true)) => self.form.refuse(ARBITER, words::take::WITHDRAWN_ARBITER),
            Some((_, false)) => {}
        }
        if !self.form.is_right() {
            return None;
        }
        let position = |at: usize| u8::try_from(self.form.fields[at].chosen()).ok(); // at most 8 of each
        Some(TakeOffer {
            request_id: String::new(),
            dry_run: true,
            offer: self.offer.id,
            amount: amount?,
            method: position(METHOD),
            arbiter: arbiter.map(|(advert, _)| advert),
            second_arbiter: None,
            details,
        })
    }
}

/// Tells whether an arbiter is chosen for a user who says nothing: he trusts him, and he is there.
const fn is_given(arbiter: &ArbiterView) -> bool {
    arbiter.trusted && !arbiter.withdrawn
}
