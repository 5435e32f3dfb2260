//! What is known of the memory pool: the transactions that were sent from here or that a peer told of.

use std::collections::{HashMap, HashSet, VecDeque};

use bitcoin::{Block, BlockHash, OutPoint, Transaction, Txid};

use crate::chain::{MAX_WAITING_WEIGHT, MAX_WEIGHT_IN_ALL};

/// How many transactions are remembered; a node has some dozens under way. The oldest is forgotten first.
const MAX_TXS: usize = 1_000;
/// For how many blocks an unconfirmed transaction is waited for: two weeks, after which peers forget it too.
const MAX_AGE: u32 = 2_016;
/// How many confirmed transactions are kept in case their block leaves the chain.
const MAX_CONFIRMED: usize = 1_000;

/// Unconfirmed transactions, none of which spends what another one spends. Peers can make them up, signed or not.
#[derive(Debug, Default)]
pub(super) struct Pool {
    txs: HashMap<Txid, Entry>,
    /// What spends each output.
    spenders: HashMap<OutPoint, Txid>,
    /// How heavy they are in all.
    weight: u64,
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
        self.get(self.spenders.get(outpoint)?)
    }

    /// Returns the outputs that the transactions spend.
    pub fn spent(&self) -> Vec<OutPoint> {
        self.spenders.keys().copied().collect()
    }

    /// Tells whether a transaction was seen in a block lately.
    pub fn was_confirmed(&self, txid: &Txid) -> bool {
        self.confirmed.iter().any(|(_, tx)| tx.compute_txid() == *txid)
    }

    /// Takes in a transaction that peers have taken, instead of what spends the same.
    pub fn put(&mut self, tx: Transaction, height: u32) {
        let (txid, weight) = (tx.compute_txid(), tx.weight().to_wu());
        if weight > MAX_WAITING_WEIGHT || self.txs.contains_key(&txid) {
            return;
        }
        self.remove_rivals(&tx);
        self.order.retain(|known| *known != txid && self.txs.contains_key(known));
        self.order.push_back(txid);
        self.spenders.extend(tx.input.iter().map(|input| (input.previous_output, txid)));
        self.weight = self.weight.saturating_add(weight);
        self.txs.insert(txid, Entry { tx, since: height });
        while self.txs.len() > MAX_TXS || self.weight > MAX_WEIGHT_IN_ALL {
            let Some(oldest) = self.order.pop_front() else { return };
            self.remove(oldest);
        }
    }

    /// Learns what a block confirms.
    pub fn confirm(&mut self, block: &Block, height: u32) {
        let hash = block.block_hash();
        for tx in block.txdata.iter().skip(1) {
            // As the block holds it: what a peer told of may have had other witnesses.
            if self.take_out(&tx.compute_txid()).is_some() {
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
            let rival = self.spenders.get(&input.previous_output).copied();
            rival.filter(|rival| *rival != txid).into_iter().for_each(|rival| self.remove(rival));
        }
    }

    /// Removes a transaction and what spends its outputs.
    fn remove(&mut self, txid: Txid) {
        let mut gone = vec![txid];
        while let Some(txid) = gone.pop() {
            let Some(tx) = self.take_out(&txid) else { continue };
            let outputs = (0_u32..).zip(&tx.output).map(|(vout, _)| OutPoint { txid, vout });
            gone.extend(outputs.filter_map(|output| self.spenders.get(&output)));
        }
    }

    /// Takes out a transaction alone.
    fn take_out(&mut self, txid: &Txid) -> Option<Transaction> {
        let Entry { tx, .. } = self.txs.remove(txid)?;
        self.weight = self.weight.saturating_sub(tx.weight().to_wu());
        for input in &tx.input {
            self.spenders.remove(&input.previous_output);
        }
        Some(tx)
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::constants::genesis_block;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, Network, ScriptBuf, TxIn, TxOut, Witness};

    use super::*;

    /// A coin that nobody has.
    fn coin(number: u32) -> OutPoint {
        OutPoint { txid: Txid::all_zeros(), vout: number }
    }

    /// A transaction with so many bytes of witness, each of which weighs one unit.
    fn tx(spends: &[OutPoint], bytes: usize) -> Transaction {
        let witness = Witness::from_slice(&[vec![0; bytes]]);
        let input = |spent: &OutPoint| TxIn { previous_output: *spent, witness: witness.clone(), ..TxIn::default() };
        let output = vec![TxOut { value: Amount::ONE_SAT, script_pubkey: ScriptBuf::new() }];
        let input = spends.iter().map(input).collect();
        Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
    }

    fn output_of(tx: &Transaction) -> OutPoint {
        OutPoint { txid: tx.compute_txid(), vout: 0 }
    }

    #[test]
    fn what_is_made_up_fills_no_memory() {
        let mut pool = Pool::default();
        for number in 0..100 {
            pool.put(tx(&[coin(number)], 1_000_000), 0);
        }
        assert!(pool.is_empty(), "no node passes on what is so heavy");
        let heavy: Vec<Transaction> = (0..100).map(|number| tx(&[coin(number)], 390_000)).collect();
        heavy.iter().for_each(|tx| pool.put(tx.clone(), 0));
        let kept: Vec<Txid> = heavy[90..].iter().map(Transaction::compute_txid).collect();
        assert_eq!(pool.ids(), kept, "the newest ten, which are as heavy as a block");
        assert_eq!(pool.weight, kept.iter().map(|txid| pool.get(txid).unwrap().weight().to_wu()).sum::<u64>());
        for number in 1_000..4_000 {
            pool.put(tx(&[coin(number)], 1), 0);
        }
        assert_eq!((pool.ids().len(), pool.spent().len()), (MAX_TXS, MAX_TXS));
    }

    #[test]
    fn what_spends_the_same_makes_room_with_all_that_stands_on_it() {
        let mut pool = Pool::default();
        let parent = tx(&[coin(1), coin(2)], 1);
        let child = tx(&[output_of(&parent)], 1);
        let grandchild = tx(&[output_of(&child), coin(3)], 1);
        for tx in [&parent, &child, &grandchild] {
            pool.put(tx.clone(), 0);
        }
        assert_eq!(pool.spender(&coin(3)), Some(&grandchild));
        let rival = tx(&[coin(2)], 2);
        pool.put(rival.clone(), 0);
        assert_eq!((pool.ids(), pool.spent()), (vec![rival.compute_txid()], vec![coin(2)]));

        // What a block holds leaves alone, and takes with it what spends the same.
        let child = tx(&[output_of(&rival)], 1);
        let robbed = tx(&[coin(4)], 1);
        for tx in [&child, &robbed] {
            pool.put(tx.clone(), 0);
        }
        let mut block = genesis_block(Network::Regtest);
        block.txdata.extend([rival.clone(), tx(&[coin(4), coin(5)], 1)]);
        pool.confirm(&block, 1);
        assert_eq!((pool.ids(), pool.spent()), (vec![child.compute_txid()], vec![output_of(&rival)]));
        assert!(pool.was_confirmed(&rival.compute_txid()));
        assert_eq!(pool.weight, child.weight().to_wu());
    }
}
