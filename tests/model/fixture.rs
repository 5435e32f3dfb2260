//! The sample trade with everything that can be signed in it, signed for real once: records, fundings and all spends.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use bitcoin::key::Keypair;
use bitcoin::{OutPoint, Transaction, TxIn, TxOut, Txid};
use exchange_ledger::body::{
    Body, Cancel, Closed, Dispute, Extend, Funded, HalfSpend, PaymentSent, Release, Ruling, Side, Vaults,
};
use exchange_ledger::ledger::TradeRecords;
use exchange_ledger::record::Record;
use exchange_ledger::testing::{Author, SampleTrade, admit_all, ledger, sats};
use exchange_ledger::trade::funding::Negotiation;
use exchange_ledger::trade::{Bid, Escrow, EscrowError, Role, Seat, Vault, Verdict, counterparty};
use exchange_ledger::wire::TxId;

use crate::chain::OUTPUTS;
use crate::wallets;
use crate::ways::{Shape, Way};
use crate::words::{Word, Words};

/// The feerate of every spend, in sat/vB: the one that the machine takes when it signs by itself.
pub const FEERATE: u64 = 1;
/// What the buyer gets of a million when the arbiter divides.
const PART: u64 = 400_000;

/// A trade and what its parties can sign.
pub struct Fixture {
    /// Which side the maker is on.
    pub side: Side,
    /// What the second output is.
    pub shape: Shape,
    /// The bid.
    pub bid: Bid,
    /// The escrow.
    pub escrow: Escrow,
    /// The transaction that funds it.
    pub funding: Transaction,
    /// How the buyer and the seller came to it, if both wallets funded it.
    pub negotiations: [Negotiation; 2],
    /// What can be spent of it; see [`Shape::ways`].
    pub vaults: [Vaults; OUTPUTS],
    trade: SampleTrade,
    spends: HashMap<(usize, Way), Transaction>,
    names: HashMap<Txid, (usize, Way)>,
    /// Who can complete what an arbiter signs.
    completable: HashSet<(usize, Way, Role)>,
    /// What the ledger makes of what all said; asked of a real ledger once for each.
    known: Mutex<HashMap<[Words; 3], Arc<TradeRecords>>>,
}

impl Fixture {
    /// Signs everything of a trade whose maker is on `side`.
    pub fn new(side: Side, shape: Shape) -> Self {
        let trade = if shape == Shape::Bonded { SampleTrade::with_bonds(side) } else { SampleTrade::new(side) };
        let escrow = trade.escrow();
        let (mut funding, mut negotiations) = (trade.funding(1), Default::default());
        if shape == Shape::Bonded {
            (funding, negotiations) = wallets::fund(&trade);
        }
        let (bid, first) = (trade.bid(), escrow.fundings(&funding)[0]);
        let second = if shape == Shape::Bonded { Vaults { bond: None, ..first } } else { trade.vaults(2) };
        let mut fixture = Self {
            side,
            shape,
            bid,
            escrow,
            funding,
            negotiations,
            vaults: [first, second],
            trade,
            spends: HashMap::new(),
            names: HashMap::new(),
            completable: HashSet::new(),
            known: Mutex::default(),
        };
        if shape == Shape::Extended {
            let extension = fixture.complete(0, Way::Extension, Role::Buyer).expect("either completes it");
            fixture.vaults[1] = fixture.escrow.extended(&extension, &first).expect("it is one");
        }
        for output in 0..OUTPUTS {
            for way in shape.ways(output) {
                let tx = fixture.complete(output, *way, way.to().unwrap_or(Role::Buyer)).expect("it is his");
                fixture.names.insert(tx.compute_txid(), (output, *way));
                fixture.spends.insert((output, *way), tx);
                let payees = [Role::Buyer, Role::Seller].into_iter().filter(|_| way.is_by_arbiter());
                let able: Vec<_> = payees.filter(|role| fixture.complete(output, *way, *role).is_ok()).collect();
                fixture.completable.extend(able.into_iter().map(|role| (output, *way, role)));
            }
        }
        fixture
    }

    /// Returns the role of the maker.
    pub const fn maker(&self) -> Role {
        match self.side {
            Side::Buy => Role::Buyer,
            Side::Sell => Role::Seller,
        }
    }

    /// Returns a role's key in the escrow.
    pub fn key(&self, role: Role) -> Keypair {
        self.trade.clone().author(role).trade_key()
    }

    /// Returns a role's payment details.
    pub fn details(&self, role: Role) -> String {
        self.trade.clone().author(role).details()
    }

    /// Returns a signed spend.
    pub fn spend(&self, output: usize, way: Way) -> &Transaction {
        &self.spends[&(output, way)]
    }

