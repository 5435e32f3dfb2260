//! A maker with more offers than stand in the book of everybody, until a coin of his speaks for him.

use exchange_api::{StakeState, StakeView};
use exchange_ledger::book::LIVE_OFFERS;
use exchange_ledger::stake::STAKE_CONFIRMATIONS;
use exchange_tests::{Offer, World, wait_until};

#[test]
fn a_maker_with_a_coin_that_speaks_for_him_posts_more_offers() {
    let world = World::begin();
    let (maker, taker) = (world.trader("maker"), world.trader("taker"));
    let first = maker.posts(&Offer::BUY);
    for _ in 1..LIVE_OFFERS {
        maker.posts(&Offer::BUY);
    }
    maker.tries_to_post(&Offer::BUY).unwrap_err().assert_is(1, "not_allowed");
    let stake = ["identity", "stake", "--yes"];
    maker.cli().run::<StakeView>(&stake).unwrap_err().assert_is(1, "insufficient_funds");

    // Withdrawing one makes room.
    let _: exchange_api::OfferView = maker.cli().done(&["offer", "revoke", &first.id.to_string()]);
    maker.posts(&Offer::BUY);

    world.chain().mine_coins_to(&maker.address());
    maker.awaits_balance("coins", |balance| balance.spendable.get() > 0);
    let named: StakeView = maker.cli().done(&stake);
    assert!(matches!(named.state, StakeState::Young { .. }), "{named:?}");
    world.chain().mine(STAKE_CONFIRMATIONS);
    wait_until("the stake counts", || {
        let stakes: Vec<StakeView> = maker.cli().done(&["identity", "stakes"]);
        match stakes.as_slice() {
            [StakeView { state: StakeState::Counts, id, .. }] if *id == named.id => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let ninth =
        wait_until("the ninth offer is posted", || maker.tries_to_post(&Offer::BUY).map_err(|failure| failure.message));
    taker.sees(&ninth.id);
}
