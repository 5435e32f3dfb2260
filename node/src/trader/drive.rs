//! An event on its way through a trade's machine: what the machine asks for is performed, and what its phase then means is
//! told and done.

use std::mem::{Discriminant, discriminant};

use bitcoin::{ScriptBuf, Transaction, Txid};
use exchange_api::{ApiError, Subject};
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::{Effect, Escrow, Event, Phase, Role, SpendPath, Trade};

use super::{Active, Trader, view};
use crate::errors::Explain;
use crate::wallet::WalletError;

/// How many effects one event may lead to, one after the other: a trade has fewer steps than that.
const MAX_EFFECTS: usize = 64;

/// What a trade had trouble with last, and what of it the user is told.
pub(super) struct Problem {
    with: Trouble,
    pub words: String,
}

/// What can go wrong. It is over when the same goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// An effect of this kind.
    Effect(Discriminant<Effect>),
    /// The look at the other side's coins.
    Look,
    /// The search of old blocks for its escrow.
    Search,
    /// The look at its records, for those that are worth a pin now.
    Pins,
    /// A payout that has to be in a block soon.
    Hurry,
    /// A round of a group of arbiters.
    Round,
}

/// How the effects of one event went.
#[derive(Default)]
struct Outcomes {
    worked: Vec<Trouble>,
    failed: Vec<Trouble>,
}

impl Outcomes {
    /// Tells whether trouble is over: the same went well, and of several nothing failed.
    fn end(&self, with: Trouble) -> bool {
        self.worked.contains(&with) && !self.failed.contains(&with)
    }
}

impl Trader {
    /// Hands an event to a trade's machine and performs what it asks for, until nothing is left.
    pub(super) async fn handle(&mut self, id: TradeId, event: Event) -> Result<(), ApiError> {
        let mut events = std::collections::VecDeque::from([event]);
        let (mut outcome, mut outcomes) = (Ok(()), Outcomes::default());
        for _ in 0..MAX_EFFECTS {
            let Some(event) = events.pop_front() else { break };
            let from_user = matches!(event, Event::Command(_) | Event::Details { .. });
            let Some(active) = self.trades.get_mut(&id) else { break };
            let built = if let Event::FundingBuilt(tx) = &event { Some(tx.clone()) } else { None };
            let shown = active.trade.view().chain().fundings.clone();
            let asked = match active.trade.handle(event) {
                Ok(asked) => asked,
                Err(refusal) => {
                    self.drop_unwanted(id, built).await;
                    return Err(refusal.explain());
                }
            };
            let is_shown_more = active.trade.view().chain().fundings != shown;
            for effect in asked {
                let with = Trouble::Effect(discriminant(&effect));
                match self.perform(id, effect).await {
                    Ok(more) => {
                        outcomes.worked.push(with);
                        events.extend(more);
                    }
                    Err(error) => {
                        outcomes.failed.push(with);
                        // What was asked for first is the user's; the rest is tried again by itself.
                        if from_user && outcome.is_ok() {
                            outcome = Err(error.clone());
                        }
                        // One effect that fails must not hold up another; without its state kept, none does anything.
                        self.note_problem(id, with, error.to_string());
                    }
                }
            }
            if is_shown_more {
                // What was signed about these outputs may have come first: now it is worth a pin.
                match self.look_again(id) {
                    Ok(event) => {
                        outcomes.worked.push(Trouble::Pins);
                        events.push_back(event);
                    }
                    Err(error) => {
                        outcomes.failed.push(Trouble::Pins);
                        self.note_problem(id, Trouble::Pins, error.to_string());
                    }
                }
            }
        }
        self.end_problem(id, |with| outcomes.end(with));
        self.note_phase(id).await;
        outcome
    }

    /// Notes what a trade has trouble with, for its user to see.
    pub(super) fn note_problem(&mut self, id: TradeId, with: Trouble, words: String) {
        if let Some(active) = self.trades.get_mut(&id) {
            if active.problem.as_ref().is_none_or(|before| before.words != words) {
                tracing::warn!(trade = %id, problem = words, "a trade has a problem");
            }
            active.problem = Some(Problem { with, words });
        }
    }

