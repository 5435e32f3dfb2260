//! `frost.json`: keys from the members' seeds to their shares, what is sealed in the records of a group, and what two of its
//! members say until they have signed by the key of a contract.

use std::collections::BTreeMap;

use bitcoin::secp256k1::{Message, Secp256k1};
use serde_json::{Value, json};

use super::escrow::describe;
use super::{check, hex};
use crate::body::{Body, Coin, GroupStep, Release, Side, Vaults};
use crate::frost::{
    Dealing, Decision, Draw, KeyShare, Nonces, Out, Owed, Place, Round, Rounds, Session, Share, SignatureShare, digests,
};
use crate::group::{Secrets, place};
use crate::hash::tagged;
use crate::ids::AuthorId;
use crate::money::Sats;
use crate::seal;
use crate::testing::group::people;
use crate::testing::{Author, SampleGroup, SampleTrade, group_secrets, sats, vaults_of};
use crate::trade::{Contract, Escrow, Role, Seat, Verdict};

/// Who asks, and who answers; the member between them is away.
pub(super) const ASKS: Place = 1;
pub(super) const ANSWERS: Place = 3;
const FEERATE: u64 = 10;

#[test]
fn groups_and_what_one_decides_come_out_as_published() {
    let group = SampleGroup::new(2, 3);
    let decisions: Vec<Value> = cases(&group).iter().map(|case| decided(&group, case)).collect();
    let computed = json!({
        "description": "See ../frost.md. All secrets are for these vectors only. key: members at places 1 to 3, threshold 2, the seed of each 32 bytes of his place; signing: the members at places 1 and 3, whose nonces are drawn from 32 bytes of their place and 80, sign 32 bytes of 07 by the key tweaked by a hash. How nonces and polynomials are drawn from these is this implementation's own affair; all that follows is not. groups: the records by which authors 11 to 13 form a group of two of three, and authors 11 to 15 one of three of five; what each member draws, the ikmE of all that he seals, and what was sealed. decisions: what the members at places 1 and 3 of the first group say to each other until the one at place 1 publishes the body, at a feerate in sat/vB; the part is what a verdict gives the buyer of the amount, null of an extension.",
        "key": key(),
        "groups": [formed(&group), formed(&SampleGroup::new(3, 5))],
        "decisions": decisions,
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

/// Describes how a group formed: the records, each member's secrets, and what these open in the records.
fn formed(group: &SampleGroup) -> Value {
    let ids: Vec<AuthorId> = group.members.iter().map(Author::id).collect();
    let count = u8::try_from(ids.len()).unwrap();
    let (_, numbers) = people(count);
    let secrets: Vec<Secrets> = numbers.iter().map(|number| group_secrets(*number)).collect();
    let (mut joins, mut deals, mut confirms) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for record in &group.records {
        let at = place(&ids, &record.author()).unwrap();
        match Body::decode(record).unwrap() {
            Body::GroupStep(GroupStep::Join(join)) => assert!(joins.insert(at, join).is_none()),
            Body::GroupStep(GroupStep::Deal(deal)) => assert!(deals.insert(at, deal).is_none()),
            Body::GroupStep(GroupStep::Confirm(confirm)) => assert!(confirms.insert(at, confirm).is_none()),
            Body::GroupStep(GroupStep::Propose(_)) | Body::GroupAdvert(_) => {}
            other => panic!("no step of a group: {other:?}"),
        }
    }
    // By what is written here, not by the code that sealed it: so that the two are compared.
    let open = |at: Place, info: &[u8], aad: &[u8], sealed: &[u8]| {
        let inside = seal::open(&secrets[usize::from(at) - 1].seal, info, aad, sealed).unwrap();
        json!({ "to": at, "aad": hex(aad), "plaintext": hex(&*inside) })
    };
    let id = group.id();
    let said = borsh::to_vec(&joins.values().collect::<Vec<_>>()).unwrap();
    let joined = tagged("exchange/group-joins/v1", &[id.as_bytes(), &said]);
    let mut dealt = Vec::new();
    for (from, deal) in &deals {
        let others = (1..=count).filter(|to| to != from);
        for (to, sealed) in others.zip(deal.sealed.iter()) {
            let aad = [id.as_bytes().as_slice(), &[*from, to], &joined].concat();
            let mut share = open(to, b"exchange/group-share/v1", &aad, sealed);
            share["from"] = (*from).into();
            dealt.push(share);
        }
    }
    let kept = confirms.iter().map(|(at, confirm)| {
        let aad = [id.as_bytes().as_slice(), &[*at]].concat();
        open(*at, b"exchange/group-kept/v1", &aad, &confirm.kept)
    });
    let kept: Vec<Value> = kept.collect();
    let members = (1u8..).zip(&secrets).zip(&numbers).map(|((at, secrets), number)| {
        json!({
            "place": at,
            "author": ids[usize::from(at) - 1],
            "seed": hex(*secrets.seed),
            "seal_secret": hex(*secrets.seal),
            "seal_part": hex(*secrets.part),
            "ikm_e": hex([*number; 32]),
        })
    });
    let members: Vec<Value> = members.collect();
    json!({
        "records": group.records.iter().map(|record| hex(record.encode())).collect::<Vec<_>>(),
        "members": members,
        "joined": hex(joined),
        "dealt": dealt,
        "kept": kept,
        "advert": group.advert.id(),
        "key": hex(group.parts[0].share.group().x_only().serialize()),
        "seal_secret": hex(*group.parts[0].seal_secret),
    })
}

/// What a group decides, and of which contract.
struct Case {
    name: &'static str,
    contract: Contract,
    seat: Seat,
    /// The verdict, and what it gives the buyer of the amount; none is an extension.
    verdict: Option<(Verdict, Sats)>,
    /// The bytes of a release that only who asks has seen.
    hidden: Option<Vec<u8>>,
}

impl Case {
    fn decision(&self, vaults: Vaults) -> Decision {
        match self.verdict {
            Some((verdict, _)) => Decision::Rule { vaults, verdict },
            None => Decision::Extend { vaults },
        }
    }
}

fn cases(group: &SampleGroup) -> [Case; 4] {
    let mut trade = SampleTrade::of_group(Side::Sell, group);
    let (contract, bonded) = (trade.contract(), trade.bonded());
    let single = SampleTrade::new(Side::Sell).contract().arbiter;
    let second = Contract { arbiter: single, second_arbiter: Some(bonded.arbiter.clone()), ..bonded.clone() };
    let split = sats(250_001);
    let (rules, split) = (Some((Verdict::Buyer, contract.amount)), Some((Verdict::Split(split), split)));
    let escrow = Escrow::new(&contract);
    let vaults = vaults_of(&escrow, 1);
    let fee = escrow.fee_at(&vaults, Role::Buyer, FEERATE).unwrap();
    let payout = escrow.half(&vaults, fee, Role::Buyer, &trade.author(Role::Seller).trade_key()).unwrap();
    let release = Body::Release(Release { trade: trade.id(), payout });
    let hidden = Some(trade.author(Role::Seller).write(&release).encode());
    let case = |name, contract, seat, verdict| Case { name, contract, seat, verdict, hidden: None };
    [
        Case { hidden, ..case("for the buyer, by a release that one of them has seen", contract, Seat::First, rules) },
        case("a split, bonds on both sides", bonded.clone(), Seat::First, split),
        case("a split by the second arbiter", second, Seat::Second, split),
        case("an extension, bonds on both sides", bonded, Seat::First, None),
    ]
}

/// Lets two members decide, of whom one asks. Returns what each says to the other, in order, and what comes of it.
fn talk(group: &SampleGroup, case: &Case) -> (Vec<(Place, Round)>, Body) {
    let escrow = Escrow::new(&case.contract);
    let decision = case.decision(vaults_of(&escrow, 1));
    let member = |at: Place| {
        let part = &group.parts[usize::from(at) - 1];
        Rounds::new(escrow.clone(), case.seat, part.members, &part.share).unwrap()
    };
    let (mut asks, mut answers) = (member(ASKS), member(ANSWERS));
    let mut drawn = 0_u8;
    let mut entropy = || {
        drawn += 1;
        [drawn; 32]
    };
    asks.heed(case.hidden.clone().map(|record| Owed { to: Role::Buyer, record }));
    let mut said = Vec::new();
    let asked = sent(ANSWERS, asks.decide(decision, FEERATE, 1..=100, &mut entropy).unwrap());
    for round in asked {
        answers.hear(ASKS, round.clone(), &mut entropy);
        said.push((ASKS, round));
    }
    let mut heard = sent(ASKS, answers.decide(decision, FEERATE, 1..=100, &mut entropy).unwrap());
    loop {
        let [round] = &heard[..] else { panic!("one message at a time: {heard:?}") };
        said.push((ANSWERS, round.clone()));
        let outs = asks.hear(ANSWERS, round.clone(), &mut entropy);
        if let Some(Out::Done(body)) = outs.last() {
            return (said, (**body).clone());
        }
        let named = sent(ANSWERS, outs);
        let [round] = &named[..] else { panic!("one message at a time: {named:?}") };
        said.push((ASKS, round.clone()));
        heard = sent(ASKS, answers.hear(ASKS, round.clone(), &mut entropy));
    }
}

/// Returns what goes to a member.
fn sent(to: Place, outs: Vec<Out>) -> Vec<Round> {
    let sent = outs.into_iter().filter_map(|out| match out {
        Out::Send(place, round) => (place == to).then_some(round),
        Out::Bind | Out::Done(_) | Out::Blame(..) | Out::Heed(_) => None,
    });
    sent.collect()
}

/// Returns the contract of the first decision, the group, and what its members say.
pub(super) fn first() -> (Contract, SampleGroup, Vec<(Place, Round)>) {
    let group = SampleGroup::new(2, 3);
    let [case, ..] = cases(&group);
    let (said, _) = talk(&group, &case);
    (case.contract, group, said)
}

fn decided(group: &SampleGroup, case: &Case) -> Value {
    let Case { name, contract, seat, verdict, hidden: _ } = case;
    let escrow = Escrow::new(contract);
    let vaults = vaults_of(&escrow, 1);
    let numbers = case.decision(vaults).asked(&escrow, *seat, FEERATE).unwrap();
    let (said, body) = talk(group, case);
    let (mut asked, mut session) = (None, None);
    for (_, round) in &said {
        match round {
            Round::Commit { asked: hash, .. } => asked = Some(hash),
            Round::Shares { session: hash, .. } => session = Some(hash),
            Round::Ask(_) | Round::Sign { .. } | Round::Show { .. } => {}
        }
    }
    let rounds = said.iter().map(|(from, round)| json!({ "from": from, "round": hex(borsh::to_vec(round).unwrap()) }));
    let coin =
        |Coin { outpoint, value }: Coin| json!({ "txid": outpoint.0.txid, "vout": outpoint.0.vout, "value": value });
    let trade = SampleTrade::of_group(Side::Sell, group);
    let records = json!({
        "offer": hex(trade.offer.encode()),
        "take": hex(trade.take.encode()),
        "accept": hex(trade.accept.encode()),
    });
    json!({
        "name": name,
        "records": (trade.contract() == *contract).then_some(records),
        "contract": describe(contract),
        "contract_bytes": hex(borsh::to_vec(contract).unwrap()),
        "contract_hash": contract.hash(),
        "seat": seat,
        "arbiter_key": escrow.arbiter_key(*seat).unwrap().to_string(),
        "vaults": { "escrow": coin(vaults.escrow), "bond": vaults.bond.map(coin) },
        "feerate": FEERATE,
        "part": verdict.map(|(_, part)| part.get()),
        "digests": digests(&escrow, *seat, &numbers).unwrap().iter().map(hex).collect::<Vec<_>>(),
        "asked": hex(asked.unwrap()),
        "session": hex(session.unwrap()),
        "rounds": rounds.collect::<Vec<_>>(),
        "body": hex(body.encode()),
    })
}
