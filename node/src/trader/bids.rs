//! Which bids the trader looks at. A crowd of bidders must neither hide an honest bid nor crowd out a trade: whatever is
//! agreed on is driven in any case.

use exchange_ledger::body::Body;
use exchange_ledger::book::{LIVE_OFFERS, Place};
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::ledger::{Ledger, OfferStanding};
use exchange_ledger::record::Kind;
use exchange_ledger::storage::{Storage, StorageError};
use exchange_ledger::trade::{Bid, Phase};

use super::{MAX_TRADES, Trader};

/// How many bids for own offers wait for an answer at once, in the order in which they came.
const MAX_OPEN_BIDS: usize = 256;
/// How many more of bidders with a stake: identities without one cannot hide them.
const MAX_STAKED_BIDS: usize = 256;
/// How many bids of one author for one offer are looked at: the second is for who mistyped the first.
const MAX_BIDS_EACH: usize = 2;
/// How many bids for one offer are read when all of them are looked at.
const MAX_BIDS: usize = 4096;
/// How many records are read at once.
const PAGE: usize = 512;

impl Trader {
    /// Tells whether a bid for an own offer that is not agreed on is looked at.
    pub(super) fn has_room_for(&self, bid: &Bid) -> bool {
        let waiting = || self.trades.values().filter(|a| a.trade.is_maker() && a.phase == Phase::Bid);
        let same = waiting().filter(|a| a.trade.bid().taker == bid.taker && a.trade.bid().offer_id == bid.offer_id);
        let is_staked = self.tools.keeper.book().quota(&bid.taker) > LIVE_OFFERS;
        let room = if is_staked { MAX_OPEN_BIDS + MAX_STAKED_BIDS } else { MAX_OPEN_BIDS };
        same.count() < MAX_BIDS_EACH && waiting().count() < room
    }

    /// Tells whether one more bid of anybody would be looked at.
    pub(super) fn has_room(&self) -> bool {
        self.trades.values().filter(|a| a.trade.is_maker() && a.phase == Phase::Bid).count() < MAX_OPEN_BIDS
    }

    /// Returns the trades that began with an offer and are driven here.
    pub(super) fn trades_from(&self, offer: &RecordId) -> Vec<TradeId> {
        let theirs = self.trades.iter().filter(|(_, active)| active.trade.bid().offer_id == *offer);
        theirs.map(|(id, _)| *id).collect()
    }

    /// Returns the bids for an offer.
    pub(super) fn bids_of(&self, offer: &RecordId) -> Vec<TradeId> {
        self.tools.keeper.ledger().bids(offer, MAX_BIDS_EACH, MAX_BIDS).unwrap_or_else(|error| {
            tracing::error!(%error, "bids cannot be read");
            Vec::new()
        })
    }

    /// Returns the bids for all own offers that stand.
    pub(super) fn open_bids(&self) -> Vec<TradeId> {
        let me = self.tools.identity.author();
        let standing: Vec<RecordId> = {
            let book = self.tools.keeper.book();
            book.of_maker(&me).filter(|(_, place)| *place == Place::Stands).map(|(id, _)| id).collect()
        };
        standing.iter().flat_map(|offer| self.bids_of(offer)).collect()
    }

    /// Returns the trades that the ledger knows of this identity as maker or taker. Those agreed on are found by the maker's
    /// own word, not among the bids, of which there may be any number.
    pub(super) fn trades_in_ledger(&self) -> Result<Vec<TradeId>, StorageError> {
        self.own_trades(true)
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
        for offer in self.own(Kind::Offer, &me)? {
            let Some(record) = ledger.record(&offer)? else { continue };
            match ledger.offer_standing(&record)? {
                OfferStanding::Accepted(trade) => trades.push(trade),
                OfferStanding::Open if with_open_bids => trades.extend(self.bids_of(&offer)),
                OfferStanding::Open | OfferStanding::Withdrawn => {}
            }
        }
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

    /// Returns the trades that a record is about.
    pub(super) fn affected_by(&self, id: RecordId, body: &Body) -> Vec<TradeId> {
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
            Body::ArbiterAdvert(_) | Body::GroupAdvert(_) => self.undriven(),
            Body::GroupStep(_) | Body::Stake(_) | Body::Checkpoint(_) | Body::Heartbeat | Body::Unknown(_) => {
                Vec::new()
            }
        }
    }
}

/// Tells whether a trade is known to be of others: then this identity is nobody in it, whatever they say about it.
pub(super) fn is_others<S: Storage>(ledger: &Ledger<S>, trade: TradeId, me: &AuthorId) -> bool {
    ledger.bid(trade).is_ok_and(|(bid, _)| bid.role_of(me).is_none())
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::{Author, SampleTrade, admit_all, ledger};

    use super::*;

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
}
