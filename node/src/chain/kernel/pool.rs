//! The embedded chain's memory pool: what may be mined next.
//!
//! The rules are Bitcoin Core's, as far as this exchange's own transactions can meet them: consensus in full, and of
//! policy the fee floor, dust, sizes, replacement (BIP-125) and version 3 topology (BIP-431). A refusal carries
//! Bitcoin Core's word for it, so that the same mistake reads the same on every backend.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::constants::COINBASE_MATURITY;
use bitcoin::{Amount, Block, OutPoint, Sequence, Transaction, TxOut, Txid, Weight, relative};

use super::index::Index;
use super::miner::PACKAGE_SPACE;
use crate::chain::consensus::{SpendError, verify_spend};

/// How many transactions the pool holds; regtest never comes near, and each is at most 400 kB of weight.
const MAX_POOL_TXS: usize = 10_000;
/// How many unconfirmed ancestors a transaction may have, itself included, and how many a replacement may evict.
const MAX_ANCESTORS: usize = 25;
const MAX_REPLACED: usize = 100;
/// The largest transaction that is relayed.
const MAX_STANDARD_WEIGHT: Weight = Weight::from_wu(400_000);
/// The smallest size without witnesses: 64 bytes could pass for an inner node of the merkle tree.
const MIN_BASE_SIZE: usize = 65;
/// Largest version 3 transactions, alone or with an unconfirmed parent (BIP-431).
const TRUC_MAX_VSIZE: u64 = 10_000;
const TRUC_CHILD_MAX_VSIZE: u64 = 1_000;
const TRUC_VERSION: i32 = 3;

/// Whether a transaction must pay for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FeeFloor {
    /// At least 1 sat/vB.
    Relay,
    /// Anything: its package pays, or it was confirmed before.
    Waived,
}

/// Why a transaction was refused, in Bitcoin Core's words.
pub(super) type Refusal = String;

/// The pool.
#[derive(Default, Clone)]
pub(super) struct Pool {
    entries: HashMap<Txid, Entry>,
    /// Ids in the order of arrival: parents before children.
    order: BTreeMap<u64, Txid>,
    spenders: HashMap<OutPoint, Txid>,
    arrivals: u64,
}

#[derive(Clone)]
struct Entry {
    tx: Arc<Transaction>,
    fee: Amount,
    arrival: u64,
}

impl Pool {
    /// Adds a transaction, replacing those it conflicts with when it pays more.
    pub fn accept(&mut self, index: &Index, tx: &Transaction, floor: FeeFloor) -> Result<(), Refusal> {
        let txid = tx.compute_txid();
        if self.entries.contains_key(&txid) || index.tx(&txid).is_some() {
            return Ok(());
        }
        check_standard(tx)?;
        if self.entries.len() >= MAX_POOL_TXS {
            return Err("mempool full".into());
        }
        let prevouts = self.check_inputs(index, tx)?;
        check_final(index, tx)?;
        let fee = verify_spend(tx, &prevouts).map_err(refusal)?;
        if floor == FeeFloor::Relay && !pays_relay_fee(fee, tx.vsize()) {
            return Err(format!("min relay fee not met, {} < {}", fee.to_sat(), tx.vsize()));
        }
        self.check_topology(tx)?;
        self.replace_conflicts(tx, fee)?;
        self.insert(txid, tx, fee);
        Ok(())
    }

    /// Adds parents and the child that pays for them, all or none.
    pub fn accept_package(&mut self, index: &Index, txs: &[Transaction]) -> Result<(), (Txid, Refusal)> {
        let mut trial = self.clone();
        let (mut fees, mut vsize) = (Amount::ZERO, 0);
        for tx in txs {
            let txid = tx.compute_txid();
            if trial.entries.contains_key(&txid) || index.tx(&txid).is_some() {
                continue;
            }
            trial.accept(index, tx, FeeFloor::Waived).map_err(|refusal| (txid, refusal))?;
            let fee = trial.entries.get(&txid).map_or(Amount::ZERO, |entry| entry.fee);
            fees = fees.checked_add(fee).ok_or((txid, "bad-txns-fee-outofrange".to_owned()))?;
            vsize += tx.vsize();
        }
        if let Some(child) = txs.last().filter(|_| !pays_relay_fee(fees, vsize)) {
            let refusal = format!("package feerate below min relay fee, {} < {vsize}", fees.to_sat());
            return Err((child.compute_txid(), refusal));
        }
        *self = trial;
        Ok(())
    }

