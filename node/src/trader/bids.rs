//! Which bids the trader looks at. A crowd of bidders must neither hide an honest bid nor crowd out a trade: whatever is
//! agreed on is driven in any case.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::time::Instant;

use exchange_ledger::body::Body;
use exchange_ledger::book::{LIVE_OFFERS, Place};
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::ledger::{Ledger, OfferStanding};
use exchange_ledger::record::{Kind, Record};
use exchange_ledger::storage::{Storage, StorageError};
use exchange_ledger::trade::pins::Known;
use exchange_ledger::trade::{Bid, Phase};
use exchange_ledger::turns::in_turn;

use super::{Active, MAX_TRADES, Trader};
use crate::clock;

/// How many bids for own offers wait for an answer at once. Where there are more, bidders take turns.
const MAX_OPEN_BIDS: usize = 256;
/// How many more of bidders with a stake: identities without one cannot hide them.
const MAX_STAKED_BIDS: usize = 256;
/// How many bids of one author for one offer are looked at: the second is for who mistyped the first.
const MAX_BIDS_EACH: usize = 2;
/// The bids of how many authors for one offer are read when all of them are looked at: each has paid for a log.
const MAX_BIDDERS: usize = 4096;
/// How many records are read at once.
const PAGE: usize = 512;
/// By how many seconds a clock has to be set back for bids to be read again that it had called too late.
const CLOCK_STEP_S: u64 = 60;
/// The part of the trader's time that looking for trades which an advert completes may take is one in so many: adverts are
/// free, and a market maker has tens of thousands of offers.
const LOOK_SHARE: u32 = 16;

/// When own trades are looked for that an arbiter's advert was missing of.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// Whether an advert has come since the last look.
    has_news: bool,
    not_before: Option<Instant>,
}

impl Lookout {
    /// Notes that an advert has come.
    const fn note(&mut self) {
        self.has_news = true;
    }

    /// Tells whether to look now.
    fn is_due(&self, now: Instant) -> bool {
        self.has_news && self.not_before.is_none_or(|time| time <= now)
    }

    /// Notes a look, and what it took.
    fn looked(&mut self, began: Instant, ended: Instant) {
        let pause = ended.saturating_duration_since(began) * LOOK_SHARE;
        (self.has_news, self.not_before) = (false, Some(ended + pause));
    }
}

/// A bid for an own offer that waits for an answer, as far as it decides which one goes where there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    trade: TradeId,
    taker: AuthorId,
    /// When it was made, by the taker's clock.
    created: u64,
    /// When its offer ends.
    expires: u64,
    /// Whether a stake of the taker's counts.
    is_staked: bool,
}

impl Trader {
    /// Makes room for a bid for an own offer that is not agreed on, if need be in the place of another; tells whether it is looked
    /// at. What is not, or no more, is looked for again when there is room.
    pub(super) fn make_room_for_bid(&mut self, known: &Known) -> bool {
        let bid = &known.bid;
        let waiting = || self.trades.values().filter(|active| awaits_answer(active));
        let same = waiting().filter(|a| a.trade.bid().taker == bid.taker && a.trade.bid().offer_id == bid.offer_id);
        if same.count() >= MAX_BIDS_EACH {
            return false;
        }
        let gone = {
            let book = self.tools.keeper.book();
            let entry = |bid: &Bid, created: u64| Waiting {
                trade: bid.trade,
                taker: bid.taker,
                created,
                expires: bid.offer.expires,
                is_staked: book.quota(&bid.taker) > LIVE_OFFERS,
            };
            let mut all: Vec<Waiting> = waiting().map(|active| entry(active.trade.bid(), active.created)).collect();
            all.push(entry(bid, known.created));
            one_too_many(all, clock::unix_now(), |taker| self.lots.hash_one(taker))
        };
        let Some(gone) = gone else { return true };
        self.has_overlooked = true;
        // Should it turn out to be accepted all the same, it is taken up again as at a start.
        self.trades.remove(&gone);
        gone != bid.trade
    }

