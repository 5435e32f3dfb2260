//! The pure protocol of the exchange: identity, records, the offer book, the trade machine, the escrow contract and audit.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod identity;
pub mod seal;
