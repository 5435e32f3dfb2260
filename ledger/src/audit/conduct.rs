//! Who said what about a trade, and was it his to say. Records are let in before the trade that they speak of is known,
//! so a record by somebody without the role is no fault of the ledger: it changes nothing, and proves who tried.
//! `specs/audit.md` is the normative text.

use std::cell::LazyCell;
use std::ops::Deref;

use crate::audit::Finding;
use crate::body::Body;
use crate::ledger::{Ledger, TradeRecords};
use crate::record::Record;
use crate::storage::{Storage, StorageError};
use crate::trade::{Escrow, Role};

/// How many records about one trade are looked at: an honest trade has ten, and whoever writes thousands about another's
/// trade must not make its audit slow. The order is by author, so nobody hides his records behind his own others.
const MAX_RECORDS: usize = 1024;

/// Returns what in the records about a trade was not its author's to say.
///
/// # Errors
/// When the store fails.
pub fn check<S: Storage>(ledger: &Ledger<S>, trade: &TradeRecords) -> Result<Vec<Finding>, StorageError> {
    // Few trades have a half of a spend, and only those need it.
    let escrow = LazyCell::new(|| trade.contract.as_ref().map(Escrow::new));
    let mut findings = Vec::new();
    for id in ledger.storage().about(&trade.bid.trade.into(), None, MAX_RECORDS)? {
        let Some(record) = ledger.storage().record(&id)? else { continue };
        let Ok(body) = record.decoded() else { continue };
        if let Err(rule) = judge(trade, &escrow, &record, body) {
            findings.push(Finding { record: Some(id), trade: Some(trade.bid.trade), rule });
        }
    }
    Ok(findings)
}

/// What somebody must be to say something about a trade.
enum Speaker {
    Maker,
    Party,
    Buyer,
    Seller,
}

/// Judges one record. This is the table of roles in `specs/trades.md`, read the other way round.
fn judge(
    trade: &TradeRecords,
    escrow: &impl Deref<Target = Option<Escrow>>,
    record: &Record,
    body: &Body,
) -> Result<(), String> {
    let (what, speaker, half) = match body {
        Body::Accept(_) => ("an acceptance", Speaker::Maker, None),
        Body::Cancel(cancel) => match &cancel.refund {
            Some(half) => ("half of a refund", Speaker::Buyer, Some((half, Role::Seller))),
            None => ("a cancellation", Speaker::Party, None),
        },
        Body::Funded(_) => ("a funding", Speaker::Seller, None),
        Body::PaymentSent(_) => ("a payment", Speaker::Buyer, None),
        Body::Release(release) => ("a release", Speaker::Seller, Some((&release.payout, Role::Buyer))),
        Body::Closed(_) => ("an ending", Speaker::Party, None),
        Body::Heartbeat | Body::ArbiterAdvert(_) | Body::Offer(_) | Body::Revoke(_) | Body::Take(_) => return Ok(()),
        Body::Stake(_) | Body::Checkpoint(_) | Body::Unknown(_) => return Ok(()),
    };
    let role = trade.bid.role_of(&record.author());
    let (is_his, whose) = match speaker {
        Speaker::Maker => (record.author() == trade.bid.maker, "maker"),
        Speaker::Party => (matches!(role, Some(Role::Buyer | Role::Seller)), "buyer or seller"),
        Speaker::Buyer => (role == Some(Role::Buyer), "buyer"),
        Speaker::Seller => (role == Some(Role::Seller), "seller"),
    };
    if !is_his {
        let who = role.map_or_else(|| "somebody who has no part in the trade".to_owned(), |role| format!("the {role}"));
        return Err(format!("{what} is signed by {who}; only the {whose} can sign it"));
    }
    if matches!((body, half), (Body::Accept(_), _) | (Body::Cancel(_), None)) {
        return Ok(());
    }
    if trade.contract.is_none() {
        return Err(format!("{what} is signed, but nothing was agreed"));
    }
    match (half, half.and(escrow.as_ref())) {
        (Some((half, to)), Some(escrow)) => escrow.check_half(half, to).map_err(|error| format!("{what}: {error}")),
        (None, _) | (_, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
