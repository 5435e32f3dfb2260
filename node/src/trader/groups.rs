//! The groups of arbiters that this node's identity belongs to: how they come to be. The ledger's code says what is owed
//! (`exchange_ledger::group`); here it is published. What they decide is in `juries.rs`.

use std::collections::BTreeSet;

use exchange_api::{ApiError, Code, CreateGroup, GroupState, GroupView, Subject};
use exchange_ledger::body::{Body, GroupAdvert, GroupConfirm, GroupDeal, GroupJoin, GroupStep, GroupTerms, Terms};
use exchange_ledger::group::{Group, Outlook, Part, Standing};
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::record::Record;
use exchange_ledger::text::Text;
use exchange_ledger::trade::Arbiter;
use exchange_ledger::wire::List;

use super::Trader;
use super::juries::arbiter_at;
use crate::errors::{ExplainResult, bad_text, internal, invalid};
use crate::{clock, entropy};

/// How many groups of one identity are looked at: more than anybody serves, and as many invitations besides.
const MAX_GROUPS: usize = 64;
/// How many invitations are read at once. Whoever is buried under them joins by the group's id.
const MAX_INVITATIONS: usize = 64;
/// How many steps a member owes one after the other.
const MAX_STEPS: usize = 4;

/// A group as this member sees it.
#[derive(Debug)]
pub(super) struct Membership {
    group: Group,
    outlook: Outlook,
    /// Whether he owed it something when he looked at it last.
    owes: bool,
}

impl Trader {
    /// Looks at all groups of this identity again.
    pub(super) async fn reload_groups(&mut self) {
        let me = self.tools.identity.author();
        let kept = self.tools.private.groups(MAX_GROUPS);
        let invited = self.tools.keeper.ledger().groups_of(&me, MAX_INVITATIONS);
        match (kept, invited) {
            (Ok(kept), Ok(invited)) => {
                for id in kept.into_iter().chain(invited).collect::<BTreeSet<_>>() {
                    self.refresh_group(id).await;
                }
            }
            (Err(error), _) => tracing::error!(%error, "groups cannot be read"),
            (_, Err(error)) => tracing::error!(%error, "invitations cannot be read"),
        }
    }

    /// Hears of a record that may be a step of a group of this identity's.
    pub(super) async fn on_group_record(&mut self, record: &Record, body: &Body) {
        let me = self.tools.identity.author();
        let group = match body {
            Body::GroupStep(GroupStep::Propose(terms)) => terms.members.contains(&me).then(|| record.id()),
            Body::GroupStep(
                GroupStep::Join(GroupJoin { group, .. })
                | GroupStep::Deal(GroupDeal { group, .. })
                | GroupStep::Confirm(GroupConfirm { group, .. }),
            )
            | Body::GroupAdvert(GroupAdvert { group, .. }) => self.is_looked_at(group, record).then_some(*group),
            Body::Heartbeat
            | Body::ArbiterAdvert(_)
            | Body::Stake(_)
            | Body::Checkpoint(_)
            | Body::Offer(_)
            | Body::Revoke(_)
            | Body::Take(_)
            | Body::Accept(_)
            | Body::Cancel(_)
            | Body::Funded(_)
            | Body::PaymentSent(_)
            | Body::Release(_)
            | Body::Closed(_)
            | Body::Dispute(_)
            | Body::Ruling(_)
            | Body::Extend(_)
            | Body::Unknown(_) => None,
        };
        if let Some(group) = group {
            self.refresh_group(group).await;
        }
    }

    /// Tells whether a record about a group may show anything new of it. Anybody can write about one, and a member as much as he
    /// likes, while to look at one can take milliseconds in which no trade goes on.
    pub(super) fn is_looked_at(&self, group: &RecordId, record: &Record) -> bool {
        let author = record.author();
        let Some(known) = self.groups.get(group) else {
            // On a new machine what this member did may come before what it is about.
            return author == self.tools.identity.author();
        };
        let is_step = || self.tools.keeper.ledger().is_step(group, record).unwrap_or(true); // the look says what failed
        known.group.place(&author).is_some() && (known.group.lacking().contains(&record.id()) || is_step())
    }

    /// Looks again at the groups to which this member owes something that could not be published; and at those at which a look
    /// failed, one after the other until one fails again: a disk that stays full costs one look each time.
    pub(super) async fn retry_groups(&mut self) {
        let owing: Vec<RecordId> = self.groups.iter().filter(|(_, known)| known.owes).map(|(id, _)| *id).collect();
        for id in owing {
            self.refresh_group(id).await;
        }
        for _ in 0..self.stalled_groups.len() {
            let Some(id) = self.stalled_groups.front().copied() else { return };
            if !self.refresh_group(id).await {
                return;
            }
        }
    }

