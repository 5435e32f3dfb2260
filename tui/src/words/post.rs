//! Posting an offer.

use exchange_api::{ArbiterView, PostOffer, Sats, Side};

use super::take;
use crate::app::post::Draft;
use crate::format;

pub const SIDE: &str = "I want to";
pub const SIDES: [&str; 2] = ["sell bitcoin", "buy bitcoin"];
pub const CURRENCY: &str = "Currency";
pub const CURRENCY_HINT: &str = "EUR, USD, CHF, …";
pub const PRICE: &str = "Price";
pub const MIN: &str = "Smallest";
pub const MIN_HINT: &str = "BTC in one trade";
pub const MAX: &str = "Largest";
pub const MAX_HINT: &str = "BTC in one trade";
pub const METHODS: &str = "Payment by";
pub const METHODS_HINT: &str = "e.g. SEPA instant, Wise";
pub const TERMS: &str = "Terms";
pub const TERMS_HINT: &str = "optional";
pub const AUTOMATIC: &str = "Accept bids";
pub const AUTOMATIC_OPTIONS: [&str; 2] = ["by itself, while my node runs", "by hand, one by one"];
pub const DETAILS: &str = "Your details";
pub const DETAILS_HINT: &str = "name, account: only for who trades";
pub const BONDS: &str = "Bonds";
pub const BONDS_HINT: &str = "locked, and given back";
pub const BUTTON: &str = "Post this offer";
pub const TITLE: &str = "Post this offer?";
pub const YES: &str = "Yes, post it";
pub const POSTED: &str = "Your offer is in the book.";
pub const PREVIEW: &str = "Your offer";
pub const BAD_CURRENCY: &str = "a code, e.g. EUR";
pub const BAD_PRICE: &str = "a price, e.g. 61750.00";
pub const MAX_BELOW_MIN: &str = "less than the smallest";
pub const TOO_MUCH: &str = "more than can be counted";
pub const NO_METHOD: &str = "at least one";
pub const BAD_METHODS: &str = "at most 8, of 40 letters";
pub const NO_DETAILS: &str = "needed to accept by itself";
pub const ASKING: &str = "the node has not said yet";
pub const NO_ARBITERS: &str = "none is known yet";
pub const NO_ADVERTS: &str = "they come from peers: press 6";
pub const BIDS: &str = "Bids";
pub const INCOMPLETE: &str = "Fill in the form to see your offer as others will see it.";

/// Characters of the terms that a question quotes, so that its answers stay on the screen.
const MAX_QUOTED: usize = 180;

/// Returns what seller and buyer lock besides, as an option.
pub fn bonds((seller, buyer): (u32, u32)) -> String {
    let of = format::per_million;
    match (seller, buyer) {
        (0, 0) => "none".to_owned(),
        (seller, 0) => format!("{} by the seller", of(seller)),
        (0, buyer) => format!("{} by the buyer", of(buyer)),
        (seller, buyer) if seller == buyer => format!("{} by each", of(seller)),
        (seller, buyer) => format!("{} by the seller, {} by the buyer", of(seller), of(buyer)),
    }
}

/// Returns the option to name all arbiters whom the user trusts.
pub fn trusted(arbiters: &[&ArbiterView]) -> String {
    let names: Vec<String> = arbiters.iter().map(|arbiter| take::name(arbiter)).collect();
    format!("{}, whom I trust", names.join(", "))
}

/// Returns the hint behind the price.
pub fn price_hint(currency: &str) -> String {
    format!("{currency} for 1 BTC")
}

/// Says that an amount is below the minimum.
pub fn below_minimum(minimum: Sats) -> String {
    format!("at least {}", format::btc(minimum))
}

/// Warns that others ask more.
pub fn cheaper_than_others(percent: u128) -> String {
    format!("Your price is {percent} % below the best in the book. Is it a slip?")
}

/// Warns that others pay less.
pub fn dearer_than_others(percent: u128) -> String {
    format!("Your price is {percent} % above the best in the book. Is it a slip?")
}

/// Warns that no bid can be accepted.
pub fn cannot_fund(spendable: Sats, needed: Sats) -> String {
    let (spendable, needed) = (format::btc_unit(spendable), format::btc_unit(needed));
    format!(
        "Your wallet holds {spendable} and the smallest trade takes {needed} and a fee: deposit first (press 5), or no bid can \
         be accepted."
    )
}

/// Warns that not every bid can be accepted.
pub fn cannot_fund_all(spendable: Sats, needed: Sats) -> String {
    let (spendable, needed) = (format::btc_unit(spendable), format::btc_unit(needed));
    format!(
        "Your wallet holds {spendable} and the largest trade takes {needed} and a fee: no bid for so much can be accepted."
    )
}

/// Returns the offer as a sentence, with dots for what is missing.
pub fn sentence(draft: &Draft) -> String {
    let or_dots = |text: Option<String>| text.unwrap_or_else(|| "…".to_owned());
    let amount = format::range(&or_dots(draft.min.map(format::btc)), &or_dots(draft.max.map(format::btc)));
    let cost = |amount: Option<Sats>| Some(format::money(draft.currency?, draft.price?.cost(amount?)?));
    let cost = format::range(&or_dots(cost(draft.min)), &or_dots(cost(draft.max)));
    let currency = or_dots(draft.currency.map(|currency| currency.to_string()));
    let methods = if draft.methods.is_empty() { "…".to_owned() } else { draft.methods.join(" or ") };
    let verb = match draft.side {
        Side::Sell => "You sell",
        Side::Buy => "You buy",
    };
    format!("{verb} {amount} BTC for {cost} {currency} by {methods}.")
}

/// Returns what to know before posting.
pub fn notes(offer: &PostOffer) -> Vec<String> {
    let mut notes = vec!["Anyone may take it for seven days, while your node runs.".to_owned()];
    if offer.automatic {
        notes.push("Your node accepts the first bid and hands over your details.".to_owned());
    }
    let own_bond = match offer.side {
        Side::Sell => offer.seller_bond_ppm,
        Side::Buy => offer.buyer_bond_ppm,
    };
    if offer.side == Side::Sell || own_bond > 0 {
        notes.push("You fund the escrow by hand once a bid is accepted.".to_owned());
    }
    if offer.seller_bond_ppm > 0 || offer.buyer_bond_ppm > 0 {
        let bonds = bonds((offer.seller_bond_ppm, offer.buyer_bond_ppm));
        notes.push(format!("Bonds, which come back at the end: {bonds} of the amount."));
    }
    if !offer.terms.is_empty() {
        let terms = format::clean(&offer.terms).replace('\n', " ");
        notes.push(format!("{TERMS}: {}", format::cut(&terms, MAX_QUOTED)));
    }
    notes
}
