//! A counterparty who makes the public records of a funded trade vanish.

use crate::body::{Body, Cancel, Dispute, Funded, HalfSpend, PaymentSent, Release, Side};
use crate::record::{HEADER_LEN, Header};
use crate::storage::MemoryStorage;
use crate::testing::{EPOCH, NETWORK, SampleTrade, admit_all, ledger, sats};
use crate::trade::{
    Action, ChainFacts, Command, Effect, Event, Funding, Local, MAX_HALVES, MAX_RULED, Phase, Refusal, Role, Seat,
    Trade, Vault, Verdict,
};

use super::*;

/// More than a ledger keeps of a forked log.
const FLOOD: u64 = 100;

/// Looks at a trade of which the chain shows nothing yet.
fn look(ledger: &Ledger<MemoryStorage>, id: TradeId, pin: Option<&Pin>) -> Result<Option<Known>, StorageError> {
    super::look(ledger, id, pin, &[])
}

/// Returns what the chain shows: a funding that is buried, at this tip.
fn funded(trade: &SampleTrade, tip: u32) -> ChainFacts {
    let fundings = vec![Funding::new(trade.vaults(1), Some(190))];
    ChainFacts { tip, synced: true, fundings, ..ChainFacts::default() }
}

/// Returns the machine of a role after a restart: it knows what was kept, and what the chain shows.
fn restarted(trade: &SampleTrade, role: Role, known: Known, tip: u32) -> (Trade, Vec<Effect>) {
    let mut machine = Trade::new(known.bid.clone(), role, false, Local::default());
    machine.handle(known.event()).unwrap();
    machine.handle(Event::Compared).unwrap();
    let effects = machine.handle(Event::Chain(funded(trade, tip))).unwrap();
    (machine, effects)
}

/// Returns what is pinned of a trade that holds money.
fn pinned(records: &[Record], trade: &SampleTrade) -> Pin {
    let mut public = ledger();
    admit_all(&mut public, records);
    let mut pin = look(&public, trade.id(), None).unwrap().unwrap().pin.unwrap();
    assert_eq!(Pin::decode(false, &pin.encode(), None), Some(pin.clone()), "what is kept can be read");
    pin.committed = true;
    pin
}

/// Lets an author sign another history from the beginning of his log, longer than what is kept of it.
fn flood(of: &crate::testing::Author, first: &Record) -> Vec<Record> {
    let body = Body::Heartbeat;
    let forged = (1..=FLOOD).map(|age| {
        let time = u64::from(EPOCH) + 1000 + age;
        let header = Header { time, kind: body.kind(), ..*first.header() };
        of.sign(header, body.encode())
    });
    forged.collect()
}

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
fn a_trade_that_is_over_for_good_needs_the_chain_no_more() {
    let mut trade = SampleTrade::new(Side::Sell);
    let key = trade.author(Role::Seller).trade_key();
    let vaults = trade.vaults(1);
    let tx = trade.escrow().signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let path = trade.escrow().classify(&tx, &vaults);
    let end = 5_000;
    let seen = |tip| {
        let spends = vec![Spend { tx: tx.clone(), path, height: Some(end) }];
        View {
            contract: Some(trade.contract()),
            chain: ChainFacts { spends, ..funded(&trade, tip) },
            ..View::default()
        }
    };
    assert_eq!(SETTLED_DEPTH, 244, "as deep as a mined coin must be, and a day");
    assert!(!Settled::of(&seen(end + SETTLED_DEPTH - 2), false).unwrap().is_for_good());
    let view = seen(end + SETTLED_DEPTH - 1);
    let settled = Settled::of(&view, false).unwrap();
    assert!(settled.is_for_good());
    let kept: Settled = borsh::from_slice(&borsh::to_vec(&settled).unwrap()).unwrap();
    assert_eq!(kept.chain(&trade.escrow()), Some(view.chain.clone()));
    let blind = View { chain: ChainFacts { synced: false, ..view.chain.clone() }, ..view.clone() };
    assert_eq!(Settled::of(&blind, false), None, "a chain that is not known to its tip settles nothing");
    // The end is known by what was kept, and by nothing else.
    let mut pin = pinned(&trade.records(), &trade);
    let end = |pin: &Pin| look(&ledger(), trade.id(), Some(pin)).unwrap().unwrap().end();
    assert_eq!(end(&pin), None);
    pin.settled = Settled::of(&seen(5_002), false);
    assert_eq!(end(&pin), None, "blocks can undo it");
    pin.settled = Some(settled);
    assert_eq!(end(&pin), Some(view.chain));
}

