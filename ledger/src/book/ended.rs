//! The offers that ended and that a store may still list as open.

use std::collections::BTreeSet;

use crate::ids::RecordId;

/// How many offers are noted that ended, until the time passes again and is sure: some fifteen megabytes, and ten seconds of
/// nothing but such offers. What is beyond is looked for once there is room.
const MAX_ENDED: usize = 1 << 18;

/// Offers that ended and that the store may list as open.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// By their ends.
    offers: BTreeSet<(u64, RecordId)>,
    /// For how many there is room.
    room: usize,
}

impl Default for Ended {
    fn default() -> Self {
        Self::with_room(MAX_ENDED)
    }
}

impl Ended {
    pub const fn with_room(room: usize) -> Self {
        Self { offers: BTreeSet::new(), room }
    }

    /// Notes that an offer ended, and when, and tells whether there was room for it.
    pub fn note(&mut self, id: RecordId, expires: u64) -> bool {
        let has_room = self.offers.len() < self.room;
        if has_room {
            self.offers.insert((expires, id));
        }
        has_room
    }

    /// Tells whether half of the room is free.
    pub fn is_half_free(&self) -> bool {
        self.offers.len() <= self.room / 2
    }

    /// Takes out one that has not ended at a time, the last first.
    pub fn take_after(&mut self, time: u64) -> Option<RecordId> {
        let (expires, id) = self.offers.last().copied().filter(|(expires, _)| *expires > time)?;
        self.offers.remove(&(expires, id));
        Some(id)
    }

    /// Takes out those that have ended at a time.
    pub fn take_until(&mut self, time: u64) -> Vec<RecordId> {
        let later = self.offers.split_off(&(time.saturating_add(1), RecordId([0; 32])));
        std::mem::replace(&mut self.offers, later).into_iter().map(|(_, id)| id).collect()
    }
}
