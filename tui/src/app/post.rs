//! Posting an offer: what is typed, what it means, and what is wrong with it.

use exchange_api::{ArbiterView, Currency, MIN_TRADE, OfferView, PostOffer, Price, Sats, Side, share_of};

use crate::form::{Field, Form, Value};
use crate::{format, words};

/// The fields by position.
pub const SIDE: usize = 0;
/// The other money.
pub const CURRENCY: usize = 1;
/// The price.
pub const PRICE: usize = 2;
/// The smallest amount.
pub const MIN: usize = 3;
/// The largest amount.
pub const MAX: usize = 4;
/// Payment methods.
pub const METHODS: usize = 5;
/// Terms.
pub const TERMS: usize = 6;
/// Whether bids are accepted by the node.
pub const AUTOMATIC: usize = 7;
/// Payment details.
pub const DETAILS: usize = 8;
/// The arbiter.
pub const ARBITER: usize = 9;
/// What both lock besides.
pub const BONDS: usize = 10;

/// What can be chosen as bonds of seller and buyer, in millionths of the amount; the command line takes any.
pub const BOND_CHOICES: [(u32, u32); 4] = [(0, 0), (100_000, 0), (100_000, 100_000), (250_000, 250_000)];
/// A price that is this many per cent worse for the maker than the best in the book is probably a slip.
const SUSPICIOUS_PERCENT: u64 = 10;
/// As in the rules of offers.
const MAX_METHODS: usize = 8;
/// As in the rules of offers, in bytes.
const MAX_METHOD_BYTES: usize = 40;

/// The form.
#[derive(Debug)]
pub struct Post {
    /// Its fields.
    pub form: Form,
    arbiters: Vec<ArbiterView>,
}

impl Default for Post {
    fn default() -> Self {
        let choice = |label, options: [&str; 2], hint| Field::choice(label, options.map(str::to_owned).to_vec(), hint);
        let fields = vec![
            choice(words::post::SIDE, words::post::SIDES, ""),
            Field::suggestion(words::post::CURRENCY, "EUR", words::post::CURRENCY_HINT),
            Field::text(words::post::PRICE, "", words::post::price_hint("EUR")),
            Field::text(words::post::MIN, "", words::post::MIN_HINT),
            Field::text(words::post::MAX, "", words::post::MAX_HINT),
            Field::text(words::post::METHODS, "", words::post::METHODS_HINT),
            Field::text(words::post::TERMS, "", words::post::TERMS_HINT),
            choice(words::post::AUTOMATIC, words::post::AUTOMATIC_OPTIONS, ""),
            Field::text(words::post::DETAILS, "", words::post::DETAILS_HINT),
            Field::choice(words::take::ARBITER, vec![words::post::ASKING.to_owned()], ""),
            Field::choice(words::post::BONDS, BOND_CHOICES.map(words::post::bonds).to_vec(), words::post::BONDS_HINT),
        ];
        Self { form: Form::new(words::post::BUTTON, fields), arbiters: Vec::new() }
    }
}

/// What the form says so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The maker's side.
    pub side: Side,
    /// The other money.
    pub currency: Option<Currency>,
    /// The price.
    pub price: Option<Price>,
    /// The smallest amount.
    pub min: Option<Sats>,
    /// The largest amount.
    pub max: Option<Sats>,
    /// Payment methods.
    pub methods: Vec<String>,
}

impl Post {
    /// Tells whether anything was typed into it.
    pub fn is_edited(&self) -> bool {
        [PRICE, MIN, MAX, METHODS, TERMS, DETAILS].into_iter().any(|at| !self.value(at).is_empty())
    }

    fn value(&self, at: usize) -> &str {
        self.form.fields.get(at).map_or("", |field| field.value().trim())
    }

