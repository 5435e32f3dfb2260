//! The cases of an arbiter: trades of others that are disputed, or can become so, in which this identity rules.
//!
//! Anybody can name any arbiter in trades that he makes up with himself, and dispute them. What he cannot make up is coins: so
//! a case counts once the chain shows that its escrow is funded. Before that it has one of a few places, until it was looked for
//! and another needs it, and no mailbox; and which of those that wait comes first depends on who agreed on it (see `crowd.rs`).

use std::collections::VecDeque;

use exchange_api::{ApiError, RuleTrade, TradeView};
use exchange_ledger::body::Body;
use exchange_ledger::frost::Decision;
use exchange_ledger::ids::TradeId;
use exchange_ledger::ledger::TradeError;
use exchange_ledger::record::Kind;
use exchange_ledger::storage::Storage;
use exchange_ledger::trade::pins::Known;
use exchange_ledger::trade::{Effect, Event, Role};
use exchange_store::StoreError;

use crate::chain::WatchRequest;
use crate::errors::ExplainResult;
use crate::trader::crowd::Crowd;
use crate::trader::{Active, Trader, not_mine, view};

/// How many open cases of one arbiter are driven that are funded: each has cost somebody the coins in its escrow.
const MAX_CASES: usize = 4096;
/// How many more that nothing shows to be funded yet: they are looked for together, and then make room for others.
const MAX_UNFUNDED: usize = 256;
/// How many more wait until there is room: a megabyte or two of ids.
const MAX_WAITING: usize = 16_384;
/// How many records are read at once.
const PAGE: usize = 512;

/// What is known of cases besides those that are driven.
#[derive(Debug)]
pub(super) struct Cases {
    /// Those that there was no room for.
    waiting: Crowd,
    /// Those driven that nothing showed to be funded when they were taken up, in that order.
    unfunded: VecDeque<TradeId>,
}

impl Default for Cases {
    fn default() -> Self {
        Self { waiting: Crowd::new(MAX_WAITING), unfunded: VecDeque::new() }
    }
}

impl Trader {
    /// Tells whether a trade in which this identity rules is driven: it was marked as paid, so that a dispute can open by
    /// itself, or a party calls for him. What is over for good is not, unless somebody disputed it: that is shown.
    pub(super) fn is_case(&self, known: &Known) -> bool {
        let seat = known.bid.seat_of(&self.tools.identity.author());
        let arbiter = known.contract.as_ref().and_then(|contract| contract.arbiter(seat?));
        // Whoever is named as a member without a share of the key has nothing to say.
        let has_key = arbiter.is_some_and(|arbiter| arbiter.members.is_empty() || self.part_of(arbiter).is_some());
        let is_over = || !known.facts.disputed() && known.end().is_some();
        has_key && (known.facts.disputed() || known.facts.payment_sent) && !is_over()
    }

    /// Makes room for a case that nothing shows to be funded yet. Without room it waits.
    pub(super) fn make_room_for(&mut self, id: TradeId, known: &Known) -> bool {
        if self.room() == 0 {
            self.cases.waiting.add(id, [known.bid.maker, known.bid.taker]);
            return false;
        }
        if self.cases.unfunded.len() >= MAX_UNFUNDED
            && let Some(at) = self.cases.unfunded.iter().position(|id| self.tracker.is_searched(id))
            && let Some(looked_at) = self.cases.unfunded.remove(at)
        {
            self.let_go(looked_at);
        }
        self.cases.unfunded.push_back(id);
        true
    }

    /// Returns how many more cases can be taken up, in the place of those that were looked for in vain too.
    fn room(&mut self) -> usize {
        let unfunded = |id: &TradeId| self.trades.get(id).is_some_and(|active| active.trade.view().funding().is_none());
        self.cases.unfunded.retain(unfunded);
        let open = self.trades.values().filter(|active| is_open(active)).count();
        let looked_for = self.cases.unfunded.iter().filter(|id| !self.tracker.is_searched(id)).count();
        MAX_UNFUNDED.saturating_sub(looked_for).min((MAX_CASES + MAX_UNFUNDED).saturating_sub(open))
    }

