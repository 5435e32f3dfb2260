//! A replica in memory: a real ledger, and mail of which an envelope is `validity || mailbox || payload`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::ledger::{Admission, Ledger};
use exchange_ledger::record::{FLAG_CRITICAL, Head, Header, Kind, LogId, Record, admission, verify_batch};
use exchange_ledger::storage::{MemoryStorage, Storage, StorageError, Wrapper};
use exchange_ledger::sync::{Proof, Salt, Snapshot, Snapshots};
use libp2p::identity::ed25519;

use super::super::*;

const VALID: u8 = 1;
/// Regtest, where a ticket costs a thousand hashes.
const NETWORK: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
/// When the logs of these tests begin, and when it is now.
const EPOCH: u32 = 1_800_000_000;
const NOW: u64 = EPOCH as u64 + 1_000_000;

pub struct Data {
    ledger: Ledger<MemoryStorage>,
    snapshots: RefCell<Snapshots>,
    pub mail: BTreeMap<MailboxId, Vec<Vec<u8>>>,
    pub mailboxes: Vec<MailboxId>,
    pub outbox: Vec<Vec<u8>>,
    pub peers: BTreeSet<PeerId>,
    /// How often a comparison was brought to its end.
    pub comparisons: usize,
    /// What it tells peers that is not so.
    pub lie: Lie,
    /// Whether it can keep no mail now, and how much it was offered meanwhile.
    pub full: bool,
    pub turned_away: usize,
    /// Whether mail has to wait for its contract now, and how much did.
    pub parks: bool,
    pub parked: usize,
}

/// What a replica tells peers that is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lie {
    #[default]
    None,
    /// There is one record more of each log than there is.
    Boast,
    /// The records are others, with signatures that are nobody's.
    Garbage,
    /// There are heads without end, of logs that nobody has.
    EndlessHeads,
}

#[derive(Clone)]
pub struct TestReplica(Arc<Mutex<Data>>);

impl Default for TestReplica {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Data {
            ledger: Ledger::new(MemoryStorage::default(), NETWORK),
            snapshots: RefCell::default(),
            mail: BTreeMap::new(),
            mailboxes: Vec::new(),
            outbox: Vec::new(),
            peers: BTreeSet::new(),
            comparisons: 0,
            lie: Lie::None,
            full: false,
            turned_away: 0,
            parks: false,
            parked: 0,
        })))
    }
}

fn keypair(author: u8) -> ed25519::Keypair {
    ed25519::SecretKey::try_from_bytes([author; 32]).unwrap().into()
}

pub fn log(author: u8) -> LogId {
    LogId { author: AuthorId(keypair(author).public().to_bytes()), epoch: EPOCH }
}

fn sign(author: u8, before: Option<Head>, payload: &[u8]) -> Record {
    let log = log(author);
    let (kind, now) = (Kind::Unknown(60_000), u64::from(EPOCH));
    let header = match before {
        Some(head) => Header::after(&head, NETWORK, kind, now),
        None => Header::first(log, NETWORK, kind, now, admission::mint(&NETWORK, &log)),
    };
    Record::sign(header, payload.to_vec(), |message| keypair(author).sign(message).try_into().unwrap()).unwrap()
}

pub fn invalid_record() -> Vec<u8> {
    let mut record = sign(1, None, b"").encode();
    let last = record.len() - 1;
    record[last] ^= 1;
    record
}

pub fn envelope(mailbox: MailboxId, payload: &[u8]) -> Vec<u8> {
    [&[VALID][..], &mailbox.0, payload].concat()
}

