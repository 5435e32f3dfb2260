//! The sample trade with everything that can be signed in it, signed for real once: records, fundings and all spends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bitcoin::key::Keypair;
use bitcoin::{OutPoint, Transaction, Txid};
use exchange_ledger::body::{
    Body, Cancel, Closed, Dispute, Funded, HalfSpend, PaymentSent, Release, Ruling, Side, Vaults,
};
use exchange_ledger::ledger::TradeRecords;
use exchange_ledger::record::Record;
use exchange_ledger::testing::{
    Author, SampleTrade, admit_all, ledger, sample_accept, sample_advert, sample_offer, sample_take,
};
use exchange_ledger::trade::{Bid, Escrow, Role, Seat, Vault, Verdict, counterparty};
use exchange_ledger::wire::TxId;

use crate::chain::{OUTPUTS, Way};
use crate::words::{Word, Words};

/// The feerate of every spend, in sat/vB: the one that the machine takes when it signs by itself.
pub const FEERATE: u64 = 1;

/// A trade and what its parties can sign.
pub struct Fixture {
    /// Which side the maker is on.
    pub side: Side,
    /// The bid.
    pub bid: Bid,
    /// The escrow.
    pub escrow: Escrow,
    /// The transactions that can fund it.
    pub fundings: [Transaction; OUTPUTS],
    /// What they create.
    pub vaults: [Vaults; OUTPUTS],
    trade: SampleTrade,
    spends: HashMap<(usize, Way), Transaction>,
    names: HashMap<Txid, (usize, Way)>,
    /// What the ledger makes of what both said; asked of a real ledger once for each pair.
    known: Mutex<HashMap<(Words, Words), Arc<TradeRecords>>>,
}

impl Fixture {
    /// Signs everything of a trade whose maker is on `side`.
    pub fn new(side: Side) -> Self {
        let trade = SampleTrade::new(side);
        let fundings = [trade.funding(1), trade.funding(2)];
        let escrow = trade.escrow();
        let vaults = [0, 1].map(|at| escrow.fundings(&fundings[at])[0]);
        let bid = trade.bid();
        let mut fixture = Self {
            side,
            bid,
            escrow,
            fundings,
            vaults,
            trade,
            spends: HashMap::new(),
            names: HashMap::new(),
            known: Mutex::default(),
        };
        for output in 0..OUTPUTS {
            for way in Way::ALL {
                let tx = fixture.sign_spend(output, way);
                fixture.names.insert(tx.compute_txid(), (output, way));
                fixture.spends.insert((output, way), tx);
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

    /// Returns the place of an outpoint among those that fund the escrow.
    pub fn output(&self, outpoint: OutPoint) -> Option<usize> {
        self.vaults.iter().position(|known| known.outpoint() == outpoint)
    }

    /// Returns the half of a spend to `to`, by the other party.
    pub fn half(&self, output: usize, to: Role) -> HalfSpend {
        let fee = self.escrow.fee_at(&self.vaults[output], to, FEERATE).expect("a feerate within bounds");
        self.escrow.half(&self.vaults[output], fee, to, &self.key(counterparty(to))).expect("a fee within bounds")
    }

    fn sign_spend(&self, output: usize, way: Way) -> Transaction {
        let (escrow, vaults) = (&self.escrow, &self.vaults[output]);
        let to = way.to();
        let draft = match way {
            Way::Payout | Way::Refund => escrow.complete(&self.half(output, to), to, &self.key(to)),
            Way::Timeout => {
                let fee =
                    escrow.timeout_fee_at(Vault::Escrow, vaults.escrow, FEERATE).expect("a feerate within bounds");
                escrow.signed_timeout(Vault::Escrow, vaults.escrow, fee, &self.key(to))
            }
            Way::RuledForBuyer | Way::RuledForSeller => {
                escrow.complete_ruling(Seat::First, &self.ruling(output, to), to, &self.key(to))
            }
        };
        draft.expect("everybody signed the same").tx
    }

    /// Returns the arbiter's ruling for a party.
    pub fn ruling(&self, output: usize, to: Role) -> Ruling {
        let verdict = if to == Role::Buyer { Verdict::Buyer } else { Verdict::Seller };
        let (escrow, vaults) = (&self.escrow, &self.vaults[output]);
        let division = escrow.divide(Seat::First, vaults, verdict, FEERATE).expect("an ordinary verdict");
        let pair = self.trade.arbiter_pair(escrow.contract(), Seat::First);
        escrow.rule(Seat::First, vaults, division, &pair).expect("an ordinary ruling")
    }

    /// Returns what a real ledger makes of what buyer and seller said, once the bid is among it.
    pub fn known(&self, buyer: Words, seller: Words) -> Arc<TradeRecords> {
        let mut known = self.known.lock().expect("nobody panics while holding it");
        let entry = known.entry((buyer, seller));
        Arc::clone(entry.or_insert_with(|| Arc::new(self.read(buyer, seller))))
    }

    fn read(&self, buyer: Words, seller: Words) -> TradeRecords {
        let mut ledger = ledger();
        let mut records = vec![self.trade.advert.clone()];
        records.extend(self.log(Role::Buyer, buyer));
        records.extend(self.log(Role::Seller, seller));
        admit_all(&mut ledger, &records);
        ledger.trade(self.trade.id()).expect("the bid is in the ledger")
    }

    /// Returns a party's log with these words, in one order: facts are a set.
    fn log(&self, role: Role, words: Words) -> Vec<Record> {
        let mut arbiter = Author::new(1);
        let advert = arbiter.write(&Body::ArbiterAdvert(sample_advert(&arbiter)));
        let (mut maker, mut taker) = (Author::new(2), Author::new(3));
        let offer = maker.write(&Body::Offer(sample_offer(self.side, &[advert.id()])));
        let mut fork = taker.clone();
        let take = taker.write(&Body::Take(sample_take(offer.id(), &taker)));
        let (mut author, mut log) = (taker, vec![take.clone()]);
        if role == self.maker() {
            fork = maker.clone();
            log = vec![offer.clone()];
            if words.contains(Word::Accept) {
                log.push(maker.write(&Body::Accept(sample_accept(&take, offer.id(), &maker))));
            }
            author = maker;
        } else if !words.contains(Word::Take) {
            return Vec::new();
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
