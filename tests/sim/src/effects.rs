//! Performing what a trade's machine asks for, as `exchange-node` does in `trader/effects.rs`: what the machine knows is saved
//! before every effect. Everything here may be done twice.

use bitcoin::Transaction;
use bitcoin::key::Keypair;
use exchange_ledger::body::{Accept, Body, Cancel, Release};
use exchange_ledger::ids::TradeId;
use exchange_ledger::ledger::OfferStanding;
use exchange_ledger::mail::Message;
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{Effect, Escrow, Event, Phase, Role, Seat, Trade, tweak_arbiter_pair};

use crate::disk::Private;
use crate::flaw::Flaw;
use crate::node::Node;
use crate::people::SALT;
use crate::shared::Shared;

impl Node {
    /// Performs one effect and returns what the machine must hear of it. What the machine knows is kept first.
    pub fn perform(&mut self, id: TradeId, effect: Effect, shared: &mut Shared) -> Option<Event> {
        let trade = self.mind.as_ref()?.trades.get(&id)?;
        let local = trade.local().clone();
        let is_kept = local.funding_tx.is_some() || local.negotiation.has_chosen();
        let is_promised = is_kept || effect.sets_coins_aside();
        let holds_money = is_promised || trade.view().funding().is_some();
        let mind = self.mind.as_mut()?;
        if let Some(pin) = mind.pins.get_mut(&id) {
            pin.committed |= holds_money;
        }
        let pin = mind.pins.get(&id).cloned();
        let saved = {
            let private = self.disk.private();
            private.locals.get(&id) == Some(&local) && private.pins.get(&id) == pin.as_ref()
        };
        if !saved {
            let write = |private: &mut Private| {
                private.locals.insert(id, local);
                private.pins.extend(pin.map(|pin| (id, pin)));
            };
            self.disk.write(write).ok()?;
        }
        let trade = self.mind.as_ref()?.trades.get(&id)?;
        match effect {
            Effect::Persist(_) => None, // done above, and before everything else too
            Effect::Watch { .. } => {
                let escrow = trade.escrow()?.clone();
                shared.chain.know(&escrow);
                let facts = self.mind.as_ref()?.view.facts(&escrow);
                let known = self.mind.as_ref()?.trades.get(&id)?.view().chain() == &facts;
                (!known).then_some(Event::Chain(facts))
            }
            Effect::Accept => self.accept_bid(id, shared),
            Effect::Publish(body) => self.publish_about(id, &body, shared),
            Effect::SendDetails => {
                self.send_details(id, shared);
                None
            }
            Effect::BuildFunding { script, amount, feerate: _ } => self.fund(id, script, amount, shared),
            Effect::ChooseCoins { output, feerate } => self.choose_coins(id, &output, feerate, shared),
            Effect::LookUpCoins(theirs) => self.look_up_coins(id, theirs),
            Effect::SignFunding(draft) => self.sign_funding(id, &draft, shared),
            Effect::SendProposal(proposal) => self.send_funding(id, &Message::FundingProposal(proposal), shared),
            Effect::SendAnswer(answer) => self.send_funding(id, &Message::FundingAnswer(answer), shared),
            Effect::FreeCoins { script } => self.free_coins(&script, shared),
            Effect::SpendCoinBack { script } => {
                let replaces = trade.gives_up();
                self.spend_coin_back(&script, replaces, shared)
            }
            Effect::SignHalf { vaults, fee, to } => {
                let half = trade.escrow()?.half(&vaults, fee, to, &self.person.key).ok()?;
                let body = match to {
                    Role::Buyer => Body::Release(Release { trade: id, payout: half }),
                    Role::Seller | Role::Arbiter => Body::Cancel(Cancel { trade: id, refund: Some(half) }),
                };
                self.publish_about(id, &body, shared)
            }
            Effect::Complete { half, to } => {
                Some(Event::SpendBuilt(trade.escrow()?.complete(&half, to, &self.person.key).ok()?.tx))
            }
            // No seller of these worlds replies: what only two nodes that are online can do together is told in stories.
            Effect::Ask { .. } => Some(Event::Unanswered),
            Effect::Reply { .. } => None,
            Effect::BuildTimeout { vault, coin, fee } => {
                let draft = trade.escrow()?.signed_timeout(vault, coin, fee, &self.person.key).ok()?;
                Some(Event::SpendBuilt(draft.tx))
            }
            Effect::CompleteRuling { .. } if shared.flaw == Some(Flaw::LeavesRulings) => None,
            Effect::CompleteRuling { seat, ruling } => {
                let draft = trade.escrow()?.complete_ruling(seat, &ruling, trade.role(), &self.person.key).ok()?;
                Some(Event::SpendBuilt(draft.tx))
            }
            Effect::CompleteExtension { seat, extend } => {
                let draft = trade.escrow()?.complete_extend(seat, &extend, trade.role(), &self.person.key).ok()?;
                Some(Event::SpendBuilt(draft.tx))
            }
            Effect::SignRuling { seat, vaults, to_buyer, to_seller } => {
                let (escrow, pair) = self.case(id, seat)?;
                let ruling = escrow.rule(seat, &vaults, (to_buyer, to_seller), &pair).ok()?;
                shared.checks.ruled(self, seat, &ruling);
                self.publish_about(id, &Body::Ruling(ruling), shared)
            }
            Effect::SignExtension { seat, vaults, fee } => {
                let (escrow, pair) = self.case(id, seat)?;
                let extend = escrow.extend(seat, &vaults, fee, &pair).ok()?;
                self.publish_about(id, &Body::Extend(extend), shared)
            }
            Effect::Broadcast(tx) => {
                self.broadcast(id, &tx, shared);
                None
            }
        }
    }

