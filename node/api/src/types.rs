//! What travels over the local API, a file for each screen. Amounts are integers of base units (satoshis, minor units of
//! the other currency); ids are typed and print as hex; times are seconds since the Unix epoch; heights are of the chain
//! in use.

use serde::{Deserialize, Serialize};

mod arbiters;
mod audit;
mod book;
mod coins;
mod groups;
mod node;
mod talk;
mod trades;
mod wallet;

pub use arbiters::*;
pub use audit::*;
pub use book::*;
pub use coins::*;
pub use groups::*;
pub use node::*;
pub use talk::*;
pub use trades::*;
pub use wallet::*;

/// A name that makes a call that moves money idempotent: the same id again returns the first answer. Any text of 1 to 64
/// bytes, unique to the caller.
pub type RequestId = String;

/// A page of a list. `next` is the cursor of the next page, `None` on the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins.
    pub next: Option<String>,
}
