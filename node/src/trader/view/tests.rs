//! What is said to whom.

use std::collections::BTreeSet;

use exchange_api::Actor;
use exchange_ledger::body::Side;
use exchange_ledger::testing::{SampleTrade, sats};
use exchange_ledger::trade::{ChainFacts, Event, Facts, Funding, Local, Spend, SpendPath, Vault, Verdict};

use super::besides::{with_bond_along, with_strays, with_wish};
use super::caution::take_no_risk;
use super::next::next_step;
use super::*;

/// As long as a peer withholds blocks, what he sees may have changed long ago.
#[test]
fn nobody_is_told_to_do_anything_while_the_chain_is_read() {
    let sample = SampleTrade::new(Side::Sell);
    let held = sample.vaults(1);
    let payout = sample.escrow().spend(&held, sats(1_700), Role::Buyer).unwrap().tx;
    let off = Facts { seller_cancel: true, ..Facts::default() };
    let paid = Facts { payment_sent: true, ..Facts::default() };
    let [funded, none] = [vec![Funding::new(held, Some(190))], Vec::new()];
    let buried = vec![Spend { tx: payout, path: SpendPath::Payout, height: Some(195) }];
    for (phase, facts, fundings, spends, is_known) in [
        (Phase::Agreed, Facts::default(), &none, vec![], false),
        (Phase::Cancelled, off, &none, vec![], false),
        (Phase::Funded, Facts::default(), &funded, vec![], false),
        (Phase::Paid, paid, &funded, vec![], false),
        (Phase::Closed, Facts::default(), &funded, buried, true),
    ] {
        for role in [Role::Buyer, Role::Seller] {
            let mut trade = Trade::new(sample.bid(), role, false, Local::default());
            trade.handle(Event::Records { contract: Some(sample.contract()), facts: facts.clone() }).unwrap();
            for synced in [false, true] {
                let (fundings, spends) = (fundings.clone(), spends.clone());
                let seen = ChainFacts { tip: 200, synced, fundings, spends, ..ChainFacts::default() };
                trade.handle(Event::Chain(seen)).unwrap();
                let next = next_step(&trade);
                let waits = next.what.contains("reads the chain") && next.action.is_none();
                let is_unknown = !synced && !is_known;
                assert_eq!((trade.phase(), is_reading(&trade), waits), (phase, is_unknown, is_unknown), "{role}");
            }
        }
    }
    // Before the agreement nothing depends on the chain.
    let mut bid = Trade::new(sample.bid(), Role::Seller, true, Local::default());
    bid.handle(Event::Records { contract: None, facts: Facts::default() }).unwrap();
    assert!(!is_reading(&bid) && next_step(&bid).action == Some(Action::Accept));
}

#[test]
fn a_buyer_is_told_until_when_what_pays_him_should_be_in_a_block() {
    let mut sample = SampleTrade::new(Side::Sell);
    let (escrow, vaults) = (sample.escrow(), sample.vaults(1));
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| sample.author(role).trade_key());
    let half = escrow.half(&vaults, sats(170), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
    let pair = sample.arbiter_pair(escrow.contract(), Seat::First);
    let rule = |verdict| {
        let division = escrow.divide(Seat::First, &vaults, verdict, 1).unwrap();
        let rulings = vec![(Seat::First, escrow.rule(Seat::First, &vaults, division, &pair).unwrap())];
        Facts { payment_sent: true, buyer_dispute: true, rulings, ..Facts::default() }
    };
    let released = Facts { payment_sent: true, releases: vec![half], ..Facts::default() };
    let (won, lost) = (rule(Verdict::Buyer), rule(Verdict::Seller));
    let seen = |height| vec![Spend { tx: payout.clone(), path: SpendPath::Payout, height }];
    let from = Some(190 + 4320 - 1);
    for (what, role, facts, spends, phase, until) in [
        ("released, in the pool", Role::Buyer, &released, seen(None), Phase::Released, from),
        ("released, in a block", Role::Buyer, &released, seen(Some(200)), Phase::Released, None),
        ("the seller gets nothing of it", Role::Seller, &released, seen(None), Phase::Released, None),
        ("ruled for him", Role::Buyer, &won, vec![], Phase::Ruled, from),
        ("ruled against him", Role::Buyer, &lost, vec![], Phase::Ruled, None),
        ("ruled for the seller", Role::Seller, &lost, vec![], Phase::Ruled, None),
    ] {
        let mut trade = Trade::new(sample.bid(), role, false, Local::default());
        trade.handle(Event::Records { contract: Some(sample.contract()), facts: facts.clone() }).unwrap();
        let fundings = vec![Funding::new(vaults, Some(190))];
        let seen = ChainFacts { tip: 200, synced: true, fundings, spends, ..ChainFacts::default() };
        trade.handle(Event::Chain(seen)).unwrap();
        assert_eq!((trade.phase(), next_step(&trade).until), (phase, until), "{what}");
    }
}

