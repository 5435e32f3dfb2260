//! The world around a trade: who follows the protocol, who does not, what time, chain and network may do to them.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;

use exchange_ledger::trade::{Action, Role, counterparty};
use stateright::{Model, Property};

use crate::chain::{Chain, Depth, OUTPUTS};
use crate::liveness::Pace;
use crate::party::{Deed, Driver, Fault, Party, Stimulus};
use crate::ways::{Shape, Way};
use crate::words::{Word, Words};
use crate::{Twist, properties};

/// Who may do what in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// What the second output is, and so whether an arbiter acts.
    pub shape: Shape,
    /// Who does not follow the protocol, if anybody: he may sign and send whatever he can.
    pub cheat: Option<Role>,
    /// Whether the arbiter signs whatever the cheat wants.
    pub collusion: bool,
    /// Whether the cheat may fund the escrow a second time.
    pub second: bool,
    /// How many reorgs there may be.
    pub reorgs: u8,
    /// How often somebody may crash; `None` is as often as he likes.
    pub crashes: Option<u8>,
    /// What is broken on purpose.
    pub twist: Option<Twist>,
}

impl Rules {
    /// Everybody follows the protocol.
    pub const HONEST: Self = Self {
        shape: Shape::Plain,
        cheat: None,
        collusion: false,
        second: false,
        reorgs: 0,
        crashes: None,
        twist: None,
    };

    /// The same in worlds of another shape. Where an arbiter acts somebody crashes once, for the sake of the size.
    pub const fn with(self, shape: Shape) -> Self {
        Self { shape, crashes: Some(1), ..self }
    }

    /// One does not.
    pub const fn cheating(role: Role) -> Self {
        Self { cheat: Some(role), ..Self::HONEST }
    }
}

/// Everything that decides what can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    /// Gets the coins.
    pub buyer: Party,
    /// Gives them.
    pub seller: Party,
    /// What the arbiter said, where one acts.
    pub arbiter: Words,
    /// The chain.
    pub chain: Chain,
    /// Whether the money has left the buyer and reached the seller.
    pub paid: bool,
    /// The outputs whose release, or ruling for the buyer, reached him before the seller's own leaf opened.
    pub in_time: [bool; OUTPUTS],
    /// How many reorgs may still come.
    pub reorgs: u8,
    /// How many crashes may still come, if they are counted.
    pub crashes: Option<u8>,
    /// What must never happen, and did.
    pub fault: Option<Fault>,
}

impl World {
    /// Returns the output that holds the amount now: after an extension is buried, what it made.
    pub fn holder(&self, shape: Shape) -> usize {
        usize::from(shape == Shape::Extended && self.chain.outputs[0].spend == Some((Way::Extension, Depth::Buried)))
    }

    /// Tells whether all coins have left the escrow for good.
    pub fn is_spent(&self, shape: Shape) -> bool {
        let is_gone = |at: usize| matches!(self.chain.outputs[at].spend, Some((_, Depth::Buried)));
        is_gone(self.holder(shape)) && (shape != Shape::Bonded || is_gone(1))
    }

    /// Returns everything that a party can hear by now.
    pub fn audible(&self, role: Role) -> Words {
        self.party(counterparty(role)).said.and(self.arbiter)
    }

    /// Returns a party.
    pub const fn party(&self, role: Role) -> &Party {
        match role {
            Role::Buyer => &self.buyer,
            Role::Seller | Role::Arbiter => &self.seller,
        }
    }

