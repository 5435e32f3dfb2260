//! What a follower asks of the light client.

use std::sync::Arc;

use async_trait::async_trait;
use bip157::IndexedFilter;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, ScriptBuf, Txid};
use tokio::time::timeout;

use super::NAME;
use super::light::{Light, SILENCE};
use super::touch::{may_touch, touching};
use crate::chain::follower::{Matches, Scanned, Scripts, Source};
use crate::chain::{BlockRef, ChainError};

#[async_trait]
impl Source for Arc<Light> {
    fn label(&self) -> &'static str {
        NAME
    }

    fn base(&self) -> Option<BlockRef> {
        Some(self.state().shown.base())
    }

    fn watch(&self, scripts: &Scripts) {
        let (light, scripts) = (Self::clone(self), scripts.iter().cloned().collect::<Vec<ScriptBuf>>());
        tokio::spawn(async move {
            if let Err(error) = light.listen(scripts, Vec::new()).await {
                tracing::debug!(%error, "peers are asked later to tell of transactions");
            }
        });
    }

    async fn best(&self) -> Result<BlockRef, ChainError> {
        let state = self.state();
        if state.synced { Ok(state.shown.tip()) } else { Err(self.unreachable("its chain is still being read")) }
    }

    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        Ok(self.state().shown.hash_at(height))
    }

    async fn parent(&self, hash: BlockHash) -> Result<Option<BlockHash>, ChainError> {
        let state = self.state();
        let shown = state.shown.height_of(&hash).and_then(|height| state.shown.header_at(height));
        Ok(shown.map(|header| header.prev_blockhash).or_else(|| state.left.parent(&hash)))
    }

    async fn scan(&self, hash: BlockHash, scripts: &Scripts) -> Result<Option<Scanned>, ChainError> {
        let (height, header) = {
            let state = self.state();
            let Some(height) = state.shown.height_of(&hash) else { return Ok(None) };
            (height, state.shown.header_at(height).copied())
        };
        let Some(header) = header else {
            // The base, which is older than anything that is looked for.
            let time = genesis_block(self.config.network).header.time;
            return Ok(Some(Scanned { parent: BlockHash::all_zeros(), time, txs: Vec::new() }));
        };
        let empty = Scanned { parent: header.prev_blockhash, time: header.time, txs: Vec::new() };
        if scripts.is_empty() {
            return Ok(Some(empty));
        }
        let Some(filter) = self.filter(BlockRef { height, hash }).await? else { return Ok(None) };
        if !filter.contains_any(scripts.iter()) {
            return Ok(Some(empty));
        }
        let Some(block) = self.block(hash).await? else { return Ok(None) };
        Ok(Some(Scanned { txs: touching(&block, scripts), ..empty }))
    }

    async fn pool(&self, tip: BlockHash) -> Result<Option<Vec<Txid>>, ChainError> {
        let state = self.state();
        Ok((state.shown.tip().hash == tip).then(|| state.pool.ids()))
    }

    async fn pool_matches(&self, ids: &[Txid], scripts: &Scripts) -> Result<Matches, ChainError> {
        let state = self.state();
        let txs = ids.iter().filter_map(|id| state.pool.get(id));
        let txs = txs.filter(|tx| may_touch(tx, scripts)).cloned().collect();
        Ok(Matches { txs, absent: ids.iter().filter(|id| state.pool.get(id).is_none()).copied().collect() })
    }
}

impl Light {
    /// Returns the filter of a block of the shown chain, asked for if need be; `None` when the block has left the chain.
    async fn filter(&self, block: BlockRef) -> Result<Option<Arc<IndexedFilter>>, ChainError> {
        let mut heard = self.heard.subscribe();
        let mut asked = false;
        loop {
            {
                let state = self.state();
                if let Some(filter) = state.filters.get(&block.hash) {
                    return Ok(Some(filter));
                }
                if state.shown.height_of(&block.hash).is_none() {
                    return Ok(None);
                }
            }
            if !asked {
                let below = block.height.saturating_sub(1);
                self.requester()?.rescan_from(below).map_err(|error| self.unreachable(error))?;
                asked = true;
            }
            match timeout(SILENCE, heard.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => {
                    self.stuck.notify_one();
                    return Err(self.unreachable("no peer sends block filters"));
                }
            }
        }
    }
}
