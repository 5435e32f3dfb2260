//! Blocks that only tests need: branches, and transactions the pool would not choose.

use bitcoin::{Amount, BlockHash, ScriptBuf, Transaction};

use super::{KernelChain, Shared, miner};
use crate::chain::{BlockRef, ChainError};

impl KernelChain {
    /// Undoes `depth` blocks by a branch of `new_blocks` empty blocks, which must be more. What the undone blocks
    /// confirmed returns to the pool.
    ///
    /// # Errors
    /// [`ChainError::Invalid`] when the branch would not be longer or would start below genesis.
    pub async fn reorg(&self, depth: u32, new_blocks: u32) -> Result<Vec<BlockHash>, ChainError> {
        self.with_shared(move |shared| shared.reorg(depth, new_blocks)).await
    }

    /// Mines one block with exactly `txs`, past the pool: as another miner might.
    ///
    /// # Errors
    /// [`ChainError::Invalid`] when the block is not valid.
    pub async fn mine_exactly(&self, txs: Vec<Transaction>) -> Result<BlockHash, ChainError> {
        self.with_shared(move |shared| shared.mine_exactly(txs)).await
    }
}

impl Shared {
    fn reorg(&self, depth: u32, new_blocks: u32) -> Result<Vec<BlockHash>, ChainError> {
        let state = &mut *self.state();
        let invalid = |reason: &str| ChainError::Invalid { backend: super::NAME, reason: reason.into() };
        if new_blocks <= depth {
            return Err(invalid("a branch must be longer than what it undoes"));
        }
        let height = state.tip().height.checked_sub(depth).ok_or_else(|| invalid("no chain below genesis"))?;
        let (hash, _) = state.index.block_at(height).ok_or_else(|| invalid("no block to branch from"))?;
        let mut site = state.site(BlockRef { height, hash: *hash });
        let mut branch = Vec::new();
        for _ in 0..new_blocks {
            let block = miner::assemble(&site, &ScriptBuf::new_op_return([0; 4]), Vec::new(), Amount::ZERO);
            state.engine.submit(&block)?;
            site.parent = block.block_hash();
            site.height += 1;
            site.recent_times.push(block.header.time);
            branch.push(block.block_hash());
        }
        state.catch_up()?;
        self.changed();
        Ok(branch)
    }

    fn mine_exactly(&self, txs: Vec<Transaction>) -> Result<BlockHash, ChainError> {
        let state = &mut *self.state();
        // Fees are left to nobody: a coinbase may claim less than it could.
        let block = miner::assemble(&state.site(state.tip()), &ScriptBuf::new_op_return([0; 4]), txs, Amount::ZERO);
        state.engine.submit(&block)?;
        state.catch_up()?;
        self.changed();
        Ok(block.block_hash())
    }
}
