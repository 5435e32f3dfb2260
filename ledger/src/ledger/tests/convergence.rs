//! Whatever arrives in whatever order, nodes that were offered the same records hold the same and conclude the same. The
//! sets here are hostile: histories that part at several depths, records that follow nothing, go back in time or have no
//! ticket, late and double acceptances. What a log must become is computed a second time, as `specs/records.md` says it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::ids::StateHash;
use crate::record::{FLAG_CRITICAL, Head};
use crate::state::{StateHasher, frozen_hash, state_hash};
use crate::storage::MemoryStorage;
use crate::testing::sample_advert;

/// What happens next in the world; numbers pick what it happens to.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody goes on with one of his histories.
    Write { branch: Index, what: What, late: u8 },
    /// Somebody starts another history, so many records back.
    Part { branch: Index, back: u8 },
    /// Somebody signs a record for a place near the end of a history that follows nothing.
    Stray { branch: Index, ahead: u8, salt: u8 },
    /// Somebody signs a record that goes back in time.
    Reversed { branch: Index, salt: u8 },
    /// Somebody signs for one place more records than are kept.
    Flood { branch: Index, follows: bool },
    /// Somebody opens a log without a ticket.
    NoTicket { branch: Index },
}

#[derive(Debug, Clone)]
enum What {
    Heartbeat,
    Offer,
    Take(Index),
    Accept(Index),
    Revoke(Index),
    Fact(Index, u8),
    Critical,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<Index>;
    let what = prop_oneof![
        1 => Just(What::Heartbeat),
        2 => Just(What::Offer),
        3 => index().prop_map(What::Take),
        4 => index().prop_map(What::Accept),
        1 => index().prop_map(What::Revoke),
        3 => (index(), 0..6_u8).prop_map(|(trade, fact)| What::Fact(trade, fact)),
        1 => Just(What::Critical),
    ];
    let step = prop_oneof![
        12 => (index(), what, 0..3_u8).prop_map(|(branch, what, late)| Step::Write { branch, what, late }),
        3 => (index(), 0..4_u8).prop_map(|(branch, back)| Step::Part { branch, back }),
        2 => (index(), 0..3_u8, any::<u8>()).prop_map(|(branch, ahead, salt)| Step::Stray { branch, ahead, salt }),
        1 => (index(), any::<u8>()).prop_map(|(branch, salt)| Step::Reversed { branch, salt }),
        1 => (index(), any::<bool>()).prop_map(|(branch, follows)| Step::Flood { branch, follows }),
        1 => index().prop_map(|branch| Step::NoTicket { branch }),
    ];
    prop::collection::vec(step, 1..40)
}

/// Everything that anybody signed.
struct World {
    records: Vec<Record>,
    /// Each history with all its earlier ends.
    branches: Vec<Vec<Author>>,
    advert: RecordId,
    offers: Vec<Record>,
    takes: Vec<Record>,
    trade: SampleTrade,
}

