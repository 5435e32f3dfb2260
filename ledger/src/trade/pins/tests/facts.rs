//! Which facts are pinned, in which order, and how many: what counts, and room for that whatever was said before it.

use super::*;
use crate::body::{Cancel, Dispute, Funded, PaymentSent, Release, Side};
use crate::testing::{NETWORK, sats};
use crate::trade::{MAX_HALVES, MAX_RULED, Phase, Seat, Verdict, pins};

#[test]
fn what_was_kept_is_read_back_whole_or_not_at_all() {
    let mut trade = SampleTrade::with_second(Side::Sell);
    let id = trade.id();
    let sent = trade.author(Role::Buyer).write(&Body::PaymentSent(PaymentSent { trade: id }));
    let pin = pinned(&[trade.records(), vec![sent.clone()]].concat(), &trade);
    assert_eq!((pin.adverts.len(), pin.facts.as_slice()), (2, std::slice::from_ref(&sent)));
    let records = pin.encode();
    assert_eq!(records.len(), 3 + 2 + 1);
    for count in 0..records.len() - 1 {
        assert_eq!(Pin::decode(true, &records[..count], None), None, "{count} records are no trade");
    }
    let cut = Pin::decode(true, &records[..5], None).unwrap();
    assert_eq!((cut.committed, cut.adverts, cut.facts), (true, pin.adverts.clone(), vec![]));
    let mut garbled = records.clone();
    garbled[5].pop();
    assert_eq!(Pin::decode(true, &garbled, None), None);
    garbled.clone_from(&records);
    garbled.swap(0, 1);
    assert_eq!(Pin::decode(true, &garbled, None), None, "an offer is no bid");
}

#[test]
fn only_what_people_of_the_trade_said_about_it_is_pinned_each_once() {
    let mut trade = SampleTrade::new(Side::Sell);
    let cancel = Body::Cancel(Cancel { trade: trade.id(), refund: None });
    let paid = Body::PaymentSent(PaymentSent { trade: trade.id() });
    let (by_maker, by_taker) = (trade.maker.write(&cancel), trade.taker.write(&cancel));
    let again: Vec<Record> = (0..20).map(|_| trade.taker.write(&cancel)).collect();
    let mut said = vec![by_maker, by_taker, trade.taker.write(&paid)];
    let nobodys = [crate::testing::Author::new(42).write(&cancel), trade.arbiter.write(&cancel)];
    let sellers = [trade.maker.write(&paid), trade.maker.write(&Body::Heartbeat)];
    let mut pin = pinned(&trade.records(), &trade);
    let all = [again.as_slice(), nobodys.as_slice(), sellers.as_slice(), said.as_slice()].concat();
    let facts = pin.add(&trade.bid(), &&Some(trade.escrow()), &all, &[]);
    said.sort_by_key(|record| (record.author(), record.place()));
    assert_eq!(pin.facts, said);
    let expected = Facts { buyer_cancel: true, seller_cancel: true, payment_sent: true, ..Facts::default() };
    assert_eq!(facts, expected);
    assert_eq!(pin.add(&trade.bid(), &&Some(trade.escrow()), &all, &[]), expected, "and the same the next time");
    assert_eq!(pin.facts, said);
}

/// Whatever somebody says first, and however often: what counts of that which he says later is not his to take back.
#[test]
fn nobody_fills_a_pin_and_takes_back_by_a_second_history_what_he_said_after_it() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (id, escrow) = (trade.id(), trade.escrow());
    let [vaults, elsewhere] = [1, 2].map(|number| trade.vaults(number));
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
    let pair = trade.arbiter_pair(escrow.contract(), Seat::First);
    let payout = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
    let refund = escrow.half(&vaults, sats(1_700), Role::Seller, &buyer).unwrap();
    let bad = HalfSpend { fee: sats(1_701), ..payout.clone() };
    let release = |payout| Body::Release(Release { trade: id, payout });
    let cancel = |refund| Body::Cancel(Cancel { trade: id, refund });
    let rule = |vaults| {
        let division = escrow.divide(Seat::First, vaults, Verdict::Seller, 10).unwrap();
        Body::Ruling(escrow.rule(Seat::First, vaults, division, &pair).unwrap())
    };
    let extend = |vaults| {
        let fee = escrow.extension_fee_at(Seat::First, vaults, 10).unwrap();
        Body::Extend(escrow.extend(Seat::First, vaults, fee, &pair).unwrap())
    };
    for (role, first, then) in [
        (Role::Seller, release(bad), release(payout)),
        (Role::Buyer, cancel(None), cancel(Some(refund))),
        // A second ruling about the same is no fact, good as it is.
        (Role::Arbiter, rule(&elsewhere), rule(&vaults)),
        (Role::Arbiter, extend(&elsewhere), extend(&vaults)),
    ] {
        let mut author = trade.author(role).clone();
        let mut records: Vec<Record> = (0..20).map(|_| author.write(&first)).collect();
        records.push(author.write(&then));
        let pin = pinned(&[trade.records(), records.clone()].concat(), &trade);
        assert!(pin.facts.contains(&records[20]) && pin.facts.len() <= 2, "{role} {:?}", pin.facts);
    }
}

