//! The task that owns the wallet: chain events and commands in, changes to disk, answers and status out.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::{Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Transaction, Txid};
use exchange_ledger::trade::funding::Funder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::history::{HistoryCursor, HistoryPage};
use super::psbt::PsbtReview;
use super::state::State;
use super::sync::Next;
use super::{
    Balance, BumpRequest, Bumped, CancelRequest, Cancelled, ChildRequest, Coin, CoinCursor, CoinMessage,
    DepositAddress, FinishRequest, FundRequest, Label, LabelSubject, LabelsSet, OwnedCoin, Payment, SendRequest,
    ShareRequest, ShareSigning, WalletError, WalletSetup, WalletStatus, WalletStore,
};
use crate::backoff::Backoff;
use crate::chain::{BlockRef, ChainBackend, ChainError, ChainEvent, FOLLOWER_QUEUE, Follower, WatchRequest};

/// The pauses before the chain is asked again for a stream, from the first to the longest, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

type Reply<T> = oneshot::Sender<Result<T, WalletError>>;

/// What a handle asks of the task.
pub(super) enum Command {
    Address(Reply<DepositAddress>),
    NewDestination(Reply<ScriptBuf>),
    PutBackDestination { script: ScriptBuf, reply: Reply<()> },
    Balance(Reply<Balance>),
    History { after: Option<HistoryCursor>, limit: usize, reply: Reply<HistoryPage> },
    Fund { request: FundRequest, fee_rate: FeeRate, reply: Reply<Payment> },
    Share { request: ShareRequest, reply: Reply<Funder> },
    SignShare { request: Box<ShareSigning>, reply: Reply<Transaction> },
    FreeShare { script: ScriptBuf, reply: Reply<()> },
    SpendBack { script: ScriptBuf, fee_rate: FeeRate, replaces: bool, reply: Reply<Option<Payment>> },
    BackRefused { script: ScriptBuf, fee: Amount, reply: Reply<()> },
    Owns { scripts: Vec<ScriptBuf>, reply: Reply<Vec<bool>> },
    Send { request: SendRequest, fee_rate: FeeRate, reply: Reply<Payment> },
    SignForCoin { minimum: Amount, message: CoinMessage, reply: Reply<OwnedCoin> },
    Seen { tx: Transaction, reply: Reply<()> },
    Release { txid: Txid, reply: Reply<()> },
    ReleaseFunding { script: ScriptBuf, reply: Reply<bool> },
    IsDead { funding: Txid, reply: Reply<bool> },
    SetLabel { txid: Txid, label: String, reply: Reply<()> },
    Bump { request: BumpRequest, fee_rate: FeeRate, reply: Reply<Bumped> },
    Child { request: ChildRequest, fee_rate: FeeRate, reply: Reply<Bumped> },
    Cancel { request: CancelRequest, fee_rate: FeeRate, reply: Reply<Cancelled> },
    PackageOf { parent: Txid, reply: Reply<Option<Vec<Transaction>>> },
    Draft { request: SendRequest, fee_rate: FeeRate, reply: Reply<Psbt> },
    ReviewPsbt { psbt: Psbt, reply: Reply<PsbtReview> },
    SignPsbt { psbt: Psbt, reply: Reply<Psbt> },
    FinishPsbt { request: FinishRequest, reply: Reply<Payment> },
    Coins { after: Option<CoinCursor>, limit: usize, reply: Reply<Vec<Coin>> },
    Freeze { coins: Vec<OutPoint>, frozen: bool, reply: Reply<Vec<Coin>> },
    SetLabels { labels: Vec<Label>, reply: Reply<LabelsSet> },
    Labels { after: Option<LabelSubject>, limit: usize, reply: Reply<Vec<Label>> },
    Close,
}

/// Opens the wallet and starts its task, which ends when `commands` is closed.
pub(super) async fn spawn(
    setup: WalletSetup,
    commands: mpsc::Receiver<Command>,
) -> Result<watch::Receiver<WalletStatus>, WalletError> {
    let WalletSetup { seed, store, chain, birth_height, clock } = setup;
    let network = chain.network();
    let opening = Arc::clone(&store);
    // Reading the store and deriving scripts take their time.
    let state = spawn_blocking(move || {
        let (state, compact) = State::open(seed, network, clock, &opening.load()?)?;
        if let Some(compact) = compact {
            opening.replace(&compact)?;
        }
        Ok::<_, WalletError>(state)
    })
    .await??;
    let status = watch::Sender::new(WalletStatus::default());
    let receiver = status.subscribe();
    let mut task = Task { state, store, chain, birth_height, status, new_from: None };
    task.persist().await?;
    tokio::spawn(task.run(commands));
    Ok(receiver)
}

