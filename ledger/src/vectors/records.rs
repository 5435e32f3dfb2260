//! `records.json`: a valid record of every kind with all that leads to it, and invalid ones with the rule they break.

mod invalid;

use serde_json::{Value, json};

use super::{check, hex, read};
use crate::body::{
    ArbiterAdvert, Body, Cancel, Checkpoint, Closed, Dispute, Funded, GroupConfirm, GroupDeal, GroupJoin, GroupStep,
    MAX_KEPT_PART_LEN, Offer, PaymentSent, Release, Revoke, Side,
};
use crate::frost::{Draw, Point};
use crate::ids::{RecordId, StateHash};
use crate::record::{
    FLAG_CRITICAL, HEADER_LEN, Header, Kind, MAX_BODY_LEN, MAX_RECORD_LEN, Record, RecordError, signed_bytes,
};
use crate::seal;
use crate::testing::{Author, EPOCH, SampleGroup, SampleTrade, sample_offer, sample_stake, sats};
use crate::trade::{Role, Seat, Verdict};
use crate::wire::{List, Outpoint, TxId};

/// A record whose nonce point has a part of order eight: ZIP-215 accepts it, a verification without cofactor would not.
const MIXED_ORDER: &str = include_str!("mixed_order_record.hex");

#[test]
fn records_come_out_as_published() {
    let valid: Vec<Value> = valid().iter().map(|(name, seed, record)| describe(name, *seed, record)).collect();
    let invalid: Vec<Value> = invalid::records().iter().map(invalid::Invalid::describe).collect();
    let computed = json!({
        "description": "Records of version 1, see ../records.md and ../kinds.md. The ed25519 seed of author n is 32 bytes of n.",
        "valid": valid,
        "invalid": invalid,
    });
    check("records.json", &computed);
}

#[test]
fn published_records_are_judged_by_their_bytes_alone() {
    let file = read("records.json");
    for vector in file["valid"].as_array().unwrap() {
        let record = Record::decode(&bytes(vector)).unwrap();
        assert_eq!(record.encode(), bytes(vector));
        assert_eq!(record.id().to_string(), vector["id"]);
        assert_eq!(record.verify(), Ok(()), "{}", vector["name"]);
        let body = Body::decode(&record).unwrap();
        assert!(matches!(body, Body::Unknown(_)) || body.encode() == record.body());
    }
    for vector in file["invalid"].as_array().unwrap() {
        let (stage, error) = first_fault(&bytes(vector)).unwrap_or_else(|| panic!("{} is accepted", vector["name"]));
        assert_eq!(
            (stage, error.to_string()),
            (vector["stage"].as_str().unwrap(), vector["error"].as_str().unwrap().to_owned())
        );
    }
}

fn bytes(vector: &Value) -> Vec<u8> {
    hex::decode(vector["record"].as_str().unwrap()).unwrap()
}

/// Returns where a record fails first, and why.
fn first_fault(bytes: &[u8]) -> Option<(&'static str, RecordError)> {
    let record = match Record::decode(bytes) {
        Ok(record) => record,
        Err(error) => return Some(("decode", error)),
    };
    let verified = record.verify().err().map(|error| ("verify", error));
    verified.or_else(|| Body::decode(&record).err().map(|error| ("body", error)))
}

fn outpoint() -> Outpoint {
    SampleTrade::new(Side::Sell).vaults(1).escrow.outpoint
}

