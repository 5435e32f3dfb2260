//! What becomes of a record that a peer sent.

use crate::ledger::Admission;
use crate::record::{LogId, Record};
use crate::storage::Storage;

/// What became of something that a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// New and good: pass it on.
    Accept,
    /// New and kept, but not worth passing on: whoever wants it fetches it.
    Keep,
    /// Known already, early, over quota or of unknown origin: drop it, nobody is at fault.
    Ignore,
    /// It cannot be judged or kept now, though perhaps later: nobody is at fault, and nothing was compared to the end.
    Later,
    /// A record whose predecessors are missing: ask the sender for the log.
    Orphan(LogId),
    /// Invalid by itself: drop it and penalise the sender.
    Reject,
}

impl Verdict {
    /// Returns what becomes of a record of which the ledger made this, and which [`is_beyond`] the end of an own log or not.
    pub fn of(admission: &Admission, record: &Record, is_beyond: bool) -> Self {
        match admission {
            // What comes without its body is old: peers that lack it find out when they compare.
            Admission::New | Admission::Equivocation if record.is_bare() => Self::Keep,
            Admission::New | Admission::Equivocation => Self::Accept,
            Admission::Frozen => Self::Keep,
            // Of others' logs anybody can write what is early.
            Admission::Early if is_beyond => Self::Later,
            // What goes back in time is its author's fault: others hold it as one of two histories.
            Admission::Known | Admission::Early | Admission::TimeReversed => Self::Ignore,
            Admission::Orphan => Self::Orphan(record.header().log),
            Admission::Invalid(_) => Self::Reject,
        }
    }
}

/// Tells whether a record stands beyond the end that its log has here, and its author wrote here once, as far as can be
/// told: only he can have signed it. Whether he `wrote_here` is asked only if it decides.
pub fn is_beyond(
    storage: &impl Storage,
    admission: &Admission,
    record: &Record,
    wrote_here: impl FnOnce() -> bool,
) -> bool {
    if !matches!(admission, Admission::Early | Admission::Orphan) {
        return false;
    }
    let header = record.header();
    // What is here already may come again without its body, and be early so.
    let is_here = matches!(storage.head(&header.log), Ok(Some(head)) if header.seq < head.len);
    !is_here && wrote_here()
}
