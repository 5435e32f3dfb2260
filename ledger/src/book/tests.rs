//! What a taker sees, and that hearing of records one by one, in any order, shows the same as reading the whole ledger.

use proptest::prelude::*;

use super::*;
use crate::body::MAX_OFFER_LIFE_S;
use crate::record::{Header, Kind};
use crate::storage::MemoryStorage;
use crate::testing::{Author, EPOCH, SampleTrade, admit_all, ledger, sample_advert, sample_offer, sats};

const NOW: u64 = EPOCH as u64 + 60;

fn shown(book: &Book, query: &Query, now: u64) -> Vec<RecordId> {
    book.query(query, now, usize::MAX).iter().map(|entry| entry.id).collect()
}

fn everything() -> Query {
    Query { away: true, ..Query::default() }
}

/// Returns records of one arbiter and of makers who each post one offer, with the offers.
fn market(offers: &[(Side, &str, u64)]) -> (Vec<Record>, Vec<Record>) {
    let mut arbiter = Author::new(1);
    let advert = arbiter.write(&Body::ArbiterAdvert(sample_advert(&arbiter)));
    let posted: Vec<Record> = (10..)
        .zip(offers)
        .map(|(number, (side, currency, price))| {
            let mut offer = sample_offer(*side, &[advert.id()]);
            offer.currency = currency.parse().unwrap();
            offer.price = Price::new(*price).unwrap();
            Author::new(number).write(&Body::Offer(offer))
        })
        .collect();
    (std::iter::once(advert).chain(posted.clone()).collect(), posted)
}

/// Posts offers at a price that falls, so that the later stands first.
fn post(author: &mut Author, count: u64) -> Vec<Record> {
    let offer =
        |at| Offer { price: Price::new(9_000_000 - at).unwrap(), ..sample_offer(Side::Sell, &[RecordId([1; 32])]) };
    (0..count).map(|at| author.write(&Body::Offer(offer(at)))).collect()
}

/// Posts offers that end at a time.
fn post_until(author: &mut Author, count: usize, expires: u64) -> Vec<Record> {
    let offer = Body::Offer(Offer { expires, ..sample_offer(Side::Sell, &[RecordId([1; 32])]) });
    (0..count).map(|_| author.write(&offer)).collect()
}

fn revoke(author: &mut Author, offer: &Record) -> Record {
    author.write(&Body::Revoke(Revoke { offer: offer.id() }))
}

/// Accepts a bid for an offer that nobody has seen.
fn accept(author: &mut Author, offer: &Record) -> Record {
    let trade = RecordId([5; 32]).into();
    author.write(&Body::Accept(Accept { trade, offer: offer.id(), height: 1, party: author.party() }))
}

/// Says at a time that the author is there.
fn say(author: &mut Author, time: u64) -> Record {
    let header = Header { time, ..author.next_header(&Body::Heartbeat) };
    author.sign(header, Body::Heartbeat.encode())
}

/// Tells a book of records that the ledger lets in at once.
fn hear(book: &mut Book, ledger: &mut Ledger<MemoryStorage>, records: &[Record]) {
    for record in records {
        admit_all(ledger, std::slice::from_ref(record));
        book.apply(ledger, record, &Body::decode(record).unwrap()).unwrap();
    }
}

/// Compares books by all that they show.
fn assert_same(one: &Book, other: &Book) {
    assert_eq!(shown(one, &everything(), NOW), shown(other, &everything(), NOW));
    assert_eq!(shown(one, &Query::default(), NOW), shown(other, &Query::default(), NOW));
    assert_eq!(one.live(), other.live());
}

