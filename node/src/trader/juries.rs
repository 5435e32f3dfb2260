//! What this node's identity and the other members of a group decide about one case, together. The ledger's code says what is
//! owed (`exchange_ledger::frost::Rounds`); here it is kept and sent.

use std::ops::RangeInclusive;

use exchange_api::{ApiError, Code, GroupAsk, GroupCase, GroupDecision, Subject};
use exchange_ledger::frost::{Asked, DecideError, Decision, Out, Owed, Place, Round, Rounds};
use exchange_ledger::group::place;
use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::mail::Message;
use exchange_ledger::record::Record;
use exchange_ledger::rules::MAX_SHARED_FEERATE;
use exchange_ledger::trade::{Arbiter, Event, Phase, Seat};

use super::drive::Trouble;
use super::{Active, Trader, not_mine};
use crate::entropy;
use crate::errors::{ExplainResult, internal};

/// After how many blocks those who have not answered are asked again.
const ASK_AGAIN_AFTER: u32 = 6;
/// How often: with what else is said in a trade it fits the mailboxes. What is borne changes on as fees do.
const MAX_ASKED: u8 = 16;

/// What this member and the others do about one case.
#[derive(Debug)]
pub(super) struct Jury {
    rounds: Rounds,
    members: Vec<AuthorId>,
    pub seat: Seat,
    /// At which height the others were asked last, and how often.
    asked_at: Option<u32>,
    asked: u8,
}

impl Trader {
    /// Tells whether a case is a group's to decide.
    pub(super) fn is_jury(&self, id: TradeId) -> bool {
        let active = self.trades.get(&id);
        let seat = active.and_then(|active| active.trade.seat());
        active.zip(seat).and_then(|(active, seat)| arbiter_at(active, seat)).is_some_and(|it| !it.members.is_empty())
    }

    /// Returns what this member and the others do about a case, taken up where it was left.
    fn jury(&mut self, id: TradeId) -> Result<&mut Jury, ApiError> {
        if !self.juries.contains_key(&id) {
            let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
            let seat = active.trade.seat().ok_or_else(|| not_mine(id))?;
            let escrow = active.trade.escrow().ok_or_else(|| internal("the trade has no contract yet"))?;
            let arbiter = escrow.contract().arbiter(seat).ok_or_else(|| not_mine(id))?;
            let part = self.part_of(arbiter).ok_or_else(|| {
                let message = "this node has no share of the key of the group that rules here";
                ApiError::new(Code::NotAllowed, message, "`exchange-node arbiter group list` shows how far it is")
            })?;
            let mut rounds = Rounds::new(escrow.clone(), seat, part.members, &part.share).map_err(internal)?;
            if let Some((decision, bound)) = self.tools.private.decision(&id).explained()? {
                // Nothing is signed before this member knows again what he would pay himself.
                rounds.restore(decision, bound, 0..=0);
            }
            let members = arbiter.members.clone();
            self.juries.insert(id, Jury { rounds, members, seat, asked_at: None, asked: 0 });
        }
        let owed = self.trades.get(&id).and_then(owed);
        let jury = self.juries.get_mut(&id).ok_or_else(|| not_mine(id))?;
        jury.rounds.heed(owed);
        Ok(jury)
    }

    /// Decides a case as a member of its group.
    pub(super) async fn decide(
        &mut self,
        id: TradeId,
        decision: Decision,
        feerate: u64,
    ) -> Result<Option<Event>, ApiError> {
        let tip = self.tracker.tip();
        let jury = self.jury(id)?;
        let decided = jury.rounds.decide(decision, feerate, borne(&decision, feerate), &mut entropy::bytes32);
        let outs = decided.map_err(refused)?;
        (jury.asked_at, jury.asked) = (tip, 0);
        let bound = jury.rounds.bound().to_vec();
        self.tools.private.put_decision(&id, &decision, &bound).explained()?;
        self.perform_rounds(id, outs).await
    }

