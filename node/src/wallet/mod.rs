//! The bitcoin wallet of a node: BIP-86 Taproot, by `bdk_wallet`, fed by a chain [`Follower`](crate::chain::Follower).
//!
//! One task owns the wallet; others hold a [`WalletHandle`]. What changes is on disk before it is reported: an address
//! before it is handed out, a transaction and the inputs it takes before it is returned. Private keys are never on disk
//! here: the seed comes from the identity at each start and stays in memory.
//!
//! | module | what |
//! |---|---|
//! | `task` | the loop: chain events in, commands in, changes to disk |
//! | `state` | what the wallet holds and has promised; which coins may be spent |
//! | `sync` | how chain events change it |
//! | `payment` | building, signing and checking transactions |
//! | `bump` | a higher fee for what waits, by a replacement or a child |
//! | `coins`, `labels` | the coins one by one; what their owner says of them |
//! | `psbt` | transactions that are signed elsewhere too |
//! | `share` | this wallet's share of a funding from two wallets |
//! | `history` | pages of transactions |
//! | `persist` | what a change on disk holds |
//! | `store` | where changes are kept |
//! | `keys` | descriptors and signatures |
//!
//! Deliberately absent: keys of trades (siblings of the wallet's, kept by the trade's driver), and spending coins that
//! are unconfirmed and not our own change.

use std::sync::Arc;

use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Address, Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Transaction, TxOut, Txid};
use exchange_ledger::trade::Role;
use exchange_ledger::trade::funding::{Draft, Funder};
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use crate::chain::{ChainBackend, ChainError};
use task::Command;

mod bump;
mod coins;
mod error;
mod history;
mod keys;
mod labels;
mod payment;
mod persist;
pub mod psbt;
mod share;
mod state;
mod store;
mod sync;
mod task;
#[cfg(test)]
mod tests;

pub use bump::child_vsize;
pub use coins::{Coin, CoinCursor, CoinState, MAX_COINS};
pub use error::WalletError;
pub use history::{HistoryCursor, HistoryEntry, HistoryPage, MAX_PAGE};
pub use labels::{Label, LabelSubject, MAX_LABEL_PAGE};
pub use payment::{MAX_FEE_RATE, MIN_FEE_RATE};
#[cfg(any(test, feature = "test-support"))]
pub use store::MemoryWalletStore;
pub use store::{DiskWalletStore, WalletStore};

/// How many commands may wait for the wallet; a caller waits beyond that.
const COMMAND_QUEUE: usize = 64;
/// How many built transactions may wait to be final: a trade a minute all day.
const MAX_RESERVATIONS: usize = 1_000;
/// How many addresses are handed out: with their change and look-ahead they stay below what one follower watches.
const MAX_ADDRESSES: u32 = 40_000;
/// How many labels are kept, and how long each and a request id may be.
const MAX_LABELS: usize = 100_000;
const MAX_LABEL_BYTES: usize = 256;
/// Within how many blocks a transaction should confirm when no feerate is given.
const CONFIRM_WITHIN: u16 = 3;

/// Returns the time in seconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a wallet is opened with.
pub struct WalletSetup {
    /// The BIP-39 seed of the identity's words.
    pub seed: Zeroizing<[u8; 64]>,
    /// Where changes are kept.
    pub store: Arc<dyn WalletStore>,
    /// The chain, which also says on which network the wallet is.
    pub chain: Arc<dyn ChainBackend>,
    /// The height before which no coin can have come in; 0 searches the whole chain when the store is empty.
    pub birth_height: u32,
    /// The node's clock.
    pub clock: Clock,
}

/// A cloneable client of the task that owns the wallet. The task ends with its last handle.
#[derive(Clone)]
pub struct WalletHandle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<WalletStatus>,
    chain: Arc<dyn ChainBackend>,
}

