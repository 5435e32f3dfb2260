//! What can go wrong with a store, and what to do about it.

use std::path::PathBuf;

use exchange_ledger::storage::StorageError;

/// A store that cannot be opened, or a row that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory is open elsewhere.
    #[error("another node uses this data directory: {0}; stop that node, or give this one a directory of its own")]
    InUse(PathBuf),
    /// A later version of this program wrote the directory.
    #[error("{path} was written by a newer version (schema {found}, this version knows {known}): update this program")]
    NewerSchema {
        /// The directory.
        path: PathBuf,
        /// The version in it.
        found: u32,
        /// The latest version that this code knows.
        known: u32,
    },
    /// A migration did not do what it should. The directory still has the schema before it.
    #[error(
        "the data directory could not be brought to schema {to}: {reason}; keep it and go back to the version that wrote it"
    )]
    Migration {
        /// The schema that was to be reached.
        to: u32,
        /// What its check found.
        reason: String,
    },
    /// A row was written by a later version of this program.
    #[error("{row} has version {version}, which this program does not know: update it")]
    NewerRow {
        /// The table and key.
        row: String,
        /// The row's version.
        version: u8,
    },
    /// A row or key is longer than it may be.
    #[error("{what} of {len} bytes is too long to be kept: at most {max}")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The request has its answer already: nothing of the changes was kept, so that nothing is done twice.
    #[error("request `{0}` was answered before: return that answer")]
    AlreadyAnswered(String),
    /// The disk or what is on it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
