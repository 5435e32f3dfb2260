//! Coin control: which coins are spent, which are not, and what is said of them.

use super::*;

#[tokio::test]
async fn the_coins_that_were_named_are_spent_and_no_others() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 3).await;
    let coins = wallet.coins(None, 10).await.unwrap();
    assert_eq!(coins.len(), 3);
    let script = escrow(9, "1").script;
    let named = SendRequest { coins: vec![coins[1].outpoint], ..pay("one", script.clone(), "7") };
    let sent = wallet.send(named).await.unwrap();
    assert_eq!(inputs(&sent.tx), HashSet::from([coins[1].outpoint]));
    let more = SendRequest { coins: vec![coins[0].outpoint], ..pay("more", script.clone(), "50") };
    assert!(matches!(wallet.send(more).await, Err(WalletError::InsufficientFunds { .. })), "one coin does not hold it");
    let spent = SendRequest { coins: vec![coins[1].outpoint], ..pay("again", script.clone(), "1") };
    assert!(matches!(wallet.send(spent).await, Err(WalletError::UnknownCoin(_))));
    // All of the coins that were named, and nothing else.
    let all =
        SendRequest { amount: None, coins: vec![coins[0].outpoint, coins[2].outpoint], ..pay("all", script, "1") };
    let swept = wallet.send(all).await.unwrap();
    assert_eq!(swept.amount + swept.fee, btc("100"));
    assert_eq!(swept.tx.output.len(), 1);
}

#[tokio::test]
async fn a_frozen_coin_is_spent_by_nothing_until_it_is_freed() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 2).await;
    let coins = wallet.coins(None, 10).await.unwrap();
    let frozen = coins[0].outpoint;
    wallet.freeze(vec![frozen], true).await.unwrap();
    wallet.close().await;
    let wallet = owner.open().await;
    assert_eq!(
        wallet.balance().await.unwrap(),
        Balance { spendable: btc("50"), frozen: btc("50"), ..Balance::default() }
    );
    let script = escrow(9, "1").script;
    let named = SendRequest { coins: vec![frozen], ..pay("named", script.clone(), "1") };
    assert!(matches!(wallet.send(named).await, Err(WalletError::CoinNotSpendable { state: CoinState::Frozen, .. })));
    assert!(
        matches!(wallet.fund(escrow(3, "60")).await, Err(WalletError::InsufficientFunds { frozen, .. }) if frozen == btc("50"))
    );
    let all = SendRequest { amount: None, ..pay("all", script, "1") };
    assert_eq!(inputs(&wallet.send(all).await.unwrap().tx), HashSet::from([coins[1].outpoint]));
    let unknown = OutPoint::new(frozen.txid, 9);
    assert!(matches!(wallet.freeze(vec![frozen, unknown], false).await, Err(WalletError::UnknownCoin(_))));
    assert_eq!(wallet.balance().await.unwrap().frozen, btc("50"), "all or none");
    wallet.freeze(vec![frozen], false).await.unwrap();
    assert_eq!(wallet.balance().await.unwrap().spendable, btc("50"));
}

#[tokio::test]
async fn a_coin_that_is_set_aside_says_for_what() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    wallet.fund(escrow(3, "10")).await.unwrap();
    let coin = &wallet.coins(None, 10).await.unwrap()[0];
    assert!(matches!(&coin.state, CoinState::Reserved { label, .. } if label == "escrow 3"), "{coin:?}");
    let named = SendRequest { coins: vec![coin.outpoint], ..pay("named", escrow(9, "1").script, "1") };
    let refused = wallet.send(named).await.unwrap_err().to_string();
    assert!(refused.contains("escrow 3"), "{refused}");
}

