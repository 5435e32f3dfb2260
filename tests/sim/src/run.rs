//! Many worlds, on all cores.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::flaw::Flaw;
use crate::world::run;

/// A world in which a rule was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The rule, and what happened before.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, what } = self;
        write!(f, "seed {seed}: {what}To see it again: make sim SEED_START={seed} SEEDS=1")
    }
}

/// What came of many worlds.
#[derive(Debug, Default)]
pub struct Summary {
    /// Worlds lived through.
    pub worlds: u64,
    /// Events in all of them.
    pub events: u64,
    /// Trades that were paid for.
    pub paid: usize,
    /// Logs in which honest nodes found two histories.
    pub forked: usize,
    /// Disks that were replaced by an old copy.
    pub restored: usize,
    /// Bodies that honest nodes dropped.
    pub forgotten: usize,
    /// Trades that were ruled about.
    pub ruled: usize,
    /// How long it took.
    pub took: Duration,
    /// The failed world with the lowest seed.
    pub failure: Option<Failure>,
}

/// Lives through the worlds of `count` seeds from `first` on, until one fails.
pub fn run_seeds(first: u64, count: u64, flaw: Option<Flaw>) -> Summary {
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    let started = Instant::now();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            let seed = first.wrapping_add(at);
            let outcome = run(seed, flaw);
            let mut summary = summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            summary.worlds += 1;
            summary.events += outcome.events;
            summary.paid += outcome.paid;
            summary.forked += outcome.forked;
            summary.restored += outcome.restored;
            summary.forgotten += outcome.forgotten;
            summary.ruled += outcome.ruled;
            if let Some(what) = outcome.failure {
                next.store(count, Ordering::Relaxed);
                if summary.failure.as_ref().is_none_or(|other| seed < other.seed) {
                    summary.failure = Some(Failure { seed, what });
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    summary.took = started.elapsed();
    summary
}
