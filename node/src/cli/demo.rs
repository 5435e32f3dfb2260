//! The demo: a whole trade by itself, or a small world for a client to play in.

use clap::Args;
use exchange_api::Scratch;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Answer, print_document, say};
use crate::cli::signals;
use crate::demo;
use crate::keyring::Keyring;

/// Run four nodes and a chain of their own in this process, and trade
///
/// Without --serve, one whole trade runs by itself; stdout gets one JSON document about it, and the exit code is 0 only if
/// the buyer's coins are confirmed. No real money is involved.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node demo
  exchange-node demo --serve --data-dir /tmp/demo &
  exchange-node book --data-dir /tmp/demo")]
pub struct Demo {
    /// Serve your node's API until stopped, so that you can take part; others act as people would
    #[arg(long)]
    serve: bool,
}

impl Demo {
    /// Runs the demo.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        if self.serve {
            return serve(context).await;
        }
        let document = demo::run_headless(signals::stop_or_hangup_token()?).await?;
        // For people too: it is what the demo is run for, and they can read it.
        print_document(&document, context.console)?;
        Ok(Answer::printed())
    }
}

async fn serve(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let temporary = Scratch::new()
        .map_err(|error| Failure::refused(format!("no directory for the demo: {error}"), "name one with --data-dir"))?;
    // Never the directory of a real node: the environment's and the default one do not count here.
    let data_dir = context.global.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let shown = data_dir.display();
    let another = "name another with --data-dir, or leave it out";
    if Keyring::new(&data_dir).exists() {
        return Err(Failure::usage(format!("{shown} has the identity of a node, and the demo makes its own"), another));
    }
    let socket = context.global.socket.clone().unwrap_or_else(|| data_dir.join("api.sock"));
    if exchange_api::connect(&socket).await.is_ok() {
        return Err(Failure::refused(format!("a node serves {} already", socket.display()), another));
    }
    let stop = signals::stop_or_hangup_token()?;
    say(context.console, format_args!("Talk to the demo with --data-dir {shown}, or stop it with Ctrl-C.\n"));
    demo::serve(&data_dir, socket, stop).await?;
    Ok(Answer::printed())
}
