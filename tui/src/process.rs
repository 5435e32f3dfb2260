//! The node that this program starts when none is running: a process of its own, with its own group and log.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use exchange_api::{Client, DirectoryError, ExchangeApiClient, make_private_directory};
use rustix::fs::OFlags;
use tokio::process::{Child, Command};

/// The node's program.
const PROGRAM: &str = "exchange-node";
/// Its log, in its data directory.
const LOG: &str = "node.log";
/// What stands before what a program says when it fails.
const ERROR: &str = "error: ";
/// How much of the end of the log is shown when the node fails.
const TAIL_BYTES: u64 = 2000;
/// How long the node may take to stop by itself: it waits for its disk.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Why the node could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The program is nowhere.
    #[error(
        "`exchange-node` was not found beside this program nor in PATH: install it there, or start a node yourself"
    )]
    NoProgram,
    /// The data directory is not one's own alone.
    #[error(transparent)]
    DataDir(#[from] DirectoryError),
    /// The system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A node that this program started.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    log: PathBuf,
    /// Where what it writes begins: before it stand the words of earlier ones.
    log_start: u64,
}

impl NodeProcess {
    /// Starts the node with `arguments`; its output goes to `node.log` in `data_dir`, which is made when missing, and closed to
    /// others. A `throwaway` node does not outlive this program even when it panics.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(arguments: &[OsString], data_dir: &Path, throwaway: bool) -> Result<Self, StartError> {
        let program = find().ok_or(StartError::NoProgram)?;
        let (log, output) = open_log(data_dir)?;
        let errors = output.try_clone().map_err(refused("write to", &log))?;
        let log_start = output.metadata().map_err(refused("look at", &log))?.len();
        let child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Keys pressed in this terminal, and its end, are not meant for the node.
            .process_group(0)
            .kill_on_drop(throwaway)
            .spawn()
            .map_err(refused("start", &program))?;
        Ok(Self { child, log, log_start })
    }

    /// Returns how the node ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Returns the end of what it wrote into its log.
    pub fn log_tail(&self) -> String {
        tail(&self.log, self.log_start).unwrap_or_default()
    }

    /// Returns where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Stops the node: asks it to, then waits, then insists.
    pub async fn stop(mut self, client: Option<&Client>) {
        if let Some(client) = client {
            // The node may hang up before it answers; whether it ended is seen below.
            tokio::time::timeout(STOP_PATIENCE, client.stop()).await.ok();
            if tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await.is_ok() {
                return;
            }
        }
        // One that is still starting has no API to ask by, but a signal lets it clean up, too.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid
            && rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok()
            && tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await.is_ok()
        {
            return;
        }
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "the node could not be stopped");
        }
    }
}

/// Returns how to say what the system refused, and on what.
fn refused(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Io { what, path, source }
}

/// Opens the log for what the node says. While others could write to the directory they may have put a link there, to any file of
/// the user's: it is closed to them first, and no link is followed.
fn open_log(data_dir: &Path) -> Result<(PathBuf, File), StartError> {
    make_private_directory(data_dir)?;
    let log = data_dir.join(LOG);
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let output = options.open(&log).map_err(refused("write to", &log))?;
    Ok((log, output))
}

/// Finds the program beside this one, or in PATH.
fn find() -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(PROGRAM))
        .find(|p| p.is_file())
}

/// Returns what a program said when it failed: why, and in the lines below what to do. Nothing if it said neither.
pub fn last_words(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().collect();
    let at = lines.iter().rposition(|line| line.starts_with(ERROR))?;
    let why = lines[at].trim_start_matches(ERROR);
    let hints = lines[at + 1..].iter().take_while(|line| line.starts_with("  ")).map(|line| line.trim());
    Some(std::iter::once(why).chain(hints).collect::<Vec<_>>().join("\n"))
}

fn tail(log: &Path, from: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(TAIL_BYTES).max(from);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line is cut in the middle, unless all of it is here.
    Ok(if begin > from { text.split_once('\n').map_or("", |(_, rest)| rest).to_owned() } else { text.into_owned() })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_tail_of_a_log_begins_with_a_whole_line() {
        let directory = tempfile::TempDir::new().unwrap();
        let log = directory.path().join("node.log");
        let write = |text: &str| io::Write::write_all(&mut File::create(&log).unwrap(), text.as_bytes()).unwrap();
        write("one\ntwo\n");
        assert_eq!(tail(&log, 0).unwrap(), "one\ntwo\n");
        assert_eq!(tail(&log, 4).unwrap(), "two\n", "what an earlier node wrote is none of it");
        write(&"a line of the log\n".repeat(1000));
        let tail = tail(&log, 18).unwrap();
        assert!(tail.starts_with("a line") && tail.len() as u64 <= TAIL_BYTES, "{tail}");
    }

    #[test]
    fn the_log_is_written_in_a_directory_of_one_s_own_and_through_no_link() {
        let directory = tempfile::TempDir::new().unwrap();
        let data_dir = directory.path().join("data");
        let open_to = |mode| fs::set_permissions(&data_dir, Permissions::from_mode(mode)).unwrap();
        open_log(&data_dir).unwrap();
        open_to(0o777);
        open_log(&data_dir).unwrap();
        assert_eq!(fs::metadata(&data_dir).unwrap().permissions().mode() & 0o7777, 0o700);
        open_to(0o1777);
        assert!(matches!(open_log(&data_dir), Err(StartError::DataDir(_))), "it is meant for everyone");
        open_to(0o700);
        // Somebody was there while the directory was open.
        let precious = directory.path().join("precious");
        File::create(&precious).unwrap();
        fs::remove_file(data_dir.join(LOG)).unwrap();
        symlink(&precious, data_dir.join(LOG)).unwrap();
        assert!(matches!(open_log(&data_dir), Err(StartError::Io { what: "write to", .. })));
    }

    #[test]
    fn why_a_node_ended_is_found_among_what_it_logs() {
        let log = "INFO error: of no consequence\nINFO opening\nerror: wrong password\n  type it again\nINFO stopped\n";
        assert_eq!(last_words(log).as_deref(), Some("wrong password\ntype it again"));
        assert_eq!(last_words("INFO opening\n"), None);
    }
}
