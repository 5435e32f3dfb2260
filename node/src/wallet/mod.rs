//! The bitcoin wallet. Being written.
