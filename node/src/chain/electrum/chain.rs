//! The chain of headers, read from servers and checked: each header stands on the one before, has the work that it states
//! and states what the chain prescribes; the chain holds every block that everybody knows, and of two the one with more
//! work counts.

use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::{Network, Work};
use exchange_ledger::audit::bundle::{anchors, may_ask};

use super::connection::Connection;
use crate::chain::headers::{Headers, start_of};
use crate::chain::{ChainError, MAX_HEADERS, MEDIAN_SPAN, median_time};
use crate::clock::unix_now;

/// Blocks between two adjustments of the difficulty.
const INTERVAL: u32 = 2_016;
/// How far a header's time may be ahead, in seconds: two hours, as every Bitcoin node asks.
const MAX_AHEAD: u64 = 2 * 60 * 60;
/// The longest branch that is read before it has more work than the chain at hand: a month of blocks.
const MAX_BRANCH: usize = 2 * MAX_HEADERS;

/// What reading the chain led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The chain with the most work of those seen is known.
    Done,
    /// The server's chain moved while it was read.
    Moved,
}

/// All headers that were checked, whichever server they came from.
#[derive(Debug)]
pub(super) struct Chain {
    network: Network,
    /// The headers of the base's period up to the base, which tell what the next adjustment prescribes.
    below: Vec<Header>,
    pub learnt: Headers,
}

impl Chain {
    pub fn new(network: Network) -> Self {
        let learnt = Headers::new(start_of(network));
        let below = if learnt.base().height == 0 { vec![genesis_block(network).header] } else { Vec::new() };
        Self { network, below, learnt }
    }

    /// Reads what leads to the newest block of a server. A chain with less work than the one at hand changes nothing.
    ///
    /// # Errors
    /// [`ChainError::Unreachable`], and [`ChainError::Invalid`] for headers that prove nothing.
    pub async fn follow(&mut self, server: &Connection, head: (u32, Header)) -> Result<Read, ChainError> {
        let (height, header) = head;
        if self.learnt.hash_at(height) == Some(header.block_hash()) {
            return Ok(Read::Done);
        }
        let base = self.learnt.base().height;
        if height <= base {
            return Err(server.nonsense(format!("its chain ends at height {height}, below {base}")));
        }
        if self.below.is_empty() {
            self.below = self.read_below(server).await?;
        }
        let Some((mut from, mut chunk)) = self.fork(server, height).await? else { return Ok(Read::Moved) };
        let mut branch = Vec::new();
        loop {
            for header in chunk {
                let at = add(from, branch.len());
                match self.check(&branch, from, at, &header) {
                    Ok(()) => branch.push(header),
                    Err(Wrong::Unlinked) => return Ok(Read::Moved),
                    Err(Wrong::Lie(reason)) => return Err(server.nonsense(reason)),
                }
            }
            if self.has_more_work(&branch, from) {
                let next = add(from, branch.len());
                for (height, header) in (from..).zip(branch.drain(..)) {
                    self.learnt.put(height, header);
                }
                from = next;
            }
            let next = add(from, branch.len());
            if next > height {
                return Ok(Read::Done);
            }
            if branch.len() > MAX_BRANCH {
                return Err(server.nonsense(format!("a branch from height {from} on has little work for its length")));
            }
            chunk = self.chunk(server, next, height).await?;
            if chunk.is_empty() {
                return Ok(Read::Moved);
            }
        }
    }

    /// Finds a height from which a server's headers stand on the chain at hand, and returns the first of them.
    async fn fork(&self, server: &Connection, head: u32) -> Result<Option<(u32, Vec<Header>)>, ChainError> {
        let lowest = self.learnt.base().height.saturating_add(1);
        let mut from = self.learnt.tip().height.saturating_add(1).min(head);
        let mut step = 1_u32;
        loop {
            let chunk = self.chunk(server, from, head).await?;
            let Some(first) = chunk.first() else { return Ok(None) };
            if self.learnt.hash_at(from - 1) == Some(first.prev_blockhash) {
                return Ok(Some((from, chunk)));
            }
            if from == lowest {
                let base = self.learnt.base();
                return Err(server.nonsense(format!("its chain does not hold block {} at {}", base.hash, base.height)));
            }
            from = from.saturating_sub(step).max(lowest);
            step = step.saturating_mul(2);
        }
    }

