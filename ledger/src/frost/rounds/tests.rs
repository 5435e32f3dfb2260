//! Members decide together: with somebody away, at once, again after a new start, and with a liar among them.

use std::collections::VecDeque;

use super::own::MAX_RENEWALS;
use super::*;
use crate::body::{Side, Vaults};
use crate::money::Sats;
use crate::record::Record;
use crate::testing::{Author, SampleGroup, SampleTrade, admit_all, ledger};
use crate::trade::{Role, Verdict};

/// Who tells whom what.
type Letter = (Place, Place, Round);

/// The members of a group of two of three over a case of theirs, and what is under way between them.
struct Case {
    group: SampleGroup,
    trade: SampleTrade,
    vaults: Vaults,
    /// `None` is away.
    members: Vec<Option<Rounds>>,
    mail: VecDeque<Letter>,
    done: Vec<(Place, Body)>,
    blamed: Vec<(Place, Place)>,
    bound: Vec<Place>,
    /// Who was shown which record.
    shown: Vec<(Place, Vec<u8>)>,
    drawn: u64,
}

impl Case {
    fn new(threshold: u8, count: u8) -> Self {
        let group = SampleGroup::new(threshold, count);
        let trade = SampleTrade::of_group(Side::Sell, &group);
        let vaults = trade.vaults(1);
        let members = (0..count).map(|_| None).collect();
        let (mail, done, blamed, bound) = (VecDeque::new(), Vec::new(), Vec::new(), Vec::new());
        let mut case = Self { group, trade, vaults, members, mail, done, blamed, bound, shown: Vec::new(), drawn: 0 };
        (1..=count).for_each(|place| case.start(place));
        case
    }

    fn rounds(&self, place: Place) -> Rounds {
        let part = &self.group.parts[usize::from(place) - 1];
        Rounds::new(self.trade.escrow(), Seat::First, part.members, &part.share).unwrap()
    }

    /// Starts a member's program anew: nothing of what was under way is known to it.
    fn start(&mut self, place: Place) {
        self.members[usize::from(place) - 1] = Some(self.rounds(place));
    }

    fn rule(&self, verdict: Verdict) -> Decision {
        Decision::Rule { vaults: self.vaults, verdict }
    }

    fn with<T>(&mut self, place: Place, act: impl FnOnce(&mut Rounds, &mut dyn FnMut() -> [u8; 32]) -> T) -> Option<T> {
        let (members, drawn) = (&mut self.members, &mut self.drawn);
        let mut entropy = || {
            *drawn += 1;
            tagged("test", &[&drawn.to_le_bytes()])
        };
        members[usize::from(place) - 1].as_mut().map(|member| act(member, &mut entropy))
    }

    fn take(&mut self, from: Place, outs: Vec<Out>) {
        for out in outs {
            match out {
                Out::Bind => self.bound.push(from),
                Out::Send(to, round) => self.mail.push_back((from, to, round)),
                Out::Done(body) => self.done.push((from, *body)),
                Out::Blame(who, _) => self.blamed.push((from, who)),
                Out::Heed(record) => self.shown.push((from, record)),
            }
        }
    }

    fn decide(&mut self, place: Place, decision: Decision, feerate: u64) {
        let outs = self.with(place, |it, entropy| it.decide(decision, feerate, 1..=100, &mut || entropy()));
        self.take(place, outs.unwrap().unwrap());
    }

    fn deliver(&mut self) {
        self.deliver_but(|_| None);
    }

    /// Delivers everything, but what a thief takes: in its place goes what he makes of it.
    fn deliver_but(&mut self, mut thief: impl FnMut(&Letter) -> Option<Vec<Letter>>) {
        for _ in 0..1000 {
            let Some(letter) = self.mail.pop_front() else { return };
            if let Some(instead) = thief(&letter) {
                self.mail.extend(instead);
                continue;
            }
            let (from, to, round) = letter;
            // What is sent survives its bytes.
            let bytes = borsh::to_vec(&round).unwrap();
            let round: Round = borsh::from_slice(&bytes).unwrap();
            let outs = self.with(to, |it, entropy| it.hear(from, round, &mut || entropy()));
            self.take(to, outs.unwrap_or_default());
        }
        panic!("they never end");
    }

