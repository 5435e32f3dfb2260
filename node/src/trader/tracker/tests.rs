//! What a trade is told of the chain, event by event.

use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, OutPoint, TxOut, Witness};
use exchange_ledger::body::Side;
use exchange_ledger::testing::{HEIGHT, SampleTrade, sats, spend_of_nowhere};
use exchange_ledger::trade::{Role, Seat};

use super::*;
use crate::chain::BlockRef;

/// Accepted by somebody else, long after the bid was made.
const BY_MAKER: Stated = Stated::ByMaker { lowest: 0 };

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
    assert_eq!(tracker.watch(&trade.escrow(), BY_MAKER), Some(trade.contract().funded_from()));
    assert_eq!(tracker.watch(&trade.escrow(), BY_MAKER), None, "it is watched");
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

/// Of one trade nobody tells: what was seen of it stays and counts as old, and another goes on.
#[test]
fn no_deadline_acts_on_an_escrow_whose_script_is_withheld() {
    let (trade, other) = (SampleTrade::new(Side::Sell), SampleTrade::new(Side::Buy));
    let mut tracker = following(HEIGHT + 50);
    for trade in [&trade, &other] {
        tracker.watch(&trade.escrow(), BY_MAKER);
        tracker.apply(&ChainEvent::Searched { scripts: trade.escrow().scripts() });
    }
    tracker.apply(&ChainEvent::Found { block: block(HEIGHT + 3), tx: trade.funding(1) });
    let script = trade.escrow().script();
    let withheld = ChainEvent::Withheld { script: script.clone(), reason: "history too large".to_owned() };
    assert!(tracker.apply(&withheld));
    let facts = tracker.facts(trade.id());
    assert_eq!((facts.synced, facts.fundings.len(), tracker.is_searched(&trade.id())), (false, 1, false));
    assert_eq!(tracker.withheld(&trade.id()), Some("history too large"));
    assert!(tracker.facts(other.id()).synced && tracker.withheld(&other.id()).is_none());
    // Neither a block nor a search that was answered meanwhile says anything of it.
    tracker.apply(&connected(HEIGHT + 51, Vec::new()));
    tracker.apply(&ChainEvent::Searched { scripts: trade.escrow().scripts() });
    tracker.apply(&synced(HEIGHT + 51));
    assert!(!tracker.facts(trade.id()).synced);
    assert!(tracker.apply(&ChainEvent::Shown { script: script.clone() }), "the trade must hear of it");
    assert!(tracker.facts(trade.id()).synced && tracker.withheld(&trade.id()).is_none());
    // Whoever is followed anew says it anew.
    tracker.apply(&withheld);
    tracker.restart();
    tracker.apply(&synced(HEIGHT + 51));
    assert!(tracker.facts(trade.id()).synced);
}

