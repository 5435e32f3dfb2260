//! The ledger: which records belong to it, and what they mean together. Its state is a pure function of the set of
//! records; no clock and no order of arrival decides anything but *when* a record is let in.

use std::cell::LazyCell;

use crate::body::{Body, Offer, bids_for};
use crate::ids::{AuthorId, RecordId, TradeId};
use crate::money::Sats;
use crate::record::{Kind, LogId, Record, RecordError};
use crate::storage::{Storage, StorageError};
use crate::trade::{Bid, Contract, ContractError, Escrow, Facts};
use crate::turns::in_turn;

mod about;
mod ahead;
mod plan;
mod rights;

pub(crate) use about::About;
pub(crate) use ahead::Ahead;
pub use plan::MAX_FROZEN;
use rights::Answer;
pub(crate) use rights::Seen;

/// How far ahead of one's own clock a record may be, in seconds: two hours, as Bitcoin allows its blocks.
pub const MAX_CLOCK_SKEW_S: u64 = 2 * 3600;
/// How many records of one party about one trade count, the first of the log in which he entered it and the first of
/// all his logs: a whole trade needs five.
pub const MAX_FACTS: usize = 64;

/// What became of a record that was offered to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is in: it continues its log.
    New,
    /// It is in: with what is there it proves that its author signed two histories, from an earlier place on than was known.
    Equivocation,
    /// It is in, frozen: one more record of a log that is known to have forked before it.
    Frozen,
    /// It was in already, or it is one more of a forked log of which enough is kept.
    Known,
    /// Its predecessor is missing: the rest of its log is needed first.
    Orphan,
    /// It is too far in the future, or not yet old enough to come without its body: offer it again later.
    Early,
    /// It breaks a rule by itself.
    Invalid(RecordError),
    /// It goes back in time within its log, which no honest author does.
    TimeReversed,
}

impl Admission {
    /// Tells whether the record is in now and was not before.
    pub const fn is_in(&self) -> bool {
        match self {
            Self::New | Self::Equivocation | Self::Frozen => true,
            Self::Known | Self::Orphan | Self::Early | Self::Invalid(_) | Self::TimeReversed => false,
        }
    }
}

/// Everything that the ledger knows of a trade.
#[derive(Debug, Clone)]
pub struct TradeRecords {
    /// The bid with its offer.
    pub bid: Bid,
    /// The contract, once accepted.
    pub contract: Option<Contract>,
    /// What the parties signed.
    pub facts: Facts,
    /// When the bid was made, by the taker's clock.
    pub created: u64,
    /// The time of the last record of either party about it.
    pub updated: u64,
}

/// A trade with everything that was said about it and its offer.
#[derive(Debug)]
pub(crate) struct Examined {
    pub trade: TradeRecords,
    pub about_offer: About,
    pub about_trade: About,
    /// What counts of what its parties and arbiters said about it.
    pub said: Vec<Record>,
}

/// What became of an offer, by records alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferStanding {
    /// Nothing stands against it.
    Open,
    /// Its maker accepted a bid.
    Accepted(TradeId),
    /// Its maker withdrew it, or lost the right to make it by signing two histories.
    Withdrawn,
}

/// A failure to answer a question about a trade.
#[derive(Debug, thiserror::Error)]
pub enum TradeError {
    /// No such bid is in the ledger.
    #[error("trade {0} is not in the ledger; check the id, or wait until the node has caught up with its peers")]
    Unknown(TradeId),
    /// The bid does not fit its offer.
    #[error("trade {0} is void: {1}")]
    Invalid(TradeId, ContractError),
    /// The body of the bid or of its offer is not here: an archive has it.
    #[error(
        "what was bid in trade {0} is not kept here any more; ask a node that keeps everything (`--retention full`)"
    )]
    Bare(TradeId),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The ledger over a store.
#[derive(Debug, Clone)]
pub struct Ledger<S> {
    storage: S,
    network: [u8; 4],
}

impl<S: Storage> Ledger<S> {
    /// Opens the ledger of a network (Bitcoin's magic bytes) over a store.
    pub const fn new(storage: S, network: [u8; 4]) -> Self {
        Self { storage, network }
    }