impl World {
    fn new(steps: &[Step]) -> Self {
        let trade = SampleTrade::new(Side::Sell);
        let mut arbiter = Author::new(1);
        let advert = arbiter.write(&Body::ArbiterAdvert(sample_advert(&arbiter)));
        let [maker, taker, rival] = [2, 3, 4].map(Author::new);
        let elsewhere = [maker.reopened(EPOCH + 9), taker.reopened(1)];
        let branches = [arbiter, maker, taker, rival].into_iter().chain(elsewhere).map(|author| vec![author]).collect();
        let (offers, takes) = (Vec::new(), Vec::new());
        let mut world = Self { records: vec![advert.clone()], branches, advert: advert.id(), offers, takes, trade };
        steps.iter().for_each(|step| world.step(step));
        world
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { branch, what, late } => {
                let at = branch.index(self.branches.len());
                let mut author = self.end(at).clone();
                let (body, flags) = self.body(what, &author);
                let mut header = author.next_header(&body);
                header.time += u64::from(*late);
                header.flags = flags;
                let encoded = if let Body::Unknown(_) = body { b"later".to_vec() } else { body.encode() };
                let record = author.append(header, encoded);
                match body {
                    Body::Offer(_) => self.offers.push(record.clone()),
                    Body::Take(_) => self.takes.push(record.clone()),
                    _ => {}
                }
                self.records.push(record);
                self.branches[at].push(author);
            }
            Step::Part { branch, back } => {
                let ends = branch.get(&self.branches);
                let kept = ends.len().saturating_sub(usize::from(*back)).max(1);
                let parted = ends[..kept].to_vec();
                self.branches.push(parted);
            }
            Step::Stray { branch, ahead, salt } => {
                let author = self.end(branch.index(self.branches.len())).clone();
                let next = author.next_header(&Body::Heartbeat);
                let seq = next.seq + u64::from(*ahead);
                let header = Header { seq, backlink: RecordId([*salt | 1; 32]), admission: 0, ..next };
                if seq > 0 {
                    self.records.push(author.sign(header, Vec::new()));
                }
            }
            Step::Reversed { branch, salt } => {
                let author = self.end(branch.index(self.branches.len())).clone();
                let next = author.next_header(&Body::Heartbeat);
                self.records.push(author.sign(Header { time: u64::from(*salt), ..next }, Vec::new()));
            }
            Step::Flood { branch, follows } => {
                let author = self.end(branch.index(self.branches.len())).clone();
                let next = author.next_header(&Body::Heartbeat);
                for number in 0..MAX_FROZEN as u64 + 6 {
                    let backlink = if *follows || next.seq == 0 { next.backlink } else { RecordId([7; 32]) };
                    let header = Header { time: next.time + number, backlink, ..next };
                    self.records.push(author.sign(header, Vec::new()));
                }
            }
            Step::NoTicket { branch } => {
                let author = self.end(branch.index(self.branches.len())).reopened(77);
                let header = author.next_header(&Body::Heartbeat);
                let bad = (0..).find(|nonce| !crate::record::admission::is_valid(&header.network, &header.log, *nonce));
                self.records.push(author.sign(Header { admission: bad.unwrap(), ..header }, Vec::new()));
            }
        }
    }

    fn end(&self, branch: usize) -> &Author {
        self.branches[branch].last().unwrap()
    }

    /// Returns what somebody says; a heartbeat while there is nothing to speak of.
    fn body(&mut self, what: &What, author: &Author) -> (Body, u8) {
        let pick = |index: &Index, of: &[Record]| (!of.is_empty()).then(|| index.get(of).clone());
        let body = match what {
            What::Heartbeat => None,
            What::Offer => Some(Body::Offer(sample_offer(Side::Sell, &[self.advert]))),
            What::Take(of) => pick(of, &self.offers).map(|offer| Body::Take(sample_take(offer.id(), author))),
            What::Accept(of) => pick(of, &self.takes).map(|take| {
                let Ok(Body::Take(body)) = Body::decode(&take) else { panic!("a take") };
                Body::Accept(sample_accept(&take, body.offer, author))
            }),
            What::Revoke(of) => pick(of, &self.offers).map(|offer| Body::Revoke(Revoke { offer: offer.id() })),
            What::Fact(of, fact) => pick(of, &self.takes).map(|take| {
                let trade = take.id().into();
                match facts_of_every_kind(&mut self.trade).swap_remove(usize::from(*fact)) {
                    Body::Cancel(body) => Body::Cancel(Cancel { trade, ..body }),
                    Body::Funded(body) => Body::Funded(Funded { trade, ..body }),
                    Body::PaymentSent(_) => Body::PaymentSent(PaymentSent { trade }),
                    Body::Release(body) => Body::Release(Release { trade, ..body }),
                    Body::Closed(body) => Body::Closed(Closed { trade, ..body }),
                    _ => unreachable!("the facts are those above"),
                }
            }),
            What::Critical => return (Body::Unknown(999), FLAG_CRITICAL),
        };
        (body.unwrap_or(Body::Heartbeat), 0)
    }

    /// Returns the records that are valid by themselves, as a node finds them.
    fn valid(&self) -> Vec<Record> {
        let verdicts = verify_batch(&self.records, [3; 32]);
        self.records.iter().zip(verdicts).filter(|(_, ok)| ok.is_ok()).map(|(record, _)| record.clone()).collect()
    }
}