#[test]
fn a_chain_followed_from_below_is_searched_when_its_tip_is_reached() {
    let trade = SampleTrade::new(Side::Sell);
    let mut tracker = following(HEIGHT + 50);
    tracker.watch(&trade.escrow(), BY_MAKER);
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
    for (tip, stated, has_past) in [
        (1_000, Stated::Here, false),
        (999, Stated::Here, false),
        (1_001, Stated::Here, true),
        (1_000, BY_MAKER, true),
        (900, BY_MAKER, true),
    ] {
        let mut tracker = following(tip);
        let from = if has_past { 1_000 - 144 } else { 1_000 };
        assert_eq!(tracker.watch(&trade.escrow(), stated), Some(from), "{tip}");
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
    assert_eq!(tracker.watch(&trade.escrow(), Stated::Here), Some(1_000 - 144));
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
    assert_eq!(tracker.plan(1_050).older[0].from_height, 1_000 - 144, "nor is it missed after a start");
}

/// A backend may know that blocks are there, and not show what they hold.
#[test]
fn the_chain_is_as_old_as_the_block_that_was_read_last() {
    let mut tracker = Tracker::default();
    assert_eq!(tracker.time(), 0);
    tracker.begin(1_000);
    tracker.apply(&synced(HEIGHT));
    assert_eq!(tracker.time(), 1_000, "it is followed from its tip on");
    let (at, parent) = (block(HEIGHT + 1), block(HEIGHT).hash);
    let dated = |time| ChainEvent::Connected { block: at, parent, time, txs: Vec::new() };
    tracker.apply(&dated(1_600));
    tracker.apply(&ChainEvent::Disconnected { block: at });
    assert_eq!(tracker.time(), 1_600);
    // By its own time a block may be older than the one before it.
    tracker.apply(&dated(900));
    tracker.apply(&synced(HEIGHT + 1));
    assert_eq!(tracker.time(), 900);
}

#[test]
fn a_funding_that_a_reorg_undid_and_another_took_the_coins_of_is_gone() {
    let trade = SampleTrade::new(Side::Sell);
    let mut tracker = following(HEIGHT);
    tracker.watch(&trade.escrow(), Stated::Here);
    tracker.apply(&connected(HEIGHT + 1, vec![trade.funding(1)]));
    tracker.apply(&synced(HEIGHT + 1));
    assert_eq!(tracker.facts(trade.id()).fundings[0].height, Some(HEIGHT + 1));

    tracker.apply(&ChainEvent::Disconnected { block: block(HEIGHT + 1) });
    assert_eq!(tracker.facts(trade.id()).fundings[0].height, None, "unconfirmed again");
    tracker.apply(&connected(HEIGHT + 1, Vec::new()));
    assert!(tracker.apply(&synced(HEIGHT + 1)), "the trade must hear of it");
    assert_eq!(tracker.facts(trade.id()).fundings, [], "neither in a block nor in the pool");
}

/// A buyer whose funding came late would call it off, a moment before the block that holds it now.
/// A wallet elsewhere paid more for what it had paid, by another version.
#[test]
fn a_funding_is_dead_once_another_that_spends_a_coin_of_it_is_six_deep_and_not_before() {
    let trade = SampleTrade::new(Side::Sell);
    let (first, beside) = (trade.funding(1), trade.funding(2));
    let mut version = first.clone();
    version.output.push(TxOut { value: Amount::from_sat(5_000), script_pubkey: ScriptBuf::new() });
    let mut tracker = following(HEIGHT);
    tracker.watch(&trade.escrow(), Stated::Here);
    tracker.apply(&ChainEvent::MempoolSeen { tx: version.clone() });
    assert!(!tracker.is_dead(&trade.id(), &first), "it waits");
    for (tip, is_dead) in [(HEIGHT + 1, false), (HEIGHT + 5, false), (HEIGHT + 6, true)] {
        let txs = if tip == HEIGHT + 1 { vec![version.clone(), beside.clone()] } else { Vec::new() };
        tracker.apply(&connected(tip, txs));
        tracker.apply(&synced(tip));
        assert_eq!(tracker.is_dead(&trade.id(), &first), is_dead, "{tip}");
    }
    for tx in [&version, &beside, &trade.funding(3)] {
        assert!(!tracker.is_dead(&trade.id(), tx), "nothing took a coin of it");
    }
    assert!(!tracker.is_dead(&SampleTrade::new(Side::Buy).id(), &first), "it is watched by nobody");
    tracker.apply(&ChainEvent::Disconnected { block: block(HEIGHT + 6) });
    assert!(!tracker.is_dead(&trade.id(), &first), "in a reorg nothing is");
}

#[test]
fn nothing_is_known_from_the_first_block_that_is_undone_to_the_new_tip() {
    let (trade, other) = (SampleTrade::new(Side::Sell), SampleTrade::new(Side::Buy));
    let mut tracker = following(HEIGHT);
    tracker.watch(&trade.escrow(), Stated::Here);
    tracker.apply(&connected(HEIGHT + 1, vec![trade.funding(1)]));
    tracker.apply(&synced(HEIGHT + 1));
    let known = |tracker: &Tracker| (tracker.facts(trade.id()).synced, tracker.tip(), tracker.is_searched(&trade.id()));
    assert_eq!(known(&tracker), (true, Some(HEIGHT + 1), true));
    assert!(tracker.apply(&ChainEvent::Disconnected { block: block(HEIGHT + 1) }));
    assert_eq!(known(&tracker), (false, None, false));
    // What is agreed on meanwhile may lie in any of the blocks to come.
    let past = other.contract().funded_from();
    assert_eq!(tracker.watch(&other.escrow(), Stated::Here), Some(past));
    for height in [HEIGHT + 1, HEIGHT + 2] {
        let txs = if height == HEIGHT + 2 { vec![trade.funding(1)] } else { Vec::new() };
        tracker.apply(&connected(height, txs));
        assert_eq!(known(&tracker), (false, None, false), "{height}");
    }
    assert!(tracker.apply(&synced(HEIGHT + 2)), "the trade must hear of it");
    assert_eq!(known(&tracker), (true, Some(HEIGHT + 2), true));
    assert_eq!(tracker.facts(trade.id()).fundings[0].height, Some(HEIGHT + 2));
    assert!(!tracker.facts(other.id()).synced, "its own search has not ended");
    tracker.apply(&ChainEvent::Searched { scripts: other.escrow().scripts() });
    assert!(tracker.facts(other.id()).synced);
}

#[test]
fn a_funding_that_a_reorg_put_back_into_the_pool_waits_there() {
    let trade = SampleTrade::new(Side::Sell);
    let mut tracker = following(HEIGHT);
    tracker.watch(&trade.escrow(), Stated::Here);
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
    tracker.watch(&trade.escrow(), Stated::Here);
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
    tracker.watch(&escrow, Stated::Here);
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
    tracker.watch(&trade.escrow(), Stated::Here);
    // As many outputs in one transaction would cost its maker no more.
    let mut wide = trade.funding(1);
    wide.output = vec![trade.escrow().output(); MAX_FUNDINGS + 1];
    tracker.apply(&ChainEvent::MempoolSeen { tx: wide });
    assert_eq!(tracker.facts(trade.id()).fundings, []);
    for number in 1..=u8::try_from(MAX_UNCONFIRMED).unwrap() + 1 {
        tracker.apply(&ChainEvent::MempoolSeen { tx: trade.funding(number) });
    }
    assert_eq!(tracker.facts(trade.id()).fundings.len(), MAX_UNCONFIRMED);
    tracker.apply(&connected(HEIGHT + 1, vec![trade.funding(200)]));
    let fundings = tracker.facts(trade.id()).fundings;
    assert_eq!(fundings.len(), MAX_UNCONFIRMED + 1);
    assert!(fundings.iter().any(|funding| funding.height == Some(HEIGHT + 1)));
}

/// Returns a transaction that spends an output of another, told apart by which.
fn spend_of(tx: &Transaction, vout: u32) -> Transaction {
    let mut spend = spend_of_nowhere(1, Vec::new());
    spend.input[0].previous_output = OutPoint { txid: tx.compute_txid(), vout };
    spend
}

/// Returns the first extension of an escrow, and the second.
fn extensions(trade: &mut SampleTrade, funding: &Transaction) -> [Transaction; 2] {
    let escrow = trade.escrow();
    let (pair, buyer) = (trade.arbiter_pair(escrow.contract(), Seat::First), trade.author(Role::Buyer).trade_key());
    let extend = |vaults: &Vaults| {
        let extend = escrow.extend(Seat::First, vaults, sats(4_000), &pair).unwrap();
        escrow.complete_extend(Seat::First, &extend, Role::Buyer, &buyer).unwrap().tx
    };
    let vaults = escrow.fundings(funding)[0];
    let first = extend(&vaults);
    let second = extend(&escrow.extended(&first, &vaults).unwrap());
    [first, second]
}

/// Its seller pays dust to the escrow's script, in the funding itself, and spends each output on its own.
#[test]
fn dust_and_what_spends_it_hides_no_extension() {
    const DUST: u32 = 70;
    let mut trade = SampleTrade::new(Side::Sell);
    let escrow = trade.escrow();
    let mut funding = trade.funding(1);
    let dust = TxOut { value: Amount::from_sat(1_000), script_pubkey: escrow.script() };
    funding.output.extend(vec![dust; usize::try_from(DUST).unwrap()]);
    let [first, second] = extensions(&mut trade, &funding);
    let mut tracker = following(HEIGHT);
    tracker.watch(&escrow, Stated::Here);
    tracker.apply(&connected(HEIGHT + 1, vec![funding.clone()]));
    tracker.apply(&connected(HEIGHT + 150, vec![first.clone()]));
    tracker.apply(&connected(HEIGHT + 4_400, (1..=DUST).map(|vout| spend_of(&funding, vout)).collect()));
    tracker.apply(&connected(HEIGHT + 4_401, vec![second.clone()]));
    let facts = tracker.facts(trade.id());
    let is_seen = |tx: &Transaction| facts.spends.iter().any(|spend| spend.tx == *tx);
    assert_eq!((facts.fundings.len(), facts.spends.len()), (3, 2));
    assert!(is_seen(&first) && is_seen(&second));
    assert_eq!(facts.strays, [], "nor is it worth to be taken back, as what an extension makes is not");
    assert_eq!(tracker.escrows[&trade.id()].txs.len(), 3, "nothing else is kept");
}

/// Returns a transaction that pays these amounts to the script of an escrow, told apart by its number.
fn paying(trade: &SampleTrade, number: u8, amounts: impl IntoIterator<Item = u64>) -> Transaction {
    let script_pubkey = trade.escrow().script();
    let pays = |sats| TxOut { value: Amount::from_sat(sats), script_pubkey: script_pubkey.clone() };
    spend_of_nowhere(number, amounts.into_iter().map(pays).collect())
}

/// Returns what lies on the scripts of a trade's escrow and is of no funding: how much, and since when.
fn lying(tracker: &Tracker, trade: &SampleTrade) -> Vec<(u64, u32)> {
    let strays = tracker.facts(trade.id()).strays;
    strays.iter().map(|stray| (stray.coin.value.get(), stray.height)).collect()
}

#[test]
fn what_was_paid_in_another_amount_lies_there_from_its_block_to_that_of_what_spends_it() {
    const FIRST: u32 = HEIGHT + 1;
    let trade = SampleTrade::new(Side::Sell);
    let mut tracker = following(HEIGHT);
    tracker.watch(&trade.escrow(), Stated::Here);
    let tx = paying(&trade, 9, [MIN_STRAY - 1, MIN_STRAY, 1_000_000, 999_999, 1_000_001]);
    tracker.apply(&ChainEvent::MempoolSeen { tx: tx.clone() });
    assert_eq!(lying(&tracker, &trade), [], "it may vanish");
    tracker.apply(&connected(FIRST, vec![tx.clone()]));
    let all = [1_000_001, 999_999, MIN_STRAY].map(|sats| (sats, FIRST));
    assert_eq!(lying(&tracker, &trade), all);
    let facts = tracker.facts(trade.id());
    assert_eq!((facts.fundings.len(), facts.strays[0].vault), (1, Vault::Escrow));
    assert_eq!(facts.strays[0].coin.outpoint.0, OutPoint { txid: tx.compute_txid(), vout: 4 });

    let spend = spend_of(&tx, 3);
    tracker.apply(&ChainEvent::MempoolSeen { tx: spend.clone() });
    assert_eq!(lying(&tracker, &trade), all);
    tracker.apply(&connected(FIRST + 1, vec![spend]));
    assert_eq!(lying(&tracker, &trade), [all[0], all[2]]);
    tracker.apply(&connected(FIRST + 2, Vec::new()));
    tracker.apply(&ChainEvent::Disconnected { block: block(FIRST + 2) });
    assert_eq!(lying(&tracker, &trade), [all[0], all[2]]);
    tracker.apply(&ChainEvent::Disconnected { block: block(FIRST + 1) });
    assert_eq!(lying(&tracker, &trade), all);
    // Told of once more it is the same, and in another block it lies there.
    tracker.apply(&ChainEvent::Found { block: block(FIRST), tx: tx.clone() });
    assert_eq!(lying(&tracker, &trade), all);
    tracker.apply(&ChainEvent::Disconnected { block: block(FIRST) });
    assert_eq!(lying(&tracker, &trade), []);
    tracker.apply(&connected(FIRST, Vec::new()));
    tracker.apply(&connected(FIRST + 1, vec![tx]));
    assert_eq!(lying(&tracker, &trade), all.map(|(sats, _)| (sats, FIRST + 1)));
    tracker.restart();
    assert_eq!(lying(&tracker, &trade), [], "it is found again from below");
}

#[test]
fn of_two_outputs_one_without_the_other_lies_there() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    let (held, bond) = (trade.escrow().output(), trade.escrow().bond_output().unwrap());
    for (output, vault) in [(held, Vault::Escrow), (bond, Vault::Bond)] {
        let mut tracker = following(HEIGHT);
        tracker.watch(&trade.escrow(), Stated::Here);
        tracker.apply(&connected(HEIGHT + 1, vec![spend_of_nowhere(9, vec![output.clone()]), trade.funding(1)]));
        let facts = tracker.facts(trade.id());
        let strays: Vec<_> = facts.strays.iter().map(|stray| (stray.vault, Amount::from(stray.coin.value))).collect();
        assert_eq!((facts.fundings.len(), strays), (1, vec![(vault, output.value)]));
    }
}