    /// Returns the one ruling that came out.
    fn ruling(&self) -> &crate::body::Ruling {
        match &self.done[..] {
            [(_, Body::Ruling(ruling))] => ruling,
            other => panic!("{other:?}"),
        }
    }
}

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

#[test]
fn who_asks_first_and_signs_nothing_costs_one_ask() {
    let mut case = Case::new(2, 3);
    let decision = case.rule(Verdict::Buyer);
    case.decide(1, decision, 3);
    case.deliver();
    case.members[0] = None;
    case.decide(2, decision, 3);
    case.deliver();
    let outs = case.with(2, |it, _| it.again(3)).unwrap();
    case.take(2, outs);
    case.deliver();
    assert!(case.done.is_empty());
    // The last one answers both.
    case.decide(3, decision, 3);
    case.deliver();
    assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()));
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
fn a_liar_is_named_and_the_others_go_on_without_him() {
    for lie in 0..3 {
        let mut case = Case::new(2, 3);
        let decision = case.rule(Verdict::Buyer);
        case.decide(1, decision, 3);
        case.deliver();
        case.decide(2, decision, 3);
        let at = case.mail.iter().position(|(from, ..)| *from == 2).unwrap();
        let (_, _, round) = &mut case.mail[at];
        let Round::Commit { commitments, .. } = round else { panic!("{round:?}") };
        match lie {
            0 => *commitments = List::default(),
            1 => {
                *commitments =
                    List::new(vec![Commitments { hiding: super::super::Point([0; 33]), ..commitments[0] }]).unwrap()
            }
            _ => {
                while !case.mail.iter().any(|(.., round)| matches!(round, Round::Shares { .. })) {
                    let (from, to, round) = case.mail.pop_front().unwrap();
                    let outs = case.with(to, |it, entropy| it.hear(from, round, &mut || entropy())).unwrap();
                    case.take(to, outs);
                }
                let (_, _, round) =
                    case.mail.iter_mut().find(|(.., round)| matches!(round, Round::Shares { .. })).unwrap();
                let Round::Shares { shares, .. } = round else { unreachable!() };
                *shares = List::new(vec![SignatureShare([3; 32])]).unwrap();
            }
        }
        case.deliver();
        assert_eq!(case.blamed, [(1, 2)], "{lie}");
        assert!(case.done.is_empty());
        case.decide(3, decision, 3);
        case.deliver();
        assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()));
    }
}

/// He gives his nonces at once, whenever he is asked, and never signs.
#[test]
fn who_is_silent_when_he_is_to_sign_holds_nobody_up_and_binds_nobody() {
    let [there, silent] = [false, true];
    for (threshold, count, others) in [
        (2, 3, vec![(3, silent), (2, there)]),
        (3, 5, vec![(4, silent), (5, silent), (2, there), (3, there)]),
        (3, 5, vec![(2, there), (5, silent), (3, there)]),
    ] {
        let mut case = Case::new(threshold, count);
        let decision = case.rule(Verdict::Buyer);
        case.decide(1, decision, 3);
        case.deliver();
        for (place, is_silent) in others {
            assert_eq!(case.with(1, |it, _| it.is_bound()), Some(false));
            case.decide(place, decision, 3);
            if is_silent {
                case.members[usize::from(place) - 1] = None;
            }
            case.deliver();
        }
        assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()));
        assert_eq!((case.with(1, |it, _| it.is_bound()), case.blamed.len()), (Some(true), 0));
    }
}

