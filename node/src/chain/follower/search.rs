//! Requests to watch more: blocks that were delivered without the new scripts are searched for them. So they are for scripts that
//! are not withheld any more.
//!
//! In how far back that goes others may have a say. So it is done for a while at a time, between new blocks; what was asked for
//! from a higher block on waits for nothing older; and blocks that cannot be had, because a node has pruned them, keep back
//! nothing but what was asked for from there. What does not come is given up after a while, so that what is new is looked at.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use bitcoin::{BlockHash, OutPoint, ScriptBuf, Transaction, Txid};
use tokio::time::{Instant, timeout};

use super::{
    BACKOFF, Interrupted, MAX_DOUBLED, Matches, POOL_BATCH, SEARCH_PAUSE, SEARCH_TIME, Scanned, Scripts, Source, Task,
};
use crate::backoff::Backoff;
use crate::chain::{BlockRef, ChainError, ChainEvent, MAX_WATCHED_SCRIPTS, WatchRequest};

/// A search that has not ended yet.
#[derive(Debug)]
pub(super) struct Search {
    why: Why,
    wanted: Scripts,
    from_height: u32,
    /// The first height that is not searched yet.
    next: u32,
    /// The block below that, if it was searched.
    last: Option<BlockHash>,
    /// What was found, oldest first.
    found: Vec<(BlockRef, Transaction)>,
    /// The outputs of these that pay to what is wanted.
    paid: HashSet<OutPoint>,
    /// How much had come to light late when it began.
    learnt: u64,
    /// How often in a row its next block did not come in time.
    waited: u32,
    /// The failures in a row to read its blocks: their beginning is told once, and their end.
    outage: Backoff,
    /// Until when it is left alone, for its blocks could not be had.
    rests_until: Option<Instant>,
}

/// Why old blocks are searched for scripts.
#[derive(Debug)]
pub(super) enum Why {
    /// Somebody asked to watch more: these, as he named them.
    Asked(Vec<ScriptBuf>),
    /// They were withheld, and are not any more.
    Shown,
}

impl Search {
    /// Returns the scripts that are searched for.
    pub fn wanted(&self) -> &Scripts {
        &self.wanted
    }

    /// Tells whether these were withheld.
    pub fn is_of_shown(&self) -> bool {
        match self.why {
            Why::Shown => true,
            Why::Asked(_) => false,
        }
    }

    /// Forgets what was above a block: it has left the chain.
    pub fn rewind(&mut self, top: u32) {
        let above = top.saturating_add(1);
        if self.next > above {
            (self.next, self.last) = (above, None);
            self.found.retain(|(block, _)| block.height <= top);
        }
    }

    /// Begins anew, no lower than the chain does: what it read last was of another branch, and nobody knows since when.
    fn begin_anew(&mut self, base: u32) {
        (self.next, self.last) = (self.from_height.max(base), None);
        self.found.clear();
        self.paid.clear();
    }

    /// Keeps a transaction of a block, if it touches what is wanted, and in any case if the source is sure.
    fn keep(&mut self, block: BlockRef, tx: Transaction, is_sure: bool) {
        if !is_sure && !tx.input.iter().any(|input| self.paid.contains(&input.previous_output)) {
            return;
        }
        let txid = tx.compute_txid();
        let outputs = (0..).zip(&tx.output).filter(|(_, output)| self.wanted.contains(&output.script_pubkey));
        self.paid.extend(outputs.map(|(vout, _)| OutPoint { txid, vout }));
        self.found.push((block, tx));
    }

    /// Returns how long to wait before it goes on.
    pub fn pause(&self) -> Duration {
        let rest = self.rests_until.map(|until| until.saturating_duration_since(Instant::now()));
        rest.unwrap_or_default().max(SEARCH_PAUSE)
    }

    fn is_ready(&self, now: Instant) -> bool {
        self.rests_until.is_none_or(|until| until <= now)
    }
}

