//! The demo: four real nodes in one process over loopback, on the embedded chain. You have coins; two makers have
//! offers in three currencies and answer as people would; one arbiter advertises, and rules. Only time is faster: a
//! block comes every few seconds, many while a ruling waits for its delay, and people pay at once.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::constants::COINBASE_MATURITY;
use bitcoin::{Network, ScriptBuf};
use color_eyre::eyre::{OptionExt, Result, eyre};
use exchange_api::{BookFilter, PostOffer};
use exchange_ledger::body::{ArbiterAdvert, Body, Side, Terms};
use exchange_ledger::identity::Passphrase;
use exchange_ledger::money::{Price, Sats};
use exchange_ledger::retention::Retention;
use exchange_ledger::seal;
use exchange_ledger::text::Text;
use exchange_ledger::wire::{CurveKey, Destination, List};
use libp2p::Multiaddr;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::chain::ChainBackend;
use crate::chain::kernel::{KernelChain, KernelConfig};
use crate::config::{ChainConfig, NodeConfig};
use crate::market::{self, Viewer};
use crate::net::NetLimits;
use crate::node::{Node, Session, make_data_dir};
use crate::trader::keys::{ARBITER_NONCE, seal_secret, trade_key};
use crate::{clock, entropy};

mod headless;
mod people;

use people::{HIS_RULE, People, breathe};

/// How often it is looked whether whoever started the demo is still there.
const ORPHAN_CHECK: Duration = Duration::from_secs(1);
/// How often something is looked at.
const GLANCE: Duration = Duration::from_millis(200);
/// How long what is left of a demo may take to end, after its nodes have: moments.
const ENDING: Duration = Duration::from_secs(10);
/// How long anything of the demo may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The people of the demo, in the order in which they start: the arbiter's node is the one that all others know.
const CAST: [&str; 4] = ["arbiter", "anna", "boris", "you"];

/// A running demo.
pub struct Demo {
    chain: Arc<KernelChain>,
    nodes: Vec<Node>,
    people: Vec<Arc<Session>>,
    stop: CancellationToken,
}

/// Runs one whole trade without anybody watching and returns what became of it.
///
/// # Errors
/// When the trade does not end with the buyer's coins confirmed on the chain.
pub async fn run_headless(stop: CancellationToken) -> Result<serde_json::Value> {
    let directory = tempfile::Builder::new().prefix("exchange-demo-").tempdir()?;
    let outcome = async {
        let demo = Demo::start(directory.path(), None, stop.clone()).await?;
        let result = demo.trade().await;
        demo.stop().await;
        result
    };
    let result = outcome.await;
    let removed = remove(&directory).await;
    let value = result?;
    removed?;
    Ok(value)
}

/// Runs the demo for somebody to take part in, with your node's API at `socket`, until `stop`. What its people keep is in
/// `data_dir` and goes with the chain on which it rests, so that the same directory serves the next demo.
///
/// # Errors
/// When it cannot be set up.
pub async fn serve(data_dir: &Path, socket: PathBuf, stop: CancellationToken) -> Result<()> {
    make_data_dir(data_dir)?;
    let directory = tempfile::Builder::new().prefix("demo-").tempdir_in(data_dir)?;
    let served = run(directory.path(), socket, stop).await;
    let removed = remove(&directory).await;
    served?;
    removed
}

async fn run(directory: &Path, socket: PathBuf, stop: CancellationToken) -> Result<()> {
    let orphaned = tokio::spawn(stop_when_orphaned(stop.clone()));
    let demo = Demo::start(directory, Some(socket), stop.clone()).await?;
    let you = demo.you().tools.identity.author();
    let people = People { arbiter: Arc::clone(&demo.people[0]), makers: demo.makers(), you };
    let alive = tokio::spawn(breathe(Arc::clone(&demo.chain), people, stop.clone()));
    stop.cancelled().await;
    alive.await?;
    orphaned.await?;
    demo.stop().await;
    Ok(())
}

/// Stops the demo when whoever started it is gone, however that came: a terminal that was closed leaves nothing behind.
async fn stop_when_orphaned(stop: CancellationToken) {
    let parent = rustix::process::getppid();
    while !stop.is_cancelled() && rustix::process::getppid() == parent {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(ORPHAN_CHECK) => {}
        }
    }
    stop.cancel();
}

