//! Running a node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bitcoin::Network;
use clap::{Args, ValueEnum};
use exchange_api::IdentityState;
use exchange_ledger::identity::{Email, Identity};
use exchange_ledger::retention::Retention;
use libp2p::Multiaddr;
use serde_json::json;

use crate::chain::electrum::{MAX_SERVERS, Transport};
use crate::cli::context::{Context, Global};
use crate::cli::failure::Failure;
use crate::cli::identity::no_password;
use crate::cli::output::{Answer, print_document, say};
use crate::cli::secrets::{self, CORE_PASSWORD_VARIABLE, PASSWORD_VARIABLE, Secret};
use crate::cli::{signals, values};
use crate::config::{ChainConfig, CoreAuth, ElectrumServer, NodeConfig};
use crate::errors::ExplainResult;
use crate::keyring::Keyring;
use crate::net::NetLimits;
use crate::node::Node;

/// The port of a relay, which others have to know.
const RELAY_PORT: u16 = 9740;
/// How many peers may connect from one address unless it is said otherwise.
const FROM_ONE: u16 = NetLimits::INCOMING_PER_ADDRESS;
/// How many may connect at all.
const ALL: i64 = NetLimits::INCOMING as i64; // widening

/// Run a node until it is stopped
///
/// Once it serves, it says so: one line on stderr and, with --json, one document on stdout. SIGINT and SIGTERM stop it in
/// order; being killed loses nothing either.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node run                   regtest on an embedded chain, alone: to look around; `demo` has coins and people
  exchange-node run --relay           pass on what others trade, on port 9740
  exchange-node run --relay --retention full
                                      keep what others drop, too
  exchange-node run --email alice@example.org --password-file ./password \\
      --peer /ip4/192.0.2.1/tcp/9740/p2p/12D3KooW…
  exchange-node run --network signet  a light client of the Bitcoin network: no server, no Bitcoin Core needed
  exchange-node run --network signet --core-cookie ~/.bitcoin/signet/.cookie
  exchange-node run --network signet --electrum-server ssl://electrum.example.org:50002")]
