//! A real bitcoind on a regtest chain of its own, for as long as the value lives.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use jsonrpc::bitreq_http::Builder;
use jsonrpc::serde_json::value::to_raw_value;
use jsonrpc::{Client, Error as RpcError};
use serde_json::Value;
use tempfile::TempDir;

/// The environment variable that names the program.
pub const PROGRAM: &str = "BITCOIND";
/// Whom bitcoind lets in besides the bearer of its cookie, which changes at each start (`share/rpcauth` of Bitcoin Core).
const ELECTRUM_RPC_AUTH: &str = "-rpcauth=electrumx:0102030405060708090a0b0c0d0e0f10$ae5bcc5083a32f38f164f296604b10b9a304fe682a370528613c36e95ff03691";
const ELECTRUM_CREDENTIALS: &str = "electrumx:electrumx";
/// How long a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one request may take.
const RPC_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a start is tried: another process may take the free port first.
const START_ATTEMPTS: usize = 5;
/// The pause between two looks at a process that starts or stops.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why there is no bitcoind.
#[derive(Debug, thiserror::Error)]
pub enum BitcoindError {
    /// Nobody said where the program is.
    #[error("{PROGRAM} does not name a bitcoind: run `make bitcoind`, or the whole suite by `make test`")]
    NotBuilt,
    /// The system refused.
    #[error("cannot run {program}: {source}", program = .program.display())]
    System {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("bitcoind did not start; the end of its log:\n{log}")]
    NotStarted {
        /// The last lines of its log.
        log: String,
    },
    /// It did not stop in time.
    #[error("bitcoind did not stop within {PATIENCE:?}")]
    NotStopped,
    /// It refused a request.
    #[error("{method} failed: {reason}")]
    Rpc {
        /// The request.
        method: String,
        /// What it said.
        reason: String,
    },
}

/// A running bitcoind; killed and forgotten when dropped.
#[derive(Debug)]
pub struct Bitcoind {
    program: PathBuf,
    dir: TempDir,
    extra_args: Vec<String>,
    rpc_port: u16,
    p2p_port: Option<u16>,
    child: Option<Child>,
}

impl Bitcoind {
    /// Starts the bitcoind named by the environment, on a free port, without peers.
    ///
    /// # Errors
    /// [`BitcoindError`]; tests should fail with it, never pass without having run.
    pub fn start() -> Result<Self, BitcoindError> {
        Self::start_with(&[])
    }

    /// Starts it with more arguments.
    ///
    /// # Errors
    /// As [`Bitcoind::start`].
    pub fn start_with(extra_args: &[&str]) -> Result<Self, BitcoindError> {
        Self::start_as(extra_args, false)
    }

    /// Starts it with more arguments, as a node that light clients of this machine can connect to.
    ///
    /// # Errors
    /// As [`Bitcoind::start`].
    pub fn start_for_light_clients(extra_args: &[&str]) -> Result<Self, BitcoindError> {
        let filters = ["-blockfilterindex=1", "-peerblockfilters=1"];
        Self::start_as(&[filters.as_slice(), extra_args].concat(), true)
    }

    /// Starts it as an Electrum server needs it: with indexes of all transactions and of what spends them.
    ///
    /// # Errors
    /// As [`Bitcoind::start`].
    pub fn start_for_electrum() -> Result<Self, BitcoindError> {
        Self::start_as(&["-txindex=1", "-txospenderindex=1", ELECTRUM_RPC_AUTH], false)
    }

    fn start_as(extra_args: &[&str], p2p: bool) -> Result<Self, BitcoindError> {
        let program = std::env::var_os(PROGRAM).map(PathBuf::from).filter(|path| path.is_file());
        let program = program.ok_or(BitcoindError::NotBuilt)?;
        let system = |source| BitcoindError::System { program: program.clone(), source };
        let mut outcome = Err(BitcoindError::NotBuilt);
        for _ in 0..START_ATTEMPTS {
            let mut node = Self {
                program: program.clone(),
                dir: TempDir::with_prefix("exchange-bitcoind-").map_err(system)?,
                extra_args: extra_args.iter().map(|&arg| arg.to_owned()).collect(),
                rpc_port: free_port().map_err(system)?,
                p2p_port: p2p.then(free_port).transpose().map_err(system)?,
                child: None,
            };
            outcome = node.run().map(|()| node);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Returns the address of the RPC server.
    #[must_use]
    pub fn rpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.rpc_port)
    }

