//! `retention.json`: records without their bodies, good ones and others with the rule that they break, which bodies of a set of
//! records a node drops, and that the state is the same without them.

use serde_json::{Value, json};

use super::{check, hex, read};
use crate::body::{Accept, Body, Revoke, Side, bids_for};
use crate::ids::RecordId;
use crate::ledger::Admission;
use crate::record::{BARE_LEN, Header, Kind, Record, RecordError};
use crate::retention::{BARE_SKEW_S, MIN_BARE_AGE_S, Mine};
use crate::state::state_hash;
use crate::storage::Storage;
use crate::testing::{
    Author, EPOCH, SampleGroup, SampleTrade, admit_all, ledger, sample_accept, sample_offer, sample_take,
};

/// When all records of these vectors are old.
const LATER: u64 = EPOCH as u64 + 200 * 24 * 3600;

#[test]
fn bare_records_come_out_as_published() {
    let (trade, records) = market();
    let mut whole = ledger();
    admit_all(&mut whole, &records);
    let look = whole.look_for_droppable(LATER, None, usize::MAX, &Mine::default()).unwrap();
    let bared =
        |record: &Record| if look.gone.contains(&record.id()) { record.bared().unwrap() } else { record.clone() };
    let bared: Vec<Record> = records.iter().map(bared).collect();
    let mut bare = ledger();
    admit_all(&mut bare, &bared);
    let state = state_hash(whole.storage()).unwrap();
    assert_eq!(state_hash(bare.storage()).unwrap(), state);
    assert_eq!(bare.storage().bare(0, None, usize::MAX).unwrap().len(), look.gone.len());
    let encoded = |records: &[Record]| records.iter().map(|record| hex(record.encode())).collect::<Vec<_>>();
    let valid = records.iter().filter_map(|record| Some(describe(record, &record.bared()?))).collect::<Vec<_>>();
    let computed = json!({
        "description": "Records without their bodies, see ../retention.md. A bare record is valid from the time `from` of a node's \
                        clock on. Of the set, the bodies of those in `dropped` may be dropped by whom none is, when all are old.",
        "bare": valid,
        "invalid": invalid().iter().map(Invalid::describe).collect::<Vec<_>>(),
        "bids": { "offer": trade.offer.id(), "name": bids_for(&trade.offer.id()) },
        "set": { "whole": encoded(&records), "bare": encoded(&bared), "dropped": look.gone, "state_hash": state },
    });
    check("retention.json", &computed);
}

#[test]
fn published_bare_records_are_judged_by_their_bytes_and_the_clock() {
    let file = read("retention.json");
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    for vector in file["bare"].as_array().unwrap() {
        let bare = Record::decode_any(&bytes(&vector["bare"])).unwrap();
        assert!(bare.is_bare() && bare.verify().is_ok());
        assert_eq!(bare.with_body(bytes(&vector["body"])).unwrap().id().to_string(), vector["id"]);
    }
    for vector in file["invalid"].as_array().unwrap() {
        let error = first_fault(&bytes(&vector["bare"]), vector["now"].as_u64().unwrap());
        assert_eq!(error.unwrap().to_string(), vector["error"], "{}", vector["name"]);
    }
}

/// An agreed trade, a losing bid, a withdrawn offer, one without bids, one with an unanswered bid, a bid for nothing, an acceptance that
/// takes the offer with the unanswered bid for a trade, and records of an unknown kind.
fn market() -> (SampleTrade, Vec<Record>) {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut records = trade.records();
    let mut rival = Author::new(9);
    records.push(rival.write(&Body::Take(sample_take(trade.offer.id(), &rival))));
    records.push(rival.write(&Body::Take(sample_take(RecordId([5; 32]), &rival))));
    for _ in 0..3 {
        records.push(trade.maker.write(&Body::Offer(sample_offer(Side::Buy, &[trade.advert.id()]))));
    }
    let (withdrawn, unanswered) = (records[records.len() - 1].id(), records[records.len() - 2].id());
    records.push(trade.maker.write(&Body::Revoke(Revoke { offer: withdrawn })));
    records.push(trade.taker.write(&Body::Take(sample_take(unanswered, &trade.taker))));
    let odd = Accept { trade: unanswered.into(), ..sample_accept(&trade.take, trade.offer.id(), &trade.maker) };
    records.push(trade.maker.write(&Body::Accept(odd)));
    for len in [63, 64] {
        records.push(unknown(&mut rival, len));
    }
    (trade, records)
}

fn unknown(author: &mut Author, len: usize) -> Record {
    let header = Header { kind: Kind::Unknown(999), ..author.next_header(&Body::Unknown(999)) };
    author.append(header, vec![7; len])
}

fn describe(record: &Record, bare: &Record) -> Value {
    json!({
        "kind": record.header().kind.code(),
        "id": record.id(),
        "bare": hex(bare.encode()),
        "body": hex(record.body()),
        "from": record.header().time + MIN_BARE_AGE_S,
    })
}

struct Invalid {
    name: &'static str,
    rule: &'static str,
    bare: Vec<u8>,
    now: u64,
}

fn invalid() -> Vec<Invalid> {
    let (trade, group) = (SampleTrade::new(Side::Sell), SampleGroup::new(2, 3));
    let cut = |record: &Record| record.encode()[..BARE_LEN].to_vec();
    let mut forged = cut(&trade.offer);
    forged[BARE_LEN - 40] ^= 1;
    let no_ticket = Header { admission: trade.offer.header().admission ^ 1, ..*trade.offer.header() };
    let no_ticket = trade.maker.sign(no_ticket, trade.offer.body().to_vec());
    let longer = [cut(&trade.take), vec![0]].concat();
    let too_young = |record: &Record| record.header().time + MIN_BARE_AGE_S - BARE_SKEW_S - 1;
    let invalid = |name, rule, bare, now| Invalid { name, rule, bare, now };
    vec![
        invalid("an acceptance is never bare", "kind", cut(&trade.accept), LATER),
        invalid("an arbiter's advert is never bare", "kind", cut(&trade.advert), LATER),
        invalid("a group's advert is never bare", "kind", cut(&group.advert), LATER),
        invalid("a step by which a group forms is never bare", "kind", cut(&group.records[0]), LATER),
        invalid("a body of 63 bytes is never dropped", "length", cut(&unknown(&mut Author::new(9), 63)), LATER),
        invalid("an offer a day and a second too young", "age", cut(&trade.offer), too_young(&trade.offer)),
        invalid("a bid a day and a second too young", "age", cut(&trade.take), too_young(&trade.take)),
        invalid("a signature over something else", "signature", forged, LATER),
        invalid("a log opened without a ticket", "ticket", cut(&no_ticket), LATER),
        invalid("a byte of the body", "size", longer, LATER),
    ]
}

impl Invalid {
    fn describe(&self) -> Value {
        let error = first_fault(&self.bare, self.now).unwrap();
        let Self { name, rule, bare, now } = self;
        json!({ "name": name, "rule": rule, "bare": hex(bare), "now": now, "error": error.to_string() })
    }
}

/// Returns why a record is not let in.
fn first_fault(bytes: &[u8], now: u64) -> Option<RecordError> {
    let record = match Record::decode_any(bytes) {
        Ok(record) => record,
        Err(error) => return Some(error),
    };
    if let Err(error) = record.verify() {
        return Some(error);
    }
    match ledger().admit(&[record], now).unwrap().remove(0) {
        Admission::Invalid(error) => Some(error),
        _ => None,
    }
}
