//! The local API: one trait, its types, and how to reach it over a Unix socket. Server, CLI and TUI share it.

mod client;
mod error;
mod rpc;
mod socket;
mod types;

pub use client::{Client, ConnectError, connect};
pub use error::{ApiError, Code};
pub use rpc::{ExchangeApiClient, ExchangeApiServer};
pub use socket::{SocketError, serve};
pub use types::*;
