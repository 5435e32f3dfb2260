//! Whether a block came with its witnesses. Its header commits to the ids of its transactions, which cover none of them.

use bitcoin::{Block, TxOut};

/// How the script of a coinbase's output begins that commits to the witnesses of its block, and what it holds at least: that
/// and a hash (BIP-141).
const COMMITMENT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
const COMMITMENT_LEN: usize = 38;

/// Tells whether a block has the witnesses that its coinbase commits to, and no others.
pub(super) fn has_its_witnesses(block: &Block) -> bool {
    let commits = |output: &TxOut| {
        output.script_pubkey.len() >= COMMITMENT_LEN && output.script_pubkey.as_bytes().starts_with(&COMMITMENT)
    };
    let is_bare = block.txdata.iter().flat_map(|tx| &tx.input).all(|input| input.witness.is_empty());
    // The library takes a block that was stripped of all witnesses for one that never had any.
    let is_stripped = is_bare && block.txdata.first().is_some_and(|coinbase| coinbase.output.iter().any(commits));
    block.check_witness_commitment() && !is_stripped
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::constants::genesis_block;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, Network, OutPoint, ScriptBuf, Transaction, TxIn, Txid, Witness};

    use super::*;

    fn tx(spends: OutPoint, witness: &[&[u8]]) -> Transaction {
        let input = vec![TxIn { previous_output: spends, witness: Witness::from_slice(witness), ..TxIn::default() }];
        let output = vec![TxOut { value: Amount::ONE_SAT, script_pubkey: ScriptBuf::new() }];
        Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
    }

    /// A block with a coinbase and one spend.
    fn block() -> Block {
        let coin = OutPoint { txid: Txid::from_byte_array([7; 32]), vout: 0 };
        let txdata = vec![tx(OutPoint::null(), &[&[0; 32]]), tx(coin, &[&[1; 64]])];
        let mut block = Block { txdata, ..genesis_block(Network::Regtest) };
        let root = block.witness_root().unwrap();
        let commitment = Block::compute_witness_commitment(&root, &[0; 32]).to_byte_array();
        block.txdata[0].output[0].script_pubkey = ScriptBuf::from_bytes([&COMMITMENT[..], &commitment[..]].concat());
        block
    }

    #[test]
    fn a_block_has_the_witnesses_that_it_commits_to() {
        assert!(has_its_witnesses(&block()) && has_its_witnesses(&genesis_block(Network::Regtest)));
        let changes: [fn(&mut Block); 4] = [
            |block| block.txdata[1].input[0].witness = Witness::from_slice(&[[2; 64]]),
            |block| block.txdata[1].input[0].witness.clear(),
            |block| block.txdata[0].input[0].witness.clear(),
            |block| block.txdata.iter_mut().for_each(|tx| tx.input[0].witness.clear()),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = block();
            change(&mut changed);
            assert!(!has_its_witnesses(&changed), "{number}");
        }
    }
}
