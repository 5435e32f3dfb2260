//! The machine alone: what it refuses. `simulation.rs` runs two of them against each other.

mod bonds;
mod disputes;
mod duties;
mod hurry;
mod rounds;
mod simulation;
mod strays;

use super::*;
use crate::body::{Cancel, Funded, PaymentSent, Side};
use crate::testing::{SALT, SampleTrade, sats};
use crate::trade::{Funding, Spend, SpendPath};

fn chain(tip: u32) -> ChainFacts {
    ChainFacts { tip, synced: true, ..ChainFacts::default() }
}

/// Returns the machine of one role in the sample trade, accepted, at height 200.
fn agreed(trade: &SampleTrade, role: Role) -> Trade {
    let mut machine = Trade::new(trade.bid(), role, false, Local::default());
    let contract = Some(trade.contract());
    machine.handle(Event::Records { contract, facts: Facts::default() }).unwrap();
    machine.handle(Event::Chain(chain(200))).unwrap();
    machine.handle(Event::Compared).unwrap();
    machine
}

fn funded(trade: &SampleTrade, role: Role, at: u32, tip: u32) -> Trade {
    let mut machine = agreed(trade, role);
    let fundings = vec![Funding::new(trade.vaults(1), Some(at))];
    machine.handle(Event::Chain(ChainFacts { fundings, ..chain(tip) })).unwrap();
    machine
}

/// Returns what is said once the seller has named the first output, where a name stays.
fn named(trade: &SampleTrade) -> Facts {
    let outpoint = Some(trade.vaults(1).outpoint());
    Facts { funded: outpoint, funded_at_home: outpoint, ..Facts::default() }
}

/// Returns the machine of a buyer whose seller has named the first output.
fn payable(trade: &SampleTrade, at: u32, tip: u32) -> Trade {
    let mut buyer = funded(trade, Role::Buyer, at, tip);
    buyer.handle(Event::Records { contract: Some(trade.contract()), facts: named(trade) }).unwrap();
    buyer
}

const ACTIONS: [Action; 9] = [
    Action::Accept,
    Action::Fund,
    Action::MarkPaid,
    Action::Release,
    Action::Cancel,
    Action::Refund,
    Action::Dispute,
    Action::Rule,
    Action::Extend,
];

fn ask(machine: &mut Trade, action: Action) -> Result<Vec<Effect>, Refusal> {
    machine.handle(Event::Command(Command { action, feerate: 10 }))
}

#[test]
fn a_command_outside_the_table_is_refused_and_changes_nothing() {
    let trade = SampleTrade::new(Side::Sell);
    for role in [Role::Buyer, Role::Seller, Role::Arbiter] {
        for mut machine in [agreed(&trade, role), funded(&trade, role, 190, 200)] {
            let phase = machine.phase();
            for action in ACTIONS {
                let allowed = actions(phase, role, false).contains(&action);
                let before = machine.local().clone();
                let result = ask(&mut machine, action);
                let refused = result == Err(Refusal::NotAllowed { action, role, phase });
                assert_eq!(refused, !allowed, "{role:?} {phase:?} {action:?}: {result:?}");
                assert_eq!(*machine.local(), before);
            }
        }
    }
}

#[test]
fn each_command_leads_to_one_thing() {
    let trade = SampleTrade::new(Side::Sell);
    let (escrow, vaults, id) = (trade.escrow(), trade.vaults(1), trade.id());
    let fee = |to| escrow.fee_at(&vaults, to, 10).unwrap();
    let off = Effect::Publish(Body::Cancel(Cancel { trade: id, refund: None }));
    for (mut machine, action, effect) in [
        (agreed(&trade, Role::Buyer), Action::Cancel, off.clone()),
        (agreed(&trade, Role::Seller), Action::Cancel, off.clone()),
        // Once funded the seller can only ask, the buyer gives the coins back.
        (funded(&trade, Role::Seller, 190, 200), Action::Cancel, off),
        (
            funded(&trade, Role::Buyer, 190, 200),
            Action::Cancel,
            Effect::SignHalf { vaults, fee: fee(Role::Seller), to: Role::Seller },
        ),
        (
            funded(&trade, Role::Seller, 190, 200),
            Action::Release,
            Effect::SignHalf { vaults, fee: fee(Role::Buyer), to: Role::Buyer },
        ),
        (payable(&trade, 190, 200), Action::MarkPaid, Effect::Publish(Body::PaymentSent(PaymentSent { trade: id }))),
    ] {
        let before = machine.handle(Event::Compared).unwrap();
        let effects = ask(&mut machine, action).unwrap();
        let new: Vec<_> = effects.into_iter().filter(|effect| !before.contains(effect)).collect();
        assert_eq!(new, [effect], "{:?} {action:?}", machine.role());
    }
}

