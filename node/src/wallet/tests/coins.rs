//! Receiving, sending, funding, and what is refused.

use super::*;

#[tokio::test]
async fn coins_arrive_and_are_sent_on() {
    let chain = new_chain();
    let (alice, bob) = (Owner::new(1, &chain).open().await, Owner::new(2, &chain).open().await);
    let first = alice.address().await.unwrap();
    assert_eq!(first.uri, format!("bitcoin:{}", first.address));
    assert_eq!(alice.address().await.unwrap(), first, "an unused address stays");
    earn(&alice, &chain, 1).await;
    let balance = until(&alice, "the reward", |b| b.spendable == btc("50")).await;
    assert_eq!(balance.pending, Amount::ZERO);
    assert_ne!(alice.address().await.unwrap(), first, "a used address is not handed out again");

    let to_bob = bob.new_destination().await.unwrap();
    let paid = alice.send(pay("rent", to_bob, "1")).await.unwrap();
    assert_eq!((paid.amount, paid.tx.version.0), (btc("1"), 2));
    assert!(paid.tx.is_explicitly_rbf());
    // Our own change counts at once, a stranger's payment does not.
    let left = btc("49") - paid.fee;
    assert_eq!(alice.balance().await.unwrap(), Balance { spendable: left, ..Balance::default() });
    until(&bob, "the payment", |b| b.pending == btc("1") && b.spendable == Amount::ZERO).await;
    let again = alice.address().await.unwrap().address.script_pubkey();
    assert!(matches!(bob.send(pay("early", again.clone(), "0.5")).await, Err(WalletError::InsufficientFunds { .. })));
    let chained = alice.send(pay("chained", again, "40")).await.unwrap();
    assert!(inputs(&chained.tx).iter().all(|input| input.txid == paid.tx.compute_txid()));

    mine(&chain, 1).await;
    until(&bob, "the confirmation", |b| b.spendable == btc("1")).await;
    caught_up(&alice, &chain).await;
    let page = alice.history(None, 10).await.unwrap();
    let rent = page.entries.iter().find(|entry| entry.label == "rent").unwrap();
    assert_eq!((rent.fee, rent.height), (Some(paid.fee), Some(chain.tip().await.unwrap().height)));
    assert_eq!(rent.net.to_sat(), -100_000_000 - i64::try_from(paid.fee.to_sat()).unwrap());
    let income = &bob.history(None, 10).await.unwrap().entries[0];
    assert_eq!((income.net.to_sat(), income.fee), (100_000_000, None));
}

#[tokio::test]
async fn history_comes_in_pages_newest_first() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 5).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = wallet.history(after, 2).await.unwrap();
        assert!(page.entries.len() <= 2);
        seen.extend(page.entries);
        match page.next {
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    let heights: Vec<u32> = seen.iter().map(|entry| entry.height.unwrap()).collect();
    assert_eq!(heights, [5, 4, 3, 2, 1]);
    wallet.set_label(seen[0].txid, "reward").await.unwrap();
    assert_eq!(wallet.history(None, 1).await.unwrap().entries[0].label, "reward");
    assert!(matches!(wallet.set_label(seen[0].txid, "x".repeat(300)).await, Err(WalletError::BadLabel)));
}

#[tokio::test]
async fn a_shortage_tells_what_is_missing() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    chain.mine(1, wallet.address().await.unwrap().address.script_pubkey()).await.unwrap();
    until(&wallet, "the second reward", |b| b.pending == btc("50")).await;
    let error = wallet.fund(escrow(3, "60")).await.unwrap_err();
    let WalletError::InsufficientFunds { needed, available, pending, reserved, missing, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*available, *pending, *reserved), (btc("50"), btc("50"), Amount::ZERO));
    assert!(*needed > btc("60") && *missing == *needed - btc("50"), "with the fee");
    assert!(error.to_string().contains("only 50 BTC can be spent (50 BTC are pending"), "{error}");
    // All but the fee is there.
    let error = wallet.fund(escrow(3, "50")).await.unwrap_err();
    assert!(matches!(error, WalletError::InsufficientFunds { missing, .. } if missing > Amount::ZERO), "{error}");
    assert_eq!(wallet.balance().await.unwrap().spendable, btc("50"));
}

