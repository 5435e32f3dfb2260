//! Bids and acceptances that make no contract.

use super::*;
use crate::body::Accept;
use crate::ledger::TradeError;
use crate::record::Header;
use crate::testing::{
    Author, EPOCH, SampleTrade, admit_all, ledger, sample_accept, sample_advert, sample_offer, sample_take, sats,
};

#[test]
fn a_bid_that_breaks_the_offer_is_no_trade() {
    let mut arbiter = Author::new(1);
    let advert = arbiter.write(&Body::ArbiterAdvert(sample_advert(&arbiter)));
    let mut maker = Author::new(2);
    let offer = maker.write(&Body::Offer(sample_offer(Side::Sell, &[advert.id()])));
    let taker = Author::new(3);
    let fine = sample_take(offer.id(), &taker);
    let expired = u64::from(EPOCH) + 30 * 24 * 3600;
    let own_key = CurveKey(arbiter.trade_key().x_only_public_key().0);
    let cases = [
        (Take { amount: sats(399_999), ..fine.clone() }, 3, None),
        (Take { amount: sats(2_000_001), ..fine.clone() }, 3, None),
        (Take { method: 2, ..fine.clone() }, 3, None),
        (Take { arbiter: 1, ..fine.clone() }, 3, None),
        (Take { party: Party { trade_key: own_key, ..fine.party.clone() }, ..fine.clone() }, 3, None),
        (fine.clone(), 2, None),
        (fine.clone(), 1, None),
        (fine.clone(), 3, Some(expired)),
        (fine.clone(), 3, Some(offer.header().time - MAX_CLOCK_SKEW_S - 1)),
    ];
    for (take, who, time) in cases {
        let mut ledger = ledger();
        let author = Author::new(who).reopened(EPOCH + 1);
        let header = author.next_header(&Body::Take(take.clone()));
        let header = Header { time: time.unwrap_or(header.time), ..header };
        let record = author.sign(header, Body::Take(take.clone()).encode());
        admit_all(&mut ledger, &[advert.clone(), offer.clone(), record.clone()]);
        let result = ledger.trade(record.id().into());
        assert!(matches!(result, Err(TradeError::Invalid(..))), "{take:?} by {who}: {result:?}");
        assert!(ledger.trades(None, 10).unwrap().is_empty());
        assert!(ledger.bids(&offer.id(), 2, 10).unwrap().is_empty());
    }
}

#[test]
fn an_acceptance_with_a_copied_or_unusable_key_or_destination_makes_no_contract() {
    let trade = SampleTrade::new(Side::Buy);
    let good = sample_accept(&trade.take, trade.offer.id(), &trade.maker);
    let theirs = trade.taker.party();
    let arbiter_key = trade.arbiter.party().trade_key;
    let cases = [
        (Party { trade_key: theirs.trade_key, ..good.party.clone() }, ContractError::Keys),
        (Party { trade_key: arbiter_key, ..good.party.clone() }, ContractError::Keys),
        (Party { destination: theirs.destination, ..good.party.clone() }, ContractError::Destinations),
        // Small-order points: nothing can be sealed to them, so the other's node would be stuck.
        (Party { seal_key: [0; 32], ..good.party.clone() }, ContractError::SealKey),
        (
            Party {
                seal_key: *b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                ..good.party.clone()
            },
            ContractError::SealKey,
        ),
    ];
    for (party, error) in cases {
        let body = Body::Accept(Accept { party, ..good.clone() });
        let record = trade.maker.sign(*trade.accept.header(), body.encode());
        assert_eq!(trade.bid().accepted(&record), Err(error));
    }
}
