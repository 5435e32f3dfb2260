//! What a record still gives its author. Whoever signs two histories loses rights from there on, and with them whatever
//! nobody has relied on yet; he keeps his duties.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{About, Ahead, Ledger, OfferStanding};
use crate::body::Body;
use crate::ids::{AuthorId, RecordId, TradeId};
use crate::record::{LogId, Record};
use crate::storage::{Storage, StorageError};
use crate::trade::Bid;

/// What the maker of an offer said about a bid.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing yet.
    None,
    /// He accepted it: by a record of his chain, or, if that decides nothing, by a frozen one.
    Accepted(Record),
    /// He accepted another one, or withdrew the offer.
    Refused,
}

/// Up to where the records of a log give their author rights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rights {
    /// Where the log has forked.
    frozen_from: Option<u64>,
    /// The first record that one would have to understand.
    critical: Option<u64>,
}

impl Rights {
    /// Tells whether a record of the log stands at or after its fork.
    fn is_frozen(&self, record: &Record) -> bool {
        self.frozen_from.is_some_and(|from| record.header().seq >= from)
    }

    /// Tells whether a record of the log gives rights.
    pub fn give(&self, record: &Record) -> bool {
        !self.is_frozen(record) && self.critical.is_none_or(|seq| seq >= record.header().seq)
    }
}

/// What was seen by whoever judges many trades at once: of the logs that they are written in, where that stands which is said
/// about them, and most of their records.
#[derive(Debug, Default)]
pub(crate) struct Seen<'a> {
    pub(super) rights: HashMap<LogId, Rights>,
    pub(super) ahead: Option<&'a Ahead>,
    pub(super) records: HashMap<RecordId, Record>,
}

impl<S: Storage> Ledger<S> {
    /// Tells whether a record stands at or after the place where its author signed two histories.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_frozen(&self, record: &Record) -> Result<bool, StorageError> {
        Ok(self.rights_in(&record.header().log)?.is_frozen(record))
    }

    /// Tells whether an author signed two histories in any of his logs: nothing new should be begun with him.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_author_frozen(&self, author: &AuthorId) -> Result<bool, StorageError> {
        self.storage.is_forked(author)
    }

    /// Returns on whom a payer would rely, the seller or an arbiter, who signed two histories in any of his logs.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn forked_of(&self, bid: &Bid) -> Result<Option<AuthorId>, StorageError> {
        let arbiters = std::iter::once(&bid.arbiter).chain(&bid.second_arbiter).map(|arbiter| arbiter.author);
        for author in std::iter::once(bid.seller()).chain(arbiters) {
            if self.is_author_frozen(&author)? {
                return Ok(Some(author));
            }
        }
        Ok(None)
    }

    /// Tells whether a record gives its author rights: it is not frozen, and nothing before it in its log says that who
    /// does not understand it must not go on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_rights(&self, record: &Record) -> Result<bool, StorageError> {
        Ok(self.rights_in(&record.header().log)?.give(record))
    }

    pub(super) fn rights_seen(&self, log: &LogId, seen: &mut Seen<'_>) -> Result<Rights, StorageError> {
        match seen.rights.entry(*log) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(place) => Ok(*place.insert(self.rights_in(log)?)),
        }
    }

    fn rights_in(&self, log: &LogId) -> Result<Rights, StorageError> {
        let head = self.storage.head(log)?.filter(|head| head.frozen.is_some());
        let critical = self.storage.first_critical(log)?;
        Ok(Rights { frozen_from: head.map(|head| head.len), critical: critical.map(|place| place.seq) })
    }

    /// Returns what became of an offer: the maker's first acceptance or withdrawal in his own log decides.
    ///
    /// # Errors
    /// When the store fails.
    pub fn offer_standing(&self, offer: &Record) -> Result<OfferStanding, StorageError> {
        let decision = self.decision(offer)?;
        let body = decision.as_ref().and_then(|record| record.decoded().ok()).map(|body| &**body);
        Ok(match body {
            Some(Body::Accept(accept)) => OfferStanding::Accepted(accept.trade),
            Some(_) => OfferStanding::Withdrawn,
            None if !self.has_rights(offer)? || self.is_author_frozen(&offer.author())? => OfferStanding::Withdrawn,
            None => OfferStanding::Open,
        })
    }

    /// Returns what the maker of an offer said about a bid.
    ///
    /// A record of his chain decides alone. Where there is none, each bid that a frozen record accepts keeps the contract
    /// that this makes, though it is void: coins may be locked under it already.
    pub(super) fn answer(
        &self,
        offer: &Record,
        about: &About,
        trade: TradeId,
        rights: &Rights,
    ) -> Result<Answer, StorageError> {
        let mut answer = Answer::None;
        for record in self.decisions(offer, about)? {
            if matches!(record.decoded().map(|body| &**body), Ok(Body::Accept(accept)) if accept.trade == trade) {
                return Ok(Answer::Accepted(record));
            }
            answer = Answer::Refused;
            if !rights.is_frozen(&record) {
                return Ok(answer);
            }
        }
        Ok(match self.withdrawn_elsewhere(offer, about)? {
            Some(_) => Answer::Refused,
            None => answer,
        })
    }

    /// Returns the maker's first record that decides about his offer: the acceptance of a bid, or the withdrawal.
    ///
    /// The log that holds the offer decides, for only within one log is the order beyond forging. From another log, where
    /// a maker goes on after losing the first, he can still withdraw the offer, as long as he has accepted nothing.
    fn decision(&self, offer: &Record) -> Result<Option<Record>, StorageError> {
        let about = self.about(offer.id())?;
        match self.decisions(offer, &about)?.into_iter().next() {
            Some(decision) => Ok(Some(decision)),
            None => self.withdrawn_elsewhere(offer, &about),
        }
    }

    /// Returns the maker's acceptances and withdrawals of an offer in the log that holds it. An acceptance that names it as the
    /// trade, and another one as the offer, is about it too, and decides nothing.
    fn decisions(&self, offer: &Record, about: &About) -> Result<Vec<Record>, StorageError> {
        let mut said = self.said_in(about, &offer.header().log)?;
        said.retain(|record| match record.decoded().map(|body| &**body) {
            Ok(Body::Accept(accept)) => accept.offer == offer.id(),
            Ok(Body::Revoke(_)) => true,
            Ok(_) | Err(_) => false,
        });
        Ok(said)
    }

    fn withdrawn_elsewhere(&self, offer: &Record, about: &About) -> Result<Option<Record>, StorageError> {
        let said = self.said_by(about, &offer.author())?;
        Ok(said.into_iter().find(|record| matches!(record.decoded().map(|body| &**body), Ok(Body::Revoke(_)))))
    }
}
