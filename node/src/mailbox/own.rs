//! Mail for this node's own identity: which mailboxes are its, and what is delivered to it, again where there was no room.

use std::collections::{HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};

use exchange_ledger::ids::{AuthorId, MailboxId, TradeId};
use exchange_ledger::mail::Envelope;
use exchange_ledger::trade::Contract;
use exchange_store::StoreError;
use tokio::sync::mpsc;

use super::{Mailbox, PAGE};

/// How many messages for this node's own identity may wait for the trader: all that a trade can have for it.
const QUEUE: usize = 1024;
/// How many mailboxes of its own a node asks peers for.
const MAX_OWN: usize = 1000;
/// Those among which there is room for one more of an arbiter's case: his own trades have the rest.
const MAX_CASES: usize = 500;

/// What concerns this node's own identity, once it is unlocked.
#[derive(Default)]
pub(super) struct Own {
    author: Option<AuthorId>,
    pub deliver: Option<mpsc::Sender<Envelope>>,
    mailboxes: HashSet<MailboxId>,
    /// Those of them with something that could not be taken in when it came, and after which arrival that is.
    waiting: HashMap<MailboxId, u64>,
    /// The epochs in which this run writes to people: as many as there are in the user's trades.
    pub epochs: HashMap<(TradeId, AuthorId), u32>,
}

/// Returns whose mailboxes somebody reads in a contract: his own and, as a member of a group of arbiters, that of the author of
/// its advert.
fn recipients(contract: &Contract, author: &AuthorId) -> Vec<AuthorId> {
    let arbiter = contract.seat_of(author).and_then(|seat| contract.arbiter(seat));
    let group = arbiter.filter(|arbiter| !arbiter.members.is_empty() && arbiter.author != *author);
    std::iter::once(*author).chain(group.map(|arbiter| arbiter.author)).collect()
}

impl Mailbox {
    /// Delivers mail of this identity from now on; what came in before is delivered when its mailbox is opened.
    pub fn unlock(&self, author: AuthorId) -> mpsc::Receiver<Envelope> {
        let (deliver, inbox) = mpsc::channel(QUEUE);
        let mut own = self.own();
        own.author = Some(author);
        own.deliver = Some(deliver);
        inbox
    }

    /// Asks peers for the mailbox of a trade of this node's, and delivers again what is kept in it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open_mailbox(&self, contract: &Contract) -> Result<(), StoreError> {
        let own = self.own();
        let Some(author) = own.author else { return Ok(()) };
        drop(own);
        recipients(contract, &author).into_iter().try_for_each(|recipient| self.open_one(contract, &recipient))
    }

    fn open_one(&self, contract: &Contract, recipient: &AuthorId) -> Result<(), StoreError> {
        let mut own = self.own();
        let mailbox = contract.mailbox(recipient);
        if own.mailboxes.contains(&mailbox) {
            return Ok(());
        }
        let is_case = own.author.is_some_and(|author| contract.seat_of(&author).is_some());
        let most = if is_case { MAX_CASES } else { MAX_OWN };
        if own.mailboxes.len() >= most {
            tracing::warn!("more than {most} trades are open; messages of trade {} may be late", contract.trade);
            return Ok(());
        }
        own.mailboxes.insert(mailbox);
        drop(own);
        self.deliver_kept(&mailbox, 0)
    }

    /// Notes that a message to this node's user could not be taken in, and has to be delivered again.
    pub fn put_off(&self, mailbox: MailboxId) {
        self.put_off_after(mailbox, 0);
    }

    fn put_off_after(&self, mailbox: MailboxId, after: u64) {
        let mut own = self.own();
        // A closed one is read again when it is opened.
        if own.mailboxes.contains(&mailbox) {
            let first = own.waiting.entry(mailbox).or_insert(after);
            *first = after.min(*first);
        }
    }

    /// Delivers again what is kept in the mailboxes with something that could not be taken in when it came.
    ///
    /// # Errors
    /// When the store fails; it is tried again with the next call.
    pub fn deliver_waiting(&self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.own().waiting);
        let mut outcome = Ok(());
        for (mailbox, after) in waiting {
            if let Err(error) = self.deliver_kept(&mailbox, after) {
                self.put_off_after(mailbox, after);
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Delivers what arrived in a mailbox after a message, as far as there is room.
    fn deliver_kept(&self, mailbox: &MailboxId, mut after: u64) -> Result<(), StoreError> {
        loop {
            let page = self.private.mail(mailbox, after, PAGE)?;
            if page.is_empty() {
                return Ok(());
            }
            for mail in page {
                if let Ok(envelope) = Envelope::decode(&mail.envelope)
                    && !self.deliver(*mailbox, mail.arrival, envelope)
                {
                    return Ok(());
                }
                after = mail.arrival;
            }
        }
    }

    /// Hands a message to this node's user, if it is his. Tells whether there was room; it comes again otherwise.
    pub(super) fn deliver(&self, mailbox: MailboxId, arrival: u64, envelope: Envelope) -> bool {
        let own = self.own();
        let is_own = own.author == Some(envelope.address.recipient) || own.mailboxes.contains(&mailbox);
        let refused = own.deliver.as_ref().filter(|_| is_own).and_then(|deliver| deliver.try_send(envelope).err());
        drop(own);
        if let Some(error) = &refused {
            tracing::warn!(%error, "a message waits");
            self.put_off_after(mailbox, arrival.saturating_sub(1));
        }
        refused.is_none()
    }

    /// Stops asking for the mailbox of a trade that is over.
    pub fn close_mailbox(&self, contract: &Contract) {
        let mut own = self.own();
        if let Some(author) = own.author {
            for recipient in recipients(contract, &author) {
                let mailbox = contract.mailbox(&recipient);
                own.mailboxes.remove(&mailbox);
                own.waiting.remove(&mailbox);
            }
        }
    }

    /// Returns the mailboxes that this node asks peers for.
    pub fn own_mailboxes(&self) -> Vec<MailboxId> {
        self.own().mailboxes.iter().copied().collect()
    }

    pub(super) fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
