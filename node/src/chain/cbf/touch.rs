//! Which transactions of a block touch a script, when the outputs they spend are not at hand.
//!
//! A block comes without the outputs that it spends. The input tells nearly always which script it satisfied: it carries
//! the key or the script that hashes to it. Only a Taproot key path hides it; such a transaction is told as well, in a
//! block whose filter matched: whoever listens compares the outpoint with his own.

use std::sync::LazyLock;

use bitcoin::hashes::Hash;
use bitcoin::key::TapTweak;
use bitcoin::script::Instruction;
use bitcoin::secp256k1::{Secp256k1, VerifyOnly};
use bitcoin::taproot::{ControlBlock, TapLeafHash, TapNodeHash};
use bitcoin::{Block, PubkeyHash, Script, ScriptBuf, ScriptHash, Transaction, TxIn, WPubkeyHash, WScriptHash};

use crate::chain::follower::Scripts;

static SECP: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);
/// The first byte of an annex (BIP-341).
const ANNEX: u8 = 0x50;
/// The lengths of a Schnorr signature, with and without a sighash byte.
const SCHNORR_LENS: [usize; 2] = [64, 65];
/// The length of a compressed key.
const KEY_LEN: usize = 33;

/// Returns the transactions of a block that touch a script, and those that may.
pub(super) fn touching(block: &Block, scripts: &Scripts) -> Vec<Transaction> {
    block.txdata.iter().filter(|tx| may_touch(tx, scripts)).cloned().collect()
}

/// Tells whether a transaction pays to one of the scripts, spends an output of one, or hides what it spends.
pub(super) fn may_touch(tx: &Transaction, scripts: &Scripts) -> bool {
    touches_where(tx, scripts, true)
}

/// Tells whether a transaction pays to one of the scripts, or shows that it spends an output of one.
pub(super) fn touches(tx: &Transaction, scripts: &Scripts) -> bool {
    touches_where(tx, scripts, false)
}

fn touches_where(tx: &Transaction, scripts: &Scripts, hidden: bool) -> bool {
    let spends = |input: &TxIn| match spent_by(input) {
        Spent::OneOf(candidates) => candidates.iter().any(|script| scripts.contains(script)),
        Spent::Hidden => hidden,
    };
    scripts.touched_by(tx, []) || (!tx.is_coinbase() && tx.input.iter().any(spends))
}

/// What an input tells of the script that it satisfied.
#[derive(Debug, PartialEq)]
enum Spent {
    /// It was one of these.
    OneOf(Vec<ScriptBuf>),
    /// Any.
    Hidden,
}

fn spent_by(input: &TxIn) -> Spent {
    if !input.script_sig.is_empty() {
        return spent_by_script_sig(&input.script_sig);
    }
    let mut stack: Vec<&[u8]> = input.witness.iter().collect();
    if stack.len() > 1 && stack.last().is_some_and(|last| last.first() == Some(&ANNEX)) {
        stack.pop();
    }
    let Some((last, below)) = stack.split_last() else { return Spent::Hidden };
    if below.is_empty() && SCHNORR_LENS.contains(&last.len()) {
        return Spent::Hidden;
    }
    let mut candidates = vec![ScriptBuf::new_p2wsh(&WScriptHash::hash(last))];
    if below.len() == 1 && last.len() == KEY_LEN {
        candidates.push(ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(last)));
    }
    if let (Some(leaf), Ok(control)) = (below.last(), ControlBlock::decode(last)) {
        let leaf = TapLeafHash::from_script(Script::from_bytes(leaf), control.leaf_version);
        let join = |below: TapNodeHash, beside: &TapNodeHash| TapNodeHash::from_node_hashes(below, *beside);
        let root = control.merkle_branch.iter().fold(TapNodeHash::from(leaf), join);
        let (key, _) = control.internal_key.tap_tweak(&SECP, Some(root));
        candidates.push(ScriptBuf::new_p2tr_tweaked(key));
    }
    Spent::OneOf(candidates)
}