pub struct Run {
    /// The network whose coins are traded
    #[arg(long, value_enum, default_value_t = NetworkArg::Regtest)]
    network: NetworkArg,
    /// Needed for mainnet: this software is young, and the coins are real
    #[arg(long)]
    i_understand_mainnet: bool,
    /// How the chain is seen [default: core with a --core option, electrum with --electrum-server; else kernel on regtest,
    /// cbf elsewhere]
    #[arg(long, value_enum)]
    chain: Option<ChainArg>,
    /// Where Bitcoin Core's RPC listens [default: its port of the network on 127.0.0.1]
    #[arg(long, value_name = "URL")]
    core_url: Option<String>,
    /// Bitcoin Core's cookie file
    #[arg(long, value_name = "FILE", conflicts_with = "core_user")]
    core_cookie: Option<PathBuf>,
    /// Bitcoin Core's RPC user; the password comes from --core-password-file or $EXCHANGE_CORE_PASSWORD
    #[arg(long, value_name = "USER")]
    core_user: Option<String>,
    /// A file with the password of Bitcoin Core's RPC
    #[arg(long, value_name = "FILE", requires = "core_user")]
    core_password_file: Option<PathBuf>,
    /// A Bitcoin node to be a light client of, as IP:PORT; it must serve compact filters. May be repeated [default: whoever
    /// the seeds of the Bitcoin network name]
    #[arg(long = "bitcoin-peer", value_name = "IP:PORT")]
    bitcoin_peers: Vec<SocketAddr>,
    /// An Electrum server, as ssl://HOST:PORT, or ssl://HOST:PORT#sha256=FINGERPRINT with that of its certificate, or
    /// tcp://HOST:PORT. May be repeated: when one fails, the next is asked. It learns which addresses are yours
    #[arg(long = "electrum-server", value_name = "URL")]
    electrum_servers: Vec<ElectrumServer>,
    /// Speak with Electrum servers on other machines without encryption: whoever is between reads along, and can hide
    /// from you what happens
    #[arg(long, requires = "electrum_servers")]
    electrum_plaintext: bool,
    /// Where to listen for peers; may be repeated [default: any free port, TCP and QUIC; port 9740 with --relay]
    #[arg(long, value_name = "MULTIADDR", value_parser = values::multiaddr)]
    listen: Vec<Multiaddr>,
    /// A peer to stay connected to; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR", value_parser = values::multiaddr)]
    peers: Vec<Multiaddr>,
    /// Connect to nobody but the peers named by --peer, and let nobody else in
    #[arg(long, requires = "peers")]
    only_peers: bool,
    /// How many peers may connect from one address, up to all 96: more than 8 for a relay behind a proxy on another machine,
    /// which makes all that it brings one address. Who connects from this machine is not counted
    #[arg(long, value_name = "N", default_value_t = FROM_ONE, value_parser = clap::value_parser!(u16).range(1..=ALL))]
    max_per_address: u16,
    /// The email of the identity: makes one if there is none yet
    #[arg(long, conflicts_with = "relay")]
    email: Option<String>,
    /// A file with the password of the identity [else: $EXCHANGE_PASSWORD, else asked for if there is an identity]
    #[arg(long, value_name = "FILE", conflicts_with = "relay")]
    password_file: Option<PathBuf>,
    /// How long to keep the bodies of offers and bids of which nothing came: for so many days, 60 or more, or `full` to be an
    /// archive, which has for others what they dropped
    #[arg(long, value_name = "full|DAYS", default_value_t)]
    retention: Retention,
    /// Pass on what others trade; neither needs nor unlocks an identity
    #[arg(long)]
    relay: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NetworkArg {
    Regtest,
    Signet,
    Mainnet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ChainArg {
    /// Bitcoin Core's engine in this process: regtest only, a chain on which this node is alone and nobody mines
    Kernel,
    /// A Bitcoin Core node
    Core,
    /// A light client of the Bitcoin network: headers and compact filters, no server
    Cbf,
    /// Electrum servers: light on this machine, but they learn what you watch and can hide what happens
    Electrum,
}

impl Run {
    /// Runs the node.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let config = self.config(&context.global)?;
        // Asked for before the node starts: a prompt and its log do not share a terminal well. And unlocked, too: with a
        // wrong password, or for somebody else than the directory's owner, it connects to nobody.
        let opening = self.opening(&config, context).await?;
        let stop = signals::stop_token()?;
        let node = Node::start(config, stop.clone()).await.explained()?;
        let opened = match opening {
            Some(opening) => stop.run_until_cancelled(opening.open(&node, context)).await.unwrap_or(Ok(())),
            None => Ok(()),
        };
        let served = match opened {
            Ok(()) if stop.is_cancelled() => Ok(()),
            Ok(()) => announce(&node, self.relay, context).await,
            Err(failure) => Err(failure),
        };
        if served.is_err() {
            stop.cancel();
        }
        node.wait().await;
        served.map(|()| Answer::printed())
    }

    pub(super) fn config(&self, global: &Global) -> Result<NodeConfig, Failure> {
        if self.network == NetworkArg::Mainnet && !self.i_understand_mainnet {
            return Err(Failure::usage(
                "on mainnet the coins are real, and this software is young",
                "try it on regtest or signet first; to go ahead, add --i-understand-mainnet",
            ));
        }
        Ok(NodeConfig {
            data_dir: global.data_dir()?,
            network: self.network.into(),
            chain: self.chain()?,
            listen: self.listen_addresses(),
            peers: self.peers.clone(),
            only_peers: self.only_peers,
            max_per_address: self.max_per_address,
            retention: self.retention,
            socket: global.socket.clone(),
        })
    }

    fn chain(&self) -> Result<ChainConfig, Failure> {
        let names_core = self.core_url.is_some() || self.core_cookie.is_some() || self.core_user.is_some();
        let names_peers = !self.bitcoin_peers.is_empty();
        let names_servers = !self.electrum_servers.is_empty();
        let implied = match self.network {
            _ if names_core => ChainArg::Core,
            _ if names_servers => ChainArg::Electrum,
            NetworkArg::Regtest if !names_peers => ChainArg::Kernel,
            NetworkArg::Regtest | NetworkArg::Signet | NetworkArg::Mainnet => ChainArg::Cbf,
        };
        match self.chain.unwrap_or(implied) {
            ChainArg::Kernel | ChainArg::Core | ChainArg::Cbf if names_servers => Err(Failure::usage(
                "--electrum-server is for --chain electrum",
                "leave it out, or use --chain electrum without the --core options",
            )),
            ChainArg::Electrum if names_core || names_peers => Err(Failure::usage(
                "--chain electrum asks Electrum servers only",
                "leave out the --core options and --bitcoin-peer, or use another --chain",
            )),
            ChainArg::Electrum => self.electrum(),
            ChainArg::Kernel | ChainArg::Core if names_peers => Err(Failure::usage(
                "--bitcoin-peer is for a light client",
                "leave it out, or use --chain cbf without the --core options",
            )),
            ChainArg::Cbf if names_core => Err(Failure::usage(
                "a light client needs no Bitcoin Core node",
                "leave out the --core options, or use --chain core",
            )),
            ChainArg::Cbf if self.network == NetworkArg::Regtest && !names_peers => Err(Failure::usage(
                "nobody can be asked about a regtest chain",
                "name a Bitcoin node with --bitcoin-peer 127.0.0.1:18444",
            )),
            ChainArg::Cbf => Ok(ChainConfig::Cbf { peers: self.bitcoin_peers.clone() }),
            ChainArg::Kernel if self.network != NetworkArg::Regtest => Err(Failure::usage(
                "the embedded chain is for regtest only",
                "leave out --chain for a light client, or use --chain core with a Bitcoin Core node",
            )),
            ChainArg::Kernel if names_core => Err(Failure::usage(
                "--chain kernel needs no Bitcoin Core node",
                "leave out the --core options, or use --chain core",
            )),
            ChainArg::Kernel => Ok(ChainConfig::Kernel),
            ChainArg::Core => Ok(ChainConfig::Core {
                url: self.core_url.clone().unwrap_or_else(|| self.network.core_url().to_owned()),
                auth: self.core_auth()?,
            }),
        }
    }

    fn electrum(&self) -> Result<ChainConfig, Failure> {
        let servers = self.electrum_servers.clone();
        if servers.is_empty() || servers.len() > MAX_SERVERS {
            return Err(Failure::usage(
                format!("{} Electrum servers are named", servers.len()),
                format!("name one to {MAX_SERVERS} with --electrum-server"),
            ));
        }
        let is_open = |server: &&ElectrumServer| server.transport == Transport::Plain && !server.is_local();
        if let Some(server) = servers.iter().find(is_open).filter(|_| !self.electrum_plaintext) {
            return Err(Failure::usage(
                format!(
                    "{server} is on another machine and not encrypted: whoever is between reads and changes what he likes"
                ),
                "use an ssl:// address, or add --electrum-plaintext if that is what you want",
            ));
        }
        Ok(ChainConfig::Electrum { servers })
    }

    fn core_auth(&self) -> Result<CoreAuth, Failure> {
        if let Some(cookie) = &self.core_cookie {
            return Ok(CoreAuth::Cookie(cookie.clone()));
        }
        let Some(user) = self.core_user.clone() else {
            return Err(Failure::usage(
                "it is not said how to log in to Bitcoin Core",
                "add --core-cookie with its .cookie file, or --core-user",
            ));
        };
        let password =
            secrets::given(self.core_password_file.as_deref(), CORE_PASSWORD_VARIABLE)?.ok_or_else(|| {
                Failure::usage(
                    "no password for Bitcoin Core is given",
                    format!("use --core-password-file or {CORE_PASSWORD_VARIABLE}"),
                )
            })?;
        Ok(CoreAuth::Password { user, password })
    }

    fn listen_addresses(&self) -> Vec<Multiaddr> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let port = if self.relay { RELAY_PORT } else { 0 };
        [format!("/ip4/0.0.0.0/tcp/{port}"), format!("/ip4/0.0.0.0/udp/{port}/quic-v1")]
            .iter()
            .map(|address| address.parse().expect("these are multiaddresses"))
            .collect()
    }

