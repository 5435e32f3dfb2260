//! Performing what a trade's machine asks for. Everything here may be done twice.

use std::time::{Duration, Instant};

use bitcoin::key::Keypair;
use bitcoin::{FeeRate, ScriptBuf, Transaction};
use exchange_api::{ApiError, Code};
use exchange_ledger::body::{Accept, Body, Cancel, HalfSpend, Release};
use exchange_ledger::frost::Decision;
use exchange_ledger::ids::TradeId;
use exchange_ledger::ledger::OfferStanding;
use exchange_ledger::mail::Message;
use exchange_ledger::money::Sats;
use exchange_ledger::record::{Kind, Record};
use exchange_ledger::seal;
use exchange_ledger::trade::pins::Settled;
use exchange_ledger::trade::{
    Draft, Effect, Escrow, EscrowError, Event, Local, Role, Seat, View, counterparty, tweak_arbiter_pair,
};

use crate::chain::{ChainError, WatchRequest, consensus, lowest_since, was_made_before};
use crate::errors::{Explain, ExplainResult, internal};
use crate::keeper::{OwnLog, PublishError};
use crate::trader::cases::is_paid_in;
use crate::trader::offers::no_details;
use crate::trader::tracker::Stated;
use crate::trader::{Trader, keys, not_mine};
use crate::wallet::{FundRequest, WalletError};
use crate::{entropy, market};

/// How long a transaction that was handed to the network is left alone.
const REBROADCAST_AFTER: Duration = Duration::from_secs(30);
/// How long before an own bid a block may claim to have been made that came after it, in seconds: a day for clocks that are
/// wrong, and another so that an honest height, from a day of blocks below which an escrow is looked for, is mostly above it.
const BEFORE_BID_S: u64 = 2 * 24 * 3600;
/// By how much the first block in which a funding counts is older than the agreement at least, in seconds, where that states no
/// height to come: half of the day of blocks below that height.
const STATED_BEFORE_S: u64 = 12 * 3600;

impl Trader {
    /// Performs one effect and returns what the machine must hear of it.
    pub(super) async fn perform(&mut self, id: TradeId, effect: Effect) -> Result<Option<Event>, ApiError> {
        self.save_first(id, effect.sets_coins_aside())?;
        match effect {
            Effect::Persist(_) => Ok(None), // done above, and before everything else too
            Effect::Watch { scripts } => self.watch_escrow(id, scripts).await,
            Effect::Accept => self.accept_bid(id).await,
            Effect::Publish(body) => self.publish(id, body).await,
            Effect::SendDetails => self.send_details(id),
            Effect::BuildFunding { script, amount, feerate } => self.fund(id, script, amount, feerate).await,
            Effect::ChooseCoins { output, feerate } => self.choose_coins(id, output, feerate).await,
            Effect::LookUpCoins(theirs) => self.look_up(id, theirs),
            Effect::SignFunding(draft) => self.sign_funding(id, draft).await,
            Effect::SendProposal(proposal) => self.send_funding(id, &Message::FundingProposal(proposal)),
            Effect::SendAnswer(answer) => self.send_funding(id, &Message::FundingAnswer(answer)),
            Effect::FreeCoins { script } => self.free_share(script).await,
            Effect::SpendCoinBack { script } => self.spend_coin_back(id, script).await,
            Effect::SignHalf { vaults, fee, to } => {
                let half = self.escrow(id)?.half(&vaults, fee, to, &self.trade_key(id)?);
                let half = half.map_err(|error| self.note_unsigned(id, error))?;
                let body = match to {
                    Role::Buyer => Body::Release(Release { trade: id, payout: half }),
                    Role::Seller | Role::Arbiter => Body::Cancel(Cancel { trade: id, refund: Some(half) }),
                };
                self.publish(id, body).await
            }
            Effect::Complete { half, to } => self.complete(id, &half, to),
            Effect::Ask { vaults, fee } => Ok(self.ask(id, vaults, fee)),
            Effect::Reply { vaults, ask } => {
                self.reply(id, &vaults, &ask);
                Ok(None)
            }
            Effect::BuildTimeout { vault, coin, fee } => {
                let draft = self.escrow(id)?.signed_timeout(vault, coin, fee, &self.trade_key(id)?);
                self.built(id, draft)
            }
            Effect::Broadcast(tx) => self.broadcast(id, &tx).await,
            // A group's ruling is what enough of its members decide; see `cases.rs`.
            Effect::SignRuling { .. } if self.is_jury(id) => Err(internal("a member of a group does not rule alone")),
            Effect::SignExtension { vaults, .. } if self.is_jury(id) => {
                let feerate = self.feerate().await?;
                self.decide(id, Decision::Extend { vaults }, feerate).await
            }
            Effect::SignRuling { seat, vaults, to_buyer, to_seller } => {
                let (escrow, pair) = self.arbiter(id, seat)?;
                let ruling = escrow.rule(seat, &vaults, (to_buyer, to_seller), &pair).map_err(internal)?;
                self.publish(id, Body::Ruling(ruling)).await
            }
            Effect::SignExtension { seat, vaults, fee } => {
                let (escrow, pair) = self.arbiter(id, seat)?;
                let extend = escrow.extend(seat, &vaults, fee, &pair).map_err(internal)?;
                self.publish(id, Body::Extend(extend)).await
            }
            Effect::CompleteRuling { seat, ruling } => {
                let (escrow, role) = (self.escrow(id)?, self.role(id)?);
                let draft = escrow.complete_ruling(seat, &ruling, role, &self.trade_key(id)?);
                self.built(id, draft)
            }
            Effect::CompleteExtension { seat, extend } => {
                let (escrow, role) = (self.escrow(id)?, self.role(id)?);
                let draft = escrow.complete_extend(seat, &extend, role, &self.trade_key(id)?);
                self.built(id, draft)
            }
        }
    }

