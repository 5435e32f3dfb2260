//! What the chain shows of a trade: the outputs that hold its coins, one after the other, and what spends them.
//!
//! What a block holds is taken as it is. A pool is what others say: a light client and an Electrum client are told of
//! transactions that nobody signed, or that are weeks too early, and whoever tells need not be honest. So of what waits only
//! that spends an output which could be in the next block, as far as the escrow itself can tell.

use bitcoin::transaction::Version;
use bitcoin::{OutPoint, Transaction, TxIn, absolute, relative};

use crate::body::{Coin, Vaults};
use crate::money::Sats;
use crate::trade::{Escrow, SpendPath, Vault};

/// Outputs that hold the coins of a trade, as the chain shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funding {
    /// The outputs.
    pub vaults: Vaults,
    /// The height that confirms them; `None` while in the pool.
    pub height: Option<u32>,
    /// The escrow's output before, if these are of an extension.
    pub extends: Option<OutPoint>,
}

impl Funding {
    /// Returns outputs that somebody paid.
    pub const fn new(vaults: Vaults, height: Option<u32>) -> Self {
        Self { vaults, height, extends: None }
    }

    /// Returns the escrow's output.
    pub const fn outpoint(&self) -> OutPoint {
        self.vaults.outpoint()
    }

    /// Tells whether these are outputs that a block shows: all of them, or the escrow's alone, for a buyer may take his bond back.
    pub fn shows(&self, vaults: &Vaults) -> bool {
        let is_bond_known = vaults.bond.is_none() || vaults.bond == self.vaults.bond;
        self.height.is_some() && self.vaults.escrow == vaults.escrow && is_bond_known
    }

    /// Returns its outputs, once a block holds them, as what they are beside another funding. Those of an extension are not
    /// among them: an arbiter has decided about these.
    pub fn strays(&self) -> impl Iterator<Item = Stray> {
        let Vaults { escrow, bond } = self.vaults;
        let height = self.height.filter(|_| self.extends.is_none());
        let coins = std::iter::once((Vault::Escrow, escrow)).chain(bond.map(|bond| (Vault::Bond, bond)));
        coins.filter_map(move |(vault, coin)| Some(Stray { vault, coin, height: height? }))
    }
}

/// An output on a script of the escrow that a block holds, and on which the trade does not stand: paid a second time, with another
/// value, or too low. Its funder's own leaf is good for it all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stray {
    /// Whose script it is.
    pub vault: Vault,
    /// The output.
    pub coin: Coin,
    /// The height that confirms it.
    pub height: u32,
}

/// A transaction that spends outputs of an escrow, as the chain shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// The transaction.
    pub tx: Transaction,
    /// Which way it sends the coins.
    pub path: SpendPath,
    /// The height that confirms it; `None` while in the pool.
    pub height: Option<u32>,
}

impl Spend {
    /// Reads a transaction that spends outputs of a funding; `None` when it waits for a block and could not be in the next.
    /// That costs a few hashes and at most four signatures, for what waits alone, of which a node keeps little.
    pub fn read(escrow: &Escrow, funding: &Funding, tip: u32, tx: &Transaction, height: Option<u32>) -> Option<Self> {
        let counts = height.is_some() || could_be_next(escrow, funding, tip, tx);
        counts.then(|| Self { tx: tx.clone(), path: escrow.classify(tx, &funding.vaults), height })
    }

    /// Tells whether it spends an output.
    pub fn spends(&self, outpoint: &OutPoint) -> bool {
        self.tx.input.iter().any(|input| input.previous_output == *outpoint)
    }
}

/// What the chain shows of a trade.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainFacts {
    /// The height of the tip.
    pub tip: u32,
    /// Whether the tip was reached by following the chain: before that, no deadline acts.
    pub synced: bool,
    /// Whether that tip is so old that others may have seen more since. The node says so, for it knows what time it is. By what an
    /// old chain shows nobody pays; all else goes on.
    pub is_old: bool,
    /// The outputs that fund the escrow: its scripts with exactly their values, and those of extensions. More than one row of
    /// extensions only if somebody paid twice.
    pub fundings: Vec<Funding>,
    /// The transactions that spend them, of the pool only those that could be in the next block (see [`Spend::read`]).
    pub spends: Vec<Spend>,
    /// What else lies on the escrow's scripts: in a block, and not spent in one. Who follows the chain for a party looks for that.
    pub strays: Vec<Stray>,
}

