//! What proves that somebody signed two histories comes first, and nobody gets more than his share out of turn.

use super::*;
use crate::ledger::MAX_CLOCK_SKEW_S;
use crate::record::Header;
use crate::sync::Proof;

/// Returns a log of so many records, with another one for the place of the last.
fn forked(author: u8, epoch: u32, len: usize) -> Vec<Record> {
    let mut log = Author::new(author).reopened(epoch);
    let mut records = beats(&mut log, len - 1);
    let mut twin = log.next_header(&Body::Heartbeat);
    twin.time += 7; // another time makes another record
    let twin = log.sign(twin, Vec::new());
    records.extend([log.write(&Body::Heartbeat), twin]);
    records
}

fn has_forked(node: &Node, log: &LogId) -> bool {
    node.ledger.storage().head(log).unwrap().is_some_and(|head| head.frozen.is_some())
}

/// Lets a node pull; returns how many bytes of records it took in before it knew of a fork.
fn bytes_before(us: &mut Node, peer: &Node, log: &LogId) -> usize {
    let (mut session, effects) = Session::start(everything(), us, Box::new(Alone)).unwrap();
    let (mut effects, mut bytes) = (VecDeque::from(effects), 0);
    while !has_forked(us, log) {
        let event = match effects.pop_front().expect("the session brings the fork") {
            Effect::Ask(token, request) => Event::Answered(token, honest(peer)(&request)),
            Effect::Keep(token, records) => {
                bytes += records.iter().map(Vec::len).sum::<usize>();
                Event::Kept(token, us.keep(records))
            }
            Effect::Restore(..) => unreachable!("nobody asked for bodies"),
        };
        effects.extend(session.handle(event, us).unwrap());
    }
    bytes
}

#[test]
fn a_newcomer_learns_of_forks_before_anything_else() {
    let fork = forked(1, 900_000, 5);
    let log = fork[0].header().log;
    let peer = Node::with(&[logs(600, 3).concat(), logs(3, 3000).concat(), fork.clone()].concat());
    let mut us = Node::new();
    let expected: usize = fork.iter().map(|record| record.encode().len()).sum();
    assert_eq!(bytes_before(&mut us, &peer, &log), expected);
}

#[test]
fn among_few_differences_a_fork_waits_for_two_megabytes_at_most() {
    // Each of the other logs alone fills an answer.
    let author = Author::new(1);
    let long: Vec<Vec<Record>> = (0..40).map(|epoch| beats(&mut author.reopened(epoch), 1400)).collect();
    let known: Vec<Record> = [long.iter().map(|log| log[0].clone()).collect(), logs(200, 1)[100..].concat()].concat();
    for epoch in 1000..1010 {
        let fork = forked(2, epoch, 3);
        let log = fork[0].header().log;
        let mut us = Node::with(&[&known[..], &fork[..2]].concat());
        let peer = Node::with(&[&known[..], &long.concat(), &fork].concat());
        let bytes = bytes_before(&mut us, &peer, &log);
        assert!(bytes <= 2 << 20, "{bytes}");
    }
}

#[test]
fn no_more_than_some_logs_go_first_and_none_that_is_long() {
    let many: Vec<Record> = (0..200).flat_map(|epoch| forked(1, epoch, 2)).collect();
    let long = forked(2, 1, 100);
    let honest_log = beats(&mut Author::new(3), 3);
    let (long_log, last) = (long[0].header().log, honest_log[0].header().log);
    let peer = Node::with(&[many, long, honest_log].concat());
    let us = Node::new();
    let (mut session, effects) = Session::start(everything(), &us, Box::new(Alone)).unwrap();
    let mut effects = VecDeque::from(effects);
    let first = loop {
        match effects.pop_front().unwrap() {
            Effect::Ask(_, Request::Ranges(wants)) => break wants,
            Effect::Ask(token, request) => {
                effects.extend(session.handle(Event::Answered(token, honest(&peer)(&request)), &us).unwrap());
            }
            Effect::Keep(..) | Effect::Restore(..) => unreachable!("nothing was asked for yet"),
        }
    };
    assert_eq!(first.len(), 64);
    assert!(first.iter().all(|want| want.log != long_log && want.log != last));
    // And in the end everything has come.
    let mut us = Node::new();
    pull(&mut us, &peer);
    assert_eq!(us.digest(), peer.digest());
}

#[test]
fn a_log_that_an_orphan_names_comes_with_its_fork() {
    let fork = forked(1, 5, 40);
    let log = fork[0].header().log;
    let peer = Node::with(&fork);
    let mut us = Node::new();
    let plan = Plan { logs: BTreeSet::from([log]), ..Plan::default() };
    let (gain, cost) = pull_from(&mut us, plan, honest(&peer));
    let gain = gain.unwrap();
    assert!(has_forked(&us, &log));
    assert_eq!((gain.wasted, gain.unfinished, us.digest()), (0, false, peer.digest()), "{:?}", cost.kinds);
}

