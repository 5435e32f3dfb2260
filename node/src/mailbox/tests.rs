//! Who gets room and when, in which epoch a run writes, and what is delivered again.

use std::collections::HashSet;

use bitcoin::Network;
use exchange_ledger::body::Side;
use exchange_ledger::ids::AuthorId;
use exchange_ledger::ledger::{Admission, Ledger};
use exchange_ledger::mail::{Entropy, Message, Opening, Said};
use exchange_ledger::record::Record;
use exchange_ledger::testing::{Author, EPOCH, NETWORK, SampleTrade};
use exchange_ledger::trade::pins::Pin;
use exchange_ledger::trade::{Local, Role};
use exchange_store::{OpenOptions, Store};
use tokio::sync::mpsc;

use super::*;

/// Reads everything that waits for the user, as far as the seq of each message.
fn heard(inbox: &mut mpsc::Receiver<Envelope>) -> Vec<u32> {
    std::iter::from_fn(|| inbox.try_recv().ok()).map(|envelope| envelope.address.seq).collect()
}

/// What is sure to a node that goes by its clock alone.
fn by_clock() -> SureTime {
    SureTime::on(Network::Regtest)
}

/// Seals the first message from one to another in a trade and an epoch.
fn seal(sender: &Author, recipient: AuthorId, contract: &Contract, epoch: u32) -> (Envelope, Opening) {
    seal_at(clock::unix_now(), sender, recipient, contract, epoch)
}

fn seal_at(time: u64, sender: &Author, recipient: AuthorId, contract: &Contract, epoch: u32) -> (Envelope, Opening) {
    let address = Address {
        version: 1,
        network: NETWORK,
        trade: contract.trade,
        contract: contract.hash(),
        sender: sender.id(),
        recipient,
        epoch,
        seq: 0,
        previous: [0; 32],
        seen: [0; 32],
        time,
        commitment: [0; 32],
    };
    let message = Message::Chat { text: "hello".to_owned() };
    let entropy = Entropy { seal: [1; 32], salt: [2; 32] };
    Envelope::seal(address, contract, &message, entropy, |bytes| sender.sign_bytes(bytes)).unwrap()
}

