//! Disputes as the machines of parties and arbiters see them: when what may be done, and what is owed.

use bitcoin::key::Keypair;

use super::*;
use crate::body::{Dispute, Extend, Ruling};
use crate::trade::{Escrow, Spend, SpendPath, tweak_arbiter_pair};

/// The funding's height, and from which tips on its leaves open.
const FUNDED_AT: u32 = 190;
const T1: u32 = FUNDED_AT + 144 - 1;
const T1B: u32 = FUNDED_AT + 1008 - 1;

/// A dispute of the sample trade with two arbiters.
struct Case {
    trade: SampleTrade,
    escrow: Escrow,
    facts: Facts,
}

impl Case {
    fn new() -> Self {
        let trade = SampleTrade::with_second(Side::Sell);
        let facts = Facts { payment_sent: true, buyer_dispute: true, ..Facts::default() };
        Self { escrow: trade.escrow(), trade, facts }
    }

    fn ruling(&self, seat: Seat, verdict: Verdict) -> Ruling {
        let vaults = self.trade.vaults(1);
        let division = self.escrow.divide(seat, &vaults, verdict, 10).unwrap();
        self.escrow.rule(seat, &vaults, division, &self.trade.arbiter_pair(self.escrow.contract(), seat)).unwrap()
    }

    fn extend(&self, seat: Seat, vaults: &Vaults) -> Extend {
        let fee = self.escrow.extension_fee_at(seat, vaults, 10).unwrap();
        self.escrow.extend(seat, vaults, fee, &self.trade.arbiter_pair(self.escrow.contract(), seat)).unwrap()
    }

    fn see(&self, mut machine: Trade, tip: u32) -> (Trade, Vec<Effect>) {
        let fundings = vec![Funding::new(self.trade.vaults(1), Some(FUNDED_AT))];
        let contract = Some(self.trade.contract());
        machine.handle(Event::Records { contract, facts: self.facts.clone() }).unwrap();
        let effects = machine.handle(Event::Chain(ChainFacts { fundings, ..chain(tip) })).unwrap();
        (machine, effects)
    }

    fn party(&self, role: Role, tip: u32) -> (Trade, Vec<Effect>) {
        let mut machine = Trade::new(self.trade.bid(), role, false, Local::default());
        machine.handle(Event::Compared).unwrap();
        self.see(machine, tip)
    }

    fn arbiter(&self, seat: Seat, tip: u32) -> Trade {
        self.see(Trade::seated(self.trade.bid(), seat), tip).0
    }
}

fn decide(machine: &mut Trade) -> Result<Vec<Effect>, Refusal> {
    machine.handle(Event::Rule { verdict: Verdict::Buyer, feerate: 10 })
}

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

#[test]
fn a_ruling_is_completed_by_who_gets_something_and_when_its_leaf_opens() {
    for (seat, from, before) in [(Seat::First, T1, Phase::Ruled), (Seat::Second, T1B, Phase::Disputed)] {
        for (verdict, winners) in [
            (Verdict::Buyer, [true, false]),
            (Verdict::Seller, [false, true]),
            (Verdict::Split(sats(400_000)), [true, true]),
        ] {
            let mut case = Case::new();
            let ruling = case.ruling(seat, verdict);
            case.facts.rulings.push((seat, ruling.clone()));
            let wanted = Effect::CompleteRuling { seat, ruling };
            for (role, wins) in [Role::Buyer, Role::Seller].into_iter().zip(winners) {
                let (machine, effects) = case.party(role, from - 1);
                assert_eq!(machine.phase(), before);
                assert!(!effects.contains(&wanted), "a block too early");
                assert_eq!(case.party(role, from).1.contains(&wanted), wins, "{seat:?} {verdict:?} {role}");
            }
        }
    }
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
fn the_first_arbiters_ruling_counts_before_the_seconds() {
    let mut case = Case::new();
    case.facts.rulings.push((Seat::Second, case.ruling(Seat::Second, Verdict::Seller)));
    let (machine, _) = case.party(Role::Buyer, T1B);
    assert_eq!(machine.view().ruling().unwrap().0, Seat::Second);
    case.facts.rulings.push((Seat::First, case.ruling(Seat::First, Verdict::Buyer)));
    let (machine, effects) = case.party(Role::Buyer, T1B);
    assert_eq!(machine.view().ruling().unwrap().0, Seat::First);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::CompleteRuling { seat: Seat::First, .. })));
}

