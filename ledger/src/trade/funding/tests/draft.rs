//! The transaction that follows from what both sides bring: what each pays, and where what is left over goes.

use super::*;
use crate::rules::MAX_SPEND_FEERATE;

#[test]
fn two_wallets_fund_both_outputs_at_once() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    let [tx] = seller.complete.as_slice() else { panic!("{:?} {:?}", seller.refused, buyer.refused) };
    let terms = terms(Role::Seller);
    for output in [&terms.seller_output, &terms.buyer_output] {
        assert_eq!(tx.output.iter().filter(|other| *other == output).count(), 1);
    }
    assert_eq!((tx.input.len(), tx.output.len(), tx.version.0), (3, 4, 3));
    assert_eq!(tx.lock_time.to_consensus_u32(), TIP);
    assert!(tx.input.iter().all(|input| input.witness.len() == 1 && input.sequence.0 == 0xffff_fffd));
    assert_eq!(tx.compute_txid(), buyer.signed[0].compute_txid());
    // Each pays his output and his part of the weight; nobody pays for what the other brings.
    let (seller_paid, buyer_paid) = (paid_by(tx, &sellers()), paid_by(tx, &buyers()));
    let fee = (seller_paid - AMOUNT) + (buyer_paid - BOND);
    let weight = tx.weight().to_wu();
    assert!((weight * 10).div_ceil(4) <= fee && fee <= (weight * 10).div_ceil(4) + 1, "{fee} for {weight}");
    assert_eq!(seller_paid - AMOUNT - (buyer_paid - BOND), 230 * 10 / 4, "one coin more");
    assert!(seller.refused.is_empty() && buyer.refused.is_empty());
}

#[test]
fn change_that_is_dust_goes_to_the_fee() {
    let (mut seller, mut buyer) = (Side::new(Role::Seller), Side::new(Role::Buyer));
    seller.mine = funder(1, &[AMOUNT + 1_600], 10); // what is left is below an output's worth
    buyer.chain.insert(outpoint(1), unspent(1, AMOUNT + 1_600));
    seller.step(Event::Fund { feerate: 10 });
    buyer.step(Event::Fund { feerate: 10 });
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    let [tx] = seller.complete.as_slice() else { panic!("{:?} {:?}", seller.refused, buyer.refused) };
    assert_eq!(tx.output.len(), 3);
}

#[test]
fn a_side_needs_its_output_and_its_part_of_the_weight() {
    let output = escrow(200, AMOUNT);
    // Half of the frame, 230 units a coin, 172 for the output; a change output costs as much as that, or is less than dust.
    for (coins, feerate, fee, change) in
        [(1, 1, 106, 43 + 546), (1, 4, 423, 172 + 546), (2, 10, 1_633, 430 + 546), (16, 500, 484_125, 21_500 + 546)]
    {
        assert_eq!(needed(&output, coins, feerate), Some(sats(AMOUNT + fee)), "{coins} coins at {feerate}");
        assert_eq!(most(&output, coins, feerate), Some(sats(AMOUNT + fee + change)), "{coins} coins at {feerate}");
    }
    assert_eq!((needed(&output, 1, u64::MAX), most(&output, 1, u64::MAX)), (None, None));
}

#[test]
fn coins_that_hold_exactly_what_is_needed_are_enough_and_change_begins_above_dust() {
    let terms = terms(Role::Seller);
    let proposal = Proposal { feerate: 10, height: TIP, seller: sellers().contribution };
    let needed = AMOUNT + 1_058; // 423 units, rounded up
    let with_change = needed + 310; // a P2WPKH output of 124 units
    for (held, change) in [
        (needed - 1, None),
        (needed, Some(None)),
        (with_change + 545, Some(None)),
        (with_change + 546, Some(Some(546))),
        (with_change + 547, Some(Some(547))),
    ] {
        let draft = Draft::new(&terms, &proposal, &funder(1, &[held], 10), &buyers());
        let back = |draft: Draft| {
            let script = destination(10).script().clone();
            draft.tx().output.iter().find(|output| output.script_pubkey == script).map(|output| output.value.to_sat())
        };
        assert_eq!(draft.map(back).ok(), change, "{held} held");
    }
}

#[test]
fn no_transaction_follows_from_a_feerate_out_of_bounds() {
    let (seller, buyer) = (funder(1, &[10_000_000], 10), funder(101, &[10_000_000], 110));
    for (feerate, is_good) in [(0, false), (1, true), (MAX_SPEND_FEERATE, true), (MAX_SPEND_FEERATE + 1, false)] {
        let proposal = Proposal { feerate, height: TIP, seller: seller.contribution.clone() };
        let refused = FundingError::Feerate { feerate, highest: MAX_SPEND_FEERATE };
        let draft = Draft::new(&terms(Role::Seller), &proposal, &seller, &buyer);
        assert_eq!(draft.map(|_| ()), if is_good { Ok(()) } else { Err(refused) });
    }
}

#[test]
fn change_goes_neither_to_the_escrow_nor_to_the_other_side() {
    let proposal = Proposal { feerate: 10, height: TIP, seller: sellers().contribution };
    let to = |mut funder: Funder, script: &ScriptBuf| {
        funder.contribution.change = Destination::new(script.clone()).unwrap();
        funder
    };
    let [one, other] = [200, 201].map(|number| coin(number).script());
    let elsewhere = destination(77).script().clone();
    for (seller, buyer, refused) in [
        (&elsewhere, &elsewhere, Some(Role::Seller)),
        (&one, &elsewhere, Some(Role::Seller)),
        (&other, &elsewhere, Some(Role::Seller)),
        (&elsewhere, &one, Some(Role::Buyer)),
        (&elsewhere, &other, Some(Role::Buyer)),
        (&elsewhere, destination(78).script(), None),
    ] {
        let draft = Draft::new(&terms(Role::Seller), &proposal, &to(sellers(), seller), &to(buyers(), buyer));
        assert_eq!(draft.err(), refused.map(FundingError::Change), "{seller} {buyer}");
    }
}
