//! The ledger and the mail, as the network sees them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use exchange_ledger::ids::MailboxId;
use exchange_ledger::record::Record;
use exchange_ledger::storage::{Storage, StorageError};
use exchange_ledger::sync::{Own, Salt, Snapshot, Snapshots, Summary};
use libp2p::PeerId;
use tokio::task::spawn_blocking;

use crate::entropy;
use crate::join::joined;
use crate::keeper::Keeper;
use crate::mailbox::Mailbox;
use crate::net::{Replica, Verdict};

/// The part of one core's time that snapshots for peers may take is one in so many, however often the ledger changes and
/// whoever asks, and as much what is read to see whether it is the same: until then they are compared with the latest.
/// Sessions with those whom this node has chosen are few, and see the present.
const SHARE: u32 = 16;

/// A node's data, for [`crate::net::start`].
pub struct LedgerReplica {
    keeper: Keeper,
    mailbox: Mailbox,
    started: Instant,
    shown: Mutex<Shown>,
    /// What peers were shown lately. It is locked for a moment only, so that who asks about one waits for no new one.
    snapshots: Mutex<Snapshots>,
    /// What sessions of one's own saw last, and of which version of the ledger. It is apart from what peers are shown: neither
    /// waits for the other, and what this node compares by itself takes no snapshot from a peer.
    own: Mutex<Option<(u64, Summary)>>,
}

/// What peers are shown next; locked while heads are read for it. All times are since the start.
#[derive(Default)]
struct Shown {
    /// What the ledger showed of itself last, and its version then.
    summary: Option<(u64, Summary)>,
    /// When all heads may be read again to see whether the ledger is the same.
    summary_not_before: Duration,
    /// When the next snapshot may be taken, for its cost.
    snapshot_not_before: Duration,
}

impl LedgerReplica {
    /// Returns the data of a keeper and a mailbox.
    pub fn new(keeper: Keeper, mailbox: Mailbox) -> Self {
        let started = Instant::now();
        Self { keeper, mailbox, started, shown: Mutex::default(), snapshots: Mutex::default(), own: Mutex::default() }
    }
}

impl Own for LedgerReplica {
    fn storage(&self) -> &dyn Storage {
        self.keeper.ledger().storage()
    }

    fn summary(&self) -> Result<Summary, StorageError> {
        // Read before the ledger is, so that what comes in meanwhile makes the summary an old one. So below.
        let version = self.keeper.version();
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, summary)) = *own
            && of == version
        {
            return Ok(summary);
        }
        let summary = Summary::of(self.storage())?;
        *own = Some((version, summary));
        Ok(summary)
    }

    fn recent_summary(&self) -> Result<Summary, StorageError> {
        let version = self.keeper.version();
        let mut shown = self.shown();
        let now = self.started.elapsed();
        if let Some((of, summary)) = shown.summary
            && (of == version || now < shown.summary_not_before)
        {
            return Ok(summary);
        }
        let summary = Summary::of(self.storage())?;
        shown.summary = Some((version, summary));
        shown.summary_not_before = self.once_earned(now);
        Ok(summary)
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        let version = self.keeper.version();
        let mut shown = self.shown();
        let now = self.started.elapsed();
        {
            let snapshots = self.snapshots();
            let not_before = shown.snapshot_not_before.max(snapshots.not_before());
            if let Some((of, latest)) = snapshots.latest()
                && (of == version || now < not_before)
            {
                return Ok(latest.clone());
            }
        }
        let [salt, _] = halves(entropy::bytes32());
        let snapshot = Snapshot::take(self.storage(), Salt(salt))?;
        shown.summary = Some((version, snapshot.summary()));
        shown.snapshot_not_before = self.once_earned(now);
        Ok(self.snapshots().put(version, snapshot, self.started.elapsed()))
    }

    fn snapshot_of(&self, salt: &Salt) -> Option<Arc<Snapshot>> {
        self.snapshots().of(salt)
    }
}

impl LedgerReplica {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshots(&self) -> MutexGuard<'_, Snapshots> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when what began at `since` and ends now may be done again.
    fn once_earned(&self, since: Duration) -> Duration {
        let now = self.started.elapsed();
        now.saturating_add(now.saturating_sub(since) * SHARE)
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
        // Mail reads the disk and checks signatures: whoever makes that happen over and over holds up no other task.
        let kept = self.mailbox.clone();
        joined(spawn_blocking(move || kept.put(&envelope))).await.unwrap_or(Verdict::Later)
    }

    async fn mail(&self, mailbox: MailboxId, after: u64, max_bytes: usize) -> (Vec<Vec<u8>>, u64) {
        let kept = self.mailbox.clone();
        joined(spawn_blocking(move || kept.fetch(&mailbox, after, max_bytes))).await.unwrap_or((Vec::new(), after))
    }

    async fn my_mailboxes(&self) -> Vec<MailboxId> {
        self.mailbox.own_mailboxes()
    }

    async fn my_outbox(&self) -> Vec<Vec<u8>> {
        let kept = self.mailbox.clone();
        joined(spawn_blocking(move || kept.outbox())).await.unwrap_or_default()
    }

