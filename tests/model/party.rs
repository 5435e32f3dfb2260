//! One party that follows the protocol: the real machine, and a driver that does what it asks for until the power goes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bitcoin::Transaction;
use bitcoin::consensus::serialize;
use exchange_ledger::body::Body;
use exchange_ledger::testing::SALT;
use exchange_ledger::trade::{Action, Command, Effect, Event, Local, Phase, Role, Trade, counterparty};

use crate::Twist;
use crate::chain::{Chain, Way};
use crate::fixture::{FEERATE, Fixture};
use crate::words::{Word, Words};

/// What one party has on disk, and what it saw last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Party {
    /// What it said.
    pub said: Words,
    /// What reached it of what the other said.
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
    /// It signed one output away in two directions.
    SignedTwoWays,
    /// It told its user to pay although no escrow was safe to pay for.
    ToldToPay,
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
}

/// What decides everything of a machine but the chain: role, said, heard, kept.
type Rest = (Role, Words, Words, bool, Option<(usize, Way)>);

impl Driver {
    /// Drives the parties of a trade.
    pub fn new(fixture: Fixture, twist: Option<Twist>) -> Self {
        Self { fixture, twist, turns: Mutex::default(), machines: Mutex::default() }
    }

    /// Returns the trade.
    pub const fn fixture(&self) -> &Fixture {
        &self.fixture
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
        let before = machine.phase();
        let mut run = Run { fixture: &self.fixture, role, party, stimulus, deeds: Vec::new(), fault: None };
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
        // One way back there is: a seller who funded twice, and took one back, may still release the other.
        let is_open = matches!(phase, Phase::Released | Phase::Refunding);
        let regained = matches!(before, Phase::Refunded | Phase::Settled | Phase::Lost) && is_open;
        let went_back = rank(phase) < rank(before) && !regained;
        if party.synced && now.synced && now.sees.continues(&party.sees) && went_back {
            run.fault.get_or_insert(Fault::WentBack(before, phase));
        }
        let asked_to_pay = stimulus == Stimulus::Ask(Action::MarkPaid);
        if asked_to_pay && !(party.synced && party.sees.is_safe_to_pay()) {
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
                funding_tx: party.funding.then(|| serialize(&fixture.fundings[0])),
                spend_tx: party.spend.map(|(output, way)| serialize(fixture.spend(output, way))),
                ..Local::default() // each try at the key of both begins anew here, and fails; there are no bonds
            };
            let mut machine = Trade::new(fixture.bid.clone(), role, role == fixture.maker(), local);
            let _ = machine.handle(Event::Compared); // when it is, is not this model's concern
            let _ = machine.handle(records(fixture, role, party)); // effects of that were performed or lost before
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
}

fn records(fixture: &Fixture, role: Role, party: &Party) -> Event {
    let (buyer, seller) = match role {
        Role::Buyer => (party.said, party.heard),
        Role::Seller | Role::Arbiter => (party.heard, party.said),
    };
    let known = fixture.known(buyer, seller);
    Event::Records { contract: known.contract.clone(), facts: known.facts.clone() }
}

/// One stimulus being worked off.
struct Run<'a> {
    fixture: &'a Fixture,
    role: Role,
    party: Party,
    stimulus: Stimulus,
    deeds: Vec<Deed>,
    fault: Option<Fault>,
}

