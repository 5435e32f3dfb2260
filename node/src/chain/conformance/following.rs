//! What a follower hears, and in which order.

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::*;
use crate::chain::median_time_past;

/// A payment to a watched script is seen in the pool and confirmed by the next block.
pub async fn a_payment_is_seen_then_confirmed(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let tip = chain.tip().await.expect("the chain answers");
    let mut follower = chain.follow(vec![], vec![watched().script()]).await.expect("following works");
    assert!(matches!(next(&mut follower, "the first event").await, ChainEvent::Synced { tip: at } if at == tip));

    let tx = pay(&coins[0], &watched(), FEE);
    broadcast(chain, &tx).await;
    read_until(&mut follower, "the payment in the pool", seen(tx.compute_txid())).await;
    mine(chain, 1).await;
    let events = read_to_tip(chain, &mut follower).await;
    let [ChainEvent::Connected { block, parent, txs, .. }, ChainEvent::Synced { .. }] = events.as_slice() else {
        panic!("expected one block and its end, got {events:?}");
    };
    assert_eq!((block.height, *parent), (tip.height + 1, tip.hash));
    assert_eq!(txs.as_slice(), [tx]);
}

/// A spend of a watched script is reported although it pays elsewhere, even when the coin is older than the follower.
pub async fn a_spend_is_seen_then_confirmed(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 2).await;
    let funding: Vec<Transaction> = coins.iter().map(|coin| pay(coin, &watched(), FEE)).collect();
    for tx in &funding {
        broadcast(chain, tx).await;
    }
    mine(chain, 1).await;

    let mut follower = chain.follow(vec![], vec![watched().script()]).await.expect("following works");
    read_to_tip(chain, &mut follower).await;
    let seen_first = pay(&coin(&funding[0], 0, watched()), &elsewhere(), FEE);
    broadcast(chain, &seen_first).await;
    read_until(&mut follower, "the spend in the pool", seen(seen_first.compute_txid())).await;
    let never_seen = pay(&coin(&funding[1], 0, watched()), &elsewhere(), FEE);
    harness.mine_exactly(vec![seen_first.clone(), never_seen.clone()]).await;
    let events = read_to_tip(chain, &mut follower).await;
    for tx in [seen_first, never_seen] {
        assert_eq!(confirmed_in(&events, tx.compute_txid()), Some(height(chain).await));
    }
    assert!(!events.iter().any(|event| matches!(event, ChainEvent::Evicted { .. })));
}

/// An unconfirmed payment and its unconfirmed spend are both seen.
pub async fn unconfirmed_chains_are_followed(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let parent = pay(&coins[0], &watched(), FEE);
    let child = pay(&coin(&parent, 0, watched()), &elsewhere(), FEE);
    broadcast(chain, &parent).await;
    broadcast(chain, &child).await;
    let mut follower = chain.follow(vec![], vec![watched().script()]).await.expect("following works");
    let mut missing = vec![parent.compute_txid(), child.compute_txid()];
    while !missing.is_empty() {
        if let ChainEvent::MempoolSeen { tx } = next(&mut follower, "parent and child").await {
            missing.retain(|txid| *txid != tx.compute_txid());
        }
    }
}

/// A pool transaction that loses its coin to a block is evicted.
pub async fn a_payment_robbed_by_a_block_is_evicted(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let mut follower = chain.follow(vec![], vec![watched().script()]).await.expect("following works");
    let tx = pay(&coins[0], &watched(), FEE);
    broadcast(chain, &tx).await;
    read_until(&mut follower, "the payment in the pool", seen(tx.compute_txid())).await;
    harness.mine_exactly(vec![pay(&coins[0], &elsewhere(), FEE)]).await;
    let events = read_to_tip(chain, &mut follower).await;
    assert!(events.iter().any(|event| matches!(event, ChainEvent::Evicted { txid } if *txid == tx.compute_txid())));
    assert_eq!(confirmed_in(&events, tx.compute_txid()), None);
}

