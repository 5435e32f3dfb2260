//! The stage of a story: a chain, a relay without identity, an arbiter who has advertised himself, and nobody else.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use exchange_api::{ArbiterView, Status};
use tempfile::TempDir;

use crate::cli::Cli;
use crate::people::{ARBITER, PASSWORD, bring_keystore, details_of, email_of, keep_keystore};
use crate::trader::Trader;
use crate::{Launch, Place, Process, Regtest, wait_until};

/// The agreed ending of the data directories' names, so that logs lie beside them.
const DATA: &str = "data";

/// Processes that know nothing of each other but the relay's address.
#[derive(Debug)]
pub struct World {
    // Dropped in this order: processes, chain, files, and last the place for the next story.
    relay: Process,
    relay_cli: Cli,
    chain: Regtest,
    dir: TempDir,
    _place: Place,
}

impl World {
    /// Sets the stage.
    ///
    /// # Panics
    /// When something does not start.
    #[must_use]
    pub fn begin() -> Self {
        Self::on(Regtest::start)
    }

    /// Sets the stage on a chain whose pool is soon full.
    ///
    /// # Panics
    /// When something does not start.
    #[must_use]
    pub fn begin_with_a_small_pool() -> Self {
        Self::on(Regtest::start_with_a_small_pool)
    }

    /// Sets the stage for people who have no Bitcoin Core node: everybody is a light client.
    ///
    /// # Panics
    /// When something does not start.
    #[must_use]
    pub fn begin_with_light_clients() -> Self {
        Self::on(Regtest::start_for_light_clients)
    }

    /// Sets the stage for somebody who asks an Electrum server: see [`World::trader_on`].
    ///
    /// # Panics
    /// When something does not start.
    #[must_use]
    pub fn begin_for_electrum() -> Self {
        Self::on(Regtest::start_for_electrum)
    }

    fn on(chain: impl FnOnce() -> Regtest) -> Self {
        let place = Place::take();
        let dir = TempDir::with_prefix("exchange-story-").expect("a temporary directory can be made");
        let chain = chain();
        let relay_dir = data_dir(dir.path(), "relay");
        let mut args = run_args(&relay_dir, &chain.node_args());
        args.push("--relay".to_owned());
        let world = Self {
            relay: Process::start(launch("relay", dir.path(), &args)),
            relay_cli: Cli::new(&relay_dir),
            chain,
            dir,
            _place: place,
        };
        world.an_arbiter_advertises();
        world
    }

    /// Returns the chain.
    #[must_use]
    pub const fn chain(&self) -> &Regtest {
        &self.chain
    }

    /// Returns the chain, to stop and start it.
    pub const fn chain_mut(&mut self) -> &mut Regtest {
        &mut self.chain
    }

    /// Returns the relay's process.
    pub const fn relay(&mut self) -> &mut Process {
        &mut self.relay
    }

    /// Returns the command line of the relay.
    #[must_use]
    pub const fn relay_cli(&self) -> &Cli {
        &self.relay_cli
    }

    /// Returns a directory for what a story needs besides.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Lets a trader in, with an identity of his own and an empty wallet.
    #[must_use]
    pub fn trader(&self, name: &str) -> Trader {
        self.trader_on(name, &self.chain.node_args(), &[])
    }

    /// Lets a trader in whose node sees the chain as these arguments say, with more in its environment.
    #[must_use]
    pub fn trader_on(&self, name: &str, chain_args: &[String], env: &[(&str, &str)]) -> Trader {
        let data_dir = self.data_dir(name);
        bring_keystore(name, &data_dir);
        let launch = self.launch_on(name, chain_args);
        let process = Process::start(env.iter().fold(launch, |launch, (name, value)| launch.with_env(name, value)));
        let trader = Trader::new(name, process, Cli::new(&data_dir), self.details_file(name));
        trader.awaits_identity();
        keep_keystore(name, &data_dir);
        trader
    }

    /// Lets a trader in who owns fifty bitcoin.
    #[must_use]
    pub fn trader_with_coins(&self, name: &str) -> Trader {
        let trader = self.trader(name);
        self.chain.mine_coins_to(&trader.address());
        trader.awaits_balance("coins", |balance| balance.spendable.get() > 0);
        trader
    }

