//! What two nodes say to each other about their ledgers: one request, one answer, each a bounded borsh value.
//!
//! Everything here is hostile until [`Request::check`] or [`Answer::check`] has passed.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};

use super::sketch::{Cell, Item, MAX_CELLS, Salt};
use crate::ids::{RecordId, StateHash};
use crate::record::{Head, LogId, MAX_BODY_LEN, MAX_LOG_LEN, MAX_RECORD_LEN};

/// Heads in one answer, at most 118 bytes each.
pub const MAX_HEADS: usize = 1000;
/// Logs in one request for records, 44 bytes each.
pub const MAX_WANTS: usize = 256;
/// Items in one request, at most 18 bytes each: to find the log of one reads some 64 heads.
pub const MAX_ITEMS: usize = 500;
/// Places in one request for ids, 44 bytes each.
pub const MAX_PLACES: usize = 256;
/// Bodies in one request, 32 bytes each.
pub const MAX_BODIES: usize = 256;
/// Symbols in one answer, at most 21 bytes each.
pub const MAX_SYMBOLS: usize = 2048;
/// Bytes of records in one answer: a second at 2 Mbit/s, so that slow links stay within their patience.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Heads of a node that a sketch may be of: what the counts of its cells are expected from.
pub const MAX_SKETCHED: u64 = 1 << 32;

/// A request to a peer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// The hash of my state is this. Is it yours? If not, the first symbols of your sketch, please.
    Compare {
        /// The asker's state.
        digest: StateHash,
        /// How many symbols.
        symbols: u16,
    },
    /// Symbols of the sketch with this salt from a place on.
    Symbols {
        /// The salt.
        salt: Salt,
        /// The first cell.
        from: u16,
        /// How many.
        count: u16,
    },
    /// Records of the logs that these items of a sketch stand for.
    Items {
        /// The sketch's salt.
        salt: Salt,
        /// Which logs, and from where on.
        wants: Vec<ItemWant>,
    },
    /// Which heads do you have after this log?
    Heads {
        /// The log; from the first on if there is none.
        after: Option<LogId>,
        /// How many.
        limit: u16,
    },
    /// Records of the chains of these logs, as far as one answer goes.
    Ranges(Vec<Want>),
    /// The frozen records of these logs, as far as one answer goes.
    Frozen(Vec<LogId>),
    /// The ids of the records at these places of your chains.
    Ids(Vec<Want>),
    /// I have compared and fetched, and now the hash of my state is this: whoever is told another one should compare too.
    Finished {
        /// The asker's state.
        digest: StateHash,
    },
    /// The bodies of these records, as far as one answer goes.
    Bodies(Vec<RecordId>),
    /// Which heads of logs that have forked do you have after this log?
    Forks {
        /// The log; from the first on if there is none.
        after: Option<LogId>,
        /// How many.
        limit: u16,
    },
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Answer {
    /// The states are the same.
    Same,
    /// They differ.
    Differs(Option<Opening>),
    /// The symbols asked for.
    Symbols(Vec<Symbol>),
    /// The sketch with this salt is gone.
    Stale,
    /// For each of the first items what it stands for; items that found no room are left out.
    Items(Vec<Found>),
    /// Heads in the order of their logs, all or of those that have forked; fewer than asked for means that there are no
    /// more.
    Heads(Vec<Head>),
    /// For each of the first logs its records; logs that found no room are left out.
    Records(Vec<Vec<Vec<u8>>>),
    /// For each place the id there, if the chain is so long.
    Ids(Vec<Option<RecordId>>),
    /// For each of the first records its body, if that is here; records that found no room are left out.
    Bodies(Vec<Option<Vec<u8>>>),
}

/// The beginning of a sketch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Opening {
    /// What keys its items.
    pub salt: Salt,
    /// How many heads it is of.
    pub heads: u64,
    /// The first cells, as many as were asked for.
    pub symbols: Vec<Symbol>,
}

/// A wish for what a log has from a place on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Want {
    /// The log.
    pub log: LogId,
    /// The place.
    pub from: u64,
}

/// A wish for what an item of a sketch stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemWant {
    /// The item.
    pub item: Item,
    /// The first record that is missing; [`u64::MAX`] if only the head is wanted.
    pub from: u64,
}

