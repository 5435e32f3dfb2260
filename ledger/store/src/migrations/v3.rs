//! Schema 3: mail of the shape that commits to what it says. Envelopes of the shape before can be read by nobody any more,
//! so what was kept of them, for others or to be sent, goes.

use std::sync::Arc;

use exchange_ledger::storage::StorageError;

use super::{CheckError, Migration};
use crate::db::RawDb;
use crate::keys::{Family, Namespace};

pub(super) const MIGRATION: Migration = Migration { to: 3, run, check };

/// The tables whose rows or keys have the old shape.
const OUTDATED: [Namespace; 3] = [Namespace::Outbox, Namespace::Mailbox, Namespace::MailIndex];

fn run(db: &Arc<RawDb>) -> Result<(), StorageError> {
    let mut writes = db.begin();
    for table in OUTDATED {
        for entry in db.prefixed(Family::Private, &[table.byte()]) {
            writes.delete(Family::Private, &entry?.0);
        }
    }
    if writes.is_empty() { Ok(()) } else { writes.commit() }
}

fn check(db: &Arc<RawDb>) -> Result<(), CheckError> {
    for table in OUTDATED {
        if let Some((key, _)) = db.prefixed(Family::Private, &[table.byte()]).next().transpose()? {
            return Err(CheckError::Refused(format!("old mail {} was left behind", hex::encode(key))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::OpenOptions;

    #[test]
    fn old_mail_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let db = Arc::new(RawDb::open(dir.path(), OpenOptions::default()).unwrap());
        let mut writes = db.begin();
        let kept = [Namespace::Trades, Namespace::Details, Namespace::TrustedArbiters];
        for table in OUTDATED.into_iter().chain(kept) {
            writes.put(Family::Private, &[table.byte(), 1], b"a row");
        }
        writes.commit().unwrap();
        assert!(matches!(check(&db), Err(CheckError::Refused(_))));
        run(&db).unwrap();
        check(&db).unwrap();
        run(&db).unwrap();
        for table in kept {
            assert!(db.contains(Family::Private, &[table.byte(), 1]).unwrap());
        }
    }
}
