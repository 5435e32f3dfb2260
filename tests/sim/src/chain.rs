//! The chain of a world: coins, a pool in which transactions contradict each other, blocks, and blocks taken back.
//!
//! It enforces what consensus enforces and nothing of this protocol: coins exist and are spent once, nothing comes from
//! nothing, the coins of an escrow move only by one of its leaves with that leaf's signatures and its delay, and what spends the
//! coins of several people is signed by each.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::key::{Secp256k1, XOnlyPublicKey};
use bitcoin::secp256k1::Message;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use exchange_ledger::trade::{ChainFacts, Escrow, Vault, spends_any};

use crate::rng::Rng;

/// The height at which every world begins.
pub const FIRST_HEIGHT: u32 = 1000;
/// What each coin that people begin with is worth.
pub const COIN_SAT: u64 = 3_000_000;
/// Transactions that wait for a block: a world has far fewer.
pub const MAX_POOL: usize = 256;

/// A transaction in a block or in the pool.
#[derive(Debug, Clone)]
struct Seen {
    tx: Transaction,
    txid: Txid,
    height: Option<u32>,
}

/// The chain and its pool, as one node sees them or as they are.
#[derive(Debug, Clone, Default)]
pub struct View {
    tip: u32,
    /// Coins from before the first block.
    genesis: Rc<BTreeMap<OutPoint, TxOut>>,
    seen: Vec<Seen>,
}

impl View {
    /// Returns the height of the tip.
    pub const fn tip(&self) -> u32 {
        self.tip
    }

    /// Returns what is shown of an escrow.
    pub fn facts(&self, escrow: &Escrow) -> ChainFacts {
        self.gather(escrow, |seen| seen.height)
    }

    fn gather(&self, escrow: &Escrow, height: impl Fn(&Seen) -> Option<u32>) -> ChainFacts {
        let scripts = escrow.scripts();
        let pays = |seen: &Seen| seen.tx.output.iter().any(|output| scripts.contains(&output.script_pubkey));
        let paying: Vec<Txid> = self.seen.iter().filter(|seen| pays(seen)).map(|seen| seen.txid).collect();
        let spends = |seen: &Seen| seen.tx.input.iter().any(|input| paying.contains(&input.previous_output.txid));
        let concerned = self.seen.iter().filter(|seen| paying.contains(&seen.txid) || spends(seen));
        ChainFacts::gather(escrow, self.tip, true, concerned.map(|seen| (&seen.tx, height(seen))))
    }

    /// Tells whether a transaction is in the pool or in a block.
    pub fn has(&self, txid: &Txid) -> bool {
        self.seen.iter().any(|seen| seen.txid == *txid)
    }

    /// Returns an output, with the height that confirms it.
    pub fn output(&self, outpoint: &OutPoint) -> Option<(&TxOut, Option<u32>)> {
        if let Some(output) = self.genesis.get(outpoint) {
            return Some((output, Some(0)));
        }
        let seen = self.seen.iter().find(|seen| seen.txid == outpoint.txid)?;
        seen.tx.output.get(outpoint.vout as usize).map(|output| (output, seen.height)) // u32 fits
    }

    /// Returns what spends an output, with the height that confirms it: what is in a block comes first.
    pub fn spender(&self, outpoint: &OutPoint) -> Option<(Txid, Option<u32>)> {
        let spends = |seen: &&Seen| seen.tx.input.iter().any(|input| input.previous_output == *outpoint);
        let mut found: Vec<&Seen> = self.seen.iter().filter(spends).collect();
        found.sort_by_key(|seen| seen.height.is_none());
        found.first().map(|seen| (seen.txid, seen.height))
    }

    /// Tells whether a transaction of a block spends an output.
    pub fn is_spent(&self, outpoint: &OutPoint) -> bool {
        let mut buried = self.seen.iter().filter(|seen| seen.height.is_some());
        buried.any(|seen| seen.tx.input.iter().any(|input| input.previous_output == *outpoint))
    }
}

/// Why a transaction is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A coin does not exist, or a block has spent it.
    NoCoin,
    /// More goes out than comes in.
    Inflation,
    /// An escrow's coins without what its leaf asks for.
    Script,
    /// A relative delay is not over.
    TooEarly,
    /// The pool is full.
    Full,
}