    const fn party_mut(&mut self, role: Role) -> &mut Party {
        match role {
            Role::Buyer => &mut self.buyer,
            Role::Seller | Role::Arbiter => &mut self.seller,
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {:?}, paid {}, fault {:?}", self.chain.outputs, self.paid, self.fault)?;
        write!(f, "\n    arbiter said {:?}", self.arbiter)?;
        for (name, party) in [("buyer", &self.buyer), ("seller", &self.seller)] {
            let Party { said, heard, sees, synced, funding, spend } = party;
            write!(f, "\n    {name} said {said:?}, heard {heard:?}, sees {:?} synced {synced}, ", sees.outputs)?;
            write!(f, "keeps funding {funding}, spend {spend:?}")?;
        }
        Ok(())
    }
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The taker bids.
    Take,
    /// Something reaches a party that follows the protocol.
    Turn {
        /// Which.
        role: Role,
        /// What.
        stimulus: Stimulus,
        /// How many deeds it does before it crashes, if it does.
        crash: Option<usize>,
    },
    /// The arbiter signs that coins go a way.
    Decide(Way),
    /// The cheat says something.
    Say(Word),
    /// The cheat pays, for once.
    Pay,
    /// The cheat funds an output.
    Fund(usize),
    /// The cheat sends a spend, with a fee that drives out whatever else the pool holds.
    Spend(usize, Way),
    /// A block.
    Mine {
        /// Whether it holds spends of the escrow too.
        spends: bool,
    },
    /// Blocks on top of what is in a block.
    Bury,
    /// Time, until the next rule of the trade changes.
    Wait,
    /// The pool is emptied.
    Evict,
    /// A reorg.
    Reorg {
        /// Of more blocks than bury a trade's transactions.
        deep: bool,
        /// What its blocks held is lost, and must be sent again.
        lose: bool,
    },
}

/// A world and all that can happen in it.
pub struct Trading {
    /// Who may do what.
    pub rules: Rules,
    /// The real machines.
    pub driver: Driver,
    /// Worlds from which the coins are known to move on.
    pub settled: Mutex<HashSet<(World, Pace)>>,
}

impl Trading {
    /// Tells whether the coins are known to move on from here.
    pub fn is_settled(&self, world: &World, pace: Pace) -> bool {
        self.settled.lock().expect("nobody panics while holding it").contains(&(*world, pace))
    }

    /// Notes worlds from which the coins move on.
    pub fn settle(&self, worlds: &[World], pace: Pace) {
        let worlds = worlds.iter().map(|world| (*world, pace));
        self.settled.lock().expect("nobody panics while holding it").extend(worlds);
    }

    /// Returns the roles that follow the protocol.
    pub fn honest(&self) -> impl Iterator<Item = Role> + use<> {
        let cheat = self.rules.cheat;
        [Role::Buyer, Role::Seller].into_iter().filter(move |role| Some(*role) != cheat)
    }

    /// Tells whether a role follows the protocol.
    pub fn is_honest(&self, role: Role) -> bool {
        self.rules.cheat != Some(role)
    }

    /// Returns what a user who follows the protocol may ask for now.
    pub fn wishes(&self, world: &World, role: Role) -> Vec<Action> {
        let party = world.party(role);
        if !self.driver.is_up(role, party) {
            return Vec::new();
        }
        let turn = self.driver.turn(role, party, Stimulus::Nothing);
        let sane = |action: &Action| match (action, role) {
            // Who has paid calls nothing off; who was paid releases, and takes nothing back.
            (Action::Cancel, Role::Buyer) | (Action::Refund, Role::Seller) => !world.paid,
            // A seller asks for coins back where nobody decides about them.
            (Action::Cancel, Role::Seller) => !self.rules.shape.has_arbiter(),
            // Who has paid calls for the arbiter, and who was not paid; where none acts, a seller has his own leaf.
            (Action::Dispute, Role::Buyer) => world.paid,
            (Action::Dispute, Role::Seller) => !world.paid && self.rules.shape.has_arbiter(),
            (Action::Release, Role::Seller) => world.paid || self.rules.twist == Some(Twist::ReleasesUnpaid),
            (
                Action::Accept
                | Action::Fund
                | Action::MarkPaid
                | Action::Release
                | Action::Cancel
                | Action::Refund
                | Action::Dispute
                | Action::Rule
                | Action::Extend,
                Role::Buyer | Role::Seller | Role::Arbiter,
            ) => true,
        };
        turn.actions.iter().copied().filter(sane).collect()
    }

