//! A funding from two wallets: coins are chosen, looked up, signed and sent as the trade's machine asks.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::{FeeRate, ScriptBuf, TxOut};
use exchange_api::{ApiError, Code};
use exchange_ledger::ids::TradeId;
use exchange_ledger::mail::Message;
use exchange_ledger::trade::funding::{self, Contribution, Draft, InputState, highest_feerate};
use exchange_ledger::trade::{Event, Role, counterparty};

use super::act::FEE_TARGET_BLOCKS;
use super::drive::Trouble;
use super::{Trader, not_mine};
use crate::chain::{ChainBackend, OutpointStatus};
use crate::errors::ExplainResult;
use crate::wallet::{ShareRequest, ShareSigning, WalletHandle};

/// How many answers about coins wait for the trader; whoever looked waits beyond that.
pub(super) const LOOKS: usize = 64;
/// How long the chain is asked about the other side's coins: a peer who states a false height makes a light client read
/// through old blocks, and no longer than this.
const LOOK_TIMEOUT: Duration = Duration::from_secs(600);

/// What the chain said of the other side's coins.
pub(super) struct Look {
    trade: TradeId,
    theirs: Contribution,
    /// The tip at which it was asked.
    tip: u32,
    /// The state of each coin and the highest feerate that this side pays.
    said: Result<(Vec<InputState>, u64), ApiError>,
}

impl Trader {
    pub(super) async fn choose_coins(
        &mut self,
        id: TradeId,
        output: TxOut,
        feerate: u64,
    ) -> Result<Option<Event>, ApiError> {
        let out_of_range = || ApiError::new(Code::InvalidArgument, "the feerate is beyond all measure", "");
        let fee_rate = FeeRate::from_sat_per_vb(feerate).ok_or_else(out_of_range)?;
        let request = ShareRequest { output, fee_rate, label: label(id) };
        let chosen = self.tools.wallet.share(request).await.explained();
        let mine = self.look_again_unless(id, chosen)?;
        Ok(Some(Event::Joint(funding::Event::Chosen { mine, feerate })))
    }

    pub(super) async fn sign_funding(&mut self, id: TradeId, draft: Draft) -> Result<Option<Event>, ApiError> {
        let (script, role) = self.own_output(id)?;
        let request = ShareSigning { script, role, draft, label: label(id) };
        let signed = self.tools.wallet.sign_share(request).await.explained();
        let tx = self.look_again_unless(id, signed)?;
        Ok(Some(Event::Joint(funding::Event::Signed(tx))))
    }

