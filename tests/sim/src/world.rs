//! A world: some nodes, their people, a network and a chain, all from one seed. It lives through four ages.
//!
//! | age | what happens |
//! |---|---|
//! | trouble | people trade; messages are lost, links cut, the network divides, nodes crash, disks fill up, blocks are taken back, attackers attack |
//! | healing | everything works again; attackers are silent |
//! | stillness | nobody says anything new any more: at its end all honest nodes must hold the same |
//! | settling | blocks pass until every delay is over: at its end no honest coin may be stuck |

use std::collections::{BTreeMap, BTreeSet};

use exchange_ledger::body::Body;
use exchange_ledger::book::HEARTBEAT_INTERVAL_S;
use exchange_ledger::retention::Retention;

use crate::agenda::Millis;
use crate::checks::Checks;
use crate::faults::fault;
use crate::flaw::Flaw;
use crate::network::{Network, Packet};
use crate::node::{BEGIN_S, Node};
use crate::people::NEWCOMER;
use crate::retention::{SEASON_AT_MS, announced, some_retention, some_season};
use crate::rng::Rng;
use crate::shared::{PROVEN_MS, SETTLING_MS, STILLNESS_MS, Shared, TROUBLE_MS};

/// From the middle of healing on this much time passes at once, again and again: longer than any clocks are apart, so that
/// no record stays too early for a node.
const PAUSE_S: u64 = 7 * 3600;
const PAUSE_AT_MS: Millis = 600_000;
const PAUSE_EVERY_MS: Millis = 60_000;
/// What a block takes when all settle, in seconds.
const BLOCK_S: u64 = 600;
/// When somebody comes who knows nothing yet: long after the last months have passed, and long before all are still.
const ARRIVAL_MS: Millis = 700_000;
/// When the last of those who come later is there.
const MAX_LATE_MS: Millis = 250_000;
/// How far an honest clock is off at most, in seconds: three hours, more than a record may be early.
const MAX_SKEW_S: u64 = 3 * 3600;

/// How a run of a seed ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The hash of everything that happened.
    pub trace_hash: u64,
    /// The first rule that was broken, with the last events before.
    pub failure: Option<String>,
    /// How many events happened.
    pub events: u64,
    /// Trades that were paid for.
    pub paid: usize,
    /// Logs that forked.
    pub forked: usize,
    /// Disks that were replaced by an old copy.
    pub restored: usize,
    /// Bodies that honest nodes dropped.
    pub forgotten: usize,
    /// Trades that were ruled about.
    pub ruled: usize,
}

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// A message arrives.
    Deliver {
        /// From whom.
        from: usize,
        /// At whom.
        to: usize,
        /// What.
        packet: Packet,
    },
    /// A node compares with a peer and tries again what it owes.
    Tick(usize),
    /// A user looks at the screen.
    Use(usize),
    /// A node sees the chain.
    SeeChain(usize),
    /// An attacker acts.
    Mischief(usize),
    /// A block is found, or some are taken back.
    Block,
    /// Something breaks.
    Fault,
    /// A node starts.
    Boot(usize),
    /// A disk has room again.
    Room(usize),
    /// A link works again.
    Mend(usize, usize),
    /// The network is one again.
    Unite,
    /// Hours pass.
    Pause,
    /// Months pass.
    Season,
    /// Somebody comes who knows nothing.
    Arrive,
}

/// A world.
pub struct World {
    nodes: Vec<Node>,
    shared: Shared,
    events: u64,
}

/// Lives through the world of a seed.
pub fn run(seed: u64, flaw: Option<Flaw>) -> Outcome {
    World::new(seed, flaw).live()
}

