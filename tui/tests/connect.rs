//! From nothing to a client, over real sockets.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use exchange_api::{ExchangeApiClient, serve};
use exchange_tui::connect::{OwnNode, Target, establish, establish_again};
use exchange_tui::message::{Connection, Message};
use exchange_tui::runtime::Incoming;
use jsonrpsee::RpcModule;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A node that knows one method.
fn node(socket: &Path) -> CancellationToken {
    let mut methods = RpcModule::new(());
    methods.register_method("exchange_passphrase", |_, _, _| "six words").unwrap();
    let stop = CancellationToken::new();
    serve(socket, methods, stop.clone()).unwrap();
    stop
}

fn target(directory: &TempDir) -> Target {
    let data_dir = directory.path().to_owned();
    Target { socket: data_dir.join("api.sock"), data_dir, start: None, demo: false }
}

#[tokio::test]
async fn a_running_node_is_attached_to_and_stays_its_owner_s() {
    let directory = TempDir::new().unwrap();
    let target = target(&directory);
    let _stop = node(&target.socket);
    let (tell, mut inbox) = mpsc::channel(8);
    establish(target, OwnNode::default(), tell).await;
    let Some(Incoming::Connected(client, ours)) = inbox.recv().await else { panic!("not connected") };
    assert!(!ours);
    assert_eq!(client.passphrase().await.unwrap(), "six words");
}

#[tokio::test]
async fn without_a_node_that_may_be_started_the_user_is_told_what_to_do() {
    let directory = TempDir::new().unwrap();
    let (tell, mut inbox) = mpsc::channel(8);
    establish(target(&directory), OwnNode::default(), tell).await;
    let Some(Incoming::Message(Message::Connection(Connection::Failed(why)))) = inbox.recv().await else {
        panic!("not told")
    };
    assert!(why.contains("exchange-node run"), "{why}");
}

#[tokio::test]
async fn a_node_that_came_late_is_found_when_one_tries_again() {
    let directory = TempDir::new().unwrap();
    let target = target(&directory);
    let (tell, mut inbox) = mpsc::channel(8);
    establish(target.clone(), OwnNode::default(), tell.clone()).await;
    assert!(matches!(inbox.recv().await, Some(Incoming::Message(Message::Connection(Connection::Failed(_))))));
    let _stop = node(&target.socket);
    establish(target, OwnNode::default(), tell).await;
    assert!(matches!(inbox.recv().await, Some(Incoming::Connected(_, false))));
}

#[tokio::test]
async fn a_lost_node_is_found_again_once_it_is_back() {
    let directory = TempDir::new().unwrap();
    let target = target(&directory);
    let (tell, mut inbox) = mpsc::channel(8);
    let again = tokio::spawn(establish_again(target.clone(), OwnNode::default(), Arc::default(), tell));
    tokio::task::yield_now().await;
    let _stop = node(&target.socket);
    assert!(matches!(inbox.recv().await, Some(Incoming::Connected(_, false))));
    again.await.unwrap();
}