#[test]
fn a_trade_that_has_ended_is_shown_so_before_the_chain_is_followed_again() {
    let mut trade = SampleTrade::new(Side::Sell);
    let key = trade.author(Role::Seller).trade_key();
    let vaults = trade.vaults(1);
    let tx = trade.escrow().signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let path = trade.escrow().classify(&tx, &vaults);
    let end = 5_000;
    let seen = |tip| {
        let spends = vec![Spend { tx: tx.clone(), path, height: Some(end) }];
        let chain = ChainFacts { spends, ..funded(&trade, tip) };
        View { contract: Some(trade.contract()), chain, ..View::default() }
    };
    let buried = end + 3 - 1; // the sample contract asks for three confirmations
    assert_eq!(Settled::of(&seen(buried - 1), false), None);
    let kept = Settled::of(&seen(buried), false);
    let mut pin = pinned(&trade.records(), &trade);
    pin.settled.clone_from(&kept);
    let shown = look(&ledger(), trade.id(), Some(&pin)).unwrap().unwrap().kept_end().unwrap();
    assert_eq!(shown, ChainFacts { synced: false, ..seen(buried).chain }, "nothing is done on the strength of it");
    let mut seller = Trade::new(trade.bid(), Role::Seller, true, Local::default());
    seller.handle(Event::Records { contract: Some(trade.contract()), facts: Facts::default() }).unwrap();
    seller.handle(Event::Chain(shown)).unwrap();
    assert_eq!((seller.phase(), seller.actions()), (Phase::Refunded, vec![]));

    // Nothing is written at the next blocks, until it is over for good. What a reorg undid is forgotten, once that is known.
    assert_eq!(Settled::after(kept.clone(), &seen(buried + 1), false), kept);
    let good = Settled::after(kept.clone(), &seen(end + SETTLED_DEPTH - 1), false);
    assert!(good.as_ref().is_some_and(Settled::is_for_good));
    let undone = |synced| {
        let chain = ChainFacts { synced, ..funded(&trade, buried + 1) };
        View { chain, ..seen(buried) }
    };
    assert_eq!(Settled::after(kept.clone(), &undone(false), false), kept);
    assert_eq!(Settled::after(kept.clone(), &undone(true), false), None);
    assert_eq!(Settled::after(good.clone(), &undone(true), false), good);
    assert_eq!(Settled::after(None, &seen(buried), false), kept);
    // In another block, it is kept anew.
    let mut moved = seen(buried + 1);
    moved.chain.spends[0].height = Some(end - 1);
    assert_eq!(Settled::after(kept, &moved, false), Settled::of(&moved, false));
}

