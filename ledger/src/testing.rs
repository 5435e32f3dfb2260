//! Ready-made people, records and trades for tests. Everything is derived from small numbers, so a failure repeats.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::key::{Keypair, Parity, Secp256k1};
use bitcoin::secp256k1::{Message, SecretKey};
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness};
use ed25519_dalek::{Signer, SigningKey};

use crate::body::{Accept, ArbiterAdvert, Body, Offer, Party, Side, Stake, Take, Vaults};
use crate::ids::{AuthorId, RecordId, TradeId};
use crate::ledger::{Admission, Ledger};
use crate::money::{Price, Sats};
use crate::record::{Header, LogId, Record, admission};
use crate::rules::{DEFAULT_ARBITRATION_DELAY, DEFAULT_REFUND_DELAY, DEFAULT_SECOND_DELAY};
use crate::seal;
use crate::stake;
use crate::storage::MemoryStorage;
use crate::text::Text;
use crate::trade::{Bid, Contract, Escrow, Role, Seat, details_commitment, tweak_arbiter_pair};
use crate::wire::{CurveKey, CurveSignature, Destination, List, Outpoint};

mod chain;
pub(crate) mod group;

pub use chain::Chain;
pub use group::{SampleGroup, group_secrets};

/// The network of all that is made here: regtest, where a ticket costs a thousand hashes.
pub const NETWORK: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
/// When everybody here opened a log.
pub const EPOCH: u32 = 1_800_000_000;
/// The height that the sample acceptance states.
pub const HEIGHT: u32 = 100;
/// The salt of everybody's payment details.
pub const SALT: [u8; 32] = [0x5a; 32];

/// Somebody who writes a log.
#[derive(Clone)]
pub struct Author {
    number: u8,
    signing: SigningKey,
    log: LogId,
    next: u64,
    backlink: RecordId,
    time: u64,
}

impl Author {
    /// Returns author `number`, with an empty log. His ed25519 seed is 32 bytes of that number.
    pub fn new(number: u8) -> Self {
        let signing = SigningKey::from_bytes(&[number; 32]);
        let author = AuthorId(signing.verifying_key().to_bytes());
        let log = LogId { author, epoch: EPOCH };
        Self { number, signing, log, next: 0, backlink: RecordId([0; 32]), time: EPOCH.into() }
    }

    /// Returns author `number` with an empty log that he opens at a time.
    pub fn at(number: u8, epoch: u32) -> Self {
        Self { time: epoch.into(), ..Self::new(number).reopened(epoch) }
    }

    /// Returns the same person with another, empty log: after a restore, or to cheat.
    pub fn reopened(&self, epoch: u32) -> Self {
        Self { log: LogId { epoch, ..self.log }, next: 0, backlink: RecordId([0; 32]), ..self.clone() }
    }

    /// Returns the public key.
    pub const fn id(&self) -> AuthorId {
        self.log.author
    }

    /// Returns the log.
    pub const fn log(&self) -> LogId {
        self.log
    }

    /// Returns the header of the next record with this body, a second after the last one.
    pub fn next_header(&self, body: &Body) -> Header {
        Header {
            network: NETWORK,
            log: self.log,
            seq: self.next,
            backlink: self.backlink,
            time: self.time + 1,
            kind: body.kind(),
            flags: 0,
            body_len: 0,
            body_hash: [0; 32],
            admission: if self.next == 0 { admission::mint(&NETWORK, &self.log) } else { 0 },
        }
    }

    /// Signs a body as the next record of the log.
    pub fn write(&mut self, body: &Body) -> Record {
        self.append(self.next_header(body), body.encode())
    }

    /// Signs any header and body; the log goes on from there.
    pub fn append(&mut self, header: Header, body: Vec<u8>) -> Record {
        let record = self.sign(header, body);
        (self.next, self.backlink, self.time) = (header.seq + 1, record.id(), record.header().time);
        record
    }

    /// Signs any header and body; the log does not go on.
    pub fn sign(&self, header: Header, body: Vec<u8>) -> Record {
        Record::sign(header, body, |message| self.sign_bytes(message)).expect("bodies of tests are short")
    }

