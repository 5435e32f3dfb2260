//! The client of the task that owns the wallet: asks it, and hands what it built to the network.

use std::sync::Arc;

use bitcoin::{Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Transaction, Txid};
use exchange_ledger::trade::funding::Funder;
use tokio::sync::{mpsc, oneshot, watch};

use super::coins::{Coin, CoinCursor};
use super::history::{HistoryCursor, HistoryPage};
use super::labels::{Label, LabelSubject, LabelsSet};
use super::requests::{
    Balance, BumpRequest, Bumped, CancelRequest, Cancelled, ChildRequest, CoinMessage, DepositAddress, FeeRaise,
    FinishRequest, FundRequest, OwnedCoin, Payment, SendRequest, ShareRequest, ShareSigning,
};
use super::task::{self, Command};
use super::{MIN_FEE_RATE, WalletError, WalletSetup, WalletStatus, psbt};
use crate::chain::{ChainBackend, ChainError};

/// How many commands may wait for the wallet; a caller waits beyond that.
const COMMAND_QUEUE: usize = 64;
/// Within how many blocks a transaction should confirm when no feerate is given.
const CONFIRM_WITHIN: u16 = 3;

/// A cloneable client of the task that owns the wallet. The task ends with its last handle.
#[derive(Clone)]
pub struct WalletHandle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<WalletStatus>,
    chain: Arc<dyn ChainBackend>,
}

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
    /// [`WalletError::NotSynced`] until the chain has been searched once; [`WalletError::Unwatched`] when it would be a new one
    /// and the chain's follower does not take it up. Nobody waits for that.
    pub async fn address(&self) -> Result<DepositAddress, WalletError> {
        self.ask(Command::Address).await
    }

    /// Returns a script that nobody was ever shown, for a trade to pay to. It is the caller's alone, unless he puts it back.
    ///
    /// # Errors
    /// As [`Self::address`].
    pub async fn new_destination(&self) -> Result<ScriptBuf, WalletError> {
        self.ask(Command::NewDestination).await
    }

    /// Takes back a destination that nobody was shown, for what was to name it came to nothing: it is handed out again. Whoever
    /// does not know for certain keeps it.
    ///
    /// # Errors
    /// [`WalletError::Closed`].
    pub async fn put_back_destination(&self, script: ScriptBuf) -> Result<(), WalletError> {
        self.ask(|reply| Command::PutBackDestination { script, reply }).await
    }

    /// Returns what the wallet holds.
    ///
    /// # Errors
    /// [`WalletError::Closed`].
    pub async fn balance(&self) -> Result<Balance, WalletError> {
        self.ask(Command::Balance).await
    }

    /// Returns up to `limit` (at most [`MAX_PAGE`](super::MAX_PAGE)) transactions after the place `after`, newest first.
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
    /// taking the place of what was signed and waits in the pool. What is refused for its fee, or of which nobody tells, pays
    /// twice as much after the next block, within [`MAX_FEE_RATE`](crate::chain::MAX_FEE_RATE).
    ///
    /// # Errors
    /// As [`Self::send`]; [`WalletError::AlreadyBroadcast`] when what was signed is in the chain, or in the pool and is not to be
    /// replaced.
    pub async fn spend_back(&self, script: ScriptBuf, replaces: bool) -> Result<(), WalletError> {
        let fee_rate = self.fee_rate(None).await?;
        let asked = script.clone();
        let back = self.ask(|reply| Command::SpendBack { script: asked, fee_rate, replaces, reply }).await?;
        let Some(payment) = back else { return Ok(()) };
        // What follows spends the same coin, be it said to be refused.
        let sent = self.send_out(&payment, None, true).await;
        let fee = payment.fee;
        match &sent {
            // A coin that is spent or gone does not come back for more.
            Err(WalletError::Chain(ChainError::Refused { reason, .. })) if reason.contains("fee") => {
                self.ask(|reply| Command::BackRefused { script, fee, reply }).await?;
            }
            // Nobody tells whether it was refused. What is sent to oneself may be sent twice, so a dearer one follows.
            Err(WalletError::NotYetBroadcast {
                source: ChainError::Unheard { .. } | ChainError::Unasked { .. },
                ..
            }) => {
                self.ask(|reply| Command::BackRefused { script, fee, reply }).await?;
            }
            Ok(()) | Err(_) => {}
        }
        sent
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
    /// [`WalletError::NotYetBroadcast`] when the payment is kept but the chain could not be reached, or somebody else's server
    /// refused it; any other error means that nothing was sent.
    pub async fn send(&self, request: SendRequest) -> Result<Payment, WalletError> {
        let fee_rate = self.price_at(request.fee_rate, request.priced.is_some()).await?;
        let dry_run = request.dry_run;
        let payment = self.ask(|reply| Command::Send { request, fee_rate, reply }).await?;
        if dry_run {
            return Ok(payment);
        }
        self.send_out(&payment, None, self.chain.is_own()).await?;
        Ok(payment)
    }

    /// Hands out what was built and kept: with its parent, if it is to pay for it. What is refused stays kept, and its coins set
    /// aside, unless it is to be forgotten. So it is where the user's own node refused it, and where whatever follows shares a coin
    /// with it. Anybody else may have passed on what he refused: who then pays once more, by other coins, pays twice, and what is
    /// paid by a coin that the refused one spends is never made.
    async fn send_out(
        &self,
        payment: &Payment,
        parent: Option<Txid>,
        forgets_refused: bool,
    ) -> Result<(), WalletError> {
        let txid = payment.tx.compute_txid();
        let sent = match parent {
            None => self.broadcast(&payment.tx).await,
            Some(parent) => self.broadcast_with_parent(parent).await,
        };
        match sent {
            Ok(()) => Ok(()),
            Err(WalletError::Chain(refused @ ChainError::Refused { .. })) if forgets_refused => {
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
        let fee_rate = self.price_at(request.fee_rate, request.priced.is_some()).await?;
        let dry_run = request.dry_run;
        let bumped = self.ask(|reply| Command::Bump { request, fee_rate, reply }).await?;
        self.send_raise(bumped, dry_run).await
    }

    /// Raises the fee of a transaction that pays this wallet, by a child.
    ///
    /// # Errors
    /// As [`Self::bump`].
    pub async fn bump_by_child(&self, request: ChildRequest) -> Result<Bumped, WalletError> {
        let fee_rate = self.price_at(request.fee_rate, request.priced.is_some()).await?;
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
            self.send_out(&bumped.payment, parent, self.chain.is_own()).await?;
        }
        Ok(bumped)
    }

    /// Cancels a payment that no block holds, by a transaction that takes its place and brings its coins back. Once kept, it is
    /// broadcast again until it confirms, and the payment is not. Until a block holds it, one may still hold the payment.
    ///
    /// # Errors
    /// As [`Self::send`]; [`WalletError::NotCancellable`]; [`WalletError::TooLate`] and [`WalletError::AlreadyCancelled`] once a block
    /// has decided; [`WalletError::NotYetCancelled`] when it is kept but the chain could not be reached, or somebody else's server
    /// refused it.
    pub async fn cancel(&self, request: CancelRequest) -> Result<Cancelled, WalletError> {
        let fee_rate = self.price_at(request.fee_rate, request.priced.is_some()).await?;
        let dry_run = request.dry_run;
        let cancelled = self.ask(|reply| Command::Cancel { request, fee_rate, reply }).await?;
        if dry_run {
            return Ok(cancelled);
        }
        match self.send_out(&cancelled.payment, None, self.chain.is_own()).await {
            Ok(()) => Ok(cancelled),
            Err(WalletError::NotYetBroadcast { txid, source }) => {
                Err(WalletError::NotYetCancelled { txid: cancelled.of, by: txid, source: source.into() })
            }
            Err(other) => Err(other),
        }
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
    /// As [`Self::send`]; [`WalletError::Unwatched`].
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

    /// Signs those inputs of a partially signed transaction that are this wallet's. Their coins are frozen from then on, but for
    /// what is signed in the same way.
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
        let (dry_run, psbt) = (request.dry_run, request.psbt.clone());
        let payment = self.ask(|reply| Command::FinishPsbt { request, reply }).await?;
        if dry_run {
            return Ok(payment);
        }
        let inputs = self.review_psbt(psbt).await?.inputs;
        if !inputs.iter().any(|input| input.mine) {
            // What spends nothing of ours was never set aside.
            self.broadcast(&payment.tx).await?;
            return Ok(payment);
        }
        // Nobody pays again without those who sign too; and if they spend their coins elsewhere, this wallet would never learn that
        // nothing comes of it.
        let is_shared = inputs.iter().any(|input| !input.mine);
        self.send_out(&payment, None, is_shared || self.chain.is_own()).await?;
        Ok(payment)
    }

    /// Returns up to `limit` (at most [`MAX_COINS`](super::MAX_COINS)) unspent coins after the place `after`, the largest first.
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

    /// Sets what the owner says of transactions, addresses and coins: all of it or nothing. It frees no coin that is frozen.
    ///
    /// # Errors
    /// [`WalletError::BadLabel`], [`WalletError::TooManyLabels`].
    pub async fn set_labels(&self, labels: Vec<Label>) -> Result<LabelsSet, WalletError> {
        self.ask(|reply| Command::SetLabels { labels, reply }).await
    }

    /// Returns up to `limit` (at most [`MAX_LABEL_PAGE`](super::MAX_LABEL_PAGE)) labels after a subject.
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
        let sent = self.chain.broadcast(tx).await;
        self.note_sent(tx, sent.map(|()| true)).await
    }

    /// Hands to the network what is owed to it until a block holds it, as [`Self::broadcast`] does, but waits for nobody who is to
    /// tell that he took it; it counts once somebody told.
    ///
    /// # Errors
    /// What the chain says.
    pub async fn offer(&self, tx: &Transaction) -> Result<(), WalletError> {
        let offered = self.chain.offer(std::slice::from_ref(tx)).await;
        self.note_sent(tx, offered).await
    }

    /// Counts what the network has, and helps what it refused by the child that was built for it.
    async fn note_sent(&self, tx: &Transaction, sent: Result<bool, ChainError>) -> Result<(), WalletError> {
        let error = match sent {
            Ok(true) => return self.ask(|reply| Command::Seen { tx: tx.clone(), reply }).await,
            Ok(false) => return Ok(()),
            Err(error) => error,
        };
        let parent = tx.compute_txid();
        let package = self.ask(|reply| Command::PackageOf { parent, reply }).await?;
        match (&error, package) {
            // One for which no peer asks may have been refused before, and the child with it never offered.
            (ChainError::Refused { .. } | ChainError::Unasked { .. } | ChainError::Unheard { .. }, Some(_)) => {
                self.broadcast_with_parent(parent).await
            }
            (_, _) => Err(error.into()),
        }
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

    /// Tells whether a funding that [`Self::fund`] built can never confirm, for something else took a coin of it, or of what it
    /// rests on, in a block that is six deep. Nothing is set aside for it any more.
    ///
    /// # Errors
    /// [`WalletError::Closed`].
    pub async fn is_dead(&self, funding: Txid) -> Result<bool, WalletError> {
        self.ask(|reply| Command::IsDead { funding, reply }).await
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

    /// Returns the feerate to build at. What was priced pays the fee that was shown: the chain is not asked, be it that it does not
    /// answer.
    async fn price_at(&self, asked: Option<FeeRate>, is_priced: bool) -> Result<FeeRate, WalletError> {
        if is_priced { Ok(MIN_FEE_RATE) } else { self.fee_rate(asked).await }
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
