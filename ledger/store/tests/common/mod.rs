//! Records as nodes make them, for tests of the store.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::Path;

use bitcoin::ScriptBuf;
use ed25519_dalek::{Signer, SigningKey};
use exchange_ledger::body::{Accept, Offer, Party, Side};
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::money::{Price, Sats};
use exchange_ledger::record::{FLAG_CRITICAL, Header, Kind, LogId, Record, admission};
use exchange_ledger::rules::{DEFAULT_ARBITRATION_DELAY, DEFAULT_REFUND_DELAY, DEFAULT_SECOND_DELAY};
use exchange_ledger::text::Text;
use exchange_ledger::wire::{CurveKey, Destination, List};
use exchange_store::{OpenOptions, Store};

/// Bitcoin's magic bytes of regtest.
const REGTEST: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// A kind that nobody knows, of which records have the critical flag.
pub const CRITICAL_KIND: u16 = 998;

/// Opens a store with the limits of a node.
pub fn open(path: impl AsRef<Path>) -> Store {
    Store::open(path, OpenOptions::default()).unwrap()
}

/// Returns an offer.
pub fn offer() -> Offer {
    Offer {
        side: Side::Sell,
        currency: "EUR".parse().unwrap(),
        price: Price::new(1000).unwrap(),
        min: Sats::new(400_000).unwrap(),
        max: Sats::new(400_000).unwrap(),
        methods: List::new(vec![Text::new("SEPA").unwrap()]).unwrap(),
        terms: Text::new("").unwrap(),
        arbiters: List::new(vec![RecordId([1; 32])]).unwrap(),
        seller_bond_ppm: 0,
        buyer_bond_ppm: 0,
        arbitration_delay: DEFAULT_ARBITRATION_DELAY,
        second_delay: DEFAULT_SECOND_DELAY,
        refund_delay: DEFAULT_REFUND_DELAY,
        automatic: false,
        expires: 1_800_100_000,
    }
}

/// Returns the acceptance of a bid for an offer.
pub fn accept(trade: TradeId, offer: RecordId) -> Accept {
    let key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
    let script = ScriptBuf::from_hex("0014751e76e8199196d454941c45d1b3a323f1433bd6").unwrap();
    let destination = Destination::new(script).unwrap();
    let party = Party { trade_key: CurveKey(key), seal_key: [2; 32], destination, details: [3; 32] };
    Accept { trade, offer, height: 100, party }
}

/// One log of an author, and the end of it.
pub struct Log {
    key: SigningKey,
    id: LogId,
    last: Option<Record>,
}

impl Log {
    /// Opens the log of an author, who is a number here.
    pub fn new(author: u8, epoch: u32) -> Self {
        let key = SigningKey::from_bytes(&[author; 32]);
        let id = LogId { author: AuthorId(key.verifying_key().to_bytes()), epoch };
        Self { key, id, last: None }
    }

    /// Returns the log's id.
    pub fn id(&self) -> LogId {
        self.id
    }

    /// Signs the next record without appending it.
    pub fn sign(&self, kind: Kind, body: Vec<u8>) -> Record {
        let seq = self.last.as_ref().map_or(0, |last| last.header().seq + 1);
        let header = Header {
            network: REGTEST,
            log: self.id,
            seq,
            backlink: self.last.as_ref().map_or(RecordId([0; 32]), Record::id),
            time: 1_800_000_000 + seq,
            kind,
            flags: if kind == Kind::Unknown(CRITICAL_KIND) { FLAG_CRITICAL } else { 0 },
            body_len: 0,
            body_hash: [0; 32],
            admission: if seq == 0 { admission::mint(&REGTEST, &self.id) } else { 0 },
        };
        Record::sign(header, body, |message| self.key.sign(message).to_bytes()).unwrap()
    }

    /// Signs and appends a record.
    pub fn append(&mut self, kind: Kind, body: Vec<u8>) -> Record {
        let record = self.sign(kind, body);
        self.last = Some(record.clone());
        record
    }

    /// Signs and appends a record of a usual size, of a kind that nobody knows.
    pub fn append_some(&mut self) -> Record {
        let seq = self.last.as_ref().map_or(0, |last| last.header().seq + 1);
        let body = (0_u64..30).flat_map(|at| (seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at).to_le_bytes()).collect();
        self.append(Kind::Unknown(999), body)
    }
}
