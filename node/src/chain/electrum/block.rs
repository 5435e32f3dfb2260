//! Whole blocks. Servers do not give them, so a block is put together from its transactions, asked for one by one. That is
//! slow, and done for nothing but the export of proofs.

use std::collections::HashSet;

use bitcoin::block::Header;
use bitcoin::{Block, Transaction, Txid};
use futures::{StreamExt, TryStreamExt, stream};

use super::connection::{Connection, OPEN_QUESTIONS};
use crate::chain::ChainError;
use crate::chain::witnesses::has_its_witnesses;

/// How many transactions a block may have: the smallest have 60 bytes, and a block a million of these.
const MAX_TXS: usize = 16_667;

/// Puts together the block of a header; `None` when the server does not have it any more.
///
/// # Errors
/// [`ChainError::Unreachable`], or [`ChainError::Invalid`] for transactions that do not make up the block.
pub(super) async fn read(server: &Connection, header: Header, height: u32) -> Result<Option<Block>, ChainError> {
    let mut txids: Vec<Txid> = Vec::new();
    let mut places = stream::iter(0..MAX_TXS).map(|pos| server.txid_at(height, pos)).buffered(OPEN_QUESTIONS);
    while let Some(txid) = places.try_next().await? {
        match txid {
            Some(txid) => txids.push(txid),
            None => break,
        }
    }
    let distinct: HashSet<&Txid> = txids.iter().collect();
    if distinct.len() != txids.len() {
        // A block with its last transactions twice has the same root.
        return Err(server.nonsense(format!("block {height} holds a transaction twice")));
    }
    let txs = stream::iter(txids).map(|txid| server.transaction(txid)).buffered(OPEN_QUESTIONS);
    let txs: Vec<Option<Transaction>> = txs.try_collect().await?;
    let Some(txdata) = txs.into_iter().collect::<Option<Vec<Transaction>>>() else { return Ok(None) };
    let block = Block { header, txdata };
    if block.txdata.is_empty() {
        return Ok(None);
    }
    if !block.check_merkle_root() || !has_its_witnesses(&block) {
        return Err(server.nonsense(format!("what it calls block {height} does not make up {}", header.block_hash())));
    }
    Ok(Some(block))
}