    /// Returns the escrow of a case, and the pair by which the user signs in it as its arbiter.
    fn case(&self, id: TradeId, seat: Seat) -> Option<(Escrow, Keypair)> {
        let escrow = self.mind.as_ref()?.trades.get(&id)?.escrow()?.clone();
        let pair = tweak_arbiter_pair(escrow.contract(), &self.person.key);
        (escrow.arbiter_key(seat) == Some(pair.x_only_public_key().0)).then_some((escrow, pair))
    }

    fn broadcast(&self, id: TradeId, tx: &Transaction, shared: &mut Shared) {
        let Some(trade) = self.mind.as_ref().and_then(|mind| mind.trades.get(&id)) else { return };
        shared.checks.broadcast(self, trade, tx);
        let txid = tx.compute_txid();
        if shared.chain.broadcast(tx).is_ok() {
            shared.trace.note(shared.agenda.now(), self.number, "broadcasts", txid.as_ref());
        }
    }

    /// Accepts a bid for an own offer, under the conditions of the node.
    fn accept_bid(&mut self, id: TradeId, shared: &mut Shared) -> Option<Event> {
        let mind = self.mind.as_ref()?;
        let trade = mind.trades.get(&id)?;
        let (bid, role, height) = (trade.bid().clone(), trade.role(), mind.view.tip());
        let (offer, _) = self.ledger.offer(&bid.offer_id).ok()??;
        if self.ledger.offer_standing(&offer).ok()? != OfferStanding::Open || bid.offer.expires <= self.now(shared) {
            return None;
        }
        // An acceptance counts only in the log of its offer.
        let own_log = self.disk.private().own_head.map(|head| head.log);
        if own_log != Some(offer.header().log) {
            return None;
        }
        if bid.locked_by(role) > Sats::ZERO {
            let owed = mind.trades.values().filter(|trade| owes_a_coin(trade)).count();
            if self.spare_coins(shared).len() <= owed {
                return None;
            }
        }
        let accept = Accept { trade: id, offer: bid.offer_id, height, party: self.person.party.clone() };
        // His details are kept first. What the machine asks for now it asks for again after the next event.
        let prepared = Event::Prepared { salt: SALT, details: self.person.details.clone() };
        let _ = self.mind.as_mut()?.trades.get_mut(&id)?.handle(prepared);
        let heard = self.publish_about(id, &Body::Accept(accept), shared);
        shared.checks.accepted(self, id, heard.as_ref());
        heard
    }

    fn publish_about(&mut self, id: TradeId, body: &Body, shared: &mut Shared) -> Option<Event> {
        self.publish(body, shared)?;
        self.look_again(id, shared)
    }

    /// Reads a trade anew; returns what its machine must hear.
    pub fn look_again(&mut self, id: TradeId, shared: &Shared) -> Option<Event> {
        let known = self.look_at(id, shared.flaw)?;
        self.pin(id, known.pin.clone());
        Some(known.event())
    }
}

/// Tells whether the user has agreed to put something into an escrow for which no coin is set aside yet.
fn owes_a_coin(trade: &Trade) -> bool {
    let local = trade.local();
    let is_open = trade.phase() == Phase::Agreed && local.funding_tx.is_none() && !local.negotiation.has_chosen();
    is_open && trade.bid().locked_by(trade.role()) > Sats::ZERO
}