    /// Looks at a group, and does what this member owes it. Tells whether nothing failed.
    async fn refresh_group(&mut self, id: RecordId) -> bool {
        let was_stalled = self.stalled_groups.contains(&id);
        self.stalled_groups.retain(|other| *other != id);
        for _ in 0..MAX_STEPS {
            match self.step_group(id).await {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => {
                    // Once: it may fail each time.
                    if !was_stalled {
                        tracing::warn!(%error, group = %id, "a group does not go on; it is looked at again");
                    }
                    self.note_stalled(id);
                    return false;
                }
            }
        }
        true
    }

    /// Remembers a group at which a look failed, behind the others; one to which something is owed is looked at again in any case.
    /// Anybody can invite anybody: of groups that are not known yet no more are remembered than are read at a start.
    fn note_stalled(&mut self, id: RecordId) {
        let known = self.groups.get(&id);
        let is_owing = known.is_some_and(|known| known.owes);
        let has_room = known.is_some() || self.stalled_groups.len() < MAX_GROUPS + MAX_INVITATIONS;
        if has_room && !is_owing {
            self.stalled_groups.push_back(id);
        }
    }

    /// Takes one step; tells whether there may be another.
    async fn step_group(&mut self, id: RecordId) -> Result<bool, ApiError> {
        let me = self.tools.identity.author();
        let pinned = self.tools.private.group(&id).explained()?;
        let found = self.tools.keeper.ledger().group(&id, &pinned).explained()?;
        let Some(group) = found.filter(|group| group.place(&me).is_some()) else { return Ok(false) };
        // Else the key would be made anew.
        if self.groups.get(&id).is_some_and(|known| !known.owes && known.group.is_same(&group)) {
            return Ok(false);
        }
        let identity = self.tools.identity.clone();
        let secrets = identity.group_secrets(&id);
        let outlook = group.outlook(&me, &secrets, |bytes| identity.sign(bytes), &mut entropy::bytes32);
        let mut outlook = outlook.map_err(internal)?;
        // Anybody can invite anybody.
        let has_room = self.groups.contains_key(&id) || self.groups.len() < MAX_GROUPS;
        if outlook.standing == Standing::Invited && !has_room {
            return Ok(false);
        }
        // First the records on which the next step rests, and this member's part, before anybody can count on it.
        let rests = group.records.iter().filter(|record| outlook.rests.contains(&record.id()));
        self.tools.private.keep_group(&id, &rests.cloned().collect::<Vec<Record>>()).explained()?;
        let owed = outlook.owed.take();
        let before = self.groups.get(&id).map(|known| known.outlook.standing.clone());
        if before.as_ref() != Some(&outlook.standing) {
            self.note_standing(&group, &outlook.standing);
        }
        self.groups.insert(id, Membership { group, outlook, owes: owed.is_some() });
        match owed {
            Some(body) => {
                self.tools.keeper.publish(identity, body).await.explained()?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn note_standing(&self, group: &Group, standing: &Standing) {
        let name = group.id.short();
        let message = match standing {
            Standing::Joining | Standing::Dealing | Standing::Confirming => return,
            Standing::Invited => format!("you are invited to the group of arbiters {name}"),
            Standing::Ready => format!("the group of arbiters {name} has its key"),
            Standing::Broken { by: Some(by), what } => {
                format!("the group of arbiters {name} comes to nothing: {} sent {what}", by.short())
            }
            Standing::Broken { by: None, what } => format!("the group of arbiters {name} comes to nothing: {what}"),
        };
        self.tools.events.note(Subject::Node, message);
    }

    /// Proposes a group, and joins it.
    pub(super) async fn create_group(&mut self, request: CreateGroup) -> Result<GroupView, ApiError> {
        let me = self.tools.identity.author();
        let members: BTreeSet<AuthorId> = request.members.iter().copied().chain([me]).collect();
        let languages = request.languages.into_iter().map(Text::new).collect::<Result<Vec<_>, _>>();
        let languages = languages.map_err(bad_text("a language"))?;
        let propose = |destination| -> Result<Body, ApiError> {
            let body = Body::GroupStep(GroupStep::Propose(GroupTerms {
                threshold: request.threshold,
                members: List::new(members.into_iter().collect()).ok_or_else(|| invalid("too many members"))?,
                name: Text::new(request.name.trim()).map_err(bad_text("the name"))?,
                fee_ppm: request.fee_ppm,
                destination,
                max_amount: request.max_amount,
                languages: List::new(languages).ok_or_else(|| invalid("too many languages"))?,
                currencies: List::new(request.currencies).ok_or_else(|| invalid("too many currencies"))?,
                terms: Terms::new(request.terms.trim()).map_err(bad_text("the terms"))?,
            }));
            body.check(clock::unix_now()).explained()?;
            Ok(body)
        };
        let record = self.tools.publish_naming(Some(request.request_id), propose).await?;
        self.join_group(record.id()).await
    }

    /// Joins a group; whoever has joined goes on where he stopped.
    pub(super) async fn join_group(&mut self, id: RecordId) -> Result<GroupView, ApiError> {
        let me = self.tools.identity.author();
        let pinned = self.tools.private.group(&id).explained()?;
        let group = self.tools.keeper.ledger().group(&id, &pinned).explained()?;
        let group = group.filter(|group| group.place(&me).is_some()).ok_or_else(|| unknown(id))?;
        let secrets = self.tools.identity.group_secrets(&id);
        let join = secrets.join(&group, &me).map_err(internal)?;
        let body = Body::GroupStep(GroupStep::Join(join));
        let has_joined = group.records.iter().any(|it| Body::decode(it).as_ref() == Ok(&body));
        if !has_joined {
            self.tools.keeper.publish(self.tools.identity.clone(), body).await.explained()?;
        }
        self.refresh_group(id).await;
        self.show_group(id)
    }

    /// Returns one group of this identity's.
    pub(super) fn show_group(&self, id: RecordId) -> Result<GroupView, ApiError> {
        self.groups.get(&id).map(|known| self.view_group(known)).ok_or_else(|| unknown(id))
    }

    /// Returns the groups of this identity, those that rule first.
    pub(super) fn list_groups(&self) -> Vec<GroupView> {
        let mut views: Vec<GroupView> = self.groups.values().map(|known| self.view_group(known)).collect();
        views.sort_by_key(|view| (view.state != GroupState::Ready, view.id));
        views
    }

    fn view_group(&self, known: &Membership) -> GroupView {
        let Membership { group, outlook, owes: _ } = known;
        let (culprit, problem) = match &outlook.standing {
            Standing::Broken { by, what } => (*by, Some((*what).to_owned())),
            Standing::Invited | Standing::Joining | Standing::Dealing | Standing::Confirming | Standing::Ready => {
                (None, None)
            }
        };
        let key = outlook.part.as_ref().map(|part| part.share.group().x_only());
        let cases = self.juries.iter().filter(|(id, jury)| {
            let arbiter = self.trades.get(id).and_then(|active| arbiter_at(active, jury.seat));
            arbiter.is_some_and(|arbiter| Some(arbiter.key.0) == key)
        });
        GroupView {
            id: group.id,
            name: group.terms.name.to_string(),
            threshold: group.terms.threshold,
            members: group.terms.members.to_vec(),
            proposer: group.proposer,
            fee_ppm: group.terms.fee_ppm,
            max_amount: group.terms.max_amount,
            terms: group.terms.terms.to_string(),
            state: state(&outlook.standing),
            waiting: outlook.waiting.clone(),
            culprit,
            problem,
            advert: group.adverts().next(),
            cases: cases.map(|(id, jury)| jury.view(*id)).collect(),
        }
    }

    /// Tells whether this identity is a member of any group that can have cases.
    pub(super) fn is_in_a_group(&self) -> bool {
        self.groups.values().any(|known| known.outlook.part.is_some())
    }

    /// Returns this member's part of the group that is the arbiter of a case, if one is.
    pub(super) fn part_of(&self, arbiter: &Arbiter) -> Option<&Part> {
        let parts = self.groups.values().filter_map(|known| known.outlook.part.as_ref());
        parts.filter(|_| !arbiter.members.is_empty()).find(|part| part.share.group().x_only() == arbiter.key.0)
    }
}

const fn state(standing: &Standing) -> GroupState {
    match standing {
        Standing::Invited => GroupState::Invited,
        Standing::Joining => GroupState::Joining,
        Standing::Dealing => GroupState::Dealing,
        Standing::Confirming => GroupState::Confirming,
        Standing::Ready => GroupState::Ready,
        Standing::Broken { .. } => GroupState::Broken,
    }
}

fn unknown(id: RecordId) -> ApiError {
    let message = format!("{id} is no group of arbiters that invites you, or is not here yet");
    ApiError::new(Code::NotFound, message, "`exchange-node arbiter group list` shows those that are known")
}
