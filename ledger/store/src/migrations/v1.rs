//! Schema 1: from an empty directory to the first layout (see `keys`). Opening the directory made its column families, so
//! nothing is left to do but to check that it really is empty.

use std::sync::Arc;

use exchange_ledger::storage::StorageError;

use super::{CheckError, Migration};
use crate::db::RawDb;
use crate::keys::Family;

pub(super) const MIGRATION: Migration = Migration { to: 1, run: |_| Ok(()), check };

fn check(db: &Arc<RawDb>) -> Result<(), CheckError> {
    for family in Family::ALL {
        if let Some((key, _)) = db.prefixed(family, &[]).next().transpose()? {
            let (family, key) = (family.name(), hex::encode(key));
            return Err(
                StorageError::Damaged(format!("{family} holds {key} but the schema's version is missing")).into()
            );
        }
    }
    Ok(())
}
