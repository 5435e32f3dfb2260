//! The escrow: Taproot outputs that neither side, nor an arbiter alone, can take. `specs/escrow.md` is normative.
//!
//! The first holds the amount and the seller's bond, the second, if there is one, the buyer's bond. Both have the same
//! tree but for the leaf by which its funder takes it back. Here are the outputs; `spends.rs` has what both parties sign
//! and what one takes back alone, `keypath.rs` how both sign as one, `ruling.rs` what an arbiter signs, `classify.rs` tells
//! spends apart, `witness.rs` checks who signed one.

use std::str::FromStr;

use bitcoin::key::{Keypair, Secp256k1};
use bitcoin::secp256k1::{Scalar, XOnlyPublicKey};
use bitcoin::taproot::{LeafVersion, TaprootSpendInfo};
use bitcoin::{Address, Network, OutPoint, ScriptBuf, Transaction, TxOut};
use miniscript::Descriptor;
use secp256k1_musig as musig;

use crate::body::{Coin, Vaults};
use crate::hash::tagged;
use crate::money::Sats;
use crate::trade::{Contract, Role, Seat};
use crate::wire::{CurveKey, Outpoint};

mod classify;
mod keypath;
mod ruling;
mod signer;
mod spends;
mod witness;

pub use keypath::{Ask, Asked, KeyPathError, Nonces, PartialSignature, PublicNonce, Reply};
pub use ruling::Verdict;
pub use signer::{Elsewhere, SIGNER_BRANCH, Signer, Unsigned, signer_index};
pub use spends::{Draft, SPEND_VSIZE, payout_vsize};

/// The value below which an output of any standard type may count as dust.
pub(crate) const DUST_LIMIT: u64 = 546;

/// An output that holds coins of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vault {
    /// The amount and the seller's bond.
    Escrow,
    /// The buyer's bond.
    Bond,
}

impl Vault {
    /// Returns the vault that a party funds, and takes back alone when everybody else is silent.
    pub const fn of(role: Role) -> Self {
        match role {
            Role::Buyer => Self::Bond,
            Role::Seller | Role::Arbiter => Self::Escrow,
        }
    }
}

/// The leaves of the tree, in the order of the descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leaf {
    /// Buyer and seller together.
    Both,
    /// The funder alone, after the refund delay.
    Refund,
    /// Seller and arbiter, after the arbitration delay.
    SellerArbiter,
    /// Buyer and arbiter, after the arbitration delay.
    BuyerArbiter,
    /// Seller and second arbiter, after the second delay.
    SellerSecond,
    /// Buyer and second arbiter, after the second delay.
    BuyerSecond,
}

impl Leaf {
    /// Every leaf that a tree can have.
    pub const ALL: [Self; 6] =
        [Self::Both, Self::Refund, Self::SellerArbiter, Self::BuyerArbiter, Self::SellerSecond, Self::BuyerSecond];

    /// Returns the leaf that an arbiter has with a party.
    pub const fn of_arbiter(seat: Seat, with: Role) -> Self {
        match (seat, with) {
            (Seat::First, Role::Buyer) => Self::BuyerArbiter,
            (Seat::First, Role::Seller | Role::Arbiter) => Self::SellerArbiter,
            (Seat::Second, Role::Buyer) => Self::BuyerSecond,
            (Seat::Second, Role::Seller | Role::Arbiter) => Self::SellerSecond,
        }
    }

    /// Returns the arbiter whose signature it asks for.
    pub const fn seat(self) -> Option<Seat> {
        match self {
            Self::Both | Self::Refund => None,
            Self::SellerArbiter | Self::BuyerArbiter => Some(Seat::First),
            Self::SellerSecond | Self::BuyerSecond => Some(Seat::Second),
        }
    }
}

/// Which way the coins of an escrow went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpendPath {
    /// To the buyer, signed by both.
    Payout,
    /// Back to the seller, signed by both.
    Refund,
    /// Back to who funded them, by himself after the refund delay.
    Timeout,
    /// Any other way.
    Foreign,
    /// To the parties and the arbiter, signed by him and one of them.
    Ruling,
    /// Into the same outputs again, signed by an arbiter and one of the parties.
    Extension,
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

    /// Tells whether an arbiter divided them.
    pub const fn is_ruling(self) -> bool {
        matches!(self, Self::Ruling)
    }

    /// Tells whether they are in the escrow still, in new outputs.
    pub const fn is_extension(self) -> bool {
        matches!(self, Self::Extension)
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
    /// The outputs are not those of this escrow, or hold less than any extension leaves.
    #[error("the outputs to be spent are not what this escrow holds")]
    Vaults,
    /// A ruling gives more than there is, nothing, or so little that no node relays it.
    #[error(
        "a ruling of {to_buyer} satoshis to the buyer and {to_seller} to the seller does not fit what the escrow holds"
    )]
    Division {
        /// What the buyer would get.
        to_buyer: u64,
        /// What the seller would get.
        to_seller: u64,
    },
    /// The contract has no such arbiter.
    #[error("the contract has no second arbiter")]
    NoArbiter,
    /// The key that has to sign is kept elsewhere, and has not signed this yet.
    #[error("this is to be signed by a key that is kept elsewhere")]
    Unsigned(Box<Unsigned>),
}

