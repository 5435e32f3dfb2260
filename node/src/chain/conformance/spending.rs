//! What may be broadcast, and what the chain says of an output.

use super::*;

/// A rival for the same coin is refused unless it pays more; then the first is evicted.
pub async fn a_double_spend_is_refused_or_replaces(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let scripts = vec![watched().script()];
    let mut follower = chain.follow(vec![], scripts).await.expect("following works");
    let first = pay(&coins[0], &watched(), FEE);
    broadcast(chain, &first).await;
    read_until(&mut follower, "the first in the pool", seen(first.compute_txid())).await;

    // Neither the same fee nor one that does not pay for its own relay.
    for fee in [FEE, FEE + Amount::from_sat(1)] {
        refused(chain, &pay(&coins[0], &elsewhere(), fee)).await;
    }
    let better = pay(&coins[0], &watched(), FEE * 5);
    broadcast(chain, &better).await;
    let events = read_until(&mut follower, "the better in the pool", seen(better.compute_txid())).await;
    assert!(events.iter().any(|e| matches!(e, ChainEvent::Evicted { txid } if *txid == first.compute_txid())));
    mine(chain, 1).await;
    let events = read_to_tip(chain, &mut follower).await;
    assert_eq!(confirmed_in(&events, better.compute_txid()), Some(height(chain).await));
    let reason = refused(chain, &first).await;
    assert!(reason.contains("missingorspent"), "{reason}");
}

/// The feerate never falls below the relay minimum, and what pays nothing is refused.
pub async fn fees_have_a_floor(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    for blocks in [1, 6, 144] {
        assert!(chain.fee_rate(blocks).await.expect("the chain answers") >= FeeRate::BROADCAST_MIN);
    }
    let reason = refused(chain, &pay(&coins[0], &watched(), Amount::ZERO)).await;
    assert!(reason.contains("min relay fee"), "{reason}");
}

/// A version 3 parent without a fee does not enter alone, however often, but with a child that pays for both, and not with one
/// that does not.
pub async fn a_child_pays_for_its_parent(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let parent = free(&coins[0]);
    for _ in 0..2 {
        let alone = chain.broadcast(&parent).await;
        assert!(alone.is_err(), "{alone:?}");
    }
    let poor = chain.broadcast_package(&[parent.clone(), child_of(&parent, Amount::ZERO)]).await;
    assert!(matches!(poor, Err(ChainError::Refused { .. })), "{poor:?}");
    let package = [parent.clone(), child_of(&parent, FEE)];
    chain.broadcast_package(&package).await.expect("the child pays");
    chain.broadcast_package(&package).await.expect("again is fine");
    chain.broadcast(&parent).await.expect("it is in the pool");
    // A dearer child takes the place of the first, beside a parent that the pool has already.
    let package = [parent.clone(), child_of(&parent, FEE * 5)];
    chain.broadcast_package(&package).await.expect("the child pays more");
    mine(chain, 1).await;
    let outpoint = OutPoint { txid: package[1].compute_txid(), vout: 0 };
    let status = chain.outpoint(outpoint, elsewhere().script(), 1).await.expect("the chain answers");
    assert!(matches!(status, OutpointStatus::Unspent { height: Some(_), .. }), "{status:?}");
    chain.broadcast_package(&package).await.expect("again is fine when confirmed");
}

/// Version 3 parents have one child only, and no grandchild (BIP-431): a second level is refused.
pub async fn a_version_3_child_has_no_child_of_its_own(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let parent = free(&coins[0]);
    let child = child_of(&parent, FEE);
    chain.broadcast_package(&[parent, child.clone()]).await.expect("the child pays");
    let mut grandchild = pay(&coin(&child, 0, elsewhere()), &watched(), FEE);
    grandchild.version = Version(3);
    let reason = refused(chain, &grandchild).await;
    assert!(reason.contains("TRUC-violation"), "{reason}");
}

/// Returns a version 3 transaction that pays nothing for itself.
fn free(from: &Coin) -> Transaction {
    Transaction { version: Version(3), ..pay(from, &watched(), Amount::ZERO) }
}

/// Returns a version 3 child of such a transaction.
fn child_of(parent: &Transaction, fee: Amount) -> Transaction {
    Transaction { version: Version(3), ..pay(&coin(parent, 0, watched()), &elsewhere(), fee) }
}

