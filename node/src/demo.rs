//! The demo: four real nodes in one process over loopback, on the embedded chain. You have coins; two makers have
//! offers in three currencies and answer as people would; one arbiter advertises, and rules. Only time is faster: a
//! block comes every few seconds, many while a ruling waits for its delay, and people pay at once.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::constants::COINBASE_MATURITY;
use bitcoin::{Network, ScriptBuf};
use color_eyre::eyre::{OptionExt, Result, bail, eyre};
use exchange_api::{BookFilter, Person, PostOffer, RuleTrade, Scratch, SendMessage, TakeOffer, TradeView, hold_scratch};
use exchange_ledger::body::{ArbiterAdvert, Body, Side, Terms};
use exchange_ledger::identity::Passphrase;
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::money::{Price, Sats};
use exchange_ledger::retention::Retention;
use exchange_ledger::seal;
use exchange_ledger::storage::Storage;
use exchange_ledger::text::Text;
use exchange_ledger::trade::{Action, Phase, Verdict};
use exchange_ledger::wire::{CurveKey, Destination, List};
use libp2p::Multiaddr;
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

/// How often a block comes.
const BLOCK_EVERY: Duration = Duration::from_secs(3);
/// How long the people of the demo take to do what is their turn.
const THINKING: Duration = Duration::from_secs(2);
/// How long the people of the demo think about an offer of yours before one of them takes it.
const PONDERING: Duration = Duration::from_secs(8);
/// How long the arbiter of the demo hears a dispute before he rules; [`HIS_RULE`] says it.
const HEARING: Duration = Duration::from_secs(15);
/// How he rules, in his advert and to both parties of a dispute.
const HIS_RULE: &str = "In this demo I rule after 15 seconds: for the buyer if he says that he has paid, else for the \
                        seller. A real arbiter asks both of you for proof.";
/// How many blocks come at once while a ruling waits for its delay: a day of them takes half a minute.
const HASTE: u32 = 12;
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
    let directory = Scratch::new()?;
    let outcome = async {
        let demo = Demo::start(directory.path(), None, stop.clone()).await?;
        let result = demo.trade().await;
        demo.stop().await;
        result
    };
    let result = outcome.await;
    let removed = remove(directory.path()).await;
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
    // It may be that of a terminal client, and outlive it for the moment that this takes to end.
    let _held = hold_scratch(data_dir);
    let directory = Scratch::new_in(data_dir, "demo-")?;
    let served = run(directory.path(), socket, stop).await;
    let removed = remove(directory.path()).await;
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

    /// Buys from the cheapest euro offer, to the end.
    async fn trade(&self) -> Result<serde_json::Value> {
        let you = self.you();
        let filter = BookFilter { side: Some(Side::Sell), currency: Some("EUR".parse()?), ..BookFilter::default() };
        let book = market::book(&Viewer::of(&you.tools)?, &filter)?;
        let offer = book.items.first().ok_or_eyre("the book is empty")?;
        tracing::info!(offer = %offer.id, amount = %offer.max, "you take the best offer");
        let take = TakeOffer {
            request_id: String::new(),
            dry_run: false,
            offer: offer.id,
            amount: offer.max,
            method: None,
            arbiter: None,
            second_arbiter: None,
            details: "from you".into(),
        };
        let trade = you.trader.take(take).await?.id;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let makers = self.makers();
        let mut state = Phase::Bid;
        while tokio::time::Instant::now() < deadline && !self.stop.is_cancelled() {
            for maker in &makers {
                act_as_maker(maker).await;
            }
            let view = you.trader.show(trade).await?;
            if view.state != state {
                state = view.state;
                tracing::info!(?state, "the trade");
            }
            if view.actions.contains(&Action::MarkPaid) && view.their_details.is_some() {
                tracing::info!("you pay");
                you.trader.act(trade, Action::MarkPaid, false).await?;
            }
            if view.state.is_final() {
                return self.report(&view).await;
            }
            if view.funding.is_some() {
                self.chain.mine(1, nowhere()).await?;
            }
            tokio::time::sleep(GLANCE).await;
        }
        bail!("the trade did not end in time; it stands at {state:?}")
    }

    async fn report(&self, view: &TradeView) -> Result<serde_json::Value> {
        let (Some(funding), Some(spend)) = (&view.funding, &view.spend) else {
            bail!("the trade ended as {:?} without coins having moved", view.state);
        };
        let wallet = &self.you().tools.wallet;
        let arrived = wait_for("the coins in the buyer's wallet", async || {
            let history = wallet.history(None, 50).await.ok()?;
            let mut entries = history.entries.into_iter();
            entries.find(|entry| entry.txid.to_string() == spend.txid && entry.height.is_some())
        })
        .await?;
        if view.state != Phase::Closed {
            bail!("the trade ended as {:?}", view.state);
        }
        // The audit of the arbiter's node, which took no part, must agree.
        let auditor = &self.people[0].tools;
        wait_for("the arbiter's node to hear of the end", async || {
            let records = auditor.keeper.ledger().trade(view.id).ok()?;
            (records.facts.buyer_closed.is_some() && records.facts.seller_closed.is_some()).then_some(())
        })
        .await?;
        let request = exchange_api::AuditRequest { chain: true, ..Default::default() };
        let (ledger, chain) = (auditor.keeper.ledger(), auditor.chain.as_ref());
        let audit = crate::audit::run(ledger, chain, &request, BTreeSet::new()).await?;
        if !audit.ok {
            bail!("the audit found violations: {:?}", audit.violations);
        }
        Ok(serde_json::json!({
            "trade": view.id,
            "state": view.state,
            "buyer": view.buyer,
            "seller": view.seller,
            "amount_sat": view.amount,
            "cost": view.cost,
            "currency": view.currency,
            "escrow_address": view.escrow_address,
            "escrow_txid": funding.txid,
            "payout_txid": spend.txid,
            "received_sat": arrived.net.to_sat(),
            "confirmations": spend.confirmations,
            "records": auditor.keeper.ledger().storage().len()?,
            "audited": audit.ok,
        }))
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

/// Who answers you in the demo.
struct People {
    arbiter: Arc<Session>,
    makers: Vec<Arc<Session>>,
    you: AuthorId,
}

/// Keeps the demo alive: blocks come, the makers do what is their turn and take what you offer, and the arbiter rules.
async fn breathe(chain: Arc<KernelChain>, answering: People, stop: CancellationToken) {
    let People { arbiter, makers, you } = answering;
    let (mut seen, mut heard) = (HashMap::new(), HashMap::new());
    let mut blocks = tokio::time::interval(BLOCK_EVERY);
    let mut people = tokio::time::interval(THINKING);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = blocks.tick() => if let Err(error) = chain.mine(1, nowhere()).await {
                tracing::error!(%error, "no block could be mined");
            },
            _ = people.tick() => {
                for maker in &makers {
                    act_as_maker(maker).await;
                }
                if let Err(error) = take_offers_of(you, &makers, &mut seen).await {
                    tracing::warn!(%error, "nobody could take your offer");
                }
                if let Err(error) = act_as_arbiter(&arbiter, &chain, &mut heard).await {
                    tracing::warn!(%error, "the arbiter of the demo could not act");
                }
            }
        }
    }
}

