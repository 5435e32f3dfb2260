//! What the maker of an offer answers, in which log and in which order, and what is left of it when somebody signs two
//! histories.

use super::Case;
use crate::body::{Accept, Body, Dispute, GroupConfirm, GroupStep, Party, Revoke, Side};
use crate::ids::{RecordId, TradeId};
use crate::record::{FLAG_CRITICAL, Header, Kind, Record};
use crate::testing::{Author, EPOCH, SampleTrade, funding_of, sample_accept, sample_offer, sample_take};
use crate::trade::Escrow;
use crate::wire::List;

/// When a log is opened after the first.
const LATER: u32 = EPOCH + 500;
/// What a log claims that is to come before the first.
const OLDER: u32 = 1;

/// A kind of a later version.
const UNKNOWN: Kind = Kind::Unknown(999);

/// A trade whose bid was not answered yet, and the bid of another taker.
struct Asked {
    trade: SampleTrade,
    rival: Record,
    /// The maker, his offer written.
    maker: Author,
}

impl Asked {
    fn new() -> Self {
        let trade = SampleTrade::new(Side::Sell);
        let mut rival = Author::new(9);
        let rival = rival.write(&Body::Take(sample_take(trade.offer.id(), &rival)));
        let mut maker = Author::new(2);
        assert_eq!(maker.append(*trade.offer.header(), trade.offer.body().to_vec()), trade.offer);
        Self { trade, rival, maker }
    }

    fn accept(&self, bid: &Record) -> Body {
        Body::Accept(sample_accept(bid, self.trade.offer.id(), &self.maker))
    }

    /// An acceptance of the sample's bid that brings something else.
    fn accept_with(&self, change: impl FnOnce(&mut Party)) -> Body {
        let mut accept = sample_accept(&self.trade.take, self.trade.offer.id(), &self.maker);
        change(&mut accept.party);
        Body::Accept(accept)
    }

    fn revoke(&self) -> Body {
        Body::Revoke(Revoke { offer: self.trade.offer.id() })
    }

    /// Advert, offer and both bids, and what is said of them.
    fn case(&self, name: &str, more: &[Record]) -> Case {
        let SampleTrade { advert, offer, take, .. } = &self.trade;
        let asked = [advert.clone(), offer.clone(), take.clone(), self.rival.clone()];
        Case::new(name, offer, &[take, &self.rival], [&asked[..], more].concat())
    }

    /// What the maker says, one after the other, in the log of his offer.
    fn says(&self, bodies: &[Body]) -> Vec<Record> {
        said(&mut self.maker.clone(), bodies)
    }
}

fn said(author: &mut Author, bodies: &[Body]) -> Vec<Record> {
    bodies.iter().map(|body| author.write(body)).collect()
}

/// Another record in the place of one, a second later.
fn twin(author: &Author, of: &Record) -> Record {
    author.sign(Header { time: of.header().time + 1, ..*of.header() }, of.body().to_vec())
}

/// Two records in the next place of an author's log, of which he goes on from the first.
fn fork(author: &mut Author) -> [Record; 2] {
    let first = author.write(&Body::Heartbeat);
    let other = twin(author, &first);
    [first, other]
}

/// A record without a body, of any kind and with any flags.
fn write_as(author: &mut Author, kind: Kind, flags: u8) -> Record {
    let header = Header { kind, flags, ..author.next_header(&Body::Heartbeat) };
    author.append(header, Vec::new())
}

pub(super) fn cases() -> Vec<Case> {
    [orders(), broken(), forks(), criticals(), crowds()].into_iter().flatten().collect()
}