/// Its node would look at it no more, and nobody would tell the user when he can have it.
#[test]
fn a_trade_is_not_over_for_good_while_something_of_ones_own_lies_beside_it() {
    let mut trade = SampleTrade::new(Side::Sell);
    let key = trade.author(Role::Seller).trade_key();
    let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
    let tx = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &key).unwrap().tx;
    let path = escrow.classify(&tx, &vaults);
    let end = 5_000;
    let seen = |tip| {
        let spends = vec![Spend { tx: tx.clone(), path, height: Some(end) }];
        let chain = ChainFacts { spends, ..funded(&trade, tip) };
        View { contract: Some(trade.contract()), chain, ..View::default() }
    };
    let late = end + 4 * SETTLED_DEPTH;
    let open = Settled::of(&seen(late), true).unwrap();
    assert!(!open.is_for_good() && Settled::of(&seen(late), false).unwrap().is_for_good());
    assert!(!open.chain(&escrow).unwrap().synced, "the chain is asked about it");
    let open = Some(open);
    assert_eq!(Settled::after(open.clone(), &seen(late + 1), true), open, "nothing is written at the next block");
    let good = Settled::after(open.clone(), &seen(late + 2), false);
    assert!(good.as_ref().is_some_and(Settled::is_for_good), "it was taken back");
    assert_eq!(Settled::after(good, &seen(late + 3), true), open, "it was paid when all else was over");
}

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
        let known = super::look(&public, id, None, &fundings).unwrap().unwrap();
        assert_eq!(known.facts.releases.len(), 22, "all of them count");
        assert_eq!(known.pin.unwrap().facts, kept[..pinned], "{fundings:?}");
    }
    // What came before the block that shows its outputs is pinned when the block comes, and not a second time.
    let mut pin = look(&public, id, None).unwrap().unwrap().pin.unwrap();
    pin.committed = true;
    for _ in 0..2 {
        pin = super::look(&public, id, Some(&pin), &seen(Some(190))).unwrap().unwrap().pin.unwrap();
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
        let known = super::look(&public, id, None, &fundings).unwrap().unwrap();
        assert_eq!((known.facts.rulings.len(), known.facts.extensions.len()), (9, 9), "all of them count");
        assert_eq!(of_arbiter(&known.pin.unwrap()), kept[..pinned], "{fundings:?}");
    }
    // What came before the block that shows its outputs is pinned when the block comes, and not a second time.
    let mut pin = look(&public, id, None).unwrap().unwrap().pin.unwrap();
    pin.committed = true;
    for _ in 0..2 {
        pin = super::look(&public, id, Some(&pin), &seen(Some(190))).unwrap().unwrap().pin.unwrap();
        assert_eq!(of_arbiter(&pin), kept);
    }
    admit_all(&mut public, &flood(&trade.arbiter, &trade.advert));
    let known = look(&public, id, Some(&pin)).unwrap().unwrap();
    assert_eq!(known.pin.as_ref(), Some(&pin), "nothing goes out of it");
    let (buyer, effects) = restarted(&trade, Role::Buyer, known, 190 + 144 - 1);
    assert_eq!(buyer.phase(), Phase::Ruled);
    assert!(effects.contains(&Effect::CompleteRuling { seat, ruling }), "{effects:?}");
}

