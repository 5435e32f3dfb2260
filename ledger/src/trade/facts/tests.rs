//! Who says something about a trade, and how much of it counts.

use super::*;
use crate::body::{Cancel, Closed, Dispute, Funded, PaymentSent, Release, Side, Signatures};
use crate::ids::TradeId;
use crate::testing::{Author, SampleTrade, sats};
use crate::trade::Verdict;
use crate::wire::{Outpoint, TxId};

/// A trade with two arbiters, and its escrow.
struct Case {
    trade: SampleTrade,
    escrow: Option<Escrow>,
}

impl Case {
    fn new() -> Self {
        let trade = SampleTrade::with_second(Side::Sell);
        Self { escrow: Some(trade.escrow()), trade }
    }

    fn escrow(&self) -> &Escrow {
        self.escrow.as_ref().unwrap()
    }

    fn gather(&self, kept: &[Record], records: &[Record]) -> Facts {
        Facts::gather(&self.trade.bid(), &&self.escrow, kept, records, false)
    }

    fn half(&mut self, number: u8, to: Role) -> HalfSpend {
        let key = self.trade.author(crate::trade::counterparty(to)).trade_key();
        self.escrow().half(&self.trade.vaults(number), sats(1_700), to, &key).unwrap()
    }

    fn ruling(&self, seat: Seat, number: u8, verdict: Verdict) -> Ruling {
        let (escrow, vaults) = (self.escrow(), self.trade.vaults(number));
        let division = escrow.divide(seat, &vaults, verdict, 10).unwrap();
        escrow.rule(seat, &vaults, division, &self.trade.arbiter_pair(escrow.contract(), seat)).unwrap()
    }

    fn extend(&self, seat: Seat, number: u8, feerate: u64) -> Extend {
        let (escrow, vaults) = (self.escrow(), self.trade.vaults(number));
        let fee = escrow.extension_fee_at(seat, &vaults, feerate).unwrap();
        escrow.extend(seat, &vaults, fee, &self.trade.arbiter_pair(escrow.contract(), seat)).unwrap()
    }

    fn arbiter(&self, seat: Seat) -> Author {
        let second = self.trade.second.as_ref().map(|(author, _)| author.clone());
        if seat == Seat::First { self.trade.arbiter.clone() } else { second.unwrap() }
    }
}

/// Returns one body of each kind about a trade, each with what it means if the buyer, the seller, the first or the second
/// arbiter says it.
fn all_that_can_be_said(case: &mut Case, trade: TradeId) -> Vec<(Body, [Option<Facts>; 4])> {
    let none = Facts::default;
    let (payout, refund) = (case.half(1, Role::Buyer), case.half(1, Role::Seller));
    let outpoint = case.trade.vaults(1).escrow.outpoint;
    let spend = outpoint.0.txid;
    let rulings = [Seat::First, Seat::Second].map(|seat| Ruling { trade, ..case.ruling(seat, 1, Verdict::Buyer) });
    let extensions = [Seat::First, Seat::Second].map(|seat| Extend { trade, ..case.extend(seat, 1, 10) });
    let ruled = |seat: Seat, ruling: &Ruling| Facts { rulings: vec![(seat, ruling.clone())], ..none() };
    let extended = |seat: Seat, extend: &Extend| Facts { extensions: vec![(seat, extend.clone())], ..none() };
    vec![
        (
            Body::Cancel(Cancel { trade, refund: None }),
            [Some(Facts { buyer_cancel: true, ..none() }), Some(Facts { seller_cancel: true, ..none() }), None, None],
        ),
        (
            Body::Cancel(Cancel { trade, refund: Some(refund.clone()) }),
            [
                Some(Facts { buyer_cancel: true, refunds: vec![refund], ..none() }),
                Some(Facts { seller_cancel: true, ..none() }),
                None,
                None,
            ],
        ),
        (
            Body::Funded(Funded { trade, outpoint }),
            [None, Some(Facts { funded: Some(outpoint.0), funded_at_home: Some(outpoint.0), ..none() }), None, None],
        ),
        (Body::PaymentSent(PaymentSent { trade }), [Some(Facts { payment_sent: true, ..none() }), None, None, None]),
        (
            Body::Release(Release { trade, payout: payout.clone() }),
            [None, Some(Facts { releases: vec![payout], ..none() }), None, None],
        ),
        (
            Body::Closed(Closed { trade, spend: TxId(spend) }),
            [
                Some(Facts { buyer_closed: Some(spend), ..none() }),
                Some(Facts { seller_closed: Some(spend), ..none() }),
                None,
                None,
            ],
        ),
        (
            Body::Dispute(Dispute { trade }),
            [Some(Facts { buyer_dispute: true, ..none() }), Some(Facts { seller_dispute: true, ..none() }), None, None],
        ),
        (Body::Ruling(rulings[0].clone()), [None, None, Some(ruled(Seat::First, &rulings[0])), None]),
        (Body::Ruling(rulings[1].clone()), [None, None, None, Some(ruled(Seat::Second, &rulings[1]))]),
        (Body::Extend(extensions[0].clone()), [None, None, Some(extended(Seat::First, &extensions[0])), None]),
        (Body::Extend(extensions[1].clone()), [None, None, None, Some(extended(Seat::Second, &extensions[1]))]),
    ]
}

