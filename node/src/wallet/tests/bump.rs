//! Higher fees: what is replaced, what gets a child, and what is refused.

use super::*;

fn feerate(fee: Amount, txs: &[&Transaction]) -> u64 {
    let vsize: usize = txs.iter().map(|tx| tx.vsize()).sum();
    fee.to_sat() / u64::try_from(vsize).unwrap()
}

#[tokio::test]
async fn a_payment_is_replaced_by_a_dearer_one_to_the_same() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 2).await;
    let script = escrow(9, "1").script;
    let first = wallet.send(pay("rent", script.clone(), "3")).await.unwrap();
    let txid = first.tx.compute_txid();

    let priced = wallet.bump(BumpRequest { dry_run: true, ..bump("more", txid, 20) }).await.unwrap();
    assert!(chain.follow(vec![], vec![]).await.is_ok());
    let bumped = wallet.bump(bump("more", txid, 20)).await.unwrap();
    assert_eq!(bumped.raise, FeeRaise::Replacement { of: txid });
    assert_eq!(bumped.payment.fee, priced.payment.fee);
    let second = &bumped.payment.tx;
    assert!(inputs(&first.tx).is_subset(&inputs(second)), "they can never both confirm");
    assert!(second.output.iter().any(|output| output.script_pubkey == script && output.value == btc("3")));
    assert_eq!(feerate(bumped.payment.fee, &[second]), 20);
    // The same request is the same replacement; a lower fee replaces nothing.
    assert_eq!(wallet.bump(bump("more", txid, 20)).await.unwrap(), bumped);
    assert!(wallet.bump(bump("less", txid, 5)).await.is_err());
    let balance = wallet.balance().await.unwrap();
    assert_eq!(balance.spendable + balance.pending, btc("97") - bumped.payment.fee, "one payment counts, not two");

    // After a restart too, the later version is the one that is sent.
    wallet.close().await;
    let wallet = owner.open().await;
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    let history = wallet.history(None, 10).await.unwrap().entries;
    let rent: Vec<_> = history.iter().filter(|entry| entry.label == "rent").collect();
    assert_eq!(rent.len(), 1, "{history:#?}");
    assert_eq!((rent[0].txid, rent[0].height.is_some()), (second.compute_txid(), true));
    assert!(matches!(wallet.bump(bump("late", txid, 60)).await, Err(WalletError::AlreadyConfirmed { .. })));
}

/// Peers of a light client may not tell for a minute, or never, whether they took it; and a miner may not have heard of it.
#[tokio::test]
async fn nothing_rests_on_the_change_of_a_payment_that_is_being_replaced() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 2).await;
    let first = wallet.send(pay("rent", escrow(9, "1").script, "3")).await.unwrap();
    let (txid, half) = (first.tx.compute_txid(), btc("50"));
    owner.chain.down.store(true, Ordering::SeqCst);
    let unheard = wallet.bump(bump("more", txid, 20)).await;
    assert!(matches!(unheard, Err(WalletError::NotYetBroadcast { .. })), "{unheard:?}");
    let expected = Balance { spendable: half, pending: btc("47") - first.fee, ..Balance::default() };
    assert_eq!(wallet.balance().await.unwrap(), expected);
    // Nor once the pool shows the later version.
    owner.chain.down.store(false, Ordering::SeqCst);
    let second = wallet.bump(bump("more", txid, 20)).await.unwrap().payment;
    let expected = Balance { pending: btc("47") - second.fee, ..expected };
    until(&wallet, "the later version", |balance| *balance == expected).await;
    let refused = wallet.fund(escrow(3, "60")).await.unwrap_err();
    assert!(matches!(refused, WalletError::InsufficientFunds { available, .. } if available == half), "{refused}");
    chain.mine_exactly(vec![first.tx]).await.unwrap();
    caught_up(&wallet, &chain).await;
    let all = Balance { spendable: btc("97") - first.fee, ..Balance::default() };
    assert_eq!(wallet.balance().await.unwrap(), all, "a block has decided, for the earlier one");
    // The later one will never be seen, and keeps nobody from paying the same for the next month.
    wallet.send(pay("rent of June", escrow(9, "1").script, "3")).await.unwrap();
}

#[tokio::test]
async fn everything_that_was_sent_pays_more_out_of_what_arrives() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let all = SendRequest { amount: None, ..pay("all", escrow(9, "1").script, "1") };
    let sent = wallet.send(all).await.unwrap();
    let bumped = wallet.bump(bump("more", sent.tx.compute_txid(), 30)).await.unwrap();
    assert_eq!(bumped.payment.amount + bumped.payment.fee, btc("50"));
    assert!(bumped.payment.fee > sent.fee);
}

