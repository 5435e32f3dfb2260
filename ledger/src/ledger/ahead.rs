//! What is looked for and read before trades are judged: for many at once that costs less than for one after the other.

use std::collections::BTreeMap;

use super::{Ledger, Seen};
use crate::body::Take;
use crate::ids::RecordId;
use crate::record::Place;
use crate::storage::{Storage, StorageError};

/// How many records about one trade or offer are too many to look ahead at: six are about a trade that goes well. Those that are
/// read ahead of 32 trades take 4 MB at most.
const MAX_SAID: usize = 8;
/// How many bids are read at once, to learn for which offers they are.
const BIDS_AT_ONCE: usize = 512;

/// Where that stands by which trades are judged, as it was at one moment: some 600 bytes for a usual trade, 1.5 kB for any.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// Bids, and for which offers they are.
    bids: BTreeMap<RecordId, RecordId>,
    /// Where those offers stand.
    offers: BTreeMap<RecordId, Place>,
    /// What is said about both, where that is little.
    about: BTreeMap<RecordId, Vec<Place>>,
}

impl Ahead {
    /// Tells whether a bid was looked for, and with it at the same moment what was said about its offer. One without a body then
    /// was not.
    pub(super) fn has(&self, bid: &RecordId) -> bool {
        self.bids.contains_key(bid)
    }

    /// Returns where that stands which was said about a trade or an offer, if that was looked for.
    pub(super) fn about(&self, subject: &RecordId) -> Option<&[Place]> {
        self.about.get(subject).map(Vec::as_slice)
    }
}

impl<S: Storage> Ledger<S> {
    /// Finds what was said about trades and their offers, for who is about to judge all of them: the more they are, the nearer
    /// stands what is found for one to what is found for the next.
    pub(crate) fn foresee(&self, takes: &[Place]) -> Result<Ahead, StorageError> {
        let mut bids: BTreeMap<RecordId, RecordId> = BTreeMap::new();
        for some in takes.chunks(BIDS_AT_ONCE) {
            let some = self.storage.read_many(some)?;
            bids.extend(some.iter().filter_map(|take| Some((take.id(), Take::offer_in(take)?))));
        }
        let offers: Vec<RecordId> = bids.values().copied().collect();
        let offers = self.storage.places(&offers)?.into_iter().map(|place| (place.id, place)).collect();
        let mut subjects: Vec<RecordId> = bids.iter().flat_map(|(take, offer)| [*take, *offer]).collect();
        subjects.sort_unstable();
        subjects.dedup();
        let said = self.storage.about_each(&subjects, MAX_SAID)?;
        let mut about: BTreeMap<RecordId, Vec<Place>> = subjects.into_iter().zip(said).collect();
        // What much is said about is read when its turn comes: then the trade and its offer both, or the one would be judged by
        // what was said of the other before.
        let is_much = |subject: &RecordId| about[subject].len() >= MAX_SAID;
        let crowded: Vec<(&RecordId, &RecordId)> =
            bids.iter().filter(|(take, offer)| is_much(take) || is_much(offer)).collect();
        for (take, offer) in crowded {
            about.remove(take);
            about.remove(offer);
        }
        Ok(Ahead { bids, offers, about })
    }

    /// Reads the records by which some of these trades are judged.
    pub(crate) fn read_ahead<'a>(&self, takes: &[Place], ahead: &'a Ahead) -> Result<Seen<'a>, StorageError> {
        let mut places = takes.to_vec();
        for take in takes {
            let Some(offer) = ahead.bids.get(&take.id) else { continue };
            places.extend(ahead.offers.get(offer));
            places.extend([&take.id, offer].into_iter().filter_map(|subject| ahead.about(subject)).flatten());
        }
        // An acceptance is about both.
        places.sort_unstable();
        places.dedup();
        let records = self.storage.read_many(&places)?;
        let records = records.into_iter().map(|record| (record.id(), record)).collect();
        Ok(Seen { ahead: Some(ahead), records, ..Seen::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Body, Dispute, Side};
    use crate::testing::{Author, SampleTrade, admit_all, ledger, sample_take};

    #[test]
    fn a_trade_is_judged_alike_whether_or_not_it_was_looked_ahead_at() {
        let mut trade = SampleTrade::new(Side::Sell);
        let dispute = Body::Dispute(Dispute { trade: trade.id() });
        let (mut ledger, take, offer) = (ledger(), trade.take.place(), trade.offer.id());
        admit_all(&mut ledger, &trade.records());
        for said in 1..=MAX_SAID {
            let ahead = ledger.foresee(&[take]).unwrap();
            let is_found = [take.id, offer].map(|subject| ahead.about(&subject).is_some());
            assert_eq!(is_found, [said < MAX_SAID; 2], "{said}");
            let mut seen = ledger.read_ahead(&[take], &ahead).unwrap();
            assert_eq!(seen.records.len(), if said < MAX_SAID { 2 + said } else { 2 });
            let judged = ledger.examine(trade.id(), &mut seen).unwrap();
            let alone = ledger.examine(trade.id(), &mut Seen::default()).unwrap();
            assert_eq!((judged.said.len(), &judged.said), (said, &alone.said));
            assert_eq!((judged.trade.contract, judged.trade.facts), (alone.trade.contract, alone.trade.facts));
            admit_all(&mut ledger, &[trade.taker.write(&dispute)]);
        }
    }

    /// Else an acceptance that came in between would be known to the trade, and not to its offer: as if nothing was agreed on.
    #[test]
    fn what_was_found_of_an_offer_for_another_bid_tells_nothing_of_one_that_was_not_looked_for() {
        let trade = SampleTrade::new(Side::Sell);
        let mut rival = Author::new(9);
        let other = rival.write(&Body::Take(sample_take(trade.offer.id(), &rival)));
        let mut ledger = ledger();
        let before = [trade.advert.clone(), trade.offer.clone(), trade.take.clone(), other.clone()];
        admit_all(&mut ledger, &before);
        let ahead = ledger.foresee(&[other.place()]).unwrap();
        admit_all(&mut ledger, std::slice::from_ref(&trade.accept));
        let takes = [trade.take.place(), other.place()];
        let mut seen = ledger.read_ahead(&takes, &ahead).unwrap();
        let judged = ledger.examine(trade.id(), &mut seen).unwrap();
        assert_eq!(judged.trade.contract, Some(trade.contract()));
        let missed = ledger.examine(other.id().into(), &mut seen).unwrap();
        assert!(!missed.trade.facts.void, "it is judged as of before");
    }

    #[test]
    fn a_bid_names_its_offer_first() {
        let trade = SampleTrade::new(Side::Buy);
        assert_eq!(Take::offer_in(&trade.take), Some(trade.offer.id()));
        let bare = trade.take.bared().unwrap();
        assert!([&bare, &trade.offer, &trade.accept].iter().all(|record| Take::offer_in(record).is_none()));
    }
}
