//! Funding an escrow from two wallets: the seller's output and the buyer's bond in one transaction, so that neither is ever
//! locked without the other. `specs/funding.md` is normative.
//!
//! | message | from | says | what its sender risks |
//! |---|---|---|---|
//! | [`Proposal`] | seller | my coins, my change, feerate, lock height | nothing: nothing is signed |
//! | [`Answer`] | buyer | my coins, my change, and my signatures over the whole transaction | his coins wait until it is on the chain or he spends one elsewhere |
//!
//! Then the seller signs, keeps the transaction and sends it to the network. A message names nothing but coins, a change
//! script, a feerate and a height. Every amount is computed by both sides alike: what the coins hold is what the own chain
//! says, what each pays follows from the contract and the weight of what he brings, and the rest is his change. So there is
//! no number of a peer's to be wrong about.
//!
//! For all proposals of one trade a side brings the same coins. So any two transactions that it signs spend the same coin,
//! and at most one of them can ever confirm.

use bitcoin::key::TweakedPublicKey;
use bitcoin::{OutPoint, Script, ScriptBuf, TxOut, Txid, XOnlyPublicKey};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::hash::tagged;
use crate::money::Sats;
use crate::trade::Role;
use crate::wire::{CurveKey, CurveSignature, Destination, List, Outpoint};

mod draft;
mod negotiation;

pub use draft::{Draft, most, needed};
pub use negotiation::{Effect, Event, Negotiation, Now, highest_feerate};

/// How many coins a side may bring: its message and the time that looking them up takes stay small, and a wallet whose
/// coins are smaller than a sixteenth of the trade should join them first.
pub const MAX_INPUTS: usize = 16;
/// How many proposals a trade can see. Each costs both sides look-ups and mail; a ninth would not go better.
pub const MAX_PROPOSALS: u8 = 8;
/// Blocks after which a buyer who signed takes his coins back if none holds a transaction that he signed: six hours, from his
/// first signature on. Until then the seller could still begin the trade, at a price that was agreed on before.
pub const PATIENCE: u32 = 36;
/// Blocks after which a proposal that was not answered may be made again.
pub const PROPOSAL_AGE: u32 = 6;
/// Confirmations after which a coin that was spent elsewhere makes a signed transaction count as dead.
pub const DEAD_AFTER: u32 = 6;

/// A coin, as a peer is told of it: an output that pays to a key (P2TR), which alone has a witness of known size and a
/// signature over the amounts of all inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Input {
    /// The output.
    pub outpoint: Outpoint,
    /// The output key of its script.
    pub key: CurveKey,
    /// The height from which to look for it.
    pub height: u32,
}

impl Input {
    /// Returns its script.
    pub fn script(&self) -> ScriptBuf {
        ScriptBuf::new_p2tr_tweaked(TweakedPublicKey::dangerous_assume_tweaked(self.key.0))
    }
}

/// Returns the output key of a script that pays to one (P2TR), which is all that an [`Input`] says of its script.
pub fn output_key(script: &Script) -> Option<XOnlyPublicKey> {
    if !script.is_p2tr() {
        return None;
    }
    XOnlyPublicKey::from_slice(script.as_bytes().get(2..)?).ok()
}

/// What a side brings to the transaction, as it tells the other.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Contribution {
    /// Its coins.
    pub inputs: List<Input, MAX_INPUTS>,
    /// Where what is left over goes.
    pub change: Destination,
}

/// The seller's message.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// The feerate, in sat/vB.
    pub feerate: u64,
    /// The transaction's lock time: the height of the seller's tip.
    pub height: u32,
    /// What he brings.
    pub seller: Contribution,
}

impl Proposal {
    /// Returns the name by which an answer refers to it.
    pub fn id(&self) -> [u8; 32] {
        let bytes = borsh::to_vec(self).expect("writing to memory does not fail");
        tagged("exchange/funding-proposal/v1", &[&bytes])
    }
}

/// The buyer's message.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Answer {
    /// The proposal that it answers.
    pub proposal: [u8; 32],
    /// What he brings.
    pub buyer: Contribution,
    /// His signatures, one for each of his coins, in their order.
    pub signatures: List<CurveSignature, MAX_INPUTS>,
}

/// What a side brings, with what its coins hold: by the own wallet, or by the own chain.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Funder {
    /// What the other side is told.
    pub contribution: Contribution,
    /// What each coin holds.
    pub values: List<Sats, MAX_INPUTS>,
}

/// What the own chain says of a peer's coin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputState {
    /// Confirmed, and nothing spends it.
    Unspent {
        /// The output.
        output: TxOut,
        /// Whether it is a coin of this side's own wallet.
        ours: bool,
    },
    /// Not in a block yet.
    Unconfirmed,
    /// Spent.
    Spent {
        /// By which transaction.
        by: Txid,
        /// How deep that is buried; 0 in the pool.
        depth: u32,
    },
    /// The chain shows no such output.
    Unknown,
}

