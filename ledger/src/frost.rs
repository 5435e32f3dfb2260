//! A key that several people share: `t` of `n` sign by it, nobody ever holds it, and nobody deals it out. FROST (RFC 9591)
//! over Bitcoin's curve, whose signatures are those of BIP-340. `specs/frost.md` is the normative text.
//!
//! [`Dealing`] makes the shares, [`KeyShare`] and [`GroupKey`] sign and put together, and [`Rounds`] is one member's side of
//! a decision of the group. Everything that comes from a member is checked, and whoever sent what does not fit is named.

use bitcoin::secp256k1::{PublicKey, Scalar, Secp256k1, SecretKey};
use borsh::{BorshDeserialize, BorshSerialize};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use frost_secp256k1_tr as frost;
use frost_secp256k1_tr::rand_core;
use zeroize::Zeroizing;

mod dealing;
mod decision;
mod kept;
mod rounds;
mod signing;

pub use dealing::{Dealing, Draw};
pub use decision::{Asked, Decision, digests};
pub use rounds::{DecideError, MAX_BOUND, MAX_COINS, Out, Owed, Round, Rounds};
pub use signing::{Commitments, Nonces, Session, SignatureShare};

/// The most members: a jury, not a crowd; each of them must be reached while a key is made.
pub const MAX_MEMBERS: usize = 8;

/// A member's place in the ordered list of members, from 1 on: the point at which his share of the key is.
pub type Place = u8;

/// A point of the curve, compressed. Any bytes until it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Point(pub [u8; 33]);

/// A secret scalar, big-endian: what a member gives another, and is wiped after use.
pub type Share = Zeroizing<[u8; 32]>;

/// Why members cannot make or use a key together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrostError {
    /// There are no such groups: a threshold is at least two and at most all.
    #[error("there is no group of {threshold} of {members}")]
    Threshold {
        /// How many sign.
        threshold: u8,
        /// How many there are.
        members: u8,
    },
    /// Somebody's part of a round is missing, or too many are there.
    #[error("not everybody's part of the round is there")]
    Incomplete,
    /// A member sent what nobody who follows the protocol sends.
    #[error("member {place} sent {what}")]
    Culprit {
        /// Who.
        place: Place,
        /// What, in words.
        what: &'static str,
    },
    /// The nonces are not those that the session names for this member.
    #[error("the nonces are not those of this session")]
    Nonces,
    /// The result is no signature, though every share of it is good.
    #[error("the signature that came out is not good")]
    Signature,
}

impl FrostError {
    /// Returns who is to blame, if that is known.
    pub const fn culprit(&self) -> Option<Place> {
        match self {
            Self::Culprit { place, .. } => Some(*place),
            Self::Threshold { .. } | Self::Incomplete | Self::Nonces | Self::Signature => None,
        }
    }
}

/// One member's share of a group's key. Wiped on drop; its one encoding is for its member alone, who seals it to himself.
pub struct KeyShare {
    place: Place,
    package: frost::keys::KeyPackage,
    group: GroupKey,
}

/// What everybody may know of a group's key: the key, and what each member's share of it is checked by.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupKey {
    package: frost::keys::PublicKeyPackage,
    x_only: bitcoin::secp256k1::XOnlyPublicKey,
    threshold: u8,
}

impl KeyShare {
    /// Returns whose it is.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Returns what everybody may know of the key.
    pub const fn group(&self) -> &GroupKey {
        &self.group
    }

