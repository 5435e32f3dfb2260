//! Electrum servers: for machines that can neither keep the chain nor follow compact filters.
//!
//! A server is asked, and not believed. Headers are checked down to their work, and no transaction counts as confirmed
//! without the hashes that lead from it to its block's header: a server can hide, but it cannot invent. What it can do
//! nevertheless is stated here:
//! - It learns every script that is watched, and from which address of the internet.
//! - It can hide a transaction or the newest blocks. What another one tells later is told late, as found.
//! - It can refuse to tell of a script, as honest ones do of what many payments touch, whoever made them. That is about this
//!   script only: the other servers are asked for it, and if none shows it, followers hear that it is withheld.
//! - What waits for a block is its word. It is never counted as more than a notice.
//! - So are its refusal of a transaction and its word that it passed one on: what the wallet pays stays known, and keeps its
//!   coins, whatever it says.
//! - So is its estimate of fees, within [`MAX_FEE_RATE`]; where it has none, so is what waits in its pool, which tells what
//!   the next block asks for.
//! - One that speaks the protocol below version 1.6 takes no parent together with the child that pays for it: what pays less
//!   than its node's pool asks for cannot be helped through it.
//! - Nothing is proven below the block where headers begin, which is older than Taproot.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::constants::genesis_block;
use bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction, Txid};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::amount::{Btc, SatsPerVb};
use super::follower::{self, News, Source};
use super::{BlockRef, ChainBackend, ChainError, Follower, MAX_FEE_RATE, OutpointStatus};
use connection::{Connection, Failure, known, words};
use history::{Entry, History, Room, Told};
use mirror::Mirror;
pub use server::{ElectrumServer, ServerError, Transport, Trust};
use state::{News as Asked, Said};

mod block;
mod chain;
mod connection;
mod history;
mod mirror;
mod proof;
mod server;
mod source;
mod state;
mod tls;

const NAME: &str = "electrum";
/// How many servers may be named: one is read at a time, the others are there when it fails.
pub const MAX_SERVERS: usize = 8;
/// The farthest target that servers estimate fees for.
const MAX_FEE_TARGET: u16 = 1_008;
/// How much a block holds, in virtual bytes.
const BLOCK_VBYTES: u64 = 1_000_000;
/// How long a server may say nothing of the chain before it counts as one that does not serve it.
const OPEN_PATIENCE: Duration = Duration::from_secs(120);
/// How often an output is looked for again when the chain moves under the question, and the pause between.
const ATTEMPTS: usize = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How many outputs of a refused transaction are looked up, to see whether it was confirmed before.
const MAX_LOOKUPS: usize = 3;

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct ElectrumConfig {
    /// The network of this node.
    pub network: Network,
    /// Servers, at least one and at most [`MAX_SERVERS`], in the order in which they are tried.
    pub servers: Vec<ElectrumServer>,
}

/// The chain as Electrum servers prove it.
#[derive(Debug)]
pub struct ElectrumChain {
    mirror: Arc<Mirror>,
    _running: DropGuard,
}

impl ElectrumChain {
    /// Connects to a server and reads the headers.
    ///
    /// # Errors
    /// [`ChainError::Unreachable`], [`ChainError::WrongNetwork`] or [`ChainError::Invalid`] when every server failed, of the
    /// last one.
    pub async fn open(config: ElectrumConfig) -> Result<Self, ChainError> {
        let servers = config.servers.len();
        if servers == 0 || servers > MAX_SERVERS {
            let reason = format!("{servers} servers are named; name one to {MAX_SERVERS}");
            return Err(ChainError::Invalid { backend: NAME, reason });
        }
        let mirror = Arc::new(Mirror::new(config));
        let stop = CancellationToken::new();
        let chain = Self { mirror: Arc::clone(&mirror), _running: stop.clone().drop_guard() };
        let mut changes = mirror.changes.subscribe();
        tokio::spawn(Arc::clone(&mirror).run(stop));
        loop {
            {
                let state = mirror.state();
                match &state.outage {
                    None if state.synced => break,
                    Some(outage) if state.failures >= servers => return Err(outage.clone()),
                    None | Some(_) => {}
                }
            }
            match timeout(OPEN_PATIENCE, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(mirror.server().err().unwrap_or_else(|| mirror.silent())),
            }
        }
        if mirror.server().is_ok_and(|server| !server.is_modern()) {
            tracing::warn!(
                "the Electrum server speaks an old protocol (below 1.6): a payment that pays less than its pool asks for cannot \
                 be helped by a higher fee through it; name a newer server first"
            );
        }
        Ok(chain)
    }

