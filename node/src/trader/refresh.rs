//! Reads trades from the ledger, at a start and whenever a record may have changed them: those that are new are taken up, and
//! each one's machine hears what is known.

use exchange_api::ApiError;
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::pins::{self, Known};
use exchange_ledger::trade::{ChainFacts, Event, Role, Trade};
use exchange_store::StoreError;

use super::{Active, MAX_TRADES, Trader, bids, keys, not_mine, view};
use crate::clock;
use crate::errors::ExplainResult;
use crate::keeper::Change;

impl Trader {
    /// Looks at all trades of this identity again.
    pub(super) async fn reload(&mut self) {
        // Without its groups nothing tells which cases are this identity's.
        self.reload_groups().await;
        // Those that this node knows more of come first; the ledger has those of a machine that was lost, and new bids.
        match self.tools.private.trades(MAX_TRADES) {
            Ok(trades) => {
                for trade in trades {
                    self.refresh(trade).await;
                }
            }
            Err(error) => tracing::error!(%error, "trades cannot be read; trying again at the next change"),
        }
        self.bids_read = clock::unix_now();
        match self.trades_in_ledger() {
            Ok(trades) => {
                for trade in trades {
                    self.refresh(trade).await;
                }
            }
            Err(error) => tracing::error!(%error, "trades cannot be read; trying again at the next change"),
        }
        if let Err(error) = self.find_cases() {
            tracing::error!(%error, "cases cannot be read; they are looked for again at the next start");
        }
        self.attend_to_cases().await;
    }

    /// Reads anew what a record may have changed.
    pub(super) async fn on_change(&mut self, change: &Change) {
        if change.forked {
            // What the author signed before may have lost its force with this.
            let author = change.record.author();
            let theirs = self.trades.iter().filter(|(_, active)| active.trade.bid().role_of(&author).is_some());
            let theirs: Vec<TradeId> = theirs.map(|(id, _)| *id).collect();
            for trade in theirs {
                self.refresh(trade).await;
            }
        }
        // Whoever writes a step looks at his group himself when it is written.
        if !change.own {
            self.on_group_record(&change.record, &change.body).await;
        }
        let affected = self.affected_by(change.record.id(), &change.body);
        for trade in affected {
            self.refresh(trade).await;
        }
    }

    /// Reads what the ledger knows of a trade and hands it to the trade's machine, made anew if need be.
    pub(super) async fn refresh(&mut self, id: TradeId) {
        let me = self.tools.identity.author();
        // Of trades of others nothing is evaluated: anybody can say anything about them, as often as he likes.
        if !self.trades.contains_key(&id) && bids::is_others(self.tools.keeper.ledger(), id, &me) {
            return;
        }
        let mut known = match self.look(id) {
            Ok(Some(known)) => known,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, trade = %id, "a trade cannot be read");
                return;
            }
        };
        let Some(role) = known.bid.role_of(&me) else { return };
        if let Err(error) = self.keep_agreement(&mut known) {
            self.tell_unpinned(id, &error);
        }
        let is_new = !self.trades.contains_key(&id);
        if is_new {
            if !self.take_up(id, role, &known) {
                return;
            }
            let nonce = keys::nonce(&known.bid, known.bid.maker == me);
            if let Ok(Some((salt, details))) = self.tools.private.details(&nonce) {
                self.handle(id, Event::Prepared { salt, details }).await.ok();
            }
        }
        if let Some(active) = self.trades.get_mut(&id) {
            active.pin.clone_from(&known.pin);
        }
        let end = if is_new { known.kept_end() } else { None };
        let event = known.event();
        if let Some(chain) = end
            && self.show_end(id, event.clone(), chain)
        {
            return;
        }
        // Only commands, details and asks are ever refused.
        self.handle(id, event).await.ok();
        if is_new {
            let unread = self.count_unread(id);
            if let Some(active) = self.trades.get_mut(&id) {
                active.unread = unread;
            }
        }
    }

    /// Begins to drive a trade, by what this node kept of it. Tells whether it does: not, if nothing can come of it, or if there
    /// is no room.
    fn take_up(&mut self, id: TradeId, role: Role, known: &Known) -> bool {
        let me = self.tools.identity.author();
        let maker = known.bid.maker == me;
        let is_bid = maker && known.contract.is_none();
        if is_bid && (known.facts.void || known.facts.cancelled()) {
            return false;
        }
        if role == Role::Arbiter && !self.is_case(known) {
            return false;
        }
        if is_bid && !self.make_room_for_bid(known) {
            return false;
        }
        let kept = match self.tools.private.trade(&id) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(%error, trade = %id, "what this node knows of a trade cannot be read; it is not driven");
                return false;
            }
        };
        // Of cases those are kept that were funded.
        if role == Role::Arbiter && kept.is_none() && !self.make_room_for(id, known) {
            return false;
        }
        let local = kept.unwrap_or_default();
        let mut trade = match known.bid.seat_of(&me) {
            Some(seat) => Trade::seated(known.bid.clone(), seat),
            None => Trade::new(known.bid.clone(), role, maker, local.clone()),
        };
        for (is_so, event) in [(self.compared, Event::Compared), (self.alone, Event::Alone)] {
            if is_so {
                trade.handle(event).ok(); // it only listens
            }
        }
        let saved_pin = self.tools.private.pin(&id).ok().flatten();
        let told = self.tools.private.told(&id).ok().flatten();
        self.trades.insert(id, Active::new(trade, local, saved_pin, told, known.created));
        true
    }

    /// Lets a trade that has just been taken up hear of the end that it has had: that is shown at once, and nobody is told
    /// again. Tells whether it is over for good.
    fn show_end(&mut self, id: TradeId, event: Event, chain: ChainFacts) -> bool {
        let Some(active) = self.trades.get_mut(&id) else { return false };
        let is_over = chain.synced;
        let is_heard = active.trade.handle(event).is_ok() && active.trade.handle(Event::Chain(chain)).is_ok();
        active.phase = active.trade.phase();
        active.told = Some(view::line(&active.trade));
        if is_over {
            active.settled = is_heard; // for good: nothing is owed
        }
        is_over
    }

    /// Looks at an own trade, by the ledger and what was pinned.
    fn look(&self, id: TradeId) -> Result<Option<Known>, StoreError> {
        let ledger = self.tools.keeper.ledger();
        Ok(match self.trades.get(&id) {
            Some(active) => pins::look(ledger, id, active.pin.as_ref(), &active.trade.view().chain().fundings)?,
            None => pins::look(ledger, id, self.tools.private.pin(&id)?.as_ref(), &[])?,
        })
    }

    /// Looks at a trade that is driven; returns what its machine must hear.
    pub(super) fn look_again(&mut self, id: TradeId) -> Result<Event, ApiError> {
        let known = self.look(id).explained()?.ok_or_else(|| not_mine(id))?;
        if let Some(active) = self.trades.get_mut(&id) {
            active.pin.clone_from(&known.pin);
        }
        Ok(known.event())
    }
}
