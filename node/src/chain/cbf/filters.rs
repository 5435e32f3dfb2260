//! The block filters at hand.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bip157::IndexedFilter;
use bitcoin::BlockHash;

/// How many filters are kept: on mainnet some 25 kB each, so about 50 MB. The oldest to arrive is dropped first, and asked
/// for again by whoever still needs it.
const MAX_FILTERS: usize = 2_000;

/// Filters, which tell whether a block may touch a script (BIP-158).
#[derive(Debug, Default)]
pub(super) struct Filters {
    by_block: HashMap<BlockHash, Arc<IndexedFilter>>,
    order: VecDeque<BlockHash>,
}

impl Filters {
    pub fn get(&self, hash: &BlockHash) -> Option<Arc<IndexedFilter>> {
        self.by_block.get(hash).cloned()
    }

    pub fn put(&mut self, filter: IndexedFilter) {
        let hash = filter.block_hash();
        if self.by_block.insert(hash, Arc::new(filter)).is_none() {
            self.order.push_back(hash);
        }
        if self.order.len() > MAX_FILTERS {
            self.order.pop_front().map(|oldest| self.by_block.remove(&oldest));
        }
    }
}
