//! What the ledger does much of, over this store. The ledger's code is generic over its storage and is compiled where it is
//! used: here, where it is optimised in every build, rather than in programs that are not.

use exchange_ledger::audit::{self, Audit, Scope};
use exchange_ledger::body::Body;
use exchange_ledger::book::Book;
use exchange_ledger::ledger::{Admission, Ledger};
use exchange_ledger::record::Record;
use exchange_ledger::storage::StorageError;

use crate::Store;

/// See [`Ledger::admit_some`].
///
/// # Errors
/// When the store fails.
pub fn admit_some(ledger: &mut Ledger<Store>, records: &[Record], now: u64) -> Result<Vec<Admission>, StorageError> {
    ledger.admit_some(records, now)
}

/// See [`Book::load`].
///
/// # Errors
/// When the store fails.
pub fn load_book(ledger: &Ledger<Store>, now: u64) -> Result<Book, StorageError> {
    Book::load(ledger, now)
}

/// See [`Book::apply`].
///
/// # Errors
/// When the store fails.
pub fn apply_to_book(
    book: &mut Book,
    ledger: &Ledger<Store>,
    record: &Record,
    body: &Body,
) -> Result<(), StorageError> {
    book.apply(ledger, record, body)
}

/// See [`audit::audit`].
///
/// # Errors
/// When the store fails.
pub fn audit(ledger: &Ledger<Store>, scope: &Scope, entropy: [u8; 32]) -> Result<Audit, StorageError> {
    audit::audit(ledger, scope, entropy)
}
