//! A group of arbiters: three people make a key that none of them has, and two of them rule when the third is gone.

use exchange_api::{ArbiterView, AuthorId, GroupDecision, GroupState, GroupView, Person, TradeView, Verdict};
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::Phase;
use exchange_tests::{Failure, Offer, Trader, World, wait_until};

/// Blocks that bury a trade of the smallest size.
const BURIED: u32 = 1;
/// The amount of the trade, in satoshis and as it is typed.
const AMOUNT: u64 = 500_000;
const BTC: &str = "0.005";
/// By which name the group is known.
const JUDGES: &str = "Three judges";

#[test]
fn frost_arbiters_rule_with_one_missing() {
    let world = World::begin();
    let mut judges = ["first-judge", "second-judge", "third-judge"].map(|name| world.trader(name));
    let advert = forms_a_group(&judges);
    let (seller, buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    for party in [&seller, &buyer] {
        party.trusts(JUDGES);
    }
    let known: Vec<ArbiterView> = buyer.cli().done(&["arbiter", "list"]);
    let known = known.iter().find(|known| known.advert == advert).unwrap();
    assert_eq!((known.threshold, known.members.len()), (2, 3));

    // The one who proposed and advertised the group is gone for good, and with him a share of the key.
    let [first, second, third] = &mut judges;
    assert_eq!(known.author, id(first));
    first.process().kill();

    let offer = seller.tries_to_post(&Offer::SELL).unwrap();
    let trade = buyer.takes_under(JUDGES, &offer, BTC).id;
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    buyer.awaits_details(trade);
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
    buyer.does("dispute", trade);
    for judge in [&*second, &*third] {
        judge.awaits(trade, Phase::Disputed);
    }
    // What a party tells the arbiter is addressed to him who is gone, and the others read it.
    buyer.says(trade, Some("arbiter"), "Here is my bank's receipt.");
    for judge in [&*second, &*third] {
        judge.hears(trade, 1, Person::Buyer, "Here is my bank's receipt.");
    }
    second.says(trade, Some("buyer"), "Thank you.");
    buyer.hears(trade, 1, Person::Arbiter, "Thank you.");

    // They disagree: nothing happens, and each may change his mind. Then the second's machine loses what was under way.
    decides(second, trade, "seller").unwrap();
    let asked = awaits_case(third, trade, |case| !case.asked.is_empty());
    assert_eq!((asked.decided, asked.asked[0].member), (None, id(second)));
    decides(third, trade, "buyer").unwrap();
    awaits_case(second, trade, |case| !case.asked.is_empty());
    second.is_killed_and_returns();
    let kept = awaits_case(second, trade, |_| true);
    assert_eq!((kept.decided, kept.bound), (Some(GroupDecision::Rule(Verdict::Seller)), false));
    second.awaits(trade, Phase::Disputed);
    decides(second, trade, "buyer").unwrap();

    for person in [&seller, &buyer, &*second, &*third] {
        person.awaits(trade, Phase::Ruled);
    }
    // Whose share left is bound by it.
    let late = decides(third, trade, "seller").unwrap_err();
    assert_eq!(late.code, "not_allowed");
    let ruled = buyer.looks_at(trade).unwrap().dispute.unwrap();
    let from = ruled.ruling_from;
    let tip = u32::try_from(world.chain().height()).unwrap();
    world.chain().mine(from - tip);
    world.chain().confirm("the ruling's spend", BURIED);
    for party in [&seller, &buyer] {
        party.awaits(trade, Phase::Settled);
    }
    let got = buyer.awaits_balance("the coins", |balance| balance.spendable.get() > AMOUNT * 9 / 10).spendable.get();
    let report = seller.audits();
    assert!(report.ok, "{report:#?}");
    let sums = report.sums.unwrap();
    assert_eq!((sums.to_buyers.get(), sums.to_sellers.get(), sums.held.get()), (got, 0, 0));
    assert_eq!(sums.to_arbiters.get(), AMOUNT / 200);
}

fn id(judge: &Trader) -> AuthorId {
    judge.identity().author
}

/// The first proposes, the others join, and their nodes do the rest. Returns the advert.
fn forms_a_group(judges: &[Trader; 3]) -> exchange_ledger::ids::RecordId {
    let [first, others @ ..] = judges;
    let members: Vec<String> = others.iter().map(|judge| id(judge).to_string()).collect();
    let mut args = vec!["arbiter", "group", "create", "--threshold", "2", "--name", JUDGES];
    args.extend(["--fee-percent", "0.5", "--max", "1.0", "--language", "en", "--currency", "EUR"]);
    args.extend(members.iter().flat_map(|member| ["--member", member.as_str()]));
    let proposed: GroupView = first.cli().done(&args);
    assert_eq!(proposed.state, GroupState::Joining);
    assert_eq!(proposed.waiting.len(), 2);
    for judge in others {
        let invited = awaits_group(judge, |_| true);
        assert_eq!((invited.id, invited.state), (proposed.id, GroupState::Invited));
        let joined: GroupView = judge.cli().done(&["arbiter", "group", "join", &proposed.id.to_string()]);
        assert_ne!(joined.state, GroupState::Invited);
    }
    for judge in others {
        awaits_group(judge, |group| group.state == GroupState::Ready && group.advert.is_some());
    }
    let ready = awaits_group(first, |group| group.state == GroupState::Ready && group.advert.is_some());
    ready.advert.unwrap()
}

fn awaits_group(judge: &Trader, is_so: impl Fn(&GroupView) -> bool) -> GroupView {
    wait_until("the group has come so far", || {
        let groups: Vec<GroupView> = judge.cli().done(&["arbiter", "group", "list"]);
        groups.iter().find(|group| is_so(group)).cloned().ok_or_else(|| format!("{groups:#?}"))
    })
}

fn awaits_case(
    judge: &Trader,
    trade: TradeId,
    is_so: impl Fn(&exchange_api::GroupCase) -> bool,
) -> exchange_api::GroupCase {
    let group = awaits_group(judge, |group| group.cases.iter().any(|case| case.trade == trade && is_so(case)));
    group.cases.into_iter().find(|case| case.trade == trade).unwrap()
}

fn decides(judge: &Trader, trade: TradeId, to: &str) -> Result<TradeView, Failure> {
    judge.cli().run(&["arbiter", "group", "sign", &trade.to_string(), "--to", to, "--yes"])
}
