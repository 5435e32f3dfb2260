//! A running node, as its operator sees it: arguments, signals, an exit code and a log.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cli::Failure;
use crate::{program, wait_until};

/// How long a node may take to serve; a bound against hanging only.
const PATIENCE: Duration = Duration::from_secs(120);
/// The last bytes of a log that a failing test shows.
const SHOWN: usize = 8_000;

/// How a process is started, each time.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What the test calls it.
    pub name: String,
    /// The program; a wrapper and its arguments may stand before it.
    pub command: Vec<String>,
    /// Set in its environment.
    pub env: Vec<(String, String)>,
    /// Where its standard error goes, across restarts.
    pub log: PathBuf,
}

impl Launch {
    /// Returns how to run `exchange-node` with these arguments, with a log named after `name` in `dir`.
    #[must_use]
    pub fn node(name: &str, dir: &Path, args: &[&str]) -> Self {
        let node = program("exchange-node").display().to_string();
        Self {
            name: name.to_owned(),
            command: std::iter::once(node).chain(args.iter().map(|&arg| arg.to_owned())).collect(),
            env: Vec::new(),
            log: dir.join(format!("{name}.log")),
        }
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn with_args(mut self, args: &[&str]) -> Self {
        self.command.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Puts a command in front, which is to execute what follows it.
    #[must_use]
    pub fn wrapped_by(mut self, wrapper: &[String]) -> Self {
        self.command.splice(0..0, wrapper.iter().cloned());
        self
    }

    fn spawn(&self) -> Child {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log: File = log.unwrap_or_else(|error| panic!("{}: {error}", self.log.display()));
        Command::new(&self.command[0])
            .args(&self.command[1..])
            .env_remove("EXCHANGE_PASSWORD")
            .env_remove("EXCHANGE_DATA_DIR")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {:?}: {error}", self.command))
    }
}

/// A process that said it is ready. Killed when dropped; its log is shown when a test fails.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    child: Option<Child>,
    ready: Value,
}

impl Process {
    /// Starts a process and waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead.
    #[must_use]
    pub fn start(launch: Launch) -> Self {
        let name = launch.name.clone();
        Self::try_start(launch).unwrap_or_else(|failure| panic!("{name} did not start: {failure:#?}"))
    }

    /// Starts a process and waits until it is ready or ends.
    ///
    /// # Errors
    /// What it said when it ended.
    ///
    /// # Panics
    /// When it does neither.
    pub fn try_start(launch: Launch) -> Result<Self, Failure> {
        let said_before = read(&launch.log).len();
        let mut child = launch.spawn();
        let stdout = child.stdout.take().expect("it is piped");
        let mut process = Self { launch, child: Some(child), ready: Value::Null };
        match first_document(stdout) {
            Some(ready) => {
                process.ready = ready;
                Ok(process)
            }
            None => {
                let status = process.wait();
                let said = read(&process.launch.log).split_off(said_before);
                Err(Failure::new(status, said))
            }
        }
    }

    /// Returns the document that it printed when it was ready.
    #[must_use]
    pub const fn ready(&self) -> &Value {
        &self.ready
    }

    /// Returns its process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Kills it as a power cut would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        self.child.as_mut().expect("it runs").kill().expect("a child can be killed");
        self.wait();
    }

    /// Holds it still: it is there, and answers nobody.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after a pause.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Stops it as its operator would, by SIGTERM.
    ///
    /// # Panics
    /// When it does not end cleanly.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{} ended with {status}", self.launch.name);
    }

    /// Starts it again as it was started before.
    ///
    /// # Panics
    /// When it still runs, or does not start.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "{} still runs", self.launch.name);
        *self = Self::start(self.launch.clone());
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("a child can be signalled");
    }

    #[expect(clippy::print_stderr, reason = "the test runner shows it with the failure")]
    fn show_log(&self) {
        let log = read(&self.launch.log);
        let start = log.ceil_char_boundary(log.len().saturating_sub(SHOWN));
        eprintln!("---- log of {} ----\n{}", self.launch.name, &log[start..]);
    }

    fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        wait_until("the process ends", || {
            let status = child.try_wait().expect("a child can be waited for");
            status.ok_or_else(|| format!("{} still runs", self.launch.name))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; nothing is left to do then.
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            self.show_log();
        }
    }
}

/// Returns the first JSON document on a process's standard output; `None` when it ends without one.
fn first_document(stdout: ChildStdout) -> Option<Value> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut documents = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
        // Whoever no longer waits does not want it.
        send.send(documents.next().and_then(Result::ok)).ok();
        // Read on, so that the process never waits for a reader or writes to a closed pipe.
        documents.for_each(drop);
    });
    receive.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("neither ready nor ended within {PATIENCE:?}"))
}

fn read(log: &Path) -> String {
    std::fs::read(log).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}
