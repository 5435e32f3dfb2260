//! Checkpoints: saying what the ledger is, and hearing what others say.

use clap::{Args, Subcommand};
use exchange_api::{CheckpointRelation, CheckpointView, ExchangeApiClient};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::output::{Answer, Table};
use crate::clock;

/// Say what the ledger was, and compare what others say
#[derive(Debug, Subcommand)]
pub enum Checkpoint {
    Publish(Publish),
    List(List),
}

/// Publish what this node's ledger was an hour ago, for others to compare
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node checkpoint publish
  exchange-node checkpoint publish --age 86400")]
pub struct Publish {
    /// How long ago, in seconds; what has not reached everybody yet would look like a difference [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    age: Option<u64>,
}

/// List the latest checkpoint of each identity beside what this node's ledger was
///
/// Those of arbiters whom you trust come first. Checkpoints say nothing of logs whose authors signed two histories.
#[derive(Debug, Args)]
pub struct List {}

impl Checkpoint {
    /// Publishes or lists.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let client = context.client().await?;
        match self {
            Self::Publish(Publish { age }) => {
                let published = client.checkpoint_publish(age).await?;
                let said = &published.said;
                let (records, logs) = (format::counted(said.records, "record"), format::counted(said.logs, "log"));
                let when = format::when(clock::unix_now(), said.time);
                let text = format!("Published what the ledger was {when}: {records} in {logs}, state {}\n", said.state);
                Ok(Answer::new(&published, text))
            }
            Self::List(List {}) => {
                let now = client.status().await?.time;
                let checkpoints = client.checkpoint_list().await?;
                Ok(Answer::new(&checkpoints, table(&checkpoints, now)))
            }
        }
    }
}

/// Returns checkpoints as a table.
pub fn table(checkpoints: &[CheckpointView], now: u64) -> String {
    let mut table = Table::new(&["BY", "OF", "LOGS", "RECORDS", "STATE", "HERE"], &[2, 3]);
    for checkpoint in checkpoints {
        let (said, here) = (&checkpoint.said, &checkpoint.here);
        table.row([
            checkpoint.author.short(),
            format::when(now, said.time),
            said.logs.to_string(),
            said.records.to_string(),
            said.state.short(),
            match checkpoint.relation {
                CheckpointRelation::Same => "the same".to_owned(),
                CheckpointRelation::Different => format!("another history: {}", here.state.short()),
                CheckpointRelation::Uneven => format!("{} logs, {} records", here.logs, here.records),
            },
        ]);
    }
    table.render("No checkpoint is known yet. They arrive from peers.")
}
