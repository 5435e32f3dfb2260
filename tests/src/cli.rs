//! The command line, as a script uses it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::program;

/// The command line of one data directory.
#[derive(Debug, Clone)]
pub struct Cli {
    data_dir: PathBuf,
    socket: Option<PathBuf>,
}

/// How a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code; `None` when a signal ended it.
    pub exit: Option<i32>,
    /// The stable code of the error, e.g. `not_allowed`; empty when it gave none.
    pub code: String,
    /// What failed.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// Everything on its standard error.
    pub stderr: Box<str>,
    /// Everything on its standard output: the report of an audit that found something.
    pub stdout: Box<str>,
}

#[derive(Deserialize)]
struct ErrorDocument {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    message: String,
    hint: String,
}

impl Failure {
    /// Reads the error out of what a program said on standard error, among its logs.
    #[must_use]
    pub fn new(status: ExitStatus, stderr: String) -> Self {
        let starts = stderr.match_indices('{').map(|(at, _)| &stderr[at..]);
        let error = starts.rev().find_map(|text| {
            let mut documents = serde_json::Deserializer::from_str(text).into_iter::<ErrorDocument>();
            documents.next()?.ok()
        });
        let error = error.map_or_else(
            || ErrorBody { code: String::new(), message: stderr.trim().to_owned(), hint: String::new() },
            |document| document.error,
        );
        Self {
            exit: status.code(),
            code: error.code,
            message: error.message,
            hint: error.hint,
            stderr: stderr.into(),
            stdout: Box::default(),
        }
    }

    /// Checks that the failure is the expected one and tells the user what to do.
    ///
    /// # Panics
    /// When it is another, or says nothing.
    #[track_caller]
    pub fn assert_is(&self, exit: i32, code: &str) {
        assert_eq!((self.exit, self.code.as_str()), (Some(exit), code), "{self:#?}");
        assert!(!self.message.is_empty(), "{self:#?}");
        assert!(!self.message.contains("panicked"), "{self:#?}");
    }
}

impl Cli {
    /// Returns the command line of a data directory, whether or not a node runs there.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned(), socket: None }
    }

    /// Reaches the node by a socket elsewhere.
    #[must_use]
    pub fn with_socket(mut self, socket: &Path) -> Self {
        self.socket = Some(socket.to_owned());
        self
    }

    /// Runs a verb and returns its document.
    ///
    /// # Errors
    /// When it fails.
    ///
    /// # Panics
    /// When it says that it was done, but standard output is not exactly one document of the expected shape.
    pub fn run<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T, Failure> {
        let mut command = Command::new(program("exchange-node"));
        command.args(args).arg("--json").arg("--data-dir").arg(&self.data_dir);
        if let Some(socket) = &self.socket {
            command.arg("--socket").arg(socket);
        }
        let output = command
            .env_remove("EXCHANGE_PASSWORD")
            .env_remove("EXCHANGE_DATA_DIR")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        if !output.status.success() {
            let stdout = String::from_utf8_lossy(&output.stdout).into();
            let failure = Failure { stdout, ..Failure::new(output.status, stderr) };
            // An audit that finds something wrong says what: that is its answer.
            let is_silent = failure.stdout.is_empty() || failure.code == "violated";
            assert!(is_silent, "{args:?} failed, yet printed: {output:?}");
            return Err(failure);
        }
        let document = serde_json::from_slice(&output.stdout);
        Ok(document.unwrap_or_else(|error| panic!("{args:?} printed no such document: {error}: {output:?}")))
    }

    /// Runs a verb that must be done.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn done<T: DeserializeOwned>(&self, args: &[&str]) -> T {
        self.run(args).unwrap_or_else(|failure| panic!("{args:?} failed: {failure:#?}"))
    }
}
