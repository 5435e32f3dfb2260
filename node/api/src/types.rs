//! What travels over the local API. Amounts are integers of base units (satoshis, minor units of the other currency);
//! ids are typed and print as hex; times are seconds since the Unix epoch; heights are of the chain in use.

use exchange_ledger::body::{Checkpoint, Side};
use exchange_ledger::ids::{AuthorId, RecordId, StateHash, TradeId};
use exchange_ledger::money::{Currency, Price, Sats};
use exchange_ledger::trade::{Action, Phase, Role};
use serde::{Deserialize, Serialize};

/// A name that makes a call that moves money idempotent: the same id again returns the first answer. Any text of 1 to 64
/// bytes, unique to the caller.
pub type RequestId = String;

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the software.
    pub version: String,
    /// `regtest`, `signet` or `mainnet`.
    pub network: String,
    /// The chain backend's name.
    pub chain: String,
    /// The chain's tip; `None` while the backend cannot be reached.
    pub tip: Option<u32>,
    /// What is wrong with the chain backend at present, if anything.
    pub chain_error: Option<String>,
    /// The state of the identity.
    pub identity: IdentityState,
    /// How many peers are connected.
    pub peers: u32,
    /// The node's own addresses, with its peer id.
    pub listen: Vec<String>,
    /// How many records the ledger holds.
    pub records: u64,
    /// How many live offers the book holds.
    pub offers: u64,
    /// The node's clock.
    pub time: u64,
    /// Whether this is the demo, whose coins and people are not real.
    pub demo: bool,
}

/// Whether the node can sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum IdentityState {
    /// There is none: create one, or run as a relay.
    None,
    /// There is one on disk; its password is needed.
    Locked,
    /// It is being derived: a few seconds of work on purpose.
    Deriving,
    /// Ready.
    Unlocked {
        /// Its public key.
        author: AuthorId,
        /// The email, which never leaves the machine.
        email: String,
    },
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its libp2p peer id.
    pub peer: String,
    /// Where it is.
    pub address: String,
    /// Its software, as it says.
    pub agent: String,
    /// The last round trip in milliseconds.
    pub ping_ms: Option<u64>,
    /// Whether its ledger was the same as ours when last compared.
    pub in_sync: bool,
}

/// An email and a password, to create or unlock an identity. Never logged.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// The email.
    pub email: String,
    /// The password.
    pub password: String,
    /// The optional secret key, as printed when it was made.
    pub secret_key: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

/// How good a password is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordStrength {
    /// Guesses an attacker needs, as a power of ten.
    pub guesses_log10: u32,
    /// Whether it may be used.
    pub verdict: StrengthVerdict,
    /// What would make it better.
    pub advice: String,
}

/// Whether a password may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrengthVerdict {
    /// Under 10^12 guesses: refused.
    Refused,
    /// Under 10^15 guesses: accepted with a warning.
    Weak,
    /// Good.
    Strong,
}

/// An identity as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityInfo {
    /// Its public key, under which its offers appear.
    pub author: AuthorId,
    /// The email, which never leaves the machine.
    pub email: String,
}

/// Lets a coin of the wallet speak for this node's identity, so that more of its offers stand in the book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeRequest {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only shows which coin would be named.
    pub dry_run: bool,
}

/// A coin that speaks for an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeView {
    /// The record; zeros in a dry run.
    pub id: RecordId,
    /// The coin: transaction id and output.
    pub coin: String,
    /// Whether it counts.
    pub state: StakeState,
}

/// Whether a stake counts, as the chain shows it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum StakeState {
    /// It does.
    Counts,
    /// Its coin is not buried deep enough yet.
    Young {
        /// How deep it is.
        confirmations: u32,
        /// How deep it must be.
        needed: u32,
    },
    /// Its coin is spent, unknown, too small or of another key.
    Gone,
    /// Another identity's record named the coin, and stands first.
    OfAnother,
}