#[test]
fn nothing_is_funded_below_the_height_that_the_maker_stated() {
    let trade = SampleTrade::new(Side::Sell);
    let mut seller = agreed(&trade, Role::Seller);
    let from = crate::testing::HEIGHT;
    let early = Refusal::TooEarlyToFund { from, tip: from - 1 };
    for (tip, expected) in [(from - 1, Some(early)), (from, None)] {
        seller.handle(Event::Chain(chain(tip))).unwrap();
        assert_eq!(ask(&mut seller, Action::Fund).err(), expected);
    }
}

/// No arbiter would find the escrow: so to its buyer, too, nothing is paid in, and nobody tells him to pay.
#[test]
fn a_seller_who_states_a_height_to_come_and_pays_in_below_it_has_funded_nothing() {
    let tip = 200;
    for (stated, phase) in [
        (u32::MAX, Phase::Agreed),
        (tip + 1_000, Phase::Agreed),
        (tip + 1 + 144, Phase::Agreed),
        (tip + 144, Phase::Funded), // seen by all, and still nothing to pay for
        (tip, Phase::Funded),
    ] {
        let trade = SampleTrade::new(Side::Sell).agreed_at(stated);
        for role in [Role::Buyer, Role::Seller, Role::Arbiter] {
            let mut machine = agreed(&trade, role);
            machine.handle(Event::Records { contract: Some(trade.contract()), facts: named(&trade) }).unwrap();
            let seen = ChainFacts::gather(&trade.escrow(), tip + 2, true, [(&trade.funding(1), Some(tip))]);
            machine.handle(Event::Chain(seen)).unwrap();
            assert_eq!(machine.phase(), phase, "{role}, who was told of {stated}");
            let is_paid_for = machine.actions().contains(&Action::MarkPaid);
            assert_eq!(is_paid_for, role == Role::Buyer && stated == tip, "{stated}");
        }
    }
}

#[test]
fn a_seller_whose_coins_are_in_the_escrow_can_ask_to_call_off() {
    let trade = SampleTrade::new(Side::Sell);
    let local = Local { funding_tx: Some(bitcoin::consensus::serialize(&trade.funding(1))), ..Local::default() };
    let mut seller = Trade::new(trade.bid(), Role::Seller, false, local);
    seller.handle(Event::Records { contract: Some(trade.contract()), facts: Facts::default() }).unwrap();
    for (fundings, expected) in
        [(vec![], Some(Refusal::AlreadyFunding)), (vec![Funding::new(trade.vaults(1), Some(190))], None)]
    {
        seller.handle(Event::Chain(ChainFacts { fundings, ..chain(200) })).unwrap();
        assert_eq!(ask(&mut seller, Action::Cancel).err(), expected);
    }
}

#[test]
fn a_seller_asks_for_a_refund_once_and_the_buyer_can_still_agree() {
    let trade = SampleTrade::new(Side::Sell);
    for (role, refusal) in [(Role::Seller, Some(Refusal::AlreadyAsked)), (Role::Buyer, None)] {
        let mut machine = funded(&trade, role, 190, 200);
        let facts = Facts { payment_sent: true, seller_cancel: true, ..Facts::default() };
        machine.handle(Event::Records { contract: Some(trade.contract()), facts }).unwrap();
        assert_eq!((machine.phase(), machine.refusal(Action::Cancel)), (Phase::Paid, refusal.clone()), "{role}");
        assert_eq!(machine.actions().contains(&Action::Cancel), refusal.is_none(), "{role}");
        assert_eq!(ask(&mut machine, Action::Cancel).err(), refusal, "{role}");
    }
}

#[test]
fn coins_seen_under_one_contract_are_not_those_of_another() {
    let trade = SampleTrade::new(Side::Sell);
    let mut machine = funded(&trade, Role::Buyer, 190, 200);
    assert_eq!(machine.phase(), Phase::Funded);
    let facts = Facts::default;
    machine.handle(Event::Records { contract: Some(trade.contract()), facts: facts() }).unwrap();
    assert_eq!(machine.phase(), Phase::Funded, "the same contract");
    let other = Contract { height: 99, ..trade.contract() };
    machine.handle(Event::Records { contract: Some(other.clone()), facts: facts() }).unwrap();
    assert_eq!(machine.phase(), Phase::Agreed);
    assert_eq!(machine.escrow().map(Escrow::script), Some(Escrow::new(&other).script()));
}