/// Returns a trade that was funded at height 190 and named, as one side sees it ten blocks later.
fn funded(sample: &SampleTrade, role: Role, facts: Facts) -> Trade {
    let named = Some(sample.vaults(1).outpoint());
    as_said(sample, role, Facts { funded: named, funded_at_home: named, ..facts })
}

/// Returns the same, of which nothing else was said than this.
fn as_said(sample: &SampleTrade, role: Role, facts: Facts) -> Trade {
    let mut trade = just_started(sample, role, facts);
    trade.handle(Event::Compared).unwrap();
    trade
}

/// Returns the same, before any peer was heard.
fn just_started(sample: &SampleTrade, role: Role, facts: Facts) -> Trade {
    let mut trade = Trade::new(sample.bid(), role, false, Local::default());
    trade.handle(Event::Records { contract: Some(sample.contract()), facts }).unwrap();
    let (fundings, spends) = (vec![Funding::new(sample.vaults(1), Some(190))], Vec::new());
    let seen = ChainFacts { tip: 200, synced: true, fundings, spends, ..ChainFacts::default() };
    trade.handle(Event::Chain(seen)).unwrap();
    trade
}

#[test]
fn a_buyer_reads_that_what_an_arbiter_gave_him_is_not_lost_yet_when_the_seller_takes_the_coins_back() {
    let mut sample = SampleTrade::with_bonds(Side::Sell);
    let (escrow, vaults) = (sample.escrow(), sample.vaults(1));
    let key = sample.author(Role::Seller).trade_key();
    let tx = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let pair = sample.arbiter_pair(escrow.contract(), Seat::First);
    let [won, lost] = [Verdict::Buyer, Verdict::Seller].map(|verdict| {
        let division = escrow.divide(Seat::First, &vaults, verdict, 1).unwrap();
        vec![(Seat::First, escrow.rule(Seat::First, &vaults, division, &pair).unwrap())]
    });
    // What is left to who lost is of his bond, and all of that is his.
    for (rulings, is_outrun) in [(won, true), (lost, false), (Vec::new(), false)] {
        let facts = Facts { payment_sent: true, buyer_dispute: true, rulings, ..Facts::default() };
        let mut trade = Trade::new(sample.bid(), Role::Buyer, false, Local::default());
        trade.handle(Event::Records { contract: Some(sample.contract()), facts }).unwrap();
        trade.handle(Event::Compared).unwrap();
        let fundings = vec![Funding::new(vaults, Some(190))];
        let spends = vec![Spend { tx: tx.clone(), path: SpendPath::Timeout, height: None }];
        let seen = ChainFacts { tip: 190 + 4320, synced: true, fundings, spends, ..ChainFacts::default() };
        trade.handle(Event::Chain(seen)).unwrap();
        assert_eq!(trade.phase(), Phase::Refunding);
        let next = next_step(&trade);
        assert_eq!(next.what.contains("the arbiter ruled otherwise"), is_outrun, "{next:?}");
        assert!(is_outrun || next.what == "the seller takes the coins back: take your bond back", "{next:?}");
        assert_eq!(next.action, (!is_outrun).then_some(Action::Refund), "else only his bond is left to him");
    }
}