    async fn peer_changed(&self, peer: PeerId, connected: bool) {
        tracing::info!(%peer, connected, "peer");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread::JoinHandle;

    use bitcoin::Network;
    use exchange_ledger::body::{Body, Side};
    use exchange_ledger::ledger::Ledger;
    use exchange_ledger::mail::{Address, Envelope};
    use exchange_ledger::state::state_hash;
    use exchange_ledger::testing::{Author, EPOCH, NETWORK, SampleTrade};
    use exchange_store::{OpenOptions, Store};

    use super::*;
    use crate::clock::{self, SureTime};
    use crate::private::Private;

    /// Envelopes from nobody in a trade to its taker.
    fn mail_of_strangers(trade: &SampleTrade, count: u8) -> Vec<Vec<u8>> {
        let (stranger, contract) = (Author::new(9), trade.contract());
        let envelope = |number: u8| {
            let address = Address {
                version: 1,
                network: NETWORK,
                trade: contract.trade,
                contract: contract.hash(),
                sender: stranger.id(),
                recipient: trade.taker.id(),
                epoch: 1,
                seq: 0,
                previous: [0; 32],
                seen: [0; 32],
                time: clock::unix_now(),
                commitment: [number; 32],
            };
            let unsigned = Envelope { address, sealed: Vec::new(), signature: [0; 64] };
            let signature = stranger.sign_bytes(&unsigned.signed_bytes());
            Envelope { signature, ..unsigned }.encode()
        };
        (0..count).map(envelope).collect()
    }

    // One thread for all tasks: what works on it without a pause holds up the others.
    #[tokio::test(flavor = "current_thread")]
    async fn mail_leaves_time_for_others_however_much_comes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
        let trade = SampleTrade::new(Side::Sell);
        Ledger::new(store.clone(), NETWORK).admit(&trade.records(), u64::from(EPOCH) + 3600).unwrap();
        let private = Private::new(store.clone());
        let (keeper, thread) = Keeper::start(store, NETWORK).unwrap();
        let mailbox = Mailbox::open(keeper.clone(), private, SureTime::on(Network::Regtest)).unwrap();
        let replica = LedgerReplica::new(keeper, mailbox);

        let (turns, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let others = {
            let (turns, is_over) = (Arc::clone(&turns), Arc::clone(&is_over));
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        };
        for envelope in mail_of_strangers(&trade, 200) {
            assert_eq!(replica.put_mail(envelope).await, Verdict::Ignore);
        }
        let while_put = turns.load(Ordering::Relaxed);
        assert!(while_put > 0, "others had no turn while mail was put");
        for number in 0..=255 {
            assert!(replica.mail(MailboxId([number; 32]), 0, 1000).await.0.is_empty());
        }
        assert!(turns.load(Ordering::Relaxed) > while_put, "others had no turn while mail was fetched");
        is_over.store(true, Ordering::Relaxed);
        others.await.unwrap();
        drop(replica);
        thread.join().unwrap();
    }

    /// The data of a node of its own, and its thread.
    fn of_a_node(dir: &Path) -> (LedgerReplica, JoinHandle<()>) {
        let store = Store::open(dir, OpenOptions::default()).unwrap();
        let private = Private::new(store.clone());
        let (keeper, thread) = Keeper::start(store, NETWORK).unwrap();
        let mailbox = Mailbox::open(keeper.clone(), private, SureTime::on(Network::Regtest)).unwrap();
        (LedgerReplica::new(keeper, mailbox), thread)
    }

    /// Somebody whose records are good by this machine's clock.
    fn author() -> Author {
        Author::at(1, u32::try_from(clock::unix_now() - 3600).unwrap())
    }

    #[tokio::test]
    async fn who_was_shown_a_sketch_can_ask_about_it_whatever_comes_in_and_whoever_compares() {
        let dir = tempfile::tempdir().unwrap();
        let ((replica, thread), mut author) = (of_a_node(dir.path()), author());
        let (shown, start) = (replica.snapshot().unwrap(), Instant::now());
        // More than are kept come within the time for which each can be asked about.
        for _ in 0..40 {
            let record = author.write(&Body::Heartbeat).encode();
            assert_eq!(replica.ingest(vec![record]).await, [Verdict::Accept]);
            let now = state_hash(replica.keeper.ledger().storage()).unwrap();
            assert_eq!(replica.summary().unwrap().digest, now, "own sessions see the present");
            replica.recent_summary().unwrap();
            replica.snapshot().unwrap();
            let is_there = replica.snapshot_of(&shown.salt()).is_some();
            assert!(is_there || start.elapsed() > Duration::from_secs(4));
        }
        drop(replica);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn what_a_node_compares_by_itself_takes_no_sketch_from_a_peer() {
        let dir = tempfile::tempdir().unwrap();
        let ((replica, thread), mut author) = (of_a_node(dir.path()), author());
        let shown = replica.snapshot().unwrap();
        for _ in 0..40 {
            replica.ingest(vec![author.write(&Body::Heartbeat).encode()]).await;
            assert_eq!(replica.summary().unwrap().heads, 1);
            replica.recent_summary().unwrap();
        }
        assert!(replica.snapshot_of(&shown.salt()).is_some());
        drop(replica);
        thread.join().unwrap();
    }
}
