//! What lies on a party's own script beside the trade: what of it is his, from when on, and that it is taken once.

use bitcoin::OutPoint;

use super::*;
use crate::trade::Stray;
use crate::wire::Outpoint;

/// Where the seller's own funding lies, and where the escrow was paid once more.
const FUNDED_AT: u32 = 1_290;
const PAID_AT: u32 = 190;
/// The first tip at which what was paid once more can be taken back, and the one for what the trade stands on.
const OPEN: u32 = PAID_AT + 4320 - 1;
const REFUND_FROM: u32 = FUNDED_AT + 4320 - 1;
const BURIED: Option<u32> = Some(OPEN - 10);

/// Returns what a seller keeps who made the first funding.
fn funder(trade: &SampleTrade) -> Local {
    Local { funding_tx: Some(bitcoin::consensus::serialize(&trade.funding(1))), ..Local::default() }
}

/// Returns both fundings, and what becomes of the first.
fn paid_twice(trade: &SampleTrade, spend: Option<(SpendPath, Option<u32>)>) -> ChainFacts {
    let [first, second] = [1, 2].map(|number| trade.vaults(number));
    let tx = trade.escrow().timeout(Vault::Escrow, first.escrow, sats(1_700)).unwrap().tx;
    let spends = spend.map(|(path, height)| Spend { tx, path, height }).into_iter().collect();
    let fundings = vec![Funding::new(first, Some(FUNDED_AT)), Funding::new(second, Some(PAID_AT))];
    ChainFacts { fundings, spends, ..chain(OPEN) }
}

/// Returns the machine of a side that keeps this, when the records and the chain are so.
fn machine(trade: &SampleTrade, role: Role, local: Local, facts: Facts, seen: ChainFacts) -> Trade {
    let mut machine = Trade::new(trade.bid(), role, false, local);
    machine.handle(Event::Records { contract: Some(trade.contract()), facts }).unwrap();
    machine.handle(Event::Compared).unwrap();
    machine.handle(Event::Chain(seen)).unwrap();
    machine
}

/// Returns the effect by which a side takes back an output of the sample trade.
fn takes(trade: &SampleTrade, stray: &Stray) -> Effect {
    let Stray { vault, coin, .. } = *stray;
    Effect::BuildTimeout { vault, coin, fee: trade.escrow().timeout_fee_at(vault, coin, 10).unwrap() }
}

/// Returns what is the seller's in the second funding.
fn second(trade: &SampleTrade) -> Stray {
    Stray { vault: Vault::Escrow, coin: trade.vaults(2).escrow, height: PAID_AT }
}

/// Returns an output on a script of the sample trade's escrow, told apart by its number.
fn stray(trade: &SampleTrade, vault: Vault, number: u32, height: u32) -> Stray {
    let outpoint = Outpoint(OutPoint { vout: number, ..trade.vaults(3).outpoint() });
    Stray { vault, coin: Coin { outpoint, value: sats(1_500_000) }, height }
}

fn broadcasts(effects: &[Effect]) -> Vec<&Transaction> {
    effects.iter().filter_map(|effect| if let Effect::Broadcast(tx) = effect { Some(tx) } else { None }).collect()
}

