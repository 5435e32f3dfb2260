//! The node's blocks and transactions as Rust values.

use std::sync::Mutex;

use bitcoin::block::Header;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Block, BlockHash, Transaction, Txid};
use serde::Deserialize;
use serde_json::json;

use super::rpc::{Failure, Rpc};
use super::source::PoolView;
use super::vain::Vain;
use super::{NAME, RPC_INVALID_ADDRESS_OR_KEY, RPC_INVALID_PARAMETER};
use crate::chain::{BlockRef, ChainError};

/// A Bitcoin Core node, and the little that is remembered of it.
#[derive(Debug)]
pub(super) struct Node {
    pub rpc: Rpc,
    /// The last tip seen, whose height need not be asked for again.
    tip: Mutex<Option<BlockRef>>,
    /// The pool as last seen, shared by all followers.
    pub pool: tokio::sync::Mutex<Option<PoolView>>,
    /// What its blocks were searched for in vain.
    pub vain: Mutex<Vain>,
}

impl Node {
    pub fn new(rpc: Rpc) -> Self {
        Self { rpc, tip: Mutex::new(None), pool: tokio::sync::Mutex::new(None), vain: Mutex::default() }
    }

    pub async fn best(&self) -> Result<BlockRef, ChainError> {
        let hash: BlockHash = self.rpc.call("getbestblockhash", &[]).await?;
        let known = *self.tip.lock().expect("nothing panics while it holds the tip");
        if let Some(tip) = known.filter(|tip| tip.hash == hash) {
            return Ok(tip);
        }
        let tip = BlockRef { height: self.header(hash).await?.height, hash };
        *self.tip.lock().expect("nothing panics while it holds the tip") = Some(tip);
        Ok(tip)
    }

    pub async fn header(&self, hash: BlockHash) -> Result<VerboseHeader, Failure> {
        self.rpc.call("getblockheader", &[json!(hash)]).await
    }

    pub async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        match self.rpc.call("getblockhash", &[json!(height)]).await {
            Ok(hash) => Ok(Some(hash)),
            Err(Failure::Answer { code: RPC_INVALID_PARAMETER, .. }) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Returns headers of the best chain from a height on, each on the one before; `None` when the chain moved meanwhile.
    pub async fn headers(&self, from: u32, limit: usize) -> Result<Option<Vec<Header>>, ChainError> {
        let wanted = u32::try_from(limit).unwrap_or(u32::MAX);
        let end = self.best().await?.height.saturating_add(1).min(from.saturating_add(wanted));
        let heights: Vec<_> = (from..end).map(|height| vec![json!(height)]).collect();
        let mut hashes: Vec<BlockHash> = Vec::with_capacity(heights.len());
        for hash in self.rpc.batch("getblockhash", &heights).await? {
            match hash {
                Ok(hash) => hashes.push(hash),
                Err(Failure::Answer { code: RPC_INVALID_PARAMETER, .. }) => return Ok(None),
                Err(failure) => return Err(failure.into()),
            }
        }
        let asked: Vec<_> = hashes.iter().map(|hash| vec![json!(hash), json!(false)]).collect();
        let mut headers: Vec<Header> = Vec::with_capacity(asked.len());
        for header in self.rpc.batch::<String>("getblockheader", &asked).await? {
            headers.push(decode(&header?)?);
        }
        let joined = headers.windows(2).all(|pair| pair[1].prev_blockhash == pair[0].block_hash());
        Ok(joined.then_some(headers))
    }

    pub async fn block(&self, hash: BlockHash) -> Result<Option<Block>, ChainError> {
        let hex: Option<String> = known(self.rpc.call("getblock", &[json!(hash), json!(0)]).await)?;
        hex.map(|hex| decode(&hex)).transpose()
    }

    /// Returns a transaction of the pool.
    pub async fn pool_tx(&self, txid: Txid) -> Result<Option<Transaction>, ChainError> {
        let hex: Option<String> = known(self.rpc.call("getrawtransaction", &[json!(txid)]).await)?;
        hex.map(|hex| decode(&hex)).transpose()
    }
}

/// A block's place, as `getblockheader` gives it.
#[derive(Deserialize)]
pub(super) struct VerboseHeader {
    pub height: u32,
    pub time: u32,
    /// Absent in the genesis block.
    pub previousblockhash: Option<BlockHash>,
}

/// Turns the node's "not found" into `None`.
pub(super) fn known<T>(answer: Result<T, Failure>) -> Result<Option<T>, ChainError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Answer { code: RPC_INVALID_ADDRESS_OR_KEY, .. }) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// Decodes a consensus object from the node's hex.
pub(super) fn decode<T: bitcoin::consensus::Decodable>(hex: &str) -> Result<T, ChainError> {
    deserialize_hex(hex).map_err(|error| nonsense(error.to_string()))
}

/// Returns the error of an answer that cannot be true.
pub(super) fn nonsense(reason: String) -> ChainError {
    ChainError::Invalid { backend: NAME, reason }
}
