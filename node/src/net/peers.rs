//! Who is connected, and when to sync with whom.
//!
//! Each peer has a [`Plan`]: what its next session is to do. Wishes add to the plan at any time; a session takes the
//! whole plan. There is one session with a peer at a time, and a pause between two, so that whatever a peer does makes
//! at most a few sessions a second. Whoever has waited longest since his last one comes first, and peers that dialled
//! us cannot have all sessions: many ids that answer slowly keep nobody waiting whom this node chose itself.
//!
//! A comparison reads all heads of this node, and what it was wished for is often somebody else's doing. So it stays in
//! the plan until it may begin: comparisons with a peer have a pace, and those that brought nothing are followed by
//! pauses. Mail, and the logs of orphans, wait for neither.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use exchange_ledger::record::LogId;
use exchange_ledger::retention::Retention;
use exchange_ledger::storage::Aged;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;
use tokio::time::Instant;

use super::client::PeerInfo;
use super::config::NetLimits;
use super::mail::MailMemory;
use super::swarm::MAX_SESSIONS;

/// Sessions at once with peers that dialled us: two are left for those that this node has dialled.
const MAX_INCOMING_SESSIONS: usize = MAX_SESSIONS - 2;
/// Logs that a session fetches because of orphans; with more of them it compares everything instead.
const MAX_WANTED_LOGS: usize = 64;
/// Envelopes of others waiting to be handed to one peer: at most 600 kB.
const MAX_DELIVERED: usize = 32;
/// The pause between two sessions with a peer.
const SESSION_PAUSE: Duration = Duration::from_millis(250);
/// The pause after a session that broke off or left something: the other session or the peer's trouble may be over. It
/// doubles, up to so many times, while such sessions bring nothing, and no wish makes it shorter then.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
const MAX_DOUBLINGS: u32 = 6;
/// Comparisons with a peer at once, and the time in which one more is earned: two nodes that have just met need some, and
/// whoever makes this node wish for more of them makes it read all its heads once in that time.
const COMPARE_BURST: u32 = 8;
const COMPARE_PAUSE: Duration = Duration::from_secs(5);
/// Requests of one peer being answered at once.
const MAX_ANSWERS: usize = 8;
/// Requests of one peer a second over time, and in a burst: a session needs one for every 256 KiB or 256 logs.
const REQUESTS_PER_SECOND: u32 = 100;
const REQUEST_BURST: u32 = 400;
/// Seconds of its share of what is served that a peer may take at once.
const BURST_SECONDS: u32 = 4;
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
}

/// One connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    address: Multiaddr,
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
    /// The comparisons with it, at a [`COMPARE_PAUSE`] each, take until then.
    compared_until: Instant,
    /// When a peer that has finished is listened to again.
    deaf_until: Instant,
    memory: MailMemory,
    /// After which record it is asked for bodies next, and when.
    bodies: (Option<Aged>, Instant),
    /// Sessions in a row that broke off or left something, and brought nothing.
    fruitless: u32,
    answers: Arc<Semaphore>,
    requests: Bucket,
    bytes: Bucket,
}

/// What a session is to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    pub compare: bool,
    pub mail: bool,
    /// Envelopes of others to hand to the peer.
    pub deliver: Vec<Vec<u8>>,
    pub logs: BTreeSet<LogId>,
    /// Bodies to fetch after the comparison.
    pub bodies: Option<PlannedBodies>,
}

