//! The one engine behind every [`Follower`]: a task that pulls blocks and pool transactions from a [`Source`] at the
//! pace of its subscriber.
//!
//! It pulls instead of being pushed to, so a slow subscriber holds up nobody but itself and can miss nothing: what it
//! has not read yet still stands in the chain. All of its memory is the path of blocks it has delivered, the ids of
//! the pool, how far it has searched old blocks for what is watched later, and which scripts it has told to be withheld;
//! after a failure of the source it goes on from there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bitcoin::{BlockHash, Script, ScriptBuf, Transaction, Txid};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::{BlockRef, ChainError, ChainEvent, FOLLOWER_QUEUE, Follower, MAX_WATCHED_SCRIPTS, WatchRequest};
use crate::backoff::Backoff;
use search::Search;

mod search;
mod withheld;

/// How many delivered blocks a follower remembers, and how far below an unknown fork it starts again: two weeks of
/// blocks, far beyond any reorganisation ever seen.
const PATH_MEMORY: u32 = 2016;
/// How many requests to watch more may wait; the sender waits beyond that. Whoever looks back for trades of all ages, and for cases of
/// all ages, asks for less at once; a wallet shows no new address meanwhile.
pub(super) const REQUEST_QUEUE: usize = 32;
/// How many pool transactions are asked for at once, so that a full mainnet pool is read in small bites.
const POOL_BATCH: usize = 100;
/// How many pool ids a follower remembers (32 bytes each); the largest pools seen on mainnet held half of it.
const MAX_POOL_IDS: usize = 500_000;
/// The pauses after failures of the source: from the first to the longest, doubling.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
/// The pause when the chain moved while it was being read.
const MOVED_PAUSE: Duration = Duration::from_millis(10);
/// For how long old blocks are searched before it is looked whether a new one has come, and the pause before they are again.
const SEARCH_TIME: Duration = Duration::from_secs(1);
const SEARCH_PAUSE: Duration = Duration::from_millis(10);
/// How often the time is doubled that one old block may take, while it does not come: on a slow line it comes at last.
const MAX_DOUBLED: u32 = 2;
/// How many requests are searched for at a time; others wait in the channel. What is not withheld any more comes on top.
const MAX_SEARCHES: usize = 64;

/// What a backend offers the engine: its present state, to be asked for.
#[async_trait]
pub(super) trait Source: Send + Sync + 'static {
    /// The backend's name, for logs.
    fn label(&self) -> &'static str;

    /// Returns the block where its chain begins, if that is not genesis: whatever lies below is taken for granted.
    fn base(&self) -> Option<BlockRef> {
        None
    }

    /// Returns how long one old block may take before it is looked whether a new one has come, where strangers are waited for. Then the
    /// scan is dropped, and asked for again.
    fn patience(&self) -> Duration {
        Duration::MAX
    }

    /// Hears which scripts a follower watches from now on, for sources that have to ask peers for their transactions.
    fn watch(&self, _scripts: &Scripts) {}

    /// Returns the best block.
    async fn best(&self) -> Result<BlockRef, ChainError>;

    /// Returns the hash at `height` of the best chain, `None` above the tip.
    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError>;

    /// Returns the parent of a block that may have left the best chain; `None` when the block was never known or is
    /// forgotten.
    async fn parent(&self, hash: BlockHash) -> Result<Option<BlockHash>, ChainError>;

    /// Returns the block's place and its transactions that touch `scripts`; `None` when it is no longer known.
    async fn scan(&self, hash: BlockHash, scripts: &Scripts) -> Result<Option<Scanned>, ChainError>;

    /// Tells whether a transaction that a scan returned touches `scripts` for sure. One that hides what it spends may do so; a search
    /// keeps it only if that is an output which it has found.
    fn is_sure(&self, _tx: &Transaction, _scripts: &Scripts) -> bool {
        true
    }

    /// Returns how much came to light late, of which [`Source::late`] tells.
    fn learnt(&self) -> u64 {
        0
    }

    /// Returns transactions that touch `scripts` in blocks that had been shown without them: a source that is told by others
    /// may hear of them late. Those after `since`, which [`Source::learnt`] returned.
    fn late(&self, _since: u64, _scripts: &Scripts) -> Vec<(BlockRef, Transaction)> {
        Vec::new()
    }

    /// Returns how often it changed which scripts are withheld, of which [`Source::withheld`] tells.
    fn withholdings(&self) -> u64 {
        0
    }

    /// Returns those of `scripts` of whose transactions it cannot tell now, for whoever it asks refuses to; each with the reason.
    fn withheld(&self, _scripts: &Scripts) -> HashMap<ScriptBuf, String> {
        HashMap::new()
    }

    /// Returns the ids in the pool as it is on top of `tip`, `None` when another block is the tip.
    async fn pool(&self, tip: BlockHash) -> Result<Option<Vec<Txid>>, ChainError>;

    /// Returns those of the pool transactions `ids` that touch `scripts`, and which are not in the pool any more.
    async fn pool_matches(&self, ids: &[Txid], scripts: &Scripts) -> Result<Matches, ChainError>;
}