/// What a log must be.
#[derive(Debug, PartialEq, Eq)]
struct Model {
    chain: Vec<RecordId>,
    frozen: Vec<RecordId>,
}

/// Computes what logs must be, place by place, from all records at once.
fn model(records: &[Record]) -> BTreeMap<LogId, Model> {
    let mut logs: BTreeMap<LogId, BTreeMap<(u64, RecordId), &Record>> = BTreeMap::new();
    for record in records {
        let header = record.header();
        logs.entry(header.log).or_default().insert((header.seq, record.id()), record);
    }
    let of_log = |records: BTreeMap<(u64, RecordId), &Record>| {
        let (mut chain, mut last) = (Vec::<RecordId>::new(), (RecordId([0; 32]), 0));
        for seq in 0.. {
            let here: Vec<&Record> = records.iter().filter(|((at, _), _)| *at == seq).map(|(_, r)| *r).collect();
            let right = here.iter().find(|r| r.header().backlink == last.0 && r.header().time >= last.1);
            let Some(right) = right else { break };
            if here.len() == 1 {
                chain.push(right.id());
                last = (right.id(), right.header().time);
                continue;
            }
            let others = records.keys().filter(|(at, id)| *at >= seq && *id != right.id());
            let mut frozen: BTreeSet<(u64, RecordId)> = others.take(MAX_FROZEN - 1).copied().collect();
            frozen.insert((seq, right.id()));
            return Model { chain, frozen: frozen.into_iter().map(|(_, id)| id).collect() };
        }
        Model { chain, frozen: Vec::new() }
    };
    let logs = logs.into_iter().map(|(log, records)| (log, of_log(records)));
    logs.filter(|(_, model)| !model.chain.is_empty() || !model.frozen.is_empty()).collect()
}

/// Reads the same from a ledger.
fn kept(ledger: &Ledger<MemoryStorage>) -> BTreeMap<LogId, Model> {
    let storage = ledger.storage();
    let of = |records: Vec<Record>| records.iter().map(Record::id).collect::<Vec<_>>();
    let heads = storage.heads(None, usize::MAX).unwrap();
    let log = |head: &Head| {
        let (chain, frozen) = (storage.range(&head.log, 0, usize::MAX).unwrap(), storage.frozen(&head.log).unwrap());
        assert_eq!(head.len, chain.len() as u64);
        assert_eq!(head.frozen.is_some(), !frozen.is_empty());
        (head.log, Model { chain: of(chain), frozen: of(frozen) })
    };
    heads.iter().map(log).collect()
}

fn hash(logs: &BTreeMap<LogId, Model>) -> StateHash {
    let mut hasher = StateHasher::new();
    for (log, Model { chain, frozen }) in logs {
        let id = chain.last().copied().unwrap_or(RecordId([0; 32]));
        let frozen = (!frozen.is_empty()).then(|| frozen_hash(frozen));
        hasher.add(&Head { log: *log, len: chain.len() as u64, id, time: 0, frozen });
    }
    hasher.finish()
}

/// Returns all records that a ledger holds, as a peer is served with them.
fn everything(ledger: &Ledger<MemoryStorage>) -> Vec<Record> {
    let heads = ledger.storage().heads(None, usize::MAX).unwrap();
    heads.iter().flat_map(|head| ledger.records_of(&head.log, 0, usize::MAX).unwrap()).collect()
}

/// Offers records in batches, again and again, until nothing changes. Each call must do what the specification says of
/// what was there and what came.
fn offer(ledger: &mut Ledger<MemoryStorage>, records: &[Record], batch: usize) {
    loop {
        let start = state_hash(ledger.storage()).unwrap();
        for batch in records.chunks(batch) {
            let before = everything(ledger);
            let admissions = ledger.admit(batch, NOW).unwrap();
            assert_eq!(kept(ledger), model(&[before.as_slice(), batch].concat()));
            check_admissions(ledger, &before, batch, &admissions);
        }
        if state_hash(ledger.storage()).unwrap() == start {
            return;
        }
    }
}

