//! Mail that is kept for others.

use std::ops::Bound;

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::ids::{AuthorId, MailboxId};
use exchange_store::{Changes, Namespace, StoreError, Table, Versioned};

use super::{EnvelopePlace, EnvelopeRow, Private};

rows! {
    /// Where a kept message stands in its mailbox.
    MailIndexRow { arrival: u64, }
}

const MAILBOX: Table<(MailboxId, u64), EnvelopeRow> = Table::new(Namespace::Mailbox);
const MAIL_INDEX: Table<((MailboxId, AuthorId), EnvelopePlace), MailIndexRow> = Table::new(Namespace::MailIndex);

/// Where a message that is kept for somebody stands: all that is needed to drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailSpot {
    /// Its mailbox.
    pub mailbox: MailboxId,
    /// Its number in the order of arrival.
    pub arrival: u64,
    /// Who sent it.
    pub sender: AuthorId,
    /// Its place, epoch and seq, in what he sent there.
    pub place: (u32, u32),
}

/// A message kept for somebody.
#[derive(Debug, Clone)]
pub struct KeptMail {
    /// Its mailbox.
    pub mailbox: MailboxId,
    /// Its number in the order of arrival.
    pub arrival: u64,
    /// When it was sent, by its sender's clock.
    pub time: u64,
    /// The envelope.
    pub envelope: Vec<u8>,
}

impl Private {
    /// Returns the kept messages of a mailbox that arrived after a number, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn mail(&self, mailbox: &MailboxId, after: u64, limit: usize) -> Result<Vec<KeptMail>, StoreError> {
        let range = (*mailbox, after.saturating_add(1))..=(*mailbox, u64::MAX);
        let rows = self.store.private().scan(&MAILBOX, range, limit)?;
        Ok(rows.into_iter().map(kept).collect())
    }

    /// Returns the kept messages of all mailboxes after one of a mailbox and arrival, in the order of these, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn all_mail(&self, after: Option<(MailboxId, u64)>, limit: usize) -> Result<Vec<KeptMail>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.store.private().scan(&MAILBOX, (start, Bound::Unbounded), limit)?;
        Ok(rows.into_iter().map(kept).collect())
    }

    /// Returns the places, epoch and seq, of the kept messages of a sender to a mailbox, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn mail_places(
        &self,
        mailbox: &MailboxId,
        sender: &AuthorId,
        limit: usize,
    ) -> Result<Vec<(u32, u32)>, StoreError> {
        let rows = self.store.private().scan_within(&MAIL_INDEX, &(*mailbox, *sender), limit)?;
        Ok(rows.into_iter().map(|((_, place), _)| place).collect())
    }

    /// Keeps a message of a time.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_mail(&self, spot: &MailSpot, time: u64, envelope: Vec<u8>) -> Result<(), StoreError> {
        let MailSpot { mailbox, arrival, sender, place } = *spot;
        let changes = Changes::new().put(&MAILBOX, &(mailbox, arrival), &EnvelopeRow { envelope, time }).put(
            &MAIL_INDEX,
            &((mailbox, sender), place),
            &MailIndexRow { arrival },
        );
        self.store.private().write(changes).map(drop)
    }

    /// Drops kept messages with one write; they may be offered again while their lifetime lasts.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn drop_mail(&self, spots: &[MailSpot]) -> Result<(), StoreError> {
        let changes = spots.iter().fold(Changes::new(), |changes, spot| {
            let MailSpot { mailbox, arrival, sender, place } = *spot;
            changes.delete(&MAILBOX, &(mailbox, arrival)).delete(&MAIL_INDEX, &((mailbox, sender), place))
        });
        self.store.private().write(changes).map(drop)
    }
}

fn kept(((mailbox, arrival), row): ((MailboxId, u64), EnvelopeRow)) -> KeptMail {
    KeptMail { mailbox, arrival, time: row.time, envelope: row.envelope }
}
