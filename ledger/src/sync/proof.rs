//! The proof of a fork, as it travels: two records that one author signed for one place of a log, one after the other.

use crate::record::{HEADER_LEN, Header, LogId, MAX_RECORD_LEN, Record, SIGNATURE_LEN};

/// The longest proof.
pub const MAX_PROOF_LEN: usize = 2 * MAX_RECORD_LEN;

/// Two records for one place of a log. Whether they are good is seen when the ledger lets them in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The log.
    pub log: LogId,
    /// The records as they were signed.
    pub records: [Vec<u8>; 2],
}

impl Proof {
    /// Returns the proof that two records are (see [`Ledger::fork_proof`](crate::ledger::Ledger::fork_proof)).
    pub fn of([first, second]: &[Record; 2]) -> Self {
        Self { log: first.header().log, records: [first.encode(), second.encode()] }
    }

    /// Returns the bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.records.concat()
    }

    /// Reads a proof. Nothing if the bytes are not those of two records that stand at one place and are not the same: no
    /// honest node sends that.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = split(bytes)?;
        let (second, rest) = split(rest)?;
        let [one, other] = [first, second].map(|record| record.first_chunk().map(Header::decode));
        let (one, other) = (one?.ok()?, other?.ok()?);
        let forks = one != other && (one.network, one.log, one.seq) == (other.network, other.log, other.seq);
        (forks && rest.is_empty()).then(|| Self { log: one.log, records: [first.to_vec(), second.to_vec()] })
    }
}

/// Splits the first record off, by the length that its header names.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = Header::decode(bytes.first_chunk::<HEADER_LEN>()?).ok()?;
    bytes.split_at_checked(HEADER_LEN + SIGNATURE_LEN + usize::from(header.body_len))
}