#[tokio::test]
async fn a_funding_is_never_replaced_but_its_change_pays_for_it() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let funding = wallet.fund(escrow(3, "10")).await.unwrap();
    let txid = funding.tx.compute_txid();
    wallet.broadcast(&funding.tx).await.unwrap();
    let bumped = wallet.bump(bump("", txid, 25)).await.unwrap();
    assert_eq!(bumped.raise, FeeRaise::Child { of: txid });
    let child = &bumped.payment.tx;
    assert!(inputs(child).iter().all(|input| input.txid == txid) && child.output.len() == 1);
    assert_eq!(feerate(funding.fee + bumped.payment.fee, &[&funding.tx, child]), 25);
    assert_eq!(wallet.fund(escrow(3, "10")).await.unwrap(), funding, "there is one funding");
    // Once more: the child is replaced, by one that spends the same and pays at least as much more as relays ask.
    let again = wallet.bump(bump("", txid, 40)).await.unwrap();
    assert_eq!(inputs(&again.payment.tx), inputs(child));
    assert_eq!(feerate(funding.fee + again.payment.fee, &[&funding.tx, &again.payment.tx]), 40);
    assert_eq!(wallet.bump(bump("", txid, 40)).await.unwrap(), again, "it pays that already");
    // Asking for the child's fee means its parent's.
    assert_eq!(wallet.bump(bump("", again.payment.tx.compute_txid(), 40)).await.unwrap(), again);
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    let balance = wallet.balance().await.unwrap();
    assert_eq!(balance.spendable, btc("40") - funding.fee - again.payment.fee);
}

/// The trade may be called off by now, or its node was killed before it knew of its funding.
#[tokio::test]
async fn a_funding_that_its_trade_has_not_sent_goes_out_by_no_other_hand() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let funding = wallet.fund(escrow(3, "10")).await.unwrap();
    let txid = funding.tx.compute_txid();
    let refused = wallet.bump(bump("", txid, 25)).await.unwrap_err();
    assert!(matches!(refused, WalletError::NotBumpable { .. }), "{refused}");
    let priced = wallet.bump(BumpRequest { by_trade: true, dry_run: true, ..bump("", txid, 25) }).await.unwrap();
    assert_eq!(priced.raise, FeeRaise::Child { of: txid });
    assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"), "nothing was sent");
    // Nor by what was built for it, while nobody has seen it.
    let sent = wallet.bump(BumpRequest { by_trade: true, ..bump("", txid, 25) }).await.unwrap();
    assert_eq!(sent.raise, FeeRaise::Child { of: txid });
    assert!(wallet.bump(bump("", txid, 40)).await.is_ok(), "it is in the pool now");
}

/// What its owner sends there he may replace, and so change its id. A trade keeps no such funding.
#[tokio::test]
async fn an_escrow_that_was_paid_by_hand_is_not_paid_again_nor_known_by_an_id_that_may_change() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 2).await;
    let by_hand = wallet.send(pay("by hand", escrow(3, "10").script, "10")).await.unwrap().tx.compute_txid();
    let refused = wallet.fund(escrow(3, "10")).await.unwrap_err();
    assert!(matches!(refused, WalletError::PaidByHand { txid } if txid == by_hand), "{refused}");
    let raised = wallet.bump(bump("more", by_hand, 30)).await.unwrap();
    assert_eq!(raised.raise, FeeRaise::Replacement { of: by_hand });
    assert!(matches!(wallet.fund(escrow(3, "10")).await, Err(WalletError::PaidByHand { .. })));
    mine(&chain, 6).await;
    caught_up(&wallet, &chain).await;
    assert_eq!(wallet.fund(escrow(3, "10")).await.unwrap().tx, raised.payment.tx, "that is final");
}

/// It funds nothing, whether it waits or a block holds it: so the right amount is paid beside it, and once.
#[tokio::test]
async fn an_escrow_that_was_sent_another_amount_by_hand_is_funded_all_the_same() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 4).await;
    let paid_to = |tx: &Transaction, script: &ScriptBuf| -> Vec<Amount> {
        tx.output.iter().filter(|output| output.script_pubkey == *script).map(|output| output.value).collect()
    };
    for (byte, wrong) in [(3, "9.99999999"), (4, "10.00000001")] {
        let FundRequest { script, .. } = escrow(byte, "10");
        wallet.send(pay(wrong, script.clone(), wrong)).await.unwrap();
        let funding = wallet.fund(escrow(byte, "10")).await.unwrap();
        assert_eq!(paid_to(&funding.tx, &script), [btc("10")], "beside {wrong}, which waits");
        assert_eq!(wallet.fund(escrow(byte, "10")).await.unwrap(), funding, "there is one funding");
    }
    let FundRequest { script, .. } = escrow(5, "10");
    wallet.send(pay("once more", script.clone(), "9.99999999")).await.unwrap();
    mine(&chain, 6).await;
    caught_up(&wallet, &chain).await;
    let funding = wallet.fund(escrow(5, "10")).await.unwrap();
    assert_eq!(paid_to(&funding.tx, &script), [btc("10")], "beside what a block holds");
}

