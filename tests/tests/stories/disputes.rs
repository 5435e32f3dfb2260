//! Disputes: one party calls for the arbiter, both may show him what was said, he rules, and the winner's node takes what is
//! his.

use exchange_api::{ArbiterView, Conversation, Disclosure, EscrowSums, OfferView, Person, Showing, TradeView};
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::Phase;
use exchange_tests::{Offer, Trader, World, lines, wait_until};

/// Blocks that bury a trade of the smallest size.
const BURIED: u32 = 1;
/// The amount of each trade, in satoshis and as it is typed.
const AMOUNT: u64 = 500_000;
const BTC: &str = "0.005";
/// What the arbiter of the stories asks: half a percent.
const ARBITER_FEE: u64 = AMOUNT / 200;

#[test]
fn buyer_wins_dispute() {
    let world = World::begin();
    let (seller, mut buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    let trade = paid_trade(&world, &seller, &buyer);
    buyer.says(trade, None, "Paid at 9:40, reference 7731.");
    seller.hears(trade, 1, Person::Buyer, "Paid at 9:40, reference 7731.");
    seller.says(trade, None, "I see nothing.");
    buyer.hears(trade, 1, Person::Seller, "I see nothing.");

    // The arbiter was away until now; the dispute and what was said reach him when his node is there.
    buyer.does("dispute", trade);
    seller.awaits(trade, Phase::Disputed);
    discloses(&buyer, trade, 4); // their payment details, and two lines
    buyer.says(trade, Some("arbiter"), "My bank's receipt is in the post.");
    let mut arbiter = world.trader("arbiter");
    arbiter.awaits(trade, Phase::Disputed);
    arbiter.hears(trade, 1, Person::Buyer, "My bank's receipt is in the post.");
    let shown = awaits_showing(&arbiter, trade);
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0].1, "Paid at 9:40, reference 7731.");
    arbiter.says(trade, Some("seller"), "Please show me your account.");
    seller.hears(trade, 1, Person::Arbiter, "Please show me your account.");

    // Nobody but the arbiter rules, and a dry run does nothing.
    rules(&buyer, trade, "buyer", &["--yes"]).unwrap_err().assert_is(1, "not_allowed");
    let would = rules(&arbiter, trade, "buyer", &["--dry-run"]).unwrap();
    assert_eq!(would.state, Phase::Disputed);
    arbiter.is_killed_and_returns();
    arbiter.awaits(trade, Phase::Disputed);
    rules(&arbiter, trade, "buyer", &["--yes"]).unwrap();

    // The ruling waits for its delay, whatever happens to the winner's machine, and cannot be hurried.
    buyer.awaits(trade, Phase::Ruled);
    seller.awaits(trade, Phase::Ruled);
    buyer.process().kill();
    matures(&world, &seller, trade);
    buyer.returns();
    world.chain().confirm("the ruling's spend", BURIED);
    for party in [&buyer, &seller] {
        party.awaits(trade, Phase::Settled);
    }
    let got = buyer.awaits_balance("the coins", |balance| balance.spendable.get() > AMOUNT * 9 / 10).spendable.get();
    assert!(got < AMOUNT - ARBITER_FEE, "he bears the costs, for there are no bonds: {got}");
    let sums = audited(&seller);
    assert_eq!(sums.to_buyers.get(), got);
    assert_eq!(sums.to_sellers.get(), 0);
}

