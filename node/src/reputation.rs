//! How many trades an author closed, and in how many an arbiter was named, called for, and ruled: what the records say; the
//! audit tells whether the chain agrees. An author's are counted when somebody looks; an arbiter's, which stand in the logs of
//! others, once beside the start and then as they come.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exchange_ledger::body::{Body, Closed, Dispute, Ruling};
use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::ledger::{Ledger, MAX_FACTS, TradeError};
use exchange_ledger::record::{Kind, Place, Record};
use exchange_ledger::storage::{Storage, StorageError};
use exchange_ledger::trade::{Arbiter, Bid, Role};
use exchange_store::Store;

use crate::keeper::Keeper;

/// How many authors' trades are remembered: several pages of the book. When there are more, all are counted anew.
const MAX_AUTHORS: usize = 4096;
/// How many records of an author are looked at: who closed that many trades is known well enough.
const MAX_RECORDS: usize = 1000;
/// How many closed trades, disputes and rulings are counted for arbiters, some ten megabytes; what is beyond is not counted.
const MAX_ARBITRATED: usize = 100_000;
/// How many places are read at once.
const PAGE: usize = 512;

/// The counts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Reputation(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    closed: HashMap<AuthorId, u32>,
    arbitrated: HashMap<AuthorId, Arbitrated>,
    /// Both parties close or dispute a trade; each counts once.
    counted: HashSet<(TradeId, AuthorId, Step)>,
}

/// What is counted of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Closed,
    Disputed,
    Ruled,
}

