//! A ledger without old bodies is the same ledger: same state, same book, same trades; and what was agreed on stays whole.

use proptest::prelude::*;

use super::*;
use crate::audit::{Scope, audit};
use crate::body::{Accept, Cancel, Dispute, Revoke, Side, bids_for};
use crate::book::{Book, Query};
use crate::checkpoint;
use crate::ledger::{Admission, MAX_CLOCK_SKEW_S, TradeError};
use crate::record::{Place, RecordError};
use crate::state::state_hash;
use crate::storage::MemoryStorage;
use crate::testing::{
    Author, EPOCH, NETWORK, SampleTrade, admit_all, ledger, sample_accept, sample_advert, sample_offer, sample_take,
};

/// When everything in these tests is old.
const LATER: u64 = EPOCH as u64 + 200 * DAY_S;

/// A market: an agreed trade, a losing bid, a withdrawn offer, one that nobody took, one with an unanswered bid, and records of
/// unknown kinds.
fn market(trade: &mut SampleTrade) -> Vec<Record> {
    let mut records = trade.records();
    let mut rival = Author::new(9);
    records.push(rival.write(&Body::Take(sample_take(trade.offer.id(), &rival))));
    let offers: Vec<Record> =
        (0..3).map(|_| trade.maker.write(&Body::Offer(sample_offer(Side::Buy, &[trade.advert.id()])))).collect();
    records.push(trade.maker.write(&Body::Revoke(Revoke { offer: offers[0].id() })));
    records.push(trade.taker.write(&Body::Take(sample_take(offers[1].id(), &trade.taker))));
    records.extend(offers);
    for body in [vec![7; 63], vec![7; 64]] {
        let header = Header { kind: Kind::Unknown(999), ..rival.next_header(&Body::Unknown(999)) };
        records.push(rival.append(header, body));
    }
    records
}

fn look(ledger: &Ledger<MemoryStorage>, own: &Mine) -> Vec<RecordId> {
    let mut gone = Vec::new();
    let mut after = None;
    loop {
        let look = ledger.look_for_droppable(LATER, after.as_ref(), 2, own).unwrap();
        gone.extend(look.gone);
        after = look.next;
        if after.is_none() {
            return gone;
        }
    }
}

fn pruned(whole: &Ledger<MemoryStorage>) -> Ledger<MemoryStorage> {
    let mut ledger = whole.clone();
    let gone = look(&ledger, &Mine::default());
    ledger.drop_bodies(&gone).unwrap();
    ledger
}

fn all(ledger: &Ledger<MemoryStorage>) -> Vec<Record> {
    let heads = ledger.storage().heads(None, usize::MAX).unwrap();
    heads.iter().flat_map(|head| ledger.records_of(&head.log, 0, usize::MAX).unwrap()).collect()
}

#[test]
fn what_was_agreed_on_stays_whole_and_the_rest_goes() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut whole = ledger();
    let records = market(&mut trade);
    admit_all(&mut whole, &records);
    let ledger = pruned(&whole);
    let bare = ledger.storage().bare(0, None, usize::MAX).unwrap();
    let is_bare = |record: &Record| bare.iter().any(|aged| aged.place.id == record.id());
    for record in &records {
        let expected = match record.header().kind {
            Kind::Offer | Kind::Take => record.id() != trade.offer.id() && record.id() != trade.take.id(),
            Kind::Unknown(_) => record.body().len() >= 64,
            _ => false,
        };
        assert_eq!(is_bare(record), expected, "{record:?}");
    }
    assert_eq!(bare.len(), 6);
    assert!(look(&ledger, &Mine::default()).is_empty(), "nothing goes twice");
    let found = audit(&ledger, &Scope::default(), [7; 32]).unwrap();
    assert_eq!((found.bare, found.lacked, found.violations.len(), found.trades.len()), (6, 0, 0, 1));
    assert_eq!(audit(&whole, &Scope::default(), [7; 32]).unwrap().bare, 0);
}

