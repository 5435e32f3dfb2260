//! What each side owes without being asked, and when it owes nothing.

use super::*;
use crate::body::{Closed, Dispute, Offer};
use crate::rules::CLOSED_DEPTH;
use crate::testing::{EPOCH, sample_accept, sample_offer, sample_take, vaults_of};
use crate::trade::machine::duties::SAID_AFTER;
use crate::wire::TxId;

const FUNDED_AT: u32 = 190;
/// The first tip at which the funder can take back what he put in.
const T2: u32 = FUNDED_AT + 4320 - 1;

fn serialized(tx: &Transaction) -> Option<Vec<u8>> {
    Some(bitcoin::consensus::serialize(tx))
}

/// Returns what a side owes that has kept this, when the records and the chain are so.
fn owed(
    trade: &SampleTrade,
    contract: &Contract,
    role: Role,
    local: Local,
    facts: Facts,
    seen: ChainFacts,
) -> Vec<Effect> {
    let mut machine = Trade::new(trade.bid(), role, false, local);
    machine.handle(Event::Compared).unwrap();
    machine.handle(Event::Records { contract: Some(contract.clone()), facts }).unwrap();
    machine.handle(Event::Chain(seen)).unwrap()
}

fn broadcasts(effects: &[Effect]) -> Vec<&Transaction> {
    effects.iter().filter_map(|effect| if let Effect::Broadcast(tx) = effect { Some(tx) } else { None }).collect()
}

fn publishes(effects: &[Effect], body: Body) -> bool {
    effects.contains(&Effect::Publish(body))
}

#[test]
fn every_output_is_watched_by_everybody() {
    let trade = SampleTrade::new(Side::Sell);
    for contract in [trade.contract(), trade.bonded()] {
        for role in [Role::Buyer, Role::Seller, Role::Arbiter] {
            let effects = owed(&trade, &contract, role, Local::default(), Facts::default(), chain(200));
            let scripts = Escrow::new(&contract).scripts();
            assert!(effects.contains(&Effect::Watch { scripts }), "{role}: {effects:?}");
        }
    }
}

#[test]
fn only_the_maker_of_an_automatic_offer_accepts_by_himself() {
    let trade = SampleTrade::new(Side::Sell);
    let mut maker = trade.maker.reopened(EPOCH + 5);
    for (automatic, is_maker, facts, accepts) in [
        (true, true, Facts::default(), true),
        (false, true, Facts::default(), false),
        (true, false, Facts::default(), false),
        (true, true, Facts { buyer_cancel: true, ..Facts::default() }, false),
        (true, true, Facts { seller_cancel: true, ..Facts::default() }, false),
        (true, true, Facts { void: true, ..Facts::default() }, false),
    ] {
        let offer = Offer { automatic, ..sample_offer(Side::Sell, &[trade.advert.id()]) };
        let offer = maker.write(&Body::Offer(offer));
        let mut taker = trade.taker.clone();
        let take = taker.write(&Body::Take(sample_take(offer.id(), &taker)));
        let bid = Bid::new(&offer, &take, &[&trade.advert]).unwrap();
        let contract = bid.accepted(&maker.write(&Body::Accept(sample_accept(&take, offer.id(), &maker)))).unwrap();
        let mut machine = Trade::new(bid, Role::Seller, is_maker, Local::default());
        let effects = machine.handle(Event::Records { contract: None, facts: facts.clone() }).unwrap();
        assert_eq!(effects.contains(&Effect::Accept), accepts, "{automatic} {is_maker} {facts:?}");
        let effects = machine.handle(Event::Records { contract: Some(contract), facts }).unwrap();
        assert!(!effects.contains(&Effect::Accept), "once");
        assert_eq!((machine.is_maker(), machine.role(), machine.seat()), (is_maker, Role::Seller, None));
    }
}

