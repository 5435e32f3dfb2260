//! What lies on this side's own script of the escrow beside that on which the trade stands: paid a second time, with another value,
//! or too low. Its funder's own leaf is good for it too, so he takes it back when its delay is over, whatever became of the trade.
//!
//! Not while the trade holds coins, or this side knows that it soon will: what takes a stray back is kept where a spend of those is
//! kept. So one is taken after the other, each until a block holds it.

use std::cmp::Reverse;

use bitcoin::Transaction;

use super::{Refusal, Trade, decode};
use crate::body::{Coin, Vaults};
use crate::trade::{Funding, Phase, Role, Stray, Vault};

impl Trade {
    /// Returns the strays on this side's own script that no block spends, the oldest first. None of them is anything for which the
    /// seller signed a payout: that is the buyer's, whichever output counts now.
    pub fn strays(&self) -> Vec<Stray> {
        if self.role == Role::Arbiter {
            return Vec::new();
        }
        let (view, own) = (&self.view, Vault::of(self.role));
        let counted = view.funding().map(|funding| funding.vaults);
        let is_of = |vaults: &Vaults, stray: &Stray| vaults.coins().any(|coin| coin.outpoint == stray.coin.outpoint);
        let is_counted = |stray: &Stray| counted.is_some_and(|vaults| is_of(&vaults, stray));
        let is_released = |stray: &Stray| view.facts.releases.iter().any(|half| is_of(&half.vaults, stray));
        let is_spent = |stray: &Stray| {
            let spend = view.spend_of(&stray.coin.outpoint.0);
            spend.is_some_and(|spend| spend.height.is_some())
        };
        let others = view.chain.fundings.iter().flat_map(Funding::strays);
        let mut strays: Vec<Stray> = view.chain.strays.iter().copied().chain(others).collect();
        strays.retain(|stray| stray.vault == own && !is_counted(stray) && !is_released(stray) && !is_spent(stray));
        strays.sort_by_key(|stray| (stray.height, stray.coin.outpoint.0));
        strays
    }

    /// Returns the stray that this side takes back next, be it now or later; none while there is something else of its own to
    /// take back first.
    pub fn next_stray(&self) -> Option<Stray> {
        self.stray_in(self.phase())
    }

    /// Returns the transaction that this side keeps to take back a stray, while no block holds it.
    pub fn kept_stray(&self) -> Option<(Transaction, Stray)> {
        let (escrow, tx) = (self.escrow.as_ref()?, decode(self.local.spend_tx.as_deref())?);
        let mut strays = self.strays().into_iter();
        let stray = strays.find(|stray| escrow.takes_back(&tx, stray.vault, &stray.coin))?;
        Some((tx, stray))
    }

    /// Returns what this side may take back now.
    pub(super) fn check_refund(&self, phase: Phase) -> Result<(Vault, Coin), Refusal> {
        let (view, tip) = (&self.view, self.view.chain.tip);
        let own = self.held_in(phase).map(|(vault, coin)| (vault, coin, view.refund_from()));
        let stray = || self.stray_in(phase).map(|stray| (stray.vault, stray.coin, view.stray_from(&stray)));
        match own.or_else(stray) {
            _ if !view.chain.synced => Err(Refusal::NotSynced),
            None => Err(Refusal::NothingToTakeBack),
            Some((_, _, None)) => Err(Refusal::TooEarlyToRefund { from: u32::MAX, tip }),
            Some((_, _, Some(from))) if tip < from => Err(Refusal::TooEarlyToRefund { from, tip }),
            // Others may have paid, released or ruled meanwhile.
            Some(_) if !self.lets_deadlines_act() => Err(Refusal::NotCompared),
            Some(_) if own.is_none() && self.kept_stray().is_some() => Err(Refusal::AlreadySigned),
            Some(_) if own.is_some() && self.needs_bond() => Err(Refusal::BondNeeded),
            Some((vault, coin, Some(_))) => Ok((vault, coin)),
        }
    }

    /// Returns what this side put into what counts, and no block spends: not once the seller has signed it over. What no block holds
    /// anybody may have made up.
    fn held_in(&self, phase: Phase) -> Option<(Vault, Coin)> {
        let is_confirmed = self.view.funding().is_some_and(|funding| funding.height.is_some());
        self.own_coin().filter(|_| is_confirmed && phase != Phase::Released)
    }

    /// Returns the largest of those whose delay is over, so that nothing that is not worth its fee comes before it; or the one whose
    /// delay is over first.
    fn stray_in(&self, phase: Phase) -> Option<Stray> {
        let is_coming = phase == Phase::Funding && !self.hears_of_funding();
        let is_live = phase.is_held() && phase != Phase::Released;
        if is_coming || is_live || self.held_in(phase).is_some() {
            return None;
        }
        let (view, strays) = (&self.view, self.strays());
        let is_open = |stray: &&Stray| view.stray_from(stray).is_some_and(|from| view.chain.tip >= from);
        let largest = strays.iter().filter(is_open).min_by_key(|stray| Reverse(stray.coin.value));
        largest.or_else(|| strays.first()).copied()
    }
}
