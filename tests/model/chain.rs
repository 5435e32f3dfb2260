//! The chain, as coarse as a trade can see it: two outputs that may fund the escrow, what spends each, and of every
//! height only the class in which a rule of the trade tells it from its neighbours.

use std::fmt;

use exchange_ledger::trade::{ChainFacts, Funding, Role, Spend};

use crate::fixture::Fixture;

/// How many outputs may fund the escrow: the seller's own, and one more by whoever does not follow the protocol.
pub const OUTPUTS: usize = 2;
/// The height of the tip. It stands still: what moves with time is how deep everything lies below it.
const TIP: u32 = 10_000;

/// How deep a transaction lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Depth {
    /// Nobody has it.
    #[default]
    Absent,
    /// In the pool.
    Pool,
    /// In a block, but not as deep as the contract asks.
    Shallow,
    /// As deep as the contract asks.
    Buried,
    /// The arbiter's leaves are open; the buyer may still pay.
    Late,
    /// The buyer must not pay any more.
    TooLate,
    /// The seller's own leaf is open.
    RefundOpen,
}

impl Depth {
    /// Returns the next class that time alone brings.
    const fn later(self) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::Pool => Self::Pool,
            Self::Shallow => Self::Buried,
            Self::Buried => Self::Late,
            Self::Late => Self::TooLate,
            Self::TooLate | Self::RefundOpen => Self::RefundOpen,
        }
    }

    /// Returns the confirmations that stand for the class: three bury an escrow of the sample trade, its leaves open after
    /// 144 and 4320 blocks, and it may be paid until its 2305th confirmation. `first` adds one, for what was confirmed
    /// before something else of the same class.
    const fn confirmations(self, first: bool) -> Option<u32> {
        let at_least = match self {
            Self::Absent | Self::Pool => return None,
            Self::Shallow => 1,
            Self::Buried => 3,
            Self::Late => 2304,
            Self::TooLate => 2306,
            Self::RefundOpen => 4320,
        };
        Some(if first { at_least + 1 } else { at_least })
    }

    const fn height(self, first: bool) -> Option<u32> {
        match self.confirmations(first) {
            Some(confirmations) => Some(TIP + 1 - confirmations),
            None => None,
        }
    }

    /// Tells whether a block holds it.
    pub fn is_confirmed(self) -> bool {
        self >= Self::Shallow
    }
}

/// Which way coins leave the escrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Signed by both, to the buyer.
    Payout,
    /// Signed by both, to the seller.
    Refund,
    /// By the seller's own leaf.
    Timeout,
    /// By buyer and arbiter, to the buyer.
    RuledForBuyer,
    /// By seller and arbiter, to the seller.
    RuledForSeller,
}

impl Way {
    /// All ways.
    pub const ALL: [Self; 5] = [Self::Payout, Self::Refund, Self::Timeout, Self::RuledForBuyer, Self::RuledForSeller];

    /// Returns who has the coins afterwards.
    pub const fn to(self) -> Role {
        match self {
            Self::Payout | Self::RuledForBuyer => Role::Buyer,
            Self::Refund | Self::Timeout | Self::RuledForSeller => Role::Seller,
        }
    }

    /// Tells whether the output's own script lets the coins go this way now: its leaves have relative locks.
    fn is_open(self, funding: Depth) -> bool {
        match self {
            Self::Payout | Self::Refund => funding != Depth::Absent,
            Self::Timeout => funding >= Depth::RefundOpen,
            Self::RuledForBuyer | Self::RuledForSeller => funding >= Depth::Late,
        }
    }
}

/// An output that funds the escrow, and what spends it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Output {
    /// How deep it lies.
    pub funding: Depth,
    /// The spend that the pool or a block holds.
    pub spend: Option<(Way, Depth)>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spend {
            None => write!(f, "{:?}", self.funding),
            Some((way, depth)) => write!(f, "{:?} -> {way:?} {depth:?}", self.funding),
        }
    }
}

/// The chain with its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Chain {
    /// The outputs.
    pub outputs: [Output; OUTPUTS],
    /// Which of the two was confirmed before the other, if one was.
    first: Option<usize>,
}

impl Chain {
    /// Puts a funding into the pool.
    pub fn fund(&mut self, output: usize) {
        let funding = &mut self.outputs[output].funding;
        *funding = (*funding).max(Depth::Pool);
    }

    /// Puts a spend into the pool, unless the pool or a block holds another one, or its lock is closed. `force` pays enough
    /// to drive another one out of the pool.
    pub fn spend(&mut self, output: usize, way: Way, force: bool) {
        let Output { funding, spend } = &mut self.outputs[output];
        let taken = spend.is_some_and(|(_, depth)| depth.is_confirmed() || !force);
        if way.is_open(*funding) && !taken {
            *spend = Some((way, Depth::Pool));
        }
    }

