//! Every key of the database. Numbers are big-endian, so that a range iterates in their order.
//!
//! A log has a number of this store's own, which keeps keys short and its records together. A record stands in a *chain*
//! or is *frozen*; of the latter there may be several at a place, so their keys end with the id.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `log_heads` | author, epoch | [`HeadRow`](crate::encoding::HeadRow), with the log's number |
//! | `log_names` | number | [`NameRow`](crate::encoding::NameRow) |
//! | `chains` | number, seq | what cannot be derived of the record ([`crate::row`]) |
//! | `frozen` | number, seq, id | likewise |
//! | `record_ids` | id | number, seq; and a byte if it is frozen |
//! | `record_kinds` | kind (of those that are listed), author, epoch, seq; and the id if it is frozen | nothing |
//! | `record_subjects` | subject, author, epoch, seq; and the id if it is frozen | id |
//! | `open_offers` | id | author, epoch |
//! | `forked` | author | nothing |
//! | `droppable` | time, number, seq, of records of chains whose bodies may be dropped | nothing |
//! | `bare` | time, number, seq, of records of chains that have none | nothing |
//! | `meta` | `schema` | u32 |
//! | `meta` | `record_count` | i64 |
//! | `private` | namespace, key of the row | version, row |

use exchange_ledger::ids::{AuthorId, ContractHash, MailboxId, RecordId, TradeId};
use exchange_ledger::record::{Kind, LogId, Place};

/// A column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Heads,
    Names,
    Chains,
    Frozen,
    Ids,
    Kinds,
    Subjects,
    OpenOffers,
    Forked,
    Droppable,
    Bare,
    Meta,
    Private,
}

impl Family {
    /// In the order of the enum.
    pub const ALL: [Self; 13] = [
        Self::Heads,
        Self::Names,
        Self::Chains,
        Self::Frozen,
        Self::Ids,
        Self::Kinds,
        Self::Subjects,
        Self::OpenOffers,
        Self::Forked,
        Self::Droppable,
        Self::Bare,
        Self::Meta,
        Self::Private,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Heads => "log_heads",
            Self::Names => "log_names",
            Self::Chains => "chains",
            Self::Frozen => "frozen",
            Self::Ids => "record_ids",
            Self::Kinds => "record_kinds",
            Self::Subjects => "record_subjects",
            Self::OpenOffers => "open_offers",
            Self::Forked => "forked",
            Self::Droppable => "droppable",
            Self::Bare => "bare",
            Self::Meta => "meta",
            Self::Private => "private",
        }
    }
}

/// In `meta`: the schema's version.
pub(crate) const SCHEMA: &[u8] = b"schema";
/// In `meta`: how many records there are.
pub(crate) const RECORD_COUNT: &[u8] = b"record_count";

/// Bytes of an author and epoch.
const LOG_LEN: usize = 36;
/// Bytes of a subject, which every range of `record_subjects` is within.
pub(crate) const SUBJECT_LEN: usize = 32;
/// Bytes of a kind, an author, an epoch and a seq.
const KIND_LEN: usize = 2 + LOG_LEN + 4;
/// Bytes of a time, the number of a log and a seq.
const AGED_LEN: usize = 8 + 4 + 4;

/// Where a record stands in this store: the log by its number, and the seq, which is below
/// [`MAX_LOG_LEN`](exchange_ledger::record::MAX_LOG_LEN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub log: u32,
    pub seq: u32,
}

impl Spot {
    /// Returns its bytes, which are the key in `chains`.
    pub fn to_bytes(self) -> [u8; 8] {
        join(&[&self.log.to_be_bytes(), &self.seq.to_be_bytes()])
    }

    pub fn from_bytes(bytes: &[u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        Self { log: u32::from_be_bytes([a, b, c, d]), seq: u32::from_be_bytes([e, f, g, h]) }
    }
}

/// Whether a record stands in the chain of its log, or is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Chain,
    Frozen,
}

