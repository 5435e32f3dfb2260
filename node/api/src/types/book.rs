//! The book: offers, how one is posted, found and taken.

use exchange_ledger::body::Side;
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::money::{Currency, Price, Sats};
use exchange_ledger::trade::Role;
use serde::{Deserialize, Serialize};

use super::{ArbiterView, RequestId};

/// Posts an offer. Everything but the terms has a default or is required; see [`OfferView`] for meanings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostOffer {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only checks the offer.
    pub dry_run: bool,
    /// Whether the maker buys or sells.
    pub side: Side,
    /// The other money.
    pub currency: Currency,
    /// The price in minor units for one bitcoin.
    pub price: Price,
    /// The smallest amount.
    pub min: Sats,
    /// The largest amount.
    pub max: Sats,
    /// Payment methods.
    pub methods: Vec<String>,
    /// Terms.
    pub terms: String,
    /// Adverts of arbiters, the preferred first; empty: those that this node trusts (see `arbiterTrust`) and that serve
    /// this currency and amount. Refused when there is none: no arbiter is ever chosen for a user.
    pub arbiters: Vec<RecordId>,
    /// Whether this node accepts bids by itself.
    pub automatic: bool,
    /// The payment details that an accepted counterparty will get, e.g. name and IBAN: needed when `automatic`, else to be given
    /// with an acceptance.
    pub details: String,
    /// How long the offer lives, in seconds; `None`: seven days.
    pub lifetime_s: Option<u64>,
    /// What the seller locks besides the amount and has back unless an arbiter takes it, in millionths of the amount: 0, or
    /// 50,000 to 500,000.
    #[serde(default)]
    pub seller_bond_ppm: u32,
    /// What the buyer locks, likewise.
    #[serde(default)]
    pub buyer_bond_ppm: u32,
}

/// An offer as seen in the book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferView {
    /// Its id.
    pub id: RecordId,
    /// Who made it.
    pub maker: AuthorId,
    /// Whether this node made it.
    pub mine: bool,
    /// Whether the maker buys or sells.
    pub side: Side,
    /// The other money.
    pub currency: Currency,
    /// The price in minor units for one bitcoin.
    pub price: Price,
    /// The smallest amount.
    pub min: Sats,
    /// The largest amount.
    pub max: Sats,
    /// What the smallest amount costs, in minor units.
    pub min_cost: u64,
    /// What the largest amount costs, in minor units.
    pub max_cost: u64,
    /// Payment methods.
    pub methods: Vec<String>,
    /// Terms.
    pub terms: String,
    /// Arbiters, the preferred first.
    pub arbiters: Vec<ArbiterView>,
    /// Blocks after which arbiter and winner may spend.
    pub arbitration_delay: u16,
    /// Blocks after which the second arbiter and the winner may.
    pub second_delay: u16,
    /// Blocks after which the funder may take everything back.
    pub refund_delay: u16,
    /// Whether the maker's node accepts bids by itself.
    pub automatic: bool,
    /// When it was made.
    pub created: u64,
    /// When it ends.
    pub expires: u64,
    /// When its maker was last heard of.
    pub last_seen: u64,
    /// What became of it.
    pub state: OfferState,
    /// How many trades its maker closed, as far as this node's ledger shows.
    pub maker_trades: u32,
    /// What the seller locks besides the amount, in millionths of it.
    #[serde(default)]
    pub seller_bond_ppm: u32,
    /// What the buyer locks, in millionths of the amount.
    #[serde(default)]
    pub buyer_bond_ppm: u32,
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferState {
    /// Can be taken.
    Live,
    /// Its maker has not been heard of lately.
    Away,
    /// Its maker has too many offers: it stands in the book when one of his earlier offers ends.
    Waiting,
    /// Taken: the maker accepted a bid.
    Taken,
    /// Withdrawn by its maker.
    Revoked,
    /// Past its end.
    Expired,
}

/// What to show of the book.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookFilter {
    /// Only this side of the maker.
    pub side: Option<Side>,
    /// Only this currency.
    pub currency: Option<Currency>,
    /// Only offers that can be taken for this amount.
    pub amount: Option<Sats>,
    /// Only offers in whose methods, currency or terms each word of this text stands, in any case; or, if it is the beginning
    /// of a maker's id (eight hex digits or more), only his.
    pub matching: Option<String>,
    /// Also offers whose maker is away.
    pub away: bool,
    /// The cursor of a page before.
    pub cursor: Option<String>,
    /// At most so many; 50 when `None`, 500 at most.
    pub limit: Option<u32>,
}

/// Takes an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOffer {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only shows what would be agreed.
    pub dry_run: bool,
    /// The offer.
    pub offer: RecordId,
    /// How much.
    pub amount: Sats,
    /// Which payment method, by position in the offer; 0 when `None`.
    pub method: Option<u8>,
    /// The advert of the arbiter, one of the offer's; when `None`, the first that this node trusts. Refused when there is
    /// none.
    pub arbiter: Option<RecordId>,
    /// The advert of the arbiter who rules when he is silent, one of the offer's; when `None`, the next that this node
    /// trusts, or nobody.
    #[serde(default)]
    pub second_arbiter: Option<RecordId>,
    /// The payment details that the maker will get once he has accepted: what a buyer is called, or where a seller is paid.
    /// A review needs none.
    pub details: String,
}

/// What taking an offer would mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeReview {
    /// The offer.
    pub offer: OfferView,
    /// This node's role.
    pub role: Role,
    /// How much bitcoin goes into the escrow.
    pub amount: Sats,
    /// What it costs, in minor units.
    pub cost: u64,
    /// The payment method.
    pub method: String,
    /// The arbiter.
    pub arbiter: ArbiterView,
    /// Who rules when he is silent.
    pub second_arbiter: Option<ArbiterView>,
    /// What the seller locks besides the amount; it comes back to him.
    #[serde(default)]
    pub seller_bond: Sats,
    /// What the buyer locks; it comes back to him.
    #[serde(default)]
    pub buyer_bond: Sats,
    /// The estimated fee of the funding, as far as this node's wallet pays it: the seller's, or, with a buyer's bond, of each
    /// the share of what he brings.
    pub funding_fee: Sats,
    /// The estimated fee of the payout, taken from what the buyer receives.
    pub payout_fee: Sats,
    /// Confirmations that the escrow needs before the buyer pays.
    pub confirmations: u32,
    /// Blocks after funding until which the buyer may pay.
    pub pay_within: u32,
    /// Blocks after funding after which the seller may take the coins back.
    pub refund_after: u32,
    /// Whether the wallet holds enough for what this node locks.
    pub affordable: bool,
}

impl TakeReview {
    /// Returns what this node's user locks: the seller the amount and his bond, the buyer his bond.
    pub fn locked(&self) -> Sats {
        match self.role {
            Role::Seller => self.amount.checked_add(self.seller_bond).unwrap_or(Sats::MAX),
            Role::Buyer | Role::Arbiter => self.buyer_bond,
        }
    }
}
