//! A regtest chain in memory, with as little in it as proofs need: blocks that stand on each other and state their work.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid, Witness,
};

use crate::audit::bundle::{ChainProof, Hex, Inclusion};

/// A chain of blocks from regtest's genesis.
#[derive(Debug, Clone)]
pub struct Chain(Vec<Block>);

impl Default for Chain {
    fn default() -> Self {
        Self(vec![genesis_block(Network::Regtest)])
    }
}

impl Chain {
    /// Returns the height of the last block.
    pub fn tip(&self) -> u32 {
        u32::try_from(self.0.len() - 1).expect("chains of tests are short")
    }

    /// Adds a block with these transactions and returns its height.
    pub fn mine(&mut self, txs: &[Transaction]) -> u32 {
        let height = self.tip() + 1;
        let last = self.0.last().expect("there is a genesis block").header;
        let mut txdata = vec![coinbase(height)];
        txdata.extend_from_slice(txs);
        let header = Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: last.block_hash(),
            merkle_root: TxMerkleNode::all_zeros(),
            time: last.time + 600,
            bits: last.bits,
            nonce: 0,
        };
        let mut block = Block { header, txdata };
        block.header.merkle_root = block.compute_merkle_root().expect("there is a coinbase");
        while block.header.validate_pow(block.header.target()).is_err() {
            block.header.nonce += 1;
        }
        self.0.push(block);
        height
    }

    /// Adds empty blocks.
    pub fn mine_empty(&mut self, count: u32) {
        (0..count).for_each(|_| {
            self.mine(&[]);
        });
    }

    /// Returns the proof that a block holds a transaction.
    pub fn inclusion(&self, height: u32, txid: Txid, with_witness: bool) -> Inclusion {
        Inclusion::new(&self.0[height as usize], height, txid, with_witness).expect("the block holds it")
    }

    /// Returns everything that a bundle says of the chain.
    pub fn proof(&self, funding: Inclusion, spend: Option<Inclusion>) -> ChainProof {
        let headers = self.0.iter().map(|block| Hex(serialize(&block.header))).collect();
        ChainProof { anchor: 0, headers, funding, extensions: Vec::new(), spend }
    }
}

fn coinbase(height: u32) -> Transaction {
    let script_sig = ScriptBuf::builder().push_int(height.into()).push_int(0).into_script();
    let input =
        TxIn { previous_output: OutPoint::null(), script_sig, sequence: Sequence::MAX, witness: Witness::new() };
    let output = TxOut { value: Amount::from_sat(5_000_000_000), script_pubkey: ScriptBuf::new() };
    let version = bitcoin::transaction::Version::TWO;
    Transaction { version, lock_time: LockTime::ZERO, input: vec![input], output: vec![output] }
}
