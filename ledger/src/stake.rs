//! The stake: a coin that raises its owner's quota of live offers. The record proves by itself that who owns the coin meant
//! this identity; whether the coin is there is for the chain to say, and never part of the ledger's state.
//! `specs/quotas.md` is the normative text.

use bitcoin::ScriptBuf;
use bitcoin::key::TweakedPublicKey;
use bitcoin::secp256k1::{Message, Secp256k1};

use crate::body::Stake;
use crate::hash::tagged;
use crate::ids::{AuthorId, RecordId};
use crate::money::Sats;
use crate::wire::Outpoint;

/// The smallest coin that counts: what it costs to hold does not hurt a trader, and a crowd of identities needs a fortune.
pub const MIN_STAKE: Sats = match Sats::new(1_000_000) {
    Some(sats) => sats,
    None => panic!("a million satoshis exist"),
};
/// How deep the coin must be buried: a day, so that it cannot be handed from one identity to the next within an hour.
pub const STAKE_CONFIRMATIONS: u32 = 144;
/// How many stakes of one author are looked at, the first by their places: each costs a question to the chain, and a
/// trader who moves his coin once a month needs five years for as many.
pub const MAX_STAKES: usize = 64;

/// Returns what the coin's owner signs (BIP-340): that this coin stands for this identity.
pub fn message(network: &[u8; 4], author: &AuthorId, coin: &Outpoint) -> [u8; 32] {
    let coin = borsh::to_vec(coin).expect("writing to memory does not fail");
    tagged("exchange/stake/v1", &[network, author.as_bytes(), &coin])
}

/// How the name of a coin begins. An id begins so once in 2^64.
const NAME_START: [u8; 8] = [0xff; 8];

/// Returns the subject under which all stakes of one coin and key are found: the first of them by its place is the one that
/// counts. With the key, for anybody can name another's coin under a key of his own. It is no id, and nothing but a stake is about
/// it: or anybody could put a record of his before the first stake of another's coin, and that would never count.
pub fn subject(stake: &Stake) -> RecordId {
    let RecordId(mut name) = former_subject(stake);
    name[..NAME_START.len()].copy_from_slice(&NAME_START);
    RecordId(name)
}

/// Returns the subject that such stakes had before, for stores of then.
pub fn former_subject(stake: &Stake) -> RecordId {
    let coin = borsh::to_vec(&stake.coin).expect("writing to memory does not fail");
    RecordId(tagged("exchange/stake-coin/v1", &[&coin, &stake.key.0.serialize()]))
}

/// Tells whether a subject is the name of a coin, and no id.
pub(crate) fn is_name(subject: &RecordId) -> bool {
    subject.0.starts_with(&NAME_START)
}

/// Returns the script that the coin must have for the stake's key to be its owner's.
pub fn script(stake: &Stake) -> ScriptBuf {
    ScriptBuf::new_p2tr_tweaked(TweakedPublicKey::dangerous_assume_tweaked(stake.key.0))
}

/// Tells whether the owner of the key signed that the coin stands for `author`.
pub fn is_signed(stake: &Stake, network: &[u8; 4], author: &AuthorId) -> bool {
    let message = Message::from_digest(message(network, author, &stake.coin));
    Secp256k1::verification_only().verify_schnorr(&stake.signature.0, &message, &stake.key.0).is_ok()
}
