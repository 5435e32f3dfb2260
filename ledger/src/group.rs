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

use crate::body::{Body, GroupAdvert, GroupConfirm, GroupDeal, GroupJoin, GroupStep, GroupTerms};
use crate::frost::{Dealing, FrostError, KeyShare, Place};
use crate::hash::tagged;
use crate::ids::{AuthorId, RecordId};
use crate::ledger::Ledger;
use crate::record::{Header, Record, verify_signature};
use crate::seal;
use crate::storage::{Storage, StorageError};

mod look;

use look::{Broken, Look};

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
