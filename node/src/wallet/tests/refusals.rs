//! Payments that are said to be refused: by one's own node, and by somebody else's server, who may be the one that is paid.

use super::*;

/// Returns a wallet that sees the chain by a server of somebody else's, and that has so many coins.
async fn client(seed: u8, chain: &Arc<KernelChain>, coins: u32) -> (Owner, WalletHandle) {
    let mut line = Line::to(chain);
    line.is_foreign = true;
    let owner = Owner { chain: Arc::new(line), ..Owner::new(seed, chain) };
    let wallet = owner.open().await;
    earn(&wallet, chain, coins).await;
    (owner, wallet)
}

fn finish(psbt: Psbt) -> FinishRequest {
    FinishRequest { request_id: "signed".into(), psbt, allow_high_fee: false, dry_run: false, label: "signed".into() }
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

    // What makes it dearer spends the same, and what is said to be refused of that frees nothing but itself.
    let dearer = |request_id: &str, sat_vb| BumpRequest {
        request_id: request_id.into(),
        txid: shown.compute_txid(),
        fee_rate: Some(FeeRate::from_sat_per_vb_u32(sat_vb)),
        allow_high_fee: false,
        dry_run: false,
        by_trade: false,
        priced: None,
    };
    let refused = wallet.bump(dearer("more", 10)).await.unwrap_err();
    assert!(matches!(refused, WalletError::Chain(ChainError::Refused { .. })), "{refused}");
    assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"));
    owner.chain.refuses.store(false, Ordering::SeqCst);
    let raised = wallet.bump(dearer("yet more", 20)).await.unwrap();
    assert_eq!(raised.raise, FeeRaise::Replacement { of: shown.compute_txid() });
    assert!(inputs(&shown).is_subset(&inputs(&raised.payment.tx)), "they can never both confirm");
    assert!(wallet.send(SendRequest { request_id: "May".into(), ..request }).await.is_ok(), "the first was seen");
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