/// The second arbiter is the seller's accomplice, and gives the buyer a crumb, which his node takes; then the first rules.
#[test]
fn the_ruling_that_counts_is_completed_though_another_was_before() {
    let mut case = Case::new();
    let [crumb, all] = [(Seat::Second, Verdict::Split(sats(100_000))), (Seat::First, Verdict::Buyer)]
        .map(|(seat, verdict)| (seat, case.ruling(seat, verdict)));
    let completes = |(seat, ruling): &(Seat, Ruling)| Effect::CompleteRuling { seat: *seat, ruling: ruling.clone() };
    let key = case.trade.author(Role::Buyer).trade_key();
    let [first, then] = [&crumb, &all].map(|(seat, ruling)| {
        let draft = case.escrow.complete_ruling(*seat, ruling, Role::Buyer, &key);
        draft.unwrap().tx
    });
    case.facts.rulings.push(crumb.clone());
    let (mut buyer, effects) = case.party(Role::Buyer, T1B);
    assert!(effects.contains(&completes(&crumb)), "{effects:?}");
    let effects = buyer.handle(Event::SpendBuilt(first.clone())).unwrap();
    assert!(effects.contains(&Effect::Broadcast(first.clone())), "{effects:?}");
    case.facts.rulings.push(all.clone());
    let (mut buyer, effects) = case.see(buyer, T1B);
    assert!(effects.contains(&completes(&all)) && !effects.contains(&Effect::Broadcast(first)), "{effects:?}");
    let effects = buyer.handle(Event::SpendBuilt(then.clone())).unwrap();
    assert!(effects.contains(&Effect::Broadcast(then)), "{effects:?}");
}

#[test]
fn a_kept_ruling_is_sent_again_and_a_release_is_better_for_the_buyer() {
    let mut case = Case::new();
    let ruling = case.ruling(Seat::First, Verdict::Split(sats(400_000)));
    case.facts.rulings.push((Seat::First, ruling.clone()));
    let (mut buyer, _) = case.party(Role::Buyer, T1);
    let key = case.trade.author(Role::Buyer).trade_key();
    let tx = case.escrow.complete_ruling(Seat::First, &ruling, Role::Buyer, &key).unwrap().tx;
    let effects = buyer.handle(Event::SpendBuilt(tx.clone())).unwrap();
    assert!(matches!(effects[0], Effect::Persist(_)), "kept before it is sent");
    assert!(effects.contains(&Effect::Broadcast(tx)));

    let seller = case.trade.author(Role::Seller).trade_key();
    let half = case.escrow.half(&case.trade.vaults(1), sats(1_700), Role::Buyer, &seller).unwrap();
    case.facts.releases.push(half.clone());
    let (buyer, effects) = case.see(buyer, T1);
    assert_eq!(buyer.phase(), Phase::Released);
    assert!(effects.contains(&Effect::Complete { half, to: Role::Buyer }), "all of it instead of a part");
}

