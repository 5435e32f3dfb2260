//! From nothing to a client: attaches to a running node, or starts one and waits for its socket.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use exchange_api::{Client, ConnectError, connect};
use tokio::sync::{Mutex, mpsc};

use crate::message::{Connection, Message};
use crate::process::{NodeProcess, last_words};
use crate::runtime::Incoming;
use crate::words;

/// How long a started node may take until its socket is there: opening a large ledger takes a while.
const START_PATIENCE: Duration = Duration::from_secs(180);
/// How often the socket is tried.
const RETRY: Duration = Duration::from_millis(200);
/// How often a lost node is tried.
const RETRY_LOST: Duration = Duration::from_secs(1);

/// Which node to talk to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where the node keeps everything.
    pub data_dir: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
    /// How to start it when it does not run; `None`: it is not to be started.
    pub start: Option<Vec<OsString>>,
    /// Whether it is the demo.
    pub demo: bool,
}

/// The node that this program started, if it did.
pub type OwnNode = Arc<Mutex<Option<NodeProcess>>>;

/// How often a node that crashed is started again: once may be bad luck, and more helps nobody.
const MAX_RESTARTS: u32 = 3;

/// Connects, starting the node if need be, and reports what happens.
pub async fn establish(target: Target, own: OwnNode, tell: mpsc::Sender<Incoming>) {
    let connection = match first(&target, &own, &tell).await {
        Ok(client) => Incoming::Connected(client, own.lock().await.is_some()),
        Err(why) => Incoming::Message(Message::Connection(Connection::Failed(why))),
    };
    // Nobody listens any more when the program ends.
    tell.send(connection).await.ok();
}

/// Connects again after the connection broke: for as long as it takes, because the node may be restarted by hand. A node
/// of one's own that crashed is started again, at most [`MAX_RESTARTS`] times, which `restarts` counts.
pub async fn establish_again(target: Target, own: OwnNode, restarts: Arc<AtomicU32>, tell: mpsc::Sender<Incoming>) {
    loop {
        if let Ok(client) = connect(&target.socket).await {
            tell.send(Incoming::Connected(client, own.lock().await.is_some())).await.ok();
            return;
        }
        let crashed = own.lock().await.take_if(|node| node.ended().is_some());
        if let Some(node) = crashed {
            if restarts.fetch_add(1, Ordering::Relaxed) < MAX_RESTARTS && !target.demo {
                establish(target, own, tell).await;
            } else {
                let why = Connection::Failed(failure("the node ended", &node));
                tell.send(Incoming::Message(Message::Connection(why))).await.ok();
            }
            return;
        }
        tokio::time::sleep(RETRY_LOST).await;
    }
}

async fn first(target: &Target, own: &OwnNode, tell: &mpsc::Sender<Incoming>) -> Result<Client, String> {
    let error = match connect(&target.socket).await {
        Ok(client) => return Ok(client),
        Err(error) => error,
    };
    let (ConnectError::NoNode(_), Some(arguments)) = (&error, &target.start) else {
        return Err(error.to_string());
    };
    let what = if target.demo { words::STARTING_DEMO } else { words::STARTING_NODE };
    tell.send(Incoming::Message(Message::Connection(Connection::Starting(what.to_owned())))).await.ok();
    {
        let mut own = own.lock().await;
        // One that was waited for in vain may still be opening its ledger: no second one could.
        if own.as_mut().is_none_or(|node| node.ended().is_some()) {
            let node = NodeProcess::start(arguments, &target.data_dir, target.demo);
            *own = Some(node.map_err(|error| error.to_string())?);
        }
    }
    let waiting = async {
        loop {
            if let Ok(client) = connect(&target.socket).await {
                return Ok(client);
            }
            if let Some(node) = own.lock().await.as_mut()
                && let Some(status) = node.ended()
            {
                return Err(failure(&format!("the node ended at once ({status})"), node));
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    match tokio::time::timeout(START_PATIENCE, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("the node did not open {} within three minutes", target.socket.display())),
    }
}

/// Says why there is no node: in its own words, or where it has said nothing of the kind by the end of its log.
fn failure(what: &str, node: &NodeProcess) -> String {
    let log = node.log_tail();
    match last_words(&log) {
        Some(why) => format!("{what}: {why}\n\nAll that it said stands in {}.", node.log().display()),
        None => format!("{what}. The end of its log:\n\n{log}"),
    }
}
