//! How this node stands, and with whom it is connected.

use exchange_api::{ApiError, Code, PeerInfo, Status};
use exchange_ledger::storage::Storage;
use libp2p::Multiaddr;

use super::Server;
use crate::clock;
use crate::config::network_name;
use crate::errors::{ExplainResult, invalid};

impl Server {
    pub(super) async fn node_status(&self) -> Result<Status, ApiError> {
        let parts = &self.parts;
        let now = clock::unix_now();
        let health = parts.chain_health();
        let offers = {
            let book = parts.keeper.book();
            book.live() as u64 // usize is at most 64 bits
        };
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            network: network_name(parts.config.network).into(),
            chain: parts.chain.name().into(),
            tip: health.as_ref().ok().map(|tip| tip.height),
            chain_error: health.err(),
            identity: parts.identity_state(),
            peers: u32::try_from(parts.net.peers().await.len()).unwrap_or(u32::MAX),
            listen: self.listen().await,
            records: parts.keeper.ledger().storage().len().explained()?,
            retention: parts.config.retention.to_string(),
            offers,
            time: now,
            demo: parts.demo,
        })
    }

    pub(super) async fn connected_peers(&self) -> Vec<PeerInfo> {
        let peers = self.parts.net.peers().await.into_iter().map(|peer| PeerInfo {
            peer: peer.peer.to_string(),
            address: peer.address.to_string(),
            agent: peer.agent,
            ping_ms: peer.ping_ms,
            in_sync: peer.in_sync,
        });
        peers.collect()
    }

    pub(super) async fn connect(&self, address: &str) -> Result<(), ApiError> {
        let address: Multiaddr = address.parse().map_err(|error| {
            let hint =
                "it looks like /ip4/203.0.113.7/tcp/9740/p2p/12D3KooW…; `exchange-node status` of that node shows it";
            ApiError::new(Code::InvalidArgument, format!("`{address}` is not a multiaddress: {error}"), hint)
        })?;
        self.parts.net.dial(address).await.map_err(invalid)
    }

    async fn listen(&self) -> Vec<String> {
        self.parts.net.listen_addresses().await.iter().map(ToString::to_string).collect()
    }
}
