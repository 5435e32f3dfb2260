//! Events by hand, for what no honest chain does on demand.

use bitcoin::hashes::Hash;
use bitcoin::{TxIn, TxOut};

use super::super::persist::Scan;
use super::super::state::State;
use super::super::sync::Next;
use super::*;
use crate::chain::ChainEvent;

fn state() -> State {
    State::open(Zeroizing::new([1; 64]), Network::Regtest, Arc::new(|| TIME), &[]).unwrap().0
}

fn genesis() -> BlockRef {
    BlockRef { height: 0, hash: bitcoin::constants::genesis_block(Network::Regtest).block_hash() }
}

fn block(height: u32, branch: u8) -> BlockRef {
    BlockRef { height, hash: BlockHash::from_byte_array([branch.wrapping_add(height as u8); 32]) }
}

fn connected(block: BlockRef, txs: Vec<Transaction>) -> ChainEvent {
    ChainEvent::Connected { block, parent: genesis().hash, time: 1_700_000_000, txs }
}

/// A stranger's payment; `from` tells payments apart.
fn payment(script: ScriptBuf, from: u8) -> Transaction {
    let previous_output = OutPoint { txid: Txid::from_byte_array([from; 32]), vout: 0 };
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![TxIn { previous_output, ..TxIn::default() }],
        output: vec![TxOut { value: btc("1"), script_pubkey: script }],
    }
}

/// A wallet that has searched the empty chain.
fn synced() -> (State, ScriptBuf) {
    let mut state = state();
    assert_eq!(state.begin_pass(genesis()), [genesis()]);
    assert!(matches!(state.new_destination(), Err(WalletError::NotSynced { height: 0 })));
    assert_eq!(state.apply(ChainEvent::Synced { tip: genesis() }), Some(Next::Listen));
    let script = state.new_destination().unwrap();
    (state, script)
}

#[test]
fn an_undone_block_confirms_nothing_even_before_another_takes_its_place() {
    let (mut state, script) = synced();
    let tx = payment(script, 7);
    state.apply(connected(block(1, 10), vec![]));
    state.apply(connected(block(2, 10), vec![tx.clone()]));
    state.apply(ChainEvent::Synced { tip: block(2, 10) });
    assert_eq!(state.coins().balance.spendable, btc("1"));
    state.apply(ChainEvent::Disconnected { block: block(2, 10) });
    assert_eq!(state.coins().balance, Balance { pending: btc("1"), ..Balance::default() });
    // The chain goes back to the same block.
    state.apply(connected(block(2, 10), vec![tx.clone()]));
    assert_eq!(state.coins().balance.spendable, btc("1"));
    // Another branch, without the payment and without a word of the pool.
    state.apply(ChainEvent::Disconnected { block: block(2, 10) });
    state.apply(ChainEvent::Disconnected { block: block(1, 10) });
    for height in 1..=3 {
        state.apply(connected(block(height, 90), vec![]));
    }
    assert_eq!(state.coins().balance.pending, btc("1"));
    state.apply(ChainEvent::Synced { tip: block(3, 90) });
    assert_eq!(state.coins().balance, Balance::default());
    assert!(state.undone.is_empty());
    // It comes back.
    state.apply(ChainEvent::MempoolSeen { tx });
    assert_eq!(state.coins().balance.pending, btc("1"));
}

#[test]
fn a_payer_whose_change_we_know_is_still_a_stranger() {
    let (mut state, script) = synced();
    let mut first = payment(script.clone(), 7);
    first.output.push(TxOut { value: btc("3"), script_pubkey: escrow(9, "1").script });
    let mut second = payment(script, 8);
    second.input[0].previous_output = OutPoint { txid: first.compute_txid(), vout: 1 };
    state.apply(connected(block(1, 10), vec![first]));
    state.apply(ChainEvent::MempoolSeen { tx: second });
    let expected = Balance { spendable: btc("1"), pending: btc("1"), ..Balance::default() };
    assert_eq!(state.coins().balance, expected);
}

#[test]
fn seen_and_evicted_within_one_second_keep_their_order() {
    let (mut state, script) = synced();
    let tx = payment(script, 7);
    let txid = tx.compute_txid();
    for _ in 0..3 {
        state.apply(ChainEvent::MempoolSeen { tx: tx.clone() });
        assert_eq!(state.coins().balance.pending, btc("1"));
        state.apply(ChainEvent::Evicted { txid });
        assert_eq!(state.coins().balance.pending, Amount::ZERO);
    }
}