/// The escrow of a contract.
#[derive(Debug, Clone)]
pub struct Escrow {
    contract: Contract,
    escrow: Tree,
    bond: Option<Tree>,
}

/// One output and how it can be spent.
#[derive(Debug, Clone)]
struct Tree {
    info: TaprootSpendInfo,
    leaves: Vec<ScriptBuf>,
    descriptor: String,
    value: Sats,
}

impl Escrow {
    /// Computes the escrow of a contract.
    pub fn new(contract: &Contract) -> Self {
        let (seller, buyer) = (contract.seller_party.trade_key.0, contract.buyer_party.trade_key.0);
        let keys = Keys::of(contract);
        let escrow = Tree::new(&keys, seller, contract, contract.escrow_value());
        let bond = (contract.buyer_bond > Sats::ZERO).then(|| Tree::new(&keys, buyer, contract, contract.buyer_bond));
        Self { contract: contract.clone(), escrow, bond }
    }

    /// Returns the contract.
    pub const fn contract(&self) -> &Contract {
        &self.contract
    }

    fn tree(&self, vault: Vault) -> Option<&Tree> {
        match vault {
            Vault::Escrow => Some(&self.escrow),
            Vault::Bond => self.bond.as_ref(),
        }
    }

    /// Returns the descriptor of the escrow's output (BIP-386), for auditors' own tools.
    pub fn descriptor(&self) -> &str {
        &self.escrow.descriptor
    }

    /// Returns the descriptor of the output with the buyer's bond.
    pub fn bond_descriptor(&self) -> Option<&str> {
        self.bond.as_ref().map(|tree| tree.descriptor.as_str())
    }

    /// Returns how an output can be spent by key and leaves (BIP-341).
    pub fn spend_info(&self, vault: Vault) -> Option<&TaprootSpendInfo> {
        self.tree(vault).map(|tree| &tree.info)
    }

    /// Returns the escrow's output script.
    pub fn script(&self) -> ScriptBuf {
        self.escrow.script()
    }

    /// Returns the scripts of all outputs, the escrow's first.
    pub fn scripts(&self) -> Vec<ScriptBuf> {
        std::iter::once(&self.escrow).chain(&self.bond).map(Tree::script).collect()
    }

    /// Returns the escrow's address on `network`.
    pub fn address(&self, network: Network) -> Address {
        Address::p2tr_tweaked(self.escrow.info.output_key(), network)
    }

    /// Returns the output that holds the amount and the seller's bond.
    pub fn output(&self) -> TxOut {
        self.escrow.output()
    }

    /// Returns the output that holds the buyer's bond.
    pub fn bond_output(&self) -> Option<TxOut> {
        self.bond.as_ref().map(Tree::output)
    }

    /// Returns what of a transaction funds the escrow: outputs with exactly its scripts and exactly its values, each escrow
    /// with a bond of its own if the contract asks for one. Nothing else counts.
    pub fn fundings(&self, tx: &Transaction) -> Vec<Vaults> {
        let txid = tx.compute_txid();
        let places = |tree: &Tree| -> Vec<Coin> {
            let (wanted, value) = (tree.output(), tree.value);
            let found = (0..).zip(&tx.output).filter(|(_, output)| **output == wanted);
            found.map(|(vout, _)| Coin { outpoint: Outpoint(OutPoint { txid, vout }), value }).collect()
        };
        let escrows = places(&self.escrow).into_iter();
        match &self.bond {
            None => escrows.map(|escrow| Vaults { escrow, bond: None }).collect(),
            Some(bond) => escrows.zip(places(bond)).map(|(escrow, bond)| Vaults { escrow, bond: Some(bond) }).collect(),
        }
    }

    /// Returns a leaf's script; none of a second arbiter or of a bond that the contract does not have.
    pub fn leaf(&self, vault: Vault, leaf: Leaf) -> Option<&ScriptBuf> {
        self.tree(vault)?.leaves.get(leaf as usize) // the enum counts the leaves
    }

    /// Returns the arbiter's key of this contract: `P + H("exchange/arbiter-tweak/v1" || P || contract hash) * G`. So nobody
    /// recognises an arbiter on the chain, and a key is worth nothing in another contract.
    pub fn arbiter_key(&self, seat: Seat) -> Option<XOnlyPublicKey> {
        self.contract.arbiter(seat).map(|arbiter| tweaked(&self.contract, arbiter.key))
    }
}

