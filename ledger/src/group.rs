//! Arbiters who share one key. How such a group comes to be: somebody proposes it, everybody joins, deals shares, and
//! confirms; the steps are records, so that the ledger is what everybody hears alike, and the shares in them are sealed.
//! `specs/frost.md` is the normative text.
//!
//! Nothing of it is kept in secret: what a member draws follows from his identity and the group's id, and what he is dealt
//! is in the ledger, sealed to him. When he has his part he seals all of it to himself, in the record by which he confirms, and
//! goes by that from then on. So a member who lost his machine has his share of the key again, as soon as he has the ledger,
//! and no other takes it from him by what he signs later.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use crate::body::{
    ArbiterAdvert, Body, GroupAdvert, GroupConfirm, GroupDeal, GroupJoin, GroupStep, GroupTerms, MAX_KEPT_PART_LEN,
    SEALED_SHARE_LEN,
};
use crate::frost::{Dealing, Draw, FrostError, KeyShare, Place, Share};
use crate::hash::tagged;
use crate::ids::{AuthorId, RecordId};
use crate::ledger::Ledger;
use crate::record::{Header, Record, verify_signature};
use crate::seal;
use crate::storage::{Storage, StorageError};
use crate::wire::{CurveKey, List};

/// How many records of one member about a group are looked at: he needs three, and again as many if he lost his machine.
pub const MAX_STEPS: usize = 16;
/// Of how many deals of one member those joins are looked for by their ids that he names: he needs one, and a second if he lost
/// his machine before anybody had the first.
const MAX_DEALS: usize = 3;

/// What a member's part in a group follows from; each 32 bytes that are his alone, and of this group only. Wiped on drop.
pub struct Secrets {
    /// Draws his secret.
    pub seed: Zeroizing<[u8; 32]>,
    /// Opens what is dealt to him (X25519).
    pub seal: Zeroizing<[u8; 32]>,
    /// His part of the group's seal secret.
    pub part: Zeroizing<[u8; 32]>,
}

/// A group, and what its members did for it.
#[derive(Debug, Clone)]
pub struct Group {
    /// The proposal's id.
    pub id: RecordId,
    /// Who proposed it.
    pub proposer: AuthorId,
    /// What was proposed.
    pub terms: GroupTerms,
    /// The records on which all of this rests, the proposal first.
    pub records: Vec<Record>,
    network: [u8; 4],
    steps: BTreeMap<Place, Steps>,
    adverts: Vec<(RecordId, GroupAdvert)>,
}

#[derive(Debug, Clone, Default)]
struct Steps {
    joins: BTreeMap<RecordId, GroupJoin>,
    deals: Vec<(RecordId, GroupDeal)>,
    confirms: Vec<(RecordId, GroupConfirm)>,
}

/// What a member did who did nothing yet.
static NOTHING: Steps = Steps { joins: BTreeMap::new(), deals: Vec::new(), confirms: Vec::new() };

/// How far a group is, as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// This member has not said yet that he takes part.
    Invited,
    /// Somebody else has not.
    Joining,
    /// Somebody has not dealt his shares.
    Dealing,
    /// Somebody has not confirmed that he has his share of the key.
    Confirming,
    /// The key is there, and everybody has signed the advert.
    Ready,
    /// It comes to nothing: another must be proposed, without whoever is to blame.
    Broken {
        /// Who, if that is known.
        by: Option<AuthorId>,
        /// What he did, in words.
        what: &'static str,
    },
}

/// What a member sees of his group, and what he owes it.
#[derive(Debug)]
pub struct Outlook {
    /// How far it is.
    pub standing: Standing,
    /// For whom it waits.
    pub waiting: Vec<AuthorId>,
    /// What this member is to publish.
    pub owed: Option<Body>,
    /// This member's part of the group, once the key is there.
    pub part: Option<Part>,
    /// The records on which all of this rests. A node keeps them before it publishes what is owed, or uses the part.
    pub rests: BTreeSet<RecordId>,
}

