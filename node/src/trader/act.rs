//! What a user does to a trade by himself, and where his trades stand.

use exchange_api::{ApiError, Code, SeenTrade, TradeView};
use exchange_ledger::ids::TradeId;
use exchange_ledger::money::Sats;
use exchange_ledger::record::Kind;
use exchange_ledger::trade::{Action, Command, Event, Role};

use super::{Active, Trader, not_mine};
use crate::errors::{Explain, ExplainResult};
use crate::keeper::{OwnLog, PublishError};
use crate::market;

/// Within how many blocks a transaction of a trade should confirm.
pub(super) const FEE_TARGET_BLOCKS: u16 = 3;

impl Trader {
    pub(super) async fn act(
        &mut self,
        id: TradeId,
        action: Action,
        seen: Option<SeenTrade>,
        dry_run: bool,
    ) -> Result<TradeView, ApiError> {
        if action == Action::MarkPaid {
            // Money that has left nobody brings back: what the ledger says at this moment counts too, and how old the chain is. Nor is
            // he to wait for the next look whether a peer was heard.
            self.note_comparison().await;
            let heard = self.look_again(id)?;
            self.handle(id, heard).await?;
            self.handle(id, Event::Chain(self.chain_facts(id))).await?;
        }
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        if let Some(seen) = seen {
            check_seen(&seen, &self.view(active))?;
        }
        if action == Action::Fund {
            self.check_before_funding(active).await?;
        }
        // Only what makes a transaction needs the chain: calling off must be possible without.
        let feerate = match action {
            Action::Accept | Action::MarkPaid | Action::Dispute => 1,
            Action::Cancel if !active.trade.phase().is_held() => 1,
            Action::Cancel | Action::Fund | Action::Release | Action::Refund => self.feerate().await?,
            Action::Rule | Action::Extend => self.feerate().await?,
        };
        let active = self.trades.get_mut(&id).ok_or_else(|| not_mine(id))?;
        let event = Event::Command(Command { action, feerate });
        if dry_run {
            active.trade.clone().handle(event).explained()?;
        } else {
            self.handle(id, event).await?;
        }
        self.show(id)
    }

    /// Nothing is funded against who signed two histories.
    pub(super) async fn check_before_funding(&self, active: &Active) -> Result<(), ApiError> {
        let (bid, ledger) = (active.trade.bid(), self.tools.keeper.ledger());
        match active.trade.role() {
            Role::Buyer => market::check_honest(ledger, &bid.seller(), "the seller")?,
            Role::Seller | Role::Arbiter => market::check_honest(ledger, &bid.buyer(), "the buyer")?,
        }
        for arbiter in std::iter::once(&bid.arbiter).chain(&bid.second_arbiter) {
            market::check_honest(ledger, &arbiter.author, "an arbiter of this trade")?;
        }
        self.check_log(active).await
    }

    /// Nothing is funded where the buyer could not be let pay: a seller has to name the coins in the log in which he agreed, and
    /// this machine may go on with another, or none. A buyer with a bond names them himself. Nor does either name any while his
    /// clock is ahead of the chain.
    async fn check_log(&self, active: &Active) -> Result<(), ApiError> {
        self.tools.keeper.check_clock(Kind::Funded).explained()?;
        let bid = active.trade.bid();
        if active.trade.role() != Role::Seller || bid.buyer_bond > Sats::ZERO {
            return Ok(());
        }
        match self.tools.keeper.settled_log(&self.tools.identity.author()).await.explained()? {
            OwnLog::GoesOn(head) if bid.home_logs().contains(&head.log) => Ok(()),
            OwnLog::Unconfirmed(head) if bid.home_logs().contains(&head.log) => {
                Err(PublishError::Unconfirmed.explain())
            }
            OwnLog::GoesOn(_) | OwnLog::Unconfirmed(_) | OwnLog::Ended => Err(ApiError::new(
                Code::NotAllowed,
                "this machine does not go on with the log in which you agreed, so the buyer's node would never let him pay; nothing \
                 was funded",
                "call it off: `exchange-node trade cancel`; or fund it on the machine on which you agreed",
            )),
        }
    }

    /// Returns the feerate for a transaction that should confirm soon, in sat/vB, rounded up.
    pub(super) async fn feerate(&self) -> Result<u64, ApiError> {
        let rate = self.tools.chain.fee_rate(FEE_TARGET_BLOCKS).await.explained()?;
        Ok(rate.to_sat_per_vb_ceil().max(1))
    }

    pub(super) fn list(&self) -> Vec<TradeView> {
        // Of those in which this identity rules, only disputes concern anybody.
        let is_own = |active: &&Active| active.trade.role() != Role::Arbiter || active.trade.view().is_disputed();
        let own = self.trades.values().filter(is_own);
        let mut views: Vec<TradeView> = own.map(|active| self.view(active)).collect();
        views.sort_by_key(|view| (view.next.action.is_none(), view.state.is_final(), std::cmp::Reverse(view.created)));
        views
    }

    pub(super) fn show(&self, id: TradeId) -> Result<TradeView, ApiError> {
        self.trades.get(&id).map(|active| self.view(active)).ok_or_else(|| not_mine(id))
    }
}

/// Refuses what the user decided on while the trade looked otherwise to him: the same command means something else by now.
fn check_seen(seen: &SeenTrade, now: &TradeView) -> Result<(), ApiError> {
    if *seen == now.seen() {
        return Ok(());
    }
    let message = format!("the trade is {} by now, and not as you saw it; nothing was done", now.state);
    let hint = format!("look at it, then repeat what you still want: `exchange-node trade show {}`", now.id.short());
    Err(ApiError::new(Code::Outdated, message, hint))
}