#[test]
fn the_best_offer_for_a_taker_comes_first() {
    let (records, offers) = market(&[
        (Side::Sell, "EUR", 6_200_000),
        (Side::Sell, "EUR", 6_100_000),
        (Side::Buy, "EUR", 6_000_000),
        (Side::Buy, "EUR", 6_050_000),
        (Side::Sell, "BRL", 33_000_000),
    ]);
    let mut ledger = ledger();
    admit_all(&mut ledger, &records);
    let book = Book::load(&ledger, NOW).unwrap();
    let pick = |picks: &[usize]| picks.iter().map(|at| offers[*at].id()).collect::<Vec<_>>();
    let euros = Query { currency: Some("EUR".parse().unwrap()), ..Query::default() };
    let ask = |query: Query| shown(&book, &query, NOW);
    assert_eq!(ask(Query { side: Some(Side::Sell), ..euros.clone() }), pick(&[1, 0]));
    assert_eq!(ask(Query { side: Some(Side::Buy), ..euros.clone() }), pick(&[3, 2]));
    assert_eq!(ask(Query { side: Some(Side::Buy), ..Query::default() }), pick(&[3, 2]));
    assert_eq!(ask(euros.clone()), pick(&[3, 2, 1, 0]));
    assert_eq!(ask(Query::default()), pick(&[4, 3, 2, 1, 0]));
    assert_eq!(ask(Query { amount: Some(sats(2_000_000)), ..euros.clone() }).len(), 4);
    assert!(ask(Query { amount: Some(sats(2_000_001)), ..euros.clone() }).is_empty());
    assert!(ask(Query { amount: Some(sats(399_999)), ..euros.clone() }).is_empty());
    // Page by page it is the same.
    let all = ask(Query::default());
    let after = |at: usize| Some(book.query(&Query::default(), NOW, at + 1)[at].rank());
    for at in 0..all.len() {
        assert_eq!(ask(Query { after: after(at), ..Query::default() }), all[at + 1..]);
    }
    assert_eq!(ask(Query { after: after(1), ..euros.clone() }), pick(&[2, 1, 0]));
    assert_eq!(ask(Query { after: after(0), ..euros }), pick(&[3, 2, 1, 0]), "a place before the market");
}

#[test]
fn offers_are_found_by_the_words_of_their_methods_currency_and_terms() {
    let (records, offers) = market(&[(Side::Sell, "EUR", 1), (Side::Sell, "BRL", 1)]);
    let mut ledger = ledger();
    admit_all(&mut ledger, &records);
    let book = Book::load(&ledger, NOW).unwrap();
    let ask = |text: &str| shown(&book, &Query { words: Words::of(text), ..Query::default() }, NOW).len();
    assert_eq!((ask("sepa"), ask("SEPA, Revolut!"), ask("own accounts"), ask("")), (2, 2, 2, 2));
    assert_eq!(shown(&book, &Query { words: Words::of("sepa eur"), ..Query::default() }, NOW), [offers[0].id()]);
    assert_eq!((ask("wise"), ask("sepa wise"), ask("sep")), (0, 0, 0));
}

#[test]
fn a_silent_maker_is_away_and_an_ended_offer_is_gone() {
    let (records, offers) = market(&[(Side::Sell, "EUR", 1)]);
    let mut ledger = ledger();
    admit_all(&mut ledger, &records);
    let spoke = offers[0].header().time;
    let mut book = Book::load(&ledger, spoke).unwrap();
    let silent = spoke + AWAY_AFTER_S + 1;
    assert_eq!(shown(&book, &Query::default(), silent - 1).len(), 1);
    assert!(shown(&book, &Query::default(), silent).is_empty(), "even before the book was told the time");
    assert_eq!(book.advance(&ledger, silent, silent).unwrap(), []);
    assert_eq!((book.live(), shown(&book, &everything(), silent).len()), (0, 1));
    let his = |away| Query { makers: vec![offers[0].author()], away, ..Query::default() };
    assert_eq!(
        [false, true].map(|away| shown(&book, &his(away), silent).len()),
        [0, 1],
        "by his name he is no less away"
    );

    // He speaks again, and falls silent again.
    let mut maker = Author::new(10);
    book.see(&say(&mut maker, silent));
    assert_eq!(shown(&book, &Query::default(), silent).len(), 1);
    book.advance(&ledger, silent + AWAY_AFTER_S, silent + AWAY_AFTER_S).unwrap();
    assert_eq!(book.live(), 1);
    book.advance(&ledger, silent + AWAY_AFTER_S + 1, silent + AWAY_AFTER_S + 1).unwrap();
    assert_eq!(book.live(), 0);

    let end = u64::from(EPOCH) + MAX_OFFER_LIFE_S;
    assert_eq!(shown(&book, &everything(), end - 1).len(), 1);
    assert!(shown(&book, &everything(), end).is_empty());
    assert_eq!(book.advance(&ledger, end, end - 1).unwrap(), [], "only this clock says so");
    assert_eq!(book.advance(&ledger, end, end).unwrap(), [offers[0].id()]);
    assert_eq!(book.advance(&ledger, end, end).unwrap(), [], "it is told once");
    assert_eq!(book.place_of(&offers[0].author(), &offers[0].id()), None);
    assert_eq!(Book::load(&ledger, end).unwrap().of_maker(&offers[0].author()).count(), 0);
    assert!(book.makers.is_empty() && book.silences.is_empty() && book.ends.is_empty());
}