/// A deposit address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressInfo {
    /// The address.
    pub address: String,
    /// The same as a BIP-21 URI, for a QR code.
    pub uri: String,
}

/// What the wallet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Can be spent.
    pub spendable: Sats,
    /// Seen, not yet confirmed.
    pub pending: Sats,
    /// Held in escrows of trades in which this node sells.
    pub in_escrow: Sats,
}

/// A transaction of the wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletTx {
    /// Its id.
    pub txid: String,
    /// Satoshis that came in (positive) or went out (negative), the fee included.
    pub net_sat: i64,
    /// The fee, when this wallet paid it.
    pub fee: Option<Sats>,
    /// The height that confirms it; `None` while in the pool.
    pub height: Option<u32>,
    /// When it was confirmed or first seen.
    pub time: u64,
    /// What it was for, e.g. the escrow of a trade.
    pub label: String,
}

/// A page of a list. `next` is the cursor of the next page, `None` on the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Sends coins from the wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRequest {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// Only builds and prices the transaction.
    pub dry_run: bool,
    /// Where to.
    pub address: String,
    /// How much; `None` sends everything.
    pub amount: Option<Sats>,
    /// The feerate in sat/vB; `None` leaves it to the node.
    pub fee_rate: Option<u64>,
}

/// A transaction that was built, and broadcast unless it was a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Its id.
    pub txid: String,
    /// How much arrives.
    pub amount: Sats,
    /// What it costs.
    pub fee: Sats,
    /// Whether it was broadcast.
    pub broadcast: bool,
}

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
    /// The payment details that an accepted counterparty will get, needed when `automatic`: e.g. name and IBAN.
    pub details: String,
    /// How long the offer lives, in seconds; `None`: seven days.
    pub lifetime_s: Option<u64>,
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

/// An arbiter's advert, and what this node knows of him. Adverts and names are free: anybody can call himself anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArbiterView {
    /// The advert's id.
    pub advert: RecordId,
    /// Who.
    pub author: AuthorId,
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
    /// When he first advertised himself, by his own clock.
    pub since: u64,
    /// How many trades that named him were closed, as their parties say.
    pub trades: u32,
    /// Whether the user of this node trusts him.
    pub trusted: bool,
}

/// Puts an arbiter on the list of those whom this node trusts, or takes him off it. The list never leaves the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustArbiter {
    /// Who: an identity, whatever adverts he will make.
    pub author: AuthorId,
    /// Whether he is trusted from now on.
    pub trusted: bool,
}

/// Advertises this node's identity as an arbiter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertise {
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
    /// The payment details that the maker will get once he has accepted: what a buyer is called, or where a seller is paid.
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
    /// The estimated fee of the funding, paid by the seller.
    pub funding_fee: Sats,
    /// The estimated fee of the payout, taken from what the buyer receives.
    pub payout_fee: Sats,
    /// Confirmations that the escrow needs before the buyer pays.
    pub confirmations: u32,
    /// Blocks after funding until which the buyer may pay.
    pub pay_within: u32,
    /// Blocks after funding after which the seller may take the coins back.
    pub refund_after: u32,
    /// Whether the wallet holds enough when this node sells.
    pub affordable: bool,
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
    /// The payment details that the taker will get; empty: those given with the offer.
    pub details: String,
}

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
    /// What this node may do now.
    pub actions: Vec<Action>,
    /// The steps of the whole trade, for a stepper.
    pub steps: Vec<Step>,
    /// The last height at which the buyer may pay, once funded.
    pub pay_until: Option<u32>,
    /// The height from which the seller may take the coins back, once funded.
    pub refund_from: Option<u32>,
    /// The counterparty's payment details, once they have arrived and match the contract.
    pub their_details: Option<String>,
    /// One's own payment details.
    pub my_details: Option<String>,
    /// What went wrong lately with this trade and is being retried, if anything.
    pub problem: Option<String>,
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

