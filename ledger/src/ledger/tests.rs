//! The ledger as a function of the set of records, and what a cheat cannot do to it.

use proptest::prelude::*;

use super::*;
use crate::body::{Accept, Cancel, Closed, Coin, Dispute, Funded, PaymentSent, Release, Revoke, Side, Vaults};
use crate::book::{Book, Query};
use crate::record::{Header, verify_batch};
use crate::storage::MemoryStorage;
use crate::testing::{
    Author, EPOCH, SampleTrade, admit_all, ledger, sample_accept, sample_offer, sample_stake, sample_take, sats,
};
use crate::trade::Role;
use crate::wire::{Outpoint, TxId};

mod convergence;
mod counting;

use counting::Counting;

const NOW: u64 = EPOCH as u64 + 3600;

fn outpoint(number: u8) -> Outpoint {
    let txid = bitcoin::hashes::Hash::from_byte_array([number; 32]);
    Outpoint(bitcoin::OutPoint { txid, vout: u32::from(number) })
}

fn at(trade: &SampleTrade, outpoint: Outpoint) -> Vaults {
    Vaults { escrow: Coin { outpoint, ..trade.vaults(1).escrow }, bond: None }
}

fn release(trade: &mut SampleTrade, outpoint: Outpoint) -> Body {
    let key = trade.author(Role::Seller).trade_key();
    let payout = trade.escrow().half(&at(trade, outpoint), sats(1_700), Role::Buyer, &key).unwrap();
    Body::Release(Release { trade: trade.id(), payout })
}

fn refund(trade: &mut SampleTrade, outpoint: Outpoint) -> Body {
    let key = trade.author(Role::Buyer).trade_key();
    let half = trade.escrow().half(&at(trade, outpoint), sats(1_700), Role::Seller, &key).unwrap();
    Body::Cancel(Cancel { trade: trade.id(), refund: Some(half) })
}

/// Returns one fact of each kind about a trade.
fn facts_of_every_kind(trade: &mut SampleTrade) -> Vec<Body> {
    let id = trade.id();
    vec![
        Body::Cancel(Cancel { trade: id, refund: None }),
        refund(trade, outpoint(1)),
        Body::Funded(Funded { trade: id, outpoint: outpoint(1) }),
        Body::PaymentSent(PaymentSent { trade: id }),
        release(trade, outpoint(1)),
        Body::Closed(Closed { trade: id, spend: TxId(outpoint(2).0.txid) }),
    ]
}

/// With a bond the buyer names the coins as well, and his word counts wherever he says it.
#[test]
fn an_acceptance_opens_no_log_nor_does_a_name_but_where_a_buyers_bond_lies() {
    let [plain, bonded] = [SampleTrade::new(Side::Sell), SampleTrade::with_bonds(Side::Sell)];
    for (trade, is_known, opens) in [(&plain, true, false), (&bonded, true, true), (&bonded, false, false)] {
        let mut ledger = ledger();
        if is_known {
            admit_all(&mut ledger, &trade.records());
        }
        let name = Body::Funded(Funded { trade: trade.id(), outpoint: outpoint(1) });
        assert_eq!(ledger.opens_no_log(&name), !opens, "{is_known}");
        let accept = Body::Accept(sample_accept(&trade.take, trade.offer.id(), &trade.maker));
        assert!(ledger.opens_no_log(&accept));
        let cancel = Body::Cancel(Cancel { trade: trade.id(), refund: None });
        assert!(!ledger.opens_no_log(&cancel) && !ledger.opens_no_log(&Body::Heartbeat));
    }
}