    /// Removes what a new block confirms, and what can no longer confirm because of it.
    pub fn confirm(&mut self, block: &Block) {
        for tx in &block.txdata {
            self.remove(&tx.compute_txid());
            for input in &tx.input {
                if let Some(rival) = self.spenders.get(&input.previous_output).copied() {
                    self.remove_with_descendants(&rival);
                }
            }
        }
    }

    /// Builds the pool anew after a reorganisation: what was confirmed comes back when it is still valid.
    pub fn rebuild(&mut self, index: &Index, disconnected: &[Transaction]) {
        let before = std::mem::take(self);
        self.arrivals = before.arrivals;
        let kept = before.order.values().filter_map(|txid| before.entries.get(txid)).map(|entry| entry.tx.as_ref());
        for tx in disconnected.iter().chain(kept) {
            if let Err(reason) = self.accept(index, tx, FeeFloor::Waived) {
                tracing::debug!(txid = %tx.compute_txid(), reason, "dropped from the pool by a reorganisation");
            }
        }
    }

    /// Returns the transactions of the next block, parents first, and their fees.
    pub fn template(&self) -> (Vec<Transaction>, Amount) {
        let (mut txs, mut chosen, mut fees, mut weight) = (Vec::new(), HashSet::new(), Amount::ZERO, Weight::ZERO);
        for (txid, entry) in self.order.values().filter_map(|txid| Some((txid, self.entries.get(txid)?))) {
            let total = weight + entry.tx.weight();
            let parents_in = self.parents(&entry.tx).iter().all(|parent| chosen.contains(parent));
            if total > PACKAGE_SPACE || !parents_in {
                continue;
            }
            let Some(sum) = fees.checked_add(entry.fee) else {
                continue;
            };
            (weight, fees) = (total, sum);
            chosen.insert(*txid);
            txs.push(entry.tx.as_ref().clone());
        }
        (txs, fees)
    }

    /// Returns a transaction.
    pub fn get(&self, txid: &Txid) -> Option<&Transaction> {
        self.entries.get(txid).map(|entry| entry.tx.as_ref())
    }

