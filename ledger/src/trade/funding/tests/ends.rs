//! How the coins come free, or back, when a funding comes to nothing, and when they do not.

use super::*;

#[test]
fn coins_are_free_when_a_trade_is_called_off_before_a_signature() {
    let (mut seller, mut buyer) = both_willing();
    seller.duties();
    for side in [&mut seller, &mut buyer] {
        side.now.open = false;
        side.duties();
        side.duties();
    }
    // The buyer too, who brought nothing yet as far as he knows: his wallet may have chosen just before a crash.
    for side in [&seller, &buyer] {
        assert_eq!(side.ends, [Effect::Free]);
    }
}

#[test]
fn a_signature_that_left_is_taken_back_by_spending_a_coin() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, answer| *answer = None, &mut seller, &mut buyer);
    assert!(buyer.state.may_confirm() && !seller.state.may_confirm());
    // The seller is silent. In time the buyer calls off by himself, and spends one of his coins.
    buyer.now.tip = TIP + PATIENCE - 1;
    buyer.duties();
    assert!(buyer.ends.is_empty());
    buyer.now.tip += 1;
    buyer.duties();
    assert_eq!(buyer.ends, [Effect::CallOff]);
    (buyer.now.open, buyer.now.synced) = (false, false);
    buyer.duties();
    assert_eq!(buyer.ends.len(), 1, "not before the chain is known");
    buyer.now.synced = true;
    buyer.duties();
    buyer.duties();
    assert_eq!(buyer.ends, [Effect::CallOff, Effect::SpendBack]);
    // Nothing more is signed.
    let other = Proposal { feerate: 9, height: TIP, seller: sellers().contribution };
    buyer.step(Event::Proposal(other));
    assert_eq!(buyer.refused, [FundingError::Unexpected]);
}

#[test]
fn a_seller_who_proposes_again_and_again_gains_no_time() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, answer| *answer = None, &mut seller, &mut buyer);
    for number in 1..=5 {
        buyer.now.tip = TIP + number * PROPOSAL_AGE;
        buyer.step(Event::Proposal(Proposal { feerate: 10, height: buyer.now.tip, seller: sellers().contribution }));
        buyer.duties();
    }
    assert_eq!((buyer.signed.len(), buyer.state.gives_up_at()), (6, Some(TIP + PATIENCE)));
    assert!(buyer.ends.is_empty());
    buyer.now.tip = TIP + PATIENCE;
    buyer.duties();
    assert_eq!(buyer.ends, [Effect::CallOff]);
}

/// Each time just before the buyer would call it off, so that he signs the next.
#[test]
fn a_seller_who_spends_a_coin_of_his_before_each_proposal_gains_no_time() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, answer| *answer = None, &mut seller, &mut buyer);
    let gone = InputState::Spent { by: Txid::from_byte_array([9; 32]), depth: DEAD_AFTER };
    let propose = |buyer: &mut Side, number, tip| {
        buyer.now.tip = tip;
        buyer.duties();
        let theirs = funder(number, &[1_500_000], 10);
        buyer.chain.insert(outpoint(number), unspent(number, 1_500_000));
        buyer.step(Event::Proposal(Proposal { feerate: 10, height: tip, seller: theirs.contribution }));
        buyer.duties();
        (buyer.signed.len(), buyer.state.may_confirm(), buyer.state.gives_up_at())
    };
    buyer.chain.insert(outpoint(1), gone.clone());
    let end = TIP + PATIENCE;
    assert_eq!(propose(&mut buyer, 20, end - 1), (2, true, Some(end)));
    assert!(!buyer.ends.contains(&Effect::CallOff));
    buyer.chain.insert(outpoint(20), gone);
    assert_eq!(propose(&mut buyer, 30, end), (2, false, Some(end)), "he signs nothing more");
    assert_eq!(buyer.ends.last(), Some(&Effect::CallOff));
    buyer.now.open = false;
    buyer.duties();
    assert_eq!(buyer.ends.last(), Some(&Effect::Free), "nothing that he signed can confirm");
}

/// His machine was off between the two.
#[test]
fn what_a_buyer_signed_does_not_leave_any_more_once_he_calls_it_off() {
    for (tip, is_sent) in [(TIP + PATIENCE - 1, true), (TIP + PATIENCE, false)] {
        let mut buyer = Side::new(Role::Buyer);
        buyer.step(Event::Fund { feerate: 10 });
        buyer.step(Event::Proposal(Proposal { feerate: 10, height: TIP, seller: sellers().contribution }));
        buyer.duties();
        assert_eq!((buyer.signed.len(), buyer.answers.len()), (1, 0), "it is not sent yet");
        buyer.now.tip = tip;
        buyer.duties();
        assert_eq!((buyer.answers.len(), buyer.ends.contains(&Effect::CallOff)), (usize::from(is_sent), !is_sent));
        buyer.now.open = false;
        buyer.duties();
        assert_eq!(buyer.ends.last(), Some(&Effect::SpendBack));
    }
}

