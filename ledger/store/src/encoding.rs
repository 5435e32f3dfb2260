//! Values as bytes. Persisted types are apart from domain types, and each value begins with its version.

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::ids::{AuthorId, FrozenHash, RecordId};
use exchange_ledger::record::{Head, LogId};

/// A type that is kept on disk: a version byte, then borsh.
pub trait Versioned: BorshSerialize + BorshDeserialize {
    /// The version that this code writes.
    const VERSION: u8;

    /// Reads a value that an earlier version of this program wrote; `None` for a version that never was, or bytes that
    /// are not such a value.
    fn from_earlier(version: u8, bytes: &[u8]) -> Option<Self> {
        let _ = (version, bytes);
        None
    }
}

/// Why bytes are not a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// Of a version above the one that this code writes.
    Newer(u8),
    /// Not what was written.
    Malformed,
}

pub(crate) fn encode<V: Versioned>(value: &V) -> Vec<u8> {
    let mut bytes = vec![V::VERSION];
    value.serialize(&mut bytes).expect("writing to memory does not fail");
    bytes
}

pub(crate) fn decode<V: Versioned>(bytes: &[u8]) -> Result<V, Undecodable> {
    let (version, body) = bytes.split_first().ok_or(Undecodable::Malformed)?;
    if *version > V::VERSION {
        return Err(Undecodable::Newer(*version));
    }
    let value = if *version == V::VERSION { borsh::from_slice(body).ok() } else { V::from_earlier(*version, body) };
    value.ok_or(Undecodable::Malformed)
}

/// The end of a log, whose name is in the key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct HeadRow {
    /// The log's number in this store.
    pub number: u32,
    /// The network of its first record.
    pub network: [u8; 4],
    pub len: u64,
    pub id: RecordId,
    pub time: u64,
    /// The first record of its chain that this code has to know and does not.
    pub critical: Option<u64>,
    pub frozen: Option<FrozenHash>,
}

impl Versioned for HeadRow {
    const VERSION: u8 = 1;
}

impl HeadRow {
    /// Returns a log without records.
    pub const fn empty(number: u32, network: [u8; 4]) -> Self {
        Self { number, network, len: 0, id: RecordId([0; 32]), time: 0, critical: None, frozen: None }
    }

    pub const fn head(&self, log: LogId) -> Head {
        Head { log, len: self.len, id: self.id, time: self.time, frozen: self.frozen }
    }

    pub const fn name(&self, log: LogId) -> NameRow {
        NameRow { author: log.author, epoch: log.epoch, network: self.network }
    }
}

/// Which log has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct NameRow {
    author: AuthorId,
    epoch: u32,
    /// The network of its first record, which is that of all.
    pub network: [u8; 4],
}

impl Versioned for NameRow {
    const VERSION: u8 = 1;
}

impl NameRow {
    pub const fn log(&self) -> LogId {
        LogId { author: self.author, epoch: self.epoch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, BorshSerialize, BorshDeserialize)]
    struct Row {
        amount: u64,
        note: String,
    }

    impl Versioned for Row {
        const VERSION: u8 = 2;

        fn from_earlier(version: u8, bytes: &[u8]) -> Option<Self> {
            (version == 1).then(|| borsh::from_slice(bytes).ok().map(|amount| Self { amount, note: String::new() }))?
        }
    }

    #[test]
    fn rows_of_earlier_versions_are_read_and_of_later_ones_refused() {
        let row = Row { amount: 7, note: "n".into() };
        assert_eq!(decode(&encode(&row)), Ok(row));
        let earlier = [[1].as_slice(), &7_u64.to_le_bytes()].concat();
        assert_eq!(decode(&earlier), Ok(Row { amount: 7, note: String::new() }));
        assert_eq!(decode::<Row>(&[3, 0]), Err(Undecodable::Newer(3)));
        for bad in [&[][..], &[0, 1], &[2], &[2, 1], &[1, 1]] {
            assert_eq!(decode::<Row>(bad), Err(Undecodable::Malformed), "{bad:?}");
        }
    }
}
