//! What a record still gives its author. Whoever signs two histories loses rights from there on, and with them whatever
//! nobody has relied on yet; he keeps his duties.

use super::{Ledger, MAX_FACTS, OfferStanding};
use crate::body::Body;
use crate::ids::{AuthorId, TradeId};
use crate::record::{Kind, Record};
use crate::storage::{Storage, StorageError};

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

impl<S: Storage> Ledger<S> {
    /// Tells whether a record stands at or after the place where its author signed two histories.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_frozen(&self, record: &Record) -> Result<bool, StorageError> {
        let head = self.storage.head(&record.header().log)?;
        Ok(head.is_some_and(|head| head.frozen.is_some() && record.header().seq >= head.len))
    }

    /// Tells whether an author signed two histories in any of his logs: nothing new should be begun with him.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_author_frozen(&self, author: &AuthorId) -> Result<bool, StorageError> {
        self.storage.is_forked(author)
    }

    /// Tells whether a record gives its author rights: it is not frozen, and nothing before it in its log says that who
    /// does not understand it must not go on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_rights(&self, record: &Record) -> Result<bool, StorageError> {
        if self.is_frozen(record)? {
            return Ok(false);
        }
        let critical = self.storage.first_critical(&record.header().log)?;
        Ok(critical.is_none_or(|place| place.seq >= record.header().seq))
    }

    /// Returns what became of an offer: the maker's first acceptance or withdrawal in his own log decides.
    ///
    /// # Errors
    /// When the store fails.
    pub fn offer_standing(&self, offer: &Record) -> Result<OfferStanding, StorageError> {
        Ok(match self.decision(offer)? {
            Some((_, Body::Accept(accept))) => OfferStanding::Accepted(accept.trade),
            Some(_) => OfferStanding::Withdrawn,
            None if !self.has_rights(offer)? || self.is_author_frozen(&offer.author())? => OfferStanding::Withdrawn,
            None => OfferStanding::Open,
        })
    }

    /// Returns what the maker of an offer said about a bid.
    ///
    /// A record of his chain decides alone. Where there is none, each bid that a frozen record accepts keeps the contract
    /// that this makes, though it is void: coins may be locked under it already.
    pub(super) fn answer(&self, offer: &Record, trade: TradeId) -> Result<Answer, StorageError> {
        let accepts = |body: &Body| matches!(body, Body::Accept(accept) if accept.trade == trade);
        let mut answer = Answer::None;
        for (record, body) in self.decisions(offer)? {
            let is_his = accepts(&body);
            if is_his {
                return Ok(Answer::Accepted(record));
            }
            answer = Answer::Refused;
            if !self.is_frozen(&record)? {
                return Ok(answer);
            }
        }
        Ok(match self.withdrawn_elsewhere(offer)? {
            Some(_) => Answer::Refused,
            None => answer,
        })
    }

    /// Returns the maker's first record that decides about his offer: the acceptance of a bid, or the withdrawal.
    ///
    /// The log that holds the offer decides, for only within one log is the order beyond forging. From another log, where
    /// a maker goes on after losing the first, he can still withdraw the offer, as long as he has accepted nothing.
    fn decision(&self, offer: &Record) -> Result<Option<(Record, Body)>, StorageError> {
        match self.decisions(offer)?.into_iter().next() {
            Some(decision) => Ok(Some(decision)),
            None => self.withdrawn_elsewhere(offer),
        }
    }

    /// Returns the maker's acceptances and withdrawals of an offer in the log that holds it.
    fn decisions(&self, offer: &Record) -> Result<Vec<(Record, Body)>, StorageError> {
        if let Some(mut all) = self.all_about(&offer.id())? {
            all.retain(|record| record.header().log == offer.header().log);
            let decisions =
                all.into_iter().filter(|record| matches!(record.header().kind, Kind::Accept | Kind::Revoke));
            return Ok(decisions.filter_map(|record| Body::decode(&record).ok().map(|body| (record, body))).collect());
        }
        let mut decisions = Vec::new();
        for id in self.storage.about_in(&offer.id(), &offer.header().log, MAX_FACTS)? {
            let Some(record) = self.storage.record(&id)? else { continue };
            if let Ok(body @ (Body::Accept(_) | Body::Revoke(_))) = Body::decode(&record) {
                decisions.push((record, body));
            }
        }
        Ok(decisions)
    }

    fn withdrawn_elsewhere(&self, offer: &Record) -> Result<Option<(Record, Body)>, StorageError> {
        if let Some(all) = self.all_about(&offer.id())? {
            let is_his = |record: &&Record| record.author() == offer.author() && record.header().kind == Kind::Revoke;
            let first = all.iter().find(is_his);
            return Ok(first.and_then(|record| Some((record.clone(), Body::decode(record).ok()?))));
        }
        for id in self.storage.about(&offer.id(), Some(&offer.author()), MAX_FACTS)? {
            let Some(record) = self.storage.record(&id)? else { continue };
            if let Ok(body @ Body::Revoke(_)) = Body::decode(&record) {
                return Ok(Some((record, body)));
            }
        }
        Ok(None)
    }
}