/// How far the wallet is. Each change of the wallet changes `revision`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalletStatus {
    /// Counts the changes since the start.
    pub revision: u64,
    /// The height of the chain as the wallet knows it.
    pub height: u32,
    /// Whether the wallet has caught up with the chain since the start.
    pub synced: bool,
}

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
    /// Can be spent: confirmed, or our own change.
    pub spendable: Amount,
    /// On its way: unconfirmed, or mined too recently.
    pub pending: Amount,
    /// Set aside for transactions that were built and are not in the pool yet.
    pub reserved: Amount,
    /// Could be spent, but its owner froze it.
    pub frozen: Amount,
}

/// Pays into an escrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FundRequest {
    /// The escrow's script. It is funded once: the same request again returns the same transaction.
    pub script: ScriptBuf,
    /// How much it takes.
    pub amount: Amount,
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

impl WalletHandle {
    /// Opens the wallet, or makes a new one when the store is empty, and starts to follow the chain. It need not be
    /// reachable yet.
    ///
    /// # Errors
    /// When the store cannot be read, is damaged, or belongs to other keys or another network.
    pub async fn open(setup: WalletSetup) -> Result<Self, WalletError> {
        let chain = Arc::clone(&setup.chain);
        let (commands, receiver) = mpsc::channel(COMMAND_QUEUE);
        let status = task::spawn(setup, receiver).await?;
        Ok(Self { commands, status, chain })
    }

    /// Returns the deposit address: the same one until something arrives there.
    ///
    /// # Errors
    /// [`WalletError::NotSynced`] until the chain has been searched once.
    pub async fn address(&self) -> Result<DepositAddress, WalletError> {
        self.ask(Command::Address).await
    }

    /// Returns a script that was never handed out before, for a trade to pay to.
    ///
    /// # Errors
    /// [`WalletError::NotSynced`] until the chain has been searched once.
    pub async fn new_destination(&self) -> Result<ScriptBuf, WalletError> {
        self.ask(Command::NewDestination).await
    }

    /// Returns what the wallet holds.
    ///
    /// # Errors
    /// [`WalletError::Closed`].
    pub async fn balance(&self) -> Result<Balance, WalletError> {
        self.ask(Command::Balance).await
    }

    /// Returns up to `limit` (at most [`MAX_PAGE`]) transactions after the place `after`, newest first.
    ///
    /// # Errors
    /// [`WalletError::Closed`].
    pub async fn history(&self, after: Option<HistoryCursor>, limit: usize) -> Result<HistoryPage, WalletError> {
        self.ask(|reply| Command::History { after, limit, reply }).await
    }

    /// Builds and signs the funding of an escrow and sets its inputs aside, but does not broadcast it: the caller keeps
    /// it first. The same request again, also after a restart, returns the same transaction.
    ///
    /// # Errors
    /// [`WalletError::InsufficientFunds`] and other refusals; nothing is set aside then.
    pub async fn fund(&self, request: FundRequest) -> Result<Payment, WalletError> {
        let fee_rate = self.fee_rate(request.fee_rate).await?;
        self.ask(|reply| Command::Fund { request, fee_rate, reply }).await
    }

    /// Sets confirmed coins aside for an output of a funding from two wallets.
    ///
    /// # Errors
    /// [`WalletError::InsufficientFunds`] and other refusals; nothing is set aside then.
    pub async fn share(&self, request: ShareRequest) -> Result<Funder, WalletError> {
        self.ask(|reply| Command::Share { request, reply }).await
    }

    /// Signs the coins that were set aside for an output, and no others. What is signed is kept before it is returned.
    ///
    /// # Errors
    /// [`WalletError::WrongTransaction`] when the transaction does anything but spend these coins for this output.
    pub async fn sign_share(&self, request: ShareSigning) -> Result<Transaction, WalletError> {
        self.ask(|reply| Command::SignShare { request: Box::new(request), reply }).await
    }

    /// Frees the coins that were set aside for an output. Whoever else holds what was signed with them can still use it.
    ///
    /// # Errors
    /// [`WalletError::AlreadyBroadcast`] when it is in the pool or the chain.
    pub async fn free_share(&self, script: ScriptBuf) -> Result<(), WalletError> {
        self.ask(|reply| Command::FreeShare { script, reply }).await
    }

