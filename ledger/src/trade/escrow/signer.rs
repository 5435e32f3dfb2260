//! Who signs for a party: its key on this machine, or one that it keeps elsewhere.
//!
//! A key elsewhere is asked by a partially signed transaction (BIP-174 with the fields of BIP-371), which says by which leaf an
//! output is spent, and from which extended key the signing key derives. What comes back is a stranger's: of it only the
//! signatures are looked at, and they must fit the transaction that was recomputed here.

use bitcoin::absolute::LockTime;
use bitcoin::bip32::KeySource;
use bitcoin::key::{Keypair, XOnlyPublicKey};
use bitcoin::psbt::Input;
use bitcoin::taproot::{self, ControlBlock, LeafVersion};
use bitcoin::transaction::Version;
use bitcoin::{Psbt, TapLeafHash, TapSighashType, Transaction};

use super::{Draft, Escrow, EscrowError, Leaf};
use crate::body::Signatures;
use crate::hash::tagged;
use crate::trade::Role;
use crate::wire::{CurveSignature, List};

/// The branch of a signer's extended key from which escrow keys derive: wallets use 0 and 1.
pub const SIGNER_BRANCH: u32 = 2;

/// Returns the number in that branch of a trade's key, from the number that the ledger shows: 31 bits of a hash, so that the
/// same trade has the same key on any machine.
pub fn signer_index(nonce: &[u8; 32]) -> u32 {
    let [a, b, c, d, ..] = tagged("exchange/signer-index/v1", &[nonce]);
    u32::from_be_bytes([a, b, c, d]) >> 1
}

/// Who signs spends of an escrow for one side.
pub trait Signer {
    /// Signs every input of a spend through a leaf with SIGHASH_DEFAULT.
    ///
    /// # Errors
    /// When the escrow has no such leaf; [`EscrowError::Unsigned`] when somebody has to be asked first.
    fn sign(&self, escrow: &Escrow, draft: &Draft, leaf: Leaf) -> Result<Signatures, EscrowError>;
}

impl Signer for Keypair {
    fn sign(&self, escrow: &Escrow, draft: &Draft, leaf: Leaf) -> Result<Signatures, EscrowError> {
        escrow.sign(draft, leaf, self)
    }
}

/// A spend that a key elsewhere has to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// The spend.
    pub draft: Draft,
    /// The leaf by which it spends every input.
    pub leaf: Leaf,
}

/// A party's key that is kept elsewhere, and the one thing that it has signed.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// Whose key it is.
    pub role: Role,
    /// The key.
    pub key: XOnlyPublicKey,
    /// What it has signed, and its signatures.
    pub signed: Option<(Unsigned, Signatures)>,
}

impl Signer for Elsewhere {
    fn sign(&self, escrow: &Escrow, draft: &Draft, leaf: Leaf) -> Result<Signatures, EscrowError> {
        match &self.signed {
            Some((what, signatures)) if what.leaf == leaf && what.draft.tx == draft.tx => {
                escrow.check_signatures(draft, leaf, signatures, (self.role, self.key))?;
                Ok(signatures.clone())
            }
            Some(_) | None => Err(EscrowError::Unsigned(Box::new(Unsigned { draft: draft.clone(), leaf }))),
        }
    }
}

impl Escrow {
    /// Returns what a wallet elsewhere funds the escrow by, where no bond of the buyer's goes beside it: the output, to which it
    /// adds its coins and its change.
    pub fn funding_psbt(&self) -> Psbt {
        let (version, lock_time) = (Version::TWO, LockTime::ZERO);
        let tx = Transaction { version, lock_time, input: Vec::new(), output: vec![self.output()] };
        Psbt::from_unsigned_tx(tx).expect("what has no inputs has no signatures")
    }

    /// Returns a spend as its signer wants it: with the outputs that it spends, script and control block of the leaf, and where
    /// the key comes from.
    ///
    /// # Errors
    /// When the escrow has no such leaf.
    pub fn psbt(&self, what: &Unsigned, key: XOnlyPublicKey, origin: &KeySource) -> Result<Psbt, EscrowError> {
        let mut psbt = Psbt::from_unsigned_tx(what.draft.tx.clone()).map_err(|_| EscrowError::Witness)?;
        for (input, (vault, prevout)) in psbt.inputs.iter_mut().zip(&what.draft.spent) {
            let tree = self.tree(*vault).ok_or(EscrowError::Vaults)?;
            let (script, control) = tree.control_block(what.leaf).ok_or(EscrowError::NoArbiter)?;
            let control = ControlBlock::decode(&control).map_err(|_| EscrowError::Witness)?;
            let leaf = TapLeafHash::from_script(script, LeafVersion::TapScript);
            input.witness_utxo = Some(prevout.clone());
            input.tap_scripts.insert(control, (script.clone(), LeafVersion::TapScript));
            input.tap_internal_key = Some(tree.info.internal_key());
            input.tap_merkle_root = tree.info.merkle_root();
            input.tap_key_origins.insert(key, (vec![leaf], origin.clone()));
        }
        Ok(psbt)
    }