/// Puts parts of fixed size, which fill `N` bytes, behind each other.
fn join<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut rest = bytes.as_mut_slice();
    for part in parts {
        let (here, after) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = after;
    }
    debug_assert!(rest.is_empty(), "the parts fill the key");
    bytes
}

pub(crate) fn log(log: &LogId) -> [u8; LOG_LEN] {
    join(&[log.author.as_bytes(), &log.epoch.to_be_bytes()])
}

pub(crate) fn parse_log(key: &[u8]) -> Option<LogId> {
    let (author, epoch) = key.split_first_chunk::<32>()?;
    Some(LogId { author: AuthorId(*author), epoch: u32::from_be_bytes(epoch.try_into().ok()?) })
}

pub(crate) fn frozen(spot: Spot, id: &RecordId) -> [u8; 40] {
    join(&[&spot.to_bytes(), id.as_bytes()])
}

pub(crate) fn kind_prefix(kind: Kind, author: Option<&AuthorId>) -> Vec<u8> {
    [kind.code().to_be_bytes().as_slice(), author.map_or(&[], |author| author.as_bytes())].concat()
}

/// Returns the key of a record in `record_kinds`, or, without one that is frozen, where those of its place begin.
pub(crate) fn kind(kind: Kind, place: &Place, seq: u32, standing: Standing) -> Vec<u8> {
    let mut key = Vec::with_capacity(KIND_LEN + 32);
    key.extend_from_slice(&kind.code().to_be_bytes());
    key.extend_from_slice(&log(&place.log));
    key.extend_from_slice(&seq.to_be_bytes());
    if standing == Standing::Frozen {
        key.extend_from_slice(place.id.as_bytes());
    }
    key
}

/// Returns the log, the seq and, of a frozen record, the id that a key of `record_kinds` says.
pub(crate) fn parse_kind(key: &[u8]) -> Option<(LogId, u32, Option<RecordId>)> {
    let (place, id) = key.get(2..)?.split_at_checked(LOG_LEN + 4)?;
    let (log, seq) = place.split_at_checked(LOG_LEN)?;
    let id = if id.is_empty() { None } else { Some(RecordId(id.try_into().ok()?)) };
    Some((parse_log(log)?, u32::from_be_bytes(seq.try_into().ok()?), id))
}

pub(crate) fn subject(subject: &RecordId, place: &Place, seq: u32, standing: Standing) -> Vec<u8> {
    let mut key = Vec::with_capacity(32 + LOG_LEN + 4 + 32);
    key.extend_from_slice(subject.as_bytes());
    key.extend_from_slice(&log(&place.log));
    key.extend_from_slice(&seq.to_be_bytes());
    if standing == Standing::Frozen {
        key.extend_from_slice(place.id.as_bytes());
    }
    key
}

pub(crate) fn subject_prefix(subject: &RecordId, author: Option<&AuthorId>) -> Vec<u8> {
    [subject.as_bytes().as_slice(), author.map_or(&[], |author| author.as_bytes())].concat()
}

/// Returns the log and the seq that a key of `record_subjects` says.
pub(crate) fn parse_subject(key: &[u8]) -> Option<(LogId, u32)> {
    let (log, seq) = key.get(SUBJECT_LEN..)?.split_at_checked(LOG_LEN)?;
    Some((parse_log(log)?, u32::from_be_bytes(*seq.first_chunk()?)))
}

pub(crate) fn subject_in_log(subject: &RecordId, in_log: &LogId) -> Vec<u8> {
    [subject.as_bytes().as_slice(), &log(in_log)].concat()
}

/// Returns the key of a record of a chain in `droppable` or `bare`.
pub(crate) fn aged(time: u64, spot: Spot) -> [u8; AGED_LEN] {
    join(&[&time.to_be_bytes(), &spot.to_bytes()])
}

/// Returns the time and the spot that such a key says.
pub(crate) fn parse_aged(key: &[u8]) -> Option<(u64, Spot)> {
    let (time, spot) = key.split_first_chunk()?;
    Some((u64::from_be_bytes(*time), Spot::from_bytes(spot.try_into().ok()?)))
}

