//! Transactions that are signed elsewhere too, and those who bring forged ones.

use super::*;

async fn drafted(wallet: &WalletHandle) -> Psbt {
    wallet.draft(pay("", escrow(9, "1").script, "1")).await.unwrap()
}

fn finish(psbt: Psbt) -> FinishRequest {
    FinishRequest { request_id: "signed".into(), psbt, allow_high_fee: false, dry_run: false, label: "signed".into() }
}

#[tokio::test]
async fn a_draft_is_signed_and_finished() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let draft = drafted(&wallet).await;
    assert_eq!(wallet.balance().await.unwrap().spendable, btc("50"), "a draft takes nothing");
    let review = wallet.review_psbt(draft.clone()).await.unwrap();
    assert_eq!((review.sent, review.received), (btc("50"), btc("49") - review.fee.unwrap()));
    assert!(matches!(wallet.finish_psbt(finish(draft.clone())).await, Err(WalletError::BadPsbt { .. })), "unsigned");
    let signed = wallet.sign_psbt(draft).await.unwrap();
    let read = psbt::decode(signed.to_string().as_bytes()).unwrap();
    assert_eq!(psbt::decode(&signed.serialize()).unwrap(), read);
    let dry = wallet.finish_psbt(FinishRequest { dry_run: true, ..finish(read.clone()) }).await.unwrap();
    assert_eq!(wallet.balance().await.unwrap(), Balance { frozen: btc("50"), ..Balance::default() });
    let sent = wallet.finish_psbt(finish(read.clone())).await.unwrap();
    assert_eq!((sent.amount, sent.fee), (btc("1"), dry.fee));
    assert_eq!(wallet.finish_psbt(finish(read)).await.unwrap(), sent, "twice is once");
    let change = btc("49") - sent.fee;
    let waits = Balance { pending: change, ..Balance::default() };
    assert_eq!(wallet.balance().await.unwrap(), waits, "another may have been signed");
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    assert_eq!(wallet.balance().await.unwrap(), Balance { spendable: change, ..Balance::default() });
    assert_eq!(wallet.history(None, 1).await.unwrap().entries[0].label, "signed");
}

/// Whoever has the file can send it at any time, so what was paid by the same coins would never confirm.
#[tokio::test]
async fn what_was_signed_in_a_file_pays_nothing_else_until_its_owner_says_so() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let wallet = owner.open().await;
    earn(&wallet, &chain, 1).await;
    let draft = drafted(&wallet).await;
    let coin = draft.unsigned_tx.input[0].previous_output;
    wallet.sign_psbt(draft.clone()).await.unwrap();
    wallet.close().await;
    let wallet = owner.open().await;
    let refused = wallet.fund(escrow(3, "10")).await.unwrap_err();
    assert!(matches!(refused, WalletError::InsufficientFunds { frozen, .. } if frozen == btc("50")), "{refused}");
    assert_eq!(wallet.coins(None, 1).await.unwrap()[0].state, CoinState::Frozen);
    wallet.sign_psbt(draft.clone()).await.unwrap(); // as when the file could not be written
    // No label says that it may be spent, nor that it may not: whoever signs for it again is not kept from that.
    let label = Label { subject: LabelSubject::Coin(coin), text: "for the flat".into(), frozen: None };
    wallet.set_labels(vec![label.clone()]).await.unwrap();
    assert_eq!(wallet.labels(None, 10).await.unwrap(), [label]);

    // Who freezes it himself means all of it.
    wallet.freeze(vec![coin], true).await.unwrap();
    assert!(matches!(wallet.sign_psbt(draft.clone()).await, Err(WalletError::CoinNotSpendable { .. })));
    wallet.freeze(vec![coin], false).await.unwrap();
    wallet.fund(escrow(3, "10")).await.unwrap();
    assert!(matches!(wallet.sign_psbt(draft).await, Err(WalletError::CoinNotSpendable { .. })), "it is promised now");
}

/// Somebody else's server said that he refused it, and may have passed it on.
#[tokio::test]
async fn what_was_paid_and_nobody_shows_is_not_paid_once_more_by_a_file() {
    let chain = new_chain();
    let mut line = Line::to(&chain);
    line.is_foreign = true;
    let owner = Owner { chain: Arc::new(line), ..Owner::new(1, &chain) };
    let wallet = owner.open().await;
    earn(&wallet, &chain, 3).await;
    let (before, all) = (drafted(&wallet).await, wallet.coins(None, 10).await.unwrap());
    let is_free = |coin: &&Coin| !inputs(&before.unsigned_tx).contains(&coin.outpoint);
    let coins = vec![all.iter().find(is_free).unwrap().outpoint];
    let rent = SendRequest { coins, ..pay("rent", escrow(9, "1").script, "1") };
    owner.chain.refuses.store(true, Ordering::SeqCst);
    let refused = wallet.send(rent.clone()).await.unwrap_err();
    let WalletError::NotYetBroadcast { txid: kept, .. } = refused else { panic!("{refused}") };

    let is_twin = |error: &WalletError| matches!(error, WalletError::StillUnseen { txid } if *txid == kept);
    let again = wallet.draft(pay("", escrow(9, "1").script, "1")).await.unwrap_err();
    assert!(is_twin(&again), "{again}");
    let signed = wallet.sign_psbt(before).await.unwrap();
    for dry_run in [true, false] {
        let again = wallet.finish_psbt(FinishRequest { dry_run, ..finish(signed.clone()) }).await.unwrap_err();
        assert!(is_twin(&again), "{again}");
    }
    wallet.draft(pay("", escrow(9, "1").script, "2")).await.unwrap();
    // Once it is seen another may be meant.
    owner.chain.refuses.store(false, Ordering::SeqCst);
    wallet.send(rent).await.unwrap();
    wallet.finish_psbt(finish(signed)).await.unwrap();
}