#[test]
fn a_funding_that_was_ever_seen_or_may_have_gone_out_stays_set_aside() {
    let funding = escrow(3, "0.1");
    let built = || {
        let (mut state, script) = synced();
        state.apply(connected(block(1, 10), vec![payment(script, 7)]));
        state.apply(ChainEvent::Synced { tip: block(1, 10) });
        let tx = state.fund(&funding, FeeRate::from_sat_per_vb_u32(5)).unwrap().tx;
        (state, tx)
    };
    let (mut state, _) = built();
    assert!(!state.release_funding(&escrow(4, "0.1").script).unwrap(), "nothing was built for another");
    assert_eq!(state.coins().balance, Balance { reserved: btc("1"), ..Balance::default() });
    assert!(state.release_funding(&funding.script).unwrap());
    assert_eq!(state.coins().balance, Balance { spendable: btc("1"), ..Balance::default() });
    assert!(!state.release_funding(&funding.script).unwrap(), "a second time there is nothing to free");

    // Pushed out of the pool it may come back.
    let (mut state, tx) = built();
    state.apply(ChainEvent::MempoolSeen { tx: tx.clone() });
    state.apply(ChainEvent::Evicted { txid: tx.compute_txid() });
    assert!(matches!(state.release_funding(&funding.script), Err(WalletError::AlreadyBroadcast { .. })));
    assert_eq!(state.coins().balance, Balance { reserved: btc("1"), ..Balance::default() });

    // Its child goes out with it, and whether it did only the network knows.
    let (mut state, tx) = built();
    let more = BumpRequest {
        request_id: String::new(),
        txid: tx.compute_txid(),
        fee_rate: None,
        allow_high_fee: false,
        dry_run: false,
        by_trade: true,
        priced: None,
    };
    state.bump(&more, FeeRate::from_sat_per_vb_u32(20)).unwrap();
    assert!(matches!(state.release_funding(&funding.script), Err(WalletError::AlreadyBroadcast { .. })));
    assert_eq!(state.coins().balance.reserved, btc("1"));
}

/// The same words on another machine have paid already. A pool may show as well what nobody signed.
#[test]
fn a_funding_that_waits_is_taken_up_if_this_wallet_signed_it() {
    let funding = escrow(3, "0.1");
    let rate = FeeRate::from_sat_per_vb_u32(5);
    let owner_of_two = || {
        let (mut state, script) = synced();
        let coins = vec![payment(script.clone(), 7), payment(script, 8)];
        state.apply(connected(block(1, 10), coins.clone()));
        state.apply(ChainEvent::Synced { tip: block(1, 10) });
        (state, coins)
    };
    let (mut elsewhere, coins) = owner_of_two();
    let paid = elsewhere.fund(&funding, rate).unwrap().tx;
    let (mut state, _) = owner_of_two();
    state.apply(ChainEvent::MempoolSeen { tx: paid.clone() });
    assert_eq!(state.fund(&funding, rate).unwrap().tx, paid);

    let mut made_up = payment(funding.script.clone(), 7);
    made_up.output[0].value = funding.amount;
    made_up.input[0].previous_output = OutPoint { txid: coins[0].compute_txid(), vout: 0 };
    made_up.input[0].witness = bitcoin::Witness::from_slice(&[[1; 64]]);
    let (mut state, _) = owner_of_two();
    state.apply(ChainEvent::MempoolSeen { tx: made_up.clone() });
    let built = state.fund(&funding, rate).unwrap().tx;
    assert_ne!(built.compute_txid(), made_up.compute_txid());
    assert_eq!(state.fund(&funding, rate).unwrap().tx, built, "there is one funding");
    // What a block holds was signed, whatever the pool showed of it.
    let (mut state, _) = owner_of_two();
    state.apply(connected(block(2, 10), vec![made_up.clone()]));
    assert_eq!(state.fund(&funding, rate).unwrap().tx, made_up);
}

