//! What travels about the wallet: coins, fees, labels, and transactions that are signed elsewhere too.

use exchange_ledger::ids::TradeId;
use exchange_ledger::money::Sats;
use serde::{Deserialize, Serialize};

use super::RequestId;

/// How many labels or coins one call takes.
pub const MAX_BATCH: usize = 500;

/// How fast a transaction should confirm: by a feerate, or within so many blocks; neither leaves it to the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeChoice {
    /// The feerate in sat/vB.
    pub fee_rate: Option<u64>,
    /// Within how many blocks, by the chain's estimate.
    pub target_blocks: Option<u16>,
    /// Whether the fee may be beyond what is sane.
    #[serde(default)]
    pub allow_high_fee: bool,
}

/// What the chain estimates that confirmation costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeEstimate {
    /// Within so many blocks.
    pub target_blocks: u16,
    /// The feerate in sat/vB, rounded up; `None` when the chain cannot tell.
    pub fee_rate: Option<u64>,
}

/// A coin of the wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoinView {
    /// Transaction id and output, as `txid:index`.
    pub coin: String,
    /// Its address.
    pub address: String,
    /// How much it holds.
    pub amount: Sats,
    /// The height that confirms it; `None` while in the pool.
    pub height: Option<u32>,
    /// Whether it is change.
    pub change: bool,
    /// What is said of it, of its address or of the transaction that made it.
    pub label: String,
    /// What may be done with it.
    #[serde(flatten)]
    pub state: CoinUse,
}

/// What may be done with a coin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum CoinUse {
    /// It can be spent.
    Spendable,
    /// It waits for confirmations.
    Pending,
    /// Its owner froze it, or signed for it in a file.
    Frozen,
    /// It is set aside for a transaction that was built.
    Reserved {
        /// The transaction.
        by: String,
        /// What that is for.
        what: String,
    },
}

/// Freezes coins, or lets them be spent again: all of them or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeCoins {
    /// The coins, as `txid:index`; at most [`MAX_BATCH`].
    pub coins: Vec<String>,
    /// Whether they are frozen from now on.
    pub frozen: bool,
}

/// A label as BIP-329 writes it, one a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelLine {
    /// `tx`, `addr` or `output`; others are passed over.
    #[serde(rename = "type")]
    pub kind: String,
    /// Transaction id, address or `txid:index`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What it says.
    #[serde(default)]
    pub label: String,
    /// Whether a coin may be spent. One that may not is frozen where the label is brought; one that may is not freed by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spendable: Option<bool>,
}

/// What came of labels that were brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsTaken {
    /// How many were set.
    pub set: u64,
    /// How many were passed over, since they are about things that this wallet does not label.
    pub skipped: u64,
    /// How many coins are frozen that were not before.
    #[serde(default)]
    pub frozen: u64,
    /// How many stay frozen, though they are said to be free to be spent.
    #[serde(default)]
    pub left_frozen: u64,
}

/// Sets what a transaction, an address or a coin is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLabel {
    /// Transaction id, address or `txid:index`.
    pub subject: String,
    /// What to say; empty takes the label away.
    pub label: String,
}

/// Raises the fee of a transaction of the wallet that waits for a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BumpTx {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only builds and prices it.
    pub dry_run: bool,
    /// The transaction.
    pub txid: String,
    /// What it is to pay from now on.
    pub fee: FeeChoice,
    /// What a dry run showed, and the user said yes to: its fee is paid in the way that it names, or nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priced: Option<BumpView>,
}

/// Raises the fee of what waits for a block of a trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BumpTrade {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only builds and prices it.
    pub dry_run: bool,
    /// The trade.
    pub trade: TradeId,
    /// What it is to pay from now on.
    pub fee: FeeChoice,
    /// As of [`BumpTx`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priced: Option<BumpView>,
}

/// A transaction that raises the fee of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BumpView {
    /// The transaction whose fee is raised.
    pub raised: String,
    /// The one that raises it.
    pub txid: String,
    /// How it does.
    pub by: RaisedBy,
    /// What it costs by itself: of a replacement the whole fee, of a child what comes on top of its parent's.
    pub fee: Sats,
    /// Whether it was broadcast.
    pub broadcast: bool,
}

/// How a fee is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RaisedBy {
    /// By a later version of the transaction.
    Replacement,
    /// By a transaction that spends from it.
    Child,
}

/// Cancels a payment of the wallet that no block holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelTx {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only builds and prices it.
    pub dry_run: bool,
    /// The payment; any version of it will do.
    pub txid: String,
    /// What it is to cost, if more is not needed to take the place of the payment.
    pub fee: FeeChoice,
    /// What a dry run showed, and the user said yes to: that payment is cancelled for that fee, or nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priced: Option<CancelView>,
}

/// A transaction that takes the place of a payment and brings its coins back. Until a block holds it, the payment may still be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelView {
    /// The payment: its last version.
    pub cancelled: String,
    /// The transaction.
    pub txid: String,
    /// How much comes back.
    pub amount: Sats,
    /// What that costs.
    pub fee: Sats,
    /// Whether it was broadcast.
    pub broadcast: bool,
}

