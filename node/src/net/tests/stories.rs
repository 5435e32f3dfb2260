//! What honest nodes do for each other.

use super::replica::TestReplica;
use super::*;

const MAILBOX: MailboxId = MailboxId([7; 32]);

/// A hub and two leaves that know the hub alone, all in sync.
async fn star(listen: &str) -> (Node, Node, Node) {
    let hub = node(config(listen)).await;
    let (left, right) = (node(leaf_of(&hub).await).await, node(leaf_of(&hub).await).await);
    for leaf in [&left, &right] {
        leaf.settled_with(&hub).await;
        hub.settled_with(leaf).await;
    }
    (hub, left, right)
}

async fn news_cross_the_hub(listen: &str) {
    let (hub, left, right) = star(listen).await;
    left.client.publish_record(left.replica.write(1, b"offer")).await;
    right.client.publish_record(right.replica.write(2, b"take")).await;
    left.client.publish_mail(left.replica.send(MAILBOX, b"hello")).await;
    let mail = left.replica.lock().outbox[0].clone();
    eventually("both records and the mail everywhere", async || {
        [&hub, &left, &right].iter().all(|node| node.replica.records() == 2)
            && hub.replica.has_mail(&mail)
            && right.replica.has_mail(&mail)
    })
    .await;
    assert!(!left.knows(&right).await, "the leaves connect only to the hub");
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_one_leaf_reach_the_other_over_tcp() {
    news_cross_the_hub(TCP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_one_leaf_reach_the_other_over_quic() {
    news_cross_the_hub(QUIC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_published_without_any_peer_reach_a_later_one() {
    let first = node(config(TCP)).await;
    first.client.publish_record(first.replica.write(1, b"alone")).await;
    first.client.publish_mail(first.replica.send(MAILBOX, b"alone")).await;
    let mail = first.replica.lock().outbox[0].clone();
    let second = node(leaf_of(&first).await).await;
    eventually("record and mail", async || second.replica.records() == 1 && second.replica.has_mail(&mail)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_latecomer_gets_everything() {
    let hub = node(config(TCP)).await;
    // One long log, which needs several answers, and many short ones, which share them.
    for i in 0..1500_u32 {
        hub.replica.write(0, &[&i.to_le_bytes()[..], &[0; 400]].concat());
    }
    for i in 0..500_u32 {
        hub.replica.write(u8::try_from(1 + i % 250).unwrap(), &i.to_le_bytes());
    }
    let late = node(leaf_of(&hub).await).await;
    eventually("2000 records", async || late.replica.records() == 2000).await;
    assert_eq!(late.replica.state(), hub.replica.state());
    eventually("the replica hears of the comparison", async || late.replica.lock().comparisons > 0).await;
    late.settled_with(&hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_latecomer_shares_the_work_among_peers() {
    let first = node(config(TCP)).await;
    for i in 0..200 {
        first.replica.write(i, b"offer");
    }
    let second = node(leaf_of(&first).await).await;
    second.settled_with(&first).await;
    let peers = vec![first.address().await, second.address().await];
    // The second accepts nobody but the first, so the latecomer must be one of its peers: it dials back.
    let late = node(NetConfig { peers, ..config(TCP) }).await;
    eventually("all records", async || late.replica.records() == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_return_to_a_hub_that_restarts_and_heal() {
    let (hub, left, right) = star(TCP).await;
    let hub_id = hub.id();
    let hub = hub.stopped().await;
    eventually("the leaves notice", async || {
        left.client.peers().await.is_empty() && right.client.peers().await.is_empty()
    })
    .await;
    for i in 0..100 {
        left.client.publish_record(left.replica.write(1, &[i])).await;
        right.client.publish_record(right.replica.write(2, &[i])).await;
    }
    let hub = hub().await;
    assert_eq!(hub.id(), hub_id);
    eventually("all have all", async || [&hub, &left, &right].iter().all(|node| node.replica.records() == 200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_leaf_is_told_what_it_missed() {
    let (hub, left, right) = star(TCP).await;
    let right = right.stopped().await;
    left.client.publish_record(left.replica.write(1, b"meanwhile")).await;
    let right = right().await;
    eventually("the record", async || right.replica.records() == 1).await;
    eventually("presence", async || hub.replica.lock().peers.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_makes_its_receiver_ask_for_the_log() {
    let (hub, left, right) = star(TCP).await;
    hub.at_rest().await;
    left.replica.write(1, b"kept silent");
    left.replica.write(1, b"kept silent too");
    left.client.publish_record(left.replica.write(1, b"told")).await;
    eventually("the whole log", async || hub.replica.records() == 3 && right.replica.records() == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn being_told_to_sync_is_enough() {
    let (hub, left, _right) = star(TCP).await;
    hub.at_rest().await;
    hub.replica.write(1, b"silent");
    left.client.sync_now().await;
    eventually("the record", async || left.replica.records() == 1).await;
    left.replica.write(2, b"silent");
    left.client.sync_now().await;
    eventually("the other direction: who is asked sees the difference too", async || hub.replica.records() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_peers_compare_at_intervals() {
    let hub = node(config(TCP)).await;
    let mut config = leaf_of(&hub).await;
    config.limits.sync_interval = Duration::from_millis(500);
    let leaf = node(config).await;
    leaf.settled_with(&hub).await;
    hub.settled_with(&leaf).await;
    hub.replica.write(1, b"silent");
    eventually("the record", async || leaf.replica.records() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_heal_costs_less_than_a_kilobyte() {
    let hub = node(config(TCP)).await;
    for author in 0..200 {
        hub.replica.write(author, b"offer");
    }
    let leaf = node(leaf_of(&hub).await).await;
    for (one, other) in [(&leaf, &hub), (&hub, &leaf)] {
        one.settled_with(other).await;
    }
    leaf.at_rest().await;
    let before = leaf.bytes_moved();
    leaf.client.sync_now().await;
    eventually("a comparison", async || leaf.bytes_moved() > before).await;
    leaf.at_rest().await;
    let cost = leaf.bytes_moved() - before;
    assert!(cost < 1000, "an idle heal took {cost} bytes");
    println!("idle heal: {cost} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_at_the_hub_for_a_recipient_who_was_away() {
    let hub = node(config(TCP)).await;
    let sender = node(leaf_of(&hub).await).await;
    sender.settled_with(&hub).await;
    let mail: Vec<Vec<u8>> = (0..100).map(|i| sender.replica.send(MAILBOX, &[i; 15_000])).collect();
    for envelope in &mail {
        sender.client.publish_mail(envelope.clone()).await;
    }
    eventually("the hub keeps it", async || mail.iter().all(|envelope| hub.replica.has_mail(envelope))).await;
    drop(sender);

    let recipient = TestReplica::default();
    recipient.lock().mailboxes.push(MAILBOX);
    let recipient = node_with(leaf_of(&hub).await, recipient, Keypair::generate_ed25519()).await;
    eventually("all mail", async || mail.iter().all(|envelope| recipient.replica.has_mail(envelope))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_mail_than_one_request_may_name_goes_in_several() {
    let (hub, left, _right) = star(TCP).await;
    hub.at_rest().await;
    let mail: Vec<Vec<u8>> = (0..300_u32).map(|i| left.replica.send(MAILBOX, &i.to_le_bytes())).collect();
    left.client.sync_now().await;
    eventually("the hub keeps it", async || mail.iter().all(|envelope| hub.replica.has_mail(envelope))).await;
    assert!(hub.knows(&left).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_mailbox_is_emptied_soon() {
    let (hub, _left, right) = star(TCP).await;
    hub.at_rest().await;
    let mail = super::replica::envelope(MAILBOX, b"waiting");
    hub.replica.put_mail(mail.clone()).await;
    right.replica.lock().mailboxes.push(MAILBOX);
    eventually("the mail", async || right.replica.has_mail(&mail)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_could_not_be_kept_is_fetched_again() {
    let (hub, _left, right) = star(TCP).await;
    hub.at_rest().await;
    let mail = super::replica::envelope(MAILBOX, b"waiting");
    hub.replica.put_mail(mail.clone()).await;
    right.replica.lock().full = true;
    right.replica.lock().mailboxes.push(MAILBOX);
    eventually("the mail is turned away", async || right.replica.lock().turned_away > 0).await;
    right.replica.lock().full = false;
    right.client.sync_now().await;
    eventually("the mail", async || right.replica.has_mail(&mail)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_waited_at_the_hub_for_its_contract_is_passed_on_as_soon_as_it_is_there() {
    let (hub, left, right) = star(TCP).await;
    for node in [&hub, &left, &right] {
        node.at_rest().await;
    }
    // It is in nobody's outbox: whoever gets it has it from the hub.
    let mail = super::replica::envelope(MAILBOX, b"earlier than its contract");
    hub.replica.lock().parks = true;
    left.client.publish_mail(mail.clone()).await;
    eventually("it waits at the hub", async || hub.replica.lock().parked > 0).await;
    assert!(!right.replica.has_mail(&mail));
    hub.replica.lock().parks = false;
    assert_eq!(hub.replica.put_mail(mail.clone()).await, Verdict::Accept);
    hub.client.publish_mail(mail.clone()).await;
    eventually("the mail", async || right.replica.has_mail(&mail)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_fork_become_the_same_everywhere() {
    let (left, right) = (TestReplica::default(), TestReplica::default());
    for replica in [&left, &right] {
        replica.write(1, b"common");
    }
    let one = left.write(1, b"one story");
    let other = right.write(1, b"another story");
    for i in 0..100 {
        right.write(1, &[i]);
    }
    let first = node_with(config(TCP), left, Keypair::generate_ed25519()).await;
    let second = node_with(leaf_of(&first).await, right, Keypair::generate_ed25519()).await;
    eventually("the same on both sides", async || first.replica.state() == second.replica.state()).await;
    for node in [&first, &second] {
        assert!(node.replica.holds(&one) && node.replica.holds(&other), "the proof is kept");
        assert!(node.replica.head(1).is_some_and(|head| head.len == 1 && head.frozen.is_some()));
    }
    assert!(first.knows(&second).await && second.knows(&first).await, "neither peer is at fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_of_a_fork_crosses_the_hub_with_both_its_records() {
    let (hub, left, right) = star(TCP).await;
    for node in [&hub, &left, &right] {
        node.replica.write(1, b"common");
    }
    // The hub holds neither of the two records, and the other leaf one of them.
    for node in [&left, &right] {
        node.replica.write(1, b"one story");
    }
    hub.at_rest().await;
    let proof = left.replica.fork(1, b"another story");
    left.client.publish_fork(&proof).await;
    for node in [&hub, &right] {
        eventually("the fork", async || node.replica.head(1).is_some_and(|head| head.frozen.is_some())).await;
        assert!(proof.records.iter().all(|record| node.replica.holds(record)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_changes_among_many_logs_cost_no_more_than_they_are() {
    let hub = node(config(TCP)).await;
    for author in 0..250 {
        hub.replica.write(author, b"offer");
    }
    let leaf = node(leaf_of(&hub).await).await;
    for (one, other) in [(&leaf, &hub), (&hub, &leaf)] {
        one.settled_with(other).await;
    }
    leaf.at_rest().await;
    let before = leaf.bytes_moved();
    let records: usize = (0..10).map(|author| hub.replica.write(author, b"more").len()).sum();
    leaf.client.sync_now().await;
    eventually("the records", async || leaf.replica.records() == 260).await;
    leaf.at_rest().await;
    let cost = leaf.bytes_moved() - before - u64::try_from(records).unwrap();
    assert!(cost < 2000, "{cost} bytes for ten changed logs, where their heads alone would be 21,000");
}
