//! The network over real sockets on the loopback interface, several nodes in one process.
//!
//! Unless a test is about intervals they are an hour long here, so that what arrives has arrived by the means that the
//! test is about.

use std::sync::Arc;
use std::time::Duration;

use exchange_ledger::retention::Retention;
use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use replica::TestReplica;

mod hostile;
mod replica;
mod stories;

/// A running node.
struct Node {
    replica: TestReplica,
    client: NetClient,
    keypair: Keypair,
    config: NetConfig,
    stop: DropGuard,
}

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const NEVER: Duration = Duration::from_secs(3600);

/// Returns a configuration that listens at `listen` and knows no peers.
fn config(listen: &str) -> NetConfig {
    NetConfig {
        network_magic: *b"test",
        listen: vec![listen.parse().unwrap()],
        peers: Vec::new(),
        only_peers: false,
        agent: "test/1 full".into(),
        retention: Retention::Full,
        limits: NetLimits { sync_interval: NEVER, ..NetLimits::default() },
    }
}

/// Returns a configuration of a node that knows `hub` alone.
async fn leaf_of(hub: &Node) -> NetConfig {
    NetConfig { peers: hub.client.listen_addresses().await, only_peers: true, ..config(TCP) }
}

async fn node(config: NetConfig) -> Node {
    node_with(config, TestReplica::default(), Keypair::generate_ed25519()).await
}

async fn node_with(config: NetConfig, replica: TestReplica, keypair: Keypair) -> Node {
    let stop = CancellationToken::new();
    let client = start(config.clone(), keypair.clone(), Arc::new(replica.clone()), stop.clone()).await.unwrap();
    Node { replica, client, keypair, config, stop: stop.drop_guard() }
}

impl Node {
    async fn address(&self) -> Multiaddr {
        self.client.listen_addresses().await.remove(0)
    }

    fn id(&self) -> PeerId {
        self.client.local_peer()
    }

    async fn knows(&self, other: &Node) -> bool {
        self.client.peers().await.iter().any(|peer| peer.peer == other.id())
    }

    /// Waits until this node is connected with `other` and has all that it has.
    async fn settled_with(&self, other: &Node) {
        eventually("two nodes in sync", async || {
            self.client.peers().await.iter().any(|peer| peer.peer == other.id() && peer.in_sync)
        })
        .await;
    }

    fn bytes_moved(&self) -> u64 {
        self.client.traffic().sent() + self.client.traffic().received()
    }

    /// Waits until all that connecting has set in motion has come to rest: no sync within a whole second, several times
    /// the pause between sessions. What happens afterwards has another cause.
    async fn at_rest(&self) {
        let mut before = None;
        while before != Some(self.bytes_moved()) {
            before = Some(self.bytes_moved());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Stops the node; what is returned starts it again, at the same place with the same key and data.
    async fn stopped(self) -> impl AsyncFnOnce() -> Node {
        let config = NetConfig { listen: vec![self.address().await], ..self.config.clone() };
        let Node { replica, client, keypair, stop, .. } = self;
        drop(stop);
        client.stopped().await;
        // A process that ends has no peers.
        replica.lock().peers.clear();
        async move || node_with(config, replica, keypair).await
    }
}

/// Waits until something is true; a minute is far beyond what any of it takes.
async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let patience = tokio::time::timeout(Duration::from_secs(60), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(patience.await.is_ok(), "waited in vain for {what}");
}
