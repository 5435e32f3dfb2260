//! The transition table: who may do what in which phase of a trade. Nothing outside it is possible.
//!
//! A phase is not stored and stepped; it is *evaluated* from the signed facts and the chain by walking the table from
//! [`Phase::Bid`] for as long as a row applies. So it does not depend on the order in which anything arrived, a reorg
//! undoes exactly what it undid on the chain, and after a restart the same inputs give the same phase.
//!
//! | from | because | by | to |
//! |---|---|---|---|
//! | Bid | accept | maker | Agreed |
//! | Bid | another bid won, the offer was withdrawn, or a party signed two histories | maker, party | Void |
//! | Bid | cancel | buyer, seller | Cancelled |
//! | Agreed | the escrow's funding is seen | chain | Funding |
//! | Agreed | a party signed two histories | party | Void |
//! | Agreed | cancel | buyer, seller | Cancelled |
//! | Void, Cancelled, after agreement | the escrow's funding is seen | chain | Funding |
//! | Funding | the funding is buried | chain | Funded |
//! | *held*: Funding, Funded, Paid, Disputed, Ruled, Released, Refunding | the payout is buried | chain | Closed |
//! | *held* | a refund is buried | chain | Refunded |
//! | *held* | a ruling's spend is buried | chain | Settled |
//! | *held* | any other spend is buried | chain | Lost |
//! | Funded | release signed, or the payout is seen | seller, chain | Released |
//! | Funded | refund signed, or a refund is seen | buyer, chain | Refunding |
//! | Funded | a ruling's spend is seen | chain | Ruled |
//! | Funded | payment sent | buyer | Paid |
//! | Funded, Paid | dispute, or the dispute opens by itself | buyer, seller, chain | Disputed |
//! | Disputed | ruling, the second arbiter's when the first has had his time | arbiter | Ruled |
//!
//! The walk passes through Funded on its way to all that follows, so what is signed by both parties' will, or seen on the
//! chain, comes before a dispute and what an arbiter says: a dispute takes back nothing that was signed.

use serde::{Deserialize, Serialize};

use crate::trade::{SpendPath, View};

/// Who someone is in a trade, by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Gets the bitcoin.
    Buyer,
    /// Gives the bitcoin.
    Seller,
    /// Rules when they disagree.
    Arbiter,
}

/// Where a trade stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The taker has bid; the maker has not answered.
    Bid,
    /// Another bid won, the offer was withdrawn, the acceptance broke a rule, or a party signed two histories.
    Void,
    /// The maker accepted: the contract is fixed, the seller funds the escrow.
    Agreed,
    /// Called off before any coins moved.
    Cancelled,
    /// The escrow's funding is seen but not yet buried deep enough.
    Funding,
    /// The escrow holds the coins; the buyer pays.
    Funded,
    /// The buyer says that the payment is on its way; the seller looks for it.
    Paid,
    /// The seller signed the payout; the buyer completes it and the chain confirms it.
    Released,
    /// A refund to the seller is signed or seen; the chain confirms it.
    Refunding,
    /// The payout to the buyer is confirmed.
    Closed,
    /// The coins are back with the seller.
    Refunded,
    /// The escrow was spent in a way this contract does not know of; see the audit.
    Lost,
    /// An arbiter is to decide; the parties can still agree.
    Disputed,
    /// An arbiter divided the coins; who gets some completes it when the delay is over.
    Ruled,
    /// The coins are divided as an arbiter ruled.
    Settled,
}

impl Phase {
    /// Tells whether nothing is left to do, unless the chain is reorganised.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Void | Self::Cancelled | Self::Closed | Self::Refunded | Self::Settled | Self::Lost => true,
            Self::Bid
            | Self::Agreed
            | Self::Funding
            | Self::Funded
            | Self::Paid
            | Self::Disputed
            | Self::Ruled
            | Self::Released
            | Self::Refunding => false,
        }
    }

    /// Tells whether the escrow is buried and nothing that spends it is.
    pub const fn is_held(self) -> bool {
        match self {
            Self::Funded | Self::Paid | Self::Disputed | Self::Ruled | Self::Released | Self::Refunding => true,
            Self::Bid
            | Self::Void
            | Self::Agreed
            | Self::Cancelled
            | Self::Funding
            | Self::Closed
            | Self::Refunded
            | Self::Settled
            | Self::Lost => false,
        }
    }
}