/// From the height on from which he could also take it back alone, and so undo what pays him.
#[test]
fn a_buyer_reads_that_his_bond_comes_with_what_pays_him() {
    let mut sample = SampleTrade::with_bonds(Side::Sell);
    let (escrow, vaults, open) = (sample.escrow(), sample.vaults(1), 190 + 4320 - 1);
    let key = sample.author(Role::Seller).trade_key();
    let theirs = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let fee = escrow.fee_at(&vaults, Role::Buyer, 10).unwrap();
    let releases = vec![escrow.half(&vaults, fee, Role::Buyer, &key).unwrap()];
    let released = Facts { payment_sent: true, releases, ..Facts::default() };
    let pair = sample.arbiter_pair(escrow.contract(), Seat::First);
    let [won, lost] = [Verdict::Buyer, Verdict::Seller].map(|verdict| {
        let division = escrow.divide(Seat::First, &vaults, verdict, 1).unwrap();
        let rulings = vec![(Seat::First, escrow.rule(Seat::First, &vaults, division, &pair).unwrap())];
        Facts { payment_sent: true, buyer_dispute: true, rulings, ..Facts::default() }
    });
    let (moves, otherwise) = ("the coins move by themselves", "the arbiter ruled otherwise");
    for (facts, tip, is_outrun, phase, words, comes_along) in [
        (&won, open - 1, false, Phase::Ruled, moves, false),
        (&won, open, false, Phase::Ruled, moves, true),
        (&won, open, true, Phase::Refunding, otherwise, true),
        (&lost, open - 1, false, Phase::Ruled, moves, false),
        (&lost, open, false, Phase::Ruled, moves, false),
        (&released, open, true, Phase::Refunding, "takes the coins back that he had released", true),
    ] {
        let mut trade = as_said(&sample, Role::Buyer, facts.clone());
        let spend = Spend { tx: theirs.clone(), path: SpendPath::Timeout, height: None };
        let spends = is_outrun.then_some(spend).into_iter().collect();
        let seen = ChainFacts { tip, spends, ..trade.view().chain().clone() };
        trade.handle(Event::Chain(seen)).unwrap();
        let next = with_bond_along(&trade, next_step(&trade));
        assert!(trade.phase() == phase && next.what.contains(words), "{:?} {next:?}", trade.phase());
        assert_eq!(next.otherwise.contains("your bond comes with it"), comes_along, "{next:?}");
        assert_eq!(next.action, None, "{next:?}");
        let is_free = tip == open && !comes_along;
        assert_eq!(offered(&trade).contains(&Action::Refund), is_free, "{next:?}");
        assert_eq!(next.otherwise.contains("take back all of your bond"), is_free, "{next:?}");
    }
}

#[test]
fn both_sides_read_that_the_seller_asks_for_a_refund() {
    let sample = SampleTrade::new(Side::Sell);
    for (role, payment_sent, words) in [
        (Role::Seller, false, "you asked for a refund, and the buyer has to agree; until he does: the buyer pays"),
        (Role::Seller, true, "you asked for a refund, and the buyer has to agree; until he does: look for"),
        (Role::Buyer, false, "talk to him before you pay; else: "),
        (Role::Buyer, true, "do not, if you have paid; else: the seller finds your payment"),
    ] {
        let of = |seller_cancel| funded(&sample, role, Facts { payment_sent, seller_cancel, ..Facts::default() });
        let next = |trade: &Trade| with_wish(trade, next_step(trade));
        assert!(next(&of(true)).what.contains(words), "{}", next(&of(true)).what);
        assert!(!next(&of(false)).what.contains("refund"), "{}", next(&of(false)).what);
        assert!(line(&of(true)).contains("refund") && !line(&of(false)).contains("refund"), "{}", line(&of(true)));
        assert_eq!(next(&of(true)).action, next(&of(false)).action, "the trade goes on");
        // It may have ended in blocks that were not read yet.
        let mut reading = of(true);
        let seen = ChainFacts { synced: false, ..reading.view().chain().clone() };
        reading.handle(Event::Chain(seen)).unwrap();
        assert!(!wants_refund(&reading) && !line(&reading).contains("refund"), "{}", line(&reading));
    }
}

#[test]
fn nobody_is_told_to_pay_before_the_coins_are_named_and_both_read_what_is_missing() {
    let sample = SampleTrade::new(Side::Sell);
    let own = Some(sample.vaults(1).outpoint());
    let facts = |funded_at_home| Facts { funded: own, funded_at_home, ..Facts::default() };
    let [named, elsewhere] = [own, None].map(facts);
    for (role, facts, who, words, action) in [
        (Role::Buyer, Facts::default(), Actor::Peer, "do not pay before it has", None),
        (Role::Buyer, elsewhere.clone(), Actor::You, "if you have paid already, call for the arbiter", None),
        (Role::Buyer, named.clone(), Actor::You, "details are on their way", Some(Action::MarkPaid)),
        (Role::Seller, Facts::default(), Actor::Chain, "your node names the coins", None),
        (Role::Seller, elsewhere, Actor::You, "ask for a refund", Some(Action::Cancel)),
        (Role::Seller, named, Actor::Peer, "the buyer pays", None),
    ] {
        let is_settled = facts.funded_at_home.is_some();
        let trade = as_said(&sample, role, facts);
        let next = match why_not_pay(&trade) {
            Some(reason) => take_no_risk(&trade, &reason),
            None => next_step(&trade),
        };
        assert!(next.what.contains(words), "{role}: {}", next.what);
        assert_eq!((next.who, next.action), (who, action), "{role}: {words}");
        assert_eq!(line(&trade).contains("you can pay"), role == Role::Buyer && is_settled, "{}", line(&trade));
        let is_offered = trade.actions().contains(&Action::MarkPaid);
        assert_eq!(is_offered, role == Role::Buyer && is_settled, "{role}: {words}");
    }
}