    /// Returns the output, when a transaction of the pool creates it.
    pub fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.get(&outpoint.txid)?.output.get(outpoint.vout as usize)
    }

    /// Returns the transaction that spends `outpoint`.
    pub fn spender(&self, outpoint: &OutPoint) -> Option<&Transaction> {
        self.get(self.spenders.get(outpoint)?)
    }

    /// Returns all ids, in the order of arrival.
    pub fn ids(&self) -> Vec<Txid> {
        self.order.values().copied().collect()
    }

    /// Returns the outputs spent, each existing, mature and past its relative lock.
    fn check_inputs(&self, index: &Index, tx: &Transaction) -> Result<Vec<TxOut>, Refusal> {
        let next = index.next_height();
        let mut prevouts = Vec::with_capacity(tx.input.len());
        for input in &tx.input {
            let outpoint = input.previous_output;
            let (output, height) = match (self.output(&outpoint), index.coin(&outpoint)) {
                (Some(output), _) => (output.clone(), next),
                (None, Some(coin)) if index.spender(&outpoint).is_none() => {
                    if coin.coinbase && next.saturating_sub(coin.height) < COINBASE_MATURITY {
                        return Err("bad-txns-premature-spend-of-coinbase".into());
                    }
                    (coin.output, coin.height)
                }
                (None, Some(_) | None) => return Err("bad-txns-inputs-missingorspent".into()),
            };
            if tx.version.0 >= 2 && !relative_lock_passed(index, input.sequence, height) {
                return Err("non-BIP68-final".into());
            }
            prevouts.push(output);
        }
        Ok(prevouts)
    }

    /// Checks the shape of the unconfirmed family (BIP-431 for version 3).
    fn check_topology(&self, tx: &Transaction) -> Result<(), Refusal> {
        let truc = tx.version.0 == TRUC_VERSION;
        let vsize = tx.vsize() as u64; // lossless: usize is at most 64 bits
        let parents = self.parents(tx);
        if parents.iter().filter_map(|parent| self.get(parent)).any(|p| (p.version.0 == TRUC_VERSION) != truc) {
            return Err("TRUC-violation, version 3 and other versions cannot spend each other unconfirmed".into());
        }
        if !truc {
            let ancestors = self.ancestors(tx).len() + 1;
            return if ancestors > MAX_ANCESTORS { Err("too-long-mempool-chain".into()) } else { Ok(()) };
        }
        if vsize > TRUC_MAX_VSIZE {
            return Err("TRUC-violation, version 3 transaction is too big".into());
        }
        let Some(parent) = parents.iter().next() else {
            return Ok(());
        };
        if vsize > TRUC_CHILD_MAX_VSIZE {
            return Err("TRUC-violation, version 3 child is too big".into());
        }
        let grandparents = self.get(parent).map_or(0, |parent| self.parents(parent).len());
        if parents.len() > 1 || grandparents > 0 {
            return Err("TRUC-violation, version 3 transaction has too many unconfirmed ancestors".into());
        }
        let conflicts = self.conflicts(tx);
        if self.children(parent).iter().any(|sibling| !conflicts.contains(sibling)) {
            return Err("TRUC-violation, version 3 parent has another child".into());
        }
        Ok(())
    }

    /// Evicts the transactions that spend the same outputs, when `tx` pays for it (BIP-125, with full replacement).
    fn replace_conflicts(&mut self, tx: &Transaction, fee: Amount) -> Result<(), Refusal> {
        let conflicts = self.conflicts(tx);
        let evicted: HashSet<Txid> =
            conflicts.iter().flat_map(|id| self.descendants(id).into_iter().chain([*id])).collect();
        if evicted.is_empty() {
            return Ok(());
        }
        if evicted.len() > MAX_REPLACED {
            return Err("too many potential replacements".into());
        }
        if tx.input.iter().any(|input| evicted.contains(&input.previous_output.txid)) {
            return Err("bad-txns-spends-conflicting-tx".into());
        }
        let replaced = || evicted.iter().filter_map(|id| self.entries.get(id));
        let paid: Amount = replaced().map(|entry| entry.fee).sum();
        let bandwidth = Amount::from_sat(tx.vsize() as u64); // lossless; 1 sat/vB
        if paid.checked_add(bandwidth).is_none_or(|needed| fee < needed) {
            return Err(format!("insufficient fee, rejecting replacement; {} < {}", fee.to_sat(), paid.to_sat()));
        }
        let lower = |entry: &Entry| {
            u128::from(fee.to_sat()) * entry.tx.vsize() as u128 <= u128::from(entry.fee.to_sat()) * tx.vsize() as u128
        };
        if conflicts.iter().filter_map(|id| self.entries.get(id)).any(lower) {
            return Err("insufficient fee, rejecting replacement; not a higher feerate".into());
        }
        for id in conflicts {
            self.remove_with_descendants(&id);
        }
        Ok(())
    }

    fn insert(&mut self, txid: Txid, tx: &Transaction, fee: Amount) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.spenders.extend(tx.input.iter().map(|input| (input.previous_output, txid)));
        self.order.insert(arrival, txid);
        self.entries.insert(txid, Entry { tx: Arc::new(tx.clone()), fee, arrival });
    }

    fn remove(&mut self, txid: &Txid) {
        let Some(entry) = self.entries.remove(txid) else { return };
        self.order.remove(&entry.arrival);
        for input in &entry.tx.input {
            self.spenders.remove(&input.previous_output);
        }
    }

    fn remove_with_descendants(&mut self, txid: &Txid) {
        for descendant in self.descendants(txid) {
            self.remove(&descendant);
        }
        self.remove(txid);
    }

    fn conflicts(&self, tx: &Transaction) -> HashSet<Txid> {
        tx.input.iter().filter_map(|input| self.spenders.get(&input.previous_output)).copied().collect()
    }

    fn parents(&self, tx: &Transaction) -> HashSet<Txid> {
        let ids = tx.input.iter().map(|input| input.previous_output.txid);
        ids.filter(|id| self.entries.contains_key(id)).collect()
    }

    fn children(&self, txid: &Txid) -> HashSet<Txid> {
        let outputs = self.get(txid).map_or(0, |tx| tx.output.len());
        let outpoints = (0u32..).take(outputs).map(|vout| OutPoint { txid: *txid, vout });
        outpoints.filter_map(|outpoint| self.spenders.get(&outpoint)).copied().collect()
    }

    fn ancestors(&self, tx: &Transaction) -> HashSet<Txid> {
        closure(self.parents(tx), |id| self.get(id).map(|tx| self.parents(tx)).unwrap_or_default())
    }

    fn descendants(&self, txid: &Txid) -> HashSet<Txid> {
        closure(self.children(txid), |id| self.children(id))
    }
}

