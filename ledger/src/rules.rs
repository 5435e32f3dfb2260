//! What a body must satisfy by itself, and the limits of offers and trades. `specs/offers.md` is the normative text.

use crate::body::{ArbiterAdvert, Body, Checkpoint, GroupStep, MAX_OFFER_LIFE_S, Offer};
use crate::ids::AuthorId;
use crate::money::Sats;
use crate::seal;

/// The smallest trade: twenty times what a dispute's transaction of 200 vB costs at 100 sat/vB, so that a dispute never
/// costs more than a twentieth of what it is about.
pub const MIN_TRADE: Sats = match Sats::new(20 * 200 * 100) {
    Some(sats) => sats,
    None => panic!("400,000 satoshis exist"),
};
/// Blocks after which arbiter and winner may spend, unless the offer says otherwise: a day.
pub const DEFAULT_ARBITRATION_DELAY: u16 = 144;
/// Blocks after which the second arbiter and the winner may spend, unless the offer says otherwise: a week.
pub const DEFAULT_SECOND_DELAY: u16 = 1008;
/// How long before the refund delay the second arbiter may rule at the latest: half a week must remain to confirm it.
pub const SECOND_DELAY_MARGIN: u16 = 504;
/// How long before the refund delay a trade that was marked as paid is disputed by itself: a week must remain to rule.
pub const DISPUTE_MARGIN: u16 = 1008;
/// How far below the height that an acceptance states a funding still counts, and everybody looks for it: a day of blocks,
/// for a reorg of a hundred can put there what was paid above. What lies lower counts for nobody, be it seen or not: so all
/// look at the same outputs, whatever height a maker states.
pub const FUNDING_MARGIN: u32 = 144;
/// How deep what ended a trade lies when its parties say so by `Closed`, in blocks, however few bury it. It is said once and for
/// ever: if a reorg put another spend there, one perhaps that no record prescribes, it would be evidence against who told the
/// truth.
pub const CLOSED_DEPTH: u32 = 6;
/// How often the coins of a dispute may be moved into the same escrow again.
pub const MAX_EXTENSIONS: usize = 3;
/// The highest feerate of what one signs and another completes, in sat/vB: a payout, a refund, a ruling, an extension. Who
/// signs first chooses it at the other's cost, so it must not waste much of the smallest trade: a refund costs at most a
/// twelfth of it, three extensions about a quarter. Who gets the coins can pay more, by a child of his own output.
pub const MAX_SHARED_FEERATE: u64 = 100;
/// The smallest bond, in millionths of the amount: of the smallest trade what its own spend costs at 100 sat/vB. A bond in
/// proportion is as dear to him who takes the whole of an offer as to him who takes its least.
pub const MIN_BOND_PPM: u32 = 50_000;
/// The largest bond, in millionths of the amount: a half.
pub const MAX_BOND_PPM: u32 = 500_000;
/// Blocks after which the funder may take everything back, unless the offer says otherwise: thirty days.
pub const DEFAULT_REFUND_DELAY: u16 = 4320;
/// The buyer must not pay in the last fortnight before the refund is possible: a payment takes days, a dispute a week.
pub const LAST_PAYMENT_MARGIN: u16 = 2016;
/// The shortest refund delay: a payment period of a week must remain before [`LAST_PAYMENT_MARGIN`].
pub const MIN_REFUND_DELAY: u16 = LAST_PAYMENT_MARGIN + 1008;
/// The longest refund delay: a seller is never without his coins for more than two months.
pub const MAX_REFUND_DELAY: u16 = 8640;
/// The highest fee that an arbiter may ask, in millionths: a tenth.
pub const MAX_ARBITER_FEE_PPM: u32 = 100_000;
/// The highest feerate of what its payer chooses himself, in sat/vB: what he takes back alone, the payout that he asks for
/// by the key of both, his part of a joint funding. Mainnet asked for it in its dearest weeks.
pub const MAX_SPEND_FEERATE: u64 = 500;

// The words below name these numbers, for whoever breaks a rule.
const _: () = assert!(MIN_TRADE.get() == 400_000, "0.004 BTC");
const _: () = assert!(MIN_BOND_PPM == 50_000 && MAX_BOND_PPM == 500_000, "5 to 50 percent");
const _: () = assert!(MAX_ARBITER_FEE_PPM == 100_000, "10 percent");

