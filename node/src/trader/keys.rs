//! The keys of one trade, derived from the identity and a number that the ledger shows: nothing of them is stored, and
//! the same email and password give them again on any machine.

use bitcoin::key::{Keypair, XOnlyPublicKey};
use exchange_ledger::body::Party;
use exchange_ledger::identity::Identity;
use exchange_ledger::trade::Bid;
use exchange_ledger::wire::{CurveKey, Destination};
use exchange_ledger::{seal, trade::details_commitment};
use zeroize::Zeroizing;

/// The number from which an arbiter's own keys derive.
pub const ARBITER_NONCE: [u8; 32] = *b"exchange/arbiter-key/v1.........";

/// Returns the number from which a party's keys of a trade derive: the taker's is in his bid, the maker's is the bid's id.
pub fn nonce(bid: &Bid, maker: bool) -> [u8; 32] {
    if maker { bid.trade.0 } else { bid.take.nonce }
}

/// Returns the escrow key that derives from a number.
pub fn trade_key(identity: &Identity, nonce: &[u8; 32]) -> Keypair {
    identity.trade_secret(nonce)
}

/// Returns the X25519 secret to which messages of a trade are sealed.
pub fn seal_secret(identity: &Identity, nonce: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    identity.seal_secret(nonce)
}

/// Returns what a party brings to a contract. Its escrow key derives from the identity, or is an `external` one.
pub fn party(
    identity: &Identity,
    nonce: &[u8; 32],
    external: Option<XOnlyPublicKey>,
    destination: Destination,
    salt: &[u8; 32],
    details: &str,
) -> Party {
    Party {
        trade_key: CurveKey(external.unwrap_or_else(|| trade_key(identity, nonce).x_only_public_key().0)),
        seal_key: seal::public_key(&seal_secret(identity, nonce)),
        destination,
        details: details_commitment(salt, details),
    }
}