#[tokio::test]
async fn whoever_deposits_what_is_missing_can_pay() {
    let chain = new_chain();
    let (wallet, rich) = (Owner::new(1, &chain).open().await, Owner::new(2, &chain).open().await);
    earn(&wallet, &chain, 2).await;
    earn(&rich, &chain, 2).await;
    // More than there is; and all that there is, whose fee is missing.
    for more in [btc("20"), Amount::ZERO] {
        let held = wallet.balance().await.unwrap().spendable;
        let (amount, fee_rate) = (Some(held + more), Some(FeeRate::from_sat_per_vb_u32(10)));
        let order = SendRequest { amount, fee_rate, dry_run: true, ..pay("order", escrow(3, "1").script, "1") };
        let error = wallet.send(order.clone()).await.unwrap_err();
        let WalletError::InsufficientFunds { missing, .. } = &error else { panic!("{error}") };
        let deposit = pay(&format!("{more}"), wallet.address().await.unwrap().address.script_pubkey(), "1");
        rich.send(SendRequest { amount: Some(*missing), ..deposit }).await.unwrap();
        mine(&chain, 1).await;
        until(&wallet, "the deposit", |balance| balance.pending == Amount::ZERO && balance.spendable > held).await;
        wallet.send(order).await.unwrap_or_else(|error| panic!("{more}: {error}"));
    }
}

#[tokio::test]
async fn senseless_payments_are_refused() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let script = escrow(3, "1").script;
    let rate = |sat| Some(FeeRate::from_sat_per_vb_u32(sat));
    let request = |amount, fee_rate| SendRequest { fee_rate, ..pay("r", script.clone(), amount) };
    let refusal = async |request| wallet.send(request).await.unwrap_err();
    assert!(
        matches!(refusal(request("0.00000329", None)).await, WalletError::Dust { minimum, .. } if minimum.to_sat() == 330)
    );
    assert!(matches!(refusal(request("1", rate(501))).await, WalletError::FeeRate { .. }));
    assert!(matches!(refusal(request("1", Some(FeeRate::ZERO))).await, WalletError::FeeRate { .. }));
    assert!(matches!(refusal(request("0.0001", rate(100))).await, WalletError::HighFee { .. }));
    let nameless = SendRequest { request_id: String::new(), ..request("1", None) };
    assert!(matches!(refusal(nameless).await, WalletError::BadLabel));
    let endless = SendRequest { allow_high_fee: true, ..request("1", Some(FeeRate::MAX)) };
    assert!(matches!(refusal(endless).await, WalletError::FeeRate { .. }));
    assert_eq!(wallet.balance().await.unwrap().spendable, btc("50"), "a refusal takes nothing");
    let explicit = SendRequest { allow_high_fee: true, ..request("0.0001", rate(600)) };
    assert!(wallet.send(explicit).await.unwrap().fee > btc("0.0005"));
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_everything_can_be_sent() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 3).await;
    let change =
        |payment: &Payment| payment.tx.output.iter().find(|o| o.value != payment.amount).unwrap().script_pubkey.clone();
    let request = SendRequest { dry_run: true, ..pay("dry", escrow(3, "1").script, "1") };
    let (one, two) = (wallet.send(request.clone()).await.unwrap(), wallet.send(request).await.unwrap());
    assert_eq!(change(&one), change(&two), "the change address serves the next payment");
    let all = SendRequest { amount: None, dry_run: true, ..pay("all", escrow(3, "1").script, "1") };
    let priced = wallet.send(all.clone()).await.unwrap();
    assert_eq!(priced.amount + priced.fee, btc("150"));
    assert_eq!(wallet.balance().await.unwrap().spendable, btc("150"));
    let sent = wallet.send(SendRequest { dry_run: false, ..all.clone() }).await.unwrap();
    assert_eq!(sent.amount, priced.amount);
    assert_eq!(wallet.balance().await.unwrap(), Balance::default());
    // The same request again is the same payment; with other parameters it is a mistake.
    assert_eq!(wallet.send(SendRequest { dry_run: false, ..all.clone() }).await.unwrap(), sent);
    let other = SendRequest { amount: Some(btc("1")), dry_run: false, ..all };
    assert!(matches!(wallet.send(other).await, Err(WalletError::AlreadyBuilt { .. })));
}