#[test]
fn nothing_changes_but_what_cannot_be_read_any_more() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut whole = ledger();
    admit_all(&mut whole, &market(&mut trade));
    let ledger = pruned(&whole);
    assert_eq!(state_hash(ledger.storage()).unwrap(), state_hash(whole.storage()).unwrap());
    assert_eq!(
        checkpoint::at(ledger.storage(), u64::from(EPOCH) + 3).unwrap(),
        checkpoint::at(whole.storage(), u64::from(EPOCH) + 3).unwrap()
    );
    let (now, then) = (ledger.trade(trade.id()).unwrap(), whole.trade(trade.id()).unwrap());
    assert_eq!((now.contract, now.facts), (then.contract, then.facts));
    for record in all(&whole) {
        assert_eq!(ledger.offer_standing(&record).unwrap(), whole.offer_standing(&record).unwrap());
    }
    let query = Query { away: true, ..Query::default() };
    let shown = |ledger: &Ledger<MemoryStorage>| {
        Book::load(ledger, LATER).unwrap().query(&query, LATER, usize::MAX).iter().map(|e| e.id).collect::<Vec<_>>()
    };
    assert_eq!(shown(&ledger), shown(&whole));
    let lost = whole.bids(&trade.offer.id(), 9, 99).unwrap().into_iter().find(|bid| *bid != trade.id()).unwrap();
    assert!(matches!(ledger.trade(lost), Err(TradeError::Bare(trade)) if trade == lost));
    assert_eq!(ledger.bids(&trade.offer.id(), 9, 99).unwrap(), [trade.id()]);
}

#[test]
fn what_is_ones_own_or_a_cheats_is_kept() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut whole = ledger();
    let records = market(&mut trade);
    admit_all(&mut whole, &records);
    let count = |own: &Mine| look(&whole, own).len();
    assert_eq!(count(&Mine::default()), 6);
    let storage = whole.storage();
    let own = |author: &Author| Mine::of(storage, HashSet::from([author.id()]), []).unwrap();
    assert_eq!(count(&own(&trade.maker)), 3, "three offers");
    assert_eq!(count(&own(&trade.taker)), 5, "an unanswered bid");
    let lost = |record: &&Record| record.header().kind == Kind::Take && record.author() == trade.taker.id();
    let bid = records.iter().rfind(lost).unwrap();
    assert_eq!(count(&Mine::of(storage, HashSet::new(), [bid.id().into()]).unwrap()), 4, "it and its offer");

    let header = Header { kind: Kind::Heartbeat, ..*trade.accept.header() };
    admit_all(&mut whole, &[trade.maker.sign(header, Vec::new())]);
    let gone = look(&whole, &Mine::default());
    assert!(gone.iter().all(|id| whole.record(id).unwrap().unwrap().author() != trade.maker.id()), "{gone:?}");
}

#[test]
fn a_maker_who_bids_for_his_own_offer_does_not_hide_his_acceptance() {
    let mut trade = SampleTrade::new(Side::Sell);
    let bids: Vec<Record> =
        (0..MAX_FACTS).map(|_| trade.maker.write(&Body::Take(sample_take(trade.offer.id(), &trade.maker)))).collect();
    let mut maker = Author::new(2);
    let offer = maker.write(&Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()])));
    let own: Vec<Record> = bids.iter().map(|_| maker.write(&Body::Take(sample_take(offer.id(), &maker)))).collect();
    let accept = maker.write(&Body::Accept(sample_accept(&trade.take, offer.id(), &maker)));
    let mut whole = ledger();
    admit_all(&mut whole, &[vec![trade.advert.clone(), offer.clone(), trade.take.clone()], own, vec![accept]].concat());
    let standing = whole.offer_standing(&offer).unwrap();
    assert_eq!(standing, crate::ledger::OfferStanding::Accepted(trade.id()));
    let ledger = pruned(&whole);
    assert_eq!(ledger.storage().bare(0, None, usize::MAX).unwrap().len(), MAX_FACTS);
    assert_eq!(ledger.offer_standing(&offer).unwrap(), standing);
    assert!(whole.storage().about(&bids_for(&offer.id()), None, 1).unwrap().len() == 1);
}

