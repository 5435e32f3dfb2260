//! Who offers to rule, as his adverts say.

use exchange_api::{ApiError, Code, TrustArbiter};
use exchange_ledger::body::{ArbiterAdvert, Body};
use exchange_ledger::group::signed_hash;
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::ledger::Ledger;
use exchange_ledger::money::{Currency, Sats};
use exchange_ledger::record::{Kind, Place, Record};
use exchange_ledger::storage::{Storage, StorageError};

use crate::errors::ExplainResult;
use crate::private::{Private, Trusted};

/// How many arbiters are listed besides those whom the user trusts: each has paid for a log. How many adverts one of
/// them published does not matter.
const MAX_ARBITERS: usize = 1000;
/// How many authors of groups' adverts are looked at besides.
const MAX_FOUNDERS: usize = 250;
/// How many adverts are looked at besides the last one: of an arbiter whom the user trusts, of any other, and of
/// whoever published those of groups, each of which is listed.
const MAX_ADVERTS: usize = 256;
const MAX_ADVERTS_EACH: usize = 16;
const MAX_GROUPS_EACH: usize = 3;

/// An arbiter's advert with its id and author.
#[derive(Debug, Clone)]
pub struct Arbiter {
    /// The advert's id.
    pub advert: RecordId,
    /// Who; of a group the member who published its advert.
    pub author: AuthorId,
    /// When, by his clock.
    pub created: u64,
    /// The advert.
    pub body: ArbiterAdvert,
    /// What tells a group from everybody else; `None` of who rules alone.
    pub group: Option<ArbiterGroup>,
    /// Whether he takes on no trades any more.
    pub withdrawn: bool,
}

/// A group of arbiters, as its advert says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArbiterGroup {
    /// The hash of what all its members signed.
    pub hash: [u8; 32],
    /// How many of them rule together.
    pub threshold: u8,
    /// Who they are.
    pub members: Vec<AuthorId>,
}

/// Whom the user trusts and of whom no advert counts here.
#[derive(Debug, Clone)]
pub struct Gone {
    /// The advert by which he can be taken off the list.
    pub advert: RecordId,
    /// What it says, if it is here at all.
    pub said: Option<Arbiter>,
}

impl Arbiter {
    /// Tells whether the user trusts him: who rules alone is trusted whatever he advertises, a group as this group. Its author is
    /// one of its members, and may rule alone, or with others, as he likes.
    pub fn is_trusted(&self, by: &Trusted) -> bool {
        match &self.group {
            None => by.alone.contains(&self.author),
            Some(group) => by.groups.contains_key(&group.hash),
        }
    }

    /// Tells whether another advert is by the same, so that the later one speaks for them.
    fn is_by_those_of(&self, other: &Self) -> bool {
        let are_same = match (&self.group, &other.group) {
            (None, None) => true,
            (Some(one), Some(two)) => (one.threshold, &one.members) == (two.threshold, &two.members),
            (None, Some(_)) | (Some(_), None) => false,
        };
        are_same && self.author == other.author
    }

    /// Tells whether the arbiter takes on trades of this currency and amount.
    pub fn serves(&self, currency: Currency, amount: Sats) -> bool {
        let knows = self.body.currencies.is_empty() || self.body.currencies.contains(&currency);
        knows && amount <= self.body.max_amount
    }
}

