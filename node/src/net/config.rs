//! What a user may set about the network, and what can go wrong with it.

use std::io;
use std::time::Duration;

use exchange_ledger::retention::Retention;
use libp2p::Multiaddr;

/// How a node takes part in the network.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// The magic bytes of the Bitcoin network whose coins are traded: nodes of different networks do not talk.
    pub network_magic: [u8; 4],
    /// Addresses to listen on, such as `/ip4/0.0.0.0/tcp/9740` or `/ip4/0.0.0.0/udp/9740/quic-v1`.
    pub listen: Vec<Multiaddr>,
    /// Peers to stay connected to, best with their `/p2p/…` ids: dialled at start and again whenever they are lost.
    pub peers: Vec<Multiaddr>,
    /// Connect to nobody but `peers`, and accept nobody else.
    pub only_peers: bool,
    /// The name and version told to peers, and at its end how long this node keeps bodies.
    pub agent: String,
    /// How long this node keeps bodies: which it asks peers for.
    pub retention: Retention,
    /// Bounds and intervals.
    pub limits: NetLimits,
}

/// Bounds and intervals of the network.
#[derive(Debug, Clone)]
pub struct NetLimits {
    /// Connections that others opened: each may hold some megabytes of queues.
    pub max_incoming: u32,
    /// How many of them may come from one IPv4 address, or from one IPv6 network of 64 bits; three times as many from one of
    /// 48 bits. The machine's own are not counted, and with `only_peers` none are.
    pub max_incoming_per_address: u16,
    /// Connections that this node opened.
    pub max_outgoing: u32,
    /// The time between two comparisons with an idle peer.
    pub sync_interval: Duration,
    /// How long a peer that sent invalid data is kept out.
    pub ban: Duration,
    /// Bytes a second that one peer is served over time; it may take four seconds' worth at once.
    pub serve_rate: u32,
}

impl NetLimits {
    /// Connections that others opened, unless it is said otherwise.
    pub const INCOMING: u16 = 96;
    /// Those of them from one address: nobody has a relay for himself by one machine, and who shares an address with more
    /// people has other relays.
    pub const INCOMING_PER_ADDRESS: u16 = 8;
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            max_incoming: Self::INCOMING.into(),
            max_incoming_per_address: Self::INCOMING_PER_ADDRESS,
            max_outgoing: 32,
            sync_interval: Duration::from_secs(20),
            ban: Duration::from_secs(3600),
            // Quicker than most links, and slow enough that a few greedy peers leave the disk to others.
            serve_rate: 32 * 1024 * 1024,
        }
    }
}

/// The shape of the mesh over which news are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mesh {
    /// Peers that a node grafts up to, and prunes down to.
    pub n: usize,
    /// Below this it grafts.
    pub low: usize,
    /// From this on it prunes.
    pub high: usize,
    /// Of these at least so many that it has dialled itself: whoever dials a victim often does not own its mesh.
    pub outbound_min: usize,
    /// Peers outside of the mesh that a heartbeat tells what there is.
    pub lazy: usize,
    /// Or this part of them, in percent, if that is more.
    pub lazy_percent: u32,
}

/// Smaller than gossipsub's own (6, 5 to 12), with which each node gets a record six times. In a simulated network of a
/// thousand nodes this one brings it less than three times, and within a second (figure `propagation`). What a small mesh
/// loses, the announcements outside of it and the comparison of ledgers bring.
pub const MESH: Mesh = Mesh { n: 4, low: 3, high: 5, outbound_min: 2, lazy: 3, lazy_percent: 25 };

/// A network that cannot start, or a request that it cannot fulfil.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// Another program listens there.
    #[error("address {0} is in use: stop the other program (is a node running already?) or listen on another port")]
    AddressInUse(Multiaddr),
    /// The system or a transport refuses the address.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the system says.
        reason: String,
    },
    /// The system's name servers are unknown.
    #[error("cannot read the system's name servers, needed to find peers by name: {0}")]
    NameServers(#[source] io::Error),
    /// The encryption or the behaviour of the swarm cannot be set up.
    #[error("cannot set up the network: {0}")]
    Setup(String),
    /// A peer cannot be reached.
    #[error("cannot connect to {address}: {reason}")]
    Dial {
        /// The address.
        address: Multiaddr,
        /// What happened.
        reason: String,
    },
    /// The node is to connect to its configured peers only.
    #[error("not connecting to {0}: this node connects only to its configured peers; add it there")]
    NotListed(Multiaddr),
    /// The network task has ended.
    #[error("the network is stopped: restart the node")]
    Stopped,
}
