//! What a follower asks of the node.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use async_trait::async_trait;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, OutPoint, ScriptBuf, Transaction, Txid};
use serde::Deserialize;
use serde_json::json;

use super::NAME;
use super::node::{Node, decode, known, nonsense};
use super::rpc::Failure;
use crate::chain::follower::{Matches, Scanned, Scripts, Source};
use crate::chain::{BlockRef, ChainError, POLL_INTERVAL};

/// How many ids of the pool are worth one poll: a list of 100,000 (7 MB) is asked for every five seconds only.
const IDS_PER_POLL: usize = 10_000;

/// The ids in the pool, on top of a block.
#[derive(Debug)]
pub(super) struct PoolView {
    tip: BlockHash,
    taken: Instant,
    ids: Vec<Txid>,
}

impl PoolView {
    fn is_fresh(&self, tip: BlockHash) -> bool {
        let polls = u32::try_from(self.ids.len() / IDS_PER_POLL).unwrap_or(u32::MAX);
        self.tip == tip && self.taken.elapsed() < POLL_INTERVAL.saturating_mul(polls)
    }
}

#[derive(Deserialize)]
struct VerboseBlock {
    time: u32,
    previousblockhash: Option<BlockHash>,
    tx: Vec<VerboseTx>,
}

#[derive(Deserialize)]
struct VerboseTx {
    hex: String,
    vin: Vec<VerboseInput>,
}

#[derive(Deserialize)]
struct VerboseInput {
    prevout: Option<VerboseOutput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerboseOutput {
    script_pub_key: VerboseScript,
}

#[derive(Deserialize)]
struct VerboseScript {
    hex: ScriptBuf,
}

#[async_trait]
impl Source for Node {
    fn label(&self) -> &'static str {
        NAME
    }

    async fn best(&self) -> Result<BlockRef, ChainError> {
        Self::best(self).await
    }

    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        Self::hash_at(self, height).await
    }

    async fn parent(&self, hash: BlockHash) -> Result<Option<BlockHash>, ChainError> {
        Ok(known(self.header(hash).await)?.and_then(|header| header.previousblockhash))
    }

    async fn scan(&self, hash: BlockHash, scripts: &Scripts) -> Result<Option<Scanned>, ChainError> {
        let genesis = BlockHash::all_zeros();
        if scripts.is_empty() {
            let header = known(self.header(hash).await)?;
            return Ok(header.map(|header| Scanned {
                parent: header.previousblockhash.unwrap_or(genesis),
                time: header.time,
                txs: Vec::new(),
            }));
        }
        // Verbosity 3: with the outputs that each transaction spends.
        let block: Option<VerboseBlock> = known(self.rpc.call("getblock", &[json!(hash), json!(3)]).await)?;
        let Some(VerboseBlock { time, previousblockhash, tx: verbose_txs }) = block else {
            return Ok(None);
        };
        let mut txs = Vec::new();
        for VerboseTx { hex, vin } in verbose_txs {
            let tx: Transaction = decode(&hex)?;
            let spent: Vec<ScriptBuf> = vin.into_iter().filter_map(|i| Some(i.prevout?.script_pub_key.hex)).collect();
            if !tx.is_coinbase() && spent.len() != tx.input.len() {
                return Err(nonsense(format!("block {hash} comes without the outputs it spends (pruned?)")));
            }
            if scripts.touched_by(&tx, spent.iter().map(ScriptBuf::as_script)) {
                txs.push(tx);
            }
        }
        Ok(Some(Scanned { parent: previousblockhash.unwrap_or(genesis), time, txs }))
    }

    async fn pool(&self, tip: BlockHash) -> Result<Option<Vec<Txid>>, ChainError> {
        let mut view = self.pool.lock().await;
        if let Some(view) = view.as_ref().filter(|view| view.is_fresh(tip)) {
            return Ok(Some(view.ids.clone()));
        }
        let taken = Instant::now();
        let ids: Vec<Txid> = self.rpc.call("getrawmempool", &[]).await?;
        // Asked for afterwards: the node removes a block's transactions and moves its tip under one lock, so a pool
        // without them shows its block.
        if self.best().await?.hash != tip {
            return Ok(None);
        }
        *view = Some(PoolView { tip, taken, ids: ids.clone() });
        Ok(Some(ids))
    }

    async fn pool_matches(&self, ids: &[Txid], scripts: &Scripts) -> Result<Matches, ChainError> {
        if scripts.is_empty() {
            return Ok(Matches::default());
        }
        let txs = self.pool_txs(ids).await?;
        let spent = self.spent_scripts(&txs).await?;
        let touches = |tx: &Transaction| {
            let prevouts = tx.input.iter().filter_map(|input| spent.get(&input.previous_output));
            scripts.touched_by(tx, prevouts.map(ScriptBuf::as_script))
        };
        let present: HashSet<Txid> = txs.iter().map(Transaction::compute_txid).collect();
        let absent = ids.iter().filter(|id| !present.contains(*id)).copied().collect();
        Ok(Matches { txs: txs.into_iter().filter(touches).collect(), absent })
    }
}

impl Node {
    /// Returns those of the transactions that are in the pool.
    async fn pool_txs(&self, ids: &[Txid]) -> Result<Vec<Transaction>, ChainError> {
        let params: Vec<_> = ids.iter().map(|id| vec![json!(id)]).collect();
        let answers: Vec<Result<String, Failure>> = self.rpc.batch("getrawtransaction", &params).await?;
        let hexes = answers.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
        hexes.iter().flatten().map(|hex| decode(hex)).collect()
    }

    /// Returns the scripts of the outputs that pool transactions spend: confirmed ones from the node's coins, others
    /// from the parents in the pool. One that is in neither was spent by a block this very moment, which will tell.
    async fn spent_scripts(&self, txs: &[Transaction]) -> Result<HashMap<OutPoint, ScriptBuf>, ChainError> {
        let outpoints: Vec<OutPoint> = txs.iter().flat_map(|tx| &tx.input).map(|input| input.previous_output).collect();
        let params: Vec<_> = outpoints.iter().map(|o| vec![json!(o.txid), json!(o.vout), json!(false)]).collect();
        let coins: Vec<Result<Option<VerboseOutput>, Failure>> = self.rpc.batch("gettxout", &params).await?;
        let mut scripts = HashMap::new();
        let mut unconfirmed = Vec::new();
        for (outpoint, coin) in outpoints.into_iter().zip(coins) {
            match known(coin)?.flatten() {
                Some(coin) => drop(scripts.insert(outpoint, coin.script_pub_key.hex)),
                None => unconfirmed.push(outpoint),
            }
        }
        let parent_ids: HashSet<Txid> = unconfirmed.iter().map(|outpoint| outpoint.txid).collect();
        let parents = self.pool_txs(&parent_ids.into_iter().collect::<Vec<_>>()).await?;
        let parents: HashMap<Txid, Transaction> = parents.into_iter().map(|tx| (tx.compute_txid(), tx)).collect();
        for outpoint in unconfirmed {
            let output = parents.get(&outpoint.txid).and_then(|tx| tx.output.get(outpoint.vout as usize));
            if let Some(output) = output {
                scripts.insert(outpoint, output.script_pubkey.clone());
            }
        }
        Ok(scripts)
    }
}
