//! The chain backends' conformance suite against a real bitcoind, and what only a separate process can show.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use async_trait::async_trait;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::Hash;
use bitcoin::{Network, OutPoint, ScriptBuf, Transaction, Txid};
use exchange_node::chain::conformance::Harness;
use exchange_node::chain::core::{CoreAuth, CoreChain, CoreConfig};
use exchange_node::chain::{ChainBackend, ChainError, ChainEvent, MAX_FEE_RATE, OutpointStatus};
use exchange_tests::bitcoind::Bitcoind;
use serde_json::json;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Where blocks pay that nobody spends: a bare `OP_TRUE`.
const NOBODY: &str = "raw(51)";
/// Longer than the follower's longest pause; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(90);

struct Core {
    node: Bitcoind,
    chain: CoreChain,
}

impl Core {
    async fn start() -> Self {
        let node = Bitcoind::start().unwrap_or_else(|error| panic!("{error}"));
        let chain = open(&node, Network::Regtest).await.unwrap();
        Self { node, chain }
    }
}

async fn open(node: &Bitcoind, network: Network) -> Result<CoreChain, ChainError> {
    CoreChain::open(CoreConfig { url: node.rpc_url(), auth: CoreAuth::Cookie(node.cookie_file()), network }).await
}

#[async_trait]
impl Harness for Core {
    fn backend(&self) -> &dyn ChainBackend {
        &self.chain
    }

    async fn open_for(&self, network: Network) -> Result<(), ChainError> {
        open(&self.node, network).await.map(drop)
    }

    async fn reorg(&self, depth: u32, new_blocks: u32) {
        let tip = self.chain.tip().await.unwrap().height;
        let undone = self.node.call("getblockhash", &[json!(tip - depth + 1)]).unwrap();
        self.node.call("invalidateblock", &[undone]).unwrap();
        for _ in 0..new_blocks {
            self.node.call("generateblock", &[json!(NOBODY), json!([])]).unwrap();
        }
    }

    async fn mine_exactly(&self, txs: Vec<Transaction>) {
        let hexes: Vec<String> = txs.iter().map(serialize_hex).collect();
        self.node.call("generateblock", &[json!(NOBODY), json!(hexes)]).unwrap();
    }

    async fn restart(&mut self) {
        self.node.stop().unwrap();
        self.node.run().unwrap();
        self.chain = open(&self.node, Network::Regtest).await.unwrap();
    }
}

exchange_node::conformance_suite!(Core::start);

/// What pays by itself pays no more than so much, and is refused for asking to pay more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_asks_for_too_much_is_offered_the_most_there_is() {
    let node = Bitcoind::start_with(&["-minrelaytxfee=0.01"]).unwrap_or_else(|error| panic!("{error}"));
    let chain = open(&node, Network::Regtest).await.unwrap();
    assert_eq!(chain.fee_rate(1).await.unwrap(), MAX_FEE_RATE);
}

/// Others name what is looked for. Where it is not, no block is read twice for it, nor more of them than there is room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_looked_for_in_vain_costs_new_blocks_only() {
    let core = Core::start().await;
    core.chain.mine(30, ScriptBuf::new_op_return([0; 4])).await.unwrap();
    let nowhere = |byte| OutPoint { txid: Txid::from_byte_array([byte; 32]), vout: 0 };
    let look = async |byte, from, mut blocks| {
        let status = core.chain.outpoint_within(nowhere(byte), ScriptBuf::new(), from, &mut blocks).await.unwrap();
        assert!(matches!(status, None | Some(OutpointStatus::Unknown)), "{status:?}");
        (status.is_some(), blocks)
    };
    assert_eq!(look(1, 11, 50).await, (true, 30), "twenty blocks");
    assert_eq!(look(1, 11, 50).await, (true, 50));
    assert_eq!(look(1, 15, 0).await, (true, 0), "they are among them");
    assert_eq!(look(1, 10, 50).await, (true, 29), "those below are not");
    core.chain.mine(2, ScriptBuf::new_op_return([0; 4])).await.unwrap();
    assert_eq!(look(1, 10, 50).await, (true, 48));
    core.reorg(1, 2).await;
    assert_eq!(look(1, 10, 50).await, (true, 26), "the last of them has left the chain");
    // What is left off goes on the next time.
    assert_eq!(look(2, 1, 20).await, (false, 0));
    assert_eq!(look(2, 1, 20).await, (true, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_outlives_the_node_it_follows() {
    let mut core = Core::start().await;
    core.chain.mine(3, ScriptBuf::new_op_return([0; 4])).await.unwrap();
    let mut follower = core.chain.follow(vec![], vec![]).await.unwrap();
    let before = core.chain.tip().await.unwrap();
    assert!(matches!(follower.events.recv().await, Some(ChainEvent::Synced { tip }) if tip == before));

    core.node.stop().unwrap();
    assert!(matches!(core.chain.tip().await, Err(ChainError::Unreachable { .. } | ChainError::NoCookie { .. })));
    core.node.run().unwrap();
    core.reorg(1, 2).await;
    let after = core.chain.tip().await.unwrap();
    let mut heard = Vec::new();
    while !matches!(heard.last(), Some(ChainEvent::Synced { tip }) if *tip == after) {
        heard.push(timeout(PATIENCE, follower.events.recv()).await.unwrap().unwrap());
    }
    let undone = heard.iter().filter(|event| matches!(event, ChainEvent::Disconnected { block } if *block == before));
    assert_eq!(undone.count(), 1);
    let connected = heard.iter().filter(|event| matches!(event, ChainEvent::Connected { .. }));
    assert_eq!(connected.count(), 2);
}

#[tokio::test]
async fn wrong_credentials_are_one_clear_error() {
    let node = Bitcoind::start().unwrap_or_else(|error| panic!("{error}"));
    let auth = CoreAuth::Password { user: "nobody".into(), password: Zeroizing::new("wrong".into()) };
    let config = CoreConfig { url: node.rpc_url(), auth, network: Network::Regtest };
    assert!(matches!(CoreChain::open(config).await, Err(ChainError::Unauthorized { .. })));
}
