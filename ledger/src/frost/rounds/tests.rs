//! Members decide together: with somebody away, at once, again after a new start, and with a liar among them. Here are the
//! members and what goes between them; what is tested of them stands in a file each.

mod bound;
mod fees;
mod lost;
mod quorum;
mod thieves;

use std::collections::VecDeque;

use super::*;
use crate::body::{Side, Vaults};
use crate::testing::{SampleGroup, SampleTrade};
use crate::trade::Verdict;

/// Who tells whom what.
type Letter = (Place, Place, Round);

/// The members of a group of two of three over a case of theirs, and what is under way between them.
struct Case {
    group: SampleGroup,
    trade: SampleTrade,
    vaults: Vaults,
    /// `None` is away.
    members: Vec<Option<Rounds>>,
    mail: VecDeque<Letter>,
    done: Vec<(Place, Body)>,
    blamed: Vec<(Place, Place)>,
    bound: Vec<Place>,
    /// Who was shown which record.
    shown: Vec<(Place, Vec<u8>)>,
    drawn: u64,
}

impl Case {
    fn new(threshold: u8, count: u8) -> Self {
        let group = SampleGroup::new(threshold, count);
        let trade = SampleTrade::of_group(Side::Sell, &group);
        let vaults = trade.vaults(1);
        let members = (0..count).map(|_| None).collect();
        let (mail, done, blamed, bound) = (VecDeque::new(), Vec::new(), Vec::new(), Vec::new());
        let mut case = Self { group, trade, vaults, members, mail, done, blamed, bound, shown: Vec::new(), drawn: 0 };
        (1..=count).for_each(|place| case.start(place));
        case
    }

    fn rounds(&self, place: Place) -> Rounds {
        let part = &self.group.parts[usize::from(place) - 1];
        Rounds::new(self.trade.escrow(), Seat::First, part.members, &part.share).unwrap()
    }

    /// Starts a member's program anew: nothing of what was under way is known to it.
    fn start(&mut self, place: Place) {
        self.members[usize::from(place) - 1] = Some(self.rounds(place));
    }

    fn rule(&self, verdict: Verdict) -> Decision {
        Decision::Rule { vaults: self.vaults, verdict }
    }

    fn with<T>(&mut self, place: Place, act: impl FnOnce(&mut Rounds, &mut dyn FnMut() -> [u8; 32]) -> T) -> Option<T> {
        let (members, drawn) = (&mut self.members, &mut self.drawn);
        let mut entropy = || {
            *drawn += 1;
            tagged("test", &[&drawn.to_le_bytes()])
        };
        members[usize::from(place) - 1].as_mut().map(|member| act(member, &mut entropy))
    }

    fn take(&mut self, from: Place, outs: Vec<Out>) {
        for out in outs {
            match out {
                Out::Bind => self.bound.push(from),
                Out::Send(to, round) => self.mail.push_back((from, to, round)),
                Out::Done(body) => self.done.push((from, *body)),
                Out::Blame(who, _) => self.blamed.push((from, who)),
                Out::Heed(record) => self.shown.push((from, record)),
            }
        }
    }

    fn decide(&mut self, place: Place, decision: Decision, feerate: u64) {
        let outs = self.with(place, |it, entropy| it.decide(decision, feerate, 1..=100, &mut || entropy()));
        self.take(place, outs.unwrap().unwrap());
    }

    fn deliver(&mut self) {
        self.deliver_but(|_| None);
    }

    /// Delivers everything, but what a thief takes: in its place goes what he makes of it.
    fn deliver_but(&mut self, mut thief: impl FnMut(&Letter) -> Option<Vec<Letter>>) {
        for _ in 0..1000 {
            let Some(letter) = self.mail.pop_front() else { return };
            if let Some(instead) = thief(&letter) {
                self.mail.extend(instead);
                continue;
            }
            let (from, to, round) = letter;
            // What is sent survives its bytes.
            let bytes = borsh::to_vec(&round).unwrap();
            let round: Round = borsh::from_slice(&bytes).unwrap();
            let outs = self.with(to, |it, entropy| it.hear(from, round, &mut || entropy()));
            self.take(to, outs.unwrap_or_default());
        }
        panic!("they never end");
    }

    /// Returns the one ruling that came out.
    fn ruling(&self) -> &crate::body::Ruling {
        match &self.done[..] {
            [(_, Body::Ruling(ruling))] => ruling,
            other => panic!("{other:?}"),
        }
    }
}
