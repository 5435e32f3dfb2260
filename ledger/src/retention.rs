//! Retention: which bodies a node may drop when they are old, and how long it keeps them. `specs/retention.md` is the
//! normative text.
//!
//! A record without its body is *bare*. Its header still says who wrote what kind of record when, and commits to the body; so
//! logs, heads and the state are those of a node that keeps everything, and whoever has the body can hand it back.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use crate::body::{Body, MAX_OFFER_LIFE_S};
use crate::ids::{AuthorId, RecordId, TradeId};
use crate::ledger::{Ledger, MAX_FACTS};
use crate::record::{Header, Kind, Record};
use crate::storage::{Aged, Storage, StorageError};

/// How many records about a bare bid are looked at, to learn whether it was accepted.
const MAX_SEARCHED: usize = 1024;
const DAY_S: u64 = 24 * 3600;

/// How old a record is at least when it may come without its body: a day less than the shortest retention, as clocks differ.
pub const MIN_BARE_AGE_S: u64 = (MIN_DAYS as u64 - 1) * DAY_S;
/// How much younger than that it may be before whoever sent it is at fault: it may be old enough by his clock.
pub const BARE_SKEW_S: u64 = DAY_S;
/// The shortest body that is dropped: of a shorter one the bare record would hardly be smaller.
pub const MIN_DROPPED_LEN: u16 = 64;
/// The shortest retention: twice as long as any offer lives, so that nothing that is dropped can be taken or accepted any more.
pub const MIN_DAYS: u16 = 60;
/// The longest one that is not for ever.
pub const MAX_DAYS: u16 = 36_500;
/// What a node does unless it is told otherwise.
pub const DEFAULT_DAYS: u16 = 180;

const _: () = assert!(MIN_BARE_AGE_S > MAX_OFFER_LIFE_S, "no offer stands when its body is dropped");

/// How long a node keeps bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// For ever: an archive.
    Full,
    /// For so many days.
    Days(u16),
}

impl Default for Retention {
    fn default() -> Self {
        Self::Days(DEFAULT_DAYS)
    }
}

/// A text that is no retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a retention is `full` or a number of days from {MIN_DAYS} to {MAX_DAYS}")]
pub struct NotARetention;

impl Retention {
    /// Returns from which time on bodies are kept.
    pub const fn since(self, now: u64) -> u64 {
        match self {
            Self::Full => 0,
            Self::Days(days) => now.saturating_sub(days as u64 * DAY_S), // widening
        }
    }

    /// Returns how a node's agent ends, so that others know what it can be asked for.
    pub fn mark(self) -> String {
        match self {
            Self::Full => "full".to_owned(),
            Self::Days(days) => format!("{days}d"),
        }
    }

    /// Returns what the end of an agent says, if it says anything. It may be a lie.
    pub fn of_agent(agent: &str) -> Option<Self> {
        let (_, mark) = agent.rsplit_once(' ')?;
        match mark.strip_suffix('d') {
            Some(days) => days.parse().ok().map(Self::Days),
            None => (mark == "full").then_some(Self::Full),
        }
    }
}

impl FromStr for Retention {
    type Err = NotARetention;

    fn from_str(text: &str) -> Result<Self, NotARetention> {
        if text == "full" {
            return Ok(Self::Full);
        }
        let days = text.parse().map_err(|_| NotARetention)?;
        if (MIN_DAYS..=MAX_DAYS).contains(&days) { Ok(Self::Days(days)) } else { Err(NotARetention) }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Days(days) => write!(f, "{days}"),
        }
    }
}

