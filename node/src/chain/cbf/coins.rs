//! What became of outputs, as blocks tell it. Others name what is looked for, and how old it is: so all of one question are looked
//! for at once, and what was read for them is kept. Whoever asks again, or had no time to wait for the end, goes on from there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard};

use bitcoin::{BlockHash, OutPoint, ScriptBuf, Transaction, TxOut};
use lru::LruCache;
use tokio::sync::Semaphore;

use super::NAME;
use super::light::Light;
use super::pool::Pool;
use super::source::Reader;
use crate::chain::follower::{Scanned, Scripts, Source};
use crate::chain::{AskedOutput, BlockRef, ChainError, OutpointStatus};

/// Of how many outputs it is kept what was read, some 300 bytes each: two reports of an audit that look for nothing else. The one
/// for which nothing was read for longest is forgotten first.
const MAX_LIVES: NonZero<usize> = NonZero::new(8_192).expect("not zero");
/// How often a look goes on when the chain moved under it.
const ATTEMPTS: usize = 5;

type Key = (OutPoint, ScriptBuf);

/// What was read of outputs.
#[derive(Debug, Default)]
pub(super) struct Coins(Mutex<Lives>);

#[derive(Debug)]
struct Lives(LruCache<Key, Life>);

impl Default for Lives {
    fn default() -> Self {
        Self(LruCache::new(MAX_LIVES))
    }
}

/// What blocks tell of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Life {
    /// The first height that was read.
    from: u32,
    /// The last block that was read, or had to be.
    at: BlockRef,
    created: Option<(TxOut, u32)>,
    /// Whether that block spends it. What comes later does not spend it again.
    is_spent: bool,
}

impl Coins {
    fn lives(&self) -> MutexGuard<'_, Lives> {
        self.0.lock().expect("nothing panics while it holds what was read")
    }
}

impl Lives {
    /// Returns the first height to be read for an output; `None` when nothing is.
    fn next(&mut self, asked: &AskedOutput, is_shown: impl Fn(BlockRef) -> bool) -> Option<u32> {
        let key = key(asked);
        let covers = |life: &&Life| life.from <= asked.from_height || life.created.is_some();
        let known = self.0.peek(&key).filter(covers).filter(|life| is_shown(life.at));
        if let Some(life) = known {
            return (!life.is_spent).then(|| life.at.height.saturating_add(1));
        }
        self.0.pop(&key);
        Some(asked.from_height)
    }

    /// Learns what a block tells of an output, if it is the next to be read for it. Returns what spends it there.
    fn read(
        &mut self,
        asked: &AskedOutput,
        block: BlockRef,
        parent: BlockHash,
        txs: &[Transaction],
    ) -> Option<Transaction> {
        let key = key(asked);
        match self.0.peek(&key) {
            Some(life) if life.is_spent || life.at.height >= block.height => return None,
            Some(life) if life.at.hash == parent => {}
            // Another chain: it is read anew.
            Some(_) => {
                self.0.pop(&key);
                return None;
            }
            None if block.height == asked.from_height => {
                let new = Life { from: block.height, at: block, created: None, is_spent: false };
                self.0.put(key.clone(), new);
            }
            None => return None,
        }
        let life = self.0.get_mut(&key)?;
        life.at = block;
        let created = txs.iter().find(|tx| tx.compute_txid() == asked.outpoint.txid);
        if let Some(output) = created.and_then(|tx| tx.output.get(asked.outpoint.vout as usize)) {
            life.created = Some((output.clone(), block.height));
        }
        let spend = txs.iter().find(|tx| spends(tx, &asked.outpoint)).cloned();
        life.is_spent = spend.is_some();
        spend
    }

    /// Returns what all blocks up to one tell of an output: nothing, if it can be in none of them. `None` when not all were read.
    fn known(&self, asked: &AskedOutput, tip: BlockRef) -> Option<Option<&Life>> {
        match self.0.peek(&key(asked)) {
            Some(life) => (life.is_spent || life.at == tip).then_some(Some(life)),
            None => (asked.from_height > tip.height).then_some(None),
        }
    }
}