/// What the pool holds of some ids.
#[derive(Default)]
pub(super) struct Matches {
    /// The transactions that touch the scripts.
    pub txs: Vec<Transaction>,
    /// The ids that left the pool: nothing was learnt of them, and they may come back.
    pub absent: HashSet<Txid>,
}

/// A block as a follower needs it.
pub(super) struct Scanned {
    /// The hash of its parent.
    pub parent: BlockHash,
    /// Its own time.
    pub time: u32,
    /// Its transactions that touch the watched scripts, in block order.
    pub txs: Vec<Transaction>,
}

/// A set of watched scripts.
#[derive(Debug, Default, Clone)]
pub(super) struct Scripts(HashSet<ScriptBuf>);

impl Scripts {
    /// Whether `tx` pays to a watched script or spends an output of one (`spent`: the scripts of its prevouts).
    pub fn touched_by<'a>(&self, tx: &Transaction, spent: impl IntoIterator<Item = &'a Script>) -> bool {
        tx.output.iter().any(|output| self.0.contains(&output.script_pubkey))
            || spent.into_iter().any(|script| self.0.contains(script))
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a script is watched.
    pub fn contains(&self, script: &Script) -> bool {
        self.0.contains(script)
    }

    /// Returns what is watched, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &ScriptBuf> {
        self.0.iter()
    }
}

impl FromIterator<ScriptBuf> for Scripts {
    fn from_iter<I: IntoIterator<Item = ScriptBuf>>(scripts: I) -> Self {
        Self(scripts.into_iter().collect())
    }
}

/// How a follower learns that it is worth looking again.
pub(super) enum News {
    /// The source counts its changes.
    Pushed(watch::Receiver<u64>),
    /// The source has to be asked this often.
    Polled(Duration),
}

