//! Signed records: the only thing that travels and is kept. `specs/records.md` is the normative text.

use std::fmt;
use std::sync::{Arc, OnceLock};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::hash::tagged;
use crate::ids::{AuthorId, FrozenHash, RecordId};
use crate::retention;

pub mod admission;
mod header;
mod kind;
mod next;
mod verify;

pub use header::{FLAG_CRITICAL, HEADER_LEN, Header, LogId, MAX_LOG_LEN, VERSION};
pub use kind::Kind;
pub use verify::{decode_and_verify, verify_batch, verify_signature};

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;
/// The largest record: what one gossip message or disk entry may cost.
pub const MAX_RECORD_LEN: usize = 4096;
/// The largest body.
pub const MAX_BODY_LEN: usize = MAX_RECORD_LEN - HEADER_LEN - SIGNATURE_LEN;

/// The end of a log, as nodes compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// The log.
    pub log: LogId,
    /// How many records its chain has: if it has forked, those below the first place that its author signed twice.
    pub len: u64,
    /// The id of the last; zeros if there is none.
    pub id: RecordId,
    /// The time of the last; zero if there is none.
    pub time: u64,
    /// The hash of the frozen records, if the log has forked.
    pub frozen: Option<FrozenHash>,
}

/// Where a record stands: by author, epoch and seq, and then, where an author signed several for one place, by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The log.
    pub log: LogId,
    /// The position in it.
    pub seq: u64,
    /// The record.
    pub id: RecordId,
}

impl Place {
    /// Returns where a log begins in the order of places.
    pub const fn first_of(log: LogId) -> Self {
        Self { log, seq: 0, id: RecordId([0; 32]) }
    }

    /// Returns where it ends.
    pub const fn last_of(log: LogId) -> Self {
        Self { log, seq: MAX_LOG_LEN - 1, id: RecordId([0xff; 32]) }
    }

    /// Returns where the records of an author end: whoever asks for what comes after it is told of other authors.
    pub const fn last_by(author: AuthorId) -> Self {
        Self::last_of(LogId::last_of(author))
    }
}

/// Bytes of a record without its body.
pub const BARE_LEN: usize = HEADER_LEN + SIGNATURE_LEN;

/// A record: header, signature and body, exactly as received. Holding one means that its bytes are well formed; that
/// its signature is good is known only after [`Record::verify`]. Clones share its bytes, and its body once that was read.
///
/// A *bare* record has lost its body ([`crate::retention`]): what it said is not known, but which record it is.
#[derive(Clone)]
pub struct Record {
    parts: Arc<Parts>,
}

struct Parts {
    id: RecordId,
    header: Header,
    signature: [u8; SIGNATURE_LEN],
    /// None if the record is bare.
    body: Option<Vec<u8>>,
    /// What the body says. Reading it checks points on curves, and everybody who has the record asks.
    decoded: OnceLock<Result<Arc<Body>, RecordError>>,
}