/// What an item of a sketch stands for.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Found {
    /// Nothing any more.
    Gone,
    /// This head: there is no record to send from the place on, or the log has forked.
    Head(Head),
    /// Records from the place on.
    Records {
        /// How long the log is.
        len: u64,
        /// The records.
        records: Vec<Vec<u8>>,
    },
}

/// A cell of a sketch as it travels: its sum, its check in three bytes, and how much its count differs from the
/// `2 heads / (place + 2)` that are expected, as a variable-length integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    sum: u64,
    check: u32,
    surplus: i64,
}

impl Symbol {
    /// Returns a cell at a place of a sketch of so many heads as a symbol.
    pub fn of(cell: &Cell, place: usize, heads: u64) -> Self {
        Self { sum: cell.sum, check: cell.check, surplus: cell.count.wrapping_sub(expected(place, heads)) }
    }

    /// Returns the cell.
    pub fn cell(&self, place: usize, heads: u64) -> Cell {
        Cell { sum: self.sum, check: self.check, count: self.surplus.wrapping_add(expected(place, heads)) }
    }
}

fn expected(place: usize, heads: u64) -> i64 {
    let places = u64::try_from(place).unwrap_or(u64::MAX).saturating_add(2);
    i64::try_from(heads.min(MAX_SKETCHED) * 2 / places).unwrap_or(i64::MAX)
}

