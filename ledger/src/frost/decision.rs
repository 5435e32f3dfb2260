//! What a member of a group decided, and whether what others ask for is the same: here numbers that came from somebody else
//! are held against the escrow.

use std::ops::RangeInclusive;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::body::Vaults;
use crate::money::Sats;
use crate::rules::MAX_SHARED_FEERATE;
use crate::trade::{Escrow, EscrowError, Role, Seat, Verdict};

/// What a member decided, by himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Decision {
    /// Whom he believes.
    Rule {
        /// The coins.
        vaults: Vaults,
        /// Whom.
        verdict: Verdict,
    },
    /// The dispute is to have more time.
    Extend {
        /// The coins.
        vaults: Vaults,
    },
}

/// What the group is asked to sign, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Asked {
    /// A ruling.
    Ruling {
        /// The coins.
        vaults: Vaults,
        /// What the buyer gets.
        to_buyer: Sats,
        /// What the seller gets.
        to_seller: Sats,
    },
    /// An extension.
    Extension {
        /// The coins.
        vaults: Vaults,
        /// The fee.
        fee: Sats,
    },
}

impl Decision {
    /// Returns the coins it is about.
    pub const fn vaults(&self) -> &Vaults {
        match self {
            Self::Rule { vaults, .. } | Self::Extend { vaults } => vaults,
        }
    }

    /// Tells whether who signed for this must not sign for another decision. More time for a dispute is no word against a
    /// ruling: if the extension does not confirm in time, the ruling must come without it.
    pub(super) fn forbids(&self, other: &Self) -> bool {
        let is_only_time = matches!((self, other), (Self::Extend { .. }, Self::Rule { .. }));
        self.vaults() == other.vaults() && !is_only_time
    }

    /// Tells whether it is a ruling for this party alone.
    pub(super) const fn is_for(&self, party: Role) -> bool {
        match self {
            Self::Rule { verdict, .. } => verdict.is_for(party),
            Self::Extend { .. } => false,
        }
    }

    /// Tells whether it is a ruling that does not believe this party alone. More time is nothing against anybody.
    pub(super) const fn is_against(&self, party: Role) -> bool {
        match self {
            Self::Rule { verdict, .. } => !verdict.is_for(party),
            Self::Extend { .. } => false,
        }
    }

    /// Tells whether what is asked is what was decided, at a feerate within bounds.
    pub fn fits(&self, escrow: &Escrow, seat: Seat, asked: &Asked, feerates: &RangeInclusive<u64>) -> bool {
        self.feerate_of(escrow, seat, asked).is_some_and(|feerate| feerates.contains(&feerate))
    }

    /// Returns the feerate at which what is asked is what was decided; nothing if it never is.
    pub(super) fn feerate_of(&self, escrow: &Escrow, seat: Seat, asked: &Asked) -> Option<u64> {
        match (self, asked) {
            (Self::Rule { vaults, verdict }, Asked::Ruling { vaults: same, to_buyer, to_seller }) if vaults == same => {
                escrow.feerate_of(seat, vaults, *verdict, (*to_buyer, *to_seller))
            }
            (Self::Extend { vaults }, Asked::Extension { vaults: same, fee }) if vaults == same => {
                escrow.feerate_of_extension(seat, vaults, *fee)
            }
            (Self::Rule { .. } | Self::Extend { .. }, Asked::Ruling { .. } | Asked::Extension { .. }) => None,
        }
    }

    /// Returns what is asked of the others for it, at a feerate, or at the highest that is allowed.
    ///
    /// # Errors
    /// When it does not fit what the escrow holds.
    pub fn asked(&self, escrow: &Escrow, seat: Seat, feerate: u64) -> Result<Asked, EscrowError> {
        let feerate = feerate.min(MAX_SHARED_FEERATE);
        match self {
            Self::Rule { vaults, verdict } => {
                let (to_buyer, to_seller) = escrow.divide(seat, vaults, *verdict, feerate)?;
                Ok(Asked::Ruling { vaults: *vaults, to_buyer, to_seller })
            }
            Self::Extend { vaults } => {
                Ok(Asked::Extension { vaults: *vaults, fee: escrow.extension_fee_at(seat, vaults, feerate)? })
            }
        }
    }
}

/// Returns what is signed, in order.
///
/// # Errors
/// When it does not fit what the escrow holds.
pub fn digests(escrow: &Escrow, seat: Seat, asked: &Asked) -> Result<Vec<[u8; 32]>, EscrowError> {
    match asked {
        Asked::Ruling { vaults, to_buyer, to_seller } => escrow.ruling_digests(seat, vaults, (*to_buyer, *to_seller)),
        Asked::Extension { vaults, fee } => escrow.extension_digests(seat, vaults, *fee),
    }
}
