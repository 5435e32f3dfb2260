//! The audit: reads the whole ledger again as a stranger would, and trusts nothing that was checked when it came in.

use std::collections::BTreeSet;

use crate::body::Body;
use crate::checkpoint::{self, Compared};
use crate::ids::{AuthorId, RecordId, TradeId};
use crate::ledger::{Ledger, TradeError, TradeRecords};
use crate::record::{Head, LogId, Record, verify_batch};
use crate::state::frozen_hash;
use crate::storage::{Storage, StorageError};

pub mod against;
pub mod bundle;
mod conduct;
mod evidence;

/// How many records are verified at once.
const BATCH: u64 = 256;
/// How many trades one audit lists.
const MAX_TRADES: usize = 1_000_000;

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The offending record.
    pub record: Option<RecordId>,
    /// The trade it belongs to.
    pub trade: Option<TradeId>,
    /// The rule, in words.
    pub rule: String,
}

/// What an audit of records found.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// How many records were checked.
    pub records: u64,
    /// How many authors they have.
    pub authors: u64,
    /// The trades.
    pub trades: Vec<TradeRecords>,
    /// The ledger itself is broken here: no honest node would hold this.
    pub violations: Vec<Finding>,
    /// Somebody did wrong, and the ledger proves it; it changes nothing for others.
    pub evidence: Vec<Finding>,
    /// What others say that the ledger was, beside what it is here; none in an audit of one author.
    pub checkpoints: Vec<Compared>,
}

/// Audits all records, or those of one author. `entropy` blinds the batch verification.
///
/// # Errors
/// When the store fails.
pub fn audit<S: Storage>(
    ledger: &Ledger<S>,
    only: Option<&AuthorId>,
    entropy: [u8; 32],
) -> Result<Audit, StorageError> {
    let mut audit = Audit::default();
    let mut authors = BTreeSet::new();
    let mut after: Option<LogId> = None;
    loop {
        let heads = ledger.storage().heads(after.as_ref(), 512)?;
        for head in &heads {
            if only.is_none_or(|author| head.log.author == *author) {
                authors.insert(head.log.author);
                audit.check_log(ledger, head, entropy)?;
            }
        }
        after = heads.last().map(|head| head.log);
        if heads.len() < 512 {
            break;
        }
    }
    audit.authors = authors.len() as u64; // usize is at most 64 bits
    if only.is_none() {
        audit.checkpoints = checkpoint::compare(ledger.storage())?;
    }
    for trade in ledger.trades(only, MAX_TRADES)? {
        match ledger.trade(trade) {
            Ok(records) => {
                audit.evidence.extend(conduct::check(ledger, &records)?);
                audit.evidence.extend(evidence::check(ledger, &records)?);
                audit.trades.push(records);
            }
            Err(TradeError::Storage(error)) => return Err(error),
            Err(error @ (TradeError::Unknown(_) | TradeError::Invalid(..))) => {
                audit.evidence.push(Finding { record: None, trade: Some(trade), rule: error.to_string() });
            }
        }
    }
    Ok(audit)
}

impl Audit {
    /// Checks one log from its first record to its head.
    fn check_log<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        head: &Head,
        entropy: [u8; 32],
    ) -> Result<(), StorageError> {
        let mut previous: Option<Record> = None;
        let mut seq = 0;
        while seq < head.len {
            let mut batch = Vec::new();
            for seq in seq..head.len.min(seq + BATCH) {
                let id = ledger.storage().id_at(&head.log, seq)?;
                match id.map(|id| ledger.storage().record(&id)).transpose()?.flatten() {
                    Some(record) => batch.push(record),
                    None => self.violate(
                        None,
                        format!("log {} of {} misses its record {seq}", head.log.epoch, head.log.author),
                    ),
                }
            }
            for (record, verdict) in batch.iter().zip(verify_batch(&batch, entropy)) {
                if let Err(error) = verdict {
                    self.violate(Some(record.id()), error.to_string());
                }
                self.check_record(ledger, record, previous.as_ref());
                previous = Some(record.clone());
            }
            seq += BATCH;
        }
        if previous.as_ref().map_or(RecordId([0; 32]), Record::id) != head.id {
            self.violate(Some(head.id), "the head of a log is not its last record".into());
        }
        self.check_frozen(ledger, head, entropy)
    }

    /// Checks what is kept of a log from where its author signed two histories, and that it proves that he did.
    fn check_frozen<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        head: &Head,
        entropy: [u8; 32],
    ) -> Result<(), StorageError> {
        let frozen = ledger.storage().frozen(&head.log)?;
        for (record, verdict) in frozen.iter().zip(verify_batch(&frozen, entropy)) {
            self.records += 1;
            let header = record.header();
            if let Err(error) = verdict.and_then(|()| Body::decode(record).map(drop)) {
                self.violate(Some(record.id()), error.to_string());
            }
            if header.log != head.log || header.seq < head.len || header.network != ledger.network() {
                self.violate(Some(record.id()), "frozen record does not stand at or after the fork of its log".into());
            }
        }
        let ids: Vec<RecordId> = frozen.iter().map(Record::id).collect();
        if head.frozen != (!ids.is_empty()).then(|| frozen_hash(&ids)) {
            self.violate(
                None,
                format!("log {} of {} holds other frozen records than its head says", head.log.epoch, head.log.author),
            );
        }
        match frozen.as_slice() {
            [] => {}
            [first, second, ..] if first.header().seq == head.len && second.header().seq == head.len => {
                let rule = format!("author signed two records at seq {}: the other is {}", head.len, second.id());
                self.evidence.push(Finding { record: Some(first.id()), trade: None, rule });
            }
            [first, ..] => self.violate(Some(first.id()), "log is frozen without a proof that it forked".into()),
        }
        Ok(())
    }

    fn check_record<S: Storage>(&mut self, ledger: &Ledger<S>, record: &Record, previous: Option<&Record>) {
        self.records += 1;
        let header = record.header();
        if header.network != ledger.network() {
            self.violate(Some(record.id()), "record is of another network".into());
        }
        if let Err(error) = Body::decode(record) {
            self.violate(Some(record.id()), error.to_string());
        }
        let follows = match previous {
            None => header.seq == 0,
            Some(p) => header.seq == p.header().seq + 1 && header.backlink == p.id() && header.time >= p.header().time,
        };
        if !follows {
            self.violate(Some(record.id()), "record does not continue its log".into());
        }
    }

    fn violate(&mut self, record: Option<RecordId>, rule: String) {
        self.violations.push(Finding { record, trade: None, rule });
    }
}

#[cfg(test)]
mod tests;
