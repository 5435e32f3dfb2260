//! What this node keeps for itself, beside the ledger: the rows of the private tables and how to reach them.
//!
//! Persisted types are not the types in use: each row is a struct of its own here, with a version.

use std::collections::HashSet;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::record::{Head, LogId};
use exchange_ledger::storage::Batch;
use exchange_store::{Answer, Changes, Namespace, Store, StoreError, Table, Versioned};

// It stands before the modules that use it.
macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
        struct $name { $($field: $type,)* }

        impl Versioned for $name {
            const VERSION: u8 = 1;
        }
    )*};
}

mod groups;
mod mail;
mod messages;
mod settings;
mod trades;

pub use mail::{KeptMail, MailSpot};
pub use messages::{Disclosed, Keeping, Kept};
pub use settings::Trusted;

/// The private tables of this node. Cheap to clone.
#[derive(Clone)]
pub struct Private {
    store: Arc<Store>,
}

rows! {
    /// The head of an own log as this machine last wrote it.
    OwnHeadRow { epoch: u32, len: u64, id: RecordId, time: u64, }
    /// A sealed message.
    EnvelopeRow { envelope: Vec<u8>, time: u64, }
    /// An event.
    EventRow { time: u64, json: String, }
    /// What the user was told last of where a trade stands: a line of the log of events.
    ToldRow { line: String, }
}

/// The place of an envelope among those that one party sent another: epoch and number.
type EnvelopePlace = (u32, u32);

const TOLD: Table<TradeId, ToldRow> = Table::new(Namespace::Told);
const OWN_HEADS: Table<AuthorId, OwnHeadRow> = Table::new(Namespace::OwnHeads);

impl Private {
    /// Takes the private tables of a store.
    pub fn new(store: Store) -> Self {
        Self { store: Arc::new(store) }
    }

    /// Returns the head of an own log as this machine last wrote it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn own_head(&self, author: &AuthorId) -> Result<Option<Head>, StoreError> {
        let row = self.store.private().get(&OWN_HEADS, author)?;
        Ok(row.map(|OwnHeadRow { epoch, len, id, time }| {
            let log = LogId { author: *author, epoch };
            Head { log, len, id, time, frozen: None }
        }))
    }

    /// Returns the identities that ever wrote here.
    ///
    /// # Errors
    /// When the store fails.
    pub fn own_authors(&self) -> Result<HashSet<AuthorId>, StoreError> {
        let rows: Vec<(AuthorId, OwnHeadRow)> = self.store.private().scan(&OWN_HEADS, .., usize::MAX)?;
        Ok(rows.into_iter().map(|(author, _)| author).collect())
    }

    /// Keeps own records, the note of the head that they lead to, and the answer to the request that asked for them,
    /// together or not at all.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn commit_own(&self, batch: &Batch, head: &Head, answer: Option<(&str, Answer)>) -> Result<(), StoreError> {
        let row = OwnHeadRow { epoch: head.log.epoch, len: head.len, id: head.id, time: head.time };
        let mut changes = Changes::new().put(&OWN_HEADS, &head.log.author, &row);
        if let Some((request, answer)) = answer {
            changes = changes.answer(request, answer);
        }
        self.store.commit_with(batch, changes).map(drop)
    }

    /// Appends an event to the log and returns its number. With it is kept, or not at all, what it tells the user of where a
    /// trade stands.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn append_event(&self, time: u64, json: String, told: Option<(&TradeId, &str)>) -> Result<u64, StoreError> {
        let mut changes = Changes::new().event(&EventRow { time, json });
        if let Some((trade, line)) = told {
            changes = changes.put(&TOLD, trade, &ToldRow { line: line.to_owned() });
        }
        Ok(self.store.private().write(changes)?.events.start)
    }

    /// Returns what the user was told last of where a trade stands.
    ///
    /// # Errors
    /// When the store fails.
    pub fn told(&self, trade: &TradeId) -> Result<Option<String>, StoreError> {
        Ok(self.store.private().get(&TOLD, trade)?.map(|row| row.line))
    }

    /// Returns events from a number on, oldest first: number, time, contents.
    ///
    /// # Errors
    /// When the store fails.
    pub fn events(&self, from: u64, limit: usize) -> Result<Vec<(u64, u64, String)>, StoreError> {
        let rows: Vec<(u64, EventRow)> = self.store.private().events(from, limit)?;
        Ok(rows.into_iter().map(|(seq, row)| (seq, row.time, row.json)).collect())
    }

    /// Returns the answer that was given to a request.
    ///
    /// # Errors
    /// When the store fails.
    pub fn answer(&self, request: &str) -> Result<Option<Answer>, StoreError> {
        self.store.private().answer(request)
    }

    /// Keeps the answer to a request.
    ///
    /// # Errors
    /// When the store fails, or the request was answered in the meantime; then nothing changed.
    pub fn put_answer(&self, request: &str, answer: Answer) -> Result<(), StoreError> {
        self.store.private().write(Changes::new().answer(request, answer)).map(drop)
    }

    /// Returns the store, for the wallet's own table.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

#[cfg(test)]
mod tests {
    use exchange_store::OpenOptions;

    use super::*;

    #[test]
    fn what_was_told_is_kept_with_its_event() {
        let directory = tempfile::tempdir().unwrap();
        let private = Private::new(Store::open(directory.path(), OpenOptions::default()).unwrap());
        let [one, other] = [1, 2].map(|number| TradeId([number; 32]));
        private.append_event(10, "agreed".into(), Some((&one, "it is agreed"))).unwrap();
        private.append_event(11, "a message".into(), None).unwrap();
        assert_eq!(private.told(&one).unwrap().as_deref(), Some("it is agreed"), "a message takes nothing back");
        assert_eq!(private.told(&other).unwrap(), None);
        let too_long = "x".repeat(exchange_store::MAX_ROW_LEN);
        assert!(private.append_event(12, "funded".into(), Some((&one, too_long.as_str()))).is_err());
        assert_eq!(private.told(&one).unwrap().as_deref(), Some("it is agreed"));
        assert_eq!(private.events(0, 10).unwrap().len(), 2, "neither without the other");
        private.append_event(12, "funded".into(), Some((&one, "it is funded"))).unwrap();
        assert_eq!(private.told(&one).unwrap().as_deref(), Some("it is funded"));
    }
}
