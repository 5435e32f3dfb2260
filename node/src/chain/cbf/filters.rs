//! The block filters at hand.

use std::num::NonZero;
use std::sync::Arc;

use bip157::IndexedFilter;
use bitcoin::BlockHash;
use lru::LruCache;

/// How many filters are kept: on mainnet some 25 kB each, so about 50 MB. The one that came longest ago is dropped first, and
/// asked for again by whoever still needs it.
const MAX_FILTERS: NonZero<usize> = NonZero::new(2_000).expect("not zero");

/// Filters, which tell whether a block may touch a script (BIP-158).
#[derive(Debug)]
pub(super) struct Filters(LruCache<BlockHash, Arc<IndexedFilter>>);

impl Default for Filters {
    fn default() -> Self {
        Self(LruCache::new(MAX_FILTERS))
    }
}

impl Filters {
    pub fn get(&self, hash: &BlockHash) -> Option<Arc<IndexedFilter>> {
        // To look at one keeps it no longer.
        self.0.peek(hash).cloned()
    }

    pub fn put(&mut self, filter: IndexedFilter) {
        self.0.put(filter.block_hash(), Arc::new(filter));
    }
}
