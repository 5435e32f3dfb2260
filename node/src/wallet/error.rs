//! Why the wallet refused.

use bitcoin::{Amount, FeeRate, OutPoint, Txid};
use exchange_ledger::trade::funding::MAX_INPUTS;
use exchange_store::StoreError;
use tokio::task::JoinError;

use super::coins::{CoinState, MAX_COINS};
use super::labels::MAX_LABEL_PAGE;
use super::payment::EXPLICIT_MAX_FEE_RATE;
use super::{MAX_ADDRESSES, MAX_LABEL_BYTES, MAX_LABELS, MAX_RESERVATIONS};
use crate::chain::ChainError;
use crate::chain::consensus::SpendError;

/// Failures of the wallet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalletError {
    /// The coins do not suffice.
    #[error(
        "{needed} are needed with the fee, but only {available} can be spent ({pending} are pending, {reserved} are set aside for trades, {frozen} are frozen); deposit at least {missing} more, or wait for what is pending"
    )]
    InsufficientFunds {
        /// What is needed, the fee included.
        needed: Amount,
        /// What can be spent.
        available: Amount,
        /// What is on its way.
        pending: Amount,
        /// What is set aside for transactions that were built.
        reserved: Amount,
        /// What its owner froze.
        frozen: Amount,
        /// What is missing.
        missing: Amount,
    },
    /// The coins suffice, but too many of them would be needed, or they are not confirmed.
    #[error(
        "no {MAX_INPUTS} confirmed coins hold {needed}; wait for confirmations, or join your coins first: send all to your own address"
    )]
    SmallCoins {
        /// What is needed, the fee included.
        needed: Amount,
    },
    /// No coin is large enough and confirmed.
    #[error(
        "no confirmed coin of at least {minimum} can be spent; deposit that much in one payment: `exchange-node wallet address`"
    )]
    NoCoin {
        /// How large it must be.
        minimum: Amount,
    },
    /// The amount is too small to be worth spending.
    #[error("{amount} is too little: the network does not relay outputs below {minimum} to this address; send more")]
    Dust {
        /// The amount.
        amount: Amount,
        /// The least that is relayed.
        minimum: Amount,
    },
    /// The feerate is out of bounds.
    #[error("a feerate of {} sat/vB is out of bounds ({} to {} sat/vB); choose another{}", asked.to_sat_per_vb_ceil(), lowest.to_sat_per_vb_ceil(), highest.to_sat_per_vb_ceil(), or_allow(*asked, *highest))]
    FeeRate {
        /// What was asked for.
        asked: FeeRate,
        /// What the network relays.
        lowest: FeeRate,
        /// What is sane.
        highest: FeeRate,
    },
    /// The fee is a large part of the amount.
    #[error(
        "the fee of {fee} is more than a quarter of {amount}; send more at once, choose a lower feerate, or allow it: --allow-high-fee, where the command has that"
    )]
    HighFee {
        /// The fee.
        fee: Amount,
        /// What would arrive.
        amount: Amount,
    },
    /// The chain has not been searched to its end.
    #[error("the wallet has not caught up with the chain yet (at height {height}); wait until it has")]
    NotSynced {
        /// How far it is.
        height: u32,
    },
    /// The same destination was funded, or the same request id was used, with other parameters.
    #[error(
        "transaction {txid} was already built for this {what} with other parameters; release it first, or use another {what}"
    )]
    AlreadyBuilt {
        /// The transaction.
        txid: Txid,
        /// `escrow` or `request id`.
        what: &'static str,
    },
    /// The owner paid exactly what the escrow takes by a payment of his own.
    #[error(
        "transaction {txid}, a payment of this wallet, pays this escrow its whole amount already; wait until a block holds it: the trade goes on by itself then"
    )]
    PaidByHand {
        /// The payment.
        txid: Txid,
    },
    /// There is no such built transaction.
    #[error("no transaction {txid} is waiting to be broadcast; it may be final or released already")]
    NotReserved {
        /// What was asked for.
        txid: Txid,
    },
    /// A transaction that is in the pool or the chain cannot be released.
    #[error("transaction {txid} was broadcast already and can no longer be released")]
    AlreadyBroadcast {
        /// The transaction.
        txid: Txid,
    },
    /// The payment was built and kept, but the network could not be reached, or somebody else's server says that it refused it.
    #[error(
        "payment {txid} is signed and kept{}; do not send it a second time{}: {source}",
        until_seen(source),
        if_refused(txid, source)
    )]
    NotYetBroadcast {
        /// The payment.
        txid: Txid,
        /// Why not.
        source: ChainError,
    },
    /// The same was paid already, and nobody has shown that payment yet.
    #[error(
        "payment {txid} of this amount to this address is signed and kept, and neither pool nor chain shows it yet: it may be on its way, so do not pay twice; it is offered again, `exchange-node wallet bump {txid}` raises its fee, and `exchange-node wallet cancel {txid}` gives it up"
    )]
    StillUnseen {
        /// The payment.
        txid: Txid,
    },
    /// Too many built transactions wait.
    #[error("{MAX_RESERVATIONS} transactions wait to be broadcast or confirmed; release some first")]
    TooManyReservations,
    /// Too many addresses were handed out.
    #[error(
        "the wallet has handed out {MAX_ADDRESSES} addresses and watches no more; move the coins to a new identity"
    )]
    TooManyAddresses,
    /// The follower of the chain has still to be told of scripts: what is shown now would not be watched.
    #[error(
        "the chain backend does not take up new addresses at present, and none is shown that nobody watches; try again when it answers: `exchange-node status`"
    )]
    Unwatched,
    /// A label or a request id is too long.
    #[error("a label or request id has at most {MAX_LABEL_BYTES} bytes, and a request id is not empty; shorten it")]
    BadLabel,
    /// Too many labels, in all or at once.
    #[error(
        "the wallet keeps {MAX_LABELS} labels, and sets {MAX_LABEL_PAGE} at once; set fewer, or take some away: an empty text does"
    )]
    TooManyLabels,
    /// What a label is to be about is nothing that has one.
    #[error("`{0}` is no transaction id, no coin (txid:index) and no address of this network")]
    BadSubject(String),
    /// Not an unspent coin of this wallet.
    #[error("{0} is no unspent coin of this wallet; `exchange-node wallet coins` lists them")]
    UnknownCoin(OutPoint),
    /// The coin is the wallet's, but is not to be spent now.
    #[error("coin {coin} cannot be spent now: {state}")]
    CoinNotSpendable {
        /// The coin.
        coin: OutPoint,
        /// Why not.
        state: CoinState,
    },
    /// Too many coins were named at once.
    #[error("more than {MAX_COINS} coins at once; name fewer")]
    TooManyCoins,
    /// The transaction would not be relayed.
    #[error("the transaction would be too large to be relayed; name fewer coins with --coin")]
    TooLarge,
    /// The wallet does not know the transaction.
    #[error("transaction {txid} is none of this wallet's; `exchange-node wallet history` lists them")]
    UnknownTransaction {
        /// What was asked for.
        txid: Txid,
    },
    /// A block holds the transaction already.
    #[error("transaction {txid} is confirmed; its fee is paid")]
    AlreadyConfirmed {
        /// The transaction.
        txid: Txid,
    },
    /// The transaction pays as much already.
    #[error("transaction {txid} pays {} sat/vB or more already; ask for a higher feerate", asked.to_sat_per_vb_ceil())]
    AlreadyPays {
        /// The transaction.
        txid: Txid,
        /// What was asked for.
        asked: FeeRate,
    },
    /// A block holds the payment that was to be cancelled.
    #[error("transaction {txid} is in a block, so it cannot be cancelled any more")]
    TooLate {
        /// The transaction.
        txid: Txid,
    },
    /// A block holds what cancels the payment.
    #[error("payment {txid} is cancelled already: {by}, which brings its coins back, is in a block")]
    AlreadyCancelled {
        /// The payment.
        txid: Txid,
        /// What cancels it.
        by: Txid,
    },
    /// The transaction is no payment that can be cancelled from here.
    #[error("transaction {txid} cannot be cancelled: {reason}")]
    NotCancellable {
        /// The transaction.
        txid: Txid,
        /// Why not.
        reason: String,
    },
    /// What cancels the payment was built and kept, but the network could not be reached, or somebody else's server says that it
    /// refused it.
    #[error(
        "{by}, which cancels payment {txid}, is signed and kept{}; until a block holds it the payment may still be made{}: {source}",
        until_seen(source),
        if_cheap(by, source)
    )]
    NotYetCancelled {
        /// The payment.
        txid: Txid,
        /// What cancels it.
        by: Txid,
        /// Why not.
        source: Box<ChainError>,
    },
    /// What was asked for once more was cancelled, and is not sent again.
    #[error(
        "payment {txid} of this wallet was cancelled by {by}: until a block holds that, the payment may still be made, so do not pay twice; `exchange-node wallet bump {by}` raises its fee"
    )]
    WasCancelled {
        /// The payment.
        txid: Txid,
        /// What cancels it.
        by: Txid,
    },
    /// The fee of the transaction cannot be raised from here.
    #[error("the fee of transaction {txid} cannot be raised: {reason}")]
    NotBumpable {
        /// The transaction.
        txid: Txid,
        /// Why not.
        reason: String,
    },
    /// A replacement that the network would refuse.
    #[error("a fee of {fee} replaces nothing: at least {lowest} are needed; ask for a higher feerate")]
    FeeTooLow {
        /// What it would pay.
        fee: Amount,
        /// What it must pay.
        lowest: Amount,
    },
    /// What was shown before it was ordered cannot be done any more.
    #[error("what was shown does not hold any more: {reason}; nothing was sent, so ask for the price again")]
    Outdated {
        /// What is different.
        reason: String,
    },
    /// A partially signed transaction that cannot be used.
    #[error("the partially signed transaction cannot be used: {reason}")]
    BadPsbt {
        /// What is wrong with it.
        reason: String,
    },
    /// The cursor is not one that was handed out.
    #[error("`{0}` is not a cursor of this list; start without one")]
    BadCursor(String),
    /// A key did not sign.
    #[error("the transaction could not be signed: {reason}")]
    Unsigned {
        /// What went wrong.
        reason: String,
    },
    /// The transaction that was built is not what was asked for, or not valid; it was thrown away.
    #[error("the transaction that was built is not right and was thrown away: {reason}; please report this")]
    WrongTransaction {
        /// What is wrong with it.
        reason: String,
    },
    /// The consensus engine refused a transaction that was built.
    #[error("the transaction that was built is not valid and was thrown away: {0}; please report this")]
    Invalid(#[from] SpendError),
    /// The chain backend failed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is on disk cannot be read.
    #[error(
        "the wallet on disk is damaged: {reason}; move it away and start again: the coins are found from the chain by email and password"
    )]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// What is on disk belongs to other keys or another network.
    #[error(
        "the wallet on disk is not this identity's on this network: {reason}; use the data directory that belongs to it"
    )]
    Foreign {
        /// What differs.
        reason: String,
    },
    /// The wallet has ended, because the node is shutting down.
    #[error("the wallet has been closed; start the node again")]
    Closed,
    /// A fault of the wallet itself.
    #[error("the wallet failed: {reason}; please report this")]
    Internal {
        /// What went wrong.
        reason: String,
    },
}

