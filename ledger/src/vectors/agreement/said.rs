//! What counts of what parties and arbiters say, by role, log, place and number.

use std::collections::HashSet;

use super::Case;
use crate::body::{
    Body, Cancel, Closed, Coin, Dispute, Extend, Funded, GroupConfirm, GroupStep, HalfSpend, PaymentSent, Release,
    Revoke, Ruling, Side, Signatures, Vaults,
};
use crate::ids::{RecordId, TradeId};
use crate::record::Record;
use crate::testing::{Author, EPOCH, SampleGroup, SampleTrade, sats};
use crate::trade::{Escrow, Leaf, Role, Seat, Verdict, counterparty};
use crate::wire::{List, Outpoint, TxId};

const LATER: u32 = EPOCH + 500;
const OLDER: u32 = 1;

/// A trade that is agreed on, and what people can say about it.
struct Agreed {
    trade: SampleTrade,
    escrow: Escrow,
    id: TradeId,
}

impl Agreed {
    fn new(trade: SampleTrade) -> Self {
        Self { escrow: trade.escrow(), id: trade.id(), trade }
    }

    fn case(&self, name: &str, said: &[Record]) -> Case {
        let SampleTrade { offer, take, .. } = &self.trade;
        Case::new(name, offer, &[take], [&self.trade.records()[..], said].concat())
    }

    /// A buyer or seller, the agreement written.
    fn party(&self, role: Role) -> Author {
        self.trade.clone().author(role).clone()
    }

    /// An arbiter, his advert written.
    fn arbiter(&self, seat: Seat) -> Author {
        match seat {
            Seat::First => self.trade.arbiter.clone(),
            Seat::Second => self.trade.second.as_ref().unwrap().0.clone(),
        }
    }

    fn outpoint(&self, number: u8) -> Outpoint {
        self.trade.vaults(number).escrow.outpoint
    }

    fn funded(&self, number: u8) -> Body {
        Body::Funded(Funded { trade: self.id, outpoint: self.outpoint(number) })
    }

    fn closed(&self, number: u8) -> Body {
        Body::Closed(Closed { trade: self.id, spend: TxId(self.outpoint(number).0.txid) })
    }

    fn half(&self, vaults: &Vaults, fee: u64, to: Role) -> HalfSpend {
        let key = self.party(counterparty(to)).trade_key();
        self.escrow.half(vaults, sats(fee), to, &key).unwrap()
    }

    /// A half of what spends the output of the first funding, whatever that is said to hold and whatever the fee is.
    fn unchecked(&self, vaults: &Vaults, fee: u64, to: Role) -> HalfSpend {
        let mut draft = self.escrow.spend(&self.trade.vaults(1), sats(1_700), to).unwrap();
        let rest = vaults.escrow.value.checked_sub(sats(fee)).unwrap();
        draft.spent[0].1.value = vaults.escrow.value.into();
        draft.tx.output[0].value = rest.into();
        let signatures = self.escrow.sign(&draft, Leaf::Both, &self.party(counterparty(to)).trade_key()).unwrap();
        HalfSpend { vaults: *vaults, fee: sats(fee), signatures }
    }

    fn release(&self, payout: HalfSpend) -> Body {
        Body::Release(Release { trade: self.id, payout })
    }

    fn refund(&self, half: HalfSpend) -> Body {
        Body::Cancel(Cancel { trade: self.id, refund: Some(half) })
    }

    fn ruling(&self, seat: Seat, number: u8, verdict: Verdict) -> Ruling {
        let vaults = self.trade.vaults(number);
        let division = self.escrow.divide(seat, &vaults, verdict, 10).unwrap();
        let pair = self.trade.arbiter_pair(self.escrow.contract(), seat);
        self.escrow.rule(seat, &vaults, division, &pair).unwrap()
    }

    fn extend(&self, seat: Seat, number: u8, feerate: u64) -> Extend {
        let vaults = self.trade.vaults(number);
        let fee = self.escrow.extension_fee_at(seat, &vaults, feerate).unwrap();
        let pair = self.trade.arbiter_pair(self.escrow.contract(), seat);
        self.escrow.extend(seat, &vaults, fee, &pair).unwrap()
    }