    /// Drops what is over for good and not to be shown, takes up cases that had to wait, and looks for those that nothing shows
    /// to be funded yet.
    pub(super) async fn attend_to_cases(&mut self) {
        let over = self.trades.iter().filter(|(_, active)| is_over(active)).map(|(id, _)| *id);
        for id in over.collect::<Vec<_>>() {
            self.let_go(id);
        }
        loop {
            let room = self.room();
            let next = self.cases.waiting.take(room);
            if next.is_empty() {
                break;
            }
            for id in next {
                self.refresh(id).await;
            }
        }
        let Some(watch) = &self.watch else { return };
        if let Some((scripts, from_height)) = self.tracker.due()
            && watch.try_send(WatchRequest { scripts, from_height }).is_err()
        {
            self.watch = None; // the chain is followed anew, for all of them
        }
    }

    /// Drives a case no more.
    fn let_go(&mut self, id: TradeId) {
        let Some(active) = self.trades.remove(&id) else { return };
        if let Some(escrow) = active.trade.escrow() {
            self.tools.mailbox.close_mailbox(escrow.contract());
        }
        self.tracker.forget(&id);
        self.juries.remove(&id);
    }

    /// Lets those trades of the ledger that can be cases of this identity wait for their turn: those that somebody disputes, and
    /// those that are marked as paid. Who never advertised himself has none.
    pub(super) fn find_cases(&mut self) -> Result<(), StoreError> {
        let (ledger, me) = (self.tools.keeper.ledger(), self.tools.identity.author());
        if ledger.storage().of_kind_by(Kind::ArbiterAdvert, &me, None, 1)?.is_empty() && !self.is_in_a_group() {
            return Ok(());
        }
        for kind in [Kind::Dispute, Kind::PaymentSent] {
            let mut after = None;
            loop {
                let page = ledger.storage().of_kind(kind, after.as_ref(), PAGE)?;
                after = page.last().copied();
                for place in &page {
                    let record = ledger.record(&place.id)?;
                    let trade = match record.map(|record| Body::decode(&record)) {
                        Some(Ok(Body::Dispute(dispute))) => dispute.trade,
                        Some(Ok(Body::PaymentSent(sent))) => sent.trade,
                        Some(_) | None => continue,
                    };
                    // Those that were funded are driven already, or over.
                    if self.trades.contains_key(&trade) || self.tools.private.trade(&trade)?.is_some() {
                        continue;
                    }
                    match ledger.bid(trade) {
                        Ok((bid, _)) if bid.seat_of(&me).is_some() => {
                            self.cases.waiting.add(trade, [bid.maker, bid.taker]);
                        }
                        Err(TradeError::Storage(error)) => return Err(error.into()),
                        Ok(_) | Err(_) => {} // not his, or void
                    }
                }
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Rules in a case, or shows what a ruling would give to whom.
    pub(super) async fn rule(&mut self, request: RuleTrade) -> Result<TradeView, ApiError> {
        let RuleTrade { trade: id, verdict, dry_run, .. } = request;
        let feerate = self.feerate().await?;
        let event = Event::Rule { verdict, feerate };
        if !dry_run && !self.is_jury(id) {
            self.handle(id, event).await?;
            return self.show(id);
        }
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let asked = active.trade.clone().handle(event).explained()?;
        if !dry_run {
            // Of a group each decides by himself, and enough of them rule.
            let vaults = asked.iter().find_map(|effect| {
                let Effect::SignRuling { vaults, .. } = effect else { return None };
                Some(*vaults)
            });
            let vaults = vaults.ok_or_else(|| not_mine(id))?;
            if let Some(event) = self.decide(id, Decision::Rule { vaults, verdict }, feerate).await? {
                self.handle(id, event).await?;
            }
            return self.show(id);
        }
        let ruling = asked.iter().find_map(|effect| {
            let Effect::SignRuling { seat, to_buyer, to_seller, .. } = effect else { return None };
            view::ruling(active.trade.escrow()?, active.trade.view(), *seat, *to_buyer, *to_seller)
        });
        let mut shown = self.view(active);
        if let Some(dispute) = &mut shown.dispute {
            dispute.ruling = ruling;
        }
        Ok(shown)
    }
}

/// Tells whether an arbiter still has something to do in a case, or may have.
fn is_open(active: &Active) -> bool {
    active.trade.role() == Role::Arbiter && !active.phase.is_final()
}

/// Tells whether a case is over for good, and nobody ever called for its arbiter.
fn is_over(active: &Active) -> bool {
    let is_kept = active.saved_pin.as_ref().is_some_and(|pin| pin.settled.is_some());
    active.trade.role() == Role::Arbiter && is_kept && !active.trade.view().facts.disputed()
}