impl<S: Source> Task<S> {
    /// Takes in a request.
    pub(super) fn begin_search(&mut self, request: WatchRequest) -> Result<(), ChainError> {
        let WatchRequest { scripts: asked, from_height } = request;
        // Those that are watched already too: who asks again has forgotten what he was told.
        let wanted: Scripts = asked.iter().cloned().collect();
        let searched = self.searches.iter().flat_map(|search| search.wanted.iter());
        let all: HashSet<&ScriptBuf> = self.scripts.iter().chain(searched).chain(wanted.iter()).collect();
        if all.len() > MAX_WATCHED_SCRIPTS {
            return Err(ChainError::TooManyScripts { asked: all.len() });
        }
        if !wanted.is_empty() {
            self.source.watch(&wanted);
            // Those that are new may be withheld, too.
            self.withholdings = None;
        }
        self.add_search(Why::Asked(asked), wanted, from_height);
        Ok(())
    }

    /// Adds a search of the delivered blocks from a height on.
    pub(super) fn add_search(&mut self, why: Why, wanted: Scripts, from_height: u32) {
        let next = if wanted.is_empty() { u32::MAX } else { from_height.max(self.base_height()) };
        self.searches.push(Search {
            why,
            wanted,
            from_height,
            next,
            last: None,
            found: Vec::new(),
            paid: HashSet::new(),
            learnt: self.source.learnt(),
            waited: 0,
            outage: BACKOFF,
            rests_until: None,
        });
    }

    /// Searches old blocks for a while, or until a request can be answered.
    pub(super) async fn search(&mut self) -> Result<(), Interrupted> {
        let until = Instant::now() + SEARCH_TIME;
        while let Some(mut search) = self.next_search() {
            let outcome = match self.search_blocks(&mut search, until).await {
                Ok(true) => match self.answer(&mut search).await {
                    Ok(()) => return Ok(()),
                    // It is answered again, from its beginning.
                    Err(interrupted) => Err(interrupted),
                },
                Ok(false) => Ok(()),
                Err(Interrupted::Failed(error)) => self.let_rest(&mut search, error).await,
                Err(interrupted @ (Interrupted::Ended | Interrupted::Moved)) => Err(interrupted),
            };
            self.searches.push(search);
            outcome?;
            if Instant::now() >= until {
                break;
            }
        }
        Ok(())
    }

    /// Takes out the search of which the least is left, and that does not rest.
    fn next_search(&mut self) -> Option<Search> {
        let now = Instant::now();
        let ready = self.searches.iter().enumerate().filter(|(_, search)| search.is_ready(now));
        let (at, _) = ready.max_by_key(|(at, search)| (search.next, Reverse(*at)))?;
        Some(self.searches.remove(at))
    }

    /// Searches delivered blocks until a moment. Tells whether there are none left.
    async fn search_blocks(&self, search: &mut Search, until: Instant) -> Result<bool, Interrupted> {
        let at = self.at();
        while search.next <= at.height {
            if Instant::now() >= until {
                return Ok(false);
            }
            let height = search.next;
            let hash = self.source.hash_at(height).await?.ok_or(Interrupted::Moved)?;
            let patience = self.source.patience().saturating_mul(1 << search.waited.min(MAX_DOUBLED));
            let Ok(scanned) = timeout(patience, self.source.scan(hash, &search.wanted)).await else {
                search.waited = search.waited.saturating_add(1);
                return Ok(false);
            };
            search.waited = 0;
            let Scanned { parent, time: _, txs } = scanned?.ok_or(Interrupted::Moved)?;
            if search.last.is_some_and(|last| last != parent) {
                // The chain may have left a branch again that its path never saw, so nothing else would undo this.
                search.begin_anew(self.base_height());
                return Err(Interrupted::Moved);
            }
            if height == at.height && hash != at.hash {
                return Err(Interrupted::Moved);
            }
            (search.next, search.last) = (height.saturating_add(1), Some(hash));
            for tx in txs {
                let is_sure = self.source.is_sure(&tx, &search.wanted);
                search.keep(BlockRef { height, hash }, tx, is_sure);
            }
            search.rests_until = None;
            if search.outage.end() {
                tracing::info!(backend = self.source.label(), height, "old blocks are read again");
            }
        }
        Ok(true)
    }