    /// Forgets what a trade had trouble with, if that is over.
    pub(super) fn end_problem(&mut self, id: TradeId, is_over: impl Fn(Trouble) -> bool) {
        if let Some(active) = self.trades.get_mut(&id)
            && let Some(problem) = active.problem.take_if(|problem| is_over(problem.with))
        {
            tracing::info!(trade = %id, problem = problem.words, "a trade's problem is over");
        }
    }

    /// Tells the user where a trade stands, unless he was told so before: in an earlier run, too.
    fn tell_standing(&mut self, id: TradeId) {
        let Some(active) = self.trades.get_mut(&id) else { return };
        let (trade, phase) = (&active.trade, active.trade.phase());
        // Of a trade in which this identity rules only the dispute concerns it.
        let is_dispute = matches!(phase, Phase::Disputed | Phase::Ruled | Phase::Settled);
        let concerns = trade.role() != Role::Arbiter || is_dispute;
        // Where it stands is not known before the chain was followed to its tip, and what is to be done not before others were heard.
        let is_agreed = trade.view().contract.is_some();
        let is_known = !is_agreed || (trade.view().chain().synced && !view::awaits_peer(trade));
        let line = view::line(trade);
        // With the bid it begins, also for a machine that has not heard its records yet.
        if !concerns || !is_known || phase == Phase::Bid || active.told.as_ref() == Some(&line) {
            return;
        }
        // Of bids for an own offer there may be any number.
        if is_agreed || !trade.is_maker() {
            self.tools.events.tell(&id, line.clone());
        } else {
            self.tools.events.note(Subject::Trade(id), line.clone());
        }
        active.told = Some(line);
    }

    async fn note_phase(&mut self, id: TradeId) {
        self.tell_standing(id);
        let Some(active) = self.trades.get_mut(&id) else { return };
        let phase = active.trade.phase();
        if phase != active.phase {
            active.phase = phase;
            active.problem = None;
            active.freed = false;
            if let Some(spend) = active.trade.view().spend() {
                let what = match spend.path {
                    SpendPath::Payout => "payout",
                    SpendPath::Refund | SpendPath::Timeout => "refund",
                    SpendPath::Ruling => "ruling",
                    SpendPath::Extension => "extension",
                    SpendPath::Foreign => "foreign spend",
                };
                let label = format!("{what} of trade {}", id.short());
                if let Err(error) = self.tools.wallet.set_label(spend.tx.compute_txid(), label).await {
                    tracing::debug!(%error, trade = %id, "a transaction has no label");
                }
            }
        }
        let unagreed = active.trade.view().contract.is_none();
        match phase {
            // Bids for an own offer that came to nothing are no trades of the user's.
            Phase::Void if active.trade.is_maker() && unagreed => drop(self.trades.remove(&id)),
            Phase::Void | Phase::Cancelled => self.free_coins(id).await,
            Phase::Bid
            | Phase::Agreed
            | Phase::Funding
            | Phase::Funded
            | Phase::Paid
            | Phase::Released
            | Phase::Refunding
            | Phase::Closed
            | Phase::Refunded
            | Phase::Disputed
            | Phase::Ruled
            | Phase::Settled
            | Phase::Lost => {}
        }
    }

    /// Lets sellers' machines hear of fundings that they keep and that can never confirm: as the wallet says of those that it built, and
    /// the escrow itself of one that was paid by another version.
    pub(super) async fn note_dead_fundings(&mut self) {
        let kept = self.trades.iter().filter_map(|(id, active)| Some((*id, active.phase, unseen_funding(active)?)));
        let kept: Vec<(TradeId, Phase, Transaction)> = kept.collect();
        for (id, phase, tx) in kept {
            let txid = tx.compute_txid();
            // Of one that was called off nothing is owed but what a block shows.
            let mut is_dead = self.tracker.is_dead(&id, &tx);
            if !is_dead && phase == Phase::Agreed {
                match self.tools.wallet.is_dead(txid).await {
                    Ok(said) => is_dead = said,
                    Err(error) => {
                        tracing::debug!(%error, trade = %id, "the wallet does not say whether a funding is dead")
                    }
                }
            }
            if !is_dead || self.handle(id, Event::FundingDead(txid)).await.is_err() {
                continue;
            }
            // While it was kept nothing else counted.
            self.handle(id, Event::Chain(self.chain_facts(id))).await.ok();
            let is_gone = |active: &Active| active.trade.local().funding_tx.is_none();
            if self.trades.get(&id).is_some_and(is_gone) {
                let what = "your funding of the escrow can never confirm, for one of its coins was spent otherwise";
                self.tools.events.note(Subject::Trade(id), format!("trade {}: {what}; look at the trade", id.short()));
            }
        }
    }

