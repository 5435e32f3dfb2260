//! Sessions between ledgers in memory: what honest peers bring each other, and what hostile ones can cost.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc;

use proptest::prelude::*;

use super::message::{Found, MAX_ANSWER_BYTES, Want};
use super::*;
use crate::body::Body;
use crate::ids::{RecordId, StateHash};
use crate::ledger::Ledger;
use crate::record::{Head, Record};
use crate::state::state_hash;
use crate::storage::MemoryStorage;
use crate::testing::{Author, EPOCH, NETWORK};

mod bodies;
mod forks;
mod hostile;

/// After all records of these tests.
const NOW: u64 = EPOCH as u64 + 10_000_000;

/// A node in memory.
#[derive(Clone)]
struct Node {
    ledger: Ledger<MemoryStorage>,
    snapshots: RefCell<VecDeque<Arc<Snapshot>>>,
    /// What its clock says.
    now: u64,
}

impl Node {
    fn new() -> Self {
        Self { ledger: Ledger::new(MemoryStorage::default(), NETWORK), snapshots: RefCell::default(), now: NOW }
    }

    fn with(records: &[Record]) -> Self {
        let mut node = Self::new();
        node.ledger.admit(records, NOW).unwrap();
        node
    }

    fn digest(&self) -> StateHash {
        state_hash(self.ledger.storage()).unwrap()
    }

    fn keep(&mut self, records: Vec<Vec<u8>>) -> Vec<Verdict> {
        let records: Vec<Record> = records.iter().map(|bytes| Record::decode_any(bytes).unwrap()).collect();
        let admissions = self.ledger.admit(&records, self.now).unwrap();
        admissions.iter().zip(&records).map(|(admission, record)| Verdict::of(admission, record, false)).collect()
    }
}

impl Own for Node {
    fn storage(&self) -> &dyn Storage {
        self.ledger.storage()
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        let mut snapshots = self.snapshots.borrow_mut();
        let digest = self.digest();
        if let Some(latest) = snapshots.front().filter(|latest| latest.digest() == digest) {
            return Ok(latest.clone());
        }
        let snapshot = Arc::new(Snapshot::take(self.ledger.storage(), Salt([7; 16]))?);
        snapshots.push_front(snapshot.clone());
        snapshots.truncate(1);
        Ok(snapshot)
    }

    fn snapshot_of(&self, salt: &Salt) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().iter().find(|snapshot| snapshot.salt() == *salt).cloned()
    }
}

/// What a session cost.
#[derive(Debug, Default)]
struct Cost {
    /// The requests, by the first byte of each.
    kinds: Vec<u8>,
    /// Bytes of requests and answers, but for the records in them.
    bytes: usize,
    /// Records that came.
    records: usize,
}

/// Requests beyond which a session has run away.
const PATIENCE: usize = 5000;

fn everything() -> Plan {
    Plan { compare: true, ..Plan::default() }
}

/// Lets a node pull from a peer that answers as it likes.
fn pull_from(us: &mut Node, plan: Plan, mut peer: impl FnMut(&Request) -> Answer) -> (Result<Gain, Fault>, Cost) {
    let mut cost = Cost::default();
    let (mut session, effects) = Session::start(plan, us, Box::new(Alone)).unwrap();
    let mut effects = VecDeque::from(effects);
    while let Some(effect) = effects.pop_front() {
        assert!(!session.is_over(), "nothing is wanted after the end");
        let event = match effect {
            Effect::Ask(token, request) => {
                assert_eq!(request.check(), Ok(()));
                let bytes = borsh::to_vec(&request).unwrap();
                cost.kinds.push(bytes[0]);
                cost.bytes += bytes.len();
                assert!(cost.kinds.len() < PATIENCE, "a session without end");
                let answer = peer(&request);
                if answer.check().is_err() {
                    return (Err(Fault::WrongAnswer), cost); // what the codec would have found
                }
                cost.bytes += borsh::to_vec(&answer).unwrap().len();
                Event::Answered(token, answer)
            }
            Effect::Keep(token, records) => {
                cost.bytes -= records.iter().map(Vec::len).sum::<usize>();
                cost.records += records.len();
                Event::Kept(token, us.keep(records))
            }
            Effect::Restore(token, records) => Event::Restored(token, us.ledger.keep_bodies(&records).unwrap().len()),
        };
        match session.handle(event, us) {
            Ok(more) => effects.extend(more),
            Err(Stopped::Fault(fault)) => return (Err(fault), cost),
            Err(Stopped::Storage(error)) => panic!("{error}"),
        }
    }
    assert!(session.is_over(), "a session that waits for nothing is over");
    (Ok(session.gain()), cost)
}

