//! Extensions: who signs them, what they move, and what is signed again after them.

use super::*;

#[test]
fn each_arbiter_extends_once_and_the_second_where_the_first_has_not_been_followed() {
    let mut case = Case::new();
    case.facts.extensions.push((Seat::First, case.extend(Seat::First, &case.trade.vaults(1))));
    assert_eq!(ask(&mut case.arbiter(Seat::First, T1B), Action::Extend), Err(Refusal::AlreadySigned));
    let effects = ask(&mut case.arbiter(Seat::Second, T1B), Action::Extend).unwrap();
    let vaults = case.trade.vaults(1);
    let fee = case.escrow.extension_fee_at(Seat::Second, &vaults, 10).unwrap();
    assert!(effects.contains(&Effect::SignExtension { seat: Seat::Second, vaults, fee }), "{effects:?}");
}

/// The arbiter extended, the seller released, the extension is buried, and the arbiter, who knows of no release of the new
/// outputs, rules for the seller while he is away.
#[test]
fn what_was_signed_away_before_an_extension_is_not_taken_by_a_ruling_after_it() {
    for (role, verdict) in [(Role::Seller, Verdict::Seller), (Role::Buyer, Verdict::Buyer)] {
        let mut case = Case::new();
        let first = case.trade.vaults(1);
        let extend = case.extend(Seat::First, &first);
        let key = case.trade.author(role).trade_key();
        let tx = case.escrow.complete_extend(Seat::First, &extend, role, &key).unwrap().tx;
        let moved = case.escrow.extended(&tx, &first).unwrap();
        let to = crate::trade::counterparty(role);
        let half = case.escrow.half(&first, sats(1_700), to, &key).unwrap();
        if role == Role::Seller { &mut case.facts.releases } else { &mut case.facts.refunds }.push(half);
        let division = case.escrow.divide(Seat::First, &moved, verdict, 10).unwrap();
        let pair = case.trade.arbiter_pair(case.escrow.contract(), Seat::First);
        case.facts.rulings.push((Seat::First, case.escrow.rule(Seat::First, &moved, division, &pair).unwrap()));
        let (mut machine, _) = case.party(role, T1);
        let txs = [(&case.trade.funding(1), Some(FUNDED_AT)), (&tx, Some(T1 + 1))];
        let effects = machine.handle(Event::Chain(ChainFacts::gather(&case.escrow, T1 + 200, true, txs))).unwrap();
        assert_eq!(machine.phase(), Phase::Ruled);
        assert!(effects.contains(&Effect::SignHalf { vaults: moved, fee: sats(1_700), to }), "{role} {effects:?}");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::CompleteRuling { .. })), "{role} {effects:?}");
    }
}

/// The buyer took his bond back after the extension, so what is signed again is smaller.
#[test]
fn what_is_signed_again_without_the_bond_pays_no_more_than_it_may() {
    let mut trade = SampleTrade::with_bonds(Side::Sell);
    let (escrow, first) = (trade.escrow(), trade.vaults(1));
    let (buyer, seller) = (trade.author(Role::Buyer).trade_key(), trade.author(Role::Seller).trade_key());
    let pair = trade.arbiter_pair(escrow.contract(), Seat::First);
    let fee = escrow.extension_fee_at(Seat::First, &first, 10).unwrap();
    let extend = escrow.extend(Seat::First, &first, fee, &pair).unwrap();
    let extension = escrow.complete_extend(Seat::First, &extend, Role::Seller, &seller).unwrap().tx;
    let moved = escrow.extended(&extension, &first).unwrap();
    let bond = escrow.signed_timeout(Vault::Bond, moved.bond.unwrap(), sats(1_700), &buyer).unwrap().tx;
    let half = escrow.half(&first, escrow.fee_at(&first, Role::Buyer, 100).unwrap(), Role::Buyer, &seller).unwrap();
    let facts = Facts { payment_sent: true, buyer_dispute: true, releases: vec![half], ..Facts::default() };
    let mut machine = Trade::new(trade.bid(), Role::Seller, false, Local::default());
    machine.handle(Event::Records { contract: Some(trade.contract()), facts }).unwrap();
    let tip = T1 + 1 + 4320 + 10;
    let txs = [(&trade.funding(1), Some(FUNDED_AT)), (&extension, Some(T1 + 1)), (&bond, Some(tip - 5))];
    let effects = machine.handle(Event::Chain(ChainFacts::gather(&escrow, tip, true, txs))).unwrap();
    let vaults = Vaults { bond: None, ..moved };
    let fee = escrow.fee_at(&vaults, Role::Buyer, 100).unwrap();
    assert!(effects.contains(&Effect::SignHalf { vaults, fee, to: Role::Buyer }), "{effects:?}");
}

