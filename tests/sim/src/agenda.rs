//! Virtual time: what is going to happen, and when.

use std::collections::BTreeMap;

/// Milliseconds of virtual time since the world began.
pub type Millis = u64;

/// What is planned. At one moment, what was planned first happens first: so a run depends on nothing but its seed.
#[derive(Debug)]
pub struct Agenda<E> {
    now: Millis,
    planned: u64,
    events: BTreeMap<(Millis, u64), E>,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { now: 0, planned: 0, events: BTreeMap::new() }
    }
}

impl<E> Agenda<E> {
    /// Returns the present.
    pub const fn now(&self) -> Millis {
        self.now
    }

    /// Returns how much is planned.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Tells whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Plans something, so many milliseconds from now.
    pub fn after(&mut self, delay: Millis, event: E) {
        self.planned += 1;
        self.events.insert((self.now + delay, self.planned), event);
    }

    /// Goes on to the next event, if it is due by `end`.
    pub fn next_until(&mut self, end: Millis) -> Option<E> {
        let first = self.events.first_entry().filter(|entry| entry.key().0 <= end)?;
        let ((at, _), event) = first.remove_entry();
        self.now = at;
        Some(event)
    }
}
