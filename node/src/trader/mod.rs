//! The trader: one task that drives every trade of this node's identity. It decides nothing: the machine of each trade
//! (`exchange_ledger::trade::Trade`) hears what happened (`drive.rs`) and says what to do; `effects.rs` does it.

mod act;
mod bids;
mod bump;
mod cases;
mod crowd;
mod drive;
mod effects;
mod elsewhere;
mod groups;
mod handle;
mod joint;
mod juries;
mod keypath;
pub mod keys;
mod offers;
mod refresh;
mod search;
pub mod signer;
mod talk;
mod tracker;
mod view;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::Txid;
use exchange_api::{ApiError, Code};
use exchange_ledger::body::{Body, Signatures};
use exchange_ledger::identity::Identity;
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::mail::Envelope;
use exchange_ledger::money::Sats;
use exchange_ledger::record::Record;
use exchange_ledger::trade::pins::Pin;
use exchange_ledger::trade::{ChainFacts, Event, Local, Phase, Trade, Unsigned};
use exchange_ledger::wire::Destination;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::chain::{BlockRef, ChainBackend, ChainError, ChainEvent, Follower, WatchRequest};
use crate::clock::SureTime;
use crate::errors::{ExplainResult, internal};
use crate::events::Events;
use crate::keeper::{Change, Keeper};
use crate::mailbox::Mailbox;
use crate::private::Private;
use crate::wallet::WalletHandle;
use bump::Hurry;
pub use bump::Raise;
use cases::Cases;
use drive::{Problem, Trouble};
use groups::Membership;
use handle::Request;
pub use handle::TraderHandle;
use juries::Jury;
use keypath::Rounds;
use search::Found;
use tracker::{Plan, Tracker};

/// How many trades of one identity are read at the start.
const MAX_TRADES: usize = 100_000;
/// How often everything that is still owed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long a node without peers waits for one before its deadlines act.
const ALONE_AFTER: Duration = Duration::from_secs(3600);

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
    /// What knows how old the chain is.
    pub sure: SureTime,
}

impl Tools {
    /// Publishes a record that names a new destination of the wallet's, in answer to a request, if it has a name. Where nothing was
    /// published for certain the wallet takes the destination back: what fails, and is tried again and again, costs one address and
    /// not one for each try. But nobody is ever shown one twice.
    ///
    /// # Errors
    /// When the wallet shows no new address, `body` refuses, or the record cannot be published.
    pub async fn publish_naming(
        &self,
        request: Option<String>,
        body: impl FnOnce(Destination) -> Result<Body, ApiError>,
    ) -> Result<Record, ApiError> {
        let script = self.wallet.new_destination().await.explained()?;
        let destination = Destination::new(script.clone());
        let destination = destination.ok_or_else(|| internal("the wallet made an address of an unknown type"));
        let (published, is_unshown) = match destination.and_then(body) {
            Ok(body) => {
                let published = self.keeper.publish_for(Arc::clone(&self.identity), body, request).await;
                let is_unshown = published.as_ref().is_err_and(|error| error.kept_nothing());
                (published.explained(), is_unshown)
            }
            Err(refused) => (Err(refused), true),
        };
        if is_unshown && let Err(error) = self.wallet.put_back_destination(script).await {
            tracing::debug!(%error, "an address that nobody was shown is not used");
        }
        published
    }
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
    problem: Option<Problem>,
    broadcasts: HashMap<Txid, Instant>,
    /// What the chain was asked about the other side's coins.
    inquiry: joint::Inquiry,
    /// How many messages the user has not read.
    unread: u32,
    /// Whether the counterparty was sent this side's payment details, as far as it was looked up in this run.
    has_sent_details: bool,
    /// What a key that is kept elsewhere has to sign.
    unsigned: Option<Unsigned>,
    /// What it has signed last.
    signed: Option<(Unsigned, Signatures)>,
    /// Whether the wallet has nothing set aside for it any more, since it came to nothing.
    freed: bool,
    /// What was done by itself to have its payout confirmed in time.
    hurry: Hurry,
}

