//! The ledger on disk: records and their indexes on RocksDB behind [`exchange_ledger::storage::Storage`], and the node's
//! private tables beside them, so that a record and what the node remembers of it change together or not at all.
//!
//! Three layers, each using only those below it:
//! - `db`: the raw database: column families, options, durable writes, and what its errors mean;
//! - `keys`, `encoding` and `row`: every key and every value as bytes;
//! - `records` and [`Private`]: records and rows; [`Store`] has both.
//!
//! Every call blocks, and a write waits for the disk: call from a blocking thread.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod compiled;
mod db;
mod encoding;
mod error;
mod keys;
mod log_locks;
mod migrations;
mod private;
mod records;
mod row;
mod store;

pub use compiled::{admit_some, apply_to_book, audit, load_book};
pub use db::OpenOptions;
pub use encoding::Versioned;
pub use error::StoreError;
pub use keys::{FixedKey, Key, Namespace};
pub use private::{Answer, Changes, MAX_ANSWERS, MAX_EVENTS, MAX_REQUEST_ID_LEN, MAX_ROW_LEN, Private, Table, Written};
pub use store::Store;
