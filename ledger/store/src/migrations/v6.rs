//! Schema 6: stakes by names that are no ids, so that no other record stands before the first stake of a coin.

use std::sync::Arc;

use exchange_ledger::body::Body;
use exchange_ledger::ids::RecordId;
use exchange_ledger::record::{Kind, Place};
use exchange_ledger::stake;
use exchange_ledger::storage::StorageError;

use super::{CheckError, Migration};
use crate::db::RawDb;
use crate::keys::{self, Family, Standing};
use crate::records::{Records, short_seq};

pub(super) const MIGRATION: Migration = Migration { to: 6, run, check };

/// How many stakes are read and written at once.
const BATCH: usize = 1024;

/// A stake that is found by its name of before.
struct Outdated {
    id: RecordId,
    old: Vec<u8>,
    new: Vec<u8>,
}

fn run(db: &Arc<RawDb>) -> Result<(), StorageError> {
    for_each_batch(db, |batch| {
        let mut writes = db.begin();
        for Outdated { id, old, new } in batch {
            writes.delete(Family::Subjects, old);
            writes.put(Family::Subjects, new, id.as_bytes());
        }
        if writes.is_empty() { Ok(()) } else { writes.commit() }
    })
}

fn check(db: &Arc<RawDb>) -> Result<(), CheckError> {
    let mut left = None;
    for_each_batch(db, |batch| {
        left = left.or_else(|| batch.first().map(|outdated| outdated.id));
        Ok(())
    })?;
    match left {
        Some(id) => Err(CheckError::Refused(format!("stake {id} was left behind"))),
        None => Ok(()),
    }
}

/// Walks through all stakes that are found by their names of before.
fn for_each_batch(
    db: &Arc<RawDb>,
    mut visit: impl FnMut(&[Outdated]) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let records = Records::new(Arc::clone(db))?;
    let mut after: Option<Place> = None;
    loop {
        let places = records.of_kind(Kind::Stake, None, after.as_ref(), BATCH)?;
        let mut batch = Vec::new();
        for place in &places {
            batch.extend(outdated(db, &records, place)?);
        }
        visit(&batch)?;
        after = places.last().copied();
        if places.len() < BATCH {
            return Ok(());
        }
    }
}

fn outdated(db: &RawDb, records: &Records, place: &Place) -> Result<Option<Outdated>, StorageError> {
    let record = records.record(&place.id)?;
    let body = record.as_ref().and_then(|record| record.decoded().ok()).map(|body| &**body);
    let Some(Body::Stake(stake)) = body else { return Ok(None) };
    let (before, now) = (stake::former_subject(stake), stake::subject(stake));
    let seq = short_seq(place.seq)?;
    for standing in [Standing::Chain, Standing::Frozen] {
        let old = keys::subject(&before, place, seq, standing);
        if db.contains(Family::Subjects, &old)? {
            return Ok(Some(Outdated { id: place.id, old, new: keys::subject(&now, place, seq, standing) }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use bitcoin::key::{Keypair, Secp256k1};
    use bitcoin::secp256k1::{Message, SecretKey};
    use bitcoin::{OutPoint, Txid};
    use ed25519_dalek::{Signer, SigningKey};
    use exchange_ledger::body::Stake;
    use exchange_ledger::ids::AuthorId;
    use exchange_ledger::record::{Header, LogId, Record};
    use exchange_ledger::storage::{Batch, Fork, Storage};
    use exchange_ledger::wire::{CurveKey, CurveSignature, Outpoint};

    use super::*;
    use crate::Store;
    use crate::db::OpenOptions;

    const NETWORK: [u8; 4] = [1, 2, 3, 4];

    /// Returns a stake of one and the same coin, as its author's record after another.
    fn staked(author: u8, before: Option<&Record>) -> (Stake, Record) {
        let key = SigningKey::from_bytes(&[author; 32]);
        let log = LogId { author: AuthorId(key.verifying_key().to_bytes()), epoch: 5 };
        let coin = Outpoint(OutPoint { txid: Txid::from_byte_array([7; 32]), vout: 1 });
        let secp = Secp256k1::new();
        let owner = Keypair::from_secret_key(&secp, &SecretKey::from_slice(&[9; 32]).unwrap());
        let message = Message::from_digest(stake::message(&NETWORK, &log.author, &coin));
        let signature = CurveSignature(secp.sign_schnorr_no_aux_rand(&message, &owner));
        let stake = Stake { coin, key: CurveKey(owner.x_only_public_key().0), signature };
        let header = Header {
            network: NETWORK,
            log,
            seq: before.map_or(0, |before| before.header().seq + 1),
            backlink: before.map_or(RecordId([0; 32]), Record::id),
            time: 1_800_000_000,
            kind: Kind::Stake,
            flags: 0,
            body_len: 0,
            body_hash: [0; 32],
            admission: 0,
        };
        let body = Body::Stake(stake.clone()).encode();
        (stake, Record::sign(header, body, |message| key.sign(message).to_bytes()).unwrap())
    }

    /// Makes of a directory what version 5 of its schema was.
    fn write_old(db: &RawDb, stake: &Stake) {
        let mut writes = db.begin();
        for entry in db.prefixed(Family::Subjects, &keys::subject_prefix(&stake::subject(stake), None)) {
            let (key, id) = entry.unwrap();
            writes.delete(Family::Subjects, &key);
            let old = [stake::former_subject(stake).as_bytes().as_slice(), &key[keys::SUBJECT_LEN..]].concat();
            writes.put(Family::Subjects, &old, &id);
        }
        writes.put(Family::Meta, keys::SCHEMA, &5_u32.to_be_bytes());
        writes.commit().unwrap();
    }

    #[test]
    fn a_directory_of_schema_5_finds_the_same_stakes_of_a_coin() {
        let dir = tempfile::tempdir().unwrap();
        let (stake, first) = staked(1, None);
        let (_, cheat) = staked(2, None);
        let (_, later) = staked(2, Some(&cheat));
        let other = {
            let key = SigningKey::from_bytes(&[2; 32]);
            let header = Header { time: later.header().time + 1, ..*later.header() };
            Record::sign(header, later.body().to_vec(), |message| key.sign(message).to_bytes()).unwrap()
        };
        let mut frozen = vec![later, other];
        frozen.sort_by_key(Record::place);
        let log = cheat.header().log;
        let batch = Batch { records: vec![first, cheat], forks: [(log, Fork { from: 1, frozen })].into() };
        let found = |store: &Store| store.about(&stake::subject(&stake), None, usize::MAX).unwrap();
        let expected = {
            let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
            store.commit(&batch).unwrap();
            found(&store)
        };
        assert_eq!(expected.len(), 4);
        {
            let db = Arc::new(RawDb::open(dir.path(), OpenOptions::default()).unwrap());
            write_old(&db, &stake);
            assert!(matches!(check(&db), Err(CheckError::Refused(_))));
            // Cut off before it was confirmed, it is run again.
            run(&db).unwrap();
        }
        assert_eq!(found(&Store::open(dir.path(), OpenOptions::default()).unwrap()), expected);
    }
}