    /// Hears what another member says about a case.
    pub(super) async fn on_round(&mut self, id: TradeId, from: AuthorId, round: Round) {
        let Some(active) = self.trades.get(&id).filter(|_| self.is_jury(id)) else { return };
        let is_open = is_undecided(active);
        // Before the chain is known nothing says that there is nothing to decide.
        let is_over = !is_open && active.trade.view().chain().synced;
        let is_question = matches!(round, Round::Ask(_));
        match self.jury(id).map(|jury| jury.hear(&from, round, is_open)) {
            Ok(Some(outs)) => {
                let undecided = self.juries.get(&id).is_some_and(|jury| jury.rounds.decision().is_none());
                if is_question && undecided && !is_over {
                    let message = format!("trade {}: a member of your group has decided and asks you to", id.short());
                    self.tools.events.note(Subject::Trade(id), message);
                }
                match self.perform_rounds(id, outs).await {
                    Ok(event) => {
                        self.end_problem(id, |with| with == Trouble::Round);
                        if let Some(event) = event {
                            drop(self.handle(id, event).await);
                        }
                    }
                    Err(error) => self.note_problem(id, Trouble::Round, error.to_string()),
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, trade = %id, "a round of a group was not heard"),
        }
    }

    /// Asks the other members again about every case that this one has decided and that is not ruled yet.
    pub(super) async fn ask_again(&mut self) {
        let Some(tip) = self.tracker.tip() else { return };
        let ids: Vec<TradeId> = self.trades.iter().filter(|(_, it)| is_undecided(it)).map(|(id, _)| *id).collect();
        for id in ids {
            if self.is_jury(id)
                && let Err(error) = self.ask_again_about(id, tip).await
            {
                tracing::debug!(%error, trade = %id, "the members of a group are not asked again yet");
            }
        }
    }

    async fn ask_again_about(&mut self, id: TradeId, tip: u32) -> Result<(), ApiError> {
        let vaults = self.trades.get(&id).and_then(|active| active.trade.view().vaults());
        let seat = self.trades.get(&id).and_then(|active| active.trade.seat());
        let extended = self.trades.get(&id).and_then(|active| active.trade.view().extension()).map(|(seat, _)| *seat);
        let jury = self.jury(id)?;
        let decision = jury.rounds.decision().filter(|decision| Some(*decision.vaults()) == vaults);
        let is_done = matches!(decision, Some(Decision::Extend { .. }) if extended == seat);
        let is_due = jury.asked_at.is_none_or(|at| tip >= at.saturating_add(ASK_AGAIN_AFTER));
        let Some(decision) = decision.copied().filter(|_| is_due && !is_done) else { return Ok(()) };
        let feerate = self.feerate().await?;
        let jury = self.jury(id)?;
        jury.asked_at = Some(tip);
        // Fees change, also after this member has asked as often as he does: whoever decides later may need him yet.
        let mut outs = jury.rounds.bear(borne(&decision, feerate), &mut entropy::bytes32);
        if jury.asked < MAX_ASKED {
            jury.asked += 1;
            outs.extend(jury.rounds.again(feerate));
        } else if let Some(member) = jury.rounds.unborne().and_then(|at| jury.members.get(usize::from(at) - 1)) {
            let what = "asks for what you decided, at a fee that this node does not bear; decide so again to ask anew";
            let words = format!("{} of your group {what}", member.short());
            self.note_problem(id, Trouble::Round, words);
        }
        if let Some(event) = self.perform_rounds(id, outs).await? {
            self.handle(id, event).await?;
        }
        Ok(())
    }

    /// Does what a round asks for, in order; returns what the case's machine must hear. A member to whom nothing can be sent, since
    /// he has had as much as is kept, keeps no other from hearing.
    async fn perform_rounds(&mut self, id: TradeId, outs: Vec<Out>) -> Result<Option<Event>, ApiError> {
        let (mut event, mut is_heard, mut unsent) = (None, false, None);
        for out in outs {
            match out {
                Out::Bind => {
                    let rounds = self.juries.get(&id).map(|jury| &jury.rounds);
                    let decided = rounds.and_then(|rounds| Some((rounds.decision()?, rounds.bound())));
                    let (decision, bound) = decided.ok_or_else(|| internal("nothing was decided"))?;
                    self.tools.private.put_decision(&id, decision, bound).explained()?;
                }
                Out::Send(to, round) => match self.tell_member(id, to, round) {
                    Ok(()) => is_heard = true,
                    Err(error) => {
                        tracing::warn!(%error, trade = %id, "a member of a group is not told");
                        unsent.get_or_insert(error);
                    }
                },
                // Another member may have put the same together meanwhile.
                Out::Done(_) if self.is_ruled(id) => {}
                Out::Done(body) => event = self.publish(id, *body).await?,
                Out::Blame(who, what) => {
                    let member = self.juries.get(&id).and_then(|jury| jury.members.get(usize::from(who) - 1));
                    let member = member.map(AuthorId::short).unwrap_or_default();
                    tracing::warn!(trade = %id, member, what, "a member of the group sent what is not good");
                    let message = format!("trade {}: {member} of your group sent {what}", id.short());
                    self.tools.events.note(Subject::Trade(id), message);
                }
                Out::Heed(record) => {
                    if self.keep_shown(id, &record) {
                        event = Some(self.look_again(id)?);
                        let what = "a member of your group shows that the coins were signed over; look at it again";
                        self.tools.events.note(Subject::Trade(id), format!("trade {}: {what}", id.short()));
                    }
                }
            }
        }
        match unsent.filter(|_| !is_heard && event.is_none()) {
            Some(error) => Err(error),
            None => Ok(event),
        }
    }

    /// Keeps the half in a record that another member shows, as if the ledger had shown it here. Tells whether it is new.
    fn keep_shown(&mut self, id: TradeId, record: &[u8]) -> bool {
        let (Some(active), Ok(record)) = (self.trades.get_mut(&id), Record::decode(record)) else { return false };
        let fundings = &active.trade.view().chain().fundings;
        active.pin.as_mut().is_some_and(|pin| pin.add_shown(&record, fundings))
    }

    /// Tells whether the group has ruled about the coins of a case.
    fn is_ruled(&self, id: TradeId) -> bool {
        let Some(active) = self.trades.get(&id) else { return false };
        active.trade.view().ruling().is_some_and(|(seat, _)| Some(*seat) == active.trade.seat())
    }

    fn tell_member(&self, id: TradeId, to: Place, round: Round) -> Result<(), ApiError> {
        let escrow = self.escrow(id)?;
        let member = self.juries.get(&id).and_then(|jury| jury.members.get(usize::from(to) - 1)).copied();
        let member = member.ok_or_else(|| internal("there is no such member"))?;
        let message = Message::Round(Box::new(round));
        self.tools.mailbox.send(&self.tools.identity, escrow.contract(), member, &message).explained()
    }
}

impl Jury {
    /// Hears what another member says; `None` if he is none. Where nothing is to be decided, because the parties have agreed, say,
    /// nobody gets nonces or shares and no signature comes of those that are here: what is asked for is noted, and what some of
    /// them have seen is shown and heeded, no more.
    fn hear(&mut self, from: &AuthorId, round: Round, is_open: bool) -> Option<Vec<Out>> {
        let from = place(&self.members, from)?;
        if !is_open && !matches!(round, Round::Ask(_) | Round::Show { .. }) {
            return Some(Vec::new());
        }
        let mut outs = self.rounds.hear(from, round, &mut entropy::bytes32);
        outs.retain(|out| is_open || matches!(out, Out::Heed(_) | Out::Send(_, Round::Show { .. })));
        Some(outs)
    }

