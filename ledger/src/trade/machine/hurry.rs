//! What a buyer's node pays by itself, so that his coins are in a block before the seller could take them back: for what, and how
//! much. Whoever chose its fee may have meant it to wait that long.
//!
//! It is asked for and no effect: what blocks cost, and what came of the child before, only the driver knows.

use bitcoin::Transaction;

use super::Trade;
use crate::body::{Coin, Vaults};
use crate::money::Sats;
use crate::rules::MAX_SPEND_FEERATE;
use crate::trade::{Role, spend_fee};

/// From how many blocks before the seller could take the coins back the fee is raised by itself: a day, for blocks may be full
/// for hours, and the first guesses too low. Before that, patience costs nothing.
pub const HURRY_BLOCKS: u32 = 144;
/// The part of what comes in that is paid for it by itself at most: a half. Within [`MAX_SPEND_FEERATE`] that is enough for the
/// smallest trade, in the dearest weeks too, but for bonds of both sides; and no estimate, true or not, takes more.
const WORTH_DIVISOR: u64 = 2;

/// What brings coins to a buyer, and what is to be paid for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurried {
    /// The payout, or the spend of a ruling.
    pub tx: Transaction,
    /// What it pays by itself.
    pub fee: Sats,
    /// What it and a child of it have to pay together, in sat/vB.
    pub feerate: u64,
}

impl Trade {
    /// Returns what brings coins to this buyer and has to be in a block soon, with the coins that it spends: his payout, or what an
    /// arbiter gave him, as this node keeps it or sees it in the pool. It goes on after the seller could take them back: who pays
    /// more then is first. Not what an arbiter left of his bond: late or never, it costs him nothing, for then he takes back all
    /// of that.
    pub fn urgent(&self) -> Option<(Transaction, Vaults)> {
        let (view, tip) = (&self.view, self.view.chain.tip);
        if self.role != Role::Buyer || !view.chain.synced {
            return None;
        }
        let from = view.refund_from()?.saturating_sub(HURRY_BLOCKS);
        let (escrow, vaults) = (self.escrow.as_ref()?, view.funding().filter(|_| tip >= from)?.vaults);
        // Not what a block makes impossible, or holds.
        let is_open = |tx: &Transaction| {
            let mut spends = tx.input.iter().filter_map(|input| view.spend_of(&input.previous_output));
            spends.all(|spend| spend.height.is_none())
        };
        let own = escrow.contract().party(Role::Buyer)?.destination.script();
        let gives_more = |tx: &Transaction| {
            let is_spent = |bond: &Coin| tx.input.iter().any(|input| input.previous_output == bond.outpoint.0);
            let bond = vaults.bond.filter(is_spent).map_or(0, |bond| bond.value.get());
            tx.output.iter().any(|output| output.script_pubkey == *own && output.value.to_sat() > bond)
        };
        let pays_him = |tx: &Transaction| {
            let path = escrow.classify(tx, &vaults);
            path.is_payout() || (path.is_ruling() && gives_more(tx))
        };
        let seen = view.spend().map(|spend| spend.tx.clone());
        let mut all = self.kept_spend_of(&vaults.escrow).into_iter().chain(seen);
        Some((all.find(|tx| pays_him(tx) && is_open(tx))?, vaults))
    }

    /// Returns what is [urgent](Self::urgent) and what has to be paid for it, when blocks cost `estimate`, a child has
    /// `child_vsize`, and `asked` was paid in vain before, if anything: feerates are in sat/vB.
    pub fn hurried(&self, asked: u64, estimate: u64, child_vsize: u64) -> Option<Hurried> {
        let (tx, vaults) = self.urgent()?;
        let own = self.escrow.as_ref()?.contract().party(Role::Buyer)?.destination.script();
        let outputs = tx.output.iter().filter(|output| output.script_pubkey == *own);
        let value = outputs.map(|output| output.value.to_sat()).max()?;
        let fee = spend_fee(vaults.coins(), &tx)?;
        let vsize = (tx.vsize() as u64).checked_add(child_vsize)?; // usize is at most 64 bits
        let worth = fee.get().checked_add(value / WORTH_DIVISOR)? / vsize;
        // That it still waits tells more than an estimate.
        let wanted = estimate.max(asked.saturating_mul(2)).min(MAX_SPEND_FEERATE);
        let feerate = wanted.min(worth);
        (feerate > 0).then_some(Hurried { tx, fee, feerate })
    }
}
