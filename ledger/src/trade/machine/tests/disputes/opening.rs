//! Who opens a dispute, when it opens by itself, and who does not.

use super::*;
use crate::body::Dispute;

#[test]
fn either_party_disputes_a_funded_trade_once() {
    for role in [Role::Buyer, Role::Seller] {
        let mut case = Case::new();
        case.facts = Facts::default();
        let (mut machine, _) = case.party(role, 200);
        let effects = ask(&mut machine, Action::Dispute).unwrap();
        assert!(effects.contains(&Effect::Publish(Body::Dispute(Dispute { trade: case.trade.id() }))));
        case.facts.buyer_dispute = true;
        let (mut machine, effects) = case.see(machine, 200);
        assert_eq!(machine.phase(), Phase::Disputed);
        assert!(ask(&mut machine, Action::Dispute).is_err());
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Publish(Body::Dispute(_)))));
    }
}

#[test]
fn a_dispute_that_opens_by_itself_is_said_by_the_parties() {
    let mut case = Case::new();
    case.facts.buyer_dispute = false;
    let from = FUNDED_AT + 4320 - 1008;
    let said = Effect::Publish(Body::Dispute(Dispute { trade: case.trade.id() }));
    for role in [Role::Buyer, Role::Seller] {
        assert!(!case.party(role, from - 1).1.contains(&said));
        assert!(case.party(role, from).1.contains(&said), "so an arbiter who sees no chain hears of it");
    }
}

/// A peer of the Bitcoin network tells a light client of a payout that nobody signed, or of the seller's own spend before its
/// leaf opens.
#[test]
fn a_pool_that_lies_ends_no_dispute_and_keeps_nobody_from_one() {
    let mut case = Case::new();
    case.facts = Facts { payment_sent: true, ..Facts::default() };
    let (vaults, seller) = (case.trade.vaults(1), case.trade.author(Role::Seller).trade_key());
    let mut payout = case.escrow.spend(&vaults, sats(1_700), Role::Buyer).unwrap().tx;
    payout.input[0].witness = bitcoin::Witness::from_slice(&[[1; 64]]);
    let timeout = case.escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &seller).unwrap().tx;
    let late = FUNDED_AT + 4320 - 2;
    for (tx, tip, phase) in [
        (&payout, 200, Phase::Paid),
        (&timeout, 200, Phase::Paid),
        (&payout, late, Phase::Disputed),
        (&timeout, late, Phase::Disputed),
        (&timeout, late + 1, Phase::Refunding),
    ] {
        let (mut buyer, _) = case.party(Role::Buyer, 200);
        let txs = [(&case.trade.funding(1), Some(FUNDED_AT)), (tx, None)];
        buyer.handle(Event::Chain(ChainFacts::gather(&case.escrow, tip, true, txs))).unwrap();
        assert_eq!(buyer.phase(), phase, "{tip}");
        assert_eq!(buyer.actions().contains(&Action::Dispute), phase == Phase::Paid, "{tip}");
    }
}

#[test]
fn nobody_acts_on_a_dispute_who_does_not_see_the_chain() {
    let case = Case::new();
    let blind = |mut machine: Trade| {
        let seen = ChainFacts { synced: false, ..machine.view().chain().clone() };
        machine.handle(Event::Compared).unwrap();
        machine.handle(Event::Chain(seen)).unwrap();
        machine
    };
    let mut arbiter = blind(case.arbiter(Seat::First, 200));
    assert_eq!(decide(&mut arbiter), Err(Refusal::NotSynced));
    assert_eq!(ask(&mut arbiter, Action::Extend), Err(Refusal::NotSynced));
    let mut open = Case::new();
    open.facts = Facts::default();
    for role in [Role::Buyer, Role::Seller] {
        assert_eq!(ask(&mut blind(open.party(role, 200).0), Action::Dispute), Err(Refusal::NotSynced));
    }
    let late = FUNDED_AT + 4320 - 1;
    assert_eq!(ask(&mut blind(open.party(Role::Seller, late).0), Action::Refund), Err(Refusal::NotSynced));
}
