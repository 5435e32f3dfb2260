//! A half that an arbiter has kept, or another member shows him, and his ledger does not.

use super::*;
use crate::body::{Cancel, Dispute, PaymentSent, Release, Side};
use crate::record::HEADER_LEN;
use crate::testing::sats;
use crate::trade::{Action, Phase, Refusal, Seat, Verdict};

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