    /// Returns how to come by an identity; `None` to run without one, or with a locked one.
    async fn opening(&self, config: &NodeConfig, context: &Context<'_>) -> Result<Option<Opening>, Failure> {
        if self.relay {
            return Ok(None);
        }
        let email = self.email.as_deref();
        let given = secrets::given(self.password_file.as_deref(), PASSWORD_VARIABLE)?;
        let exists = Keyring::new(&config.data_dir).exists();
        match (given, exists, email) {
            (Some(password), true, email) => Opening::unlock(&config.data_dir, password, email).await.map(Some),
            (None, true, email) if context.console.is_interactive => {
                Opening::unlock(&config.data_dir, secrets::prompt("Password:")?, email).await.map(Some)
            }
            (Some(password), false, Some(email)) => Ok(Some(Opening::Create { password, email: email.to_owned() })),
            (Some(_), false, None) => Err(Failure::usage(
                format!("there is no identity in {} to unlock", config.data_dir.display()),
                "add --email to make one, or check --data-dir",
            )),
            (None, false, Some(_)) => Err(no_password()),
            (None, true | false, _) => Ok(None),
        }
    }
}

/// How a node comes by its identity.
enum Opening {
    /// The data directory has it, and its password opened it.
    Unlocked(Box<Identity>, Email),
    /// It is made.
    Create { password: Secret, email: String },
}