/// Returns the records of a whole trade, of a bid that lost and of an offer that was withdrawn.
fn busy_market(side: Side) -> (SampleTrade, Vec<Record>) {
    let mut trade = SampleTrade::new(side);
    let mut records = trade.records();
    let mut loser = Author::new(9);
    records.push(loser.write(&Body::Take(sample_take(trade.offer.id(), &loser))));
    let too_late = sample_accept(&records[4], trade.offer.id(), &trade.maker);
    records.push(trade.maker.write(&Body::Accept(too_late)));
    let other = trade.maker.write(&Body::Offer(sample_offer(side, &[trade.advert.id()])));
    records.push(trade.maker.write(&Body::Revoke(Revoke { offer: other.id() })));
    records.push(other);
    let facts = facts_of_every_kind(&mut trade);
    for (at, body) in facts.iter().enumerate() {
        let role = if [0, 1, 3].contains(&at) { Role::Buyer } else { Role::Seller };
        records.push(trade.author(role).write(body));
    }
    records.push(loser.write(&Body::Heartbeat));
    (trade, records)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn order_repetition_and_batching_change_nothing(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 60),
        batch in 1..20usize,
        sell: bool,
    ) {
        let (trade, records) = busy_market(if sell { Side::Sell } else { Side::Buy });
        let mut reference = ledger();
        admit_all(&mut reference, &records);

        let mut shuffled = ledger();
        let repeated: Vec<Record> = picks.iter().map(|pick| pick.get(&records).clone()).collect();
        for batch in repeated.chunks(batch) {
            shuffled.admit(batch, NOW).unwrap();
        }
        admit_all(&mut shuffled, &records);

        prop_assert_eq!(shuffled.storage(), reference.storage());
        let (one, two) = (shuffled.trade(trade.id()).unwrap(), reference.trade(trade.id()).unwrap());
        prop_assert_eq!(shuffled.contract(&one.bid).unwrap(), one.contract.clone());
        prop_assert_eq!(one.contract, two.contract);
        prop_assert_eq!(one.facts, two.facts);
        let books = [Book::load(&shuffled, 0).unwrap(), Book::load(&reference, 0).unwrap()];
        prop_assert_eq!(offers_in(&books[0]), offers_in(&books[1]));
    }

    #[test]
    fn the_first_acceptance_in_the_makers_own_log_wins_whatever_arrives_first(picks in prop::collection::vec(any::<prop::sample::Index>(), 12)) {
        let mut trade = SampleTrade::new(Side::Sell);
        let mut rival = Author::new(9);
        let bid = rival.write(&Body::Take(sample_take(trade.offer.id(), &rival)));
        let second = trade.maker.write(&Body::Accept(sample_accept(&bid, trade.offer.id(), &trade.maker)));
        let records = [trade.records(), vec![bid.clone(), second]].concat();
        let mut ledger = ledger();
        for pick in picks {
            ledger.admit(std::slice::from_ref(pick.get(&records)), NOW).unwrap();
        }
        admit_all(&mut ledger, &records);
        let lost = ledger.trade(bid.id().into()).unwrap();
        prop_assert!(lost.facts.void && lost.contract.is_none());
        let won = ledger.trade(trade.id()).unwrap();
        prop_assert!(!won.facts.void);
        prop_assert_eq!(won.contract.unwrap().accept, trade.accept.id());
        prop_assert_eq!(ledger.offer_standing(&trade.offer).unwrap(), OfferStanding::Accepted(trade.id()));
    }
}

#[test]
fn a_contract_is_found_whatever_was_said_about_its_trade() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (id, contract) = (trade.id(), trade.contract());
    let mut ledger = ledger();
    admit_all(&mut ledger, &trade.records());
    // How many records are read for the contract, and for all that is known of the trade.
    let reads = |ledger: &Ledger<MemoryStorage>| {
        let counted = Ledger::new(Counting::of(ledger.storage()), ledger.network());
        let (bid, _) = counted.bid(id).unwrap();
        assert_eq!(counted.contract(&bid).unwrap().as_ref(), Some(&contract));
        let for_contract = counted.storage().reads();
        counted.trade(id).unwrap();
        (for_contract, counted.storage().reads() - for_contract)
    };
    let before = reads(&ledger);
    let mut said = Vec::new();
    for number in 0..128 {
        let body = release(&mut trade, outpoint(number));
        said.push(trade.author(Role::Seller).write(&body));
    }
    admit_all(&mut ledger, &said);
    let after = reads(&ledger);
    assert_eq!(after.0, before.0);
    // The acceptance is one of those that count, and each is read once.
    assert_eq!(after.1, before.1 + MAX_FACTS - 1, "who wants to know all reads more: {before:?}, {after:?}");
}