#[test]
fn coins_leave_only_for_the_escrow_and_only_once() {
    let trade = SampleTrade::new(Side::Sell);
    let mut seller = agreed(&trade, Role::Seller);
    let effects = ask(&mut seller, Action::Fund).unwrap();
    let amount = sats(1_000_000);
    assert!(effects.contains(&Effect::BuildFunding { script: trade.escrow().script(), amount, feerate: 10 }));

    let mut short = trade.funding(1);
    short.output[0].value -= bitcoin::Amount::ONE_SAT;
    let mut twice = trade.funding(1);
    twice.output.push(twice.output[0].clone());
    for wrong in [short, twice] {
        assert_eq!(seller.handle(Event::FundingBuilt(wrong)), Err(Refusal::WrongFunding));
    }
    assert_eq!(seller.local().funding_tx, None);

    let effects = seller.handle(Event::FundingBuilt(trade.funding(1))).unwrap();
    assert!(matches!(effects[0], Effect::Persist(_)), "kept before anything is sent");
    assert!(effects.contains(&Effect::Broadcast(trade.funding(1))));
    assert_eq!(seller.handle(Event::FundingBuilt(trade.funding(2))), Err(Refusal::AlreadyFunding));
    assert_eq!(ask(&mut seller, Action::Fund), Err(Refusal::AlreadyFunding));
    assert_eq!(ask(&mut seller, Action::Cancel), Err(Refusal::AlreadyFunding));
}

/// It never counts: its seller takes it back as what he paid besides, and funds the escrow beside it.
#[test]
fn what_a_block_holds_where_it_does_not_count_is_not_kept_as_the_funding() {
    let trade = SampleTrade::new(Side::Sell);
    for (number, refusal) in [(1, Some(Refusal::WrongFunding)), (2, None)] {
        let low = crate::trade::Stray { vault: Vault::Escrow, coin: trade.vaults(number).escrow, height: 20 };
        let mut seller = agreed(&trade, Role::Seller);
        seller.handle(Event::Chain(ChainFacts { strays: vec![low], ..chain(200) })).unwrap();
        assert_eq!((seller.phase(), seller.strays()), (Phase::Agreed, vec![low]));
        assert!(seller.actions().contains(&Action::Fund));
        let is_kept = refusal.is_none();
        assert_eq!(seller.handle(Event::FundingBuilt(trade.funding(1))).err(), refusal, "{number}");
        assert_eq!(seller.local().funding_tx.is_some(), is_kept, "{number}");
    }
}

#[test]
fn a_trade_called_off_is_not_funded_any_more() {
    let trade = SampleTrade::new(Side::Sell);
    let cancelled =
        || Event::Records { contract: Some(trade.contract()), facts: Facts { buyer_cancel: true, ..Facts::default() } };
    let mut seller = agreed(&trade, Role::Seller);
    ask(&mut seller, Action::Fund).unwrap();
    seller.handle(cancelled()).unwrap();
    assert!(seller.handle(Event::FundingBuilt(trade.funding(1))).is_err(), "called off while the wallet was at work");

    // The same after a crash between keeping and sending.
    let local = Local { funding_tx: Some(bitcoin::consensus::serialize(&trade.funding(1))), ..Local::default() };
    let mut seller = Trade::new(trade.bid(), Role::Seller, true, local);
    seller.handle(cancelled()).unwrap();
    let effects = seller.handle(Event::Chain(chain(200))).unwrap();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_))), "{effects:?}");

    // Nor because the buyer says that he paid for what was never there. But once it was, a reorg is no way out.
    let funded = Some(trade.vaults(1).outpoint());
    for (funded, is_sent) in [(None, false), (funded, true)] {
        let facts = Facts { payment_sent: true, seller_cancel: true, funded, ..Facts::default() };
        let effects = seller.handle(Event::Records { contract: Some(trade.contract()), facts }).unwrap();
        assert_eq!(effects.contains(&Effect::Broadcast(trade.funding(1))), is_sent);
    }
}

#[test]
fn nothing_is_paid_or_funded_by_a_node_that_does_not_see_the_chain() {
    let trade = SampleTrade::new(Side::Sell);
    let mut seller = agreed(&trade, Role::Seller);
    seller.handle(Event::Chain(ChainFacts { synced: false, ..chain(200) })).unwrap();
    assert_eq!(ask(&mut seller, Action::Fund), Err(Refusal::NotSynced));
    assert_eq!(ask(&mut seller, Action::Cancel), Err(Refusal::NotSynced), "it may be funded: nobody knows");

    // A height beyond the tip: nobody would look for the funding where it is.
    let (from, tip) = (crate::testing::HEIGHT, crate::testing::HEIGHT - 1);
    seller.handle(Event::Chain(chain(tip))).unwrap();
    assert_eq!(ask(&mut seller, Action::Fund), Err(Refusal::TooEarlyToFund { from, tip }));

    let mut buyer = payable(&trade, 190, 200);
    let unsynced = ChainFacts { synced: false, ..buyer.view().chain().clone() };
    buyer.handle(Event::Chain(unsynced)).unwrap();
    assert_eq!(ask(&mut buyer, Action::MarkPaid), Err(Refusal::NotSynced));
    assert_eq!(ask(&mut buyer, Action::Cancel), Err(Refusal::NotSynced));
}

