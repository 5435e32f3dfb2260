//! The view of a Bitcoin chain, behind one trait.
//!
//! Everything the node knows about the chain reaches it through a [`Follower`]: an ordered stream of blocks connected
//! and disconnected, with the transactions that touch what the follower watches. A follower starts from a *locator*
//! (the last blocks its owner has persisted), so a node that was away first hears what was undone and then what came.
//!
//! | module | what |
//! |---|---|
//! | [`kernel`] | Bitcoin Core's validation engine in this process, on regtest |
//! | [`core`] | a Bitcoin Core node over RPC |
//! | [`cbf`] | a light client of the Bitcoin network, without any server |
//! | [`electrum`] | Electrum servers, whose every confirmation is proven |
//! | `follower` | the one engine that turns any backend's blocks and pool into a [`Follower`]'s stream |
//! | [`consensus`] | the check of every spend before it is signed away or shown |
//! | `conformance` | what every backend must do, as tests |
//! | `line` | for tests: a line to the embedded chain, which can fail |

use std::time::Duration;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use tokio::sync::mpsc;

mod amount;
pub mod cbf;
#[cfg(any(test, feature = "test-support"))]
pub mod conformance;
pub mod consensus;
pub mod core;
pub mod electrum;
mod follower;
mod headers;
pub mod kernel;
#[cfg(test)]
pub(crate) mod line;
mod witnesses;

/// How many events a follower may lag behind before the backend waits for it.
pub const FOLLOWER_QUEUE: usize = 256;
/// The highest feerate that this node pays, or that others can talk it into, without an explicit word of its user: what mainnet
/// asked in its dearest weeks.
pub const MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(500);
/// How many scripts one follower may watch; a wallet with its look-ahead and a hundred trades stays far below.
pub const MAX_WATCHED_SCRIPTS: usize = 100_000;
/// The heaviest transaction that nodes pass on while it waits for a block, in weight units. Whoever tells of a pool may make up
/// others.
pub(crate) const MAX_WAITING_WEIGHT: u64 = 400_000;
/// How heavy all may be that is kept of what waits for a block: as heavy as a block, for no more can be in the next one.
pub(crate) const MAX_WEIGHT_IN_ALL: u64 = 4_000_000;
/// How many headers one call returns: 160 kB, and a fortnight of the chain.
pub const MAX_HEADERS: usize = 2_016;

/// How many blocks the median time past spans (BIP-113).
const MEDIAN_SPAN: u32 = 11;

/// A block's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Height above genesis.
    pub height: u32,
    /// The block's hash.
    pub hash: BlockHash,
}

/// What a follower hears, in order.
#[derive(Debug, Clone)]
pub enum ChainEvent {
    /// A block joined the best chain, with its transactions that touch a watched script (as output or spent prevout).
    Connected {
        /// The block.
        block: BlockRef,
        /// The hash of its parent.
        parent: BlockHash,
        /// The block's own time (seconds since the epoch).
        time: u32,
        /// The watched transactions, in block order.
        txs: Vec<Transaction>,
    },
    /// A block left the best chain. Whatever it confirmed is unconfirmed again. Once all is told that stands there now,
    /// [`ChainEvent::Synced`] follows.
    Disconnected {
        /// The block.
        block: BlockRef,
    },
    /// A transaction in an already delivered block touches a script that was watched only later, or was kept back by a
    /// server that told of the block.
    Found {
        /// The block that holds it.
        block: BlockRef,
        /// The transaction.
        tx: Transaction,
    },
    /// A watched transaction entered the memory pool.
    MempoolSeen {
        /// The transaction.
        tx: Transaction,
    },
    /// A transaction reported by [`ChainEvent::MempoolSeen`] left the pool without being confirmed.
    Evicted {
        /// Its id.
        txid: Txid,
    },
    /// A request to watch more was answered: what the past holds of these scripts has been delivered.
    Searched {
        /// The scripts of the request.
        scripts: Vec<ScriptBuf>,
    },
    /// A request to watch more cannot be answered for now, for old blocks cannot be read. It is tried again; everything else goes
    /// on meanwhile.
    Unreadable {
        /// The scripts of the request.
        scripts: Vec<ScriptBuf>,
        /// What the backend said.
        error: ChainError,
    },
    /// What touches this script is not told from here on, for nobody shows it: a server may refuse what it finds too much, and
    /// anybody can pay to a script until it does. All else is told. Comes before anything that looks as if all were told.
    Withheld {
        /// The script.
        script: ScriptBuf,
        /// Who refuses it, in which words.
        reason: String,
    },
    /// What touches this script is told again, and what was not told of it has been delivered.
    Shown {
        /// The script.
        script: ScriptBuf,
    },
    /// Everything up to this block has been delivered, but for what is still searched for, or withheld; deadlines may act from here
    /// on.
    Synced {
        /// The tip.
        tip: BlockRef,
    },
}

