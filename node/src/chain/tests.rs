//! What the times of blocks tell.

use bitcoin::block::Version;
use bitcoin::hashes::Hash;
use bitcoin::{CompactTarget, TxMerkleNode};

use super::*;

/// A chain of which nothing is known but the times of its blocks.
struct Dated(Vec<u32>);

impl Dated {
    fn header(&self, height: usize) -> Header {
        Header {
            version: Version::TWO,
            prev_blockhash: BlockHash::all_zeros(),
            merkle_root: TxMerkleNode::all_zeros(),
            time: self.0[height],
            bits: CompactTarget::default(),
            nonce: 0,
        }
    }
}

#[async_trait]
impl ChainBackend for Dated {
    fn name(&self) -> &'static str {
        "dated"
    }

    fn network(&self) -> Network {
        Network::Regtest
    }

    async fn tip(&self) -> Result<BlockRef, ChainError> {
        let height = self.0.len() - 1;
        Ok(BlockRef { height: u32::try_from(height).unwrap(), hash: self.header(height).block_hash() })
    }

    async fn block_at(&self, _height: u32) -> Result<Option<Block>, ChainError> {
        unreachable!("nobody asks for blocks")
    }

    async fn headers(&self, from: u32, limit: usize) -> Result<Vec<Header>, ChainError> {
        let from = usize::try_from(from).unwrap();
        Ok((from..self.0.len()).take(limit).map(|height| self.header(height)).collect())
    }

    async fn follow(&self, _locator: Vec<BlockRef>, _watch: Vec<ScriptBuf>) -> Result<Follower, ChainError> {
        unreachable!("nobody follows")
    }

    async fn outpoint(&self, _: OutPoint, _script: ScriptBuf, _from: u32) -> Result<OutpointStatus, ChainError> {
        unreachable!("nobody asks for outputs")
    }

    async fn broadcast(&self, _tx: &Transaction) -> Result<(), ChainError> {
        unreachable!("nobody sends")
    }

    async fn broadcast_package(&self, _txs: &[Transaction]) -> Result<(), ChainError> {
        unreachable!("nobody sends")
    }

    async fn fee_rate(&self, _blocks: u16) -> Result<FeeRate, ChainError> {
        unreachable!("nobody pays")
    }

    async fn mine(&self, _count: u32, _script: ScriptBuf) -> Result<Vec<BlockHash>, ChainError> {
        unreachable!("nobody mines")
    }
}

/// Whatever miners date an hour or two ahead or behind, and however long no block comes.
#[tokio::test]
async fn no_block_that_was_made_since_is_lower_than_the_lowest() {
    const GAP: u32 = 300;
    // A block each ten minutes, dated up to two hours wrongly; after the 300th none comes for a month.
    let made = |height: u32| 1_000_000 + 600 * height + if height > GAP { 30 * 86_400 } else { 0 };
    let dated = |height: u32| made(height) + 7_200 * (height % 3) - 7_200;
    let chain = Dated((0..=600).map(dated).collect());
    for height in [1, 20, 299, 300, 301, 302, 306, 312, 450, 599, 600] {
        // The block of this height is the first that was made since, and everybody may be wrong by two hours.
        let lowest = lowest_since(&chain, 0, u64::from(made(height) - 7_200)).await.unwrap();
        assert!(lowest <= height, "{height}: {lowest}");
        assert!(height - lowest <= 2 * MEDIAN_SPAN + 24, "{height}: {lowest} is lower than need be");
    }
}

#[tokio::test]
async fn nothing_is_looked_for_below_what_is_stated_nor_far_below_a_chain_that_has_not_got_so_far() {
    let chain = Dated((0..=600).map(|height| 1_000_000 + 600 * height).collect());
    let since = async |from, time| lowest_since(&chain, from, time).await.unwrap();
    assert_eq!(since(0, 0).await, 0);
    // Its median time past is that of five blocks before.
    assert_eq!(since(0, 1_000_000 + 600 * 95).await, 100 - MEDIAN_SPAN);
    assert_eq!(since(0, 1_000_000 + 600 * 95 + 1).await, 101 - MEDIAN_SPAN);
    for from in [98, 100, 400, 600, 601, 5_000, u32::MAX] {
        assert_eq!(since(from, 1_000_000 + 600 * 95).await, from);
    }
    assert_eq!(since(0, u64::MAX).await, 601 - MEDIAN_SPAN);
    assert_eq!(since(595, u64::MAX).await, 595);
}

#[tokio::test]
async fn a_block_was_made_before_the_time_that_its_median_time_past_has_not_reached() {
    let chain = Dated((0..=600).map(|height| 1_000_000 + 600 * height).collect());
    let past = 1_000_000 + 600 * 95;
    for (height, time, expected) in
        [(100, past, false), (100, past + 1, true), (0, u64::MAX, true), (600, u64::MAX, true), (700, u64::MAX, false)]
    {
        assert_eq!(was_made_before(&chain, height, time).await.unwrap(), expected, "{height} {time}");
    }
}
