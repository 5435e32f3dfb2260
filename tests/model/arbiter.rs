//! The arbiter who follows the protocol: the real machine of his seat, and what it lets him sign.
//!
//! He sees the chain as it is and all that was said; what he signs reaches the parties when it does. When he decides, and
//! for whom, is his: everything that his machine allows may happen.

use std::sync::Arc;

use exchange_ledger::trade::{Action, Command, Effect, Event, Seat, Trade};

use crate::Twist;
use crate::chain::Depth;
use crate::fixture::{FEERATE, Fixture};
use crate::party::{Driver, Fault};
use crate::ways::Way;
use crate::words::{Word, Words};
use crate::world::World;

/// Something that the arbiter may sign now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Which way the coins go by it.
    pub way: Way,
    /// How it is said, or what must never happen.
    pub word: Result<Word, Fault>,
}

impl Driver {
    /// Returns everything that the arbiter may sign now.
    pub fn decisions(&self, world: &World) -> Arc<Vec<Decision>> {
        let said = [world.buyer.said, world.seller.said, world.arbiter];
        let mut decisions = self.decisions.lock().expect("nobody panics while holding it");
        let known = decisions.entry((said, world.chain));
        Arc::clone(known.or_insert_with(|| Arc::new(self.decide(said, world))))
    }

    fn decide(&self, said: [Words; 3], world: &World) -> Vec<Decision> {
        let fixture = self.fixture();
        let mut machine = Trade::seated(fixture.bid.clone(), Seat::First);
        let mut known = said;
        if self.twist() == Some(Twist::ForgetsRulings) {
            known[2] = Words::default();
        }
        let records = fixture.known(known);
        let _ = machine.handle(Event::Records { contract: records.contract.clone(), facts: records.facts.clone() });
        let _ = machine.handle(Event::Chain(world.chain.facts(fixture, true)));
        let decision = |way: Way| {
            let output = sign(fixture, machine.clone(), way)?;
            let word = output.map(|at| Word::Signed(at, way)).ok_or(Fault::OutsideOfContract);
            let ways = if way == Way::Extension { &[Way::Extension][..] } else { &Way::RULINGS };
            let is_second = output.is_some_and(|at| ways.iter().any(|way| said[2].contains(Word::Signed(at, *way))));
            let is_amiss = is_second || !is_asked(world);
            Some(Decision { way, word: if is_amiss { Err(Fault::RuledAmiss) } else { word } })
        };
        Way::RULINGS.into_iter().chain([Way::Extension]).filter_map(decision).collect()
    }
}

/// Tells whether an arbiter is called for: by a party, by himself who took more time, or by the time since a payment.
fn is_asked(world: &World) -> bool {
    let said = world.buyer.said.and(world.seller.said);
    let is_overdue = said.contains(Word::PaymentSent) && world.chain.outputs[0].funding >= Depth::Overdue;
    said.contains(Word::Dispute) || is_overdue || world.chain.spend_of(0) == Some(Way::Extension)
}

/// Asks the machine for a decision; returns the output that the arbiter signs away then, if it lets him. The inner answer is
/// `None` when that is nothing that the contract knows.
fn sign(fixture: &Fixture, mut machine: Trade, way: Way) -> Option<Option<usize>> {
    let feerate = FEERATE;
    let event = match way {
        Way::Extension => Event::Command(Command { action: Action::Extend, feerate }),
        _ => Event::Rule { verdict: Fixture::verdict(way), feerate },
    };
    let (escrow, key) = (&fixture.escrow, fixture.arbiter_key());
    machine.handle(event).ok()?.into_iter().find_map(|effect| match effect {
        Effect::SignRuling { seat, vaults, to_buyer, to_seller } => {
            let signed = escrow.rule(seat, &vaults, (to_buyer, to_seller), &key).ok();
            Some(fixture.output(&vaults).filter(|at| signed == Some(fixture.ruling(*at, way))))
        }
        Effect::SignExtension { seat, vaults, fee } => {
            let at = fixture.output(&vaults);
            // For the sake of the size he extends once.
            let knows = |at: &usize| fixture.shape.ways(*at).contains(&Way::Extension);
            let signed = escrow.extend(seat, &vaults, fee, &key).ok();
            at.is_none_or(|at| knows(&at)).then(|| at.filter(|at| signed == Some(fixture.extend(*at))))
        }
        _ => None, // an arbiter has no other duties
    })
}
