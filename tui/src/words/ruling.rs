//! Ruling.

use exchange_api::RulingView;

use crate::format;

pub const TITLE: &str = "Rule so?";
pub const FORM_TITLE: &str = "Whom do you believe?";
pub const FORM_NOTE: &str = "Next you see who gets how much, costs included. Nothing is done before you say yes.";
pub const FOR: &str = "Verdict";
pub const VERDICTS: [&str; 3] = ["for the buyer", "for the seller", "split"];
pub const PART: &str = "Buyer's part";
pub const PART_HINT: &str = "BTC of the amount, of a split only";
pub const BUTTON: &str = "See who gets what";
pub const YES: &str = "Yes, rule so";
pub const NOTE: &str = "The winner's node takes the coins by itself when the delay is over.";
pub const FINAL: &str = "A ruling cannot be taken back, and your first one counts.";

/// Returns who got how much, as whoever is no arbiter reads it.
pub fn parts(ruling: &RulingView) -> String {
    let (buyer, seller) = (format::btc_unit(ruling.to_buyer), format::btc_unit(ruling.to_seller));
    format!("{buyer} to the buyer, {seller} to the seller, {} to the arbiter", format::btc_unit(ruling.fee))
}

/// Returns who gets how much.
pub fn division(ruling: &RulingView) -> Vec<String> {
    vec![
        format!("The buyer gets {}.", format::btc_unit(ruling.to_buyer)),
        format!("The seller gets {}.", format::btc_unit(ruling.to_seller)),
        format!("You get {}, the miner {}.", format::btc_unit(ruling.fee), format::fee(ruling.mining_fee)),
    ]
}