/// Which bodies a peer can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlannedBodies {
    /// How long the peer keeps them, as it says.
    pub keeps: Retention,
    /// Those of records after this one.
    pub after: Option<Aged>,
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
    pub fn new(limits: &NetLimits) -> Self {
        let NetLimits { sync_interval, serve_rate, .. } = *limits;
        Self { peers: HashMap::new(), sync_interval, serve_rate }
    }

    /// There is a connection to a peer, which this node has dialled or not; it may be one of several.
    pub fn connected(&mut self, peer: PeerId, address: Multiaddr, dialled: bool, now: Instant) {
        let serve_rate = self.serve_rate;
        self.peers.entry(peer).or_insert_with(|| Peer::new(address, serve_rate, now)).dialled |= dialled;
    }

    pub fn disconnected(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
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
            let from = peer.compares_from();
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
        let due = due.filter_map(|(id, peer)| peer.is_due(now).then_some((peer.not_before, *id)));
        due.min().map(|(_, id)| id)
    }

    /// Takes the plan for a session that the caller starts now, and tells by [`Self::started`]. A comparison that may not
    /// begin yet is left.
    pub fn take_plan(&mut self, peer: PeerId, now: Instant) -> Option<(Plan, MailMemory)> {
        let interval = jittered(self.sync_interval);
        let peer = self.peers.get_mut(&peer)?;
        let compare = peer.plan.compare && peer.compares_from() <= now;
        if compare {
            peer.due = now + interval;
            peer.compared_until = peer.compared_until.max(now) + COMPARE_PAUSE;
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
                peer.fruitless = 0;
            }
            Ending::Done => {}
            Ending::Unfinished { fruitful } => {
                peer.in_sync = false;
                peer.fruitless = if fruitful { 0 } else { peer.fruitless.saturating_add(1) };
                let pause = RETRY_PAUSE * (1 << peer.fruitless.saturating_sub(1).min(MAX_DOUBLINGS));
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

    /// Returns the right to have one request answered; `None` when the peer asks too much.
    pub fn admit(&mut self, peer: PeerId, now: Instant) -> Option<OwnedSemaphorePermit> {
        let peer = self.peers.get_mut(&peer)?;
        let permit = Arc::clone(&peer.answers).try_acquire_owned().ok()?;
        (peer.bytes.has_any(now) && peer.requests.take(now)).then_some(permit)
    }

    /// Charges a peer for a request or an answer. What it takes beyond its share it has to wait for.
    pub fn charge(&mut self, peer: PeerId, bytes: usize, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.bytes.charge(i64::try_from(bytes).unwrap_or(i64::MAX), now);
        }
    }
}

impl Peer {
    fn new(address: Multiaddr, serve_rate: u32, now: Instant) -> Self {
        Self {
            address,
            dialled: false,
            agent: None,
            ping: None,
            in_sync: false,
            plan: Plan::default(),
            session: None,
            due: now,
            not_before: now,
            compare_not_before: now,
            compared_until: now,
            deaf_until: now,
            memory: MailMemory::default(),
            bodies: (None, now),
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
            fruitless: 0,
            requests: Bucket::new(REQUESTS_PER_SECOND, REQUEST_BURST, now),
            bytes: Bucket::new(serve_rate, serve_rate.saturating_mul(BURST_SECONDS), now),
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        if self.due <= now {
            self.plan.want_all();
            // While the comparison waits, mail is not wished for again and again.
            self.due = self.due.max(self.compares_from());
        }
        let Plan { compare, mail, deliver, logs, bodies: _ } = &self.plan;
        let compares = *compare && self.compares_from() <= now;
        let has_work = compares || *mail || !deliver.is_empty() || !logs.is_empty();
        self.agent.is_some() && self.session.is_none() && self.not_before <= now && has_work
    }

    /// Returns when it may be compared with.
    fn compares_from(&self) -> Instant {
        let paced = self.compared_until.checked_sub(COMPARE_PAUSE * (COMPARE_BURST - 1));
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

impl Plan {
    /// Compare the ledgers and exchange mail.
    pub fn want_all(&mut self) {
        self.compare = true;
        self.mail = true;
    }

    /// Compare the ledgers.
    pub fn want_compared(&mut self) {
        self.compare = true;
    }

    /// Exchange mail.
    pub fn want_mail(&mut self) {
        self.mail = true;
    }

    /// Hand over an envelope of somebody else. With too many of them the recipient has to fetch the rest.
    pub fn want_delivered(&mut self, envelope: Vec<u8>) {
        if self.deliver.len() < MAX_DELIVERED {
            self.deliver.push(envelope);
        }
    }

    /// Fetch a log.
    pub fn want_log(&mut self, log: LogId) {
        if self.logs.len() < MAX_WANTED_LOGS {
            self.logs.insert(log);
        } else {
            self.want_compared();
        }
    }
}

/// A token bucket. It may be in debt, for what cannot be known before it is taken.
#[derive(Debug)]
struct Bucket {
    left: i64,
    rate: u32,
    burst: i64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self { left: burst.into(), rate, burst: burst.into(), filled: now }
    }

    fn has_any(&mut self, now: Instant) -> bool {
        let elapsed_ms = i64::try_from(now.saturating_duration_since(self.filled).as_millis()).unwrap_or(i64::MAX);
        let earned = elapsed_ms.saturating_mul(self.rate.into()) / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(self.burst);
            self.filled = now;
        }
        self.left > 0
    }

    /// Takes one, if there is any.
    fn take(&mut self, now: Instant) -> bool {
        let granted = self.has_any(now);
        self.left -= i64::from(granted);
        granted
    }

    /// Takes what has been spent already.
    fn charge(&mut self, tokens: i64, now: Instant) {
        self.has_any(now);
        self.left = self.left.saturating_sub(tokens).max(-self.burst);
    }
}

/// Returns a duration between three and five quarters of the given one, so that nodes started together drift apart.
fn jittered(duration: Duration) -> Duration {
    // Without entropy all peers are merely asked at the same time.
    let percent = getrandom::u32().map_or(100, |random| 75 + random % 51);
    duration * percent / 100
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::AuthorId;

    use super::*;

    fn log(author: u8) -> LogId {
        LogId { author: AuthorId([author; 32]), epoch: 0 }
    }

    fn one_peer(now: Instant) -> (Peers, PeerId) {
        let mut peers =
            Peers::new(&NetLimits { sync_interval: Duration::from_secs(20), serve_rate: 1000, ..NetLimits::default() });
        let peer = PeerId::random();
        peers.connected(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), false, now);
        (peers, peer)
    }

