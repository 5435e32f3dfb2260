//! What was looked for in vain, block by block: it is looked for again in new blocks only. Others name what is looked for, and
//! whether it is there is known only when all has been read.

use std::num::NonZero;

use bitcoin::{OutPoint, ScriptBuf};
use lru::LruCache;

use crate::chain::BlockRef;

/// How many outputs are remembered, some 200 bytes each: two reports of an audit that look for nothing else.
const MAX_VAIN: NonZero<usize> = NonZero::new(8_192).expect("not zero");

/// An output that was looked for, and the script by which.
pub(super) type Sought = (OutPoint, ScriptBuf);

/// Outputs that were looked for in vain. The one for which nothing was searched for longest is forgotten first.
#[derive(Debug)]
pub(super) struct Vain(LruCache<Sought, Searched>);

impl Default for Vain {
    fn default() -> Self {
        Self(LruCache::new(MAX_VAIN))
    }
}

/// Blocks that were searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Searched {
    /// The height of the first.
    pub from: u32,
    /// The last.
    pub to: BlockRef,
}

impl Vain {
    /// Returns the blocks that were searched for an output, if those from a height on are among them. They say nothing when the
    /// last has left the chain.
    pub fn searched(&self, sought: &Sought, from: u32) -> Option<Searched> {
        self.0.peek(sought).copied().filter(|searched| searched.from <= from)
    }

    /// Notes that blocks were searched in vain.
    pub fn note(&mut self, sought: Sought, searched: Searched) {
        if searched.from <= searched.to.height {
            self.0.put(sought, searched);
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::BlockHash;
    use bitcoin::hashes::Hash;

    use super::*;

    fn sought(vout: u32) -> Sought {
        (OutPoint { vout, ..OutPoint::null() }, ScriptBuf::new())
    }

    fn searched(from: u32, to: u32) -> Searched {
        Searched { from, to: BlockRef { height: to, hash: BlockHash::all_zeros() } }
    }

    #[test]
    fn what_was_searched_is_known_from_where_it_began() {
        let mut vain = Vain::default();
        vain.note(sought(1), searched(5, 9));
        assert_eq!([4, 5, 12].map(|from| vain.searched(&sought(1), from).is_some()), [false, true, true]);
        let by_another = (sought(1).0, ScriptBuf::from_bytes(vec![1]));
        assert_eq!((vain.searched(&sought(2), 5), vain.searched(&by_another, 5)), (None, None));
        vain.note(sought(1), searched(3, 12));
        assert_eq!(vain.searched(&sought(1), 3), Some(searched(3, 12)));
        vain.note(sought(2), searched(13, 12));
        assert_eq!(vain.searched(&sought(2), 13), None, "nothing was searched");
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let mut vain = Vain::default();
        for vout in 0..10_000 {
            vain.note(sought(vout), searched(1, 2));
            vain.note(sought(vout), searched(1, 3));
        }
        assert_eq!(vain.0.len(), MAX_VAIN.get());
        assert!(vain.searched(&sought(0), 1).is_none() && vain.searched(&sought(9_999), 1).is_some());
    }
}
