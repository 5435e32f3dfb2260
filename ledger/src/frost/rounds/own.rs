//! What comes of what a member asks the others for: who can be named, who owes shares, who is passed over. Whoever is
//! silent holds up the one session in which he is named, and others are named beside it (ROAST; Ruffing et al. 2022).

use std::collections::BTreeMap;

use crate::frost::{Asked, Commitments, Place, SignatureShare};

/// How often a member may bring other nonces in the place of those by which he is to sign, about one decision: his program
/// can be started anew. Each time those of all who sign with him are used up for nothing, and they are asked again, while
/// mailboxes keep only so many messages: whoever does it once more is passed over.
pub(super) const MAX_RENEWALS: u8 = 3;

/// What this member asks the others for.
#[derive(Debug)]
pub(super) struct Own {
    pub asked: Asked,
    others: BTreeMap<Place, Other>,
    /// Those of which somebody owes shares. Nobody owes shares of two, so there are fewer than members.
    sessions: BTreeMap<[u8; 32], Signing>,
}

/// Who signs what together, and what of it is there.
#[derive(Debug)]
pub(super) struct Signing {
    pub asked: Asked,
    pub signers: BTreeMap<Place, Vec<Commitments>>,
    pub shares: BTreeMap<Place, Vec<SignatureShare>>,
}

/// How far another member is.
#[derive(Debug, Default)]
struct Other {
    stage: Stage,
    /// The nonces by which he was named last: he cannot be named by them again.
    named: Vec<Commitments>,
    /// How often he brought others while he owed shares by those.
    renewals: u8,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    /// He is asked for nonces.
    #[default]
    Asked,
    /// He gave these, and can be named.
    Ready(Vec<Commitments>),
    /// He is named, and owes his shares of this session.
    Owes([u8; 32]),
    /// He gave his shares, and has no nonces for another session.
    Spent,
    /// He is passed over, whatever he sends.
    Refused,
}

impl Own {
    /// Asks for this. Nobody has answered.
    pub fn new(asked: Asked) -> Self {
        Self { asked, others: BTreeMap::new(), sessions: BTreeMap::new() }
    }

    /// Notes that everybody is asked once more. Nonces that were given for other numbers are forgotten; shares are still owed.
    pub fn ask(&mut self, asked: Asked) {
        let is_new = self.asked != asked;
        self.asked = asked;
        for other in self.others.values_mut() {
            let is_over = match other.stage {
                Stage::Asked | Stage::Owes(_) | Stage::Refused => false,
                Stage::Ready(_) => is_new,
                Stage::Spent => true,
            };
            if is_over {
                other.stage = Stage::Asked;
            }
        }
    }

    /// Takes a member's nonces; tells whether they are new. The same may come twice, and cross what was made of them.
    pub fn take_nonces(&mut self, from: Place, commitments: Vec<Commitments>) -> bool {
        let other = self.others.entry(from).or_default();
        if other.named == commitments {
            return false;
        }
        match other.stage {
            Stage::Refused => return false,
            Stage::Asked | Stage::Ready(_) | Stage::Spent => {}
            Stage::Owes(_) => other.renewals = other.renewals.saturating_add(1),
        }
        other.stage = if other.renewals <= MAX_RENEWALS { Stage::Ready(commitments) } else { Stage::Refused };
        self.forget();
        true
    }

    /// Returns those who can be named, and their nonces: at most so many.
    pub fn ready(&self, most: usize) -> BTreeMap<Place, Vec<Commitments>> {
        let ready = self.others.iter().filter_map(|(place, other)| match &other.stage {
            Stage::Ready(commitments) => Some((*place, commitments.clone())),
            Stage::Asked | Stage::Owes(_) | Stage::Spent | Stage::Refused => None,
        });
        ready.take(most).collect()
    }

    /// Returns those who have done their part and are to be asked for other nonces, if there are so many of them.
    pub fn ask_spent(&mut self, missing: usize) -> Vec<Place> {
        if self.others.values().filter(|other| other.stage == Stage::Spent).count() < missing {
            return Vec::new();
        }
        let ask = |(place, other): (&Place, &mut Other)| {
            other.stage = Stage::Asked;
            *place
        };
        self.others.iter_mut().filter(|(_, other)| other.stage == Stage::Spent).map(ask).collect()
    }

    /// Notes who signs together.
    pub fn begin(&mut self, session: [u8; 32], signing: Signing) {
        for (place, other) in &mut self.others {
            if let Some(commitments) = signing.signers.get(place) {
                other.named.clone_from(commitments);
                other.stage = Stage::Owes(session);
            }
        }
        self.sessions.insert(session, signing);
    }

    /// Returns what it is that a member owes his shares of in a session; nothing if he owes none of it.
    pub fn owed(&self, place: Place, session: [u8; 32]) -> Option<Asked> {
        let other = self.others.get(&place).filter(|other| other.stage == Stage::Owes(session));
        other.and_then(|_| self.sessions.get(&session)).map(|signing| signing.asked)
    }

    /// Returns who owes shares of what is asked now.
    pub fn owing(&self) -> impl Iterator<Item = (Place, &Signing)> {
        let owing = self.others.iter().filter_map(move |(place, other)| match other.stage {
            Stage::Owes(session) => Some((*place, self.sessions.get(&session)?)),
            Stage::Asked | Stage::Ready(_) | Stage::Spent | Stage::Refused => None,
        });
        owing.filter(move |(_, signing)| signing.asked == self.asked)
    }

    /// Takes the shares that a member owes; returns what is signed, once all are there.
    pub fn take_shares(&mut self, from: Place, session: [u8; 32], shares: Vec<SignatureShare>) -> Option<Signing> {
        self.others.entry(from).or_default().stage = Stage::Spent;
        let signing = self.sessions.get_mut(&session)?;
        signing.shares.insert(from, shares);
        let is_whole = signing.shares.len() == signing.signers.len();
        let whole = if is_whole { self.sessions.remove(&session) } else { None };
        self.forget();
        whole
    }

    /// Passes a member over from now on.
    pub fn refuse(&mut self, place: Place) {
        self.others.entry(place).or_default().stage = Stage::Refused;
        self.forget();
    }

    /// Tells whether he is passed over.
    pub fn is_refused(&self, place: Place) -> bool {
        self.others.get(&place).is_some_and(|other| other.stage == Stage::Refused)
    }

    /// Drops the sessions of which nobody owes shares any more.
    fn forget(&mut self) {
        let others = &self.others;
        self.sessions.retain(|session, _| others.values().any(|other| other.stage == Stage::Owes(*session)));
    }
}