/// It never counts, so it is paid once more where it does, and that once.
#[tokio::test]
async fn an_escrow_that_was_paid_by_hand_before_the_height_that_counts_is_funded_all_the_same() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 2).await;
    let by_hand = wallet.send(pay("by hand", escrow(3, "10").script, "10")).await.unwrap().tx;
    mine(&chain, 6).await;
    caught_up(&wallet, &chain).await;
    let from_height = chain.tip().await.unwrap().height - 5;
    let counts = FundRequest { from_height, ..escrow(3, "10") };
    assert_eq!(wallet.fund(counts).await.unwrap().tx, by_hand, "a block of this height holds it");
    let too_low = FundRequest { from_height: from_height + 1, ..escrow(3, "10") };
    let funding = wallet.fund(too_low.clone()).await.unwrap();
    assert_ne!(funding.tx, by_hand);
    assert_eq!(wallet.fund(too_low).await.unwrap(), funding, "there is one funding");
}

#[tokio::test]
async fn a_payment_on_which_another_rests_is_not_pulled_away() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let rent = wallet.send(pay("rent", escrow(9, "1").script, "1")).await.unwrap();
    // An escrow is funded out of the change; it is not even broadcast yet.
    let funding = wallet.fund(escrow(3, "10")).await.unwrap();
    assert!(inputs(&funding.tx).iter().any(|input| input.txid == rent.tx.compute_txid()));
    let refused = wallet.bump(bump("more", rent.tx.compute_txid(), 20)).await.unwrap_err();
    assert!(matches!(refused, WalletError::NotBumpable { .. }), "{refused}");
    // The funding's own change pays for both.
    wallet.broadcast(&funding.tx).await.unwrap();
    let bumped = wallet.bump(bump("", funding.tx.compute_txid(), 20)).await.unwrap();
    let fees = rent.fee + funding.fee + bumped.payment.fee;
    assert_eq!(feerate(fees, &[&rent.tx, &funding.tx, &bumped.payment.tx]), 20);
}

/// What the node says of the child begins by other words.
#[tokio::test]
async fn a_payment_with_the_longest_label_is_raised_by_a_child() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let own = wallet.address().await.unwrap().address.script_pubkey();
    let rent = SendRequest { label: "x".repeat(MAX_LABEL_BYTES), ..pay("rent", own, "30") };
    let rent = wallet.send(rent).await.unwrap().tx;
    let change = rent.output.iter().position(|output| output.value < btc("30")).unwrap();
    let change = OutPoint::new(rent.compute_txid(), u32::try_from(change).unwrap());
    // Something rests on it, so it is not replaced.
    let on_top = SendRequest { coins: vec![change], ..pay("on top", escrow(9, "1").script, "1") };
    wallet.send(on_top).await.unwrap();
    let bumped = wallet.bump(bump("", rent.compute_txid(), 20)).await.unwrap();
    assert_eq!(bumped.raise, FeeRaise::Child { of: rent.compute_txid() });
}

#[tokio::test]
async fn a_child_of_a_version_3_transaction_is_one_too() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let script = wallet.new_destination().await.unwrap();
    let parent = Transaction {
        version: bitcoin::transaction::Version(3),
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![bitcoin::TxIn {
            previous_output: OutPoint::new(Txid::from_raw_hash(Hash::all_zeros()), 7),
            ..Default::default()
        }],
        output: vec![bitcoin::TxOut { value: btc("0.01"), script_pubkey: script }],
    };
    let request = ChildRequest {
        parent: parent.clone(),
        parent_fee: Amount::from_sat(170),
        fee_rate: Some(rate(50)),
        allow_high_fee: false,
        dry_run: true,
        label: "payout".into(),
        priced: None,
    };
    let child = wallet.bump_by_child(request.clone()).await.unwrap().payment;
    assert_eq!((child.tx.version.0, child.tx.vsize()), (3, 111));
    assert_eq!(child.amount + child.fee, btc("0.01"));
    // What would eat the coins is refused, and so is what nobody of ours receives.
    let dear = ChildRequest {
        fee_rate: Some(rate(500)),
        parent: Transaction {
            output: vec![bitcoin::TxOut { value: Amount::from_sat(400_000), ..parent.output[0].clone() }],
            ..parent.clone()
        },
        ..request.clone()
    };
    assert!(matches!(wallet.bump_by_child(dear).await, Err(WalletError::HighFee { .. })));
    let foreign = bitcoin::TxOut { value: btc("1"), script_pubkey: escrow(9, "1").script };
    let stranger = ChildRequest { parent: Transaction { output: vec![foreign], ..parent }, ..request.clone() };
    assert!(matches!(wallet.bump_by_child(stranger).await, Err(WalletError::NotBumpable { .. })));
    let low = ChildRequest { fee_rate: Some(rate(1)), parent_fee: Amount::from_sat(10_000), ..request };
    assert!(matches!(wallet.bump_by_child(low).await, Err(WalletError::AlreadyPays { .. })));
}