#[test]
fn the_largest_of_what_lies_there_is_kept_and_nothing_of_what_is_not_ones_own() {
    let (kept, least) = (u64::try_from(MAX_STRAYS).unwrap(), MIN_STRAY);
    let trade = SampleTrade::new(Side::Sell).agreed_at(1_000);
    let many = paying(&trade, 9, (1..=2 * kept).map(|more| least + more));
    let expected: Vec<u64> = (kept + 1..=2 * kept).rev().map(|more| least + more).collect();
    for (height, is_case, is_seen) in [(856, false, true), (855, false, true), (856, true, false)] {
        let mut tracker = following(800);
        if is_case {
            tracker.watch_case(&trade.escrow());
        } else {
            tracker.watch(&trade.escrow(), BY_MAKER);
        }
        tracker.apply(&connected(height, vec![many.clone()]));
        let found: Vec<u64> = lying(&tracker, &trade).into_iter().map(|(sats, _)| sats).collect();
        assert_eq!(found, if is_seen { expected.clone() } else { Vec::new() }, "{height} {is_case}");
    }
    // What is spent, however much it was, keeps no place from what lies there.
    let mut tracker = following(800);
    tracker.watch(&trade.escrow(), BY_MAKER);
    tracker.apply(&connected(856, vec![many.clone()]));
    let spends = (0..2 * MAX_STRAYS).map(|vout| spend_of(&many, u32::try_from(vout).unwrap())).collect();
    tracker.apply(&connected(857, spends));
    tracker.apply(&connected(858, vec![paying(&trade, 8, [least])]));
    assert_eq!(lying(&tracker, &trade), [(least, 858)]);
}

