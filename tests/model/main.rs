//! The real trade machine, model checked: every order of events in a small world, by breadth-first search.
//!
//! Two parties and an arbiter, a ledger that decides what their records mean, and a chain of which only the classes of
//! height are kept that a rule of the trade tells apart. Whoever follows the protocol runs the real
//! [`Trade::handle`](exchange_ledger::trade::Trade::handle) over facts that a real ledger gathered from signed records;
//! every transaction in the model is signed and was accepted by Bitcoin Core's script engine. Whoever cheats says and
//! sends whatever he can sign. Anybody may crash before any effect, hear late, see an old chain; blocks come and go.
//!
//! There are worlds of two kinds ([`Shape`]): from a bid to the end, where an arbiter is at most a cheat's accomplice; and a
//! funded trade whose arbiter follows the protocol and rules, once it is disputed, at any moment and for anybody. In each a
//! cheat may be buyer, seller, or nobody, and a guard that is broken on purpose ([`Twist`]) must be found.
//!
//! `cargo test -p exchange-tests --test model` prints how much was explored. A property that fails is printed with the
//! shortest path to it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod arbiter;
mod chain;
mod fixture;
mod liveness;
mod moves;
mod party;
mod properties;
mod run;
mod sight;
mod wallets;
mod ways;
mod words;
mod world;

use std::collections::HashSet;
use std::fmt::{Debug, Display, Write as _};
use std::hash::Hash;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex};

use exchange_ledger::body::Side;
use exchange_ledger::trade::{Role, Seat};
use exchange_node::chain::consensus;
use stateright::{Checker, Expectation, Model};

use crate::chain::OUTPUTS;
use crate::fixture::Fixture;
use crate::party::Driver;
use crate::ways::{Shape, Way};
use crate::world::{Rules, Trading};

/// What is broken on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    /// The buyer's node takes a funding in the pool for a buried one.
    PoolLooksBuried,
    /// The seller releases what was not paid.
    ReleasesUnpaid,
    /// An arbiter's signature fits every ruling about the same coins.
    AnyRulingFits,
    /// The arbiter's node does not know what he signed before.
    ForgetsRulings,
    /// The buyer's node does not hear what an arbiter rules.
    DeafToRulings,
}

/// What a search found.
struct Found {
    unique: usize,
    /// The properties that failed, each with the steps that lead there.
    failed: Vec<(String, String)>,
    /// What should be reachable and is not.
    missing: Vec<&'static str>,
}

/// Explores all that can happen, prints how much that was, and returns what was found.
fn search<M>(model: M, name: &str, circumstances: fn(&M) -> usize) -> Found
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + PartialEq + Hash + Send + Sync + Display,
    M::Action: Debug + Clone + PartialEq,
{
    let checker = model.checker().spawn_bfs().join();
    let model = checker.model();
    let mut found = Found { unique: checker.unique_state_count(), failed: Vec::new(), missing: Vec::new() };
    let discoveries = checker.discoveries();
    for property in model.properties() {
        match (property.expectation, discoveries.get(property.name)) {
            (Expectation::Sometimes, None) => found.missing.push(property.name),
            (Expectation::Sometimes, Some(_)) | (Expectation::Always | Expectation::Eventually, None) => {}
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                let mut steps = String::new();
                for (world, step) in path.clone().into_vec() {
                    writeln!(steps, "  {world}").unwrap();
                    step.map_or(Ok(()), |step| writeln!(steps, "{step:?}")).unwrap();
                }
                found.failed.push((property.name.to_string(), steps));
            }
        }
    }
    // Not by a macro that the test harness would capture: the figures belong into every log.
    writeln!(
        io::stderr(),
        "model: {name}: {} states, {} transitions, depth {}, {} circumstances of the real machine",
        found.unique,
        checker.state_count(),
        checker.max_depth(),
        circumstances(model),
    )
    .expect("standard error is open");
    found
}

/// Explores worlds of one kind with the maker on a side.
fn explore(side: Side, rules: Rules) -> Found {
    let model = Trading::new(side, rules);
    search(model, &format!("maker {}, {rules}", if side == Side::Sell { Role::Seller } else { Role::Buyer }), |model| {
        model.driver.circumstances()
    })
}