    /// Frees the coins of a funding that the machine did not want any more when it was built.
    async fn drop_unwanted(&self, id: TradeId, built: Option<Transaction>) {
        let kept = self.trades.get(&id).and_then(|active| active.trade.local().funding_tx.clone());
        let unwanted = built.filter(|tx| kept.is_none_or(|kept| kept != bitcoin::consensus::serialize(tx)));
        if let Some(tx) = unwanted
            && let Err(error) = self.tools.wallet.release(tx.compute_txid()).await
        {
            tracing::warn!(%error, trade = %id, "coins that were set aside are not freed");
        }
    }

    /// Frees the coins of a funding that was built for a trade that was then called off. The wallet refuses once the
    /// transaction has been seen anywhere. What somebody else was offered he may have passed on, or pass on later, whatever he said
    /// of it: so one of its coins is spent back, and the others are free once that is final.
    async fn free_coins(&mut self, id: TradeId) {
        let Some(active) = self.trades.get(&id).filter(|active| !active.freed) else { return };
        let freed = match set_aside(&active.trade) {
            None => return,
            Some(SetAside::Kept { script: Some(script), .. }) if !self.tools.chain.is_own() => {
                self.tools.wallet.spend_back(script, false).await.map(|()| false)
            }
            Some(SetAside::Kept { txid, .. }) => self.tools.wallet.release(txid).await.map(|()| true),
            Some(SetAside::For(script)) => self.tools.wallet.release_funding(script).await,
        };
        match freed {
            Ok(true) => tracing::info!(trade = %id, "the coins set aside for a trade that was called off are free"),
            Ok(false) | Err(WalletError::NotReserved { .. }) => {}
            Err(error) => {
                tracing::debug!(%error, trade = %id, "coins are not freed");
                return; // tried again with the next block
            }
        }
        if let Some(active) = self.trades.get_mut(&id) {
            active.freed = true;
        }
    }
}

/// Returns the funding that a seller keeps who funds alone, while nothing is seen of it.
fn unseen_funding(active: &Active) -> Option<Transaction> {
    let trade = &active.trade;
    let is_unseen = matches!(active.phase, Phase::Agreed | Phase::Cancelled | Phase::Void) && !active.settled;
    let is_alone = trade.role() == Role::Seller && trade.joint_terms().is_none();
    let kept = trade.local().funding_tx.as_deref().filter(|_| is_unseen && is_alone)?;
    bitcoin::consensus::deserialize(kept).ok()
}

/// What the wallet may have set aside for a trade that came to nothing.
#[derive(Debug, PartialEq, Eq)]
enum SetAside {
    /// The inputs of the funding that was kept, and may have been sent.
    Kept {
        /// Its id.
        txid: Txid,
        /// The escrow's script, while the contract is known.
        script: Option<ScriptBuf>,
    },
    /// Those of one that was built for this script, and that nobody could keep before a crash. So it was never sent: a funding
    /// is sent by what was kept.
    For(ScriptBuf),
}