    /// Takes a party's signatures out of what its signer returned, and checks that they are its own for exactly this spend.
    ///
    /// # Errors
    /// [`EscrowError::Unsigned`] when it is another transaction or has no signatures for it, [`EscrowError::Signature`] when
    /// one does not fit.
    pub fn signatures_in(
        &self,
        psbt: &Psbt,
        what: &Unsigned,
        (role, key): (Role, XOnlyPublicKey),
    ) -> Result<Signatures, EscrowError> {
        let unsigned = || EscrowError::Unsigned(Box::new(what.clone()));
        if psbt.unsigned_tx != what.draft.tx {
            return Err(unsigned());
        }
        let mut signatures = Vec::new();
        for (input, (vault, _)) in psbt.inputs.iter().zip(&what.draft.spent) {
            let script = self.leaf(*vault, what.leaf).ok_or(EscrowError::NoArbiter)?;
            let leaf = TapLeafHash::from_script(script, LeafVersion::TapScript);
            let found = signature_in(input, key, leaf, what.leaf).ok_or_else(unsigned)?;
            if found.sighash_type != TapSighashType::Default {
                return Err(EscrowError::Signature(role));
            }
            signatures.push(CurveSignature(found.signature));
        }
        let signatures = List::new(signatures).ok_or(EscrowError::Vaults)?;
        self.check_signatures(&what.draft, what.leaf, &signatures, (role, key))?;
        Ok(signatures)
    }
}

/// Returns a key's signature in an input. A leaf that asks for no other is complete by it, and a signer may have put it into
/// the witness already.
fn signature_in(input: &Input, key: XOnlyPublicKey, hash: TapLeafHash, leaf: Leaf) -> Option<taproot::Signature> {
    let finished = || {
        let witness = input.final_script_witness.as_ref().filter(|_| leaf == Leaf::Refund)?;
        taproot::Signature::from_slice(witness.nth(0)?).ok()
    };
    input.tap_script_sigs.get(&(key, hash)).copied().or_else(finished)
}

#[cfg(test)]
mod tests {
    use bitcoin::bip32::{DerivationPath, Fingerprint};
    use bitcoin::key::Secp256k1;

    use super::*;
    use crate::body::Side;
    use crate::testing::{SampleTrade, sats};
    use crate::trade::Vault;

    const FEE: u64 = 1_700;

    fn stage() -> (Escrow, SampleTrade, Elsewhere) {
        let mut trade = SampleTrade::new(Side::Sell);
        let key = trade.author(Role::Seller).trade_key().x_only_public_key().0;
        (trade.escrow(), trade, Elsewhere { role: Role::Seller, key, signed: None })
    }

    fn unsigned<T: std::fmt::Debug>(result: Result<T, EscrowError>) -> Unsigned {
        match result {
            Err(EscrowError::Unsigned(what)) => *what,
            other => panic!("nobody has signed it: {other:?}"),
        }
    }

    /// Signs as any wallet with the key would: by what the file says, and nothing else.
    fn sign_elsewhere(psbt: &mut Psbt, key: &Keypair) {
        let prevouts: Vec<_> = psbt.inputs.iter().map(|input| input.witness_utxo.clone().unwrap()).collect();
        for at in 0..psbt.inputs.len() {
            let (script, version) = psbt.inputs[at].tap_scripts.values().next().unwrap();
            let leaf = TapLeafHash::from_script(script, *version);
            let sighash = bitcoin::sighash::SighashCache::new(&psbt.unsigned_tx)
                .taproot_script_spend_signature_hash(
                    at,
                    &bitcoin::sighash::Prevouts::All(&prevouts),
                    leaf,
                    TapSighashType::Default,
                )
                .unwrap();
            let signature = Secp256k1::new().sign_schnorr(&sighash.into(), key);
            let signature = taproot::Signature { signature, sighash_type: TapSighashType::Default };
            psbt.inputs[at].tap_script_sigs.insert((key.x_only_public_key().0, leaf), signature);
        }
    }

    fn origin() -> KeySource {
        (Fingerprint::from([1, 2, 3, 4]), "m/86h/1h/0h/2/5".parse::<DerivationPath>().unwrap())
    }

    #[test]
    fn the_number_of_a_key_is_31_bits_of_a_hash() {
        // The first four bytes of SHA-256 over the domain and the nonce, halved.
        assert_eq!([0, 1].map(|byte| signer_index(&[byte; 32])), [1_746_399_210, 23_941_904]);
    }