    /// Returns which spend a transaction is, if it is one of those that the contract allows, down to the last byte that is
    /// signed.
    pub fn name(&self, tx: &Transaction) -> Option<(usize, Way)> {
        self.names.get(&tx.compute_txid()).copied()
    }

    /// Returns the number of what can be spent.
    pub fn output(&self, vaults: &Vaults) -> Option<usize> {
        self.vaults.iter().position(|known| known == vaults)
    }

    /// Returns the number of the output at an outpoint.
    pub fn output_at(&self, outpoint: OutPoint) -> Option<usize> {
        self.vaults.iter().position(|known| known.outpoint() == outpoint)
    }

    /// Returns the outputs as the chain shows them that a number is about.
    pub fn held(&self, output: usize) -> &Vaults {
        &self.vaults[if self.shape == Shape::Bonded { 0 } else { output }]
    }

    /// Returns the output before, if this one is of an extension.
    pub fn extends(&self, output: usize) -> Option<OutPoint> {
        (self.shape == Shape::Extended && output == 1).then(|| self.vaults[0].outpoint())
    }

    /// Returns the half of a spend to `to`, by the other party.
    pub fn half(&self, output: usize, to: Role) -> HalfSpend {
        let fee = self.escrow.fee_at(&self.vaults[output], to, FEERATE).expect("a feerate within bounds");
        self.escrow.half(&self.vaults[output], fee, to, &self.key(counterparty(to))).expect("a fee within bounds")
    }

    /// Completes a spend as a party that has what everybody else signs for it.
    ///
    /// # Errors
    /// When it is not the party's to complete.
    pub fn complete(&self, output: usize, way: Way, role: Role) -> Result<Transaction, EscrowError> {
        self.complete_by(output, way, role, &self.key(role))
    }

    /// Completes a spend in the place of a party, by any key.
    ///
    /// # Errors
    /// When it is not the party's to complete.
    pub fn complete_by(&self, output: usize, way: Way, role: Role, key: &Keypair) -> Result<Transaction, EscrowError> {
        let (escrow, vaults) = (&self.escrow, &self.vaults[output]);
        let draft = match way {
            Way::Payout | Way::Refund => {
                let to = way.to().unwrap_or(role);
                escrow.complete(&self.half(output, to), to, key)
            }
            Way::Timeout | Way::BondBack => {
                let bond = vaults.bond.filter(|_| way == Way::BondBack).map(|bond| (Vault::Bond, bond));
                let (vault, coin) = bond.unwrap_or((Vault::Escrow, vaults.escrow));
                escrow.signed_timeout(vault, coin, escrow.timeout_fee_at(vault, coin, FEERATE)?, key)
            }
            Way::RuledForBuyer | Way::RuledForSeller | Way::Split => {
                escrow.complete_ruling(Seat::First, &self.ruling(output, way), role, key)
            }
            Way::Extension => escrow.complete_extend(Seat::First, &self.extend(output), role, key),
        };
        Ok(draft?.tx)
    }

    /// Returns how much of a spend goes to a party.
    pub fn gets(&self, output: usize, way: Way, role: Role) -> u64 {
        let contract = self.escrow.contract();
        let script = contract.party(role).map(|party| party.destination.script());
        let outputs = self.spend(output, way).output.iter();
        outputs.filter(|output| Some(&output.script_pubkey) == script).map(|output| output.value.to_sat()).sum()
    }

    /// Returns a party's bond.
    pub fn bond(&self, role: Role) -> u64 {
        let contract = self.escrow.contract();
        if role == Role::Buyer { contract.buyer_bond.get() } else { contract.seller_bond.get() }
    }

    /// Returns the outputs that a spend of this escrow spends.
    pub fn spent(&self, tx: &Transaction) -> Vec<TxOut> {
        let coins: Vec<_> = self.vaults.iter().flat_map(Vaults::coins).collect();
        let output = |input: &TxIn| {
            let coin =
                coins.iter().find(|coin| coin.outpoint.0 == input.previous_output).expect("a coin of the escrow");
            let is_bond = self.vaults[0].bond.is_some_and(|bond| bond.outpoint == coin.outpoint);
            let funded = if is_bond { self.escrow.bond_output() } else { Some(self.escrow.output()) };
            TxOut { value: coin.value.into(), ..funded.expect("the escrow has it") }
        };
        tx.input.iter().map(output).collect()
    }

    /// Tells whether a party sends a spend: what it signs alone or completes.
    pub fn is_sent_by(&self, output: usize, way: Way, role: Role) -> bool {
        if way.is_by_arbiter() { self.completable.contains(&(output, way, role)) } else { way.to() == Some(role) }
    }

