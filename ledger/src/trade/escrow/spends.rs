//! What both parties sign, and what each takes back alone. A transaction is always recomputed here from the contract, the
//! outputs that it spends and its fee; from a peer comes nothing but a signature.

use bitcoin::absolute::LockTime;
use bitcoin::key::{Keypair, Secp256k1};
use bitcoin::secp256k1::{Message, XOnlyPublicKey, schnorr};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::LeafVersion;
use bitcoin::transaction::Version;
use bitcoin::{ScriptBuf, Sequence, TapLeafHash, TapSighashType, Transaction, TxIn, TxOut, Witness};

use super::{DUST_LIMIT, Escrow, EscrowError, Leaf, Signer, Vault, counterparty};
use crate::body::{Coin, HalfSpend, Signatures, Vaults};
use crate::money::Sats;
use crate::rules::{MAX_SHARED_FEERATE, MAX_SPEND_FEERATE};
use crate::trade::Role;
use crate::wire::{CurveSignature, List};

/// What a spend is reckoned with besides inputs and outputs, in virtual bytes, rounded up.
const OVERHEAD_VSIZE: u64 = 11;
/// An input by the leaf of both: two signatures, a 68-byte script and a 97-byte control block.
pub(super) const INPUT_VSIZE: u64 = 116;
/// An input by a leaf of an arbiter: two signatures, a script of at most 72 and a control block of at most 129 bytes.
pub(super) const RULED_INPUT_VSIZE: u64 = 125;
/// An output of at most 43 bytes.
const OUTPUT_VSIZE: u64 = 43;
/// The size of a payout or refund of a trade without bonds.
pub const SPEND_VSIZE: u64 = vsize(INPUT_VSIZE, 1, 1);

/// Returns what a spend is reckoned with.
pub(super) const fn vsize(input: u64, inputs: u64, outputs: u64) -> u64 {
    OVERHEAD_VSIZE + inputs * input + outputs * OUTPUT_VSIZE
}

/// Returns the size of a payout of a trade with these bonds.
pub const fn payout_vsize(seller_bond: bool, buyer_bond: bool) -> u64 {
    vsize(INPUT_VSIZE, if buyer_bond { 2 } else { 1 }, if seller_bond { 2 } else { 1 })
}

/// Refuses a fee that no node relays, or that only wastes.
pub(super) fn check_fee(fee: Sats, vsize: u64, max_feerate: u64) -> Result<(), EscrowError> {
    check_fee_of(fee, vsize, vsize, max_feerate)
}

/// Refuses such a fee of what may have left out outputs that it was reckoned with: `largest` is its size with them.
pub(super) fn check_fee_of(fee: Sats, vsize: u64, largest: u64, max_feerate: u64) -> Result<(), EscrowError> {
    if fee.get() < vsize || fee.get() > largest.saturating_mul(max_feerate) {
        return Err(EscrowError::Fee(fee.get()));
    }
    Ok(())
}

/// A spend of an escrow, with what it spends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The transaction.
    pub tx: Transaction,
    /// The outputs that it spends, in the order of its inputs.
    pub spent: Vec<(Vault, TxOut)>,
}

impl Draft {
    /// Returns the outputs that it spends, in the order of its inputs.
    pub fn prevouts(&self) -> Vec<TxOut> {
        self.spent.iter().map(|(_, output)| output.clone()).collect()
    }

    /// Returns what the signature of an input by the escrow's key covers (BIP-341).
    pub fn key_sighash(&self, input: usize) -> Message {
        let sighash = SighashCache::new(&self.tx)
            .taproot_key_spend_signature_hash(input, &Prevouts::All(&self.prevouts()), TapSighashType::Default)
            .expect("each input has its prevout");
        Message::from(sighash)
    }
}

impl Escrow {
    /// Returns the outputs that `vaults` are on the chain, each with the output's kind.
    ///
    /// # Errors
    /// [`EscrowError::Vaults`] when they hold more than the contract put in, or a bond that it does not know.
    fn spent(&self, vaults: &Vaults) -> Result<Vec<(Vault, TxOut)>, EscrowError> {
        let escrow = (Vault::Escrow, vaults.escrow);
        let bond = vaults.bond.map(|bond| (Vault::Bond, bond));
        [Some(escrow), bond].into_iter().flatten().map(|(vault, coin)| self.prevout(vault, coin)).collect()
    }

