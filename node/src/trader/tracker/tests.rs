//! What a trade is told of the chain, event by event.

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Witness};
use exchange_ledger::body::Side;
use exchange_ledger::testing::{HEIGHT, SampleTrade, sats};
use exchange_ledger::trade::Role;

use super::*;
use crate::chain::BlockRef;

fn block(height: u32) -> BlockRef {
    BlockRef { height, hash: BlockHash::from_byte_array([u8::try_from(height % 251).unwrap(); 32]) }
}

fn connected(height: u32, txs: Vec<Transaction>) -> ChainEvent {
    ChainEvent::Connected { block: block(height), parent: block(height - 1).hash, time: 0, txs }
}

fn synced(height: u32) -> ChainEvent {
    ChainEvent::Synced { tip: block(height) }
}

/// Returns a tracker that follows the chain at this height.
fn following(height: u32) -> Tracker {
    let mut tracker = Tracker::default();
    tracker.apply(&connected(height, Vec::new()));
    tracker.apply(&synced(height));
    tracker
}

#[test]
fn an_escrow_of_the_past_is_not_known_before_its_search_has_ended() {
    let trade = SampleTrade::new(Side::Sell);
    let mut tracker = following(HEIGHT + 50);
    assert_eq!(tracker.watch(&trade.escrow(), false), Some(trade.contract().funded_from()));
    assert_eq!(tracker.watch(&trade.escrow(), false), None, "it is watched");
    // This was on its way before the follower heard of the escrow: it says nothing about it.
    tracker.apply(&synced(HEIGHT + 50));
    assert!(!tracker.facts(trade.id()).synced, "no deadline may act on an escrow whose funding was not looked for");
    let funding = trade.funding(1);
    tracker.apply(&ChainEvent::Found { block: block(HEIGHT + 3), tx: funding });
    tracker.apply(&ChainEvent::Searched { scripts: vec![ScriptBuf::new()] });
    assert!(!tracker.facts(trade.id()).synced, "another one was searched");
    tracker.apply(&ChainEvent::Searched { scripts: vec![trade.escrow().script()] });
    let facts = tracker.facts(trade.id());
    assert!(facts.synced);
    assert_eq!(facts.fundings[0].height, Some(HEIGHT + 3));
}

#[test]
fn a_chain_followed_from_below_is_searched_when_its_tip_is_reached() {
    let trade = SampleTrade::new(Side::Sell);
    let mut tracker = following(HEIGHT + 50);
    tracker.watch(&trade.escrow(), false);
    tracker.restart();
    tracker.apply(&connected(HEIGHT + 3, vec![trade.funding(1)]));
    assert!(!tracker.facts(trade.id()).synced);
    tracker.apply(&synced(HEIGHT + 50));
    assert!(tracker.facts(trade.id()).synced);
}

/// A maker could pay in before he tells anybody, below the height that he states too. An arbiter would see it.
#[test]
fn only_what_was_accepted_here_just_now_has_no_past() {
    let trade = SampleTrade::new(Side::Sell).agreed_at(1_000);
    for (tip, is_accepted_here, has_past) in
        [(1_000, true, false), (999, true, false), (1_001, true, true), (1_000, false, true), (900, false, true)]
    {
        let mut tracker = following(tip);
        let from = if has_past { 1_000 - 144 } else { 1_000 };
        assert_eq!(tracker.watch(&trade.escrow(), is_accepted_here), Some(from), "{tip}");
        assert_eq!(tracker.facts(trade.id()).synced, !has_past, "{tip}");
        if has_past {
            tracker.apply(&ChainEvent::Found { block: block(from), tx: trade.funding(1) });
            tracker.apply(&ChainEvent::Found { block: block(from - 1), tx: trade.funding(2) });
            tracker.apply(&ChainEvent::Searched { scripts: trade.escrow().scripts() });
            let facts = tracker.facts(trade.id());
            assert_eq!((facts.synced, facts.fundings.len(), facts.fundings[0].height), (true, 1, Some(from)));
        }
    }
    // Before the chain was followed to its tip nothing is known of what is below it.
    let mut tracker = Tracker::default();
    assert_eq!(tracker.watch(&trade.escrow(), true), Some(1_000 - 144));
    assert!(!tracker.facts(trade.id()).synced);
}

