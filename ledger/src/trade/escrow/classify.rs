//! What a transaction that spends an escrow is, told from itself alone: by which leaf, and where the coins go.

use bitcoin::{OutPoint, Transaction, TxIn};

use super::{Escrow, Leaf, SpendPath, Vault};
use crate::body::{Coin, Vaults};
use crate::money::Sats;
use crate::trade::{Role, Seat};
use crate::wire::Outpoint;

impl Escrow {
    /// Tells which way a transaction that spends outputs of the escrow sends the coins.
    pub fn classify(&self, tx: &Transaction, vaults: &Vaults) -> SpendPath {
        let input_of = |coin: &Coin| tx.input.iter().find(|input| input.previous_output == coin.outpoint.0);
        let escrow = input_of(&vaults.escrow);
        let bond = vaults.bond.as_ref().and_then(input_of);
        let mut leaves = Vec::new();
        leaves.extend(escrow.map(|input| self.leaf_of(Vault::Escrow, input)));
        leaves.extend(bond.map(|input| self.leaf_of(Vault::Bond, input)));
        match leaves.first() {
            // Whoever takes back his own decides where it goes, whatever else the transaction does.
            Some(Revealed::Leaf(Leaf::Refund)) => return SpendPath::Timeout,
            Some(first) if leaves.iter().all(|leaf| leaf == first) && leaves.len() == tx.input.len() => {}
            Some(_) | None => return SpendPath::Foreign,
        }
        // Without the bond, if it was spent before.
        let spent = match (escrow, bond) {
            (Some(_), Some(_)) => *vaults,
            (Some(_), None) => Vaults { escrow: vaults.escrow, bond: None },
            (None, _) => return SpendPath::Foreign,
        };
        match leaves[0] {
            Revealed::Key | Revealed::Leaf(Leaf::Both) => self.paid_by_both(tx, &spent),
            Revealed::Leaf(leaf) => leaf.seat().map_or(SpendPath::Foreign, |seat| self.by_arbiter(tx, &spent, seat)),
            Revealed::Nothing => SpendPath::Foreign,
        }
    }

    /// Tells whether a transaction takes an output by its funder's own leaf.
    pub fn takes_back(&self, tx: &Transaction, vault: Vault, coin: &Coin) -> bool {
        let mut spending = tx.input.iter().filter(|input| input.previous_output == coin.outpoint.0);
        spending.any(|input| self.leaf_of(vault, input) == Revealed::Leaf(Leaf::Refund))
    }

    fn leaf_of(&self, vault: Vault, input: &TxIn) -> Revealed {
        let Some(revealed) = input.witness.taproot_leaf_script() else { return Revealed::Key };
        let is_it = |leaf: &Leaf| self.leaf(vault, *leaf).is_some_and(|script| script.as_script() == revealed.script);
        Leaf::ALL.into_iter().find(is_it).map_or(Revealed::Nothing, Revealed::Leaf)
    }

    /// A payout or refund is what both sign of the outputs, whatever the fee.
    fn paid_by_both(&self, tx: &Transaction, spent: &Vaults) -> SpendPath {
        let to = |role| self.destination(role);
        let bond = spent.bond.map(|bond| bond.value).unwrap_or_default();
        let pays = |winner: Role, kept: Sats| {
            let loser = super::counterparty(winner);
            let mut expected = vec![(winner, None)];
            if kept > Sats::ZERO {
                expected.push((loser, Some(kept)));
            }
            tx.output.len() == expected.len()
                && expected.iter().all(|(role, value)| {
                    tx.output.iter().any(|output| {
                        output.script_pubkey == *to(*role)
                            && value.is_none_or(|value| output.value == bitcoin::Amount::from(value))
                    })
                })
        };
        if pays(Role::Buyer, self.contract.seller_bond) {
            SpendPath::Payout
        } else if pays(Role::Seller, bond) {
            SpendPath::Refund
        } else {
            SpendPath::Foreign
        }
    }

    fn by_arbiter(&self, tx: &Transaction, spent: &Vaults, seat: Seat) -> SpendPath {
        if self.extended(tx, spent).is_some() {
            return SpendPath::Extension;
        }
        let Some(arbiter) = self.contract.arbiter(seat) else { return SpendPath::Foreign };
        let fee = self.contract.fee_of(seat);
        let known = [self.destination(Role::Buyer), self.destination(Role::Seller), arbiter.destination.script()];
        let is_divided = tx.output.iter().all(|output| known.contains(&&output.script_pubkey));
        let fees = tx.output.iter().filter(|output| output.script_pubkey == *arbiter.destination.script());
        let paid = fees.fold(0u64, |sum, output| sum.saturating_add(output.value.to_sat()));
        if is_divided && paid == fee.get() { SpendPath::Ruling } else { SpendPath::Foreign }
    }

    /// Returns the outputs that a transaction moved the coins of `spent` into, if it did nothing else: the escrow's script
    /// with less than before, and the whole bond.
    pub fn extended(&self, tx: &Transaction, spent: &Vaults) -> Option<Vaults> {
        let txid = tx.compute_txid();
        let is_spent = |coin: &Coin| tx.input.iter().any(|input| input.previous_output == coin.outpoint.0);
        let coin = |vault: Vault, vout: u32| {
            let output = tx.output.get(vout as usize)?; // u32 fits
            let value = Sats::try_from(output.value).ok()?;
            let is_ours = output.script_pubkey == self.tree(vault)?.script();
            is_ours.then_some(Coin { outpoint: Outpoint(OutPoint { txid, vout }), value })
        };
        let escrow = coin(Vault::Escrow, 0).filter(|coin| coin.value < spent.escrow.value)?;
        let bond = match spent.bond.filter(is_spent) {
            Some(before) => Some(coin(Vault::Bond, 1).filter(|coin| coin.value == before.value)?),
            None => None,
        };
        let inputs = 1 + usize::from(bond.is_some());
        (tx.output.len() == inputs && tx.input.len() == inputs).then_some(Vaults { escrow, bond })
    }
}

/// What an input shows of how it is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Revealed {
    /// No script: the key of both.
    Key,
    /// A leaf of the tree.
    Leaf(Leaf),
    /// A script that the tree does not have.
    Nothing,
}