/// A reorganisation of six blocks: undone newest first, connected oldest first, and what was confirmed is unconfirmed.
pub async fn six_blocks_are_undone_in_order(harness: &mut impl Harness) {
    const DEPTH: u32 = 6;
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let mut follower = chain.follow(vec![], vec![watched().script()]).await.expect("following works");
    let fork = height(chain).await;
    let tx = pay(&coins[0], &watched(), FEE);
    broadcast(chain, &tx).await;
    read_until(&mut follower, "the payment in the pool", seen(tx.compute_txid())).await;
    mine(chain, DEPTH).await;
    let old_branch = connected(&read_to_tip(chain, &mut follower).await);
    assert_eq!(old_branch.len(), DEPTH as usize);

    harness.reorg(DEPTH, DEPTH + 1).await;
    let mut events = read_to_tip(chain, &mut follower).await;
    let newest_first: Vec<BlockRef> = old_branch.into_iter().rev().collect();
    assert_eq!(disconnected(&events), newest_first);
    assert_joined(chain, &events, fork + 1).await;
    let first_connected = events.iter().position(|event| matches!(event, ChainEvent::Connected { .. }));
    let last_undone = events.iter().rposition(|event| matches!(event, ChainEvent::Disconnected { .. }));
    assert!(last_undone < first_connected);
    assert_eq!(confirmed_in(&events, tx.compute_txid()), None);
    if !events.iter().any(seen(tx.compute_txid())) {
        events = read_until(&mut follower, "the payment back in the pool", seen(tx.compute_txid())).await;
    }
    assert!(events.iter().any(seen(tx.compute_txid())));

    mine(chain, 1).await;
    let events = read_to_tip(chain, &mut follower).await;
    assert_eq!(confirmed_in(&events, tx.compute_txid()), Some(height(chain).await));
}

/// A reorganisation as deep as coinbases are old before they may be spent, while the follower listens: what was buried under
/// a hundred blocks is unconfirmed again, and confirms again.
pub async fn a_hundred_blocks_are_undone(harness: &mut impl Harness) {
    const DEPTH: u32 = 100;
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let mut follower = chain.follow(vec![], vec![watched().script()]).await.expect("following works");
    let fork = height(chain).await;
    let tx = pay(&coins[0], &watched(), FEE);
    broadcast(chain, &tx).await;
    mine(chain, DEPTH).await;
    let events = read_to_tip(chain, &mut follower).await;
    assert_eq!(confirmed_in(&events, tx.compute_txid()), Some(fork + 1));
    let newest_first: Vec<BlockRef> = connected(&events).into_iter().rev().collect();
    assert_eq!(newest_first.len(), DEPTH as usize);

    harness.reorg(DEPTH, DEPTH + 1).await;
    let events = read_to_tip(chain, &mut follower).await;
    assert_eq!(disconnected(&events), newest_first);
    assert_joined(chain, &events, fork + 1).await;
    assert_eq!(confirmed_in(&events, tx.compute_txid()), None);
    // A node puts what it undoes back into its pool, but not from so deep: whoever wants it confirmed sends it again.
    broadcast(chain, &tx).await;
    if !events.iter().any(seen(tx.compute_txid())) {
        read_until(&mut follower, "the payment back in the pool", seen(tx.compute_txid())).await;
    }
    mine(chain, 1).await;
    let events = read_to_tip(chain, &mut follower).await;
    assert_eq!(confirmed_in(&events, tx.compute_txid()), Some(height(chain).await));
}

