//! Payments that are said to be refused: by one's own node, and by somebody else's server, who may be the one that is paid.

use super::*;

fn finish(psbt: Psbt) -> FinishRequest {
    FinishRequest { request_id: "signed".into(), psbt, allow_high_fee: false, dry_run: false, label: "signed".into() }
}

fn dearer(request_id: &str, txid: Txid, sat_vb: u32) -> BumpRequest {
    BumpRequest {
        request_id: request_id.into(),
        txid,
        fee_rate: Some(FeeRate::from_sat_per_vb_u32(sat_vb)),
        allow_high_fee: false,
        dry_run: false,
        by_trade: false,
        priced: None,
    }
}

/// He passes it on once there is a second one, of other coins.
#[tokio::test]
async fn what_a_server_says_that_it_refused_stays_known_and_keeps_its_coins() {
    let chain = new_chain();
    let (owner, wallet) = client(1, &chain, 2).await;
    let request = pay("rent", escrow(3, "1").script, "1");
    let shown = wallet.send(SendRequest { dry_run: true, ..request.clone() }).await.unwrap().tx;
    owner.chain.refuses.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = wallet.send(request.clone()).await.unwrap_err();
        let WalletError::NotYetBroadcast { txid, source: ChainError::Refused { .. } } = &refused else {
            panic!("{refused}")
        };
        assert_eq!(*txid, shown.compute_txid());
        let told = refused.to_string();
        assert!(told.contains("a second time") && told.contains(&format!("wallet bump {txid}")), "{told}");
        assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"));
    }
    let again = wallet.send(SendRequest { request_id: "again".into(), ..request.clone() }).await.unwrap_err();
    assert!(matches!(again, WalletError::StillUnseen { txid } if txid == shown.compute_txid()), "{again}");
    let other = wallet.send(SendRequest { dry_run: true, ..pay("other", escrow(3, "1").script, "2") }).await.unwrap();
    assert!(inputs(&other.tx).is_disjoint(&inputs(&shown)), "what is kept is not spent by another");

    // What makes it dearer spends the same, and stays known likewise.
    let refused = wallet.bump(dearer("more", shown.compute_txid(), 10)).await.unwrap_err();
    let WalletError::NotYetBroadcast { txid: more, source: ChainError::Refused { .. } } = refused else {
        panic!("{refused}")
    };
    assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"));
    owner.chain.refuses.store(false, Ordering::SeqCst);
    let raised = wallet.bump(dearer("yet more", shown.compute_txid(), 20)).await.unwrap();
    assert_eq!(raised.raise, FeeRaise::Replacement { of: more });
    assert!(inputs(&shown).is_subset(&inputs(&raised.payment.tx)), "they can never both confirm");
    assert!(wallet.send(SendRequest { request_id: "May".into(), ..request }).await.is_ok(), "the first was seen");
}

/// What is paid by the coin that it takes besides could never be made, once he passes it on.
#[tokio::test]
async fn a_higher_fee_that_a_server_says_that_it_refused_keeps_its_coins_and_is_raised_again() {
    let chain = new_chain();
    let (owner, wallet) = client(1, &chain, 2).await;
    let first = wallet.send(pay("rent", escrow(3, "1").script, "49.9999")).await.unwrap().tx;
    owner.chain.refuses.store(true, Ordering::SeqCst);
    let refused = wallet.bump(dearer("more", first.compute_txid(), 100)).await.unwrap_err();
    let WalletError::NotYetBroadcast { txid, source: ChainError::Refused { .. } } = refused else {
        panic!("{refused}")
    };
    assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"), "the coin that it takes besides");
    let funding = wallet.fund(escrow(4, "1")).await.unwrap_err();
    assert!(matches!(funding, WalletError::InsufficientFunds { .. }), "{funding}");
    owner.chain.refuses.store(false, Ordering::SeqCst);
    let again = wallet.bump(dearer("yet more", first.compute_txid(), 150)).await.unwrap();
    assert_eq!((again.raise, again.payment.tx.input.len()), (FeeRaise::Replacement { of: txid }, 2));
    assert_eq!(wallet.bump(dearer("yet more", first.compute_txid(), 150)).await.unwrap(), again, "twice is once");
}

