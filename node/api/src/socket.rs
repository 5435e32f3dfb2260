//! The server's end of the Unix socket: who may connect, how many, and how much each may say.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::Methods;
use jsonrpsee::server::{BatchRequestConfig, ServerBuilder, ServerConfig, serve_with_graceful_shutdown, stop_channel};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::directory::{DirectoryError, make_private_directory};

/// Connections at a time: a user has a TUI, a few commands and a script or two.
pub const MAX_CONNECTIONS: usize = 32;
/// The largest request. The largest useful one, an offer with its terms, is a few kilobytes.
pub const MAX_REQUEST_BYTES: u32 = 1 << 20;
/// The largest answer: 500 offers with all their terms and arbiters are below.
pub const MAX_RESPONSE_BYTES: u32 = 16 << 20;
/// Subscriptions of a connection: there is one kind, and a client may hold an old one while it opens the next.
const MAX_SUBSCRIPTIONS: u32 = 8;
/// Messages that wait for a slow client before a subscription's source is held up.
const MESSAGE_BUFFER: u32 = 256;
/// How long calls in progress may go on when the node stops.
const GRACE: Duration = Duration::from_secs(5);
/// A pause after a failed accept, which is how the lack of file descriptors shows.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the API could not be offered on a socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another node answers there.
    #[error("another node already serves {0}: stop it first, or choose another data directory")]
    InUse(PathBuf),
    /// Something that is not a socket.
    #[error("{0} is there but is no socket: move it away")]
    NotASocket(PathBuf),
    /// The directory is not one's own alone.
    #[error("the socket would not be private: {0}; choose another directory for it")]
    Directory(DirectoryError),
    /// The system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Serves `methods` on a Unix socket at `path` until `shutdown` is cancelled; then the task lets calls in progress end
/// and removes the file. Must be called within a tokio runtime.
///
/// The file is 0600 in a 0700 directory (created, or tightened if it is one's own), and only the same user and root are
/// let in. The socket of a node that died is replaced.
///
/// # Errors
/// See [`SocketError`].
pub fn serve(
    path: &Path,
    methods: impl Into<Methods>,
    shutdown: CancellationToken,
) -> Result<JoinHandle<()>, SocketError> {
    make_private_directory(directory_of(path)).map_err(SocketError::Directory)?;
    remove_stale(path)?;
    let io = |what| move |source| SocketError::Io { what, path: path.to_owned(), source };
    let listener = UnixListener::bind(path).map_err(io("bind the socket"))?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io("make private the socket"))?;
    let inode = fs::metadata(path).map_err(io("inspect the socket"))?.ino();
    Ok(tokio::spawn(accept_until(shutdown, listener, methods.into(), path.to_owned(), inode)))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let io = |what| move |source| SocketError::Io { what, path: path.to_owned(), source };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("inspect the socket")(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(io("remove the stale socket"))
        }
        Err(error) => Err(io("try the socket")(error)),
    }
}

async fn accept_until(
    shutdown: CancellationToken,
    listener: UnixListener,
    methods: Methods,
    path: PathBuf,
    inode: u64,
) {
    let (stop, server) = stop_channel();
    let services = ServerBuilder::new().set_config(config()).to_service_builder();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the local API");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !is_allowed(&stream) {
            continue;
        }
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(limit = MAX_CONNECTIONS, "refused a connection to the local API: too many");
            continue;
        };
        let mut service = services.clone().build(methods.clone(), stop.clone());
        let closed = service.on_session_closed();
        let stopped = stop.clone().shutdown();
        connections.spawn(async move {
            if let Err(error) = serve_with_graceful_shutdown(stream, service, stopped).await {
                tracing::debug!(%error, "a connection to the local API ended badly");
            }
            // An upgraded connection lives on in a task of the server's own; without an upgrade this is over at once.
            closed.await;
            drop(slot);
        });
    }
    drop(listener);
    // It fails only when every connection is gone already.
    server.stop().ok();
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!("calls to the local API were cut off");
    }
    // Another node may have replaced the file in the meantime: only one's own is removed.
    if fs::metadata(&path).is_ok_and(|metadata| metadata.ino() == inode) {
        fs::remove_file(&path).unwrap_or_else(|error| tracing::warn!(%error, "cannot remove the API's socket"));
    }
}

fn is_allowed(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if may_connect(own, peer.uid()) => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "refused another user's connection to the local API");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "refused a connection to the local API: its user is unknown");
            false
        }
    }
}

/// Only the node's own user, and root, who could read its memory anyway.
fn may_connect(own: u32, peer: u32) -> bool {
    peer == own || peer == 0
}

fn config() -> ServerConfig {
    ServerConfig::builder()
        .ws_only()
        .max_connections(u32::try_from(MAX_CONNECTIONS).expect("32 fits"))
        .max_request_body_size(MAX_REQUEST_BYTES)
        .max_response_body_size(MAX_RESPONSE_BYTES)
        .max_subscriptions_per_connection(MAX_SUBSCRIPTIONS)
        .set_message_buffer_capacity(MESSAGE_BUFFER)
        .set_batch_request_config(BatchRequestConfig::Disabled)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_user_and_root_may_connect() {
        assert!(may_connect(1000, 1000));
        assert!(may_connect(1000, 0));
        assert!(!may_connect(1000, 1001));
        assert!(!may_connect(0, 1000), "a node of root obeys root alone");
    }
}