impl TestReplica {
    pub fn lock(&self) -> MutexGuard<'_, Data> {
        self.0.lock().unwrap()
    }

    /// Writes a record into a log of its own and returns it.
    pub fn write(&self, author: u8, payload: &[u8]) -> Vec<u8> {
        let mut data = self.lock();
        let head = data.ledger.storage().head(&log(author)).unwrap();
        let record = sign(author, head, payload);
        assert_eq!(data.ledger.admit(std::slice::from_ref(&record), NOW).unwrap(), [Admission::New]);
        record.encode()
    }

    /// Writes another record into the place of a log's last; returns the proof that this makes.
    pub fn fork(&self, author: u8, payload: &[u8]) -> Proof {
        let (mut data, log) = (self.lock(), log(author));
        let len = data.ledger.storage().head(&log).unwrap().unwrap().len;
        let before = data.ledger.storage().range(&log, len - 2, 1).unwrap()[0].as_head();
        let twin = sign(author, Some(before), payload);
        assert_eq!(data.ledger.admit(&[twin], NOW).unwrap(), [Admission::Equivocation]);
        Proof::of(&data.ledger.fork_proof(&log).unwrap().unwrap())
    }

    /// Sends mail and returns the envelope.
    pub fn send(&self, mailbox: MailboxId, payload: &[u8]) -> Vec<u8> {
        let envelope = envelope(mailbox, payload);
        self.lock().outbox.push(envelope.clone());
        envelope
    }

    pub fn records(&self) -> usize {
        usize::try_from(self.lock().ledger.storage().len().unwrap()).unwrap()
    }

    pub fn head(&self, author: u8) -> Option<Head> {
        self.lock().ledger.storage().head(&log(author)).unwrap()
    }

    pub fn holds(&self, record: &[u8]) -> bool {
        let id = Record::decode(record).unwrap().id();
        self.lock().ledger.storage().record(&id).unwrap().is_some()
    }

    pub fn state(&self) -> exchange_ledger::ids::StateHash {
        exchange_ledger::state::state_hash(self.lock().ledger.storage()).unwrap()
    }

    pub fn has_mail(&self, envelope: &Vec<u8>) -> bool {
        self.lock().mail.values().any(|mail| mail.contains(envelope))
    }
}

impl Data {
    fn ingest(&mut self, records: Vec<Vec<u8>>) -> Vec<Verdict> {
        let decoded: Vec<_> = records.iter().map(|record| Record::decode(record)).collect();
        let good: Vec<Record> = decoded.iter().flatten().cloned().collect();
        if good.len() < decoded.len() || verify_batch(&good, [7; 32]).iter().any(Result::is_err) {
            return vec![Verdict::Reject; records.len()];
        }
        let admissions = self.ledger.admit(&good, NOW).unwrap();
        admissions.iter().zip(&good).map(|(admission, record)| Verdict::of(admission, record, false)).collect()
    }

    fn put_mail(&mut self, envelope: Vec<u8>) -> Verdict {
        let [VALID, rest @ ..] = envelope.as_slice() else {
            return Verdict::Reject;
        };
        if self.full {
            self.turned_away += 1;
            return Verdict::Later;
        }
        if self.parks {
            self.parked += 1;
            return Verdict::Ignore;
        }
        let mailbox = MailboxId(rest[..32].try_into().unwrap());
        let mail = self.mail.entry(mailbox).or_default();
        if mail.contains(&envelope) {
            return Verdict::Ignore;
        }
        mail.push(envelope);
        Verdict::Accept
    }
}

/// The data for one look.
struct View<'a> {
    storage: Liar<'a>,
    snapshots: &'a RefCell<Snapshots>,
}

impl Own for View<'_> {
    fn storage(&self) -> &dyn Storage {
        &self.storage
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).unwrap();
        Ok(self.snapshots.borrow_mut().put(0, Snapshot::take(&self.storage, Salt(salt))?, Duration::ZERO))
    }

    fn snapshot_of(&self, salt: &Salt) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().of(salt)
    }
}

/// A store that may not tell the truth, and keeps nothing.
struct Liar<'a> {
    truth: &'a MemoryStorage,
    lie: Lie,
}

