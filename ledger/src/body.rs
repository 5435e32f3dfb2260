//! The bodies of records: what a kind says. Encoded with borsh; the bounds of every field are part of its type.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::frost::{Draw, MAX_MEMBERS};
use crate::hash::tagged;
use crate::ids::{AuthorId, RecordId, StateHash, TradeId};
use crate::money::{Currency, Price, Sats};
use crate::record::{Header, Kind, Record, RecordError};
use crate::text::Text;
use crate::wire::{CurveKey, CurveSignature, Destination, List, Outpoint, TxId};

/// How many payment methods an offer may name.
pub const MAX_METHODS: usize = 8;
/// How many arbiters an offer may name.
pub const MAX_ARBITERS: usize = 8;
/// How many languages or currencies an arbiter may name.
pub const MAX_ADVERT_ITEMS: usize = 16;
/// How long an offer may live, in seconds: thirty days.
pub const MAX_OFFER_LIFE_S: u64 = 30 * 24 * 3600;

/// A payment method, e.g. `SEPA instant`.
pub type Method = Text<40>;
/// Terms that a maker or an arbiter states.
pub type Terms = Text<1000>;

/// Which side of an offer its maker is on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Side {
    /// The maker buys bitcoin.
    Buy = 0,
    /// The maker sells bitcoin.
    Sell = 1,
}

/// The author offers to arbitrate under these conditions.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ArbiterAdvert {
    /// The name to show.
    pub name: Text<40>,
    /// The arbiter's key, tweaked by each contract before it enters an escrow.
    pub key: CurveKey,
    /// The X25519 key to which evidence is sealed.
    pub seal_key: [u8; 32],
    /// What a ruling costs, in millionths of the amount.
    pub fee_ppm: u32,
    /// Where that fee goes.
    pub destination: Destination,
    /// The largest trade; zero [withdraws](Self::is_withdrawal).
    pub max_amount: Sats,
    /// Languages spoken, e.g. `en`.
    pub languages: List<Text<16>, MAX_ADVERT_ITEMS>,
    /// Currencies known.
    pub currencies: List<Currency, MAX_ADVERT_ITEMS>,
    /// Anything else.
    pub terms: Terms,
}

impl ArbiterAdvert {
    /// Tells whether the author takes on no trades any more. It withdraws his adverts before it: no trade fits it, and his last
    /// advert is the one that speaks for him.
    pub fn is_withdrawal(&self) -> bool {
        self.max_amount == Sats::ZERO
    }
}

/// Arbiters who share one key offer to arbitrate, each of them having signed for it: so many of them rule together. See
/// [`crate::group`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GroupAdvert {
    /// The step in which the group was proposed.
    pub group: RecordId,
    /// The conditions, with the key that they share and the key to which evidence is sealed.
    pub advert: ArbiterAdvert,
    /// How many of them rule.
    pub threshold: u8,
    /// Who they are, ascending.
    pub members: List<AuthorId, MAX_MEMBERS>,
    /// The signature of each over all of this, in the order of the members.
    pub signatures: List<[u8; 64], MAX_MEMBERS>,
}

/// A step by which a group of arbiters comes to be.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum GroupStep {
    /// Somebody proposes a group.
    Propose(GroupTerms),
    /// A member takes part.
    Join(GroupJoin),
    /// A member deals his shares to the others.
    Deal(GroupDeal),
    /// A member has his share of the key, and signs the group's advert.
    Confirm(GroupConfirm),
}

/// Who forms a group, and on which conditions it will arbitrate.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GroupTerms {
    /// How many of them rule: more than half.
    pub threshold: u8,
    /// Who, ascending; the author is one of them.
    pub members: List<AuthorId, MAX_MEMBERS>,
    /// The name to show.
    pub name: Text<40>,
    /// What a ruling costs, in millionths of the amount.
    pub fee_ppm: u32,
    /// Where that fee goes.
    pub destination: Destination,
    /// The largest trade.
    pub max_amount: Sats,
    /// Languages spoken.
    pub languages: List<Text<16>, MAX_ADVERT_ITEMS>,
    /// Currencies known.
    pub currencies: List<Currency, MAX_ADVERT_ITEMS>,
    /// Anything else.
    pub terms: Terms,
}