/// Whoever tells of a pool can make up what spends the coins of this wallet.
#[test]
fn what_nobody_signed_spends_no_coin_and_brings_no_change() {
    let (mut state, script) = synced();
    let coin = payment(script.clone(), 7);
    state.apply(connected(block(1, 10), vec![coin.clone()]));
    state.apply(ChainEvent::Synced { tip: block(1, 10) });
    let own = OutPoint { txid: coin.compute_txid(), vout: 0 };
    let foreign = OutPoint { txid: Txid::from_byte_array([9; 32]), vout: 0 };
    let mut made_up = payment(script, 0);
    made_up.output[0].value = btc("0.5");
    for spent in [vec![own, foreign], vec![foreign, own], vec![own]] {
        let witness = bitcoin::Witness::from_slice(&[[1; 64]]);
        let input = |previous_output| TxIn { previous_output, witness: witness.clone(), ..TxIn::default() };
        made_up.input = spent.into_iter().map(input).collect();
        state.apply(ChainEvent::MempoolSeen { tx: made_up.clone() });
        assert_eq!(state.coins().balance, Balance { spendable: btc("1"), ..Balance::default() });
    }
    // What a block holds was signed, and stays so when it leaves the chain.
    state.apply(connected(block(2, 10), vec![made_up.clone()]));
    assert_eq!(state.coins().balance.spendable, btc("0.5"));
    state.apply(ChainEvent::Disconnected { block: block(2, 10) });
    state.apply(ChainEvent::MempoolSeen { tx: made_up });
    state.apply(connected(block(2, 90), vec![]));
    state.apply(ChainEvent::Synced { tip: block(2, 90) });
    assert_eq!(state.coins().balance.spendable, btc("0.5"), "our own change");
}

/// Whoever tells of a pool can make up any number of payments, in and out.
#[test]
fn what_a_pool_makes_up_fills_neither_memory_nor_disk() {
    let (mut state, script) = synced();
    let coin = payment(script.clone(), 7);
    state.apply(connected(block(1, 10), vec![coin.clone()]));
    state.apply(ChainEvent::Synced { tip: block(1, 10) });
    let mut kept = vec![state.take_change().unwrap().encode().unwrap()];
    let pays_in = |number: u32, bytes: usize| {
        let mut tx = payment(script.clone(), 8);
        tx.input[0].previous_output.vout = number;
        tx.input[0].witness = bitcoin::Witness::from_slice(&[vec![0; bytes]]);
        tx
    };
    for number in 0..3_000 {
        let mut out = payment(escrow(9, "1").script, 0);
        out.input[0].previous_output = OutPoint { txid: coin.compute_txid(), vout: 0 };
        out.output[0].value = Amount::from_sat(number.into());
        for tx in [pays_in(number, 1), out] {
            state.apply(ChainEvent::MempoolSeen { tx });
        }
    }
    let expected = Balance { spendable: btc("1"), pending: btc("1000"), ..Balance::default() };
    assert_eq!(state.coins().balance, expected);
    assert_eq!(state.wallet.tx_graph().full_txs().count(), 1_001);
    let bytes = state.take_change().map_or(0, |change| change.encode().unwrap().len());
    assert!(bytes < 1_000, "{bytes} bytes");

    // What a block holds is kept, be it known before, and makes room for another.
    state.apply(connected(block(2, 10), vec![pays_in(0, 1)]));
    for number in [5_000, 5_001] {
        state.apply(ChainEvent::MempoolSeen { tx: pays_in(number, 1) });
    }
    assert_eq!(state.coins().balance, Balance { spendable: btc("2"), ..expected });
    kept.push(state.take_change().unwrap().encode().unwrap());
    let (restarted, _) = State::open(Zeroizing::new([1; 64]), Network::Regtest, Arc::new(|| TIME), &kept).unwrap();
    assert_eq!(restarted.coins().balance, Balance { spendable: btc("2"), ..Balance::default() });

    // What is heavy fills it sooner, and what nobody passes on is not listened to at all.
    let (mut state, _) = synced();
    for number in 0..20 {
        state.apply(ChainEvent::MempoolSeen { tx: pays_in(number, 390_000) });
        state.apply(ChainEvent::MempoolSeen { tx: pays_in(100 + number, 400_000) });
    }
    assert_eq!(state.coins().balance.pending, btc("10"));
}

