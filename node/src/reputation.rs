//! How many trades an author closed, and how many an arbiter was named in: what the records of the parties say; the audit
//! tells whether the chain agrees. An author's are counted when somebody looks; an arbiter's, which stand in the logs of
//! others, once beside the start and then as they come.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exchange_ledger::body::{Body, Closed};
use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::ledger::{Ledger, TradeError};
use exchange_ledger::record::{Kind, Place, Record};
use exchange_ledger::storage::{Storage, StorageError};
use exchange_ledger::trade::{Bid, Role};
use exchange_store::Store;

use crate::keeper::Keeper;

/// How many authors' trades are remembered: several pages of the book. When there are more, all are counted anew.
const MAX_AUTHORS: usize = 4096;
/// How many records of an author are looked at: who closed that many trades is known well enough.
const MAX_RECORDS: usize = 1000;
/// How many trades are counted for their arbiters, some ten megabytes; what is beyond is not counted.
const MAX_ARBITRATED: usize = 100_000;
/// How many places are read at once.
const PAGE: usize = 512;

/// The counts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Reputation(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    closed: HashMap<AuthorId, u32>,
    arbitrated: HashMap<AuthorId, u32>,
    /// Both parties close a trade; it counts once.
    counted: HashSet<TradeId>,
}

impl Reputation {
    /// Returns how many trades an author closed.
    ///
    /// # Errors
    /// When the store fails.
    pub fn closed_trades(&self, ledger: &Ledger<Store>, author: &AuthorId) -> Result<u32, StorageError> {
        if let Some(count) = self.counts().closed.get(author) {
            return Ok(*count);
        }
        let mut trades = HashSet::new();
        for place in ledger.storage().of_kind_by(Kind::Closed, author, None, MAX_RECORDS)? {
            let record = ledger.record(&place.id)?;
            trades.extend(record.map(|record| closed(ledger, &record)).transpose()?.flatten().map(|bid| bid.trade));
        }
        let count = u32::try_from(trades.len()).unwrap_or(u32::MAX);
        let mut counts = self.counts();
        if counts.closed.len() >= MAX_AUTHORS {
            counts.closed.clear();
        }
        counts.closed.insert(*author, count);
        Ok(count)
    }

    /// Returns how many closed trades named an author as their arbiter.
    pub fn arbitrated_trades(&self, arbiter: &AuthorId) -> u32 {
        self.counts().arbitrated.get(arbiter).copied().unwrap_or_default()
    }

    /// Hears of a record that says that a trade is closed.
    ///
    /// # Errors
    /// When the store fails.
    pub fn hear(&self, ledger: &Ledger<Store>, record: &Record) -> Result<(), StorageError> {
        let Some(bid) = closed(ledger, record)? else { return Ok(()) };
        let mut counts = self.counts();
        counts.closed.remove(&record.author());
        if counts.counted.len() < MAX_ARBITRATED && counts.counted.insert(bid.trade) {
            let count = counts.arbitrated.entry(bid.arbiter.author).or_default();
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    /// Counts the trades of all arbiters. It reads every closed trade: not before anybody waits for the node.
    ///
    /// # Errors
    /// When the store fails.
    pub fn count_arbitrated(&self, ledger: &Ledger<Store>) -> Result<(), StorageError> {
        let mut after: Option<Place> = None;
        loop {
            let page = ledger.storage().of_kind(Kind::Closed, after.as_ref(), PAGE)?;
            for place in &page {
                if let Some(record) = ledger.record(&place.id)? {
                    self.hear(ledger, &record)?;
                }
            }
            after = page.last().copied();
            if page.len() < PAGE || self.counts().counted.len() >= MAX_ARBITRATED {
                return Ok(());
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the trades of arbiters, off the async threads.
pub async fn count(keeper: Keeper) {
    let counted = tokio::task::spawn_blocking(move || keeper.reputation().count_arbitrated(keeper.ledger())).await;
    if let Ok(Err(error)) = counted {
        tracing::error!(%error, "the trades of arbiters cannot be counted");
    }
}

/// Returns the bid of a trade that its buyer or seller says to have seen end on the chain.
fn closed(ledger: &Ledger<Store>, record: &Record) -> Result<Option<Bid>, StorageError> {
    let Ok(Body::Closed(Closed { trade, .. })) = Body::decode(record) else { return Ok(None) };
    match ledger.bid(trade) {
        Ok((bid, _)) => {
            let role = bid.role_of(&record.author());
            Ok(matches!(role, Some(Role::Buyer | Role::Seller)).then_some(bid))
        }
        Err(TradeError::Storage(error)) => Err(error),
        // It closes what is no trade.
        Err(_) => Ok(None),
    }
}
