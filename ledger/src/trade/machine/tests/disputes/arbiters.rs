//! What an arbiter may decide, when, and about which coins.

use bitcoin::key::Keypair;

use super::*;
use crate::trade::tweak_arbiter_pair;

#[test]
fn an_arbiter_sits_where_he_was_seated_and_a_party_nowhere() {
    let bid = Case::new().trade.bid();
    let alone = |role| Trade::new(bid.clone(), role, false, Local::default()).seat();
    assert_eq!([Role::Buyer, Role::Seller, Role::Arbiter].map(alone), [None, None, Some(Seat::First)]);
    for seat in [Seat::First, Seat::Second] {
        assert_eq!(Trade::seated(bid.clone(), seat).seat(), Some(seat));
    }
}

#[test]
fn an_arbiter_decides_only_disputes() {
    let mut case = Case::new();
    let mut arbiter = case.arbiter(Seat::First, 200);
    assert_eq!(arbiter.actions(), [Action::Rule, Action::Extend]);
    assert_eq!(ask(&mut arbiter, Action::Rule), Err(Refusal::NoVerdict));
    let effects = decide(&mut arbiter).unwrap();
    let (to_buyer, to_seller) = case.escrow.divide(Seat::First, &case.trade.vaults(1), Verdict::Buyer, 10).unwrap();
    let vaults = case.trade.vaults(1);
    assert!(effects.contains(&Effect::SignRuling { seat: Seat::First, vaults, to_buyer, to_seller }));

    case.facts.rulings.push((Seat::First, case.ruling(Seat::First, Verdict::Buyer)));
    let mut again = case.arbiter(Seat::First, 200);
    assert!(decide(&mut again).is_err() && ask(&mut again, Action::Extend).is_err(), "he has ruled");
    case.facts = Facts { payment_sent: true, ..Facts::default() };
    assert!(decide(&mut case.arbiter(Seat::First, 200)).is_err(), "nobody asked him");
    let mut blind = case.arbiter(Seat::First, 200);
    blind.handle(Event::Chain(ChainFacts { synced: false, ..chain(200) })).unwrap();
    assert!(decide(&mut blind).is_err());
}

#[test]
fn an_arbiter_lets_nobody_pay_more_than_100_sat_vb() {
    let case = Case::new();
    let (seat, vaults, verdict) = (Seat::First, case.trade.vaults(1), Verdict::Buyer);
    let (to_buyer, to_seller) = case.escrow.divide(seat, &vaults, verdict, 100).unwrap();
    let fee = case.escrow.extension_fee_at(seat, &vaults, 100).unwrap();
    for feerate in [100, 101, u64::MAX] {
        let effects = case.arbiter(seat, 200).handle(Event::Rule { verdict, feerate }).unwrap();
        assert!(effects.contains(&Effect::SignRuling { seat, vaults, to_buyer, to_seller }), "{effects:?}");
        let extend = Event::Command(Command { action: Action::Extend, feerate });
        let effects = case.arbiter(seat, 200).handle(extend).unwrap();
        assert!(effects.contains(&Effect::SignExtension { seat, vaults, fee }), "{effects:?}");
    }
}

#[test]
fn the_second_arbiter_waits_for_the_first_and_is_silent_when_he_ruled() {
    let mut case = Case::new();
    let too_early = Err(Refusal::TooEarlyToRule { from: T1B, tip: T1B - 1 });
    assert_eq!(decide(&mut case.arbiter(Seat::Second, T1B - 1)), too_early);
    assert_eq!(ask(&mut case.arbiter(Seat::Second, T1B - 1), Action::Extend), too_early);
    assert!(decide(&mut case.arbiter(Seat::Second, T1B)).is_ok());
    case.facts.rulings.push((Seat::First, case.ruling(Seat::First, Verdict::Buyer)));
    assert!(decide(&mut case.arbiter(Seat::Second, T1B)).is_err());
}

