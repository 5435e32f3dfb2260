//! The light client against a real bitcoind that serves it as any node of the network would: by headers, filters, blocks
//! and gossip. It is asked through RPC only for what no client can do: to mine.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use async_trait::async_trait;
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, Block, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Witness};
use exchange_node::chain::cbf::{CbfChain, CbfConfig};
use exchange_node::chain::conformance::Harness;
use exchange_node::chain::{BlockRef, ChainBackend, ChainError, ChainEvent, OutpointStatus};
use exchange_tests::bitcoind::Bitcoind;
use futures::future::join_all;
use mining::{LOOK_AGAIN, Mining, NOBODY, PATIENCE};
use peer::{Liar, Lie};
use serde_json::json;
use tokio::time::{sleep, timeout};

mod mining;
mod peer;

/// What anyone can satisfy: `OP_TRUE` behind a hash.
static ANYONE: LazyLock<ScriptBuf> = LazyLock::new(|| ScriptBuf::from_bytes(vec![0x51]));

async fn open(node: &Bitcoind, network: Network) -> Result<CbfChain, ChainError> {
    CbfChain::open(CbfConfig { network, peers: node.p2p_address().into_iter().collect() }).await
}

async fn mining(node: &Bitcoind) -> Mining<CbfChain> {
    Mining::new(open(node, Network::Regtest).await.unwrap(), node, false).await.unwrap()
}

struct Light {
    node: Bitcoind,
    chain: Mining<CbfChain>,
}

impl Light {
    async fn start() -> Self {
        // The node passes transactions on at once to peers it trusts.
        // Nor does it take itself to be behind because its newest block is the old genesis.
        let node = Bitcoind::start_for_light_clients(&["-whitelist=noban@127.0.0.1", "-maxtipage=9999999999"]);
        let node = node.unwrap_or_else(|error| panic!("{error}"));
        let chain = mining(&node).await;
        Self { node, chain }
    }
}

#[async_trait]
impl Harness for Light {
    fn backend(&self) -> &dyn ChainBackend {
        &self.chain
    }

    async fn open_for(&self, network: Network) -> Result<(), ChainError> {
        open(&self.node, network).await.map(drop)
    }

    async fn reorg(&self, depth: u32, new_blocks: u32) {
        self.chain.reorg(&self.node, depth, new_blocks).await;
    }

    async fn mine_exactly(&self, txs: Vec<Transaction>) {
        self.chain.mine_exactly(&self.node, &txs).await;
    }

    async fn restart(&mut self) {
        self.node.stop().unwrap();
        self.node.run().unwrap();
        self.chain = mining(&self.node).await;
    }
}

// What is left out asks for the words of a refusal, which peers do not say.
exchange_node::conformance_suite!(Light::start:
    a_payment_is_seen_then_confirmed,
    a_spend_is_seen_then_confirmed,
    unconfirmed_chains_are_followed,
    a_payment_robbed_by_a_block_is_evicted,
    six_blocks_are_undone_in_order,
    a_hundred_blocks_are_undone,
    who_was_away_hears_what_was_undone,
    one_block_is_a_locator,
    an_unknown_locator_starts_well_below,
    the_whole_chain_is_told_from_genesis,
    headers_join_end_to_end,
    a_late_watch_finds_the_past,
    a_slow_follower_delays_only_itself,
    a_child_pays_for_its_parent,
    an_outpoint_tells_its_life,
    broadcasting_twice_is_fine,
);

fn coinbase_spend(block: &Block, fee: Amount) -> Transaction {
    let coinbase = &block.txdata[0];
    let input = TxIn {
        previous_output: OutPoint { txid: coinbase.compute_txid(), vout: 0 },
        witness: Witness::from_slice(&[ANYONE.as_bytes()]),
        ..TxIn::default()
    };
    let output = TxOut { value: coinbase.output[0].value - fee, script_pubkey: ANYONE.to_p2wsh() };
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output: vec![output] }
}

