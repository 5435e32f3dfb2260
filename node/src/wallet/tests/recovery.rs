//! Reorganisations, restarts, restores and outages.

use super::*;
use crate::chain::line::WAITING;

/// Alice holds one coin of 50, has a second way to spend it, and has paid Bob in the last block.
async fn paid_with_a_rival(chain: &Arc<KernelChain>, bob: &WalletHandle) -> (WalletHandle, Payment, Payment) {
    let alice = Owner::new(1, chain).open().await;
    earn(&alice, chain, 1).await;
    let rival = SendRequest { dry_run: true, ..pay("rival", escrow(9, "1").script, "7") };
    let rival = alice.send(rival).await.unwrap();
    let paid = alice.send(pay("rent", bob.new_destination().await.unwrap(), "5")).await.unwrap();
    assert_eq!(inputs(&rival.tx), inputs(&paid.tx));
    mine(chain, 1).await;
    until(bob, "the payment", |b| b.spendable == btc("5")).await;
    (alice, paid, rival)
}

#[tokio::test]
async fn a_reorganisation_makes_a_payment_pending_again() {
    let chain = new_chain();
    let bob = Owner::new(2, &chain).open().await;
    let (alice, ..) = paid_with_a_rival(&chain, &bob).await;
    chain.reorg(1, 2).await.unwrap();
    until(&bob, "the way back", |b| b.pending == btc("5") && b.spendable == Amount::ZERO).await;
    assert_eq!(bob.history(None, 1).await.unwrap().entries[0].height, None);
    mine(&chain, 1).await;
    until(&bob, "the second confirmation", |b| b.spendable == btc("5")).await;
    caught_up(&alice, &chain).await;
    until(&alice, "the change", |b| b.spendable > btc("44") && b.pending == Amount::ZERO).await;
}

#[tokio::test]
async fn a_payment_undone_and_replaced_is_gone() {
    let chain = new_chain();
    let bob = Owner::new(2, &chain).open().await;
    let (alice, _, rival) = paid_with_a_rival(&chain, &bob).await;
    chain.reorg(1, 2).await.unwrap();
    chain.mine_exactly(vec![rival.tx.clone()]).await.unwrap();
    until(&bob, "the loss", |b| *b == Balance::default()).await;
    assert!(bob.history(None, 10).await.unwrap().entries.is_empty());
    until(&alice, "the other change", |b| b.spendable == btc("43") - rival.fee).await;
}

#[tokio::test]
async fn what_was_undone_while_the_wallet_was_closed_is_noticed() {
    let chain = new_chain();
    let owner = Owner::new(2, &chain);
    let bob = owner.open().await;
    let (_alice, _, rival) = paid_with_a_rival(&chain, &bob).await;
    bob.close().await;
    chain.reorg(1, 2).await.unwrap();
    chain.mine_exactly(vec![rival.tx]).await.unwrap();
    let bob = owner.open().await;
    assert_eq!(bob.balance().await.unwrap(), Balance::default());
}

#[tokio::test]
async fn a_restart_goes_on_where_the_wallet_stopped() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 1).await;
    let deposit = wallet.address().await.unwrap();
    let destination = wallet.new_destination().await.unwrap();
    wallet.close().await;

    chain.mine(1, deposit.address.script_pubkey()).await.unwrap();
    chain.mine(1, destination.clone()).await.unwrap();
    mine(&chain, 120).await;
    let wallet = owner.open().await;
    assert_eq!(wallet.balance().await.unwrap().spendable, btc("150"));
    assert_ne!(wallet.address().await.unwrap(), deposit);
    assert_ne!(wallet.new_destination().await.unwrap(), destination);
    let unused = wallet.address().await.unwrap();
    wallet.close().await;
    assert_eq!(owner.open().await.address().await.unwrap(), unused);
}

