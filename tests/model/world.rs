//! The world around a trade: who follows the protocol, who does not, what time, chain and network may do to them.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;

use exchange_ledger::trade::{Action, Role, counterparty};
use stateright::{Model, Property};

use crate::chain::{Chain, Depth, OUTPUTS, Way};
use crate::party::{Deed, Driver, Fault, Party, Stimulus};
use crate::words::{Word, Words};
use crate::{Twist, properties};

/// How many words of a cheat may be on their way at once: two, so that they can arrive together or apart. Where he funds
/// twice it is one, and the pool keeps what it has: the world is large enough.
const MAX_UNHEARD: u32 = 2;

/// Who may do what in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Who does not follow the protocol, if anybody: he may sign and send whatever he can.
    pub cheat: Option<Role>,
    /// Whether the arbiter signs whatever the cheat wants.
    pub collusion: bool,
    /// Whether the cheat may fund the escrow a second time.
    pub second: bool,
    /// How many reorgs there may be.
    pub reorgs: u8,
    /// What is broken on purpose.
    pub twist: Option<Twist>,
}

impl Rules {
    /// Everybody follows the protocol.
    pub const HONEST: Self = Self { cheat: None, collusion: false, second: false, reorgs: 0, twist: None };

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
    /// The chain.
    pub chain: Chain,
    /// Whether the money has left the buyer and reached the seller.
    pub paid: bool,
    /// The outputs whose release reached the buyer before the seller's own leaf opened.
    pub in_time: [bool; OUTPUTS],
    /// How many reorgs may still come.
    pub reorgs: u8,
    /// What must never happen, and did.
    pub fault: Option<Fault>,
}

impl World {
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
    pub settled: Mutex<HashSet<World>>,
}

impl Trading {
    /// Tells whether the coins are known to move on from here.
    pub fn is_settled(&self, world: &World) -> bool {
        self.settled.lock().expect("nobody panics while holding it").contains(world)
    }