/// It was asked before he called it off, and answers after.
#[test]
fn a_buyer_signs_nothing_by_what_the_chain_answers_once_he_calls_it_off() {
    for (tip, signed) in [(TIP + PATIENCE - 1, 2), (TIP + PATIENCE, 1)] {
        let (mut seller, mut buyer) = both_willing();
        negotiate(&mut |_, answer| *answer = None, &mut seller, &mut buyer);
        buyer.now.tip = TIP + PATIENCE - 1;
        let theirs = funder(20, &[1_500_000], 10).contribution;
        buyer.step(Event::Proposal(Proposal { feerate: 10, height: buyer.now.tip, seller: theirs.clone() }));
        buyer.now.tip = tip;
        buyer.step(Event::Looked { theirs, states: vec![unspent(20, 1_500_000)], highest: HIGHEST });
        assert_eq!(buyer.signed.len(), signed, "{tip}");
    }
}

#[test]
fn a_funding_that_was_relied_on_is_never_taken_back() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    for side in [&mut seller, &mut buyer] {
        // The buyer paid, a reorg took the funding back, and it was called off.
        (side.now.open, side.now.owed, side.now.tip) = (false, true, TIP + 10 * PATIENCE);
        side.duties();
        assert!(side.ends.is_empty());
    }
}

#[test]
fn a_buyer_who_spends_his_coin_elsewhere_delays_and_gains_nothing() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    let first = seller.complete[0].clone();
    let elsewhere = Txid::from_byte_array([77; 32]);
    let spent = |depth| InputState::Spent { by: elsewhere, depth };
    seller.chain.insert(outpoint(101), spent(DEAD_AFTER - 1));
    seller.duties();
    seller.step(Event::Fund { feerate: 20 });
    assert_eq!((seller.ends.len(), seller.refused.pop()), (0, Some(FundingError::Signed)), "it may still come back");
    seller.chain.insert(outpoint(101), spent(DEAD_AFTER));
    seller.duties();
    assert_eq!(seller.ends, [Effect::Forget(first.compute_txid())]);
    // Another proposal, with another coin of the buyer's and the same of the seller's.
    buyer = Side::new(Role::Buyer);
    buyer.mine = funder(120, &[150_000], 110);
    seller.chain.insert(outpoint(120), unspent(120, 150_000));
    buyer.step(Event::Fund { feerate: 10 });
    seller.step(Event::Fund { feerate: 20 });
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    assert_eq!(seller.complete.len(), 2, "{:?} {:?}", seller.refused, buyer.refused);
    let spends = |tx: &Transaction| tx.input.iter().any(|input| input.previous_output == outpoint(1));
    assert!(seller.complete.iter().all(spends), "at most one can confirm");
    assert!(seller.state.has_signed(&first.compute_txid()));
}

#[test]
fn only_what_rests_on_a_coin_that_is_gone_is_dead() {
    let mut buyer = Side::new(Role::Buyer);
    buyer.chain.insert(outpoint(20), unspent(20, 1_500_000));
    buyer.step(Event::Fund { feerate: 10 });
    let others = funder(20, &[1_500_000], 10);
    for seller in [sellers(), others.clone()] {
        buyer.step(Event::Proposal(Proposal { feerate: 10, height: TIP, seller: seller.contribution }));
        buyer.duties();
    }
    let [first, second] = buyer.signed.as_slice() else { panic!("{:?}", buyer.refused) };
    for (theirs, forgotten, may_confirm) in
        [(&others, vec![second], true), (&others, vec![], true), (&sellers(), vec![first], false)]
    {
        let gone = InputState::Spent { by: Txid::from_byte_array([9; 32]), depth: DEAD_AFTER };
        let states = vec![gone; theirs.values.len()];
        let looked = Event::Looked { theirs: theirs.contribution.clone(), states, highest: HIGHEST };
        let effects = buyer.state.handle(&buyer.terms, Now { open: false, ..OPEN }, looked).unwrap();
        let forgotten: Vec<_> = forgotten.into_iter().map(|tx| Effect::Forget(tx.compute_txid())).collect();
        assert_eq!((effects, buyer.state.may_confirm()), (forgotten, may_confirm));
    }
}