    /// Sends a message of a funding to the other side. One that is sent twice, as after a crash, is old news to him.
    pub(super) fn send_funding(&self, id: TradeId, message: &Message) -> Result<Option<Event>, ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let Some(escrow) = active.trade.escrow() else { return Ok(None) };
        let contract = escrow.contract();
        let recipient = contract.author(counterparty(active.trade.role()));
        self.tools.mailbox.send(&self.tools.identity, contract, recipient, message).explained()?;
        Ok(Some(Event::Joint(funding::Event::Sent)))
    }

    pub(super) async fn free_share(&self, script: ScriptBuf) -> Result<Option<Event>, ApiError> {
        self.tools.wallet.free_share(script).await.explained()?;
        Ok(Some(Event::Joint(funding::Event::Ended)))
    }

    pub(super) async fn spend_coin_back(&self, id: TradeId, script: ScriptBuf) -> Result<Option<Event>, ApiError> {
        let replaces = self.trades.get(&id).is_some_and(|active| active.trade.gives_up());
        self.tools.wallet.spend_back(script, replaces).await.explained()?;
        tracing::info!(trade = %id, "a coin is spent back: what was signed for this trade can never confirm");
        Ok(Some(Event::Joint(funding::Event::Ended)))
    }

    /// Asks the chain about the other side's coins, once at each height, beside everything else: a peer's words must not hold
    /// up other trades.
    pub(super) fn look_up(&mut self, id: TradeId, theirs: Contribution) -> Result<Option<Event>, ApiError> {
        let active = self.trades.get_mut(&id).ok_or_else(|| not_mine(id))?;
        let tip = active.trade.view().chain().tip;
        let is_known = active.looked.as_ref().is_some_and(|(known, at)| (known, *at) == (&theirs, tip));
        if active.is_looking || is_known {
            return Ok(None);
        }
        active.is_looking = true;
        let (chain, wallet, looks) = (Arc::clone(&self.tools.chain), self.tools.wallet.clone(), self.looks.clone());
        tokio::spawn(async move {
            let said = match tokio::time::timeout(LOOK_TIMEOUT, look(&*chain, &wallet, &theirs)).await {
                Ok(said) => said,
                Err(_) => Err(ApiError::new(
                    Code::ChainUnreachable,
                    "the chain does not tell of the other's coins in time",
                    "it is tried again",
                )),
            };
            // A trader that is gone asks anew when it is back.
            let _ = looks.send(Look { trade: id, theirs, tip, said }).await;
        });
        Ok(None)
    }

    pub(super) async fn on_look(&mut self, look: Look) {
        let Look { trade: id, theirs, tip, said } = look;
        let Some(active) = self.trades.get_mut(&id) else { return };
        active.is_looking = false;
        let outcome = match said {
            Ok((states, highest)) => {
                active.looked = Some((theirs.clone(), tip));
                self.handle(id, Event::Joint(funding::Event::Looked { theirs, states, highest })).await
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => self.end_problem(id, |with| with == Trouble::Look),
            Err(error) => self.note_problem(id, Trouble::Look, error.to_string()),
        }
    }

    /// Takes in what the other side says of a funding. Of anybody else it is none.
    pub(super) async fn hear_funding(&mut self, id: TradeId, from: Option<Role>, event: funding::Event) {
        let Some(active) = self.trades.get(&id) else { return };
        if from != Some(counterparty(active.trade.role())) || active.trade.role() == Role::Arbiter {
            tracing::warn!(trade = %id, "a message of a funding came from somebody else than the other side; it is dropped");
            return;
        }
        // After a restart all that was ever said comes again.
        if let Err(error) = self.handle(id, Event::Joint(event)).await {
            tracing::debug!(%error, trade = %id, "a message of a funding is not taken");
        }
    }

    /// What failed after a look is tried again with the next one, and not at the next block only.
    fn look_again_unless<T>(&mut self, id: TradeId, done: Result<T, ApiError>) -> Result<T, ApiError> {
        if let (Err(_), Some(active)) = (&done, self.trades.get_mut(&id)) {
            active.looked = None;
        }
        done
    }

    fn own_output(&self, id: TradeId) -> Result<(ScriptBuf, Role), ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let terms = active.trade.joint_terms().ok_or_else(|| not_mine(id))?;
        Ok((terms.output(terms.role).script_pubkey.clone(), terms.role))
    }
}

/// Asks the own chain and wallet about coins.
async fn look(
    chain: &dyn ChainBackend,
    wallet: &WalletHandle,
    theirs: &Contribution,
) -> Result<(Vec<InputState>, u64), ApiError> {
    let estimate = chain.fee_rate(FEE_TARGET_BLOCKS).await.explained()?.to_sat_per_vb_ceil().max(1);
    let owned = wallet.owns(theirs.inputs.iter().map(funding::Input::script).collect()).await.explained()?;
    let mut states = Vec::with_capacity(theirs.inputs.len());
    for (coin, ours) in theirs.inputs.iter().zip(owned) {
        let found = chain.outpoint(coin.outpoint.0, coin.script(), coin.height).await.explained()?;
        states.push(match found {
            OutpointStatus::Unknown => InputState::Unknown,
            OutpointStatus::Unspent { output: _, height: None } => InputState::Unconfirmed,
            OutpointStatus::Unspent { output, height: Some(_) } => InputState::Unspent { output, ours },
            OutpointStatus::Spent { by, spent_height, .. } => {
                let tip = chain.tip().await.explained()?.height;
                let depth = spent_height.map_or(0, |height| tip.saturating_add(1).saturating_sub(height));
                InputState::Spent { by: by.compute_txid(), depth }
            }
        });
    }
    Ok((states, highest_feerate(estimate)))
}

fn label(id: TradeId) -> String {
    format!("escrow of trade {}", id.short())
}