/// The second arbiter, by himself or for a party, signs as soon as there is something to sign about.
#[test]
fn the_first_arbiter_decides_alone_whatever_the_second_has_signed() {
    let mut case = Case::new();
    case.facts.rulings.push((Seat::Second, case.ruling(Seat::Second, Verdict::Seller)));
    case.facts.extensions.push((Seat::Second, case.extend(Seat::Second, &case.trade.vaults(1))));
    let completes = |effects: &[Effect]| {
        let is_one = |e: &&Effect| matches!(e, Effect::CompleteRuling { .. } | Effect::CompleteExtension { .. });
        effects.iter().find(is_one).cloned()
    };
    for tip in [200, T1, T1B - 1] {
        let mut first = case.arbiter(Seat::First, tip);
        assert_eq!((first.phase(), first.actions()), (Phase::Disputed, vec![Action::Rule, Action::Extend]), "{tip}");
        assert!(decide(&mut first).is_ok() && ask(&mut first, Action::Extend).is_ok());
        for role in [Role::Buyer, Role::Seller] {
            let (machine, effects) = case.party(role, tip);
            assert_eq!((machine.phase(), completes(&effects)), (Phase::Disputed, None), "{role} at {tip}");
        }
    }
    // When it is the second's turn, what he signed counts.
    let (seller, effects) = case.party(Role::Seller, T1B);
    let seconds = Effect::CompleteRuling { seat: Seat::Second, ruling: case.ruling(Seat::Second, Verdict::Seller) };
    assert_eq!((seller.phase(), completes(&effects)), (Phase::Ruled, Some(seconds)));
    // Unless the first has used his time.
    let firsts = case.ruling(Seat::First, Verdict::Buyer);
    case.facts.rulings.push((Seat::First, firsts.clone()));
    for tip in [T1, T1B] {
        let (buyer, effects) = case.party(Role::Buyer, tip);
        let wanted = Effect::CompleteRuling { seat: Seat::First, ruling: firsts.clone() };
        assert_eq!((buyer.phase(), completes(&effects)), (Phase::Ruled, Some(wanted)), "at {tip}");
    }
}

/// The seller paid the escrow twice, once in secret, and so long before that this is his again while the other payment is
/// disputed.
#[test]
fn a_dispute_goes_on_whatever_the_seller_takes_back_of_another_funding() {
    let mut case = Case::new();
    let [named, secret] = [1, 2].map(|number| case.trade.funding(number));
    case.facts.funded = Some(case.trade.vaults(1).outpoint());
    let key = case.trade.author(Role::Seller).trade_key();
    let coin = case.trade.vaults(2).escrow;
    let taken_back = case.escrow.signed_timeout(Vault::Escrow, coin, sats(1_700), &key).unwrap().tx;
    let opens = FUNDED_AT + 4320;
    let funded_at = opens - 200; // by then the arbiter's leaf is open
    for height in [None, Some(opens + 2), Some(opens)] {
        let txs = [(&named, Some(funded_at)), (&secret, Some(FUNDED_AT)), (&taken_back, height)];
        let seen = ChainFacts::gather(&case.escrow, opens + 2, true, txs);
        let mut arbiter = case.arbiter(Seat::First, 200);
        arbiter.handle(Event::Chain(seen.clone())).unwrap();
        assert_eq!((arbiter.phase(), arbiter.actions()), (Phase::Disputed, vec![Action::Rule, Action::Extend]));

        let ruling = case.ruling(Seat::First, Verdict::Buyer);
        let facts = Facts { rulings: vec![(Seat::First, ruling.clone())], ..case.facts.clone() };
        let (mut buyer, _) = case.party(Role::Buyer, 200);
        buyer.handle(Event::Records { contract: Some(case.trade.contract()), facts }).unwrap();
        let effects = buyer.handle(Event::Chain(seen)).unwrap();
        assert_eq!(buyer.phase(), Phase::Ruled, "{height:?}");
        assert!(effects.contains(&Effect::CompleteRuling { seat: Seat::First, ruling }), "{effects:?}");
    }
}

