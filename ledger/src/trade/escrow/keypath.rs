//! How both parties sign a payout as one, by the key of the outputs (MuSig2, BIP-327): one ask of the buyer, one reply of
//! the seller. What goes out then is smaller than by the leaf of both, and looks like any payment.
//!
//! A secret nonce that signs twice gives its owner's key away. So there is no way here to sign with one and still have it:
//! the seller's lives within [`Escrow::reply`] only, the buyer's in [`Asked`], which cannot be copied and is taken by
//! [`Escrow::complete_by_key`], whatever that leads to. Neither is ever written anywhere.

use bitcoin::hashes::Hash;
use bitcoin::key::Keypair;
use bitcoin::{TapTweakHash, Witness};
use borsh::{BorshDeserialize, BorshSerialize};
use secp256k1_musig::musig::{self, AggregatedNonce, KeyAggCache, SecretNonce, Session, SessionSecretRand};
use zeroize::Zeroizing;

use super::spends::{INPUT_VSIZE, check_fee};
use super::{Draft, Escrow, EscrowError, Vault, even, key_agg};
use crate::body::{HalfSpend, Vaults};
use crate::hash::tagged;
use crate::money::Sats;
use crate::rules::MAX_SPEND_FEERATE;
use crate::trade::Role;
use crate::wire::{List, TxId};

/// An input by the key: one signature, no script.
const KEY_INPUT_VSIZE: u64 = 58;
/// How many outputs an escrow has at most.
const MAX_VAULTS: usize = 2;

/// A public nonce as it was sent: two compressed points, if it is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PublicNonce(pub [u8; 66]);

/// A partial signature as it was sent: a number below the curve's order, if it is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PartialSignature(pub [u8; 32]);

/// One side's public nonces, one for each input.
pub type Nonces = List<PublicNonce, MAX_VAULTS>;

/// The buyer asks the seller to sign a payout that he released already, by the key of both.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ask {
    /// What the miner gets, of the buyer's coins.
    pub fee: Sats,
    /// The payout, as both compute it from the contract, what the chain shows and the fee.
    pub spend: TxId,
    /// The buyer's nonces.
    pub nonces: Nonces,
}

impl Ask {
    /// Returns what a reply names it by. Its nonces are in it, so no two are alike.
    pub fn id(&self) -> [u8; 32] {
        tagged("exchange/ask/v1", &[&borsh::to_vec(self).expect("writing to memory does not fail")])
    }
}

/// The seller's part of a payout that he was asked for.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Reply {
    /// The id of the ask.
    pub ask: [u8; 32],
    /// The seller's nonces.
    pub nonces: Nonces,
    /// His partial signatures, one for each input.
    pub signatures: List<PartialSignature, MAX_VAULTS>,
}

/// Why a round came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyPathError {
    /// The transaction is not the one that contract, chain and fee lead to.
    #[error("the ask is for another transaction than the payout that the contract prescribes")]
    OtherSpend,
    /// Too few or too many, or not points of the curve; the point at infinity is none.
    #[error("the public nonces are not two points of the curve for each input")]
    Nonces,
    /// It answers something else.
    #[error("the reply is to another ask")]
    OtherAsk,
    /// Too few or too many, not below the curve's order, or not the seller's over exactly this transaction.
    #[error("the seller's partial signatures do not fit the payout")]
    Partial,
    /// The fee is out of bounds, or the outputs are none of this escrow.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
}

/// The buyer's side of a round, while he waits for the reply.
#[must_use = "without it the reply is worth nothing"]
pub struct Asked {
    id: [u8; 32],
    draft: Draft,
    own: Own,
}

impl Asked {
    /// Tells whether a reply is to this ask.
    pub fn is_answered_by(&self, reply: &Reply) -> bool {
        self.id == reply.ask
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asked({})", self.draft.tx.compute_txid())
    }
}

/// One side's nonces for all inputs of one transaction.
struct Own {
    secret: Vec<Secret>,
    public: Vec<musig::PublicNonce>,
}

/// A secret nonce at rest, in a place that it never leaves but to sign. The library wipes what it signs with.
struct Secret(Box<Zeroizing<[u8; 132]>>);

impl Secret {
    fn new(nonce: SecretNonce) -> Self {
        Self(Box::new(Zeroizing::new(nonce.dangerous_into_bytes())))
    }

    fn take(self) -> SecretNonce {
        SecretNonce::dangerous_from_bytes(**self.0)
    }
}

impl Own {
    fn wire(&self) -> Nonces {
        let nonces = self.public.iter().map(|nonce| PublicNonce(nonce.serialize())).collect();
        List::new(nonces).expect("a draft has at most two inputs")
    }
}

impl Escrow {
    /// Returns the fee of a payout by the key, at the feerate of the seller's half.
    ///
    /// # Errors
    /// When the half's own fee is out of bounds.
    pub fn key_fee(&self, half: &HalfSpend) -> Result<Sats, EscrowError> {
        let size = |input| self.both_vsize(input, &half.vaults, Role::Buyer);
        let refuse = || EscrowError::Fee(half.fee.get());
        let feerate = half.fee.get().checked_div(size(INPUT_VSIZE)).ok_or_else(refuse)?;
        let fee = feerate.checked_mul(size(KEY_INPUT_VSIZE)).and_then(Sats::new).ok_or_else(refuse)?;
        self.key_payout(&half.vaults, fee).map(|_| fee)
    }