    /// Keeps what only this node knows of a trade, and the records on which it rests, if they changed: nothing is done on
    /// the strength of what a power cut, or a counterparty with two histories, could take back.
    fn save_first(&mut self, id: TradeId, sets_coins_aside: bool) -> Result<(), ApiError> {
        let active = self.trades.get_mut(&id).ok_or_else(|| not_mine(id))?;
        if active.trade.role() == Role::Arbiter && !is_paid_in(active.trade.view()) {
            return Ok(()); // anybody can make it up
        }
        let local: &Local = active.trade.local();
        let has_strays = !active.trade.strays().is_empty();
        if let Some(pin) = &mut active.pin {
            let view = active.trade.view();
            // Coins that are set aside are freed by the contract for which they are: so that stays from before they are on.
            let is_promised = sets_coins_aside || local.funding_tx.is_some() || local.negotiation.has_chosen();
            pin.committed |= is_promised || view.funding().is_some() || has_strays;
            pin.settled = Settled::after(pin.settled.take(), view, has_strays);
        }
        if active.saved != *local || active.saved_pin != active.pin {
            self.tools.private.put_trade(&id, local, active.pin.as_ref()).explained()?;
            active.saved = local.clone();
            active.saved_pin.clone_from(&active.pin);
        }
        Ok(())
    }

