//! What is not one's to say is evidence against whoever said it, and changes nothing for the others.

use crate::audit::{Audit, Scope, audit};
use crate::body::{Accept, Body, Cancel, Closed, Dispute, Funded, PaymentSent, Release, Ruling, Side};
use crate::testing::{Author, SampleTrade, admit_all, ledger, sample_accept, sats};
use crate::trade::{Phase, Role, Seat, Verdict, View, evaluate};
use crate::wire::{Outpoint, TxId};

/// Makes what somebody says about a trade.
type Say = fn(&SampleTrade) -> Body;

/// Returns an audit of a trade and of what `role` (nobody: a stranger) says about it besides.
fn audit_with(say: impl Fn(&SampleTrade) -> Body, role: Option<Role>, agreed: bool) -> Audit {
    let mut trade = SampleTrade::new(Side::Sell);
    let body = say(&trade);
    let mut stranger = Author::new(9);
    let mut records = trade.records();
    if !agreed {
        records.pop();
    }
    let record = match role {
        // The maker sells; his acceptance is his last record, so without it his next one would not fit.
        Some(Role::Seller) if !agreed => trade.maker.reopened(7).write(&body),
        Some(role) => trade.author(role).write(&body),
        None => stranger.write(&body),
    };
    records.push(record);
    let mut ledger = ledger();
    admit_all(&mut ledger, &records);
    audit(&ledger, &Scope::default(), [1; 32]).unwrap()
}

fn outpoint(trade: &SampleTrade) -> Outpoint {
    trade.vaults(1).escrow.outpoint
}

fn funded(trade: &SampleTrade) -> Body {
    Body::Funded(Funded { trade: trade.id(), outpoint: outpoint(trade) })
}

fn paid(trade: &SampleTrade) -> Body {
    Body::PaymentSent(PaymentSent { trade: trade.id() })
}

fn released(trade: &SampleTrade) -> Body {
    let seller = trade.maker.trade_key();
    let payout = trade.escrow().half(&trade.vaults(1), sats(1_700), Role::Buyer, &seller).unwrap();
    Body::Release(Release { trade: trade.id(), payout })
}

fn refunded(trade: &SampleTrade) -> Body {
    let buyer = trade.taker.trade_key();
    let half = trade.escrow().half(&trade.vaults(1), sats(1_700), Role::Seller, &buyer).unwrap();
    Body::Cancel(Cancel { trade: trade.id(), refund: Some(half) })
}

fn cancelled(trade: &SampleTrade) -> Body {
    Body::Cancel(Cancel { trade: trade.id(), refund: None })
}

fn closed(trade: &SampleTrade) -> Body {
    Body::Closed(Closed { trade: trade.id(), spend: TxId(outpoint(trade).0.txid) })
}

fn disputed(trade: &SampleTrade) -> Body {
    Body::Dispute(Dispute { trade: trade.id() })
}

fn ruled(trade: &SampleTrade) -> Body {
    let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
    let division = escrow.divide(Seat::First, &vaults, Verdict::Buyer, 10).unwrap();
    let pair = trade.arbiter_pair(escrow.contract(), Seat::First);
    Body::Ruling(escrow.rule(Seat::First, &vaults, division, &pair).unwrap())
}

fn extended(trade: &SampleTrade) -> Body {
    let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
    let fee = escrow.extension_fee_at(Seat::First, &vaults, 10).unwrap();
    let pair = trade.arbiter_pair(escrow.contract(), Seat::First);
    Body::Extend(escrow.extend(Seat::First, &vaults, fee, &pair).unwrap())
}

#[test]
fn a_ruling_that_the_arbiter_did_not_sign_is_evidence() {
    let forged = |trade: &SampleTrade| match ruled(trade) {
        Body::Ruling(ruling) => {
            let (to_buyer, to_seller) = (sats(1_000), sats(ruling.to_buyer.get() - 1_000));
            Body::Ruling(Ruling { to_buyer, to_seller, with_seller: ruling.with_buyer.clone(), ..ruling })
        }
        other => other,
    };
    let audited = audit_with(forged, Some(Role::Arbiter), true);
    assert!(audited.evidence[0].rule.starts_with("a ruling: the signature of the arbiter"), "{:?}", audited.evidence);
    assert!(audited.trades[0].facts.rulings.is_empty());
}

#[test]
fn an_acceptance_that_takes_the_trade_for_an_offer_and_the_offer_for_a_trade_is_no_evidence() {
    let odd = |trade: &SampleTrade| {
        let accept = sample_accept(&trade.take, trade.take.id(), &trade.maker);
        Body::Accept(Accept { trade: trade.offer.id().into(), ..accept })
    };
    for role in [None, Some(Role::Buyer), Some(Role::Seller), Some(Role::Arbiter)] {
        let audited = audit_with(odd, role, true);
        assert!(audited.evidence.is_empty(), "{role:?}: {:?}", audited.evidence);
    }
}

#[test]
fn a_crowd_that_speaks_of_a_trade_does_not_hide_what_its_parties_did() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut crowd = (10..=255).map(Author::new).find(|author| author.id() < trade.maker.id()).unwrap();
    let noise = (0..2_000).map(|_| crowd.write(&disputed(&trade)));
    let mut records = trade.records();
    records.extend(noise);
    let mut release = released(&trade);
    if let Body::Release(said) = &mut release {
        said.payout.vaults.escrow.outpoint.0.vout = 1;
    }
    let bad = trade.author(Role::Seller).write(&release);
    records.push(bad.clone());
    let mut ledger = ledger();
    admit_all(&mut ledger, &records);
    let audited = audit(&ledger, &Scope::default(), [1; 32]).unwrap();
    let of_seller = audited.evidence.iter().find(|finding| finding.record == Some(bad.id()));
    assert!(of_seller.unwrap().rule.starts_with("a release: the signature of the seller does not fit"));
    let of_crowd = audited.evidence.iter().find(|finding| finding.author == crowd.id()).unwrap();
    let rule = "a dispute is signed by somebody who has no part in the trade; only the buyer or seller can sign it; at \
                least 1023 more records about it are by strangers";
    assert_eq!(of_crowd.rule, rule);
    assert_eq!((audited.evidence.len(), audited.cut.crowded), (2, 1));
}

