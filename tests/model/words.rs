//! What a party can say in its log: a small set, because facts have no order.

use std::fmt;

use exchange_ledger::trade::Role;

/// One thing that a party says.
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
}

impl Word {
    /// All words.
    pub const ALL: [Self; 13] = [
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
    ];

    fn bit(self) -> u16 {
        let place = Self::ALL.iter().position(|word| *word == self).expect("the list is complete");
        1 << place
    }

    /// Returns the output that it is about.
    pub const fn output(self) -> Option<usize> {
        match self {
            Self::Refund(at) | Self::Funded(at) | Self::Release(at) => Some(at),
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
            | (Self::Closed, _) => false,
        }
    }
}

/// A set of words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Words(u16);

impl Words {
    /// Adds a word.
    pub fn add(&mut self, word: Word) {
        self.0 |= word.bit();
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