/// Whoever knows where a payout goes can tell of a child of it, be it before this wallet knows of the payout.
#[test]
fn a_child_that_nobody_signed_does_not_keep_a_payout_from_being_raised() {
    let (_, script) = synced();
    let payout = payment(script.clone(), 7);
    let mut made_up = payment(script, 0);
    made_up.input[0].previous_output = OutPoint { txid: payout.compute_txid(), vout: 0 };
    made_up.input[0].witness = bitcoin::Witness::from_slice(&[[1; 64]]);
    let request = ChildRequest {
        parent: payout.clone(),
        parent_fee: Amount::from_sat(170),
        fee_rate: None,
        allow_high_fee: false,
        dry_run: false,
        label: "a higher fee".into(),
        priced: None,
    };
    for told in [vec![&made_up], vec![&made_up, &payout], vec![&payout, &made_up]] {
        let (mut state, _) = synced();
        told.iter().for_each(|tx| assert!(state.apply(ChainEvent::MempoolSeen { tx: (*tx).clone() }).is_none()));
        assert_eq!(state.coins().balance.pending, btc("1"), "one of them pays in, as far as anybody can tell");
        let child = state.child(&request, FeeRate::from_sat_per_vb_u32(20)).unwrap().payment;
        state.see(payout.clone());
        state.see(child.tx);
        assert_eq!(state.coins().balance, Balance { pending: child.amount, ..Balance::default() });
        // Nor does it count when it is told of once more.
        state.apply(ChainEvent::MempoolSeen { tx: made_up.clone() });
        assert_eq!(state.coins().balance.pending, child.amount);
    }
}

/// Something stands in its way that this wallet does not see.
#[test]
fn what_is_spent_back_pays_twice_as_much_after_each_refusal_and_out_of_more_coins() {
    let (mut state, script) = synced();
    let coin = |from| {
        let mut tx = payment(script.clone(), from);
        tx.output[0].value = Amount::from_sat(20_000);
        tx
    };
    state.apply(connected(block(1, 10), [1, 2, 3].map(coin).to_vec()));
    state.apply(ChainEvent::Synced { tip: block(1, 10) });
    let (of, fee_rate) = (escrow(3, "1").script, FeeRate::from_sat_per_vb_u32(1));
    let output = TxOut { value: Amount::from_sat(45_000), script_pubkey: of.clone() };
    state.share(&ShareRequest { output, fee_rate, label: "escrow".into() }).unwrap();
    let mut paid = Vec::new();
    for height in 2..14 {
        let back = state.spend_back(&of, fee_rate, false).unwrap().unwrap();
        assert_eq!(state.spend_back(&of, fee_rate, false).unwrap().as_ref(), Some(&back), "it was not refused");
        state.release(back.tx.compute_txid()).unwrap();
        state.note_refused_back(of.clone(), back.fee);
        let again = state.spend_back(&of, fee_rate, false).unwrap().unwrap();
        assert_eq!(again.fee, back.fee, "no more before the next block");
        state.release(again.tx.compute_txid()).unwrap();
        state.note_refused_back(of.clone(), again.fee);
        paid.push((back.fee.to_sat(), back.tx.input.len()));
        let parent = block(height - 1, 10).hash;
        state.apply(ChainEvent::Connected { block: block(height, 10), parent, time: 1_700_000_000, txs: Vec::new() });
    }
    assert!(paid.windows(2).take(9).all(|pair| pair[1].0 == 2 * pair[0].0), "{paid:?}");
    let coins: Vec<usize> = paid.iter().map(|(_, coins)| *coins).collect();
    assert_eq!(coins, [1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3], "all of them when the smallest does not hold it");
    assert_eq!(paid[11].0, 60_000 - 330, "{paid:?}");
}

/// Where nobody tells that he took it, it stays, and after a block a dearer one takes its place; unless it is told of late.
#[test]
fn what_is_spent_back_is_done_once_it_is_told_of_however_late() {
    let (mut state, script) = synced();
    let mut coin = payment(script, 7);
    coin.output[0].value = Amount::from_sat(60_000);
    state.apply(connected(block(1, 10), vec![coin]));
    state.apply(ChainEvent::Synced { tip: block(1, 10) });
    let (of, fee_rate) = (escrow(3, "1").script, FeeRate::from_sat_per_vb_u32(1));
    let output = TxOut { value: Amount::from_sat(45_000), script_pubkey: of.clone() };
    state.share(&ShareRequest { output, fee_rate, label: "escrow".into() }).unwrap();
    let first = state.spend_back(&of, fee_rate, false).unwrap().unwrap();
    state.note_refused_back(of.clone(), first.fee);
    let again = state.spend_back(&of, fee_rate, false).unwrap();
    assert_eq!(again.as_ref(), Some(&first), "no more before the next block");
    state.apply(connected(block(2, 10), vec![]));
    let second = state.spend_back(&of, fee_rate, false).unwrap().unwrap();
    let [cheap, dear] = [&first, &second].map(|back| back.tx.compute_txid());
    assert_eq!(second.fee, first.fee * 2);
    assert!(!state.own.is_reserved(&cheap) && state.own.is_reserved(&dear), "one takes the place of the other");

    state.note_refused_back(of.clone(), second.fee);
    state.apply(connected(block(3, 10), vec![]));
    state.apply(ChainEvent::MempoolSeen { tx: first.tx });
    assert_eq!(state.spend_back(&of, fee_rate, false).unwrap(), None);
    state.release(dear).unwrap();
    assert_eq!(state.spend_back(&of, fee_rate, false).unwrap(), None);
    assert!(state.own.is_reserved(&cheap), "it is sent until it confirms");
}

