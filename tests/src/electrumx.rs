//! A real Electrum server, ElectrumX, before a bitcoind, for as long as the value lives.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::bitcoind::Bitcoind;

/// The environment variable that names the python whose environment has ElectrumX.
pub const PYTHON: &str = "TEST_PYTHON";
/// How long a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a start is tried: another process may take the free port first.
const START_ATTEMPTS: usize = 5;
/// The pause between two looks at a process that starts or stops.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often the server looks at bitcoind, in milliseconds; by itself it does so every five seconds.
const POLL_MS: &str = "100";

/// Why there is no Electrum server.
#[derive(Debug, thiserror::Error)]
pub enum ElectrumXError {
    /// Nobody said where it is.
    #[error("{PYTHON} does not name a python with ElectrumX: run the tests by `make test`")]
    NotInstalled,
    /// The system refused.
    #[error("cannot run ElectrumX: {0}")]
    System(#[from] io::Error),
    /// It did not serve in time.
    #[error("ElectrumX did not start; its log:\n{0}")]
    NotStarted(String),
    /// It did not stop in time.
    #[error("ElectrumX did not stop within {PATIENCE:?}")]
    NotStopped,
}

/// A certificate and its key, for a server that speaks TLS.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, as PEM.
    pub certificate: String,
    /// Its key, as PEM.
    pub key: String,
}

/// A running ElectrumX; killed and forgotten when dropped.
#[derive(Debug)]
pub struct ElectrumX {
    program: PathBuf,
    dir: TempDir,
    daemon_url: String,
    port: u16,
    tls: bool,
    child: Option<Child>,
}

impl ElectrumX {
    /// Starts a server of plain text before a bitcoind that was started by [`Bitcoind::start_for_electrum`].
    ///
    /// # Errors
    /// [`ElectrumXError`]; tests should fail with it, never pass without having run.
    pub fn start(bitcoind: &Bitcoind) -> Result<Self, ElectrumXError> {
        Self::start_as(bitcoind, None)
    }

    /// Starts a server of TLS.
    ///
    /// # Errors
    /// As [`ElectrumX::start`].
    pub fn start_with_tls(bitcoind: &Bitcoind, certificate: &Certificate) -> Result<Self, ElectrumXError> {
        Self::start_as(bitcoind, Some(certificate))
    }

    fn start_as(bitcoind: &Bitcoind, certificate: Option<&Certificate>) -> Result<Self, ElectrumXError> {
        let python = std::env::var_os(PYTHON).map(PathBuf::from).ok_or(ElectrumXError::NotInstalled)?;
        let program = python.with_file_name("electrumx_server");
        if !program.is_file() {
            return Err(ElectrumXError::NotInstalled);
        }
        let mut outcome = Err(ElectrumXError::NotInstalled);
        for _ in 0..START_ATTEMPTS {
            let mut server = Self {
                program: program.clone(),
                dir: TempDir::with_prefix("exchange-electrumx-")?,
                daemon_url: bitcoind.electrum_url(),
                port: TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
                tls: certificate.is_some(),
                child: None,
            };
            if let Some(Certificate { certificate, key }) = certificate {
                server.write("certificate.pem", certificate)?;
                server.write("key.pem", key)?;
            }
            outcome = server.run().map(|()| server);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Returns its address, as `--electrum-server` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        if self.tls { format!("ssl://localhost:{}", self.port) } else { format!("tcp://127.0.0.1:{}", self.port) }
    }

    /// Returns its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Starts the process again on the same port and directory.
    ///
    /// # Errors
    /// As [`ElectrumX::start`].
    pub fn run(&mut self) -> Result<(), ElectrumXError> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let scheme = if self.tls { "ssl" } else { "tcp" };
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("COIN", "Bitcoin")
            .env("NET", "regtest")
            .env("DAEMON_URL", &self.daemon_url)
            .env("DB_DIRECTORY", self.dir.path())
            .env("DB_ENGINE", "leveldb")
            .env("SERVICES", format!("{scheme}://127.0.0.1:{}", self.port))
            .env("PEER_DISCOVERY", "off")
            .env("PEER_ANNOUNCE", "")
            // What it lets one client ask is for the internet, not for one test that asks for all.
            .env("COST_SOFT_LIMIT", "0")
            .env("COST_HARD_LIMIT", "0")
            .env("CACHE_MB", "50")
            .env("DAEMON_POLL_INTERVAL_BLOCKS", POLL_MS)
            .env("DAEMON_POLL_INTERVAL_MEMPOOL", POLL_MS)
            .env("ALLOW_ROOT", "1");
        if self.tls {
            command.env("SSL_CERTFILE", self.dir.path().join("certificate.pem"));
            command.env("SSL_KEYFILE", self.dir.path().join("key.pem"));
        }
        let begins = self.read_log().len();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            // It listens once it has caught up with bitcoind.
            if self.read_log()[begins..].contains("server listening on 127.0.0.1") {
                return Ok(());
            }
            if self.child.as_mut().map(Child::try_wait).transpose()?.flatten().is_some() {
                break;
            }
            sleep(LOOK_AGAIN);
        }
        Err(ElectrumXError::NotStarted(self.read_log()))
    }

    /// Stops the process as its operator would, keeping what it has indexed.
    ///
    /// # Errors
    /// [`ElectrumXError::NotStopped`].
    pub fn stop(&mut self) -> Result<(), ElectrumXError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).map_err(io::Error::from)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(LOOK_AGAIN);
        }
        self.child = Some(child);
        Err(ElectrumXError::NotStopped)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("electrumx.log")
    }

    fn read_log(&self) -> String {
        std::fs::read(self.log()).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        use std::io::Write as _;
        File::create(self.dir.path().join(name))?.write_all(text.as_bytes())
    }
}

impl Drop for ElectrumX {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; nothing is left to do then.
            child.kill().ok();
            child.wait().ok();
        }
    }
}