impl Active {
    /// Returns a trade that begins to be driven, with what this node kept of it.
    fn new(trade: Trade, saved: Local, saved_pin: Option<Pin>, told: Option<String>, created: u64) -> Self {
        Self {
            trade,
            saved,
            pin: None,
            saved_pin,
            settled: false,
            created,
            phase: Phase::Bid,
            told,
            problem: None,
            broadcasts: HashMap::new(),
            inquiry: joint::Inquiry::default(),
            unread: 0,
            has_sent_details: false,
            unsigned: None,
            signed: None,
            freed: false,
            hurry: Hurry::default(),
        }
    }

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
    tokio::spawn(Trader::new(tools, looks, finds).run(inbox, changes, mail, looked, found, stop));
    handle
}

struct Trader {
    tools: Tools,
    trades: BTreeMap<TradeId, Active>,
    tracker: Tracker,
    watch: Option<mpsc::Sender<WatchRequest>>,
    /// Whether there are bids for own offers that there was no room for.
    has_overlooked: bool,
    /// What draws lots, anew with each start: nobody can tell beforehand whose bid is looked at where there are too many.
    lots: RandomState,
    /// When own trades are looked for that lacked an advert.
    lookout: bids::Lookout,
    /// What time the clock showed when the bids for all own offers were read: those that had ended by it were left out.
    bids_read: u64,
    /// When this run began.
    started: Instant,
    /// Whether the trades were told that the ledger was compared with a peer's.
    compared: bool,
    /// Whether they were told before that there was none for long, so that deadlines act.
    alone: bool,
    /// The payouts for whose other part sellers were asked.
    rounds: Rounds,
    /// The cases of this identity that are not driven yet.
    cases: Cases,
    /// The groups of arbiters that invite this identity, or have it.
    groups: BTreeMap<RecordId, Membership>,
    /// Those at which a look failed, as where nothing can be kept, in the order in which they are looked at again.
    stalled_groups: VecDeque<RecordId>,
    /// The cases of theirs in which somebody has decided.
    juries: BTreeMap<TradeId, Jury>,
    /// Where what the chain says of peers' coins comes in.
    looks: mpsc::Sender<joint::Look>,
    /// Where what is found in the ledger for an arbiter comes in.
    finds: mpsc::Sender<Found>,
}

impl Trader {
    /// Returns one that drives no trade yet.
    fn new(tools: Tools, looks: mpsc::Sender<joint::Look>, finds: mpsc::Sender<Found>) -> Self {
        Self {
            tools,
            trades: BTreeMap::new(),
            tracker: Tracker::default(),
            watch: None,
            has_overlooked: false,
            lots: RandomState::new(),
            lookout: bids::Lookout::default(),
            bids_read: 0,
            started: Instant::now(),
            compared: false,
            alone: false,
            rounds: Rounds::default(),
            cases: Cases::default(),
            groups: BTreeMap::new(),
            stalled_groups: VecDeque::new(),
            juries: BTreeMap::new(),
            looks,
            finds,
        }
    }

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
                    Some(event) => {
                        let has_changed = self.tracker.apply(&event);
                        self.note_search(&event);
                        if has_changed {
                            self.on_chain().await;
                        }
                    }
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

    /// Follows the chain from the first block in which an escrow of these days can have been funded, and asks for older ones
    /// besides.
    async fn follow(&mut self) -> Option<Follower> {
        let chain = Arc::clone(&self.tools.chain);
        let followed = async {
            let tip = chain.tip().await?;
            let Plan { first, scripts, older } = self.tracker.plan(tip.height);
            let start = first.map_or(tip.height, |height| height.saturating_sub(1).min(tip.height));
            // Without it the chain would be followed from its tip on, as if nothing were below.
            let header = chain.headers(start, 1).await?.first().copied();
            let header = header.ok_or_else(|| ChainError::Invalid {
                backend: chain.name(),
                reason: format!("there is no block at height {start}, below the tip"),
            })?;
            let start = BlockRef { height: start, hash: header.block_hash() };
            let follower = chain.follow(vec![start], scripts).await?;
            self.tracker.begin(header.time);
            Ok::<_, ChainError>((follower, older))
        };
        match followed.await {
            Ok((follower, older)) => {
                // A new follower has room for them. One that had not would be left, and the chain followed anew.
                let is_asked = older.into_iter().all(|request| follower.watch.try_send(request).is_ok());
                self.watch = is_asked.then(|| follower.watch.clone());
                Some(follower)
            }
            Err(error) => {
                tracing::warn!(%error, "the chain cannot be followed; trying again");
                None
            }
        }
    }