#[test]
fn what_was_paid_twice_is_the_sellers_to_take_once_nothing_of_the_trade_is() {
    let mut trade = SampleTrade::new(Side::Sell);
    let key = trade.author(Role::Seller).trade_key();
    let half = trade.escrow().half(&trade.vaults(1), sats(1_700), Role::Buyer, &key).unwrap();
    let plain = Facts::default();
    let paid = Facts { payment_sent: true, ..Facts::default() };
    let disputed = Facts { payment_sent: true, buyer_dispute: true, ..Facts::default() };
    let released = Facts { releases: vec![half], ..Facts::default() };
    let stray = second(&trade);
    for (phase, facts, spend, is_next) in [
        (Phase::Closed, &plain, Some((SpendPath::Payout, BURIED)), true),
        (Phase::Refunded, &plain, Some((SpendPath::Timeout, BURIED)), true),
        (Phase::Settled, &plain, Some((SpendPath::Ruling, BURIED)), true),
        (Phase::Lost, &plain, Some((SpendPath::Foreign, BURIED)), true),
        // The coins of the trade are signed over, and perhaps nobody ever comes for them.
        (Phase::Released, &released, None, true),
        (Phase::Released, &plain, Some((SpendPath::Payout, None)), true),
        (Phase::Funded, &plain, None, false),
        (Phase::Paid, &paid, None, false),
        (Phase::Disputed, &disputed, None, false),
        (Phase::Ruled, &plain, Some((SpendPath::Ruling, None)), false),
        (Phase::Ruled, &plain, Some((SpendPath::Ruling, Some(OPEN))), false),
        (Phase::Refunding, &plain, Some((SpendPath::Refund, None)), false),
    ] {
        let mut seller = machine(&trade, Role::Seller, funder(&trade), facts.clone(), paid_twice(&trade, spend));
        assert_eq!((seller.phase(), seller.strays()), (phase, vec![stray]), "{spend:?}");
        assert_eq!(seller.next_stray(), is_next.then_some(stray), "{phase:?} {spend:?}");
        assert_eq!(seller.actions().contains(&Action::Refund), is_next, "{phase:?} {spend:?}");
        let is_left = spend.is_none_or(|(_, height)| height.is_none());
        let refusal = match (is_next, is_left) {
            (true, _) => None,
            (false, true) => Some(Refusal::TooEarlyToRefund { from: REFUND_FROM, tip: OPEN }),
            (false, false) => Some(Refusal::NothingToTakeBack),
        };
        assert_eq!(seller.refusal(Action::Refund), refusal, "{phase:?} {spend:?}");
        let effects = ask(&mut seller, Action::Refund);
        assert_eq!(effects.is_ok_and(|effects| effects.contains(&takes(&trade, &stray))), is_next, "{phase:?}");
    }
    // Until then he is about what the trade stands on.
    let late = ChainFacts { tip: REFUND_FROM, ..paid_twice(&trade, None) };
    let mut seller = machine(&trade, Role::Seller, funder(&trade), Facts::default(), late);
    let own = Stray { coin: trade.vaults(1).escrow, ..stray };
    assert!(ask(&mut seller, Action::Refund).unwrap().contains(&takes(&trade, &own)));
}

#[test]
fn it_is_his_too_where_the_escrow_was_never_funded_otherwise() {
    let trade = SampleTrade::new(Side::Sell);
    let (value, coin) = (sats(999_999), second(&trade).coin);
    let other = Stray { coin: Coin { value, ..coin }, ..second(&trade) };
    for (phase, facts) in [
        (Phase::Agreed, Facts::default()),
        (Phase::Cancelled, Facts { seller_cancel: true, ..Facts::default() }),
        (Phase::Void, Facts { void: true, ..Facts::default() }),
    ] {
        let seen = ChainFacts { strays: vec![other], ..chain(OPEN) };
        let mut seller = machine(&trade, Role::Seller, Local::default(), facts, seen);
        assert_eq!((seller.phase(), seller.next_stray()), (phase, Some(other)));
        assert!(ask(&mut seller, Action::Refund).unwrap().contains(&takes(&trade, &other)), "{phase:?}");
    }
}

