//! What must hold when everything has worked again for a while: forks are known, and all honest nodes hold and read the same.

use std::collections::{BTreeMap, BTreeSet};

use exchange_ledger::book::{Book, Query};
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::ledger::Ledger;
use exchange_ledger::mail::{Envelope, LIFETIME_S};
use exchange_ledger::record::{Head, Kind, LogId, Record};
use exchange_ledger::state::state_hash;
use exchange_ledger::storage::{MemoryStorage, Storage};
use exchange_ledger::trade::{Role, counterparty};

use super::{Checks, PAGE};
use crate::flaw::Flaw;
use crate::network::Network;
use crate::node::Node;
use crate::people::NETWORK;
use crate::trader::person_of;

/// How far the clock of a node may be behind that calls no record early which was made within the time of trouble.
const MAX_LATENESS_S: i64 = -6000;

impl Checks {
    /// Returns the forks that honest nodes know of, with these nodes.
    pub fn known_forks(nodes: &[Node]) -> BTreeMap<LogId, BTreeSet<usize>> {
        let mut known: BTreeMap<LogId, BTreeSet<usize>> = BTreeMap::new();
        for node in nodes.iter().filter(|node| node.honest) {
            for head in node.ledger.storage().forked(None, PAGE).unwrap_or_default() {
                known.entry(head.log).or_default().insert(node.number);
            }
        }
        known
    }

    /// The network is well again for a while: by now each honest node can prove the forks that one of them knew of then, if
    /// it is reached from there. Who is hours behind calls records early, and passes none on.
    pub fn proven(&mut self, nodes: &[Node], network: &Network, forks: &BTreeMap<LogId, BTreeSet<usize>>) {
        if let Some((node, log)) = Self::unproven(nodes, network, forks) {
            self.fail(format!("node {node} has not heard that the log {log:?} has forked"));
        }
    }

    /// Returns a node that cannot prove one of these forks, with the log.
    pub fn unproven(
        nodes: &[Node],
        network: &Network,
        forks: &BTreeMap<LogId, BTreeSet<usize>>,
    ) -> Option<(usize, LogId)> {
        let is_on_time = |node: &Node| node.honest && node.skew_s > MAX_LATENESS_S;
        for (log, holders) in forks {
            let (mut reached, mut edge) = (holders.clone(), Vec::from_iter(holders.iter().copied()));
            while let Some(from) = edge.pop() {
                let next = nodes.iter().filter(|node| is_on_time(node) && network.are_linked(from, node.number));
                edge.extend(next.map(|node| node.number).filter(|node| reached.insert(*node)));
            }
            let up = nodes.iter().filter(|node| reached.contains(&node.number) && node.mind.is_some());
            let lacks = up.into_iter().find(|node| !node.ledger.fork_proof(log).is_ok_and(|proof| proof.is_some()));
            if let Some(node) = lacks {
                return Some((node.number, *log));
            }
        }
        None
    }

    /// Everything has calmed down: all honest nodes must hold the same and read the same from it.
    pub fn converged(&mut self, nodes: &[Node], network: &Network, flaw: Option<Flaw>, now: u64) {
        let honest: Vec<&Node> = nodes.iter().filter(|node| node.honest).collect();
        let hashes: Vec<_> = honest.iter().map(|node| state_hash(node.ledger.storage()).ok()).collect();
        if hashes.iter().any(|hash| hash.is_none() || *hash != hashes[0]) {
            self.fail(format!("the honest nodes do not hold the same: {}", difference(&honest)));
            return;
        }
        let mut oracle = Ledger::new(MemoryStorage::default(), NETWORK);
        let all: Vec<Record> = self.kept.values().cloned().collect();
        let admitted = oracle.admit(&all, u64::MAX);
        if admitted.is_err() || state_hash(oracle.storage()).ok() != hashes[0] {
            let heads = |storage: &dyn Storage| storage.heads(None, PAGE).unwrap_or_default();
            let (read, held) = (heads(oracle.storage()), heads(honest[0].ledger.storage()));
            let differs: Vec<_> = read.iter().filter(|head| !held.contains(head)).collect();
            let rest: Vec<_> = held.iter().filter(|head| !read.contains(head)).collect();
            self.fail(format!("the state is not what the set of records gives: {differs:?} instead of {rest:?}"));
        }
        let mut read: Option<Vec<(RecordId, Option<TradeId>, bool)>> = None;
        for node in honest {
            let Some(mind) = &node.mind else { continue };
            let open: BTreeSet<RecordId> = open_offers(&mind.book, now);
            match Book::load(&node.ledger, now) {
                Ok(book) if open_offers(&book, now) == open => {}
                Ok(book) => {
                    let read = open_offers(&book, now);
                    let differs: Vec<_> = read.symmetric_difference(&open).collect();
                    self.fail(format!("the book of node {} is not what its ledger says: {differs:?}", node.number));
                }
                Err(error) => self.fail(format!("node {} cannot read its book: {error}", node.number)),
            }
            let offers = node.ledger.storage().of_kind(Kind::Offer, None, PAGE).unwrap_or_default();
            let records = offers.iter().filter_map(|place| node.ledger.record(&place.id).ok().flatten());
            let reads: Vec<_> =
                records.map(|offer| (offer.id(), node.winner(&offer, flaw), open.contains(&offer.id()))).collect();
            if read.as_ref().is_some_and(|first| *first != reads) {
                self.fail(format!("node {} sees other winners or other offers than the others", node.number));
            }
            read.get_or_insert(reads);
        }
        self.forgotten(&oracle, nodes, network, now);
        self.delivered(nodes, now);
    }

