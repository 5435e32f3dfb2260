//! The escrow: one Taproot output that neither side, nor the arbiter alone, can take. `specs/escrow.md` is normative.

use std::str::FromStr;

use bitcoin::absolute::LockTime;
use bitcoin::key::{Keypair, Secp256k1};
use bitcoin::secp256k1::{Message, Scalar, XOnlyPublicKey, schnorr};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{LeafVersion, TaprootSpendInfo};
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Network, OutPoint, ScriptBuf, Sequence, TapLeafHash, TapSighashType, Transaction, TxIn, TxOut, Witness,
};
use miniscript::Descriptor;
use secp256k1_musig as musig;

use crate::body::HalfSpend;
use crate::hash::tagged;
use crate::money::Sats;
use crate::rules::MAX_SPEND_FEERATE;
use crate::trade::{Contract, Role};
use crate::wire::{CurveSignature, Outpoint};

mod witness;

/// The weight of a spend by the leaf of both, to any standard destination, in virtual bytes, rounded up: one input
/// with two signatures, a 68-byte script and a 97-byte control block, one output of at most 43 bytes.
pub const SPEND_VSIZE: u64 = 170;
/// The value below which an output of any standard type may count as dust.
const DUST_LIMIT: u64 = 546;

/// The leaves of the tree, in the order of the descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// Buyer and seller together.
    Both,
    /// The seller alone, after the refund delay.
    Refund,
    /// Seller and arbiter, after the arbitration delay.
    SellerArbiter,
    /// Buyer and arbiter, after the arbitration delay.
    BuyerArbiter,
}

/// Which way the coins of an escrow went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpendPath {
    /// To the buyer, signed by both.
    Payout,
    /// Back to the seller, signed by both.
    Refund,
    /// Back to the seller by himself after the refund delay.
    Timeout,
    /// Any other way.
    Foreign,
}

impl SpendPath {
    /// Tells whether the buyer got the coins.
    pub const fn is_payout(self) -> bool {
        matches!(self, Self::Payout)
    }

    /// Tells whether the seller got them back.
    pub const fn is_refund(self) -> bool {
        matches!(self, Self::Refund | Self::Timeout)
    }

    /// Tells whether they went another way.
    pub const fn is_foreign(self) -> bool {
        matches!(self, Self::Foreign)
    }
}

/// Why a spend of an escrow is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EscrowError {
    /// The fee is not between the relay minimum and the protocol's limit, or leaves dust.
    #[error("a fee of {0} satoshis for this spend is out of bounds")]
    Fee(u64),
    /// The signature is not the other side's over exactly this transaction.
    #[error("the signature of the {0} does not fit the transaction that the contract prescribes")]
    Signature(Role),
    /// The witness is not what any leaf of the escrow, or its key, asks for.
    #[error("the transaction is not signed as the escrow asks")]
    Witness,
}

/// The escrow of a contract.
#[derive(Debug, Clone)]
pub struct Escrow {
    contract: Contract,
    info: TaprootSpendInfo,
    leaves: [ScriptBuf; 4],
    descriptor: String,
}

impl Escrow {
    /// Computes the escrow of a contract.
    pub fn new(contract: &Contract) -> Self {
        let buyer = contract.buyer_party.trade_key.0;
        let seller = contract.seller_party.trade_key.0;
        let arbiter = tweaked_arbiter_key(contract);
        let internal = aggregate(buyer, seller);
        let (t1, t2) = (contract.arbitration_delay, contract.refund_delay);
        let descriptor = format!(
            "tr({internal},{{{{and_v(v:pk({buyer}),pk({seller})),and_v(v:pk({seller}),older({t2}))}},\
             {{and_v(v:pk({seller}),and_v(v:pk({arbiter}),older({t1}))),and_v(v:pk({buyer}),and_v(v:pk({arbiter}),older({t1})))}}}})"
        );
        let parsed = Descriptor::<XOnlyPublicKey>::from_str(&descriptor).expect("the template is a sane descriptor");
        let Descriptor::Tr(tree) = parsed else { unreachable!("the template begins with tr(") };
        let mut leaves: Vec<ScriptBuf> = tree.iter_scripts().map(|(_, leaf)| leaf.encode()).collect();
        let leaves: [ScriptBuf; 4] = std::mem::take(&mut leaves).try_into().expect("the template has four leaves");
        Self { contract: contract.clone(), info: (*tree.spend_info()).clone(), leaves, descriptor }
    }