/// A member's part of a group whose key is made.
pub struct Part {
    /// His share of the key.
    pub share: KeyShare,
    /// How many members there are.
    pub members: u8,
    /// Opens what is sealed to the group. All members have it.
    pub seal_secret: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("share", &self.share).field("members", &self.members).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(redacted)")
    }
}

impl Secrets {
    /// Returns the step by which a member joins: with the same secrets it is the same again.
    ///
    /// # Errors
    /// When there is no such group, or he is not in it.
    pub fn join(&self, group: &Group, member: &AuthorId) -> Result<GroupJoin, FrostError> {
        let place = group.place(member).ok_or(FrostError::Incomplete)?;
        let dealing = group.dealing(place, self)?;
        Ok(GroupJoin {
            group: group.id,
            seal_key: seal::public_key(&self.seal),
            seal_part: seal_commitment(&group.id, &self.part),
            draw: dealing.draw().clone(),
        })
    }
}

impl<S: Storage> Ledger<S> {
    /// Returns a group as the ledger shows it; `pinned` are records of it that this node keeps itself. A join by which somebody
    /// dealt is read by its id: so its author hides it from nobody by what he writes later, in logs that claim to be older.
    ///
    /// # Errors
    /// When the store fails.
    pub fn group(&self, id: &RecordId, pinned: &[Record]) -> Result<Option<Group>, StorageError> {
        let kept = pinned.iter().find(|record| record.id() == *id).cloned();
        let Some(proposal) = kept.map_or_else(|| self.record(id), |record| Ok(Some(record)))? else {
            return Ok(None);
        };
        let mut records = pinned.to_vec();
        if let Ok(Body::GroupStep(GroupStep::Propose(terms))) = Body::decode(&proposal) {
            for member in terms.members.iter() {
                for id in self.storage().about(id, Some(member), MAX_STEPS)? {
                    records.extend(self.record(&id)?);
                }
            }
        }
        let Some(group) = Group::gather(&proposal, &records) else { return Ok(None) };
        let lacking = group.lacking();
        if lacking.is_empty() {
            return Ok(Some(group));
        }
        for id in lacking {
            records.extend(self.record(&id)?);
        }
        Ok(Group::gather(&proposal, &records))
    }

    /// Tells whether a record is one of those of its author about a group that are looked at for their places.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_step(&self, group: &RecordId, record: &Record) -> Result<bool, StorageError> {
        Ok(self.storage().about(group, Some(&record.author()), MAX_STEPS)?.contains(&record.id()))
    }

    /// Returns the groups to which an identity is invited: the first by their places.
    ///
    /// # Errors
    /// When the store fails.
    pub fn groups_of(&self, member: &AuthorId, limit: usize) -> Result<Vec<RecordId>, StorageError> {
        self.storage().about(&invitation(member), None, limit)
    }
}

impl Group {
    /// Reads a group from its proposal and records about it, in any order; `None` if the first is no proposal.
    pub fn gather(proposal: &Record, records: &[Record]) -> Option<Self> {
        let Ok(Body::GroupStep(GroupStep::Propose(terms))) = Body::decode(proposal) else { return None };
        let header = proposal.header();
        let mut group = Self {
            id: proposal.id(),
            proposer: proposal.author(),
            terms,
            records: vec![proposal.clone()],
            network: header.network,
            steps: BTreeMap::new(),
            adverts: Vec::new(),
        };
        let mut seen = BTreeSet::from([group.id]);
        for record in records {
            let Some(place) = group.place(&record.author()) else { continue };
            if !seen.insert(record.id()) {
                continue;
            }
            let steps = group.steps.entry(place).or_default();
            match Body::decode(record) {
                Ok(Body::GroupStep(GroupStep::Join(join))) if join.group == group.id => {
                    steps.joins.insert(record.id(), join);
                }
                Ok(Body::GroupStep(GroupStep::Deal(deal))) if deal.group == group.id => {
                    steps.deals.push((record.id(), deal));
                }
                Ok(Body::GroupStep(GroupStep::Confirm(confirm))) if confirm.group == group.id => {
                    steps.confirms.push((record.id(), confirm));
                }
                Ok(Body::GroupAdvert(advert)) if advert.group == group.id => group.adverts.push((record.id(), advert)),
                Ok(_) | Err(_) => continue,
            }
            group.records.push(record.clone());
        }
        Some(group)
    }