impl Demo {
    async fn start(directory: &Path, socket: Option<PathBuf>, stop: CancellationToken) -> Result<Self> {
        let config = KernelConfig { scratch: Some(directory.to_owned()), ..KernelConfig::default() };
        let chain = Arc::new(KernelChain::open(config)?);
        let mut demo = Self { chain, nodes: Vec::new(), people: Vec::new(), stop: stop.clone() };
        let ready = tokio::select! {
            ready = demo.set_up(directory, socket) => ready,
            () = stop.cancelled() => Err(eyre!("stopped before the demo was ready")),
        };
        match ready {
            Ok(()) => Ok(demo),
            Err(error) => {
                demo.stop().await;
                Err(error)
            }
        }
    }

    async fn set_up(&mut self, directory: &Path, socket: Option<PathBuf>) -> Result<()> {
        let mut hub: Vec<Multiaddr> = Vec::new();
        for name in CAST {
            tracing::info!("starting the node of {name}");
            let you = name == "you";
            let config = NodeConfig {
                data_dir: directory.join(name),
                network: Network::Regtest,
                chain: ChainConfig::Kernel,
                listen: vec!["/ip4/127.0.0.1/tcp/0".parse()?],
                peers: hub.clone(),
                only_peers: false,
                max_per_address: NetLimits::INCOMING_PER_ADDRESS,
                retention: Retention::default(),
                socket: socket.clone().filter(|_| you),
            };
            let chain = Arc::clone(&self.chain) as Arc<dyn ChainBackend>;
            let node = Node::start_demo(config, chain, self.stop.clone()).await?;
            let parts = Arc::clone(node.parts());
            // Kept at once: whatever fails from here on, it is stopped in order.
            self.nodes.push(node);
            if hub.is_empty() {
                hub = wait_for("the arbiter's address", async || {
                    parts.net.listen_addresses().await.into_iter().next().map(|address| vec![address])
                })
                .await?;
            }
            let email = format!("{name}@demo.example");
            let password = Zeroizing::new(Passphrase::from_entropy(&entropy::bytes32()).as_str().to_owned());
            self.people.push(parts.create_identity(email, password, None).await?);
        }
        self.give_coins().await?;
        self.advertise_arbiter().await?;
        self.post_offers().await
    }

    fn you(&self) -> &Arc<Session> {
        &self.people[3]
    }

    fn makers(&self) -> Vec<Arc<Session>> {
        self.people[1..3].to_vec()
    }

    /// Mines coins to everybody, and matures them.
    async fn give_coins(&self) -> Result<()> {
        for person in &self.people {
            let wallet = &person.tools.wallet;
            let script = wait_for("a wallet", async || wallet.new_destination().await.ok()).await?;
            self.chain.mine(2, script).await?;
        }
        self.chain.mine(COINBASE_MATURITY, nowhere()).await?;
        for person in &self.people {
            wait_for("coins", async || {
                let balance = person.tools.wallet.balance().await.ok()?;
                (balance.spendable > bitcoin::Amount::ZERO).then_some(())
            })
            .await?;
        }
        Ok(())
    }

    async fn advertise_arbiter(&self) -> Result<()> {
        let arbiter = &self.people[0].tools;
        let destination = arbiter.wallet.new_destination().await.map_err(|error| eyre!("{error}"))?;
        let advert = ArbiterAdvert {
            name: Text::new("Court of the demo")?,
            key: CurveKey(trade_key(&arbiter.identity, &ARBITER_NONCE).x_only_public_key().0),
            seal_key: seal::public_key(&seal_secret(&arbiter.identity, &ARBITER_NONCE)),
            fee_ppm: 5_000,
            destination: Destination::new(destination).ok_or_eyre("a standard script")?,
            max_amount: Sats::new(100_000_000).ok_or_eyre("one bitcoin")?,
            languages: List::new(vec![Text::new("en")?]).ok_or_eyre("one language")?,
            currencies: List::new(Vec::new()).ok_or_eyre("no currencies")?,
            terms: Terms::new(HIS_RULE)?,
        };
        arbiter.keeper.publish(Arc::clone(&arbiter.identity), Body::ArbiterAdvert(advert)).await?;
        for person in &self.people[1..] {
            // The people of the demo know their arbiter; in the real world one says so oneself.
            person.tools.private.trust_arbiter(&arbiter.identity.author(), true, clock::unix_now())?;
        }
        for maker in self.makers() {
            wait_for("the arbiter's advert", async || {
                market::arbiters(maker.tools.keeper.ledger(), &BTreeSet::new())
                    .ok()
                    .filter(|arbiters| !arbiters.is_empty())
            })
            .await?;
        }
        Ok(())
    }

