//! Logs: on stderr, filtered by `EXCHANGE_LOG`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::cli::failure::Failure;

/// The environment variable with the filter, e.g. `debug` or `info,exchange_node::net=trace`.
const VARIABLE: &str = "EXCHANGE_LOG";
/// What a node tells: its own steps, and only the troubles of the libraries.
const NODE: &str = "info,libp2p=warn,jsonrpsee=warn,quinn=warn,bitcoinkernel=warn";
/// What a client tells: troubles.
const CLIENT: &str = "warn";

/// Starts logging.
///
/// # Errors
/// When the filter makes no sense.
pub fn start(is_node: bool) -> Result<(), Failure> {
    let wanted = std::env::var(VARIABLE).ok().filter(|filter| !filter.is_empty());
    let default = if is_node { NODE } else { CLIENT };
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(default)).map_err(|error| {
        Failure::usage(format!("{VARIABLE} is no log filter: {error}"), "e.g. EXCHANGE_LOG=info,exchange_node=debug")
    })?;
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(io::stderr)
        .try_init()
        .map_err(|error| Failure::refused(format!("cannot start the log: {error}"), ""))
}