    /// Returns what the form says so far.
    pub fn draft(&self) -> Draft {
        let currency: Option<Currency> = self.value(CURRENCY).to_uppercase().parse().ok();
        let price =
            currency.and_then(|currency| currency.parse_minor(&plain(self.value(PRICE))).ok()).and_then(Price::new);
        let mut methods: Vec<String> = Vec::new();
        for method in self.value(METHODS).split(',').map(str::trim).filter(|method| !method.is_empty()) {
            if !methods.iter().any(|known| known == method) {
                methods.push(method.to_owned());
            }
        }
        Draft {
            side: if self.form.fields[SIDE].chosen() == 0 { Side::Sell } else { Side::Buy },
            currency,
            price,
            min: plain(self.value(MIN)).parse().ok(),
            max: plain(self.value(MAX)).parse().ok(),
            methods,
        }
    }

    /// Takes in the arbiters that the node knows, the trusted first, but for those who have withdrawn. What was chosen stays
    /// chosen.
    pub fn know_arbiters(&mut self, mut arbiters: Vec<ArbiterView>, now: u64) {
        arbiters.retain(|arbiter| !arbiter.withdrawn);
        let chosen = self.arbiter().cloned();
        let trusted: Vec<&ArbiterView> = arbiters.iter().filter(|arbiter| arbiter.trusted).collect();
        let first = match (&trusted[..], &arbiters[..]) {
            (_, []) => words::post::NO_ARBITERS.to_owned(),
            ([], _) => words::take::CHOOSE.to_owned(),
            (trusted, _) => words::post::trusted(trusted),
        };
        let named = arbiters.iter().map(|arbiter| words::take::arbiter(arbiter, now));
        let at = chosen.and_then(|chosen| arbiters.iter().position(|arbiter| is_same(arbiter, &chosen)));
        let options = std::iter::once(first).chain(named).collect();
        self.form.fields[ARBITER].value = Value::Choice { options, chosen: at.map_or(0, |at| at + 1) };
        self.arbiters = arbiters;
    }

    /// Returns the arbiter that is chosen; `None` while nobody is, or all whom the user trusts.
    pub fn arbiter(&self) -> Option<&ArbiterView> {
        self.form.fields[ARBITER].chosen().checked_sub(1).and_then(|at| self.arbiters.get(at))
    }