/// Returns the tweak of an arbiter's key in a contract.
pub fn arbiter_tweak(contract: &Contract, key: CurveKey) -> Scalar {
    let tweak = tagged("exchange/arbiter-tweak/v1", &[&key.0.serialize(), contract.hash().as_bytes()]);
    Scalar::from_be_bytes(tweak).expect("a hash is above the curve's order once in 2^127")
}

/// Returns the pair by which an arbiter signs in a contract, from the pair of his advert.
pub fn tweak_arbiter_pair(contract: &Contract, pair: &Keypair) -> Keypair {
    let tweak = arbiter_tweak(contract, CurveKey(pair.x_only_public_key().0));
    pair.add_xonly_tweak(&Secp256k1::new(), &tweak).expect("a hash never cancels its own input")
}

fn tweaked(contract: &Contract, key: CurveKey) -> XOnlyPublicKey {
    let tweak = arbiter_tweak(contract, key);
    let (tweaked, _) =
        key.0.add_tweak(&Secp256k1::verification_only(), &tweak).expect("a hash never cancels its own input");
    tweaked
}

/// Returns the other of buyer and seller.
pub const fn counterparty(role: Role) -> Role {
    match role {
        Role::Buyer => Role::Seller,
        Role::Seller | Role::Arbiter => Role::Buyer,
    }
}

/// The keys of both outputs, which are costly to compute.
struct Keys {
    internal: XOnlyPublicKey,
    arbiter: XOnlyPublicKey,
    second: Option<XOnlyPublicKey>,
}

impl Keys {
    fn of(contract: &Contract) -> Self {
        Self {
            internal: aggregate(contract.buyer_party.trade_key.0, contract.seller_party.trade_key.0),
            arbiter: tweaked(contract, contract.arbiter.key),
            second: contract.second_arbiter.as_ref().map(|arbiter| tweaked(contract, arbiter.key)),
        }
    }
}

impl Tree {
    fn new(keys: &Keys, funder: XOnlyPublicKey, contract: &Contract, value: Sats) -> Self {
        let (buyer, seller) = (contract.buyer_party.trade_key.0, contract.seller_party.trade_key.0);
        let ruled = |arbiter: XOnlyPublicKey, delay: u16| {
            let by = |party| format!("and_v(v:pk({party}),and_v(v:pk({arbiter}),older({delay})))");
            format!("{{{},{}}}", by(seller), by(buyer))
        };
        let mut right = ruled(keys.arbiter, contract.arbitration_delay);
        if let Some(second) = keys.second {
            right = format!("{{{right},{}}}", ruled(second, contract.second_delay));
        }
        let (internal, refund) = (keys.internal, contract.refund_delay);
        let left = format!("{{and_v(v:pk({buyer}),pk({seller})),and_v(v:pk({funder}),older({refund}))}}");
        let descriptor = format!("tr({internal},{{{left},{right}}})");
        let parsed = Descriptor::<XOnlyPublicKey>::from_str(&descriptor).expect("the template is a sane descriptor");
        let Descriptor::Tr(tree) = parsed else { unreachable!("the template begins with tr(") };
        let leaves = tree.iter_scripts().map(|(_, leaf)| leaf.encode()).collect();
        Self { info: (*tree.spend_info()).clone(), leaves, descriptor, value }
    }

    fn script(&self) -> ScriptBuf {
        ScriptBuf::new_p2tr_tweaked(self.info.output_key())
    }

    fn output(&self) -> TxOut {
        TxOut { value: self.value.into(), script_pubkey: self.script() }
    }

    fn control_block(&self, leaf: Leaf) -> Option<(&ScriptBuf, Vec<u8>)> {
        let script = self.leaves.get(leaf as usize)?;
        let control = self.info.control_block(&(script.clone(), LeafVersion::TapScript))?;
        Some((script, control.serialize()))
    }
}

/// Returns the BIP-327 aggregate of both keys, sorted, as the internal key of the outputs.
fn aggregate(buyer: XOnlyPublicKey, seller: XOnlyPublicKey) -> XOnlyPublicKey {
    let internal = key_agg(buyer, seller).agg_pk().to_byte_array();
    XOnlyPublicKey::from_slice(&internal).expect("the same curve, the same encoding")
}

fn key_agg(buyer: XOnlyPublicKey, seller: XOnlyPublicKey) -> musig::musig::KeyAggCache {
    let mut keys = [buyer, seller].map(even);
    keys.sort_by_key(musig::PublicKey::serialize);
    musig::musig::KeyAggCache::new(&[&keys[0], &keys[1]])
}

/// Returns the key with an even Y that a party's x-only key stands for.
fn even(key: XOnlyPublicKey) -> musig::PublicKey {
    let even = bitcoin::secp256k1::PublicKey::from_x_only_public_key(key, bitcoin::secp256k1::Parity::Even).serialize();
    musig::PublicKey::from_slice(&even).expect("the same curve, the same encoding")
}

#[cfg(test)]
mod published;
#[cfg(test)]
mod tests;
