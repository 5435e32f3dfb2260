//! What a liar among the members, or a stranger, can do to a group that is made.

use super::look::SEAL_INFO;
use super::*;
use crate::body::{Side, Take};
use crate::testing::group::{look, people, terms};
use crate::testing::{Author, EPOCH, SampleGroup, SampleTrade, admit_all, group_secrets, ledger, sample_take};
use crate::trade::{Bid, ContractError, Seat};
use crate::wire::List;

/// Three people of whom everybody has joined, and their numbers.
fn joined() -> (Vec<Author>, Vec<u8>, Vec<Record>) {
    let (mut members, numbers) = people(3);
    let proposal = Body::GroupStep(GroupStep::Propose(terms(2, &members)));
    let proposal = members[0].write(&proposal);
    let mut records = vec![proposal];
    let group = Group::gather(&records[0], &records).unwrap();
    for (member, number) in members.iter_mut().zip(&numbers) {
        let join = group_secrets(*number).join(&group, &member.id()).unwrap();
        records.push(member.write(&Body::GroupStep(GroupStep::Join(join))));
    }
    (members, numbers, records)
}

fn gather(records: &[Record]) -> Group {
    Group::gather(&records[0], &records[1..]).unwrap()
}

/// Lets a member write what he owes, until he owes nothing.
fn write_owed(member: &mut Author, number: u8, records: &mut Vec<Record>) -> Standing {
    loop {
        let outlook = look(&gather(records), member, number);
        let Some(owed) = outlook.owed else { return outlook.standing };
        records.push(member.write(&owed));
    }
}

/// The deal that a member owes.
fn owed_deal(member: &Author, number: u8, records: &[Record]) -> GroupDeal {
    match look(&gather(records), member, number).owed {
        Some(Body::GroupStep(GroupStep::Deal(deal))) => deal,
        other => panic!("he owes {other:?}"),
    }
}

#[test]
fn a_group_comes_to_be_and_all_its_members_have_one_key() {
    let group = SampleGroup::new(2, 3);
    let Ok(Body::GroupAdvert(advert)) = Body::decode(&group.advert) else { panic!("it is a group's advert") };
    for part in &group.parts {
        assert_eq!(part.share.group().x_only(), advert.advert.key.0);
        assert_eq!(seal::public_key(&part.seal_secret), advert.advert.seal_key);
    }
    let mut public = ledger();
    admit_all(&mut public, &group.records);
    for record in &group.records {
        assert!(public.record(&record.id()).unwrap().is_some(), "a step is not let in");
    }
    let shown = public.group(&group.id(), &[]).unwrap().unwrap();
    assert_eq!(shown.adverts().collect::<Vec<_>>(), [group.advert.id()]);
    for member in &group.members {
        assert_eq!(public.groups_of(&member.id(), 9).unwrap(), [group.id()]);
    }
    assert!(public.groups_of(&Author::new(9).id(), 9).unwrap().is_empty());
}

#[test]
fn any_order_of_the_steps_gives_the_same() {
    let group = SampleGroup::new(2, 3);
    let reversed: Vec<Record> = group.records.iter().skip(1).rev().cloned().collect();
    let again = Group::gather(&group.records[0], &reversed).unwrap();
    let (_, numbers) = people(3);
    for ((member, number), part) in group.members.iter().zip(numbers).zip(&group.parts) {
        let outlook = look(&again, member, number);
        assert_eq!(outlook.standing, Standing::Ready);
        assert_eq!(outlook.part.unwrap().share.group().x_only(), part.share.group().x_only());
    }
}

fn is_same(part: Option<Part>, before: &Part) -> bool {
    let said = |part: &Part| (part.share.place(), part.members, part.share.group().clone(), *part.seal_secret);
    part.is_some_and(|part| said(&part) == said(before))
}

/// What they dealt him they can make vanish, by a second history.
#[test]
fn a_member_has_his_part_by_his_own_records_whatever_the_others_sign_later() {
    for (threshold, count) in [(2, 3), (3, 5)] {
        let group = SampleGroup::new(threshold, count);
        let (_, numbers) = people(count);
        for ((member, number), part) in group.members.iter().zip(numbers).zip(&group.parts) {
            let is_his = |record: &&Record| record.author() == member.id();
            let own: Vec<Record> = group.records[1..].iter().filter(is_his).cloned().collect();
            let outlook = look(&Group::gather(&group.records[0], &own).unwrap(), member, number);
            assert!(is_same(outlook.part, part), "{threshold} of {count}");
            assert_eq!(outlook.owed, None);
            assert!(outlook.rests.contains(&group.id()));
        }
    }
}