    /// Tells whether one more bid of anybody would be looked at, in nobody's place but that of a bid whose offer has ended.
    pub(super) fn has_room(&self) -> bool {
        let (book, now) = (self.tools.keeper.book(), clock::unix_now());
        let waiting = self.trades.values().filter(|active| awaits_answer(active)).map(|active| active.trade.bid());
        waiting.filter(|bid| bid.offer.expires > now && book.quota(&bid.taker) <= LIVE_OFFERS).count() < MAX_OPEN_BIDS
    }

    /// Returns the trades that began with an offer and are driven here.
    pub(super) fn trades_from(&self, offer: &RecordId) -> Vec<TradeId> {
        let theirs = self.trades.iter().filter(|(_, active)| active.trade.bid().offer_id == *offer);
        theirs.map(|(id, _)| *id).collect()
    }

    /// Returns the bids for an offer.
    pub(super) fn bids_of(&self, offer: &RecordId) -> Vec<TradeId> {
        self.tools.keeper.ledger().bids(offer, MAX_BIDS_EACH, MAX_BIDDERS).unwrap_or_else(|error| {
            tracing::error!(%error, "bids cannot be read");
            Vec::new()
        })
    }

    /// Returns the bids for all own offers that stand.
    pub(super) fn open_bids(&self) -> Vec<TradeId> {
        self.standing().iter().flat_map(|offer| self.bids_of(offer)).collect()
    }

    /// Returns the own offers that stand.
    fn standing(&self) -> Vec<RecordId> {
        let me = self.tools.identity.author();
        let book = self.tools.keeper.book();
        book.of_maker(&me).filter(|(_, place)| *place == Place::Stands).map(|(id, _)| id).collect()
    }

    /// Takes up the bids for own offers that were left out because a clock that was ahead called them ended.
    pub(super) async fn take_up_after_clock(&mut self) {
        let (now, before) = (clock::unix_now(), self.bids_read);
        if now.saturating_add(CLOCK_STEP_S) >= before {
            return;
        }
        self.bids_read = now;
        match self.trades_in_ledger() {
            Ok(trades) => {
                for trade in trades {
                    self.refresh(trade).await;
                }
            }
            Err(error) => {
                self.bids_read = before; // it is tried again
                tracing::error!(%error, "own trades cannot be read");
            }
        }
    }

    /// Returns the trades that the ledger knows of this identity as maker or taker. Those agreed on are found by the maker's
    /// own word, not among the bids, of which there may be any number.
    pub(super) fn trades_in_ledger(&self) -> Result<Vec<TradeId>, StorageError> {
        self.own_trades(true)
    }

    /// Takes up the trades that an advert was missing of, if one has come since they were looked for.
    pub(super) async fn take_up_undriven(&mut self) {
        let began = Instant::now();
        if !self.lookout.is_due(began) {
            return;
        }
        let undriven = self.undriven();
        self.lookout.looked(began, Instant::now());
        for id in undriven {
            self.refresh(id).await;
        }
    }

    /// Returns the own bids and the trades agreed on that the ledger knows of and that are not driven, because a record was
    /// missing.
    fn undriven(&self) -> Vec<TradeId> {
        let mut trades = self.own_trades(false).unwrap_or_else(|error| {
            tracing::error!(%error, "own trades cannot be read");
            Vec::new()
        });
        trades.retain(|id| !self.trades.contains_key(id));
        trades
    }

