//! A power cut after each step of a trade: whoever returns finds the trade where it was, and it goes on by itself.

use exchange_ledger::trade::Phase;
use exchange_tests::{Offer, Trader, World};

/// Blocks that bury a trade of this size.
const BURIED: u32 = 3;

/// Whose machine loses its power after each step.
struct Victims {
    seller: bool,
    buyer: bool,
}

impl Victims {
    fn strike(&self, seller: &mut Trader, buyer: &mut Trader) {
        // Both are down before either is up again.
        let mut struck: Vec<&mut Trader> = Vec::new();
        struck.extend(self.seller.then_some(seller));
        struck.extend(self.buyer.then_some(buyer));
        for trader in &mut struck {
            trader.process().kill();
        }
        for trader in struck {
            trader.returns();
        }
    }
}

#[test]
fn the_seller() {
    trade_through_power_cuts(&Victims { seller: true, buyer: false });
}

#[test]
fn the_buyer() {
    trade_through_power_cuts(&Victims { seller: false, buyer: true });
}

#[test]
fn both_at_once() {
    trade_through_power_cuts(&Victims { seller: true, buyer: true });
}

/// Nobody pays before it is settled at which output all look.
#[test]
fn a_buyer_waits_for_a_seller_who_is_away_when_his_funding_is_buried() {
    let world = World::begin();
    let mut seller = world.trader_with_coins("seller");
    let buyer = world.trader("buyer");
    let trade = buyer.takes(&seller.posts(&Offer::SELL), "0.01").id;
    seller.does("fund", trade);
    world.chain().confirm("the funding", 1);
    seller.process().kill();
    world.chain().mine(BURIED - 1);
    buyer.awaits(trade, Phase::Funded);
    let refused = buyer.tries_to("paid", trade).unwrap_err();
    refused.assert_is(1, "not_allowed");
    assert!(refused.message.contains("not named") && refused.hint.contains("wait"), "{refused:#?}");

    // It is the first thing that his node does when it can continue its log.
    seller.returns();
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
}

fn trade_through_power_cuts(victims: &Victims) {
    let world = World::begin();
    let mut seller = world.trader_with_coins("seller");
    let mut buyer = world.trader("buyer");
    let start = world.chain().height();

    let offer = seller.posts(&Offer::SELL.by_hand());
    let trade = buyer.takes(&offer, "0.01").id;
    victims.strike(&mut seller, &mut buyer);
    seller.awaits(trade, Phase::Bid);
    let agreed = seller.does("accept", trade);
    victims.strike(&mut seller, &mut buyer);
    buyer.awaits(trade, Phase::Agreed);
    seller.awaits(trade, Phase::Agreed);

    seller.does("fund", trade);
    victims.strike(&mut seller, &mut buyer);
    world.chain().confirm("the funding", BURIED);
    victims.strike(&mut seller, &mut buyer);
    buyer.awaits(trade, Phase::Funded);
    seller.awaits(trade, Phase::Funded);
    assert_eq!(buyer.awaits_details(trade).trim_end(), seller.details());

    buyer.does("paid", trade);
    victims.strike(&mut seller, &mut buyer);
    seller.awaits(trade, Phase::Paid);
    buyer.awaits(trade, Phase::Paid);

    // The release finds nobody at home, so that it must wait for the buyer's return.
    buyer.process().kill();
    seller.does("release", trade);
    assert!(world.chain().pool().is_empty(), "only the buyer can complete the payout");
    if victims.seller {
        seller.is_killed_and_returns();
    }
    buyer.returns();
    buyer.awaits(trade, Phase::Released);
    world.chain().confirm("the payout", 1);
    victims.strike(&mut seller, &mut buyer);
    world.chain().mine(BURIED - 1);
    victims.strike(&mut seller, &mut buyer);
    let bought = buyer.awaits(trade, Phase::Closed);
    seller.awaits(trade, Phase::Closed);

    // Nothing was paid twice.
    let escrow = world.chain().traffic(&agreed.escrow_address.unwrap(), start);
    assert_eq!(escrow.incoming, [bought.funding.unwrap().txid].into());
    assert_eq!(escrow.outgoing, [bought.spend.unwrap().txid].into());
    assert!(world.chain().pool().is_empty());
    let balance = buyer.awaits_balance("the coins", |balance| balance.spendable.get() > 0);
    assert!((990_000..1_000_000).contains(&balance.spendable.get()), "{balance:?}");
}