    /// Returns the unsigned payout by the key of both.
    ///
    /// # Errors
    /// When the fee is out of bounds, or the outputs are none of this escrow.
    pub fn key_payout(&self, vaults: &Vaults, fee: Sats) -> Result<Draft, EscrowError> {
        check_fee(fee, self.both_vsize(KEY_INPUT_VSIZE, vaults, Role::Buyer), MAX_SPEND_FEERATE)?;
        self.by_both(vaults, fee, Role::Buyer)
    }

    /// Begins a round as the buyer. `entropy` is drawn for this call and nothing else: two rounds from the same would give
    /// the buyer's key away.
    ///
    /// # Errors
    /// When the fee is out of bounds, or the outputs are none of this escrow.
    pub fn ask(
        &self,
        vaults: &Vaults,
        fee: Sats,
        key: &Keypair,
        entropy: &[u8; 32],
    ) -> Result<(Ask, Asked), EscrowError> {
        let draft = self.key_payout(vaults, fee)?;
        let own = self.draw(&draft, Role::Buyer, key, entropy)?;
        let ask = Ask { fee, spend: TxId(draft.tx.compute_txid()), nonces: own.wire() };
        let id = ask.id();
        Ok((ask, Asked { id, draft, own }))
    }

    /// Returns the payout that an ask is for, if it is the one of these outputs.
    ///
    /// # Errors
    /// When anything in the ask is not as the contract and the chain say.
    pub fn check_ask(&self, ask: &Ask, vaults: &Vaults) -> Result<Draft, KeyPathError> {
        let draft = self.key_payout(vaults, ask.fee)?;
        if draft.tx.compute_txid() != ask.spend.0 {
            return Err(KeyPathError::OtherSpend);
        }
        read_nonces(&ask.nonces, &draft)?;
        Ok(draft)
    }

    /// Signs, as the seller, what he was asked for. The caller has released exactly these outputs. `entropy` is drawn for
    /// this call and nothing else, as for [`Self::ask`].
    ///
    /// # Errors
    /// As [`Self::check_ask`]; nothing is signed then.
    pub fn reply(&self, ask: &Ask, vaults: &Vaults, key: &Keypair, entropy: &[u8; 32]) -> Result<Reply, KeyPathError> {
        let draft = self.check_ask(ask, vaults)?;
        let theirs = read_nonces(&ask.nonces, &draft)?;
        let own = self.draw(&draft, Role::Seller, key, entropy)?;
        let nonces = own.wire();
        let signatures = List::new(self.sign_partly(&draft, own, &theirs, key)?).ok_or(KeyPathError::Nonces)?;
        Ok(Reply { ask: ask.id(), nonces, signatures })
    }

    /// Signs one side's part of every input. The secret nonces are gone with it.
    fn sign_partly(
        &self,
        draft: &Draft,
        own: Own,
        theirs: &[musig::PublicNonce],
        key: &Keypair,
    ) -> Result<Vec<PartialSignature>, EscrowError> {
        let inputs = own.secret.into_iter().zip(&own.public).zip(theirs).enumerate();
        let sign = |(input, ((secret, mine), theirs)): (usize, ((Secret, _), _))| {
            let cache = self.cache(draft.spent[input].0)?;
            let session = Session::new(&cache, AggregatedNonce::new(&[mine, theirs]), &message(draft, input));
            Ok(PartialSignature(session.partial_sign(secret.take(), &pair(key), &cache).serialize()))
        };
        inputs.map(sign).collect()
    }

    /// Completes, as the buyer, the payout that he asked for. The seller's part is checked before anything is signed; the
    /// buyer's secret nonces are gone either way.
    ///
    /// # Errors
    /// When the reply is none to this ask, or anything in it does not fit.
    pub fn complete_by_key(&self, asked: Asked, reply: &Reply, key: &Keypair) -> Result<Draft, KeyPathError> {
        if !asked.is_answered_by(reply) {
            return Err(KeyPathError::OtherAsk);
        }
        self.check_own(Role::Buyer, key)?;
        let Asked { mut draft, own, .. } = asked;
        let theirs = read_nonces(&reply.nonces, &draft)?;
        if reply.signatures.len() != draft.spent.len() {
            return Err(KeyPathError::Partial);
        }
        let seller = even(self.contract.seller_party.trade_key.0);
        let mut checked = Vec::new();
        for (input, ((mine, theirs), signature)) in
            own.public.iter().zip(&theirs).zip(reply.signatures.iter()).enumerate()
        {
            let cache = self.cache(draft.spent[input].0)?;
            let session = Session::new(&cache, AggregatedNonce::new(&[mine, theirs]), &message(&draft, input));
            let signature =
                musig::PartialSignature::from_byte_array(&signature.0).map_err(|_| KeyPathError::Partial)?;
            if !session.partial_verify(&cache, &signature, theirs, seller) {
                return Err(KeyPathError::Partial);
            }
            checked.push((cache, session, signature));
        }
        for (input, ((cache, session, theirs), secret)) in checked.iter().zip(own.secret).enumerate() {
            let mine = session.partial_sign(secret.take(), &pair(key), cache);
            let signature = session.partial_sig_agg(&[&mine, theirs]);
            let signature = signature.verify(&cache.agg_pk(), &message(&draft, input));
            let signature = signature.map_err(|_| KeyPathError::Partial)?;
            draft.tx.input[input].witness = Witness::from_slice(&[signature.as_byte_array()]);
        }
        Ok(draft)
    }

