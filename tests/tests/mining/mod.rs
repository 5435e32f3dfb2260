//! A backend that cannot mine, and the Bitcoin node behind it, which can.

use std::time::Duration;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction};
use exchange_node::chain::core::{CoreAuth, CoreChain, CoreConfig};
use exchange_node::chain::{BlockRef, ChainBackend, ChainError, Follower, OutpointStatus};
use exchange_tests::bitcoind::Bitcoind;
use serde_json::json;
use tokio::time::{sleep, timeout};

/// Where blocks pay that nobody spends: a bare `OP_TRUE`.
pub const NOBODY: &str = "raw(51)";
/// Longer than any pause of a backend; no test waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often a backend is looked at while it catches up.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A backend under test, and the node behind it, which mines.
pub struct Mining<B> {
    /// The backend.
    pub backend: B,
    core: CoreChain,
    /// Whether the backend hears only later that its node took a transaction.
    hears_late: bool,
}

impl<B: ChainBackend> Mining<B> {
    /// Puts a backend and its node together, and waits until it shows the node's tip.
    pub async fn new(backend: B, node: &Bitcoind, hears_late: bool) -> Result<Self, ChainError> {
        let core =
            CoreConfig { url: node.rpc_url(), auth: CoreAuth::Cookie(node.cookie_file()), network: Network::Regtest };
        let chain = Self { backend, core: CoreChain::open(core).await?, hears_late };
        chain.catch_up().await;
        Ok(chain)
    }

    /// Waits until the backend shows the node's tip: in the network there is always a node that is ahead.
    pub async fn catch_up(&self) {
        let tip = self.core.tip().await.unwrap();
        let caught_up = async {
            while self.backend.tip().await.ok() != Some(tip) {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, caught_up).await.unwrap_or_else(|_| panic!("{tip:?} is not shown"));
    }

    /// Replaces the last `depth` blocks by empty ones.
    pub async fn reorg(&self, node: &Bitcoind, depth: u32, new_blocks: u32) {
        let tip = self.core.tip().await.unwrap().height;
        let undone = node.call("getblockhash", &[json!(tip - depth + 1)]).unwrap();
        node.call("invalidateblock", &[undone]).unwrap();
        for _ in 0..new_blocks {
            node.call("generateblock", &[json!(NOBODY), json!([])]).unwrap();
        }
        self.catch_up().await;
    }

    /// Mines one block with exactly these transactions.
    pub async fn mine_exactly(&self, node: &Bitcoind, txs: &[Transaction]) {
        let hexes: Vec<String> = txs.iter().map(serialize_hex).collect();
        node.call("generateblock", &[json!(NOBODY), json!(hexes)]).unwrap();
        self.catch_up().await;
    }

    /// Waits until the node has transactions, and the backend has heard of it: what is sent again is on its way for a while.
    async fn arrive(&self, txs: &[Transaction]) -> Result<(), ChainError> {
        for tx in txs {
            is_there(&self.core, tx).await?;
            if self.hears_late {
                is_there(&self.backend, tx).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl<B: ChainBackend> ChainBackend for Mining<B> {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn network(&self) -> Network {
        self.backend.network()
    }

    async fn tip(&self) -> Result<BlockRef, ChainError> {
        self.backend.tip().await
    }

    async fn block_at(&self, height: u32) -> Result<Option<Block>, ChainError> {
        self.backend.block_at(height).await
    }

    async fn headers(&self, from: u32, limit: usize) -> Result<Vec<Header>, ChainError> {
        self.backend.headers(from, limit).await
    }

    async fn follow(&self, locator: Vec<BlockRef>, watch: Vec<ScriptBuf>) -> Result<Follower, ChainError> {
        self.backend.follow(locator, watch).await
    }

    async fn outpoint(&self, outpoint: OutPoint, script: ScriptBuf, from: u32) -> Result<OutpointStatus, ChainError> {
        self.backend.outpoint(outpoint, script, from).await
    }

    async fn outpoint_within(
        &self,
        outpoint: OutPoint,
        script: ScriptBuf,
        from: u32,
        blocks: &mut u32,
    ) -> Result<Option<OutpointStatus>, ChainError> {
        self.backend.outpoint_within(outpoint, script, from, blocks).await
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<(), ChainError> {
        self.backend.broadcast(tx).await?;
        self.arrive(std::slice::from_ref(tx)).await
    }

    async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), ChainError> {
        self.backend.broadcast_package(txs).await?;
        self.arrive(txs).await
    }

    async fn offer(&self, txs: &[Transaction]) -> Result<bool, ChainError> {
        self.backend.offer(txs).await
    }

    fn recall(&self, tx: &Transaction) {
        self.backend.recall(tx);
    }

    async fn fee_rate(&self, blocks: u16) -> Result<FeeRate, ChainError> {
        self.backend.fee_rate(blocks).await
    }

    async fn mine(&self, count: u32, script: ScriptBuf) -> Result<Vec<BlockHash>, ChainError> {
        let mined = self.core.mine(count, script).await?;
        self.catch_up().await;
        Ok(mined)
    }
}

/// Waits until a chain knows of a transaction.
async fn is_there(chain: &impl ChainBackend, tx: &Transaction) -> Result<(), ChainError> {
    let outpoint = OutPoint { txid: tx.compute_txid(), vout: 0 };
    let known = async {
        while chain.outpoint(outpoint, tx.output[0].script_pubkey.clone(), 1).await? == OutpointStatus::Unknown {
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    timeout(PATIENCE, known).await.unwrap_or_else(|_| panic!("{} does not know {outpoint}", chain.name()))
}
