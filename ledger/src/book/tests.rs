//! What a taker sees, and that hearing of records one by one shows the same as reading the whole ledger.

use super::*;
use crate::body::{Body, Revoke};
use crate::testing::{Author, EPOCH, SampleTrade, admit_all, ledger, sample_advert, sample_offer, sats};

const NOW: u64 = EPOCH as u64 + 60;

fn shown(book: &Book, query: Query, now: u64) -> Vec<RecordId> {
    book.query(query, now).map(|entry| entry.id).collect()
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
    let book = Book::load(&ledger).unwrap();
    let pick = |picks: &[usize]| picks.iter().map(|at| offers[*at].id()).collect::<Vec<_>>();
    let euros = Query { currency: Some("EUR".parse().unwrap()), ..Query::default() };
    assert_eq!(shown(&book, Query { side: Some(Side::Sell), ..euros }, NOW), pick(&[1, 0]));
    assert_eq!(shown(&book, Query { side: Some(Side::Buy), ..euros }, NOW), pick(&[3, 2]));
    assert_eq!(shown(&book, Query::default(), NOW)[0], offers[4].id());
    assert_eq!(shown(&book, Query { amount: Some(sats(2_000_000)), ..euros }, NOW).len(), 4);
    assert!(shown(&book, Query { amount: Some(sats(2_000_001)), ..euros }, NOW).is_empty());
}

#[test]
fn a_silent_maker_is_away_and_an_ended_offer_is_gone() {
    let (records, offers) = market(&[(Side::Sell, "EUR", 1)]);
    let mut ledger = ledger();
    admit_all(&mut ledger, &records);
    let mut book = Book::load(&ledger).unwrap();
    let spoke = offers[0].header().time;
    let everything = Query { away: true, ..Query::default() };
    assert_eq!(shown(&book, Query::default(), spoke + AWAY_AFTER_S).len(), 1);
    assert!(shown(&book, Query::default(), spoke + AWAY_AFTER_S + 1).is_empty());
    let end = u64::from(EPOCH) + 30 * 24 * 3600;
    assert_eq!(shown(&book, everything, end - 1).len(), 1);
    assert!(shown(&book, everything, end).is_empty());
    book.drop_expired(end);
    assert_eq!(book.get(&offers[0].id()), None);
}

#[test]
fn records_one_by_one_show_what_the_whole_ledger_shows() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut records = trade.records();
    let second = trade.maker.write(&Body::Offer(sample_offer(Side::Buy, &[trade.advert.id()])));
    let third = trade.maker.write(&Body::Offer(sample_offer(Side::Buy, &[trade.advert.id()])));
    records.extend([second.clone(), third.clone(), trade.maker.write(&Body::Revoke(Revoke { offer: second.id() }))]);
    records.push(trade.taker.write(&Body::Revoke(Revoke { offer: third.id() }))); // none of his business
    let (mut ledger, mut book) = (ledger(), Book::default());
    for record in &records {
        admit_all(&mut ledger, std::slice::from_ref(record));
        book.apply(&ledger, record, &Body::decode(record).unwrap().subjects()).unwrap();
        let whole = Book::load(&ledger).unwrap();
        assert_eq!(shown(&book, Query::default(), NOW), shown(&whole, Query::default(), NOW));
    }
    assert_eq!(shown(&book, Query::default(), NOW), [third.id()]);
    assert_eq!(book.of_maker(&trade.maker.id()).count(), 1);
}
