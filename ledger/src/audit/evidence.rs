//! Two things that one person signed and cannot both have meant. Each is valid by itself, and the rules decide which one
//! counts; but the two together prove that their author dealt with two people at once, or took back his word.

use crate::audit::Finding;
use crate::body::{Accept, Body, Ruling};
use crate::ids::AuthorId;
use crate::ledger::{Examined, Ledger};
use crate::record::{Kind, Record};
use crate::storage::{Storage, StorageError};
use crate::trade::Arbiter;

/// Returns where a party of a trade contradicts itself.
///
/// # Errors
/// When the store fails.
pub fn check<S: Storage>(ledger: &Ledger<S>, examined: &Examined) -> Result<Vec<Finding>, StorageError> {
    let bid = &examined.trade.bid;
    let mut findings = Vec::new();
    let mut find = |record: &Record, rule: String| {
        let author = record.author();
        findings.push(Finding { author, record: Some(record.id()), trade: Some(bid.trade), rule });
    };
    let said_by = |author: AuthorId| examined.said.iter().filter(move |record| record.author() == author);
    // An offer is for one trade: every acceptance of another bid than the first one's is a second promise of the same coins.
    // The first of the log that holds the offer come first, so that the maker hides them behind nothing that he says elsewhere.
    let said = ledger.facts(&examined.about_offer, bid.home_logs().get(..1).unwrap_or_default())?;
    let promised = |record: &Record| {
        let accept = accepted(record)?;
        // One that names it as the trade is about it too.
        (accept.offer == bid.offer_id).then_some(accept.trade)
    };
    let own = said.iter().find(|record| promised(record) == Some(bid.trade));
    let other = said.iter().find(|record| promised(record).is_some_and(|trade| trade != bid.trade));
    if let (Some(own), Some(other)) = (own, other) {
        find(own, format!("the maker accepted another bid for the same offer too: {}", other.id()));
    }
    let is_of_bid = |record: &&Record| accepted(record).is_some_and(|accept| accept.trade == bid.trade);
    let mut contracts = said_by(bid.maker).filter(is_of_bid);
    if let (Some(first), Some(second)) = (contracts.next(), contracts.next())
        && accepted(first) != accepted(second)
    {
        find(first, format!("the maker accepted the same bid on other terms too: {}", second.id()));
    }
    // A seller may ask for a refund and release all the same. Once he has released he has nothing left to ask for. What the
    // buyer calls a release is not the seller's word.
    let is_of = |record: &Record, kind| record.header().kind == kind && record.decoded().is_ok();
    if let Some(release) = said_by(bid.seller()).find(|record| is_of(record, Kind::Release)) {
        let log = release.header().log;
        let is_after = |cancel: &Record| cancel.header().log == log && cancel.header().seq >= release.header().seq;
        if let Some(cancel) = said_by(bid.seller()).find(|record| is_of(record, Kind::Cancel) && is_after(record)) {
            find(release, format!("the seller called the trade off after his release: {}", cancel.id()));
        }
    }
    // An arbiter who rules twice about the same coins told one of the two something else.
    let arbiters = std::iter::once(&bid.arbiter).chain(&bid.second_arbiter);
    for speaker in arbiters.flat_map(Arbiter::speakers) {
        let mut seen: Vec<(&Record, &Ruling)> = Vec::new();
        for (record, ruling) in said_by(*speaker).filter_map(|record| Some((record, ruled(record)?))) {
            let is_other = |(_, known): &&(&Record, &Ruling)| known.vaults == ruling.vaults && *known != ruling;
            if let Some((first, _)) = seen.iter().find(is_other) {
                find(first, format!("the arbiter ruled otherwise about the same coins too: {}", record.id()));
                break;
            }
            seen.push((record, ruling));
        }
    }
    Ok(findings)
}

/// Returns the acceptance that a record is.
fn accepted(record: &Record) -> Option<&Accept> {
    match record.decoded().map(|body| &**body) {
        Ok(Body::Accept(accept)) => Some(accept),
        Ok(_) | Err(_) => None,
    }
}