#[test]
fn a_contract_is_that_of_the_whole_trade_after_a_fork_too() {
    let trade = SampleTrade::new(Side::Sell);
    let mut rival = Author::new(9);
    let bid = rival.write(&Body::Take(sample_take(trade.offer.id(), &rival)));
    let other = Body::Accept(sample_accept(&bid, trade.offer.id(), &trade.maker));
    let other = trade.maker.sign(*trade.accept.header(), other.encode());
    let mut ledger = ledger();
    let same = |ledger: &Ledger<MemoryStorage>, trade: TradeId| {
        let shown = ledger.trade(trade).unwrap();
        assert_eq!(ledger.contract(&shown.bid).unwrap(), shown.contract);
        shown.contract.is_some()
    };
    admit_all(&mut ledger, &[trade.records()[..3].to_vec(), vec![bid.clone()]].concat());
    assert!(!same(&ledger, trade.id()) && !same(&ledger, bid.id().into()), "nobody has accepted anything");
    admit_all(&mut ledger, std::slice::from_ref(&trade.accept));
    assert!(same(&ledger, trade.id()) && !same(&ledger, bid.id().into()));
    admit_all(&mut ledger, &[other]);
    assert!(same(&ledger, trade.id()) && same(&ledger, bid.id().into()), "both are frozen");
}

fn offers_in(book: &Book) -> Vec<RecordId> {
    book.query(&Query { away: true, ..Query::default() }, NOW, usize::MAX).iter().map(|entry| entry.id).collect()
}

#[test]
fn what_a_stranger_or_the_wrong_role_signs_changes_nothing() {
    for side in [Side::Buy, Side::Sell] {
        let mut trade = SampleTrade::new(side);
        let mut base = ledger();
        admit_all(&mut base, &trade.records());
        let before = base.trade(trade.id()).unwrap();
        let mut facts = facts_of_every_kind(&mut trade);
        facts.push(Body::Revoke(Revoke { offer: trade.offer.id() }));
        facts.push(Body::Accept(sample_accept(&trade.take, trade.offer.id(), &trade.maker)));
        // Who may sign which of the facts above: Cancel, refund, Funded, PaymentSent, Release, Closed, Revoke, Accept.
        let may = |role: Option<Role>, at: usize| match role {
            Some(Role::Buyer) => [0, 1, 3, 5].contains(&at),
            Some(Role::Seller) => [0, 1, 2, 4, 5].contains(&at), // a refund signed by the seller cancels, and refunds nothing
            Some(Role::Arbiter) | None => false,
        };
        for role in [Some(Role::Buyer), Some(Role::Seller), Some(Role::Arbiter), None] {
            for (at, body) in facts.iter().enumerate() {
                let mut author = role.map_or_else(|| Author::new(42), |role| trade.author(role).clone());
                let mut ledger = base.clone();
                assert_eq!(ledger.admit(&[author.write(body)], NOW).unwrap(), [Admission::New]);
                let after = ledger.trade(trade.id()).unwrap();
                assert_eq!(after.contract, before.contract, "{role:?} {body:?}");
                assert_eq!(after.facts != before.facts, may(role, at), "{side:?} {role:?} {body:?}");
                if role == Some(Role::Seller) {
                    assert!(after.facts.refunds.is_empty(), "only the buyer can sign his refund away");
                }
            }
        }
    }
}

#[test]
fn a_log_that_claims_to_be_older_takes_nothing_back() {
    let mut trade = SampleTrade::new(Side::Buy);
    let mut records = trade.records();
    let signed = release(&mut trade, outpoint(1));
    records.push(trade.author(Role::Seller).write(&signed));
    let mut ledger = ledger();
    admit_all(&mut ledger, &records);
    let before = ledger.trade(trade.id()).unwrap();
    assert_eq!(before.facts.releases.len(), 1);

    // The maker dates another acceptance and a withdrawal before his first.
    let mut rival = Author::new(9);
    let bid = rival.write(&Body::Take(sample_take(trade.offer.id(), &rival)));
    let mut backdated = trade.maker.reopened(1);
    let mut cheat = vec![
        bid.clone(),
        backdated.write(&Body::Accept(sample_accept(&bid, trade.offer.id(), &trade.maker))),
        backdated.write(&Body::Accept(sample_accept(&trade.take, trade.offer.id(), &Author::new(7)))),
        backdated.write(&Body::Revoke(Revoke { offer: trade.offer.id() })),
    ];
    // The seller, here the taker, crowds his release out with as many older ones as count, and with other facts.
    let mut backdated = trade.author(Role::Seller).reopened(1);
    for number in 0..80 {
        let body = release(&mut trade, outpoint(100 + number));
        cheat.push(backdated.write(&body));
    }
    admit_all(&mut ledger, &cheat);

    let after = ledger.trade(trade.id()).unwrap();
    assert_eq!(after.contract, before.contract);
    assert!(!after.facts.void);
    assert_eq!(after.facts.releases[0], before.facts.releases[0]);
    assert_eq!(ledger.offer_standing(&trade.offer).unwrap(), OfferStanding::Accepted(trade.id()));
    let lost = ledger.trade(bid.id().into()).unwrap();
    assert!(lost.facts.void && lost.contract.is_none());
}