/// A subscriber that comes back with its old blocks, after a restart and a reorganisation, hears both halves.
pub async fn who_was_away_hears_what_was_undone(harness: &mut impl Harness) {
    let coins = mature_coins(harness.backend(), 2).await;
    let (undone, kept) = (pay(&coins[0], &watched(), FEE), pay(&coins[1], &watched(), FEE));
    let chain = harness.backend();
    let mut follower = chain.follow(vec![], vec![watched().script()]).await.expect("following works");
    read_to_tip(chain, &mut follower).await;
    let fork = chain.tip().await.expect("the chain answers");
    broadcast(chain, &undone).await;
    mine(chain, 3).await;
    let old_branch = connected(&read_to_tip(chain, &mut follower).await);
    drop(follower);

    harness.reorg(3, 4).await;
    harness.mine_exactly(vec![kept.clone()]).await;
    harness.restart().await;

    let chain = harness.backend();
    let newest_first: Vec<BlockRef> = old_branch.into_iter().rev().collect();
    let locator = newest_first.iter().copied().chain([fork]).collect();
    let mut follower = chain.follow(locator, vec![watched().script()]).await.expect("following works");
    let events = read_to_tip(chain, &mut follower).await;
    assert_eq!(disconnected(&events), newest_first);
    assert_joined(chain, &events, fork.height + 1).await;
    assert_eq!(confirmed_in(&events, undone.compute_txid()), None);
    assert_eq!(confirmed_in(&events, kept.compute_txid()), Some(height(chain).await));
}

/// One block is enough of a locator: what stood below it is undone as well, down to the fork and no further.
pub async fn one_block_is_a_locator(harness: &mut impl Harness) {
    let chain = harness.backend();
    mine(chain, 5).await;
    let mut undone = Vec::new();
    for height in [5, 4, 3] {
        let block = chain.block_at(height).await.expect("the chain answers").expect("the block was mined");
        undone.push(BlockRef { height, hash: block.block_hash() });
    }
    harness.reorg(3, 4).await;
    let mut follower = chain.follow(vec![undone[0]], vec![]).await.expect("following works");
    let events = read_to_tip(chain, &mut follower).await;
    assert_eq!(disconnected(&events), undone);
    assert_joined(chain, &events, 3).await;
}

/// Blocks that the backend never knew: the follower starts again far enough below to miss nothing.
pub async fn an_unknown_locator_starts_well_below(harness: &mut impl Harness) {
    let chain = harness.backend();
    mine(chain, 5).await;
    let unknown = BlockRef { height: 4, hash: BlockHash::from_byte_array([7; 32]) };
    let mut follower = chain.follow(vec![unknown], vec![]).await.expect("following works");
    let events = read_to_tip(chain, &mut follower).await;
    assert_eq!(disconnected(&events), [unknown]);
    assert_joined(chain, &events, 1).await;
}

/// The genesis block as locator gives the whole chain.
pub async fn the_whole_chain_is_told_from_genesis(harness: &mut impl Harness) {
    let chain = harness.backend();
    mine(chain, 30).await;
    let genesis = chain.block_at(0).await.expect("the chain answers").expect("every chain has a genesis block");
    let locator = vec![BlockRef { height: 0, hash: genesis.block_hash() }];
    let mut follower = chain.follow(locator, vec![elsewhere().script()]).await.expect("following works");
    let events = read_to_tip(chain, &mut follower).await;
    assert_joined(chain, &events, 1).await;
    assert!(events.iter().all(|event| match event {
        ChainEvent::Connected { txs, .. } => txs.len() == 1,
        ChainEvent::Synced { .. } => true,
        ChainEvent::Disconnected { .. }
        | ChainEvent::Found { .. }
        | ChainEvent::MempoolSeen { .. }
        | ChainEvent::Evicted { .. }
        | ChainEvent::Searched { .. }
        | ChainEvent::Unreadable { .. }
        | ChainEvent::Withheld { .. }
        | ChainEvent::Shown { .. } => false,
    }));
    assert_eq!(chain.block_at(31).await.expect("the chain answers"), None);
}

