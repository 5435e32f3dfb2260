//! The embedded chain: Bitcoin Core's validation engine in this process, on regtest, mining its own blocks.
//!
//! Every block and every script is judged by the same code that runs the Bitcoin network. What the engine lacks is here:
//! an [`index`](Index) of the chain, a [`pool`](Pool) and a miner. One instance serves any number of nodes of a process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction, Txid};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::follower::{self, Matches, News, Scanned, Scripts, Source};
use super::{BlockRef, ChainBackend, ChainError, Follower, MAX_HEADERS, OutpointStatus};
use crate::join::joined;
use engine::Engine;
use index::Index;
use pool::{FeeFloor, Pool};

mod engine;
mod index;
mod miner;
mod pool;
#[cfg(any(test, feature = "test-support"))]
mod reorg;
#[cfg(test)]
mod tests;

const NAME: &str = "kernel";

/// How the embedded chain is kept.
#[derive(Debug, Clone)]
pub struct KernelConfig {
    /// Where the chain is stored; `None` keeps it in memory, to be gone with the process.
    pub data_dir: Option<PathBuf>,
    /// Where a chain in memory puts Bitcoin Core's block files, in a directory that goes with it; `None`: where the system
    /// keeps temporary files.
    pub scratch: Option<PathBuf>,
    /// The network of this node; the embedded chain serves regtest only.
    pub network: Network,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self { data_dir: None, scratch: None, network: Network::Regtest }
    }
}

/// The embedded chain.
pub struct KernelChain {
    shared: Arc<Shared>,
}

impl KernelChain {
    /// Opens the chain, or starts a new one with the genesis block alone. A stored chain is read and indexed again, which
    /// takes about a second for ten thousand blocks.
    ///
    /// # Errors
    /// [`ChainError::WrongNetwork`] unless the network is regtest; [`ChainError::Storage`] when the directory cannot be
    /// used.
    pub fn open(config: KernelConfig) -> Result<Self, ChainError> {
        if config.network != Network::Regtest {
            let found = Network::Regtest.to_string();
            return Err(ChainError::WrongNetwork { backend: NAME, expected: config.network, found });
        }
        let engine = Engine::open(config.data_dir.as_deref(), config.scratch.as_deref())?;
        let mut state = State { engine, index: Index::default(), pool: Pool::default() };
        state.catch_up()?;
        Ok(Self { shared: Arc::new(Shared { state: Mutex::new(state), changes: watch::Sender::new(0) }) })
    }

    /// Tells whether a follower, or a call that goes on, still works with the chain.
    pub fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Runs `work` where it may take its time.
    async fn with_shared<T: Send + 'static>(&self, work: impl FnOnce(&Shared) -> T + Send + 'static) -> T {
        let shared = Arc::clone(&self.shared);
        joined(spawn_blocking(move || work(&shared))).await.expect("the chain is asked while the node runs")
    }
}

impl std::fmt::Debug for KernelChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelChain").finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    /// Counts the changes of chain and pool; followers wait on it.
    changes: watch::Sender<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the chain")
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn broadcast(&self, tx: &Transaction) -> Result<(), ChainError> {
        let state = &mut *self.state();
        state
            .pool
            .accept(&state.index, tx, FeeFloor::Relay)
            .map_err(|reason| ChainError::Refused { txid: tx.compute_txid(), reason })?;
        self.changed();
        Ok(())
    }

    fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), ChainError> {
        let state = &mut *self.state();
        state.pool.accept_package(&state.index, txs).map_err(|(txid, reason)| ChainError::Refused { txid, reason })?;
        self.changed();
        Ok(())
    }

    /// Mines one block on the tip; the lock is free between two blocks.
    fn mine_one(&self, script: &ScriptBuf) -> Result<BlockHash, ChainError> {
        let state = &mut *self.state();
        let (txs, fees) = state.pool.template();
        let block = miner::assemble(&state.site(state.tip()), script, txs, fees);
        state.engine.submit(&block)?;
        state.catch_up()?;
        self.changed();
        Ok(block.block_hash())
    }
}

struct State {
    engine: Engine,
    index: Index,
    pool: Pool,
}

impl State {
    fn tip(&self) -> BlockRef {
        self.index.tip().expect("an open chain has at least its genesis block")
    }

    /// Brings index and pool to the engine's best chain.
    fn catch_up(&mut self) -> Result<(), ChainError> {
        let mut undone = Vec::new();
        while let Some(block) = self.index.tip().filter(|tip| self.engine.hash_at(tip.height) != Some(tip.hash)) {
            tracing::debug!(height = block.height, hash = %block.hash, "block disconnected");
            undone.extend(self.index.disconnect());
        }
        while self.index.next_height() <= self.engine.height() {
            let height = self.index.next_height();
            let block = self.engine.read(height)?;
            self.pool.confirm(&block);
            self.index.connect(block.block_hash(), block);
        }
        if !undone.is_empty() {
            let oldest_first = undone.iter().rev().flat_map(|block| block.txdata.iter().skip(1));
            let disconnected: Vec<Transaction> = oldest_first.cloned().collect();
            self.pool.rebuild(&self.index, &disconnected);
        }
        Ok(())
    }

    /// Returns where a block on top of `parent` goes.
    fn site(&self, parent: BlockRef) -> miner::Site {
        miner::Site {
            parent: parent.hash,
            height: parent.height + 1,
            recent_times: self.index.recent_times(parent.height),
            tip: self.tip().hash,
        }
    }

