//! A regtest chain: blocks come when a story asks for them.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::constants::COINBASE_MATURITY;
use bitcoin::{Amount, Block, OutPoint, Transaction, Txid};
use serde_json::{Value, json};

use crate::bitcoind::{Bitcoind, BitcoindError};
use crate::wait_until;

/// Where blocks pay that nobody spends: a bare `OP_TRUE`.
const NOBODY: &str = "raw(51)";
/// Where blocks pay that replace others, so that none of them is the same again.
const NOBODY_ELSE: &str = "raw(52)";

/// A bitcoind that mines on demand.
#[derive(Debug)]
pub struct Regtest {
    node: Bitcoind,
}

/// What the chain shows of an address: ids of transactions in blocks and in the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Those that pay to it.
    pub incoming: BTreeSet<String>,
    /// Those that spend from it.
    pub outgoing: BTreeSet<String>,
}

impl Regtest {
    /// Starts a bitcoind with a first block, so that its clock is of today.
    ///
    /// # Panics
    /// When there is none: a story never passes without having run.
    #[must_use]
    pub fn start() -> Self {
        Self::on(Bitcoind::start())
    }

    /// Starts a bitcoind whose pool is as small as can be: five megabytes.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start_with_a_small_pool() -> Self {
        Self::on(Bitcoind::start_with(&["-maxmempool=5"]))
    }

    /// Starts a bitcoind that is known to the nodes as a peer of the Bitcoin network only: they are light clients.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start_for_light_clients() -> Self {
        Self::on(Bitcoind::start_for_light_clients(&["-whitelist=noban@127.0.0.1"]))
    }

    /// Starts a bitcoind that an Electrum server can stand before.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start_for_electrum() -> Self {
        Self::on(Bitcoind::start_for_electrum())
    }

    fn on(node: Result<Bitcoind, BitcoindError>) -> Self {
        let chain = Self { node: node.unwrap_or_else(|error| panic!("{error}")) };
        chain.mine(1);
        chain
    }

    /// Returns the node itself.
    #[must_use]
    pub const fn node(&self) -> &Bitcoind {
        &self.node
    }

    /// Returns the arguments by which `exchange-node run` follows this chain.
    #[must_use]
    pub fn node_args(&self) -> Vec<String> {
        if let Some(peer) = self.node.p2p_address() {
            return ["--network", "regtest", "--chain", "cbf", "--bitcoin-peer", &peer.to_string()]
                .map(ToOwned::to_owned)
                .to_vec();
        }
        let cookie = self.node.cookie_file().display().to_string();
        ["--network", "regtest", "--chain", "core", "--core-url", &self.node.rpc_url(), "--core-cookie", &cookie]
            .map(ToOwned::to_owned)
            .to_vec()
    }

    /// Stops bitcoind; the chain stays.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn goes_away(&mut self) {
        self.node.stop().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts bitcoind again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn comes_back(&mut self) {
        self.node.run().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Mines blocks that confirm what waits in the pool.
    pub fn mine(&self, blocks: u32) {
        self.call("generatetodescriptor", &[json!(blocks), json!(NOBODY)]);
    }

    /// Replaces the last blocks by empty ones, of which there should be more.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn replace(&self, depth: u32, new_blocks: u32) {
        let first = self.height().checked_sub(u64::from(depth)).expect("so many blocks") + 1;
        let undone = self.call("getblockhash", &[json!(first)]);
        self.call("invalidateblock", &[undone]);
        for _ in 0..new_blocks {
            self.call("generateblock", &[json!(NOBODY_ELSE), json!([])]);
        }
    }

    /// Mines one block to an address and as many more as its coins need to be spendable.
    pub fn mine_coins_to(&self, address: &str) {
        self.call("generatetoaddress", &[json!(1), json!(address)]);
        self.mine(COINBASE_MATURITY);
    }

    /// Waits for a transaction in the pool and buries it under `blocks` blocks, its own included.
    pub fn confirm(&self, what: &str, blocks: u32) {
        wait_until(&format!("{what} is in the pool"), || match self.pool() {
            pool if pool.is_empty() => Err("it is empty".to_owned()),
            pool => Ok(pool),
        });
        self.mine(blocks);
    }

    /// Returns the height of the tip.
    ///
    /// # Panics
    /// When bitcoind does not answer.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.call("getblockcount", &[]).as_u64().expect("a height")
    }

    /// Returns the ids of the transactions that wait for a block.
    #[must_use]
    pub fn pool(&self) -> BTreeSet<String> {
        strings(&self.call("getrawmempool", &[]))
    }

    /// Returns what a transaction must pay to be let into the pool, in sat/vB, rounded down.
    ///
    /// # Panics
    /// When bitcoind does not answer.
    #[must_use]
    pub fn pool_minimum(&self) -> u64 {
        let info = self.call("getmempoolinfo", &[]);
        let btc_kvb = info["mempoolminfee"].to_string();
        let rate = bitcoin::Amount::from_str_in(&btc_kvb, bitcoin::Denomination::Bitcoin);
        // `1e-05` is how a small number prints.
        rate.map_or(0, |rate| rate.to_sat() / 1000)
    }

    /// Returns the transactions that pay to or spend from an address, in blocks from a height on.
    #[must_use]
    pub fn traffic(&self, address: &str, from_height: u64) -> Traffic {
        let mut traffic = Traffic::default();
        for height in from_height..=self.height() {
            let hash = self.call("getblockhash", &[json!(height)]);
            let block = self.call("getblock", &[hash, json!(3)]);
            for tx in block["tx"].as_array().into_iter().flatten() {
                let txid = tx["txid"].as_str().unwrap_or_default();
                let touches = |ends: &Value, script: &str| {
                    let mut scripts = ends.as_array().into_iter().flatten().filter_map(|end| end.pointer(script));
                    scripts.any(|of| of == address)
                };
                if touches(&tx["vout"], "/scriptPubKey/address") {
                    traffic.incoming.insert(txid.to_owned());
                }
                if touches(&tx["vin"], "/prevout/scriptPubKey/address") {
                    traffic.outgoing.insert(txid.to_owned());
                }
            }
        }
        traffic
    }

    /// Returns how many items the witness of each input of a transaction has, which is in a block from a height on.
    ///
    /// # Panics
    /// When no block holds it.
    #[must_use]
    pub fn witness_of(&self, txid: &str, from_height: u64) -> Vec<usize> {
        for height in from_height..=self.height() {
            let hash = self.call("getblockhash", &[json!(height)]);
            let block = self.call("getblock", &[hash, json!(2)]);
            let mut txs = block["tx"].as_array().into_iter().flatten();
            if let Some(tx) = txs.find(|tx| tx["txid"] == txid) {
                let items = |input: &Value| input["txinwitness"].as_array().map_or(0, Vec::len);
                return tx["vin"].as_array().into_iter().flatten().map(items).collect();
            }
        }
        panic!("no block from {from_height} on holds {txid}");
    }

    /// Returns a transaction of a block, and what it paid to the miner.
    ///
    /// # Panics
    /// When no block holds it.
    #[must_use]
    pub fn confirmed(&self, txid: &str) -> (Transaction, Amount) {
        let mut known: BTreeMap<Txid, Transaction> = BTreeMap::new();
        for height in 0..=self.height() {
            let hash = self.call("getblockhash", &[json!(height)]);
            let block = self.call("getblock", &[hash, json!(0)]);
            let block: Block = deserialize_hex(block.as_str().expect("a block in hex")).expect("a block");
            known.extend(block.txdata.into_iter().map(|tx| (tx.compute_txid(), tx)));
        }
        let id: Txid = txid.parse().expect("an id");
        let tx = known.get(&id).unwrap_or_else(|| panic!("{txid} is in no block"));
        let spent = |coin: &OutPoint| known[&coin.txid].output[coin.vout as usize].value; // u32 fits
        let held: Amount = tx.input.iter().map(|input| spent(&input.previous_output)).sum();
        let paid: Amount = tx.output.iter().map(|output| output.value).sum();
        (tx.clone(), held - paid)
    }

    /// Asks bitcoind.
    ///
    /// # Panics
    /// When it refuses.
    pub fn call(&self, method: &str, params: &[Value]) -> Value {
        self.node.call(method, params).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn strings(list: &Value) -> BTreeSet<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}
