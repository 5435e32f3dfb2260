//! The client's end of the Unix socket.

use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::core::ClientError;
use jsonrpsee::ws_client::{WsClient, WsClientBuilder};
use tokio::net::UnixStream;

use crate::error::{ApiError, Code};
use crate::socket::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};

/// How long a call may take: deriving an identity takes seconds, on a slow machine with little memory a minute.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a node may take to answer the first greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls in progress at a time.
const MAX_CALLS: usize = 64;
/// Events that wait for a slow reader; one that falls behind further resumes by the number of the last it saw.
const EVENT_BUFFER: usize = 1024;

/// A connection to a node. Cheap to clone; the methods are those of [`crate::ExchangeApiClient`].
#[derive(Debug, Clone)]
pub struct Client(Arc<WsClient>);

impl Deref for Client {
    type Target = WsClient;

    fn deref(&self) -> &WsClient {
        &self.0
    }
}

/// Why no node could be reached. All exit with code 3: see [`ConnectError::EXIT_CODE`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no socket, or nobody behind it.
    #[error(
        "no node is running at {0}: start one with `exchange-node run`, or use `exchange-tui`, which does it for you"
    )]
    NoNode(PathBuf),
    /// The socket belongs to another user.
    #[error("the node at {0} belongs to another user: run as that user, or choose your own data directory")]
    Stranger(PathBuf),
    /// The system refused.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The node hung up or does not speak this protocol.
    #[error("the node at {path} does not talk to us: {source}; close some of its clients, or restart it")]
    Refused {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: ClientError,
    },
}

impl ConnectError {
    /// The exit code of a command that finds no node.
    pub const EXIT_CODE: u8 = 3;
}

impl From<ConnectError> for ApiError {
    fn from(error: ConnectError) -> Self {
        let text = error.to_string();
        // The message and what to do about it are one sentence, joined by the last colon or semicolon.
        let (message, hint) = text.rsplit_once(": ").unwrap_or((&text, ""));
        Self::new(Code::NodeUnreachable, message, hint)
    }
}

/// Connects to the node that serves the Unix socket at `path`. Must be called within a tokio runtime.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(path: &Path) -> Result<Client, ConnectError> {
    let io = |source: io::Error| match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => ConnectError::NoNode(path.to_owned()),
        _ => ConnectError::Io { path: path.to_owned(), source },
    };
    let stream = UnixStream::connect(path).await.map_err(io)?;
    // A password goes over this stream: not to a stranger.
    let server = stream.peer_cred().map_err(io)?;
    let own = rustix::process::geteuid().as_raw();
    if server.uid() != own && server.uid() != 0 && own != 0 {
        return Err(ConnectError::Stranger(path.to_owned()));
    }
    let client = WsClientBuilder::new()
        .connection_timeout(GREETING_TIMEOUT)
        .request_timeout(CALL_TIMEOUT)
        .max_request_size(MAX_REQUEST_BYTES)
        .max_response_size(MAX_RESPONSE_BYTES)
        .max_concurrent_requests(MAX_CALLS)
        .max_buffer_capacity_per_subscription(EVENT_BUFFER)
        // Only a name for the handshake: the stream is there already.
        .build_with_stream("ws://localhost", stream)
        .await
        .map_err(|source| ConnectError::Refused { path: path.to_owned(), source })?;
    Ok(Client(Arc::new(client)))
}