    /// One of everything about a trade, as if this one was it.
    fn everything(&self, trade: TradeId) -> Vec<Body> {
        let held = self.trade.vaults(1);
        let rulings = [Seat::First, Seat::Second].map(|seat| self.ruling(seat, 1, Verdict::Buyer));
        let extensions = [Seat::First, Seat::Second].map(|seat| self.extend(seat, 1, 10));
        let rulings = rulings.map(|ruling| Body::Ruling(Ruling { trade, ..ruling }));
        let extensions = extensions.map(|extend| Body::Extend(Extend { trade, ..extend }));
        let payout = self.half(&held, 1_700, Role::Buyer);
        let refund = Some(self.half(&held, 1_700, Role::Seller));
        let parties = [
            Body::Cancel(Cancel { trade, refund }),
            Body::Funded(Funded { trade, outpoint: held.escrow.outpoint }),
            Body::PaymentSent(PaymentSent { trade }),
            Body::Release(Release { trade, payout }),
            Body::Closed(Closed { trade, spend: TxId(held.outpoint().txid) }),
            Body::Dispute(Dispute { trade }),
        ];
        parties.into_iter().chain(rulings).chain(extensions).collect()
    }
}

fn written(mut author: Author, bodies: &[Body]) -> Vec<Record> {
    bodies.iter().map(|body| author.write(body)).collect()
}

pub(super) fn cases() -> Vec<Case> {
    [roles(), logs(), buyers_names(), halves(), rulings(), crowds()].into_iter().flatten().chain([group()]).collect()
}

/// Who says what.
fn roles() -> Vec<Case> {
    let agreed = Agreed::new(SampleTrade::with_second(Side::Sell));
    let all = agreed.everything(agreed.id);
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| agreed.party(role));
    let people = [
        ("the buyer", buyer.clone()),
        ("the seller", seller.clone()),
        ("the arbiter", agreed.arbiter(Seat::First)),
        ("the second arbiter", agreed.arbiter(Seat::Second)),
        ("a stranger", Author::new(42)),
    ];
    let mut cases: Vec<Case> = people
        .into_iter()
        .map(|(who, author)| agreed.case(&format!("everything, said by {who}"), &written(author, &all)))
        .collect();
    let elsewhere = agreed.everything(TradeId([9; 32]));
    let said = [written(buyer.clone(), &elsewhere), written(seller, &elsewhere)].concat();
    cases.push(agreed.case("everything about another trade, said by both", &said));
    let called_off = Body::Cancel(Cancel { trade: agreed.id, refund: None });
    cases.push(agreed.case("the buyer calls it off", &written(buyer, &[called_off])));
    cases
}

/// What can be said once, in several logs.
fn logs() -> Vec<Case> {
    let agreed = Agreed::new(SampleTrade::with_second(Side::Sell));
    let seller = agreed.party(Role::Seller);
    let here = |bodies: &[Body]| written(seller.clone(), bodies);
    let elsewhere = |epoch: u32, bodies: &[Body]| written(seller.reopened(epoch), bodies);
    let [one, other] = [1, 2].map(|number| agreed.funded(number));
    let closed = [1, 2].map(|number| agreed.closed(number));
    vec![
        agreed.case("two outputs are named in the log of the agreement", &here(&[one.clone(), other.clone()])),
        agreed.case(
            "an output is named in the log of the agreement, another in one that claims to be older",
            &[here(std::slice::from_ref(&one)), elsewhere(OLDER, std::slice::from_ref(&other))].concat(),
        ),
        agreed.case(
            "an output is named in a log that claims to be older",
            &elsewhere(OLDER, std::slice::from_ref(&other)),
        ),
        agreed.case(
            "an output is named in a log that claims to be older, another in a later one",
            &[elsewhere(OLDER, &[other]), elsewhere(LATER, &[one])].concat(),
        ),
        agreed.case("a spend is said to be seen, then another", &here(&closed)),
        agreed.case(
            "a spend is said to be seen in the log of the agreement, another in one that claims to be older",
            &[here(&closed[..1]), elsewhere(OLDER, &closed[1..])].concat(),
        ),
    ]
}

