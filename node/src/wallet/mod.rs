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
use bitcoin::{Address, Amount, FeeRate, OutPoint, ScriptBuf, Transaction, Txid};
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use crate::chain::{ChainBackend, ChainError};
use task::Command;

mod error;
mod history;
mod keys;
mod payment;
mod persist;
mod state;
mod store;
mod sync;
mod task;
#[cfg(test)]
mod tests;

pub use error::WalletError;
pub use history::{HistoryCursor, HistoryEntry, HistoryPage, MAX_PAGE};
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

/// What the wallet holds. The three parts do not overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Can be spent: confirmed, or our own change.
    pub spendable: Amount,
    /// On its way: unconfirmed, or mined too recently.
    pub pending: Amount,
    /// Set aside for transactions that were built and are not in the pool yet.
    pub reserved: Amount,
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
        let txid = payment.tx.compute_txid();
        match self.broadcast(&payment.tx).await {
            Ok(()) => Ok(payment),
            Err(WalletError::Chain(refused @ ChainError::Refused { .. })) => {
                self.release(txid).await?;
                Err(refused.into())
            }
            Err(WalletError::Chain(source)) => Err(WalletError::NotYetBroadcast { txid, source }),
            Err(other) => Err(other),
        }
    }

    /// Signs for a coin as its owner: the oldest of the smallest that hold at least `minimum` and are confirmed. The coin is
    /// not set aside.
    ///
    /// # Errors
    /// [`WalletError::NoCoin`].
    pub async fn sign_for_coin(&self, minimum: Amount, message: CoinMessage) -> Result<OwnedCoin, WalletError> {
        self.ask(|reply| Command::SignForCoin { minimum, message, reply }).await
    }

    /// Hands a transaction to the network; it counts in the balance at once.
    ///
    /// # Errors
    /// What the chain says.
    pub async fn broadcast(&self, tx: &Transaction) -> Result<(), WalletError> {
        self.chain.broadcast(tx).await?;
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