#[test]
fn details_are_chosen_until_the_contract_commits_to_them_and_sent_until_it_is_over() {
    let trade = SampleTrade::new(Side::Sell);
    let mut machine = Trade::new(trade.bid(), Role::Seller, true, Local::default());
    let choose = |number: u8| Event::Prepared { salt: [number; 32], details: format!("account {number}") };
    for number in [1, 2] {
        let effects = machine.handle(choose(number)).unwrap();
        assert!(matches!(effects[0], Effect::Persist(_)), "kept before anything commits to it");
        assert!(!effects.contains(&Effect::SendDetails), "there is nobody to send them to yet");
        assert_eq!(
            machine.local().details,
            Some(([number; 32], format!("account {number}"))),
            "the last choice counts"
        );
    }
    let agreed = |facts| Event::Records { contract: Some(trade.contract()), facts };
    assert!(machine.handle(agreed(Facts::default())).unwrap().contains(&Effect::SendDetails));
    machine.handle(choose(3)).unwrap();
    assert_eq!(machine.local().details, Some(([2; 32], "account 2".to_owned())), "the contract commits to these");
    let off = machine.handle(agreed(Facts { buyer_cancel: true, ..Facts::default() })).unwrap();
    assert!(!off.contains(&Effect::SendDetails), "it is over");
    let mut arbiter = Trade::seated(trade.bid(), Seat::First);
    arbiter.handle(choose(1)).unwrap();
    assert!(!arbiter.handle(agreed(Facts::default())).unwrap().contains(&Effect::SendDetails));
}

#[test]
fn a_seller_sends_his_funding_while_it_is_wanted_and_no_block_shows_it() {
    let trade = SampleTrade::new(Side::Sell);
    let (tx, contract) = (trade.funding(1), trade.contract());
    let local = || Local { funding_tx: serialized(&tx), ..Local::default() };
    let funded = |height| ChainFacts { fundings: vec![Funding::new(trade.vaults(1), height)], ..chain(200) };
    let (plain, cancelled) = (Facts::default(), Facts { buyer_cancel: true, ..Facts::default() });
    let named = Some(trade.vaults(1).outpoint());
    for (facts, seen, sends) in [
        (plain.clone(), chain(200), true),
        (plain.clone(), ChainFacts { synced: false, ..chain(200) }, false),
        (plain.clone(), funded(None), true),
        (plain.clone(), funded(Some(199)), false),
        (plain.clone(), funded(Some(190)), false),
        (cancelled.clone(), chain(200), false),
        (Facts { funded: named, ..cancelled.clone() }, chain(200), true),
        // What the buyer says makes nothing owed, nor does the name of another output.
        (Facts { payment_sent: true, ..cancelled.clone() }, chain(200), false),
        (Facts { funded: Some(trade.vaults(2).outpoint()), ..cancelled }, chain(200), false),
        (Facts { void: true, ..plain.clone() }, chain(200), false),
    ] {
        let effects = owed(&trade, &contract, Role::Seller, local(), facts.clone(), seen.clone());
        let expected = if sends { vec![&tx] } else { vec![] };
        assert_eq!(broadcasts(&effects), expected, "{facts:?} {seen:?}");
    }
    // He names it once it is buried, and once.
    let named = Body::Funded(Funded { trade: trade.id(), outpoint: trade.vaults(1).escrow.outpoint });
    for (height, facts, names) in [
        (None, plain.clone(), false),
        (Some(199), plain.clone(), false),
        (Some(198), plain.clone(), true),
        (Some(198), Facts { funded: Some(trade.vaults(1).outpoint()), ..plain.clone() }, false),
    ] {
        // A machine that is made anew after a restart does so too, and one that did not make the funding itself.
        let people = [(Role::Seller, local()), (Role::Seller, Local::default()), (Role::Buyer, Local::default())];
        for (role, kept) in people {
            let effects = owed(&trade, &contract, role, kept, facts.clone(), funded(height));
            assert_eq!(publishes(&effects, named.clone()), names && role == Role::Seller, "{role} {height:?}");
        }
    }
}