/// A partially signed transaction (BIP-174), and what it would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PsbtView {
    /// The transaction, in base64.
    pub psbt: String,
    /// Its id, once signed; signatures do not change it.
    pub txid: String,
    /// What it spends.
    pub inputs: Vec<PsbtInputView>,
    /// Whom it pays.
    pub outputs: Vec<PsbtOutputView>,
    /// What it costs, when the values of all its coins are known.
    pub fee: Option<Sats>,
    /// What leaves this wallet, the fee included, as far as it pays that; negative when more comes in.
    pub net_sat: i64,
}

/// What a partially signed transaction spends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PsbtInputView {
    /// The coin, as `txid:index`.
    pub coin: String,
    /// How much it holds: of others' coins as is claimed.
    pub amount: Option<Sats>,
    /// Whether it is this wallet's.
    pub mine: bool,
    /// Whether it is signed.
    pub signed: bool,
}

/// Whom a partially signed transaction pays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PsbtOutputView {
    /// The address, or the script in hex when it has none.
    pub to: String,
    /// How much.
    pub amount: Sats,
    /// Whether it comes back to this wallet.
    pub mine: bool,
}

/// Completes and sends a transaction that was signed elsewhere too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishPsbt {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only checks and prices it.
    pub dry_run: bool,
    /// The transaction, in base64.
    pub psbt: String,
    /// Whether the fee may be beyond what is sane.
    #[serde(default)]
    pub allow_high_fee: bool,
}

/// What funds the escrow of a trade from a wallet elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundingDraft {
    /// A partially signed transaction (BIP-174) that pays the escrow and spends nothing yet, in base64.
    pub psbt: String,
    /// The escrow's address.
    pub address: String,
    /// The exact amount that it takes.
    pub amount: Sats,
    /// Both as a BIP-21 URI.
    pub uri: String,
}

/// Funds the escrow of a trade by a transaction that was made and signed elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundSigned {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only checks it.
    pub dry_run: bool,
    /// The trade.
    pub trade: TradeId,
    /// The transaction, signed by all, in base64.
    pub psbt: String,
}

/// A key of the user's that is kept elsewhere: on a hardware wallet, or a machine without a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerView {
    /// The extended public key as descriptors write it.
    pub key: String,
    /// The fingerprint by which the signer knows it, 8 hex digits.
    pub fingerprint: String,
    /// Whether the escrow keys of new trades derive from it.
    pub used_for_new_trades: bool,
}

/// What a signer elsewhere has to sign of a trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToSign {
    /// The transaction (BIP-174, BIP-371), in base64.
    pub psbt: String,
    /// Its id.
    pub txid: String,
    /// Its fee.
    pub fee: Sats,
    /// Whom it pays how much.
    pub pays: Vec<(String, Sats)>,
}

/// Takes in what a signer elsewhere has signed of a trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedElsewhere {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only checks it.
    pub dry_run: bool,
    /// The trade.
    pub trade: TradeId,
    /// The transaction with the signer's signatures, in base64.
    pub psbt: String,
}

/// The 24 words from which any BIP-86 wallet finds the coins. Never logged.
#[derive(Clone, Serialize, Deserialize)]
pub struct WalletWords {
    /// The words, separated by spaces.
    pub words: String,
}

impl std::fmt::Debug for WalletWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WalletWords(redacted)")
    }
}

/// Brings all coins of another wallet, given by its words, into this one. The words are never kept and never logged.
#[derive(Clone, Serialize, Deserialize)]
pub struct SweepWords {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only searches and prices it.
    pub dry_run: bool,
    /// The words of the other wallet (BIP-39, English).
    pub words: String,
    /// The height before which none of its coins can have come in; 0 searches the whole chain.
    pub from_height: u32,
    /// What it is to pay.
    pub fee: FeeChoice,
    /// What a dry run found, and the user said yes to: so much arrives, for such a fee, or nothing is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priced: Option<SweepView>,
}

impl std::fmt::Debug for SweepWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SweepWords").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

/// How far a sweep is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum SweepView {
    /// The chain is being searched for its coins, or takes up no new address for now: ask again.
    Searching {
        /// The height that was reached.
        height: u32,
    },
    /// The search is over and it holds nothing that can be spent.
    Empty {
        /// What is on its way to it.
        pending: Sats,
    },
    /// This would come in; nothing was sent.
    Found {
        /// How much would arrive.
        amount: Sats,
        /// What it would cost.
        fee: Sats,
        /// What is still on its way to that wallet, and would stay there.
        #[serde(default)]
        pending: Sats,
        /// What lies in more coins than one transaction takes, of which these are the largest: sweep once more for it.
        #[serde(default)]
        rest: Sats,
    },
    /// It is on its way.
    Sent {
        /// The transaction.
        txid: String,
        /// How much arrives.
        amount: Sats,
        /// What it costs.
        fee: Sats,
        /// What is still on its way to that wallet, and stays there.
        #[serde(default)]
        pending: Sats,
        /// What lies in more coins than one transaction takes, of which these were the largest: sweep once more for it.
        #[serde(default)]
        rest: Sats,
    },
}
