//! One party that follows the protocol: the real machine, and a driver that runs it until the power goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bitcoin::OutPoint;
use bitcoin::consensus::serialize;
use exchange_ledger::testing::SALT;
use exchange_ledger::trade::{Action, Command, Event, Funding, Local, Phase, Role, Spend, SpendPath, Trade};

use crate::Twist;
use crate::arbiter::Decision;
use crate::chain::{Chain, OUTPUTS};
use crate::fixture::{FEERATE, Fixture};
use crate::run::Run;
use crate::ways::{Shape, Way};
use crate::words::{Word, Words};

/// What one party has on disk, and what it saw last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Party {
    /// What it said.
    pub said: Words,
    /// What reached it of what the other and the arbiter said.
    pub heard: Words,
    /// The chain as it saw it last.
    pub sees: Chain,
    /// Whether it followed the chain to its tip since it started.
    pub synced: bool,
    /// Whether it keeps a funding transaction: always the one of the first output.
    pub funding: bool,
    /// The spend of the escrow that it keeps.
    pub spend: Option<(usize, Way)>,
}

/// Something that happens to a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stimulus {
    /// It looks at the chain, on the way to the tip or there.
    Look {
        /// What it sees.
        chain: Chain,
        /// Whether that is the tip.
        synced: bool,
    },
    /// Records reach it.
    Hear(Words),
    /// Its user asks for something.
    Ask(Action),
    /// Nothing: where does it stand?
    Nothing,
}

/// Something that a party did which outlives a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Kept what only it knows.
    Keep {
        /// A funding transaction.
        funding: bool,
        /// A spend.
        spend: Option<(usize, Way)>,
    },
    /// Published a record.
    Say(Word),
    /// Sent the funding transaction.
    Fund,
    /// Sent a spend.
    Spend(usize, Way),
}

/// Something that must never happen to a party that follows the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It sent, completed or signed what the contract does not allow.
    OutsideOfContract,
    /// It sent a transaction that it had not kept, or made a second one.
    SentUnkept,
    /// It released without its user's order.
    ReleasedUnasked,
    /// It signed the same coins away in two directions.
    SignedTwoWays,
    /// It asks for one thing after another and comes to no rest.
    Restless,
    /// It told its user to pay although no escrow was safe to pay for, none was named, or the seller had signed two histories.
    ToldToPay,
    /// As an arbiter, it decided unasked, or twice about the same coins.
    RuledAmiss,
    /// Its phase went back although no reorg did.
    WentBack(Phase, Phase),
}

/// What a stimulus led to.
#[derive(Debug, Clone)]
pub struct Turn {
    /// What was done, in order.
    pub deeds: Vec<Deed>,
    /// Where the party stands then.
    pub phase: Phase,
    /// What its user may do then.
    pub actions: Vec<Action>,
    /// What must never happen, and did.
    pub fault: Option<Fault>,
}

/// Runs the real machine. What it did once under the same circumstances is remembered: it is a function.
pub struct Driver {
    fixture: Fixture,
    twist: Option<Twist>,
    turns: Mutex<HashMap<(Role, Party, Stimulus), Arc<Turn>>>,
    machines: Mutex<HashMap<Rest, Trade>>,
    /// What the arbiter may sign: by what all said, and by the chain.
    pub decisions: Mutex<HashMap<Heard, Arc<Vec<Decision>>>>,
}

/// What everybody said, and the chain.
pub type Heard = ([Words; 3], Chain);

/// What decides everything of a machine but the chain: role, said, heard, kept.
type Rest = (Role, Words, Words, bool, Option<(usize, Way)>);

impl Driver {
    /// Drives the parties of a trade.
    pub fn new(fixture: Fixture, twist: Option<Twist>) -> Self {
        Self { fixture, twist, turns: Mutex::default(), machines: Mutex::default(), decisions: Mutex::default() }
    }

    /// Returns the trade.
    pub const fn fixture(&self) -> &Fixture {
        &self.fixture
    }

