//! The audit of a ledger, by itself, against the chain and against a peer.

use exchange_ledger::body::Checkpoint;
use exchange_ledger::ids::{AuthorId, RecordId, StateHash, TradeId};
use exchange_ledger::money::Sats;
use exchange_ledger::trade::Phase;
use serde::{Deserialize, Serialize};

use super::ChainTx;

/// What to audit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRequest {
    /// Also compare the escrows of the trades that are listed with the chain.
    pub chain: bool,
    /// Only this author's logs, and the trades in which he has a part.
    pub author: Option<AuthorId>,
    /// Of trades only this one, whether it was agreed on or not.
    pub trade: Option<TradeId>,
    /// Only the trades after this one, the last that a report listed which did not list all. Records are not checked again.
    pub after: Option<TradeId>,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Whether nothing is wrong with what was looked at: [`Self::cut`] tells what was not.
    pub ok: bool,
    /// How many records were checked: bytes, signatures, logs.
    pub records: u64,
    /// How many of these are old and kept without their bodies: of them the signature was checked, and that they are what was
    /// signed, but not what they say.
    pub bare: u64,
    /// How many trades were or may have been agreed on of which this node lacks what was bid, so that they were not judged.
    pub lacked: u64,
    /// How many authors they have.
    pub authors: u64,
    /// How many bids were judged.
    pub bids: u64,
    /// How many of these were agreed on.
    pub agreed: u64,
    /// The trades that were agreed on and where they stand, 2000 at most.
    pub trades: Vec<AuditedTrade>,
    /// What is wrong with the ledger or, when asked, with the chain.
    pub violations: Vec<Violation>,
    /// Proofs that somebody did wrong, which changes nothing for others. All bids were judged for them, listed or not.
    pub evidence: Vec<Violation>,
    /// What went into the escrows of the trades listed and came out of them, when the chain was asked.
    pub sums: Option<EscrowSums>,
    /// What identities say that the ledger was, beside what it was here.
    pub checkpoints: Vec<CheckpointView>,
    /// What was not looked at or is not told.
    pub cut: AuditCut,
}

/// What an audit did not look at or does not tell: there is too much of it, or the chain had no answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCut {
    /// Whether more trades were agreed on than are listed: ask for those after the last of them.
    pub trades: bool,
    /// About how many trades strangers said more than was looked at.
    pub crowded: u64,
    /// Whether there are more checkpoints than were compared.
    pub checkpoints: bool,
    /// How many violations of the ledger are not told. Everybody's first is told before anybody's second, and so on.
    pub violations: u64,
    /// How many proofs of misconduct are not told, likewise.
    pub evidence: u64,
    /// How many of the trades that are listed were not compared with the chain, though it was asked: each says why.
    pub not_compared: u64,
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
    /// Why it was not compared with the chain, though that was asked: then nothing is known of its coins, or where a part was compared,
    /// what is told of them is so by the chain that the node reads.
    pub not_compared: Option<NotCompared>,
}

/// Why a trade was not compared with the chain. An audit of this trade alone may tell more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotCompared {
    /// More outputs are named or signed for than one report looks up of a trade, or more blocks would have to be read for them.
    TooMuch,
    /// The chain had no good answer.
    Failed,
    /// The chain that the node reads is old; or it may be behind what somebody had seen who says of the trade what it does not show:
    /// then that is left out, and all else was compared.
    Behind,
    /// A party says that it is over, and nobody names or signs for an output that funded it: one may have been taken back alone, or
    /// the record that names it is not here, as while the node has not taken in all that a peer holds.
    Unnamed,
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
    /// What arbiters got.
    pub to_arbiters: Sats,
    /// What went anywhere else.
    pub elsewhere: Sats,
    /// What the miners got.
    pub fees: Sats,
    /// What is still in.
    pub held: Sats,
}

impl EscrowSums {
    /// Adds the sums of more escrows; `None` when they are more than all bitcoin.
    pub fn checked_add(self, more: Self) -> Option<Self> {
        Some(Self {
            funded: self.funded.checked_add(more.funded)?,
            to_buyers: self.to_buyers.checked_add(more.to_buyers)?,
            to_sellers: self.to_sellers.checked_add(more.to_sellers)?,
            to_arbiters: self.to_arbiters.checked_add(more.to_arbiters)?,
            elsewhere: self.elsewhere.checked_add(more.elsewhere)?,
            fees: self.fees.checked_add(more.fees)?,
            held: self.held.checked_add(more.held)?,
        })
    }
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
    /// The same records, but for those of logs that have forked, of which neither says anything.
    Same,
    /// As many logs and records, but not the same: somebody was shown another history, or each knows of another fork.
    Different,
    /// Other counts: one has not received, or has learned of a fork, what the other has.
    Uneven,
}
