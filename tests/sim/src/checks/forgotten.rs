//! What must hold of nodes that forget: whatever bodies they drop, they say of every agreement what an archive says.

use std::collections::BTreeSet;

use exchange_ledger::body::Body;
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::ledger::Ledger;
use exchange_ledger::record::{Kind, Record};
use exchange_ledger::retention::Retention;
use exchange_ledger::storage::{MemoryStorage, Storage};
use exchange_ledger::trade::pins::{self, Known};

use super::Checks;
use crate::network::Network;
use crate::node::Node;
use crate::retention::INTERVAL_S;

/// More records than any world has.
const ALL: usize = 65_536;

impl Checks {
    /// A node has dropped bodies. Before, it could tell of these agreements.
    pub fn forgot(&mut self, node: &Node, count: usize, agreed: &BTreeSet<TradeId>) {
        if !node.honest {
            return;
        }
        self.forgotten += count;
        if let Some(trade) = agreed.difference(&node.agreed()).next() {
            self.fail(format!("node {} has forgotten what was agreed on in trade {trade}", node.number));
        }
    }

    /// A node has got bodies back.
    pub fn remembered(&mut self, node: usize, records: &[Record]) {
        if self.honest_nodes[node] {
            records.iter().for_each(|record| self.keep(record));
        }
    }

    /// All honest nodes hold the same records, with their bodies or without: they read the same from it, and what each holds
    /// is what it says that it keeps. `oracle` has everything that anybody honest ever had.
    pub(super) fn forgotten(&mut self, oracle: &Ledger<MemoryStorage>, nodes: &[Node], network: &Network, now: u64) {
        let honest: Vec<&Node> = nodes.iter().filter(|node| node.honest).collect();
        for node in &honest {
            self.outlives(node);
            self.tells(node, &honest, oracle);
            self.reads_own(node, oracle);
            // By a time that is sure: of its clock and the chain's the earlier one.
            let an_hour_ago = now.saturating_add_signed(node.skew_s.min(0)).saturating_sub(INTERVAL_S);
            if node.droppable(an_hour_ago) > 0 {
                self.fail(format!("node {} holds bodies that it should have dropped an hour ago", node.number));
            }
        }
        let archives = || honest.iter().filter(|node| node.retention == Retention::Full);
        for node in archives() {
            let asked = || archives().filter(|other| network.are_linked(node.number, other.number));
            for bare in node.ledger.storage().bare(0, None, ALL).unwrap_or_default() {
                if let Some(other) = asked().find(|other| has_body(other, &bare.place.id)) {
                    let (number, id) = (node.number, bare.place.id);
                    self.fail(format!("archive {number} never asked node {} for the body of {id}", other.number));
                }
            }
        }
    }

    /// Whatever window a node has, everything but offers and bids outlives it.
    fn outlives(&mut self, node: &Node) {
        let lasting = self.kept.values().filter(|record| !matches!(record.header().kind, Kind::Offer | Kind::Take));
        let lost =
            lasting.map(Record::id).find(|id| node.ledger.record(id).ok().flatten().is_some_and(|r| r.is_bare()));
        if let Some(id) = lost {
            self.fail(format!("node {} has lost the body of {id}, which is for ever", node.number));
        }
    }

    /// Of what two agreed on a node tells the same as one that has forgotten nothing, if anybody can.
    fn tells(&mut self, node: &Node, honest: &[&Node], oracle: &Ledger<MemoryStorage>) {
        for trade in accepted_in(oracle) {
            let Ok(whole) = oracle.trade(trade) else { continue };
            let rests_on = [trade.into(), whole.bid.offer_id];
            let is_known = |other: &&Node| rests_on.iter().all(|id| has_body(other, id));
            if !rests_on.iter().all(|id| is_in_chain(oracle, id)) || !honest.iter().any(is_known) {
                continue;
            }
            let told = node.ledger.trade(trade);
            let same = told.as_ref().is_ok_and(|told| told.contract == whole.contract && told.facts == whole.facts);
            if !same {
                let told = told.map(|told| (told.contract.map(|contract| contract.hash()), told.facts));
                self.fail(format!("node {} tells of trade {trade}: {told:?}", node.number));
            }
        }
    }

    /// What a node takes for the truth about its own trades is what it would be if it had forgotten nothing.
    fn reads_own(&mut self, node: &Node, oracle: &Ledger<MemoryStorage>) {
        let Some(mind) = &node.mind else { return };
        for (id, trade) in &mind.trades {
            let (pin, fundings) = (mind.pins.get(id), &trade.view().chain().fundings);
            let look = |known: Option<Known>| known.map(|known| (known.contract, known.facts, known.pin));
            let whole = pins::look(oracle, *id, pin, fundings).ok().flatten();
            let is_agreed = whole.as_ref().is_some_and(|whole| whole.contract.is_some());
            let own = pins::look(&node.ledger, *id, pin, fundings).ok().flatten();
            if is_agreed && look(own) != look(whole) {
                self.fail(format!("node {} has forgotten what its own trade {id} rests on", node.number));
            }
        }
    }

    /// Returns how many bodies honest nodes have dropped.
    pub const fn forgotten_bodies(&self) -> usize {
        self.forgotten
    }
}

/// Returns the trades that somebody accepted.
fn accepted_in(oracle: &Ledger<MemoryStorage>) -> BTreeSet<TradeId> {
    let accepts = oracle.storage().of_kind(Kind::Accept, None, ALL).unwrap_or_default();
    let records = accepts.iter().filter_map(|place| oracle.record(&place.id).ok().flatten());
    let trades = records.filter_map(|record| match record.decoded().map(|body| &**body) {
        Ok(Body::Accept(accept)) => Some(accept.trade),
        Ok(_) | Err(_) => None,
    });
    trades.collect()
}

/// Tells whether a record stands in a chain: what is frozen of a forked log nobody asks for again.
fn is_in_chain(oracle: &Ledger<MemoryStorage>, id: &RecordId) -> bool {
    let Some(record) = oracle.record(id).ok().flatten() else { return false };
    let header = record.header();
    oracle.storage().id_at(&header.log, header.seq).is_ok_and(|there| there == Some(*id))
}

fn has_body(node: &Node, id: &RecordId) -> bool {
    node.ledger.record(id).is_ok_and(|record| record.is_some_and(|record| !record.is_bare()))
}