impl Run<'_> {
    fn records(&self) -> Event {
        records(self.fixture, self.role, &self.party)
    }

    fn perform_all(&mut self, machine: &mut Trade, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            // A refusal of what came from elsewhere changes nothing, and the user is told of his.
            for effect in machine.handle(event).unwrap_or_default() {
                events.extend(self.perform(effect));
            }
        }
    }

    /// Does what the node's driver does with an effect.
    fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Persist(local) => {
                let spend = local.spend_tx.as_deref().map(|bytes| self.name(bytes));
                let kept = (local.funding_tx.is_some(), spend.unwrap_or(None));
                if kept == (self.party.funding, self.party.spend) {
                    return None; // a round was counted, or details came
                }
                (self.party.funding, self.party.spend) = kept;
                self.deeds.push(Deed::Keep { funding: self.party.funding, spend: self.party.spend });
                None
            }
            Effect::Watch { .. } | Effect::SendDetails => None,
            // An acceptance states a height, so it waits for the chain.
            Effect::Accept if self.party.synced => self.say(Word::Accept),
            Effect::Accept => None,
            Effect::Publish(body) => match self.word(&body) {
                Some(word) => self.say(word),
                None => self.blame(Fault::OutsideOfContract),
            },
            Effect::BuildFunding { script, amount, .. } => {
                let output = self.fixture.escrow.output();
                if script != output.script_pubkey || bitcoin::Amount::from(amount) != output.value {
                    return self.blame(Fault::OutsideOfContract);
                }
                if self.party.funding {
                    return self.blame(Fault::SentUnkept);
                }
                Some(Event::FundingBuilt(self.fixture.fundings[0].clone()))
            }
            Effect::SignHalf { vaults, to, .. } => self.sign_half(self.fixture.output(vaults.outpoint()), to),
            Effect::Complete { half, to } => {
                let tx = self.fixture.escrow.complete(&half, to, &self.fixture.key(self.role));
                self.built(to, tx.ok().map(|draft| draft.tx))
            }
            // Nobody replies to anything here: the leaf must do.
            Effect::Ask { .. } => Some(Event::Unanswered),
            Effect::Reply { .. } => self.blame(Fault::OutsideOfContract),
            Effect::BuildTimeout { vault, coin, fee } => {
                let draft = self.fixture.escrow.signed_timeout(vault, coin, fee, &self.fixture.key(self.role));
                self.built(Role::Seller, draft.ok().map(|draft| draft.tx))
            }
            Effect::CompleteRuling { seat, ruling } => {
                let key = self.fixture.key(self.role);
                let draft = self.fixture.escrow.complete_ruling(seat, &ruling, self.role, &key);
                self.built(self.role, draft.ok().map(|draft| draft.tx))
            }
            // Neither signs for an arbiter, and no arbiter extends here.
            Effect::SignRuling { .. } | Effect::SignExtension { .. } | Effect::CompleteExtension { .. } => {
                self.blame(Fault::OutsideOfContract)
            }
            // The escrow of the model has no buyer's bond.
            Effect::ChooseCoins { .. }
            | Effect::LookUpCoins(_)
            | Effect::SignFunding(_)
            | Effect::SendProposal(_)
            | Effect::SendAnswer(_)
            | Effect::FreeCoins { .. }
            | Effect::SpendCoinBack { .. } => self.blame(Fault::OutsideOfContract),
            Effect::Broadcast(tx) => self.broadcast(&tx),
        }
    }

    /// Says a word once, as a node looks first whether it has said so already, and shows the machine its records anew.
    fn say(&mut self, word: Word) -> Option<Event> {
        if self.party.said.contains(word) {
            return None;
        }
        self.party.said.add(word);
        self.deeds.push(Deed::Say(word));
        Some(self.records())
    }

    fn word(&self, body: &Body) -> Option<Word> {
        match body {
            Body::Cancel(cancel) => cancel.refund.is_none().then_some(Word::Cancel),
            Body::Funded(funded) => self.fixture.output(funded.outpoint.0).map(Word::Funded),
            Body::PaymentSent(_) => Some(Word::PaymentSent),
            Body::Closed(_) => Some(Word::Closed),
            Body::Dispute(_) => Some(Word::Dispute),
            _ => None, // everything else is said by effects of its own, or by no machine
        }
    }

    fn sign_half(&mut self, output: Option<usize>, to: Role) -> Option<Event> {
        let Some(output) = output.filter(|_| to == counterparty(self.role)) else {
            return self.blame(Fault::OutsideOfContract);
        };
        if to == Role::Buyer && self.stimulus != Stimulus::Ask(Action::Release) {
            return self.blame(Fault::ReleasedUnasked);
        }
        // He who signs an output away must not have taken it, nor (the buyer) have paid for it, unless he is asked to.
        let taken = self.party.spend.is_some_and(|(at, _)| at == output);
        let paid = to == Role::Seller
            && self.party.said.contains(Word::PaymentSent)
            && self.stimulus != Stimulus::Ask(Action::Cancel);
        if taken || paid {
            return self.blame(Fault::SignedTwoWays);
        }
        self.say(if to == Role::Buyer { Word::Release(output) } else { Word::Refund(output) })
    }

    fn built(&mut self, to: Role, tx: Option<Transaction>) -> Option<Event> {
        let Some((tx, (output, _))) = tx.and_then(|tx| self.fixture.name(&tx).map(|name| (tx, name))) else {
            return self.blame(Fault::OutsideOfContract);
        };
        if to != self.role {
            return self.blame(Fault::OutsideOfContract);
        }
        // A seller who released takes nothing back. A buyer who offered a refund may still take what the seller released.
        if to == Role::Seller && self.party.said.contains(Word::Release(output)) {
            return self.blame(Fault::SignedTwoWays);
        }
        Some(Event::SpendBuilt(tx))
    }

    fn broadcast(&mut self, tx: &Transaction) -> Option<Event> {
        if *tx == self.fixture.fundings[0] {
            if !self.party.funding {
                return self.blame(Fault::SentUnkept);
            }
            self.deeds.push(Deed::Fund);
            return None;
        }
        let Some((output, way)) = self.fixture.name(tx) else { return self.blame(Fault::OutsideOfContract) };
        if way.to() != self.role {
            return self.blame(Fault::OutsideOfContract);
        }
        if self.party.spend != Some((output, way)) {
            return self.blame(Fault::SentUnkept);
        }
        self.deeds.push(Deed::Spend(output, way));
        None
    }

    fn name(&self, bytes: &[u8]) -> Option<(usize, Way)> {
        self.fixture.name(&bitcoin::consensus::deserialize(bytes).ok()?)
    }

    fn blame(&mut self, fault: Fault) -> Option<Event> {
        self.fault.get_or_insert(fault);
        None
    }
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