    async fn watch_escrow(&mut self, id: TradeId, scripts: Vec<ScriptBuf>) -> Result<Option<Event>, ApiError> {
        let escrow = self.escrow(id)?;
        if self.trades.get(&id).is_some_and(|active| active.settled) {
            self.tools.mailbox.close_mailbox(escrow.contract());
            return Ok(None);
        }
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let (is_case, is_over) = (active.trade.role() == Role::Arbiter, active.trade.phase().is_final());
        let (is_maker, bid_at) = (active.trade.is_maker(), active.created);
        // A bid may wait for days until it is accepted.
        let agreed_at = active.pin.as_ref().map_or(bid_at, |pin| pin.accept.header().time.max(bid_at));
        let brings_coins = active.trade.bid().locked_by(active.trade.role()) > Sats::ZERO;
        // Mailboxes are few, and nobody writes to an arbiter before there are coins that he is to decide about.
        let has_mail = |view: &View| !is_case || (is_paid_in(view) && view.is_disputed());
        if is_over || !has_mail(active.trade.view()) {
            self.tools.mailbox.close_mailbox(escrow.contract());
        } else {
            self.tools.mailbox.open_mailbox(escrow.contract()).explained()?;
        }
        if is_case {
            // It is looked for together with others: see `cases.rs`.
            return Ok(self.tracker.watch_case(&escrow).then(|| Event::Chain(self.chain_facts(id))));
        }
        if self.tracker.watches(&id) {
            return Ok(None);
        }
        let stated = match is_maker {
            true => Stated::Here,
            false => self.since_bid(&escrow, bid_at, agreed_at, brings_coins).await?,
        };
        if let Some(from_height) = self.tracker.watch(&escrow, stated) {
            let request = WatchRequest { scripts, from_height };
            // A follower that is gone is followed anew, with this script among the first.
            // One that does not take the request is left, and the chain followed anew: waiting for it could last for ever.
            if self.watch.as_ref().is_some_and(|watch| watch.try_send(request).is_err()) {
                self.watch = None;
            }
            return Ok(Some(Event::Chain(self.chain_facts(id))));
        }
        Ok(None)
    }

    /// Returns from where on the escrow of an own bid is looked for: not from any height that its maker likes.
    async fn since_bid(
        &self,
        escrow: &Escrow,
        bid_at: u64,
        agreed_at: u64,
        brings_coins: bool,
    ) -> Result<Stated, ApiError> {
        let (from, time) = (escrow.contract().funded_from(), bid_at.saturating_sub(BEFORE_BID_S));
        let chain = &*self.tools.chain;
        // Below a height to come nothing counts, but what its user pays in there all the same is his to take back.
        let honest = agreed_at.saturating_sub(STATED_BEFORE_S);
        if brings_coins && !was_made_before(chain, from, honest).await.explained()? {
            return Ok(Stated::ToCome { lowest: lowest_since(chain, 0, time).await.explained()? });
        }
        let lowest = lowest_since(chain, from, time).await.explained()?;
        Ok(Stated::ByMaker { lowest })
    }