#[tokio::test]
async fn a_kept_funding_survives_restarts_and_keeps_its_coins() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 2).await;
    let funding = wallet.fund(escrow(3, "10")).await.unwrap();
    wallet.close().await;
    for _ in 0..3 {
        let wallet = owner.open().await;
        assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"));
        assert_eq!(wallet.fund(escrow(3, "10")).await.unwrap(), funding);
        let all = SendRequest { amount: None, dry_run: true, ..pay("all", escrow(4, "1").script, "1") };
        let sweep = wallet.send(all).await.unwrap();
        assert!(inputs(&sweep.tx).is_disjoint(&inputs(&funding.tx)));
        wallet.close().await;
    }
    // The trade's driver broadcasts it past the wallet.
    let wallet = owner.open().await;
    chain.broadcast(&funding.tx).await.unwrap();
    until(&wallet, "the funding", |b| b.reserved == Amount::ZERO).await;
}

/// A light client is told by nobody what waits in pools, so its owner has to.
#[tokio::test]
async fn what_waited_when_the_wallet_was_closed_is_recalled_unless_a_block_has_settled_it() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let recalled = || std::mem::take(&mut *owner.chain.recalled.lock().unwrap());
    let wallet = owner.open().await;
    earn(&wallet, &chain, 3).await;
    let waits = wallet.send(pay("waits", escrow(9, "1").script, "5")).await.unwrap().tx.compute_txid();
    owner.chain.down.store(true, Ordering::SeqCst);
    let never_left = wallet.send(pay("never left", escrow(9, "1").script, "6")).await;
    assert!(matches!(never_left, Err(WalletError::NotYetBroadcast { .. })), "{never_left:?}");
    assert!(recalled().is_empty());
    wallet.close().await;
    let wallet = owner.open().await;
    assert_eq!(recalled(), [waits]);
    wallet.close().await;
    mine(&chain, 1).await;
    owner.open().await;
    assert!(recalled().is_empty());
}