#[test]
fn seller_wins_dispute_when_buyer_is_silent() {
    let world = World::begin();
    let (mut seller, mut buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    // He says that he paid, and is never heard of again.
    let trade = paid_trade(&world, &seller, &buyer);
    buyer.process().kill();
    seller.says(trade, None, "Nothing has come in three days.");
    seller.does("dispute", trade);
    discloses(&seller, trade, 3);
    let arbiter = world.trader("arbiter");
    arbiter.awaits(trade, Phase::Disputed);
    awaits_showing(&arbiter, trade);
    rules(&arbiter, trade, "seller", &["--yes"]).unwrap();
    seller.awaits(trade, Phase::Ruled);
    seller.is_killed_and_returns();
    // Until it has read the chain it knows of no ruling.
    seller.awaits(trade, Phase::Ruled);
    matures(&world, &seller, trade);
    world.chain().confirm("the ruling's spend", BURIED);
    seller.awaits(trade, Phase::Settled);
    let sums = audited(&seller);
    assert_eq!(sums.to_buyers.get(), 0);
    assert!(sums.to_sellers.get() > AMOUNT - ARBITER_FEE - 10_000, "{sums:?}");
}

#[test]
fn arbiter_extends() {
    let world = World::begin();
    let (seller, buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    let trade = paid_trade(&world, &seller, &buyer);
    buyer.does("dispute", trade);
    let arbiter = world.trader("arbiter");
    arbiter.awaits(trade, Phase::Disputed);
    let before = buyer.looks_at(trade).unwrap();
    let _: TradeView = arbiter.cli().done(&["arbiter", "extend", &trade.to_string(), "--yes"]);
    matures(&world, &buyer, trade);
    world.chain().confirm("the extension", BURIED);

    // All delays begin anew, for everybody.
    for party in [&buyer, &seller, &arbiter] {
        party.awaits_that(trade, "extended", |view| view.refund_from > before.refund_from);
    }
    let after = buyer.looks_at(trade).unwrap();
    assert_ne!(after.funding.as_ref().map(|tx| &tx.txid), before.funding.as_ref().map(|tx| &tx.txid));
    assert_eq!(after.state, Phase::Disputed);

    let split = ["--buyer-gets", "0.004", "--yes"];
    rules(&arbiter, trade, "split", &split).unwrap();
    buyer.awaits(trade, Phase::Ruled);
    matures(&world, &buyer, trade);
    world.chain().confirm("the ruling's spend", BURIED);
    buyer.awaits(trade, Phase::Settled);
    seller.awaits(trade, Phase::Settled);
    let sums = audited(&seller);
    assert!((380_000..=400_000).contains(&sums.to_buyers.get()), "{sums:?}");
    assert!((90_000..=100_000).contains(&sums.to_sellers.get()), "{sums:?}");
}

#[test]
fn second_arbiter_rules() {
    let world = World::begin();
    let second = world.arbiter("second", "Deborah");
    let (seller, buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    for party in [&seller, &buyer] {
        party.trusts("Deborah");
    }
    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes_with(&offer, BTC, &["--second-arbiter", "Deborah"]).id;
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
    buyer.does("dispute", trade);
    second.awaits(trade, Phase::Disputed);

    // The first is never there. Until he has had his time the second may not rule.
    rules(&second, trade, "buyer", &["--yes"]).unwrap_err().assert_is(1, "not_allowed");
    let dispute = second.looks_at(trade).unwrap().dispute.unwrap();
    let tip = u32::try_from(world.chain().height()).unwrap();
    world.chain().mine(dispute.second_ruling_from.unwrap() - tip);
    // A thousand blocks at once take his node a while.
    wait_until("the second may rule", || rules(&second, trade, "buyer", &["--yes"]).map_err(|failure| failure.message));
    world.chain().confirm("the ruling's spend", BURIED);
    buyer.awaits(trade, Phase::Settled);
    seller.awaits(trade, Phase::Settled);
    assert!(audited(&seller).to_buyers.get() > AMOUNT * 9 / 10);
}

#[test]
fn arbiter_who_withdraws_rules_on_what_was_agreed_and_on_nothing_new() {
    let world = World::begin();
    let (seller, buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    let trade = paid_trade(&world, &seller, &buyer);
    let bid = buyer.takes(&seller.posts(&Offer::SELL.by_hand()), BTC).id;
    seller.awaits(bid, Phase::Bid);
    let open = seller.posts(&Offer::SELL);
    buyer.sees(&open.id);
    let arbiter = world.trader("arbiter");
    let gone: ArbiterView = arbiter.cli().done(&["arbiter", "withdraw"]);
    assert!(gone.withdrawn, "{gone:?}");
    let again: ArbiterView = arbiter.cli().done(&["arbiter", "withdraw"]);
    assert_eq!(again, gone, "he has withdrawn already");

    // Offers and bids name him by his advert of before: nothing comes of them.
    for trader in [&seller, &buyer] {
        wait_until("the withdrawal has come", || {
            let offer: OfferView = trader.cli().done(&["offer", "show", &open.id.to_string()]);
            if offer.arbiters.iter().any(|named| named.withdrawn) { Ok(()) } else { Err(format!("{offer:?}")) }
        });
    }
    buyer.tries_to_take(&open.id, BTC).unwrap_err().assert_is(1, "not_allowed");
    seller.tries_to("accept", bid).unwrap_err().assert_is(1, "not_allowed");
    seller.tries_to_post(&Offer::SELL).unwrap_err().assert_is(2, "invalid_argument");

    buyer.does("dispute", trade);
    arbiter.awaits(trade, Phase::Disputed);
    rules(&arbiter, trade, "buyer", &["--yes"]).unwrap();
    buyer.awaits(trade, Phase::Ruled);

    // He comes back by another advert, and then the one of before will do again.
    let advertise = ["arbiter", "advertise", "--name", "Solomon", "--fee-percent", "0.5", "--max", "1.0"];
    let _: ArbiterView = arbiter.cli().done(&advertise);
    wait_until("he is back", || buyer.tries_to_take(&open.id, BTC).map_err(|failure| failure.message));
}

/// A trade in which the buyer says that he paid.
fn paid_trade(world: &World, seller: &Trader, buyer: &Trader) -> TradeId {
    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, BTC).id;
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    buyer.awaits_details(trade);
    seller.awaits_details(trade);
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
    trade
}

fn discloses(who: &Trader, trade: TradeId, count: usize) {
    let done: Disclosure = who.cli().done(&["trade", "disclose", &trade.to_string(), "--yes"]);
    assert_eq!(done.messages.len(), count, "{done:#?}");
}

/// Waits until the arbiter was shown a whole transcript; returns its lines.
fn awaits_showing(arbiter: &Trader, trade: TradeId) -> Vec<(Person, String)> {
    exchange_tests::wait_until("the arbiter was shown what was said", || {
        let said: Conversation = arbiter.conversation(trade);
        let shown = said.shown.ok_or("nothing")?;
        let is_complete = shown.by.iter().all(Showing::is_complete);
        let messages: Vec<_> = shown.messages.iter().map(|shown| shown.message.clone()).collect();
        if is_complete { Ok(lines(&messages)) } else { Err(format!("{shown:#?}")) }
    })
}

pub(crate) fn rules(
    who: &Trader,
    trade: TradeId,
    to: &str,
    more: &[&str],
) -> Result<TradeView, exchange_tests::Failure> {
    let trade = trade.to_string();
    let args = [&["arbiter", "rule", &trade, "--to", to], more].concat();
    who.cli().run(&args)
}

/// Mines until what an arbiter signed can enter a block; one block before it nothing is in the pool.
pub(crate) fn matures(world: &World, who: &Trader, trade: TradeId) {
    let from = who.looks_at(trade).unwrap().dispute.unwrap().ruling_from;
    let tip = u32::try_from(world.chain().height()).unwrap();
    world.chain().mine(from - tip - 1);
    who.awaits_tip(from - 1);
    assert!(world.chain().pool().is_empty(), "the delay holds");
    world.chain().mine(1);
}

pub(crate) fn audited(who: &Trader) -> EscrowSums {
    let report = who.audits();
    assert!(report.ok, "{report:#?}");
    let sums = report.sums.unwrap();
    assert_eq!(sums.held.get(), 0, "{sums:?}");
    sums
}
