//! How a session asks its peer.

use std::time::Duration;

use libp2p::PeerId;
use tokio::sync::{mpsc, oneshot};

use super::gate::Offence;
use super::protocol::{Malformed, Request, Response};
use super::swarm::Report;
use super::sync::SessionError;

/// How often a busy peer is asked again, and the pause before.
const BUSY_RETRIES: usize = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// The way to ask the peer of a session.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub peer: PeerId,
    pub reports: mpsc::Sender<Report>,
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Link {
    /// Sends a request and waits for the response; a busy peer is asked again.
    pub async fn ask(&self, request: Request) -> Result<Response, SessionError> {
        for _ in 0..BUSY_RETRIES {
            match self.ask_once(request.clone()).await {
                Ok(Response::Busy) => tokio::time::sleep(BUSY_PAUSE).await,
                Ok(response) => return Ok(response),
                Err(RequestError::Malformed(malformed)) => return Err(Offence::from(malformed).into()),
                Err(RequestError::Failed(reason)) => return Err(SessionError::Unanswered(reason)),
            }
        }
        Err(SessionError::Unanswered("it is busy".into()))
    }

    async fn ask_once(&self, request: Request) -> Result<Response, RequestError> {
        let stopped = || RequestError::Failed("the network is stopping".into());
        let (reply, response) = oneshot::channel();
        let report = Report::Ask { peer: self.peer, request, reply };
        self.reports.send(report).await.map_err(|_| stopped())?;
        response.await.map_err(|_| stopped())?
    }
}
