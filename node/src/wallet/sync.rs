//! How the wallet learns from the chain.
//!
//! A *pass* is one run of a follower's stream. A pass watches everything up to [`LOOK_AHEAD`](super::state::LOOK_AHEAD)
//! scripts beyond the last used one. When something arrives on a script that was never handed out (a wallet restored
//! from its words, or a second copy of it), further scripts come into view that earlier blocks were not searched for;
//! when such a pass ends, another starts from the birth height, until one ends without a discovery.
//!
//! bdk removes a block only when another takes its height. Until then an undone block stands in
//! [`State::undone`](super::state::State), and what it confirmed counts as unconfirmed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bdk_wallet::Update;
use bdk_wallet::chain::{BlockId, CheckPoint, ConfirmationBlockTime, TxUpdate};
use bitcoin::{Transaction, TxIn, Txid};

use super::persist::{Own, Purpose, RECENT_BLOCKS, Reservation, Scan};
use super::state::{Known, State};
use crate::chain::{BlockRef, ChainEvent};

/// How deep a transaction is confirmed before its reservation ends: no reorganisation brings it back from there.
const FINAL_DEPTH: u32 = 6;

/// One run of a follower's stream.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Whether it began at the birth height.
    from_birth: bool,
    /// Whether scripts came into view that its earlier blocks were not searched for.
    discovered: bool,
    /// Whether the past has been delivered: from here on every block becomes a checkpoint.
    live: bool,
    /// Our transactions in the pool.
    pool: HashSet<Txid>,
    /// The last blocks of the past, not all of which are checkpoints.
    recent: VecDeque<BlockRef>,
}

/// What to do when everything has been delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on listening.
    Listen,
    /// Start another pass.
    PassAgain,
}

impl State {
    /// Starts a pass and returns its locator, newest first. `birth` is the last block that can hold nothing of ours.
    pub fn begin_pass(&mut self, birth: BlockRef) -> Vec<BlockRef> {
        let from_birth = self.own.scan == Some(Scan::Again);
        self.pass = Pass { from_birth, ..Pass::default() };
        if from_birth {
            return vec![birth];
        }
        if self.wallet.latest_checkpoint().height() == 0 && birth.height > 0 {
            self.update(Some(self.wallet.latest_checkpoint().insert(block_id(birth))), TxUpdate::default());
        }
        locator(&self.wallet.latest_checkpoint())
    }

    /// Learns one event. `Some` when everything up to now has been delivered.
    pub fn apply(&mut self, event: ChainEvent) -> Option<Next> {
        match event {
            ChainEvent::Connected { block, parent: _, time, txs } => self.connect(block, time, txs),
            ChainEvent::Disconnected { block } => self.disconnect(block),
            // Its place in the chain is learnt in a pass from the birth height, which it shows to be due.
            ChainEvent::Found { .. } => self.discover(),
            ChainEvent::MempoolSeen { tx } => self.hear(tx),
            ChainEvent::Evicted { txid } => self.evict(txid),
            // A wallet goes by the end of a pass: a script that is watched late is due for another.
            ChainEvent::Searched { .. } | ChainEvent::Unreadable { .. } => {}
            // The follower's log names it. What was known of it stays, and what comes to light then is found.
            ChainEvent::Withheld { .. } | ChainEvent::Shown { .. } => {}
            ChainEvent::Synced { tip } => return Some(self.finish(tip)),
        }
        None
    }

    /// Ends a batch of events: the last block becomes a checkpoint, so that a restart goes on from there.
    pub fn end_batch(&mut self) {
        if let Some(last) = self.pass.recent.back().copied() {
            self.update(Some(self.wallet.latest_checkpoint().insert(block_id(last))), TxUpdate::default());
        }
    }

    /// Hears of a transaction that others say is in the pool.
    fn hear(&mut self, tx: Transaction) {
        if self.wallet.spk_index().inner().is_relevant(&tx) && self.has_room_for(&tx) {
            self.see(tx);
        }
    }