/// A member takes part in a group that was proposed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GroupJoin {
    /// The proposal.
    pub group: RecordId,
    /// The X25519 key to which shares for him are sealed.
    pub seal_key: [u8; 32],
    /// Commits to his part of the group's seal secret.
    pub seal_part: [u8; 32],
    /// What he tells everybody of his secret.
    pub draw: Draw,
}

/// A member deals shares of his secret.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GroupDeal {
    /// The proposal.
    pub group: RecordId,
    /// On which steps of the members he rests, in their order.
    pub joins: List<RecordId, MAX_MEMBERS>,
    /// A share for each of the others, in their order.
    pub sealed: List<[u8; SEALED_SHARE_LEN], MAX_OTHERS>,
}

/// A member has his share of the key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GroupConfirm {
    /// The proposal.
    pub group: RecordId,
    /// His signature over the group's advert.
    pub signature: [u8; 64],
    /// His part of the group, sealed to himself: by this record alone he has it again, whatever the others sign from now on.
    pub kept: List<u8, MAX_KEPT_PART_LEN>,
}

/// How long a sealed share is: the smallest seal.
pub const SEALED_SHARE_LEN: usize = 304;
/// How long a member's part is at most as he keeps it: that of a group of five or more needs the second smallest seal.
pub const MAX_KEPT_PART_LEN: usize = 1072;
/// How many other members a member has at most.
pub const MAX_OTHERS: usize = MAX_MEMBERS - 1;

/// A coin that stands for the author: while it is unspent, more of his offers stand in the book. See [`crate::stake`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Stake {
    /// The coin.
    pub coin: Outpoint,
    /// The output key of its P2TR script.
    pub key: CurveKey,
    /// That key's signature over network, author and coin.
    pub signature: CurveSignature,
}

/// What the ledger was at a time: the records up to then of all logs that have not forked. See [`crate::checkpoint`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The time, in seconds since the Unix epoch; not after the record's own.
    pub time: u64,
    /// How many logs.
    pub logs: u64,
    /// How many records they have.
    pub records: u64,
    /// The hash of their ends.
    pub state: StateHash,
}

/// An offer to buy or sell bitcoin.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Offer {
    /// Whether the maker buys or sells.
    pub side: Side,
    /// The other money.
    pub currency: Currency,
    /// The price.
    pub price: Price,
    /// The smallest amount.
    pub min: Sats,
    /// The largest amount.
    pub max: Sats,
    /// The payment methods, at least one.
    pub methods: List<Method, MAX_METHODS>,
    /// The maker's terms.
    pub terms: Terms,
    /// Adverts of the arbiters that the maker trusts, at least one, the preferred first.
    pub arbiters: List<RecordId, MAX_ARBITERS>,
    /// What the seller puts into the escrow besides, in millionths of the amount; or nothing.
    pub seller_bond_ppm: u32,
    /// What the buyer puts into an output of his own, in millionths of the amount; or nothing.
    pub buyer_bond_ppm: u32,
    /// Blocks after which arbiter and winner may spend.
    pub arbitration_delay: u16,
    /// Blocks after which the second arbiter and the winner may.
    pub second_delay: u16,
    /// Blocks after which each funder may take back what he put in.
    pub refund_delay: u16,
    /// Whether the maker's node accepts bids by itself.
    pub automatic: bool,
    /// When the offer ends, in seconds since the Unix epoch; at most thirty days after the record's time.
    pub expires: u64,
}