#[tokio::test]
async fn labels_stay_with_what_they_are_about_and_travel() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    let address = wallet.address().await.unwrap().address.script_pubkey();
    let label = |subject, text: &str| Label { subject, text: text.into(), frozen: None };
    wallet.set_labels(vec![label(LabelSubject::Address(address), "salary")]).await.unwrap();
    earn(&wallet, &chain, 1).await;
    let entry = wallet.history(None, 1).await.unwrap().entries.remove(0);
    assert_eq!(entry.note, "salary", "an address speaks for what it receives");
    wallet.set_labels(vec![label(LabelSubject::Tx(entry.txid), "May")]).await.unwrap();
    wallet.set_label(entry.txid, "what the node knows").await.unwrap();
    let coin = wallet.coins(None, 1).await.unwrap().remove(0);
    wallet.freeze(vec![coin.outpoint], true).await.unwrap();
    wallet.close().await;
    let wallet = owner.open().await;
    let entry = wallet.history(None, 1).await.unwrap().entries.remove(0);
    assert_eq!((entry.note.as_str(), entry.label.as_str()), ("May", "what the node knows"));
    let all = wallet.labels(None, 100).await.unwrap();
    assert_eq!(all.len(), 3, "{all:?}");
    let mut paged = wallet.labels(None, 1).await.unwrap();
    while let Some(next) = wallet.labels(Some(paged.last().unwrap().subject.clone()), 1).await.unwrap().pop() {
        paged.push(next);
    }
    assert_eq!(paged, all);
    // Another wallet of the same chain takes them all, or none.
    let other = Owner::new(2, &chain).open().await;
    let mut bad = all.clone();
    bad.push(label(LabelSubject::Tx(entry.txid), &"x".repeat(300)));
    assert!(matches!(other.set_labels(bad).await, Err(WalletError::BadLabel)));
    assert!(other.labels(None, 100).await.unwrap().is_empty());
    other.set_labels(all.clone()).await.unwrap();
    assert_eq!(other.labels(None, 100).await.unwrap(), all);
}

/// Its owner brought a large file, or a hostile one.
#[tokio::test]
async fn a_wallet_that_is_full_of_labels_pays_all_the_same() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 2).await;
    let txid = |number: usize| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Txid::from_byte_array(id)
    };
    let note = |number, text: &str| Label { subject: LabelSubject::Tx(txid(number)), text: text.into(), frozen: None };
    let notes = |from: usize, text: &str| -> Vec<Label> { (from..from + 500).map(|at| note(at, text)).collect() };
    for from in (0..MAX_LABELS).step_by(500) {
        wallet.set_labels(notes(from, "rent")).await.unwrap();
    }
    let more = note(MAX_LABELS, "one more");
    assert!(matches!(wallet.set_labels(vec![more.clone()]).await, Err(WalletError::TooManyLabels)));
    let written = owner.store.load().unwrap().len();
    wallet.set_labels(notes(MAX_LABELS, "")).await.unwrap();
    assert_eq!(owner.store.load().unwrap().len(), written, "nothing is taken away, and nothing is kept of it");
    let script = escrow(9, "1").script;
    let sent = wallet.send(pay("rent", script, "1")).await.unwrap();
    wallet.set_label(sent.tx.compute_txid(), "what the node knows").await.unwrap();
    let coin = wallet.coins(None, 1).await.unwrap().remove(0).outpoint;
    wallet.freeze(vec![coin], true).await.unwrap();
    wallet.freeze(vec![coin], false).await.unwrap();
    wallet.fund(escrow(3, "1")).await.unwrap();

    // What is there can be said otherwise, or taken away, which makes room.
    wallet.set_labels(notes(0, "rent of May")).await.unwrap();
    wallet.set_labels(notes(0, "")).await.unwrap();
    wallet.set_labels(vec![more]).await.unwrap();
    // There is room for 499 more. A coin that is frozen counts beside what is said of it.
    let coins = |count: usize| -> Vec<Label> {
        let subject = |at| LabelSubject::Coin(OutPoint::new(txid(at), 0));
        (0..count).map(|at| Label { subject: subject(at), text: "kept".into(), frozen: Some(true) }).collect()
    };
    assert!(matches!(wallet.set_labels(coins(250)).await, Err(WalletError::TooManyLabels)));
    assert_eq!(wallet.set_labels(coins(249)).await.unwrap(), LabelsSet { frozen: 249, left_frozen: 0 });
}

/// The file is from another wallet, or of last year.
#[tokio::test]
async fn labels_freeze_coins_and_free_none() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 2).await;
    let coins = wallet.coins(None, 10).await.unwrap();
    let said = |at: usize, frozen| {
        let subject = LabelSubject::Coin(coins[at].outpoint);
        Label { subject, text: format!("coin {at}"), frozen: Some(frozen) }
    };
    wallet.freeze(vec![coins[0].outpoint], true).await.unwrap();
    let brought = wallet.set_labels(vec![said(0, false), said(1, true)]).await.unwrap();
    assert_eq!(brought, LabelsSet { frozen: 1, left_frozen: 1 });
    assert_eq!(wallet.balance().await.unwrap(), Balance { frozen: btc("100"), ..Balance::default() });
    let labels = wallet.labels(None, 10).await.unwrap();
    assert!(labels.contains(&said(0, true)) && labels.contains(&said(1, true)), "{labels:?}");
    wallet.freeze(vec![coins[0].outpoint], false).await.unwrap();
    let again = wallet.set_labels(vec![said(0, false), said(1, true)]).await.unwrap();
    assert_eq!((again, wallet.balance().await.unwrap().spendable), (LabelsSet::default(), btc("50")));
}
