//! What happened, as a hash (two runs of a seed must agree on it) and as the last events before a failure.

use std::collections::VecDeque;
use std::fmt;

use crate::agenda::Millis;

/// Events that are shown with a failure.
const SHOWN: usize = 40;

/// One event.
#[derive(Debug, Clone, Copy)]
struct Note {
    at: Millis,
    node: usize,
    what: &'static str,
    about: [u8; 4],
}

/// The trace of a run.
#[derive(Debug, Clone)]
pub struct Trace {
    hash: u64,
    last: VecDeque<Note>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, last: VecDeque::with_capacity(SHOWN) }
    }
}

impl Trace {
    /// Notes an event at a node about something that begins with these bytes.
    pub fn note(&mut self, at: Millis, node: usize, what: &'static str, about: &[u8]) {
        let mut short = [0; 4];
        short.iter_mut().zip(about).for_each(|(to, from)| *to = *from);
        let node_bytes = (node as u64).to_le_bytes(); // usize is at most 64 bits
        for byte in at.to_le_bytes().iter().chain(&node_bytes).chain(what.as_bytes()).chain(about) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3); // FNV-1a
        }
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(Note { at, node, what, about: short });
    }

    /// Returns the hash of everything so far.
    pub const fn hash(&self) -> u64 {
        self.hash
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Note { at, node, what, about: [a, b, c, d] } in &self.last {
            writeln!(f, "  {:>9.3} s  node {node:<2}  {what} {a:02x}{b:02x}{c:02x}{d:02x}", *at as f64 / 1000.0)?;
        }
        Ok(())
    }
}
