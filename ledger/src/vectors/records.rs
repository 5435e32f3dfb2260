//! `records.json`: a valid record of every kind with all that leads to it, and invalid ones with the rule they break.

use serde_json::{Value, json};

use super::{check, hex, read};
use crate::body::{ArbiterAdvert, Body, Cancel, Closed, Funded, Offer, PaymentSent, Release, Revoke, Side};
use crate::ids::RecordId;
use crate::record::{
    FLAG_CRITICAL, HEADER_LEN, Header, Kind, MAX_BODY_LEN, MAX_RECORD_LEN, Record, RecordError, signed_bytes,
};
use crate::testing::{Author, EPOCH, SampleTrade, sample_offer, sats};
use crate::trade::Role;
use crate::wire::{Outpoint, TxId};

/// A record whose nonce point has a part of order eight: ZIP-215 accepts it, a verification without cofactor would not.
const MIXED_ORDER: &str = include_str!("mixed_order_record.hex");

#[test]
fn records_come_out_as_published() {
    let valid: Vec<Value> = valid()
        .iter()
        .map(|(name, seed, record)| describe(name, *seed, record))
        .collect();
    let invalid: Vec<Value> = invalid().iter().map(Invalid::describe).collect();
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
            (
                vector["stage"].as_str().unwrap(),
                vector["error"].as_str().unwrap().to_owned()
            )
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
    Outpoint(
        SampleTrade::new(Side::Sell)
            .escrow()
            .fundings(&SampleTrade::new(Side::Sell).funding(1))[0],
    )
}

fn valid() -> Vec<(String, u8, Record)> {
    let mut trade = SampleTrade::new(Side::Sell);
    let (id, escrow) = (trade.id(), trade.escrow());
    let (buyer, seller) = (
        trade.author(Role::Buyer).trade_key(),
        trade.author(Role::Seller).trade_key(),
    );
    let payout = escrow.half(outpoint().0, sats(1_700), Role::Buyer, &seller).unwrap();
    let refund = escrow.half(outpoint().0, sats(1_700), Role::Seller, &buyer).unwrap();
    let mut records = vec![
        ("arbiter_advert".into(), 1, trade.advert.clone()),
        ("offer".into(), 2, trade.offer.clone()),
        ("take".into(), 3, trade.take.clone()),
        ("accept".into(), 2, trade.accept.clone()),
    ];
    let later: [(&str, Role, Body); 7] = [
        (
            "cancel",
            Role::Seller,
            Body::Cancel(Cancel {
                trade: id,
                refund: None,
            }),
        ),
        (
            "cancel_with_refund",
            Role::Buyer,
            Body::Cancel(Cancel {
                trade: id,
                refund: Some(refund),
            }),
        ),
        (
            "funded",
            Role::Seller,
            Body::Funded(Funded {
                trade: id,
                outpoint: outpoint(),
            }),
        ),
        (
            "payment_sent",
            Role::Buyer,
            Body::PaymentSent(PaymentSent { trade: id }),
        ),
        ("release", Role::Seller, Body::Release(Release { trade: id, payout })),
        (
            "closed",
            Role::Buyer,
            Body::Closed(Closed {
                trade: id,
                spend: TxId(outpoint().0.txid),
            }),
        ),
        (
            "revoke",
            Role::Seller,
            Body::Revoke(Revoke {
                offer: trade.offer.id(),
            }),
        ),
    ];
    for (name, role, body) in later {
        let seed = if role == Role::Seller { 2 } else { 3 };
        records.push((name.into(), seed, trade.author(role).write(&body)));
    }
    let mut newcomer = Author::new(4);
    records.push(("heartbeat_opening_a_log".into(), 4, newcomer.write(&Body::Heartbeat)));
    let header = Header {
        kind: Kind::Unknown(4242),
        flags: FLAG_CRITICAL,
        ..newcomer.next_header(&Body::Heartbeat)
    };
    records.push((
        "unknown_kind_with_critical_flag".into(),
        4,
        newcomer.sign(header, b"later".to_vec()),
    ));
    records.push((
        "nonce_point_of_mixed_order".into(),
        5,
        Record::decode(&hex::decode(MIXED_ORDER.trim()).unwrap()).unwrap(),
    ));
    records
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
        Body::ArbiterAdvert(body) => serde_json::to_value(body),
        Body::Offer(body) => serde_json::to_value(body),
        Body::Take(body) => serde_json::to_value(body),
        Body::Accept(body) => serde_json::to_value(body),
        Body::Cancel(body) => serde_json::to_value(body),
        Body::Funded(body) => serde_json::to_value(body),
        Body::PaymentSent(body) => serde_json::to_value(body),
        Body::Release(body) => serde_json::to_value(body),
        Body::Closed(body) => serde_json::to_value(body),
        Body::Revoke(body) => serde_json::to_value(body),
    };
    value.unwrap()
}