#[test]
fn a_maker_who_lost_his_log_can_still_withdraw_what_he_has_not_accepted() {
    let trade = SampleTrade::new(Side::Sell);
    let mut ledger = ledger();
    admit_all(&mut ledger, &trade.records()[..3]);
    let mut restored = trade.maker.reopened(EPOCH + 500);
    let accept = restored.write(&Body::Accept(sample_accept(&trade.take, trade.offer.id(), &trade.maker)));
    admit_all(&mut ledger, &[accept]);
    assert!(ledger.trade(trade.id()).unwrap().contract.is_none(), "an acceptance counts only beside its offer");
    admit_all(&mut ledger, &[restored.write(&Body::Revoke(Revoke { offer: trade.offer.id() }))]);
    assert_eq!(ledger.offer_standing(&trade.offer).unwrap(), OfferStanding::Withdrawn);
    assert!(ledger.trade(trade.id()).unwrap().facts.void);
}

#[test]
fn two_histories_freeze_rights_in_any_order() {
    let mut trade = SampleTrade::new(Side::Sell);
    let before_fork = trade.maker.clone();
    let later = trade.maker.write(&Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()])));
    let mut forked = before_fork;
    let other = forked.write(&Body::Heartbeat);
    for (kept, contradiction) in [(&later, &other), (&other, &later)] {
        let mut ledger = ledger();
        admit_all(&mut ledger, &trade.records());
        assert_eq!(ledger.admit(std::slice::from_ref(kept), NOW).unwrap(), [Admission::New]);
        let twice = [contradiction.clone(), contradiction.clone()];
        assert_eq!(
            ledger.admit(&twice, NOW).unwrap(),
            [Admission::Equivocation, Admission::Known],
            "one proof is enough"
        );
        let proof = ledger.storage().equivocation(&later.header().log).unwrap().unwrap();
        let mut both = [kept.id(), contradiction.id()];
        both.sort();
        assert_eq!([proof.first.id(), proof.second.id()], both, "the same proof at every node");
        assert!(ledger.is_frozen(kept).unwrap() && ledger.is_frozen(contradiction).unwrap());
        assert!(ledger.storage().is_forked(&trade.maker.id()).unwrap());
        assert!(!ledger.is_frozen(&trade.accept).unwrap(), "what stands before the fork was agreed once");
        assert!(!ledger.trade(trade.id()).unwrap().facts.void);
        assert!(offers_in(&Book::load(&ledger, 0).unwrap()).is_empty());
    }
}

#[test]
fn a_forked_acceptance_voids_the_agreement() {
    let trade = SampleTrade::new(Side::Sell);
    let mut ledger = ledger();
    admit_all(&mut ledger, &trade.records());
    let header = Header { time: trade.accept.header().time + 1, ..*trade.accept.header() };
    let body = Body::Accept(sample_accept(&trade.take, trade.offer.id(), &Author::new(8)));
    let other = trade.maker.sign(header, body.encode());
    admit_all(&mut ledger, std::slice::from_ref(&other));
    let after = ledger.trade(trade.id()).unwrap();
    assert!(after.facts.void);
    assert_eq!(after.contract.unwrap().accept, trade.accept.id().min(other.id()), "the same contract at every node");
}

