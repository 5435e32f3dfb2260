//! One member's look at his group: how far it is, what he owes it, and his part once the key is there.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::{Group, Outlook, Part, Secrets, Standing, advert_message, count, seal_commitment};
use crate::body::{
    ArbiterAdvert, Body, GroupAdvert, GroupConfirm, GroupDeal, GroupJoin, GroupStep, MAX_KEPT_PART_LEN,
    SEALED_SHARE_LEN,
};
use crate::frost::{Draw, FrostError, KeyShare, Place, Share};
use crate::hash::tagged;
use crate::ids::{AuthorId, RecordId};
use crate::record::verify_signature;
use crate::seal;
use crate::wire::{CurveKey, List};

/// What each member said when he joined, and the record in which he did.
pub(super) type Joins = BTreeMap<Place, (RecordId, GroupJoin)>;
/// What each member dealt: a share of the key, and his part of the seal secret.
type Dealt = BTreeMap<Place, (Share, Share)>;
/// A member's part, sealed to himself.
type KeptPart = List<u8, MAX_KEPT_PART_LEN>;

pub(super) const SEAL_INFO: &[u8] = b"exchange/group-share/v1";
const KEPT_INFO: &[u8] = b"exchange/group-kept/v1";

/// Why a group comes to nothing: by whom, and what he did.
pub(super) struct Broken(pub Option<Place>, pub &'static str);

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
pub(super) struct Look<'a> {
    pub group: &'a Group,
    pub me: Place,
    pub member: &'a AuthorId,
    pub secrets: &'a Secrets,
}

impl Look<'_> {
    pub fn outlook(
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
    pub fn joins_of(&self, deal: &GroupDeal) -> Option<Joins> {
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
    pub fn joined(&self, joins: &Joins) -> [u8; 32] {
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
    pub fn place_of_deal(&self, from: Place, to: Place, joined: &[u8; 32]) -> Vec<u8> {
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
