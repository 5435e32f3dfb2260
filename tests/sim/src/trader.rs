//! What a node does about its user's trades: the real machine of each trade decides, and its effects are performed
//! ([`crate::effects`]) against the simulated disk, wallet, chain and network. The order of things is that of `exchange-node`'s
//! `trader`: an effect that fails holds up no other, and everything owed is asked for again.

use std::collections::VecDeque;

use exchange_ledger::body::Body;
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::ledger::OfferStanding;
use exchange_ledger::record::Record;
use exchange_ledger::storage::Storage;
use exchange_ledger::trade::pins::{self, Known, Pin};
use exchange_ledger::trade::{Command, Event, Facts, Phase, Refusal, Role, Seat, Trade};

use crate::flaw::Flaw;
use crate::node::Node;
use crate::people::{Person, SALT};
use crate::shared::Shared;

/// Events that one event may lead to, one after the other.
const MAX_EFFECTS: usize = 64;
/// Open bids for own offers that are looked at.
pub const MAX_OPEN_BIDS: usize = 256;
/// Bids for one offer that are looked at.
const MAX_BIDS: usize = 256;
/// Trades that are read at the start.
const MAX_TRADES: usize = 1000;
/// What people pay for a block, in sat/vB.
pub const FEERATE: u64 = 10;

impl Node {
    /// Looks at all trades of the user again.
    pub fn reload(&mut self, shared: &mut Shared) {
        let mut trades: Vec<TradeId> = self.disk.private().locals.keys().copied().collect();
        match self.ledger.trades(Some(&self.person.author), MAX_TRADES) {
            Ok(known) => trades.extend(known),
            Err(error) => shared.checks.fail(format!("node {} cannot read its trades: {error}", self.number)),
        }
        trades.sort_unstable();
        trades.dedup();
        for trade in trades {
            self.refresh(trade, shared);
        }
    }

    /// Returns the trades that a record says something about.
    pub fn affected_by(&self, record: &Record, body: &Body) -> Vec<TradeId> {
        match body {
            Body::Take(_) => vec![record.id().into()],
            Body::Accept(accept) => [vec![accept.trade], self.bids_of(&accept.offer)].concat(),
            Body::Revoke(revoke) => self.bids_of(&revoke.offer),
            Body::Offer(_) => self.bids_of(&record.id()),
            Body::Cancel(cancel) => vec![cancel.trade],
            Body::Funded(funded) => vec![funded.trade],
            Body::PaymentSent(sent) => vec![sent.trade],
            Body::Release(release) => vec![release.trade],
            Body::Closed(closed) => vec![closed.trade],
            Body::Dispute(dispute) => vec![dispute.trade],
            Body::Ruling(ruling) => vec![ruling.trade],
            Body::Extend(extend) => vec![extend.trade],
            // It may be that of bids that came before it.
            Body::ArbiterAdvert(_) | Body::GroupAdvert(_) => self.undriven(),
            Body::GroupStep(_) | Body::Checkpoint(_) | Body::Heartbeat | Body::Stake(_) | Body::Unknown(_) => {
                Vec::new()
            }
        }
    }

    /// Returns the trades of the user that the ledger knows and the node does not drive.
    fn undriven(&self) -> Vec<TradeId> {
        let mut trades = self.ledger.trades(Some(&self.person.author), MAX_TRADES).unwrap_or_default();
        trades.retain(|id| self.mind.as_ref().is_some_and(|mind| !mind.trades.contains_key(id)));
        trades
    }

    fn bids_of(&self, offer: &RecordId) -> Vec<TradeId> {
        self.ledger.bids(offer, MAX_BIDS, MAX_BIDS).unwrap_or_default()
    }

    /// Returns what this node takes for the truth about a trade: by the ledger, and by what it has pinned.
    pub fn look_at(&self, id: TradeId, flaw: Option<Flaw>) -> Option<Known> {
        let mind = self.mind.as_ref()?;
        let fundings = mind.trades.get(&id).map(|trade| trade.view().chain().fundings.as_slice());
        let mut known = pins::look(&self.ledger, id, mind.pins.get(&id), fundings.unwrap_or_default()).ok()??;
        if matches!(flaw, Some(Flaw::TrustsStrangers | Flaw::TrustsAnyRuling)) {
            for about in self.ledger.storage().about(&id.into(), None, MAX_BIDS).ok()? {
                match self.ledger.record(&about).ok()?.map(|record| Body::decode(&record)) {
                    Some(Ok(Body::Cancel(_))) if flaw == Some(Flaw::TrustsStrangers) => {
                        known.facts.seller_cancel = true;
                    }
                    Some(Ok(Body::Ruling(ruling))) if flaw == Some(Flaw::TrustsAnyRuling) => {
                        known.facts.rulings.push((Seat::First, ruling));
                    }
                    Some(_) | None => {}
                }
            }
        }
        Some(known)
    }

