//! Who is connected, and when to sync with whom.
//!
//! Each peer has a [`Plan`]: what its next session is to do. Wishes add to the plan at any time; a session takes the
//! whole plan. There is one session with a peer at a time, and a pause between two, so that whatever a peer does makes
//! at most a few sessions a second. Whoever has waited longest since his last one comes first, and peers that dialled
//! us cannot have all sessions: many ids that answer slowly keep nobody waiting whom this node chose itself.
//!
//! A comparison reads all heads of this node, and what it was wished for is often somebody else's doing. So it stays in
//! the plan until it may begin: comparisons with a peer have a pace, those with all peers from one network another, and
//! those that brought nothing are followed by pauses. Mail, and the logs of orphans, wait for none of them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use exchange_ledger::retention::Retention;
use exchange_ledger::storage::Aged;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bucket::Bucket;
use super::client::PeerInfo;
use super::config::NetLimits;
use super::mail::MailMemory;
use super::origin::{NetGroup, Origin, Source};
use super::swarm::MAX_SESSIONS;
use crate::backoff::Backoff;

mod plan;
mod shares;

pub(super) use plan::{Plan, PlannedBodies};
use shares::Shares;

/// Sessions at once with peers that dialled us: two are left for those that this node has dialled.
const MAX_INCOMING_SESSIONS: usize = MAX_SESSIONS - 2;
/// The pause between two sessions with a peer.
const SESSION_PAUSE: Duration = Duration::from_millis(250);
/// The pause after a session that broke off or left something: the other session or the peer's trouble may be over. It
/// doubles, up to the longest, while such sessions bring nothing, and no wish makes it shorter then.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(128);
/// Comparisons with a peer at once, and the time in which one more is earned: two nodes that have just met need some, and
/// whoever makes this node wish for more of them makes it read all its heads once in that time.
const COMPARE_BURST: u32 = 8;
const COMPARE_PAUSE: Duration = Duration::from_secs(5);
/// Requests of one peer being answered at once. There is no bound on those of all but the number of peers: what they would have
/// in common, a few addresses would take from everybody else. Few have a response in memory, for look-ups are few at once; the
/// others wait in turn, each with a request of 64 KiB at most.
pub(super) const MAX_ANSWERS: usize = 8;
/// Requests of one peer a second over time, and in a burst: a session needs one for every 256 KiB or 256 logs.
const REQUESTS_PER_SECOND: u32 = 100;
const REQUEST_BURST: u32 = 400;
/// Seconds of its share of what is served that a peer may take at once.
const BURST_SECONDS: u32 = 4;
/// The part of what a peer is served over time that is its own, whatever those who share its network take: one in so many.
/// Of that it may take a second's worth at once, so that coming again brings little.
const OWN_PART: u32 = 16;
/// How often a peer that has finished and holds something else makes us compare at once: two nodes to which news come all
/// the time would else never stop.
const TOLD_PAUSE: Duration = Duration::from_secs(5);
/// How long a peer is asked for no more bodies once it has been asked for all that are missing, or had none.
const BODIES_PAUSE: Duration = Duration::from_secs(3600);
/// Characters of an agent that are kept.
const MAX_AGENT_LEN: usize = 64;

/// The connected peers. Bounded by the connection limits.
#[derive(Debug)]
pub(super) struct Peers {
    peers: HashMap<PeerId, Peer>,
    sync_interval: Duration,
    /// Bytes a second that each is served.
    serve_rate: u32,
    shares: Shares,
    /// Whether all are named in the configuration: then each has what he has alone.
    only_peers: bool,
}

/// One connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    address: Multiaddr,
    /// From whose share it takes.
    network: Option<NetGroup>,
    /// Whether this node has dialled it, rather than the other way round.
    dialled: bool,
    /// What it calls itself; known once it has proved to be of our network.
    agent: Option<String>,
    ping: Option<Duration>,
    in_sync: bool,
    plan: Plan,
    session: Option<task::Id>,
    /// When it is compared with even if nothing has happened.
    due: Instant,
    /// When its next session may begin; from then on it waits.
    not_before: Instant,
    /// When the pause after comparisons that brought nothing is over.
    compare_not_before: Instant,
    comparisons: Bucket,
    /// From when on it is compared with whatever the share of its network says: as often as one that is idle, not counting
    /// the first time.
    compare_by_itself: Instant,
    /// When a peer that has finished is listened to again.
    deaf_until: Instant,
    memory: MailMemory,
    /// After which record it is asked for bodies next, and when.
    bodies: (Option<Aged>, Instant),
    /// Sessions in a row that broke off or left something, and brought nothing.
    fruitless: Backoff,
    answers: Arc<Semaphore>,
    /// Cancelled when it has gone.
    gone: CancellationToken,
    requests: Bucket,
    bytes: Bucket,
    /// What it may take though the share of its network is used up.
    own_bytes: Bucket,
}