/// A pool shows what nobody signed, for as long as somebody likes.
#[test]
fn a_funding_that_others_made_locks_nothing_that_was_paid_besides_before_a_block_holds_it() {
    let (plain, bonded) = (SampleTrade::new(Side::Sell), SampleTrade::with_bonds(Side::Sell));
    for (trade, role, vault) in [
        (&plain, Role::Seller, Vault::Escrow),
        (&bonded, Role::Seller, Vault::Escrow),
        (&bonded, Role::Buyer, Vault::Bond),
    ] {
        let beside = stray(trade, vault, 5, PAID_AT);
        let seen = |height| {
            let fundings = vec![Funding::new(trade.vaults(1), height)];
            ChainFacts { fundings, strays: vec![beside], ..chain(OPEN) }
        };
        for facts in [
            Facts::default(),
            Facts { buyer_cancel: true, ..Facts::default() },
            Facts { seller_cancel: true, ..Facts::default() },
            Facts { void: true, ..Facts::default() },
        ] {
            let mut party = machine(trade, role, Local::default(), facts.clone(), seen(None));
            assert_eq!((party.phase(), party.next_stray()), (Phase::Funding, Some(beside)), "{role} {facts:?}");
            assert!(party.actions().contains(&Action::Refund), "{role} {facts:?}");
            assert!(ask(&mut party, Action::Refund).unwrap().contains(&takes(trade, &beside)), "{role} {facts:?}");
            // Nor before its own delay is over.
            party.handle(Event::Chain(ChainFacts { tip: OPEN - 1, ..seen(None) })).unwrap();
            let early = Refusal::TooEarlyToRefund { from: OPEN, tip: OPEN - 1 };
            assert_eq!(party.refusal(Action::Refund), Some(early), "{role} {facts:?}");
            party.handle(Event::Chain(seen(Some(OPEN)))).unwrap();
            assert_eq!((party.phase(), party.next_stray()), (Phase::Funding, None), "in a block: {role} {facts:?}");
            let refusal = Refusal::NotAllowed { action: Action::Refund, role, phase: Phase::Funding };
            assert_eq!(ask(&mut party, Action::Refund), Err(refusal), "{role} {facts:?}");
        }
    }
    // What this side sends itself counts as soon as a block takes it.
    let (fundings, strays) = (vec![Funding::new(plain.vaults(1), None)], vec![second(&plain)]);
    let seen = ChainFacts { fundings, strays, ..chain(OPEN) };
    let mut seller = machine(&plain, Role::Seller, funder(&plain), Facts::default(), seen);
    assert_eq!((seller.phase(), seller.strays(), seller.next_stray()), (Phase::Funding, vec![second(&plain)], None));
    let refusal = Refusal::NotAllowed { action: Action::Refund, role: Role::Seller, phase: Phase::Funding };
    assert_eq!(ask(&mut seller, Action::Refund), Err(refusal));
}

#[test]
fn nothing_is_taken_back_before_its_own_delay_is_over_nor_blindly() {
    let trade = SampleTrade::new(Side::Sell);
    let closed = || paid_twice(&trade, Some((SpendPath::Payout, BURIED)));
    let refusal = |seen, is_compared| {
        let mut seller = Trade::new(trade.bid(), Role::Seller, false, funder(&trade));
        seller.handle(Event::Records { contract: Some(trade.contract()), facts: Facts::default() }).unwrap();
        seller.handle(Event::Chain(seen)).unwrap();
        if is_compared {
            seller.handle(Event::Compared).unwrap();
        }
        (seller.refusal(Action::Refund), seller.view().stray_from(&second(&trade)))
    };
    let early = Refusal::TooEarlyToRefund { from: OPEN, tip: OPEN - 1 };
    assert_eq!(refusal(ChainFacts { tip: OPEN - 1, ..closed() }, true), (Some(early), Some(OPEN)));
    assert_eq!(refusal(ChainFacts { synced: false, ..closed() }, true).0, Some(Refusal::NotSynced));
    assert_eq!(refusal(closed(), false).0, Some(Refusal::NotCompared));
    assert_eq!(refusal(closed(), true).0, None);
    let fundings = vec![Funding::new(trade.vaults(1), Some(FUNDED_AT))];
    assert_eq!(refusal(ChainFacts { fundings, ..closed() }, true).0, Some(Refusal::NothingToTakeBack));
}

