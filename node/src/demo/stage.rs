//! How the demo is set up: nodes that know each other, coins, an arbiter and offers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::Network;
use bitcoin::constants::COINBASE_MATURITY;
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
use zeroize::Zeroizing;

use super::people::HIS_RULE;
use super::{Demo, nowhere, wait_for};
use crate::chain::ChainBackend;
use crate::config::{ChainConfig, NodeConfig};
use crate::market::{self, Viewer};
use crate::net::NetLimits;
use crate::node::Node;
use crate::private::Trusted;
use crate::trader::keys::{ARBITER_NONCE, seal_secret, trade_key};
use crate::{clock, entropy};

/// The people of the demo, in the order in which they start: the arbiter's node is the one that all others know.
const CAST: [&str; 4] = ["arbiter", "anna", "boris", "you"];

impl Demo {
    /// Starts the nodes, gives everybody coins, and lets the arbiter and the makers say what they offer.
    pub(super) async fn set_up(&mut self, directory: &Path, socket: Option<PathBuf>) -> Result<()> {
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
                market::arbiters(maker.tools.keeper.ledger(), &Trusted::default())
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
}
