//! Everything live: chain, network, wallet, drivers, API server, daemon and the CLI verbs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod audit;
mod backoff;
mod blocking;
pub mod chain;
pub mod checkpoints;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod entropy;
pub mod errors;
pub mod events;
mod join;
pub mod keeper;
pub mod keyring;
pub mod mailbox;
pub mod market;
pub mod net;
pub mod node;
pub mod private;
pub mod replica;
pub mod reputation;
pub mod retention;
pub mod server;
pub mod stakes;
pub mod sweep;
pub mod trader;
pub mod wallet;