/// Peers give no reason, so of what they do not pass on nobody knows; it can be sent once they would take it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_peer_takes_is_not_heard_of_and_may_be_sent_later() {
    let light = Light::start().await;
    let chain = &light.chain;
    chain.mine(101, ANYONE.to_p2wsh()).await.unwrap();
    let young = coinbase_spend(&chain.block_at(3).await.unwrap().unwrap(), Amount::from_sat(1_000));
    let coin = chain.block_at(1).await.unwrap().unwrap();
    let free = coinbase_spend(&coin, Amount::ZERO);
    let (early, unpaid) = tokio::join!(chain.broadcast(&young), chain.broadcast(&free));
    assert!(matches!(early, Err(ChainError::Unheard { txid, .. }) if txid == young.compute_txid()), "{early:?}");
    assert!(matches!(unpaid, Err(ChainError::Unheard { .. })), "{unpaid:?}");
    let rate = chain.fee_rate(1).await.unwrap();
    assert!(rate >= FeeRate::BROADCAST_MIN);
    chain.mine(2, ANYONE.to_p2wsh()).await.unwrap();
    // It is offered again without a wait; its echo tells that it was taken.
    let taken = async {
        while let Err(not_yet) = chain.broadcast(&young).await {
            assert!(matches!(not_yet, ChainError::Unasked { .. }), "{not_yet:?}");
            sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    timeout(PATIENCE, taken).await.expect("peers take it now");
    chain.broadcast(&coinbase_spend(&coin, Amount::from_sat(1_000))).await.unwrap();
    chain.mine(1, ScriptBuf::new_op_return([0; 4])).await.unwrap();
    let status = chain.outpoint(OutPoint { txid: young.compute_txid(), vout: 0 }, ANYONE.to_p2wsh(), 1).await.unwrap();
    assert!(matches!(status, OutpointStatus::Unspent { height: Some(104), .. }), "{status:?}");
}

/// Peers do not tell again what waits in their pools. What is owed is offered at once, and what its owner knew to wait is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_what_is_owed_is_offered_without_a_wait_and_what_was_known_to_wait_counts() {
    let light = Light::start().await;
    light.chain.mine(101, ANYONE.to_p2wsh()).await.unwrap();
    let tx = coinbase_spend(&light.chain.block_at(1).await.unwrap().unwrap(), Amount::from_sat(1_000));
    light.chain.broadcast(&tx).await.unwrap();
    let again = open(&light.node, Network::Regtest).await.unwrap();
    let (owed, coin) = (std::slice::from_ref(&tx), OutPoint { txid: tx.compute_txid(), vout: 0 });
    let offered = timeout(std::time::Duration::from_secs(10), again.offer(owed)).await.expect("nobody is waited for");
    assert!(!offered.unwrap(), "nobody has told of it");
    again.recall(&tx);
    assert!(again.offer(owed).await.unwrap());
    let status = || again.outpoint(coin, ANYONE.to_p2wsh(), 102);
    let waits = status().await.unwrap();
    assert!(matches!(waits, OutpointStatus::Unspent { height: None, .. }), "{waits:?}");
    light.chain.mine(1, ScriptBuf::new_op_return([0; 4])).await.unwrap();
    let confirmed = async {
        while !matches!(status().await, Ok(OutpointStatus::Unspent { height: Some(102), .. })) {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, confirmed).await.expect("a block holds it");
}

/// Others name what is looked for. Where it is not, no filter is read twice for it; where it is, none after its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_looked_for_costs_no_more_blocks_than_it_takes() {
    let light = Light::start().await;
    let chain = &light.chain;
    chain.mine(101, ANYONE.to_p2wsh()).await.unwrap();
    let coin = chain.block_at(1).await.unwrap().unwrap();
    let spend = coinbase_spend(&coin, Amount::from_sat(1_000));
    light.chain.mine_exactly(&light.node, std::slice::from_ref(&spend)).await;
    chain.mine(5, ScriptBuf::new_op_return([0; 4])).await.unwrap();
    let look = async |outpoint, from, mut blocks| {
        let status = chain.outpoint_within(outpoint, ANYONE.to_p2wsh(), from, &mut blocks).await.unwrap();
        (status, blocks)
    };
    let (status, left) = look(spend.input[0].previous_output, 1, 200).await;
    assert!(matches!(status, Some(OutpointStatus::Spent { spent_height: Some(102), .. })), "{status:?}");
    assert_eq!(left, 200 - 102);
    let nowhere = OutPoint { vout: 7, ..spend.input[0].previous_output };
    assert_eq!(look(nowhere, 98, 5).await, (None, 0), "there are ten");
    assert_eq!(look(nowhere, 98, 5).await, (Some(OutpointStatus::Unknown), 0));
    assert_eq!(look(nowhere, 98, 0).await, (Some(OutpointStatus::Unknown), 0));
    chain.mine(1, ScriptBuf::new_op_return([0; 4])).await.unwrap();
    assert_eq!(look(nowhere, 98, 5).await, (Some(OutpointStatus::Unknown), 4));
}

