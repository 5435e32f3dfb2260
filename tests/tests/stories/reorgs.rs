//! Blocks leave the chain, and what they confirmed is unconfirmed again: each side is told what is so, at each moment.

use exchange_api::{ChainTx, TradeView};
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::Phase;
use exchange_tests::{Offer, Trader, World};

/// Blocks that bury a trade of this size.
const BURIED: u32 = 3;
/// The deepest reorganisation that has to be survived: coins that are mined wait as long.
const DEEPEST: u32 = 100;

/// The funding is buried, undone, confirmed again, undone from a depth of a hundred blocks, where the network forgets it, and
/// confirmed once more; then the trade goes on to its end, and its payout is undone and comes back too.
#[test]
fn funding_reorged_away_and_back() {
    let world = World::begin();
    let chain = world.chain();
    let seller = world.trader_with_coins("seller");
    let mut buyer = world.trader("buyer");
    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, "0.01").id;
    seller.awaits(trade, Phase::Agreed);
    seller.does("fund", trade);
    chain.confirm("the funding", BURIED);
    let funding = buyer.awaits(trade, Phase::Funded).funding.unwrap();
    assert!(funding.confirmations >= BURIED, "{funding:?}");

    chain.replace(BURIED, BURIED + 1);
    for trader in [&buyer, &seller] {
        awaits_in_pool(trader, trade, &funding, "unconfirmed");
    }
    let refused = buyer.tries_to("paid", trade).unwrap_err();
    assert!(!refused.message.is_empty() && refused.exit == Some(1), "nobody pays into the void: {refused:?}");
    chain.mine(1);
    for trader in [&buyer, &seller] {
        awaits_confirmations(trader, trade, &funding, 1);
    }
    chain.mine(BURIED - 1);
    buyer.awaits(trade, Phase::Funded);

    // Of what is undone so deep a bitcoind keeps nothing, so that the seller's node has to send it again. The buyer's is away.
    chain.mine(DEEPEST - BURIED);
    buyer.awaits_that(trade, "deep", |view| view.funding.as_ref().is_some_and(|tx| tx.confirmations >= DEEPEST));
    buyer.process().kill();
    chain.replace(DEEPEST, DEEPEST + 1);
    buyer.returns();
    for trader in [&buyer, &seller] {
        awaits_in_pool(trader, trade, &funding, "sent again");
    }
    chain.mine(BURIED);
    buyer.awaits(trade, Phase::Funded);
    buyer.awaits_details(trade);
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
    seller.does("release", trade);
    the_payout_comes_back(&world, &seller, &buyer, trade);
}

fn the_payout_comes_back(world: &World, seller: &Trader, buyer: &Trader, trade: TradeId) {
    let chain = world.chain();
    chain.confirm("the payout", BURIED);
    let payout = buyer.awaits(trade, Phase::Closed).spend.unwrap();
    seller.awaits(trade, Phase::Closed);
    let received = buyer.awaits_balance("the coins", |balance| balance.spendable.get() > 0).spendable;

    chain.replace(BURIED, BURIED + 1);
    for trader in [buyer, seller] {
        trader.awaits_that(trade, "open again", |view| {
            view.state == Phase::Released && view.spend.as_ref().is_some_and(|tx| is_in_pool(tx, &payout))
        });
    }
    buyer.awaits_balance("nothing for certain", |balance| balance.spendable.get() == 0);
    chain.mine(BURIED);
    for trader in [buyer, seller] {
        let view = trader.awaits_that(trade, "closed again", |view| view.state == Phase::Closed);
        assert_eq!(view.spend.unwrap().txid, payout.txid, "there is one payout");
    }
    buyer.awaits_balance("the coins again", |balance| balance.spendable == received);
}

fn is_in_pool(tx: &ChainTx, same: &ChainTx) -> bool {
    tx.txid == same.txid && tx.confirmations == 0 && tx.height.is_none()
}

/// Waits until a trader is told that the funding waits for a block, and that the coins are not there.
fn awaits_in_pool(trader: &Trader, trade: TradeId, funding: &ChainTx, what: &str) -> TradeView {
    trader.awaits_that(trade, what, |view| {
        view.state == Phase::Funding && view.funding.as_ref().is_some_and(|tx| is_in_pool(tx, funding))
    })
}

/// Waits until a trader is told that the funding has so many confirmations, and that they do not suffice.
fn awaits_confirmations(trader: &Trader, trade: TradeId, funding: &ChainTx, count: u32) -> TradeView {
    trader.awaits_that(trade, "confirmed", |view| {
        let confirmed = view.funding.as_ref().is_some_and(|tx| tx.txid == funding.txid && tx.confirmations == count);
        view.state == Phase::Funding && confirmed
    })
}