/// Which answer decides.
fn orders() -> Vec<Case> {
    let asked = Asked::new();
    let [accept, rivals] = [&asked.trade.take, &asked.rival].map(|bid| asked.accept(bid));
    let elsewhere = |epoch: u32, body: &Body| asked.maker.reopened(epoch).write(body);
    let here = |body: &Body| asked.maker.clone().write(body);

    // Both at one second, and the later one with the smaller id.
    let mut maker = asked.maker.clone();
    let first = maker.write(&accept);
    let at_once = Header { time: first.header().time, ..maker.next_header(&rivals) };
    let stating = |height| Accept { height, ..sample_accept(&asked.rival, asked.trade.offer.id(), &maker) };
    let mut seconds = (0..).map(|height| maker.sign(at_once, Body::Accept(stating(height)).encode()));
    let second = seconds.find(|second| second.id() < first.id()).unwrap();
    let elses = Body::Accept(Accept {
        trade: TradeId(asked.trade.offer.id().0),
        ..sample_accept(&asked.trade.take, RecordId([5; 32]), &asked.maker)
    });
    let of_none = Body::Accept(Accept {
        trade: TradeId([7; 32]),
        ..sample_accept(&asked.trade.take, asked.trade.offer.id(), &asked.maker)
    });
    vec![
        asked.case("two bids, and no answer", &[]),
        asked.case("one of two bids is accepted", &[here(&accept)]),
        asked.case("both are accepted, at one second: the first in the log", &[first, second]),
        asked.case("accepted, then withdrawn", &asked.says(&[accept.clone(), asked.revoke()])),
        asked.case("withdrawn, then accepted", &asked.says(&[asked.revoke(), accept.clone()])),
        asked.case("accepted in another log only", &[elsewhere(LATER, &accept)]),
        asked.case(
            "accepted in a log that claims to be older, and the other bid beside the offer",
            &[elsewhere(OLDER, &accept), here(&rivals)],
        ),
        asked.case("withdrawn in another log", &[elsewhere(LATER, &asked.revoke())]),
        asked.case(
            "accepted and withdrawn in another log",
            &said(&mut asked.maker.reopened(LATER), &[accept.clone(), asked.revoke()]),
        ),
        asked.case(
            "accepted beside the offer, withdrawn in a log that claims to be older",
            &[here(&accept), elsewhere(OLDER, &asked.revoke())],
        ),
        asked.case(
            "an acceptance whose trade is this offer, and which names another offer, then one of a bid",
            &asked.says(&[elses, accept.clone()]),
        ),
        asked.case("an acceptance of a trade that there is not, then one of a bid", &asked.says(&[of_none, accept])),
        asked.case("a stranger accepts and withdraws", &said(&mut Author::new(8), &[rivals, asked.revoke()])),
    ]
}

/// An acceptance that decides and makes no contract, and after it one that would.
fn broken() -> Vec<Case> {
    let asked = Asked::new();
    let SampleTrade { arbiter, taker, .. } = &asked.trade;
    let good = asked.accept(&asked.trade.take);
    let broken = [
        ("the arbiter's key", asked.accept_with(|party| party.trade_key = arbiter.party().trade_key)),
        ("the taker's key", asked.accept_with(|party| party.trade_key = taker.party().trade_key)),
        ("the arbiter's destination", asked.accept_with(|party| party.destination = arbiter.party().destination)),
        ("the taker's destination", asked.accept_with(|party| party.destination = taker.party().destination)),
        ("a key for messages of small order", asked.accept_with(|party| party.seal_key = [0; 32])),
    ];
    let mut cases: Vec<Case> = broken
        .into_iter()
        .map(|(name, body)| asked.case(&format!("accepted with {name}"), &asked.says(&[body, good.clone()])))
        .collect();
    let ends = u64::from(EPOCH) + 30 * 24 * 3600;
    for (name, time) in [("a second before the offer ends", ends - 1), ("when the offer ends", ends)] {
        let header = Header { time, ..asked.maker.next_header(&good) };
        cases.push(asked.case(&format!("accepted {name}"), &[asked.maker.sign(header, good.encode())]));
    }
    cases
}

