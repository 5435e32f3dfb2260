//! How a key comes to be that nobody ever holds: each member deals shares of a secret of his own to all others, and the key
//! is the sum of all secrets (Pedersen's key generation, as FROST has it).

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use frost_secp256k1_tr as frost;
use frost_secp256k1_tr::keys::dkg;
use zeroize::Zeroizing;

use super::{FrostError, GroupKey, KeyShare, MAX_MEMBERS, Place, Point, Seeded, Share, blamed, identifier};
use crate::wire::List;

/// What a member tells everybody of his secret: what binds him to it, and that he knows it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Draw {
    /// The points of his polynomial's coefficients, the secret's first: as many as the threshold.
    pub coefficients: List<Point, MAX_MEMBERS>,
    /// A BIP-340-like proof that he knows the secret: X(R) and the scalar.
    pub proof: [u8; 64],
}

/// One member's secret, and what follows from it. It is drawn from a seed, so that nothing of it need be kept: with the same
/// seed it is the same again.
pub struct Dealing {
    pub(super) place: Place,
    pub(super) members: u8,
    pub(super) threshold: u8,
    pub(super) secret: dkg::round1::SecretPackage,
    pub(super) draw: Draw,
}

impl Dealing {
    /// Draws a member's secret. `seed` is his alone, and belongs to this group only.
    ///
    /// # Errors
    /// When there is no such group, or the place is not in it.
    pub fn new(place: Place, members: u8, threshold: u8, seed: &[u8; 32]) -> Result<Self, FrostError> {
        let refuse = || FrostError::Threshold { threshold, members };
        if place == 0 || place > members || usize::from(members) > MAX_MEMBERS {
            return Err(refuse());
        }
        let mut rng = Seeded::new(seed);
        let (n, t) = (u16::from(members), u16::from(threshold));
        let (secret, package) = dkg::part1(identifier(place), n, t, &mut rng).map_err(|_| refuse())?;
        let draw = Draw::of(&package).ok_or_else(refuse)?;
        Ok(Self { place, members, threshold, secret, draw })
    }

    /// Returns what everybody is told.
    pub const fn draw(&self) -> &Draw {
        &self.draw
    }

    /// Returns the shares for the others, once everybody's draw is there.
    ///
    /// # Errors
    /// When one is missing, or proves nothing.
    pub fn shares(&self, draws: &BTreeMap<Place, Draw>) -> Result<BTreeMap<Place, Share>, FrostError> {
        let (_, shares) = self.deal(&self.others(draws)?)?;
        let share = |place: Place| {
            let bytes = Zeroizing::new(shares.get(&identifier(place))?.signing_share().serialize());
            Some((place, Zeroizing::new(bytes.as_slice().try_into().ok()?)))
        };
        let others = (1..=self.members).filter(|place| *place != self.place);
        others.map(share).collect::<Option<_>>().ok_or(FrostError::Incomplete)
    }

    /// Returns this member's share of the key, once everybody's share for him is there too.
    ///
    /// # Errors
    /// When one is missing, or does not fit what its dealer told everybody: then he is named.
    pub fn finish(
        &self,
        draws: &BTreeMap<Place, Draw>,
        shares: &BTreeMap<Place, Share>,
    ) -> Result<KeyShare, FrostError> {
        let draws = self.others(draws)?;
        let (secret, _) = self.deal(&draws)?;
        let mut packages = BTreeMap::new();
        for (place, share) in shares.iter().filter(|(place, _)| **place != self.place) {
            let share = frost::keys::SigningShare::deserialize(share.as_slice())
                .map_err(|_| FrostError::Culprit { place: *place, what: "a share that is no number of the curve" })?;
            packages.insert(identifier(*place), dkg::round2::Package::new(share));
        }
        if packages.keys().ne(draws.keys()) {
            return Err(FrostError::Incomplete);
        }
        let (package, public) = dkg::part3(&secret, &draws, &packages)
            .map_err(|error| blamed(&error, "a share that does not fit what he told everybody"))?;
        Ok(KeyShare { place: self.place, package, group: GroupKey::new(public, self.threshold)? })
    }

    fn deal(&self, draws: &Draws) -> Result<Dealt, FrostError> {
        dkg::part2(self.secret.clone(), draws).map_err(|error| blamed(&error, "no proof that he knows his secret"))
    }

    /// Reads everybody else's draw.
    fn others(&self, draws: &BTreeMap<Place, Draw>) -> Result<Draws, FrostError> {
        let others = (1..=self.members).filter(|place| *place != self.place);
        others
            .map(|place| {
                let draw = draws.get(&place).ok_or(FrostError::Incomplete)?;
                let package = draw.package(self.threshold);
                let package =
                    package.ok_or(FrostError::Culprit { place, what: "a draw that is none of this group" })?;
                Ok((identifier(place), package))
            })
            .collect()
    }
}

type Draws = BTreeMap<frost::Identifier, dkg::round1::Package>;
type Dealt = (dkg::round2::SecretPackage, BTreeMap<frost::Identifier, dkg::round2::Package>);

impl Draw {
    fn of(package: &dkg::round1::Package) -> Option<Self> {
        let coefficients = package.commitment().serialize().ok()?.into_iter();
        let coefficients = coefficients.map(|point| point.try_into().ok().map(Point)).collect::<Option<_>>()?;
        let proof = package.proof_of_knowledge().serialize().ok()?.try_into().ok()?;
        Some(Self { coefficients: List::new(coefficients)?, proof })
    }

    pub(super) fn package(&self, threshold: u8) -> Option<dkg::round1::Package> {
        if self.coefficients.len() != usize::from(threshold) {
            return None;
        }
        let points = self.coefficients.iter().map(|point| point.0);
        let commitment = frost::keys::VerifiableSecretSharingCommitment::deserialize(points).ok()?;
        Some(dkg::round1::Package::new(commitment, frost::Signature::deserialize(&self.proof).ok()?))
    }
}

impl std::fmt::Debug for Dealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dealing").field("place", &self.place).field("draw", &self.draw).finish_non_exhaustive()
    }
}
