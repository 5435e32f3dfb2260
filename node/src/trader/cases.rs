//! The cases of an arbiter: trades of others that are disputed, or can become so, in which this identity rules.

use exchange_api::{ApiError, RuleTrade, TradeView};
use exchange_ledger::body::Body;
use exchange_ledger::frost::Decision;
use exchange_ledger::ids::TradeId;
use exchange_ledger::ledger::TradeError;
use exchange_ledger::record::Kind;
use exchange_ledger::storage::{Storage, StorageError};
use exchange_ledger::trade::pins::Known;
use exchange_ledger::trade::{Effect, Event, Role};

use crate::errors::ExplainResult;
use crate::trader::{Trader, not_mine, view};

/// How many cases of one arbiter are watched.
const MAX_CASES: usize = 4096;
/// How many records are read at once.
const PAGE: usize = 512;

impl Trader {
    /// Tells whether a trade in which this identity rules is watched: it was marked as paid, so that a dispute can open by
    /// itself, or a party calls for him.
    pub(super) fn is_case(&self, known: &Known) -> bool {
        let has_room =
            || self.trades.values().filter(|active| active.trade.role() == Role::Arbiter).count() < MAX_CASES;
        let seat = known.bid.seat_of(&self.tools.identity.author());
        let arbiter = known.contract.as_ref().and_then(|contract| contract.arbiter(seat?));
        // Whoever is named as a member without a share of the key has nothing to say.
        let has_key = arbiter.is_some_and(|arbiter| arbiter.members.is_empty() || self.part_of(arbiter).is_some());
        has_key && (known.facts.disputed() || known.facts.payment_sent) && has_room()
    }

    /// Returns the trades of the ledger that can be cases of this identity: those that somebody disputes, then those that
    /// are marked as paid. Who never advertised himself has none.
    pub(super) fn cases_in_ledger(&self) -> Result<Vec<TradeId>, StorageError> {
        let (ledger, me) = (self.tools.keeper.ledger(), self.tools.identity.author());
        if ledger.storage().of_kind_by(Kind::ArbiterAdvert, &me, None, 1)?.is_empty() && !self.is_in_a_group() {
            return Ok(Vec::new());
        }
        let mut cases = Vec::new();
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
                    match ledger.bid(trade) {
                        Ok((bid, _)) if bid.seat_of(&me).is_some() => cases.push(trade),
                        Err(TradeError::Storage(error)) => return Err(error),
                        Ok(_) | Err(_) => {} // not his, or void
                    }
                }
                if page.len() < PAGE || cases.len() >= MAX_CASES {
                    break;
                }
            }
        }
        cases.dedup();
        Ok(cases)
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
