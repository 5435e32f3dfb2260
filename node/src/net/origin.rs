//! Where a connection comes from.

use std::net::{IpAddr, Ipv4Addr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// The IPv6 addresses that belong to whoever has an IPv4 address, which stands after these bits: 6to4, RFC 3056.
const SIX_TO_FOUR: u16 = 0x2002;

/// What one machine or household has of the Internet's addresses: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6([u16; 4]),
}

/// What whoever rents one machine may have of them: an IPv4 address, or an IPv6 network of 48 bits, in which 65,536 of those
/// lie. Providers share out as many to their households, too. What counts as one is a net group to Bitcoin Core too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum NetGroup {
    V4(Ipv4Addr),
    /// The first 48 bits.
    V6([u16; 3]),
}

/// Who has a line of his own where peers take turns: all from one network together, so that many ids there have one turn.
/// Whom no network stands for, since this node has dialled him or this machine's proxy brings him, has his own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Group(NetGroup),
    Peer(PeerId),
}

impl Origin {
    /// Returns where an address is. Whoever comes from this machine, as all do that Tor or a proxy brings, is from nowhere.
    pub fn of(address: &Multiaddr) -> Option<Self> {
        let ip = match address.iter().next()? {
            Protocol::Ip4(ip) => IpAddr::V4(ip),
            Protocol::Ip6(ip) => IpAddr::V6(ip).to_canonical(),
            // Nothing else connects to what this node listens on; the enum grows with the library.
            _ => return None,
        };
        match ip {
            IpAddr::V4(ip) if ip.is_loopback() => None,
            IpAddr::V6(ip) if ip.is_loopback() => None,
            IpAddr::V4(ip) => Some(Self::V4(ip)),
            IpAddr::V6(ip) => Some(match ip.segments() {
                [SIX_TO_FOUR, high, low, ..] => Self::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))),
                [a, b, c, d, ..] => Self::V6([a, b, c, d]),
            }),
        }
    }

    /// Returns the network around it.
    pub const fn network(&self) -> NetGroup {
        match *self {
            Self::V4(ip) => NetGroup::V4(ip),
            Self::V6([a, b, c, _]) => NetGroup::V6([a, b, c]),
        }
    }
}