fn honest(peer: &Node) -> impl FnMut(&Request) -> Answer {
    |request| answer(peer, request).unwrap().0
}

fn pull(us: &mut Node, peer: &Node) -> (Gain, Cost) {
    let (gain, cost) = pull_from(us, everything(), honest(peer));
    (gain.unwrap(), cost)
}

/// Lets two nodes pull from each other until they are the same.
fn heal(one: &mut Node, other: &mut Node, rounds: usize) {
    for _ in 0..rounds {
        pull(one, other);
        pull(other, one);
        if one.digest() == other.digest() {
            return;
        }
    }
    panic!("not the same after {rounds} rounds");
}

/// Returns so many logs of so many records each.
fn logs(count: u32, records: usize) -> Vec<Vec<Record>> {
    let author = Author::new(1);
    let mut logs = (0..count).map(|log| author.reopened(log));
    std::iter::from_fn(|| logs.next()).map(|mut log| beats(&mut log, records)).collect()
}

fn beats(log: &mut Author, count: usize) -> Vec<Record> {
    (0..count).map(|_| log.write(&Body::Heartbeat)).collect()
}

#[test]
fn the_same_ledger_costs_one_round_trip_and_less_than_a_hundred_bytes() {
    let records = logs(50, 2).concat();
    let (mut us, peer) = (Node::with(&records), Node::with(&records));
    let (gain, cost) = pull(&mut us, &peer);
    assert!(gain.compared && !gain.unfinished);
    assert_eq!((cost.kinds.len(), cost.records), (1, 0));
    assert!(cost.bytes < 100, "{}", cost.bytes);
}

#[test]
fn what_a_node_compares_by_itself_makes_no_sketch() {
    let all = logs(60, 2);
    let (mut us, peer) = (Node::with(&all[..50].concat()), Node::with(&all.concat()));
    let (gain, _) = pull(&mut us, &peer);
    assert!(gain.compared && gain.accepted == 20);
    assert!(us.snapshots.borrow().is_empty(), "nobody has asked for one");
    assert!(!peer.snapshots.borrow().is_empty());
}

/// A node that saw itself last when it was another.
struct Late<'a> {
    now: &'a Node,
    before: Summary,
}

impl Own for Late<'_> {
    fn storage(&self) -> &dyn Storage {
        self.now.storage()
    }

    fn recent_summary(&self) -> Result<Summary, StorageError> {
        Ok(self.before)
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        self.now.snapshot()
    }

    fn snapshot_of(&self, salt: &Salt) -> Option<Arc<Snapshot>> {
        self.now.snapshot_of(salt)
    }
}

#[test]
fn what_is_anothers_doing_is_compared_by_what_the_ledger_was_a_moment_ago() {
    let all = logs(20, 1);
    let (before, now) = (Node::with(&all[..19].concat()), Node::with(&all.concat()));
    let late = Late { now: &now, before: Summary::of(before.storage()).unwrap() };
    let first = |recent| Session::start(Plan { recent, ..everything() }, &late, Box::new(Alone)).unwrap().1;
    for (recent, digest) in [(true, before.digest()), (false, now.digest())] {
        let effects = first(recent);
        let [Effect::Ask(_, Request::Compare { digest: asked, .. })] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        assert_eq!(*asked, digest);
    }
    // A peer whose state is neither is shown the sketch; one whose state was ours a moment ago has what we had.
    let asked = |digest| answer(&late, &Request::Compare { digest, symbols: 4 }).unwrap();
    assert_eq!(asked(before.digest()), (Answer::Same, News::Same));
    assert_eq!(asked(now.digest()), (Answer::Same, News::Same));
    assert!(matches!(asked(StateHash([1; 32])), (Answer::Differs(Some(_)), News::None)));
}

#[test]
fn an_empty_ledger_takes_everything() {
    let records = [logs(300, 1), logs(5, 700)].concat().concat();
    let peer = Node::with(&records);
    let mut us = Node::new();
    let (gain, _) = pull(&mut us, &peer);
    assert!(gain.compared);
    assert_eq!(us.digest(), peer.digest());
    assert_eq!(gain.wasted, 0);
}