/// What there is to say of an arbiter's work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arbitrated {
    /// Closed trades that named him.
    pub trades: u32,
    /// Trades that named him and in which a party called for him.
    pub disputes: u32,
    /// Trades in which he ruled.
    pub rulings: u32,
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

    /// Returns what there is to say of an arbiter's work.
    pub fn arbitrated(&self, arbiter: &AuthorId) -> Arbitrated {
        self.counts().arbitrated.get(arbiter).copied().unwrap_or_default()
    }

    /// Hears of a record that says that a trade is closed or disputed, or that rules about it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn hear(&self, ledger: &Ledger<Store>, record: &Record) -> Result<(), StorageError> {
        let author = record.author();
        let (trade, arbiter, step) = match Body::decode(record) {
            Ok(Body::Closed(_)) => match closed(ledger, record)? {
                Some(bid) => (bid.trade, bid.arbiter.author, Step::Closed),
                None => return Ok(()),
            },
            Ok(Body::Dispute(Dispute { trade })) => match bid_of(ledger, trade)? {
                Some(bid) if is_party(&bid, &author) => (trade, bid.arbiter.author, Step::Disputed),
                Some(_) | None => return Ok(()),
            },
            Ok(Body::Ruling(Ruling { trade, .. })) => match bid_of(ledger, trade)? {
                Some(bid) => match bid.arbiter_of(&author) {
                    // Of a group its advert's author, by whom it is known.
                    Some(arbiter) => (trade, arbiter.author, Step::Ruled),
                    None => return Ok(()),
                },
                None => return Ok(()),
            },
            Ok(_) | Err(_) => return Ok(()), // says nothing about anybody's work
        };
        let mut counts = self.counts();
        if step == Step::Closed {
            counts.closed.remove(&author);
        }
        if counts.counted.len() < MAX_ARBITRATED && counts.counted.insert((trade, arbiter, step)) {
            let known = counts.arbitrated.entry(arbiter).or_default();
            let count = match step {
                Step::Closed => &mut known.trades,
                Step::Disputed => &mut known.disputes,
                Step::Ruled => &mut known.rulings,
            };
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    /// Counts the trades of all arbiters. It reads every closed trade: not before anybody waits for the node.
    ///
    /// # Errors
    /// When the store fails.
    pub fn count_arbitrated(&self, ledger: &Ledger<Store>) -> Result<(), StorageError> {
        let mut looked = HashSet::new();
        for kind in [Kind::Dispute, Kind::Closed] {
            let mut after: Option<Place> = None;
            loop {
                let page = ledger.storage().of_kind(kind, after.as_ref(), PAGE)?;
                for place in &page {
                    if let Some(record) = ledger.record(&place.id)? {
                        self.hear(ledger, &record)?;
                        if let Ok(Body::Dispute(Dispute { trade })) = record.decoded().map(|body| &**body) {
                            self.hear_rulings(ledger, *trade, &mut looked)?;
                        }
                    }
                }
                after = page.last().copied();
                if page.len() < PAGE || self.counts().counted.len() >= MAX_ARBITRATED {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Counts what was ruled in a disputed trade: rulings are not listed, but about each of them there is a dispute. Anybody can
    /// write a million of these about one trade; so it is looked at once, and only for what its arbiters said. Tells whether
    /// it was.
    fn hear_rulings(
        &self,
        ledger: &Ledger<Store>,
        trade: TradeId,
        looked: &mut HashSet<TradeId>,
    ) -> Result<bool, StorageError> {
        if looked.contains(&trade) {
            return Ok(false);
        }
        let Some(bid) = bid_of(ledger, trade)? else { return Ok(false) };
        if looked.len() >= MAX_ARBITRATED {
            looked.clear(); // some are looked at again
        }
        looked.insert(trade);
        for speaker in std::iter::once(&bid.arbiter).chain(&bid.second_arbiter).flat_map(Arbiter::speakers) {
            for id in ledger.storage().about(&trade.into(), Some(speaker), MAX_FACTS)? {
                if let Some(ruling) = ledger.record(&id)?.filter(|record| record.header().kind == Kind::Ruling) {
                    self.hear(ledger, &ruling)?;
                    break; // his others about this trade count no more
                }
            }
        }
        Ok(true)
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
    Ok(bid_of(ledger, trade)?.filter(|bid| is_party(bid, &record.author())))
}

fn is_party(bid: &Bid, author: &AuthorId) -> bool {
    matches!(bid.role_of(author), Some(Role::Buyer | Role::Seller))
}

/// Returns the bid of a trade; `None` for what is no trade.
fn bid_of(ledger: &Ledger<Store>, trade: TradeId) -> Result<Option<Bid>, StorageError> {
    match ledger.bid(trade) {
        Ok((bid, _)) => Ok(Some(bid)),
        Err(TradeError::Storage(error)) => Err(error),
        Err(TradeError::Unknown(_) | TradeError::Invalid(..) | TradeError::Bare(_)) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::{Author, EPOCH, NETWORK, SampleTrade};
    use exchange_ledger::trade::{Seat, Verdict};
    use exchange_store::OpenOptions;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_crowd_of_disputes_neither_hides_a_ruling_nor_has_it_looked_for_again() {
        let mut trade = SampleTrade::new(Side::Sell);
        let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
        let pair = trade.arbiter_pair(escrow.contract(), Seat::First);
        let division = escrow.divide(Seat::First, &vaults, Verdict::Buyer, 10).unwrap();
        let ruling = escrow.rule(Seat::First, &vaults, division, &pair).unwrap();
        let dispute = Body::Dispute(Dispute { trade: trade.id() });
        let mut crowd = (10..=255).map(Author::new).find(|author| author.id() < trade.arbiter.id()).unwrap();
        let mut records = trade.records();
        records.extend([trade.arbiter.write(&Body::Ruling(ruling)), trade.taker.write(&dispute)]);
        records.extend((0..300).map(|_| crowd.write(&dispute)));

        let dir = TempDir::new().unwrap();
        let mut ledger = Ledger::new(Store::open(dir.path(), OpenOptions::default()).unwrap(), NETWORK);
        ledger.admit(&records, u64::from(EPOCH) + 1_000).unwrap();
        let reputation = Reputation::default();
        reputation.count_arbitrated(&ledger).unwrap();
        assert_eq!(reputation.arbitrated(&trade.arbiter.id()), Arbitrated { trades: 0, disputes: 1, rulings: 1 });
        let mut looked = HashSet::new();
        let mut look = || reputation.hear_rulings(&ledger, trade.id(), &mut looked).unwrap();
        assert_eq!([look(), look()], [true, false]);
        let strange = TradeId([1; 32]);
        assert!(!reputation.hear_rulings(&ledger, strange, &mut looked).unwrap());
        assert_eq!(looked.len(), 1, "what is no trade is not remembered");
    }
}
