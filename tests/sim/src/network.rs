//! Who is connected with whom, and what becomes of a message on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use exchange_ledger::ids::MailboxId;
use exchange_ledger::sync::{Answer, Request, Token};

use crate::agenda::Millis;
use crate::rng::Rng;

/// Bytes of a record on their way; copies share them.
pub type Bytes = Rc<[u8]>;

/// What nodes say to each other.
#[derive(Debug, Clone)]
pub enum Packet {
    /// A record, pushed.
    Gossip(Bytes),
    /// A request of a session: its number and its token come back with the answer.
    Ask(u64, Token, Request),
    /// Two records that prove that a log has forked, pushed.
    Fork(Bytes),
    /// The answer.
    Answer(u64, Token, Answer),
    /// An envelope, pushed.
    Mail(Bytes),
    /// Envelopes that the sender wants kept.
    MailPut(Vec<Bytes>),
    /// They were taken.
    MailTaken(Vec<Bytes>),
    /// A wish for what came into mailboxes after a number.
    MailFetch(Vec<(MailboxId, u64)>),
    /// What came in, by number.
    MailFound(Vec<(MailboxId, Vec<(u64, Bytes)>)>),
}

/// The links of a world.
#[derive(Debug, Default)]
pub struct Network {
    /// By node, whom it knows.
    peers: Vec<BTreeSet<usize>>,
    /// Links that are down.
    cut: BTreeSet<(usize, usize)>,
    /// Who has banned whom.
    banned: BTreeSet<(usize, usize)>,
    /// The part of a divided world that a node is in.
    part: BTreeMap<usize, u8>,
    /// Messages lost, of a thousand.
    pub loss_permille: u64,
    /// The slowest message.
    pub max_delay_ms: Millis,
}

impl Network {
    /// Returns a network of so many nodes that do not know each other.
    pub fn new(nodes: usize) -> Self {
        Self { peers: vec![BTreeSet::new(); nodes], max_delay_ms: 500, ..Self::default() }
    }

    /// Adds a node that knows nobody. Returns its number.
    pub fn add(&mut self) -> usize {
        self.peers.push(BTreeSet::new());
        self.peers.len() - 1
    }

    /// Makes two nodes know each other.
    pub fn link(&mut self, a: usize, b: usize) {
        if a != b {
            self.peers[a].insert(b);
            self.peers[b].insert(a);
        }
    }

    /// Returns whom a node knows.
    pub fn peers(&self, node: usize) -> Vec<usize> {
        self.peers[node].iter().copied().collect()
    }

    /// Cuts a link, or mends it.
    pub fn set_cut(&mut self, a: usize, b: usize, cut: bool) {
        let link = (a.min(b), a.max(b));
        if cut {
            self.cut.insert(link)
        } else {
            self.cut.remove(&link)
        };
    }

    /// Divides the network: a message from one part never reaches another. Nodes that are not named are in part 0.
    pub fn divide(&mut self, part: BTreeMap<usize, u8>) {
        self.part = part;
    }

    /// Mends everything but bans.
    pub fn mend(&mut self) {
        self.cut.clear();
        self.part.clear();
        (self.loss_permille, self.max_delay_ms) = (0, 500);
    }

    /// Bans a node: nothing goes between the two any more.
    pub fn ban(&mut self, by: usize, who: usize) {
        self.banned.insert((by.min(who), by.max(who)));
    }

    /// Tells whether messages go from one node to another.
    pub fn are_linked(&self, a: usize, b: usize) -> bool {
        let link = (a.min(b), a.max(b));
        let together = self.part.get(&a).unwrap_or(&0) == self.part.get(&b).unwrap_or(&0);
        self.peers[a].contains(&b) && !self.cut.contains(&link) && !self.banned.contains(&link) && together
    }

    /// Returns how long a message takes; nothing if it is lost.
    pub fn delay(&self, from: usize, to: usize, rng: &mut Rng) -> Option<Millis> {
        (self.are_linked(from, to) && !rng.permille(self.loss_permille)).then(|| rng.between(20, self.max_delay_ms))
    }
}