/// The chain as it is.
#[derive(Debug, Default)]
pub struct Chain {
    view: View,
    /// Every escrow that a node has watched, by its script.
    escrows: BTreeMap<ScriptBuf, Escrow>,
    /// Transactions whose scripts were checked.
    checked: BTreeSet<Txid>,
}

impl Chain {
    /// Begins a chain in which each owner has so many coins.
    pub fn new(owners: &[ScriptBuf], coins: u32) -> Self {
        let mut genesis = BTreeMap::new();
        for (number, script) in (0u8..).zip(owners) {
            for vout in 0..coins {
                let outpoint = OutPoint { txid: Txid::from_byte_array([number + 1; 32]), vout };
                let value = bitcoin::Amount::from_sat(COIN_SAT);
                genesis.insert(outpoint, TxOut { value, script_pubkey: script.clone() });
            }
        }
        let view = View { tip: FIRST_HEIGHT, genesis: Rc::new(genesis), seen: Vec::new() };
        Self { view, ..Self::default() }
    }

    /// Returns what is to be seen of it.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Makes an escrow known, so that its scripts are enforced.
    pub fn know(&mut self, escrow: &Escrow) {
        for script in escrow.scripts() {
            self.escrows.entry(script).or_insert_with(|| escrow.clone());
        }
    }

    /// Returns the coins of a script that no transaction, not even of the pool, spends.
    pub fn coins_of(&self, script: &ScriptBuf) -> Vec<OutPoint> {
        let spent: BTreeSet<OutPoint> =
            self.view.seen.iter().flat_map(|seen| &seen.tx.input).map(|input| input.previous_output).collect();
        let genesis = self.view.genesis.iter().filter(|(_, output)| output.script_pubkey == *script);
        genesis.map(|(outpoint, _)| *outpoint).filter(|outpoint| !spent.contains(outpoint)).collect()
    }

    /// Takes a transaction into the pool, also one that contradicts others there: which of them wins, a miner decides.
    ///
    /// # Errors
    /// When it could not enter the next block.
    pub fn broadcast(&mut self, tx: &Transaction) -> Result<(), Refused> {
        let txid = tx.compute_txid();
        if self.view.seen.iter().any(|seen| seen.txid == txid) {
            return Ok(());
        }
        if self.pool().count() >= MAX_POOL {
            return Err(Refused::Full);
        }
        self.check(tx, txid)?;
        self.view.seen.push(Seen { tx: tx.clone(), txid, height: None });
        Ok(())
    }

    /// Returns how many transactions wait for a block.
    pub fn pool_len(&self) -> usize {
        self.pool().count()
    }

    /// Returns every escrow that a node has watched.
    pub fn escrows(&self) -> impl Iterator<Item = &Escrow> {
        self.escrows.iter().filter(|(script, escrow)| **script == escrow.script()).map(|(_, escrow)| escrow)
    }

    fn pool(&self) -> impl Iterator<Item = &Seen> {
        self.view.seen.iter().filter(|seen| seen.height.is_none())
    }

    fn check(&mut self, tx: &Transaction, txid: Txid) -> Result<(), Refused> {
        let mut value_in = bitcoin::Amount::ZERO;
        for input in &tx.input {
            let (output, height) = self.view.output(&input.previous_output).ok_or(Refused::NoCoin)?;
            if self.view.is_spent(&input.previous_output) {
                return Err(Refused::NoCoin);
            }
            value_in = value_in.checked_add(output.value).ok_or(Refused::Inflation)?;
            let delay = input.sequence.to_relative_lock_time().map_or(0, |lock| match lock {
                bitcoin::relative::LockTime::Blocks(height) => u32::from(height.value()),
                bitcoin::relative::LockTime::Time(_) => u32::MAX,
            });
            // BIP-68: the block to come must lie so many after the one that holds the output.
            if delay > 0 && height.is_none_or(|height| height.saturating_add(delay) > self.view.tip + 1) {
                return Err(Refused::TooEarly);
            }
        }
        let value_out = tx.output.iter().try_fold(bitcoin::Amount::ZERO, |sum, output| sum.checked_add(output.value));
        if value_out.is_none_or(|out| out > value_in) {
            return Err(Refused::Inflation);
        }
        if !self.checked.contains(&txid) {
            for input in &tx.input {
                let (output, _) = self.view.output(&input.previous_output).ok_or(Refused::NoCoin)?;
                if let Some(escrow) = self.escrows.get(&output.script_pubkey)
                    && !self.is_signed(escrow, tx)
                {
                    return Err(Refused::Script);
                }
            }
            if !self.is_signed_by_all(tx) {
                return Err(Refused::Script);
            }
            self.checked.insert(txid);
        }
        Ok(())
    }