    /// Tells whether two looks at a group showed the same.
    pub fn is_same(&self, other: &Self) -> bool {
        let ids = |group: &Self| -> BTreeSet<RecordId> { group.records.iter().map(Record::id).collect() };
        ids(self) == ids(other)
    }

    /// Returns a member's place.
    pub fn place(&self, member: &AuthorId) -> Option<Place> {
        place(&self.terms.members, member)
    }

    /// Returns who is at a place.
    pub fn member(&self, place: Place) -> Option<AuthorId> {
        self.terms.members.get(usize::from(place).checked_sub(1)?).copied()
    }

    /// Returns the joins by which somebody dealt and that are not here.
    pub fn lacking(&self) -> BTreeSet<RecordId> {
        let deals = self.steps.values().flat_map(|steps| steps.deals.iter().take(MAX_DEALS));
        deals.flat_map(|(_, deal)| self.lacking_for(deal)).map(|(_, id)| id).collect()
    }

    /// Returns the joins that a deal names and that are not here, and whose they are.
    fn lacking_for(&self, deal: &GroupDeal) -> impl Iterator<Item = (Place, RecordId)> {
        let named = self.places().zip(deal.joins.iter().copied());
        named.filter(move |(place, id)| !self.steps(*place).joins.contains_key(id))
    }

    /// Returns the adverts of the group.
    pub fn adverts(&self) -> impl Iterator<Item = RecordId> {
        self.adverts.iter().map(|(id, _)| *id)
    }

    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        1..=count(&self.terms.members)
    }

    fn dealing(&self, place: Place, secrets: &Secrets) -> Result<Dealing, FrostError> {
        Dealing::new(place, count(&self.terms.members), self.terms.threshold, &secrets.seed)
    }

    fn steps(&self, place: Place) -> &Steps {
        self.steps.get(&place).unwrap_or(&NOTHING)
    }

    /// Looks at the group as one of its members. What he owes is made anew each time, with fresh entropy for what is sealed;
    /// `sign` signs with his identity.
    ///
    /// # Errors
    /// [`FrostError::Incomplete`] when he is not of the group.
    pub fn outlook(
        &self,
        member: &AuthorId,
        secrets: &Secrets,
        sign: impl Fn(&[u8]) -> [u8; 64],
        entropy: &mut impl FnMut() -> [u8; 32],
    ) -> Result<Outlook, FrostError> {
        let me = self.place(member).ok_or(FrostError::Incomplete)?;
        let look = Look { group: self, me, member, secrets };
        let mut outlook = look.outlook(sign, entropy).unwrap_or_else(|Broken(by, what)| {
            let standing = Standing::Broken { by: by.and_then(|place| self.member(place)), what };
            Outlook { standing, waiting: Vec::new(), owed: None, part: None, rests: BTreeSet::new() }
        });
        // Nobody would look at more of him: so nothing that others do makes him write without end.
        let written = self.records.iter().filter(|record| record.author() == *member && record.id() != self.id).count();
        outlook.owed = outlook.owed.filter(|_| written < MAX_STEPS);
        Ok(outlook)
    }
}

/// Why a group comes to nothing: by whom, and what he did.
struct Broken(Option<Place>, &'static str);

impl From<FrostError> for Broken {
    fn from(error: FrostError) -> Self {
        match error {
            FrostError::Culprit { place, what } => Self(Some(place), what),
            FrostError::Threshold { .. } | FrostError::Incomplete | FrostError::Nonces | FrostError::Signature => {
                Self(None, "no key came out")
            }
        }
    }
}

/// One member's look at his group.
struct Look<'a> {
    group: &'a Group,
    me: Place,
    member: &'a AuthorId,
    secrets: &'a Secrets,
}

