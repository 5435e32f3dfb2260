//! Who said what about a trade, and was it his to say. Records are let in before the trade that they speak of is known,
//! so a record by somebody without the role is no fault of the ledger: it changes nothing, and proves who tried.
//! `specs/audit.md` is the normative text.

use std::cell::LazyCell;
use std::ops::Deref;

use crate::audit::Finding;
use crate::body::{Body, Extend, HalfSpend, Ruling};
use crate::ledger::{Examined, Ledger, TradeRecords};
use crate::record::Record;
use crate::storage::{Storage, StorageError};
use crate::trade::{Escrow, EscrowError, Role, Seat};

/// How many records about one trade are looked at besides what counts of its parties and arbiters: an honest trade has ten,
/// and whoever writes thousands about another's trade must neither make its audit slow nor hide what its parties did.
const MAX_RECORDS: usize = 1024;

/// Returns what in the records about a trade was not its author's to say, and whether all of them were looked at. What those
/// say who have no part in it is one finding, however many they are: anybody can say a thousand things about each trade.
///
/// # Errors
/// When the store fails.
pub fn check<S: Storage>(ledger: &Ledger<S>, examined: &Examined) -> Result<(Vec<Finding>, bool), StorageError> {
    let trade = &examined.trade;
    // Few trades have a half of a spend, and only those need it.
    let escrow = LazyCell::new(|| trade.contract.as_ref().map(Escrow::new));
    let mut findings = Vec::new();
    let (said, is_all) = ledger.said(examined, MAX_RECORDS)?;
    let (mut by_strangers, mut first_of_these): (u64, Option<usize>) = (0, None);
    for record in said.iter() {
        let Ok(body) = record.decoded() else { continue };
        let rule = match speaks(trade, record, body) {
            Err(rule) => rule,
            Ok(spoken) => match fits(trade, &escrow, spoken) {
                // Whoever signs two histories can take back what others relied on: then it is not they who are to blame.
                Err(rule) if !is_forked(ledger, trade)? => rule,
                Ok(()) | Err(_) => continue,
            },
        };
        let author = record.author();
        if trade.bid.role_of(&author).is_none() {
            by_strangers += 1;
            if first_of_these.is_some() {
                continue;
            }
            first_of_these = Some(findings.len());
        }
        findings.push(Finding { author, record: Some(record.id()), trade: Some(trade.bid.trade), rule });
    }
    if let Some(at) = first_of_these
        && by_strangers > 1
    {
        let (others, least) = (by_strangers - 1, if is_all { "" } else { "at least " });
        findings[at].rule.push_str(&format!("; {least}{others} more records about it are by strangers"));
    }
    Ok((findings, is_all))
}

/// Tells whether a party of a trade signed two histories.
fn is_forked<S: Storage>(ledger: &Ledger<S>, trade: &TradeRecords) -> Result<bool, StorageError> {
    Ok(ledger.is_author_frozen(&trade.bid.maker)? || ledger.is_author_frozen(&trade.bid.taker)?)
}

/// What somebody must be to say something about a trade.
enum Speaker {
    Maker,
    Party,
    Buyer,
    Seller,
    Arbiter,
}

/// What a record signs besides itself.
enum Signed<'a> {
    /// Nothing, before anything need be agreed on.
    Nothing,
    /// Nothing; but only a contract gives it a meaning.
    Word,
    /// Half of a spend to a role.
    Half(&'a HalfSpend, Role),
    Ruling(&'a Ruling),
    Extend(&'a Extend),
}

/// What somebody whose it is to say so says about a trade.
struct Spoken<'a> {
    what: &'static str,
    signed: Signed<'a>,
    seat: Option<Seat>,
}

impl Spoken<'_> {
    /// What is not about the trade's course.
    const NOTHING: Self = Self { what: "", signed: Signed::Nothing, seat: None };
}