/// Checks what a body says against the rules that need no other record. `time` is the record's own.
///
/// # Errors
/// The broken rule, in words.
pub(crate) fn check_body(body: &Body, time: u64) -> Result<(), &'static str> {
    match body {
        Body::Offer(offer) => check_offer(offer, time),
        Body::ArbiterAdvert(advert) => check_advert(advert),
        Body::Checkpoint(checkpoint) => check_checkpoint(checkpoint, time),
        Body::GroupAdvert(group) => {
            check_members(group.threshold, &group.members)?;
            check_advert(&group.advert)
        }
        Body::GroupStep(step) => check_step(step),
        Body::Heartbeat
        | Body::Stake(_)
        | Body::Revoke(_)
        | Body::Take(_)
        | Body::Accept(_)
        | Body::Cancel(_)
        | Body::Funded(_)
        | Body::PaymentSent(_)
        | Body::Release(_)
        | Body::Closed(_)
        | Body::Dispute(_)
        | Body::Ruling(_)
        | Body::Extend(_)
        | Body::Unknown(_) => Ok(()),
    }
}

fn check_offer(offer: &Offer, time: u64) -> Result<(), &'static str> {
    if offer.min < MIN_TRADE {
        return Err("the smallest amount is below 0.004 BTC, the minimum trade");
    }
    if offer.max < offer.min {
        return Err("the largest amount is below the smallest");
    }
    if offer.price.cost(offer.max).is_none() {
        return Err("the cost of the largest amount does not fit 64 bits");
    }
    if offer.methods.is_empty() || offer.methods.iter().any(|method| method.as_str().trim().is_empty()) {
        return Err("a payment method is missing");
    }
    if offer.arbiters.is_empty() {
        return Err("no arbiter is named");
    }
    if has_repetition(&offer.methods) {
        return Err("a payment method stands twice");
    }
    if has_repetition(&offer.arbiters) {
        return Err("an arbiter stands twice");
    }
    if !(MIN_REFUND_DELAY..=MAX_REFUND_DELAY).contains(&offer.refund_delay) {
        return Err("the refund delay is out of range");
    }
    if offer.arbitration_delay == 0 || offer.arbitration_delay >= offer.refund_delay - LAST_PAYMENT_MARGIN {
        return Err("the arbitration delay is out of range");
    }
    if offer.second_delay <= offer.arbitration_delay || offer.second_delay > offer.refund_delay - SECOND_DELAY_MARGIN {
        return Err("the second arbiter's delay is out of range");
    }
    let is_bond = |ppm: u32| ppm == 0 || (MIN_BOND_PPM..=MAX_BOND_PPM).contains(&ppm);
    if !is_bond(offer.seller_bond_ppm) || !is_bond(offer.buyer_bond_ppm) {
        return Err("a bond is neither 0 nor from 5 to 50 percent of the amount");
    }
    if offer.expires <= time || offer.expires - time > MAX_OFFER_LIFE_S {
        return Err("the offer ends before it begins, or after thirty days");
    }
    Ok(())
}

fn check_advert(advert: &ArbiterAdvert) -> Result<(), &'static str> {
    if advert.name.as_str().trim().is_empty() {
        return Err("the arbiter has no name");
    }
    if advert.fee_ppm > MAX_ARBITER_FEE_PPM {
        return Err("the arbiter's fee is above 10 percent");
    }
    Ok(())
}

/// More than half rule, so that no two parts of a group can rule differently.
fn check_members(threshold: u8, members: &[AuthorId]) -> Result<(), &'static str> {
    let (needed, all) = (usize::from(threshold), members.len());
    if needed < 2 || needed > all || 2 * needed <= all {
        return Err("a group needs more than half of its members, and two at least");
    }
    if !members.is_sorted_by(|one, next| one < next) {
        return Err("the members of a group do not stand in their order, each once");
    }
    Ok(())
}

fn check_step(step: &GroupStep) -> Result<(), &'static str> {
    match step {
        GroupStep::Propose(terms) if terms.name.as_str().trim().is_empty() => Err("the group has no name"),
        GroupStep::Propose(terms) if terms.fee_ppm > MAX_ARBITER_FEE_PPM => {
            Err("the arbiter's fee is above 10 percent")
        }
        GroupStep::Propose(terms) => check_members(terms.threshold, &terms.members),
        GroupStep::Join(join) if !seal::is_usable(&join.seal_key) => Err("the key for shares is unusable"),
        GroupStep::Deal(deal) if deal.joins.len() != deal.sealed.len() + 1 => {
            Err("there is not a share for each member")
        }
        GroupStep::Join(_) | GroupStep::Deal(_) | GroupStep::Confirm(_) => Ok(()),
    }
}

fn check_checkpoint(checkpoint: &Checkpoint, time: u64) -> Result<(), &'static str> {
    if checkpoint.time > time {
        return Err("the checkpoint is of a time to come");
    }
    if checkpoint.logs > checkpoint.records {
        return Err("the checkpoint has logs without records");
    }
    Ok(())
}

fn has_repetition<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().any(|(at, item)| items[..at].contains(item))
}
