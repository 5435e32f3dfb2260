//! Assembles regtest blocks.

use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version as BlockVersion};
use bitcoin::hashes::Hash;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::Builder;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Target, Transaction, TxIn, TxMerkleNode,
    TxOut, Weight, Witness,
};

use crate::chain::median_time;

/// The easiest target there is: every second hash meets it.
const REGTEST_BITS: u32 = 0x207f_ffff;
/// Blocks between halvings on regtest.
const HALVING_INTERVAL: u32 = 150;
/// After this many halvings the subsidy is shifted to nothing.
const MAX_HALVINGS: u32 = 64;
/// The subsidy of the first blocks.
const FIRST_SUBSIDY: Amount = Amount::from_int_btc(50);
/// What stands before the commitment in its output (BIP-141).
const COMMITMENT_HEADER: [u8; 4] = [0xaa, 0x21, 0xa9, 0xed];
/// The weight left for pool transactions: a block less its header and coinbase, as Bitcoin Core reserves it.
pub(super) const PACKAGE_SPACE: Weight = Weight::from_wu(4_000_000 - 8_000);

/// Where a new block goes.
pub(super) struct Site {
    /// The hash of its parent.
    pub parent: BlockHash,
    /// Its height.
    pub height: u32,
    /// The times of the blocks below it.
    pub recent_times: Vec<u32>,
    /// The present tip: the same as the parent, unless a branch is built.
    pub tip: BlockHash,
}

/// Returns a block that pays subsidy and `fees` to `script` and confirms `txs`.
pub(super) fn assemble(site: &Site, script: &ScriptBuf, txs: Vec<Transaction>, fees: Amount) -> Block {
    let mut txdata = vec![coinbase(site, script, fees)];
    txdata.extend(txs);
    let header = Header {
        version: BlockVersion::NO_SOFT_FORK_SIGNALLING,
        prev_blockhash: site.parent,
        merkle_root: TxMerkleNode::all_zeros(),
        time: now().max(median_time(&site.recent_times).saturating_add(1)),
        bits: CompactTarget::from_consensus(REGTEST_BITS),
        nonce: 0,
    };
    let mut block = Block { header, txdata };
    commit_to_witnesses(&mut block);
    block.header.merkle_root = block.compute_merkle_root().expect("a block has a coinbase");
    let target = Target::from_compact(block.header.bits);
    while !target.is_met_by(block.block_hash()) {
        block.header.nonce += 1;
    }
    block
}

fn coinbase(site: &Site, script: &ScriptBuf, fees: Amount) -> Transaction {
    // The tip makes the first block of a branch differ from the block it replaces, whatever the second it is built in.
    let extra_nonce: [u8; 8] = site.tip.as_byte_array()[..8].try_into().expect("a hash has 32 bytes");
    let input = TxIn {
        previous_output: OutPoint::null(),
        script_sig: Builder::new().push_int(i64::from(site.height)).push_slice(extra_nonce).into_script(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[[0; 32]]),
    };
    let value = subsidy(site.height).checked_add(fees).expect("fees come out of coins that exist");
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![TxOut { value, script_pubkey: script.clone() }],
    }
}

/// Adds the output by which the coinbase commits to all witnesses (BIP-141).
fn commit_to_witnesses(block: &mut Block) {
    let root = block.witness_root().expect("a block has a coinbase");
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let mut payload = [0; 36];
    payload[..4].copy_from_slice(&COMMITMENT_HEADER);
    payload[4..].copy_from_slice(commitment.as_byte_array());
    let script_pubkey = Builder::new().push_opcode(OP_RETURN).push_slice(payload).into_script();
    block.txdata[0].output.push(TxOut { value: Amount::ZERO, script_pubkey });
}

fn subsidy(height: u32) -> Amount {
    let halvings = height / HALVING_INTERVAL;
    if halvings >= MAX_HALVINGS { Amount::ZERO } else { Amount::from_sat(FIRST_SUBSIDY.to_sat() >> halvings) }
}

/// The machine's clock, by which the engine too judges whether a block comes from the future.
#[expect(
    clippy::disallowed_methods,
    reason = "a block is dated by the clock that judges it, which is not ours to hand in"
)]
fn now() -> u32 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    u32::try_from(since_epoch).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subsidy_halves_and_ends() {
        assert_eq!(subsidy(149), Amount::from_int_btc(50));
        assert_eq!(subsidy(150), Amount::from_int_btc(25));
        assert_eq!(subsidy(4_320), Amount::from_sat(18));
        assert_eq!(subsidy(150 * 64), Amount::ZERO);
    }
}