    /// Returns how the trader of this name is started: his email and password, and the relay as the only peer.
    #[must_use]
    pub fn launch(&self, name: &str) -> Launch {
        self.launch_on(name, &self.chain.node_args())
    }

    fn launch_on(&self, name: &str, chain_args: &[String]) -> Launch {
        let email = email_of(name);
        let relay = self.relay_address();
        let mut args = run_args(&self.data_dir(name), chain_args);
        args.extend(["--email", &email, "--peer", &relay, "--only-peers"].map(ToOwned::to_owned));
        launch(name, self.dir.path(), &args).with_env("EXCHANGE_PASSWORD", PASSWORD)
    }

    /// Returns how another relay is started that knows nobody but the first.
    #[must_use]
    pub fn relay_launch(&self, name: &str) -> Launch {
        let relay = self.relay_address();
        let mut args = run_args(&self.data_dir(name), &self.chain.node_args());
        args.extend(["--relay", "--peer", &relay, "--only-peers"].map(ToOwned::to_owned));
        launch(name, self.dir.path(), &args)
    }

    /// Waits until all have as many records as the relay, and returns how many.
    pub fn awaits_that_all_know_the_same(&self, others: &[&Cli]) -> u64 {
        wait_until("all have the relay's records", || {
            let relayed = self.relayed_records();
            let known: Vec<u64> = others.iter().map(|cli| cli.done::<Status>(&["status"]).records).collect();
            if known.iter().all(|records| *records == relayed) {
                Ok(relayed)
            } else {
                Err(format!("{known:?}, the relay {relayed}"))
            }
        })
    }

    /// Returns the data directory of the person of this name.
    #[must_use]
    pub fn data_dir(&self, name: &str) -> PathBuf {
        data_dir(self.dir.path(), name)
    }

    /// Returns the address under which the relay is reached.
    ///
    /// # Panics
    /// When the relay gave none.
    #[must_use]
    pub fn relay_address(&self) -> String {
        let address = &self.relay.ready()["listen"][0];
        address.as_str().expect("the relay says where it listens").to_owned()
    }

    /// Returns the number of records in the relay's ledger.
    #[must_use]
    pub fn relayed_records(&self) -> u64 {
        self.relay_cli.done::<Status>(&["status"]).records
    }

    /// A fourth process, gone before the trade begins: an arbiter is asked only when two disagree.
    fn an_arbiter_advertises(&self) {
        self.arbiter("arbiter", ARBITER).process().stop();
    }

    /// Lets an arbiter in who advertises himself under a title.
    #[must_use]
    pub fn arbiter(&self, name: &str, title: &str) -> Trader {
        let arbiter = self.trader(name);
        let mut args = vec!["arbiter", "advertise", "--name", title, "--fee-percent", "0.5", "--max", "1.0"];
        args.extend(["--language", "en", "--currency", "EUR", "--yes"]);
        let _: ArbiterView = arbiter.cli().done(&args);
        wait_until("the relay has the arbiter's advert", || {
            let known: Vec<ArbiterView> = self.relay_cli.done(&["arbiter", "list"]);
            known.iter().find(|known| known.name == title).map(drop).ok_or_else(|| format!("{known:?}"))
        });
        arbiter
    }

    /// Returns a file with the payment details of the person of this name.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn details_file(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.details"));
        let written = File::create(&path).and_then(|mut file| writeln!(file, "{}", details_of(name)));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for World {
    /// Whatever happened, no program may have panicked.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            return;
        }
        for entry in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
                assert!(!log.contains("panicked at"), "{}:\n{log}", path.display());
            }
        }
    }
}

fn data_dir(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.{DATA}"))
}

fn run_args(data_dir: &Path, chain_args: &[String]) -> Vec<String> {
    let data_dir = data_dir.display().to_string();
    let mut args = ["run", "--json", "--data-dir", &data_dir].map(ToOwned::to_owned).to_vec();
    args.extend(["--listen", "/ip4/127.0.0.1/tcp/0"].map(ToOwned::to_owned));
    args.extend_from_slice(chain_args);
    args
}

fn launch(name: &str, dir: &Path, args: &[String]) -> Launch {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Launch::node(name, dir, &args)
}