impl Record {
    /// Signs a body into a record. `sign` gets the 32 bytes of the id under its domain and returns the signature.
    ///
    /// # Errors
    /// When the body is too long.
    pub fn sign(
        header: Header,
        body: Vec<u8>,
        sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_LEN],
    ) -> Result<Self, RecordError> {
        let header = header.of_body(&body)?;
        let id = header.id();
        Ok(Self::new(id, header, sign(&signed_bytes(&id)), Some(body)))
    }

    /// Puts a record together of what a store has kept of it: the length and hash of the body are computed, and so is the
    /// id, which tells whether it is the record that it should be.
    ///
    /// # Errors
    /// When the body is too long.
    pub fn assemble(header: Header, signature: [u8; SIGNATURE_LEN], body: Vec<u8>) -> Result<Self, RecordError> {
        let header = header.of_body(&body)?;
        Ok(Self::new(header.id(), header, signature, Some(body)))
    }

    /// Puts a bare record together of what a store has kept of it.
    ///
    /// # Errors
    /// When a record of its kind or length is never bare.
    pub fn assemble_bare(header: Header, signature: [u8; SIGNATURE_LEN]) -> Result<Self, RecordError> {
        if !retention::may_be_bare(&header) {
            return Err(RecordError::NeverBare { kind: header.kind, body_len: header.body_len.into() });
        }
        Ok(Self::new(header.id(), header, signature, None))
    }

    fn new(id: RecordId, header: Header, signature: [u8; SIGNATURE_LEN], body: Option<Vec<u8>>) -> Self {
        Self { parts: Arc::new(Parts { id, header, signature, body, decoded: OnceLock::new() }) }
    }

    /// Reads a record with its body. Bytes that are accepted here encode to themselves again.
    ///
    /// # Errors
    /// When a byte is missing, too many or not as it must be. Says nothing about the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD_LEN {
            return Err(RecordError::TooLong(bytes.len()));
        }
        let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(RecordError::Truncated)?;
        let (signature, body) = rest.split_first_chunk::<SIGNATURE_LEN>().ok_or(RecordError::Truncated)?;
        let header = Header::decode(header)?;
        if usize::from(header.body_len) != body.len() {
            return Err(RecordError::BodyLength { stated: header.body_len.into(), found: body.len() });
        }
        if header.body_hash != body_hash(body) {
            return Err(RecordError::BodyHash);
        }
        Ok(Self::new(header.id(), header, *signature, Some(body.to_vec())))
    }

    /// Reads a record that may be bare, as peers and stores have it.
    ///
    /// # Errors
    /// As [`Record::decode`], and when a record of its kind or length is never bare.
    pub fn decode_any(bytes: &[u8]) -> Result<Self, RecordError> {
        let Some((header, signature)) = bytes.split_first_chunk::<HEADER_LEN>() else { return Self::decode(bytes) };
        let Ok(signature) = <&[u8; SIGNATURE_LEN]>::try_from(signature) else { return Self::decode(bytes) };
        match Header::decode(header)? {
            Header { body_len: 0, .. } => Self::decode(bytes),
            header => Self::assemble_bare(header, *signature),
        }
    }

    /// Tells whether the body is not here.
    pub fn is_bare(&self) -> bool {
        self.parts.body.is_none()
    }

    /// Returns the record without its body, if a record of its kind and length may be bare.
    pub fn bared(&self) -> Option<Self> {
        Self::assemble_bare(*self.header(), *self.signature()).ok()
    }

    /// Returns the record with its body, which must be the very one that its author signed, and valid.
    ///
    /// # Errors
    /// When it is not.
    pub fn with_body(&self, body: Vec<u8>) -> Result<Self, RecordError> {
        let header = self.header();
        if usize::from(header.body_len) != body.len() {
            return Err(RecordError::BodyLength { stated: header.body_len.into(), found: body.len() });
        }
        if header.body_hash != body_hash(&body) {
            return Err(RecordError::BodyHash);
        }
        let whole = Self::new(self.id(), *header, *self.signature(), Some(body));
        match whole.decoded() {
            Ok(_) => Ok(whole),
            Err(error) => Err(error.clone()),
        }
    }

    /// Returns the record's bytes; of a bare record those that are left.
    pub fn encode(&self) -> Vec<u8> {
        [self.header().encode().as_slice(), self.signature(), self.body()].concat()
    }

    /// Returns the id.
    pub fn id(&self) -> RecordId {
        self.parts.id
    }

    /// Returns the header.
    pub fn header(&self) -> &Header {
        &self.parts.header
    }

    /// Returns the author.
    pub fn author(&self) -> AuthorId {
        self.parts.header.log.author
    }

    /// Returns the signature.
    pub fn signature(&self) -> &[u8; SIGNATURE_LEN] {
        &self.parts.signature
    }

    /// Returns what the body says; see [`Body::decode`], which this does once.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a valid body, or the record is bare.
    pub fn decoded(&self) -> Result<&Arc<Body>, &RecordError> {
        self.parts.decoded.get_or_init(|| Body::decode_anew(self).map(Arc::new)).as_ref()
    }

    /// Returns the body's bytes; none if the record is bare.
    pub fn body(&self) -> &[u8] {
        self.parts.body.as_deref().unwrap_or_default()
    }

    /// Returns where the record stands.
    pub fn place(&self) -> Place {
        Place { log: self.parts.header.log, seq: self.parts.header.seq, id: self.parts.id }
    }

    /// Tells whether the record has a kind that this code does not know, and says that one must.
    pub fn is_critical(&self) -> bool {
        matches!(self.parts.header.kind, Kind::Unknown(_)) && self.parts.header.flags & FLAG_CRITICAL != 0
    }

    /// Returns the head of a log that ends with this record.
    pub fn as_head(&self) -> Head {
        let Header { log, seq, time, .. } = self.parts.header;
        Head { log, len: seq.saturating_add(1), id: self.parts.id, time, frozen: None }
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        let key = |record: &Self| (record.parts.header, record.parts.signature);
        key(self) == key(other) && self.parts.body == other.parts.body
    }
}