#[test]
fn what_strangers_say_of_a_trade_is_one_finding_with_their_number() {
    let trade = SampleTrade::new(Side::Sell);
    let by_all = [9, 10, 11].map(|number| Author::new(number).write(&disputed(&trade)));
    let mut ledger = ledger();
    admit_all(&mut ledger, &[trade.records(), by_all.to_vec()].concat());
    let audited = audit(&ledger, &Scope::default(), [1; 32]).unwrap();
    let [finding] = audited.evidence.as_slice() else { panic!("{:?}", audited.evidence) };
    let rule = "a dispute is signed by somebody who has no part in the trade; only the buyer or seller can sign it; 2 \
                more records about it are by strangers";
    assert_eq!(finding.rule, rule);
}

#[test]
fn what_is_ones_own_to_say_is_no_evidence() {
    let (buyer, seller) = (Some(Role::Buyer), Some(Role::Seller));
    let cases: [(Say, Option<Role>); 12] = [
        (funded, seller),
        (paid, buyer),
        (released, seller),
        (refunded, buyer),
        (cancelled, buyer),
        (cancelled, seller),
        (closed, buyer),
        (closed, seller),
        (disputed, buyer),
        (disputed, seller),
        (ruled, Some(Role::Arbiter)),
        (extended, Some(Role::Arbiter)),
    ];
    for (say, role) in cases {
        let audited = audit_with(say, role, true);
        assert_eq!((&audited.evidence, &audited.violations), (&vec![], &vec![]), "by {role:?}");
    }
    assert_eq!(audit_with(cancelled, buyer, false).evidence, vec![]);
}

#[test]
fn what_is_anothers_to_say_is_evidence_and_moves_nothing() {
    let (buyer, seller, arbiter) = (Some(Role::Buyer), Some(Role::Seller), Some(Role::Arbiter));
    let cases: [(Say, Option<Role>, &str); 12] = [
        (released, buyer, "a release is signed by the buyer; only the seller can sign it"),
        (released, None, "a release is signed by somebody who has no part in the trade; only the seller can sign it"),
        (funded, buyer, "a funding is signed by the buyer; only the seller can sign it"),
        (funded, arbiter, "a funding is signed by the arbiter; only the seller can sign it"),
        (paid, seller, "a payment is signed by the seller; only the buyer can sign it"),
        (paid, None, "a payment is signed by somebody who has no part in the trade; only the buyer can sign it"),
        (cancelled, arbiter, "a cancellation is signed by the arbiter; only the buyer or seller can sign it"),
        (
            closed,
            None,
            "an ending is signed by somebody who has no part in the trade; only the buyer or seller can sign it",
        ),
        (disputed, arbiter, "a dispute is signed by the arbiter; only the buyer or seller can sign it"),
        (ruled, buyer, "a ruling is signed by the buyer; only the arbiter can sign it"),
        (extended, seller, "an extension is signed by the seller; only the arbiter can sign it"),
        (
            |trade| Body::decode(&trade.accept).unwrap(),
            None,
            "an acceptance is signed by somebody who has no part in the trade; only the maker can sign it",
        ),
    ];
    for (say, role, rule) in cases {
        let audited = audit_with(say, role, true);
        assert!(audited.violations.is_empty(), "every honest node holds such a record: {:?}", audited.violations);
        let [finding] = audited.evidence.as_slice() else { panic!("{rule}: {:?}", audited.evidence) };
        assert_eq!(finding.rule, rule);
        assert_eq!(finding.trade, Some(audited.trades[0].bid.trade));
        let view = View {
            contract: audited.trades[0].contract.clone(),
            facts: audited.trades[0].facts.clone(),
            ..View::default()
        };
        assert_eq!(evaluate(&view), Phase::Agreed, "{rule}");
    }
}

#[test]
fn a_seller_who_signs_the_buyers_half_calls_off_and_no_more() {
    let audited = audit_with(refunded, Some(Role::Seller), true);
    assert_eq!(audited.evidence[0].rule, "half of a refund is signed by the seller; only the buyer can sign it");
    let facts = &audited.trades[0].facts;
    assert!(facts.seller_cancel && !facts.buyer_cancel && facts.refunds.is_empty());
}

#[test]
fn nothing_is_released_before_it_is_agreed_nor_with_a_signature_that_does_not_fit() {
    let early = audit_with(released, Some(Role::Seller), false);
    assert_eq!(early.evidence[0].rule, "a release is signed, but nothing was agreed");
    let early = audit_with(paid, Some(Role::Buyer), false);
    assert_eq!(early.evidence[0].rule, "a payment is signed, but nothing was agreed");
    let elsewhere = |trade: &SampleTrade| match released(trade) {
        Body::Release(Release { trade, mut payout }) => {
            payout.vaults.escrow.outpoint.0.vout = 1;
            Body::Release(Release { trade, payout })
        }
        other => panic!("{other:?} is no release"),
    };
    let audited = audit_with(elsewhere, Some(Role::Seller), true);
    assert!(audited.evidence[0].rule.starts_with("a release: the signature of the seller does not fit"));
}