/// Returns what is to be freed of a trade that came to nothing. What the chain was not yet searched for may be funded.
fn set_aside(trade: &Trade) -> Option<SetAside> {
    let view = trade.view();
    let is_nothing = matches!(trade.phase(), Phase::Void | Phase::Cancelled) && view.chain().synced;
    // Of a funding from two wallets the machine asks for that, once nothing that was signed can confirm.
    if !is_nothing || view.funding().is_some() || trade.role() != Role::Seller || trade.joint_terms().is_some() {
        return None;
    }
    let (kept, script) = (trade.local().funding_tx.as_deref(), trade.escrow().map(Escrow::script));
    match kept.and_then(|bytes| bitcoin::consensus::deserialize::<Transaction>(bytes).ok()) {
        Some(tx) => Some(SetAside::Kept { txid: tx.compute_txid(), script }),
        None => script.map(SetAside::For),
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::SampleTrade;
    use exchange_ledger::trade::{ChainFacts, Facts, Funding, Local};

    use super::*;

    /// Returns a trade as one side sees it at height 200.
    fn trade(sample: &SampleTrade, role: Role, local: &Local, facts: &Facts, chain: ChainFacts) -> Trade {
        let mut trade = Trade::new(sample.bid(), role, false, local.clone());
        trade.handle(Event::Records { contract: Some(sample.contract()), facts: facts.clone() }).unwrap();
        trade.handle(Event::Chain(ChainFacts { tip: 200, ..chain })).unwrap();
        trade
    }

    #[test]
    fn trouble_is_over_when_the_same_goes_well_and_nothing_of_it_fails() {
        let kind = |effect: &Effect| Trouble::Effect(discriminant(effect));
        let sample = SampleTrade::new(Side::Sell);
        let [first, second] = [1, 2].map(|number| kind(&Effect::Broadcast(sample.funding(number))));
        let details = kind(&Effect::SendDetails);
        let sent = Outcomes { worked: vec![first], failed: Vec::new() };
        assert!(sent.end(first) && sent.end(second), "what is sent instead, as a dearer version, is as good");
        assert!(!sent.end(details) && !sent.end(Trouble::Look));
        let one_failed = Outcomes { worked: vec![first, details], failed: vec![second] };
        assert!(!one_failed.end(first) && one_failed.end(details));
        assert!(!Outcomes::default().end(details), "what is not tried is not over");
    }

    #[test]
    fn what_was_set_aside_is_freed_when_the_trade_came_to_nothing_and_the_chain_shows_no_funding() {
        let sample = SampleTrade::new(Side::Sell);
        let (funding, vaults) = (sample.funding(1), sample.vaults(1));
        let forgotten = Local::default();
        let kept = Local { funding_tx: Some(bitcoin::consensus::serialize(&funding)), ..Local::default() };
        let synced = ChainFacts { synced: true, ..ChainFacts::default() };
        let seen = |height| ChainFacts { fundings: vec![Funding::new(vaults, height)], ..synced.clone() };
        let [by_buyer, by_seller, void, open] = [
            Facts { buyer_cancel: true, ..Facts::default() },
            Facts { seller_cancel: true, ..Facts::default() },
            Facts { void: true, ..Facts::default() },
            Facts::default(),
        ];
        let script = || Some(SetAside::For(sample.escrow().script()));
        let txid = || {
            let script = Some(sample.escrow().script());
            Some(SetAside::Kept { txid: funding.compute_txid(), script })
        };
        for (what, role, local, facts, chain, expected) in [
            ("the buyer called it off", Role::Seller, &forgotten, &by_buyer, synced.clone(), script()),
            ("the seller called it off", Role::Seller, &forgotten, &by_seller, synced.clone(), script()),
            ("a party signed two histories", Role::Seller, &forgotten, &void, synced.clone(), script()),
            ("it was kept", Role::Seller, &kept, &by_buyer, synced.clone(), txid()),
            ("it may still be funded", Role::Seller, &forgotten, &open, synced.clone(), None),
            ("the chain is not searched", Role::Seller, &forgotten, &by_buyer, ChainFacts::default(), None),
            ("kept, and the chain is not searched", Role::Seller, &kept, &by_buyer, ChainFacts::default(), None),
            ("the pool shows the funding", Role::Seller, &forgotten, &by_buyer, seen(None), None),
            ("a block shows it", Role::Seller, &kept, &by_buyer, seen(Some(190)), None),
            ("the buyer puts nothing in", Role::Buyer, &forgotten, &by_buyer, synced.clone(), None),
        ] {
            assert_eq!(set_aside(&trade(&sample, role, local, facts, chain)), expected, "{what}");
        }
        let joint = SampleTrade::with_bonds(Side::Sell);
        let trade = trade(&joint, Role::Seller, &forgotten, &by_buyer, synced);
        assert_eq!((trade.phase(), set_aside(&trade)), (Phase::Cancelled, None), "its machine asks for that");
    }
}