    /// Leaves a search alone for a while whose blocks cannot be had.
    async fn let_rest(&self, search: &mut Search, error: ChainError) -> Result<(), Interrupted> {
        let is_new = !search.outage.has_begun();
        search.rests_until = Some(Instant::now() + search.outage.next_pause());
        if !is_new {
            return Ok(());
        }
        let (backend, height) = (self.source.label(), search.next);
        tracing::warn!(backend, %error, height, "old blocks cannot be read; retrying");
        match &search.why {
            Why::Asked(asked) => self.emit(ChainEvent::Unreadable { scripts: asked.clone(), error }).await,
            // They count as withheld until they were searched for.
            Why::Shown => Ok(()),
        }
    }

    /// Tells what was found in blocks, and what the pool holds of these scripts. Those that were asked for are watched from now on.
    async fn answer(&mut self, search: &mut Search) -> Result<(), Interrupted> {
        let known = search.from_height..=self.at().height;
        // What came to light late may be of blocks that had been searched.
        let mut found: HashSet<_> = search.found.iter().map(|(block, tx)| (block.hash, tx.compute_txid())).collect();
        for (block, tx) in self.source.late(search.learnt, &search.wanted) {
            let is_there = self.source.hash_at(block.height).await? == Some(block.hash);
            if is_there && known.contains(&block.height) && found.insert((block.hash, tx.compute_txid())) {
                search.found.push((block, tx));
            }
        }
        search.found.sort_by_key(|(block, _)| block.height);
        let mut seen = Vec::new();
        if !search.wanted.is_empty() {
            let waiting: Vec<Txid> = self.pool.keys().copied().collect();
            for ids in waiting.chunks(POOL_BATCH) {
                let Matches { txs, absent } = self.source.pool_matches(ids, &search.wanted).await?;
                self.pool.retain(|id, _| !absent.contains(id));
                seen.extend(txs);
            }
        }
        for (block, tx) in &search.found {
            self.emit(ChainEvent::Found { block: *block, tx: tx.clone() }).await?;
        }
        for tx in seen {
            self.pool.insert(tx.compute_txid(), true);
            self.emit(ChainEvent::MempoolSeen { tx }).await?;
        }
        self.unsynced = true;
        match &search.why {
            Why::Asked(asked) => {
                self.scripts.0.extend(search.wanted.iter().cloned());
                self.tell_withheld().await?;
                self.emit(ChainEvent::Searched { scripts: asked.clone() }).await
            }
            Why::Shown => self.tell_shown(&search.wanted).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;

    use super::*;

    #[test]
    fn what_left_the_chain_is_searched_anew() {
        let hash = BlockHash::all_zeros();
        let tx = Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![], output: vec![] };
        let mut search = Search {
            why: Why::Asked(Vec::new()),
            wanted: Scripts::default(),
            from_height: 5,
            next: 11,
            last: Some(hash),
            found: [7, 9, 10].map(|height| (BlockRef { height, hash }, tx.clone())).to_vec(),
            paid: HashSet::new(),
            learnt: 0,
            waited: 0,
            outage: BACKOFF,
            rests_until: None,
        };
        let heights = |search: &Search| search.found.iter().map(|(block, _)| block.height).collect::<Vec<_>>();
        search.rewind(10);
        assert_eq!((search.next, search.last, heights(&search)), (11, Some(hash), vec![7, 9, 10]));
        search.rewind(9);
        assert_eq!((search.next, search.last, heights(&search)), (10, None, vec![7, 9]));
        search.rewind(3);
        assert_eq!((search.next, heights(&search)), (4, vec![]));
        for (base, next) in [(0, 5), (8, 8)] {
            (search.next, search.last) = (11, Some(hash));
            search.found.push((BlockRef { height: 9, hash }, tx.clone()));
            search.begin_anew(base);
            assert_eq!((search.next, search.last, heights(&search)), (next, None, vec![]));
        }
    }
}
