//! What any store must answer: after the same commits, the store on disk answers as the one in memory does.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{CRITICAL_KIND, Log, accept, offer, open};
use exchange_ledger::body::{Body, PaymentSent, Revoke};
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::record::{Kind, LogId, Record};
use exchange_ledger::storage::{Batch, Fork, MemoryStorage, Storage};
use proptest::prelude::*;

/// How many authors and epochs write.
const AUTHORS: u8 = 3;
const EPOCHS: u32 = 2;
/// How many subjects they write about.
const SUBJECTS: u8 = 4;

#[derive(Debug, Clone)]
enum What {
    Heartbeat,
    Offer,
    Accept(u8),
    Revoke(u8),
    PaymentSent(u8),
    /// Of a known kind, but not its encoding.
    Malformed,
    /// Of a kind that nobody knows.
    Unknown(Vec<u8>),
    /// Of a kind that everybody should know.
    Critical,
    /// The author signs another record for a place so many before the end; the log ends there.
    Fork(u8),
}

#[derive(Debug, Clone)]
struct Write {
    author: u8,
    epoch: u32,
    what: What,
}

fn subject(number: u8) -> RecordId {
    // With first and last ids, which end a range of keys.
    RecordId([[0, 1, 0xfe, 0xff][usize::from(number % SUBJECTS)]; 32])
}

fn writes() -> impl Strategy<Value = Vec<Vec<Write>>> {
    let what = prop_oneof![
        Just(What::Heartbeat),
        Just(What::Offer),
        (0..2 * SUBJECTS).prop_map(What::Accept),
        (0..2 * SUBJECTS).prop_map(What::Revoke),
        (0..SUBJECTS).prop_map(What::PaymentSent),
        Just(What::Malformed),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(What::Unknown),
        Just(What::Critical),
        (0..4_u8).prop_map(What::Fork),
    ];
    let write = (0..AUTHORS, 0..EPOCHS, what).prop_map(|(author, epoch, what)| Write { author, epoch, what });
    prop::collection::vec(prop::collection::vec(write, 0..8), 1..8)
}

/// The authors at work, and the offers that they made.
#[derive(Default)]
struct Authors {
    logs: BTreeMap<(u8, u32), Log>,
    offers: Vec<RecordId>,
}

impl Authors {
    /// Returns what a ledger would commit: forks only of what is kept, and nothing after them.
    fn batches(&mut self, writes: &[Write], memory: &MemoryStorage) -> Vec<Batch> {
        let (mut grown, mut forked) = (Batch::default(), Batch::default());
        for Write { author, epoch, what } in writes {
            // Every other subject is one of the offers, if there are any.
            let offers = self.offers.clone();
            let subject = |number: u8| match usize::from(number / 2).checked_rem(offers.len()) {
                Some(at) if number % 2 == 1 => offers[offers.len() - 1 - at],
                Some(_) | None => subject(number),
            };
            let log = self.logs.entry((*author, *epoch)).or_insert_with(|| Log::new(*author + 1, *epoch));
            let head = memory.head(&log.id()).unwrap();
            let (kind, body) = match what {
                What::Heartbeat => (Kind::Heartbeat, Vec::new()),
                What::Offer => encoded(Body::Offer(offer())),
                What::Accept(about) => {
                    let trade = TradeId(subject(about.wrapping_add(1)).0);
                    encoded(Body::Accept(accept(trade, subject(*about))))
                }
                What::Revoke(about) => encoded(Body::Revoke(Revoke { offer: subject(*about) })),
                What::PaymentSent(about) => {
                    encoded(Body::PaymentSent(PaymentSent { trade: TradeId(subject(*about).0) }))
                }
                What::Malformed => (Kind::Revoke, vec![1, 2, 3]),
                What::Unknown(body) => (Kind::Unknown(999), body.clone()),
                What::Critical => (Kind::Unknown(CRITICAL_KIND), Vec::new()),
                What::Fork(back) => {
                    let Some(head) = head else { continue };
                    let from = head.len.saturating_sub(u64::from(*back));
                    let mut frozen = memory.range(&log.id(), from, 3).unwrap();
                    frozen.extend(memory.frozen(&log.id()).unwrap());
                    frozen.push(log.sign(Kind::Unknown(1000), vec![7]));
                    frozen.sort_by_key(Record::place);
                    frozen.dedup_by_key(|record| record.id());
                    forked.forks.insert(log.id(), Fork { from, frozen });
                    continue;
                }
            };
            if head.is_none_or(|head| head.frozen.is_none()) {
                let record = log.append(kind, body);
                self.offers.extend((kind == Kind::Offer).then_some(record.id()));
                grown.records.push(record);
            }
        }
        vec![forked, grown]
    }
}

fn encoded(body: Body) -> (Kind, Vec<u8>) {
    (body.kind(), body.encode())
}

