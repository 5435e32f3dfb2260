//! Who may connect: nobody who is banned, and with `only_peers` nobody but the configured peers.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::protocol::Malformed;

/// Bans remembered at once: an attacker with more keys than this frees his oldest, and gains nothing over a new key.
const MAX_BANS: usize = 1024;

/// Ids that a list of only peers may grow to: an address without an id may answer under a new one each time.
const MAX_ONLY: usize = 256;

/// What no honest peer does: who does it is disconnected and banned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Offence {
    #[error("it sent an invalid record")]
    InvalidRecord,
    #[error("it sent a body that is not the record's")]
    WrongBody,
    #[error("it sent an invalid mail envelope")]
    InvalidMail,
    #[error("it sent {0}")]
    Malformed(#[from] Malformed),
    #[error("its answer does not fit the request")]
    WrongAnswer,
    #[error("it names heads of logs that it cannot serve")]
    EmptyPromise,
}

/// The behaviour that refuses connections.
#[derive(Debug)]
pub(super) struct Gate {
    bans: HashMap<PeerId, Instant>,
    /// With `only_peers`: the ids in their addresses, and those found at the addresses that have none.
    only: Option<HashSet<PeerId>>,
}

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("peer {0} is banned for a while: it sent invalid data or belongs to another network")]
    Banned(PeerId),
    #[error("peer {0} is not among the configured peers")]
    NotListed(PeerId),
}

impl Gate {
    /// Returns a gate that lets everybody in, or with `only` none but these and who is found by dialling.
    pub fn new(only: Option<HashSet<PeerId>>) -> Self {
        Self { bans: HashMap::new(), only }
    }

    /// Refuses a peer for a while. Connections that it has must be closed by the caller.
    pub fn ban(&mut self, peer: PeerId, duration: Duration) {
        let now = Instant::now();
        self.bans.retain(|_, until| *until > now);
        if self.bans.len() >= MAX_BANS
            && let Some(first) = self.bans.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer)
        {
            self.bans.remove(&first);
        }
        self.bans.insert(peer, now + duration);
    }

    fn check_ban(&self, peer: PeerId) -> Result<(), ConnectionDenied> {
        match self.bans.get(&peer) {
            Some(until) if *until > Instant::now() => Err(ConnectionDenied::new(Refused::Banned(peer))),
            Some(_) | None => Ok(()),
        }
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check_ban(peer)?;
        match &self.only {
            Some(only) if !only.contains(&peer) => Err(ConnectionDenied::new(Refused::NotListed(peer))),
            Some(_) | None => Ok(dummy::ConnectionHandler),
        }
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        peer.map_or(Ok(()), |peer| self.check_ban(peer)).map(|()| Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check_ban(peer)?;
        // Only the swarm task dials, and with `only_peers` only configured addresses: who answers there is one of them.
        if let Some(only) = self.only.as_mut().filter(|only| only.len() < MAX_ONLY) {
            only.insert(peer);
        }
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_ends_and_bans_are_bounded() {
        let mut gate = Gate::new(None);
        let first = PeerId::random();
        gate.ban(first, Duration::ZERO);
        assert!(gate.check_ban(first).is_ok(), "a ban that is over keeps nobody out");

        gate.ban(first, Duration::from_secs(60));
        assert!(gate.check_ban(first).is_err());
        for _ in 0..MAX_BANS {
            gate.ban(PeerId::random(), Duration::from_secs(120));
        }
        assert_eq!(gate.bans.len(), MAX_BANS);
        assert!(gate.check_ban(first).is_ok(), "the ban that would have ended first made room");
    }
}
