//! The node's own tasks: what passes between its parts, and what goes by the clock.

use std::sync::Arc;
use std::time::Duration;

use exchange_ledger::record::{Kind, Record};
use exchange_ledger::sync::Proof;
use tokio::sync::{broadcast, watch};

use super::Parts;
use crate::chain::{BlockRef, median_time_past};
use crate::keeper::Change;

/// How often the chain backend is asked how it is.
const CHAIN_CHECK: Duration = Duration::from_secs(5);
/// After how many looks in a row at which this machine's clock is far ahead of the chain its user is told, ten minutes: a start has to
/// catch up first.
const AHEAD_LOOKS: u32 = 120;
/// How often it is looked whether mail has become too old.
const MAIL_CHECK: Duration = Duration::from_secs(600);
/// How long between two pages of it that are dropped: mail that all ends at once is gone in five minutes, and nobody notices.
const MAIL_PAUSE: Duration = Duration::from_millis(250);
/// How often it is looked whether the contracts are there on which mail waits. Acceptances are told, but what they rest on may come
/// after them, from another log.
const PARKED_CHECK: Duration = Duration::from_secs(10);
/// How often the book is told the time: so late at most an offer that waited takes the place of one that ended.
const BOOK_CLOCK: Duration = Duration::from_secs(10);

/// Passes own records to the network, and what proves a fork, whoever brought it; what is lost here is healed by the next
/// comparison with a peer.
pub(super) async fn forward_records(parts: Arc<Parts>) {
    let mut changes = parts.keeper.changes();
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return,
            change = changes.recv() => match change {
                Ok(Change { record, proves: true, .. }) => match parts.keeper.ledger().fork_proof(&record.header().log) {
                    Ok(Some(records)) if !records.iter().any(Record::is_bare) => parts.net.publish_fork(&Proof::of(&records)).await,
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "a proof of a fork cannot be read; peers get it by sync"),
                },
                Ok(Change { record, own: true, .. }) => parts.net.publish_record(record.encode()).await,
                Ok(Change { own: false, .. }) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => parts.net.sync_now().await,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

/// Passes messages to the network; what is lost here is offered again to each peer.
pub(super) async fn forward_mail(parts: Arc<Parts>) {
    let mut sent = parts.mailbox.sent();
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return,
            envelope = sent.recv() => match envelope {
                Ok(envelope) => parts.net.publish_mail(envelope).await,
                Err(broadcast::error::RecvError::Lagged(_)) => parts.net.sync_now().await,
                Err(broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

/// Takes in mail that waited for its contract.
pub(super) async fn unpark_mail(parts: Arc<Parts>) {
    parts.mailbox.unpark_in_time(parts.keeper.changes(), PARKED_CHECK, &parts.stop).await;
}

/// Asks the chain backend how it is, and says so once when that changes; tells what time each new tip shows.
pub(super) async fn watch_chain(parts: Arc<Parts>, health: watch::Sender<Result<BlockRef, String>>) {
    let mut timer = tokio::time::interval(CHAIN_CHECK);
    let (mut dated, mut ahead) = (None, 0_u32);
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return,
            _ = timer.tick() => {
                let tip = parts.chain.tip().await.map_err(|error| error.to_string());
                let (was, is) = (health.borrow().is_ok(), tip.is_ok());
                if let (true, Err(error)) = (was, &tip) {
                    parts.events.note(exchange_api::Subject::Chain, error.clone());
                } else if !was && is {
                    parts.events.note(exchange_api::Subject::Chain, "the chain backend answers".into());
                }
                let block = tip.as_ref().ok().copied();
                drop(health.send_replace(tip));
                if let Some(block) = block.filter(|block| dated != Some(*block)) {
                    match median_time_past(parts.chain.as_ref(), block.height).await {
                        Ok(time) => {
                            parts.sure.show(time);
                            dated = Some(block);
                        }
                        // What was shown before is as sure as it was; it is asked again with the next look.
                        Err(error) => tracing::debug!(%error, "the time of the chain cannot be read"),
                    }
                }
                match parts.keeper.check_clock(Kind::Heartbeat) {
                    Ok(()) => ahead = 0,
                    Err(error) => {
                        ahead = ahead.saturating_add(1);
                        if ahead == AHEAD_LOOKS {
                            let text = format!("{error}: either that clock is wrong, or the chain backend is behind");
                            parts.events.note(exchange_api::Subject::Chain, text);
                        }
                    }
                }
            }
        }
    }
}

/// Tells the book what time it is.
pub(super) async fn keep_time(parts: Arc<Parts>) {
    let mut clock = tokio::time::interval(BOOK_CLOCK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return,
            _ = clock.tick() => parts.keeper.advance(parts.sure.now()).await,
        }
    }
}

/// Drops mail kept for others when it is too old, a page at a time.
pub(super) async fn drop_old_mail(parts: Arc<Parts>) {
    let work = async {
        loop {
            let mailbox = parts.mailbox.clone();
            // It writes: off the async threads.
            let more = tokio::task::spawn_blocking(move || mailbox.expire()).await.unwrap_or(false);
            tokio::time::sleep(if more { MAIL_PAUSE } else { MAIL_CHECK }).await;
        }
    };
    parts.stop.run_until_cancelled(work).await;
}
