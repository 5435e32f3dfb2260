//! When the user must not do what a trade's phase alone would ask of him: the node still reads the chain, nobody tells of the
//! coins, or to pay would be a risk.

use exchange_api::{Actor, ApiError, Code, NextStep};
use exchange_ledger::trade::{Action, Phase, Refusal, Role, Trade};

use super::next::{lies_there, step};
use crate::errors::Explain;

/// Returns why a buyer whose turn it is to pay must not pay.
pub(super) fn why_not_pay(trade: &Trade) -> Option<ApiError> {
    let is_risk = |refusal: &Refusal| {
        // After all delays it may be left to take the own bond back.
        let is_late = matches!(refusal, Refusal::TooLateToPay { .. }) && !lies_there(trade);
        let lasts = matches!(refusal, Refusal::Forked { .. } | Refusal::DoubtfulFunding | Refusal::NamedOtherwise);
        is_late || lasts || matches!(refusal, Refusal::OldChain | Refusal::Unheard)
    };
    let refusal = trade.refusal(Action::MarkPaid)?;
    // What is neither a payout nor a refund nor a ruling leaves the phase as it was, until it is buried.
    if matches!(refusal, Refusal::NotAllowed { role: Role::Buyer, phase: Phase::Funded, .. }) {
        let message = "do not pay: a transaction that spends the coins in the escrow was seen";
        return Some(ApiError::new(Code::NotAllowed, message, ""));
    }
    Some(refusal).filter(is_risk).map(Refusal::explain)
}

/// Tells whether a buyer would pay too late, be it that he has something to take back by then.
pub(super) fn is_too_late(trade: &Trade) -> bool {
    matches!(trade.refusal(Action::MarkPaid), Some(Refusal::TooLateToPay { .. }))
}

/// Tells whether nothing may be paid in yet, for the maker stated a height to come.
pub(super) fn awaits_height(trade: &Trade) -> bool {
    let is_early = matches!(trade.refusal(Action::Fund), Some(Refusal::TooEarlyToFund { .. }));
    trade.phase() == Phase::Agreed && is_early
}

/// Tells whether a buyer may pay as soon as the seller's node has named the coins.
pub(super) fn awaits_name(trade: &Trade) -> bool {
    trade.refusal(Action::MarkPaid) == Some(Refusal::Unnamed)
}

/// Tells whether a buyer may pay as soon as the chain that his node reads is not old any more, or his clock not wrong.
fn awaits_new_blocks(trade: &Trade) -> bool {
    trade.refusal(Action::MarkPaid) == Some(Refusal::OldChain)
}

/// Tells whether a buyer may pay as soon as a peer has told what happened while his node was away. After each start that takes some
/// seconds, so it is shown, and no news.
pub(in crate::trader) fn awaits_peer(trade: &Trade) -> bool {
    trade.refusal(Action::MarkPaid) == Some(Refusal::Unheard)
}

/// Returns what a buyer does instead of paying. Nothing is proposed: whether he has paid only he knows.
pub(super) fn take_no_risk(trade: &Trade, reason: &ApiError) -> NextStep {
    if awaits_new_blocks(trade) || awaits_peer(trade) {
        let what = format!("{}; if you have paid already, do not wait: call for the arbiter", reason.message);
        let otherwise =
            "who has not paid loses nothing by waiting until that height; after it, do not pay: agree to a refund";
        return step(Actor::You, what, trade.view().pay_until(), otherwise, None);
    }
    NextStep {
        who: Actor::You,
        what: format!("{}; if you have paid already, call for the arbiter; if not, agree to a refund", reason.message),
        until: trade.view().refund_from(),
        otherwise: "at that height the seller could take the coins back".into(),
        action: None,
    }
}

/// Tells whether it is not known what became of the coins, for the node still reads the chain: on the way to its tip a trade
/// looks as it did long ago. What has ended there is over, be it as it was kept or as a block shows it.
pub(super) fn is_reading(trade: &Trade) -> bool {
    let is_over = matches!(trade.phase(), Phase::Closed | Phase::Refunded | Phase::Settled | Phase::Lost);
    trade.view().contract.is_some() && !trade.view().chain().synced && !is_over
}

/// Returns the words for a trade of whose coins nobody tells, for this reason.
pub(super) fn not_told(reason: &str) -> String {
    format!("your node is not told what became of the coins: {reason}")
}

/// Returns what the user does while nobody tells of a trade's coins, for this reason. Nothing else is proposed: what is shown may
/// be old.
pub(super) fn ask_another(reason: &str) -> NextStep {
    let what = format!("{}; name another server, or see the chain without one", not_told(reason));
    step(Actor::You, what, None, "until then your node does nothing by itself in this trade", None)
}
