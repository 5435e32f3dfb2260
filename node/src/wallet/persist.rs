//! What the wallet keeps on disk: a sequence of changes, each written whole before it is acted upon.
//!
//! A change is a version byte and JSON: bdk's own change set (public descriptors, revealed indices, transactions that a block
//! held or that were built here, the chain's checkpoints) and what bdk does not know ([`Own`]). Private keys are in neither.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::successors;

use bdk_wallet::ChangeSet;
use bdk_wallet::chain::{ConfirmationBlockTime, Merge, tx_graph};
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use serde::{Deserialize, Serialize};

use super::WalletError;

/// The version of the encoding.
const VERSION: u8 = 1;
/// From this many changes on they are merged into one when the wallet is opened.
pub(super) const COMPACT_FROM: usize = 64;
/// How many of the newest checkpoints stay complete, as followers ask of a locator.
pub(super) const RECENT_BLOCKS: usize = 100;

/// A change of what bdk knows of transactions.
pub(super) type TxChange = tx_graph::ChangeSet<ConfirmationBlockTime>;

/// A change of everything that is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Change {
    #[serde(default)]
    pub bdk: ChangeSet,
    #[serde(default)]
    pub own: Own,
}

/// What the wallet keeps beside bdk's change set. In maps `None` takes an entry away.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Own {
    /// What transactions were for, as the node knows.
    #[serde(default)]
    pub labels: BTreeMap<Txid, Option<String>>,
    /// What the owner says of transactions.
    #[serde(default)]
    pub notes: BTreeMap<Txid, Option<String>>,
    /// What he says of addresses, by their scripts.
    #[serde(default)]
    pub address_labels: BTreeMap<ScriptBuf, Option<String>>,
    /// What he says of coins.
    #[serde(default)]
    pub coin_labels: BTreeMap<OutPoint, Option<String>>,
    /// Coins that are not to be spent until their owner says so.
    #[serde(default)]
    pub frozen: BTreeMap<OutPoint, bool>,
    /// Coins that were signed for in a file, which whoever has it can send: frozen as well.
    #[serde(default)]
    pub signed_away: BTreeMap<OutPoint, bool>,
    /// Transactions that were built and are not yet final; nothing else may spend their inputs.
    #[serde(default)]
    pub reservations: BTreeMap<Txid, Option<Reservation>>,
    /// Fundings of escrows that were built and can never confirm, for what is final took their coins. Their trades keep them, and
    /// ask for it, be it after the next start; there are few.
    #[serde(default)]
    pub dead_fundings: BTreeSet<Txid>,
    /// What the inputs of transactions spend that were signed with others, by their ids before anybody signed.
    #[serde(default)]
    pub cosigned: BTreeMap<Txid, Option<Vec<TxOut>>>,
    /// The index of the present deposit address.
    #[serde(default)]
    pub deposit: Option<u32>,
    /// How far the chain has been searched.
    #[serde(default)]
    pub scan: Option<Scan>,
}

/// A transaction that was built by this wallet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Reservation {
    pub purpose: Purpose,
    /// Whom it pays.
    pub script: ScriptBuf,
    /// What was asked for; `None` for everything.
    #[serde(with = "bitcoin::amount::serde::as_sat::opt")]
    pub asked: Option<Amount>,
    /// What arrives.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub amount: Amount,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub fee: Amount,
    pub tx: Transaction,
    /// The earlier version, which this one is to replace in the pool: of the same payment, or if this one pays somebody else, of one
    /// that it cancels.
    #[serde(default)]
    pub replaces: Option<Txid>,
}

/// Who broadcasts a built transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// The trade's driver, when its time has come.
    Fund,
    /// The wallet, at once and again until it confirms.
    Send { request_id: String },
    /// Nobody: it stands for the coins that are set aside for an output of a funding from two wallets.
    Share,
    /// The trade's driver, once both sides have signed: a funding from two wallets, with this side's signatures.
    Joint,
    /// Whoever broadcasts its parent, whose fee it raises; the wallet, once the parent is seen.
    Child { parent: Transaction },
}

/// How far the chain has been searched for the wallet's scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Scan {
    /// Not to its end yet; goes on from the last checkpoint.
    Unfinished,
    /// Scripts turned up that earlier blocks were not searched for: once more from the birth height.
    Again,
    /// All of it.
    Done,
}

impl Change {
    /// Reads the changes that were kept, oldest first, as one.
    pub fn read(changes: &[Vec<u8>]) -> Result<Self, WalletError> {
        let mut whole = Self::default();
        for bytes in changes {
            whole.merge(Self::decode(bytes)?);
        }
        Ok(whole)
    }