fn key(asked: &AskedOutput) -> Key {
    (asked.outpoint, asked.script.clone())
}

fn spends(tx: &Transaction, outpoint: &OutPoint) -> bool {
    tx.input.iter().any(|input| input.previous_output == *outpoint)
}

impl Light {
    /// Returns what became of outputs, in their order; `None` when more `blocks` would have to be read. Old ones are, when it is its
    /// turn.
    pub async fn outpoints(
        self: &Arc<Self>,
        asked: &[AskedOutput],
        blocks: &mut u32,
        turns: &Arc<Semaphore>,
    ) -> Result<Option<Vec<OutpointStatus>>, ChainError> {
        let base = self.state().shown.base().height;
        let above = |asked: &AskedOutput| AskedOutput { from_height: asked.from_height.max(base), ..asked.clone() };
        let asked: Vec<AskedOutput> = asked.iter().map(above).collect();
        let (reader, mut spends) = (Reader::taking_turns(self, turns), HashMap::new());
        for _ in 0..ATTEMPTS {
            let tip = self.best()?;
            if !self.read_up_to(tip, &reader, &asked, blocks, &mut spends).await? {
                return Ok(None);
            }
            if let Some(all) = self.tell(tip, &asked, &mut spends).await? {
                return Ok(Some(all));
            }
        }
        let reason = "the chain changed with every look; ask again".to_owned();
        Err(ChainError::Invalid { backend: NAME, reason })
    }

    /// Reads the blocks up to one that were not read for all of these outputs, unless the chain moves meanwhile; notes what spends
    /// them. Tells whether there were no more of them than might be read.
    async fn read_up_to(
        &self,
        tip: BlockRef,
        reader: &Reader,
        asked: &[AskedOutput],
        blocks: &mut u32,
        spends: &mut HashMap<OutPoint, Transaction>,
    ) -> Result<bool, ChainError> {
        let scripts: Scripts = asked.iter().map(|asked| asked.script.clone()).collect();
        let mut next = self.next(asked);
        while let Some(height) = next.filter(|height| *height <= tip.height) {
            let Some(left) = blocks.checked_sub(1) else { return Ok(false) };
            *blocks = left;
            let Some(hash) = self.hash_at(height) else { return Ok(true) };
            let Some(Scanned { parent, time: _, txs }) = reader.scan(hash, &scripts).await? else { return Ok(true) };
            {
                let mut lives = self.coins.lives();
                for asked in asked {
                    let spend = lives.read(asked, BlockRef { height, hash }, parent, &txs);
                    spends.extend(spend.map(|tx| (asked.outpoint, tx)));
                }
            }
            let after = self.next(asked);
            // Where nothing was learnt the chain has moved.
            if after.is_some_and(|after| after <= height) {
                return Ok(true);
            }
            next = after;
        }
        Ok(true)
    }

    /// Returns the lowest height that is still to be read for one of these outputs.
    fn next(&self, asked: &[AskedOutput]) -> Option<u32> {
        let state = self.state();
        let is_shown = |block: BlockRef| state.shown.hash_at(block.height) == Some(block.hash);
        let mut lives = self.coins.lives();
        asked.iter().filter_map(|asked| lives.next(asked, is_shown)).min()
    }

