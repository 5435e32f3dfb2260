//! Bodies that one peer has dropped and another has kept.

use super::*;
use crate::record::{Header, Kind};
use crate::retention::Mine;

/// Returns records of unknown kinds, which may all lose their bodies.
fn many(count: usize) -> Vec<Record> {
    let mut author = Author::new(1);
    let record = |at: usize| {
        let header = Header { kind: Kind::Unknown(999), ..author.next_header(&Body::Unknown(999)) };
        let body: Vec<u8> = at.to_le_bytes().iter().cycle().take(3000).copied().collect();
        author.append(header, body)
    };
    (0..count).map(record).collect()
}

fn bare(node: &Node) -> usize {
    node.ledger.storage().bare(0, None, usize::MAX).unwrap().len()
}

/// Returns an archive, and a node that has dropped everything.
fn two(records: &[Record]) -> (Node, Node) {
    let (archive, mut forgetful) = (Node::with(records), Node::with(records));
    let look = forgetful.ledger.look_for_droppable(NOW, None, usize::MAX, &Mine::default()).unwrap();
    assert_eq!(look.gone.len(), records.len());
    forgetful.ledger.drop_bodies(&look.gone).unwrap();
    (archive, forgetful)
}

fn wanting(since: u64) -> Plan {
    Plan { bodies: Some(WantedBodies { since, after: None }), ..everything() }
}

#[test]
fn a_newcomer_takes_bare_records_from_one_and_their_bodies_from_another() {
    let records = many(700);
    let (archive, forgetful) = two(&records);
    let mut us = Node::new();
    let (gain, _) = pull_from(&mut us, wanting(0), honest(&forgetful));
    let gain = gain.unwrap();
    assert_eq!((gain.accepted, gain.restored, gain.compared), (700, 0, true));
    assert_eq!((bare(&us), us.digest()), (700, archive.digest()));

    let (gain, cost) = pull_from(&mut us, wanting(0), honest(&archive));
    let gain = gain.unwrap();
    assert_eq!((gain.restored, gain.bodies_after, gain.accepted, bare(&us)), (700, None, 0, 0));
    assert_eq!(
        (us.digest(), us.ledger.records_of(&records[0].header().log, 0, 999).unwrap()),
        (archive.digest(), records)
    );
    assert_eq!(cost.kinds.iter().filter(|kind| **kind == 8).count(), 9, "87 of 3000 bytes fit into an answer");
    let (_, cost) = pull_from(&mut us, wanting(0), honest(&archive));
    assert_eq!(cost.kinds, [0], "nothing is missing");
}

#[test]
fn only_what_both_keep_is_asked_for() {
    let records = many(20);
    let (archive, mut us) = two(&records);
    let (gain, _) = pull_from(&mut us, wanting(records[15].header().time), honest(&archive));
    assert_eq!((gain.unwrap().restored, bare(&us)), (5, 15));
    let (_, cost) = pull_from(&mut us, wanting(NOW), honest(&archive));
    assert_eq!(cost.kinds, [0]);
}

#[test]
fn a_peer_that_has_no_bodies_is_left_and_the_next_session_goes_on_behind() {
    let records = many(3000);
    let (archive, mut us) = two(&records);
    let (gain, cost) = pull_from(&mut us, wanting(0), |request| match request {
        Request::Bodies(ids) => Answer::Bodies(vec![None; ids.len()]),
        other => honest(&archive)(other),
    });
    assert_eq!(cost.kinds.iter().filter(|kind| **kind == 8).count(), 4);
    let gain = gain.unwrap();
    let after = gain.bodies_after.expect("it has not come to the end");
    assert_eq!((gain.restored, after.place.seq), (0, 4 * 256 - 1));
    let plan = Plan { bodies: Some(WantedBodies { since: 0, after: Some(after) }), ..everything() };
    let (gain, _) = pull_from(&mut us, plan, honest(&archive));
    assert_eq!((gain.unwrap().restored, bare(&us)), (3000 - 4 * 256, 4 * 256));
}

#[test]
fn a_body_that_is_another_and_an_answer_that_fits_nothing_are_offences() {
    let records = many(3);
    let (archive, us) = two(&records);
    type Tamper = fn(&mut Vec<Option<Vec<u8>>>);
    let tampers: [(Tamper, Fault); 5] = [
        (|bodies| bodies.swap(0, 1), Fault::WrongBody),
        (|bodies| bodies[2] = Some(Vec::new()), Fault::WrongBody),
        (|bodies| bodies[0].as_mut().unwrap()[9] ^= 1, Fault::WrongBody),
        (|bodies| bodies.push(None), Fault::WrongAnswer),
        (Vec::clear, Fault::WrongAnswer),
    ];
    for (tamper, fault) in tampers {
        let mut us = us.clone();
        let (gain, _) = pull_from(&mut us, wanting(0), |request| {
            let mut answer = honest(&archive)(request);
            if let Answer::Bodies(bodies) = &mut answer {
                tamper(bodies);
            }
            answer
        });
        assert_eq!((gain, bare(&us)), (Err(fault), 3));
    }
}

#[test]
fn a_peer_that_sends_bare_what_is_young_is_at_fault() {
    let mut author = Author::new(1);
    let body = Body::Unknown(999);
    let header = Header { kind: Kind::Unknown(999), time: NOW - 57 * 24 * 3600, ..author.next_header(&body) };
    let young = author.append(header, vec![1; 100]);
    let peer = Node::with(std::slice::from_ref(&young));
    let (gain, _) = pull_from(&mut Node::new(), everything(), |request| {
        let mut answer = honest(&peer)(request);
        let cut = |record: &mut Vec<u8>| record.truncate(crate::record::BARE_LEN);
        match &mut answer {
            Answer::Records(logs) => logs.iter_mut().flatten().for_each(cut),
            Answer::Items(found) => found.iter_mut().for_each(|found| {
                if let Found::Records { records, .. } = found {
                    records.iter_mut().for_each(cut);
                }
            }),
            _ => {}
        }
        answer
    });
    assert_eq!(gain, Err(Fault::InvalidRecord));
}
