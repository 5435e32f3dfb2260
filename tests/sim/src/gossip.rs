//! Gossip in a large network: how long a record takes to everybody, and how often each node gets it.
//!
//! This is libp2p's gossipsub 1.2, as far as it decides about that: meshes that are grafted and pruned, IDONTWANT as soon
//! as a message has arrived, forwarding once it has been judged, IHAVE to some peers outside of the mesh with every
//! heartbeat, IWANT. All nodes are honest, so scores do not matter. A message that is lost is lost for good: a real
//! transport would send it again a little later.

use std::collections::BTreeMap;

use crate::agenda::{Agenda, Millis};
use crate::rng::Rng;

/// Heartbeats during which a message is announced: gossipsub's `history_gossip`.
const ANNOUNCED_HEARTBEATS: u64 = 3;
/// Time between two heartbeats of a node.
const HEARTBEAT_MS: Millis = 1000;
/// How long a pruned peer is not grafted again: gossipsub's `prune_backoff`.
const BACKOFF_MS: Millis = 60_000;
/// How long a peer has to answer an IWANT before another is asked: gossipsub's `iwant_followup_time`.
const PROMISE_MS: Millis = 3000;
/// From receiving a record to passing it on: decoding, the signature, and a commit to disk that others share.
const JUDGED_AFTER_MS: Millis = 5;
/// The nodes start within this time, and their meshes settle until [`SETTLED_MS`].
const STARTED_MS: Millis = 10_000;
const SETTLED_MS: Millis = 150_000;
/// How long after the last record everything is over: far more than any promise lasts.
const OVER_MS: Millis = 10_000;

/// The shape of the mesh. See gossipsub's parameters of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mesh {
    /// Peers that a node grafts up to, and prunes down to.
    pub n: usize,
    /// Below this it grafts.
    pub low: usize,
    /// From this on it prunes.
    pub high: usize,
    /// Of these at least so many that it has dialled itself.
    pub outbound_min: usize,
    /// Peers outside of the mesh that a heartbeat tells what there is.
    pub lazy: usize,
    /// Or this part of them, in percent, if that is more.
    pub lazy_percent: usize,
}

/// The network.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// How many nodes.
    pub nodes: usize,
    /// How many others each has dialled.
    pub dials: usize,
    /// The fastest and the slowest link, one way.
    pub latency_ms: (Millis, Millis),
    /// Messages lost of a thousand.
    pub loss_permille: u64,
    /// Records published, one at a time by anyone.
    pub records: usize,
    /// Time between two of them.
    pub every_ms: Millis,
}

impl Network {
    /// A thousand nodes, links of 50 to 150 ms, one message of a hundred lost. Whoever starts a node names a few peers; eight
    /// is what Bitcoin's nodes dial.
    pub const THOUSAND: Self =
        Self { nodes: 1000, dials: 8, latency_ms: (50, 150), loss_permille: 10, records: 200, every_ms: 137 };
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// Time until a record was at half of all places (a record at a node is a place), in milliseconds.
    pub p50_ms: Millis,
    /// Time until it was at 95 of a hundred.
    pub p95_ms: Millis,
    /// Time until it was at the last one that it reached.
    pub max_ms: Millis,
    /// Places that no record reached.
    pub missed: usize,
    /// Copies of a record that a node received, on average.
    pub copies: f64,
    /// The same of the node that received most.
    pub copies_max: f64,
    /// Peers in a mesh, on average.
    pub degree: f64,
}

/// Lets records spread through a network.
pub fn spread(mesh: Mesh, network: Network, seed: u64) -> Spread {
    let mut world = World::new(mesh, network, seed);
    let end = SETTLED_MS + network.records as u64 * network.every_ms + OVER_MS;
    while let Some(event) = world.agenda.next_until(end) {
        world.happen(event);
    }
    world.measure()
}

#[derive(Debug)]
enum Event {
    Start(usize),
    Heartbeat(usize),
    Publish(usize),
    Judged { node: usize, record: usize },
    Arrive { to: usize, from: usize, message: Message },
}

