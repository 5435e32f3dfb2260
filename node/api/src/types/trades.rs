//! Trades: where each stands, who acts next, and what moves it on.

use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::money::{Currency, Price, Sats};
use exchange_ledger::trade::{Action, Phase, Role, Seat, Verdict};
use serde::{Deserialize, Serialize};

use super::{ArbiterView, RequestId};

/// A trade as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeView {
    /// Its id: that of the bid.
    pub id: TradeId,
    /// The offer it came from.
    pub offer: RecordId,
    /// This node's role; `None` for a trade of others.
    pub role: Option<Role>,
    /// Whether this node made the offer.
    pub maker: bool,
    /// Where it stands.
    pub state: Phase,
    /// Whether it still stands there, as far as this node knows: not while it reads the chain, unless that has shown the end.
    #[serde(default)]
    pub synced: bool,
    /// The buyer.
    pub buyer: AuthorId,
    /// The seller.
    pub seller: AuthorId,
    /// The arbiter.
    pub arbiter: ArbiterView,
    /// How much.
    pub amount: Sats,
    /// The other money.
    pub currency: Currency,
    /// The price in minor units for one bitcoin.
    pub price: Price,
    /// What it costs, in minor units.
    pub cost: u64,
    /// The payment method.
    pub method: String,
    /// The maker's terms.
    pub terms: String,
    /// When the bid was made.
    pub created: u64,
    /// The escrow's address, once agreed.
    pub escrow_address: Option<String>,
    /// What went into the escrow.
    pub funding: Option<ChainTx>,
    /// What came out of it.
    pub spend: Option<ChainTx>,
    /// How many confirmations the trade asks for.
    pub confirmations_needed: u32,
    /// What may be done, by whom, until when.
    pub next: NextStep,
    /// What this node's user is offered now.
    pub actions: Vec<Action>,
    /// The steps of the whole trade, for a stepper.
    pub steps: Vec<Step>,
    /// The last height at which the buyer may pay, once funded.
    pub pay_until: Option<u32>,
    /// The height from which the seller may take the coins back, once funded.
    pub refund_from: Option<u32>,
    /// The counterparty's payment details, once they have arrived and match the contract.
    pub their_details: Option<String>,
    /// One's own payment details; of a bid for an own offer, those given with the offer.
    pub my_details: Option<String>,
    /// What went wrong lately with this trade and is being retried, if anything.
    pub problem: Option<String>,
    /// How many messages of others the user has not read.
    pub unread: u32,
    /// Whether something of it waits for a block, whose fee this node can raise.
    #[serde(default)]
    pub can_bump: bool,
    /// Who rules when the first arbiter is silent.
    pub second_arbiter: Option<ArbiterView>,
    /// The dispute, if there is or was one.
    pub dispute: Option<DisputeView>,
    /// What the seller locks besides the amount; it comes back to him, unless it pays for a dispute that he loses.
    #[serde(default)]
    pub seller_bond: Sats,
    /// What the buyer locks, likewise.
    #[serde(default)]
    pub buyer_bond: Sats,
    /// What else this node's user can take back alone, the oldest first: paid into the escrow a second time, or in another amount
    /// than it takes.
    #[serde(default)]
    pub strays: Vec<StrayView>,
}

impl TradeView {
    /// Returns what this node's user puts into the escrow: the seller the amount and his bond, the buyer his bond.
    pub fn locked(&self) -> Sats {
        match self.role {
            Some(Role::Seller) => self.amount.checked_add(self.seller_bond).unwrap_or(Sats::MAX),
            Some(Role::Buyer) => self.buyer_bond,
            Some(Role::Arbiter) | None => Sats::ZERO,
        }
    }

    /// Returns what of this node's user lies in the escrow: what he put in, until a block holds what takes it out.
    pub fn in_escrow(&self) -> Sats {
        let has_left = self.spend.as_ref().is_some_and(|spend| spend.height.is_some());
        // Who takes his own coins back leaves a buyer's bond there, which is the buyer's to take.
        let takes_bond = self.actions.contains(&Action::Refund) && self.next_stray().is_none();
        let is_left_over = self.role == Some(Role::Buyer) && takes_bond;
        let lies_there = match self.state {
            // What an extension takes out it puts in again.
            Phase::Funding | Phase::Funded | Phase::Paid | Phase::Disputed => true,
            Phase::Released | Phase::Ruled => !has_left,
            Phase::Refunding => !has_left || is_left_over,
            Phase::Refunded => is_left_over,
            Phase::Bid
            | Phase::Void
            | Phase::Agreed
            | Phase::Cancelled
            | Phase::Closed
            | Phase::Settled
            | Phase::Lost => false,
        };
        if lies_there && self.funding.is_some() { self.locked() } else { Sats::ZERO }
    }