#[test]
fn each_record_gets_the_verdict_it_deserves() {
    let mut author = Author::new(5);
    let first = author.write(&Body::Heartbeat);
    let second = author.write(&Body::Heartbeat);
    let mut ledger = ledger();
    let mut verdict = |record: &Record| ledger.admit(std::slice::from_ref(record), NOW).unwrap().remove(0);
    assert_eq!(verdict(&second), Admission::Orphan);
    assert_eq!(verdict(&first), Admission::New);
    assert_eq!(verdict(&first), Admission::Known);
    let other_branch = author.sign(Header { backlink: RecordId([1; 32]), ..*second.header() }, Vec::new());
    assert_eq!(verdict(&other_branch), Admission::Orphan);
    let reversed = author.sign(Header { time: first.header().time - 1, ..*second.header() }, Vec::new());
    assert_eq!(verdict(&reversed), Admission::TimeReversed);
    let early = author.sign(Header { time: NOW + MAX_CLOCK_SKEW_S + 1, ..*second.header() }, Vec::new());
    assert_eq!(verdict(&early), Admission::Early);
    let foreign = author.sign(Header { network: [1; 4], ..*second.header() }, Vec::new());
    assert_eq!(verdict(&foreign), Admission::Invalid(RecordError::Network));
    let chatty = author.sign(*second.header(), vec![1]);
    assert!(matches!(verdict(&chatty), Admission::Invalid(RecordError::Body { kind: Kind::Heartbeat, .. })));
    assert_eq!(verdict(&second), Admission::New);
}

#[test]
fn forks_of_long_logs_wait_for_each_other() {
    let mut ledger = ledger();
    let (mut firsts, mut twins) = (Vec::new(), Vec::new());
    for epoch in 0..3 {
        let mut log = Author::new(5).reopened(epoch);
        let header = log.next_header(&Body::Heartbeat);
        twins.push(log.sign(Header { time: header.time + 7, ..header }, Vec::new()));
        let chain: Vec<Record> = (0..3000).map(|_| log.write(&Body::Heartbeat)).collect();
        ledger.admit(&chain, NOW).unwrap();
        firsts.push(chain[0].clone());
    }
    let (admissions, batch) = ledger.plan(&firsts, NOW).unwrap();
    assert_eq!((admissions, batch.is_empty()), (vec![Admission::Known; 3], true), "what is known moves nothing");
    let (admissions, batch) = ledger.plan(&twins, NOW).unwrap();
    assert_eq!((admissions, batch.forks.len()), (vec![Admission::Equivocation], 1));
    assert_eq!(ledger.admit(&twins, NOW).unwrap(), vec![Admission::Equivocation; 3]);
    assert_eq!(ledger.storage().len().unwrap(), 3 * MAX_FROZEN as u64);
}

#[test]
fn a_kind_of_a_later_version_is_kept_and_changes_nothing() {
    let trade = SampleTrade::new(Side::Sell);
    let mut ledger = ledger();
    admit_all(&mut ledger, &trade.records());
    let before = ledger.trade(trade.id()).unwrap().facts;
    let header = Header { kind: Kind::Unknown(999), ..trade.maker.next_header(&Body::Heartbeat) };
    let record = trade.maker.sign(header, b"anything".to_vec());
    assert_eq!(ledger.admit(std::slice::from_ref(&record), NOW).unwrap(), [Admission::New]);
    assert_eq!(ledger.record(&record.id()).unwrap(), Some(record));
    assert_eq!(ledger.trade(trade.id()).unwrap().facts, before);
}

#[test]
fn batches_are_judged_as_records_are() {
    let (_, mut records) = busy_market(Side::Buy);
    let mut bytes = records[3].encode();
    bytes[134] ^= 1; // the first byte of the signature
    records[3] = Record::decode(&bytes).unwrap();
    let single: Vec<_> = records.iter().map(Record::verify).collect();
    assert_eq!(verify_batch(&records, [7; 32]), single);
    assert_eq!(single.iter().filter(|verdict| verdict.is_err()).count(), 1);
}

