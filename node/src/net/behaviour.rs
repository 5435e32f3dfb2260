//! The composed libp2p behaviour and its bounds.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use exchange_ledger::record::MAX_RECORD_LEN;
use exchange_ledger::sync::MAX_PROOF_LEN;
use libp2p::gossipsub::{
    self, IdentTopic, IdentityTransform, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds,
    TopicHash, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{connection_limits, identify, memory_connection_limits, ping};
use sha2::{Digest, Sha256};

use super::codec::{SyncCodec, Traffic};
use super::config::{MESH, NetConfig, NetError};
use super::dialer::peer_of;
use super::gate::Gate;
use super::protocol::{MAX_GOSSIP_LEN, Names};

/// Handshakes at once in each direction: each costs a key agreement.
const MAX_PENDING: u32 = 32;
/// Connections to one peer: two nodes that dial each other at the same moment get one each.
const MAX_PER_PEER: u32 = 2;
/// The part of the machine's memory that this process may hold before no connection is added: queues are bounded, but
/// their sum over all connections is more than a small machine has.
const MAX_MEMORY_USE: f64 = 0.75;
/// Sync streams of one connection in both directions: a session uses one at a time, and the other side has one too.
const MAX_SYNC_STREAMS: usize = 16;
/// The longest wait for an answer: the largest takes a second on a slow link, and the answerer's disk may be busy.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Time without any stream after which a connection is closed; gossip keeps a stream open, so this ends only the mute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages waiting for one slow peer: at most five megabytes; what is dropped beyond is healed by sync.
const MAX_GOSSIP_QUEUE: usize = 256;
/// Messages and control messages in one gossip frame, itself bounded by [`MAX_GOSSIP_LEN`].
const MAX_GOSSIP_MESSAGES: usize = 256;
/// From this size on a peer is told not to send what we have just received: the note costs 40 bytes.
const IDONTWANT_FROM: usize = 256;
/// Heartbeats that a message stays cached: the replica has this many seconds to judge it.
const GOSSIP_HISTORY: usize = 10;
/// Protobuf around one message and its topic.
const GOSSIP_FRAMING: usize = 256;
/// What a connection reads at a time. libp2p-gossipsub 0.50.1 holds its frame limit against all that it has read, so
/// the limit needs room for the beginning of the next frame, or a quick sender is cut off.
const GOSSIP_READ: usize = 8 * 1024;
/// Peers at one address before it costs them score: as many as this node may dial, for users share the address of a provider,
/// or as many as the gate lets in, if that is more.
const MAX_PEERS_PER_ADDRESS: f64 = 32.0;

/// Everything that acts on connections. `gate` stands first, so that nothing is set up for who may not connect.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub gate: Gate,
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub gossip: Gossip,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub sync: request_response::Behaviour<SyncCodec>,
}

/// Gossip that listens to our topics only.
pub(super) type Gossip = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

impl Behaviour {
    pub fn new(config: &NetConfig, names: &Names, keypair: &Keypair, traffic: Arc<Traffic>) -> Result<Self, NetError> {
        let only = config.only_peers.then(|| config.peers.iter().filter_map(peer_of).collect());
        let sync = request_response::Config::default()
            .with_request_timeout(REQUEST_TIMEOUT)
            .with_max_concurrent_streams(MAX_SYNC_STREAMS);
        let identify = identify::Config::new(names.protocol.clone(), keypair.public())
            .with_agent_version(config.agent.clone())
            .with_cache_size(0);
        let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT);
        Ok(Self {
            gate: Gate::new(only, config.limits.max_incoming_per_address.into()),
            limits: connection_limits::Behaviour::new(connection_limits(config)),
            memory: memory_connection_limits::Behaviour::with_max_percentage(MAX_MEMORY_USE),
            gossip: gossip(names, config.limits.max_incoming_per_address).map_err(NetError::Setup)?,
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            sync: request_response::Behaviour::with_codec(
                SyncCodec::new(traffic),
                [(names.sync.clone(), ProtocolSupport::Full)],
                sync,
            ),
        })
    }

    /// Returns the swarm's own bounds.
    pub fn swarm_config(config: libp2p::swarm::Config) -> libp2p::swarm::Config {
        config.with_idle_connection_timeout(IDLE_TIMEOUT)
    }
}