#[test]
fn what_is_shown_is_watched_and_is_shown_again_until_somebody_has_got_it() {
    let (mut state, first) = synced();
    assert_eq!(state.new_destination().unwrap(), first, "nobody has got it");
    state.note_shown();
    let second = state.new_destination().unwrap();
    assert_ne!(second, first, "a follower that begins is told of all");
    let watched = state.take_all_scripts();
    assert!(watched.contains(&first) && watched.contains(&second));
    state.note_shown();
    let third = state.new_destination().unwrap();
    assert!(watched.contains(&third));
    assert!(state.has_unwatched(), "it brought another into view");
    assert_eq!(state.new_destination().unwrap(), third, "it was shown before that");
    state.note_shown();
    for _ in 0..10 {
        assert!(matches!(state.new_destination(), Err(WalletError::Unwatched)));
    }
    assert_eq!(state.take_unwatched().len(), 1);
    let fourth = state.new_destination().unwrap();
    assert!(watched.contains(&fourth) && ![first, second, third].contains(&fourth));
    state.note_shown();
    state.forget_follower();
    assert!(!state.has_unwatched() && state.new_destination().unwrap() != fourth);
}

#[test]
fn what_is_put_back_is_shown_next_unless_something_arrived_there() {
    let (mut state, first) = synced();
    state.note_shown();
    let second = state.new_destination().unwrap();
    state.note_shown();
    for _ in 0..10 {
        state.put_back_destination(first.clone());
        assert_eq!(state.new_destination().unwrap(), first, "nobody was shown it");
        state.note_shown();
    }
    let third = state.new_destination().unwrap();
    assert!(![&first, &second].contains(&&third), "it was put back once for each time that it was handed out");
    state.note_shown();
    state.put_back_destination(second.clone());
    state.apply(connected(block(1, 10), vec![payment(second.clone(), 7)]));
    assert!(![first, second, third].contains(&state.new_destination().unwrap()), "somebody knows the second");
}

#[test]
fn a_discovery_starts_another_pass_from_the_birth_height() {
    let (mut state, _) = synced();
    state.take_all_scripts();
    let ahead = state.wallet.peek_address(bdk_wallet::KeychainKind::External, 50).script_pubkey();
    state.apply(connected(block(1, 10), vec![payment(ahead, 7)]));
    assert_eq!(state.take_unwatched().len(), 50);
    assert_eq!(state.own.scan, Some(Scan::Again), "kept, so that a crash does not forget it");
    assert!(matches!(state.new_destination(), Err(WalletError::NotSynced { height: 1 })));
    assert_eq!(state.apply(ChainEvent::Synced { tip: block(1, 10) }), Some(Next::PassAgain));
    assert_eq!(state.begin_pass(genesis()), [genesis()]);
    assert_eq!(state.apply(ChainEvent::Synced { tip: block(1, 10) }), Some(Next::Listen));
    assert_eq!(state.own.scan, Some(Scan::Done));
    let found = ChainEvent::Found { block: block(1, 10), tx: payment(ScriptBuf::new(), 8) };
    assert_eq!(state.apply(found), None);
    assert_eq!(state.apply(ChainEvent::Synced { tip: block(1, 10) }), Some(Next::PassAgain));
}

#[test]
fn catching_up_keeps_few_checkpoints_and_an_ample_locator() {
    let mut state = state();
    state.begin_pass(genesis());
    let place = |height: u32| {
        let mut hash = [3; 32];
        hash[..4].copy_from_slice(&height.to_le_bytes());
        BlockRef { height, hash: BlockHash::from_byte_array(hash) }
    };
    for height in 1..=1_000 {
        state.apply(connected(place(height), vec![]));
    }
    state.end_batch();
    assert_eq!(state.wallet.checkpoints().count(), 2);
    state.apply(ChainEvent::Synced { tip: place(1_000) });
    let locator = state.begin_pass(genesis());
    assert_eq!(locator[..100], (901..=1_000).rev().map(place).collect::<Vec<_>>());
    assert_eq!(locator.last(), Some(&genesis()));
}
