//! What the peers from one net group have together of what this node does for others, however many connections they open and
//! however often they come again. Whom this node has dialled, or lets in because he is named, takes from no share; nor does
//! who comes from this machine, since all do that a proxy brings.
//!
//! A peer has something of his own beside it ([`super::Peer`]), so nobody is kept from being answered or compared with by who
//! shares his address.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{BURST_SECONDS, COMPARE_BURST, COMPARE_PAUSE};
use crate::net::bucket::Bucket;
use crate::net::config::NetLimits;
use crate::net::origin::NetGroup;

/// Requests from one net group being answered at once, besides one of each peer: as many as of a peer that has a net group alone.
const MAX_SHARED_ANSWERS: usize = 8;
/// Comparisons with all peers from one net group are paced as with so many: eight that are idle want half of that.
const COMPARED_AS: u32 = 4;
/// Shares remembered, some hundred kilobytes. Beyond, the one is forgotten whose peers have been gone for longest; who has a
/// thousand net groups needs not come again from the same.
const MAX_SHARES: usize = 1024;

/// The share of each net group that has peers here, or had some and has not earned back what they took.
#[derive(Debug)]
pub(super) struct Shares {
    shares: HashMap<NetGroup, Share>,
    size: Size,
}

/// How much one net group has.
#[derive(Debug, Clone, Copy)]
struct Size {
    answers: usize,
    /// Bytes a second.
    rate: u32,
    /// As how many peers they are compared with.
    compared_as: u32,
}

/// The share of one net group.
#[derive(Debug)]
pub(super) struct Share {
    peers: usize,
    /// When the last of them went.
    left: Instant,
    size: Size,
    answers: Arc<Semaphore>,
    bytes: Bucket,
    comparisons: Bucket,
}

impl Shares {
    /// Returns shares of which each is as large as is right for so many peers from one address.
    pub fn new(limits: &NetLimits) -> Self {
        // Who lets in more from one address has told the proxy there to bound each of them.
        let times = limits.max_incoming_per_address.div_ceil(NetLimits::INCOMING_PER_ADDRESS).max(1);
        let size = Size {
            answers: MAX_SHARED_ANSWERS * usize::from(times),
            rate: limits.serve_rate.saturating_mul(times.into()),
            compared_as: COMPARED_AS.saturating_mul(times.into()),
        };
        Self { shares: HashMap::new(), size }
    }

    /// A peer has come from a net group.
    pub fn enter(&mut self, network: NetGroup, now: Instant) {
        if self.shares.len() >= MAX_SHARES && !self.shares.contains_key(&network) {
            self.make_room(now);
        }
        let size = self.size;
        self.shares.entry(network).or_insert_with(|| Share::new(size, now)).peers += 1;
    }

    /// A peer from a net group has gone, or takes from its share no longer.
    pub fn leave(&mut self, network: &NetGroup, now: Instant) {
        if let Some(share) = self.shares.get_mut(network) {
            share.peers = share.peers.saturating_sub(1);
            share.left = now;
        }
    }

    /// Returns when a peer from a net group may be compared with, as far as its share decides.
    pub fn compares_from(&self, network: Option<NetGroup>) -> Option<Instant> {
        self.shares.get(&network?)?.comparisons.not_before()
    }

    pub fn get_mut(&mut self, network: &NetGroup) -> Option<&mut Share> {
        self.shares.get_mut(network)
    }

    fn make_room(&mut self, now: Instant) {
        // Those that are whole again are as if they were new.
        self.shares.retain(|_, share| share.peers > 0 || !share.is_whole(now));
        let gone = self.shares.iter().filter(|(_, share)| share.peers == 0).min_by_key(|(_, share)| share.left);
        if let Some(longest) = gone.map(|(network, _)| *network).filter(|_| self.shares.len() >= MAX_SHARES) {
            self.shares.remove(&longest);
        }
    }
}

impl Share {
    fn new(size: Size, now: Instant) -> Self {
        let burst = COMPARE_BURST.saturating_mul(size.compared_as);
        Self {
            peers: 0,
            left: now,
            size,
            answers: Arc::new(Semaphore::new(size.answers)),
            bytes: Bucket::per_second(size.rate, size.rate.saturating_mul(BURST_SECONDS), now),
            comparisons: Bucket::paced(burst, COMPARE_PAUSE / size.compared_as, now),
        }
    }

    /// Returns the right to have one request answered, if there is one left.
    pub fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.answers).try_acquire_owned().ok()
    }

    pub fn has_bytes(&self, now: Instant) -> bool {
        self.bytes.has_any(now)
    }

    pub fn charge(&mut self, bytes: u64, now: Instant) {
        self.bytes.charge(bytes, now);
    }

    /// A peer is compared with.
    pub fn compare(&mut self, now: Instant) {
        self.comparisons.take_anyway(now);
    }

    /// Tells whether nothing of it is taken.
    fn is_whole(&self, now: Instant) -> bool {
        let is_answered = self.answers.available_permits() == self.size.answers;
        is_answered && self.comparisons.is_full(now) && self.bytes.is_full(now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn network(number: u32) -> NetGroup {
        NetGroup::V4(Ipv4Addr::from(number))
    }

    #[test]
    fn shares_are_bounded_and_none_is_new_again_before_it_is_whole() {
        let (mut shares, start) = (Shares::new(&NetLimits::default()), Instant::now());
        shares.enter(network(0), start);
        let ms = |ms| start + Duration::from_millis(ms);
        for number in 1..=MAX_SHARES as u32 {
            shares.enter(network(number), ms(number.into()));
            shares.get_mut(&network(number)).unwrap().charge(u64::MAX, ms(number.into()));
            shares.leave(&network(number), ms(number.into()));
        }
        assert_eq!(shares.shares.len(), MAX_SHARES);
        assert!(shares.get_mut(&network(0)).is_some(), "its peer is here");
        assert!(shares.get_mut(&network(1)).is_none(), "gone for longest");
        shares.enter(network(2), ms(2000));
        assert!(!shares.get_mut(&network(2)).unwrap().has_bytes(ms(2000)), "who comes again has used up his share");
        shares.enter(network(1), ms(60_000));
        assert_eq!(shares.shares.len(), 3, "those that are whole again are forgotten");
    }
}
