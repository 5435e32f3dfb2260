//! An audit finds what admission would have refused, and tells a broken ledger from a cheating author.

use super::*;
use crate::body::{Body, Side};
use crate::record::Header;
use crate::storage::{Batch, MemoryStorage};
use crate::testing::{NETWORK, SampleTrade, admit_all, ledger, sample_take};

fn rules(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.rule.as_str()).collect()
}

/// Returns an audit of records that nobody checked as they came in.
fn audit_unchecked(records: Vec<Record>) -> Audit {
    let mut storage = MemoryStorage::default();
    storage.commit(&Batch { records, ..Batch::default() }).unwrap();
    audit(&Ledger::new(storage, NETWORK), None, [1; 32]).unwrap()
}

#[test]
fn an_honest_ledger_has_no_findings() {
    let trade = SampleTrade::new(Side::Sell);
    let mut ledger = ledger();
    admit_all(&mut ledger, &trade.records());
    let audited = audit(&ledger, None, [1; 32]).unwrap();
    assert_eq!((audited.records, audited.authors, audited.trades.len()), (4, 3, 1));
    assert!(audited.violations.is_empty() && audited.evidence.is_empty());
    assert_eq!(audit(&ledger, Some(&trade.taker.id()), [1; 32]).unwrap().records, 1);
}

#[test]
fn an_audit_says_when_there_are_more_trades_than_it_lists() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut records = trade.records();
    records.push(trade.taker.write(&Body::Take(sample_take(trade.offer.id(), &trade.taker))));
    let mut ledger = ledger();
    admit_all(&mut ledger, &records);
    let listed = |limit| {
        let mut audit = Audit::default();
        audit.list_trades(&ledger, None, limit).unwrap();
        (audit.trades.len(), audit.cut.trades)
    };
    assert_eq!([1, 2, 3].map(listed), [(1, true), (2, false), (2, false)]);
}

#[test]
fn a_forged_signature_or_a_broken_log_is_a_violation() {
    let trade = SampleTrade::new(Side::Sell);
    let mut bytes = trade.offer.encode();
    bytes[140] ^= 1;
    let forged = Record::decode(&bytes).unwrap();
    let audited = audit_unchecked(vec![forged]);
    assert_eq!(rules(&audited.violations), ["record signature is not its author's"]);

    let stray = trade
        .maker
        .sign(Header { backlink: RecordId([9; 32]), ..*trade.accept.header() }, trade.accept.body().to_vec());
    let audited = audit_unchecked(vec![trade.offer.clone(), stray]);
    assert_eq!(rules(&audited.violations), ["record does not continue its log"]);

    let audited = audit_unchecked(vec![trade.accept.clone()]);
    assert!(rules(&audited.violations)[0].contains("misses its record 0"));
}

#[test]
fn two_histories_are_evidence_against_their_author_alone() {
    let trade = SampleTrade::new(Side::Sell);
    let mut ledger = ledger();
    admit_all(&mut ledger, &trade.records());
    let header = Header { kind: crate::record::Kind::Heartbeat, ..*trade.accept.header() };
    admit_all(&mut ledger, &[trade.maker.sign(header, Body::Heartbeat.encode())]);
    let audited = audit(&ledger, None, [1; 32]).unwrap();
    assert!(audited.violations.is_empty());
    assert_eq!(audited.evidence.len(), 1);
    assert!(audited.trades[0].facts.void);
}

#[test]
fn a_log_is_not_frozen_without_a_proof() {
    let trade = SampleTrade::new(Side::Sell);
    let header = Header { kind: crate::record::Kind::Heartbeat, ..*trade.accept.header() };
    let other = trade.maker.sign(header, Body::Heartbeat.encode());
    let mut two = vec![trade.accept.clone(), other];
    two.sort_by_key(Record::id);
    let frozen = |frozen: Vec<Record>| {
        let mut storage = MemoryStorage::default();
        let forks = [(trade.maker.log(), crate::storage::Fork { from: 1, frozen })].into();
        storage.commit(&Batch { records: vec![trade.offer.clone()], forks }).unwrap();
        audit(&Ledger::new(storage, NETWORK), None, [1; 32]).unwrap()
    };
    let proven = frozen(two.clone());
    assert_eq!((proven.records, rules(&proven.violations).len(), proven.evidence.len()), (3, 0, 1));
    let accused = frozen(two[..1].to_vec());
    assert_eq!(rules(&accused.violations), ["log is frozen without a proof that it forked"]);
    let mut bytes = two[1].encode();
    bytes[140] ^= 1;
    let forged = frozen(vec![two[0].clone(), Record::decode(&bytes).unwrap()]);
    assert_eq!(rules(&forged.violations), ["record signature is not its author's"]);
}