impl Look<'_> {
    fn outlook(
        &self,
        sign: impl Fn(&[u8]) -> [u8; 64],
        entropy: &mut impl FnMut() -> [u8; 32],
    ) -> Result<Outlook, Broken> {
        let own = self.group.steps(self.me);
        if let Some((confirm, part)) = own.confirms.iter().find_map(|(id, it)| Some((*id, self.open_kept(it)?))) {
            return self.with_key(part, BTreeSet::from([self.group.id, confirm]), sign, entropy);
        }
        let has_joined = !own.joins.is_empty() && {
            let join = self.secrets.join(self.group, self.member)?;
            own.joins.values().any(|it| *it == join)
        };
        if !has_joined {
            return Ok(self.waits(Standing::Invited, Vec::new(), BTreeSet::new()));
        }
        let mut rests: BTreeSet<RecordId> = own.joins.keys().copied().chain([self.group.id]).collect();
        // Whoever has dealt goes by the joins that he named, and never deals by others: what is not here may be on its way.
        let own_deal = own.deals.iter().find(|(_, deal)| self.joins_of(deal).is_some()).or(own.deals.first());
        rests.extend(own_deal.map(|(id, _)| *id));
        let joins = match own_deal {
            Some((_, deal)) => match self.joins_of(deal) {
                Some(joins) => joins,
                None => {
                    let missing = self.group.lacking_for(deal).map(|(place, _)| place).collect();
                    return Ok(self.waits(Standing::Dealing, missing, rests));
                }
            },
            None => {
                let missing: Vec<Place> =
                    self.group.places().filter(|place| self.group.steps(*place).joins.is_empty()).collect();
                if !missing.is_empty() {
                    return Ok(self.waits(Standing::Joining, missing, rests));
                }
                self.only_joins()?
            }
        };
        rests.extend(joins.values().map(|(id, _)| *id));
        let draws: BTreeMap<Place, Draw> = joins.iter().map(|(at, (_, join))| (*at, join.draw.clone())).collect();
        let dealing = self.group.dealing(self.me, self.secrets)?;
        let joined = self.joined(&joins);
        let owed_deal = match own_deal {
            Some(_) => None,
            None => Some(self.deal(&joins, &joined, &dealing.shares(&draws)?, entropy)?),
        };
        let (dealt, missing) = self.dealt(&joins, &joined, &mut rests)?;
        if owed_deal.is_some() || !missing.is_empty() {
            let owed = owed_deal.map(|deal| Body::GroupStep(GroupStep::Deal(deal)));
            return Ok(Outlook { owed, ..self.waits(Standing::Dealing, missing, rests) });
        }
        let shares = dealt.iter().map(|(place, (share, _))| (*place, share.clone())).collect();
        let share = dealing.finish(&draws, &shares)?;
        let seal_secret = self.seal_secret(&dealt);
        let part = Part { share, members: count(&self.group.terms.members), seal_secret };
        self.with_key(part, rests, sign, entropy)
    }

    /// Looks at what is left to do once the key is there: everybody confirms, and the group is advertised.
    fn with_key(
        &self,
        part: Part,
        mut rests: BTreeSet<RecordId>,
        sign: impl Fn(&[u8]) -> [u8; 64],
        entropy: &mut impl FnMut() -> [u8; 32],
    ) -> Result<Outlook, Broken> {
        let advert = self.advert(&part.share, &part.seal_secret);
        let message = advert_message(&self.group.network, &advert);
        let (mut signatures, mut missing, mut liar) = (Vec::new(), Vec::new(), None);
        for (place, member) in self.group.places().zip(self.group.terms.members.iter()) {
            let confirms = &self.group.steps(place).confirms;
            let good = confirms.iter().find(|(_, it)| verify_signature(member, &message, &it.signature).is_ok());
            match good {
                Some((id, confirm)) => {
                    rests.insert(*id);
                    signatures.push(confirm.signature);
                }
                None if confirms.is_empty() || place == self.me => missing.push(place),
                None => liar = liar.or(Some(place)),
            }
        }
        let advertised = self.advertised(&advert);
        rests.extend(advertised);
        let standing = match (advertised, liar) {
            // All have signed it, whatever one of them says, or hides, since.
            (Some(_), _) => Standing::Ready,
            (None, Some(liar)) => {
                Standing::Broken { by: self.group.member(liar), what: "a signature for another key than came out" }
            }
            (None, None) if missing.is_empty() => Standing::Ready,
            (None, None) => Standing::Confirming,
        };
        let is_broken = matches!(standing, Standing::Broken { .. });
        let is_ready = standing == Standing::Ready;
        let owed = if missing.contains(&self.me) && !is_broken {
            let kept = self.keep(&part, entropy)?;
            let confirm = GroupConfirm { group: self.group.id, signature: sign(&message), kept };
            Some(Body::GroupStep(GroupStep::Confirm(confirm)))
        } else if is_ready && advertised.is_none() && self.group.proposer == *self.member {
            // Whoever proposed the group speaks for it to those who look for an arbiter.
            let signatures = List::new(signatures).unwrap_or_default();
            Some(Body::GroupAdvert(GroupAdvert { signatures, ..advert }))
        } else {
            None
        };
        let waiting = if is_broken || is_ready { Vec::new() } else { missing };
        Ok(Outlook { owed, part: Some(part), ..self.waits(standing, waiting, rests) })
    }

    fn waits(&self, standing: Standing, places: Vec<Place>, rests: BTreeSet<RecordId>) -> Outlook {
        let waiting = places.into_iter().filter_map(|place| self.group.member(place)).collect();
        Outlook { standing, waiting, owed: None, part: None, rests }
    }

    /// Seals this member's part to himself.
    fn keep(&self, part: &Part, entropy: &mut impl FnMut() -> [u8; 32]) -> Result<KeptPart, Broken> {
        let share = part.share.kept()?;
        let inside = Zeroizing::new([part.seal_secret.as_slice(), share.as_slice()].concat());
        let key = seal::public_key(&self.secrets.seal);
        let sealed = seal::seal(&key, KEPT_INFO, &self.place_of_kept(), &inside, entropy());
        sealed.ok().and_then(List::new).ok_or(Broken(None, "a part that cannot be kept"))
    }

    /// Opens the part that this member sealed to himself when he confirmed. It rests on nothing that others wrote but the proposal.
    fn open_kept(&self, confirm: &GroupConfirm) -> Option<Part> {
        let inside = seal::open(&self.secrets.seal, KEPT_INFO, &self.place_of_kept(), &confirm.kept).ok()?;
        let (seal_secret, share) = inside.split_first_chunk::<32>()?;
        let members = count(&self.group.terms.members);
        let share = KeyShare::from_kept(share, self.me, members, self.group.terms.threshold).ok()?;
        let part = Part { share, members, seal_secret: Zeroizing::new(*seal_secret) };
        let message = advert_message(&self.group.network, &self.advert(&part.share, &part.seal_secret));
        verify_signature(self.member, &message, &confirm.signature).is_ok().then_some(part)
    }

    /// Returns what binds a part that its member keeps to his group and place.
    fn place_of_kept(&self) -> Vec<u8> {
        [self.group.id.as_bytes().as_slice(), &[self.me]].concat()
    }

    /// Returns the joins that a deal rests on: one of each member.
    fn joins_of(&self, deal: &GroupDeal) -> Option<Joins> {
        if deal.joins.len() != self.group.terms.members.len() {
            return None;
        }
        let named = self.group.places().zip(deal.joins.iter());
        named.map(|(place, id)| Some((place, (*id, self.group.steps(place).joins.get(id)?.clone())))).collect()
    }

    /// Returns the only join of each member. Two that say the same are one.
    fn only_joins(&self) -> Result<Joins, Broken> {
        let one = |place| {
            let mut joins = self.group.steps(place).joins.iter();
            let (id, first) = joins.next().ok_or(Broken(Some(place), "nothing"))?;
            if joins.any(|(_, other)| other != first) {
                return Err(Broken(Some(place), "two different draws"));
            }
            Ok((place, (*id, first.clone())))
        };
        self.group.places().map(one).collect()
    }

    /// Returns the hash of what all members said when they joined, which everybody must have heard alike.
    fn joined(&self, joins: &Joins) -> [u8; 32] {
        let said: Vec<&GroupJoin> = joins.values().map(|(_, join)| join).collect();
        let said = borsh::to_vec(&said).expect("writing to memory does not fail");
        tagged("exchange/group-joins/v1", &[self.group.id.as_bytes(), &said])
    }

    fn deal(
        &self,
        joins: &Joins,
        joined: &[u8; 32],
        shares: &BTreeMap<Place, Share>,
        entropy: &mut impl FnMut() -> [u8; 32],
    ) -> Result<GroupDeal, Broken> {
        let seal_for = |(place, share): (&Place, &Share)| {
            let inside = Zeroizing::new([share.as_slice(), self.secrets.part.as_slice()].concat());
            let key = joins.get(place).map(|(_, join)| join.seal_key).ok_or(Broken(Some(*place), "no key"))?;
            let sealed = seal::seal(&key, SEAL_INFO, &self.place_of_deal(self.me, *place, joined), &inside, entropy());
            sealed.ok().and_then(|it| it.try_into().ok()).ok_or(Broken(Some(*place), "an unusable key for shares"))
        };
        let sealed: Vec<[u8; SEALED_SHARE_LEN]> = shares.iter().map(seal_for).collect::<Result<_, _>>()?;
        let ids = joins.values().map(|(id, _)| *id).collect();
        let lists = List::new(ids).zip(List::new(sealed)).ok_or(Broken(None, "too many members"))?;
        Ok(GroupDeal { group: self.group.id, joins: lists.0, sealed: lists.1 })
    }

    /// Returns what each of the others dealt to this member, and who has not.
    fn dealt(
        &self,
        joins: &Joins,
        joined: &[u8; 32],
        rests: &mut BTreeSet<RecordId>,
    ) -> Result<(Dealt, Vec<Place>), Broken> {
        let (mut dealt, mut missing) = (BTreeMap::new(), Vec::new());
        for place in self.group.places() {
            if place == self.me {
                // To oneself nothing is dealt but the part of the seal secret.
                dealt.insert(place, (Zeroizing::new([0; 32]), self.secrets.part.clone()));
                continue;
            }
            let deals = &self.group.steps(place).deals;
            let is_same = |deal: &GroupDeal| self.joins_of(deal).is_some_and(|theirs| self.joined(&theirs) == *joined);
            let same: Vec<&(RecordId, GroupDeal)> = deals.iter().filter(|(_, deal)| is_same(deal)).collect();
            let commitment = joins.get(&place).map(|(_, join)| join.seal_part);
            let opened = same.iter().find_map(|(id, deal)| Some((*id, self.open(deal, place, joined)?)));
            match opened {
                Some((id, (share, part))) if commitment == Some(seal_commitment(&self.group.id, &part)) => {
                    rests.insert(id);
                    dealt.insert(place, (share, part));
                }
                Some(_) => return Err(Broken(Some(place), "another part of the seal secret than he committed to")),
                None if !same.is_empty() => {
                    return Err(Broken(Some(place), "a share that its recipient cannot open"));
                }
                None => {
                    // By other draws he dealt only if somebody drew twice: that one is named. Of a join that is not here nobody knows
                    // what it says, nor who keeps it back.
                    if deals.iter().any(|(_, deal)| self.joins_of(deal).is_some()) {
                        self.only_joins()?;
                    }
                    missing.push(place);
                }
            }
        }
        Ok((dealt, missing))
    }

    fn open(&self, deal: &GroupDeal, from: Place, joined: &[u8; 32]) -> Option<(Share, Share)> {
        // Each deals to all but himself.
        let at = usize::from(self.me) - 1 - usize::from(self.me > from);
        let sealed = deal.sealed.get(at)?;
        let place = self.place_of_deal(from, self.me, joined);
        let inside = seal::open(&self.secrets.seal, SEAL_INFO, &place, sealed).ok()?;
        let (share, part) = inside.split_first_chunk::<32>()?;
        Some((Zeroizing::new(*share), Zeroizing::new(part.try_into().ok()?)))
    }

    /// Returns what binds a sealed share to its group and place.
    fn place_of_deal(&self, from: Place, to: Place, joined: &[u8; 32]) -> Vec<u8> {
        [self.group.id.as_bytes().as_slice(), &[from, to], joined].concat()
    }

    fn seal_secret(&self, dealt: &BTreeMap<Place, (Share, Share)>) -> Zeroizing<[u8; 32]> {
        let parts = Zeroizing::new(dealt.values().flat_map(|(_, part)| part.iter().copied()).collect::<Vec<u8>>());
        Zeroizing::new(tagged("exchange/group-seal/v1", &[self.group.id.as_bytes(), &parts]))
    }

    fn advert(&self, share: &KeyShare, seal_secret: &[u8; 32]) -> GroupAdvert {
        let terms = self.group.terms.clone();
        GroupAdvert {
            group: self.group.id,
            advert: ArbiterAdvert {
                name: terms.name,
                key: CurveKey(share.group().x_only()),
                seal_key: seal::public_key(seal_secret),
                fee_ppm: terms.fee_ppm,
                destination: terms.destination,
                max_amount: terms.max_amount,
                languages: terms.languages,
                currencies: terms.currencies,
                terms: terms.terms,
            },
            threshold: terms.threshold,
            members: terms.members,
            signatures: List::default(),
        }
    }

    /// Returns the record by which the group is advertised on these conditions.
    fn advertised(&self, advert: &GroupAdvert) -> Option<RecordId> {
        let same = |it: &GroupAdvert| {
            (&it.advert, it.threshold, &it.members) == (&advert.advert, advert.threshold, &advert.members)
        };
        self.group.adverts.iter().find(|(_, it)| same(it)).map(|(id, _)| *id)
    }
}