    /// Returns the transaction with `txid` and the height that confirms it.
    fn tx(&self, txid: &Txid) -> Option<(&Transaction, Option<u32>)> {
        let confirmed = self.index.tx(txid).map(|(tx, height)| (tx, Some(height)));
        confirmed.or_else(|| self.pool.get(txid).map(|tx| (tx, None)))
    }

    fn outpoint(&self, outpoint: &OutPoint) -> OutpointStatus {
        let found = self.tx(&outpoint.txid);
        let Some((output, height)) =
            found.and_then(|(tx, height)| Some((tx.output.get(outpoint.vout as usize)?.clone(), height)))
        else {
            return OutpointStatus::Unknown;
        };
        let spend = match self.index.spender(outpoint) {
            Some(txid) => self.tx(&txid),
            None => self.pool.spender(outpoint).map(|tx| (tx, None)),
        };
        match spend {
            Some((by, spent_height)) => {
                OutpointStatus::Spent { output, height, by: Box::new(by.clone()), spent_height }
            }
            None => OutpointStatus::Unspent { output, height },
        }
    }

    /// Whether `tx` touches `scripts`, by its outputs or the outputs it spends.
    fn touches(&self, tx: &Transaction, scripts: &Scripts) -> bool {
        let outpoints = tx.input.iter().map(|input| input.previous_output);
        let prevouts = outpoints.filter_map(|o| self.tx(&o.txid).and_then(|(tx, _)| tx.output.get(o.vout as usize)));
        scripts.touched_by(tx, prevouts.map(|output| output.script_pubkey.as_script()))
    }
}

#[async_trait]
impl Source for Shared {
    fn label(&self) -> &'static str {
        NAME
    }

    async fn best(&self) -> Result<BlockRef, ChainError> {
        Ok(self.state().tip())
    }

    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        Ok(self.state().index.block_at(height).map(|(hash, _)| *hash))
    }

    async fn parent(&self, hash: BlockHash) -> Result<Option<BlockHash>, ChainError> {
        Ok(self.state().engine.parent(hash))
    }

    async fn scan(&self, hash: BlockHash, scripts: &Scripts) -> Result<Option<Scanned>, ChainError> {
        let state = self.state();
        let Some(block) = state.index.block(&hash) else {
            return Ok(None);
        };
        let txs = block.txdata.iter().filter(|tx| state.touches(tx, scripts)).cloned().collect();
        Ok(Some(Scanned { parent: block.header.prev_blockhash, time: block.header.time, txs }))
    }

    async fn pool(&self, tip: BlockHash) -> Result<Option<Vec<Txid>>, ChainError> {
        let state = self.state();
        Ok((state.tip().hash == tip).then(|| state.pool.ids()))
    }

    async fn pool_matches(&self, ids: &[Txid], scripts: &Scripts) -> Result<Matches, ChainError> {
        let state = self.state();
        let txs = ids.iter().filter_map(|id| state.pool.get(id));
        let txs = txs.filter(|tx| state.touches(tx, scripts)).cloned().collect();
        Ok(Matches { txs, absent: ids.iter().filter(|id| state.pool.get(id).is_none()).copied().collect() })
    }
}

#[async_trait]
impl ChainBackend for KernelChain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn network(&self) -> Network {
        Network::Regtest
    }

    fn is_own(&self) -> bool {
        true
    }

    async fn tip(&self) -> Result<BlockRef, ChainError> {
        self.shared.best().await
    }

    async fn block_at(&self, height: u32) -> Result<Option<Block>, ChainError> {
        Ok(self.shared.state().index.block_at(height).map(|(_, block)| block.as_ref().clone()))
    }

    async fn headers(&self, from: u32, limit: usize) -> Result<Vec<Header>, ChainError> {
        let state = self.shared.state();
        let blocks = (from..).map_while(|height| state.index.block_at(height));
        Ok(blocks.take(limit.min(MAX_HEADERS)).map(|(_, block)| block.header).collect())
    }

    async fn follow(&self, locator: Vec<BlockRef>, watch: Vec<ScriptBuf>) -> Result<Follower, ChainError> {
        let news = News::Pushed(self.shared.changes.subscribe());
        follower::spawn(Arc::clone(&self.shared), news, locator, watch).await
    }

    async fn outpoint(
        &self,
        outpoint: OutPoint,
        _script: ScriptBuf,
        _from_height: u32,
    ) -> Result<OutpointStatus, ChainError> {
        Ok(self.shared.state().outpoint(&outpoint))
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<(), ChainError> {
        let tx = tx.clone();
        self.with_shared(move |shared| shared.broadcast(&tx)).await
    }

    async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), ChainError> {
        let txs = txs.to_vec();
        self.with_shared(move |shared| shared.broadcast_package(&txs)).await
    }

    async fn fee_rate(&self, _blocks: u16) -> Result<FeeRate, ChainError> {
        // Blocks are never full here, so the floor buys the next one.
        Ok(FeeRate::BROADCAST_MIN)
    }

    async fn mine(&self, count: u32, script: ScriptBuf) -> Result<Vec<BlockHash>, ChainError> {
        self.with_shared(move |shared| (0..count).map(|_| shared.mine_one(&script)).collect()).await
    }
}