#[test]
fn a_few_changed_logs_of_many_are_found_by_the_sketch() {
    let all = logs(400, 3);
    let old: Vec<Record> = all.iter().flat_map(|log| &log[..2]).cloned().collect();
    let changed = [&all[..20], &all[380..]].concat().concat();
    let new_logs = logs(410, 1)[400..].concat();
    let (mut us, mut peer) = (Node::with(&old), Node::with(&old));
    peer.ledger.admit(&[changed, new_logs].concat(), NOW).unwrap();
    us.ledger.admit(&all[200], NOW).unwrap();
    let (gain, cost) = pull(&mut us, &peer);
    assert_eq!((gain.accepted, gain.wasted, gain.compared), (50, 0, true));
    assert!(!cost.kinds.contains(&3), "no heads are walked through: {:?}", cost.kinds);
    pull(&mut peer, &us);
    assert_eq!(us.digest(), peer.digest());
}

#[test]
fn very_different_ledgers_are_walked_through() {
    let all = logs(300, 1);
    let (mut us, mut peer) = (Node::with(&all[..150].concat()), Node::with(&all[100..].concat()));
    let (gain, cost) = pull(&mut us, &peer);
    assert_eq!((gain.accepted, gain.compared), (150, true));
    assert!(cost.kinds.contains(&3), "{:?}", cost.kinds);
    pull(&mut peer, &us);
    assert_eq!(us.digest(), peer.digest());
}

#[test]
fn a_single_log_is_fetched_without_a_comparison() {
    let records = logs(2, 900);
    let peer = Node::with(&records.concat());
    let mut us = Node::with(&records[0][..3]);
    let plan = Plan { logs: BTreeSet::from([records[0][0].header().log]), ..Plan::default() };
    let (gain, _) = pull_from(&mut us, plan, honest(&peer));
    assert_eq!(gain.unwrap().accepted, 897);
    assert_eq!(us.ledger.storage().len().unwrap(), 900);
}

#[test]
fn a_session_that_left_something_for_later_has_compared_nothing() {
    let peer = Node::with(&logs(3, 2).concat());
    for (verdict, compared) in [(Verdict::Ignore, true), (Verdict::Later, false)] {
        let us = Node::new();
        let (mut session, effects) = Session::start(everything(), &us, Box::new(Alone)).unwrap();
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let event = match effect {
                Effect::Ask(token, request) => Event::Answered(token, honest(&peer)(&request)),
                Effect::Keep(token, records) => Event::Kept(token, vec![verdict; records.len()]),
                Effect::Restore(token, _) => Event::Restored(token, 0),
            };
            effects.extend(session.handle(event, &us).unwrap());
        }
        let gain = session.gain();
        assert_eq!((session.is_over(), gain.compared, gain.unfinished), (true, compared, !compared), "{verdict:?}");
    }
}

#[test]
fn logs_of_another_session_are_left_to_it() {
    struct Others(LogId);
    impl Claims for Others {
        fn take(&mut self, log: LogId) -> bool {
            log != self.0
        }
        fn give_back(&mut self, _: &LogId, _: bool) {}
    }
    let records = logs(3, 2);
    let peer = Node::with(&records.concat());
    let us = Node::new();
    let taken = records[1][0].header().log;
    let (mut session, mut effects) = Session::start(everything(), &us, Box::new(Others(taken))).unwrap();
    let mut asked = Vec::new();
    while let Some(Effect::Ask(token, request)) = effects.pop() {
        if let Request::Ranges(wants) = &request {
            asked.extend(wants.iter().map(|want| want.log));
            break;
        }
        effects.extend(session.handle(Event::Answered(token, honest(&peer)(&request)), &us).unwrap());
    }
    assert_eq!(asked, [records[0][0].header().log, records[2][0].header().log]);
    assert!(session.gain().unfinished && session.gain().held_up);
}

#[test]
fn a_log_is_given_back_with_word_of_whether_anything_came() {
    struct Noted(mpsc::Sender<(LogId, bool)>);
    impl Claims for Noted {
        fn take(&mut self, _: LogId) -> bool {
            true
        }
        fn give_back(&mut self, log: &LogId, grew: bool) {
            self.0.send((*log, grew)).unwrap();
        }
    }
    let records = logs(3, 2);
    let expected = |grew| records.iter().map(|log| (log[0].header().log, grew)).collect::<Vec<_>>();
    let peer = Node::with(&records.concat());
    // Without a verdict the session breaks off before its records are judged.
    for (verdict, grew) in [
        (Some(Verdict::Accept), true),
        (Some(Verdict::Keep), true),
        (Some(Verdict::Ignore), false),
        (Some(Verdict::Later), false),
        (None, false),
    ] {
        let us = Node::new();
        let (noted, given_back) = mpsc::channel();
        let (mut session, effects) = Session::start(everything(), &us, Box::new(Noted(noted))).unwrap();
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let event = match (effect, verdict) {
                (Effect::Ask(token, request), _) => Event::Answered(token, honest(&peer)(&request)),
                (Effect::Keep(token, records), Some(verdict)) => Event::Kept(token, vec![verdict; records.len()]),
                (Effect::Keep(..), None) => break,
                (Effect::Restore(token, _), _) => Event::Restored(token, 0),
            };
            effects.extend(session.handle(event, &us).unwrap());
        }
        assert_eq!(session.is_over(), verdict.is_some());
        drop(session);
        assert_eq!(given_back.into_iter().collect::<Vec<_>>(), expected(grew), "{verdict:?}");
    }
}