/// Everything reachable from `start`; bounded by the pool.
fn closure(start: HashSet<Txid>, next: impl Fn(&Txid) -> HashSet<Txid>) -> HashSet<Txid> {
    let mut reached = start.clone();
    let mut frontier: Vec<Txid> = start.into_iter().collect();
    while let Some(id) = frontier.pop() {
        frontier.extend(next(&id).into_iter().filter(|id| reached.insert(*id)));
    }
    reached
}

fn check_standard(tx: &Transaction) -> Result<(), Refusal> {
    if tx.is_coinbase() {
        return Err("coinbase".into());
    }
    if !(1..=TRUC_VERSION).contains(&tx.version.0) {
        return Err("version".into());
    }
    if tx.weight() > MAX_STANDARD_WEIGHT {
        return Err("tx-size".into());
    }
    if tx.base_size() < MIN_BASE_SIZE {
        return Err("tx-size-small".into());
    }
    for output in &tx.output {
        let script = &output.script_pubkey;
        let known = script.is_witness_program()
            || script.is_op_return()
            || script.is_p2pkh()
            || script.is_p2sh()
            || script.is_p2pk();
        if !known {
            return Err("scriptpubkey".into());
        }
        if output.value < script.minimal_non_dust() {
            return Err("dust".into());
        }
    }
    Ok(())
}

/// Whether the transaction's own lock time allows it in the next block (BIP-113).
fn check_final(index: &Index, tx: &Transaction) -> Result<(), Refusal> {
    let next = index.next_height();
    let passed = match tx.lock_time {
        LockTime::Blocks(height) => height.to_consensus_u32() < next,
        LockTime::Seconds(time) => time.to_consensus_u32() < index.median_time(next.saturating_sub(1)),
    };
    let disabled = tx.input.iter().all(|input| input.sequence == Sequence::MAX);
    if passed || disabled { Ok(()) } else { Err("non-final".into()) }
}

/// Whether an input's relative lock on a coin confirmed at `height` has passed in the next block (BIP-68).
fn relative_lock_passed(index: &Index, sequence: Sequence, height: u32) -> bool {
    let next = index.next_height();
    match sequence.to_relative_lock_time() {
        None => true,
        Some(relative::LockTime::Blocks(blocks)) => height.saturating_add(u32::from(blocks.value())) <= next,
        Some(relative::LockTime::Time(units)) => {
            let start = index.median_time(height.saturating_sub(1));
            let needed = start.saturating_add(u32::from(units.value()) * 512);
            index.median_time(next.saturating_sub(1)) >= needed
        }
    }
}

fn pays_relay_fee(fee: Amount, vsize: usize) -> bool {
    fee.to_sat() >= vsize as u64 // lossless: usize is at most 64 bits
}

fn refusal(error: SpendError) -> Refusal {
    match error {
        SpendError::Script { input, reason } => {
            format!("mandatory-script-verify-flag-failed, input {input}: {reason}")
        }
        SpendError::InBelowOut { .. } => "bad-txns-in-belowout".into(),
        SpendError::DuplicateInput { .. } => "bad-txns-inputs-duplicate".into(),
        SpendError::NoInputs => "bad-txns-vin-empty".into(),
        SpendError::PrevoutCount { .. }
        | SpendError::OutOfRange { .. }
        | SpendError::Malformed { .. }
        | SpendError::Engine { .. } => error.to_string(),
    }
}