/// A message that no honest peer sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Too many items of a list.
    #[error("more {0} in one message than allowed")]
    TooMany(&'static str),
    /// A number beyond its limit.
    #[error("{0} beyond what there can be")]
    TooLarge(&'static str),
    /// An item of a list that stands there before.
    #[error("the same {0} twice in one message")]
    Repeated(&'static str),
}

impl Request {
    /// Checks the bounds that the encoding alone does not keep.
    ///
    /// # Errors
    /// When one is exceeded.
    pub fn check(&self) -> Result<(), Malformed> {
        match self {
            Self::Compare { symbols, .. } => at_most(usize::from(*symbols), MAX_SYMBOLS, "symbols"),
            Self::Symbols { from, count, .. } => {
                at_most(usize::from(*count), MAX_SYMBOLS, "symbols")?;
                at_most(usize::from(*from) + usize::from(*count), MAX_CELLS, "cells")
            }
            Self::Items { wants, .. } => {
                at_most(wants.len(), MAX_ITEMS, "items")?;
                // To be looked for again and again would cost the asker next to nothing.
                let items: BTreeSet<Item> = wants.iter().map(|want| want.item).collect();
                if items.len() == wants.len() { Ok(()) } else { Err(Malformed::Repeated("item")) }
            }
            Self::Heads { limit, .. } | Self::Forks { limit, .. } => at_most(usize::from(*limit), MAX_HEADS, "heads"),
            Self::Ranges(wants) => at_most(wants.len(), MAX_WANTS, "logs"),
            Self::Frozen(logs) => at_most(logs.len(), MAX_WANTS, "logs"),
            Self::Ids(places) => at_most(places.len(), MAX_PLACES, "places"),
            Self::Finished { .. } => Ok(()),
            Self::Bodies(ids) => at_most(ids.len(), MAX_BODIES, "records"),
        }
    }
}

impl Request {
    /// Returns about how many bytes could be served in the time that it takes to look up what the request names, for those
    /// who share out what they serve: a byte stands for some 16 ns, at which half a core serves 32 MiB a second.
    pub fn work(&self) -> usize {
        match self {
            Self::Compare { .. }
            | Self::Symbols { .. }
            | Self::Heads { .. }
            | Self::Finished { .. }
            | Self::Forks { .. } => 0,
            Self::Items { wants, .. } => wants.len() * ITEM_WORK,
            Self::Ranges(wants) | Self::Ids(wants) => wants.len() * LOOK_UP_WORK,
            Self::Frozen(logs) => logs.len() * LOOK_UP_WORK,
            Self::Bodies(ids) => ids.len() * LOOK_UP_WORK,
        }
    }
}

/// What it takes to find the log of an item: some 64 heads are read, and hashed until it is found.
const ITEM_WORK: usize = 4096;
/// What it takes to find a log, a place or a record by its key.
const LOOK_UP_WORK: usize = 256;

impl Answer {
    /// Checks the bounds that the encoding alone does not keep.
    ///
    /// # Errors
    /// When one is exceeded.
    pub fn check(&self) -> Result<(), Malformed> {
        match self {
            Self::Same | Self::Stale | Self::Differs(None) => Ok(()),
            Self::Differs(Some(opening)) => {
                at_most(opening.symbols.len(), MAX_SYMBOLS, "symbols")?;
                if opening.heads > MAX_SKETCHED { Err(Malformed::TooLarge("a number of heads")) } else { Ok(()) }
            }
            Self::Symbols(symbols) => at_most(symbols.len(), MAX_SYMBOLS, "symbols"),
            Self::Items(found) => {
                at_most(found.len(), MAX_ITEMS, "items")?;
                found.iter().try_for_each(|found| match found {
                    Found::Gone => Ok(()),
                    Found::Head(head) => check_head(head),
                    Found::Records { len, records } => {
                        check_len(*len)?;
                        check_records(records)
                    }
                })
            }
            Self::Heads(heads) => {
                at_most(heads.len(), MAX_HEADS, "heads")?;
                heads.iter().try_for_each(check_head)
            }
            Self::Records(logs) => {
                at_most(logs.len(), MAX_WANTS, "logs")?;
                logs.iter().try_for_each(|records| check_records(records))
            }
            Self::Ids(ids) => at_most(ids.len(), MAX_PLACES, "places"),
            Self::Bodies(bodies) => {
                at_most(bodies.len(), MAX_BODIES, "records")?;
                bodies.iter().flatten().try_for_each(|body| at_most(body.len(), MAX_BODY_LEN, "bytes of a body"))
            }
        }
    }
}

impl Answer {
    /// Returns about how many bytes the answer takes, for those who share out what they serve.
    pub fn size(&self) -> usize {
        let records = |records: &[Vec<u8>]| records.iter().map(Vec::len).sum::<usize>();
        let payload = match self {
            Self::Same | Self::Stale | Self::Differs(None) => 0,
            Self::Differs(Some(Opening { symbols, .. })) | Self::Symbols(symbols) => symbols.len() * USUAL_SYMBOL_LEN,
            Self::Items(found) => found
                .iter()
                .map(|found| match found {
                    Found::Gone => 1,
                    Found::Head(_) => USUAL_HEAD_LEN,
                    Found::Records { records: kept, .. } => records(kept),
                })
                .sum(),
            Self::Heads(heads) => heads.len() * USUAL_HEAD_LEN,
            Self::Records(logs) => logs.iter().map(|log| records(log)).sum(),
            Self::Ids(ids) => ids.len() * 33,
            Self::Bodies(bodies) => bodies.len() * 5 + bodies.iter().flatten().map(Vec::len).sum::<usize>(),
        };
        payload + USUAL_FRAME_LEN
    }
}

/// Bytes of a symbol whose count is near what is expected.
const USUAL_SYMBOL_LEN: usize = 13;
/// Bytes of the head of a log that has not forked.
const USUAL_HEAD_LEN: usize = 85;
/// Bytes around an answer.
const USUAL_FRAME_LEN: usize = 64;

fn check_head(head: &Head) -> Result<(), Malformed> {
    check_len(head.len)?;
    // A chain of no records is one that forked at its first.
    if head.len == 0 && head.frozen.is_none() { Err(Malformed::TooLarge("an empty log")) } else { Ok(()) }
}

fn check_len(len: u64) -> Result<(), Malformed> {
    if len <= MAX_LOG_LEN { Ok(()) } else { Err(Malformed::TooLarge("the length of a log")) }
}

fn check_records(records: &[Vec<u8>]) -> Result<(), Malformed> {
    records.iter().try_for_each(|record| at_most(record.len(), MAX_RECORD_LEN, "bytes of a record"))
}

fn at_most(count: usize, max: usize, what: &'static str) -> Result<(), Malformed> {
    if count <= max { Ok(()) } else { Err(Malformed::TooMany(what)) }
}

impl BorshSerialize for Symbol {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(&self.sum.to_le_bytes())?;
        let [a, b, c, _] = self.check.to_le_bytes();
        writer.write_all(&[a, b, c])?;
        // Zigzag: small numbers of either sign are short.
        let zigzag = (self.surplus << 1) ^ (self.surplus >> 63);
        write_varint(u64::from_le_bytes(zigzag.to_le_bytes()), writer)
    }
}

impl BorshDeserialize for Symbol {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let sum = u64::deserialize_reader(reader)?;
        let [a, b, c] = <[u8; 3]>::deserialize_reader(reader)?;
        let zigzag = i64::from_le_bytes(read_varint(reader)?.to_le_bytes());
        let surplus = ((zigzag >> 1) & i64::MAX) ^ -(zigzag & 1);
        Ok(Self { sum, check: u32::from_le_bytes([a, b, c, 0]), surplus })
    }
}

