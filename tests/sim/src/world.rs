//! A world: some nodes, their people, a network and a chain, all from one seed. It lives through four ages.
//!
//! | age | what happens |
//! |---|---|
//! | trouble | people trade; messages are lost, links cut, the network divides, nodes crash, disks fill up, blocks are taken back, attackers attack |
//! | healing | everything works again; attackers are silent |
//! | stillness | nobody says anything new any more: at its end all honest nodes must hold the same |
//! | settling | the refund delay passes: at its end no honest coin may be stuck |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use exchange_ledger::body::Body;
use exchange_ledger::book::HEARTBEAT_INTERVAL_S;
use exchange_ledger::ids::RecordId;
use exchange_ledger::mail::Envelope;
use exchange_ledger::record::Record;
use exchange_ledger::rules::MIN_REFUND_DELAY;
use exchange_ledger::state::state_hash;
use exchange_ledger::storage::Storage;

use crate::agenda::{Agenda, Millis};
use crate::chain::Chain;
use crate::checks::Checks;
use crate::disk::Fuse;
use crate::flaw::Flaw;
use crate::network::{Bytes, Network, Packet};
use crate::node::{BEGIN_S, Node};
use crate::rng::Rng;
use crate::trace::Trace;

/// The ages end at these times.
const TROUBLE_MS: Millis = 400_000;
/// By then everybody knows of every fork that somebody knew of at the end of trouble: who is off then comes back within 90
/// seconds, and compares with one peer each ten. In 1700 worlds it never took more than 55.
const PROVEN_MS: Millis = TROUBLE_MS + 180_000;
const HEALING_MS: Millis = 900_000;
const STILLNESS_MS: Millis = 1_150_000;
const SETTLING_MS: Millis = 1_500_000;
/// From the middle of healing on this much time passes at once, again and again: longer than any clocks are apart, so that
/// no record stays too early for a node.
const PAUSE_S: u64 = 7 * 3600;
const PAUSE_AT_MS: Millis = 600_000;
const PAUSE_EVERY_MS: Millis = 60_000;
/// When the last of those who come later is there.
const MAX_LATE_MS: Millis = 250_000;
/// Coins that everybody begins with.
const COINS: u32 = 4;
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
}

/// What every event can reach.
pub struct Shared {
    /// The seed.
    pub seed: u64,
    /// What is planned.
    pub agenda: Agenda<Event>,
    /// Chance.
    pub rng: Rng,
    /// The chain.
    pub chain: Chain,
    /// The network.
    pub network: Network,
    /// What happened.
    pub trace: Trace,
    /// What must hold.
    pub checks: Checks,
    /// The rule that honest nodes break, if any.
    pub flaw: Option<Flaw>,
    /// The arbiter's advert.
    pub advert: Option<RecordId>,
    /// Nodes that pass nothing on and answer nobody.
    mute: BTreeSet<usize>,
    /// Envelopes that were read; nothing for one that is not good.
    envelopes: HashMap<Bytes, Option<Rc<Envelope>>>,
    /// Records that were read; nothing for bytes that are no good one.
    records: HashMap<Bytes, Option<Record>>,
    /// Time that passed at once.
    skipped_s: u64,
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
}

impl Shared {
    /// Returns the seconds since the world began.
    pub const fn seconds(&self) -> u64 {
        self.agenda.now() / 1000 + self.skipped_s
    }

    /// Tells whether trouble is over: then people start nothing new.
    pub const fn is_quiet(&self) -> bool {
        self.agenda.now() >= TROUBLE_MS
    }

    /// Tells whether it is too late to begin with a trade.
    pub const fn is_ending(&self) -> bool {
        self.agenda.now() >= HEALING_MS
    }

    /// Tells whether nobody says anything any more.
    const fn is_still(&self) -> bool {
        self.agenda.now() >= HEALING_MS && self.agenda.now() <= STILLNESS_MS
    }

    /// Sends a message, if the sender is not mute.
    pub fn send(&mut self, from: usize, to: usize, packet: Packet) {
        if !self.mute.contains(&from) {
            self.send_aloud(from, to, packet);
        }
    }