    /// Reads what touches a script now, watched or not.
    async fn history(&self, server: &Connection, script: &ScriptBuf) -> Result<History, ChainError> {
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            match server.in_time(history::read(server, script, &*self.mirror, &Room::new())).await? {
                Told::Whole(history) => return Ok(history),
                Told::Unproven(why) => reason = why,
                Told::Refused(why) => return self.history_elsewhere(server, script, why).await,
            }
            sleep(LOOK_AGAIN).await;
        }
        Err(server.nonsense(reason))
    }

    /// Reads from the other servers what touches a script, which one refuses to show for this reason.
    async fn history_elsewhere(
        &self,
        server: &Connection,
        script: &ScriptBuf,
        reason: String,
    ) -> Result<History, ChainError> {
        let reason = format!("{}: {reason}", server.at());
        let mut asked = [Asked { script: script.clone(), said: Said::Refused(reason.clone()) }];
        self.mirror.ask_others(server.at(), &*self.mirror, &mut asked).await;
        let [Asked { said, .. }] = asked;
        match said {
            Said::Told(history) => Ok(history),
            Said::AsItWas | Said::Refused(_) => Err(ChainError::Withheld { backend: NAME, reason }),
        }
    }

    /// Whether a block holds a transaction that a server refuses: then it has to.
    async fn is_confirmed(&self, server: &Connection, tx: &Transaction) -> Result<bool, ChainError> {
        let txid = tx.compute_txid();
        let spendable = tx.output.iter().filter(|output| !output.script_pubkey.is_op_return());
        let mut withheld = None;
        for output in spendable.take(MAX_LOOKUPS) {
            match self.history(server, &output.script_pubkey).await {
                Ok(history) if history.confirmed.iter().any(|entry| entry.tx.compute_txid() == txid) => {
                    return Ok(true);
                }
                Ok(_) => {}
                // Another output may show it. If none does nobody knows, and that is no refusal.
                Err(error @ ChainError::Withheld { .. }) => withheld = Some(error),
                Err(error) => return Err(error),
            }
        }
        withheld.map_or(Ok(false), Err)
    }

    /// Hands over one transaction; `Err` within is the server's reason to refuse it.
    async fn send(&self, server: &Connection, tx: &Transaction) -> Result<Result<(), String>, ChainError> {
        match server.try_ask::<String>("blockchain.transaction.broadcast", &[json!(serialize_hex(tx))]).await {
            // It answers with the id, or with words to the user.
            Ok(_) => Ok(Ok(())),
            Err(Failure::Answer(_)) if self.is_confirmed(server, tx).await? => Ok(Ok(())),
            Err(Failure::Answer(reason)) => Ok(Err(plain(&reason))),
            Err(Failure::Chain(error)) => Err(error),
        }
    }
}

/// Returns what the next block asks for, by a server that has no estimate: what waits in its pool, as it is ordered by feerate.
/// Coins that are to come back, or to be released, must not wait until a server has one.
async fn asked_by_pool(server: &Connection) -> Result<FeeRate, ChainError> {
    let pool: Option<Vec<(SatsPerVb, u64)>> = known(server.try_ask("mempool.get_fee_histogram", &[]).await)?;
    let rates = pool.unwrap_or_default().into_iter().map(|(rate, vbytes)| rate.rate().map(|rate| (rate, vbytes)));
    rates.collect::<Result<Vec<_>, String>>().map(next_block).map_err(|reason| server.nonsense(reason))
}

