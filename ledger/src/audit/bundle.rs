//! A trade in one file: everything that a stranger needs to check it on a machine that has never seen the network.
//! `specs/audit.md` is the normative text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{AuthorId, ContractHash, RecordId, TradeId};
use crate::mail::{MAX_ENVELOPES, Said};
use crate::trade::Phase;

mod collect;
mod headers;
mod verify;

pub use collect::CollectError;
pub use headers::{Anchor, HeaderChain, anchor_below, anchors, may_ask};
pub use verify::{Placed, Spent, Verified};

/// What the first field of a bundle says.
pub const FORMAT: &str = "exchange/bundle/v1";
/// The largest bundle: what one answer of the local API may carry.
pub const MAX_BUNDLE_LEN: usize = 16 << 20;
/// How many records a bundle may have: an honest trade has ten, and of each party 128 count.
pub const MAX_RECORDS: usize = 1024;
/// How many headers a bundle may have: a year and a half after the last anchor, 13 MB of text.
pub const MAX_HEADERS: usize = 80_000;
/// How many messages a bundle may name: as many as four people can send to each other.
pub const MAX_TRANSCRIPT: usize = 12 * MAX_ENVELOPES as usize; // a u32 fits
/// How many blocks above the last transaction of the trade a bundle shows, if there are as many: a day of work on top.
pub const BURIED_BY: u32 = 144;

/// A trade with its proofs. What it claims is checked by [`Bundle::verify`]; until then it is a stranger's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`FORMAT`].
    pub format: String,
    /// Bitcoin's magic bytes of the network.
    pub network: Hex,
    /// The trade.
    pub trade: TradeId,
    /// The hash of its contract, once accepted.
    pub contract: Option<ContractHash>,
    /// The address of its escrow, once accepted.
    pub escrow: Option<String>,
    /// Where it stands, by everything below.
    pub phase: Phase,
    /// The records, each as it was received, by author, epoch, seq and id.
    pub records: Vec<Hex>,
    /// What the chain shows; `None` while nothing funds the escrow in a block.
    pub chain: Option<ChainProof>,
    /// The sealed messages between the parties, as far as whoever made the bundle has them, by sender, recipient, epoch and
    /// seq.
    pub transcript: Vec<Message>,
}

/// Transactions of a trade, each in its block, and the headers that join the blocks to one that everybody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainProof {
    /// The height of the first header, that of an [`Anchor`].
    pub anchor: u32,
    /// Headers of 80 bytes, each on the one before.
    pub headers: Vec<Hex>,
    /// The transaction that funds the escrow, without its witness.
    pub funding: Inclusion,
    /// The transactions by which an arbiter and a party moved the coins into the escrow again, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Inclusion>,
    /// The transaction that spends it, with its witness; `None` while no block holds one.
    pub spend: Option<Inclusion>,
}

/// A transaction and the proof that a block holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inclusion {
    /// The height of the block.
    pub height: u32,
    /// The transaction in Bitcoin's encoding.
    pub tx: Hex,
    /// The block's header with a partial tree of its transactions that leads to this one (BIP-37, `merkleblock`).
    pub proof: Hex,
}

/// A sealed message, without what it says. With the bundle's own network, trade and contract it is all that its sender
/// signed: he cannot deny it, and who has the words can show that they are these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who sent it.
    pub sender: AuthorId,
    /// To whom.
    pub recipient: AuthorId,
    /// When the sender's node was started.
    pub epoch: u32,
    /// Its position in what the sender sent to the recipient in this trade and epoch.
    pub seq: u32,
    /// The id of the sender's message before it; zeros if there was none.
    pub previous: Hex,
    /// The id of the last message that he had from the recipient; zeros if there was none.
    pub seen: Hex,
    /// When, by the sender's clock.
    pub time: u64,
    /// Commits to what it says.
    pub commitment: Hex,
    /// The hash of what was sealed.
    pub sealed_hash: Hex,
    /// The sender's signature.
    pub signature: Hex,
}

impl From<&Said> for Message {
    fn from(said: &Said) -> Self {
        let address = &said.address;
        Self {
            sender: address.sender,
            recipient: address.recipient,
            epoch: address.epoch,
            seq: address.seq,
            previous: Hex(address.previous.to_vec()),
            seen: Hex(address.seen.to_vec()),
            time: address.time,
            commitment: Hex(address.commitment.to_vec()),
            sealed_hash: Hex(said.sealed_hash.to_vec()),
            signature: Hex(said.signature.to_vec()),
        }
    }
}

/// The part of a bundle that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The file itself: its size, its form, its version.
    Format,
    /// A record: its bytes, its signature, or what it is there for.
    Records,
    /// The bid, its acceptance, or the contract that they make.
    Contract,
    /// The escrow's address.
    Escrow,
    /// The headers: their anchor, their links, their work.
    Headers,
    /// The transaction that funds the escrow.
    Funding,
    /// The transaction that spends it.
    Spend,
    /// Where the trade stands.
    Phase,
    /// The messages.
    Transcript,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Format => "format",
            Self::Records => "records",
            Self::Contract => "contract",
            Self::Escrow => "escrow",
            Self::Headers => "headers",
            Self::Funding => "funding",
            Self::Spend => "spend",
            Self::Phase => "phase",
            Self::Transcript => "transcript",
        })
    }
}

/// Why a bundle proves nothing: the first part that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {reason}")]
pub struct BundleError {
    /// The part.
    pub part: Part,
    /// The record at fault, if it is one.
    pub record: Option<RecordId>,
    /// What is wrong with it.
    pub reason: String,
}

impl BundleError {
    /// Returns that a part does not hold.
    pub fn new(part: Part, reason: impl fmt::Display) -> Self {
        Self { part, record: None, reason: reason.to_string() }
    }

    fn of_record(record: RecordId, reason: impl fmt::Display) -> Self {
        Self { part: Part::Records, record: Some(record), reason: format!("record {record}: {reason}") }
    }
}

impl Bundle {
    /// Returns the file: JSON, indented by two spaces, fields in their order, a line end at the end.
    pub fn encode(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("a bundle has text keys and no failing fields");
        format!("{text}\n")
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Part::Format`] when it is too large or not of this form. Says nothing about what it claims.
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let refuse = |reason: String| BundleError::new(Part::Format, reason);
        if bytes.len() > MAX_BUNDLE_LEN {
            return Err(refuse(format!("a bundle has at most {MAX_BUNDLE_LEN} bytes, this one {}", bytes.len())));
        }
        let bundle: Self = serde_json::from_slice(bytes).map_err(|e| refuse(format!("this is no bundle: {e}")))?;
        if bundle.format != FORMAT {
            let format: String = bundle.format.chars().take(80).collect();
            return Err(refuse(format!("this is a `{format}`, not a `{FORMAT}`; use a version that knows it")));
        }
        let counts = [
            ("records", bundle.records.len(), MAX_RECORDS),
            ("headers", bundle.chain.as_ref().map_or(0, |chain| chain.headers.len()), MAX_HEADERS),
            ("messages", bundle.transcript.len(), MAX_TRANSCRIPT),
        ];
        match counts.into_iter().find(|(_, count, max)| count > max) {
            Some((what, count, max)) => Err(refuse(format!("{count} {what}; at most {max} are allowed"))),
            None => Ok(bundle),
        }
    }
}

/// Bytes, as lower-case hex in JSON.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex(pub Vec<u8>);

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hex({} bytes)", self.0.len())
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as Deserialize>::deserialize(deserializer)?;
        // One spelling only, so that one bundle is one file.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(serde::de::Error::custom("hex must be lower case"));
        }
        hex::decode(text.as_ref()).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests;