/// A seller who signs payouts of outputs that there are not, as many as he likes, takes back no release of those that there are.
#[test]
fn a_release_of_what_a_block_shows_is_pinned_whatever_was_signed_before_it() {
    let mut trade = SampleTrade::new(Side::Sell); // the maker sells
    let (id, escrow, key) = (trade.id(), trade.escrow(), trade.maker.trade_key());
    let release = |trade: &SampleTrade, number: u8, fee: u64| {
        let payout = escrow.half(&trade.vaults(number), sats(fee), Role::Buyer, &key).unwrap();
        Body::Release(Release { trade: id, payout })
    };
    let bodies: Vec<Body> = (2..=21).map(|number| release(&trade, number, 1_700)).collect();
    let made_up: Vec<Record> = bodies.iter().map(|body| trade.maker.write(body)).collect();
    let real = [1_700, 1_800].map(|fee| {
        let body = release(&trade, 1, fee);
        trade.maker.write(&body)
    });
    let mut public = ledger();
    admit_all(&mut public, &[trade.records(), made_up.clone(), real.to_vec()].concat());
    let seen = |height| vec![Funding::new(trade.vaults(1), height)];
    let kept = [&made_up[..MAX_HALVES], &real[..1]].concat();
    for (fundings, pinned) in [(vec![], MAX_HALVES), (seen(None), MAX_HALVES), (seen(Some(190)), MAX_HALVES + 1)] {
        let known = pins::look(&public, id, None, &fundings).unwrap().unwrap();
        assert_eq!(known.facts.releases.len(), 22, "all of them count");
        assert_eq!(known.pin.unwrap().facts, kept[..pinned], "{fundings:?}");
    }
    // What came before the block that shows its outputs is pinned when the block comes, and not a second time.
    let mut pin = look(&public, id, None).unwrap().unwrap().pin.unwrap();
    pin.committed = true;
    for _ in 0..2 {
        pin = pins::look(&public, id, Some(&pin), &seen(Some(190))).unwrap().unwrap().pin.unwrap();
        assert_eq!(pin.facts, kept);
    }
    let (maker, first) = (trade.maker.clone(), trade.offer.clone());
    admit_all(&mut public, &flood(&maker, &first));
    let known = look(&public, id, Some(&pin)).unwrap().unwrap();
    assert_eq!(known.pin.as_ref(), Some(&pin), "a reorg takes nothing out of it");
    let (mut buyer, _) = restarted(&trade, Role::Buyer, known, 200);
    assert_eq!(buyer.phase(), Phase::Released);
    let effects = buyer.handle(Event::Unanswered).unwrap();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Complete { to: Role::Buyer, .. })), "{effects:?}");
}