#[test]
fn coins_that_came_after_the_buyer_called_off_are_signed_back_and_no_others() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (contract, escrow, vaults) = (trade.contract(), trade.escrow(), trade.vaults(1));
    let key = trade.author(Role::Buyer).trade_key();
    let signed = escrow.half(&vaults, sats(1_700), Role::Seller, &key).unwrap();
    let back = Effect::SignHalf { vaults, fee: escrow.fee_at(&vaults, Role::Seller, 1).unwrap(), to: Role::Seller };
    let seen = |height| ChainFacts { fundings: vec![Funding::new(vaults, Some(height))], ..chain(200) };
    let off = Facts { buyer_cancel: true, ..Facts::default() };
    for (facts, height, signs) in [
        (off.clone(), 198, true),
        (off.clone(), 199, false),
        (Facts::default(), 198, false),
        (Facts { payment_sent: true, ..off.clone() }, 198, false),
        (Facts { seller_cancel: true, ..Facts::default() }, 198, false),
        (Facts { refunds: vec![signed], ..off }, 198, false),
    ] {
        for role in [Role::Buyer, Role::Seller] {
            let effects = owed(&trade, &contract, role, Local::default(), facts.clone(), seen(height));
            let found = effects.iter().find(|effect| matches!(effect, Effect::SignHalf { .. }));
            let expected = (signs && role == Role::Buyer).then_some(&back);
            assert_eq!(found, expected, "{role} {height} {facts:?}");
        }
    }
}

#[test]
fn a_seller_completes_a_refund_and_sends_what_he_kept_of_it_until_a_block_shows_it() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (contract, escrow, vaults) = (trade.contract(), trade.escrow(), trade.vaults(1));
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
    let half = escrow.half(&vaults, sats(1_700), Role::Seller, &buyer).unwrap();
    let refund = escrow.complete(&half, Role::Seller, &seller).unwrap().tx;
    let timeout = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &seller).unwrap().tx;
    let agreed = Facts { refunds: vec![half.clone()], ..Facts::default() };
    let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
    let seen = |spend: Option<(&Transaction, SpendPath, Option<u32>)>| {
        let spends = spend.map(|(tx, path, height)| Spend { tx: tx.clone(), path, height }).into_iter().collect();
        ChainFacts { fundings: fundings.clone(), spends, ..chain(5_000) }
    };
    let completes = Effect::Complete { half, to: Role::Seller };
    for (kept, facts, spend, sends, is_completed) in [
        (None, agreed.clone(), None, None, true),
        (Some(&refund), agreed.clone(), None, Some(&refund), false),
        (Some(&timeout), agreed.clone(), None, Some(&timeout), false),
        (Some(&refund), agreed.clone(), Some((&refund, SpendPath::Refund, Some(5_000))), None, false),
        (None, agreed, Some((&refund, SpendPath::Refund, Some(5_000))), None, false),
        // What he takes back alone needs nobody, and no word of the buyer's stops it but what is the buyer's.
        (Some(&timeout), Facts::default(), None, Some(&timeout), false),
        (Some(&timeout), Facts { payment_sent: true, ..Facts::default() }, None, Some(&timeout), false),
        (Some(&timeout), Facts { buyer_dispute: true, ..Facts::default() }, None, Some(&timeout), false),
        (Some(&refund), Facts::default(), None, None, false),
        (None, Facts::default(), None, None, false),
    ] {
        let local = Local { spend_tx: kept.and_then(serialized), ..Local::default() };
        let effects = owed(&trade, &contract, Role::Seller, local, facts.clone(), seen(spend));
        assert_eq!(broadcasts(&effects), sends.into_iter().collect::<Vec<_>>(), "{facts:?} {spend:?}");
        assert_eq!(effects.contains(&completes), is_completed, "{facts:?} {spend:?}");
    }
    // The buyer completes nothing that goes to the seller, and a release is no refund.
    let release = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
    let released = Facts { releases: vec![release], ..Facts::default() };
    let local = Local { spend_tx: serialized(&timeout), ..Local::default() };
    assert!(broadcasts(&owed(&trade, &contract, Role::Seller, local, released, seen(None))).is_empty());
}

