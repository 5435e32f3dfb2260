//! The audit: reads the whole ledger again as a stranger would, and trusts nothing that was checked when it came in.

use std::collections::BTreeSet;
use std::thread;

use crate::ids::{AuthorId, RecordId, TradeId};
use crate::ledger::{Ahead, Ledger, TradeError, TradeRecords};
use crate::record::{Head, Kind, LogId, Place, Record, RecordError, verify_batch};
use crate::retention;
use crate::state::frozen_hash;
use crate::storage::{Storage, StorageError};

pub mod against;
pub mod bundle;
mod conduct;
mod evidence;
mod findings;
mod parallel;

use findings::thin_out;
pub use findings::{Finding, MAX_FINDINGS};

/// How many records are read and verified at once.
const BATCH: usize = 1024;
/// How many logs are listed, or trades judged, before what was found of them is put together.
const PAGE: usize = 4096;
/// How many trades are looked ahead at together: of so many, what is said about one often stands beside what is said about
/// another. What is found takes some 20 MB, and 50 MB where much is said about each; twice, for the next are looked at meanwhile.
const TRADES_AHEAD: usize = 32 * 1024;
/// How many trades one audit lists: with what the chain shows of them they have to fit into one answer of a node.
pub const MAX_TRADES: usize = 2000;

/// What to audit: everything, unless told otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scope {
    /// Of logs only those of this author, of trades those in which he has a part.
    pub author: Option<AuthorId>,
    /// Of trades only this one, whether it was agreed on or not.
    pub trade: Option<TradeId>,
    /// No logs, and of trades those after this one, as many as are listed: a list that was cut goes on with them.
    pub after: Option<TradeId>,
}

/// What an audit did not look at or does not tell, because there is too much of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// Whether more trades were agreed on than are listed.
    pub trades: bool,
    /// About how many trades others said more than was looked at. What their parties and arbiters said was.
    pub crowded: u64,
    /// How many violations are not told.
    pub violations: u64,
    /// How many pieces of evidence are not told.
    pub evidence: u64,
}

/// What an audit of records found.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// How many records were checked.
    pub records: u64,
    /// How many of these are here without their bodies, as old ones may be.
    pub bare: u64,
    /// How many trades were agreed on, or may have been, of which the bid or the offer has no body here, so that they could not
    /// be judged.
    pub lacked: u64,
    /// How many authors they have.
    pub authors: u64,
    /// How many bids were judged.
    pub bids: u64,
    /// How many of these were agreed on.
    pub agreed: u64,
    /// The first trades that were agreed on, by the places of their bids. Anybody can make bids by the hundred thousand.
    pub trades: Vec<TradeRecords>,
    /// The ledger itself is broken here: no honest node would hold this.
    pub violations: Vec<Finding>,
    /// Somebody did wrong, and the ledger proves it; it changes nothing for others.
    pub evidence: Vec<Finding>,
    /// What was left out.
    pub cut: Cut,
}

/// Audits what `scope` says, on all cores. `entropy` blinds the batch verification.
///
/// # Errors
/// When the store fails.
pub fn audit<S: Storage + Sync>(ledger: &Ledger<S>, scope: &Scope, entropy: [u8; 32]) -> Result<Audit, StorageError> {
    let mut audit = Audit::default();
    if scope.after.is_none() {
        audit.check_logs(ledger, scope.author.as_ref(), entropy)?;
    }
    match scope.trade {
        Some(trade) => {
            let take = ledger.storage().record(&trade.into())?.map(|take| take.place());
            let ahead = ledger.foresee(take.as_slice())?;
            audit.extend(Audit::of_trades(ledger, take.as_slice(), &ahead, scope, true)?);
        }
        None => audit.judge_trades(ledger, scope, MAX_TRADES)?,
    }
    audit.thin_out(MAX_FINDINGS);
    Ok(audit)
}

/// Records whose signatures are checked together.
struct Unverified {
    records: Vec<Record>,
    entropy: [u8; 32],
}

impl Audit {
    /// Checks all logs, or those of one author.
    fn check_logs<S: Storage + Sync>(
        &mut self,
        ledger: &Ledger<S>,
        only: Option<&AuthorId>,
        entropy: [u8; 32],
    ) -> Result<(), StorageError> {
        let mut authors = BTreeSet::new();
        let mut after: Option<LogId> = None;
        loop {
            let mut heads = match only {
                Some(author) => ledger.storage().logs_of(author, usize::MAX)?,
                None => ledger.storage().heads(after.as_ref(), PAGE)?,
            };
            after = heads.last().map(|head| head.log);
            authors.extend(heads.iter().map(|head| head.log.author));
            let is_last = only.is_some() || heads.len() < PAGE;
            // Short logs share a part.
            heads.sort_by_key(|head| std::cmp::Reverse(head.len));
            for part in parallel::each(&heads, |part| Self::of_logs(ledger, part, entropy))? {
                self.extend(part);
            }
            if is_last {
                self.authors = authors.len() as u64; // usize is at most 64 bits
                return Ok(());
            }
        }
    }

