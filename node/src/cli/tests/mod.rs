//! The command line from the outside: arguments in, exit code, stdout and stderr out.

mod arguments;
mod verbs;

use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};

use crate::cli::context::Console;
use crate::cli::execute;

/// What a command printed and how it ended.
#[derive(Debug)]
struct Ran {
    exit: u8,
    out: String,
    err: String,
}

impl Ran {
    /// Returns the one JSON document on stdout.
    fn document(&self) -> serde_json::Value {
        assert_eq!(self.exit, 0, "{self:?}");
        assert_eq!(self.out.matches('\n').count(), 1, "one document on a line of its own: {self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// Returns the error on stderr of a command with `--json`.
    fn error(&self) -> serde_json::Value {
        assert_ne!(self.exit, 0, "{self:?}");
        let last = self.err.lines().last().unwrap();
        serde_json::from_str::<serde_json::Value>(last).unwrap()["error"].take()
    }
}

/// Runs a command as a script would: nobody is there to answer.
fn run(arguments: &[&str]) -> Ran {
    run_with(arguments, None)
}

/// Runs a command as a person at a terminal who types `typed`.
fn run_typing(arguments: &[&str], typed: &str) -> Ran {
    run_with(arguments, Some(typed))
}

fn run_with(arguments: &[&str], typed: Option<&str>) -> Ran {
    let (out, err) = (Shared::default(), Shared::default());
    let console = Console {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        input: Box::new(Cursor::new(typed.unwrap_or_default().as_bytes().to_vec())),
        is_interactive: typed.is_some(),
        is_process: false,
    };
    let arguments = std::iter::once("exchange-node").chain(arguments.iter().copied());
    let exit = execute(arguments.map(Into::into), console);
    Ran { exit, out: out.text(), err: err.text() }
}

/// A stream that the test can read afterwards.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream whose reader has gone, or whose disk is full.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_but_a_full_disk_is() {
    for (kind, exit) in [(io::ErrorKind::BrokenPipe, 0), (io::ErrorKind::StorageFull, 1)] {
        let err = Shared::default();
        let console = Console {
            out: Box::new(Broken(kind)),
            err: Box::new(err.clone()),
            input: Box::new(io::empty()),
            is_interactive: false,
            is_process: false,
        };
        let arguments = ["exchange-node", "man"].map(Into::into);
        assert_eq!(execute(arguments, console), exit, "{}", err.text());
        assert_eq!(err.text().is_empty(), exit == 0);
    }
}
