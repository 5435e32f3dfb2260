//! What must hold at the end of a world: nobody's coins are stuck.

use exchange_ledger::trade::{Escrow, Vault};

use super::Checks;
use crate::chain::Chain;
use crate::node::Node;

impl Checks {
    /// Everything is over: nobody's coins are stuck, and who paid has the coins.
    pub fn settled(&mut self, nodes: &[Node], chain: &Chain) {
        for (escrow, vault) in chain.unspent() {
            let contract = escrow.contract();
            let (owner, is_stuck) = match vault {
                // What an honest seller has released is the buyer's, who may leave it.
                Vault::Escrow => (contract.seller, !self.paid.contains(&contract.trade)),
                Vault::Bond => (contract.buyer, true),
            };
            if is_stuck && self.honest.contains(&owner) {
                let node = nodes.iter().find(|node| node.person.author == owner);
                let machine = node.and_then(|node| node.mind.as_ref()?.trades.get(&contract.trade));
                let seen = machine.map(|trade| {
                    let same = trade.escrow().map(Escrow::script) == Some(escrow.script());
                    (trade.phase(), trade.actions(), trade.view().funding().copied(), same)
                });
                let (number, trade) = (node.map(|node| node.number), contract.trade);
                self.fail(format!("the {vault:?} of trade {trade} is stuck; node {number:?} sees {seen:?}"));
            }
        }
        self.served(nodes, chain);
        self.freed(nodes, chain);
    }
}