    /// Signs any bytes.
    pub fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// Returns the key in escrows, with an even Y: from the secret of 32 bytes `number + 100`.
    pub fn trade_key(&self) -> Keypair {
        even_keypair([self.number + 100; 32])
    }

    /// Returns the X25519 secret: 32 bytes of `number + 50`.
    pub const fn seal_secret(&self) -> [u8; 32] {
        [self.number + 50; 32]
    }

    /// Returns the payment details.
    pub fn details(&self) -> String {
        format!("IBAN of author {}", self.number)
    }

    /// Returns what this person brings to a contract. Coins go to a P2WPKH script of 20 bytes of `number`.
    pub fn party(&self) -> Party {
        let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([self.number; 20]));
        Party {
            trade_key: CurveKey(self.trade_key().x_only_public_key().0),
            seal_key: seal::public_key(&self.seal_secret()),
            destination: Destination::new(script).expect("P2WPKH is standard"),
            details: details_commitment(&SALT, &self.details()),
        }
    }
}

/// Returns the keypair of a secret, negated if its public key has an odd Y. Simulations ask for the same few a million times.
pub fn even_keypair(secret: [u8; 32]) -> Keypair {
    static KNOWN: Mutex<BTreeMap<[u8; 32], Keypair>> = Mutex::new(BTreeMap::new());
    *KNOWN.lock().expect("secrets of tests are valid").entry(secret).or_insert_with(|| new_even_keypair(secret))
}

fn new_even_keypair(secret: [u8; 32]) -> Keypair {
    let secp = Secp256k1::new();
    let secret = SecretKey::from_slice(&secret).expect("secrets of tests are valid");
    let pair = Keypair::from_secret_key(&secp, &secret);
    match pair.x_only_public_key().1 {
        Parity::Even => pair,
        Parity::Odd => Keypair::from_secret_key(&secp, &secret.negate()),
    }
}

/// An accepted trade of 0.01 BTC for 617.50 EUR, by arbiter 1, maker 2 and taker 3.
#[derive(Clone)]
pub struct SampleTrade {
    /// Who rules.
    pub arbiter: Author,
    /// Who made the offer.
    pub maker: Author,
    /// Who took it.
    pub taker: Author,
    /// The arbiter's advert.
    pub advert: Record,
    /// The offer.
    pub offer: Record,
    /// The bid.
    pub take: Record,
    /// Its acceptance.
    pub accept: Record,
    /// Who rules when the first arbiter is silent, and his advert.
    pub second: Option<(Author, Record)>,
}

impl SampleTrade {
    /// Returns a trade whose maker is on `side`.
    pub fn new(side: Side) -> Self {
        Self::agree(side, None, (0, 0))
    }

    /// Returns a trade whose maker is on `side`, with bonds of 0.001 BTC of the seller and 0.002 BTC of the buyer.
    pub fn with_bonds(side: Side) -> Self {
        Self::agree(side, None, (100_000, 200_000))
    }

    /// Returns a trade whose maker is on `side`, with author 6 as second arbiter.
    pub fn with_second(side: Side) -> Self {
        Self::agree(side, Some(Self::second()), (0, 0))
    }

    /// Returns a trade whose maker is on `side`, ruled by a group.
    pub fn of_group(side: Side, group: &SampleGroup) -> Self {
        Self::agree_on(side, (group.members[0].clone(), group.advert.clone()), None, (0, 0))
    }

    /// Lets the acceptance state another height.
    #[must_use]
    pub fn agreed_at(mut self, height: u32) -> Self {
        let accept = Accept { height, ..sample_accept(&self.take, self.offer.id(), &self.maker) };
        let header = *self.accept.header();
        self.accept = self.maker.append(header, Body::Accept(accept).encode());
        self
    }

    fn second() -> (Author, Record) {
        let mut second = Author::new(6);
        let advert = second.write(&Body::ArbiterAdvert(sample_advert(&second)));
        (second, advert)
    }

    fn agree(side: Side, second: Option<(Author, Record)>, bonds: (u32, u32)) -> Self {
        let mut arbiter = Author::new(1);
        let advert = arbiter.write(&Body::ArbiterAdvert(sample_advert(&arbiter)));
        Self::agree_on(side, (arbiter, advert), second, bonds)
    }