#[test]
fn each_says_what_is_his_to_say_about_this_trade_and_nothing_else() {
    let mut case = Case::new();
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| case.trade.author(role).clone());
    let people = [buyer, seller, case.arbiter(Seat::First), case.arbiter(Seat::Second)];
    let id = case.trade.id();
    for (trade, is_this) in [(id, true), (TradeId([9; 32]), false)] {
        for (body, meanings) in all_that_can_be_said(&mut case, trade) {
            for (mut author, meaning) in people.iter().cloned().zip(meanings) {
                let expected = meaning.filter(|_| is_this).unwrap_or_default();
                let facts = case.gather(&[], &[author.write(&body)]);
                assert_eq!(facts, expected, "{:?}: {body:?}", case.trade.bid().role_of(&author.id()));
            }
            let stranger = Author::new(42).write(&body);
            assert_eq!(case.gather(&[], &[stranger]), Facts::default(), "a stranger: {body:?}");
        }
    }
}

#[test]
fn nothing_is_signed_for_coins_of_a_trade_without_a_contract() {
    let mut case = Case::new();
    let id = case.trade.id();
    let bodies = all_that_can_be_said(&mut case, id);
    case.escrow = None;
    let people = [case.trade.maker.clone(), case.trade.taker.clone(), case.arbiter(Seat::First)];
    for (body, mut author) in bodies.iter().flat_map(|(body, _)| people.clone().map(|author| (body, author))) {
        let Facts { releases, refunds, rulings, extensions, .. } = case.gather(&[], &[author.write(body)]);
        assert!(releases.is_empty() && refunds.is_empty() && rulings.is_empty() && extensions.is_empty(), "{body:?}");
    }
}

#[test]
fn what_was_said_first_of_what_can_be_said_once_stays() {
    let mut case = Case::new();
    let trade = case.trade.id();
    let [one, other] = [1, 2].map(|number| case.trade.vaults(number).escrow.outpoint);
    for (role, say) in [
        (Role::Seller, (|trade, outpoint| Body::Funded(Funded { trade, outpoint })) as fn(_, Outpoint) -> _),
        (Role::Seller, |trade, outpoint| Body::Closed(Closed { trade, spend: TxId(outpoint.0.txid) })),
        (Role::Buyer, |trade, outpoint| Body::Closed(Closed { trade, spend: TxId(outpoint.0.txid) })),
    ] {
        let mut author = case.trade.author(role).clone();
        let records = [one, other].map(|outpoint| author.write(&say(trade, outpoint)));
        assert_eq!(case.gather(&[], &records), case.gather(&[], &records[..1]));
        // In his own order, not in that in which they come in.
        let reversed = [records[1].clone(), records[0].clone()];
        assert_eq!(case.gather(&[], &reversed), case.gather(&[], &records[..1]));
        // But what was kept counts before all else.
        assert_eq!(case.gather(&records[1..], &records), case.gather(&[], &records[1..]));
    }
}