    fn of_logs<S: Storage>(ledger: &Ledger<S>, heads: &[Head], entropy: [u8; 32]) -> Result<Self, StorageError> {
        let mut audit = Self::default();
        let mut unverified = Unverified { records: Vec::with_capacity(BATCH), entropy };
        for head in heads {
            audit.check_log(ledger, head, &mut unverified)?;
        }
        audit.verify(&mut unverified);
        Ok(audit)
    }

    /// Judges all trades and lists the first `limit` that were agreed on; or of those after one no more than it takes to
    /// list so many.
    fn judge_trades<S: Storage + Sync>(
        &mut self,
        ledger: &Ledger<S>,
        scope: &Scope,
        limit: usize,
    ) -> Result<(), StorageError> {
        let after = match scope.after {
            Some(trade) => match ledger.storage().record(&trade.into())? {
                Some(take) => Some(take.place()),
                None => return Ok(()),
            },
            None => None,
        };
        let list = |after: Option<&Place>, most| {
            let takes = ledger.storage().of_kind(Kind::Take, after, most)?;
            let ahead = ledger.foresee(&takes)?;
            Ok::<_, StorageError>((takes, ahead))
        };
        let (mut takes, mut ahead) = list(after.as_ref(), PAGE)?;
        while let Some(last) = takes.last() {
            // The first are few, for they are waited for, and so are those after one, of which one page mostly is enough.
            let most = if scope.after.is_some() { PAGE } else { TRADES_AHEAD.min(2 * takes.len()) };
            // The next are looked for meanwhile, which one core does.
            let (judged, next) = thread::scope(|threads| {
                let next = threads.spawn(|| list(Some(last), most));
                let judged = self.judge(ledger, &takes, &ahead, scope, limit);
                (judged, next.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            });
            judged?;
            self.cut.trades = self.agreed > self.trades.len() as u64; // usize is at most 64 bits
            if scope.after.is_some() && self.cut.trades {
                return Ok(());
            }
            (takes, ahead) = next?;
        }
        Ok(())
    }

    /// Judges these trades, and lists of those that were agreed on as many as there is room for.
    fn judge<S: Storage + Sync>(
        &mut self,
        ledger: &Ledger<S>,
        takes: &[Place],
        ahead: &Ahead,
        scope: &Scope,
        limit: usize,
    ) -> Result<(), StorageError> {
        for page in takes.chunks(PAGE) {
            let lists = self.trades.len() < limit;
            for part in parallel::each(page, |part| Self::of_trades(ledger, part, ahead, scope, lists))? {
                self.extend(part);
            }
            self.trades.truncate(limit);
        }
        Ok(())
    }

    /// Judges trades. If it `lists`, those are told that were agreed on, or the one that was asked for.
    fn of_trades<S: Storage>(
        ledger: &Ledger<S>,
        takes: &[Place],
        ahead: &Ahead,
        scope: &Scope,
        lists: bool,
    ) -> Result<Self, StorageError> {
        let mut audit = Self::default();
        let mut seen = ledger.read_ahead(takes, ahead)?;
        for take in takes.iter().map(|place| place.id) {
            match ledger.examine(take.into(), &mut seen) {
                Ok(examined) if scope.author.is_none_or(|author| examined.trade.bid.role_of(&author).is_some()) => {
                    let (found, is_all) = conduct::check(ledger, &examined)?;
                    audit.evidence.extend(found);
                    audit.cut.crowded += u64::from(!is_all);
                    audit.evidence.extend(evidence::check(ledger, &examined)?);
                    let is_agreed = examined.trade.contract.is_some();
                    audit.bids += 1;
                    audit.agreed += u64::from(is_agreed);
                    if lists && (is_agreed || scope.trade.is_some()) {
                        audit.trades.push(examined.trade);
                    }
                }
                Err(TradeError::Bare(trade)) => {
                    let counts = match scope.author {
                        Some(author) => ledger.storage().record(&take)?.is_some_and(|take| take.author() == author),
                        None => true,
                    };
                    if counts && retention::may_be_agreed_on(ledger.storage(), trade)? {
                        audit.lacked += 1;
                    }
                }
                // A bid that does not fit its offer is nobody's trade.
                Ok(_) | Err(TradeError::Unknown(_) | TradeError::Invalid(..)) => {}
                Err(TradeError::Storage(error)) => return Err(error),
            }
        }
        Ok(audit)
    }

    fn extend(&mut self, part: Self) {
        self.records += part.records;
        self.bare += part.bare;
        self.lacked += part.lacked;
        self.bids += part.bids;
        self.agreed += part.agreed;
        self.trades.extend(part.trades);
        self.violations.extend(part.violations);
        self.evidence.extend(part.evidence);
        self.cut.crowded += part.cut.crowded;
        self.cut.violations += part.cut.violations;
        self.cut.evidence += part.cut.evidence;
        self.bound();
    }

    /// Thins findings out while they are gathered: there can be as many as records. Some more than are told may gather, so
    /// that this is seldom done.
    fn bound(&mut self) {
        if self.violations.len().max(self.evidence.len()) > 2 * MAX_FINDINGS {
            self.thin_out(MAX_FINDINGS);
        }
    }

    /// Leaves so many violations and so much evidence at most, and notes what went.
    fn thin_out(&mut self, most: usize) {
        self.cut.violations += thin_out(&mut self.violations, most);
        self.cut.evidence += thin_out(&mut self.evidence, most);
    }

    /// Checks one log from its first record to its head, and what is frozen behind it.
    fn check_log<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        head: &Head,
        unverified: &mut Unverified,
    ) -> Result<(), StorageError> {
        let mut previous: Option<Record> = None;
        loop {
            let page = ledger.storage().range(&head.log, next_seq(previous.as_ref()), BATCH)?;
            for record in &page {
                let seq = next_seq(previous.as_ref());
                if record.header().seq != seq {
                    self.miss(head, seq);
                }
                self.check_record(ledger, record, previous.as_ref(), unverified);
                previous = Some(record.clone());
            }
            if page.len() < BATCH {
                break;
            }
        }
        let seq = next_seq(previous.as_ref());
        if seq != head.len {
            self.miss(head, seq);
        } else if previous.as_ref().map_or(RecordId([0; 32]), Record::id) != head.id {
            self.violate(head.log.author, Some(head.id), "the head of a log is not its last record".into());
        }
        self.check_frozen(ledger, head, unverified)
    }

