//! The one way this protocol hashes: SHA-256 over a domain separator and fixed-size or length-prefixed parts.

use sha2::{Digest, Sha256};

/// Returns SHA-256 of `domain` followed by `parts`, concatenated. Callers pass parts of fixed size, or one variable part
/// last, so that no two inputs collide by shifting a boundary.
pub fn tagged(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(domain.as_bytes());
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}
