//! An honest node never signs two histories, and no record twice, whatever happens to its data directory.

use std::path::Path;

use exchange_ledger::body::{Offer, Side};
use exchange_ledger::book::Place;
use exchange_ledger::identity::{Email, KdfParams, MasterKey, Password};
use exchange_ledger::ledger::MAX_CLOCK_SKEW_S;
use exchange_ledger::record::{Header, LogId};
use exchange_ledger::storage::{MemoryStorage, Storage};
use exchange_ledger::testing::NETWORK;
use exchange_store::OpenOptions;

use super::*;

fn identity() -> Arc<Identity> {
    let (email, password) = (Email::parse("a@example.org").unwrap(), Password::parse("correct horse").unwrap());
    Arc::new(MasterKey::derive(&email, &password, None, &KdfParams::for_tests()).unwrap().identity())
}

/// A body that may stand in any log.
fn advert(name: &str) -> Body {
    let author = exchange_ledger::testing::Author::new(1);
    let name = exchange_ledger::testing::text(name);
    Body::ArbiterAdvert(exchange_ledger::body::ArbiterAdvert {
        name,
        ..exchange_ledger::testing::sample_advert(&author)
    })
}

/// An acceptance, which counts only in the log of its offer.
fn acceptance() -> Body {
    use exchange_ledger::testing::{Author, sample_accept, sample_take};
    let [mut taker, maker] = [2, 3].map(Author::new);
    let offer = exchange_ledger::ids::RecordId([7; 32]);
    let take = Body::Take(sample_take(offer, &taker));
    Body::Accept(sample_accept(&taker.write(&take), offer, &maker))
}

/// The name of an output, for which nobody pays if it stands in another log than the agreement.
fn name() -> Body {
    let outpoint = exchange_ledger::wire::Outpoint(bitcoin::OutPoint::null());
    Body::Funded(exchange_ledger::body::Funded { trade: exchange_ledger::ids::TradeId([7; 32]), outpoint })
}

/// One run of a node on a data directory.
struct Run {
    keeper: Keeper,
    thread: JoinHandle<()>,
}

impl Run {
    fn start(path: &Path) -> Self {
        Self::start_sure(path, SureTime::on(Network::Regtest))
    }

    fn start_sure(path: &Path, sure: SureTime) -> Self {
        let store = Store::open(path, OpenOptions::default()).unwrap();
        let (keeper, thread) = Keeper::start_waiting(store, NETWORK, sure, Duration::from_millis(10)).unwrap();
        Self { keeper, thread }
    }

    async fn publish(&self, name: &str) -> Record {
        self.keeper.publish(identity(), advert(name)).await.unwrap()
    }

    fn own_log(&self) -> OwnLog {
        self.keeper.own_log(&identity().author()).unwrap()
    }

    /// Takes in all that somebody else holds.
    async fn compare_with(&self, others: &[Record]) {
        self.keeper.ingest(others.iter().map(Record::encode).collect()).await;
        self.keeper.compared();
    }