#[test]
fn a_bid_is_called_off_without_any_chain() {
    let trade = SampleTrade::new(Side::Sell);
    let mut taker = Trade::new(trade.bid(), Role::Buyer, false, Local::default());
    taker.handle(Event::Records { contract: None, facts: Facts::default() }).unwrap();
    assert!(ask(&mut taker, Action::Cancel).is_ok());
}

#[test]
fn the_buyer_pays_in_time_or_not_at_all() {
    let trade = SampleTrade::new(Side::Sell);
    let last = 190 + 4320 - 2016;
    assert!(ask(&mut payable(&trade, 190, last), Action::MarkPaid).is_ok());
    let late = ask(&mut payable(&trade, 190, last + 1), Action::MarkPaid);
    assert_eq!(late, Err(Refusal::TooLateToPay { last, tip: last + 1 }));
    assert!(!payable(&trade, 190, last + 1).actions().contains(&Action::MarkPaid));
    // Nor is he told to wait for a name that would come too late.
    let unnamed = ask(&mut funded(&trade, Role::Buyer, 190, last + 1), Action::MarkPaid);
    assert_eq!(unnamed, Err(Refusal::TooLateToPay { last, tip: last + 1 }));

    let mut buyer = payable(&trade, 190, 200);
    let tx = trade.escrow().timeout(Vault::Escrow, trade.vaults(1).escrow, sats(1_700)).unwrap().tx;
    let spends = vec![Spend { tx, path: SpendPath::Foreign, height: None }];
    let chain = ChainFacts { spends, ..buyer.view().chain().clone() };
    buyer.handle(Event::Chain(chain)).unwrap();
    assert!(ask(&mut buyer, Action::MarkPaid).is_err(), "the coins are on their way to somebody else");
}

/// Whoever was paid before he named an output could pay another, name that, and so lead everybody to it.
#[test]
fn nobody_pays_before_the_seller_has_named_what_counts_where_a_name_stays() {
    let trade = SampleTrade::new(Side::Sell);
    let [one, other] = [1, 2].map(|number| Some(trade.vaults(number).outpoint()));
    for (what, funded_first, at_home, refusal) in [
        ("nothing", None, None, Some(Refusal::Unnamed)),
        ("what counts", one, one, None),
        ("what is nowhere", other, other, Some(Refusal::NamedOtherwise)),
        ("what counts, in a log before which another comes", one, None, Some(Refusal::NamedOtherwise)),
        ("what counts, and another where newcomers see it first", one, other, Some(Refusal::NamedOtherwise)),
    ] {
        let mut buyer = funded(&trade, Role::Buyer, 190, 200);
        let facts = Facts { funded: funded_first, funded_at_home: at_home, ..Facts::default() };
        buyer.handle(Event::Records { contract: Some(trade.contract()), facts }).unwrap();
        assert_eq!((buyer.phase(), buyer.refusal(Action::MarkPaid)), (Phase::Funded, refusal.clone()), "{what}");
        assert_eq!(ask(&mut buyer, Action::MarkPaid).err(), refusal, "{what}");
        // If he has paid already, the arbiter helps; if not, the seller gets his coins back.
        assert!([Action::Dispute, Action::Cancel].iter().all(|action| buyer.actions().contains(action)), "{what}");
    }
}