#[test]
fn records_one_by_one_show_what_the_whole_ledger_shows() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut records = trade.records();
    let second = trade.maker.write(&Body::Offer(sample_offer(Side::Buy, &[trade.advert.id()])));
    let third = trade.maker.write(&Body::Offer(sample_offer(Side::Buy, &[trade.advert.id()])));
    records.extend([second.clone(), third.clone(), revoke(&mut trade.maker, &second)]);
    records.push(revoke(&mut trade.taker, &third)); // none of his business
    let (mut ledger, mut book) = (ledger(), Book::default());
    for record in &records {
        hear(&mut book, &mut ledger, std::slice::from_ref(record));
        assert_same(&book, &Book::load(&ledger, NOW).unwrap());
    }
    assert_eq!(shown(&book, &Query::default(), NOW), [third.id()]);
    assert_eq!(book.of_maker(&trade.maker.id()).count(), 1);
}

#[test]
fn the_first_offers_of_an_author_stand_and_the_next_takes_the_place_of_one_that_ends() {
    let mut maker = Author::new(9);
    let offers = post(&mut maker, 11);
    let (mut ledger, mut book) = (ledger(), Book::default());
    hear(&mut book, &mut ledger, &offers);
    let standing = |book: &Book| {
        let mut ids = shown(book, &everything(), NOW);
        ids.reverse(); // the later is the better, see `post`
        ids
    };
    let ids: Vec<RecordId> = offers.iter().map(Record::id).collect();
    assert_eq!(standing(&book), ids[..8]);
    assert_eq!(book.place_of(&maker.id(), &ids[7]), Some(Place::Stands));
    assert_eq!(book.place_of(&maker.id(), &ids[8]), Some(Place::Waits));

    let withdrawn = revoke(&mut maker, &offers[3]);
    hear(&mut book, &mut ledger, &[withdrawn]);
    assert_eq!(standing(&book), [&ids[..3], &ids[4..9]].concat());
    let accepted = accept(&mut maker, &offers[0]);
    hear(&mut book, &mut ledger, &[accepted]);
    assert_eq!(
        standing(&book),
        [&ids[1..3], &ids[4..10]].concat(),
        "an acceptance uses an offer up, whatever it names"
    );
    let withdrawn = revoke(&mut maker, &offers[10]);
    hear(&mut book, &mut ledger, &[withdrawn]);
    assert_eq!(standing(&book), [&ids[1..3], &ids[4..10]].concat(), "one that waits leaves");
    assert_same(&book, &Book::load(&ledger, NOW).unwrap());
}

#[test]
fn a_stake_lets_more_offers_stand_as_long_as_it_counts() {
    let mut maker = Author::new(9);
    let (mut ledger, mut book) = (ledger(), Book::default());
    let mut records = post(&mut maker, 70);
    records.extend(post(&mut Author::new(8), 10));
    hear(&mut book, &mut ledger, &records);
    let count = |book: &Book| shown(book, &everything(), NOW).len();
    assert_eq!(count(&book), 16);
    book.set_staked(&ledger, HashSet::from([maker.id()])).unwrap();
    assert_eq!((count(&book), book.quota(&maker.id())), (64 + 8, 64));
    assert_eq!(book.crowded(), HashSet::from([maker.id(), Author::new(8).id()]), "even when all stand");
    book.set_staked(&ledger, HashSet::new()).unwrap();
    assert_eq!((count(&book), book.quota(&maker.id())), (16, 8));
    assert_same(&book, &Book::load(&ledger, NOW).unwrap());
}