#[test]
fn who_signs_two_histories_loses_what_nobody_relies_on_in_all_his_logs() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut elsewhere = trade.maker.reopened(EPOCH + 7);
    let open = elsewhere.write(&Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()])));
    let mut rival = Author::new(9);
    let bid = rival.write(&Body::Take(sample_take(open.id(), &rival)));
    let mut ledger = ledger();
    admit_all(&mut ledger, &[trade.records(), vec![open.clone(), bid.clone()]].concat());
    assert_eq!(ledger.offer_standing(&open).unwrap(), OfferStanding::Open);
    assert!(!ledger.trade(bid.id().into()).unwrap().facts.void);

    let parted = trade.maker.clone();
    let later = trade.maker.write(&Body::Heartbeat);
    let header = Header { time: later.header().time + 1, ..*later.header() };
    admit_all(&mut ledger, &[later, parted.sign(header, Vec::new())]);
    assert!(ledger.is_author_frozen(&trade.maker.id()).unwrap());
    assert!(ledger.has_rights(&open).unwrap(), "the other log did not fork");
    assert_eq!(ledger.offer_standing(&open).unwrap(), OfferStanding::Withdrawn);
    assert!(ledger.trade(bid.id().into()).unwrap().facts.void, "an unanswered bid");
    let facts = ledger.trade(trade.id()).unwrap().facts;
    assert!(!facts.void, "what was agreed before the fork stands");
    assert!(facts.forked == Some(trade.maker.id()), "but the buyer is told");
    assert_eq!(ledger.offer_standing(&trade.offer).unwrap(), OfferStanding::Accepted(trade.id()));
}

#[test]
fn each_bid_that_only_frozen_records_accept_keeps_its_contract() {
    let trade = SampleTrade::new(Side::Sell);
    let mut rival = Author::new(9);
    let bid = rival.write(&Body::Take(sample_take(trade.offer.id(), &rival)));
    let other = Body::Accept(sample_accept(&bid, trade.offer.id(), &trade.maker));
    let other = trade.maker.sign(*trade.accept.header(), other.encode());
    let mut ledger = ledger();
    admit_all(&mut ledger, &[trade.records(), vec![bid.clone(), other.clone()]].concat());
    for (id, accept) in [(trade.id(), &trade.accept), (bid.id().into(), &other)] {
        let shown = ledger.trade(id).unwrap();
        assert!(shown.facts.void, "nobody may rely on it from now on");
        assert_eq!(shown.contract.unwrap().accept, accept.id(), "who has locked coins under it keeps them under it");
    }
}

/// An acceptance is about the offer and the trade that it names, whatever they are.
#[test]
fn an_acceptance_decides_the_offer_that_it_names_and_no_other() {
    let trade = SampleTrade::new(Side::Sell);
    let mut maker = Author::new(2);
    let [offer, other] =
        [Side::Sell, Side::Buy].map(|side| maker.write(&Body::Offer(sample_offer(side, &[trade.advert.id()]))));
    assert_eq!(offer, trade.offer);
    let odd = Accept { trade: offer.id().into(), ..sample_accept(&trade.take, other.id(), &maker) };
    let odd = maker.write(&Body::Accept(odd));
    let accept = maker.write(&Body::Accept(sample_accept(&trade.take, offer.id(), &maker)));
    let mut ledger = ledger();
    admit_all(&mut ledger, &[trade.advert.clone(), offer.clone(), other.clone(), trade.take.clone(), odd.clone()]);
    assert_eq!(ledger.storage().about(&offer.id(), None, 9).unwrap(), [odd.id()]);
    let shown = ledger.trade(trade.id()).unwrap();
    assert!(shown.contract.is_none() && !shown.facts.void);
    assert_eq!(ledger.offer_standing(&offer).unwrap(), OfferStanding::Open);
    assert_eq!(ledger.offer_standing(&other).unwrap(), OfferStanding::Accepted(offer.id().into()));
    assert_eq!(offers_in(&Book::load(&ledger, 0).unwrap()), [offer.id()]);

    admit_all(&mut ledger, std::slice::from_ref(&accept));
    let shown = ledger.trade(trade.id()).unwrap();
    assert_eq!(ledger.contract(&shown.bid).unwrap(), shown.contract);
    assert_eq!(shown.contract.map(|contract| contract.accept), Some(accept.id()));
    assert_eq!(ledger.offer_standing(&offer).unwrap(), OfferStanding::Accepted(trade.id()));
}

