//! Keys that are shared, signatures that are put together, and who is blamed when they do not come out.

use std::collections::BTreeMap;

use bitcoin::secp256k1::{Message, XOnlyPublicKey, schnorr};
use serde_json::Value;

use super::*;
use crate::vectors::read;

/// Makes a key of `threshold` of `members`, each from the seed of 32 bytes of his place.
pub(crate) fn key(threshold: u8, members: u8) -> Vec<KeyShare> {
    let dealings: Vec<Dealing> =
        (1..=members).map(|place| Dealing::new(place, members, threshold, &[place; 32]).unwrap()).collect();
    let draws = draws(&dealings);
    let dealt: Vec<BTreeMap<Place, Share>> = dealings.iter().map(|dealing| dealing.shares(&draws).unwrap()).collect();
    let finish = |(dealing, place): (&Dealing, Place)| dealing.finish(&draws, &shares_for(place, &dealt)).unwrap();
    dealings.iter().zip(1..).map(finish).collect()
}

fn draws(dealings: &[Dealing]) -> BTreeMap<Place, Draw> {
    (1..).zip(dealings).map(|(place, dealing)| (place, dealing.draw().clone())).collect()
}

fn shares_for(place: Place, dealt: &[BTreeMap<Place, Share>]) -> BTreeMap<Place, Share> {
    (1..).zip(dealt).filter_map(|(from, shares)| Some((from, shares.get(&place)?.clone()))).collect()
}

fn session(shares: &[&KeyShare], message: [u8; 32]) -> (Session, Vec<Nonces>) {
    let nonces: Vec<Nonces> = shares.iter().map(|share| share.commit(&[share.place() + 80; 32]).unwrap()).collect();
    let commitments = shares.iter().zip(&nonces).map(|(share, nonces)| (share.place(), nonces.commitments())).collect();
    (Session { message, commitments }, nonces)
}

fn sign_all(shares: &[&KeyShare], message: [u8; 32]) -> (Session, BTreeMap<Place, SignatureShare>) {
    let (session, nonces) = session(shares, message);
    let signed = shares.iter().zip(nonces);
    let signed = signed.map(|(share, nonces)| (share.place(), share.sign(nonces, &session).unwrap())).collect();
    (session, signed)
}

fn is_good(key: XOnlyPublicKey, message: [u8; 32], signature: &schnorr::Signature) -> bool {
    Secp256k1::verification_only().verify_schnorr(signature, &Message::from_digest(message), &key).is_ok()
}

#[test]
fn any_two_of_three_sign_and_one_alone_does_not() {
    let shares = key(2, 3);
    let group = shares[0].group();
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let (session, signed) = sign_all(&[&shares[one], &shares[other]], [7; 32]);
        let signature = group.aggregate(&session, &signed).unwrap();
        assert!(is_good(group.x_only(), [7; 32], &signature.0));
    }
    let (all, signed) = sign_all(&[&shares[0], &shares[1], &shares[2]], [7; 32]);
    assert!(group.aggregate(&all, &signed).is_ok());
    let (alone, nonces) = session(&[&shares[0]], [7; 32]);
    assert_eq!(shares[0].sign(nonces.into_iter().next().unwrap(), &alone), Err(FrostError::Incomplete));
}

/// Both parities of the key before a tweak and after it.
#[test]
fn a_tweaked_key_signs_as_the_tweak_of_one_person_does() {
    let secp = Secp256k1::new();
    let mut parities = std::collections::BTreeSet::new();
    for number in 1..=24u8 {
        let shares: Vec<KeyShare> = key(2, 2 + number % 7);
        let tweak = Scalar::from_be_bytes([number; 32]).unwrap();
        let untweaked = shares[0].group();
        let (expected, parity) = untweaked.x_only().add_tweak(&secp, &tweak).unwrap();
        let before = untweaked.package.verifying_key().serialize().unwrap()[0];
        parities.insert((before, parity));
        let tweaked: Vec<KeyShare> = shares.iter().map(|share| share.tweaked(&tweak).unwrap()).collect();
        let group = tweaked[0].group();
        assert_eq!(group.x_only(), expected);
        let (session, signed) = sign_all(&[&tweaked[0], &tweaked[1]], [number; 32]);
        let signature = group.aggregate(&session, &signed).unwrap();
        assert!(is_good(expected, [number; 32], &signature.0));
        assert!(!is_good(untweaked.x_only(), [number; 32], &signature.0));
    }
    assert_eq!(parities.len(), 4, "{parities:?}");
}

