//! Worlds by the thousand, and proof that a broken rule does not pass unnoticed.

use exchange_sim::flaw::Flaw;
use exchange_sim::run::run_seeds;
use exchange_sim::world::run;

/// Worlds of every test run.
const WORLDS: u64 = 2000;
/// Worlds in which each flaw must show.
const FLAWED_WORLDS: u64 = 200;

#[test]
fn no_rule_is_broken_in_any_world() {
    let summary = run_seeds(0, WORLDS, None);
    if let Some(failure) = summary.failure {
        panic!("{failure}");
    }
    // Worlds in which nothing happens prove nothing.
    assert!(summary.paid as u64 > WORLDS / 4 && summary.forked as u64 > WORLDS / 4, "{summary:?}");
    assert!(summary.restored as u64 > WORLDS / 20 && summary.forgotten as u64 > WORLDS, "{summary:?}");
    assert!(summary.ruled as u64 > WORLDS / 10, "{summary:?}");
}

#[test]
fn every_flaw_is_found() {
    for flaw in Flaw::ALL {
        let summary = run_seeds(0, FLAWED_WORLDS, Some(flaw));
        assert!(summary.failure.is_some(), "{flaw:?} was not found in {FLAWED_WORLDS} worlds");
    }
}

#[test]
fn a_hidden_fork_is_missed_before_ledgers_are_compared() {
    let failure = run_seeds(0, FLAWED_WORLDS, Some(Flaw::HidesForks)).failure.expect("it is found");
    assert!(failure.what.contains("has not heard that the log"), "{failure}");
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in 0..50 {
        let (first, second) = (run(seed, None), run(seed, None));
        assert_eq!((first.trace_hash, first.events), (second.trace_hash, second.events), "seed {seed}");
    }
    assert_ne!(run(1, None).trace_hash, run(2, None).trace_hash);
}