    fn stop(self) {
        drop(self.keeper);
        self.thread.join().unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Lets everything that was ever published in, as a peer does, and finds no second history.
fn check_no_fork(records: &[Record]) {
    let mut peer = Ledger::new(MemoryStorage::default(), NETWORK);
    let admissions = peer.admit(records, clock::unix_now()).unwrap();
    assert!(admissions.iter().all(|admission| *admission == Admission::New), "{admissions:?}");
}

#[tokio::test]
async fn an_old_copy_of_a_data_directory_opens_a_new_log() {
    let dir = tempfile::tempdir().unwrap();
    let (live, old, lone) = (dir.path().join("live"), dir.path().join("old"), dir.path().join("lone"));
    let run = Run::start(&live);
    let mut published = vec![run.publish("first").await, run.publish("second").await];
    run.stop();
    copy(&live, &old);
    copy(&live, &lone);

    let run = Run::start(&live);
    run.compare_with(&published).await;
    assert_eq!(run.own_log(), OwnLog::GoesOn(published[1].as_head()));
    published.push(run.publish("third").await);
    run.stop();
    let log = published[0].header().log;
    assert!(published.iter().all(|record| record.header().log == log), "a log that nobody knows more of goes on");

    let run = Run::start(&old);
    assert_eq!(run.own_log(), OwnLog::Unconfirmed(published[1].as_head()));
    for body in [Body::Heartbeat, name()] {
        let refused = run.keeper.publish(identity(), body).await;
        assert!(matches!(refused, Err(PublishError::Unconfirmed)), "it says nothing that is worth a log");
    }
    run.compare_with(&published).await;
    assert_eq!(run.own_log(), OwnLog::Ended, "it is known to be longer than was noted");
    let accept = run.keeper.publish(identity(), acceptance()).await;
    assert!(matches!(accept, Err(PublishError::OtherLog)), "outside of the offer's log it binds nobody");
    let named = run.keeper.publish(identity(), name()).await;
    assert!(matches!(named, Err(PublishError::NamedElsewhere)), "nobody pays for coins that are named elsewhere");
    assert_eq!(run.keeper.ledger().storage().logs_of(&identity().author(), 9).unwrap().len(), 1, "no log was opened");
    published.push(run.publish("after the copy was put back").await);
    published.push(run.publish("and once more").await);
    run.stop();
    assert_ne!(published[3].header().log, log, "the peer knows more of the log");
    assert_eq!(published[4].header().log, published[3].header().log);

    check_no_fork(&published);

    let run = Run::start(&lone);
    let alone = run.publish("with nobody to ask").await;
    run.stop();
    published.truncate(3);
    published.push(alone);
    check_no_fork(&published);
}

/// What a user asks for has waited before it comes to the trader, who publishes it, and on whom all trades wait.
#[tokio::test]
async fn who_has_just_waited_for_a_peer_in_vain_does_not_wait_again() {
    let (dir, wait) = (tempfile::tempdir().unwrap(), Duration::from_secs(1));
    let run = Run::start(dir.path());
    let first = run.publish("before the restart").await;
    run.stop();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let (keeper, thread) = Keeper::start_waiting(store, NETWORK, SureTime::on(Network::Regtest), wait).unwrap();
    let run = Run { keeper, thread };
    for waits in [true, false, false, true] {
        if waits {
            tokio::time::sleep(wait).await;
        }
        let begun = std::time::Instant::now();
        let log = run.keeper.settled_log(&identity().author()).await.unwrap();
        assert_eq!((log, begun.elapsed() >= wait), (OwnLog::Unconfirmed(first.as_head()), waits));
    }
    run.stop();
}

#[tokio::test]
async fn an_own_record_that_is_early_by_a_clock_set_back_shows_that_more_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(dir.path());
    let first = run.publish("before the snapshot").await;
    let time = clock::unix_now() + MAX_CLOCK_SKEW_S + 600;
    let header = Header { seq: 1, backlink: first.id(), time, kind: Kind::Heartbeat, admission: 0, ..*first.header() };
    let since = Record::sign(header, Vec::new(), |message| identity().sign(message)).unwrap();
    let mut stranger = exchange_ledger::testing::Author::at(1, u32::try_from(time).unwrap());
    let others = stranger.write(&Body::Heartbeat);
    let verdicts = run.keeper.ingest(vec![since.encode(), others.encode()]).await;
    assert_eq!(verdicts, [Verdict::Later, Verdict::Ignore], "what anybody can write holds nobody up");

    // A peer that has not seen it either, or lies, says that both hold the same.
    run.keeper.compared();
    assert_eq!(run.own_log(), OwnLog::Unconfirmed(first.as_head()));
    let heartbeat = run.keeper.publish(identity(), Body::Heartbeat).await;
    assert!(matches!(heartbeat, Err(PublishError::Unconfirmed)));
    assert_ne!(run.publish("after it").await.header().log, first.header().log);
    run.stop();
}

#[tokio::test]
async fn nothing_is_signed_by_a_clock_that_is_ahead_of_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let sure = SureTime::on(Network::Bitcoin);
    let run = Run::start_sure(dir.path(), sure.clone());
    let first = run.publish("before the chain has shown anything").await;
    let heartbeat = async || run.keeper.publish(identity(), Body::Heartbeat).await;
    sure.show(clock::unix_now() - 48 * 3600);
    for refused in [heartbeat().await, run.keeper.publish(identity(), advert("asked for")).await] {
        assert!(matches!(refused, Err(PublishError::ClockAhead { hours: 48 })), "{refused:?}");
    }
    assert_eq!(run.own_log(), OwnLog::GoesOn(first.as_head()), "the log is as it was");
    for kind in [Kind::Dispute, Kind::Release, Kind::PaymentSent, Kind::Ruling] {
        assert!(run.keeper.check_clock(kind).is_ok(), "{kind:?} may not wait for a chain that stands still");
    }