/// Returns the feerate of the cheapest of a pool that the next block has room for; the least where all have.
fn next_block(mut pool: Vec<(FeeRate, u64)>) -> FeeRate {
    pool.sort_unstable_by_key(|(rate, _)| std::cmp::Reverse(*rate));
    let mut vbytes = 0_u64;
    let full = pool.into_iter().find(|(_, more)| {
        vbytes = vbytes.saturating_add(*more);
        vbytes >= BLOCK_VBYTES
    });
    full.map_or(FeeRate::BROADCAST_MIN, |(rate, _)| rate)
}

/// Returns a server's reason without what it says around it.
fn plain(reason: &str) -> String {
    let reason = reason.trim_start_matches("the transaction was rejected by network rules.").trim_start();
    reason.split_once(" [").map_or(reason, |(reason, _)| reason).to_owned()
}

#[async_trait]
impl ChainBackend for ElectrumChain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn network(&self) -> Network {
        self.mirror.config.network
    }

    async fn tip(&self) -> Result<BlockRef, ChainError> {
        self.mirror.best().await
    }

    async fn block_at(&self, height: u32) -> Result<Option<Block>, ChainError> {
        if height == 0 {
            return Ok(Some(genesis_block(self.network())));
        }
        let server = self.mirror.server()?;
        let header = self.mirror.state().shown.header_at(height).copied();
        match header {
            Some(header) => server.in_time(block::read(&server, header, height)).await,
            None => Ok(None),
        }
    }

    async fn headers(&self, from: u32, limit: usize) -> Result<Vec<Header>, ChainError> {
        Ok(self.mirror.state().shown.list(self.network(), from, limit))
    }

    async fn follow(&self, locator: Vec<BlockRef>, watch: Vec<ScriptBuf>) -> Result<Follower, ChainError> {
        let news = News::Pushed(self.mirror.changes.subscribe());
        follower::spawn(Arc::clone(&self.mirror), news, locator, watch).await
    }

    async fn outpoint(
        &self,
        outpoint: OutPoint,
        script: ScriptBuf,
        _from_height: u32,
    ) -> Result<OutpointStatus, ChainError> {
        let server = self.mirror.server()?;
        let History { confirmed, waiting, .. } = self.history(&server, &script).await?;
        let confirmed = confirmed.iter().map(|Entry { block, tx, .. }| (tx, Some(block.height)));
        let txs: Vec<_> = confirmed.chain(waiting.iter().map(|tx| (tx, None))).collect();
        let created = txs.iter().find(|(tx, _)| tx.compute_txid() == outpoint.txid);
        let created = created.and_then(|(tx, height)| Some((tx.output.get(outpoint.vout as usize)?, *height))); // u32 fits
        let Some((output, height)) = created else { return Ok(OutpointStatus::Unknown) };
        let spends = |tx: &Transaction| tx.input.iter().any(|input| input.previous_output == outpoint);
        let output = output.clone();
        Ok(match txs.iter().find(|(tx, _)| spends(tx)) {
            Some((by, spent_height)) => {
                let by = Box::new(Transaction::clone(by));
                OutpointStatus::Spent { output, height, by, spent_height: *spent_height }
            }
            None => OutpointStatus::Unspent { output, height },
        })
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<(), ChainError> {
        let server = self.mirror.server()?;
        let sent = self.send(&server, tx).await?;
        sent.map_err(|reason| ChainError::Refused { txid: tx.compute_txid(), reason })
    }

    async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), ChainError> {
        #[derive(Deserialize)]
        struct Answer {
            success: bool,
            #[serde(default)]
            errors: Vec<TxError>,
        }
        #[derive(Deserialize)]
        struct TxError {
            txid: Txid,
            error: String,
        }
        let server = self.mirror.server()?;
        let Some(child) = txs.last().map(Transaction::compute_txid) else { return Ok(()) };
        let mut refused = None;
        if server.is_modern() && txs.len() > 1 {
            let hexes: Vec<String> = txs.iter().map(serialize_hex).collect();
            match server.try_ask("blockchain.transaction.broadcast_package", &[json!(hexes)]).await {
                Ok(Answer { success: true, .. }) => return Ok(()),
                Ok(Answer { errors, .. }) => {
                    refused = errors.into_iter().next().map(|error| (error.txid, words(&error.error)));
                }
                Err(Failure::Answer(reason)) => refused = Some((child, plain(&reason))),
                Err(Failure::Chain(error)) => return Err(error),
            }
        }
        // Part of the package may be confirmed, and older servers take no packages: then each one has to be fine by itself.
        for tx in txs {
            if let Err(reason) = self.send(&server, tx).await? {
                let (txid, reason) = refused.unwrap_or((tx.compute_txid(), reason));
                return Err(ChainError::Refused { txid, reason });
            }
        }
        Ok(())
    }

    async fn fee_rate(&self, blocks: u16) -> Result<FeeRate, ChainError> {
        #[derive(Deserialize)]
        struct PoolInfo {
            mempoolminfee: Btc,
        }
        let server = self.mirror.server()?;
        let target = blocks.clamp(1, MAX_FEE_TARGET);
        let per_kvb = |btc: Btc| btc.per_kvb().map_err(|reason| server.nonsense(reason));
        // A refusal is no estimate either.
        let estimate: Option<Btc> = known(server.try_ask("blockchain.estimatefee", &[json!(target)]).await)?;
        let floor = if server.is_modern() {
            known(server.try_ask::<PoolInfo>("mempool.get_info", &[]).await)?.map(|info| info.mempoolminfee)
        } else {
            known(server.try_ask::<Btc>("blockchain.relayfee", &[]).await)?
        };
        let floor = floor.map(per_kvb).transpose()?.unwrap_or(FeeRate::BROADCAST_MIN);
        let estimate = match estimate {
            Some(estimate) if !estimate.is_negative() => per_kvb(estimate)?,
            // Test networks rarely have the traffic to estimate from.
            Some(_) | None if self.network() != Network::Bitcoin => FeeRate::BROADCAST_MIN,
            Some(_) | None => asked_by_pool(&server).await?,
        };
        Ok(estimate.max(floor).clamp(FeeRate::BROADCAST_MIN, MAX_FEE_RATE))
    }

    async fn mine(&self, _count: u32, _script: ScriptBuf) -> Result<Vec<BlockHash>, ChainError> {
        Err(ChainError::NotMinable { network: self.network() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_without_what_stands_around_it() {
        let said = words("the transaction was rejected by network rules.\n\nmin relay fee not met, 0 < 110\n[0200]");
        assert_eq!(plain(&said), "min relay fee not met, 0 < 110");
        assert_eq!(plain("bad-txns-inputs-missingorspent"), "bad-txns-inputs-missingorspent");
    }

    /// In whatever order a server tells of its pool.
    #[test]
    fn a_full_pool_asks_for_what_the_last_in_the_next_block_pays() {
        let rate = FeeRate::from_sat_per_vb_u32;
        let pool = vec![(rate(2), 5_000_000), (rate(40), 300_000), (rate(9), 700_000)];
        assert_eq!(next_block(pool), rate(9));
        assert_eq!(next_block(vec![(rate(40), 300_000), (rate(9), 699_999)]), FeeRate::BROADCAST_MIN, "all have room");
        assert_eq!(next_block(vec![(rate(3), u64::MAX), (rate(2), u64::MAX)]), rate(3));
        assert_eq!(next_block(Vec::new()), FeeRate::BROADCAST_MIN);
    }
}
