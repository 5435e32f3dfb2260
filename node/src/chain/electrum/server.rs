//! Where an Electrum server is, and how it is known to be the one that was meant.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The length of a SHA-256 fingerprint.
const FINGERPRINT_LEN: usize = 32;
/// The longest name of a host (RFC 1035).
const MAX_HOST_LEN: usize = 253;

/// The address of an Electrum server: `ssl://host:port`, `ssl://host:port#sha256=FINGERPRINT` or `tcp://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectrumServer {
    /// Its name, or its IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub transport: Transport,
}

/// How a server is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// As plain text: whoever is between reads and changes what he likes.
    Plain,
    /// By TLS.
    Tls(Trust),
}

/// Why a certificate is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// An authority of this machine's operating system vouches for it.
    Authorities,
    /// It is this one, by its SHA-256 fingerprint; most Electrum servers sign their certificates themselves.
    Certificate([u8; FINGERPRINT_LEN]),
}

/// Why a text is no address of an Electrum server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no Electrum server: {reason}; write ssl://HOST:PORT, ssl://HOST:PORT#sha256=FINGERPRINT or tcp://HOST:PORT"
)]
pub struct ServerError {
    text: String,
    reason: &'static str,
}

impl ElectrumServer {
    /// Tells whether it is on this machine, where nobody is between.
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for ElectrumServer {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| ServerError { text: text.to_owned(), reason };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse("it names no protocol"))?;
        let (place, fragment) = rest.split_once('#').map_or((rest, None), |(place, pin)| (place, Some(pin)));
        let (host, port) = place.rsplit_once(':').ok_or_else(|| refuse("it names no port"))?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| refuse("its port is none"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_ip = host.parse::<IpAddr>().is_ok();
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
        if host.is_empty() || host.len() > MAX_HOST_LEN || !(is_ip || is_name) {
            return Err(refuse("its host is none"));
        }
        let transport = match (scheme, fragment) {
            ("tcp", None) => Transport::Plain,
            ("tcp", Some(_)) => return Err(refuse("plain text shows no certificate")),
            ("ssl", None) => Transport::Tls(Trust::Authorities),
            ("ssl", Some(pin)) => {
                let pin = fingerprint(pin).ok_or_else(|| refuse("its fingerprint is not sha256= and 64 hex digits"))?;
                Transport::Tls(Trust::Certificate(pin))
            }
            _ => return Err(refuse("its protocol is none")),
        };
        Ok(Self { host: host.to_owned(), port, transport })
    }
}

/// Reads a fingerprint as `openssl x509 -fingerprint -sha256` prints it, with colons or without.
fn fingerprint(text: &str) -> Option<[u8; FINGERPRINT_LEN]> {
    let digits = text.strip_prefix("sha256=")?.replace(':', "");
    let mut bytes = [0; FINGERPRINT_LEN];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for ElectrumServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Plain => "tcp",
            Transport::Tls(_) => "ssl",
        };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["tcp://127.0.0.1:50001", "ssl://electrum.example.org:50002", "ssl://[::1]:50002"] {
            assert_eq!(text.parse::<ElectrumServer>().unwrap().to_string(), text);
        }
        let pinned = format!("ssl://host:1#sha256={}", "AB:".repeat(31) + "cd");
        let Transport::Tls(Trust::Certificate(pin)) = pinned.parse::<ElectrumServer>().unwrap().transport else {
            panic!("{pinned} is pinned");
        };
        assert_eq!((pin[0], pin[31]), (0xab, 0xcd));
    }

    #[test]
    fn what_is_none_is_refused_with_what_to_write() {
        for text in [
            "electrum.example.org:50002",
            "http://host:1",
            "ssl://host",
            "ssl://host:0",
            "ssl://host:70000",
            "ssl://:1",
            "ssl://ho st:1",
            "ssl://host/path:1",
            "ssl://host:1#sha256=ab",
            "ssl://host:1#md5=ab",
            "tcp://host:1#sha256=ab",
        ] {
            let error = text.parse::<ElectrumServer>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("ssl://HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn only_this_machine_is_local() {
        let is_local = |text: &str| text.parse::<ElectrumServer>().unwrap().is_local();
        assert!(is_local("tcp://127.0.0.1:1") && is_local("tcp://[::1]:1") && is_local("tcp://localhost:1"));
        assert!(!is_local("tcp://192.168.0.2:1") && !is_local("tcp://127.0.0.1.example.org:1"));
    }
}
