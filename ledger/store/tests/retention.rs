//! Bodies go and come back as in memory, all of a batch or nothing, whatever happens to the process meanwhile.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Log, accept, offer, open};
use exchange_ledger::body::{Body, Revoke};
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::record::{Kind, Record};
use exchange_ledger::state::state_hash;
use exchange_ledger::storage::{Aged, Batch, Fork, MemoryStorage, Storage};
use exchange_store::Store;
use proptest::prelude::*;

/// Opens a directory and drops the bodies of everything in it, a few at a time, if this variable names one.
const DROPPER: &str = "STORE_TEST_DROPS_BODIES_IN";

fn check(disk: &Store, memory: &MemoryStorage) {
    assert_eq!(disk.len().unwrap(), memory.len().unwrap());
    assert_eq!(state_hash(disk).unwrap(), state_hash(memory).unwrap());
    for head in memory.heads(None, usize::MAX).unwrap() {
        assert_eq!(disk.head(&head.log).unwrap(), Some(head));
        let records = memory.range(&head.log, 0, usize::MAX).unwrap();
        assert_eq!(disk.range(&head.log, 0, usize::MAX).unwrap(), records);
        assert_eq!(disk.frozen(&head.log).unwrap(), memory.frozen(&head.log).unwrap());
        for record in records {
            assert_eq!(disk.record(&record.id()).unwrap(), Some(record));
        }
    }
    assert_eq!(disk.open_offers(None, usize::MAX).unwrap(), memory.open_offers(None, usize::MAX).unwrap());
    for time in [0, 1_800_000_002, u64::MAX] {
        assert_eq!(
            by_age(|after, limit| disk.droppable(time, after, limit).unwrap()),
            by_age(|after, limit| memory.droppable(time, after, limit).unwrap())
        );
        assert_eq!(
            by_age(|after, limit| disk.bare(time, after, limit).unwrap()),
            by_age(|after, limit| memory.bare(time, after, limit).unwrap())
        );
    }
}

/// Reads a list by age, a few at a time and at once. Those of one time may come in any order, but always in the same.
fn by_age(list: impl Fn(Option<&Aged>, usize) -> Vec<Aged>) -> Vec<Aged> {
    let mut all = list(None, usize::MAX);
    let mut paged: Vec<Aged> = Vec::new();
    loop {
        let page = list(paged.last(), 2);
        paged.extend(&page);
        if page.len() < 2 {
            break;
        }
    }
    assert_eq!(paged, all);
    assert!(all.is_sorted_by_key(|aged| aged.time));
    all.sort();
    all
}

#[derive(Debug, Clone)]
enum What {
    /// Of this kind and length; if the kind is known, not its encoding.
    Any(u16, usize),
    Offer,
    /// Of one of the offers.
    Accept(usize),
    Revoke(usize),
}