#[test]
fn nobody_is_told_to_pay_once_it_is_too_late_whether_or_not_the_coins_are_named() {
    let sample = SampleTrade::new(Side::Sell);
    let own = Some(sample.vaults(1).outpoint());
    for named in [None, own] {
        let mut trade =
            as_said(&sample, Role::Buyer, Facts { funded: named, funded_at_home: named, ..Facts::default() });
        let until = trade.view().pay_until().unwrap();
        let seen = trade.view().chain().clone();
        for (tip, is_late) in [(until, false), (until + 1, true), (until + 3_000, true)] {
            trade.handle(Event::Chain(ChainFacts { tip, ..seen.clone() })).unwrap();
            assert_eq!(trade.phase(), Phase::Funded);
            assert_eq!(why_not_pay(&trade).is_some(), is_late, "at {tip}");
            assert_eq!(line(&trade).contains("you can pay"), !is_late && named.is_some(), "{}", line(&trade));
        }
        let next = take_no_risk(&trade, &why_not_pay(&trade).unwrap());
        assert!(next.what.contains("if you have paid already, call for the arbiter") && next.action.is_none());
    }
}

/// Its server hides what came since, or has not heard of it, or it is the clock that is wrong.
#[test]
fn nobody_is_told_to_pay_by_an_old_chain_and_he_reads_what_to_check() {
    let sample = SampleTrade::new(Side::Sell);
    for role in [Role::Buyer, Role::Seller] {
        let mut trade = funded(&sample, role, Facts::default());
        let seen = trade.view().chain().clone();
        for is_old in [false, true, false] {
            trade.handle(Event::Chain(ChainFacts { is_old, ..seen.clone() })).unwrap();
            let reason = why_not_pay(&trade);
            assert_eq!((trade.phase(), is_reading(&trade)), (Phase::Funded, false));
            assert_eq!(reason.is_some(), is_old && role == Role::Buyer, "{role}");
            assert_eq!(line(&trade).contains("you can pay"), !is_old && role == Role::Buyer, "{}", line(&trade));
            assert!(offered(&trade).contains(&Action::Dispute), "{role}");
            let Some(reason) = reason else { continue };
            assert!(line(&trade).contains("do not pay yet"), "{}", line(&trade));
            let next = take_no_risk(&trade, &reason);
            for words in ["this machine's clock", "chain backend", "if you have paid already", "call for the arbiter"] {
                assert!(next.what.contains(words), "{words}: {}", next.what);
            }
            assert_eq!((next.who, next.action, next.until), (Actor::You, None, trade.view().pay_until()));
            assert!(!next.what.contains("refund"), "waiting is enough: {}", next.what);
        }
        // What does not pass with the next blocks is said instead, in the same words as by a chain of today.
        let tip = trade.view().pay_until().unwrap() + 1;
        let late = [false, true].map(|is_old| {
            trade.handle(Event::Chain(ChainFacts { tip, is_old, ..seen.clone() })).unwrap();
            line(&trade)
        });
        assert_eq!(late[0], late[1]);
    }
}

/// The machine may have been off for weeks, its clock too, and its chain stand where it was.
#[test]
fn nobody_is_told_to_pay_before_a_peer_was_heard_and_that_is_no_news() {
    let sample = SampleTrade::new(Side::Sell);
    let own = Some(sample.vaults(1).outpoint());
    for role in [Role::Buyer, Role::Seller] {
        let mut trade = just_started(&sample, role, Facts { funded: own, funded_at_home: own, ..Facts::default() });
        for (event, is_heard) in [(None, false), (Some(Event::Alone), false), (Some(Event::Compared), true)] {
            if let Some(event) = event {
                trade.handle(event).unwrap();
            }
            let (reason, waits) = (why_not_pay(&trade), !is_heard && role == Role::Buyer);
            assert_eq!((trade.phase(), reason.is_some(), awaits_peer(&trade)), (Phase::Funded, waits, waits), "{role}");
            assert_eq!(line(&trade).contains("you can pay"), is_heard && role == Role::Buyer, "{}", line(&trade));
            assert!(offered(&trade).contains(&Action::Dispute), "{role}");
            let Some(reason) = reason else { continue };
            let next = take_no_risk(&trade, &reason);
            for words in ["do not pay yet: no peer", "if you have paid already", "call for the arbiter"] {
                assert!(next.what.contains(words), "{words}: {}", next.what);
            }
            assert_eq!((next.who, next.action, next.until), (Actor::You, None, trade.view().pay_until()));
            assert!(!next.what.contains("refund"), "waiting is enough: {}", next.what);
        }
    }
}