#[tokio::test]
async fn what_was_said_to_be_refused_is_offered_again_after_a_restart_too() {
    let chain = new_chain();
    let (owner, wallet) = client(1, &chain, 1).await;
    owner.chain.refuses.store(true, Ordering::SeqCst);
    let refused = wallet.send(pay("rent", escrow(3, "1").script, "1")).await.unwrap_err();
    let WalletError::NotYetBroadcast { txid, .. } = refused else { panic!("{refused}") };
    wallet.close().await;
    owner.chain.refuses.store(false, Ordering::SeqCst);
    let wallet = owner.open().await;
    until(&wallet, "the payment", |b| b.reserved == Amount::ZERO && b.spendable > btc("48")).await;
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    assert_eq!(wallet.history(None, 1).await.unwrap().entries[0].txid, txid);
}

#[tokio::test]
async fn what_ones_own_node_refused_takes_no_coins() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 1).await;
    owner.chain.refuses.store(true, Ordering::SeqCst);
    let refused = wallet.send(pay("rent", escrow(3, "1").script, "1")).await.unwrap_err();
    assert!(matches!(refused, WalletError::Chain(ChainError::Refused { .. })), "{refused}");
    assert_eq!(wallet.balance().await.unwrap(), Balance { spendable: btc("50"), ..Balance::default() });
    let signed = wallet.sign_psbt(wallet.draft(pay("", escrow(9, "1").script, "1")).await.unwrap()).await.unwrap();
    let refused = wallet.finish_psbt(finish(signed)).await.unwrap_err();
    assert!(matches!(refused, WalletError::Chain(ChainError::Refused { .. })), "{refused}");
    // The file is still there, and somebody else's node may take it.
    assert_eq!(wallet.balance().await.unwrap(), Balance { frozen: btc("50"), ..Balance::default() });
}

#[tokio::test]
async fn what_was_signed_elsewhere_too_is_kept_unless_others_would_have_to_sign_again() {
    let chain = new_chain();
    let (owner, alice) = client(1, &chain, 1).await;
    let bob = Owner::new(2, &chain).open().await;
    earn(&bob, &chain, 1).await;
    caught_up(&alice, &chain).await;
    let drafted = async |wallet: &WalletHandle| wallet.draft(pay("", escrow(9, "1").script, "1")).await.unwrap();
    let (mine, theirs) = (drafted(&alice).await, drafted(&bob).await);
    owner.chain.refuses.store(true, Ordering::SeqCst);

    let mut joint = mine.clone();
    joint.unsigned_tx.input.extend(theirs.unsigned_tx.input.clone());
    joint.unsigned_tx.output.extend(theirs.unsigned_tx.output.clone());
    joint.inputs.extend(theirs.inputs.clone());
    joint.outputs.extend(theirs.outputs.clone());
    let whole = bob.sign_psbt(alice.sign_psbt(joint).await.unwrap()).await.unwrap();
    let refused = alice.finish_psbt(finish(whole)).await.unwrap_err();
    assert!(matches!(refused, WalletError::Chain(ChainError::Refused { .. })), "{refused}");
    assert_eq!(alice.balance().await.unwrap().reserved, Amount::ZERO, "his coin may be gone, and nobody tells her");

    let signed = alice.sign_psbt(mine).await.unwrap();
    let txid = signed.unsigned_tx.compute_txid();
    let refused = alice.finish_psbt(finish(signed)).await.unwrap_err();
    assert!(matches!(refused, WalletError::NotYetBroadcast { txid: kept, .. } if kept == txid), "{refused}");
    assert_eq!(alice.balance().await.unwrap().reserved, btc("50"));
}
