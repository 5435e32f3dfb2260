//! A funding from two wallets, between the machine, the wallet, the chain and the mail: what `exchange-node` decides in
//! `trader/joint.rs`.

use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::mail::Message;
use exchange_ledger::trade::funding::{self, Contribution, Input, InputState, highest_feerate};
use exchange_ledger::trade::{Event, Phase, Role, Trade, counterparty};

use crate::node::{Mind, Node};
use crate::shared::Shared;
use crate::trader::FEERATE;

impl Node {
    /// Asks the chain about the other side's coins, once at each height.
    pub fn look_up_coins(&mut self, id: TradeId, theirs: Contribution) -> Option<Event> {
        let (mind, mine) = (self.mind.as_mut()?, self.person.party.destination.script());
        let asked = (theirs, mind.trades.get(&id)?.view().chain().tip);
        if mind.looked.get(&id) == Some(&asked) {
            return None;
        }
        let states = asked.0.inputs.iter().map(|coin| state_of(coin, mind, coin.script() == *mine)).collect();
        let theirs = asked.0.clone();
        mind.looked.insert(id, asked);
        Some(Event::Joint(funding::Event::Looked { theirs, states, highest: highest_feerate(FEERATE) }))
    }

    /// Sends a message of a funding to the other side.
    pub fn send_funding(&self, id: TradeId, message: &Message, shared: &mut Shared) -> Option<Event> {
        let message = if self.honest { message.clone() } else { self.spoil(message, shared) };
        self.send_message(id, &message, shared)?;
        Some(Event::Joint(funding::Event::Sent))
    }

    /// Takes in what the other side says of a funding. Of anybody else it is none.
    pub fn hear_funding(&mut self, id: TradeId, from: &AuthorId, event: funding::Event, shared: &mut Shared) {
        let Some(trade) = self.mind.as_ref().and_then(|mind| mind.trades.get(&id)) else { return };
        let sender = trade.escrow().and_then(|escrow| escrow.contract().role_of(from));
        if trade.role() != Role::Arbiter && sender == Some(counterparty(trade.role())) {
            let _ = self.hear(id, Event::Joint(event), shared); // refused when it is old news
        }
    }
}

/// Tells whether a trade waits for what the other side says of a funding.
pub fn awaits_funding(trade: &Trade) -> bool {
    trade.joint_terms().is_some() && trade.phase() == Phase::Agreed && !trade.local().negotiation.has_ended()
}

fn state_of(coin: &Input, mind: &Mind, ours: bool) -> InputState {
    let outpoint = coin.outpoint.0;
    match (mind.view.output(&outpoint), mind.view.spender(&outpoint)) {
        (None, _) => InputState::Unknown,
        (Some((_, None)), None) => InputState::Unconfirmed,
        (Some((output, Some(_))), None) => InputState::Unspent { output: output.clone(), ours },
        (Some(_), Some((by, height))) => {
            let depth = height.map_or(0, |height| (mind.view.tip() + 1).saturating_sub(height));
            InputState::Spent { by, depth }
        }
    }
}
