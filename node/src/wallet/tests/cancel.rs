//! Payments that are cancelled: their coins come back, or they are made after all, and never both.

use super::*;

fn cancel(request_id: &str, txid: Txid) -> CancelRequest {
    CancelRequest {
        request_id: request_id.into(),
        txid,
        fee_rate: None,
        allow_high_fee: false,
        dry_run: false,
        priced: None,
    }
}

fn shown(cancelled: &Cancelled) -> Option<PricedCancel> {
    Some(PricedCancel { of: cancelled.of, fee: cancelled.payment.fee })
}

/// Returns what a replacement pays at least.
fn above(replaced: Amount, tx: &Transaction) -> Amount {
    replaced + Amount::from_sat(tx.vsize().try_into().unwrap())
}

/// As every server does for good with what pays to a script that none of them knows.
#[tokio::test]
async fn what_every_server_says_that_it_refused_is_cancelled_and_is_not_paid_twice_before_a_block_decides() {
    let chain = new_chain();
    let (owner, wallet) = client(1, &chain, 2).await;
    owner.chain.refuses.store(true, Ordering::SeqCst);
    let request = pay("rent", escrow(9, "1").script, "3");
    let refused = wallet.send(request.clone()).await.unwrap_err();
    let WalletError::NotYetBroadcast { txid, .. } = &refused else { panic!("{refused}") };
    assert!(refused.to_string().contains(&format!("wallet cancel {txid}")), "{refused}");
    let txid = *txid;

    let refused = wallet.cancel(cancel("no rent", txid)).await.unwrap_err();
    let WalletError::NotYetCancelled { txid: of, by, source } = &refused else { panic!("{refused}") };
    assert!(matches!(**source, ChainError::Refused { .. }), "{source}");
    assert!(*of == txid && refused.to_string().contains(&format!("wallet bump {by}")), "{refused}");
    let by = *by;
    assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"));
    let coins = wallet.coins(None, 2).await.unwrap();
    let label = format!("cancels {}: rent", &txid.to_string()[..8]);
    assert!(coins.iter().any(|coin| coin.state == CoinState::Reserved { by, label: label.clone() }), "{coins:?}");
    for request_id in ["rent", "rent again"] {
        let twice = wallet.send(SendRequest { request_id: request_id.into(), ..request.clone() }).await.unwrap_err();
        assert!(
            matches!(twice, WalletError::WasCancelled { txid: of, by: with } if (of, with) == (txid, by)),
            "{twice}"
        );
    }
    assert!(matches!(wallet.bump(bump("no rent", txid, 9)).await, Err(WalletError::AlreadyBuilt { .. })));
    assert!(matches!(wallet.cancel(cancel("rent", txid)).await, Err(WalletError::AlreadyBuilt { .. })));

    // What was kept before it went out is what goes out, after a restart too.
    wallet.close().await;
    owner.chain.refuses.store(false, Ordering::SeqCst);
    let wallet = owner.open().await;
    until(&wallet, "the coins", |balance| balance.reserved == Amount::ZERO && balance.pending > btc("49")).await;
    let cancelled = wallet.cancel(cancel("no rent", txid)).await.unwrap();
    assert_eq!((cancelled.of, cancelled.payment.tx.compute_txid()), (txid, by));
    assert_eq!(wallet.cancel(cancel("once more", txid)).await.unwrap(), cancelled, "that is done already");
    let twice = wallet.send(SendRequest { request_id: "rent again".into(), ..request.clone() }).await.unwrap_err();
    assert!(matches!(twice, WalletError::WasCancelled { .. }), "a pool decides nothing: {twice}");
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    let all = Balance { spendable: btc("100") - cancelled.payment.fee, ..Balance::default() };
    assert_eq!(wallet.balance().await.unwrap(), all);
    let entry = wallet.history(None, 1).await.unwrap().entries.remove(0);
    assert_eq!((entry.txid, entry.label, entry.fee), (by, label, Some(cancelled.payment.fee)));
    let late = wallet.cancel(cancel("late", txid)).await.unwrap_err();
    assert!(matches!(late, WalletError::AlreadyCancelled { txid: of, by: with } if (of, with) == (txid, by)), "{late}");
    let again = wallet.send(request.clone()).await.unwrap();
    assert_ne!(again.tx.compute_txid(), txid, "it is another one");
    assert_eq!(wallet.send(request).await.unwrap(), again, "twice is once");
}

