//! A funding from two wallets: coins are chosen, looked up, signed and sent as the trade's machine asks.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::{FeeRate, ScriptBuf, TxOut};
use exchange_api::{ApiError, Code};
use exchange_ledger::ids::TradeId;
use exchange_ledger::mail::Message;
use exchange_ledger::trade::funding::{self, Contribution, Draft, Input, InputState, highest_feerate};
use exchange_ledger::trade::{Event, Role, counterparty};

use super::act::FEE_TARGET_BLOCKS;
use super::drive::Trouble;
use super::{Trader, not_mine};
use crate::chain::{AskedOutput, ChainBackend, OutpointStatus};
use crate::errors::ExplainResult;
use crate::wallet::{ShareRequest, ShareSigning, WalletHandle};

/// How many answers about coins wait for the trader; whoever looked waits beyond that.
pub(super) const LOOKS: usize = 64;
/// How long the chain is asked about the other side's coins at one tip: a peer who states a false height makes a light client
/// read old blocks, and no longer than this. It goes on from there at the next tip.
const LOOK_TIMEOUT: Duration = Duration::from_secs(600);

/// What the chain was asked about the other side's coins.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    is_under_way: bool,
    /// What was asked last, at which tip, whatever the answer was.
    last: Option<(Contribution, u32)>,
}

impl Inquiry {
    /// Begins to ask about coins at a tip. Tells whether it is time: not while it is under way, nor once it was done at this tip, in
    /// vain too. Or a peer could have old blocks read without end.
    fn begin(&mut self, theirs: &Contribution, tip: u32) -> bool {
        let is_done = self.last.as_ref().is_some_and(|(known, at)| (known, *at) == (theirs, tip));
        let begins = !self.is_under_way && !is_done;
        self.is_under_way |= begins;
        begins
    }

    fn end(&mut self, theirs: Contribution, tip: u32) {
        (self.is_under_way, self.last) = (false, Some((theirs, tip)));
    }