impl News {
    async fn next(&mut self) {
        match self {
            // A closed counter means that nothing can change any more.
            Self::Pushed(changes) => {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Self::Polled(interval) => sleep(*interval).await,
        }
    }
}

/// Starts the task of a follower and returns its subscriber's end.
pub(super) async fn spawn<S: Source>(
    source: Arc<S>,
    news: News,
    locator: Vec<BlockRef>,
    watch: Vec<ScriptBuf>,
) -> Result<Follower, ChainError> {
    let scripts: Scripts = watch.into_iter().collect();
    if scripts.0.len() > MAX_WATCHED_SCRIPTS {
        return Err(ChainError::TooManyScripts { asked: scripts.0.len() });
    }
    source.watch(&scripts);
    let (event_sender, events) = mpsc::channel(FOLLOWER_QUEUE);
    let (watch, requests) = mpsc::channel(REQUEST_QUEUE);
    let mut path = locator;
    let unsynced = !path.is_empty();
    if path.is_empty() {
        // Decided now, not when the task first runs: whatever comes after this call must be heard.
        let tip = source.best().await?;
        path.push(tip);
        event_sender.try_send(ChainEvent::Synced { tip }).expect("a new queue has room");
    }
    path.sort_by_key(|block| block.height);
    path.dedup_by_key(|block| block.height);
    if let Some(base) = source.base() {
        path.retain(|block| block.height >= base.height);
        if path.is_empty() {
            path.push(base);
        }
    }
    let task = Task {
        learnt: source.learnt(),
        source,
        events: event_sender,
        scripts,
        path: path.into(),
        resume_below: None,
        pool: HashMap::new(),
        searches: Vec::new(),
        unsynced,
        withheld: HashMap::new(),
        withholdings: None,
    };
    tokio::spawn(task.run(news, requests));
    Ok(Follower { events, watch })
}

struct Task<S> {
    source: Arc<S>,
    events: mpsc::Sender<ChainEvent>,
    scripts: Scripts,
    /// The blocks the subscriber has processed, oldest first.
    path: VecDeque<BlockRef>,
    /// Set while every block of the path is gone and the fork is unknown: the lowest height that was undone.
    resume_below: Option<u32>,
    /// The pool's ids, and whether the subscriber was told of each.
    pool: HashMap<Txid, bool>,
    /// Requests not yet answered, and the search for what is not withheld any more.
    searches: Vec<Search>,
    /// Whether something was delivered since the last `Synced`.
    unsynced: bool,
    /// How much of what came to light late was told.
    learnt: u64,
    /// The scripts that the subscriber knows to be withheld, each with the reason.
    withheld: HashMap<ScriptBuf, String>,
    /// How often these had changed when they were looked at last; `None` if they have to be in any case.
    withholdings: Option<u64>,
}

/// Why a round ended early.
enum Interrupted {
    /// The subscriber is gone, or cannot be served.
    Ended,
    /// The chain moved while it was being read.
    Moved,
    /// The source failed.
    Failed(ChainError),
}

impl From<ChainError> for Interrupted {
    fn from(error: ChainError) -> Self {
        Self::Failed(error)
    }
}

impl<S: Source> Task<S> {
    async fn run(mut self, mut news: News, mut requests: mpsc::Receiver<WatchRequest>) {
        // The failures in a row: their beginning is told once, and their end.
        let mut outage = BACKOFF;
        loop {
            let (pause, listens) = match self.round().await {
                Ok(()) => {
                    if outage.end() {
                        tracing::info!(backend = self.source.label(), "the chain is followed again");
                    }
                    (self.searches.iter().map(Search::pause).min(), true)
                }
                Err(Interrupted::Ended) => return,
                Err(Interrupted::Moved) => (Some(MOVED_PAUSE), false),
                Err(Interrupted::Failed(error)) => {
                    if !outage.has_begun() {
                        tracing::warn!(backend = self.source.label(), %error, "the chain cannot be followed; retrying");
                    }
                    (Some(outage.next_pause()), false)
                }
            };
            let closed = self.events.clone();
            tokio::select! {
                () = closed.closed() => return,
                () = after(pause) => {}
                () = news.next(), if listens => {}
                // During an outage requests stay in the bounded channel.
                Some(request) = requests.recv(), if listens && self.searches.len() < MAX_SEARCHES => {
                    if let Err(error) = self.begin_search(request) {
                        // Watching only some of them would look like a chain where nothing happens; an ended stream is noticed.
                        tracing::error!(%error, "follower ended");
                        return;
                    }
                }
            }
        }
    }

    /// Delivers everything that has happened since the last round.
    async fn round(&mut self) -> Result<(), Interrupted> {
        let tip = self.source.best().await?;
        self.tell_withheld().await?;
        // Read first: what comes to light from here on may be told twice, but is not missed.
        let learnt = self.source.learnt();
        self.undo(tip).await?;
        let known = self.at();
        self.searches.iter_mut().for_each(|search| search.rewind(known.height));
        self.connect(tip).await?;
        // What is new is told first.
        if !self.unsynced {
            self.search().await?;
        }
        self.tell_late(known, learnt).await?;
        self.sync_pool().await?;
        self.tell_withheld().await?;
        if self.unsynced {
            let tip = self.at();
            self.emit(ChainEvent::Synced { tip }).await?;
            self.unsynced = false;
        }
        self.search_shown();
        Ok(())
    }