/// What each member said when he joined, and the record in which he did.
type Joins = BTreeMap<Place, (RecordId, GroupJoin)>;
/// What each member dealt: a share of the key, and his part of the seal secret.
type Dealt = BTreeMap<Place, (Share, Share)>;
/// A member's part, sealed to himself.
type KeptPart = List<u8, MAX_KEPT_PART_LEN>;

const SEAL_INFO: &[u8] = b"exchange/group-share/v1";
const KEPT_INFO: &[u8] = b"exchange/group-kept/v1";

/// Returns the subject under which the invitations of an identity are found.
pub fn invitation(member: &AuthorId) -> RecordId {
    RecordId(tagged("exchange/group-member/v1", &[member.as_bytes()]))
}

/// Returns a member's place in a list of them.
pub fn place(members: &[AuthorId], member: &AuthorId) -> Option<Place> {
    members.iter().position(|it| it == member).and_then(|at| Place::try_from(at + 1).ok())
}

/// Tells whether every member of a group signed its advert, whose author is one of them.
pub(crate) fn is_signed(advert: &GroupAdvert, header: &Header) -> bool {
    let message = advert_message(&header.network, advert);
    let mut signed = advert.members.iter().zip(advert.signatures.iter());
    advert.signatures.len() == advert.members.len()
        && advert.members.contains(&header.log.author)
        && signed.all(|(member, signature)| verify_signature(member, &message, signature).is_ok())
}

/// Returns the hash of all that the members of a group sign of their advert: their key, who they are, how many of them rule, and
/// each condition. Whoever of them publishes it, it is the same; and no other group has it, whoever is in both.
pub fn signed_hash(network: &[u8; 4], advert: &GroupAdvert) -> [u8; 32] {
    let GroupAdvert { group, advert, threshold, members, signatures: _ } = advert;
    let said = borsh::to_vec(&(group, advert, threshold, members)).expect("writing to memory does not fail");
    tagged("exchange/group-advert/v1", &[network, &said])
}

/// Returns what every member signs of their advert.
fn advert_message(network: &[u8; 4], advert: &GroupAdvert) -> Vec<u8> {
    [b"exchange/group-advert/v1".as_slice(), &signed_hash(network, advert)].concat()
}

fn seal_commitment(group: &RecordId, part: &[u8; 32]) -> [u8; 32] {
    tagged("exchange/group-seal-part/v1", &[group.as_bytes(), part])
}

fn count(members: &[AuthorId]) -> u8 {
    u8::try_from(members.len()).expect("a list of members is short")
}

#[cfg(test)]
mod tests;