/// An accomplice's spend that a block shows for a moment must not make the buyer give back what is his.
#[test]
fn what_was_released_to_the_buyer_is_not_his_to_call_off() {
    let mut case = Case::new();
    let (vaults, key) = (case.trade.vaults(1), case.trade.author(Role::Seller).trade_key());
    let ruling = case.ruling(Seat::First, Verdict::Seller);
    let tx = case.escrow.complete_ruling(Seat::First, &ruling, Role::Seller, &key).unwrap().tx;
    case.facts.releases.push(case.escrow.half(&vaults, sats(1_700), Role::Buyer, &key).unwrap());
    let (mut buyer, _) = case.party(Role::Buyer, T1);
    let spends = vec![Spend { tx, path: SpendPath::Ruling, height: None }];
    let chain = ChainFacts { spends, ..buyer.view().chain().clone() };
    let effects = buyer.handle(Event::Chain(chain)).unwrap();
    assert_eq!(buyer.phase(), Phase::Ruled, "it is seen, and not by a ruling in the ledger");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Complete { .. })), "the payout is still his");
    assert_eq!(ask(&mut buyer, Action::Cancel), Err(Refusal::AlreadySigned));
    assert!(!buyer.actions().contains(&Action::Cancel));
}

/// Whoever keeps a spend by which the coins come to himself gives them to nobody else any more.
#[test]
fn who_keeps_what_pays_him_signs_the_coins_to_nobody_else() {
    let mut case = Case::new();
    let vaults = case.trade.vaults(1);
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| case.trade.author(role).trade_key());
    let release = case.escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
    let payout = case.escrow.complete(&release, Role::Buyer, &buyer).unwrap().tx;
    let half = case.escrow.half(&vaults, sats(1_700), Role::Seller, &buyer).unwrap();
    let refund = case.escrow.complete(&half, Role::Seller, &seller).unwrap().tx;
    let timeout = case.escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &seller).unwrap().tx;
    let ruling = case.ruling(Seat::First, Verdict::Split(sats(500_000)));
    let ruled = [(Role::Buyer, &buyer), (Role::Seller, &seller)]
        .map(|(role, key)| case.escrow.complete_ruling(Seat::First, &ruling, role, key).unwrap().tx);
    let extend = case.extend(Seat::First, &vaults);
    let extended = case.escrow.complete_extend(Seat::First, &extend, Role::Seller, &seller).unwrap().tx;
    for (role, action, kept, is_refused) in [
        (Role::Seller, Action::Release, None, false),
        (Role::Seller, Action::Release, Some(&refund), true),
        (Role::Seller, Action::Release, Some(&timeout), true),
        (Role::Seller, Action::Release, Some(&ruled[1]), true),
        (Role::Seller, Action::Release, Some(&extended), false),
        (Role::Buyer, Action::Cancel, None, false),
        (Role::Buyer, Action::Cancel, Some(&payout), true),
        (Role::Buyer, Action::Cancel, Some(&ruled[0]), true),
        (Role::Buyer, Action::Cancel, Some(&extended), false),
    ] {
        let local = Local { spend_tx: kept.map(bitcoin::consensus::serialize), ..Local::default() };
        let (mut machine, _) = case.see(Trade::new(case.trade.bid(), role, false, local), 200);
        assert_eq!(machine.phase(), Phase::Disputed);
        let refusal = ask(&mut machine, action).err();
        assert_eq!(refusal, is_refused.then_some(Refusal::AlreadySigned), "{role} {action}");
        assert_eq!(machine.actions().contains(&action), !is_refused);
    }
    // Released, and a ruling's spend is seen nevertheless: the seller has nothing to sign once more, but can say that he is off.
    case.facts.releases.push(release);
    let (mut machine, _) = case.party(Role::Seller, T1);
    let spends = vec![Spend { tx: ruled[0].clone(), path: SpendPath::Ruling, height: None }];
    let seen = ChainFacts { spends, ..machine.view().chain().clone() };
    machine.handle(Event::Chain(seen)).unwrap();
    assert_eq!(machine.phase(), Phase::Ruled);
    assert_eq!(ask(&mut machine, Action::Release), Err(Refusal::AlreadySigned));
    assert!(ask(&mut machine, Action::Cancel).is_ok());
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

