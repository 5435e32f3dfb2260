//! What the best chain holds: blocks by height, transactions by id, and who spent which output.
//!
//! The engine keeps the unspent outputs to itself, so this index is built from the blocks it connects, and again from
//! its block files at every start. It lives in memory: an embedded chain is a few thousand small blocks.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::{Block, BlockHash, OutPoint, Transaction, TxOut, Txid};

use crate::chain::{BlockRef, MEDIAN_SPAN, median_time};

/// The best chain, indexed.
#[derive(Default)]
pub(super) struct Index {
    blocks: Vec<(BlockHash, Arc<Block>)>,
    heights: HashMap<BlockHash, u32>,
    places: HashMap<Txid, Place>,
    spenders: HashMap<OutPoint, Txid>,
}

#[derive(Clone, Copy)]
struct Place {
    height: u32,
    position: usize,
}

/// A confirmed output.
pub(super) struct Coin {
    /// The output.
    pub output: TxOut,
    /// The height that confirms it.
    pub height: u32,
    /// Whether it is newly mined, and so bound by maturity.
    pub coinbase: bool,
}

impl Index {
    /// Returns the best block, `None` before genesis is indexed.
    pub fn tip(&self) -> Option<BlockRef> {
        let (hash, _) = self.blocks.last()?;
        Some(BlockRef { height: self.next_height() - 1, hash: *hash })
    }

    /// Returns the height of the next block.
    pub fn next_height(&self) -> u32 {
        u32::try_from(self.blocks.len()).expect("a chain is shorter than four billion blocks")
    }

    /// Returns the block at `height`.
    pub fn block_at(&self, height: u32) -> Option<&(BlockHash, Arc<Block>)> {
        self.blocks.get(height as usize)
    }

    /// Returns the block with `hash` when it is in the best chain.
    pub fn block(&self, hash: &BlockHash) -> Option<&Arc<Block>> {
        self.heights.get(hash).and_then(|height| self.block_at(*height)).map(|(_, block)| block)
    }

    /// Returns a confirmed transaction and its height.
    pub fn tx(&self, txid: &Txid) -> Option<(&Transaction, u32)> {
        let place = self.places.get(txid)?;
        let (_, block) = self.block_at(place.height)?;
        Some((block.txdata.get(place.position)?, place.height))
    }

    /// Returns a confirmed output, spent or not.
    pub fn coin(&self, outpoint: &OutPoint) -> Option<Coin> {
        let (tx, height) = self.tx(&outpoint.txid)?;
        let output = tx.output.get(outpoint.vout as usize)?.clone();
        Some(Coin { output, height, coinbase: tx.is_coinbase() })
    }

    /// Returns the id of the confirmed transaction that spends `outpoint`.
    pub fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        self.spenders.get(outpoint).copied()
    }

    /// Returns the times of the last blocks up to `height`, as many as a median spans.
    pub fn recent_times(&self, height: u32) -> Vec<u32> {
        let end = (height as usize + 1).min(self.blocks.len());
        self.blocks[end.saturating_sub(MEDIAN_SPAN as usize)..end].iter().map(|(_, block)| block.header.time).collect()
    }

    /// Returns the median time past of the block at `height` (BIP-113).
    pub fn median_time(&self, height: u32) -> u32 {
        median_time(&self.recent_times(height))
    }

    /// Adds the next block.
    pub fn connect(&mut self, hash: BlockHash, block: Block) {
        let height = self.next_height();
        for (position, tx) in block.txdata.iter().enumerate() {
            let txid = tx.compute_txid();
            self.places.insert(txid, Place { height, position });
            if !tx.is_coinbase() {
                self.spenders.extend(tx.input.iter().map(|input| (input.previous_output, txid)));
            }
        }
        self.heights.insert(hash, height);
        self.blocks.push((hash, Arc::new(block)));
    }

    /// Removes the last block and returns it.
    pub fn disconnect(&mut self) -> Option<Arc<Block>> {
        let (hash, block) = self.blocks.pop()?;
        self.heights.remove(&hash);
        for tx in &block.txdata {
            self.places.remove(&tx.compute_txid());
            for input in &tx.input {
                self.spenders.remove(&input.previous_output);
            }
        }
        Some(block)
    }
}