#[test]
fn a_record_comes_without_its_body_only_if_it_is_old_and_of_a_kind_that_may() {
    let mut trade = SampleTrade::new(Side::Sell);
    let offer = trade.offer.bared().unwrap();
    assert_eq!((offer.encode().len(), offer.id()), (crate::record::BARE_LEN, trade.offer.id()));
    assert_eq!(Record::decode_any(&offer.encode()), Ok(offer.clone()));
    assert_eq!(offer.verify(), Ok(()));
    assert_eq!(offer.decoded(), Err(&RecordError::Bare));
    assert!(Record::decode(&offer.encode()).is_err(), "not where bodies are due");
    let old = offer.header().time + MIN_BARE_AGE_S;
    let mut empty = ledger();
    let too_young = empty.admit(std::slice::from_ref(&offer), old - BARE_SKEW_S - 1).unwrap();
    assert_eq!(too_young, [Admission::Invalid(RecordError::BareTooYoung)]);
    for by_other_clocks in [old - BARE_SKEW_S, old - 1] {
        assert_eq!(empty.admit(std::slice::from_ref(&offer), by_other_clocks).unwrap(), [Admission::Early]);
    }
    assert!(empty.storage().is_empty().unwrap());
    assert_eq!(empty.admit(std::slice::from_ref(&offer), old).unwrap(), [Admission::New]);
    assert_eq!(empty.admit(&[trade.offer.clone()], old).unwrap(), [Admission::Known]);

    let accept = [&trade.accept.encode()[..crate::record::BARE_LEN]].concat();
    assert!(matches!(Record::decode_any(&accept), Err(RecordError::NeverBare { kind: Kind::Accept, .. })));
    let header = Header { kind: Kind::Unknown(999), ..trade.maker.next_header(&Body::Unknown(999)) };
    let short = trade.maker.append(header, vec![1; 63]);
    assert!(short.bared().is_none());
    assert!(matches!(
        Record::decode_any(&short.encode()[..crate::record::BARE_LEN]),
        Err(RecordError::NeverBare { body_len: 63, .. })
    ));
    // One that has no body is whole.
    let beat = trade.maker.write(&Body::Heartbeat);
    assert!(!Record::decode_any(&beat.encode()).unwrap().is_bare());
}

#[test]
fn a_slow_clock_finds_no_fault_with_what_is_bare() {
    let trade = SampleTrade::new(Side::Sell);
    let bare = [trade.offer.bared().unwrap()];
    assert_eq!(ledger().admit(&bare, 0).unwrap(), [Admission::Early], "a clock that was never set");

    // One that is two days behind those of peers who keep bodies for sixty days.
    let now = bare[0].header().time + MIN_BARE_AGE_S - BARE_SKEW_S - 1;
    let fault = || Admission::Invalid(RecordError::BareTooYoung);
    let beat = |number: u8, time: u64| {
        let author = Author::new(number);
        author.sign(Header { time, ..author.next_header(&Body::Heartbeat) }, Vec::new())
    };
    let mut ledger = ledger();
    assert_eq!(ledger.admit(&bare, now).unwrap(), [fault()]);
    let early = [bare[0].clone(), beat(7, now + MAX_CLOCK_SKEW_S + 1)];
    assert_eq!(ledger.admit(&early, now).unwrap(), [Admission::Early, Admission::Early], "by what came along");
    assert_eq!(ledger.admit(&[beat(8, now + 60)], now).unwrap(), [Admission::New]);
    assert_eq!(ledger.admit(&bare, now).unwrap(), [fault()], "clocks differ by a minute");
    assert_eq!(ledger.admit(&[beat(9, now + MAX_CLOCK_SKEW_S)], now).unwrap(), [Admission::New]);
    assert_eq!(ledger.admit(&bare, now).unwrap(), [Admission::Early], "by what is here");
    assert_eq!(ledger.admit(&bare, now + BARE_SKEW_S + 1).unwrap(), [Admission::New], "once the clock is right");

    // What is wrong by itself is so by any clock.
    let author = Author::new(6);
    let chatty = author.sign(author.next_header(&Body::Heartbeat), vec![1]);
    assert!(matches!(ledger.admit(&[chatty], 0).unwrap()[..], [Admission::Invalid(RecordError::Body { .. })]));
}