    pub(super) fn view(&self, trade: TradeId) -> GroupCase {
        let ask = |(at, asked): (Place, &Asked)| {
            let member = self.members.get(usize::from(at) - 1).copied()?;
            Some(match asked {
                Asked::Ruling { to_buyer, to_seller, .. } => {
                    GroupAsk { member, to_buyer: Some(*to_buyer), to_seller: Some(*to_seller) }
                }
                Asked::Extension { .. } => GroupAsk { member, to_buyer: None, to_seller: None },
            })
        };
        let decided = self.rounds.decision().map(|decision| match decision {
            Decision::Rule { verdict, .. } => GroupDecision::Rule(*verdict),
            Decision::Extend { .. } => GroupDecision::Extend,
        });
        let asked = self.rounds.asks().filter_map(ask).collect();
        GroupCase { trade, decided, bound: self.rounds.is_bound(), asked }
    }
}

pub(super) fn arbiter_at(active: &Active, seat: Seat) -> Option<&Arbiter> {
    active.trade.view().contract.as_ref()?.arbiter(seat)
}

/// Returns whom a party signed the coins of a case over to, and by which record that not everybody may see.
fn owed(active: &Active) -> Option<Owed> {
    let half = active.trade.hidden_half()?;
    let record = active.pin.as_ref()?.record_of(half)?;
    Some(Owed { to: half.0, record: record.encode() })
}

/// Tells whether a group still has to decide a case.
fn is_undecided(active: &Active) -> bool {
    active.phase == Phase::Disputed && active.trade.seat().is_some()
}

/// What a member bears of another's feerate: they may ask at other times, of other nodes. Nobody can raise the fee of an
/// extension later, so it pays what each of them thinks that it must: the highest of what they ask for.
fn borne(decision: &Decision, feerate: u64) -> RangeInclusive<u64> {
    let feerate = feerate.min(MAX_SHARED_FEERATE); // so much does who asks for it pay at most, whatever blocks cost
    let least = match decision {
        Decision::Rule { .. } => feerate / 4,
        Decision::Extend { .. } => feerate,
    };
    least.max(1)..=feerate.saturating_mul(4).saturating_add(10).min(MAX_SHARED_FEERATE)
}

fn refused(error: DecideError) -> ApiError {
    match error {
        DecideError::Bound | DecideError::TooMany => {
            ApiError::new(Code::NotAllowed, error.to_string(), "it cannot be taken back")
        }
        DecideError::Escrow(error) => internal(error),
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::{Author, SampleGroup, SampleTrade};
    use exchange_ledger::trade::Verdict;
    use exchange_ledger::wire::List;

    use super::*;

    #[test]
    fn a_member_gives_nothing_for_a_case_that_is_not_disputed_any_more() {
        let group = SampleGroup::new(2, 3);
        let sample = SampleTrade::of_group(Side::Sell, &group);
        let members: Vec<AuthorId> = group.members.iter().map(Author::id).collect();
        let decision = Decision::Rule { vaults: sample.vaults(1), verdict: Verdict::Seller };
        let [mut first, mut second] = [0, 1].map(|at| {
            let (part, members) = (&group.parts[at], members.clone());
            let rounds = Rounds::new(sample.escrow(), Seat::First, part.members, &part.share).unwrap();
            Jury { rounds, members, seat: Seat::First, asked_at: None, asked: 0 }
        });
        let decide = |jury: &mut Jury| jury.rounds.decide(decision, 2, 1..=100, &mut entropy::bytes32).unwrap();
        let only_sent = |to: Place, outs: Vec<Out>| {
            let mut sent = outs.into_iter().filter_map(|out| match out {
                Out::Send(at, round) => (at == to).then_some(round),
                Out::Bind | Out::Done(_) | Out::Blame(..) | Out::Heed(_) => None,
            });
            let round = sent.next().expect("something is sent to him");
            assert_eq!(sent.next(), None);
            round
        };
        let nothing = Some(Vec::new());
        let ask = only_sent(2, decide(&mut first));
        decide(&mut second);
        // While the case is not disputed nothing is given for it, but it is noted.
        assert_eq!(second.hear(&members[0], ask.clone(), false), nothing);
        assert_eq!(second.view(sample.id()).asked.len(), 1);
        let commit = only_sent(1, second.hear(&members[0], ask, true).unwrap());
        assert_eq!(first.hear(&members[1], commit.clone(), false), nothing);
        let sign = only_sent(2, first.hear(&members[1], commit, true).unwrap());
        assert_eq!(second.hear(&members[0], sign.clone(), false), nothing);
        assert!(second.rounds.bound().is_empty());
        let shares = second.hear(&members[0], sign, true).unwrap();
        assert_eq!(shares.first(), Some(&Out::Bind));
        let shares = only_sent(1, shares);
        assert_eq!(first.hear(&members[1], shares.clone(), false), nothing);
        assert!(first.rounds.bound().is_empty());
        let done = first.hear(&members[1], shares, true).unwrap();
        assert!(done.iter().any(|out| matches!(out, Out::Done(_))), "{done:?}");
        // What one of them has seen is shown and heeded in any case; and who is no member says nothing.
        let shown = Round::Show { record: List::new(vec![1]).unwrap() };
        assert_eq!(second.hear(&members[0], shown.clone(), false), Some(vec![Out::Heed(vec![1])]));
        assert_eq!(second.hear(&AuthorId([9; 32]), shown, true), None);
    }

    #[test]
    fn members_bear_what_others_ask_for_and_never_more_than_is_allowed() {
        let vaults = SampleTrade::new(Side::Sell).vaults(1);
        let (rule, extend) = (Decision::Rule { vaults, verdict: Verdict::Buyer }, Decision::Extend { vaults });
        for (feerate, of_ruling, of_extension) in [
            (1, 1..=14, 1..=14),
            (20, 5..=90, 20..=90),
            (100, 25..=100, 100..=100),
            // Whatever blocks cost: so much does who asks for it pay at most.
            (500, 25..=100, 100..=100),
            (u64::MAX, 25..=100, 100..=100),
        ] {
            assert_eq!((borne(&rule, feerate), borne(&extend, feerate)), (of_ruling, of_extension), "at {feerate}");
        }
    }
}