#[test]
fn a_fork_heals_wherever_it_is() {
    for (common, left, right) in [(0, 1, 1), (0, 5, 1), (1, 1, 1), (7, 40, 3), (100, 200, 90), (64, 1, 300)] {
        let mut author = Author::new(3);
        let start = beats(&mut author, common);
        let mut header = author.next_header(&Body::Heartbeat);
        header.time += 7; // another time makes another record
        let twin = [&start[..], &[author.sign(header, Vec::new())]].concat();
        let one = beats(&mut author, left);
        let (mut a, mut b) = (Node::with(&[&start[..], &one].concat()), Node::with(&twin));
        let more = continued(&twin, right - 1);
        b.ledger.admit(&more, NOW).unwrap();
        heal(&mut a, &mut b, 4);
        let head = a.ledger.storage().head(&author.log()).unwrap().unwrap();
        assert_eq!((head.len, head.frozen.is_some()), (u64::try_from(common).unwrap(), true));
        // More than are frozen of either side change nothing.
        let mut all = Node::with(&start);
        for side in [&one, &[&twin[common..], &more].concat()] {
            all.ledger.admit(side, NOW).unwrap();
        }
        assert_eq!(all.digest(), a.digest());
    }
}

/// Returns records that go on after the last of these.
fn continued(records: &[Record], count: usize) -> Vec<Record> {
    let author = Author::new(3);
    let mut all = records.to_vec();
    for _ in 0..count {
        let last = all.last().unwrap();
        let mut header = author.next_header(&Body::Heartbeat);
        (header.seq, header.backlink, header.time) = (last.header().seq + 1, last.id(), last.header().time + 1);
        header.admission = 0;
        all.push(author.sign(header, Vec::new()));
    }
    all.split_off(records.len())
}

/// Returns a record of a log at any place, on any other: `branch` makes it another one.
fn any_record(author: u8, before: Option<&Record>, branch: u64) -> Record {
    let writer = Author::new(author);
    let mut header = writer.next_header(&Body::Heartbeat);
    if let Some(before) = before {
        (header.seq, header.backlink) = (before.header().seq + 1, before.id());
        header.admission = 0;
    }
    header.time = before.map_or(header.time, |before| before.header().time) + branch;
    writer.sign(header, Vec::new())
}

/// Returns trees of records of three authors, who sign as many histories as they like, and who of two nodes has which.
fn hostile_set() -> impl Strategy<Value = Vec<(Record, bool, bool)>> {
    let step = (1_u8..4, any::<prop::sample::Index>(), 0_u64..3, any::<(bool, bool)>());
    prop::collection::vec(step, 1..160).prop_map(|steps| {
        let mut trees: [Vec<Record>; 4] = Default::default();
        let mut all = Vec::new();
        for (author, parent, branch, (left, right)) in steps {
            let tree = &mut trees[usize::from(author)];
            // Mostly the newest record goes on; sometimes an old one does.
            let before = (!tree.is_empty()).then(|| if branch > 0 { tree.len() - 1 } else { parent.index(tree.len()) });
            let record = any_record(author, before.map(|at| &tree[at]), branch);
            tree.push(record.clone());
            all.push((record, left, right));
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_two_ledgers_become_the_same(set in hostile_set()) {
        let side = |which: fn(&(Record, bool, bool)) -> bool| {
            let mut node = Node::new();
            for (record, _, _) in set.iter().filter(|entry| which(entry)) {
                node.ledger.admit(std::slice::from_ref(record), NOW).unwrap();
            }
            node
        };
        let (mut left, mut right) = (side(|entry| entry.1), side(|entry| entry.2));
        heal(&mut left, &mut right, 8);
        prop_assert_eq!(left.digest(), right.digest());
    }
}