    /// Spends one of the coins that were set aside for an output back to this wallet, and broadcasts that until it confirms:
    /// nothing that was signed with them can confirm then. The others are free once it is final. If it `replaces`, it pays for
    /// taking the place of what was signed and waits in the pool.
    ///
    /// # Errors
    /// As [`Self::send`]; [`WalletError::AlreadyBroadcast`] when what was signed is in the chain, or in the pool and is not to be
    /// replaced.
    pub async fn spend_back(&self, script: ScriptBuf, replaces: bool) -> Result<(), WalletError> {
        let fee_rate = self.fee_rate(None).await?;
        match self.ask(|reply| Command::SpendBack { script, fee_rate, replaces, reply }).await? {
            Some(payment) => self.send_out(&payment, None).await,
            None => Ok(()),
        }
    }

    /// Tells of each script whether it is this wallet's.
    ///
    /// # Errors
    /// [`WalletError::Closed`].
    pub async fn owns(&self, scripts: Vec<ScriptBuf>) -> Result<Vec<bool>, WalletError> {
        self.ask(|reply| Command::Owns { scripts, reply }).await
    }

    /// Builds, signs and broadcasts a payment; a dry run only builds and prices it. Once kept, a payment is broadcast
    /// again until it confirms.
    ///
    /// # Errors
    /// [`WalletError::NotYetBroadcast`] when the payment is kept but the chain could not be reached; any other error
    /// means that nothing was sent.
    pub async fn send(&self, request: SendRequest) -> Result<Payment, WalletError> {
        let fee_rate = self.fee_rate(request.fee_rate).await?;
        let dry_run = request.dry_run;
        let payment = self.ask(|reply| Command::Send { request, fee_rate, reply }).await?;
        if dry_run {
            return Ok(payment);
        }
        self.send_out(&payment, None).await?;
        Ok(payment)
    }

    /// Hands out what was built and kept: with its parent, if it is to pay for it. What the network refuses is forgotten.
    async fn send_out(&self, payment: &Payment, parent: Option<Txid>) -> Result<(), WalletError> {
        let txid = payment.tx.compute_txid();
        let sent = match parent {
            None => self.broadcast(&payment.tx).await,
            Some(parent) => self.broadcast_with_parent(parent).await,
        };
        match sent {
            Ok(()) => Ok(()),
            Err(WalletError::Chain(refused @ ChainError::Refused { .. })) => {
                self.release(txid).await?;
                Err(refused.into())
            }
            Err(WalletError::Chain(source)) => Err(WalletError::NotYetBroadcast { txid, source }),
            Err(other) => Err(other),
        }
    }

    /// Raises the fee of a transaction of this wallet that waits for a block: by a replacement, or else by a child.
    ///
    /// # Errors
    /// As [`Self::send`]; [`WalletError::NotBumpable`], [`WalletError::AlreadyConfirmed`], [`WalletError::AlreadyPays`].
    pub async fn bump(&self, request: BumpRequest) -> Result<Bumped, WalletError> {
        let fee_rate = self.fee_rate(request.fee_rate).await?;
        let dry_run = request.dry_run;
        let bumped = self.ask(|reply| Command::Bump { request, fee_rate, reply }).await?;
        self.send_raise(bumped, dry_run).await
    }

    /// Raises the fee of a transaction that pays this wallet, by a child.
    ///
    /// # Errors
    /// As [`Self::bump`].
    pub async fn bump_by_child(&self, request: ChildRequest) -> Result<Bumped, WalletError> {
        let fee_rate = self.fee_rate(request.fee_rate).await?;
        let dry_run = request.dry_run;
        let bumped = self.ask(|reply| Command::Child { request, fee_rate, reply }).await?;
        self.send_raise(bumped, dry_run).await
    }

