//! What must hold after every step, for every honest node, whatever the others do; and what must hold at the end.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{Transaction, Txid};
use exchange_ledger::body::Body;
use exchange_ledger::book::{Book, LIVE_OFFERS, Query};
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::ledger::{Ledger, MAX_FROZEN};
use exchange_ledger::mail::MAX_ENVELOPES;
use exchange_ledger::record::{Head, Kind, LogId, Record};
use exchange_ledger::state::state_hash;
use exchange_ledger::storage::{Batch, Fork, MemoryStorage, Storage};
use exchange_ledger::trade::{Phase, Role, Trade, counterparty, spends_any};

use crate::chain::{Chain, MAX_POOL};
use crate::flaw::Flaw;
use crate::heal::MAX_WANTED;
use crate::mailbox::{MAX_PARKED, fullest};
use crate::network::Network;
use crate::node::Node;
use crate::people::NETWORK;
use crate::trader::{MAX_OPEN_BIDS, borne_out, person_of};
use exchange_ledger::trade::pins::Known;

/// How far the clock of a node may be behind that calls no record early which was made within the time of trouble.
const MAX_LATENESS_S: i64 = -6000;
/// Messages under way at once: a storm of them is a loop somewhere.
const MAX_UNDER_WAY: usize = 20_000;
/// Offers of one maker that are looked at.
const PAGE: usize = 1000;

/// What was seen so far, and the first rule that was broken.
#[derive(Debug, Default)]
pub struct Checks {
    broken: Option<String>,
    honest: BTreeSet<AuthorId>,
    honest_nodes: Vec<bool>,
    /// Where a log forks, as a node has it.
    forks: BTreeMap<(usize, LogId), u64>,
    /// Everything that any honest node ever kept.
    kept: BTreeMap<RecordId, Record>,
    /// What honest makers accepted.
    accepted: BTreeMap<RecordId, TradeId>,
    /// Trades for which money was sent outside of the chain.
    paid: BTreeSet<TradeId>,
    /// The funding that an honest seller sent.
    fundings: BTreeMap<TradeId, Txid>,
    /// The version of each node's ledger whose book was looked at.
    looked_at: BTreeMap<usize, u64>,
    restored: usize,
}

impl Checks {
    /// Begins with these people.
    pub fn new(people: impl Iterator<Item = (AuthorId, bool)>) -> Self {
        let people: Vec<(AuthorId, bool)> = people.collect();
        let honest = people.iter().filter(|(_, honest)| *honest).map(|(author, _)| *author).collect();
        Self { honest, honest_nodes: people.iter().map(|(_, honest)| *honest).collect(), ..Self::default() }
    }

