//! What a party or an arbiter can say in its log: a small set, because facts have no order.

use std::fmt;

use exchange_ledger::trade::Role;

use crate::ways::Way;

/// One thing that somebody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// The taker bids.
    Take,
    /// The maker accepts.
    Accept,
    /// Calls it off.
    Cancel,
    /// The buyer signs his half of a refund of an output.
    Refund(usize),
    /// The seller names an output as the escrow.
    Funded(usize),
    /// The buyer says that he paid.
    PaymentSent,
    /// The seller signs his half of a payout of an output.
    Release(usize),
    /// The party saw the trade end.
    Closed,
    /// A second history, from the record on by which the party agreed.
    Fork,
    /// The party calls for the arbiter.
    Dispute,
    /// The arbiter signs that an output goes a way: a ruling or an extension.
    Signed(usize, Way),
}

impl Word {
    /// All words.
    pub const ALL: [Self; 20] = [
        Self::Take,
        Self::Accept,
        Self::Cancel,
        Self::Refund(0),
        Self::Refund(1),
        Self::Funded(0),
        Self::Funded(1),
        Self::PaymentSent,
        Self::Release(0),
        Self::Release(1),
        Self::Closed,
        Self::Fork,
        Self::Dispute,
        Self::Signed(0, Way::RuledForBuyer),
        Self::Signed(0, Way::RuledForSeller),
        Self::Signed(0, Way::Split),
        Self::Signed(0, Way::Extension),
        Self::Signed(1, Way::RuledForBuyer),
        Self::Signed(1, Way::RuledForSeller),
        Self::Signed(1, Way::Split),
    ];

    fn bit(self) -> u32 {
        let place = Self::ALL.iter().position(|word| *word == self).expect("the list is complete");
        1 << place
    }

    /// Returns the output that it is about.
    pub const fn output(self) -> Option<usize> {
        match self {
            Self::Refund(at) | Self::Funded(at) | Self::Release(at) | Self::Signed(at, _) => Some(at),
            Self::Take
            | Self::Accept
            | Self::Cancel
            | Self::PaymentSent
            | Self::Closed
            | Self::Fork
            | Self::Dispute => None,
        }
    }

    /// Tells whether a role that does not follow the protocol has a reason to say this: anything of its own that counts.
    pub const fn tempts(self, role: Role, is_maker: bool) -> bool {
        match (self, role) {
            (Self::Take, _) => !is_maker,
            (Self::Accept, _) => is_maker,
            (Self::Cancel | Self::Fork | Self::Dispute, _)
            | (Self::Refund(_) | Self::PaymentSent, Role::Buyer)
            | (Self::Funded(_) | Self::Release(_), Role::Seller) => true,
            (Self::Refund(_) | Self::PaymentSent, Role::Seller | Role::Arbiter)
            | (Self::Funded(_) | Self::Release(_), Role::Buyer | Role::Arbiter)
            | (Self::Closed | Self::Signed(..), _) => false,
        }
    }
}

/// A set of words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Words(u32);

impl Words {
    /// Adds a word.
    pub fn add(&mut self, word: Word) {
        self.0 |= word.bit();
    }

    /// Returns those of the arbiter, and those of a party.
    pub fn by_arbiter(self) -> (Self, Self) {
        let words = Word::ALL.into_iter().filter(|word| matches!(word, Word::Signed(..)));
        let arbiters = words.fold(0, |words, word| words | word.bit());
        (Self(self.0 & arbiters), Self(self.0 & !arbiters))
    }

    /// Returns the words of both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns how many words are in it.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Tells whether a word is in it.
    pub fn contains(self, word: Word) -> bool {
        self.0 & word.bit() != 0
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Word::ALL.into_iter().filter(|word| self.contains(*word))).finish()
    }
}
