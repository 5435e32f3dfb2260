//! Whose stake counts: the chain's answer to the stakes in the ledger, asked beside the traffic and asked again as the
//! chain grows. It raises quotas in the book and is no part of the ledger (`specs/quotas.md`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::Amount;
use exchange_api::{ApiError, StakeState, StakeView};
use exchange_ledger::body::{Body, Stake};
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::ledger::Ledger;
use exchange_ledger::record::{Kind, Place};
use exchange_ledger::stake::{self, MAX_STAKES, MIN_STAKE, STAKE_CONFIRMATIONS};
use exchange_ledger::storage::{Storage, StorageError};
use exchange_ledger::wire::{CurveKey, CurveSignature, Outpoint};
use exchange_store::Store;
use tokio::sync::broadcast;

use crate::chain::{BlockRef, ChainBackend, ChainError, OutpointStatus};
use crate::errors::ExplainResult;
use crate::keeper::Keeper;
use crate::node::Parts;
use crate::trader::Tools;

/// How many stakes are followed: some seconds of questions to a chain backend for each of its blocks.
const MAX_FOLLOWED: usize = 10_000;
/// How long between two rounds at least, however quickly blocks come in.
const ROUND_PAUSE: Duration = Duration::from_secs(10);
/// How many places are read at once.
const PAGE: usize = 512;

/// Why a round was given up. What counted before goes on to count.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Follows the stakes until the node stops.
pub async fn follow(parts: Arc<Parts>) {
    let mut changes = parts.keeper.changes();
    let mut timer = tokio::time::interval(ROUND_PAUSE);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut is_due): (Option<BlockRef>, bool) = (None, true);
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return,
            change = changes.recv() => match change {
                Ok(change) => is_due |= matches!(change.body.as_ref(), Body::Stake(_)),
                Err(broadcast::error::RecvError::Lagged(_)) => is_due = true,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            _ = timer.tick() => {
                let Ok(tip) = parts.chain_health() else { continue };
                if !is_due && seen == Some(tip) {
                    continue;
                }
                match counting(parts.keeper.ledger(), parts.chain.as_ref(), tip).await {
                    Ok(counting) => {
                        parts.keeper.set_staked(counting).await;
                        (seen, is_due) = (Some(tip), false);
                    }
                    Err(error) => tracing::warn!(%error, "stakes cannot be checked; trying again"),
                }
            }
        }
    }
}

/// Checks all stakes. Returns the authors who have one that counts.
async fn counting(
    ledger: &Ledger<Store>,
    chain: &dyn ChainBackend,
    tip: BlockRef,
) -> Result<HashSet<AuthorId>, RoundError> {
    let mut counting = HashSet::new();
    for (author, stake) in candidates(ledger)? {
        if !counting.contains(&author) && state(chain, tip, &stake).await? == StakeState::Counts {
            counting.insert(author);
        }
    }
    Ok(counting)
}

/// Returns the stakes that may count as far as the ledger goes.
fn candidates(ledger: &Ledger<Store>) -> Result<Vec<(AuthorId, Stake)>, StorageError> {
    let mut found = Vec::new();
    let mut of_author: HashMap<AuthorId, usize> = HashMap::new();
    let mut after: Option<Place> = None;
    loop {
        let page = ledger.storage().of_kind(Kind::Stake, after.as_ref(), PAGE)?;
        for place in &page {
            let count = of_author.entry(place.log.author).or_default();
            *count += 1;
            if *count > MAX_STAKES {
                continue;
            }
            if let Some(stake) = read(ledger, &place.id)?.filter(|_| found.len() < MAX_FOLLOWED)
                && is_first(ledger, &place.id, &stake)?
            {
                found.push((place.log.author, stake));
            }
        }
        after = page.last().copied();
        if page.len() < PAGE || found.len() >= MAX_FOLLOWED {
            return Ok(found);
        }
    }
}

