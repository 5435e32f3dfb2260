//! What a follower asks of what servers have shown.

use std::collections::HashMap;

use async_trait::async_trait;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, ScriptBuf, Transaction, Txid};

use super::NAME;
use super::mirror::Mirror;
use crate::chain::follower::{Matches, Scanned, Scripts, Source};
use crate::chain::{BlockRef, ChainError};

#[async_trait]
impl Source for Mirror {
    fn label(&self) -> &'static str {
        NAME
    }

    fn base(&self) -> Option<BlockRef> {
        Some(self.state().shown.base())
    }

    fn watch(&self, scripts: &Scripts) {
        Self::watch(self, scripts);
    }

    async fn best(&self) -> Result<BlockRef, ChainError> {
        match self.outage() {
            Some(outage) => Err(outage),
            None => Ok(self.state().shown.tip()),
        }
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
        self.hear(scripts).await?;
        let state = self.state();
        let Some(height) = state.shown.height_of(&hash) else { return Ok(None) };
        Ok(Some(match state.shown.header_at(height) {
            Some(header) => {
                let txs = state.in_block(height, scripts);
                Scanned { parent: header.prev_blockhash, time: header.time, txs }
            }
            // The base, which is older than anything that is looked for.
            None => {
                let time = genesis_block(self.config.network).header.time;
                Scanned { parent: BlockHash::all_zeros(), time, txs: Vec::new() }
            }
        }))
    }

    fn learnt(&self) -> u64 {
        self.state().learnt()
    }

    fn late(&self, since: u64, scripts: &Scripts) -> Vec<(BlockRef, Transaction)> {
        self.state().late(since, scripts)
    }

    fn withholdings(&self) -> u64 {
        self.state().withholdings()
    }

    fn withheld(&self, scripts: &Scripts) -> HashMap<ScriptBuf, String> {
        self.state().withheld(scripts)
    }

    async fn pool(&self, tip: BlockHash) -> Result<Option<Vec<Txid>>, ChainError> {
        let state = self.state();
        Ok((state.shown.tip().hash == tip).then(|| state.pool()))
    }

    async fn pool_matches(&self, ids: &[Txid], scripts: &Scripts) -> Result<Matches, ChainError> {
        self.hear(scripts).await?;
        Ok(self.state().waiting(ids, scripts))
    }
}
