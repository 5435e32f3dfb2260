//! What must hold after every step, for every honest node, whatever the others do; and what must hold at the end.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{OutPoint, Transaction, Txid};
use exchange_ledger::body::Body;
use exchange_ledger::book::{Book, LIVE_OFFERS, Query};
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::ledger::MAX_FROZEN;
use exchange_ledger::mail::MAX_ENVELOPES;
use exchange_ledger::record::{LogId, Record};
use exchange_ledger::storage::{Batch, Fork, Storage};
use exchange_ledger::trade::pins::Known;
use exchange_ledger::trade::{ChainFacts, Escrow, Event, Funding, Phase, Role, SpendPath, Trade, spends_any};

use crate::chain::{Chain, MAX_POOL};
use crate::heal::MAX_WANTED;
use crate::mailbox::{MAX_PARKED, fullest};
use crate::node::Node;
use crate::trader::{MAX_OPEN_BIDS, borne_out};
use disputes::Ruled;

mod coins;
mod disputes;
mod forgotten;
mod healed;
mod settled;

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
    /// What arbiters signed.
    rulings: BTreeMap<TradeId, Vec<Ruled>>,
    /// For which trade a coin was brought, since it was free.
    brought: BTreeMap<OutPoint, TradeId>,
    restored: usize,
    forgotten: usize,
}

impl Checks {
    /// Begins with these people.
    pub fn new(people: impl Iterator<Item = (AuthorId, bool)>) -> Self {
        let people: Vec<(AuthorId, bool)> = people.collect();
        let honest = people.iter().filter(|(_, honest)| *honest).map(|(author, _)| *author).collect();
        Self { honest, honest_nodes: people.iter().map(|(_, honest)| *honest).collect(), ..Self::default() }
    }

    /// Somebody honest has come.
    pub fn arrived(&mut self, author: AuthorId) {
        self.honest.insert(author);
        self.honest_nodes.push(true);
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
            self.keep(record);
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
            fork.frozen.iter().for_each(|record| self.keep(record));
        }
    }

    /// Keeps a record with its body, if anybody honest ever had that.
    fn keep(&mut self, record: &Record) {
        let kept = self.kept.entry(record.id()).or_insert_with(|| record.clone());
        if kept.is_bare() {
            *kept = record.clone();
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

    /// A node has accepted a bid: from now on there is a contract.
    pub fn accepted(&mut self, node: &Node, trade: TradeId, heard: Option<&Event>) {
        if let (true, Some(Event::Records { contract: None, .. })) = (node.honest, heard) {
            self.fail(format!("node {} accepted a bid in trade {trade}, and nobody is bound by it", node.number));
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
        // Of a funding from two wallets there can be several: they spend the same coin, so one at most confirms.
        let is_second = trade.joint_terms().is_none() && *self.fundings.entry(id).or_insert(txid) != txid;
        if trade.role() != Role::Seller || fundings.len() != 1 || is_second {
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
        if !view.is_named() {
            self.fail(format!("node {} pays for trade {} before its coins are named", node.number, trade.id()));
        }
        if node.ledger.storage().is_forked(&trade.bid().seller()).is_ok_and(|forked| forked) {
            self.fail(format!("node {} pays a seller with two histories for trade {}", node.number, trade.id()));
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
            self.spent(escrow, &chain.view().facts(escrow));
        }
    }

    /// What blocks show of an escrow.
    fn spent(&mut self, escrow: &Escrow, facts: &ChainFacts) {
        let contract = escrow.contract();
        let honest = self.honest.contains(&contract.seller);
        let is_paid_in = |funding: &&Funding| funding.extends.is_none() && funding.height.is_some();
        if honest && facts.fundings.iter().filter(is_paid_in).count() > 1 {
            self.fail(format!("an honest seller has funded trade {} twice", contract.trade));
        }
        for spend in facts.spends.iter().filter(|spend| spend.height.is_some()) {
            match spend.path {
                SpendPath::Payout if honest && !self.paid.contains(&contract.trade) => {
                    self.fail(format!("an honest seller lost the coins of trade {} for nothing", contract.trade));
                }
                SpendPath::Payout | SpendPath::Refund => self.returned(escrow, facts, spend),
                SpendPath::Ruling => self.divided(escrow, spend),
                SpendPath::Foreign => self.fail(format!("the coins of trade {} went elsewhere", contract.trade)),
                SpendPath::Timeout | SpendPath::Extension => {}
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
