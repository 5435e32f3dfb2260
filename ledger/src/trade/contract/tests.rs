//! Bids and acceptances that make no contract, and what is in one that they make.

use super::*;
use crate::body::Accept;
use crate::ledger::TradeError;
use crate::record::Header;
use crate::testing::{
    Author, EPOCH, SampleGroup, SampleTrade, admit_all, ledger, sample_accept, sample_advert, sample_offer,
    sample_take, sats,
};
use crate::wire::List;

#[test]
fn a_funding_counts_from_a_day_of_blocks_below_the_stated_height_on() {
    let trade = SampleTrade::new(Side::Sell);
    for (stated, from) in [(0, 0), (144, 0), (145, 1), (1_000, 856), (u32::MAX, u32::MAX - 144)] {
        let contract = trade.clone().agreed_at(stated).contract();
        assert_eq!((contract.height, contract.funded_from()), (stated, from));
        for tip in [0, from, u32::MAX] {
            assert!(contract.can_be_funded_at(Some(from), tip) && contract.can_be_funded_at(Some(u32::MAX), tip));
            assert!(from.checked_sub(1).is_none_or(|below| !contract.can_be_funded_at(Some(below), tip)));
        }
        // What no block holds, the next one could.
        for (tip, counts) in [(from.checked_sub(2), false), (from.checked_sub(1), true), (Some(from), true)] {
            assert!(tip.is_none_or(|tip| contract.can_be_funded_at(None, tip) == counts), "{stated}, {tip:?}");
        }
        assert!(contract.can_be_funded_at(None, u32::MAX));
    }
}

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

/// Returns a bid on an offer with two arbiters after a change of the offer, of the bid and of the first arbiter's advert.
fn bid_on(change: impl FnOnce(&mut Offer, &mut Take, &mut ArbiterAdvert)) -> Result<Bid, ContractError> {
    let [mut arbiter, mut second, mut maker, mut taker] = [1, 6, 2, 3].map(Author::new);
    let mut advert = sample_advert(&arbiter);
    let mut offer = sample_offer(Side::Sell, &[]);
    let mut take = Take { second_arbiter: Some(1), ..sample_take(RecordId([0; 32]), &taker) };
    change(&mut offer, &mut take, &mut advert);
    let advert = arbiter.write(&Body::ArbiterAdvert(advert));
    let other = second.write(&Body::ArbiterAdvert(sample_advert(&second)));
    offer.arbiters = List::new(vec![advert.id(), other.id()]).unwrap();
    let offer = maker.write(&Body::Offer(offer));
    take.offer = offer.id();
    Bid::new(&offer, &taker.write(&Body::Take(take)), &[&advert, &other])
}

#[test]
fn an_amount_is_good_up_to_the_limits_of_offer_and_arbiter() {
    for (amount, arbiters_max, is_good) in [
        (399_999, 2_000_000, false),
        (400_000, 2_000_000, true),
        (2_000_000, 2_000_000, true),
        (2_000_001, 2_000_001, false),
        (1_500_000, 1_500_000, true),
        (1_500_001, 1_500_000, false),
    ] {
        let bid = bid_on(|_, take, advert| (take.amount, advert.max_amount) = (sats(amount), sats(arbiters_max)));
        let max = sats(arbiters_max.min(2_000_000));
        let refused = ContractError::Amount { amount: sats(amount), min: sats(400_000), max };
        assert_eq!(bid.map(|bid| bid.take.amount), if is_good { Ok(sats(amount)) } else { Err(refused) });
    }
}

#[test]
fn a_bid_chooses_what_its_offer_has_and_two_different_arbiters() {
    for (method, first, second, is_good) in [
        (1, 0, Some(1), true),
        (1, 1, Some(0), true),
        (0, 1, None, true),
        (2, 0, None, false),
        (0, 2, None, false),
        (0, 0, Some(2), false),
        (0, 0, Some(0), false),
    ] {
        let bid = bid_on(|_, take, _| (take.method, take.arbiter, take.second_arbiter) = (method, first, second));
        assert_eq!(bid.as_ref().err(), (!is_good).then_some(&ContractError::Choice), "{method} {first} {second:?}");
        let seats = |bid: Bid| (bid.arbiter.author, bid.second_arbiter.map(|arbiter| arbiter.author));
        let arbiters = [Author::new(1).id(), Author::new(6).id()];
        if let Ok(bid) = bid {
            let chosen = (arbiters[usize::from(first)], second.map(|place| arbiters[usize::from(place)]));
            assert_eq!(seats(bid), chosen, "each on the seat that the bid names");
        }
    }
}

