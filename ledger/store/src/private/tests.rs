use std::sync::Barrier;

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::ids::TradeId;

use super::*;
use crate::db::OpenOptions;

#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Note(String);

impl Versioned for Note {
    const VERSION: u8 = 1;
}

#[derive(Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct LaterNote(String, u8);

impl Versioned for LaterNote {
    const VERSION: u8 = 2;
}

const TRADES: Table<TradeId, Note> = Table::new(Namespace::Trades);
const OUTBOX: Table<(u8, u64), Note> = Table::new(Namespace::Outbox);
const SMALL: Limits = Limits { events: 5, answers: 3 };

fn open(dir: &tempfile::TempDir) -> Private {
    Private::with_limits(Arc::new(RawDb::open(dir.path(), OpenOptions::default()).unwrap()), SMALL).unwrap()
}

fn note(text: impl ToString) -> Note {
    Note(text.to_string())
}

fn given(text: &str) -> Answer {
    Answer { time_s: 7, bytes: text.as_bytes().to_vec() }
}

#[test]
fn rows_are_kept_apart_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let private = open(&dir);
    let mut changes = Changes::new();
    for number in [300, 2, 1, 256] {
        changes = changes.put(&OUTBOX, &(1, number), &note(number));
    }
    private.write(changes.put(&OUTBOX, &(2, 0), &note("next")).put(&TRADES, &TradeId([0xff; 32]), &note("t"))).unwrap();

    let numbers = |rows: Vec<((u8, u64), Note)>| rows.into_iter().map(|((_, number), _)| number).collect::<Vec<_>>();
    assert_eq!(numbers(private.scan_within(&OUTBOX, &1, 9).unwrap()), [1, 2, 256, 300]);
    assert_eq!(numbers(private.scan_within(&OUTBOX, &1, 2).unwrap()), [1, 2]);
    assert_eq!(numbers(private.scan(&OUTBOX, .., 9).unwrap()), [1, 2, 256, 300, 0]);
    assert_eq!(numbers(private.scan(&OUTBOX, (1, 2)..(1, 300), 9).unwrap()), [2, 256]);
    assert_eq!(numbers(private.scan(&OUTBOX, (1, 2)..=(1, 300), 9).unwrap()), [2, 256, 300]);
    let after = (Bound::Excluded((1, 2)), Bound::Unbounded);
    assert_eq!(numbers(private.scan(&OUTBOX, after, 2).unwrap()), [256, 300]);
    let nothing = private.scan(&OUTBOX, (1, 300)..(1, 2), 9).unwrap();
    assert_eq!(nothing, []);
    assert_eq!(private.scan(&TRADES, .., 9).unwrap(), [(TradeId([0xff; 32]), note("t"))]);

    private.delete(&OUTBOX, &(1, 2)).unwrap();
    assert_eq!(private.get(&OUTBOX, &(1, 2)).unwrap(), None);
    assert_eq!(private.get(&OUTBOX, &(1, 300)).unwrap(), Some(note(300)));
}

#[test]
fn a_row_of_a_later_program_is_refused_and_a_damaged_one_named() {
    const LATER: Table<TradeId, LaterNote> = Table::new(Namespace::Trades);
    let dir = tempfile::tempdir().unwrap();
    let private = open(&dir);
    let id = TradeId([0xab; 32]);
    private.put(&LATER, &id, &LaterNote("x".into(), 1)).unwrap();
    let error = private.get(&TRADES, &id).unwrap_err();
    assert!(matches!(&error, StoreError::NewerRow { version: 2, row } if row.contains("abab")), "{error}");
    private.put(&TRADES, &id, &note("x")).unwrap();
    let error = private.get(&LATER, &id).unwrap_err();
    assert!(matches!(&error, StoreError::Storage(StorageError::Damaged(what)) if what.contains("abab")), "{error}");
}