    /// Returns the pair by which the arbiter signs in this contract.
    pub fn arbiter_key(&self) -> Keypair {
        self.trade.arbiter_pair(self.escrow.contract(), Seat::First)
    }

    /// Returns how an arbiter decides in one of the ways of [`Way::RULINGS`].
    pub fn verdict(way: Way) -> Verdict {
        match way.to() {
            Some(Role::Buyer) => Verdict::Buyer,
            Some(Role::Seller | Role::Arbiter) => Verdict::Seller,
            None => Verdict::Split(sats(PART)),
        }
    }

    /// Returns the arbiter's ruling.
    pub fn ruling(&self, output: usize, way: Way) -> Ruling {
        let (escrow, vaults) = (&self.escrow, &self.vaults[output]);
        let division = escrow.divide(Seat::First, vaults, Self::verdict(way), FEERATE).expect("an ordinary verdict");
        escrow.rule(Seat::First, vaults, division, &self.arbiter_key()).expect("an ordinary ruling")
    }

    /// Returns the arbiter's part of an extension.
    pub fn extend(&self, output: usize) -> Extend {
        let (escrow, vaults) = (&self.escrow, &self.vaults[output]);
        let fee = escrow.extension_fee_at(Seat::First, vaults, FEERATE).expect("a feerate within bounds");
        escrow.extend(Seat::First, vaults, fee, &self.arbiter_key()).expect("an ordinary extension")
    }

    /// Returns what a real ledger makes of what buyer, seller and arbiter said, once the bid is among it.
    pub fn known(&self, said: [Words; 3]) -> Arc<TradeRecords> {
        let mut known = self.known.lock().expect("nobody panics while holding it");
        let entry = known.entry(said);
        Arc::clone(entry.or_insert_with(|| Arc::new(self.read(said))))
    }

    fn read(&self, [buyer, seller, arbiter]: [Words; 3]) -> TradeRecords {
        let mut ledger = ledger();
        let mut records = vec![self.trade.advert.clone()];
        let mut ruler = self.trade.arbiter.clone();
        let ruled = Word::ALL.into_iter().filter(|word| arbiter.contains(*word));
        records.extend(ruled.filter_map(|word| self.body(word)).map(|body| ruler.write(&body)));
        records.extend(self.log(Role::Buyer, buyer));
        records.extend(self.log(Role::Seller, seller));
        admit_all(&mut ledger, &records);
        ledger.trade(self.trade.id()).expect("the bid is in the ledger")
    }

    /// Returns a party's log with these words, in one order: facts are a set.
    fn log(&self, role: Role, words: Words) -> Vec<Record> {
        let is_maker = role == self.maker();
        if !is_maker && !words.contains(Word::Take) {
            return Vec::new();
        }
        let mut author = Author::new(if is_maker { 2 } else { 3 });
        let mut fork = author.clone();
        let mut again = |record: &Record| author.write(&Body::decode(record).expect("records of the sample trade"));
        let mut log = Vec::new();
        if is_maker {
            log.push(again(&self.trade.offer));
            fork.append(*self.trade.offer.header(), self.trade.offer.body().to_vec());
            if words.contains(Word::Accept) {
                log.push(again(&self.trade.accept));
            }
        } else {
            log.push(again(&self.trade.take));
        }
        let later = Word::ALL.into_iter().filter(|word| words.contains(*word));
        log.extend(later.filter_map(|word| self.body(word)).map(|body| author.write(&body)));
        if words.contains(Word::Fork) {
            log.push(fork.write(&Body::Heartbeat));
        }
        log
    }

    /// Returns the record by which a word is said, for all that comes after the agreement.
    fn body(&self, word: Word) -> Option<Body> {
        let trade = self.trade.id();
        match word {
            Word::Take | Word::Accept | Word::Fork => None,
            Word::Cancel => Some(Body::Cancel(Cancel { trade, refund: None })),
            Word::Refund(at) => Some(Body::Cancel(Cancel { trade, refund: Some(self.half(at, Role::Seller)) })),
            Word::Signed(at, Way::Extension) => Some(Body::Extend(self.extend(at))),
            Word::Signed(at, way) => Some(Body::Ruling(self.ruling(at, way))),
            Word::Funded(at) => Some(Body::Funded(Funded { trade, outpoint: self.vaults[at].escrow.outpoint })),
            Word::PaymentSent => Some(Body::PaymentSent(PaymentSent { trade })),
            Word::Dispute => Some(Body::Dispute(Dispute { trade })),
            Word::Release(at) => Some(Body::Release(Release { trade, payout: self.half(at, Role::Buyer) })),
            Word::Closed => {
                let spend = TxId(self.spend(0, Way::Payout).compute_txid());
                Some(Body::Closed(Closed { trade, spend }))
            }
        }
    }
}