    /// Returns what became of outputs as the blocks up to one tell it, and the pool; `None` when not all were read, or the chain
    /// has moved.
    async fn tell(
        &self,
        tip: BlockRef,
        asked: &[AskedOutput],
        spends: &mut HashMap<OutPoint, Transaction>,
    ) -> Result<Option<Vec<OutpointStatus>>, ChainError> {
        let lives: Option<Vec<Option<Life>>> = {
            let lives = self.coins.lives();
            asked.iter().map(|asked| lives.known(asked, tip).map(|life| life.cloned())).collect()
        };
        let Some(lives) = lives else { return Ok(None) };
        for (asked, life) in asked.iter().zip(&lives) {
            let Some(life) = life.as_ref().filter(|life| life.is_spent && life.created.is_some()) else { continue };
            if let Entry::Vacant(unread) = spends.entry(asked.outpoint) {
                let Some(block) = self.block(life.at.hash).await? else { return Ok(None) };
                let spend = block.txdata.into_iter().find(|tx| self::spends(tx, &asked.outpoint));
                let Some(spend) = spend else { return Ok(None) };
                unread.insert(spend);
            }
        }
        let state = self.state();
        let told = |(asked, life): (&AskedOutput, &Option<Life>)| {
            status(&asked.outpoint, life.as_ref(), spends.get(&asked.outpoint), &state.pool)
        };
        Ok(Some(asked.iter().zip(&lives).map(told).collect()))
    }
}