    /// Notes worlds from which the coins move on.
    pub fn settle(&self, worlds: &[World]) {
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
            // Who has paid calls for the arbiter; a seller has his own leaf.
            (Action::Dispute, role) => role == Role::Buyer && world.paid,
            (Action::Release, Role::Seller) => world.paid || self.rules.twist == Some(Twist::ReleasesUnpaid),
            (
                Action::Accept
                | Action::Fund
                | Action::MarkPaid
                | Action::Release
                | Action::Cancel
                | Action::Refund
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
                    let released = |at: usize| words.contains(Word::Release(at)) && !open(at);
                    world.in_time = [0, 1].map(|at| world.in_time[at] || released(at));
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
                Deed::Spend(output, way) => world.chain.spend(output, way, false),
            }
        }
        if crash.is_some() {
            let party = world.party_mut(role);
            (party.sees, party.synced) = (Chain::default(), false);
        }
        world
    }

    /// Tells whether everybody who follows the protocol has seen all there is to see.
    fn is_caught_up(&self, world: &World) -> bool {
        self.honest().all(|role| {
            let (party, other) = (world.party(role), world.party(counterparty(role)));
            party.synced && party.sees == world.chain && party.heard == other.said
        })
    }

    fn honest_steps(&self, world: &World, role: Role, steps: &mut Vec<Step>) {
        let party = world.party(role);
        let mut stimuli = Vec::new();
        if !self.driver.is_up(role, party) && role != self.driver.fixture().maker() {
            return;
        }
        let look = Stimulus::Look { chain: world.chain, synced: true };
        if !party.synced {
            stimuli.push(Stimulus::Look { chain: world.chain, synced: false });
        }
        if !party.synced || party.sees != world.chain {
            stimuli.push(look);
        }
        let said = world.party(counterparty(role)).said;
        if party.heard != said {
            stimuli.push(Stimulus::Hear(said));
        }
        stimuli.extend(self.wishes(world, role).into_iter().map(Stimulus::Ask));
        for stimulus in stimuli {
            steps.push(Step::Turn { role, stimulus, crash: None });
            let mut heard = *party;
            if let Stimulus::Hear(words) = stimulus {
                heard.heard = words;
            }
            if self.driver.is_up(role, &heard) {
                let deeds = self.driver.turn(role, party, stimulus).deeds.len();
                steps.extend((0..deeds).map(|at| Step::Turn { role, stimulus, crash: Some(at) }));
            }
        }
    }

    /// Everything that the cheat can do: say what is his to say, and send what he can sign, alone, with what the other
    /// signed for him, or with an arbiter who colludes.
    fn cheat_steps(&self, world: &World, cheat: Role, steps: &mut Vec<Step>) {
        let (own, other) = (world.party(cheat).said, world.party(counterparty(cheat)).said);
        let is_maker = cheat == self.driver.fixture().maker();
        let agreed = |words: Words| words.contains(Word::Take) || words.contains(Word::Accept);
        if !agreed(own) && !agreed(other) && !is_maker {
            steps.push(Step::Say(Word::Take));
            return;
        }
        // What concerns the second output only where there can be one; two histories only where there is none, for the sake
        // of the size.
        let fits = |word: &Word| word.output().is_none_or(|at| at == 0 || self.rules.second);
        let has_fork = |word: &Word| *word != Word::Fork || !self.rules.second;
        let tempting =
            |word: &Word| word.tempts(cheat, is_maker) && !own.contains(*word) && fits(word) && has_fork(word);
        let unheard = own.len() - world.party(counterparty(cheat)).heard.len();
        if unheard < if self.rules.second { 1 } else { MAX_UNHEARD } {
            steps.extend(Word::ALL.into_iter().filter(tempting).map(Step::Say));
        }
        if cheat == Role::Buyer && !world.paid && world.chain.outputs.iter().any(|output| output.funding.is_confirmed())
        {
            steps.push(Step::Pay);
        }
        for at in 0..OUTPUTS {
            let is_his = if at == 0 { cheat == Role::Seller } else { self.rules.second };
            let output = world.chain.outputs[at];
            let contract = world.buyer.said.contains(Word::Accept) || world.seller.said.contains(Word::Accept);
            // Of a seller's two outputs it does not matter which comes first.
            let first = world.chain.outputs[0].funding;
            let in_turn = at == 0 || cheat == Role::Buyer || (Depth::Pool..=Depth::Buried).contains(&first);
            if is_his && in_turn && output.funding == Depth::Absent && contract {
                steps.push(Step::Fund(at));
            }
            let can_sign = |way: &Way| match way {
                Way::Payout => cheat == Role::Buyer && other.contains(Word::Release(at)),
                Way::Refund => cheat == Role::Seller && other.contains(Word::Refund(at)),
                Way::Timeout => cheat == Role::Seller,
                Way::RuledForBuyer => self.rules.collusion && cheat == Role::Buyer,
                Way::RuledForSeller => self.rules.collusion && cheat == Role::Seller,
            };
            steps.extend(Way::ALL.into_iter().filter(can_sign).map(|way| Step::Spend(at, way)));
        }
    }

    fn chain_steps(&self, world: &World, steps: &mut Vec<Step>) {
        let chain = &world.chain;
        // Whoever is there sees each of these before the next; whoever is not acts on none.
        if self.honest().map(|role| world.party(role)).any(|party| party.synced && party.sees != *chain) {
            return;
        }
        if chain.has_pool() {
            steps.push(Step::Mine { spends: true });
            if !self.rules.second {
                steps.extend([Step::Mine { spends: false }, Step::Evict]);
            }
        }
        if chain.has_shallow() {
            steps.push(Step::Bury);
        }
        if !chain.has_pool() && !chain.has_shallow() {
            // Nobody who is away for a month, while it becomes possible to take the coins back, is protected.
            let opens = chain.outputs.iter().any(|output| output.funding == Depth::TooLate);
            if !opens || self.is_caught_up(world) {
                steps.push(Step::Wait);
            }
        }
        if world.reorgs > 0 && chain.outputs.iter().any(|output| output.funding.is_confirmed()) {
            for (deep, lose) in [(false, false), (false, true), (true, false), (true, true)] {
                // A seller who cheats and takes back what was buried is beyond what confirmations protect from.
                let paid_out = chain.outputs.iter().any(|output| output.spend.is_some());
                if !(deep && (lose || paid_out) && self.rules.cheat == Some(Role::Seller)) {
                    steps.push(Step::Reorg { deep, lose });
                }
            }
        }
    }
}

impl Model for Trading {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let party = Party::default();
        vec![World {
            buyer: party,
            seller: party,
            chain: Chain::default(),
            paid: false,
            in_time: [false; OUTPUTS],
            reorgs: self.rules.reorgs,
            fault: None,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.fault.is_some() {
            return; // found; nothing that follows tells more
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
        self.chain_steps(world, steps);
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = *before;
        match step {
            Step::Take => {
                let taker = counterparty(self.driver.fixture().maker());
                world.party_mut(taker).said.add(Word::Take);
            }
            Step::Turn { role, stimulus, crash } => world = self.turn(world, role, stimulus, crash),
            Step::Say(word) => world.party_mut(self.rules.cheat?).said.add(word),
            Step::Pay => world.paid = true,
            Step::Fund(output) => world.chain.fund(output),
            Step::Spend(output, way) => world.chain.spend(output, way, true),
            Step::Mine { spends } => world.chain.mine(spends),
            Step::Bury => world.chain.bury(),
            Step::Wait => world.chain.pass_time(),
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