/// What a party signed over is whole in what an arbiter's node has kept, and gone from the ledger: for those who have not seen
/// it in time there is none. He decides, though not against it.
#[test]
fn a_half_that_only_an_arbiter_has_kept_leaves_him_his_case() {
    for (to, verdict) in [(Role::Buyer, Verdict::Buyer), (Role::Seller, Verdict::Seller)] {
        // The maker signs the coins over.
        let mut trade = SampleTrade::new(if to == Role::Buyer { Side::Sell } else { Side::Buy });
        let (id, escrow, vaults) = (trade.id(), trade.escrow(), trade.vaults(1));
        let half = escrow.half(&vaults, sats(1_700), to, &trade.maker.trade_key()).unwrap();
        let body = match to {
            Role::Buyer => Body::Release(Release { trade: id, payout: half.clone() }),
            Role::Seller | Role::Arbiter => Body::Cancel(Cancel { trade: id, refund: Some(half.clone()) }),
        };
        let before = trade.maker.clone();
        let dispute = trade.taker.write(&Body::Dispute(Dispute { trade: id }));
        let said = [trade.records(), vec![dispute]].concat();
        // By a second history; or, in another log than that of the offer, by one that claims to be older.
        let mut older = before.reopened(1);
        let words = Body::PaymentSent(PaymentSent { trade: id });
        let crowd: Vec<Record> = (0..80).map(|_| older.write(&words)).collect();
        for (signed, takes_back) in [
            (trade.maker.write(&body), flood(&before, &trade.offer)),
            (before.reopened(EPOCH + 500).write(&body), crowd),
        ] {
            let mut public = ledger();
            admit_all(&mut public, &[said.clone(), vec![signed.clone()]].concat());
            let mut pin = look(&public, id, None).unwrap().unwrap().pin.unwrap();
            pin.committed = true;
            assert!(pin.facts.contains(&signed));
            let looks = |public: &Ledger<MemoryStorage>| look(public, id, Some(&pin)).unwrap().unwrap();
            let arbiter = |known: Known| {
                let mut machine = Trade::seated(known.bid.clone(), Seat::First);
                machine.handle(known.event()).unwrap();
                machine.handle(Event::Chain(funded(&trade, 200))).unwrap();
                machine
            };
            let phase = if to == Role::Buyer { Phase::Released } else { Phase::Refunding };
            let rule = |machine: &mut Trade, verdict| machine.handle(Event::Rule { verdict, feerate: 10 });
            let mut silent = arbiter(looks(&public));
            assert_eq!((silent.phase(), silent.actions()), (phase, vec![]), "whom it pays can complete it");
            assert!(rule(&mut silent, verdict).is_err());

            admit_all(&mut public, &takes_back);
            let known = looks(&public);
            assert_eq!(known.facts.hidden, [(to, half.clone())]);
            assert_eq!(
                restarted(&trade, to, known, 200).0.phase(),
                phase,
                "if he has kept it, it is as good as before"
            );
            let mut asked = arbiter(looks(&public));
            assert_eq!((asked.phase(), asked.actions()), (Phase::Disputed, vec![Action::Rule, Action::Extend]));
            for other in [Verdict::Buyer, Verdict::Seller, Verdict::Split(sats(500_000))] {
                let ruled = rule(&mut asked.clone(), other);
                assert_eq!(ruled.err(), (other != verdict).then_some(Refusal::SignedOver { to }), "{other:?}");
            }
            let seat = Seat::First;
            let (to_buyer, to_seller) = escrow.divide(seat, &vaults, verdict, 10).unwrap();
            let effects = rule(&mut asked, verdict).unwrap();
            assert!(effects.contains(&Effect::SignRuling { seat, vaults, to_buyer, to_seller }), "{effects:?}");
            // And once.
            let pair = trade.arbiter_pair(escrow.contract(), seat);
            let ruling = escrow.rule(seat, &vaults, (to_buyer, to_seller), &pair).unwrap();
            let ruling = trade.arbiter.clone().write(&Body::Ruling(ruling));
            admit_all(&mut public, &[ruling]);
            let mut done = arbiter(looks(&public));
            assert_eq!((done.phase(), rule(&mut done, verdict).is_err()), (Phase::Ruled, true));
        }
    }
}

/// It is in the ledger of none but one member of a group, who shows it to the others.
#[test]
fn a_half_that_another_member_shows_counts_as_if_this_node_had_seen_it() {
    let mut trade = SampleTrade::new(Side::Sell); // the maker sells
    let (id, escrow, seller) = (trade.id(), trade.escrow(), trade.maker.clone());
    let [payout, elsewhere] = [1, 2].map(|number| {
        let vaults = trade.vaults(number);
        escrow.half(&vaults, sats(1_700), Role::Buyer, &seller.trade_key()).unwrap()
    });
    let bad = HalfSpend { fee: sats(1_701), ..payout.clone() };
    let body = |payout: &HalfSpend| Body::Release(Release { trade: id, payout: payout.clone() });
    let says = |payout: &HalfSpend| seller.clone().write(&body(payout));
    let dispute = trade.taker.write(&Body::Dispute(Dispute { trade: id }));
    let said = [trade.records(), vec![dispute]].concat();
    let (mut pin, fundings) = (pinned(&said, &trade), funded(&trade, 200).fundings);
    let good = says(&payout);
    let by_another = trade.taker.write(&body(&payout));
    let mut forged = good.encode();
    forged[HEADER_LEN] ^= 1;
    let forged = Record::decode(&forged).unwrap();
    for refused in [by_another, says(&elsewhere), says(&bad), forged] {
        assert!(!pin.add_shown(&refused, &fundings), "{refused:?}");
    }
    assert!(!pin.add_shown(&good, &[]), "no block shows these coins");
    assert!(pin.add_shown(&good, &fundings) && !pin.add_shown(&good, &fundings), "once");
    assert_eq!(pin.record_of(&(Role::Buyer, payout.clone())), Some(&good));
    assert_eq!(pin.record_of(&(Role::Seller, payout.clone())), None);

    let mut public = ledger();
    admit_all(&mut public, &said);
    let known = look(&public, id, Some(&pin)).unwrap().unwrap();
    let mut arbiter = Trade::seated(known.bid.clone(), Seat::First);
    arbiter.handle(known.event()).unwrap();
    arbiter.handle(Event::Chain(funded(&trade, 200))).unwrap();
    assert_eq!((arbiter.phase(), arbiter.hidden_half()), (Phase::Disputed, Some(&(Role::Buyer, payout))));
    let refused = arbiter.handle(Event::Rule { verdict: Verdict::Seller, feerate: 10 });
    assert_eq!(refused, Err(Refusal::SignedOver { to: Role::Buyer }));
}