/// Returns the latest advert of each arbiter. Those of `trusted` are among them, however many others there are.
///
/// # Errors
/// When the store fails.
pub fn arbiters<S: Storage>(ledger: &Ledger<S>, trusted: &Trusted) -> Result<Vec<Arbiter>, StorageError> {
    let mut found: Vec<Arbiter> = Vec::new();
    for advert in adverts(ledger.storage(), trusted)? {
        let Some((arbiter, _)) = advertised(ledger, &advert)? else { continue };
        // Any member can publish the same again.
        if arbiter.group.is_some() && found.iter().any(|known| known.group == arbiter.group) {
            continue;
        }
        // Who rules alone may be in a group besides, and in more than one; and one that the user trusts stays beside what the same
        // people agreed on later. Adverts come author by author, in the order of their logs: so whoever has several is found
        // among the last.
        let stays = |known: &Arbiter| known.group.is_some() && known.is_trusted(trusted);
        match found.iter_mut().rev().find(|known| known.is_by_those_of(&arbiter) && !stays(known)) {
            Some(known) => *known = arbiter,
            None => found.push(arbiter),
        }
    }
    found.sort_by_key(|arbiter| (arbiter.body.fee_ppm, arbiter.advert));
    Ok(found)
}

/// Returns those of `trusted` who are not among the known: who signed two histories, or whose advert is not here. Nobody is chosen by
/// that, but of a group any other member can publish the same again.
///
/// # Errors
/// When the store fails.
pub fn gone<S: Storage>(ledger: &Ledger<S>, trusted: &Trusted, known: &[Arbiter]) -> Result<Vec<Gone>, StorageError> {
    let is_shown =
        |hash: &[u8; 32]| known.iter().any(|one| one.group.as_ref().is_some_and(|group| group.hash == *hash));
    let groups = trusted.groups.iter().filter(|(hash, _)| !is_shown(hash));
    let mut adverts: Vec<RecordId> = groups.map(|(_, advert)| *advert).collect();
    for author in &trusted.alone {
        if !known.iter().any(|one| one.group.is_none() && one.author == *author) {
            adverts.extend(last_advert(ledger.storage(), author)?.map(|(advert, _)| advert));
        }
    }
    let mut gone = Vec::with_capacity(adverts.len());
    for advert in adverts {
        gone.push(Gone { advert, said: said(ledger, &advert)?.map(|(_, arbiter)| arbiter) });
    }
    Ok(gone)
}

/// Returns the adverts among which the latest are: those of whom the user trusts, and besides author by author, so that
/// nobody hides other arbiters behind what he publishes.
fn adverts(storage: &impl Storage, trusted: &Trusted) -> Result<Vec<RecordId>, StorageError> {
    let mut adverts: Vec<RecordId> = trusted.groups.values().copied().collect();
    for author in &trusted.alone {
        adverts.extend(adverts_by(storage, Kind::ArbiterAdvert, author, MAX_ADVERTS)?);
    }
    let kinds =
        [(Kind::ArbiterAdvert, MAX_ARBITERS, MAX_ADVERTS_EACH), (Kind::GroupAdvert, MAX_FOUNDERS, MAX_GROUPS_EACH)];
    for (kind, authors, each) in kinds {
        let mut after = None;
        for _ in 0..authors {
            let Some(author) = storage.of_kind(kind, after.as_ref(), 1)?.first().map(|place| place.log.author) else {
                break;
            };
            after = Some(Place::last_by(author));
            if kind != Kind::ArbiterAdvert || !trusted.alone.contains(&author) {
                adverts.extend(adverts_by(storage, kind, &author, each)?);
            }
        }
    }
    Ok(adverts)
}

/// Returns the first adverts of an author, and the last one.
fn adverts_by(
    storage: &impl Storage,
    kind: Kind,
    author: &AuthorId,
    limit: usize,
) -> Result<Vec<RecordId>, StorageError> {
    let mut places = storage.of_kind_by(kind, author, None, limit)?;
    if places.len() >= limit {
        places.extend(storage.last_of_kind_by(kind, author)?);
    }
    Ok(places.iter().map(|place| place.id).collect())
}

/// Returns the last advert of somebody who rules alone, which speaks for him, and its id.
///
/// # Errors
/// When the store fails.
pub fn last_advert(
    storage: &impl Storage,
    author: &AuthorId,
) -> Result<Option<(RecordId, ArbiterAdvert)>, StorageError> {
    let Some(place) = storage.last_of_kind_by(Kind::ArbiterAdvert, author)? else { return Ok(None) };
    let Some(record) = storage.record(&place.id)? else { return Ok(None) };
    Ok(match Body::decode(&record) {
        Ok(Body::ArbiterAdvert(advert)) => Some((place.id, advert)),
        Ok(_) | Err(_) => None,
    })
}

