//! To what a member is bound once he has signed, and what brings him to sign nothing, or something else.

use super::*;
use crate::money::Sats;

#[test]
fn an_extension_does_not_keep_them_from_ruling_and_a_ruling_keeps_them_from_another() {
    let mut case = Case::new(2, 3);
    let extension = Decision::Extend { vaults: case.vaults };
    for place in [2, 3] {
        case.decide(place, extension, 5);
    }
    case.deliver();
    assert!(case.bound.contains(&2) && case.bound.contains(&3));
    // It does not confirm.
    let ruling = case.rule(Verdict::Buyer);
    case.done.clear();
    for place in [2, 3] {
        case.decide(place, ruling, 5);
        case.deliver();
    }
    assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()));
    let refused = case.with(2, |it, _| it.decide(extension, 5, 1..=100, &mut || [1; 32])).unwrap();
    assert_eq!(refused, Err(DecideError::Bound));
}

#[test]
fn who_could_not_keep_that_he_is_bound_is_told_again_before_the_next_share() {
    let mut case = Case::new(2, 3);
    let decision = case.rule(Verdict::Buyer);
    case.decide(1, decision, 3);
    case.decide(2, decision, 3);
    case.deliver();
    case.bound.clear();
    let outs = case.with(1, |it, _| it.again(3)).unwrap();
    case.take(1, outs);
    case.deliver();
    assert!(case.bound.contains(&1) && case.bound.contains(&2), "{:?}", case.bound);
}

#[test]
fn who_believes_somebody_else_does_not_sign() {
    let mut case = Case::new(2, 3);
    let (buyer, seller) = (case.rule(Verdict::Buyer), case.rule(Verdict::Seller));
    case.decide(1, buyer, 3);
    case.decide(2, seller, 3);
    case.deliver();
    assert!(case.done.is_empty() && case.bound.is_empty());
    // The third decides it, and who is not bound may change his mind.
    case.decide(3, seller, 3);
    case.deliver();
    assert_eq!(case.ruling().to_buyer, Sats::ZERO);
    let refused = case.with(2, |it, _| it.decide(buyer, 3, 1..=100, &mut || [1; 32])).unwrap();
    assert_eq!(refused, Err(DecideError::Bound));
    case.decide(1, seller, 3);
}

/// A seller has released, and one has seen it, who cannot sign a split any more. Another is bound to that, and a third, his accomplice,
/// signs nothing; so without the one who is bound the rest would be too few, and the coins the seller's again in the end.
#[test]
fn what_some_have_seen_a_party_sign_they_show_the_others_and_all_rule_for_whom_it_pays() {
    let mut case = Case::new(3, 5);
    let (split, buyer) = (case.rule(Verdict::Split(crate::testing::sats(500_000))), case.rule(Verdict::Buyer));
    for place in [1, 2] {
        case.decide(place, split, 3);
        case.deliver();
    }
    // The third gives his nonces, and then no shares.
    case.decide(5, split, 3);
    case.members[4] = None;
    case.deliver();
    assert!(case.done.is_empty());
    assert_eq!(case.with(2, |it, _| it.is_bound()), Some(true));
    let decides = |case: &mut Case, place| case.with(place, |it, _| it.decide(buyer, 3, 1..=100, &mut || [1; 32]));
    assert_eq!(decides(&mut case, 2), Some(Err(DecideError::Bound)));

    let owed = |record: &[u8]| Some(Owed { to: Role::Buyer, record: record.to_vec() });
    case.with(3, |it, _| it.heed(owed(b"a release")));
    case.decide(3, buyer, 3);
    case.deliver();
    assert_eq!(case.shown, [1, 2, 4].map(|place| (place, b"a release".to_vec())));
    for place in [1, 2, 4] {
        case.with(place, |it, _| it.heed(owed(b"a release")));
    }
    // What they decided before they sign no more, and whoever still asks for it is shown why.
    for place in [1, 2] {
        assert_eq!(case.with(place, |it, _| it.again(3)), Some(Vec::new()));
    }
    let asked = split.asked(&case.trade.escrow(), Seat::First, 3).unwrap();
    let told = case.with(4, |it, _| it.hear(5, Round::Ask(asked), &mut || [1; 32])).unwrap();
    assert_eq!(told, [Out::Send(5, Round::Show { record: List::new(b"a release".to_vec()).unwrap() })]);
    for place in [1, 2] {
        case.decide(place, buyer, 3);
        case.deliver();
    }
    assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()));
    assert_eq!((case.ruling().to_seller, case.blamed.len()), (Sats::ZERO, 0));
    // More time is nothing against anybody.
    let extension = Decision::Extend { vaults: case.trade.vaults(2) };
    case.decide(4, extension, 3);
    let mut asked = case.mail.iter().map(|(.., round)| round);
    assert!(asked.any(|round| matches!(round, Round::Ask(Asked::Extension { .. }))));
}

/// A bond leaves alone, or an extension is buried, and a reorganisation takes that back.
#[test]
fn who_is_bound_stays_so_when_the_coins_change_and_come_back() {
    let mut case = Case::new(2, 3);
    let [buyer, seller] = [Verdict::Buyer, Verdict::Seller].map(|verdict| case.rule(verdict));
    for place in [1, 2] {
        case.decide(place, buyer, 3);
    }
    case.deliver();
    assert_eq!(case.with(2, |it, _| it.bound().to_vec()), Some(vec![buyer]));
    let other = Decision::Rule { vaults: case.trade.vaults(2), verdict: Verdict::Seller };
    case.decide(2, other, 3);
    assert_eq!(case.with(2, |it, _| it.is_bound()), Some(false), "about other coins he may still change his mind");
    let decides = |case: &mut Case, decision| case.with(2, |it, _| it.decide(decision, 3, 1..=100, &mut || [1; 32]));
    assert_eq!(decides(&mut case, seller), Some(Err(DecideError::Bound)));
    // After a new start too.
    let kept = case.with(2, |it, _| it.bound().to_vec()).unwrap();
    case.start(2);
    case.with(2, |it, _| it.restore(other, kept, 1..=100));
    assert_eq!(decides(&mut case, seller), Some(Err(DecideError::Bound)));
    assert!(decides(&mut case, buyer).unwrap().is_ok(), "he goes on with what he signed for");
    assert_eq!(case.with(2, |it, _| it.is_bound()), Some(true));
}

#[test]
fn nobody_is_bound_to_more_than_is_kept() {
    let mut case = Case::new(2, 2);
    let about = |case: &Case, number| Decision::Rule { vaults: case.trade.vaults(number), verdict: Verdict::Buyer };
    let limit = u8::try_from(MAX_BOUND).unwrap();
    let bound: Vec<Decision> = (1..=limit).map(|number| about(&case, number)).collect();
    let (last, more) = (bound[MAX_BOUND - 1], about(&case, limit + 1));
    case.with(1, |it, _| it.restore(last, bound, 1..=100));
    let decides = |case: &mut Case, decision| case.with(1, |it, _| it.decide(decision, 3, 1..=100, &mut || [1; 32]));
    assert_eq!(decides(&mut case, more), Some(Err(DecideError::TooMany)));
    assert!(decides(&mut case, last).unwrap().is_ok());
}