    /// Learns of a transaction that is in the pool, unless it spends coins of this wallet and their keys did not sign it.
    pub fn see(&mut self, tx: Transaction) {
        let txid = tx.compute_txid();
        if !self.wallet.spk_index().inner().is_relevant(&tx) {
            return;
        }
        if !self.is_signed(&tx, None) {
            tracing::debug!(%txid, "a spend of this wallet's coins is not signed, as far as it can tell; it does not count");
            return;
        }
        // An eviction counts until the transaction is seen later than that.
        let evicted = self.wallet.tx_graph().get_last_evicted(txid);
        let seen = evicted.map_or(0, |time| time.saturating_add(1)).max((self.clock)());
        self.pass.pool.insert(txid);
        let mut update = TxUpdate::default();
        update.seen_ats.insert((txid, seen));
        // What a block held is known as it was signed: other witnesses are no news.
        if !self.was_in_a_block(&txid) {
            update.txs.push(Arc::new(tx));
        }
        self.update(None, update);
        self.evict_unsigned(&[txid]);
    }

    /// Returns what should be in the pool or the chain and is not: payments, and children of what waits there, each with
    /// its parent.
    pub fn unsent(&self) -> Vec<Vec<Transaction>> {
        let known = self.known();
        let unsent = self.own.reservations().filter(|(txid, reservation)| {
            let counts = !known.contains_key(txid) && self.own.replacement_of(txid).is_none();
            counts
                && match &reservation.purpose {
                    Purpose::Send { .. } => true,
                    Purpose::Child { parent } => {
                        let parent = parent.compute_txid();
                        known.contains_key(&parent) && self.own.replacement_of(&parent).is_none()
                    }
                    Purpose::Fund | Purpose::Share | Purpose::Joint => false,
                }
        });
        let package = |(txid, reservation): (Txid, &Reservation)| match &reservation.purpose {
            Purpose::Child { parent } => vec![parent.clone(), reservation.tx.clone()],
            Purpose::Send { .. } | Purpose::Fund | Purpose::Share | Purpose::Joint => {
                self.package_of(&txid).unwrap_or_else(|| vec![reservation.tx.clone()])
            }
        };
        unsent.map(package).collect()
    }

    /// Returns what was built here alone and waits in the pool. What others had a part in they may have spent elsewhere, unseen.
    pub fn own_waiting(&self) -> Vec<Txid> {
        let is_alone = |purpose: &Purpose| match purpose {
            Purpose::Send { .. } | Purpose::Fund => true,
            Purpose::Share | Purpose::Joint | Purpose::Child { .. } => false,
        };
        let known = self.known();
        let waits = |txid: &Txid| known.get(txid).is_some_and(|tx| tx.confirmation.is_none());
        let own = self.own.reservations().filter(|(txid, reservation)| is_alone(&reservation.purpose) && waits(txid));
        own.map(|(txid, _)| txid).collect()
    }

    /// Takes what waited when this wallet was closed, and may still: no block that came since holds it, or spends one of its
    /// coins otherwise.
    pub fn take_last_known(&mut self) -> Vec<Transaction> {
        let waited = std::mem::take(&mut self.last_known);
        let known = self.known();
        let is_confirmed = |txid: &Txid| known.get(txid).is_some_and(|tx| tx.confirmation.is_some());
        let is_spent = |input: &TxIn| self.wallet.tx_graph().outspends(input.previous_output).iter().any(is_confirmed);
        let built = waited.iter().filter_map(|txid| self.own.reservations.get(txid)?.as_ref());
        built.map(|reservation| &reservation.tx).filter(|tx| !tx.input.iter().any(is_spent)).cloned().collect()
    }

    /// Returns a transaction and the child that was built for it, if there is one.
    pub fn package_of(&self, parent: &Txid) -> Option<Vec<Transaction>> {
        let (_, child) = self.own.child_of(parent)?;
        match &child.purpose {
            Purpose::Child { parent } => Some(vec![parent.clone(), child.tx.clone()]),
            Purpose::Send { .. } | Purpose::Fund | Purpose::Share | Purpose::Joint => None,
        }
    }

    /// Returns those of a block's transactions that are ours: a backend may tell of more than that.
    fn ours(&self, mut txs: Vec<Transaction>) -> Vec<Transaction> {
        let mut kept = HashSet::new();
        txs.retain(|tx| {
            let spends_kept = tx.input.iter().any(|input| kept.contains(&input.previous_output.txid));
            let is_ours = spends_kept || self.wallet.spk_index().inner().is_relevant(tx);
            if is_ours {
                kept.insert(tx.compute_txid());
            }
            is_ours
        });
        txs
    }