#[test]
fn a_case_is_found_whose_funding_a_reorg_put_below_the_height_that_was_stated() {
    let trade = SampleTrade::new(Side::Sell).agreed_at(1_000);
    let mut tracker = following(1_050);
    assert!(tracker.watch_case(&trade.escrow()));
    let (scripts, from) = tracker.due().unwrap();
    assert_eq!(from, 1_000 - 144);
    tracker.apply(&ChainEvent::Found { block: block(999), tx: trade.funding(1) });
    tracker.apply(&ChainEvent::Searched { scripts });
    assert_eq!(tracker.facts(trade.id()).fundings[0].height, Some(999));
    tracker.restart();
    assert!(tracker.scripts(1_050).iter().all(|(_, height)| *height == 1_000 - 144), "nor is it missed after a start");
}

#[test]
fn a_funding_that_a_reorg_undid_and_another_took_the_coins_of_is_gone() {
    let trade = SampleTrade::new(Side::Sell);
    let mut tracker = following(HEIGHT);
    tracker.watch(&trade.escrow(), true);
    tracker.apply(&connected(HEIGHT + 1, vec![trade.funding(1)]));
    tracker.apply(&synced(HEIGHT + 1));
    assert_eq!(tracker.facts(trade.id()).fundings[0].height, Some(HEIGHT + 1));

    tracker.apply(&ChainEvent::Disconnected { block: block(HEIGHT + 1) });
    assert_eq!(tracker.facts(trade.id()).fundings[0].height, None, "unconfirmed again");
    tracker.apply(&connected(HEIGHT + 1, Vec::new()));
    assert!(tracker.apply(&synced(HEIGHT + 1)), "the trade must hear of it");
    assert_eq!(tracker.facts(trade.id()).fundings, [], "neither in a block nor in the pool");
}

#[test]
fn a_funding_that_a_reorg_put_back_into_the_pool_waits_there() {
    let trade = SampleTrade::new(Side::Sell);
    let mut tracker = following(HEIGHT);
    tracker.watch(&trade.escrow(), true);
    tracker.apply(&connected(HEIGHT + 1, vec![trade.funding(1)]));
    tracker.apply(&ChainEvent::Disconnected { block: block(HEIGHT + 1) });
    tracker.apply(&connected(HEIGHT + 1, Vec::new()));
    tracker.apply(&ChainEvent::MempoolSeen { tx: trade.funding(1) });
    tracker.apply(&synced(HEIGHT + 1));
    assert_eq!(tracker.facts(trade.id()).fundings[0].height, None);
    tracker.apply(&ChainEvent::Evicted { txid: trade.funding(1).compute_txid() });
    assert_eq!(tracker.facts(trade.id()).fundings, []);
}

/// Whatever stands between, what is told is where the chain has it now.
#[test]
fn a_funding_that_confirms_disappears_and_returns_is_told_truthfully_at_each_moment() {
    const DEPTH: u32 = 100;
    let trade = SampleTrade::new(Side::Sell);
    let (funding, txid) = (trade.funding(1), trade.funding(1).compute_txid());
    let mut tracker = following(HEIGHT);
    tracker.watch(&trade.escrow(), true);
    let heights = |tracker: &Tracker| tracker.facts(trade.id()).fundings.iter().map(|f| f.height).collect::<Vec<_>>();
    tracker.apply(&ChainEvent::MempoolSeen { tx: funding.clone() });
    assert_eq!(heights(&tracker), [None]);
    tracker.apply(&connected(HEIGHT + 1, vec![funding.clone()]));
    for above in 2..=DEPTH {
        tracker.apply(&connected(HEIGHT + above, Vec::new()));
    }
    tracker.apply(&synced(HEIGHT + DEPTH));
    assert_eq!(heights(&tracker), [Some(HEIGHT + 1)]);

    for height in (HEIGHT + 1..=HEIGHT + DEPTH).rev() {
        assert_eq!(heights(&tracker), [Some(HEIGHT + 1)], "until its own block leaves");
        tracker.apply(&ChainEvent::Disconnected { block: block(height) });
    }
    assert_eq!(heights(&tracker), [None]);
    for above in 1..=DEPTH + 1 {
        tracker.apply(&connected(HEIGHT + above, Vec::new()));
    }
    assert_eq!(heights(&tracker), [None], "nobody knows yet whether the pool has it");
    tracker.apply(&synced(HEIGHT + DEPTH + 1));
    assert_eq!(heights(&tracker), [], "it has not");

    tracker.apply(&ChainEvent::MempoolSeen { tx: funding.clone() });
    assert_eq!(heights(&tracker), [None]);
    tracker.apply(&connected(HEIGHT + DEPTH + 2, vec![funding]));
    tracker.apply(&ChainEvent::Evicted { txid });
    assert_eq!(heights(&tracker), [Some(HEIGHT + DEPTH + 2)], "what is in a block needs no pool");
    assert_eq!(tracker.facts(trade.id()).tip, HEIGHT + DEPTH + 2);
}