    /// Returns the stray that this node's user takes back if he asks to take back now; `None` if that is about the trade's coins.
    pub fn next_stray(&self) -> Option<&StrayView> {
        self.strays.iter().find(|stray| stray.is_next)
    }

    /// Returns what of the trade its user sees and decides on.
    pub fn seen(&self) -> SeenTrade {
        SeenTrade {
            state: self.state,
            funding: self.funding.as_ref().map(|funding| funding.txid.clone()),
            stray: self.next_stray().map(|stray| stray.outpoint.clone()),
        }
    }

    /// Returns this node's user's own bond.
    pub const fn own_bond(&self) -> Sats {
        match self.role {
            Some(Role::Seller) => self.seller_bond,
            Some(Role::Buyer) => self.buyer_bond,
            Some(Role::Arbiter) | None => Sats::ZERO,
        }
    }
}

/// An output on a party's own script of the escrow that is no part of the trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrayView {
    /// The output: the transaction's id and the index.
    pub outpoint: String,
    /// What it holds.
    pub amount: Sats,
    /// The height from which on it can be taken back, if the trade is over by then.
    pub refund_from: Option<u32>,
    /// Whether it is what this node's user takes back if he asks to take back now.
    pub is_next: bool,
}

/// A dispute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeView {
    /// Who called for the arbiter; nobody if it opened by itself.
    pub opened_by: Vec<Role>,
    /// The height from which a ruling of the arbiter can move the coins.
    pub ruling_from: u32,
    /// The height from which the second arbiter may step in, if there is one.
    pub second_ruling_from: Option<u32>,
    /// Which arbiter this node is.
    pub seat: Option<Seat>,
    /// How often the coins were moved into the escrow again, to give it more time.
    pub extensions: u32,
    /// How it was decided; in a dry run, how it would be.
    pub ruling: Option<RulingView>,
}

/// How an arbiter divides the coins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulingView {
    /// Which arbiter.
    pub seat: Seat,
    /// What the buyer gets.
    pub to_buyer: Sats,
    /// What the seller gets.
    pub to_seller: Sats,
    /// What the arbiter gets.
    pub fee: Sats,
    /// What the miner gets.
    pub mining_fee: Sats,
}

/// Decides a dispute as its arbiter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTrade {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only shows who would get what.
    pub dry_run: bool,
    /// The trade.
    pub trade: TradeId,
    /// For whom.
    pub verdict: Verdict,
}

/// A command to a trade that needs no more than its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeCommand {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only checks and prices it.
    pub dry_run: bool,
    /// The trade.
    pub trade: TradeId,
    /// How the user saw the trade when he said yes: if it is another way by now, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenTrade>,
}

/// What of a trade decides what a command to it means: to call it off gives coins back once there are any, and to take back ends it
/// unless it is about a stray.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTrade {
    /// Where it stands.
    pub state: Phase,
    /// The transaction that went into the escrow.
    pub funding: Option<String>,
    /// The stray that is taken back if that is asked for.
    pub stray: Option<String>,
}

/// Accepts a bid by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptBid {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only checks it.
    pub dry_run: bool,
    /// The trade.
    pub trade: TradeId,
    /// The payment details that the taker will get; empty: those given with the offer. Refused when there are none either.
    pub details: String,
}

/// A transaction of a trade on the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainTx {
    /// Its id.
    pub txid: String,
    /// How many confirmations it has; 0 while in the pool.
    pub confirmations: u32,
    /// The height that confirms it.
    pub height: Option<u32>,
}

/// Who acts next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextStep {
    /// Who is waited for.
    pub who: Actor,
    /// What they do, as a sentence to this node's user.
    pub what: String,
    /// Until which height, if there is a limit.
    pub until: Option<u32>,
    /// What happens otherwise, as a sentence.
    pub otherwise: String,
    /// The action of this node's user that moves the trade on, if it is his turn.
    pub action: Option<Action>,
}

/// Who is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// This node's user.
    You,
    /// The other party.
    Peer,
    /// The chain: blocks.
    Chain,
    /// Nobody: it is over.
    Nobody,
    /// The arbiter.
    Arbiter,
}

/// A step of a trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, e.g. `Fund escrow`.
    pub name: String,
    /// Whether it is done, going on, or still to come.
    pub state: StepState,
    /// Detail, e.g. `1 of 3 confirmations`.
    pub detail: String,
}

/// Whether a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Done.
    Done,
    /// Going on.
    Current,
    /// To come.
    Pending,
    /// Will not come: the trade took another way.
    Skipped,
}