    fn connect(&mut self, block: BlockRef, time: u32, txs: Vec<Transaction>) {
        let txs = self.ours(txs);
        let checkpoint = self.pass.live
            || !txs.is_empty()
            || !self.undone.is_empty()
            || self.wallet.local_chain().get(block.height).is_some();
        let txids: Vec<Txid> = txs.iter().map(Transaction::compute_txid).collect();
        let anchor = ConfirmationBlockTime { block_id: block_id(block), confirmation_time: time.into() };
        let mut update = TxUpdate::default();
        for tx in txs {
            let txid = tx.compute_txid();
            self.pass.pool.remove(&txid);
            self.payments.end(&txid);
            update.anchors.insert((anchor, txid));
            update.txs.push(Arc::new(tx));
        }
        if !self.pass.live {
            self.pass.recent.push_back(block);
            if self.pass.recent.len() > RECENT_BLOCKS {
                self.pass.recent.pop_front();
            }
        }
        if checkpoint {
            self.update(Some(self.wallet.latest_checkpoint().insert(block_id(block))), update);
            let chain = self.wallet.latest_checkpoint();
            self.undone.retain(|gone| *gone != block && chain.get(gone.height).is_some_and(|b| b.hash() == gone.hash));
        }
        self.evict_unsigned(&txids);
    }

    fn disconnect(&mut self, block: BlockRef) {
        self.pass.recent.retain(|recent| *recent != block);
        let held = self.wallet.local_chain().get(block.height).is_some_and(|held| held.hash() == block.hash);
        if held && !self.undone.contains(&block) {
            self.undone.push(block);
        }
    }

    fn evict(&mut self, txid: Txid) {
        self.pass.pool.remove(&txid);
        let Some(node) = self.wallet.tx_graph().get_tx_node(txid) else {
            return;
        };
        let evicted = node.last_seen.unwrap_or(0).max((self.clock)());
        let mut update = TxUpdate::default();
        update.evicted_ats.insert((txid, evicted));
        self.update(None, update);
    }

    /// Evicts what spends outputs of these transactions and is not signed. It was taken for a payment while nobody knew whose
    /// the outputs are.
    fn evict_unsigned(&mut self, txids: &[Txid]) {
        let graph = self.wallet.tx_graph();
        let spenders = txids.iter().flat_map(|txid| graph.tx_spends(*txid)).flat_map(|(_, spenders)| spenders);
        let spenders: HashSet<Txid> = spenders.copied().collect();
        let is_unsigned = |txid: &Txid| graph.get_tx(*txid).is_some_and(|tx| !self.is_signed(&tx, None));
        let unsigned: Vec<Txid> = spenders.into_iter().filter(is_unsigned).collect();
        unsigned.into_iter().for_each(|txid| self.evict(txid));
    }

    /// Everything up to `tip` has been delivered.
    fn finish(&mut self, tip: BlockRef) -> Next {
        let above: Vec<BlockRef> = self
            .wallet
            .checkpoints()
            .take_while(|checkpoint| checkpoint.height() > tip.height)
            .map(|checkpoint| BlockRef { height: checkpoint.height(), hash: checkpoint.hash() })
            .collect();
        above.into_iter().for_each(|block| self.disconnect(block));
        if !self.pass.live {
            let recent = std::mem::take(&mut self.pass.recent);
            let chain = recent.into_iter().fold(self.wallet.latest_checkpoint(), |chain, b| chain.insert(block_id(b)));
            self.update(Some(chain), TxUpdate::default());
            self.pass.live = true;
        }
        self.evict_absent();
        self.end_final_reservations(tip);
        self.synced = true;
        if self.pass.discovered {
            return Next::PassAgain;
        }
        // A pass from the last checkpoint does not make up for one that is due from the birth height.
        if self.own.scan != Some(Scan::Done) && (self.pass.from_birth || self.own.scan == Some(Scan::Unfinished)) {
            self.record(Own { scan: Some(Scan::Done), ..Own::default() });
        }
        Next::Listen
    }

