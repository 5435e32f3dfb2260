//! Checkpoints as this node publishes and compares them.

use std::collections::BTreeSet;
use std::sync::Arc;

use exchange_api::{ApiError, CheckpointRelation, CheckpointView};
use exchange_ledger::body::Body;
use exchange_ledger::checkpoint::{Compared, DEFAULT_AGE_S, Relation, at, compare};
use exchange_ledger::identity::Identity;
use exchange_ledger::ids::AuthorId;

use crate::blocking::blocking;
use crate::clock;
use crate::errors::ExplainResult;
use crate::keeper::Keeper;

/// Publishes what the ledger was so many seconds ago, in the name of an identity.
///
/// # Errors
/// When the store fails.
pub async fn publish(keeper: &Keeper, me: Arc<Identity>, age_s: Option<u64>) -> Result<CheckpointView, ApiError> {
    let time = clock::unix_now().saturating_sub(age_s.unwrap_or(DEFAULT_AGE_S));
    let ledger = keeper.ledger().clone();
    let said = blocking(move || at(ledger.storage(), time).explained()).await?;
    let record = keeper.publish(me, Body::Checkpoint(said.clone())).await.explained()?;
    Ok(view(Compared { record: record.id(), author: record.author(), here: said.clone(), said }))
}

/// Returns the latest checkpoint of each identity, of `trusted` ones first, beside what this ledger says.
///
/// # Errors
/// When the store fails.
pub async fn list(keeper: &Keeper, trusted: BTreeSet<AuthorId>) -> Result<Vec<CheckpointView>, ApiError> {
    let ledger = keeper.ledger().clone();
    let said = blocking(move || compare(ledger.storage(), &trusted).explained()).await?;
    Ok(said.compared.into_iter().map(view).collect())
}

/// Returns a comparison as the API shows it.
pub fn view(compared: Compared) -> CheckpointView {
    let relation = match compared.relation() {
        Relation::Same => CheckpointRelation::Same,
        Relation::Different => CheckpointRelation::Different,
        Relation::Uneven => CheckpointRelation::Uneven,
    };
    let Compared { record, author, said, here } = compared;
    CheckpointView { record, author, said, here, relation }
}
