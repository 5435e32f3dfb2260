//! What happens to those who break the rules, and to those who came to the wrong place.

use std::io;

use exchange_ledger::record::Head;
use exchange_ledger::sync::message::ItemWant;
use exchange_ledger::sync::sketch::Item;
use exchange_ledger::sync::{Answer, Salt};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::gossipsub::MessageId;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{StreamProtocol, SwarmBuilder, identify, noise, ping, tcp, yamux};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::replica::{Lie, TestReplica, invalid_record, log};
use super::*;

/// Waits until `victim` has sent `culprit` away, and checks that it does not get back in.
async fn banned(victim: &Node, culprit: &Node) {
    eventually("the ban", async || !victim.knows(culprit).await && !culprit.knows(victim).await).await;
    let again = culprit.client.dial(victim.address().await).await;
    // The dialler may see the connection for a moment before the other side refuses it.
    if again.is_ok() {
        eventually("the refusal", async || culprit.client.peers().await.is_empty()).await;
    }
    assert!(!victim.knows(culprit).await);
}

async fn pair() -> (Node, Node) {
    let hub = node(config(TCP)).await;
    let leaf = node(leaf_of(&hub).await).await;
    leaf.settled_with(&hub).await;
    hub.settled_with(&leaf).await;
    hub.at_rest().await;
    (hub, leaf)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gossips_an_invalid_record_is_banned() {
    let (hub, leaf) = pair().await;
    leaf.client.publish_record(invalid_record()).await;
    banned(&hub, &leaf).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gossips_invalid_mail_is_banned() {
    let (hub, leaf) = pair().await;
    leaf.client.publish_mail(vec![0; 50]).await;
    banned(&hub, &leaf).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_was_good_in_the_mail_of_who_is_banned_for_it_is_passed_on() {
    let (hub, leaf) = pair().await;
    let other = node(leaf_of(&hub).await).await;
    other.settled_with(&hub).await;
    hub.settled_with(&other).await;
    hub.at_rest().await;
    let good = leaf.replica.send(MailboxId([7; 32]), b"good");
    leaf.replica.lock().outbox.push(vec![0; 50]);
    leaf.client.sync_now().await;
    banned(&hub, &leaf).await;
    eventually("the good one", async || other.replica.has_mail(&good)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_serves_garbage_is_banned() {
    let (hub, leaf) = pair().await;
    leaf.replica.write(1, b"a head to be fetched");
    leaf.replica.lock().lie = Lie::Garbage;
    hub.client.sync_now().await;
    banned(&hub, &leaf).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_heads_that_he_cannot_serve_is_banned() {
    let (hub, leaf) = pair().await;
    leaf.replica.write(1, b"the only one");
    leaf.replica.lock().lie = Lie::Boast;
    hub.client.sync_now().await;
    banned(&hub, &leaf).await;
    assert_eq!(hub.replica.records(), 1, "what was good is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_heads_without_end_is_banned() {
    let (hub, leaf) = pair().await;
    leaf.replica.lock().lie = Lie::EndlessHeads;
    hub.client.sync_now().await;
    banned(&hub, &leaf).await;
    assert_eq!(hub.replica.records(), 0);
}

/// Names heads, and is silent when it is asked for their records.
#[derive(NetworkBehaviour)]
struct Staller {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    sync: request_response::Behaviour<codec::SyncCodec>,
}

/// Dials a node as such a peer; returns when that waits for the records.
async fn stall(victim: &Node, heads: Vec<Head>) {
    let names = protocol::Names::new(*b"test");
    let mut staller = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| Staller {
            identify: identify::Behaviour::new(identify::Config::new(names.protocol.clone(), key.public())),
            ping: ping::Behaviour::default(),
            sync: request_response::Behaviour::with_codec(
                codec::SyncCodec::default(),
                [(names.sync, ProtocolSupport::Full)],
                request_response::Config::default().with_request_timeout(NEVER),
            ),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(NEVER))
        .build();
    staller.dial(victim.address().await).unwrap();
    let (asked, was_asked) = oneshot::channel();
    tokio::spawn(async move {
        let (mut asked, mut unanswered) = (Some(asked), Vec::new());
        loop {
            let event = staller.select_next_some().await;
            let SwarmEvent::Behaviour(StallerEvent::Sync(request_response::Event::Message { message, .. })) = event
            else {
                continue;
            };
            let request_response::Message::Request { request: Ok(request), channel, .. } = message else { continue };
            let protocol::Request::Ledger(request) = request else { continue };
            let answer = match request {
                exchange_ledger::sync::Request::Compare { .. } => Answer::Differs(None),
                exchange_ledger::sync::Request::Forks { .. } => Answer::Heads(Vec::new()),
                exchange_ledger::sync::Request::Heads { .. } => Answer::Heads(heads.clone()),
                _ => {
                    unanswered.push(channel);
                    if let Some(asked) = asked.take() {
                        asked.send(()).unwrap();
                    }
                    continue;
                }
            };
            staller.behaviour_mut().sync.send_response(channel, Ok(protocol::Response::Ledger(answer))).unwrap();
        }
    });
    was_asked.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dials_in_and_stalls_keeps_nothing_from_a_peer_that_was_dialled() {
    let honest = node(config(TCP)).await;
    honest.replica.write(1, b"the only one");
    let victim = node(config(TCP)).await;
    stall(&victim, vec![honest.replica.head(1).unwrap()]).await;
    let start = Instant::now();
    victim.client.dial(honest.address().await).await.unwrap();
    eventually("a comparison to the end", async || victim.replica.lock().comparisons > 0).await;
    assert_eq!(victim.replica.records(), 1);
    // Until the staller's answer is given up nobody else could have fetched the log.
    assert!(start.elapsed() < behaviour::REQUEST_TIMEOUT / 2, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_different_networks_do_not_talk() {
    let hub = node(config(TCP)).await;
    hub.replica.write(1, b"of this network");
    let stranger = NetConfig { network_magic: *b"main", ..leaf_of(&hub).await };
    let stranger = node(stranger).await;
    stranger.replica.write(2, b"of another network");
    let friend = node(leaf_of(&hub).await).await;
    friend.settled_with(&hub).await;
    for _ in 0..5 {
        stranger.client.dial(hub.address().await).await.ok();
    }
    assert!(!hub.knows(&stranger).await && stranger.client.peers().await.is_empty());
    assert!(stranger.replica.lock().peers.is_empty() && hub.replica.lock().peers.len() == 1);
    assert_eq!((hub.replica.records(), stranger.replica.records()), (1, 1));
    assert_eq!((stranger.client.traffic().sent(), stranger.client.traffic().received()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_configured_peers_get_in_or_are_dialled() {
    let hub = node(config(TCP)).await;
    let stranger = node(config(TCP)).await;
    let leaf = node(leaf_of(&hub).await).await;
    leaf.settled_with(&hub).await;
    assert!(matches!(leaf.client.dial(stranger.address().await).await, Err(NetError::NotListed(_))));
    stranger.client.dial(leaf.address().await).await.ok();
    eventually("the refusal", async || stranger.client.peers().await.is_empty()).await;
    assert!(!leaf.knows(&stranger).await);
    hub.client.dial(stranger.address().await).await.unwrap();
    eventually("others connect freely", async || hub.knows(&stranger).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_told() {
    for listen in [TCP, QUIC] {
        let first = node(config(listen)).await;
        let address = first.client.listen_addresses().await.remove(0);
        let second = NetConfig { listen: vec![address], ..config(TCP) };
        let outcome =
            start(second, Keypair::generate_ed25519(), Arc::new(TestReplica::default()), CancellationToken::new())
                .await;
        assert!(matches!(outcome, Err(NetError::AddressInUse(_))), "{:?}", outcome.err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_cannot_be_reached_is_told() {
    let node = node(config(TCP)).await;
    let error = node.client.dial("/ip4/127.0.0.1/tcp/1".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot connect to /ip4/127.0.0.1/tcp/1"), "{error}");
}

/// Sends requests as they are.
#[derive(Clone, Default)]
struct RawCodec;

impl request_response::Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        self.read_response(&StreamProtocol::new("/"), io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&request).await?;
        io.close().await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        protocol: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()> {
        self.write_request(protocol, io, response).await
    }
}

#[derive(NetworkBehaviour)]
struct Rogue {
    identify: identify::Behaviour,
    sync: request_response::Behaviour<RawCodec>,
}

/// Sends raw bytes as a request to a node, and waits until it ends the connection.
async fn sent_away_for(bytes: Vec<u8>) {
    let hub = node(config(TCP)).await;
    let names = protocol::Names::new(*b"test");
    let mut rogue = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| Rogue {
            identify: identify::Behaviour::new(identify::Config::new(names.protocol.clone(), key.public())),
            sync: request_response::Behaviour::new(
                [(names.sync, ProtocolSupport::Full)],
                request_response::Config::default(),
            ),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(NEVER))
        .build();
    rogue.dial(hub.address().await).unwrap();
    let mut bytes = Some(bytes);
    let sent_away = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            match rogue.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    rogue.behaviour_mut().sync.send_request(&peer_id, bytes.take().unwrap());
                }
                SwarmEvent::ConnectionClosed { .. } => break,
                _ => {}
            }
        }
    });
    assert!(sent_away.await.is_ok(), "the connection stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_an_oversize_request_is_sent_away() {
    let len = u32::try_from(protocol::MAX_REQUEST_LEN + 1).unwrap();
    sent_away_for(len.to_be_bytes().to_vec()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_an_undecodable_request_is_sent_away() {
    sent_away_for(vec![0, 0, 0, 3, 99, 1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_an_item_twice_at_once_is_sent_away() {
    let wants = vec![ItemWant { item: Item(1), from: 0 }; 2];
    let request = exchange_ledger::sync::Request::Items { salt: Salt([0; 16]), wants };
    let bytes = borsh::to_vec(&protocol::Request::Ledger(request)).unwrap();
    sent_away_for([&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()).await;
}

#[tokio::test]
async fn a_proof_of_a_fork_waits_for_no_flood_of_worthless_ones() {
    let (hub, others) = (TestReplica::default(), TestReplica::default());
    for replica in [&hub, &others] {
        replica.write(1, b"common");
        replica.write(1, b"one story");
    }
    let proof = others.fork(1, b"another story");
    // The records are good, and the log was never opened here.
    others.write(2, b"nobody");
    others.write(2, b"knows");
    let worthless = others.fork(2, b"this log");
    let replica: Arc<dyn Replica> = Arc::new(hub);
    let (reports, mut reported) = mpsc::channel(256);
    let judges = gossip::Judges::start(&replica, &reports);
    let (liar, honest) = (PeerId::random(), PeerId::random());
    let arrives = |source, proof: &exchange_ledger::sync::Proof| {
        let (id, data) = (MessageId::new(b"any"), proof.encode());
        let incoming = gossip::Incoming { topic: gossip::Topic::Forks, id, source, data };
        judges.submit(origin::Source::Peer(source), incoming).is_none()
    };
    assert_eq!((0..10_000).filter(|_| arrives(liar, &worthless)).count(), 128, "half of the queue");
    assert!(arrives(honest, &proof));
    let mut before = 0;
    loop {
        let Some(swarm::Report::Judged(judged)) = reported.recv().await else { panic!("nothing else is reported") };
        if judged.source == honest {
            assert_eq!((judged.verdict, judged.forked), (Verdict::Accept, Some(log(1))));
            break;
        }
        assert_eq!(judged.verdict, Verdict::Orphan(log(2)));
        before += 1;
    }
    assert!(before <= 1, "{before} before it");
}
