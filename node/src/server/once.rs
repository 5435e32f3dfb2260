//! What is done once: the same request id again gets the first answer.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use exchange_api::{ApiError, Code};
use exchange_ledger::ids::RecordId;
use exchange_store::Answer;
use jsonrpsee::core::RpcResult;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Server;
use crate::clock;
use crate::errors::{ExplainResult, internal};
use crate::keeper::record_of;

/// The longest request id.
const MAX_REQUEST_ID: usize = 64;

/// Removes a request from those that are being carried out, however it ends.
struct Running<'a> {
    server: &'a Server,
    id: String,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.server.running().remove(&self.id);
    }
}

impl Server {
    /// Carries out a request once: the same id again returns the first answer.
    pub(super) async fn once<T: Serialize + DeserializeOwned>(
        &self,
        request_id: &str,
        dry_run: bool,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> RpcResult<T> {
        if dry_run {
            return Ok(work.await?);
        }
        let (_running, answered) = self.begin(request_id)?;
        if let Some(answer) = answered {
            return serde_json::from_slice(&answer.bytes).map_err(|_| used_before(request_id).into());
        }
        let done = work.await?;
        let bytes = serde_json::to_vec(&done).map_err(internal)?;
        let answer = Answer { time_s: clock::unix_now(), bytes };
        if let Err(error) = self.parts.private.put_answer(request_id, answer) {
            // It is done; only a repetition would not be recognised.
            tracing::error!(%error, request_id, "the answer to a request cannot be kept");
        }
        Ok(done)
    }

    /// Carries out a request that publishes a record: the keeper keeps with the record that the request was answered, and
    /// the same id again shows what has become of that record.
    pub(super) async fn once_published<T>(
        &self,
        request_id: &str,
        work: impl Future<Output = Result<T, ApiError>>,
        show: impl AsyncFnOnce(RecordId) -> Result<T, ApiError>,
    ) -> RpcResult<T> {
        let (_running, answered) = self.begin(request_id)?;
        let Some(answer) = answered else { return Ok(work.await?) };
        let record = record_of(&answer).ok_or_else(|| used_before(request_id))?;
        match show(record).await {
            Err(error) if error.code == Code::NotFound => Err(used_before(request_id).into()),
            shown => Ok(shown?),
        }
    }

    /// Marks a request as being carried out, and returns the answer that it was given before.
    fn begin(&self, request_id: &str) -> Result<(Running<'_>, Option<Answer>), ApiError> {
        if request_id.is_empty() || request_id.len() > MAX_REQUEST_ID {
            let message = format!("a request id has 1 to {MAX_REQUEST_ID} bytes");
            return Err(ApiError::new(Code::InvalidArgument, message, ""));
        }
        let running = {
            let mut running = self.running();
            if !running.insert(request_id.to_owned()) {
                let message = format!("request {request_id} is being carried out");
                return Err(ApiError::new(Code::Busy, message, "wait for its answer"));
            }
            Running { server: self, id: request_id.to_owned() }
        };
        let answered = self.parts.private.answer(request_id).explained()?;
        Ok((running, answered))
    }

    fn running(&self) -> MutexGuard<'_, HashSet<String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn used_before(request_id: &str) -> ApiError {
    let message = format!("request id {request_id} was used for something else");
    ApiError::new(Code::DuplicateRequest, message, "use a fresh one")
}