    /// Returns what a trade is to hear of the chain. One that has ended stays as it was seen until the chain, followed to its
    /// tip, says otherwise: on the way there less is known than before.
    fn chain_facts(&self, id: TradeId) -> ChainFacts {
        let facts = ChainFacts { is_old: self.tools.sure.is_old(self.tracker.time().into()), ..self.tracker.facts(id) };
        let has_ended = |active: &&Active| active.pin.as_ref().is_some_and(|pin| pin.settled.is_some());
        match self.trades.get(&id).filter(|active| !facts.synced && has_ended(active)) {
            Some(active) => ChainFacts { synced: false, ..active.trade.view().chain().clone() },
            None => facts,
        }
    }

    /// Tells the user that old blocks cannot be searched for the escrow of a trade, and when that is over.
    fn note_search(&mut self, event: &ChainEvent) {
        match event {
            ChainEvent::Unreadable { scripts, error } => {
                for id in self.tracker.among(scripts) {
                    let words = format!("old blocks, which may show its coins, cannot be read: {error}");
                    self.note_problem(id, Trouble::Search, words);
                }
            }
            ChainEvent::Searched { .. } | ChainEvent::Shown { .. } | ChainEvent::Synced { .. } => {
                let is_searched = |id: &TradeId| self.tracker.is_searched(id);
                for id in self.trades.keys().copied().filter(is_searched).collect::<Vec<_>>() {
                    self.end_problem(id, |with| with == Trouble::Search);
                }
            }
            ChainEvent::Connected { .. }
            | ChainEvent::Disconnected { .. }
            | ChainEvent::Found { .. }
            | ChainEvent::MempoolSeen { .. }
            | ChainEvent::Evicted { .. }
            // The tracker keeps who refuses, and a trade is shown with it.
            | ChainEvent::Withheld { .. } => {}
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
        self.raise_in_time().await;
    }

    /// Tells the trades once that nothing which others said is unheard any more. Who finds nobody for an hour goes on alone:
    /// his own coins must not wait for a network that is gone. Who could pay waits on.
    async fn note_comparison(&mut self) {
        let event = if !self.compared && self.tools.keeper.is_compared() {
            self.compared = true;
            Event::Compared
        } else if !self.compared && !self.alone && self.started.elapsed() >= ALONE_AFTER {
            self.alone = true;
            Event::Alone
        } else {
            return;
        };
        let ids: Vec<TradeId> = self.trades.keys().copied().collect();
        for id in ids {
            self.handle(id, event.clone()).await.ok();
        }
    }

    /// Tries again everything that is still owed, and looks for bids that there was no room for, and trades that lacked an
    /// advert.
    async fn on_retry(&mut self) {
        self.take_up_undriven().await;
        self.take_up_after_clock().await;
        if self.has_overlooked && self.has_room() {
            self.has_overlooked = false;
            for id in self.open_bids() {
                self.refresh(id).await;
            }
        }
        self.note_dead_fundings().await;
        let is_unfinished = |active: &Active| !active.phase.is_final() || is_owed_more(&active.trade);
        let ids: Vec<TradeId> = self.trades.iter().filter(|(_, a)| is_unfinished(a)).map(|(id, _)| *id).collect();
        for id in ids {
            self.handle(id, Event::Chain(self.chain_facts(id))).await.ok();
        }
        // Payment details, too, may have come while the disk was full.
        if let Err(error) = self.tools.mailbox.deliver_waiting() {
            tracing::error!(%error, "kept messages cannot be read");
        }
        self.retry_groups().await;
        self.ask_again().await;
    }
}

/// Tells whether something is left to be done of a trade that is over: coins that are set aside come free, and what takes back what
/// was paid besides is sent until a block holds it.
fn is_owed_more(trade: &Trade) -> bool {
    trade.holds_coins() || trade.kept_stray().is_some()
}

fn not_mine(id: TradeId) -> ApiError {
    let message = format!("trade {id} is not one of this node's");
    ApiError::new(Code::NotFound, message, "`exchange-node trade list` shows them")
}

#[cfg(test)]
mod tests;