/// Older kinds of outputs: the last thing pushed is the key or the script behind a hash.
fn spent_by_script_sig(script_sig: &Script) -> Spent {
    match script_sig.instructions().last() {
        Some(Ok(Instruction::PushBytes(last))) => Spent::OneOf(vec![
            ScriptBuf::new_p2pkh(&PubkeyHash::hash(last.as_bytes())),
            ScriptBuf::new_p2sh(&ScriptHash::hash(last.as_bytes())),
        ]),
        Some(Ok(Instruction::Op(_)) | Err(_)) | None => Spent::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hex::FromHex;
    use bitcoin::opcodes::OP_TRUE;
    use bitcoin::secp256k1::{Keypair, SecretKey};
    use bitcoin::taproot::{LeafVersion, TaprootBuilder};
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, OutPoint, Sequence, TxOut, Witness};

    use super::*;

    fn input(script_sig: ScriptBuf, witness: &[&[u8]]) -> TxIn {
        let previous_output = OutPoint::new(bitcoin::Txid::all_zeros(), 7);
        TxIn { previous_output, script_sig, sequence: Sequence::MAX, witness: Witness::from_slice(witness) }
    }

    fn tells(input: &TxIn, script: &ScriptBuf) -> bool {
        matches!(spent_by(input), Spent::OneOf(candidates) if candidates.contains(script))
    }

    #[test]
    fn an_input_tells_which_script_it_satisfied() {
        let key = Vec::<u8>::from_hex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").unwrap();
        let signature = [0x30; 71];
        let wpkh = ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(&key));
        assert!(tells(&input(ScriptBuf::new(), &[&signature, &key]), &wpkh));
        let script = ScriptBuf::from_bytes(vec![OP_TRUE.to_u8()]);
        assert!(tells(&input(ScriptBuf::new(), &[script.as_bytes()]), &script.to_p2wsh()));
        let pushed = ScriptBuf::builder().push_slice([7; 5]).into_script();
        assert!(tells(&input(pushed, &[]), &ScriptBuf::from_bytes(vec![7; 5]).to_p2sh()));
    }

    #[test]
    fn a_taproot_leaf_tells_and_a_taproot_key_hides() {
        let secp = Secp256k1::new();
        let (internal, _) =
            Keypair::from_secret_key(&secp, &SecretKey::from_slice(&[5; 32]).unwrap()).x_only_public_key();
        let leaves = [vec![0x51], vec![0x52], vec![0x53]].map(ScriptBuf::from_bytes);
        let builder = TaprootBuilder::with_huffman_tree(leaves.iter().cloned().map(|leaf| (1, leaf))).unwrap();
        let spend = builder.finalize(&secp, internal).unwrap();
        let output = ScriptBuf::new_p2tr_tweaked(spend.output_key());
        for leaf in &leaves {
            let control = spend.control_block(&(leaf.clone(), LeafVersion::TapScript)).unwrap().serialize();
            assert!(tells(&input(ScriptBuf::new(), &[b"x", leaf.as_bytes(), &control]), &output));
            assert!(tells(&input(ScriptBuf::new(), &[leaf.as_bytes(), &control, &[ANNEX, 1]]), &output));
        }
        assert_eq!(spent_by(&input(ScriptBuf::new(), &[&[1; 64]])), Spent::Hidden);
        assert_eq!(spent_by(&input(ScriptBuf::new(), &[&[1; 65], &[ANNEX]])), Spent::Hidden);
    }

    #[test]
    fn what_neither_pays_nor_spends_a_script_is_passed_over() {
        let watched = ScriptBuf::from_bytes(vec![OP_TRUE.to_u8()]);
        let scripts: Scripts = [watched.to_p2wsh()].into_iter().collect();
        let tx = |witness: &[&[u8]], to: &ScriptBuf| Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![input(ScriptBuf::new(), witness)],
            output: vec![TxOut { value: Amount::ONE_SAT, script_pubkey: to.clone() }],
        };
        assert!(!may_touch(&tx(&[b"other"], &ScriptBuf::new()), &scripts));
        assert!(may_touch(&tx(&[b"other"], &watched.to_p2wsh()), &scripts));
        assert!(may_touch(&tx(&[watched.as_bytes()], &ScriptBuf::new()), &scripts));
        let hides = tx(&[&[1; 64]], &ScriptBuf::new());
        assert!(may_touch(&hides, &scripts) && !touches(&hides, &scripts));
        for shows in [tx(&[b"other"], &watched.to_p2wsh()), tx(&[watched.as_bytes()], &ScriptBuf::new())] {
            assert!(touches(&shows, &scripts));
        }
    }
}