    pub(super) fn prevout(&self, vault: Vault, coin: Coin) -> Result<(Vault, TxOut), EscrowError> {
        let tree = self.tree(vault).filter(|tree| coin.value <= tree.value).ok_or(EscrowError::Vaults)?;
        Ok((vault, TxOut { value: coin.value.into(), script_pubkey: tree.script() }))
    }

    /// Puts a transaction together. Version 3 (TRUC): it cannot be pinned, and each party bumps by a child of its own output.
    pub(super) fn draft(&self, vaults: &Vaults, sequence: Sequence, output: Vec<TxOut>) -> Result<Draft, EscrowError> {
        let input = |coin: Coin| TxIn {
            previous_output: coin.outpoint.0,
            script_sig: ScriptBuf::new(),
            sequence,
            witness: Witness::new(),
        };
        let input = vaults.coins().map(input).collect();
        let tx = Transaction { version: Version(3), lock_time: LockTime::ZERO, input, output };
        Ok(Draft { tx, spent: self.spent(vaults)? })
    }

    /// Returns the destination of a party.
    pub(super) fn destination(&self, role: Role) -> &ScriptBuf {
        match role {
            Role::Buyer => self.contract.buyer_party.destination.script(),
            Role::Seller | Role::Arbiter => self.contract.seller_party.destination.script(),
        }
    }

    /// Returns what each party gets of a payout (to the buyer) or refund (to the seller): a payout gives the amount to the
    /// buyer, and each has his own bond back. Who gets the amount pays the fee, and what extensions cost.
    fn shares(&self, vaults: &Vaults, fee: Sats, to: Role) -> Result<Vec<(Role, Sats)>, EscrowError> {
        let bond = vaults.bond.map(|bond| bond.value).unwrap_or_default();
        let refuse = || EscrowError::Fee(fee.get());
        let shares = match to {
            Role::Buyer => {
                let kept = self.contract.seller_bond;
                let rest = vaults.value().and_then(|all| all.checked_sub(kept)?.checked_sub(fee)).ok_or_else(refuse)?;
                [(Role::Buyer, rest), (Role::Seller, kept)]
            }
            Role::Seller | Role::Arbiter => {
                let rest = vaults.escrow.value.checked_sub(fee).ok_or_else(refuse)?;
                [(Role::Buyer, bond), (Role::Seller, rest)]
            }
        };
        let shares: Vec<_> = shares.into_iter().filter(|(_, value)| *value > Sats::ZERO).collect();
        if shares.iter().any(|(_, value)| value.get() < DUST_LIMIT) {
            return Err(refuse());
        }
        Ok(shares)
    }

    /// Returns the size that a payout or refund is reckoned with, its inputs with `input` each.
    pub(super) fn both_vsize(&self, input: u64, vaults: &Vaults, to: Role) -> u64 {
        let bonds = match to {
            Role::Buyer => self.contract.seller_bond > Sats::ZERO,
            Role::Seller | Role::Arbiter => vaults.bond.is_some(),
        };
        vsize(input, 1 + u64::from(vaults.bond.is_some()), 1 + u64::from(bonds))
    }

    /// Returns the fee of a payout or refund at `feerate` sat/vB, within the protocol's bounds.
    ///
    /// # Errors
    /// [`EscrowError::Fee`] when the feerate is out of bounds or an output would be dust.
    pub fn fee_at(&self, vaults: &Vaults, to: Role, feerate: u64) -> Result<Sats, EscrowError> {
        let fee = feerate.checked_mul(self.both_vsize(INPUT_VSIZE, vaults, to)).and_then(Sats::new);
        let fee = fee.ok_or(EscrowError::Fee(u64::MAX))?;
        self.spend(vaults, fee, to).map(|_| fee)
    }

    /// Returns the unsigned transaction by the leaf of both that pays the amount, less `fee`, to `to`.
    ///
    /// # Errors
    /// When the fee is out of bounds, or the outputs are none of this escrow.
    pub fn spend(&self, vaults: &Vaults, fee: Sats, to: Role) -> Result<Draft, EscrowError> {
        check_fee(fee, self.both_vsize(INPUT_VSIZE, vaults, to), MAX_SHARED_FEERATE)?;
        self.by_both(vaults, fee, to)
    }