    /// Lets something reach a party; returns the world after it.
    pub fn turn(&self, mut world: World, role: Role, stimulus: Stimulus, crash: Option<usize>) -> World {
        let before = *world.party(role);
        let party = world.party_mut(role);
        match stimulus {
            Stimulus::Look { chain, synced: true } => (party.sees, party.synced) = (chain, true),
            // On the way to the tip there is more to see every moment: what is seen is not kept.
            Stimulus::Look { synced: false, .. } => {}
            Stimulus::Hear(words) => {
                party.heard = words;
                if role == Role::Buyer {
                    let open = |at: usize| world.chain.outputs[at].funding >= Depth::RefundOpen;
                    let his = |at: usize| [Word::Release(at), Word::Signed(at, Way::RuledForBuyer)];
                    let got = |at: usize| his(at).into_iter().any(|word| words.contains(word)) && !open(at);
                    world.in_time = [0, 1].map(|at| world.in_time[at] || got(at));
                }
            }
            Stimulus::Ask(Action::MarkPaid) => world.paid = true,
            Stimulus::Ask(_) | Stimulus::Nothing => {}
        }
        if !self.driver.is_up(role, world.party(role)) {
            return world;
        }
        let turn = self.driver.turn(role, &before, stimulus);
        world.fault = world.fault.or(turn.fault);
        for deed in turn.deeds.iter().take(crash.unwrap_or(usize::MAX)) {
            let party = world.party_mut(role);
            match *deed {
                Deed::Keep { funding, spend } => (party.funding, party.spend) = (funding, spend),
                Deed::Say(word) => party.said.add(word),
                Deed::Fund => world.chain.fund(0),
                Deed::Spend(output, way) => world.chain.spend(self.rules.shape, output, way, false),
            }
        }
        if crash.is_some() {
            let party = world.party_mut(role);
            (party.sees, party.synced) = (Chain::default(), false);
        }
        world
    }
}

impl Model for Trading {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        // A dispute that is open already is about a payment that came, or did not.
        let paid = if self.rules.shape == Shape::Extended { &[false, true][..] } else { &[false] };
        let begin = |paid: &bool| {
            let chain = Chain::funded(self.rules.shape);
            let [buyer, seller] = self.driver.beginning(chain, *paid);
            let (arbiter, in_time) = (Words::default(), [false; OUTPUTS]);
            World {
                buyer,
                seller,
                arbiter,
                chain,
                paid: *paid,
                in_time,
                reorgs: self.rules.reorgs,
                crashes: self.rules.crashes,
                fault: None,
            }
        };
        paid.iter().map(begin).collect()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.fault.is_some() {
            return; // found; nothing that follows tells more
        }
        if self.rules.shape.has_arbiter() && world.reorgs == 0 && world.is_spent(self.rules.shape) {
            return; // it is over
        }
        let taker = counterparty(self.driver.fixture().maker());
        if self.is_honest(taker) && !world.party(taker).said.contains(Word::Take) {
            steps.push(Step::Take);
        }
        for role in [Role::Buyer, Role::Seller] {
            if self.is_honest(role) {
                self.honest_steps(world, role, steps);
            } else {
                self.cheat_steps(world, role, steps);
            }
        }
        if self.rules.shape.has_arbiter() {
            steps.extend(self.driver.decisions(world).iter().map(|decision| Step::Decide(decision.way)));
        }
        self.chain_steps(world, steps);
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = *before;
        match step {
            Step::Take => {
                let taker = counterparty(self.driver.fixture().maker());
                world.party_mut(taker).said.add(Word::Take);
            }
            Step::Turn { role, stimulus, crash } => {
                world = self.turn(world, role, stimulus, crash);
                world.crashes = before.crashes.map(|left| left - u8::from(crash.is_some())); // only while some are left
            }
            Step::Decide(way) => {
                let decisions = self.driver.decisions(before);
                match decisions.iter().find(|decision| decision.way == way)?.word {
                    Ok(word) => world.arbiter.add(word),
                    Err(fault) => world.fault = Some(fault),
                }
            }
            Step::Say(word) => world.party_mut(self.rules.cheat?).said.add(word),
            Step::Pay => world.paid = true,
            Step::Fund(output) => world.chain.fund(output),
            Step::Spend(output, way) => world.chain.spend(self.rules.shape, output, way, true),
            Step::Mine { spends } => world.chain.mine(spends),
            Step::Bury => world.chain.bury(),
            Step::Wait => world.chain.pass_time(self.rules.shape),
            Step::Evict => world.chain.evict(),
            Step::Reorg { deep, lose } => {
                world.reorgs -= 1;
                world.chain.reorganise(deep, lose);
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(&self.rules)
    }
}