    /// Draws the nonces of one side for all inputs, as BIP-327 recommends: from the entropy, the secret key, the aggregated
    /// key and what is signed, each input by entropy of its own.
    fn draw(&self, draft: &Draft, role: Role, key: &Keypair, entropy: &[u8; 32]) -> Result<Own, EscrowError> {
        self.check_own(role, key)?;
        let mut own = Own { secret: Vec::new(), public: Vec::new() };
        for (input, (vault, _)) in draft.spent.iter().enumerate() {
            let number = [u8::try_from(input).map_err(|_| EscrowError::Vaults)?];
            let cache = self.cache(*vault)?;
            let drawn = Zeroizing::new(tagged("exchange/nonce/v1", &[entropy, &number]));
            let pair = pair(key);
            let (secret, public) = musig::new_nonce_pair(
                SessionSecretRand::assume_uniformly_random(*drawn),
                Some(&cache),
                Some(pair.secret_key()),
                pair.public_key(),
                Some(&message(draft, input)),
                None,
            );
            own.secret.push(Secret::new(secret));
            own.public.push(public);
        }
        Ok(own)
    }

    /// Refuses to sign with a key that is not the one in the contract.
    fn check_own(&self, role: Role, key: &Keypair) -> Result<(), EscrowError> {
        let party = self.contract.party(role);
        let is_own = party.is_some_and(|party| party.trade_key.0 == key.x_only_public_key().0);
        if is_own { Ok(()) } else { Err(EscrowError::Signature(role)) }
    }

    /// Returns the key that an output shows: the aggregate of both, tweaked by the tree (BIP-341).
    fn cache(&self, vault: Vault) -> Result<KeyAggCache, EscrowError> {
        let tree = self.tree(vault).ok_or(EscrowError::Vaults)?;
        let (buyer, seller) = (&self.contract.buyer_party.trade_key, &self.contract.seller_party.trade_key);
        let mut cache = key_agg(buyer.0, seller.0);
        let tweak = TapTweakHash::from_key_and_tweak(tree.info.internal_key(), tree.info.merkle_root());
        let tweak = secp256k1_musig::Scalar::from_be_bytes(tweak.to_byte_array());
        let tweak = tweak.expect("a hash is above the curve's order once in 2^127");
        cache.pubkey_xonly_tweak_add(&tweak).expect("a hash never cancels its own input");
        Ok(cache)
    }
}

#[cfg(test)]
impl Escrow {
    /// For vectors: what one side draws from known entropy for a payout (per input two numbers), shows of it, and signs with
    /// it when the other side shows `theirs`.
    pub(crate) fn known_round(
        &self,
        draft: &Draft,
        role: Role,
        key: &Keypair,
        entropy: &[u8; 32],
        theirs: &Nonces,
    ) -> (Vec<[u8; 64]>, Nonces, Vec<PartialSignature>) {
        let own = self.draw(draft, role, key, entropy).unwrap();
        let numbers = own.secret.iter().map(|secret| secret.0[4..68].try_into().unwrap()).collect();
        let (nonces, theirs) = (own.wire(), read_nonces(theirs, draft).unwrap());
        (numbers, nonces, self.sign_partly(draft, own, &theirs, key).unwrap())
    }
}

/// Reads what came from the other side: two points of the curve for each input.
fn read_nonces(nonces: &Nonces, draft: &Draft) -> Result<Vec<musig::PublicNonce>, KeyPathError> {
    if nonces.len() != draft.spent.len() {
        return Err(KeyPathError::Nonces);
    }
    let read = |nonce: &PublicNonce| musig::PublicNonce::from_byte_array(&nonce.0).map_err(|_| KeyPathError::Nonces);
    nonces.iter().map(read).collect()
}

fn message(draft: &Draft, input: usize) -> [u8; 32] {
    *draft.key_sighash(input).as_ref()
}

/// Returns the same pair for the library that aggregates.
fn pair(key: &Keypair) -> secp256k1_musig::Keypair {
    let secret = Zeroizing::new(key.secret_bytes());
    let secret = secp256k1_musig::SecretKey::from_secret_bytes(*secret).expect("the same curve, the same encoding");
    secp256k1_musig::Keypair::from_secret_key(&secret)
}

#[cfg(test)]
mod tests;