    // Blocks that stay away for half a day hold nobody up who has something to say.
    sure.show(clock::unix_now() - 12 * 3600);
    assert!(matches!(heartbeat().await, Err(PublishError::ClockAhead { hours: 12 })));
    assert_eq!(run.publish("asked for").await.header().log, first.header().log);
    sure.show(clock::unix_now() - 2 * 3600);
    assert_eq!(heartbeat().await.unwrap().header().log, first.header().log);
    run.stop();
}

#[test]
fn what_is_said_in_the_course_of_a_trade_is_dated_by_the_chain_where_the_clock_is_far_ahead_of_it() {
    let (now, most) = (clock::unix_now(), 6 * 3600);
    let (sure, regtest) = (SureTime::on(Network::Bitcoin), SureTime::on(Network::Regtest));
    regtest.show(now - 30 * 24 * 3600);
    for kind in
        [Kind::Revoke, Kind::Cancel, Kind::PaymentSent, Kind::Release, Kind::Dispute, Kind::Ruling, Kind::Extend]
    {
        sure.show(0);
        assert_eq!((time_of(&sure, kind, now), time_of(&regtest, kind, now)), (now, now), "{kind:?}");
        for (shown, time) in [
            (now + 1000, now),
            (now - most, now),
            (now - most - 1, now - most - 1 + MAX_CLOCK_SKEW_S),
            (now - 30 * 24 * 3600, now - 30 * 24 * 3600 + MAX_CLOCK_SKEW_S),
        ] {
            sure.show(shown);
            assert_eq!(time_of(&sure, kind, now), time, "{kind:?} {shown}");
        }
    }
    // What waits for the clock is dated by it once it may be signed.
    sure.show(now - 12 * 3600);
    for kind in [Kind::Offer, Kind::Take, Kind::Funded] {
        assert_eq!(time_of(&sure, kind, now), now, "{kind:?}");
    }
}

#[tokio::test]
async fn a_dispute_by_a_clock_that_is_ahead_of_the_chain_is_taken_by_others_and_ends_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let sure = SureTime::on(Network::Bitcoin);
    let run = Run::start_sure(dir.path(), sure.clone());
    let trade = exchange_ledger::ids::TradeId([7; 32]);
    let publish = async |body: Body| run.keeper.publish(identity(), body).await.unwrap();
    let shown = clock::unix_now() - 10 * 24 * 3600;
    sure.show(shown);
    let paid = publish(Body::PaymentSent(exchange_ledger::body::PaymentSent { trade })).await;
    let dispute = publish(Body::Dispute(exchange_ledger::body::Dispute { trade })).await;
    assert_eq!([&paid, &dispute].map(|record| record.header().time), [shown + MAX_CLOCK_SKEW_S; 2]);
    let fund = |run: &Run| run.keeper.check_clock(Kind::Funded);
    assert!(matches!(fund(&run), Err(PublishError::ClockAhead { hours: 240 })), "no coins that cannot be named");
    sure.show(clock::unix_now() - 7 * 3600);
    assert!(matches!(fund(&run), Err(PublishError::ClockAhead { hours: 7 })));

    // The time that was shown is right, or the clock.
    sure.show(clock::unix_now());
    assert_eq!(run.own_log(), OwnLog::GoesOn(dispute.as_head()));
    assert!(fund(&run).is_ok());
    let heartbeat = publish(Body::Heartbeat).await;
    assert_eq!(heartbeat.header().log, paid.header().log);
    // No record is dated before the one that it follows.
    sure.show(shown);
    let cancel = publish(Body::Cancel(exchange_ledger::body::Cancel { trade, refund: None })).await;
    assert_eq!((cancel.header().log, cancel.header().time), (paid.header().log, heartbeat.header().time));
    check_no_fork(&[paid, dispute, heartbeat, cancel]);
    run.stop();
}