    /// Mines the pool: all of it, or the fundings only.
    pub fn mine(&mut self, spends: bool) {
        let before = self.outputs.map(|output| output.funding.is_confirmed());
        for Output { funding, spend } in &mut self.outputs {
            if *funding == Depth::Pool {
                *funding = Depth::Shallow;
            }
            if let (Some((_, depth @ Depth::Pool)), true) = (spend, spends) {
                *depth = Depth::Shallow;
            }
        }
        let after = self.outputs.map(|output| output.funding.is_confirmed());
        self.first = match (before, after) {
            ([true, false], [true, true]) => Some(0),
            ([false, true], [true, true]) => Some(1),
            ([true, true] | [false, false], [true, true]) => self.first,
            _ => None,
        };
    }

    /// Buries what is in a block.
    pub fn bury(&mut self) {
        for Output { funding, spend } in &mut self.outputs {
            *funding = if *funding == Depth::Shallow { Depth::Buried } else { *funding };
            if let Some((_, depth @ Depth::Shallow)) = spend {
                *depth = Depth::Buried;
            }
        }
    }

    /// Lets time pass until the next rule of the trade changes.
    pub fn pass_time(&mut self) {
        for output in &mut self.outputs {
            output.funding = output.funding.later();
        }
    }

    /// Takes blocks back: the last ones, or more than bury a transaction, though not weeks of them. What they held goes
    /// back to the pool, or is lost.
    pub fn reorganise(&mut self, deep: bool, lose: bool) {
        let undone = |depth: Depth| depth == Depth::Shallow || (deep && depth == Depth::Buried);
        for Output { funding, spend } in &mut self.outputs {
            if let Some((way, depth)) = *spend
                && undone(depth)
            {
                *spend = (!lose).then_some((way, Depth::Pool));
            }
            if undone(*funding) {
                *funding = if lose { Depth::Absent } else { Depth::Pool };
                // A leaf with a relative lock closes when what it spends leaves the chain.
                *spend = spend.filter(|(way, _)| way.is_open(*funding));
            }
        }
        if self.outputs.iter().any(|output| !output.funding.is_confirmed()) {
            self.first = None;
        }
    }

    /// Empties the pool.
    pub fn evict(&mut self) {
        for Output { funding, spend } in &mut self.outputs {
            if spend.is_some_and(|(_, depth)| depth == Depth::Pool) {
                *spend = None;
            }
            if *funding == Depth::Pool {
                *funding = Depth::Absent;
            }
        }
    }

    /// Tells whether the pool holds anything.
    pub fn has_pool(&self) -> bool {
        let in_pool = |output: &Output| {
            output.funding == Depth::Pool || output.spend.is_some_and(|(_, depth)| depth == Depth::Pool)
        };
        self.outputs.iter().any(in_pool)
    }

    /// Tells whether a block holds anything that is not buried.
    pub fn has_shallow(&self) -> bool {
        let shallow = |output: &Output| {
            output.funding == Depth::Shallow || output.spend.is_some_and(|(_, depth)| depth == Depth::Shallow)
        };
        self.outputs.iter().any(shallow)
    }

    /// Tells whether this chain shows all that `before` showed, at least as deep: no reorg and no eviction lies between.
    pub fn continues(&self, before: &Self) -> bool {
        let pairs = || self.outputs.iter().zip(&before.outputs);
        let spend_stays = |(now, then): (&Output, &Output)| match (now.spend, then.spend) {
            (_, None) => true,
            (Some((way, depth)), Some((was, at))) => way == was && depth >= at,
            (None, Some(_)) => false,
        };
        pairs().all(|(now, then)| now.funding >= then.funding) && pairs().all(spend_stays)
    }

    /// Tells whether a careful buyer would pay: some escrow is buried, it is not too late, and nothing spends it.
    pub fn is_safe_to_pay(&self) -> bool {
        let safe = |output: &Output| (Depth::Buried..=Depth::Late).contains(&output.funding) && output.spend.is_none();
        self.outputs.iter().any(safe)
    }

    /// Returns what a node that looks at this chain tells the machine.
    pub fn facts(&self, fixture: &Fixture, synced: bool) -> ChainFacts {
        let mut facts = ChainFacts { tip: TIP, synced, ..ChainFacts::default() };
        for (at, output) in self.outputs.iter().enumerate() {
            let vaults = &fixture.vaults[at];
            if output.funding == Depth::Absent {
                continue;
            }
            let height = output.funding.height(self.first == Some(at));
            facts.fundings.push(Funding::new(*vaults, height));
            if let Some((way, depth)) = output.spend {
                facts.spends.push(seen_spend(fixture, at, way, depth));
            }
        }
        facts
    }
}

fn seen_spend(fixture: &Fixture, output: usize, way: Way, depth: Depth) -> Spend {
    let tx = fixture.spend(output, way).clone();
    let path = fixture.escrow.classify(&tx, &fixture.vaults[output]);
    Spend { tx, path, height: depth.height(false) }
}