#[test]
fn a_buyer_sends_the_payout_that_he_keeps_while_the_coins_are_held_and_no_block_spends_them() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (contract, escrow, vaults) = (trade.contract(), trade.escrow(), trade.vaults(1));
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
    let half = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
    let released = Facts { releases: vec![half], ..Facts::default() };
    for (role, funded_at, spent_at, sends) in [
        (Role::Buyer, Some(198), None, true),
        (Role::Buyer, Some(198), Some(None), true),
        (Role::Buyer, Some(198), Some(Some(199)), false),
        (Role::Buyer, Some(190), Some(Some(198)), false),
        (Role::Buyer, Some(199), None, false),
        (Role::Buyer, None, None, false),
        (Role::Seller, Some(198), None, false),
    ] {
        let fundings = vec![Funding::new(vaults, funded_at)];
        let spend = |height| Spend { tx: payout.clone(), path: SpendPath::Payout, height };
        let seen = ChainFacts { fundings, spends: spent_at.map(spend).into_iter().collect(), ..chain(200) };
        let local = Local { spend_tx: serialized(&payout), ..Local::default() };
        let effects = owed(&trade, &contract, role, local, released.clone(), seen);
        assert_eq!(!broadcasts(&effects).is_empty(), sends, "{role} {funded_at:?} {spent_at:?}");
    }
}

#[test]
fn a_buyer_sends_his_bond_back_again_while_it_is_there() {
    let mut trade = SampleTrade::new(Side::Sell);
    let contract = trade.bonded();
    let escrow = Escrow::new(&contract);
    let (vaults, key) = (vaults_of(&escrow, 1), trade.author(Role::Buyer).trade_key());
    let tx = |number| {
        let bond = vaults_of(&escrow, number).bond.unwrap();
        escrow.signed_timeout(Vault::Bond, bond, sats(1_700), &key).unwrap().tx
    };
    let sellers = trade.author(Role::Seller).trade_key();
    let gone = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &sellers).unwrap().tx;
    let spend = |tx: &Transaction, height| Spend { tx: tx.clone(), path: SpendPath::Timeout, height };
    for (kept, spends, sends) in [
        (tx(1), vec![], true),
        (tx(1), vec![spend(&gone, Some(T2 + 1))], true),
        (tx(1), vec![spend(&tx(1), None)], true),
        (tx(1), vec![spend(&tx(1), Some(T2 + 1))], false),
        (tx(2), vec![], false),
    ] {
        let local = Local { spend_tx: serialized(&kept), ..Local::default() };
        let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
        let seen = ChainFacts { fundings, spends, ..chain(T2 + 5) };
        let effects = owed(&trade, &contract, Role::Buyer, local, Facts::default(), seen.clone());
        assert_eq!(!broadcasts(&effects).is_empty(), sends, "{seen:?}");
    }
}

/// What a reorg could still replace is said by nobody, though the trade is over for both after three blocks.
#[test]
fn each_party_says_once_how_it_ended_when_no_reorg_is_to_be_feared() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (contract, escrow, vaults) = (trade.contract(), trade.escrow(), trade.vaults(1));
    let key = trade.author(Role::Seller).trade_key();
    let tx = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let spend = tx.compute_txid();
    let deep = 200 + 1 - CLOSED_DEPTH;
    assert!(CLOSED_DEPTH > contract.confirmations && deep > FUNDED_AT);
    let closed = Body::Closed(Closed { trade: trade.id(), spend: TxId(spend) });
    for (path, is_an_end) in [
        (SpendPath::Payout, true),
        (SpendPath::Timeout, true),
        (SpendPath::Refund, true),
        (SpendPath::Ruling, true),
        (SpendPath::Foreign, false),
    ] {
        for (height, role, facts) in [
            (Some(deep), Role::Buyer, Facts::default()),
            (Some(deep), Role::Seller, Facts::default()),
            (Some(deep), Role::Buyer, Facts { seller_closed: Some(spend), ..Facts::default() }),
            (Some(deep), Role::Seller, Facts { buyer_closed: Some(spend), ..Facts::default() }),
            (Some(deep), Role::Buyer, Facts { buyer_closed: Some(spend), ..Facts::default() }),
            (Some(deep), Role::Seller, Facts { seller_closed: Some(spend), ..Facts::default() }),
            (Some(deep), Role::Arbiter, Facts::default()),
            (Some(deep + 1), Role::Buyer, Facts::default()),
            (Some(deep + 1), Role::Seller, Facts::default()),
            (None, Role::Seller, Facts::default()),
        ] {
            let said = match role {
                Role::Buyer => facts.buyer_closed.is_some(),
                Role::Seller => facts.seller_closed.is_some(),
                Role::Arbiter => true,
            };
            let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
            let spends = vec![Spend { tx: tx.clone(), path, height }];
            let seen = ChainFacts { fundings, spends, ..chain(200) };
            let effects = owed(&trade, &contract, role, Local::default(), facts, seen);
            let expected = is_an_end && height == Some(deep) && !said;
            assert_eq!(publishes(&effects, closed.clone()), expected, "{path:?} {height:?} {role}");
        }
    }
}

