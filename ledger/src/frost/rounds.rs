//! One member's side of a decision of the group: who asks, who joins in, who signs. It never acts: messages go in and out,
//! and entropy is handed in.
//!
//! Whoever decided asks the others for nonces, unless some ask for the same already; who decided alike gives them; who
//! asked names those of enough members; these give their shares; and he puts the signatures together. While some owe
//! him shares he names others as soon as there are enough, so that nobody is waited for. Nothing of it outlives the
//! program but the decision: whoever starts again asks again.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{
    Asked, Commitments, Decision, FrostError, KeyShare, MAX_MEMBERS, Nonces, Place, Session, SignatureShare, digests,
};
use crate::body::Body;
use crate::hash::tagged;
use crate::record::MAX_RECORD_LEN;
use crate::trade::{Escrow, EscrowError, Role, Seat, arbiter_tweak};
use crate::wire::{CurveSignature, List};

mod own;

use own::{Own, Signing};

/// How many signatures a decision needs at most: two leaves of two outputs.
pub const MAX_COINS: usize = 4;
/// To how many decisions of one case a member is bound at most: a ruling and an extension about the funding and three
/// extensions, each with a bond that left alone and without, and twice as many after reorganisations.
pub const MAX_BOUND: usize = 32;

/// What members tell each other.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Round {
    /// I decided so: who decided alike, give me nonces.
    Ask(Asked),
    /// My nonces for what you ask, one pair for each signature.
    Commit {
        /// The hash of what was asked.
        asked: [u8; 32],
        /// The nonces.
        commitments: List<Commitments, MAX_COINS>,
    },
    /// These sign.
    Sign {
        /// The hash of what was asked.
        asked: [u8; 32],
        /// Who, ascending by place.
        signers: List<Signer, MAX_MEMBERS>,
    },
    /// My shares of the signatures.
    Shares {
        /// The hash of who signs what.
        session: [u8; 32],
        /// The shares.
        shares: List<SignatureShare, MAX_COINS>,
    },
    /// This record signs the coins over, and you may not have seen it.
    Show {
        /// The record's bytes.
        record: List<u8, MAX_RECORD_LEN>,
    },
}

/// Whom a party signed the coins over to, by a half that this node has kept and its ledger does not show, and the record that
/// says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Whom it pays.
    pub to: Role,
    /// The record's bytes.
    pub record: Vec<u8>,
}

/// Somebody who signs, and his nonces.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signer {
    /// Who.
    pub place: Place,
    /// One pair for each signature.
    pub commitments: List<Commitments, MAX_COINS>,
}

/// What is to be done after a step, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// Keep that this member is bound to his decision, before anything that follows: a share of a signature leaves.
    Bind,
    /// Send this to a member.
    Send(Place, Round),
    /// The group has decided: publish this.
    Done(Box<Body>),
    /// A member sent what is not good.
    Blame(Place, &'static str),
    /// A member shows this record: if it is good, keep it, and let what it says be [heeded](Rounds::heed).
    Heed(Vec<u8>),
}

/// Why a member cannot decide so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// His share of a signature for another decision about the same coins may be with others.
    #[error("you have signed for another decision about the same coins")]
    Bound,
    /// He is bound to so many decisions that another could not be kept.
    #[error("you have signed for {MAX_BOUND} decisions in this case, which is the limit")]
    TooMany,
    /// It does not fit what the escrow holds.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
}

/// One member's side of what the group of one seat decides in one trade.
#[derive(Debug)]
pub struct Rounds {
    escrow: Escrow,
    seat: Seat,
    share: KeyShare,
    members: u8,
    decided: Option<Decided>,
    /// Every decision for which a share may have left, whatever coins it is about: coins that changed can come back.
    bound: Vec<Decision>,
    /// What each of the others asks for.
    asks: BTreeMap<Place, Asked>,
    /// The nonces that each of them was given, for what.
    given: BTreeMap<Place, ([u8; 32], Vec<Nonces>)>,
    own: Option<Own>,
    /// How often this member has asked again.
    turn: usize,
    owed: Option<Owed>,
}

