//! The cases of an arbiter: trades of others that are disputed, or can become so, in which this identity rules.
//!
//! Anybody can name any arbiter in trades that he makes up with himself, and dispute them. What he cannot make up is
//! coins: so a case counts once the chain shows that its escrow is funded. Before that it has one of a few places,
//! until it was looked for and another needs it, and no mailbox; and which of those that wait comes first depends on
//! who agreed on it (see `crowd.rs`).
//!
//! The coins of a case may be locked long before its arbiter hears of it, and a maker can make what he agreed on vanish
//! from the ledger by a second history. So an arbiter's node pins each agreement that names him as soon as it sees it.

use std::collections::VecDeque;

use exchange_api::{ApiError, RuleTrade, TradeView};
use exchange_ledger::frost::Decision;
use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::record::Kind;
use exchange_ledger::storage::Storage;
use exchange_ledger::trade::pins::{Known, Pin, Settled};
use exchange_ledger::trade::{Bid, Effect, Event, Role, View};
use exchange_store::StoreError;

use crate::chain::WatchRequest;
use crate::clock;
use crate::errors::ExplainResult;
use crate::private::Private;
use crate::trader::crowd::Crowd;
use crate::trader::search::{self, Found};
use crate::trader::{Active, Trader, not_mine, view};

/// How many open cases of one arbiter are driven that are funded: each has cost somebody the coins in its escrow.
const MAX_CASES: usize = 4096;
/// How many more that nothing shows to be funded yet: they are looked for together, and then make room for others.
const MAX_UNFUNDED: usize = 256;
/// How many more wait until there is room: a megabyte or two of ids.
pub(super) const MAX_WAITING_CASES: usize = 16_384;
/// How many agreements that name this identity are pinned, as many as it can have open cases: ten megabytes, eighty at
/// the very most.
pub(super) const MAX_AGREED: usize = 4096;

/// What is known of cases besides those that are driven.
#[derive(Debug)]
pub(super) struct Cases {
    /// The trades whose agreement is pinned, in the order in which they came.
    agreed: Crowd,
    /// The search of the ledger for more of them, and for cases: see `search.rs`.
    searching: Searching,
    /// Those that there was no room for.
    waiting: Crowd,
    /// Those driven that nothing showed to be funded when they were taken up, in that order.
    unfunded: VecDeque<TradeId>,
}

/// Whether the ledger is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Searching {
    /// It is not.
    No,
    /// It is.
    Once,
    /// It is, and once more after that: changes were missed meanwhile, and what they brought may lie behind it.
    Twice,
}

impl Default for Cases {
    fn default() -> Self {
        let (agreed, waiting) = (Crowd::new(MAX_AGREED), Crowd::new(MAX_WAITING_CASES));
        Self { agreed, searching: Searching::No, waiting, unfunded: VecDeque::new() }
    }
}

impl Cases {
    /// Pins the agreement of a trade in which this identity rules: from now on that is its contract.
    pub(super) fn pin(&mut self, private: &Private, known: &mut Known) -> Result<(), StoreError> {
        let Some(pin) = known.pin.as_mut().filter(|_| known.contract.is_some()) else { return Ok(()) };
        pin.committed = true;
        let (trade, parties) = (known.bid.trade, parties(&known.bid));
        // What was funded is kept with all that was said about it.
        if self.agreed.contains(&trade) || private.trade(&trade)?.is_some() {
            return Ok(());
        }
        let gone = self.agreed.goes_for(trade, parties);
        if gone == Some(trade) {
            return Ok(());
        }
        let agreement = Pin { facts: Vec::new(), ..pin.clone() };
        private.put_agreed(&trade, parties, &agreement, clock::unix_now(), gone.as_ref())?;
        // In memory is what the disk has: one that could not be written takes nobody's place.
        if let Some(gone) = &gone {
            self.agreed.remove(gone);
        }
        self.agreed.add(trade, parties);
        Ok(())
    }
}

/// Returns who made and who took the offer of a trade.
pub(super) fn parties(bid: &Bid) -> [AuthorId; 2] {
    [bid.maker, bid.taker]
}

impl Trader {
    /// Tells whether a trade in which this identity rules is driven: it was marked as paid, so that a dispute can open
    /// by itself, or a party calls for him. What is over for good is not, unless somebody disputed it: that is shown.
    pub(super) fn is_case(&self, known: &Known) -> bool {
        let is_over = || !known.facts.disputed() && known.end().is_some();
        self.rules_in(known) && (known.facts.disputed() || known.facts.payment_sent) && !is_over()
    }