#[tokio::test]
async fn the_last_version_of_a_payment_in_the_pool_is_cancelled_as_it_was_shown() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let first = wallet.send(pay("rent", escrow(9, "1").script, "3")).await.unwrap().tx.compute_txid();
    let early = wallet.cancel(CancelRequest { dry_run: true, ..cancel("", first) }).await.unwrap();
    assert_eq!(early.of, first);
    let second = wallet.bump(bump("more", first, 20)).await.unwrap().payment;
    let late = wallet.cancel(CancelRequest { priced: shown(&early), ..cancel("no rent", first) }).await.unwrap_err();
    assert!(matches!(late, WalletError::Outdated { .. }), "{late}");

    // By the rules of the network, whatever is asked for.
    let cheap = CancelRequest { fee_rate: Some(rate(1)), ..cancel("no rent", first) };
    let priced = wallet.cancel(CancelRequest { dry_run: true, ..cheap.clone() }).await.unwrap();
    assert_eq!(priced.of, second.tx.compute_txid());
    assert_eq!(priced.payment.fee, above(second.fee, &priced.payment.tx));
    let made_up = PricedCancel { of: priced.of, fee: priced.payment.fee - Amount::ONE_SAT };
    let refused = wallet.cancel(CancelRequest { priced: Some(made_up), ..cancel("no rent", first) }).await.unwrap_err();
    assert!(matches!(refused, WalletError::Outdated { .. }), "{refused}");
    let made_up = PricedCancel { fee: btc("20"), ..made_up };
    let refused = wallet.cancel(CancelRequest { priced: Some(made_up), ..cancel("no rent", first) }).await.unwrap_err();
    assert!(matches!(refused, WalletError::HighFee { .. }), "{refused}");

    let cancelled = wallet.cancel(CancelRequest { priced: shown(&priced), ..cancel("no rent", first) }).await.unwrap();
    assert_eq!(cancelled, priced, "what was shown is done");
    let back = &cancelled.payment;
    assert_eq!((inputs(&back.tx), back.tx.output.len()), (inputs(&second.tx), 1));
    assert_eq!(back.amount + back.fee, btc("50"));
    let waits = Balance { pending: back.amount, ..Balance::default() };
    until(&wallet, "the coins on their way back", |balance| *balance == waits).await;
    let late = wallet.bump(bump("more", first, 20)).await.unwrap_err();
    assert!(matches!(late, WalletError::WasCancelled { .. }), "it is not sent again: {late}");
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    let entries = wallet.history(None, 10).await.unwrap().entries;
    assert!(entries.iter().all(|entry| entry.label != "rent"), "{entries:#?}");
    assert_eq!(wallet.balance().await.unwrap(), Balance { spendable: back.amount, ..Balance::default() });
}

#[tokio::test]
async fn what_cancels_a_payment_is_raised_as_that_would_be_and_brings_back_the_rest() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 1).await;
    let rent = wallet.send(pay("rent", escrow(9, "1").script, "3")).await.unwrap().tx.compute_txid();
    // Nobody tells whether he took it.
    owner.chain.down.store(true, Ordering::SeqCst);
    let unsent = wallet.cancel(cancel("no rent", rent)).await.unwrap_err();
    let WalletError::NotYetCancelled { by: first, .. } = unsent else { panic!("{unsent}") };
    owner.chain.down.store(false, Ordering::SeqCst);
    let raised = wallet.bump(bump("faster", rent, 30)).await.unwrap();
    assert_eq!(raised.raise, FeeRaise::Replacement { of: first });
    assert_eq!(raised.payment.amount + raised.payment.fee, btc("50"));
    assert_eq!(wallet.bump(bump("faster", rent, 30)).await.unwrap(), raised, "twice is once");
    assert!(matches!(wallet.bump(bump("slower", rent, 5)).await, Err(WalletError::AlreadyPays { .. })));
    let dearer = CancelRequest { fee_rate: Some(rate(60)), ..cancel("yet faster", rent) };
    let cancelled = wallet.cancel(dearer).await.unwrap();
    assert_eq!(cancelled.of, rent);
    assert_eq!(cancelled.payment.tx.output[0].script_pubkey, raised.payment.tx.output[0].script_pubkey);
    assert_eq!(wallet.cancel(cancel("no rent", rent)).await.unwrap(), cancelled, "its last version cancels it");
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    let back = Balance { spendable: btc("50") - cancelled.payment.fee, ..Balance::default() };
    assert_eq!(wallet.balance().await.unwrap(), back);
}