#[derive(Debug)]
struct Decided {
    decision: Decision,
    feerates: RangeInclusive<u64>,
}

impl Rounds {
    /// Takes up a case as a member of its arbiter, with his share of the group's key and what he decided before, and
    /// whether he is bound to it.
    ///
    /// # Errors
    /// When the share is of another key than the contract's arbiter has.
    pub fn new(escrow: Escrow, seat: Seat, members: u8, share: &KeyShare) -> Result<Self, FrostError> {
        let arbiter = escrow.contract().arbiter(seat).ok_or(FrostError::Incomplete)?;
        if arbiter.key.0 != share.group().x_only() {
            return Err(FrostError::Incomplete);
        }
        let share = share.tweaked(&arbiter_tweak(escrow.contract(), arbiter.key))?;
        let (bound, asks, given) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { escrow, seat, share, members, decided: None, bound, asks, given, own: None, turn: 0, owed: None })
    }

    /// Returns what this member decided.
    pub fn decision(&self) -> Option<&Decision> {
        self.decided.as_ref().map(|decided| &decided.decision)
    }

    /// Tells whether this member is bound to it.
    pub fn is_bound(&self) -> bool {
        self.decision().is_some_and(|decision| self.bound.contains(decision))
    }

    /// Returns every decision to which this member is bound, about other coins too.
    pub fn bound(&self) -> &[Decision] {
        &self.bound
    }

    /// Returns what the others ask for.
    pub fn asks(&self) -> impl Iterator<Item = (Place, &Asked)> {
        self.asks.iter().map(|(place, asked)| (*place, asked))
    }

    /// Takes up what was decided, and what this member was bound to, before the program was started anew.
    pub fn restore(&mut self, decision: Decision, bound: Vec<Decision>, feerates: RangeInclusive<u64>) {
        self.decided = Some(Decided { decision, feerates });
        self.bound = bound;
    }

    /// Hears to whom a party has signed these coins over, if this node keeps a half that says so and its ledger does not show it.
    /// From now on this member signs no ruling but for him, and shows the others why: what is under way for another is over.
    pub fn heed(&mut self, owed: Option<Owed>) {
        self.owed = owed;
        if self.decision().is_some_and(|decision| self.is_against(decision)) {
            self.own = None;
            self.given.clear();
        }
    }

    /// Tells whether a decision is a ruling against what a party has signed.
    fn is_against(&self, decision: &Decision) -> bool {
        self.owed.as_ref().is_some_and(|owed| decision.is_against(owed.to))
    }

    /// Shows a member why this one rules in one way only.
    fn show(&self, to: Place) -> Option<Out> {
        let record = List::new(self.owed.as_ref()?.record.clone())?;
        Some(Out::Send(to, Round::Show { record }))
    }

    /// Decides: joins in with all who ask for the same, or else asks the others. `feerate` is what this member would pay,
    /// `feerates` what he bears.
    ///
    /// # Errors
    /// When he signed for something else about these coins, ever, unless a party has signed them over since to whom he rules for;
    /// or it does not fit what the escrow holds.
    pub fn decide(
        &mut self,
        decision: Decision,
        feerate: u64,
        feerates: RangeInclusive<u64>,
        entropy: &mut impl FnMut() -> [u8; 32],
    ) -> Result<Vec<Out>, DecideError> {
        // Else a party that shows what it signed to some alone, after others are bound, could part them until the coins are its own.
        let is_owed = self.owed.as_ref().is_some_and(|owed| decision.is_for(owed.to));
        if !is_owed && self.bound.iter().any(|before| *before != decision && before.forbids(&decision)) {
            return Err(DecideError::Bound);
        }
        if self.bound.len() >= MAX_BOUND && !self.bound.contains(&decision) {
            return Err(DecideError::TooMany);
        }
        let asked = decision.asked(&self.escrow, self.seat, feerate)?;
        let is_new = self.decision() != Some(&decision);
        self.decided = Some(Decided { decision, feerates });
        // Whoever decides the same once more begins anew, with those who were passed over too.
        self.own = None;
        if is_new {
            self.given.clear();
        }
        let alike = self.alike();
        // Those who asked for the same may be silent: whoever decides so once more asks himself.
        if alike.is_empty() || !is_new {
            return Ok(self.ask(asked));
        }
        Ok(alike.into_iter().flat_map(|(place, asked)| self.give(place, &asked, entropy)).collect())
    }

    /// Bears other feerates from now on, and answers who has asked for the same at one that was not borne before: he may not ask
    /// again. Nothing if this member has not decided.
    pub fn bear(&mut self, feerates: RangeInclusive<u64>, entropy: &mut impl FnMut() -> [u8; 32]) -> Vec<Out> {
        let before = self.alike();
        let Some(decided) = &mut self.decided else { return Vec::new() };
        decided.feerates = feerates;
        let now: Vec<(Place, Asked)> = self.alike().into_iter().filter(|asked| !before.contains(asked)).collect();
        let answer = |(place, asked): (Place, Asked)| {
            // He may have been given some for it before, and have named them while it was not borne: these he cannot name again.
            self.given.remove(&place);
            self.give(place, &asked, entropy)
        };
        now.into_iter().flat_map(answer).collect()
    }

    /// Returns who asks for what this member decided, at a feerate that he does not bear.
    pub fn unborne(&self) -> Option<Place> {
        let decided = self.decided.as_ref().filter(|it| !self.is_against(&it.decision))?;
        let is_alike = |asked: &Asked| decided.decision.feerate_of(&self.escrow, self.seat, asked).is_some();
        self.asks().find(|(_, asked)| is_alike(asked) && !self.fits(asked)).map(|(place, _)| place)
    }

    /// Asks everybody again, who may have been away: every second time at what this member would pay, and else as near as he
    /// bears to what somebody asks who decided alike and pays otherwise, if anybody does. Nothing if this member has not
    /// decided, or may not sign that any more.
    pub fn again(&mut self, feerate: u64) -> Vec<Out> {
        let may_sign = |it: &&Decided| !self.is_against(&it.decision);
        let Some(decided) = self.decided.as_ref().filter(may_sign) else { return Vec::new() };
        let at = |feerate| decided.decision.asked(&self.escrow, self.seat, feerate).ok();
        // Who decided alike may pay so much otherwise that neither bears what the other asks for.
        let nearest = |asked: &Asked| {
            let feerate = decided.decision.feerate_of(&self.escrow, self.seat, asked)?;
            at(feerate.min(*decided.feerates.end()).max(*decided.feerates.start()))
        };
        // Or he may be a thief, who leads each to what the rest does not bear. So one's own turn comes whatever others ask for,
        // and each of them is the first to be gone towards once before anybody is twice.
        let others: Vec<Place> = self.others().collect();
        let turns = others.iter().cycle().skip(self.turn / 2).take(others.len());
        let otherwise = |place: &Place| self.asks.get(place).filter(|asked| !self.fits(asked));
        let is_ones_own = self.turn % 2 == 1;
        let towards = if is_ones_own { None } else { turns.filter_map(otherwise).find_map(nearest) };
        let asked = towards.or_else(|| at(feerate));
        self.turn = self.turn.wrapping_add(1);
        asked.map(|asked| self.ask(asked)).unwrap_or_default()
    }

    fn fits(&self, asked: &Asked) -> bool {
        let fits = |it: &Decided| it.decision.fits(&self.escrow, self.seat, asked, &it.feerates);
        self.decided.as_ref().is_some_and(|it| !self.is_against(&it.decision) && fits(it))
    }

    /// Returns what others ask for that this member decided too, at feerates that he bears.
    fn alike(&self) -> Vec<(Place, Asked)> {
        self.asks().filter(|(_, asked)| self.fits(asked)).map(|(place, asked)| (place, *asked)).collect()
    }

    fn others(&self) -> impl Iterator<Item = Place> + use<> {
        let me = self.share.place();
        (1..=self.members).filter(move |place| *place != me)
    }

    /// Asks everybody, and names those once more who owe shares of this: what told them may be lost.
    fn ask(&mut self, asked: Asked) -> Vec<Out> {
        let hash = self.hash(&asked);
        let own = self.own.get_or_insert_with(|| Own::new(asked));
        own.ask(asked);
        let sign = |(place, signing): (Place, &Signing)| {
            Out::Send(place, Round::Sign { asked: hash, signers: listed(&signing.signers) })
        };
        let signs: Vec<Out> = own.owing().map(sign).collect();
        let ask = |place| self.show(place).into_iter().chain([Out::Send(place, Round::Ask(asked))]);
        self.others().flat_map(ask).chain(signs).collect()
    }

    /// Gives somebody nonces for what he asks: those that he was given for it and that have not signed, or fresh ones.
    /// What he was given for anything else is forgotten.
    fn give(&mut self, to: Place, asked: &Asked, entropy: &mut impl FnMut() -> [u8; 32]) -> Vec<Out> {
        let hash = self.hash(asked);
        if self.given.get(&to).is_none_or(|(before, _)| *before != hash) {
            let Ok(digests) = digests(&self.escrow, self.seat, asked) else { return Vec::new() };
            let nonces: Result<Vec<Nonces>, _> = digests.iter().map(|_| self.share.commit(&entropy())).collect();
            let Ok(nonces) = nonces else { return Vec::new() };
            self.given.insert(to, (hash, nonces));
        }
        let Some((_, nonces)) = self.given.get(&to) else { return Vec::new() };
        let commitments = List::new(nonces.iter().map(Nonces::commitments).collect()).unwrap_or_default();
        vec![Out::Send(to, Round::Commit { asked: hash, commitments })]
    }

    /// Hears what a member says. Whoever is not at a place of the group is not to be heard.
    pub fn hear(&mut self, from: Place, round: Round, entropy: &mut impl FnMut() -> [u8; 32]) -> Vec<Out> {
        if !self.others().any(|place| place == from) {
            return Vec::new();
        }
        match round {
            Round::Ask(asked) => {
                self.asks.insert(from, asked);
                if self.fits(&asked) { self.give(from, &asked, entropy) } else { self.show(from).into_iter().collect() }
            }
            Round::Commit { asked, commitments } => self.on_commit(from, asked, commitments.to_vec(), entropy),
            Round::Sign { asked, signers } => self.on_sign(from, asked, &signers, entropy),
            Round::Shares { session, shares } => self.on_shares(from, session, shares.to_vec(), entropy),
            Round::Show { record } => vec![Out::Heed(record.to_vec())],
        }
    }

    fn on_commit(
        &mut self,
        from: Place,
        asked: [u8; 32],
        commitments: Vec<Commitments>,
        entropy: &mut impl FnMut() -> [u8; 32],
    ) -> Vec<Out> {
        let Some(own) = &mut self.own else { return Vec::new() };
        if hash(&self.escrow, self.seat, &own.asked) != asked || own.is_refused(from) {
            return Vec::new();
        }
        let count = digests(&self.escrow, self.seat, &own.asked).map_or(0, |digests| digests.len());
        if commitments.len() != count || !commitments.iter().all(Commitments::is_usable) {
            return self.refuse(from, "nonces that are none", entropy);
        }
        if own.take_nonces(from, commitments) { self.go_on(entropy) } else { Vec::new() }
    }

    /// Names those who sign, once there are enough who owe nothing, and signs first: a share of one's own leaves with the
    /// signatures alone. Those who have done their part are asked for other nonces, if that can make enough.
    fn go_on(&mut self, entropy: &mut impl FnMut() -> [u8; 32]) -> Vec<Out> {
        let needed = usize::from(self.share.group().threshold()) - 1;
        let Some(own) = &mut self.own else { return Vec::new() };
        let mut signers = own.ready(needed);
        if signers.len() < needed {
            let spent = own.ask_spent(needed - signers.len());
            let asked = own.asked;
            return spent.into_iter().map(|place| Out::Send(place, Round::Ask(asked))).collect();
        }
        let Ok(digests) = digests(&self.escrow, self.seat, &own.asked) else { return Vec::new() };
        let nonces: Result<Vec<Nonces>, _> = digests.iter().map(|_| self.share.commit(&entropy())).collect();
        let Ok(nonces) = nonces else { return Vec::new() };
        let named: Vec<Place> = signers.keys().copied().collect();
        signers.insert(self.share.place(), nonces.iter().map(Nonces::commitments).collect());
        let asked = hash(&self.escrow, self.seat, &own.asked);
        let list = listed(&signers);
        let session = session_hash(&asked, &list);
        let Ok(mine) = sign(&self.share, nonces, &signers, &digests) else { return Vec::new() };
        let shares = BTreeMap::from([(self.share.place(), mine)]);
        own.begin(session, Signing { asked: own.asked, signers, shares });
        named.into_iter().map(|place| Out::Send(place, Round::Sign { asked, signers: list.clone() })).collect()
    }

    fn on_sign(
        &mut self,
        from: Place,
        asked: [u8; 32],
        signers: &[Signer],
        entropy: &mut impl FnMut() -> [u8; 32],
    ) -> Vec<Out> {
        let Some(wanted) = self.asks.get(&from).copied() else { return Vec::new() };
        let Ok(digests) = digests(&self.escrow, self.seat, &wanted) else { return Vec::new() };
        let is_ascending = signers.is_sorted_by(|one, next| one.place < next.place);
        let is_whole = signers
            .iter()
            .all(|signer| signer.commitments.len() == digests.len() && (1..=self.members).contains(&signer.place));
        let names_sender = signers.iter().any(|signer| signer.place == from);
        if self.hash(&wanted) != asked || !self.fits(&wanted) || !is_ascending || !is_whole || !names_sender {
            return Vec::new();
        }
        let all: BTreeMap<Place, Vec<Commitments>> =
            signers.iter().map(|signer| (signer.place, signer.commitments.to_vec())).collect();
        let mine = all.get(&self.share.place());
        let is_given = |(hash, nonces): &([u8; 32], Vec<Nonces>)| {
            *hash == asked && mine.is_some_and(|mine| nonces.iter().map(Nonces::commitments).eq(mine.iter().copied()))
        };
        if !self.given.get(&from).is_some_and(is_given) {
            // He was given others since, which are on their way to him: giving more would never end.
            let has_newer = self.given.get(&from).is_some_and(|(hash, _)| *hash == asked);
            // Or they are gone: used up, or forgotten by a new start. He gets others.
            return if mine.is_some() && !has_newer { self.give(from, &wanted, entropy) } else { Vec::new() };
        }
        let Some((_, nonces)) = self.given.remove(&from) else { return Vec::new() };
        match sign(&self.share, nonces, &all, &digests) {
            Ok(shares) => {
                let session = session_hash(&asked, signers);
                let shares = List::new(shares).unwrap_or_default();
                let send = Out::Send(from, Round::Shares { session, shares });
                self.bind().into_iter().chain([send]).collect()
            }
            // Whatever is in it, he who asks has put it there, in whosever name.
            Err(_) => vec![Out::Blame(from, "a session that cannot be signed")],
        }
    }

    fn on_shares(
        &mut self,
        from: Place,
        session: [u8; 32],
        shares: Vec<SignatureShare>,
        entropy: &mut impl FnMut() -> [u8; 32],
    ) -> Vec<Out> {
        let Some(asked) = self.own.as_ref().and_then(|own| own.owed(from, session)) else { return Vec::new() };
        let Ok(digests) = digests(&self.escrow, self.seat, &asked) else { return Vec::new() };
        if shares.len() != digests.len() {
            return self.refuse(from, "too few or too many shares of signatures", entropy);
        }
        let whole = self.own.as_mut().and_then(|own| own.take_shares(from, session, shares));
        // It can be what was asked before, which this member does not bear any more.
        let Some(signing) = whole.filter(|_| self.fits(&asked)) else { return self.go_on(entropy) };
        let signatures: Result<Vec<CurveSignature>, FrostError> = (digests.iter().enumerate())
            .map(|(at, digest)| {
                let shares = signing.shares.iter().map(|(place, shares)| (*place, shares[at])).collect();
                self.share.group().aggregate(&session_of(&signing.signers, at, digest), &shares)
            })
            .collect();
        match signatures.map(|signatures| self.body(&asked, &signatures)) {
            Ok(Ok(body)) => {
                self.own = None;
                self.bind().into_iter().chain([Out::Done(Box::new(body))]).collect()
            }
            Err(FrostError::Culprit { place, what }) if place != self.share.place() => {
                self.refuse(place, what, entropy)
            }
            // No other is to blame, and at once it would be the same: the others are asked again in time.
            Ok(Err(_)) | Err(_) => {
                self.own = None;
                Vec::new()
            }
        }
    }

    fn body(&self, asked: &Asked, signatures: &[CurveSignature]) -> Result<Body, EscrowError> {
        match asked {
            Asked::Ruling { vaults, to_buyer, to_seller } => {
                let division = (*to_buyer, *to_seller);
                self.escrow.ruling_of(self.seat, vaults, division, signatures).map(Body::Ruling)
            }
            Asked::Extension { vaults, fee } => {
                self.escrow.extend_of(self.seat, vaults, *fee, signatures).map(Body::Extend)
            }
        }
    }

    /// Goes on without a member who sent what is not good.
    fn refuse(&mut self, place: Place, what: &'static str, entropy: &mut impl FnMut() -> [u8; 32]) -> Vec<Out> {
        if let Some(own) = &mut self.own {
            own.refuse(place);
        }
        std::iter::once(Out::Blame(place, what)).chain(self.go_on(entropy)).collect()
    }

    /// Asked for whenever shares leave: whoever failed to keep it the first time has to keep it before the second.
    fn bind(&mut self) -> Option<Out> {
        let decision = self.decided.as_ref()?.decision;
        if !self.bound.contains(&decision) {
            self.bound.push(decision); // there is room: he could not have decided so otherwise
        }
        Some(Out::Bind)
    }

    fn hash(&self, asked: &Asked) -> [u8; 32] {
        hash(&self.escrow, self.seat, asked)
    }
}