    fn own_trades(&self, with_open_bids: bool) -> Result<Vec<TradeId>, StorageError> {
        let (ledger, me) = (self.tools.keeper.ledger(), self.tools.identity.author());
        let mut trades: Vec<TradeId> = self.own(Kind::Take, &me)?.into_iter().map(TradeId::from).collect();
        let mut open: Vec<(RecordId, u64)> = Vec::new();
        for offer in self.own(Kind::Offer, &me)? {
            let Some(record) = ledger.record(&offer)? else { continue };
            match ledger.offer_standing(&record)? {
                OfferStanding::Accepted(trade) => trades.push(trade),
                OfferStanding::Open if with_open_bids => open.push((offer, end_of(&record))),
                OfferStanding::Open | OfferStanding::Withdrawn => {}
            }
        }
        // Last, for of others' bids there may be any number: one's own, and what is agreed on, are read in any case.
        let standing: HashSet<RecordId> = self.standing().into_iter().collect();
        let offers = in_order(open, &standing, clock::unix_now());
        trades.extend(read_bids(&offers, MAX_TRADES, |offer| self.bids_of(offer)));
        trades.truncate(MAX_TRADES);
        Ok(trades)
    }

    /// Returns the ids of all own records of a kind.
    fn own(&self, kind: Kind, me: &AuthorId) -> Result<Vec<RecordId>, StorageError> {
        let mut ids = Vec::new();
        let mut after = None;
        loop {
            let page = self.tools.keeper.ledger().storage().of_kind_by(kind, me, after.as_ref(), PAGE)?;
            ids.extend(page.iter().map(|place| place.id));
            after = page.last().copied();
            if page.len() < PAGE || ids.len() >= MAX_TRADES {
                return Ok(ids);
            }
        }
    }

    /// Returns the trades that a record is about. Which ones an advert completes is looked for with the next retry.
    pub(super) fn affected_by(&mut self, id: RecordId, body: &Body) -> Vec<TradeId> {
        match body {
            Body::Take(_) => vec![id.into()],
            Body::Accept(accept) => [vec![accept.trade], self.trades_from(&accept.offer)].concat(),
            Body::Revoke(revoke) => self.trades_from(&revoke.offer),
            Body::Cancel(cancel) => vec![cancel.trade],
            Body::Funded(funded) => vec![funded.trade],
            Body::PaymentSent(sent) => vec![sent.trade],
            Body::Release(release) => vec![release.trade],
            Body::Closed(closed) => vec![closed.trade],
            Body::Dispute(dispute) => vec![dispute.trade],
            Body::Ruling(ruling) => vec![ruling.trade],
            Body::Extend(extend) => vec![extend.trade],
            // An offer or advert can arrive after the bid that needs it.
            Body::Offer(_) => self.bids_of(&id),
            Body::ArbiterAdvert(_) | Body::GroupAdvert(_) => {
                self.lookout.note();
                Vec::new()
            }
            Body::GroupStep(_) | Body::Stake(_) | Body::Checkpoint(_) | Body::Heartbeat | Body::Unknown(_) => {
                Vec::new()
            }
        }
    }
}

/// Returns when an offer ends, as far as its body is here.
fn end_of(offer: &Record) -> u64 {
    match offer.decoded().map(|body| &**body) {
        Ok(Body::Offer(offer)) => offer.expires,
        Ok(_) | Err(_) => u64::MAX,
    }
}

/// Returns those of open offers, each with its end, that have not ended at `now`, those that stand first. For one that has ended no
/// bid can be accepted, and there may be thousands of these, each with as many bids as anybody likes.
fn in_order(open: Vec<(RecordId, u64)>, standing: &HashSet<RecordId>, now: u64) -> Vec<RecordId> {
    let lasting = open.into_iter().filter(|(_, expires)| *expires > now).map(|(offer, _)| offer);
    let (first, others): (Vec<RecordId>, Vec<RecordId>) = lasting.partition(|offer| standing.contains(offer));
    [first, others].concat()
}

/// Returns the bids for offers, in their order, until there are `most`.
fn read_bids(offers: &[RecordId], most: usize, bids_of: impl Fn(&RecordId) -> Vec<TradeId>) -> Vec<TradeId> {
    let mut bids = Vec::new();
    for offer in offers {
        if bids.len() >= most {
            break;
        }
        bids.extend(bids_of(offer));
    }
    bids
}

/// Tells whether a trade is a bid for an own offer that nobody has answered.
fn awaits_answer(active: &Active) -> bool {
    active.trade.is_maker() && active.phase == Phase::Bid
}