/// Seller and second arbiter pay the escrow in secret, and state a height above it. Of that output the second's time begins
/// when the first's has just begun for the other.
#[test]
fn the_first_arbiter_decides_about_what_was_paid_after_the_agreement() {
    let mut case = Case::new();
    let [named, secret] = [1, 2].map(|number| case.trade.funding(number));
    let (early, tip) = (crate::testing::HEIGHT - 1, crate::testing::HEIGHT + 1008);
    let funded_at = early + 1008 - 144;
    let (vaults, seat) = (case.trade.vaults(2), Seat::Second);
    let division = case.escrow.divide(seat, &vaults, Verdict::Seller, 10).unwrap();
    let pair = case.trade.arbiter_pair(case.escrow.contract(), seat);
    let ruling = case.escrow.rule(seat, &vaults, division, &pair).unwrap();
    let key = case.trade.author(Role::Seller).trade_key();
    let ruled = case.escrow.complete_ruling(seat, &ruling, Role::Seller, &key).unwrap().tx;
    case.facts.funded = Some(case.trade.vaults(1).outpoint());
    case.facts.rulings.push((seat, ruling));
    for height in [None, Some(tip), Some(tip - 2)] {
        let txs = [(&named, Some(funded_at)), (&secret, Some(early)), (&ruled, height)];
        let seen = ChainFacts::gather(&case.escrow, tip, true, txs);
        assert_eq!(seen.spends.len(), 1, "its leaf is open");
        let mut arbiter = case.arbiter(Seat::First, 200);
        arbiter.handle(Event::Chain(seen)).unwrap();
        assert_eq!((arbiter.phase(), arbiter.actions()), (Phase::Disputed, vec![Action::Rule, Action::Extend]));
        assert_eq!(arbiter.view().vaults(), Some(case.trade.vaults(1)), "{height:?}");
    }
}

/// The seller paid the escrow six times in one transaction. His half for an output that holds a satoshi less is good by itself;
/// if it led everybody there, the arbiter would rule about that one, and the seller go on with the next.
#[test]
fn no_half_for_a_wrong_value_leads_away_from_what_is_disputed_or_ruled_about() {
    let mut case = Case::new();
    let seller = case.trade.author(Role::Seller).trade_key();
    let all = [1, 2, 3, 4, 5, 6].map(|number| case.trade.vaults(number));
    let as_less = |vaults: &Vaults| {
        let value = vaults.escrow.value.checked_sub(sats(1)).unwrap();
        let less = Vaults { escrow: Coin { value, ..vaults.escrow }, ..*vaults };
        let half = case.escrow.half(&less, sats(1_700), Role::Buyer, &seller).unwrap();
        assert_eq!(case.escrow.check_half(&half, Role::Buyer), Ok(()));
        half
    };
    let halves: Vec<HalfSpend> = all[1..].iter().map(as_less).collect();
    let fundings = all.map(|vaults| Funding::new(vaults, Some(FUNDED_AT))).to_vec();
    let seen = || Event::Chain(ChainFacts { fundings: fundings.clone(), ..chain(T1) });
    case.facts.funded = Some(all[0].outpoint());
    let ruling = case.ruling(Seat::First, Verdict::Buyer);
    let wanted = Effect::CompleteRuling { seat: Seat::First, ruling: ruling.clone() };
    for decoys in 0..=halves.len() {
        case.facts.releases = halves[..decoys].to_vec();
        for (rulings, phase) in [(vec![], Phase::Disputed), (vec![(Seat::First, ruling.clone())], Phase::Ruled)] {
            case.facts.rulings = rulings;
            let mut arbiter = case.arbiter(Seat::First, T1);
            arbiter.handle(seen()).unwrap();
            let (mut buyer, _) = case.party(Role::Buyer, T1);
            let effects = buyer.handle(seen()).unwrap();
            for machine in [&arbiter, &buyer] {
                assert_eq!((machine.phase(), machine.view().vaults()), (phase, Some(all[0])), "{decoys} decoys");
            }
            assert_eq!(effects.contains(&wanted), phase == Phase::Ruled, "{decoys} decoys");
        }
    }
}

