//! Mail kept for others, in the order of arrival, and when each message is passed on again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{MutexGuard, PoisonError};

use exchange_ledger::ids::MailboxId;
use exchange_ledger::mail::{Address, Envelope, LIFETIME_S, MAX_ENVELOPES};
use exchange_store::StoreError;
use sha2::{Digest, Sha256};

use super::{Mailbox, PAGE};
use crate::clock;
use crate::private::{KeptMail, Private};

/// How many messages a node keeps: a gigabyte at the very most. The oldest make room, for those who wait for the newest
/// are more likely to be there; whoever sent an old one offers it again.
const MAX_KEPT: usize = 65_536;
/// How soon, in seconds, a message that is kept is passed on again when it is offered again, and then each time after twice
/// as long: nine times in its life. Gossip may have met a network that was divided, and its sender's peers have it since.
const PASS_AGAIN_S: u64 = 3600;

/// What is kept for others, in the order of arrival.
#[derive(Default)]
pub(super) struct Kept {
    arrivals: BTreeMap<u64, MailboxId>,
    last: u64,
    /// By the hash of its bytes, when each message came and when it was passed on last.
    passed: HashMap<[u8; 32], Passed>,
}

/// When a message came and when it was passed on last, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
struct Passed {
    first: u64,
    last: u64,
}

impl Kept {
    /// Reads what is kept.
    pub fn read(private: &Private) -> Result<Self, StoreError> {
        let (mut arrivals, mut passed) = (BTreeMap::new(), HashMap::new());
        let now = clock::unix_now();
        for mail in private.all_mail(MAX_KEPT)? {
            arrivals.insert(mail.arrival, mail.mailbox);
            passed.insert(hash(&mail.envelope), Passed { first: mail.time.min(now), last: mail.time.min(now) });
        }
        let last = arrivals.last_key_value().map_or(0, |(arrival, _)| *arrival);
        Ok(Self { arrivals, last, passed })
    }
}

impl Passed {
    /// Tells whether it is to be passed on again, and notes that it is.
    fn again(&mut self, now: u64) -> bool {
        let due = now >= self.last.saturating_add(PASS_AGAIN_S.max(self.last.saturating_sub(self.first)));
        if due {
            self.last = now;
        }
        due
    }
}

impl Mailbox {
    /// Keeps a message; returns its number in the order of arrival if it is new, and not one too many of its sender.
    pub(super) fn keep(&self, mailbox: MailboxId, envelope: &Envelope) -> Result<Option<u64>, StoreError> {
        let Address { sender, epoch, seq, .. } = envelope.address;
        let mut kept = self.kept();
        // Of each sender as many as he may send, the first for each place.
        let places = self.private.mail_places(&mailbox, &sender, MAX_ENVELOPES as usize)?; // a u32 fits
        if places.len() >= MAX_ENVELOPES as usize || places.contains(&(epoch, seq)) {
            return Ok(None);
        }
        while kept.arrivals.len() >= MAX_KEPT {
            let Some((arrival, mailbox)) = kept.arrivals.first_key_value().map(|(at, mailbox)| (*at, *mailbox)) else {
                break;
            };
            self.drop_arrival(&mut kept, &mailbox, arrival)?;
            kept.arrivals.remove(&arrival);
        }
        let arrival = kept.last.saturating_add(1);
        let mail = KeptMail { mailbox, arrival, time: envelope.address.time, envelope: envelope.encode() };
        self.private.put_mail(&mail, &sender, (epoch, seq))?;
        kept.last = arrival;
        kept.arrivals.insert(arrival, mailbox);
        let now = clock::unix_now();
        kept.passed.insert(hash(&mail.envelope), Passed { first: now, last: now });
        Ok(Some(arrival))
    }

    fn drop_arrival(&self, kept: &mut Kept, mailbox: &MailboxId, arrival: u64) -> Result<(), StoreError> {
        for mail in self.private.mail(mailbox, arrival.saturating_sub(1), 1)? {
            if let (true, Ok(envelope)) = (mail.arrival == arrival, Envelope::decode(&mail.envelope)) {
                let Address { sender, epoch, seq, .. } = envelope.address;
                self.private.drop_mail(&mail, &sender, (epoch, seq))?;
                kept.passed.remove(&hash(&mail.envelope));
            }
        }
        Ok(())
    }

    /// Tells whether a message that is kept is to be passed on once more.
    pub(super) fn is_due_again(&self, envelope: &Envelope) -> bool {
        let mut kept = self.kept();
        kept.passed.get_mut(&hash(&envelope.encode())).is_some_and(|passed| passed.again(clock::unix_now()))
    }

    /// Returns messages of a mailbox after a cursor, and the next cursor.
    pub fn fetch(&self, mailbox: &MailboxId, after: u64, max_bytes: usize) -> (Vec<Vec<u8>>, u64) {
        let kept = self.private.mail(mailbox, after, PAGE).unwrap_or_else(|error| {
            tracing::error!(%error, "kept messages cannot be read");
            Vec::new()
        });
        let (mut cursor, mut bytes, mut mail) = (after, 0, Vec::new());
        for message in kept {
            bytes += message.envelope.len();
            if bytes > max_bytes && !mail.is_empty() {
                break;
            }
            cursor = message.arrival;
            mail.push(message.envelope);
        }
        (mail, cursor)
    }

    /// Drops messages whose lifetime is surely over.
    pub fn expire(&self) {
        let now = self.sure.now();
        let mail = self.private.all_mail(MAX_KEPT).unwrap_or_else(|error| {
            tracing::error!(%error, "kept messages cannot be read");
            Vec::new()
        });
        let mut kept = self.kept();
        for mail in mail.into_iter().filter(|mail| mail.time.saturating_add(LIFETIME_S) <= now) {
            match self.drop_arrival(&mut kept, &mail.mailbox, mail.arrival) {
                Ok(()) => drop(kept.arrivals.remove(&mail.arrival)),
                Err(error) => tracing::error!(%error, "an old message cannot be dropped"),
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(envelope: &[u8]) -> [u8; 32] {
    Sha256::digest(envelope).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_passed_on_again_ever_more_seldom() {
        let mut passed = Passed { first: 1_000_000, last: 1_000_000 };
        let end = passed.first + LIFETIME_S;
        let times: Vec<u64> = (passed.first..end).step_by(60).filter(|now| passed.again(*now)).collect();
        let hours: Vec<u64> = times.iter().map(|time| (time - 1_000_000) / 3600).collect();
        assert_eq!(hours, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
    }
}