/// Tells whether a record is its author's to sign. This is the table of roles in `specs/trades.md`, read the other way round.
fn speaks<'a>(trade: &TradeRecords, record: &Record, body: &'a Body) -> Result<Spoken<'a>, String> {
    let (what, speaker, signed) = match body {
        // It takes this trade for an offer, and accepts another one.
        Body::Accept(accept) if accept.trade != trade.bid.trade => return Ok(Spoken::NOTHING),
        Body::Accept(_) => ("an acceptance", Speaker::Maker, Signed::Nothing),
        Body::Cancel(cancel) => match &cancel.refund {
            Some(half) => ("half of a refund", Speaker::Buyer, Signed::Half(half, Role::Seller)),
            None => ("a cancellation", Speaker::Party, Signed::Nothing),
        },
        Body::Funded(_) if trade.bid.is_funded_by_both() => ("a funding", Speaker::Party, Signed::Word),
        Body::Funded(_) => ("a funding", Speaker::Seller, Signed::Word),
        Body::PaymentSent(_) => ("a payment", Speaker::Buyer, Signed::Word),
        Body::Release(release) => ("a release", Speaker::Seller, Signed::Half(&release.payout, Role::Buyer)),
        Body::Closed(_) => ("an ending", Speaker::Party, Signed::Word),
        Body::Dispute(_) => ("a dispute", Speaker::Party, Signed::Word),
        Body::Ruling(ruling) => ("a ruling", Speaker::Arbiter, Signed::Ruling(ruling)),
        Body::Extend(extend) => ("an extension", Speaker::Arbiter, Signed::Extend(extend)),
        Body::Heartbeat | Body::ArbiterAdvert(_) | Body::Offer(_) | Body::Revoke(_) | Body::Take(_) => {
            return Ok(Spoken::NOTHING);
        }
        Body::Stake(_) | Body::Checkpoint(_) | Body::GroupAdvert(_) | Body::GroupStep(_) => return Ok(Spoken::NOTHING),
        Body::Unknown(_) => return Ok(Spoken::NOTHING),
    };
    let author = record.author();
    let (role, seat) = (trade.bid.role_of(&author), trade.bid.seat_of(&author));
    let (is_his, whose) = match speaker {
        Speaker::Maker => (author == trade.bid.maker, "maker"),
        Speaker::Party => (matches!(role, Some(Role::Buyer | Role::Seller)), "buyer or seller"),
        Speaker::Buyer => (role == Some(Role::Buyer), "buyer"),
        Speaker::Seller => (role == Some(Role::Seller), "seller"),
        Speaker::Arbiter => (seat.is_some(), "arbiter"),
    };
    if !is_his {
        let who = role.map_or_else(|| "somebody who has no part in the trade".to_owned(), |role| format!("the {role}"));
        return Err(format!("{what} is signed by {who}; only the {whose} can sign it"));
    }
    Ok(Spoken { what, signed, seat })
}

/// Tells whether what was said fits what was agreed.
fn fits(
    trade: &TradeRecords,
    escrow: &impl Deref<Target = Option<Escrow>>,
    Spoken { what, signed, seat }: Spoken<'_>,
) -> Result<(), String> {
    if trade.contract.is_none() {
        return match signed {
            Signed::Nothing => Ok(()),
            Signed::Word | Signed::Half(..) | Signed::Ruling(_) | Signed::Extend(_) => {
                Err(format!("{what} is signed, but nothing was agreed"))
            }
        };
    }
    let escrow = |check: &dyn Fn(&Escrow) -> Result<(), EscrowError>| {
        escrow.as_ref().map_or(Ok(()), check).map_err(|error| format!("{what}: {error}"))
    };
    match (signed, seat) {
        (Signed::Nothing | Signed::Word, _) => Ok(()),
        (Signed::Half(half, to), _) => escrow(&|escrow| escrow.check_half(half, to)),
        (Signed::Ruling(ruling), Some(seat)) => escrow(&|escrow| escrow.check_ruling(seat, ruling)),
        (Signed::Extend(extend), Some(seat)) => escrow(&|escrow| escrow.check_extend(seat, extend)),
        (Signed::Ruling(_) | Signed::Extend(_), None) => unreachable!("only an arbiter's are looked at"),
    }
}

#[cfg(test)]
mod tests;
