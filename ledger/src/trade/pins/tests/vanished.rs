//! What a pin keeps of a trade whose records are gone from the ledger, or contradict it: contract, named output, what is owed.

use super::*;
use crate::body::{Cancel, Funded, PaymentSent, Release, Side};
use crate::testing::sats;
use crate::trade::{Action, Command, Phase, Refusal};

#[test]
fn the_buyers_completion_outlives_the_sellers_records() {
    let mut trade = SampleTrade::new(Side::Sell); // the maker sells
    let vaults = trade.vaults(1);
    let payout = trade.escrow().half(&vaults, sats(1_700), Role::Buyer, &trade.maker.trade_key()).unwrap();
    let id = trade.id();
    // Before it come more than anybody would keep, none of them good.
    let bad = HalfSpend { fee: sats(1_701), ..payout.clone() };
    let release = |payout: &HalfSpend| Body::Release(Release { trade: id, payout: payout.clone() });
    let junk: Vec<Record> = (0..8).map(|_| trade.maker.write(&release(&bad))).collect();
    let good = trade.maker.write(&release(&payout));
    let records = [trade.records(), junk, vec![good.clone()]].concat();
    let pin = pinned(&records, &trade);
    assert_eq!(pin.facts, [good]);

    let mut public = ledger();
    admit_all(&mut public, &records);
    let (maker, first) = (trade.maker.clone(), trade.offer.clone());
    admit_all(&mut public, &flood(&maker, &first));
    for ledger in [&public, &ledger()] {
        let known = look(ledger, id, Some(&pin)).unwrap().unwrap();
        assert_eq!(known.contract, Some(trade.contract()));
        let (mut machine, _) = restarted(&trade, Role::Buyer, known, 200);
        assert_eq!(machine.phase(), Phase::Released);
        let effects = machine.handle(Event::Unanswered).unwrap();
        assert!(effects.contains(&Effect::Complete { half: payout.clone(), to: Role::Buyer }), "{effects:?}");
    }
}

#[test]
fn the_sellers_refund_outlives_the_buyers_records() {
    let mut trade = SampleTrade::new(Side::Buy); // the maker buys
    let id = trade.id();
    let pin = pinned(&trade.records(), &trade);
    let from = 190 + 4320 - 1;
    let known = look(&ledger(), id, Some(&pin)).unwrap().unwrap();
    let (machine, _) = restarted(&trade, Role::Seller, known, from);
    assert_eq!(machine.phase(), Phase::Funded);
    assert!(machine.actions().contains(&Action::Refund));

    // A refund that the buyer had agreed to is completed, too.
    let vaults = trade.vaults(1);
    let half = trade.escrow().half(&vaults, sats(1_700), Role::Seller, &trade.maker.trade_key()).unwrap();
    let agreed = trade.maker.write(&Body::Cancel(Cancel { trade: id, refund: Some(half.clone()) }));
    let pin = pinned(&[trade.records(), vec![agreed]].concat(), &trade);
    let known = look(&ledger(), id, Some(&pin)).unwrap().unwrap();
    let (_, effects) = restarted(&trade, Role::Seller, known, 200);
    assert!(effects.contains(&Effect::Complete { half, to: Role::Seller }), "{effects:?}");
}

#[test]
fn what_holds_no_money_goes_with_its_records() {
    let trade = SampleTrade::new(Side::Sell);
    let mut pin = pinned(&trade.records(), &trade);
    pin.committed = false;
    let known = look(&ledger(), trade.id(), Some(&pin)).unwrap().unwrap();
    let mut machine = Trade::new(known.bid.clone(), Role::Seller, true, Local::default());
    machine.handle(known.event()).unwrap();
    machine.handle(Event::Chain(ChainFacts { tip: 200, synced: true, ..ChainFacts::default() })).unwrap();
    assert_eq!(machine.phase(), Phase::Void, "a cheat is not funded");
    assert!(look(&ledger(), trade.id(), None).unwrap().is_none());
}

