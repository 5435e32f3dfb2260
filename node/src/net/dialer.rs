//! Bootstrap addresses, and when to dial them again: for ever, with growing pauses.
//!
//! ```text
//! Waiting --due--> Dialling --connected--> Connected --lost--> Waiting
//!    ^                 |
//!    +-----failed------+
//! ```
//! The pause doubles at every failure and starts over only when a peer has proved to be of our network, so that a peer
//! who accepts and then closes is not dialled in a tight loop.

use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use crate::backoff::Backoff;

/// The first pause: a relay that restarts is back within a second or two.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: a peer who comes back is found within a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The addresses to stay connected to.
#[derive(Debug)]
pub(super) struct Dialer {
    targets: Vec<Target>,
}

#[derive(Debug)]
struct Target {
    address: Multiaddr,
    /// Who lives there: told by the address, or by whoever answered last.
    peer: Option<PeerId>,
    backoff: Backoff,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting(Instant),
    Dialling(ConnectionId),
    Connected(PeerId),
}

impl Dialer {
    pub fn new(addresses: &[Multiaddr], now: Instant) -> Self {
        let target = |address: &Multiaddr| Target {
            address: address.clone(),
            peer: peer_of(address),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            state: State::Waiting(now),
        };
        Self { targets: addresses.iter().map(target).collect() }
    }

    /// Returns an address that is due, unless its peer is connected already by another one. The caller dials it and
    /// tells the outcome by [`Self::dialling`] or [`Self::failed`].
    pub fn next(&mut self, now: Instant, is_connected: impl Fn(&PeerId) -> bool) -> Option<Multiaddr> {
        for target in &mut self.targets {
            if !matches!(target.state, State::Waiting(until) if until <= now) {
                continue;
            }
            match target.peer.filter(&is_connected) {
                Some(peer) => target.state = State::Connected(peer),
                None => return Some(target.address.clone()),
            }
        }
        None
    }

    /// The dial of `address` has begun.
    pub fn dialling(&mut self, address: &Multiaddr, connection: ConnectionId) {
        for target in self.targets.iter_mut().filter(|t| t.address == *address) {
            target.state = State::Dialling(connection);
        }
    }

    /// The dial of a connection has failed; returns the address if it is one of ours, for the log.
    pub fn failed(&mut self, connection: ConnectionId, now: Instant) -> Option<Multiaddr> {
        let target = self.targets.iter_mut().find(|t| t.state == State::Dialling(connection))?;
        target.wait(now);
        Some(target.address.clone())
    }

    /// A connection is there.
    pub fn connected(&mut self, connection: ConnectionId, peer: PeerId) {
        for target in self.targets.iter_mut().filter(|t| t.state == State::Dialling(connection)) {
            target.peer = Some(peer);
            target.state = State::Connected(peer);
        }
    }

    /// A peer is of our network.
    pub fn identified(&mut self, peer: PeerId) {
        for target in self.targets.iter_mut().filter(|t| t.peer == Some(peer)) {
            target.backoff.end();
        }
    }

    /// The last connection to a peer is gone.
    pub fn lost(&mut self, peer: PeerId, now: Instant) {
        for target in self.targets.iter_mut().filter(|t| t.state == State::Connected(peer)) {
            target.wait(now);
        }
    }
}

impl Target {
    fn wait(&mut self, now: Instant) {
        self.state = State::Waiting(now + self.backoff.next_pause());
        // An id that was only learned may have changed since: the address alone says whom to expect.
        self.peer = peer_of(&self.address);
    }
}

/// Returns the id that an address ends with.
pub(super) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().find_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_never_end() {
        let start = Instant::now();
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let mut dialer = Dialer::new(std::slice::from_ref(&address), start);
        let mut now = start;
        for (attempt, pause) in [1, 2, 4, 8, 16, 32, 60, 60, 60].into_iter().enumerate() {
            assert_eq!(dialer.next(now, |_| false), Some(address.clone()), "attempt {attempt}");
            let connection = ConnectionId::new_unchecked(attempt);
            dialer.dialling(&address, connection);
            assert_eq!(dialer.next(now, |_| false), None, "one dial at a time");
            dialer.failed(connection, now);
            assert_eq!(dialer.next(now + seconds(pause) - Duration::from_millis(1), |_| false), None);
            now += seconds(pause);
        }
    }

    #[test]
    fn a_lost_peer_is_dialled_again_and_a_peer_of_our_network_soon() {
        let now = Instant::now();
        let peer = PeerId::random();
        let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}").parse().unwrap();
        let mut dialer = Dialer::new(std::slice::from_ref(&address), now);
        for attempt in 0..5 {
            dialer.targets[0].state = State::Waiting(now);
            let connection = ConnectionId::new_unchecked(attempt);
            dialer.dialling(&address, connection);
            dialer.connected(connection, peer);
            dialer.identified(peer);
            dialer.lost(peer, now);
            assert_eq!(dialer.targets[0].state, State::Waiting(now + FIRST_PAUSE));
        }
    }

    #[test]
    fn a_peer_connected_by_another_address_is_not_dialled_until_it_is_lost() {
        let now = Instant::now();
        let peer = PeerId::random();
        let address: Multiaddr = format!("/ip4/127.0.0.1/udp/1/quic-v1/p2p/{peer}").parse().unwrap();
        let mut dialer = Dialer::new(std::slice::from_ref(&address), now);
        assert_eq!(dialer.next(now, |p| *p == peer), None);
        dialer.lost(peer, now);
        assert_eq!(dialer.next(now + FIRST_PAUSE, |_| false), Some(address));
    }
}
