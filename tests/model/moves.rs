//! What can happen next in a world: what reaches those who follow the protocol, what the cheat does, what the chain does.

use exchange_ledger::trade::{Role, counterparty};

use crate::Twist;
use crate::chain::{Depth, OUTPUTS, Output};
use crate::party::Stimulus;
use crate::ways::{Shape, Way};
use crate::words::{Word, Words};
use crate::world::{Step, Trading, World};

/// How many words of a cheat may be on their way at once: two, so that they can arrive together or apart. Where he funds
/// twice, or an arbiter acts, it is one, and the pool keeps what it has: these worlds are large enough.
const MAX_UNHEARD: u32 = 2;

impl Trading {
    /// Tells whether everybody who follows the protocol has seen all there is to see.
    fn is_caught_up(&self, world: &World) -> bool {
        self.honest().all(|role| {
            let party = world.party(role);
            party.synced && party.sees == world.chain && party.heard == world.audible(role)
        })
    }

    pub fn honest_steps(&self, world: &World, role: Role, steps: &mut Vec<Step>) {
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
        let (by_arbiter, by_other) = party.heard.by_arbiter();
        let (arbiter, other) = (world.arbiter, world.party(counterparty(role)).said);
        // The logs of two come apart or together.
        let heard = [by_arbiter.and(other), arbiter.and(by_other)].into_iter().filter(|words| *words != party.heard);
        stimuli.extend(heard.map(Stimulus::Hear));
        stimuli.extend(self.wishes(world, role).into_iter().map(Stimulus::Ask));
        for stimulus in stimuli {
            steps.push(Step::Turn { role, stimulus, crash: None });
            let mut heard = *party;
            if let Stimulus::Hear(words) = stimulus {
                heard.heard = words;
            }
            if self.driver.is_up(role, &heard) && world.crashes != Some(0) {
                let deeds = self.driver.turn(role, party, stimulus).deeds.len();
                steps.extend((0..deeds).map(|at| Step::Turn { role, stimulus, crash: Some(at) }));
            }
        }
    }