/// Returns what became of an output, by what blocks tell, and else by the pool.
fn status(outpoint: &OutPoint, life: Option<&Life>, spend: Option<&Transaction>, pool: &Pool) -> OutpointStatus {
    let created = life.and_then(|life| life.created.clone()).map(|(output, height)| (output, Some(height)));
    let in_pool = || pool.get(&outpoint.txid)?.output.get(outpoint.vout as usize).cloned(); // u32 fits
    let Some((output, height)) = created.or_else(|| in_pool().map(|output| (output, None))) else {
        return OutpointStatus::Unknown;
    };
    let spent_height = life.filter(|life| life.is_spent).map(|life| life.at.height);
    match (spent_height, spend, pool.spender(outpoint)) {
        (Some(_), Some(by), _) | (None, _, Some(by)) => {
            OutpointStatus::Spent { output, height, by: Box::new(by.clone()), spent_height }
        }
        (None, _, None) => OutpointStatus::Unspent { output, height },
        // It is older than it was asked for, though a pool shows it.
        (Some(_), None, _) => OutpointStatus::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, TxIn};

    use super::*;

    fn block(height: u32, branch: u8) -> BlockRef {
        let mut bytes = [u8::try_from(height).unwrap(); 32];
        bytes[0] = branch;
        BlockRef { height, hash: BlockHash::from_byte_array(bytes) }
    }

    /// Only the blocks of the first branch are.
    const SHOWN: fn(BlockRef) -> bool = |block| block.hash.as_byte_array()[0] == 0;

    fn tx(spends: OutPoint) -> Transaction {
        let input = vec![TxIn { previous_output: spends, ..TxIn::default() }];
        let output = vec![TxOut { value: Amount::ONE_SAT, script_pubkey: ScriptBuf::new() }];
        Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
    }

    fn ask(tx: &Transaction, from_height: u32) -> AskedOutput {
        let outpoint = OutPoint { txid: tx.compute_txid(), vout: 0 };
        AskedOutput { outpoint, script: ScriptBuf::new(), from_height }
    }

    #[test]
    fn what_was_read_is_not_read_again() {
        let (mut lives, created) = (Lives::default(), tx(OutPoint::null()));
        let asked = ask(&created, 3);
        assert_eq!(lives.next(&asked, SHOWN), Some(3));
        assert_eq!(lives.known(&asked, block(2, 0)), Some(None), "it is in no block that there is");
        assert_eq!(lives.known(&asked, block(3, 0)), None);
        for height in 2..=5 {
            let txs = if height == 4 { vec![created.clone()] } else { Vec::new() };
            assert_eq!(lives.read(&asked, block(height, 0), block(height - 1, 0).hash, &txs), None);
        }
        assert_eq!((lives.next(&asked, SHOWN), lives.0.len()), (Some(6), 1));
        assert_eq!(lives.known(&asked, block(4, 0)), None);
        let life = lives.known(&asked, block(5, 0)).flatten().cloned().unwrap();
        let output = (created.output[0].clone(), 4);
        assert_eq!(life, Life { from: 3, at: block(5, 0), created: Some(output), is_spent: false });
        // From lower on neither, since it was found.
        assert_eq!(lives.next(&ask(&created, 1), SHOWN), Some(6));
        let spend = tx(asked.outpoint);
        let txs = std::slice::from_ref(&spend);
        assert_eq!(lives.read(&asked, block(5, 0), block(4, 0).hash, txs), None, "that was read");
        assert_eq!(lives.read(&asked, block(6, 0), block(5, 0).hash, txs), Some(spend.clone()));
        assert_eq!(lives.next(&asked, SHOWN), None, "nothing spends it again");
        assert_eq!(lives.read(&asked, block(7, 0), block(6, 0).hash, txs), None);
        let life = lives.known(&asked, block(9, 0)).flatten().unwrap();
        assert!(life.is_spent && life.at == block(6, 0));
    }

    #[test]
    fn what_was_not_found_is_looked_for_from_lower_on() {
        let (mut lives, nowhere) = (Lives::default(), tx(OutPoint::null()));
        lives.read(&ask(&nowhere, 3), block(3, 0), block(2, 0).hash, &[]);
        assert_eq!(lives.next(&ask(&nowhere, 4), SHOWN), Some(4));
        assert_eq!(lives.next(&ask(&nowhere, 2), SHOWN), Some(2));
        assert!(lives.0.is_empty());
    }

    #[test]
    fn what_another_chain_told_is_read_anew() {
        let mut lives = Lives::default();
        let asked = ask(&tx(OutPoint::null()), 3);
        lives.read(&asked, block(3, 0), block(2, 0).hash, &[]);
        lives.read(&asked, block(4, 1), block(3, 0).hash, &[]);
        assert_eq!(lives.next(&asked, SHOWN), Some(3), "its last block is not shown any more");
        // Likewise when that comes out while blocks are read: not from the middle on.
        lives.read(&asked, block(3, 0), block(2, 0).hash, &[]);
        for height in 4..=5 {
            lives.read(&asked, block(height, 0), block(height - 1, 1).hash, &[]);
        }
        assert_eq!(lives.known(&asked, block(5, 0)), None);
        assert_eq!(lives.next(&asked, SHOWN), Some(3));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let (mut lives, txid) = (Lives::default(), tx(OutPoint::null()).compute_txid());
        for vout in 0..10_000 {
            let asked = AskedOutput { outpoint: OutPoint { txid, vout }, script: ScriptBuf::new(), from_height: 3 };
            lives.read(&asked, block(3, 0), block(2, 0).hash, &[]);
            lives.read(&asked, block(4, 0), block(3, 0).hash, &[]);
        }
        assert_eq!(lives.0.len(), MAX_LIVES.get());
    }

    #[test]
    fn a_block_tells_before_the_pool_does() {
        let (created, mut pool) = (tx(OutPoint::null()), Pool::default());
        let outpoint = ask(&created, 3).outpoint;
        let (output, spend) = (created.output[0].clone(), tx(outpoint));
        let told = |life: Option<&Life>, spend: Option<&Transaction>, pool: &Pool| status(&outpoint, life, spend, pool);
        let new = Life { from: 3, at: block(5, 0), created: None, is_spent: false };
        let found = Life { created: Some((output.clone(), 4)), ..new.clone() };
        let over = Life { is_spent: true, ..found.clone() };
        let spent = |height, spent_height| OutpointStatus::Spent {
            output: output.clone(),
            height,
            by: Box::new(spend.clone()),
            spent_height,
        };
        for life in [None, Some(&new)] {
            assert_eq!(told(life, None, &pool), OutpointStatus::Unknown);
        }
        let unspent = OutpointStatus::Unspent { output: output.clone(), height: Some(4) };
        assert_eq!(told(Some(&found), None, &pool), unspent);
        assert_eq!(told(Some(&over), Some(&spend), &pool), spent(Some(4), Some(5)));
        pool.put(created.clone(), 5);
        pool.put(spend.clone(), 5);
        assert_eq!(told(None, None, &pool), spent(None, None));
        assert_eq!(told(Some(&found), None, &pool), spent(Some(4), None));
        assert_eq!(told(Some(&over), Some(&spend), &pool), spent(Some(4), Some(5)));
    }
}
