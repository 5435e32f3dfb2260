//! What a follower asks of the light client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bip157::IndexedFilter;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, ScriptBuf, Transaction, Txid};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::NAME;
use super::light::{Light, SILENCE};
use super::old_filters::OldFilters;
use super::touch::{may_touch, touches, touching};
use crate::chain::follower::{Matches, Scanned, Scripts, Source};
use crate::chain::{BlockRef, ChainError};

/// How far below the tip the client that follows the chain is asked for filters: a week of blocks, which peers send at once.
const RECENT: u32 = 1_008;
/// How long a filter of the past, and its block, may hold up those that are new: peers may send as slowly as they like. What was
/// asked of them comes meanwhile, but for a block, which is asked for again.
const SCAN_PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who reads blocks of the light client, one after the other.
#[derive(Debug)]
pub(super) struct Reader {
    light: Arc<Light>,
    /// The filters of old blocks that he has come to.
    old: Mutex<Option<OldFilters>>,
    /// Where others read old blocks too, of whom only so many may at a time.
    turns: Option<Arc<Semaphore>>,
}

impl Reader {
    pub fn new(light: &Arc<Light>) -> Self {
        Self { light: Arc::clone(light), old: Mutex::new(None), turns: None }
    }

    /// Returns one who waits for his turn before he reads old blocks.
    pub fn taking_turns(light: &Arc<Light>, turns: &Arc<Semaphore>) -> Self {
        Self { turns: Some(Arc::clone(turns)), ..Self::new(light) }
    }

    /// Returns the filter of a block of the shown chain; `None` when the block has left the chain.
    async fn filter(&self, block: BlockRef) -> Result<Option<Arc<IndexedFilter>>, ChainError> {
        let (at_hand, tip) = {
            let state = self.light.state();
            (state.filters.get(&block.hash), state.shown.tip())
        };
        if at_hand.is_some() {
            return Ok(at_hand);
        }
        let mut old = self.old.lock().await;
        if let Some(open) = old.as_mut().filter(|open| open.leads_to(block.height)) {
            if let Some(filter) = open.filter(block).await {
                return Ok(Some(filter));
            }
            // Whoever began it may have stopped to wait.
            if open.brought_nothing() {
                *old = None;
                return self.not_sent(block);
            }
        }
        // It has come to its end.
        *old = None;
        if tip.height.saturating_sub(block.height) <= RECENT {
            drop(old);
            return self.light.filter(block).await;
        }
        let turn = self.turn().await;
        let Some(below) = self.light.below(block) else { return Ok(None) };
        let filter = old.insert(OldFilters::above(&self.light, below, turn)).filter(block).await;
        if filter.is_none() {
            *old = None;
        }
        match filter {
            Some(filter) => Ok(Some(filter)),
            None => self.not_sent(block),
        }
    }

    /// Returns what is to be said of a filter that did not come.
    fn not_sent(&self, block: BlockRef) -> Result<Option<Arc<IndexedFilter>>, ChainError> {
        match self.light.below(block) {
            Some(_) => Err(self.light.unreachable("no peer sends old block filters")),
            None => Ok(None),
        }
    }

    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turns = self.turns.as_ref()?;
        Some(Arc::clone(turns).acquire_owned().await.expect("nobody closes it"))
    }
}

#[async_trait]
impl Source for Reader {
    fn label(&self) -> &'static str {
        NAME
    }

    fn base(&self) -> Option<BlockRef> {
        Some(self.light.state().shown.base())
    }

    fn patience(&self) -> Duration {
        SCAN_PATIENCE
    }

    fn is_sure(&self, tx: &Transaction, scripts: &Scripts) -> bool {
        touches(tx, scripts)
    }

    fn watch(&self, scripts: &Scripts) {
        let (light, scripts) = (Arc::clone(&self.light), scripts.iter().cloned().collect::<Vec<ScriptBuf>>());
        tokio::spawn(async move {
            if let Err(error) = light.listen(scripts, Vec::new()).await {
                tracing::debug!(%error, "peers are asked later to tell of transactions");
            }
        });
    }

    async fn best(&self) -> Result<BlockRef, ChainError> {
        self.light.best()
    }

    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        Ok(self.light.hash_at(height))
    }

    async fn parent(&self, hash: BlockHash) -> Result<Option<BlockHash>, ChainError> {
        let state = self.light.state();
        let shown = state.shown.height_of(&hash).and_then(|height| state.shown.header_at(height));
        Ok(shown.map(|header| header.prev_blockhash).or_else(|| state.left.parent(&hash)))
    }

    async fn scan(&self, hash: BlockHash, scripts: &Scripts) -> Result<Option<Scanned>, ChainError> {
        let (height, header) = {
            let state = self.light.state();
            let Some(height) = state.shown.height_of(&hash) else { return Ok(None) };
            (height, state.shown.header_at(height).copied())
        };
        let Some(header) = header else {
            // The base, which is older than anything that is looked for.
            let time = genesis_block(self.light.config.network).header.time;
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
        let Some(block) = self.light.block(hash).await? else { return Ok(None) };
        Ok(Some(Scanned { txs: touching(&block, scripts), ..empty }))
    }

    async fn pool(&self, tip: BlockHash) -> Result<Option<Vec<Txid>>, ChainError> {
        let state = self.light.state();
        Ok((state.shown.tip().hash == tip).then(|| state.pool.ids()))
    }

    async fn pool_matches(&self, ids: &[Txid], scripts: &Scripts) -> Result<Matches, ChainError> {
        let state = self.light.state();
        let txs = ids.iter().filter_map(|id| state.pool.get(id));
        let txs = txs.filter(|tx| may_touch(tx, scripts)).cloned().collect();
        Ok(Matches { txs, absent: ids.iter().filter(|id| state.pool.get(id).is_none()).copied().collect() })
    }
}

impl Light {
    /// Returns the block on which one of the shown chain stands.
    fn below(&self, block: BlockRef) -> Option<BlockRef> {
        let state = self.state();
        let height = state.shown.height_of(&block.hash)?.checked_sub(1)?;
        Some(BlockRef { height, hash: state.shown.hash_at(height)? })
    }

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
