//! A light client: block headers, their proof of work, and compact filters (BIP-157, BIP-158) from any peers of the
//! Bitcoin network. It trusts no server, and none learns which scripts are watched: only whole blocks are downloaded.
//!
//! What a light client cannot know is stated here, not hidden:
//! - The pool is what was sent from here and what a peer told of, signed or not. It is never counted as more than a notice,
//!   and of what spends an escrow only what its keys signed and what is due (`specs/escrow.md`).
//! - Peers give no reason when they do not take a transaction. One that was sent and that no other connection tells of
//!   within half a minute was refused, or waits in pools that nobody shows: [`ChainError::Unheard`]. One that nobody even asks
//!   for is with them already, or was refused lately: [`ChainError::Unasked`]. Either counts as nothing, and coins stay set
//!   aside for it. A child that is not heard of counts as refused: a dearer one may take its place.
//! - After a restart nobody tells again what waits. What its owner knew to wait counts so until a block shows otherwise
//!   ([`ChainBackend::recall`]); all else that is owed is offered at once, and counts when it is heard of.
//! - A child goes out with its parent unless a block holds that: peers who dropped the parent, or never took it because it
//!   pays too little by itself, ask the client for it once they have the child.
//! - A fee rate is guessed from what the last blocks paid.
//! - An output is found only from the height on that is asked for: an older one counts as unknown, a coin of a stake too. What
//!   others say of their coins makes nobody read further back than half a year.
//! - Old blocks are read by filters that a client of its own fetches: however slowly they come, what is new is shown.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bip157::{Package, Requester};
use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::follower::{self, News};
use super::{AskedOutput, BlockRef, ChainBackend, ChainError, Follower, MAX_FEE_RATE, OutpointStatus};
use light::{Light, SILENCE};
use source::Reader;

mod coins;
mod filters;
mod light;
mod old_filters;
mod pool;
mod sending;
mod source;
mod touch;

const NAME: &str = "cbf";
/// How long peers may take to show the headers, some 20 MB: one that reads the chain itself has fewer than everybody knows.
const OPEN_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How many of the last blocks tell what confirmation costs.
const FEE_BLOCKS: u32 = 3;
/// Of how many blocks it is remembered what they paid: those of a reorganisation among them.
const MAX_PAID: usize = 16;
/// The highest least feerate that a peer can talk us into: what full pools asked for in dear weeks.
const MAX_FLOOR: FeeRate = FeeRate::from_sat_per_vb_u32(50);
/// How far below the tip an output is looked for that somebody else names: half a year of blocks, whose filters are some 650 MB on
/// mainnet.
const REACH: u32 = 26_280;

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct CbfConfig {
    /// The network of this node.
    pub network: Network,
    /// Bitcoin nodes that serve compact filters, and nobody else; none: whoever the network's seeds name.
    pub peers: Vec<SocketAddr>,
}

/// A light client.
#[derive(Debug)]
pub struct CbfChain {
    light: Arc<Light>,
    /// What the last blocks paid. Held while they are asked for, so that they are downloaded once however many ask.
    paid: Mutex<Paid>,
    _running: DropGuard,
}

impl CbfChain {
    /// Starts the client and waits until it has the headers.
    ///
    /// # Errors
    /// [`ChainError::Unreachable`] when for [half a minute](SILENCE) no peer sends anything, or in half an hour none the headers.
    pub async fn open(config: CbfConfig) -> Result<Self, ChainError> {
        let light = Arc::new(Light::new(config));
        let stop = CancellationToken::new();
        let paid = Mutex::new(Paid::default());
        let chain = Self { light: Arc::clone(&light), paid, _running: stop.clone().drop_guard() };
        let mut heard = light.heard.subscribe();
        tokio::spawn(Arc::clone(&light).run(stop));
        let synced = async {
            while !light.state().synced {
                match timeout(SILENCE, heard.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return Err(light.unreachable("no peer with compact filters answers")),
                }
            }
            Ok(())
        };
        let in_time = timeout(OPEN_PATIENCE, synced).await;
        in_time
            .unwrap_or_else(|_| Err(light.unreachable("no peer shows the chain to the blocks that everybody knows")))?;
        Ok(chain)
    }