    /// Accepts a bid for an own offer: keeps the details first, then publishes.
    async fn accept_bid(&mut self, id: TradeId) -> Result<Option<Event>, ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let (bid, role) = (active.trade.bid().clone(), active.trade.role());
        let height = self
            .tracker
            .tip()
            .ok_or_else(|| ApiError::new(Code::NotSynced, "the chain is not synchronised yet", "it is tried again"))?;
        let ledger = self.tools.keeper.ledger();
        let Some((offer, _)) = ledger.offer(&bid.offer_id).explained()? else { return Err(not_mine(id)) };
        if ledger.offer_standing(&offer).explained()? != OfferStanding::Open {
            return Ok(None);
        }
        // By the chain too: whoever holds a clock back would have it accepted at its old price for as long as he likes.
        if bid.offer.expires <= self.tools.keeper.latest_time() {
            let message = "the offer of this bid has ended: an acceptance would bind nobody, and use the offer up";
            return Err(ApiError::new(Code::OfferGone, message, "post it again"));
        }
        market::check_honest(ledger, &bid.taker, "the bidder")?;
        for arbiter in std::iter::once(&bid.arbiter).chain(&bid.second_arbiter) {
            market::check_honest(ledger, &arbiter.author, "an arbiter of this bid")?;
            market::check_takes_on(ledger, &arbiter.advert)?;
        }
        if !seal::is_usable(&bid.take.party.seal_key) {
            return Err(internal("the bidder's key for messages is unusable; the bid is not accepted"));
        }
        // Before an address is made for it.
        self.check_home(&offer)?;
        self.tools.keeper.check_clock(Kind::Accept).explained()?;
        if bid.locked_by(role) > Sats::ZERO {
            let promised = self.trades.values().fold(0u64, |sum, active| sum.saturating_add(active.owed().get()));
            let spendable = self.tools.wallet.balance().await.explained()?.spendable;
            let needed = bitcoin::Amount::from_sat(promised.saturating_add(bid.locked_by(role).get()));
            if spendable <= needed {
                let message =
                    format!("the wallet holds {spendable}, this trade and those agreed on need {needed} and fees");
                return Err(ApiError::new(
                    Code::InsufficientFunds,
                    message,
                    "deposit coins; the bid is looked at again",
                ));
            }
        }
        let nonce = keys::nonce(&bid, true);
        // Of an offer that was made elsewhere, or before this machine lost its data, nothing is known.
        let (salt, details) = match self.details_for(active)?.ok_or_else(no_details)? {
            (Some(salt), details) => (salt, details),
            (None, details) => {
                let salt = entropy::bytes32();
                self.tools.private.put_details(&nonce, salt, &details).explained()?;
                (salt, details)
            }
        };
        let external = self.external_key(&nonce)?;
        let accept = |destination| {
            let party = keys::party(&self.tools.identity, &nonce, external, destination, &salt, &details);
            Ok(Body::Accept(Accept { trade: id, offer: bid.offer_id, height, party }))
        };
        self.tools.publish_naming(None, accept).await?;
        Ok(Some(Event::Prepared { salt, details }))
    }

    /// Refuses to accept a bid where the acceptance could not stand in the log of its offer, for it counts only there. Nobody is
    /// waited for: with each bid of a crowd, and each retry, all trades would wait.
    fn check_home(&self, offer: &Record) -> Result<(), ApiError> {
        let home = offer.header().log;
        match self.tools.keeper.own_log(&self.tools.identity.author()).explained()? {
            OwnLog::GoesOn(head) if head.log == home => Ok(()),
            OwnLog::Unconfirmed(head) if head.log == home => Err(PublishError::Unconfirmed.explain()),
            OwnLog::GoesOn(_) | OwnLog::Unconfirmed(_) | OwnLog::Ended => {
                let message = "this machine does not go on with the log of this offer: it was made on another one, or \
                               before this one lost its data, or something was signed by a clock that was ahead";
                Err(ApiError::new(Code::NotAllowed, message, "withdraw it and post it again from here"))
            }
        }
    }

    /// Tells whether a record of a kind has to wait until it is known whether the own log goes on. It is asked for again until
    /// then, and nothing else should wait with it.
    pub(super) fn waits_for_its_log(&self, kind: Kind) -> Result<bool, ApiError> {
        let own_log = || self.tools.keeper.own_log(&self.tools.identity.author()).explained();
        Ok(kind.waits_for_its_log() && matches!(own_log()?, OwnLog::Unconfirmed(_)))
    }

    /// Publishes a record, and hands the trade its records again at once, so that it is not asked for twice.
    pub(super) async fn publish(&mut self, id: TradeId, body: Body) -> Result<Option<Event>, ApiError> {
        if self.waits_for_its_log(body.kind())? {
            return Ok(None);
        }
        self.tools.keeper.publish(self.tools.identity.clone(), body).await.explained()?;
        self.look_again(id).map(Some)
    }

    fn send_details(&mut self, id: TradeId) -> Result<Option<Event>, ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        // It is owed with every event, and all that was said would be read each time.
        if active.has_sent_details {
            return Ok(None);
        }
        let (Some(escrow), Some((salt, details))) = (active.trade.escrow(), active.trade.local().details.clone())
        else {
            return Ok(None);
        };
        let contract = escrow.contract();
        let recipient = contract.author(counterparty(active.trade.role()));
        if !self.has_sent_details(id, &recipient)? {
            let message = Message::Details { salt, details };
            self.tools.mailbox.send(&self.tools.identity, contract, recipient, &message).explained()?;
        }
        if let Some(active) = self.trades.get_mut(&id) {
            active.has_sent_details = true;
        }
        Ok(None)
    }

    async fn fund(
        &mut self,
        id: TradeId,
        script: ScriptBuf,
        amount: Sats,
        feerate: u64,
    ) -> Result<Option<Event>, ApiError> {
        let request = FundRequest {
            script,
            amount: amount.into(),
            from_height: self.escrow(id)?.contract().funded_from(),
            fee_rate: FeeRate::from_sat_per_vb(feerate),
            label: format!("escrow of trade {}", id.short()),
        };
        let payment = self.tools.wallet.fund(request).await.explained()?;
        Ok(Some(Event::FundingBuilt(payment.tx)))
    }

    fn complete(&mut self, id: TradeId, half: &HalfSpend, to: Role) -> Result<Option<Event>, ApiError> {
        self.rounds.drop(id);
        let draft = self.escrow(id)?.complete(half, to, &self.trade_key(id)?);
        self.built(id, draft)
    }

    /// Passes on a spend that this side's key has signed, here or elsewhere.
    fn built(&mut self, id: TradeId, draft: Result<Draft, EscrowError>) -> Result<Option<Event>, ApiError> {
        built(draft.map_err(|error| self.note_unsigned(id, error)))
    }

    async fn broadcast(&mut self, id: TradeId, tx: &Transaction) -> Result<Option<Event>, ApiError> {
        let txid = tx.compute_txid();
        let active = self.trades.get_mut(&id).ok_or_else(|| not_mine(id))?;
        let lately = active.broadcasts.get(&txid).is_some_and(|at| at.elapsed() < REBROADCAST_AFTER);
        if !lately {
            // By the wallet, so that it counts the coins as spent from this moment on. What is still owed later is offered again.
            self.tools.wallet.offer(tx).await.map_err(|error| too_cheap(error, id))?;
            active.broadcasts.insert(txid, Instant::now());
        }
        Ok(None)
    }

    pub(super) fn escrow(&self, id: TradeId) -> Result<Escrow, ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        active.trade.escrow().cloned().ok_or_else(|| internal("the trade has no contract yet"))
    }

    fn role(&self, id: TradeId) -> Result<Role, ApiError> {
        self.trades.get(&id).map(|active| active.trade.role()).ok_or_else(|| not_mine(id))
    }

    /// Returns the escrow of a case, and the pair by which this node signs in it as its arbiter.
    fn arbiter(&self, id: TradeId, seat: Seat) -> Result<(Escrow, Keypair), ApiError> {
        let escrow = self.escrow(id)?;
        let pair = keys::trade_key(&self.tools.identity, &keys::ARBITER_NONCE);
        let pair = tweak_arbiter_pair(escrow.contract(), &pair);
        if escrow.arbiter_key(seat) != Some(pair.x_only_public_key().0) {
            return Err(internal("the advert of this case names a key that is not this identity's"));
        }
        Ok((escrow, pair))
    }
}

/// Passes on a spend of an escrow that Bitcoin Core's own script engine accepts.
pub(super) fn built(draft: Result<Draft, ApiError>) -> Result<Option<Event>, ApiError> {
    let draft = draft?;
    consensus::verify_spend(&draft.tx, &draft.prevouts()).map_err(internal)?;
    Ok(Some(Event::SpendBuilt(draft.tx)))
}

/// Explains why a transaction was refused. One that pays too little can be helped.
fn too_cheap(error: WalletError, id: TradeId) -> ApiError {
    // Bitcoin Core's words: `mempool min fee not met`, `min relay fee not met`.
    let pays_too_little =
        matches!(&error, WalletError::Chain(ChainError::Refused { reason, .. }) if reason.contains("fee not met"));
    let mut explained = error.explain();
    if pays_too_little {
        explained.hint = format!("it is tried again; to raise its fee: `exchange-node trade bump {}`", id.short());
    }
    explained
}