#[test]
fn only_the_very_body_makes_a_bare_record_whole() {
    let trade = SampleTrade::new(Side::Sell);
    let bare = trade.offer.bared().unwrap();
    assert_eq!(bare.with_body(trade.offer.body().to_vec()), Ok(trade.offer.clone()));
    let mut other = trade.offer.body().to_vec();
    other[0] ^= 1;
    assert_eq!(bare.with_body(other), Err(RecordError::BodyHash));
    assert!(matches!(bare.with_body(vec![1]), Err(RecordError::BodyLength { found: 1, .. })));
    // A body that its author signed and that is none: it came bare, and stays so.
    let junk = trade.maker.sign(*trade.accept.header(), vec![9; 100]);
    let junk = trade.maker.sign(Header { kind: Kind::Offer, ..*junk.header() }, vec![9; 100]);
    assert!(matches!(junk.bared().unwrap().with_body(vec![9; 100]), Err(RecordError::Body { .. })));
}

#[test]
fn an_accepted_bid_that_came_bare_is_missed_and_counted() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut ledger = ledger();
    let mut records = market(&mut trade);
    let is_bid = |record: &Record| record.header().kind == Kind::Take;
    records = records.into_iter().map(|r| if is_bid(&r) { r.bared().unwrap() } else { r }).collect();
    admit_all(&mut ledger, &records);
    let found = audit(&ledger, &Scope::default(), [7; 32]).unwrap();
    assert_eq!((found.bare, found.lacked, found.trades.len(), found.violations.len()), (3, 1, 0, 0));
    let bare = ledger.storage().bare(0, None, usize::MAX).unwrap();
    let missed = |since: u64| bare.iter().filter(|aged| is_missed(ledger.storage(), aged, since).unwrap()).count();
    assert_eq!((missed(u64::MAX), missed(0)), (1, 3));
    assert_eq!(ledger.keep_bodies(&trade.records()).unwrap(), [trade.take.clone()]);
    assert_eq!(ledger.keep_bodies(&trade.records()).unwrap(), []);
    assert!(ledger.trade(trade.id()).unwrap().contract.is_some());
    // A stranger's acceptance of somebody's bid, in another log than an offer of his, makes nothing of it.
    let mut stranger = Author::new(8);
    let cancel = stranger.write(&Body::Cancel(Cancel { trade: trade.id(), refund: None }));
    let accept = stranger.write(&Body::Accept(sample_accept(&trade.take, trade.offer.id(), &stranger)));
    let mut other = self::ledger();
    admit_all(&mut other, &[trade.offer.clone(), trade.take.clone(), cancel, accept]);
    assert!(!may_be_agreed_on(other.storage(), trade.id()).unwrap());
}

/// An acceptance is about the offer and the trade that it names, whatever they are.
#[test]
fn an_acceptance_that_takes_an_offer_for_a_trade_keeps_no_body_of_it() {
    let trade = SampleTrade::new(Side::Sell);
    let (mut maker, mut taker) = (Author::new(2), trade.taker.clone());
    let [offer, other] =
        [Side::Sell, Side::Buy].map(|side| maker.write(&Body::Offer(sample_offer(side, &[trade.advert.id()]))));
    let odd = Accept { trade: offer.id().into(), ..sample_accept(&trade.take, other.id(), &maker) };
    let odd = maker.write(&Body::Accept(odd));
    let mut whole = ledger();
    admit_all(&mut whole, &[trade.advert.clone(), offer.clone(), other.clone(), trade.take.clone(), odd]);
    let gone: HashSet<RecordId> = look(&whole, &Mine::default()).into_iter().collect();
    assert_eq!(gone, HashSet::from([offer.id(), trade.take.id()]), "the other offer is accepted");

    // Nor does one that takes a bid for an offer make anything of the bid.
    let odd = Accept { trade: offer.id().into(), ..sample_accept(&trade.take, trade.take.id(), &taker) };
    let odd = taker.write(&Body::Accept(odd));
    let mut ledger = ledger();
    admit_all(&mut ledger, &[trade.take.bared().unwrap(), odd]);
    assert!(!may_be_agreed_on(ledger.storage(), trade.id()).unwrap());
}