#[test]
fn whoever_kept_nothing_that_opens_has_his_part_by_what_was_dealt_to_him() {
    let group = SampleGroup::new(2, 3);
    let (_, numbers) = people(3);
    let is_confirm = |record: &Record| matches!(Body::decode(record), Ok(Body::GroupStep(GroupStep::Confirm(_))));
    let confirm_of = |author: &Author| {
        let found = group.records.iter().find(|record| is_confirm(record) && record.author() == author.id());
        match Body::decode(found.unwrap()) {
            Ok(Body::GroupStep(GroupStep::Confirm(confirm))) => confirm,
            other => panic!("{other:?}"),
        }
    };
    let (his, another) = (confirm_of(&group.members[1]), confirm_of(&group.members[2]));
    for confirm in [
        GroupConfirm { kept: List::default(), ..his.clone() },
        GroupConfirm { kept: another.kept.clone(), ..his.clone() },
        GroupConfirm { kept: List::new(vec![7; 304]).unwrap(), ..his.clone() },
        // A part that is his, beside a signature for something else.
        GroupConfirm { signature: another.signature, ..his },
    ] {
        let mut member = group.members[1].clone();
        let is_other = |record: &&Record| !(is_confirm(record) && record.author() == member.id());
        let mut records: Vec<Record> = group.records.iter().filter(is_other).cloned().collect();
        records.push(member.write(&Body::GroupStep(GroupStep::Confirm(confirm))));
        let outlook = look(&gather(&records), &group.members[1], numbers[1]);
        assert_eq!(outlook.standing, Standing::Ready);
        assert!(is_same(outlook.part, &group.parts[1]));
    }
}

/// By their places these come first, and there are as many as are looked at.
#[test]
fn what_a_member_writes_in_an_older_log_takes_the_key_from_nobody_who_has_it() {
    let group = SampleGroup::new(2, 3);
    let (_, numbers) = people(3);
    let thief = &group.members[1];
    let join = group_secrets(numbers[1]).join(&gather(&group.records), &thief.id()).unwrap();
    let signature = thief.sign_bytes(b"another key");
    for step in [
        GroupStep::Join(join),
        GroupStep::Confirm(GroupConfirm { group: group.id(), signature, kept: List::default() }),
    ] {
        let mut older = thief.reopened(EPOCH - 1);
        let step = Body::GroupStep(step);
        let steps: Vec<Record> = (0..MAX_STEPS).map(|_| older.write(&step)).collect();
        let mut public = ledger();
        admit_all(&mut public, &[group.records.as_slice(), &steps].concat());
        let shown = public.group(&group.id(), &[]).unwrap().unwrap();
        for at in [0, 2] {
            let outlook = look(&shown, &group.members[at], numbers[at]);
            assert_eq!((outlook.standing, outlook.owed), (Standing::Ready, None));
            assert!(is_same(outlook.part, &group.parts[at]));
        }
    }
}

#[test]
fn nobody_is_taken_in_unasked_and_nothing_goes_on_without_somebody() {
    let (mut members, numbers, records) = joined();
    let outlook = look(&gather(&records[..3]), &members[2], numbers[2]);
    assert_eq!((outlook.standing, outlook.owed), (Standing::Invited, None));
    let outlook = look(&gather(&records[..3]), &members[0], numbers[0]);
    assert_eq!((outlook.standing, outlook.owed), (Standing::Joining, None));
    assert_eq!(outlook.waiting, [members[2].id()]);
    let mut records = records;
    assert_eq!(write_owed(&mut members[0], numbers[0], &mut records), Standing::Dealing);
    let outlook = look(&gather(&records), &members[0], numbers[0]);
    assert_eq!(outlook.waiting, [members[1].id(), members[2].id()]);
    assert!(outlook.part.is_none());
}

#[test]
fn whoever_draws_twice_is_named() {
    let (mut members, numbers, mut records) = joined();
    let group = gather(&records);
    let other = Secrets { seed: Zeroizing::new([0x44; 32]), ..group_secrets(numbers[1]) };
    let join = other.join(&group, &members[1].id()).unwrap();
    records.push(members[1].write(&Body::GroupStep(GroupStep::Join(join))));
    let outlook = look(&gather(&records), &members[0], numbers[0]);
    assert_eq!(outlook.standing, Standing::Broken { by: Some(members[1].id()), what: "two different draws" });
    assert!(outlook.owed.is_none());
}

#[test]
fn a_second_draw_takes_nothing_back_that_was_dealt() {
    let group = SampleGroup::new(2, 3);
    let (mut members, (_, numbers)) = (group.members.clone(), people(3));
    let shown = gather(&group.records);
    let other = Secrets { seed: Zeroizing::new([0x44; 32]), ..group_secrets(numbers[1]) };
    let join = other.join(&shown, &members[1].id()).unwrap();
    let late = members[1].write(&Body::GroupStep(GroupStep::Join(join)));
    let records = [group.records.as_slice(), &[late]].concat();
    assert_eq!(look(&gather(&records), &members[0], numbers[0]).standing, Standing::Ready);
}