    /// Returns the contract.
    pub const fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Returns the output descriptor (BIP-386), for auditors' own tools.
    pub fn descriptor(&self) -> &str {
        &self.descriptor
    }

    /// Returns the output script.
    pub fn script(&self) -> ScriptBuf {
        ScriptBuf::new_p2tr_tweaked(self.info.output_key())
    }

    /// Returns the address on `network`.
    pub fn address(&self, network: Network) -> Address {
        Address::p2tr_tweaked(self.info.output_key(), network)
    }

    /// Returns the output that funds the escrow: this script with exactly this value, nothing else counts.
    pub fn output(&self) -> TxOut {
        TxOut { value: self.contract.amount.into(), script_pubkey: self.script() }
    }

    /// Returns the outputs of a transaction that fund the escrow: its script with exactly its value.
    pub fn fundings(&self, tx: &Transaction) -> Vec<OutPoint> {
        let (txid, wanted) = (tx.compute_txid(), self.output());
        (0..)
            .zip(&tx.output)
            .filter(|(_, output)| **output == wanted)
            .map(|(vout, _)| OutPoint { txid, vout })
            .collect()
    }

    /// Returns a leaf's script.
    pub const fn leaf(&self, leaf: Leaf) -> &ScriptBuf {
        &self.leaves[leaf as usize] // the enum counts the leaves
    }

    /// Returns the fee of a spend at `feerate` sat/vB, within the protocol's bounds.
    ///
    /// # Errors
    /// [`EscrowError::Fee`] when the feerate is out of bounds or the rest would be dust.
    pub fn fee_at(&self, feerate: u64) -> Result<Sats, EscrowError> {
        let fee = feerate.checked_mul(SPEND_VSIZE).and_then(Sats::new).ok_or(EscrowError::Fee(u64::MAX))?;
        self.check_fee(fee)?;
        Ok(fee)
    }

    fn check_fee(&self, fee: Sats) -> Result<(), EscrowError> {
        let rest = self.contract.amount.checked_sub(fee).map_or(0, Sats::get);
        if fee.get() < SPEND_VSIZE || fee.get() > SPEND_VSIZE * MAX_SPEND_FEERATE || rest < DUST_LIMIT {
            return Err(EscrowError::Fee(fee.get()));
        }
        Ok(())
    }

    /// Returns the unsigned transaction by the leaf of both that pays the whole escrow, less `fee`, to `to`.
    ///
    /// # Errors
    /// [`EscrowError::Fee`] when the fee is out of bounds.
    pub fn spend(&self, outpoint: OutPoint, fee: Sats, to: Role) -> Result<Transaction, EscrowError> {
        let destination = match to {
            Role::Buyer => &self.contract.buyer_party.destination,
            Role::Seller | Role::Arbiter => &self.contract.seller_party.destination,
        };
        self.spend_to(outpoint, fee, destination.script().clone(), Sequence::ENABLE_RBF_NO_LOCKTIME)
    }

    /// Returns the unsigned transaction by which the seller takes everything back after the refund delay.
    ///
    /// # Errors
    /// [`EscrowError::Fee`] when the fee is out of bounds.
    pub fn timeout(&self, outpoint: OutPoint, fee: Sats) -> Result<Transaction, EscrowError> {
        let destination = self.contract.seller_party.destination.script().clone();
        self.spend_to(outpoint, fee, destination, Sequence::from_height(self.contract.refund_delay))
    }

