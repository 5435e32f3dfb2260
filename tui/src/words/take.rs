//! Taking an offer.

use exchange_api::{ArbiterView, OfferState, Role, Sats, TakeReview};

use crate::format;

pub const TERMS_GO_ON: &str = "… All of it is in the book: Esc, 1, Enter.";
pub const NOTHING: &str = "No offer is chosen.";
pub const NOTHING_HINT: &str = "Choose one in the book (press 1), then press t.";
pub const AMOUNT: &str = "Amount";
pub const METHOD: &str = "Payment by";
pub const ARBITER: &str = "Arbiter";
pub const SECOND_ARBITER: &str = "If he is away";
pub const CHOOSE: &str = "choose one: ← →";
pub const NO_ARBITER: &str = "choose one whom you know";
pub const WITHDRAWN_ARBITER: &str = "choose another";
pub const DETAILS: &str = "Your details";
pub const BUYER_DETAILS: &str = "the name that pays";
pub const SELLER_DETAILS: &str = "where to pay you: name, account";
pub const NO_DETAILS: &str = "needed, so that the payment can be matched";
pub const BUTTON: &str = "Review";
pub const REVIEW: &str = "Review: nothing is agreed until you say yes";
pub const BONDS: &str = "Bonds";
pub const YES: &str = "Yes, take this offer";
pub const YES_UNTRUSTED: &str = "Yes, and with this arbiter";
pub const YOU_SEND: &str = "You send";
pub const YOU_RECEIVE: &str = "You receive";
pub const IF_VANISHES: &str = "If the other vanishes";
pub const STEPS: &str = "What happens";
pub const NOT_AFFORDABLE: &str = "Your wallet holds too little for this now: deposit first (press 5).";

/// Returns an arbiter's name, and of a group how many of how many rule.
pub fn name(arbiter: &ArbiterView) -> String {
    arbiter.titled(format::clean(&arbiter.name))
}

/// Returns an arbiter as an option: what he asks, and what is known of him.
pub fn arbiter(arbiter: &ArbiterView, now: u64) -> String {
    let (name, fee) = (name(arbiter), format::per_million(arbiter.fee_ppm));
    if arbiter.withdrawn {
        return format!("{name} (has withdrawn)");
    }
    let trusted = if arbiter.trusted { "trusted; " } else { "" };
    let trades = match arbiter.trades {
        0 => "no trades".to_owned(),
        1 => "1 trade".to_owned(),
        count => format!("{} trades", format::number(count)),
    };
    let age = match format::ago(now, arbiter.since).as_str() {
        "now" => "new".to_owned(),
        ago => format!("{ago} old"),
    };
    format!("{name} ({trusted}asks {fee}; {trades}; {age})")
}

/// Says who would decide a dispute: a group by its advert, for its author is only one of its members.
pub fn arbiter_line(arbiter: &ArbiterView) -> String {
    let id = if arbiter.is_group() { arbiter.advert.short() } else { arbiter.author.short() };
    format!("{} ({id}), asks {} for a ruling", name(arbiter), format::per_million(arbiter.fee_ppm))
}

/// Warns of an arbiter of whom the user said nothing.
pub fn untrusted(arbiter: &ArbiterView) -> String {
    let name = name(arbiter);
    format!("{name} is not on your list of trusted arbiters: with the other he can take the coins.")
}

/// Returns the hint behind the amount.
pub fn amount_hint(range: &str) -> String {
    format!("BTC, {range}")
}

/// Says that the amount does not fit the offer.
pub fn out_of_range(range: &str) -> String {
    format!("the offer is for {range} BTC")
}

/// Returns what the user sends and where to, then what he receives and what is taken from it.
pub fn exchange(review: &TakeReview) -> [(String, String); 2] {
    let money = format::money_unit(review.offer.currency, review.cost);
    let method = format::clean(&review.method);
    let amount = format::btc_unit(review.amount);
    match review.role {
        Role::Buyer => [
            (money, format!("by {method}, straight to the seller")),
            (amount, format!("less the network fee, about {}", format::fee(review.payout_fee))),
        ],
        Role::Seller | Role::Arbiter if review.seller_bond > Sats::ZERO => [
            (amount, format!("plus a bond and the network fee, about {}", format::fee(review.funding_fee))),
            (money, format!("by {method}, straight from the buyer")),
        ],
        Role::Seller | Role::Arbiter => [
            (amount, format!("plus the network fee, about {}", format::fee(review.funding_fee))),
            (money, format!("by {method}, straight from the buyer")),
        ],
    }
}

/// Says what each locks besides the trade, and that it comes back; nothing without bonds.
pub fn bonds(review: &TakeReview) -> Option<String> {
    let (mine, theirs) = match review.role {
        Role::Buyer => (review.buyer_bond, review.seller_bond),
        Role::Seller | Role::Arbiter => (review.seller_bond, review.buyer_bond),
    };
    let amount = |bond: Sats| if bond == Sats::ZERO { "none".to_owned() } else { format::btc_unit(bond) };
    let any = mine > Sats::ZERO || theirs > Sats::ZERO;
    any.then(|| format!("yours {}, the other's {}; each comes back", amount(mine), amount(theirs)))
}

/// Returns what happens, step by step.
pub fn steps(review: &TakeReview) -> [String; 4] {
    let accepts = match (review.offer.automatic, review.offer.state == OfferState::Away) {
        (true, false) => "within seconds",
        (true, true) => "once his node is there again",
        (false, _) => "by hand, which may take a while",
    };
    let wait = format::blocks(review.confirmations);
    let confirmations = match review.confirmations {
        1 => "1 confirmation".to_owned(),
        count => format!("{count} confirmations"),
    };
    let pay = format!("within {} blocks ({})", format::number(review.pay_within), format::blocks(review.pay_within));
    match review.role {
        Role::Buyer => [
            format!("The maker accepts, {accepts}."),
            if review.buyer_bond > Sats::ZERO {
                format!("Both lock coins, by hand. Wait for {confirmations} ({wait}).")
            } else {
                format!("The seller locks the coins. Wait for {confirmations} ({wait}).")
            },
            format!("You pay {pay} and say so."),
            "The seller sees the money and releases the coins to your wallet.".to_owned(),
        ],
        Role::Seller | Role::Arbiter => [
            format!("The maker accepts, {accepts}."),
            if review.buyer_bond > Sats::ZERO {
                format!("Both lock coins, by hand. They need {confirmations} ({wait}).")
            } else {
                format!("You lock the coins. They need {confirmations} ({wait}).")
            },
            format!("The buyer pays {pay} and says so."),
            "You see the money in your account and release the coins.".to_owned(),
        ],
    }
}

/// Returns what happens when the other does not do his part.
pub fn if_vanishes(review: &TakeReview) -> [String; 2] {
    let refund =
        format!("after {} blocks ({})", format::number(review.refund_after), format::blocks(review.refund_after));
    match review.role {
        Role::Buyer => [
            "Before you pay: you lose nothing.".to_owned(),
            "After you paid: call for the arbiter. He can give you the coins.".to_owned(),
        ],
        Role::Seller | Role::Arbiter => [
            format!("Never pays: you take the coins back {refund}."),
            "You disagree: the arbiter decides, or both of you agree.".to_owned(),
        ],
    }
}
