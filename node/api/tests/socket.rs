//! The API over a real Unix socket: who gets in, what survives, and what an answer looks like on the other side.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use exchange_api::{
    ApiError, Client, Code, ConnectError, DirectoryError, ExchangeApiClient, MAX_CONNECTIONS, SocketError, connect,
    serve,
};
use jsonrpsee::core::ClientError;
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::{RpcModule, SubscriptionMessage};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Three methods under their real names: one answers, one refuses, one streams.
fn methods() -> RpcModule<()> {
    let mut module = RpcModule::new(());
    module.register_method("exchange_passphrase", |_, _, _| "six words").unwrap();
    module
        .register_method("exchange_identityShow", |_, _, _| {
            Err::<(), _>(ErrorObjectOwned::from(ApiError::new(Code::IdentityLocked, "it is locked", "unlock it")))
        })
        .unwrap();
    module
        .register_subscription(
            "exchange_subscribeEvents",
            "exchange_event",
            "exchange_unsubscribeEvents",
            |params, pending, _, _| async move {
                let from: u64 = params.one()?;
                let sink = pending.accept().await?;
                for seq in from..from + 3 {
                    let event =
                        serde_json::json!({ "seq": seq, "time": 1, "subject": { "kind": "node" }, "text": "up" });
                    sink.send(SubscriptionMessage::from(serde_json::value::to_raw_value(&event)?)).await?;
                }
                Ok(())
            },
        )
        .unwrap();
    module
}

/// A node's socket in a directory of its own.
struct Node {
    directory: TempDir,
    shutdown: CancellationToken,
}

impl Node {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let shutdown = CancellationToken::new();
        serve(&directory.path().join("api.sock"), methods(), shutdown.clone()).unwrap();
        Self { directory, shutdown }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("api.sock")
    }

    async fn client(&self) -> Client {
        connect(&self.socket()).await.unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn a_call_is_answered_and_a_refusal_keeps_its_code_and_hint() {
    let node = Node::start();
    let client = node.client().await;
    assert_eq!(client.passphrase().await.unwrap(), "six words");
    let refusal = ApiError::from(client.identity_show().await.unwrap_err());
    assert_eq!(refusal, ApiError::new(Code::IdentityLocked, "it is locked", "unlock it"));
    let unknown = ApiError::from(client.status().await.unwrap_err());
    assert_eq!(unknown.code, Code::Internal);
}

#[tokio::test]
async fn events_stream_to_the_subscriber() {
    let node = Node::start();
    let mut events = node.client().await.subscribe_events(7).await.unwrap();
    for seq in 7..10 {
        assert_eq!(events.next().await.unwrap().unwrap().seq, seq);
    }
}

#[tokio::test]
async fn the_socket_is_private_even_in_a_directory_that_was_not() {
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let nested = directory.path().join("new/data");
    for home in [directory.path(), &nested] {
        let path = home.join("api.sock");
        serve(&path, methods(), CancellationToken::new()).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(home), 0o700);
    }
}

#[tokio::test]
async fn a_directory_for_everyone_is_refused_and_left_as_it_is() {
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
    let error = serve(&directory.path().join("api.sock"), methods(), CancellationToken::new()).unwrap_err();
    assert!(matches!(error, SocketError::Directory(DirectoryError::Shared(_))), "{error}");
    assert_eq!(mode(directory.path()), 0o777);
}

#[tokio::test]
async fn the_socket_of_a_dead_node_is_replaced() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("api.sock");
    drop(UnixListener::bind(&path).unwrap()); // the file stays, as after SIGKILL
    assert!(matches!(connect(&path).await.unwrap_err(), ConnectError::NoNode(_)));
    serve(&path, methods(), CancellationToken::new()).unwrap();
    assert_eq!(connect(&path).await.unwrap().passphrase().await.unwrap(), "six words");
}

#[tokio::test]
async fn a_living_node_and_a_stranger_s_file_are_left_alone() {
    let node = Node::start();
    let error = serve(&node.socket(), methods(), CancellationToken::new()).unwrap_err();
    assert!(matches!(error, SocketError::InUse(_)), "{error}");
    assert_eq!(node.client().await.passphrase().await.unwrap(), "six words");

    let file = node.directory.path().join("notes.txt");
    fs::File::create(&file).unwrap();
    let error = serve(&file, methods(), CancellationToken::new()).unwrap_err();
    assert!(matches!(error, SocketError::NotASocket(_)), "{error}");
}

#[tokio::test]
async fn without_a_node_the_error_says_what_to_do() {
    let directory = TempDir::new().unwrap();
    let error = ApiError::from(connect(&directory.path().join("api.sock")).await.unwrap_err());
    assert_eq!(error.exit_code(), 3);
    assert!(error.message.starts_with("no node is running at /"), "{error}");
    assert!(error.hint.contains("exchange-node run"), "{error}");
}

#[tokio::test]
async fn one_client_too_many_is_refused_and_a_place_becomes_free_again() {
    let node = Node::start();
    let mut clients = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        clients.push(node.client().await);
    }
    assert!(matches!(connect(&node.socket()).await.unwrap_err(), ConnectError::Refused { .. }));
    clients.pop();
    let client = loop {
        // The server learns of the hang-up a moment later.
        match connect(&node.socket()).await {
            Ok(client) => break client,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(client.passphrase().await.unwrap(), "six words");
}

#[tokio::test]
async fn an_oversized_request_is_refused() {
    let node = Node::start();
    let error = node.client().await.connect_peer("x".repeat(2 << 20)).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Transport(_) | ClientError::RestartNeeded(_) | ClientError::Call(_)),
        "{error}"
    );
    assert_eq!(node.client().await.passphrase().await.unwrap(), "six words", "the node goes on");
}

#[tokio::test]
async fn stopping_ends_connections_and_removes_the_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("api.sock");
    let shutdown = CancellationToken::new();
    let server = serve(&path, methods(), shutdown.clone()).unwrap();
    let client = connect(&path).await.unwrap();
    assert_eq!(client.passphrase().await.unwrap(), "six words");
    shutdown.cancel();
    server.await.unwrap();
    assert!(!path.exists());
    assert_eq!(ApiError::from(client.passphrase().await.unwrap_err()).code, Code::NodeUnreachable);
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
