//! The trader: one task that drives every trade of this node's identity. It decides nothing: the machine of each trade
//! (`exchange_ledger::trade::Trade`) hears what happened and says what to do; `effects.rs` does it.

mod bids;
mod bump;
mod cases;
mod crowd;
mod effects;
mod elsewhere;
mod groups;
mod handle;
mod joint;
mod keypath;
pub mod keys;
mod offers;
mod search;
pub mod signer;
mod talk;
mod tracker;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::block::Header;
use bitcoin::{Transaction, Txid};
use exchange_api::{ApiError, Code, Subject, TradeView};
use exchange_ledger::body::Signatures;
use exchange_ledger::identity::Identity;
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::mail::Envelope;
use exchange_ledger::money::Sats;
use exchange_ledger::trade::funding::Contribution;
use exchange_ledger::trade::pins::{self, Known, Pin};
use exchange_ledger::trade::{Action, ChainFacts, Command, Event, Local, Phase, Role, SpendPath, Trade, Unsigned};
use exchange_store::StoreError;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::chain::{BlockRef, ChainBackend, Follower, WatchRequest};
use crate::errors::{Explain, ExplainResult};
use crate::events::Events;
use crate::keeper::{Change, Keeper};
use crate::mailbox::Mailbox;
use crate::market;
use crate::private::Private;
use crate::wallet::WalletHandle;
pub use bump::Raise;
use cases::Cases;
use groups::{Jury, Membership};
use handle::Request;
pub use handle::TraderHandle;
use keypath::Rounds;
use search::Found;
use tracker::Tracker;

/// How many trades of one identity are read at the start.
const MAX_TRADES: usize = 100_000;
/// How often everything that is still owed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long a node without peers waits for one before its deadlines act.
const ALONE_AFTER: Duration = Duration::from_secs(3600);
/// How many effects one event may lead to, one after the other: a trade has fewer steps than that.
const MAX_EFFECTS: usize = 64;

/// What the trader works with.
#[derive(Clone)]
pub struct Tools {
    /// Who trades.
    pub identity: Arc<Identity>,
    /// The ledger.
    pub keeper: Keeper,
    /// The node's private tables.
    pub private: Private,
    /// The wallet.
    pub wallet: WalletHandle,
    /// The chain.
    pub chain: Arc<dyn ChainBackend>,
    /// The mail of the parties.
    pub mailbox: Mailbox,
    /// The node's log of events.
    pub events: Events,
}

/// A trade and what is known of it only while the node runs.
struct Active {
    trade: Trade,
    saved: Local,
    /// The records on which it rests, as known now and as last kept.
    pin: Option<Pin>,
    saved_pin: Option<Pin>,
    /// Whether it was over for good before this start: then the chain is not asked about it.
    settled: bool,
    created: u64,
    phase: Phase,
    /// What the user was told last of where it stands.
    told: Option<String>,
    problem: Option<String>,
    broadcasts: HashMap<Txid, Instant>,
    /// Whether the chain is being asked about the other side's coins, and what it was asked last, at which tip.
    is_looking: bool,
    looked: Option<(Contribution, u32)>,
    /// How many messages the user has not read.
    unread: u32,
    /// What a key that is kept elsewhere has to sign.
    unsigned: Option<Unsigned>,
    /// What it has signed last.
    signed: Option<(Unsigned, Signatures)>,
}

impl Active {
    /// Returns what this side has agreed to put into an escrow and has not yet set coins aside for.
    fn owed(&self) -> Sats {
        let local = self.trade.local();
        let is_open = self.phase == Phase::Agreed && local.funding_tx.is_none() && !local.negotiation.has_chosen();
        if is_open { self.trade.bid().locked_by(self.trade.role()) } else { Sats::ZERO }
    }
}

/// Starts the trader. It ends when `stop` is cancelled or the last handle is dropped.
pub fn start(tools: Tools, mail: mpsc::Receiver<Envelope>, stop: CancellationToken) -> TraderHandle {
    let (handle, inbox) = TraderHandle::new();
    let (looks, looked) = mpsc::channel(joint::LOOKS);
    let (finds, found) = mpsc::channel(search::FINDS);
    let changes = tools.keeper.changes();
    let trader = Trader {
        tools,
        trades: BTreeMap::new(),
        tracker: Tracker::default(),
        watch: None,
        has_overlooked: false,
        started: Instant::now(),
        compared: false,
        rounds: Rounds::default(),
        cases: Cases::default(),
        groups: BTreeMap::new(),
        juries: BTreeMap::new(),
        looks,
        finds,
    };
    tokio::spawn(trader.run(inbox, changes, mail, looked, found, stop));
    handle
}