#[test]
fn whoever_sends_a_bad_draw_share_or_signature_is_named() {
    let dealings: Vec<Dealing> = (1..=3).map(|place| Dealing::new(place, 3, 2, &[place; 32]).unwrap()).collect();
    let good = draws(&dealings);
    let dealt: Vec<BTreeMap<Place, Share>> = dealings.iter().map(|dealing| dealing.shares(&good).unwrap()).collect();

    // Of a draw: a proof of another secret, too few coefficients, a point that is none.
    for change in 0..3 {
        let mut draws = good.clone();
        let bad = draws.get_mut(&2).unwrap();
        match change {
            0 => bad.proof = good[&3].proof,
            1 => bad.coefficients = crate::wire::List::new(vec![good[&2].coefficients[0]]).unwrap(),
            _ => bad.coefficients = crate::wire::List::new(vec![good[&2].coefficients[0], Point([9; 33])]).unwrap(),
        }
        assert_eq!(dealings[0].shares(&draws).unwrap_err().culprit(), Some(2), "{change}");
    }
    // One whose key would cancel the others' does not know its secret.
    let mut rogue = good.clone();
    rogue.insert(3, good[&2].clone());
    assert_eq!(dealings[0].shares(&rogue).unwrap_err().culprit(), Some(3), "a proof is bound to its place");

    // Of a dealt share: another number, and none.
    for bad in [[5; 32], [0xff; 32]] {
        let mut shares = shares_for(1, &dealt);
        shares.insert(3, Zeroizing::new(bad));
        assert_eq!(dealings[0].finish(&good, &shares).unwrap_err().culprit(), Some(3));
    }
    let mut missing = shares_for(1, &dealt);
    missing.remove(&2);
    assert_eq!(dealings[0].finish(&good, &missing).unwrap_err(), FrostError::Incomplete);

    // Of a signature.
    let shares = key(2, 3);
    let (session, mut signed) = sign_all(&[&shares[0], &shares[2]], [1; 32]);
    for bad in [[5; 32], [0xff; 32]] {
        signed.insert(3, SignatureShare(bad));
        assert_eq!(shares[0].group().aggregate(&session, &signed).unwrap_err().culprit(), Some(3));
    }
    let mut strange = session.clone();
    strange.commitments.insert(4, session.commitments[&3]);
    signed.insert(4, SignatureShare([5; 32]));
    assert_eq!(shares[0].group().aggregate(&strange, &signed).unwrap_err().culprit(), Some(4));
}

#[test]
fn nonces_sign_only_where_they_are_named() {
    let shares = key(2, 3);
    let (session, mut nonces) = session(&[&shares[0], &shares[1]], [1; 32]);
    let other = shares[0].commit(&[200; 32]).unwrap();
    assert_eq!(shares[0].sign(other, &session), Err(FrostError::Nonces));
    let second = nonces.pop().unwrap();
    assert_eq!(shares[0].sign(second, &session), Err(FrostError::Nonces), "another's");
    assert_ne!(shares[0].commit(&[1; 32]).unwrap().commitments(), shares[0].commit(&[2; 32]).unwrap().commitments());
}

#[test]
fn there_are_no_groups_of_other_sizes() {
    for (place, members, threshold) in [(0, 3, 2), (4, 3, 2), (1, 3, 1), (1, 3, 4), (1, 1, 1), (1, 9, 5), (1, 0, 0)] {
        let made = Dealing::new(place, members, threshold, &[1; 32]);
        assert!(matches!(made, Err(FrostError::Threshold { .. })), "{place} {members} {threshold}");
    }
    assert_eq!(key(8, 8).len(), 8);
}