/// A node of another network is told so.
pub async fn another_network_is_refused(harness: &mut impl Harness) {
    harness.open_for(Network::Regtest).await.expect("the same network");
    match harness.open_for(Network::Signet).await {
        Err(ChainError::WrongNetwork { expected: Network::Signet, found, .. }) => assert_eq!(found, "regtest"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// A spend under a relative lock of ten blocks is refused one block early and accepted on its block (BIP-68, BIP-112).
pub async fn a_relative_lock_opens_on_its_block(harness: &mut impl Harness) {
    const BLOCKS: u16 = 10;
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let funding = pay(&coins[0], &Lock::after(BLOCKS), FEE);
    broadcast(chain, &funding).await;
    let spend = pay(&coin(&funding, 0, Lock::after(BLOCKS)), &elsewhere(), FEE);
    assert!(refused(chain, &spend).await.contains("non-BIP68-final"));
    // Confirmed in the first block; the spend may stand in the tenth after it.
    mine(chain, u32::from(BLOCKS) - 1).await;
    assert!(refused(chain, &spend).await.contains("non-BIP68-final"));
    mine(chain, 1).await;
    broadcast(chain, &spend).await;

    // Who claims not to be bound by the lock breaks the script.
    let mut unlocked = spend.clone();
    unlocked.input[0].sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
    unlocked.output[0].value -= FEE * 10;
    let reason = refused(chain, &unlocked).await;
    assert!(reason.contains("script-verify-flag-failed"), "{reason}");
}

/// A transaction locked to a height is refused until that height is reached.
pub async fn an_absolute_lock_opens_on_its_block(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let mut tx = pay(&coins[0], &watched(), FEE);
    tx.lock_time = LockTime::from_height(height(chain).await + 1).expect("a small height");
    let reason = refused(chain, &tx).await;
    assert!(reason.contains("non-final"), "{reason}");
    mine(chain, 1).await;
    broadcast(chain, &tx).await;
}

/// Newly mined coins wait a hundred blocks.
pub async fn young_coinbases_are_refused(harness: &mut impl Harness) {
    let chain = harness.backend();
    mine(chain, 1).await;
    let block = chain.block_at(height(chain).await).await.expect("the chain answers").expect("the block was mined");
    let spend = pay(&coin(&block.txdata[0], 0, elsewhere()), &watched(), FEE);
    mine(chain, COINBASE_MATURITY - 2).await;
    let reason = refused(chain, &spend).await;
    assert!(reason.contains("premature-spend-of-coinbase"), "{reason}");
    mine(chain, 1).await;
    broadcast(chain, &spend).await;
}

/// An output is unknown, then in the pool, then confirmed, then spent in the pool, then spent by a block.
pub async fn an_outpoint_tells_its_life(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let birth = height(chain).await + 1;
    let funding = pay(&coins[0], &watched(), FEE);
    let spend = pay(&coin(&funding, 0, watched()), &elsewhere(), FEE);
    let outpoint = OutPoint { txid: funding.compute_txid(), vout: 0 };
    let output = funding.output[0].clone();
    let status = || async { chain.outpoint(outpoint, watched().script(), birth).await.expect("the chain answers") };
    let unspent = |height| OutpointStatus::Unspent { output: output.clone(), height };
    let spent = |height, spent_height| OutpointStatus::Spent {
        output: output.clone(),
        height,
        by: Box::new(spend.clone()),
        spent_height,
    };

    assert_eq!(status().await, OutpointStatus::Unknown);
    broadcast(chain, &funding).await;
    assert_eq!(status().await, unspent(None));
    broadcast(chain, &spend).await;
    assert_eq!(status().await, spent(None, None));
    harness.mine_exactly(vec![funding.clone()]).await;
    assert_eq!(status().await, spent(Some(birth), None));
    mine(chain, 1).await;
    assert_eq!(status().await, spent(Some(birth), Some(birth + 1)));
    mine(chain, 5).await;
    assert_eq!(status().await, spent(Some(birth), Some(birth + 1)));
    let beyond = OutPoint { vout: 1, ..outpoint };
    let none = chain.outpoint(beyond, watched().script(), birth).await.expect("the chain answers");
    assert_eq!(none, OutpointStatus::Unknown);
    // It is older than who asks allows, and spent since: no backend fails for that.
    let late = chain.outpoint(outpoint, watched().script(), birth + 1).await.expect("the chain answers");
    assert!(late == OutpointStatus::Unknown || late == status().await, "{late:?}");
    let ask = |outpoint| AskedOutput { outpoint, script: watched().script(), from_height: birth };
    let both = chain.outpoints(&[ask(beyond), ask(outpoint)]).await.expect("the chain answers");
    assert_eq!(both, [OutpointStatus::Unknown, status().await], "in the order in which they are asked for");
}

/// A transaction may be broadcast again in the pool, in the chain, and after its outputs are spent.
pub async fn broadcasting_twice_is_fine(harness: &mut impl Harness) {
    let chain = harness.backend();
    let coins = mature_coins(chain, 1).await;
    let tx = pay(&coins[0], &watched(), FEE);
    broadcast(chain, &tx).await;
    broadcast(chain, &tx).await;
    mine(chain, 1).await;
    broadcast(chain, &tx).await;
    let spend = pay(&coin(&tx, 0, watched()), &elsewhere(), FEE);
    broadcast(chain, &spend).await;
    mine(chain, 1).await;
    broadcast(chain, &tx).await;
}