#[test]
fn a_bid_with_a_copied_key_or_destination_is_none() {
    let others = [Author::new(1), Author::new(6)].map(|author| author.party());
    for theirs in others {
        let bid = bid_on(|_, take, _| take.party.trade_key = theirs.trade_key);
        assert_eq!(bid, Err(ContractError::Keys));
        let bid = bid_on(|_, take, _| take.party.destination = theirs.destination);
        assert_eq!(bid, Err(ContractError::Destinations));
    }
    let (key, destination) = (Author::new(6).party().trade_key, Author::new(6).party().destination);
    assert_eq!(bid_on(|_, _, advert| advert.key = key), Err(ContractError::Keys));
    assert_eq!(bid_on(|_, _, advert| advert.destination = destination), Err(ContractError::Destinations));
}

#[test]
fn bonds_are_millionths_of_the_amount_rounded_up_and_each_locks_his_own() {
    for (side, buyer, seller) in [(Side::Sell, 3, 2), (Side::Buy, 2, 3)] {
        let bid = bid_on(|offer, take, _| {
            (offer.side, take.amount) = (side, sats(400_001));
            (offer.seller_bond_ppm, offer.buyer_bond_ppm) = (50_000, 100_000);
        });
        let bid = bid.unwrap();
        assert_eq!((bid.seller_bond, bid.buyer_bond), (sats(20_001), sats(40_001)));
        assert_eq!(bid.locked_by(Role::Seller), sats(400_001 + 20_001));
        assert_eq!(bid.locked_by(Role::Buyer), sats(40_001));
        assert_eq!(bid.locked_by(Role::Arbiter), Sats::ZERO);
        assert_eq!((bid.buyer(), bid.seller()), (Author::new(buyer).id(), Author::new(seller).id()));
        assert_eq!(bid.cost, 24_701, "61,750.00 a bitcoin, rounded up to the cent");
    }
    let all = bid_on(|offer, take, advert| {
        (offer.max, advert.max_amount, take.amount) = (Sats::MAX, Sats::MAX, Sats::MAX);
        (offer.seller_bond_ppm, take.second_arbiter) = (50_000, None);
    });
    assert_eq!(all, Err(ContractError::Bonds));
}

#[test]
fn nothing_is_bid_or_accepted_at_the_end_of_an_offer() {
    let trade = SampleTrade::new(Side::Sell);
    let end = u64::from(EPOCH) + 30 * 24 * 3600;
    let at = |author: &Author, record: &Record, time| {
        author.sign(Header { time, ..*record.header() }, record.body().to_vec())
    };
    for (time, expected) in [(end - 1, None), (end, Some(ContractError::Expired))] {
        let bid = Bid::new(&trade.offer, &at(&trade.taker, &trade.take, time), &[&trade.advert]);
        assert_eq!(bid.err(), expected);
        assert_eq!(trade.bid().accepted(&at(&trade.maker, &trade.accept, time)).err(), expected);
    }
}

#[test]
fn an_acceptance_is_of_this_bid_of_this_offer_and_the_makers_in_his_own_log() {
    let trade = SampleTrade::new(Side::Sell);
    let good = sample_accept(&trade.take, trade.offer.id(), &trade.maker);
    let header = *trade.accept.header();
    let others = trade.maker.reopened(EPOCH + 9).next_header(&Body::Heartbeat);
    for (author, header, accept, error) in [
        (&trade.maker, header, Accept { trade: TradeId([1; 32]), ..good.clone() }, ContractError::Unrelated),
        (&trade.maker, header, Accept { offer: RecordId([1; 32]), ..good.clone() }, ContractError::Unrelated),
        (&trade.taker, Header { log: trade.taker.log(), ..header }, good.clone(), ContractError::Unrelated),
        (&trade.maker, Header { log: others.log, ..header }, good, ContractError::OtherLog),
    ] {
        let record = author.sign(header, Body::Accept(accept).encode());
        assert_eq!(trade.bid().accepted(&record), Err(error));
    }
    assert_eq!(trade.bid().accepted(&trade.take), Err(ContractError::WrongKind(trade.take.id())));
}