/// Returns the arbiter of an advert, unless he signed two histories.
///
/// # Errors
/// When the store fails.
pub fn arbiter<S: Storage>(ledger: &Ledger<S>, id: &RecordId) -> Result<Option<Arbiter>, StorageError> {
    let Some((arbiter, place)) = advertised(ledger, id)? else { return Ok(None) };
    let (storage, author) = (ledger.storage(), arbiter.author);
    // What a group's author says of himself says nothing of the group. To see that an advert is the last takes one look.
    let later = storage.of_kind_by(Kind::ArbiterAdvert, &author, Some(&place), 1)?;
    if arbiter.group.is_some() || later.is_empty() {
        return Ok(Some(arbiter));
    }
    let withdrawn = last_advert(storage, &author)?.is_some_and(|(_, last)| last.is_withdrawal());
    Ok(Some(Arbiter { withdrawn, ..arbiter }))
}

/// Returns the arbiter of an advert that counts, as it says itself, and where it stands.
fn advertised<S: Storage>(ledger: &Ledger<S>, id: &RecordId) -> Result<Option<(Arbiter, Place)>, StorageError> {
    let Some((record, arbiter)) = said(ledger, id)? else { return Ok(None) };
    let counts = ledger.has_rights(&record)? && !ledger.is_author_frozen(&record.author())?;
    Ok(counts.then(|| (arbiter, record.place())))
}

/// Returns an advert and what it says, whatever its author did since.
fn said<S: Storage>(ledger: &Ledger<S>, id: &RecordId) -> Result<Option<(Record, Arbiter)>, StorageError> {
    let Some(record) = ledger.record(id)? else { return Ok(None) };
    let (body, group) = match Body::decode(&record) {
        Ok(Body::ArbiterAdvert(body)) => (body, None),
        Ok(Body::GroupAdvert(group)) => {
            let hash = signed_hash(&record.header().network, &group);
            let known = ArbiterGroup { hash, threshold: group.threshold, members: group.members.to_vec() };
            (group.advert, Some(known))
        }
        Ok(_) | Err(_) => return Ok(None),
    };
    let (author, created, withdrawn) = (record.author(), record.header().time, body.is_withdrawal());
    Ok(Some((record, Arbiter { advert: *id, author, created, body, group, withdrawn })))
}

/// Puts whom an advert speaks for on the user's list of trusted arbiters, or takes him off it: who rules alone by his identity, a
/// group by what all its members signed.
///
/// # Errors
/// When the advert is unknown, the list is full, or the store fails.
pub fn trust<S: Storage>(
    ledger: &Ledger<S>,
    private: &Private,
    request: &TrustArbiter,
    now: u64,
) -> Result<(), ApiError> {
    let TrustArbiter { advert, trusted } = request;
    if !trusted {
        return distrust(ledger, private, advert, now);
    }
    let known = arbiter(ledger, advert).explained()?.ok_or_else(|| unknown(advert))?;
    let has_room = match &known.group {
        None => private.trust_arbiter(&known.author, true, now),
        Some(group) => private.trust_group(&group.hash, advert, true, now),
    };
    if has_room.explained()? {
        return Ok(());
    }
    let message = "you trust as many arbiters as the list holds";
    Err(ApiError::new(Code::NotAllowed, message, "take one off it: `exchange-node arbiter untrust`"))
}