/// Asks both everything that can be asked of them.
fn check(disk: &impl Storage, memory: &MemoryStorage) {
    assert_eq!(disk.len().unwrap(), memory.len().unwrap());
    assert_eq!(disk.is_empty().unwrap(), memory.is_empty().unwrap());
    let heads = memory.heads(None, usize::MAX).unwrap();
    assert_eq!(disk.heads(None, usize::MAX).unwrap(), heads);
    for limit in [0, 1, 3] {
        assert_eq!(disk.heads(None, limit).unwrap(), memory.heads(None, limit).unwrap());
        assert_eq!(disk.forked(None, limit).unwrap(), memory.forked(None, limit).unwrap());
    }
    let forked: Vec<_> = heads.iter().filter(|head| head.frozen.is_some()).copied().collect();
    assert_eq!(disk.forked(None, usize::MAX).unwrap(), forked);
    let mut logs: Vec<_> = heads.iter().map(|head| (head.log, head.len)).collect();
    logs.push((LogId { author: AuthorId([0xff; 32]), epoch: u32::MAX }, 1));
    for (log, len) in logs {
        assert_eq!(disk.head(&log).unwrap(), memory.head(&log).unwrap());
        assert_eq!(disk.heads(Some(&log), 2).unwrap(), memory.heads(Some(&log), 2).unwrap());
        assert_eq!(disk.forked(Some(&log), 2).unwrap(), memory.forked(Some(&log), 2).unwrap());
        assert_eq!(disk.frozen(&log).unwrap(), memory.frozen(&log).unwrap());
        assert_eq!(disk.equivocation(&log).unwrap(), memory.equivocation(&log).unwrap());
        assert_eq!(disk.is_forked(&log.author).unwrap(), memory.is_forked(&log.author).unwrap());
        assert_eq!(disk.first_critical(&log).unwrap(), memory.first_critical(&log).unwrap());
        for limit in [0, 1, usize::MAX] {
            assert_eq!(disk.logs_of(&log.author, limit).unwrap(), memory.logs_of(&log.author, limit).unwrap());
            assert_eq!(disk.range(&log, len / 2, limit).unwrap(), memory.range(&log, len / 2, limit).unwrap());
        }
        for seq in (0..=len).chain([u64::MAX]) {
            let id = memory.id_at(&log, seq).unwrap();
            assert_eq!(disk.id_at(&log, seq).unwrap(), id);
            let id = id.unwrap_or(RecordId([9; 32]));
            assert_eq!(disk.record(&id).unwrap(), memory.record(&id).unwrap());
        }
        check_many(disk, &memory.range(&log, 0, usize::MAX).unwrap());
        check_subjects(disk, memory, &log);
    }
    check_open_offers(disk, memory);
    for kind in
        [Kind::Heartbeat, Kind::Offer, Kind::Revoke, Kind::PaymentSent, Kind::Unknown(999), Kind::Unknown(u16::MAX)]
    {
        let all = memory.of_kind(kind, None, usize::MAX).unwrap();
        assert_eq!(disk.of_kind(kind, None, usize::MAX).unwrap(), all);
        for after in &all {
            let author = &after.log.author;
            assert_eq!(disk.of_kind(kind, Some(after), 2).unwrap(), memory.of_kind(kind, Some(after), 2).unwrap());
            for after in [None, Some(after)] {
                let expected = memory.of_kind_by(kind, author, after, 2).unwrap();
                assert_eq!(disk.of_kind_by(kind, author, after, 2).unwrap(), expected);
            }
        }
    }
}

/// Asks for all records of a chain together.
fn check_many(disk: &impl Storage, chain: &[Record]) {
    let places: Vec<_> = chain.iter().map(Record::place).collect();
    let ids: Vec<RecordId> = chain.iter().rev().map(Record::id).collect();
    let (mut found, mut read) = (disk.places(&ids).unwrap(), disk.read_many(&places).unwrap());
    found.sort_unstable();
    read.sort_by_key(Record::place);
    assert_eq!((found.as_slice(), read.as_slice()), (places.as_slice(), chain));
}

fn check_open_offers(disk: &impl Storage, memory: &MemoryStorage) {
    let all = memory.open_offers(None, usize::MAX).unwrap();
    assert_eq!(disk.open_offers(None, usize::MAX).unwrap(), all);
    for after in all.iter().map(Some).chain([None]) {
        for limit in [0, 1, 2] {
            assert_eq!(disk.open_offers(after, limit).unwrap(), memory.open_offers(after, limit).unwrap());
        }
    }
}