impl Eq for Record {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { log, seq, kind, .. } = self.header();
        write!(f, "Record({} {kind:?} by {}/{}/{seq})", self.id().short(), log.author.short(), log.epoch)
    }
}

/// Returns what an author signs for a record with this id.
pub fn signed_bytes(id: &RecordId) -> Vec<u8> {
    [b"exchange/sig/v1".as_slice(), id.as_bytes()].concat()
}

/// Returns the hash of a body, as it stands in the header.
pub fn body_hash(body: &[u8]) -> [u8; 32] {
    tagged("exchange/body/v1", &[body])
}

/// A record that breaks a rule by itself: whoever sent it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Fewer bytes than header and signature.
    #[error("record is truncated")]
    Truncated,
    /// More bytes than a record may have.
    #[error("record of {0} bytes is too long: at most {MAX_RECORD_LEN}")]
    TooLong(usize),
    /// The body has more bytes than a body may have.
    #[error("record body of {0} bytes is too long: at most {MAX_BODY_LEN}")]
    BodyTooLong(usize),
    /// A version that this code does not know.
    #[error("record version {0} is unknown")]
    UnknownVersion(u8),
    /// A flag that this code does not know.
    #[error("record flags {0:#04x} are unknown")]
    UnknownFlags(u8),
    /// The header's length of the body is not the body's.
    #[error("record states a body of {stated} bytes but has {found}")]
    BodyLength {
        /// As the header says.
        stated: usize,
        /// As it is.
        found: usize,
    },
    /// The header's hash of the body is not the body's.
    #[error("record body does not match its hash")]
    BodyHash,
    /// The position is beyond the end of the longest log.
    #[error("record at seq {seq} is beyond the {MAX_LOG_LEN} records that a log may have")]
    LogTooLong {
        /// The position.
        seq: u64,
    },
    /// Backlink or ticket do not fit the position.
    #[error("record at seq {seq} has a backlink or ticket that does not fit its position")]
    Misplaced {
        /// The position.
        seq: u64,
    },
    /// The author is no usable ed25519 key.
    #[error("record author is not a usable ed25519 key")]
    Author,
    /// The signature is not the author's over this header.
    #[error("record signature is not its author's")]
    Signature,
    /// The first record of a log has no valid proof of work.
    #[error("record opens a log without a valid admission ticket")]
    Admission,
    /// The body does not decode as its kind, or not uniquely.
    #[error("record body is not a valid {kind:?}: {reason}")]
    Body {
        /// The kind.
        kind: Kind,
        /// What is wrong.
        reason: String,
    },
    /// The record is of another network.
    #[error("record is of another network")]
    Network,
    /// What the record says is not known here.
    #[error("record came without its body, or the body is not kept here any more")]
    Bare,
    /// It came without its body although everybody keeps that for good.
    #[error("record of kind {kind:?} with a body of {body_len} bytes is never without it")]
    NeverBare {
        /// The kind.
        kind: Kind,
        /// As the header says.
        body_len: usize,
    },
    /// It came without its body although everybody still keeps that.
    #[error("record came without its body and is not old enough for that")]
    BareTooYoung,
}