impl Opening {
    /// Unlocks the identity of a data directory, which must be that of an email, if one is named.
    async fn unlock(data_dir: &Path, password: Secret, wanted: Option<&str>) -> Result<Self, Failure> {
        let wanted = wanted.map(Email::parse).transpose().explained()?;
        let keyring = Keyring::new(data_dir);
        // It takes a moment.
        let unlocked = tokio::task::spawn_blocking(move || keyring.unlock(&password)).await;
        let unlocked =
            unlocked.map_err(|error| Failure::refused(format!("cannot unlock the identity: {error}"), ""))?;
        let (identity, email) = unlocked.explained()?;
        if wanted.is_some_and(|wanted| wanted.as_str() != email.as_str()) {
            return Err(Failure::usage(
                format!("the identity in {} has another email", data_dir.display()),
                "leave out --email, or choose another data directory",
            ));
        }
        Ok(Self::Unlocked(Box::new(identity), email))
    }

    async fn open(self, node: &Node, context: &mut Context<'_>) -> Result<(), Failure> {
        let parts = node.parts();
        match self {
            Self::Create { password, email } => {
                context.say("Deriving the keys. It takes some seconds on purpose.\n");
                parts.create_identity(email, password, None).await?;
            }
            Self::Unlocked(identity, email) => {
                parts.open(*identity, email).await?;
            }
        }
        Ok(())
    }
}

/// What a chain is not good for that nobody else is on.
const ALONE: &str = "\
note: the embedded chain is this node's alone, and nobody mines on it: no coins come. To try trades out, run
  exchange-tui demo, or exchange-node demo --serve; for a chain that others are on, see exchange-node run --help
";

/// Says that the node serves, where, and as whom, and if it can be used for little.
async fn announce(node: &Node, relay: bool, context: &mut Context<'_>) -> Result<(), Failure> {
    let parts = node.parts();
    let listen: Vec<String> = parts.net.listen_addresses().await.iter().map(Multiaddr::to_string).collect();
    let socket = parts.config.socket();
    let identity = match parts.identity_state() {
        IdentityState::Unlocked { author, .. } => format!("as {}", author.short()),
        IdentityState::Locked => "locked (`exchange-node identity unlock` unlocks it)".to_owned(),
        IdentityState::None | IdentityState::Deriving => "without an identity".to_owned(),
    };
    let places = if listen.is_empty() { "nowhere".to_owned() } else { listen.join(" ") };
    say(context.console, format_args!("ready {identity}, API at {}, listening on {places}\n", socket.display()));
    // A relay needs no coins.
    if matches!(parts.config.chain, ChainConfig::Kernel) && !relay {
        context.say(ALONE);
    }
    if context.global.json {
        let peer_id = parts.net.local_peer().to_string();
        let document = json!({ "ready": true, "socket": socket, "listen": listen, "peer_id": peer_id });
        print_document(&document, context.console)?;
    }
    Ok(())
}

impl NetworkArg {
    /// Returns where Bitcoin Core's RPC listens unless it is told otherwise.
    const fn core_url(self) -> &'static str {
        match self {
            Self::Regtest => "http://127.0.0.1:18443",
            Self::Signet => "http://127.0.0.1:38332",
            Self::Mainnet => "http://127.0.0.1:8332",
        }
    }
}

impl From<NetworkArg> for Network {
    fn from(network: NetworkArg) -> Self {
        match network {
            NetworkArg::Regtest => Self::Regtest,
            NetworkArg::Signet => Self::Signet,
            NetworkArg::Mainnet => Self::Bitcoin,
        }
    }
}
