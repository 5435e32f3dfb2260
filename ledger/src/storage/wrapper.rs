//! A store around another, for tests that count, fail or lie: what the trait asks is handed on here, once for all of them.

use super::{Aged, Batch, Storage, StorageError};
use crate::ids::{AuthorId, RecordId};
use crate::record::{Head, Kind, LogId, Place, Record};

macro_rules! wrapper {
    (
        asked { $(fn $asked:ident(&self $(, $by:ident: $of:ty)*) -> $answer:ty;)* }
        changed { $(fn $changed:ident(&mut self, $what:ident: $to:ty);)* }
    ) => {
        /// A store around another: it is a [`Storage`] that answers as the inner one does, but for what it answers itself.
        pub trait Wrapper {
            /// Asks the inner store.
            ///
            /// # Errors
            /// When that fails, or the wrapper does instead.
            fn ask<T>(
                &self,
                question: impl FnOnce(&dyn Storage) -> Result<T, StorageError>,
            ) -> Result<T, StorageError>;

            /// Changes the inner store.
            ///
            /// # Errors
            /// When that fails, or the wrapper does instead.
            fn change(
                &mut self,
                change: impl FnOnce(&mut dyn Storage) -> Result<(), StorageError>,
            ) -> Result<(), StorageError>;

            $(
                #[doc = concat!("Answers [`Storage::", stringify!($asked), "`].")]
                fn $asked(&self $(, $by: $of)*) -> Result<$answer, StorageError> {
                    self.ask(|inner| inner.$asked($($by),*))
                }
            )*

            $(
                #[doc = concat!("Does [`Storage::", stringify!($changed), "`].")]
                fn $changed(&mut self, $what: $to) -> Result<(), StorageError> {
                    self.change(|inner| inner.$changed($what))
                }
            )*
        }

        impl<W: Wrapper> Storage for W {
            $(
                fn $asked(&self $(, $by: $of)*) -> Result<$answer, StorageError> {
                    Wrapper::$asked(self $(, $by)*)
                }
            )*

            $(
                fn $changed(&mut self, $what: $to) -> Result<(), StorageError> {
                    Wrapper::$changed(self, $what)
                }
            )*
        }
    };
}

wrapper! {
    asked {
        fn record(&self, id: &RecordId) -> Option<Record>;
        fn places(&self, ids: &[RecordId]) -> Vec<Place>;
        fn read_many(&self, places: &[Place]) -> Vec<Record>;
        fn id_at(&self, log: &LogId, seq: u64) -> Option<RecordId>;
        fn range(&self, log: &LogId, from: u64, limit: usize) -> Vec<Record>;
        fn frozen(&self, log: &LogId) -> Vec<Record>;
        fn is_forked(&self, author: &AuthorId) -> bool;
        fn head(&self, log: &LogId) -> Option<Head>;
        fn heads(&self, after: Option<&LogId>, limit: usize) -> Vec<Head>;
        fn forked(&self, after: Option<&LogId>, limit: usize) -> Vec<Head>;
        fn logs_of(&self, author: &AuthorId, limit: usize) -> Vec<Head>;
        fn first_critical(&self, log: &LogId) -> Option<Place>;
        fn of_kind(&self, kind: Kind, after: Option<&Place>, limit: usize) -> Vec<Place>;
        fn of_kind_by(&self, kind: Kind, author: &AuthorId, after: Option<&Place>, limit: usize) -> Vec<Place>;
        fn about(&self, subject: &RecordId, author: Option<&AuthorId>, limit: usize) -> Vec<RecordId>;
        fn about_each(&self, subjects: &[RecordId], limit: usize) -> Vec<Vec<Place>>;
        fn next_about(&self, subject: &RecordId, after: Option<&AuthorId>) -> Option<AuthorId>;
        fn about_in(&self, subject: &RecordId, log: &LogId, limit: usize) -> Vec<RecordId>;
        fn open_offers(&self, after: Option<&RecordId>, limit: usize) -> Vec<RecordId>;
        fn len(&self) -> u64;
        fn droppable(&self, before: u64, after: Option<&Aged>, limit: usize) -> Vec<Aged>;
        fn bare(&self, since: u64, after: Option<&Aged>, limit: usize) -> Vec<Aged>;
    }
    changed {
        fn forget_open(&mut self, offers: &[RecordId]);
        fn commit(&mut self, batch: &Batch);
        fn drop_bodies(&mut self, records: &[RecordId]);
        fn keep_bodies(&mut self, records: &[Record]);
    }
}
