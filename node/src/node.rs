//! A node: its parts, put together, started and stopped.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoin::p2p::Magic;
use bitcoin::{FeeRate, Network};
use exchange_api::{ApiError, Code, IdentityState, SocketError, SweepView, SweepWords};
use exchange_ledger::body::Body;
use exchange_ledger::identity::{Email, Identity};
use exchange_ledger::record::Record;
use exchange_ledger::storage::StorageError;
use exchange_ledger::sync::Proof;
use exchange_store::{OpenOptions, Store, StoreError};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::chain::cbf::{CbfChain, CbfConfig};
use crate::chain::core::{CoreChain, CoreConfig};
use crate::chain::electrum::{ElectrumChain, ElectrumConfig};
use crate::chain::kernel::{KernelChain, KernelConfig};
use crate::chain::{BlockRef, ChainBackend, ChainError, median_time_past};
use crate::clock::{self, SureTime};
use crate::config::{ChainConfig, NodeConfig, network_name};
use crate::errors::ExplainResult;
use crate::events::Events;
use crate::keeper::{Change, Keeper};
use crate::keyring::{Keyring, KeyringError};
use crate::mailbox::Mailbox;
use crate::net::{self, NetClient, NetConfig, NetError, NetLimits};
use crate::private::Private;
use crate::replica::LedgerReplica;
use crate::sweep::Sweeper;
use crate::trader::{self, Tools, TraderHandle};
use crate::wallet::{DiskWalletStore, WalletHandle, WalletSetup};
use crate::{reputation, retention, server, stakes};

