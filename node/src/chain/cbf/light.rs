//! The light client and what it has learnt. One task hears the client's events, and starts it again when it has run out
//! of peers; everybody else looks at the state or asks the client.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bip157::chain::ChainState;
use bip157::{Builder, Client, Event, HashCheckpoint, Info, NodeError, Package, Requester, TrustedPeer};
use bitcoin::constants::genesis_block;
use bitcoin::{Block, BlockHash, Network, OutPoint, ScriptBuf, Transaction, Txid};
use exchange_ledger::audit::bundle::anchors;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::coins::Coins;
use super::filters::Filters;
use super::pool::Pool;
use super::{CbfConfig, NAME};
use crate::chain::headers::{Headers, Left, start_of};
use crate::chain::witnesses::has_its_witnesses;
use crate::chain::{BlockRef, ChainError};

/// How long peers may take for one block; a slow one is asked again by another.
const BLOCK_PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing may come in before peers are taken for unreachable.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// How long a peer may take to let us in, and to answer: several times what a good one on a slow line needs.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// How often the running client is asked whether it works, and how long it may take to answer. One task of it does everything, which
/// a peer that reads nothing can hold up for good; connecting to one takes seconds in any case.
const PULSE: Duration = Duration::from_secs(60);
const PULSE_PATIENCE: Duration = Duration::from_secs(120);
/// How long a client may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// The pause before the client is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(2);
/// Peers that have to agree on what a filter is, where anybody may be one.
const PUBLIC_PEERS: u8 = 3;
/// How many read old blocks at a time for outputs that the other sides of trades name. For others it is one at a time.
const MAX_TURNS: usize = 2;
/// How many transactions are remembered for which nobody asked. The oldest is forgotten first, and offered as if it were new.
const MAX_UNASKED: usize = 1_000;
/// How many blocks may be looked at late: a day of them.
const MAX_UNREAD: usize = 144;

/// The light client and its state.
#[derive(Debug)]
pub(super) struct Light {
    pub config: CbfConfig,
    state: Mutex<State>,
    /// Counts the changes of chain and pool; followers wait on it.
    pub changes: watch::Sender<u64>,
    /// Counts the connections that the running client has made, of which the last is the one that hears of transactions.
    connections: watch::Sender<u8>,
    /// Counts what came in of the chain.
    pub heard: watch::Sender<u64>,
    /// Tells that peers owe an answer for too long.
    pub stuck: Notify,
    /// What was read of outputs, and who may read for them.
    pub coins: Coins,
    pub turns: Turns,
}

/// Who reads old blocks for outputs waits for his turn among his like: a slow look holds up no other kind.
#[derive(Debug)]
pub(super) struct Turns {
    /// Looks at what the other sides of trades name.
    pub trades: Arc<Semaphore>,
    /// Looks at what the user names.
    pub user: Arc<Semaphore>,
    /// Looks at one output at a time, as audits take them.
    pub single: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        let [trades, user, single] = [MAX_TURNS, 1, 1].map(|count| Arc::new(Semaphore::new(count)));
        Self { trades, user, single }
    }
}

/// What was learnt.
#[derive(Debug)]
pub(super) struct State {
    /// How the running client is asked; `None` while there is none.
    requester: Option<Requester>,
    /// The headers as they come in.
    learnt: Headers,
    /// The headers as they are shown: always whole, and with everything known of their blocks.
    pub shown: Headers,
    /// Whether the client has reached the tip since this node started.
    pub synced: bool,
    pub left: Left,
    pub filters: Filters,
    pub pool: Pool,
    /// Shown blocks that nobody sent in time to see what they do to the pool, oldest first.
    unread: Vec<BlockHash>,
    /// What was offered and nobody asked for.
    unasked: VecDeque<Txid>,
    /// What is being offered while somebody waits for its echo.
    pub offered: HashSet<Txid>,
    /// What peers are asked to tell of. Bounded by what followers may watch.
    scripts: HashSet<ScriptBuf>,
}

impl State {
    /// Notes that nobody asked for a transaction that was offered.
    pub fn note_unasked(&mut self, txid: Txid) {
        if !self.is_unasked(&txid) {
            self.unasked.push_back(txid);
        }
        self.unasked.drain(..self.unasked.len().saturating_sub(MAX_UNASKED));
    }

    /// Tells whether a transaction was offered and nobody asked for it.
    pub fn is_unasked(&self, txid: &Txid) -> bool {
        self.unasked.contains(txid)
    }
}