/// What a user can do to a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Accept the bid.
    Accept,
    /// Pay into the escrow: the seller the coins, the buyer his bond, if he has one.
    Fund,
    /// Say that the payment is on its way.
    MarkPaid,
    /// Sign the coins over to the buyer.
    Release,
    /// Call the trade off; once funded, agree to (buyer) or ask for (seller) a refund.
    Cancel,
    /// Take back after the refund delay what one put in.
    Refund,
    /// Call for the arbiter.
    Dispute,
    /// Divide the coins (arbiter).
    Rule,
    /// Give a dispute more time (arbiter).
    Extend,
}

macro_rules! in_words {
    ($type:ident: $($variant:ident => $words:literal,)*) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self {
                    $(Self::$variant => $words,)*
                })
            }
        }
    };
}

in_words! { Role:
    Buyer => "buyer",
    Seller => "seller",
    Arbiter => "arbiter",
}

in_words! { Action:
    Accept => "accept",
    Fund => "fund",
    MarkPaid => "mark as paid",
    Release => "release",
    Cancel => "call off",
    Refund => "refund",
    Dispute => "dispute",
    Rule => "rule",
    Extend => "extend",
}

in_words! { Phase:
    Bid => "waiting for the maker",
    Void => "void",
    Agreed => "agreed but not funded",
    Cancelled => "called off",
    Funding => "waiting for the escrow's confirmations",
    Funded => "funded",
    Paid => "marked as paid",
    Released => "released",
    Refunding => "being refunded",
    Closed => "closed",
    Refunded => "refunded",
    Lost => "lost",
    Disputed => "disputed",
    Ruled => "ruled",
    Settled => "settled by a ruling",
}

/// Why a row of the table applies.
type Condition = fn(&View) -> bool;

const BID: &[Phase] = &[Phase::Bid];
const AGREED: &[Phase] = &[Phase::Agreed];
const UNFUNDED: &[Phase] = &[Phase::Agreed, Phase::Void, Phase::Cancelled];
const FUNDING: &[Phase] = &[Phase::Funding];
const ON_CHAIN: &[Phase] =
    &[Phase::Funding, Phase::Funded, Phase::Paid, Phase::Disputed, Phase::Ruled, Phase::Released, Phase::Refunding];
const FUNDED: &[Phase] = &[Phase::Funded];
const OPEN: &[Phase] = &[Phase::Funded, Phase::Paid];
const DISPUTED: &[Phase] = &[Phase::Disputed];

/// The table of the module's documentation. The first row that applies is taken; among the rows of one phase, facts of the chain stand
/// before what was signed after funding.
const TRANSITIONS: &[(&[Phase], Condition, Phase)] = &[
    (BID, |view| view.contract.is_some(), Phase::Agreed),
    (BID, |view| view.facts.void, Phase::Void),
    (BID, |view| view.facts.cancelled(), Phase::Cancelled),
    (UNFUNDED, |view| view.funding().is_some(), Phase::Funding),
    (AGREED, |view| view.facts.void, Phase::Void),
    (AGREED, |view| view.facts.cancelled(), Phase::Cancelled),
    (ON_CHAIN, |view| buried_spend(view, SpendPath::is_payout), Phase::Closed),
    (ON_CHAIN, |view| buried_spend(view, SpendPath::is_refund), Phase::Refunded),
    (ON_CHAIN, |view| buried_spend(view, SpendPath::is_ruling), Phase::Settled),
    (ON_CHAIN, |view| buried_spend(view, SpendPath::is_foreign), Phase::Lost),
    (FUNDING, |view| view.funding().is_some_and(|funding| view.is_buried(funding.height)), Phase::Funded),
    (FUNDED, |view| seen_spend(view, SpendPath::is_payout), Phase::Released),
    (FUNDED, |view| seen_spend(view, SpendPath::is_refund), Phase::Refunding),
    (FUNDED, |view| seen_spend(view, SpendPath::is_ruling), Phase::Ruled),
    (FUNDED, |view| view.valid_release().is_some(), Phase::Released),
    (FUNDED, |view| view.valid_refund().is_some(), Phase::Refunding),
    (FUNDED, |view| view.facts.payment_sent, Phase::Paid),
    (OPEN, View::is_disputed, Phase::Disputed),
    (DISPUTED, |view| view.ruling().is_some(), Phase::Ruled),
];

