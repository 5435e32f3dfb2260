//! Whose stake counts: the chain's answer to the stakes in the ledger, asked beside the traffic and asked again as the
//! chain grows. It raises quotas in the book and is no part of the ledger (`specs/quotas.md`).
//!
//! Anybody can name coins that do not exist, 64 for each log that he pays for. So a round has a bounded number of questions,
//! each identity has one turn after the other, and who shows no good coin is asked about ever more rarely.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
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

/// How many identities with stakes are followed: each has paid for a log. Where there are more, those who have shown no good
/// one for longest make room.
const MAX_FOLLOWED: usize = 10_000;
/// How many identities that were not followed are looked for at once.
const DISCOVERED: usize = 256;
/// How many questions to a chain backend a round has.
const MAX_ASKED: usize = 200;
/// How many questions in a row may fail until the backend is given up for a round.
const MAX_FAILED: usize = 3;
/// How many blocks pass until an identity is asked about again that has shown no stake that counts, at most: a day.
const MAX_PAUSE: u32 = 144;
/// How many blocks pass until a stake that counts is asked about again on which no offer depends: six hours.
const IDLE_PAUSE: u32 = 36;
/// How long between two rounds at least, however quickly blocks come in.
const ROUND_PAUSE: Duration = Duration::from_secs(10);

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
    let (mut stakes, mut told) = (Stakes::default(), HashSet::new());
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return,
            change = changes.recv() => match change {
                Ok(change) => if matches!(change.body.as_ref(), Body::Stake(_)) {
                    stakes.hear(change.record.author());
                },
                // What was missed is found in its turn.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            _ = timer.tick() => {
                let Ok(tip) = parts.chain_health() else { continue };
                let wanted = parts.keeper.book().crowded();
                if let Err(error) = stakes.look(parts.keeper.ledger(), parts.chain.as_ref(), tip, &wanted).await {
                    tracing::warn!(%error, "stakes cannot be checked; trying again");
                }
                let counting = stakes.counting();
                if counting != told {
                    parts.keeper.set_staked(counting.clone()).await;
                    told = counting;
                }
            }
        }
    }
}

/// What is known of the stakes of one identity. They are asked about one after the other, in turn with those of others, so
/// that it does not matter how many somebody has: until one counts, and that one again from then on.
#[derive(Debug, Clone, Copy, Default)]
struct Followed {
    /// Which of them is asked about next.
    next: usize,
    /// Whether that one counted when it was asked about last.
    counts: bool,
    /// At which height he was asked about last.
    height: u32,
    /// How many blocks later he is asked about again.
    wait: u32,
    /// How long that is after a look at all of them that found none: twice as long each time.
    pause: u32,
    /// In how many blocks the first of them is old enough, as far as this look at all has gone.
    ripe: Option<u32>,
    /// How many there were at the last one.
    stakes: usize,
    /// The number of the last question about him: who was asked about longest ago is next.
    asked: u64,
}

impl Followed {
    /// Tells whether he is asked about at a tip. `is_wanted`: offers of his stand by his stake, or would.
    fn is_due(&self, tip: BlockRef, is_wanted: bool) -> bool {
        let wait = if self.counts && !is_wanted { IDLE_PAUSE } else { self.wait };
        // After a reorganisation the chain may be shorter.
        tip.height.checked_sub(self.height).is_none_or(|since| since >= wait)
    }

    /// Notes what the chain says of the stake at `at`.
    fn note(&mut self, at: usize, state: StakeState) {
        let counted = std::mem::replace(&mut self.counts, state == StakeState::Counts);
        match state {
            StakeState::Counts => (self.next, self.wait, self.pause, self.ripe) = (at, 1, 0, None),
            // Another one may count now.
            StakeState::Young { .. } | StakeState::Gone | StakeState::Unknown | StakeState::OfAnother if counted => {
                (self.next, self.wait) = (0, 0);
            }
            StakeState::Young { confirmations, needed } => {
                let ripe = needed.saturating_sub(confirmations);
                (self.next, self.wait) = (at + 1, 0);
                self.ripe = Some(self.ripe.map_or(ripe, |first| first.min(ripe)));
            }
            StakeState::Gone | StakeState::Unknown | StakeState::OfAnother => (self.next, self.wait) = (at + 1, 0),
        }
    }

    /// Ends a look at all of his stakes, none of which counts.
    fn rest(&mut self, stakes: usize) {
        self.pause = self.pause.saturating_mul(2).clamp(1, MAX_PAUSE);
        self.wait = self.ripe.take().map_or(self.pause, |ripe| ripe.clamp(1, self.pause));
        (self.next, self.counts, self.stakes) = (0, false, stakes);
    }
}

/// The identities with stakes, and what the chain says of these.
#[derive(Debug, Default)]
struct Stakes {
    followed: BTreeMap<AuthorId, Followed>,
    /// Up to where they were looked for in the ledger, again and again from the beginning.
    found: Option<Place>,
    /// Who named one more since.
    heard: BTreeSet<AuthorId>,
    /// How many questions were asked.
    asked: u64,
}