fn check_subjects(disk: &impl Storage, memory: &MemoryStorage, log: &LogId) {
    // In no order, and one twice.
    let many: Vec<RecordId> = [3, 1, 0, 2, 1].map(subject).to_vec();
    for limit in [0, 2, usize::MAX] {
        assert_eq!(disk.about_each(&many, limit).unwrap(), memory.about_each(&many, limit).unwrap());
    }
    for about in (0..SUBJECTS).map(subject) {
        for limit in [0, 2, usize::MAX] {
            for author in [None, Some(&log.author)] {
                let expected = memory.about(&about, author, limit).unwrap();
                assert_eq!(disk.about(&about, author, limit).unwrap(), expected);
            }
            assert_eq!(disk.about_in(&about, log, limit).unwrap(), memory.about_in(&about, log, limit).unwrap());
        }
        for after in [None, Some(&log.author)] {
            assert_eq!(disk.next_about(&about, after).unwrap(), memory.next_about(&about, after).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn disk_and_memory_answer_alike(writes in writes(), reopened_after in 0_usize..8) {
        let dir = tempfile::tempdir().unwrap();
        let (mut disk, mut memory, mut authors) = (open(&dir), MemoryStorage::default(), Authors::default());
        for (number, writes) in writes.iter().enumerate() {
            for batch in authors.batches(writes, &memory) {
                // A log that has just forked grows no more.
                let grown = batch.records.into_iter().filter(|r| memory.frozen(&r.header().log).unwrap().is_empty());
                let batch = Batch { records: grown.collect(), forks: batch.forks };
                Storage::commit(&mut disk, &batch).unwrap();
                memory.commit(&batch).unwrap();
            }
            if number == reopened_after {
                drop(disk);
                disk = open(&dir);
                let offers = memory.open_offers(None, 2).unwrap();
                disk.forget_open(&offers).unwrap();
                memory.forget_open(&offers).unwrap();
            }
        }
        check(&disk, &memory);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_leaves_the_first_batches_whole(writes in writes(), cuts in prop::collection::vec(0.0..1.0, 8)) {
        let dir = tempfile::tempdir().unwrap();
        let (disk, mut memory, mut authors) = (open(&dir), MemoryStorage::default(), Authors::default());
        let wal = || std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let wal = || wal().filter(|path| path.extension().is_some_and(|found| found == "log")).max().unwrap();
        // How long the log was when a batch was acknowledged, and what had to be there from then on.
        let mut synced = vec![(std::fs::metadata(wal()).unwrap().len(), memory.clone())];
        for batch in writes.iter().flat_map(|writes| {
            let batches = authors.batches(writes, &memory);
            let kept = batches.into_iter().filter(|batch| !batch.is_empty()).map(|batch| {
                let grown = batch.records.into_iter().filter(|r| memory.frozen(&r.header().log).unwrap().is_empty());
                let batch = Batch { records: grown.collect(), forks: batch.forks };
                memory.commit(&batch).unwrap();
                (batch, memory.clone())
            });
            kept.collect::<Vec<_>>()
        }) {
            disk.commit(&batch.0).unwrap();
            synced.push((std::fs::metadata(wal()).unwrap().len(), batch.1));
        }
        let (wal, len) = (wal(), synced[synced.len() - 1].0);
        for cut in cuts {
            // The disk lost what it had not synced: the log ends anywhere.
            let (cut, after) = ((cut * len as f64) as u64, tempfile::tempdir().unwrap());
            for entry in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
                if entry.file_name() != "LOCK" {
                    std::fs::copy(entry.path(), after.path().join(entry.file_name())).unwrap();
                }
            }
            let copy = after.path().join(wal.file_name().unwrap());
            std::fs::OpenOptions::new().write(true).open(copy).unwrap().set_len(cut).unwrap();
            let expected = synced.iter().rev().find(|(len, _)| *len <= cut).map(|(_, memory)| memory);
            check(&open(&after), expected.unwrap_or(&MemoryStorage::default()));
        }
    }
}

#[test]
fn a_long_log_goes_as_a_short_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut memory, mut log) = (open(&dir), MemoryStorage::default(), Log::new(1, 0));
    let (first, twin) = (log.append_some(), log.sign(Kind::Unknown(1000), vec![7]));
    let mut records = vec![first];
    records.extend((0..600).map(|_| log.append_some()));
    // Some of it is on disk, some comes with the fork.
    let added = records.split_off(590);
    let mut frozen = vec![records[1].clone(), twin];
    frozen.sort_by_key(Record::place);
    let forks = BTreeMap::from([(log.id(), Fork { from: 1, frozen })]);
    for batch in [Batch { records, ..Batch::default() }, Batch { records: added, forks }] {
        disk.commit(&batch).unwrap();
        memory.commit(&batch).unwrap();
    }
    assert_eq!(disk.len().unwrap(), 3);
    check(&disk, &memory);
}

#[test]
fn a_repeated_batch_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut memory, mut log) = (open(&dir), MemoryStorage::default(), Log::new(1, 0));
    let first = Batch { records: vec![log.append_some(), log.append_some()], ..Batch::default() };
    let second = Batch { records: vec![log.append_some()], ..Batch::default() };
    for batch in [&first, &second] {
        disk.commit(batch).unwrap();
        memory.commit(batch).unwrap();
    }
    disk.commit(&first).unwrap();
    check(&disk, &memory);
    assert_eq!(disk.head(&log.id()).unwrap().unwrap().len, 3, "the head does not go back");
}
