//! The task that owns the swarm: commands, reports and events in, decisions out. It never waits for anything but its
//! inputs; work that takes time happens in tasks that it spawns, counts and hears from.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use exchange_ledger::record::LogId;
use futures::StreamExt;
use libp2p::gossipsub::PublishError;
use libp2p::identity::Keypair;
use libp2p::request_response::{OutboundRequestId, ResponseChannel};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::behaviour::{Behaviour, BehaviourEvent};
use super::claims::Claims;
use super::client::{Command, MAX_COMMANDS, NetClient};
use super::codec::Traffic;
use super::config::{NetConfig, NetError};
use super::dialer::Dialer;
use super::gate::Offence;
use super::gossip::{Judged, Judges, Topic};
use super::link::{Link, RequestError};
use super::origin::NetGroup;
use super::peers::{Ending, Peers, Slot};
use super::protocol::{Malformed, Names, Request, Response};
use super::serve::{Answer, News, Turns};
use super::sync::{Gain, Session, SessionEnd, SessionError};
use super::told::Told;
use super::{Replica, listen, watchers};

/// Sessions at once: each has one request under way and holds at most a response and what it decodes to.
pub(super) const MAX_SESSIONS: usize = 8;
/// Reports waiting for the task, which handles each within microseconds; a full queue makes their senders wait.
const MAX_REPORTS: usize = 256;
/// How often time itself is looked at: pauses and intervals are exact to this.
const TICK: Duration = Duration::from_millis(100);

/// What the spawned tasks tell the swarm task.
#[derive(Debug)]
pub(super) enum Report {
    /// A session asks its peer something.
    Ask { peer: PeerId, request: Request, reply: Reply },
    /// A gossip message has been judged.
    Judged(Judged),
    /// A peer has handed over an envelope that is kept now, and new to us and perhaps to others.
    Brought { peer: PeerId, envelope: Vec<u8> },
    /// This node has mailboxes that it had not before.
    MailboxesGrew,
}

type Reply = oneshot::Sender<Result<Response, RequestError>>;
type Channel = ResponseChannel<Result<Response, Malformed>>;

/// A request answered, or not within its time, or not at all because it was an offence.
pub(super) struct Answered {
    pub peer: PeerId,
    /// Whose share it is taken from.
    pub network: Option<NetGroup>,
    pub channel: Channel,
    /// It counts as long as its answer is in memory.
    pub slot: Slot,
    pub answer: Option<Result<Answer, Offence>>,
}

/// How far gossip has spread a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// It is on its way to the mesh.
    Sent,
    /// Gossip has seen it lately and takes it for a duplicate.
    Known,
    /// Nobody is there to take it, or nobody has room.
    NotSent,
}

/// Starts the network and returns once it listens. It ends when `stop` is cancelled.
///
/// # Errors
/// When an address cannot be listened on or the system lacks something.
pub async fn start(
    config: NetConfig,
    keypair: Keypair,
    replica: Arc<dyn Replica>,
    stop: CancellationToken,
) -> Result<NetClient, NetError> {
    let names = Names::new(config.network_magic);
    let traffic = Arc::<Traffic>::default();
    let local = keypair.public().to_peer_id();
    let behaviour = Behaviour::new(&config, &names, &keypair, Arc::clone(&traffic))?;
    let (commands, command_queue) = mpsc::channel(MAX_COMMANDS);
    let (reports, report_queue) = mpsc::channel(MAX_REPORTS);
    let mut task = SwarmTask {
        swarm: listen::build_swarm(keypair, behaviour)?,
        names,
        judges: Judges::start(&replica, &reports),
        peers: Peers::new(&config.limits, config.only_peers),
        dialer: Dialer::new(&config.peers, Instant::now()),
        claims: Claims::default(),
        told: Told::default(),
        compared: false,
        asked: HashMap::new(),
        dials: HashMap::new(),
        sessions: JoinSet::new(),
        answers: JoinSet::new(),
        turns: Turns::for_this_machine(),
        present: watchers::announce_peers(Arc::clone(&replica)),
        replica,
        config,
        reports,
        report_queue,
        command_queue,
    };
    task.listen().await?;
    watchers::watch_mailboxes(Arc::clone(&task.replica), task.reports.clone());
    tokio::spawn(task.run(stop));
    Ok(NetClient { local, commands, traffic })
}

