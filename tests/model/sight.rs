//! What a node that looks at the chain of the model tells the machine.

use exchange_ledger::trade::{ChainFacts, Funding, Spend};

use crate::chain::{Chain, Depth, Output, TIP};
use crate::fixture::Fixture;
use crate::ways::{Shape, Way};

impl Chain {
    /// Returns what a node that looks at this chain tells the machine.
    pub fn facts(&self, fixture: &Fixture, synced: bool) -> ChainFacts {
        let mut facts = ChainFacts { tip: TIP, synced, ..ChainFacts::default() };
        for (at, output) in self.outputs.iter().enumerate() {
            // A bond is funded with the first output.
            if output.funding != Depth::Absent && (at == 0 || fixture.shape != Shape::Bonded) {
                let extends = fixture.extends(at);
                let height = output.funding.height(self.first == Some(at));
                facts.fundings.push(Funding { extends, ..Funding::new(fixture.vaults[at], height) });
            }
        }
        for (output, way, depth) in self.spends(fixture.shape) {
            facts.spends.push(seen_spend(fixture, output, way, depth));
        }
        facts
    }

    /// Returns the name and depth of every spend, once for each transaction.
    pub fn spends(&self, shape: Shape) -> impl Iterator<Item = (usize, Way, Depth)> {
        let [first, second] = self.outputs.map(|Output { spend, .. }| spend);
        let ways = [first, second].map(|spend| spend.map(|(way, _)| way));
        let is_bonded = shape == Shape::Bonded;
        [(0, first), (1, second)].into_iter().filter_map(move |(at, spend)| {
            let (way, depth) = spend?;
            match (is_bonded, at, way) {
                (false, at, way) => Some((at, way, depth)),
                (true, _, Way::BondBack | Way::Timeout) => Some((0, way, depth)),
                // With the bond it is the first way out, without it the second.
                (true, 0, way) => Some((usize::from(ways[0] != ways[1]), way, depth)),
                (true, _, _) => None,
            }
        })
    }
}

fn seen_spend(fixture: &Fixture, output: usize, way: Way, depth: Depth) -> Spend {
    let tx = fixture.spend(output, way).clone();
    let path = fixture.escrow.classify(&tx, fixture.held(output));
    Spend { tx, path, height: depth.height(false) }
}
