//! What every verb is given: the options that hold everywhere, the streams, and the way to the node.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use etcetera::BaseStrategy;
use exchange_api::Client;

use crate::cli::failure::Failure;
use crate::cli::output::say;

/// Where the node keeps everything, when no option says so.
const DATA_DIR_VARIABLE: &str = "EXCHANGE_DATA_DIR";
/// A line typed in answer to a question: far above any.
const MAX_LINE_BYTES: u64 = 4096;

/// The options that hold for every verb.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every verb")]
pub struct Global {
    /// The directory of the node [default: $EXCHANGE_DATA_DIR, else ~/.local/share/exchange]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The socket of the node's local API [default: api.sock in the data directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print the answer as one JSON document; amounts are satoshis and minor units
    #[arg(long, global = true)]
    pub json: bool,
    /// Ask nothing: the answer to every question is yes
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
}

impl Global {
    /// Returns the data directory.
    ///
    /// # Errors
    /// When none is named and the user has no home directory.
    pub fn data_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        if let Some(dir) = std::env::var_os(DATA_DIR_VARIABLE).filter(|dir| !dir.is_empty()) {
            return Ok(dir.into());
        }
        let strategy = etcetera::choose_base_strategy().map_err(|error| {
            Failure::usage(format!("no home directory is known: {error}"), "name a directory with --data-dir")
        })?;
        Ok(strategy.data_dir().join("exchange"))
    }

    /// Returns the socket of the local API.
    ///
    /// # Errors
    /// Like [`Global::data_dir`].
    pub fn socket(&self) -> Result<PathBuf, Failure> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => Ok(self.data_dir()?.join("api.sock")),
        }
    }
}

/// The streams of the program.
pub struct Console {
    /// For answers only.
    pub out: Box<dyn Write>,
    /// For everything else.
    pub err: Box<dyn Write>,
    /// What the user types.
    pub input: Box<dyn BufRead>,
    /// Whether somebody sits there who can be asked.
    pub is_interactive: bool,
    /// Whether these are the process's own streams, so that logs and colours belong there.
    pub is_process: bool,
}

impl Console {
    /// Returns the process's streams.
    pub fn of_process() -> Self {
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            input: Box::new(BufReader::new(io::stdin())),
            is_interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
            is_process: true,
        }
    }

    /// Asks for a line; `None` at the end of the input.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub fn ask_line(&mut self, question: &str) -> Result<Option<String>, Failure> {
        say(self, format_args!("{question} "));
        let mut line = String::new();
        let read = io::Read::take(&mut self.input, MAX_LINE_BYTES).read_line(&mut line);
        match read {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => Err(Failure::refused(format!("the terminal cannot be read: {error}"), "")),
        }
    }
}

/// What a verb is given.
pub struct Context<'a> {
    /// The options that hold everywhere.
    pub global: Global,
    /// The streams.
    pub console: &'a mut Console,
}

impl Context<'_> {
    /// Connects to the running node.
    ///
    /// # Errors
    /// When there is none: exit code 3.
    pub async fn client(&self) -> Result<Client, Failure> {
        Ok(exchange_api::connect(&self.global.socket()?).await?)
    }

    /// Says something to the person, on stderr; programs are not told.
    pub fn say(&mut self, text: impl std::fmt::Display) {
        if !self.global.json {
            say(self.console, text);
        }
    }
}