    /// Notes that a rule was broken. The first one counts.
    pub fn fail(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Returns the first rule that was broken.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// A node has kept a batch.
    pub fn committed(&mut self, node: usize, batch: &Batch) {
        if !self.honest_nodes[node] {
            return;
        }
        for record in &batch.records {
            self.kept.insert(record.id(), record.clone());
            if let (true, Ok(Body::Accept(accept))) = (self.honest.contains(&record.author()), Body::decode(record)) {
                let first = *self.accepted.entry(accept.offer).or_insert(accept.trade);
                if first != accept.trade {
                    self.fail(format!("an honest maker accepted both {first} and {} for one offer", accept.trade));
                }
            }
        }
        for (log, fork) in &batch.forks {
            if self.honest.contains(&log.author) {
                self.fail(format!("node {node} holds two histories of an honest author, {}", log.author));
            }
            let before = self.forks.insert((node, *log), fork.from);
            if before.is_some_and(|before| before < fork.from) {
                self.fail(format!("node {node} thawed places of {} from {before:?} to {}", log.author, fork.from));
            }
            if fork.frozen.len() > MAX_FROZEN || fork.frozen.iter().any(|record| record.header().seq < fork.from) {
                self.fail(format!("node {node} keeps {} frozen records of {}", fork.frozen.len(), log.author));
            }
            self.kept.extend(fork.frozen.iter().map(|record| (record.id(), record.clone())));
        }
    }

    /// The disk of a node is an old copy from now on.
    pub fn restored(&mut self, node: usize) {
        self.restored += 1;
        self.forks.retain(|(of, _), _| *of != node);
    }

    /// A node starts: what it finds on its disk was kept, though the power may have failed before it could tell.
    pub fn found(&mut self, node: usize, storage: &dyn Storage) {
        let mut batch = Batch::default();
        for head in storage.heads(None, PAGE).unwrap_or_default() {
            let chain = storage.range(&head.log, 0, PAGE).unwrap_or_default();
            batch.records.extend(chain.into_iter().filter(|record| !self.kept.contains_key(&record.id())));
            if head.frozen.is_some() {
                let frozen = storage.frozen(&head.log).unwrap_or_default();
                batch.forks.insert(head.log, Fork { from: head.len, frozen });
            }
        }
        self.committed(node, &batch);
    }

    /// A node has banned another.
    pub fn banned(&mut self, by: usize, who: usize) {
        if self.honest_nodes[by] && self.honest_nodes[who] {
            self.fail(format!("honest node {by} banned honest node {who}"));
        }
    }

    /// A node has read a trade.
    pub fn facts(&mut self, node: &Node, records: &Known) {
        if node.honest && !borne_out(node, records) {
            self.fail(format!("node {} takes a stranger's word about trade {}", node.number, records.bid.trade));
        }
    }

    /// A node sends a transaction for a trade.
    pub fn broadcast(&mut self, node: &Node, trade: &Trade, tx: &Transaction) {
        let Some(escrow) = trade.escrow().filter(|_| node.honest) else { return };
        let (id, txid) = (trade.id(), tx.compute_txid());
        let fundings = escrow.fundings(tx);
        if fundings.is_empty() {
            let fundings = trade.view().chain().fundings.iter();
            let mut spent = fundings.filter(|funding| spends_any(tx, &funding.vaults));
            if spent.any(|funding| escrow.classify(tx, &funding.vaults).is_foreign()) {
                self.fail(format!("node {} sends the coins of trade {id} elsewhere", node.number));
            }
            return;
        }
        let kept = node.disk.private().locals.get(&id).and_then(|local| local.funding_tx.clone());
        if kept != Some(bitcoin::consensus::serialize(tx)) {
            self.fail(format!("node {} sends a funding of trade {id} that is not on its disk", node.number));
        }
        if trade.role() != Role::Seller || fundings.len() != 1 || *self.fundings.entry(id).or_insert(txid) != txid {
            self.fail(format!("node {} funds trade {id} twice, or is not its seller", node.number));
        }
    }

    /// A user sends money outside of the chain.
    pub fn paid(&mut self, node: &Node, trade: &Trade) {
        if !self.paid.insert(trade.id()) || !node.honest {
            return;
        }
        let view = trade.view();
        let buried = view.funding().is_some_and(|funding| view.is_buried(funding.height));
        let held = trade.role() == Role::Buyer && trade.phase() == Phase::Funded && view.spend().is_none();
        if !buried || !held || trade.local().their_details.is_none() {
            self.fail(format!("node {} pays for trade {} out of nothing", node.number, trade.id()));
        }
    }

    /// Tells whether money was sent for a trade.
    pub fn is_paid(&self, trade: &TradeId) -> bool {
        self.paid.contains(trade)
    }

    /// A step is over at a node.
    pub fn step(&mut self, node: &Node, under_way: usize) {
        if under_way > MAX_UNDER_WAY {
            self.fail(format!("{under_way} messages are under way"));
        }
        if let (true, Some(mind)) = (node.honest, &node.mind) {
            let bids = mind.trades.values().filter(|trade| trade.phase() == Phase::Bid).count();
            if mind.wanted.len() > MAX_WANTED || bids > MAX_OPEN_BIDS {
                self.fail(format!("node {} holds {} wants and {bids} bids", node.number, mind.wanted.len()));
            }
            let fullest = fullest(&node.disk.private().mail);
            if mind.parked.len() > MAX_PARKED || fullest > MAX_ENVELOPES as usize {
                self.fail(format!("node {} holds {} parked and {fullest} kept", node.number, mind.parked.len()));
            }
            let version = node.replica.version();
            if self.looked_at.insert(node.number, version) != Some(version) {
                self.quotas(node, &mind.book);
            }
        }
    }

    /// No author has more in a node's book than he may.
    fn quotas(&mut self, node: &Node, book: &Book) {
        let all = Query { away: true, ..Query::default() };
        let mut standing: BTreeMap<AuthorId, usize> = BTreeMap::new();
        book.query(&all, 0, usize::MAX).iter().for_each(|entry| *standing.entry(entry.maker).or_default() += 1);
        if let Some((author, count)) = standing.into_iter().find(|(_, count)| *count > LIVE_OFFERS) {
            self.fail(format!("{count} offers of {author} stand in the book of node {}", node.number));
        }
    }

    /// Blocks have come or gone.
    pub fn chain(&mut self, chain: &Chain) {
        let (unspent, fees) = chain.total();
        if unspent + fees != chain.genesis_value() {
            self.fail(format!("{unspent} sats and {fees} of fees are not the {} of old", chain.genesis_value()));
        }
        if chain.pool_len() > MAX_POOL {
            self.fail("the pool has no end".into());
        }
        for escrow in chain.escrows() {
            let contract = escrow.contract();
            let honest = self.honest.contains(&contract.seller);
            for spend in chain.view().facts(escrow).spends.iter().filter(|spend| spend.height.is_some()) {
                if spend.path.is_payout() && honest && !self.paid.contains(&contract.trade) {
                    self.fail(format!("an honest seller lost the coins of trade {} for nothing", contract.trade));
                }
                if spend.path.is_foreign() {
                    self.fail(format!("the coins of trade {} went elsewhere", contract.trade));
                }
            }
        }
    }

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
    pub fn converged(&mut self, nodes: &[Node], flaw: Option<Flaw>, now: u64) {
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
            match Book::load(&node.ledger, 0) {
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
        self.delivered(nodes);
    }

    /// Whoever agreed on a trade with an honest person knows by now how to pay or be paid, if nobody lost his machine.
    fn delivered(&mut self, nodes: &[Node]) {
        let keeps =
            |author: &AuthorId| nodes.iter().any(|node| node.honest && !node.restored && node.person.author == *author);
        for node in nodes.iter().filter(|node| node.honest) {
            let trades = node.mind.iter().flat_map(|mind| mind.trades.values());
            for trade in trades.filter(|trade| !trade.phase().is_final()) {
                let Some(contract) = trade.view().contract.as_ref() else { continue };
                let other = contract.author(counterparty(trade.role()));
                if keeps(&other) && trade.local().their_details.is_none() {
                    let sender = nodes.iter().find(|node| node.person.author == other);
                    let sent = sender.map(|node| {
                        let theirs = node.mind.as_ref().and_then(|mind| mind.trades.get(&trade.id()));
                        let state = theirs.map(|trade| (trade.phase(), trade.local().details.is_some()));
                        (node.number, state, node.disk.private().outbox.contains_key(&trade.id()))
                    });
                    let (number, id, phase) = (node.number, trade.id(), trade.phase());
                    self.fail(format!("node {number}, {phase:?}, never got the details of trade {id}; sent: {sent:?}"));
                }
            }
        }
    }

    /// Everything is over: nobody's coins are stuck, and who paid an honest seller has his coins.
    pub fn settled(&mut self, nodes: &[Node], chain: &Chain) {
        for escrow in chain.unspent_escrows() {
            let contract = escrow.contract();
            // What an honest seller has released is the buyer's, who may leave it.
            if self.honest.contains(&contract.seller) && !self.paid.contains(&contract.trade) {
                let seller = nodes.iter().find(|node| node.person.author == contract.seller);
                let machine = seller.and_then(|node| node.mind.as_ref()?.trades.get(&contract.trade));
                let seen = machine.map(|trade| {
                    let same = trade.escrow().map(exchange_ledger::trade::Escrow::script) == Some(escrow.script());
                    (trade.phase(), trade.actions(), trade.view().funding().copied(), same)
                });
                let number = seller.map(|node| node.number);
                self.fail(format!("the coins of trade {} are stuck; node {number:?} sees {seen:?}", contract.trade));
            }
        }
        for escrow in chain.escrows() {
            let contract = escrow.contract();
            let both = self.honest.contains(&contract.seller) && self.honest.contains(&contract.buyer);
            let spends = chain.view().facts(escrow).spends;
            let got = spends.iter().any(|spend| spend.path.is_payout() && spend.height.is_some());
            if both && self.paid.contains(&contract.trade) && !got {
                self.fail(format!("the buyer of trade {} paid and got nothing", contract.trade));
            }
        }
    }

    /// Returns how many trades were paid, for the summary.
    pub fn paid_trades(&self) -> usize {
        self.paid.len()
    }

    /// Returns how many disks were replaced by an old copy.
    pub const fn restored_disks(&self) -> usize {
        self.restored
    }

    /// Returns in how many logs some honest node has found two histories.
    pub fn forked_logs(&self) -> usize {
        self.forks.keys().map(|(_, log)| log).collect::<BTreeSet<_>>().len()
    }
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