/// Whoever funds it again and again gives its amount each time, until its delay is over, and hides nothing by it.
#[test]
fn what_spends_a_funding_is_seen_however_often_the_escrow_is_funded() {
    let mut trade = SampleTrade::new(Side::Sell);
    let numbers: Vec<u8> = (1..=u8::try_from(MAX_FUNDINGS).unwrap() + 1).collect();
    let fundings: Vec<Transaction> = numbers.iter().map(|number| trade.funding(*number)).collect();
    let [first, second] = extensions(&mut trade, &fundings[0]);
    let mut tracker = following(HEIGHT);
    tracker.watch(&trade.escrow(), Stated::Here);
    // The pool shows them all before.
    for tx in &fundings {
        tracker.apply(&ChainEvent::MempoolSeen { tx: tx.clone() });
    }
    tracker.apply(&connected(HEIGHT + 1, fundings.clone()));
    assert_eq!(tracker.facts(trade.id()).fundings.len(), MAX_FUNDINGS, "the first");
    tracker.apply(&connected(HEIGHT + 150, vec![first]));
    tracker.apply(&connected(HEIGHT + 4_400, fundings[1..].iter().map(|tx| spend_of(tx, 0)).collect()));
    tracker.apply(&connected(HEIGHT + 4_401, vec![second]));
    let facts = tracker.facts(trade.id());
    assert_eq!((facts.fundings.len(), facts.spends.len()), (MAX_FUNDINGS + 2, MAX_FUNDINGS - 1 + 2));
}

