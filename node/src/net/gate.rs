//! Who may connect: nobody who is banned, with `only_peers` nobody but the configured peers, and otherwise not too many from
//! one address or network.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::origin::Origin;
use super::protocol::Malformed;

/// Bans remembered at once: an attacker with more keys than this frees his oldest, and gains nothing over a new key.
const MAX_BANS: usize = 1024;

/// Ids that a list of only peers may grow to: an address without an id may answer under a new one each time.
const MAX_ONLY: usize = 256;

/// How many times as many connections may come from a network of 48 bits as from one of 64 bits in it: it is all one rented
/// machine's, or shared out to many households.
const PLACES_OF_A_NETWORK: usize = 3;

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
    /// Where the connections come from that others have opened; bounded by their limit.
    incoming: HashMap<ConnectionId, Origin>,
    /// How many of them may come from one place.
    max_per_origin: usize,
}

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("peer {0} is banned for a while: it sent invalid data or belongs to another network")]
    Banned(PeerId),
    #[error("peer {0} is not among the configured peers")]
    NotListed(PeerId),
    #[error("{0} connections from the address or the network of peer {1} are open already")]
    Crowded(usize, PeerId),
}

impl Gate {
    /// Returns a gate that lets everybody in, so many from one address; or with `only` none but these and who is found by
    /// dialling.
    pub fn new(only: Option<HashSet<PeerId>>, max_per_origin: usize) -> Self {
        Self { bans: HashMap::new(), only, incoming: HashMap::new(), max_per_origin }
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

    /// Refuses who comes from where enough others came from.
    fn check_origin(&self, peer: PeerId, address: &Multiaddr) -> Result<(), ConnectionDenied> {
        let Some(origin) = Origin::of(address) else { return Ok(()) };
        let others = self.incoming.values().filter(|other| **other == origin).count();
        let around = self.incoming.values().filter(|other| other.network() == origin.network()).count();
        let has_room = others < self.max_per_origin && around < self.max_per_origin.saturating_mul(PLACES_OF_A_NETWORK);
        if has_room { Ok(()) } else { Err(ConnectionDenied::new(Refused::Crowded(around, peer))) }
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
        from: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check_ban(peer)?;
        match &self.only {
            Some(only) if only.contains(&peer) => {}
            Some(_) => return Err(ConnectionDenied::new(Refused::NotListed(peer))),
            None => self.check_origin(peer, from)?,
        }
        Ok(dummy::ConnectionHandler)
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

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            // Only now have all who may refuse it let it in.
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                connection_id,
                endpoint: ConnectedPoint::Listener { send_back_addr, .. },
                ..
            }) => self.incoming.extend(Origin::of(send_back_addr).map(|origin| (connection_id, origin))),
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.incoming.remove(&connection_id);
            }
            // The rest is about no connection that is open; the enum grows with the library.
            _ => {}
        }
    }

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
        let mut gate = Gate::new(None, 8);
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

    fn listener(from: &str) -> ConnectedPoint {
        let local_addr = "/ip4/192.0.2.1/tcp/9740".parse().unwrap();
        ConnectedPoint::Listener { local_addr, send_back_addr: from.parse().unwrap() }
    }

    /// Somebody connects from an address, by a connection of this number. Tells whether he is let in.
    fn comes(gate: &mut Gate, number: usize, from: &str) -> bool {
        let (peer_id, connection_id) = (PeerId::random(), ConnectionId::new_unchecked(number));
        let endpoint = listener(from);
        let address = endpoint.get_remote_address();
        let is_in = gate.handle_established_inbound_connection(connection_id, peer_id, address, address).is_ok();
        if is_in {
            gate.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint: &endpoint,
                failed_addresses: &[],
                other_established: 0,
            }));
        }
        is_in
    }

    fn goes(gate: &mut Gate, number: usize, from: &str) {
        gate.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: PeerId::random(),
            connection_id: ConnectionId::new_unchecked(number),
            endpoint: &listener(from),
            cause: None,
            remaining_established: 0,
        }));
    }

    #[test]
    fn one_address_has_its_share_of_the_places_and_no_more() {
        let mut gate = Gate::new(None, 8);
        for number in 0..8 {
            assert!(comes(&mut gate, number, &format!("/ip4/203.0.113.7/tcp/{}", 1000 + number)));
        }
        assert!(!comes(&mut gate, 8, "/ip4/203.0.113.7/udp/9/quic-v1"), "the ninth, by whatever transport");
        assert!(!comes(&mut gate, 8, "/ip6/::ffff:203.0.113.7/tcp/9"), "the same address, written as one of IPv6");
        assert!(comes(&mut gate, 8, "/ip4/203.0.113.8/tcp/9"));
        goes(&mut gate, 3, "/ip4/203.0.113.7/tcp/1003");
        assert!(comes(&mut gate, 3, "/ip4/203.0.113.7/tcp/9"), "in the place of one who went");
        assert!(!comes(&mut gate, 9, "/ip4/203.0.113.7/tcp/9"));
    }

    #[test]
    fn an_ipv6_network_of_64_bits_counts_as_one_address() {
        let mut gate = Gate::new(None, 2);
        assert!(comes(&mut gate, 0, "/ip6/2001:db8:0:1::1/tcp/9"));
        assert!(comes(&mut gate, 1, "/ip6/2001:db8:0:1:ffff::2/udp/9/quic-v1"));
        assert!(!comes(&mut gate, 2, "/ip6/2001:db8:0:1:a:b:c:d/tcp/9"));
        assert!(comes(&mut gate, 2, "/ip6/2001:db8:0:2::1/tcp/9"));
    }

    #[test]
    fn who_has_many_ipv6_networks_has_no_more_than_three_addresses() {
        let mut gate = Gate::new(None, 8);
        for number in 0..24 {
            assert!(comes(&mut gate, number, &format!("/ip6/2001:db8:0:{number:x}::1/tcp/9")));
        }
        assert!(!comes(&mut gate, 24, "/ip6/2001:db8:0:ffff::1/tcp/9"), "the twenty-fifth of 48 bits");
        assert!(comes(&mut gate, 24, "/ip6/2001:db8:1:0::1/tcp/9"));
        goes(&mut gate, 3, "/ip6/2001:db8:0:3::1/tcp/9");
        assert!(comes(&mut gate, 3, "/ip6/2001:db8:0:ffff::1/tcp/9"), "in the place of one who went");
    }

    #[test]
    fn who_makes_ipv6_addresses_of_an_ipv4_address_has_what_that_has() {
        let mut gate = Gate::new(None, 8);
        for number in 0..8 {
            assert!(comes(&mut gate, number, &format!("/ip6/2002:cb00:7107:{number:x}::1/tcp/9")));
        }
        assert!(!comes(&mut gate, 8, "/ip6/2002:cb00:7107:ffff::1/tcp/9"));
        assert!(!comes(&mut gate, 8, "/ip4/203.0.113.7/tcp/9"));
        assert!(comes(&mut gate, 8, "/ip6/2002:cb00:7108:0::1/tcp/9"));
        assert!(comes(&mut gate, 9, "/ip6/2002:7f00:1:0::1/tcp/9"), "nobody comes from this machine that way");
        assert_eq!(gate.incoming.len(), 10);
    }

    #[test]
    fn who_comes_from_this_machine_or_is_listed_is_not_counted() {
        let mut gate = Gate::new(None, 1);
        for (number, from) in ["/ip4/127.0.0.1/tcp/9", "/ip4/127.0.0.2/tcp/9", "/ip6/::1/tcp/9"].iter().enumerate() {
            assert!(comes(&mut gate, 2 * number, from) && comes(&mut gate, 2 * number + 1, from), "{from}");
        }
        let listed: Vec<PeerId> = (0..3).map(|_| PeerId::random()).collect();
        let mut gate = Gate::new(Some(listed.iter().copied().collect()), 1);
        let from: Multiaddr = "/ip4/203.0.113.7/tcp/9".parse().unwrap();
        for (number, peer) in listed.into_iter().enumerate() {
            let id = ConnectionId::new_unchecked(number);
            assert!(gate.handle_established_inbound_connection(id, peer, &from, &from).is_ok());
        }
    }
}
