//! What the stories share: the real programs as processes of their own, a real bitcoind, and people who use them.
//!
//! A story reads like this: a [`World`] begins (a bitcoind on regtest, a relay without identity, an arbiter who has
//! advertised himself), [`Trader`]s enter it and do what users do, through the command line and nothing else. When the
//! world ends, no log of any process may hold a panic.

pub mod bitcoind;
mod cli;
mod crowd;
pub mod electrumx;
mod elsewhere;
mod people;
mod place;
mod process;
mod programs;
mod regtest;
mod small_disk;
mod talk;
mod terminal;
mod trader;
mod wait;
mod world;

pub use cli::{Cli, Failure};
pub use crowd::Crowd;
pub use elsewhere::Elsewhere;
pub use people::PASSWORD;
pub use place::Place;
pub use process::{Launch, Process};
pub use programs::program;
pub use regtest::Regtest;
pub use small_disk::SmallDisk;
pub use talk::lines;
pub use terminal::{Key, Terminal};
pub use trader::{Offer, Trader};
pub use wait::wait_until;
pub use world::World;
