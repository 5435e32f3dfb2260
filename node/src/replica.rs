//! The ledger and the mail, as the network sees them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use exchange_ledger::ids::MailboxId;
use exchange_ledger::record::Record;
use exchange_ledger::storage::{Storage, StorageError};
use exchange_ledger::sync::{Own, Salt, Snapshot, Snapshots};
use libp2p::PeerId;

use crate::entropy;
use crate::keeper::Keeper;
use crate::mailbox::Mailbox;
use crate::net::{Replica, Verdict};

/// The part of one core's time that snapshots for peers may take is one in so many, however often the ledger changes and
/// whoever asks: until then they are compared with the latest one. Sessions of one's own are few, and see the present.
const SNAPSHOT_SHARE: u32 = 16;

/// A node's data, for [`crate::net::start`].
pub struct LedgerReplica {
    keeper: Keeper,
    mailbox: Mailbox,
    snapshots: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    snapshots: Snapshots,
    /// When the next one may be taken.
    not_before: Option<Instant>,
}

impl LedgerReplica {
    /// Returns the data of a keeper and a mailbox.
    pub fn new(keeper: Keeper, mailbox: Mailbox) -> Self {
        Self { keeper, mailbox, snapshots: Mutex::default() }
    }
}

impl Own for LedgerReplica {
    fn storage(&self) -> &dyn Storage {
        self.keeper.ledger().storage()
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        self.snapshot_of_now_or(false)
    }

    fn recent_snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        self.snapshot_of_now_or(true)
    }

    fn snapshot_of(&self, salt: &Salt) -> Option<Arc<Snapshot>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).snapshots.of(salt)
    }
}

impl LedgerReplica {
    /// Returns a snapshot of this moment; or the latest, if that will do and a new one would come too soon.
    fn snapshot_of_now_or(&self, recent_will_do: bool) -> Result<Arc<Snapshot>, StorageError> {
        // Read before the ledger is, so that what comes in meanwhile makes the snapshot an old one.
        let version = self.keeper.version();
        let mut kept = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let too_soon = recent_will_do && kept.not_before.is_some_and(|time| time > start);
        if let Some((_, latest)) = kept.snapshots.latest().filter(|(of, _)| *of == version || too_soon) {
            return Ok(latest.clone());
        }
        let [salt, _] = halves(entropy::bytes32());
        let snapshot = Snapshot::take(self.storage(), Salt(salt))?;
        let took: Duration = start.elapsed();
        kept.not_before = Some(Instant::now() + took * SNAPSHOT_SHARE);
        Ok(kept.snapshots.put(version, snapshot))
    }
}

fn halves(bytes: [u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    halves.as_flattened_mut().copy_from_slice(&bytes);
    halves
}

#[async_trait]
impl Replica for LedgerReplica {
    async fn ingest(&self, records: Vec<Vec<u8>>) -> Vec<Verdict> {
        self.keeper.ingest(records).await
    }

    async fn restore(&self, records: Vec<Record>) -> usize {
        self.keeper.keep_bodies(records).await
    }

    fn read(&self, reader: &mut dyn FnMut(&dyn Own)) {
        reader(self);
    }

    fn compared(&self) {
        self.keeper.compared();
    }

    async fn put_mail(&self, envelope: Vec<u8>) -> Verdict {
        self.mailbox.put(&envelope)
    }

    async fn mail(&self, mailbox: MailboxId, after: u64, max_bytes: usize) -> (Vec<Vec<u8>>, u64) {
        self.mailbox.fetch(&mailbox, after, max_bytes)
    }

    async fn my_mailboxes(&self) -> Vec<MailboxId> {
        self.mailbox.own_mailboxes()
    }

    async fn my_outbox(&self) -> Vec<Vec<u8>> {
        self.mailbox.outbox()
    }

    async fn peer_changed(&self, peer: PeerId, connected: bool) {
        tracing::info!(%peer, connected, "peer");
    }
}