    /// Returns how an Electrum server reaches it.
    #[must_use]
    pub fn electrum_url(&self) -> String {
        format!("http://{ELECTRUM_CREDENTIALS}@127.0.0.1:{}/", self.rpc_port)
    }

    /// Returns where light clients are let in, if they are.
    #[must_use]
    pub fn p2p_address(&self) -> Option<SocketAddr> {
        self.p2p_port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Returns the file with the credentials; it is there while the process runs.
    #[must_use]
    pub fn cookie_file(&self) -> PathBuf {
        self.chain_dir().join(".cookie")
    }

    /// Calls an RPC method.
    ///
    /// # Errors
    /// [`BitcoindError::Rpc`].
    pub fn call(&self, method: &str, params: &[Value]) -> Result<Value, BitcoindError> {
        self.try_call(method, params).map_err(|reason| BitcoindError::Rpc { method: method.to_owned(), reason })
    }

    /// Stops the process as its operator would, keeping chain and pool.
    ///
    /// # Errors
    /// [`BitcoindError::Rpc`] or [`BitcoindError::NotStopped`].
    pub fn stop(&mut self) -> Result<(), BitcoindError> {
        self.call("stop", &[])?;
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let exited = child.try_wait().map_err(|source| self.system(source))?;
            if exited.is_some() {
                return Ok(());
            }
            sleep(LOOK_AGAIN);
        }
        self.child = Some(child);
        Err(BitcoindError::NotStopped)
    }

    /// Starts the process again on the same port and directory.
    ///
    /// # Errors
    /// As [`Bitcoind::start`].
    pub fn run(&mut self) -> Result<(), BitcoindError> {
        let listen = match self.p2p_port {
            Some(port) => vec![format!("-bind=127.0.0.1:{port}"), "-listen=1".into(), "-listenonion=0".into()],
            None => vec!["-listen=0".into()],
        };
        let child = Command::new(&self.program)
            .args(listen)
            .args(["-regtest", "-server", "-dnsseed=0", "-printtoconsole=0", "-dbcache=16"])
            // Followers of several nodes ask at the same time.
            .args(["-rpcworkqueue=256", "-rpcthreads=4"])
            .arg(format!("-datadir={}", self.dir.path().display()))
            .arg(format!("-rpcport={}", self.rpc_port))
            .args(&self.extra_args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| self.system(source))?;
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.try_call("getblockcount", &[]).is_ok() {
                return Ok(());
            }
            let exited = self.child.as_mut().map(Child::try_wait).transpose().map_err(|source| self.system(source))?;
            if exited.flatten().is_some() {
                break;
            }
            sleep(LOOK_AGAIN);
        }
        Err(BitcoindError::NotStarted { log: last_lines(&self.chain_dir().join("debug.log")) })
    }

    fn try_call(&self, method: &str, params: &[Value]) -> Result<Value, String> {
        let cookie = std::fs::read_to_string(self.cookie_file()).map_err(|error| error.to_string())?;
        let builder = Builder::new().timeout(RPC_TIMEOUT).url(&self.rpc_url()).map_err(|error| error.to_string())?;
        let client = Client::with_transport(builder.cookie_auth(cookie.trim_end()).build());
        let params = to_raw_value(params).map_err(|error| error.to_string())?;
        client.call(method, Some(&params)).map_err(|error: RpcError| error.to_string())
    }

    fn chain_dir(&self) -> PathBuf {
        self.dir.path().join("regtest")
    }

    fn system(&self, source: io::Error) -> BitcoindError {
        BitcoindError::System { program: self.program.clone(), source }
    }
}

impl Drop for Bitcoind {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; nothing is left to do then.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn last_lines(log: &Path) -> String {
    const LINES: usize = 20;
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| format!("{}: {error}", log.display()));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