    pub fn encode(&self) -> Result<Vec<u8>, WalletError> {
        let mut bytes = vec![VERSION];
        serde_json::to_writer(&mut bytes, self).map_err(|e| WalletError::Internal { reason: e.to_string() })?;
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, WalletError> {
        match bytes.split_first() {
            Some((&VERSION, json)) => {
                serde_json::from_slice(json).map_err(|e| WalletError::Damaged { reason: e.to_string() })
            }
            Some((version, _)) => Err(WalletError::Damaged { reason: format!("version {version} is unknown") }),
            None => Err(WalletError::Damaged { reason: "an empty change".into() }),
        }
    }

    pub fn merge(&mut self, later: Self) {
        self.bdk.merge(later.bdk);
        self.own.merge(later.own);
    }

    pub fn is_empty(&self) -> bool {
        self.bdk.is_empty() && self.own == Own::default()
    }

    /// Forgets what no longer matters: entries taken away, transactions that no block held and that were not built here, and old
    /// checkpoints that confirm nothing of ours.
    pub fn prune(&mut self) {
        self.own.forget_labels();
        self.own.reservations.retain(|_, reservation| reservation.is_some());
        self.own.cosigned.retain(|_, spent| spent.is_some());
        let held: BTreeSet<Txid> = self.bdk.tx_graph.anchors.iter().map(|(_, txid)| *txid).collect();
        retain_txs(&mut self.bdk.tx_graph, |txid| held.contains(txid) || self.own.is_reserved(txid));
        let blocks = &mut self.bdk.local_chain.blocks;
        blocks.retain(|_, hash| hash.is_some());
        let Some(oldest_recent) = blocks.keys().rev().nth(RECENT_BLOCKS - 1).copied() else {
            return;
        };
        let confirming: BTreeSet<u32> =
            self.bdk.tx_graph.anchors.iter().map(|(anchor, _)| anchor.block_id.height).collect();
        blocks.retain(|height, _| *height == 0 || *height >= oldest_recent || confirming.contains(height));
    }
}

/// Leaves of what changed about transactions only what is to be kept.
pub(super) fn retain_txs(change: &mut TxChange, is_kept: impl Fn(&Txid) -> bool) {
    change.txs.retain(|tx| is_kept(&tx.compute_txid()));
    change.first_seen.retain(|txid, _| is_kept(txid));
    change.last_seen.retain(|txid, _| is_kept(txid));
    change.last_evicted.retain(|txid, _| is_kept(txid));
}

impl Own {
    pub fn merge(&mut self, later: Self) {
        self.labels.extend(later.labels);
        self.notes.extend(later.notes);
        self.address_labels.extend(later.address_labels);
        self.coin_labels.extend(later.coin_labels);
        self.frozen.extend(later.frozen);
        self.signed_away.extend(later.signed_away);
        self.reservations.extend(later.reservations);
        self.dead_fundings.extend(later.dead_fundings);
        self.cosigned.extend(later.cosigned);
        self.deposit = later.deposit.or(self.deposit);
        self.scan = later.scan.or(self.scan);
    }

    /// Returns the transactions that were built and are not yet final.
    pub fn reservations(&self) -> impl Iterator<Item = (Txid, &Reservation)> {
        self.reservations.iter().filter_map(|(txid, reservation)| Some((*txid, reservation.as_ref()?)))
    }

    /// Tells whether a transaction was built and is not yet final.
    pub fn is_reserved(&self, txid: &Txid) -> bool {
        self.reservations.get(txid).is_some_and(Option::is_some)
    }

    /// Returns the transaction that was built to replace another in the pool.
    pub fn replacement_of(&self, replaced: &Txid) -> Option<Txid> {
        self.reservations().find(|(_, reservation)| reservation.replaces == Some(*replaced)).map(|(txid, _)| txid)
    }

    /// Returns the last version of what was built, which alone is still sent.
    pub fn last_version(&self, txid: Txid) -> Txid {
        successors(Some(txid), |version| self.replacement_of(version)).last().unwrap_or(txid)
    }

    /// Returns a transaction that was built, and before which versions it is to come: the last first.
    pub fn versions(&self, txid: Txid) -> impl Iterator<Item = (Txid, &Reservation)> {
        successors(self.built(txid), move |(_, version)| self.built(version.replaces?))
    }

    fn built(&self, txid: Txid) -> Option<(Txid, &Reservation)> {
        Some((txid, self.reservations.get(&txid)?.as_ref()?))
    }