    /// Adds a peer of our network.
    fn another(peers: &mut Peers, dialled: bool, now: Instant) -> PeerId {
        let peer = PeerId::random();
        peers.connected(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), dialled, now);
        peers.identified(peer, "a");
        peer
    }

    /// Starts the session that is due, if any is.
    fn begin(peers: &mut Peers, now: Instant) -> Option<(PeerId, task::Id)> {
        let peer = peers.due(now)?;
        peers.take_plan(peer, now);
        let session = tokio::spawn(async {}).id();
        peers.started(peer, session);
        Some((peer, session))
    }

    #[test]
    fn a_peer_counts_once_it_is_identified_and_is_then_compared_with() {
        let now = Instant::now();
        let (mut peers, peer) = one_peer(now);
        assert_eq!(peers.due(now), None);
        assert!(peers.infos().is_empty());
        peers.identified(peer, "agent\n\u{1b}[31m/1");
        assert_eq!(peers.due(now), Some(peer));
        assert_eq!(peers.infos()[0].agent, "agent[31m/1", "no control character reaches a terminal");
        let (plan, _) = peers.take_plan(peer, now).unwrap();
        assert!(plan.mail && plan.compare);
        assert_eq!(peers.due(now + Duration::from_secs(14)), None);
        assert_eq!(peers.due(now + Duration::from_secs(26)), Some(peer), "and again after the interval");
    }

    #[tokio::test]
    async fn sessions_with_a_peer_come_one_after_another() {
        let now = Instant::now();
        let (mut peers, peer) = one_peer(now);
        peers.identified(peer, "a");
        peers.take_plan(peer, now);
        let session = tokio::spawn(async {}).id();
        peers.started(peer, session);
        peers.plan(peer).unwrap().want_log(log(1));
        assert_eq!(peers.due(now), None, "one is running");
        peers.ended(session, None, Ending::Done, now);
        assert_eq!(peers.due(now), None, "a pause comes first");
        assert_eq!(peers.due(now + SESSION_PAUSE), Some(peer), "what was wished meanwhile is not forgotten");
    }

    #[tokio::test]
    async fn who_has_waited_longest_comes_first() {
        let start = Instant::now();
        let (mut peers, first) = one_peer(start);
        peers.identified(first, "a");
        let others: Vec<PeerId> =
            (1..20).map(|s| another(&mut peers, false, start + Duration::from_millis(s))).collect();
        // Whoever has had a session wants the next one at once.
        let mut now = start + Duration::from_secs(1);
        for expected in [first].iter().chain(&others).chain([&first]) {
            let (peer, session) = begin(&mut peers, now).unwrap();
            assert_eq!(peer, *expected);
            peers.ended(session, None, Ending::Done, now);
            peers.plan(peer).unwrap().want_all();
            now += SESSION_PAUSE;
        }
    }

    #[tokio::test]
    async fn peers_that_dialled_us_cannot_have_all_sessions() {
        let now = Instant::now();
        let mut peers = Peers::new(&NetLimits::default());
        for _ in 0..95 {
            another(&mut peers, false, now);
        }
        let slow: Vec<_> = std::iter::from_fn(|| begin(&mut peers, now)).collect();
        assert_eq!(slow.len(), MAX_INCOMING_SESSIONS);
        let chosen = another(&mut peers, true, now);
        assert_eq!(begin(&mut peers, now).map(|(peer, _)| peer), Some(chosen));
        assert_eq!(peers.due(now), None);
        // A slot that becomes free is anybody's.
        peers.ended(slow[0].1, None, Ending::Done, now);
        assert!(peers.due(now).is_some_and(|peer| peer != slow[0].0));
    }

    #[test]
    fn a_peer_is_asked_for_the_bodies_that_it_says_it_keeps_until_it_has_no_more() {
        let now = Instant::now();
        let (mut peers, peer) = one_peer(now);
        let planned = |peers: &mut Peers, now| peers.take_plan(peer, now).unwrap().0.bodies;
        peers.identified(peer, "node/1");
        assert_eq!(planned(&mut peers, now), None, "it does not say");
        peers.identified(peer, "node/1 90d");
        let keeps = Retention::Days(90);
        assert_eq!(planned(&mut peers, now), Some(PlannedBodies { keeps, after: None }));
        let after = Some(Aged { time: 7, place: exchange_ledger::record::Place::first_of(log(1)) });
        peers.bodies_sought(peer, after, true, now);
        assert_eq!(planned(&mut peers, now), Some(PlannedBodies { keeps, after }), "there is more");
        peers.bodies_sought(peer, after, false, now);
        assert_eq!(planned(&mut peers, now + BODIES_PAUSE / 2), None, "it had none");
        assert_eq!(planned(&mut peers, now + BODIES_PAUSE), Some(PlannedBodies { keeps, after }));
        peers.bodies_sought(peer, None, true, now);
        assert_eq!(planned(&mut peers, now + BODIES_PAUSE / 2), None, "it had all");
    }

    #[test]
    fn too_many_orphans_become_one_comparison() {
        let mut plan = Plan::default();
        for author in 0..=u8::try_from(MAX_WANTED_LOGS).unwrap() {
            plan.want_log(log(author));
        }
        assert_eq!((plan.logs.len(), plan.compare), (MAX_WANTED_LOGS, true));
    }

    #[test]
    fn a_peer_that_asks_too_much_is_told_to_wait() {
        let now = Instant::now();
        let (mut peers, peer) = one_peer(now);
        let permits: Vec<_> = (0..MAX_ANSWERS).map(|_| peers.admit(peer, now).unwrap()).collect();
        assert!(peers.admit(peer, now).is_none(), "too many at once");
        drop(permits);
        let granted = (0..1000).filter(|_| peers.admit(peer, now).is_some()).count();
        assert_eq!(granted, usize::try_from(REQUEST_BURST).unwrap() - MAX_ANSWERS);
        assert!(peers.admit(peer, now + Duration::from_secs(1)).is_some(), "after a second it may ask again");
    }

    #[test]
    fn a_peer_that_takes_more_than_its_share_waits_until_it_is_earned() {
        let now = Instant::now();
        let (mut peers, peer) = one_peer(now);
        peers.charge(peer, 6000, now);
        assert!(peers.admit(peer, now).is_none(), "four seconds of 1000 bytes are used up, and two more");
        assert!(peers.admit(peer, now + Duration::from_secs(1)).is_none());
        assert!(peers.admit(peer, now + Duration::from_secs(3)).is_some());
    }

    #[tokio::test]
    async fn a_peer_that_never_brings_what_it_has_is_asked_ever_more_rarely() {
        let mut now = Instant::now();
        let (mut peers, peer) = one_peer(now);
        peers.identified(peer, "a");
        let mut pauses = Vec::new();
        for _ in 0..4 {
            peers.take_plan(peer, now);
            let session = tokio::spawn(async {}).id();
            peers.started(peer, session);
            peers.ended(session, None, Ending::Unfinished { fruitful: false }, now);
            let next = (0..100).map(|s| now + Duration::from_secs(s)).find(|later| peers.due(*later).is_some());
            pauses.push(next.unwrap().saturating_duration_since(now).as_secs());
            now = next.unwrap();
        }
        assert_eq!(pauses[..3], [2, 4, 8]);
        assert!(pauses[3] > 8, "{pauses:?}");
    }

    /// Begins the sessions that are due with the only peer until one compares; returns when, and which. `wish` is what is
    /// wished for all the time.
    fn next_comparison(
        peers: &mut Peers,
        from: Instant,
        wish: impl Fn(&mut Peers, Instant),
    ) -> (Duration, Instant, task::Id) {
        for step in 0..1000 {
            let now = from + SESSION_PAUSE * step;
            wish(peers, now);
            let Some(peer) = peers.due(now) else { continue };
            let (plan, _) = peers.take_plan(peer, now).unwrap();
            let session = tokio::spawn(async {}).id();
            peers.started(peer, session);
            if plan.compare {
                return (now - from, now, session);
            }
            peers.ended(session, None, Ending::Done, now);
        }
        panic!("no comparison for minutes");
    }

    /// Wishes whatever can be wished.
    fn everything(peer: PeerId) -> impl Fn(&mut Peers, Instant) {
        move |peers, now| {
            peers.identified(peer, "a");
            peers.plan(peer).unwrap().want_all();
            peers.want_all_soon(peer, now);
            peers.digest_seen(peer, false, now);
            for author in 0..=u8::try_from(MAX_WANTED_LOGS).unwrap() {
                peers.plan(peer).unwrap().want_log(log(author));
            }
        }
    }

    #[tokio::test]
    async fn no_wish_shortens_the_pause_after_sessions_that_brought_nothing() {
        for (dialled, pauses) in [(false, [0, 2, 4, 8, 16, 32, 64, 128, 128]), (true, [0, 2, 4, 8, 16, 20, 20, 20, 20])]
        {
            let start = Instant::now();
            let (mut peers, peer) = one_peer(start);
            peers.connected(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), dialled, start);
            let mut before = start;
            for pause in pauses {
                let (waited, now, session) = next_comparison(&mut peers, before, everything(peer));
                assert_eq!(waited, Duration::from_secs(pause));
                peers.ended(session, None, Ending::Unfinished { fruitful: false }, now);
                before = now;
            }
        }
    }

    #[tokio::test]
    async fn wishes_without_end_make_a_comparison_in_five_seconds() {
        let start = Instant::now();
        let (mut peers, peer) = one_peer(start);
        let mut before = start;
        let mut times = Vec::new();
        while before <= start + Duration::from_secs(60) {
            let (_, now, session) = next_comparison(&mut peers, before, everything(peer));
            peers.ended(session, None, Ending::InSync, now);
            times.push(now);
            before = now;
        }
        let within = |seconds| times.iter().filter(|time| **time <= start + Duration::from_secs(seconds)).count();
        assert_eq!((within(2), within(60)), (8, 20));
    }

    #[tokio::test]
    async fn neither_who_comes_anew_nor_an_orphan_waits_for_the_pause() {
        let now = Instant::now();
        let (mut peers, peer) = one_peer(now);
        peers.identified(peer, "a");
        for _ in 0..5 {
            let (_, now, session) = next_comparison(&mut peers, now, everything(peer));
            peers.ended(session, None, Ending::Unfinished { fruitful: false }, now);
        }
        let later = now + Duration::from_secs(35);
        peers.take_plan(peer, later);
        peers.plan(peer).unwrap().want_log(log(1));
        assert_eq!(peers.due(later), Some(peer));
        let (plan, _) = peers.take_plan(peer, later).unwrap();
        assert_eq!((plan.logs.len(), plan.compare), (1, false));
        peers.disconnected(peer);
        peers.connected(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), false, later);
        peers.identified(peer, "a");
        assert_eq!(peers.due(later), Some(peer));
        assert!(peers.take_plan(peer, later).unwrap().0.compare);
    }

    #[test]
    fn a_peer_that_always_holds_something_else_is_compared_with_at_a_bounded_pace() {
        let now = Instant::now();
        let (mut peers, peer) = one_peer(now);
        let mut wants = |later| {
            peers.digest_seen(peer, false, now + later);
            std::mem::take(peers.plan(peer).unwrap()).compare
        };
        assert!(wants(Duration::ZERO) && !wants(TOLD_PAUSE / 2) && wants(TOLD_PAUSE));
        peers.identified(peer, "a");
        peers.take_plan(peer, now + TOLD_PAUSE);
        assert_eq!(peers.due(now + TOLD_PAUSE), None);
        peers.digest_seen(peer, false, now + TOLD_PAUSE + TOLD_PAUSE / 2);
        assert_eq!(peers.due(now + TOLD_PAUSE * 2), Some(peer), "what it told meanwhile is not forgotten");
    }
}
