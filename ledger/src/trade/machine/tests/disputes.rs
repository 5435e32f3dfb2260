//! Disputes as the machines of parties and arbiters see them: when what may be done, and what is owed. Here is the case;
//! what is tested of it stands in a file each.

mod arbiters;
mod extensions;
mod opening;
mod rulings;

use super::*;
use crate::body::{Extend, Ruling};
use crate::trade::Escrow;

/// The funding's height, and from which tips on its leaves open.
const FUNDED_AT: u32 = 190;
const T1: u32 = FUNDED_AT + 144 - 1;
const T1B: u32 = FUNDED_AT + 1008 - 1;

/// A dispute of the sample trade with two arbiters.
struct Case {
    trade: SampleTrade,
    escrow: Escrow,
    facts: Facts,
}

impl Case {
    fn new() -> Self {
        let trade = SampleTrade::with_second(Side::Sell);
        let facts = Facts { payment_sent: true, buyer_dispute: true, ..Facts::default() };
        Self { escrow: trade.escrow(), trade, facts }
    }

    fn ruling(&self, seat: Seat, verdict: Verdict) -> Ruling {
        let vaults = self.trade.vaults(1);
        let division = self.escrow.divide(seat, &vaults, verdict, 10).unwrap();
        self.escrow.rule(seat, &vaults, division, &self.trade.arbiter_pair(self.escrow.contract(), seat)).unwrap()
    }

    fn extend(&self, seat: Seat, vaults: &Vaults) -> Extend {
        let fee = self.escrow.extension_fee_at(seat, vaults, 10).unwrap();
        self.escrow.extend(seat, vaults, fee, &self.trade.arbiter_pair(self.escrow.contract(), seat)).unwrap()
    }

    fn see(&self, mut machine: Trade, tip: u32) -> (Trade, Vec<Effect>) {
        let fundings = vec![Funding::new(self.trade.vaults(1), Some(FUNDED_AT))];
        let contract = Some(self.trade.contract());
        machine.handle(Event::Records { contract, facts: self.facts.clone() }).unwrap();
        let effects = machine.handle(Event::Chain(ChainFacts { fundings, ..chain(tip) })).unwrap();
        (machine, effects)
    }

    fn party(&self, role: Role, tip: u32) -> (Trade, Vec<Effect>) {
        let mut machine = Trade::new(self.trade.bid(), role, false, Local::default());
        machine.handle(Event::Compared).unwrap();
        self.see(machine, tip)
    }

    fn arbiter(&self, seat: Seat, tip: u32) -> Trade {
        self.see(Trade::seated(self.trade.bid(), seat), tip).0
    }
}

fn decide(machine: &mut Trade) -> Result<Vec<Effect>, Refusal> {
    machine.handle(Event::Rule { verdict: Verdict::Buyer, feerate: 10 })
}