/// Adds scripts to what a follower watches.
#[derive(Debug)]
pub struct WatchRequest {
    /// The scripts.
    pub scripts: Vec<ScriptBuf>,
    /// The first height at which they can appear; blocks from here to the present are searched again, for those too
    /// that are watched already. New blocks are told meanwhile, without these scripts until all is searched.
    pub from_height: u32,
}

/// One subscriber's stream of chain events. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Follower {
    /// The events, in order.
    pub events: mpsc::Receiver<ChainEvent>,
    /// Watches more scripts from now on; answered by [`ChainEvent::Found`] for the past, a
    /// [`ChainEvent::Searched`], then a [`ChainEvent::Synced`].
    pub watch: mpsc::Sender<WatchRequest>,
}

/// An output that the chain is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedOutput {
    /// Which.
    pub outpoint: OutPoint,
    /// Its script.
    pub script: ScriptBuf,
    /// The first height at which it can be.
    pub from_height: u32,
}

/// What the chain says of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutpointStatus {
    /// No transaction with this output is known in the chain or the pool.
    Unknown,
    /// The output exists and nothing spends it.
    Unspent {
        /// The output.
        output: TxOut,
        /// The height that confirms it; `None` while in the pool.
        height: Option<u32>,
    },
    /// The output is spent.
    Spent {
        /// The output.
        output: TxOut,
        /// The height that confirms the output; `None` while in the pool.
        height: Option<u32>,
        /// The spending transaction.
        by: Box<Transaction>,
        /// The height that confirms the spend; `None` while in the pool.
        spent_height: Option<u32>,
    },
}