/// What both sides know from the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// This side.
    pub role: Role,
    /// The seller's output: the amount and his bond.
    pub seller_output: TxOut,
    /// The buyer's output: his bond.
    pub buyer_output: TxOut,
    /// The height that the acceptance states: no proposal has a lower one.
    pub from_height: u32,
}

impl Terms {
    /// Returns the output that a side pays.
    pub const fn output(&self, role: Role) -> &TxOut {
        match role {
            Role::Seller => &self.seller_output,
            Role::Buyer | Role::Arbiter => &self.buyer_output,
        }
    }
}

/// Why a contribution, a proposal or an answer is refused. Nothing was signed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FundingError {
    /// No coins at all.
    #[error("the {0} brings no coins")]
    Empty(Role),
    /// The same coin twice, be it once by each side.
    #[error("the coin {0} is brought twice")]
    Duplicate(OutPoint),
    /// The peer brings a coin of this side's own wallet.
    #[error("the {role} brings {coin}, which is a coin of this wallet")]
    NotTheirs {
        /// Who.
        role: Role,
        /// Which.
        coin: OutPoint,
    },
    /// The chain does not show the coin as one that can be spent.
    #[error("the coin {coin} of the {role} is {state}")]
    Unusable {
        /// Whose.
        role: Role,
        /// Which.
        coin: OutPoint,
        /// What it is instead.
        state: &'static str,
    },
    /// The coin has another script than the peer said.
    #[error("the coin {0} does not pay to the key that was named")]
    Script(OutPoint),
    /// The coins do not hold what is to be paid, or more than there is.
    #[error("the coins of the {role} hold {held} BTC, {needed} BTC are needed")]
    Short {
        /// Whose.
        role: Role,
        /// What they hold.
        held: Sats,
        /// What is needed, the share of the fee included.
        needed: Sats,
    },
    /// A sum is more than all bitcoin.
    #[error("a sum is more than there is bitcoin")]
    Overflow,
    /// The feerate is out of bounds, or far above what this side's chain asks for.
    #[error("a feerate of {feerate} sat/vB is out of bounds, which are 1 to {highest} now")]
    Feerate {
        /// As proposed.
        feerate: u64,
        /// The highest that this side pays.
        highest: u64,
    },
    /// The lock height is above the own tip, or before the contract.
    #[error("the lock height {height} is not between the contract's height and this chain's tip")]
    LockHeight {
        /// As proposed.
        height: u32,
    },
    /// A change script that is the escrow's or the other side's.
    #[error("the change of the {0} goes to the escrow or to the other side")]
    Change(Role),
    /// The number of signatures is not the number of coins, or one does not fit the transaction.
    #[error("the signatures of the {0} do not fit the transaction that the contract prescribes")]
    Signature(Role),
    /// A message for another role, or another proposal than the last.
    #[error("the message does not fit where this funding stands")]
    Unexpected,
    /// Too many proposals.
    #[error("there were {MAX_PROPOSALS} proposals already; cancel the trade")]
    TooManyProposals,
    /// A proposal is out, and not old.
    #[error("a proposal is out; the other side has not answered yet")]
    Outstanding,
    /// The transaction is signed, or coins are already on their way back.
    #[error("the funding is signed already")]
    Signed,
}

/// Checks a peer's contribution against what the own chain says of its coins, in their order.
///
/// # Errors
/// The first coin that cannot be taken, and why.
pub fn check_inputs(role: Role, contribution: &Contribution, states: &[InputState]) -> Result<Funder, FundingError> {
    if states.len() != contribution.inputs.len() {
        return Err(FundingError::Unexpected);
    }
    let mut values = Vec::with_capacity(states.len());
    for (coin, state) in contribution.inputs.iter().zip(states) {
        let outpoint = coin.outpoint.0;
        let unusable = |state| FundingError::Unusable { role, coin: outpoint, state };
        let output = match state {
            InputState::Unspent { ours: true, .. } => return Err(FundingError::NotTheirs { role, coin: outpoint }),
            InputState::Unspent { output, ours: false } => output,
            InputState::Unconfirmed => return Err(unusable("not confirmed")),
            InputState::Spent { .. } => return Err(unusable("spent")),
            InputState::Unknown => return Err(unusable("not in the chain")),
        };
        if output.script_pubkey != coin.script() {
            return Err(FundingError::Script(outpoint));
        }
        values.push(Sats::try_from(output.value).map_err(|_| FundingError::Overflow)?);
    }
    let values = List::new(values).ok_or(FundingError::Unexpected)?;
    Ok(Funder { contribution: contribution.clone(), values })
}

#[cfg(test)]
mod tests;