#[test]
fn of_what_a_maker_says_about_his_offer_the_first_records_count_whatever_they_are() {
    let trade = SampleTrade::new(Side::Sell);
    let dispute = Body::Dispute(Dispute { trade: trade.offer.id().into() });
    for (said, is_accepted) in [(MAX_FACTS - 1, true), (MAX_FACTS, false)] {
        let mut maker = Author::new(2);
        let mut records = vec![trade.advert.clone(), trade.take.clone()];
        records.push(maker.write(&Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()]))));
        records.extend((0..said).map(|_| maker.write(&dispute)));
        records.push(maker.write(&Body::Accept(sample_accept(&trade.take, trade.offer.id(), &maker))));
        let mut ledger = ledger();
        admit_all(&mut ledger, &records);
        assert_eq!(ledger.trade(trade.id()).unwrap().contract.is_some(), is_accepted, "{said}");
        let standing = if is_accepted { OfferStanding::Accepted(trade.id()) } else { OfferStanding::Open };
        assert_eq!(ledger.offer_standing(&trade.offer).unwrap(), standing, "{said}");
    }
}

#[test]
fn nobody_comes_before_the_first_stake_of_a_coin_by_saying_something_else_about_it() {
    let mut owner = Author::new(7);
    let stake = sample_stake(&owner, 1);
    let name = crate::stake::subject(&stake);
    let mut stranger = (10..=255).map(Author::new).find(|author| author.id() < owner.id()).unwrap();
    let first = owner.write(&Body::Stake(stake));
    let dispute = stranger.write(&Body::Dispute(Dispute { trade: name.into() }));
    let revoke = stranger.write(&Body::Revoke(Revoke { offer: name }));
    let mut ledger = ledger();
    admit_all(&mut ledger, &[first.clone(), dispute, revoke]);
    assert_eq!(ledger.storage().about(&name, None, 9).unwrap(), [first.id()]);
}

#[test]
fn nobody_hides_the_bids_of_others_behind_his_own() {
    let trade = SampleTrade::new(Side::Sell);
    let mut bidders = [7, 8, 9].map(Author::new);
    bidders.sort_by_key(Author::id);
    let [flood, honest, last] = &mut bidders;
    let bid = |bidder: &mut Author| bidder.write(&Body::Take(sample_take(trade.offer.id(), bidder)));
    let many: Vec<Record> = (0..50).map(|_| bid(flood)).collect();
    let (one, other) = (bid(honest), bid(last));
    let mut ledger = ledger();
    let market = [trade.advert.clone(), trade.offer.clone(), one.clone(), other.clone()];
    admit_all(&mut ledger, &[&market[..], &many].concat());
    let bids = |each, authors| ledger.bids(&trade.offer.id(), each, authors).unwrap();
    let ids = |records: &[&Record]| records.iter().map(|record| TradeId::from(record.id())).collect::<Vec<_>>();
    assert_eq!(bids(2, 10), ids(&[&many[0], &one, &other, &many[1]]));
    assert_eq!(bids(2, 2), ids(&[&many[0], &one, &many[1]]), "so many authors, whatever each of them wrote");
    assert_eq!([bids(2, 0), bids(0, 10)], [vec![], vec![]]);
}

#[test]
fn a_critical_record_of_an_unknown_kind_ends_rights_and_proves_nothing() {
    let mut trade = SampleTrade::new(Side::Sell);
    let before = trade.maker.write(&Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()])));
    let header = Header { kind: Kind::Unknown(999), ..trade.maker.next_header(&Body::Heartbeat) };
    let harmless = trade.maker.append(header, Vec::new());
    let between = trade.maker.write(&Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()])));
    let flags = crate::record::FLAG_CRITICAL;
    let header = Header { kind: Kind::Unknown(999), flags, ..trade.maker.next_header(&Body::Heartbeat) };
    let critical = trade.maker.append(header, Vec::new());
    let after = trade.maker.write(&Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()])));
    let header = Header { flags, ..trade.taker.next_header(&Body::Heartbeat) };
    let known_kind = trade.taker.append(header, Vec::new());
    let offer = trade.taker.write(&Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()])));
    let more = vec![before.clone(), harmless, between.clone(), critical, after.clone(), known_kind, offer.clone()];
    let mut ledger = ledger();
    admit_all(&mut ledger, &[trade.records(), more].concat());
    let standing = |offer: &Record| ledger.offer_standing(offer).unwrap();
    assert_eq!([&before, &between, &offer].map(standing), [OfferStanding::Open; 3]);
    assert_eq!(standing(&after), OfferStanding::Withdrawn);
    assert!(!ledger.is_author_frozen(&trade.maker.id()).unwrap());
    assert!(!ledger.trade(trade.id()).unwrap().facts.void);
}