    /// Sends a message.
    pub fn send_aloud(&mut self, from: usize, to: usize, packet: Packet) {
        if let Some(delay) = self.network.delay(from, to, &mut self.rng) {
            self.agenda.after(delay, Event::Deliver { from, to, packet });
        }
    }

    /// Returns an envelope, if it is a good one: each is read once in a world.
    pub fn envelope(&mut self, bytes: &Bytes) -> Option<Rc<Envelope>> {
        if let Some(known) = self.envelopes.get(bytes) {
            return known.clone();
        }
        let envelope = Envelope::decode(bytes).ok().map(Rc::new);
        self.envelopes.insert(bytes.clone(), envelope.clone());
        envelope
    }

    /// Bans a node.
    pub fn ban(&mut self, by: usize, who: usize) {
        self.trace.note(self.agenda.now(), by, "bans", &[who as u8]); // there are few nodes
        self.checks.banned(by, who);
        self.network.ban(by, who);
    }

    /// Returns the record that these bytes are, if it is one and its signature and ticket are good: each is read once in a
    /// world.
    pub fn record(&mut self, bytes: &Bytes) -> Option<Record> {
        if let Some(known) = self.records.get(bytes) {
            return known.clone();
        }
        let record = Record::decode(bytes).ok().filter(|record| record.verify().is_ok());
        self.records.insert(bytes.clone(), record.clone());
        record
    }

    /// Tells whether nodes keep to themselves that a log has forked.
    pub fn hides_forks(&self) -> bool {
        self.flaw == Some(Flaw::HidesForks) && self.agenda.now() < HEALING_MS
    }

    /// Notes that a record was signed just now. Returns its bytes.
    pub fn know(&mut self, record: &Record) -> Bytes {
        let bytes: Bytes = record.encode().into();
        self.records.insert(bytes.clone(), Some(record.clone()));
        bytes
    }
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
                Node::new(number, number as u8, number < honest, skew) // at most twelve
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
        let owners: Vec<_> = nodes.iter().map(|node| node.person.party.destination.script().clone()).collect();
        let shared = Shared {
            seed,
            agenda: Agenda::default(),
            chain: Chain::new(&owners, COINS),
            network,
            trace: Trace::default(),
            checks: Checks::new(nodes.iter().map(|node| (node.person.author, node.honest))),
            flaw,
            advert: None,
            mute,
            envelopes: HashMap::new(),
            records: HashMap::new(),
            skipped_s: 0,
            rng,
        };
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
        nodes[0].advertise(shared);
        for (node, one) in nodes.iter().enumerate() {
            let first = shared.rng.below(10_000);
            shared.agenda.after(first, Event::Tick(node));
            if node > 0 {
                let first = shared.rng.below(20_000);
                shared.agenda.after(first, Event::Use(node));
            }
            if !one.honest {
                let first = shared.rng.between(30_000, 60_000);
                shared.agenda.after(first, Event::Mischief(node));
            }
        }
        shared.agenda.after(20_000, Event::Block);
        shared.agenda.after(10_000, Event::Fault);
        shared.agenda.after(PAUSE_AT_MS, Event::Pause);
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
            self.shared.checks.converged(&self.nodes, self.shared.flaw, now);
        }
        let Shared { chain, rng, .. } = &mut self.shared;
        chain.mine(u32::from(MIN_REFUND_DELAY), rng);
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
                self.fault();
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
                shared.skipped_s += PAUSE_S;
                if shared.agenda.now() < STILLNESS_MS - 2 * PAUSE_EVERY_MS {
                    shared.agenda.after(PAUSE_EVERY_MS, Event::Pause);
                }
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

    fn block(&mut self) {
        let Self { nodes, shared, .. } = self;
        if !shared.is_still() {
            let Shared { chain, rng, .. } = shared;
            if rng.one_in(10) && shared.agenda.now() < TROUBLE_MS {
                let (depth, forget) = (shared.rng.between(1, 3) as u32, shared.rng.one_in(4)); // at most three
                shared.trace.note(shared.agenda.now(), 0, "the chain loses blocks", &depth.to_le_bytes());
                shared.chain.reorganise(depth, forget, &mut shared.rng);
            } else {
                chain.mine(1, rng);
            }
            shared.checks.chain(&shared.chain);
        }
        for node in 0..nodes.len() {
            let delay = shared.rng.below(8000);
            shared.agenda.after(delay, Event::SeeChain(node));
        }
        shared.agenda.after(20_000, Event::Block);
    }

    fn fault(&mut self) {
        let Self { nodes, shared, .. } = self;
        if shared.is_quiet() {
            return;
        }
        let number = shared.rng.index(nodes.len());
        let (now, rng) = (shared.agenda.now(), &mut shared.rng);
        match rng.below(7) {
            0 | 1 => {
                let fuse = Fuse { writes: rng.below(6) as u32, kept: rng.one_in(2) }; // at most five
                nodes[number].disk.set_fuse(Some(fuse));
                shared.trace.note(now, number, "will lose power", &fuse.writes.to_le_bytes());
                if nodes[number].old_copy.is_none() && shared.flaw == Some(Flaw::RestoresOldCopy) {
                    nodes[number].copy_disk();
                }
            }
            2 => {
                nodes[number].disk.set_full(true);
                shared.trace.note(now, number, "has no room on its disk", &[]);
                let delay = rng.between(5_000, 60_000);
                shared.agenda.after(delay, Event::Room(number));
            }
            3 => {
                let peers = shared.network.peers(number);
                if let Some(peer) = shared.rng.pick(&peers).copied() {
                    shared.trace.note(now, number, "loses a link", &[peer as u8]); // there are few nodes
                    shared.network.set_cut(number, peer, true);
                    let delay = shared.rng.between(5_000, 120_000);
                    shared.agenda.after(delay, Event::Mend(number, peer));
                }
            }
            4 => {
                let part: BTreeMap<usize, u8> = (0..nodes.len()).map(|node| (node, rng.below(2) as u8)).collect();
                let delay = rng.between(5_000, 120_000);
                shared.trace.note(now, number, "the network divides", &[]);
                shared.network.divide(part);
                shared.agenda.after(delay, Event::Unite);
            }
            5 => restore(number, nodes, shared),
            _ => {
                if nodes[number].mind.is_some() {
                    shared.trace.note(now, number, "is switched off", &[]);
                    nodes[number].crash();
                    let down = shared.rng.between(1000, 90_000);
                    shared.agenda.after(down, Event::Boot(number));
                }
            }
        }
        let next = shared.rng.between(5_000, 40_000);
        shared.agenda.after(next, Event::Fault);
    }
}

