//! What the user has set, and of which network the directory is.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::storage::Storage;
use exchange_store::{Namespace, StoreError, Table, Versioned};

use super::Private;

rows! {
    /// An arbiter who rules alone and whom the user trusts, and since when. Earlier versions kept so, too, who had published the
    /// advert of a group that the user trusted.
    TrustRow { since: u64, }
    /// A group of arbiters that the user trusts, since when, and its advert.
    TrustedGroupRow { since: u64, advert: RecordId, }
    /// The extended keys of the user's signers, the newest last, and whether new trades use that.
    SignersRow { keys: Vec<String>, is_used: bool, }
    /// The network that the directory is of, by its magic bytes.
    NetworkRow { magic: [u8; 4], }
}

const TRUSTED: Table<AuthorId, TrustRow> = Table::new(Namespace::TrustedArbiters);
const TRUSTED_GROUPS: Table<[u8; 32], TrustedGroupRow> = Table::new(Namespace::TrustedGroups);

// In one table, each with a row of its own kind.
const SIGNERS: Table<String, SignersRow> = Table::new(Namespace::Config);
const NETWORK: Table<String, NetworkRow> = Table::new(Namespace::Config);
/// Under which names they are kept.
const SIGNERS_KEY: &str = "signers";
const NETWORK_KEY: &str = "network";

/// How many arbiters a user can trust, groups among them: more than anybody can know.
const MAX_TRUSTED: usize = 256;
/// How many logs are looked at for the network of a directory: one whose records are all frozen shows none.
const MAX_LOOKED_AT: usize = 64;

/// Whom the user trusts to rule. Any member of a group can publish its advert, and rules alone or in other groups besides: so trust
/// of a group says nothing of a member, nor trust of him anything of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted {
    /// Who rules alone, whatever adverts he makes.
    pub alone: BTreeSet<AuthorId>,
    /// Groups by the [hash](exchange_ledger::group::signed_hash) of what all their members signed, each with its advert.
    pub groups: BTreeMap<[u8; 32], RecordId>,
}

impl Trusted {
    fn is_full(&self) -> bool {
        self.alone.len() + self.groups.len() >= MAX_TRUSTED
    }
}

impl Private {
    /// Returns the arbiters whom the user trusts.
    ///
    /// # Errors
    /// When the store fails.
    pub fn trusted_arbiters(&self) -> Result<Trusted, StoreError> {
        let private = self.store.private();
        let alone: Vec<(AuthorId, TrustRow)> = private.scan(&TRUSTED, .., MAX_TRUSTED)?;
        let groups: Vec<([u8; 32], TrustedGroupRow)> = private.scan(&TRUSTED_GROUPS, .., MAX_TRUSTED)?;
        Ok(Trusted {
            alone: alone.into_iter().map(|(author, _)| author).collect(),
            groups: groups.into_iter().map(|(group, row)| (group, row.advert)).collect(),
        })
    }

    /// Notes that the user trusts an arbiter who rules alone, since `now`, or that he does so no more. Tells whether there was
    /// room.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn trust_arbiter(&self, author: &AuthorId, trusted: bool, now: u64) -> Result<bool, StoreError> {
        let known = self.trusted_arbiters()?;
        match (known.alone.contains(author), trusted) {
            (true, true) | (false, false) => Ok(true),
            (true, false) => self.store.private().delete(&TRUSTED, author).map(|()| true),
            (false, true) if known.is_full() => Ok(false),
            (false, true) => self.store.private().put(&TRUSTED, author, &TrustRow { since: now }).map(|()| true),
        }
    }

    /// Notes the same of a group, by the hash of what all its members signed, and an advert of it.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn trust_group(
        &self,
        group: &[u8; 32],
        advert: &RecordId,
        trusted: bool,
        now: u64,
    ) -> Result<bool, StoreError> {
        let known = self.trusted_arbiters()?;
        match (known.groups.contains_key(group), trusted) {
            (true, true) | (false, false) => Ok(true),
            (true, false) => self.store.private().delete(&TRUSTED_GROUPS, group).map(|()| true),
            (false, true) if known.is_full() => Ok(false),
            (false, true) => {
                let row = TrustedGroupRow { since: now, advert: *advert };
                self.store.private().put(&TRUSTED_GROUPS, group, &row).map(|()| true)
            }
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
    fn trust_of_a_group_and_trust_of_one_person_are_kept_apart() {
        let directory = tempfile::tempdir().unwrap();
        let private = Private::new(Store::open(directory.path(), OpenOptions::default()).unwrap());
        let (person, group, advert) = (AuthorId([7; 32]), [7; 32], RecordId([8; 32]));
        assert!(private.trust_group(&group, &advert, true, 0).unwrap());
        let of_group = Trusted { alone: BTreeSet::new(), groups: BTreeMap::from([(group, advert)]) };
        assert_eq!(private.trusted_arbiters().unwrap(), of_group);
        assert!(private.trust_arbiter(&person, true, 0).unwrap());
        let both = Trusted { alone: BTreeSet::from([person]), ..of_group.clone() };
        assert_eq!(private.trusted_arbiters().unwrap(), both);
        assert!(private.trust_arbiter(&person, false, 0).unwrap());
        assert_eq!(private.trusted_arbiters().unwrap(), of_group);
        assert!(private.trust_group(&group, &advert, false, 0).unwrap());
        assert_eq!(private.trusted_arbiters().unwrap(), Trusted::default());
        // A list that is full takes neither.
        (0..=255).for_each(|at| assert!(private.trust_arbiter(&AuthorId([at; 32]), true, 0).unwrap()));
        assert!(!private.trust_group(&group, &advert, true, 0).unwrap());
    }

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
