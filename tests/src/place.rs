//! How many stories run at once.

use std::sync::{Condvar, Mutex, PoisonError};

/// Each story derives its identities at full cost, a gibibyte of memory each, one after the other.
const PLACES: usize = 2;

static TAKEN: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// The right to run, given back when dropped.
#[derive(Debug)]
pub struct Place(());

impl Place {
    /// Waits until a place is free and takes it.
    #[must_use]
    pub fn take() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = FREED.wait_while(taken, |taken| *taken >= PLACES).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Self(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}
