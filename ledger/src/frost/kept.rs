//! A member's share of a key as he keeps it: sealed to himself, in a record of his own, so that he has it whatever becomes of
//! those of others.

use std::collections::BTreeMap;

use frost_secp256k1_tr as frost;
use zeroize::Zeroizing;

use super::{FrostError, GroupKey, KeyShare, MAX_MEMBERS, Place, identifier};

const SECRET_LEN: usize = 32;
const POINT_LEN: usize = 33;
/// How long a share is at most as it is kept.
const MAX_KEPT_LEN: usize = SECRET_LEN + POINT_LEN + MAX_MEMBERS * POINT_LEN;

impl KeyShare {
    /// Returns the share as its member keeps it: his number, the key, and the points by which everybody's shares of signatures
    /// are checked, in the order of the places. Nobody else may ever see it.
    ///
    /// # Errors
    /// When a point has no encoding, which happens never.
    pub fn kept(&self) -> Result<Zeroizing<Vec<u8>>, FrostError> {
        let public = &self.group.package;
        let key = public.verifying_key().serialize().map_err(|_| FrostError::Incomplete)?;
        // With room for all of it: a copy that is left behind would not be wiped.
        let mut kept: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::with_capacity(MAX_KEPT_LEN));
        kept.extend_from_slice(&Zeroizing::new(self.package.signing_share().serialize()));
        kept.extend_from_slice(&key);
        for place in (1..=Place::MAX).take(public.verifying_shares().len()) {
            kept.extend_from_slice(&self.group.share_of(place).ok_or(FrostError::Incomplete)?.0);
        }
        Ok(kept)
    }

    /// Reads a share that was [kept](Self::kept) by the member at a place of so many, of whom `threshold` sign.
    ///
    /// # Errors
    /// When it is none of theirs, or not his.
    pub fn from_kept(kept: &[u8], place: Place, members: u8, threshold: u8) -> Result<Self, FrostError> {
        Self::read(kept, place, members, threshold).ok_or(FrostError::Incomplete)
    }

    fn read(kept: &[u8], place: Place, members: u8, threshold: u8) -> Option<Self> {
        let (secret, rest) = kept.split_first_chunk::<SECRET_LEN>()?;
        let (key, points) = rest.split_first_chunk::<POINT_LEN>()?;
        let (points, rest) = points.as_chunks::<POINT_LEN>();
        if !rest.is_empty() || points.len() != usize::from(members) || !(1..=members).contains(&place) {
            return None;
        }
        let secret = frost::keys::SigningShare::deserialize(secret).ok()?;
        let key = frost::VerifyingKey::deserialize(key).ok()?;
        let read = |(at, point): (Place, &[u8; POINT_LEN])| {
            Some((identifier(at), frost::keys::VerifyingShare::deserialize(point).ok()?))
        };
        let points: BTreeMap<frost::Identifier, frost::keys::VerifyingShare> =
            (1..).zip(points).map(read).collect::<Option<_>>()?;
        let id = identifier(place);
        let own = frost::keys::VerifyingShare::from(secret);
        if points.get(&id) != Some(&own) {
            return None;
        }
        let package = frost::keys::KeyPackage::new(id, secret, own, key, u16::from(threshold));
        let public = frost::keys::PublicKeyPackage::new(points, key, Some(u16::from(threshold)));
        Some(Self { place, package, group: GroupKey::new(public, threshold).ok()? })
    }
}
