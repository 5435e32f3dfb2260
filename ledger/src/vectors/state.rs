//! `state.json`: sets of records, what each log of them is, and the hash of the whole.

use serde_json::{Value, json};

use super::{check, hex, read};
use crate::body::{Body, Side};
use crate::ids::RecordId;
use crate::ledger::MAX_FROZEN;
use crate::record::{Head, Header, Record};
use crate::state::{frozen_hash, state_hash};
use crate::storage::Storage;
use crate::testing::{Author, SampleTrade, admit_all, ledger, sample_accept};

#[test]
fn states_come_out_as_published() {
    let sets: Vec<Value> = sets().iter().map(|(name, records)| describe(name, records)).collect();
    let computed = json!({
        "description": "Sets of valid records, see ../records.md: in whatever order they come, the logs and the state hash are these.",
        "sets": sets,
    });
    check("state.json", &computed);
}

#[test]
fn published_sets_lead_to_their_states_from_behind_too() {
    for set in read("state.json")["sets"].as_array().unwrap() {
        let bytes =
            set["records"].as_array().unwrap().iter().map(|record| hex::decode(record.as_str().unwrap()).unwrap());
        let mut records: Vec<Record> = bytes.map(|bytes| Record::decode(&bytes).unwrap()).collect();
        records.reverse();
        assert_eq!(describe(set["name"].as_str().unwrap(), &records)["logs"], set["logs"]);
        assert!(records.iter().all(|record| record.verify().is_ok()));
    }
}

fn describe(name: &str, records: &[Record]) -> Value {
    let mut ledger = ledger();
    admit_all(&mut ledger, records);
    let storage = ledger.storage();
    let log = |head: &Head| {
        let frozen = storage.frozen(&head.log).unwrap();
        let ids: Vec<RecordId> = frozen.iter().map(Record::id).collect();
        assert_eq!(head.frozen, (!ids.is_empty()).then(|| frozen_hash(&ids)));
        let proof = storage.equivocation(&head.log).unwrap().map(|proof| [proof.first.id(), proof.second.id()]);
        json!({
            "author": head.log.author,
            "epoch": head.log.epoch,
            "len": head.len,
            "id": head.id,
            "time": head.time,
            "frozen": ids,
            "frozen_hash": head.frozen,
            "equivocation": proof,
        })
    };
    let heads = storage.heads(None, usize::MAX).unwrap();
    json!({
        "name": name,
        "records": records.iter().map(|record| hex(record.encode())).collect::<Vec<_>>(),
        "logs": heads.iter().map(log).collect::<Vec<_>>(),
        "state_hash": state_hash(storage).unwrap(),
    })
}

fn sets() -> Vec<(&'static str, Vec<Record>)> {
    let trade = SampleTrade::new(Side::Sell);
    let mut author = Author::new(5);
    let first = author.write(&Body::Heartbeat);
    let before = author.clone();
    let second = author.write(&Body::Heartbeat);
    let third = author.write(&Body::Heartbeat);
    let sibling =
        |of: &Record, later: u64| before.sign(Header { time: of.header().time + later, ..*of.header() }, Vec::new());
    let chain = vec![first.clone(), second.clone(), third.clone()];
    let with = |more: Vec<Record>| [chain.clone(), more].concat();

    let other_first = sibling(&first, 1);
    let mut accepts = trade.records();
    let header = Header { time: trade.accept.header().time + 1, ..*trade.accept.header() };
    let accept = sample_accept(&trade.take, trade.offer.id(), &Author::new(8));
    accepts.push(trade.maker.sign(header, Body::Accept(accept).encode()));
    let stray = |seq: u64, number: u8| {
        let header = Header { seq, backlink: RecordId([number; 32]), ..*third.header() };
        before.sign(header, Vec::new())
    };
    let flood = |backlink: RecordId| -> Vec<Record> {
        let signed = |later| before.sign(Header { time: 2_000 + later, backlink, ..*second.header() }, Vec::new());
        (0..MAX_FROZEN as u64 + 6).map(signed).collect()
    };
    // One that follows the chain and is not among the smallest.
    let strays = flood(RecordId([3; 32]));
    let mut ids: Vec<RecordId> = strays.iter().map(Record::id).collect();
    ids.sort();
    let large = (0..).map(|later| sibling(&second, later)).find(|record| record.id() > ids[MAX_FROZEN]).unwrap();
    let few = flood(RecordId([3; 32])).into_iter().chain([first.clone(), large]).collect();

    vec![
        ("no records", Vec::new()),
        ("a trade, no forks", trade.records()),
        ("a record whose predecessor is missing", vec![first.clone(), third.clone()]),
        ("two records that follow nothing are no fork", vec![first.clone(), stray(1, 1), stray(1, 2)]),
        ("a record that follows nothing, beside one that follows", vec![first.clone(), second.clone(), stray(1, 1)]),
        (
            "a record that goes back in time, beside one that follows",
            with(vec![before.sign(Header { time: 0, ..*second.header() }, Vec::new())]),
        ),
        ("two acceptances of one bid", accepts),
        ("a fork takes what came after it", with(vec![sibling(&second, 5)])),
        ("two forks: the lower counts", with(vec![sibling(&third, 5), sibling(&second, 5)])),
        ("a log that forks at its first record has no chain", with(vec![other_first])),
        ("what follows nothing is frozen with the rest", with(vec![sibling(&third, 5), stray(9, 1), stray(65_535, 2)])),
        ("more records than are kept", with(flood(first.id()))),
        ("the one that follows is kept even if it is not among the smallest", few),
    ]
}
