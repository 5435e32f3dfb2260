//! `make sim SEEDS=n SEED_START=first`: lives through so many worlds and tells what came of it. Exit code 1 if a rule was
//! broken in one of them, 2 if a number cannot be read.

use std::io::Write;
use std::process::ExitCode;

use exchange_sim::run::{Summary, run_seeds};

/// Worlds, unless told otherwise.
const SEEDS: u64 = 2000;

fn main() -> std::io::Result<ExitCode> {
    let mut err = std::io::stderr().lock();
    let (Some(first), Some(count)) = (number("SEED_START", 0), number("SEEDS", SEEDS)) else {
        writeln!(err, "SEEDS and SEED_START must be whole numbers")?;
        return Ok(ExitCode::from(2));
    };
    let Summary { worlds, events, paid, forked, restored, forgotten, ruled, took, failure } =
        run_seeds(first, count, None);
    if let Some(failure) = failure {
        writeln!(err, "{failure}")?;
        return Ok(ExitCode::FAILURE);
    }
    let mut out = std::io::stdout().lock();
    let (seconds, rate) = (took.as_secs_f64(), worlds as f64 / took.as_secs_f64()); // far below 2^53
    writeln!(
        out,
        "{worlds} worlds in {seconds:.1} s ({rate:.0} a second): {events} events, {paid} trades paid, {ruled} ruled about, {forked} forked logs, {restored} disks put back, {forgotten} bodies forgotten, no rule broken"
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a number from the environment; nothing if it is none.
fn number(name: &str, default: u64) -> Option<u64> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().ok(),
        Ok(_) | Err(_) => Some(default),
    }
}