#[test]
fn one_thing_too_long_and_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let private = open(&dir);
    let long = note("x".repeat(MAX_ROW_LEN));
    let id = TradeId([1; 32]);
    for changes in [
        Changes::new().put(&TRADES, &TradeId([2; 32]), &long),
        Changes::new().event(&long),
        Changes::new().answer(&"r".repeat(MAX_REQUEST_ID_LEN + 1), given("")),
        Changes::new().put(&Table::<String, Note>::new(Namespace::Config), &"k".repeat(MAX_KEY_LEN), &note("")),
    ] {
        let error = private.write(changes.put(&TRADES, &id, &note("short"))).unwrap_err();
        assert!(matches!(error, StoreError::TooLong { .. }), "{error}");
        assert_eq!(private.get(&TRADES, &id).unwrap(), None);
    }
}

#[test]
fn events_are_numbered_without_gaps_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    {
        let private = open(&dir);
        assert_eq!(private.next_event(), 1);
        assert_eq!(private.write(Changes::new().event(&note(1)).event(&note(2))).unwrap().events, 1..3);
        assert_eq!(private.events::<Note>(0, 9).unwrap(), [(1, note(1)), (2, note(2))]);
    }
    let private = open(&dir);
    for number in 3..=7 {
        assert_eq!(private.write(Changes::new().event(&note(number))).unwrap().events, number..number + 1);
    }
    let kept: Vec<_> = (3..=7).map(|number| (number, note(number))).collect();
    assert_eq!(private.events::<Note>(0, 99).unwrap(), kept);
    assert_eq!(private.events::<Note>(6, 1).unwrap(), [(6, note(6))]);
    assert_eq!(private.events::<Note>(8, 9).unwrap(), []);
    assert_eq!(private.next_event(), 8);
}

#[test]
fn events_of_many_threads_never_appear_out_of_order() {
    let dir = tempfile::tempdir().unwrap();
    let private = open(&dir);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let end = private.write(Changes::new().event(&note("e"))).unwrap().events.end;
                    let seen = private.events::<Note>(0, 99).unwrap();
                    assert!(seen.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "{seen:?}");
                    assert!(seen.last().unwrap().0 >= end - 1);
                }
            });
        }
    });
    assert_eq!(private.next_event(), 41);
}

#[test]
fn a_request_that_was_answered_is_not_performed_again() {
    let dir = tempfile::tempdir().unwrap();
    let private = open(&dir);
    let pay = |amount: u64| Changes::new().put(&OUTBOX, &(0, amount), &note(amount)).event(&note(amount));
    private.write(pay(1).answer("r", given("paid 1"))).unwrap();

    let error = private.write(pay(2).answer("r", given("paid 2"))).unwrap_err();
    assert!(matches!(&error, StoreError::AlreadyAnswered(request) if request == "r"), "{error}");
    assert_eq!(private.answer("r").unwrap(), Some(given("paid 1")));
    assert_eq!(private.get(&OUTBOX, &(0, 2)).unwrap(), None, "nothing of the second was done");
    assert_eq!(private.next_event(), 2);

    // Of many at once, one is performed.
    let start = Barrier::new(8);
    let done = std::thread::scope(|scope| {
        let (start, private) = (&start, &private);
        let attempts: Vec<_> = (10..18)
            .map(|amount| {
                scope.spawn(move || {
                    start.wait();
                    private.write(pay(amount).answer("once", given("paid"))).is_ok()
                })
            })
            .collect();
        attempts.into_iter().map(|attempt| attempt.join().unwrap()).filter(|done| *done).count()
    });
    assert_eq!(done, 1);
    assert_eq!(private.scan(&OUTBOX, (0, 10)..(0, 18), 99).unwrap().len(), 1);
}

#[test]
fn the_oldest_answers_go() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..6 {
        // Opened each time: the order outlives the process.
        open(&dir).write(Changes::new().answer(&format!("r{number}"), given("a"))).unwrap();
    }
    let private = open(&dir);
    let kept: Vec<_> = (0..6).filter(|number| private.answer(&format!("r{number}")).unwrap().is_some()).collect();
    assert_eq!(kept, [3, 4, 5]);
    assert_eq!(private.db.prefixed(Family::Private, keys::ANSWER_ORDER_PREFIX).count(), 3);
}