/// Returns where the trade stands.
pub fn evaluate(view: &View) -> Phase {
    let mut phase = Phase::Bid;
    // Every row leads forward: Bid, Agreed, (Void, Cancelled), Funding, Funded, Paid, Disputed, (Ruled, Released, Refunding),
    // the end. So the walk ends within as many steps as there are phases.
    while let Some((_, _, to)) = TRANSITIONS.iter().find(|(from, holds, _)| from.contains(&phase) && holds(view)) {
        phase = *to;
    }
    phase
}

/// Returns what `role` may do in this phase. What depends on heights, or on who made what, besides (see
/// [`Trade::actions`](crate::trade::Trade::actions)) is not counted here.
pub const fn actions(phase: Phase, role: Role, is_maker: bool) -> &'static [Action] {
    match (phase, role) {
        (Phase::Bid, Role::Buyer | Role::Seller) if is_maker => &[Action::Accept, Action::Cancel],
        (Phase::Bid, Role::Buyer | Role::Seller) => &[Action::Cancel],
        // While a funding is seen, only if no block holds it and somebody else made it: see `Trade::hears_of_funding`.
        (Phase::Agreed | Phase::Funding, Role::Buyer | Role::Seller) => &[Action::Fund, Action::Cancel, Action::Refund],
        (Phase::Funded, Role::Buyer) => &[Action::MarkPaid, Action::Cancel, Action::Refund, Action::Dispute],
        (Phase::Paid, Role::Buyer) => &[Action::Cancel, Action::Refund, Action::Dispute],
        (Phase::Disputed | Phase::Ruled, Role::Buyer) => &[Action::Cancel, Action::Refund],
        (Phase::Funded | Phase::Paid, Role::Seller) => {
            &[Action::Release, Action::Cancel, Action::Refund, Action::Dispute]
        }
        (Phase::Disputed | Phase::Ruled, Role::Seller) => &[Action::Release, Action::Cancel, Action::Refund],
        // Whoever took his own back leaves a bond to the buyer, which is his alone.
        (Phase::Refunding, Role::Buyer | Role::Seller) => &[Action::Refund],
        // Whatever became of the trade, each takes back what lies beside it on his own script: see `Trade::strays`.
        (Phase::Released, Role::Seller)
        | (
            Phase::Void | Phase::Cancelled | Phase::Closed | Phase::Refunded | Phase::Settled | Phase::Lost,
            Role::Buyer | Role::Seller,
        ) => &[Action::Refund],
        (Phase::Disputed, Role::Arbiter) => &[Action::Rule, Action::Extend],
        // He keeps the payout, and nothing takes the place of that.
        (Phase::Released, Role::Buyer) => &[],
        (
            Phase::Bid
            | Phase::Void
            | Phase::Agreed
            | Phase::Cancelled
            | Phase::Funding
            | Phase::Funded
            | Phase::Paid
            | Phase::Ruled
            | Phase::Released
            | Phase::Refunding
            | Phase::Closed
            | Phase::Refunded
            | Phase::Settled
            | Phase::Lost,
            Role::Arbiter,
        ) => &[],
    }
}

fn seen_spend(view: &View, of: fn(SpendPath) -> bool) -> bool {
    view.spend().is_some_and(|spend| of(spend.path))
}

fn buried_spend(view: &View, of: fn(SpendPath) -> bool) -> bool {
    view.spend().is_some_and(|spend| of(spend.path) && view.is_buried(spend.height))
}

#[cfg(test)]
mod tests;
