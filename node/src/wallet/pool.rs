//! What the wallet believes of a pool.
//!
//! A light client's peer and an Electrum server can tell of any transaction, be it one that nobody signed. So what spends coins
//! of this wallet counts only if their keys signed it, whoever tells of it; a block settles the rest. What merely pays in
//! nobody can check: it is pending, only so much of it is listened to, and it is on disk once a block held it.

use std::collections::HashMap;

use bdk_wallet::ChangeSet;
use bitcoin::{OutPoint, Transaction, TxIn, TxOut, Txid};

use super::coins::MAX_COINS;
use super::persist::{Own, retain_txs};
use super::state::State;
use crate::chain::consensus::verify_inputs;
use crate::chain::{MAX_WAITING_WEIGHT, MAX_WEIGHT_IN_ALL};

/// How many transactions are remembered that were signed with others, beside those that were built here.
const MAX_COSIGNED: usize = 100;
/// How many payments that no block holds are listened to at a time.
const MAX_PAYMENTS: usize = 1_000;

/// The payments of strangers that are known from a pool. One that leaves it still counts: bdk forgets nothing before the next
/// start.
#[derive(Debug, Default)]
pub(super) struct Payments {
    weights: HashMap<Txid, u64>,
    in_all: u64,
}

impl Payments {
    /// Takes one in; tells whether there was room.
    fn take(&mut self, tx: &Transaction) -> bool {
        let weight = tx.weight().to_wu();
        let in_all = self.in_all.saturating_add(weight);
        if weight > MAX_WAITING_WEIGHT || in_all > MAX_WEIGHT_IN_ALL || self.weights.len() >= MAX_PAYMENTS {
            return false;
        }
        if self.weights.insert(tx.compute_txid(), weight).is_none() {
            self.in_all = in_all;
        }
        true
    }

    /// Makes room: a block holds it.
    pub fn end(&mut self, txid: &Txid) {
        let weight = self.weights.remove(txid).unwrap_or_default();
        self.in_all = self.in_all.saturating_sub(weight);
    }
}

impl State {
    /// Tells whether there is room for a transaction that a pool shows: for what spends coins of this wallet always, since their
    /// keys have to have signed it.
    pub fn has_room_for(&mut self, tx: &Transaction) -> bool {
        let spends_own = tx.input.iter().any(|input| self.own_txout(input.previous_output).is_some());
        let is_known = || self.wallet.tx_graph().get_tx_node(tx.compute_txid()).is_some();
        spends_own || is_known() || self.payments.take(tx)
    }

    /// Leaves out what no block held and this wallet did not build: a pool can show anything, and shows it again. What a block
    /// holds now may have been left out before.
    pub fn leave_out_unproven(&self, staged: &mut ChangeSet) {
        let news = &mut staged.tx_graph;
        retain_txs(news, |txid| self.was_in_a_block(txid) || self.own.is_reserved(txid));
        let confirmed = news.anchors.iter().filter_map(|(_, txid)| self.wallet.tx_graph().get_tx(*txid));
        news.txs.extend(confirmed);
    }

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
