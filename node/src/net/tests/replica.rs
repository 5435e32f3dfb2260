//! A replica in memory. A record is `validity || author || seq || hash of the record before || payload`, an envelope is
//! `validity || mailbox || payload`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::record::MAX_RECORD_LEN;
use sha2::{Digest, Sha256};

use super::super::*;

const VALID: u8 = 1;
const INVALID: u8 = 0;

#[derive(Default)]
pub struct Ledger {
    pub logs: BTreeMap<LogId, Vec<Vec<u8>>>,
    pub forks: BTreeSet<Vec<u8>>,
    pub mail: BTreeMap<MailboxId, Vec<Vec<u8>>>,
    pub mailboxes: Vec<MailboxId>,
    pub outbox: Vec<Vec<u8>>,
    pub peers: BTreeSet<PeerId>,
    /// Claims one record more of each log than there is.
    pub boasts: bool,
    /// Serves garbage instead of records.
    pub serves_garbage: bool,
}

#[derive(Clone, Default)]
pub struct TestReplica(Arc<Mutex<Ledger>>);

pub fn log(author: u8) -> LogId {
    LogId { author: AuthorId([author; 32]), epoch: 0 }
}

pub fn record(author: u8, before: &[Vec<u8>], payload: &[u8]) -> Vec<u8> {
    let link = before.last().map_or([0; 32], |last| Sha256::digest(last).into());
    let seq = u64::try_from(before.len()).unwrap();
    [&[VALID, author][..], &seq.to_le_bytes(), &link, payload].concat()
}

pub fn invalid_record() -> Vec<u8> {
    vec![INVALID; 100]
}

pub fn envelope(mailbox: MailboxId, payload: &[u8]) -> Vec<u8> {
    [&[VALID][..], &mailbox.0, payload].concat()
}

impl TestReplica {
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap()
    }

    /// Writes a record into a log of its own and returns it.
    pub fn write(&self, author: u8, payload: &[u8]) -> Vec<u8> {
        let mut ledger = self.lock();
        let log = ledger.logs.entry(log(author)).or_default();
        let record = record(author, log, payload);
        log.push(record.clone());
        record
    }

    /// Sends mail and returns the envelope.
    pub fn send(&self, mailbox: MailboxId, payload: &[u8]) -> Vec<u8> {
        let envelope = envelope(mailbox, payload);
        self.lock().outbox.push(envelope.clone());
        envelope
    }

    pub fn records(&self) -> usize {
        self.lock().logs.values().map(Vec::len).sum()
    }

    pub fn has_mail(&self, envelope: &Vec<u8>) -> bool {
        self.lock().mail.values().any(|mail| mail.contains(envelope))
    }
}

impl Ledger {
    fn ingest(&mut self, record: Vec<u8>) -> Verdict {
        let [VALID, author, rest @ ..] = record.as_slice() else {
            return Verdict::Reject;
        };
        if record.len() > MAX_RECORD_LEN || rest.len() < 40 {
            return Verdict::Reject;
        }
        let id = log(*author);
        let seq = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
        let log = self.logs.entry(id).or_default();
        let link = seq.checked_sub(1).and_then(|before| log.get(before)).map_or([0; 32], |r| Sha256::digest(r).into());
        match log.get(seq) {
            Some(held) if *held == record => Verdict::Ignore,
            Some(_) if self.forks.insert(record.clone()) => Verdict::Accept,
            Some(_) => Verdict::Ignore,
            None if seq > log.len() || rest[8..40] != link => Verdict::Orphan(id),
            None => {
                log.push(record);
                Verdict::Accept
            }
        }
    }

    fn heads(&self) -> Vec<Head> {
        let head = |(log, records): (&LogId, &Vec<Vec<u8>>)| {
            let id = RecordId(Sha256::digest(records.last()?).into());
            let len = u64::try_from(records.len()).unwrap() + u64::from(self.boasts);
            Some(Head { log: *log, len, id, time: 0, frozen: None })
        };
        self.logs.iter().filter_map(head).collect()
    }

    fn put_mail(&mut self, envelope: Vec<u8>) -> Verdict {
        let [VALID, rest @ ..] = envelope.as_slice() else {
            return Verdict::Reject;
        };
        let mailbox = MailboxId(rest[..32].try_into().unwrap());
        let mail = self.mail.entry(mailbox).or_default();
        if mail.contains(&envelope) {
            return Verdict::Ignore;
        }
        mail.push(envelope);
        Verdict::Accept
    }
}

#[async_trait]
impl Replica for TestReplica {
    async fn ingest(&self, records: Vec<Vec<u8>>) -> Vec<Verdict> {
        let mut ledger = self.lock();
        records.into_iter().map(|record| ledger.ingest(record)).collect()
    }

    async fn digest(&self) -> StateHash {
        let mut digest = Sha256::new();
        for head in self.lock().heads() {
            digest.update(head.log.author.0);
            digest.update(head.id.0);
        }
        StateHash(digest.finalize().into())
    }

    async fn heads(&self, after: Option<LogId>, limit: usize) -> Vec<Head> {
        let heads = self.lock().heads();
        heads.into_iter().filter(|head| after.is_none_or(|after| head.log > after)).take(limit).collect()
    }

    async fn range(&self, log: LogId, from: u64, max_bytes: usize) -> Vec<Vec<u8>> {
        let ledger = self.lock();
        if ledger.serves_garbage {
            return vec![invalid_record()];
        }
        let mut bytes = 0;
        let records = ledger.logs.get(&log).into_iter().flatten().skip(usize::try_from(from).unwrap());
        let fits = |record: &&Vec<u8>| {
            let first = bytes == 0;
            bytes += record.len();
            first || bytes <= max_bytes
        };
        records.take_while(fits).cloned().collect()
    }

    async fn put_mail(&self, envelope: Vec<u8>) -> Verdict {
        self.lock().put_mail(envelope)
    }

    async fn mail(&self, mailbox: MailboxId, after: u64, max_bytes: usize) -> (Vec<Vec<u8>>, u64) {
        let ledger = self.lock();
        let mut bytes = 0;
        let mail = ledger.mail.get(&mailbox).into_iter().flatten().skip(usize::try_from(after).unwrap());
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

    fn compared(&self) {}

    async fn peer_changed(&self, peer: PeerId, connected: bool) {
        let mut ledger = self.lock();
        if connected {
            assert!(ledger.peers.insert(peer), "a peer comes once");
        } else {
            assert!(ledger.peers.remove(&peer), "only who came goes");
        }
    }
}