#[test]
fn nobody_hides_an_acceptance_by_saying_much_about_the_bid() {
    let trade = SampleTrade::new(Side::Sell);
    let mut crowd = (10..=255).map(Author::new).find(|author| author.id() < trade.maker.id()).unwrap();
    let dispute = Body::Dispute(Dispute { trade: trade.id() });
    let noise: Vec<Record> = (0..MAX_SEARCHED).map(|_| crowd.write(&dispute)).collect();
    let [offer, take] = [&trade.offer, &trade.take].map(|record| record.bared().unwrap());
    let judged = |records: &[&Record]| {
        let mut ledger = ledger();
        let all: Vec<Record> = records.iter().copied().chain(&noise).cloned().collect();
        admit_all(&mut ledger, &all);
        let bare = ledger.storage().bare(0, None, usize::MAX).unwrap();
        let bid = bare.iter().find(|aged| aged.place.id == trade.take.id());
        let is_missed = bid.map(|bid| is_missed(ledger.storage(), bid, u64::MAX).unwrap());
        (is_missed, audit(&ledger, &Scope::default(), [7; 32]).unwrap().lacked)
    };
    // Of what is bare nobody can tell for which offer it is, so it may have been accepted.
    assert_eq!(judged(&[&trade.advert, &offer, &take, &trade.accept]), (Some(true), 1));
    // Where the bid names its offer, the log of its maker tells, whatever others say.
    assert_eq!(judged(&[&trade.advert, &offer, &trade.take, &trade.accept]), (None, 1));
    assert_eq!(judged(&[&trade.advert, &offer, &trade.take]), (None, 0));
}

#[test]
fn retentions_are_said_and_read() {
    for (text, retention) in
        [("full", Retention::Full), ("60", Retention::Days(60)), ("36500", Retention::Days(36_500))]
    {
        assert_eq!(text.parse(), Ok(retention));
        assert_eq!(retention.to_string(), text);
        assert_eq!(Retention::of_agent(&format!("exchange-node/1.0 {}", retention.mark())), Some(retention));
    }
    for bad in ["", "59", "36501", "180d", "Full", "-1", "1e3"] {
        assert_eq!(bad.parse::<Retention>(), Err(NotARetention), "{bad}");
    }
    for other in ["exchange-node/1.0", "", "full", "a b", "a -1d", "a 99999d", "a fulld"] {
        assert_eq!(Retention::of_agent(other), None, "{other}");
    }
    assert_eq!((Retention::Full.since(LATER), Retention::Days(60).since(LATER)), (0, LATER - 60 * DAY_S));
}

/// What somebody does in a world of a maker with two logs, a taker and a rival.
#[derive(Debug, Clone)]
enum Step {
    Offer,
    Take(usize),
    Accept(usize, usize),
    Revoke(usize),
    Unknown(u8),
    /// Signs another record in the place of his last.
    Fork,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        3 => Just(Step::Offer),
        4 => any::<usize>().prop_map(Step::Take),
        3 => any::<(usize, usize)>().prop_map(|(offer, take)| Step::Accept(offer, take)),
        1 => any::<usize>().prop_map(Step::Revoke),
        1 => (60..70_u8).prop_map(Step::Unknown),
        1 => Just(Step::Fork),
    ];
    prop::collection::vec((0..4_usize, step), 1..40)
}

fn pick(records: &[Record], at: usize) -> RecordId {
    at.checked_rem(records.len()).map_or(RecordId([1; 32]), |at| records[at].id())
}