#[test]
fn roles_and_seats_are_told_by_identity() {
    for side in [Side::Sell, Side::Buy] {
        let mut trade = SampleTrade::with_second(side);
        let (bid, contract) = (trade.bid(), trade.contract());
        let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).clone());
        for (author, role, seat) in [
            (&buyer, Some(Role::Buyer), None),
            (&seller, Some(Role::Seller), None),
            (&Author::new(1), Some(Role::Arbiter), Some(Seat::First)),
            (&Author::new(6), Some(Role::Arbiter), Some(Seat::Second)),
            (&Author::new(9), None, None),
        ] {
            let id = author.id();
            assert_eq!((bid.role_of(&id), bid.seat_of(&id)), (role, seat));
            assert_eq!((contract.role_of(&id), contract.seat_of(&id)), (role, seat));
            assert_eq!(bid.arbiter_of(&id), seat.and_then(|seat| contract.arbiter(seat)));
            let sealed_to = role.map(|_| seal::public_key(&author.seal_secret()));
            assert_eq!(contract.seal_key_of(&id), sealed_to, "{role:?}");
        }
        let parties = [(Role::Buyer, &buyer), (Role::Seller, &seller)];
        for (role, author) in parties {
            assert_eq!((contract.author(role), contract.party(role)), (author.id(), Some(&author.party())));
        }
        assert_eq!((contract.author(Role::Arbiter), contract.party(Role::Arbiter)), (Author::new(1).id(), None));
        assert!(!contract.is_one_group(&Author::new(1).id(), &Author::new(6).id()), "two arbiters are no group");
        assert!(!contract.is_one_group(&buyer.id(), &seller.id()));
        assert!(!contract.is_one_group(&Author::new(1).id(), &Author::new(1).id()));
    }
}

#[test]
fn every_member_of_a_group_speaks_as_the_arbiter() {
    let group = SampleGroup::new(2, 3);
    let trade = SampleTrade::of_group(Side::Sell, &group);
    let (bid, contract) = (trade.bid(), trade.contract());
    let members: Vec<_> = group.members.iter().map(Author::id).collect();
    assert_eq!(bid.arbiter.speakers(), members);
    for member in &members {
        assert_eq!((bid.role_of(member), bid.seat_of(member)), (Some(Role::Arbiter), Some(Seat::First)));
        let fellows = members.iter().filter(|other| contract.is_one_group(member, other)).count();
        assert_eq!(fellows, 2, "each but himself");
        assert!(!contract.is_one_group(member, &contract.buyer) && !contract.is_one_group(&contract.buyer, member));
    }
    let logs: Vec<LogId> = [trade.offer.header().log, trade.take.header().log, group.advert.header().log]
        .into_iter()
        .chain(members[1..].iter().map(|member| LogId { author: *member, epoch: 0 }))
        .collect();
    assert_eq!(bid.home_logs(), logs, "the others have none, but for one of epoch 0");
}

#[test]
fn the_more_is_at_stake_the_deeper_it_is_buried() {
    for (amount, depth) in [(0, 1), (999_999, 1), (1_000_000, 3), (9_999_999, 3), (10_000_000, 6), (Sats::MAX.get(), 6)]
    {
        assert_eq!(confirmations_for(sats(amount)), depth, "{amount}");
    }
}

#[test]
fn a_share_is_rounded_up_and_never_more_than_all_bitcoin() {
    for (amount, ppm, share) in [(1_000_000, 10_000, 10_000), (1, 1, 1), (1_000_001, 1, 2), (0, 500_000, 0), (7, 0, 0)]
    {
        assert_eq!(share_of(sats(amount), ppm), Some(sats(share)), "{ppm} millionths of {amount}");
    }
    assert_eq!(share_of(Sats::MAX, 1_000_001), None);
}