    fn spend_to(
        &self,
        outpoint: OutPoint,
        fee: Sats,
        to: ScriptBuf,
        sequence: Sequence,
    ) -> Result<Transaction, EscrowError> {
        self.check_fee(fee)?;
        let value = self.contract.amount.checked_sub(fee).ok_or(EscrowError::Fee(fee.get()))?;
        Ok(Transaction {
            version: Version(3), // TRUC: cannot be pinned, either party bumps by a child of its own output
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: outpoint,
                script_sig: ScriptBuf::new(),
                sequence,
                witness: Witness::new(),
            }],
            output: vec![TxOut { value: value.into(), script_pubkey: to }],
        })
    }

    /// Signs a spend through a leaf with SIGHASH_DEFAULT.
    pub fn sign(&self, tx: &Transaction, leaf: Leaf, key: &Keypair) -> schnorr::Signature {
        Secp256k1::new().sign_schnorr_no_aux_rand(&self.sighash(tx, leaf), key)
    }

    /// Returns what a signature over a spend through a leaf covers (BIP-341, with this escrow as the only input).
    pub fn sighash(&self, tx: &Transaction, leaf: Leaf) -> Message {
        let leaf = TapLeafHash::from_script(self.leaf(leaf), LeafVersion::TapScript);
        let sighash = SighashCache::new(tx)
            .taproot_script_spend_signature_hash(0, &Prevouts::All(&[self.output()]), leaf, TapSighashType::Default)
            .expect("the only input has its only prevout");
        Message::from(sighash)
    }

    /// Makes one party's half of a spend that the other completes.
    ///
    /// # Errors
    /// [`EscrowError::Fee`] when the fee is out of bounds.
    pub fn half(&self, outpoint: OutPoint, fee: Sats, to: Role, key: &Keypair) -> Result<HalfSpend, EscrowError> {
        let tx = self.spend(outpoint, fee, to)?;
        Ok(HalfSpend { outpoint: Outpoint(outpoint), fee, signature: CurveSignature(self.sign(&tx, Leaf::Both, key)) })
    }

    /// Checks the half of a spend to `to` that the other party signed: the seller's of a payout to the buyer, the
    /// buyer's of a refund to the seller. The transaction is recomputed here; only the signature is taken from the peer.
    ///
    /// # Errors
    /// When the fee is out of bounds or the signature does not fit.
    pub fn check_half(&self, half: &HalfSpend, to: Role) -> Result<(), EscrowError> {
        let signer = counterparty(to);
        let key = self.contract.party(signer).ok_or(EscrowError::Signature(signer))?.trade_key.0;
        let tx = self.spend(half.outpoint.0, half.fee, to)?;
        Secp256k1::verification_only()
            .verify_schnorr(&half.signature.0, &self.sighash(&tx, Leaf::Both), &key)
            .map_err(|_| EscrowError::Signature(signer))
    }

    /// Completes the other party's half with one's own signature into a transaction that can be broadcast.
    ///
    /// # Errors
    /// When the half is not good.
    pub fn complete(&self, half: &HalfSpend, to: Role, key: &Keypair) -> Result<Transaction, EscrowError> {
        self.check_half(half, to)?;
        let mut tx = self.spend(half.outpoint.0, half.fee, to)?;
        let mine = self.sign(&tx, Leaf::Both, key);
        let (buyer, seller) = match to {
            Role::Buyer => (mine, half.signature.0),
            Role::Seller | Role::Arbiter => (half.signature.0, mine),
        };
        // The script checks the buyer's signature first, so it lies on top.
        self.attach(&mut tx, Leaf::Both, &[seller, buyer]);
        Ok(tx)
    }

    /// Builds the signed transaction by which the seller takes everything back after the refund delay.
    ///
    /// # Errors
    /// [`EscrowError::Fee`] when the fee is out of bounds.
    pub fn signed_timeout(&self, outpoint: OutPoint, fee: Sats, seller: &Keypair) -> Result<Transaction, EscrowError> {
        let mut tx = self.timeout(outpoint, fee)?;
        let signature = self.sign(&tx, Leaf::Refund, seller);
        self.attach(&mut tx, Leaf::Refund, &[signature]);
        Ok(tx)
    }

    /// Completes a transaction's only input by signatures, script and control block of a leaf.
    pub fn attach(&self, tx: &mut Transaction, leaf: Leaf, signatures: &[schnorr::Signature]) {
        let script = self.leaf(leaf);
        let control = self
            .info
            .control_block(&(script.clone(), LeafVersion::TapScript))
            .expect("every leaf of the tree has a control block");
        let mut witness = Witness::new();
        for signature in signatures {
            witness.push(signature.serialize());
        }
        witness.push(script.as_bytes());
        witness.push(control.serialize());
        tx.input[0].witness = witness;
    }

    /// Tells which way a transaction that spends the escrow sends the coins.
    pub fn classify(&self, tx: &Transaction, outpoint: OutPoint) -> SpendPath {
        let Some(input) = tx.input.iter().find(|input| input.previous_output == outpoint) else {
            return SpendPath::Foreign;
        };
        if input.witness.taproot_leaf_script().is_some_and(|leaf| leaf.script == self.leaf(Leaf::Refund).as_script()) {
            return SpendPath::Timeout;
        }
        // The leaf of both, or the key of both: what an arbiter signed is neither payout nor refund of this version.
        let by_both =
            input.witness.taproot_leaf_script().is_none_or(|leaf| leaf.script == self.leaf(Leaf::Both).as_script());
        if !by_both {
            return SpendPath::Foreign;
        }
        match (tx.input.as_slice(), tx.output.as_slice()) {
            ([_], [output]) if output.script_pubkey == *self.contract.buyer_party.destination.script() => {
                SpendPath::Payout
            }
            ([_], [output]) if output.script_pubkey == *self.contract.seller_party.destination.script() => {
                SpendPath::Refund
            }
            (_, _) => SpendPath::Foreign,
        }
    }
}