/// The state of the task. Dropping it closes every connection and ends every task that it has spawned.
pub(super) struct SwarmTask {
    pub swarm: Swarm<Behaviour>,
    pub names: Names,
    pub config: NetConfig,
    pub replica: Arc<dyn Replica>,
    pub judges: Judges,
    pub peers: Peers,
    pub dialer: Dialer,
    claims: Claims,
    /// The forks that were passed on.
    pub told: Told,
    /// Whether the ledger was compared with a peer's since the start.
    compared: bool,
    /// Requests without a response yet; bounded by the sessions.
    pub asked: HashMap<OutboundRequestId, Reply>,
    /// Dials that a client waits for; bounded by the pending connections.
    pub dials: HashMap<ConnectionId, (Multiaddr, oneshot::Sender<Result<(), NetError>>)>,
    sessions: JoinSet<SessionEnd>,
    pub answers: JoinSet<Answered>,
    /// How many of the answers are looked up at once.
    pub turns: Turns,
    pub present: watch::Sender<BTreeSet<PeerId>>,
    pub reports: mpsc::Sender<Report>,
    report_queue: mpsc::Receiver<Report>,
    /// Last, so that it closes when everything else is gone: clients wait for that in [`NetClient::stopped`].
    command_queue: mpsc::Receiver<Command>,
}