    /// Evicts what counts as unconfirmed but is no longer in the pool: it left while nobody listened, or the block that
    /// held it was undone and a conflicting transaction took its place.
    fn evict_absent(&mut self) {
        let known = self.known();
        let absent = known.iter().filter(|(txid, tx)| tx.confirmation.is_none() && !self.pass.pool.contains(*txid));
        let absent: Vec<Txid> = absent.map(|(txid, _)| *txid).collect();
        absent.into_iter().for_each(|txid| self.evict(txid));
    }

    /// Ends the reservations of transactions that are final, or that another final transaction has made void. Of a funding that is
    /// remembered: nothing tells it any more once what it rests on is forgotten.
    fn end_final_reservations(&mut self, tip: BlockRef) {
        let known = self.known();
        let is_final = |txid: &Txid| {
            let confirmation = known.get(txid).and_then(|tx| tx.confirmation);
            confirmation.is_some_and(|at| at.block_id.height.saturating_add(FINAL_DEPTH - 1) <= tip.height)
        };
        let mut ended = Own::default();
        for (txid, kept) in self.own.reservations() {
            let is_over = is_final(&txid);
            let is_void = !is_over && self.is_void(&kept.tx, &known, is_final);
            if is_void && kept.purpose == Purpose::Fund {
                ended.dead_fundings.insert(txid);
            }
            if is_over || is_void {
                ended.reservations.insert(txid, None);
            }
        }
        if !ended.reservations.is_empty() {
            self.record(ended);
        }
    }

    /// Tells whether a funding that was built here can never confirm any more.
    pub fn is_dead(&self, funding: &Txid) -> bool {
        self.own.dead_fundings.contains(funding)
    }

    /// Tells whether a transaction can never confirm: something else that is final spends one of its coins, or a coin of one that
    /// it rests on.
    fn is_void(&self, tx: &Transaction, known: &HashMap<Txid, Known>, is_final: impl Fn(&Txid) -> bool) -> bool {
        let graph = self.wallet.tx_graph();
        let built = |txid: Txid| Some(Arc::new(self.own.reservations.get(&txid)?.as_ref()?.tx.clone()));
        let (mut seen, mut open) = (HashSet::new(), vec![Arc::new(tx.clone())]);
        while let Some(tx) = open.pop() {
            let txid = tx.compute_txid();
            if !seen.insert(txid) {
                continue;
            }
            for coin in tx.input.iter().map(|input| input.previous_output) {
                // One of its spenders is the transaction itself, when it was ever seen.
                if graph.outspends(coin).iter().any(|spender| *spender != txid && is_final(spender)) {
                    return true;
                }
                let is_in_block = known.get(&coin.txid).is_some_and(|parent| parent.confirmation.is_some());
                if !is_in_block {
                    open.extend(graph.get_tx(coin.txid).or_else(|| built(coin.txid)));
                }
            }
        }
        false
    }

    fn update(&mut self, chain: Option<CheckPoint>, tx_update: TxUpdate<ConfirmationBlockTime>) {
        let before = self.wallet.spk_index().last_revealed_indices();
        let update = Update { tx_update, chain, ..Update::default() };
        self.wallet.apply_update(update).expect("the update extends the wallet's own checkpoints");
        if self.wallet.spk_index().last_revealed_indices() != before {
            self.discover();
        }
    }

    fn discover(&mut self) {
        self.pass.discovered = true;
        if self.own.scan != Some(Scan::Again) {
            self.record(Own { scan: Some(Scan::Again), ..Own::default() });
        }
    }
}

/// Returns a locator, newest first: the newest checkpoints complete, then ever fewer, and always the oldest.
fn locator(tip: &CheckPoint) -> Vec<BlockRef> {
    let all: Vec<CheckPoint> = tip.iter().collect();
    let mut next = 0;
    let mut blocks = Vec::new();
    for (place, checkpoint) in all.iter().enumerate() {
        if place == next || place + 1 == all.len() {
            blocks.push(BlockRef { height: checkpoint.height(), hash: checkpoint.hash() });
            next = if place < RECENT_BLOCKS { place + 1 } else { place * 2 };
        }
    }
    blocks
}

fn block_id(block: BlockRef) -> BlockId {
    BlockId { height: block.height, hash: block.hash }
}