#[derive(Debug, Clone)]
enum Step {
    Write(u8, What),
    Drop(usize, usize),
    Keep(usize, usize),
    Fork(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kinds = (prop_oneof![Just(16_u16), Just(32), Just(999), Just(1)], 60..70_usize);
    let what = prop_oneof![
        4 => kinds.prop_map(|(kind, len)| What::Any(kind, len)),
        3 => Just(What::Offer),
        1 => any::<usize>().prop_map(What::Accept),
        1 => any::<usize>().prop_map(What::Revoke),
    ];
    let step = prop_oneof![
        6 => (0..3_u8, what).prop_map(|(who, what)| Step::Write(who, what)),
        3 => any::<(usize, usize)>().prop_map(|(at, count)| Step::Drop(at, count % 5)),
        2 => any::<(usize, usize)>().prop_map(|(at, count)| Step::Keep(at, count % 5)),
        1 => (0..3_u8).prop_map(Step::Fork),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn disk_and_memory_forget_and_remember_alike(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let (mut disk, mut memory) = (open(&dir), MemoryStorage::default());
        let mut logs = [1, 2, 3].map(|author| Log::new(author, 0));
        let (mut records, mut offers): (Vec<Record>, Vec<RecordId>) = (Vec::new(), Vec::new());
        for step in steps {
            let some = |at: usize, count: usize| -> Vec<Record> {
                records.iter().cycle().skip(at % records.len().max(1)).take(count.min(records.len())).cloned().collect()
            };
            match step {
                Step::Write(who, what) => {
                    let log = &mut logs[usize::from(who)];
                    if memory.head(&log.id()).unwrap().is_some_and(|head| head.frozen.is_some()) {
                        continue;
                    }
                    let about = |at: usize| offers.get(at % offers.len().max(1)).copied().unwrap_or(RecordId([1; 32]));
                    let (kind, body) = match what {
                        What::Any(kind, len) => (Kind::from_code(kind), vec![kind as u8; len]),
                        What::Offer => (Kind::Offer, Body::Offer(offer()).encode()),
                        What::Accept(at) => (Kind::Accept, Body::Accept(accept(TradeId([5; 32]), about(at))).encode()),
                        What::Revoke(at) => (Kind::Revoke, Body::Revoke(Revoke { offer: about(at) }).encode()),
                    };
                    let record = log.append(kind, body);
                    offers.extend((kind == Kind::Offer).then(|| record.id()));
                    let batch = Batch { records: vec![record.clone()], ..Batch::default() };
                    disk.commit(&batch).unwrap();
                    memory.commit(&batch).unwrap();
                    records.push(record);
                }
                Step::Drop(at, count) => {
                    let ids: Vec<RecordId> = some(at, count).iter().map(Record::id).collect();
                    disk.drop_bodies(&ids).unwrap();
                    memory.drop_bodies(&ids).unwrap();
                }
                Step::Keep(at, count) => {
                    disk.keep_bodies(&some(at, count)).unwrap();
                    memory.keep_bodies(&some(at, count)).unwrap();
                }
                Step::Fork(who) => {
                    let log = &logs[usize::from(who)];
                    let Some(head) = memory.head(&log.id()).unwrap().filter(|head| head.frozen.is_none()) else { continue };
                    let from = head.len - 1;
                    let mut frozen = memory.range(&log.id(), from, 2).unwrap();
                    frozen.push(log.sign(Kind::Unknown(1000), vec![7; 80]));
                    frozen.sort_by_key(Record::place);
                    let batch = Batch { forks: [(log.id(), Fork { from, frozen })].into(), ..Batch::default() };
                    disk.commit(&batch).unwrap();
                    memory.commit(&batch).unwrap();
                }
                Step::Reopen => {
                    drop(disk);
                    disk = open(&dir);
                }
            }
        }
        check(&disk, &memory);
        drop(disk);
        check(&open(&dir), &memory);
    }
}

#[test]
fn an_offer_whose_body_comes_back_may_stand_open_again() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut memory, mut log) = (open(&dir), MemoryStorage::default(), Log::new(1, 0));
    let posted = log.append(Kind::Offer, Body::Offer(offer()).encode());
    let batch = Batch { records: vec![posted.clone()], ..Batch::default() };
    disk.commit(&batch).unwrap();
    memory.commit(&batch).unwrap();
    for listed in [vec![], vec![posted.id()], vec![]] {
        if listed.is_empty() {
            disk.drop_bodies(&[posted.id()]).unwrap();
            memory.drop_bodies(&[posted.id()]).unwrap();
        } else {
            disk.keep_bodies(std::slice::from_ref(&posted)).unwrap();
            memory.keep_bodies(std::slice::from_ref(&posted)).unwrap();
        }
        assert_eq!(disk.open_offers(None, 9).unwrap(), listed);
        assert_eq!(memory.open_offers(None, 9).unwrap(), listed);
    }
}