/// Explores worlds of one kind and complains of all that does not hold. The maker is on either side, but where it makes no
/// difference any more who made the offer: where the escrow is funded twice, or is funded when the world begins.
fn must_hold(rules: Rules, at_least: usize) {
    let is_one_enough = rules.second || rules.shape.has_arbiter();
    let sides: &[Side] = if is_one_enough { &[Side::Sell] } else { &[Side::Sell, Side::Buy] };
    for side in sides {
        must_be_fine(&explore(*side, rules), &rules, at_least);
    }
}

/// Complains of all that does not hold.
fn must_be_fine(found: &Found, rules: &dyn Display, at_least: usize) {
    let mut complaints = String::new();
    for (property, steps) in &found.failed {
        writeln!(complaints, "does not hold when {rules}: {property}\n{steps}").unwrap();
    }
    for property in &found.missing {
        writeln!(complaints, "cannot be reached when {rules}: {property}").unwrap();
    }
    assert!(complaints.is_empty(), "{complaints}");
    assert!(found.unique >= at_least, "only {} states were explored", found.unique);
}

#[test]
fn two_who_follow_the_protocol_come_to_an_end_whatever_happens() {
    must_hold(Rules { reorgs: 1, ..Rules::HONEST }, 20_000);
}

#[test]
fn a_seller_is_safe_from_a_buyer_who_does_what_he_wants() {
    must_hold(Rules { reorgs: 1, ..Rules::cheating(Role::Buyer) }, 20_000);
    must_hold(Rules { second: true, ..Rules::cheating(Role::Buyer) }, 20_000);
}

#[test]
fn a_buyer_is_safe_from_a_seller_who_does_what_he_wants() {
    must_hold(Rules { reorgs: 1, ..Rules::cheating(Role::Seller) }, 20_000);
    must_hold(Rules { second: true, ..Rules::cheating(Role::Seller) }, 20_000);
}

/// Evidence of what the parties trust an arbiter with, and of what they do not: with him, a cheat gets the coins, after the
/// arbitration delay. Everything else still holds.
#[test]
fn an_arbiter_who_colludes_can_do_what_he_is_trusted_not_to_do_and_no_more() {
    for cheat in [Role::Buyer, Role::Seller] {
        must_hold(Rules { collusion: true, ..Rules::cheating(cheat) }, 10_000);
    }
}

#[test]
fn a_dispute_between_two_who_follow_the_protocol_ends_as_the_arbiter_decides() {
    must_hold(Rules::HONEST.with(Shape::Ruled), 60_000);
}

#[test]
fn a_seller_is_safe_in_a_dispute_with_a_buyer_who_does_what_he_wants() {
    must_hold(Rules::cheating(Role::Buyer).with(Shape::Ruled), 60_000);
}

#[test]
fn a_buyer_is_safe_in_a_dispute_with_a_seller_who_does_what_he_wants() {
    must_hold(Rules::cheating(Role::Seller).with(Shape::Ruled), 20_000);
}

#[test]
fn a_broken_guard_is_found() {
    for (twist, cheat, property) in [
        (Twist::PoolLooksBuried, Role::Seller, "nobody is told to pay for what is unburied, spent, too old or unnamed"),
        (Twist::ReleasesUnpaid, Role::Buyer, "an honest seller never loses both"),
    ] {
        must_be_found(Rules { twist: Some(twist), ..Rules::cheating(cheat) }, property);
    }
}

#[test]
fn a_broken_guard_of_a_dispute_is_found() {
    let loses = "an honest buyer never loses both, but to a seller who waits for his own leaf";
    let said = "what an arbiter signs moves coins as he said, and nothing else of his does";
    for (twist, cheat, property) in [
        (Twist::AnyRulingFits, Role::Seller, said),
        (Twist::ForgetsRulings, Role::Seller, "an arbiter decides only what he is asked, and once"),
        (Twist::DeafToRulings, Role::Seller, loses),
    ] {
        must_be_found(Rules { twist: Some(twist), ..Rules::cheating(cheat) }.with(Shape::Ruled), property);
    }
}

