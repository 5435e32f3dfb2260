//! What is said beside the next step of a trade: that the seller wishes for a refund, that a bond is to be left where it is, and
//! what was paid in besides. The trade goes on without any of it.

use exchange_api::{Actor, NextStep};
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{Action, Phase, Refusal, Role, Trade};

use super::caution::is_reading;
use super::next::step;

/// Tells whether the seller asks for a refund to which the buyer has not agreed, as far as the chain is known.
pub(super) fn wants_refund(trade: &Trade) -> bool {
    let is_open = matches!(trade.phase(), Phase::Funded | Phase::Paid | Phase::Disputed);
    trade.view().facts.seller_cancel && trade.view().chain().synced && is_open
}

/// Says besides that the seller asks for a refund. The trade goes on as before, until the buyer agrees.
pub(super) fn with_wish(trade: &Trade, next: NextStep) -> NextStep {
    if !wants_refund(trade) || next.action == Some(Action::Refund) {
        return next;
    }
    let wish = match (trade.role(), trade.phase()) {
        (Role::Seller, _) => "you asked for a refund, and the buyer has to agree; until he does",
        (Role::Buyer, Phase::Funded) => "the seller asks you to agree to a refund: talk to him before you pay; else",
        (Role::Buyer, _) => "the seller asks you to agree to a refund: do not, if you have paid; else",
        (Role::Arbiter, _) => "the seller asked for a refund, and the buyer has not agreed",
    };
    NextStep { what: format!("{wish}: {}", next.what), ..next }
}

/// Says besides that a buyer's bond comes with what pays him, from when on he could take it back alone.
pub(super) fn with_bond_along(trade: &Trade, next: NextStep) -> NextStep {
    if trade.refusal(Action::Refund) != Some(Refusal::BondNeeded) {
        return next;
    }
    besides(next, "your bond comes with it: leave it there until a block decides")
}

/// Says besides what lies on this side's own script of the escrow, and is no part of the trade: when it is his to take.
pub(super) fn with_strays(trade: &Trade, next: NextStep) -> NextStep {
    let strays = trade.strays();
    let Some(first) = strays.first().filter(|_| !is_reading(trade)) else { return next };
    let lies = |amount: Sats| format!("{amount} BTC that were paid into the escrow besides");
    if let Some((_, taken)) = trade.kept_stray() {
        return besides(next, &format!("{} come back to you, once a block has that", lies(taken.coin.value)));
    }
    if let Some(taken) = trade.next_stray().filter(|_| trade.actions().contains(&Action::Refund)) {
        let words = format!("{} are yours to take back", lies(taken.coin.value));
        if next.who != Actor::Nobody {
            return besides(next, &words);
        }
        let what = format!("{}; {words}", next.what);
        return step(Actor::You, what, None, "they stay there", Some(Action::Refund));
    }
    let from = trade.view().stray_from(first).map_or_else(String::new, |from| format!(" from height {from} on"));
    let phase = trade.phase();
    let is_coming = phase == Phase::Funding && !trade.hears_of_funding();
    let is_live = is_coming || (phase.is_held() && phase != Phase::Released);
    let end = if is_live { ", once the trade is over" } else { "" };
    let sum = strays.iter().try_fold(Sats::ZERO, |sum, stray| sum.checked_add(stray.coin.value)).unwrap_or(Sats::MAX);
    besides(next, &format!("{} can be taken back{from}{end}", lies(sum)))
}

/// Says something besides: where nobody acts, with what is said, else with what happens otherwise.
fn besides(next: NextStep, words: &str) -> NextStep {
    if next.who == Actor::Nobody {
        return NextStep { what: format!("{}; {words}", next.what), ..next };
    }
    let otherwise = match next.otherwise.as_str() {
        "" => words.to_owned(),
        otherwise => format!("{otherwise}; and {words}"),
    };
    NextStep { otherwise, ..next }
}