/// What either party brings to a contract.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Party {
    /// The party's key in the escrow, used for this trade only.
    pub trade_key: CurveKey,
    /// The X25519 key to which messages of this trade are sealed.
    pub seal_key: [u8; 32],
    /// Where coins that come to the party go.
    pub destination: Destination,
    /// The commitment to the party's payment details (`exchange/details/v1`).
    pub details: [u8; 32],
}

/// A bid for an offer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Take {
    /// The offer.
    pub offer: RecordId,
    /// How much.
    pub amount: Sats,
    /// Which of the offer's methods, by position.
    pub method: u8,
    /// Which of the offer's arbiters, by position.
    pub arbiter: u8,
    /// Which of them rules when the first is silent, by position.
    pub second_arbiter: Option<u8>,
    /// A random number, from which the taker derives the keys of this trade.
    pub nonce: [u8; 32],
    /// What the taker brings.
    pub party: Party,
}

impl Take {
    /// Returns the offer that a bid names, without a look at the rest of it; none of a bare one.
    pub fn offer_in(record: &Record) -> Option<RecordId> {
        let is_bid = record.header().kind == Kind::Take;
        record.body().first_chunk().copied().map(RecordId).filter(|_| is_bid)
    }
}

/// The maker accepts a bid. The first acceptance in the maker's own log wins.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Accept {
    /// The trade.
    pub trade: TradeId,
    /// The offer.
    pub offer: RecordId,
    /// The maker's chain height: the escrow cannot be funded earlier.
    pub height: u32,
    /// What the maker brings.
    pub party: Party,
}

/// An output that holds coins of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Coin {
    /// The output.
    pub outpoint: Outpoint,
    /// Its value.
    pub value: Sats,
}

/// All outputs that hold the coins of a trade: what each spend spends together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Vaults {
    /// The escrow: the amount and the seller's bond.
    pub escrow: Coin,
    /// The buyer's bond.
    pub bond: Option<Coin>,
}

impl Vaults {
    /// Returns the escrow's outpoint, by which both are named.
    pub const fn outpoint(&self) -> bitcoin::OutPoint {
        self.escrow.outpoint.0
    }

    /// Returns the outputs, the escrow first.
    pub fn coins(&self) -> impl Iterator<Item = Coin> {
        std::iter::once(self.escrow).chain(self.bond)
    }

    /// Returns the sum of their values; `None` when it is more than all bitcoin.
    pub fn value(&self) -> Option<Sats> {
        self.bond.map_or(Some(self.escrow.value), |bond| self.escrow.value.checked_add(bond.value))
    }
}

/// Signatures over a spend through one leaf, SIGHASH_DEFAULT: one for each output that it spends, the escrow's first.
pub type Signatures = List<CurveSignature, 2>;

/// One party's signatures over a spend through the leaf of both.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct HalfSpend {
    /// What it spends.
    pub vaults: Vaults,
    /// The fee of the spend.
    pub fee: Sats,
    /// The signatures.
    pub signatures: Signatures,
}

/// Calls a trade off.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Cancel {
    /// The trade.
    pub trade: TradeId,
    /// Once the escrow is funded: the buyer's signature over the refund to the seller.
    pub refund: Option<HalfSpend>,
}

/// The seller names the escrow's outpoint.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Funded {
    /// The trade.
    pub trade: TradeId,
    /// The escrow.
    pub outpoint: Outpoint,
}

/// The buyer says that the payment is on its way.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PaymentSent {
    /// The trade.
    pub trade: TradeId,
}

/// The seller releases the escrow to the buyer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Release {
    /// The trade.
    pub trade: TradeId,
    /// The seller's signature over the payout.
    pub payout: HalfSpend,
}

/// The author saw the trade end on the chain.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Closed {
    /// The trade.
    pub trade: TradeId,
    /// The transaction that spent the escrow.
    pub spend: TxId,
}

/// A party calls for the arbiter.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Dispute {
    /// The trade.
    pub trade: TradeId,
}