/// A record that breaks one rule.
struct Invalid {
    name: &'static str,
    stage: &'static str,
    record: Vec<u8>,
}

impl Invalid {
    fn describe(&self) -> Value {
        let (stage, error) = first_fault(&self.record).unwrap_or_else(|| panic!("{} is accepted", self.name));
        assert_eq!(stage, self.stage, "{}: {error}", self.name);
        json!({ "name": self.name, "stage": stage, "error": error.to_string(), "record": hex(&self.record) })
    }
}

fn invalid() -> Vec<Invalid> {
    let mut records = malformed();
    records.extend(badly_signed());
    records.extend(bad_bodies());
    records
}

fn malformed() -> Vec<Invalid> {
    let trade = SampleTrade::new(Side::Sell);
    let (first, second) = (trade.offer.encode(), trade.accept.encode());
    let changed = |bytes: &[u8], at: usize, to: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = to;
        bytes
    };
    let zero_backlink = {
        let mut bytes = second.clone();
        bytes[49..81].fill(0);
        bytes
    };
    let cases = [
        ("empty", Vec::new()),
        ("header without its last byte", first[..HEADER_LEN - 1].to_vec()),
        ("signature without its last byte", first[..HEADER_LEN + 63].to_vec()),
        ("body without its last byte", first[..first.len() - 1].to_vec()),
        ("trailing byte", [first.as_slice(), &[0]].concat()),
        ("longer than a record may be", vec![1; MAX_RECORD_LEN + 1]),
        ("version 2", changed(&first, 0, 2)),
        ("unknown flag", changed(&first, 91, 2)),
        ("stated body length above the limit", changed(&first, 93, 0xff)),
        ("stated body length one less", changed(&first, 92, first[92] - 1)),
        (
            "body that does not match its hash",
            changed(&first, first.len() - 1, first[first.len() - 1] ^ 1),
        ),
        ("backlink at seq 0", changed(&first, 49, 1)),
        ("no backlink at seq 1", zero_backlink),
        ("ticket at seq 1", changed(&second, 126, 1)),
    ];
    cases
        .into_iter()
        .map(|(name, record)| Invalid {
            name,
            stage: "decode",
            record,
        })
        .collect()
}