fn world(steps: &[(usize, Step)]) -> Vec<Record> {
    let maker = Author::new(2);
    let mut authors = [maker.clone(), maker.reopened(EPOCH + 9), Author::new(3), Author::new(4)];
    let mut arbiter = Author::new(1);
    let advert = arbiter.write(&Body::ArbiterAdvert(sample_advert(&arbiter)));
    let (mut offers, mut takes, mut records) = (Vec::new(), Vec::new(), vec![advert.clone()]);
    for (who, step) in steps {
        let author = &mut authors[*who];
        let record = match step {
            Step::Offer => author.write(&Body::Offer(sample_offer(Side::Sell, &[advert.id()]))),
            Step::Take(offer) => {
                let take = sample_take(pick(&offers, *offer), author);
                author.write(&Body::Take(take))
            }
            Step::Accept(offer, take) => {
                let (offer, take) = (pick(&offers, *offer), pick(&takes, *take));
                let party = author.party();
                author.write(&Body::Accept(crate::body::Accept { trade: take.into(), offer, height: 1, party }))
            }
            Step::Revoke(offer) => author.write(&Body::Revoke(Revoke { offer: pick(&offers, *offer) })),
            Step::Unknown(len) => {
                let header = Header { kind: Kind::Unknown(999), ..author.next_header(&Body::Unknown(999)) };
                author.append(header, vec![3; usize::from(*len)])
            }
            Step::Fork => author.clone().write(&Body::Heartbeat),
        };
        match record.header().kind {
            Kind::Offer => offers.push(record.clone()),
            Kind::Take => takes.push(record.clone()),
            _ => {}
        }
        records.push(record);
    }
    records
}

/// Everything that can be asked about offers, and about the trades that can still be told.
fn check_same(one: &Ledger<MemoryStorage>, whole: &Ledger<MemoryStorage>) -> Result<(), TestCaseError> {
    prop_assert_eq!(state_hash(one.storage()).unwrap(), state_hash(whole.storage()).unwrap());
    prop_assert_eq!(one.storage().heads(None, 99).unwrap(), whole.storage().heads(None, 99).unwrap());
    for kind in [Kind::Offer, Kind::Take] {
        let places: Vec<Place> = whole.storage().of_kind(kind, None, usize::MAX).unwrap();
        prop_assert_eq!(&one.storage().of_kind(kind, None, usize::MAX).unwrap(), &places);
        for place in places {
            let record = whole.record(&place.id).unwrap().unwrap();
            prop_assert_eq!(one.has_rights(&record).unwrap(), whole.has_rights(&record).unwrap());
            if kind == Kind::Offer {
                prop_assert_eq!(one.offer_standing(&record).unwrap(), whole.offer_standing(&record).unwrap());
                continue;
            }
            match (one.trade(place.id.into()), whole.trade(place.id.into())) {
                (Ok(one), Ok(whole)) => {
                    prop_assert_eq!((one.contract, one.facts), (whole.contract, whole.facts));
                }
                (Err(TradeError::Bare(_)), Ok(whole)) => {
                    prop_assert!(whole.contract.is_none(), "what was agreed on can be told")
                }
                (Err(_), Err(_)) => {}
                (one, whole) => prop_assert!(false, "{:?} {:?}", one, whole),
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ledger_without_old_bodies_is_the_same_ledger(steps in steps(), order: u64, halves: u64) {
        let records = world(&steps);
        let mut whole = ledger();
        admit_all(&mut whole, &records);
        let one = pruned(&whole);
        check_same(&one, &whole)?;

        // As is one that takes some of them bare and some whole, in any order; and then has all whole again.
        let mut mixed: Vec<Record> = all(&one);
        let whole_ones = all(&whole);
        for (at, record) in mixed.iter_mut().enumerate() {
            if halves >> (at % 64) & 1 == 0 {
                *record = whole_ones[at].clone();
            }
        }
        mixed.sort_by_key(|record| record.id().0.map(|byte| byte ^ order.to_le_bytes()[usize::from(byte % 8)]));
        let mut other = ledger();
        admit_all(&mut other, &mixed);
        check_same(&other, &whole)?;
        other.keep_bodies(&whole_ones).unwrap();
        let restarted = Ledger::new(other.storage().clone(), NETWORK);
        check_same(&restarted, &whole)?;
        let bare = restarted.storage().bare(0, None, usize::MAX).unwrap();
        prop_assert!(bare.is_empty(), "{:?}", bare);
    }
}
