//! Waiting for tasks.

use tokio::task::JoinHandle;

/// Waits for what is done in another task, or on a thread that may block. Its panic goes on here. `None` when the node is
/// stopping.
pub async fn joined<R>(task: JoinHandle<R>) -> Option<R> {
    match task.await {
        Ok(result) => Some(result),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}
