//! What the tests share: a real bitcoind for as long as a test needs it.

pub mod bitcoind;
