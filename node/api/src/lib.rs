//! The local API: one trait, its types, and how to reach it over a Unix socket. Server, CLI and TUI share it, the
//! directories of demos, which each of them makes, and how they keep from others what is theirs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
mod directory;
mod error;
mod memory;
mod rpc;
mod scratch;
mod socket;
mod types;

pub use client::{Client, ConnectError, connect};
pub use directory::{DirectoryError, make_private_directory};
pub use error::{ApiError, Code};
pub use memory::forbid_core_dumps;
pub use rpc::{ExchangeApiClient, ExchangeApiServer};
pub use scratch::{Scratch, hold_scratch};
pub use socket::{MAX_CONNECTIONS, MAX_RESPONSE_BYTES, SocketError, serve};
pub use types::*;

// The ledger's plain types that appear in the API's, so that a client needs no other crate.
pub use exchange_ledger::audit::bundle::Bundle;
pub use exchange_ledger::body::{Checkpoint, Side};
pub use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
pub use exchange_ledger::money::{Currency, MoneyError, Price, Sats};
pub use exchange_ledger::rules::MIN_TRADE;
pub use exchange_ledger::text::clean;
pub use exchange_ledger::trade::{Action, Phase, Role, Seat, Verdict, share_of};