/// The right to have one request answered. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    pub asker: Asker,
    _own: OwnedSemaphorePermit,
    _shared: Option<OwnedSemaphorePermit>,
}

/// Who has asked, and what decides when it is his turn.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub peer: PeerId,
    /// In whose line he waits.
    pub source: Source,
    /// Cancelled when he has gone. From then on he waits for no turn, or who comes again and again would have a first request
    /// each time.
    pub gone: CancellationToken,
}

/// How a session ended, as far as planning goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The ledgers were compared to the end.
    InSync,
    /// Only what was asked for was done.
    Done,
    /// There is more to do; and whether it has brought anything, or others kept it from that.
    Unfinished { fruitful: bool },
}

impl Peers {
    pub fn new(limits: &NetLimits, only_peers: bool) -> Self {
        let NetLimits { sync_interval, serve_rate, .. } = *limits;
        Self { peers: HashMap::new(), sync_interval, serve_rate, shares: Shares::new(limits), only_peers }
    }

    /// There is a connection to a peer, which this node has dialled or not; it may be one of several.
    pub fn connected(&mut self, peer: PeerId, address: Multiaddr, dialled: bool, now: Instant) {
        match self.peers.entry(peer) {
            Entry::Occupied(known) => {
                let known = known.into_mut();
                known.dialled |= dialled;
                if let Some(network) = known.network.take_if(|_| dialled) {
                    self.shares.leave(&network, now);
                }
            }
            Entry::Vacant(place) => {
                let is_counted = !dialled && !self.only_peers;
                let network = Origin::of(&address).filter(|_| is_counted).map(|origin| origin.network());
                if let Some(network) = network {
                    self.shares.enter(network, now);
                }
                let compare_by_itself = now + self.sync_interval;
                let peer = Peer::new(address, self.serve_rate, now);
                place.insert(Peer { dialled, network, compare_by_itself, ..peer });
            }
        }
    }

    pub fn disconnected(&mut self, peer: PeerId, now: Instant) {
        let Some(Peer { network, gone, .. }) = self.peers.remove(&peer) else { return };
        gone.cancel();
        if let Some(network) = network {
            self.shares.leave(&network, now);
        }
    }

