//! The chain, as coarse as a trade can see it: two outputs that hold its coins, what spends each, and of every height only
//! the class in which a rule of the trade tells it from its neighbours.

use std::fmt;

use crate::ways::{Shape, Way};

/// How many outputs may hold coins of the trade; what the second is, its [`Shape`] tells.
pub const OUTPUTS: usize = 2;
/// The height of the tip. It stands still: what moves with time is how deep everything lies below it.
pub const TIP: u32 = 10_000;

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
    /// What was marked as paid is disputed by itself.
    Overdue,
    /// The seller's own leaf is open.
    RefundOpen,
}

impl Depth {
    /// Returns the next class that time alone brings. For the sake of the size it skips some: until when one may pay is told
    /// apart where no arbiter acts, when a dispute opens by itself where one rules and it is not open already.
    const fn later(self, shape: Shape) -> Self {
        match (self, shape) {
            (Self::Absent | Self::Pool, _) => self,
            (Self::Shallow, _) => Self::Buried,
            (Self::Buried, _) => Self::Late,
            (Self::Late, Shape::Plain) => Self::TooLate,
            (Self::Late, Shape::Ruled) => Self::Overdue,
            (Self::Late, Shape::Extended | Shape::Bonded) => Self::RefundOpen,
            (Self::TooLate | Self::Overdue | Self::RefundOpen, _) => Self::RefundOpen,
        }
    }

    /// Returns the confirmations that stand for the class: three bury an escrow of the sample trade, its leaves open after
    /// 144 and 4320 blocks, it may be paid until its 2305th confirmation, and is disputed by itself from its 3313th on.
    /// `first` adds one, for what was confirmed before something else of the same class.
    const fn confirmations(self, first: bool) -> Option<u32> {
        let at_least = match self {
            Self::Absent | Self::Pool => return None,
            Self::Shallow => 1,
            Self::Buried => 3,
            Self::Late => 2304,
            Self::TooLate => 2306,
            Self::Overdue => 3313,
            Self::RefundOpen => 4320,
        };
        Some(if first { at_least + 1 } else { at_least })
    }

    /// Returns the height that stands for the class.
    pub const fn height(self, first: bool) -> Option<u32> {
        match self.confirmations(first) {
            Some(confirmations) => Some(TIP + 1 - confirmations),
            None => None,
        }
    }

    /// Tells whether the seller's own leaf opens when more time passes.
    pub fn is_last_before_refund(self, shape: Shape) -> bool {
        self.is_confirmed() && self < Self::RefundOpen && self.later(shape) == Self::RefundOpen
    }

    /// Tells whether a block holds it.
    pub fn is_confirmed(self) -> bool {
        self >= Self::Shallow
    }
}

/// An output that holds coins of the trade, and what spends it. What spends two stands with both.
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
    pub first: Option<usize>,
}

impl Chain {
    /// Returns a chain that holds the funding of a trade with an arbiter, buried, and nothing else.
    pub fn funded(shape: Shape) -> Self {
        let mut chain = Self::default();
        for coin in shape.funded() {
            chain.outputs[*coin].funding = Depth::Buried;
        }
        chain
    }

    /// Puts a funding into the pool.
    pub fn fund(&mut self, output: usize) {
        let funding = &mut self.outputs[output].funding;
        *funding = (*funding).max(Depth::Pool);
    }

    /// Puts a spend into the pool, unless the pool or a block holds another one of the same coins, or its lock is closed.
    /// `force` pays enough to drive another one out of the pool.
    pub fn spend(&mut self, shape: Shape, output: usize, way: Way, force: bool) {
        let coins = shape.coins(output, way);
        let is_free = |coin: &usize| {
            let Output { funding, spend } = self.outputs[*coin];
            way.is_open(funding) && !spend.is_some_and(|(_, depth)| depth.is_confirmed() || !force)
        };
        if !coins.iter().all(is_free) {
            return;
        }
        for coin in coins {
            if let Some((driven_out, _)) = self.outputs[*coin].spend {
                self.drive_out(shape, *coin, driven_out);
            }
        }
        for coin in coins {
            self.outputs[*coin].spend = Some((way, Depth::Pool));
        }
        if way == Way::Extension {
            self.outputs[1] = Output { funding: Depth::Pool, spend: None };
        }
    }

    /// Removes a spend from the pool, with what rests on it.
    fn drive_out(&mut self, shape: Shape, coin: usize, way: Way) {
        if way == Way::Extension {
            self.outputs[1] = Output::default();
        }
        for (at, output) in self.outputs.iter_mut().enumerate() {
            // With a bond, what goes the same way is one transaction.
            let is_it = at == coin || shape == Shape::Bonded;
            output.spend = output.spend.filter(|(other, _)| !(is_it && *other == way));
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
    pub fn pass_time(&mut self, shape: Shape) {
        for output in &mut self.outputs {
            output.funding = output.funding.later(shape);
        }
    }

    /// Takes blocks back: the last ones, or more than bury a transaction, though not weeks of them. What they held goes
    /// back to the pool, or is lost.
    pub fn reorganise(&mut self, deep: bool, lose: bool) {
        let undone = |depth: Depth| depth == Depth::Shallow || (deep && depth == Depth::Buried);
        for Output { funding, spend } in &mut self.outputs {
            if let Some((way, depth)) = *spend
                && undone(depth)
                && way != Way::Extension
            {
                *spend = (!lose).then_some((way, Depth::Pool));
            }
            if undone(*funding) {
                *funding = if lose { Depth::Absent } else { Depth::Pool };
                // A leaf with a relative lock closes when what it spends leaves the chain.
                *spend = spend.filter(|(way, _)| way.is_open(*funding));
            }
        }
        // An extension is where the output is that it made.
        let made = self.outputs[1].funding;
        if let Some((Way::Extension, _)) = self.outputs[0].spend {
            self.outputs[0].spend = (made != Depth::Absent).then_some((Way::Extension, made.min(Depth::Buried)));
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

    /// Returns which way an output goes in the pool or a block.
    pub fn spend_of(&self, output: usize) -> Option<Way> {
        self.outputs[output].spend.map(|(way, _)| way)
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
}
