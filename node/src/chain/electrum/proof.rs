//! That a block holds a transaction, by the hashes that lead from it to the root in the block's header.

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{Transaction, TxMerkleNode, Txid};
use serde::Deserialize;

/// The deepest tree: a block has far fewer than 2^17 transactions.
const MAX_DEPTH: usize = 17;
/// A transaction of this length, without witness, could as well be two hashes of a tree, so that a proof that leads to it
/// proves nothing.
const AMBIGUOUS_LEN: usize = 64;

/// What a server answers to `blockchain.transaction.get_merkle`.
#[derive(Debug, Deserialize)]
pub(super) struct Proof {
    /// The hashes beside the way, from the leaf to the root.
    merkle: Vec<Txid>,
    /// The transaction's position in its block.
    pub pos: u32,
}

impl Proof {
    /// Tells whether it leads from a transaction to the root of a block.
    pub fn holds(&self, tx: &Transaction, root: TxMerkleNode) -> bool {
        if tx.base_size() == AMBIGUOUS_LEN || self.merkle.len() > MAX_DEPTH || self.pos >> self.merkle.len() != 0 {
            return false;
        }
        let start = tx.compute_txid().to_raw_hash();
        let reached = (0..).zip(&self.merkle).fold(start, |hash, (level, beside)| {
            let beside = beside.to_raw_hash();
            match self.pos >> level & 1 {
                0 => join(hash, beside),
                _ => join(beside, hash),
            }
        });
        TxMerkleNode::from_raw_hash(reached) == root
    }
}

fn join(left: sha256d::Hash, right: sha256d::Hash) -> sha256d::Hash {
    sha256d::Hash::hash(&[left.to_byte_array(), right.to_byte_array()].concat())
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, ScriptBuf, TxOut, merkle_tree};

    use super::*;

    fn tx(tag: u64, script_len: usize) -> Transaction {
        let output = TxOut { value: Amount::from_sat(tag), script_pubkey: ScriptBuf::from_bytes(vec![0; script_len]) };
        let (version, lock_time, input) = (Version::TWO, LockTime::ZERO, vec![bitcoin::TxIn::default()]);
        Transaction { version, lock_time, input, output: vec![output] }
    }

    /// Five transactions, as a block has them: the last hash of an odd row stands beside itself.
    fn block() -> (Vec<Transaction>, TxMerkleNode, Vec<Proof>) {
        let txs: Vec<Transaction> = (1..=5).map(|tag| tx(tag, 22)).collect();
        let ids: Vec<sha256d::Hash> = txs.iter().map(|tx| tx.compute_txid().to_raw_hash()).collect();
        let root = merkle_tree::calculate_root(ids.iter().copied()).unwrap();
        let mut proofs: Vec<Proof> = (0..5).map(|pos| Proof { merkle: vec![], pos }).collect();
        let (mut row, mut level) = (ids, 0);
        while row.len() > 1 {
            for proof in &mut proofs {
                let beside = (proof.pos >> level ^ 1) as usize;
                proof.merkle.push(Txid::from_raw_hash(*row.get(beside).unwrap_or(row.last().unwrap())));
            }
            row = row.chunks(2).map(|pair| join(pair[0], *pair.last().unwrap())).collect();
            level += 1;
        }
        (txs, TxMerkleNode::from_raw_hash(root), proofs)
    }

    #[test]
    fn a_proof_leads_from_each_transaction_to_the_root() {
        let (txs, root, proofs) = block();
        for (tx, proof) in txs.iter().zip(&proofs) {
            assert!(proof.holds(tx, root), "{proof:?}");
        }
    }

    #[test]
    fn a_proof_is_for_its_transaction_place_and_block_only() {
        let (txs, root, proofs) = block();
        assert!(!proofs[0].holds(&txs[1], root));
        assert!(!proofs[0].holds(&txs[0], TxMerkleNode::all_zeros()));
        let moved = |pos, merkle: &[Txid]| Proof { merkle: merkle.to_vec(), pos }.holds(&txs[2], root);
        let right = &proofs[2].merkle;
        assert!(moved(2, right) && !moved(3, right) && !moved(2 + 8, right) && !moved(2, &right[..2]));
        let longer: Vec<Txid> = right.iter().copied().chain([right[0]]).collect();
        assert!(!moved(2, &longer));
    }

    #[test]
    fn a_transaction_that_could_be_two_hashes_proves_nothing() {
        let ambiguous = tx(1, 4);
        assert_eq!(ambiguous.base_size(), AMBIGUOUS_LEN);
        let alone = |tx: &Transaction| {
            let root = TxMerkleNode::from_raw_hash(tx.compute_txid().to_raw_hash());
            Proof { merkle: vec![], pos: 0 }.holds(tx, root)
        };
        assert!(!alone(&ambiguous) && alone(&tx(1, 5)));
    }
}