#[test]
fn the_log_in_which_somebody_entered_the_trade_comes_before_those_that_claim_to_be_older() {
    let case = Case::new();
    let trade = case.trade.id();
    let [one, other] = [1, 2].map(|number| case.trade.vaults(number).escrow.outpoint);
    let named = |mut author: Author, outpoint| author.write(&Body::Funded(Funded { trade, outpoint }));
    let (first, older) = (named(case.trade.maker.clone(), one), named(case.trade.maker.reopened(1), other));
    assert_eq!(case.gather(&[], std::slice::from_ref(&older)).funded, Some(other.0));
    for records in [[first.clone(), older.clone()], [older, first]] {
        assert_eq!(case.gather(&[], &records).funded, Some(one.0));
    }
}

#[test]
fn a_name_in_the_log_of_the_agreement_is_moved_by_nothing_that_is_written_later() {
    let case = Case::new();
    let trade = case.trade.id();
    let [one, other] = [1, 2].map(|number| case.trade.vaults(number).escrow.outpoint);
    let name = |author: &mut Author, outpoint| author.write(&Body::Funded(Funded { trade, outpoint }));
    let mut seller = case.trade.maker.clone();
    let late = name(&mut seller.clone(), other);
    let [first, second] = [one, other].map(|outpoint| name(&mut seller, outpoint));
    let [older, newer] = [1, u32::MAX].map(|epoch| name(&mut seller.reopened(epoch), other));
    let named = |kept: &[Record], records: &[Record]| {
        let facts = case.gather(kept, records);
        (facts.funded, facts.funded_at_home)
    };
    let all = [newer, second, first, older];
    for records in [&all[2..3], &all[1..3], &all[..]] {
        assert_eq!(named(&[], records), (Some(one.0), Some(one.0)));
    }
    // One in another log is: who saw it keeps to it, and who comes later does not.
    let elsewhere = name(&mut seller.reopened(u32::MAX), one);
    let both = [elsewhere.clone(), late];
    assert_eq!(named(&[], &both[..1]), (Some(one.0), None));
    assert_eq!(named(&both[..1], &both), (Some(one.0), Some(other.0)));
    assert_eq!(named(&[], &both), (Some(other.0), Some(other.0)));
    // Where it is not moved but said again, it counts as said there, and is worth a pin.
    let again = name(&mut case.trade.maker.clone(), one);
    let said = std::slice::from_ref(&again);
    let (facts, new) = Facts::gather_new(&case.trade.bid(), &&case.escrow, &[elsewhere], said, &[]);
    assert_eq!((facts.funded, facts.funded_at_home, new), (Some(one.0), Some(one.0), vec![&again]));
}

#[test]
fn a_half_is_of_the_trade_that_its_record_names() {
    let mut case = Case::new();
    let (payout, refund) = (case.half(1, Role::Buyer), case.half(1, Role::Seller));
    let (bid, elsewhere) = (case.trade.bid(), TradeId([9; 32]));
    for (trade, is_of_it) in [(bid.trade, true), (elsewhere, false)] {
        let release = Body::Release(Release { trade, payout: payout.clone() });
        let cancel = Body::Cancel(Cancel { trade, refund: Some(refund.clone()) });
        let release = case.trade.author(Role::Seller).write(&release);
        let cancel = case.trade.author(Role::Buyer).write(&cancel);
        assert_eq!(half_in(&release, &bid), is_of_it.then(|| (Role::Buyer, payout.clone())));
        assert_eq!(half_in(&cancel, &bid), is_of_it.then(|| (Role::Seller, refund.clone())));
    }
}