#[test]
fn a_peer_whose_logs_fork_between_two_of_its_answers_is_not_blamed() {
    let thief = Author::new(1);
    let logs: Vec<Author> = (0..40).map(|epoch| thief.reopened(epoch)).collect();
    let chains: Vec<Vec<Record>> = logs.iter().map(|log| beats(&mut log.clone(), 3)).collect();
    let twin = |log: &Author| {
        let header = log.next_header(&Body::Heartbeat);
        log.sign(Header { time: header.time + 7, ..header }, Vec::new())
    };
    let twins: Vec<Record> = logs.iter().map(twin).collect();
    let (mut us, mut peer) = (Node::new(), Node::with(&chains.concat()));
    let (gain, cost) = pull_from(&mut us, everything(), |request| {
        if matches!(request, Request::Ranges(_)) {
            // It has named the heads already.
            peer.ledger.admit(&twins, NOW).unwrap();
        }
        honest(&peer)(request)
    });
    let gain = gain.expect("nobody is at fault");
    assert_eq!((gain.accepted, gain.unfinished, gain.compared), (160, true, false), "{:?}", cost.kinds);
    assert_eq!(us.digest(), peer.digest());
}

#[test]
fn nobody_keeps_a_node_with_a_slow_clock_from_comparing_by_a_fork_that_is_early_there() {
    let early = NOW + MAX_CLOCK_SKEW_S - 1;
    // With the whole log early, or only what proves its fork.
    for start in [early, NOW] {
        let mut author = Author::new(1);
        let first = author.append(Header { time: start, ..author.next_header(&Body::Heartbeat) }, Vec::new());
        let next = author.next_header(&Body::Heartbeat);
        let twins = [early, early + 1].map(|time| author.sign(Header { time, ..next }, Vec::new()));
        let stray = Header { seq: 2, backlink: RecordId([7; 32]), time: EPOCH.into(), ..next };
        let stray = author.sign(stray, Vec::new());
        let peer = Node::with(&[&[first][..], &twins, &[stray]].concat());
        assert_eq!(peer.ledger.storage().frozen(&author.log()).unwrap().len(), 3, "nothing is early there");
        let mut us = Node { now: NOW - 3600, ..Node::with(&logs(3, 2).concat()) };
        let (gain, cost) = pull(&mut us, &peer);
        assert!(!has_forked(&us, &author.log()), "its proof is early");
        assert!(gain.compared && !gain.unfinished, "{start}: {:?}", cost.kinds);
        us.now = NOW;
        pull(&mut us, &peer);
        assert!(has_forked(&us, &author.log()), "it comes when its time has");
    }
}

#[test]
fn a_proof_convinces_whoever_holds_the_chain_or_one_side_of_it() {
    // Of three twins the one that follows has not the smallest id: the two smallest alone would prove nothing to a newcomer.
    for salt in 0..20 {
        let mut author = Author::new(1).reopened(salt);
        let start = beats(&mut author, 2);
        let mut stray = author.next_header(&Body::Heartbeat);
        let twin = author.sign(Header { time: stray.time + 1, ..stray }, Vec::new());
        stray.backlink = RecordId([7; 32]);
        let strays: Vec<Record> =
            (0..3).map(|n| author.sign(Header { time: stray.time + n, ..stray }, Vec::new())).collect();
        let knowing = Node::with(&[&start[..], std::slice::from_ref(&twin), &strays].concat());
        let log = author.log();
        let proof = knowing.ledger.fork_proof(&log).unwrap().unwrap();
        let proof = Proof::decode(&Proof::of(&proof).encode()).unwrap();
        assert_eq!(proof.log, log);
        for held in [&start[..], &[&start[..], std::slice::from_ref(&twin)].concat(), &[&start[..], &strays].concat()] {
            let mut node = Node::with(held);
            assert!(!has_forked(&node, &log));
            assert!(node.keep(proof.records.to_vec()).contains(&Verdict::Accept));
            assert!(has_forked(&node, &log));
            assert!(!node.keep(proof.records.to_vec()).contains(&Verdict::Accept), "it is news once");
        }
    }
}

#[test]
fn what_proves_nothing_by_itself_is_no_proof() {
    let fork = forked(1, 5, 3);
    let encoded: Vec<Vec<u8>> = fork.iter().map(Record::encode).collect();
    let join = |parts: &[&Vec<u8>]| parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>();
    let good = join(&[&encoded[2], &encoded[3]]);
    assert_eq!(Proof::decode(&good).map(|proof| proof.encode()), Some(good.clone()));
    let other_log = forked(1, 6, 3)[2].encode();
    for bad in [
        join(&[&encoded[2], &encoded[2]]),
        join(&[&encoded[1], &encoded[2]]),
        join(&[&encoded[2], &other_log]),
        join(&[&encoded[2], &encoded[3], &encoded[3]]),
        encoded[2].clone(),
        good[..good.len() - 1].to_vec(),
        Vec::new(),
    ] {
        assert_eq!(Proof::decode(&bad), None);
    }
}

#[test]
fn a_proof_is_never_lost_whatever_its_author_signs_after_it() {
    let mut node = Node::with(&forked(1, 5, 40));
    let log = Author::new(1).reopened(5).log();
    for place in (0..40).rev() {
        let mut author = Author::new(1).reopened(5);
        beats(&mut author, place);
        let header = author.next_header(&Body::Heartbeat);
        let flood: Vec<Record> =
            (2..102).map(|n| author.sign(Header { time: header.time + n, ..header }, Vec::new())).collect();
        node.ledger.admit(&flood, NOW).unwrap();
        let [first, second] = node.ledger.fork_proof(&log).unwrap().unwrap();
        assert_eq!((first.header().seq, second.header().seq), (place as u64, place as u64));
        assert!(node.ledger.storage().frozen(&log).unwrap().len() <= crate::ledger::MAX_FROZEN);
        assert_eq!(node.ledger.storage().forked(None, 9).unwrap().len(), 1);
    }
}