    async fn chunk(&self, server: &Connection, from: u32, to: u32) -> Result<Vec<Header>, ChainError> {
        let count = (to.saturating_sub(from) as usize).saturating_add(1).min(MAX_HEADERS); // u32 fits
        server.headers(from, count).await
    }

    /// Reads the headers of the base's period: they are right when they lead to the base.
    async fn read_below(&self, server: &Connection) -> Result<Vec<Header>, ChainError> {
        let base = self.learnt.base();
        let first = base.height - base.height % INTERVAL;
        let headers = self.chunk(server, first, base.height).await?;
        let joined = headers.windows(2).all(|pair| pair[1].prev_blockhash == pair[0].block_hash());
        let whole = add(first, headers.len()) == base.height + 1;
        if !joined || !whole || headers.last().map(Header::block_hash) != Some(base.hash) {
            return Err(server.nonsense(format!("its headers do not lead to block {} at {}", base.hash, base.height)));
        }
        Ok(headers)
    }

    /// Returns the header at a height: of a branch that begins at `from`, or below it of the chain at hand.
    fn at(&self, branch: &[Header], from: u32, height: u32) -> Option<Header> {
        if let Some(place) = height.checked_sub(from) {
            return branch.get(place as usize).copied(); // u32 fits
        }
        let below_base = || {
            let place = self.below.len().checked_sub(1)?;
            let place = place.checked_sub(self.learnt.base().height.checked_sub(height)? as usize)?; // u32 fits
            self.below.get(place).copied()
        };
        self.learnt.header_at(height).copied().or_else(below_base)
    }

    fn check(&self, branch: &[Header], from: u32, height: u32, header: &Header) -> Result<(), Wrong> {
        let at = |height| self.at(branch, from, height);
        let lie = |what: &str| Err(Wrong::Lie(format!("the header at height {height} {what}")));
        let hash = header.block_hash();
        let previous = height.checked_sub(1).and_then(at).ok_or(Wrong::Unlinked)?;
        if previous.block_hash() != header.prev_blockhash {
            return Err(Wrong::Unlinked);
        }
        if anchors(self.network).any(|anchor| anchor.height == height && anchor.hash != hash) {
            return lie("is not the block that everybody knows");
        }
        if !may_ask(self.network, height, header.bits, at) {
            return lie("states another difficulty than the chain prescribes");
        }
        if header.validate_pow(header.target()).is_err() {
            return lie("does not have the work that it states");
        }
        let times: Vec<u32> =
            (1..=MEDIAN_SPAN).filter_map(|below| at(height.checked_sub(below)?)).map(|header| header.time).collect();
        if header.time <= median_time(&times) {
            return lie("is older than those before it");
        }
        if u64::from(header.time) > unix_now().saturating_add(MAX_AHEAD) {
            return lie("is of the future; is this machine's clock right?");
        }
        Ok(())
    }

    /// Whether a branch has more work than what stands in its place.
    fn has_more_work(&self, branch: &[Header], from: u32) -> bool {
        let sum = |headers: &mut dyn Iterator<Item = Work>| headers.reduce(|sum, work| sum + work);
        let here = sum(&mut (from..).map_while(|height| self.learnt.header_at(height)).map(Header::work));
        let there = sum(&mut branch.iter().map(Header::work));
        there > here
    }
}

/// Why a header is not taken.
enum Wrong {
    /// It does not stand on the one before.
    Unlinked,
    /// It proves nothing.
    Lie(String),
}

/// Heights are far from 2^32, and what is added is bounded by the length of a branch.
fn add(height: u32, count: usize) -> u32 {
    height.saturating_add(u32::try_from(count).unwrap_or(u32::MAX))
}