impl Liar<'_> {
    fn boasted(&self, head: Head) -> Head {
        Head { len: head.len + u64::from(self.lie == Lie::Boast), ..head }
    }
}

impl Wrapper for Liar<'_> {
    fn ask<T>(&self, question: impl FnOnce(&dyn Storage) -> Result<T, StorageError>) -> Result<T, StorageError> {
        question(self.truth)
    }

    fn change(&mut self, _: impl FnOnce(&mut dyn Storage) -> Result<(), StorageError>) -> Result<(), StorageError> {
        Err(StorageError::Io("a liar keeps nothing".into()))
    }

    fn range(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StorageError> {
        let records = self.truth.range(log, from, limit)?;
        if self.lie != Lie::Garbage {
            return Ok(records);
        }
        let forged = |record: Record| {
            let header = Header { flags: FLAG_CRITICAL, ..*record.header() };
            Record::sign(header, record.body().to_vec(), |_| [9; 64]).unwrap()
        };
        Ok(records.into_iter().map(forged).collect())
    }

    fn head(&self, log: &LogId) -> Result<Option<Head>, StorageError> {
        Ok(self.truth.head(log)?.map(|head| self.boasted(head)))
    }

    fn heads(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<Head>, StorageError> {
        if self.lie == Lie::EndlessHeads {
            // A snapshot sees one page of them, so that the node itself does not read for ever.
            // A walk begins at any place.
            let first =
                after.filter(|after| after.author.0 == [7; 32]).map_or(0, |after| after.epoch.saturating_add(1));
            let made_up = |epoch| Head {
                log: LogId { author: AuthorId([7; 32]), epoch },
                len: 5,
                id: RecordId([1; 32]),
                time: 0,
                frozen: None,
            };
            let count = if limit == exchange_ledger::sync::message::MAX_HEADS { 1000 } else { 100 };
            return Ok((first..first.saturating_add(count)).map(made_up).collect());
        }
        Ok(self.truth.heads(after, limit)?.into_iter().map(|head| self.boasted(head)).collect())
    }
}

#[async_trait]
impl Replica for TestReplica {
    async fn ingest(&self, records: Vec<Vec<u8>>) -> Vec<Verdict> {
        self.lock().ingest(records)
    }

    async fn restore(&self, records: Vec<Record>) -> usize {
        self.lock().ledger.keep_bodies(&records).unwrap().len()
    }

    fn read(&self, reader: &mut dyn FnMut(&dyn Own)) {
        let data = self.lock();
        let storage = Liar { truth: data.ledger.storage(), lie: data.lie };
        reader(&View { storage, snapshots: &data.snapshots });
    }

    async fn put_mail(&self, envelope: Vec<u8>) -> Verdict {
        self.lock().put_mail(envelope)
    }

    async fn mail(&self, mailbox: MailboxId, after: u64, max_bytes: usize) -> (Vec<Vec<u8>>, u64) {
        let data = self.lock();
        let mut bytes = 0;
        let mail = data.mail.get(&mailbox).into_iter().flatten().skip(usize::try_from(after).unwrap());
        let fits = |envelope: &&Vec<u8>| {
            bytes += envelope.len();
            bytes <= max_bytes
        };
        let mail: Vec<Vec<u8>> = mail.take_while(fits).cloned().collect();
        let cursor = after + u64::try_from(mail.len()).unwrap();
        (mail, cursor)
    }

    async fn my_mailboxes(&self) -> Vec<MailboxId> {
        self.lock().mailboxes.clone()
    }

    async fn my_outbox(&self) -> Vec<Vec<u8>> {
        self.lock().outbox.clone()
    }

    fn compared(&self) {
        self.lock().comparisons += 1;
    }

    async fn peer_changed(&self, peer: PeerId, connected: bool) {
        let mut data = self.lock();
        if connected {
            assert!(data.peers.insert(peer), "a peer comes once");
        } else {
            assert!(data.peers.remove(&peer), "only who came goes");
        }
    }
}