/// Tells whether a record can lose its body at all, whatever its age.
pub fn may_be_bare(header: &Header) -> bool {
    header.body_len >= MIN_DROPPED_LEN
        && match header.kind {
            Kind::Offer | Kind::Take | Kind::Unknown(_) => true,
            // What binds somebody, proves something or is asked for at any age.
            Kind::Heartbeat
            | Kind::ArbiterAdvert
            | Kind::GroupAdvert
            | Kind::GroupStep
            | Kind::Stake
            | Kind::Checkpoint
            | Kind::Revoke
            | Kind::Accept
            | Kind::Cancel
            | Kind::Funded
            | Kind::PaymentSent
            | Kind::Release
            | Kind::Closed
            | Kind::Dispute
            | Kind::Ruling
            | Kind::Extend => false,
        }
}

/// Tells whether a record is so old that it may come without its body.
pub const fn is_past(header: &Header, now: u64) -> bool {
    header.time <= now.saturating_sub(MIN_BARE_AGE_S)
}

/// Tells whether a record is so old by some clock of others, or will soon be by one's own.
pub const fn is_nearly_past(header: &Header, now: u64) -> bool {
    is_past(header, now.saturating_add(BARE_SKEW_S))
}

/// What a node never drops, because it is its own.
#[derive(Debug, Clone, Default)]
pub struct Mine {
    authors: HashSet<AuthorId>,
    records: HashSet<RecordId>,
}

impl Mine {
    /// Returns what is a node's own: what its identities wrote, the bids of its trades and their offers.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of(
        storage: &impl Storage,
        authors: HashSet<AuthorId>,
        trades: impl IntoIterator<Item = TradeId>,
    ) -> Result<Self, StorageError> {
        let mut records = HashSet::new();
        for trade in trades {
            let take = storage.record(&trade.into())?;
            if let Some(Ok(Body::Take(take))) = take.as_ref().map(|take| take.decoded().map(|body| &**body)) {
                records.insert(take.offer);
            }
            records.insert(trade.into());
        }
        Ok(Self { authors, records })
    }

    fn has(&self, record: &Record) -> bool {
        self.authors.contains(&record.author()) || self.records.contains(&record.id())
    }
}

/// A look at some of the records whose bodies may go by age.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Those whose bodies may go.
    pub gone: Vec<RecordId>,
    /// Where to go on; nothing when all were looked at.
    pub next: Option<Aged>,
}

impl<S: Storage> Ledger<S> {
    /// Looks at the next `limit` records of a time before `before`, and finds those whose bodies nothing needs any more.
    ///
    /// # Errors
    /// When the store fails.
    pub fn look_for_droppable(
        &self,
        before: u64,
        after: Option<&Aged>,
        limit: usize,
        own: &Mine,
    ) -> Result<Look, StorageError> {
        let page = self.storage().droppable(before, after, limit)?;
        let mut look = Look { gone: Vec::new(), next: page.last().copied().filter(|_| page.len() >= limit) };
        for aged in &page {
            if let Some(record) = self.storage().record(&aged.place.id)?
                && self.is_droppable(&record, own)?
            {
                look.gone.push(record.id());
            }
        }
        Ok(look)
    }

    /// Drops the bodies that such a look has found.
    ///
    /// # Errors
    /// When the store fails: then none is gone.
    pub fn drop_bodies(&mut self, records: &[RecordId]) -> Result<(), StorageError> {
        self.storage_mut().drop_bodies(records)
    }

    /// Gives bare records their bodies back. Returns those of them that were bare.
    ///
    /// # Errors
    /// When the store fails: then none has.
    pub fn keep_bodies(&mut self, records: &[Record]) -> Result<Vec<Record>, StorageError> {
        let mut wanted = Vec::new();
        for record in records {
            let kept = self.storage().record(&record.id())?;
            if kept.is_some_and(|kept| kept.is_bare()) && record.decoded().is_ok() {
                wanted.push(record.clone());
            }
        }
        if !wanted.is_empty() {
            self.storage_mut().keep_bodies(&wanted)?;
        }
        Ok(wanted)
    }