#[tokio::test]
async fn a_payment_that_a_block_holds_all_the_same_is_one_and_what_cancels_it_is_dropped() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 2).await;
    let rent = wallet.send(pay("rent", escrow(9, "1").script, "3")).await.unwrap();
    let txid = rent.tx.compute_txid();
    owner.chain.down.store(true, Ordering::SeqCst);
    let unsent = wallet.cancel(cancel("no rent", txid)).await.unwrap_err();
    let WalletError::NotYetCancelled { by, .. } = unsent else { panic!("{unsent}") };
    chain.mine_exactly(vec![rent.tx]).await.unwrap();
    caught_up(&wallet, &chain).await;
    let all = Balance { spendable: btc("97") - rent.fee, ..Balance::default() };
    assert_eq!(wallet.balance().await.unwrap(), all);
    let entry = wallet.history(None, 1).await.unwrap().entries.remove(0);
    assert_eq!((entry.txid, entry.label.as_str(), entry.height.is_some()), (txid, "rent", true));
    for request_id in ["no rent", "once more"] {
        let late = wallet.cancel(cancel(request_id, txid)).await.unwrap_err();
        assert!(matches!(late, WalletError::TooLate { txid: held } if held == txid), "{late}");
    }
    assert!(matches!(wallet.bump(bump("more", txid, 60)).await, Err(WalletError::AlreadyConfirmed { .. })));
    owner.chain.down.store(false, Ordering::SeqCst);
    mine(&chain, 5).await;
    caught_up(&wallet, &chain).await;
    assert!(matches!(wallet.release(by).await, Err(WalletError::NotReserved { .. })), "that is forgotten");
    assert_eq!(wallet.balance().await.unwrap(), all);
    assert!(matches!(wallet.cancel(cancel("later", txid)).await, Err(WalletError::TooLate { .. })));
}

#[tokio::test]
async fn nothing_of_a_trade_is_cancelled_nor_that_on_which_something_rests() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 2).await;
    let refused = async |txid: Txid, why: &str| {
        let refused = wallet.cancel(cancel("no", txid)).await.unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, WalletError::NotCancellable { .. }) && told.contains(why), "{told}");
    };
    let funding = wallet.fund(escrow(3, "10")).await.unwrap().tx;
    refused(funding.compute_txid(), "part of a trade").await;
    wallet.broadcast(&funding).await.unwrap();
    refused(funding.compute_txid(), "part of a trade").await;
    let child = wallet.bump(bump("", funding.compute_txid(), 25)).await.unwrap().payment.tx.compute_txid();
    refused(child, "part of a trade").await;
    let unknown = wallet.cancel(cancel("no", Txid::from_byte_array([9; 32]))).await.unwrap_err();
    assert!(matches!(unknown, WalletError::UnknownTransaction { .. }), "{unknown}");

    let rent = wallet.send(pay("rent", escrow(9, "1").script, "40")).await.unwrap().tx;
    let change = rent.output.iter().position(|output| output.script_pubkey != escrow(9, "1").script).unwrap();
    let change = OutPoint::new(rent.compute_txid(), u32::try_from(change).unwrap());
    let on_top = SendRequest { coins: vec![change], ..pay("on top", escrow(8, "1").script, "1") };
    let on_top = wallet.send(on_top).await.unwrap().tx.compute_txid();
    refused(rent.compute_txid(), &on_top.to_string()).await;
    assert_eq!(wallet.cancel(cancel("no", on_top)).await.unwrap().of, on_top);
}

/// What he sent there himself may still be made, and the escrow would be paid twice.
#[tokio::test]
async fn an_escrow_that_was_paid_by_hand_is_funded_once_a_block_holds_what_cancels_that() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 2).await;
    let by_hand = wallet.send(pay("by hand", escrow(3, "10").script, "10")).await.unwrap().tx.compute_txid();
    wallet.cancel(cancel("not by hand", by_hand)).await.unwrap();
    let early = wallet.fund(escrow(3, "10")).await.unwrap_err();
    assert!(matches!(early, WalletError::WasCancelled { txid, .. } if txid == by_hand), "{early}");
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    let funding = wallet.fund(escrow(3, "10")).await.unwrap();
    assert_ne!(funding.tx.compute_txid(), by_hand);
    assert_eq!(wallet.fund(escrow(3, "10")).await.unwrap(), funding, "there is one funding");
}

