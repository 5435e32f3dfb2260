//! Threads that may block: for what takes its time for a user, as to read much of the ledger, or to derive keys.

use exchange_api::ApiError;

use crate::errors::internal;

/// Does what takes its time off the async threads, where it would hold up every other task.
///
/// # Errors
/// As the work itself, or when it has panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(internal)?
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_takes_its_time_holds_up_no_other_task() {
        let (tell, told) = mpsc::channel();
        let other = tokio::spawn(async move { tell.send(7).unwrap() });
        // On the only async thread it would wait in vain.
        let heard = blocking(move || told.recv_timeout(Duration::from_secs(60)).map_err(internal)).await;
        assert_eq!(heard.unwrap(), 7);
        other.await.unwrap();
    }

    #[tokio::test]
    async fn work_that_panics_fails_alone() {
        assert!(blocking(|| -> Result<(), ApiError> { panic!("as a damaged store might") }).await.is_err());
    }
}
