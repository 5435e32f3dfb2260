//! Drops the bodies of old records that nothing needs any more, as long ago as the user says: see
//! [`exchange_ledger::retention`].
//!
//! It begins once the ledger was compared with a peer's, so that an acceptance that this node has missed still counts, and
//! never while it is unknown whose records and trades are this node's own. What is old is so by a time that is
//! [sure](crate::clock::SureTime). It goes in small steps between other writes; one that is cut off is made again.

use std::sync::Arc;
use std::time::Duration;

use exchange_api::IdentityState;
use exchange_ledger::ids::AuthorId;
use exchange_ledger::retention::Mine;
use exchange_ledger::storage::StorageError;
use exchange_store::StoreError;

use crate::keeper::Keeper;
use crate::node::Parts;
use crate::private::Private;

/// How often it is looked whether more has become old.
const INTERVAL: Duration = Duration::from_secs(3600);
/// How often it is looked whether the identity is known.
const IDENTITY_POLL: Duration = Duration::from_secs(1);

/// Drops what has become old, now and every hour, until the node stops.
pub async fn follow(parts: Arc<Parts>) {
    let work = async {
        parts.keeper.until_compared().await;
        loop {
            while matches!(parts.identity_state(), IdentityState::Locked | IdentityState::Deriving) {
                tokio::time::sleep(IDENTITY_POLL).await;
            }
            let author = match parts.identity_state() {
                IdentityState::Unlocked { author, .. } => Some(author),
                IdentityState::None | IdentityState::Locked | IdentityState::Deriving => None,
            };
            let (keeper, private) = (parts.keeper.clone(), parts.private.clone());
            let own = tokio::task::spawn_blocking(move || own(&keeper, &private, author)).await;
            match own {
                Ok(Ok(own)) => {
                    let before = parts.config.retention.since(parts.sure.now());
                    sweep(&parts.keeper, before, Arc::new(own)).await;
                }
                Ok(Err(error)) => tracing::error!(%error, "no bodies are dropped: it is not known which are own"),
                Err(error) => tracing::error!(%error, "no bodies are dropped"),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    parts.stop.run_until_cancelled(work).await;
}

fn own(keeper: &Keeper, private: &Private, author: Option<AuthorId>) -> Result<Mine, StoreError> {
    let mut authors = private.own_authors()?;
    authors.extend(author);
    Ok(Mine::of(keeper.ledger().storage(), authors, private.trades(usize::MAX)?)?)
}

/// Drops the bodies that are too old to keep.
async fn sweep(keeper: &Keeper, before: u64, own: Arc<Mine>) {
    match drop_all(keeper, before, own).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "dropped the bodies of old records"),
        Err(error) => {
            tracing::error!(%error, "the bodies of old records cannot be dropped; it is tried again in an hour")
        }
    }
}

async fn drop_all(keeper: &Keeper, before: u64, own: Arc<Mine>) -> Result<usize, StorageError> {
    let (mut count, mut after) = (0_usize, None);
    loop {
        let look = keeper.drop_bodies(before, after, Arc::clone(&own)).await?;
        count = count.saturating_add(look.gone.len());
        after = look.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}
