//! What a peer sends to reconcile: a request that is answered from a small ledger, and answers that a session must bear.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use exchange_ledger::body::{Body, Side};
use exchange_ledger::ledger::Ledger;
use exchange_ledger::record::Record;
use exchange_ledger::storage::{MemoryStorage, Storage, StorageError};
use exchange_ledger::sync::{
    Alone, Answer, Effect, Event, Own, Plan, Request, Salt, Session, Snapshot, Verdict, answer,
};
use exchange_ledger::testing::{EPOCH, SampleTrade, admit_all, ledger};

use super::tape::Tape;

/// The longest message on the wire.
const MAX_MESSAGE_LEN: usize = 1024 * 1024;
/// Exchanges after which a session that is not over has run away: it knows a handful of logs.
const MAX_EXCHANGES: usize = 512;
const NOW: u64 = EPOCH as u64 + 365 * 24 * 3600;
const SALT: Salt = Salt([7; 16]);

/// A node with the sample trade in its ledger, or nothing.
struct Node {
    ledger: Ledger<MemoryStorage>,
    snapshot: Arc<Snapshot>,
}

impl Node {
    fn new(ledger: Ledger<MemoryStorage>) -> Self {
        let snapshot = Snapshot::take(ledger.storage(), SALT).expect("memory does not fail");
        Self { ledger, snapshot: Arc::new(snapshot) }
    }
}

impl Own for Node {
    fn storage(&self) -> &dyn Storage {
        self.ledger.storage()
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        Ok(Arc::clone(&self.snapshot))
    }

    fn snapshot_of(&self, salt: &Salt) -> Option<Arc<Snapshot>> {
        (*salt == SALT).then(|| Arc::clone(&self.snapshot))
    }
}

fn records() -> &'static (Vec<Record>, Arc<Snapshot>) {
    static RECORDS: OnceLock<(Vec<Record>, Arc<Snapshot>)> = OnceLock::new();
    RECORDS.get_or_init(|| {
        let mut trade = SampleTrade::new(Side::Sell);
        let mut records = trade.records();
        let mut cheat = trade.taker.clone();
        records
            .extend([trade.taker.write(&Body::Heartbeat), cheat.sign(cheat.next_header(&Body::Heartbeat), Vec::new())]);
        cheat.write(&Body::Heartbeat);
        let mut full = ledger();
        admit_all(&mut full, &records);
        let snapshot = Node::new(full).snapshot;
        (records, snapshot)
    })
}

fn full_node() -> Node {
    let (records, snapshot) = records();
    let mut full = ledger();
    admit_all(&mut full, records);
    Node { ledger: full, snapshot: Arc::clone(snapshot) }
}

/// Runs the target: a request, an answer, or a session with a peer who sends whatever the tape holds.
pub fn run(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    match tape.below(3) {
        0 => take_request(tape.rest()),
        1 => {
            read_answer(tape.rest());
        }
        _ => bear_answers(&mut tape),
    }
}

fn take_request(bytes: &[u8]) {
    let Ok(request) = borsh::from_slice::<Request>(bytes) else { return };
    assert_eq!(borsh::to_vec(&request).expect("memory"), bytes, "a request has one encoding");
    if request.check().is_err() {
        return;
    }
    let (answer, _) = answer(&full_node(), &request).expect("memory does not fail");
    assert_eq!(answer.check(), Ok(()), "an own answer is refused by peers");
    assert!(borsh::to_vec(&answer).expect("memory").len() <= MAX_MESSAGE_LEN);
}

fn read_answer(bytes: &[u8]) -> Option<Answer> {
    let answer = borsh::from_slice::<Answer>(bytes).ok()?;
    assert_eq!(borsh::to_vec(&answer).expect("memory"), bytes, "an answer has one encoding");
    answer.check().ok()?;
    Some(answer)
}

/// A session of an empty node with a peer who answers honestly, or by the tape: it ends, and never panics.
fn bear_answers(tape: &mut Tape<'_>) {
    let peer = full_node();
    let mut own = Node::new(ledger());
    let plan = Plan { compare: true, ..Plan::default() };
    let (mut session, effects) = Session::start(plan, &own, Box::new(Alone)).expect("memory does not fail");
    let mut effects = VecDeque::from(effects);
    let mut exchanges = 0;
    while let Some(effect) = effects.pop_front() {
        exchanges += 1;
        assert!(exchanges < MAX_EXCHANGES, "a session without end");
        let event = match effect {
            Effect::Ask(token, request) => {
                assert_eq!(request.check(), Ok(()), "an own request is refused by peers");
                let answer = match tape.below(4) {
                    0 => {
                        let len = usize::from(tape.byte());
                        let bytes: Vec<u8> = (0..len).map(|_| tape.byte()).collect();
                        match read_answer(&bytes) {
                            Some(answer) => answer,
                            None => return, // the peer is dropped
                        }
                    }
                    _ => answer_truly(&peer, &request),
                };
                Event::Answered(token, answer)
            }
            Effect::Keep(token, records) => match keep(&mut own, &records) {
                Some(verdicts) => Event::Kept(token, verdicts),
                None => return, // bytes that are no record: the node drops the peer before the ledger sees them
            },
            Effect::Restore(..) => unreachable!("no bodies were asked for"),
        };
        match session.handle(event, &own) {
            Ok(more) => effects.extend(more),
            Err(_) => return,
        }
    }
    assert!(session.is_over(), "nothing is under way, and the session is not over");
}

fn answer_truly(peer: &Node, request: &Request) -> Answer {
    answer(peer, request).expect("memory does not fail").0
}

fn keep(own: &mut Node, records: &[Vec<u8>]) -> Option<Vec<Verdict>> {
    let records: Vec<Record> = records.iter().map(|bytes| Record::decode(bytes).ok()).collect::<Option<_>>()?;
    let admissions = own.ledger.admit(&records, NOW).expect("memory does not fail");
    own.snapshot = Arc::new(Snapshot::take(own.ledger.storage(), SALT).expect("memory does not fail"));
    let verdict = |(admission, record)| Verdict::of(admission, record, false);
    Some(admissions.iter().zip(&records).map(verdict).collect())
}