    /// Lets it be asked again at the same tip: the answer could not be used.
    fn repeat(&mut self) {
        self.last = None;
    }
}

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
        if !active.inquiry.begin(&theirs, tip) {
            return Ok(None);
        }
        let (chain, wallet, looks) = (Arc::clone(&self.tools.chain), self.tools.wallet.clone(), self.looks.clone());
        tokio::spawn(async move {
            let said = match tokio::time::timeout(LOOK_TIMEOUT, look(&*chain, &wallet, &theirs)).await {
                Ok(said) => said,
                Err(_) => Err(ApiError::new(
                    Code::ChainUnreachable,
                    "the chain does not tell of the other's coins in time",
                    "it goes on at the next block",
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
        active.inquiry.end(theirs.clone(), tip);
        let outcome = match said {
            Ok((states, highest)) => {
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
            active.inquiry.repeat();
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
    check_reach(chain.reach(), chain.tip().await.explained()?.height, theirs)?;
    let estimate = chain.fee_rate(FEE_TARGET_BLOCKS).await.explained()?.to_sat_per_vb_ceil().max(1);
    let owned = wallet.owns(theirs.inputs.iter().map(funding::Input::script).collect()).await.explained()?;
    let ask = |coin: &Input| AskedOutput { outpoint: coin.outpoint.0, script: coin.script(), from_height: coin.height };
    let found = chain.outpoints(&theirs.inputs.iter().map(ask).collect::<Vec<_>>()).await.explained()?;
    let tip = chain.tip().await.explained()?.height;
    let found = theirs.inputs.iter().zip(found).zip(owned);
    let states = found.map(|((coin, found), ours)| state_of(coin, found, ours, tip)).collect();
    Ok((states, highest_feerate(estimate)))
}

/// Refuses coins for which this node would have to read too many blocks: their owner can state any height.
fn check_reach(reach: Option<u32>, tip: u32, theirs: &Contribution) -> Result<(), ApiError> {
    let oldest = tip.saturating_sub(reach.unwrap_or(tip));
    let Some(old) = theirs.inputs.iter().find(|coin| coin.height < oldest) else { return Ok(()) };
    let message = format!(
        "the other side brings coin {} from block {}; a light client looks for coins of others from block {oldest} on",
        old.outpoint.0, old.height
    );
    let hint = "call the trade off, and agree anew when the other has sent his coins to himself; or start your node \
                with --core-cookie or --electrum-server";
    Err(ApiError::new(Code::NotAllowed, message, hint))
}

/// Returns what the chain says of a coin. One that lies lower than its owner states is taken for unknown, whoever sees it: once it
/// is spent, not every chain would tell, and what was signed would never count as dead.
fn state_of(coin: &Input, found: OutpointStatus, ours: bool, tip: u32) -> InputState {
    match found {
        OutpointStatus::Unspent { output: _, height: Some(height) } if height < coin.height => InputState::Unknown,
        OutpointStatus::Unknown => InputState::Unknown,
        OutpointStatus::Unspent { output: _, height: None } => InputState::Unconfirmed,
        OutpointStatus::Unspent { output, height: Some(_) } => InputState::Unspent { output, ours },
        OutpointStatus::Spent { by, spent_height, .. } => {
            let depth = spent_height.map_or(0, |height| tip.saturating_add(1).saturating_sub(height));
            InputState::Spent { by: by.compute_txid(), depth }
        }
    }
}

fn label(id: TradeId) -> String {
    format!("escrow of trade {}", id.short())
}

#[cfg(test)]
mod tests {
    use bitcoin::{Amount, OutPoint};
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::SampleTrade;
    use exchange_ledger::wire::{List, Outpoint};

    use super::*;

    /// Returns what brings a coin from each of these heights.
    fn coins(heights: &[u32]) -> Contribution {
        let party = SampleTrade::new(Side::Sell).contract().buyer_party;
        let coin = |height: &u32| Input { outpoint: Outpoint(OutPoint::null()), key: party.trade_key, height: *height };
        let inputs = List::new(heights.iter().map(coin).collect()).unwrap();
        Contribution { inputs, change: party.destination.clone() }
    }

    #[test]
    fn coins_are_looked_up_once_at_each_tip_in_vain_too() {
        let (theirs, others) = (coins(&[7]), coins(&[8]));
        let mut inquiry = Inquiry::default();
        assert!(inquiry.begin(&theirs, 100));
        assert!(!inquiry.begin(&theirs, 100) && !inquiry.begin(&theirs, 101), "it is under way");
        inquiry.end(theirs.clone(), 100);
        assert!(!inquiry.begin(&theirs, 100), "whatever the answer was");
        assert!(inquiry.begin(&theirs, 101));
        inquiry.end(theirs.clone(), 101);
        assert!(inquiry.begin(&others, 101));
        inquiry.end(others.clone(), 101);
        inquiry.repeat();
        assert!(inquiry.begin(&others, 101), "what failed after the answer is tried again with the same");
    }

    #[test]
    fn no_height_of_a_peer_makes_a_light_client_read_the_whole_chain() {
        for (reach, heights, is_fine) in [
            (Some(50), vec![950, 1_000], true),
            (Some(50), vec![1_000, 949], false),
            (Some(50), vec![0], false),
            (Some(2_000), vec![0], true),
            (None, vec![0], true),
        ] {
            let checked = check_reach(reach, 1_000, &coins(&heights));
            assert_eq!(checked.is_ok(), is_fine, "{reach:?} {heights:?}: {checked:?}");
        }
    }

    #[test]
    fn a_coin_that_is_spent_is_as_dead_as_what_spends_it_is_deep() {
        let (by, coin) = (SampleTrade::new(Side::Sell).funding(1), coins(&[900]).inputs[0]);
        let output = TxOut { value: Amount::ONE_SAT, script_pubkey: ScriptBuf::new() };
        let spent = |spent_height| OutpointStatus::Spent {
            output: output.clone(),
            height: Some(900),
            by: Box::new(by.clone()),
            spent_height,
        };
        for (spent_height, depth) in [(None, 0), (Some(1_000), 1), (Some(995), 6)] {
            let state = state_of(&coin, spent(spent_height), false, 1_000);
            assert_eq!(state, InputState::Spent { by: by.compute_txid(), depth });
        }
        let unspent = |height| state_of(&coin, OutpointStatus::Unspent { output: output.clone(), height }, true, 1_000);
        for height in [900, 901] {
            assert_eq!(unspent(Some(height)), InputState::Unspent { output: output.clone(), ours: true });
        }
        assert_eq!(unspent(Some(899)), InputState::Unknown, "it is stated higher than it was made");
        assert_eq!(unspent(None), InputState::Unconfirmed);
        assert_eq!(state_of(&coin, OutpointStatus::Unknown, false, 1_000), InputState::Unknown);
    }
}