#[tokio::test]
async fn a_request_that_is_repeated_after_a_crash_has_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(dir.path());
    let request = Some("rent of may".to_owned());
    let record = run.keeper.publish_for(identity(), advert("Ann"), request.clone()).await.unwrap();
    run.stop();

    // Nobody was told, and nothing else was written: what another start finds is in the same commit as the record.
    let run = Run::start(dir.path());
    run.compare_with(&[]).await;
    let kept = Private::new(run.keeper.ledger().storage().clone()).answer("rent of may").unwrap().unwrap();
    assert_eq!(record_of(&kept), Some(record.id()));
    let again = run.keeper.publish_for(identity(), advert("Ann"), request).await;
    assert!(matches!(again, Err(PublishError::Store(StoreError::AlreadyAnswered(_)))), "{again:?}");
    assert_eq!(run.keeper.ledger().storage().len().unwrap(), 1);
    run.publish("Ann, again").await;
    assert_eq!(run.keeper.ledger().storage().len().unwrap(), 2, "the log goes on");
    run.stop();
}

#[tokio::test]
async fn the_ledgers_thread_leaves_the_work_for_a_ticket_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(dir.path());
    let new = NewRecord { identity: identity(), body: Arc::new(advert("Ann")), request: None };
    let Ok(Published::Opens(log)) = run.keeper.try_publish(&new, None).await else { panic!("it opened a log") };
    let elsewhere = Ticket::mint(NETWORK, LogId { author: exchange_ledger::testing::Author::new(1).id(), ..log });
    let refused = run.keeper.try_publish(&new, Some(elsewhere.await.unwrap())).await;
    assert!(matches!(refused, Ok(Published::Opens(_))), "another's ticket");
    assert_eq!(run.keeper.ledger().storage().len().unwrap(), 0);
    let ticket = Ticket::mint(NETWORK, log).await.unwrap();
    let Ok(Published::Kept(record)) = run.keeper.try_publish(&new, Some(ticket)).await else {
        panic!("it is the ticket")
    };
    assert_eq!(record.header().log, log, "however long the work took");
    run.stop();
}

#[tokio::test]
async fn two_who_publish_at_once_open_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(dir.path());
    let (one, two) = tokio::join!(run.publish("one"), run.publish("two"));
    assert_eq!(one.header().log, two.header().log);
    assert_eq!(run.keeper.ledger().storage().heads(None, 9).unwrap().len(), 1);
    run.stop();
}

#[test]
fn an_answer_that_was_no_record_is_taken_for_none() {
    for bytes in [&b"{}"[..], b"record", b"record 12", b"\"record \"", b"\xff"] {
        assert_eq!(record_of(&Answer { time_s: 0, bytes: bytes.to_vec() }), None);
    }
}

/// Returns an offer of a time that ends at another.
fn offer(time: u64, expires: u64) -> Record {
    let maker = exchange_ledger::testing::Author::at(1, 5);
    let sample = exchange_ledger::testing::sample_offer(Side::Sell, &[RecordId([1; 32])]);
    let body = Body::Offer(Offer { expires, ..sample });
    maker.sign(Header { time, ..maker.next_header(&body) }, body.encode())
}

#[tokio::test]
async fn an_offer_that_only_this_clock_calls_ended_stays_listed_as_open() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(dir.path());
    let now = clock::unix_now();
    run.keeper.ingest(vec![offer(now - 3600, now - 60).encode()]).await;
    for (sure, listed) in [(0, 1), (now - 61, 1), (now - 60, 0)] {
        run.keeper.advance(sure).await;
        // What is asked afterwards is answered when that is done.
        run.keeper.drop_bodies(0, None, Arc::default()).await.unwrap();
        assert_eq!(run.keeper.ledger().storage().open_offers(None, 9).unwrap().len(), listed, "by {sure}");
    }
    run.stop();
}