fn read(ledger: &Ledger<Store>, id: &RecordId) -> Result<Option<Stake>, StorageError> {
    let Some(record) = ledger.record(id)? else { return Ok(None) };
    match Body::decode(&record) {
        Ok(Body::Stake(stake)) => Ok(Some(stake)),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Tells whether a stake is the first that names its coin: a coin stands for one author.
fn is_first(ledger: &Ledger<Store>, id: &RecordId, stake: &Stake) -> Result<bool, StorageError> {
    Ok(ledger.storage().about(&stake::subject(stake), None, 1)?.first() == Some(id))
}

/// Asks the chain for the coin.
async fn state(chain: &dyn ChainBackend, tip: BlockRef, stake: &Stake) -> Result<StakeState, ChainError> {
    let script = stake::script(stake);
    // An unspent coin is found wherever it was made; for one that is spent it does not matter where.
    let status = match chain.outpoint(stake.coin.0, script.clone(), tip.height).await {
        Ok(status) => status,
        Err(ChainError::Invalid { .. }) => return Ok(StakeState::Gone),
        Err(error) => return Err(error),
    };
    let (output, height) = match status {
        OutpointStatus::Unspent { output, height } => (output, height),
        OutpointStatus::Spent { .. } => return Ok(StakeState::Gone),
        OutpointStatus::Unknown => return Ok(StakeState::Unknown),
    };
    let depth = height.map_or(0, |height| tip.height.saturating_sub(height).saturating_add(1));
    Ok(if output.script_pubkey != script || output.value < Amount::from(MIN_STAKE) {
        StakeState::Gone
    } else if depth < STAKE_CONFIRMATIONS {
        StakeState::Young { confirmations: depth, needed: STAKE_CONFIRMATIONS }
    } else {
        StakeState::Counts
    })
}

/// Lets a coin of the wallet speak for the identity; a dry run only chooses it.
///
/// # Errors
/// When there is no such coin, or the record cannot be kept.
pub async fn create(tools: &Tools, dry_run: bool) -> Result<StakeView, ApiError> {
    let (network, author) = (tools.keeper.ledger().network(), tools.identity.author());
    let message = Box::new(move |coin| stake::message(&network, &author, &Outpoint(coin)));
    let coin = tools.wallet.sign_for_coin(Amount::from(MIN_STAKE), message).await.explained()?;
    let stake =
        Stake { coin: Outpoint(coin.outpoint), key: CurveKey(coin.key), signature: CurveSignature(coin.signature) };
    let known = of_author(&tools.keeper, tools.chain.as_ref(), &author).await?;
    if let Some(named) = known.into_iter().find(|stake| stake.coin == coin.outpoint.to_string()) {
        return Ok(named);
    }
    let tip = tools.chain.tip().await.explained()?;
    let state = state(tools.chain.as_ref(), tip, &stake).await.explained()?;
    let id = if dry_run {
        RecordId([0; 32])
    } else {
        tools.keeper.publish(Arc::clone(&tools.identity), Body::Stake(stake)).await.explained()?.id()
    };
    Ok(StakeView { id, coin: coin.outpoint.to_string(), state })
}

/// Returns the stakes of an author, as the chain shows them now.
///
/// # Errors
/// When the store or the chain fails.
pub async fn of_author(
    keeper: &Keeper,
    chain: &dyn ChainBackend,
    author: &AuthorId,
) -> Result<Vec<StakeView>, ApiError> {
    let ledger = keeper.ledger();
    let tip = chain.tip().await.explained()?;
    let mut views = Vec::new();
    for place in ledger.storage().of_kind_by(Kind::Stake, author, None, MAX_STAKES).explained()? {
        let Some(stake) = read(ledger, &place.id).explained()? else { continue };
        let state = if is_first(ledger, &place.id, &stake).explained()? {
            state(chain, tip, &stake).await.explained()?
        } else {
            StakeState::OfAnother
        };
        views.push(StakeView { id: place.id, coin: stake.coin.0.to_string(), state });
    }
    Ok(views)
}

#[cfg(test)]
mod tests;
