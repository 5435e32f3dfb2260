//! The command line of `exchange-node`: one file a group of verbs, each a thin client of the local API.
//!
//! The rules that hold for every verb stand here and in its neighbours: one answer on stdout ([`output`]), everything else
//! on stderr, exit code 0 done, 1 refused or violated, 2 wrong usage, 3 node not reachable ([`failure`]), secrets from files,
//! the environment or a prompt but never from an argument ([`secrets`]), and no coins move without a yes ([`money`]).

mod arbiter;
mod audit;
mod book;
mod case;
mod chat;
mod checkpoint;
mod completions;
mod context;
mod demo;
mod failure;
mod files;
mod format;
mod group;
mod identity;
mod logging;
mod money;
mod offer;
mod output;
mod prefix;
mod run;
mod secrets;
mod signals;
mod signer;
mod status;
mod trade;
mod values;
mod wallet;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::context::{Console, Context, Global};
use self::failure::Failure;
use self::output::Answer;

const EXAMPLES: &str = "\
Examples:
  exchange-node demo                  a whole trade by itself, on a chain of its own
  exchange-node demo --serve          the same world, for you to take part in
  exchange-node run --relay           help others: pass on offers, keep no identity
  exchange-node run --core-cookie ~/.bitcoin/regtest/.cookie --email alice@example.org
  exchange-node identity new --email alice@example.org
  exchange-node book --market BTC/EUR --side buy
  exchange-node trade take 1f0c9a3b --amount 0.01 --method \"SEPA instant\"

Exit codes: 0 done, 1 refused or violated, 2 wrong usage, 3 no node can be reached.
Every verb explains itself: exchange-node VERB --help.
Logs go to stderr; EXCHANGE_LOG filters them, e.g. EXCHANGE_LOG=debug.";

/// Swap bitcoin for other money with a stranger and nobody in the middle.
///
/// `run` starts a node; every other verb talks to the running one through its private socket.
#[derive(Debug, Parser)]
#[command(name = "exchange-node", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// The verbs, in the order in which a newcomer needs them.
#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Run),
    Demo(demo::Demo),
    Status(status::Status),
    Peers(status::Peers),
    Stop(status::Stop),
    #[command(subcommand)]
    Identity(identity::Identity),
    #[command(subcommand)]
    Wallet(wallet::Wallet),
    Book(book::Book),
    #[command(subcommand)]
    Offer(offer::Offer),
    #[command(subcommand)]
    Trade(trade::Trade),
    #[command(subcommand)]
    Chat(chat::Chat),
    #[command(subcommand)]
    Arbiter(arbiter::Arbiter),
    #[command(subcommand)]
    Signer(signer::Signer),
    Audit(audit::Audit),
    #[command(subcommand)]
    Checkpoint(checkpoint::Checkpoint),
    Completions(completions::Completions),
    Man(completions::Man),
}

/// Runs the program with the process's arguments, streams and environment.
pub fn main() -> ExitCode {
    let mut console = Console::of_process();
    if let Err(error) = exchange_api::forbid_core_dumps() {
        output::say(&mut console, format_args!("warning: after a crash a core dump may hold your keys: {error}\n"));
    }
    ExitCode::from(execute(std::env::args_os(), console))
}

/// Runs the program; returns its exit code.
fn execute(arguments: impl IntoIterator<Item = OsString>, mut console: Console) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            let json = arguments.iter().any(|argument| argument == "--json");
            return output::report_parsing(&error, json, &mut console);
        }
    };
    let json = parsed.global.json;
    let outcome = perform(parsed, &mut console);
    output::report(outcome, json, &mut console)
}

fn perform(Arguments { global, verb }: Arguments, console: &mut Console) -> Result<Answer, Failure> {
    if console.is_process {
        logging::start(verb.is_long_running())?;
    }
    let runtime = if verb.is_long_running() {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    };
    let runtime = runtime.map_err(|error| Failure::refused(format!("cannot start the runtime: {error}"), ""))?;
    let outcome = runtime.block_on(verb.perform(&mut Context { global, console }));
    // What still hangs, e.g. a name server, must not keep the program from ending.
    runtime.shutdown_background();
    outcome
}

impl Verb {
    /// Tells whether the verb is a node rather than a client of one.
    const fn is_long_running(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Demo(_))
    }

    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::Run(verb) => verb.perform(context).await,
            Self::Demo(verb) => verb.perform(context).await,
            Self::Status(verb) => verb.perform(context).await,
            Self::Peers(verb) => verb.perform(context).await,
            Self::Stop(verb) => verb.perform(context).await,
            Self::Identity(verb) => verb.perform(context).await,
            Self::Wallet(verb) => verb.perform(context).await,
            Self::Book(verb) => verb.perform(context).await,
            Self::Offer(verb) => verb.perform(context).await,
            Self::Trade(verb) => verb.perform(context).await,
            Self::Chat(verb) => verb.perform(context).await,
            Self::Arbiter(verb) => verb.perform(context).await,
            Self::Signer(verb) => verb.perform(context).await,
            Self::Audit(verb) => verb.perform(context).await,
            Self::Checkpoint(verb) => verb.perform(context).await,
            Self::Completions(verb) => verb.perform(),
            Self::Man(verb) => verb.perform(),
        }
    }
}