/// Only who follows from lower, for another trade, sees it: it must not take the place of what all see.
#[test]
fn what_lies_too_low_takes_no_place() {
    let trade = SampleTrade::new(Side::Sell).agreed_at(1_000);
    let mut tracker = following(800);
    tracker.watch(&trade.escrow(), BY_MAKER);
    let low = (2..=u8::try_from(MAX_FUNDINGS).unwrap() + 1).map(|number| trade.funding(number)).collect();
    tracker.apply(&connected(855, low));
    tracker.apply(&connected(856, vec![trade.funding(1)]));
    let fundings = tracker.facts(trade.id()).fundings;
    assert_eq!((fundings.len(), fundings[0].height), (1, Some(856)));
    assert_eq!(tracker.escrows[&trade.id()].txs.len(), 1);
}

/// Its maker stated a height to come, and its seller did not wait.
#[test]
fn what_this_side_paid_in_too_low_lies_there_and_is_found_again() {
    let (tip, lowest) = (2_000, 1_900);
    let trade = SampleTrade::new(Side::Sell).agreed_at(tip + 1_000);
    let mut tracker = following(tip);
    assert_eq!(tracker.watch(&trade.escrow(), Stated::ToCome { lowest }), Some(lowest));
    tracker.apply(&ChainEvent::Searched { scripts: trade.escrow().scripts() });
    let (paid, amount) = (trade.funding(1), trade.contract().escrow_value().get());
    tracker.apply(&connected(tip + 1, vec![paid.clone()]));
    tracker.apply(&synced(tip + 1));
    assert_eq!((lying(&tracker, &trade), tracker.facts(trade.id()).fundings), (vec![(amount, tip + 1)], vec![]));
    for later in [tip + 2, tip + 2_000] {
        tracker.restart();
        let Plan { first, older, .. } = tracker.plan(later);
        assert_eq!(first.or_else(|| older.first().map(|request| request.from_height)), Some(lowest), "{later}");
        tracker.apply(&ChainEvent::Found { block: block(tip + 1), tx: paid.clone() });
        tracker.apply(&connected(later, Vec::new()));
        tracker.apply(&synced(later));
        assert_eq!(lying(&tracker, &trade), [(amount, tip + 1)], "{later}");
    }
    let spend = spend_of(&paid, 0);
    tracker.apply(&connected(tip + 2_001, vec![spend]));
    assert_eq!(lying(&tracker, &trade), []);
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
    tracker.restart();
    let older = tracker.plan(tip).older;
    assert_eq!((older.len(), older[0].from_height), (1, tip - past), "nor after a restart");
    tracker.forget(&other.id());
    assert_eq!(tracker.plan(tip).older[0].scripts, one.escrow().scripts());
}

