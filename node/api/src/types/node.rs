//! The node and its identity: what the status screen and the log show.

use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use serde::{Deserialize, Serialize};

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the software.
    pub version: String,
    /// `regtest`, `signet` or `mainnet`.
    pub network: String,
    /// The chain backend's name.
    pub chain: String,
    /// The chain's tip; `None` while the backend cannot be reached.
    pub tip: Option<u32>,
    /// What is wrong with the chain backend at present, if anything.
    pub chain_error: Option<String>,
    /// The state of the identity.
    pub identity: IdentityState,
    /// How many peers are connected.
    pub peers: u32,
    /// The node's own addresses, with its peer id.
    pub listen: Vec<String>,
    /// How many records the ledger holds.
    pub records: u64,
    /// How long the bodies of records are kept that nothing needs any more: `full`, or a number of days.
    pub retention: String,
    /// How many live offers the book holds.
    pub offers: u64,
    /// The node's clock.
    pub time: u64,
    /// Whether this is the demo, whose coins and people are not real.
    pub demo: bool,
}

/// Whether the node can sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum IdentityState {
    /// There is none: create one, or run as a relay.
    None,
    /// There is one on disk; its password is needed.
    Locked,
    /// It is being derived: a few seconds of work on purpose.
    Deriving,
    /// Ready.
    Unlocked {
        /// Its public key.
        author: AuthorId,
        /// The email, which never leaves the machine.
        email: String,
    },
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its libp2p peer id.
    pub peer: String,
    /// Where it is.
    pub address: String,
    /// Its software, as it says.
    pub agent: String,
    /// The last round trip in milliseconds.
    pub ping_ms: Option<u64>,
    /// Whether its ledger was the same as ours when last compared.
    pub in_sync: bool,
}

/// An email and a password, to create or unlock an identity. Never logged.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// The email.
    pub email: String,
    /// The password.
    pub password: String,
    /// The optional secret key, as printed when it was made.
    pub secret_key: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

/// How good a password is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordStrength {
    /// Guesses an attacker needs, as a power of ten.
    pub guesses_log10: u32,
    /// Whether it may be used.
    pub verdict: StrengthVerdict,
    /// What would make it better.
    pub advice: String,
}

/// Whether a password may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrengthVerdict {
    /// Under 10^12 guesses: refused.
    Refused,
    /// Under 10^15 guesses: accepted with a warning.
    Weak,
    /// Good.
    Strong,
}

/// An identity as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityInfo {
    /// Its public key, under which its offers appear.
    pub author: AuthorId,
    /// The email, which never leaves the machine.
    pub email: String,
}

/// An entry of the node's log of events, for the log screen and subscribers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number; later events have higher ones.
    pub seq: u64,
    /// When.
    pub time: u64,
    /// What it is about.
    pub subject: Subject,
    /// What happened, in one line.
    pub text: String,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum Subject {
    /// A trade of this node.
    Trade(TradeId),
    /// An offer.
    Offer(RecordId),
    /// The wallet.
    Wallet,
    /// Peers.
    Network,
    /// The chain.
    Chain,
    /// The node itself.
    Node,
}
