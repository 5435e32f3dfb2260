//! Who says something about a trade, how much of it counts, and which of several fundings does.

use proptest::prelude::*;

use super::*;
use crate::body::{Cancel, Closed, Coin, Dispute, Funded, PaymentSent, Release, Side, Signatures};
use crate::ids::TradeId;
use crate::testing::{Author, HEIGHT, SampleTrade, sats, spend_of_nowhere, vaults_of};
use crate::trade::{Verdict, evaluate};
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

/// The sample contract asks for three confirmations.
const TIP: u32 = 200;
const BURIED: Option<u32> = Some(TIP - 2);
const SHALLOW: Option<u32> = Some(TIP - 1);

fn spend(coins: &[Coin], path: SpendPath, height: Option<u32>) -> Spend {
    let mut tx = spend_of_nowhere(1, Vec::new());
    let input = tx.input.remove(0);
    tx.input.extend(coins.iter().map(|coin| bitcoin::TxIn { previous_output: coin.outpoint.0, ..input.clone() }));
    Spend { tx, path, height }
}

fn unsigned(vaults: &Vaults) -> HalfSpend {
    HalfSpend { vaults: *vaults, fee: sats(1_700), signatures: Signatures::default() }
}

/// What speaks for an output: how much (less is more), and what it is.
type Standing = (u8, &'static str, fn(&mut View, &Vaults));

const STANDINGS: &[Standing] = &[
    (0, "its payout is buried", |view, of| spends(view, of, SpendPath::Payout, BURIED)),
    (1, "it is released", |view, of| view.facts.releases.push(unsigned(of))),
    (1, "its payout is seen", |view, of| spends(view, of, SpendPath::Payout, None)),
    (1, "it is released, and a refund and a spend back wait in the pool", |view, of| {
        view.facts.releases.push(unsigned(of));
        spends(view, of, SpendPath::Refund, None);
        spends(view, of, SpendPath::Timeout, None);
    }),
    (2, "it was given back", |view, of| spends(view, of, SpendPath::Refund, BURIED)),
    (2, "it is released, and was given back", |view, of| {
        view.facts.releases.push(unsigned(of));
        spends(view, of, SpendPath::Refund, BURIED);
    }),
    (3, "a refund is seen", |view, of| spends(view, of, SpendPath::Refund, None)),
    (3, "it is released, and a refund is in a block", |view, of| {
        view.facts.releases.push(unsigned(of));
        spends(view, of, SpendPath::Refund, SHALLOW);
    }),
    (3, "its refund is signed", |view, of| view.facts.refunds.push(unsigned(of))),
    (3, "it is ruled about", |view, of| rule_about(view, of, Seat::First)),
    (3, "an extension of it is signed", |view, of| extend(view, of, Seat::First)),
    (4, "the seller names it", |view, of| view.facts.funded = Some(of.outpoint())),
    (4, "the seller names it, and a spend back waits in the pool", |view, of| {
        view.facts.funded = Some(of.outpoint());
        spends(view, of, SpendPath::Timeout, None);
    }),
    (5, "nothing", |_, _| {}),
    (5, "it is released as one that holds less", |view, of| view.facts.releases.push(unsigned(&less(of)))),
    (5, "its refund is signed as of one that holds less", |view, of| view.facts.refunds.push(unsigned(&less(of)))),
    (5, "it is ruled about as one that holds less", |view, of| rule_about(view, &less(of), Seat::First)),
    (5, "an extension of it is signed as of one that holds less", |view, of| extend(view, &less(of), Seat::First)),
    (5, "it is released with a bond that there is not", |view, of| {
        view.facts.releases.push(unsigned(&Vaults { bond: Some(of.escrow), ..*of }));
    }),
    (5, "a spend back waits in the pool", |view, of| spends(view, of, SpendPath::Timeout, None)),
    (6, "it was taken back", |view, of| spends(view, of, SpendPath::Timeout, BURIED)),
    (6, "a spend back is in a block", |view, of| spends(view, of, SpendPath::Timeout, SHALLOW)),
    (6, "it is released, and was taken back", |view, of| {
        view.facts.releases.push(unsigned(of));
        spends(view, of, SpendPath::Timeout, SHALLOW);
    }),
    (6, "it is ruled about, and was taken back", |view, of| {
        rule_about(view, of, Seat::First);
        spends(view, of, SpendPath::Timeout, BURIED);
    }),
];

/// Returns outputs as they are not: a satoshi less. A half of them is good by itself, and no block will ever hold its spend.
fn less(of: &Vaults) -> Vaults {
    let value = of.escrow.value.checked_sub(sats(1)).unwrap();
    Vaults { escrow: Coin { value, ..of.escrow }, ..*of }
}

fn spends(view: &mut View, of: &Vaults, path: SpendPath, height: Option<u32>) {
    view.chain.spends.push(spend(&[of.escrow], path, height));
}

fn rule_about(view: &mut View, of: &Vaults, by: Seat) {
    let (trade, none) = (TradeId([0; 32]), Signatures::default());
    let (to_buyer, with_buyer) = (sats(1), none.clone());
    let ruling = Ruling { trade, vaults: *of, to_buyer, to_seller: sats(1), with_buyer, with_seller: none };
    view.facts.rulings.push((by, ruling));
}

fn extend(view: &mut View, of: &Vaults, by: Seat) {
    let (trade, none) = (TradeId([0; 32]), Signatures::default());
    let extend = Extend { trade, vaults: *of, fee: sats(1), with_buyer: none.clone(), with_seller: none };
    view.facts.extensions.push((by, extend));
}

fn view_of(trade: &SampleTrade, fundings: &[(u8, Option<u32>)]) -> View {
    let fundings = fundings.iter().map(|(number, height)| Funding::new(trade.vaults(*number), *height));
    let chain = ChainFacts { tip: TIP, synced: true, fundings: fundings.collect(), ..ChainFacts::default() };
    View { contract: Some(trade.contract()), facts: Facts::default(), chain }
}

#[test]
fn of_two_fundings_counts_what_more_speaks_for_and_then_what_came_first() {
    let trade = SampleTrade::new(Side::Sell);
    let [late, early] = [1, 2].map(|number| trade.vaults(number));
    let neither = view_of(&trade, &[(1, BURIED), (2, Some(TIP - 9))]);
    for (one, other) in STANDINGS.iter().flat_map(|one| STANDINGS.iter().map(move |other| (one, other))) {
        if (one.0, other.0) == (4, 4) {
            continue; // he names but one
        }
        let mut view = neither.clone();
        (one.2)(&mut view, &late);
        (other.2)(&mut view, &early);
        let expected = if one.0 < other.0 { late } else { early };
        assert_eq!(view.funding().unwrap().vaults, expected, "{}; and of the earlier: {}", one.1, other.1);
    }
}

proptest! {
    /// What names outputs otherwise than the chain shows them changes nothing, whoever signs it, and however much of it: whatever
    /// speaks for which output.
    #[test]
    fn what_names_no_outputs_that_the_chain_shows_says_nothing(
        happened in prop::collection::vec((0..STANDINGS.len(), 0..2usize), 0..4),
        made_up in prop::collection::vec((0..4usize, 0..2usize, 0..4usize), 0..8),
        payment_sent in any::<bool>(),
        buyer_dispute in any::<bool>(),
    ) {
        let trade = SampleTrade::new(Side::Sell);
        let held = [1, 2].map(|number| trade.vaults(number));
        let mut view = view_of(&trade, &[(1, BURIED), (2, Some(TIP - 9))]);
        (view.facts.payment_sent, view.facts.buyer_dispute) = (payment_sent, buyer_dispute);
        for (standing, at) in happened {
            (STANDINGS[standing].2)(&mut view, &held[at]);
        }
        let mut misled = view.clone();
        for (kind, at, lie) in made_up {
            let (is, mut elsewhere) = (held[at], held[at]);
            elsewhere.escrow.outpoint.0.vout += 1;
            let more = Coin { value: is.escrow.value.checked_add(sats(1)).unwrap(), ..is.escrow };
            let bonded = Vaults { bond: Some(is.escrow), ..is };
            let named = [less(&is), Vaults { escrow: more, ..is }, bonded, elsewhere][lie];
            match kind {
                0 => misled.facts.releases.insert(0, unsigned(&named)),
                1 => misled.facts.refunds.insert(0, unsigned(&named)),
                2 => rule_about(&mut misled, &named, Seat::First),
                _ => extend(&mut misled, &named, Seat::First),
            }
        }
        prop_assert_eq!(misled.funding(), view.funding());
        prop_assert_eq!((misled.valid_release(), misled.valid_refund()), (view.valid_release(), view.valid_refund()));
        prop_assert_eq!((misled.ruling(), misled.extension()), (view.ruling(), view.extension()));
        prop_assert_eq!(evaluate(&misled), evaluate(&view));
    }
}

#[test]
fn what_leaves_out_a_bond_speaks_for_outputs_once_the_bond_has_left() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    let [late, early] = [1, 2].map(|number| trade.vaults(number));
    let without = Vaults { bond: None, ..late };
    for (signed, left, counts) in [
        (late, None, true),
        (late, Some(SHALLOW), true), // what was signed before is not undone by it
        (without, None, false),
        (without, Some(None), false),
        (without, Some(SHALLOW), true),
    ] {
        let mut view = view_of(&trade, &[(1, BURIED), (2, Some(TIP - 9))]);
        view.facts.releases.push(unsigned(&signed));
        let bond = [late.bond.unwrap()];
        view.chain.spends.extend(left.map(|height| spend(&bond, SpendPath::Timeout, height)));
        assert_eq!(view.funding().unwrap().vaults, if counts { late } else { early }, "{signed:?} {left:?}");
    }
}

