//! What became of an output, without an index of all transactions.

use bitcoin::{Block, BlockHash, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use serde::Deserialize;
use serde_json::{Value, json};

use super::node::{Node, known, nonsense};
use super::vain::{Searched, Sought};
use crate::chain::amount::Btc;
use crate::chain::{BlockRef, ChainError, OutpointStatus};

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

/// What one look led to.
enum Look {
    /// What became of the output.
    Told(OutpointStatus),
    /// The chain or the pool moved meanwhile.
    Moved,
    /// More blocks would have to be read.
    TooMuch,
}

impl Node {
    /// Returns what became of an output that is not older than `from_height`; `None` when more `blocks` would have to be read.
    pub(super) async fn outpoint(
        &self,
        sought: Sought,
        from_height: u32,
        blocks: &mut u32,
    ) -> Result<Option<OutpointStatus>, ChainError> {
        for _ in 0..ATTEMPTS {
            match self.look(&sought, from_height, blocks).await? {
                Look::Told(status) => return Ok(Some(status)),
                Look::Moved => {}
                Look::TooMuch => return Ok(None),
            }
        }
        Err(nonsense(format!("the state of {} changed with every look; ask again", sought.0)))
    }

    async fn look(&self, sought: &Sought, from_height: u32, blocks: &mut u32) -> Result<Look, ChainError> {
        let outpoint = sought.0;
        if let Some((output, height)) = self.coin(outpoint, true).await? {
            return Ok(Look::Told(OutpointStatus::Unspent { output, height }));
        }
        let (output, height) = match self.coin(outpoint, false).await? {
            Some(confirmed) => confirmed,
            None if self.in_pool(outpoint.txid).await? => {
                let Some(tx) = self.pool_tx(outpoint.txid).await? else {
                    return Ok(Look::Moved);
                };
                match tx.output.get(outpoint.vout as usize) {
                    Some(output) => (output.clone(), None),
                    None => return Ok(Look::Told(OutpointStatus::Unknown)),
                }
            }
            None => return self.look_in_blocks(sought, from_height, blocks).await,
        };
        let by = self.pool_spender(outpoint).await?;
        Ok(by.map_or(Look::Moved, |by| {
            Look::Told(OutpointStatus::Spent { output, height, by: Box::new(by), spent_height: None })
        }))
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
    async fn look_in_blocks(&self, sought: &Sought, from_height: u32, blocks: &mut u32) -> Result<Look, ChainError> {
        let (outpoint, tip) = (sought.0, self.best().await?);
        let before = self.searched_before(sought, from_height).await?;
        let from = before.map_or(from_height, |before| before.from);
        let mut last = before.map(|before| before.to);
        let mut created: Option<(TxOut, u32)> = None;
        'blocks: for height in last.map_or(from_height, |last| last.height.saturating_add(1))..=tip.height {
            let Some(left) = blocks.checked_sub(1) else {
                if let (None, Some(to)) = (&created, last) {
                    self.note_vain(sought, Searched { from, to });
                }
                return Ok(Look::TooMuch);
            };
            *blocks = left;
            let Some(hash) = self.hash_at(height).await? else {
                return Ok(Look::Moved);
            };
            let Some(Block { header, txdata }) = self.block(hash).await? else {
                return Ok(Look::Moved);
            };
            if last.is_some_and(|last| last.hash != header.prev_blockhash) {
                return Ok(Look::Moved);
            }
            last = Some(BlockRef { height, hash });
            for tx in txdata {
                if tx.compute_txid() == outpoint.txid {
                    match tx.output.get(outpoint.vout as usize) {
                        Some(output) => created = Some((output.clone(), height)),
                        None => return Ok(Look::Told(OutpointStatus::Unknown)),
                    }
                }
                if tx.input.iter().any(|input| input.previous_output == outpoint) {
                    // It is older than who asks allows, or the chain moved below this search.
                    let Some((output, created_at)) = created.take() else { break 'blocks };
                    let by = Box::new(tx);
                    let height_of = Some(created_at);
                    return Ok(Look::Told(OutpointStatus::Spent {
                        output,
                        height: height_of,
                        by,
                        spent_height: Some(height),
                    }));
                }
            }
        }
        // Created and not spent by a block, and yet no coin: it was spent in the pool this very moment.
        if created.is_some() || self.hash_at(tip.height).await? != Some(tip.hash) {
            return Ok(Look::Moved);
        }
        self.note_vain(sought, Searched { from, to: tip });
        Ok(Look::Told(OutpointStatus::Unknown))
    }

    fn note_vain(&self, sought: &Sought, searched: Searched) {
        self.vain.lock().expect("nothing panics while it holds the list").note(sought.clone(), searched);
    }

    /// Returns the blocks of the chain that were searched for an output in vain, if those from a height on are among them.
    async fn searched_before(&self, sought: &Sought, from_height: u32) -> Result<Option<Searched>, ChainError> {
        let before = self.vain.lock().expect("nothing panics while it holds the list").searched(sought, from_height);
        let Some(before) = before else { return Ok(None) };
        Ok((self.hash_at(before.to.height).await? == Some(before.to.hash)).then_some(before))
    }
}
