//! The handle that the rest of the node holds.

use std::sync::Arc;

use exchange_ledger::record::LogId;
use exchange_ledger::sync;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};

use super::codec::Traffic;
use super::config::NetError;
use super::gossip::Topic;

/// Commands waiting for the network task. It handles each within microseconds; a full queue makes callers wait.
pub(super) const MAX_COMMANDS: usize = 256;

/// The network, for the rest of the node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NetClient {
    pub(super) local: PeerId,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) traffic: Arc<Traffic>,
}

/// A connected peer of the same network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its network key's id, unrelated to any identity.
    pub peer: PeerId,
    /// Where it is, as seen from here.
    pub address: Multiaddr,
    /// What it calls itself.
    pub agent: String,
    /// The last round trip in milliseconds, once one was measured.
    pub ping_ms: Option<u64>,
    /// Whether the last comparison found, or brought, all that it has.
    pub in_sync: bool,
}

/// What the network task can be told.
#[derive(Debug)]
pub(super) enum Command {
    Publish(Topic, Vec<u8>),
    /// The proof that this log has forked.
    PublishFork(LogId, Vec<u8>),
    SyncNow,
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Dial(Multiaddr, oneshot::Sender<Result<(), NetError>>),
    ListenAddresses(oneshot::Sender<Vec<Multiaddr>>),
    Ask(PeerId, sync::Request, oneshot::Sender<Result<sync::Answer, String>>),
}

impl NetClient {
    /// Returns this node's own id in the network.
    pub fn local_peer(&self) -> PeerId {
        self.local
    }

    /// Tells peers of a new record, which the replica holds already. Nothing is lost when there is no peer, or when the
    /// network has stopped: sync hands the record over later.
    pub async fn publish_record(&self, record: Vec<u8>) {
        self.send(Command::Publish(Topic::Records, record)).await.ok();
    }

    /// Tells peers that a log has forked, ahead of other news. Nothing is lost as with records.
    pub async fn publish_fork(&self, proof: &sync::Proof) {
        self.send(Command::PublishFork(proof.log, proof.encode())).await.ok();
    }

    /// Tells peers of a new envelope, which the replica's outbox holds already, or of one that had to wait for its contract.
    /// As with records nothing is lost of what is in the outbox.
    pub async fn publish_mail(&self, envelope: Vec<u8>) {
        self.send(Command::Publish(Topic::Mail, envelope)).await.ok();
    }

    /// Compares with all peers and exchanges mail, now instead of at the next interval. Returns at once.
    pub async fn sync_now(&self) {
        self.send(Command::SyncNow).await.ok();
    }

    /// Returns the connected peers of our network; none when it has stopped.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        let (reply, peers) = oneshot::channel();
        self.send(Command::Peers(reply)).await.ok();
        peers.await.unwrap_or_default()
    }

    /// Connects to a peer, once: it is not dialled again when it is lost.
    ///
    /// # Errors
    /// When it cannot be reached, or is not to be connected to.
    pub async fn dial(&self, address: Multiaddr) -> Result<(), NetError> {
        let (reply, outcome) = oneshot::channel();
        self.send(Command::Dial(address, reply)).await?;
        outcome.await.map_err(|_| NetError::Stopped)?
    }

    /// Returns the addresses at which this node listens, each with its id, ready to be given to others; none when the
    /// network has stopped.
    pub async fn listen_addresses(&self) -> Vec<Multiaddr> {
        let (reply, addresses) = oneshot::channel();
        self.send(Command::ListenAddresses(reply)).await.ok();
        addresses.await.unwrap_or_default()
    }

    /// Asks a connected peer about its ledger.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn ask(&self, peer: PeerId, request: sync::Request) -> Result<sync::Answer, String> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Ask(peer, request, reply)).await.map_err(|error| error.to_string())?;
        answer.await.map_err(|_| NetError::Stopped.to_string())?
    }

    /// Waits until the network has stopped: every connection is closed and every port free.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }

    /// Returns what the sync protocol has moved.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    async fn send(&self, command: Command) -> Result<(), NetError> {
        self.commands.send(command).await.map_err(|_| NetError::Stopped)
    }
}