#[tokio::test]
async fn an_offer_whose_body_comes_back_stands_in_the_book_at_once_and_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let now = clock::unix_now();
    let offer = offer(now, now + 3600);
    let stands = |run: &Run| run.keeper.book().place_of(&offer.author(), &offer.id()) == Some(Place::Stands);
    let run = Run::start(dir.path());
    assert_eq!(run.keeper.ingest(vec![offer.encode()]).await, [Verdict::Accept]);
    assert!(stands(&run));
    // As if a clock that is far ahead had called it old.
    let look = run.keeper.drop_bodies(now + 1, None, Arc::default()).await.unwrap();
    assert_eq!(look.gone, [offer.id()]);
    run.stop();

    let run = Run::start(dir.path());
    assert!(!stands(&run));
    assert_eq!(run.keeper.keep_bodies(vec![offer.clone()]).await, 1);
    assert!(stands(&run));
    run.stop();
    let run = Run::start(dir.path());
    assert!(stands(&run));
    run.stop();
}

/// Records of an unknown kind, so many days old.
fn old(author: &mut exchange_ledger::testing::Author, days: u64) -> Record {
    let header = Header {
        kind: Kind::Unknown(999),
        time: clock::unix_now() - days * 24 * 3600,
        ..author.next_header(&Body::Unknown(999))
    };
    author.append(header, vec![7; 100])
}

#[tokio::test]
async fn nobody_is_banned_for_what_a_slow_clock_calls_too_young() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(dir.path());
    let unset = {
        let author = exchange_ledger::testing::Author::at(1, 5);
        let time = clock::unix_now() + 1000 * 24 * 3600;
        author.sign(Header { kind: Kind::Unknown(999), time, ..author.next_header(&Body::Unknown(999)) }, vec![7; 100])
    };
    let bare = |record: &Record| record.bared().unwrap().encode();
    assert_eq!(run.keeper.ingest(vec![bare(&unset)]).await, [Verdict::Ignore], "as if years were missing");

    let young = old(&mut exchange_ledger::testing::Author::at(2, 5), 30);
    assert_eq!(run.keeper.ingest(vec![bare(&young)]).await, [Verdict::Reject]);
    let verdicts = run.keeper.ingest(vec![bare(&young), unset.encode()]).await;
    assert_eq!(verdicts, [Verdict::Ignore, Verdict::Ignore], "as if days were missing");
    run.stop();
}

#[tokio::test]
async fn old_bodies_go_and_come_back_and_nothing_bare_is_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(dir.path());
    let mut author = exchange_ledger::testing::Author::at(1, 5);
    let mut records: Vec<Record> = [100, 90, 61, 58, 57].map(|days| old(&mut author, days)).to_vec();
    let bare = |record: &Record| record.bared().unwrap().encode();
    let verdicts = run.keeper.ingest(vec![bare(&records[0]), records[1].encode(), records[2].encode()]).await;
    assert_eq!(verdicts, [Verdict::Keep, Verdict::Accept, Verdict::Accept]);
    assert_eq!(run.keeper.ingest(vec![bare(&records[3])]).await, [Verdict::Ignore], "not by every clock");
    let young = records.remove(4);
    assert_eq!(run.keeper.ingest(vec![bare(&young)]).await, [Verdict::Reject], "by none");
    assert_eq!(run.keeper.ingest(vec![records[3].encode()]).await, [Verdict::Accept]);

    let mine = Mine::of(run.keeper.ledger().storage(), [author.id()].into(), []).unwrap();
    let before = clock::unix_now() - 60 * 24 * 3600;
    let look = run.keeper.drop_bodies(before, None, Arc::new(mine)).await.unwrap();
    assert_eq!(look, Look::default(), "what is one's own stays");
    let look = run.keeper.drop_bodies(before, None, Arc::default()).await.unwrap();
    assert_eq!(look.gone, [records[1].id(), records[2].id()]);
    let is_bare = |record: &Record| run.keeper.ledger().record(&record.id()).unwrap().unwrap().is_bare();
    assert_eq!(records.iter().map(is_bare).collect::<Vec<_>>(), [true, true, true, false]);

    let mut changes = run.keeper.changes();
    assert_eq!(run.keeper.keep_bodies(records.clone()).await, 3);
    assert_eq!(changes.recv().await.unwrap().record.id(), records[0].id(), "a trade may have waited for it");
    assert_eq!(run.keeper.keep_bodies(records.clone()).await, 0);
    assert!(!records.iter().any(is_bare));
    run.stop();
}