/// Returns what everybody sees of a group in which the first has dealt, and of whose second member so many records as are looked
/// at stand before his join, in a log that claims to be older.
fn hidden(members: &mut [Author], numbers: &[u8], records: &mut Vec<Record>, join: &Body) -> Group {
    write_owed(&mut members[0], numbers[0], records);
    let mut older = members[1].reopened(EPOCH - 1);
    let hiding: Vec<Record> = (0..MAX_STEPS).map(|_| older.write(join)).collect();
    let mut public = ledger();
    admit_all(&mut public, &[records.as_slice(), &hiding].concat());
    let id = records[0].id();
    records.extend(hiding);
    public.group(&id, &[]).unwrap().unwrap()
}

#[test]
fn whoever_dealt_by_a_join_that_its_author_hid_since_is_not_to_blame() {
    let (mut members, numbers, mut records) = joined();
    let join = Body::decode(&records[2]).unwrap();
    let shown = hidden(&mut members, &numbers, &mut records, &join);
    let outlook = look(&shown, &members[2], numbers[2]);
    assert_eq!((outlook.standing, outlook.waiting), (Standing::Dealing, vec![members[1].id()]));
    assert!(matches!(outlook.owed, Some(Body::GroupStep(GroupStep::Deal(_)))));
    // Nor is he while that join is on its way.
    records.remove(2);
    let outlook = look(&gather(&records), &members[2], numbers[2]);
    assert_eq!((outlook.standing, outlook.waiting), (Standing::Dealing, vec![members[0].id(), members[1].id()]));
}

#[test]
fn whoever_draws_otherwise_after_somebody_dealt_is_named_wherever_he_hides_what_he_drew_first() {
    let (mut members, numbers, mut records) = joined();
    let other = Secrets { seed: Zeroizing::new([0x44; 32]), ..group_secrets(numbers[1]) };
    let join = other.join(&gather(&records), &members[1].id()).unwrap();
    let shown = hidden(&mut members, &numbers, &mut records, &Body::GroupStep(GroupStep::Join(join)));
    let what = "two different draws";
    let outlook = look(&shown, &members[2], numbers[2]);
    assert_eq!(outlook.standing, Standing::Broken { by: Some(members[1].id()), what });
    // Who has not heard that yet deals by what he has heard, and is not to blame for it.
    let first = records.remove(2);
    assert_eq!(write_owed(&mut members[2], numbers[2], &mut records), Standing::Dealing);
    records.push(first);
    let outlook = look(&gather(&records), &members[0], numbers[0]);
    assert_eq!(outlook.standing, Standing::Broken { by: Some(members[1].id()), what });
}

#[test]
fn whoever_dealt_deals_by_nothing_else_and_nobody_writes_more_than_is_looked_at() {
    let (mut members, numbers, mut records) = joined();
    write_owed(&mut members[0], numbers[0], &mut records);
    let join = records.remove(2);
    records.push(members[1].write(&Body::decode(&join).unwrap()));
    let outlook = look(&gather(&records), &members[0], numbers[0]);
    assert_eq!((outlook.standing, outlook.owed), (Standing::Dealing, None));
    assert_eq!(outlook.waiting, [members[1].id()]);

    let (mut members, numbers, mut records) = joined();
    let join = Body::decode(&records[1]).unwrap();
    records.extend((2..MAX_STEPS).map(|_| members[0].write(&join)));
    assert!(look(&gather(&records), &members[0], numbers[0]).owed.is_some());
    records.push(members[0].write(&join));
    let outlook = look(&gather(&records), &members[0], numbers[0]);
    assert_eq!((outlook.standing, outlook.owed), (Standing::Dealing, None));
}

