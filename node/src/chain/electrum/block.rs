//! Whole blocks. Servers do not give them, so a block is put together from its transactions, asked for one by one. That is
//! slow, and done for nothing but the export of proofs.

use std::collections::HashSet;

use bitcoin::block::Header;
use bitcoin::{Block, TxMerkleNode, Txid, Weight, merkle_tree};
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
    if txids.is_empty() {
        return Ok(None);
    }
    let other = || server.nonsense(format!("what it calls block {height} does not make up {}", header.block_hash()));
    // Before anything of any size is asked for.
    if !are_of(&txids, &header) {
        return Err(other());
    }
    let mut txs = stream::iter(txids).map(|txid| server.transaction(txid)).buffered(OPEN_QUESTIONS);
    let (mut txdata, mut weight) = (Vec::new(), Weight::ZERO);
    while let Some(tx) = txs.try_next().await? {
        let Some(tx) = tx else { return Ok(None) };
        weight += tx.weight();
        // Their ids do not cover witnesses.
        if weight > Weight::MAX_BLOCK {
            return Err(other());
        }
        txdata.push(tx);
    }
    let block = Block { header, txdata };
    if !block.check_merkle_root() || !has_its_witnesses(&block) {
        return Err(other());
    }
    Ok(Some(block))
}

/// Tells whether these are the ids of the transactions to which a header commits.
fn are_of(txids: &[Txid], header: &Header) -> bool {
    let root = merkle_tree::calculate_root(txids.iter().map(|txid| txid.to_raw_hash()));
    root.map(TxMerkleNode::from_raw_hash) == Some(header.merkle_root)
}

#[cfg(test)]
mod tests {
    use bitcoin::Network;
    use bitcoin::constants::genesis_block;
    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn ids_are_of_the_block_that_commits_to_them() {
        let Block { header, txdata } = genesis_block(Network::Regtest);
        let txid = txdata[0].compute_txid();
        assert!(are_of(&[txid], &header));
        let other = Txid::from_byte_array([7; 32]);
        assert!(!are_of(&[other], &header) && !are_of(&[txid, other], &header) && !are_of(&[], &header));
    }
}