    /// A peer has proved to be of our network: from now on it counts, and is synced with at once.
    pub fn identified(&mut self, peer: PeerId, agent: &str) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            let agent = agent.chars().filter(|c| !c.is_control()).take(MAX_AGENT_LEN).collect();
            // It may say so as often as it likes.
            if peer.agent.replace(agent).is_none() {
                peer.plan.want_all();
            }
        }
    }

    pub fn pinged(&mut self, peer: PeerId, round_trip: Duration) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.ping = Some(round_trip);
        }
    }

    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// Tells whether this node has dialled a peer that is connected.
    pub fn has_dialled(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.dialled)
    }

    /// Returns from whose share a peer takes.
    pub fn network(&self, peer: &PeerId) -> Option<NetGroup> {
        self.peers.get(peer)?.network
    }

    /// Returns in whose line a peer waits for its turn.
    pub fn source(&self, peer: &PeerId) -> Source {
        self.network(peer).map_or(Source::Peer(*peer), Source::Group)
    }

    /// Returns the peers that count.
    pub fn ids(&self) -> BTreeSet<PeerId> {
        self.peers.iter().filter(|(_, peer)| peer.agent.is_some()).map(|(id, _)| *id).collect()
    }

    pub fn infos(&self) -> Vec<PeerInfo> {
        let mut infos: Vec<PeerInfo> = self.peers.iter().filter_map(|(id, peer)| peer.info(*id)).collect();
        infos.sort_by_key(|info| info.peer);
        infos
    }

    /// Plans for one peer.
    pub fn plan(&mut self, peer: PeerId) -> Option<&mut Plan> {
        self.peers.get_mut(&peer).map(|peer| &mut peer.plan)
    }

    /// What a peer has done makes it worth while to compare with it and to exchange mail, as soon as it may be compared
    /// with.
    pub fn want_all_soon(&mut self, peer: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            let from = peer.compares_from(self.shares.compares_from(peer.network));
            if from <= now {
                peer.plan.want_all();
            } else {
                peer.due = peer.due.min(from);
            }
        }
    }

    /// Plans for all peers.
    pub fn plans(&mut self) -> impl Iterator<Item = (&PeerId, &mut Plan)> {
        self.peers.iter_mut().map(|(id, peer)| (id, &mut peer.plan))
    }

    /// Returns the peer that has waited longest of those whose sessions are due and may begin.
    pub fn due(&mut self, now: Instant) -> Option<PeerId> {
        let incoming = self.peers.values().filter(|peer| !peer.dialled && peer.session.is_some()).count();
        let due = self.peers.iter_mut().filter(|(_, peer)| peer.dialled || incoming < MAX_INCOMING_SESSIONS);
        let due = due.filter_map(|(id, peer)| {
            let shared = self.shares.compares_from(peer.network);
            peer.is_due(shared, now).then_some((peer.not_before, *id))
        });
        due.min().map(|(_, id)| id)
    }

    /// Takes the plan for a session that the caller starts now, and tells by [`Self::started`]. A comparison that may not
    /// begin yet is left.
    pub fn take_plan(&mut self, peer: PeerId, now: Instant) -> Option<(Plan, MailMemory)> {
        let interval = jittered(self.sync_interval);
        let peer = self.peers.get_mut(&peer)?;
        let compare = peer.plan.compare && peer.compares_from(self.shares.compares_from(peer.network)) <= now;
        if compare {
            peer.due = now + interval;
            peer.compare_by_itself = now + self.sync_interval;
            peer.comparisons.take_anyway(now);
            if let Some(share) = peer.network.and_then(|network| self.shares.get_mut(&network)) {
                share.compare(now);
            }
        }
        let (after, not_before) = peer.bodies;
        let keeps = peer.agent.as_deref().and_then(Retention::of_agent).filter(|_| not_before <= now);
        let bodies = keeps.map(|keeps| PlannedBodies { keeps, after });
        let left = Plan { compare: peer.plan.compare && !compare, ..Plan::default() };
        let plan = std::mem::replace(&mut peer.plan, left);
        Some((Plan { compare, bodies, ..plan }, std::mem::take(&mut peer.memory)))
    }

    /// A session has asked for bodies, up to `after` or to the end, and brought some or none.
    pub fn bodies_sought(&mut self, peer: PeerId, after: Option<Aged>, fruitful: bool, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            let is_done = after.is_none() || !fruitful;
            peer.bodies = (after, if is_done { now + BODIES_PAUSE } else { now });
        }
    }

    pub fn started(&mut self, peer: PeerId, session: task::Id) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.session = Some(session);
        }
    }

    /// A session has ended; without `memory` it has panicked or was of an earlier connection.
    pub fn ended(&mut self, session: task::Id, memory: Option<MailMemory>, ending: Ending, now: Instant) {
        let interval = self.sync_interval;
        let Some(peer) = self.peers.values_mut().find(|peer| peer.session == Some(session)) else {
            return;
        };
        peer.session = None;
        peer.memory = memory.unwrap_or_default();
        peer.not_before = now + SESSION_PAUSE;
        match ending {
            Ending::InSync => {
                peer.in_sync = true;
                peer.fruitless.end();
            }
            Ending::Done => {}
            Ending::Unfinished { fruitful } => {
                peer.in_sync = false;
                let pause = if fruitful {
                    peer.fruitless.end();
                    RETRY_PAUSE
                } else {
                    peer.fruitless.next_pause()
                };
                // Whom this node has chosen waits no longer than one that is idle.
                let pause = if peer.dialled { pause.min(interval) } else { pause };
                if !fruitful {
                    peer.compare_not_before = now + pause;
                }
                peer.due = peer.due.min(now + pause);
            }
        }
    }

    /// The peer's ledger equals ours, or it has told that it does not after it took what it lacked.
    pub fn digest_seen(&mut self, peer: PeerId, equal: bool, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.in_sync = equal;
            if equal {
                return;
            }
            if peer.deaf_until <= now {
                peer.plan.want_compared();
                peer.deaf_until = now + TOLD_PAUSE;
            } else {
                peer.due = peer.due.min(peer.deaf_until);
            }
        }
    }

    /// Returns the right to have one request answered; `None` when the peer, or those from its network together, ask too much.
    /// One request at a time is its own, and what others ask makes no difference.
    pub fn admit(&mut self, id: PeerId, now: Instant) -> Option<Slot> {
        let source = self.source(&id);
        let peer = self.peers.get_mut(&id)?;
        let share = peer.network.and_then(|network| self.shares.get_mut(&network));
        let is_first = peer.answers.available_permits() == MAX_ANSWERS;
        let own = Arc::clone(&peer.answers).try_acquire_owned().ok()?;
        let shared = match &share {
            Some(share) if !is_first => Some(share.slot()?),
            Some(_) | None => None,
        };
        let has_more = peer.own_bytes.has_any(now);
        let has_bytes = peer.bytes.has_any(now) && share.is_none_or(|share| share.has_bytes(now) || has_more);
        let asker = Asker { peer: id, source, gone: peer.gone.clone() };
        let slot = Slot { asker, _own: own, _shared: shared };
        (has_bytes && peer.requests.take(now)).then_some(slot)
    }

    /// Charges a peer and its network for a request or an answer; the network even if the peer has gone. What they take
    /// beyond their share they have to wait for.
    pub fn charge(&mut self, peer: PeerId, network: Option<NetGroup>, bytes: usize, now: Instant) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.bytes.charge(bytes, now);
            peer.own_bytes.charge(bytes, now);
        }
        if let Some(share) = network.and_then(|network| self.shares.get_mut(&network)) {
            share.charge(bytes, now);
        }
    }
}