    /// Checks the signatures of a transaction that spends the coins of more than one owner. Nobody here spends those of
    /// others alone.
    fn is_signed_by_all(&self, tx: &Transaction) -> bool {
        let spent = |input: &TxIn| self.view.output(&input.previous_output).map(|(output, _)| output.clone());
        let Some(prevouts) = tx.input.iter().map(spent).collect::<Option<Vec<TxOut>>>() else { return false };
        let is_coin = |input: &TxIn| self.view.genesis.contains_key(&input.previous_output);
        if !tx.input.iter().any(is_coin) || prevouts.iter().all(|output| *output == prevouts[0]) {
            return true;
        }
        let mut cache = SighashCache::new(tx);
        (0..).zip(&prevouts).zip(&tx.input).all(|((at, output), input)| {
            let (all, default) = (Prevouts::All(&prevouts), TapSighashType::Default);
            let Ok(sighash) = cache.taproot_key_spend_signature_hash(at, &all, default) else { return false };
            let key = output.script_pubkey.as_bytes().get(2..).and_then(|key| XOnlyPublicKey::from_slice(key).ok());
            let signature = input.witness.nth(0).and_then(|bytes| Signature::from_slice(bytes).ok());
            key.zip(signature).is_some_and(|(key, signature)| {
                Secp256k1::verification_only().verify_schnorr(&signature, &Message::from(sighash), &key).is_ok()
            })
        })
    }

    /// Checks a spend of an escrow as consensus does: a leaf of the tree, its signatures, its delay.
    fn is_signed(&self, escrow: &Escrow, tx: &Transaction) -> bool {
        // As if a block held all that waits: what a reorg made too early for now has outputs all the same.
        let facts = self.view.gather(escrow, |seen| seen.height.or(Some(self.view.tip)));
        facts.fundings.iter().filter(|funding| spends_any(tx, &funding.vaults)).all(|funding| {
            let Ok(Some(leaf)) = escrow.check_witness(tx, &funding.vaults) else { return false };
            let delay = escrow.delay_of(Some(leaf));
            tx.input.iter().all(|input| match input.sequence.to_relative_lock_time() {
                Some(bitcoin::relative::LockTime::Blocks(height)) => height.value() >= delay,
                Some(bitcoin::relative::LockTime::Time(_)) | None => delay == 0,
            })
        })
    }

    /// Adds blocks. The first takes what it can of the pool, in any order; what contradicts it is gone. A miner may leave
    /// something out.
    pub fn mine(&mut self, blocks: u32, rng: &mut Rng) {
        let mut waiting: Vec<Txid> = self.pool().map(|seen| seen.txid).collect();
        rng.shuffle(&mut waiting);
        let height = self.view.tip + 1;
        for txid in waiting {
            if rng.one_in(8) {
                continue;
            }
            let Some(tx) = self.view.seen.iter().find(|seen| seen.txid == txid).map(|seen| seen.tx.clone()) else {
                continue;
            };
            let buried = |outpoint: &OutPoint| self.view.output(outpoint).is_some_and(|(_, height)| height.is_some());
            let ready = tx.input.iter().all(|input| buried(&input.previous_output));
            if ready
                && self.check(&tx, txid).is_ok()
                && let Some(seen) = self.view.seen.iter_mut().find(|seen| seen.txid == txid)
            {
                seen.height = Some(height);
            }
        }
        self.view.tip += blocks;
        self.evict();
    }