/// Failures of a chain backend.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The backend does not answer; the node keeps retrying.
    #[error(
        "chain backend {backend} is unreachable at {at}: {reason}; check that it runs and that the address is right"
    )]
    Unreachable {
        /// The backend's name.
        backend: &'static str,
        /// Its address.
        at: String,
        /// What the system said.
        reason: String,
    },
    /// The backend's cookie file is not there: it writes one at each start, and removes it when it stops.
    #[error(
        "chain backend {backend} has no cookie file {path}: either it is not running, or the path is wrong; start it, or \
         name the file by --core-cookie (it lies in bitcoind's data directory, e.g. ~/.bitcoin/regtest/.cookie)"
    )]
    NoCookie {
        /// The backend's name.
        backend: &'static str,
        /// Where it was looked for.
        path: String,
    },
    /// The backend refused our credentials.
    #[error("chain backend {backend} refused the credentials ({reason}); check the cookie file or user and password")]
    Unauthorized {
        /// The backend's name.
        backend: &'static str,
        /// What it said.
        reason: String,
    },
    /// The backend serves another network.
    #[error(
        "chain backend {backend} serves {found}, but this node is configured for {expected}; point it at a {expected} node or start with --network {found}"
    )]
    WrongNetwork {
        /// The backend's name.
        backend: &'static str,
        /// The network of this node.
        expected: Network,
        /// The network of the backend.
        found: String,
    },
    /// The transaction was refused by consensus or policy; it will not confirm as it is.
    #[error("transaction {txid} was refused: {reason}")]
    Refused {
        /// The transaction.
        txid: Txid,
        /// The backend's reason, e.g. `bad-txns-inputs-missingorspent`.
        reason: String,
    },
    /// No peer asked for the transaction. Nobody can tell whether they have it, or refused it before.
    #[error(
        "transaction {txid} is offered to peers again and again, and none has asked for it: they have it already, or refused it \
         lately; do not send another in its place"
    )]
    Unasked {
        /// The transaction.
        txid: Txid,
    },
    /// A peer asked for the transaction, and no other has told of it. It was refused, or waits in pools that nobody shows.
    #[error(
        "a peer took transaction {txid}, and no other has told of it within {waited_s} s: it was refused, or still spreads; it is \
         offered again, so do not send another in its place"
    )]
    Unheard {
        /// The transaction.
        txid: Txid,
        /// For how long its echo was waited for, in seconds.
        waited_s: u64,
    },
    /// Blocks of this network cannot be made at will.
    #[error("blocks of {network} cannot be mined at will; use regtest, or wait for the network's miners")]
    NotMinable {
        /// The network.
        network: Network,
    },
    /// The backend keeps its chain on this machine and cannot read or write it.
    #[error(
        "chain backend {backend} cannot use {path}: {reason}; check free space, permissions and that no other process uses it"
    )]
    Storage {
        /// The backend's name.
        backend: &'static str,
        /// Where the chain is kept.
        path: String,
        /// What failed.
        reason: String,
    },
    /// The backend cannot tell what confirmation costs.
    #[error(
        "chain backend {backend} has no fee estimate for {blocks} blocks yet ({reason}); wait until it has seen more blocks"
    )]
    NoFeeEstimate {
        /// The backend's name.
        backend: &'static str,
        /// The target that was asked for.
        blocks: u16,
        /// What it said.
        reason: String,
    },
    /// One follower was asked to watch more than [`MAX_WATCHED_SCRIPTS`] scripts.
    #[error(
        "{asked} scripts are more than one follower can watch ({MAX_WATCHED_SCRIPTS}); split them over several followers"
    )]
    TooManyScripts {
        /// How many it would have to watch.
        asked: usize,
    },
    /// The backend refuses to show what touches one script; others it shows.
    #[error(
        "chain backend {backend} does not show what touches a script: {reason}; name another server (--electrum-server), or see the \
         chain without one"
    )]
    Withheld {
        /// The backend's name.
        backend: &'static str,
        /// Who refuses it, in which words.
        reason: String,
    },
    /// The backend said something that cannot be true.
    #[error("chain backend {backend} answered nonsense: {reason}")]
    Invalid {
        /// The backend's name.
        backend: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// One way to see and reach the Bitcoin chain. All methods are safe to call again: a broadcast of a transaction that is
/// already in the pool or in the chain succeeds, or fails as [`ChainError::Unasked`] where nobody tells what is there.
#[async_trait]
pub trait ChainBackend: Send + Sync + 'static {
    /// Returns the backend's name, as in the configuration.
    fn name(&self) -> &'static str;

    /// Returns the network, checked against the backend when it was opened.
    fn network(&self) -> Network;

    /// Tells whether this is the user's own node. What it refused it has not passed on; of anybody else's refusal nobody knows that.
    fn is_own(&self) -> bool {
        false
    }

    /// Returns the best block.
    async fn tip(&self) -> Result<BlockRef, ChainError>;

    /// Returns the block at `height` of the best chain, `None` above the tip.
    async fn block_at(&self, height: u32) -> Result<Option<Block>, ChainError>;

    /// Returns the headers of the best chain from `from` on, oldest first, each on the one before: at most `limit` and at
    /// most [`MAX_HEADERS`], fewer only where the chain ends.
    async fn headers(&self, from: u32, limit: usize) -> Result<Vec<Header>, ChainError>;

    /// Starts a follower. `locator` holds blocks the subscriber has processed, newest first; every block above the fork
    /// that left the chain is reported as disconnected, then every block above the fork is connected, oldest first,
    /// then comes the pool, then [`ChainEvent::Synced`]. An empty locator starts at the present tip, with no history:
    /// `Synced` comes first. To hear everything from the beginning pass the genesis block.
    ///
    /// A locator with gaps will do while the backend remembers the blocks that left. Where it does not (another
    /// bitcoind), only the listed blocks are undone and blocks below may be connected again: list the last hundred.
    async fn follow(&self, locator: Vec<BlockRef>, watch: Vec<ScriptBuf>) -> Result<Follower, ChainError>;

    /// Returns what became of `outpoint`, an output with `script` that cannot be older than `from_height`. Of one that is older
    /// after all a backend tells what it sees, or [`OutpointStatus::Unknown`]: it is no error, for anybody can name such outputs.
    async fn outpoint(
        &self,
        outpoint: OutPoint,
        script: ScriptBuf,
        from_height: u32,
    ) -> Result<OutpointStatus, ChainError>;

    /// Returns what became of an output as [`Self::outpoint`] does, if no more than so many `blocks` have to be read for it; `None`
    /// otherwise. Those that were read are taken off them. A backend that knows where outputs are reads none.
    async fn outpoint_within(
        &self,
        outpoint: OutPoint,
        script: ScriptBuf,
        from_height: u32,
        _blocks: &mut u32,
    ) -> Result<Option<OutpointStatus>, ChainError> {
        self.outpoint(outpoint, script, from_height).await.map(Some)
    }

    /// Returns what became of several outputs, in their order, each as [`Self::outpoint`] does: where old blocks have to be read,
    /// once for all of them.
    async fn outpoints(&self, asked: &[AskedOutput]) -> Result<Vec<OutpointStatus>, ChainError> {
        let mut found = Vec::with_capacity(asked.len());
        for AskedOutput { outpoint, script, from_height } in asked {
            found.push(self.outpoint(*outpoint, script.clone(), *from_height).await?);
        }
        Ok(found)
    }

    /// Returns what became of outputs that the user himself names, as [`Self::outpoints`] does: he waits for no look at what others
    /// name.
    async fn named_outpoints(&self, asked: &[AskedOutput]) -> Result<Vec<OutpointStatus>, ChainError> {
        self.outpoints(asked).await
    }

    /// Returns how far below the tip this backend should be asked for an output that others name, if it has to read all blocks from
    /// there on.
    fn reach(&self) -> Option<u32> {
        None
    }

    /// Hands a transaction to the network.
    async fn broadcast(&self, tx: &Transaction) -> Result<(), ChainError>;

    /// Hands a parent and the child that pays for it to the network, together.
    async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), ChainError>;

    /// Hands to the network what is owed to it until a block holds it: a transaction, or a parent and the child that pays for it.
    /// Unlike [`Self::broadcast`] it waits for nobody who is to tell that he took it: followers hear of that. Tells whether it is
    /// known to wait in a pool, or to be in a block.
    async fn offer(&self, txs: &[Transaction]) -> Result<bool, ChainError> {
        match txs {
            [tx] => self.broadcast(tx).await?,
            package => self.broadcast_package(package).await?,
        }
        Ok(true)
    }

    /// Hears of a transaction that waited in a pool when this node was stopped, as its owner knows, and that nothing in the chain
    /// has settled since. Where nobody can be asked what waits, it counts as waiting.
    fn recall(&self, _tx: &Transaction) {}

    /// Estimates the feerate for confirmation within `blocks`; never below the relay minimum, nor above [`MAX_FEE_RATE`].
    async fn fee_rate(&self, blocks: u16) -> Result<FeeRate, ChainError>;

    /// Mines `count` blocks paying to `script`, with what the pool holds; only on regtest.
    ///
    /// # Errors
    /// [`ChainError::NotMinable`] on any other network.
    async fn mine(&self, count: u32, script: ScriptBuf) -> Result<Vec<BlockHash>, ChainError>;
}