fn connection_limits(config: &NetConfig) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING))
        .with_max_pending_outgoing(Some(MAX_PENDING))
        .with_max_established_incoming(Some(config.limits.max_incoming))
        .with_max_established_outgoing(Some(config.limits.max_outgoing))
        .with_max_established_per_peer(Some(MAX_PER_PEER))
}

/// Gossip without authors: a message is told from another by its topic and content only, and passed on only when the
/// replica has accepted it. The protocol's own names stay, since only under them version 1.2 with its IDONTWANT is
/// spoken; networks are kept apart by topic names and by identify.
fn gossip(names: &Names, max_incoming_per_address: u16) -> Result<Gossip, String> {
    let topics = names.topics().map(|(_, name)| name);
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| message_id(&message.topic, &message.data))
        .max_transmit_size(MAX_GOSSIP_LEN + GOSSIP_READ)
        .max_transmit_size_for_topic(MAX_RECORD_LEN + GOSSIP_FRAMING, names.records.hash())
        .max_transmit_size_for_topic(MAX_GOSSIP_LEN, names.mail.hash())
        .max_transmit_size_for_topic(MAX_PROOF_LEN + GOSSIP_FRAMING, names.forks.hash())
        .max_publish_messages(MAX_GOSSIP_MESSAGES)
        .max_control_messages_sent(MAX_GOSSIP_MESSAGES)
        .connection_handler_queue_len(MAX_GOSSIP_QUEUE)
        .idontwant_message_size_threshold(IDONTWANT_FROM)
        .history_length(GOSSIP_HISTORY)
        .mesh_n(MESH.n)
        .mesh_n_low(MESH.low)
        .mesh_n_high(MESH.high)
        .mesh_outbound_min(MESH.outbound_min)
        .gossip_lazy(MESH.lazy)
        .gossip_factor(f64::from(MESH.lazy_percent) / 100.0)
        // Our own news go to the mesh, filled up with other subscribers: in a small network that is everybody, and in a
        // large one the origin of a message does not show by going to all at once.
        .flood_publish(false)
        .heartbeat_initial_delay(Duration::from_secs(1))
        .build()
        .map_err(|e| e.to_string())?;
    let allowed = HashSet::from(topics.map(IdentTopic::hash));
    let mut gossip = Gossip::new_with_subscription_filter(
        MessageAuthenticity::Anonymous,
        config,
        WhitelistSubscriptionFilter(allowed),
    )?;
    gossip.with_peer_score(score(topics, max_incoming_per_address), PeerScoreThresholds::default())?;
    for topic in topics {
        gossip.subscribe(topic).map_err(|e| e.to_string())?;
    }
    Ok(gossip)
}

/// Returns the id of a message. The topic is part of it: otherwise a record sent as mail would be rejected there and
/// then, as a duplicate, missed where it belongs.
fn message_id(topic: &TopicHash, data: &[u8]) -> MessageId {
    let id = Sha256::new().chain_update(topic.as_str()).chain_update([0]).chain_update(data).finalize();
    MessageId::new(&id)
}

/// Scores peers by what is surely their fault: invalid messages and breaking the protocol. How much a peer delivers
/// does not count, since an honest one in a quiet network delivers nothing for hours.
fn score(topics: [&IdentTopic; 3], max_incoming_per_address: u16) -> PeerScoreParams {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_cap: 100.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // One invalid message puts its sender below every threshold, while the ban is on its way.
        invalid_message_deliveries_weight: -100.0,
        invalid_message_deliveries_decay: 0.99,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: HashMap::from(topics.map(|name| (name.hash(), topic.clone()))),
        ip_colocation_factor_threshold: MAX_PEERS_PER_ADDRESS.max(max_incoming_per_address.into()),
        ip_colocation_factor_whitelist: HashSet::from([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
        ..PeerScoreParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_under_two_topics_are_two_messages() {
        let names = Names::new(*b"test");
        assert_ne!(message_id(&names.records.hash(), b"x"), message_id(&names.mail.hash(), b"x"));
        assert_eq!(message_id(&names.mail.hash(), b"x"), message_id(&names.mail.hash(), b"x"));
    }

    #[test]
    fn nobody_loses_score_by_an_address_from_which_the_gate_lets_him_in() {
        let names = Names::new(*b"test");
        let topics = names.topics().map(|(_, name)| name);
        assert!(score(topics, 8).ip_colocation_factor_threshold >= 32.0);
        assert!(score(topics, 96).ip_colocation_factor_threshold >= 96.0);
    }
}
