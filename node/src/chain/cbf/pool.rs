//! What is known of the memory pool: the transactions that were sent from here or that a peer told of.

use std::collections::{HashMap, HashSet, VecDeque};

use bitcoin::{Block, BlockHash, OutPoint, Transaction, Txid};

/// How many transactions are remembered; a node has some dozens under way. The oldest is forgotten first.
const MAX_TXS: usize = 1_000;
/// For how many blocks an unconfirmed transaction is waited for: two weeks, after which peers forget it too.
const MAX_AGE: u32 = 2_016;
/// How many confirmed transactions are kept in case their block leaves the chain.
const MAX_CONFIRMED: usize = 1_000;

/// Unconfirmed transactions, none of which spends what another one spends.
#[derive(Debug, Default)]
pub(super) struct Pool {
    txs: HashMap<Txid, Entry>,
    order: VecDeque<Txid>,
    confirmed: VecDeque<(BlockHash, Transaction)>,
}

#[derive(Debug)]
struct Entry {
    tx: Transaction,
    since: u32,
}

impl Pool {
    pub fn is_empty(&self) -> bool {
        self.txs.is_empty()
    }

    pub fn ids(&self) -> Vec<Txid> {
        self.order.iter().filter(|txid| self.txs.contains_key(*txid)).copied().collect()
    }

    pub fn get(&self, txid: &Txid) -> Option<&Transaction> {
        self.txs.get(txid).map(|entry| &entry.tx)
    }

    /// Returns the transaction that spends an output.
    pub fn spender(&self, outpoint: &OutPoint) -> Option<&Transaction> {
        self.txs.values().map(|entry| &entry.tx).find(|tx| spends(tx, outpoint))
    }

    /// Returns the outputs that the transactions spend.
    pub fn spent(&self) -> Vec<OutPoint> {
        self.txs.values().flat_map(|entry| &entry.tx.input).map(|input| input.previous_output).collect()
    }

    /// Tells whether a transaction was seen in a block lately.
    pub fn was_confirmed(&self, txid: &Txid) -> bool {
        self.confirmed.iter().any(|(_, tx)| tx.compute_txid() == *txid)
    }

    /// Takes in a transaction that peers have taken, instead of what spends the same.
    pub fn put(&mut self, tx: Transaction, height: u32) {
        let txid = tx.compute_txid();
        if self.txs.contains_key(&txid) {
            return;
        }
        self.remove_rivals(&tx);
        self.order.retain(|known| *known != txid && self.txs.contains_key(known));
        self.order.push_back(txid);
        self.txs.insert(txid, Entry { tx, since: height });
        if self.txs.len() > MAX_TXS {
            let oldest = self.order.pop_front();
            oldest.into_iter().for_each(|oldest| self.remove(oldest));
        }
    }

    /// Learns what a block confirms.
    pub fn confirm(&mut self, block: &Block, height: u32) {
        let hash = block.block_hash();
        for tx in block.txdata.iter().skip(1) {
            // As the block holds it: what a peer told of may have had other witnesses.
            if self.txs.remove(&tx.compute_txid()).is_some() {
                self.confirmed.push_back((hash, tx.clone()));
            }
            self.remove_rivals(tx);
        }
        self.confirmed.drain(..self.confirmed.len().saturating_sub(MAX_CONFIRMED));
        let too_old = |entry: &Entry| height.saturating_sub(entry.since) > MAX_AGE;
        let old: Vec<Txid> = self.txs.iter().filter(|(_, entry)| too_old(entry)).map(|(txid, _)| *txid).collect();
        old.into_iter().for_each(|txid| self.remove(txid));
    }

    /// Takes back what blocks confirmed that left the chain, and returns it: it has to be sent again.
    pub fn reopen(&mut self, left: &HashSet<BlockHash>, height: u32) -> Vec<Transaction> {
        let (undone, kept) = self.confirmed.drain(..).partition(|(block, _)| left.contains(block));
        self.confirmed = kept;
        let undone: VecDeque<(BlockHash, Transaction)> = undone;
        let txs: Vec<Transaction> = undone.into_iter().map(|(_, tx)| tx).collect();
        txs.iter().for_each(|tx| self.put(tx.clone(), height));
        txs
    }

    /// Removes what spends an output that `tx` spends, except for itself.
    fn remove_rivals(&mut self, tx: &Transaction) {
        let txid = tx.compute_txid();
        for input in &tx.input {
            let rival = self.spender(&input.previous_output).map(Transaction::compute_txid);
            rival.filter(|rival| *rival != txid).into_iter().for_each(|rival| self.remove(rival));
        }
    }

    /// Removes a transaction and what spends its outputs.
    fn remove(&mut self, txid: Txid) {
        let mut gone = vec![txid];
        while let Some(txid) = gone.pop() {
            self.txs.remove(&txid);
            let children = self.txs.iter().filter(|(_, e)| e.tx.input.iter().any(|i| i.previous_output.txid == txid));
            gone.extend(children.map(|(child, _)| *child));
        }
    }
}

fn spends(tx: &Transaction, outpoint: &OutPoint) -> bool {
    tx.input.iter().any(|input| input.previous_output == *outpoint)
}
