//! A Bitcoin Core node over RPC.
//!
//! It needs no wallet, no `-txindex` and no ZMQ: blocks are asked for with the outputs they spend, so nothing has to be
//! remembered to recognise a spend, and a follower that was away misses none.

use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::constants::genesis_block;
use bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction, Txid};
use serde::Deserialize;
use serde_json::{Value, json};

use super::amount::Btc;
use super::follower::{self, News};
use super::{BlockRef, ChainBackend, ChainError, Follower, MAX_FEE_RATE, MAX_HEADERS, OutpointStatus, POLL_INTERVAL};
use node::{Node, nonsense};
pub use rpc::CoreAuth;
use rpc::{Failure, Rpc};

mod node;
mod outpoint;
mod rpc;
mod source;
mod vain;

const NAME: &str = "core";
/// The oldest version with everything asked for here (`submitpackage` on every network).
const MIN_VERSION: u32 = 280_000;
/// How many blocks are mined by one request, so that it ends well within its time.
const MINE_BATCH: u32 = 100;
/// The farthest target that the node estimates fees for.
const MAX_FEE_TARGET: u16 = 1_008;
/// How many of the last blocks tell what confirmation costs where the node has no estimate: not yet, after its first start, and
/// never if it takes no transactions from others (`-blocksonly`).
const FEE_BLOCKS: u32 = 3;
/// How far back a refused transaction is looked for in the chain: a day, longer than any rebroadcast waits.
const RECENT_BLOCKS: u32 = 144;

/// How often headers are asked for again when the chain moves under the question.
const HEADER_ATTEMPTS: usize = 5;

/// Answers of the node that have a meaning here (`src/rpc/protocol.h` of Bitcoin Core).
const RPC_INVALID_ADDRESS_OR_KEY: i32 = -5;
const RPC_INVALID_PARAMETER: i32 = -8;
const RPC_DESERIALIZATION_ERROR: i32 = -22;
const RPC_VERIFY_ERROR: i32 = -25;
const RPC_VERIFY_REJECTED: i32 = -26;
const RPC_VERIFY_ALREADY_IN_UTXO_SET: i32 = -27;

/// Where the node is and how to be let in.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// The address of its RPC server, e.g. `http://127.0.0.1:8332`.
    pub url: String,
    /// The credentials.
    pub auth: CoreAuth,
    /// The network of this node.
    pub network: Network,
}

/// A Bitcoin Core node.
#[derive(Debug)]
pub struct CoreChain {
    node: Arc<Node>,
    network: Network,
}

impl CoreChain {
    /// Connects to the node and checks that it serves the configured network.
    ///
    /// # Errors
    /// [`ChainError::Unreachable`], [`ChainError::Unauthorized`], [`ChainError::WrongNetwork`], and
    /// [`ChainError::Invalid`] for a node that is too old.
    pub async fn open(config: CoreConfig) -> Result<Self, ChainError> {
        #[derive(Deserialize)]
        struct ChainInfo {
            chain: String,
        }
        #[derive(Deserialize)]
        struct NetworkInfo {
            version: u32,
        }
        let network = config.network;
        let node = Node::new(Rpc::new(config.url, config.auth));
        let info: ChainInfo = node.rpc.call("getblockchaininfo", &[]).await?;
        let genesis: BlockHash = node.rpc.call("getblockhash", &[json!(0)]).await?;
        let found = Network::from_core_arg(&info.chain);
        if found != Ok(network) || genesis != genesis_block(network).block_hash() {
            let found = found.map_or(info.chain, |network| network.to_string());
            return Err(ChainError::WrongNetwork { backend: NAME, expected: network, found });
        }
        let NetworkInfo { version } = node.rpc.call("getnetworkinfo", &[]).await?;
        if version < MIN_VERSION {
            let reason = format!("its version is {version}; Bitcoin Core 28 or newer is needed");
            return Err(ChainError::Invalid { backend: NAME, reason });
        }
        Ok(Self { node: Arc::new(node), network })
    }

