//! The network: one task owns the swarm, everybody else holds a [`NetClient`].
//!
//! What arrives is judged by a [`Replica`], the node's ledger and mailbox as the network sees them: opaque bytes in,
//! verdicts out. The network knows nothing of offers, trades or keys.
//!
//! News are pushed by gossip; whatever gossip misses is pulled by a sync session with each peer, on connecting, at
//! intervals, and at once when a record arrives whose predecessors are missing. Every wait for the replica happens in a
//! task of its own, so that a slow disk never stops the swarm.
//!
//! | file | idea |
//! |---|---|
//! | [`config`] | what a user may set, and what can go wrong |
//! | `client` | the handle that the rest of the node holds |
//! | `swarm`, `events` | the task: commands, reports and events in, decisions out |
//! | `listen`, `watchers` | setting it up, and two small tasks beside it |
//! | `peers` | who is connected, and when to sync with whom; beside it `plan`, what a session is to do, and `shares`, what those from one network may take |
//! | `dialer` | bootstrap addresses and when to dial them again |
//! | `gate` | who may connect: bans, the list of only peers, the share of an address |
//! | `origin` | where a connection comes from |
//! | `behaviour` | the composed libp2p behaviour and its bounds |
//! | `gossip` | judging what gossip brings |
//! | `queue` | a queue in which sources take turns |
//! | `bucket` | how much may be taken at once, and over time |
//! | `pace` | how fast one author's news travel by gossip |
//! | `told` | of which logs it was told that they have forked |
//! | `protocol`, `codec` | the sync protocol: messages, and their bytes |
//! | `sync`, `mail`, `link`, `claims` | pulling what a peer has and we lack; handing over mail |
//! | `serve` | answering a peer's requests |
//! | [`key`] | the network key of a data directory |

use async_trait::async_trait;

use exchange_ledger::ids::MailboxId;
use exchange_ledger::record::Record;
use libp2p::PeerId;

mod behaviour;
mod bucket;
mod claims;
mod client;
mod codec;
pub mod config;
mod dialer;
mod events;
mod gate;
mod gossip;
pub mod key;
mod link;
mod listen;
mod mail;
mod origin;
mod pace;
mod peers;
mod protocol;
mod queue;
mod serve;
mod swarm;
mod sync;
#[cfg(test)]
mod tests;
mod told;
mod watchers;

pub use client::{NetClient, PeerInfo};
pub use codec::Traffic;
pub use config::{MESH, Mesh, NetConfig, NetError, NetLimits};
pub use protocol::{MAX_GOSSIP_LEN, MAX_MAIL_LEN};
pub use swarm::start;

pub use exchange_ledger::sync::{Own, Verdict};

/// The node's data as the network sees it. Every method is bounded in time and size.
#[async_trait]
pub trait Replica: Send + Sync + 'static {
    /// Takes in encoded records; one verdict for each, in order.
    async fn ingest(&self, records: Vec<Vec<u8>>) -> Vec<Verdict>;

    /// Keeps records that are here without their bodies with them; returns how many of these there were. The bodies are good.
    async fn restore(&self, records: Vec<Record>) -> usize;

    /// Lets `reader` look at the ledger, once. May block.
    fn read(&self, reader: &mut dyn FnMut(&dyn Own));

    /// Takes in an encoded mail envelope.
    async fn put_mail(&self, envelope: Vec<u8>) -> Verdict;

    /// Returns encoded envelopes of a mailbox after the cursor `after` (0 at first) and the cursor to go on from.
    async fn mail(&self, mailbox: MailboxId, after: u64, max_bytes: usize) -> (Vec<Vec<u8>>, u64);

    /// Returns the mailboxes that this node wants to empty, at most a thousand.
    async fn my_mailboxes(&self) -> Vec<MailboxId>;

    /// Returns the encoded envelopes that this node has sent and whose trades are open, to hand to new peers; at most a
    /// thousand.
    async fn my_outbox(&self) -> Vec<Vec<u8>>;

    /// Is told that everything that a peer held was taken in. Returns at once.
    fn compared(&self);

    /// Is told that a peer came or went; not, that the network ends.
    async fn peer_changed(&self, peer: PeerId, connected: bool);
}
