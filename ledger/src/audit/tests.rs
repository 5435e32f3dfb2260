//! An audit finds what admission would have refused, and tells a broken ledger from a cheating author.

use super::*;
use crate::body::{Body, Side};
use crate::record::Header;
use crate::storage::{Batch, MemoryStorage};
use crate::testing::{Author, NETWORK, SampleTrade, admit_all, ledger, sample_accept, sample_offer, sample_take};

fn rules(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.rule.as_str()).collect()
}

/// Returns an audit of records that nobody checked as they came in.
fn audit_unchecked(records: Vec<Record>) -> Audit {
    let mut storage = MemoryStorage::default();
    storage.commit(&Batch { records, ..Batch::default() }).unwrap();
    audit(&Ledger::new(storage, NETWORK), &Scope::default(), [1; 32]).unwrap()
}

#[test]
fn an_honest_ledger_has_no_findings() {
    let trade = SampleTrade::new(Side::Sell);
    let mut ledger = ledger();
    admit_all(&mut ledger, &trade.records());
    let audited = audit(&ledger, &Scope::default(), [1; 32]).unwrap();
    assert_eq!((audited.records, audited.authors, audited.trades.len()), (4, 3, 1));
    assert!(audited.violations.is_empty() && audited.evidence.is_empty());
    let of_taker = Scope { author: Some(trade.taker.id()), ..Scope::default() };
    let of_taker = audit(&ledger, &of_taker, [1; 32]).unwrap();
    assert_eq!((of_taker.records, of_taker.authors, of_taker.trades.len()), (1, 1, 1));
    let of_stranger = Scope { author: Some(Author::new(9).id()), ..Scope::default() };
    let of_stranger = audit(&ledger, &of_stranger, [1; 32]).unwrap();
    assert_eq!((of_stranger.records, of_stranger.bids, of_stranger.trades.len()), (0, 0, 0));
}

/// Returns the records of so many trades that were agreed on, of one more, and of as many bids that nobody answered.
fn market(trades: u32) -> Vec<Record> {
    let mut first = SampleTrade::new(Side::Sell);
    let mut records = vec![first.advert.clone()];
    for _ in 0..trades {
        let offer = first.maker.write(&Body::Offer(sample_offer(Side::Sell, &[first.advert.id()])));
        let take = first.taker.write(&Body::Take(sample_take(offer.id(), &first.taker)));
        let other = first.taker.write(&Body::Take(sample_take(offer.id(), &first.taker)));
        let accept = first.maker.write(&Body::Accept(sample_accept(&take, offer.id(), &first.maker)));
        records.extend([offer, take, other, accept]);
    }
    [vec![first.offer, first.take, first.accept], records].concat()
}

#[test]
fn only_what_was_agreed_on_is_listed_bit_by_bit_and_the_bids_are_counted() {
    let mut ledger = ledger();
    admit_all(&mut ledger, &market(4));
    let list = |after, limit| {
        let mut audit = Audit::default();
        audit.judge_trades(&ledger, &Scope { after, ..Scope::default() }, limit).unwrap();
        audit
    };
    let ids = |audit: &Audit| audit.trades.iter().map(|trade| trade.bid.trade).collect::<Vec<_>>();
    let all = list(None, 5);
    assert_eq!((all.bids, all.agreed, all.trades.len(), all.cut.trades), (9, 5, 5, false));
    let first = list(None, 2);
    assert_eq!((first.bids, first.agreed, ids(&first), first.cut.trades), (9, 5, ids(&all)[..2].to_vec(), true));
    let second = list(ids(&first).pop(), 2);
    assert_eq!((ids(&second), second.cut.trades), (ids(&all)[2..4].to_vec(), true));
    let last = list(ids(&second).pop(), 2);
    assert_eq!((ids(&last), last.cut.trades), (ids(&all)[4..].to_vec(), false));
    assert!(ids(&list(ids(&last).pop(), 2)).is_empty() && ids(&list(Some(TradeId([7; 32])), 2)).is_empty());
    let going_on = Scope { after: ids(&first).pop(), ..Scope::default() };
    let going_on = audit(&ledger, &going_on, [1; 32]).unwrap();
    assert_eq!((going_on.records, ids(&going_on)), (0, ids(&all)[2..].to_vec()), "logs are read once");
}

#[test]
fn a_bid_that_is_asked_for_is_told_whether_or_not_it_was_agreed_on() {
    let mut trade = SampleTrade::new(Side::Sell);
    let bid = trade.taker.write(&Body::Take(sample_take(trade.offer.id(), &trade.taker)));
    let mut ledger = ledger();
    admit_all(&mut ledger, &[trade.records(), vec![bid.clone()]].concat());
    for (take, agreed) in [(&trade.take, 1), (&bid, 0)] {
        let only = Scope { trade: Some(take.id().into()), ..Scope::default() };
        let audited = audit(&ledger, &only, [1; 32]).unwrap();
        assert_eq!((audited.records, audited.bids, audited.agreed, audited.cut.trades), (5, 1, agreed, false));
        assert_eq!(audited.trades[0].bid.trade, TradeId::from(take.id()));
    }
    let nothing = Scope { trade: Some(TradeId([7; 32])), ..Scope::default() };
    assert!(audit(&ledger, &nothing, [1; 32]).unwrap().trades.is_empty());
}

#[test]
fn of_many_violations_some_are_told_and_the_rest_counted() {
    let mut author = Author::new(5);
    let mut storage = MemoryStorage::default();
    let mut records = vec![author.write(&Body::Heartbeat)];
    records.extend((0..MAX_FINDINGS + 7).map(|_| {
        let header = Header { network: [9; 4], ..author.next_header(&Body::Heartbeat) };
        author.append(header, Vec::new())
    }));
    storage.commit(&Batch { records, ..Batch::default() }).unwrap();
    let audited = audit(&Ledger::new(storage, NETWORK), &Scope::default(), [1; 32]).unwrap();
    assert_eq!((audited.violations.len(), audited.cut.violations), (MAX_FINDINGS, 7));
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
    let audited = audit(&ledger, &Scope::default(), [1; 32]).unwrap();
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
        audit(&Ledger::new(storage, NETWORK), &Scope::default(), [1; 32]).unwrap()
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