/// A server that tells of no new block, or a node that has not heard of them yet, shows coins that may be gone. For a dispute, or for
/// what completes a payout, there is no time to wait until it tells of them.
#[test]
fn by_an_old_chain_nobody_pays_and_all_else_goes_on() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (last, nothing) = (190 + 4320 - 2016, Facts::default());
    let late = Refusal::TooLateToPay { last, tip: last + 1 };
    let seen = |machine: &Trade, is_old| Event::Chain(ChainFacts { is_old, ..machine.view().chain().clone() });
    for (what, tip, facts, is_old, refusal) in [
        ("named", 200, named(&trade), false, None),
        ("named, on an old chain", 200, named(&trade), true, Some(Refusal::OldChain)),
        ("likewise, in the last block in which he may pay", last, named(&trade), true, Some(Refusal::OldChain)),
        // It does not become better with new blocks.
        ("too late already", last + 1, named(&trade), true, Some(late)),
        ("not named", 200, nothing, true, Some(Refusal::Unnamed)),
    ] {
        let mut buyer = funded(&trade, Role::Buyer, 190, tip);
        buyer.handle(Event::Records { contract: Some(trade.contract()), facts }).unwrap();
        let event = seen(&buyer, is_old);
        buyer.handle(event).unwrap();
        assert_eq!((buyer.phase(), buyer.refusal(Action::MarkPaid)), (Phase::Funded, refusal.clone()), "{what}");
        assert_eq!(buyer.actions().contains(&Action::MarkPaid), refusal.is_none(), "{what}");
        assert_eq!(ask(&mut buyer, Action::MarkPaid).err(), refusal, "{what}");
        // If he has paid already, the arbiter helps; if not, the seller gets his coins back.
        assert!([Action::Dispute, Action::Cancel].iter().all(|action| buyer.actions().contains(action)), "{what}");
        assert!(ask(&mut buyer, Action::Dispute).is_ok(), "{what}");
    }
    // It is his again to pay once new blocks are heard of, and what is owed is owed by an old chain too.
    let key = trade.author(Role::Seller).trade_key();
    let half = trade.escrow().half(&trade.vaults(1), sats(1_700), Role::Buyer, &key).unwrap();
    let released = Facts { payment_sent: true, releases: vec![half], ..named(&trade) };
    let owed = |is_old| {
        let mut buyer = payable(&trade, 190, 200);
        for is_old in [true, is_old] {
            let event = seen(&buyer, is_old);
            buyer.handle(event).unwrap();
            assert_eq!(buyer.refusal(Action::MarkPaid), is_old.then_some(Refusal::OldChain));
        }
        buyer.handle(Event::Records { contract: Some(trade.contract()), facts: released.clone() }).unwrap()
    };
    assert_eq!(owed(true), owed(false));
    let pays_out = |effect: &Effect| matches!(effect, Effect::Ask { .. } | Effect::Complete { .. });
    assert!(owed(true).iter().any(pays_out), "{:?}", owed(true));
}

/// A machine that was off for weeks, with its clock, takes a chain of then for one of today. Without a network it hears of nothing.
#[test]
fn nobody_pays_before_a_peer_was_heard_however_long_there_is_none() {
    let trade = SampleTrade::new(Side::Sell);
    let last = 190 + 4320 - 2016;
    let late = Refusal::TooLateToPay { last, tip: last + 1 };
    for (what, tip, facts, refusal) in [
        ("named", 200, named(&trade), Refusal::Unheard),
        ("in the last block in which he may pay", last, named(&trade), Refusal::Unheard),
        // It does not become better with a peer.
        ("too late already", last + 1, named(&trade), late),
        ("not named", 200, Facts::default(), Refusal::Unnamed),
    ] {
        let mut buyer = Trade::new(trade.bid(), Role::Buyer, false, Local::default());
        buyer.handle(Event::Records { contract: Some(trade.contract()), facts }).unwrap();
        let fundings = vec![Funding::new(trade.vaults(1), Some(190))];
        buyer.handle(Event::Chain(ChainFacts { fundings, ..chain(tip) })).unwrap();
        let heard = Some(refusal.clone()).filter(|refusal| *refusal != Refusal::Unheard);
        for (event, refusal) in
            [(None, Some(refusal.clone())), (Some(Event::Alone), Some(refusal)), (Some(Event::Compared), heard)]
        {
            if let Some(event) = event {
                buyer.handle(event).unwrap();
            }
            assert_eq!((buyer.phase(), buyer.refusal(Action::MarkPaid)), (Phase::Funded, refusal.clone()), "{what}");
            assert_eq!(buyer.actions().contains(&Action::MarkPaid), refusal.is_none(), "{what}");
            assert_eq!(ask(&mut buyer.clone(), Action::MarkPaid).err(), refusal, "{what}");
            // If he has paid already, the arbiter helps; if not, the seller gets his coins back.
            assert!([Action::Dispute, Action::Cancel].iter().all(|action| buyer.actions().contains(action)), "{what}");
        }
    }
}

/// Of an older output the second arbiter's time begins earlier, and below the stated height others do not look. What is paid
/// after it was named raises no doubt: the seller could pay just when the buyer's money is on its way.
#[test]
fn nobody_pays_where_others_may_come_to_look_at_another_output() {
    let trade = SampleTrade::new(Side::Sell);
    let from = crate::testing::HEIGHT;
    for (what, one, other, is_doubtful) in [
        ("one funding", 190, None, false),
        ("another waits in the pool", 190, Some(None), false),
        ("another is older", 190, Some(Some(150)), true),
        ("another is a block older", 190, Some(Some(189)), true),
        ("another is as old", 190, Some(Some(190)), true),
        ("another is younger", 190, Some(Some(191)), false),
        ("another is younger, and not buried", 190, Some(Some(199)), false),
        ("at the height that was stated", from, None, false),
        ("below the height that was stated", from - 1, None, true),
    ] {
        let mut buyer = agreed(&trade, Role::Buyer);
        buyer.handle(Event::Records { contract: Some(trade.contract()), facts: named(&trade) }).unwrap();
        let mut fundings = vec![Funding::new(trade.vaults(1), Some(one))];
        fundings.extend(other.map(|height| Funding::new(trade.vaults(2), height)));
        buyer.handle(Event::Chain(ChainFacts { fundings, ..chain(200) })).unwrap();
        assert_eq!(buyer.phase(), Phase::Funded, "{what}");
        assert_eq!(buyer.refusal(Action::MarkPaid), is_doubtful.then_some(Refusal::DoubtfulFunding), "{what}");
        assert_eq!(ask(&mut buyer, Action::MarkPaid).is_err(), is_doubtful, "{what}");
        // If he has paid already, the arbiter helps; if not, the seller gets his coins back.
        assert!([Action::Dispute, Action::Cancel].iter().all(|action| buyer.actions().contains(action)), "{what}");
    }
}