#[test]
fn an_offer_whose_place_is_earlier_stands_even_if_it_came_later() {
    let maker = Author::new(9);
    let late = post(&mut maker.reopened(EPOCH + 1), 8);
    let early = post(&mut maker.reopened(EPOCH), 2);
    let (mut ledger, mut book) = (ledger(), Book::default());
    hear(&mut book, &mut ledger, &late);
    hear(&mut book, &mut ledger, &early);
    let stands = |record: &Record| book.place_of(&maker.id(), &record.id()) == Some(Place::Stands);
    assert!(early.iter().all(stands) && late[..6].iter().all(stands) && !late[6..].iter().any(stands));
}

#[test]
fn a_flood_of_offers_is_remembered_in_part_and_read_again_when_its_turn_comes() {
    let mut maker = Author::new(9);
    let offers = post(&mut maker, 700);
    let (mut ledger, mut book) = (ledger(), Book::default());
    hear(&mut book, &mut ledger, &offers);
    assert_eq!(book.of_maker(&maker.id()).count(), LIVE_OFFERS + makers::MAX_WAITING_OFFERS);
    let mut left: Vec<RecordId> = offers.iter().map(Record::id).collect();
    for (number, offer) in offers.iter().enumerate() {
        let withdrawn = revoke(&mut maker, offer);
        hear(&mut book, &mut ledger, &[withdrawn]);
        left.remove(0);
        let mut expected: Vec<RecordId> = left.iter().take(LIVE_OFFERS).copied().collect();
        expected.reverse();
        assert_eq!(shown(&book, &everything(), NOW), expected, "after {number}");
        assert!(book.of_maker(&maker.id()).count() <= LIVE_OFFERS + makers::MAX_WAITING_OFFERS);
    }
    assert!(book.makers.is_empty() && book.entries.iter().all(Option::is_none));
}

#[test]
fn a_flood_of_offers_that_have_ended_is_read_bit_by_bit_and_hides_no_open_one() {
    const DEAD: usize = 5_000;
    let soon = u64::from(EPOCH) + DEAD as u64 + 100;
    let end = soon + 100;
    let (mut maker, mut later) = (Author::new(9), Author::new(9).reopened(EPOCH + 1));
    let dead = post_until(&mut later, DEAD, soon);
    let open = post(&mut later, 1);
    let short = post_until(&mut maker, LIVE_OFFERS + makers::MAX_WAITING_OFFERS + 1, end);
    let mut ledger = ledger();
    admit_all(&mut ledger, &[dead.as_slice(), &open, &short].concat());
    let listed = |ledger: &Ledger<MemoryStorage>| ledger.storage().open_offers(None, usize::MAX).unwrap();

    let mut book = Book::load(&ledger, soon).unwrap();
    assert_eq!(book.of_maker(&maker.id()).count(), LIVE_OFFERS + makers::MAX_WAITING_OFFERS);
    let gone = book.advance(&ledger, soon, soon).unwrap();
    assert_eq!(gone.len(), DEAD, "what had ended when the book was read");
    ledger.forget_open(&gone).unwrap();
    assert_eq!(listed(&ledger).len(), short.len() + 1);

    let mut ticks = 0;
    while book.place_of(&maker.id(), &open[0].id()) != Some(Place::Stands) {
        let gone = book.advance(&ledger, end, end).unwrap();
        ledger.forget_open(&gone).unwrap();
        assert!(book.read <= changes::MAX_READ, "{} offers were read at once", book.read);
        ticks += 1;
        assert!(ticks <= DEAD, "it is never found");
    }
    // Also one that ended and was not remembered, and the open one.
    assert_eq!(ticks, (DEAD + 2).div_ceil(changes::MAX_READ));
    assert!(book.short.is_empty());

    let mut loaded = Book::load(&ledger, end).unwrap();
    assert_same(&book, &loaded);
    let gone = loaded.advance(&ledger, end, end).unwrap();
    ledger.forget_open(&gone).unwrap();
    assert_eq!(listed(&ledger), [open[0].id()], "the next start reads no more");
}

