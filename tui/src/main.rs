//! The program `exchange-tui`.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use color_eyre::eyre::{Result, WrapErr, eyre};
use etcetera::BaseStrategy;
use exchange_api::{ConnectError, Scratch};
use exchange_tui::app::App;
use exchange_tui::connect::{OwnNode, Target};
use exchange_tui::message::NodeFate;
use exchange_tui::runtime;
use exchange_tui::terminal::Screen;
use exchange_tui::theme::Theme;

/// Where the node keeps everything, when no option says so; the same as the node's own.
const DATA_DIR_VARIABLE: &str = "EXCHANGE_DATA_DIR";
/// Wrong usage.
const EXIT_USAGE: u8 = 2;

/// Swap bitcoin for other money with a stranger and nobody in the middle: the node's face in a terminal.
///
/// Attaches to the running node, or starts one. Press ? for the keys.
#[derive(Debug, Parser)]
#[command(
    name = "exchange-tui",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  exchange-tui demo                   look around with play money
  exchange-tui -- --core-cookie ~/.bitcoin/regtest/.cookie --peer /ip4/192.0.2.1/tcp/9740/p2p/12D3KooW…"
)]
struct Arguments {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// The directory of the node [default: $EXCHANGE_DATA_DIR, else ~/.local/share/exchange]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The socket of a running node; none is started then
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Options for `exchange-node run`, if it has to be started
    #[arg(last = true, value_name = "NODE OPTIONS")]
    node: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Try everything with play money: four nodes and a chain of their own, thrown away at the end
    Demo,
}

fn main() -> Result<ExitCode> {
    if let Err(error) = exchange_api::forbid_core_dumps() {
        say(&format!("warning: after a crash a core dump may hold your password: {error}"));
    }
    color_eyre::install()?;
    let arguments = Arguments::parse();
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        say("exchange-tui needs a terminal. Without one, use exchange-node: it does the same by commands.");
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(run(arguments))?;
    runtime.shutdown_background();
    Ok(code)
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let (target, scratch) = target(arguments)?;
    let demo = target.demo;
    let own = OwnNode::default();
    let theme = Theme::from_no_color(std::env::var_os("NO_COLOR").as_deref());
    let app = App::new(theme, demo, session()?);
    let ended = {
        let mut screen = Screen::open().wrap_err("cannot take over the terminal")?;
        runtime::run(app, target, Arc::clone(&own), &mut screen).await
    };
    // However it ended, a node that nobody wants any more must not stay.
    let fate = ended.as_ref().map_or(NodeFate::Keep, |ended| ended.fate);
    let node = own.lock().await.take();
    if let Some(node) = node
        && (demo || fate == NodeFate::Stop)
    {
        say(if demo { "Ending the demo…" } else { "Stopping the node…" });
        node.stop(ended.as_ref().ok().and_then(|ended| ended.client.as_ref())).await;
    }
    if let Some(scratch) = scratch {
        scratch.close().wrap_err("cannot remove the demo's directory")?;
    }
    let ended = ended.wrap_err("the terminal failed")?;
    if let Some(why) = ended.failure {
        say(&why);
        return Ok(ExitCode::from(ConnectError::EXIT_CODE));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns which node to talk to, and for the demo the directory that is thrown away at the end.
fn target(arguments: Arguments) -> Result<(Target, Option<Scratch>)> {
    if let Some(Mode::Demo) = arguments.mode {
        let scratch = Scratch::new().wrap_err("cannot make a directory for the demo")?;
        let data_dir = scratch.path().to_owned();
        let start = ["demo".into(), "--serve".into(), "--data-dir".into(), data_dir.clone().into_os_string()];
        let socket = data_dir.join("api.sock");
        return Ok((Target { data_dir, socket, start: Some(start.to_vec()), demo: true }, Some(scratch)));
    }
    let data_dir = match arguments.data_dir {
        Some(data_dir) => data_dir,
        None => default_data_dir()?,
    };
    let mut start = vec!["run".into(), "--data-dir".into(), data_dir.clone().into_os_string()];
    start.extend(arguments.node);
    let (socket, start) = match arguments.socket {
        Some(socket) => (socket, None),
        None => (data_dir.join("api.sock"), Some(start)),
    };
    Ok((Target { data_dir, socket, start, demo: false }, None))
}

fn default_data_dir() -> Result<PathBuf> {
    if let Some(data_dir) = std::env::var_os(DATA_DIR_VARIABLE).filter(|data_dir| !data_dir.is_empty()) {
        return Ok(data_dir.into());
    }
    let strategy = etcetera::choose_base_strategy()
        .map_err(|error| eyre!("no home directory is known: {error}; name a directory with --data-dir"))?;
    Ok(strategy.data_dir().join("exchange"))
}

/// Returns what makes the request ids of this run unique.
fn session() -> Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| eyre!("the system gives no random numbers: {error}"))?;
    Ok(hex::encode(bytes))
}

/// Says something on stderr, outside the screen; whoever closed it does not want to know.
fn say(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}