fn check_admissions(ledger: &Ledger<MemoryStorage>, before: &[Record], batch: &[Record], admissions: &[Admission]) {
    let mut were: BTreeSet<RecordId> = before.iter().map(Record::id).collect();
    let mut proofs: BTreeMap<LogId, usize> = BTreeMap::new();
    for (record, admission) in batch.iter().zip(admissions) {
        let is_in = ledger.record(&record.id()).unwrap().is_some();
        let entered = is_in && were.insert(record.id());
        assert_eq!(admission.is_in(), entered, "{admission:?} of {record:?}");
        if *admission == Admission::Equivocation {
            *proofs.entry(record.header().log).or_default() += 1;
        }
    }
    assert!(proofs.values().all(|count| *count <= 2), "a proof is two records; nobody passes on more");
}

/// Returns everything that is concluded from records.
fn conclusions(ledger: &Ledger<MemoryStorage>, world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    for offer in &world.offers {
        lines.push(format!("{:?} {:?}", ledger.offer_standing(offer), ledger.bids(&offer.id(), 100, 100)));
    }
    for take in &world.takes {
        lines.push(format!("{:?}", ledger.trade(take.id().into())));
    }
    for branch in &world.branches {
        lines.push(format!("{:?}", ledger.is_author_frozen(&branch[0].id())));
    }
    for record in &world.records {
        lines.push(format!("{:?}", ledger.record(&record.id()).map(|kept| kept.map(|kept| ledger.has_rights(&kept)))));
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_is_a_function_of_the_set_of_records(
        steps in steps(),
        order in prop::collection::vec(any::<Index>(), 0..60),
        batches in (1..40_usize, 1..40_usize),
    ) {
        let world = World::new(&steps);
        let records = world.valid();
        let mut forwards = ledger();
        offer(&mut forwards, &records, batches.0);
        prop_assert_eq!(kept(&forwards), model(&records));
        prop_assert_eq!(state_hash(forwards.storage()).unwrap(), hash(&model(&records)));

        let mut shuffled: Vec<Record> = order.iter().map(|at| at.get(&records).clone()).collect();
        shuffled.extend(records.iter().rev().cloned());
        let mut backwards = ledger();
        offer(&mut backwards, &shuffled, batches.1);
        prop_assert_eq!(state_hash(backwards.storage()).unwrap(), state_hash(forwards.storage()).unwrap());
        prop_assert_eq!(conclusions(&backwards, &world), conclusions(&forwards, &world));
        let books = [&forwards, &backwards].map(|ledger| book_of(ledger, &world));
        prop_assert_eq!(&books[0], &books[1]);
    }

    #[test]
    fn two_nodes_that_exchange_everything_agree(
        steps in steps(),
        shares in prop::collection::vec(0..3_u8, 250),
        batch in 1..40_usize,
    ) {
        let world = World::new(&steps);
        let records = world.valid();
        let share = |mine: u8| -> Vec<Record> {
            let shared = |(at, _): &(usize, &Record)| [mine, 2].contains(&shares[at % shares.len()]);
            records.iter().enumerate().filter(shared).map(|(_, record)| record.clone()).collect()
        };
        let (mut one, mut two) = (ledger(), ledger());
        offer(&mut one, &share(0), batch);
        offer(&mut two, &share(1), batch);
        let (from_one, from_two) = (everything(&one), everything(&two));
        offer(&mut one, &from_two, batch);
        offer(&mut two, &from_one, batch);
        prop_assert_eq!(kept(&one), model(&[from_one, from_two].concat()));
        prop_assert_eq!(state_hash(one.storage()).unwrap(), state_hash(two.storage()).unwrap());
        prop_assert_eq!(conclusions(&one, &world), conclusions(&two, &world));
    }
}

/// Returns which offers stand, as the list of open ones leads to them.
fn book_of(ledger: &Ledger<MemoryStorage>, world: &World) -> Vec<RecordId> {
    let listed = ledger.storage().open_offers(None, usize::MAX).unwrap();
    let stands = |id: &RecordId| {
        let (offer, _) = ledger.offer(id).unwrap().unwrap();
        ledger.offer_standing(&offer).unwrap() == OfferStanding::Open
    };
    for offer in &world.offers {
        let is_kept = ledger.record(&offer.id()).unwrap().is_some();
        assert!(!is_kept || !stands(&offer.id()) || listed.contains(&offer.id()), "an open offer is missing");
    }
    listed.into_iter().filter(|id| stands(id)).collect()
}
