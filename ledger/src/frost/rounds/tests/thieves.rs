//! Members who lie, are silent, or want nobody to sign: who is blamed, and how the others go on.

use super::*;
use crate::frost::Point;
use crate::frost::rounds::own::MAX_RENEWALS;

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
            1 => *commitments = List::new(vec![Commitments { hiding: Point([0; 33]), ..commitments[0] }]).unwrap(),
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
    let none = Commitments { hiding: Point([0; 33]), ..other };
    let forged = vec![signer(1, &[other]), signer(2, commitments), signer(3, &[none])];
    assert!(matches!(&sign(1, hash, forged)[..], [Out::Blame(1, _)]));
    assert!(first.hear(1, Round::Ask(asked), &mut || [1; 32]).is_empty());
}