/// A node of another network hangs up, and a client without peers says whom it asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_peer_of_its_network_a_light_client_does_not_start() {
    let light = Light::start().await;
    let Err(error) = open(&light.node, Network::Signet).await else { panic!("another network was taken") };
    assert!(matches!(error, ChainError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&light.node.p2p_address().unwrap().to_string()), "{error}");
}

/// The node behind a light client goes away and comes back; nothing that happened meanwhile is missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_light_client_outlives_its_peers() {
    let mut light = Light::start().await;
    light.chain.mine(3, ScriptBuf::new_op_return([0; 4])).await.unwrap();
    let mut follower = light.chain.follow(vec![], vec![ANYONE.to_p2wsh()]).await.unwrap();
    let before = light.chain.tip().await.unwrap();
    assert!(matches!(follower.events.recv().await, Some(ChainEvent::Synced { tip }) if tip == before));
    light.node.stop().unwrap();
    light.node.run().unwrap();
    light.node.call("generatetodescriptor", &[json!(2), json!(NOBODY)]).unwrap();
    let after = loop {
        match timeout(PATIENCE, follower.events.recv()).await.unwrap().unwrap() {
            ChainEvent::Synced { tip } if tip.height == before.height + 2 => break tip,
            ChainEvent::Disconnected { block } => panic!("{block:?} never left the chain"),
            _ => {}
        }
    };
    assert_eq!(light.chain.tip().await.unwrap(), after);
}

/// Headers that nobody worked for, and headers that join to nothing, are not believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_cannot_invent_a_chain() {
    let (node, _) = paid(3);
    let lies = [Lie::HeaderWithoutWork, Lie::HeaderFromNowhere].map(async |lie| {
        let liar = Liar::before(node.p2p_address().unwrap(), lie).await;
        let Err(error) = open_at(&liar).await else { panic!("{lie:?}: it was believed") };
        assert!(matches!(error, ChainError::Unreachable { .. }), "{lie:?}: {error}");
        assert!(liar.told() > 0, "{lie:?}");
    });
    join_all(lies).await;
}

/// A client that begins anew, as it does when it has lost its peers, believes nobody that there are fewer blocks than were shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_ends_its_chain_early_takes_no_block_back() {
    let (mut node, _) = paid(6);
    let liar = Liar::before(node.p2p_address().unwrap(), Lie::Nothing).await;
    let chain = open_at(&liar).await.unwrap();
    let tip = chain.tip().await.unwrap();
    let mut follower = chain.follow(vec![tip], vec![]).await.unwrap();
    liar.tell(Lie::NoMoreHeaders);
    node.stop().unwrap();
    node.run().unwrap();
    liar.has_told(2).await;
    assert_eq!(chain.tip().await.unwrap(), tip);
    liar.tell(Lie::Nothing);
    node.call("generatetodescriptor", &[json!(1), json!(NOBODY)]).unwrap();
    loop {
        match timeout(PATIENCE, follower.events.recv()).await.unwrap().unwrap() {
            ChainEvent::Synced { tip } if tip.height == 7 => break,
            ChainEvent::Disconnected { block } => panic!("{block:?} never left the chain"),
            _ => {}
        }
    }
}

