//! The figures of `make bench`: one JSON line each, beside a limit that is measured in the same run.
//!
//! ```text
//! {"figure":…,"value":…,"unit":…,"beside":…,"beside_value":…,"ratio":…,"target":…,"met":true|false}
//! ```
//! `ratio` is `value` divided by `beside_value`, and `target` says what must hold. Nothing but `propagation` is simulated:
//! the records are signed, the store is on disk, the trade runs between four nodes. A figure that misses its target stays
//! in the table, says so, and says in `bound` what keeps it from it.
//!
//! `cargo bench --profile dev -p exchange-tests -- ingest audit` measures only what prints these figures.
//!
//! | figure | what | beside |
//! |---|---|---|
//! | `verify` | checking signatures in batches, one core | one by one, one core |
//! | `ingest` | decoding, verifying, letting in and durably keeping 200k records through the keeper | bare batch verification, both cores |
//! | `growth` | what a record costs to ingest on the way to 1M | on the way to 10k |
//! | `disk` | what a record takes on disk, of 1M after compaction | its own bytes |
//! | `open` | from nothing to ready to serve, with 1M records | with 10k |
//! | `open_killed` | the same after a kill, with as much to read from the write-ahead log as it may hold | `open` |
//! | `audit` | reading all of 1M again as a stranger would | bare batch verification, both cores |
//! | `ticket` | checking the work that opening a log costs | finding it |
//! | `book_query` | the best 50 of a million live offers under a filter | the same without a filter |
//! | `rss` | memory of a relay with 100,000 live offers | one with an empty ledger |
//! | `derive` | an identity from an email and a password | Argon2id alone |
//! | `propagation`, `propagation_copies` | a record's way through 1,000 simulated nodes with the node's mesh | gossipsub's own mesh |
//! | `heal_idle` | bytes for two nodes of 10k authors to see that they hold the same | negentropy on the same heads |
//! | `heal_changed` | bytes a head that changed, 100 of 10k, before the records themselves | negentropy on the same heads |
//! | `cold_start` | 100k records from one peer until the book answers | `ingest` of the same records |
//! | `trade` | a trade of the headless demo, from the bid to the confirmed payout | the whole demo |

mod book;
mod corpus;
mod figure;
mod identity;
mod ledger;
mod propagation;
mod sync;
mod trade;

use std::error::Error;

/// What a measurement may fail with; the process ends with it.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A measurement.
struct Measurement {
    /// What it prints.
    figures: &'static [&'static str],
    run: fn() -> Outcome<()>,
}

const ALL: &[Measurement] = &[
    Measurement {
        figures: &["verify", "ingest", "growth", "disk", "open", "open_killed", "audit"],
        run: ledger::measure,
    },
    Measurement { figures: &["ticket", "book_query", "rss"], run: book::measure },
    Measurement { figures: &["derive"], run: identity::measure },
    Measurement { figures: &["propagation", "propagation_copies"], run: propagation::measure },
    Measurement { figures: &["heal_idle", "heal_changed", "cold_start"], run: sync::measure },
    Measurement { figures: &["trade"], run: trade::measure },
];

fn main() -> Outcome<()> {
    if let Some(dir) = std::env::var_os(ledger::KILLED_IN) {
        return ledger::wait_for_a_kill(dir.as_ref());
    }
    // Cargo adds options of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| !ALL.iter().any(|one| one.figures.contains(&name.as_str()))) {
        let known: Vec<&str> = ALL.iter().flat_map(|one| one.figures).copied().collect();
        return Err(format!("there is no figure `{unknown}`; there are {}", known.join(", ")).into());
    }
    let is_wanted =
        |one: &&Measurement| wanted.is_empty() || wanted.iter().any(|name| one.figures.contains(&name.as_str()));
    ALL.iter().filter(is_wanted).try_for_each(|one| (one.run)())
}
