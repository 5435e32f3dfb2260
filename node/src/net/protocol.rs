//! What peers say to each other outside gossip: one request, one answer, each a bounded borsh value.
//!
//! Everything here is hostile until [`Request::check`] or [`Response::check`] has passed.

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::ids::MailboxId;
use exchange_ledger::sync;
pub(super) use exchange_ledger::sync::message::MAX_ANSWER_BYTES;
use libp2p::StreamProtocol;
use libp2p::gossipsub::{IdentTopic, TopicHash};

use super::gossip::Topic;

/// The longest gossip message, its framing included: an envelope with the largest sealed message fits.
pub const MAX_GOSSIP_LEN: usize = 20 * 1024;
/// The longest mail envelope, so that one message of any kind can carry it.
pub const MAX_MAIL_LEN: usize = 19 * 1024;
/// The longest request: a thousand mailboxes or the envelopes of [`MAX_PUT_BYTES`] fit.
pub(super) const MAX_REQUEST_LEN: usize = 64 * 1024;
/// The longest response: [`MAX_ANSWER_BYTES`] of records and the frozen records of one log more fit, and a page of heads.
pub(super) const MAX_RESPONSE_LEN: usize = 1024 * 1024;
/// Mailboxes in one request, 40 bytes each: as many as a node may have.
pub(super) const MAX_MAILBOXES: usize = 1000;
/// Bytes of envelopes in one request.
pub(super) const MAX_PUT_BYTES: usize = 48 * 1024;
/// Envelopes in one request: more than fit in [`MAX_REQUEST_LEN`], for none has less than 617 bytes. Eight requests of each peer
/// may wait, decoded, and thousands of made-up envelopes of a byte each would take ten times the bytes of theirs.
pub(super) const MAX_PUT: usize = 128;

/// A request to a peer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Request {
    /// About the ledger.
    Ledger(sync::Request),
    /// Envelopes of these mailboxes, in this order, as far as [`MAX_ANSWER_BYTES`] go.
    MailFetch(Vec<WireCursor>),
    /// Keep these envelopes for whoever fetches them.
    MailPut(Vec<Vec<u8>>),
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Response {
    /// About the ledger.
    Ledger(sync::Answer),
    /// For each of the first mailboxes its envelopes; mailboxes that found no room are left out.
    Mail(Vec<Delivery>),
    /// The envelopes were looked at.
    Taken,
    /// Too many requests: try again later.
    Busy,
}

/// A mailbox and how far it has been read at this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct WireCursor {
    pub mailbox: MailboxId,
    pub after: u64,
}

/// Envelopes of one mailbox and the cursor to go on from.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Delivery {
    pub envelopes: Vec<Vec<u8>>,
    pub cursor: u64,
}

/// A message that no honest peer sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a message of {0} bytes where at most {1} may be sent")]
    TooLong(u64, usize),
    #[error("a message that does not decode: {0}")]
    Undecodable(String),
    #[error("more {0} in one message than allowed")]
    TooMany(&'static str),
    #[error(transparent)]
    Ledger(#[from] sync::Malformed),
}

impl Request {
    /// Checks the bounds that the encoding alone does not keep.
    pub fn check(&self) -> Result<(), Malformed> {
        match self {
            Self::Ledger(request) => Ok(request.check()?),
            Self::MailFetch(boxes) => at_most(boxes.len(), MAX_MAILBOXES, "mailboxes"),
            Self::MailPut(envelopes) => {
                at_most(envelopes.len(), MAX_PUT, "envelopes")?;
                each_at_most(envelopes, MAX_MAIL_LEN, "bytes of mail")
            }
        }
    }
}

impl Response {
    /// Checks the bounds that the encoding alone does not keep.
    pub fn check(&self) -> Result<(), Malformed> {
        match self {
            Self::Ledger(answer) => Ok(answer.check()?),
            Self::Taken | Self::Busy => Ok(()),
            Self::Mail(deliveries) => {
                at_most(deliveries.len(), MAX_MAILBOXES, "mailboxes")?;
                deliveries.iter().try_for_each(|d| each_at_most(&d.envelopes, MAX_MAIL_LEN, "bytes of mail"))
            }
        }
    }
}

fn at_most(count: usize, max: usize, what: &'static str) -> Result<(), Malformed> {
    if count <= max { Ok(()) } else { Err(Malformed::TooMany(what)) }
}

fn each_at_most(items: &[Vec<u8>], max: usize, what: &'static str) -> Result<(), Malformed> {
    items.iter().try_for_each(|item| at_most(item.len(), max, what))
}

/// The names under which nodes of one network find each other.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Told by identify; peers that tell another one are sent away.
    pub protocol: String,
    /// The sync protocol.
    pub sync: StreamProtocol,
    /// The gossip topic of records.
    pub records: IdentTopic,
    /// The gossip topic of mail.
    pub mail: IdentTopic,
    /// The gossip topic of proofs that a log has forked.
    pub forks: IdentTopic,
}

impl Names {
    pub fn new(network_magic: [u8; 4]) -> Self {
        let magic = hex::encode(network_magic);
        Self {
            protocol: format!("/exchange/{magic}/1"),
            sync: StreamProtocol::try_from_owned(format!("/exchange/{magic}/sync/1")).expect("it starts with a slash"),
            records: IdentTopic::new(format!("exchange/{magic}/records/1")),
            mail: IdentTopic::new(format!("exchange/{magic}/mail/1")),
            forks: IdentTopic::new(format!("exchange/{magic}/forks/1")),
        }
    }

    /// Returns the topics, each with its name.
    pub fn topics(&self) -> [(Topic, &IdentTopic); 3] {
        [(Topic::Records, &self.records), (Topic::Mail, &self.mail), (Topic::Forks, &self.forks)]
    }

    /// Returns the topic of a message; others than ours are not subscribed to.
    pub fn topic(&self, hash: &TopicHash) -> Topic {
        let named = self.topics().into_iter().find(|(_, name)| name.hash() == *hash);
        named.map_or(Topic::Records, |(topic, _)| topic)
    }
}