#[tokio::test]
async fn what_a_dry_run_shows_is_what_is_sent() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 12).await;
    // Four of twelve coins alike pay this, and change comes back.
    let order = pay("rent", escrow(3, "1").script, "170");
    let shows = async |wallet: &WalletHandle, order: &SendRequest| {
        wallet.send(SendRequest { dry_run: true, ..order.clone() }).await.unwrap().tx
    };
    let shown = shows(&wallet, &order).await;
    assert_eq!((shown.input.len(), shown.output.len()), (4, 2));
    for _ in 0..3 {
        assert_eq!(shows(&wallet, &order).await.compute_txid(), shown.compute_txid());
    }
    // Which coins it takes, and where the change stands, nobody can tell from the order.
    let mut coins = HashSet::new();
    let mut changes = HashSet::new();
    for number in 4..20 {
        let script = escrow(number, "1").script;
        let other = shows(&wallet, &SendRequest { script: script.clone(), ..order.clone() }).await;
        coins.extend(inputs(&other));
        changes.insert(other.output[0].script_pubkey == script);
    }
    assert!(coins.len() > 4 && changes.len() == 2, "{} coins", coins.len());

    wallet.close().await;
    let wallet = owner.open().await;
    assert_eq!(shows(&wallet, &order).await.compute_txid(), shown.compute_txid(), "after a restart too");
    let sent = wallet.send(order.clone()).await.unwrap();
    assert_eq!(sent.tx.compute_txid(), shown.compute_txid());
    let again = shows(&wallet, &SendRequest { request_id: "again".into(), ..order }).await;
    assert!(inputs(&again).is_disjoint(&inputs(&sent.tx)), "what is spent is gone");
}

#[tokio::test]
async fn funding_is_built_once_and_takes_its_coins_out_of_play() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 2).await;
    let first = wallet.fund(escrow(3, "10")).await.unwrap();
    assert_eq!(
        wallet.balance().await.unwrap(),
        Balance { spendable: btc("50"), reserved: btc("50"), ..Balance::default() }
    );
    assert_eq!(wallet.fund(escrow(3, "10")).await.unwrap(), first);
    assert!(matches!(wallet.fund(escrow(3, "11")).await, Err(WalletError::AlreadyBuilt { what: "escrow", .. })));
    let second = wallet.fund(escrow(4, "10")).await.unwrap();
    assert!(inputs(&first.tx).is_disjoint(&inputs(&second.tx)));
    assert!(
        matches!(wallet.fund(escrow(5, "10")).await, Err(WalletError::InsufficientFunds { reserved, .. }) if reserved == btc("100"))
    );

    wallet.release(second.tx.compute_txid()).await.unwrap();
    assert!(matches!(wallet.release(second.tx.compute_txid()).await, Err(WalletError::NotReserved { .. })));
    assert_eq!(wallet.balance().await.unwrap().spendable, btc("50"));

    wallet.broadcast(&first.tx).await.unwrap();
    assert!(matches!(wallet.release(first.tx.compute_txid()).await, Err(WalletError::AlreadyBroadcast { .. })));
    let change = btc("40") - first.fee;
    assert_eq!(wallet.balance().await.unwrap(), Balance { spendable: btc("50") + change, ..Balance::default() });
    mine(&chain, 10).await;
    caught_up(&wallet, &chain).await;
    assert_eq!(wallet.history(None, 1).await.unwrap().entries[0].label, "escrow 3");
    assert_eq!(wallet.fund(escrow(3, "10")).await.unwrap(), first, "what is final is not funded again");
}

#[tokio::test]
async fn funding_at_the_same_time_never_shares_a_coin() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 6).await;
    let calls = (1..=10).map(|byte| {
        let wallet = wallet.clone();
        tokio::spawn(async move { wallet.fund(escrow(byte, "30")).await })
    });
    let mut taken = HashSet::new();
    let mut refused = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(payment) => inputs(&payment.tx).into_iter().for_each(|coin| assert!(taken.insert(coin), "{coin} twice")),
            Err(WalletError::InsufficientFunds { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((taken.len(), refused), (6, 4));
}

#[tokio::test]
async fn a_full_disk_hands_out_nothing() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 1).await;
    owner.store.set_full(true);
    assert!(matches!(wallet.fund(escrow(3, "10")).await, Err(WalletError::Store(_))));
    assert!(matches!(wallet.send(pay("rent", escrow(4, "1").script, "10")).await, Err(WalletError::Store(_))));
    for _ in 0..10 {
        assert!(matches!(wallet.new_destination().await, Err(WalletError::Store(_))));
    }
    owner.store.set_full(false);
    assert_eq!(wallet.balance().await.unwrap().spendable, btc("50"), "what was not kept takes no coins");
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    assert_eq!(wallet.history(None, 10).await.unwrap().entries.len(), 1, "what was refused is not sent later");
    wallet.fund(escrow(3, "10")).await.unwrap();
    let destination = wallet.new_destination().await.unwrap();
    let twin = Owner { store: Arc::default(), ..owner };
    assert_eq!(twin.open().await.new_destination().await.unwrap(), destination, "what nobody has got is used");
}