#[tokio::test]
async fn two_wallets_pay_together() {
    let chain = new_chain();
    let owner = Owner::new(1, &chain);
    let (alice, bob) = (owner.open().await, Owner::new(2, &chain).open().await);
    earn(&alice, &chain, 1).await;
    earn(&bob, &chain, 1).await;
    caught_up(&alice, &chain).await;
    let (mut joint, other) = (drafted(&alice).await, drafted(&bob).await);
    joint.unsigned_tx.input.extend(other.unsigned_tx.input.clone());
    joint.unsigned_tx.output.extend(other.unsigned_tx.output.clone());
    joint.inputs.extend(other.inputs.clone());
    joint.outputs.extend(other.outputs.clone());
    let half = alice.sign_psbt(joint).await.unwrap();
    assert!(matches!(bob.finish_psbt(finish(half.clone())).await, Err(WalletError::BadPsbt { .. })));
    // What bob's coin holds nobody tells her a second time.
    alice.close().await;
    let alice = owner.open().await;
    let whole = bob.sign_psbt(half).await.unwrap();
    let sent = bob.finish_psbt(finish(whole)).await.unwrap();
    assert_eq!(sent.tx.input.len(), 2);
    until(&alice, "her change on its way", |b| b.spendable == Amount::ZERO && b.pending > btc("48")).await;
    mine(&chain, 1).await;
    caught_up(&alice, &chain).await;
    assert!(alice.balance().await.unwrap().spendable < btc("49"));
}

#[tokio::test]
async fn what_a_stranger_says_of_our_coins_is_not_believed() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 2).await;
    let draft = drafted(&wallet).await;
    let refused = async |change: &dyn Fn(&mut Psbt)| {
        let mut forged = draft.clone();
        change(&mut forged);
        wallet.sign_psbt(forged).await.unwrap_err()
    };
    let lie = |psbt: &mut Psbt| psbt.inputs[0].witness_utxo.as_mut().unwrap().value = btc("1");
    assert!(matches!(refused(&lie).await, WalletError::BadPsbt { .. }), "another value");
    let script = |psbt: &mut Psbt| psbt.inputs[0].witness_utxo.as_mut().unwrap().script_pubkey = escrow(9, "1").script;
    assert!(matches!(refused(&script).await, WalletError::BadPsbt { .. }), "another script");
    let silent = |psbt: &mut Psbt| psbt.inputs[0].witness_utxo = None;
    assert!(matches!(refused(&silent).await, WalletError::BadPsbt { .. }), "no value at all");
    let partly =
        |psbt: &mut Psbt| psbt.inputs[0].sighash_type = Some(bitcoin::TapSighashType::NonePlusAnyoneCanPay.into());
    assert!(
        matches!(refused(&partly).await, WalletError::BadPsbt { .. }),
        "a signature that does not bind the outputs"
    );
    let tweaked = |psbt: &mut Psbt| psbt.inputs[0].tap_merkle_root = Some(bitcoin::hashes::Hash::all_zeros());
    assert!(matches!(refused(&tweaked).await, WalletError::BadPsbt { .. }), "another tree");
    let foreign = |psbt: &mut Psbt| psbt.unsigned_tx.input[0].previous_output.vout = 77;
    assert!(matches!(refused(&foreign).await, WalletError::BadPsbt { .. }), "nothing of ours");

    // A coin that is promised to a trade is not given away.
    let coin = draft.unsigned_tx.input[0].previous_output;
    wallet.freeze(vec![coin], true).await.unwrap();
    assert!(matches!(wallet.sign_psbt(draft.clone()).await, Err(WalletError::CoinNotSpendable { .. })));
    for bad in ["", "cHNidP8=", "psbt", "not base64 at all"] {
        assert!(matches!(psbt::decode(bad.as_bytes()), Err(WalletError::BadPsbt { .. })), "{bad}");
    }
    assert!(psbt::decode(&vec![b'A'; psbt::MAX_PSBT_LEN + 1]).is_err());
}
