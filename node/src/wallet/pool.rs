//! What the wallet believes of a pool.
//!
//! A light client's peer and an Electrum server can tell of any transaction, be it one that nobody signed. So what spends coins
//! of this wallet counts only if their keys signed it, whoever tells of it; a block settles the rest. What merely pays in
//! nobody can check: it is pending, and no more.

use bitcoin::{OutPoint, Transaction, TxIn, TxOut, Txid};

use super::coins::MAX_COINS;
use super::persist::Own;
use super::state::State;
use crate::chain::consensus::verify_inputs;

/// How many transactions are remembered that were signed with others, beside those that were built here.
const MAX_COSIGNED: usize = 100;

impl State {
    /// Tells whether this wallet's keys signed what an unconfirmed transaction spends of its coins, if anything. The outputs of
    /// `parent` are known too.
    pub fn is_signed(&self, tx: &Transaction, parent: Option<&Transaction>) -> bool {
        let parent = parent.map(|parent| (parent.compute_txid(), parent));
        let spent: Vec<Option<TxOut>> =
            tx.input.iter().map(|input| self.known_output(input.previous_output, parent)).collect();
        let is_own = |output: &TxOut| self.wallet.is_mine(output.script_pubkey.clone());
        let own = spent.iter().enumerate().filter(|(_, output)| output.as_ref().is_some_and(is_own));
        let own: Vec<usize> = own.map(|(place, _)| place).collect();
        if own.is_empty() || self.was_in_a_block(&tx.compute_txid()) {
            return true;
        }
        // A signature covers what all inputs spend, those of others too.
        let spent = spent.into_iter().collect::<Option<Vec<TxOut>>>();
        let spent = spent.or_else(|| self.own.cosigned.get(&unsigned_id(tx)).cloned().flatten());
        spent.is_some_and(|spent| verify_inputs(tx, &spent, &own).is_ok())
    }

    /// Remembers what the inputs of a transaction spend, if some are others'. Nothing else tells this wallet, which could not
    /// check its own signatures when a pool shows it.
    pub fn note_cosigned(&mut self, tx: &Transaction, spent: &[TxOut]) {
        let txid = unsigned_id(tx);
        let is_alone = tx.input.iter().all(|input| self.own_txout(input.previous_output).is_some());
        let is_noted = self.own.cosigned.get(&txid).is_some_and(|noted| noted.as_deref() == Some(spent));
        if is_alone || is_noted || tx.input.len() > MAX_COINS {
            return;
        }
        // One that is forgotten counts once a block holds it. Those that were built here go when these are over.
        let noted = self.own.cosigned.iter().filter(|(_, noted)| noted.is_some()).map(|(noted, _)| *noted);
        let loose: Vec<Txid> = noted.filter(|noted| *noted != txid && !self.own.is_reserved(noted)).collect();
        let surplus = loose.len().saturating_add(1).saturating_sub(MAX_COSIGNED);
        let mut change = Own::default();
        change.cosigned.extend(loose.into_iter().take(surplus).map(|forgotten| (forgotten, None)));
        change.cosigned.insert(txid, Some(spent.to_vec()));
        self.record(change);
    }

    /// Tells whether a block held a transaction, be it one that left the chain: then it was signed.
    pub fn was_in_a_block(&self, txid: &Txid) -> bool {
        self.wallet.tx_graph().get_tx_node(*txid).is_some_and(|node| !node.anchors.is_empty())
    }

    fn known_output(&self, outpoint: OutPoint, parent: Option<(Txid, &Transaction)>) -> Option<TxOut> {
        let known = self.wallet.tx_graph().get_txout(outpoint);
        let of_parent = || {
            let (_, parent) = parent.filter(|(txid, _)| *txid == outpoint.txid)?;
            parent.output.get(outpoint.vout as usize) // u32 fits
        };
        known.or_else(of_parent).cloned()
    }
}

/// Returns the id of a transaction before anybody signed it: what others sign may stand in what an id covers.
fn unsigned_id(tx: &Transaction) -> Txid {
    let input =
        |input: &TxIn| TxIn { previous_output: input.previous_output, sequence: input.sequence, ..TxIn::default() };
    let input = tx.input.iter().map(input).collect();
    Transaction { version: tx.version, lock_time: tx.lock_time, input, output: tx.output.clone() }.compute_txid()
}