    /// Returns the store.
    pub const fn storage(&self) -> &S {
        &self.storage
    }

    pub(crate) const fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }

    /// Returns the network's magic bytes.
    pub const fn network(&self) -> [u8; 4] {
        self.network
    }

    /// Lets records in whose signatures were checked (see [`Record::verify`]) and keeps them with one commit, or with
    /// several if forks take much away. Returns what became of each, in order. `now` is the local clock; it can only
    /// delay.
    ///
    /// # Errors
    /// When the store fails: then nothing of the last commit was kept.
    pub fn admit(&mut self, records: &[Record], now: u64) -> Result<Vec<Admission>, StorageError> {
        let mut admissions = Vec::with_capacity(records.len());
        while admissions.len() < records.len() {
            let some = self.admit_some(&records[admissions.len()..], now)?;
            admissions.extend(some);
        }
        Ok(admissions)
    }

    /// Lets the first of these records in, as many as are kept with one commit; at least one, if there is one. Returns
    /// what became of each of those.
    ///
    /// # Errors
    /// When the store fails: then none of them was kept.
    pub fn admit_some(&mut self, records: &[Record], now: u64) -> Result<Vec<Admission>, StorageError> {
        let (admissions, batch) = self.plan(records, now)?;
        if !batch.is_empty() {
            self.storage.commit(&batch)?;
        }
        Ok(admissions)
    }

    /// Returns a record with its body, if it is of a kind that counts here.
    ///
    /// # Errors
    /// When the store fails.
    pub fn record(&self, id: &RecordId) -> Result<Option<Record>, StorageError> {
        self.storage.record(id)
    }

    /// Returns records of a log from `from` on. The frozen records of a forked log are counted on from the end of its chain,
    /// the one that follows the chain first: so whoever reads them in this order sees the fork at once.
    ///
    /// # Errors
    /// When the store fails.
    pub fn records_of(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StorageError> {
        let mut records = self.storage.range(log, from, limit)?;
        let Some(head) = self.storage.head(log)?.filter(|head| head.frozen.is_some()) else { return Ok(records) };
        let mut frozen = self.storage.frozen(log)?;
        if let Some(first) = frozen.iter().position(|record| plan::follows(record, Some(head))) {
            frozen[..=first].rotate_right(1);
        }
        let skipped = usize::try_from(from.saturating_sub(head.len)).unwrap_or(usize::MAX);
        let room = limit.saturating_sub(records.len());
        records.extend(frozen.into_iter().skip(skipped).take(room));
        Ok(records)
    }

    /// Returns the two records that prove that a log has forked: the one that follows its chain, and the smallest other one
    /// in its place. Whoever holds the chain and takes both in has found the fork.
    ///
    /// # Errors
    /// When the store fails.
    pub fn fork_proof(&self, log: &LogId) -> Result<Option<[Record; 2]>, StorageError> {
        let Some(head) = self.storage.head(log)?.filter(|head| head.frozen.is_some()) else { return Ok(None) };
        Ok(<[Record; 2]>::try_from(self.records_of(log, head.len, 2)?).ok())
    }

    /// Takes offers whose time is over out of the store's list of open ones; their records stay.
    ///
    /// # Errors
    /// When the store fails.
    pub fn forget_open(&mut self, offers: &[RecordId]) -> Result<(), StorageError> {
        self.storage.forget_open(offers)
    }

    /// Returns an offer with its record.
    ///
    /// # Errors
    /// When the store fails.
    pub fn offer(&self, id: &RecordId) -> Result<Option<(Record, Offer)>, StorageError> {
        let Some(record) = self.storage.record(id)? else { return Ok(None) };
        match Body::decode(&record) {
            Ok(Body::Offer(offer)) => Ok(Some((record, offer))),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Returns the bids for an offer that fit it: of the first `authors` who bid, those among the first `each` of each by
    /// place. Everybody's first comes before anybody's second. How many more somebody wrote changes nothing for the others.
    ///
    /// # Errors
    /// When the store fails.
    pub fn bids(&self, offer: &RecordId, each: usize, authors: usize) -> Result<Vec<TradeId>, StorageError> {
        let subject = bids_for(offer);
        let mut bids: Vec<(AuthorId, TradeId)> = Vec::new();
        let mut last = None;
        for _ in 0..authors {
            let Some(author) = self.storage.next_about(&subject, last.as_ref())? else { break };
            last = Some(author);
            for id in self.storage.about(&subject, Some(&author), each)? {
                match self.bid(id.into()) {
                    Ok(_) => bids.push((author, id.into())),
                    Err(TradeError::Storage(error)) => return Err(error),
                    Err(TradeError::Unknown(_) | TradeError::Invalid(..) | TradeError::Bare(_)) => {}
                }
            }
        }
        Ok(in_turn(bids, |(author, _)| *author).into_iter().map(|(_, id)| id).collect())
    }

    /// Returns a bid and its record.
    ///
    /// # Errors
    /// When there is none, it does not fit its offer, or the store fails.
    pub fn bid(&self, trade: TradeId) -> Result<(Bid, Record), TradeError> {
        self.bid_seen(trade, &Seen::default())
    }

    fn bid_seen(&self, trade: TradeId, seen: &Seen<'_>) -> Result<(Bid, Record), TradeError> {
        let unknown = || TradeError::Unknown(trade);
        let take = self.record_seen(&trade.into(), seen)?.ok_or_else(unknown)?;
        if take.is_bare() && take.header().kind == Kind::Take {
            return Err(TradeError::Bare(trade));
        }
        let Ok(Body::Take(body)) = take.decoded().map(|body| &**body) else { return Err(unknown()) };
        let offer = self.record_seen(&body.offer, seen)?.ok_or_else(unknown)?;
        if offer.is_bare() && offer.header().kind == Kind::Offer {
            return Err(TradeError::Bare(trade));
        }
        let Ok(Body::Offer(offer_body)) = offer.decoded().map(|body| &**body) else { return Err(unknown()) };
        let mut adverts = Vec::new();
        for id in Bid::adverts(offer_body, body).map_err(|e| TradeError::Invalid(trade, e))? {
            adverts.extend(self.record_seen(&id, seen)?);
        }
        let adverts: Vec<&Record> = adverts.iter().collect();
        let bid = Bid::new(&offer, &take, &adverts).map_err(|e| TradeError::Invalid(trade, e))?;
        Ok((bid, take))
    }

    /// Tells whether what an own record is to say is worth nothing in a log that it would open, so that it opens none. An acceptance
    /// counts in the log of its offer, the name of coins in the one in which their seller agreed; but where a buyer's bond lies with
    /// them, he names them too, and in any log.
    pub fn opens_no_log(&self, body: &Body) -> bool {
        match body {
            Body::Accept(_) => true,
            Body::Funded(funded) => !self.bid(funded.trade).is_ok_and(|(bid, _)| bid.buyer_bond > Sats::ZERO),
            Body::Heartbeat
            | Body::ArbiterAdvert(_)
            | Body::GroupAdvert(_)
            | Body::GroupStep(_)
            | Body::Checkpoint(_)
            | Body::Stake(_)
            | Body::Offer(_)
            | Body::Revoke(_)
            | Body::Take(_)
            | Body::Cancel(_)
            | Body::PaymentSent(_)
            | Body::Release(_)
            | Body::Closed(_)
            | Body::Dispute(_)
            | Body::Ruling(_)
            | Body::Extend(_)
            | Body::Unknown(_) => false,
        }
    }

    /// Returns the contract of a bid, once it is accepted. What parties and arbiters said about the trade itself is not read
    /// for it: that can be much, and signatures in it cost more to check than all else.
    ///
    /// # Errors
    /// When the store fails.
    pub fn contract(&self, bid: &Bid) -> Result<Option<Contract>, StorageError> {
        let Some(offer) = self.storage.record(&bid.offer_id)? else { return Ok(None) };
        let about_offer = self.about(bid.offer_id)?;
        let rights = self.rights_seen(&offer.header().log, &mut Seen::default())?;
        Ok(match self.answer(&offer, &about_offer, bid.trade, &rights)? {
            Answer::Accepted(accept) => bid.accepted(&accept).ok(),
            Answer::Refused | Answer::None => None,
        })
    }

    /// Returns everything known of a trade.
    ///
    /// # Errors
    /// When there is no such bid, it does not fit its offer, or the store fails.
    pub fn trade(&self, trade: TradeId) -> Result<TradeRecords, TradeError> {
        self.examine(trade, &mut Seen::default()).map(|examined| examined.trade)
    }

    /// Returns everything known of a trade, with what was read for it. `seen` spares whoever judges many trades at once a
    /// look at each of their logs for each of them.
    ///
    /// # Errors
    /// As [`Ledger::trade`].
    pub(crate) fn examine(&self, trade: TradeId, seen: &mut Seen<'_>) -> Result<Examined, TradeError> {
        let (bid, take) = self.bid_seen(trade, seen)?;
        let offer = self.record_seen(&bid.offer_id, seen)?.ok_or(TradeError::Unknown(trade))?;
        // What was found of an offer for another bid alone is older than what is read of this one now: both are read then.
        let ahead = seen.ahead.filter(|ahead| ahead.has(&trade.into()));
        let about_offer = self.about_seen(bid.offer_id, ahead, seen)?;
        let take_rights = self.rights_seen(&take.header().log, seen)?;
        let offer_rights = self.rights_seen(&offer.header().log, seen)?;
        let mut void = !take_rights.give(&take) || !offer_rights.give(&offer);
        let contract = match self.answer(&offer, &about_offer, trade, &offer_rights)? {
            Answer::Accepted(accept) => {
                let contract = bid.accepted(&accept).ok();
                // An acceptance that breaks a rule binds nobody, and has used up the offer all the same.
                void |= contract.is_none() || !offer_rights.give(&accept);
                contract
            }
            Answer::Refused => {
                void = true;
                None
            }
            Answer::None => {
                void |= self.is_author_frozen(&bid.maker)? || self.is_author_frozen(&bid.taker)?;
                None
            }
        };
        let about_trade = self.about_seen(trade.into(), ahead, seen)?;
        let said = self.facts(&about_trade, bid.home_logs())?;
        // Few trades have a half of a spend, and only those need it.
        let escrow = LazyCell::new(|| contract.as_ref().map(Escrow::new));
        let facts = Facts::gather(&bid, &escrow, &[], &said, void);
        let facts = Facts { forked: self.forked_of(&bid)?, ..facts };
        let created = take.header().time;
        let updated = said.iter().map(|record| record.header().time).max().unwrap_or(created);
        let trade = TradeRecords { bid, contract, facts, created, updated };
        Ok(Examined { trade, about_offer, about_trade, said })
    }

    /// Returns the trades in which an identity is buyer, seller or arbiter, or all: at most `limit`, by the place of the bid.
    ///
    /// # Errors
    /// When the store fails.
    pub fn trades(&self, of: Option<&AuthorId>, limit: usize) -> Result<Vec<TradeId>, StorageError> {
        let mut trades = Vec::new();
        let mut after = None;
        loop {
            let page = self.storage.of_kind(Kind::Take, after.as_ref(), PAGE)?;
            after = page.last().copied();
            for take in &page {
                let trade = TradeId::from(take.id);
                match self.bid(trade) {
                    Ok((bid, _)) if of.is_none_or(|who| bid.role_of(who).is_some()) => trades.push(trade),
                    Ok(_) | Err(TradeError::Unknown(_) | TradeError::Invalid(..) | TradeError::Bare(_)) => {}
                    Err(TradeError::Storage(error)) => return Err(error),
                }
                if trades.len() >= limit {
                    return Ok(trades);
                }
            }
            if page.len() < PAGE {
                return Ok(trades);
            }
        }
    }
}

/// How many ids are read at once.
const PAGE: usize = 512;

#[cfg(test)]
mod tests;