/// An arbiter who was led from one output to the next, or makes them up, has ruled about what a block shows all the same, and
/// takes nothing of it back.
#[test]
fn a_ruling_about_what_a_block_shows_counts_and_is_pinned_whatever_was_ruled_before_it() {
    let mut trade = SampleTrade::new(Side::Sell); // the maker sells
    let (id, escrow, seat) = (trade.id(), trade.escrow(), Seat::First);
    let pair = trade.arbiter_pair(escrow.contract(), seat);
    let rule = |trade: &SampleTrade, number: u8, verdict| {
        let vaults = trade.vaults(number);
        let division = escrow.divide(seat, &vaults, verdict, 10).unwrap();
        escrow.rule(seat, &vaults, division, &pair).unwrap()
    };
    let extend = |trade: &SampleTrade, number: u8| {
        let vaults = trade.vaults(number);
        let fee = escrow.extension_fee_at(seat, &vaults, 10).unwrap();
        Body::Extend(escrow.extend(seat, &vaults, fee, &pair).unwrap())
    };
    let ruling = rule(&trade, 1, Verdict::Buyer);
    let rulings = (2..=9).map(|number| Body::Ruling(rule(&trade, number, Verdict::Seller)));
    let extensions = (2..=9).map(|number| extend(&trade, number));
    // A second ruling about the same is none.
    let real = [Body::Ruling(ruling.clone()), extend(&trade, 1), Body::Ruling(rule(&trade, 1, Verdict::Seller))];
    let bodies: Vec<Body> = rulings.chain(extensions).chain(real).collect();
    let said: Vec<Record> = bodies.iter().map(|body| trade.arbiter.write(body)).collect();
    let asked = [Body::PaymentSent(PaymentSent { trade: id }), Body::Dispute(Dispute { trade: id })];
    let asked = asked.map(|body| trade.taker.write(&body)).to_vec();
    let mut public = ledger();
    admit_all(&mut public, &[trade.records(), said.clone(), asked].concat());

    let seen = |height| vec![Funding::new(trade.vaults(1), height)];
    let kept = [&said[..MAX_RULED], &said[8..8 + MAX_RULED], &said[16..18]].concat();
    let of_arbiter = |pin: &Pin| -> Vec<Record> {
        pin.facts.iter().filter(|record| record.author() == trade.arbiter.id()).cloned().collect()
    };
    for (fundings, pinned) in [(vec![], 2 * MAX_RULED), (seen(None), 2 * MAX_RULED), (seen(Some(190)), kept.len())] {
        let known = pins::look(&public, id, None, &fundings).unwrap().unwrap();
        assert_eq!((known.facts.rulings.len(), known.facts.extensions.len()), (9, 9), "all of them count");
        assert_eq!(of_arbiter(&known.pin.unwrap()), kept[..pinned], "{fundings:?}");
    }
    // What came before the block that shows its outputs is pinned when the block comes, and not a second time.
    let mut pin = look(&public, id, None).unwrap().unwrap().pin.unwrap();
    pin.committed = true;
    for _ in 0..2 {
        pin = pins::look(&public, id, Some(&pin), &seen(Some(190))).unwrap().unwrap().pin.unwrap();
        assert_eq!(of_arbiter(&pin), kept);
    }
    admit_all(&mut public, &flood(&trade.arbiter, &trade.advert));
    let known = look(&public, id, Some(&pin)).unwrap().unwrap();
    assert_eq!(known.pin.as_ref(), Some(&pin), "nothing goes out of it");
    let (buyer, effects) = restarted(&trade, Role::Buyer, known, 190 + 144 - 1);
    assert_eq!(buyer.phase(), Phase::Ruled);
    assert!(effects.contains(&Effect::CompleteRuling { seat, ruling }), "{effects:?}");
}

/// Who opens a log that claims to be older puts nothing before what counts, even where both are seen at once.
#[test]
fn what_is_seen_at_once_is_pinned_in_the_order_in_which_it_counts() {
    let mut trade = SampleTrade::new(Side::Sell); // the maker sells
    let named = |trade: &SampleTrade, number: u8| {
        Body::Funded(Funded { trade: trade.id(), outpoint: trade.vaults(number).escrow.outpoint })
    };
    let (one, other) = (named(&trade, 1), named(&trade, 2));
    let older = trade.maker.reopened(1).write(&other);
    let first = trade.maker.write(&one);
    let pin = pinned(&[trade.records(), vec![older, first.clone()]].concat(), &trade);
    assert_eq!(pin.facts, [first]);
}

#[test]
fn a_party_cannot_fill_the_store_with_facts() {
    let mut trade = SampleTrade::new(Side::Sell);
    let id = trade.id();
    // All of them good, and each for other outputs.
    let (escrow, key) = (trade.escrow(), trade.maker.trade_key());
    let half = |number| escrow.half(&trade.vaults(number), sats(1_700), Role::Buyer, &key).unwrap();
    let bodies: Vec<Body> = (1..=20).map(|number| Body::Release(Release { trade: id, payout: half(number) })).collect();
    let said: Vec<Record> = bodies.iter().map(|body| trade.maker.write(body)).collect();
    let pin = pinned(&[trade.records(), said.clone()].concat(), &trade);
    assert_eq!(pin.facts, said[..MAX_HALVES]);
    assert_eq!(pin.offer.header().network, NETWORK);
}