/// Whoever did not make the first funding himself sees both, and what counts decides.
#[test]
fn only_what_is_in_a_block_unspent_and_not_signed_over_is_taken_back() {
    let mut trade = SampleTrade::new(Side::Sell);
    let key = trade.author(Role::Seller).trade_key();
    let release = |number| trade.escrow().half(&trade.vaults(number), sats(1_700), Role::Buyer, &key).unwrap();
    let closed = || paid_twice(&trade, Some((SpendPath::Payout, BURIED)));
    let strays = |facts, seen| machine(&trade, Role::Seller, Local::default(), facts, seen).strays();
    let stray = second(&trade);
    assert_eq!(strays(Facts::default(), closed()), [stray], "not what the trade stood on");
    let released = |number| Facts { releases: vec![release(number)], ..Facts::default() };
    assert_eq!(strays(released(1), closed()), [stray]);
    assert_eq!(strays(released(2), closed()), [], "the buyer's, though he has what he paid for already");
    let tx = trade.escrow().timeout(Vault::Escrow, stray.coin, sats(1_700)).unwrap().tx;
    for (height, expected) in [(None, vec![stray]), (Some(OPEN), vec![])] {
        let mut seen = closed();
        seen.spends.push(Spend { tx: tx.clone(), path: SpendPath::Timeout, height });
        assert_eq!(strays(Facts::default(), seen), expected, "spent at {height:?}");
    }
    for (height, extends, expected) in [
        (None, None, vec![]),
        (Some(PAID_AT), Some(trade.vaults(4).outpoint()), vec![]),
        (Some(PAID_AT), None, vec![stray]),
    ] {
        let mut seen = closed();
        (seen.fundings[1].height, seen.fundings[1].extends) = (height, extends);
        assert_eq!(strays(Facts::default(), seen), expected, "{height:?} {extends:?}");
    }
}

#[test]
fn each_has_what_lies_on_his_own_script_and_an_arbiter_nothing() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    let (e0, e1) = (Vault::Escrow, Vault::Bond);
    let all = [(e0, 7, 300), (e1, 3, 250), (e0, 5, 300), (e1, 2, 260), (e0, 9, 200)];
    let strays = all.map(|(vault, number, height)| stray(&trade, vault, number, height)).to_vec();
    for (role, expected) in [(Role::Seller, vec![9, 5, 7]), (Role::Buyer, vec![3, 2]), (Role::Arbiter, vec![])] {
        let seen = ChainFacts { strays: strays.clone(), ..chain(OPEN) };
        let machine = machine(&trade, role, Local::default(), Facts::default(), seen);
        let own: Vec<u32> = machine.strays().iter().map(|stray| stray.coin.outpoint.0.vout).collect();
        assert_eq!(own, expected, "{role}");
        assert_eq!(machine.next_stray(), machine.strays().first().copied(), "{role}");
    }
}

#[test]
fn one_is_taken_after_the_other_each_kept_and_sent_until_a_block_holds_it() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (escrow, key) = (trade.escrow(), trade.author(Role::Seller).trade_key());
    let (less, first) = (second(&trade), stray(&trade, Vault::Escrow, 5, PAID_AT + 1));
    let at = |tip| {
        let seen = paid_twice(&trade, Some((SpendPath::Payout, BURIED)));
        ChainFacts { tip, strays: vec![first, stray(&trade, Vault::Escrow, 6, PAID_AT + 1)], ..seen }
    };
    let mut seller = machine(&trade, Role::Seller, funder(&trade), Facts::default(), at(OPEN));
    assert_eq!(seller.strays().first(), Some(&less));
    assert_eq!(seller.next_stray(), Some(less), "the others' delay is not over");
    // Of those whose delay is over the largest, and of several as large the first.
    seller.handle(Event::Chain(at(OPEN + 1))).unwrap();
    assert_eq!(seller.next_stray(), Some(first));
    let closed = || ChainFacts { strays: vec![first], ..at(OPEN + 1) };
    seller.handle(Event::Chain(closed())).unwrap();
    assert_eq!(seller.strays(), [less, first]);
    assert!(ask(&mut seller, Action::Refund).unwrap().contains(&takes(&trade, &first)));
    assert_eq!(seller.kept_stray(), None);
    let tx = escrow.signed_timeout(first.vault, first.coin, sats(1_700), &key).unwrap().tx;
    let effects = seller.handle(Event::SpendBuilt(tx.clone())).unwrap();
    assert!(matches!(&effects[0], Effect::Persist(local) if local.spend_tx.is_some()), "kept before it is sent");
    assert_eq!(broadcasts(&effects), [&tx]);
    // Neither made anew, nor forgotten for the next, be it after a restart.
    let restarted = machine(&trade, Role::Seller, seller.local().clone(), Facts::default(), closed());
    for mut seller in [restarted, seller.clone()] {
        assert_eq!((seller.phase(), seller.kept_stray()), (Phase::Closed, Some((tx.clone(), first))));
        assert_eq!(ask(&mut seller, Action::Refund), Err(Refusal::AlreadySigned));
        assert!(!seller.actions().contains(&Action::Refund));
        assert_eq!(broadcasts(&seller.handle(Event::Chain(closed())).unwrap()), [&tx]);
    }
    let mut seen = closed();
    seen.spends.push(Spend { tx: tx.clone(), path: SpendPath::Timeout, height: Some(OPEN + 1) });
    let effects = seller.handle(Event::Chain(seen)).unwrap();
    assert_eq!((broadcasts(&effects).len(), seller.kept_stray()), (0, None));
    assert!(ask(&mut seller, Action::Refund).unwrap().contains(&takes(&trade, &less)));
}