/// Power goes when the wallet has set coins aside and nothing of that is kept here; then the maker signs his acceptance away.
#[test]
fn what_coins_are_set_aside_for_is_known_when_nothing_else_was_kept() {
    let synced = || Event::Chain(ChainFacts { tip: 200, synced: true, ..ChainFacts::default() });
    for (trade, is_joint) in [(SampleTrade::new(Side::Buy), false), (SampleTrade::with_bonds(Side::Buy), true)] {
        let mut public = ledger();
        admit_all(&mut public, &trade.records());
        let known = look(&public, trade.id(), None).unwrap().unwrap();
        let pin = known.pin.clone().unwrap();
        let mut seller = Trade::new(trade.bid(), Role::Seller, false, Local::default());
        seller.handle(known.event()).unwrap();
        seller.handle(synced()).unwrap();
        let asked = seller.handle(Event::Command(Command { action: Action::Fund, feerate: 10 })).unwrap();
        assert_eq!(asked.iter().filter(|effect| effect.sets_coins_aside()).count(), 1, "{asked:?}");

        let mut public = ledger();
        admit_all(&mut public, &[trade.advert.clone(), trade.offer.clone(), trade.take.clone()]);
        for committed in [true, false] {
            let pin = Pin { committed, ..pin.clone() };
            let known = look(&public, trade.id(), Some(&pin)).unwrap().unwrap();
            let mut seller = Trade::new(known.bid.clone(), Role::Seller, false, Local::default());
            seller.handle(known.event()).unwrap();
            let owed = seller.handle(synced()).unwrap();
            assert_eq!(seller.phase(), if committed { Phase::Void } else { Phase::Bid });
            // By this script the wallet finds them. Of a funding by one wallet the driver frees what its phase tells to be free.
            let script = trade.escrow().script();
            assert_eq!(seller.escrow().map(Escrow::script), committed.then(|| script.clone()));
            assert_eq!(owed.contains(&Effect::FreeCoins { script }), committed && is_joint, "{owed:?}");
        }
    }
}

#[test]
fn a_contract_that_holds_money_is_not_replaced_by_another() {
    let trade = SampleTrade::new(Side::Sell);
    let pin = pinned(&trade.records(), &trade);
    // Another acceptance of the same bid, by the same maker at the same place, as others may see it.
    let mut body = crate::testing::sample_accept(&trade.take, trade.offer.id(), &trade.maker);
    body.height += 1;
    let other = trade.maker.sign(*trade.accept.header(), Body::Accept(body).encode());
    let mut public = ledger();
    admit_all(&mut public, &[trade.advert.clone(), trade.offer.clone(), trade.take.clone(), other.clone()]);
    let shown = public.trade(trade.id()).unwrap().contract.unwrap();
    assert_eq!(shown.accept, other.id());

    let known = look(&public, trade.id(), Some(&pin)).unwrap().unwrap();
    assert_eq!(known.contract, Some(trade.contract()));
    let uncommitted = Pin { committed: false, ..pin };
    let known = look(&public, trade.id(), Some(&uncommitted)).unwrap().unwrap();
    assert_eq!(known.contract, Some(shown), "before there is money in it, all go by the same records");
}

#[test]
fn what_was_seen_stays_pinned_while_the_agreement_is_the_same() {
    let mut trade = SampleTrade::new(Side::Sell);
    let sent = trade.taker.write(&Body::PaymentSent(PaymentSent { trade: trade.id() }));
    let mut pin = pinned(&[trade.records(), vec![sent.clone()]].concat(), &trade);
    pin.committed = false;
    let mut public = ledger();
    admit_all(&mut public, &trade.records()); // without what was said
    let facts = |pin: &Pin| look(&public, trade.id(), Some(pin)).unwrap().unwrap().pin.unwrap().facts;
    assert_eq!(facts(&pin), [sent]);
    let mut body = crate::testing::sample_accept(&trade.take, trade.offer.id(), &trade.maker);
    body.height += 1;
    pin.accept = trade.maker.sign(*trade.accept.header(), Body::Accept(body).encode());
    assert!(facts(&pin).is_empty(), "it was about another contract");
}