    /// Takes back the last blocks and puts as many and one more in their place. What was in them waits in the pool again, or
    /// is forgotten by it.
    pub fn reorganise(&mut self, depth: u32, forget: bool, rng: &mut Rng) {
        let from = (self.view.tip + 1).saturating_sub(depth);
        let mut gone = Vec::new();
        for seen in &mut self.view.seen {
            if seen.height.is_some_and(|height| height >= from) {
                seen.height = None;
                gone.push(seen.txid);
            }
        }
        if forget {
            self.view.seen.retain(|seen| !gone.contains(&seen.txid));
        }
        self.view.tip = from - 1;
        self.evict();
        self.mine(depth + 1, rng);
    }

    /// Drops what can never enter a block any more.
    fn evict(&mut self) {
        loop {
            let lost: Vec<Txid> = self
                .pool()
                .filter(|seen| {
                    seen.tx.input.iter().any(|input| {
                        self.view.is_spent(&input.previous_output) || self.view.output(&input.previous_output).is_none()
                    })
                })
                .map(|seen| seen.txid)
                .collect();
            if lost.is_empty() {
                return;
            }
            self.view.seen.retain(|seen| !lost.contains(&seen.txid));
        }
    }

    /// Returns what all coins that are not spent by a block are worth, and the fees of all blocks.
    pub fn total(&self) -> (u64, u64) {
        let mut unspent: BTreeMap<OutPoint, u64> =
            self.view.genesis.iter().map(|(outpoint, output)| (*outpoint, output.value.to_sat())).collect();
        let mut fees = 0;
        let mut confirmed: Vec<&Seen> = self.view.seen.iter().filter(|seen| seen.height.is_some()).collect();
        confirmed.sort_by_key(|seen| seen.height);
        for seen in &confirmed {
            for (vout, output) in (0..).zip(&seen.tx.output) {
                unspent.insert(OutPoint { txid: seen.txid, vout }, output.value.to_sat());
            }
        }
        for seen in &confirmed {
            let value_in: u64 = seen.tx.input.iter().filter_map(|input| unspent.remove(&input.previous_output)).sum();
            let value_out: u64 = seen.tx.output.iter().map(|output| output.value.to_sat()).sum();
            fees += value_in.saturating_sub(value_out);
        }
        (unspent.values().sum(), fees)
    }

    /// Returns what the first coins were worth.
    pub fn genesis_value(&self) -> u64 {
        self.view.genesis.values().map(|output| output.value.to_sat()).sum()
    }

    /// Returns the outputs of escrows in a block that no block spends.
    pub fn unspent(&self) -> Vec<(&Escrow, Vault)> {
        let mut unspent = Vec::new();
        for escrow in self.escrows() {
            let facts = self.view.facts(escrow);
            for vaults in facts.fundings.iter().filter(|funding| funding.height.is_some()).map(|funding| funding.vaults)
            {
                let coins = [Some((vaults.escrow, Vault::Escrow)), vaults.bond.map(|bond| (bond, Vault::Bond))];
                let held = coins.into_iter().flatten().filter(|(coin, _)| !self.view.is_spent(&coin.outpoint.0));
                unspent.extend(held.map(|(_, vault)| (escrow, vault)));
            }
        }
        unspent
    }
}

/// Returns a transaction that spends a coin to `change`, less a fee.
pub fn send_back(coin: OutPoint, change: ScriptBuf, fee: u64) -> Transaction {
    let rest = bitcoin::Amount::from_sat(COIN_SAT.saturating_sub(fee));
    spend(coin, vec![TxOut { value: rest, script_pubkey: change }])
}

/// Returns a transaction that pays an output from a coin, with the rest, less a fee, to `change`.
pub fn payment(coin: OutPoint, output: TxOut, change: ScriptBuf, fee: u64) -> Transaction {
    let rest = COIN_SAT.saturating_sub(output.value.to_sat()).saturating_sub(fee);
    let change = TxOut { value: bitcoin::Amount::from_sat(rest), script_pubkey: change };
    spend(coin, vec![output, change])
}

fn spend(coin: OutPoint, output: Vec<TxOut>) -> Transaction {
    let sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
    let input = vec![TxIn { previous_output: coin, script_sig: ScriptBuf::new(), sequence, witness: Witness::new() }];
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}
