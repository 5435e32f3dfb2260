//! What the user has set, and of which network the directory is.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::ids::AuthorId;
use exchange_ledger::storage::Storage;
use exchange_store::{Namespace, StoreError, Table, Versioned};

use super::Private;

rows! {
    /// An arbiter whom the user trusts, and since when.
    TrustRow { since: u64, }
    /// The extended keys of the user's signers, the newest last, and whether new trades use that.
    SignersRow { keys: Vec<String>, is_used: bool, }
    /// The network that the directory is of, by its magic bytes.
    NetworkRow { magic: [u8; 4], }
}

const TRUSTED: Table<AuthorId, TrustRow> = Table::new(Namespace::TrustedArbiters);

// In one table, each with a row of its own kind.
const SIGNERS: Table<String, SignersRow> = Table::new(Namespace::Config);
const NETWORK: Table<String, NetworkRow> = Table::new(Namespace::Config);
/// Under which names they are kept.
const SIGNERS_KEY: &str = "signers";
const NETWORK_KEY: &str = "network";

/// How many arbiters a user can trust: more than anybody can know.
const MAX_TRUSTED: usize = 256;
/// How many logs are looked at for the network of a directory: one whose records are all frozen shows none.
const MAX_LOOKED_AT: usize = 64;

impl Private {
    /// Returns the arbiters whom the user trusts.
    ///
    /// # Errors
    /// When the store fails.
    pub fn trusted_arbiters(&self) -> Result<BTreeSet<AuthorId>, StoreError> {
        let rows: Vec<(AuthorId, TrustRow)> = self.store.private().scan(&TRUSTED, .., MAX_TRUSTED)?;
        Ok(rows.into_iter().map(|(author, _)| author).collect())
    }

    /// Notes that the user trusts an arbiter, since `now`, or that he does so no more. Tells whether there was room.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn trust_arbiter(&self, author: &AuthorId, trusted: bool, now: u64) -> Result<bool, StoreError> {
        let known = self.trusted_arbiters()?;
        match (known.contains(author), trusted) {
            (true, true) | (false, false) => Ok(true),
            (true, false) => self.store.private().delete(&TRUSTED, author).map(|()| true),
            (false, true) if known.len() >= MAX_TRUSTED => Ok(false),
            (false, true) => self.store.private().put(&TRUSTED, author, &TrustRow { since: now }).map(|()| true),
        }
    }

    /// Returns the extended keys of the user's signers, the newest last, and whether new trades use that.
    ///
    /// # Errors
    /// When the store fails.
    pub fn signers(&self) -> Result<(Vec<String>, bool), StoreError> {
        let row = self.store.private().get(&SIGNERS, &SIGNERS_KEY.to_owned())?;
        Ok(row.map(|row| (row.keys, row.is_used)).unwrap_or_default())
    }

    /// Keeps them.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_signers(&self, keys: &[String], is_used: bool) -> Result<(), StoreError> {
        self.store.private().put(&SIGNERS, &SIGNERS_KEY.to_owned(), &SignersRow { keys: keys.to_vec(), is_used })
    }

    /// Returns the magic of the network that this directory is of: as it was noted, or as its records say, which earlier
    /// versions did not note. `None` of one that holds nothing of any.
    ///
    /// # Errors
    /// When the store fails.
    pub fn network(&self) -> Result<Option<[u8; 4]>, StoreError> {
        if let Some(row) = self.store.private().get(&NETWORK, &NETWORK_KEY.to_owned())? {
            return Ok(Some(row.magic));
        }
        for head in self.store.heads(None, MAX_LOOKED_AT)? {
            if let Some(record) = self.store.range(&head.log, 0, 1)?.first() {
                return Ok(Some(record.header().network));
            }
        }
        Ok(None)
    }

    /// Notes the network that this directory is of.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_network(&self, magic: [u8; 4]) -> Result<(), StoreError> {
        self.store.private().put(&NETWORK, &NETWORK_KEY.to_owned(), &NetworkRow { magic })
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::ledger::Ledger;
    use exchange_ledger::testing::{EPOCH, NETWORK as LEDGER_NETWORK, SampleTrade};
    use exchange_store::{OpenOptions, Store};

    use super::*;

    #[test]
    fn a_directory_knows_its_network_by_a_note_or_by_its_records() {
        let open = |path: &std::path::Path| Store::open(path, OpenOptions::default()).unwrap();
        let (noted, earlier) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let private = Private::new(open(noted.path()));
        assert_eq!(private.network().unwrap(), None);
        private.put_network(*b"note").unwrap();
        assert_eq!(private.network().unwrap(), Some(*b"note"));
        assert_eq!(private.signers().unwrap(), (vec![], false), "one setting is not taken for another");

        let store = open(earlier.path());
        let records = SampleTrade::new(Side::Sell).records();
        let later = u64::from(EPOCH) + 365 * 24 * 3600;
        Ledger::new(store.clone(), LEDGER_NETWORK).admit(&records, later).unwrap();
        assert_eq!(Private::new(store).network().unwrap(), Some(LEDGER_NETWORK));
    }
}