#[test]
fn the_seller_takes_back_when_the_delay_is_over_and_no_block_sooner() {
    let trade = SampleTrade::new(Side::Sell);
    let from = 190 + 4320 - 1;
    let early = ask(&mut funded(&trade, Role::Seller, 190, from - 1), Action::Refund);
    assert_eq!(early, Err(Refusal::TooEarlyToRefund { from, tip: from - 1 }));
    let mut lonely = Trade::new(trade.bid(), Role::Seller, false, Local::default());
    lonely.handle(Event::Records { contract: Some(trade.contract()), facts: Facts::default() }).unwrap();
    let fundings = vec![Funding::new(trade.vaults(1), Some(190))];
    lonely.handle(Event::Chain(ChainFacts { fundings, ..chain(from) })).unwrap();
    assert_eq!(ask(&mut lonely, Action::Refund), Err(Refusal::NotCompared), "what did others say meanwhile?");
    for event in [Event::Compared, Event::Alone] {
        let mut later = lonely.clone();
        later.handle(event).unwrap();
        assert!(ask(&mut later, Action::Refund).is_ok());
    }
    let effects = ask(&mut funded(&trade, Role::Seller, 190, from), Action::Refund).unwrap();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::BuildTimeout { .. })));
}

#[test]
fn a_fee_out_of_bounds_is_named_as_what_is_wrong() {
    let trade = SampleTrade::new(Side::Sell);
    for (role, action, feerate) in [
        (Role::Buyer, Action::Cancel, 0),
        (Role::Seller, Action::Release, 0),
        (Role::Seller, Action::Refund, 0),
        (Role::Seller, Action::Refund, 501),
    ] {
        let refusal = funded(&trade, role, 190, 5_000).handle(Event::Command(Command { action, feerate }));
        assert!(matches!(refusal, Err(Refusal::Escrow(_))), "{refusal:?}");
    }
}

/// In weeks in which blocks cost more, who gets the coins pays the rest by a child.
#[test]
fn who_signs_for_the_other_lets_him_pay_no_more_than_100_sat_vb() {
    let trade = SampleTrade::new(Side::Sell);
    let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
    for (role, action, to) in
        [(Role::Buyer, Action::Cancel, Role::Seller), (Role::Seller, Action::Release, Role::Buyer)]
    {
        for (feerate, paid) in [(99, 99), (100, 100), (101, 100), (u64::MAX, 100)] {
            let command = Event::Command(Command { action, feerate });
            let effects = funded(&trade, role, 190, 200).handle(command).unwrap();
            let fee = escrow.fee_at(&vaults, to, paid).unwrap();
            assert!(effects.contains(&Effect::SignHalf { vaults, fee, to }), "{role} at {feerate}: {effects:?}");
        }
    }
}

#[test]
fn who_signed_the_coins_back_to_himself_releases_them_no_more() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut seller = funded(&trade, Role::Seller, 190, 5000);
    assert!(seller.actions().contains(&Action::Release));
    let key = trade.author(Role::Seller).trade_key();
    let tx = trade.escrow().signed_timeout(Vault::Escrow, trade.vaults(1).escrow, sats(1_700), &key).unwrap().tx;
    seller.handle(Event::SpendBuilt(tx)).unwrap();
    // The pool lost it meanwhile, and a buyer who is far too late says that he paid.
    let facts = Facts { payment_sent: true, ..Facts::default() };
    seller.handle(Event::Records { contract: Some(trade.contract()), facts }).unwrap();
    assert_eq!(seller.phase(), Phase::Disputed);
    assert_eq!(ask(&mut seller, Action::Release), Err(Refusal::AlreadySigned));
    assert!(!seller.actions().contains(&Action::Release));
}