    /// Returns what of the offer its sentence does not say: the name of each thing, and the thing.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let by_itself = self.form.fields[AUTOMATIC].chosen() == 0;
        let terms = match self.value(TERMS) {
            "" => words::book::NO_TERMS,
            terms => terms,
        };
        vec![
            (words::post::TERMS, format::clean(terms)),
            (words::take::ARBITER, self.value(ARBITER).to_owned()),
            (words::post::BONDS, self.value(BONDS).to_owned()),
            (words::post::BIDS, if by_itself { words::book::BY_ITSELF } else { words::book::BY_HAND }.to_owned()),
        ]
    }

    /// Adapts the words of the form to what is typed.
    pub fn refresh_hints(&mut self) {
        let currency = self.draft().currency.map_or_else(|| "…".to_owned(), |currency| currency.to_string());
        self.form.fields[PRICE].hint = words::post::price_hint(&currency);
    }

    /// Checks everything, marks what is wrong, and returns the request when nothing is. Its id is still empty.
    pub fn check(&mut self) -> Option<PostOffer> {
        let draft = self.draft();
        for field in &mut self.form.fields {
            field.error = None;
        }
        if draft.currency.is_none() {
            self.form.refuse(CURRENCY, words::post::BAD_CURRENCY);
        }
        if draft.price.is_none() {
            let comma = words::bad_amount(self.value(PRICE)) == words::DECIMAL_COMMA;
            self.form.refuse(PRICE, if comma { words::DECIMAL_COMMA } else { words::post::BAD_PRICE });
        }
        match draft.min {
            None => self.form.refuse(MIN, words::bad_amount(self.value(MIN))),
            Some(min) if min < MIN_TRADE => self.form.refuse(MIN, words::post::below_minimum(MIN_TRADE)),
            Some(_) => {}
        }
        match (draft.min, draft.max) {
            (_, None) => self.form.refuse(MAX, words::bad_amount(self.value(MAX))),
            (Some(min), Some(max)) if max < min => self.form.refuse(MAX, words::post::MAX_BELOW_MIN),
            (_, Some(max)) if draft.price.is_some_and(|price| price.cost(max).is_none()) => {
                self.form.refuse(MAX, words::post::TOO_MUCH);
            }
            (_, Some(_)) => {}
        }
        if draft.methods.is_empty() {
            self.form.refuse(METHODS, words::post::NO_METHOD);
        } else if draft.methods.len() > MAX_METHODS
            || draft.methods.iter().any(|method| method.len() > MAX_METHOD_BYTES)
        {
            self.form.refuse(METHODS, words::post::BAD_METHODS);
        }
        let automatic = self.form.fields[AUTOMATIC].chosen() == 0;
        let details = self.value(DETAILS).to_owned();
        if automatic && details.is_empty() {
            self.form.refuse(DETAILS, words::post::NO_DETAILS);
        }
        let arbiter = self.arbiter().map(|arbiter| arbiter.advert);
        if self.arbiters.is_empty() {
            self.form.refuse(ARBITER, words::post::NO_ADVERTS);
        } else if arbiter.is_none() && !self.arbiters.iter().any(|arbiter| arbiter.trusted) {
            self.form.refuse(ARBITER, words::take::NO_ARBITER);
        }
        if !self.form.is_right() {
            return None;
        }
        let (seller_bond_ppm, buyer_bond_ppm) = BOND_CHOICES[self.form.fields[BONDS].chosen()];
        Some(PostOffer {
            request_id: String::new(),
            dry_run: false,
            side: draft.side,
            currency: draft.currency?,
            price: draft.price?,
            min: draft.min?,
            max: draft.max?,
            methods: draft.methods,
            terms: self.value(TERMS).to_owned(),
            arbiters: arbiter.into_iter().collect(),
            automatic,
            details,
            lifetime_s: None,
            seller_bond_ppm,
            buyer_bond_ppm,
        })
    }
}

/// Tells whether an arbiter is the one that was known before: who rules alone, whatever he advertises now, or this very group. One of
/// its members published its advert, and rules alone or in others besides.
fn is_same(arbiter: &ArbiterView, before: &ArbiterView) -> bool {
    match (arbiter.is_group(), before.is_group()) {
        (false, false) => arbiter.author == before.author,
        (true, true) => arbiter.advert == before.advert,
        (true, false) | (false, true) => false,
    }
}

/// Returns a warning when a price is so much worse for the maker than the best in the book that it may be a slip.
pub fn suspicion(draft: &Draft, best: Option<&OfferView>) -> Option<String> {
    let (price, best) = (u128::from(draft.price?.get()), u128::from(best?.price.get()));
    let percent = u128::from(SUSPICIOUS_PERCENT);
    match draft.side {
        Side::Sell if price * 100 < best * (100 - percent) => {
            Some(words::post::cheaper_than_others((best - price) * 100 / best))
        }
        Side::Buy if price * 100 > best * (100 + percent) => {
            Some(words::post::dearer_than_others((price - best) * 100 / best))
        }
        Side::Sell | Side::Buy => None,
    }
}

/// Returns a warning when the wallet holds less than the maker puts into the escrow, beside the network's fee: the node then
/// accepts no bid.
pub fn shortfall(offer: &PostOffer, spendable: Sats) -> Option<String> {
    let locks = |amount: Sats| match offer.side {
        Side::Sell => share_of(amount, offer.seller_bond_ppm).and_then(|bond| amount.checked_add(bond)),
        Side::Buy => share_of(amount, offer.buyer_bond_ppm),
    };
    let [least, most] = [offer.min, offer.max].map(|amount| locks(amount).unwrap_or(Sats::MAX));
    let is_short = |needed: Sats| needed > Sats::ZERO && spendable <= needed;
    match (is_short(least), is_short(most)) {
        (true, _) => Some(words::post::cannot_fund(spendable, least)),
        (false, true) => Some(words::post::cannot_fund_all(spendable, most)),
        (false, false) => None,
    }
}

