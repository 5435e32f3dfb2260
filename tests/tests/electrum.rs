//! The Electrum backend against a real Electrum server before a real bitcoind, and against one that lies.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use async_trait::async_trait;
use bitcoin::{Network, OutPoint, ScriptBuf, Transaction};
use exchange_node::chain::conformance::Harness;
use exchange_node::chain::electrum::{ElectrumChain, ElectrumConfig};
use exchange_node::chain::{BlockRef, ChainBackend, ChainError, ChainEvent, Follower, OutpointStatus};
use exchange_tests::bitcoind::Bitcoind;
use exchange_tests::electrumx::{Certificate, ElectrumX};
use mining::{Mining, NOBODY, PATIENCE};
use proxy::{LONG, Lie, Proxy};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

mod mining;
mod proxy;

/// What anyone can satisfy, and the tests watch.
fn anyone() -> ScriptBuf {
    ScriptBuf::from_bytes(vec![0x51]).to_p2wsh()
}

async fn open(urls: &[&str], network: Network) -> Result<ElectrumChain, ChainError> {
    let servers = urls.iter().map(|url| url.parse().unwrap()).collect();
    ElectrumChain::open(ElectrumConfig { network, servers }).await
}

async fn mining(url: &str, node: &Bitcoind) -> Mining<ElectrumChain> {
    Mining::new(open(&[url], Network::Regtest).await.unwrap(), node, true).await.unwrap()
}

/// A bitcoind, an ElectrumX before it, and a chain that asks it.
struct Electrum {
    node: Bitcoind,
    server: ElectrumX,
    chain: Mining<ElectrumChain>,
}

fn servers() -> (Bitcoind, ElectrumX) {
    let node = Bitcoind::start_for_electrum().unwrap_or_else(|error| panic!("{error}"));
    let server = ElectrumX::start(&node).unwrap_or_else(|error| panic!("{error}"));
    (node, server)
}

impl Electrum {
    async fn start() -> Self {
        let (node, server) = servers();
        let chain = mining(&server.url(), &node).await;
        Self { node, server, chain }
    }
}

#[async_trait]
impl Harness for Electrum {
    fn backend(&self) -> &dyn ChainBackend {
        &self.chain
    }

    async fn open_for(&self, network: Network) -> Result<(), ChainError> {
        open(&[&self.server.url()], network).await.map(drop)
    }

    async fn reorg(&self, depth: u32, new_blocks: u32) {
        self.chain.reorg(&self.node, depth, new_blocks).await;
    }

    async fn mine_exactly(&self, txs: Vec<Transaction>) {
        self.chain.mine_exactly(&self.node, &txs).await;
    }

    async fn restart(&mut self) {
        self.server.stop().unwrap();
        self.node.stop().unwrap();
        self.node.run().unwrap();
        self.server.run().unwrap();
        self.chain = mining(&self.server.url(), &self.node).await;
    }
}

exchange_node::conformance_suite!(Electrum::start);

/// The server goes away and comes back; nothing that happened meanwhile is missed, and meanwhile nothing is claimed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_outlives_its_server() {
    let mut electrum = Electrum::start().await;
    let mut follower = electrum.chain.follow(vec![], vec![anyone()]).await.unwrap();
    let before = electrum.chain.tip().await.unwrap();
    assert!(matches!(follower.events.recv().await, Some(ChainEvent::Synced { tip }) if tip == before));
    electrum.server.stop().unwrap();
    let gone = async {
        while electrum.chain.tip().await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    assert!(matches!(electrum.chain.tip().await, Err(ChainError::Unreachable { .. })));
    electrum
        .node
        .call("generatetodescriptor", &[json!(2), json!(format!("raw({})", anyone().to_hex_string()))])
        .unwrap();
    electrum.server.run().unwrap();
    let events = up_to(&mut follower, before.height + 2).await;
    assert_eq!(paid_in(&events), [before.height + 1, before.height + 2]);
    assert!(!events.iter().any(|event| matches!(event, ChainEvent::Disconnected { .. })));
}

/// When a server is gone, the next one is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_steps_in() {
    let (node, mut first) = servers();
    let second = ElectrumX::start(&node).unwrap();
    let chain = open(&[&first.url(), &second.url()], Network::Regtest).await.unwrap();
    let mut follower = chain.follow(vec![], vec![anyone()]).await.unwrap();
    first.stop().unwrap();
    let height = chain.headers(0, 100).await.unwrap().len();
    node.call("generatetodescriptor", &[json!(1), json!(format!("raw({})", anyone().to_hex_string()))]).unwrap();
    let height = u32::try_from(height).unwrap();
    let events = up_to(&mut follower, height).await;
    assert_eq!(paid_in(&events), [height]);
}