/// What to audit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRequest {
    /// Also compare escrows with the chain.
    pub chain: bool,
    /// Only this author's log.
    pub author: Option<AuthorId>,
    /// Only this trade.
    pub trade: Option<TradeId>,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// How many records were checked: bytes, signatures, logs.
    pub records: u64,
    /// How many authors they have.
    pub authors: u64,
    /// The trades and where they stand.
    pub trades: Vec<AuditedTrade>,
    /// What is wrong with the ledger or, when asked, with the chain.
    pub violations: Vec<Violation>,
    /// Proofs that somebody did wrong, which changes nothing for others.
    pub evidence: Vec<Violation>,
    /// What went into all escrows and came out of them, when the chain was asked.
    pub sums: Option<EscrowSums>,
    /// What identities say that the ledger was, beside what it was here.
    pub checkpoints: Vec<CheckpointView>,
}

/// What came of comparing this node's ledger with a peer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgainstReport {
    /// The peer's id.
    pub peer: String,
    /// The hash of this ledger's state.
    pub state: StateHash,
    /// Whether both hold the same.
    pub same: bool,
    /// The first place at which they do not.
    pub difference: Option<Divergence>,
    /// What identities say that the ledger was, beside what it was here.
    pub checkpoints: Vec<CheckpointView>,
}

/// A place of a log at which two ledgers differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// The log's author.
    pub author: AuthorId,
    /// Its epoch.
    pub epoch: u32,
    /// The place.
    pub seq: u64,
    /// The record here, if there is one.
    pub ours: Option<RecordId>,
    /// The record there, if there is one.
    pub theirs: Option<RecordId>,
    /// Whether only that differs what is kept of the log after its author signed two histories.
    pub frozen: bool,
}

/// What somebody says that the ledger was at a time, beside what it was here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointView {
    /// The record.
    pub record: RecordId,
    /// Who published it.
    pub author: AuthorId,
    /// What he says.
    pub said: Checkpoint,
    /// What this node's ledger says.
    pub here: Checkpoint,
    /// How both relate.
    pub relation: CheckpointRelation,
}

/// How two views of the ledger at one time relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointRelation {
    /// The same records.
    Same,
    /// As many logs and records, but not the same: somebody was shown another history.
    Different,
    /// Other counts: one has not received, or has learned of a fork, what the other has.
    Uneven,
}

/// What went into an escrow, or many, and where it went: `funded` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscrowSums {
    /// What went in.
    pub funded: Sats,
    /// What the buyers got.
    pub to_buyers: Sats,
    /// What the sellers got back.
    pub to_sellers: Sats,
    /// What went anywhere else.
    pub elsewhere: Sats,
    /// What the miners got.
    pub fees: Sats,
    /// What is still in.
    pub held: Sats,
}

/// A trade in an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditedTrade {
    /// Its id.
    pub trade: TradeId,
    /// Where it stands, by the records, and by the chain too if asked.
    pub state: Phase,
    /// What the contract puts into the escrow.
    pub amount: Option<Sats>,
    /// The escrow's address.
    pub escrow_address: Option<String>,
    /// What went into the escrow, when the chain was asked.
    pub funding: Option<ChainTx>,
    /// What came out of it, when the chain was asked.
    pub spend: Option<ChainTx>,
    /// What went in and where it went, when the chain was asked.
    pub sums: Option<EscrowSums>,
}

/// Something wrong in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The offending record.
    pub record: Option<RecordId>,
    /// The trade it belongs to.
    pub trade: Option<TradeId>,
    /// The rule it breaks, in words.
    pub rule: String,
}

/// An entry of the node's log of events, for the log screen and subscribers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number; later events have higher ones.
    pub seq: u64,
    /// When.
    pub time: u64,
    /// What it is about.
    pub subject: Subject,
    /// What happened, in one line.
    pub text: String,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum Subject {
    /// A trade of this node.
    Trade(TradeId),
    /// An offer.
    Offer(RecordId),
    /// The wallet.
    Wallet,
    /// Peers.
    Network,
    /// The chain.
    Chain,
    /// The node itself.
    Node,
}