    /// Whoever agreed on a trade with an honest person knows by now how to pay or be paid, if nobody lost his machine and the
    /// message is not out of date.
    fn delivered(&mut self, nodes: &[Node], now: u64) {
        let keeps =
            |author: &AuthorId| nodes.iter().any(|node| node.honest && !node.restored && node.person.author == *author);
        for node in nodes.iter().filter(|node| node.honest) {
            let trades = node.mind.iter().flat_map(|mind| mind.trades.values());
            for trade in trades.filter(|trade| trade.role() != Role::Arbiter && !trade.phase().is_final()) {
                let Some(contract) = trade.view().contract.as_ref() else { continue };
                let other = contract.author(counterparty(trade.role()));
                let sender = nodes.iter().find(|node| node.person.author == other);
                let is_late = sender.is_some_and(|sender| has_sent_long_ago(sender, &trade.id(), now));
                if keeps(&other) && !is_late && trade.local().their_details.is_none() {
                    let sent = sender.map(|node| {
                        let theirs = node.mind.as_ref().and_then(|mind| mind.trades.get(&trade.id()));
                        let state = theirs.map(|trade| (trade.phase(), trade.local().details.is_some()));
                        (node.number, state, node.details_sent(&trade.id()).is_some())
                    });
                    let (number, id, phase) = (node.number, trade.id(), trade.phase());
                    self.fail(format!("node {number}, {phase:?}, never got the details of trade {id}; sent: {sent:?}"));
                }
            }
        }
    }
}

/// Tells whether somebody sent his payment details so long ago that nobody keeps them any more.
fn has_sent_long_ago(sender: &Node, trade: &TradeId, now: u64) -> bool {
    let sent = sender.details_sent(trade).and_then(|bytes| Envelope::decode(&bytes).ok());
    sent.is_some_and(|envelope| envelope.address.time.saturating_add(LIFETIME_S) <= now)
}

/// Returns what a reader needs to understand why nodes differ: each log that not all hold alike, by node.
fn difference(nodes: &[&Node]) -> String {
    let mut logs: BTreeMap<LogId, Vec<(usize, Option<Head>)>> = BTreeMap::new();
    let all = nodes.iter().flat_map(|node| node.ledger.storage().heads(None, PAGE).unwrap_or_default());
    for log in all.map(|head| head.log).collect::<BTreeSet<_>>() {
        let held = nodes.iter().map(|node| (node.number, node.ledger.storage().head(&log).ok().flatten()));
        logs.insert(log, held.collect());
    }
    logs.retain(|_, held| held.iter().any(|(_, head)| *head != held[0].1));
    let mut words = String::new();
    for (log, held) in logs {
        words.push_str(&format!("\n  log {} of person {:?}:", log.epoch, person_of(&log.author)));
        for (node, head) in held {
            let head = head.map(|head| {
                (head.len, head.id.short().to_string(), head.frozen.map(|frozen| frozen.short().to_string()))
            });
            words.push_str(&format!(" node {node} {head:?};"));
        }
    }
    words
}

fn open_offers(book: &Book, now: u64) -> BTreeSet<RecordId> {
    let all = Query { away: true, ..Query::default() };
    book.query(&all, now, usize::MAX).iter().map(|entry| entry.id).collect()
}
