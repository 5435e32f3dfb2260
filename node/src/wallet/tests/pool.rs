//! What strangers pay in, as a pool shows it.

use std::time::Instant;

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{TxIn, TxOut};

use super::super::persist::{Purpose, Reservation};
use super::super::state::State;
use super::*;
use crate::chain::ChainEvent;

/// Returns a transaction that spends so many outputs of another, and pays so many times a thousand satoshis.
fn paying(number: u8, inputs: u32, outputs: usize, script: &ScriptBuf) -> Transaction {
    let txid = Txid::from_byte_array([number; 32]);
    let input = |vout| TxIn { previous_output: OutPoint { txid, vout }, ..TxIn::default() };
    let output = TxOut { value: Amount::from_sat(1_000), script_pubkey: script.clone() };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: (0..inputs).map(input).collect(),
        output: vec![output; outputs],
    }
}

/// Each of their coins was compared with each coin of all that was built here: some two thousand million times.
#[test]
fn strangers_who_pay_in_by_thousands_of_coins_do_not_keep_the_wallet_from_answering() {
    let genesis = BlockRef { height: 0, hash: bitcoin::constants::genesis_block(Network::Regtest).block_hash() };
    let mut state = State::open(Zeroizing::new([1; 64]), Network::Regtest, Arc::new(|| TIME), &[]).unwrap().0;
    state.begin_pass(genesis);
    state.apply(ChainEvent::Synced { tip: genesis });
    let (script, built) = (state.new_destination().unwrap(), paying(9, 1_000, 1, &escrow(3, "1").script));
    state.reserve(Reservation {
        purpose: Purpose::Send { request_id: "all".into() },
        script: built.output[0].script_pubkey.clone(),
        asked: None,
        amount: built.output[0].value,
        fee: Amount::ZERO,
        tx: built,
        replaces: None,
    });
    for number in 1..=5 {
        state.apply(ChainEvent::MempoolSeen { tx: paying(number, 1_000, 400, &script) });
    }
    let begun = Instant::now();
    assert_eq!(state.coins().balance.pending, Amount::from_sat(5 * 400 * 1_000));
    assert_eq!(state.list_coins(None, 1)[0].state, CoinState::Pending);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
