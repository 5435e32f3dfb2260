//! The one place where this node reads the time of day, and where it knows what time it is for sure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bitcoin::Network;

/// How long before this machine's clock the newest block may be dated by which somebody pays. On mainnet no such time passes without a
/// block, whose own time is an hour or two off at most; and it is short beside the two weeks between the last height at which somebody may
/// pay and the one from which on the coins can be taken back.
const MAX_AGE_S: u64 = 6 * 3600;

/// How late an author's clock may be, and the chain be behind what he saw of it when he signed a record, before that is evidence against
/// him. Nothing is lost by telling of it some hours later.
const MAX_LATE_S: u64 = 6 * 3600;

/// Returns the seconds since the Unix epoch; zero on a machine whose clock stands before it.
#[expect(clippy::disallowed_methods, reason = "the one home of the clock")]
pub fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time by which what has become old is destroyed: the smaller of this machine's clock and of what the chain shows. A clock
/// that is ahead, be it for a second at the start, takes nothing away then; what is shown, sent and let stand goes by the clock
/// alone, and what binds its user to an offer of long ago by the later of the two. Cheap to clone: all clones are told what the
/// chain shows.
///
/// The chain shows the median time past of its best block ([`median_time_past`](crate::chain::median_time_past)): no miner
/// dates it ahead alone, it never goes back, and it is an hour late, which matters to nothing that lives for days. Blocks that
/// stay away make it late: then what is old stays, within the bounds that hold for everything.
///
/// On regtest blocks cost nothing and come when somebody wants them: there the clock alone counts.
#[derive(Debug, Clone)]
pub struct SureTime {
    /// What the chain shows, zero until that is known; nothing where the chain is not asked.
    shown: Option<Arc<AtomicU64>>,
}

impl SureTime {
    /// Returns that of a node on a network whose chain has not shown any time yet: nothing is old.
    pub fn on(network: Network) -> Self {
        let shown = match network {
            Network::Bitcoin | Network::Testnet | Network::Testnet4 | Network::Signet => Some(Arc::default()),
            Network::Regtest => None,
        };
        Self { shown }
    }

    /// Is told what time the chain shows.
    pub fn show(&self, time: u64) {
        if let Some(shown) = &self.shown {
            shown.store(time, Ordering::Relaxed);
        }
    }

    /// Returns what time the chain shows; nothing while that is not known, and where the chain is not asked.
    pub fn shown(&self) -> Option<u64> {
        let shown = self.shown.as_ref().map(|shown| shown.load(Ordering::Relaxed));
        shown.filter(|shown| *shown > 0)
    }

    /// Returns what time it is at least, in seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        let shown = self.shown.as_ref().map_or(u64::MAX, |shown| shown.load(Ordering::Relaxed));
        unix_now().min(shown)
    }

    /// Returns what time it is by the later of the two: a clock that is held back, by whom it pleases, makes nothing last longer than
    /// the chain says. Where the chain is not asked, it is the clock's.
    pub fn latest(&self) -> u64 {
        unix_now().max(self.shown().unwrap_or_default())
    }

    /// Returns by how many seconds this machine's clock is ahead of what the chain shows: zero while that is not known, and where the
    /// chain is not asked. It is an hour or two where both are right.
    pub fn ahead(&self) -> u64 {
        self.shown().map_or(0, |shown| unix_now().saturating_sub(shown))
    }

    /// Tells whether a chain is old whose newest block has this time: it has gone on since, or it is this machine's clock that is wrong.
    /// Never where blocks come when somebody wants them.
    pub fn is_old(&self, newest: u64) -> bool {
        self.shown.is_some() && unix_now().saturating_sub(newest) > MAX_AGE_S
    }

    /// Tells whether a chain that shows one time may be behind what somebody had seen of it who signed a record at another, by his own
    /// clock. Never where blocks come when somebody wants them.
    pub fn may_be_behind(&self, shown: u64, said: u64) -> bool {
        self.shown.is_some() && shown < said.saturating_add(MAX_LATE_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_sure_that_clock_and_chain_do_not_both_show() {
        let sure = SureTime::on(Network::Bitcoin);
        assert_eq!((sure.now(), sure.ahead(), sure.shown()), (0, 0, None), "the chain has shown nothing");
        let (before, told) = (unix_now(), sure.clone());
        let by_clock = |time: u64| (before..=unix_now()).contains(&time);
        assert!(by_clock(sure.latest()));
        told.show(before - 1000);
        assert!(by_clock(sure.latest()), "the chain is behind the clock");
        assert_eq!((sure.now(), sure.shown()), (before - 1000, Some(before - 1000)));
        assert!((1000..2000).contains(&sure.ahead()));
        told.show(before + 1000);
        assert!(by_clock(sure.now()), "the chain is ahead of the clock");
        assert_eq!((sure.ahead(), sure.latest()), (0, before + 1000));
    }

    #[test]
    fn a_chain_is_old_without_a_block_of_the_last_hours_whatever_time_it_showed_before() {
        let sure = SureTime::on(Network::Bitcoin);
        for shown in [None, Some(unix_now())] {
            if let Some(shown) = shown {
                sure.show(shown);
            }
            for (hours, is_old) in [(0, false), (5, false), (7, true), (24 * 30, true)] {
                let newest = unix_now() - hours * 3600;
                assert_eq!(sure.is_old(newest), is_old, "{hours} hours ago, {shown:?}");
                assert!(!SureTime::on(Network::Regtest).is_old(newest), "blocks come when somebody wants them");
            }
            assert!(sure.is_old(0), "nothing was read yet");
            assert!(!sure.is_old(u64::MAX), "the clock is behind");
        }
    }

    #[test]
    fn a_chain_may_be_behind_who_signed_anything_in_the_last_hours_before_the_time_that_it_shows() {
        let said = 1_000_000;
        for (later, may_be) in [(0, true), (6 * 3600 - 1, true), (6 * 3600, false), (6 * 3600 + 1, false)] {
            assert_eq!(SureTime::on(Network::Bitcoin).may_be_behind(said + later, said), may_be, "{later} s later");
            assert!(!SureTime::on(Network::Regtest).may_be_behind(said + later, said));
        }
        assert!(SureTime::on(Network::Bitcoin).may_be_behind(0, said), "it has shown nothing");
    }

    #[test]
    fn where_blocks_cost_nothing_the_clock_alone_counts() {
        let (before, sure) = (unix_now(), SureTime::on(Network::Regtest));
        for shown in [before - 1000, before + 1000] {
            sure.show(shown);
            assert!([sure.now(), sure.latest()].iter().all(|time| (before..=unix_now()).contains(time)));
            assert_eq!((sure.ahead(), sure.shown()), (0, None));
        }
    }
}
