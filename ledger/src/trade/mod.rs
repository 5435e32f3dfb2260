//! A trade, from a bid to coins in the buyer's wallet: contract, escrow, facts, phases and the machine that drives it.

mod chain;
mod contract;
mod escrow;
mod facts;
pub mod funding;
mod machine;
mod phase;
pub mod pins;
mod view;

pub use chain::{ChainFacts, Funding, Spend, Stray, spend_fee, spends_any};
pub use contract::{Arbiter, Bid, Contract, ContractError, Seat, confirmations_for, details_commitment, share_of};
pub use escrow::{
    Ask, Asked, Draft, Elsewhere, Escrow, EscrowError, KeyPathError, Leaf, Nonces, PartialSignature, PublicNonce,
    Reply, SIGNER_BRANCH, SPEND_VSIZE, Signer, SpendPath, Unsigned, Vault, Verdict, arbiter_tweak, counterparty,
    payout_vsize, signer_index, tweak_arbiter_pair,
};
pub use facts::{Facts, MAX_HALVES, MAX_NAMED, MAX_RULED};
pub use machine::{Command, Effect, Event, HURRY_BLOCKS, Hurried, Local, MAX_REPLIES, MAX_ROUNDS, Refusal, Trade};
pub use phase::{Action, Phase, Role, actions, evaluate};
pub use view::View;