/// The seller took his own back, the buyer's bond lies there, and the buyer has paid another one besides.
#[test]
fn what_was_left_of_the_trade_comes_before_what_lies_beside_it() {
    let mut trade = SampleTrade::with_bonds(Side::Sell);
    let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
    let gone = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &seller).unwrap().tx;
    let spends = vec![Spend { tx: gone, path: SpendPath::Timeout, height: Some(REFUND_FROM + 1) }];
    let beside = stray(&trade, Vault::Bond, 5, PAID_AT);
    let (fundings, strays) = (vec![Funding::new(vaults, Some(FUNDED_AT))], vec![beside]);
    let seen = ChainFacts { fundings, spends, strays, ..chain(REFUND_FROM + 5) };
    let taken = escrow.signed_timeout(Vault::Bond, beside.coin, sats(1_700), &buyer).unwrap().tx;
    for kept in [None, Some(bitcoin::consensus::serialize(&taken))] {
        let local = Local { spend_tx: kept, ..Local::default() };
        let mut buyer = machine(&trade, Role::Buyer, local, Facts::default(), seen.clone());
        assert_eq!((buyer.phase(), buyer.strays(), buyer.next_stray()), (Phase::Refunded, vec![beside], None));
        let own = Stray { vault: Vault::Bond, coin: vaults.bond.unwrap(), height: FUNDED_AT };
        assert!(ask(&mut buyer, Action::Refund).unwrap().contains(&takes(&trade, &own)));
    }
}

/// What the trade stood on is undone, deep in the chain, and what lay beside it counts.
#[test]
fn who_took_it_back_releases_it_no_more() {
    let mut trade = SampleTrade::new(Side::Sell);
    let key = trade.author(Role::Seller).trade_key();
    let stray = second(&trade);
    let tx = trade.escrow().signed_timeout(stray.vault, stray.coin, sats(1_700), &key).unwrap().tx;
    for kept in [None, Some(bitcoin::consensus::serialize(&tx))] {
        let local = Local { spend_tx: kept.clone(), ..Local::default() };
        let seen = paid_twice(&trade, Some((SpendPath::Payout, BURIED)));
        let mut seller = machine(&trade, Role::Seller, local, Facts::default(), seen);
        assert_eq!(seller.strays(), [stray]);
        let fundings = vec![Funding::new(trade.vaults(2), Some(PAID_AT))];
        seller.handle(Event::Chain(ChainFacts { fundings, ..chain(OPEN) })).unwrap();
        assert_eq!((seller.phase(), seller.strays(), seller.kept_stray()), (Phase::Funded, vec![], None));
        let refusal = kept.map(|_| Refusal::AlreadySigned);
        assert_eq!(ask(&mut seller, Action::Release).err(), refusal);
    }
}

#[test]
fn what_lies_on_the_script_of_one_contract_does_not_on_that_of_another() {
    let trade = SampleTrade::new(Side::Sell);
    let seen = ChainFacts { strays: vec![second(&trade)], ..chain(OPEN) };
    let mut seller = machine(&trade, Role::Seller, Local::default(), Facts::default(), seen);
    assert_eq!(seller.strays(), [second(&trade)]);
    let contract = Some(Contract { height: 99, ..trade.contract() });
    seller.handle(Event::Records { contract, facts: Facts::default() }).unwrap();
    assert_eq!(seller.strays(), []);
}