impl World {
    fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        let mut rng = Rng::new(seed);
        let size = if rng.one_in(8) { rng.between(7, 12) } else { rng.between(3, 6) } as usize; // at most twelve
        let attackers = rng.index(size / 2 + 1).min(size - 3);
        let honest = size - attackers;
        let nodes: Vec<Node> = (0..size)
            .map(|number| {
                let skew = if number < honest && rng.one_in(3) { rng.below(2 * MAX_SKEW_S + 1) as i64 } else { 0 };
                let skew = if skew == 0 { 0 } else { skew - MAX_SKEW_S as i64 }; // both are below 2^15
                Node::new(number, number as u8, number < honest, skew, some_retention(&mut rng)) // at most twelve
            })
            .collect();
        let mut network = Network::new(size);
        let mut mute = BTreeSet::new();
        // A victim knows one honest node, and attackers that say nothing.
        let victim = (attackers > 0 && honest > 3 && rng.one_in(3)).then_some(honest - 1);
        let ring = victim.unwrap_or(honest);
        for node in 0..ring {
            network.link(node, (node + 1) % ring);
            network.link(node, rng.index(ring));
        }
        if let Some(victim) = victim {
            network.link(victim, rng.index(ring));
        }
        for attacker in honest..size {
            network.link(attacker, rng.index(ring));
            network.link(attacker, rng.index(ring));
            if let Some(victim) = victim {
                network.link(attacker, victim);
                mute.insert(attacker);
            }
        }
        network.loss_permille = *rng.pick(&[0, 10, 50, 200]).unwrap_or(&0);
        network.max_delay_ms = *rng.pick(&[100, 500, 5000]).unwrap_or(&500);
        let mut shared = Shared::new(seed, rng, &nodes, network, mute, flaw);
        shared.retentions = nodes.iter().map(|node| announced(node, &mut shared.rng)).collect();
        let mut world = Self { nodes, shared, events: 0 };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let Self { nodes, shared, .. } = self;
        for node in nodes.iter_mut() {
            if node.number > 0 && shared.rng.one_in(8) {
                let late = shared.rng.between(20_000, MAX_LATE_MS);
                shared.agenda.after(late, Event::Boot(node.number));
            } else {
                node.boot(shared);
            }
        }
        let arbiters = 1 + usize::from(shared.rng.one_in(2));
        for node in nodes.iter_mut().take(arbiters).filter(|node| node.mind.is_some()) {
            node.advertise(shared);
        }
        for (node, one) in nodes.iter().enumerate() {
            let first = shared.rng.below(10_000);
            shared.agenda.after(first, Event::Tick(node));
            let first = shared.rng.below(20_000);
            shared.agenda.after(first, Event::Use(node));
            if !one.honest {
                let first = shared.rng.between(30_000, 60_000);
                shared.agenda.after(first, Event::Mischief(node));
            }
        }
        shared.agenda.after(20_000, Event::Block);
        shared.agenda.after(10_000, Event::Fault);
        shared.agenda.after(PAUSE_AT_MS, Event::Pause);
        for (first, last) in SEASON_AT_MS {
            if shared.rng.one_in(3) {
                let at = shared.rng.between(first, last);
                shared.agenda.after(at, Event::Season);
            }
        }
        shared.agenda.after(ARRIVAL_MS, Event::Arrive);
    }

    fn live(mut self) -> Outcome {
        self.pass(TROUBLE_MS);
        self.shared.network.mend();
        self.nodes.iter().for_each(|node| node.disk.set_fuse(None));
        let forks = Checks::known_forks(&self.nodes);
        self.pass(PROVEN_MS);
        if self.shared.checks.broken().is_none() {
            self.shared.checks.proven(&self.nodes, &self.shared.network, &forks);
        }
        self.pass(STILLNESS_MS);
        if self.shared.checks.broken().is_none() {
            let now = BEGIN_S + self.shared.seconds();
            self.shared.checks.converged(&self.nodes, &self.shared.network, self.shared.flaw, now);
        }
        self.pass(SETTLING_MS);
        if self.shared.checks.broken().is_none() {
            self.shared.checks.settled(&self.nodes, &self.shared.chain);
        }
        let Shared { seed, trace, checks, .. } = &self.shared;
        let failure = checks.broken().map(|what| format!("{what}\nThe last events of seed {seed}:\n{trace}"));
        Outcome {
            trace_hash: trace.hash(),
            failure,
            events: self.events,
            paid: checks.paid_trades(),
            forked: checks.forked_logs(),
            restored: checks.restored_disks(),
            forgotten: checks.forgotten_bodies(),
            ruled: checks.ruled_trades(),
        }
    }

    /// Lets time pass, until something breaks.
    fn pass(&mut self, end: Millis) {
        while self.shared.checks.broken().is_none()
            && let Some(event) = self.shared.agenda.next_until(end)
        {
            self.events += 1;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        let Self { nodes, shared, .. } = self;
        let number = match event {
            Event::Deliver { from, to, packet } => {
                if nodes[to].mind.is_some() {
                    nodes[to].receive(from, packet, shared);
                }
                to
            }
            Event::Tick(number) => {
                tick(&mut nodes[number], shared);
                shared.agenda.after(10_000, Event::Tick(number));
                number
            }
            Event::Use(number) => {
                let next = shared.rng.between(8_000, 20_000);
                if !shared.is_still() {
                    nodes[number].use_it(shared);
                }
                shared.agenda.after(next, Event::Use(number));
                number
            }
            Event::SeeChain(number) => {
                nodes[number].see_chain(shared);
                number
            }
            Event::Mischief(number) => {
                if !shared.is_quiet() {
                    nodes[number].mischief(shared);
                    let next = shared.rng.between(10_000, 60_000);
                    shared.agenda.after(next, Event::Mischief(number));
                }
                number
            }
            Event::Boot(number) => {
                shared.trace.note(shared.agenda.now(), number, "starts", &[]);
                nodes[number].boot(shared);
                number
            }
            Event::Room(number) => {
                nodes[number].disk.set_full(false);
                number
            }
            Event::Block => {
                self.block();
                return;
            }
            Event::Fault => {
                fault(nodes, shared);
                return;
            }
            Event::Mend(a, b) => {
                shared.network.set_cut(a, b, false);
                return;
            }
            Event::Unite => {
                shared.network.divide(BTreeMap::new());
                return;
            }
            Event::Pause => {
                shared.skip(PAUSE_S);
                if shared.agenda.now() < STILLNESS_MS - 2 * PAUSE_EVERY_MS {
                    shared.agenda.after(PAUSE_EVERY_MS, Event::Pause);
                }
                return;
            }
            Event::Season => {
                shared.trace.note(shared.agenda.now(), 0, "months pass", &[]);
                let season = some_season(&mut shared.rng);
                shared.skip(season);
                return;
            }
            Event::Arrive => {
                self.arrive();
                return;
            }
        };
        shared.checks.step(&nodes[number], shared.agenda.len());
        if nodes[number].disk.is_dead() && nodes[number].mind.is_some() {
            shared.trace.note(shared.agenda.now(), number, "loses power", &[]);
            nodes[number].crash();
            let down = shared.rng.between(1000, 60_000);
            shared.agenda.after(down, Event::Boot(number));
        }
    }

    /// Lets somebody come in every other world, who knows one node that forgets and one that keeps everything, if there are
    /// any.
    fn arrive(&mut self) {
        let Self { nodes, shared, .. } = self;
        if shared.rng.one_in(2) {
            return;
        }
        let number = shared.network.add();
        for forgets in [false, true] {
            let is_such = |node: &&Node| node.honest && (node.retention != Retention::Full) == forgets;
            let such: Vec<usize> = nodes.iter().filter(is_such).map(|node| node.number).collect();
            if let Some(peer) = shared.rng.pick(&such).copied() {
                shared.network.link(number, peer);
            }
        }
        let node = Node::new(number, NEWCOMER, true, 0, some_retention(&mut shared.rng));
        shared.checks.arrived(node.person.author);
        shared.retentions.push(node.retention);
        shared.trace.note(shared.agenda.now(), number, "arrives", &[]);
        nodes.push(node);
        nodes[number].boot(shared);
        shared.agenda.after(1000, Event::Tick(number));
    }

    fn block(&mut self) {
        let Self { nodes, shared, .. } = self;
        let is_settling = shared.agenda.now() > STILLNESS_MS;
        if !shared.is_still() {
            let rng = &mut shared.rng;
            if rng.one_in(10) && shared.agenda.now() < TROUBLE_MS {
                let (depth, forget) = (rng.between(1, 3) as u32, rng.one_in(4)); // at most three
                shared.trace.note(shared.agenda.now(), 0, "the chain loses blocks", &depth.to_le_bytes());
                shared.chain.reorganise(depth, forget, rng);
            } else {
                let blocks = if is_settling { rng.between(72, 144) } else { 1 };
                shared.chain.mine(blocks as u32, rng); // at most 144
                shared.skip(if is_settling { blocks * BLOCK_S } else { 0 });
            }
            shared.checks.chain(&shared.chain);
        }
        for node in 0..nodes.len() {
            let delay = shared.rng.below(8000);
            shared.agenda.after(delay, Event::SeeChain(node));
        }
        let next = if is_settling { 10_000 } else { 20_000 };
        shared.agenda.after(next, Event::Block);
    }
}

/// What a node does by itself from time to time.
fn tick(node: &mut Node, shared: &mut Shared) {
    let (now, sure) = (node.now(shared), node.sure(shared));
    let Some(mind) = node.mind.as_mut() else { return };
    let me = node.person.author;
    let peers = shared.network.peers(node.number);
    if let Ok(ended) = mind.book.advance(&node.ledger, now, sure) {
        let _ = node.ledger.forget_open(&ended); // the book is read again at the next start
    }
    mind.turn += 1;
    let peer = peers.get(mind.turn % peers.len().max(1)).copied();
    // Who has no open offers is not in the book.
    let last_seen = mind.book.last_seen(&me);
    let silent = last_seen.is_some_and(|last_seen| last_seen.saturating_add(HEARTBEAT_INTERVAL_S) <= now);
    if silent && !shared.is_still() {
        node.publish(&Body::Heartbeat, shared);
    }
    if let Some(peer) = peer.filter(|_| shared.flaw != Some(Flaw::NeverHeals)) {
        node.exchange_mail(peer, shared);
        node.compare_with(peer, shared);
    }
    node.open_mailboxes(shared);
    node.forget(shared);
    node.send_backs(shared);
    node.retry(shared);
}
