//! Bitcoin Core's own verdict on a spend, asked before anything is signed away or shown.
//!
//! Wallet libraries have skipped checks that consensus makes; strangers' coins are moved only by transactions that the
//! consensus engine itself accepts. Locks that depend on the chain (BIP-65 against a height, BIP-68, coinbase maturity)
//! are no property of the transaction alone and are checked by the backend that broadcasts it.

use std::collections::HashSet;

use bitcoin::consensus::encode::serialize;
use bitcoin::{Amount, OutPoint, Transaction, TxOut};
use bitcoinkernel::prelude::*;
use bitcoinkernel::{PrecomputedTransactionData, ScriptPubkey, TxCheckResult, VERIFY_ALL, verify};

/// Verifies every input of `tx` against the outputs it spends (`prevouts`, in the order of the inputs) with all
/// consensus rules up to and including Taproot, and returns the fee.
///
/// # Errors
/// [`SpendError`], naming the first thing that is wrong.
pub fn verify_spend(tx: &Transaction, prevouts: &[TxOut]) -> Result<Amount, SpendError> {
    verify_inputs(tx, prevouts, &(0..tx.input.len()).collect::<Vec<_>>())
}

/// Likewise verifies only the inputs at these places, of a transaction that others have not signed yet.
///
/// # Errors
/// [`SpendError`], naming the first thing that is wrong.
pub fn verify_inputs(tx: &Transaction, prevouts: &[TxOut], places: &[usize]) -> Result<Amount, SpendError> {
    let fee = checked_fee(tx, prevouts)?;
    let kernel_tx = bitcoinkernel::Transaction::new(&serialize(tx)).map_err(engine)?;
    if let TxCheckResult::Invalid(result) = kernel_tx.check() {
        return Err(SpendError::Malformed { reason: format!("{result:?}") });
    }
    let spent = prevouts.iter().map(kernel_output).collect::<Result<Vec<_>, _>>()?;
    let precomputed = PrecomputedTransactionData::new(&kernel_tx, &spent).map_err(engine)?;
    for (input, output) in spent.iter().enumerate().filter(|(input, _)| places.contains(input)) {
        verify(&output.script_pubkey(), Some(output.value()), &kernel_tx, input, Some(VERIFY_ALL), &precomputed)
            .map_err(|e| SpendError::Script { input, reason: e.to_string() })?;
    }
    Ok(fee)
}

/// Why a spend is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpendError {
    /// The transaction spends nothing.
    #[error("the transaction has no inputs")]
    NoInputs,
    /// The number of spent outputs differs from the number of inputs.
    #[error("{inputs} inputs but {prevouts} spent outputs were given; give one for each input, in order")]
    PrevoutCount {
        /// Inputs of the transaction.
        inputs: usize,
        /// Outputs given.
        prevouts: usize,
    },
    /// Two inputs spend the same output.
    #[error("{outpoint} is spent twice by the same transaction")]
    DuplicateInput {
        /// The output.
        outpoint: OutPoint,
    },
    /// A value or a sum of values is more than all bitcoin there will ever be.
    #[error("the {side} amount to more than 21 million bitcoin")]
    OutOfRange {
        /// `inputs` or `outputs`.
        side: &'static str,
    },
    /// More goes out than comes in.
    #[error("outputs of {outputs} exceed inputs of {inputs}")]
    InBelowOut {
        /// Sum of the inputs.
        inputs: Amount,
        /// Sum of the outputs.
        outputs: Amount,
    },
    /// The transaction breaks a rule that needs no context.
    #[error("the transaction is malformed: {reason}")]
    Malformed {
        /// What the engine said.
        reason: String,
    },
    /// The script of a spent output is not satisfied.
    #[error("input {input} does not satisfy the script it spends: {reason}")]
    Script {
        /// The input.
        input: usize,
        /// What the engine said.
        reason: String,
    },
    /// The engine could not be asked.
    #[error("the consensus engine failed: {reason}")]
    Engine {
        /// What it said.
        reason: String,
    },
}

fn checked_fee(tx: &Transaction, prevouts: &[TxOut]) -> Result<Amount, SpendError> {
    if tx.input.is_empty() {
        return Err(SpendError::NoInputs);
    }
    if tx.input.len() != prevouts.len() {
        return Err(SpendError::PrevoutCount { inputs: tx.input.len(), prevouts: prevouts.len() });
    }
    let mut seen = HashSet::with_capacity(tx.input.len());
    for input in &tx.input {
        if !seen.insert(input.previous_output) {
            return Err(SpendError::DuplicateInput { outpoint: input.previous_output });
        }
    }
    let inputs = checked_sum(prevouts).ok_or(SpendError::OutOfRange { side: "inputs" })?;
    let outputs = checked_sum(&tx.output).ok_or(SpendError::OutOfRange { side: "outputs" })?;
    inputs.checked_sub(outputs).ok_or(SpendError::InBelowOut { inputs, outputs })
}

