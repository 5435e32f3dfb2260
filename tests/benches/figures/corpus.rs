//! A market's history, signed for real: many authors who post, bid, accept and say that they are there.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::hashes::Hash;
use bitcoin::key::{Keypair, Secp256k1};
use bitcoin::secp256k1::SecretKey;
use bitcoin::{ScriptBuf, WPubkeyHash};
use ed25519_dalek::{Signer, SigningKey};
use exchange_ledger::body::{Accept, ArbiterAdvert, Body, MAX_OFFER_LIFE_S, Offer, Party, Side, Take};
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::money::{Price, Sats};
use exchange_ledger::record::{Header, LogId, Record, admission};
use exchange_ledger::rules::{DEFAULT_ARBITRATION_DELAY, DEFAULT_REFUND_DELAY, DEFAULT_SECOND_DELAY};
use exchange_ledger::text::Text;
use exchange_ledger::wire::{CurveKey, Destination, List};

use crate::Outcome;

/// Bitcoin's magic bytes of regtest, where a ticket costs a thousand hashes.
pub const NETWORK: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// How old the history is: its offers are still open, and no record lies in the future.
const AGE_S: u64 = 2 * 24 * 3600;

/// How many authors trade with each other.
const RING: u32 = 50;
/// How many rings make their records at the same time: a thousand authors.
const RINGS_AT_ONCE: usize = 20;
/// Threads that write histories.
const CORES: usize = 2;

/// Returns `rings` times 50 times `each` encoded records, of a thousand authors after the other, in the order in which they
/// were made. Each author goes round in a ring: an offer, a bid for his neighbour's offer, the acceptance of the other
/// neighbour's bid, a heartbeat.
pub fn history(rings: u32, each: u32) -> Outcome<Vec<Vec<u8>>> {
    let start = now()? - AGE_S;
    let mut arbiter = Writer::new(u32::MAX, start)?;
    let advert = arbiter.write(&Body::ArbiterAdvert(arbiter.advert()?))?;
    let next = AtomicU32::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= rings {
                return Ok(done);
            }
            let written = ring(number * RING, each, advert.id(), start).map_err(|e| e.to_string())?;
            done.push((number, written));
        }
    };
    let mut written = thread::scope(|scope| {
        let workers: Vec<_> = (0..CORES).map(|_| scope.spawn(work)).collect();
        let mut written = Vec::new();
        for worker in workers {
            let done: Result<_, String> = worker.join().map_err(|_| "a writer of the corpus panicked")?;
            written.extend(done?);
        }
        Outcome::Ok(written)
    })?;
    written.sort_by_key(|(number, _)| *number);
    let mut records = vec![advert.encode()];
    while !written.is_empty() {
        let later = written.split_off(written.len().min(RINGS_AT_ONCE));
        let mut rings: Vec<_> = written.into_iter().map(|(_, records)| records.into_iter()).collect();
        let ring = usize::try_from(RING)?;
        for _ in 0..each {
            records.extend(rings.iter_mut().flat_map(|made| made.by_ref().take(ring)));
        }
        written = later;
    }
    Ok(records)
}

/// Writes what authors from number `first` on make, in the order in which they do.
fn ring(first: u32, each: u32, advert: RecordId, start: u64) -> Outcome<Vec<Vec<u8>>> {
    let mut writers: Vec<Writer> =
        (first..first + RING).map(|number| Writer::new(number, start)).collect::<Outcome<_>>()?;
    let mut made: Vec<Vec<u8>> = Vec::new();
    for round in 0..each.div_ceil(4) {
        let offers: Vec<RecordId> =
            write_all(&mut writers, &mut made, |_, writer| Ok(Body::Offer(writer.offer(advert)?)))?;
        let takes = write_all(&mut writers, &mut made, |at, writer| {
            let offer = offers[(at + 1) % offers.len()];
            Ok(Body::Take(writer.take(offer, round)?))
        })?;
        write_all(&mut writers, &mut made, |at, writer| {
            let trade = takes[(at + takes.len() - 1) % takes.len()].into();
            Ok(Body::Accept(Accept { trade, offer: offers[at], height: 100, party: writer.party()? }))
        })?;
        write_all(&mut writers, &mut made, |_, _| Ok(Body::Heartbeat))?;
    }
    made.truncate(usize::try_from(each * RING)?);
    Ok(made)
}

/// Lets everybody write a record; returns their ids.
fn write_all(
    writers: &mut [Writer],
    made: &mut Vec<Vec<u8>>,
    body: impl Fn(usize, &Writer) -> Outcome<Body>,
) -> Outcome<Vec<RecordId>> {
    let mut ids = Vec::with_capacity(writers.len());
    for (at, writer) in writers.iter_mut().enumerate() {
        let record = writer.write(&body(at, writer)?)?;
        ids.push(record.id());
        made.push(record.encode());
    }
    Ok(ids)
}

