//! Building the swarm and listening on its addresses.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use libp2p::core::transport::ListenerId;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, TransportError, noise, tcp, yamux};

use super::behaviour::Behaviour;
use super::config::NetError;

/// How long the system may take to say on which address it listens.
pub(super) const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns a swarm over TCP with Noise and Yamux, and over QUIC.
pub(super) fn build_swarm(keypair: Keypair, behaviour: Behaviour) -> Result<Swarm<Behaviour>, NetError> {
    let builder = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|e| NetError::Setup(e.to_string()))?
        .with_quic()
        .with_dns()
        .map_err(NetError::NameServers)?;
    match builder.with_behaviour(|_| behaviour) {
        Ok(builder) => Ok(builder.with_swarm_config(Behaviour::swarm_config).build()),
        Err(never) => match never {},
    }
}

/// Listens on an address.
pub(super) fn listen_on(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<ListenerId, NetError> {
    probe(address).map_err(|error| listen_error(address, &error))?;
    swarm.listen_on(address.clone()).map_err(|error| match error {
        TransportError::MultiaddrNotSupported(_) => NetError::Listen {
            address: address.clone(),
            reason: "it is neither a TCP nor a QUIC address; write it like /ip4/0.0.0.0/tcp/9740".into(),
        },
        TransportError::Other(error) => listen_error(address, &error),
    })
}

fn listen_error(address: &Multiaddr, error: &io::Error) -> NetError {
    match error.kind() {
        io::ErrorKind::AddrInUse => NetError::AddressInUse(address.clone()),
        _ => NetError::Listen { address: address.clone(), reason: error.to_string() },
    }
}

/// Binds the port for a moment without sharing it. libp2p lets listeners share a TCP port (it reuses it for dialling),
/// so that a second node would start beside the first and the two would get every other connection each.
fn probe(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()), // the transport says what it thinks of it
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) => TcpListener::bind(SocketAddr::new(ip, port)).map(drop),
        Some(Protocol::Udp(port)) => UdpSocket::bind(SocketAddr::new(ip, port)).map(drop),
        _ => Ok(()),
    }
}