impl Peer {
    fn new(address: Multiaddr, serve_rate: u32, now: Instant) -> Self {
        Self {
            address,
            network: None,
            dialled: false,
            agent: None,
            ping: None,
            in_sync: false,
            plan: Plan::default(),
            session: None,
            due: now,
            not_before: now,
            compare_not_before: now,
            comparisons: Bucket::paced(COMPARE_BURST, COMPARE_PAUSE, now),
            compare_by_itself: now,
            deaf_until: now,
            memory: MailMemory::default(),
            bodies: (None, now),
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
            gone: CancellationToken::new(),
            fruitless: Backoff::new(RETRY_PAUSE, LONGEST_RETRY_PAUSE),
            requests: Bucket::per_second(REQUESTS_PER_SECOND, REQUEST_BURST, now),
            bytes: Bucket::per_second(serve_rate, serve_rate.saturating_mul(BURST_SECONDS), now),
            own_bytes: Bucket::per_second(serve_rate / OWN_PART, serve_rate / OWN_PART, now),
        }
    }

    /// Tells whether its next session is due; `shared` is when those from its network may be compared with.
    fn is_due(&mut self, shared: Option<Instant>, now: Instant) -> bool {
        let compares_from = self.compares_from(shared);
        if self.due <= now {
            self.plan.want_all();
            // While the comparison waits, mail is not wished for again and again.
            self.due = self.due.max(compares_from);
        }
        let Plan { compare, mail, deliver, logs, bodies: _ } = &self.plan;
        let compares = *compare && compares_from <= now;
        let has_work = compares || *mail || !deliver.is_empty() || !logs.is_empty();
        self.agent.is_some() && self.session.is_none() && self.not_before <= now && has_work
    }

    /// Returns when it may be compared with; `shared` is when those from its network may.
    fn compares_from(&self, shared: Option<Instant>) -> Instant {
        let shared = shared.map(|shared| shared.min(self.compare_by_itself));
        let paced = self.comparisons.not_before().max(shared);
        paced.map_or(self.compare_not_before, |paced| paced.max(self.compare_not_before))
    }

    fn info(&self, peer: PeerId) -> Option<PeerInfo> {
        Some(PeerInfo {
            peer,
            address: self.address.clone(),
            agent: self.agent.clone()?,
            ping_ms: self.ping.map(|ping| u64::try_from(ping.as_millis()).unwrap_or(u64::MAX)),
            in_sync: self.in_sync,
        })
    }
}

/// Returns a duration between three and five quarters of the given one, so that nodes started together drift apart.
fn jittered(duration: Duration) -> Duration {
    // Without entropy all peers are merely asked at the same time.
    let percent = getrandom::u32().map_or(100, |random| 75 + random % 51);
    duration * percent / 100
}

#[cfg(test)]
mod tests;