#[test]
fn a_share_that_was_kept_signs_as_before_and_nothing_else_is_one() {
    for (threshold, members) in [(2, 2), (2, 3), (3, 4), (3, 5), (4, 6), (5, 8), (8, 8)] {
        let shares = key(threshold, members);
        let kept: Vec<Zeroizing<Vec<u8>>> = shares.iter().map(|share| share.kept().unwrap()).collect();
        let again: Vec<KeyShare> = (1..)
            .zip(&kept)
            .map(|(place, kept)| KeyShare::from_kept(kept, place, members, threshold).unwrap())
            .collect();
        assert!(again.iter().all(|share| *share.group() == *shares[0].group()), "{threshold} of {members}");
        let tweak = Scalar::from_be_bytes([members; 32]).unwrap();
        let tweaked: Vec<KeyShare> = again.iter().map(|share| share.tweaked(&tweak).unwrap()).collect();
        for signers in [&again, &tweaked] {
            let signers: Vec<&KeyShare> = signers.iter().take(usize::from(threshold)).collect();
            let (session, signed) = sign_all(&signers, [3; 32]);
            assert!(signers[0].group().aggregate(&session, &signed).is_ok(), "{threshold} of {members}");
        }
        let refused = |kept: &[u8], place, members| KeyShare::from_kept(kept, place, members, threshold).is_err();
        let whole = kept[0].as_slice();
        for (kept, place, members) in [
            (whole, 2, members),
            (whole, 0, members),
            (whole, members + 1, members),
            (whole, 1, members - 1),
            (whole, 1, members + 1),
            (&whole[1..], 1, members),
            (&whole[..32], 1, members),
            (&whole[..0], 1, members),
        ] {
            assert!(refused(kept, place, members), "{place} of {members}");
        }
        // A number, a key and a point that are none, and another's number.
        let other = [&kept[1][..32], &whole[32..]].concat();
        assert!(refused(&other, 1, members));
        for at in [0, 32, 65] {
            let mut changed = whole.to_vec();
            changed[at] = 0xff;
            changed[at + 1..at + 32].fill(0xff);
            assert!(refused(&changed, 1, members), "{at}");
        }
    }
}

#[test]
fn secrets_are_not_shown() {
    let shares = key(2, 3);
    let share = hex::encode(shares[0].package.signing_share().serialize());
    let nonces = shares[0].commit(&[1; 32]).unwrap();
    for shown in [format!("{:?}", shares[0]), format!("{nonces:?}")] {
        assert!(!shown.contains(&share));
        assert!(shown.contains(".."), "{shown}");
    }
}

/// Draws what was drawn for the vectors.
struct Replay(Vec<u8>);

