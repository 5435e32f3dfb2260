//! The one place where this node draws random numbers, from the operating system.

/// Returns 32 unpredictable bytes.
///
/// # Panics
/// When the operating system has no randomness to give: nothing this node does would be safe then.
pub fn bytes32() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}