/// Returns the ruling that a record is.
fn ruled(record: &Record) -> Option<&Ruling> {
    match record.decoded().map(|body| &**body) {
        Ok(Body::Ruling(ruling)) => Some(ruling),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Cancel, Dispute, Release, Revoke, Side};
    use crate::ids::RecordId;
    use crate::ledger::{MAX_FACTS, Seen};
    use crate::record::Header;
    use crate::testing::{Author, SampleTrade, admit_all, ledger, sample_accept, sample_offer, sample_take, sats};
    use crate::trade::{Role, Seat, Verdict};

    fn rules(trade: &SampleTrade, more: &[Record]) -> Vec<String> {
        let mut ledger = ledger();
        admit_all(&mut ledger, &[trade.records().as_slice(), more].concat());
        let shown = ledger.examine(trade.id(), &mut Seen::default()).unwrap();
        check(&ledger, &shown).unwrap().into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn one_acceptance_and_one_ending_are_no_contradiction() {
        let mut trade = SampleTrade::new(Side::Sell);
        let cancel = Body::Cancel(Cancel { trade: trade.id(), refund: None });
        let cancel = trade.maker.write(&cancel);
        assert!(rules(&trade, &[cancel]).is_empty());
    }

    #[test]
    fn two_acceptances_are_found_in_one_log_in_two_and_in_two_histories() {
        let trade = SampleTrade::new(Side::Sell);
        let mut rival = Author::new(9);
        let bid = rival.write(&Body::Take(sample_take(trade.offer.id(), &rival)));
        let body = Body::Accept(sample_accept(&bid, trade.offer.id(), &trade.maker));
        let after = trade.maker.clone().write(&body);
        let elsewhere = trade.maker.reopened(7).write(&body);
        let instead = trade.maker.sign(*trade.accept.header(), body.encode());
        for second in [after, elsewhere, instead] {
            let found = rules(&trade, &[bid.clone(), second.clone()]);
            assert_eq!(found, [format!("the maker accepted another bid for the same offer too: {}", second.id())]);
        }
        let header = Header { time: trade.accept.header().time + 1, ..*trade.accept.header() };
        let terms = Body::Accept(sample_accept(&trade.take, trade.offer.id(), &Author::new(8)));
        let other = trade.maker.sign(header, terms.encode());
        let found = rules(&trade, std::slice::from_ref(&other));
        assert!(
            found.len() == 1 && found[0].starts_with("the maker accepted the same bid on other terms too"),
            "{found:?}"
        );
    }

    /// An acceptance is about the offer and the trade that it names, whatever they are.
    #[test]
    fn an_acceptance_that_takes_an_offer_for_a_trade_or_a_bid_for_an_offer_is_no_promise() {
        let trade = SampleTrade::new(Side::Sell);
        let mut maker = trade.maker.clone();
        let other = maker.write(&Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()])));
        let accept = |trade: RecordId, offer: RecordId| Accept {
            trade: trade.into(),
            ..sample_accept(&other, offer, &Author::new(8))
        };
        let odd = [accept(trade.offer.id(), other.id()), accept(other.id(), trade.take.id())];
        let odd = odd.map(|accept| maker.write(&Body::Accept(accept)));
        assert!(rules(&trade, &[vec![other.clone()], odd.to_vec()].concat()).is_empty());
    }

    #[test]
    fn two_rulings_about_the_same_coins_are_found_and_a_repeated_one_is_none() {
        let mut trade = SampleTrade::new(Side::Sell);
        let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
        let pair = trade.arbiter_pair(escrow.contract(), Seat::First);
        let mut ruling = |verdict| {
            let division = escrow.divide(Seat::First, &vaults, verdict, 10).unwrap();
            let ruling = escrow.rule(Seat::First, &vaults, division, &pair).unwrap();
            trade.arbiter.write(&Body::Ruling(ruling))
        };
        let said = [ruling(Verdict::Buyer), ruling(Verdict::Buyer), ruling(Verdict::Seller)];
        assert!(rules(&trade, &said[..2]).is_empty());
        let found = rules(&trade, &said);
        assert_eq!(found, [format!("the arbiter ruled otherwise about the same coins too: {}", said[2].id())]);
        let mut public = ledger();
        admit_all(&mut public, &[trade.records().as_slice(), &said].concat());
        let facts = public.trade(trade.id()).unwrap().facts;
        assert_eq!(facts.rulings.len(), 1);
        assert_eq!(facts.rulings[0].1.to_seller, crate::money::Sats::ZERO, "the first counts");
    }

    #[test]
    fn a_cancellation_after_a_release_by_the_same_hand_is_found() {
        let mut trade = SampleTrade::new(Side::Sell);
        let key = trade.author(Role::Seller).trade_key();
        let payout = trade.escrow().half(&trade.vaults(1), sats(1_700), Role::Buyer, &key).unwrap();
        let id = trade.id();
        let cancel = Body::Cancel(Cancel { trade: id, refund: None });
        let before = trade.author(Role::Seller).write(&cancel);
        let release = trade.author(Role::Seller).write(&Body::Release(Release { trade: id, payout }));
        let theirs = trade.author(Role::Buyer).write(&cancel);
        let honest = [before.clone(), release.clone(), theirs];
        assert!(rules(&trade, &honest).is_empty(), "two people may disagree, and a seller may give in");
        let cancel = trade.author(Role::Seller).write(&cancel);
        let found = rules(&trade, &[before, release, cancel.clone()]);
        assert_eq!(found, [format!("the seller called the trade off after his release: {}", cancel.id())]);
    }

    #[test]
    fn a_buyer_who_writes_both_proves_nothing_about_the_seller() {
        for side in [Side::Sell, Side::Buy] {
            let mut trade = SampleTrade::new(side);
            let (key, id) = (trade.author(Role::Seller).trade_key(), trade.id());
            let payout = trade.escrow().half(&trade.vaults(1), sats(1_700), Role::Buyer, &key).unwrap();
            let cancel = Body::Cancel(Cancel { trade: id, refund: None });
            let both = [Body::Release(Release { trade: id, payout }), cancel];
            let of_buyer = both.each_ref().map(|body| trade.author(Role::Buyer).write(body));
            assert!(rules(&trade, &of_buyer).is_empty(), "{side:?}");
        }
    }

    #[test]
    fn nobody_hides_what_he_did_behind_what_he_says_in_an_earlier_log() {
        let mut trade = SampleTrade::new(Side::Sell);
        let key = trade.author(Role::Seller).trade_key();
        let payout = trade.escrow().half(&trade.vaults(1), sats(1_700), Role::Buyer, &key).unwrap();
        let id = trade.id();
        let mut earlier = trade.maker.reopened(7);
        let mut more: Vec<Record> =
            (0..MAX_FACTS).map(|_| earlier.write(&Body::Dispute(Dispute { trade: id }))).collect();
        more.extend((0..MAX_FACTS).map(|_| earlier.write(&Body::Revoke(Revoke { offer: trade.offer.id() }))));
        more.push(trade.maker.write(&Body::Release(Release { trade: id, payout })));
        let cancel = trade.maker.write(&Body::Cancel(Cancel { trade: id, refund: None }));
        let mut rival = Author::new(9);
        let bid = rival.write(&Body::Take(sample_take(trade.offer.id(), &rival)));
        let second = trade.maker.write(&Body::Accept(sample_accept(&bid, trade.offer.id(), &trade.maker)));
        more.extend([cancel.clone(), bid, second.clone()]);
        let expected = [
            format!("the maker accepted another bid for the same offer too: {}", second.id()),
            format!("the seller called the trade off after his release: {}", cancel.id()),
        ];
        assert_eq!(rules(&trade, &more), expected);
    }
}
