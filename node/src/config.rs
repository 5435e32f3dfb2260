//! How a node is set up.

use std::net::SocketAddr;
use std::path::PathBuf;

use bitcoin::Network;
use exchange_ledger::retention::Retention;
use libp2p::Multiaddr;

pub use crate::chain::core::CoreAuth;
pub use crate::chain::electrum::ElectrumServer;

/// Everything a node needs to know before it starts.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where the node keeps everything; made when missing, readable by its owner only.
    pub data_dir: PathBuf,
    /// The network whose coins are traded.
    pub network: Network,
    /// How the chain is seen.
    pub chain: ChainConfig,
    /// Where to listen for peers.
    pub listen: Vec<Multiaddr>,
    /// Peers to connect to and stay connected to.
    pub peers: Vec<Multiaddr>,
    /// Connect to nobody else and let nobody else in.
    pub only_peers: bool,
    /// How many peers may connect from one address; more behind a proxy, which makes all that it brings one.
    pub max_per_address: u16,
    /// How long the bodies of records are kept that nothing needs any more.
    pub retention: Retention,
    /// The socket of the local API; `None`: `api.sock` in the data directory.
    pub socket: Option<PathBuf>,
}

/// How the chain is seen.
#[derive(Debug, Clone)]
pub enum ChainConfig {
    /// Bitcoin Core's validation engine in this process, on regtest: it talks to nobody, and only the demo mines.
    Kernel,
    /// A Bitcoin Core node over RPC.
    Core {
        /// E.g. `http://127.0.0.1:18443`.
        url: String,
        /// How to log in.
        auth: CoreAuth,
    },
    /// A light client of the Bitcoin network.
    Cbf {
        /// Bitcoin nodes that serve compact filters, and nobody else; none: whoever the network's seeds name.
        peers: Vec<SocketAddr>,
    },
    /// Electrum servers, whose every confirmation is proven.
    Electrum {
        /// In the order in which they are tried.
        servers: Vec<ElectrumServer>,
    },
}

/// Returns what users call a network, as `--network` and the API have it.
pub fn network_name(network: Network) -> &'static str {
    if network == Network::Bitcoin { "mainnet" } else { network.to_core_arg() }
}

impl NodeConfig {
    /// Returns the path of the local API's socket.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.data_dir.join("api.sock"))
    }

    /// Returns that of a node which knows nobody and is on a chain of its own, for tests.
    #[cfg(test)]
    pub(crate) fn for_tests(data_dir: &std::path::Path, network: Network) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            network,
            chain: ChainConfig::Kernel,
            listen: Vec::new(),
            peers: Vec::new(),
            only_peers: false,
            max_per_address: crate::net::NetLimits::INCOMING_PER_ADDRESS,
            retention: Retention::default(),
            socket: None,
        }
    }
}
