//! The simulator: what the protocol does in networks larger, and under troubles worse, than tests on real processes reach.
//! Everything that happens follows from a seed.
//!
//! [`gossip`] lets records spread through a thousand nodes (figure `propagation`).

pub mod agenda;
pub mod gossip;
pub mod rng;