/// How often the chain backend is asked how it is.
const CHAIN_CHECK: Duration = Duration::from_secs(5);
/// How often it is looked whether mail has become too old.
const MAIL_CHECK: Duration = Duration::from_secs(600);
/// How long between two pages of it that are dropped: mail that all ends at once is gone in five minutes, and nobody notices.
const MAIL_PAUSE: Duration = Duration::from_millis(250);
/// How often the book is told the time: so late at most an offer that waited takes the place of one that ended.
const BOOK_CLOCK: Duration = Duration::from_secs(10);
/// How often it is looked whether everything has let go of the store.
const CLOSING: Duration = Duration::from_millis(10);
/// How long a stop may take before the rest is left to the operating system.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("data directory {0}: {1}; choose another with --data-dir or mend its permissions")]
    DataDir(std::path::PathBuf, std::io::Error),
    /// The data directory is of another network.
    #[error("data directory {path} is of {found}, not of {wanted}")]
    WrongNetwork {
        /// The directory.
        path: std::path::PathBuf,
        /// The network of what is in it.
        found: &'static str,
        /// The network of this node.
        wanted: &'static str,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The chain backend cannot be used.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The network key cannot be used.
    #[error(transparent)]
    NetworkKey(#[from] net::key::KeyError),
    /// The network cannot be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The API's socket cannot be used.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// A running node.
pub struct Node {
    parts: Arc<Parts>,
    tasks: Vec<JoinHandle<()>>,
    ledger_thread: std::thread::JoinHandle<()>,
}

/// What the parts of a node share.
pub struct Parts {
    /// How it was set up.
    pub config: NodeConfig,
    /// Stops everything.
    pub stop: CancellationToken,
    /// The ledger.
    pub keeper: Keeper,
    /// The private tables.
    pub private: Private,
    /// Mail.
    pub mailbox: Mailbox,
    /// The log of events.
    pub events: Events,
    /// The chain.
    pub chain: Arc<dyn ChainBackend>,
    /// The network.
    pub net: NetClient,
    /// By when what is old is destroyed.
    pub sure: SureTime,
    /// Whether this is part of the demo.
    pub demo: bool,
    keyring: Keyring,
    sweeper: Sweeper,
    session: Mutex<SessionState>,
    chain_health: watch::Receiver<Result<BlockRef, String>>,
}

/// The identity and what works with it, once unlocked.
pub struct Session {
    /// The email.
    pub email: String,
    /// What the trader works with: identity, wallet and the rest.
    pub tools: Tools,
    /// The trader.
    pub trader: TraderHandle,
}

enum SessionState {
    Closed,
    Opening,
    Open(Arc<Session>),
}

impl Node {
    /// Starts a node; it runs until `stop` is cancelled.
    ///
    /// # Errors
    /// When a part cannot be used. What is on disk is left as it was.
    pub async fn start(config: NodeConfig, stop: CancellationToken) -> Result<Self, StartError> {
        let store = open_store(&config)?;
        let chain: Arc<dyn ChainBackend> = match &config.chain {
            ChainConfig::Kernel => {
                let data_dir = Some(config.data_dir.join("chain"));
                Arc::new(KernelChain::open(KernelConfig { data_dir, scratch: None, network: config.network })?)
            }
            ChainConfig::Core { url, auth } => {
                let core = CoreConfig { url: url.clone(), auth: auth.clone(), network: config.network };
                Arc::new(CoreChain::open(core).await?)
            }
            ChainConfig::Cbf { peers } => {
                let cbf = CbfConfig { network: config.network, peers: peers.clone() };
                Arc::new(CbfChain::open(cbf).await?)
            }
            ChainConfig::Electrum { servers } => {
                let electrum = ElectrumConfig { network: config.network, servers: servers.clone() };
                Arc::new(ElectrumChain::open(electrum).await?)
            }
        };
        Self::assemble(config, store, chain, false, stop).await
    }

    /// Starts a node of the demo, which shares its chain with others.
    ///
    /// # Errors
    /// When a part cannot be used.
    pub async fn start_demo(
        config: NodeConfig,
        chain: Arc<dyn ChainBackend>,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let store = open_store(&config)?;
        Self::assemble(config, store, chain, true, stop).await
    }

    async fn assemble(
        config: NodeConfig,
        store: Store,
        chain: Arc<dyn ChainBackend>,
        demo: bool,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let magic = config.network.magic().to_bytes();
        let private = Private::new(store.clone());
        note_network(&config, &private)?;
        let sure = SureTime::on(config.network);
        let (keeper, ledger_thread) = Keeper::start(store, magic)?;
        let mailbox = Mailbox::open(keeper.clone(), private.clone(), sure.clone())?;
        let events = Events::new(private.clone());
        let key = net::key::load_or_create(&config.data_dir)?;
        let net_config = NetConfig {
            network_magic: magic,
            listen: config.listen.clone(),
            peers: config.peers.clone(),
            only_peers: config.only_peers,
            agent: format!("exchange-node/{} {}", env!("CARGO_PKG_VERSION"), config.retention.mark()),
            retention: config.retention,
            limits: NetLimits { max_incoming_per_address: config.max_per_address, ..NetLimits::default() },
        };
        let replica = Arc::new(LedgerReplica::new(keeper.clone(), mailbox.clone()));
        let net = net::start(net_config, key, replica, stop.clone()).await?;
        let (health, chain_health) = watch::channel(chain.tip().await.map_err(|error| error.to_string()));
        let parts = Arc::new(Parts {
            keyring: Keyring::new(&config.data_dir),
            sweeper: Sweeper::default(),
            session: Mutex::new(SessionState::Closed),
            chain_health,
            demo,
            config,
            stop,
            keeper,
            private,
            mailbox,
            events,
            chain,
            net,
            sure,
        });
        let mut tasks = vec![
            tokio::spawn(forward_records(Arc::clone(&parts))),
            tokio::spawn(forward_mail(Arc::clone(&parts))),
            tokio::spawn(watch_chain(Arc::clone(&parts), health)),
            tokio::spawn(keep_time(Arc::clone(&parts))),
            tokio::spawn(drop_old_mail(Arc::clone(&parts))),
            tokio::spawn(stakes::follow(Arc::clone(&parts))),
            tokio::spawn(retention::follow(Arc::clone(&parts))),
            tokio::spawn(reputation::count(parts.keeper.clone())),
        ];
        let methods = server::methods(Arc::clone(&parts));
        tasks.push(exchange_api::serve(&parts.config.socket(), methods, parts.stop.clone())?);
        Ok(Self { parts, tasks, ledger_thread })
    }

    /// Returns the parts of the node.
    pub const fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    /// Waits until the node is told to stop, and then until it has: until its directory is closed.
    pub async fn wait(self) {
        self.parts.stop.cancelled().await;
        let Self { parts, tasks, ledger_thread } = self;
        let store = parts.keeper.ledger().storage().clone();
        let stopped = async {
            for task in tasks {
                // A task that panicked has said so; the others still stop in order.
                let _ = task.await;
            }
            if let Some(session) = parts.close_session() {
                session.tools.wallet.close().await;
            }
            drop(parts);
            // Whoever still works with the store lets go of it within moments.
            while store.handles() > 1 || !ledger_thread.is_finished() {
                tokio::time::sleep(CLOSING).await;
            }
        };
        if tokio::time::timeout(STOP_WITHIN, stopped).await.is_err() {
            tracing::warn!("some tasks did not stop in time; nothing is lost, all that matters is on disk");
        }
    }
}

impl Parts {
    /// Returns the state of the identity.
    pub fn identity_state(&self) -> IdentityState {
        match &*self.session() {
            SessionState::Open(session) => {
                IdentityState::Unlocked { author: session.tools.identity.author(), email: session.email.clone() }
            }
            SessionState::Opening => IdentityState::Deriving,
            SessionState::Closed if self.keyring.exists() => IdentityState::Locked,
            SessionState::Closed => IdentityState::None,
        }
    }

    /// Returns the unlocked identity and what works with it.
    ///
    /// # Errors
    /// When there is none, or it is locked.
    pub fn unlocked(&self) -> Result<Arc<Session>, ApiError> {
        let error = |code, message: &str, hint: &str| Err(ApiError::new(code, message, hint));
        match &*self.session() {
            SessionState::Open(session) => Ok(Arc::clone(session)),
            SessionState::Opening => error(Code::Busy, "the identity is being derived", "try again in a few seconds"),
            SessionState::Closed if self.keyring.exists() => {
                error(Code::IdentityLocked, "the identity is locked", "unlock it: `exchange-node identity unlock`")
            }
            SessionState::Closed => {
                error(Code::IdentityMissing, "this node has no identity", "create one: `exchange-node identity new`")
            }
        }
    }

    /// Returns the chain's tip, or what is wrong with the backend.
    pub fn chain_health(&self) -> Result<BlockRef, String> {
        self.chain_health.borrow().clone()
    }

    /// Creates an identity and opens it.
    ///
    /// # Errors
    /// When there is one already, the input is not good, or the wallet cannot be opened.
    pub async fn create_identity(
        &self,
        email: String,
        password: Zeroizing<String>,
        secret_key: Option<Zeroizing<String>>,
    ) -> Result<Arc<Session>, ApiError> {
        let keyring = self.keyring.clone();
        self.open_session(move || keyring.create(&email, &password, secret_key.as_ref().map(|key| key.as_str()))).await
    }

    /// Unlocks the identity of the data directory and opens it.
    ///
    /// # Errors
    /// When there is none, the password is wrong, or the wallet cannot be opened.
    pub async fn unlock(&self, password: Zeroizing<String>) -> Result<Arc<Session>, ApiError> {
        let keyring = self.keyring.clone();
        self.open_session(move || keyring.unlock(&password)).await
    }

    /// Opens the identity of the data directory, which was unlocked before.
    ///
    /// # Errors
    /// When the wallet cannot be opened.
    pub async fn open(&self, identity: Identity, email: Email) -> Result<Arc<Session>, ApiError> {
        self.open_session(move || Ok((identity, email))).await
    }

    /// Returns the 24 words of the identity's wallet, for its password.
    ///
    /// # Errors
    /// When there is no identity, or the password is wrong.
    pub async fn words(&self, password: Zeroizing<String>) -> Result<Zeroizing<String>, ApiError> {
        let keyring = self.keyring.clone();
        let internal = |e: tokio::task::JoinError| ApiError::new(Code::Internal, e.to_string(), "");
        let opened = tokio::task::spawn_blocking(move || keyring.unlock(&password)).await.map_err(internal)?;
        let (identity, _) = opened.explained()?;
        Ok(Zeroizing::new(identity.wallet_words().to_string()))
    }

    /// Brings the coins of another wallet, given by its words, into that of the unlocked identity.
    ///
    /// # Errors
    /// As [`Sweeper::sweep`]; when the identity is not unlocked.
    pub async fn sweep(&self, request: SweepWords, fee_rate: Option<FeeRate>) -> Result<SweepView, ApiError> {
        let session = self.unlocked()?;
        let own_seed = session.tools.identity.wallet_seed();
        self.sweeper.sweep(request, fee_rate, &self.chain, &session.tools.wallet, &own_seed).await
    }

    async fn open_session(
        &self,
        keys: impl FnOnce() -> Result<(Identity, Email), KeyringError> + Send + 'static,
    ) -> Result<Arc<Session>, ApiError> {
        {
            let mut session = self.session();
            match &*session {
                SessionState::Open(_) => {
                    return Err(ApiError::new(
                        Code::NotAllowed,
                        "the identity is unlocked already",
                        "nothing needs to be done",
                    ));
                }
                SessionState::Opening => {
                    return Err(ApiError::new(
                        Code::Busy,
                        "the identity is being derived",
                        "try again in a few seconds",
                    ));
                }
                SessionState::Closed => *session = SessionState::Opening,
            }
        }
        let opened = self.open_with(keys).await;
        *self.session() = match &opened {
            Ok(session) => SessionState::Open(Arc::clone(session)),
            Err(_) => SessionState::Closed,
        };
        opened
    }

    async fn open_with(
        &self,
        keys: impl FnOnce() -> Result<(Identity, Email), KeyringError> + Send + 'static,
    ) -> Result<Arc<Session>, ApiError> {
        let internal = |error: &dyn std::fmt::Display| ApiError::new(Code::Internal, error.to_string(), "");
        let derived = tokio::task::spawn_blocking(keys).await.map_err(|e| internal(&e))?;
        let (identity, email) = derived.explained()?;
        let identity = Arc::new(identity);
        let wallet = WalletHandle::open(WalletSetup {
            seed: identity.wallet_seed(),
            store: Arc::new(DiskWalletStore::new(self.private.store().clone())),
            chain: Arc::clone(&self.chain),
            birth_height: 0,
            clock: Arc::new(clock::unix_now),
        });
        let tools = Tools {
            wallet: wallet.await.explained()?,
            identity: Arc::clone(&identity),
            keeper: self.keeper.clone(),
            private: self.private.clone(),
            chain: Arc::clone(&self.chain),
            mailbox: self.mailbox.clone(),
            events: self.events.clone(),
        };
        let mail = self.mailbox.unlock(identity.author());
        let trader = trader::start(tools.clone(), mail, self.stop.clone());
        let session = Session { email: email.as_str().to_owned(), tools, trader };
        Ok(Arc::new(session))
    }

    fn close_session(&self) -> Option<Arc<Session>> {
        match std::mem::replace(&mut *self.session(), SessionState::Closed) {
            SessionState::Open(session) => Some(session),
            SessionState::Closed | SessionState::Opening => None,
        }
    }

    fn session(&self) -> std::sync::MutexGuard<'_, SessionState> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes own records to the network, and what proves a fork, whoever brought it; what is lost here is healed by the next
/// comparison with a peer.
async fn forward_records(parts: Arc<Parts>) {
    let mut changes = parts.keeper.changes();
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return,
            change = changes.recv() => match change {
                Ok(Change { record, proves: true, .. }) => match parts.keeper.ledger().fork_proof(&record.header().log) {
                    Ok(Some(records)) if !records.iter().any(Record::is_bare) => parts.net.publish_fork(&Proof::of(&records)).await,
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "a proof of a fork cannot be read; peers get it by sync"),
                },
                Ok(Change { record, own: true, .. }) => parts.net.publish_record(record.encode()).await,
                Ok(Change { own: false, .. }) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => parts.net.sync_now().await,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

/// Passes messages to the network; what is lost here is offered again to each peer.
async fn forward_mail(parts: Arc<Parts>) {
    let mut sent = parts.mailbox.sent();
    let mut changes = parts.keeper.changes();
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return,
            envelope = sent.recv() => match envelope {
                Ok(envelope) => parts.net.publish_mail(envelope).await,
                Err(broadcast::error::RecvError::Lagged(_)) => parts.net.sync_now().await,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            change = changes.recv() => match change {
                Ok(change) => if let Body::Accept(accept) = change.body.as_ref() {
                    let (mailbox, trade) = (parts.mailbox.clone(), accept.trade);
                    // It checks signatures and writes: off the async threads.
                    let _ = tokio::task::spawn_blocking(move || mailbox.unpark(trade)).await;
                },
                // What stays parked is offered again by its sender.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

/// Asks the chain backend how it is, and says so once when that changes; tells what time each new tip shows.
async fn watch_chain(parts: Arc<Parts>, health: watch::Sender<Result<BlockRef, String>>) {
    let mut timer = tokio::time::interval(CHAIN_CHECK);
    let mut dated = None;
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return,
            _ = timer.tick() => {
                let tip = parts.chain.tip().await.map_err(|error| error.to_string());
                let (was, is) = (health.borrow().is_ok(), tip.is_ok());
                if let (true, Err(error)) = (was, &tip) {
                    parts.events.note(exchange_api::Subject::Chain, error.clone());
                } else if !was && is {
                    parts.events.note(exchange_api::Subject::Chain, "the chain backend answers".into());
                }
                let block = tip.as_ref().ok().copied();
                drop(health.send_replace(tip));
                if let Some(block) = block.filter(|block| dated != Some(*block)) {
                    match median_time_past(parts.chain.as_ref(), block.height).await {
                        Ok(time) => {
                            parts.sure.show(time);
                            dated = Some(block);
                        }
                        // What was shown before is as sure as it was; it is asked again with the next look.
                        Err(error) => tracing::debug!(%error, "the time of the chain cannot be read"),
                    }
                }
            }
        }
    }
}

/// Tells the book what time it is.
async fn keep_time(parts: Arc<Parts>) {
    let mut clock = tokio::time::interval(BOOK_CLOCK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return,
            _ = clock.tick() => parts.keeper.advance(parts.sure.now()).await,
        }
    }
}

/// Drops mail kept for others when it is too old, a page at a time.
async fn drop_old_mail(parts: Arc<Parts>) {
    let work = async {
        loop {
            let mailbox = parts.mailbox.clone();
            // It writes: off the async threads.
            let more = tokio::task::spawn_blocking(move || mailbox.expire()).await.unwrap_or(false);
            tokio::time::sleep(if more { MAIL_PAUSE } else { MAIL_CHECK }).await;
        }
    };
    parts.stop.run_until_cancelled(work).await;
}

/// Opens the store of a data directory, unless it is of another network: before the chain or a peer is asked anything.
fn open_store(config: &NodeConfig) -> Result<Store, StartError> {
    make_data_dir(&config.data_dir)?;
    let store = Store::open(config.data_dir.join("ledger"), OpenOptions::default())?;
    let wanted = config.network.magic();
    match Private::new(store.clone()).network()?.map(Magic::from_bytes) {
        Some(found) if found != wanted => Err(StartError::WrongNetwork {
            path: config.data_dir.clone(),
            found: Network::from_magic(found).map_or("another network", network_name),
            wanted: network_name(config.network),
        }),
        Some(_) | None => Ok(store),
    }
}

/// Notes of a new data directory the network that it is of from now on. It is one once the chain was found to be of this
/// network: whoever mistyped it can try again. Of one that has an identity and no note the records tell, or the wallet.
fn note_network(config: &NodeConfig, private: &Private) -> Result<(), StoreError> {
    if private.network()?.is_some() || Keyring::new(&config.data_dir).exists() {
        return Ok(());
    }
    private.put_network(config.network.magic().to_bytes())
}

/// Makes a directory that only its owner can read, if there is none.
pub(crate) fn make_data_dir(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let refuse = |error| StartError::DataDir(path.to_owned(), error);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use exchange_ledger::retention::Retention;

    use super::*;
    use crate::errors::Explain;

    #[test]
    fn a_data_directory_stays_with_the_network_that_it_was_begun_on() {
        let directory = tempfile::tempdir().unwrap();
        let on = |network| NodeConfig {
            data_dir: directory.path().join("data"),
            network,
            chain: ChainConfig::Kernel,
            listen: Vec::new(),
            peers: Vec::new(),
            only_peers: false,
            max_per_address: NetLimits::INCOMING_PER_ADDRESS,
            retention: Retention::default(),
            socket: None,
        };
        // A start that found no chain of its network has begun nothing.
        drop(open_store(&on(Network::Bitcoin)).unwrap());
        let store = open_store(&on(Network::Regtest)).unwrap();
        note_network(&on(Network::Regtest), &Private::new(store.clone())).unwrap();
        drop(store);
        for (network, name) in [(Network::Signet, "signet"), (Network::Bitcoin, "mainnet")] {
            let error = open_store(&on(network)).err().unwrap().explain();
            assert_eq!(error.code, Code::WrongNetwork);
            assert!(error.message.ends_with(&format!("is of regtest, not of {name}")), "{error}");
            assert!(error.hint.contains("--data-dir"), "{error}");
        }
        let store = open_store(&on(Network::Regtest)).unwrap();
        note_network(&on(Network::Regtest), &Private::new(store)).unwrap();
    }
}