    fn agree_on(
        side: Side,
        first: (Author, Record),
        second: Option<(Author, Record)>,
        (seller_bond_ppm, buyer_bond_ppm): (u32, u32),
    ) -> Self {
        let (mut maker, mut taker) = (Author::new(2), Author::new(3));
        let (arbiter, advert) = first;
        let adverts: Vec<RecordId> =
            std::iter::once(advert.id()).chain(second.iter().map(|(_, advert)| advert.id())).collect();
        let offer = Offer { seller_bond_ppm, buyer_bond_ppm, ..sample_offer(side, &adverts) };
        let offer = maker.write(&Body::Offer(offer));
        let bid = Take { second_arbiter: second.as_ref().map(|_| 1), ..sample_take(offer.id(), &taker) };
        let take = taker.write(&Body::Take(bid));
        let accept = maker.write(&Body::Accept(sample_accept(&take, offer.id(), &maker)));
        Self { arbiter, maker, taker, advert, offer, take, accept, second }
    }

    /// Returns the records, in an order in which each can be let in.
    pub fn records(&self) -> Vec<Record> {
        let agreement = [self.advert.clone(), self.offer.clone(), self.take.clone(), self.accept.clone()];
        self.second.iter().map(|(_, advert)| advert.clone()).chain(agreement).collect()
    }

    /// Returns the trade's id.
    pub fn id(&self) -> TradeId {
        TradeId(self.take.id().0)
    }

    /// Returns the bid.
    pub fn bid(&self) -> Bid {
        let second = self.second.as_ref().map(|(_, advert)| advert);
        let adverts: Vec<&Record> = std::iter::once(&self.advert).chain(second).collect();
        Bid::new(&self.offer, &self.take, &adverts).expect("the sample bid fits its offer")
    }

    /// Returns the contract.
    pub fn contract(&self) -> Contract {
        self.bid().accepted(&self.accept).expect("the sample acceptance fits")
    }

    /// Returns the escrow.
    pub fn escrow(&self) -> Escrow {
        Escrow::new(&self.contract())
    }

    /// Returns the person in a role.
    pub fn author(&mut self, role: Role) -> &mut Author {
        let buyer_is_maker = self.bid().buyer() == self.maker.id();
        match (role, buyer_is_maker) {
            (Role::Buyer, true) | (Role::Seller, false) => &mut self.maker,
            (Role::Buyer, false) | (Role::Seller, true) => &mut self.taker,
            (Role::Arbiter, true | false) => &mut self.arbiter,
        }
    }

    /// Returns the contract with bonds of 0.001 BTC of the seller and 0.002 BTC of the buyer.
    pub fn bonded(&self) -> Contract {
        Contract { seller_bond: sats(100_000), buyer_bond: sats(200_000), ..self.contract() }
    }

    /// Returns a signed-looking transaction that funds the escrow from input `number` of nowhere.
    pub fn funding(&self, number: u8) -> Transaction {
        funding_of(&self.escrow(), number)
    }

    /// Returns what [`Self::funding`] funds.
    pub fn vaults(&self, number: u8) -> Vaults {
        vaults_of(&self.escrow(), number)
    }

    /// Returns the pair by which an arbiter signs in a contract of this trade.
    pub fn arbiter_pair(&self, contract: &Contract, seat: Seat) -> Keypair {
        let second = self.second.as_ref().map(|(author, _)| author);
        let author = if seat == Seat::First { Some(&self.arbiter) } else { second };
        tweak_arbiter_pair(contract, &author.expect("the trade has such an arbiter").trade_key())
    }
}

/// Returns a signed-looking transaction that funds an escrow, its bond too, from input `number` of nowhere.
pub fn funding_of(escrow: &Escrow, number: u8) -> Transaction {
    spend_of_nowhere(number, std::iter::once(escrow.output()).chain(escrow.bond_output()).collect())
}

/// Returns what [`funding_of`] funds.
pub fn vaults_of(escrow: &Escrow, number: u8) -> Vaults {
    escrow.fundings(&funding_of(escrow, number))[0]
}