/// What the buyer names.
fn buyers_names() -> Vec<Case> {
    let [bonded, plain] = [SampleTrade::with_bonds(Side::Sell), SampleTrade::new(Side::Sell)].map(Agreed::new);
    let named = |agreed: &Agreed, numbers: &[u8]| {
        let bodies: Vec<Body> = numbers.iter().map(|number| agreed.funded(*number)).collect();
        written(agreed.party(Role::Buyer), &bodies)
    };
    vec![
        bonded.case("a buyer with a bond names five outputs, one of them twice", &named(&bonded, &[1, 1, 2, 3, 4, 5])),
        plain.case("a buyer without a bond names an output", &named(&plain, &[1])),
    ]
}

/// Which halves are good.
fn halves() -> Vec<Case> {
    let agreed = Agreed::new(SampleTrade::with_second(Side::Sell));
    let held = agreed.trade.vaults(1);
    let with_value = |value: u64| Vaults { escrow: Coin { value: sats(value), ..held.escrow }, bond: None };
    let [less, more] = [999_999, 1_000_001].map(with_value);
    let mut cases = Vec::new();
    for (by, to, name) in [(Role::Seller, Role::Buyer, "payouts"), (Role::Buyer, Role::Seller, "refunds")] {
        let good = agreed.half(&held, 1_700, to);
        let body = |half: HalfSpend| if to == Role::Buyer { agreed.release(half) } else { agreed.refund(half) };
        let bad = [
            HalfSpend { signatures: Signatures::default(), ..good.clone() },
            HalfSpend { signatures: List::new(vec![good.signatures[0]; 2]).unwrap(), ..good.clone() },
            agreed.unchecked(&more, 1_700, to),
            HalfSpend { vaults: Vaults { bond: Some(held.escrow), ..held }, ..good.clone() },
            HalfSpend { vaults: agreed.trade.vaults(2), ..good.clone() },
            HalfSpend { fee: sats(1_701), ..good.clone() },
            agreed.unchecked(&held, 169, to),
            agreed.unchecked(&held, 17_001, to),
            // The other's half of the same.
            HalfSpend { signatures: agreed.half(&held, 1_700, by).signatures, ..good.clone() },
        ];
        let fees = [170, 17_000].map(|fee| agreed.half(&held, fee, to));
        let others = [2, 3, 4, 5].map(|number| agreed.half(&agreed.trade.vaults(number), 1_700, to));
        let said: Vec<Body> =
            bad.into_iter().chain([good, agreed.half(&less, 1_700, to)]).chain(fees).chain(others).map(body).collect();
        cases.push(agreed.case(&format!("halves of {name}, good ones and others"), &written(agreed.party(by), &said)));
    }
    cases
}

/// Which rulings and extensions count.
fn rulings() -> Vec<Case> {
    let agreed = Agreed::new(SampleTrade::with_second(Side::Sell));
    let mut cases = Vec::new();
    for (seat, name) in [(Seat::First, "an arbiter"), (Seat::Second, "a second arbiter")] {
        let ruled = |number: u8, verdict: Verdict| Body::Ruling(agreed.ruling(seat, number, verdict));
        let extended = |number: u8, feerate: u64| Body::Extend(agreed.extend(seat, number, feerate));
        let good = agreed.ruling(seat, 1, Verdict::Split(sats(400_000)));
        let fee_of_one_more = Ruling { to_seller: good.to_seller.checked_sub(sats(1)).unwrap(), ..good.clone() };
        let part = agreed.extend(seat, 1, 10);
        let said = [
            Body::Ruling(Ruling { with_buyer: Signatures::default(), ..good.clone() }),
            Body::Ruling(Ruling { with_seller: good.with_buyer.clone(), ..good }),
            Body::Ruling(fee_of_one_more),
            Body::Extend(Extend { with_seller: Signatures::default(), ..part.clone() }),
            Body::Extend(Extend { fee: part.fee.checked_add(sats(1)).unwrap(), ..part }),
            ruled(1, Verdict::Buyer),
            ruled(1, Verdict::Seller),
            ruled(2, Verdict::Seller),
            ruled(3, Verdict::Split(sats(400_000))),
            extended(1, 10),
            extended(1, 20),
            extended(2, 20),
        ];
        cases.push(
            agreed.case(&format!("{name} rules twice about the same coins"), &written(agreed.arbiter(seat), &said)),
        );
        let here = written(agreed.arbiter(seat), &[ruled(1, Verdict::Buyer)]);
        let elsewhere =
            written(agreed.arbiter(seat).reopened(OLDER), &[ruled(1, Verdict::Seller), ruled(2, Verdict::Buyer)]);
        let name = format!("{name} rules in the log of his advert, and otherwise in one that claims to be older");
        cases.push(agreed.case(&name, &[here, elsewhere].concat()));
    }
    cases
}