/// Only its maker can have paid below the height that an acceptance states, and others do not look there.
#[test]
fn what_lies_below_the_height_of_the_acceptance_counts_last() {
    let trade = SampleTrade::new(Side::Sell);
    let [late, early] = [1, 2].map(|number| trade.vaults(number));
    for (height, is_early) in [(HEIGHT - 1, true), (HEIGHT, false)] {
        for (standing, name, happens) in STANDINGS {
            let mut view = view_of(&trade, &[(1, BURIED), (2, Some(height))]);
            happens(&mut view, &early);
            let is_left = *standing == 0 || (!is_early && *standing < 6);
            assert_eq!(view.funding().unwrap().vaults, if is_left { early } else { late }, "{name} at {height}");
        }
        let alone = view_of(&trade, &[(2, Some(height))]);
        assert_eq!(alone.funding().unwrap().vaults, early, "a reorg may put it there");
        assert_eq!(alone.is_doubtful(), is_early);
    }
}

#[test]
fn outputs_are_named_by_their_seller_where_a_name_stays_or_by_a_buyer_with_a_bond() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    let held = trade.vaults(1);
    let [one, other] = [1, 2].map(|number| Some(trade.vaults(number).outpoint()));
    for (funded, funded_at_home, by_buyer, is_named) in [
        (None, None, None, false),
        (one, one, None, true),
        (one, None, None, false),
        (one, other, None, false),
        (other, one, None, false),
        (other, other, None, false),
        (None, None, one, true),
        (other, other, one, true),
        (None, None, other, false),
    ] {
        let mut view = view_of(&trade, &[(1, BURIED)]);
        let buyer_funded = Vec::from_iter(by_buyer);
        view.facts = Facts { funded, funded_at_home, buyer_funded, ..Facts::default() };
        assert_eq!(view.is_named(), is_named, "{:?}", view.facts);
        // With them, what an extension makes of them.
        let mut made = held;
        made.escrow.outpoint.0.vout += 5;
        view.chain.fundings.push(Funding { vaults: made, height: BURIED, extends: one });
        assert_eq!(view.funding().unwrap().vaults, made);
        assert_eq!(view.is_named(), is_named, "{:?}", view.facts);
        assert!(!View { contract: None, ..view }.is_named());
    }
}