/// How often a polling backend asks for news.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Returns the median time past of the block at a height of the best chain (BIP-113), in seconds since the Unix epoch; zero
/// where the backend has no headers that low or that high.
///
/// # Errors
/// When the backend fails.
pub async fn median_time_past(chain: &dyn ChainBackend, height: u32) -> Result<u64, ChainError> {
    let first = height.saturating_add(1).saturating_sub(MEDIAN_SPAN);
    let count = height.saturating_sub(first).saturating_add(1);
    let headers = chain.headers(first, count as usize).await?; // at most the span
    let times: Vec<u32> = headers.iter().map(|header| header.time).collect();
    Ok(median_time(&times).into())
}

/// Tells whether the block at a height of the best chain was made before a time (in seconds since the Unix epoch), by its median
/// time past. One that is not there was not.
///
/// # Errors
/// When the backend fails.
pub async fn was_made_before(chain: &dyn ChainBackend, height: u32, time: u64) -> Result<bool, ChainError> {
    let past = median_time_past(chain, height).await?;
    Ok(past > 0 && past < time)
}

/// Returns the lowest height, but none below `from`, at which a block can stand that was made since a time (in seconds since the
/// Unix epoch): by the median time past, which never falls and lags behind by some blocks. Where no block has reached that time
/// yet, it is a little below the tip.
///
/// # Errors
/// When the backend fails.
pub async fn lowest_since(chain: &dyn ChainBackend, from: u32, time: u64) -> Result<u32, ChainError> {
    // That of an honest statement is at or above it: then one question is enough.
    if median_time_past(chain, from).await? >= time {
        return Ok(from);
    }
    let (mut below, mut reached) = (from, chain.tip().await?.height.saturating_add(1));
    while reached.saturating_sub(below) > 1 {
        let middle = below + (reached - below) / 2;
        if median_time_past(chain, middle).await? >= time { reached = middle } else { below = middle }
    }
    // A block that was made since has half a span on top of it at most before the median reaches that time.
    Ok(reached.saturating_sub(MEDIAN_SPAN).max(from))
}

/// Returns the median of the last blocks' times, as many as the median time past spans.
fn median_time(recent_times: &[u32]) -> u32 {
    let mut times = recent_times[recent_times.len().saturating_sub(MEDIAN_SPAN as usize)..].to_vec(); // u32 fits
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