/// Each other line is an event, and a write to disk for each trade.
#[test]
fn who_is_too_late_to_pay_reads_one_line_at_every_height_also_when_his_bond_is_to_be_taken_back() {
    for (sample, has_bond) in [(SampleTrade::new(Side::Sell), false), (SampleTrade::with_bonds(Side::Sell), true)] {
        let own = Some(sample.vaults(1).outpoint());
        for named in [None, own] {
            let facts = Facts { funded: named, funded_at_home: named, ..Facts::default() };
            let mut trade = as_said(&sample, Role::Buyer, facts);
            trade.handle(Event::Compared).unwrap();
            let (until, from) = (trade.view().pay_until().unwrap(), trade.view().refund_from().unwrap());
            let seen = trade.view().chain().clone();
            let mut lines = BTreeSet::new();
            for tip in [until + 1, until + 2, from - 1, from, from + 1] {
                trade.handle(Event::Chain(ChainFacts { tip, ..seen.clone() })).unwrap();
                assert_eq!(trade.phase(), Phase::Funded);
                lines.insert(line(&trade));
            }
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines.iter().all(|line| line.contains("do not pay") && !line.contains("you can pay")), "{lines:?}");
            let next = match why_not_pay(&trade) {
                Some(reason) => take_no_risk(&trade, &reason),
                None => next_step(&trade),
            };
            assert_eq!(next.action, has_bond.then_some(Action::Refund), "{}", next.what);
            assert!(next.what.contains("if you have paid already, call for the arbiter"), "{}", next.what);
        }
    }
}

/// An arbiter and the seller can spend the coins in a way that the contract does not know, which ends nothing before it is buried.
#[test]
fn nobody_is_told_to_pay_while_something_spends_the_coins() {
    let sample = SampleTrade::new(Side::Sell);
    let tx = sample.escrow().spend(&sample.vaults(1), sats(1_700), Role::Buyer).unwrap().tx;
    for role in [Role::Buyer, Role::Seller] {
        for height in [None, Some(200)] {
            let mut trade = funded(&sample, role, Facts::default());
            let spends = vec![Spend { tx: tx.clone(), path: SpendPath::Foreign, height }];
            let seen = ChainFacts { spends, ..trade.view().chain().clone() };
            trade.handle(Event::Chain(seen)).unwrap();
            assert_eq!(trade.phase(), Phase::Funded);
            let reason = why_not_pay(&trade);
            assert_eq!(reason.is_some(), role == Role::Buyer);
            assert!(!line(&trade).contains("you can pay"), "{}", line(&trade));
            if let Some(reason) = reason {
                let next = take_no_risk(&trade, &reason);
                assert!(next.what.contains("if you have paid already, call for the arbiter"), "{}", next.what);
            }
        }
    }
}

#[test]
fn who_waits_for_a_payment_or_for_the_coins_reads_when_a_dispute_opens_and_when_the_refund_does() {
    let sample = SampleTrade::new(Side::Sell);
    let (dispute_from, refund_from) = (190 + 4320 - 1008, 190 + 4320 - 1);
    for (role, words) in [
        (Role::Seller, format!("by height {refund_from}, you can take the coins back")),
        (Role::Buyer, format!("from height {refund_from} on the seller could take the coins back")),
    ] {
        let trade = funded(&sample, role, Facts { payment_sent: true, ..Facts::default() });
        let next = next_step(&trade);
        assert_eq!((trade.phase(), next.until), (Phase::Paid, Some(dispute_from)));
        assert!(next.otherwise.contains(&words), "{}", next.otherwise);
        assert!(next.otherwise.contains("a dispute opens by itself"), "{}", next.otherwise);
    }
}

