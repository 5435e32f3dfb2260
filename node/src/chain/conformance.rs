//! What every chain backend must do, as tests: [`conformance_suite!`](crate::conformance_suite) runs all of it against
//! one [`Harness`].
//!
//! Coins are locked to scripts that anyone can satisfy, so that a case shows chain behaviour and nothing else.

use std::time::Duration;

use async_trait::async_trait;
use bitcoin::absolute::LockTime;
use bitcoin::constants::COINBASE_MATURITY;
use bitcoin::opcodes::all::{OP_CSV, OP_DROP};
use bitcoin::script::Builder;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use tokio::time::timeout;

use super::{
    AskedOutput, BlockRef, ChainBackend, ChainError, ChainEvent, FOLLOWER_QUEUE, Follower, OutpointStatus, WatchRequest,
};

mod following;
mod spending;

pub use following::*;
pub use spending::*;

/// A backend on a regtest chain of its own, with the powers that only tests have.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Returns the backend under test.
    fn backend(&self) -> &dyn ChainBackend;

    /// Opens the same chain as a node of `network` would.
    async fn open_for(&self, network: Network) -> Result<(), ChainError>;

    /// Replaces the last `depth` blocks by `new_blocks` empty ones.
    async fn reorg(&self, depth: u32, new_blocks: u32);

    /// Mines one block with exactly these transactions.
    async fn mine_exactly(&self, txs: Vec<Transaction>);

    /// Closes the backend and opens it again on the same chain.
    async fn restart(&mut self);
}

/// Runs every case against a fresh harness made by `$start`, an async function without arguments.
#[macro_export]
macro_rules! conformance_suite {
    ($start:path) => {
        $crate::conformance_suite!($start:
            a_payment_is_seen_then_confirmed,
            a_spend_is_seen_then_confirmed,
            unconfirmed_chains_are_followed,
            a_double_spend_is_refused_or_replaces,
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
            fees_have_a_floor,
            a_child_pays_for_its_parent,
            a_version_3_child_has_no_child_of_its_own,
            another_network_is_refused,
            a_relative_lock_opens_on_its_block,
            an_absolute_lock_opens_on_its_block,
            young_coinbases_are_refused,
            an_outpoint_tells_its_life,
            broadcasting_twice_is_fine,
        );
    };
    ($start:path: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut harness = $start().await;
                $crate::chain::conformance::$case(&mut harness).await;
            }
        )+
    };
}

/// Long enough for a busy machine; no case waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a plain transaction of these tests pays.
const FEE: Amount = Amount::from_sat(1_000);

/// A coin that anyone can spend.
#[derive(Clone)]
struct Coin {
    outpoint: OutPoint,
    output: TxOut,
    lock: Lock,
}

/// A script that anyone can satisfy, and how.
#[derive(Clone, PartialEq)]
struct Lock {
    witness_script: ScriptBuf,
    sequence: Sequence,
}

impl Lock {
    /// One of many scripts without a condition.
    fn open(tag: i64) -> Self {
        let witness_script = Builder::new().push_int(tag).push_opcode(OP_DROP).push_int(1).into_script();
        Self { witness_script, sequence: Sequence::ENABLE_RBF_NO_LOCKTIME }
    }

    /// A script that opens `blocks` after its confirmation.
    fn after(blocks: u16) -> Self {
        let witness_script = Builder::new().push_int(i64::from(blocks)).push_opcode(OP_CSV).into_script();
        Self { witness_script, sequence: Sequence::from_height(blocks) }
    }

    fn script(&self) -> ScriptBuf {
        self.witness_script.to_p2wsh()
    }
}

/// What is left over goes here; no case watches it.
fn elsewhere() -> Lock {
    Lock::open(1_000)
}

/// What the cases watch.
fn watched() -> Lock {
    Lock::open(2_000)
}

/// Mines `count` mature coins.
async fn mature_coins(chain: &dyn ChainBackend, count: u32) -> Vec<Coin> {
    let first = height(chain).await + 1;
    chain.mine(count, elsewhere().script()).await.expect("mining works");
    chain.mine(COINBASE_MATURITY, Lock::open(3_000).script()).await.expect("mining works");
    let mut coins = Vec::new();
    for height in first..first + count {
        let block = chain.block_at(height).await.expect("the chain answers").expect("the block was mined");
        coins.push(coin(&block.txdata[0], 0, elsewhere()));
    }
    coins
}

fn coin(tx: &Transaction, vout: u32, lock: Lock) -> Coin {
    let output = tx.output[vout as usize].clone();
    Coin { outpoint: OutPoint { txid: tx.compute_txid(), vout }, output, lock }
}

/// Returns a transaction that moves `from` to `to`, less `fee`.
fn pay(from: &Coin, to: &Lock, fee: Amount) -> Transaction {
    let value = from.output.value - fee;
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: from.outpoint,
            script_sig: ScriptBuf::new(),
            sequence: from.lock.sequence,
            witness: Witness::from_slice(&[from.lock.witness_script.as_bytes()]),
        }],
        output: vec![TxOut { value, script_pubkey: to.script() }],
    }
}