/// A seller who signs two histories shows the release to the arbiter alone: then nobody could do anything until it is his again.
#[test]
fn what_only_the_arbiter_has_seen_keeps_him_from_no_ruling_but_one_against_it() {
    let mut case = Case::new();
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| case.trade.author(role).trade_key());
    let half = |number, to, key: &Keypair| {
        let vaults = case.trade.vaults(number);
        (to, case.escrow.half(&vaults, sats(1_700), to, key).unwrap())
    };
    let (release, refund) = (half(1, Role::Buyer, &seller), half(1, Role::Seller, &buyer));
    let elsewhere = half(2, Role::Buyer, &seller);
    let extended = Vaults { escrow: Coin { value: sats(990_000), ..case.trade.vaults(3).escrow }, bond: None };
    let verdicts = [Verdict::Buyer, Verdict::Seller, Verdict::Split(sats(500_000))];
    for (hidden, to) in [
        (vec![], None),
        (vec![release.clone()], Some(Role::Buyer)),
        (vec![refund.clone()], Some(Role::Seller)),
        (vec![refund, release], Some(Role::Buyer)),
        (vec![elsewhere], None),
    ] {
        let paying = |role: Role| -> Vec<HalfSpend> {
            hidden.iter().filter(|(to, _)| *to == role).map(|(_, half)| half.clone()).collect()
        };
        (case.facts.releases, case.facts.refunds) = (paying(Role::Buyer), paying(Role::Seller));
        case.facts.hidden.clone_from(&hidden);
        let first = Funding::new(case.trade.vaults(1), Some(FUNDED_AT));
        let made = Funding { vaults: extended, height: Some(T1 + 1), extends: Some(first.outpoint()) };
        // An extension takes nothing of it back.
        for fundings in [vec![first], vec![first, made]] {
            let mut arbiter = case.arbiter(Seat::First, 200);
            arbiter.handle(Event::Chain(ChainFacts { fundings, ..chain(T1 + 10) })).unwrap();
            assert_eq!((arbiter.phase(), arbiter.signed_over()), (Phase::Disputed, to));
            assert_eq!(arbiter.actions(), [Action::Rule, Action::Extend]);
            for verdict in verdicts {
                let is_his = match to {
                    None => true,
                    Some(Role::Buyer) => verdict == Verdict::Buyer,
                    Some(Role::Seller | Role::Arbiter) => verdict == Verdict::Seller,
                };
                let ruled = arbiter.clone().handle(Event::Rule { verdict, feerate: 10 });
                let refused = to.filter(|_| !is_his).map(|to| Refusal::SignedOver { to });
                assert_eq!(ruled.err(), refused, "{to:?} {verdict:?}");
            }
        }
        // Whom it pays has seen it, if he has it: he needs no ruling.
        let phases = [Role::Buyer, Role::Seller].map(|role| case.party(role, 200).0.phase());
        let phase = match to {
            None => Phase::Disputed,
            Some(Role::Buyer) => Phase::Released,
            Some(Role::Seller | Role::Arbiter) => Phase::Refunding,
        };
        assert_eq!(phases, [phase; 2]);
    }
}

#[test]
fn an_arbiters_key_is_another_in_every_contract() {
    let trade = SampleTrade::new(Side::Sell);
    let pair = trade.arbiter.trade_key();
    let tweaked = tweak_arbiter_pair(&trade.contract(), &pair).x_only_public_key().0;
    assert_eq!(trade.escrow().arbiter_key(Seat::First), Some(tweaked));
    let mut other = trade.contract();
    other.height += 1;
    assert_ne!(tweak_arbiter_pair(&other, &pair).x_only_public_key().0, tweaked);
}