    /// Everything that the cheat can do: say what is his to say, and send what he can sign, alone, with what the other
    /// signed for him, or with an arbiter who colludes.
    pub fn cheat_steps(&self, world: &World, cheat: Role, steps: &mut Vec<Step>) {
        let (own, other) = (world.party(cheat).said, world.party(counterparty(cheat)).said);
        let is_maker = cheat == self.driver.fixture().maker();
        let agreed = |words: Words| words.contains(Word::Take) || words.contains(Word::Accept);
        if !agreed(own) && !agreed(other) && !is_maker {
            steps.push(Step::Say(Word::Take));
            return;
        }
        // Of two names the first counts, and what a set of words says has no order.
        let is_named = (0..OUTPUTS).any(|at| own.contains(Word::Funded(at)));
        let says_nothing = |word: &Word| own.contains(*word) || (is_named && matches!(word, Word::Funded(_)));
        let tempting =
            |word: &Word| word.tempts(cheat, is_maker) && !says_nothing(word) && self.is_in_question(world, *word);
        let (_, heard) = world.party(counterparty(cheat)).heard.by_arbiter();
        let unheard = own.len() - heard.len();
        let is_large = self.rules.second || self.rules.shape.has_arbiter();
        if unheard < if is_large { 1 } else { MAX_UNHEARD } {
            steps.extend(Word::ALL.into_iter().filter(tempting).map(Step::Say));
        }
        let is_open = self.rules.shape != Shape::Extended; // where it is disputed already, who paid has paid
        if cheat == Role::Buyer
            && !world.paid
            && is_open
            && world.chain.outputs.iter().any(|output| output.funding.is_confirmed())
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
            let is_funded = self.rules.shape.has_arbiter();
            if is_his && in_turn && output.funding == Depth::Absent && contract && !is_funded {
                steps.push(Step::Fund(at));
            }
            let ways = self.rules.shape.ways(at).iter().copied();
            steps.extend(ways.filter(|way| self.can_sign(world, cheat, at, *way)).map(|way| Step::Spend(at, way)));
        }
    }

    /// Tells whether it makes a difference that a cheat says something.
    fn is_in_question(&self, world: &World, word: Word) -> bool {
        let has_second = self.rules.second || matches!(self.rules.shape, Shape::Extended | Shape::Bonded);
        let fits = word.output().is_none_or(|at| at == 0 || has_second);
        match (word, self.rules.shape) {
            // Two histories only where there is no second output, for the sake of the size.
            (Word::Fork, Shape::Plain) => !self.rules.second,
            (_, Shape::Plain) => fits,
            // What concerns the agreement is over where an arbiter acts.
            (Word::Take | Word::Accept | Word::Cancel | Word::Funded(_) | Word::Fork, _) => false,
            // Nobody knows the output of an extension before it is signed.
            (Word::Release(1) | Word::Refund(1), Shape::Extended) => {
                world.arbiter.contains(Word::Signed(0, Way::Extension))
            }
            (_, Shape::Ruled | Shape::Extended | Shape::Bonded) => fits,
        }
    }

    /// Tells whether the cheat can sign a spend: alone, with what the other or the arbiter signed for him, or with an arbiter
    /// who colludes.
    fn can_sign(&self, world: &World, cheat: Role, at: usize, way: Way) -> bool {
        let other = world.party(counterparty(cheat)).said;
        let is_his = way.to() == Some(cheat);
        match way {
            Way::Payout => is_his && other.contains(Word::Release(at)),
            Way::Refund => is_his && other.contains(Word::Refund(at)),
            Way::Timeout | Way::BondBack => is_his,
            Way::RuledForBuyer | Way::RuledForSeller | Way::Split | Way::Extension => {
                let is_signed = |way: &Way| world.arbiter.contains(Word::Signed(at, *way));
                let any_fits = self.rules.twist == Some(Twist::AnyRulingFits) && Way::RULINGS.iter().any(is_signed);
                let is_signed = any_fits || is_signed(&way) || (self.rules.collusion && is_his);
                is_signed && self.driver.fixture().is_sent_by(at, way, cheat)
            }
        }
    }

    /// Everything that blocks, pool and time can do.
    pub fn chain_steps(&self, world: &World, steps: &mut Vec<Step>) {
        let chain = &world.chain;
        // Whoever is there sees each of these before the next; whoever is not acts on none.
        if self.honest().map(|role| world.party(role)).any(|party| party.synced && party.sees != *chain) {
            return;
        }
        if chain.has_pool() {
            steps.push(Step::Mine { spends: true });
            if !self.rules.shape.has_arbiter() && !self.rules.second {
                steps.push(Step::Mine { spends: false });
            }
            if !self.rules.second && !matches!(self.rules.shape, Shape::Extended | Shape::Bonded) {
                steps.push(Step::Evict);
            }
        }
        if chain.has_shallow() {
            steps.push(Step::Bury);
        }
        if !chain.has_pool() && !chain.has_shallow() {
            // Nobody who is away for a month, while it becomes possible to take the coins back, is protected.
            let is_held = |output: &&Output| output.spend.is_none_or(|(way, _)| way != Way::Extension);
            let is_about_to = |output: &Output| output.funding.is_last_before_refund(self.rules.shape);
            let opens = chain.outputs.iter().filter(is_held).any(is_about_to);
            if !opens || self.is_caught_up(world) {
                steps.push(Step::Wait);
            }
        }
        // Where an arbiter acts, what was there at the beginning stays.
        let stays = self.rules.shape.has_arbiter() && chain.outputs[0].funding <= Depth::Buried;
        if world.reorgs > 0 && !stays && chain.outputs.iter().any(|output| output.funding.is_confirmed()) {
            for (deep, lose) in [(false, false), (false, true), (true, false), (true, true)] {
                // A seller who cheats and takes back what was buried is beyond what confirmations protect from.
                let is_paid = |output: &Output| output.spend.is_some_and(|(way, _)| way != Way::Extension);
                let paid_out = chain.outputs.iter().any(is_paid);
                if !(deep && (lose || paid_out) && self.rules.cheat == Some(Role::Seller)) {
                    steps.push(Step::Reorg { deep, lose });
                }
            }
        }
    }
}