/// Does what is a maker's turn: funds, pays and releases.
async fn act_as_maker(maker: &Session) {
    let Ok(trades) = maker.trader.list().await else { return };
    for trade in trades {
        let turn = [Action::Fund, Action::MarkPaid, Action::Release].into_iter().find(|action| {
            let is_turn = trade.actions.contains(action);
            // Nobody releases before he was paid, nor pays before he knows where to.
            is_turn
                && (*action != Action::Release || trade.state == Phase::Paid)
                && (*action != Action::MarkPaid || trade.their_details.is_some())
        });
        if let Some(action) = turn
            && let Err(error) = maker.trader.act(trade.id, action, false).await
        {
            tracing::warn!(%error, ?action, "a maker of the demo could not act");
        }
    }
}

/// Rules in each dispute after a while, and lets blocks come until what he ruled can move the coins.
async fn act_as_arbiter(arbiter: &Session, chain: &KernelChain, heard: &mut HashMap<TradeId, Instant>) -> Result<()> {
    for case in arbiter.trader.list().await? {
        if case.actions.contains(&Action::Rule) {
            hear(arbiter, case.id, heard).await?;
        }
        let opens = case.dispute.filter(|_| case.state == Phase::Ruled).map_or(0, |dispute| dispute.ruling_from);
        let blocks = opens.saturating_sub(chain.tip().await?.height).min(HASTE);
        if blocks > 0 {
            chain.mine(blocks, nowhere()).await?;
        }
    }
    Ok(())
}

/// Tells both parties of a dispute by what the arbiter rules, once, and when he has heard enough, rules.
async fn hear(arbiter: &Session, case: TradeId, heard: &mut HashMap<TradeId, Instant>) -> Result<()> {
    let since = match heard.entry(case) {
        Entry::Occupied(known) => *known.get(),
        Entry::Vacant(new) => {
            let since = *new.insert(Instant::now());
            for party in [Person::Buyer, Person::Seller] {
                let (request_id, to, text) = (String::new(), Some(party), HIS_RULE.to_owned());
                arbiter.trader.say(SendMessage { request_id, trade: case, to, text }).await?;
            }
            since
        }
    };
    if since.elapsed() >= HEARING {
        let facts = arbiter.tools.keeper.ledger().trade(case).map_err(|error| eyre!("{error}"))?.facts;
        let verdict = if facts.payment_sent { Verdict::Buyer } else { Verdict::Seller };
        let request = RuleTrade { request_id: String::new(), dry_run: false, trade: case, verdict };
        arbiter.trader.rule(request).await?;
    }
    Ok(())
}

/// Lets one of the makers take each offer of yours, after a while, for its smallest amount.
async fn take_offers_of(you: AuthorId, makers: &[Arc<Session>], seen: &mut HashMap<RecordId, Instant>) -> Result<()> {
    for (at, maker) in makers.iter().enumerate() {
        let page = market::book(&Viewer::of(&maker.tools)?, &BookFilter::default())?;
        for offer in page.items.iter().filter(|offer| offer.maker == you) {
            let since = *seen.entry(offer.id).or_insert_with(Instant::now);
            // Each offer is one maker's.
            let is_his = usize::from(offer.id.0[0]) % makers.len() == at;
            let has_bid = maker.trader.list().await?.iter().any(|trade| trade.offer == offer.id);
            if is_his && !has_bid && since.elapsed() >= PONDERING {
                let take = TakeOffer {
                    request_id: String::new(),
                    dry_run: false,
                    offer: offer.id,
                    amount: offer.min,
                    method: None,
                    arbiter: None,
                    second_arbiter: None,
                    details: "a neighbour in the demo, account 12-34-56".into(),
                };
                maker.trader.take(take).await?;
            }
        }
    }
    Ok(())
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
async fn remove(directory: &Path) -> Result<()> {
    let deadline = Instant::now() + ENDING;
    loop {
        match std::fs::remove_dir_all(directory) {
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
        // What a demo leaves that is killed.
        let killed = data_dir.join("demo-killed");
        std::fs::create_dir_all(killed.join("anna")).unwrap();
        std::fs::File::create(killed.join("demo.lock")).unwrap();
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
