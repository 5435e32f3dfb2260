//! Who takes the coins: by a ruling, by what was released beside it, and each his own bond.

use bitcoin::key::Keypair;

use super::*;

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

/// The buyer's machine was off until the seller could take the coins back, and his transaction is in the pool already.
#[test]
fn what_an_arbiter_gave_a_buyer_is_taken_while_no_block_holds_what_the_seller_takes_back() {
    let mut case = Case::new();
    let (vaults, tip) = (case.trade.vaults(1), FUNDED_AT + 4320);
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| case.trade.author(role).trade_key());
    let timeout = case.escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &seller).unwrap().tx;
    let half = |to, key: &Keypair| case.escrow.half(&vaults, sats(1_700), to, key).unwrap();
    let (release, refund) = (half(Role::Buyer, &seller), half(Role::Seller, &buyer));
    let refunded = case.escrow.complete(&refund, Role::Seller, &seller).unwrap().tx;
    let rulings = |verdict| vec![(Seat::First, case.ruling(Seat::First, verdict))];
    let ruled = |verdict| Facts { rulings: rulings(verdict), ..case.facts.clone() };
    let (all, split) = (ruled(Verdict::Buyer), ruled(Verdict::Split(sats(400_000))));
    let see = |role, facts: &Facts, spends: &[(&Transaction, SpendPath, Option<u32>)], synced| {
        let mut machine = Trade::new(case.trade.bid(), role, false, Local::default());
        machine.handle(Event::Compared).unwrap();
        let contract = Some(case.trade.contract());
        machine.handle(Event::Records { contract, facts: facts.clone() }).unwrap();
        let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
        let spend = |(tx, path, height): &(&Transaction, SpendPath, Option<u32>)| {
            let (tx, path, height) = ((*tx).clone(), *path, *height);
            Spend { tx, path, height }
        };
        let spends = spends.iter().map(spend).collect();
        let effects = machine.handle(Event::Chain(ChainFacts { fundings, spends, synced, ..chain(tip) })).unwrap();
        (machine, effects)
    };
    let completes = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::CompleteRuling { .. }));
    let waits = (&timeout, SpendPath::Timeout, None);
    for (role, facts, spends, synced, expected) in [
        (Role::Buyer, all.clone(), vec![waits], true, true),
        (Role::Buyer, split.clone(), vec![waits], true, true),
        (Role::Seller, split, vec![waits], true, false),
        (Role::Buyer, all.clone(), vec![waits], false, false),
        (Role::Buyer, all.clone(), vec![(&timeout, SpendPath::Timeout, Some(tip))], true, false),
        (Role::Buyer, ruled(Verdict::Seller), vec![waits], true, false),
        (Role::Buyer, case.facts.clone(), vec![waits], true, false),
        // Nobody called for him, and it did not open by itself.
        (Role::Buyer, Facts { rulings: rulings(Verdict::Buyer), ..Facts::default() }, vec![waits], true, false),
        // What a party signed over, in a record or as the pool shows it, is not taken by a ruling.
        (Role::Buyer, Facts { releases: vec![release], ..all.clone() }, vec![waits], true, false),
        (Role::Buyer, Facts { refunds: vec![refund], ..all.clone() }, vec![waits], true, false),
        (Role::Buyer, all.clone(), vec![(&refunded, SpendPath::Refund, None)], true, false),
        (Role::Buyer, all.clone(), vec![waits, (&refunded, SpendPath::Refund, None)], true, false),
    ] {
        let (machine, effects) = see(role, &facts, &spends, synced);
        assert_eq!(machine.phase(), Phase::Refunding);
        assert_eq!(completes(&effects), expected, "{role} {facts:?} {spends:?}");
        assert_eq!(machine.is_outrun(), expected || !synced, "{role} {facts:?} {spends:?}");
    }
    // Once completed it is sent, again and again, and hurried.
    let (mut machine, _) = see(Role::Buyer, &all, &[waits], true);
    let (seat, ruling) = &all.rulings[0];
    let tx = case.escrow.complete_ruling(*seat, ruling, Role::Buyer, &buyer).unwrap().tx;
    let effects = machine.handle(Event::SpendBuilt(tx.clone())).unwrap();
    assert!(effects.contains(&Effect::Broadcast(tx.clone())) && !completes(&effects), "{effects:?}");
    assert_eq!(machine.urgent().map(|(urgent, _)| urgent), Some(tx));
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

