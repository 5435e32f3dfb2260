//! The figures of `make bench`: one JSON line each, beside a limit that is measured in the same run.
//!
//! ```text
//! {"figure":…,"value":…,"unit":…,"beside":…,"beside_value":…,"ratio":…,"target":…,"met":true|false}
//! ```
//! `ratio` is `value` divided by `beside_value`, and `target` says what must hold. Nothing but `propagation` is simulated:
//! the records are signed, the store is on disk, the trade runs between four nodes. A figure that misses its target stays
//! in the table and says so.
//!
//! | figure | what | beside |
//! |---|---|---|
//! | `verify` | checking signatures in batches, one core | one by one, one core |
//! | `ingest` | decoding, verifying, letting in and durably keeping records through the keeper | bare batch verification, both cores |
//! | `disk` | what a record takes on disk | its own bytes |
//! | `audit` | reading all of it again as a stranger would | bare batch verification, both cores |
//! | `derive` | an identity from an email and a password | Argon2id alone |
//! | `propagation`, `propagation_copies` | a record's way through 1,000 simulated nodes with the node's mesh | gossipsub's own mesh |
//! | `trade` | a trade of the headless demo, from the bid to the confirmed payout | the whole demo |

mod corpus;
mod figure;
mod identity;
mod ledger;
mod propagation;
mod trade;

use std::error::Error;

/// What a measurement may fail with; the process ends with it.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    ledger::measure()?;
    identity::measure()?;
    propagation::measure()?;
    trade::measure()
}