/// Each time those who were to sign with him are asked again, and no more than some messages are kept for anybody.
#[test]
fn who_brings_other_nonces_for_ever_is_waited_for_no_more() {
    let mut case = Case::new(3, 5);
    let decision = case.rule(Verdict::Buyer);
    case.decide(1, decision, 3);
    case.deliver();
    for place in [2, 5] {
        case.decide(place, decision, 3);
    }
    case.members[4] = None;
    case.deliver();
    let (escrow, liar) = (case.trade.escrow(), case.rounds(5));
    let asked = hash(&escrow, Seat::First, &decision.asked(&escrow, Seat::First, 3).unwrap());
    let mut heeded = 0;
    for draw in 0..50 {
        let commitments = List::new(vec![liar.share.commit(&[draw; 32]).unwrap().commitments()]).unwrap();
        let round = Round::Commit { asked, commitments };
        let outs = case.with(1, |it, entropy| it.hear(5, round, &mut || entropy())).unwrap();
        heeded += u8::from(!outs.is_empty());
        case.take(1, outs);
        case.deliver();
    }
    assert_eq!((heeded, case.done.len()), (MAX_RENEWALS, 0));
    case.decide(3, decision, 3);
    case.deliver();
    assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()));
}

/// What somebody does who wants nobody to sign. He has decided alike, and gives nonces to whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thief {
    /// He gives no shares.
    Silent,
    /// He gives shares that are none, or none, or good ones, as they come.
    Random,
    /// He has other nonces whenever he is named.
    Forgetful,
    /// He gives the same nonces again and again.
    Replaying,
}

const THIEVES: [Thief; 4] = [Thief::Silent, Thief::Random, Thief::Forgetful, Thief::Replaying];

/// Watches what goes through a group with thieves in it, and plays their part.
struct Watch {
    thieves: BTreeMap<Place, Thief>,
    /// What each of them gives, one after the other.
    stock: BTreeMap<Place, Vec<Commitments>>,
    /// Who signs by which nonces, in each session.
    sessions: BTreeMap<[u8; 32], Vec<Signer>>,
    /// Every pair of nonces of an honest member that signed.
    used: Vec<Commitments>,
    /// How many letters each member was sent by the first.
    letters: BTreeMap<Place, usize>,
}

impl Watch {
    fn new(case: &Case, thieves: BTreeMap<Place, Thief>) -> Self {
        let stock = |place: &Place| {
            let share = case.rounds(*place).share;
            let draw = |number| share.commit(&[number; 32]).unwrap().commitments();
            let nonces: Vec<Commitments> = (1..=100).map(draw).collect();
            (*place, nonces)
        };
        let stock = thieves.keys().map(stock).collect();
        Self { thieves, stock, sessions: BTreeMap::new(), used: Vec::new(), letters: BTreeMap::new() }
    }

    fn use_once(&mut self, place: Place, session: [u8; 32]) {
        let signer = self.sessions[&session].iter().find(|signer| signer.place == place).unwrap();
        for nonces in signer.commitments.iter() {
            assert!(!self.used.contains(nonces), "member {place} signs twice by the same nonces");
            self.used.push(*nonces);
        }
    }

    fn see(&mut self, letter: &Letter) -> Option<Vec<Letter>> {
        let (from, to, round) = letter;
        if *from == 1 {
            *self.letters.entry(*to).or_default() += 1;
        }
        match round {
            Round::Sign { asked, signers } => {
                let session = session_hash(asked, signers);
                if self.sessions.insert(session, signers.to_vec()).is_none() {
                    self.use_once(*from, session); // who names a session signs first
                }
                let given = match *self.thieves.get(to)? {
                    Thief::Silent | Thief::Random => return None,
                    Thief::Forgetful => vec![self.stock.get_mut(to)?.remove(0)],
                    Thief::Replaying => self.stock[to][..2].to_vec(),
                };
                let commit = |nonces| {
                    let commitments = List::new(vec![nonces]).unwrap();
                    (*to, *from, Round::Commit { asked: *asked, commitments })
                };
                Some(given.into_iter().map(commit).collect())
            }
            Round::Shares { session, shares } => match self.thieves.get(from).copied() {
                None => {
                    self.use_once(*from, *session);
                    None
                }
                Some(Thief::Silent) => Some(Vec::new()),
                Some(Thief::Random) if shares[0] == SignatureShare([3; 32]) => None,
                Some(Thief::Random) => match session[0] % 3 {
                    0 => None,
                    1 => Some(Vec::new()),
                    _ => {
                        let shares = List::new(vec![SignatureShare([3; 32])]).unwrap();
                        Some(vec![(*from, *to, Round::Shares { session: *session, shares })])
                    }
                },
                Some(Thief::Forgetful | Thief::Replaying) => None,
            },
            Round::Ask(_) | Round::Commit { .. } | Round::Show { .. } => None,
        }
    }
}