/// The same half in a record of another log, as an honest seller may write it after a restore.
#[test]
fn a_half_that_the_ledger_shows_in_another_record_is_shown() {
    let mut trade = SampleTrade::new(Side::Sell);
    let payout = trade.escrow().half(&trade.vaults(1), sats(1_700), Role::Buyer, &trade.maker.trade_key()).unwrap();
    let body = Body::Release(Release { trade: trade.id(), payout: payout.clone() });
    let again = trade.maker.reopened(EPOCH + 500).write(&body);
    let first = trade.maker.write(&body);
    let pin = pinned(&[trade.records(), vec![first.clone()]].concat(), &trade);
    assert_eq!(pin.facts, [first]);
    let mut public = ledger();
    admit_all(&mut public, &trade.records());
    for (records, hidden) in [(vec![], vec![(Role::Buyer, payout.clone())]), (vec![again], vec![])] {
        admit_all(&mut public, &records);
        let facts = look(&public, trade.id(), Some(&pin)).unwrap().unwrap().facts;
        assert_eq!((facts.releases, facts.hidden), (vec![payout.clone()], hidden));
    }
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

#[test]
fn a_trade_is_not_over_while_a_bond_lies_there() {
    let mut trade = SampleTrade::with_bonds(Side::Sell);
    let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
    let mut takes = |role, vault, coin| {
        let key = trade.author(role).trade_key();
        let tx = escrow.signed_timeout(vault, coin, sats(1_700), &key).unwrap().tx;
        move |height| Spend { tx: tx.clone(), path: crate::trade::SpendPath::Timeout, height: Some(height) }
    };
    let seller = takes(Role::Seller, Vault::Escrow, vaults.escrow);
    let buyer = takes(Role::Buyer, Vault::Bond, vaults.bond.unwrap());
    let (end, later) = (5_000, 5_100);
    let seen = |spends, tip| View {
        contract: Some(trade.contract()),
        chain: ChainFacts { spends, ..funded(&trade, tip) },
        ..View::default()
    };
    let alone = seen(vec![seller(end)], 10_000);
    assert_eq!(Settled::of(&alone, false), None, "the buyer may come for it at any time");
    let both = |tip| seen(vec![seller(end), buyer(later)], tip);
    assert_eq!(Settled::of(&both(later), false), None, "one confirmation of three");
    for tip in [later + 2, end + SETTLED_DEPTH, later + SETTLED_DEPTH - 2] {
        let settled = Settled::of(&both(tip), false).unwrap();
        assert!(!settled.is_for_good(), "the bond's spend is younger");
        assert_eq!(settled.tip, tip.min(end + SETTLED_DEPTH - 2));
    }
    let view = both(later + SETTLED_DEPTH - 1);
    let settled = Settled::of(&view, false).unwrap();
    assert!(settled.is_for_good());
    let chain = settled.chain(&escrow).unwrap();
    let mut machine = Trade::new(trade.bid(), Role::Buyer, false, Local::default());
    machine.handle(Event::Compared).unwrap();
    machine.handle(Event::Records { contract: view.contract, facts: view.facts }).unwrap();
    machine.handle(Event::Chain(chain)).unwrap();
    assert_eq!((machine.phase(), machine.actions(), machine.own_coin()), (Phase::Refunded, Vec::new(), None));
    // What an earlier version kept too early is looked at again.
    assert_eq!(Settled { vaults, ..settled }.chain(&escrow), None);
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