    #[test]
    fn a_release_is_asked_for_signed_elsewhere_and_good() {
        let (escrow, mut trade, mut signer) = stage();
        let pair = trade.author(Role::Seller).trade_key();
        let vaults = trade.vaults(1);
        let what = unsigned(escrow.half(&vaults, sats(FEE), Role::Buyer, &signer));
        let mut psbt = escrow.psbt(&what, signer.key, &origin()).unwrap();
        assert_eq!(psbt.inputs[0].tap_key_origins[&signer.key].1, origin());
        let party = (Role::Seller, signer.key);
        assert_eq!(unsigned(escrow.signatures_in(&psbt, &what, party)), what, "it is not signed yet");
        sign_elsewhere(&mut psbt, &pair);
        let signatures = escrow.signatures_in(&psbt, &what, party).unwrap();
        signer.signed = Some((what.clone(), signatures));
        let half = escrow.half(&vaults, sats(FEE), Role::Buyer, &signer).unwrap();
        escrow.check_half(&half, Role::Buyer).unwrap();
        // What was signed for one fee is not taken for another, nor for another spend of the same coins.
        assert_ne!(unsigned(escrow.half(&vaults, sats(FEE + 1), Role::Buyer, &signer)), what);
        unsigned(escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(FEE), &signer));
    }

    #[test]
    fn a_refund_after_the_delay_is_signed_elsewhere() {
        let (escrow, mut trade, mut signer) = stage();
        let (coin, fee) = (trade.vaults(1).escrow, sats(FEE));
        let what = unsigned(escrow.signed_timeout(Vault::Escrow, coin, fee, &signer));
        let mut psbt = escrow.psbt(&what, signer.key, &origin()).unwrap();
        sign_elsewhere(&mut psbt, &trade.author(Role::Seller).trade_key());
        let signatures = escrow.signatures_in(&psbt, &what, (Role::Seller, signer.key)).unwrap();
        signer.signed = Some((what, signatures));
        let draft = escrow.signed_timeout(Vault::Escrow, coin, fee, &signer).unwrap();
        escrow.check_witness(&draft.tx, &trade.vaults(1)).unwrap();
        // A signer that finishes what is complete puts the same signature into a witness, and leaves nothing beside it.
        let (what, signatures) = signer.signed.clone().unwrap();
        let mut finished = escrow.psbt(&what, signer.key, &origin()).unwrap();
        finished.inputs[0].final_script_witness = Some(draft.tx.input[0].witness.clone());
        let party = (Role::Seller, signer.key);
        assert_eq!(escrow.signatures_in(&finished, &what, party), Ok(signatures));
        finished.inputs[0].final_script_witness = Some(bitcoin::Witness::from_slice(&[[1; 64]]));
        assert_eq!(escrow.signatures_in(&finished, &what, party), Err(EscrowError::Signature(Role::Seller)));
    }

    #[test]
    fn a_witness_counts_only_where_one_signature_completes_it() {
        let (escrow, mut trade, signer) = stage();
        let what = unsigned(escrow.half(&trade.vaults(1), sats(FEE), Role::Buyer, &signer));
        let mut psbt = escrow.psbt(&what, signer.key, &origin()).unwrap();
        sign_elsewhere(&mut psbt, &trade.author(Role::Seller).trade_key());
        let sigs = std::mem::take(&mut psbt.inputs[0].tap_script_sigs);
        let signature = sigs.values().next().unwrap().to_vec();
        psbt.inputs[0].final_script_witness = Some(bitcoin::Witness::from_slice(&[signature]));
        unsigned(escrow.signatures_in(&psbt, &what, (Role::Seller, signer.key)));
    }

    #[test]
    fn another_transaction_another_key_and_another_flag_are_refused() {
        let (escrow, mut trade, signer) = stage();
        let what = unsigned(escrow.half(&trade.vaults(1), sats(FEE), Role::Buyer, &signer));
        let party = (Role::Seller, signer.key);
        let fresh = || escrow.psbt(&what, signer.key, &origin()).unwrap();
        let mut richer = fresh();
        richer.unsigned_tx.output[0].value += bitcoin::Amount::ONE_SAT;
        sign_elsewhere(&mut richer, &trade.author(Role::Seller).trade_key());
        unsigned(escrow.signatures_in(&richer, &what, party));
        let mut stranger = fresh();
        sign_elsewhere(&mut stranger, &trade.author(Role::Buyer).trade_key());
        unsigned(escrow.signatures_in(&stranger, &what, party));
        let mut signed = fresh();
        sign_elsewhere(&mut signed, &trade.author(Role::Seller).trade_key());
        let mut forged = signed.clone();
        let theirs = stranger.inputs[0].tap_script_sigs.values().next().copied().unwrap();
        *forged.inputs[0].tap_script_sigs.values_mut().next().unwrap() = theirs;
        assert_eq!(escrow.signatures_in(&forged, &what, party), Err(EscrowError::Signature(Role::Seller)));
        signed.inputs[0].tap_script_sigs.values_mut().next().unwrap().sighash_type = TapSighashType::All;
        assert_eq!(escrow.signatures_in(&signed, &what, party), Err(EscrowError::Signature(Role::Seller)));
    }
}