/// As many thieves as there may be, whatever they do and whether they are first or not, cost no second ask.
#[test]
fn thieves_in_a_group_do_not_keep_the_others_from_ruling() {
    for (threshold, count, places) in [
        (2, 3, vec![2]),
        (3, 4, vec![3]),
        (3, 5, vec![2, 3]),
        (3, 5, vec![2, 4]),
        (3, 5, vec![4, 5]),
        (5, 8, vec![2, 5, 8]),
    ] {
        let mut case = Case::new(threshold, count);
        let decision = case.rule(Verdict::Buyer);
        let runs = (0..4).flat_map(|first| [0, 1].map(|step| (first, step)));
        for ((first, step), are_first) in runs.flat_map(|run| [(run, true), (run, false)]) {
            let kinds = (0..places.len()).map(|at| THIEVES[(first + at * step) % 4]);
            let thieves: BTreeMap<Place, Thief> = places.iter().copied().zip(kinds).collect();
            let told = format!("{threshold} of {count}, {thieves:?}, {are_first}");
            (1..=count).for_each(|place| case.start(place));
            (case.done, case.blamed) = (Vec::new(), Vec::new());
            (2..=count).for_each(|place| case.decide(place, decision, 3));
            case.mail.clear();
            case.decide(1, decision, 3);
            if are_first {
                case.mail.make_contiguous().sort_by_key(|(_, to, _)| !places.contains(to));
            }
            let mut watch = Watch::new(&case, thieves);
            case.deliver_but(|letter| watch.see(letter));
            assert_eq!(case.done.len(), 1, "{told}");
            assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()), "{told}");
            let is_liar = |(by, who): &(Place, Place)| *by == 1 && watch.thieves.get(who) == Some(&Thief::Random);
            assert!(case.blamed.iter().all(is_liar), "{told}: {:?}", case.blamed);
            // An ask, and for each session that came to nothing, or was under way, a place in it and another ask.
            let sessions = usize::from(count) + places.len() * usize::from(MAX_RENEWALS + 1);
            assert!(watch.letters.values().all(|letters| *letters <= 1 + 2 * sessions), "{told}: {:?}", watch.letters);
        }
    }
}