/// Of a group the ruling of the member counts who comes first in the order of keys, whoever said it first.
fn group() -> Case {
    let group = SampleGroup::new(2, 3);
    let trade = SampleTrade::of_group(Side::Sell, &group);
    let escrow = trade.escrow();
    let held = trade.vaults(1);
    let ruling = |verdict: Verdict| {
        let division = escrow.divide(Seat::First, &held, verdict, 10).unwrap();
        let digests = escrow.ruling_digests(Seat::First, &held, division).unwrap();
        let signatures = group.sign(escrow.contract(), [0, 2], &digests);
        Body::Ruling(escrow.ruling_of(Seat::First, &held, division, &signatures).unwrap())
    };
    let [buyers, sellers, split] = [Verdict::Buyer, Verdict::Seller, Verdict::Split(sats(400_000))].map(ruling);
    let (mut second, mut third) = (group.members[1].clone(), group.members[2].clone());
    let last = third.write(&buyers);
    // Whoever did not write the advert entered the trade in his log of epoch 0.
    let before = second.write(&sellers);
    let home = second.reopened(0).write(&split);
    let mut records = [group.records.clone(), trade.records(), vec![last, before, home]].concat();
    let mut known = HashSet::new();
    records.retain(|record| known.insert(record.id())); // the advert is both a step of the group and of the agreement
    Case::new("members of a group rule differently about the same coins", &trade.offer, &[&trade.take], records)
}

/// How much is looked at.
fn crowds() -> Vec<Case> {
    let agreed = Agreed::new(SampleTrade::with_second(Side::Sell));
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| agreed.party(role));
    let about = RecordId::from(agreed.id);
    let confirm = GroupConfirm { group: about, signature: [0; 64], kept: List::new(Vec::new()).unwrap() };
    // Whatever is about the trade, and whether or not it says something.
    let crowd = |count: usize| {
        let first = [Body::Revoke(Revoke { offer: about }), Body::GroupStep(GroupStep::Confirm(confirm.clone()))];
        let more = std::iter::repeat_n(Body::PaymentSent(PaymentSent { trade: agreed.id }), count - first.len());
        first.into_iter().chain(more).collect::<Vec<Body>>()
    };
    let then =
        |author: &Author, count: usize, last: &[Body]| written(author.clone(), &[&crowd(count)[..], last].concat());
    let ends = [agreed.closed(1), agreed.funded(1)];
    let disputed = [agreed.closed(1), Body::Dispute(Dispute { trade: agreed.id })];
    let (older, later) = (seller.reopened(OLDER), seller.reopened(LATER));
    vec![
        // The acceptance is the first.
        agreed.case("the seller's 64th record about the trade, and his 65th", &then(&seller, 62, &ends)),
        agreed.case("the buyer's 64th record about the trade, and his 65th", &then(&buyer, 63, &disputed)),
        agreed.case(
            "the seller's 64 records in the log of the agreement, his 64th of all logs, and his 65th",
            &[then(&seller, 63, &[]), then(&older, 63, &ends)].concat(),
        ),
        agreed.case(
            "the seller's 64 records in an older log, and one in the log of the agreement and in a later one",
            &[then(&older, 64, &[]), written(seller.clone(), &ends[1..]), written(later, &ends[..1])].concat(),
        ),
        agreed.case(
            "a stranger's 64 records about the trade, and one of the seller's in another log",
            &[then(&Author::new(42), 64, &[]), written(seller.reopened(LATER), &ends)].concat(),
        ),
    ]
}
