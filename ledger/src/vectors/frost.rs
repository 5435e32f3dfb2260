//! `frost.json`: a group of two of three from the members' seeds to their shares, and what two of them sign by the key of a
//! contract.

use std::collections::BTreeMap;

use bitcoin::secp256k1::{Message, Secp256k1};
use serde_json::{Value, json};

use super::{check, hex};
use crate::body::{Body, Side};
use crate::frost::{Dealing, Draw, KeyShare, Nonces, Place, Session, Share, SignatureShare};
use crate::testing::{SampleGroup, SampleTrade};
use crate::trade::{Seat, Verdict};

#[test]
fn a_group_and_its_ruling_come_out_as_published() {
    let computed = json!({
        "description": "See ../frost.md. key: members at places 1 to 3, threshold 2, the seed of each 32 bytes of his place; signing: the members at places 1 and 3, whose nonces are drawn from 32 bytes of their place and 80, sign 32 bytes of 07 by the key tweaked by a hash. How nonces and polynomials are drawn from these is this implementation's own affair; all that follows is not. group: the records by which authors 11 to 13 form a group, and a ruling of two of them for the buyer at 10 sat/vB.",
        "key": key(),
        "group": group(),
    });
    check("frost.json", &computed);
}

fn key() -> Value {
    let dealings: Vec<Dealing> = (1..=3).map(|place| Dealing::new(place, 3, 2, &[place; 32]).unwrap()).collect();
    let draws: BTreeMap<Place, Draw> = (1..).zip(&dealings).map(|(at, dealing)| (at, dealing.draw().clone())).collect();
    let dealt: Vec<BTreeMap<Place, Share>> = dealings.iter().map(|dealing| dealing.shares(&draws).unwrap()).collect();
    let shares: Vec<KeyShare> = (1..)
        .zip(&dealings)
        .map(|(place, dealing)| {
            let mine = (1..).zip(&dealt).filter_map(|(from, all)| Some((from, all.get(&place)?.clone())));
            dealing.finish(&draws, &mine.collect()).unwrap()
        })
        .collect();
    let group = shares[0].group();
    let members: Vec<Value> = (1u8..)
        .zip(&dealings)
        .map(|(place, dealing)| {
            let draw = dealing.draw();
            let dealt: BTreeMap<String, String> =
                dealt[usize::from(place) - 1].iter().map(|(to, share)| (to.to_string(), hex(**share))).collect();
            json!({
                "place": place,
                "seed": hex([place; 32]),
                "coefficients": draw.coefficients.iter().map(|point| hex(point.0)).collect::<Vec<_>>(),
                "proof": hex(draw.proof),
                "deals": dealt,
                "verifying_share": hex(group.share_of(place).unwrap().0),
            })
        })
        .collect();
    let tweak = bitcoin::secp256k1::Scalar::from_be_bytes([0x11; 32]).unwrap();
    let (tweaked, message) = ([0, 2].map(|at: usize| shares[at].tweaked(&tweak).unwrap()), [7; 32]);
    let nonces: Vec<Nonces> = tweaked.iter().map(|share| share.commit(&[share.place() + 80; 32]).unwrap()).collect();
    let commitments: BTreeMap<_, _> =
        tweaked.iter().zip(&nonces).map(|(share, nonces)| (share.place(), nonces.commitments())).collect();
    let session = Session { message, commitments };
    let signed: BTreeMap<Place, SignatureShare> = tweaked
        .iter()
        .zip(nonces)
        .map(|(share, nonces)| (share.place(), share.sign(nonces, &session).unwrap()))
        .collect();
    let key = tweaked[0].group();
    let signature = key.aggregate(&session, &signed).unwrap();
    let verified =
        Secp256k1::verification_only().verify_schnorr(&signature.0, &Message::from_digest(message), &key.x_only());
    assert!(verified.is_ok());
    let signers: Vec<Value> = session
        .commitments
        .iter()
        .map(|(place, commitments)| {
            json!({
                "place": place,
                "verifying_share": hex(key.share_of(*place).unwrap().0),
                "hiding": hex(commitments.hiding.0),
                "binding": hex(commitments.binding.0),
                "share": hex(signed[place].0),
            })
        })
        .collect();
    json!({
        "threshold": 2,
        "members": members,
        "key": hex(group.x_only().serialize()),
        "tweak": hex([0x11; 32]),
        "tweaked_key": hex(key.x_only().serialize()),
        "message": hex(message),
        "signers": signers,
        "signature": hex(signature.0.serialize()),
    })
}

fn group() -> Value {
    let group = SampleGroup::new(2, 3);
    let trade = SampleTrade::of_group(Side::Sell, &group);
    let (escrow, contract, vaults) = (trade.escrow(), trade.contract(), trade.vaults(1));
    let division = escrow.divide(Seat::First, &vaults, Verdict::Buyer, 10).unwrap();
    let digests = escrow.ruling_digests(Seat::First, &vaults, division).unwrap();
    let signatures = group.sign(&contract, [0, 1], &digests);
    let ruling = escrow.ruling_of(Seat::First, &vaults, division, &signatures).unwrap();
    json!({
        "records": group.records.iter().map(|record| hex(record.encode())).collect::<Vec<_>>(),
        "advert": hex(group.advert.id().0),
        "key": hex(contract.arbiter.key.0.serialize()),
        "seal_secret": hex(*group.parts[0].seal_secret),
        "contract_hash": hex(contract.hash().0),
        "contract_key": hex(escrow.arbiter_key(Seat::First).unwrap().serialize()),
        "digests": digests.iter().map(hex).collect::<Vec<_>>(),
        "signatures": signatures.iter().map(|it| hex(it.0.serialize())).collect::<Vec<_>>(),
        "ruling": hex(Body::Ruling(ruling).encode()),
    })
}