/// Whoever asked for it was killed before he could keep it, and knows nothing but the escrow.
#[tokio::test]
async fn a_funding_that_nobody_kept_is_freed_by_its_escrow_after_a_restart() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 1).await;
    wallet.fund(escrow(3, "10")).await.unwrap();
    wallet.close().await;
    let wallet = owner.open().await;
    assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"));
    assert!(wallet.release_funding(escrow(3, "10").script).await.unwrap());
    wallet.close().await;
    let wallet = owner.open().await;
    assert_eq!(wallet.balance().await.unwrap(), Balance { spendable: btc("50"), ..Balance::default() });
    assert!(!wallet.release_funding(escrow(3, "10").script).await.unwrap(), "it is free already");
    let sent = wallet.fund(escrow(4, "10")).await.unwrap();
    wallet.broadcast(&sent.tx).await.unwrap();
    let refused = wallet.release_funding(escrow(4, "10").script).await;
    assert!(matches!(refused, Err(WalletError::AlreadyBroadcast { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_words_alone_bring_back_coins_in_any_order() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    let scripts = destinations(&wallet, 160).await;
    // The last one is paid first: it comes into view only after the block that pays it has gone by.
    chain.mine(1, scripts[159].clone()).await.unwrap();
    chain.mine(1, scripts[70].clone()).await.unwrap();
    mine(&chain, 100).await;
    until(&wallet, "both rewards", |b| b.spendable == btc("100")).await;

    let elsewhere = Owner { store: Arc::default(), ..owner };
    let restored = elsewhere.open().await;
    assert_eq!(restored.balance().await.unwrap().spendable, btc("100"));
    let fresh = restored.new_destination().await.unwrap();
    assert!(!scripts.contains(&fresh), "no address is handed out twice");
    restored.close().await;
    assert_eq!(elsewhere.open().await.balance().await.unwrap().spendable, btc("100"));
}

/// As during an outage of the backend, when strangers bid for many offers.
#[tokio::test]
async fn a_follower_that_takes_up_nothing_keeps_back_new_addresses_and_nothing_else() {
    let chain = new_chain();
    let mut line = Line::to(&chain);
    line.is_deaf = true;
    let owner = Owner { chain: Arc::new(line), ..Owner::new(1, &chain) };
    let wallet = owner.open().await;
    let deposit = wallet.address().await.unwrap();
    let ask = async {
        let mut answers = Vec::new();
        for _ in 0..40 {
            answers.push(wallet.new_destination().await);
        }
        (answers, wallet.balance().await, wallet.address().await)
    };
    let (answers, balance, address) = tokio::time::timeout(PATIENCE, ask).await.expect("the wallet answers");
    assert_eq!((balance.unwrap(), address.unwrap()), (Balance::default(), deposit));
    let refused = answers.iter().position(Result::is_err).expect("not everything was watched");
    // The deposit address brought the first script into view, and what the last one did waits before the queue.
    assert_eq!(refused, WAITING);
    assert!(answers[refused..].iter().all(|answer| matches!(answer, Err(WalletError::Unwatched))), "{answers:?}");

    let mut requests = owner.chain.unheard.lock().unwrap().pop().unwrap();
    assert_eq!(requests.recv().await.unwrap().scripts.len(), 1);
    let mut shown: HashSet<ScriptBuf> = answers.into_iter().flatten().collect();
    assert!(shown.insert(wallet.new_destination().await.unwrap()), "there is room for one more");
    assert_eq!(shown.len(), WAITING + 1);
    assert!(matches!(wallet.new_destination().await, Err(WalletError::Unwatched)));
}

#[tokio::test]
async fn a_payment_that_could_not_be_broadcast_goes_out_later() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 1).await;
    owner.chain.down.store(true, Ordering::SeqCst);
    let request = pay("rent", escrow(3, "1").script, "1");
    let error = wallet.send(request.clone()).await.unwrap_err();
    let WalletError::NotYetBroadcast { txid, .. } = error else { panic!("{error}") };
    assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"));
    wallet.close().await;
    owner.chain.down.store(false, Ordering::SeqCst);
    let wallet = owner.open().await;
    until(&wallet, "the payment", |b| b.reserved == Amount::ZERO && b.spendable > btc("48")).await;
    assert_eq!(wallet.send(request).await.unwrap().tx.compute_txid(), txid);
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    assert_eq!(wallet.history(None, 1).await.unwrap().entries[0].txid, txid);
}

#[tokio::test]
async fn a_refused_payment_takes_no_coins() {
    let chain = new_chain();
    let (owner, copy) = (Owner::new(1, &chain), Owner::new(1, &chain));
    let wallet = owner.open().await;
    earn(&wallet, &chain, 1).await;
    // A conflicting spend with a far higher fee is in the pool already; this copy of the wallet is told of it late.
    let rich =
        SendRequest { fee_rate: Some(FeeRate::from_sat_per_vb_u32(100)), ..pay("rich", escrow(4, "1").script, "2") };
    let rival = wallet.send(SendRequest { dry_run: true, ..rich }).await.unwrap();
    let poor = wallet.fund(escrow(3, "1")).await.unwrap();
    chain.broadcast(&rival.tx).await.unwrap();
    assert!(matches!(wallet.broadcast(&poor.tx).await, Err(WalletError::Chain(ChainError::Refused { .. }))));
    wallet.release(poor.tx.compute_txid()).await.unwrap();
    until(&wallet, "the rival's change", |b| b.spendable == btc("48") - rival.fee && b.reserved == Amount::ZERO).await;
    assert_eq!(copy.open().await.balance().await.unwrap().spendable, btc("48") - rival.fee);
}

#[tokio::test]
async fn a_payment_made_void_by_another_is_forgotten_when_that_is_final() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 1).await;
    let rival = SendRequest { dry_run: true, ..pay("rival", escrow(4, "1").script, "7") };
    let rival = wallet.send(rival).await.unwrap();
    owner.chain.down.store(true, Ordering::SeqCst);
    let void = wallet.send(pay("rent", escrow(3, "1").script, "1")).await.unwrap_err();
    let WalletError::NotYetBroadcast { txid, .. } = void else { panic!("{void}") };
    chain.mine_exactly(vec![rival.tx]).await.unwrap();
    mine(&chain, 4).await;
    caught_up(&wallet, &chain).await;
    assert!(matches!(
        wallet.send(pay("rent", escrow(3, "1").script, "2")).await,
        Err(WalletError::AlreadyBuilt { .. })
    ));
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    assert!(matches!(wallet.release(txid).await, Err(WalletError::NotReserved { .. })));
}