/// What counts of those who sign two histories.
fn forks() -> Vec<Case> {
    let asked = Asked::new();
    let [accept, rivals] = [&asked.trade.take, &asked.rival].map(|bid| asked.accept(bid));
    let SampleTrade { offer, advert, take, arbiter, taker, .. } = &asked.trade;
    let accepted = asked.maker.clone().write(&accept);
    let in_its_place = |body: &Body| asked.maker.sign(asked.maker.next_header(body), body.encode());
    // A withdrawal that comes before the acceptance in the order of ids.
    let next = asked.maker.next_header(&asked.revoke());
    let at = |time| asked.maker.sign(Header { time, ..next }, asked.revoke().encode());
    let withdrawn = (next.time..).map(at).find(|record| record.id() < accepted.id()).unwrap();

    let mut maker = asked.maker.clone();
    let before = fork(&mut maker);
    let frozen = [before.to_vec(), vec![maker.write(&accept)]].concat();
    let rival_frozen = [frozen.clone(), vec![maker.write(&rivals)]].concat();
    let mut maker = asked.maker.clone();
    let after = [vec![maker.write(&accept)], fork(&mut maker).to_vec()].concat();
    let elsewhere = fork(&mut asked.maker.reopened(LATER));
    // Whose log goes on after what he wrote for the trade.
    let gone_on = |mut author: Author, last: &Record| {
        author.append(*last.header(), last.body().to_vec());
        author
    };
    let takers_fork = fork(&mut gone_on(Author::new(3), take));
    let arbiters_fork = fork(&mut gone_on(Author::new(1), advert));
    let with = |first: &Record, more: &[Record]| [std::slice::from_ref(first), more].concat();

    let funding = funding_of(&Escrow::new(&asked.trade.contract()), 1);
    let mut funded = asked.case("the maker forked before he accepted, and it is funded", &frozen);
    funded.seen.push((funding, Some(super::TIP - 2)));

    // An offer at the fork of its log.
    let mut other = asked.maker.reopened(LATER);
    let open = other.write(&Body::Offer(sample_offer(Side::Sell, &[advert.id()])));
    let mut bidder = Author::new(7);
    let bid = bidder.write(&Body::Take(sample_take(open.id(), &bidder)));
    let agreed = other.write(&Body::Accept(sample_accept(&bid, open.id(), &other)));
    let frozen_offer = vec![advert.clone(), open.clone(), twin(&other, &open), bid.clone(), agreed];
    vec![
        asked.case("two bids are accepted in one place", &[accepted.clone(), in_its_place(&rivals)]),
        asked.case("a bid is accepted twice in one place", &[accepted.clone(), twin(&asked.maker, &accepted)]),
        asked.case("accepted and withdrawn in one place", &[accepted.clone(), withdrawn]),
        asked.case("the maker forked before he accepted", &frozen),
        asked.case("the maker forked before he accepted both bids", &rival_frozen),
        funded,
        asked.case("the maker forked after he accepted", &after),
        asked.case("the maker forked, and no bid was accepted", &before),
        asked.case("the maker forked in another log, and no bid was accepted", &elsewhere),
        asked.case("the maker accepted, and forked in another log", &with(&accepted, &elsewhere)),
        asked.case("a taker forked, and no bid was accepted", &takers_fork),
        asked.case("a taker forked after he bid, and his bid is accepted", &with(&accepted, &takers_fork)),
        asked.case("a taker bid twice in one place, and one is accepted", &[accepted.clone(), twin(taker, take)]),
        asked.case("an arbiter forked", &with(&accepted, &arbiters_fork)),
        asked.case("an arbiter's advert is frozen", &with(&accepted, &[twin(arbiter, advert)])),
        Case::new("an offer at the fork of its log, and a bid accepted behind it", &open, &[&bid], frozen_offer),
        Case::new("an offer of a maker who forked elsewhere", &open, &[&bid], {
            let market = [advert.clone(), offer.clone(), open.clone(), bid.clone()];
            [&market[..], &before[..]].concat()
        }),
    ]
}