impl BorshSerialize for ItemWant {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(&self.item.0.to_le_bytes())?;
        // The head alone is asked for by 0, so that it costs one byte.
        write_varint(self.from.wrapping_add(1), writer)
    }
}

impl BorshDeserialize for ItemWant {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let item = Item(u64::deserialize_reader(reader)?);
        Ok(Self { item, from: read_varint(reader)?.wrapping_sub(1) })
    }
}

/// Bytes of the longest variable-length integer.
const MAX_VARINT_LEN: u32 = 10;

/// Writes seven bits a byte, the lowest first; all bytes but the last have the highest bit.
fn write_varint<W: Write>(mut value: u64, writer: &mut W) -> std::io::Result<()> {
    while value > 0x7f {
        writer.write_all(&[(value & 0x7f) as u8 | 0x80])?; // the mask leaves seven bits
        value >>= 7;
    }
    writer.write_all(&[(value & 0x7f) as u8])
}

/// Reads what [`write_varint`] writes, and nothing else.
fn read_varint<R: Read>(reader: &mut R) -> std::io::Result<u64> {
    let refused = || Error::new(ErrorKind::InvalidData, "not the one encoding of an integer");
    let mut value = 0_u64;
    for place in 0..MAX_VARINT_LEN {
        let byte = u8::deserialize_reader(reader)?;
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * place);
        if shifted >> (7 * place) != bits || (byte == 0 && place > 0) {
            return Err(refused());
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(refused())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<T: BorshDeserialize>(bytes: &[u8]) -> std::io::Result<T> {
        T::try_from_slice(bytes)
    }

    proptest! {
        #[test]
        fn symbols_and_items_survive_the_wire(sum: u64, check in 0_u32..1 << 24, surplus: i64, from: u64) {
            let symbol = Symbol { sum, check, surplus };
            prop_assert_eq!(decode::<Symbol>(&borsh::to_vec(&symbol).unwrap()).unwrap(), symbol);
            let want = ItemWant { item: Item(sum), from };
            prop_assert_eq!(decode::<ItemWant>(&borsh::to_vec(&want).unwrap()).unwrap(), want);
        }

        #[test]
        fn a_symbol_is_the_cell_again(sum: u64, check in 0_u32..1 << 24, count: i64, place in 0..MAX_CELLS, heads in 0..=MAX_SKETCHED) {
            let cell = Cell { sum, check, count };
            prop_assert_eq!(Symbol::of(&cell, place, heads).cell(place, heads), cell);
        }

        #[test]
        fn what_decodes_encodes_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(request) = decode::<Request>(&bytes) {
                prop_assert_eq!(borsh::to_vec(&request).unwrap(), bytes.clone());
            }
            if let Ok(answer) = decode::<Answer>(&bytes) {
                prop_assert_eq!(borsh::to_vec(&answer).unwrap(), bytes.clone());
            }
            if let Ok(symbols) = decode::<Symbol>(&bytes) {
                prop_assert_eq!(borsh::to_vec(&symbols).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn no_item_is_asked_for_twice_at_once() {
        let items = |items: &[u64]| {
            let wants = items.iter().map(|item| ItemWant { item: Item(*item), from: *item }).collect();
            Request::Items { salt: Salt([0; 16]), wants }.check()
        };
        assert_eq!((items(&[]), items(&[3, 1, 2])), (Ok(()), Ok(())));
        assert_eq!(items(&[3, 1, 3]), Err(Malformed::Repeated("item")));
        let most: Vec<u64> = (0..=MAX_ITEMS as u64).collect(); // usize is at most 64 bits
        assert_eq!((items(&most[1..]), items(&most)), (Ok(()), Err(Malformed::TooMany("items"))));
    }

    #[test]
    fn integers_have_one_encoding() {
        for (bytes, value) in [(&[0_u8][..], Some(0)), (&[0x80, 1], Some(128)), (&[0x80, 0], None), (&[0xff; 10], None)]
        {
            assert_eq!(read_varint(&mut &bytes[..]).ok(), value, "{bytes:?}");
        }
        let most = [&[0xff_u8; 9][..], &[1]].concat();
        assert_eq!(read_varint(&mut &most[..]).ok(), Some(u64::MAX));
    }
}