#[derive(Debug, Clone)]
enum Message {
    Subscribe,
    Graft,
    Prune,
    Record(usize),
    DontWant(usize),
    Have(Vec<usize>),
    Want(Vec<usize>),
}

/// A connection, as one of its ends sees it.
#[derive(Debug)]
struct Peer {
    latency: Millis,
    dialled: bool,
    subscribed: bool,
    in_mesh: bool,
    backoff_until: Millis,
    unwanted: Vec<usize>,
}

/// A record at a node.
#[derive(Debug, Default)]
struct Copy {
    arrived: Option<Millis>,
    judged: bool,
    received: u32,
    sources: Vec<usize>,
    /// Until when somebody has promised it.
    promised: Millis,
    /// By whom.
    promisers: Vec<usize>,
}

#[derive(Debug, Default)]
struct Node {
    started: bool,
    peers: BTreeMap<usize, Peer>,
}

struct World {
    mesh: Mesh,
    network: Network,
    rng: Rng,
    agenda: Agenda<Event>,
    nodes: Vec<Node>,
    published: Vec<Millis>,
    /// By record, then by node.
    copies: Vec<Vec<Copy>>,
}

impl World {
    fn new(mesh: Mesh, network: Network, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut nodes: Vec<Node> = (0..network.nodes).map(|_| Node::default()).collect();
        for from in 0..network.nodes {
            let mut dialled = 0;
            while dialled < network.dials.min(network.nodes - 1) {
                let to = rng.index(network.nodes);
                if to == from {
                    continue;
                }
                dialled += 1;
                let latency = rng.between(network.latency_ms.0, network.latency_ms.1);
                let peer = |dialled| Peer {
                    latency,
                    dialled,
                    subscribed: false,
                    in_mesh: false,
                    backoff_until: 0,
                    unwanted: Vec::new(),
                };
                nodes[from].peers.entry(to).or_insert_with(|| peer(true));
                nodes[to].peers.entry(from).or_insert_with(|| peer(false));
            }
        }
        let mut agenda = Agenda::default();
        for node in 0..network.nodes {
            agenda.after(rng.below(STARTED_MS), Event::Start(node));
        }
        for record in 0..network.records {
            agenda.after(SETTLED_MS + record as u64 * network.every_ms, Event::Publish(record));
        }
        let copies = (0..network.records).map(|_| (0..network.nodes).map(|_| Copy::default()).collect()).collect();
        Self { mesh, network, rng, agenda, nodes, published: vec![0; network.records], copies }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start(node) => {
                self.nodes[node].started = true;
                let up: Vec<usize> =
                    self.nodes[node].peers.keys().copied().filter(|peer| self.nodes[*peer].started).collect();
                for peer in up {
                    self.send(node, peer, Message::Subscribe);
                    self.send(peer, node, Message::Subscribe);
                }
                self.agenda.after(HEARTBEAT_MS, Event::Heartbeat(node));
            }
            Event::Heartbeat(node) => {
                self.maintain(node);
                self.announce(node);
                self.agenda.after(HEARTBEAT_MS, Event::Heartbeat(node));
            }
            Event::Publish(record) => self.publish(record),
            Event::Judged { node, record } => {
                self.copies[record][node].judged = true;
                let sources = std::mem::take(&mut self.copies[record][node].sources);
                for peer in self.mesh_of(node) {
                    if !sources.contains(&peer) && !self.nodes[node].peers[&peer].unwanted.contains(&record) {
                        self.send(node, peer, Message::Record(record));
                    }
                }
            }
            Event::Arrive { to, from, message } => self.arrive(to, from, message),
        }
    }

    /// A loss of the first words between two peers would only make another, smaller network: those are sent again.
    fn send(&mut self, from: usize, to: usize, message: Message) {
        let Some(peer) = self.nodes[from].peers.get(&to) else { return };
        let counts = matches!(message, Message::Record(_) | Message::DontWant(_) | Message::Have(_) | Message::Want(_));
        if !(counts && self.rng.permille(self.network.loss_permille)) {
            self.agenda.after(peer.latency, Event::Arrive { to, from, message });
        }
    }

    fn publish(&mut self, record: usize) {
        let node = self.rng.index(self.nodes.len());
        self.published[record] = self.agenda.now();
        let copy = &mut self.copies[record][node];
        (copy.arrived, copy.judged) = (Some(self.agenda.now()), true);
        let mut to = self.mesh_of(node);
        let mut others: Vec<usize> = self.nodes[node].peers.keys().copied().filter(|p| !to.contains(p)).collect();
        self.rng.shuffle(&mut others);
        to.extend(others.into_iter().take(self.mesh.n.saturating_sub(to.len())));
        for peer in to {
            self.send(node, peer, Message::Record(record));
        }
    }

    fn arrive(&mut self, node: usize, from: usize, message: Message) {
        let now = self.agenda.now();
        match message {
            Message::Subscribe => {
                let size = self.mesh_of(node).len();
                let Some(peer) = self.nodes[node].peers.get_mut(&from) else { return };
                peer.subscribed = true;
                if size < self.mesh.low && !peer.in_mesh && peer.backoff_until <= now {
                    peer.in_mesh = true;
                    self.send(node, from, Message::Graft);
                }
            }
            Message::Graft => {
                let size = self.mesh_of(node).len();
                let Some(peer) = self.nodes[node].peers.get_mut(&from) else { return };
                if peer.in_mesh {
                    return;
                }
                if peer.backoff_until > now || (size >= self.mesh.high && !peer.dialled) {
                    peer.backoff_until = now + BACKOFF_MS;
                    self.send(node, from, Message::Prune);
                } else {
                    peer.in_mesh = true;
                }
            }
            Message::Prune => {
                if let Some(peer) = self.nodes[node].peers.get_mut(&from) {
                    (peer.in_mesh, peer.backoff_until) = (false, now + BACKOFF_MS);
                }
            }
            Message::Record(record) => self.receive(node, from, record),
            Message::DontWant(record) => {
                if let Some(peer) = self.nodes[node].peers.get_mut(&from) {
                    peer.unwanted.push(record);
                }
            }
            Message::Have(records) => {
                let wanted: Vec<usize> = records
                    .into_iter()
                    .filter(|record| {
                        let copy = &self.copies[*record][node];
                        copy.arrived.is_none() && copy.promised <= now
                    })
                    .collect();
                for record in &wanted {
                    let copy = &mut self.copies[*record][node];
                    copy.promised = now + PROMISE_MS;
                    copy.promisers.push(from);
                }
                if !wanted.is_empty() {
                    self.send(node, from, Message::Want(wanted));
                }
            }
            Message::Want(records) => {
                for record in records {
                    let unwanted = self.nodes[node].peers.get(&from).is_none_or(|peer| peer.unwanted.contains(&record));
                    if self.copies[record][node].arrived.is_some() && !unwanted {
                        self.send(node, from, Message::Record(record));
                    }
                }
            }
        }
    }

    fn receive(&mut self, node: usize, from: usize, record: usize) {
        let now = self.agenda.now();
        let copy = &mut self.copies[record][node];
        copy.received += 1;
        if !copy.judged {
            copy.sources.push(from);
        }
        if copy.arrived.is_some() {
            return;
        }
        copy.arrived = Some(now);
        let mut told = self.mesh_of(node);
        told.extend(self.copies[record][node].promisers.iter().copied());
        told.sort_unstable();
        told.dedup();
        for peer in told.into_iter().filter(|peer| *peer != from) {
            self.send(node, peer, Message::DontWant(record));
        }
        self.agenda.after(JUDGED_AFTER_MS, Event::Judged { node, record });
    }

    fn mesh_of(&self, node: usize) -> Vec<usize> {
        self.nodes[node].peers.iter().filter(|(_, peer)| peer.in_mesh).map(|(peer, _)| *peer).collect()
    }

    /// Grafts and prunes, as a heartbeat does.
    fn maintain(&mut self, node: usize) {
        let now = self.agenda.now();
        let mesh = self.mesh_of(node);
        if mesh.len() < self.mesh.low {
            self.graft(node, self.mesh.n - mesh.len(), false);
        }
        let mesh = self.mesh_of(node);
        if mesh.len() >= self.mesh.high {
            let mut outbound = mesh.iter().filter(|peer| self.nodes[node].peers[peer].dialled).count();
            let mut candidates = mesh.clone();
            self.rng.shuffle(&mut candidates);
            let mut excess = mesh.len() - self.mesh.n;
            for to in candidates {
                let Some(peer) = self.nodes[node].peers.get_mut(&to).filter(|_| excess > 0) else { break };
                if peer.dialled {
                    if outbound <= self.mesh.outbound_min {
                        continue;
                    }
                    outbound -= 1;
                }
                (peer.in_mesh, peer.backoff_until) = (false, now + BACKOFF_MS);
                excess -= 1;
                self.send(node, to, Message::Prune);
            }
        }
        let mesh = self.mesh_of(node);
        let outbound = mesh.iter().filter(|peer| self.nodes[node].peers[peer].dialled).count();
        if mesh.len() >= self.mesh.low && outbound < self.mesh.outbound_min {
            self.graft(node, self.mesh.outbound_min - outbound, true);
        }
    }

    fn graft(&mut self, node: usize, count: usize, dialled: bool) {
        let now = self.agenda.now();
        let fits = |peer: &Peer| {
            peer.subscribed && !peer.in_mesh && peer.backoff_until + HEARTBEAT_MS <= now && (peer.dialled || !dialled)
        };
        let mut fitting: Vec<usize> =
            self.nodes[node].peers.iter().filter(|(_, peer)| fits(peer)).map(|(peer, _)| *peer).collect();
        self.rng.shuffle(&mut fitting);
        for to in fitting.into_iter().take(count) {
            if let Some(peer) = self.nodes[node].peers.get_mut(&to) {
                peer.in_mesh = true;
            }
            self.send(node, to, Message::Graft);
        }
    }

    /// Tells some peers outside of the mesh what has arrived lately.
    fn announce(&mut self, node: usize) {
        let now = self.agenda.now();
        let recent = |record: &usize| {
            let copy = &self.copies[*record][node];
            copy.judged && copy.arrived.is_some_and(|at| at + ANNOUNCED_HEARTBEATS * HEARTBEAT_MS > now)
        };
        // What was published longer ago than records travel needs no look.
        let first = self.published.partition_point(|at| *at > 0 && *at + OVER_MS < now);
        let records: Vec<usize> = (first..self.copies.len()).filter(recent).collect();
        if records.is_empty() {
            return;
        }
        let peers = &self.nodes[node].peers;
        let mut outside: Vec<usize> = peers.iter().filter(|(_, p)| !p.in_mesh).map(|(peer, _)| *peer).collect();
        self.rng.shuffle(&mut outside);
        let count = self.mesh.lazy.max(outside.len() * self.mesh.lazy_percent / 100);
        for peer in outside.into_iter().take(count) {
            self.send(node, peer, Message::Have(records.clone()));
        }
    }

    fn measure(&self) -> Spread {
        let mut times = Vec::new();
        let mut received = vec![0u32; self.nodes.len()];
        let mut missed = 0;
        for (record, copies) in self.copies.iter().enumerate() {
            for (node, copy) in copies.iter().enumerate() {
                received[node] += copy.received;
                match copy.arrived {
                    Some(at) => times.push(at - self.published[record]),
                    None => missed += 1,
                }
            }
        }
        times.sort_unstable();
        let (places, records) = (times.len() + missed, self.copies.len() as f64);
        // What was missed took longest of all.
        let quantile = |percent: usize| times.get(places * percent / 100).copied().unwrap_or(Millis::MAX);
        let sum: u32 = received.iter().sum();
        let degrees: usize = (0..self.nodes.len()).map(|node| self.mesh_of(node).len()).sum();
        Spread {
            p50_ms: quantile(50),
            p95_ms: quantile(95),
            max_ms: times.last().copied().unwrap_or_default(),
            missed,
            copies: f64::from(sum) / records / self.nodes.len() as f64,
            copies_max: received.iter().max().map_or(0.0, |most| f64::from(*most) / records),
            degree: degrees as f64 / self.nodes.len() as f64,
        }
    }
}
