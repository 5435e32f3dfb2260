//! What must hold of wallets and bonds: no coin is promised twice, none stays set aside, and each has his own bond back.

use bitcoin::OutPoint;
use exchange_ledger::body::Party;
use exchange_ledger::ids::TradeId;
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{ChainFacts, Escrow, Spend, Trade};

use super::Checks;
use crate::chain::Chain;
use crate::node::Node;

impl Checks {
    /// A wallet signs with a coin for a trade.
    pub fn signs(&mut self, node: &Node, trade: TradeId, coin: OutPoint) {
        let first = *self.brought.entry(coin).or_insert(trade);
        if node.honest && first != trade {
            self.fail(format!("node {} brings the coin {coin} of trade {first} into trade {trade} too", node.number));
        }
    }

    /// A wallet frees a coin: nothing that was signed with it can confirm.
    pub fn frees(&mut self, coin: OutPoint) {
        self.brought.remove(&coin);
    }

    /// A block holds a payout or a refund: each has his bond of it.
    pub(super) fn returned(&mut self, escrow: &Escrow, facts: &ChainFacts, spend: &Spend) {
        let contract = escrow.contract();
        let mut bonds = facts.fundings.iter().filter_map(|funding| funding.vaults.bond);
        let has_buyers = bonds.any(|bond| spend.spends(&bond.outpoint.0));
        let has = |party: &Party, bond: Sats| {
            let outputs = spend.tx.output.iter().filter(|output| output.script_pubkey == *party.destination.script());
            let gets: u64 = outputs.map(|output| output.value.to_sat()).sum();
            gets >= bond.get() - bond.get() / 10 // a fee is less than a tenth of the smallest bond
        };
        let buyer_has = !has_buyers || has(&contract.buyer_party, contract.buyer_bond);
        let seller_has = !spend.path.is_payout() || has(&contract.seller_party, contract.seller_bond);
        if !buyer_has || !seller_has {
            self.fail(format!("a bond of trade {} went to somebody else: {spend:?}", contract.trade));
        }
    }

    /// Everything is over: no wallet of an honest person holds a coin back.
    pub(super) fn freed(&mut self, nodes: &[Node], chain: &Chain) {
        for node in nodes.iter().filter(|node| node.honest) {
            let private = node.disk.private();
            let held = private.shares.iter().find(|(_, share)| chain.view().spender(&share.coin).is_none());
            if let Some((script, share)) = held {
                let trades = node.mind.iter().flat_map(|mind| mind.trades.values());
                let is_for = |trade: &&Trade| {
                    trade.joint_terms().is_some_and(|terms| terms.output(terms.role).script_pubkey == *script)
                };
                let seen: Vec<_> = trades.filter(is_for).map(|t| (t.id(), t.phase(), t.holds_coins())).collect();
                self.fail(format!("node {} still holds back {share:?} for {seen:?}", node.number));
            }
        }
    }
}
