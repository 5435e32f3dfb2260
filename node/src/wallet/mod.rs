//! The bitcoin wallet of a node: BIP-86 Taproot, by `bdk_wallet`, fed by a chain [`Follower`](crate::chain::Follower).
//!
//! One task owns the wallet; others hold a [`WalletHandle`]. What changes is on disk before it is reported: an address
//! before it is handed out, a transaction and the inputs it takes before it is returned. And an address that is handed out
//! is one of which the chain's follower was told; one that begins is told of all, and goes on after the last block that the
//! wallet knows. A new address is refused where that cannot be: nothing waits for a chain that does not answer. Private keys
//! are never on disk here: the seed comes from the identity at each start and stays in memory.
//!
//! | module | what |
//! |---|---|
//! | `handle`, `requests` | what others can ask, and what they are told |
//! | `task` | the loop: chain events in, commands in, changes to disk |
//! | `state` | what the wallet holds and has promised; which coins may be spent |
//! | `sync` | how chain events change it |
//! | `pool` | what counts of what only a pool shows |
//! | `payment` | building, signing and checking transactions |
//! | `bump` | a higher fee for what waits, by a replacement or a child |
//! | `cancel` | coins back from a payment that waits, or that nobody shows |
//! | `coins`, `labels` | the coins one by one; what their owner says of them |
//! | `psbt` | transactions that are signed elsewhere too |
//! | `share` | this wallet's share of a funding from two wallets |
//! | `history` | pages of transactions |
//! | `persist` | what a change on disk holds |
//! | `store` | where changes are kept |
//! | `keys` | descriptors and signatures |
//!
//! Deliberately absent: keys of trades (siblings of the wallet's, kept by the trade's driver), and spending coins that
//! are unconfirmed and not our own change, or the change of what is being replaced: a block may hold the earlier version.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::chain::ChainBackend;

mod bump;
mod cancel;
mod coins;
mod error;
mod handle;
mod history;
mod keys;
mod labels;
mod payment;
mod persist;
mod pool;
pub mod psbt;
mod requests;
mod share;
mod state;
mod store;
mod sync;
mod task;
#[cfg(test)]
mod tests;

pub use bump::child_vsize;
pub use coins::{Coin, CoinCursor, CoinState, MAX_COINS};
pub use error::WalletError;
pub use handle::WalletHandle;
pub use history::{HistoryCursor, HistoryEntry, HistoryPage, MAX_PAGE};
pub use labels::{Label, LabelSubject, LabelsSet, MAX_LABEL_PAGE};
pub use payment::{MAX_SPENT_COINS, MIN_FEE_RATE};
pub use requests::{
    Balance, BumpRequest, Bumped, CancelRequest, Cancelled, ChildRequest, CoinMessage, DepositAddress, FeeRaise,
    FinishRequest, FundRequest, OwnedCoin, Payment, Priced, PricedCancel, PricedRaise, SendRequest, ShareRequest,
    ShareSigning,
};
#[cfg(any(test, feature = "test-support"))]
pub use store::MemoryWalletStore;
pub use store::{DiskWalletStore, WalletStore};

/// How many built transactions may wait to be final: a trade a minute all day.
const MAX_RESERVATIONS: usize = 1_000;
/// How many addresses are handed out: with their change and look-ahead they stay below what one follower watches.
const MAX_ADDRESSES: u32 = 40_000;
/// Of how many things the owner may say something, a frozen coin being one, and how long a label and a request id may be.
const MAX_LABELS: usize = 100_000;
const MAX_LABEL_BYTES: usize = 256;

/// Returns the time in seconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a wallet is opened with.
pub struct WalletSetup {
    /// The BIP-39 seed of the identity's words.
    pub seed: Zeroizing<[u8; 64]>,
    /// Where changes are kept.
    pub store: Arc<dyn WalletStore>,
    /// The chain, which also says on which network the wallet is.
    pub chain: Arc<dyn ChainBackend>,
    /// The height before which no coin can have come in; 0 searches the whole chain when the store is empty.
    pub birth_height: u32,
    /// The node's clock.
    pub clock: Clock,
}

/// How far the wallet is. Each change of the wallet changes `revision`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalletStatus {
    /// Counts the changes since the start.
    pub revision: u64,
    /// The height of the chain as the wallet knows it.
    pub height: u32,
    /// Whether the wallet has caught up with the chain since the start.
    pub synced: bool,
}

impl std::fmt::Debug for WalletSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalletSetup").field("birth_height", &self.birth_height).finish_non_exhaustive()
    }
}
