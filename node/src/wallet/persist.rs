//! What the wallet keeps on disk: a sequence of changes, each written whole before it is acted upon.
//!
//! A change is a version byte and JSON: bdk's own change set (public descriptors, revealed indices, transactions, the
//! chain's checkpoints) and what bdk does not know ([`Own`]). Private keys are in neither.

use std::collections::{BTreeMap, BTreeSet};

use bdk_wallet::ChangeSet;
use bdk_wallet::chain::Merge;
use bitcoin::{Amount, ScriptBuf, Transaction, Txid};
use serde::{Deserialize, Serialize};

use super::WalletError;

/// The version of the encoding.
const VERSION: u8 = 1;
/// From this many changes on they are merged into one when the wallet is opened.
pub(super) const COMPACT_FROM: usize = 64;
/// How many of the newest checkpoints stay complete, as followers ask of a locator.
pub(super) const RECENT_BLOCKS: usize = 100;

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
    /// What transactions were for.
    #[serde(default)]
    pub labels: BTreeMap<Txid, Option<String>>,
    /// Transactions that were built and are not yet final; nothing else may spend their inputs.
    #[serde(default)]
    pub reservations: BTreeMap<Txid, Option<Reservation>>,
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
}

/// Who broadcasts a built transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// The trade's driver, when its time has come.
    Fund,
    /// The wallet, at once and again until it confirms.
    Send { request_id: String },
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

    /// Forgets what no longer matters: entries taken away, and old checkpoints that confirm nothing of ours.
    pub fn prune(&mut self) {
        self.own.labels.retain(|_, label| label.is_some());
        self.own.reservations.retain(|_, reservation| reservation.is_some());
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

impl Own {
    pub fn merge(&mut self, later: Self) {
        self.labels.extend(later.labels);
        self.reservations.extend(later.reservations);
        self.deposit = later.deposit.or(self.deposit);
        self.scan = later.scan.or(self.scan);
    }

    /// Returns the transactions that were built and are not yet final.
    pub fn reservations(&self) -> impl Iterator<Item = (Txid, &Reservation)> {
        self.reservations.iter().filter_map(|(txid, reservation)| Some((*txid, reservation.as_ref()?)))
    }

    pub fn label(&self, txid: &Txid) -> &str {
        self.labels.get(txid).and_then(Option::as_deref).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
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