    /// Tells whether a trade is agreed on and this identity rules in it. Whoever is named as a member without a share
    /// of the key has nothing to say.
    fn rules_in(&self, known: &Known) -> bool {
        let seat = known.bid.seat_of(&self.tools.identity.author());
        let arbiter = known.contract.as_ref().and_then(|contract| contract.arbiter(seat?));
        arbiter.is_some_and(|arbiter| arbiter.members.is_empty() || self.part_of(arbiter).is_some())
    }

    /// Pins what was agreed on as soon as it is seen, if this identity rules in it.
    pub(super) fn keep_agreement(&mut self, known: &mut Known) -> Result<(), StoreError> {
        if self.rules_in(known) { self.cases.pin(&self.tools.private, known) } else { Ok(()) }
    }

    /// Makes room for a case that nothing shows to be funded yet. Without room it waits.
    pub(super) fn make_room_for(&mut self, id: TradeId, known: &Known) -> bool {
        if self.room() == 0 {
            self.cases.waiting.add(id, parties(&known.bid));
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
        let is_unpaid = |id: &TradeId| self.trades.get(id).is_some_and(|active| !is_paid_in(active.trade.view()));
        self.cases.unfunded.retain(is_unpaid);
        let open = self.trades.values().filter(|active| is_open(active)).count();
        let looked_for = self.cases.unfunded.iter().filter(|id| !self.tracker.is_searched(id)).count();
        MAX_UNFUNDED.saturating_sub(looked_for).min((MAX_CASES + MAX_UNFUNDED).saturating_sub(open))
    }

    /// Drops what is over for good and not to be shown, takes up cases that had to wait, and looks for those that
    /// nothing shows to be funded yet.
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

    /// Has the ledger searched for trades that can be cases of this identity: those that somebody disputes, and those that
    /// are marked as paid, by what is left of them in the ledger or by what was pinned; and for agreements that are not
    /// pinned yet. Who never advertised himself has none.
    pub(super) fn find_cases(&mut self) -> Result<(), StoreError> {
        let (me, storage) = (self.tools.identity.author(), self.tools.keeper.ledger().storage());
        if storage.of_kind_by(Kind::ArbiterAdvert, &me, None, 1)?.is_empty() && !self.is_in_a_group() {
            return Ok(());
        }
        // Before one more is pinned: it may have to push out one of these.
        for (trade, parties) in self.tools.private.agreed(MAX_AGREED)? {
            self.cases.agreed.add(trade, parties);
        }
        self.cases.searching = match self.cases.searching {
            Searching::No => {
                search::start(&self.tools, self.finds.clone());
                Searching::Once
            }
            Searching::Once | Searching::Twice => Searching::Twice,
        };
        Ok(())
    }

    /// Pins what a search of the ledger found, and lets those that can be cases wait for their turn: all together, since
    /// which of them comes first depends on the others.
    pub(super) async fn on_found(&mut self, found: Found) {
        let cases = match found {
            Found::Agreed(agreed) => {
                for mut known in agreed {
                    if let Err(error) = self.keep_agreement(&mut known) {
                        self.tell_unpinned(known.bid.trade, &error);
                    }
                }
                return;
            }
            Found::Over(cases) => cases,
        };
        for (trade, parties) in cases.into_all() {
            // Some may have been taken up meanwhile.
            if !self.trades.contains_key(&trade) {
                self.cases.waiting.add(trade, parties);
            }
        }
        let is_due = self.cases.searching == Searching::Twice;
        self.cases.searching = Searching::No;
        if is_due && let Err(error) = self.find_cases() {
            tracing::error!(%error, "cases cannot be read; they are looked for again at the next start");
        }
        self.attend_to_cases().await;
    }

    /// Says that an agreement could not be pinned.
    pub(super) fn tell_unpinned(&self, trade: TradeId, error: &StoreError) {
        tracing::error!(%error, %trade, "an agreement is not pinned: a fork of its maker's can make it vanish");
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

/// Tells whether a block shows coins in the escrow of a case: what is in the pool costs nobody anything.
pub(super) fn is_paid_in(view: &View) -> bool {
    view.funding().is_some_and(|funding| funding.height.is_some())
}

/// Tells whether an arbiter still has something to do in a case, or may have.
fn is_open(active: &Active) -> bool {
    active.trade.role() == Role::Arbiter && !active.phase.is_final()
}

/// Tells whether a case is over for good, and nobody ever called for its arbiter.
fn is_over(active: &Active) -> bool {
    let settled = active.saved_pin.as_ref().and_then(|pin| pin.settled.as_ref());
    let is_kept = settled.is_some_and(Settled::is_for_good);
    active.trade.role() == Role::Arbiter && is_kept && !active.trade.view().facts.disputed()
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::{Body, PaymentSent, Side};
    use exchange_ledger::ledger::MAX_FROZEN;
    use exchange_ledger::record::{Header, Record};
    use exchange_ledger::testing::{SampleTrade, admit_all, ledger};
    use exchange_ledger::trade::{Local, pins};
    use exchange_store::{OpenOptions, Store};

    use super::*;

    fn private(directory: &tempfile::TempDir) -> Private {
        Private::new(Store::open(directory.path(), OpenOptions::default()).unwrap())
    }

    /// Pins the agreement of a trade that the ledger shows; returns what is known of it.
    fn pin(cases: &mut Cases, private: &Private, trade: &SampleTrade) -> Known {
        let mut public = ledger();
        admit_all(&mut public, &trade.records());
        let mut known = pins::look(&public, trade.id(), None, &[]).unwrap().unwrap();
        cases.pin(private, &mut known).unwrap();
        known
    }

    #[test]
    fn a_seller_who_makes_his_acceptance_vanish_takes_nothing_from_the_arbiter() {
        let directory = tempfile::tempdir().unwrap();
        let private = private(&directory);
        let mut trade = SampleTrade::new(Side::Sell); // the maker sells
        let (id, accept) = (trade.id(), trade.accept.clone());
        pin(&mut Cases::default(), &private, &trade);

        // In the place of the acceptance, more of them than are kept, each with a smaller id.
        let other = |later: u64| {
            let header = Header { time: accept.header().time + later, kind: Kind::Heartbeat, ..*accept.header() };
            trade.maker.sign(header, Body::Heartbeat.encode())
        };
        let smaller = (1..).map(other).filter(|record| record.id() < accept.id());
        let forged: Vec<Record> = smaller.take(MAX_FROZEN + 1).collect();
        let paid = trade.taker.write(&Body::PaymentSent(PaymentSent { trade: id }));
        let mut public = ledger();
        admit_all(&mut public, &[trade.records(), forged, vec![paid]].concat());
        assert_eq!(pins::look(&public, id, None, &[]).unwrap().unwrap().contract, None, "the ledger has lost it");

        let known = pins::look(&public, id, private.pin(&id).unwrap().as_ref(), &[]).unwrap().unwrap();
        assert_eq!(known.contract, Some(trade.contract()));
        assert!(known.facts.payment_sent && known.facts.void);
        assert_eq!(private.agreed(MAX_AGREED).unwrap(), [(id, parties(&known.bid))], "it is found at the next start");
    }

    #[test]
    fn agreements_make_room_for_others_and_what_was_funded_stays() {
        let directory = tempfile::tempdir().unwrap();
        let private = private(&directory);
        let trades = [SampleTrade::new(Side::Sell), SampleTrade::new(Side::Buy), SampleTrade::with_bonds(Side::Sell)];
        let mut cases = Cases { agreed: Crowd::new(1), ..Cases::default() };
        let [one, two, three] = trades.map(|trade| {
            let known = pin(&mut cases, &private, &trade);
            if trade.bid().buyer() == trade.maker.id() {
                private.put_trade(&trade.id(), &Local::default(), known.pin.as_ref()).unwrap();
            }
            trade.id()
        });
        assert_eq!(private.pin(&one).unwrap(), None);
        assert!(private.pin(&two).unwrap().is_some(), "the second was funded");
        assert!(private.pin(&three).unwrap().is_some());
        let listed: Vec<TradeId> = private.agreed(MAX_AGREED).unwrap().into_iter().map(|(trade, _)| trade).collect();
        assert_eq!(listed, [three]);
    }

    #[test]
    fn an_agreement_that_cannot_be_written_takes_nobodys_place() {
        let directory = tempfile::tempdir().unwrap();
        let private = private(&directory);
        let mut cases = Cases { agreed: Crowd::new(1), ..Cases::default() };
        let first = pin(&mut cases, &private, &SampleTrade::new(Side::Sell)).bid.trade;

        let trade = SampleTrade::new(Side::Buy);
        let mut public = ledger();
        admit_all(&mut public, &trade.records());
        let look = || pins::look(&public, trade.id(), None, &[]).unwrap().unwrap();
        let mut too_long = look();
        too_long.pin.as_mut().unwrap().adverts = vec![trade.advert.clone(); exchange_store::MAX_ROW_LEN / 128];
        assert!(matches!(cases.pin(&private, &mut too_long), Err(StoreError::TooLong { .. })));
        let listed = || private.agreed(MAX_AGREED).unwrap().into_iter().map(|(trade, _)| trade).collect::<Vec<_>>();
        assert_eq!(listed(), [first]);
        assert!(cases.agreed.contains(&first) && !cases.agreed.contains(&trade.id()));

        // Once it can be, it does, and nothing more is kept than there is room for.
        cases.pin(&private, &mut look()).unwrap();
        assert_eq!(listed(), [trade.id()]);
        assert!(!cases.agreed.contains(&first) && private.pin(&first).unwrap().is_none());
    }
}
