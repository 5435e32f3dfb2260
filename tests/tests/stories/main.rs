//! What users live through, on real processes: every actor is a program of its own with a data directory of its own, and
//! everything they do goes through the command line or the terminal. One binary, so that the stories share two places.

#![allow(clippy::unwrap_used)]

mod backup_put_back;
mod bad_input;
mod bonds;
mod chat;
mod crashes;
mod disputes;
mod electrum;
mod external_signer;
mod fees;
mod full_disk;
mod groups;
mod key_path;
mod killed_at_every_step_and_resumed;
mod laptop_lost;
mod latecomer_catches_up;
mod ledgers_compared;
mod offer_taken_by_two_at_once;
mod quota;
mod refunds;
mod reorgs;
mod retention;
mod strangers_trade;
mod tui;
mod wallet;