/// Takes whom an advert speaks for off the list, whatever became of it since: its author may have signed two histories, and nothing
/// of it be here. Of a group the list itself says which advert was trusted.
fn distrust<S: Storage>(ledger: &Ledger<S>, private: &Private, advert: &RecordId, now: u64) -> Result<(), ApiError> {
    let kept = private.trusted_arbiters().explained()?.groups;
    let mut groups: Vec<[u8; 32]> = kept.iter().filter(|(_, kept)| *kept == advert).map(|(hash, _)| *hash).collect();
    match said(ledger, advert).explained()? {
        Some((_, Arbiter { group: Some(group), .. })) => groups.push(group.hash),
        Some((_, Arbiter { group: None, author, .. })) => {
            private.trust_arbiter(&author, false, now).explained()?;
        }
        None if groups.is_empty() => return Err(unknown(advert)),
        None => {}
    }
    for hash in &groups {
        private.trust_group(hash, advert, false, now).explained()?;
    }
    Ok(())
}

fn unknown(advert: &RecordId) -> ApiError {
    let message = format!("there is no arbiter with the advert {advert}");
    ApiError::new(Code::NotFound, message, "`exchange-node arbiter list` shows who is known")
}

/// Refuses to accept a bid under an arbiter who has withdrawn his advert. Whatever was agreed on before goes on.
///
/// # Errors
/// When he has, or the store fails.
pub fn check_takes_on<S: Storage>(ledger: &Ledger<S>, advert: &RecordId) -> Result<(), ApiError> {
    match arbiter(ledger, advert).explained()? {
        Some(gone) if gone.withdrawn => {
            let hint = "call the bid off: `exchange-node trade cancel`; its taker can bid again under another arbiter";
            Err(has_withdrawn(gone.body.name.as_str(), hint))
        }
        Some(_) | None => Ok(()),
    }
}