    /// Puts together what both sign, by their leaf or by their key.
    pub(super) fn by_both(&self, vaults: &Vaults, fee: Sats, to: Role) -> Result<Draft, EscrowError> {
        let output =
            |(role, value): (Role, Sats)| TxOut { value: value.into(), script_pubkey: self.destination(role).clone() };
        let outputs = self.shares(vaults, fee, to)?.into_iter().map(output).collect();
        self.draft(vaults, Sequence::ENABLE_RBF_NO_LOCKTIME, outputs)
    }

    /// Returns the fee at `feerate` sat/vB of taking back what a party funded.
    ///
    /// # Errors
    /// [`EscrowError::Fee`] when the feerate is out of bounds or the rest would be dust.
    pub fn timeout_fee_at(&self, vault: Vault, coin: Coin, feerate: u64) -> Result<Sats, EscrowError> {
        let fee = feerate.checked_mul(SPEND_VSIZE).and_then(Sats::new).ok_or(EscrowError::Fee(u64::MAX))?;
        self.timeout(vault, coin, fee).map(|_| fee)
    }

    /// Returns the unsigned transaction by which a party takes back what it funded after the refund delay, however much that is:
    /// what this side's own chain shows it to hold is no peer's word, and more than the contract asks for lies there no better.
    ///
    /// # Errors
    /// When the fee is out of bounds, or the escrow has no such output.
    pub fn timeout(&self, vault: Vault, coin: Coin, fee: Sats) -> Result<Draft, EscrowError> {
        check_fee(fee, SPEND_VSIZE, MAX_SPEND_FEERATE)?;
        let value = coin.value.checked_sub(fee).filter(|value| value.get() >= DUST_LIMIT);
        let value = value.ok_or(EscrowError::Fee(fee.get()))?;
        let to = match vault {
            Vault::Escrow => Role::Seller,
            Vault::Bond => Role::Buyer,
        };
        let output = TxOut { value: value.into(), script_pubkey: self.destination(to).clone() };
        let input = TxIn {
            previous_output: coin.outpoint.0,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::from_height(self.contract.refund_delay),
            witness: Witness::new(),
        };
        let tx =
            Transaction { version: Version(3), lock_time: LockTime::ZERO, input: vec![input], output: vec![output] };
        let script_pubkey = self.tree(vault).ok_or(EscrowError::Vaults)?.script();
        Ok(Draft { tx, spent: vec![(vault, TxOut { value: coin.value.into(), script_pubkey })] })
    }

    /// Returns what a signature of an input through a leaf covers (BIP-341).
    ///
    /// # Errors
    /// When the escrow has no such leaf, or the draft no such input.
    pub fn sighash(&self, draft: &Draft, input: usize, leaf: Leaf) -> Result<Message, EscrowError> {
        let (vault, _) = draft.spent.get(input).ok_or(EscrowError::Vaults)?;
        let script = self.leaf(*vault, leaf).ok_or(EscrowError::NoArbiter)?;
        let leaf = TapLeafHash::from_script(script, LeafVersion::TapScript);
        let sighash = SighashCache::new(&draft.tx)
            .taproot_script_spend_signature_hash(
                input,
                &Prevouts::All(&draft.prevouts()),
                leaf,
                TapSighashType::Default,
            )
            .map_err(|_| EscrowError::Vaults)?;
        Ok(Message::from(sighash))
    }

    /// Signs every input of a spend through a leaf with SIGHASH_DEFAULT.
    ///
    /// # Errors
    /// When the escrow has no such leaf.
    pub fn sign(&self, draft: &Draft, leaf: Leaf, key: &Keypair) -> Result<Signatures, EscrowError> {
        let secp = Secp256k1::new();
        let sign = |input| {
            self.sighash(draft, input, leaf).map(|sighash| CurveSignature(secp.sign_schnorr_no_aux_rand(&sighash, key)))
        };
        let signatures = (0..draft.spent.len()).map(sign).collect::<Result<Vec<_>, _>>()?;
        List::new(signatures).ok_or(EscrowError::Vaults)
    }