/// Returns the other of buyer and seller.
pub const fn counterparty(role: Role) -> Role {
    match role {
        Role::Buyer => Role::Seller,
        Role::Seller | Role::Arbiter => Role::Buyer,
    }
}

/// Returns the arbiter's key of this contract: `P + H("exchange/arbiter-tweak/v1" || P || contract hash) * G`. So nobody
/// recognises an arbiter on the chain, and a key is worth nothing in another contract.
fn tweaked_arbiter_key(contract: &Contract) -> XOnlyPublicKey {
    let key = contract.arbiter_key.0;
    let tweak = tagged("exchange/arbiter-tweak/v1", &[&key.serialize(), contract.hash().as_bytes()]);
    let tweak = Scalar::from_be_bytes(tweak).expect("a hash is above the curve's order once in 2^127");
    let (tweaked, _) =
        key.add_tweak(&Secp256k1::verification_only(), &tweak).expect("a hash never cancels its own input");
    tweaked
}

/// Returns the BIP-327 aggregate of both keys, sorted, as the internal key of the output.
fn aggregate(buyer: XOnlyPublicKey, seller: XOnlyPublicKey) -> XOnlyPublicKey {
    let mut keys = [buyer, seller].map(|key| {
        let even =
            bitcoin::secp256k1::PublicKey::from_x_only_public_key(key, bitcoin::secp256k1::Parity::Even).serialize();
        musig::PublicKey::from_slice(&even).expect("the same curve, the same encoding")
    });
    keys.sort_by_key(musig::PublicKey::serialize);
    let cache = musig::musig::KeyAggCache::new(&[&keys[0], &keys[1]]);
    XOnlyPublicKey::from_slice(&cache.agg_pk().to_byte_array()).expect("the same curve, the same encoding")
}

#[cfg(test)]
mod published;
#[cfg(test)]
mod tests;