/// How an arbiter divides the coins of a dispute. His fee follows from the contract; what remains is the miner's.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Ruling {
    /// The trade.
    pub trade: TradeId,
    /// The coins.
    pub vaults: Vaults,
    /// What the buyer gets.
    pub to_buyer: Sats,
    /// What the seller gets.
    pub to_seller: Sats,
    /// The arbiter's signatures for the leaf that he has with the buyer; none if the buyer gets nothing.
    pub with_buyer: Signatures,
    /// The arbiter's signatures for the leaf that he has with the seller; none if the seller gets nothing.
    pub with_seller: Signatures,
}

/// An arbiter lets either party move the coins of a dispute into the same escrow again, so that all delays begin anew.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Extend {
    /// The trade.
    pub trade: TradeId,
    /// The coins.
    pub vaults: Vaults,
    /// The fee, from the escrow's value.
    pub fee: Sats,
    /// The arbiter's signatures for the leaf that he has with the buyer.
    pub with_buyer: Signatures,
    /// The arbiter's signatures for the leaf that he has with the seller.
    pub with_seller: Signatures,
}

/// Withdraws an offer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Revoke {
    /// The offer.
    pub offer: RecordId,
}

macro_rules! bodies {
    ($($kind:ident,)*) => {
        /// A decoded body.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Body {
            /// See [`Kind::Heartbeat`].
            Heartbeat,
            $(#[doc = concat!("See [`Kind::", stringify!($kind), "`].")] $kind($kind),)*
            /// A kind of a later version.
            Unknown(u16),
        }

        impl Body {
            /// Returns the kind.
            pub const fn kind(&self) -> Kind {
                match self {
                    Self::Heartbeat => Kind::Heartbeat,
                    $(Self::$kind(_) => Kind::$kind,)*
                    Self::Unknown(code) => Kind::Unknown(*code),
                }
            }

            /// Returns the body's bytes; none for a kind that this code does not know.
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    Self::Heartbeat | Self::Unknown(_) => Vec::new(),
                    $(Self::$kind(body) => borsh::to_vec(body).expect("writing to memory does not fail"),)*
                }
            }

            /// Reads a record's body and checks what can be checked of it alone.
            ///
            /// # Errors
            /// [`RecordError::Body`] when the bytes are not the one encoding of a valid body, [`RecordError::Bare`] without them.
            pub fn decode(record: &Record) -> Result<Self, RecordError> {
                record.decoded().map(|body| (**body).clone()).map_err(Clone::clone)
            }

            /// Reads a record's body again, for [`Record::decoded`].
            pub(crate) fn decode_anew(record: &Record) -> Result<Self, RecordError> {
                if record.is_bare() {
                    return Err(RecordError::Bare);
                }
                let kind = record.header().kind;
                let body = match kind {
                    Kind::Heartbeat => Self::Heartbeat,
                    $(Kind::$kind => Self::$kind(borsh::from_slice(record.body()).map_err(|e| refuse(kind, e))?),)*
                    Kind::Unknown(code) => return Ok(Self::Unknown(code)),
                };
                if body.encode() != record.body() {
                    return Err(refuse(kind, "not its canonical encoding"));
                }
                body.check(record.header().time)?;
                body.check_signature(record.header())?;
                Ok(body)
            }
        }
    };
}

bodies! { ArbiterAdvert, Stake, Checkpoint, GroupAdvert, GroupStep, Offer, Revoke, Take, Accept, Cancel, Funded, PaymentSent, Release, Closed, Dispute,
Ruling, Extend, }

impl Body {
    /// Checks what the body says against the rules that need no other record. `time` is the record's own.
    ///
    /// # Errors
    /// [`RecordError::Body`] with the broken rule.
    pub fn check(&self, time: u64) -> Result<(), RecordError> {
        crate::rules::check_body(self, time).map_err(|reason| refuse(self.kind(), reason))
    }