    /// Tells whether a block holds a parent: then its child is offered alone. That it was seen in a pool once says nothing: peers
    /// drop what pays too little.
    fn is_settled(&self, tx: &Transaction) -> bool {
        self.light.state().pool.was_confirmed(&tx.compute_txid())
    }

    /// Returns what a block paid on average: whole blocks are downloaded for it, so each is asked for once.
    async fn paid_in(&self, requester: &Requester, hash: BlockHash, paid: &mut Paid) -> Result<FeeRate, ChainError> {
        if let Some(rate) = paid.of(&hash) {
            return Ok(rate);
        }
        match timeout(SILENCE, requester.average_fee_rate(hash)).await {
            Ok(Ok(rate)) => {
                paid.note(hash, rate);
                Ok(rate)
            }
            Ok(Err(error)) => Err(self.light.unreachable(error)),
            Err(_) => Err(self.light.unreachable("no peer sends blocks")),
        }
    }
}

/// What blocks paid on average, as far as they were asked for lately. A block never pays anything else.
#[derive(Debug, Default)]
struct Paid(VecDeque<(BlockHash, FeeRate)>);

impl Paid {
    fn of(&self, hash: &BlockHash) -> Option<FeeRate> {
        self.0.iter().find(|(block, _)| block == hash).map(|(_, rate)| *rate)
    }

    fn note(&mut self, hash: BlockHash, rate: FeeRate) {
        self.0.push_back((hash, rate));
        self.0.drain(..self.0.len().saturating_sub(MAX_PAID));
    }
}

/// Returns a parent and its child as they are offered.
fn package(parent: &Transaction, child: &Transaction) -> Result<Package, ChainError> {
    let package = Package::new_one_parent_one_child(parent.clone(), child.clone());
    package.map_err(|error| ChainError::Refused { txid: child.compute_txid(), reason: error.to_string() })
}

/// Returns the error of a chain that no chain can be as long as.
fn too_many_blocks() -> ChainError {
    ChainError::Invalid { backend: NAME, reason: format!("more blocks than {}", u32::MAX) }
}

/// Returns the error of a package of another size than peers take.
fn no_package(txs: &[Transaction]) -> ChainError {
    let reason = format!("a package of {} transactions; a light client sends a parent and its child", txs.len());
    ChainError::Invalid { backend: NAME, reason }
}

