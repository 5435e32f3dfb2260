//! A record as it is kept: without what follows from where it stands, and from its own bytes.
//!
//! ```text
//! form and flags · kind · time · signature · backlink, or at seq 0 the ticket · body
//! ```
//! A bare record has the length and the hash of its body in the place of it. Author, epoch, seq and network come from the log, the length and hash of the body from the body, and the id from all of
//! it. What comes out is the record that went in, byte for byte: its id is the hash of its header. A record that cannot be
//! told this way is kept as its author encoded it.

use exchange_ledger::ids::RecordId;
use exchange_ledger::record::{Header, Kind, Record, SIGNATURE_LEN};

use crate::encoding::NameRow;

/// In the upper half of the first byte: how the rest is to be read. The lower half has the flags of a [`SHORT`] or [`BARE`] row. A form
/// is never given another meaning.
const SHORT: u8 = 0;
/// The record's own bytes follow.
const VERBATIM: u8 = 1;
/// As a [`SHORT`] row, of a record that has lost its body.
const BARE: u8 = 2;
/// The flags that fit into the first byte.
const FLAGS: u8 = 0x0f;

/// Returns the row of a record of a log.
pub(crate) fn encode(record: &Record, log: &NameRow) -> Vec<u8> {
    let header = record.header();
    let first = header.seq == 0;
    let is_short = header.log == log.log()
        && header.network == log.network
        && header.flags <= FLAGS
        && if first { header.backlink == RecordId([0; 32]) } else { header.admission == 0 };
    if !is_short {
        return [[VERBATIM << 4].as_slice(), &record.encode()].concat();
    }
    let mut row = Vec::with_capacity(1 + 3 + 10 + SIGNATURE_LEN + 32 + record.body().len());
    let form = if record.is_bare() { BARE } else { SHORT };
    row.push(form << 4 | header.flags);
    put_number(&mut row, header.kind.code().into());
    put_number(&mut row, header.time);
    row.extend_from_slice(record.signature());
    if first {
        row.extend_from_slice(&header.admission.to_le_bytes());
    } else {
        row.extend_from_slice(header.backlink.as_bytes());
    }
    if record.is_bare() {
        put_number(&mut row, header.body_len.into());
        row.extend_from_slice(&header.body_hash);
    } else {
        row.extend_from_slice(record.body());
    }
    row
}

/// Returns the record that a row of a log tells; `None` when it is malformed.
pub(crate) fn decode(row: &[u8], log: &NameRow, seq: u32) -> Option<Record> {
    let (head, mut rest) = row.split_first()?;
    match head >> 4 {
        VERBATIM if head & FLAGS == 0 => Record::decode_any(rest).ok(),
        form @ (SHORT | BARE) => {
            let kind = Kind::from_code(take_number(&mut rest)?.try_into().ok()?);
            let time = take_number(&mut rest)?;
            let signature = *take::<SIGNATURE_LEN>(&mut rest)?;
            let (backlink, admission) = if seq == 0 {
                (RecordId([0; 32]), u64::from_le_bytes(*take(&mut rest)?))
            } else {
                (RecordId(*take(&mut rest)?), 0)
            };
            // Of a whole record these two are its body's.
            let (body_len, body_hash) = match form {
                BARE => (take_number(&mut rest)?.try_into().ok()?, *take(&mut rest)?),
                _ => (0, [0; 32]),
            };
            let header = Header {
                network: log.network,
                log: log.log(),
                seq: seq.into(),
                backlink,
                time,
                kind,
                flags: head & FLAGS,
                body_len,
                body_hash,
                admission,
            };
            match form {
                BARE if rest.is_empty() => Record::assemble_bare(header, signature).ok(),
                BARE => None,
                _ => Record::assemble(header, signature, rest.to_vec()).ok(),
            }
        }
        _ => None,
    }
}

/// Returns the backlink that a row tells, of any seq but 0, without reading the rest of the record.
pub(crate) fn backlink(row: &[u8]) -> Option<RecordId> {
    let (head, mut rest) = row.split_first()?;
    match head >> 4 {
        VERBATIM => Record::decode_any(rest).ok().map(|record| record.header().backlink),
        SHORT | BARE => {
            take_number(&mut rest)?;
            take_number(&mut rest)?;
            take::<SIGNATURE_LEN>(&mut rest)?;
            take(&mut rest).map(|id| RecordId(*id))
        }
        _ => None,
    }
}

