//! What an identity costs: its price is Argon2id's, by intent, and nothing else should add to it.

use std::time::Instant;

use argon2::{Algorithm, Argon2, Params, Version};
use exchange_ledger::identity::{Email, KdfParams, MasterKey, Password};

use crate::Outcome;
use crate::figure::{Figure, Target};

/// Rounds, of which the quickest counts: what else runs on the machine only ever adds.
const ROUNDS: usize = 3;

/// Prints `derive`.
///
/// # Errors
/// When a gibibyte of memory is not there.
pub fn measure() -> Outcome<()> {
    let email = Email::parse("alice@example.org")?;
    let password = Password::parse("gravel oboe quince lantern tundra mosaic")?;
    // Version 1 of `specs/identity.md`: 1 GiB, 3 passes, 4 lanes, 64 bytes.
    let params = Params::new(1 << 20, 3, 4, Some(64)).map_err(|error| error.to_string())?;
    let (mut whole, mut alone) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        MasterKey::derive(&email, &password, None, &KdfParams::V1)?.identity();
        whole = whole.min(start.elapsed().as_secs_f64());

        let start = Instant::now();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        argon2.hash_password_into(b"a password", &[7; 16], &mut [0; 64]).map_err(|error| error.to_string())?;
        alone = alone.min(start.elapsed().as_secs_f64());
    }
    Figure {
        figure: "derive",
        value: whole,
        unit: "s",
        beside: "Argon2id alone",
        beside_value: alone,
        target: Target::RatioTo(1.2),
    }
    .print()
}
