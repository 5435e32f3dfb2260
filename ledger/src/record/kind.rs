//! The kinds of records and their codes on the wire.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What a record's body is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
            /// A kind of a later version: kept and forwarded, changes nothing.
            Unknown(u16),
        }

        impl Kind {
            /// Returns the code.
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unknown(code) => code,
                }
            }

            /// Returns the kind with this code.
            pub const fn from_code(code: u16) -> Self {
                match code {
                    $($code => Self::$name,)*
                    code => Self::Unknown(code),
                }
            }
        }
    };
}

kinds! {
    /// The author is still there: refreshes all of the author's offers.
    Heartbeat = 1,
    /// The author offers to arbitrate.
    ArbiterAdvert = 2,
    /// A coin of the author's, which raises his quota of live offers.
    Stake = 3,
    /// What the ledger was at a time, as the author holds it.
    Checkpoint = 4,
    /// A group of arbiters that share one key offers to arbitrate.
    GroupAdvert = 5,
    /// A step by which such a group comes to be.
    GroupStep = 6,
    /// An offer to buy or sell.
    Offer = 16,
    /// Withdraws an offer.
    Revoke = 17,
    /// A bid for an offer; its id names the trade.
    Take = 32,
    /// The maker's acceptance of a bid.
    Accept = 33,
    /// Calls a trade off, or agrees to a refund.
    Cancel = 34,
    /// The seller names the escrow's outpoint.
    Funded = 35,
    /// The buyer says that the payment is on its way.
    PaymentSent = 36,
    /// The seller's signature over the payout.
    Release = 37,
    /// The author saw the trade end on the chain.
    Closed = 38,
    /// A party calls for the arbiter.
    Dispute = 39,
    /// How an arbiter divides the coins of a dispute, and his signature.
    Ruling = 40,
    /// An arbiter's signature over moving the coins of a dispute into the same escrow again.
    Extend = 41,
}

impl Kind {
    /// Tells whether anybody ever asks for all records of this kind: a store lists those, and spares itself the others, which
    /// are most of a ledger.
    pub const fn is_listed(self) -> bool {
        match self {
            Self::ArbiterAdvert
            | Self::Stake
            | Self::Checkpoint
            | Self::GroupAdvert
            | Self::Offer
            | Self::Take
            | Self::PaymentSent
            | Self::Closed
            | Self::Dispute => true,
            Self::Heartbeat
            | Self::GroupStep
            | Self::Revoke
            | Self::Accept
            | Self::Cancel
            | Self::Funded
            | Self::Release
            | Self::Ruling
            | Self::Extend
            | Self::Unknown(_) => false,
        }
    }
}
