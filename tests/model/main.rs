//! The real trade machine, model checked: every order of events in a small world, by breadth-first search.
//!
//! Two parties and an arbiter, a ledger that decides what their records mean, and a chain of which only the classes of
//! height are kept that a rule of the trade tells apart. Whoever follows the protocol runs the real
//! [`Trade::handle`](exchange_ledger::trade::Trade::handle) over facts that a real ledger gathered from signed records;
//! every transaction in the model is signed and was accepted by Bitcoin Core's script engine. Whoever cheats says and
//! sends whatever he can sign. Anybody may crash before any effect, hear late, see an old chain; blocks come and go.
//!
//! `cargo test -p exchange-tests --test model` prints how much was explored. A property that fails is printed with the
//! shortest path to it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod chain;
mod fixture;
mod party;
mod properties;
mod words;
mod world;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Mutex;

use exchange_ledger::body::Side;
use exchange_ledger::trade::Role;
use exchange_node::chain::consensus;
use stateright::{Checker, Expectation, Model};

use crate::chain::{OUTPUTS, Way};
use crate::fixture::Fixture;
use crate::party::Driver;
use crate::world::{Rules, Trading};

/// What is broken on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    /// The buyer's node takes a funding in the pool for a buried one.
    PoolLooksBuried,
    /// The seller releases what was not paid.
    ReleasesUnpaid,
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
fn explore(side: Side, rules: Rules) -> Found {
    let checker = Trading::new(side, rules).checker().spawn_bfs().join();
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
        "model: maker {:?}, {}: {} states, {} transitions, depth {}, {} circumstances of the real machine",
        model.driver.fixture().maker(),
        rules,
        found.unique,
        checker.state_count(),
        checker.max_depth(),
        model.driver.circumstances(),
    )
    .expect("standard error is open");
    found
}

/// Explores worlds of one kind and complains of all that does not hold. The maker is on either side, but where the escrow
/// is funded twice, which is the largest world and has nothing to do with who made the offer.
fn must_hold(rules: Rules, at_least: usize) {
    let mut complaints = String::new();
    let sides: &[Side] = if rules.second { &[Side::Sell] } else { &[Side::Sell, Side::Buy] };
    for side in sides {
        let found = explore(*side, rules);
        for (property, steps) in &found.failed {
            writeln!(complaints, "does not hold when {rules}: {property}\n{steps}").unwrap();
        }
        for property in &found.missing {
            writeln!(complaints, "cannot be reached when {rules}: {property}").unwrap();
        }
        assert!(found.unique >= at_least || !complaints.is_empty(), "only {} states were explored", found.unique);
    }
    assert!(complaints.is_empty(), "{complaints}");
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
fn a_broken_guard_is_found() {
    for (twist, cheat, property) in [
        (Twist::PoolLooksBuried, Role::Seller, "nobody is told to pay for what is not buried, spent, or too old"),
        (Twist::ReleasesUnpaid, Role::Buyer, "an honest seller never loses both"),
    ] {
        let found = explore(Side::Sell, Rules { twist: Some(twist), ..Rules::cheating(cheat) });
        assert!(found.failed.iter().any(|(name, _)| name == property), "{twist:?} went unnoticed");
    }
}

#[test]
fn every_spend_of_the_model_is_one_that_bitcoin_core_accepts() {
    for side in [Side::Sell, Side::Buy] {
        let fixture = Fixture::new(side);
        for output in 0..OUTPUTS {
            for way in Way::ALL {
                let verdict = consensus::verify_spend(fixture.spend(output, way), &[fixture.escrow.output()]);
                assert!(verdict.is_ok(), "{way:?} of output {output}: {verdict:?}");
            }
        }
    }
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
        write!(f, ", {} reorgs", self.reorgs)?;
        self.twist.map_or(Ok(()), |twist| write!(f, ", broken on purpose: {twist:?}"))
    }
}

impl Trading {
    /// Sets up a world in which the maker is on `side`.
    pub fn new(side: Side, rules: Rules) -> Self {
        let driver = Driver::new(Fixture::new(side), rules.twist);
        Self { rules, driver, settled: Mutex::new(HashSet::new()) }
    }
}
