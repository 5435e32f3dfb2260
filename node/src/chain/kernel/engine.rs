//! Bitcoin Core's validation engine: blocks go in, the best chain comes out.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash};
use bitcoinkernel::notifications::BlockValidationStateExt;
use bitcoinkernel::prelude::*;
use bitcoinkernel::{
    BlockValidationStateRef, ChainType, ChainstateManager, Context, ContextBuilder, KernelError, ProcessBlockResult,
};
use tempfile::TempDir;

use super::NAME;
use crate::chain::ChainError;

/// The engine on one chain. The fields are dropped in this order: the chain state is flushed before its context goes.
pub(super) struct Engine {
    chainstate: ChainstateManager,
    _context: Context,
    said: Arc<Mutex<Said>>,
    dir: PathBuf,
    /// The directory of a chain in memory: Bitcoin Core keeps block files in any case.
    _scratch: Option<TempDir>,
}

/// What the engine's callbacks said; they run inside its calls and may only take notes.
#[derive(Default)]
struct Said {
    /// The verdict on the last block that was checked and found invalid.
    verdict: Option<String>,
    /// A failure of the machine (a full disk), after which nothing may be trusted to be stored.
    fault: Option<String>,
}

impl Engine {
    /// Opens the chain in `data_dir`, or a new one in memory, whose block files are in a directory of their own in `scratch`.
    pub fn open(data_dir: Option<&Path>, scratch: Option<&Path>) -> Result<Self, ChainError> {
        static QUIET: Once = Once::new();
        // What matters of its log arrives through the callbacks.
        QUIET.call_once(bitcoinkernel::disable_logging);

        let scratch = match data_dir {
            Some(_) => None,
            None => {
                let parent = scratch.map_or_else(std::env::temp_dir, Path::to_path_buf);
                Some(TempDir::with_prefix_in("exchange-chain-", &parent).map_err(|e| storage(&parent, &e))?)
            }
        };
        let dir = match (data_dir, &scratch) {
            (Some(dir), _) => dir.to_path_buf(),
            (None, Some(scratch)) => scratch.path().to_path_buf(),
            (None, None) => unreachable!("a chain without a directory has a scratch directory"),
        };
        let blocks = dir.join("blocks");
        std::fs::create_dir_all(&blocks).map_err(|e| storage(&dir, &e))?;
        let said = Arc::new(Mutex::new(Said::default()));
        let context = context(&said).map_err(|e| storage(&dir, &e))?;
        let in_memory = scratch.is_some();
        let chainstate = ChainstateManager::builder(&context, utf8(&dir)?, utf8(&blocks)?)
            .and_then(|builder| {
                builder
                    .block_tree_db_in_memory(in_memory)
                    .chainstate_db_in_memory(in_memory)
                    // Regtest blocks are too small to gain from helpers.
                    .worker_threads(0)
                    .build()
            })
            .and_then(|chainstate| chainstate.import_blocks().map(|()| chainstate))
            .map_err(|e| storage(&dir, &e))?;
        Ok(Self { chainstate, _context: context, said, dir, _scratch: scratch })
    }

    /// Returns the height of the best chain.
    pub fn height(&self) -> u32 {
        u32::try_from(self.chainstate.active_chain().height()).expect("an open chain has at least its genesis block")
    }

    /// Returns the hash at `height` of the best chain.
    pub fn hash_at(&self, height: u32) -> Option<BlockHash> {
        let entry = self.chainstate.active_chain().at_height(height as usize)?;
        Some(BlockHash::from_byte_array(entry.block_hash().to_bytes()))
    }

    /// Returns the parent of a block of any branch.
    pub fn parent(&self, hash: BlockHash) -> Option<BlockHash> {
        let entry = self.chainstate.get_block_tree_entry(&bitcoinkernel::BlockHash::from(hash.to_byte_array()))?;
        Some(BlockHash::from_byte_array(entry.prev()?.block_hash().to_bytes()))
    }

    /// Reads the block at `height` of the best chain.
    pub fn read(&self, height: u32) -> Result<Block, ChainError> {
        let entry = self
            .chainstate
            .active_chain()
            .at_height(height as usize)
            .ok_or_else(|| ChainError::Invalid { backend: NAME, reason: format!("no block at height {height}") })?;
        let bytes = self
            .chainstate
            .read_block_data(&entry)
            .and_then(|block| block.consensus_encode())
            .map_err(|e| storage(&self.dir, &e))?;
        deserialize(&bytes).map_err(|e| ChainError::Invalid { backend: NAME, reason: e.to_string() })
    }

    /// Hands a block to the engine, which stores it and, when its branch has the most work, makes it the tip.
    pub fn submit(&self, block: &Block) -> Result<(), ChainError> {
        let hash = block.block_hash();
        let invalid = |reason: String| ChainError::Invalid { backend: NAME, reason: format!("block {hash}: {reason}") };
        self.said().verdict = None;
        let parsed = bitcoinkernel::Block::new(&serialize(block)).map_err(|e| invalid(e.to_string()))?;
        let result = self.chainstate.process_block(&parsed);
        let mut said = self.said();
        if let Some(reason) = &said.fault {
            return Err(storage(&self.dir, reason));
        }
        // A block that is stored but breaks a rule when connected is reported by its verdict alone.
        if let Some(verdict) = said.verdict.take() {
            return Err(invalid(verdict));
        }
        match result {
            ProcessBlockResult::NewBlock => Ok(()),
            ProcessBlockResult::Duplicate => Err(invalid("already known".into())),
            ProcessBlockResult::Rejected => Err(invalid("rejected".into())),
        }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        // The notes are plain values: a panic elsewhere leaves them whole.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn context(said: &Arc<Mutex<Said>>) -> Result<Context, KernelError> {
    let note_verdict = Arc::clone(said);
    let fault_noter = |said: &Arc<Mutex<Said>>| {
        let said = Arc::clone(said);
        move |message: String| {
            tracing::error!(backend = NAME, message, "the validation engine failed");
            said.lock().unwrap_or_else(PoisonError::into_inner).fault = Some(message);
        }
    };
    ContextBuilder::new()
        .chain_type(ChainType::Regtest)
        .with_flush_error_notification(fault_noter(said))
        .with_fatal_error_notification(fault_noter(said))
        .with_block_checked_validation(move |_block: bitcoinkernel::Block, state: BlockValidationStateRef<'_>| {
            if state.mode() != bitcoinkernel::ValidationMode::Valid {
                let verdict = format!("{:?}", state.result());
                note_verdict.lock().unwrap_or_else(PoisonError::into_inner).verdict = Some(verdict);
            }
        })
        .build()
}

fn utf8(path: &Path) -> Result<&str, ChainError> {
    path.to_str().ok_or_else(|| storage(path, &"the path is not UTF-8"))
}

fn storage(path: &Path, reason: &dyn std::fmt::Display) -> ChainError {
    ChainError::Storage { backend: NAME, path: path.display().to_string(), reason: reason.to_string() }
}