    /// Whether a block of the last day holds the transaction.
    async fn recently_confirmed(&self, txid: Txid) -> Result<bool, ChainError> {
        #[derive(Deserialize)]
        struct Ids {
            tx: Vec<Txid>,
        }
        let tip = self.node.best().await?.height;
        for height in (tip.saturating_sub(RECENT_BLOCKS)..=tip).rev() {
            let Some(hash) = self.node.hash_at(height).await? else {
                continue;
            };
            let Ids { tx } = self.node.rpc.call("getblock", &[json!(hash), json!(1)]).await?;
            if tx.contains(&txid) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns what the middle of a block paid, of the last ones the most: the dearest ends of his block a miner can make up for
    /// nothing.
    async fn paid_lately(&self) -> Result<FeeRate, Failure> {
        let tip = self.node.best().await?.height;
        let mut paid = FeeRate::BROADCAST_MIN;
        for height in tip.saturating_sub(FEE_BLOCKS - 1).max(1)..=tip {
            let params = [json!(height), json!(["feerate_percentiles"])];
            let fees: BlockFees = self.node.rpc.call("getblockstats", &params).await?;
            paid = paid.max(fees.middle());
        }
        Ok(paid)
    }
}

/// What a block paid, by weight from the cheapest on.
#[derive(Deserialize)]
struct BlockFees {
    /// The feerates at 10, 25, 50, 75 and 90 % of its weight, in sat/vB.
    feerate_percentiles: [u64; 5],
}

impl BlockFees {
    /// Returns the feerate in the middle, as far as anything here pays that much by itself.
    fn middle(&self) -> FeeRate {
        let [_, _, middle, _, _] = self.feerate_percentiles;
        FeeRate::from_sat_per_vb(middle).map_or(MAX_FEE_RATE, |rate| rate.min(MAX_FEE_RATE))
    }
}

#[async_trait]
impl ChainBackend for CoreChain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn network(&self) -> Network {
        self.network
    }

    fn is_own(&self) -> bool {
        true
    }

    async fn tip(&self) -> Result<BlockRef, ChainError> {
        self.node.best().await
    }

    async fn block_at(&self, height: u32) -> Result<Option<Block>, ChainError> {
        match self.node.hash_at(height).await? {
            Some(hash) => self.node.block(hash).await,
            None => Ok(None),
        }
    }

    async fn headers(&self, from: u32, limit: usize) -> Result<Vec<Header>, ChainError> {
        for _ in 0..HEADER_ATTEMPTS {
            if let Some(headers) = self.node.headers(from, limit.min(MAX_HEADERS)).await? {
                return Ok(headers);
            }
        }
        let reason = format!("the chain from height {from} on changed with every look; ask again");
        Err(ChainError::Invalid { backend: NAME, reason })
    }

    async fn follow(&self, locator: Vec<BlockRef>, watch: Vec<ScriptBuf>) -> Result<Follower, ChainError> {
        follower::spawn(Arc::clone(&self.node), News::Polled(POLL_INTERVAL), locator, watch).await
    }

    async fn outpoint(
        &self,
        outpoint: OutPoint,
        script: ScriptBuf,
        from_height: u32,
    ) -> Result<OutpointStatus, ChainError> {
        let mut all = u32::MAX;
        let status = self.outpoint_within(outpoint, script, from_height, &mut all).await?;
        status.ok_or_else(|| nonsense(format!("there are more blocks than {}", u32::MAX)))
    }

    async fn outpoint_within(
        &self,
        outpoint: OutPoint,
        script: ScriptBuf,
        from_height: u32,
        blocks: &mut u32,
    ) -> Result<Option<OutpointStatus>, ChainError> {
        self.node.outpoint((outpoint, script), from_height, blocks).await
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<(), ChainError> {
        let txid = tx.compute_txid();
        match self.node.rpc.call::<Txid>("sendrawtransaction", &[json!(serialize_hex(tx))]).await {
            Ok(_) | Err(Failure::Answer { code: RPC_VERIFY_ALREADY_IN_UTXO_SET, .. }) => Ok(()),
            Err(Failure::Answer {
                code: RPC_VERIFY_ERROR | RPC_VERIFY_REJECTED | RPC_DESERIALIZATION_ERROR,
                message: reason,
                ..
            }) => {
                // A confirmed transaction whose outputs are spent looks to the node like one without inputs.
                if reason.contains("missingorspent") && self.recently_confirmed(txid).await? {
                    return Ok(());
                }
                Err(ChainError::Refused { txid, reason })
            }
            Err(failure) => Err(failure.into()),
        }
    }

    async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), ChainError> {
        #[derive(Deserialize)]
        struct Answer {
            package_msg: String,
            #[serde(rename = "tx-results")]
            results: std::collections::HashMap<String, TxResult>,
        }
        #[derive(Deserialize)]
        struct TxResult {
            error: Option<String>,
        }
        let Some((child, parents)) = txs.split_last() else {
            return Ok(());
        };
        if parents.is_empty() {
            return self.broadcast(child).await;
        }
        let hexes: Vec<String> = txs.iter().map(serialize_hex).collect();
        let Answer { package_msg, results } = match self.node.rpc.call("submitpackage", &[json!(hexes)]).await {
            Err(Failure::Answer {
                code: RPC_VERIFY_ERROR | RPC_VERIFY_REJECTED | RPC_INVALID_PARAMETER | RPC_DESERIALIZATION_ERROR,
                message: reason,
                ..
            }) => {
                return Err(ChainError::Refused { txid: child.compute_txid(), reason });
            }
            answer => answer?,
        };
        if package_msg == "success" {
            return Ok(());
        }
        // Part of the package may be confirmed, which the node takes for an error: then each one is fine by itself.
        for tx in txs {
            if let Err(error) = self.broadcast(tx).await {
                let word = results.get(&tx.compute_wtxid().to_string()).and_then(|result| result.error.clone());
                return Err(match error {
                    ChainError::Refused { txid, reason } => {
                        ChainError::Refused { txid, reason: format!("{package_msg}: {}", word.unwrap_or(reason)) }
                    }
                    other => other,
                });
            }
        }
        Ok(())
    }

    async fn fee_rate(&self, blocks: u16) -> Result<FeeRate, ChainError> {
        #[derive(Deserialize)]
        struct Estimate {
            feerate: Option<Btc>,
            #[serde(default)]
            errors: Vec<String>,
        }
        #[derive(Deserialize)]
        struct PoolInfo {
            mempoolminfee: Btc,
        }
        let target = blocks.clamp(1, MAX_FEE_TARGET);
        let Estimate { feerate, errors } = self.node.rpc.call("estimatesmartfee", &[json!(target)]).await?;
        let PoolInfo { mempoolminfee } = self.node.rpc.call("getmempoolinfo", &[]).await?;
        let estimate = match feerate {
            Some(rate) => rate.per_kvb().map_err(nonsense)?,
            // Test networks rarely have the traffic to estimate from.
            None if self.network != Network::Bitcoin => FeeRate::BROADCAST_MIN,
            // Coins that are to come back, or to be released, must not wait for one.
            None => self.paid_lately().await.map_err(|failure| match failure {
                Failure::Chain(error) => error,
                Failure::Answer { message, .. } => {
                    let reason = format!("{}; {message}", errors.join(", "));
                    ChainError::NoFeeEstimate { backend: NAME, blocks, reason }
                }
            })?,
        };
        // What is beyond the highest that anything here pays by itself would only have it refused.
        Ok(estimate.max(mempoolminfee.per_kvb().map_err(nonsense)?).clamp(FeeRate::BROADCAST_MIN, MAX_FEE_RATE))
    }

    async fn mine(&self, count: u32, script: ScriptBuf) -> Result<Vec<BlockHash>, ChainError> {
        if self.network != Network::Regtest {
            return Err(ChainError::NotMinable { network: self.network });
        }
        let descriptor: Value = json!(format!("raw({})", script.to_hex_string()));
        let mut mined: Vec<BlockHash> = Vec::new();
        let mut left = count;
        while left > 0 {
            let batch = left.min(MINE_BATCH);
            let hashes: Vec<BlockHash> =
                self.node.rpc.call("generatetodescriptor", &[json!(batch), descriptor.clone()]).await?;
            mined.extend(hashes);
            left -= batch;
        }
        Ok(mined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_block_paid_is_its_middle_and_no_more_than_anything_pays_by_itself() {
        let middle =
            |text: &str| serde_json::from_str::<BlockFees>(text).map(|fees| fees.middle().to_sat_per_vb_ceil());
        assert_eq!(middle(r#"{"feerate_percentiles":[1,3,7,20,9000]}"#).unwrap(), 7);
        assert_eq!(middle(r#"{"feerate_percentiles":[0,0,0,0,0]}"#).unwrap(), 0, "a block with nothing in it");
        let highest = MAX_FEE_RATE.to_sat_per_vb_ceil();
        for dear in ["501", "18446744073709551615"] {
            assert_eq!(middle(&format!(r#"{{"feerate_percentiles":[1,1,{dear},1,1]}}"#)).unwrap(), highest);
        }
        assert!(middle(r#"{"feerate_percentiles":[1,3,7]}"#).is_err());
    }
}