/// Whatever a peer says of a block, or does not say, only the truth is told, and all of it once the peer has come to its senses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_cannot_change_what_is_in_a_block() {
    let (node, truth) = paid(6);
    let lies =
        [Lie::OtherFilterHeader, Lie::OtherFilter, Lie::OtherBlock, Lie::OtherWitness, Lie::NoWitness, Lie::NoFilters];
    let lies = lies.map(async |lie| {
        let liar = Liar::before(node.p2p_address().unwrap(), lie).await;
        let chain = open_at(&liar).await.unwrap();
        let genesis = BlockRef { height: 0, hash: chain.block_at(0).await.unwrap().unwrap().block_hash() };
        let mut follower = chain.follow(vec![genesis], vec![ANYONE.to_p2wsh()]).await.unwrap();
        liar.has_told(2).await;
        liar.tell(Lie::Nothing);
        let mut told = Vec::new();
        loop {
            let event = timeout(PATIENCE, follower.events.recv()).await.unwrap_or_else(|_| panic!("{lie:?}: stuck"));
            match event.unwrap() {
                ChainEvent::Connected { txs, .. } => told.extend(txs),
                ChainEvent::Synced { tip } if tip.height == 6 => break,
                _ => {}
            }
        }
        assert_eq!(told, truth, "{lie:?}");
    });
    join_all(lies).await;
}

/// What peers tell of is taken at once, also while a block is waited for that nobody sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_keeps_a_block_back_hides_no_transaction_and_no_end_of_one() {
    let light = Light::start().await;
    light.chain.mine(102, ANYONE.to_p2wsh()).await.unwrap();
    let liar = Liar::before(light.node.p2p_address().unwrap(), Lie::Nothing).await;
    let chain = open_at(&liar).await.unwrap();
    let mut follower = chain.follow(vec![], vec![ANYONE.to_p2wsh()]).await.unwrap();
    let (one, two) = (chain.block_at(1).await.unwrap().unwrap(), chain.block_at(2).await.unwrap().unwrap());
    let [first, second] = [&one, &two].map(|block| coinbase_spend(block, Amount::from_sat(1_000)));
    // While something waits whole blocks are looked at, which tell whether it still does.
    chain.broadcast(&first).await.unwrap();
    liar.tell(Lie::NoBlocks);
    light.node.call("generatetodescriptor", &[json!(1), json!(NOBODY)]).unwrap();
    liar.has_told(1).await;
    let hex = bitcoin::consensus::encode::serialize_hex(&second);
    light.node.call("sendrawtransaction", &[json!(hex)]).unwrap();
    let seen = async {
        while !matches!(follower.events.recv().await.unwrap(), ChainEvent::MempoolSeen { tx } if tx == second) {}
    };
    // A block is waited for a minute long.
    timeout(std::time::Duration::from_secs(30), seen).await.expect("what is told is heard");

    // Then it is shown, and what it did to the pool is seen together with the next one.
    let shown = async {
        while chain.tip().await.unwrap().height < 103 {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, shown).await.expect("others wait no longer");
    liar.tell(Lie::Nothing);
    let again = async {
        while !matches!(follower.events.recv().await.unwrap(), ChainEvent::MempoolSeen { tx } if tx == first) {}
    };
    timeout(PATIENCE, again).await.expect("as far as is known it waits still");
    light.node.call("generatetodescriptor", &[json!(1), json!(NOBODY)]).unwrap();
    let gone = async {
        let txid = first.compute_txid();
        while !matches!(follower.events.recv().await.unwrap(), ChainEvent::Evicted { txid: gone } if gone == txid) {}
    };
    timeout(PATIENCE, gone).await.expect("a block holds it");
}

