//! Peers that lie. Whatever they say, a session ends after a bounded number of requests, and nothing breaks.

use super::*;

fn small() -> (Node, Node) {
    let all = logs(60, 3);
    let old: Vec<Record> = all.iter().flat_map(|log| &log[..2]).cloned().collect();
    let new = [&old[..], &all[..10].concat()].concat();
    (Node::with(&old), Node::with(&new))
}

/// Lets a node pull from an honest peer whose answers are tampered with.
fn tampered(us: &mut Node, peer: &Node, tamper: impl Fn(&Request, &mut Answer)) -> (Result<Gain, Fault>, Cost) {
    pull_from(us, everything(), |request| {
        let mut answer = honest(peer)(request);
        tamper(request, &mut answer);
        answer
    })
}

#[test]
fn a_sketch_of_nothing_real_costs_a_walk() {
    let (mut us, peer) = small();
    let (gain, cost) = tampered(&mut us, &peer, |_, answer| match answer {
        Answer::Differs(Some(opening)) => opening.symbols.reverse(),
        Answer::Symbols(symbols) => symbols.reverse(),
        _ => {}
    });
    assert_eq!(gain.map(|gain| (gain.accepted, gain.compared)), Ok((10, true)));
    assert!(cost.kinds.contains(&3), "{:?}", cost.kinds);
    assert_eq!(us.digest(), peer.digest());
}

#[test]
fn items_that_stand_for_nothing_are_left() {
    let (mut us, peer) = small();
    let (gain, _) = tampered(&mut us, &peer, |_, answer| {
        if let Answer::Items(found) = answer {
            found.fill(Found::Gone);
        }
    });
    assert_eq!(gain.map(|gain| (gain.accepted, gain.unfinished)), Ok((0, true)));
}

#[test]
fn heads_out_of_order_are_an_offence() {
    let peer = Node::with(&logs(30, 1).concat());
    let (gain, _) = tampered(&mut Node::new(), &peer, |_, answer| {
        if let Answer::Heads(heads) = answer {
            heads.reverse();
        }
    });
    assert_eq!(gain, Err(Fault::WrongAnswer));
}

#[test]
fn endless_heads_end() {
    // Every page is full, of logs that nobody has, and their records never come.
    let mut next = 0_u32;
    let (gain, cost) = pull_from(&mut Node::new(), everything(), |request| match request {
        Request::Compare { symbols, .. } => {
            let snapshot = Snapshot::take(&MemoryStorage::default(), Salt([1; 16])).unwrap();
            let cell = snapshot.cells()[0];
            let symbols = (0..usize::from(*symbols)).map(|i| message::Symbol::of(&cell, i, 9)).collect();
            Answer::Differs(Some(message::Opening { salt: snapshot.salt(), heads: 1 << 32, symbols }))
        }
        Request::Heads { limit, .. } => Answer::Heads(
            (0..*limit)
                .map(|_| {
                    next += 1;
                    head(next)
                })
                .collect(),
        ),
        Request::Forks { .. } => Answer::Heads(Vec::new()),
        Request::Ranges(wants) => Answer::Records(vec![Vec::new(); wants.len()]),
        _ => Answer::Stale,
    });
    assert_eq!(gain, Err(Fault::EmptyPromise), "a head that is named twice without a record");
    assert!(cost.kinds.len() < 1200, "{}", cost.kinds.len());
}

fn head(epoch: u32) -> Head {
    let log = LogId { epoch, ..Author::new(9).log() };
    Head { log, len: 1000, id: RecordId([1; 32]), time: 0, frozen: None }
}

#[test]
fn endless_forks_end() {
    // Every page is full, of logs that nobody has, and neither their records nor their proofs ever come.
    let mut next = 0_u32;
    let (gain, cost) = pull_from(&mut Node::new(), everything(), |request| match request {
        Request::Compare { .. } => Answer::Differs(None),
        Request::Forks { limit, .. } => {
            next += u32::from(*limit);
            let made_up = (next - u32::from(*limit)..next).map(|epoch| Head { len: 10, ..forked_head(epoch) });
            Answer::Heads(made_up.collect())
        }
        Request::Heads { .. } => Answer::Heads(Vec::new()),
        Request::Ranges(wants) => Answer::Records(vec![Vec::new(); wants.len()]),
        Request::Frozen(logs) => Answer::Records(vec![Vec::new(); logs.len()]),
        _ => Answer::Stale,
    });
    assert_eq!(gain, Err(Fault::EmptyPromise));
    assert!(cost.kinds.len() < 100, "{}", cost.kinds.len());
}

#[test]
fn forks_that_are_made_up_excuse_nothing() {
    // Of each log that it named it says that it has forked at its first record, and it never proves that.
    let (gain, cost) = pull_from(&mut Node::new(), everything(), |request| match request {
        Request::Compare { .. } => Answer::Differs(None),
        Request::Heads { after: Some(before), limit: 1 } => {
            Answer::Heads(vec![Head { len: 0, ..forked_head(before.epoch + 1) }])
        }
        Request::Heads { limit, .. } => Answer::Heads((1..=u32::from(*limit)).map(head).collect()),
        Request::Forks { .. } => Answer::Heads(Vec::new()),
        Request::Ranges(wants) => Answer::Records(vec![Vec::new(); wants.len()]),
        Request::Frozen(logs) => Answer::Records(vec![Vec::new(); logs.len()]),
        _ => Answer::Stale,
    });
    assert_eq!(gain, Err(Fault::EmptyPromise));
    assert!(cost.kinds.len() < 150, "{}", cost.kinds.len());
}