    /// Checks somebody's signatures over every input of a spend through a leaf.
    ///
    /// # Errors
    /// [`EscrowError::Signature`] when one is missing or does not fit.
    pub(super) fn check_signatures(
        &self,
        draft: &Draft,
        leaf: Leaf,
        signatures: &Signatures,
        signer: (Role, XOnlyPublicKey),
    ) -> Result<(), EscrowError> {
        let (role, key) = signer;
        if signatures.len() != draft.spent.len() {
            return Err(EscrowError::Signature(role));
        }
        let secp = Secp256k1::verification_only();
        signatures.iter().enumerate().try_for_each(|(input, signature)| {
            let sighash = self.sighash(draft, input, leaf)?;
            secp.verify_schnorr(&signature.0, &sighash, &key).map_err(|_| EscrowError::Signature(role))
        })
    }

    /// Makes one party's half of a spend that the other completes.
    ///
    /// # Errors
    /// When the fee is out of bounds, or the outputs are none of this escrow.
    pub fn half(&self, vaults: &Vaults, fee: Sats, to: Role, signer: &impl Signer) -> Result<HalfSpend, EscrowError> {
        let signatures = signer.sign(self, &self.spend(vaults, fee, to)?, Leaf::Both)?;
        Ok(HalfSpend { vaults: *vaults, fee, signatures })
    }

    /// Checks the half of a spend to `to` that the other party signed: the seller's of a payout to the buyer, the
    /// buyer's of a refund to the seller. The transaction is recomputed here; only the signatures are taken from the peer.
    ///
    /// # Errors
    /// When the fee is out of bounds or a signature does not fit.
    pub fn check_half(&self, half: &HalfSpend, to: Role) -> Result<(), EscrowError> {
        let signer = counterparty(to);
        let key = self.contract.party(signer).ok_or(EscrowError::Signature(signer))?.trade_key.0;
        let draft = self.spend(&half.vaults, half.fee, to)?;
        self.check_signatures(&draft, Leaf::Both, &half.signatures, (signer, key))
    }

    /// Completes the other party's half with one's own signatures into a transaction that can be broadcast.
    ///
    /// # Errors
    /// When the half is not good.
    pub fn complete(&self, half: &HalfSpend, to: Role, signer: &impl Signer) -> Result<Draft, EscrowError> {
        self.check_half(half, to)?;
        let mut draft = self.spend(&half.vaults, half.fee, to)?;
        let mine = signer.sign(self, &draft, Leaf::Both)?;
        let (buyer, seller) = match to {
            Role::Buyer => (&mine, &half.signatures),
            Role::Seller | Role::Arbiter => (&half.signatures, &mine),
        };
        // The script checks the buyer's signature first, so it lies on top.
        self.attach(&mut draft, Leaf::Both, &[seller, buyer])?;
        Ok(draft)
    }

    /// Builds the signed transaction by which a party takes back what it funded after the refund delay.
    ///
    /// # Errors
    /// When the fee is out of bounds, or the output is none of this escrow.
    pub fn signed_timeout(
        &self,
        vault: Vault,
        coin: Coin,
        fee: Sats,
        signer: &impl Signer,
    ) -> Result<Draft, EscrowError> {
        let mut draft = self.timeout(vault, coin, fee)?;
        let signatures = signer.sign(self, &draft, Leaf::Refund)?;
        self.attach(&mut draft, Leaf::Refund, &[&signatures])?;
        Ok(draft)
    }

    /// Completes every input by signatures, script and control block of a leaf. Of the signers, each with a signature for
    /// each input, the one whose key the script checks first comes last.
    ///
    /// # Errors
    /// When the escrow has no such leaf, or a signature is missing.
    pub fn attach(&self, draft: &mut Draft, leaf: Leaf, signers: &[&Signatures]) -> Result<(), EscrowError> {
        let Draft { tx, spent } = draft;
        for (at, (input, (vault, _))) in tx.input.iter_mut().zip(spent.iter()).enumerate() {
            let tree = self.tree(*vault).ok_or(EscrowError::Vaults)?;
            let (script, control) = tree.control_block(leaf).ok_or(EscrowError::NoArbiter)?;
            let mut witness = Witness::new();
            for signatures in signers {
                let signature: &schnorr::Signature = &signatures.get(at).ok_or(EscrowError::Witness)?.0;
                witness.push(signature.serialize());
            }
            witness.push(script.as_bytes());
            witness.push(control);
            input.witness = witness;
        }
        Ok(())
    }
}