/// Keeps a copy of an honest node's disk, or puts the one of before in its place, as its owner may who lost the disk: not
/// while money is under way, and not before others have what he signed.
fn restore(number: usize, nodes: &mut [Node], shared: &mut Shared) {
    if shared.flaw.is_some() || !nodes[number].honest {
        return;
    }
    let (node, now) = (&nodes[number], shared.agenda.now());
    if node.old_copy.is_none() {
        shared.trace.note(now, number, "copies its disk", &[]);
        nodes[number].copy_disk();
    } else if node.mind.is_some() && !node.has_money_under_way() && is_known_to_all(node, nodes) {
        shared.trace.note(now, number, "gets an old copy for its disk", &[]);
        shared.checks.restored(number);
        nodes[number].crash();
        nodes[number].put_back = true;
        let down = shared.rng.between(1000, 60_000);
        shared.agenda.after(down, Event::Boot(number));
    }
}

/// Tells whether all that a node holds is held by another honest one too, and all that its user signed by everybody.
fn is_known_to_all(node: &Node, nodes: &[Node]) -> bool {
    let others = || nodes.iter().filter(|other| other.honest && other.number != node.number);
    let own = node.disk.private().own_head;
    let knows = |other: &Node| own.is_none_or(|own| other.ledger.storage().head(&own.log).ok().flatten() == Some(own));
    let state = |node: &Node| state_hash(node.ledger.storage()).ok();
    others().all(knows) && others().any(|other| state(other) == state(node))
}

/// What a node does by itself from time to time.
fn tick(node: &mut Node, shared: &mut Shared) {
    let now = node.now(shared);
    let Some(mind) = node.mind.as_mut() else { return };
    let me = node.person.author;
    let peers = shared.network.peers(node.number);
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
    node.retry(shared);
}
