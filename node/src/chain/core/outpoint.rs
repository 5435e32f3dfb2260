//! What became of an output, without an index of all transactions.

use bitcoin::{Block, BlockHash, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use serde::Deserialize;
use serde_json::{Value, json};

use super::node::{Node, known, nonsense};
use crate::chain::amount::Btc;
use crate::chain::{ChainError, OutpointStatus};

/// How often the search starts again when the chain moves under it.
const ATTEMPTS: usize = 5;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Coin {
    bestblock: BlockHash,
    confirmations: u32,
    value: Btc,
    script_pub_key: CoinScript,
}

#[derive(Deserialize)]
struct CoinScript {
    hex: ScriptBuf,
}

#[derive(Deserialize)]
struct Spender {
    spendingtxid: Option<Txid>,
}

impl Node {
    /// Returns what became of an output that is not older than `from_height`.
    pub(super) async fn outpoint(&self, outpoint: OutPoint, from_height: u32) -> Result<OutpointStatus, ChainError> {
        for _ in 0..ATTEMPTS {
            if let Some(status) = self.look(outpoint, from_height).await? {
                return Ok(status);
            }
        }
        Err(nonsense(format!("the state of {outpoint} changed with every look; ask again")))
    }

    /// Looks once; `None` when the chain or the pool moved meanwhile.
    async fn look(&self, outpoint: OutPoint, from_height: u32) -> Result<Option<OutpointStatus>, ChainError> {
        if let Some((output, height)) = self.coin(outpoint, true).await? {
            return Ok(Some(OutpointStatus::Unspent { output, height }));
        }
        let (output, height) = match self.coin(outpoint, false).await? {
            Some(confirmed) => confirmed,
            None if self.in_pool(outpoint.txid).await? => {
                let Some(tx) = self.pool_tx(outpoint.txid).await? else {
                    return Ok(None);
                };
                match tx.output.get(outpoint.vout as usize) {
                    Some(output) => (output.clone(), None),
                    None => return Ok(Some(OutpointStatus::Unknown)),
                }
            }
            None => return self.look_in_blocks(outpoint, from_height).await,
        };
        let by = self.pool_spender(outpoint).await?;
        Ok(by.map(|by| OutpointStatus::Spent { output, height, by: Box::new(by), spent_height: None }))
    }

    /// Returns an unspent output and the height that confirms it.
    async fn coin(&self, outpoint: OutPoint, with_pool: bool) -> Result<Option<(TxOut, Option<u32>)>, ChainError> {
        let params = [json!(outpoint.txid), json!(outpoint.vout), json!(with_pool)];
        let coin: Option<Coin> = self.rpc.call("gettxout", &params).await?;
        let Some(coin) = coin else { return Ok(None) };
        let output = TxOut { value: coin.value.amount().map_err(nonsense)?, script_pubkey: coin.script_pub_key.hex };
        let height = match coin.confirmations.checked_sub(1) {
            None => None,
            Some(above) => {
                let best = self.header(coin.bestblock).await?.height;
                let height = best.checked_sub(above);
                Some(height.ok_or_else(|| nonsense(format!("{outpoint} has more confirmations than blocks")))?)
            }
        };
        Ok(Some((output, height)))
    }

    async fn in_pool(&self, txid: Txid) -> Result<bool, ChainError> {
        let entry: Option<Value> = known(self.rpc.call("getmempoolentry", &[json!(txid)]).await)?;
        Ok(entry.is_some())
    }

    async fn pool_spender(&self, outpoint: OutPoint) -> Result<Option<Transaction>, ChainError> {
        let asked = json!([{ "txid": outpoint.txid, "vout": outpoint.vout }]);
        let spenders: Vec<Spender> = self.rpc.call("gettxspendingprevout", &[asked]).await?;
        match spenders.first().and_then(|spender| spender.spendingtxid) {
            Some(txid) => self.pool_tx(txid).await,
            None => Ok(None),
        }
    }

    /// Searches the blocks for an output that is spent by one of them.
    async fn look_in_blocks(&self, outpoint: OutPoint, from_height: u32) -> Result<Option<OutpointStatus>, ChainError> {
        let tip = self.best().await?;
        let mut created: Option<(TxOut, u32)> = None;
        for height in from_height..=tip.height {
            let Some(hash) = self.hash_at(height).await? else {
                return Ok(None);
            };
            let Some(Block { txdata, .. }) = self.block(hash).await? else {
                return Ok(None);
            };
            for tx in txdata {
                if tx.compute_txid() == outpoint.txid {
                    match tx.output.get(outpoint.vout as usize) {
                        Some(output) => created = Some((output.clone(), height)),
                        None => return Ok(Some(OutpointStatus::Unknown)),
                    }
                }
                if tx.input.iter().any(|input| input.previous_output == outpoint) {
                    let Some((output, created_at)) = created else {
                        // It is older than who asks allows, or the chain moved below this search.
                        let is_same = self.hash_at(tip.height).await? == Some(tip.hash);
                        return Ok(is_same.then_some(OutpointStatus::Unknown));
                    };
                    let by = Box::new(tx);
                    let height_of = Some(created_at);
                    return Ok(Some(OutpointStatus::Spent {
                        output,
                        height: height_of,
                        by,
                        spent_height: Some(height),
                    }));
                }
            }
        }
        // Created and not spent by a block, and yet no coin: it was spent in the pool this very moment.
        Ok(created.is_none().then_some(OutpointStatus::Unknown))
    }
}