#[test]
fn a_seller_looks_after_his_own_funding_whatever_else_pays_the_escrow() {
    let trade = SampleTrade::new(Side::Sell);
    let [own, other] = [1, 2].map(|number| trade.vaults(number));
    let mut seller = agreed(&trade, Role::Seller);
    ask(&mut seller, Action::Fund).unwrap();
    seller.handle(Event::FundingBuilt(trade.funding(1))).unwrap();
    // The buyer paid the escrow himself, and sooner.
    let fundings = |own_height| vec![Funding::new(other, Some(180)), Funding::new(own, own_height)];
    seller.handle(Event::Chain(ChainFacts { fundings: fundings(None), ..chain(200) })).unwrap();
    assert_eq!(seller.phase(), Phase::Funding);
    let effects = seller.handle(Event::Chain(ChainFacts { fundings: fundings(Some(190)), ..chain(200) })).unwrap();
    let named = Funded { trade: trade.id(), outpoint: own.escrow.outpoint };
    assert!(effects.contains(&Effect::Publish(Body::Funded(named))), "{effects:?}");
}

/// A pool tells of what nobody signed: that keeps nobody from paying in, or from calling off.
#[test]
fn a_funding_that_others_made_holds_nobody_up_before_a_block_holds_it() {
    let (plain, bonded) = (SampleTrade::new(Side::Sell), SampleTrade::with_bonds(Side::Sell));
    let (fund, cancel) = (Action::Fund, Action::Cancel);
    for (trade, role, actions) in [
        (&plain, Role::Buyer, vec![cancel]),
        (&plain, Role::Seller, vec![fund, cancel]),
        (&bonded, Role::Buyer, vec![fund, cancel]),
        (&bonded, Role::Seller, vec![fund, cancel]),
        (&plain, Role::Arbiter, vec![]),
    ] {
        let outpoint = trade.vaults(2).outpoint();
        let seen =
            |height| Event::Chain(ChainFacts { fundings: vec![Funding::new(trade.vaults(2), height)], ..chain(200) });
        let heard = |facts: Facts| {
            let mut machine = agreed(trade, role);
            machine.handle(seen(None)).unwrap();
            machine.handle(Event::Records { contract: Some(trade.contract()), facts }).unwrap();
            machine
        };
        let mut machine = heard(Facts::default());
        assert_eq!((machine.phase(), machine.actions()), (Phase::Funding, actions.clone()), "{role}");
        assert!(machine.hears_of_funding());
        if role != Role::Arbiter {
            let off = Effect::Publish(Body::Cancel(Cancel { trade: trade.id(), refund: None }));
            assert_eq!(ask(&mut machine.clone(), Action::Cancel), Ok(vec![off]), "{role}");
        }
        machine.handle(seen(Some(200))).unwrap();
        assert_eq!((machine.phase(), machine.actions()), (Phase::Funding, vec![]), "{role}: a block holds it");
        assert!(!machine.hears_of_funding());
        // What the other says of it holds nobody up. Who has relied on it before a reorg does nothing beside it, nor does anybody
        // in a trade that was called off.
        let by_buyer = Facts { payment_sent: true, buyer_funded: vec![outpoint], ..Facts::default() };
        let by_seller = Facts { funded: Some(outpoint), ..Facts::default() };
        let (own, others) = if role == Role::Seller { (by_seller, by_buyer) } else { (by_buyer, by_seller) };
        assert_eq!(heard(others).actions(), actions, "{role}");
        for facts in [
            own,
            Facts { buyer_cancel: true, ..Facts::default() },
            Facts { seller_cancel: true, ..Facts::default() },
            Facts { void: true, ..Facts::default() },
        ] {
            assert_eq!(heard(facts.clone()).actions(), [], "{role} {facts:?}");
        }
    }
}

#[test]
fn a_seller_pays_beside_a_funding_of_others_once_and_looks_after_his_own() {
    let trade = SampleTrade::new(Side::Sell);
    let [own, other] = [1, 2].map(|number| trade.vaults(number));
    let mut seller = agreed(&trade, Role::Seller);
    let seen = |fundings| Event::Chain(ChainFacts { fundings, ..chain(200) });
    seller.handle(seen(vec![Funding::new(other, None)])).unwrap();
    let asked = ask(&mut seller, Action::Fund).unwrap();
    assert!(asked.iter().any(|effect| matches!(effect, Effect::BuildFunding { .. })), "{asked:?}");
    let effects = seller.handle(Event::FundingBuilt(trade.funding(1))).unwrap();
    assert!(matches!(effects[0], Effect::Persist(_)) && effects.contains(&Effect::Broadcast(trade.funding(1))));
    assert_eq!((seller.phase(), ask(&mut seller, Action::Fund)), (Phase::Agreed, Err(Refusal::AlreadyFunding)));
    for (own_height, other_height) in [(None, None), (None, Some(180)), (Some(200), None)] {
        seller.handle(seen(vec![Funding::new(own, own_height), Funding::new(other, other_height)])).unwrap();
        assert_eq!((seller.phase(), seller.actions()), (Phase::Funding, vec![]), "{own_height:?}");
        assert_eq!(seller.view().funding().map(Funding::outpoint), Some(own.outpoint()));
    }
}

