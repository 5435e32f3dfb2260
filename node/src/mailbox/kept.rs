//! Mail kept for others, in the order of arrival, and when each message is passed on again. The messages are on disk, and never
//! more of them in memory than a page: here is where each stands, and when it ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{MutexGuard, PoisonError};

use exchange_ledger::ids::MailboxId;
use exchange_ledger::mail::{Address, Envelope, LIFETIME_S, MAX_ENVELOPES};
use exchange_ledger::storage::StorageError;
use exchange_store::StoreError;
use sha2::{Digest, Sha256};

use super::{Mailbox, PAGE};
use crate::clock;
use crate::private::{KeptMail, MailSpot, Private};

/// How many messages a node keeps: a gigabyte of the disk at the very most, and some twenty megabytes of memory. The oldest make
/// room, for those who wait for the newest are more likely to be there; whoever sent an old one offers it again.
const MAX_KEPT: usize = 65_536;
/// How soon, in seconds, a message that is kept is passed on again when it is offered again, and then each time after twice
/// as long: nine times in its life. Gossip may have met a network that was divided, and its sender's peers have it since.
const PASS_AGAIN_S: u64 = 3600;

/// What is kept for others.
#[derive(Default)]
pub(super) struct Kept {
    /// In the order of arrival.
    held: BTreeMap<u64, Held>,
    /// When each ends, with its arrival.
    ends: BTreeSet<(u64, u64)>,
    last: u64,
    /// By the hash of its bytes, when each message came and when it was passed on last.
    passed: HashMap<[u8; 32], Passed>,
}

/// A message that is kept.
#[derive(Debug, Clone, Copy)]
struct Held {
    spot: MailSpot,
    end: u64,
    hash: [u8; 32],
}

/// When a message came and when it was passed on last, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
struct Passed {
    first: u64,
    last: u64,
}

impl Kept {
    /// Reads what is kept, a page at a time.
    pub fn read(private: &Private) -> Result<Self, StoreError> {
        let (mut kept, now) = (Self::default(), clock::unix_now());
        let mut after = None;
        loop {
            let page = private.all_mail(after, PAGE)?;
            for mail in &page {
                kept.add(spot_of(mail)?, mail.time, hash(&mail.envelope), mail.time.min(now));
            }
            after = page.last().map(|mail| (mail.mailbox, mail.arrival));
            if page.len() < PAGE {
                return Ok(kept);
            }
        }
    }

    /// Notes a message of a time that came at another.
    fn add(&mut self, spot: MailSpot, time: u64, hash: [u8; 32], came: u64) {
        let end = time.saturating_add(LIFETIME_S);
        self.held.insert(spot.arrival, Held { spot, end, hash });
        self.ends.insert((end, spot.arrival));
        self.last = self.last.max(spot.arrival);
        self.passed.insert(hash, Passed { first: came, last: came });
    }

    fn remove(&mut self, arrival: u64) {
        if let Some(Held { end, hash, .. }) = self.held.remove(&arrival) {
            self.ends.remove(&(end, arrival));
            self.passed.remove(&hash);
        }
    }

    /// Returns the first message of all.
    fn oldest(&self) -> Option<MailSpot> {
        self.held.first_key_value().map(|(_, held)| held.spot)
    }

    /// Returns the next messages that have ended, at most a page.
    fn ended(&self, now: u64) -> Vec<MailSpot> {
        let ended = self.ends.iter().take_while(|(end, _)| *end <= now).take(PAGE);
        ended.filter_map(|(_, arrival)| self.held.get(arrival)).map(|held| held.spot).collect()
    }
}

/// Returns where a message stands. Its signature was checked when it came.
fn spot_of(mail: &KeptMail) -> Result<MailSpot, StorageError> {
    let damaged = |_| StorageError::Damaged(format!("message {} kept for others cannot be read", mail.arrival));
    let Envelope { address, .. } = borsh::from_slice(&mail.envelope).map_err(damaged)?;
    let Address { sender, epoch, seq, .. } = address;
    Ok(MailSpot { mailbox: mail.mailbox, arrival: mail.arrival, sender, place: (epoch, seq) })
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
        while let Some(oldest) = kept.oldest().filter(|_| kept.held.len() >= MAX_KEPT) {
            self.drop_kept(&mut kept, &[oldest])?;
        }
        let spot = MailSpot { mailbox, arrival: kept.last.saturating_add(1), sender, place: (epoch, seq) };
        let (time, bytes) = (envelope.address.time, envelope.encode());
        let hash = hash(&bytes);
        self.private.put_mail(&spot, time, bytes)?;
        kept.add(spot, time, hash, clock::unix_now());
        Ok(Some(spot.arrival))
    }

    fn drop_kept(&self, kept: &mut Kept, spots: &[MailSpot]) -> Result<(), StoreError> {
        self.private.drop_mail(spots)?;
        spots.iter().for_each(|spot| kept.remove(spot.arrival));
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

    /// Drops messages whose lifetime is surely over, at most a page, with one write: whoever puts one meanwhile waits for no
    /// more. Tells whether there may be others.
    pub fn expire(&self) -> bool {
        let mut kept = self.kept();
        let ended = kept.ended(self.sure.now());
        match self.drop_kept(&mut kept, &ended) {
            Ok(()) => ended.len() >= PAGE,
            Err(error) => {
                tracing::error!(%error, "old messages cannot be dropped; it is tried again in some minutes");
                false
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