#[test]
fn whoever_deals_a_share_that_does_not_fit_or_open_is_named() {
    for (byte, what) in [
        (None, "a share that does not fit what he told everybody"),
        (Some(40), "a share that its recipient cannot open"),
    ] {
        let (mut members, numbers, mut records) = joined();
        write_owed(&mut members[0], numbers[0], &mut records);
        write_owed(&mut members[2], numbers[2], &mut records);
        let mut deal = owed_deal(&members[1], numbers[1], &records);
        let mut sealed = deal.sealed.to_vec();
        match byte {
            Some(at) => sealed[0][at] ^= 1,
            None => {
                let group = gather(&records);
                let secrets = group_secrets(numbers[1]);
                let id = members[1].id();
                let look = Look { group: &group, me: 2, member: &id, secrets: &secrets };
                let joins = look.joins_of(&deal).unwrap();
                let joined = look.joined(&joins);
                let inside = [[7; 32], *secrets.part].concat();
                let key = joins[&1].1.seal_key;
                let place = look.place_of_deal(2, 1, &joined);
                sealed[0] = seal::seal(&key, SEAL_INFO, &place, &inside, [9; 32]).unwrap().try_into().unwrap();
            }
        }
        deal.sealed = List::new(sealed).unwrap();
        records.push(members[1].write(&Body::GroupStep(GroupStep::Deal(deal))));
        let outlook = look(&gather(&records), &members[0], numbers[0]);
        assert_eq!(outlook.standing, Standing::Broken { by: Some(members[1].id()), what });
        assert_eq!(
            look(&gather(&records), &members[2], numbers[2]).standing,
            Standing::Confirming,
            "his share is good"
        );
    }
}

#[test]
fn whoever_confirms_another_advert_is_named() {
    let (mut members, numbers, mut records) = joined();
    for _ in 0..2 {
        for (member, number) in members.iter_mut().zip(&numbers).take(2) {
            write_owed(member, *number, &mut records);
        }
        let deal = look(&gather(&records), &members[2], numbers[2]).owed;
        if let Some(deal @ Body::GroupStep(GroupStep::Deal(_))) = deal {
            records.push(members[2].write(&deal));
        }
    }
    let signature = members[2].sign_bytes(b"another key");
    let confirm = GroupConfirm { group: records[0].id(), signature, kept: List::default() };
    records.push(members[2].write(&Body::GroupStep(GroupStep::Confirm(confirm))));
    let outlook = look(&gather(&records), &members[0], numbers[0]);
    let what = "a signature for another key than came out";
    assert_eq!(outlook.standing, Standing::Broken { by: Some(members[2].id()), what });
    assert!(outlook.part.is_some(), "nobody knows whether the advert is kept back");
}

#[test]
fn strangers_change_nothing_and_an_advert_needs_every_signature() {
    let group = SampleGroup::new(2, 3);
    let Ok(Body::GroupAdvert(advert)) = Body::decode(&group.advert) else { panic!("it is a group's advert") };
    let mut stranger = Author::new(40);
    let copied = stranger.write(&Body::GroupAdvert(advert.clone()));
    assert!(Body::decode(&copied).is_err(), "he is no member");
    let mut member = group.members[1].clone();
    assert!(Body::decode(&member.write(&Body::GroupAdvert(advert.clone()))).is_ok(), "any member may speak for it");
    let mut dearer = advert.clone();
    dearer.advert.fee_ppm += 1;
    let mut fewer = advert.clone();
    fewer.signatures = List::new(advert.signatures[..2].to_vec()).unwrap();
    for changed in [dearer, fewer] {
        assert!(Body::decode(&member.write(&Body::GroupAdvert(changed))).is_err());
    }
    let join = group_secrets(40).join(&gather(&group.records), &stranger.id());
    assert_eq!(join, Err(FrostError::Incomplete));
}

#[test]
fn a_party_cannot_be_judged_by_a_group_it_belongs_to() {
    let group = SampleGroup::new(2, 3);
    let trade = SampleTrade::of_group(Side::Sell, &group);
    let bid = trade.bid();
    for member in &group.members {
        assert_eq!(bid.seat_of(&member.id()), Some(Seat::First));
    }
    let mut member = group.members[2].clone();
    let take = Take { arbiter: 0, ..sample_take(trade.offer.id(), &member) };
    let take = member.write(&Body::Take(take));
    assert_eq!(Bid::new(&trade.offer, &take, &[&trade.advert]), Err(ContractError::SelfDealing));
}

#[test]
fn proposals_that_break_a_rule_are_no_bodies() {
    let (members, _) = people(4);
    let refused = |terms: GroupTerms, mut author: Author| {
        Body::decode(&author.write(&Body::GroupStep(GroupStep::Propose(terms)))).is_err()
    };
    let good = terms(3, &members);
    assert!(!refused(good.clone(), members[2].clone()));
    assert!(refused(good.clone(), Author::new(2)), "somebody else proposes it");
    for threshold in [0, 1, 2, 5] {
        assert!(refused(terms(threshold, &members), members[0].clone()), "{threshold} of 4");
    }
    let mut disordered = good.members.to_vec();
    disordered.swap(0, 1);
    assert!(refused(GroupTerms { members: List::new(disordered).unwrap(), ..good.clone() }, members[0].clone()));
    let twice = vec![members[0].id(), members[0].id(), members[1].id()];
    assert!(refused(GroupTerms { members: List::new(twice).unwrap(), threshold: 2, ..good }, members[0].clone()));
}
