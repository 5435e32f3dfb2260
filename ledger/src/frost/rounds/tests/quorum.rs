//! As many as are needed decide: what comes out counts, and a key of other members rules nothing.

use super::*;
use crate::record::Record;
use crate::testing::{Author, admit_all, ledger};

#[test]
fn any_two_rule_while_the_third_is_away() {
    for away in 1..=3u8 {
        let mut case = Case::new(2, 3);
        case.members[usize::from(away) - 1] = None;
        let decision = case.rule(Verdict::Buyer);
        let here: Vec<Place> = (1..=3).filter(|place| *place != away).collect();
        case.decide(here[0], decision, 3);
        case.deliver();
        assert!(case.done.is_empty(), "one alone is not enough");
        case.decide(here[1], decision, 9);
        case.deliver();
        assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()));
        let expected = case.trade.escrow().divide(Seat::First, &case.vaults, Verdict::Buyer, 3).unwrap();
        assert_eq!((case.ruling().to_buyer, case.ruling().to_seller), expected, "at the fee of who asked first");
        assert!(case.blamed.is_empty());
        let mut bound = case.bound.clone();
        bound.sort_unstable();
        bound.dedup();
        assert_eq!(bound, here);
    }
}

#[test]
fn what_comes_out_is_completed_by_who_wins() {
    let mut case = Case::new(2, 3);
    let split = Verdict::Split(crate::testing::sats(400_000));
    for place in [1, 3] {
        let decision = case.rule(split);
        case.decide(place, decision, 5);
        case.deliver();
    }
    let (ruling, escrow) = (case.ruling().clone(), case.trade.escrow());
    for role in [Role::Buyer, Role::Seller] {
        let key = case.trade.author(role).trade_key();
        let draft = escrow.complete_ruling(Seat::First, &ruling, role, &key).unwrap();
        assert!(escrow.classify(&draft.tx, &case.vaults).is_ruling());
    }
}

#[test]
fn they_extend_a_dispute_too() {
    let mut case = Case::new(2, 3);
    let decision = Decision::Extend { vaults: case.vaults };
    case.decide(2, decision, 5);
    case.decide(3, decision, 6);
    case.deliver();
    let [(_, Body::Extend(extend)), ..] = &case.done[..] else { panic!("{:?}", case.done) };
    assert_eq!(case.trade.escrow().check_extend(Seat::First, extend), Ok(()));
}

#[test]
fn a_key_of_another_group_rules_nothing() {
    let case = Case::new(2, 3);
    let shares = crate::frost::tests::key(2, 3);
    assert!(Rounds::new(case.trade.escrow(), Seat::First, 3, &shares[0]).is_err());
    assert!(Rounds::new(case.trade.escrow(), Seat::Second, 3, &case.group.parts[0].share).is_err());
}

/// A ruling counts by whichever member it was published, once, and by nobody else.
#[test]
fn any_member_publishes_what_all_decided() {
    let mut case = Case::new(2, 3);
    let decision = case.rule(Verdict::Buyer);
    case.decide(1, decision, 3);
    case.decide(2, decision, 3);
    case.deliver();
    let body = case.done[0].1.clone();
    let mut members: Vec<Author> = case.group.members.clone();
    let mut stranger = Author::new(77);
    let by: Vec<Record> = members.iter_mut().chain([&mut stranger]).map(|author| author.write(&body)).collect();
    let known = [case.group.records.as_slice(), &case.trade.records()].concat();
    for (at, record) in by.iter().enumerate() {
        let mut public = ledger();
        admit_all(&mut public, &[known.as_slice(), std::slice::from_ref(record)].concat());
        let facts = public.trade(case.trade.id()).unwrap().facts;
        assert_eq!(facts.rulings.len(), usize::from(at < 3), "author {at}");
    }
    let mut public = ledger();
    admit_all(&mut public, &[known, by].concat());
    assert_eq!(public.trade(case.trade.id()).unwrap().facts.rulings.len(), 1);
}
