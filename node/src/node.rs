//! A node: its parts, put together, started and stopped.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use exchange_api::{DirectoryError, SocketError};
use exchange_ledger::storage::StorageError;
use exchange_store::{Store, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::chain::cbf::{CbfChain, CbfConfig};
use crate::chain::core::{CoreChain, CoreConfig};
use crate::chain::electrum::{ElectrumChain, ElectrumConfig};
use crate::chain::kernel::{KernelChain, KernelConfig};
use crate::chain::{BlockRef, ChainBackend, ChainError};
use crate::clock::SureTime;
use crate::config::{ChainConfig, NodeConfig};
use crate::events::Events;
use crate::keeper::Keeper;
use crate::keyring::Keyring;
use crate::mailbox::Mailbox;
use crate::net::{self, NetClient, NetConfig, NetError, NetLimits};
use crate::private::Private;
use crate::replica::LedgerReplica;
use crate::sweep::Sweeper;
use crate::{reputation, retention, server, stakes};

mod directory;
mod session;
mod tasks;

pub(crate) use directory::make_data_dir;
use directory::{note_network, open_store};
pub use session::Session;
use session::SessionState;
use tasks::{drop_old_mail, forward_mail, forward_records, keep_time, unpark_mail, watch_chain};

/// How often it is looked whether everything has let go of the store.
const CLOSING: Duration = Duration::from_millis(10);
/// How long a stop may take before the rest is left to the operating system.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("data directory: {0}; choose another with --data-dir or mend its permissions")]
    DataDir(DirectoryError),
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
        let (keeper, ledger_thread) = Keeper::start_sure(store, magic, sure.clone())?;
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
            tokio::spawn(unpark_mail(Arc::clone(&parts))),
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
    /// Returns the chain's tip, or what is wrong with the backend.
    pub fn chain_health(&self) -> Result<BlockRef, String> {
        self.chain_health.borrow().clone()
    }
}
