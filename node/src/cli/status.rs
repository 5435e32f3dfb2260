//! How the node is, whom it is connected to, and stopping it.

use std::time::Duration;

use clap::{Args, Subcommand};
use exchange_api::{ExchangeApiClient, IdentityState, PeerInfo};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::output::{Answer, Lines, Table};

/// How long a stopping node may take: it lets calls in progress end and closes its store.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks whether it is gone.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Show how the node is
#[derive(Debug, Args)]
pub struct Status {}

/// Show whom the node is connected to, or connect to somebody
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  exchange-node peers connect /dns4/relay.example.org/tcp/9740/p2p/12D3KooW…")]
pub struct Peers {
    #[command(subcommand)]
    verb: Option<PeersVerb>,
}

#[derive(Debug, Subcommand)]
enum PeersVerb {
    /// Show the connected peers (the default)
    List,
    /// Connect to a peer
    Connect {
        /// Its multiaddress, ending in its peer id
        address: String,
    },
}

/// Stop the node, and wait until it has stopped
#[derive(Debug, Args)]
pub struct Stop {}

impl Status {
    /// Shows how the node is.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let status = context.client().await?.status().await?;
        let mut lines = Lines::default();
        let demo = if status.demo { ", a demo" } else { "" };
        lines.line("node", format!("exchange {} on {}{demo}", status.version, status.network));
        let tip = status.tip.map_or_else(|| "not reachable".to_owned(), |height| format!("block {height}"));
        lines.line("chain", format!("{}, {tip}", status.chain)).maybe("", status.chain_error.as_deref());
        lines.line("identity", identity(&status.identity));
        lines.line("peers", status.peers.to_string());
        lines.line("listening", if status.listen.is_empty() { "nowhere".to_owned() } else { status.listen.join("\n") });
        lines.line("ledger", format!("{} records, {} live offers", status.records, status.offers));
        lines.line("retention", retention(&status.retention));
        Ok(Answer::new(&status, lines.render()))
    }
}

fn retention(said: &str) -> String {
    if said == "full" { "full: what others drop is here".to_owned() } else { format!("{said} days") }
}

fn identity(state: &IdentityState) -> String {
    match state {
        IdentityState::None => "none: `exchange-node identity new` makes one; a relay needs none".to_owned(),
        IdentityState::Locked => "locked: `exchange-node identity unlock` unlocks it".to_owned(),
        IdentityState::Deriving => "being derived".to_owned(),
        IdentityState::Unlocked { author, email } => format!("{email} ({})", author.short()),
    }
}

impl Peers {
    /// Shows the peers, or connects to one.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let client = context.client().await?;
        match self.verb {
            None | Some(PeersVerb::List) => {
                let peers = client.peers().await?;
                Ok(Answer::new(&peers, table(&peers)))
            }
            Some(PeersVerb::Connect { address }) => {
                client.connect_peer(address.clone()).await?;
                Ok(Answer::new(&json!({ "connected": address }), format!("Connected to {address}.\n")))
            }
        }
    }
}

fn table(peers: &[PeerInfo]) -> String {
    let mut table = Table::new(&["PEER", "ADDRESS", "SOFTWARE", "PING", "LEDGER"], &[3]);
    for peer in peers {
        let ping = peer.ping_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        let ledger = if peer.in_sync { "the same" } else { "comparing" };
        table.row([peer.peer.clone(), peer.address.clone(), format::clean_line(&peer.agent), ping, ledger.to_owned()]);
    }
    table.render("No peers yet. The node looks for those that --peer named; `exchange-node peers connect` adds one.")
}

impl Stop {
    /// Stops the node.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        context.client().await?.stop().await?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while context.client().await.is_ok() {
            if Instant::now() >= deadline {
                return Err(Failure::timed_out("the node is told to stop but still answers", "see its log"));
            }
            sleep(STOP_POLL).await;
        }
        Ok(Answer::new(&json!({ "stopped": true }), "The node has stopped.\n"))
    }
}
