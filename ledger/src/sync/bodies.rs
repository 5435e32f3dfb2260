//! The bodies that this node misses and a peer may have kept: which are asked for, and what comes back.
//!
//! A session walks through the bare records, the oldest first, and asks for a few hundred bodies at a time. A peer that says
//! that it keeps bodies and has none is left after some requests; the next session goes on where this one has stopped, so
//! records whose bodies nobody has keep nobody from the others.

use super::message::{MAX_BODIES, Request};
use super::session::{Fault, Stopped};
use crate::ids::RecordId;
use crate::record::Record;
use crate::retention::is_missed;
use crate::storage::{Aged, Storage, StorageError};

/// Bare records that one session looks at.
const MAX_WALKED: usize = 16_384;
/// Requests in a row without a single body, after which a peer has none.
const MAX_FRUITLESS: u32 = 4;

/// Which bodies a session asks for, of those that are missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedBodies {
    /// Those of records from this time on, which both nodes keep; and, of any time, of what was agreed on.
    pub since: u64,
    /// After this record.
    pub after: Option<Aged>,
}

/// How far a walk has come.
#[derive(Debug)]
pub(super) struct Walk {
    since: u64,
    after: Option<Aged>,
    walked: usize,
    fruitless: u32,
}

/// Records whose bodies were asked for.
pub(super) type Asked = Vec<Aged>;

impl Walk {
    pub const fn new(wanted: WantedBodies) -> Self {
        Self { since: wanted.since, after: wanted.after, walked: 0, fruitless: 0 }
    }

    /// Returns where the next session goes on; nothing when this one has come to the end.
    pub const fn after(&self) -> Option<Aged> {
        self.after
    }

    /// Returns the next request, if there is one.
    pub fn next_request(&mut self, storage: &dyn Storage) -> Result<Option<(Asked, Request)>, StorageError> {
        if self.fruitless >= MAX_FRUITLESS {
            return Ok(None);
        }
        let mut asked = Asked::new();
        while self.walked < MAX_WALKED && asked.len() < MAX_BODIES {
            let page = storage.bare(0, self.after.as_ref(), MAX_BODIES)?;
            let mut rest = page.iter();
            while asked.len() < MAX_BODIES
                && let Some(aged) = rest.next()
            {
                (self.after, self.walked) = (Some(*aged), self.walked + 1);
                if is_missed(storage, aged, self.since)? {
                    asked.push(*aged);
                }
            }
            if page.len() < MAX_BODIES && rest.len() == 0 {
                (self.after, self.walked) = (None, MAX_WALKED);
            }
        }
        let ids: Vec<RecordId> = asked.iter().map(|aged| aged.place.id).collect();
        Ok((!ids.is_empty()).then_some((asked, Request::Bodies(ids))))
    }

    /// Takes in an answer. Returns the records that are whole again.
    pub fn answered(
        &mut self,
        asked: &[Aged],
        bodies: Vec<Option<Vec<u8>>>,
        storage: &dyn Storage,
    ) -> Result<Vec<Record>, Stopped> {
        if bodies.len() > asked.len() {
            return Err(Fault::WrongAnswer.into());
        }
        let Some(last) = bodies.len().checked_sub(1).and_then(|last| asked.get(last)) else {
            return Err(Fault::WrongAnswer.into());
        };
        if bodies.len() < asked.len() {
            // The others found no room.
            self.after = Some(*last);
            self.walked = self.walked.min(MAX_WALKED - 1);
        }
        let mut records = Vec::new();
        for (aged, body) in asked.iter().zip(bodies) {
            let Some(body) = body else { continue };
            // It may be whole by now, or gone with a fork.
            if let Some(bare) = storage.record(&aged.place.id)?.filter(Record::is_bare) {
                records.push(bare.with_body(body).map_err(|_| Fault::WrongBody)?);
            }
            self.fruitless = 0;
        }
        if records.is_empty() {
            self.fruitless += 1;
        }
        Ok(records)
    }
}