#[test]
fn a_call_for_the_arbiter_that_opened_by_itself_is_made_by_who_sees_the_chain_while_the_coins_are_there() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (contract, vaults) = (trade.contract(), trade.vaults(1));
    let key = trade.author(Role::Seller).trade_key();
    let tx = trade.escrow().signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let from = FUNDED_AT + 4320 - 1008;
    let paid = || Facts { payment_sent: true, ..Facts::default() };
    let called = Body::Dispute(Dispute { trade: trade.id() });
    let spent = |height| vec![Spend { tx: tx.clone(), path: SpendPath::Foreign, height }];
    for (synced, spends, calls) in
        [(true, vec![], true), (false, vec![], false), (true, spent(None), true), (true, spent(Some(from)), false)]
    {
        let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
        let seen = ChainFacts { synced, fundings, spends, ..chain(from) };
        let effects = owed(&trade, &contract, Role::Seller, Local::default(), paid(), seen.clone());
        assert_eq!(publishes(&effects, called.clone()), calls, "{seen:?}");
    }
}

/// Said before, it would open a new log, outside of which the names of other coins and the acceptances of other bids count.
#[test]
fn what_nobody_asks_for_is_said_once_the_ledger_was_compared_or_before_it_is_too_late_to_rule() {
    let trade = SampleTrade::new(Side::Sell);
    let (vaults, id) = (trade.vaults(1), trade.id());
    let from = FUNDED_AT + 4320 - 1008;
    let calls = |effects: &[Effect]| publishes(effects, Body::Dispute(Dispute { trade: id }));
    let refunds =
        |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::SignHalf { to: Role::Seller, .. }));
    let paid = Facts { payment_sent: true, ..Facts::default() };
    let off = Facts { buyer_cancel: true, ..Facts::default() };
    let last = from + SAID_AFTER;
    for (facts, tip, is_said) in [
        (&paid, from, false),
        (&paid, last - 1, false),
        (&paid, last, true),
        (&off, 200, false),
        (&off, last - 1, false),
        (&off, last, true),
    ] {
        let mut buyer = Trade::new(trade.bid(), Role::Buyer, false, Local::default());
        buyer.handle(Event::Records { contract: Some(trade.contract()), facts: facts.clone() }).unwrap();
        let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
        let effects = buyer.handle(Event::Chain(ChainFacts { fundings, ..chain(tip) })).unwrap();
        let owed = (facts == &paid, facts == &off);
        let expected = if is_said { owed } else { (false, false) };
        assert_eq!((calls(&effects), refunds(&effects)), expected, "{tip}");
        let effects = buyer.handle(Event::Compared).unwrap();
        assert_eq!((calls(&effects), refunds(&effects)), owed, "{tip}");
    }
    assert!(last < FUNDED_AT + 4320 - u32::from(crate::rules::SECOND_DELAY_MARGIN), "both arbiters have their time");
    // What its user asks for waits for nobody.
    let mut buyer = Trade::new(trade.bid(), Role::Buyer, false, Local::default());
    buyer.handle(Event::Records { contract: Some(trade.contract()), facts: Facts::default() }).unwrap();
    let fundings = vec![Funding::new(vaults, Some(FUNDED_AT))];
    buyer.handle(Event::Chain(ChainFacts { fundings, ..chain(200) })).unwrap();
    assert!(calls(&ask(&mut buyer, Action::Dispute).unwrap()));
    assert!(refunds(&ask(&mut buyer, Action::Cancel).unwrap()));
}