    /// Checks a signature inside of the body that must be good for the record to be valid. Others are checked where they
    /// are used.
    fn check_signature(&self, header: &Header) -> Result<(), RecordError> {
        match self {
            Self::Stake(stake) if !crate::stake::is_signed(stake, &header.network, &header.log.author) => {
                Err(refuse(self.kind(), "the coin's owner did not sign it for this author and network"))
            }
            Self::GroupStep(GroupStep::Propose(terms)) if !terms.members.contains(&header.log.author) => {
                Err(refuse(self.kind(), "whoever proposes a group is one of its members"))
            }
            Self::GroupAdvert(advert) if !crate::group::is_signed(advert, header) => {
                Err(refuse(self.kind(), "not every member of the group signed it"))
            }
            Self::Stake(_)
            | Self::GroupAdvert(_)
            | Self::GroupStep(_)
            | Self::Checkpoint(_)
            | Self::Heartbeat
            | Self::ArbiterAdvert(_)
            | Self::Offer(_)
            | Self::Revoke(_)
            | Self::Take(_)
            | Self::Accept(_)
            | Self::Cancel(_)
            | Self::Funded(_)
            | Self::PaymentSent(_)
            | Self::Release(_)
            | Self::Closed(_)
            | Self::Dispute(_)
            | Self::Ruling(_)
            | Self::Extend(_)
            | Self::Unknown(_) => Ok(()),
        }
    }

    /// Returns the records that this body is about: an offer, a trade, or both; the name of the bids for an offer, and of
    /// the coin of a stake. The table is in `specs/kinds.md`.
    ///
    /// It says what it says: anybody can take an offer for a trade, or a trade for an offer. So whoever finds a record about a
    /// subject looks in which field it names it before he goes by it; what it takes of the room is the same. Only among the stakes
    /// of a coin, of which the first counts, nothing else is found.
    pub fn subjects(&self) -> Vec<RecordId> {
        let mut subjects = self.named();
        if self.kind() != Kind::Stake {
            subjects.retain(|subject| !crate::stake::is_name(subject));
        }
        subjects
    }

    fn named(&self) -> Vec<RecordId> {
        match self {
            Self::Heartbeat | Self::ArbiterAdvert(_) | Self::Checkpoint(_) | Self::Offer(_) | Self::Unknown(_) => {
                Vec::new()
            }
            Self::Stake(stake) => vec![crate::stake::subject(stake)],
            Self::GroupStep(GroupStep::Propose(terms)) => terms.members.iter().map(crate::group::invitation).collect(),
            Self::GroupAdvert(GroupAdvert { group, .. })
            | Self::GroupStep(
                GroupStep::Join(GroupJoin { group, .. })
                | GroupStep::Deal(GroupDeal { group, .. })
                | GroupStep::Confirm(GroupConfirm { group, .. }),
            ) => vec![*group],
            Self::Revoke(revoke) => vec![revoke.offer],
            Self::Take(take) => vec![bids_for(&take.offer)],
            Self::Accept(accept) => vec![accept.offer, accept.trade.into()],
            Self::Cancel(Cancel { trade, .. })
            | Self::Funded(Funded { trade, .. })
            | Self::PaymentSent(PaymentSent { trade })
            | Self::Release(Release { trade, .. })
            | Self::Closed(Closed { trade, .. })
            | Self::Dispute(Dispute { trade })
            | Self::Ruling(Ruling { trade, .. })
            | Self::Extend(Extend { trade, .. }) => vec![(*trade).into()],
        }
    }
}

/// Returns the name under which the bids for an offer are found. It is not the offer's own: what decides the offer is found
/// among the first records about it, and must be the same whether or not the bids have kept their bodies.
pub fn bids_for(offer: &RecordId) -> RecordId {
    RecordId(tagged("exchange/bids/v1", &[offer.as_bytes()]))
}

fn refuse(kind: Kind, reason: impl ToString) -> RecordError {
    RecordError::Body { kind, reason: reason.to_string() }
}
