//! What the swarm task does at each event of the swarm.

use std::time::Duration;

use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p::swarm::SwarmEvent;
use libp2p::{PeerId, identify, ping, request_response};
use tokio::time::{Instant, timeout};

use super::Verdict;
use super::behaviour::{BehaviourEvent, REQUEST_TIMEOUT};
use super::codec::SyncCodec;
use super::config::NetError;
use super::gate::Offence;
use super::gossip::{Incoming, Judged, Topic};
use super::link::RequestError;
use super::protocol::{Request, Response};
use super::serve;
use super::swarm::{Answered, Event, SwarmTask};

/// How long a node of another network is kept out: its user may correct the mistake.
const OTHER_NETWORK_PAUSE: Duration = Duration::from_secs(600);

type SyncEvent = request_response::Event<
    <SyncCodec as request_response::Codec>::Request,
    <SyncCodec as request_response::Codec>::Response,
>;

impl SwarmTask {
    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let address = endpoint.get_remote_address().clone();
                self.peers.connected(peer_id, address, endpoint.is_dialer(), Instant::now());
                self.dialer.connected(connection_id, peer_id);
                if let Some((_, reply)) = self.dials.remove(&connection_id) {
                    drop(reply.send(Ok(())));
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "peer is gone");
                self.peers.disconnected(peer_id, Instant::now());
                self.dialer.lost(peer_id, Instant::now());
                self.announce();
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(address) = self.dialer.failed(connection_id, Instant::now()) {
                    tracing::info!(%address, %error, "a configured peer cannot be reached; trying again");
                }
                if let Some((address, reply)) = self.dials.remove(&connection_id) {
                    drop(reply.send(Err(NetError::Dial { address, reason: error.to_string() })));
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(address = %send_back_addr, %error, "an incoming connection failed");
            }
            SwarmEvent::NewListenAddr { address, .. } => tracing::info!(%address, "listening"),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener has trouble"),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(?addresses, ?reason, "no longer listening");
            }
            // The rest tells of steps on the way to the above; the enum grows with the library.
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gate(never) | BehaviourEvent::Limits(never) | BehaviourEvent::Memory(never) => {
                match never {}
            }
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Sync(event) => self.on_sync(event),
        }
    }

    fn on_identify(&mut self, event: identify::Event) {
        match event {
            identify::Event::Received { peer_id, info, .. } if info.protocol_version == self.names.protocol => {
                self.peers.identified(peer_id, &info.agent_version);
                self.dialer.identified(peer_id);
                self.announce();
            }
            identify::Event::Received { peer_id, info, .. } => {
                let theirs: String = info.protocol_version.chars().take(64).collect();
                tracing::warn!(peer = %peer_id, ?theirs, ours = self.names.protocol, "a peer is of another network");
                self.keep_out(peer_id, OTHER_NETWORK_PAUSE);
            }
            identify::Event::Error { peer_id, error, .. } => {
                tracing::debug!(peer = %peer_id, %error, "cannot identify")
            }
            identify::Event::Sent { .. } | identify::Event::Pushed { .. } => {}
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(round_trip) => self.peers.pinged(event.peer, round_trip),
            Err(error) => {
                // A peer that vanished without a word would else be believed connected for hours.
                tracing::debug!(peer = %event.peer, %error, "a peer does not answer; closing the connection");
                self.swarm.close_connection(event.connection);
            }
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source: source, message_id: id, message } => {
                let topic = self.names.topic(&message.topic);
                let from = self.peers.source(&source);
                let incoming = Incoming { topic, id, source, data: message.data };
                if let Some(Incoming { topic, id, source, .. }) = self.judges.submit(from, incoming) {
                    // Too much at once: ask for it when there is time.
                    self.on_judged(Judged { topic, id, source, verdict: Verdict::Ignore, forked: None });
                    self.peers.want_all_soon(source, Instant::now());
                }
            }
            // What was published before could not reach it by gossip. It may subscribe as often as it likes.
            gossipsub::Event::Subscribed { peer_id, .. } => self.peers.want_all_soon(peer_id, Instant::now()),
            gossipsub::Event::Unsubscribed { .. } | gossipsub::Event::GossipsubNotSupported { .. } => {}
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "a slow peer missed gossip and will get it by sync");
            }
        }
    }

    pub(super) fn on_judged(&mut self, Judged { topic, id, source, verdict, forked }: Judged) {
        // Of each log one proof is passed on.
        let repeats = verdict == Verdict::Accept && forked.is_some_and(|log| !self.told.tell(log, Instant::now()));
        let acceptance = match verdict {
            Verdict::Accept if repeats => MessageAcceptance::Ignore,
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Keep | Verdict::Ignore | Verdict::Later => MessageAcceptance::Ignore,
            Verdict::Orphan(log) => {
                if let Some(plan) = self.peers.plan(source) {
                    plan.want_log(log);
                }
                MessageAcceptance::Ignore
            }
            Verdict::Reject => MessageAcceptance::Reject,
        };
        self.swarm.behaviour_mut().gossip.report_message_validation_result(&id, &source, acceptance);
        if verdict == Verdict::Reject {
            self.ban(
                source,
                &match topic {
                    Topic::Records | Topic::Forks => Offence::InvalidRecord,
                    Topic::Mail => Offence::InvalidMail,
                },
            );
        }
    }

    fn on_sync(&mut self, event: SyncEvent) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request { request: Ok(request), channel, .. } => {
                    self.on_request(peer, request, channel);
                }
                request_response::Message::Response { request_id, response } => {
                    if let Some(reply) = self.asked.remove(&request_id) {
                        drop(reply.send(response.map_err(RequestError::from)));
                    }
                }
                request_response::Message::Request { request: Err(malformed), .. } => {
                    self.ban(peer, &Offence::from(malformed));
                }
            },
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                if let Some(reply) = self.asked.remove(&request_id) {
                    drop(reply.send(Err(RequestError::Failed(error.to_string()))));
                }
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a peer did not get its answer");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn on_request(
        &mut self,
        peer: PeerId,
        request: Request,
        channel: request_response::ResponseChannel<<SyncCodec as request_response::Codec>::Response>,
    ) {
        let now = Instant::now();
        let Some(slot) = self.peers.admit(peer, now) else {
            self.respond(channel, Response::Busy);
            return;
        };
        let network = self.peers.network(&peer);
        self.peers.charge(peer, network, serve::work(&request), now);
        let (replica, turns, reports) = (self.replica.clone(), self.turns.clone(), self.reports.clone());
        self.answers.spawn(async move {
            let answer = serve::answer(&replica, &turns, &slot.asker, request, &reports);
            let answer = timeout(REQUEST_TIMEOUT, answer).await.ok();
            Answered { peer, network, channel, slot, answer }
        });
    }

    /// Lets the replica know who counts as connected now.
    fn announce(&mut self) {
        self.present.send_replace(self.peers.ids());
    }
}