struct Trader {
    tools: Tools,
    trades: BTreeMap<TradeId, Active>,
    tracker: Tracker,
    watch: Option<mpsc::Sender<WatchRequest>>,
    /// Whether there are bids for own offers that there was no room for.
    has_overlooked: bool,
    /// When this run began.
    started: Instant,
    /// Whether deadlines may act: the ledger was compared with a peer's, or there was none for long.
    compared: bool,
    /// The payouts for whose other part sellers were asked.
    rounds: Rounds,
    /// The cases of this identity that are not driven yet.
    cases: Cases,
    /// The groups of arbiters that invite this identity, or have it.
    groups: BTreeMap<RecordId, Membership>,
    /// The cases of theirs in which somebody has decided.
    juries: BTreeMap<TradeId, Jury>,
    /// Where what the chain says of peers' coins comes in.
    looks: mpsc::Sender<joint::Look>,
    /// Where what is found in the ledger for an arbiter comes in.
    finds: mpsc::Sender<Found>,
}

impl Trader {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Request>,
        mut changes: broadcast::Receiver<Change>,
        mut mail: mpsc::Receiver<Envelope>,
        mut looked: mpsc::Receiver<joint::Look>,
        mut found: mpsc::Receiver<Found>,
        stop: CancellationToken,
    ) {
        self.reload().await;
        let mut follower: Option<Follower> = None;
        let mut retry = tokio::time::interval(RETRY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let chain_event = async {
                match follower.as_mut() {
                    Some(follower) => follower.events.recv().await,
                    None => std::future::pending().await,
                }
            };
            let round_end = self.rounds.next_end();
            tokio::select! {
                () = stop.cancelled() => return,
                () = keypath::until(round_end) => self.end_rounds().await,
                request = inbox.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
                change = changes.recv() => match change {
                    Ok(change) => self.on_change(&change).await,
                    Err(broadcast::error::RecvError::Lagged(_)) => self.reload().await,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                event = chain_event => match event {
                    Some(event) => if self.tracker.apply(&event) {
                        self.on_chain().await;
                    },
                    None => {
                        follower = None;
                        self.watch = None;
                        self.tracker.restart();
                    }
                },
                Some(envelope) = mail.recv() => self.on_mail(&envelope).await,
                Some(look) = looked.recv() => self.on_look(look).await,
                Some(found) = found.recv() => self.on_found(found).await,
                _ = retry.tick() => {
                    if follower.is_none() || self.watch.is_none() {
                        self.tracker.restart();
                        follower = self.follow().await;
                    }
                    self.heartbeat().await;
                    self.note_comparison().await;
                    self.on_retry().await;
                    self.attend_to_cases().await;
                }
            }
        }
    }

    /// Follows the chain from the first block in which an escrow of ours can have been funded.
    async fn follow(&mut self) -> Option<Follower> {
        let followed = async {
            let tip = self.tools.chain.tip().await?;
            let scripts = self.tracker.scripts(tip.height);
            let first = scripts.iter().map(|(_, height)| *height).min();
            let start = first.map_or(tip.height, |height| height.saturating_sub(1).min(tip.height));
            let block = self.tools.chain.headers(start, 1).await?.first().map(Header::block_hash);
            let locator = block.map(|hash| BlockRef { height: start, hash }).into_iter().collect();
            self.tools.chain.follow(locator, scripts.into_iter().map(|(script, _)| script).collect()).await
        };
        match followed.await {
            Ok(follower) => {
                self.watch = Some(follower.watch.clone());
                Some(follower)
            }
            Err(error) => {
                tracing::warn!(%error, "the chain cannot be followed; trying again");
                None
            }
        }
    }

    /// Looks at all trades of this identity again.
    async fn reload(&mut self) {
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

    async fn on_change(&mut self, change: &Change) {
        if change.forked {
            // What the author signed before may have lost its force with this.
            let author = change.record.author();
            let theirs = self.trades.iter().filter(|(_, active)| active.trade.bid().role_of(&author).is_some());
            let theirs: Vec<TradeId> = theirs.map(|(id, _)| *id).collect();
            for trade in theirs {
                self.refresh(trade).await;
            }
        }
        self.on_group_record(&change.record, &change.body).await;
        let affected = self.affected_by(change.record.id(), &change.body);
        for trade in affected {
            self.refresh(trade).await;
        }
    }

    /// Reads what the ledger knows of a trade and hands it to the trade's machine, made anew if need be.
    async fn refresh(&mut self, id: TradeId) {
        let mut known = match self.look(id) {
            Ok(Some(known)) => known,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, trade = %id, "a trade cannot be read");
                return;
            }
        };
        let me = self.tools.identity.author();
        let Some(role) = known.bid.role_of(&me) else { return };
        if let Err(error) = self.keep_agreement(&mut known) {
            self.tell_unpinned(id, &error);
        }
        let is_new = !self.trades.contains_key(&id);
        if is_new {
            let maker = known.bid.maker == me;
            let is_bid = maker && known.contract.is_none();
            if is_bid && (known.facts.void || known.facts.cancelled()) {
                return;
            }
            if role == Role::Arbiter && !self.is_case(&known) {
                return;
            }
            if is_bid && !self.has_room_for(&known.bid) {
                self.has_overlooked = true;
                return;
            }
            let nonce = keys::nonce(&known.bid, maker);
            let kept = match self.tools.private.trade(&id) {
                Ok(kept) => kept,
                Err(error) => {
                    tracing::error!(%error, trade = %id, "what this node knows of a trade cannot be read; it is not driven");
                    return;
                }
            };
            // Of cases those are kept that were funded.
            if role == Role::Arbiter && kept.is_none() && !self.make_room_for(id, &known) {
                return;
            }
            let local = kept.unwrap_or_default();
            let mut trade = match known.bid.seat_of(&me) {
                Some(seat) => Trade::seated(known.bid.clone(), seat),
                None => Trade::new(known.bid.clone(), role, maker, local.clone()),
            };
            if self.compared {
                trade.handle(Event::Compared).ok(); // it only listens
            }
            let active = Active {
                trade,
                saved: local,
                pin: None,
                saved_pin: self.tools.private.pin(&id).ok().flatten(),
                settled: false,
                created: known.created,
                phase: Phase::Bid,
                told: self.tools.private.told(&id).ok().flatten(),
                problem: None,
                broadcasts: HashMap::new(),
                is_looking: false,
                looked: None,
                unread: 0,
                unsigned: None,
                signed: None,
            };
            self.trades.insert(id, active);
            if let Ok(Some((salt, details))) = self.tools.private.details(&nonce) {
                self.handle(id, Event::Prepared { salt, details }).await.ok();
            }
        }
        if let Some(active) = self.trades.get_mut(&id) {
            active.pin.clone_from(&known.pin);
        }
        let end = if is_new { known.kept_end() } else { None };
        let event = known.event();
        if let (Some(chain), Some(active)) = (end, self.trades.get_mut(&id)) {
            // It has ended: that is shown at once, and nobody is told again.
            let is_over = chain.synced;
            let is_heard =
                active.trade.handle(event.clone()).is_ok() && active.trade.handle(Event::Chain(chain)).is_ok();
            active.phase = active.trade.phase();
            active.told = Some(view::line(&active.trade));
            if is_over {
                active.settled = is_heard; // for good: nothing is owed
                return;
            }
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

    /// Looks at an own trade, by the ledger and what was pinned.
    fn look(&self, id: TradeId) -> Result<Option<Known>, StoreError> {
        let ledger = self.tools.keeper.ledger();
        Ok(match self.trades.get(&id) {
            Some(active) => pins::look(ledger, id, active.pin.as_ref())?,
            None => pins::look(ledger, id, self.tools.private.pin(&id)?.as_ref())?,
        })
    }

    /// Looks at a trade that is driven; returns what its machine must hear.
    fn look_again(&mut self, id: TradeId) -> Result<Event, ApiError> {
        let known = self.look(id).explained()?.ok_or_else(|| not_mine(id))?;
        if let Some(active) = self.trades.get_mut(&id) {
            active.pin.clone_from(&known.pin);
        }
        Ok(known.event())
    }

    /// Returns what a trade is to hear of the chain. One that has ended stays as it was seen until the chain, followed to its
    /// tip, says otherwise: on the way there less is known than before.
    fn chain_facts(&self, id: TradeId) -> ChainFacts {
        let facts = self.tracker.facts(id);
        let has_ended = |active: &&Active| active.pin.as_ref().is_some_and(|pin| pin.settled.is_some());
        match self.trades.get(&id).filter(|active| !facts.synced && has_ended(active)) {
            Some(active) => ChainFacts { synced: false, ..active.trade.view().chain().clone() },
            None => facts,
        }
    }

    async fn on_chain(&mut self) {
        let ids: Vec<TradeId> = self.trades.keys().copied().collect();
        for id in ids {
            if self.trades.get(&id).is_some_and(|active| active.settled) {
                continue;
            }
            let facts = self.chain_facts(id);
            if self.trades.get(&id).is_some_and(|active| *active.trade.view().chain() != facts) {
                self.handle(id, Event::Chain(facts)).await.ok();
            }
        }
    }

    /// Tells the trades once that nothing which others said is unheard any more. Who finds nobody for an hour goes on alone:
    /// his own coins must not wait for a network that is gone.
    async fn note_comparison(&mut self) {
        if self.compared || !(self.tools.keeper.is_compared() || self.started.elapsed() >= ALONE_AFTER) {
            return;
        }
        self.compared = true;
        let ids: Vec<TradeId> = self.trades.keys().copied().collect();
        for id in ids {
            self.handle(id, Event::Compared).await.ok();
        }
    }

    /// Tries again everything that is still owed, and looks for bids that there was no room for.
    async fn on_retry(&mut self) {
        if self.has_overlooked && self.has_room() {
            self.has_overlooked = false;
            for id in self.open_bids() {
                self.refresh(id).await;
            }
        }
        let is_open = |active: &Active| !active.phase.is_final() || active.trade.holds_coins();
        let ids: Vec<TradeId> = self.trades.iter().filter(|(_, a)| is_open(a)).map(|(id, _)| *id).collect();
        for id in ids {
            self.handle(id, Event::Chain(self.chain_facts(id))).await.ok();
        }
        // Payment details, too, may have come while the disk was full.
        if let Err(error) = self.tools.mailbox.deliver_waiting() {
            tracing::error!(%error, "kept messages cannot be read");
        }
        self.ask_again().await;
    }

    /// Hands an event to a trade's machine and performs what it asks for, until nothing is left.
    async fn handle(&mut self, id: TradeId, event: Event) -> Result<(), ApiError> {
        let mut events = std::collections::VecDeque::from([event]);
        let mut outcome = Ok(());
        for _ in 0..MAX_EFFECTS {
            let Some(event) = events.pop_front() else { break };
            let from_user = matches!(event, Event::Command(_) | Event::Details { .. });
            let Some(active) = self.trades.get_mut(&id) else { break };
            let built = if let Event::FundingBuilt(tx) = &event { Some(tx.clone()) } else { None };
            let asked = match active.trade.handle(event) {
                Ok(asked) => asked,
                Err(refusal) => {
                    self.drop_unwanted(id, built).await;
                    return Err(refusal.explain());
                }
            };
            for effect in asked {
                match self.perform(id, effect).await {
                    Ok(more) => events.extend(more),
                    Err(error) => {
                        // What was asked for first is the user's; the rest is tried again by itself.
                        if from_user && outcome.is_ok() {
                            outcome = Err(error.clone());
                        }
                        // One effect that fails must not hold up another; without its state kept, none does anything.
                        self.note_problem(id, Some(error.to_string()));
                    }
                }
            }
        }
        self.note_phase(id).await;
        outcome
    }

    fn note_problem(&mut self, id: TradeId, problem: Option<String>) {
        if let Some(active) = self.trades.get_mut(&id) {
            if active.problem != problem {
                tracing::warn!(trade = %id, problem = problem.as_deref().unwrap_or("none"), "trade problem changed");
            }
            active.problem = problem;
        }
    }

    /// Tells the user where a trade stands, unless he was told so before: in an earlier run, too.
    fn tell_standing(&mut self, id: TradeId) {
        let Some(active) = self.trades.get_mut(&id) else { return };
        let (trade, phase) = (&active.trade, active.trade.phase());
        // Of a trade in which this identity rules only the dispute concerns it.
        let is_dispute = matches!(phase, Phase::Disputed | Phase::Ruled | Phase::Settled);
        let concerns = trade.role() != Role::Arbiter || is_dispute;
        // Where it stands is not known before the chain was followed to its tip.
        let is_agreed = trade.view().contract.is_some();
        let is_known = !is_agreed || trade.view().chain().synced;
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
    /// transaction has been seen anywhere.
    async fn free_coins(&mut self, id: TradeId) {
        let Some(active) = self.trades.get(&id) else { return };
        if active.trade.joint_terms().is_some() {
            return; // its machine asks for that, once nothing that was signed can confirm
        }
        let funding = active.trade.local().funding_tx.as_deref();
        let tx: Option<Transaction> = funding.and_then(|bytes| bitcoin::consensus::deserialize(bytes).ok());
        if let Some(tx) = tx.filter(|_| active.trade.view().funding().is_none()) {
            match self.tools.wallet.release(tx.compute_txid()).await {
                Ok(()) => tracing::info!(trade = %id, "the coins set aside for a trade that was called off are free"),
                Err(error) => tracing::debug!(%error, trade = %id, "coins are not freed"),
            }
        }
    }

    async fn act(&mut self, id: TradeId, action: Action, dry_run: bool) -> Result<TradeView, ApiError> {
        if action == Action::MarkPaid {
            // Money that has left nobody brings back: what the ledger says at this moment counts too.
            let heard = self.look_again(id)?;
            self.handle(id, heard).await?;
        }
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        if action == Action::Fund {
            self.check_before_funding(active)?;
        }
        // Only what makes a transaction needs the chain: calling off must be possible without.
        let feerate = match action {
            Action::Accept | Action::MarkPaid | Action::Dispute => 1,
            Action::Cancel if active.trade.view().funding().is_none() => 1,
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
    fn check_before_funding(&self, active: &Active) -> Result<(), ApiError> {
        let (bid, ledger) = (active.trade.bid(), self.tools.keeper.ledger());
        match active.trade.role() {
            Role::Buyer => market::check_honest(ledger, &bid.seller(), "the seller")?,
            Role::Seller | Role::Arbiter => market::check_honest(ledger, &bid.buyer(), "the buyer")?,
        }
        for arbiter in std::iter::once(&bid.arbiter).chain(&bid.second_arbiter) {
            market::check_honest(ledger, &arbiter.author, "an arbiter of this trade")?;
        }
        Ok(())
    }

    /// Returns the feerate for a transaction that should confirm soon, in sat/vB, rounded up.
    async fn feerate(&self) -> Result<u64, ApiError> {
        let rate = self.tools.chain.fee_rate(FEE_TARGET_BLOCKS).await.explained()?;
        Ok(rate.to_sat_per_vb_ceil().max(1))
    }

    fn list(&self) -> Vec<TradeView> {
        // Of those in which this identity rules, only disputes concern anybody.
        let is_own = |active: &&Active| active.trade.role() != Role::Arbiter || active.trade.view().is_disputed();
        let own = self.trades.values().filter(is_own);
        let mut views: Vec<TradeView> = own.map(|active| self.view(active)).collect();
        views.sort_by_key(|view| (view.next.action.is_none(), view.state.is_final(), std::cmp::Reverse(view.created)));
        views
    }

    fn show(&self, id: TradeId) -> Result<TradeView, ApiError> {
        self.trades.get(&id).map(|active| self.view(active)).ok_or_else(|| not_mine(id))
    }
}

/// Within how many blocks a transaction of a trade should confirm.
const FEE_TARGET_BLOCKS: u16 = 3;

fn not_mine(id: TradeId) -> ApiError {
    let message = format!("trade {id} is not one of this node's");
    ApiError::new(Code::NotFound, message, "`exchange-node trade list` shows them")
}