impl Stakes {
    /// Returns those who have a stake that counts.
    fn counting(&self) -> HashSet<AuthorId> {
        self.followed.iter().filter(|(_, followed)| followed.counts).map(|(author, _)| *author).collect()
    }

    /// Hears that an identity named one more.
    fn hear(&mut self, author: AuthorId) {
        if self.heard.len() < MAX_FOLLOWED {
            self.heard.insert(author);
        }
    }

    /// Looks for identities that are not followed, and asks the chain about those whose turn it is.
    async fn look(
        &mut self,
        ledger: &Ledger<Store>,
        chain: &dyn ChainBackend,
        tip: BlockRef,
        wanted: &HashSet<AuthorId>,
    ) -> Result<(), RoundError> {
        self.discover(ledger)?;
        let due = |counts: bool| -> BTreeSet<(u64, AuthorId)> {
            let due = self.followed.iter().filter(|(author, followed)| {
                followed.counts == counts && followed.is_due(tip, wanted.contains(*author))
            });
            due.map(|(author, followed)| (followed.asked, *author)).collect()
        };
        let (mut counting, mut others) = (due(true), due(false));
        let mut failed = 0;
        for turn in 0..MAX_ASKED {
            // Neither a crowd whose stakes count nor one whose stakes do not keeps the other kind waiting.
            let (first, second) =
                if turn % 2 == 0 { (&mut counting, &mut others) } else { (&mut others, &mut counting) };
            let Some((_, author)) = first.pop_first().or_else(|| second.pop_first()) else { break };
            match self.ask(ledger, chain, tip, author).await {
                Ok(()) => failed = 0,
                // It may be about this one only: the others have their turn.
                Err(RoundError::Chain(error)) if failed < MAX_FAILED => {
                    tracing::debug!(%error, %author, "a stake cannot be checked");
                    failed += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let next = self.followed.get(&author).filter(|followed| !followed.counts && followed.is_due(tip, true));
            others.extend(next.map(|followed| (followed.asked, author)));
        }
        Ok(())
    }

    /// Asks the chain about the next stake of an identity.
    async fn ask(
        &mut self,
        ledger: &Ledger<Store>,
        chain: &dyn ChainBackend,
        tip: BlockRef,
        author: AuthorId,
    ) -> Result<(), RoundError> {
        let Some(followed) = self.followed.get_mut(&author) else { return Ok(()) };
        self.asked += 1;
        followed.asked = self.asked;
        let places = ledger.storage().of_kind_by(Kind::Stake, &author, None, MAX_STAKES)?;
        for (at, place) in places.iter().enumerate().skip(followed.next) {
            if let Some(stake) = read(ledger, &place.id)?
                && is_first(ledger, &place.id, &stake)?
            {
                let state = state(chain, tip, &stake).await?;
                followed.height = tip.height;
                followed.note(at, state);
                if followed.next >= places.len() {
                    followed.rest(places.len());
                }
                return Ok(());
            }
        }
        followed.height = tip.height;
        followed.rest(places.len());
        Ok(())
    }

    /// Follows those who named one more, and the next ones in the ledger.
    fn discover(&mut self, ledger: &Ledger<Store>) -> Result<(), StorageError> {
        if self.followed.len() + DISCOVERED > MAX_FOLLOWED {
            let idle = self.followed.iter().filter(|(_, followed)| !followed.counts && followed.pause > 0);
            let mut idle: Vec<_> = idle.map(|(author, one)| (Reverse(one.pause), one.asked, *author)).collect();
            idle.sort_unstable();
            for (_, _, author) in idle.into_iter().take(DISCOVERED) {
                self.followed.remove(&author);
            }
        }
        for author in std::iter::from_fn(|| self.heard.pop_first()).take(DISCOVERED).collect::<Vec<_>>() {
            self.find(author);
            let Some(followed) = self.followed.get_mut(&author).filter(|followed| !followed.counts) else { continue };
            // Of those beyond the bound none counts: they make nobody ask again.
            let stakes = ledger.storage().of_kind_by(Kind::Stake, &author, None, MAX_STAKES)?.len();
            if stakes != followed.stakes {
                (followed.wait, followed.pause) = (0, 0);
            }
        }
        for _ in 0..DISCOVERED {
            let next = ledger.storage().of_kind(Kind::Stake, self.found.as_ref(), 1)?;
            let Some(author) = next.first().map(|place| place.log.author) else {
                self.found = None;
                return Ok(());
            };
            self.found = Some(Place::last_by(author));
            self.find(author);
        }
        Ok(())
    }

    /// Follows an identity from now on, if there is room. Those found before are asked about first.
    fn find(&mut self, author: AuthorId) {
        if self.followed.len() < MAX_FOLLOWED {
            self.followed.entry(author).or_insert(Followed { asked: self.asked, ..Followed::default() });
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