/// Returns why no trade is begun under an arbiter who has withdrawn his advert.
pub(super) fn has_withdrawn(name: &str, hint: &str) -> ApiError {
    let message = format!("the arbiter {name} has withdrawn: he takes on no trades any more");
    ApiError::new(Code::NotAllowed, message, hint)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use exchange_ledger::body::GroupAdvert;
    use exchange_ledger::record::{Header, LogId};
    use exchange_ledger::storage::{Batch, MemoryStorage};
    use exchange_ledger::testing::{Author, EPOCH, NETWORK, SampleGroup, admit_all, ledger, sample_advert, sats};
    use exchange_ledger::wire::List;
    use exchange_store::{OpenOptions, Store};

    use super::*;

    /// Returns one of a crowd, in whose order they stand.
    fn somebody(number: usize) -> AuthorId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes()); // usize is at most 64 bits
        AuthorId(id)
    }

    /// Returns a log that nobody has signed: a storage does not look.
    fn unsigned_log(author: AuthorId, kind: Kind, bodies: &[Vec<u8>]) -> Vec<Record> {
        let (log, now) = (LogId { author, epoch: EPOCH }, u64::from(EPOCH));
        let mut records: Vec<Record> = Vec::new();
        for body in bodies {
            let header = match records.last() {
                Some(last) => Header::after(&last.as_head(), NETWORK, kind, now),
                None => Header::first(log, NETWORK, kind, now, 0),
            };
            records.push(Record::sign(header, body.clone(), |_| [0; 64]).unwrap());
        }
        records
    }

    #[test]
    fn of_twenty_thousand_adverts_so_many_are_read_the_last_of_each_speaks_and_who_is_trusted_is_there() {
        let (alone, founders) = (MAX_ARBITERS + 10, MAX_FOUNDERS + 10);
        let solomon = Author::new(7);
        let advert = |max_amount| ArbiterAdvert { max_amount: sats(max_amount), ..sample_advert(&solomon) };
        let adverts_each: Vec<Vec<u8>> = (1..=20).map(|amount| Body::ArbiterAdvert(advert(amount)).encode()).collect();
        let groups_each = vec![SampleGroup::new(2, 3).advert.body().to_vec(); 6];
        let of_arbiters = (0..alone).flat_map(|at| unsigned_log(somebody(at), Kind::ArbiterAdvert, &adverts_each));
        let of_groups =
            (alone..alone + founders).flat_map(|at| unsigned_log(somebody(at), Kind::GroupAdvert, &groups_each));
        let records: Vec<Record> = of_arbiters.chain(of_groups).collect();
        assert!(records.len() > 20_000);
        let mut storage = MemoryStorage::default();
        storage.commit(&Batch { records, ..Batch::default() }).unwrap();
        let ledger = Ledger::new(storage, NETWORK);

        // The last of those who rule alone is left out, unless the user trusts him.
        let last = somebody(alone - 1);
        let only_last = Trusted { alone: BTreeSet::from([last]), ..Trusted::default() };
        let read = MAX_ARBITERS * (MAX_ADVERTS_EACH + 1) + MAX_FOUNDERS * (MAX_GROUPS_EACH + 1);
        for (trusted, more_read, more_listed) in [(Trusted::default(), 0, 0), (only_last, adverts_each.len(), 1)] {
            assert_eq!(adverts(ledger.storage(), &trusted).unwrap().len(), read + more_read);
            let listed = arbiters(&ledger, &trusted).unwrap();
            // Of the groups are the adverts alone, which nobody joined: none is one.
            assert_eq!(listed.len(), MAX_ARBITERS + more_listed);
            assert_eq!(listed.iter().any(|arbiter| arbiter.author == last), trusted.alone.contains(&last));
            assert!(listed.iter().all(|arbiter| arbiter.body.max_amount == sats(20)));
        }
    }

    /// Lets people sign an advert of theirs, as members of a group do.
    fn signed_by(people: &[Author], advert: GroupAdvert) -> Body {
        let mut members: Vec<&Author> = people.iter().collect();
        members.sort_by_key(|member| member.id());
        let ids = members.iter().map(|member| member.id()).collect();
        let advert = GroupAdvert { members: List::new(ids).unwrap(), ..advert };
        let message = [b"exchange/group-advert/v1".as_slice(), &signed_hash(&NETWORK, &advert)].concat();
        let signatures = members.iter().map(|member| member.sign_bytes(&message)).collect();
        Body::GroupAdvert(GroupAdvert { signatures: List::new(signatures).unwrap(), ..advert })
    }

    /// Returns a group of two of three, and its advert.
    fn group_and_advert() -> (SampleGroup, GroupAdvert) {
        let group = SampleGroup::new(2, 3);
        let Ok(Body::GroupAdvert(advert)) = Body::decode(&group.advert) else { panic!("it is a group's advert") };
        (group, advert)
    }

    #[test]
    fn who_trusts_a_group_trusts_none_of_its_members_alone_or_with_others_and_the_other_way_round() {
        let directory = tempfile::tempdir().unwrap();
        let private = Private::new(Store::open(directory.path(), OpenOptions::default()).unwrap());
        let (group, said) = group_and_advert();
        // The member who published the advert rules alone besides, and with an accomplice, as if that were the same group.
        let mut thief = group.members[0].clone();
        assert_eq!(group.advert.author(), thief.id());
        let alone = Body::ArbiterAdvert(sample_advert(&thief));
        let alone = thief.write(&alone);
        let with_another = signed_by(&[thief.clone(), Author::new(20)], said);
        let with_another = thief.write(&with_another);
        let adverts = [group.advert.id(), alone.id(), with_another.id()];
        let mut ledger = ledger();
        admit_all(&mut ledger, &[&group.records[..], &[alone, with_another]].concat());
        for (at, expected) in [[true, false, false], [false, true, false], [false, false, true]].iter().enumerate() {
            let say = |trusted| trust(&ledger, &private, &TrustArbiter { advert: adverts[at], trusted }, 0).unwrap();
            say(true);
            let trusted = private.trusted_arbiters().unwrap();
            let listed = arbiters(&ledger, &trusted).unwrap();
            assert_eq!(listed.len(), 3);
            for (advert, expected) in adverts.iter().zip(expected) {
                let known = arbiter(&ledger, advert).unwrap().unwrap();
                assert_eq!(known.is_trusted(&trusted), *expected, "{known:?}");
                let known = listed.iter().find(|known| known.advert == *advert).unwrap();
                assert_eq!(known.is_trusted(&trusted), *expected, "{known:?}");
            }
            say(false);
            assert_eq!(private.trusted_arbiters().unwrap(), Trusted::default());
        }
        let unknown = TrustArbiter { advert: RecordId([9; 32]), trusted: true };
        assert_eq!(trust(&ledger, &private, &unknown, 0).unwrap_err().code, Code::NotFound);
    }

    /// He who published a group's advert signs two histories, so that it is listed nowhere; then another publishes the same.
    #[test]
    fn who_is_trusted_can_be_taken_off_the_list_whatever_became_of_his_advert() {
        let directory = tempfile::tempdir().unwrap();
        let private = Private::new(Store::open(directory.path(), OpenOptions::default()).unwrap());
        let (group, said) = group_and_advert();
        let mut publisher = group.members[0].clone();
        let alone = Body::ArbiterAdvert(sample_advert(&publisher));
        let alone = publisher.write(&alone);
        let again = group.members[1].clone().write(&Body::GroupAdvert(said));
        let adverts = [group.advert.id(), alone.id()];
        let (mut ledger, empty) = (ledger(), ledger());
        admit_all(&mut ledger, &[&group.records[..], std::slice::from_ref(&alone)].concat());
        let say = |ledger: &Ledger<MemoryStorage>, advert, trusted| {
            trust(ledger, &private, &TrustArbiter { advert, trusted }, 0)
        };
        let gone_of = |ledger: &Ledger<MemoryStorage>| {
            let trusted = private.trusted_arbiters().unwrap();
            let known = arbiters(ledger, &trusted).unwrap();
            let gone = gone(ledger, &trusted, &known).unwrap();
            (known.len(), gone.iter().map(|gone| (gone.advert, gone.said.is_some())).collect::<Vec<_>>())
        };
        adverts.iter().for_each(|advert| say(&ledger, *advert, true).unwrap());
        assert_eq!(gone_of(&ledger), (2, Vec::new()));

        let parted = publisher.clone();
        let later = publisher.write(&Body::Heartbeat);
        let header = Header { time: later.header().time + 1, ..*later.header() };
        admit_all(&mut ledger, &[later, parted.sign(header, Vec::new())]);
        assert_eq!(gone_of(&ledger), (0, adverts.map(|advert| (advert, true)).to_vec()));
        assert_eq!(say(&ledger, adverts[0], true).unwrap_err().code, Code::NotFound, "nobody is trusted anew by it");
        // Nor need anything of it be here.
        assert_eq!(gone_of(&empty), (0, vec![(adverts[0], false)]));
        let trusted = private.trusted_arbiters().unwrap();
        say(&empty, adverts[0], false).unwrap();
        assert_eq!(private.trusted_arbiters().unwrap(), Trusted { groups: [].into(), ..trusted.clone() });
        assert_eq!(say(&empty, adverts[0], false).unwrap_err().code, Code::NotFound);

        let (hash, advert) = trusted.groups.iter().next().unwrap();
        assert!(private.trust_group(hash, advert, true, 0).unwrap());
        adverts.iter().for_each(|advert| say(&ledger, *advert, false).unwrap());
        admit_all(&mut ledger, std::slice::from_ref(&again));
        let trusted = private.trusted_arbiters().unwrap();
        assert_eq!(trusted, Trusted::default());
        assert!(!arbiter(&ledger, &again.id()).unwrap().unwrap().is_trusted(&trusted));
    }

    #[test]
    fn a_group_that_is_trusted_is_listed_beside_what_the_same_people_agreed_on_later() {
        let (group, said) = group_and_advert();
        let mut author = group.members[0].clone();
        let cheaper = ArbiterAdvert { fee_ppm: 1, ..said.advert.clone() };
        let cheaper = author.write(&signed_by(&group.members, GroupAdvert { advert: cheaper, ..said.clone() }));
        // Another member says the same as the first advert.
        let again = group.members[1].clone().write(&Body::GroupAdvert(said.clone()));
        let mut ledger = ledger();
        admit_all(&mut ledger, &[&group.records[..], std::slice::from_ref(&cheaper)].concat());
        let ids_listed = |ledger: &Ledger<MemoryStorage>, trusted: &Trusted| {
            let listed = arbiters(ledger, trusted).unwrap();
            listed.iter().map(|arbiter| arbiter.advert).collect::<Vec<_>>()
        };
        let groups = [(signed_hash(&NETWORK, &said), group.advert.id())].into();
        let trusted = Trusted { groups, ..Trusted::default() };
        assert_eq!(ids_listed(&ledger, &Trusted::default()), [cheaper.id()]);
        assert_eq!(ids_listed(&ledger, &trusted), [cheaper.id(), group.advert.id()]);
        admit_all(&mut ledger, std::slice::from_ref(&again));
        assert_eq!(ids_listed(&ledger, &trusted), [cheaper.id(), group.advert.id()], "once");
        assert!(arbiter(&ledger, &again.id()).unwrap().unwrap().is_trusted(&trusted), "whoever published it");
    }

    #[test]
    fn nobody_hides_other_arbiters_behind_what_he_publishes() {
        let mut arbiters = [7, 8, 9].map(Author::new);
        arbiters.sort_by_key(Author::id);
        let [flood, other, friend] = &mut arbiters;
        let advertise = |arbiter: &mut Author| arbiter.write(&Body::ArbiterAdvert(sample_advert(arbiter)));
        let many: Vec<Record> = (0..MAX_ADVERTS + 50).map(|_| advertise(flood)).collect();
        let (one, known) = (advertise(other), advertise(friend));
        let mut ledger = ledger();
        admit_all(&mut ledger, &[&many[..], &[one.clone(), known.clone()]].concat());
        let looked_at = |trusted: &Author| {
            let trusted = Trusted { alone: BTreeSet::from([trusted.id()]), ..Trusted::default() };
            adverts(ledger.storage(), &trusted).unwrap()
        };
        let expected = |first: &[&Record], flood_first: usize, rest: &[&Record]| {
            let of_flood = many.iter().take(flood_first).chain(many.last());
            let all = first.iter().copied().chain(of_flood).chain(rest.iter().copied());
            all.map(Record::id).collect::<Vec<_>>()
        };
        assert_eq!(looked_at(friend), expected(&[&known], MAX_ADVERTS_EACH, &[&one]));
        assert_eq!(looked_at(flood), expected(&[], MAX_ADVERTS, &[&one, &known]));
    }

    #[test]
    fn a_withdrawal_speaks_for_all_adverts_before_it_until_the_next_one() {
        let (mut solomon, mut ledger) = (Author::new(7), ledger());
        let mut advertise = |max_amount: u64| {
            let advert = ArbiterAdvert { max_amount: Sats::new(max_amount).unwrap(), ..sample_advert(&solomon) };
            solomon.write(&Body::ArbiterAdvert(advert))
        };
        let (first, gone, again) = (advertise(1_000_000), advertise(0), advertise(2_000_000));
        for (last, withdrawn) in [(&first, false), (&gone, true), (&again, false)] {
            admit_all(&mut ledger, std::slice::from_ref(last));
            assert_eq!(arbiter(&ledger, &first.id()).unwrap().unwrap().withdrawn, withdrawn);
            assert_eq!(check_takes_on(&ledger, &first.id()).is_err(), withdrawn);
            assert_eq!(last_advert(ledger.storage(), &first.author()).unwrap().unwrap().0, last.id());
        }
    }
}