#[test]
fn nobody_hides_what_others_sign_for_behind_what_he_makes_up() {
    let mut case = Case::new();
    let trade = case.trade.clone();
    let at = |number: u8| trade.vaults(number).outpoint();
    let facts = Facts {
        funded: Some(at(1)),
        releases: [2, 3, 4, 5].map(|number| case.half(number, Role::Buyer)).into(),
        refunds: [1, 6].map(|number| case.half(number, Role::Seller)).into(),
        rulings: [(Seat::First, 7), (Seat::Second, 8), (Seat::First, 2)]
            .map(|(seat, number)| (seat, case.ruling(seat, number, Verdict::Buyer)))
            .into(),
        extensions: vec![(Seat::Second, case.extend(Seat::Second, 9, 10))],
        ..Facts::default()
    };
    // Named; then the first and the second of seller, buyer, first and second arbiter; then what is left of the seller's.
    assert_eq!(facts.outputs(case.escrow()), [1, 2, 7, 8, 3, 6, 9, 4, 5].map(at));
    let bonded = Facts { funded: Some(at(2)), buyer_funded: vec![at(1), at(2)], ..facts };
    assert_eq!(bonded.outputs(case.escrow())[..4], [1, 2, 7, 8].map(at));
    assert!(Facts::default().outputs(case.escrow()).is_empty());
    let moved = Facts { funded: Some(at(2)), funded_at_home: Some(at(1)), ..Facts::default() };
    assert_eq!(moved.outputs(case.escrow()), [2, 1].map(at));
}

/// A seller has released, and signed for many others before. What came of it the buyer says, if his node saw it.
#[test]
fn nobody_hides_what_came_of_his_words_behind_what_he_makes_up() {
    let mut case = Case::new();
    let trade = case.trade.clone();
    let at = |number: u8| trade.vaults(number).outpoint();
    let [releases, refunds] =
        [Role::Buyer, Role::Seller].map(|to| (1..=9).map(|number| case.half(number, to)).collect::<Vec<_>>());
    let rulings: Vec<_> =
        (1..=9).map(|number| (Seat::First, case.ruling(Seat::First, number, Verdict::Buyer))).collect();
    let (escrow, (payout, refund, (seat, ruling))) = (case.escrow(), (&releases[5], &refunds[6], &rulings[7]));
    let by_key = escrow.key_payout(&payout.vaults, escrow.key_fee(payout).unwrap());
    for (draft, number) in [
        (escrow.spend(&payout.vaults, payout.fee, Role::Buyer), 6),
        (by_key, 6),
        (escrow.spend(&refund.vaults, refund.fee, Role::Seller), 7),
        (escrow.ruling(*seat, &ruling.vaults, ruling.to_buyer, ruling.to_seller), 8),
    ] {
        let spend = Some(draft.unwrap().tx.compute_txid());
        let signed = Facts {
            funded: Some(at(9)),
            releases: releases.clone(),
            refunds: refunds.clone(),
            rulings: rulings.clone(),
            ..Facts::default()
        };
        assert_eq!(signed.outputs(escrow)[..3], [9, 1, 2].map(at));
        for closed in
            [Facts { buyer_closed: spend, ..signed.clone() }, Facts { seller_closed: spend, ..signed.clone() }]
        {
            assert_eq!(closed.outputs(escrow)[..3], [9, number, 1].map(at));
        }
    }
}

#[test]
fn what_was_kept_counts_once_and_what_comes_later_counts_too() {
    let mut case = Case::new();
    let trade = case.trade.id();
    let (payout, second) = (case.half(1, Role::Buyer), case.half(2, Role::Buyer));
    let mut seller = case.trade.author(Role::Seller).clone();
    let releases = [&payout, &second].map(|half| seller.write(&Body::Release(Release { trade, payout: half.clone() })));
    let twice = [releases.clone(), releases.clone()].concat();
    assert_eq!(case.gather(&releases[..1], &twice).releases, [payout, second]);
}