/// Whatever a server makes up, it is found out, said, and nothing of it is told as confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_cannot_invent() {
    let (node, server) = servers();
    node.call("generatetodescriptor", &[json!(3), json!(format!("raw({})", anyone().to_hex_string()))]).unwrap();
    for (lie, words) in [
        (Lie::HeaderWithoutWork, "does not have the work"),
        (Lie::HeaderOfAnotherDifficulty, "another difficulty"),
        (Lie::ProofOfAnotherPlace, "does not hold"),
        (Lie::HeightAboveTheChain, "above the chain"),
        (Lie::OtherTransaction, "is another one"),
        (Lie::EndlessLine, "max line length"),
        (Lie::LongNotice, "tells what is too long"),
        (Lie::NoJson, "expected"),
    ] {
        let proxy = Proxy::before(server.port(), lie).await;
        let error = match open(&[&proxy.url()], Network::Regtest).await {
            Err(error) => error,
            Ok(chain) => {
                // It lies about a transaction only.
                let genesis = BlockRef { height: 0, hash: chain.block_at(0).await.unwrap().unwrap().block_hash() };
                let mut follower = chain.follow(vec![genesis], vec![anyone()]).await.unwrap();
                let error = async {
                    loop {
                        match chain.tip().await {
                            Err(error) => break error,
                            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                        }
                    }
                };
                let error = timeout(PATIENCE, error).await.unwrap();
                while let Ok(event) = follower.events.try_recv() {
                    assert!(
                        !matches!(&event, ChainEvent::Connected { txs, .. } if !txs.is_empty()),
                        "{lie:?}: {event:?}"
                    );
                }
                error
            }
        };
        assert!(matches!(error, ChainError::Invalid { .. } | ChainError::Unreachable { .. }), "{lie:?}: {error}");
        assert!(error.to_string().contains(words), "{lie:?}: {error}");
    }
}

/// What a server hides is told once it is shown, late, and as what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_hides_is_found_later() {
    let (node, server) = servers();
    let proxy = Proxy::before(server.port(), Lie::EmptyHistory).await;
    let chain = open(&[&proxy.url()], Network::Regtest).await.unwrap();
    let mut follower = chain.follow(vec![], vec![anyone()]).await.unwrap();
    let height = chain.tip().await.unwrap().height;
    node.call("generatetodescriptor", &[json!(1), json!(format!("raw({})", anyone().to_hex_string()))]).unwrap();
    let events = up_to(&mut follower, height + 1).await;
    assert_eq!(paid_in(&events), [0_u32; 0], "it is hidden");
    proxy.be_honest();
    node.call("generatetodescriptor", &[json!(1), json!(NOBODY)]).unwrap();
    let events = up_to(&mut follower, height + 2).await;
    let found = events.iter().filter_map(|event| match event {
        ChainEvent::Found { block, tx } => Some((block.height, tx.output[0].script_pubkey.clone())),
        _ => None,
    });
    assert_eq!(found.collect::<Vec<_>>(), [(height + 1, anyone())]);
}

