//! Groups of arbiters that share one key, and what their members decide together.

use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::money::{Currency, Sats};
use exchange_ledger::trade::Verdict;
use serde::{Deserialize, Serialize};

use crate::types::RequestId;

/// Proposes a group of arbiters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateGroup {
    /// Makes it safe to repeat.
    pub request_id: RequestId,
    /// How many of the members rule: more than half.
    pub threshold: u8,
    /// The other members.
    pub members: Vec<AuthorId>,
    /// The name to show.
    pub name: String,
    /// What a ruling costs, in millionths.
    pub fee_ppm: u32,
    /// The largest trade.
    pub max_amount: Sats,
    /// Languages.
    pub languages: Vec<String>,
    /// Currencies.
    pub currencies: Vec<Currency>,
    /// Anything else.
    pub terms: String,
}

/// A group to which this node's identity is invited, or belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its id.
    pub id: RecordId,
    /// The name to show.
    pub name: String,
    /// How many of the members rule.
    pub threshold: u8,
    /// Who.
    pub members: Vec<AuthorId>,
    /// Who proposed it: to him goes the fee, to be shared.
    pub proposer: AuthorId,
    /// What a ruling costs, in millionths.
    pub fee_ppm: u32,
    /// The largest trade.
    pub max_amount: Sats,
    /// Anything else that was proposed.
    pub terms: String,
    /// How far it is.
    pub state: GroupState,
    /// For whom it waits.
    pub waiting: Vec<AuthorId>,
    /// Who is to blame that it comes to nothing, if that is known.
    pub culprit: Option<AuthorId>,
    /// What he did.
    pub problem: Option<String>,
    /// Its advert, once there is one.
    pub advert: Option<RecordId>,
    /// The cases in which this member decided, or another asks him to.
    pub cases: Vec<GroupCase>,
}

/// How far a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// This node's user has not joined.
    Invited,
    /// Somebody else has not joined.
    Joining,
    /// Somebody has not dealt his shares.
    Dealing,
    /// Somebody has not confirmed.
    Confirming,
    /// The key is there, and the group can rule.
    Ready,
    /// It comes to nothing.
    Broken,
}

/// What a member decided in a case of his group, and what the others ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCase {
    /// The trade.
    pub trade: TradeId,
    /// What this node's user decided.
    pub decided: Option<GroupDecision>,
    /// Whether a share of a signature for it has left, so that he cannot change his mind any more.
    pub bound: bool,
    /// What others ask him to sign.
    pub asked: Vec<GroupAsk>,
}

/// What a member decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupDecision {
    /// Whom he believes.
    Rule(Verdict),
    /// The dispute is to have more time.
    Extend,
}

/// What a member asks the others to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAsk {
    /// Who asks.
    pub member: AuthorId,
    /// What the buyer would get; nothing if it is an extension.
    pub to_buyer: Option<Sats>,
    /// What the seller would get; nothing if it is an extension.
    pub to_seller: Option<Sats>,
}
