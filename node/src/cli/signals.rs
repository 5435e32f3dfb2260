//! Stopping on SIGINT and SIGTERM.

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
    let handler = |kind| signal(kind).map_err(|error| Failure::refused(format!("cannot handle signals: {error}"), ""));
    let (mut interrupt, mut terminate) = (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if told.is_cancelled() {
                tracing::warn!("told twice: stopping at once");
                std::process::exit(INTERRUPTED);
            }
            tracing::info!("stopping; once more to stop at once");
            told.cancel();
        }
    });
    Ok(stop)
}