    /// Returns what is broken on purpose.
    pub const fn twist(&self) -> Option<Twist> {
        self.twist
    }

    /// Returns buyer and seller as they are when a world begins: strangers, or with a funded escrow that both know of, or
    /// with a dispute about whether the buyer has paid.
    pub fn beginning(&self, chain: Chain, paid: bool) -> [Party; 2] {
        if !self.fixture.shape.has_arbiter() {
            return [Party::default(); 2];
        }
        let (mut maker, mut taker) = (Words::default(), Words::default());
        maker.add(Word::Accept);
        taker.add(Word::Take);
        let (mut buyer, mut seller) = if self.fixture.maker() == Role::Buyer { (maker, taker) } else { (taker, maker) };
        seller.add(Word::Funded(0));
        if self.fixture.shape == Shape::Extended && paid {
            buyer.add(Word::PaymentSent);
            buyer.add(Word::Dispute);
        } else if self.fixture.shape == Shape::Extended {
            seller.add(Word::Dispute);
        }
        let knows = Party { sees: chain, synced: true, ..Party::default() };
        [Party { said: buyer, heard: seller, ..knows }, Party { said: seller, heard: buyer, funding: true, ..knows }]
    }

    /// Tells whether a party knows of the bid, and so has a machine.
    pub fn is_up(&self, role: Role, party: &Party) -> bool {
        let bidder = if role == self.fixture.maker() { party.heard } else { party.said };
        bidder.contains(Word::Take)
    }

    /// Returns how many circumstances the machines were put into.
    pub fn circumstances(&self) -> usize {
        self.turns.lock().expect("nobody panics while holding it").len()
    }

    /// Returns what a stimulus leads to.
    pub fn turn(&self, role: Role, party: &Party, stimulus: Stimulus) -> Arc<Turn> {
        let key = (role, *party, stimulus);
        if let Some(turn) = self.turns.lock().expect("nobody panics while holding it").get(&key) {
            return Arc::clone(turn);
        }
        let turn = Arc::new(self.run(role, *party, stimulus));
        self.turns.lock().expect("nobody panics while holding it").insert(key, Arc::clone(&turn));
        turn
    }

    fn run(&self, role: Role, party: Party, stimulus: Stimulus) -> Turn {
        // The machine of a bid that a maker hears of begins with it.
        let mut known = party;
        if let (Stimulus::Hear(words), false) = (stimulus, self.is_up(role, &party)) {
            known.heard = words;
        }
        let mut machine = self.machine(role, &known);
        let (before, counted) = (machine.phase(), machine.view().funding().map(Funding::outpoint));
        let heard_of_funding = machine.hears_of_funding();
        let mut run = Run { driver: self, role, party, stimulus, deeds: Vec::new(), fault: None };
        let event = match stimulus {
            Stimulus::Look { chain, synced } => {
                run.party.sees = chain;
                run.party.synced = synced;
                Some(self.chain_event(role, &chain, synced))
            }
            Stimulus::Hear(words) => {
                run.party.heard = words;
                Some(run.records())
            }
            Stimulus::Ask(action) => Some(Event::Command(Command { action, feerate: FEERATE })),
            Stimulus::Nothing => None,
        };
        if let Some(event) = event {
            run.perform_all(&mut machine, event);
        }
        let (phase, now) = (machine.phase(), run.party);
        // Three ways back there are: a seller who funded twice, and got one back, may still release the other; what he takes
        // back by his own leaf counts no more while the other is there; and who pays beside what others let wait in the pool
        // looks at his own from then on.
        let is_open = matches!(phase, Phase::Released | Phase::Refunding);
        let regained = matches!(before, Phase::Refunded | Phase::Settled | Phase::Lost) && is_open;
        let made_way = counted.is_some_and(|counted| makes_way(&machine, counted));
        let paid_beside = heard_of_funding && !party.funding && now.funding;
        let went_back = rank(phase) < rank(before) && !regained && !made_way && !paid_beside;
        if party.synced && now.synced && now.sees.continues(&party.sees) && went_back {
            run.fault.get_or_insert(Fault::WentBack(before, phase));
        }
        let asked_to_pay = stimulus == Stimulus::Ask(Action::MarkPaid);
        let is_named = (0..OUTPUTS).any(|at| party.heard.contains(Word::Funded(at)));
        let is_safe = party.synced && party.sees.is_safe_to_pay() && is_named && !party.heard.contains(Word::Fork);
        if asked_to_pay && !is_safe {
            run.fault.get_or_insert(Fault::ToldToPay);
        }
        Turn { deeds: run.deeds, phase, actions: machine.actions(), fault: run.fault }
    }