/// Appends a number, seven bits a byte, the lowest first.
fn put_number(row: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        row.push(0x80 | (number & 0x7f) as u8); // seven bits
        number >>= 7;
    }
    row.push(number as u8); // seven bits
}

fn take_number(row: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = row.split_first()?;
        *row = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a, const N: usize>(row: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, tail) = row.split_first_chunk()?;
    *row = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::AuthorId;
    use exchange_ledger::record::{FLAG_CRITICAL, LogId, MAX_BODY_LEN};
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::HeadRow;

    const NETWORK: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
    const LOG: LogId = LogId { author: AuthorId([7; 32]), epoch: 0x0102_0304 };

    fn name() -> NameRow {
        HeadRow::empty(1, NETWORK).name(LOG)
    }

    fn record(header: Header, body: Vec<u8>) -> Record {
        Record::sign(header, body, |id| [id[id.len() - 1]; 64]).unwrap()
    }

    prop_compose! {
        /// Whatever [`Record::decode`] takes, and some that only [`Record::sign`] makes.
        fn records()(
            network in prop_oneof![9 => Just(NETWORK), 1 => any::<[u8; 4]>()],
            log in prop_oneof![9 => Just(LOG), 1 => Just(LogId { epoch: 9, ..LOG })],
            seq in prop_oneof![Just(0), 1..65_536_u64],
            backlink: [u8; 32],
            time in prop_oneof![Just(0), Just(1_800_000_000), Just(u64::MAX), any::<u64>()],
            kind in prop_oneof![0..50_u16, any::<u16>()],
            flags in prop_oneof![Just(0), Just(FLAG_CRITICAL), any::<u8>()],
            admission: u64,
            strange in prop::bool::weighted(0.1),
            body in prop::collection::vec(any::<u8>(), 0..MAX_BODY_LEN),
        ) -> Record {
            let header = Header {
                network,
                log,
                seq,
                backlink: if seq == 0 && !strange { RecordId([0; 32]) } else { RecordId(backlink) },
                time,
                kind: Kind::from_code(kind),
                flags,
                body_len: 0,
                body_hash: [0; 32],
                admission: if seq == 0 || strange { admission } else { 0 },
            };
            record(header, body)
        }
    }

    proptest! {
        #[test]
        fn a_record_comes_out_as_it_went_in(record in records()) {
            let row = encode(&record, &name());
            let seq = u32::try_from(record.header().seq).unwrap();
            // A record that no peer's bytes can be is refused rather than changed.
            let expected = match Record::decode(&record.encode()) {
                Ok(record) => Some(record),
                Err(_) if row[0] >> 4 == SHORT => Some(record.clone()),
                Err(_) => None,
            };
            prop_assert_eq!(decode(&row, &name(), seq), expected.clone());
            if let (Some(expected), Some(bare)) = (&expected, record.bared()) {
                let row = encode(&bare, &name());
                prop_assert_eq!(decode(&row, &name(), seq), expected.bared());
                prop_assert!(seq == 0 || backlink(&row) == Some(bare.header().backlink));
            }
            if let (Some(expected), true) = (expected, seq > 0) {
                prop_assert_eq!(backlink(&row), Some(expected.header().backlink));
                prop_assert_eq!(expected.encode(), record.encode());
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(mut row: Vec<u8>, form in 0..4_u8, seq in 0..2_u32) {
            if let Some(first) = row.first_mut() {
                *first = form << 4 | *first & FLAGS;
            }
            if let Some(record) = decode(&row, &name(), seq) {
                prop_assert!(record.body().len() <= row.len());
            }
            backlink(&row);
        }
    }

    #[test]
    fn a_usual_record_is_shorter_than_its_bytes() {
        let header = Header {
            network: NETWORK,
            log: LOG,
            seq: 1,
            backlink: RecordId([9; 32]),
            time: 1_800_000_000,
            kind: Kind::Heartbeat,
            flags: 0,
            body_len: 0,
            body_hash: [0; 32],
            admission: 0,
        };
        let record = record(header, Vec::new());
        assert_eq!((encode(&record, &name()).len(), record.encode().len()), (103, 198));
    }
}
