//! Three ledgers and a few authors, honest and not: the bytes decide who writes what, who signs two histories, and in
//! which order and portions each ledger gets it. In the end all three must hold the same.

use exchange_ledger::body::{Body, Cancel, Closed, Funded, PaymentSent, Revoke, Side};
use exchange_ledger::book::{Book, Query};
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::ledger::Ledger;
use exchange_ledger::record::Record;
use exchange_ledger::state::state_hash;
use exchange_ledger::storage::{MemoryStorage, Storage};
use exchange_ledger::testing::{Author, EPOCH, ledger, sample_accept, sample_advert, sample_offer, sample_take};
use exchange_ledger::wire::{Outpoint, TxId};

use super::tape::Tape;

/// Records of a world: enough to overflow the frozen set of a log.
const MAX_RECORDS: usize = 112;
/// Steps of a world.
const MAX_STEPS: usize = 512;
/// More than all portions that a record may have to wait for its predecessors.
const MAX_ROUNDS: usize = 2 * MAX_RECORDS;
/// After every record of a world.
const NOW: u64 = EPOCH as u64 + 365 * 24 * 3600;
/// Authors: an arbiter, makers and takers.
const AUTHORS: usize = 4;
const NODES: usize = 3;

/// Authors with the states of their pens, and everything that was written.
struct World {
    /// For each author the states to which he can go back, the present one last.
    pens: Vec<Vec<Author>>,
    records: Vec<Record>,
    nodes: [Ledger<MemoryStorage>; NODES],
}

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let mut world = World::new();
    for _ in 0..MAX_STEPS {
        if tape.is_over() {
            break;
        }
        world.step(&mut tape);
    }
    world.exchange_all(tape.byte());
    world.check();
}

impl World {
    fn new() -> Self {
        let mut arbiter = Author::new(1);
        let advert = arbiter.write(&Body::ArbiterAdvert(sample_advert(&arbiter)));
        let others = (2..).take(AUTHORS - 1).map(|number| vec![Author::new(number)]);
        let pens = std::iter::once(vec![arbiter]).chain(others).collect();
        Self { pens, records: vec![advert], nodes: std::array::from_fn(|_| ledger()) }
    }

    fn step(&mut self, tape: &mut Tape<'_>) {
        match tape.below(8) {
            0..=3 if self.records.len() < MAX_RECORDS => self.write(tape),
            0..=3 => {}
            4 => {
                // Back to an earlier page, as a cheat or a restored backup.
                let pen = &mut self.pens[tape.below(AUTHORS)];
                pen.truncate(1 + tape.below(pen.len()));
            }
            5 => {
                let at = tape.below(AUTHORS);
                let epoch = EPOCH + 1 + u32::from(tape.byte() % 3);
                let reopened = self.pens[at][0].reopened(epoch);
                self.pens[at].push(reopened);
            }
            6 => self.deliver(tape.below(NODES), &[tape.byte()]),
            _ => {
                let node = tape.below(NODES);
                let portion: Vec<u8> = (0..tape.below(16)).map(|_| tape.byte()).collect();
                self.deliver(node, &portion);
            }
        }
    }

    fn write(&mut self, tape: &mut Tape<'_>) {
        let at = tape.below(AUTHORS);
        let author = self.pens[at].last().expect("a pen is never empty").clone();
        let body = self.read_body(tape, &author);
        let mut next = author.clone();
        let mut header = author.next_header(&body);
        // A record that goes back in time, or claims another place: it must not tear the ledgers apart.
        match tape.below(16) {
            0 => header.time = header.time.saturating_sub(u64::from(tape.byte())),
            1 => header.seq = header.seq.saturating_add(u64::from(tape.byte() % 4)),
            2 => header.backlink = RecordId([tape.byte(); 32]),
            3 => header.time += u64::from(tape.byte()) << 16,
            _ => {
                self.records.push(next.write(&body));
                self.pens[at].push(next);
                return;
            }
        }
        self.records.push(author.sign(header, body.encode()));
    }