/// Headers come oldest first, each on the one before, up to the tip and no further; a reorg replaces them.
pub async fn headers_join_end_to_end(harness: &mut impl Harness) {
    mine(harness.backend(), 12).await;
    let chain = harness.backend();
    let all = chain.headers(0, 100).await.expect("the chain answers");
    assert_eq!(all.len(), 13, "genesis and twelve blocks");
    assert!(all.windows(2).all(|pair| pair[1].prev_blockhash == pair[0].block_hash()));
    assert_eq!(all[12].block_hash(), chain.tip().await.expect("the chain answers").hash);
    for (height, header) in (0..).zip(&all) {
        assert_eq!(chain.block_at(height).await.expect("the chain answers").map(|block| block.header), Some(*header));
    }
    assert_eq!(chain.headers(5, 3).await.expect("the chain answers"), all[5..8]);
    assert_eq!(chain.headers(12, 3).await.expect("the chain answers"), all[12..]);
    assert_eq!(chain.headers(13, 3).await.expect("the chain answers"), []);
    assert_eq!(chain.headers(0, 0).await.expect("the chain answers"), []);
    let mut last_times: Vec<u32> = all[2..].iter().map(|header| header.time).collect();
    last_times.sort_unstable();
    assert_eq!(median_time_past(chain, 12).await.expect("the chain answers"), u64::from(last_times[5]));
    assert_eq!(median_time_past(chain, 0).await.expect("the chain answers"), u64::from(all[0].time));
    harness.reorg(2, 3).await;
    let after = harness.backend().headers(10, 100).await.expect("the chain answers");
    assert_eq!((after.len(), after[0]), (4, all[10]));
    assert_ne!(after[1], all[11]);
}

/// A script watched late is found in the blocks and in the pool, and `Synced` says when that is done.
pub async fn a_late_watch_finds_the_past(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 2).await;
    let mut follower = chain.follow(vec![], vec![]).await.expect("following works");
    read_to_tip(chain, &mut follower).await;
    let (past, present) = (pay(&coins[0], &watched(), FEE), pay(&coins[1], &watched(), FEE));
    let from_height = height(chain).await;
    harness.mine_exactly(vec![past.clone()]).await;
    broadcast(chain, &present).await;
    assert_eq!(confirmed_in(&read_to_tip(chain, &mut follower).await, past.compute_txid()), None);

    let request = WatchRequest { scripts: vec![watched().script()], from_height };
    follower.watch.send(request).await.expect("the follower lives");
    let events = read_until(&mut follower, "the end of the search", |e| matches!(e, ChainEvent::Synced { .. })).await;
    let confirmed_at = height(chain).await;
    assert!(events.iter().any(|event| {
        matches!(event, ChainEvent::Found { block, tx } if *tx == past && block.height == confirmed_at)
    }));
    let told = events.iter().position(|event| matches!(event, ChainEvent::Found { tx, .. } if *tx == past));
    let answered = events
        .iter()
        .position(|event| matches!(event, ChainEvent::Searched { scripts } if *scripts == [watched().script()]));
    assert!(told < answered, "the search has ended when everything was told: {events:?}");
    if !events.iter().any(seen(present.compute_txid())) {
        read_until(&mut follower, "the payment in the pool", seen(present.compute_txid())).await;
    }
}

/// A follower that does not read holds up neither the chain nor another follower, and loses nothing.
pub async fn a_slow_follower_delays_only_itself(harness: &mut impl Harness) {
    let chain = harness.backend();
    let blocks = u32::try_from(2 * FOLLOWER_QUEUE).expect("a small number");
    let mut slow = chain.follow(vec![], vec![]).await.expect("following works");
    assert!(matches!(next(&mut slow, "the first event").await, ChainEvent::Synced { .. }));
    let mut quick = chain.follow(vec![], vec![]).await.expect("following works");
    let before = height(chain).await;
    mine(chain, blocks).await;
    assert_joined(chain, &read_to_tip(chain, &mut quick).await, before + 1).await;
    assert_joined(chain, &read_to_tip(chain, &mut slow).await, before + 1).await;
}
