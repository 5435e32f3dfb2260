//! Which ways lead out of an escrow, and what its second output is.

use exchange_ledger::trade::Role;

use crate::chain::Depth;

/// What a world has besides the escrow's first output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One more output that funds the escrow, if the cheat may fund it twice. No arbiter acts by himself.
    Plain,
    /// Nothing. The escrow is funded, and an arbiter rules.
    Ruled,
    /// The output that an extension makes of the first. The trade is disputed, and an arbiter rules and extends.
    Extended,
    /// The buyer's bond. Both outputs are funded, and an arbiter rules.
    Bonded,
}

impl Shape {
    /// Tells whether an arbiter acts who follows the protocol. Such worlds begin when the escrow is funded.
    pub fn has_arbiter(self) -> bool {
        self != Self::Plain
    }

    /// Returns the outputs that are funded at the beginning.
    pub const fn funded(self) -> &'static [usize] {
        match self {
            Self::Plain => &[],
            Self::Ruled | Self::Extended => &[0],
            Self::Bonded => &[0, 1],
        }
    }

    /// Returns the ways that lead out of what number `at` stands for: an output; with a bond, both outputs for 0, and for 1
    /// the first alone, once the bond was taken back.
    pub const fn ways(self, at: usize) -> &'static [Way] {
        use Way::{BondBack, Extension, Payout, Refund, RuledForBuyer, RuledForSeller, Split, Timeout};
        match (self, at) {
            (Self::Plain, _) => &[Payout, Refund, Timeout, RuledForBuyer, RuledForSeller],
            (Self::Ruled, 0) => &[Payout, Refund, Timeout, RuledForBuyer, RuledForSeller, Split],
            (Self::Ruled, _) => &[],
            (Self::Extended, 0) => &[Payout, Refund, Timeout, RuledForBuyer, RuledForSeller, Extension],
            (Self::Extended, _) => &[Payout, Refund, Timeout, RuledForBuyer, RuledForSeller],
            (Self::Bonded, 0) => &[Payout, Refund, Timeout, RuledForBuyer, RuledForSeller, BondBack],
            (Self::Bonded, _) => &[Payout, Refund, RuledForBuyer, RuledForSeller],
        }
    }

    /// Returns the outputs that a spend takes.
    pub const fn coins(self, at: usize, way: Way) -> &'static [usize] {
        match (self, at, way) {
            (Self::Bonded, _, Way::BondBack) => &[1],
            (Self::Bonded, 0, Way::Payout | Way::Refund | Way::RuledForBuyer | Way::RuledForSeller) => &[0, 1],
            (Self::Bonded, _, _) | (Self::Plain | Self::Ruled | Self::Extended, 0, _) => &[0],
            (Self::Plain | Self::Ruled | Self::Extended, _, _) => &[1],
        }
    }

    /// Returns the outputs whose coins are those of output `at`, from the first on: an extension moves them.
    pub fn lineage(self, at: usize) -> std::ops::RangeInclusive<usize> {
        if self == Self::Extended { 0..=at } else { at..=at }
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
    /// By either party and the arbiter, to both.
    Split,
    /// By either party and the arbiter, into the escrow again.
    Extension,
    /// By the buyer's own leaf, his bond.
    BondBack,
}

impl Way {
    /// The ways in which an arbiter can decide.
    pub const RULINGS: [Self; 3] = [Self::RuledForBuyer, Self::RuledForSeller, Self::Split];

    /// Returns who has the coins afterwards, if it is one alone.
    pub const fn to(self) -> Option<Role> {
        match self {
            Self::Payout | Self::RuledForBuyer | Self::BondBack => Some(Role::Buyer),
            Self::Refund | Self::Timeout | Self::RuledForSeller => Some(Role::Seller),
            Self::Split | Self::Extension => None,
        }
    }

    /// Tells whether an arbiter's signature is in it.
    pub const fn is_by_arbiter(self) -> bool {
        match self {
            Self::RuledForBuyer | Self::RuledForSeller | Self::Split | Self::Extension => true,
            Self::Payout | Self::Refund | Self::Timeout | Self::BondBack => false,
        }
    }

    /// Tells whether the output's own script lets the coins go this way now: its leaves have relative locks.
    pub fn is_open(self, funding: Depth) -> bool {
        match self {
            Self::Payout | Self::Refund => funding != Depth::Absent,
            Self::Timeout | Self::BondBack => funding >= Depth::RefundOpen,
            Self::RuledForBuyer | Self::RuledForSeller | Self::Split | Self::Extension => funding >= Depth::Late,
        }
    }
}