impl SwarmTask {
    async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(command) = self.command_queue.recv() => self.on_command(command),
                Some(report) = self.report_queue.recv() => self.on_report(report),
                Some(ended) = self.sessions.join_next_with_id() => self.on_session_end(ended),
                Some(answered) = self.answers.join_next() => self.on_answered(answered),
                _ = tick.tick() => {}
            }
            self.dial_due();
            self.start_due_sessions();
        }
    }

    /// Listens on the configured addresses, and waits until each has reported the real one.
    async fn listen(&mut self) -> Result<(), NetError> {
        let mut waiting = HashMap::new();
        for address in self.config.listen.clone() {
            waiting.insert(listen::listen_on(&mut self.swarm, &address)?, address);
        }
        while let Some(address) = waiting.values().next() {
            let event = tokio::time::timeout(listen::LISTEN_TIMEOUT, self.swarm.select_next_some()).await;
            let event = event.map_err(|_| NetError::Listen {
                address: address.clone(),
                reason: "the system does not say on which address; give another one".into(),
            })?;
            if let SwarmEvent::NewListenAddr { listener_id, .. } = &event {
                waiting.remove(listener_id);
            }
            self.on_event(event);
        }
        Ok(())
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Publish(topic, data) => self.publish(topic, data),
            Command::PublishFork(log, proof) => self.publish_fork(log, proof),
            Command::SyncNow => self.peers.plans().for_each(|(_, plan)| plan.want_all()),
            // Who asked may have gone: then nobody misses the answer.
            Command::Peers(reply) => drop(reply.send(self.peers.infos())),
            Command::ListenAddresses(reply) => {
                let local = *self.swarm.local_peer_id();
                let with_id = |address: &Multiaddr| address.clone().with_p2p(local).unwrap_or_else(|as_is| as_is);
                drop(reply.send(self.swarm.listeners().map(with_id).collect()));
            }
            Command::Dial(address, reply) => self.dial(address, reply),
            Command::Ask(peer, request, reply) => {
                let link = Link { peer, reports: self.reports.clone() };
                // It ends with the peer's answer or its silence, which the protocol bounds.
                tokio::spawn(async move {
                    let answer = match link.ask(Request::Ledger(request)).await {
                        Ok(Response::Ledger(answer)) => Ok(answer),
                        Ok(Response::Mail(_) | Response::Taken | Response::Busy) => {
                            Err("it answers something else".into())
                        }
                        Err(error) => Err(error.to_string()),
                    };
                    drop(reply.send(answer)); // who asked may have gone
                });
            }
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Ask { peer, request, reply } => {
                if self.swarm.is_connected(&peer) {
                    let id = self.swarm.behaviour_mut().sync.send_request(&peer, Ok(request));
                    self.asked.insert(id, reply);
                } else {
                    drop(reply.send(Err(RequestError::Failed("it is not connected".into()))));
                }
            }
            Report::Judged(judged) => self.on_judged(judged),
            Report::Brought { peer, envelope } => self.pass_on_mail(peer, envelope),
            Report::MailboxesGrew => self.peers.plans().for_each(|(_, plan)| plan.want_mail()),
        }
    }

    /// Sends our own news to the mesh, and mail that had to wait for its contract. Whoever is not reached by a record will see
    /// at the next comparison that it is missing. No comparison shows mail of others: it is handed over, also where gossip has
    /// seen it before. That was while it waited, and it was not passed on then.
    fn publish(&mut self, topic: Topic, data: Vec<u8>) {
        let mail = (topic == Topic::Mail).then(|| data.clone());
        match self.gossip(topic, data) {
            Spread::Sent => return,
            Spread::Known => {}
            Spread::NotSent => self.peers.plans().for_each(|(_, plan)| plan.want_all()),
        }
        if let Some(envelope) = mail {
            self.peers.plans().for_each(|(_, plan)| plan.want_delivered(envelope.clone()));
        }
    }

    /// Tells that a log has forked, unless that was told. A proof that gossip has brought goes on once it is judged. Until
    /// the first comparison with a peer we learn what others know.
    fn publish_fork(&mut self, log: LogId, proof: Vec<u8>) {
        if !self.compared || !self.told.tell(log, Instant::now()) {
            return;
        }
        match self.gossip(Topic::Forks, proof) {
            Spread::Sent => {}
            // Its copy was an orphan here, and went no further: see `pass_on`.
            Spread::Known => {
                self.told.take_back(&log);
                self.peers.plans().for_each(|(_, plan)| plan.want_compared());
            }
            Spread::NotSent => self.peers.plans().for_each(|(_, plan)| plan.want_compared()),
        }
    }

    fn gossip(&mut self, topic: Topic, data: Vec<u8>) -> Spread {
        let name = match topic {
            Topic::Records => self.names.records.hash(),
            Topic::Mail => self.names.mail.hash(),
            Topic::Forks => self.names.forks.hash(),
        };
        match self.swarm.behaviour_mut().gossip.publish(name, data) {
            Ok(_) => Spread::Sent,
            Err(PublishError::Duplicate) => Spread::Known,
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => Spread::NotSent,
            Err(
                error @ (PublishError::MessageTooLarge
                | PublishError::SigningError(_)
                | PublishError::TransformFailed(_)),
            ) => {
                tracing::error!(%error, ?topic, "cannot publish; peers will get it by sync");
                Spread::NotSent
            }
        }
    }

    fn dial(&mut self, address: Multiaddr, reply: oneshot::Sender<Result<(), NetError>>) {
        if self.config.only_peers && !self.config.peers.contains(&address) {
            drop(reply.send(Err(NetError::NotListed(address))));
            return;
        }
        let options = DialOpts::from(address.clone());
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => drop(self.dials.insert(connection, (address, reply))),
            Err(error) => drop(reply.send(Err(NetError::Dial { address, reason: error.to_string() }))),
        }
    }

    fn dial_due(&mut self) {
        let now = Instant::now();
        while let Some(address) = self.dialer.next(now, |peer| self.peers.is_connected(peer)) {
            let options = DialOpts::from(address.clone());
            let connection = options.connection_id();
            self.dialer.dialling(&address, connection);
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(%address, %error, "cannot dial a configured peer");
                self.dialer.failed(connection, now);
            }
        }
    }

    fn start_due_sessions(&mut self) {
        let now = Instant::now();
        while self.sessions.len() < MAX_SESSIONS
            && let Some(peer) = self.peers.due(now)
            && let Some((plan, memory)) = self.peers.take_plan(peer, now)
        {
            let session = Session {
                link: Link { peer, reports: self.reports.clone() },
                replica: Arc::clone(&self.replica),
                claims: self.claims.clone(),
                dialled: self.peers.has_dialled(&peer),
                gain: Gain::default(),
                retention: self.config.retention,
            };
            let id = self.sessions.spawn(session.run(plan, memory)).id();
            self.peers.started(peer, id);
        }
    }

    fn on_session_end(&mut self, ended: Result<(task::Id, SessionEnd), task::JoinError>) {
        let now = Instant::now();
        let (id, SessionEnd { peer, memory, gain, result }) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a sync session ended without a result");
                self.peers.ended(error.id(), None, Ending::Unfinished { fruitful: false }, now);
                return;
            }
        };
        let unfinished = Ending::Unfinished { fruitful: gain.accepted > 0 || gain.held_up };
        let ending = match result {
            Ok(()) if gain.unfinished => unfinished,
            Ok(()) if gain.compared => {
                self.compared = true;
                self.replica.compared();
                Ending::InSync
            }
            Ok(()) => Ending::Done,
            Err(SessionError::Unanswered(reason)) => {
                tracing::debug!(%peer, reason, "a sync session broke off");
                unfinished
            }
            Err(SessionError::Storage(error)) => {
                tracing::error!(%error, "the own ledger cannot be compared with a peer's");
                unfinished
            }
            Err(SessionError::Offence(offence)) => {
                self.ban(peer, &offence);
                unfinished
            }
        };
        if let Some(after) = gain.bodies {
            self.peers.bodies_sought(peer, after, gain.restored > 0, now);
        }
        self.peers.ended(id, Some(memory), ending, now);
        if gain.restored > 0 {
            tracing::debug!(%peer, records = gain.restored, "sync brought bodies");
        }
        if gain.accepted > 0 {
            tracing::debug!(%peer, records = gain.accepted, "sync brought records");
            self.pass_on(peer, gain);
        }
    }

    /// Tells the other peers of records that came by sync: of few by gossip, of many by letting them compare. They
    /// compare too when gossip has seen a record before: its copy was an orphan then, or lost the race against sync, and
    /// in both cases was not passed on.
    fn pass_on(&mut self, source: PeerId, gain: Gain) {
        let few = gain.fresh.len() as u64 == gain.accepted; // usize is at most 64 bits
        let mut spread = few;
        for record in gain.fresh.into_iter().filter(|_| few) {
            spread &= self.gossip(Topic::Records, record) == Spread::Sent;
        }
        if !spread {
            self.peers.plans().filter(|(peer, _)| **peer != source).for_each(|(_, plan)| plan.want_compared());
        }
    }

    /// Passes on an envelope that a peer has handed over: by gossip, or as it did if gossip has seen it before.
    fn pass_on_mail(&mut self, source: PeerId, envelope: Vec<u8>) {
        if self.gossip(Topic::Mail, envelope.clone()) != Spread::Sent {
            let others = self.peers.plans().filter(|(peer, _)| **peer != source);
            others.for_each(|(_, plan)| plan.want_delivered(envelope.clone()));
        }
    }

    fn on_answered(&mut self, answered: Result<Answered, task::JoinError>) {
        match answered {
            Ok(Answered { peer, network, channel, slot, answer: Some(Ok(answer)) }) => {
                self.peers.charge(peer, network, answer.size, Instant::now());
                self.respond(channel, answer.response);
                drop(slot);
                match answer.news {
                    News::None => {}
                    News::InSync => self.peers.digest_seen(peer, true, Instant::now()),
                    News::Differs => self.peers.digest_seen(peer, false, Instant::now()),
                }
            }
            Ok(Answered { peer, answer: Some(Err(offence)), .. }) => self.ban(peer, &offence),
            Ok(Answered { peer, answer: None, .. }) => {
                tracing::warn!(%peer, "a peer's request took too long to answer")
            }
            Err(error) => tracing::error!(%error, "a request was not answered"),
        }
    }

    pub fn respond(&mut self, channel: Channel, response: Response) {
        // The asker may have gone, or its patience may have ended.
        self.swarm.behaviour_mut().sync.send_response(channel, Ok(response)).ok();
    }

    /// Sends a peer away and keeps it out.
    pub fn ban(&mut self, peer: PeerId, offence: &Offence) {
        tracing::warn!(%peer, %offence, "banning a peer");
        self.keep_out(peer, self.config.limits.ban);
    }

    /// Disconnects a peer and refuses it for a while.
    pub fn keep_out(&mut self, peer: PeerId, duration: Duration) {
        self.swarm.behaviour_mut().gate.ban(peer, duration);
        // It may have gone already.
        self.swarm.disconnect_peer_id(peer).ok();
    }
}

/// Events of the swarm.
pub(super) type Event = SwarmEvent<BehaviourEvent>;