/// A ruling that gives both something waits in the pool, and the seller released: two spends to make of the same coins, of
/// which each took the place of the other, for ever.
#[test]
fn of_what_was_released_no_part_is_taken_by_a_ruling() {
    let mut case = Case::new();
    let (vaults, key) = (case.trade.vaults(1), case.trade.author(Role::Seller).trade_key());
    let ruling = case.ruling(Seat::First, Verdict::Split(sats(400_000)));
    let tx = case.escrow.complete_ruling(Seat::First, &ruling, Role::Seller, &key).unwrap().tx;
    case.facts.rulings.push((Seat::First, ruling));
    let half = case.escrow.half(&vaults, sats(1_700), Role::Buyer, &key).unwrap();
    case.facts.releases.push(half.clone());
    for role in [Role::Buyer, Role::Seller] {
        let (mut machine, _) = case.party(role, T1);
        let spends = vec![Spend { tx: tx.clone(), path: SpendPath::Ruling, height: None }];
        let chain = ChainFacts { spends, ..machine.view().chain().clone() };
        let effects = machine.handle(Event::Chain(chain)).unwrap();
        assert_eq!(machine.phase(), Phase::Ruled);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::CompleteRuling { .. })), "{role} {effects:?}");
        if role == Role::Buyer {
            assert!(effects.contains(&Effect::Complete { half: half.clone(), to: Role::Buyer }));
            let payout =
                case.escrow.complete(&half, Role::Buyer, &case.trade.author(Role::Buyer).trade_key()).unwrap().tx;
            let effects = machine.handle(Event::SpendBuilt(payout.clone())).unwrap();
            assert!(effects.contains(&Effect::Broadcast(payout)));
            assert!(!effects.iter().any(|effect| matches!(effect, Effect::CompleteRuling { .. })), "{effects:?}");
        }
    }
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

#[test]
fn each_takes_back_his_own_bond_and_not_the_others() {
    let mut case = Case::new();
    let contract = case.trade.bonded();
    let escrow = Escrow::new(&contract);
    let vaults = crate::testing::vaults_of(&escrow, 1);
    let from = FUNDED_AT + 4320 - 1;
    for (role, vault, coin) in
        [(Role::Seller, Vault::Escrow, vaults.escrow), (Role::Buyer, Vault::Bond, vaults.bond.unwrap())]
    {
        let mut machine = Trade::new(case.trade.bid(), role, false, Local::default());
        machine.handle(Event::Records { contract: Some(contract.clone()), facts: Facts::default() }).unwrap();
        machine.handle(Event::Compared).unwrap();
        let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
        machine.handle(Event::Chain(ChainFacts { fundings, ..chain(from) })).unwrap();
        let effects = ask(&mut machine, Action::Refund).unwrap();
        let fee = escrow.timeout_fee_at(vault, coin, 10).unwrap();
        assert!(effects.contains(&Effect::BuildTimeout { vault, coin, fee }), "{role} {effects:?}");
    }
    // The seller took his: the trade is over, the buyer's bond still his.
    let key = case.trade.author(Role::Seller).trade_key();
    let tx = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let spends = vec![Spend { tx, path: SpendPath::Timeout, height: Some(from + 1) }];
    let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
    let mut buyer = Trade::new(case.trade.bid(), Role::Buyer, false, Local::default());
    buyer.handle(Event::Records { contract: Some(contract), facts: Facts::default() }).unwrap();
    buyer.handle(Event::Compared).unwrap();
    buyer.handle(Event::Chain(ChainFacts { fundings, spends, ..chain(from + 5) })).unwrap();
    assert_eq!((buyer.phase(), buyer.actions()), (Phase::Refunded, vec![Action::Refund]));
    assert!(ask(&mut buyer, Action::Refund).is_ok());
    let mut plain = case.party(Role::Buyer, from).0;
    plain.handle(Event::Compared).unwrap();
    assert_eq!(ask(&mut plain, Action::Refund), Err(Refusal::NothingToTakeBack));
    assert!(!plain.actions().contains(&Action::Refund), "nor is it offered");
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
