//! A light client: block headers, their proof of work, and compact filters (BIP-157, BIP-158) from any peers of the
//! Bitcoin network. It trusts no server, and none learns which scripts are watched: only whole blocks are downloaded.
//!
//! What a light client cannot know is stated here, not hidden:
//! - The pool is what was sent from here and what a peer told of, signed or not. It is never counted as more than a notice,
//!   and of what spends an escrow only what its keys signed and what is due (`specs/escrow.md`).
//! - Peers give no reason when they do not take a transaction. One that was sent and that no other connection tells of
//!   within [`ECHO`] was refused, or waits in pools that nobody shows: [`ChainError::Unheard`]. One that nobody even asks for
//!   is with them already, or was refused lately: [`ChainError::Unasked`]. Either counts as nothing, and coins stay set aside
//!   for it. A child that is not heard of counts as refused: a dearer one may take its place.
//! - A child goes out with its parent unless a block holds that: peers who dropped the parent, or never took it because it
//!   pays too little by itself, ask the client for it once they have the child.
//! - A fee rate is guessed from what the last blocks paid.
//! - An output is found only from the height on that is asked for: an older one counts as unknown, a coin of a stake too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction, Txid};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::follower::{self, News, Scripts, Source};
use super::{BlockRef, ChainBackend, ChainError, Follower, MAX_FEE_RATE, OutpointStatus};
use light::{Light, SILENCE};

mod filters;
mod light;
mod pool;
mod source;
mod touch;

const NAME: &str = "cbf";
/// How long a transaction may take from one peer back to us over another connection: peers hold it back for some seconds.
const ECHO: Duration = Duration::from_secs(30);
/// How many of the last blocks tell what confirmation costs.
const FEE_BLOCKS: u32 = 3;
/// The highest least feerate that a peer can talk us into: what full pools asked for in dear weeks.
const MAX_FLOOR: FeeRate = FeeRate::from_sat_per_vb_u32(50);

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
    _running: DropGuard,
}

impl CbfChain {
    /// Starts the client and waits until it has the headers.
    ///
    /// # Errors
    /// [`ChainError::Unreachable`] when for [half a minute](SILENCE) no peer sends anything.
    pub async fn open(config: CbfConfig) -> Result<Self, ChainError> {
        let light = Arc::new(Light::new(config));
        let stop = CancellationToken::new();
        let chain = Self { light: Arc::clone(&light), _running: stop.clone().drop_guard() };
        let mut heard = light.heard.subscribe();
        tokio::spawn(Arc::clone(&light).run(stop));
        while !light.state().synced {
            match timeout(SILENCE, heard.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(light.unreachable("no peer with compact filters answers")),
            }
        }
        Ok(chain)
    }

    /// Waits until a peer tells of a transaction.
    async fn heard(&self, txid: Txid) {
        let mut changes = self.light.changes.subscribe();
        while !self.is_known(&txid) {
            changes.changed().await.expect("the sender lives as long as this value");
        }
    }

    fn is_known(&self, txid: &Txid) -> bool {
        let state = self.light.state();
        state.pool.get(txid).is_some() || state.pool.was_confirmed(txid)
    }

    /// Takes a transaction that peers have taken into the pool.
    fn keep(&self, tx: &Transaction) {
        let mut state = self.light.state();
        let height = state.shown.tip().height;
        state.pool.put(tx.clone(), height);
        drop(state);
        self.light.changes.send_modify(|count| *count += 1);
    }