    fn read_body(&self, tape: &mut Tape<'_>, author: &Author) -> Body {
        let record = &self.records[tape.below(self.records.len())];
        let trade = TradeId(record.id().0);
        match tape.below(10) {
            0 => Body::Heartbeat,
            1 | 2 => {
                let side = if tape.coin() { Side::Sell } else { Side::Buy };
                Body::Offer(sample_offer(side, &[self.records[0].id()]))
            }
            3 => Body::Take(sample_take(record.id(), author)),
            4 => {
                if let Ok(Body::Take(take)) = Body::decode(record) {
                    Body::Accept(sample_accept(record, take.offer, author))
                } else {
                    Body::Revoke(Revoke { offer: record.id() })
                }
            }
            5 => Body::Revoke(Revoke { offer: record.id() }),
            6 => Body::Cancel(Cancel { trade, refund: None }),
            7 => Body::PaymentSent(PaymentSent { trade }),
            8 => Body::Funded(Funded { trade, outpoint: Outpoint(bitcoin::OutPoint::null()) }),
            _ => Body::Closed(Closed { trade, spend: TxId(bitcoin::hashes::Hash::all_zeros()) }),
        }
    }

    fn deliver(&mut self, node: usize, which: &[u8]) {
        let portion: Vec<Record> =
            which.iter().map(|at| self.records[usize::from(*at) % self.records.len()].clone()).collect();
        self.nodes[node].admit(&portion, NOW).expect("memory does not fail");
    }

    /// Gives everything to everybody again and again, to each in another order and in other portions, until nothing moves.
    fn exchange_all(&mut self, shuffle: u8) {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            let mut order = self.records.clone();
            order.sort_by_key(|record| record.id().0[number] ^ shuffle);
            let portion = [1, 7, MAX_RECORDS][number];
            for round in 0.. {
                assert!(round < MAX_ROUNDS, "the ledger never comes to rest");
                let before = node.storage().clone();
                for records in order.chunks(portion) {
                    node.admit(records, NOW).expect("memory does not fail");
                }
                if *node.storage() == before {
                    break;
                }
                order.rotate_left(1);
            }
        }
    }

    fn check(&self) {
        let [first, others @ ..] = &self.nodes;
        let hash = |node: &Ledger<MemoryStorage>| state_hash(node.storage()).expect("memory does not fail");
        let shown = |node: &Ledger<MemoryStorage>| self.show(node);
        for other in others {
            assert_eq!(hash(first), hash(other), "three ledgers of the same records have three states");
            assert_eq!(shown(first), shown(other), "the same state means two things");
        }
        for log in self.pens.iter().flatten().map(Author::log) {
            let frozen = first.storage().frozen(&log).expect("memory does not fail");
            assert_eq!(frozen.is_empty(), first.storage().equivocation(&log).expect("memory").is_none());
            assert!(frozen.is_empty() || first.storage().is_forked(&log.author).expect("memory does not fail"));
        }
    }

    /// Returns all that a ledger makes of its records: every offer's standing, every trade, the book.
    fn show(&self, node: &Ledger<MemoryStorage>) -> Vec<String> {
        let mut lines = Vec::new();
        for record in &self.records {
            let trade = node.trade(record.id().into()).map(|trade| (trade.contract, trade.facts));
            let standing = node.offer_standing(record).expect("memory does not fail");
            let kept = node.record(&record.id()).expect("memory does not fail").is_some();
            lines.push(format!("{:?} {kept} {standing:?} {trade:?}", record.id()));
        }
        let book = Book::load(node, EPOCH.into()).expect("memory does not fail");
        lines.extend(book.query(&Query::default(), EPOCH.into(), usize::MAX).iter().map(|entry| format!("{entry:?}")));
        lines
    }
}