fn checked_sum(outputs: &[TxOut]) -> Option<Amount> {
    outputs.iter().try_fold(Amount::ZERO, |sum, output| {
        sum.checked_add(output.value).filter(|total| output.value <= Amount::MAX_MONEY && *total <= Amount::MAX_MONEY)
    })
}

fn kernel_output(output: &TxOut) -> Result<bitcoinkernel::TxOut, SpendError> {
    let script = ScriptPubkey::new(output.script_pubkey.as_bytes()).map_err(engine)?;
    let value = i64::try_from(output.value.to_sat()).map_err(|_| SpendError::OutOfRange { side: "inputs" })?;
    Ok(bitcoinkernel::TxOut::new(&script, value))
}

fn engine(error: bitcoinkernel::KernelError) -> SpendError {
    SpendError::Engine { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::key::{Keypair, TapTweak};
    use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
    use bitcoin::sighash::{Prevouts, SighashCache};
    use bitcoin::transaction::Version;
    use bitcoin::{ScriptBuf, Sequence, TapSighashType, TxIn, Txid, Witness};

    use super::*;

    fn keypair() -> Keypair {
        Keypair::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&[7; 32]).unwrap())
    }

    /// Two key-path spends of one key, signed over all prevouts (BIP-341).
    fn signed_spend() -> (Transaction, Vec<TxOut>) {
        let secp = Secp256k1::new();
        let (internal, _) = keypair().x_only_public_key();
        let script = ScriptBuf::new_p2tr(&secp, internal, None);
        let prevouts: Vec<TxOut> =
            [60_000, 50_000].map(|sat| TxOut { value: Amount::from_sat(sat), script_pubkey: script.clone() }).into();
        let input = |vout| TxIn {
            previous_output: OutPoint { txid: Txid::from_byte_array([3; 32]), vout },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        };
        let mut tx = Transaction {
            version: Version(3),
            lock_time: LockTime::ZERO,
            input: vec![input(0), input(1)],
            output: vec![TxOut { value: Amount::from_sat(109_000), script_pubkey: script }],
        };
        for index in 0..2 {
            let sighash = SighashCache::new(&tx)
                .taproot_key_spend_signature_hash(index, &Prevouts::All(&prevouts), TapSighashType::Default)
                .unwrap();
            let tweaked = keypair().tap_tweak(&secp, None).to_keypair();
            let signature = secp.sign_schnorr_no_aux_rand(&Message::from_digest(sighash.to_byte_array()), &tweaked);
            tx.input[index].witness.push(signature.serialize());
        }
        (tx, prevouts)
    }

    #[test]
    fn a_signed_spend_verifies_and_tells_its_fee() {
        let (tx, prevouts) = signed_spend();
        assert_eq!(verify_spend(&tx, &prevouts), Ok(Amount::from_sat(1_000)));
    }

    #[test]
    fn a_changed_output_is_refused() {
        let (mut tx, prevouts) = signed_spend();
        tx.output[0].value = Amount::from_sat(108_999);
        assert!(matches!(verify_spend(&tx, &prevouts), Err(SpendError::Script { input: 0, .. })));
    }

    #[test]
    fn the_second_input_is_verified_too() {
        let (mut tx, prevouts) = signed_spend();
        tx.input[1].witness = Witness::new();
        assert!(matches!(verify_spend(&tx, &prevouts), Err(SpendError::Script { input: 1, .. })));
    }

    #[test]
    fn a_lie_about_a_spent_amount_is_refused() {
        let (tx, mut prevouts) = signed_spend();
        prevouts[1].value = Amount::from_sat(50_001);
        assert!(matches!(verify_spend(&tx, &prevouts), Err(SpendError::Script { .. })));
    }

    #[test]
    fn sums_are_checked() {
        let (mut tx, prevouts) = signed_spend();
        tx.output[0].value = Amount::from_sat(110_001);
        assert!(matches!(verify_spend(&tx, &prevouts), Err(SpendError::InBelowOut { .. })));
        tx.output[0].value = Amount::MAX;
        assert_eq!(verify_spend(&tx, &prevouts), Err(SpendError::OutOfRange { side: "outputs" }));
    }

    #[test]
    fn the_shape_is_checked() {
        let (mut tx, prevouts) = signed_spend();
        assert_eq!(verify_spend(&tx, &prevouts[..1]), Err(SpendError::PrevoutCount { inputs: 2, prevouts: 1 }));
        tx.input[1].previous_output = tx.input[0].previous_output;
        assert!(matches!(verify_spend(&tx, &prevouts), Err(SpendError::DuplicateInput { .. })));
        tx.input.clear();
        assert_eq!(verify_spend(&tx, &[]), Err(SpendError::NoInputs));
    }
}
