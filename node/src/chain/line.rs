//! For tests: a line to the embedded chain, which counts what is asked over it and can fail.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction, Txid};
use tokio::sync::mpsc;

use super::follower::REQUEST_QUEUE;
use super::kernel::KernelChain;
use super::{BlockRef, ChainBackend, ChainError, Follower, OutpointStatus, WatchRequest};

/// How many requests to watch more wait for a follower that takes up none.
pub const WAITING: usize = REQUEST_QUEUE;

/// A line to the embedded chain.
pub struct Line {
    /// The chain.
    pub chain: Arc<KernelChain>,
    /// Whether it is down for broadcasts.
    pub down: AtomicBool,
    /// Whether somebody else holds its other end.
    pub is_foreign: bool,
    /// Whether it is said of what is broadcast that it was refused.
    pub refuses: AtomicBool,
    /// Whether not even its tip is known.
    pub is_cut: bool,
    /// The output about which no question comes through.
    pub broken: Option<OutPoint>,
    /// How often its tip is not known after such a question.
    pub hangs_up: usize,
    /// The output about which the answer is nonsense.
    pub garbled: Option<OutPoint>,
    /// The output of whose script nobody tells.
    pub withheld: Option<OutPoint>,
    /// The time by which its headers are dated, instead of their own.
    pub dated: Option<u32>,
    /// How many blocks have to be read for each output that is looked up.
    pub reads: u32,
    /// Whether its followers take up nothing more than they began with, as during an outage.
    pub is_deaf: bool,
    /// Where what they were asked to watch waits, for each of them.
    pub unheard: Mutex<Vec<mpsc::Receiver<WatchRequest>>>,
    /// What it was told to have waited.
    pub recalled: Mutex<Vec<Txid>>,
    asked: AtomicUsize,
    missed: AtomicUsize,
}

impl Line {
    /// Returns a line that works.
    pub fn to(chain: &Arc<KernelChain>) -> Self {
        Self {
            chain: Arc::clone(chain),
            down: AtomicBool::new(false),
            is_foreign: false,
            refuses: AtomicBool::new(false),
            is_cut: false,
            broken: None,
            hangs_up: 0,
            garbled: None,
            withheld: None,
            dated: None,
            reads: 0,
            is_deaf: false,
            unheard: Mutex::default(),
            recalled: Mutex::default(),
            asked: AtomicUsize::new(0),
            missed: AtomicUsize::new(0),
        }
    }

    /// Returns how many questions about outputs there were.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl ChainBackend for Line {
    fn name(&self) -> &'static str {
        self.chain.name()
    }

    fn network(&self) -> Network {
        self.chain.network()
    }

    fn is_own(&self) -> bool {
        !self.is_foreign
    }

    async fn tip(&self) -> Result<BlockRef, ChainError> {
        let is_away = self.missed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if self.is_cut || is_away {
            let (at, reason) = ("127.0.0.1:18443".into(), "connection refused".into());
            return Err(ChainError::Unreachable { backend: "core", at, reason });
        }
        self.chain.tip().await
    }

    async fn block_at(&self, height: u32) -> Result<Option<Block>, ChainError> {
        self.chain.block_at(height).await
    }

    async fn headers(&self, from: u32, limit: usize) -> Result<Vec<Header>, ChainError> {
        let mut headers = self.chain.headers(from, limit).await?;
        for header in &mut headers {
            header.time = self.dated.unwrap_or(header.time);
        }
        Ok(headers)
    }

    async fn follow(&self, locator: Vec<BlockRef>, watch: Vec<ScriptBuf>) -> Result<Follower, ChainError> {
        let follower = self.chain.follow(locator, watch).await?;
        if !self.is_deaf {
            return Ok(follower);
        }
        let (watch, requests) = mpsc::channel(WAITING);
        self.unheard.lock().expect("nothing panics while it holds the list").push(requests);
        Ok(Follower { watch, ..follower })
    }

    async fn outpoint(&self, outpoint: OutPoint, script: ScriptBuf, from: u32) -> Result<OutpointStatus, ChainError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.broken == Some(outpoint) {
            self.missed.store(self.hangs_up, Ordering::SeqCst);
            let (at, reason) = ("127.0.0.1:18443".into(), "connection reset".into());
            return Err(ChainError::Unreachable { backend: "core", at, reason });
        }
        if self.garbled == Some(outpoint) {
            return Err(ChainError::Invalid { backend: "core", reason: "it changed with every look".into() });
        }
        if self.withheld == Some(outpoint) {
            return Err(ChainError::Withheld { backend: "electrum", reason: "history too large".into() });
        }
        self.chain.outpoint(outpoint, script, from).await
    }

    async fn outpoint_within(
        &self,
        outpoint: OutPoint,
        script: ScriptBuf,
        from: u32,
        blocks: &mut u32,
    ) -> Result<Option<OutpointStatus>, ChainError> {
        let left = blocks.checked_sub(self.reads);
        *blocks = left.unwrap_or_default();
        match left {
            Some(_) => self.outpoint(outpoint, script, from).await.map(Some),
            None => Ok(None),
        }
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<(), ChainError> {
        if self.down.load(Ordering::SeqCst) {
            let (at, reason) = ("127.0.0.1:18443".into(), "connection refused".into());
            return Err(ChainError::Unreachable { backend: "core", at, reason });
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err(ChainError::Refused { txid: tx.compute_txid(), reason: "min relay fee not met".into() });
        }
        self.chain.broadcast(tx).await
    }

    async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), ChainError> {
        self.chain.broadcast_package(txs).await
    }

    fn recall(&self, tx: &Transaction) {
        self.recalled.lock().expect("nothing panics while it holds the list").push(tx.compute_txid());
    }

    async fn fee_rate(&self, blocks: u16) -> Result<FeeRate, ChainError> {
        self.chain.fee_rate(blocks).await
    }

    async fn mine(&self, count: u32, script: ScriptBuf) -> Result<Vec<BlockHash>, ChainError> {
        self.chain.mine(count, script).await
    }
}