impl rand_core::RngCore for Replay {
    fn next_u32(&mut self) -> u32 {
        unreachable!("only bytes are drawn")
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("only bytes are drawn")
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        let rest = self.0.split_off(dest.len());
        dest.copy_from_slice(&self.0);
        self.0 = rest;
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

impl rand_core::CryptoRng for Replay {}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(value.as_str().unwrap()).unwrap().try_into().unwrap()
}

/// The vectors that come with the library: a dealt key, and what two of its three holders sign.
#[test]
fn signatures_are_those_of_the_published_vectors() {
    let file = &read("frost-published.json")["signing"];
    let (inputs, t) = (&file["inputs"], 2u8);
    let key = frost::VerifyingKey::deserialize(&bytes::<33>(&inputs["verifying_key_key"])).unwrap();
    let secrets: BTreeMap<Place, frost::keys::SigningShare> = (1..)
        .zip(inputs["participant_shares"].as_array().unwrap())
        .map(|(place, it)| {
            (place, frost::keys::SigningShare::deserialize(&bytes::<32>(&it["participant_share"])).unwrap())
        })
        .collect();
    let verifying = secrets.iter().map(|(place, share)| (identifier(*place), (*share).into())).collect();
    let public = frost::keys::PublicKeyPackage::new(verifying, key, Some(u16::from(t)));
    let group = GroupKey::new(public, t).unwrap();
    let message = hex::decode(inputs["message"].as_str().unwrap()).unwrap();
    let mut commitments = BTreeMap::new();
    let mut holders = Vec::new();
    for output in file["round_one_outputs"]["outputs"].as_array().unwrap() {
        let place = Place::try_from(output["identifier"].as_u64().unwrap()).unwrap();
        let drawn = ["hiding_nonce_randomness", "binding_nonce_randomness"].map(|name| bytes::<32>(&output[name]));
        let (secret, _) = frost::round1::commit(&secrets[&place], &mut Replay(drawn.concat()));
        let (hiding, binding) =
            (Point(bytes(&output["hiding_nonce_commitment"])), Point(bytes(&output["binding_nonce_commitment"])));
        commitments.insert(identifier(place), Commitments { hiding, binding }.read().unwrap());
        let share = secrets[&place];
        let package = frost::keys::KeyPackage::new(identifier(place), share, share.into(), key, u16::from(t));
        holders.push((place, secret, KeyShare { place, package, group: group.clone() }));
    }
    // Its message is four bytes long, and that of a session always 32: so this goes around `Session`.
    let package = frost::SigningPackage::new(commitments, &message);
    let mut signed = BTreeMap::new();
    for ((place, nonces, share), output) in holders.iter().zip(file["round_two_outputs"]["outputs"].as_array().unwrap())
    {
        let part = frost::round2::sign(&package, nonces, &share.package).unwrap();
        assert_eq!(hex::encode(part.serialize()), output["sig_share"].as_str().unwrap());
        signed.insert(identifier(*place), part);
    }
    let signature = frost::aggregate(&package, &signed, &group.package).unwrap();
    assert_eq!(hex::encode(signature.serialize().unwrap()), file["final_output"]["sig"].as_str().unwrap());
}

/// And those of a key that nobody dealt: each draw is checked as here, and the key comes out.
#[test]
fn draws_are_those_of_the_published_vectors() {
    let file = &read("frost-published.json")["key_generation"]["inputs"];
    let draw = |place: Place| {
        let it = &file[place.to_string()];
        let points = it["vss_commitments"].as_array().unwrap().iter().map(|point| Point(bytes(point))).collect();
        Draw { coefficients: crate::wire::List::new(points).unwrap(), proof: bytes(&it["proof_of_knowledge"]) }
    };
    let draws: BTreeMap<Place, Draw> = (1..=3).map(|place| (place, draw(place))).collect();
    for place in 1..=3 {
        let it = &file[place.to_string()];
        // Its secret is drawn otherwise than here, so that it is put in by hand.
        let coefficients = ["signing_key", "coefficient"]
            .map(|name| <frost::Secp256K1ScalarField as frost::Field>::deserialize(&bytes::<32>(&it[name])).unwrap());
        let commitment = draws[&place].package(2).unwrap().commitment().clone();
        let secret =
            frost::keys::dkg::round1::SecretPackage::new(identifier(place), coefficients.to_vec(), commitment, 2, 3);
        let dealing = Dealing { place, members: 3, threshold: 2, secret, draw: draws[&place].clone() };
        let shares = it["signing_shares"].as_object().unwrap().iter();
        let shares: BTreeMap<Place, Share> =
            shares.map(|(from, share)| (from.parse().unwrap(), Zeroizing::new(bytes(share)))).collect();
        let share = dealing.finish(&draws, &shares).unwrap();
        assert_eq!(hex::encode(share.package.signing_share().serialize()), it["signing_share"].as_str().unwrap());
        assert_eq!(hex::encode(share.group.share_of(place).unwrap().0), it["verifying_share"].as_str().unwrap());
        let key = share.group.package.verifying_key().serialize().unwrap();
        assert_eq!(hex::encode(key), file["verifying_key"].as_str().unwrap());
    }
}