/// What was done on another thread broke off.
impl From<JoinError> for WalletError {
    fn from(error: JoinError) -> Self {
        Self::Internal { reason: error.to_string() }
    }
}

/// Returns what else can be done about a feerate that is out of bounds.
fn or_allow(asked: FeeRate, highest: FeeRate) -> &'static str {
    let would_do = asked > highest && asked <= EXPLICIT_MAX_FEE_RATE;
    if would_do { ", or allow it: --allow-high-fee" } else { "" }
}

/// Returns what becomes of what is kept and was not seen.
const fn until_seen(source: &ChainError) -> &'static str {
    if matches!(source, ChainError::Refused { .. }) {
        ", and offered again, for a server that says that it refused it may have passed it on"
    } else {
        ", and goes out when the chain can be reached again"
    }
}

/// Returns what can be done about a payment that is said to be refused.
fn if_refused(txid: &Txid, source: &ChainError) -> String {
    match if_cheap(txid, source) {
        cheap if cheap.is_empty() => cheap,
        cheap => format!("{cheap}; to give a payment up: `exchange-node wallet cancel {txid}`"),
    }
}

/// Returns what can be done about what pays too little, where it is said to be refused.
fn if_cheap(txid: &Txid, source: &ChainError) -> String {
    if matches!(source, ChainError::Refused { .. }) {
        format!("; if it pays too little: `exchange-node wallet bump {txid}`")
    } else {
        String::new()
    }
}