/// A coin of it went elsewhere, six blocks ago. He could neither fund nor call off, for as long as the buyer was away.
#[test]
fn a_seller_whose_funding_can_never_confirm_funds_anew_or_calls_off_and_none_that_could_confirm_is_forgotten() {
    let trade = SampleTrade::new(Side::Sell);
    let (first, second) = (trade.funding(1), trade.funding(2));
    let dead = |tx: &Transaction| Event::FundingDead(tx.compute_txid());
    let seen = |fundings| Event::Chain(ChainFacts { fundings, ..chain(200) });
    let keeps = |seller: &Trade, tx: &Transaction| seller.local().funding_tx == Some(bitcoin::consensus::serialize(tx));
    let mut seller = agreed(&trade, Role::Seller);
    seller.handle(Event::FundingBuilt(first.clone())).unwrap();
    assert!(!seller.actions().contains(&Action::Cancel) && ask(&mut seller, Action::Fund).is_err());
    // Another is not the one that he keeps; nor is one dead that a block or the pool shows.
    let shown = |height| Some(Funding::new(trade.vaults(1), height));
    for (dead, funding) in [(&second, None), (&first, shown(Some(200))), (&first, shown(None))] {
        let mut seller = seller.clone();
        seller.handle(seen(funding.into_iter().collect())).unwrap();
        seller.handle(Event::FundingDead(dead.compute_txid())).unwrap();
        assert!(keeps(&seller, &first), "{funding:?}");
    }
    // Nor is it kept for what a block shows beside it.
    let mut beside = seller.clone();
    beside.handle(seen(vec![Funding::new(trade.vaults(2), Some(190))])).unwrap();
    beside.handle(dead(&first)).unwrap();
    assert_eq!(beside.local().funding_tx, None);
    let effects = seller.handle(dead(&first)).unwrap();
    assert!(matches!(&effects[0], Effect::Persist(local) if local.funding_tx.is_none()), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_))), "{effects:?}");
    assert_eq!((seller.phase(), seller.actions()), (Phase::Agreed, vec![Action::Fund, Action::Cancel]));
    // What counts then is what counts of any funding: as another version that was paid from elsewhere.
    let other = Funding::new(trade.vaults(2), Some(190));
    let mut paid = seller.clone();
    paid.handle(seen(vec![other])).unwrap();
    assert_eq!((paid.phase(), paid.strays()), (Phase::Funded, vec![]));
    assert!(ask(&mut seller.clone(), Action::Cancel).is_ok());
    let effects = seller.handle(Event::FundingBuilt(second.clone())).unwrap();
    assert!(matches!(effects[0], Effect::Persist(_)) && effects.contains(&Effect::Broadcast(second.clone())));
    // Told late, or twice, it is the first that is dead.
    seller.handle(dead(&first)).unwrap();
    assert!(keeps(&seller, &second));
}

#[test]
fn a_release_stays_the_buyers_until_a_block_says_otherwise() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut buyer = funded(&trade, Role::Buyer, 190, 5000);
    let vaults = trade.vaults(1);
    let key = trade.author(Role::Seller).trade_key();
    let half = trade.escrow().half(&vaults, sats(1_700), Role::Buyer, &key).unwrap();
    let tx = trade.escrow().signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let facts = Facts { payment_sent: true, releases: vec![half.clone()], ..Facts::default() };
    let spends = vec![Spend { tx, path: SpendPath::Timeout, height: None }];
    let chain = ChainFacts { spends, ..buyer.view().chain().clone() };
    buyer.handle(Event::Records { contract: Some(trade.contract()), facts }).unwrap();
    let effects = buyer.handle(Event::Chain(chain)).unwrap();
    assert!(effects.contains(&Effect::Complete { half, to: Role::Buyer }), "{effects:?}");
}

#[test]
fn payment_details_must_be_those_of_the_contract() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut buyer = agreed(&trade, Role::Buyer);
    let details = trade.author(Role::Seller).details();
    for (salt, details) in [(SALT, "IBAN of a thief".to_owned()), ([0; 32], details.clone())] {
        assert_eq!(buyer.handle(Event::Details { salt, details }), Err(Refusal::DetailsMismatch));
    }
    assert_eq!(buyer.local().their_details, None);
    let effects = buyer.handle(Event::Details { salt: SALT, details: details.clone() }).unwrap();
    assert!(matches!(&effects[0], Effect::Persist(local) if local.their_details == Some(details)));
}
