//! The mail part of a sync session: hand our sent envelopes to the peer, and empty our mailboxes there.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use exchange_ledger::ids::MailboxId;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Verdict;
use super::gate::Offence;
use super::protocol::{Delivery, MAX_MAIL_LEN, MAX_MAILBOXES, MAX_PUT, MAX_PUT_BYTES, Request, Response, WireCursor};
use super::sync::{Session, SessionError};

/// Sent envelopes that are handed to a peer in one session.
const MAX_OUTBOX: usize = 1000;
/// For how long a peer is not offered again what he has taken. He may have dropped it: a clock that is hours behind calls it
/// early.
const OFFER_AGAIN: Duration = Duration::from_secs(3600);
/// Requests for mail in one session: a hundred of the largest answers is more than a mailbox may hold.
const MAX_FETCHES: usize = 100;

/// What is known of the mail exchanged over a connection. It ends with the connection: a peer that comes back may have
/// lost its mail, or number it anew. Bounded by our own mailboxes and our own outbox.
#[derive(Debug, Default)]
pub(super) struct MailMemory {
    cursors: HashMap<MailboxId, u64>,
    pushed: HashSet<[u8; 32]>,
    /// Since when that is remembered.
    since: Option<Instant>,
}

impl Session {
    pub(super) async fn exchange_mail(&mut self, memory: &mut MailMemory) -> Result<(), SessionError> {
        self.push_outbox(memory).await?;
        self.fetch_mailboxes(memory).await
    }

    /// Hands over what we have sent and not handed to this peer yet.
    async fn push_outbox(&self, memory: &mut MailMemory) -> Result<(), SessionError> {
        let outbox = self.replica.my_outbox().await;
        let outbox: Vec<([u8; 32], Vec<u8>)> =
            outbox.into_iter().map(|envelope| (Sha256::digest(&envelope).into(), envelope)).collect();
        let current: HashSet<[u8; 32]> = outbox.iter().map(|(hash, _)| *hash).collect();
        if memory.since.is_none_or(|since| since.elapsed() >= OFFER_AGAIN) {
            (memory.since, memory.pushed) = (Some(Instant::now()), HashSet::new());
        }
        memory.pushed.retain(|hash| current.contains(hash));
        // The rest has its turn in the next session.
        let new = outbox.into_iter().filter(|(hash, _)| !memory.pushed.contains(hash)).take(MAX_OUTBOX);
        let (hashes, envelopes): (Vec<_>, Vec<_>) = new.unzip();
        self.put_mail(envelopes).await?;
        memory.pushed.extend(hashes);
        Ok(())
    }

    /// Hands over envelopes, in as few requests as they fit in.
    pub(super) async fn put_mail(&self, envelopes: Vec<Vec<u8>>) -> Result<(), SessionError> {
        let mut left = envelopes.into_iter().filter(|envelope| envelope.len() <= MAX_MAIL_LEN).peekable();
        while left.peek().is_some() {
            let mut bytes = 0;
            let mut envelopes = Vec::new();
            while envelopes.len() < MAX_PUT
                && let Some(envelope) = left.next_if(|envelope| bytes + envelope.len() <= MAX_PUT_BYTES)
            {
                bytes += envelope.len();
                envelopes.push(envelope);
            }
            let Response::Taken = self.link.ask(Request::MailPut(envelopes)).await? else {
                return Err(Offence::WrongAnswer.into());
            };
        }
        Ok(())
    }

    /// Empties our mailboxes at the peer. What cannot be taken now, because it is early or the disk is full, is asked for
    /// again by the next session.
    async fn fetch_mailboxes(&mut self, memory: &mut MailMemory) -> Result<(), SessionError> {
        let mut again = HashMap::new();
        let fetched = self.fetch_all(memory, &mut again).await;
        memory.cursors.extend(again);
        fetched
    }

    async fn fetch_all(
        &mut self,
        memory: &mut MailMemory,
        again: &mut HashMap<MailboxId, u64>,
    ) -> Result<(), SessionError> {
        let mut mailboxes = self.replica.my_mailboxes().await;
        mailboxes.truncate(MAX_MAILBOXES);
        memory.cursors.retain(|mailbox, _| mailboxes.contains(mailbox));
        for _ in 0..MAX_FETCHES {
            if mailboxes.is_empty() {
                return Ok(());
            }
            let cursor = |mailbox: &MailboxId| memory.cursors.get(mailbox).copied().unwrap_or(0);
            let cursors: Vec<WireCursor> =
                mailboxes.iter().map(|mailbox| WireCursor { mailbox: *mailbox, after: cursor(mailbox) }).collect();
            let Response::Mail(deliveries) = self.link.ask(Request::MailFetch(cursors.clone())).await? else {
                return Err(Offence::WrongAnswer.into());
            };
            if deliveries.is_empty() || deliveries.len() > cursors.len() {
                return Err(Offence::WrongAnswer.into());
            }
            let mut left = mailboxes.split_off(deliveries.len());
            for (read, delivery) in cursors.iter().zip(deliveries) {
                if self.take_delivery(read, delivery, memory, again).await? {
                    left.push(read.mailbox);
                }
            }
            mailboxes = left;
        }
        self.gain.unfinished = true;
        Ok(())
    }

    /// Takes in the envelopes of one mailbox and tells whether there may be more.
    async fn take_delivery(
        &self,
        read: &WireCursor,
        delivery: Delivery,
        memory: &mut MailMemory,
        again: &mut HashMap<MailboxId, u64>,
    ) -> Result<bool, SessionError> {
        if delivery.envelopes.is_empty() {
            return Ok(false);
        }
        if delivery.cursor <= read.after {
            // It would send the same for ever.
            return Err(Offence::WrongAnswer.into());
        }
        for envelope in delivery.envelopes {
            match self.replica.put_mail(envelope).await {
                Verdict::Accept | Verdict::Keep | Verdict::Ignore | Verdict::Orphan(_) => {}
                Verdict::Later => drop(again.entry(read.mailbox).or_insert(read.after)),
                Verdict::Reject => return Err(Offence::InvalidMail.into()),
            }
        }
        memory.cursors.insert(read.mailbox, delivery.cursor);
        Ok(true)
    }
}