/// Returns the hash of what is asked: of this contract and seat only.
fn hash(escrow: &Escrow, seat: Seat, asked: &Asked) -> [u8; 32] {
    let asked = borsh::to_vec(asked).expect("writing to memory does not fail");
    tagged("exchange/frost-asked/v1", &[escrow.contract().hash().as_bytes(), &[seat as u8], &asked])
}

fn session_hash(asked: &[u8; 32], signers: &[Signer]) -> [u8; 32] {
    let signers = borsh::to_vec(signers).expect("writing to memory does not fail");
    tagged("exchange/frost-session/v1", &[asked, &signers])
}

fn listed(signers: &BTreeMap<Place, Vec<Commitments>>) -> List<Signer, MAX_MEMBERS> {
    let signers = signers.iter().map(|(place, commitments)| Signer {
        place: *place,
        commitments: List::new(commitments.clone()).unwrap_or_default(),
    });
    List::new(signers.collect()).unwrap_or_default()
}

/// Returns the session of one of the signatures.
fn session_of(signers: &BTreeMap<Place, Vec<Commitments>>, at: usize, digest: &[u8; 32]) -> Session {
    let commitments = signers.iter().map(|(place, commitments)| (*place, commitments[at])).collect();
    Session { message: *digest, commitments }
}

fn sign(
    share: &KeyShare,
    nonces: Vec<Nonces>,
    signers: &BTreeMap<Place, Vec<Commitments>>,
    digests: &[[u8; 32]],
) -> Result<Vec<SignatureShare>, FrostError> {
    let each = nonces.into_iter().zip(digests).enumerate();
    each.map(|(at, (nonces, digest))| share.sign(nonces, &session_of(signers, at, digest))).collect()
}

#[cfg(test)]
mod tests;