/// What stands behind a record that somebody would have to understand.
fn criticals() -> Vec<Case> {
    let asked = Asked::new();
    let accept = asked.accept(&asked.trade.take);
    let behind = |kind: Kind, flags: u8| {
        let mut maker = asked.maker.clone();
        let first = write_as(&mut maker, kind, flags);
        [first, maker.write(&accept)]
    };
    let mut maker = asked.maker.reopened(LATER);
    let first = write_as(&mut maker, UNKNOWN, FLAG_CRITICAL);
    let offer = maker.write(&Body::Offer(sample_offer(Side::Sell, &[asked.trade.advert.id()])));
    let mut taker = Author::new(3);
    let bid = taker.write(&Body::Take(sample_take(offer.id(), &taker)));
    let accepted = maker.write(&Body::Accept(sample_accept(&bid, offer.id(), &maker)));
    let market = vec![asked.trade.advert.clone(), first, offer.clone(), bid.clone()];

    let mut late = Author::new(7);
    let before = write_as(&mut late, UNKNOWN, FLAG_CRITICAL);
    let late_bid = late.write(&Body::Take(sample_take(asked.trade.offer.id(), &late)));
    let accepted_late = asked.maker.clone().write(&asked.accept(&late_bid));
    let name = "a bid behind a critical record of an unknown kind, and it is accepted";
    let mut of_late = asked.case(name, &[before, late_bid.clone(), accepted_late]);
    of_late.trades.push(late_bid.id().into());
    vec![
        asked.case("accepted behind a record of an unknown kind", &behind(UNKNOWN, 0)),
        asked.case("accepted behind a critical record of a known kind", &behind(Kind::Heartbeat, FLAG_CRITICAL)),
        asked.case("accepted behind a critical record of an unknown kind", &behind(UNKNOWN, FLAG_CRITICAL)),
        Case::new("an offer behind a critical record of an unknown kind", &offer, &[&bid], market.clone()),
        Case::new(
            "an offer behind a critical record of an unknown kind, and a bid accepted",
            &offer,
            &[&bid],
            [market, vec![accepted]].concat(),
        ),
        of_late,
    ]
}

/// How much is looked at.
fn crowds() -> Vec<Case> {
    let asked = Asked::new();
    let accept = asked.accept(&asked.trade.take);
    let about = TradeId(asked.trade.offer.id().0);
    let dispute = Body::Dispute(Dispute { trade: about });
    let confirm =
        GroupConfirm { group: asked.trade.offer.id(), signature: [0; 64], kept: List::new(Vec::new()).unwrap() };
    let named =
        Body::Accept(Accept { trade: about, ..sample_accept(&asked.trade.take, RecordId([5; 32]), &asked.maker) });
    // Whatever says it, and whether or not it says something.
    let crowd = |count: usize| {
        let first = [named.clone(), Body::GroupStep(GroupStep::Confirm(confirm.clone()))];
        let more = std::iter::repeat_n(dispute.clone(), count - first.len());
        first.into_iter().chain(more).collect::<Vec<Body>>()
    };
    let then = |count: usize, last: &Body| asked.says(&[crowd(count), vec![last.clone()]].concat());
    let withdrawn = |count: usize| {
        let before = said(&mut asked.maker.reopened(OLDER), &crowd(count));
        [before, vec![asked.maker.reopened(LATER).write(&asked.revoke())]].concat()
    };
    vec![
        asked.case("accepted as the 64th record about the offer", &then(63, &accept)),
        asked.case("accepted as the 65th record about the offer", &then(64, &accept)),
        asked.case("withdrawn in another log, as the 64th record of all logs", &withdrawn(63)),
        asked.case("withdrawn in another log, as the 65th record of all logs", &withdrawn(64)),
    ]
}