#[test]
fn a_bid_that_was_declined_was_never_accepted() {
    let sample = SampleTrade::new(Side::Sell);
    let bid = |role, is_maker, facts| {
        let mut trade = Trade::new(sample.bid(), role, is_maker, Local::default());
        trade.handle(Event::Records { contract: None, facts }).unwrap();
        trade
    };
    let by_seller = Facts { seller_cancel: true, ..Facts::default() };
    let by_buyer = Facts { buyer_cancel: true, ..Facts::default() };
    for (trade, words) in [
        (bid(Role::Seller, true, by_seller.clone()), "you declined the bid"),
        (bid(Role::Buyer, false, by_seller), "the maker declined the bid"),
        (bid(Role::Seller, true, by_buyer.clone()), "the bid was taken back"),
        (bid(Role::Buyer, false, by_buyer), "you took your bid back"),
    ] {
        let next = next_step(&trade);
        assert_eq!((trade.phase(), next.who), (Phase::Cancelled, Actor::Nobody));
        assert!(next.what.starts_with(words), "{}", next.what);
        assert!(steps(&trade).iter().all(|step| step.state == StepState::Skipped));
    }
}

#[test]
fn each_reads_who_won_and_what_is_left_of_a_bond_is_no_part_of_that() {
    let sample = SampleTrade::with_bonds(Side::Sell);
    let (escrow, vaults) = (sample.escrow(), sample.vaults(1));
    let pair = sample.arbiter_pair(escrow.contract(), Seat::First);
    let split = Verdict::Split(sats(400_000));
    for (verdict, role, words) in [
        (Verdict::Buyer, Role::Buyer, "the arbiter ruled for you: "),
        (Verdict::Buyer, Role::Seller, "the arbiter ruled for the buyer: "),
        (Verdict::Seller, Role::Seller, "the arbiter ruled for you: "),
        (Verdict::Seller, Role::Buyer, "the arbiter ruled for the seller: "),
        (split, Role::Buyer, "the arbiter divided the coins: "),
        (Verdict::Buyer, Role::Arbiter, "you ruled for the buyer: "),
    ] {
        let division = escrow.divide(Seat::First, &vaults, verdict, 1).unwrap();
        let rulings = vec![(Seat::First, escrow.rule(Seat::First, &vaults, division, &pair).unwrap())];
        let facts = Facts { payment_sent: true, buyer_dispute: true, rulings, ..Facts::default() };
        let trade = funded(&sample, role, facts);
        let what = next_step(&trade).what;
        assert!(trade.phase() == Phase::Ruled && what.starts_with(words), "{what}");
        assert_eq!(what.contains("of the bond"), verdict != split, "{what}");
        let own = if role == Role::Buyer { division.0 } else { division.1 };
        assert!(role == Role::Arbiter || what.contains(&format!("{own} BTC")), "{what}");
        assert_eq!(offered(&trade), [], "nothing is left to press");
        let names: Vec<String> = steps(&trade).into_iter().map(|step| step.name).collect();
        assert_eq!(names[3..6], ["Payment sent", "Disputed", "Arbiter ruled"]);
        assert_eq!(steps(&trade)[6].state, StepState::Current);
    }
}

/// The parties complete an extension, and a ruling about where the coins lay before leads nowhere.
#[test]
fn an_arbiter_whose_extension_moves_the_coins_that_he_ruled_about_reads_that_he_rules_again() {
    let mut sample = SampleTrade::new(Side::Sell);
    let (escrow, vaults) = (sample.escrow(), sample.vaults(1));
    let pair = sample.arbiter_pair(escrow.contract(), Seat::First);
    let seller = sample.author(Role::Seller).trade_key();
    let extend = escrow.extend(Seat::First, &vaults, sats(1_700), &pair).unwrap();
    let tx = escrow.complete_extend(Seat::First, &extend, Role::Seller, &seller).unwrap().tx;
    let moved = escrow.extended(&tx, &vaults).unwrap();
    let division = escrow.divide(Seat::First, &vaults, Verdict::Buyer, 1).unwrap();
    let ruling = escrow.rule(Seat::First, &vaults, division, &pair).unwrap();
    let disputed = Facts { payment_sent: true, buyer_dispute: true, ..Facts::default() };
    let extended = Facts { extensions: vec![(Seat::First, extend)], ..disputed.clone() };
    let ruled = Facts { rulings: vec![(Seat::First, ruling)], ..extended.clone() };
    let (hears, before, again) = ("hear both sides, then rule", "before a block has your extension", "rule again: ");
    let (paid, by_extension) = (Funding::new(vaults, Some(190)), Some(1_000));
    for (facts, height, phase, words) in [
        (&disputed, None, Phase::Disputed, hears),
        (&extended, None, Phase::Disputed, before),
        (&ruled, None, Phase::Ruled, "you ruled for the buyer: "),
        (&extended, by_extension, Phase::Disputed, hears),
        (&ruled, by_extension, Phase::Disputed, again),
    ] {
        let mut trade = Trade::seated(sample.bid(), Seat::First);
        trade.handle(Event::Records { contract: Some(sample.contract()), facts: facts.clone() }).unwrap();
        let extends = Some(vaults.outpoint());
        let made = height.map(|_| Funding { vaults: moved, height, extends });
        let spends = height.map(|_| Spend { tx: tx.clone(), path: SpendPath::Extension, height });
        let (fundings, spends) = (std::iter::once(paid).chain(made).collect(), spends.into_iter().collect());
        let seen = ChainFacts { tip: 1_100, synced: true, fundings, spends, ..ChainFacts::default() };
        trade.handle(Event::Chain(seen)).unwrap();
        let what = next_step(&trade).what;
        assert!(trade.phase() == phase && what.contains(words), "{:?} {what}", trade.phase());
        assert_eq!(what.contains(before), words == before, "{what}");
        assert_eq!((what.starts_with(again), line(&trade).ends_with("rule again")), (words == again, words == again));
    }
}