#[async_trait]
impl ChainBackend for CbfChain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn network(&self) -> Network {
        self.light.config.network
    }

    async fn tip(&self) -> Result<BlockRef, ChainError> {
        self.light.best()
    }

    async fn block_at(&self, height: u32) -> Result<Option<Block>, ChainError> {
        if height == 0 {
            return Ok(Some(genesis_block(self.network())));
        }
        let hash = self.light.state().shown.hash_at(height);
        match hash {
            Some(hash) => self.light.block(hash).await,
            None => Ok(None),
        }
    }

    async fn headers(&self, from: u32, limit: usize) -> Result<Vec<Header>, ChainError> {
        Ok(self.light.state().shown.list(self.network(), from, limit))
    }

    async fn follow(&self, locator: Vec<BlockRef>, watch: Vec<ScriptBuf>) -> Result<Follower, ChainError> {
        let news = News::Pushed(self.light.changes.subscribe());
        follower::spawn(Arc::new(Reader::new(&self.light)), news, locator, watch).await
    }

    async fn outpoint(
        &self,
        outpoint: OutPoint,
        script: ScriptBuf,
        from_height: u32,
    ) -> Result<OutpointStatus, ChainError> {
        let mut all = u32::MAX;
        let status = self.outpoint_within(outpoint, script, from_height, &mut all).await?;
        status.ok_or_else(too_many_blocks)
    }

    async fn outpoint_within(
        &self,
        outpoint: OutPoint,
        script: ScriptBuf,
        from_height: u32,
        blocks: &mut u32,
    ) -> Result<Option<OutpointStatus>, ChainError> {
        let asked = [AskedOutput { outpoint, script, from_height }];
        let found = self.light.outpoints(&asked, blocks, &self.light.turns.single).await?;
        Ok(found.and_then(|mut found| found.pop()))
    }

    async fn outpoints(&self, asked: &[AskedOutput]) -> Result<Vec<OutpointStatus>, ChainError> {
        let mut all = u32::MAX;
        self.light.outpoints(asked, &mut all, &self.light.turns.trades).await?.ok_or_else(too_many_blocks)
    }

    async fn named_outpoints(&self, asked: &[AskedOutput]) -> Result<Vec<OutpointStatus>, ChainError> {
        let mut all = u32::MAX;
        self.light.outpoints(asked, &mut all, &self.light.turns.user).await?.ok_or_else(too_many_blocks)
    }

    fn reach(&self) -> Option<u32> {
        Some(REACH)
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<(), ChainError> {
        let txid = tx.compute_txid();
        let package = Package::new_single(tx.clone());
        if self.light.is_known(&txid) {
            self.light.resend(package);
            return Ok(());
        }
        // Nobody waits twice for what may be with all peers: that somebody asks for it now is told by its echo.
        if self.light.state().is_unasked(&txid) {
            self.light.resend(package);
            return Err(ChainError::Unasked { txid });
        }
        self.light.send(std::slice::from_ref(tx), package).await
    }

    async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), ChainError> {
        let [parent, child] = txs else { return Err(no_package(txs)) };
        if self.is_settled(parent) {
            return self.broadcast(child).await;
        }
        let package = package(parent, child)?;
        if self.light.is_known(&child.compute_txid()) {
            self.light.resend(package);
            return Ok(());
        }
        self.light.send(txs, package).await
    }

    async fn offer(&self, txs: &[Transaction]) -> Result<bool, ChainError> {
        match txs {
            [tx] => self.light.offer(txs, Package::new_single(tx.clone())),
            [parent, child] if self.is_settled(parent) => {
                self.light.offer(std::slice::from_ref(child), Package::new_single(child.clone()))
            }
            [parent, child] => self.light.offer(txs, package(parent, child)?),
            [] | [_, _, _, ..] => Err(no_package(txs)),
        }
    }

    fn recall(&self, tx: &Transaction) {
        if !self.light.is_known(&tx.compute_txid()) {
            self.light.keep(tx);
        }
    }

    async fn fee_rate(&self, _blocks: u16) -> Result<FeeRate, ChainError> {
        let requester = self.light.requester()?;
        let floor = timeout(SILENCE, requester.broadcast_min_feerate()).await;
        let floor = floor.map_err(|_| self.light.held_up())?.map_err(|error| self.light.unreachable(error))?;
        // Any peer can ask for any least feerate. What blocks paid cost their miners work.
        let mut rate = floor.clamp(FeeRate::BROADCAST_MIN, MAX_FLOOR);
        let tip = self.light.best()?.height;
        let mut paid = self.paid.lock().await;
        for height in tip.saturating_sub(FEE_BLOCKS - 1).max(1)..=tip {
            let Some(hash) = self.light.hash_at(height) else { break };
            rate = rate.max(self.paid_in(&requester, hash, &mut paid).await?);
        }
        Ok(rate.min(MAX_FEE_RATE))
    }

    async fn mine(&self, _count: u32, _script: ScriptBuf) -> Result<Vec<BlockHash>, ChainError> {
        Err(ChainError::NotMinable { network: self.network() })
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn what_a_block_paid_is_remembered_of_the_last_ones() {
        let (hash, mut paid) = (|byte: u8| BlockHash::from_byte_array([byte; 32]), Paid::default());
        let last = u8::try_from(MAX_PAID).unwrap();
        for byte in 0..=last {
            assert_eq!(paid.of(&hash(byte)), None);
            paid.note(hash(byte), FeeRate::from_sat_per_vb_u32(byte.into()));
        }
        assert_eq!((paid.of(&hash(0)), paid.of(&hash(1))), (None, Some(FeeRate::from_sat_per_vb_u32(1))));
        assert_eq!(paid.of(&hash(last)), Some(FeeRate::from_sat_per_vb_u32(last.into())));
    }
}