#[test]
fn what_the_second_arbiter_signs_says_nothing_while_the_first_decides_alone() {
    let trade = SampleTrade::with_second(Side::Sell);
    let [late, early] = [1, 2].map(|number| trade.vaults(number));
    let from = TIP - 2 + 1008 - 1;
    for (by, tip, counts) in [
        (Seat::First, TIP, true),
        (Seat::Second, TIP, false),
        (Seat::Second, from - 1, false),
        (Seat::Second, from, true),
    ] {
        for sign in [rule_about, extend] {
            let mut alone = view_of(&trade, &[(1, BURIED)]);
            sign(&mut alone, &late, by);
            alone.chain.tip = tip;
            assert_eq!(alone.ruling().is_some() || alone.extension().is_some(), counts, "{by:?} at {tip}");
            alone.chain.fundings[0].height = None;
            let is_left = alone.ruling().is_some() || alone.extension().is_some();
            assert_eq!(is_left, by == Seat::First, "a reorg takes his turn back");
            // Nor does it lead anybody to another output.
            let mut twice = view_of(&trade, &[(1, BURIED), (2, Some(TIP - 9))]);
            sign(&mut twice, &late, by);
            twice.chain.tip = tip;
            assert_eq!(twice.funding().unwrap().vaults, if counts { late } else { early }, "{by:?} at {tip}");
        }
    }
    let mut both = view_of(&trade, &[(1, BURIED)]);
    for by in [Seat::Second, Seat::First] {
        rule_about(&mut both, &late, by);
        extend(&mut both, &late, by);
    }
    both.chain.tip = from;
    assert_eq!(both.ruling().unwrap().0, Seat::First);
    assert_eq!(both.extension().unwrap().0, Seat::First);
}