    /// Returns a party's machine as it is after a start and a look at all that it saw before.
    fn machine(&self, role: Role, party: &Party) -> Trade {
        let rest = (role, party.said, party.heard, party.funding, party.spend);
        let mut machines = self.machines.lock().expect("nobody panics while holding it");
        let machine = machines.entry(rest).or_insert_with(|| {
            let fixture = &self.fixture;
            let local = Local {
                details: Some((SALT, fixture.details(role))),
                their_details: None,
                funding_tx: party.funding.then(|| serialize(&fixture.funding)),
                spend_tx: party.spend.map(|(output, way)| serialize(fixture.spend(output, way))),
                negotiation: fixture.negotiations[usize::from(role == Role::Seller)].clone(),
                ..Local::default() // each try at the key of both begins anew here, and fails
            };
            let mut machine = Trade::new(fixture.bid.clone(), role, role == fixture.maker(), local);
            let _ = machine.handle(Event::Compared); // when it is, is not this model's concern
            let _ = machine.handle(self.records(role, party)); // effects of that were performed or lost before
            machine
        });
        let mut machine = machine.clone();
        drop(machines);
        let _ = machine.handle(self.chain_event(role, &party.sees, party.synced));
        machine
    }

    fn chain_event(&self, role: Role, chain: &Chain, synced: bool) -> Event {
        let mut facts = chain.facts(&self.fixture, synced);
        if self.twist == Some(Twist::PoolLooksBuried) && role == Role::Buyer {
            for funding in &mut facts.fundings {
                funding.height.get_or_insert(facts.tip - 10);
            }
        }
        Event::Chain(facts)
    }

    /// Returns what a party knows of records.
    pub fn records(&self, role: Role, party: &Party) -> Event {
        let (mut arbiter, other) = party.heard.by_arbiter();
        if self.twist == Some(Twist::DeafToRulings) && role == Role::Buyer {
            arbiter = Words::default();
        }
        let known = self.fixture.known(match role {
            Role::Buyer => [party.said, other, arbiter],
            Role::Seller | Role::Arbiter => [other, party.said, arbiter],
        });
        Event::Records { contract: known.contract.clone(), facts: known.facts.clone() }
    }
}

/// Tells whether the seller takes an output back by his own leaf, and another counts.
fn makes_way(machine: &Trade, output: OutPoint) -> bool {
    let view = machine.view();
    let takes_back = |spend: &Spend| spend.spends(&output) && spend.path == SpendPath::Timeout;
    let is_another = |funding: &Funding| funding.outpoint() != output;
    view.chain().spends.iter().any(takes_back) && view.funding().is_some_and(is_another)
}

/// Orders the phases by how far a trade has come. Of two with the same rank either may follow the other, as long as nothing
/// is buried: both a payout and a refund may be signed.
const fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Bid => 0,
        Phase::Agreed => 1,
        Phase::Void | Phase::Cancelled => 2,
        Phase::Funding => 3,
        Phase::Funded => 4,
        Phase::Paid => 5,
        Phase::Disputed | Phase::Ruled => 6,
        Phase::Released | Phase::Refunding => 6,
        Phase::Closed | Phase::Refunded | Phase::Settled | Phase::Lost => 7,
    }
}
