//! The one place where this node reads the time of day.

/// Returns the seconds since the Unix epoch; zero on a machine whose clock stands before it.
#[expect(clippy::disallowed_methods, reason = "the one home of the clock")]
pub fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