    /// Notes the records on which a trade rests.
    pub fn pin(&mut self, id: TradeId, pin: Option<Pin>) {
        if let (Some(mind), Some(pin)) = (self.mind.as_mut(), pin) {
            mind.pins.insert(id, pin);
        }
    }

    /// Returns which bid for an offer this node takes for the winner.
    pub fn winner(&self, offer: &Record, flaw: Option<Flaw>) -> Option<TradeId> {
        if flaw == Some(Flaw::WinnerByArrival) {
            return self.mind.as_ref()?.first_accepted.get(&offer.id()).copied();
        }
        match self.ledger.offer_standing(offer).ok()? {
            OfferStanding::Accepted(trade) => Some(trade),
            OfferStanding::Open | OfferStanding::Withdrawn => None,
        }
    }

    /// Reads a trade anew and hands it to its machine, made first if need be.
    pub fn refresh(&mut self, id: TradeId, shared: &mut Shared) {
        let Some(mind) = self.mind.as_mut() else { return };
        if mind.foreign.contains(&id) {
            return;
        }
        if let Ok((bid, _)) = self.ledger.bid(id)
            && bid.role_of(&self.person.author).is_none()
        {
            mind.foreign.insert(id);
            return;
        }
        let Some(mut records) = self.look_at(id, shared.flaw) else { return };
        self.keep_agreement(&mut records);
        let Some(role) = records.bid.role_of(&self.person.author) else { return };
        let Some(mind) = self.mind.as_mut() else { return };
        if !mind.trades.contains_key(&id) {
            let maker = records.bid.maker == self.person.author;
            let waiting = mind.trades.values().filter(|t| t.is_maker() && t.phase() == Phase::Bid).count();
            let worth = !records.facts.void && !records.facts.cancelled() && waiting < MAX_OPEN_BIDS;
            if maker && records.contract.is_none() && !worth {
                return;
            }
            let local = self.disk.private().locals.get(&id).cloned().unwrap_or_default();
            let trade = match records.bid.seat_of(&self.person.author) {
                Some(_) if !self.is_case(&records) => return,
                Some(seat) => Trade::seated(records.bid.clone(), seat),
                None => Trade::new(records.bid.clone(), role, maker, local),
            };
            let Some(mind) = self.mind.as_mut() else { return };
            mind.trades.insert(id, trade);
            // Nobody here is alone for long before his deadlines: the world heals and is still before it ends.
            let _ = self.hear(id, Event::Compared, shared);
            // A maker has kept his before he accepted, and an arbiter has none.
            if role != Role::Arbiter && (!maker || records.contract.is_some()) {
                let details = self.person.details.clone();
                let _ = self.hear(id, Event::Prepared { salt: SALT, details }, shared);
            }
        }
        shared.checks.facts(self, &records);
        self.pin(id, records.pin.clone());
        // Only commands and details are ever refused.
        let _ = self.hear(id, records.event(), shared);
    }

    /// Sees the chain as it is now.
    pub fn see_chain(&mut self, shared: &mut Shared) {
        let Some(mind) = self.mind.as_mut() else { return };
        mind.view = shared.chain.view().clone();
        let ids: Vec<TradeId> = mind.trades.keys().copied().collect();
        for id in ids {
            self.look(id, shared);
        }
    }

    /// Tries again everything that is still owed.
    pub fn retry(&mut self, shared: &mut Shared) {
        let Some(mind) = &self.mind else { return };
        let open = mind.trades.iter().filter(|(_, trade)| !trade.phase().is_final() || trade.holds_coins());
        let ids: Vec<TradeId> = open.map(|(id, _)| *id).collect();
        for id in ids {
            self.look(id, shared);
        }
    }

    fn look(&mut self, id: TradeId, shared: &mut Shared) {
        let Some(mind) = &self.mind else { return };
        let escrow = mind.trades.get(&id).and_then(Trade::escrow);
        let facts = match escrow {
            Some(escrow) => mind.view.facts(escrow),
            None => exchange_ledger::trade::ChainFacts { tip: mind.view.tip(), synced: true, ..Default::default() },
        };
        let _ = self.hear(id, Event::Chain(facts), shared);
    }