#[test]
fn a_bid_that_was_declined_was_not_accepted() {
    let sample = SampleTrade::new(Side::Sell);
    let facts = Facts { seller_cancel: true, ..Facts::default() };
    for (contract, accepted) in [(None, StepState::Skipped), (Some(sample.contract()), StepState::Done)] {
        let mut trade = Trade::new(sample.bid(), Role::Seller, true, Local::default());
        trade.handle(Event::Records { contract, facts: facts.clone() }).unwrap();
        let states: Vec<StepState> = steps(&trade).iter().map(|step| step.state).collect();
        assert_eq!((trade.phase(), states[0], states[1]), (Phase::Cancelled, accepted, StepState::Skipped));
    }
}

#[test]
fn a_seller_is_shown_what_his_node_did_not_make_and_not_told_to_pay_beside_it() {
    let sample = SampleTrade::new(Side::Sell);
    let own = Local { funding_tx: Some(bitcoin::consensus::serialize(&sample.funding(1))), ..Local::default() };
    let off = Facts { seller_cancel: true, ..Facts::default() };
    for (local, facts, height, words, funded) in [
        (Local::default(), Facts::default(), None, "your node did not make", StepState::Current),
        (Local::default(), off, None, "called off", StepState::Current),
        (Local::default(), Facts::default(), Some(200), "1 of 3 confirmations", StepState::Done),
        (own, Facts::default(), None, "0 of 3 confirmations", StepState::Done),
    ] {
        let mut trade = Trade::new(sample.bid(), Role::Seller, false, local);
        trade.handle(Event::Records { contract: Some(sample.contract()), facts }).unwrap();
        let (fundings, spends) = (vec![Funding::new(sample.vaults(1), height)], Vec::new());
        let seen = ChainFacts { tip: 200, synced: true, fundings, spends, ..ChainFacts::default() };
        trade.handle(Event::Chain(seen)).unwrap();
        let next = next_step(&trade);
        assert!(next.what.contains(words), "{words}: {}", next.what);
        assert_eq!((next.who, next.action, steps(&trade)[1].state), (Actor::Chain, None, funded), "{words}");
    }
}