#[test]
fn coins_that_come_back_from_a_trade_are_not_cancelled() {
    let mut state = holding(&[60_000]);
    let FundRequest { script, .. } = escrow(3, "1");
    let output = bitcoin::TxOut { value: Amount::from_sat(45_000), script_pubkey: script.clone() };
    state.share(&ShareRequest { output, fee_rate: rate(1), label: "escrow".into() }).unwrap();
    let back = state.spend_back(&script, rate(1), false).unwrap().unwrap().tx.compute_txid();
    let refused = state.cancel(&cancel("no", back), rate(5)).unwrap_err();
    assert!(matches!(refused, WalletError::NotCancellable { .. }), "{refused}");
}

/// It is paid for what is built here, and goes with what it was built for.
#[tokio::test]
async fn a_payment_goes_with_what_was_built_to_raise_its_fee() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    // One that pays two is not replaced by a dearer one.
    let mut psbt = wallet.draft(pay("", escrow(9, "1").script, "1")).await.unwrap();
    let change = psbt.unsigned_tx.output.iter_mut().find(|output| output.value > btc("40")).unwrap();
    change.value -= btc("1.00001");
    psbt.unsigned_tx.output.push(bitcoin::TxOut { value: btc("1"), script_pubkey: escrow(8, "1").script });
    psbt.outputs.push(bitcoin::psbt::Output::default());
    let psbt = wallet.sign_psbt(psbt).await.unwrap();
    let finish =
        FinishRequest { request_id: "both".into(), psbt, allow_high_fee: false, dry_run: false, label: String::new() };
    let both = wallet.finish_psbt(finish.clone()).await.unwrap();
    let txid = both.tx.compute_txid();
    let child = wallet.bump(bump("", txid, 20)).await.unwrap();
    assert_eq!(child.raise, FeeRaise::Child { of: txid });

    let asked = CancelRequest { fee_rate: Some(rate(1)), ..cancel("neither", child.payment.tx.compute_txid()) };
    let cancelled = wallet.cancel(asked).await.unwrap();
    assert_eq!(cancelled.of, txid);
    assert_eq!(cancelled.payment.fee, above(both.fee + child.payment.fee, &cancelled.payment.tx));
    assert_eq!(inputs(&cancelled.payment.tx), inputs(&both.tx));
    assert!(matches!(wallet.finish_psbt(finish).await, Err(WalletError::WasCancelled { .. })), "it is not sent again");
    // Nor is what was built for it.
    let by = cancelled.payment.tx.compute_txid();
    let raised = wallet.bump(bump("faster", child.payment.tx.compute_txid(), 90)).await.unwrap();
    assert_eq!(raised.raise, FeeRaise::Replacement { of: by });
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    let back = Balance { spendable: btc("50") - raised.payment.fee, ..Balance::default() };
    assert_eq!(wallet.balance().await.unwrap(), back);
    let label = format!("cancels {txid}");
    assert_eq!(wallet.history(None, 1).await.unwrap().entries[0].label, label, "nothing was said of it");
}

#[test]
fn only_the_last_version_is_sent_and_the_one_before_is_kept_for_it() {
    let mut state = holding(&[100_000, 90_000]);
    let rent = state.send(&pay("rent", escrow(9, "1").script, "0.0005"), rate(2)).unwrap().tx;
    let txid = rent.compute_txid();
    assert_eq!(state.unsent(), [vec![rent]]);
    let first = state.cancel(&cancel("no rent", txid), rate(2)).unwrap().payment.tx;
    assert_eq!(state.unsent(), [vec![first.clone()]]);
    let last = state.bump(&bump("faster", txid, 20), rate(20)).unwrap().payment;
    // As when one's own node is asked for what was built before, and refuses it.
    state.release(first.compute_txid()).unwrap();
    assert_eq!(state.unsent(), [vec![last.tx.clone()]]);
    assert_eq!(state.coins().balance.reserved, last.amount + last.fee);
    // Where that refuses the last one, the one before counts again.
    state.release(last.tx.compute_txid()).unwrap();
    assert_eq!(state.unsent(), [vec![first]]);
}

#[test]
fn coins_that_do_not_hold_the_fee_do_not_come_back() {
    let mut state = holding(&[1_000]);
    let all = SendRequest { amount: None, ..pay("all", escrow(9, "1").script, "1") };
    let txid = state.send(&all, rate(1)).unwrap().tx.compute_txid();
    let dear = CancelRequest { allow_high_fee: true, ..cancel("no", txid) };
    let refused = state.cancel(&dear, rate(7)).unwrap_err();
    assert!(matches!(refused, WalletError::NotCancellable { .. }), "{refused}");
    let cancelled = state.cancel(&cancel("no", txid), rate(1)).unwrap();
    assert_eq!(cancelled.payment.amount + cancelled.payment.fee, Amount::from_sat(1_000));
}
