//! What must hold at the end of a world: nobody's coins are stuck.

use super::Checks;
use crate::chain::Chain;
use crate::node::Node;

impl Checks {
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
        self.served(nodes, chain);
    }
}