/// Returns a typed number without the thousands separators that the program itself prints. A comma anywhere else stays,
/// so that the number is refused: `1,5` must not become fifteen.
pub fn plain(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let leads = (1..=3).contains(&first.len()) && !first.starts_with('0');
    if !whole.contains(',') || !leads || !groups.all(|group| group.len() == 3) {
        return number.to_owned();
    }
    let whole: String = whole.split(',').collect();
    fraction.map_or(whole.clone(), |fraction| format!("{whole}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_understood_and_decimal_commas_refused() {
        assert_eq!(plain("61,750.00"), "61750.00");
        assert_eq!(plain("1,234,567"), "1234567");
        for unclear in ["1,5", "0,500", ",500", "12,34", "1234,567", "1,5000"] {
            assert_eq!(plain(unclear), unclear);
        }
    }

    #[test]
    fn an_empty_form_is_refused_at_each_missing_field() {
        let mut post = Post::default();
        assert!(post.check().is_none());
        let wrong: Vec<_> = (0..=BONDS).filter(|at| post.form.fields[*at].error.is_some()).collect();
        assert_eq!(wrong, [PRICE, MIN, MAX, METHODS, DETAILS, ARBITER]);
        assert_eq!(post.form.fields[ARBITER].error.as_deref(), Some(words::post::NO_ADVERTS), "nobody can be chosen");
        assert_eq!(post.form.focus, Some(PRICE));
    }

    #[test]
    fn whoever_cannot_fund_what_he_offers_is_warned() {
        let sats = |amount| Sats::new(amount).unwrap();
        let offer = |side, bonds: (u32, u32)| PostOffer {
            request_id: String::new(),
            dry_run: false,
            side,
            currency: "EUR".parse().unwrap(),
            price: Price::new(6_000_000).unwrap(),
            min: sats(1_000_000),
            max: sats(5_000_000),
            methods: vec!["SEPA".into()],
            terms: String::new(),
            arbiters: Vec::new(),
            automatic: true,
            details: String::new(),
            lifetime_s: None,
            seller_bond_ppm: bonds.0,
            buyer_bond_ppm: bonds.1,
        };
        for (side, bonds, spendable, words) in [
            (Side::Sell, (0, 0), 0, Some("the smallest trade takes 0.01 BTC")),
            (Side::Sell, (0, 0), 1_000_000, Some("the smallest trade takes 0.01 BTC")),
            (Side::Sell, (100_000, 0), 1_050_000, Some("the smallest trade takes 0.011 BTC")),
            (Side::Sell, (0, 0), 2_000_000, Some("the largest trade takes 0.05 BTC")),
            (Side::Sell, (0, 0), 5_001_000, None),
            (Side::Buy, (100_000, 0), 0, None),
            (Side::Buy, (0, 100_000), 0, Some("the smallest trade takes 0.001 BTC")),
        ] {
            let warning = shortfall(&offer(side, bonds), sats(spendable));
            let is_right =
                warning.as_ref().map_or(words.is_none(), |warning| words.is_some_and(|w| warning.contains(w)));
            assert!(is_right, "{spendable}: {warning:?}");
        }
    }

    fn arbiter(name: &str, id: u8, trusted: bool) -> ArbiterView {
        ArbiterView {
            name: name.into(),
            fee_ppm: 5_000,
            trusted,
            ..ArbiterView::unknown(exchange_api::RecordId([id; 32]), exchange_api::AuthorId([id; 32]))
        }
    }

    #[test]
    fn an_arbiter_is_chosen_by_the_user_or_not_at_all() {
        let mut post = Post::default();
        post.know_arbiters(vec![arbiter("Ada", 1, false), arbiter("Eve", 2, false)], 0);
        post.check();
        assert!(post.form.fields[ARBITER].error.is_some(), "nobody is trusted, so one must be picked");
        post.form.focus = Some(ARBITER);
        post.form.choose(true);
        post.form.choose(true);
        assert_eq!(post.arbiter().unwrap().name, "Eve");
        // One more arrives, before her: she stays the chosen one.
        post.know_arbiters(vec![arbiter("Bob", 3, true), arbiter("Ada", 1, false), arbiter("Eve", 2, false)], 0);
        assert_eq!(post.arbiter().unwrap().name, "Eve");
        post.check();
        assert!(post.form.fields[ARBITER].error.is_none());
        // She withdraws, as does the one who is trusted: both are on the node's list, and neither can be chosen.
        let withdrawn = |name, id, trusted| ArbiterView { withdrawn: true, ..arbiter(name, id, trusted) };
        post.know_arbiters(vec![withdrawn("Bob", 3, true), arbiter("Ada", 1, false), withdrawn("Eve", 2, true)], 0);
        assert_eq!(post.arbiter(), None);
        post.check();
        assert!(post.form.fields[ARBITER].error.is_some(), "nobody who is trusted is left");
    }

    #[test]
    fn a_group_that_is_chosen_stays_chosen_whatever_the_member_who_published_it_advertises() {
        let alone = arbiter("Three judges", 1, true);
        let members = vec![alone.author, exchange_api::AuthorId([5; 32]), exchange_api::AuthorId([6; 32])];
        let advert = exchange_api::RecordId([7; 32]);
        let group = ArbiterView { advert, threshold: 2, members, ..alone.clone() };
        let other = ArbiterView { advert: exchange_api::RecordId([8; 32]), ..group.clone() };
        let mut post = Post::default();
        post.know_arbiters(vec![group.clone()], 0);
        assert_eq!(post.value(ARBITER), "Three judges (2 of 3), whom I trust");
        post.form.focus = Some(ARBITER);
        post.form.choose(true);
        assert_eq!(post.arbiter(), Some(&group));
        post.know_arbiters(vec![alone.clone(), other.clone(), group.clone()], 0);
        assert_eq!(post.arbiter(), Some(&group));
        post.know_arbiters(vec![alone, other], 0);
        assert_eq!(post.arbiter(), None);
    }

    #[test]
    fn a_filled_form_becomes_an_offer() {
        let mut post = Post::default();
        post.know_arbiters(vec![arbiter("Ada", 1, true), arbiter("Eve", 2, false)], 0);
        for (at, text) in [
            (CURRENCY, "eur"),
            (PRICE, "61,750"),
            (MIN, "0.01"),
            (MAX, "0.05"),
            (METHODS, "SEPA, Wise , SEPA"),
            (DETAILS, "Ann"),
        ] {
            post.form.set_text(at, text);
        }
        let offer = post.check().unwrap();
        assert_eq!((offer.price.get(), offer.min.get(), offer.max.get()), (6_175_000, 1_000_000, 5_000_000));
        assert_eq!(offer.methods, ["SEPA", "Wise"]);
        assert_eq!(offer.side, Side::Sell);
        assert!(offer.automatic);
        assert_eq!(offer.arbiters, [], "whom the node trusts");
        assert_eq!((offer.seller_bond_ppm, offer.buyer_bond_ppm), (0, 0), "nobody locks more unless it is asked for");
        post.form.focus = Some(BONDS);
        post.form.choose(true);
        post.form.choose(true);
        let bonded = post.check().unwrap();
        assert_eq!((bonded.seller_bond_ppm, bonded.buyer_bond_ppm), (100_000, 100_000));
        post.form.set_text(MAX, "0.001");
        assert!(post.check().is_none());
    }
}