/// Anybody can pay to a script until a server refuses to tell of it. Nothing else waits for that, and nobody takes it for a script
/// to which nothing happens; another server is asked for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_about_one_script_only() {
    let node = Bitcoind::start_for_electrum().unwrap_or_else(|error| panic!("{error}"));
    let other = ScriptBuf::from_bytes(vec![0x52]).to_p2wsh();
    let pay = |count: usize, script: &ScriptBuf| {
        node.call("generatetodescriptor", &[json!(count), json!(format!("raw({})", script.to_hex_string()))]).unwrap();
    };
    pay(LONG + 1, &anyone());
    pay(1, &other);
    // It listens once it knows these blocks.
    let server = ElectrumX::start(&node).unwrap_or_else(|error| panic!("{error}"));
    let long = u32::try_from(LONG + 1).unwrap();
    let is_withheld = |event: &ChainEvent| match event {
        ChainEvent::Withheld { script, reason } => *script == anyone() && reason.contains("history too large"),
        _ => false,
    };

    let proxy = Proxy::before(server.port(), Lie::RefusesLongHistories).await;
    let chain = open(&[&proxy.url()], Network::Regtest).await.unwrap();
    let genesis = BlockRef { height: 0, hash: chain.block_at(0).await.unwrap().unwrap().block_hash() };
    let watched = vec![anyone(), other.clone()];
    let mut follower = chain.follow(vec![genesis], watched.clone()).await.unwrap();
    let events = up_to(&mut follower, long + 1).await;
    assert!(is_withheld(&events[0]), "{events:?}");
    assert_eq!(paid_in(&events), [long + 1]);
    let look = |script: &ScriptBuf| chain.outpoint(OutPoint::null(), script.clone(), 0);
    assert!(matches!(look(&anyone()).await, Err(ChainError::Withheld { .. })));
    assert_eq!(look(&other).await.unwrap(), OutpointStatus::Unknown);
    pay(1, &other);
    let events = up_to(&mut follower, long + 2).await;
    assert_eq!(paid_in(&events), [long + 2], "the chain goes on");
    assert!(!events.iter().any(|event| matches!(event, ChainEvent::Shown { .. })), "{events:?}");

    proxy.be_honest();
    node.call("generatetodescriptor", &[json!(1), json!(NOBODY)]).unwrap();
    let mut events = up_to(&mut follower, long + 3).await;
    // The block comes first; then the past is searched.
    events.extend(up_to(&mut follower, long + 3).await);
    let found = events.iter().filter_map(|event| match event {
        ChainEvent::Found { block, .. } => Some(block.height),
        _ => None,
    });
    assert_eq!(found.collect::<BTreeSet<u32>>(), (1..=long).collect());
    assert!(events.iter().any(|event| matches!(event, ChainEvent::Shown { script } if *script == anyone())));

    let proxy = Proxy::before(server.port(), Lie::RefusesLongHistories).await;
    let chain = open(&[&proxy.url(), &server.url()], Network::Regtest).await.unwrap();
    let mut follower = chain.follow(vec![genesis], watched).await.unwrap();
    let events = up_to(&mut follower, long + 3).await;
    assert!(!events.iter().any(is_withheld), "{events:?}");
    assert_eq!(paid_in(&events), (1..=long + 2).collect::<Vec<_>>());
    assert_eq!(chain.outpoint(OutPoint::null(), anyone(), 0).await.unwrap(), OutpointStatus::Unknown);
}

/// A server that takes questions and never answers is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_answers_is_given_up() {
    let (_node, server) = servers();
    let proxy = Proxy::before(server.port(), Lie::Silence).await;
    let Err(error) = open(&[&proxy.url()], Network::Regtest).await else { panic!("it said nothing") };
    assert!(matches!(error, ChainError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("server.version is not answered"), "{error}");
    // With another one beside it nobody waits for ever.
    open(&[&proxy.url(), &server.url()], Network::Regtest).await.unwrap();
}

/// A self-signed certificate is believed by its fingerprint and not otherwise; the error tells the fingerprint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_vouched_for_or_named() {
    let node = Bitcoind::start_for_electrum().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["electrum.example.org".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let fingerprint = hex::encode(Sha256::digest(certificate.der()));
    let pem = Certificate { certificate: certificate.pem(), key: key.serialize_pem() };
    let server = ElectrumX::start_with_tls(&node, &pem).unwrap();

    let Err(error) = open(&[&server.url()], Network::Regtest).await else { panic!("nobody vouches for it") };
    assert!(error.to_string().contains(&format!("#sha256={fingerprint}")), "{error}");
    let other = format!("{}#sha256={}", server.url(), "00".repeat(32));
    let Err(error) = open(&[&other], Network::Regtest).await else { panic!("it is another one") };
    assert!(error.to_string().contains("not the one named"), "{error}");
    let named = format!("{}#sha256={fingerprint}", server.url());
    let chain = open(&[&named], Network::Regtest).await.unwrap();
    assert_eq!(chain.tip().await.unwrap().height, 0);
}

/// Reads what a follower tells up to the end of what it tells of a height.
async fn up_to(follower: &mut Follower, height: u32) -> Vec<ChainEvent> {
    let mut events = Vec::new();
    while !matches!(events.last(), Some(ChainEvent::Synced { tip }) if tip.height == height) {
        events.push(timeout(PATIENCE, follower.events.recv()).await.unwrap().unwrap());
    }
    events
}

/// Returns the heights of the blocks that are told with a transaction.
fn paid_in(events: &[ChainEvent]) -> Vec<u32> {
    let paid = events.iter().filter_map(|event| match event {
        ChainEvent::Connected { block, txs, .. } if !txs.is_empty() => Some(block.height),
        _ => None,
    });
    paid.collect()
}