#[test]
fn nothing_speaks_for_what_is_not_buried() {
    let trade = SampleTrade::new(Side::Sell);
    let [late, early] = [1, 2].map(|number| trade.vaults(number));
    for height in [None, SHALLOW] {
        let neither = view_of(&trade, &[(1, height), (2, BURIED)]);
        for (_, name, happens) in STANDINGS {
            let mut view = neither.clone();
            happens(&mut view, &late);
            assert_eq!(view.funding().unwrap().vaults, early, "{name} at {height:?}");
        }
        // Not even beside what was taken back: nobody can rely on it.
        let mut taken = neither.clone();
        spends(&mut taken, &early, SpendPath::Timeout, SHALLOW);
        assert_eq!(taken.funding().unwrap().vaults, early, "{height:?}");
    }
    // In the pool none is first: then the lowest outpoint counts, at every node.
    let lowest = if late.outpoint() < early.outpoint() { late } else { early };
    for order in [[(1, None), (2, None)], [(2, None), (1, None)]] {
        assert_eq!(view_of(&trade, &order).funding().unwrap().vaults, lowest);
    }
    assert!(View { contract: None, ..view_of(&trade, &[(1, BURIED)]) }.funding().is_none(), "there is nothing to fund");
}

#[test]
fn a_bond_is_there_until_a_block_shows_that_it_alone_was_taken_back() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    let held = trade.vaults(1);
    let bond = held.bond.unwrap();
    let alone = Vaults { bond: None, ..held };
    for (coins, height, expected) in [
        (vec![], None, held),
        (vec![bond], None, held),
        (vec![bond], SHALLOW, alone),
        (vec![held.escrow, bond], SHALLOW, held),
        (vec![held.escrow], SHALLOW, held),
        (vec![vaults_of(&trade.escrow(), 2).bond.unwrap()], SHALLOW, held),
    ] {
        let mut view = view_of(&trade, &[(1, BURIED)]);
        view.chain.spends.push(spend(&coins, SpendPath::Timeout, height));
        assert_eq!(view.vaults(), Some(expected), "{coins:?} at {height:?}");
    }
}

#[test]
fn the_spend_that_a_block_shows_counts_before_those_in_the_pool() {
    let trade = SampleTrade::new(Side::Sell);
    let coin = trade.vaults(1).escrow;
    let mut view = view_of(&trade, &[(1, BURIED)]);
    assert_eq!(view.spend(), None);
    let pool = [SpendPath::Payout, SpendPath::Refund, SpendPath::Ruling].map(|path| {
        let mut spend = spend(&[coin], path, None);
        spend.tx.lock_time = bitcoin::absolute::LockTime::from_consensus(path as u32);
        spend
    });
    view.chain.spends.extend(pool.clone());
    let lowest = pool.iter().min_by_key(|spend| spend.tx.compute_txid());
    assert_eq!(view.spend(), lowest, "the same at every node");
    let confirmed = spend(&[coin], SpendPath::Timeout, SHALLOW);
    view.chain.spends.push(confirmed.clone());
    assert_eq!(view.spend(), Some(&confirmed));
    assert_eq!(view.spend_of(&trade.vaults(2).outpoint()), None);
}

#[test]
fn a_block_is_one_confirmation() {
    let view = view_of(&SampleTrade::new(Side::Sell), &[]);
    for (height, depth, is_buried) in [
        (None, 0, false),
        (Some(TIP + 2), 0, false),
        (Some(TIP), 1, false),
        (SHALLOW, 2, false),
        (BURIED, 3, true),
        (Some(TIP - 3), 4, true),
    ] {
        assert_eq!((view.depth(height), view.is_buried(height)), (depth, is_buried), "{height:?}");
    }
    assert!(!View { contract: None, ..view }.is_buried(BURIED));
}