async fn height(chain: &dyn ChainBackend) -> u32 {
    chain.tip().await.expect("the chain answers").height
}

async fn mine(chain: &dyn ChainBackend, count: u32) {
    chain.mine(count, elsewhere().script()).await.expect("mining works");
}

async fn broadcast(chain: &dyn ChainBackend, tx: &Transaction) {
    chain.broadcast(tx).await.expect("the transaction is valid");
}

async fn refused(chain: &dyn ChainBackend, tx: &Transaction) -> String {
    match chain.broadcast(tx).await {
        Err(ChainError::Refused { txid, reason }) => {
            assert_eq!(txid, tx.compute_txid());
            reason
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

async fn next(follower: &mut Follower, what: &str) -> ChainEvent {
    let event = timeout(PATIENCE, follower.events.recv()).await;
    event.unwrap_or_else(|_| panic!("waited in vain for {what}")).unwrap_or_else(|| panic!("no {what}: stream ended"))
}

/// Reads events up to and including the first that `is` what is waited for.
async fn read_until(follower: &mut Follower, what: &str, is: impl Fn(&ChainEvent) -> bool) -> Vec<ChainEvent> {
    let mut events = Vec::new();
    loop {
        events.push(next(follower, what).await);
        if events.last().is_some_and(&is) {
            return events;
        }
    }
}

/// Reads events up to the `Synced` at the present tip.
async fn read_to_tip(chain: &dyn ChainBackend, follower: &mut Follower) -> Vec<ChainEvent> {
    let present = chain.tip().await.expect("the chain answers");
    read_until(follower, "the tip", |event| matches!(event, ChainEvent::Synced { tip } if *tip == present)).await
}

fn seen(txid: Txid) -> impl Fn(&ChainEvent) -> bool {
    move |event| matches!(event, ChainEvent::MempoolSeen { tx } if tx.compute_txid() == txid)
}

fn connected(events: &[ChainEvent]) -> Vec<BlockRef> {
    let blocks = events.iter().filter_map(|event| match event {
        ChainEvent::Connected { block, .. } => Some(*block),
        ChainEvent::Disconnected { .. }
        | ChainEvent::Found { .. }
        | ChainEvent::MempoolSeen { .. }
        | ChainEvent::Evicted { .. }
        | ChainEvent::Searched { .. }
        | ChainEvent::Unreadable { .. }
        | ChainEvent::Withheld { .. }
        | ChainEvent::Shown { .. }
        | ChainEvent::Synced { .. } => None,
    });
    blocks.collect()
}

fn disconnected(events: &[ChainEvent]) -> Vec<BlockRef> {
    let blocks = events.iter().filter_map(|event| match event {
        ChainEvent::Disconnected { block } => Some(*block),
        ChainEvent::Connected { .. }
        | ChainEvent::Found { .. }
        | ChainEvent::MempoolSeen { .. }
        | ChainEvent::Evicted { .. }
        | ChainEvent::Searched { .. }
        | ChainEvent::Unreadable { .. }
        | ChainEvent::Withheld { .. }
        | ChainEvent::Shown { .. }
        | ChainEvent::Synced { .. } => None,
    });
    blocks.collect()
}

/// Where `txid` was confirmed according to the events.
fn confirmed_in(events: &[ChainEvent], txid: Txid) -> Option<u32> {
    events.iter().find_map(|event| match event {
        ChainEvent::Connected { block, txs, .. } if txs.iter().any(|tx| tx.compute_txid() == txid) => {
            Some(block.height)
        }
        ChainEvent::Connected { .. }
        | ChainEvent::Disconnected { .. }
        | ChainEvent::Found { .. }
        | ChainEvent::MempoolSeen { .. }
        | ChainEvent::Evicted { .. }
        | ChainEvent::Searched { .. }
        | ChainEvent::Unreadable { .. }
        | ChainEvent::Withheld { .. }
        | ChainEvent::Shown { .. }
        | ChainEvent::Synced { .. } => None,
    })
}

/// Asserts that blocks join end to end: each on the one before, from `first_height` to the present tip.
async fn assert_joined(chain: &dyn ChainBackend, events: &[ChainEvent], first_height: u32) {
    let blocks = connected(events);
    let heights: Vec<u32> = blocks.iter().map(|block| block.height).collect();
    let tip = chain.tip().await.expect("the chain answers");
    assert_eq!(heights, (first_height..=tip.height).collect::<Vec<_>>());
    assert_eq!(blocks.last(), Some(&tip));
    let mut previous = None;
    for event in events {
        if let ChainEvent::Connected { block, parent, .. } = event {
            assert!(previous.is_none_or(|hash| hash == *parent), "a gap below height {}", block.height);
            previous = Some(block.hash);
        }
    }
}