#[test]
fn a_bare_record_takes_less_room() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut log) = (open(&dir), Log::new(1, 0));
    let record = log.append(Kind::Offer, vec![7; 3000]);
    disk.commit(&Batch { records: vec![record.clone()], ..Batch::default() }).unwrap();
    assert_eq!(disk.record(&record.id()).unwrap(), Some(record.clone()), "it is remembered");
    disk.drop_bodies(&[record.id()]).unwrap();
    let bare = disk.record(&record.id()).unwrap().unwrap();
    assert!(bare.is_bare());
    assert_eq!(Some(bare), record.bared());
    assert_eq!(disk.bare(0, None, 9).unwrap(), [Aged::of(&record)]);
    assert_eq!(disk.droppable(u64::MAX, None, 9).unwrap(), []);
}

#[test]
fn who_reads_meanwhile_is_told_of_no_record_as_it_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut log) = (open(&dir), Log::new(1, 0));
    let record = log.append_some();
    let id = record.id();
    disk.commit(&Batch { records: vec![record.clone()], ..Batch::default() }).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..50 {
                disk.drop_bodies(&[id]).unwrap();
                assert_eq!(disk.record(&id).unwrap(), record.bared());
                disk.keep_bodies(std::slice::from_ref(&record)).unwrap();
                assert_eq!(disk.record(&id).unwrap().as_ref(), Some(&record));
            }
        });
        while !writer.is_finished() {
            assert!(disk.record(&id).unwrap().is_some());
        }
    });
}

fn drop_everything(disk: &Store, told: &mut impl Write) {
    let mut after: Option<Aged> = None;
    loop {
        let page = disk.droppable(u64::MAX, after.as_ref(), 16).unwrap();
        let ids: Vec<RecordId> = page.iter().map(|aged| aged.place.id).collect();
        disk.drop_bodies(&ids).unwrap();
        writeln!(told, "{}", ids.len()).unwrap();
        after = page.last().copied();
        if page.len() < 16 {
            return;
        }
    }
}

/// The process that is killed; does nothing when tests are run.
#[test]
fn dropper() {
    if let Some(dir) = std::env::var_os(DROPPER) {
        drop_everything(&open(dir), &mut std::io::stderr());
    }
}

#[test]
fn a_process_killed_while_it_drops_bodies_has_lost_nothing_else() {
    use std::io::{BufRead, BufReader};
    for batches in [1, 7, 20] {
        let dir = tempfile::tempdir().unwrap();
        let records: Vec<Record> = {
            let (disk, mut log) = (open(&dir), Log::new(1, 0));
            let records: Vec<Record> = (0..800).map(|_| log.append_some()).collect();
            disk.commit(&Batch { records: records.clone(), ..Batch::default() }).unwrap();
            records
        };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "dropper", "--nocapture"])
            .env(DROPPER, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stderr.take().unwrap()).lines().take(batches);
        let told: usize = told.map(|line| line.unwrap().parse::<usize>().unwrap()).sum();
        child.kill().unwrap();
        child.wait().unwrap();

        let disk = open(&dir);
        let kept = disk.range(&records[0].header().log, 0, usize::MAX).unwrap();
        assert_eq!(kept.len(), records.len());
        let bare = kept.iter().filter(|record| record.is_bare()).count();
        assert!(
            bare >= told && bare.is_multiple_of(16),
            "what was acknowledged is done, and every batch whole: {bare}"
        );
        assert!(
            kept.iter().zip(&records).all(|(kept, record)| kept == record || Some(kept) == record.bared().as_ref())
        );
        assert_eq!(disk.bare(0, None, usize::MAX).unwrap().len(), bare);
        drop_everything(&disk, &mut std::io::sink());
        assert_eq!(disk.bare(0, None, usize::MAX).unwrap().len(), records.len());
        disk.keep_bodies(&records).unwrap();
        assert_eq!(disk.range(&records[0].header().log, 0, usize::MAX).unwrap(), records);
    }
}
