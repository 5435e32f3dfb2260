//! Stories of the wallet on the embedded chain.

mod bump;
mod cancel;
mod coins;
mod control;
mod events;
mod pool;
mod priced;
mod psbts;
mod recovery;
mod refusals;
mod share;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, FeeRate, Network, OutPoint, Psbt, ScriptBuf, Transaction, Txid};

use super::state::State;
use super::*;
use crate::chain::kernel::{KernelChain, KernelConfig};
use crate::chain::line::Line;
use crate::chain::{BlockRef, ChainError, ChainEvent};

/// Long enough for a busy machine; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const TIME: u64 = 1_800_000_000;

/// A wallet that can be closed and opened again, or restored elsewhere.
struct Owner {
    seed: u8,
    store: Arc<MemoryWalletStore>,
    chain: Arc<Line>,
}

impl Owner {
    fn new(seed: u8, chain: &Arc<KernelChain>) -> Self {
        Self { seed, store: Arc::default(), chain: Arc::new(Line::to(chain)) }
    }

    async fn try_open(&self) -> Result<WalletHandle, WalletError> {
        WalletHandle::open(WalletSetup {
            seed: Zeroizing::new([self.seed; 64]),
            store: Arc::clone(&self.store) as Arc<dyn WalletStore>,
            chain: Arc::clone(&self.chain) as Arc<dyn ChainBackend>,
            birth_height: 0,
            clock: Arc::new(|| TIME),
        })
        .await
    }

    /// Opens the wallet and waits until it has caught up.
    async fn open(&self) -> WalletHandle {
        let wallet = self.try_open().await.unwrap();
        caught_up(&wallet, &self.chain.chain).await;
        wallet
    }
}

fn new_chain() -> Arc<KernelChain> {
    Arc::new(KernelChain::open(KernelConfig::default()).unwrap())
}

/// Mines blocks that pay nobody.
async fn mine(chain: &KernelChain, count: u32) {
    chain.mine(count, ScriptBuf::new_op_return([1; 4])).await.unwrap();
}

/// Gives the wallet `coins` coins of 50 bitcoin that can be spent.
async fn earn(wallet: &WalletHandle, chain: &KernelChain, coins: u32) {
    let script = wallet.address().await.unwrap().address.script_pubkey();
    chain.mine(coins, script).await.unwrap();
    mine(chain, 100).await;
    caught_up(wallet, chain).await;
}

/// Returns a wallet that sees the chain by a server of somebody else's, and that has so many coins.
async fn client(seed: u8, chain: &Arc<KernelChain>, coins: u32) -> (Owner, WalletHandle) {
    let mut line = Line::to(chain);
    line.is_foreign = true;
    let owner = Owner { chain: Arc::new(line), ..Owner::new(seed, chain) };
    let wallet = owner.open().await;
    earn(&wallet, chain, coins).await;
    (owner, wallet)
}

/// Returns a wallet without its surroundings, to which a block has brought coins of so many satoshis.
fn holding(coins: &[u64]) -> State {
    let genesis = BlockRef { height: 0, hash: bitcoin::constants::genesis_block(Network::Regtest).block_hash() };
    let block = BlockRef { height: 1, hash: BlockHash::from_byte_array([1; 32]) };
    let mut state = State::open(Zeroizing::new([1; 64]), Network::Regtest, Arc::new(|| TIME), &[]).unwrap().0;
    state.begin_pass(genesis);
    state.apply(ChainEvent::Synced { tip: genesis });
    let script = state.new_destination().unwrap();
    let deposit = |(vout, value): (u32, &u64)| {
        let previous_output = OutPoint { txid: Txid::from_byte_array([7; 32]), vout };
        Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: vec![bitcoin::TxIn { previous_output, ..Default::default() }],
            output: vec![bitcoin::TxOut { value: Amount::from_sat(*value), script_pubkey: script.clone() }],
        }
    };
    let txs = (0u32..).zip(coins).map(deposit).collect();
    state.apply(ChainEvent::Connected { block, parent: genesis.hash, time: 1_700_000_000, txs });
    state.apply(ChainEvent::Synced { tip: block });
    state
}

/// Waits until `holds` of the balance.
async fn until(wallet: &WalletHandle, what: &str, holds: impl Fn(&Balance) -> bool) -> Balance {
    let mut changes = wallet.subscribe();
    let wait = async {
        loop {
            changes.mark_unchanged();
            let balance = wallet.balance().await.unwrap();
            if holds(&balance) {
                return balance;
            }
            changes.changed().await.unwrap();
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(balance) => balance,
        Err(_) => panic!("{what} never came; at the end: {:?}", wallet.balance().await),
    }
}

/// Waits until the wallet has heard of the tip and has searched the chain.
async fn caught_up(wallet: &WalletHandle, chain: &KernelChain) {
    let tip = chain.tip().await.unwrap().height;
    let mut changes = wallet.subscribe();
    let wait = async {
        while !(wallet.status().synced && wallet.status().height == tip && wallet.address().await.is_ok()) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the wallet never caught up");
}

/// Asks for new destinations until there are as many as that: the follower takes up a few at a time.
async fn destinations(wallet: &WalletHandle, count: usize) -> Vec<ScriptBuf> {
    let mut made = Vec::new();
    let ask = async {
        while made.len() < count {
            match wallet.new_destination().await {
                Ok(script) => made.push(script),
                Err(WalletError::Unwatched) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(other) => panic!("{other}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, ask).await.expect("the follower takes up nothing");
    made
}

fn btc(text: &str) -> Amount {
    Amount::from_str_in(text, bitcoin::Denomination::Bitcoin).unwrap()
}

fn pay(request_id: &str, script: ScriptBuf, amount: &str) -> SendRequest {
    SendRequest {
        request_id: request_id.into(),
        script,
        amount: Some(btc(amount)),
        fee_rate: None,
        allow_high_fee: false,
        coins: Vec::new(),
        dry_run: false,
        label: request_id.into(),
        priced: None,
    }
}

fn rate(sat_vb: u32) -> FeeRate {
    FeeRate::from_sat_per_vb_u32(sat_vb)
}

fn bump(request_id: &str, txid: Txid, sat_vb: u32) -> BumpRequest {
    BumpRequest {
        request_id: request_id.into(),
        txid,
        fee_rate: Some(rate(sat_vb)),
        allow_high_fee: false,
        dry_run: false,
        by_trade: false,
        priced: None,
    }
}

fn escrow(byte: u8, amount: &str) -> FundRequest {
    let key = bitcoin::secp256k1::SecretKey::from_slice(&[byte; 32]).unwrap();
    let secp = bitcoin::secp256k1::Secp256k1::new();
    let script = ScriptBuf::new_p2tr(&secp, key.x_only_public_key(&secp).0, None);
    FundRequest { script, amount: btc(amount), from_height: 0, fee_rate: None, label: format!("escrow {byte}") }
}

fn inputs(tx: &Transaction) -> HashSet<OutPoint> {
    tx.input.iter().map(|input| input.previous_output).collect()
}