/// Nobody knew the escrow before the bid, which has one of its keys.
#[test]
fn a_height_of_long_ago_makes_nobody_look_below_his_own_bid() {
    let (tip, lowest) = (100_000, 99_720);
    let trade = SampleTrade::new(Side::Sell).agreed_at(0);
    let mut tracker = following(tip);
    assert_eq!(tracker.watch(&trade.escrow(), Stated::ByMaker { lowest }), Some(lowest));
    tracker.restart();
    let plan = tracker.plan(tip);
    assert_eq!((plan.first, plan.scripts, plan.older.len()), (Some(lowest), trade.escrow().scripts(), 0));
    // Years later that is where it is looked for still.
    tracker.restart();
    let Plan { first, scripts, older } = tracker.plan(tip + 200_000);
    assert_eq!((first, scripts.len(), older.len()), (None, 0, 1));
    assert_eq!((older[0].from_height, &older[0].scripts), (lowest, &trade.escrow().scripts()));
    // What is stated is higher, if the bid was not accepted at once.
    let late = SampleTrade::new(Side::Buy).agreed_at(99_900);
    assert_eq!(tracker.watch(&late.escrow(), Stated::ByMaker { lowest }), Some(99_900 - 144));
}

#[test]
fn a_trade_of_long_ago_keeps_nobody_from_knowing_those_of_today() {
    let tip = 100_000;
    let depths = [FOLLOWED - 1, FOLLOWED, 2 * FOLLOWED - 1, 2 * FOLLOWED];
    let kinds: [fn() -> SampleTrade; 4] = [
        || SampleTrade::new(Side::Sell),
        || SampleTrade::new(Side::Buy),
        || SampleTrade::with_bonds(Side::Sell),
        || SampleTrade::with_bonds(Side::Buy),
    ];
    let trades: Vec<SampleTrade> =
        kinds.into_iter().zip(depths).map(|(new, depth)| new().agreed_at(tip - depth + 144)).collect();
    let mut tracker = Tracker::default();
    for trade in &trades {
        tracker.watch(&trade.escrow(), Stated::Here);
    }
    tracker.restart();
    let Plan { first, scripts, older } = tracker.plan(tip);
    assert_eq!((first, scripts), (Some(tip - depths[0]), trades[0].escrow().scripts()));
    assert_eq!(older.iter().map(|request| request.from_height).collect::<Vec<_>>(), [tip - depths[2], tip - depths[3]]);
    tracker.apply(&connected(tip, Vec::new()));
    tracker.apply(&synced(tip));
    let known = |tracker: &Tracker| trades.iter().map(|trade| tracker.facts(trade.id()).synced).collect::<Vec<_>>();
    assert_eq!(known(&tracker), [true, false, false, false]);
    let [near, far] = [0, 1].map(|at: usize| older[at].scripts.clone());
    // Where blocks cannot be read nothing is known, and nothing else has changed.
    let error = crate::chain::ChainError::TooManyScripts { asked: 0 };
    assert!(!tracker.apply(&ChainEvent::Unreadable { scripts: far.clone(), error }));
    assert_eq!(tracker.among(&far), [trades[3].id()]);
    tracker.apply(&ChainEvent::Searched { scripts: near });
    tracker.apply(&synced(tip));
    assert_eq!(known(&tracker), [true, true, true, false]);
    tracker.apply(&ChainEvent::Searched { scripts: far });
    assert_eq!(known(&tracker), [true; 4]);
}