/// And no more messages are kept of anybody than it takes to ask sixteen times.
#[test]
fn who_brings_other_nonces_at_each_ask_is_passed_over_until_who_asks_decides_once_more() {
    let mut case = Case::new(2, 3);
    case.members[2] = None;
    let decision = case.rule(Verdict::Buyer);
    case.decide(2, decision, 3);
    case.mail.clear();
    case.decide(1, decision, 3);
    let mut watch = Watch::new(&case, BTreeMap::from([(2, Thief::Forgetful)]));
    case.deliver_but(|letter| watch.see(letter));
    for _ in 0..16 {
        let outs = case.with(1, |it, _| it.again(3)).unwrap();
        case.take(1, outs);
        case.deliver_but(|letter| watch.see(letter));
    }
    assert_eq!(watch.sessions.len(), usize::from(MAX_RENEWALS + 1));
    assert!(case.done.is_empty() && case.blamed.is_empty(), "to lose nonces is nobody's fault");
    case.decide(1, decision, 3);
    case.deliver();
    assert_eq!(case.trade.escrow().check_ruling(Seat::First, case.ruling()), Ok(()));
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

/// What others send cannot make a member sign twice by the same nonces, or something else.
#[test]
fn hostile_rounds_change_nothing() {
    let mut case = Case::new(2, 3);
    let decision = case.rule(Verdict::Buyer);
    case.decide(2, decision, 3);
    case.mail.clear();
    let escrow = case.trade.escrow();
    let asked = decision.asked(&escrow, Seat::First, 3).unwrap();
    let hash = hash(&escrow, Seat::First, &asked);
    let outs = case.with(2, |it, entropy| it.hear(1, Round::Ask(asked), &mut || entropy())).unwrap();
    let [Out::Send(1, Round::Commit { commitments: given, .. })] = &outs[..] else { panic!("{outs:?}") };
    let given = given.clone();
    // Whoever asks again gets the same nonces, as long as they have not signed.
    let again = case.with(2, |it, entropy| it.hear(1, Round::Ask(asked), &mut || entropy())).unwrap();
    assert_eq!(again, outs);
    let mut first = case.rounds(1);
    let other = first.share.commit(&[8; 32]).unwrap().commitments();
    let signer =
        |place, commitments: &[Commitments]| Signer { place, commitments: List::new(commitments.to_vec()).unwrap() };
    let mut sign = |from, asked, signers: Vec<Signer>| {
        let round = Round::Sign { asked, signers: List::new(signers).unwrap() };
        case.with(2, |it, entropy| it.hear(from, round, &mut || entropy())).unwrap()
    };
    let good = vec![signer(1, &[other]), signer(2, &given)];
    assert_eq!(sign(3, hash, good.clone()), [], "who did not ask");
    assert_eq!(sign(1, [9; 32], good.clone()), [], "something else");
    assert_eq!(sign(2, hash, good.clone()), [], "in his own name");
    assert_eq!(sign(0, hash, good.clone()), []);
    assert_eq!(sign(9, hash, good.clone()), []);
    assert_eq!(sign(1, hash, vec![signer(2, &given), signer(1, &[other])]), [], "out of order");
    assert_eq!(sign(1, hash, vec![signer(2, &given)]), [], "without who asks");
    assert_eq!(sign(1, hash, vec![signer(1, &[other]), signer(2, &given), signer(9, &[other])]), [], "a stranger");
    let signed = sign(1, hash, good.clone());
    assert!(matches!(&signed[..], [Out::Bind, Out::Send(1, Round::Shares { .. })]), "{signed:?}");
    // The same once more: the nonces are gone, and others are offered.
    let again = sign(1, hash, good);
    let [Out::Send(1, Round::Commit { commitments, .. })] = &again[..] else { panic!("{again:?}") };
    assert_ne!(*commitments, given);
    // Of two sets of signers who want the same nonces, one gets them.
    let fresh = commitments.clone();
    assert!(matches!(
        &sign(1, hash, vec![signer(1, &[other]), signer(2, &fresh)])[..],
        [Out::Bind, Out::Send(1, Round::Shares { .. })]
    ));
    let third = vec![signer(1, &[other]), signer(2, &fresh), signer(3, &[other])];
    let again = sign(1, hash, third);
    let [Out::Send(1, Round::Commit { commitments, .. })] = &again[..] else { panic!("{again:?}") };
    // What he says that another gave is his own word.
    let none = Commitments { hiding: super::super::Point([0; 33]), ..other };
    let forged = vec![signer(1, &[other]), signer(2, commitments), signer(3, &[none])];
    assert!(matches!(&sign(1, hash, forged)[..], [Out::Blame(1, _)]));
    assert!(first.hear(1, Round::Ask(asked), &mut || [1; 32]).is_empty());
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
