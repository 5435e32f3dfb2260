//! From keys to commands: what a user presses and what is then asked of the node. One binary, a file for each screen.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod book;
mod chat;
mod disputes;
mod everywhere;
mod gate;
mod post;
mod take;
mod trades;
mod wallet;
