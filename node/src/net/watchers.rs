//! Two small tasks between the replica and the swarm task.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use exchange_ledger::ids::MailboxId;
use libp2p::PeerId;
use tokio::sync::{mpsc, watch};

use super::Replica;
use super::swarm::Report;

/// How soon a new mailbox is asked for: a trade that was just agreed on waits for its payment details.
const MAILBOX_INTERVAL: Duration = Duration::from_secs(2);

/// Tells the replica who comes and goes. The state is handed over, not the changes: however slow the replica is, it
/// learns in the end what is true, and nothing queues up. Ends when the returned sender is dropped.
pub(super) fn announce_peers(replica: Arc<dyn Replica>) -> watch::Sender<BTreeSet<PeerId>> {
    let (sender, mut present) = watch::channel(BTreeSet::new());
    tokio::spawn(async move {
        let mut told = BTreeSet::new();
        while present.changed().await.is_ok() {
            let now: BTreeSet<PeerId> = present.borrow_and_update().clone();
            for gone in told.difference(&now) {
                replica.peer_changed(*gone, false).await;
            }
            for new in now.difference(&told) {
                replica.peer_changed(*new, true).await;
            }
            told = now;
        }
    });
    sender
}

/// Reports when this node has a mailbox that it had not before. Ends with the swarm task.
pub(super) fn watch_mailboxes(replica: Arc<dyn Replica>, reports: mpsc::Sender<Report>) {
    tokio::spawn(async move {
        let mut known = HashSet::<MailboxId>::new();
        loop {
            tokio::select! {
                () = reports.closed() => return,
                () = tokio::time::sleep(MAILBOX_INTERVAL) => {}
            }
            let now = HashSet::from_iter(replica.my_mailboxes().await);
            if !now.is_subset(&known) && reports.send(Report::MailboxesGrew).await.is_err() {
                return;
            }
            known = now;
        }
    });
}
