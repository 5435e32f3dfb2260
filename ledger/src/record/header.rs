//! The fixed header of a record and its bytes.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::hash::tagged;
use crate::ids::{AuthorId, RecordId};
use crate::record::{Kind, MAX_BODY_LEN, RecordError, body_hash};

/// Bytes of an encoded header.
pub const HEADER_LEN: usize = 134;
/// The version of records that this code writes and reads.
pub const VERSION: u8 = 1;
/// Flag: at a node that does not know this record's kind, what follows in its log gives the author no rights.
pub const FLAG_CRITICAL: u8 = 1;
/// The most records of a log, after which its author opens another: what one ticket of work can make others keep, and how
/// often the first place of a fork can fall.
pub const MAX_LOG_LEN: u64 = 65_536;

/// One log of an author. A node that cannot prove that it holds the head of its log opens a new one, so that a restored
/// backup never signs a second history.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
pub struct LogId {
    /// The author.
    pub author: AuthorId,
    /// The Unix time at which the log was opened, as its author says: it tells logs apart and orders them, no more.
    pub epoch: u32,
}

impl LogId {
    /// Returns where the logs of an author begin in the order of logs.
    pub const fn first_of(author: AuthorId) -> Self {
        Self { author, epoch: 0 }
    }

    /// Returns where they end.
    pub const fn last_of(author: AuthorId) -> Self {
        Self { author, epoch: u32::MAX }
    }
}

/// What every record states about itself, in this order on the wire; integers are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bitcoin's magic bytes of the network whose coins are traded.
    pub network: [u8; 4],
    /// The author and epoch.
    pub log: LogId,
    /// The position in the log, from 0.
    pub seq: u64,
    /// The id of the record before it in the log; zeros at `seq` 0.
    pub backlink: RecordId,
    /// The author's clock, seconds since the Unix epoch; not before the record at `backlink`.
    pub time: u64,
    /// What the body is.
    pub kind: Kind,
    /// [`FLAG_CRITICAL`] or nothing.
    pub flags: u8,
    /// Bytes of the body.
    pub body_len: u16,
    /// SHA-256 of the body under `exchange/body/v1`.
    pub body_hash: [u8; 32],
    /// The admission ticket's nonce at `seq` 0; zero elsewhere.
    pub admission: u64,
}

impl Header {
    /// Returns the header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let parts: [&[u8]; 12] = [
            &[VERSION],
            &self.network,
            self.log.author.as_bytes(),
            &self.log.epoch.to_le_bytes(),
            &self.seq.to_le_bytes(),
            self.backlink.as_bytes(),
            &self.time.to_le_bytes(),
            &self.kind.code().to_le_bytes(),
            &[self.flags],
            &self.body_len.to_le_bytes(),
            &self.body_hash,
            &self.admission.to_le_bytes(),
        ];
        let mut bytes = [0; HEADER_LEN];
        let mut rest = bytes.as_mut_slice();
        for part in parts {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        debug_assert!(rest.is_empty(), "the parts fill the header");
        bytes
    }

    /// Returns the author that an encoded record names, without a look at the rest of it.
    pub fn author_in(record: &[u8]) -> Option<AuthorId> {
        record.get(5..37)?.try_into().ok().map(AuthorId)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// When the version or a flag is unknown, the body length or the seq exceeds its limit, or the first record of a log
    /// has a backlink, or a later one none.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, RecordError> {
        let mut rest = bytes.as_slice();
        let [version] = take(&mut rest);
        if version != VERSION {
            return Err(RecordError::UnknownVersion(version));
        }
        let header = Self {
            network: take(&mut rest),
            log: LogId { author: AuthorId(take(&mut rest)), epoch: u32::from_le_bytes(take(&mut rest)) },
            seq: u64::from_le_bytes(take(&mut rest)),
            backlink: RecordId(take(&mut rest)),
            time: u64::from_le_bytes(take(&mut rest)),
            kind: Kind::from_code(u16::from_le_bytes(take(&mut rest))),
            flags: u8::from_le_bytes(take(&mut rest)),
            body_len: u16::from_le_bytes(take(&mut rest)),
            body_hash: take(&mut rest),
            admission: u64::from_le_bytes(take(&mut rest)),
        };
        if header.flags & !FLAG_CRITICAL != 0 {
            return Err(RecordError::UnknownFlags(header.flags));
        }
        if usize::from(header.body_len) > MAX_BODY_LEN {
            return Err(RecordError::BodyTooLong(header.body_len.into()));
        }
        if header.seq >= MAX_LOG_LEN {
            return Err(RecordError::LogTooLong { seq: header.seq });
        }
        let first = header.seq == 0;
        if first != (header.backlink == RecordId([0; 32])) || (!first && header.admission != 0) {
            return Err(RecordError::Misplaced { seq: header.seq });
        }
        Ok(header)
    }

    /// Returns the header with the length and the hash of a body.
    ///
    /// # Errors
    /// When the body is too long.
    pub(super) fn of_body(mut self, body: &[u8]) -> Result<Self, RecordError> {
        if body.len() > MAX_BODY_LEN {
            return Err(RecordError::BodyTooLong(body.len()));
        }
        self.body_len = u16::try_from(body.len()).expect("MAX_BODY_LEN is below 65536");
        self.body_hash = body_hash(body);
        Ok(self)
    }

    /// Returns the record's id.
    pub fn id(&self) -> RecordId {
        RecordId(tagged("exchange/record/v1", &[&self.encode()]))
    }
}

/// Takes the first `N` bytes off a slice that is known to be long enough.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, tail) = bytes.split_first_chunk().expect("the fields' sizes add up to HEADER_LEN");
    *bytes = tail;
    *head
}