/// A peer tells of the payout with signatures of his own making, which have no part in its id.
#[test]
fn a_spend_that_nobody_signed_is_no_news_and_a_block_shows_the_true_one() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
    let half = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
    let mut made_up = payout.clone();
    made_up.input[0].witness = Witness::from_slice(&[[1; 64]]);
    let mut tracker = following(HEIGHT);
    tracker.watch(&escrow, true);
    tracker.apply(&connected(HEIGHT + 1, vec![trade.funding(1)]));
    tracker.apply(&ChainEvent::MempoolSeen { tx: made_up });
    assert_eq!(tracker.facts(trade.id()).spends, []);
    tracker.apply(&connected(HEIGHT + 2, vec![payout.clone()]));
    let facts = tracker.facts(trade.id());
    assert_eq!((facts.spends.len(), &facts.spends[0].tx), (1, &payout));
    // A reorg puts it back into the pool, as it was in the block.
    tracker.apply(&ChainEvent::Disconnected { block: block(HEIGHT + 2) });
    tracker.apply(&ChainEvent::MempoolSeen { tx: payout });
    assert_eq!(tracker.facts(trade.id()).spends.len(), 1);
}

#[test]
fn what_others_make_up_of_the_pool_takes_no_place_of_what_a_block_holds() {
    let trade = SampleTrade::new(Side::Sell);
    let mut tracker = following(HEIGHT);
    tracker.watch(&trade.escrow(), true);
    for number in 1..=u8::try_from(MAX_TXS).unwrap() + 1 {
        tracker.apply(&ChainEvent::MempoolSeen { tx: trade.funding(number) });
    }
    assert_eq!(tracker.facts(trade.id()).fundings.len(), MAX_TXS);
    tracker.apply(&connected(HEIGHT + 1, vec![trade.funding(200)]));
    let fundings = tracker.facts(trade.id()).fundings;
    assert_eq!(fundings.len(), MAX_TXS);
    assert!(fundings.iter().any(|funding| funding.height == Some(HEIGHT + 1)));
}

#[test]
fn cases_are_looked_for_together_and_no_further_back_than_an_escrow_lasts() {
    let (one, other) = (SampleTrade::new(Side::Sell), SampleTrade::new(Side::Buy));
    let past = LIVES * u32::from(one.contract().refund_delay);
    let tip = HEIGHT + 2 * past;
    let mut tracker = following(tip);
    assert!(tracker.watch_case(&one.escrow()) && tracker.watch_case(&other.escrow()));
    assert!(!tracker.watch_case(&one.escrow()));
    let (mut scripts, from) = tracker.due().unwrap();
    let mut both = [one.escrow().scripts(), other.escrow().scripts()].concat();
    scripts.sort();
    both.sort();
    assert_eq!((&scripts, from), (&both, tip - past), "not from the height that a stranger states");
    assert!(!tracker.is_searched(&one.id()) && !tracker.facts(one.id()).synced);
    tracker.apply(&ChainEvent::Searched { scripts });
    assert!(tracker.is_searched(&one.id()) && tracker.is_searched(&other.id()));
    assert!(tracker.scripts(tip).iter().all(|(_, height)| *height == tip - past), "nor after a restart");
    tracker.forget(&other.id());
    assert_eq!(tracker.scripts(tip).len(), one.escrow().scripts().len());
}

#[test]
fn a_past_that_strangers_make_up_is_not_searched_again_and_again() {
    let (one, other) = (SampleTrade::new(Side::Sell), SampleTrade::new(Side::Buy));
    let past = LIVES * u32::from(one.contract().refund_delay);
    let (tip, rest) = (HEIGHT + 2 * past, past / SEARCHED_PER_BLOCK);
    let mut tracker = following(tip);
    tracker.watch_case(&one.escrow());
    assert!(tracker.due().is_some());
    tracker.watch_case(&other.escrow());
    assert_eq!(tracker.due(), None);
    tracker.apply(&connected(tip + rest - 1, Vec::new()));
    tracker.apply(&synced(tip + rest - 1));
    assert_eq!(tracker.due(), None);
    tracker.apply(&connected(tip + rest, Vec::new()));
    tracker.apply(&synced(tip + rest));
    assert_eq!(tracker.due().unwrap().0, other.escrow().scripts());
    assert_eq!(tracker.due(), None, "asked for once");
}
