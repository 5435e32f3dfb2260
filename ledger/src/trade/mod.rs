//! A trade, from a bid to coins in the buyer's wallet: contract, escrow, facts, phases and the machine that drives it.

mod contract;
mod escrow;
mod facts;
mod machine;
mod phase;
pub mod pins;

pub use contract::{Bid, Contract, ContractError, confirmations_for, details_commitment};
pub use escrow::{Escrow, EscrowError, Leaf, SPEND_VSIZE, SpendPath, counterparty};
pub use facts::{ChainFacts, Facts, Funding, MAX_HALVES, Spend, View};
pub use machine::{Command, Effect, Event, Local, Refusal, Trade};
pub use phase::{Action, Phase, Role, actions, evaluate};