/// Its fields are dropped in this order: when the status has gone, the store has been let go.
struct Task {
    state: State,
    store: Arc<dyn WalletStore>,
    chain: Arc<dyn ChainBackend>,
    birth_height: u32,
    status: watch::Sender<WalletStatus>,
    /// From which height on blocks are to be searched for the scripts that the follower has still to be told of, if there are
    /// any: that at which the first of them came. They are new, so no block before it pays to them, unless another copy of the
    /// wallet ran ahead; what the follower then finds starts a pass from the birth height.
    new_from: Option<u32>,
}

/// What woke the task.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is gone at once")]
enum Wake {
    Events(Vec<ChainEvent>),
    Room(mpsc::OwnedPermit<WatchRequest>),
    Command(Option<Command>),
    Retry,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut stream: Option<Follower> = None;
        let mut retry = Retry::default();
        loop {
            if stream.is_none() {
                // The next one is told of all scripts.
                self.state.forget_follower();
                self.new_from = None;
            }
            match self.wait(&mut stream, &mut commands, retry.at).await {
                Wake::Retry => stream = retry.note(self.follow().await),
                Wake::Events(events) if events.is_empty() => {
                    stream = None;
                    retry.at = Instant::now() + RETRY_FIRST;
                }
                Wake::Events(events) => {
                    if self.learn(events).await == Next::PassAgain {
                        stream = None;
                    }
                }
                Wake::Room(permit) => {
                    if let Some(from_height) = self.new_from.take() {
                        permit.send(WatchRequest { scripts: self.state.take_unwatched(), from_height });
                    }
                }
                Wake::Command(Some(Command::Close) | None) => return,
                Wake::Command(Some(command)) => self.obey(command).await,
            }
        }
    }

    async fn wait(
        &self,
        stream: &mut Option<Follower>,
        commands: &mut mpsc::Receiver<Command>,
        retry: Instant,
    ) -> Wake {
        let watch = stream.as_ref().filter(|_| self.new_from.is_some()).map(|follower| follower.watch.clone());
        let room = async {
            match watch {
                Some(watch) => watch.reserve_owned().await,
                None => std::future::pending().await,
            }
        };
        let news = async {
            match stream {
                Some(follower) => {
                    let mut batch = Vec::new();
                    follower.events.recv_many(&mut batch, FOLLOWER_QUEUE).await;
                    Wake::Events(batch)
                }
                None => {
                    sleep_until(retry).await;
                    Wake::Retry
                }
            }
        };
        let others = async {
            tokio::select! {
                wake = news => wake,
                command = commands.recv() => Wake::Command(command),
            }
        };
        tokio::select! {
            // In this order: a new address is refused only where the follower has no room for what came before.
            biased;
            Ok(permit) = room => Wake::Room(permit),
            wake = others => wake,
        }
    }

    /// Starts a pass.
    async fn follow(&mut self) -> Result<Follower, ChainError> {
        let tip = self.chain.tip().await?;
        let height = self.birth_height.saturating_sub(1).min(tip.height);
        let headers = self.chain.headers(height, 1).await?;
        let block = headers.first().ok_or_else(|| ChainError::Invalid {
            backend: self.chain.name(),
            reason: format!("there is no block at height {height}, below the tip"),
        })?;
        let locator = self.state.begin_pass(BlockRef { height, hash: block.block_hash() });
        self.chain.follow(locator, self.state.take_all_scripts()).await
    }

    /// Learns events and keeps what they changed.
    async fn learn(&mut self, events: Vec<ChainEvent>) -> Next {
        let mut next = None;
        for event in events {
            next = self.state.apply(event).or(next);
        }
        self.state.end_batch();
        self.note_new();
        if next.is_some() {
            // What waited when the wallet was closed, unless what came since has settled it.
            self.state.take_last_known().iter().for_each(|tx| self.chain.recall(tx));
            self.send_unsent().await;
        }
        match self.persist().await {
            Ok(()) => self.publish(),
            // Nothing is lost: the change stays in memory, and is in the chain besides.
            Err(error) => {
                tracing::error!(%error, "the wallet could not keep what the chain told it; it will try again")
            }
        }
        next.unwrap_or(Next::Listen)
    }

    /// Offers payments that are in neither pool nor chain. Nobody is waited for: the wallet has to answer meanwhile.
    async fn send_unsent(&mut self) {
        for package in self.state.unsent() {
            let Some(txid) = package.last().map(Transaction::compute_txid) else { continue };
            match self.chain.offer(&package).await {
                Ok(true) => package.into_iter().for_each(|tx| self.state.see(tx)),
                // The follower tells when it is seen.
                Ok(false) => tracing::debug!(%txid, "a payment is being offered"),
                Err(error) => tracing::warn!(%txid, %error, "a payment could not be broadcast; it will be tried again"),
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            // The loop has ended by then.
            Command::Close => {}
            Command::Address(reply) => {
                let address = self.state.address();
                self.answer(address, reply).await;
            }
            Command::NewDestination(reply) => {
                let script = self.state.new_destination();
                if self.hand_out(script, reply).await {
                    self.state.note_shown();
                }
            }
            Command::PutBackDestination { script, reply } => {
                self.state.put_back_destination(script);
                self.answer(Ok(()), reply).await;
            }
            Command::Balance(reply) => self.answer(Ok(self.state.coins().balance), reply).await,
            Command::History { after, limit, reply } => {
                let page = self.state.history(after, limit);
                self.answer(Ok(page), reply).await;
            }
            Command::Fund { request, fee_rate, reply } => {
                let payment = self.state.fund(&request, fee_rate);
                self.answer_payment(payment, reply).await;
            }
            Command::Share { request, reply } => {
                let share = self.state.share(&request);
                let share = self.keep_built(share, |share| &share.plan).await;
                self.answer(share.map(|share| share.funder), reply).await;
            }
            Command::SignShare { request, reply } => {
                let signed = self.state.sign_share(&request);
                let signed = self.keep_built(signed, |signed| signed).await;
                self.answer(signed, reply).await;
            }
            Command::FreeShare { script, reply } => {
                let freed = self.state.free_share(&script);
                self.answer(freed, reply).await;
            }
            Command::SpendBack { script, fee_rate, replaces, reply } => {
                match self.state.spend_back(&script, fee_rate, replaces).transpose() {
                    Some(payment) => {
                        let payment = self.keep_built(payment, |payment| &payment.tx).await;
                        self.answer(payment.map(Some), reply).await;
                    }
                    None => self.answer(Ok(None), reply).await,
                }
            }
            Command::BackRefused { script, fee, reply } => {
                self.state.note_refused_back(script, fee);
                self.answer(Ok(()), reply).await;
            }
            Command::Owns { scripts, reply } => {
                let owned = scripts.into_iter().map(|script| self.state.wallet.is_mine(script)).collect();
                self.answer(Ok(owned), reply).await;
            }
            Command::Send { request, fee_rate, reply } => {
                let payment = self.state.send(&request, fee_rate);
                self.answer_payment(payment, reply).await;
            }
            Command::SignForCoin { minimum, message, reply } => {
                let coin = self.state.sign_for_coin(minimum, &message);
                self.answer(coin, reply).await;
            }
            Command::Seen { tx, reply } => {
                self.state.see(tx);
                self.answer(Ok(()), reply).await;
            }
            Command::Release { txid, reply } => {
                let released = self.state.release(txid);
                self.answer(released, reply).await;
            }
            Command::ReleaseFunding { script, reply } => {
                let released = self.state.release_funding(&script);
                self.answer(released, reply).await;
            }
            Command::IsDead { funding, reply } => self.answer(Ok(self.state.is_dead(&funding)), reply).await,
            Command::SetLabel { txid, label, reply } => {
                let set = self.state.set_label(txid, &label);
                self.answer(set, reply).await;
            }
            Command::Bump { request, fee_rate, reply } => {
                let bumped = self.state.bump(&request, fee_rate);
                self.answer_raise(bumped, reply).await;
            }
            Command::Child { request, fee_rate, reply } => {
                let bumped = self.state.child(&request, fee_rate);
                self.answer_raise(bumped, reply).await;
            }
            Command::Cancel { request, fee_rate, reply } => {
                let cancelled = self.state.cancel(&request, fee_rate);
                let cancelled = self.keep_built(cancelled, |cancelled| &cancelled.payment.tx).await;
                self.answer(cancelled, reply).await;
            }
            Command::PackageOf { parent, reply } => self.answer(Ok(self.state.package_of(&parent)), reply).await,
            Command::Draft { request, fee_rate, reply } => {
                let psbt = self.state.draft(&request, fee_rate);
                self.answer(psbt, reply).await;
            }
            Command::ReviewPsbt { psbt, reply } => self.answer(Ok(self.state.review_psbt(&psbt)), reply).await,
            Command::SignPsbt { psbt, reply } => {
                let signed = self.state.sign_psbt(&psbt);
                self.answer(signed, reply).await;
            }
            Command::FinishPsbt { request, reply } => {
                let payment = self.state.finish_psbt(&request);
                self.answer_payment(payment, reply).await;
            }
            Command::Coins { after, limit, reply } => {
                self.answer(Ok(self.state.list_coins(after, limit)), reply).await;
            }
            Command::Freeze { coins, frozen, reply } => {
                let changed = self.state.freeze(&coins, frozen);
                self.answer(changed, reply).await;
            }
            Command::SetLabels { labels, reply } => {
                let set = self.state.set_labels(&labels);
                self.answer(set, reply).await;
            }
            Command::Labels { after, limit, reply } => {
                self.answer(Ok(self.state.labels(after.as_ref(), limit)), reply).await;
            }
        }
    }

    /// Notes from where on new scripts are looked for that the follower has still to be told of.
    fn note_new(&mut self) {
        if self.new_from.is_none() && self.state.has_unwatched() {
            self.new_from = Some(self.state.wallet.latest_checkpoint().height());
        }
    }

    /// Keeps what changed, then answers.
    async fn answer<T>(&mut self, result: Result<T, WalletError>, reply: Reply<T>) {
        // Nobody to hear the answer is no failure.
        self.hand_out(result, reply).await;
    }

    /// Does the same, and tells whether somebody has got what he asked for.
    async fn hand_out<T>(&mut self, result: Result<T, WalletError>, reply: Reply<T>) -> bool {
        self.note_new();
        let result = match self.persist().await {
            Ok(()) => result,
            Err(error) => result.and(Err(error)),
        };
        self.publish();
        let is_done = result.is_ok();
        reply.send(result).is_ok() && is_done
    }

    async fn answer_payment(&mut self, result: Result<Payment, WalletError>, reply: Reply<Payment>) {
        let result = self.keep_built(result, |payment| &payment.tx).await;
        self.answer(result, reply).await;
    }

    async fn answer_raise(&mut self, result: Result<Bumped, WalletError>, reply: Reply<Bumped>) {
        let result = self.keep_built(result, |bumped| &bumped.payment.tx).await;
        self.answer(result, reply).await;
    }

    /// What cannot be kept is not handed out, and takes no coins.
    async fn keep_built<T>(
        &mut self,
        result: Result<T, WalletError>,
        tx: impl FnOnce(&T) -> &Transaction,
    ) -> Result<T, WalletError> {
        match (result, self.persist().await) {
            (Ok(built), Err(error)) => {
                self.state.withdraw(tx(&built));
                Err(error)
            }
            (result, Ok(()) | Err(_)) => result,
        }
    }

    /// Puts on disk what is not there yet.
    async fn persist(&mut self) -> Result<(), WalletError> {
        let Some(change) = self.state.take_change() else {
            return Ok(());
        };
        let store = Arc::clone(&self.store);
        let written = match change.encode() {
            Ok(bytes) => {
                let kept = spawn_blocking(move || store.append(&bytes)).await;
                kept.map_err(WalletError::from).and_then(|kept| Ok(kept?))
            }
            Err(error) => Err(error),
        };
        if written.is_err() {
            self.state.give_back(change);
        }
        written
    }

    fn publish(&self) {
        let (height, synced) = (self.state.wallet.latest_checkpoint().height(), self.state.synced);
        self.status.send_modify(|status| {
            *status = WalletStatus { revision: status.revision.wrapping_add(1), height, synced };
        });
    }
}

/// When to ask the chain for a stream, and how long it has been failing.
struct Retry {
    at: Instant,
    backoff: Backoff,
}

impl Default for Retry {
    fn default() -> Self {
        Self { at: Instant::now(), backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST) }
    }
}

impl Retry {
    fn note(&mut self, followed: Result<Follower, ChainError>) -> Option<Follower> {
        match followed {
            Ok(follower) => {
                self.backoff.end();
                Some(follower)
            }
            Err(error) => {
                let pause = self.backoff.next_pause();
                tracing::warn!(%error, retry_in = ?pause, "the wallet cannot follow the chain");
                self.at = Instant::now() + pause;
                None
            }
        }
    }
}
