//! Waiting for something to become true.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take. It guards against hanging and measures nothing, so it suits the slowest machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(150);

/// Looks until what is waited for is there, and returns it; until then, `look` says what it saw instead.
///
/// # Panics
/// When it does not come.
pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) => {
                assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}; instead: {instead}")
            }
        }
        sleep(LOOK_AGAIN);
    }
}