#[test]
fn the_ledger_still_voids_what_is_pinned() {
    let trade = SampleTrade::new(Side::Sell);
    let pin = pinned(&trade.records(), &trade);
    let mut public = ledger();
    admit_all(&mut public, &trade.records());
    assert!(!look(&public, trade.id(), Some(&pin)).unwrap().unwrap().facts.void);
    // An author who parts from what he agreed to: the agreement itself is in doubt.
    let header = Header { kind: Body::Heartbeat.kind(), ..*trade.accept.header() };
    admit_all(&mut public, &[trade.maker.sign(header, Body::Heartbeat.encode())]);
    let facts = look(&public, trade.id(), Some(&pin)).unwrap().unwrap().facts;
    assert!(facts.void && facts.forked == Some(trade.maker.id()), "the maker sells");
}

/// What was agreed on before the fork stands; but whoever forks can make it vanish for others.
#[test]
fn nobody_pays_after_the_agreement_when_the_seller_or_an_arbiter_forks() {
    let pay = Event::Command(Command { action: Action::MarkPaid, feerate: 1 });
    let parties = [Role::Buyer, Role::Seller, Role::Arbiter];
    for (side, role) in [Side::Sell, Side::Buy].into_iter().flat_map(|side| parties.map(|role| (side, role))) {
        let mut trade = SampleTrade::new(side);
        let (id, outpoint) = (trade.id(), trade.vaults(1).escrow.outpoint);
        let named = trade.author(Role::Seller).write(&Body::Funded(Funded { trade: id, outpoint }));
        let said = [trade.records(), vec![named]].concat();
        let pin = pinned(&said, &trade);
        let author = trade.author(role).clone();
        let header = author.next_header(&Body::Heartbeat);
        let two =
            [1, 2].map(|later| author.sign(Header { time: header.time + later, ..header }, Body::Heartbeat.encode()));
        let mut public = ledger();
        admit_all(&mut public, &[said, two.to_vec()].concat());
        for pin in [None, Some(&pin)] {
            let known = look(&public, trade.id(), pin).unwrap().unwrap();
            assert_eq!((known.contract.as_ref(), known.facts.void), (Some(&trade.contract()), false));
            let (mut buyer, _) = restarted(&trade, Role::Buyer, known, 200);
            let refusal = (role != Role::Buyer).then(|| Refusal::Forked { author: author.id(), role });
            assert_eq!(buyer.refusal(Action::MarkPaid), refusal, "{side:?} {role:?}");
            assert_eq!(buyer.actions().contains(&Action::MarkPaid), refusal.is_none());
            assert_eq!(buyer.handle(pay.clone()).err(), refusal);
            // If he has paid already, the arbiter helps; if not, the seller gets his coins back.
            assert!([Action::Dispute, Action::Cancel].iter().all(|action| buyer.actions().contains(action)));
        }
    }
}

/// A seller who forks at his own `Funded`, or before it, moves nobody who has seen which output he named.
#[test]
fn an_output_that_was_named_is_not_named_anew_by_a_fork() {
    let mut trade = SampleTrade::new(Side::Sell); // the maker sells
    let id = trade.id();
    let named = |number: u8| {
        Body::Funded(Funded { trade: id, outpoint: SampleTrade::new(Side::Sell).vaults(number).escrow.outpoint })
    };
    let before = trade.maker.clone();
    let first = trade.maker.write(&named(1));
    let pin = pinned(&[trade.records(), vec![first.clone()]].concat(), &trade);
    // In the place of the record, by a smaller id, which comes first in the ledger; and in the place of the acceptance.
    let other = |later: u64| {
        let header = Header { time: first.header().time + later, ..*first.header() };
        before.sign(header, named(2).encode())
    };
    let instead = (1..).map(other).find(|record| record.id() < first.id()).unwrap();
    let header = Header { kind: named(2).kind(), ..*trade.accept.header() };
    let earlier = before.sign(header, named(2).encode());
    for forged in [instead, earlier] {
        let mut public = ledger();
        admit_all(&mut public, &[trade.records(), vec![first.clone(), forged.clone()]].concat());
        let strangers = public.facts_about(id, trade.bid().home_logs()).unwrap();
        assert!(strangers.contains(&forged), "the ledger holds it");
        let known = look(&public, id, Some(&pin)).unwrap().unwrap();
        assert_eq!(known.facts.funded, Some(trade.vaults(1).outpoint()));
        let again = look(&public, id, known.pin.as_ref()).unwrap().unwrap();
        assert_eq!(again.facts.funded, known.facts.funded, "and after a restart");
    }
}
