//! Groups of arbiters: the records on which they rest, and what this identity decided in their cases.

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::frost::Decision;
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::record::Record;
use exchange_ledger::storage::StorageError;
use exchange_store::{Namespace, StoreError, Table, Versioned};

use super::Private;

/// What this identity decided in a case of its group, and every decision to which it is bound, about other coins too.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
struct DecisionRow {
    decision: Decision,
    bound: Vec<Decision>,
}

impl Versioned for DecisionRow {
    const VERSION: u8 = 2;

    fn from_earlier(version: u8, bytes: &[u8]) -> Option<Self> {
        match version {
            1 => {
                let DecisionRowV1 { decision, bound } = borsh::from_slice(bytes).ok()?;
                Some(Self { decision, bound: if bound { vec![decision] } else { Vec::new() } })
            }
            _ => None,
        }
    }
}

/// A decision as it was kept before a member stayed bound to those about other coins: whether he was to this one.
#[derive(BorshSerialize, BorshDeserialize)]
struct DecisionRowV1 {
    decision: Decision,
    bound: bool,
}

rows! {
    /// The records on which a group of arbiters of this identity's rests.
    GroupRow { records: Vec<Vec<u8>>, }
}

const GROUPS: Table<RecordId, GroupRow> = Table::new(Namespace::Groups);
const DECISIONS: Table<TradeId, DecisionRow> = Table::new(Namespace::Decisions);

/// How many records of a group are kept. A part rests on fewer than 48: the proposal, the member's own, of each of eight a join, a
/// deal and a confirmation, and an advert.
const MAX_GROUP_RECORDS: usize = 64;

impl Private {
    /// Returns the groups of arbiters of which this node keeps the records, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn groups(&self, limit: usize) -> Result<Vec<RecordId>, StoreError> {
        let rows: Vec<(RecordId, GroupRow)> = self.store.private().scan(&GROUPS, .., limit)?;
        Ok(rows.into_iter().map(|(group, _)| group).collect())
    }

    /// Returns the records of a group as they were kept.
    ///
    /// # Errors
    /// When the store fails, or what it holds is damaged.
    pub fn group(&self, group: &RecordId) -> Result<Vec<Record>, StoreError> {
        let Some(row) = self.store.private().get(&GROUPS, group)? else { return Ok(Vec::new()) };
        let damaged = |_| StorageError::Damaged(format!("the records kept of group {group} cannot be read"));
        Ok(row.records.iter().map(|bytes| Record::decode(bytes)).collect::<Result<_, _>>().map_err(damaged)?)
    }

    /// Keeps the records on which this identity's part of a group rests now, and besides them those on which it rested before, as
    /// far as there is room.
    ///
    /// # Errors
    /// When the store fails, or what it holds is damaged; then nothing changed.
    pub fn keep_group(&self, group: &RecordId, rests: &[Record]) -> Result<(), StoreError> {
        let before = self.group(group)?;
        let is_in = |records: &[Record], one: &Record| records.iter().any(|record| record.id() == one.id());
        if rests.iter().all(|record| is_in(&before, record)) {
            return Ok(());
        }
        let earlier = before.iter().filter(|record| !is_in(rests, record));
        let records = rests.iter().chain(earlier).take(MAX_GROUP_RECORDS).map(Record::encode).collect();
        self.store.private().put(&GROUPS, group, &GroupRow { records })
    }

    /// Returns what was decided in a case of a group, and every decision to which this identity is bound there.
    ///
    /// # Errors
    /// When the store fails.
    pub fn decision(&self, trade: &TradeId) -> Result<Option<(Decision, Vec<Decision>)>, StoreError> {
        Ok(self.store.private().get(&DECISIONS, trade)?.map(|row| (row.decision, row.bound)))
    }

    /// Keeps what was decided in a case of a group, and every decision to which this identity is bound there, before anybody
    /// hears of it.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_decision(&self, trade: &TradeId, decision: &Decision, bound: &[Decision]) -> Result<(), StoreError> {
        self.store.private().put(&DECISIONS, trade, &DecisionRow { decision: *decision, bound: bound.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::{Body, Side};
    use exchange_ledger::testing::{Author, SampleGroup, SampleTrade};
    use exchange_ledger::trade::Verdict;
    use exchange_store::{OpenOptions, Store};

    use super::*;

    #[test]
    fn what_a_part_rests_on_stays_whatever_else_it_rests_on_later() {
        let directory = tempfile::tempdir().unwrap();
        let private = Private::new(Store::open(directory.path(), OpenOptions::default()).unwrap());
        let group = SampleGroup::new(2, 3);
        let kept = || -> Vec<RecordId> { private.group(&group.id()).unwrap().iter().map(Record::id).collect() };
        let ids = |records: &[Record]| -> Vec<RecordId> { records.iter().map(Record::id).collect() };
        let (first, later) = group.records.split_at(4);
        private.keep_group(&group.id(), first).unwrap();
        private.keep_group(&group.id(), &first[..2]).unwrap();
        assert_eq!(kept(), ids(first), "nothing is taken away");
        private.keep_group(&group.id(), later).unwrap();
        assert_eq!(kept(), ids(&[later, first].concat()));
        let mut author = Author::new(1);
        let others: Vec<Record> = (0..60).map(|_| author.write(&Body::Heartbeat)).collect();
        private.keep_group(&group.id(), &others).unwrap();
        assert_eq!((kept().len(), &kept()[..60]), (MAX_GROUP_RECORDS, &ids(&others)[..]));
    }

    #[test]
    fn a_member_is_bound_as_he_was_whatever_he_decides_about_other_coins_and_after_an_update() {
        let directory = tempfile::tempdir().unwrap();
        let private = Private::new(Store::open(directory.path(), OpenOptions::default()).unwrap());
        let sample = SampleTrade::new(Side::Sell);
        let about = |number| Decision::Rule { vaults: sample.vaults(number), verdict: Verdict::Buyer };
        let (trade, first, second) = (sample.id(), about(1), about(2));
        for (decision, bound) in [(first, vec![]), (first, vec![first]), (second, vec![first])] {
            private.put_decision(&trade, &decision, &bound).unwrap();
            assert_eq!(private.decision(&trade).unwrap(), Some((decision, bound)));
        }
        for (bound, expected) in [(false, vec![]), (true, vec![first])] {
            let earlier = borsh::to_vec(&DecisionRowV1 { decision: first, bound }).unwrap();
            let read = DecisionRow::from_earlier(1, &earlier).unwrap();
            assert_eq!((read.decision, read.bound), (first, expected));
            assert!(DecisionRow::from_earlier(2, &earlier).is_none());
        }
    }
}
