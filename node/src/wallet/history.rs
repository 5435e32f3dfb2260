//! The wallet's transactions, newest first, a page at a time.

use std::fmt;
use std::str::FromStr;

use bitcoin::{Amount, SignedAmount, Transaction, Txid};

use super::WalletError;
use super::state::{Known, State};

/// How many entries a page has at most.
pub const MAX_PAGE: usize = 200;

/// A transaction of the wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its id.
    pub txid: Txid,
    /// What came in (positive) or went out (negative), the fee included.
    pub net: SignedAmount,
    /// The fee, when this wallet paid it.
    pub fee: Option<Amount>,
    /// The height that confirms it; `None` while in the pool.
    pub height: Option<u32>,
    /// When it was confirmed or first seen, in seconds since the Unix epoch.
    pub time: u64,
    /// What it was for, as the node knows; may be empty.
    pub label: String,
    /// What its owner says of it, or of the address that it pays; may be empty.
    pub note: String,
}

/// A part of the history. `next` is where the next page begins, `None` on the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The entries, newest first.
    pub entries: Vec<HistoryEntry>,
    /// Where the next page begins.
    pub next: Option<HistoryCursor>,
}

/// The place of an entry in the history. Prints as `height:time:txid`, the height empty while unconfirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryCursor {
    height: Option<u32>,
    time: u64,
    txid: Txid,
}

impl State {
    /// Returns up to `limit` entries that come after `after`.
    pub fn history(&self, after: Option<HistoryCursor>, limit: usize) -> HistoryPage {
        let limit = limit.clamp(1, MAX_PAGE);
        let known = self.known();
        let mut entries: Vec<HistoryEntry> = known.iter().map(|(txid, tx)| self.entry(*txid, tx)).collect();
        entries.sort_by_key(|entry| entry.cursor().rank());
        entries.retain(|entry| after.is_none_or(|after| entry.cursor().rank() > after.rank()));
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(HistoryEntry::cursor);
        HistoryPage { entries, next }
    }

    fn entry(&self, txid: Txid, known: &Known) -> HistoryEntry {
        let paid_by_us = self.wallet.sent_and_received(&known.tx).0 > Amount::ZERO;
        HistoryEntry {
            txid,
            net: self.wallet.spk_index().net_value(&known.tx, ..),
            // Known only when all inputs are ours.
            fee: self.wallet.calculate_fee(&known.tx).ok().filter(|_| paid_by_us),
            height: known.confirmation.map(|at| at.block_id.height),
            time: known.confirmation.map(|at| at.confirmation_time).or(known.first_seen).unwrap_or_default(),
            label: self.own.label(&txid).to_owned(),
            note: self.note_of(txid, &known.tx),
        }
    }
}

impl State {
    /// Returns what the owner says of a transaction, or else of an address of his that it pays.
    fn note_of(&self, txid: Txid, tx: &Transaction) -> String {
        let of_address = || {
            let labels = tx.output.iter().map(|output| self.own.address_label(&output.script_pubkey));
            labels.into_iter().find(|label| !label.is_empty())
        };
        let note = Some(self.own.note(&txid)).filter(|note| !note.is_empty());
        note.or_else(of_address).unwrap_or_default().to_owned()
    }
}

impl HistoryEntry {
    fn cursor(&self) -> HistoryCursor {
        HistoryCursor { height: self.height, time: self.time, txid: self.txid }
    }
}

impl HistoryCursor {
    /// Orders unconfirmed before confirmed, then late before early.
    fn rank(&self) -> impl Ord + use<> {
        use std::cmp::Reverse;
        (Reverse(self.height.unwrap_or(u32::MAX)), Reverse(self.time), self.txid)
    }
}

impl fmt::Display for HistoryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = self.height.map(|height| height.to_string()).unwrap_or_default();
        write!(f, "{height}:{}:{}", self.time, self.txid)
    }
}

impl FromStr for HistoryCursor {
    type Err = WalletError;

    fn from_str(text: &str) -> Result<Self, WalletError> {
        let parse = || {
            let (height, rest) = text.split_once(':')?;
            let (time, txid) = rest.split_once(':')?;
            let height = if height.is_empty() { None } else { Some(height.parse().ok()?) };
            Some(Self { height, time: time.parse().ok()?, txid: txid.parse().ok()? })
        };
        parse().ok_or_else(|| WalletError::BadCursor(text.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn cursors_read_back_and_nonsense_does_not() {
        for height in [None, Some(7)] {
            let cursor = HistoryCursor { height, time: 9, txid: Txid::from_byte_array([1; 32]) };
            assert_eq!(cursor.to_string().parse::<HistoryCursor>().unwrap(), cursor);
        }
        for bad in ["", "7", "7:9", "7:9:xyz", "x:9:00", "::"] {
            assert!(bad.parse::<HistoryCursor>().is_err(), "{bad}");
        }
    }
}