/// Returns the present, which the ledger compares the records' times with.
#[expect(clippy::disallowed_methods, reason = "a benchmark stands at the edge, as the node's clock does")]
pub fn now() -> Outcome<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// Somebody who writes a log.
pub struct Writer {
    number: u32,
    key: SigningKey,
    curve_key: CurveKey,
    log: LogId,
    next: u64,
    backlink: RecordId,
    time: u64,
    signs: bool,
}

impl Writer {
    /// Returns writer `number`, who opens a log at `time`.
    pub fn new(number: u32, time: u64) -> Outcome<Self> {
        let mut seed = [0x5e; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let key = SigningKey::from_bytes(&seed);
        let pair = Keypair::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&seed)?);
        let log = LogId { author: AuthorId(key.verifying_key().to_bytes()), epoch: u32::try_from(time)? };
        let curve_key = CurveKey(pair.x_only_public_key().0);
        Ok(Self { number, key, curve_key, log, next: 0, backlink: RecordId([0; 32]), time, signs: true })
    }

    /// Returns a writer who has no key, does no work and signs nothing, for what does not look at it.
    pub fn unsigned(number: u32, time: u64) -> Outcome<Self> {
        let (mut author, mut one) = ([0; 32], [0; 32]);
        one[31] = 1; // the X of a point
        author[..4].copy_from_slice(&number.to_le_bytes());
        let (key, curve_key) =
            (SigningKey::from_bytes(&[1; 32]), CurveKey(bitcoin::key::XOnlyPublicKey::from_slice(&one)?));
        let log = LogId { author: AuthorId(author), epoch: u32::try_from(time)? };
        Ok(Self { number, key, curve_key, log, next: 0, backlink: RecordId([0; 32]), time, signs: false })
    }

    /// Returns the public key.
    pub const fn author(&self) -> AuthorId {
        self.log.author
    }

    /// Writes the next record.
    pub fn write(&mut self, body: &Body) -> Outcome<Record> {
        let header = Header {
            network: NETWORK,
            log: self.log,
            seq: self.next,
            backlink: self.backlink,
            time: self.time,
            kind: body.kind(),
            flags: 0,
            body_len: 0,
            body_hash: [0; 32],
            admission: if self.next == 0 && self.signs { admission::mint(&NETWORK, &self.log) } else { 0 },
        };
        let sign = |message: &[u8]| if self.signs { self.key.sign(message).to_bytes() } else { [0; 64] };
        let record = Record::sign(header, body.encode(), sign)?;
        (self.next, self.backlink, self.time) = (self.next + 1, record.id(), self.time + 60);
        Ok(record)
    }

    fn advert(&self) -> Outcome<ArbiterAdvert> {
        Ok(ArbiterAdvert {
            name: Text::new("Ada")?,
            key: self.curve_key,
            seal_key: [1; 32],
            fee_ppm: 5_000,
            destination: self.party()?.destination,
            max_amount: sats(100_000_000)?,
            languages: list(vec![Text::new("en")?])?,
            currencies: list(Vec::new())?,
            terms: Text::new("Evidence within a week.")?,
        })
    }

    fn offer(&self, advert: RecordId) -> Outcome<Offer> {
        Ok(Offer {
            side: if self.number.is_multiple_of(2) { Side::Sell } else { Side::Buy },
            currency: "EUR".parse()?,
            price: Price::new(6_000_000 + u64::from(self.number) + self.next).ok_or("no price")?,
            min: sats(400_000)?,
            max: sats(2_000_000)?,
            methods: list(vec![Text::new("SEPA instant")?, Text::new("Revolut")?])?,
            terms: Text::new("Own accounts only, please. Put nothing into the reference and pay within the hour.")?,
            arbiters: list(vec![advert])?,
            seller_bond_ppm: 0,
            buyer_bond_ppm: 0,
            arbitration_delay: DEFAULT_ARBITRATION_DELAY,
            second_delay: DEFAULT_SECOND_DELAY,
            refund_delay: DEFAULT_REFUND_DELAY,
            automatic: true,
            expires: self.time + MAX_OFFER_LIFE_S,
        })
    }

    fn take(&self, offer: RecordId, round: u32) -> Outcome<Take> {
        let mut nonce = [0x77; 32];
        nonce[..4].copy_from_slice(&round.to_le_bytes());
        let (amount, party) = (sats(1_000_000)?, self.party()?);
        Ok(Take { offer, amount, method: 0, arbiter: 0, second_arbiter: None, nonce, party })
    }

    fn party(&self) -> Outcome<Party> {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&self.number.to_le_bytes());
        let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(hash));
        let destination = Destination::new(script).ok_or("P2WPKH is standard")?;
        Ok(Party { trade_key: self.curve_key, seal_key: [2; 32], destination, details: [3; 32] })
    }
}

/// Returns an amount.
pub fn sats(sats: u64) -> Outcome<Sats> {
    Ok(Sats::new(sats).ok_or("more bitcoin than there are")?)
}

/// Returns a list.
pub fn list<T, const MAX: usize>(items: Vec<T>) -> Outcome<List<T, MAX>> {
    Ok(List::new(items).ok_or("a list is too long")?)
}