impl ChainFacts {
    /// Gathers what transactions do with an escrow: each with the height that confirms it. Their order does not matter. What
    /// was paid lower than anybody has to look is left out: not everybody sees it, and all must see the same.
    pub fn gather<'a>(
        escrow: &Escrow,
        tip: u32,
        synced: bool,
        txs: impl IntoIterator<Item = (&'a Transaction, Option<u32>)>,
    ) -> Self {
        let txs: Vec<_> = txs.into_iter().collect();
        let mut facts = Self { tip, synced, ..Self::default() };
        for (tx, height) in txs.iter().filter(|(_, height)| escrow.contract().can_be_funded_at(*height, tip)) {
            facts.fundings.extend(escrow.fundings(tx).into_iter().map(|vaults| Funding::new(vaults, *height)));
        }
        // What an extension makes stands behind what it spends, and is looked at in its turn. Each has outputs of its own, so
        // there are no more of them than transactions.
        let mut at = 0;
        while let Some(funding) = facts.fundings.get(at).copied() {
            for (tx, height) in &txs {
                let is_spent = |spend: &Spend| spend.tx == **tx;
                if !spends_any(tx, &funding.vaults) || facts.spends.iter().any(is_spent) {
                    continue;
                }
                let Some(spend) = Spend::read(escrow, &funding, tip, tx, *height) else { continue };
                if let (SpendPath::Extension, Some(vaults)) = (spend.path, escrow.extended(tx, &funding.vaults)) {
                    let extends = Some(funding.outpoint());
                    facts.fundings.push(Funding { vaults, height: *height, extends });
                }
                facts.spends.push(spend);
            }
            at += 1;
        }
        facts.fundings.sort_by_key(Funding::outpoint);
        facts.spends.sort_by_key(|spend| spend.tx.compute_txid());
        facts
    }

    /// Returns outputs and those before them, back to what somebody paid.
    pub fn lineage<'a>(&'a self, funding: &'a Funding) -> impl Iterator<Item = &'a Funding> {
        let before = |funding: &&'a Funding| {
            let outpoint = funding.extends?;
            self.fundings.iter().find(|other| other.outpoint() == outpoint)
        };
        // No output is its own ancestor on a chain; whatever else is handed in has an end too.
        std::iter::successors(Some(funding), before).take(self.fundings.len().max(1))
    }

    /// Returns what somebody paid, and of which these outputs hold the rest.
    pub fn root_of<'a>(&'a self, funding: &'a Funding) -> &'a Funding {
        self.lineage(funding).last().unwrap_or(funding)
    }
}

/// Tells whether a transaction spends outputs of an escrow.
pub fn spends_any(tx: &Transaction, vaults: &Vaults) -> bool {
    tx.input.iter().any(|input| vaults.coins().any(|coin| coin.outpoint.0 == input.previous_output))
}

/// Returns what a spend of outputs pays; `None` when it pays out more than it spends of them.
pub fn spend_fee(coins: impl IntoIterator<Item = Coin>, tx: &Transaction) -> Option<Sats> {
    let is_spent = |coin: &Coin| tx.input.iter().any(|input| input.previous_output == coin.outpoint.0);
    let mut spent = coins.into_iter().filter(is_spent).map(|coin| coin.value);
    let spent = spent.try_fold(Sats::ZERO, Sats::checked_add)?;
    let mut out = tx.output.iter().map(|output| Sats::try_from(output.value).ok());
    let out = out.try_fold(Sats::ZERO, |sum, value| sum.checked_add(value?))?;
    spent.checked_sub(out)
}

/// Tells whether a transaction that no block holds could be in the one after the tip: it spends outputs of this funding and
/// nothing else, is signed as one leaf or the key of both asks, and no lock holds it back (BIP-68, BIP-112). One that spends
/// coins of others too is signed over what is not known here, so it counts once a block holds it.
fn could_be_next(escrow: &Escrow, funding: &Funding, tip: u32, tx: &Transaction) -> bool {
    let Ok(leaf) = escrow.check_witness(tx, &funding.vaults) else { return false };
    let (delay, next) = (escrow.delay_of(leaf), tip.saturating_add(1));
    let is_open = |input: &TxIn| match input.sequence.to_relative_lock_time() {
        None => delay == 0,
        Some(relative::LockTime::Blocks(blocks)) => {
            let opens = |height: u32| height.saturating_add(u32::from(blocks.value()));
            // On what waits itself only a lock of no blocks is over.
            blocks.value() >= delay && opens(funding.height.unwrap_or(next)) <= next
        }
        Some(relative::LockTime::Time(_)) => false, // the contract has none, and the time of blocks is not known here
    };
    let is_final = match tx.lock_time {
        absolute::LockTime::Blocks(height) => height.to_consensus_u32() <= tip,
        absolute::LockTime::Seconds(_) => false, // likewise
    };
    tx.version >= Version::TWO && (is_final || !tx.is_lock_time_enabled()) && tx.input.iter().all(is_open)
}

#[cfg(test)]
mod tests;
