//! Old block filters, which a client of its own reads for whoever needs them.
//!
//! The client that follows the chain tells that it has reached the tip once it has the filters of all blocks that it was asked
//! for. Asked for old ones, it would show no new block before it had them all, as slowly as its peers like to send them.

use std::sync::Arc;
use std::time::Duration;

use bip157::{Client, Event, IndexedFilter, Info};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until};

use super::light::{Light, end};
use crate::chain::BlockRef;

/// How long nothing may come in before peers are taken for unreachable: they have to be found first.
const SILENCE: Duration = Duration::from_secs(60);
/// How long no filter may come in, whatever else does: headers, and those of filters, come before the first one, and any peer can
/// send them one by one. On a slow line those of years take minutes.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How many filters wait to be read: on mainnet some 25 kB each, so about 50 MB. Where there are more, the client is stopped, and
/// another begins where reading has come to.
const AHEAD: u32 = 2_000;

/// The filters of the blocks above one, as they come in, in the order of the chain. Dropping it ends its client.
#[derive(Debug)]
pub(super) struct OldFilters {
    filters: mpsc::Receiver<IndexedFilter>,
    /// The height below the first.
    below: u32,
    /// The last that was read, for who reads it again.
    last: Option<Arc<IndexedFilter>>,
    /// One that is not due yet.
    next: Option<IndexedFilter>,
    /// For readers of which only so many read at a time.
    _turn: Option<OwnedSemaphorePermit>,
}

impl OldFilters {
    /// Begins to read the filters of the blocks above one.
    pub fn above(light: &Light, below: BlockRef, turn: Option<OwnedSemaphorePermit>) -> Self {
        let (node, client) = light.builder(below).build();
        let (sender, filters) = mpsc::channel(AHEAD as usize); // u32 fits
        let (requester, running) = (client.requester.clone(), tokio::spawn(node.run()));
        tokio::spawn(async move {
            read(client, sender).await;
            end(&requester, running).await;
        });
        Self { filters, below: below.height, last: None, next: None, _turn: turn }
    }

    /// Tells whether the filter of a block of this height is the last, or one of the next.
    pub fn leads_to(&self, height: u32) -> bool {
        let at = self.last.as_ref().map_or(self.below, |last| last.height());
        (at..=at.saturating_add(AHEAD)).contains(&height)
    }

    /// Tells whether no filter came at all.
    pub fn brought_nothing(&self) -> bool {
        self.last.is_none() && self.next.is_none()
    }

    /// Waits for the filter of a block; `None` when it does not come. Whoever stops to wait loses nothing.
    pub async fn filter(&mut self, block: BlockRef) -> Option<Arc<IndexedFilter>> {
        if let Some(last) = self.last.as_ref().filter(|last| last.block_hash() == block.hash) {
            return Some(Arc::clone(last));
        }
        loop {
            let filter = match self.next.take() {
                Some(filter) => filter,
                None => self.filters.recv().await?,
            };
            if filter.block_hash() == block.hash {
                let filter = Arc::new(filter);
                self.last = Some(Arc::clone(&filter));
                return Some(filter);
            }
            if filter.height() >= block.height {
                self.next = Some(filter);
                return None;
            }
        }
    }
}

/// Passes on what a client reads, until it has all, nobody sends anything, or no filter for too long, or nobody reads.
async fn read(client: Client, filters: mpsc::Sender<IndexedFilter>) {
    let Client { requester: _, mut info_rx, mut warn_rx, mut event_rx } = client;
    let mut heard_at = Instant::now();
    let mut filter_at = heard_at;
    loop {
        tokio::select! {
            event = event_rx.recv() => match event {
                Some(Event::IndexedFilter(filter)) => {
                    if filters.try_send(filter).is_err() {
                        break;
                    }
                    heard_at = Instant::now();
                    filter_at = heard_at;
                }
                Some(Event::ChainUpdate(_)) => heard_at = Instant::now(),
                Some(Event::FiltersSynced(_)) | None => break,
            },
            // Headers of filters come without an event.
            Some(info) = info_rx.recv() => {
                if matches!(info, Info::Progress(_)) {
                    heard_at = Instant::now();
                }
            }
            Some(warning) = warn_rx.recv() => tracing::trace!(%warning, "client for old filters"),
            () = filters.closed() => break,
            () = sleep_until((heard_at + SILENCE).min(filter_at + PATIENCE)) => break,
        }
    }
}
