//! Letters that cross, come late or never, and programs that are started anew.

use super::*;

#[test]
fn two_who_ask_at_once_come_to_an_end() {
    let mut case = Case::new(2, 2);
    let decision = case.rule(Verdict::Seller);
    case.decide(1, decision, 3);
    case.decide(2, decision, 7);
    case.deliver();
    assert!(!case.done.is_empty());
    for (_, body) in &case.done {
        let Body::Ruling(ruling) = body else { panic!("{body:?}") };
        assert_eq!(case.trade.escrow().check_ruling(Seat::First, ruling), Ok(()));
    }
}

/// Two asks that arrive together get two answers, which cross with what is made of the first.
#[test]
fn answers_that_cross_come_to_an_end() {
    for (threshold, count) in [(2, 3), (3, 5)] {
        let mut case = Case::new(threshold, count);
        let decision = case.rule(Verdict::Buyer);
        for place in 2..=count {
            case.decide(place, decision, 3);
        }
        case.mail.clear();
        case.decide(1, decision, 3);
        let asks = case.mail.clone();
        case.mail.extend(asks);
        case.deliver();
        case.ruling();
        assert_eq!(case.blamed, []);
    }
}

/// Nonces are gone with the program that drew them; the ones who are left begin a new round.
#[test]
fn a_new_start_in_the_middle_begins_a_new_round() {
    for (stops, again) in [(1, 1), (3, 3), (1, 3), (3, 1)] {
        let mut case = Case::new(2, 3);
        case.members[1] = None;
        let decision = case.rule(Verdict::Buyer);
        case.decide(1, decision, 3);
        case.deliver();
        case.decide(3, decision, 3);
        // The nonces arrive, and the one who asked has named the signers; then one of both loses everything.
        let (from, to, commit) = case.mail.pop_front().unwrap();
        assert!(matches!(commit, Round::Commit { .. }));
        let outs = case.with(to, |it, entropy| it.hear(from, commit, &mut || entropy())).unwrap();
        case.take(to, outs);
        let bound = if case.bound.contains(&stops) { vec![decision] } else { Vec::new() };
        case.start(stops);
        case.with(stops, |it, _| it.restore(decision, bound, 1..=100));
        if stops == 1 {
            case.mail.clear();
        }
        let outs = case.with(again, |it, _| it.again(3)).unwrap();
        case.take(again, outs);
        case.deliver();
        assert!(!case.done.is_empty(), "{stops} stops, {again} asks again");
        assert_eq!(case.blamed, []);
    }
}

#[test]
fn what_was_lost_is_sent_again_with_the_next_ask() {
    let mut case = Case::new(2, 2);
    let decision = case.rule(Verdict::Buyer);
    case.decide(1, decision, 3);
    case.deliver();
    case.decide(2, decision, 3);
    case.deliver_but(|(.., round)| matches!(round, Round::Sign { .. }).then(Vec::new));
    assert!(case.done.is_empty());
    let outs = case.with(1, |it, _| it.again(3)).unwrap();
    case.take(1, outs);
    case.deliver();
    assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()));
}

/// He sleeps, and what was asked for and signed meanwhile comes all at once.
#[test]
fn who_wakes_up_after_many_asks_signs_once() {
    for is_started_anew in [false, true] {
        let mut case = Case::new(2, 2);
        let decision = case.rule(Verdict::Buyer);
        case.decide(1, decision, 3);
        case.deliver();
        case.decide(2, decision, 3);
        let mut kept = Vec::new();
        for _ in 0..9 {
            case.deliver_but(|letter| {
                let (_, to, _) = letter;
                (*to == 2).then(|| {
                    kept.push(letter.clone());
                    Vec::new()
                })
            });
            let outs = case.with(1, |it, _| it.again(3)).unwrap();
            case.take(1, outs);
        }
        if is_started_anew {
            case.start(2);
            case.with(2, |it, _| it.restore(decision, Vec::new(), 1..=100));
        }
        case.mail = kept.into();
        case.deliver();
        assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()), "{is_started_anew}");
        assert_eq!(case.blamed, []);
    }
}