/// What pays him spends his bond along: taken back alone, it would leave those coins to the seller, whose delay is over too.
#[test]
fn a_buyer_leaves_his_bond_to_what_pays_him_while_no_block_holds_what_the_seller_takes_back() {
    let mut trade = SampleTrade::with_bonds(Side::Sell);
    let (escrow, vaults, tip) = (trade.escrow(), trade.vaults(1), FUNDED_AT + 4320 + 5);
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
    let takes = |vault, coin, key: &Keypair| escrow.signed_timeout(vault, coin, sats(1_700), key).unwrap().tx;
    let bond = takes(Vault::Bond, vaults.bond.unwrap(), &buyer);
    let theirs = takes(Vault::Escrow, vaults.escrow, &seller);
    let half = |to, key: &Keypair| escrow.half(&vaults, escrow.fee_at(&vaults, to, 10).unwrap(), to, key).unwrap();
    let pair = trade.arbiter_pair(escrow.contract(), Seat::First);
    let rulings = |verdict| {
        let division = escrow.divide(Seat::First, &vaults, verdict, 10).unwrap();
        vec![(Seat::First, escrow.rule(Seat::First, &vaults, division, &pair).unwrap())]
    };
    let disputed = || Facts { payment_sent: true, buyer_dispute: true, ..Facts::default() };
    let ruled = |verdict| Facts { rulings: rulings(verdict), ..disputed() };
    let released = || Facts { payment_sent: true, releases: vec![half(Role::Buyer, &seller)], ..Facts::default() };
    let undisputed = Facts { rulings: rulings(Verdict::Buyer), ..Facts::default() };
    let given_back = Facts { refunds: vec![half(Role::Seller, &buyer)], ..ruled(Verdict::Buyer) };
    let needed = Some(Refusal::BondNeeded);
    for (what, facts, seen, phase, refusal) in [
        ("ruled for him", ruled(Verdict::Buyer), None, Phase::Ruled, needed.clone()),
        ("ruled for both", ruled(Verdict::Split(sats(400_000))), None, Phase::Ruled, needed.clone()),
        ("ruled for him, and outrun", ruled(Verdict::Buyer), Some(None), Phase::Refunding, needed.clone()),
        ("released, and outrun", released(), Some(None), Phase::Refunding, needed),
        ("ruled for him, in vain", ruled(Verdict::Buyer), Some(Some(tip)), Phase::Refunding, None),
        ("ruled for him, long in vain", ruled(Verdict::Buyer), Some(Some(tip - 2)), Phase::Refunded, None),
        ("released in vain", released(), Some(Some(tip)), Phase::Refunding, None),
        // He gets less by it than what he takes back.
        ("ruled against him", ruled(Verdict::Seller), None, Phase::Ruled, None),
        ("ruled against him, and outrun", ruled(Verdict::Seller), Some(None), Phase::Refunding, None),
        ("nobody has ruled", disputed(), None, Phase::Disputed, None),
        ("nobody has called for an arbiter", undisputed, None, Phase::Funded, None),
        ("he has signed the coins back", given_back, None, Phase::Refunding, None),
    ] {
        let see = |role, kept: Option<&Transaction>| {
            let local = Local { spend_tx: kept.map(bitcoin::consensus::serialize), ..Local::default() };
            let mut machine = Trade::new(trade.bid(), role, false, local);
            machine.handle(Event::Compared).unwrap();
            machine.handle(Event::Records { contract: Some(trade.contract()), facts: facts.clone() }).unwrap();
            let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
            let spend = |height| Spend { tx: theirs.clone(), path: SpendPath::Timeout, height };
            let seen = ChainFacts { fundings, spends: seen.map(spend).into_iter().collect(), ..chain(tip) };
            let effects = machine.handle(Event::Chain(seen)).unwrap();
            (machine, effects)
        };
        let (mut machine, _) = see(Role::Buyer, None);
        assert_eq!((machine.phase(), machine.refusal(Action::Refund)), (phase, refusal.clone()), "{what}");
        assert_eq!(machine.actions().contains(&Action::Refund), refusal.is_none(), "{what}");
        assert_eq!(ask(&mut machine, Action::Refund).err(), refusal, "{what}");
        // Nor is it sent once more, if he took it back before that came: what pays him is made instead.
        let (_, effects) = see(Role::Buyer, Some(&bond));
        assert_eq!(effects.contains(&Effect::Broadcast(bond.clone())), refusal.is_none(), "{what}: {effects:?}");
        let is_made = |effect: &Effect| matches!(effect, Effect::CompleteRuling { .. } | Effect::Complete { .. });
        assert_eq!(effects.iter().any(is_made), refusal.is_some(), "{what}: {effects:?}");
        let (machine, _) = see(Role::Seller, None);
        assert!(!machine.needs_bond() && machine.refusal(Action::Refund) != Some(Refusal::BondNeeded), "{what}");
    }
}