/// Returns the bid that goes where one more waits than are looked at: one whose offer has ended at `now`, or else whose turn comes
/// last. Everybody's first comes before anybody's second, for whichever offers they are; of those alike the highest lot goes, which
/// nobody knows beforehand. Bids of takers with a stake and those of others never go for each other.
fn one_too_many(waiting: Vec<Waiting>, now: u64, lot: impl Fn(&AuthorId) -> u64) -> Option<TradeId> {
    let (staked, others): (Vec<Waiting>, Vec<Waiting>) = waiting.into_iter().partition(|bid| bid.is_staked);
    let mut crowd = if others.len() > MAX_OPEN_BIDS {
        others
    } else if staked.len() > MAX_STAKED_BIDS {
        staked
    } else {
        return None;
    };
    crowd.sort_by_key(|bid| (lot(&bid.taker), bid.created, bid.trade));
    let turns = in_turn(crowd, |bid| bid.taker);
    let ended = turns.iter().rev().find(|bid| bid.expires <= now);
    ended.or(turns.last()).map(|bid| bid.trade)
}

/// Tells whether a trade is known to be of others: then this identity is nobody in it, whatever they say about it.
pub(super) fn is_others<S: Storage>(ledger: &Ledger<S>, trade: TradeId, me: &AuthorId) -> bool {
    ledger.bid(trade).is_ok_and(|(bid, _)| bid.role_of(me).is_none())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use exchange_ledger::body::Side;
    use exchange_ledger::testing::{Author, SampleTrade, admit_all, ledger};

    use super::*;

    const NOW: u64 = 1_000;
    const FULL: u16 = MAX_OPEN_BIDS as u16;

    fn id(number: u16) -> [u8; 32] {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        id
    }

    fn waiting(number: u16, taker: u16) -> Waiting {
        let (trade, taker) = (TradeId(id(number)), AuthorId(id(taker)));
        Waiting { trade, taker, created: number.into(), expires: NOW + 1, is_staked: false }
    }

    /// The higher a taker's number, the higher his lot.
    fn lot(taker: &AuthorId) -> u64 {
        u16::from_be_bytes([taker.0[0], taker.0[1]]).into()
    }

    /// Adds a bid, and takes out the one that goes for it; returns that.
    fn bid(all: &mut Vec<Waiting>, more: Waiting) -> Option<TradeId> {
        all.push(more);
        let gone = one_too_many(all.clone(), NOW, lot);
        all.retain(|bid| Some(bid.trade) != gone);
        gone
    }

    #[test]
    fn who_bids_often_keeps_nobody_elses_bid_from_being_looked_at() {
        let mut all = Vec::new();
        for number in 0..FULL {
            assert_eq!(bid(&mut all, waiting(number, number % 16)), None, "sixteen who bid sixteen times each");
        }
        assert_eq!(bid(&mut all, waiting(FULL, 3)), Some(TradeId(id(FULL))), "he has as many as another already");
        let honest: Vec<Waiting> = (1..=100).map(|number| waiting(FULL + number, 1_000 + number)).collect();
        for one in &honest {
            assert!(bid(&mut all, *one).is_some());
        }
        assert_eq!(all.len(), MAX_OPEN_BIDS);
        assert!(honest.iter().all(|one| all.contains(one)));
        let of = |cheat: u16| all.iter().filter(|bid| bid.taker == AuthorId(id(cheat))).count();
        assert!((0..16).all(|cheat| (9..=10).contains(&of(cheat))), "the others share what is left");
    }

    #[test]
    fn of_those_who_bid_as_often_the_lot_decides_who_goes() {
        let all: Vec<Waiting> = (0..FULL).map(|number| waiting(number, 2 * number + 1)).collect();
        assert_eq!(bid(&mut all.clone(), waiting(FULL, 0)), Some(TradeId(id(FULL - 1))), "who comes late may stay");
        assert_eq!(bid(&mut all.clone(), waiting(FULL, 2 * FULL)), Some(TradeId(id(FULL))));
        let mut ended = all;
        ended[7].expires = NOW;
        assert_eq!(bid(&mut ended, waiting(FULL, 2 * FULL)), Some(TradeId(id(7))), "nothing comes of it any more");
    }

    #[test]
    fn takers_with_a_stake_have_places_of_their_own() {
        let mut all: Vec<Waiting> = (0..FULL).map(|number| waiting(number, number)).collect();
        let staked = |number| Waiting { is_staked: true, ..waiting(number, number) };
        for number in 0..MAX_STAKED_BIDS as u16 {
            assert_eq!(bid(&mut all, staked(FULL + number)), None);
        }
        assert_eq!(all.len(), MAX_OPEN_BIDS + MAX_STAKED_BIDS);
        assert_eq!(bid(&mut all, staked(2_000)), Some(TradeId(id(2_000))));
        assert_eq!(bid(&mut all, waiting(3_000, 0)), Some(TradeId(id(3_000))), "his second");
        assert_eq!(bid(&mut all, waiting(3_001, 4_000)), Some(TradeId(id(3_001))), "nor does it go for one of theirs");
    }

    #[test]
    fn bids_for_offers_that_have_ended_keep_none_from_being_read() {
        let offer = |number: u16| RecordId(id(number));
        let open: Vec<(RecordId, u64)> = [(1, NOW - 1), (2, NOW), (3, NOW + 1), (4, NOW + 1), (5, u64::MAX)]
            .map(|(number, expires)| (offer(number), expires))
            .into();
        let standing = HashSet::from([offer(2), offer(4)]);
        let offers = in_order(open.clone(), &standing, NOW);
        assert_eq!(offers, [4, 3, 5].map(offer), "what stands comes first, and nothing comes of what has ended");
        assert_eq!(in_order(open, &standing, NOW - 1), [2, 4, 3, 5].map(offer), "by a clock that was set back");
        // A crowd has bid for each, and taken that back.
        let crowd = |offer: &RecordId| vec![TradeId(offer.0); 10];
        for (most, read) in [(1, 10), (10, 10), (11, 20), (100, 30)] {
            let bids = read_bids(&offers, most, crowd);
            assert_eq!((bids.len(), bids[0]), (read, TradeId(id(4))));
        }
    }

    #[test]
    fn a_trade_is_of_others_once_its_bid_shows_who_is_in_it() {
        let trade = SampleTrade::with_second(Side::Sell);
        let mut ledger = ledger();
        let stranger = Author::new(9);
        assert!(!is_others(&ledger, trade.id(), &stranger.id()), "nothing is known of it, and it may be pinned");
        admit_all(&mut ledger, &trade.records());
        assert!(is_others(&ledger, trade.id(), &stranger.id()));
        let (second, _) = trade.second.as_ref().unwrap();
        for somebody in [&trade.maker, &trade.taker, &trade.arbiter, second] {
            assert!(!is_others(&ledger, trade.id(), &somebody.id()));
        }
    }

    #[test]
    fn adverts_of_anybody_make_the_trader_look_for_a_part_of_its_time() {
        let mut now = Instant::now();
        let mut lookout = Lookout::default();
        assert!(!lookout.is_due(now), "none has come");
        let mut looked = Duration::ZERO;
        // A market maker's look takes seconds, and an advert comes each second.
        for _ in 0..1000 {
            lookout.note();
            now += Duration::from_secs(1);
            if lookout.is_due(now) {
                let ended = now + Duration::from_secs(2);
                lookout.looked(now, ended);
                looked += Duration::from_secs(2);
                now = ended;
            }
        }
        assert!((Duration::from_secs(50)..Duration::from_secs(70)).contains(&looked), "{looked:?}");
        now += Duration::from_secs(60);
        assert!(lookout.is_due(now), "what has come meanwhile is not forgotten");
        lookout.looked(now, now);
        assert!(!lookout.is_due(now));
        lookout.note();
        assert!(lookout.is_due(now), "who has few looks with each retry");
    }
}