/// A task that looks at what waits, as a node has one.
struct Looks {
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Looks {
    fn begin(mailbox: &Mailbox, changes: broadcast::Receiver<Change>, every: Duration) -> Self {
        let (mailbox, stop) = (mailbox.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move { mailbox.unpark_in_time(changes, every, &stopped).await });
        Self { task, stop }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Returns what is passed on next.
async fn next_sent(sent: &mut broadcast::Receiver<Vec<u8>>) -> Vec<u8> {
    tokio::time::timeout(Duration::from_secs(10), sent.recv()).await.expect("it is passed on in time").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_nobody_in_a_trade_takes_no_room_from_who_waits_for_its_contract() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let private = Private::new(store.clone());
    let trade = SampleTrade::new(Side::Sell);
    let contract = trade.contract();
    // Everything but the acceptance.
    let later = u64::from(EPOCH) + 3600;
    Ledger::new(store.clone(), NETWORK).admit(&trade.records()[..3], later).unwrap();
    let (keeper, thread) = Keeper::start(store.clone(), NETWORK).unwrap();
    let mailbox = Mailbox::open(keeper, private, by_clock()).unwrap();
    let parked = || mailbox.parked().len();

    let stranger = Author::new(9);
    let taker = trade.taker.id();
    assert_eq!(mailbox.put(&seal(&stranger, taker, &contract, 1).0.encode()), Verdict::Ignore);
    assert_eq!(parked(), 0, "its sender is a stranger");
    let between = seal(&trade.maker, taker, &contract, 1).0.encode();
    assert_eq!(mailbox.put(&between), Verdict::Ignore);
    assert_eq!(parked(), 1, "it waits for the acceptance");
    let mut made_up = contract.clone();
    for number in 0..=255 {
        made_up.trade = TradeId([number; 32]);
        assert_eq!(mailbox.put(&seal(&stranger, taker, &made_up, 1).0.encode()), Verdict::Ignore);
    }
    let waiting = parked();
    assert!(waiting > 1, "anybody can make up trades");

    Ledger::new(store, NETWORK).admit(std::slice::from_ref(&trade.accept), later).unwrap();
    mailbox.unpark(trade.id());
    assert_eq!(parked(), waiting - 1);
    assert_eq!(mailbox.fetch(&contract.mailbox(&taker), 0, usize::MAX).0, [between]);
    drop(mailbox);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_as_its_acceptance_comes_in_or_while_it_is_not_told_of_waits_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let private = Private::new(store.clone());
    let trade = SampleTrade::new(Side::Sell);
    let (contract, taker) = (trade.contract(), trade.taker.id());
    let later = u64::from(EPOCH) + 3600;
    Ledger::new(store.clone(), NETWORK).admit(&trade.records()[..3], later).unwrap();
    let (keeper, thread) = Keeper::start(store.clone(), NETWORK).unwrap();
    let mailbox = Mailbox::open(keeper, private, by_clock()).unwrap();
    let kept = || mailbox.fetch(&contract.mailbox(&taker), 0, usize::MAX).0;
    let [first, second, third] = [1, 2, 3].map(|epoch| seal(&trade.maker, taker, &contract, epoch).0);
    let mut made_up = contract.clone();
    made_up.trade = TradeId([7; 32]);
    for envelope in [&first, &seal(&Author::new(9), taker, &made_up, 1).0] {
        assert_eq!(mailbox.put(&envelope.encode()), Verdict::Ignore);
    }
    assert_eq!(mailbox.parked().len(), 2);

    // Nobody tells of the acceptance, and the ledger was looked at before it came.
    Ledger::new(store, NETWORK).admit(std::slice::from_ref(&trade.accept), later).unwrap();
    assert_eq!(mailbox.wait(Wait::Acceptance, second.clone()), Verdict::Accept);
    assert_eq!(kept(), [first.encode(), second.encode()]);
    assert_eq!(mailbox.parked().len(), 1);

    mailbox.parked().park(Wait::Acceptance, third.clone());
    mailbox.unpark_all();
    assert_eq!(kept(), [first.encode(), second.encode(), third.encode()]);
    assert_eq!(mailbox.parked().len(), 1, "what has no contract waits on");
    drop(mailbox);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_came_after_its_acceptance_and_before_its_bid_is_kept_and_passed_on_once_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let private = Private::new(store.clone());
    let trade = SampleTrade::new(Side::Sell);
    let (contract, taker) = (trade.contract(), trade.taker.id());
    let later = u64::from(EPOCH) + 3600;
    let comes = |record: &Record| {
        let mut ledger = Ledger::new(store.clone(), NETWORK);
        assert_eq!(ledger.admit(std::slice::from_ref(record), later).unwrap(), [Admission::New]);
    };
    [&trade.advert, &trade.offer, &trade.accept].into_iter().for_each(comes);
    let (keeper, thread) = Keeper::start(store.clone(), NETWORK).unwrap();
    let mailbox = Mailbox::open(keeper, private, by_clock()).unwrap();
    let mut sent = mailbox.sent();
    let bytes = seal(&trade.maker, taker, &contract, 1).0.encode();
    assert_eq!(mailbox.put(&bytes), Verdict::Ignore);
    mailbox.unpark_all();
    assert!(sent.try_recv().is_err());
    assert_eq!(mailbox.parked().len(), 1);

    comes(&trade.take);
    mailbox.unpark_all();
    assert_eq!(mailbox.fetch(&contract.mailbox(&taker), 0, usize::MAX).0, std::slice::from_ref(&bytes));
    assert_eq!(sent.try_recv().unwrap(), bytes);
    assert_eq!(mailbox.parked().len(), 0);
    drop(mailbox);
    thread.join().unwrap();
}

/// Nobody tells of a bid, so mail that waits for one is looked at by the clock.
#[tokio::test]
async fn mail_whose_bid_came_last_is_kept_and_passed_on_at_the_next_look() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let private = Private::new(store.clone());
    let trade = SampleTrade::new(Side::Sell);
    let (contract, taker) = (trade.contract(), trade.taker.id());
    let later = u64::from(EPOCH) + 3600;
    let all_but_the_bid = [trade.advert.clone(), trade.offer.clone(), trade.accept.clone()];
    Ledger::new(store.clone(), NETWORK).admit(&all_but_the_bid, later).unwrap();
    let (keeper, thread) = Keeper::start(store.clone(), NETWORK).unwrap();
    let mailbox = Mailbox::open(keeper, private, by_clock()).unwrap();
    let mut sent = mailbox.sent();
    let (_tell, changes) = broadcast::channel(1);
    let looks = Looks::begin(&mailbox, changes, Duration::from_millis(20));
    let bytes = seal(&trade.maker, taker, &contract, 1).0.encode();
    assert_eq!(mailbox.put(&bytes), Verdict::Ignore);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(mailbox.parked().len(), 1, "its bid is not there");

    Ledger::new(store, NETWORK).admit(std::slice::from_ref(&trade.take), later).unwrap();
    assert_eq!(next_sent(&mut sent).await, bytes);
    assert_eq!(mailbox.fetch(&contract.mailbox(&taker), 0, usize::MAX).0, [bytes]);
    assert_eq!(mailbox.parked().len(), 0);
    looks.end().await;
    drop(mailbox);
    thread.join().unwrap();
}

#[tokio::test]
async fn mail_whose_acceptance_is_told_or_was_missed_waits_for_no_look() {
    let dir = tempfile::tempdir().unwrap();
    let trade = SampleTrade::new(Side::Sell);
    let (contract, taker, later) = (trade.contract(), trade.taker.id(), u64::from(EPOCH) + 3600);
    let change = |record: &Record| {
        let (record, body) = (Arc::new(record.clone()), Arc::new(Body::decode(record).unwrap()));
        Change { record, body, own: false, forked: false, proves: false }
    };
    // There is room for one: of three that are told at once the first two are missed.
    for (name, told) in [("told", vec![&trade.accept]), ("missed", vec![&trade.accept, &trade.offer, &trade.take])] {
        let store = Store::open(dir.path().join(name), OpenOptions::default()).unwrap();
        let private = Private::new(store.clone());
        Ledger::new(store.clone(), NETWORK).admit(&trade.records()[..3], later).unwrap();
        let (keeper, thread) = Keeper::start(store.clone(), NETWORK).unwrap();
        let mailbox = Mailbox::open(keeper, private, by_clock()).unwrap();
        let mut sent = mailbox.sent();
        let (tell, changes) = broadcast::channel(1);
        let looks = Looks::begin(&mailbox, changes, Duration::from_secs(3600));
        // The first look is at once.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let bytes = seal(&trade.maker, taker, &contract, 1).0.encode();
        assert_eq!(mailbox.put(&bytes), Verdict::Ignore);
        Ledger::new(store, NETWORK).admit(std::slice::from_ref(&trade.accept), later).unwrap();
        for record in told {
            tell.send(change(record)).unwrap();
        }
        assert_eq!(next_sent(&mut sent).await, bytes, "{name}");
        looks.end().await;
        drop(mailbox);
        thread.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_whose_bid_has_come_waits_among_that_of_bids_that_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let private = Private::new(store.clone());
    let trade = SampleTrade::new(Side::Sell);
    let contract = trade.contract();
    let (keeper, thread) = Keeper::start(store.clone(), NETWORK).unwrap();
    let mailbox = Mailbox::open(keeper, private, by_clock()).unwrap();
    assert_eq!(mailbox.put(&seal(&trade.maker, trade.taker.id(), &contract, 1).0.encode()), Verdict::Ignore);
    let waits = || mailbox.parked().trades().get(&trade.id()).copied();
    mailbox.unpark_all();
    assert_eq!(waits(), Some(Wait::Bid));
    Ledger::new(store, NETWORK).admit(&trade.records()[..3], u64::from(EPOCH) + 3600).unwrap();
    mailbox.unpark_all();
    assert_eq!(waits(), Some(Wait::Acceptance));
    drop(mailbox);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_this_clock_calls_old_is_neither_dropped_nor_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let private = Private::new(store.clone());
    let trade = SampleTrade::new(Side::Sell);
    let (contract, taker) = (trade.contract(), trade.taker.id());
    Ledger::new(store.clone(), NETWORK).admit(&trade.records(), u64::from(EPOCH) + 3600).unwrap();
    let (keeper, thread) = Keeper::start(store, NETWORK).unwrap();
    // To a node whose clock is ten days ahead of the chain.
    let (now, sure) = (clock::unix_now(), SureTime::on(Network::Bitcoin));
    let mailbox = Mailbox::open(keeper, private.clone(), sure.clone()).unwrap();
    sure.show(now - 10 * 24 * 3600);
    let (envelope, opening) = seal_at(now - LIFETIME_S - 60, &trade.maker, taker, &contract, 1);
    let bytes = envelope.encode();
    let kept = || mailbox.fetch(&contract.mailbox(&taker), 0, usize::MAX).0;

    assert!(private.put_sent(&Said::new(&envelope, &opening), &bytes).unwrap());
    assert!(mailbox.outbox().is_empty(), "it is not sent");
    assert_eq!(private.outbox().unwrap(), std::slice::from_ref(&bytes));
    assert_eq!(mailbox.put(&bytes), Verdict::Accept);
    mailbox.expire();
    assert_eq!(kept(), std::slice::from_ref(&bytes));

    sure.show(now);
    assert!(mailbox.outbox().is_empty());
    assert!(private.outbox().unwrap().is_empty(), "the chain says the same");
    mailbox.expire();
    assert!(kept().is_empty());
    assert_eq!(mailbox.put(&bytes), Verdict::Ignore);
    drop(mailbox);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_mail_goes_a_page_at_a_time_and_with_one_write_each() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let private = Private::new(store.clone());
    let trade = SampleTrade::new(Side::Sell);
    let (contract, taker) = (trade.contract(), trade.taker.id());
    let (keeper, thread) = Keeper::start(store.clone(), NETWORK).unwrap();
    let (now, sure) = (clock::unix_now(), SureTime::on(Network::Bitcoin));
    let open = || Mailbox::open(keeper.clone(), private.clone(), sure.clone()).unwrap();
    let name = contract.mailbox(&taker);
    let (old, _) = seal_at(now - LIFETIME_S, &trade.maker, taker, &contract, 1);
    let (young, _) = seal_at(now - LIFETIME_S + 1, &trade.maker, taker, &contract, 2);
    let count = 2 * PAGE + 10;
    let mailbox = open();
    for seq in 0..u32::try_from(count).unwrap() {
        let envelope = Envelope { address: Address { seq, ..old.address.clone() }, ..old.clone() };
        assert!(mailbox.keep(name, &envelope).unwrap().is_some());
    }
    assert!(mailbox.keep(name, &young).unwrap().is_some());
    drop(mailbox);

    // What is on disk is read a page at a time, too.
    let mailbox = open();
    let left = || private.all_mail(None, usize::MAX).unwrap().len();
    assert!(!mailbox.expire());
    assert_eq!(left(), count + 1, "nothing is sure");
    sure.show(now);
    for (more, expected) in [(true, count + 1 - PAGE), (true, count + 1 - 2 * PAGE), (false, 1)] {
        let syncs = store.wal_syncs();
        assert_eq!(mailbox.expire(), more);
        assert_eq!((left(), store.wal_syncs() - syncs), (expected, 1));
    }
    assert!(!mailbox.expire());
    assert_eq!(private.mail_places(&name, &trade.maker.id(), usize::MAX).unwrap(), [(2, 0)]);
    assert_eq!(mailbox.fetch(&name, 0, usize::MAX).0, [young.encode()]);
    drop((mailbox, keeper));
    thread.join().unwrap();
}

#[tokio::test]
async fn runs_from_copies_of_a_directory_write_in_other_epochs_by_a_slow_clock_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let private = Private::new(store.clone());
    let trade = SampleTrade::new(Side::Sell);
    let (contract, taker) = (trade.contract(), trade.taker.id());
    let (keeper, thread) = Keeper::start(store, NETWORK).unwrap();
    let epoch = |run: &Mailbox| run.next_address(trade.maker.id(), &contract, taker).unwrap().epoch;
    // Nothing of what they would write is kept: each finds what the copy has.
    let run = || Mailbox::open(keeper.clone(), private.clone(), by_clock()).unwrap();
    let epochs = || -> HashSet<u32> { (0..4).map(|_| epoch(&run())).collect() };
    let now = u32::try_from(clock::unix_now()).unwrap();
    assert!(epochs().iter().all(|epoch| (now..now + 60).contains(epoch)), "as the clock says");

    // The last run was a thousand seconds from now.
    let (envelope, opening) = seal(&trade.maker, taker, &contract, now + 1000);
    assert!(private.put_sent(&Said::new(&envelope, &opening), &envelope.encode()).unwrap());
    let epochs = epochs();
    assert!(epochs.iter().all(|epoch| *epoch > now + 1000), "{epochs:?}");
    assert!(epochs.len() > 1, "four runs in one epoch, {epochs:?}, is chance once in 2^48");
    let run = run();
    assert_eq!(epoch(&run), epoch(&run), "a run stays in its epoch");
    drop((run, keeper));
    thread.join().unwrap();
}

/// Its sender holds the second of three back until it suits him.
#[tokio::test]
async fn nothing_is_answered_before_what_it_follows_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let private = Private::new(store.clone());
    let trade = SampleTrade::new(Side::Sell);
    let (contract, maker, taker) = (trade.contract(), trade.maker.id(), trade.taker.id());
    let (keeper, thread) = Keeper::start(store, NETWORK).unwrap();
    let mailbox = Mailbox::open(keeper, private.clone(), by_clock()).unwrap();
    let (envelope, _) = seal(&trade.taker, maker, &contract, 1);
    let mut previous = [0; 32];
    let said = [0, 1, 2].map(|seq| {
        let address = Address { seq, previous, ..envelope.address.clone() };
        let said = Said { address, ..Said::from(&envelope) };
        previous = said.id();
        said
    });
    let seen = || mailbox.next_address(maker, &contract, taker).unwrap().seen;
    assert_eq!(seen(), [0; 32]);
    for (comes, expected) in [(0, 0), (2, 0), (1, 2)] {
        private.put_received(&said[comes]).unwrap();
        assert_eq!(seen(), said[expected].id(), "{comes} came");
    }
    drop(mailbox);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_taken_in_comes_again_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let private = Private::new(store.clone());
    let (keeper, thread) = Keeper::start(store, NETWORK).unwrap();
    let mut trade = SampleTrade::new(Side::Sell);
    let contract = trade.contract();
    let pin = Pin {
        committed: true,
        offer: trade.offer.clone(),
        take: trade.take.clone(),
        accept: trade.accept.clone(),
        adverts: vec![trade.advert.clone()],
        facts: Vec::new(),
        settled: None,
    };
    private.put_trade(&contract.trade, &Local::default(), Some(&pin)).unwrap();
    let (seller, buyer) = (trade.author(Role::Seller).clone(), trade.author(Role::Buyer).id());
    let mailbox = Mailbox::open(keeper, private, by_clock()).unwrap();
    let _ = mailbox.unlock(buyer);
    // Room for two messages at a time.
    let (deliver, mut inbox) = mpsc::channel(2);
    mailbox.own().deliver = Some(deliver);
    mailbox.open_mailbox(&contract).unwrap();
    let mut last = None;
    for seq in 0..5 {
        let address = Address {
            version: 1,
            network: NETWORK,
            trade: contract.trade,
            contract: contract.hash(),
            sender: seller.id(),
            recipient: buyer,
            epoch: 1,
            seq,
            previous: last.as_ref().map_or([0; 32], Said::id),
            seen: [0; 32],
            time: clock::unix_now(),
            commitment: [0; 32],
        };
        let message = Message::Chat { text: format!("message {seq}") };
        let entropy = Entropy { seal: [1; 32], salt: [2; 32] };
        let sealed = Envelope::seal(address, &contract, &message, entropy, |bytes| seller.sign_bytes(bytes));
        let (envelope, opening) = sealed.unwrap();
        assert_eq!(mailbox.put(&envelope.encode()), Verdict::Accept);
        last = Some(Said::new(&envelope, &opening));
    }
    for expected in [vec![0, 1], vec![2, 3], vec![4], vec![]] {
        assert_eq!(heard(&mut inbox), expected);
        mailbox.deliver_waiting().unwrap();
    }
    mailbox.put_off(contract.mailbox(&buyer));
    for expected in [vec![0, 1], vec![2, 3], vec![4], vec![]] {
        mailbox.deliver_waiting().unwrap();
        assert_eq!(heard(&mut inbox), expected, "from the first on");
    }
    mailbox.put_off(contract.mailbox(&buyer));
    mailbox.close_mailbox(&contract);
    mailbox.deliver_waiting().unwrap();
    assert_eq!(heard(&mut inbox), [0; 0], "the trade is over");
    drop(mailbox);
    thread.join().unwrap();
}