    /// Returns the share of the key that `tweak` makes of this one: `lift_x(key) + tweak·G`. Shamir's polynomial moves by a
    /// constant when every share does, so each member adds the same number.
    ///
    /// # Errors
    /// When the sum is no key, which no hash ever leads to.
    pub fn tweaked(&self, tweak: &Scalar) -> Result<Self, FrostError> {
        use frost::keys::EvenY;
        let group = self.group.tweaked(tweak)?;
        let even = self.package.clone().into_even_y(None);
        let bytes = Zeroizing::new(even.signing_share().serialize());
        let mut secret = SecretKey::from_slice(&bytes).map_err(|_| FrostError::Signature)?;
        let moved = secret.add_tweak(tweak).map_err(|_| FrostError::Signature);
        secret.non_secure_erase();
        let mut moved = moved?;
        let share = frost::keys::SigningShare::deserialize(&*Zeroizing::new(moved.secret_bytes()));
        moved.non_secure_erase();
        let share = share.map_err(|_| FrostError::Signature)?;
        let id = identifier(self.place);
        let verifying = group.package.verifying_shares().get(&id).ok_or(FrostError::Incomplete)?;
        let package = frost::keys::KeyPackage::new(
            id,
            share,
            *verifying,
            *group.package.verifying_key(),
            u16::from(group.threshold),
        );
        Ok(Self { place: self.place, package, group })
    }
}

impl std::fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyShare").field("place", &self.place).field("key", &self.group.x_only).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupKey")
            .field("key", &self.x_only)
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}

impl GroupKey {
    fn new(package: frost::keys::PublicKeyPackage, threshold: u8) -> Result<Self, FrostError> {
        let bytes = package.verifying_key().serialize().map_err(|_| FrostError::Signature)?;
        let key = PublicKey::from_slice(&bytes).map_err(|_| FrostError::Signature)?;
        Ok(Self { package, x_only: key.x_only_public_key().0, threshold })
    }

    /// Returns the key, as an advert has it and signatures are checked by.
    pub const fn x_only(&self) -> bitcoin::secp256k1::XOnlyPublicKey {
        self.x_only
    }

    /// Returns how many members sign.
    pub const fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Returns the point by which a member's shares of signatures are checked.
    pub fn share_of(&self, place: Place) -> Option<Point> {
        self.package.verifying_shares().get(&identifier(place))?.serialize().ok()?.try_into().ok().map(Point)
    }

    fn tweaked(&self, tweak: &Scalar) -> Result<Self, FrostError> {
        use frost::keys::EvenY;
        let secp = Secp256k1::verification_only();
        let moved = |bytes: Vec<u8>| -> Option<[u8; 33]> {
            Some(PublicKey::from_slice(&bytes).ok()?.add_exp_tweak(&secp, tweak).ok()?.serialize())
        };
        let even = self.package.clone().into_even_y(None);
        let shares = even.verifying_shares().iter().map(|(id, share)| {
            let share = frost::keys::VerifyingShare::deserialize(&moved(share.serialize().ok()?)?).ok()?;
            Some((*id, share))
        });
        let shares = shares.collect::<Option<_>>().ok_or(FrostError::Signature)?;
        let key = even.verifying_key().serialize().ok().and_then(moved).ok_or(FrostError::Signature)?;
        let key = frost::VerifyingKey::deserialize(&key).map_err(|_| FrostError::Signature)?;
        Self::new(frost::keys::PublicKeyPackage::new(shares, key, Some(u16::from(self.threshold))), self.threshold)
    }
}

/// Returns the identifier of a place, which is its number.
fn identifier(place: Place) -> frost::Identifier {
    frost::Identifier::try_from(u16::from(place)).expect("places count from one")
}

/// Returns the place of an identifier.
fn place_of(id: &frost::Identifier) -> Option<Place> {
    (1..=Place::MAX).find(|place| identifier(*place) == *id)
}

/// Names whoever the library blames, or says what else is wrong.
fn blamed(error: &frost::Error, what: &'static str) -> FrostError {
    match error.culprits().first().and_then(place_of) {
        Some(place) => FrostError::Culprit { place, what },
        None => FrostError::Incomplete,
    }
}

/// A generator that a seed of 32 bytes opens, in the shape that FROST asks for. Wiped on drop.
struct Seeded(ChaCha20Rng);

impl Seeded {
    fn new(seed: &[u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(*seed))
    }
}

impl rand_core::RngCore for Seeded {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill_bytes(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

impl rand_core::CryptoRng for Seeded {}

#[cfg(test)]
mod tests;