#[test]
fn what_ended_without_room_to_note_it_is_found_again() {
    const ROOM: usize = 6_000;
    const EACH: usize = ROOM / 2 + 1_500;
    let soon = u64::from(EPOCH) + EACH as u64 + 100;
    let mut authors = [Author::new(8), Author::new(9)];
    let mut ended: Vec<Record> = Vec::new();
    for author in &mut authors {
        ended.extend(post_until(author, EACH, soon));
    }
    let open = post(&mut authors[1], 1);
    let mut ledger = ledger();
    admit_all(&mut ledger, &[ended.as_slice(), &open].concat());
    let book = Book { now: soon, ended: Ended::with_room(ROOM), ..Book::default() };
    let mut book = book.filled(&ledger).unwrap();
    assert_eq!(book.advance(&ledger, soon, 0).unwrap(), [], "nothing is sure yet");
    for _ in 0..20 {
        let gone = book.advance(&ledger, soon, soon).unwrap();
        ledger.forget_open(&gone).unwrap();
    }
    assert_eq!(ledger.storage().open_offers(None, usize::MAX).unwrap(), [open[0].id()]);
    assert_eq!(shown(&book, &everything(), soon), [open[0].id()]);
    assert!(!book.overlooked && book.looked_up_to.is_none());
}

#[test]
fn what_is_not_remembered_stands_when_what_waited_before_it_has_ended() {
    let mut maker = Author::new(9);
    let end = NOW + 1_000;
    let (long, short) = (post(&mut maker, 7), post_until(&mut maker, 1 + makers::MAX_WAITING_OFFERS, end));
    let more = post(&mut maker, 5);
    let (mut ledger, mut book) = (ledger(), Book::default());
    hear(&mut book, &mut ledger, &[long, short, more.clone()].concat());
    assert_eq!(book.place_of(&maker.id(), &more[0].id()), None);
    book.advance(&ledger, end, end).unwrap();
    assert_eq!(book.place_of(&maker.id(), &more[0].id()), Some(Place::Stands));
    assert_same(&book, &Book::load(&ledger, end).unwrap());
}

#[test]
fn of_an_author_who_signed_two_histories_nothing_more_is_read() {
    let mut maker = Author::new(9);
    let offers = post(&mut maker, 600);
    let (mut ledger, mut book) = (ledger(), Book::default());
    hear(&mut book, &mut ledger, &offers);
    let header = Header { kind: Kind::Heartbeat, ..*offers[599].header() };
    admit_all(&mut ledger, &[maker.sign(header, Vec::new())]);
    book.recheck_author(&ledger, &maker.id()).unwrap();
    assert_eq!((book.read, book.of_maker(&maker.id()).count()), (0, 0));
    assert!(book.makers.is_empty() && book.short.is_empty());
}

#[test]
fn what_a_clock_that_was_ahead_called_ended_stands_again_when_it_is_set_right() {
    let mut maker = Author::new(9);
    let offers = post(&mut maker, 3);
    let (mut ledger, mut book) = (ledger(), Book::default());
    hear(&mut book, &mut ledger, &offers);
    let before = shown(&book, &everything(), NOW);
    let ahead = NOW + MAX_OFFER_LIFE_S;
    assert_eq!(book.advance(&ledger, ahead, NOW).unwrap(), [], "nothing is sure");
    assert!(shown(&book, &everything(), ahead).is_empty());
    let mut loaded = Book::load(&ledger, ahead).unwrap();
    for book in [&mut book, &mut loaded] {
        assert_eq!(book.advance(&ledger, NOW, NOW).unwrap(), []);
        assert_eq!(shown(book, &everything(), NOW), before);
        assert_eq!(book.ended.take_until(u64::MAX), []);
    }
}