/// A node whose index of filters lags behind its chain leaves a question without an answer, which the client would not ask
/// again by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_owes_an_answer_is_left() {
    let (node, _) = paid(1);
    let liar = Liar::before(node.p2p_address().unwrap(), Lie::Nothing).await;
    let chain = open_at(&liar).await.unwrap();
    liar.tell(Lie::LaggingIndex);
    for told in 1..=2 {
        node.call("generatetodescriptor", &[json!(1), json!(NOBODY)]).unwrap();
        liar.has_told(told).await;
    }
    liar.tell(Lie::Nothing);
    let caught_up = async {
        while chain.tip().await.unwrap().height < 3 {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, caught_up).await.unwrap();
}

/// Whoever names a coin of long ago has old blocks read, as slowly as a peer likes to send their filters. What is new does not wait
/// for that, and nobody reads them twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_blocks_that_come_slowly_hide_no_new_one() {
    // More than the client that follows the chain is asked for.
    const OLD: u32 = 1_200;
    let node = Bitcoind::start_for_light_clients(&["-maxtipage=9999999999"]).unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..OLD / 100 {
        node.call("generatetodescriptor", &[json!(100), json!(NOBODY)]).unwrap();
    }
    let indexed = async {
        while node.call("getindexinfo", &[]).unwrap()["basic block filter index"]["best_block_height"] != json!(OLD) {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, indexed).await.expect("there is a filter for each block");
    let liar = Liar::before(node.p2p_address().unwrap(), Lie::LateFilters).await;
    let chain = std::sync::Arc::new(open_at(&liar).await.unwrap());
    let txid = chain.block_at(1).await.unwrap().unwrap().txdata[0].compute_txid();
    let look = || {
        let chain = std::sync::Arc::clone(&chain);
        async move { chain.outpoint(OutPoint { txid, vout: 7 }, ANYONE.to_p2wsh(), 1).await.unwrap() }
    };
    let looking = tokio::spawn(look());
    liar.has_told(50).await;
    node.call("generatetodescriptor", &[json!(1), json!(NOBODY)]).unwrap();
    let shown = async {
        while chain.tip().await.unwrap().height == OLD {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(std::time::Duration::from_secs(6), shown).await.expect("the new block is shown");
    assert!(!looking.is_finished(), "old blocks are read still");
    liar.tell(Lie::Nothing);
    assert_eq!(timeout(PATIENCE, looking).await.expect("all come").unwrap(), OutpointStatus::Unknown);
    liar.tell(Lie::LateFilters);
    let again = timeout(std::time::Duration::from_secs(6), look()).await;
    assert_eq!(again.expect("what was read is known"), OutpointStatus::Unknown);
}

/// Returns a node with so many blocks above genesis that pay anyone, and what pays.
fn paid(blocks: u32) -> (Bitcoind, Vec<Transaction>) {
    let node = Bitcoind::start_for_light_clients(&["-maxtipage=9999999999"]).unwrap_or_else(|error| panic!("{error}"));
    let anyone = format!("raw({})", ANYONE.to_p2wsh().to_hex_string());
    node.call("generatetodescriptor", &[json!(blocks), json!(anyone)]).unwrap();
    let truth = (1..=blocks).map(|height| {
        let hash = node.call("getblockhash", &[json!(height)]).unwrap();
        let block = node.call("getblock", &[hash, json!(0)]).unwrap();
        let block: Block = bitcoin::consensus::encode::deserialize_hex(block.as_str().unwrap()).unwrap();
        block.txdata[0].clone()
    });
    let truth = truth.collect();
    (node, truth)
}

async fn open_at(liar: &Liar) -> Result<CbfChain, ChainError> {
    CbfChain::open(CbfConfig { network: Network::Regtest, peers: vec![liar.address()] }).await
}