    /// Returns the payment that a transaction cancels, if it does: the last version that pays another than this one.
    pub fn cancels(&self, txid: Txid) -> Option<Txid> {
        let mut versions = self.versions(txid);
        let (_, last) = versions.next()?;
        versions.find(|(_, earlier)| earlier.script != last.script).map(|(earlier, _)| earlier)
    }

    /// Returns the transaction from which another spends that was built to raise its fee.
    pub fn parent_of(&self, child: &Txid) -> Option<Txid> {
        match &self.reservations.get(child)?.as_ref()?.purpose {
            Purpose::Child { parent } => Some(parent.compute_txid()),
            Purpose::Fund | Purpose::Send { .. } | Purpose::Share | Purpose::Joint => None,
        }
    }

    /// Returns the transaction that was built to raise the fee of another by spending from it; of several versions the last.
    pub fn child_of(&self, parent: &Txid) -> Option<(Txid, &Reservation)> {
        self.reservations().find(|(txid, reservation)| {
            let is_child =
                matches!(&reservation.purpose, Purpose::Child { parent: of } if of.compute_txid() == *parent);
            is_child && self.replacement_of(txid).is_none()
        })
    }
}

#[cfg(test)]
mod tests {
    use bdk_wallet::chain::BlockId;
    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn changes_merge_in_order_and_survive_their_encoding() {
        let txid = Txid::all_zeros();
        let first = Change {
            own: Own { labels: [(txid, Some("rent".into()))].into(), deposit: Some(3), ..Own::default() },
            ..Change::default()
        };
        let second = Change {
            own: Own { labels: [(txid, None)].into(), scan: Some(Scan::Done), ..Own::default() },
            ..Change::default()
        };
        let mut whole = Change::read(&[first.encode().unwrap(), second.encode().unwrap()]).unwrap();
        assert_eq!((whole.own.label(&txid), whole.own.deposit, whole.own.scan), ("", Some(3), Some(Scan::Done)));
        whole.prune();
        assert!(whole.own.labels.is_empty());
    }

    #[test]
    fn damage_is_an_error_and_not_a_fresh_wallet() {
        for bytes in [vec![], vec![9, b'{', b'}'], vec![VERSION, b'{'], b"\x01[]x".to_vec()] {
            assert!(matches!(Change::read(&[bytes]), Err(WalletError::Damaged { .. })));
        }
    }

    #[test]
    fn pruning_forgets_what_no_block_held_and_nobody_built() {
        let block_id = BlockId { height: 7, hash: bitcoin::BlockHash::all_zeros() };
        let tx = |height| Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: bitcoin::absolute::LockTime::from_height(height).unwrap(),
            input: Vec::new(),
            output: Vec::new(),
        };
        let [held, built, heard] = [1, 2, 3].map(tx);
        let ids = [&held, &built, &heard].map(Transaction::compute_txid);
        let mut change = Change::default();
        let graph = &mut change.bdk.tx_graph;
        graph.anchors.insert((ConfirmationBlockTime { block_id, confirmation_time: 0 }, ids[0]));
        graph.txs.extend([&held, &built, &heard].map(|tx| std::sync::Arc::new(tx.clone())));
        graph.last_seen.extend(ids.map(|txid| (txid, 1)));
        graph.last_evicted.extend(ids.map(|txid| (txid, 1)));
        let reservation = Reservation {
            purpose: Purpose::Fund,
            script: ScriptBuf::new(),
            asked: None,
            amount: Amount::ZERO,
            fee: Amount::ZERO,
            tx: built,
            replaces: None,
        };
        change.own.reservations.insert(ids[1], Some(reservation));
        change.prune();
        let graph = &change.bdk.tx_graph;
        let kept: BTreeSet<Txid> = graph.txs.iter().map(|tx| tx.compute_txid()).collect();
        assert_eq!(kept, BTreeSet::from([ids[0], ids[1]]));
        assert!(graph.last_seen.keys().chain(graph.last_evicted.keys()).all(|txid| *txid != ids[2]));
    }

    #[test]
    fn pruning_keeps_genesis_and_the_newest_checkpoints() {
        let mut change = Change::default();
        change.bdk.local_chain.blocks =
            (0..500).map(|height| (height, Some(bitcoin::BlockHash::all_zeros()))).collect();
        change.prune();
        let heights: Vec<u32> = change.bdk.local_chain.blocks.keys().copied().collect();
        assert_eq!(heights.len(), RECENT_BLOCKS + 1);
        assert_eq!((heights[0], heights[1], heights[RECENT_BLOCKS]), (0, 400, 499));
    }
}
