//! What must hold of disputes: only arbiters rule, as they did; and nobody honest loses both the coins and what he gave for them.

use bitcoin::Txid;
use exchange_ledger::body::Ruling;
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{Escrow, Seat, Spend};

use super::Checks;
use crate::chain::Chain;
use crate::node::Node;

/// What an arbiter has signed.
#[derive(Debug, Clone)]
pub(super) struct Ruled {
    seat: Seat,
    ruling: Ruling,
}

impl Ruled {
    /// Returns the transaction that follows from it.
    fn txid(&self, escrow: &Escrow) -> Option<Txid> {
        let Ruling { vaults, to_buyer, to_seller, .. } = &self.ruling;
        let draft = escrow.ruling(self.seat, vaults, *to_buyer, *to_seller).ok()?;
        Some(draft.tx.compute_txid())
    }
}

impl Checks {
    /// An arbiter rules.
    pub fn ruled(&mut self, node: &Node, seat: Seat, ruling: &Ruling) {
        if node.honest {
            self.rulings.entry(ruling.trade).or_default().push(Ruled { seat, ruling: ruling.clone() });
        }
    }

    /// A block holds a transaction that divides the coins of a trade: an arbiter has said so, it pays him what his advert says,
    /// and nobody honest has got nothing for what he gave.
    pub(super) fn divided(&mut self, escrow: &Escrow, spend: &Spend) {
        let (contract, txid) = (escrow.contract(), spend.tx.compute_txid());
        let trade = contract.trade;
        let ruled = self.rulings.get(&trade).into_iter().flatten().find(|ruled| ruled.txid(escrow) == Some(txid));
        let Some(Ruled { seat, ruling }) = ruled.cloned() else {
            return self.fail(format!("the coins of trade {trade} are divided as no arbiter has ruled"));
        };
        let paid = self.is_paid(&trade);
        let loses_buyer = self.honest.contains(&contract.buyer) && paid && ruling.to_buyer == Sats::ZERO;
        let loses_seller = self.honest.contains(&contract.seller) && !paid && ruling.to_seller == Sats::ZERO;
        if loses_buyer || loses_seller {
            self.fail(format!("somebody honest has lost trade {trade}, paid: {paid}, by {ruling:?}"));
        }
        let arbiter = contract.arbiter(seat).map(|arbiter| arbiter.destination.script().clone());
        let outputs = spend.tx.output.iter().filter(|output| Some(&output.script_pubkey) == arbiter.as_ref());
        let fee: u64 = outputs.map(|output| output.value.to_sat()).sum();
        if fee != contract.fee_of(seat).get() || fee == 0 {
            self.fail(format!("the arbiter of trade {trade} got {fee} sats"));
        }
    }

    /// Whoever paid has the coins, if the other side is honest too or an arbiter can see the trade.
    pub(super) fn served(&mut self, nodes: &[Node], chain: &Chain) {
        for escrow in chain.escrows() {
            let (contract, facts) = (escrow.contract(), chain.view().facts(escrow));
            let trade = contract.trade;
            let is_held = facts.fundings.iter().any(|funding| funding.height.is_some());
            if !self.honest.contains(&contract.buyer) || !self.is_paid(&trade) || !is_held {
                continue;
            }
            let is_judged = nodes.iter().filter(|node| contract.seat_of(&node.person.author).is_some()).any(|node| {
                let case = node.mind.as_ref().and_then(|mind| mind.trades.get(&trade));
                case.is_some_and(|case| case.view().contract.as_ref() == Some(contract))
            });
            let confirmed = facts.spends.iter().filter(|spend| spend.height.is_some());
            let got = confirmed.clone().any(|spend| spend.path.is_payout() || spend.path.is_ruling());
            if !got && (is_judged || self.honest.contains(&contract.seller)) {
                let paths: Vec<_> = confirmed.map(|spend| spend.path).collect();
                self.fail(format!("the buyer of trade {trade} paid and got nothing; the coins went {paths:?}"));
            }
        }
    }

    /// Returns how many trades were ruled about.
    pub fn ruled_trades(&self) -> usize {
        self.rulings.len()
    }
}
