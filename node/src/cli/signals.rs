//! Stopping on SIGINT and SIGTERM, and on SIGHUP if it is said so.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::failure::Failure;

/// What a process that is told twice exits with: 128 and the number of SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// Returns a token that the first SIGINT or SIGTERM cancels. The second ends the process at once, for whoever has no
/// patience; nothing is lost by that, since all that matters is on disk before it is done.
///
/// # Errors
/// When the system refuses the handlers.
pub fn stop_token() -> Result<CancellationToken, Failure> {
    token_of(&[SignalKind::interrupt(), SignalKind::terminate()])
}

/// Returns a token that is cancelled, besides, when the terminal is closed. Not for a node, which `nohup` keeps.
///
/// # Errors
/// When the system refuses the handlers.
pub fn stop_or_hangup_token() -> Result<CancellationToken, Failure> {
    token_of(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
}

fn token_of(kinds: &[SignalKind]) -> Result<CancellationToken, Failure> {
    let stop = CancellationToken::new();
    for kind in kinds.iter().copied() {
        let heard = signal(kind);
        let mut heard = heard.map_err(|error| Failure::refused(format!("cannot handle signals: {error}"), ""))?;
        let told = stop.clone();
        tokio::spawn(async move {
            while heard.recv().await.is_some() {
                if !told.is_cancelled() {
                    tracing::info!("stopping; once more to stop at once");
                    told.cancel();
                } else if kind != SignalKind::hangup() {
                    // A terminal and its shell both tell that it is closed: that is no lack of patience.
                    tracing::warn!("told twice: stopping at once");
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    }
    Ok(stop)
}
