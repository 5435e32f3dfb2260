//! What every event of a world can reach: time, chance, chain, network, what happened and what must hold.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::mail::Envelope;
use exchange_ledger::record::Record;
use exchange_ledger::retention::Retention;
use exchange_ledger::rules::{DEFAULT_ARBITRATION_DELAY, DEFAULT_SECOND_DELAY};

use crate::agenda::{Agenda, Millis};
use crate::chain::Chain;
use crate::checks::Checks;
use crate::flaw::Flaw;
use crate::network::{Bytes, Network, Packet};
use crate::node::Node;
use crate::rng::Rng;
use crate::trace::Trace;
use crate::world::Event;

/// The ages end at these times.
pub const TROUBLE_MS: Millis = 400_000;
/// By then everybody knows of every fork that somebody knew of at the end of trouble: who is off then comes back within 90
/// seconds, and compares with one peer each ten. In 1700 worlds it never took more than 55.
pub const PROVEN_MS: Millis = TROUBLE_MS + 180_000;
/// See [`crate::world`].
pub const HEALING_MS: Millis = 900_000;
/// See [`crate::world`].
pub const STILLNESS_MS: Millis = 1_150_000;
/// See [`crate::world`].
pub const SETTLING_MS: Millis = 1_610_000;
/// Coins that everybody begins with.
const COINS: u32 = 4;

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
    /// The adverts of the arbiters, with their identities.
    pub adverts: Vec<(AuthorId, RecordId)>,
    /// After how many blocks the first arbiter and the second can act, in the trades of this world.
    pub delays: (u16, u16),
    /// Whether offers of this world ask for bonds.
    pub has_bonds: bool,
    /// How long each node says that it keeps bodies. Attackers lie.
    pub retentions: Vec<Retention>,
    /// Nodes that pass nothing on and answer nobody.
    mute: BTreeSet<usize>,
    /// Envelopes that were read; nothing for one that is not good.
    envelopes: HashMap<Bytes, Option<Rc<Envelope>>>,
    /// Records that were read; nothing for bytes that are no good one.
    records: HashMap<Bytes, Option<Record>>,
    /// Time that passed at once.
    skipped_s: u64,
}

impl Shared {
    /// Begins with these nodes, who say that they keep bodies for so long, and some of whom say nothing else.
    pub fn new(
        seed: u64,
        mut rng: Rng,
        nodes: &[Node],
        network: Network,
        mute: BTreeSet<usize>,
        flaw: Option<Flaw>,
    ) -> Self {
        let owners: Vec<_> = nodes.iter().map(|node| node.person.party.destination.script().clone()).collect();
        Self {
            seed,
            agenda: Agenda::default(),
            chain: Chain::new(&owners, COINS),
            network,
            trace: Trace::default(),
            checks: Checks::new(nodes.iter().map(|node| (node.person.author, node.honest))),
            flaw,
            adverts: Vec::new(),
            delays: some_delays(&mut rng),
            has_bonds: rng.one_in(2),
            retentions: Vec::new(),
            mute,
            envelopes: HashMap::new(),
            records: HashMap::new(),
            skipped_s: 0,
            rng,
        }
    }

    /// Lets time pass at once.
    pub const fn skip(&mut self, seconds: u64) {
        self.skipped_s += seconds;
    }

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
    pub const fn is_still(&self) -> bool {
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
        let record = Record::decode_any(bytes).ok().filter(|record| record.verify().is_ok());
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

/// Returns after how many blocks arbiters can act: as long as usual, or so soon that they act in the midst of trouble.
const fn some_delays(rng: &mut Rng) -> (u16, u16) {
    if rng.one_in(2) {
        return (DEFAULT_ARBITRATION_DELAY, DEFAULT_SECOND_DELAY);
    }
    let first = rng.between(1, 6) as u16; // at most six
    (first, first + rng.between(1, 12) as u16) // at most twelve
}
