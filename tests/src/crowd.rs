//! Others who want to be in the next block, and pay for it: they fill a small pool until what pays less is pushed out.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::opcodes::OP_TRUE;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::transaction::Version;
use bitcoin::{Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use serde_json::json;

use crate::Regtest;
use bitcoin::constants::COINBASE_MATURITY;

/// How many want to be in a block: more than twice what a pool of five megabytes holds.
const PEOPLE: u32 = 150;
/// How much each of them writes into the chain, in bytes: nearly the largest transaction that is relayed.
const BALLAST: usize = 90_000;

/// Coins that anybody can spend, by people who outbid each other.
#[derive(Debug)]
pub struct Crowd<'a> {
    chain: &'a Regtest,
    coins: Vec<(OutPoint, Amount)>,
}

impl<'a> Crowd<'a> {
    /// Gives the people their coins.
    ///
    /// # Panics
    /// When bitcoind does not answer.
    #[must_use]
    pub fn gather(chain: &'a Regtest) -> Self {
        let anybody = format!("raw({})", anybody().to_hex_string());
        let blocks = chain.call("generatetodescriptor", &[json!(PEOPLE), json!(anybody)]);
        let coin = |hash: &serde_json::Value| {
            let block = chain.call("getblock", &[hash.clone(), json!(0)]);
            let block: Block = deserialize_hex(block.as_str().expect("a block in hex")).expect("a block");
            let reward = &block.txdata[0];
            (OutPoint { txid: reward.compute_txid(), vout: 0 }, reward.output[0].value)
        };
        let coins = blocks.as_array().into_iter().flatten().map(coin).collect();
        chain.mine(COINBASE_MATURITY);
        Self { chain, coins }
    }

    /// Lets people pay `sat_vb` until the pool takes nothing that pays less than `above`.
    ///
    /// # Panics
    /// When there are too few of them.
    pub fn press(&mut self, sat_vb: u64, above: u64) {
        while self.chain.pool_minimum() < above {
            let (outpoint, value) = self.coins.pop().expect("the crowd is large enough");
            let tx = self.bid(outpoint, value, sat_vb);
            self.chain.call("sendrawtransaction", &[json!(serialize_hex(&tx))]);
        }
    }

    fn bid(&self, previous_output: OutPoint, value: Amount, sat_vb: u64) -> Transaction {
        let ballast = PushBytesBuf::try_from(vec![0x42; BALLAST]).expect("a push has at most four gigabytes");
        let mut witness = Witness::new();
        witness.push(nothing_asked());
        let mut tx = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output, script_sig: ScriptBuf::new(), sequence: Sequence::MAX, witness }],
            output: vec![
                TxOut {
                    value: Amount::ZERO,
                    script_pubkey: Builder::new().push_opcode(OP_RETURN).push_slice(ballast).into_script(),
                },
                TxOut { value, script_pubkey: anybody() },
            ],
        };
        let vsize = u64::try_from(tx.vsize()).expect("a size fits");
        tx.output[1].value = value - Amount::from_sat(vsize * sat_vb);
        tx
    }
}

/// A script that asks for nothing.
fn nothing_asked() -> ScriptBuf {
    Builder::new().push_opcode(OP_TRUE).into_script()
}

fn anybody() -> ScriptBuf {
    nothing_asked().to_p2wsh()
}