/// Returns the first key after all keys with a prefix; `None` when there is no such key.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1; // it is not 0xff
    Some(end)
}

/// Returns the first key after a key.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// A table of the node, by the byte that its keys begin with. A byte is never given to another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Namespace {
    /// Trades that this node takes part in.
    Trades = 1,
    /// What is to be sent until it is acknowledged.
    Outbox = 2,
    /// Messages kept for others.
    Mailbox = 3,
    /// The wallet's changes.
    Wallet = 4,
    /// What the user set at run time.
    Config = 5,
    /// Payment details of own bids and acceptances, by the number from which the keys of the trade derive.
    Details = 6,
    /// Payment details that own offers hand out, by the hash of the offer's body.
    OfferDetails = 7,
    /// The heads of own logs, as last written by this machine.
    OwnHeads = 8,
    /// Which mail is kept, by recipient, sender, epoch and seq.
    MailIndex = 9,
    /// Arbiters who rule alone and whom the user trusts.
    TrustedArbiters = 10,
    /// The records on which own trades rest.
    Pins = 11,
    /// What was said in own trades, sent and received.
    Messages = 12,
    /// What parties showed to this node's arbiter of what they said to each other.
    Disclosed = 13,
    /// Up to where the user has read the messages of a trade.
    MessagesRead = 14,
    /// Up to where an arbiter was shown the messages of a trade.
    MessagesShown = 15,
    /// The records on which groups of arbiters of this identity's rest.
    Groups = 24,
    /// What this identity decided in cases of its groups.
    Decisions = 25,
    /// Trades in which this identity rules and whose agreement is kept.
    Agreed = 26,
    /// What the user was told last of where own trades stand.
    Told = 27,
    /// Groups of arbiters whom the user trusts, by the hash of what all their members signed.
    TrustedGroups = 28,
}

impl Namespace {
    pub(crate) const fn byte(self) -> u8 {
        self as u8 // the discriminants above
    }
}

/// The namespace of the event log: seq.
const EVENTS: u8 = 16;
/// The namespace of answers: the request's id.
const ANSWERS: u8 = 17;
/// The namespace of answers by age: number of the answer, holding the request's id.
const ANSWER_ORDER: u8 = 18;

pub(crate) const EVENT_PREFIX: &[u8] = &[EVENTS];
pub(crate) const ANSWER_ORDER_PREFIX: &[u8] = &[ANSWER_ORDER];

pub(crate) fn event(seq: u64) -> Vec<u8> {
    [EVENT_PREFIX, &seq.to_be_bytes()].concat()
}

pub(crate) fn answer(request: &str) -> Vec<u8> {
    [&[ANSWERS], request.as_bytes()].concat()
}

pub(crate) fn answer_order(number: u64) -> Vec<u8> {
    [ANSWER_ORDER_PREFIX, &number.to_be_bytes()].concat()
}

/// Returns the number that ends a key of the event log or of answers by age.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    let (_, number) = key.split_first()?;
    number.try_into().ok().map(u64::from_be_bytes)
}

pub(crate) fn row(namespace: Namespace, key: &impl Key) -> Vec<u8> {
    [&[namespace.byte()], key.to_bytes().as_slice()].concat()
}

/// A type whose values are keys of a private table. The order of the bytes is the order in which a scan returns rows.
pub trait Key: Sized {
    /// Returns the key's bytes.
    fn to_bytes(&self) -> Vec<u8>;

    /// Reads a key; `None` when the bytes are none.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// A key whose bytes are always as many, so that another key can follow it.
pub trait FixedKey: Key {
    /// How many bytes.
    const LEN: usize;
}

macro_rules! number_keys {
    ($($number:ty),*) => {$(
        impl Key for $number {
            fn to_bytes(&self) -> Vec<u8> {
                self.to_be_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_be_bytes)
            }
        }

        impl FixedKey for $number {
            const LEN: usize = size_of::<Self>();
        }
    )*};
}