/// A node that prunes has not all blocks that a stranger may name.
#[test]
fn no_case_keeps_an_own_trade_from_being_known() {
    let tip = 100_000;
    let agreed_at = |trade: SampleTrade, depth: u32| trade.agreed_at(tip - depth + 144);
    let near = agreed_at(SampleTrade::new(Side::Sell), 10);
    let far = agreed_at(SampleTrade::with_bonds(Side::Sell), 900);
    let near_case = agreed_at(SampleTrade::new(Side::Buy), FOLLOWED - 1);
    let far_case = agreed_at(SampleTrade::with_bonds(Side::Buy), 950);
    let mut tracker = Tracker::default();
    for trade in [&near, &far] {
        tracker.watch(&trade.escrow(), Stated::Here);
    }
    for trade in [&near_case, &far_case] {
        tracker.watch_case(&trade.escrow());
    }
    let Plan { first, scripts, older } = tracker.plan(tip);
    assert_eq!((first, scripts), (Some(tip - 10), near.escrow().scripts()));
    let asked: Vec<_> = older.iter().map(|request| (request.from_height, request.scripts.clone())).collect();
    let own = (tip - 900, far.escrow().scripts());
    let cases = [(FOLLOWED - 1, &near_case), (950, &far_case)];
    let cases = cases.map(|(depth, trade)| (tip - depth, trade.escrow().scripts()));
    assert_eq!(asked, [vec![own], cases.to_vec()].concat());
    tracker.apply(&connected(tip, Vec::new()));
    tracker.apply(&synced(tip));
    let known = [&near, &near_case].map(|trade| tracker.facts(trade.id()).synced);
    assert_eq!(known, [true, false], "a case is known when its own search has ended");
    tracker.apply(&ChainEvent::Searched { scripts: near_case.escrow().scripts() });
    assert!(tracker.facts(near_case.id()).synced);
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