#[test]
fn who_paid_the_escrow_twice_reads_when_that_is_his_to_take() {
    let mut sample = SampleTrade::new(Side::Sell);
    let (escrow, key) = (sample.escrow(), sample.author(Role::Seller).trade_key());
    let [first, second] = [1, 2].map(|number| sample.vaults(number));
    let payout = escrow.spend(&first, sats(1_700), Role::Buyer).unwrap().tx;
    let taken = escrow.signed_timeout(Vault::Escrow, second.escrow, sats(1_700), &key).unwrap().tx;
    let open = 190 + 4320 - 1;
    let paid = Facts { payment_sent: true, ..Facts::default() };
    let closed = || vec![Spend { tx: payout.clone(), path: SpendPath::Payout, height: Some(1_300) }];
    for (role, facts, spends, kept, tip, who, action, words) in [
        (Role::Seller, Facts::default(), closed(), None, open - 1, Actor::Nobody, None, "back from height 4509 on"),
        (Role::Seller, Facts::default(), closed(), None, open, Actor::You, Some(Action::Refund), "yours to take back"),
        (Role::Seller, Facts::default(), closed(), Some(&taken), open, Actor::Nobody, None, "come back to you, once"),
        (Role::Seller, paid, vec![], None, open, Actor::You, Some(Action::Release), "on, once the trade is over"),
        (Role::Buyer, Facts::default(), closed(), None, open, Actor::Nobody, None, "are in your wallet"),
    ] {
        let funding_tx = Some(bitcoin::consensus::serialize(&sample.funding(1)));
        let spend_tx = kept.map(bitcoin::consensus::serialize);
        let local = Local { funding_tx, spend_tx, ..Local::default() };
        let mut trade = Trade::new(sample.bid(), role, false, local);
        trade.handle(Event::Records { contract: Some(sample.contract()), facts }).unwrap();
        trade.handle(Event::Compared).unwrap();
        let fundings = vec![Funding::new(first, Some(1_290)), Funding::new(second, Some(190))];
        let seen = ChainFacts { tip, synced: true, fundings, spends, ..ChainFacts::default() };
        trade.handle(Event::Chain(seen)).unwrap();
        let next = with_strays(&trade, next_step(&trade));
        let told = format!("{}: {}", next.what, next.otherwise);
        assert!(told.contains(words), "{words}: {told}");
        assert_eq!(told.contains("0.01000000 BTC that were paid into the escrow"), role == Role::Seller, "{told}");
        assert_eq!((next.who, next.action), (who, action), "{told}");
        let is_next = action == Some(Action::Refund);
        let shown: Vec<_> = strays(&trade).iter().map(|stray| (stray.refund_from, stray.is_next)).collect();
        let expected = if role == Role::Seller { vec![(Some(open), is_next)] } else { Vec::new() };
        assert_eq!(shown, expected, "{told}");
    }
}

#[test]
fn a_seller_whose_maker_states_a_height_to_come_is_told_to_wait_for_it_and_not_to_pay() {
    for (stated, who, action) in [(201, Actor::Chain, None), (200, Actor::You, Some(Action::Fund))] {
        let sample = SampleTrade::new(Side::Sell).agreed_at(stated);
        let mut trade = Trade::new(sample.bid(), Role::Seller, false, Local::default());
        trade.handle(Event::Records { contract: Some(sample.contract()), facts: Facts::default() }).unwrap();
        trade.handle(Event::Chain(ChainFacts { tip: 200, synced: true, ..ChainFacts::default() })).unwrap();
        let next = next_step(&trade);
        assert_eq!((trade.phase(), next.who, next.action), (Phase::Agreed, who, action), "{}", next.what);
        assert_eq!(next.until, action.is_none().then_some(stated));
        assert_eq!(next.what.contains("pay nothing into the escrow"), action.is_none(), "{}", next.what);
        assert_eq!(line(&trade).contains("pay into the escrow"), action.is_some(), "{}", line(&trade));
    }
}

/// As long as somebody shows a payment that nobody signed.
#[test]
fn who_paid_besides_reads_when_that_is_his_to_take_also_while_others_show_a_funding() {
    let sample = SampleTrade::new(Side::Sell);
    let open = 190 + 4320 - 1;
    let beside = Stray { vault: Vault::Escrow, coin: sample.vaults(2).escrow, height: 190 };
    let (plain, off) = (Facts::default(), Facts { seller_cancel: true, ..Facts::default() });
    for (facts, height, tip, words, is_next) in [
        (&plain, None, open - 1, "can be taken back from height 4509 on", false),
        (&off, None, open - 1, "can be taken back from height 4509 on", false),
        (&plain, None, open, "are yours to take back", true),
        (&off, None, open, "are yours to take back", true),
        (&plain, Some(open), open, "from height 4509 on, once the trade is over", false),
    ] {
        let mut trade = Trade::new(sample.bid(), Role::Seller, false, Local::default());
        trade.handle(Event::Records { contract: Some(sample.contract()), facts: facts.clone() }).unwrap();
        trade.handle(Event::Compared).unwrap();
        let fundings = vec![Funding::new(sample.vaults(1), height)];
        let seen = ChainFacts { tip, synced: true, fundings, strays: vec![beside], ..ChainFacts::default() };
        trade.handle(Event::Chain(seen)).unwrap();
        let next = with_strays(&trade, next_step(&trade));
        assert_eq!((trade.phase(), next.action), (Phase::Funding, None));
        assert!(next.otherwise.ends_with(words), "{words}: {}", next.otherwise);
        let shown: Vec<_> = strays(&trade).iter().map(|stray| (stray.refund_from, stray.is_next)).collect();
        assert_eq!(shown, [(Some(open), is_next)], "{words}");
    }
}