impl Light {
    pub fn new(config: CbfConfig) -> Self {
        let base = Headers::new(start_of(config.network));
        let state = State {
            requester: None,
            learnt: base.clone(),
            shown: base,
            synced: false,
            left: Left::default(),
            filters: Filters::default(),
            pool: Pool::default(),
            unread: Vec::new(),
            unasked: VecDeque::new(),
            offered: HashSet::new(),
            scripts: HashSet::new(),
        };
        Self {
            config,
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
            connections: watch::Sender::new(0),
            heard: watch::Sender::new(0),
            stuck: Notify::new(),
            coins: Coins::default(),
            turns: Turns::default(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    /// Returns the best block that is shown.
    pub fn best(&self) -> Result<BlockRef, ChainError> {
        let state = self.state();
        if state.synced { Ok(state.shown.tip()) } else { Err(self.unreachable("its chain is still being read")) }
    }

    /// Returns the hash at a height of the shown chain.
    pub fn hash_at(&self, height: u32) -> Option<BlockHash> {
        self.state().shown.hash_at(height)
    }

    fn shows(&self, hash: &BlockHash) -> bool {
        self.state().shown.height_of(hash).is_some()
    }

    /// Returns how the client is asked.
    pub fn requester(&self) -> Result<Requester, ChainError> {
        self.state().requester.clone().ok_or_else(|| self.unreachable("no peer is connected"))
    }

    pub fn unreachable(&self, reason: impl ToString) -> ChainError {
        let peers: Vec<String> = self.config.peers.iter().map(ToString::to_string).collect();
        let at = if peers.is_empty() { format!("the peers of {}", self.config.network) } else { peers.join(", ") };
        ChainError::Unreachable { backend: NAME, at, reason: reason.to_string() }
    }

    /// Returns the error of a client that does not answer.
    pub fn held_up(&self) -> ChainError {
        self.unreachable("a peer holds the light client up")
    }

    /// Downloads a block; `None` when it has left the chain. The client has checked that its header commits to its
    /// transactions; their witnesses, by which a spend shows what it is, are left to be checked.
    pub async fn block(&self, hash: BlockHash) -> Result<Option<Block>, ChainError> {
        let genesis = genesis_block(self.config.network);
        if hash == genesis.block_hash() {
            return Ok(Some(genesis));
        }
        let requester = self.requester()?;
        match timeout(BLOCK_PATIENCE, requester.get_block(hash)).await {
            Ok(Ok(block)) if has_its_witnesses(&block.block) => Ok(Some(block.block)),
            Ok(Ok(_)) => {
                let reason = format!("a peer sent block {hash} with other witnesses than it commits to");
                Err(ChainError::Invalid { backend: NAME, reason })
            }
            // One that has just begun anew has not all headers yet.
            Ok(Err(bip157::error::FetchBlockError::UnknownHash)) if self.shows(&hash) => {
                Err(self.unreachable("the light client still reads its chain"))
            }
            Ok(Err(bip157::error::FetchBlockError::UnknownHash)) => Ok(None),
            Ok(Err(error)) => Err(self.unreachable(error)),
            Err(_) => Err(self.unreachable(format!("no peer sends block {hash}"))),
        }
    }

    /// Asks peers to tell of transactions that pay to scripts or spend outputs.
    pub async fn listen(&self, scripts: Vec<ScriptBuf>, outpoints: Vec<OutPoint>) -> Result<(), ChainError> {
        let requester = {
            let mut state = self.state();
            state.scripts.extend(scripts.iter().cloned());
            state.requester.clone()
        };
        // Without a client the next one is told of everything.
        if let Some(requester) = requester {
            // The channel is read by the task, which opened it.
            let told = timeout(SILENCE, requester.subscribe_to_gossip(interest(scripts, outpoints))).await;
            told.map_err(|_| self.held_up())?.map_err(|error| self.unreachable(error))?;
        }
        Ok(())
    }

    /// Offers again what was offered before; nobody waits for it.
    pub fn resend(self: &Arc<Self>, package: Package) {
        let light = Arc::clone(self);
        tokio::spawn(async move {
            if let Ok(requester) = light.requester() {
                // Peers that know it do not ask for it, so there may be no answer.
                timeout(SILENCE, requester.submit_package(package)).await.ok();
            }
        });
    }

    /// Runs the client until `stop`, again and again.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let (node, client) = self.builder(start_of(self.config.network)).headers_only_sync().build();
            let requester = client.requester.clone();
            let running = tokio::spawn(node.run());
            tokio::select! {
                () = self.hear(client) => {}
                () = stop.cancelled() => {}
            }
            self.state().requester = None;
            end(&requester, running).await;
            tokio::select! { () = sleep(RESTART_PAUSE) => {} () = stop.cancelled() => {} }
        }
    }

    /// Returns how a client is built that follows the chain from above a block.
    pub fn builder(&self, from: BlockRef) -> Builder {
        let config = &self.config;
        let start = ChainState::Checkpoint(HashCheckpoint::new(from.height, from.hash));
        let builder = Builder::new(config.network).chain_state(start).fetch_witness_data();
        let builder = builder.handshake_timeout(HANDSHAKE_PATIENCE).response_timeout(ANSWER_PATIENCE);
        let builder = builder.required_peers(self.peers_needed());
        if config.peers.is_empty() {
            return builder;
        }
        // One connection follows the chain, a second one hears of transactions, a third is there when one breaks.
        let peers = config.peers.iter().flat_map(|peer| [*peer; 3]).map(TrustedPeer::from_socket_addr);
        builder.whitelist_only().add_peers(peers)
    }

    /// Returns how many connections follow the chain.
    fn peers_needed(&self) -> u8 {
        if self.config.peers.is_empty() { PUBLIC_PEERS } else { 1 }
    }

    /// Waits until a connection hears of transactions, or until that takes too long.
    pub async fn can_hear(&self) {
        let mut connections = self.connections.subscribe();
        let is_there = connections.wait_for(|count| *count > self.peers_needed());
        // Whoever waits in vain goes on: at worst an echo is missed.
        timeout(SILENCE, is_there).await.ok();
    }

    /// Hears a client until it stops or is held up, or until its peers leave it without an answer that it waits for and does not
    /// ask for again: a node whose index of filters lags behind its chain says nothing at all.
    async fn hear(self: &Arc<Self>, client: Client) {
        let (scripts, outpoints) = {
            let mut state = self.state();
            let start = state.learnt.base();
            state.learnt = Headers::new(start);
            state.requester = Some(client.requester.clone());
            self.connections.send_replace(0);
            (state.scripts.iter().cloned().collect(), state.pool.spent())
        };
        let requester = client.requester.clone();
        let subscribed = timeout(PULSE_PATIENCE, requester.subscribe_to_gossip(interest(scripts, outpoints))).await;
        let Ok(Ok(Some(gossip))) = subscribed else { return };
        tokio::select! {
            () = self.hear_pool(gossip) => {}
            () = self.hear_chain(client) => {}
            () = falls_silent(&requester, PULSE, PULSE_PATIENCE) => {
                tracing::warn!("the light client answers nothing any more; it is started again");
            }
        }
    }

    /// Takes what peers tell of at once, whatever is waited for meanwhile. The library would keep 64 for us, of 32 MB each if a peer
    /// likes; the pool bounds what is kept.
    async fn hear_pool(&self, mut gossip: mpsc::Receiver<Transaction>) {
        while let Some(tx) = gossip.recv().await {
            self.keep(&tx);
        }
    }

    async fn hear_chain(self: &Arc<Self>, client: Client) {
        let Client { requester, mut info_rx, mut warn_rx, mut event_rx } = client;
        let mut heard_at = Instant::now();
        loop {
            tokio::select! {
                event = event_rx.recv() => match event {
                    Some(event) => {
                        self.on_event(event).await;
                        self.heard.send_modify(|count| *count += 1);
                        heard_at = Instant::now();
                    }
                    None => return,
                },
                () = sleep_until(heard_at + SILENCE), if self.is_behind() => return,
                () = self.stuck.notified() => return,
                Some(warning) = warn_rx.recv() => tracing::trace!(%warning, "light client"),
                Some(info) = info_rx.recv() => {
                    tracing::trace!(%info, "light client");
                    if matches!(info, Info::SuccessfulHandshake) {
                        self.connections.send_modify(|count| *count = count.saturating_add(1));
                        // A used-up address is put back, or the client would run out of those it was given.
                        if let Some(peer) = self.config.peers.first() {
                            requester.add_peer(TrustedPeer::from_socket_addr(*peer)).ok();
                        }
                    }
                }
            }
        }
    }

    /// Tells whether headers came in that are not shown yet.
    fn is_behind(&self) -> bool {
        let state = self.state();
        state.learnt.tip() != state.shown.tip()
    }

    async fn on_event(self: &Arc<Self>, event: Event) {
        match event {
            Event::ChainUpdate(changes) => self.state().learnt.learn(&changes),
            Event::IndexedFilter(filter) => self.state().filters.put(filter),
            Event::FiltersSynced(_) => self.show().await,
        }
    }

    /// Shows the chain that was learnt, with what it does to the pool.
    async fn show(self: &Arc<Self>) {
        let (new, has_pool) = {
            let state = self.state();
            // A client that begins anew believes the first peer who says that there are no more headers. Another one may know more.
            let is_less = state.learnt.has_less_work_than(&state.shown);
            if is_less || !holds_known_blocks(&state.learnt, self.config.network) {
                self.stuck.notify_one();
                return;
            }
            let mut ahead = state.shown.clone();
            let (_, first) = ahead.become_like(&state.learnt);
            let unread = state.unread.iter().copied().filter(|hash| ahead.height_of(hash).is_some());
            let new = (first..=ahead.tip().height).filter_map(|height| ahead.hash_at(height));
            (unread.chain(new).collect::<Vec<BlockHash>>(), !state.pool.is_empty() && state.synced)
        };
        // Only whole blocks tell what spends the coins of a transaction in the pool.
        let (mut blocks, mut unread) = (Vec::new(), Vec::new());
        for hash in new.into_iter().filter(|_| has_pool) {
            // One that nobody sends holds up the others once, and they are looked at in their order.
            if !unread.is_empty() {
                unread.push(hash);
                continue;
            }
            match self.block(hash).await {
                Ok(Some(block)) => blocks.push(block),
                // It left again: the next chain is shown instead.
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "a block is looked at with the next one");
                    unread.push(hash);
                }
            }
        }
        let again = {
            let state = &mut *self.state();
            let (left, _) = state.shown.become_like(&state.learnt);
            state.left.add(&left);
            state.synced = true;
            unread.drain(..unread.len().saturating_sub(MAX_UNREAD));
            state.unread = unread;
            let height = state.shown.tip().height;
            let left: HashSet<BlockHash> = left.iter().map(|header| header.block_hash()).collect();
            let again = state.pool.reopen(&left, height);
            blocks.iter().for_each(|block| state.pool.confirm(block, height));
            again.into_iter().filter(|tx| state.pool.get(&tx.compute_txid()).is_some()).collect::<Vec<_>>()
        };
        again.into_iter().for_each(|tx| self.resend(Package::new_single(tx)));
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Ends a client.
pub(super) async fn end(requester: &Requester, mut running: JoinHandle<Result<(), NodeError>>) {
    // It may have stopped by itself.
    requester.shutdown().ok();
    match timeout(STOP_PATIENCE, &mut running).await {
        Ok(Ok(Err(error))) => tracing::debug!(%error, "the light client stopped"),
        Ok(Ok(Ok(())) | Err(_)) => {}
        // Whoever is held up hears nothing of it.
        Err(_) => running.abort(),
    }
}

/// Waits until a client answers nothing any more.
async fn falls_silent(requester: &Requester, pulse: Duration, patience: Duration) {
    loop {
        sleep(pulse).await;
        match timeout(patience, requester.chain_tip()).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Tells whether a chain holds every block that everybody knows.
fn holds_known_blocks(chain: &Headers, network: Network) -> bool {
    let mut above = anchors(network).filter(|anchor| anchor.height >= chain.base().height);
    above.all(|anchor| chain.hash_at(anchor.height) == Some(anchor.hash))
}

fn interest(scripts: Vec<ScriptBuf>, outpoints: Vec<OutPoint>) -> bip157::GossipMonitorRequest {
    bip157::GossipMonitorRequestBuilder::from_expected_output_scripts(scripts).add_outpoints(outpoints).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that reads nothing holds up the one task of a client, which then answers nothing.
    #[tokio::test]
    async fn a_client_that_is_held_up_is_noticed() {
        // It is not run at all.
        let (_held_up, client) = Builder::new(Network::Regtest).build();
        let patience = Duration::from_millis(10);
        let noticed = timeout(SILENCE, falls_silent(&client.requester, patience, patience)).await;
        noticed.expect("it answers nothing");
    }
}
