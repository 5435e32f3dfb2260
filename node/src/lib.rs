//! Everything live: chain, network, wallet, drivers, API server, daemon and the CLI verbs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod chain;
pub mod net;
pub mod wallet;