    /// Disconnects the blocks of the path that left the best chain, newest first.
    async fn undo(&mut self, tip: BlockRef) -> Result<(), Interrupted> {
        while let Some(&block) = self.path.back() {
            if self.source.hash_at(block.height).await? == Some(block.hash) {
                return Ok(());
            }
            let below = block.height.saturating_sub(1);
            let has_gap = self.path.iter().nth_back(1).is_none_or(|next| next.height < below);
            // Where the path has a gap the block itself tells what stood below it. (Asked for before anything changes:
            // a failure here must not lose the block's place.)
            let parent = if has_gap { self.source.parent(block.hash).await? } else { None };
            self.emit(ChainEvent::Disconnected { block }).await?;
            self.unsynced = true;
            self.path.pop_back();
            self.path.extend(parent.map(|hash| BlockRef { height: below, hash }));
            self.resume_below = self.path.is_empty().then_some(block.height);
        }
        let Some(lowest) = self.resume_below else { return Ok(()) };
        // The source never knew these blocks, so nobody can tell where they fork off: start again well below them.
        let height = lowest.min(tip.height).saturating_sub(PATH_MEMORY).max(self.base_height());
        let hash = self.source.hash_at(height).await?.ok_or(Interrupted::Moved)?;
        self.path.push_back(BlockRef { height, hash });
        self.resume_below = None;
        Ok(())
    }

    /// Connects the blocks above the path up to `tip`, oldest first.
    async fn connect(&mut self, tip: BlockRef) -> Result<(), Interrupted> {
        while self.at().height < tip.height {
            let at = self.at();
            let height = at.height + 1;
            let hash = self.source.hash_at(height).await?.ok_or(Interrupted::Moved)?;
            let Scanned { parent, time, txs } =
                self.source.scan(hash, &self.scripts).await?.ok_or(Interrupted::Moved)?;
            if parent != at.hash {
                return Err(Interrupted::Moved);
            }
            for tx in &txs {
                self.pool.remove(&tx.compute_txid());
            }
            let block = BlockRef { height, hash };
            self.tell_withheld().await?;
            self.emit(ChainEvent::Connected { block, parent, time, txs }).await?;
            self.unsynced = true;
            self.path.push_back(block);
            if self.path.len() > PATH_MEMORY as usize {
                self.path.pop_front();
            }
        }
        Ok(())
    }

    /// Tells what came to light late in blocks up to `known`; what is above was delivered just now.
    async fn tell_late(&mut self, known: BlockRef, learnt: u64) -> Result<(), Interrupted> {
        for (block, tx) in self.source.late(self.learnt, &self.scripts) {
            if block.height <= known.height && self.source.hash_at(block.height).await? == Some(block.hash) {
                self.pool.remove(&tx.compute_txid());
                self.emit(ChainEvent::Found { block, tx }).await?;
                self.unsynced = true;
            }
        }
        self.learnt = learnt;
        Ok(())
    }

    /// Tells what left the pool and what entered it.
    async fn sync_pool(&mut self) -> Result<(), Interrupted> {
        let mut ids = self.source.pool(self.at().hash).await?.ok_or(Interrupted::Moved)?;
        ids.truncate(MAX_POOL_IDS);
        let present: HashSet<Txid> = ids.iter().copied().collect();
        let gone: Vec<Txid> = self.pool.keys().filter(|id| !present.contains(*id)).copied().collect();
        for txid in gone {
            if self.pool.remove(&txid) == Some(true) {
                self.emit(ChainEvent::Evicted { txid }).await?;
            }
        }
        ids.retain(|id| !self.pool.contains_key(id));
        for batch in ids.chunks(POOL_BATCH) {
            let Matches { txs, absent } = self.source.pool_matches(batch, &self.scripts).await?;
            self.pool.extend(batch.iter().filter(|id| !absent.contains(*id)).map(|id| (*id, false)));
            for tx in txs {
                self.pool.insert(tx.compute_txid(), true);
                self.emit(ChainEvent::MempoolSeen { tx }).await?;
            }
        }
        Ok(())
    }

    fn base_height(&self) -> u32 {
        self.source.base().map_or(0, |base| base.height)
    }

    /// The last block the subscriber has processed.
    fn at(&self) -> BlockRef {
        *self.path.back().expect("`undo` comes first and never leaves the path empty")
    }

    async fn emit(&self, event: ChainEvent) -> Result<(), Interrupted> {
        self.events.send(event).await.map_err(|_| Interrupted::Ended)
    }
}

/// Waits for so long; for ever, if that is not said.
async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
