//! The rounds by which buyer and seller sign a payout as one. Nonces are drawn here and stay in memory: a round that is not
//! over when the node stops is lost, and the next start begins another or pays by the leaf.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use exchange_api::{ApiError, Person};
use exchange_ledger::body::Vaults;
use exchange_ledger::ids::TradeId;
use exchange_ledger::mail::Message;
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{Ask, Asked, Event, Reply, Role, counterparty};
use zeroize::Zeroizing;

use super::effects::built;
use super::{Trader, not_mine};
use crate::entropy;
use crate::errors::{ExplainResult, internal};

/// How long a buyer waits for a seller's part. A message takes a second or two between nodes that are online, and the buyer
/// gets his coins all the same when it does not come.
const PATIENCE: Duration = Duration::from_secs(15);

/// The rounds that wait for a reply, at most one for a trade.
#[derive(Default)]
pub(super) struct Rounds(BTreeMap<TradeId, Round>);

struct Round {
    vaults: Vaults,
    asked: Asked,
    ends: Instant,
}

impl Rounds {
    /// Returns when the first of them has waited long enough.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.0.values().map(|round| round.ends).min()
    }

    /// Forgets a round, with its nonces.
    pub(super) fn drop(&mut self, id: TradeId) {
        self.0.remove(&id);
    }
}

/// Sleeps until a time, or for ever.
pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

impl Trader {
    /// Asks the seller to sign a payout as one with the buyer, unless he was asked already.
    pub(super) fn ask(&mut self, id: TradeId, vaults: Vaults, fee: Sats) -> Option<Event> {
        if self.rounds.0.get(&id).is_some_and(|round| round.vaults == vaults) {
            return None;
        }
        match self.send_ask(id, &vaults, fee) {
            Ok(asked) => {
                let round = Round { vaults, asked, ends: Instant::now() + PATIENCE };
                self.rounds.0.insert(id, round);
                None
            }
            Err(error) => {
                tracing::warn!(%error, trade = %id, "the seller cannot be asked for his part of a payout");
                Some(Event::Unanswered)
            }
        }
    }

    fn send_ask(&self, id: TradeId, vaults: &Vaults, fee: Sats) -> Result<Asked, ApiError> {
        let entropy = Zeroizing::new(entropy::bytes32());
        let (ask, asked) =
            self.escrow(id)?.ask(vaults, fee, self.trade_key(id)?.here()?, &entropy).map_err(internal)?;
        self.tell_other_party(id, &Message::Ask(ask))?;
        Ok(asked)
    }

    /// Takes in what somebody asks this node's user to sign.
    pub(super) async fn on_ask(&mut self, id: TradeId, person: Person, ask: Ask) {
        let from = role_of(person);
        if let Err(error) = self.handle(id, Event::Asked { from, ask }).await {
            tracing::warn!(%error, trade = %id, "a signature that the {from} asked for is refused");
        }
    }

    /// Signs what the buyer asked for and sends it to him. When that fails nothing is owed: he pays himself by the leaf.
    pub(super) fn reply(&self, id: TradeId, vaults: &Vaults, ask: &Ask) {
        match self.send_reply(id, vaults, ask) {
            Ok(()) => tracing::info!(trade = %id, "signed the payout as one with the buyer"),
            Err(error) => tracing::warn!(%error, trade = %id, "the buyer gets no reply"),
        }
    }

    /// The nonces exist within this call only.
    fn send_reply(&self, id: TradeId, vaults: &Vaults, ask: &Ask) -> Result<(), ApiError> {
        let entropy = Zeroizing::new(entropy::bytes32());
        let reply = self.escrow(id)?.reply(ask, vaults, self.trade_key(id)?.here()?, &entropy).map_err(internal)?;
        self.tell_other_party(id, &Message::Reply(reply))
    }

    /// Completes a payout by the seller's part. One that is not good ends the round: he will not send another.
    pub(super) async fn on_reply(&mut self, id: TradeId, person: Person, reply: &Reply) {
        let is_awaited = self.rounds.0.get(&id).is_some_and(|round| round.asked.is_answered_by(reply));
        if role_of(person) != Role::Seller || !is_awaited {
            tracing::debug!(trade = %id, "a reply to nothing that is asked was dropped");
            return;
        }
        let Some(round) = self.rounds.0.remove(&id) else { return };
        let event = match self.complete_by_key(id, round, reply) {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, trade = %id, "the seller's part of a payout is not good");
                Event::Unanswered
            }
        };
        self.handle(id, event).await.ok(); // neither event is ever refused
    }

    fn complete_by_key(&self, id: TradeId, round: Round, reply: &Reply) -> Result<Option<Event>, ApiError> {
        let (escrow, key) = (self.escrow(id)?, self.trade_key(id)?);
        built(escrow.complete_by_key(round.asked, reply, key.here()?).map_err(internal))
    }

    /// Ends the rounds that waited long enough: those payouts go by the leaf.
    pub(super) async fn end_rounds(&mut self) {
        let now = Instant::now();
        let over: Vec<TradeId> =
            self.rounds.0.iter().filter(|(_, round)| round.ends <= now).map(|(id, _)| *id).collect();
        for id in over {
            self.rounds.drop(id);
            tracing::info!(trade = %id, "the seller did not reply; the payout goes by the leaf of both");
            self.handle(id, Event::Unanswered).await.ok(); // neither event is ever refused
        }
    }

    fn tell_other_party(&self, id: TradeId, message: &Message) -> Result<(), ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let contract =
            active.trade.view().contract.as_ref().ok_or_else(|| internal("the trade has no contract yet"))?;
        let recipient = contract.author(counterparty(active.trade.role()));
        self.tools.mailbox.send(&self.tools.identity, contract, recipient, message).explained()
    }
}

const fn role_of(person: Person) -> Role {
    match person {
        Person::Buyer => Role::Buyer,
        Person::Seller => Role::Seller,
        Person::Arbiter | Person::SecondArbiter => Role::Arbiter,
    }
}