#[test]
fn an_extension_moves_the_coins_on_and_what_was_signed_is_signed_again() {
    let mut case = Case::new();
    let first = case.trade.vaults(1);
    let extend = case.extend(Seat::First, &first);
    case.facts.extensions.push((Seat::First, extend.clone()));
    let wanted = Effect::CompleteExtension { seat: Seat::First, extend: extend.clone() };
    for role in [Role::Buyer, Role::Seller] {
        assert!(!case.party(role, T1 - 1).1.contains(&wanted));
        assert!(case.party(role, T1).1.contains(&wanted));
    }
    assert!(ask(&mut case.arbiter(Seat::First, T1), Action::Extend).is_err(), "once for each");

    // It is buried. A release for what was spent comes from before; the seller signs it again.
    let key = case.trade.author(Role::Seller).trade_key();
    let tx = case.escrow.complete_extend(Seat::First, &extend, Role::Seller, &key).unwrap().tx;
    case.facts.releases.push(case.escrow.half(&first, sats(1_700), Role::Buyer, &key).unwrap());
    let txs = [(case.trade.funding(1), Some(FUNDED_AT)), (tx, Some(T1 + 1))];
    let seen = |tip| ChainFacts::gather(&case.escrow, tip, true, txs.iter().map(|(tx, height)| (tx, *height)));
    let (mut seller, _) = case.party(Role::Seller, T1);
    seller.handle(Event::Chain(seen(T1 + 1))).unwrap();
    assert_eq!(seller.phase(), Phase::Released, "until it is buried the outputs before count");
    let effects = seller.handle(Event::Chain(seen(T1 + 3))).unwrap();
    assert_eq!(seller.phase(), Phase::Disputed);
    let vaults = seller.view().vaults().unwrap();
    assert_eq!((seller.view().extensions(), vaults.escrow.value), (1, sats(1_000_000 - extend.fee.get())));
    assert!(effects.contains(&Effect::SignHalf { vaults, fee: sats(1_700), to: Role::Buyer }), "{effects:?}");
    assert_eq!(seller.view().ruling_from(Seat::First), Some(T1 + 1 + 144 - 1), "all delays begin anew");
    // A reorg takes it back.
    seller.handle(Event::Chain(seen(T1 + 1))).unwrap();
    assert_eq!(seller.phase(), Phase::Released);
}

#[test]
fn the_seller_keeps_sight_of_his_own_coins_through_extensions() {
    let mut case = Case::new();
    let extend = case.extend(Seat::First, &case.trade.vaults(1));
    let key = case.trade.author(Role::Buyer).trade_key();
    let tx = case.escrow.complete_extend(Seat::First, &extend, Role::Buyer, &key).unwrap().tx;
    let funding_tx = Some(bitcoin::consensus::serialize(&case.trade.funding(1)));
    let local = Local { funding_tx, ..Local::default() };
    let (mut seller, _) = case.see(Trade::new(case.trade.bid(), Role::Seller, false, local), T1);
    let stranger = case.trade.funding(2);
    let txs = [(&case.trade.funding(1), Some(FUNDED_AT)), (&tx, Some(T1 + 1)), (&stranger, Some(FUNDED_AT - 5))];
    seller.handle(Event::Chain(ChainFacts::gather(&case.escrow, T1 + 9, true, txs))).unwrap();
    assert_eq!(seller.view().vaults().unwrap().escrow.outpoint.0.txid, tx.compute_txid());
}

#[test]
fn more_than_three_extensions_are_neither_signed_nor_completed() {
    let mut case = Case::new();
    let (key, mut held) = (case.trade.author(Role::Buyer).trade_key(), case.trade.vaults(1));
    let mut txs = vec![(case.trade.funding(1), Some(FUNDED_AT))];
    for number in 1..=3 {
        let extend = case.extend(Seat::First, &held);
        let tx = case.escrow.complete_extend(Seat::First, &extend, Role::Buyer, &key).unwrap().tx;
        held = case.escrow.extended(&tx, &held).unwrap();
        txs.push((tx, Some(FUNDED_AT + 200 * number)));
    }
    case.facts.extensions.push((Seat::First, case.extend(Seat::First, &held)));
    let facts = ChainFacts::gather(&case.escrow, 2_000, true, txs.iter().map(|(tx, height)| (tx, *height)));
    let mut arbiter = case.arbiter(Seat::First, 200);
    arbiter.handle(Event::Chain(facts.clone())).unwrap();
    assert_eq!(ask(&mut arbiter, Action::Extend), Err(Refusal::TooManyExtensions(3)));
    assert!(decide(&mut arbiter).is_ok(), "he can still rule");
    let (mut buyer, _) = case.party(Role::Buyer, 200);
    let effects = buyer.handle(Event::Chain(facts)).unwrap();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::CompleteExtension { .. })));
}
