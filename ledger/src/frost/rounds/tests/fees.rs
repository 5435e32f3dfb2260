//! At which fee members sign, and at which they ask the others to.

use super::*;

#[test]
fn nobody_signs_at_a_fee_that_he_does_not_bear() {
    for (highest, is_borne) in [(89, false), (90, true)] {
        let mut case = Case::new(2, 2);
        let decision = case.rule(Verdict::Buyer);
        case.decide(1, decision, 90);
        case.deliver();
        let decided = case.with(2, |it, entropy| it.decide(decision, 3, 1..=highest, &mut || entropy()));
        case.take(2, decided.unwrap().unwrap());
        let commits = case.mail.iter().any(|(from, _, round)| *from == 2 && matches!(round, Round::Commit { .. }));
        assert_eq!(commits, is_borne, "of 90 sat/vB he bears {highest}");
    }
}

/// The one's chain shows other fees than the other's, and neither bears what the other asks for.
#[test]
fn who_pay_otherwise_meet_at_what_both_bear() {
    for again in [1, 2] {
        let mut case = Case::new(2, 2);
        let decision = case.rule(Verdict::Buyer);
        for (place, feerate, borne) in [(1, 3, 1..=22), (2, 30, 7..=100)] {
            let decided = case.with(place, |it, _| it.decide(decision, feerate, borne, &mut || [1; 32]));
            case.take(place, decided.unwrap().unwrap());
            case.deliver();
        }
        assert!(case.done.is_empty());
        let outs = case.with(again, |it, _| it.again(3)).unwrap();
        case.take(again, outs);
        case.deliver();
        let nearest = if again == 1 { 22 } else { 7 };
        let expected = case.trade.escrow().divide(Seat::First, &case.vaults, Verdict::Buyer, nearest).unwrap();
        assert_eq!((case.ruling().to_buyer, case.ruling().to_seller), expected);
    }
}

/// Fees were low when the one decided, and he has asked as often as he does; the other decides days later, and asks just as often.
#[test]
fn who_asks_no_more_answers_once_he_bears_what_was_asked() {
    let mut case = Case::new(2, 2);
    let decision = case.rule(Verdict::Buyer);
    for (place, feerate, borne) in [(1, 2, 1..=18), (2, 80, 20..=100)] {
        let decided = case.with(place, |it, _| it.decide(decision, feerate, borne, &mut || [1; 32]));
        case.take(place, decided.unwrap().unwrap());
        case.deliver();
    }
    assert!(case.done.is_empty());
    let unborne = |case: &mut Case, place| case.with(place, |it, _| it.unborne()).unwrap();
    assert_eq!((unborne(&mut case, 1), unborne(&mut case, 2)), (Some(2), Some(1)));
    for (borne, is_borne) in [(2..=79, false), (20..=100, true), (20..=100, false), (1..=18, false)] {
        let outs = case.with(1, |it, entropy| it.bear(borne, &mut || entropy())).unwrap();
        assert_eq!(matches!(&outs[..], [Out::Send(2, Round::Commit { .. })]), is_borne, "{outs:?}");
        assert_eq!(outs.is_empty(), !is_borne);
        case.take(1, outs);
    }
    // By the nonces that he gave last they sign while he bears it.
    let outs = case.with(1, |it, entropy| it.bear(20..=100, &mut || entropy())).unwrap();
    assert_eq!(unborne(&mut case, 1), None);
    case.take(1, outs);
    case.deliver();
    let expected = case.trade.escrow().divide(Seat::First, &case.vaults, Verdict::Buyer, 80).unwrap();
    assert_eq!((case.ruling().to_buyer, case.ruling().to_seller), expected);
}

#[test]
fn who_asks_for_something_else_is_not_told_of_as_one_who_pays_too_much() {
    let mut case = Case::new(2, 2);
    let otherwise = case.rule(Verdict::Seller);
    case.decide(2, otherwise, 10);
    case.deliver();
    assert_eq!(case.with(1, |it, _| it.unborne()).unwrap(), None, "he has not decided");
    let decision = case.rule(Verdict::Buyer);
    let decided = case.with(1, |it, _| it.decide(decision, 2, 1..=3, &mut || [1; 32]));
    assert!(decided.unwrap().is_ok());
    assert_eq!(case.with(1, |it, _| it.unborne()).unwrap(), None);
    assert!(case.with(1, |it, _| it.bear(1..=100, &mut || [1; 32])).unwrap().is_empty());
}

/// Two bear each what the other would pay, and a third asks each for as much, or as little, as the other does not bear.
#[test]
fn a_thief_leads_nobody_away_for_long_from_what_others_bear() {
    let mut case = Case::new(2, 3);
    let (decision, escrow) = (case.rule(Verdict::Buyer), case.trade.escrow());
    let asked = |feerate| decision.asked(&escrow, Seat::First, feerate).unwrap();
    let honest = [(2, 8, 2..=42, 1), (3, 12, 3..=58, 100)];
    for (place, feerate, borne, of_thief) in honest.clone() {
        let decided = case.with(place, |it, _| it.decide(decision, feerate, borne, &mut || [1; 32]));
        assert!(decided.unwrap().is_ok());
        let heard = case.with(place, |it, _| it.hear(1, Round::Ask(asked(of_thief)), &mut || [1; 32]));
        assert_eq!(heard, Some(Vec::new()), "he does not bear it");
    }
    case.members[0] = None;
    for feerates in [[2, 58], [8, 12]] {
        assert!(case.done.is_empty());
        for ((place, feerate, ..), nearest) in honest.clone().into_iter().zip(feerates) {
            let outs = case.with(place, |it, _| it.again(feerate)).unwrap();
            assert!(outs.contains(&Out::Send(5 - place, Round::Ask(asked(nearest)))), "{outs:?}");
            case.take(place, outs);
        }
        case.deliver();
    }
    assert!(!case.done.is_empty());
}

/// Else who asks first could choose for each what the others do not bear.
#[test]
fn who_has_answered_another_asks_at_the_fee_that_he_would_pay_himself() {
    let mut case = Case::new(2, 3);
    let decision = case.rule(Verdict::Buyer);
    case.decide(3, decision, 90);
    case.deliver();
    case.decide(1, decision, 3);
    let answers: Vec<Letter> = case.mail.drain(..).collect();
    assert!(matches!(&answers[..], [(1, 3, Round::Commit { .. })]), "{answers:?}");
    let asked = decision.asked(&case.trade.escrow(), Seat::First, 3).unwrap();
    assert_eq!(case.with(1, |it, _| it.again(3)).unwrap(), [2, 3].map(|to| Out::Send(to, Round::Ask(asked))));
}

/// What blocks cost beyond that nobody asks the others for, and so all who decide alike ask for the same.
#[test]
fn members_ask_for_no_more_than_100_sat_vb() {
    let case = Case::new(2, 2);
    let escrow = case.trade.escrow();
    for decision in [case.rule(Verdict::Buyer), Decision::Extend { vaults: case.vaults }] {
        let asked = |feerate| decision.asked(&escrow, Seat::First, feerate).unwrap();
        assert_eq!(asked(400), asked(100));
        assert_ne!(asked(99), asked(100));
        assert!(decision.fits(&escrow, Seat::First, &asked(u64::MAX), &(100..=100)));
    }
}