    async fn send_raise(&self, bumped: Bumped, dry_run: bool) -> Result<Bumped, WalletError> {
        if !dry_run {
            let parent = match bumped.raise {
                FeeRaise::Replacement { .. } => None,
                FeeRaise::Child { of } => Some(of),
            };
            self.send_out(&bumped.payment, parent).await?;
        }
        Ok(bumped)
    }

    /// Hands out the child that was built for a transaction, and that one with it.
    async fn broadcast_with_parent(&self, parent: Txid) -> Result<(), WalletError> {
        let Some(package) = self.ask(|reply| Command::PackageOf { parent, reply }).await? else {
            return Ok(());
        };
        self.chain.broadcast_package(&package).await?;
        for tx in package {
            self.ask(|reply| Command::Seen { tx, reply }).await?;
        }
        Ok(())
    }

    /// Builds an unsigned payment for others to sign. Its coins are not set aside.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn draft(&self, request: SendRequest) -> Result<Psbt, WalletError> {
        let fee_rate = self.fee_rate(request.fee_rate).await?;
        self.ask(|reply| Command::Draft { request, fee_rate, reply }).await
    }

    /// Tells what a partially signed transaction would do.
    ///
    /// # Errors
    /// [`WalletError::Closed`].
    pub async fn review_psbt(&self, psbt: Psbt) -> Result<psbt::PsbtReview, WalletError> {
        self.ask(|reply| Command::ReviewPsbt { psbt, reply }).await
    }

    /// Signs those inputs of a partially signed transaction that are this wallet's.
    ///
    /// # Errors
    /// [`WalletError::BadPsbt`], [`WalletError::CoinNotSpendable`].
    pub async fn sign_psbt(&self, psbt: Psbt) -> Result<Psbt, WalletError> {
        self.ask(|reply| Command::SignPsbt { psbt, reply }).await
    }

    /// Completes, checks and sends a transaction that was signed elsewhere too.
    ///
    /// # Errors
    /// As [`Self::sign_psbt`] and [`Self::send`].
    pub async fn finish_psbt(&self, request: FinishRequest) -> Result<Payment, WalletError> {
        let dry_run = request.dry_run;
        let payment = self.ask(|reply| Command::FinishPsbt { request, reply }).await?;
        if !dry_run {
            match self.broadcast(&payment.tx).await {
                Err(WalletError::Chain(refused @ ChainError::Refused { .. })) => {
                    match self.release(payment.tx.compute_txid()).await {
                        // One that spends nothing of ours was never set aside.
                        Ok(()) | Err(WalletError::NotReserved { .. }) => return Err(refused.into()),
                        Err(other) => return Err(other),
                    }
                }
                sent => sent?,
            }
        }
        Ok(payment)
    }

    /// Returns up to `limit` (at most [`MAX_COINS`]) unspent coins after the place `after`, the largest first.
    ///
    /// # Errors
    /// [`WalletError::Closed`].
    pub async fn coins(&self, after: Option<CoinCursor>, limit: usize) -> Result<Vec<Coin>, WalletError> {
        self.ask(|reply| Command::Coins { after, limit, reply }).await
    }

    /// Freezes coins, or lets them be spent again: all of them or none.
    ///
    /// # Errors
    /// [`WalletError::UnknownCoin`], [`WalletError::TooManyCoins`].
    pub async fn freeze(&self, coins: Vec<OutPoint>, frozen: bool) -> Result<Vec<Coin>, WalletError> {
        self.ask(|reply| Command::Freeze { coins, frozen, reply }).await
    }

    /// Sets what the owner says of transactions, addresses and coins: all of it or nothing.
    ///
    /// # Errors
    /// [`WalletError::BadLabel`], [`WalletError::TooManyLabels`].
    pub async fn set_labels(&self, labels: Vec<Label>) -> Result<(), WalletError> {
        self.ask(|reply| Command::SetLabels { labels, reply }).await
    }

    /// Returns up to `limit` (at most [`MAX_LABEL_PAGE`]) labels after a subject.
    ///
    /// # Errors
    /// [`WalletError::Closed`].
    pub async fn labels(&self, after: Option<LabelSubject>, limit: usize) -> Result<Vec<Label>, WalletError> {
        self.ask(|reply| Command::Labels { after, limit, reply }).await
    }

    /// Signs for a coin as its owner: the oldest of the smallest that hold at least `minimum` and are confirmed. The coin is
    /// not set aside.
    ///
    /// # Errors
    /// [`WalletError::NoCoin`].
    pub async fn sign_for_coin(&self, minimum: Amount, message: CoinMessage) -> Result<OwnedCoin, WalletError> {
        self.ask(|reply| Command::SignForCoin { minimum, message, reply }).await
    }

    /// Hands a transaction to the network; it counts in the balance at once. One that pays too little by itself goes with
    /// the child that was built for it.
    ///
    /// # Errors
    /// What the chain says.
    pub async fn broadcast(&self, tx: &Transaction) -> Result<(), WalletError> {
        if let Err(error) = self.chain.broadcast(tx).await {
            let parent = tx.compute_txid();
            let package = self.ask(|reply| Command::PackageOf { parent, reply }).await?;
            return match (&error, package) {
                (ChainError::Refused { .. }, Some(_)) => self.broadcast_with_parent(parent).await,
                (_, _) => Err(error.into()),
            };
        }
        self.ask(|reply| Command::Seen { tx: tx.clone(), reply }).await
    }

    /// Forgets a built transaction and frees its inputs. Whoever else holds the transaction can still broadcast it.
    ///
    /// # Errors
    /// [`WalletError::AlreadyBroadcast`] when it is in the pool or the chain, [`WalletError::NotReserved`] when there is
    /// no such transaction.
    pub async fn release(&self, txid: Txid) -> Result<(), WalletError> {
        self.ask(|reply| Command::Release { txid, reply }).await
    }

    /// Forgets the funding of an escrow that [`Self::fund`] built and whose caller was gone before he could keep it, and frees
    /// its inputs; tells whether there was any. Nobody else may hold it: it is for what was never handed out.
    ///
    /// # Errors
    /// [`WalletError::AlreadyBroadcast`] when it was ever seen in the pool or the chain, or may have gone out with its child.
    pub async fn release_funding(&self, script: ScriptBuf) -> Result<bool, WalletError> {
        self.ask(|reply| Command::ReleaseFunding { script, reply }).await
    }

    /// Sets what a transaction was for, known or not; an empty text takes the label away.
    ///
    /// # Errors
    /// [`WalletError::BadLabel`] when it is too long.
    pub async fn set_label(&self, txid: Txid, label: impl Into<String>) -> Result<(), WalletError> {
        let label = label.into();
        self.ask(|reply| Command::SetLabel { txid, label, reply }).await
    }

    /// Ends the wallet for all handles and waits until it has let go of its store.
    pub async fn close(&self) {
        // A closed channel means that the task has ended or is about to.
        let _ = self.commands.send(Command::Close).await;
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }

    /// Returns how far the wallet is.
    pub fn status(&self) -> WalletStatus {
        *self.status.borrow()
    }

    /// Returns a receiver that wakes at every change of the wallet; several changes may wake it once.
    pub fn subscribe(&self) -> watch::Receiver<WalletStatus> {
        self.status.clone()
    }

    async fn fee_rate(&self, asked: Option<FeeRate>) -> Result<FeeRate, WalletError> {
        match asked {
            Some(fee_rate) => Ok(fee_rate),
            None => Ok(self.chain.fee_rate(CONFIRM_WITHIN).await?),
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, WalletError>>) -> Command,
    ) -> Result<T, WalletError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| WalletError::Closed)?;
        answer.await.map_err(|_| WalletError::Closed)?
    }
}

impl std::fmt::Debug for WalletHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalletHandle").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WalletSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalletSetup").field("birth_height", &self.birth_height).finish_non_exhaustive()
    }
}