/// Returns a transaction that spends an output of nowhere, told apart by `number`.
pub fn spend_of_nowhere(number: u8, output: Vec<TxOut>) -> Transaction {
    let previous_output = OutPoint { txid: Txid::from_byte_array([number; 32]), vout: 0 };
    let sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
    let input = vec![TxIn { previous_output, script_sig: ScriptBuf::new(), sequence, witness: Witness::new() }];
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}

/// Returns an arbiter's advert.
pub fn sample_advert(arbiter: &Author) -> ArbiterAdvert {
    ArbiterAdvert {
        name: text("Ada"),
        key: CurveKey(arbiter.trade_key().x_only_public_key().0),
        seal_key: seal::public_key(&arbiter.seal_secret()),
        fee_ppm: 10_000,
        destination: arbiter.party().destination,
        max_amount: sats(100_000_000),
        languages: list(vec![text("en"), text("pt")]),
        currencies: list(vec!["EUR".parse().expect("a currency")]),
        terms: text("Evidence within a week."),
    }
}

/// Returns an offer of 0.004 to 0.02 BTC at 61,750.00 EUR, for thirty days, by SEPA or Revolut.
pub fn sample_offer(side: Side, adverts: &[RecordId]) -> Offer {
    Offer {
        side,
        currency: "EUR".parse().expect("a currency"),
        price: Price::new(6_175_000).expect("not zero"),
        min: sats(400_000),
        max: sats(2_000_000),
        methods: list(vec![text("SEPA instant"), text("Revolut")]),
        terms: text("Own accounts only."),
        arbiters: list(adverts.to_vec()),
        seller_bond_ppm: 0,
        buyer_bond_ppm: 0,
        arbitration_delay: DEFAULT_ARBITRATION_DELAY,
        second_delay: DEFAULT_SECOND_DELAY,
        refund_delay: DEFAULT_REFUND_DELAY,
        automatic: true,
        expires: u64::from(EPOCH) + 30 * 24 * 3600,
    }
}

/// Returns a bid of 0.01 BTC.
pub fn sample_take(offer: RecordId, taker: &Author) -> Take {
    Take {
        offer,
        amount: sats(1_000_000),
        method: 0,
        arbiter: 0,
        second_arbiter: None,
        nonce: [0x77; 32],
        party: taker.party(),
    }
}

/// Returns the acceptance of a bid.
pub fn sample_accept(take: &Record, offer: RecordId, maker: &Author) -> Accept {
    Accept { trade: take.id().into(), offer, height: HEIGHT, party: maker.party() }
}

/// Returns a stake on output `number` of nowhere, whose key is that of the author's escrows.
pub fn sample_stake(author: &Author, number: u8) -> Stake {
    let coin = Outpoint(OutPoint { txid: Txid::from_byte_array([number; 32]), vout: u32::from(number) });
    let message = Message::from_digest(stake::message(&NETWORK, &author.id(), &coin));
    let signature = Secp256k1::new().sign_schnorr_no_aux_rand(&message, &author.trade_key());
    Stake { coin, key: CurveKey(author.trade_key().x_only_public_key().0), signature: CurveSignature(signature) }
}

/// Returns an empty ledger in memory.
pub fn ledger() -> Ledger<MemoryStorage> {
    Ledger::new(MemoryStorage::default(), NETWORK)
}

/// Offers records to a ledger again and again, until nothing more is let in. Returns what became of each at last.
pub fn admit_all(ledger: &mut Ledger<MemoryStorage>, records: &[Record]) -> Vec<Admission> {
    let later = u64::from(EPOCH) + 365 * 24 * 3600;
    loop {
        let before = ledger.storage().clone();
        let admissions = ledger.admit(records, later).expect("memory does not fail");
        if *ledger.storage() == before {
            return admissions;
        }
    }
}

/// Returns an amount.
pub fn sats(sats: u64) -> Sats {
    Sats::new(sats).expect("amounts of tests exist")
}

/// Returns a text.
pub fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).expect("texts of tests are short and plain")
}

fn list<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    List::new(items).expect("lists of tests are short")
}
