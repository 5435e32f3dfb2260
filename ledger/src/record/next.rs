//! The next record of an own log: whether the log takes one, and its header. A node and the simulator go by the same.

use crate::ids::RecordId;
use crate::ledger::MAX_CLOCK_SKEW_S;
use crate::record::{Head, Header, Kind, LogId, MAX_LOG_LEN};

impl Header {
    /// Returns the header of the record that opens a log, by a ticket for it ([`admission`](crate::record::admission)).
    ///
    /// What it says of the body comes in when it is signed ([`Record::sign`](crate::record::Record::sign)).
    pub const fn first(log: LogId, network: [u8; 4], kind: Kind, now: u64, admission: u64) -> Self {
        Self {
            network,
            log,
            seq: 0,
            backlink: RecordId([0; 32]),
            time: now,
            kind,
            flags: 0,
            body_len: 0,
            body_hash: [0; 32],
            admission,
        }
    }

    /// Returns the header of the record that continues a log; of the body as in [`Header::first`].
    pub fn after(head: &Head, network: [u8; 4], kind: Kind, now: u64) -> Self {
        let Head { log, len, id, time, frozen: _ } = *head;
        // A clock that was set back must not break the log.
        Self { seq: len, backlink: id, ..Self::first(log, network, kind, now.max(time), 0) }
    }
}

impl Head {
    /// Tells whether a log can take another record: it is not full, and no clock that once ran ahead holds up everything
    /// that is signed until its time has come.
    pub const fn has_room(&self, now: u64) -> bool {
        self.len < MAX_LOG_LEN && self.time <= now.saturating_add(MAX_CLOCK_SKEW_S)
    }
}

impl Kind {
    /// Tells whether records of a kind mean little outside of the log that holds what they are about: these wait for a peer
    /// rather than open a new log.
    pub const fn waits_for_its_log(self) -> bool {
        match self {
            // The acceptance of a bid counts only in the log of the offer, and nobody pays for outputs that are named in another
            // log than that of the agreement. A heartbeat that nobody hears is worth no log, nor is that a trade is over: it would
            // take the log from those that are not.
            Self::Accept | Self::Funded | Self::Heartbeat | Self::Closed => true,
            Self::ArbiterAdvert
            | Self::GroupAdvert
            | Self::GroupStep
            | Self::Checkpoint
            | Self::Stake
            | Self::Offer
            | Self::Revoke
            | Self::Take
            | Self::Cancel
            | Self::PaymentSent
            | Self::Release
            | Self::Dispute
            | Self::Ruling
            | Self::Extend
            | Self::Unknown(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use crate::testing::{Author, EPOCH, NETWORK};

    #[test]
    fn a_log_is_begun_and_continued_and_never_goes_back_in_time() {
        let mut author = Author::new(1);
        let now = u64::from(EPOCH) + 1;
        let opening = author.next_header(&Body::Heartbeat);
        assert_eq!(Header::first(author.log(), NETWORK, Kind::Heartbeat, now, opening.admission), opening);

        let head = author.write(&Body::Heartbeat).as_head();
        let next = author.next_header(&Body::Heartbeat);
        assert_eq!(Header::after(&head, NETWORK, Kind::Heartbeat, now + 1), next);
        let by_a_clock_set_back = Header::after(&head, NETWORK, Kind::Heartbeat, now - 600);
        assert_eq!(by_a_clock_set_back, Header { time: head.time, ..next });
    }

    #[test]
    fn a_full_log_takes_no_more_and_neither_does_one_by_a_clock_that_ran_ahead() {
        let noted = |len| Head { len, ..Author::new(1).write(&Body::Heartbeat).as_head() };
        let time = noted(1).time;
        assert!(noted(MAX_LOG_LEN - 1).has_room(time));
        assert!(!noted(MAX_LOG_LEN).has_room(time));
        assert!(noted(1).has_room(time - MAX_CLOCK_SKEW_S));
        assert!(!noted(1).has_room(time - MAX_CLOCK_SKEW_S - 1));
    }
}