#[test]
fn a_buyer_names_so_many_outputs_that_hold_his_bond_each_once() {
    let mut trade = SampleTrade::with_bonds(Side::Sell);
    let (bid, escrow, id) = (trade.bid(), Some(trade.escrow()), trade.id());
    assert!(bid.is_funded_by_both() && !SampleTrade::new(Side::Sell).bid().is_funded_by_both());
    let names: Vec<OutPoint> = (1..=5).map(|number| trade.vaults(number).escrow.outpoint.0).collect();
    assert_eq!(names.len(), MAX_NAMED + 1);
    let mut name = |trade_id, at: usize| {
        let outpoint = Outpoint(names[at]);
        trade.author(Role::Buyer).write(&Body::Funded(Funded { trade: trade_id, outpoint }))
    };
    let elsewhere = name(TradeId([9; 32]), 4);
    let said: Vec<Record> = [0, 0, 1, 2, 3, 4].map(|at| name(id, at)).into();
    let all = [vec![elsewhere], said].concat();
    for (heard, named) in [(1, 0), (2, 1), (3, 1), (4, 2), (7, MAX_NAMED)] {
        let facts = Facts::gather(&bid, &&escrow, &[], &all[..heard], false);
        assert_eq!(facts, Facts { buyer_funded: names[..named].to_vec(), ..Facts::default() }, "{heard}");
    }
}

#[test]
fn every_half_counts_whatever_was_signed_before_it_and_none_that_is_not_good() {
    let mut case = Case::new();
    let trade = case.trade.id();
    let release = |payout: HalfSpend| Body::Release(Release { trade, payout });
    let refund = |half: HalfSpend| Body::Cancel(Cancel { trade, refund: Some(half) });
    let numbers: Vec<u8> = (1..=u8::try_from(MAX_HALVES).unwrap() + 2).collect();
    for (by, to) in [(Role::Seller, Role::Buyer), (Role::Buyer, Role::Seller)] {
        let halves: Vec<HalfSpend> = numbers.iter().map(|number| case.half(*number, to)).collect();
        let bad = HalfSpend { signatures: Signatures::default(), ..halves[0].clone() };
        let mut author = case.trade.author(by).clone();
        let all = std::iter::once(&bad).chain(&halves).chain(&halves).cloned();
        let records: Vec<Record> =
            all.map(|half| author.write(&if to == Role::Buyer { release(half) } else { refund(half) })).collect();
        let facts = case.gather(&[], &records);
        let counted = if to == Role::Buyer { facts.releases } else { facts.refunds };
        assert_eq!(counted, halves, "each once");
    }
}

#[test]
fn of_an_arbiter_the_first_about_the_same_outputs_counts_however_much_he_signed_about_others() {
    let case = Case::new();
    let numbers: Vec<u8> = (1..=u8::try_from(MAX_RULED).unwrap() + 2).collect();
    let mut records = Vec::new();
    for seat in [Seat::First, Seat::Second] {
        let mut author = case.arbiter(seat);
        // What is not signed by his key takes no place.
        let forged = Ruling { with_buyer: Signatures::default(), ..case.ruling(seat, 1, Verdict::Buyer) };
        records.push(author.write(&Body::Ruling(forged)));
        for number in &numbers {
            for (verdict, feerate) in [(Verdict::Buyer, 10), (Verdict::Seller, 20)] {
                records.push(author.write(&Body::Ruling(case.ruling(seat, *number, verdict))));
                records.push(author.write(&Body::Extend(case.extend(seat, *number, feerate))));
            }
        }
    }
    let facts = case.gather(&[], &records);
    for seat in [Seat::First, Seat::Second] {
        let rulings: Vec<_> = facts.rulings.iter().filter(|(by, _)| *by == seat).map(|(_, ruling)| ruling).collect();
        let expected: Vec<_> = numbers.iter().map(|number| case.ruling(seat, *number, Verdict::Buyer)).collect();
        assert_eq!(rulings, expected.iter().collect::<Vec<_>>());
        let extensions: Vec<_> = facts.extensions.iter().filter(|(by, _)| *by == seat).map(|(_, it)| it).collect();
        let expected: Vec<_> = numbers.iter().map(|number| case.extend(seat, *number, 10)).collect();
        assert_eq!(extensions, expected.iter().collect::<Vec<_>>());
    }
}
