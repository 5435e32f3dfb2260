//! How `t` members sign: each commits to a pair of nonces, and answers a session, which names everybody's, by his share.

use std::collections::BTreeMap;

use bitcoin::secp256k1::{Message, Secp256k1, schnorr};
use borsh::{BorshDeserialize, BorshSerialize};
use frost_secp256k1_tr as frost;

use super::{FrostError, GroupKey, KeyShare, Place, Point, Seeded, blamed, identifier};
use crate::wire::CurveSignature;

/// What a member tells of the nonces that he will sign by, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Commitments {
    /// The point of the hiding nonce.
    pub hiding: Point,
    /// The point of the binding nonce.
    pub binding: Point,
}

/// A member's nonces of one signature. To sign takes them, they cannot be copied and have no encoding: two signatures by
/// the same nonces would give his share away.
///
/// ```compile_fail
/// fn twice(share: &exchange_ledger::frost::KeyShare, nonces: exchange_ledger::frost::Nonces,
///          session: &exchange_ledger::frost::Session) {
///     share.sign(nonces, session).ok();
///     share.sign(nonces, session).ok(); // they are gone
/// }
/// ```
///
/// ```compile_fail
/// fn copy(nonces: &exchange_ledger::frost::Nonces) -> exchange_ledger::frost::Nonces {
///     nonces.clone()
/// }
/// ```
pub struct Nonces {
    secret: frost::round1::SigningNonces,
    commitments: Commitments,
}

/// A member's part of a signature, a number of the curve, big-endian. Any bytes until it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignatureShare(pub [u8; 32]);

/// What is signed, and the nonces of everybody who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// What BIP-340 calls the message.
    pub message: [u8; 32],
    /// Of each who signs.
    pub commitments: BTreeMap<Place, Commitments>,
}

impl Nonces {
    /// Returns what others are told.
    pub const fn commitments(&self) -> Commitments {
        self.commitments
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nonces").field("commitments", &self.commitments).finish_non_exhaustive()
    }
}

impl Commitments {
    pub(super) fn read(&self) -> Option<frost::round1::SigningCommitments> {
        let read = |point: &Point| frost::round1::NonceCommitment::deserialize(&point.0).ok();
        Some(frost::round1::SigningCommitments::new(read(&self.hiding)?, read(&self.binding)?))
    }

    /// Tells whether anybody can sign with them.
    pub fn is_usable(&self) -> bool {
        self.read().is_some()
    }
}

impl Session {
    fn package(&self, group: &GroupKey) -> Result<frost::SigningPackage, FrostError> {
        if self.commitments.len() < usize::from(group.threshold()) {
            return Err(FrostError::Incomplete);
        }
        let mut commitments = BTreeMap::new();
        for (place, commitment) in &self.commitments {
            let refuse = FrostError::Culprit { place: *place, what: "nonces that are none of this group" };
            group.share_of(*place).ok_or_else(|| refuse.clone())?;
            commitments.insert(identifier(*place), commitment.read().ok_or(refuse)?);
        }
        Ok(frost::SigningPackage::new(commitments, &self.message))
    }
}

impl KeyShare {
    /// Draws nonces for one signature. `entropy` is fresh from a cryptographic generator; the share is hashed in besides.
    ///
    /// # Errors
    /// When the nonces have no encoding, which happens never.
    pub fn commit(&self, entropy: &[u8; 32]) -> Result<Nonces, FrostError> {
        let mut rng = Seeded::new(entropy);
        let (secret, commitments) = frost::round1::commit(self.package.signing_share(), &mut rng);
        let point = |commitment: &frost::round1::NonceCommitment| -> Option<Point> {
            commitment.serialize().ok()?.try_into().ok().map(Point)
        };
        let hiding = point(commitments.hiding()).ok_or(FrostError::Nonces)?;
        let binding = point(commitments.binding()).ok_or(FrostError::Nonces)?;
        Ok(Nonces { secret, commitments: Commitments { hiding, binding } })
    }

    /// Gives this member's share of a signature. The nonces are gone then.
    ///
    /// # Errors
    /// When the session does not name these nonces for this member, or has anything in it that is not good.
    pub fn sign(&self, nonces: Nonces, session: &Session) -> Result<SignatureShare, FrostError> {
        if session.commitments.get(&self.place) != Some(&nonces.commitments) {
            return Err(FrostError::Nonces);
        }
        let package = session.package(&self.group)?;
        let share = frost::round2::sign(&package, &nonces.secret, &self.package).map_err(|_| FrostError::Nonces)?;
        share.serialize().try_into().map(SignatureShare).map_err(|_| FrostError::Nonces)
    }
}

impl GroupKey {
    /// Puts everybody's shares together, and checks the signature that comes out as every node does.
    ///
    /// # Errors
    /// When a share is missing or not good: then whoever sent it is named.
    pub fn aggregate(
        &self,
        session: &Session,
        shares: &BTreeMap<Place, SignatureShare>,
    ) -> Result<CurveSignature, FrostError> {
        let package = session.package(self)?;
        if shares.keys().ne(session.commitments.keys()) {
            return Err(FrostError::Incomplete);
        }
        let what = "a share of a signature that is not good";
        let mut read = BTreeMap::new();
        for (place, share) in shares {
            let share = frost::round2::SignatureShare::deserialize(&share.0)
                .map_err(|_| FrostError::Culprit { place: *place, what })?;
            read.insert(identifier(*place), share);
        }
        let signature = frost::aggregate(&package, &read, &self.package).map_err(|error| blamed(&error, what))?;
        let bytes = signature.serialize().map_err(|_| FrostError::Signature)?;
        let signature = schnorr::Signature::from_slice(&bytes).map_err(|_| FrostError::Signature)?;
        let message = Message::from_digest(session.message);
        Secp256k1::verification_only()
            .verify_schnorr(&signature, &message, &self.x_only)
            .map_err(|_| FrostError::Signature)?;
        Ok(CurveSignature(signature))
    }
}