    /// Checks what is kept of a log from where its author signed two histories, and that it proves that he did.
    fn check_frozen<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        head: &Head,
        unverified: &mut Unverified,
    ) -> Result<(), StorageError> {
        let frozen = ledger.storage().frozen(&head.log)?;
        for record in &frozen {
            self.check_alone(ledger, record, unverified);
            let header = record.header();
            if header.log != head.log || header.seq < head.len {
                let rule = "frozen record does not stand at or after the fork of its log".into();
                self.violate(header.log.author, Some(record.id()), rule);
            }
        }
        let ids: Vec<RecordId> = frozen.iter().map(Record::id).collect();
        if head.frozen != (!ids.is_empty()).then(|| frozen_hash(&ids)) {
            let LogId { author, epoch } = head.log;
            let rule = format!("log {epoch} of {author} holds other frozen records than its head says");
            self.violate(author, None, rule);
        }
        match frozen.as_slice() {
            [] => {}
            [first, second, ..] if first.header().seq == head.len && second.header().seq == head.len => {
                let rule = format!("author signed two records at seq {}: the other is {}", head.len, second.id());
                self.evidence.push(Finding { author: head.log.author, record: Some(first.id()), trade: None, rule });
            }
            [first, ..] => {
                let rule = "log is frozen without a proof that it forked".into();
                self.violate(head.log.author, Some(first.id()), rule);
            }
        }
        Ok(())
    }

    fn check_record<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        record: &Record,
        previous: Option<&Record>,
        unverified: &mut Unverified,
    ) {
        self.check_alone(ledger, record, unverified);
        let header = record.header();
        let follows = match previous {
            None => header.seq == 0,
            Some(p) => header.seq == p.header().seq + 1 && header.backlink == p.id() && header.time >= p.header().time,
        };
        if !follows {
            self.violate(record.author(), Some(record.id()), "record does not continue its log".into());
        }
    }

    /// Checks what a record says by itself, its signature a little later.
    fn check_alone<S: Storage>(&mut self, ledger: &Ledger<S>, record: &Record, unverified: &mut Unverified) {
        self.records += 1;
        if record.header().network != ledger.network() {
            self.violate(record.author(), Some(record.id()), "record is of another network".into());
        }
        match record.decoded() {
            Ok(_) => {}
            Err(RecordError::Bare) => self.bare += 1,
            Err(error) => self.violate(record.author(), Some(record.id()), error.to_string()),
        }
        unverified.records.push(record.clone());
        if unverified.records.len() >= BATCH {
            self.verify(unverified);
        }
    }

    fn verify(&mut self, unverified: &mut Unverified) {
        for (record, verdict) in unverified.records.iter().zip(verify_batch(&unverified.records, unverified.entropy)) {
            if let Err(error) = verdict {
                self.violate(record.author(), Some(record.id()), error.to_string());
            }
        }
        unverified.records.clear();
    }

    fn miss(&mut self, head: &Head, seq: u64) {
        let LogId { author, epoch } = head.log;
        self.violate(author, None, format!("log {epoch} of {author} misses its record {seq}"));
    }

    fn violate(&mut self, author: AuthorId, record: Option<RecordId>, rule: String) {
        self.violations.push(Finding { author, record, trade: None, rule });
        self.bound();
    }
}

/// Returns the seq of the record that has to follow.
fn next_seq(previous: Option<&Record>) -> u64 {
    previous.map_or(0, |record| record.header().seq + 1)
}

#[cfg(test)]
mod tests;