fn badly_signed() -> Vec<Invalid> {
    let trade = SampleTrade::new(Side::Sell);
    let (header, body) = (*trade.accept.header(), trade.accept.body().to_vec());
    let by = |author: [u8; 32], signature: [u8; 64]| {
        let log = crate::record::LogId {
            author: crate::ids::AuthorId(author),
            ..header.log
        };
        Record::sign(Header { log, ..header }, body.clone(), |_| signature)
            .unwrap()
            .encode()
    };
    let author = trade.maker.id().0;
    let good = *trade.accept.signature();
    let mut flipped = good;
    flipped[0] ^= 1;
    let mut bad_ticket = *trade.offer.header();
    bad_ticket.admission = (0..)
        .find(|nonce| !crate::record::admission::is_valid(&bad_ticket.network, &bad_ticket.log, *nonce))
        .unwrap();
    let mut identity = [0; 32];
    identity[0] = 1;
    // The point of order eight with the larger Y, as in the list of ZIP-215.
    let order_eight = bytes32("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
    // -1 as a Y that is not reduced: 2^255 - 19 - 1 + 2^255 - 19 does not fit, so p + 1 = 2^255 - 18 stands for Y = 1.
    let unreduced_identity = bytes32("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    let mut no_point = [0; 32];
    no_point[0] = 2;
    // R = identity and S = 0 satisfy the equation of verification for every message under a key of small order.
    let mut anything = [0; 64];
    anything[0] = 1;
    let cases = [
        ("signature with a flipped bit", by(author, flipped)),
        (
            "signature with S not below the group order",
            by(author, add_order(good)),
        ),
        ("signature of another record", by(author, *trade.offer.signature())),
        ("author of order one", by(identity, anything)),
        ("author of order one, not reduced", by(unreduced_identity, anything)),
        ("author of order eight", by(order_eight, anything)),
        ("author that is no point", by(no_point, good)),
        (
            "bad admission ticket",
            trade.maker.sign(bad_ticket, trade.offer.body().to_vec()).encode(),
        ),
    ];
    cases
        .into_iter()
        .map(|(name, record)| Invalid {
            name,
            stage: "verify",
            record,
        })
        .collect()
}

fn bytes32(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// Adds the order of the group to S: the same number to a verifier that reduces.
fn add_order(mut signature: [u8; 64]) -> [u8; 64] {
    let order = bytes32("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    signature
}

fn bad_bodies() -> Vec<Invalid> {
    let trade = SampleTrade::new(Side::Sell);
    let offer = Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()])).encode();
    let take = trade.take.body().to_vec();
    let cancel = Body::Cancel(Cancel {
        trade: trade.id(),
        refund: None,
    })
    .encode();
    let advert = trade.advert.body().to_vec();
    // side 0, currency 1..6, price 6..14, min 14..22, max 22..30, methods 30..
    let set = |body: &[u8], at: usize, with: &[u8]| {
        let mut body = body.to_vec();
        body[at..at + with.len()].copy_from_slice(with);
        body
    };
    let (party, destination) = (74, 74 + 64); // of a Take: offer 32, amount 8, method 1, arbiter 1, nonce 32
    let cases = vec![
        ("heartbeat with a body", Kind::Heartbeat, vec![0]),
        (
            "body with a trailing byte",
            Kind::Cancel,
            [cancel.as_slice(), &[0]].concat(),
        ),
        ("body cut short", Kind::Cancel, cancel[..32].to_vec()),
        ("option that is neither 0 nor 1", Kind::Cancel, set(&cancel, 32, &[2])),
        ("side that is neither 0 nor 1", Kind::Offer, set(&offer, 0, &[2])),
        ("currency in small letters", Kind::Offer, set(&offer, 1, b"eur")),
        (
            "currency with a letter after its padding",
            Kind::Offer,
            set(&offer, 1, b"EUR\0X"),
        ),
        ("currency of two letters", Kind::Offer, set(&offer, 1, b"EU\0\0\0")),
        ("price of zero", Kind::Offer, set(&offer, 6, &[0; 8])),
        (
            "amount above 21 million bitcoin",
            Kind::Offer,
            set(&offer, 22, &2_100_000_000_000_001u64.to_le_bytes()),
        ),
        (
            "nine payment methods",
            Kind::Offer,
            set(&offer, 30, &9u32.to_le_bytes()),
        ),
        (
            "terminal escape in a payment method",
            Kind::Offer,
            set(&offer, 38, b"\x1b[2J"),
        ),
        (
            "right-to-left override in a payment method",
            Kind::Offer,
            set(&offer, 38, "\u{202e}".as_bytes()),
        ),
        ("text that is not UTF-8", Kind::Offer, set(&offer, 38, &[0xff])),
        (
            "flag that is neither 0 nor 1",
            Kind::Offer,
            set(&offer, offer.len() - 9, &[2]),
        ),
        ("key that is no point", Kind::Take, set(&take, party, &[0xff; 32])),
        (
            "destination that is no standard script",
            Kind::Take,
            set(&take, destination + 4, &[0x6a]),
        ),
        (
            "destination of another length",
            Kind::Take,
            set(&take, destination, &21u32.to_le_bytes()),
        ),
    ];
    let mut records: Vec<Invalid> = cases
        .into_iter()
        .map(|(name, kind, body)| encoded(name, kind, body))
        .collect();
    records.extend(offers_against_the_rules(&trade));
    let rules = [
        (
            "arbiter without a name",
            change_advert(&advert, |a| a.name = crate::text::Text::default()),
        ),
        (
            "arbiter's fee above a tenth",
            change_advert(&advert, |a| a.fee_ppm = 100_001),
        ),
    ];
    records.extend(rules.map(|(name, body)| encoded(name, Kind::ArbiterAdvert, body)));
    assert!(offer.len() < MAX_BODY_LEN);
    records
}

fn change_advert(bytes: &[u8], change: fn(&mut ArbiterAdvert)) -> Vec<u8> {
    let mut advert = borsh::from_slice(bytes).unwrap();
    change(&mut advert);
    borsh::to_vec(&advert).unwrap()
}

fn offers_against_the_rules(trade: &SampleTrade) -> Vec<Invalid> {
    let changes: [(&str, fn(&mut Offer)); 15] = [
        ("smallest amount below the minimum trade", |o| o.min = sats(399_999)),
        ("largest amount below the smallest", |o| o.max = sats(400_000 - 1)),
        ("cost beyond 64 bits", |o| {
            o.price = crate::money::Price::new(u64::MAX).unwrap();
            o.max = crate::money::Sats::MAX;
        }),
        ("no payment method", |o| {
            o.methods = crate::wire::List::new(vec![]).unwrap()
        }),
        ("blank payment method", |o| {
            o.methods = crate::wire::List::new(vec![crate::testing::text(" ")]).unwrap()
        }),
        ("payment method twice", |o| {
            o.methods = crate::wire::List::new(vec![o.methods[0].clone(); 2]).unwrap()
        }),
        ("no arbiter", |o| o.arbiters = crate::wire::List::new(vec![]).unwrap()),
        ("arbiter twice", |o| {
            o.arbiters = crate::wire::List::new(vec![RecordId([1; 32]); 2]).unwrap()
        }),
        ("refund delay too short", |o| o.refund_delay = 3023),
        ("refund delay too long", |o| o.refund_delay = 8641),
        ("no arbitration delay", |o| o.arbitration_delay = 0),
        ("arbitration delay as long as the buyer may pay", |o| {
            o.arbitration_delay = 4320 - 2016
        }),
        ("end that is not after the beginning", |o| {
            o.expires = u64::from(EPOCH) + 2
        }),
        ("life of more than thirty days", |o| {
            o.expires = u64::from(EPOCH) + 2 + 30 * 24 * 3600 + 1
        }),
        ("largest amount of nothing", |o| o.max = crate::money::Sats::ZERO),
    ];
    let offers = changes.map(|(name, change)| {
        let mut offer = sample_offer(Side::Sell, &[trade.advert.id()]);
        change(&mut offer);
        encoded(name, Kind::Offer, Body::Offer(offer).encode())
    });
    offers.into()
}

/// Signs any bytes as the body of author 6's second record.
fn encoded(name: &'static str, kind: Kind, body: Vec<u8>) -> Invalid {
    let mut author = Author::new(6);
    author.write(&Body::Heartbeat);
    let header = Header {
        kind,
        ..author.next_header(&Body::Heartbeat)
    };
    Invalid {
        name,
        stage: "body",
        record: author.sign(header, body).encode(),
    }
}
