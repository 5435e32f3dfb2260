//! What was shown before it was ordered is what is sent, or nothing is.

use super::*;

/// Returns an order for what a dry run showed: of its coins, as the API takes it.
fn order(request: &SendRequest, shown: &Payment) -> SendRequest {
    SendRequest {
        dry_run: false,
        fee_rate: None,
        coins: inputs(&shown.tx).into_iter().collect(),
        priced: Some(Priced { amount: shown.amount, fee: shown.fee }),
        ..request.clone()
    }
}

fn rate(sat_vb: u32) -> Option<FeeRate> {
    Some(FeeRate::from_sat_per_vb_u32(sat_vb))
}

#[tokio::test]
async fn a_payment_is_sent_as_it_was_shown_whatever_comes_in_and_whatever_fees_do() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 3).await;
    let script = escrow(3, "1").script;
    // With change, without it, and of everything; the fee is another than the chain asks by now.
    for (name, amount) in [("some", Some(btc("70"))), ("all", None)] {
        let request = SendRequest { amount, fee_rate: rate(7), dry_run: true, ..pay(name, script.clone(), "1") };
        let shown = wallet.send(request.clone()).await.unwrap();
        earn(&wallet, &chain, 1).await;
        let sent = wallet.send(order(&request, &shown)).await.unwrap();
        assert_eq!((sent.amount, sent.fee, inputs(&sent.tx)), (shown.amount, shown.fee, inputs(&shown.tx)), "{name}");
        assert_eq!(wallet.send(order(&request, &shown)).await.unwrap(), sent, "{name}: twice is once");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_as_it_was_shown_is_not_sent_at_all() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 2).await;
    let script = escrow(3, "1").script;
    let request = SendRequest { amount: None, dry_run: true, ..pay("all", script.clone(), "1") };
    let shown = wallet.send(request.clone()).await.unwrap();
    let coin = shown.tx.input[0].previous_output;
    wallet.freeze(vec![coin], true).await.unwrap();
    let held = wallet.balance().await.unwrap();
    let gone = wallet.send(order(&request, &shown)).await.unwrap_err();
    assert!(matches!(gone, WalletError::Outdated { .. }), "{gone}");
    assert!(gone.to_string().contains("it is frozen") && gone.to_string().contains("nothing was sent"), "{gone}");
    assert_eq!(wallet.balance().await.unwrap(), held);
    wallet.freeze(vec![coin], false).await.unwrap();

    // Where no coins are named, as in a sweep, more that came in changes what would arrive.
    earn(&wallet, &chain, 1).await;
    let more = wallet.send(SendRequest { coins: Vec::new(), ..order(&request, &shown) }).await.unwrap_err();
    assert!(matches!(more, WalletError::Outdated { .. }) && more.to_string().contains("would arrive"), "{more}");
    let made_up = Payment { fee: Amount::from_sat(1), amount: btc("100") - Amount::from_sat(1), ..shown.clone() };
    let cheap = wallet.send(order(&request, &made_up)).await.unwrap_err();
    assert!(matches!(cheap, WalletError::FeeRate { .. }), "{cheap}");
    let dear = Payment { fee: btc("50"), amount: btc("50"), ..shown.clone() };
    let dear = wallet.send(order(&request, &dear)).await.unwrap_err();
    assert!(matches!(dear, WalletError::HighFee { .. }), "{dear}");
    assert_eq!(wallet.send(order(&request, &shown)).await.unwrap().amount, shown.amount, "nothing was taken meanwhile");
}

fn more(request_id: &str, txid: Txid, priced: Option<PricedRaise>) -> BumpRequest {
    BumpRequest {
        request_id: request_id.into(),
        txid,
        fee_rate: rate(20),
        allow_high_fee: false,
        dry_run: priced.is_none(),
        by_trade: false,
        priced,
    }
}

fn shown(bumped: &Bumped) -> Option<PricedRaise> {
    Some(PricedRaise { raise: bumped.raise, fee: bumped.payment.fee })
}