number_keys!(u8, u16, u32, u64);

macro_rules! id_keys {
    ($($id:ident),*) => {$(
        impl Key for $id {
            fn to_bytes(&self) -> Vec<u8> {
                self.as_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl FixedKey for $id {
            const LEN: usize = 32;
        }
    )*};
}

id_keys!(RecordId, AuthorId, TradeId, ContractHash, MailboxId);

impl<const N: usize> Key for [u8; N] {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

impl<const N: usize> FixedKey for [u8; N] {
    const LEN: usize = N;
}

impl Key for Vec<u8> {
    fn to_bytes(&self) -> Vec<u8> {
        self.clone()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

impl Key for String {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
}

impl<A: FixedKey, B: Key> Key for (A, B) {
    fn to_bytes(&self) -> Vec<u8> {
        [self.0.to_bytes(), self.1.to_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (first, second) = bytes.split_at_checked(A::LEN)?;
        Some((A::from_bytes(first)?, B::from_bytes(second)?))
    }
}

impl<A: FixedKey, B: FixedKey> FixedKey for (A, B) {
    const LEN: usize = A::LEN + B::LEN;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_sort_as_what_they_name(a: ([u8; 2], u32, u32), b: ([u8; 2], u32, u32)) {
            let key = |(author, epoch, seq): ([u8; 2], u32, u32)| {
                let mut bytes = [7; 32];
                bytes[..2].copy_from_slice(&author);
                let place = Place::first_of(LogId { author: AuthorId(bytes), epoch });
                let key = kind(Kind::Offer, &place, seq, Standing::Chain);
                prop_assert_eq!(parse_kind(&key), Some((place.log, seq, None)));
                let frozen = kind(Kind::Offer, &place, seq, Standing::Frozen);
                prop_assert_eq!(parse_kind(&frozen), Some((place.log, seq, Some(place.id))));
                Ok(key)
            };
            prop_assert_eq!(a.cmp(&b), key(a)?.cmp(&key(b)?));
            let aged = |(time, log, seq): ([u8; 2], u32, u32)| {
                let time = u64::from(u16::from_be_bytes(time));
                (aged(time, Spot { log, seq }), (time, Spot { log, seq }))
            };
            prop_assert_eq!(a.cmp(&b), aged(a).0.cmp(&aged(b).0));
            prop_assert_eq!(parse_aged(&aged(a).0), Some(aged(a).1));
            let spot = |(_, log, seq): ([u8; 2], u32, u32)| Spot { log, seq };
            prop_assert_eq!((a.1, a.2).cmp(&(b.1, b.2)), spot(a).to_bytes().cmp(&spot(b).to_bytes()));
            prop_assert_eq!(Spot::from_bytes(&spot(a).to_bytes()), spot(a));
            let place = Place::first_of(LogId { author: AuthorId([a.0[0]; 32]), epoch: a.1 });
            for standing in [Standing::Chain, Standing::Frozen] {
                let key = subject(&RecordId([a.0[1]; 32]), &place, a.2, standing);
                prop_assert_eq!(parse_subject(&key), Some((place.log, a.2)));
            }
            let row = |(first, second, third): ([u8; 2], u32, u32)| ((first, second), third);
            prop_assert_eq!(a.cmp(&b), row(a).to_bytes().cmp(&row(b).to_bytes()));
            prop_assert_eq!(Key::from_bytes(&row(a).to_bytes()), Some(row(a)));
        }

        #[test]
        fn the_end_of_a_prefix_is_the_first_key_behind_it(prefix: Vec<u8>, tail: Vec<u8>, other: Vec<u8>) {
            let inside = [prefix.as_slice(), &tail].concat();
            match end_of_prefix(&prefix) {
                Some(end) => {
                    prop_assert!(inside < end);
                    prop_assert!(other < prefix || other.starts_with(&prefix) || other >= end);
                }
                None => prop_assert!(prefix.iter().all(|byte| *byte == 0xff)),
            }
        }
    }
}