    /// Tells whether nothing needs the body of an old record any more.
    fn is_droppable(&self, record: &Record, own: &Mine) -> Result<bool, StorageError> {
        // What somebody signed who signed two histories may be needed to show what he did.
        if own.has(record) || self.is_author_frozen(&record.author())? {
            return Ok(false);
        }
        match record.decoded().map(|body| &**body) {
            Ok(Body::Offer(_)) => Ok(accepted(self.storage(), record)?.is_empty()),
            Ok(Body::Take(take)) => match self.storage().record(&take.offer)? {
                Some(offer) => Ok(!accepted(self.storage(), &offer)?.contains(&record.id().into())),
                // A bid for nothing.
                None => Ok(true),
            },
            Ok(Body::Unknown(_)) => Ok(true),
            Ok(_) | Err(_) => Ok(false),
        }
    }
}

/// Tells whether a node misses the body of a bare record: it keeps bodies from `since` on, and whatever was or may have been
/// agreed on.
///
/// # Errors
/// When the store fails.
pub fn is_missed(storage: &dyn Storage, aged: &Aged, since: u64) -> Result<bool, StorageError> {
    if aged.time >= since {
        return Ok(true);
    }
    let Some(record) = storage.record(&aged.place.id)? else { return Ok(false) };
    match record.header().kind {
        Kind::Offer => Ok(!accepted(storage, &record)?.is_empty()),
        Kind::Take => may_be_agreed_on(storage, record.id().into()),
        // Nothing is agreed on by it.
        Kind::Unknown(_) => Ok(false),
        // Never bare ([`may_be_bare`]).
        Kind::Heartbeat
        | Kind::ArbiterAdvert
        | Kind::GroupAdvert
        | Kind::GroupStep
        | Kind::Stake
        | Kind::Checkpoint
        | Kind::Revoke
        | Kind::Accept
        | Kind::Cancel
        | Kind::Funded
        | Kind::PaymentSent
        | Kind::Release
        | Kind::Closed
        | Kind::Dispute
        | Kind::Ruling
        | Kind::Extend => Ok(false),
    }
}

/// Tells whether a bid was accepted by whose offer it names, in the log that holds the offer.
///
/// A bare bid names none. Then somebody's acceptance for any offer of his does, in the log that holds that; and where more is
/// said about the bid than is looked at, there may be one among the rest: nobody hides an acceptance by saying much.
///
/// # Errors
/// When the store fails.
pub fn may_be_agreed_on(storage: &dyn Storage, trade: TradeId) -> Result<bool, StorageError> {
    let bid = storage.record(&trade.into())?;
    if let Some(Ok(Body::Take(take))) = bid.as_ref().map(|bid| bid.decoded().map(|body| &**body)) {
        let offer = storage.record(&take.offer)?;
        return Ok(match offer {
            Some(offer) => accepted(storage, &offer)?.contains(&trade),
            None => false,
        });
    }
    let said = storage.about(&trade.into(), None, MAX_SEARCHED)?;
    for id in &said {
        if let Some(record) = storage.record(id)?
            && let Ok(Body::Accept(accept)) = record.decoded().map(|body| &**body)
            && accept.trade == trade
            && let Some(offer) = storage.record(&accept.offer)?
            && offer.header().log == record.header().log
        {
            return Ok(true);
        }
    }
    Ok(said.len() >= MAX_SEARCHED)
}

/// Returns the trades that the maker of an offer accepted in the log that holds it. None of them need be one.
fn accepted(storage: &dyn Storage, offer: &Record) -> Result<Vec<TradeId>, StorageError> {
    let mut trades = Vec::new();
    for id in storage.about_in(&offer.id(), &offer.header().log, MAX_FACTS)? {
        let said = storage.record(&id)?;
        // One that names it as the trade is about it too.
        if let Some(Ok(Body::Accept(accept))) = said.as_ref().map(|said| said.decoded().map(|body| &**body))
            && accept.offer == offer.id()
        {
            trades.push(accept.trade);
        }
    }
    Ok(trades)
}

#[cfg(test)]
mod tests;