    /// Offers a transaction, or a parent and the child that pays for it, and waits for the echo of the last of them.
    async fn send(&self, txs: &[Transaction], package: bip157::Package) -> Result<(), ChainError> {
        let Some((last, parents)) = txs.split_last() else { return Ok(()) };
        let txid = last.compute_txid();
        let spent = txs.iter().flat_map(|tx| &tx.input).map(|input| input.previous_output).collect();
        self.light.listen(Vec::new(), spent).await?;
        self.light.can_hear().await;
        let requester = self.light.requester()?;
        // Of a package the parent is asked for, by those who do not have it.
        let was_asked = tokio::select! {
            () = self.heard(txid) => true,
            asked = timeout(ECHO, requester.submit_package(package)) => match asked {
                Ok(Ok(_)) => true,
                Ok(Err(error)) => return Err(self.light.unreachable(error)),
                Err(_) => false,
            },
        };
        if !was_asked && parents.is_empty() {
            self.light.state().note_unasked(txid);
            return Err(ChainError::Unasked { txid });
        }
        let patience = if was_asked { ECHO } else { Duration::ZERO };
        if timeout(patience, self.heard(txid)).await.is_err() {
            if parents.is_empty() {
                self.light.state().note_unasked(txid);
                return Err(ChainError::Unheard { txid, waited_s: ECHO.as_secs() });
            }
            let reason = format!("no other peer has told of it within {} s", ECHO.as_secs());
            return Err(ChainError::Refused { txid, reason });
        }
        // Whoever took the child has what it stands on.
        parents.iter().for_each(|parent| self.keep(parent));
        Ok(())
    }
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
        self.light.best().await
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
        follower::spawn(Arc::new(Arc::clone(&self.light)), news, locator, watch).await
    }

    async fn outpoint(
        &self,
        outpoint: OutPoint,
        script: ScriptBuf,
        from_height: u32,
    ) -> Result<OutpointStatus, ChainError> {
        let scripts: Scripts = [script].into_iter().collect();
        let (mut created, mut spent) = (None, None);
        let tip = self.light.best().await?.height;
        for height in from_height..=tip {
            let Some(hash) = self.light.hash_at(height).await? else { break };
            let Some(scanned) = self.light.scan(hash, &scripts).await? else { break };
            for tx in scanned.txs {
                let spends = tx.input.iter().any(|input| input.previous_output == outpoint);
                match tx.output.get(outpoint.vout as usize) {
                    Some(output) if tx.compute_txid() == outpoint.txid => {
                        created = Some((output.clone(), Some(height)))
                    }
                    Some(_) | None if spends => spent = Some((tx, Some(height))),
                    Some(_) | None => {}
                }
            }
        }
        let state = self.light.state();
        let in_pool = || state.pool.get(&outpoint.txid)?.output.get(outpoint.vout as usize).cloned();
        let Some((output, height)) = created.or_else(|| in_pool().map(|output| (output, None))) else {
            return Ok(OutpointStatus::Unknown);
        };
        let spent = spent.or_else(|| state.pool.spender(&outpoint).cloned().map(|tx| (tx, None)));
        Ok(match spent {
            Some((by, spent_height)) => OutpointStatus::Spent { output, height, by: Box::new(by), spent_height },
            None => OutpointStatus::Unspent { output, height },
        })
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<(), ChainError> {
        let txid = tx.compute_txid();
        let package = bip157::Package::new_single(tx.clone());
        if self.is_known(&txid) {
            self.light.resend(package);
            return Ok(());
        }
        // Nobody waits twice for what may be with all peers: that somebody asks for it now is told by its echo.
        if self.light.state().is_unasked(&txid) {
            self.light.resend(package);
            return Err(ChainError::Unasked { txid });
        }
        self.send(std::slice::from_ref(tx), package).await
    }

    async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), ChainError> {
        let [parent, child] = txs else {
            let reason =
                format!("a package of {} transactions; a light client sends a parent and its child", txs.len());
            return Err(ChainError::Invalid { backend: NAME, reason });
        };
        let is_settled = self.light.state().pool.was_confirmed(&parent.compute_txid());
        if is_settled {
            return self.broadcast(child).await;
        }
        // That the parent was seen once says nothing: peers drop what pays too little.
        let txid = child.compute_txid();
        let package = bip157::Package::new_one_parent_one_child(parent.clone(), child.clone());
        let package = package.map_err(|error| ChainError::Refused { txid, reason: error.to_string() })?;
        if self.is_known(&txid) {
            self.light.resend(package);
            return Ok(());
        }
        self.send(txs, package).await
    }

    async fn fee_rate(&self, _blocks: u16) -> Result<FeeRate, ChainError> {
        let requester = self.light.requester()?;
        let floor = requester.broadcast_min_feerate().await.map_err(|error| self.light.unreachable(error))?;
        // Any peer can ask for any least feerate. What blocks paid cost their miners work.
        let mut rate = floor.clamp(FeeRate::BROADCAST_MIN, MAX_FLOOR);
        let tip = self.light.best().await?.height;
        for height in tip.saturating_sub(FEE_BLOCKS - 1).max(1)..=tip {
            let Some(hash) = self.light.hash_at(height).await? else { break };
            match timeout(SILENCE, requester.average_fee_rate(hash)).await {
                Ok(Ok(paid)) => rate = rate.max(paid),
                Ok(Err(error)) => return Err(self.light.unreachable(error)),
                Err(_) => return Err(self.light.unreachable("no peer sends blocks")),
            }
        }
        Ok(rate.min(MAX_FEE_RATE))
    }

    async fn mine(&self, _count: u32, _script: ScriptBuf) -> Result<Vec<BlockHash>, ChainError> {
        Err(ChainError::NotMinable { network: self.network() })
    }
}