    /// Does what the user asks for.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn command(&mut self, id: TradeId, command: Command, shared: &mut Shared) -> Result<(), Refusal> {
        self.hear(id, Event::Command(command), shared)
    }

    /// Takes payment details in, as they were in an envelope that is kept.
    pub fn hear_details(&mut self, id: TradeId, salt: [u8; 32], details: String, shared: &mut Shared) {
        let _ = self.hear(id, Event::Details { salt, details }, shared);
    }

    /// Hands an event to a trade's machine and performs what it asks for.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn hear(&mut self, id: TradeId, event: Event, shared: &mut Shared) -> Result<(), Refusal> {
        let outer = self.mind.as_mut().and_then(|mind| mind.acting.replace(id));
        let outcome = self.handle_all(id, event, shared);
        if let Some(mind) = self.mind.as_mut() {
            mind.acting = outer;
        }
        outcome
    }

    fn handle_all(&mut self, id: TradeId, event: Event, shared: &mut Shared) -> Result<(), Refusal> {
        let mut events = VecDeque::from([event]);
        for number in 0..MAX_EFFECTS {
            let Some(event) = events.pop_front() else { break };
            let Some(trade) = self.mind.as_mut().and_then(|mind| mind.trades.get_mut(&id)) else { break };
            let shown = trade.view().chain().fundings.clone();
            let asked = match trade.handle(event) {
                Ok(asked) => asked,
                Err(refusal) if number == 0 => return Err(refusal),
                Err(_) => continue, // what was looked up or signed meanwhile is not wanted any more
            };
            let is_shown_more = trade.view().chain().fundings != shown;
            for effect in asked {
                events.extend(self.perform(id, effect, shared));
            }
            if is_shown_more {
                // What was signed about these outputs may have come first: now it is worth a pin.
                events.extend(self.look_again(id, shared));
            }
        }
        let over = |trade: &Trade| trade.phase() == Phase::Void && trade.is_maker() && trade.view().contract.is_none();
        if let Some(mind) = self.mind.as_mut()
            && mind.trades.get(&id).is_some_and(over)
        {
            mind.trades.remove(&id); // bids that came to nothing are no trades of the user's
        }
        Ok(())
    }
}

/// Tells whether the facts of a trade are void of anything that a stranger said: each must be borne out by a record of the
/// party whom it belongs to.
pub fn borne_out(node: &Node, records: &Known) -> bool {
    let Facts { buyer_cancel, seller_cancel, payment_sent, .. } = &records.facts;
    let trade = RecordId::from(records.bid.trade);
    let says = |who, is: fn(&Body) -> bool| {
        let about = node.ledger.storage().about(&trade, Some(&who), MAX_BIDS).unwrap_or_default();
        let about = about.iter().filter_map(|id| node.ledger.record(id).ok().flatten());
        let pinned = records.pin.iter().flat_map(|pin| pin.facts.iter().cloned());
        let mut said = about.chain(pinned).filter(|record| record.author() == who);
        said.any(|record| Body::decode(&record).is_ok_and(|body| is(&body)))
    };
    let rules = |seat, is: fn(&Body) -> bool| {
        let arbiter = records.contract.as_ref().and_then(|contract| contract.arbiter(seat));
        arbiter.is_some_and(|arbiter| says(arbiter.author, is))
    };
    let (buyer, seller) = (records.bid.buyer(), records.bid.seller());
    (!buyer_cancel || says(buyer, |body| matches!(body, Body::Cancel(_))))
        && (!seller_cancel || says(seller, |body| matches!(body, Body::Cancel(_))))
        && (!payment_sent || says(buyer, |body| matches!(body, Body::PaymentSent(_))))
        && (records.facts.funded.is_none() || says(seller, |body| matches!(body, Body::Funded(_))))
        && (records.facts.buyer_funded.is_empty() || says(buyer, |body| matches!(body, Body::Funded(_))))
        && (records.facts.releases.is_empty() || says(seller, |body| matches!(body, Body::Release(_))))
        && records.facts.rulings.iter().all(|(seat, _)| rules(*seat, |body| matches!(body, Body::Ruling(_))))
        && records.facts.extensions.iter().all(|(seat, _)| rules(*seat, |body| matches!(body, Body::Extend(_))))
        && records.contract.as_ref().is_none_or(|contract| {
            let pinned = || records.pin.as_ref().map(|pin| pin.accept.clone());
            let accept = node.ledger.record(&contract.accept).ok().flatten().or_else(pinned);
            accept.is_some_and(|accept| accept.author() == records.bid.maker)
        })
}

/// Returns the person with an identity.
pub fn person_of(author: &exchange_ledger::ids::AuthorId) -> Option<u8> {
    (0..crate::people::PEOPLE).find(|number| Person::of(*number).author == *author)
}