fn must_be_found(rules: Rules, property: &str) {
    let found = explore(Side::Sell, rules);
    assert!(found.failed.iter().any(|(name, _)| name == property), "{rules} went unnoticed");
}

#[test]
fn every_spend_of_the_model_is_one_that_bitcoin_core_accepts() {
    for (fixture, output, way) in all_ways() {
        for role in [Role::Buyer, Role::Seller] {
            let Ok(tx) = fixture.complete(output, way, role) else { continue };
            let verdict = consensus::verify_spend(&tx, &fixture.spent(&tx));
            // Whoever gets nothing by it cannot make it good. Into the escrow again either can move the coins.
            let is_his = if way == Way::Extension {
                true
            } else if way.is_by_arbiter() {
                fixture.gets(output, way, role) > 0
            } else {
                way.to() == Some(role)
            };
            assert_eq!(verdict.is_ok(), is_his, "{way:?} of output {output} by {role}: {verdict:?}");
        }
    }
}

/// Nothing of the model leads to an arbiter but the fee of a ruling, and he cannot sign for a party.
#[test]
fn an_arbiter_gets_his_fee_and_cannot_move_coins_by_himself() {
    for (fixture, output, way) in all_ways() {
        let contract = fixture.escrow.contract();
        let (script, fee) = (contract.arbiter.destination.script(), contract.fee_of(Seat::First));
        let tx = fixture.spend(output, way);
        let paid: u64 = tx.output.iter().filter(|o| o.script_pubkey == *script).map(|o| o.value.to_sat()).sum();
        assert_eq!(paid, if Way::RULINGS.contains(&way) { fee.get() } else { 0 }, "{way:?} of output {output}");
        if way.is_by_arbiter() {
            for role in [Role::Buyer, Role::Seller] {
                let Ok(tx) = fixture.complete_by(output, way, role, &fixture.arbiter_key()) else { continue };
                let verdict = consensus::verify_spend(&tx, &fixture.spent(&tx));
                assert!(verdict.is_err(), "{way:?} of output {output}, signed by the arbiter alone");
            }
        }
    }
}

/// Every way out of every output, in all shapes of a trade.
fn all_ways() -> Vec<(Arc<Fixture>, usize, Way)> {
    let mut all = Vec::new();
    for (side, shape) in [
        (Side::Sell, Shape::Plain),
        (Side::Buy, Shape::Plain),
        (Side::Sell, Shape::Ruled),
        (Side::Sell, Shape::Extended),
        (Side::Sell, Shape::Bonded),
    ] {
        let fixture = Arc::new(Fixture::new(side, shape));
        let outputs = (0..OUTPUTS).flat_map(|output| shape.ways(output).iter().map(move |way| (output, *way)));
        all.extend(outputs.map(|(output, way)| (Arc::clone(&fixture), output, way)));
    }
    all
}

impl std::fmt::Display for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.cheat {
            None => write!(f, "nobody cheats")?,
            Some(role) => write!(f, "the {role} cheats")?,
        }
        if self.collusion {
            write!(f, " with the arbiter")?;
        }
        if self.second {
            write!(f, " and funds twice")?;
        }
        match self.shape {
            Shape::Plain => {}
            Shape::Ruled => write!(f, ", an arbiter rules")?,
            Shape::Extended => write!(f, ", an arbiter rules and extends")?,
            Shape::Bonded => write!(f, ", both have a bond and an arbiter rules")?,
        }
        write!(f, ", {} reorgs", self.reorgs)?;
        self.twist.map_or(Ok(()), |twist| write!(f, ", broken on purpose: {twist:?}"))
    }
}

impl Trading {
    /// Sets up a world in which the maker is on `side`.
    pub fn new(side: Side, rules: Rules) -> Self {
        let driver = Driver::new(Fixture::new(side, rules.shape), rules.twist);
        Self { rules, driver, settled: Mutex::new(HashSet::new()) }
    }
}
