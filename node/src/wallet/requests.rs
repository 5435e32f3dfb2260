//! What is asked of the wallet, and what it answers.

use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Address, Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Transaction, TxOut, Txid};
use exchange_ledger::trade::Role;
use exchange_ledger::trade::funding::Draft;

/// A deposit address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepositAddress {
    /// The address.
    pub address: Address,
    /// The same as a BIP-21 URI.
    pub uri: String,
}

/// What the wallet holds. The parts do not overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Can be spent: confirmed, or our own change, but for that of what is being replaced.
    pub spendable: Amount,
    /// On its way: unconfirmed, or mined too recently.
    pub pending: Amount,
    /// Set aside for transactions that were built and are not in the pool yet.
    pub reserved: Amount,
    /// Could be spent, but its owner froze it, or signed for it in a file.
    pub frozen: Amount,
}

/// Pays into an escrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FundRequest {
    /// The escrow's script. It is funded once: the same request again returns the same transaction.
    pub script: ScriptBuf,
    /// How much it takes.
    pub amount: Amount,
    /// The height from which on a payment counts: what a block below holds funds nothing.
    pub from_height: u32,
    /// The feerate; `None` asks the chain.
    pub fee_rate: Option<FeeRate>,
    /// What stands in the history.
    pub label: String,
}

/// Sets coins aside for an output of a funding from two wallets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRequest {
    /// The output. Coins are set aside for it once: the same request again returns the same coins.
    pub output: TxOut,
    /// The feerate at which the coins must suffice.
    pub fee_rate: FeeRate,
    /// What stands in the history.
    pub label: String,
}

/// Signs the coins that were set aside, in a transaction that pays their output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareSigning {
    /// The output's script.
    pub script: ScriptBuf,
    /// This side.
    pub role: Role,
    /// The transaction.
    pub draft: Draft,
    /// What stands in the history.
    pub label: String,
}

/// Sends coins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendRequest {
    /// Makes the call idempotent until the payment is final: the same id again returns the same transaction.
    pub request_id: String,
    /// Where to.
    pub script: ScriptBuf,
    /// How much; `None` sends everything that can be spent.
    pub amount: Option<Amount>,
    /// The feerate; `None` asks the chain.
    pub fee_rate: Option<FeeRate>,
    /// Whether the fee may be beyond what is sane.
    pub allow_high_fee: bool,
    /// The coins to spend, and no others; empty: any.
    pub coins: Vec<OutPoint>,
    /// Only builds and prices the transaction.
    pub dry_run: bool,
    /// What stands in the history.
    pub label: String,
    /// What was shown of it before it was ordered: exactly that is sent, or nothing. The feerate is left out then.
    pub priced: Option<Priced>,
}

/// What was shown of a payment before it was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priced {
    /// How much arrives.
    pub amount: Amount,
    /// What it costs.
    pub fee: Amount,
}

/// A signed transaction of this wallet, accepted by the consensus engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The transaction.
    pub tx: Transaction,
    /// How much arrives.
    pub amount: Amount,
    /// What it costs.
    pub fee: Amount,
}

/// Raises the fee of a transaction of this wallet that waits for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BumpRequest {
    /// Makes the call idempotent until the payment is final.
    pub request_id: String,
    /// The transaction.
    pub txid: Txid,
    /// What it is to pay from now on; `None` asks the chain.
    pub fee_rate: Option<FeeRate>,
    /// Whether the fee may be beyond what is sane.
    pub allow_high_fee: bool,
    /// Only builds and prices it.
    pub dry_run: bool,
    /// Whether the driver of a trade asks, who keeps what he raises: what funds an escrow, and was not sent yet, is his to send.
    pub by_trade: bool,
    /// What was shown of it before it was ordered: exactly that is done, or nothing. The feerate is left out then.
    pub priced: Option<PricedRaise>,
}

/// Raises the fee of a transaction that pays this wallet, by spending from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildRequest {
    /// The transaction, which the pool may have dropped.
    pub parent: Transaction,
    /// What it pays by itself.
    pub parent_fee: Amount,
    /// What both are to pay; `None` asks the chain.
    pub fee_rate: Option<FeeRate>,
    /// Whether the fee may be beyond what is sane.
    pub allow_high_fee: bool,
    /// Only builds and prices it.
    pub dry_run: bool,
    /// What stands in the history.
    pub label: String,
    /// As of [`BumpRequest`].
    pub priced: Option<PricedRaise>,
}

/// What was shown of a higher fee before it was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PricedRaise {
    /// How it is raised.
    pub raise: FeeRaise,
    /// What the replacement or the child pays.
    pub fee: Amount,
}

/// How the fee of a transaction is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeeRaise {
    /// By a later version of it.
    Replacement {
        /// The version before.
        of: Txid,
    },
    /// By a transaction that spends from it.
    Child {
        /// The transaction.
        of: Txid,
    },
}

/// A transaction that raises the fee of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bumped {
    /// The replacement or the child.
    pub payment: Payment,
    /// Which it is.
    pub raise: FeeRaise,
}

/// Cancels a payment that no block holds: its coins come back to this wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelRequest {
    /// Makes the call idempotent until it is final what came of the payment.
    pub request_id: String,
    /// The payment; any version of it will do.
    pub txid: Txid,
    /// The feerate, if more is not needed to take the place of the payment; `None` asks the chain.
    pub fee_rate: Option<FeeRate>,
    /// Whether the fee may be beyond what is sane.
    pub allow_high_fee: bool,
    /// Only builds and prices it.
    pub dry_run: bool,
    /// What was shown of it before it was ordered: exactly that is done, or nothing. The feerate is left out then.
    pub priced: Option<PricedCancel>,
}

/// What was shown before a payment was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PricedCancel {
    /// The payment: its last version.
    pub of: Txid,
    /// What it costs to bring its coins back.
    pub fee: Amount,
}

/// A transaction that cancels a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// The payment: its last version.
    pub of: Txid,
    /// What brings its coins back.
    pub payment: Payment,
}

/// Completes and sends a transaction that was signed elsewhere too.
#[derive(Debug, Clone)]
pub struct FinishRequest {
    /// Makes the call idempotent until the payment is final.
    pub request_id: String,
    /// The transaction.
    pub psbt: Psbt,
    /// Whether the fee may be beyond what is sane.
    pub allow_high_fee: bool,
    /// Only checks and prices it.
    pub dry_run: bool,
    /// What stands in the history.
    pub label: String,
}

/// A coin of this wallet, and its owner's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedCoin {
    /// The coin.
    pub outpoint: OutPoint,
    /// How much it holds.
    pub value: Amount,
    /// The height that confirms it.
    pub height: u32,
    /// The output key of its script.
    pub key: XOnlyPublicKey,
    /// That key's signature.
    pub signature: Signature,
}

/// Makes what is to be signed for a coin.
pub type CoinMessage = Box<dyn Fn(OutPoint) -> [u8; 32] + Send>;
