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
        let kept = self.mailbox.clone();
        blocking(move || kept.put(&envelope)).await.unwrap_or(Verdict::Later)
    }

    async fn mail(&self, mailbox: MailboxId, after: u64, max_bytes: usize) -> (Vec<Vec<u8>>, u64) {
        let kept = self.mailbox.clone();
        blocking(move || kept.fetch(&mailbox, after, max_bytes)).await.unwrap_or((Vec::new(), after))
    }

    async fn my_mailboxes(&self) -> Vec<MailboxId> {
        self.mailbox.own_mailboxes()
    }

    async fn my_outbox(&self) -> Vec<Vec<u8>> {
        let kept = self.mailbox.clone();
        blocking(move || kept.outbox()).await.unwrap_or_default()
    }

    async fn peer_changed(&self, peer: PeerId, connected: bool) {
        tracing::info!(%peer, connected, "peer");
    }
}

/// Does what reads the disk or checks signatures on a thread that may block, so that whoever makes it happen over and over
/// holds up no other task. `None` when the node is stopping.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Some(result),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use bitcoin::Network;
    use exchange_ledger::body::Side;
    use exchange_ledger::ledger::Ledger;
    use exchange_ledger::mail::{Address, Envelope};
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
}