/// From when on he could take all of it back alone, his node does not spend it for what is left of it. The seller's completes the
/// ruling whenever it can.
#[test]
fn what_a_ruling_leaves_of_a_buyers_bond_is_taken_only_until_all_of_it_is_his_to_take() {
    let mut trade = SampleTrade::with_bonds(Side::Sell);
    let (escrow, vaults, open) = (trade.escrow(), trade.vaults(1), FUNDED_AT + 4320 - 1);
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
    let pair = trade.arbiter_pair(escrow.contract(), Seat::First);
    let division = escrow.divide(Seat::First, &vaults, Verdict::Seller, 10).unwrap();
    let ruling = escrow.rule(Seat::First, &vaults, division, &pair).unwrap();
    assert!(ruling.to_buyer > Sats::ZERO && ruling.to_buyer < vaults.bond.unwrap().value);
    let left = escrow.complete_ruling(Seat::First, &ruling, Role::Buyer, &buyer).unwrap().tx;
    let theirs = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &seller).unwrap().tx;
    let rulings = vec![(Seat::First, ruling)];
    let facts = Facts { payment_sent: true, buyer_dispute: true, rulings, ..Facts::default() };
    let see = |role, kept: Option<&Transaction>, tip, spends| {
        let local = Local { spend_tx: kept.map(bitcoin::consensus::serialize), ..Local::default() };
        let mut machine = Trade::new(trade.bid(), role, false, local);
        machine.handle(Event::Compared).unwrap();
        machine.handle(Event::Records { contract: Some(trade.contract()), facts: facts.clone() }).unwrap();
        let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
        let effects = machine.handle(Event::Chain(ChainFacts { fundings, spends, ..chain(tip) })).unwrap();
        (machine, effects)
    };
    let completes = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::CompleteRuling { .. }));
    for (role, tip, expected) in [
        (Role::Buyer, T1 - 1, false),
        (Role::Buyer, T1, true),
        (Role::Buyer, open - 1, true),
        (Role::Buyer, open, false),
        (Role::Seller, T1, true),
        (Role::Seller, open, true),
    ] {
        let (machine, effects) = see(role, None, tip, Vec::new());
        assert_eq!((machine.phase(), completes(&effects)), (Phase::Ruled, expected), "{role} {tip}: {effects:?}");
    }
    // Nor is it sent once more that was completed before, be it that the seller takes his coins back meanwhile.
    for (tip, is_outrun) in [(open - 1, false), (open, false), (open, true)] {
        let spend = Spend { tx: theirs.clone(), path: SpendPath::Timeout, height: None };
        let (machine, effects) = see(Role::Buyer, Some(&left), tip, is_outrun.then_some(spend).into_iter().collect());
        assert_eq!(effects.contains(&Effect::Broadcast(left.clone())), tip < open, "{tip} {is_outrun}: {effects:?}");
        assert!(!completes(&effects) && !machine.is_outrun(), "{tip} {is_outrun}: {effects:?}");
        assert_eq!(machine.refusal(Action::Refund).is_none(), tip >= open, "{tip} {is_outrun}");
    }
}