#[test]
fn a_head_that_has_not_forked_is_no_answer_to_a_question_for_forks() {
    let (gain, _) = pull_from(&mut Node::new(), everything(), |request| match request {
        Request::Compare { .. } => Answer::Differs(None),
        _ => Answer::Heads(vec![head(1)]),
    });
    assert_eq!(gain, Err(Fault::WrongAnswer));
}

fn forked_head(epoch: u32) -> Head {
    Head { frozen: Some(crate::ids::FrozenHash([2; 32])), ..head(epoch) }
}

#[test]
fn records_of_another_place_or_log_are_an_offence() {
    for shift in [0, 1] {
        let peer = Node::with(&logs(30, 4).concat());
        let (gain, _) = tampered(&mut Node::new(), &peer, |_, answer| {
            if let Answer::Records(logs) = answer {
                logs.iter_mut().for_each(|log| log.rotate_left(1 - shift));
                logs.rotate_left(shift);
            }
        });
        assert_eq!(gain, Err(Fault::WrongAnswer));
    }
}

#[test]
fn an_invalid_record_is_an_offence() {
    let peer = Node::with(&logs(3, 4).concat());
    let mut us = Node::new();
    let (mut session, effects) = Session::start(everything(), &us, Box::new(Alone)).unwrap();
    let mut effects = VecDeque::from(effects);
    let fault = loop {
        let event = match effects.pop_front().unwrap() {
            Effect::Ask(token, request) => Event::Answered(token, honest(&peer)(&request)),
            Effect::Keep(token, records) => Event::Kept(token, vec![Verdict::Reject; records.len()]),
            Effect::Restore(token, _) => Event::Restored(token, 0),
        };
        match session.handle(event, &us) {
            Ok(more) => effects.extend(more),
            Err(Stopped::Fault(fault)) => break fault,
            Err(Stopped::Storage(error)) => panic!("{error}"),
        }
    };
    assert_eq!(fault, Fault::InvalidRecord);
    us.keep(Vec::new());
}

#[test]
fn a_peer_whose_log_shrank_is_asked_again_and_not_blamed() {
    let records = logs(1, 4).concat();
    let peer = Node::with(&records[..2]);
    let mut us = Node::new();
    let boasted = std::cell::Cell::new(false);
    let (gain, _) = tampered(&mut us, &peer, |request, answer| {
        if let (Request::Heads { .. }, Answer::Heads(heads)) = (request, answer)
            && !boasted.replace(true)
        {
            heads[0].len = 4;
        }
    });
    assert_eq!(gain.map(|gain| (gain.accepted, gain.unfinished)), Ok((2, true)));
}

#[test]
fn an_answer_has_a_bounded_size_whatever_is_asked() {
    let records = logs(1, 2000).concat();
    let peer = Node::with(&records);
    let log = records[0].header().log;
    let request = Request::Ranges(vec![Want::new(log, 0); message::MAX_WANTS]);
    let (answer, _) = answer(&peer, &request).unwrap();
    let Answer::Records(logs) = &answer else { panic!("{answer:?}") };
    assert!(logs.iter().flatten().map(Vec::len).sum::<usize>() <= MAX_ANSWER_BYTES + crate::record::MAX_RECORD_LEN);
    assert_eq!(answer.check(), Ok(()));
}

/// Replaces an answer by one that somebody else might have got, or breaks it.
fn break_answer(answer: &mut Answer, how: u8, other: &Node) {
    match (how % 8, &mut *answer) {
        (0, _) => *answer = Answer::Same,
        (1, _) => *answer = Answer::Stale,
        (2, _) => *answer = Answer::Heads(other.ledger.storage().heads(None, 20).unwrap()),
        (3, Answer::Records(logs)) => logs.iter_mut().for_each(Vec::clear),
        (3, Answer::Items(found)) => found.truncate(1),
        (4, Answer::Records(logs)) => logs.reverse(),
        (4, Answer::Ids(ids)) => ids.reverse(),
        (5, Answer::Heads(heads)) => heads.iter_mut().for_each(|head| head.len += 1),
        (5, Answer::Ids(ids)) => ids.fill(None),
        (6, Answer::Heads(heads)) => heads.iter_mut().for_each(|head| head.id = RecordId([how; 32])),
        (6, Answer::Differs(opening)) => *opening = None,
        (7, Answer::Heads(heads)) => {
            heads.iter_mut().for_each(|head| head.frozen = Some(crate::ids::FrozenHash([how; 32])));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_peer_answers_a_session_ends(set in hostile_set(), lies in prop::collection::vec(any::<u8>(), 1..40)) {
        let mut us = Node::new();
        let mut peer = Node::new();
        for (record, ours, theirs) in &set {
            if *ours {
                us.ledger.admit(std::slice::from_ref(record), NOW).unwrap();
            }
            if *theirs {
                peer.ledger.admit(std::slice::from_ref(record), NOW).unwrap();
            }
        }
        let other = us.clone();
        let mut lies = lies.iter().cycle();
        // `pull_from` panics when a session runs away.
        drop(pull_from(&mut us, everything(), |request| {
            let mut answer = honest(&peer)(request);
            let lie = *lies.next().expect("it is a cycle");
            if lie >= 128 {
                break_answer(&mut answer, lie, &other);
            }
            answer
        }));
    }
}
