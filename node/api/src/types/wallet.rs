//! The wallet: what it holds, sends, and lets speak for the identity.

use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::money::Sats;
use serde::{Deserialize, Serialize};

use super::{FeeChoice, RequestId};

/// A deposit address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressInfo {
    /// The address.
    pub address: String,
    /// The same as a BIP-21 URI, for a QR code.
    pub uri: String,
}

/// What the wallet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Can be spent.
    pub spendable: Sats,
    /// Seen, not yet confirmed.
    pub pending: Sats,
    /// What this node's user put into escrows and no block shows to have left them.
    pub in_escrow: Sats,
    /// Could be spent, but its owner froze it, or signed for it in a file.
    #[serde(default)]
    pub frozen: Sats,
    /// Set aside for what was built and is not in the pool yet: a payment, or the funding of a trade.
    #[serde(default)]
    pub reserved: Sats,
}

/// A transaction of the wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletTx {
    /// Its id.
    pub txid: String,
    /// Satoshis that came in (positive) or went out (negative), the fee included.
    pub net_sat: i64,
    /// The fee, when this wallet paid it.
    pub fee: Option<Sats>,
    /// The height that confirms it; `None` while in the pool.
    pub height: Option<u32>,
    /// When it was confirmed or first seen.
    pub time: u64,
    /// What it was for, e.g. the escrow of a trade.
    pub label: String,
    /// What the user says of it, or of the address that it pays; may be empty.
    #[serde(default)]
    pub note: String,
    /// The trade that it belongs to.
    #[serde(default)]
    pub trade: Option<TradeId>,
}

/// Sends coins from the wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRequest {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only builds and prices the transaction.
    pub dry_run: bool,
    /// Where to.
    pub address: String,
    /// How much; `None` sends everything.
    pub amount: Option<Sats>,
    /// What it is to pay.
    #[serde(default)]
    pub fee: FeeChoice,
    /// The coins to spend, as `txid:index`, and no others; empty: any.
    #[serde(default)]
    pub coins: Vec<String>,
    /// What stands in the history; empty: the address.
    #[serde(default)]
    pub label: String,
    /// What a dry run showed, and the user said yes to: its amount is sent, from its coins, for its fee, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priced: Option<Sent>,
}

/// A transaction that was built, and broadcast unless it was a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Its id.
    pub txid: String,
    /// How much arrives.
    pub amount: Sats,
    /// What it costs.
    pub fee: Sats,
    /// Its size in virtual bytes.
    #[serde(default)]
    pub vsize: u64,
    /// The coins that it spends, as `txid:index`.
    #[serde(default)]
    pub coins: Vec<String>,
    /// Whether it was broadcast.
    pub broadcast: bool,
}

/// Lets a coin of the wallet speak for this node's identity, so that more of its offers stand in the book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeRequest {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only shows which coin would be named.
    pub dry_run: bool,
}

/// A coin that speaks for an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeView {
    /// The record; zeros in a dry run.
    pub id: RecordId,
    /// The coin: transaction id and output.
    pub coin: String,
    /// Whether it counts.
    pub state: StakeState,
}

/// Whether a stake counts, as the chain shows it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum StakeState {
    /// It does.
    Counts,
    /// Its coin is not buried deep enough yet.
    Young {
        /// How deep it is.
        confirmations: u32,
        /// How deep it must be.
        needed: u32,
    },
    /// Its coin is spent, too small or of another key.
    Gone,
    /// Another identity's record named the coin, and stands first.
    OfAnother,
    /// The chain backend knows no such coin. Perhaps there never was one; a light client cannot look back for one either.
    Unknown,
}