/// Its other coins would be set aside for ever. The same words may be in use elsewhere.
#[tokio::test]
async fn what_rests_on_a_payment_made_void_is_forgotten_with_that() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 2).await;
    let coin = wallet.coins(None, 1).await.unwrap().remove(0).outpoint;
    let by_it = |id: &str, amount: &str| SendRequest { coins: vec![coin], ..pay(id, escrow(9, "1").script, amount) };
    let rival = wallet.send(SendRequest { dry_run: true, ..by_it("rival", "7") }).await.unwrap();
    wallet.send(by_it("rent", "5")).await.unwrap();
    let funding = wallet.fund(escrow(3, "60")).await.unwrap();
    assert_eq!(funding.tx.input.len(), 2, "the change of the rent, and the other coin");
    chain.mine_exactly(vec![rival.tx]).await.unwrap();
    mine(&chain, 4).await;
    caught_up(&wallet, &chain).await;
    assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"), "a reorg could bring the rent back");
    let txid = funding.tx.compute_txid();
    assert!(!wallet.is_dead(txid).await.unwrap(), "with it the funding could confirm");
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    let all = Balance { spendable: btc("93") - rival.fee, ..Balance::default() };
    assert_eq!(wallet.balance().await.unwrap(), all);
    // Its trade may ask after a start, when nothing is known any more of the rent.
    wallet.close().await;
    let wallet = owner.open().await;
    assert!(wallet.is_dead(txid).await.unwrap());
    let another = wallet.fund(escrow(3, "60")).await.unwrap().tx;
    assert!(another.compute_txid() != txid && !wallet.is_dead(another.compute_txid()).await.unwrap());
}

/// What is buried is not dead, however deep, nor what was called off.
#[tokio::test]
async fn of_no_funding_that_confirmed_or_was_released_it_is_said_that_it_never_can() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 2).await;
    let [paid, released] = [wallet.fund(escrow(3, "1")).await.unwrap(), wallet.fund(escrow(4, "1")).await.unwrap()];
    wallet.release(released.tx.compute_txid()).await.unwrap();
    wallet.broadcast(&paid.tx).await.unwrap();
    mine(&chain, 7).await;
    caught_up(&wallet, &chain).await;
    for payment in [paid, released] {
        assert!(!wallet.is_dead(payment.tx.compute_txid()).await.unwrap());
    }
}

#[tokio::test]
async fn another_identitys_wallet_is_not_opened() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    owner.open().await.close().await;
    let stranger = Owner { seed: 2, ..owner };
    assert!(matches!(stranger.try_open().await, Err(WalletError::Foreign { .. })));
    stranger.store.append(b"\x01nonsense").unwrap();
    assert!(matches!(stranger.try_open().await, Err(WalletError::Damaged { .. })));
}

#[tokio::test]
async fn what_is_kept_is_compacted_and_holds_no_secret() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 1).await;
    let funding = wallet.fund(escrow(3, "10")).await.unwrap();
    destinations(&wallet, 70).await;
    wallet.close().await;
    assert!(matches!(wallet.balance().await, Err(WalletError::Closed)));
    assert!(owner.store.load().unwrap().len() > 70);
    let wallet = owner.open().await;
    let kept = owner.store.load().unwrap();
    assert!(kept.len() < 10, "{} changes", kept.len());
    assert_eq!(wallet.fund(escrow(3, "10")).await.unwrap(), funding);
    let text: String = kept.iter().map(|change| String::from_utf8_lossy(change).into_owned()).collect();
    assert!(text.contains("tpub") && !text.contains("prv"));
    assert!(!text.contains(&hex::encode([1; 16])));
}