#[test]
fn an_offer_whose_body_comes_back_stands_again_if_it_is_open() {
    let mut maker = Author::new(9);
    let offers = post(&mut maker, 3);
    let ended = post_until(&mut maker, 1, NOW - 10);
    let decisions = [revoke(&mut maker, &offers[1]), accept(&mut maker, &offers[2])];
    let all = [offers.as_slice(), &ended].concat();
    let mut ledger = ledger();
    admit_all(&mut ledger, &[all.as_slice(), &decisions].concat());
    // As by a clock that was months ahead.
    let ids: Vec<RecordId> = all.iter().map(Record::id).collect();
    ledger.drop_bodies(&ids).unwrap();
    let mut book = Book::load(&ledger, NOW).unwrap();
    assert!(book.makers.is_empty());

    for record in ledger.keep_bodies(&all).unwrap() {
        let (record, offer) = ledger.offer(&record.id()).unwrap().unwrap();
        book.restore(&ledger, &record, &offer).unwrap();
    }
    assert_eq!(shown(&book, &everything(), NOW), [offers[0].id()]);
    assert_same(&book, &Book::load(&ledger, NOW).unwrap());
    let gone = book.advance(&ledger, NOW, NOW).unwrap();
    assert_eq!(gone, [ended[0].id()], "nearly all that come back have ended");
    ledger.forget_open(&gone).unwrap();
    assert_same(&book, &Book::load(&ledger, NOW).unwrap());
}

#[test]
fn what_waits_takes_its_place_when_an_offer_ends_by_time() {
    let mut maker = Author::new(9);
    let short = Offer { expires: NOW + 100, ..sample_offer(Side::Sell, &[RecordId([1; 32])]) };
    let records: Vec<Record> = std::iter::once(maker.write(&Body::Offer(short))).chain(post(&mut maker, 8)).collect();
    let (mut ledger, mut book) = (ledger(), Book::default());
    hear(&mut book, &mut ledger, &records);
    assert_eq!(book.place_of(&maker.id(), &records[8].id()), Some(Place::Waits));
    assert_eq!(book.advance(&ledger, NOW + 100, NOW + 100).unwrap(), [records[0].id()]);
    assert_eq!(book.place_of(&maker.id(), &records[8].id()), Some(Place::Stands));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Three logs of two authors, interleaved in any way and let in with any commits: what stands does not depend on what
    /// came first, nor on what was let in together.
    #[test]
    fn no_order_of_arrival_changes_what_stands(
        order in prop::collection::vec(0usize..3, 60),
        ends in prop::collection::vec((0usize..20, any::<bool>()), 6),
        commits in prop::collection::vec(1usize..9, 60),
    ) {
        let (one, other) = (Author::new(8), Author::new(9));
        let mut logs: Vec<Vec<Record>> = Vec::new();
        for mut author in [one.reopened(EPOCH), one.reopened(EPOCH + 1), other] {
            let mut log = post(&mut author, 14);
            for (at, by_accepting) in &ends {
                let target = log.get(*at).or_else(|| logs.first().and_then(|first| first.get(at - 14))).cloned();
                let end = if *by_accepting { accept } else { revoke };
                log.extend(target.map(|target| end(&mut author, &target)));
            }
            logs.push(log);
        }
        let (mut ledger, mut book) = (ledger(), Book::default());
        let mut left: Vec<std::vec::IntoIter<Record>> = logs.into_iter().map(IntoIterator::into_iter).collect();
        let order = order.into_iter().chain([0; 20]).chain([1; 20]).chain([2; 20]);
        let mut arriving = order.filter_map(|at| left[at].next()).collect::<Vec<_>>().into_iter();
        for size in commits.into_iter().cycle() {
            let mut commit: Vec<Record> = arriving.by_ref().take(size).collect();
            commit.reverse();
            if commit.is_empty() {
                break;
            }
            admit_all(&mut ledger, &commit);
            let mut told: Vec<&Record> = commit.iter().collect();
            told.sort_by_key(|record| record.header().seq);
            for record in told {
                book.apply(&ledger, record, &Body::decode(record).unwrap()).unwrap();
            }
        }
        assert_same(&book, &Book::load(&ledger, NOW).unwrap());
        prop_assert!(shown(&book, &everything(), NOW).len() <= 2 * LIVE_OFFERS);
    }
}