#[tokio::test]
async fn a_fee_is_raised_as_it_was_shown_or_not_at_all() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let first = wallet.send(pay("rent", escrow(9, "1").script, "1")).await.unwrap().tx.compute_txid();
    let priced = wallet.bump(more("more", first, None)).await.unwrap();
    // The chain asks for less by now.
    let raised = wallet.bump(BumpRequest { fee_rate: None, ..more("more", first, shown(&priced)) }).await.unwrap();
    assert_eq!((raised.raise, raised.payment.fee), (FeeRaise::Replacement { of: first }, priced.payment.fee));

    // By now another version waits. What was shown was about the one before.
    let late = wallet.bump(more("again", first, shown(&priced))).await.unwrap_err();
    assert!(matches!(late, WalletError::Outdated { .. }), "{late}");
}

/// What it takes besides was drawn anew for the fee that was shown, and drawn alike each time: where that left too little to come
/// back, it was refused for good.
#[test]
fn a_replacement_that_takes_further_coins_is_made_as_it_was_shown() {
    let slow = FeeRate::from_sat_per_vb_u32(1);
    for sat_vb in (5..40).step_by(3) {
        let mut state = holding(&[100_000, 1_700, 2_300, 3_100, 4_700, 5_900, 7_100, 9_700, 12_100]);
        let largest = state.coins().spendable.into_iter().max_by_key(|coin| coin.txout.value).unwrap().outpoint;
        let rent = SendRequest { coins: vec![largest], ..pay("rent", escrow(9, "1").script, "0.00099700") };
        let first = state.send(&rent, slow).unwrap().tx;
        let txid = first.compute_txid();
        state.see(first);
        let priced = state.bump(&more("more", txid, None), FeeRate::from_sat_per_vb_u32(sat_vb)).unwrap();
        assert!(priced.payment.tx.input.len() > 1, "{sat_vb}");
        let order = more("more", txid, shown(&priced));
        let raised = state.bump(&order, slow).unwrap_or_else(|error| panic!("{sat_vb}: {error}"));
        let spent = |bumped: &Bumped| (bumped.payment.fee, inputs(&bumped.payment.tx));
        assert_eq!(spent(&raised), spent(&priced), "{sat_vb}");
    }
}

/// The whole fee of a replacement is something else than what a child pays on top.
#[test]
fn a_replacement_that_was_shown_does_not_become_a_child_nor_does_a_child_cost_more() {
    let mut state = holding(&[100_000_000]);
    let (slow, fast) = (FeeRate::from_sat_per_vb_u32(2), FeeRate::from_sat_per_vb_u32(20));
    let first = state.send(&pay("rent", escrow(9, "1").script, "0.1"), slow).unwrap().tx;
    let txid = first.compute_txid();
    state.see(first);
    let replaced = state.bump(&more("more", txid, None), fast).unwrap();
    // A funding rests on its change by now.
    let funding = state.fund(&escrow(3, "0.1"), slow).unwrap().tx;
    assert_eq!(funding.input[0].previous_output.txid, txid);
    let other = state.bump(&more("more", txid, shown(&replaced)), fast).unwrap_err();
    assert!(matches!(other, WalletError::Outdated { .. }), "{other}");

    state.see(funding.clone());
    let funded = funding.compute_txid();
    let child = state.bump(&more("", funded, None), fast).unwrap();
    let built = state.bump(&more("", funded, shown(&child)), slow).unwrap();
    assert_eq!((built.raise, built.payment.fee), (FeeRaise::Child { of: funded }, child.payment.fee));
    assert_eq!(state.bump(&more("", funded, shown(&child)), slow).unwrap(), built, "twice is once");
    for (fee, is_too_low) in [(built.payment.fee + Amount::ONE_SAT, true), (btc("0.2"), false)] {
        let made_up = Some(PricedRaise { fee, ..shown(&child).unwrap() });
        let refused = state.bump(&more("", funded, made_up), slow).unwrap_err();
        let (low, high) =
            (matches!(refused, WalletError::FeeTooLow { .. }), matches!(refused, WalletError::HighFee { .. }));
        assert_eq!((low, high), (is_too_low, !is_too_low), "{refused}");
    }
}