fn valid() -> Vec<(String, u8, Record)> {
    let mut trade = SampleTrade::new(Side::Sell);
    let (id, escrow, vaults) = (trade.id(), trade.escrow(), trade.vaults(1));
    let (buyer, seller) = (trade.author(Role::Buyer).trade_key(), trade.author(Role::Seller).trade_key());
    let payout = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
    let refund = escrow.half(&vaults, sats(1_700), Role::Seller, &buyer).unwrap();
    let mut records = vec![
        ("arbiter_advert".into(), 1, trade.advert.clone()),
        ("offer".into(), 2, trade.offer.clone()),
        ("take".into(), 3, trade.take.clone()),
        ("accept".into(), 2, trade.accept.clone()),
    ];
    let later: [(&str, Role, Body); 7] = [
        ("cancel", Role::Seller, Body::Cancel(Cancel { trade: id, refund: None })),
        ("cancel_with_refund", Role::Buyer, Body::Cancel(Cancel { trade: id, refund: Some(refund) })),
        ("funded", Role::Seller, Body::Funded(Funded { trade: id, outpoint: outpoint() })),
        ("payment_sent", Role::Buyer, Body::PaymentSent(PaymentSent { trade: id })),
        ("release", Role::Seller, Body::Release(Release { trade: id, payout })),
        ("closed", Role::Buyer, Body::Closed(Closed { trade: id, spend: TxId(outpoint().0.txid) })),
        ("revoke", Role::Seller, Body::Revoke(Revoke { offer: trade.offer.id() })),
    ];
    for (name, role, body) in later {
        let seed = if role == Role::Seller { 2 } else { 3 };
        records.push((name.into(), seed, trade.author(role).write(&body)));
    }
    let pair = trade.arbiter_pair(&trade.contract(), Seat::First);
    let division = escrow.divide(Seat::First, &vaults, Verdict::Split(sats(600_000)), 10).unwrap();
    let ruling = escrow.rule(Seat::First, &vaults, division, &pair).unwrap();
    let fee = escrow.extension_fee_at(Seat::First, &vaults, 10).unwrap();
    let extend = escrow.extend(Seat::First, &vaults, fee, &pair).unwrap();
    records.push(("dispute".into(), 3, trade.author(Role::Buyer).write(&Body::Dispute(Dispute { trade: id }))));
    records.push(("ruling".into(), 1, trade.arbiter.write(&Body::Ruling(ruling))));
    records.push(("extend".into(), 1, trade.arbiter.write(&Body::Extend(extend))));
    let bonded =
        Offer { seller_bond_ppm: 50_000, buyer_bond_ppm: 500_000, ..sample_offer(Side::Buy, &[trade.advert.id()]) };
    records.push(("offer_with_bonds".into(), 9, Author::new(9).write(&Body::Offer(bonded))));
    records.push(("stake".into(), 7, stake_of(&mut Author::new(7), 1)));
    let checkpoint = Checkpoint { time: u64::from(EPOCH), logs: 3, records: 4, state: StateHash([0x5a; 32]) };
    records.push(("checkpoint".into(), 8, Author::new(8).write(&Body::Checkpoint(checkpoint))));
    records.extend(of_groups());
    let mut newcomer = Author::new(4);
    records.push(("heartbeat_opening_a_log".into(), 4, newcomer.write(&Body::Heartbeat)));
    let header = Header { kind: Kind::Unknown(4242), flags: FLAG_CRITICAL, ..newcomer.next_header(&Body::Heartbeat) };
    records.push(("unknown_kind_with_critical_flag".into(), 4, newcomer.sign(header, b"later".to_vec())));
    records.push((
        "nonce_point_of_mixed_order".into(),
        5,
        Record::decode(&hex::decode(MIXED_ORDER.trim()).unwrap()).unwrap(),
    ));
    records
}