    async fn post_offers(&self) -> Result<()> {
        let offers = [
            (
                1,
                Side::Sell,
                "EUR",
                "61750.00",
                "0.004",
                "0.009",
                "SEPA instant",
                "Anna Larsen, DE12 3456 7890 1234 5678 90",
            ),
            (1, Side::Sell, "USD", "67120.00", "0.005", "0.02", "Zelle", "anna@demo.example"),
            (1, Side::Buy, "EUR", "60980.00", "0.004", "0.009", "SEPA instant", "from Anna Larsen"),
            (2, Side::Sell, "GBP", "52890.00", "0.004", "0.008", "Faster Payments", "Boris Hill, 12-34-56 12345678"),
            (2, Side::Buy, "USD", "66350.00", "0.004", "0.009", "Wise", "from Boris Hill"),
            (2, Side::Sell, "EUR", "61990.00", "0.005", "0.05", "Revolut", "@boris"),
        ];
        for (who, side, currency, price, min, max, method, details) in offers {
            let currency: exchange_ledger::money::Currency = currency.parse()?;
            let request = PostOffer {
                request_id: String::new(),
                dry_run: false,
                side,
                currency,
                price: Price::new(currency.parse_minor(price)?).ok_or_eyre("a price")?,
                min: min.parse()?,
                max: max.parse()?,
                methods: vec![method.into()],
                terms: "Please pay within the hour and put nothing into the reference.".into(),
                arbiters: Vec::new(),
                automatic: true,
                details: details.into(),
                lifetime_s: None,
                seller_bond_ppm: 0,
                buyer_bond_ppm: 0,
            };
            self.people[who].trader.post(request).await?;
        }
        let viewer = Viewer::of(&self.you().tools)?;
        wait_for("the offers", async || {
            let page = market::book(&viewer, &BookFilter::default()).ok()?;
            (page.items.len() == offers.len()).then_some(())
        })
        .await
    }

    async fn stop(self) {
        self.stop.cancel();
        let Self { nodes, people, chain, .. } = self;
        drop(people);
        for node in nodes {
            node.wait().await;
        }
        // A node that was just being started is dropped as it is, and ends by itself. Then the chain is closed here, before its
        // directory goes.
        let ended = async {
            while Arc::strong_count(&chain) > 1 || chain.is_in_use() {
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(ENDING, ended).await.ok();
    }
}

/// Waits until something is there.
async fn wait_for<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> Result<T> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        if let Some(found) = look().await {
            return Ok(found);
        }
        tokio::time::sleep(GLANCE).await;
    }
    Err(eyre!("waited in vain for {what}"))
}

/// A script that nobody can spend, for blocks whose reward nobody needs.
fn nowhere() -> ScriptBuf {
    ScriptBuf::new_op_return([])
}

/// Removes a directory of the demo. It is tried again while something still writes there: a node that was just being
/// started when the demo was stopped.
async fn remove(directory: &TempDir) -> Result<()> {
    let deadline = Instant::now() + ENDING;
    loop {
        match std::fs::remove_dir_all(directory.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound && Instant::now() >= deadline => return Err(error.into()),
            Err(error) if error.kind() != ErrorKind::NotFound => tokio::time::sleep(GLANCE).await,
            Ok(()) | Err(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_demo_that_is_stopped_early_leaves_nothing_behind_and_its_directory_serves_again() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("demo");
        // Each may have begun nothing or a node: which is chance.
        for _ in 0..4 {
            let stop = CancellationToken::new();
            stop.cancel();
            let _stopped = serve(&data_dir, data_dir.join("api.sock"), stop).await.unwrap_err();
            let left: Vec<_> = std::fs::read_dir(&data_dir).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(left, Vec::<PathBuf>::new());
        }
    }
}
