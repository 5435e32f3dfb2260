//! The pure protocol of the exchange: identity, records, the offer book, the trade machine, the escrow contract and
//! audit. No async, clock, randomness or sockets: time, entropy and bytes are handed in, effects are handed out.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod audit;
pub mod body;
pub mod book;
pub mod checkpoint;
mod field;
pub mod frost;
pub mod group;
mod hash;
pub mod identity;
pub mod ids;
pub mod ledger;
pub mod mail;
pub mod money;
pub mod record;
pub mod retention;
pub mod rules;
pub mod seal;
pub mod stake;
pub mod state;
pub mod storage;
pub mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod trade;
pub mod turns;
#[cfg(test)]
mod vectors;
pub mod wire;