/// Returns a step of each kind by which a group forms, and its advert; and steps that help nobody, and are records all the same.
fn of_groups() -> Vec<(String, u8, Record)> {
    let mut records: Vec<(String, u8, Record)> = Vec::new();
    for record in &SampleGroup::new(2, 3).records {
        let name = match Body::decode(record).unwrap() {
            Body::GroupStep(GroupStep::Propose(_)) => "group_step_propose",
            Body::GroupStep(GroupStep::Join(_)) => "group_step_join",
            Body::GroupStep(GroupStep::Deal(_)) => "group_step_deal",
            Body::GroupStep(GroupStep::Confirm(_)) => "group_step_confirm",
            Body::GroupAdvert(_) => "group_advert",
            other => unreachable!("no group forms by {other:?}"),
        };
        if records.iter().all(|(known, ..)| known != name) {
            let seed = (11..14).find(|number| Author::new(*number).id() == record.author()).unwrap();
            records.push((name.into(), seed, record.clone()));
        }
    }
    let (mut outsider, group) = (Author::new(10), RecordId([5; 32]));
    let draw = Draw { coefficients: List::new(vec![Point([0xff; 33])]).unwrap(), proof: [0xff; 64] };
    let seal_key = seal::public_key(&outsider.seal_secret());
    let join = GroupJoin { group, seal_key, seal_part: [6; 32], draw };
    let deal = GroupDeal { group, joins: List::new(vec![RecordId([1; 32])]).unwrap(), sealed: List::default() };
    let confirm = |kept| GroupConfirm { group, signature: [7; 64], kept: List::new(vec![8; kept]).unwrap() };
    for (name, step) in [
        ("group_step_join_with_a_point_that_is_none", GroupStep::Join(join)),
        ("group_step_deal_to_nobody", GroupStep::Deal(deal)),
        ("group_step_confirm_without_a_part", GroupStep::Confirm(confirm(0))),
        ("group_step_confirm_with_the_longest_part", GroupStep::Confirm(confirm(MAX_KEPT_PART_LEN))),
    ] {
        records.push((name.into(), 10, outsider.write(&Body::GroupStep(step))));
    }
    records
}

/// Returns a stake on output `number` of nowhere, which belongs to the author's own key.
fn stake_of(author: &mut Author, number: u8) -> Record {
    let body = Body::Stake(sample_stake(author, number));
    author.write(&body)
}

fn describe(name: &str, seed: u8, record: &Record) -> Value {
    let header = record.header();
    json!({
        "name": name,
        "secret_seed": hex([seed; 32]),
        "fields": {
            "version": 1,
            "network": hex(header.network),
            "author": header.log.author,
            "epoch": header.log.epoch,
            "seq": header.seq,
            "backlink": header.backlink,
            "time": header.time,
            "kind": header.kind.code(),
            "flags": header.flags,
            "body_len": header.body_len,
            "body_hash": hex(header.body_hash),
            "admission": header.admission,
        },
        "body_fields": fields(&Body::decode(record).unwrap()),
        "body": hex(record.body()),
        "header": hex(header.encode()),
        "id": record.id(),
        "signed_bytes": hex(signed_bytes(&record.id())),
        "signature": hex(record.signature()),
        "record": hex(record.encode()),
    })
}

fn fields(body: &Body) -> Value {
    let value = match body {
        Body::Heartbeat | Body::Unknown(_) => Ok(Value::Null),
        Body::GroupAdvert(_) | Body::GroupStep(_) => Ok(Value::Null), // nothing shows them as JSON
        Body::ArbiterAdvert(body) => serde_json::to_value(body),
        Body::Stake(body) => serde_json::to_value(body),
        Body::Checkpoint(body) => serde_json::to_value(body),
        Body::Offer(body) => serde_json::to_value(body),
        Body::Take(body) => serde_json::to_value(body),
        Body::Accept(body) => serde_json::to_value(body),
        Body::Cancel(body) => serde_json::to_value(body),
        Body::Funded(body) => serde_json::to_value(body),
        Body::PaymentSent(body) => serde_json::to_value(body),
        Body::Release(body) => serde_json::to_value(body),
        Body::Closed(body) => serde_json::to_value(body),
        Body::Dispute(body) => serde_json::to_value(body),
        Body::Ruling(body) => serde_json::to_value(body),
        Body::Extend(body) => serde_json::to_value(body),
        Body::Revoke(body) => serde_json::to_value(body),
    };
    value.unwrap()
}
